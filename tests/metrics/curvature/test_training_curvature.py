"""Sharpness along gradient descent, against dense Hessians; the edge of stability."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from genjax import data
from genjax.errors import InvalidInputError
from genjax.metrics.curvature import objective, pack
from genjax.metrics.curvature.training_curvature import training_curvature


def tanh_network(params, images):
    x = images.reshape(len(images), -1)
    for weights, bias in params[:-1]:
        x = jnp.tanh(x @ weights + bias[None])
    return x @ params[-1][0] + params[-1][1][None]


def start(key, sizes, kind: type = np.float32):
    keys = jax.random.split(key, len(sizes) - 1)
    return [
        (jax.random.normal(k, (a, b), kind) / np.sqrt(a), jnp.zeros(b, kind))
        for k, a, b in zip(keys, sizes[:-1], sizes[1:], strict=True)
    ]


OURS = objective(tanh_network, "squared")


def test_records_are_those_of_dense_hessians():
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        images, labels = jnp.asarray(rng.normal(size=(20, 3))), jnp.asarray(rng.integers(0, 2, 20))
        params = start(jax.random.key(0), (3, 4, 2), np.float64)
        found = jax.jit(functools.partial(training_curvature, OURS, steps=6, record_every=3))(
            params, pack(OURS, (images, labels)), jax.random.key(1), learning_rate=0.3
        )
        flat, unravel = ravel_pytree(params)

        def loss(w):
            hot = jax.nn.one_hot(labels, 2)
            return jnp.sum((tanh_network(unravel(w), images) - hot) ** 2) / 2 / 20

        slope, dense = jax.jit(jax.value_and_grad(loss)), jax.jit(jax.hessian(loss))
        tops, losses = [], []
        for step in range(7):
            if step % 3 == 0:
                tops.append(np.linalg.eigvalsh(dense(flat))[-1])
                losses.append(slope(flat)[0])
            if step < 6:
                flat = flat - 0.3 * slope(flat)[1]
        np.testing.assert_array_equal(found.steps, [0, 3, 6])
        np.testing.assert_allclose(found.top_eigenvalues, tops, rtol=1e-8)
        np.testing.assert_allclose(found.losses, losses, rtol=1e-10)
        np.testing.assert_allclose(ravel_pytree(found.params)[0], flat, rtol=1e-9)


@functools.cache
def program(steps):
    """Descend from one start with several learning rates; digits, two layers of 32 tanh units."""
    digits = data.load("digits").take(range(100))
    chunks = pack(OURS, (digits.images - digits.images.mean(0), digits.labels))
    params = start(jax.random.key(0), (64, 32, 32, 10))

    def one(rate):
        return training_curvature(
            OURS, params, chunks, jax.random.key(1), learning_rate=rate, steps=steps,
            record_every=20, iterations=8,
        )  # fmt: skip

    return jax.jit(lambda rates: jax.lax.map(one, rates))


def along(*rates):
    return program(1400)(jnp.asarray(rates, jnp.float32))


def test_the_top_eigenvalue_settles_near_two_over_the_learning_rate():
    rates = np.array([0.1, 0.32, 0.4])
    found = along(*rates)
    tops, losses = np.asarray(found.top_eigenvalues), np.asarray(found.losses)
    # A small rate: sharpness rises and stays below 2 / rate, the loss falls at every record.
    assert np.all(tops[0] < 0.5 * 2 / rates[0])
    assert tops[0, -1] > 1.2 * tops[0, 10]
    assert np.all(np.diff(losses[0]) < 0)
    # Larger rates: it rises to 2 / rate and hovers there; the loss falls, but not monotonically.
    late = tops[1:, -20:]
    np.testing.assert_allclose(late.mean(1), 2 / rates[1:], rtol=0.04)
    assert np.max(np.abs(late * rates[1:, None] / 2 - 1)) < 0.1
    assert np.all(np.any(np.diff(losses[1:]) > 0, axis=1))
    assert np.all(losses[1:, -1] < 0.15 * losses[1:, 1])


def test_a_network_that_diverges_harms_no_other():
    found, same = along(0.1, 1e4, 0.4), along(0.1, 0.1, 0.4)
    for place in (0, 2):
        np.testing.assert_array_equal(found.top_eigenvalues[place], same.top_eigenvalues[place])
    assert not np.isfinite(found.losses[1, -1])


def test_numbers_that_cannot_be_used_are_refused():
    params, chunks = (
        start(jax.random.key(0), (2, 2)),
        pack(OURS, (jnp.ones((1, 2)), jnp.zeros(1, int))),
    )
    for how, sentence in (
        ({"steps": 5, "record_every": 2}, "steps: found 5 with a record every 2"),
        ({"steps": 4, "record_every": 2, "iterations": 0}, "iterations: found 0"),
    ):
        with pytest.raises(InvalidInputError, match=sentence):
            training_curvature(OURS, params, chunks, jax.random.key(0), learning_rate=0.1, **how)
