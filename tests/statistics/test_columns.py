"""Columns of anybody's table: numbers of every make, levels in their order."""

import decimal
import itertools

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from genjax.statistics import columns

NAN = float("nan")


@pytest.mark.parametrize(
    "cells",
    [
        [True, False, None] * 4,
        [decimal.Decimal("1.5"), decimal.Decimal("2"), None] * 4,
        pd.array([1, 2, None] * 4, dtype="Int64"),
        pd.array([1.5, 2, None] * 4, dtype="Float64"),
        pd.array([True, False, None] * 4, dtype="boolean"),
        pd.array([1, 2, None] * 4, dtype=pd.ArrowDtype(pa.int32())),
        pd.Categorical([1.0, 2.0, None] * 4),
        ["1e3", "nan", "2"] * 4,
    ],
)
def test_numbers_of_every_make(cells):
    column = pd.Series(cells)
    values, complaint = columns.numbers_of(column, np.arange(12))
    assert complaint is None
    assert values.dtype == np.float64
    assert len(np.unique(values[~np.isnan(values)])) == 2
    assert np.isnan(values).sum() == 4
    found = columns.levels_of(column, np.arange(12))
    known = ~column.isna().to_numpy()
    for code, number in zip(found.codes[known], values[known], strict=True):
        value = found.values[code]
        assert value == number or (value == "nan" and np.isnan(number))


def levels(cells) -> columns.Levels:
    return columns.levels_of(pd.Series(cells, name="x"), np.arange(len(cells)))


@pytest.mark.parametrize(
    ("cells", "values", "codes"),
    [
        ([10, 9, 10, 2], (2, 9, 10), [2, 1, 2, 0]),
        (["10", "9", "b", "a"], (9, 10, "a", "b"), [1, 0, 3, 2]),
        ([0.1 + 0.2, 0.3, 0.1, 0.3 * (1 + 1e-7)], (0.1, 0.3, 0.3 * (1 + 1e-7)), [1, 1, 0, 2]),
        ([1e-3, 0.1 * 0.01, -1e-3, 0.0], (-0.001, 0.0, 0.001), [2, 2, 0, 1]),
        ([32.0, None, 64.0, 32.0], (32, 64, "none"), [0, 2, 1, 0]),
        ([True, False, True, False], (False, True), [1, 0, 1, 0]),
        ([True, None, False, None], (False, True, "none"), [1, 2, 0, 2]),
        (["none", None, "a", "a"], ("a", "none", "missing"), [1, 2, 0, 0]),
        ([np.inf, -np.inf, 1.5, 2.5], (-np.inf, 1.5, 2.5, np.inf), [3, 0, 1, 2]),
        ([2**53, 2**53 + 1, 3, 3], (3, 2**53, 2**53 + 1), [1, 2, 0, 0]),
        ([2000000000, 2000000001, 2000000000, 3], (3, 2000000000, 2000000001), [1, 2, 1, 0]),
        ([None, None, None, None], ("none",), [0, 0, 0, 0]),
        ([-0.0, 0.0, 1.5, 1.5], (0, 1.5), [0, 0, 1, 1]),
    ],
)
def test_levels_are_the_distinct_values_in_their_order(cells, values, codes):
    found = levels(cells)
    assert found.values == values
    assert [type(a) for a in found.values] == [type(b) for b in values] or 0 in values
    assert found.codes.tolist() == codes
    assert found.missing == (values[-1] in ("none", "missing") and None in cells)


@pytest.mark.parametrize("seed", range(5))
def test_varying_alone_against_all_pairs(seed):
    codes = np.random.default_rng(seed).integers(0, 3, (12, 4))
    alone = [
        any(set(np.flatnonzero(a != b)) == {k} for a, b in itertools.combinations(codes, 2))
        for k in range(4)
    ]
    assert columns.vary_alone(codes) == alone
    numbers = columns.number_rows(codes)
    np.testing.assert_array_equal(numbers, np.unique(codes, axis=0, return_inverse=True)[1].ravel())


def test_gaps_are_filled_with_a_value_that_is_there():
    column = pd.Series([4.0, None, 1.7e308, np.inf, 1.6e308, -1.0])
    filled, known = columns.filled_numbers(columns.levels_of(column, np.arange(6)))
    assert filled.tolist() == [4.0, 4.0, 1.7e308, 4.0, 1.6e308, -1.0]
    assert known.tolist() == [True, False, True, False, True, True]


def test_without_columns_every_row_is_its_own():
    assert columns.number_rows(np.zeros((3, 0), np.int64)).tolist() == [0, 1, 2]
    assert columns.vary_alone(np.zeros((3, 0), np.int64)) == []
