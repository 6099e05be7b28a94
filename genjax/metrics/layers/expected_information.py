"""Expected mutual information of two partitions whose margins are fixed.

The counts of a cell are hypergeometric. Their probabilities are multiplied up and down from the
mode and divided by their sum: no log-factorial of N, whose rounding grows with N log N. Cells of
many tables share their pairs of margins, and each pair is summed once.
"""

import numpy as np
from jaxtyping import Float, Int

from genjax.errors import InvalidInputError

Host = np.ndarray

_CHUNK = 4096  # pairs at once, so that all their columns stay in the cache
_NEGLIGIBLE = 1e-25  # of the probability of the mode; what is left out is smaller than rounding


def expected_mutual_information(
    rows: Float[Host, "*batch C"], columns: Float[Host, "*batch K"]
) -> Float[Host, "*batch"]:
    """Mean mutual information (nats) of all tables with the given margins.

    `sum_ij sum_n n/N log(N n / (a_i b_j)) P(n; a_i, b_j, N)`, P hypergeometric: Vinh, Epps and
    Bailey, Information theoretic measures for clusterings comparison, JMLR 11 (2010), eq 24a.

    Args:
        rows: sums of the rows, whole numbers; leading axes are of many tables.
        columns: sums of the columns; of every table they add up to as much as those of the rows.

    Returns:
        One value per table; NaN where a table is empty.

    Raises:
        InvalidInputError: a margin is no whole number, or the margins of a table do not add up.

    Example:
        >>> found = expected_mutual_information(np.array([1.0, 1.0]), np.array([1.0, 1.0]))
        >>> bool(np.isclose(found, np.log(2)))
        True
    """
    shape = rows.shape[:-1]
    whole_rows, whole_columns = (
        np.rint(margin).astype(np.int64).reshape(-1, margin.shape[-1]) for margin in (rows, columns)
    )
    if not (np.all(whole_rows.reshape(rows.shape) == rows) and np.all(columns % 1 == 0)):
        raise InvalidInputError(
            "table: found margins that are no whole numbers; the expected mutual information is "
            "one of counts."
        )
    totals = whole_rows.sum(axis=1)
    if not np.array_equal(totals, whole_columns.sum(axis=1)):
        raise InvalidInputError("table: found margins of rows and columns with different sums.")
    found = np.full(totals.shape, np.nan)
    for total in np.unique(totals[totals > 0]):
        these = totals == total
        found[these] = _expected(whole_rows[these], whole_columns[these], int(total))
    return found.reshape(shape)


def _expected(rows: Int[Host, "T C"], columns: Int[Host, "T K"], total: int) -> Float[Host, " T"]:
    """Sum over the cells of every table; all tables have the same total."""
    count, num_rows, num_columns = len(rows), rows.shape[1], columns.shape[1]
    a, row_of = np.unique(rows, return_inverse=True)
    b, column_of = np.unique(columns, return_inverse=True)
    row_of, column_of = row_of.reshape(rows.shape), column_of.reshape(columns.shape)
    if a.size * b.size <= count * num_rows * num_columns:
        each = _cell(np.repeat(a, b.size), np.tile(b, a.size), total).reshape(a.size, b.size)
        have_a, have_b = _occurrences(row_of, a.size), _occurrences(column_of, b.size)
        return ((have_a @ each) * have_b).sum(axis=1)
    pairs = row_of[:, :, None] * b.size + column_of[:, None, :]
    used, pair_of = np.unique(pairs, return_inverse=True)
    each = _cell(a[used // b.size], b[used % b.size], total)
    return each[pair_of].reshape(count, -1).sum(axis=1)


def _occurrences(values: Int[Host, "T C"], size: int) -> Float[Host, "T size"]:
    """Count how often every table has every one of the different margins."""
    count = len(values)
    codes = values + size * np.arange(count)[:, None]
    return np.bincount(codes.ravel(), minlength=count * size).reshape(count, size).astype(float)


def _cell(a: Int[Host, " P"], b: Int[Host, " P"], total: int) -> Float[Host, " P"]:
    """E[n/N log(N n / (a b))] for the hypergeometric n of each pair of margins."""
    found = np.zeros(a.shape)
    some = np.flatnonzero((a > 0) & (b > 0))
    x = np.arange(int(max(a.max(), b.max())) + 1, dtype=float)
    x_log_x = x * np.log(np.maximum(x, 1.0))
    # Pairs of like spread stand together, since a chunk takes as many steps as its widest pair.
    spread = a[some].astype(float) * b[some] * (total - a[some]) * (total - b[some])
    some = some[np.argsort(spread, kind="stable")]
    for start in range(0, some.size, _CHUNK):
        these = some[start : start + _CHUNK]
        first, second = a[these].astype(float), b[these].astype(float)
        mean_n_log_n = _mean_n_log_n(a[these], b[these], total, x_log_x)
        # E[n] = a b / N.
        share = first * second / total
        found[these] = (mean_n_log_n - share * np.log(share)) / total
    return found


def _mean_n_log_n(
    a: Int[Host, " P"], b: Int[Host, " P"], total: int, x_log_x: Float[Host, " X"]
) -> Float[Host, " P"]:
    mode = (a + 1) * (b + 1) // (total + 2)
    rest = total - a - b
    mass = np.ones(a.shape)
    summed = x_log_x[mode]
    for step in (1, -1):
        n, probability = mode, np.ones(a.shape)
        while True:
            # P(n + 1) / P(n), or P(n - 1) / P(n); 0 where the support ends.
            if step == 1:
                ratio = (a - n) * (b - n) / ((n + 1.0) * (rest + n + 1))
            else:
                ratio = n * (rest + n) / ((a - n + 1.0) * (b - n + 1))
            probability = probability * ratio
            probability[probability < _NEGLIGIBLE] = 0.0
            goes_on = probability > 0
            if not goes_on.any():
                break
            n = n + step * goes_on
            mass += probability
            summed += probability * x_log_x[n]
    return summed / mass
