"""Linearised training against its closed form, kernel regression against scikit-learn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from sklearn.kernel_ridge import KernelRidge

from genjax import errors
from genjax.metrics.complexity import empirical_ntk, linearised


def _problem(width, seed, count=12, activation="tanh"):
    """Return a network, where it starts, and data; x64 if that is on."""
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.uniform(size=(count + 5, 3, 3, 1)), jnp.result_type(float))
    targets = jnp.asarray(rng.normal(size=(count, 2)), jnp.result_type(float))
    init, apply = linearised.network(9, 2, (width,), activation)
    return apply, init(jax.random.key(seed)), images[:count], targets, images[count:]


def test_the_parametrisation_is_the_published_one():
    init, apply = linearised.network(4, 2, (5, 3), "relu")
    params = jax.tree.map(np.asarray, init(jax.random.key(0)))
    x = np.random.default_rng(0).normal(size=(6, 2, 2, 1)).astype(np.float32)
    h = x.reshape(6, 4) @ params[0]["kernel"] / 2 + 0.1 * params[0]["bias"]
    h = np.maximum(h, 0) @ params[1]["kernel"] / np.sqrt(5) + 0.1 * params[1]["bias"]
    h = np.maximum(h, 0) @ params[2]["kernel"] / np.sqrt(3) + 0.1 * params[2]["bias"]
    np.testing.assert_allclose(apply(params, x), h, rtol=1e-5, atol=1e-6)
    wide = np.asarray(linearised.network(9, 2, (4000,))[0](jax.random.key(1))[0]["kernel"])
    assert abs(wide.std() - 1) < 0.03  # 36,000 numbers: a standard error of 0.004


def test_an_unknown_activation_is_refused():
    with pytest.raises(errors.InvalidInputError, match="did you mean 'relu'"):
        linearised.network(4, 2, (5,), "rellu")


def test_the_linearisation_follows_its_closed_form():
    with jax.enable_x64(True):
        apply, omega, images, targets, held = _problem(20, 0)
        rate, steps, n = 0.7, 40, len(images)
        found = linearised.descend(apply, omega, images, targets, held, rate=rate, steps=steps)
        both = np.concatenate([images, held])
        jacobian = jax.jacrev(lambda w: apply(w, both).reshape(-1))(omega)
        leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(jacobian)]
        start = np.asarray(apply(omega, both)).reshape(-1)
        targets = np.asarray(targets)
    gradients = np.concatenate([leaf.reshape(len(leaf), -1) for leaf in leaves], axis=1)
    kernel = gradients @ gradients.T
    own = kernel[: 2 * n, : 2 * n]
    values, vectors = np.linalg.eigh(own)
    # sum_{t < T} (1 - eta lambda / n)^t eta / n, which has no division by small eigenvalues.
    decay = sum((1 - rate * values / n) ** t for t in range(steps)) * rate / n
    weights = vectors @ (decay * (vectors.T @ (targets.reshape(-1) - start[: 2 * n])))
    expected = (start + kernel[:, : 2 * n] @ weights).reshape(-1, 2)
    np.testing.assert_allclose(found.linear_train, expected[:n], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found.linear, expected[n:], rtol=1e-6, atol=1e-6)


def test_the_network_descends_its_own_loss():
    with jax.enable_x64(True):
        apply, omega, images, targets, held = _problem(6, 1)
        found = linearised.descend(apply, omega, images, targets, held, rate=0.3, steps=7)
        own = omega
        for _ in range(7):
            slope = jax.grad(lambda w: ((apply(w, images) - targets) ** 2).sum() / 24)(own)
            own = jax.tree.map(lambda w, g: w - 0.3 * g, own, slope)
        np.testing.assert_allclose(found.network, apply(own, held), rtol=1e-9)
        np.testing.assert_allclose(found.network_train, apply(own, images), rtol=1e-9)
        np.testing.assert_array_equal(found.start, apply(omega, held))


def test_regression_is_that_of_scikit_learn():
    rng = np.random.default_rng(1)
    factor = rng.normal(size=(9, 20))
    whole = factor @ factor.T
    kernel, cross, targets = whole[:6, :6], whole[6:, :6], rng.normal(size=(6, 2))
    fitted = KernelRidge(alpha=0.1 * np.trace(kernel) / 6, kernel="precomputed")
    nothing = np.zeros((6, 2)), np.zeros((3, 2))
    found = linearised.kernel_regression(kernel, cross, targets, nothing, ridge=0.1)
    np.testing.assert_allclose(found, fitted.fit(kernel, targets).predict(cross), rtol=1e-9)
    start = rng.normal(size=(6, 2))
    exact = linearised.kernel_regression(kernel, kernel, targets, (start, start))
    np.testing.assert_allclose(exact, targets, rtol=1e-6, atol=1e-9)


def test_an_indefinite_kernel_is_refused():
    nothing = np.zeros((2, 1)), np.zeros((2, 1))
    with pytest.raises(errors.InvalidInputError, match="kernel: found a matrix"):
        linearised.kernel_regression(-np.eye(2), np.eye(2), np.ones((2, 1)), nothing)


def test_the_distance_falls_as_one_over_width():
    widths, seeds = (32, 512), 16
    distance, drift = np.empty((2, len(widths), seeds))
    for row, width in enumerate(widths):
        apply, _, images, targets, held = _problem(width, 0)
        init, _ = linearised.network(9, 2, (width,))

        def both(key, init=init, apply=apply, images=images, targets=targets, held=held):
            start = init(key)
            found = linearised.descend(apply, start, images, targets, held, rate=1.0, steps=60)
            kernels = [empirical_ntk(apply, w, images) for w in (start, found.params)]
            return found.network - found.linear, *kernels

        keys = jax.random.split(jax.random.key(0), seeds)
        apart, first, last = (np.asarray(x) for x in jax.jit(jax.vmap(both))(keys))
        distance[row] = np.sqrt((apart**2).mean(axis=(1, 2)))
        drift[row] = np.linalg.norm(last - first, axis=(1, 2)) / np.linalg.norm(first, axis=(1, 2))
    for values in (distance, drift):
        slopes = linearised.log_slope(np.array(widths, float), values)
        half = stats.t.ppf(0.995, seeds - 1) * stats.sem(slopes)
        # The law holds in the limit; from 32 units on it is 0.1 off at most.
        assert abs(slopes.mean() + 1) < half + 0.1
        assert half < 0.3
