"""Compression bounds: a network that few bits describe generalizes as its train error says.

What describes it is a code word; its length bounds -log2 of the probability that a prior, which
knows neither the examples nor the network, gives it.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from genjax.metrics.complexity import bounds, subspace_training
from genjax.metrics.complexity.contract import Labelled, Measure, Result, value
from genjax.metrics.complexity.subspace_training import DEFAULTS, CompressionConfig, Message
from genjax.metrics.complexity.workspace import Workspace, in_chunks
from genjax.models import Network
from genjax.types import Key, Params

_NUMBER_BITS = 16


class CompressionCertificate(NamedTuple):
    """A bound on the error of one network over new examples.

    Attributes:
        bound: with probability `confidence` at least, the error is not above it.
        vacuous: it is 1 or more.
        train_error: on the examples.
        kl_nats: ln of 1/prior(network): bits times ln 2.
        bits: len + 2 log2 len + extra, where len describes the network.
        num_examples: how many there are.
        confidence: 1 - eps.
    """

    bound: Any
    vacuous: Any
    train_error: Any
    kl_nats: Any
    bits: Any
    num_examples: Any
    confidence: Any


def message_bits(symbols: Any, num_levels: int, *, numbers: int) -> Any:
    """Return the length of a description of the symbols and their levels, in bits.

    An arithmetic code of the symbols under their own frequencies, ceil(-sum log2 share) + 1 bits;
    these frequencies as counts, all but the last, which follows from their sum; the levels as
    float16.

    Args:
        symbols: level of each coordinate [d], whole numbers from 0.
        num_levels: how many levels there are.
        numbers: how many float16 describe the levels.

    Example:
        >>> float(message_bits(jnp.array([0, 1, 1, 0]), 2, numbers=2))  # (4 + 1) + 3 + 2 x 16
        40.0
    """
    count = symbols.shape[0]
    counts = jnp.sum(jax.nn.one_hot(symbols, num_levels), axis=0)
    shares = jnp.where(counts > 0, counts, 1.0) / count
    # Rounding must not add a whole bit; what the factor takes off a code of less than a million
    # bits is covered by the additional one.
    code = jnp.ceil(-jnp.sum(counts * jnp.log2(shares)) * (1 - 1e-6)) + 1
    return code + (num_levels - 1) * math.ceil(math.log2(count + 1)) + _NUMBER_BITS * numbers


def prefix_free_bits(length: Any) -> Any:
    """Return len + 2 log2 len, the length of a description that says where it ends.

    2 to the power of minus this, summed over all words of 2 bits and more, is below 1 (it is
    pi^2/6 - 1): a prior gives each word at least that probability.

    Example:
        >>> float(prefix_free_bits(jnp.float32(256.0)))
        272.0
    """
    return length + 2 * jnp.log2(length)


def error(network: Network, params: Params, examples: Labelled) -> Any:
    """Return the share of examples that a network gets wrong.

    Example:
        >>> from genjax import models
        >>> net = models.create("mlp", image_shape=(2, 2, 1), num_classes=2, widths=())
        >>> params = jax.tree.map(jnp.zeros_like, net.fold(*net.init(jax.random.key(0))))
        >>> float(error(net, params, Labelled(jnp.zeros((4, 2, 2, 1)), jnp.array([0, 0, 0, 1]))))
        0.25
    """
    logits = in_chunks(lambda x: network.apply(params, x), jnp.asarray(examples.images))
    wrong = jnp.argmax(logits, axis=-1) != jnp.asarray(examples.labels)
    return jnp.mean(wrong.astype(jnp.float32))


def certify(
    network: Network,
    params: Params,
    examples: Labelled,
    message: Message,
    config: CompressionConfig = DEFAULTS,
) -> CompressionCertificate:
    """Return the certificate of a network that a message describes; pure, jittable, vmappable.

    `catoni_bound` with KL = ln 2 (len + 2 log2 len + extra), as in Lotfi et al. (NeurIPS 2022). It
    holds if start and projection were fixed without the examples.

    Args:
        network: the model as pure functions.
        params: what the message decodes to.
        examples: it was trained on; independent draws of one distribution.
        message: from `subspace_training.train`.
        config: the same as there.
    """
    train_error = error(network, params, examples)
    numbers = subspace_training.transmitted_numbers(config)
    length = message_bits(message.symbols, config.levels, numbers=numbers)
    bits = prefix_free_bits(length) + config.extra_bits
    count, kl = examples.labels.shape[0], bits * math.log(2)
    bound = bounds.catoni_bound(train_error, kl, count, alpha=config.alpha, eps=config.eps)
    return CompressionCertificate(bound, bound >= 1, train_error, kl, bits, count, 1 - config.eps)


def train_and_certify(
    network: Network,
    init_params: Params,
    examples: Labelled,
    key: Key,
    config: CompressionConfig = DEFAULTS,
) -> tuple[CompressionCertificate, Params]:
    """Train a compressed network and certify it; pure, jittable, vmappable over networks.

    Returns:
        The certificate, and the weights that it holds for.

    Example:
        >>> from genjax import data, models
        >>> net = models.create("mlp", image_shape=(8, 8, 1), num_classes=10, widths=(8,))
        >>> digits = data.load("digits").take(range(50))
        >>> examples = Labelled(jnp.asarray(digits.images), jnp.asarray(digits.labels))
        >>> params = net.fold(*net.init(jax.random.key(0)))
        >>> run = lambda key: train_and_certify(net, params, examples, key)
        >>> jax.eval_shape(run, jax.random.key(1))[0].bound.shape  # a run takes seconds
        ()
    """
    message, fixed = subspace_training.train(network, init_params, examples, key, config)
    params = subspace_training.decode(init_params, fixed, message)
    return certify(network, params, examples, message, config), params


MEASURE_RULES = CompressionConfig(dimension=60, epochs=40, quantised_epochs=10)
"""How the measure trains; fixed, so that nothing is chosen with the data."""


def _compression_bound(workspace: Workspace) -> Result:
    found, _ = train_and_certify(
        workspace.network,
        workspace.trained.init_params,
        workspace.data.train,
        workspace.key("compression_bound"),
        MEASURE_RULES,
    )
    return value(
        found.bound,
        vacuous=found.vacuous,
        train_error=found.train_error,
        bits=found.bits,
        confidence=found.confidence,
    )


MEASURES: tuple[Measure, ...] = (
    Measure(
        name="compression_bound",
        family="compression",
        formula=(
            "Catoni's bound of a network of the same architecture and start, trained in a random "
            f"subspace of {MEASURE_RULES.dimension} dimensions with {MEASURE_RULES.levels} levels: "
            "min over g of (1 - exp(-a q))/(1 - exp(-a)), KL = ln 2 (len + 2 log2 len) of its "
            "description in bits; n is the number of measured training examples"
        ),
        source="Lotfi et al., PAC-Bayes Compression Bounds So Tight, NeurIPS 2022",
        compute=_compression_bound,
        requires=("trainable", "init", "train"),
        passes=MEASURE_RULES.epochs + MEASURE_RULES.quantised_epochs + 1 / 3,
        fast=False,
        conditions=(
            f"confidence {1 - MEASURE_RULES.eps:g}; the training examples are independent draws of "
            "one distribution, and the initial weights were fixed without them"
        ),
    ),
)
