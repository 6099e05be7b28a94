"""Bounds from sharpness against their formulas in NumPy, and what they need."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from scipy.optimize import brentq

from genjax import models
from genjax.errors import InvalidInputError
from genjax.metrics import complexity
from genjax.metrics.complexity import Trained, registry
from genjax.metrics.complexity.sharpness_bounds import sam_bound, second_order_bound


def kl(q, p):
    left = q * np.log(q / p) if q > 0 else 0.0
    return left + ((1 - q) * np.log((1 - q) / (1 - p)) if q < 1 else 0.0)


def by_hand(loss, trace, distance, sigma, count, n, delta=0.05):
    """The second-order bound at one sigma, with the prior next above the best one."""
    risk = (loss + sigma**2 * max(trace, 0) / 2) / math.log(2)
    if risk >= 1:
        return 1.0
    j = math.ceil(32 * math.log2(sigma**2 + distance / count))
    prior = 2.0 ** (j / 32)
    price = math.log(1.5 * (abs(j) + 1) * (abs(j) + 2))
    ratio = sigma**2 / prior
    divergence = (count * (ratio - 1 - math.log(ratio)) + distance / prior) / 2
    budget = (divergence + price + math.log(2 * math.sqrt(n) / delta)) / n
    return float(np.asarray(brentq(lambda p: kl(risk, p) - budget, risk + 1e-12, 1 - 1e-12)))


@pytest.mark.parametrize(
    ("loss", "trace", "distance", "count", "n"),
    [(0.02, 5.0, 10.0, 200, 60_000), (0.3, 50.0, 100.0, 2000, 50_000), (0.02, -5.0, 1.0, 50, 1000)],
)
def test_the_second_order_bound(loss, trace, distance, count, n):
    with jax.enable_x64(True):
        found = second_order_bound(loss, trace, distance, parameters=count, examples=n)
        bound, sigma = float(found.bound), float(found.sigma)
    np.testing.assert_allclose(bound, by_hand(loss, trace, distance, sigma, count, n), rtol=1e-9)
    others = [by_hand(loss, trace, distance, s, count, n) for s in np.geomspace(1e-4, 1, 300)]
    assert bound < min(others) + 1e-3
    assert 0 < bound < 1


def test_the_second_order_bound_shrinks_with_flatness_and_examples():
    how = {"parameters": 500, "examples": 20_000}
    flat = second_order_bound(0.05, 1.0, 20.0, **how).bound
    assert flat < second_order_bound(0.05, 100.0, 20.0, **how).bound
    assert flat > second_order_bound(0.05, 1.0, 20.0, parameters=500, examples=200_000).bound
    assert second_order_bound(5.0, 1e6, 1e9, **how).bound == 1.0  # a loss above ln 2: vacuous


def test_the_bound_of_sharpness_aware_minimization():
    worst, square, k, n, rho, delta = 0.1, 30.0, 1000, 50_000, 0.05, 0.05
    inner = k / 4 * math.log(1 + square / rho**2 * (1 + math.sqrt(math.log(n) / k)) ** 2)
    inner += math.log(n / delta) + 2 * math.log(6 * n + 3 * k)
    expected = (1 - n**-0.5) * worst + n**-0.5 + math.sqrt(inner / (n - 1))
    found = sam_bound(worst, square, parameters=k, examples=n)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    # Theorem 2 itself, with its constant from the proof, is looser.
    theorem = 4 * inner / (n - 1)
    assert found < worst + math.sqrt(theorem)


def test_numbers_out_of_range_are_refused():
    with pytest.raises(InvalidInputError, match="parameters, examples, delta: found 0, 10"):
        second_order_bound(0.1, 1.0, 1.0, parameters=0, examples=10)
    with pytest.raises(InvalidInputError, match=r"found 5, 10, -1\.0"):
        sam_bound(0.1, 1.0, parameters=5, examples=10, rho=-1.0)


@pytest.fixture(scope="module")
def toy():
    """A small network, 60 examples and 30 others, and its dense Hessian and covariance."""
    network = models.create("mlp", image_shape=(2, 2, 1), num_classes=3, widths=(4,))
    params, init = (network.fold(*network.init(jax.random.key(seed))) for seed in (0, 1))
    params = jax.tree.map(lambda w: 2 * w, params)
    rng = np.random.default_rng(0)

    class Some:
        def __init__(self, count):
            self.images = rng.random((count, 2, 2, 1), np.float32)
            self.labels = rng.integers(0, 3, count).astype(np.int32)

    data = complexity.measure_data(Some(60), Some(30))
    trained = Trained(params, init, None, None, None, None, 0)
    return network, trained, data


def loss_of(network, images, labels):
    def loss(flat, unravel):
        logs = jax.nn.log_softmax(network.apply(unravel(flat), images))
        return -jnp.mean(jnp.take_along_axis(logs, labels[:, None], axis=1))

    return loss


@pytest.mark.slow
def test_measures_of_bounds_and_terms(toy):
    network, trained, data = toy
    names = ("sharpness_bounds", "hessian_trace", "parameters", "train_error")

    def measured(trained):
        return complexity.compute(names, network, trained, data, jax.random.key(3))[0]

    found = jax.jit(measured)(trained)
    bound, info = found["second_order_pac_bayes_bound"]
    trace = float(found["hessian_trace"][0])
    flat, unravel = ravel_pytree(trained.params)
    distance = float(jnp.sum((flat - ravel_pytree(trained.init_params)[0]) ** 2))
    loss = float(loss_of(network, *data.train)(flat, unravel))
    expected = second_order_bound(loss, trace, distance, parameters=flat.size, examples=60)
    np.testing.assert_allclose(bound, expected.bound, rtol=1e-4)
    assert bool(info["vacuous"]) == (float(bound) >= 1)
    bound, info = found["sam_bound"]
    assert info["vacuous"]
    assert info["worst_error"] >= found["train_error"][0]
    expected = sam_bound(info["worst_error"], jnp.sum(flat**2), parameters=flat.size, examples=60)
    np.testing.assert_allclose(bound, expected, rtol=1e-5)
    # The term of Neu et al. by draws of our own.
    gap, info = found["neu_flatness_gap"]
    noise = 0.05 * np.random.default_rng(1).normal(size=(2000, flat.size)).astype(np.float32)

    def growth(flat):
        losses = [loss_of(network, *part)(flat, unravel) for part in (data.validation, data.train)]
        return losses[0] - losses[1]

    draws = growth(flat) - jax.jit(jax.vmap(growth))(flat[None] + noise)
    assert abs(gap - abs(draws.mean())) < 4 * info["standard_error"] + 4 * draws.std() / 2000**0.5


def test_bounds_say_what_they_rest_on():
    for name in ("second_order_pac_bayes_bound", "sam_bound"):
        assert complexity.catalogue()[name].conditions.startswith("no certificate")
    for name in ("neu_flatness_gap", "wang_mao_term"):
        assert not complexity.catalogue()[name].conditions
    assert registry.passes(registry.select(["fast"])) <= 20
