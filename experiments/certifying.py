"""Train networks for a bound on their error, by the methods of a configuration."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments import fields
from experiments.configs import certificate as configs
from genjax import data, errors, models
from genjax.data import Examples
from genjax.metrics.complexity import compression, stochastic_training
from genjax.metrics.complexity.contract import Labelled
from genjax.metrics.complexity.stochastic_training import CertificateConfig
from genjax.metrics.complexity.subspace_training import CompressionConfig
from genjax.report.certificates import Certified
from genjax.training import execution

KINDS = {"pac_bayes": CertificateConfig, "compression": CompressionConfig}


class Plan(NamedTuple):
    """A checked configuration.

    Attributes:
        train: examples that bounds are computed from.
        test: others.
        network: to be trained.
        methods: rules by name.
    """

    train: Examples
    test: Examples
    network: models.Network
    methods: Mapping[str, CertificateConfig | CompressionConfig]


def plan(config: Any) -> Plan:
    """Load the data and check every part of the configuration.

    Raises:
        GenjaxError: naming the field, what was found and what is allowed.
    """
    like: Any = configs.get_config().copy_and_resolve_references().unlock()
    like.methods, like.model.options = config.methods, config.model.options
    fields.check_names(config, like)
    for name in ("seeds", "settings_tried", "test_draws"):
        if config[name] < 1:
            raise errors.InvalidInputError(
                f"{name}: found {config[name]}; allowed are whole numbers from 1."
            )
    methods = {
        name: rules(name, dict(m), config.settings_tried) for name, m in config.methods.items()
    }
    if not methods:
        raise errors.InvalidInputError("methods: found none; at least one is needed.")
    examples = data.load(config.data.source, data_dir=config.data.folder or None, stream=False)
    assert isinstance(examples, Examples)  # not streamed
    train, test = split(examples, config)
    network = models.create(
        config.model.name,
        image_shape=examples.image_shape,
        num_classes=examples.num_classes,
        **config.model.options,
    )
    return Plan(train, test, network, methods)


def rules(name: str, settings: dict[str, Any], tried: int) -> CertificateConfig | CompressionConfig:
    """Return the rules of a method, at the price of the settings that were tried."""
    kind = settings.pop("kind", "")
    if kind not in KINDS:
        raise errors.InvalidInputError(
            f"methods.{name}.kind: found '{kind}'; allowed are {' and '.join(KINDS)}."
        )
    try:
        chosen = KINDS[kind](**settings)
    except errors.InvalidInputError as error:
        raise errors.InvalidInputError(f"methods.{name}.{error}") from error
    except TypeError as error:
        raise errors.InvalidInputError(f"methods.{name}: {error}.") from error
    if isinstance(chosen, CompressionConfig):
        return dataclasses.replace(chosen, extra_bits=chosen.extra_bits + math.log2(tried))
    return dataclasses.replace(
        chosen, delta=chosen.delta / tried, sampling_delta=chosen.sampling_delta / tried
    )


def split(examples: Examples, config: Any) -> tuple[Examples, Examples]:
    """Return training and test examples: the source's own parts, or drawn at random."""
    rng = np.random.default_rng(config.seed)
    order = rng.permutation(len(examples))
    if not 0 < config.data.test_share < 1:
        raise errors.SplitError(
            f"data.test_share: found {config.data.test_share}; it must be between 0 and 1."
        )
    if examples.is_test is not None:
        parts = [order[~examples.is_test[order]], order[examples.is_test[order]]]
    else:
        size = round(config.data.test_share * len(examples))
        parts = [order[size:], order[:size]]
    limits = (config.data.train_examples, config.data.test_examples)
    for name, limit in zip(("train_examples", "test_examples"), limits, strict=True):
        if limit < 0:
            raise errors.SplitError(
                f"data.{name}: found {limit}; allowed are whole numbers from 0 (all)."
            )
    train, test = (p[: limit or None] for p, limit in zip(parts, limits, strict=True))
    return examples.take(np.sort(train)), examples.take(np.sort(test))


def one_network(network: models.Network, method: Any, test_draws: int):
    """Return `(train, test, key of the experiment, seed) -> numbers` of one network."""

    def pac_bayes(params, train, test, keys):
        trained = stochastic_training.train(network, params, train, keys[1], method)
        found = stochastic_training.certify(network, trained, train, keys[2], method)
        error, _ = stochastic_training.stochastic_error(
            network, trained.posterior, test, keys[3], draws=test_draws
        )
        return found, found.sampled_error, error

    def compressed(params, train, test, keys):
        found, params = compression.train_and_certify(network, params, train, keys[1], method)
        error = compression.error(network, params, test)
        return found, found.train_error, error

    kind = compressed if isinstance(method, CompressionConfig) else pac_bayes

    def one(train, test, key, seed):
        keys = jax.random.split(jax.random.fold_in(key, seed), 4)
        params = network.fold(*network.init(keys[0]))
        found, train_error, test_error = kind(params, train, test, keys)
        return {
            "bound": found.bound,
            "test_error": test_error,
            "train_error": train_error,
            "kl_nats": found.kl_nats,
            "num_examples": jnp.int32(found.num_examples),
        }

    return one


def certify(ready: Plan, name: str, config: Any) -> list[Certified]:
    """Train and certify every seed of one method."""
    method = ready.methods[name]
    form = execution.choose(networks=config.seeds)
    program = execution.spread(
        one_network(ready.network, method, config.test_draws), form, shared=3
    )
    seeds = execution.filled(np.arange(config.seeds, dtype=np.int32), config.seeds, form)
    parts = [
        Labelled(np.asarray(e.images), np.asarray(e.labels)) for e in (ready.train, ready.test)
    ]
    numbers = execution.cut(program(*parts, jax.random.key(config.seed), seeds), config.seeds)
    guessing = 1 - 1 / ready.network.num_classes
    if isinstance(method, CompressionConfig):
        confidence, learnt = 1 - method.eps, False
    else:
        # Of all settings that were tried together.
        failing = method.delta + method.sampling_delta
        confidence, learnt = 1 - config.settings_tried * failing, method.prior == "learnt"
    rows = []
    for seed in range(config.seeds):
        found = {key: values[seed].item() for key, values in numbers.items()}
        rows.append(
            Certified(
                method=name,
                seed=seed,
                holds=found["test_error"] <= found["bound"],
                vacuous=not found["bound"] < 1,
                below_guessing=found["bound"] < guessing,
                test_examples=len(ready.test),
                confidence=confidence,
                learnt_prior=learnt,
                **found,
            )
        )
    return rows
