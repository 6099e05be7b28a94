"""Information of noisy layers, T = f(X) + N(0, v I), between two bounds from pairs of examples.

Kolchinsky and Tracey, Estimating mixture entropy with pairwise distances (Entropy 19, 2017), eqs
10-13 for Gaussian components with one covariance. X is uniform over the N examples at hand, so T is
a mixture of N Gaussians; that its entropy lies between both values is a theorem. In nats.
"""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.core
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from genjax.errors import InvalidInputError
from genjax.metrics.layers.checks import check_points

CHUNK = 256
"""Rows of the distance matrix at once: 10,000 x 256 takes some 50 MiB beside the points."""


class PairwiseInformation(NamedTuple):
    """Bounds in nats; of the N examples at hand, not of the population they come from.

    Attributes:
        entropy_low: Bhattacharyya bound of the differential entropy h(T).
        entropy_high: Kullback-Leibler bound of h(T).
        input_low: of I(X; T) = h(T) - h(noise), at least 0.
        input_high: at most log N.
        label_low: of I(T; Y), at least 0: the lower bound of h(T) minus the upper ones of h(T | Y).
            NaN without labels.
        label_high: the other way round, at most H(Y).
        label_cap: H(Y).
    """

    entropy_low: Float[Array, ""]
    entropy_high: Float[Array, ""]
    input_low: Float[Array, ""]
    input_high: Float[Array, ""]
    label_low: Float[Array, ""]
    label_high: Float[Array, ""]
    label_cap: Float[Array, ""]


def pairwise_information(
    points: Any,
    labels: Any = None,
    *,
    variance: float | Float[Any, ""],
    chunk: int = CHUNK,
) -> PairwiseInformation:
    """Bounds of h(T), I(X; T) and I(T; Y) of a layer with Gaussian noise of variance v per unit.

    With `D_ij = ||f(x_i) - f(x_j)||^2` and `S(c) = -mean_i log mean_j exp(-D_ij / c v)`:

        S(8) <= I(X; T) <= S(2),    h(T) = I(X; T) + d/2 log(2 pi e v),

    and the same within each class for h(T | Y). From `I(X; T) = I(X; T | Y) + I(T; Y)`,
    `S(8) - S_within(2) <= I(T; Y) <= S(2) - S_within(8)`. (Codes that subtract two upper bounds get
    a value that bounds nothing.) The noise is put on this layer alone: values of several layers are
    of different channels and need not fall with depth. Both bounds meet where examples lie together
    or many standard deviations apart.

    Distances come from one product of matrices of centred points and are wrong by rounding of the
    order of `eps ||f(x)||^2`: in float32 choose v above 1e-5 of the mean squared norm, or use
    float64. Memory beside the points is about `12 N chunk` bytes in float32, time `N^2 d`.

    Args:
        points: f(x), `[N, d]`.
        labels: `[N]`, or None.
        variance: v, positive. May be traced.
        chunk: rows of pairs at once.

    Returns:
        Scalars of the precision of the points. Pure: goes through `jit` (chunk static) and `vmap`.

    Raises:
        InvalidInputError: a variance that is not positive (without noise I(X; T) of continuous
            inputs is infinite), or points and labels that do not fit.

    Example:
        >>> found = pairwise_information([[0.0], [100.0]], [0, 1], variance=1.0)
        >>> [round(float(v), 4) for v in (found.input_low, found.input_high, found.label_high)]
        [0.6931, 0.6931, 0.6931]
    """
    points, labels = check_points(points, labels, min_classes=1)
    if not isinstance(variance, jax.core.Tracer) and not 0 < float(variance) < math.inf:
        raise InvalidInputError(
            f"variance: found {float(variance)}; noise above 0 and finite is needed, without it "
            "I(X; T) is infinite."
        )
    if chunk < 1:
        raise InvalidInputError(f"chunk: found {chunk}; at least 1 is needed.")
    points = jnp.asarray(points)
    classes = jnp.zeros(len(points), int) if labels is None else jnp.asarray(labels)
    found = _bounds(points, classes, jnp.asarray(variance, points.dtype), min(chunk, len(points)))
    if labels is None:
        nothing = jnp.full((), jnp.nan, points.dtype)
        found = found._replace(label_low=nothing, label_high=nothing, label_cap=nothing)
    return found


@functools.partial(jax.jit, static_argnums=3)
def _bounds(
    points: Float[Array, "N d"],
    classes: Int[Array, " N"],
    variance: Float[Array, ""],
    chunk: int,
) -> PairwiseInformation:
    means = _mean_surprises(points, classes, variance, chunk)
    all_high, all_low, within_high, within_low, label_cap = means
    log_count = jnp.log(jnp.asarray(points.shape[0], points.dtype))
    high = jnp.minimum(all_high, log_count)
    noise = 0.5 * points.shape[1] * (jnp.log(2 * math.pi * variance) + 1.0)
    return PairwiseInformation(
        entropy_low=all_low + noise,
        entropy_high=high + noise,
        input_low=all_low,
        input_high=high,
        label_low=jnp.clip(all_low - within_high, 0.0, label_cap),
        label_high=jnp.clip(high - within_low, 0.0, label_cap),
        label_cap=label_cap,
    )


def _mean_surprises(points, classes, variance, chunk: int) -> Float[Array, " 5"]:
    """Mean over i of -log mean_j exp(-D/2v) and exp(-D/8v), over all and within classes; H(Y)."""
    count = points.shape[0]
    points = points - points.mean(axis=0, keepdims=True)
    norms = jnp.sum(points * points, axis=1)
    # Each chunk of rows against all columns; the last one is filled up with rows that count 0.
    chunks = -(-count // chunk)
    rows = jnp.minimum(jnp.arange(chunks * chunk), count - 1).reshape(chunks, chunk)
    weights = (jnp.arange(chunks * chunk) < count).astype(points.dtype).reshape(chunks, chunk)

    def one(arguments):
        index, weight = arguments
        products = jnp.matmul(points[index], points.T, precision="highest")
        squares = jnp.maximum(norms[index][:, None] + norms[None] - 2.0 * products, 0.0)
        squares = jnp.where(index[:, None] == jnp.arange(count)[None], 0.0, squares)
        same = classes[index][:, None] == classes[None]
        # Its own term is exp(0): the sums neither vanish nor overflow.
        near, far = jnp.exp(squares * (-0.5 / variance)), jnp.exp(squares * (-0.125 / variance))
        members = same.sum(axis=1).astype(points.dtype)
        surprises = jnp.stack(
            [
                -jnp.log(near.mean(axis=1)),
                -jnp.log(far.mean(axis=1)),
                -jnp.log(jnp.where(same, near, 0.0).sum(axis=1) / members),
                -jnp.log(jnp.where(same, far, 0.0).sum(axis=1) / members),
                -jnp.log(members / count),
            ]
        )
        return jnp.matmul(surprises, weight, precision="highest")

    return jax.lax.map(one, (rows, weights)).sum(axis=0) / count
