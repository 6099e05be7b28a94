"""Lines, pairs and the dyadic-robust variance: plain loops, Student's t, simulated coverage."""

import itertools

import numpy as np
import pytest
from scipy import stats

from genjax.errors import InvalidInputError
from genjax.statistics.dyadic import (
    PairMean,
    axis_lines,
    combine,
    dyadic_variance,
    interval,
    joint_codes,
    pairs_within,
    sharing,
)


def looped_products(values, first, second):
    """Sum of products over ordered pairs of rows with a common configuration."""
    ends = [{a, b} for a, b in zip(first, second, strict=True)]
    rows = range(len(ends))
    return sum(values[p] * values[q] for p in rows for q in rows if ends[p] & ends[q])


def random_pairs(seed, pairs, nodes, measures):
    generator = np.random.default_rng(seed)
    first, second = generator.integers(0, nodes, (2, pairs))
    weights = generator.random((pairs, 1))
    weights /= weights.sum(0)
    deviations = generator.normal(size=(pairs, measures))
    deviations -= (weights * deviations).sum(0)
    return PairMean(np.zeros(measures), weights * deviations, weights), first, second


def test_lines_are_the_rows_that_share_all_other_levels():
    levels = np.random.default_rng(0).integers(0, 3, (40, 4))
    for axis in range(4):
        lines = axis_lines(levels, axis)
        rest = np.delete(levels, axis, axis=1)
        same = (rest[:, None] == rest[None]).all(2)
        np.testing.assert_array_equal(lines[:, None] == lines[None], same)
        assert set(lines) == set(range(lines.max() + 1))


def test_lines_of_very_many_levels_do_not_overflow():
    levels = np.tile(np.arange(3) * 10**6, (12, 1)).T + 1
    assert len(set(axis_lines(levels, 0))) == 3
    assert axis_lines(np.array([[0], [4], [2]]), 0).tolist() == [0, 0, 0]


def test_joint_codes_follow_the_order_of_the_pairs():
    first, second = np.random.default_rng(1).integers(0, 5, (2, 60))
    pairs = sorted(set(zip(first, second, strict=True)))
    expected = [pairs.index(pair) for pair in zip(first, second, strict=True)]
    assert joint_codes(first, second).tolist() == expected


@pytest.mark.parametrize("count", [0, 1, 2, 30])
def test_pairs_within_groups(count):
    groups = np.random.default_rng(2).integers(0, 4, count)
    first, second = pairs_within(groups)
    expected = {
        (i, j) for i, j in itertools.combinations(range(count), 2) if groups[i] == groups[j]
    }
    assert set(zip(first.tolist(), second.tolist(), strict=True)) == expected
    assert len(first) == len(expected)
    assert (np.diff(groups[first]) >= 0).all()


@pytest.mark.parametrize(("pairs", "nodes"), [(12, 20), (40, 9), (25, 25)])
def test_variance_equals_the_loop_over_pairs_that_share(pairs, nodes):
    # Drawn with repeated pairs and pairs inside one configuration.
    mean, first, second = random_pairs(pairs, pairs, nodes, 3)
    found = dyadic_variance(mean, sharing(first, second))
    freedom = 1 - looped_products(mean.weights, first, second)
    together = looped_products(mean.residuals, first, second)
    merged = {}
    for row, ends in enumerate(zip(first, second, strict=True)):
        merged.setdefault(frozenset(ends), []).append(mean.residuals[row])
    alone = sum(np.sum(rows, axis=0) ** 2 for rows in merged.values())
    assert freedom > 0
    np.testing.assert_allclose(found, np.maximum(together / freedom, alone), rtol=1e-12)
    assert (together / freedom < alone).any() or (together / freedom > alone).any()


def test_disjoint_pairs_give_the_variance_of_a_mean():
    values = np.random.default_rng(5).normal(size=(15, 2))
    weights = np.full((15, 1), 1 / 15)
    mean = PairMean(values.mean(0), weights * (values - values.mean(0)), weights)
    first = np.arange(15) * 2
    found = dyadic_variance(mean, sharing(first, first + 1))
    np.testing.assert_allclose(found, values.var(0, ddof=1) / 15, rtol=1e-12)


