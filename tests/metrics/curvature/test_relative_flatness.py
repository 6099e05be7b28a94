"""Relative flatness, gradient covariance and local entropy against dense float64 matrices."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from genjax.errors import InvalidInputError
from genjax.metrics.curvature import objective, pack
from genjax.metrics.curvature.gradient_covariance import gradient_covariance, noise_alignment
from genjax.metrics.curvature.local_entropy import local_entropy
from genjax.metrics.curvature.relative_flatness import (
    Kernel,
    output_relative_flatness,
    relative_flatness,
)


def network(params, images):
    """A ReLU network of 3 inputs, 4 hidden units and 3 classes."""
    hidden = jax.nn.relu(images @ params["w1"] + params["b1"][None])
    return hidden @ params["w2"] + params["b2"][None]


OURS = objective(network, chunk=5)
KERNELS = (Kernel(2, 1), Kernel(3, 1))  # leaves are b1, b2, w1, w2
PROBES = 400


@pytest.fixture(scope="module")
def made():
    """Parameters, chunks of unequal weight, and the arrays themselves, in float64."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(3)
        shapes = {"w1": (3, 4), "b1": (4,), "w2": (4, 3), "b2": (3,)}
        params = {name: jnp.asarray(rng.normal(size=shape)) for name, shape in shapes.items()}
        images, labels = jnp.asarray(rng.normal(size=(13, 3))), jnp.asarray(rng.integers(0, 3, 13))
        yield params, pack(OURS, (images, labels)), images, labels


def loss(params, images, labels):
    logs = jax.nn.log_softmax(network(params, images))
    return -jnp.mean(jnp.take_along_axis(logs, labels[:, None], axis=1))


def by_definition(params, images, labels, name):
    """Sum over pairs of neurons, from the dense Hessian of one layer."""
    inner = jax.hessian(lambda w: loss({**params, name: w}, images, labels))(params[name])
    weights, total = np.asarray(params[name]), 0.0
    for s in range(weights.shape[1]):
        for t in range(weights.shape[1]):
            total += weights[:, s] @ weights[:, t] * np.trace(np.asarray(inner)[:, s, :, t])
    return total


@functools.partial(jax.jit, static_argnames="probes")
def estimated(params, chunks, probes):
    return relative_flatness(OURS, params, chunks, jax.random.key(0), KERNELS, probes=probes)


def test_probes_give_the_definition_within_their_errors(made):
    params, chunks, images, labels = made
    with jax.enable_x64(True):
        exact = np.array([by_definition(params, images, labels, name) for name in ("w1", "w2")])
        found = estimated(params, chunks, PROBES)
    np.testing.assert_array_less(np.abs(found.layers - exact), 4 * found.layer_errors)
    assert abs(found.value - exact.sum()) < 4 * found.standard_error
    assert found.standard_error < 0.2 * exact.sum()
    np.testing.assert_allclose(found.value, np.sum(found.layers), rtol=1e-12)


def test_the_output_layer_in_closed_form(made):
    params, _, images, labels = made
    with jax.enable_x64(True):
        for scale in (1.0, 30.0):  # the second network is certain
            larger = {**params, "w2": scale * params["w2"]}
            features = jax.nn.relu(images @ larger["w1"] + larger["b1"][None])
            found = output_relative_flatness(features, larger["w2"], network(larger, images))
            exact = by_definition(larger, images, labels, "w2")
            np.testing.assert_allclose(found, exact, rtol=1e-9)


def test_rescaled_layers_leave_relative_flatness_and_change_the_trace(made):
    params, chunks, _, _ = made
    with jax.enable_x64(True):
        scales = {"w1": 5.0, "b1": 5.0, "w2": 0.2, "b2": 1.0}
        other = {name: value * scales[name] for name, value in params.items()}
        before, after = (estimated(p, chunks, PROBES) for p in (params, other))
        np.testing.assert_allclose(after.layers, before.layers, rtol=1e-9)
        traces = [dense(p, chunks)[1].trace() for p in (params, other)]
        assert traces[1] > 2 * traces[0]


def test_a_kernel_with_several_axes_of_inputs():
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        weights, images = jnp.asarray(rng.normal(size=(2, 3, 2))), rng.normal(size=(4, 2, 3))
        ours = objective(lambda w, x: jnp.tensordot(x, w, 2), "squared")
        chunks = pack(ours, (jnp.asarray(images), jnp.zeros(4, int)))
        found = relative_flatness(
            ours, weights, chunks, jax.random.key(0), [Kernel(0, 2)], probes=500
        )
        # The Hessian is the second moment of the inputs, the same for each output.
        exact = np.sum(weights**2) * np.mean(np.sum(images**2, axis=(1, 2)))
        assert abs(found.value - exact) < 4 * found.standard_error


