"""Power laws are recovered from synthetic errors, with intervals that hold the truth."""

import numpy as np
import pytest
import scipy.stats

from genjax import errors
from genjax.statistics import power_law

SIZES = np.array([50, 100, 200, 400, 800, 1600])


def draw(rng, exponent, scale, offset, seeds=8, spread=0.1):
    """Return errors of seeds around a law: a factor of every seed, and one of every network."""
    law = scale * SIZES**-exponent + offset
    each = rng.normal(size=(seeds, 1)) + rng.normal(size=(seeds, len(SIZES)))
    return law * np.exp(spread * each - spread**2)


@pytest.mark.parametrize("offset", [0.0, 0.03])
@pytest.mark.parametrize("exponent", [0.07, 0.35, 1.0])
def test_a_law_without_noise_is_found_exactly(exponent, offset):
    clean = 2.0 * SIZES**-exponent + offset
    found = power_law.fit_means(SIZES, clean, offset=offset > 0)
    tolerance = 1e-4 if offset else 1e-10
    assert found.exponent == pytest.approx(exponent, rel=tolerance)
    assert found.scale == pytest.approx(2.0, rel=tolerance)
    assert found.offset == pytest.approx(offset, rel=tolerance)
    np.testing.assert_allclose(found.at(SIZES), clean, rtol=1e-6)


@pytest.mark.parametrize("offset", [0.0, pytest.param(0.1, marks=pytest.mark.slow)])
def test_intervals_of_the_exponent_hold_the_truth_as_often_as_they_say(offset):
    rng = np.random.default_rng(0)
    total, held = 200, 0
    for _ in range(total):
        made = draw(rng, 0.35, 2.0, offset, spread=0.02)
        found = power_law.fit(SIZES, made, offset=offset > 0).exponent
        assert np.isfinite(found.low)
        held += found.low <= 0.35 <= found.high
    # Between the points that a binomial of 0.95 leaves with probability 1e-4.
    low, high = scipy.stats.binom(total, 0.95).ppf([1e-4, 1 - 1e-4])
    assert low <= held <= high, held / total


def test_an_offset_at_the_end_of_its_range_has_no_interval():
    """Errors that curve down in logarithms fit no offset above 0."""
    made = draw(np.random.default_rng(4), 0.35, 2.0, 0, spread=0.01) - 0.05
    found = power_law.fit(SIZES, made, offset=True)
    assert found.law.offset < 1e-3 * made.mean(0).min()
    assert np.isnan([found.exponent.low, found.offset.high]).all()
    line = power_law.fit(SIZES, made, offset=False)
    assert found.law.exponent == pytest.approx(line.law.exponent, rel=1e-4)


def test_the_line_of_logarithms_is_scipys():
    made = draw(np.random.default_rng(1), 0.2, 1.0, 0)
    expected = scipy.stats.linregress(np.log(SIZES), np.log(made.mean(axis=0)))
    found = power_law.fit(SIZES, made, offset=False)
    assert found.law.exponent == pytest.approx(-expected.slope, rel=1e-9)
    assert found.law.scale == pytest.approx(np.exp(expected.intercept), rel=1e-9)
    assert np.isnan([found.offset.low, found.offset.high]).all()


def test_extrapolation_is_right_where_the_law_goes_on_and_wrong_where_it_ends():
    rng = np.random.default_rng(2)
    made = draw(rng, 0.35, 2.0, 0.1, spread=0.01)
    small, large = made[:, :4], made[:, 4:]
    right = power_law.extrapolate(SIZES[:4], small, SIZES[4:], large, offset=True)
    assert (right.low < 1).all()
    assert (right.high > 1).all()
    wrong = power_law.extrapolate(SIZES[:4], small, SIZES[4:], large, offset=False)
    assert (wrong.high < 1).all()  # a line of logarithms does not know of the floor
    without = power_law.fit_means(SIZES[:4], small.mean(0), offset=False)
    np.testing.assert_allclose(wrong.value, without.at(SIZES[4:]) / large.mean(0), rtol=1e-9)


def test_errors_of_zero_have_no_law_and_lost_seeds_are_left_out():
    flat = np.full((4, 6), 0.1)
    flat[:, -1] = 0
    found = power_law.fit(SIZES, flat, offset=False)
    assert np.isnan([found.exponent.value, found.exponent.low]).all()
    made = draw(np.random.default_rng(3), 0.35, 2.0, 0)
    lost = np.concatenate([made, np.full((1, 6), np.nan)])
    assert (
        power_law.fit(SIZES, lost, offset=False).exponent
        == power_law.fit(SIZES, made, offset=False).exponent
    )


def test_what_cannot_be_fitted_is_refused():
    with pytest.raises(errors.InvalidInputError, match="at least 3 different"):
        power_law.fit_means(np.array([1, 2, 2]), np.ones(3), offset=True)
    with pytest.raises(errors.InvalidInputError, match="found 2 seeds"):
        power_law.fit(SIZES, np.ones((2, 6)), offset=False)
