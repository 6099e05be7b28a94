"""Train a stochastic network to have a small PAC-Bayes bound, and certify it.

The weights are independent Gaussians. The prior is centred on the initial weights, or on weights
learnt from one part of the examples; the certificate is computed on the other part, which the prior
has never seen. The posterior may depend on everything.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from genjax.errors import InvalidInputError, suggest
from genjax.metrics.complexity import bounds
from genjax.metrics.complexity.contract import Labelled
from genjax.metrics.complexity.objectives import OBJECTIVES
from genjax.metrics.complexity.workspace import CHUNK, cross_entropies, in_chunks
from genjax.models import Network
from genjax.types import Key, Params

PRIORS = ("initial", "learnt")
_TOGETHER = 8  # draws at once


@dataclasses.dataclass(frozen=True)
class CertificateConfig:
    """How a stochastic network is trained and certified.

    Attributes:
        objective: one of `objectives.OBJECTIVES`.
        prior: centred on the `initial` weights, or `learnt` from a part of the examples.
        prior_share: share of the examples that a learnt prior is trained on; the others certify.
        deviation: standard deviation of every weight under the prior; fixed beforehand.
        prior_epochs: of the training of a learnt prior.
        epochs: of the training of the posterior.
        batch_size: examples per step.
        learning_rate: of Adam, at the start of a cosine; deviations are learnt as logarithms.
        spread_rate: learning rate of these logarithms.
        min_probability: the loss is -ln max(p, min_probability) / ln(1/min_probability), in [0, 1].
        delta: probability that the bound fails.
        sampling_delta: probability that the average over draws misleads.
        draws: of the weights, for the certificate.
        examples_per_draw: drawn with replacement for each; 0 takes all.
    """

    objective: str = "fquad"
    prior: str = "learnt"
    prior_share: float = 0.5
    deviation: float = 0.03
    prior_epochs: int = 20
    epochs: int = 20
    batch_size: int = 64
    learning_rate: float = 1e-3
    spread_rate: float = 1e-2
    min_probability: float = 1e-5
    delta: float = 0.025
    sampling_delta: float = 0.01
    draws: int = 1000
    examples_per_draw: int = 0

    def __post_init__(self):
        """Refuse what cannot be trained or certified, by name."""
        if self.objective not in OBJECTIVES:
            raise InvalidInputError(suggest("objective", self.objective, list(OBJECTIVES)))
        if self.prior not in PRIORS:
            raise InvalidInputError(suggest("prior", self.prior, PRIORS))
        for name in ("epochs", "batch_size", "draws"):
            if getattr(self, name) < 1:
                raise InvalidInputError(
                    f"{name}: found {getattr(self, name)}; allowed are whole numbers from 1."
                )
        for name in ("prior_share", "min_probability", "delta", "sampling_delta"):
            if not 0 < getattr(self, name) < 1:
                raise InvalidInputError(
                    f"{name}: found {getattr(self, name)}; it must be between 0 and 1."
                )
        if not self.deviation > 0:
            raise InvalidInputError(f"deviation: found {self.deviation}; it must be above 0.")

    @property
    def confidence(self) -> float:
        """Probability with which the certificate holds, at least."""
        return 1 - self.delta - self.sampling_delta


DEFAULTS = CertificateConfig()


class Gaussian(NamedTuple):
    """Independent Gaussians, one per weight.

    Attributes:
        mean: tree of arrays.
        log_deviation: the same tree, natural logarithms of the standard deviations.
    """

    mean: Params
    log_deviation: Params


class StochasticNetwork(NamedTuple):
    """What training returns.

    Attributes:
        prior: did not see the examples that certify.
        posterior: what predicts; every prediction draws its weights anew.
        certifying: positions of the examples that certify [n].
    """

    prior: Gaussian
    posterior: Gaussian
    certifying: Any


class Certificate(NamedTuple):
    """A bound on the error of a stochastic network, over its draws and over new examples.

    Attributes:
        bound: with probability `confidence` at least, the error is not above it.
        vacuous: it is 1 or more.
        sampled_error: average error on the certifying examples, over the draws.
        standard_error: of that average.
        train_error_bound: what the error on the certifying examples is at most, given the draws.
        kl_nats: divergence of the posterior from the prior.
        num_examples: how many examples certify.
        confidence: 1 - delta - sampling_delta.
    """

    bound: Any
    vacuous: Any
    sampled_error: Any
    standard_error: Any
    train_error_bound: Any
    kl_nats: Any
    num_examples: Any
    confidence: Any


def around(params: Params, deviation: float | int) -> Gaussian:
    """Return Gaussians of one deviation around weights.

    Example:
        >>> around({"w": jnp.zeros(2)}, 1.0).log_deviation["w"].tolist()
        [0.0, 0.0]
    """
    spread = jax.tree.map(lambda w: jnp.full_like(w, math.log(deviation)), params)
    return Gaussian(params, spread)


def draw(gaussian: Gaussian, key: Key) -> Params:
    """Draw weights, mean + deviation * noise.

    Example:
        >>> draw(around({"w": jnp.ones(2)}, 1e-9), jax.random.key(0))["w"].tolist()
        [1.0, 1.0]
    """
    # One vector for all weights: a generator per array takes many times longer to compile.
    mean, restore = ravel_pytree(gaussian.mean)
    deviation = jnp.exp(ravel_pytree(gaussian.log_deviation)[0])
    return restore(mean + deviation * jax.random.normal(key, mean.shape, mean.dtype))


def divergence(posterior: Gaussian, prior: Gaussian) -> Any:
    """Return KL(posterior||prior) in nats, summed over all weights.

    Sum of (exp(2r) - 1 - 2r)/2 + (m - m0)^2/(2 s0^2) with r = ln s - ln s0.

    Example:
        >>> one, two = around({"w": jnp.ones(3)}, 1.0), around({"w": jnp.zeros(3)}, 1.0)
        >>> float(divergence(one, two)), float(divergence(two, two))
        (1.5, 0.0)
    """
    m, s, m0, s0 = (ravel_pytree(part)[0] for part in (*posterior, *prior))
    r = s - s0
    return jnp.sum((jnp.expm1(2 * r) - 2 * r + ((m - m0) * jnp.exp(-s0)) ** 2) / 2)


def minimise(
    objective: Callable[..., Any], start: Any, rates: Any, examples: Labelled, key: Key, rules: Any
) -> Any:
    """Minimise `objective(variables, batch, key)` over batches by Adam under a cosine.

    Args:
        objective: scalar.
        start: variables, a tree of arrays.
        rates: learning rates, the same tree of scalars.
        examples: batches `(images, labels)` are drawn from them.
        key: of their order, and of the key that the objective is given.
        rules: (epochs, batch size).

    Returns:
        The variables after the last step.
    """
    epochs, batch_size = rules
    count = examples.labels.shape[0]
    size = min(batch_size, count)
    steps = count // size
    decay = optax.cosine_decay_schedule(1.0, max(epochs * steps, 1))
    optimizer = optax.chain(optax.scale_by_adam(), optax.scale_by_learning_rate(decay))
    rates = ravel_pytree(jax.tree.map(lambda rate, w: jnp.full_like(w, rate), rates, start))[0]
    start, restore = ravel_pytree(start)

    def step(carry, batch):
        variables, state = carry
        chosen, noise = batch
        pieces = (examples.images[chosen], examples.labels[chosen])
        gradient = jax.grad(lambda v: objective(restore(v), pieces, noise))(variables)
        updates, state = optimizer.update(gradient, state, variables)
        return (variables + rates * updates, state), None

    def epoch(carry, key):
        order_key, noise_key = jax.random.split(key)
        order = jax.random.permutation(order_key, count)[: steps * size].reshape(steps, size)
        return jax.lax.scan(step, carry, (order, jax.random.split(noise_key, steps)))

    keys = jax.random.split(key, epochs)
    (variables, _), _ = jax.lax.scan(epoch, (start, optimizer.init(start)), keys)
    return restore(variables)


def bounded_loss(logits: Any, labels: Any, min_probability: float) -> Any:
    """Return -ln max(p, min_probability) / ln(1/min_probability) of every example, in [0, 1].

    Example:
        >>> bounded_loss(jnp.array([[0.0, 100.0]]), jnp.array([0]), 1e-5).tolist()
        [1.0]
    """
    most = -math.log(min_probability)
    return jnp.minimum(cross_entropies(logits, labels), most) / most


def train(
    network: Network,
    init_params: Params,
    examples: Labelled,
    key: Key,
    config: CertificateConfig = DEFAULTS,
    *,
    start: Params | None = None,
) -> StochasticNetwork:
    """Train prior (where it is learnt) and posterior; pure, jittable, vmappable over networks.

    A learnt prior minimises the loss of the stochastic network on its part of the examples, under
    its fixed deviation. The posterior then minimises the objective on the other part.

    Args:
        network: the model as pure functions.
        init_params: weights that depend on no examples: the prior rests on them. Nothing here can
            tell whether they do.
        examples: independent draws of one distribution.
        key: of batches and noise, and of which examples certify.
        config: static rules.
        start: where the mean of the posterior starts; None takes the mean of the prior.

    Raises:
        InvalidInputError: fewer than 8 examples are left to certify.

    Example:
        >>> from genjax import data, models
        >>> net = models.create("mlp", image_shape=(8, 8, 1), num_classes=10, widths=(8,))
        >>> digits = data.load("digits").take(range(200))
        >>> examples = Labelled(jnp.asarray(digits.images), jnp.asarray(digits.labels))
        >>> params = net.fold(*net.init(jax.random.key(0)))
        >>> run = lambda key: train(net, params, examples, key)
        >>> jax.eval_shape(run, jax.random.key(1)).certifying.shape  # a run takes seconds
        (100,)
    """
    order_key, prior_key, key = jax.random.split(key, 3)
    count = examples.labels.shape[0]
    size = int(config.prior_share * count) if config.prior == "learnt" else 0
    if count - size < 8:
        raise InvalidInputError(
            f"examples: found {count}, of which {count - size} certify; at least 8 are needed."
        )
    order = jax.random.permutation(order_key, count)
    certifying = jnp.sort(order[size:])
    prior = around(init_params, config.deviation)
    if size:
        part = jax.tree.map(lambda a: jnp.asarray(a)[order[:size]], examples)
        prior = _learn_prior(network, prior, part, prior_key, config)
    part = jax.tree.map(lambda a: jnp.asarray(a)[certifying], examples)
    begin = prior if start is None else prior._replace(mean=start)
    posterior = _learn_posterior(network, begin, prior, part, key, config)
    return StochasticNetwork(prior, posterior, certifying)


def _mean_loss(network, gaussian, batch, key, config):
    images, labels = batch
    logits = network.apply(draw(gaussian, key), images)
    return jnp.mean(bounded_loss(logits, labels, config.min_probability))


def _learn_prior(network, prior, part, key, config) -> Gaussian:
    def objective(mean, batch, key):
        return _mean_loss(network, prior._replace(mean=mean), batch, key, config)

    rules = (config.prior_epochs, config.batch_size)
    rates = jax.tree.map(lambda _: config.learning_rate, prior.mean)
    return prior._replace(mean=minimise(objective, prior.mean, rates, part, key, rules))


def _learn_posterior(network, begin, prior, part, key, config) -> Gaussian:
    count = part.labels.shape[0]

    def objective(posterior, batch, key):
        risk = _mean_loss(network, posterior, batch, key, config)
        return OBJECTIVES[config.objective](risk, divergence(posterior, prior), float(count))

    rules = (config.epochs, config.batch_size)
    rates = Gaussian(
        jax.tree.map(lambda _: config.learning_rate, begin.mean),
        jax.tree.map(lambda _: config.spread_rate, begin.mean),
    )
    return minimise(objective, begin, rates, part, key, rules)


def stochastic_error(
    network: Network,
    gaussian: Gaussian,
    examples: Labelled,
    key: Key,
    *,
    draws: int,
    examples_per_draw: int = 0,
) -> tuple[Any, Any]:
    """Return the average error over draws of the weights, and its standard error.

    Every draw is a number in [0, 1] whose mean is the error of the stochastic network on these
    examples, whether it is read on all of them or on some drawn with replacement.

    Args:
        network: the model as pure functions.
        gaussian: of its weights.
        examples: [N].
        key: of the draws.
        draws: their number.
        examples_per_draw: 0 takes all.

    Example:
        >>> from genjax import models
        >>> net = models.create("mlp", image_shape=(2, 2, 1), num_classes=2, widths=())
        >>> params = jax.tree.map(jnp.zeros_like, net.fold(*net.init(jax.random.key(0))))
        >>> examples = Labelled(jnp.zeros((4, 2, 2, 1)), jnp.array([0, 0, 0, 1]))
        >>> weights = around(params, 1e-6)._replace(mean=params)
        >>> error, _ = stochastic_error(net, weights, examples, jax.random.key(0), draws=8)
        >>> 0 < float(error) < 1
        True
    """
    images, labels = jnp.asarray(examples.images), jnp.asarray(examples.labels)
    count = labels.shape[0]

    def one(key):
        weights_key, choice_key = jax.random.split(key)
        params = draw(gaussian, weights_key)
        x, y = images, labels
        if examples_per_draw:
            chosen = jax.random.randint(choice_key, (examples_per_draw,), 0, count)
            x, y = images[chosen], labels[chosen]
        wrong = in_chunks(lambda x: jnp.argmax(network.apply(params, x), axis=-1), x) != y
        return jnp.mean(wrong.astype(jnp.float32))

    most = max(1, min(_TOGETHER, CHUNK // (examples_per_draw or count)))
    # A divisor: a rest would compile the whole a second time.
    together = next(size for size in range(most, 0, -1) if draws % size == 0)
    found = jax.lax.map(one, jax.random.split(key, draws), batch_size=together)
    return jnp.mean(found), jnp.std(found) / math.sqrt(draws)


def certify(
    network: Network,
    trained: StochasticNetwork,
    examples: Labelled,
    key: Key,
    config: CertificateConfig = DEFAULTS,
) -> Certificate:
    """Return the certificate of a stochastic network; pure, jittable, vmappable over networks.

    kl^-1 of the error averaged over draws bounds the error on the certifying examples with
    probability 1 - sampling_delta; kl^-1 of that with Maurer's budget bounds the error on new
    examples with probability 1 - delta. Both hold with their sum (Langford and Caruana 2002;
    Perez-Ortiz et al., JMLR 2021). The average is over all draws alike.

    Args:
        network: the model as pure functions.
        trained: from `train`.
        examples: the same as there.
        key: of the draws; another one than that of the training.
        config: the same as there.
    """
    part = jax.tree.map(lambda a: jnp.asarray(a)[trained.certifying], examples)
    count = part.labels.shape[0]
    error, deviation = stochastic_error(
        network,
        trained.posterior,
        part,
        key,
        draws=config.draws,
        examples_per_draw=config.examples_per_draw,
    )
    kl = divergence(trained.posterior, trained.prior)
    on_examples = bounds.sampled_error_bound(error, config.draws, delta=config.sampling_delta)
    bound = bounds.maurer_bound(on_examples, kl, count, delta=config.delta)
    return Certificate(
        bound, bound >= 1, error, deviation, on_examples, kl, count, config.confidence
    )
