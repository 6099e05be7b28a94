"""Ascent in balls around the weights, against closed forms and brute force."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize

from genjax.errors import InvalidInputError
from genjax.metrics.curvature import objective, pack
from genjax.metrics.curvature.adaptive import (
    average_case_sharpness,
    scaling,
    with_normalised_logits,
    worst_case_sharpness,
)
from genjax.metrics.curvature.ascent import auto_pgd, checkpoints
from genjax.metrics.curvature.sharpness import asam_sharpness, keskar_sharpness, sam_sharpness


def network(params, images):
    """A ReLU network of 3 inputs, 4 hidden units and 3 classes."""
    hidden = jax.nn.relu(images @ params["w1"] + params["b1"][None])
    return hidden @ params["w2"] + params["b2"][None]


def rescaled(params, factor):
    """The same function: the hidden layer times a factor, the output layer divided by it."""
    scales = {"w1": factor, "b1": factor, "w2": 1 / factor, "b2": 1.0}
    return {name: value * scales[name] for name, value in params.items()}


OURS = objective(network, chunk=8)


@functools.partial(jax.jit, static_argnames=("rho", "norm", "scale", "steps"))
def worst(params, chunks, rho=0.5, norm=2, scale="elementwise", steps=20):
    """Worst-case sharpness, compiled once for all parameters."""
    return worst_case_sharpness(
        OURS, params, chunks, rho=rho, norm=norm, scale=scale, steps=steps
    ).value


@pytest.fixture
def made():
    """Parameters, an objective and 24 examples in float64, chunks of 8."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(3)
        shapes = {"w1": (3, 4), "b1": (4,), "w2": (4, 3), "b2": (3,)}
        params = {name: jnp.asarray(rng.normal(size=shape)) for name, shape in shapes.items()}
        data = jnp.asarray(rng.normal(size=(24, 3))), jnp.asarray(rng.integers(0, 3, 24))
        yield params, OURS, pack(OURS, data)


def in_numpy(params, chunks):
    """Return `flat weights -> mean loss` over all examples, in NumPy."""
    shapes = {name: params[name].shape for name in sorted(params)}
    images = np.asarray(chunks.images).reshape(-1, 3)
    labels = np.asarray(chunks.labels).reshape(-1)

    def loss(flat):
        pieces, start = {}, 0
        for name, shape in shapes.items():
            size = math.prod(shape)
            pieces[name] = flat[start : start + size].reshape(shape)
            start += size
        hidden = np.maximum(images @ pieces["w1"] + pieces["b1"], 0)
        logits = hidden @ pieces["w2"] + pieces["b2"]
        top = logits.max(1, keepdims=True)
        logs = logits - top - np.log(np.exp(logits - top).sum(1, keepdims=True))
        return -logs[np.arange(len(labels)), labels].mean()

    flat = np.concatenate([np.asarray(params[name]).reshape(-1) for name in shapes])
    return loss, flat


def quadratic(matrix, slope):
    """An objective of one example whose loss is slope . w + w' matrix w / 2."""

    def apply(w, images):
        return (slope @ w + w @ matrix @ w / 2) * images

    ours = objective(apply, lambda logits, labels: logits[:, 0])
    return ours, pack(ours, (jnp.ones((1, 1)), jnp.zeros(1, int)))


def largest_of_quadratic(matrix, slope, rho):
    """Maximum of slope . u + u' matrix u / 2 over ||u||_2 <= rho, by the secular equation."""
    values, vectors = np.linalg.eigh(matrix)
    along = vectors.T @ slope
    low, high = max(values[-1], 0) + 1e-12, max(values[-1], 0) + np.linalg.norm(slope) / rho + 1
    for _ in range(200):
        middle = (low + high) / 2
        if np.linalg.norm(along / (middle - values)) > rho:
            low = middle
        else:
            high = middle
    u = along / (high - values)
    return along @ u + u @ (values * u) / 2


