"""Columns of anybody's table: as numbers, and as levels. Host float64."""

import decimal
import numbers
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from genjax.errors import InvalidInputError
from genjax.statistics.dyadic import joint_codes

Host = np.ndarray
MISSING = "none"
ROUNDING = 1e-9
"""Relative difference up to which two floats are one level."""


class Levels(NamedTuple):
    """A column as codes of its distinct values.

    Attributes:
        codes: place of each cell's value in `values`.
        values: the distinct values: numbers first in their order, then strings in theirs; last
            "none" ("missing" where a string is called so) if cells are empty.
        numeric: whether every value but the last named one is a number.
        missing: whether there are empty cells.
    """

    codes: Int[Host, " row"]
    values: tuple
    numeric: bool
    missing: bool


def numbers_of(
    column: pd.Series, rows: Int[Host, " row"]
) -> tuple[Float[Host, " row"], str | None]:
    """Return a column as float64, and what is wrong with the first cell that is no number.

    Empty cells are NaN, booleans 0 and 1; a string counts as a number if it spells one, as it
    would in a CSV.

    Args:
        column: of anything.
        rows: number of each row, for the complaint, which counts from 1.

    Returns:
        Values [N], NaN where there is none; and the complaint, None if there is none.

    Example:
        >>> column = pd.Series([1.5, None, "2", "two"], dtype=object, name="norm")
        >>> values, complaint = numbers_of(column, np.arange(4))
        >>> values.tolist(), complaint
        ([1.5, nan, 2.0, nan], "column 'norm', row 4: found 'two' where a number belongs")
    """
    if _is_number_type(column):
        return column.to_numpy(np.float64, na_value=np.nan), None
    values, complaint = np.full(len(column), np.nan), None
    filled = ~column.isna().to_numpy()
    cells = column.astype(object).to_numpy()
    for place in np.flatnonzero(filled):
        value = _number(cells[place])
        if value is not None:
            values[place] = value
        elif complaint is None:
            where = f"column '{column.name}', row {int(rows[place]) + 1}"
            complaint = f"{where}: found {_shown(cells[place])} where a number belongs"
    return values, complaint


def levels_of(column: pd.Series, rows: Int[Host, " row"]) -> Levels:
    """Return a column as codes of its distinct values.

    Floats that differ by rounding only (1e-9 of their size) are one level, whole numbers never.

    Args:
        column: its cells are numbers, strings, booleans or empty.
        rows: number of each row, for the refusal.

    Raises:
        InvalidInputError: a cell holds something else.

    Example:
        >>> levels_of(pd.Series([0.1 + 0.2, 0.3, None, 0.1]), np.arange(4))
        Levels(codes=array([1, 1, 2, 0]), values=(0.1, 0.3, 'none'), numeric=True, missing=True)
    """
    filled = ~column.isna().to_numpy()
    if _is_number_type(column):
        raw = np.asarray(column[filled])
        unique, inverse = np.unique(raw, return_inverse=True)
        keys = unique.tolist()
    else:
        keys, inverse = _sorted_keys(pd.Series(column[filled], dtype=object), rows[filled])
    texts = [key for key in keys if isinstance(key, str)]
    count = len(keys) - len(texts)
    groups, values = _merge_rounding(keys[:count])
    values = [*values, *texts]
    merged = np.concatenate([groups, np.arange(len(texts)) + len(values) - len(texts)])
    codes = np.full(len(column), len(values), np.int64)
    codes[filled] = merged.astype(np.int64)[inverse]
    missing = not bool(filled.all())
    if missing:
        values.append(MISSING if MISSING not in texts else "missing")
    return Levels(codes, tuple(values), not texts, missing)


def filled_numbers(levels: Levels) -> tuple[Float[Host, " row"], Bool[Host, " row"]]:
    """Return numeric levels as float64, gaps and infinities as the lower median of the others.

    Returns:
        Values [N], and which of them were finite in the column.

    Example:
        >>> filled_numbers(levels_of(pd.Series([1.0, 3.0, None]), np.arange(3)))
        (array([1., 3., 1.]), array([ True,  True, False]))
    """
    numeric = [float(value) for value in levels.values[: len(levels.values) - levels.missing]]
    column = np.array([*numeric, np.nan])[levels.codes]
    known = np.isfinite(column)
    # A value that there is: the mean of two large ones may be no number.
    filler = np.quantile(column[known], 0.5, method="inverted_cdf") if known.any() else 0.0
    return np.where(known, column, filler), known


