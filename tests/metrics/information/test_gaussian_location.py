"""Closed forms of Gaussian location against printed digits, determinants and Monte Carlo."""

import numpy as np
import pytest
from scipy import stats

from genjax.errors import InvalidInputError
from genjax.metrics.information import gaussian_location as location

_N, _D, _S2, _T2 = 20, 3, 1.7, 0.4


def _within(values, expected, errors=4.5):
    """Whether a mean is within some standard errors, which are small enough to tell."""
    error = np.std(values) / np.sqrt(len(values))
    assert error < 0.02 * abs(expected) + 1e-12
    assert abs(np.mean(values) - expected) < errors * error


def _samples(seed, runs, n=_N, d=_D, s2=_S2):
    return np.random.default_rng(seed).normal(0.3, np.sqrt(s2), (runs, n, d))


def _gaussian_information(joint, first):
    """I of the first block and the rest of a Gaussian from its covariance."""
    dets = [np.linalg.slogdet(m)[1] for m in (joint[:first, :first], joint[first:, first:], joint)]
    return (dets[0] + dets[1] - dets[2]) / 2


def test_noisy_mean_has_the_printed_numbers():
    """T1."""
    found = location.noisy_mean(_N, _D, _S2, _T2)
    assert found.gap == pytest.approx(0.51)
    assert found.information == pytest.approx(0.289027, abs=5e-7)
    assert found.individual_information == pytest.approx(0.0132023, abs=5e-8)
    assert found.conditional_information == found.information
    assert found.reason == "finite"


def test_noisy_mean_by_monte_carlo():
    runs = 60_000
    found = location.noisy_mean(_N, _D, _S2, _T2)
    samples, rng = _samples(0, runs), np.random.default_rng(1)
    means = samples.mean(1)
    weights = means + rng.normal(0, np.sqrt(_T2), means.shape)
    fresh = _samples(2, runs, n=1)[:, 0]
    test = np.sum((weights - fresh) ** 2, -1)
    train = np.mean(np.sum((weights[:, None] - samples) ** 2, -1), 1)
    # Both have the same expectation plus or minus the gap, and 20 times its spread: more runs by
    # the covariance of weights and mean, which is the gap.
    _within(2 * np.sum((weights - 0.3) * (means - 0.3), -1), found.gap)
    assert abs(np.mean(test - train) - found.gap) < 4.5 * np.std(test - train) / np.sqrt(runs)
    given = stats.norm.logpdf(weights, means, np.sqrt(_T2))
    alone = stats.norm.logpdf(weights, 0.3, np.sqrt(_S2 / _N + _T2))
    _within(np.sum(given - alone, -1), found.information)
    rest = np.sqrt(_S2 * (_N - 1) / _N**2 + _T2)
    centre = 0.3 + (samples[:, 0] - 0.3) / _N
    conditional = stats.norm.logpdf(weights, centre, rest)
    ratio = np.sum(conditional - alone, -1)
    error = np.std(ratio) / np.sqrt(runs)
    assert abs(ratio.mean() - found.individual_information) < 4.5 * error < 0.01


def test_information_of_the_noisy_mean_is_that_of_its_covariance():
    n, s2, t2 = 4, 1.3, 0.2
    joint = np.eye(n + 1) * s2
    joint[n, n] = s2 / n + t2
    joint[n, :n] = joint[:n, n] = s2 / n
    found = location.noisy_mean(n, 1, s2, t2)
    assert found.information == pytest.approx(_gaussian_information(joint, n), abs=1e-12)
    pair = joint[np.ix_([0, n], [0, n])]
    assert found.individual_information == pytest.approx(_gaussian_information(pair, 1), abs=1e-12)


def test_mean_without_noise_has_infinite_information_and_a_finite_bound():
    """T1 at t2 = 0."""
    found = location.noisy_mean(_N, _D, _S2, 0.0)
    assert found.information == np.inf
    assert "continuous data" in found.reason
    assert found.individual_information == pytest.approx(_D / 2 * np.log(_N / (_N - 1)))
    assert found.conditional_information == pytest.approx(_N * np.log(2))
    written = _S2 * _D * (1 + 1 / _N) * np.sqrt(2 * np.log(_N / (_N - 1)))
    assert found.individual_bound == pytest.approx(written, rel=1e-12)
    assert location.noisy_mean(1, 1, 1.0, 0.0).individual_information == np.inf


def test_bound_from_single_examples_holds_and_falls_slower_than_the_gap():
    n = np.array([2, 10, 10_000, 100_000])[:, None]
    noise = np.array([0.0, 0.1, 10.0])
    found = location.noisy_mean(n, 5, 2.0, noise)
    assert found.gap.shape == found.individual_bound.shape == (4, 3)
    assert (found.individual_bound >= found.gap).all()
    ratio = found.individual_bound / found.gap
    assert ratio[3, 0] / ratio[2, 0] == pytest.approx(np.sqrt(10), rel=1e-3)