def dense(params, chunks):
    """Return C and H of the mean loss as dense matrices."""
    flat, unravel = ravel_pytree(params)
    present = np.asarray(chunks.weights).reshape(-1) > 0
    images = jnp.asarray(np.asarray(chunks.images).reshape(-1, 3)[present])
    labels = jnp.asarray(np.asarray(chunks.labels).reshape(-1)[present])

    def one(vector, image, label):
        return loss(unravel(vector), image[None], label[None])

    slopes = np.asarray(jax.jit(jax.vmap(jax.grad(one), (None, 0, 0)))(flat, images, labels))
    centred = slopes - slopes.mean(0)
    curvature = jax.jit(jax.hessian(lambda v: loss(unravel(v), images, labels)))(flat)
    return centred.T @ centred / len(slopes), np.asarray(curvature)


def test_the_product_with_the_covariance_of_gradients(made):
    params, chunks, _, _ = made
    with jax.enable_x64(True):
        exact, _ = dense(params, chunks)
        flat, unravel = ravel_pytree(params)
        product = jax.jit(lambda v: ravel_pytree(
            gradient_covariance(OURS)(params, chunks)(unravel(v))
        )[0])  # fmt: skip
        found = np.stack([product(row) for row in np.eye(flat.size)])
        np.testing.assert_allclose(found, exact, atol=1e-12)
        total = objective(network, reduction="sum", chunk=4)
        again = gradient_covariance(total)(params, pack(total, made[2:]))(
            unravel(jnp.ones_like(flat))
        )
        np.testing.assert_allclose(ravel_pytree(again)[0], exact.sum(1), atol=1e-12)


def test_the_alignment_of_noise_and_curvature(made):
    params, chunks, _, _ = made
    with jax.enable_x64(True):
        covariance, curvature = dense(params, chunks)
        found = jax.jit(
            lambda key: noise_alignment(OURS, params, chunks, key, probes=500)
        )(jax.random.key(0))  # fmt: skip
    norms = np.linalg.norm(covariance), np.linalg.norm(curvature)
    np.testing.assert_allclose(found.covariance_norm, norms[0], rtol=0.1)
    np.testing.assert_allclose(found.hessian_norm, norms[1], rtol=0.1)
    exact = np.trace(covariance @ curvature) / np.prod(norms)
    assert abs(found.cosine - exact) < 4 * found.cosine_error
    assert found.cosine_error < 0.05
    traces = np.array([covariance.trace(), curvature.trace()])
    estimates = np.array([found.covariance_trace, found.hessian_trace])
    np.testing.assert_array_less(np.abs(estimates - traces), 4 * found.trace_errors)


def test_the_local_entropy_of_a_quadratic():
    """E exp(-beta xi' H xi / 2) = prod (1 + beta h / gamma)^(-1/2)."""
    with jax.enable_x64(True):
        curvatures = np.array([0.5, 2.0, 8.0])
        ours = objective(
            lambda w, x: x * (w @ (jnp.asarray(curvatures) * w)) / 2 + 0.25, lambda f, y: f[:, 0]
        )
        chunks = pack(ours, (jnp.ones((1, 1)), jnp.zeros(1, int)))
        for gamma, beta in ((1.0, 1.0), (50.0, 20.0)):
            found = local_entropy(
                ours, jnp.zeros(3), chunks, jax.random.key(0), gamma=gamma, beta=beta, draws=20_000
            )
            exact = -0.25 * beta - np.log1p(beta * curvatures / gamma).sum() / 2
            assert abs(found.value - exact) < 4 * found.standard_error
            assert found.standard_error < 0.02
            # E f^2 / (E f)^2, f the weight of a draw.
            ratio = np.exp(
                np.log1p(beta * curvatures / gamma).sum()
                - np.log1p(2 * beta * curvatures / gamma).sum() / 2
            )
            np.testing.assert_allclose(found.effective_draws, 20_000 / ratio, rtol=0.05)


def test_what_cannot_be_estimated_is_refused(made):
    params, chunks, _, _ = made
    key = jax.random.key(0)
    cases = [
        (lambda: relative_flatness(OURS, params, chunks, key, []), "kernels, probes: found 0"),
        (lambda: relative_flatness(OURS, params, chunks, key, [Kernel(0, 1)]), "kernels: found"),
        (lambda: relative_flatness(OURS, params, chunks, key, [Kernel(9, 1)]), "kernels: found"),
        (lambda: noise_alignment(OURS, params, chunks, key, probes=1), "probes: found 1"),
        (lambda: local_entropy(OURS, params, chunks, key, gamma=0.0), "gamma: found 0.0"),
        (lambda: local_entropy(OURS, params, chunks, key, gamma=math.inf), "gamma: found inf"),
        (lambda: local_entropy(OURS, params, chunks, key, gamma=1.0, draws=1), "draws: found 1"),
    ]
    for call, sentence in cases:
        with pytest.raises(InvalidInputError, match=sentence):
            call()
