"""Gaussian information against determinants, scikit-learn, simulation and known answers."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.cross_decomposition import CCA

from genjax.errors import InvalidInputError
from genjax.metrics.information.gaussian_information import (
    canonical_correlations,
    canonical_information,
    contraction_coefficient,
    gaussian_bias,
    gaussian_mutual_information,
    linear_contraction,
    linear_information,
)


def sample(count=200, seed=0):
    rng = np.random.default_rng(seed)
    joint = rng.normal(size=(count, 5)) @ rng.normal(size=(5, 5)) + 3.0
    return joint[:, :2], joint[:, 2:]


def test_correlations_are_those_of_scikit_learn_and_of_determinants():
    x, y = sample()
    with jax.enable_x64(True):
        found = np.asarray(canonical_correlations(x, y))
        information = float(gaussian_mutual_information(x, y, corrected=False))
    a, b = CCA(2, tol=1e-12, max_iter=5000).fit(x, y).transform(x, y)
    peer = [np.corrcoef(a[:, k], b[:, k])[0, 1] for k in range(2)]
    assert found == pytest.approx(peer, abs=1e-6)
    logs = [np.linalg.slogdet(np.cov(v.T))[1] for v in (x, y, np.hstack([x, y]))]
    assert information == pytest.approx(0.5 * (logs[0] + logs[1] - logs[2]), abs=1e-10)


def test_known_answer_of_correlated_gaussians():
    assert float(canonical_information(jnp.array([0.9]))) == pytest.approx(0.830366, abs=1e-6)
    assert float(canonical_information(jnp.full(4, 0.9))) == pytest.approx(4 * 0.830366, abs=4e-6)
    assert float(canonical_information(jnp.array([1.0, 0.5]))) == math.inf


@pytest.mark.parametrize("r", [0.0, 0.8])
def test_estimate_is_unbiased_after_and_biased_before(r):
    """N = 30, p = 3, q = 2: the stated bias, whatever the correlation is."""
    with jax.enable_x64(True):
        x, noise = jax.random.normal(jax.random.key(0), (2, 4000, 30, 3))
        y = r * x[..., :2] + math.sqrt(1 - r * r) * noise[..., :2]
        at_once = jax.vmap(lambda a, b: gaussian_mutual_information(a, b, corrected=False))
        values = np.asarray(jax.jit(at_once)(x, y))
    truth = -math.log(1 - r * r)
    error = float(values.std()) / math.sqrt(4000)
    bias = gaussian_bias(30, 3, 2)
    assert error < 0.004
    assert abs(float(values.mean()) - truth - bias) < 4 * error
    assert bias > 3 * 2 / 60 > 4 * error  # the first order is too little
    with jax.enable_x64(True):
        corrected = gaussian_mutual_information(x[0], y[0])
    assert float(corrected) == pytest.approx(float(values[0]) - bias, abs=1e-12)


def test_bias_goes_to_its_first_order():
    assert gaussian_bias(100_000, 4, 7) == pytest.approx(28 / 200_000, rel=1e-3)
    assert gaussian_bias(50, 2, 3) == gaussian_bias(50, 3, 2)


def test_linear_layer_is_the_determinant():
    rng = np.random.default_rng(1)
    half, weights = rng.normal(size=(4, 4)), rng.normal(size=(4, 6))
    covariance = half @ half.T
    with jax.enable_x64(True):
        found = float(linear_information(covariance, 0.3, weights))
        top = float(linear_contraction(covariance, 0.3, weights))
    out = weights.T @ covariance @ weights
    assert found == pytest.approx(0.5 * np.linalg.slogdet(np.eye(6) + out / 0.3)[1], abs=1e-10)
    # Squared canonical correlations from the joint covariance, by definition.
    cross = covariance @ weights
    matrix = np.linalg.solve(covariance, cross) @ np.linalg.solve(out + 0.3 * np.eye(6), cross.T)
    squares = np.sort(np.linalg.eigvals(matrix).real)
    assert top == pytest.approx(squares[-1], abs=1e-10)
    assert found == pytest.approx(-0.5 * np.log1p(-squares).sum(), abs=1e-9)


def test_gaussian_channel_has_the_known_coefficient():
    """P = 2, N = 1: ratios of information log(1 - r^2 eta) / log(1 - r^2) are below eta."""
    eta = float(linear_contraction(jnp.array([[2.0]]), 1.0))
    assert eta == pytest.approx(2 / 3, abs=1e-6)
    for r, known in ((0.01, 0.666656), (0.9, 0.46758)):
        with jax.enable_x64(True):
            after = float(canonical_information(jnp.array([r * math.sqrt(2 / 3)])))
            before = float(canonical_information(jnp.array([r])))
        assert after / before == pytest.approx(known, abs=5e-6)
        assert after / before <= eta


def test_the_coefficient_of_a_sample_is_that_of_the_layer(getkey):
    x = jax.random.normal(getkey(), (20_000, 2)) * jnp.array([[2.0, 1.0]])
    weights = jnp.array([[1.0, 0.5, 0.0], [0.0, 1.0, 1.0]])
    t = jnp.matmul(x, weights) + 0.7 * jax.random.normal(getkey(), (20_000, 3))
    exact = float(linear_contraction(jnp.diag(jnp.array([4.0, 1.0])), 0.49, weights))
    assert float(contraction_coefficient(x, t)) == pytest.approx(exact, abs=0.005)
    information = float(linear_information(jnp.diag(jnp.array([4.0, 1.0])), 0.49, weights))
    assert float(gaussian_mutual_information(x, t)) == pytest.approx(information, abs=0.03)


def test_no_noise_is_infinite_and_nothing_is_nothing():
    assert float(linear_information(jnp.eye(2), 0.0)) == math.inf
    assert float(linear_contraction(jnp.eye(2), 0.0)) == 1.0
    assert float(linear_information(jnp.zeros((2, 2)), 0.0)) == 0.0
    assert float(linear_contraction(jnp.zeros((2, 2)), 0.0)) == 0.0
    # A null direction carries nothing; the other is what makes it infinite.
    assert float(linear_information(jnp.diag(jnp.array([1.0, 0.0])), 1.0)) == pytest.approx(
        0.5 * math.log(2), abs=1e-6
    )


def test_constant_and_repeated_columns_are_left_out(getkey):
    x, y = (jax.random.normal(k, (50, 3)) for k in jax.random.split(getkey()))
    found = canonical_correlations(x, y)
    more = jnp.concatenate([x, jnp.full((50, 1), 7.3), x[:, :1] + 1.0], axis=1)
    assert np.asarray(canonical_correlations(more, y)) == pytest.approx(np.asarray(found), abs=1e-5)


def test_jit_and_vmap_are_the_loop(getkey):
    x = jax.random.normal(getkey(), (3, 60, 4))
    y = x[..., :2] + jax.random.normal(getkey(), (3, 60, 2))
    at_once = jax.jit(jax.vmap(gaussian_mutual_information))(x, y)
    for index in range(3):
        alone = float(gaussian_mutual_information(x[index], y[index]))
        assert float(at_once[index]) == pytest.approx(alone, abs=1e-5)
    covariances = jnp.einsum("bni,bnj->bij", x, x) / 60
    variances = jnp.array([0.0, 0.5, 2.0])
    for function in (linear_information, linear_contraction):
        values = jax.jit(jax.vmap(function))(covariances, variances)
        for index in range(3):
            alone = function(covariances[index], variances[index])
            assert float(values[index]) == pytest.approx(float(alone), rel=1e-5)


def test_bad_input_is_refused():
    x, y = sample()
    with pytest.raises(InvalidInputError, match="more than 5"):
        canonical_correlations(x[:5], y[:5])
    with pytest.raises(InvalidInputError, match="num_examples"):
        gaussian_bias(5, 2, 3)
    with pytest.raises(InvalidInputError, match="variance"):
        linear_information(np.eye(2), -1.0)