def test_noisy_descent_has_the_printed_numbers():
    """T2."""
    found = location.noisy_descent(_N, _D, _S2, 0.1, 0.01, 50)
    assert found.last_information == pytest.approx(1.43237, abs=5e-6)
    assert found.path_information == pytest.approx(2.48734, abs=5e-6)
    assert found.summed_information == pytest.approx(6.11850, abs=5e-6)
    limit = _D / 2 * np.log1p(_S2 * (0.2 - 0.01) / (_N * 0.01))
    endless = location.noisy_descent(_N, _D, _S2, 0.1, 0.01, 2000)
    assert endless.last_information == pytest.approx(limit, rel=1e-12)
    assert location.noisy_descent(_N, _D, _S2, 0.1, 0.0, 3).last_information == np.inf


def test_noisy_descent_by_its_covariance_and_by_monte_carlo():
    n, s2, rate, noise, steps = 3, 1.7, 0.3, 0.05, 4
    found = location.noisy_descent(n, 1, s2, rate, noise, steps)
    # Iterates are linear in the mean (variance s2 / n) and in the noise of the steps.
    rows = np.zeros((steps + 1, steps + 1))
    rows[0, 0] = np.sqrt(s2 / n)
    for t in range(1, steps + 1):
        rows[t] = (rows[t - 1] if t > 1 else 0) * (1 - rate) + rate * rows[0]
        rows[t, t] += np.sqrt(noise)
    joint = rows @ rows.T
    assert found.path_information == pytest.approx(_gaussian_information(joint, 1), rel=1e-9)
    last = joint[np.ix_([0, steps], [0, steps])]
    assert found.last_information == pytest.approx(_gaussian_information(last, 1), rel=1e-9)
    rng, runs = np.random.default_rng(3), 100_000
    means = rng.normal(0, np.sqrt(s2 / n), runs)
    weights = np.zeros(runs)
    for _ in range(steps):
        weights = weights - rate * (weights - means) + rng.normal(0, np.sqrt(noise), runs)
    _within(weights * means, found.gap)


def test_gibbs_gap_is_its_symmetrised_information():
    """T4."""
    found = location.gibbs(20, 1.7, 5.0, 2.0)
    assert found.gap == pytest.approx(0.1619048, abs=5e-8)
    assert found.symmetrised_information / 5.0 == pytest.approx(0.1619048, abs=5e-8)
    rng, runs = np.random.default_rng(4), 200_000
    precision = 1 / 2.0 + 10.0
    means = rng.normal(0, np.sqrt(1.7 / 20), runs)
    weights = 10.0 / precision * means + rng.normal(0, precision**-0.5, runs)
    _within(2 * weights * means, found.gap)
    spread = np.sqrt((10.0 / precision) ** 2 * 1.7 / 20 + 1 / precision)

    def log_ratio(weights):
        given = stats.norm.logpdf(weights, 10.0 / precision * means, precision**-0.5)
        return given - stats.norm.logpdf(weights, 0, spread)

    _within(log_ratio(weights), found.information)
    _within(-log_ratio(rng.normal(0, spread, runs)), found.lautum_information)


@pytest.mark.parametrize(("n", "gap", "bound"), [(5, 0.160389, 0.163963), (10, 0.079889, 0.080832)])
def test_transport_has_the_printed_numbers(n, gap, bound):
    """T13."""
    found = location.transport(n)
    assert found.gap == pytest.approx(gap, abs=5e-7)
    assert found.bound == pytest.approx(bound, abs=5e-7)


def test_transport_by_monte_carlo():
    n, runs, s2 = 5, 400_000, 2.0
    found = location.transport(n, s2)
    samples = _samples(5, runs, n, 1, s2)[..., 0] - 0.3
    fresh = np.random.default_rng(6).normal(0, np.sqrt(s2), runs)
    means = samples.mean(1)
    _within(np.abs(means - fresh) - np.abs(means[:, None] - samples).mean(1), found.gap)
    # The transport given one example by quantiles, averaged over examples.
    grid = stats.norm.ppf((np.arange(4000) + 0.5) / 4000)
    scale = np.sqrt(s2)
    distances = [
        np.mean(np.abs(scale * grid / np.sqrt(n) - (z / n + scale * grid * np.sqrt(n - 1) / n)))
        for z in scale * stats.norm.ppf((np.arange(400) + 0.5) / 400)
    ]
    assert np.mean(distances) == pytest.approx(found.bound, rel=3e-3)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: location.noisy_mean(0, 1, 1.0, 1.0), "num_examples"),
        (lambda: location.noisy_mean(2, 1.5, 1.0, 1.0), "dimension"),
        (lambda: location.noisy_mean(2, 1, 0.0, 1.0), "variance"),
        (lambda: location.noisy_mean(2, 1, 1.0, -1.0), "noise_variance"),
        (lambda: location.noisy_descent(2, 1, 1.0, 2.0, 1.0, 3), "rate"),
        (lambda: location.noisy_descent(2, 1, 1.0, 0.1, 1.0, 0), "steps"),
        (lambda: location.gibbs(2, 1.0, 0.0, 1.0), "inverse_temperature"),
        (lambda: location.gibbs(2, 1.0, 1.0, np.inf), "prior_variance"),
        (lambda: location.transport(float("nan")), "num_examples"),
    ],
)
def test_bad_input_is_named(call, named):
    with pytest.raises(InvalidInputError, match=named):
        call()
