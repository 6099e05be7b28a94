"""The generalized discrimination value: are points of a class nearer than points of two classes?"""

import itertools
from functools import partial
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from genjax.metrics.layers.checks import check_points
from genjax.metrics.layers.class_means import check_num_classes, class_means, squared_distances

_CHUNK = 1024
_ROUNDING = 16


def discrimination_value(
    points: Any, labels: Any, *, num_classes: int | None = None
) -> Float[Array, ""]:
    """Return the generalized discrimination value (GDV); lower is better separated.

    `(1 / sqrt D) [mean_l d(C_l) - 2 / (L (L - 1)) sum_{l < m} d(C_l, C_m)]` of L classes: d is the
    mean Euclidean distance of two points of one class, or of one of either class, after every
    dimension was z-scored and halved (Schilling et al., arXiv 1811.01753, Eq. 1 to 4; ddof 0).
    Dimensions that do not vary are 0 and count in D.

    No units. 0 is chance. Two points of equal weight, apart in every dimension, give -1; L classes
    of one size give no less than `-sqrt(L / (2 (L - 1)))`, reached by a simplex. Invariant to
    shifts and to the scale of every dimension. NaN where no dimension varies and where a class
    has a single example; classes without examples do not count.

    Concrete points on a CPU are measured with NumPy, in their own precision; traced ones and those
    of other devices by `discrimination_value_jax`.

    Args:
        points: `[N, D]`.
        labels: `[N]`, whole numbers from 0 on.
        num_classes: more than the largest label; needed where labels are traced.

    Raises:
        InvalidInputError: bad points or labels.

    Example:
        >>> points = np.array([[0.0, 4.0], [0.0, 4.0], [1.0, 7.0], [1.0, 7.0]])
        >>> float(discrimination_value(points, np.array([0, 0, 1, 1])))
        -1.0
    """
    points, labels = check_points(points, labels)
    traced = any(isinstance(values, jax.core.Tracer) for values in (points, labels))
    if num_classes is None:
        num_classes = int(np.max(np.asarray(labels))) + 1
    if traced or jax.default_backend() != "cpu":
        return discrimination_value_jax(points, labels, num_classes=num_classes)
    return jnp.asarray(_with_numpy(np.asarray(points), np.asarray(labels)))


def discrimination_value_jax(
    points: Any, labels: Any, *, num_classes: int, chunk_size: int = _CHUNK
) -> Float[Array, ""]:
    """Return `discrimination_value` by a pure function, for jit and vmap.

    Args:
        points: `[N, D]`.
        labels: `[N]`, in 0 ... num_classes - 1.
        num_classes: static.
        chunk_size: points whose distances to all N are held at a time; static.

    Raises:
        InvalidInputError: bad points or labels.

    Example:
        >>> points = jnp.array([[0.0, 4.0], [0.0, 4.0], [1.0, 7.0], [1.0, 7.0]])
        >>> labels = jnp.array([0, 0, 1, 1])
        >>> of = jax.jit(lambda points: discrimination_value_jax(points, labels, num_classes=2))
        >>> round(float(of(points)), 5)
        -1.0
    """
    points, labels = check_points(points, labels)
    check_num_classes(labels, num_classes)
    points, labels = jnp.asarray(points), jnp.asarray(labels)
    return _with_jax(points, labels, num_classes=num_classes, chunk_size=chunk_size)