def test_checkpoints_are_those_of_the_paper():
    assert checkpoints(100) == (22, 41, 57, 70, 80, 87, 93, 99)
    assert checkpoints(1) == ()


@pytest.mark.parametrize("rho", [0.1, 10.0])
def test_the_worst_point_of_a_quadratic_in_a_ball(rho):
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        square = rng.normal(size=(6, 6))
        matrix, slope, w = square + square.T, rng.normal(size=6), rng.normal(size=6)
        ours, chunks = quadratic(jnp.asarray(matrix), jnp.asarray(slope))

        @functools.partial(jax.jit, static_argnames="scale")
        def found(w, scale):
            return worst_case_sharpness(ours, w, chunks, rho=rho, scale=scale, steps=100).value

        plain = found(jnp.zeros(6), "none")
        np.testing.assert_allclose(plain, largest_of_quadratic(matrix, slope, rho), rtol=1e-3)
        # In units of the weights the same ball is an ellipsoid.
        scales = np.abs(w)
        inside = scales[:, None] * matrix * scales, scales * (slope + matrix @ w)
        adaptive = found(jnp.asarray(w), "elementwise")
        np.testing.assert_allclose(adaptive, largest_of_quadratic(*inside, rho), rtol=1e-3)


def test_the_worst_corner_of_a_box():
    with jax.enable_x64(True):
        rng = np.random.default_rng(1)
        square = rng.normal(size=(5, 5))
        matrix, slope = square @ square.T, rng.normal(size=5)  # convex: a corner is worst
        ours, chunks = quadratic(jnp.asarray(matrix), jnp.asarray(slope))
        corners = np.stack(np.meshgrid(*[[-0.5, 0.5]] * 5), -1).reshape(-1, 5)
        best = max(slope @ u + u @ matrix @ u / 2 for u in corners)
        found = worst_case_sharpness(
            ours, jnp.zeros(5), chunks, rho=0.5, norm=math.inf, scale="none",
            key=jax.random.key(0), restarts=10,
        )  # fmt: skip
        np.testing.assert_allclose(found.value, best, rtol=1e-9)
        one = worst_case_sharpness(ours, jnp.zeros(5), chunks, rho=0.5, norm=math.inf, scale="none")
        assert 0.8 * best < one.value <= best + 1e-12


def test_ascent_stays_in_its_ball_and_never_ends_below_its_start(made):
    params, _, chunks = made
    assert worst(params, chunks, 3.0, math.inf) >= 0

    def falling(x):  # every step away from the start is a loss
        return -jnp.sum(x**2), -2 * x + 1.0

    start = jnp.zeros(3)
    found = auto_pgd(falling, start, radius=1.0, norm=2)
    assert found.value == 0.0
    np.testing.assert_array_equal(found.point, start)
    outside = auto_pgd(lambda x: (x[0] - x[1], jnp.array([1.0, -1.0])), jnp.zeros(2), radius=2.0,
                       norm=2)  # fmt: skip
    np.testing.assert_allclose(outside.point, [math.sqrt(2), -math.sqrt(2)], rtol=1e-6)


def test_auto_pgd_finds_what_many_local_searches_do(made):
    params, _, chunks = made
    loss, flat = in_numpy(params, chunks)
    scales = np.abs(flat)
    rng = np.random.default_rng(0)
    whole = jax.tree.map(lambda x: x.reshape(1, -1, *x.shape[2:]), chunks)
    for rho in (0.3, 1.0):
        found = worst(params, whole, rho)
        draws = rng.normal(size=(20_000, flat.size))
        draws *= rho / np.linalg.norm(draws, axis=1, keepdims=True)
        brute = max(loss(flat + scales * v) for v in draws) - loss(flat)
        assert found > brute
        # The best of many local searches by SciPy, from random points of the sphere.
        best = max(
            -minimize(
                lambda v: -loss(flat + scales * v), v, method="SLSQP",
                constraints=[{"type": "ineq", "fun": lambda v, rho=rho: rho**2 - v @ v}],
            ).fun
            for v in draws[:6]
        ) - loss(flat)  # fmt: skip
        assert 0.9 * best < found < best * (1 + 1e-6)


