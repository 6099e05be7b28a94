"""The closed form of random features against simulation; the test for a second descent."""

import math

import numpy as np
import pytest
import scipy.stats

from genjax.errors import InvalidInputError
from genjax.statistics.double_descent import random_features_risk, second_descent


def simulated(rng, dimension, examples, features, noise):
    """Return the excess risk of one fit, by the pseudo-inverse."""

    def sphere(count):
        drawn = rng.normal(size=(count, dimension))
        return drawn / np.linalg.norm(drawn, axis=1, keepdims=True) * math.sqrt(dimension)

    images, weights, test = sphere(examples), sphere(features), sphere(1000)
    signal = rng.normal(size=dimension)
    signal /= np.linalg.norm(signal)
    seen, unseen = (np.maximum(x @ weights.T / math.sqrt(dimension), 0) for x in (images, test))
    labels = images @ signal + math.sqrt(noise) * rng.normal(size=examples)
    fit = np.linalg.pinv(seen) @ labels
    return np.mean((unseen @ fit - test @ signal) ** 2)


@pytest.mark.parametrize("ratio", [0.5, 1.5, 6.0])
@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_closed_form_is_what_simulation_gives(ratio, noise):
    rng = np.random.default_rng(round(ratio * 10))
    dimension, trials = 40, 16
    found = [
        simulated(rng, dimension, 3 * dimension, round(ratio * dimension), noise)
        for _ in range(trials)
    ]
    error = np.std(found, ddof=1) / math.sqrt(trials)
    expected = random_features_risk(ratio, 3, noise=noise)
    # Four standard errors, and the terms of order 1/d that the limit leaves out.
    assert abs(np.mean(found) - expected) < 4 * error + expected / dimension
    assert 4 * error < 0.5 * expected  # or it would show nothing


def test_risk_peaks_at_the_threshold_and_is_that_of_zero_without_features():
    ratios = np.linspace(0.1, 9.9, 99)
    risks = [random_features_risk(r, 3, noise=0.25) for r in ratios if abs(r - 3) > 1e-9]
    assert ratios[int(np.argmax(risks))] in (pytest.approx(2.9), pytest.approx(3.0))
    assert random_features_risk(3, 3) == math.inf
    assert random_features_risk(1e-6, 3, signal=2.0, noise=0.3) == pytest.approx(2.0, abs=1e-4)
    # Signal and noise enter linearly.
    parts = random_features_risk(5, 2, signal=3.0) + random_features_risk(5, 2, signal=0, noise=2)
    assert random_features_risk(5, 2, signal=3.0, noise=2) == pytest.approx(parts, rel=1e-12)


def test_second_descent_has_students_intervals_for_all_pairs():
    rng = np.random.default_rng(1)
    errors = np.array([0.4, 0.2, 0.5, 0.3, 0.1]) + rng.normal(0, 0.02, (6, 5))
    found = second_descent(errors, 0.9)
    assert found is not None
    assert (found.shown, found.start, found.dip, found.peak, found.end) == (True, 0, 1, 2, 4)
    expected = scipy.stats.ttest_rel(errors[:, 2], errors[:, 1]).confidence_interval(1 - 0.1 / 10)
    np.testing.assert_allclose(found.rise[1:], expected, rtol=1e-10)
    expected = scipy.stats.ttest_rel(errors[:, 2], errors[:, 4]).confidence_interval(1 - 0.1 / 10)
    np.testing.assert_allclose(found.fall[1:], expected, rtol=1e-10)
    expected = scipy.stats.ttest_rel(errors[:, 0], errors[:, 1]).confidence_interval(1 - 0.1 / 10)
    np.testing.assert_allclose(found.first[1:], expected, rtol=1e-10)


def test_an_error_that_only_rises_and_falls_does_not_fall_twice():
    rng = np.random.default_rng(1)
    errors = np.array([0.2, 0.5, 0.1]) + rng.normal(0, 0.02, (6, 3))
    found = second_descent(errors)
    assert found is not None
    assert (found.shown, found.start, found.dip, found.peak, found.end) == (True, None, 0, 1, 2)
    assert np.isnan(found.first).all()
    # A first fall that is not certain is not taken for one.
    errors = np.array([0.201, 0.2, 0.5, 0.1]) + rng.normal(0, 0.02, (6, 4))
    found = second_descent(errors)
    assert found is not None
    assert (found.shown, found.start, found.peak) == (True, None, 2)


def test_chance_makes_no_second_descent():
    rng = np.random.default_rng(2)
    shown = []
    for _ in range(300):
        found = second_descent(rng.normal(size=(8, 10)))
        shown.append(found is not None and found.shown)
    assert np.mean(shown) <= 0.05
    falling = np.array([0.5, 0.4, 0.3]) + rng.normal(0, 1e-3, (8, 3))
    assert second_descent(falling) is None
    assert second_descent(falling[:, :2]) is None


def test_what_has_no_answer_is_refused():
    with pytest.raises(InvalidInputError, match="features_per_dimension: found 0"):
        random_features_risk(0, 1)
    with pytest.raises(InvalidInputError, match="noise: found 1 and -1"):
        random_features_risk(2, 1, signal=1, noise=-1)
    with pytest.raises(InvalidInputError, match="errors: found 1 seeds"):
        second_descent(np.zeros((1, 4)))
