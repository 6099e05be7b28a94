"""Shapes of marginals, against differences taken draw by draw."""

import numpy as np

from genjax.statistics.resampling import percentile_interval
from genjax.statistics.shapes import shape


def test_differences_share_their_draws():
    rng = np.random.default_rng(3)
    errors = np.array([0.5, 0.2, 0.6, 0.4])
    common = rng.normal(size=(200, 1))  # what all values share cancels in every difference
    drawn = errors + common + 0.01 * rng.normal(size=(200, 4))
    found = shape(np.arange(4.0), errors, drawn, level=0.9, units=12)
    for (a, b), interval in (((0, 3), found.total), ((1, 2), found.widest)):
        gaps = np.array([draw[b] - draw[a] for draw in drawn])
        assert interval.value == errors[b] - errors[a]
        assert interval[1:] == percentile_interval(gaps, 0.9, units=12)
        assert interval.high - interval.low < 0.1
    for k in range(3):
        ends = percentile_interval(drawn[:, k + 1] - drawn[:, k], 0.9, units=12)
        assert (found.steps.low[k], found.steps.high[k]) == ends
    assert (found.rising(), found.sure()) == (1, 3)


def test_steps_within_the_noise_are_not_sure():
    rng = np.random.default_rng(3)
    errors = np.array([0.5, 0.505, 0.2])
    found = shape(np.arange(3.0), errors, errors + 0.05 * rng.normal(size=(200, 3)))
    assert (found.rising(), found.sure()) == (1, 1)