def test_every_chunk_has_its_own_worst_point(made):
    params, ours, _ = made
    rng = np.random.default_rng(5)
    chunks = pack(
        ours, (jnp.asarray(rng.normal(size=(20, 3))), jnp.asarray(rng.integers(0, 3, 20)))
    )
    assert chunks.weights[-1, -1] == 0  # a padded chunk counts by its examples
    sizes = np.sum(np.asarray(chunks.weights) > 0, axis=1)
    for measured in (worst, jax.jit(lambda p, c: sam_sharpness(ours, p, c, per_chunk=True).value)):
        parts = [
            measured(params, jax.tree.map(lambda x, i=i: x[i : i + 1], chunks)) for i in range(3)
        ]
        expected = np.average(parts, weights=sizes)
        np.testing.assert_allclose(measured(params, chunks), expected, rtol=1e-10)


@functools.partial(jax.jit, static_argnames="scale")
def in_all_ways(params, chunks, scale):
    """Sharpness of every kind, in one program."""
    how = {"rho": 0.4, "scale": scale}
    cases = {"plain": {}, "box": {"norm": math.inf}, "logits": {"normalise_logits": True}}
    key = jax.random.key(0)
    found = {}
    for name, case in cases.items():
        both = how | case
        found[f"worst {name}"] = worst_case_sharpness(OURS, params, chunks, **both, steps=6).value
        average = average_case_sharpness(OURS, params, chunks, key, **both, draws=5)
        found[f"average {name}"] = average.value
    return found


@pytest.mark.parametrize("scale", ["elementwise", "layerwise", "none"])
def test_rescaled_layers_change_plain_and_not_adaptive_sharpness(made, scale):
    params, _, chunks = made
    other = rescaled(params, 7.0)
    np.testing.assert_allclose(
        network(params, chunks.images[0]), network(other, chunks.images[0]), rtol=1e-12
    )
    before, after = in_all_ways(params, chunks, scale), in_all_ways(other, chunks, scale)
    for name, value in before.items():
        if scale == "none":
            assert abs(after[name] - value) > 0.05 * abs(value), name
        else:
            np.testing.assert_allclose(after[name], value, rtol=1e-8, err_msg=name)


def test_average_case_sharpness_of_a_quadratic():
    with jax.enable_x64(True):
        rng = np.random.default_rng(2)
        square = rng.normal(size=(5, 5))
        matrix, slope, w = square + square.T, rng.normal(size=5), rng.normal(size=5)
        ours, chunks = quadratic(jnp.asarray(matrix), jnp.asarray(slope))
        diagonal = np.sum(np.diag(matrix) * w**2)
        for norm, variance in ((2, 1.0), (math.inf, 1 / 3)):
            found = average_case_sharpness(
                ours, jnp.asarray(w), chunks, jax.random.key(0), rho=0.3, norm=norm, draws=20_000
            )
            expected = 0.3**2 * variance * diagonal / 2
            assert abs(found.value - expected) < 4 * found.standard_error
            assert found.standard_error < 0.05


def test_scales_of_weights(made):
    params = made[0]
    elementwise, layerwise = (scaling(params, kind) for kind in ("elementwise", "layerwise"))
    for name, weights in params.items():
        np.testing.assert_array_equal(elementwise[name], np.abs(weights))
        np.testing.assert_allclose(
            np.sum(layerwise[name] ** 2), np.sum(elementwise[name] ** 2), rtol=1e-12
        )
    assert np.all(scaling(params, "none", 0.5)["w1"] == 1.5)


