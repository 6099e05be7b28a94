"""Local learning coefficients by Langevin sampling, and the closed form of reduced-rank regression.

By hand and not through a sampling library: chains, networks and minibatches have to be vectorised
together, and the loop is ten lines.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from genjax.errors import InvalidInputError
from genjax.types import Key


class Langevin(NamedTuple):
    """How to sample around a parameter.

    Attributes:
        step: epsilon; None takes 0.02 / (n beta), which is stable for curvatures up to 200.
        localisation: gamma, strength of the pull back to the parameter.
        chains: independent ones, all started at the parameter.
        burn_in: steps before draws count.
        draws: steps that count.
        batch: examples per gradient, drawn with replacement; None takes all.
        together: whether chains run under `vmap`, or one after the other.
    """

    step: float | None = None
    localisation: float = 100.0
    chains: int = 4
    burn_in: int = 200
    draws: int = 200
    batch: int | None = 128
    together: bool = True


class LearningCoefficient(NamedTuple):
    """An estimate with what it was made of.

    Attributes:
        value: lambda-hat, without unit.
        standard_error: of the mean over chains, from their spread.
        chains: estimate of each chain, [chains].
        mean_loss: E_beta[L_n].
    """

    value: Any
    standard_error: Any
    chains: Any
    mean_loss: Any


def local_learning_coefficient(
    loss: Callable[[Any, Any], Any],
    params: Any,
    examples: Any,
    key: Key,
    *,
    size: int,
    baseline: Any = None,
    inverse_temperature: float | None = None,
    how: Langevin = Langevin(),  # noqa: B008 - immutable
) -> LearningCoefficient:
    """Estimate the local learning coefficient of a loss at a parameter.

    lambda-hat = n beta (E_beta[L_n(w)] - L_n(w*)), beta = 1 / ln n, under the density proportional
    to exp(-n beta L_n(w) - gamma |w - w*|^2 / 2), sampled by w <- w - (epsilon / 2) (n beta grad
    L_b(w) + gamma (w - w*)) + N(0, epsilon) with L_b the loss of a fresh minibatch (Lau, Furman,
    Wang, Murfet and Wei, The local learning coefficient: a singularity-aware complexity measure,
    2023). The mean loss is that of the minibatches, which were not drawn when w was. There is no
    correction for the step: a direction of curvature h (of n beta L_n) gains a factor of about
    1 + epsilon h / 4.

    Args:
        loss: `(params, examples) -> mean loss`, in nats.
        params: w*, a minimum of the loss.
        examples: pytree of arrays with a common first axis.
        key: of minibatches and noise.
        size: n, number of examples that the loss was trained on.
        baseline: L_n(w*); None computes it on all examples.
        inverse_temperature: n beta; None takes n / ln n.
        how: the sampler.

    Raises:
        InvalidInputError: fewer than 2 chains or no draws.

    Example:
        >>> def loss(w, x):  # a regular parameter has half of its dimension
        ...     return 0.5 * jnp.mean((x @ w) ** 2)
        >>> x = jnp.repeat(jnp.eye(2), 50, axis=0)
        >>> how = Langevin(step=0.02, localisation=0.01, burn_in=100, draws=4000, batch=None)
        >>> found = local_learning_coefficient(
        ...     loss, jnp.zeros(2), x, jax.random.key(0), size=100, how=how)
        >>> bool(abs(found.value - 1.0) < 0.15)
        True
    """
    if how.chains < 2 or how.draws < 1 or how.burn_in < 0:
        raise InvalidInputError(
            f"how: found {how.chains} chains, {how.draws} draws, {how.burn_in} steps of burn-in; "
            "allowed are at least 2 chains, 1 draw and 0 steps."
        )
    warmth = size / math.log(size) if inverse_temperature is None else inverse_temperature
    step = 0.02 / warmth if how.step is None else how.step
    chain = _chain(loss, params, examples, warmth, how._replace(step=step))
    keys = jax.random.split(key, how.chains)
    means = jax.vmap(chain)(keys) if how.together else jax.lax.map(chain, keys)
    floor = loss(params, examples) if baseline is None else baseline
    estimates = warmth * (means - floor)
    error = jnp.std(estimates, ddof=1) / math.sqrt(how.chains)
    return LearningCoefficient(jnp.mean(estimates), error, estimates, jnp.mean(means))


def _chain(loss, params, examples, warmth, how):
    """Return `key -> mean loss of the draws` of one chain."""
    count = jax.tree.leaves(examples)[0].shape[0]
    gradient = jax.value_and_grad(loss)
    sources, structure = jax.tree.flatten(params)
    scale = math.sqrt(how.step)

    def batch(key):
        if how.batch is None or how.batch >= count:
            return examples
        chosen = jax.random.randint(key, (how.batch,), 0, count)
        return jax.tree.map(lambda a: a[chosen], examples)

    def advance(state, draw):
        now, total = state
        for_batch, for_noise = jax.random.split(draw[0])
        value, slope = gradient(jax.tree.unflatten(structure, now), batch(for_batch))
        keys = jax.random.split(for_noise, len(now))
        moved = [
            w
            - how.step / 2 * (warmth * g + how.localisation * (w - w0))
            + scale * jax.random.normal(k, w.shape, w.dtype)
            for w, w0, g, k in zip(now, sources, jax.tree.leaves(slope), keys, strict=True)
        ]
        return (moved, total + jnp.where(draw[1], value, 0.0)), None

    def run(key):
        steps = how.burn_in + how.draws
        counts = jnp.arange(steps) >= how.burn_in
        start = (sources, jnp.zeros((), jnp.result_type(float)))
        (_, total), _ = jax.lax.scan(advance, start, (jax.random.split(key, steps), counts))
        return total / how.draws

    return run


def reduced_rank_learning_coefficient(m: int, h: int, n: int, r: int = 0) -> float:
    """Return the learning coefficient of x -> B A x with m inputs, h hidden and n outputs.

    The true map has rank r (Aoyagi and Watanabe, Stochastic complexities of reduced rank
    regression in Bayesian estimation, 2005, main theorem).

    Args:
        m: inputs.
        h: hidden units.
        n: outputs.
        r: rank of the true map, at most min(m, h, n).

    Raises:
        InvalidInputError: a rank that the network cannot have.

    Example:
        >>> reduced_rank_learning_coefficient(5, 3, 5)
        6.5
    """
    if min(m, h, n) < 1 or not 0 <= r <= min(m, h, n):
        raise InvalidInputError(
            f"r: found rank {r} with sizes {(m, h, n)}; allowed are sizes from 1 and ranks from 0 "
            "to the smallest of them."
        )
    if m + h < n + r:
        return (h * m - h * r + n * r) / 2
    if n + h < m + r:
        return (h * n - h * r + m * r) / 2
    if m + n < h + r:
        return m * n / 2
    odd = (m + h + n + r) % 2
    s = h + r
    return (-(s**2) - m**2 - n**2 + 2 * s * m + 2 * s * n + 2 * m * n + odd) / 8
