"""Agreement of clusters with classes: scores of contingency tables, of many tables in one call.

Counting is a pure function that `jit` and `vmap` take. The scores run on the host in float64: the
tables are small, the logarithms of whole numbers come from a table, and counts of float32 keep all
their digits.
"""

from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num
from scipy.optimize import linear_sum_assignment
from scipy.special import xlogy

from genjax.errors import InvalidInputError, suggest
from genjax.metrics.layers.expected_information import expected_mutual_information

Host = np.ndarray

NORMALISATIONS = ("arithmetic", "geometric", "min", "max")

_EPS = float(np.finfo(np.float64).eps)
_LOOKED_UP = 1 << 22  # whole numbers up to here have their n log n looked up


def contingency_table(
    labels: Num[Array | Host, " N"],
    clusters: Num[Array | Host, "*rows N"],
    *,
    num_classes: int,
    num_clusters: int,
    weights: Float[Array | Host, " N"] | None = None,
) -> Float[Array | Host, "*rows C K"]:
    """Count how often each class falls into each cluster, `n_ck = sum_i w_i [y_i = c, z_i = k]`.

    Args:
        labels: classes, in 0 ... num_classes - 1.
        clusters: in 0 ... num_clusters - 1; leading axes are of many partitions of the same
            examples (restarts, layers).
        num_classes: C; static.
        num_clusters: K; static.
        weights: of the examples, for example how often a bootstrap drew them; 1 if not given.

    Returns:
        Sums as floats: NumPy's float64 where labels, clusters and weights are NumPy arrays, else
        JAX's default. Inside `jit` and `vmap` examples out of range are left out.

    Raises:
        InvalidInputError: types that are not whole numbers, or values out of range.

    Example:
        >>> table = contingency_table(
        ...     np.array([0, 0, 1]), np.array([2, 1, 1]), num_classes=2, num_clusters=3
        ... )
        >>> table.tolist()
        [[0.0, 1.0, 1.0], [0.0, 1.0, 0.0]]
    """
    for name, values, size in (
        ("labels", labels, num_classes),
        ("clusters", clusters, num_clusters),
    ):
        _check_codes(name, values, size)
    cells = num_classes * num_clusters
    shape = (*clusters.shape[:-1], num_classes, num_clusters)
    if not any(isinstance(x, jax.Array) for x in (labels, clusters, weights)):
        codes = np.asarray(labels) * num_clusters + clusters
        rows = codes.reshape(-1, codes.shape[-1])
        counts = [np.bincount(row, weights, minlength=cells) for row in rows]
        return np.array(counts, float).reshape(shape)
    labels, clusters = jnp.asarray(labels), jnp.asarray(clusters)
    inside = (labels >= 0) & (labels < num_classes)
    first = jnp.where(inside, labels * num_clusters, cells)
    kind = jnp.result_type(float) if weights is None else jnp.asarray(weights).dtype
    amounts = jnp.ones(labels.shape, kind) if weights is None else jnp.asarray(weights)

    def count(row):
        codes = jnp.where((row >= 0) & (row < num_clusters), first + row, cells)
        return jnp.zeros(cells, kind).at[codes].add(amounts, mode="drop")

    counted = jax.vmap(count)(clusters.reshape(-1, clusters.shape[-1]))
    return counted.reshape(shape)


def mutual_information(table: Any) -> Float[Host, "*batch"]:
    """Mutual information of classes and clusters in nats.

    `sum_ij p_ij log(p_ij / (p_i p_j))`, at least 0 and at most the smaller of both entropies. Not
    adjusted: of random clusters it is about `(C - 1)(K - 1) / 2N` and more.

    Args:
        table: `[..., C, K]` counts or sums of weights; leading axes are of many tables.

    Returns:
        NaN where a table is empty; what rounding leaves of an independent table is 0.

    Raises:
        InvalidInputError: a value of the table is negative or not finite.

    Example:
        >>> round(float(mutual_information(np.array([[2.0, 0.0], [0.0, 2.0]]))), 4)
        0.6931
    """
    return _information(_counts(table))[0]


