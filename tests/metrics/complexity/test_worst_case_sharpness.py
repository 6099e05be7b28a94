"""The largest tolerated box: closed forms, a brute-force search, and formulas in float64."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from genjax.errors import InvalidInputError
from genjax.metrics import complexity
from genjax.metrics.complexity import sharpness

NAMES = [measure.name for measure in sharpness.MEASURES]


def linear(params, images):
    return images.reshape(len(images), -1) @ params


@pytest.mark.parametrize("magnitude", [False, True])
@pytest.mark.parametrize("count", [40, 700])
def test_examples_without_common_weights_flip_one_by_one(magnitude, count):
    """Of y = e_i a_i the margin a_i (w_i1 - w_i0) loses a_i times the two boxes of example i."""
    random = np.random.default_rng(count)
    weights = np.stack([np.zeros(count), random.uniform(0.01, 0.4, count)], axis=1)
    weights[::7] += 0.2
    images = np.diag(random.uniform(0.5, 2, count))
    labels = np.ones(count, int)
    labels[:: count // 4] = 0  # wrong before and after: they cannot drop
    if magnitude:
        borne = (weights[:, 1] - weights[:, 0] - 2e-3) / np.abs(weights).sum(axis=1)
    else:
        borne = (weights[:, 1] - weights[:, 0]) / 2
    exact = np.sort(borne[labels == 1])[count // 10]  # the first one beyond a tenth
    found = jax.jit(
        lambda w: sharpness.tolerated_box(
            linear,
            w,
            jnp.asarray(images, jnp.float32).reshape(count, count, 1, 1),
            jnp.asarray(labels),
            jax.random.key(0),
            magnitude=magnitude,
            largest=2.0,
            restarts=1,
            steps=18,
        )
    )(jnp.asarray(weights, jnp.float32))
    assert bool(found.found)
    np.testing.assert_allclose(found.scale, exact, rtol=2e-3)


@pytest.mark.parametrize("seed", range(4))
def test_of_all_corners_of_the_box_ascent_finds_nearly_the_worst(seed):
    """All 4096 corners of a network with 12 weights: a linear map is worst in a corner."""
    random = np.random.default_rng(seed)
    weights = random.normal(size=(6, 2))
    images = random.normal(size=(60, 6))
    labels = np.argmax(images @ weights, axis=1)
    signs = np.array(list(itertools.product((-1.0, 1.0), repeat=12))).reshape(-1, 6, 2)
    of_class_0 = (images @ weights)[:, :1] - (images @ weights)[:, 1:]
    changes = np.einsum("nd,kd->nk", images, signs[..., 0] - signs[..., 1])

    def exact_drop(alpha):
        return np.max(np.mean((of_class_0 + alpha * changes > 0) != (labels == 0)[:, None], axis=0))

    grid = np.geomspace(0.01, 0.5, 400)
    exact = grid[np.argmax([exact_drop(alpha) > 0.1 for alpha in grid])]

    def alpha(restarts, scale):
        return sharpness.tolerated_box(
            linear,
            jnp.asarray(scale * weights, jnp.float32),
            jnp.asarray(images, jnp.float32).reshape(60, 6, 1, 1),
            jnp.asarray(labels),
            jax.random.key(0),
            restarts=restarts,
            largest=0.5 * scale,  # the same boxes, in units of the weights
        ).scale

    found = jax.jit(alpha, static_argnums=(0, 1))
    # Upper bounds, up to the grid and the last bracket, whatever the effort.
    assert 0.98 * exact < float(found(30, 1.0)) < 1.25 * exact
    assert 0.98 * exact < float(found(1, 1.0))
    # Confident networks are searched as well as others: nothing depends on the outputs' scale.
    np.testing.assert_allclose(found(30, 1.0 / 8), found(30, 1.0) / 8, rtol=1e-3)


def test_more_ascents_find_no_larger_box(groups, measure_data):
    group, train = groups["mlp"], measure_data.train

    def alpha(restarts, ascents):
        found = jax.jit(
            lambda params: (
                sharpness.tolerated_box(
                    group.network.apply,
                    params,
                    train.images,
                    train.labels,
                    jax.random.key(0),
                    restarts=restarts,
                    ascents=ascents,
                ).scale
            )
        )
        return float(found(group.network_params(1)))

    usual, once, long = alpha(3, 10), alpha(1, 10), alpha(10, 30)
    assert usual <= 1.01 * once
    assert 0.85 * usual < long <= 1.01 * usual


@pytest.fixture(scope="module")
def found(groups, measure_data):
    data = measure_data._replace(train_size=12345)
    names = [*NAMES, "pacbayes_flatness"]
    return complexity.measure_group(groups["mlp"], data, names, key=jax.random.key(1))


@pytest.mark.parametrize("name", NAMES)
def test_values_are_those_of_the_formulas(found, groups, name):
    assert not found.refused
    vectors = [
        np.asarray(jax.vmap(lambda tree: ravel_pytree(tree)[0])(stack), np.float64)
        for stack in (groups["mlp"].params, groups["mlp"].init_params)
    ]
    for index in range(4):
        w, start = vectors[0][index], vectors[1][index]
        alpha = float(found.info[name]["alpha"][index])
        sigma = float(found.info["pacbayes_flatness"]["sigma"][index])
        vector = w - start if name.endswith("init") else w
        count = len(w)
        if name.endswith("flatness"):
            expected = 1 / alpha**2
        elif "mag" in name:
            above = alpha**2 + 4 * np.log(2 * count / 0.05)
            above = 1e-6 + above * np.sum(vector**2) / count
            logs = np.log(above / (1e-6 + alpha**2 * vector**2))
            expected = np.sum(logs) / 4 + np.log(12345 / 0.05) + 10
        else:
            expected = np.sum(vector**2) * np.log(2 * count) / (4 * alpha**2)
            expected += np.log(12345 / sigma) + 10
        np.testing.assert_allclose(found.values[name][index], expected, rtol=1e-5)


def test_the_worst_noise_is_worse_than_average_noise(found):
    sigma = found.info["pacbayes_flatness"]["sigma"]
    assert np.all(found.info["sharpness_flatness"]["alpha"] < sigma / 2)


def test_a_network_without_an_alpha_in_range_is_refused_by_name(groups, measure_data, found):
    group = groups["mlp"]
    params = jax.tree.map(np.array, group.params)
    for leaf in jax.tree.leaves(params):
        leaf[2] *= 1e5
    group = group._replace(params=params)
    data = measure_data._replace(train_size=12345)
    names = [*NAMES, "pacbayes_flatness"]
    again = complexity.measure_group(group, data, names, key=jax.random.key(1))
    refused = {r.measure: r for r in again.refused}
    assert set(refused) == {
        "sharpness_flatness",
        "sharpness_init",
        "sharpness_orig",
        "pacbayes_flatness",
    }
    assert all(r.networks == (2,) for r in refused.values())
    assert "found no value" in refused["sharpness_flatness"].reason
    for name in NAMES:
        np.testing.assert_array_equal(
            np.delete(again.values[name], 2), np.delete(found.values[name], 2)
        )


def test_a_box_proportional_to_weights_does_not_see_rescaled_layers(groups, measure_data):
    """The same function with its first layer divided by 5 and its last one times 5."""
    group, train = groups["mlp"], measure_data.train
    start = group.network_params(1)
    scaled = {
        "dense1": jax.tree.map(lambda w: w / 5, start["dense1"]),
        "dense2": {**start["dense2"], "bias": start["dense2"]["bias"] / 5},
        "output": {**start["output"], "kernel": 5 * start["output"]["kernel"]},
    }

    def alphas(magnitude):
        def one(params):
            return sharpness.tolerated_box(
                group.network.apply,
                params,
                train.images,
                train.labels,
                jax.random.key(0),
                magnitude=magnitude,
            ).scale

        compiled = jax.jit(one)
        return float(compiled(scaled)), float(compiled(start))

    of_scaled, of_start = alphas(magnitude=False)
    assert of_scaled < of_start / 2
    of_scaled, of_start = alphas(magnitude=True)
    assert 0.7 < of_scaled / of_start < 1.1  # eps = 1e-3 is seen by the small layer


def test_vmap_is_the_loop(groups, measure_data):
    group, train = groups["mlp"], measure_data.train

    def one(params):
        return sharpness.tolerated_box(
            group.network.apply, params, train.images, train.labels, jax.random.key(0), ascents=3
        ).scale

    compiled = jax.jit(one)
    loop = [compiled(group.network_params(i)) for i in range(4)]
    np.testing.assert_allclose(jax.jit(jax.vmap(one))(group.params), loop, rtol=0.03)


@pytest.mark.parametrize("name", ["restarts", "ascents"])
def test_numbers_out_of_range_are_refused(name):
    search = functools.partial(sharpness.tolerated_box, linear, **{name: 0})
    with pytest.raises(InvalidInputError, match=f"{name}: found 0"):
        search(jnp.ones((2, 2)), jnp.ones((3, 2, 1, 1)), jnp.zeros(3, int), jax.random.key(0))