def test_sum_of_squares_is_the_least():
    # Two pairs that share a configuration and deviate in opposite directions cancel.
    weights = np.full((4, 1), 0.25)
    residuals = np.array([[0.2], [-0.2], [0.0], [0.0]])
    shared = sharing(np.array([0, 0, 3, 5]), np.array([1, 2, 4, 6]))
    found = dyadic_variance(PairMean(np.zeros(1), residuals, weights), shared)
    assert found[0] == pytest.approx(0.08)


def test_nothing_is_known_where_all_pairs_share():
    triangle = sharing(np.array([0, 0, 1]), np.array([1, 2, 2]))
    weights = np.full((3, 1), 1 / 3)
    mean = PairMean(np.zeros(1), np.array([[0.1], [-0.2], [0.1]]), weights)
    assert np.isnan(dyadic_variance(mean, triangle)).all()
    assert np.isnan(interval(mean, triangle, 0.95, (-1.0, 1.0))).all()


def test_measures_may_have_weights_of_their_own():
    both, first, second = random_pairs(3, 30, 12, 2)
    weights = np.concatenate([both.weights, both.weights], axis=1)
    weights[:10, 1] = 0
    weights /= weights.sum(0)
    residuals = np.where(weights > 0, both.residuals, 0.0)
    found = interval(
        PairMean(np.zeros(2), residuals, weights), sharing(first, second), 0.9, (-9.0, 9.0)
    )
    part = PairMean(np.zeros(1), residuals[10:, 1:], weights[10:, 1:])
    alone = interval(part, sharing(first[10:], second[10:]), 0.9, (-9.0, 9.0))
    np.testing.assert_allclose(np.array(found)[:, 1], np.array(alone)[:, 0], rtol=1e-12)


def test_interval_is_students_with_the_stated_degrees_of_freedom_and_clipped():
    mean, first, second = random_pairs(4, 30, 14, 1)
    shared = sharing(first, second)
    f = looped_products(mean.weights, first, second)[0]
    nodes = len(set(first) | set(second))
    quantile = stats.t.ppf(0.95, 2 / (f + 1 / (nodes - 1)))
    half = quantile * np.sqrt(dyadic_variance(mean, shared))[0]
    low, high = interval(mean, shared, 0.9, (-10.0, 10.0))
    assert (low[0], high[0]) == pytest.approx((-half, half), rel=1e-12)
    low, high = interval(mean, shared, 0.9, (-half / 2, half / 3))
    assert (low[0], high[0]) == pytest.approx((-half / 2, half / 3))


def test_combined_means_keep_their_centres_unless_they_say_nothing_about_noise():
    wide, first, second = random_pairs(6, 20, 15, 2)
    wide = wide._replace(value=np.array([0.2, 0.4]))
    single = PairMean(np.array([0.8, 0.0]), np.zeros((1, 2)), np.ones((1, 1)))
    shared = [sharing(first, second), sharing(np.array([3]), np.array([4]))]
    whole = combine([wide, single], np.array([[0.75], [0.25]]), shared)
    np.testing.assert_allclose(whole.value, [0.35, 0.3])
    np.testing.assert_allclose(whole.weights.sum(0), 1)
    np.testing.assert_allclose(whole.residuals[:20], 0.75 * wide.residuals)
    np.testing.assert_allclose(whole.residuals[20], [0.25 * (0.8 - 0.35), 0.25 * (0.0 - 0.3)])


def test_levels_are_refused():
    mean, first, second = random_pairs(7, 5, 9, 1)
    with pytest.raises(InvalidInputError, match=r"level: found 1\.0"):
        interval(mean, sharing(first, second), 1.0, (-1.0, 1.0))


@pytest.mark.parametrize("by_node", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("nodes", [10, 25])
def test_coverage_of_a_mean_over_all_pairs(nodes, by_node):
    generator = np.random.default_rng(11)
    first, second = np.triu_indices(nodes, 1)
    count = len(first)
    weights = np.full((count, 1), 1 / count)
    effects = by_node * generator.normal(size=(nodes, 800))
    values = effects[first] + effects[second] + generator.normal(size=(count, 800))
    mean = PairMean(values.mean(0), weights * (values - values.mean(0)), weights)
    low, high = interval(mean, sharing(first, second), 0.95, (-99.0, 99.0))
    # Above 95 % where nodes have no effect: only pairs vary, and the larger of two estimates is V.
    assert 0.94 <= ((low <= 0) & (high >= 0)).mean() <= (0.995 if by_node == 0 else 0.985)
