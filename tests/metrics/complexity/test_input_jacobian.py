"""Norms of input-output Jacobians against dense ones, and estimates against what they estimate."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import data, models
from genjax.metrics import complexity
from genjax.metrics.complexity import jacobian

NAMES = [measure.name for measure in jacobian.MEASURES]


def measuring(net, examples):
    def measure(params):
        trained = complexity.Trained(params, params, None, None, None, None, 0)
        return complexity.compute(["jacobian"], net, trained, examples, jax.random.key(1))[0]

    return measure


@pytest.fixture(scope="module", params=["mlp", "cnn"])
def case(request):
    options = {"mlp": {"widths": (6,)}, "cnn": {"channels": (4,)}}[request.param]
    net = models.create(request.param, image_shape=(8, 8, 1), num_classes=10, **options)
    examples = complexity.measure_data(data.load("digits").take(range(15)))
    start = jax.jit(lambda key: net.fold(*net.init(key)))
    return net, start, examples, jax.jit(measuring(net, examples))


def dense(net, params, examples):
    """Return Jacobians [n, C, D] and probabilities, float64 from float32 gradients."""
    images = jnp.asarray(examples.train.images)

    def rows(image):
        return jax.jacrev(lambda x: net.apply(params, x[None])[0])(image)

    found = jax.jit(jax.vmap(rows))(images)
    logits = np.asarray(net.apply(params, images), np.float64)
    p = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(found, np.float64).reshape(len(images), 10, -1), p / p.sum(1, keepdims=True)


def test_norms_are_those_of_dense_jacobians(case):
    net, start, examples, measure = case
    params = jax.tree.map(lambda w: 4 * w, start(jax.random.key(0)))
    jacobians, p = dense(net, params, examples)
    found = measure(params)
    softmax = np.stack([np.diag(q) - np.outer(q, q) for q in p])
    expected = {
        "jacobian_norm": np.linalg.norm(jacobians, axis=(1, 2)),
        "jacobian_norm_probabilities": np.linalg.norm(softmax @ jacobians, axis=(1, 2)),
        "jacobian_spectral_norm": np.linalg.norm(jacobians, ord=2, axis=(1, 2)),
    }
    for name, norms in expected.items():
        assert float(found[name][0]) == pytest.approx(norms.mean(), rel=1e-4), name
        error = norms.std(ddof=1) / np.sqrt(15)
        assert float(found[name][1]["standard_error"]) == pytest.approx(error, rel=1e-3), name


def test_a_saturated_softmax_has_its_small_norm_and_not_zero():
    p = np.array([1 - 2e-9, 1e-9, 1e-9])
    logits = np.log(p)
    jacobian_ = np.random.default_rng(0).normal(size=(3, 4))
    softmax = np.diag(p) - np.outer(p, p)
    softmax[0, 0] = p[0] * (p[1] + p[2])
    expected = np.sum((softmax @ jacobian_) ** 2)
    gram = jnp.asarray(jacobian_ @ jacobian_.T, jnp.float32)
    found = jacobian._through_softmax(
        gram[None], jax.nn.softmax(jnp.asarray(logits, jnp.float32))[None]
    )
    assert float(found[0]) == pytest.approx(expected, rel=1e-4)


def test_the_estimate_is_unbiased_within_its_error(case):
    net, start, examples, measure = case
    params = start(jax.random.key(0))
    exact = np.mean(np.sum(dense(net, params, examples)[0] ** 2, axis=(1, 2)))
    amount, info = measure(params)["jacobian_squared_norm_estimate"]
    assert abs(float(amount) - exact) < 4 * float(info["standard_error"])
    assert float(info["standard_error"]) < 0.2 * exact


def test_a_scaled_output_layer_scales_the_norms_of_logits(case):
    _, start, _, measure = case
    params = start(jax.random.key(0))
    scaled = jax.tree.map(lambda w: w, params)
    scaled["output"] = jax.tree.map(lambda w: 3 * w, params["output"])
    first, second = measure(params), measure(scaled)
    for name, factor in (
        ("jacobian_norm", 3),
        ("jacobian_spectral_norm", 3),
        ("jacobian_squared_norm_estimate", 9),
    ):
        assert float(second[name][0]) == pytest.approx(factor * float(first[name][0]), rel=1e-4)


def test_chunks_and_stacks_change_nothing(case, monkeypatch):
    net, start, examples, measure = case
    params = [start(jax.random.key(seed)) for seed in (0, 1)]
    alone = [measure(one) for one in params]
    monkeypatch.setattr(jacobian, "_HELD", 4 * 10 * 64)  # chunks of 4 examples
    pair = jax.tree.map(lambda *w: jnp.stack(w), *params)
    together = jax.jit(jax.vmap(measuring(net, examples)))(pair)
    for name in NAMES:
        for i in range(2):
            np.testing.assert_allclose(
                together[name][0][i], alone[i][name][0], rtol=1e-4, err_msg=name
            )


def test_images_without_effect_have_norm_zero():
    grams = jnp.zeros((2, 3, 3)).at[1, 0, 0].set(1e-20)
    np.testing.assert_allclose(jacobian._largest_eigenvalues(grams), [0.0, 1e-20], rtol=1e-5)
