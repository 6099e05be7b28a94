"""Bounds from VC dimensions against classes small enough to list."""

import itertools
import math

import numpy as np
import pytest

from genjax.errors import InvalidInputError
from genjax.metrics.complexity import growth


def complexity_of(patterns):
    """Return the mean over all signs of the best correlation with a list of patterns."""
    patterns = np.array(sorted(patterns))
    n = patterns.shape[1]
    signs = np.array(list(itertools.product((-1, 1), repeat=n)))
    return (signs @ patterns.T).max(axis=1).mean() / n


def intervals(n, pieces):
    """Return all patterns on n points in order that are +1 on at most so many intervals."""
    found = set()
    for pattern in itertools.product((-1, 1), repeat=n):
        starts = sum(a < b for a, b in itertools.pairwise((-1, *pattern)))
        if starts <= pieces:
            found.add(pattern)
    return found


@pytest.mark.parametrize("pieces", [1, 2])
def test_unions_of_intervals_have_the_growth_and_less_than_the_bound(pieces):
    # Unions of k intervals have VC dimension 2k, and reach Sauer's bound.
    n = 9
    patterns = intervals(n, pieces)
    assert growth.log_growth(2 * pieces, n) == pytest.approx(math.log(len(patterns)), rel=1e-12)
    exact = complexity_of(patterns)
    assert exact <= growth.vc_rademacher(2 * pieces, n)
    assert exact > complexity_of(intervals(n, pieces - 1))


def test_all_patterns_have_complexity_one():
    assert complexity_of(intervals(6, 6)) == 1
    assert growth.log_growth(6, 6) == growth.log_growth(1e9, 6) == 6 * math.log(2)
    assert growth.vc_rademacher(6, 6) == 1


def test_growth_of_large_numbers_is_the_sum_of_binomials():
    exact = math.log(sum(math.comb(400, i) for i in range(41)))
    assert growth.log_growth(40, 400) == pytest.approx(exact, rel=1e-12)
    assert growth.log_growth(40.7, 400) == growth.log_growth(40, 400)


def test_what_has_no_growth_is_refused():
    for dimension, examples in ((-1, 5), (3, 0)):
        with pytest.raises(InvalidInputError, match="dimension and examples: found"):
            growth.log_growth(dimension, examples)
