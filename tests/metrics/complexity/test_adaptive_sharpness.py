"""Measures of sharpness and curvature against dense float64 matrices and library functions."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from genjax import models
from genjax.metrics import complexity, curvature
from genjax.metrics.complexity import Refusal, Trained

NETWORK = models.create("mlp", image_shape=(2, 2, 1), num_classes=3, widths=(4,))
COUNT = 60
QUICK = ("sam_sharpness", "asam_sharpness", "relative_flatness_output")


class Some:
    """Random images with random labels."""

    def __init__(self, count):
        rng = np.random.default_rng(0)
        self.images = rng.random((count, 2, 2, 1), np.float32)
        self.labels = rng.integers(0, 3, count).astype(np.int32)


DATA = complexity.measure_data(Some(COUNT))


def trained(factor=1.0, seed=0):
    """A network, with its hidden layer times a factor and its output layer divided by it."""
    start = NETWORK.fold(*NETWORK.init(jax.random.key(seed)))
    params = {
        "dense1": jax.tree.map(lambda w: 2 * factor * (w + 0.05), start["dense1"]),
        "output": {
            "kernel": 2 / factor * start["output"]["kernel"],
            "bias": start["output"]["bias"] + 0.1,
        },
    }
    return Trained(params, start, None, None, None, None, 0)


def measured(network, names=QUICK):
    return complexity.compute(names, NETWORK, network, DATA, jax.random.key(3))[0]


@jax.jit
def compiled(network):
    return measured(network)


def values(found):
    return {name: float(pair[0]) for name, pair in found.items()}


@functools.cache
def in_float64():
    """Return flat weights, loss, dense Hessian, Gauss-Newton matrix, covariance, gradient."""
    with jax.enable_x64(True):
        params = jax.tree.map(lambda w: jnp.asarray(np.asarray(w), jnp.float64), trained().params)
        images = jnp.asarray(np.asarray(DATA.train.images), jnp.float64)
        labels = jnp.asarray(DATA.train.labels)
        flat, unravel = ravel_pytree(params)

        def logits(vector):
            return NETWORK.apply(unravel(vector), images)

        def losses(vector):
            logs = jax.nn.log_softmax(logits(vector))
            return -jnp.take_along_axis(logs, labels[:, None], axis=1)[:, 0]

        def mean(vector):
            return jnp.mean(losses(vector))

        compiled = jax.jit(mean)

        @jax.jit
        def everything(v):
            return (
                jax.hessian(mean)(v), jax.jacobian(losses)(v), jax.jacobian(logits)(v),
                jax.nn.softmax(logits(v)),
            )  # fmt: skip

        hessian, slopes, jacobian, p = map(np.asarray, everything(flat))

    def loss(vector):
        with jax.enable_x64(True):
            return float(compiled(jnp.asarray(vector)))

    inner = p[:, :, None] * np.eye(3) - p[:, :, None] * p[:, None]
    gauss_newton = np.einsum("ncp,ncd,ndq->pq", jacobian, inner, jacobian) / COUNT
    centred = slopes - slopes.mean(0)
    covariance = centred.T @ centred / COUNT
    return np.asarray(flat), loss, hessian, gauss_newton, covariance, slopes.mean(0)


def test_one_step_of_ascent_by_hand():
    network = trained()
    flat, loss, _, _, _, slope = in_float64()
    found = values(compiled(network))
    sam = loss(flat + 0.05 * slope / np.linalg.norm(slope)) - loss(flat)
    scale = np.abs(flat) + 0.01
    asam = loss(flat + 0.5 * scale**2 * slope / np.linalg.norm(scale * slope)) - loss(flat)
    np.testing.assert_allclose(found["sam_sharpness"], sam, rtol=1e-4)
    np.testing.assert_allclose(found["asam_sharpness"], asam, rtol=1e-4)


def test_the_output_layer_is_as_flat_as_its_dense_hessian_says():
    network = trained()
    _, _, hessian, _, _, _ = in_float64()
    kernel = np.asarray(network.params["output"]["kernel"], np.float64)
    # Leaves in order: dense1 bias and kernel, output bias and kernel; the last is [4, 3].
    block = hessian[-12:, -12:].reshape(4, 3, 4, 3)
    exact = np.einsum("ks,kt,isit->", kernel, kernel, block)
    found = values(compiled(network))["relative_flatness_output"]
    np.testing.assert_allclose(found, exact, rtol=1e-4)


def test_rescaled_layers_leave_what_is_relative():
    before, after = (values(compiled(trained(factor))) for factor in (1.0, 6.0))
    name = "relative_flatness_output"
    np.testing.assert_allclose(after[name], before[name], rtol=1e-4)
    # eta = 0.01 keeps ASAM from being exactly invariant.
    np.testing.assert_allclose(after["asam_sharpness"], before["asam_sharpness"], rtol=0.1)
    assert abs(after["sam_sharpness"] - before["sam_sharpness"]) > 0.2 * before["sam_sharpness"]


@pytest.mark.slow
def test_compiled_and_stacked_are_equal_to_one_by_one():
    alone = [values(measured(trained(seed=seed))) for seed in (0, 1)]
    stack = jax.tree.map(lambda *w: jnp.stack(w), *(trained(seed=s).params for s in (0, 1)))

    def one(params):
        return {n: v for n, (v, _) in measured(trained()._replace(params=params)).items()}

    for form in (jax.vmap(one), lambda tree: jax.lax.map(one, tree)):
        together = jax.jit(form)(stack)
        for name in QUICK:
            np.testing.assert_allclose(
                together[name], [found[name] for found in alone], rtol=2e-4, err_msg=name
            )


def test_a_network_made_elsewhere_is_measured():
    foreign = models.from_function(
        lambda params, images: images.reshape(len(images), -1) @ params["w"],
        {"w": np.ones((4, 3), np.float32)}, name="mine", image_shape=(2, 2, 1), num_classes=3,
    )  # fmt: skip
    network = Trained(foreign.params, None, None, None, None, None, 0)
    found, _ = complexity.compute(
        ["sam_sharpness", "relative_flatness"], foreign.network, network, DATA, jax.random.key(0)
    )
    assert np.isfinite(found["sam_sharpness"][0])
    assert found["relative_flatness"][1].get("refusal", Refusal.NONE) == Refusal.NONE


@pytest.mark.slow
def test_curvature_against_dense_matrices():
    network = trained()
    flat, _, hessian, gauss_newton, covariance, _ = in_float64()
    found = jax.jit(lambda t: measured(t, ("curvature", "relative_flatness")))(network)
    square = flat @ flat
    eigenvalues = np.linalg.eigvalsh(hessian)
    exact = {
        "hessian_top_eigenvalue": eigenvalues[-1],
        "hessian_bottom_eigenvalue": eigenvalues[0],
        "hessian_top_eigenvalue_scaled": eigenvalues[-1] * square,
        "gauss_newton_top_eigenvalue": np.linalg.eigvalsh(gauss_newton)[-1],
        "gradient_covariance_top_eigenvalue": np.linalg.eigvalsh(covariance)[-1],
    }
    for name, value in exact.items():
        np.testing.assert_allclose(found[name][0], value, rtol=2e-3, atol=1e-5, err_msg=name)
    shares = np.linalg.eigvalsh(gauss_newton)
    estimated = {
        "hessian_trace": hessian.trace(),
        "hessian_trace_scaled": hessian.trace() * square,
        "adaptive_hessian_trace": flat**2 @ np.diag(hessian),
        "gauss_newton_trace": gauss_newton.trace(),
        "gauss_newton_log_determinant": np.log1p(np.maximum(shares, 0)).sum(),
        "effective_dimension": (shares / (shares + 1)).sum(),
        "noise_curvature_alignment": np.sum(covariance * hessian)
        / (np.linalg.norm(covariance) * np.linalg.norm(hessian)),
    }
    for name, value in estimated.items():
        amount, info = found[name]
        # Probes are few: five standard errors that are themselves uncertain.
        assert abs(amount - value) < 5 * info["standard_error"] + 1e-4 * abs(value), name
    np.testing.assert_allclose(
        found["hessian_frobenius_norm"][0], np.linalg.norm(hessian), rtol=0.4
    )


@pytest.mark.slow
def test_every_kind_of_sharpness_is_the_library_s():
    network = trained()
    found = jax.jit(lambda t: measured(t, ("adaptive_sharpness",)))(network)
    ours = curvature.objective(NETWORK.apply, chunk=128)
    chunks = curvature.pack(ours, DATA.train)
    for name, how in {
        "adaptive_sharpness_worst_l2": {"rho": 0.5},
        "adaptive_sharpness_worst_linf": {"rho": 0.002, "norm": math.inf},
        "adaptive_sharpness_worst_l2_logits": {"rho": 0.5, "normalise_logits": True},
        "layerwise_sharpness_worst_l2": {"rho": 0.5, "scale": "layerwise"},
    }.items():
        value = curvature.worst_case_sharpness(ours, network.params, chunks, **how).value
        np.testing.assert_allclose(found[name][0], value, rtol=1e-3, err_msg=name)
    for name, epsilon in (("keskar_sharpness", 1e-3), ("keskar_sharpness_5e4", 5e-4)):
        value = curvature.keskar_sharpness(ours, network.params, chunks, epsilon=epsilon).value
        np.testing.assert_allclose(found[name][0], value, rtol=1e-2, err_msg=name)
    one = curvature.sam_sharpness(ours, network.params, chunks).value
    np.testing.assert_allclose(found["sam_sharpness"][0], one, rtol=1e-4)
    np.testing.assert_allclose(found["sam_sharpness_per_chunk"][0], one, rtol=1e-4)  # one chunk
    for name in ("adaptive_sharpness_average_l2", "adaptive_sharpness_average_linf_logits"):
        assert found[name][1]["standard_error"] > 0
    flat, loss, *_ = in_float64()
    entropy, info = found["local_entropy"]
    draws = np.random.default_rng(0).normal(size=(2000, flat.size)) / 10
    exact = math.log(np.mean([math.exp(-loss(flat + d)) for d in draws]))
    assert abs(entropy - exact) < 5 * info["standard_error"]