def normalized_mutual_information(
    table: Any, *, normalisation: str = "arithmetic"
) -> Float[Host, "*batch"]:
    """Mutual information over a mean of the entropies of classes and clusters, in [0, 1].

    `I / mean(H_classes, H_clusters)`; 1 is best. Random clusters get more than 0, and more the more
    clusters there are. 1 where there is one class and one cluster, 0 where there is one of either
    only (as in scikit-learn).

    Args:
        table: `[..., C, K]` counts or sums of weights; leading axes are of many tables.
        normalisation: the mean: "arithmetic" (what most papers use), "geometric", "min" or "max".

    Returns:
        NaN where a table is empty.

    Raises:
        InvalidInputError: an unknown normalisation, or a value is negative or not finite.

    Example:
        >>> float(normalized_mutual_information(np.array([[2.0, 0.0], [0.0, 2.0]])))
        1.0
    """
    counts = _counts(table)
    information, of_rows, of_columns = _information(counts)
    mean = _mean(of_rows, of_columns, normalisation)
    with np.errstate(divide="ignore", invalid="ignore"):
        score = np.where(information > 0, np.minimum(information / mean, 1.0), information)
    return np.where(_one_and_one(counts), 1.0, score)


def adjusted_mutual_information(
    table: Any, *, normalisation: str = "arithmetic"
) -> Float[Host, "*batch"]:
    """Mutual information above that of random clusters of the same sizes; 1 is best, 0 is chance.

    `(I - E[I]) / (mean(H_classes, H_clusters) - E[I])`, the expectation over all tables with the
    same margins (Vinh, Epps and Bailey 2010). It may be below 0. Edge cases as in scikit-learn: 1
    for one class and one cluster, 0 for one of either only. Where the mean equals the expectation
    the score is 1 if classes and clusters are the same, else NaN.

    Args:
        table: `[..., C, K]` counts, whole numbers; leading axes are of many tables. Tables that
            share margins, as permutations of labels do, share the work.
        normalisation: the mean: "arithmetic", "geometric", "min" or "max".

    Returns:
        NaN where a table is empty.

    Raises:
        InvalidInputError: an unknown normalisation, or a value that is no count.

    Example:
        >>> round(float(adjusted_mutual_information(np.array([[1.0, 1.0], [1.0, 1.0]]))), 4)
        -0.5
    """
    counts = _counts(table)
    information, of_rows, of_columns = _information(counts)
    mean = _mean(of_rows, of_columns, normalisation)
    expected = expected_mutual_information(counts.sum(axis=-1), counts.sum(axis=-2))
    # Of both entropies at most: what differs by less is equal.
    rounding = 64 * _EPS * np.maximum(1.0, np.maximum(of_rows, of_columns))
    gain, room = information - expected, mean - expected
    no_room = np.abs(room) <= rounding
    with np.errstate(divide="ignore", invalid="ignore"):
        score = np.where(np.abs(gain) <= rounding, 0.0, gain) / room
    score = np.where(no_room, np.where(_same(counts), 1.0, np.nan), score)
    one_of_either = np.minimum(_filled(counts, -1), _filled(counts, -2)) == 1
    return np.where(_one_and_one(counts), 1.0, np.where(one_of_either, 0.0, score))


def adjusted_rand_index(table: Any) -> Float[Host, "*batch"]:
    """Share of pairs that classes and clusters treat alike, adjusted; 1 is best, 0 is chance.

    `2 (tp tn - fn fp) / ((tp + fn)(fn + tn) + (tp + fp)(fp + tn))` over ordered pairs of examples
    (Hubert and Arabie 1985): tp are together in both, fp in a cluster only, fn in a class only. At
    least -0.5. 1 where no pair disagrees (as in scikit-learn).

    Args:
        table: `[..., C, K]` counts; leading axes are of many tables.

    Returns:
        NaN where a table is empty.

    Raises:
        InvalidInputError: a value of the table is negative or not finite.

    Example:
        >>> float(adjusted_rand_index(np.array([[1.0, 1.0], [1.0, 1.0]])))
        -0.5
    """
    counts = _counts(table)
    total = counts.sum(axis=(-2, -1))
    together = np.sum(counts * counts, axis=(-2, -1))
    only_class = np.sum(counts.sum(axis=-1) ** 2, axis=-1) - together
    only_cluster = np.sum(counts.sum(axis=-2) ** 2, axis=-1) - together
    apart = total * total - only_class - only_cluster - together
    pairs = together - total
    top = 2.0 * (pairs * apart - only_class * only_cluster)
    bottom = (pairs + only_class) * (only_class + apart) + (pairs + only_cluster) * (
        only_cluster + apart
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        score = np.where((only_class == 0) & (only_cluster == 0), 1.0, top / bottom)
    return np.where(total > 0, score, np.nan)


def hungarian_accuracy(table: Any) -> Float[Host, "*batch"]:
    """Accuracy under the best one-to-one naming of clusters by classes, in (0, 1]; 1 is best.

    `max_perm sum_c n_{c, perm(c)} / N` (Kuhn 1955). Where there are more clusters than classes, or
    fewer, the examples of those without a partner are wrong. Of random clusters it is a little
    above the share of the largest class.

    Args:
        table: `[..., C, K]` counts or sums of weights; leading axes are of many tables, which are
            matched one by one.

    Returns:
        NaN where a table is empty.

    Raises:
        InvalidInputError: a value of the table is negative or not finite.

    Example:
        >>> float(hungarian_accuracy(np.array([[0.0, 3.0, 1.0], [2.0, 0.0, 0.0]])))
        0.8333333333333334
    """
    counts = _counts(table)
    flat = counts.reshape(-1, *counts.shape[-2:])
    matched = [one[linear_sum_assignment(one, maximize=True)].sum() for one in flat]
    total = counts.sum(axis=(-2, -1))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.array(matched, float).reshape(total.shape) / total)


