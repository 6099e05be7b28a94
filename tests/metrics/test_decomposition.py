"""Bias, variance and noise: the parts sum to the loss, and each is what its definition says."""

import numpy as np
import pytest
import scipy.special
import scipy.stats

from genjax import errors
from genjax.metrics import decomposition

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(7, 40, 5)) * 3
TRUTH = RNG.integers(5, size=40)


def labels(rate):
    return decomposition.noisy_labels(TRUTH, rate, 5)


def brute_force(loss, rate):
    """Return the mean over networks and the expectation over labels, one label after the other."""
    q = labels(rate)
    found = np.zeros(40)
    for i in range(40):
        for c in range(5):
            found[i] += q[i, c] * np.mean([loss(LOGITS[r, i], c) for r in range(7)])
    return found


def brier(z, c):
    return ((scipy.special.softmax(z) - np.eye(5)[c]) ** 2).sum()


def nats(z, c):
    return -scipy.special.log_softmax(z)[c]


def wrong(z, c):
    return float(z.argmax() != c)


@pytest.mark.parametrize("rate", [0, 0.3])
@pytest.mark.parametrize(
    ("loss", "parts"),
    [
        (brier, lambda q: decomposition.squared(LOGITS, q)),
        (brier, lambda q: decomposition.squared(LOGITS, q, unbiased=False)),
        (nats, lambda q: decomposition.cross_entropy(LOGITS, q)),
        (wrong, lambda q: decomposition.zero_one(LOGITS, q).parts),
    ],
    ids=["squared", "squared, plug-in", "cross-entropy", "0-1"],
)
def test_parts_sum_to_the_loss_of_a_plain_loop(loss, parts, rate):
    found = parts(labels(rate))
    np.testing.assert_allclose(found.loss, brute_force(loss, rate), rtol=0, atol=1e-12)
    total = found.noise + found.bias + found.variance
    np.testing.assert_allclose(total, found.loss, rtol=0, atol=1e-12)
    if rate == 0:
        np.testing.assert_allclose(found.noise, 0, atol=1e-12)


def test_unbiased_parts_do_not_depend_on_how_many_networks_there_are():
    """Means over many draws of R networks are those of the population; plug-in parts are not."""
    population = np.random.default_rng(1).normal(size=(6, 1, 3)) * 2
    q = np.array([[1.0, 0.0, 0.0]])
    whole = decomposition.squared(population, q, unbiased=False)
    draws = np.random.default_rng(2).integers(6, size=(4000, 3))  # independent, with replacement
    found = np.array(
        [[part[0] for part in decomposition.squared(population[own], q)] for own in draws]
    )
    errors = found.std(axis=0) / np.sqrt(len(found))
    away = np.abs(found.mean(axis=0) - [part[0] for part in whole])
    assert (away <= 5 * errors + 1e-12).all()
    plug_in = np.array(
        [decomposition.squared(population[own], q, unbiased=False).variance[0] for own in draws]
    )
    # Divided by R = 3 it is two thirds of the truth.
    assert plug_in.mean() == pytest.approx(2 / 3 * whole.variance[0], rel=0.05)


def test_zero_one_parts_are_those_of_domingos_without_noise():
    found = decomposition.zero_one(LOGITS, labels(0))
    predictions = LOGITS.argmax(-1)
    main = scipy.stats.mode(predictions, axis=0).mode  # the smallest of the most frequent
    biased = main != TRUTH
    np.testing.assert_array_equal(found.biased, biased)
    np.testing.assert_allclose(found.spread, (predictions != main).mean(0), atol=1e-12)
    np.testing.assert_array_equal(found.parts.bias, biased)
    # Theorem 2: error = bias + c2 * variance, c2 = 1 or minus the share of right ones among those
    # that differ from the main prediction.
    right_when_apart = ((predictions == TRUTH) & (predictions != main)).sum(0)
    apart = np.maximum((predictions != main).sum(0), 1)
    factor = np.where(biased, -right_when_apart / apart, 1.0)
    np.testing.assert_allclose(found.parts.variance, factor * found.spread, atol=1e-12)


def test_central_prediction_of_cross_entropy_minimises_what_it_should():
    """No other distribution has a smaller mean divergence to the networks."""
    found = decomposition.cross_entropy(LOGITS, labels(0)).variance
    logs = scipy.special.log_softmax(LOGITS, axis=-1)
    others = scipy.special.log_softmax(
        logs.mean(0) + 0.1 * np.random.default_rng(3).normal(size=(200, 40, 5)), axis=-1
    )
    divergence = (np.exp(others) * (others - logs.mean(0))).sum(-1)
    assert (divergence >= found - 1e-12).all()


def test_what_cannot_be_decomposed_is_refused():
    for logits, q, sentence in (
        (LOGITS[:1], labels(0), "at least two networks"),
        (LOGITS, 2 * labels(0), "no distributions"),
        (np.full_like(LOGITS, np.inf), labels(0), "not finite"),
    ):
        with pytest.raises(errors.InvalidInputError, match=sentence):
            decomposition.squared(logits, q)
