"""Means of classes and the nearest of them: what collapse, few-shot and probes have in common."""

from typing import Any, NamedTuple

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from genjax.errors import InvalidInputError

_ROUNDING = 16
"""How many units of rounding two values may differ by and still count as equal."""


class ClassMeans(NamedTuple):
    """Means of classes.

    Attributes:
        means: of every class; 0 where it has no example.
        counts: examples of every class.
    """

    means: Float[Array, "C D"]
    counts: Float[Array, " C"]


def check_num_classes(labels: Any, num_classes: int) -> None:
    """Refuse labels beyond the last class; traced labels are not looked at.

    Args:
        labels: `[N]`.
        num_classes: C.

    Raises:
        InvalidInputError: a label is not below `num_classes`.

    Example:
        >>> check_num_classes(jnp.array([0, 2]), 3)
    """
    if isinstance(labels, jax.core.Tracer):
        return
    largest = int(np.max(np.asarray(labels)))
    if largest >= num_classes:
        raise InvalidInputError(
            f"labels: found {largest}; with num_classes {num_classes} the largest is "
            f"{num_classes - 1}."
        )


def class_means(points: Any, labels: Any, *, num_classes: int) -> ClassMeans:
    """Return the mean of every class.

    Args:
        points: `[N, D]`; centred ones lose nothing to rounding.
        labels: `[N]`, in 0 ... num_classes - 1.
        num_classes: C; static.

    Raises:
        InvalidInputError: a label is not below `num_classes`.

    Example:
        >>> points = jnp.array([[1.0], [3.0], [5.0]])
        >>> class_means(points, jnp.array([0, 0, 1]), num_classes=3).means.ravel().tolist()
        [2.0, 5.0, 0.0]
    """
    check_num_classes(labels, num_classes)
    points = jnp.asarray(points)
    member = jax.nn.one_hot(labels, num_classes, dtype=points.dtype)
    counts = jnp.sum(member, axis=0)
    sums = jnp.matmul(member.T, points, precision="highest")
    return ClassMeans(sums / jnp.maximum(counts, 1)[:, None], counts)


def varies(points: Any) -> Bool[Array, ""]:
    """Return whether the points `[N, D]` differ by more than rounding.

    Example:
        >>> bool(varies(jnp.array([[7.0], [7.0]]))), bool(varies(jnp.array([[7.0], [7.1]])))
        (False, True)
    """
    points = jnp.asarray(points)
    spread = jnp.max(jnp.abs(points - points[:1]))
    return spread > _ROUNDING * jnp.finfo(points.dtype).eps * jnp.max(jnp.abs(points))


def squared_distances(first: Any, second: Any) -> Float[Array, "M C"]:
    """Return `||a - b||^2 = ||a||^2 + ||b||^2 - 2 a b` of all pairs, at least 0.

    Args:
        first: `[M, D]`, about a common centre: what is far from the origin rounds.
        second: `[C, D]`, about the same centre.

    Example:
        >>> squared_distances(jnp.array([[0.0, 1.0]]), jnp.array([[0.0, 1.0], [2.0, 1.0]])).tolist()
        [[0.0, 4.0]]
    """
    norms = jnp.sum(jnp.square(first), axis=1)[:, None] + jnp.sum(jnp.square(second), axis=1)[None]
    return jnp.maximum(norms - 2 * jnp.matmul(first, second.T, precision="highest"), 0)


def nearest_mean(
    points: Any, means: Any, present: Bool[Array, " C"] | None = None
) -> Int[Array, " M"]:
    """Return the class whose mean is nearest (Euclidean) to every point.

    Means that are as near as the nearest but for rounding tie with it, and the smallest class wins.

    Args:
        points: `[M, D]`, about a common centre.
        means: `[C, D]`, about the same centre.
        present: which classes take part; all if None.

    Example:
        >>> means = jnp.array([[0.0], [4.0], [9.0]])
        >>> nearest_mean(jnp.array([[1.0], [2.0], [8.0]]), means).tolist()
        [0, 0, 2]
    """
    points, means = jnp.asarray(points), jnp.asarray(means)
    distances = squared_distances(points, means)
    if present is not None:
        distances = jnp.where(present[None], distances, jnp.inf)
    largest = jnp.max(jnp.where(jnp.isfinite(distances), jnp.square(means).sum(1)[None], 0), axis=1)
    rounding = jnp.finfo(points.dtype).eps * (jnp.sum(jnp.square(points), axis=1) + largest)
    near = distances <= jnp.min(distances, axis=1, keepdims=True) + 4 * rounding[:, None]
    return jnp.argmax(near, axis=1)
