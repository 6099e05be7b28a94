"""Entropy and mutual information from counts, of hundreds of thousands of small tables at once.

Every function takes NumPy (float64, on the host) or JAX arrays (any default precision, inside `jit`
and `vmap`) and works over all leading axes. All values are in nats.
"""

from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Num
from scipy import stats
from scipy.special import xlogy as host_xlogy

from genjax.errors import InvalidInputError, suggest
from genjax.metrics.layers import contingency
from genjax.metrics.layers.expected_information import expected_mutual_information

Host = np.ndarray

CORRECTIONS = ("none", "miller_madow", "jackknife", "shuffling")


def joint_counts(
    first: Int[Array | Host, "*batch K"],
    second: Int[Array | Host, "*same_as_first"],
    *,
    num_first: int,
    num_second: int,
) -> Num[Array | Host, "*batch {num_first} {num_second}"]:
    """Count pairs of outcomes along the last axis: `n_ab = sum_k [first_k = a, second_k = b]`.

    One pass over all tables. `genjax.metrics.layers.contingency.contingency_table` counts many
    partitions of the same examples; here both variables differ from table to table.

    Args:
        first: outcomes in 0 ... num_first - 1.
        second: outcomes in 0 ... num_second - 1.
        num_first: static.
        num_second: static.

    Returns:
        Counts as floats: float64 if both are NumPy arrays, else JAX's default. Inside `jit`
        outcomes out of range are left out.

    Raises:
        InvalidInputError: different shapes, or outcomes out of range.

    Example:
        >>> joint_counts(np.array([[0, 1, 1]]), np.array([[1, 0, 1]]), num_first=2, num_second=2)
        array([[[0., 1.],
                [1., 1.]]])
    """
    if first.shape != second.shape:
        raise InvalidInputError(
            f"second: found shape {second.shape}; that of the first, {first.shape}, is needed."
        )
    for name, values, size in (("first", first, num_first), ("second", second, num_second)):
        _check_outcomes(name, values, size)
    cells = num_first * num_second
    shape = (*first.shape[:-1], num_first, num_second)
    tables = int(np.prod(first.shape[:-1], dtype=np.int64))
    if isinstance(first, jax.Array) or isinstance(second, jax.Array):
        first, second = jnp.asarray(first), jnp.asarray(second)
        inside = (first >= 0) & (first < num_first) & (second >= 0) & (second < num_second)
        codes = jnp.where(inside, first * num_second + second, cells).reshape(tables, -1)
        rows = jnp.broadcast_to(jnp.arange(tables)[:, None], codes.shape)
        counts = jnp.zeros((tables, cells)).at[rows, codes].add(1.0, mode="drop")
        return counts.reshape(shape)
    codes = (first.astype(np.int64) * num_second + second).reshape(tables, -1)
    codes += cells * np.arange(tables)[:, None]
    return np.bincount(codes.ravel(), minlength=tables * cells).astype(float).reshape(shape)


def entropy(counts: Any, *, correction: str = "none") -> Float[Array | Host, "*batch"]:
    """Entropy of outcomes from their counts, in nats.

    Plug-in: `-sum_a p_a log p_a`, `p = n / N`: biased down by `(m - 1) / 2N + O(1/N^2)` for m
    outcomes. `miller_madow` adds `(m' - 1) / 2N`, m' the outcomes that were seen (Miller 1955).
    `jackknife` is `N H - (N - 1)/N sum_a n_a H(n - e_a)` (Zahl 1977).

    Args:
        counts: `[..., m]` whole numbers (weights for the plug-in).
        correction: `none`, `miller_madow` or `jackknife`.

    Returns:
        NaN where a table is empty; a jackknife of one sample is 0.

    Raises:
        InvalidInputError: unknown correction, a negative count, or no outcome.

    Example:
        >>> round(float(entropy(np.array([2.0, 2.0]))), 6)
        0.693147
    """
    counts = _checked(counts, axes=1)
    if correction == "none":
        return _array(_plug_in_entropy(counts))
    if correction == "miller_madow":
        excess = (counts > 0).sum(axis=-1) - 1.0
        return _array(_plug_in_entropy(counts) + _divided(excess, 2.0 * counts.sum(axis=-1)))
    if correction == "jackknife":
        return _array(_jackknife(counts, _plug_in_entropy, 1))
    raise InvalidInputError(suggest("correction", correction, CORRECTIONS[:3]))


