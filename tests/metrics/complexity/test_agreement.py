"""Agreement on the line against a fit by hand, and on networks whose line is known."""

from statistics import NormalDist

import numpy as np
import pytest

from genjax.errors import InvalidInputError
from genjax.metrics.complexity.agreement import agreement_on_the_line


def networks(draws, errors, labels, classes=10):
    """Predictions that are wrong, independently, with the given probabilities."""
    wrong = draws.random((len(errors), len(labels))) < np.asarray(errors)[:, None]
    other = (labels + draws.integers(1, classes, wrong.shape)) % classes
    return np.where(wrong, other, labels)


def test_line_and_accuracies_against_a_fit_by_hand():
    draws = np.random.default_rng(0)
    labels, shifted_labels = draws.integers(0, 10, 500), draws.integers(0, 10, 400)
    errors = np.linspace(0.05, 0.4, 6)
    here, there = networks(draws, errors, labels), networks(draws, 1.6 * errors, shifted_labels)
    probit = np.vectorize(NormalDist().inv_cdf)
    x, y = [], []
    for i in range(6):
        for j in range(i):
            x.append(np.mean(here[i] == here[j]))
            y.append(np.mean(there[i] == there[j]))
    design = np.stack([probit(x), np.ones(15)], axis=1)
    (slope, intercept), *_ = np.linalg.lstsq(design, probit(y), rcond=None)
    found = agreement_on_the_line(here, labels, there)
    assert found.pairs == 15
    assert found.clipped == 0
    np.testing.assert_allclose([found.slope, found.intercept], [slope, intercept], rtol=1e-10)
    np.testing.assert_allclose(found.correlation, np.corrcoef(probit(x), probit(y))[0, 1])
    expected = np.vectorize(NormalDist().cdf)(slope * probit((here == labels).mean(1)) + intercept)
    np.testing.assert_allclose(found.accuracy, expected, rtol=1e-10)


def test_the_same_data_give_the_identity():
    draws = np.random.default_rng(1)
    labels = draws.integers(0, 10, 300)
    found = networks(draws, np.linspace(0.1, 0.6, 5), labels)
    line = agreement_on_the_line(found, labels, found)
    np.testing.assert_allclose([line.slope, line.intercept], [1, 0], atol=1e-9)
    np.testing.assert_allclose(line.accuracy, (found == labels).mean(1), atol=1e-9)


def test_shares_of_zero_and_one_are_pulled_in_and_counted():
    labels = np.zeros(4, int)
    here = np.array([[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 1]])
    line = agreement_on_the_line(here, labels, here)
    # Twice one pair of full agreement, and two full accuracies.
    assert line.clipped == 4
    np.testing.assert_allclose(line.accuracy, [7 / 8, 7 / 8, 1 / 2], atol=1e-12)


@pytest.mark.parametrize(
    ("here", "labels", "there", "word"),
    [
        (np.zeros((2, 4), int), np.zeros(4), np.zeros((2, 4), int), "three or more"),
        (np.zeros((3, 4), int), np.zeros(4), np.zeros((4, 4), int), "three or more"),
        (np.zeros((3, 0), int), np.zeros(0), np.zeros((3, 4), int), "labels"),
        (np.zeros((3, 4), int), np.zeros(4), np.zeros((3, 4), int), "no line"),
    ],
)
def test_too_little_for_a_line_is_refused(here, labels, there, word):
    with pytest.raises(InvalidInputError, match=word):
        agreement_on_the_line(here, labels, there)
