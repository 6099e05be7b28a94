"""Intervals of sign errors: loops over pairs that share, repeated values, simulated coverage."""

import numpy as np
import pytest
from scipy import stats
from simulated_grids import simulated

from genjax.errors import InvalidInputError
from genjax.statistics.networks import configuration_draws
from genjax.statistics.resampling import percentile_interval
from genjax.statistics.sign_error import SignErrors, environment_groups, sign_errors
from genjax.statistics.sign_error_intervals import mean_intervals, percentile_intervals


def small_targets(*arguments):
    """The simulated population with differences of proportions as targets."""
    networks = simulated(*arguments)
    return networks._replace(target=0.03 * np.clip(networks.target, -30, 30))


def example(missing=True):
    generator = np.random.default_rng(1)
    networks = small_targets(generator, (3, 3, 2), 3, 0.5, 0.5, 0.7, 0.5)
    more = generator.normal(size=(len(networks.target), 2))
    networks = networks._replace(measures=np.concatenate([networks.measures, more], axis=1))
    found = sign_errors(networks, weighting=None)
    if missing:
        found.errors[found.hyper == 1, 1] = np.nan
        found.errors[:16, 2] = np.nan
    # Configurations may have any numbers.
    return found._replace(source=found.source * 10 - 50, destination=found.destination * 10 - 50)


def looped(found, chosen, column):
    """Mean and half width over unordered pairs, by the sums that define them."""
    pairs = [
        ({a, b}, error)
        for a, b, error, here in zip(
            found.source, found.destination, found.errors[:, column], chosen, strict=True
        )
        if here and a < b and not np.isnan(error)
    ]
    mean = np.mean([error for _, error in pairs])
    count = len(pairs)
    f = sum(bool(p & q) for p, _ in pairs for q, _ in pairs) / count**2
    products = [(x - mean) * (y - mean) for p, x in pairs for q, y in pairs if p & q]
    variance = sum(products) / count**2 / (1 - f)
    alone = sum((x - mean) ** 2 for _, x in pairs) / count**2
    nodes = len(set().union(*(p for p, _ in pairs)))
    quantile = stats.t.ppf(0.95, 2 / (f + 1 / (nodes - 1)))
    return mean, quantile * np.sqrt(max(variance, alone))


def test_mean_interval_equals_the_loop():
    found = example()
    result = np.array(mean_intervals(found, 3, level=0.9))
    assert result.shape == (3, 4, 3)
    for row, chosen in enumerate(environment_groups(found, 3)):
        for column in range(3):
            if row == 2 and column == 1:
                assert np.isnan(result[:, row, column]).all()
                continue
            mean, half = looped(found, chosen, column)
            expected = np.clip([mean, mean - half, mean + half], 0, 1)
            np.testing.assert_allclose(result[:, row, column], expected, rtol=1e-11)


def repeated(found, chosen, column, times, share):
    """Quantile of the errors, each repeated as often as its two configurations are drawn."""
    numbers = {name: k for k, name in enumerate(np.unique([found.source, found.destination]))}
    values = [
        value
        for a, b, value, here in zip(
            found.source, found.destination, found.errors[:, column], chosen, strict=True
        )
        if here and not np.isnan(value)
        for _ in range(times[numbers[a]] * times[numbers[b]])
    ]
    return np.quantile(values, share) if values else np.nan


@pytest.mark.parametrize("percentile", [0.0, 37.5, 90.0, 100.0])
def test_percentile_equals_repeated_values(percentile):
    found = example()
    result = percentile_intervals(found, 3, percentile=percentile, draws=30, seed=4, level=0.8)
    draws = configuration_draws(np.arange(18), 30, seed=4)
    for row, chosen in enumerate(environment_groups(found, 3)):
        for column in range(3):
            once = repeated(found, chosen, column, np.ones(18, int), percentile / 100)
            values = [repeated(found, chosen, column, times, percentile / 100) for times in draws]
            expected = once, *percentile_interval(np.array(values), 0.8)
            parts = np.array(result)[:, row, column]
            np.testing.assert_allclose(parts, expected, rtol=1e-13)