def mutual_information(table: Any, *, correction: str = "none") -> Float[Array | Host, "*batch"]:
    """Mutual information of two discrete variables from their counts, in nats.

    Plug-in: `sum_ab p_ab log(p_ab / (p_a p_b))`, in [0, min(log R, log C, log N)] and biased up: of
    independent variables its mean is `(R - 1)(C - 1) / 2N + O(1/N^2)`. For two bits and N = 30 that
    is .0167; the exact mean is .0177 for fair bits and .0188 for P(1) = .3 (`mean_plug_in`).
    Corrections, which may go below 0:

    - `miller_madow`: plus `(m_a + m_b - m_ab - 1) / 2N`, the m counting margins and cells that are
      not empty. Where cells are rare, empty ones are not counted and too little is taken away.
    - `jackknife`: `N I - (N - 1)/N sum_ab n_ab I(table without one pair)`, bias O(1/N^2).
    - `shuffling`: minus the mean over all N! permutations of one variable, exactly (hypergeometric:
      Vinh, Epps and Bailey 2010, eq 24a) and not by drawing. Its mean is exactly 0 for independent
      variables of any distribution; of dependent ones it takes away too much, up to all of it where
      every outcome is seen once. Host only.

    Args:
        table: `[..., R, C]` counts (weights for the plug-in).
        correction: one of `CORRECTIONS`.

    Returns:
        NaN where a table is empty.

    Raises:
        InvalidInputError: unknown correction, negative counts, no cell, or shuffling of JAX arrays.

    Example:
        >>> table = np.array([[9.0, 6.0], [6.0, 9.0]])
        >>> [round(float(mutual_information(table, correction=c)), 4) for c in CORRECTIONS]
        [0.0201, 0.0035, 0.0015, 0.0026]
    """
    table = _checked(table, axes=2)
    if correction == "none":
        return _array(_plug_in_information(table))
    if correction == "miller_madow":
        filled = (table > 0).sum(axis=(-2, -1))
        rows = (table.sum(axis=-1) > 0).sum(axis=-1)
        columns = (table.sum(axis=-2) > 0).sum(axis=-1)
        excess = rows + columns - filled - 1.0
        change = _divided(excess, 2.0 * table.sum(axis=(-2, -1)))
        return _array(_plug_in_information(table) + change)
    if correction == "jackknife":
        return _array(_jackknife(table, _plug_in_information, 2))
    if correction == "shuffling":
        if isinstance(table, jax.Array):
            raise InvalidInputError(
                "table: found a JAX array; shuffling is done on the host, for NumPy arrays."
            )
        by_chance = expected_mutual_information(table.sum(axis=-1), table.sum(axis=-2))
        return _array(_plug_in_information(table) - by_chance)
    raise InvalidInputError(suggest("correction", correction, CORRECTIONS))


def mean_plug_in(joint: Any, num_samples: int) -> float:
    """Exact mean of the plug-in mutual information over N samples of a known distribution.

    `E I = E H(A) + E H(B) - E H(A, B)` and every count is binomial:
    `E H = -sum_a E[(n_a/N) log(n_a/N)]`, `n_a ~ Bin(N, p_a)`. Nothing is approximated. Minus the
    true value it is the bias.

    Args:
        joint: probabilities `[R, C]` that add up to 1.
        num_samples: N, at least 1.

    Returns:
        Nats.

    Raises:
        InvalidInputError: no probabilities, or no sample.

    Example:
        >>> round(mean_plug_in(np.outer([0.3, 0.7], [0.3, 0.7]), 30), 4)
        0.0188
    """
    joint = np.asarray(joint, np.float64)
    if joint.ndim != 2 or np.any(joint < 0) or not np.isclose(joint.sum(), 1.0, atol=1e-9):
        raise InvalidInputError("joint: probabilities [R, C] that add up to 1 are needed.")
    if num_samples < 1:
        raise InvalidInputError(f"num_samples: found {num_samples}; at least 1 is needed.")
    shares = np.arange(num_samples + 1) / num_samples
    surprise = -host_xlogy(shares, shares)

    def mean_entropy(probabilities):
        masses = stats.binom.pmf(np.arange(num_samples + 1), num_samples, probabilities[:, None])
        return float((masses @ surprise).sum())

    rows, columns = joint.sum(axis=1), joint.sum(axis=0)
    return mean_entropy(rows) + mean_entropy(columns) - mean_entropy(joint.ravel())