def test_normalised_logits_have_mean_zero_and_norm_one(made):
    params, ours, chunks = made
    logits = with_normalised_logits(ours).apply(params, chunks.images[0])
    np.testing.assert_allclose(np.mean(logits, axis=1), 0, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(logits, axis=1), 1, rtol=1e-12)
    # Equal logits have no direction: zero, and a finite gradient.
    equal = jax.tree.map(jnp.zeros_like, params)
    slopes = jax.grad(lambda p: jnp.sum(with_normalised_logits(ours).apply(p, chunks.images[0])))
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(slopes(equal)))


def test_the_box_of_keskar_against_scipy(made):
    params, ours, chunks = made
    epsilon = 1e-3
    loss, flat = in_numpy(params, chunks)
    sizes = epsilon * (np.abs(flat) + 1)
    found = minimize(
        lambda z: -loss(flat + z), np.zeros_like(flat), method="L-BFGS-B",
        bounds=list(zip(-sizes, sizes, strict=True)),
    )  # fmt: skip
    best = 100 * (-found.fun - loss(flat)) / (1 + loss(flat))
    measure = jax.jit(lambda p: keskar_sharpness(ours, p, chunks, epsilon=epsilon)._asdict())
    ours_found = measure(params)
    np.testing.assert_allclose(ours_found["value"], best, rtol=1e-6)
    np.testing.assert_allclose(ours_found["loss"], loss(flat), rtol=1e-12)


def test_one_step_of_ascent(made):
    params, ours, chunks = made
    loss, flat = in_numpy(params, chunks)
    sam = jax.jit(lambda p: sam_sharpness(ours, p, chunks).value)
    asam = jax.jit(lambda p: asam_sharpness(ours, p, chunks).value)
    shift = 1e-6
    gradient = np.array(
        [(loss(flat + shift * e) - loss(flat - shift * e)) / (2 * shift) for e in np.eye(flat.size)]
    )
    plain = loss(flat + 0.05 * gradient / np.linalg.norm(gradient)) - loss(flat)
    np.testing.assert_allclose(sam(params), plain, rtol=1e-6)
    scales = np.abs(flat) + 0.01
    step = 0.5 * scales**2 * gradient / np.linalg.norm(scales * gradient)
    np.testing.assert_allclose(asam(params), loss(flat + step) - loss(flat), rtol=1e-6)


def test_compiled_and_stacked_are_equal_to_one_by_one(made):
    params, ours, chunks = made
    stack = jax.tree.map(lambda a, b: jnp.stack([a, b]), params, rescaled(params, 2.0))

    def measured(params):
        return worst_case_sharpness(ours, params, chunks, rho=0.5, steps=8).value

    alone = [measured(jax.tree.map(lambda leaf, i=i: leaf[i], stack)) for i in range(2)]
    np.testing.assert_allclose(jax.jit(jax.vmap(measured))(stack), alone, rtol=1e-9)


def test_what_cannot_be_searched_is_refused(made):
    params, ours, chunks = made
    cases = [
        (lambda: worst_case_sharpness(ours, params, chunks, rho=-1.0), "rho: found -1.0"),
        (lambda: worst_case_sharpness(ours, params, chunks, rho=1.0, norm=3), "norm: found 3"),
        (lambda: worst_case_sharpness(ours, params, chunks, rho=1.0, scale="x"), "scaling"),
        (lambda: worst_case_sharpness(ours, params, chunks, rho=1.0, steps=0), "steps: found 0"),
        (lambda: worst_case_sharpness(ours, params, chunks, rho=1.0, restarts=2), "restarts"),
        (lambda: keskar_sharpness(ours, params, chunks, epsilon=math.nan), "epsilon: found nan"),
        (lambda: asam_sharpness(ours, params, chunks, eta=-0.1), "eta: found -0.1"),
        (
            lambda: average_case_sharpness(
                ours, params, chunks, jax.random.key(0), rho=1.0, draws=1
            ),
            "draws: found 1",
        ),
    ]
    for call, sentence in cases:
        with pytest.raises(InvalidInputError, match=sentence):
            call()