@partial(jax.jit, static_argnames=("num_classes", "chunk_size"))
def _with_jax(points: Any, labels: Any, *, num_classes: int, chunk_size: int) -> Any:
    total, dimensions = points.shape
    halved, informative = _halved_scores(jnp, points)
    means, counts = class_means(halved, labels, num_classes=num_classes)
    residuals = halved - means[labels]
    each = 1 / jnp.maximum(counts, 1)[labels]
    each_pair = each / jnp.maximum(counts - 1, 1)[labels]
    chunk_size = min(chunk_size, total)
    chunks = -(-total // chunk_size)
    places = jnp.pad(jnp.arange(total), (0, chunks * chunk_size - total), constant_values=-1)

    def of_chunk(chunk: Any) -> Any:
        used = (chunk >= 0).astype(points.dtype)
        chunk = jnp.maximum(chunk, 0)
        same = labels[chunk][:, None] == labels[None]
        apart = jnp.where(same, 0, _distances(halved[chunk], halved))
        # About the mean of their class, points of a class that are one point are apart by 0.
        together = jnp.where(same, _distances(residuals[chunk], residuals), 0)
        inter = jnp.sum(used * each[chunk] * jnp.matmul(apart, each, precision="highest"))
        return inter, jnp.sum(used * each_pair[chunk] * jnp.sum(together, axis=1))

    inter, intra = jax.lax.map(of_chunk, places.reshape(chunks, chunk_size))
    classes = jnp.sum(counts > 0)
    value = jnp.sum(intra) / classes - jnp.sum(inter) / (classes * (classes - 1))
    value = value / jnp.sqrt(jnp.asarray(dimensions, points.dtype))
    defined = informative & ~jnp.any(counts == 1) & (classes > 1)
    return jnp.where(defined, value, jnp.nan)


def _distances(first: Any, second: Any) -> Any:
    return jnp.sqrt(squared_distances(first, second))


def _halved_scores(xp: Any, points: Any) -> tuple[Any, Any]:
    """Return half the z-scores of every dimension, and whether any dimension varies."""
    centred = points - xp.mean(points, axis=0, keepdims=True)
    deviation = xp.sqrt(xp.mean(xp.square(centred), axis=0))
    largest = xp.max(xp.abs(points), axis=0)
    vary = deviation > _ROUNDING * xp.finfo(points.dtype).eps * largest
    scale = xp.where(vary, 2 * deviation, 1)
    return xp.where(vary[None], centred / scale[None], 0), xp.any(vary)


def _with_numpy(points: np.ndarray, labels: np.ndarray) -> Any:
    """Every pair once: half the work of the jitted form, and no scores of the same class twice."""
    total, dimensions = points.shape
    order = np.argsort(labels, kind="stable")
    _, labels, counts = np.unique(labels[order], return_inverse=True, return_counts=True)
    classes = counts.size
    halved, informative = _halved_scores(np, points[order])
    if not informative or np.any(counts == 1):
        return halved.dtype.type(np.nan)
    starts = np.concatenate([[0], np.cumsum(counts)])
    intra = np.mean(
        [_mean_within(halved[start:stop]) for start, stop in itertools.pairwise(starts)]
    )
    each, norms = (1 / counts)[labels], np.einsum("nd,nd->n", halved, halved)
    inter = 0.0
    for start in range(0, total, _CHUNK):
        stop = min(start + _CHUNK, total)
        rows = slice(start, stop)
        apart = halved[rows] @ halved[start:].T
        apart *= -2
        apart += norms[rows, None]
        apart += norms[None, start:]
        np.sqrt(np.maximum(apart, 0, out=apart), out=apart)
        # Sorted by class: those of the classes of this chunk end where its last class ends.
        reach = starts[labels[stop - 1] + 1] - start
        apart[:, :reach][labels[rows, None] == labels[None, start : start + reach]] = 0
        apart[:, : stop - start] *= 0.5  # pairs within the chunk come twice
        inter += float(each[rows] @ (apart @ each[start:].astype(apart.dtype)))
    value = (intra - 2 * inter / (classes * (classes - 1))) / np.sqrt(dimensions)
    return halved.dtype.type(value)


def _mean_within(points: np.ndarray) -> float:
    """Return the mean distance of two points of a class, about its mean: one point is 0 apart."""
    points = points - points.mean(axis=0)
    norms = np.einsum("nd,nd->n", points, points)
    total = 0.0
    for start in range(0, points.shape[0], _CHUNK):
        rows = slice(start, start + _CHUNK)
        apart = points[rows] @ points.T
        apart *= -2
        apart += norms[rows, None]
        apart += norms[None]
        np.sqrt(np.maximum(apart, 0, out=apart), out=apart)
        local = apart[:, rows]
        np.fill_diagonal(local, 0)
        total += float(np.sum(apart, dtype=np.float64))
    return total / (points.shape[0] * (points.shape[0] - 1))