def _plug_in_entropy(counts: Any) -> Any:
    xlogy = _xlogy(counts)
    total = counts.sum(axis=-1, keepdims=True)
    share = _divided(counts, total)
    return -xlogy(share, share).sum(axis=-1) + 0.0  # of one outcome 0, not -0


def _plug_in_information(table: Any) -> Any:
    if not isinstance(table, jax.Array):
        return contingency.mutual_information(table)
    rows, columns = table.sum(axis=-1, keepdims=True), table.sum(axis=-2, keepdims=True)
    total = rows.sum(axis=-2, keepdims=True)
    # One logarithm of a ratio per cell: differences of large x log x would lose float32's digits.
    filled = table > 0
    ratio = jnp.where(filled, table * total / jnp.where(filled, rows * columns, 1.0), 1.0)
    summed = (table * jnp.log(ratio)).sum(axis=(-2, -1))
    return jnp.maximum(_divided(summed, total[..., 0, 0]), 0.0)


def _jackknife(counts: Any, functional: Any, axes: int) -> Any:
    """N F(n) - (N - 1)/N sum over cells of n_cell F(n without one of that cell)."""
    xp = jnp if isinstance(counts, jax.Array) else np
    flat = counts.reshape(*counts.shape[: counts.ndim - axes], -1)
    total = flat.sum(axis=-1)
    left_out = xp.zeros(total.shape)
    # Cell by cell: all at once would take a table of tables.
    for cell in range(flat.shape[-1]):
        have = flat[..., cell]
        one = np.eye(1, flat.shape[-1], cell, flat.dtype).reshape((1,) * (flat.ndim - 1) + (-1,))
        fewer = flat - (have > 0)[..., None] * one
        value = functional(fewer.reshape(counts.shape))
        # The last sample of a table leaves nothing behind: the entropy of nothing counts as 0.
        left_out = left_out + xp.where((have > 0) & (total > 1), have * value, 0.0)
    return total * functional(counts) - _divided((total - 1.0) * left_out, total)


def _array(values: Any) -> Any:
    """Return a value of one table as an array, too; NumPy makes it a scalar."""
    return values if isinstance(values, jax.Array) else np.asarray(values)


def _xlogy(values: Any) -> Any:
    return jax.scipy.special.xlogy if isinstance(values, jax.Array) else host_xlogy


def _divided(above: Any, below: Any) -> Any:
    """Return the quotient; NaN, without a warning, where an empty table is divided by."""
    if isinstance(above, jax.Array) or isinstance(below, jax.Array):
        return jnp.where(below > 0, above / jnp.where(below > 0, below, 1.0), jnp.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(below > 0, np.true_divide(above, below), np.nan)


def _check_outcomes(name: str, values: Any, size: int) -> None:
    if not jnp.issubdtype(values.dtype, jnp.integer):
        raise InvalidInputError(f"{name}: found type {values.dtype}; whole numbers are needed.")
    if isinstance(values, jax.core.Tracer) or values.size == 0:
        return
    low, high = int(values.min()), int(values.max())
    if low < 0 or high >= size:
        raise InvalidInputError(f"{name}: found {low} ... {high}; allowed are 0 ... {size - 1}.")


def _checked(counts: Any, axes: int) -> Any:
    """Return counts as floats of the kind they came in."""
    counts = counts if isinstance(counts, jax.Array) else np.asarray(counts, np.float64)
    if counts.ndim < axes or 0 in counts.shape[-axes:]:
        wanted = "[..., m]" if axes == 1 else "[..., R, C]"
        raise InvalidInputError(f"counts: found shape {counts.shape}; {wanted} is needed.")
    if isinstance(counts, jax.Array):
        counts = counts.astype(jnp.result_type(float, counts.dtype))
    concrete = not isinstance(counts, jax.core.Tracer) and counts.size
    if concrete and not (counts.min() >= 0 and counts.max() < np.inf):
        raise InvalidInputError("counts: found values that are negative or not finite.")
    return counts