def number_rows(codes: Int[Host, "row column"]) -> Int[Host, " row"]:
    """Number the distinct rows from 0 in their order; without columns every row is its own.

    Example:
        >>> number_rows(np.array([[1, 0], [0, 5], [1, 0]])).tolist()
        [1, 0, 1]
    """
    if codes.shape[1] == 0:
        return np.arange(len(codes))
    found = np.zeros(len(codes), np.int64)
    for column in codes.T:
        found = joint_codes(found, column)
    return found


def vary_alone(codes: Int[Host, "row column"]) -> list[bool]:
    """Return for every column whether two rows differ in it and in no other column.

    Args:
        codes: of the levels, from 0.

    Example:
        >>> vary_alone(np.array([[0, 0, 0], [1, 0, 0], [1, 1, 1]]))
        [True, False, False]
    """
    rows, width = codes.shape
    before = [np.zeros(rows, np.int64)]
    after = [np.zeros(rows, np.int64)]
    for place in range(width):
        before.append(joint_codes(before[-1], codes[:, place]))
        after.append(joint_codes(after[-1], codes[:, width - 1 - place]))
    others = [joint_codes(before[k], after[width - 1 - k]) for k in range(width)]
    return [bool(joint_codes(o, codes[:, k]).max() > o.max()) for k, o in enumerate(others)]


def _shown(value: object) -> str:
    """Return a cell's value for a sentence, cut where it is long."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 40 else f"{text[:37]}..."


def _is_number_type(column: pd.Series) -> bool:
    kind = column.dtype
    return pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_complex_dtype(kind)


def _number(cell: object) -> float | None:
    """Return the number that a cell of any type holds or spells; None if it does neither."""
    if isinstance(cell, str):
        try:
            return None if "_" in cell else float(cell)  # Python reads 1_000, no table means it
        except ValueError:
            return None
    if isinstance(cell, numbers.Real | np.bool_ | decimal.Decimal):
        return float(cell)
    return None


def _sorted_keys(column: pd.Series, rows: Int[Host, " row"]) -> tuple[list, Int[Host, " row"]]:
    """Return the distinct values of cells, and the place of each cell's value among them."""
    cells = column.to_numpy()
    try:
        codes, distinct = pd.factorize(cells)
    except TypeError:  # lists and the like, which the refusal below names
        codes, distinct = np.arange(len(cells)), cells
    first = np.unique(codes, return_index=True)[1]
    found = [
        _key(cell, str(column.name), int(row))
        for cell, row in zip(distinct, rows[first], strict=True)
    ]
    keys = sorted(set(found), key=lambda key: (isinstance(key, str), key))
    place = {key: i for i, key in enumerate(keys)}
    return keys, np.array([place[key] for key in found], np.int64)[codes]


def _key(cell: object, name: str, row: int) -> bool | float | str:
    """Return what a cell is compared by."""
    if isinstance(cell, bool | np.bool_):
        return bool(cell)
    value = _number(cell)
    if value is not None and not np.isnan(value):
        return value
    if isinstance(cell, str):
        return cell
    raise InvalidInputError(
        f"table: column '{name}', row {row + 1}: found {_shown(cell)}; allowed are numbers, "
        "strings, booleans and empty cells."
    )


def _merge_rounding(ascending: list) -> tuple[Int[Host, " value"], list]:
    """Return the group of each number, and one number per group: the one written shortest."""
    if not ascending:
        return np.zeros(0, np.int64), []
    if all(isinstance(value, bool) for value in ascending):
        return np.arange(len(ascending)), ascending
    values = np.array(ascending, np.float64)
    if (values == np.trunc(values)).all() and np.isfinite(values).all():
        return np.arange(len(values)), [int(value) for value in ascending]
    with np.errstate(invalid="ignore"):  # infinity minus infinity
        near = np.diff(values) <= ROUNDING * np.maximum(np.abs(values[1:]), np.abs(values[:-1]))
    near &= np.isfinite(values[1:]) & np.isfinite(values[:-1])
    groups = np.concatenate([[0], np.cumsum(~near)])
    kept = values[np.unique(groups, return_index=True)[1]].tolist()
    for group in np.unique(groups[1:][near]):
        kept[group] = min(values[groups == group].tolist(), key=lambda v: (len(repr(v)), v))
    return groups, kept