def test_same_seed_same_interval():
    found = example()
    one, other = (np.array(percentile_intervals(found, 3, draws=20, seed=k)) for k in (1, 1))
    np.testing.assert_array_equal(one, other)
    changed = np.array(percentile_intervals(found, 3, draws=20, seed=2))
    assert (one[1:, :, 0] != changed[1:, :, 0]).any()
    np.testing.assert_array_equal(one[0], changed[0])


def test_one_environment_has_a_value_and_no_interval_of_the_mean():
    ends = np.array([3, 8])
    found = SignErrors(
        np.array([1, 1]), ends, ends[::-1], np.ones(2), np.ones(2), np.full((2, 1), 0.25)
    )
    result = np.array(mean_intervals(found, 2))[:, :, 0]
    np.testing.assert_array_equal(result[0], [0.25, np.nan, 0.25])
    assert np.isnan(result[1:]).all()
    drawn = np.array(percentile_intervals(found, 2, draws=50))[:, :, 0]
    np.testing.assert_array_equal(drawn[:, 2], [0.25, 0.25, 0.25])
    assert np.isnan(drawn[:, 1]).all()


def test_no_environment():
    none = np.zeros(0, np.int64)
    found = SignErrors(none, none, none, np.zeros(0), np.zeros(0), np.zeros((0, 2)))
    assert np.isnan(np.array(mean_intervals(found, 2))).all()
    assert np.array(percentile_intervals(found, 2, draws=5)).shape == (3, 3, 2)


def coverage(intervals, row=0):
    value, low, high = np.array(intervals)[:, :, row, 0].T
    expected = np.nanmean(value)
    return ((low <= expected) & (expected <= high)).mean()


@pytest.mark.parametrize(
    ("seeds", "weighting", "noise"),
    [
        (1, None, (0.0, 0.0, 1.0, 0.0)),
        (1, None, (1.0, 0.3, 0.7, 0.5)),
        (4, None, (0.0, 0.5, 1.0, 0.5)),
        (4, None, (1.0, 0.0, 0.5, 0.5)),
        (4, "hoeffding", (0.0, 0.0, 0.0, 1.0)),
    ],
)
def test_coverage_of_the_mean(seeds, weighting, noise):
    generator = np.random.default_rng(21)
    found = [
        sign_errors(
            small_targets(generator, (3, 3, 3), seeds, *noise),
            weighting=weighting,
            test_examples=10**4,
        )
        for _ in range(400)
    ]
    intervals = [mean_intervals(one, 3) for one in found]
    assert 0.92 <= coverage(intervals) <= 0.98
    assert all(coverage(intervals, row) >= 0.91 for row in (1, 2, 3))


def test_mean_is_conservative_where_hyper_parameters_differ():
    generator = np.random.default_rng(22)
    noise = (2.0, 0.0, 0.3, 0.3)
    found = [
        sign_errors(small_targets(generator, (3, 3, 3), 1, *noise), weighting=None)
        for _ in range(400)
    ]
    assert coverage([mean_intervals(one, 3) for one in found]) >= 0.98


@pytest.mark.parametrize("noise", [(0.0, 0.0, 0.0, 1.0), (1.0, 0.3, 0.7, 0.5)])
def test_percentile_is_conservative(noise):
    generator = np.random.default_rng(23)
    found = [
        sign_errors(small_targets(generator, (4, 4, 4), 4, *noise), weighting=None)
        for _ in range(300)
    ]
    intervals = [percentile_intervals(one, 3, seed=k) for k, one in enumerate(found)]
    assert coverage(intervals) >= 0.93
    value, low, high = np.array(intervals)[:, :, 0, 0].T
    wide = (high - low).mean() / (2 * 1.96 * value.std())
    assert 0.95 <= wide <= 1.4


def test_refusals():
    with pytest.raises(InvalidInputError, match=r"percentile: found 101\.0"):
        percentile_intervals(example(), 3, percentile=101.0)
    with pytest.raises(InvalidInputError, match="draws: found 0"):
        percentile_intervals(example(), 3, draws=0)
    with pytest.raises(InvalidInputError, match=r"level: found 0\.0"):
        mean_intervals(example(), 3, level=0.0)
    with pytest.raises(InvalidInputError, match=r"level: found 1\.0"):
        percentile_intervals(example(), 3, level=1.0)
