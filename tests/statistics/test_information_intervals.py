"""Intervals of conditional information: the formula, and how often they hold the truth."""

import numpy as np
import pytest
from scipy import stats

from genjax.statistics.conditional_information import pair_statistics
from genjax.statistics.networks import configuration_draws, from_arrays
from genjax.statistics.pair_information import information_interval


def test_the_interval_is_normal_around_the_corrected_value():
    generator = np.random.default_rng(0)
    draws = 0.5 + 0.02 * generator.normal(size=(20000, 2)) + np.array([0.0, 0.3])
    value = np.array([0.48, 0.8])
    corrected, low, high = information_interval(value, draws, 10, 90, level=0.9)
    assert corrected == pytest.approx(0.46, abs=1e-3)
    half = stats.t.ppf(0.95, 89) * np.sqrt(10 / 9) * 0.02
    assert (high - low) / 2 == pytest.approx(half, rel=0.02)
    draws[:5] = np.nan
    again = information_interval(value, draws, 10, 90, level=0.9)
    np.testing.assert_allclose(again, [corrected, low, high], atol=1e-3)
    assert np.isnan(information_interval(value, draws[:1], 10, 90)).all()
    assert np.isnan(information_interval(value, draws, 1, 1)).all()


def simulate(count, repeats, signal, generator, hypers=3):
    """Configurations drawn from a population; networks of one share an unmeasured part."""
    levels = np.repeat(generator.integers(0, 3, (count, hypers)), repeats, axis=0)
    configurations = np.repeat(np.arange(count), repeats)
    shared = 0.7 * (repeats > 1) * generator.normal(size=(2, count))[:, configurations]
    target = levels @ [1.0, 0.5, 0.0][:hypers] + shared[0] + generator.normal(size=len(levels))
    measure = signal * target + shared[1] + generator.normal(size=len(levels))
    return from_arrays(measure[:, None], target, levels)._replace(configurations=configurations)


def coverage(count, repeats, signal, simulations, hypers=3):
    """How often the intervals of both versions hold the value of a large population."""
    population = simulate(30000 // repeats, repeats, signal, np.random.default_rng(1), hypers)
    truth = pair_statistics(population)
    hits = np.zeros(2)
    for k in range(simulations):
        networks = simulate(count, repeats, signal, np.random.default_rng(1000 + k), hypers)
        draws = configuration_draws(networks.configurations, 200, seed=k)
        found = pair_statistics(networks, draws)
        for v, (own, true) in enumerate(((found.pgdl, truth.pgdl), (found.jiang, truth.jiang))):
            hits[v] += own.low[0] <= true.value[0] <= own.high[0]
    return hits / simulations


def test_intervals_cover_the_value_of_the_population():
    observed = coverage(80, 1, 1.0, 300, hypers=2)
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
