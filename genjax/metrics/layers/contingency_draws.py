"""Random contingency tables: bootstrap over examples and permutation of the labels.

A table holds all that scores of agreement read, so that most draws need no examples: a bootstrap is
a multinomial draw of the cells, a permutation a random table with the same margins. Only where
several partitions of the same examples are compared must the examples be drawn.
"""

from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.stats import random_table

from genjax.errors import InvalidInputError
from genjax.metrics.layers.checks import check_labels

Host = np.ndarray

_EXAMPLES_PER_CELL = 8  # a binomial number takes as long as drawing and counting so many examples


def resampled_tables(
    table: Any, rng: np.random.Generator | int, draws: int
) -> Float[Host, "draws C K"]:
    """Tables of bootstrap samples of the examples, as many in each as there are.

    Args:
        table: `[C, K]` counts, whole numbers.
        rng: generator, or the seed of one.
        draws: number of tables.

    Returns:
        Counts, multinomial with the cells' shares.

    Raises:
        InvalidInputError: a value that is no count, an empty table, or no draw.

    Example:
        >>> tables = resampled_tables(np.array([[2, 1], [0, 3]]), 0, 5)
        >>> tables.shape, tables.sum(axis=(1, 2)).tolist(), float(tables[:, 1, 0].max())
        ((5, 2, 2), [6.0, 6.0, 6.0, 6.0, 6.0], 0.0)
    """
    counts = _whole(table, draws)
    generator = np.random.default_rng(rng)
    flat, total = counts.ravel(), int(counts.sum())
    cells = np.flatnonzero(flat)
    tables = np.zeros((draws, flat.size))
    if cells.size * _EXAMPLES_PER_CELL < total:
        tables[:, cells] = generator.multinomial(total, flat[cells] / total, size=draws)
    else:
        codes = np.repeat(cells, flat[cells])
        for table_of_draw in tables:
            drawn = codes[generator.integers(0, total, total)]
            table_of_draw[:] = np.bincount(drawn, minlength=flat.size)
    return tables.reshape(draws, *counts.shape)


def permuted_tables(
    table: Any, rng: np.random.Generator | int, draws: int
) -> Float[Host, "draws C K"]:
    """Tables of randomly permuted labels: the null hypothesis that clusters ignore classes.

    Args:
        table: `[C, K]` counts, whole numbers; only its margins are read.
        rng: generator, or the seed of one.
        draws: number of tables.

    Returns:
        Counts with the margins of `table` (Patefield 1981, or by shuffling where that is faster).

    Raises:
        InvalidInputError: a value that is no count, an empty table, or no draw.

    Example:
        >>> tables = permuted_tables(np.array([[2, 1], [0, 3]]), 0, 5)
        >>> tables.sum(axis=1).tolist() == [[2.0, 4.0]] * 5
        True
    """
    counts = _whole(table, draws)
    generator = np.random.default_rng(rng)
    rows, columns = counts.sum(axis=1), counts.sum(axis=0)
    return random_table.rvs(rows, columns, size=draws, random_state=generator).astype(float)


def paired_tables(
    labels: Any,
    clusters: Any,
    rng: np.random.Generator | int,
    draws: int,
    *,
    num_classes: int,
    num_clusters: int,
    permute: bool = False,
) -> Float[Host, "draws L C K"]:
    """Tables of several partitions of the same examples, with the same draws for all of them.

    What compares layers: the differences between two layers, and which of them is best, depend on
    both being read on the same examples.

    Args:
        labels: `[N]` classes, in 0 ... num_classes - 1.
        clusters: `[L, N]` partitions (layers, restarts), in 0 ... num_clusters - 1.
        rng: generator, or the seed of one.
        draws: number of draws.
        num_classes: C.
        num_clusters: K.
        permute: permute the labels instead of drawing examples with replacement.

    Returns:
        Counts.

    Raises:
        InvalidInputError: lengths that differ, values out of range, or no draw.

    Example:
        >>> clusters = np.array([[0, 0, 1, 1], [1, 1, 0, 0]])
        >>> tables = paired_tables([0, 0, 1, 1], clusters, 0, 3, num_classes=2, num_clusters=2)
        >>> bool(np.all(tables[:, 0] == tables[:, 1, :, ::-1]))
        True
    """
    labels, clusters = np.asarray(check_labels(labels)), np.asarray(clusters)
    if clusters.ndim != 2 or clusters.shape[1] != labels.size:
        raise InvalidInputError(
            f"clusters: found shape {clusters.shape}; [L, {labels.size}] is needed."
        )
    for name, values, size in (
        ("labels", labels, num_classes),
        ("clusters", clusters, num_clusters),
    ):
        if not np.issubdtype(values.dtype, np.integer) or values.min() < 0 or values.max() >= size:
            raise InvalidInputError(
                f"{name}: found {values.dtype} in {values.min()} ... {values.max()}; allowed are "
                f"whole numbers in 0 ... {size - 1}."
            )
    _check_draws(draws)
    generator = np.random.default_rng(rng)
    cells = num_classes * num_clusters
    rows, codes = labels * num_clusters, labels * num_clusters + clusters
    tables = np.empty((draws, len(clusters), cells))
    for draw in range(draws):
        if permute:
            drawn = generator.permutation(rows) + clusters
        else:
            drawn = codes[:, generator.integers(0, labels.size, labels.size)]
        for layer, row in enumerate(drawn):
            tables[draw, layer] = np.bincount(row, minlength=cells)
    return tables.reshape(draws, len(clusters), num_classes, num_clusters)


def _whole(table: Any, draws: int) -> Any:
    _check_draws(draws)
    counts = np.asarray(table)
    whole = np.rint(counts).astype(np.int64)
    if not np.array_equal(whole, counts) or whole.min(initial=0) < 0:
        raise InvalidInputError("table: found values that are no counts; draws need whole numbers.")
    if whole.sum() == 0:
        raise InvalidInputError("table: found no example in it; at least 1 is needed.")
    return whole


def _check_draws(draws: int) -> None:
    if draws < 1:
        raise InvalidInputError(f"draws: found {draws}; at least 1 is needed.")
