"""Silhouette: how much nearer is an example to its own class than to the nearest other one?"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from genjax.errors import InvalidInputError, suggest
from genjax.metrics.layers.checks import check_points

Host = np.ndarray

METHODS = ("auto", "numpy", "jax")


class Silhouette(NamedTuple):
    """Silhouettes of labelled points.

    Attributes:
        mean: over the examples.
        values: `[N]`.
    """

    mean: Float[Host, ""]
    values: Float[Host, " N"]


def silhouette(
    points: Any,
    labels: Any,
    *,
    num_classes: int,
    chunk_size: int = 512,
    method: str = "auto",
) -> Silhouette:
    """Silhouettes of labelled points, in [-1, 1]; 1 is best, below 0 is nearer to another class.

    `(b - a) / max(a, b)`: a is the mean Euclidean distance of an example from the others of its
    class, b the smallest mean distance from the examples of another class (Rousseeuw 1987). 0 for
    an example that is alone in its class or where a = b = 0, as in scikit-learn.

    Distances of a chunk of examples from all others are summed by class at once: memory is
    `chunk_size` x N. Examples with equal points are taken together, so that their distance is 0 and
    not what rounding leaves of it.

    Args:
        points: `[N, D]`; float64 is computed in float64, other types in float32.
        labels: `[N]`, in 0 ... num_classes - 1; classes without examples do not count.
        num_classes: C.
        chunk_size: examples at once.
        method: "numpy", "jax", or "auto": NumPy on a CPU and JAX elsewhere.

    Returns:
        Mean and values; NaN where all points are equal, and the mean where no class has two
        examples.

    Raises:
        InvalidInputError: one class only, values that are not finite, lengths that differ, or
            labels out of range.

    Example:
        >>> found = silhouette([[0.0], [1.0], [9.0], [9.0]], [0, 0, 1, 1], num_classes=2)
        >>> found.values.round(4).tolist()
        [0.8889, 0.875, 1.0, 1.0]
    """
    if method not in METHODS:
        raise InvalidInputError(suggest("method", method, METHODS))
    points, labels = (np.asarray(each) for each in check_points(points, labels))
    if labels.max() >= num_classes:
        raise InvalidInputError(
            f"labels: found {labels.max()}; allowed are 0 ... {num_classes - 1}."
        )
    if chunk_size < 1:
        raise InvalidInputError(f"chunk_size: found {chunk_size}; at least 1 is needed.")
    if method == "auto":
        method = "numpy" if jax.default_backend() == "cpu" else "jax"
    unique, place = _without_duplicates(points)
    if len(unique) == 1:
        return Silhouette(np.array(np.nan), np.full(labels.shape, np.nan))
    member = np.zeros((len(unique), num_classes), unique.dtype)
    np.add.at(member, (place, labels), 1)
    # About the mean: squared distances far from the origin would round.
    unique = unique - unique.mean(axis=0, keepdims=True)
    if method == "jax":
        on_device = jnp.asarray(unique), jnp.asarray(member)
        sums = np.asarray(_sums_in_jax(*on_device, chunk_size=min(chunk_size, len(unique))))
    else:
        sums = _sums_in_numpy(unique, member, chunk_size)
    values = _values(sums[place].astype(float), labels, num_classes)
    several = np.bincount(labels).max() > 1
    return Silhouette(np.array(values.mean() if several else np.nan), values)


def _without_duplicates(points: Host) -> tuple[Host, Int[Host, " N"]]:
    """Return the different points and where each example stands among them."""
    points = np.ascontiguousarray(points + 0.0)  # -0 and 0 are the same number, not the same bytes
    rows = points.view(np.dtype((np.void, points.dtype.itemsize * points.shape[1])))[:, 0]
    _, first, place = np.unique(rows, return_index=True, return_inverse=True)
    return points[first], place


def _values(
    sums: Float[Host, "N C"], labels: Int[Host, " N"], num_classes: int
) -> Float[Host, " N"]:
    counts = np.bincount(labels, minlength=num_classes)
    rows = np.arange(len(labels))
    inside = sums[rows, labels] / np.maximum(counts[labels] - 1, 1)
    outside = sums / np.maximum(counts, 1)
    outside[:, counts == 0] = np.inf
    outside[rows, labels] = np.inf
    nearest = outside.min(axis=1)
    larger = np.maximum(inside, nearest)
    defined = (counts[labels] > 1) & (larger > 0)
    return np.where(defined, nearest - inside, 0.0) / np.where(defined, larger, 1.0)


def _with_norms(points: Any, xp: Any) -> tuple[Any, Any]:
    """Return two factors whose product is all squared distances: one pass over memory less."""
    norms = xp.sum(points * points, axis=1, keepdims=True)
    ones = xp.ones_like(norms)
    left = xp.concatenate([-2 * points, norms, ones], axis=1)
    return left, xp.concatenate([points, ones, norms], axis=1)


def _sums_in_numpy(
    points: Float[Host, "U D"], member: Float[Host, "U C"], chunk_size: int
) -> Float[Host, "U C"]:
    """Sum of the distances of every point from all examples of every class."""
    left, right = _with_norms(points, np)
    sums = np.empty(member.shape, points.dtype)
    for start in range(0, len(points), chunk_size):
        distances = left[start : start + chunk_size] @ right.T
        np.maximum(distances, 0.0, out=distances)
        rows = np.arange(len(distances))
        distances[rows, start + rows] = 0.0
        np.sqrt(distances, out=distances)
        np.matmul(distances, member, out=sums[start : start + chunk_size])
    return sums


@partial(jax.jit, static_argnames="chunk_size")
def _sums_in_jax(
    points: Float[Array, "U D"], member: Float[Array, "U C"], *, chunk_size: int
) -> Float[Array, "U C"]:
    left, right = _with_norms(points, jnp)

    def of_point(one):
        row, place = one
        squared = jnp.matmul(right, row, precision="highest")
        distances = jnp.sqrt(jnp.maximum(squared, 0.0)).at[place].set(0.0)
        return jnp.matmul(distances, member, precision="highest")

    places = jnp.arange(points.shape[0])
    return jax.lax.map(of_point, (left, places), batch_size=chunk_size)
