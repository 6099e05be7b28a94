"""Means of classes and the nearest of them: what collapse, few-shot and probes have in common."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from genjax.errors import InvalidInputError
from genjax.metrics.layers.checks import check_points

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


def check_dimensions(points: Any, test_points: Any) -> None:
    """Refuse test points of another dimension.

    Raises:
        InvalidInputError: naming both dimensions.

    Example:
        >>> check_dimensions(np.ones((3, 2)), np.ones((1, 2)))
    """
    if points.shape[1] != test_points.shape[1]:
        raise InvalidInputError(
            f"test_points: found {test_points.shape[1]} dimensions; the training points have "
            f"{points.shape[1]}."
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
    spread = jnp.max(jnp.abs(points - points[:1]), axis=0)
    # Column by column: a large constant one hides nothing.
    rounding = _ROUNDING * jnp.finfo(points.dtype).eps * jnp.max(jnp.abs(points), axis=0)
    return jnp.any(spread > rounding)


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


def nearest_mean_predictions(
    points: Any, labels: Any, queries: Any, *, num_classes: int
) -> Int[Array, " M"]:
    """Return the class whose mean is nearest to every query; of equals the smaller class.

    Args:
        points: `[N, D]`.
        labels: `[N]`, in 0 ... num_classes - 1; classes without examples are never predicted.
        queries: `[M, D]`.
        num_classes: static.

    Raises:
        InvalidInputError: bad points or labels.

    Example:
        >>> points, labels = jnp.array([[0.0], [2.0], [9.0]]), jnp.array([0, 0, 1])
        >>> queries = jnp.array([[4.0], [6.0]])
        >>> nearest_mean_predictions(points, labels, queries, num_classes=2).tolist()
        [0, 1]
    """
    points, labels = check_points(points, labels, min_classes=1)
    points = jnp.asarray(points)
    centre = jnp.mean(points, axis=0, keepdims=True)
    means, counts = class_means(points - centre, labels, num_classes=num_classes)
    return nearest_mean(jnp.asarray(queries) - centre, means, counts > 0)


def nearest_class_mean(
    points: Any, labels: Any, test_points: Any, test_labels: Any, *, num_classes: int
) -> Float[Array, ""]:
    """Return the share of test points whose nearest class mean of the training points is theirs.

    0 to 1, higher is better; chance about 1 / C. Of equally near means the smaller class. NaN
    where the training points are all equal. Pure: jit, vmap.

    Args:
        points: training, `[N, D]`.
        labels: `[N]`, in 0 ... num_classes - 1.
        test_points: `[M, D]`.
        test_labels: `[M]`.
        num_classes: static.

    Raises:
        InvalidInputError: bad points or labels.

    Example:
        >>> points, labels = jnp.array([[0.0], [2.0], [9.0]]), jnp.array([0, 0, 1])
        >>> tests, truth = jnp.array([[4.0], [6.0]]), jnp.array([0, 0])
        >>> float(nearest_class_mean(points, labels, tests, truth, num_classes=2))
        0.5
    """
    points, labels = check_points(points, labels, min_classes=1)
    test_points, test_labels = check_points(
        test_points, test_labels, name="test_points", min_classes=1
    )
    check_dimensions(points, test_points)
    check_num_classes(labels, num_classes)
    arrays = (jnp.asarray(values) for values in (points, labels, test_points, test_labels))
    return _nearest_class_mean(*arrays, num_classes=num_classes)


@partial(jax.jit, static_argnames="num_classes")
def _nearest_class_mean(
    points: Any, labels: Any, test_points: Any, test_labels: Any, *, num_classes: int
) -> Any:
    found = nearest_mean_predictions(points, labels, test_points, num_classes=num_classes)
    right = jnp.mean((found == test_labels).astype(points.dtype))
    return jnp.where(varies(points), right, jnp.nan)
