"""Stacks of networks against a loop over them, and what is refused before work starts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from curvature_cases import CHUNK, case

from genjax import models
from genjax.errors import InvalidInputError
from genjax.metrics import curvature


def prepared(name="mlp"):
    one = case(name)
    made = curvature.objective(one.network.apply, chunk=CHUNK)
    params = jax.tree.map(lambda w: jnp.asarray(w, jnp.float32), one.params)
    chunks = curvature.pack(made, *[(x.astype(np.float32), y) for x, y in one.batches])
    return made, params, chunks


MADE, PARAMS, CHUNKS = prepared()
SCALES = (1.0, 0.5, jnp.nan, -1.0, jnp.inf)


def measured(params, chunks, key):
    product = curvature.hessian(MADE, linearised=True)(params, chunks)
    found = curvature.extreme_eigenvalues(product, params, key, steps=15)
    trace = curvature.trace(product, params, key, probes=4)
    return {"top": found.top[0], "trace": trace.value, "steps": found.info["steps"]}


def test_a_stack_is_a_loop_and_bad_networks_are_theirs_alone():
    stack = jax.tree.map(lambda w: jnp.stack([s * w for s in SCALES]), PARAMS)
    key = jax.random.key(3)
    found, valid = curvature.over_networks(MADE, measured, stack, CHUNKS, key)
    assert valid.tolist() == [True, True, False, True, False]
    assert np.isnan(found["top"]).tolist() == [False, False, True, False, True]
    assert found["steps"].tolist() == [15, 15, 0, 15, 0]
    alone = jax.jit(measured)
    for index in np.flatnonzero(valid):
        own = jax.tree.map(lambda w, i=index: w[i], stack)
        expected = alone(own, CHUNKS, jax.random.fold_in(key, index))
        for name in ("top", "trace"):
            np.testing.assert_allclose(found[name][index], expected[name], rtol=1e-4)
    fewer, _ = curvature.over_networks(
        MADE, measured, jax.tree.map(lambda w: w[:2], stack), CHUNKS, key
    )
    np.testing.assert_allclose(fewer["trace"], found["trace"][:2], rtol=1e-5)
    together, valid = curvature.over_networks(MADE, measured, stack, CHUNKS, key, batch=3)
    assert valid.sum() == 3
    np.testing.assert_allclose(together["top"], found["top"], rtol=1e-4)


def test_a_loss_that_overflows_is_invalid():
    line = curvature.objective(lambda w, x: x * w, "squared")
    chunks = curvature.pack(line, (jnp.ones((4, 1)), jnp.zeros(4, int)))

    def steepness(params, chunks, key):
        return curvature.hessian(line)(params, chunks)(jnp.ones(()))

    found, valid = curvature.over_networks(
        line, steepness, jnp.array([1e30, 1.0]), chunks, jax.random.key(0)
    )
    assert valid.tolist() == [False, True]
    np.testing.assert_array_equal(found, [np.nan, 1.0])


@pytest.mark.slow
def test_examples_spread_over_devices_give_the_same():
    assert CHUNKS.weights.shape[0] == 3  # a multiple of no two devices
    assert len(jax.devices()) == 2

    def everything(params, chunks, key):
        product = curvature.hessian(MADE)(params, chunks)
        return {
            "value": curvature.value(MADE, params, chunks),
            "gradient": curvature.gradient(MADE, params, chunks),
            "hessian": product(params),
            "linearised": curvature.hessian(MADE, linearised=True)(params, chunks)(params),
            "fisher": curvature.fisher(MADE)(params, chunks)(params),
            "top": curvature.extreme_eigenvalues(product, params, key, steps=20).top,
            "trace": curvature.trace(product, params, key, probes=3).value,
        }

    found = curvature.over_devices(everything, PARAMS, CHUNKS, jax.random.key(0))
    expected = jax.jit(everything)(PARAMS, CHUNKS, jax.random.key(0))
    for a, b in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_means_over_examples_are_the_same_on_several_devices():
    """Weights of a mean count the examples of all devices; chunks stay with their device."""
    line = curvature.objective(lambda w, x: x @ w, chunk=2)
    rng = np.random.default_rng(0)
    images = rng.normal(size=(7, 3)).astype(np.float32)
    chunks = curvature.pack(line, (jnp.asarray(images), jnp.asarray([0, 1, 0, 1, 1, 0, 1])))
    weights = jnp.asarray(rng.normal(size=(3, 2)), jnp.float32)

    def everything(params, chunks, key):
        covariance = curvature.gradient_covariance(line)(params, chunks)
        return {
            "sam": curvature.sam_sharpness(line, params, chunks),
            "sam per chunk": curvature.sam_sharpness(line, params, chunks, per_chunk=True),
            "keskar": curvature.keskar_sharpness(line, params, chunks),
            "worst": curvature.worst_case_sharpness(line, params, chunks, rho=0.1),
            "average": curvature.average_case_sharpness(line, params, chunks, key, rho=0.1),
            "covariance": covariance(params),
        }

    found = curvature.over_devices(everything, weights, chunks, jax.random.key(0))
    expected = jax.jit(everything)(weights, chunks, jax.random.key(0))
    for a, b in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-6)


def test_devices_draw_labels_of_their_own():
    line = curvature.objective(lambda w, x: x * w, "squared", reduction="sum", chunk=1)
    chunks = curvature.pack(line, (jnp.array([[1.0], [1e3]]), jnp.zeros(2, int)))

    def draws(params, chunks, key):
        return curvature.monte_carlo_fisher(line)(params, chunks, key)(jnp.ones(()))

    # u1^2 + 1e6 u2^2 with u1 = u2 would be 1,000,001 u2^2.
    found = float(curvature.over_devices(draws, jnp.ones(()), chunks, jax.random.key(0)))
    parts = [
        float(jax.random.normal(jax.random.split(jax.random.split(k, 1)[0], 1)[0], (1, 1))[0, 0])
        for k in (jax.random.fold_in(jax.random.key(0), i) for i in range(2))
    ]
    assert abs(parts[0] ** 2 - parts[1] ** 2) > 0.1
    np.testing.assert_allclose(found, parts[0] ** 2 + 1e6 * parts[1] ** 2, rtol=1e-5)


def test_stacks_of_different_lengths_are_refused():
    stack = {"a": np.ones((2, 3)), "b": np.ones((3, 3))}
    for bad in (stack, {"a": np.ones((0, 3))}, {"a": np.ones(())}):
        with pytest.raises(InvalidInputError, match="params_stack: found leading axes"):
            curvature.over_networks(MADE, measured, bad, CHUNKS, jax.random.key(0))


def test_what_is_fixed_and_finite_passes():
    curvature.check(MADE, PARAMS, CHUNKS)


def test_what_is_not_finite_is_refused():
    broken = jax.tree.map(lambda w: w, PARAMS)
    broken["output"]["kernel"] = broken["output"]["kernel"].at[0, 0].set(jnp.nan)
    with pytest.raises(InvalidInputError, match=r"in the array '\['output'\]\['kernel'\]'"):
        curvature.check(MADE, broken, CHUNKS)
    line = curvature.objective(lambda w, x: x * w, "squared")
    chunks = curvature.pack(line, (jnp.ones((4, 1)), jnp.zeros(4, int)))
    with pytest.raises(InvalidInputError, match="loss: found inf"):
        curvature.check(line, jnp.array(1e30), chunks)


def test_dropout_with_a_fixed_key_is_refused():
    """It repeats exactly, but belongs to places in the batch: no function of the image."""

    def apply(params, images):
        kept = jax.random.bernoulli(jax.random.key(0), 0.5, images.shape)
        return jnp.where(kept, images, 0.0) @ params

    made = curvature.objective(apply, chunk=4)
    images = jax.random.normal(jax.random.key(1), (12, 3))
    chunks = curvature.pack(made, (images, jnp.zeros(12, int)))
    with pytest.raises(InvalidInputError, match="or on its place there"):
        curvature.check(made, jnp.ones((3, 2)), chunks)


def test_dropout_is_refused():
    rng = np.random.default_rng(0)

    def dropped(params, images):
        mask = rng.integers(0, 2, images.shape[1:]).astype(np.float32)
        return MADE.apply(params, images * mask[None])

    made = curvature.objective(dropped, chunk=CHUNK)
    with pytest.raises(InvalidInputError, match=r"two evaluations .* without dropout"):
        curvature.check(made, PARAMS, CHUNKS)


@pytest.mark.slow
def test_normalisation_in_train_mode_is_refused():
    network = models.create("resnet", image_shape=(8, 8, 1), num_classes=3, depth=8, width=0.0625)
    parameters, statistics = network.init(jax.random.key(0))

    def train(params, images):
        return network.train_apply(params, statistics, images, jax.random.key(0))[0]

    made = curvature.objective(train, chunk=CHUNK)
    batches = [(x.astype(np.float32), y) for x, y in case("resnet").batches]
    with pytest.raises(InvalidInputError, match="depend on the other images"):
        curvature.check(made, parameters, curvature.pack(made, *batches))


def test_shuffled_batches_are_refused():
    batches = [(np.full((2, 3), i, float), np.zeros(2, int)) for i in range(4)]
    assert len(curvature.fixed_batches(batches)) == 4
    assert len(curvature.fixed_batches(lambda: iter(batches))) == 4
    rng, lengths = np.random.default_rng(0), iter((4, 3))
    for source in (
        lambda: [batches[i] for i in rng.permutation(4)],
        lambda: batches[: next(lengths)],
        lambda: [(x + rng.normal(), y) for x, y in batches],
    ):
        with pytest.raises(InvalidInputError, match="two passes over them differ"):
            curvature.fixed_batches(source)
    with pytest.raises(InvalidInputError, match="can be read once"):
        curvature.fixed_batches(iter(batches))