def _check_codes(name: str, values: Any, size: int) -> None:
    if not jnp.issubdtype(values.dtype, jnp.integer):
        raise InvalidInputError(f"{name}: found type {values.dtype}; whole numbers are needed.")
    if isinstance(values, jax.core.Tracer) or values.size == 0:
        return
    low, high = int(values.min()), int(values.max())
    if low < 0 or high >= size:
        raise InvalidInputError(f"{name}: found {low} ... {high}; allowed are 0 ... {size - 1}.")


def _counts(table: Any) -> Float[Host, "*batch C K"]:
    counts = np.asarray(table, np.float64)
    if counts.ndim < 2 or 0 in counts.shape[-2:]:
        raise InvalidInputError(f"table: found shape {counts.shape}; [..., C, K] is needed.")
    if counts.size and not (counts.min() >= 0 and counts.max() < np.inf):
        raise InvalidInputError("table: found values that are negative or not finite.")
    return counts


def _x_log_x(x: Any) -> Any:
    """Return x log x, 0 at 0; looked up where all are whole numbers, which is five times faster."""
    largest = x.max(initial=0.0)
    if largest > min(_LOOKED_UP, 4 * x.size + 1024):
        return xlogy(x, x)
    index = np.asarray(x, np.int64)
    if not np.array_equal(index, x):
        return xlogy(x, x)
    numbers = np.arange(int(largest) + 1, dtype=float)
    return xlogy(numbers, numbers)[index]


def _information(counts: Float[Host, "*batch C K"]) -> tuple[Any, Any, Any]:
    """Return the mutual information and the entropies of rows and columns, in nats."""
    rows, columns = counts.sum(axis=-1), counts.sum(axis=-2)
    total = rows.sum(axis=-1)
    whole = _x_log_x(total)
    of_cells = _x_log_x(counts).sum(axis=(-2, -1))
    of_rows, of_columns = _x_log_x(rows).sum(axis=-1), _x_log_x(columns).sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        information = (of_cells - of_rows - of_columns + whole) / total
        entropies = [np.maximum((whole - each) / total, 0.0) for each in (of_rows, of_columns)]
        rounding = 16 * _EPS * np.maximum(np.log(total), 1.0)
    return np.where(information <= rounding, 0.0, information), *entropies


def _mean(first: Any, second: Any, normalisation: str) -> Any:
    if normalisation == "arithmetic":
        return (first + second) / 2
    if normalisation == "geometric":
        return np.sqrt(first * second)
    if normalisation == "min":
        return np.minimum(first, second)
    if normalisation == "max":
        return np.maximum(first, second)
    raise InvalidInputError(suggest("normalisation", normalisation, NORMALISATIONS))


def _filled(counts: Float[Host, "*batch C K"], axis: int) -> Any:
    """Return how many rows (axis -1) or columns (axis -2) have anything in them."""
    return np.sum(counts.sum(axis=axis) > 0, axis=-1)


def _one_and_one(counts: Float[Host, "*batch C K"]) -> Any:
    return (_filled(counts, -1) == 1) & (_filled(counts, -2) == 1)


def _same(counts: Float[Host, "*batch C K"]) -> Any:
    """Return whether classes and clusters are the same partition."""
    there = counts > 0
    of_row, of_column = there.sum(axis=-1).max(axis=-1), there.sum(axis=-2).max(axis=-1)
    return (of_row == 1) & (of_column == 1)
