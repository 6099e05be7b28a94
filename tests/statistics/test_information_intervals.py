"""Intervals of conditional information: the formula, and how often they hold the truth."""

import numpy as np
import pytest
from scipy import stats

from genjax.statistics.conditional_information import pair_statistics
from genjax.statistics.networks import configuration_draws, from_arrays
from genjax.statistics.pair_information import information_interval


def test_the_interval_is_normal_around_the_corrected_value():
    generator = np.random.default_rng(0)
    # The second set is nearly as small: the smallest of both spreads less than either.
    draws = np.array([0.5, 0.51]) + 0.02 * generator.normal(size=(20000, 2))
    value = np.array([0.48, 0.49])
    corrected, low, high = information_interval(value, draws, 10, 90, level=0.9)
    assert corrected == pytest.approx(2 * 0.48 - draws.min(1).mean(), abs=1e-12)
    half = stats.t.ppf(0.95, 89) * np.sqrt(10 / 9) * 0.02
    assert (high - low) / 2 == pytest.approx(half, rel=0.02)
    draws[:5] = np.nan
    again = information_interval(value, draws, 10, 90, level=0.9)
    np.testing.assert_allclose(again, [corrected, low, high], atol=1e-3)
    assert np.isnan(information_interval(value, draws[:1], 10, 90)).all()
    assert np.isnan(information_interval(value, draws, 1, 1)).all()


def test_intervals_take_configurations_as_the_units():
    generator = np.random.default_rng(0)
    levels = np.repeat(generator.permutation(np.arange(45) % 3), 2)[:, None]
    shared = levels[:, 0] * 4.0
    target, measure = shared + generator.normal(size=90), shared + generator.normal(size=90)
    networks = from_arrays(measure[:, None], target, levels)
    networks = networks._replace(configurations=np.repeat(np.arange(45), 2))
    draws = configuration_draws(networks.configurations, 50, seed=0)
    found = pair_statistics(networks, draws).jiang
    # Almost all is through the hyper-parameter, whose set is the smallest in every draw.
    assert found.argmin == (("hp.0",),)
    assert found.by_set[0, 0] > found.draws.max()
    corrected = 2 * found.value[0] - found.draws.mean()
    half = stats.t.ppf(0.975, 44) * np.sqrt(15 / 14) * found.draws.std(ddof=1)
    assert found.high[0] == pytest.approx(corrected + half, abs=1e-12)
    assert found.low[0] == pytest.approx(max(corrected - half, 0), abs=1e-12)
    assert found.corrected[0] == pytest.approx(max(corrected, 0), abs=1e-12)


def simulate(count, repeats, signal, generator, hypers=3):
    """Configurations drawn from a population; networks of one share an unmeasured part."""
    levels = np.repeat(generator.integers(0, 3, (count, hypers)), repeats, axis=0)
    configurations = np.repeat(np.arange(count), repeats)
    shared = 0.7 * (repeats > 1) * generator.normal(size=(2, count))[:, configurations]
    target = levels @ [1.0, 0.5, 0.0][:hypers] + shared[0] + generator.normal(size=len(levels))
    measure = signal * target + shared[1] + generator.normal(size=len(levels))
    return from_arrays(measure[:, None], target, levels)._replace(configurations=configurations)


def coverage(count, repeats, signal, simulations, hypers=3, populations=20):
    """How often the intervals of both versions hold the value of large populations."""
    by_set = []
    for k in range(populations):
        large = simulate(20000 // repeats, repeats, signal, np.random.default_rng(k), hypers)
        found = pair_statistics(large)
        by_set.append((found.pgdl.by_set[0], found.jiang.by_set[0]))
    truth = [np.mean(values, axis=0).min() for values in zip(*by_set, strict=True)]
    hits = np.zeros(2)
    for k in range(simulations):
        networks = simulate(count, repeats, signal, np.random.default_rng(1000 + k), hypers)
        draws = configuration_draws(networks.configurations, 200, seed=k)
        found = pair_statistics(networks, draws)
        for v, (own, true) in enumerate(zip((found.pgdl, found.jiang), truth, strict=True)):
            hits[v] += own.low[0] <= true <= own.high[0]
    return hits / simulations


@pytest.mark.slow
def test_intervals_cover_the_value_of_the_population():
    observed = coverage(80, 1, 1.0, 300, hypers=2, populations=3)
    assert (observed >= 0.92).all()
    assert (observed <= 0.98).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "repeats", "signal"),
    [(60, 1, 1.0), (100, 5, 1.0), (300, 1, 0.3), (300, 1, 1.0), (300, 1, 3.0)],
)
def test_intervals_cover_in_more_populations(count, repeats, signal):
    observed = coverage(count, repeats, signal, 1000)
    assert (observed >= 0.92).all()
    assert (observed <= 0.98).all()


@pytest.mark.slow
@pytest.mark.parametrize("repeats", [1, 5])
def test_intervals_of_independent_measures_hold_zero(repeats):
    hits = np.zeros(2)
    for k in range(300):
        networks = simulate(80, repeats, 0.0, np.random.default_rng(k))
        found = pair_statistics(networks, configuration_draws(networks.configurations, 200, seed=k))
        hits += [found.pgdl.low[0] == 0, found.jiang.low[0] == 0]
    # At the border of what is possible the interval is one-sided: it holds 0 more often.
    assert (hits / 300 >= 0.95).all()
