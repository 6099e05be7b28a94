"""Flatness: how much Gaussian noise on all weights a network bears before its accuracy drops."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from genjax.errors import InvalidInputError
from genjax.metrics.complexity.contract import (
    Intermediate,
    Measure,
    Refusal,
    Result,
    refuse_where,
)
from genjax.metrics.complexity.workspace import CHUNK, Workspace, in_chunks
from genjax.types import Key, Params

DROP = 0.1
DRAWS = 10
STEPS = 11
EPSILON = 1e-3
"""What magnitude-aware perturbations give to weights of size zero (Jiang et al., appendix C)."""

_OCTAVES = 15  # of the range searched: the resolution of 15 bisections of [0, largest]
_SLOPE_STEP = 5  # the bracket is then half an octave wide: more than noise, less than curvature
_STORED = 2**24  # normal draws kept between steps, 64 MiB; more of them are drawn at each step


class Tolerated(NamedTuple):
    """The largest scale of a perturbation that a network tolerates.

    Attributes:
        scale: where the accuracy has dropped by the target; NaN where the search found none.
        standard_error: of `scale`, from the spread between draws; NaN where there is one draw.
        found: whether the range searched holds such a scale.
    """

    scale: Any
    standard_error: Any
    found: Any


def tolerated_noise(
    apply: Callable[[Params, Any], Any],
    params: Params,
    images: Any,
    labels: Any,
    key: Key,
    *,
    magnitude: bool = False,
    drop: float = DROP,
    draws: int = DRAWS,
    examples: int | None = None,
    steps: int = STEPS,
    largest: float | int = 2.0,
) -> Tolerated:
    """Return the largest sigma of noise on all weights with a mean drop in accuracy of `drop`.

    The noise on weight w_j is Gaussian with standard deviation sigma, or with `magnitude`
    sqrt(sigma^2 w_j^2 + eps^2), eps 1e-3; biases are weights (Jiang et al. 2020, appendix C and
    algorithm 1). All sigmas scale the same standard normal draws, so that the drop is a
    deterministic function of sigma; where it is not monotone the result is one of its crossings.
    Halves the logarithm of the range [largest / 2^15, largest] and interpolates the last bracket.

    The code of Dziugaite et al. (2020) passes these variances as standard deviations: its plain
    sigma is the square root of this one.

    Args:
        apply: `(params, images) -> logits`.
        params: of one network.
        images: [N, H, W, C].
        labels: [N].
        key: of the draws.
        magnitude: whether the noise is proportional to the weights.
        drop: of the accuracy, as a fraction.
        draws: of the noise.
        examples: that each draw is tried on; None deals the N examples out to the draws, at most
            512 to each, so that a step costs one forward pass over the examples.
        steps: sigmas tried.
        largest: of them.

    Raises:
        InvalidInputError: a number is out of range.

    Example:
        >>> images = jnp.eye(10).reshape(10, 10, 1, 1)
        >>> weights = jnp.stack([jnp.ones(10), jnp.zeros(10)], axis=1)
        >>> found = tolerated_noise(
        ...     lambda w, x: x.reshape(len(x), -1) @ w, weights, images, jnp.zeros(10, int),
        ...     jax.random.key(0), draws=1000, examples=10)
        >>> round(float(found.scale), 2)  # Phi(-1 / (sqrt(2) sigma)) = 0.1 at 0.5518
        0.55
    """
    check_search(drop, steps, largest)
    for name, number in (("draws", draws), ("examples", 1 if examples is None else examples)):
        if number < 1:
            raise InvalidInputError(f"{name}: found {number}; allowed are whole numbers from 1.")
    right = jnp.argmax(in_chunks(lambda x: apply(params, x), images), axis=-1) == labels
    drops = _drops(apply, params, (images, labels, right), key, magnitude, draws, examples)
    return largest_tolerated(drops, drop=drop, largest=largest, steps=steps)


def check_search(drop: float, steps: int, largest: float | int) -> None:
    """Refuse a search that cannot find anything.

    Raises:
        InvalidInputError: a number is out of range.
    """
    if not 0 < drop < 1:
        raise InvalidInputError(f"drop: found {drop}; allowed are fractions between 0 and 1.")
    if steps < 2:
        raise InvalidInputError(f"steps: found {steps}; allowed are whole numbers from 2.")
    if not (largest > 0 and math.isfinite(largest)):
        raise InvalidInputError(f"largest: found {largest}; allowed are numbers above 0.")


def largest_tolerated(
    drops: Callable[[Any], Any], *, drop: float, largest: float | int, steps: int = STEPS
) -> Tolerated:
    """Return the scale at which the mean of `drops(scale)` crosses `drop`.

    Args:
        drops: `scale -> [K]`, drops in accuracy of K draws; their mean is 0 at scale 0.
        drop: the target.
        largest: end of the range [largest / 2^15, largest].
        steps: scales tried, the largest one first.

    Example:
        >>> found = largest_tolerated(lambda s: s * jnp.array([1.0, 3.0]), drop=0.1, largest=2.0)
        >>> round(float(found.scale), 4)
        0.05
    """
    end = jnp.log(jnp.asarray(largest, jnp.result_type(float)))
    start = end - _OCTAVES * math.log(2)

    def step(index, state):
        low, high, drop_low, drop_high, slope, _ = state
        middle = jnp.where(index == 0, end, (low + high) / 2)
        found = drops(jnp.exp(middle))
        mean = jnp.mean(found)
        borne = mean <= drop + 1e-6  # a drop of just the target is a count: rounding must not tell
        low, drop_low = jnp.where(borne, middle, low), jnp.where(borne, mean, drop_low)
        high, drop_high = jnp.where(borne, high, middle), jnp.where(borne, drop_high, mean)
        slope = jnp.where(index <= _SLOPE_STEP, (drop_high - drop_low) / (high - low), slope)
        spread = jnp.std(found, ddof=1) / math.sqrt(len(found)) if len(found) > 1 else jnp.nan
        return low, high, drop_low, drop_high, slope, jnp.asarray(spread, mean.dtype)

    zero = jnp.zeros_like(end)
    state = jax.lax.fori_loop(0, steps, step, (start, end, zero, zero, zero, zero))
    low, high, drop_low, drop_high, slope, spread = state
    share = jnp.clip((drop - drop_low) / (drop_high - drop_low), 0.0, 1.0)
    scale = jnp.exp(low + share * (high - low))
    holds = (drop_high > drop + 1e-6) & (low > start)
    return Tolerated(
        jnp.where(holds, scale, jnp.nan), jnp.where(holds, scale * spread / slope, jnp.nan), holds
    )


def _drops(apply, params, measured, key, magnitude, draws, examples):
    """Return `sigma -> [draws]`, the drop of each draw on the examples dealt to it."""
    count = len(measured[1])
    size = min(CHUNK, -(-count // draws)) if examples is None else min(examples, count)
    dealt = (np.arange(draws * size) % count).reshape(draws, size)
    shares = tuple(jnp.asarray(array)[dealt] for array in measured)
    flat, unravel = ravel_pytree(params)
    keys = jax.random.split(key, draws)

    def draw(key):
        return jax.random.normal(key, flat.shape, flat.dtype)

    stored = draws * flat.size <= _STORED
    normals = jax.lax.map(draw, keys) if stored else keys

    def of_one(sigma, normal, images, labels, right):
        deviation = jnp.sqrt(sigma**2 * flat**2 + EPSILON**2) if magnitude else sigma
        noise = deviation * (normal if stored else draw(normal))
        guessed = jnp.argmax(apply(unravel(flat + noise), images), axis=-1)
        return jnp.mean(right.astype(flat.dtype) - (guessed == labels).astype(flat.dtype))

    return lambda sigma: jax.lax.map(lambda one: of_one(sigma, *one), (normals, *shares))


def _sigma(workspace: Workspace, magnitude: bool) -> Tolerated:
    train, trained = workspace.data.train, workspace.trained
    right = jnp.argmax(workspace["logits"], axis=-1) == train.labels
    drops = _drops(
        workspace.network.apply,
        trained.params,
        (train.images, train.labels, right),
        workspace.key("weight_noise"),
        magnitude,
        DRAWS,
        None,
    )
    return largest_tolerated(drops, drop=DROP, largest=2.0)


def of_scale(found: Tolerated, formula: Callable[[Any], Any], name: str) -> Result:
    """Return `formula(scale)`, its standard error and the scale, or a refusal.

    Args:
        found: by a search.
        formula: differentiable.
        name: of the scale among the diagnostics.
    """
    amount, slope = jax.value_and_grad(formula)(found.scale)
    return refuse_where(
        {Refusal.NOT_FOUND: ~found.found},
        amount,
        standard_error=jnp.abs(slope) * found.standard_error,
        **{name: found.scale},
    )


INTERMEDIATES = (
    Intermediate(
        "sigma",
        lambda workspace: _sigma(workspace, magnitude=False),
        needs=("logits",),
        passes=STEPS / 3,
    ),
    Intermediate(
        "sigma_magnitude",
        lambda workspace: _sigma(workspace, magnitude=True),
        needs=("logits",),
        passes=STEPS / 3,
    ),
)

MEASURES = (
    Measure(
        name="pacbayes_flatness",
        family="flatness",
        formula="1/sigma^2 (eq 53), sigma the standard deviation of Gaussian noise on all weights "
        "at which the mean training accuracy is 0.1 lower: 10 draws, each on its tenth of the "
        "examples, the same for all sigmas; sigma in [2^-14, 2], 11 steps in ln sigma",
        source="Jiang et al., Fantastic Generalization Measures, ICLR 2020",
        compute=lambda workspace: of_scale(workspace["sigma"], lambda s: 1 / s**2, "sigma"),
        needs=("sigma",),
    ),
    Measure(
        name="pacbayes_mag_flatness",
        family="flatness",
        formula="1/sigma'^2 (eq 61), sigma' as sigma of pacbayes_flatness for noise of variance "
        "sigma'^2 w_j^2 + eps^2 on weight w_j, eps = 1e-3",
        source="Jiang et al., Fantastic Generalization Measures, ICLR 2020",
        compute=lambda workspace: of_scale(
            workspace["sigma_magnitude"], lambda s: 1 / s**2, "sigma"
        ),
        needs=("sigma_magnitude",),
    ),
)
