"""Slices and paths of the loss surface, and the matching of hidden units."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import data, models, training
from genjax.errors import InvalidInputError
from genjax.metrics.curvature import objective, pack
from genjax.metrics.curvature.loss_surface import (
    filter_normalised_direction,
    linear_path,
    loss_slice,
)
from genjax.metrics.curvature.weight_matching import match_weights, mode_connectivity

MODELS = {
    "mlp": {"widths": (12, 8)},
    "cnn": {"channels": (4, 6)},
    "cnn, averaged": {"channels": (4, 6), "readout": "average"},
}


def created(name):
    return models.create(
        name.split(",")[0], image_shape=(8, 8, 1), num_classes=10, **MODELS[name]
    )  # fmt: skip


def start(network, seed):
    return network.fold(*network.init(jax.random.key(seed)))


def shuffled(network, params, seed):
    """The same function with its hidden units in another order, and that order."""
    rng = np.random.default_rng(seed)
    names = list(params)
    order = {name: rng.permutation(params[name]["kernel"].shape[-1]) for name in names[:-1]}
    result = jax.tree.map(np.array, params)
    for name, following in itertools.pairwise(names):
        result[name]["kernel"] = result[name]["kernel"][..., order[name]]
        result[name]["bias"] = result[name]["bias"][order[name]]
        kernel, count = result[following]["kernel"], len(order[name])
        if kernel.ndim == 2:  # a flattened map has its channels last
            blocks = kernel.reshape(-1, count, kernel.shape[-1])[:, order[name]]
            result[following]["kernel"] = blocks.reshape(kernel.shape)
        else:
            result[following]["kernel"] = kernel[:, :, order[name]]
    return result, [np.argsort(order[name]) for name in names[:-1]]


@pytest.mark.parametrize(
    "name", ["mlp", "cnn", pytest.param("cnn, averaged", marks=pytest.mark.slow)]
)
def test_matching_undoes_a_permutation(name):
    network = created(name)
    first = start(network, 0)
    second, orders = shuffled(network, first, 2)
    assert all(np.any(order != np.arange(len(order))) for order in orders)
    digits = data.load("digits").take(range(40))
    logits = [network.apply(params, digits.images) for params in (first, second)]
    np.testing.assert_allclose(*logits, atol=1e-5)  # the shuffled network is the same function
    ours = objective(network.apply)
    found = mode_connectivity(
        network, ours, first, second, pack(ours, (digits.images, digits.labels)), points=5
    )
    assert abs(found.plain.losses[2] - found.plain.losses[0]) > 1e-3  # between them it is another
    assert found.matched.barrier == 0.0  # to the last bit
    np.testing.assert_array_equal(found.matched.losses, found.matched.losses[0])
    for ours, theirs in zip(found.permutations, orders, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_matching_finds_the_best_order_of_one_layer():
    network = models.create("mlp", image_shape=(2, 2, 1), num_classes=3, widths=(5,))
    first, second = start(network, 0), start(network, 1)
    found = match_weights(network, first, second)

    def similarity(order):
        parts = [("dense1", "kernel", 1), ("dense1", "bias", 0), ("output", "kernel", 0)]
        return sum(
            np.sum(np.asarray(first[a][b]) * np.take(np.asarray(second[a][b]), order, axis=axis))
            for a, b, axis in parts
        )

    best = max(itertools.permutations(range(5)), key=similarity)
    assert tuple(found.permutations[0]) == best
    images = np.random.default_rng(0).random((3, 2, 2, 1), np.float32)
    np.testing.assert_allclose(
        network.apply(found.params, images), network.apply(second, images), rtol=1e-5
    )


def test_matching_lowers_the_barrier_between_two_seeds():
    digits = data.load("digits").take(range(1500))
    config = training.SweepConfig(
        [training.ModelConfig("mlp", {"widths": (128,)})],
        [training.TrainingConfig(max_steps=400, record_every=400, batch_size=50)],
        {"learning_rate": (0.1,)},
        seeds=2,
    )
    (group,) = training.sweep(config, digits, jax.random.key(0)).groups
    ours = objective(group.network.apply)
    found = mode_connectivity(
        group.network, ours, group.network_params(0), group.network_params(1),
        pack(ours, (digits.images, digits.labels)),
    )  # fmt: skip
    assert found.matched.barrier < 0.7 * found.plain.barrier


def test_other_architectures_are_refused_by_name():
    network = models.create("vit", image_shape=(8, 8, 1), num_classes=10, patch=4)
    with pytest.raises(InvalidInputError, match=r"network: found vit\(.*mlp and cnn only"):
        match_weights(network, {}, {})


def test_the_path_of_a_quadratic_and_its_barrier():
    ours = objective(lambda w, x: x * w[None], lambda f, y: jnp.sin(3 * f[:, 0]) + f[:, 1] ** 2)
    chunks = pack(ours, (jnp.ones((1, 2)), jnp.zeros(1, int)))
    ends = np.array([0.1, -1.0], np.float32), np.array([2.0, 0.5], np.float32)
    here, there = map(jnp.asarray, ends)
    found = linear_path(ours, here, there, chunks, points=101)
    shares = np.linspace(0, 1, 101)
    points = ends[0] + shares[:, None] * (ends[1] - ends[0]).astype(float)
    losses = np.sin(3 * points[:, 0]) + points[:, 1] ** 2
    np.testing.assert_allclose(found.losses, losses, rtol=1e-4, atol=1e-5)
    excess = losses - (losses[0] + shares * (losses[-1] - losses[0]))
    np.testing.assert_allclose(found.barrier, excess.max(), rtol=1e-4)
    np.testing.assert_allclose(found.where, shares[excess.argmax()], atol=1e-6)
    convex = linear_path(ours, jnp.array([0.0, -1.0]), jnp.array([0.0, 1.0]), chunks)
    assert convex.barrier == 0.0
    with pytest.raises(InvalidInputError, match="points: found 1"):
        linear_path(ours, here, there, chunks, points=1)
    with pytest.raises(InvalidInputError, match="second: found arrays"):
        linear_path(ours, jnp.zeros(2), jnp.zeros(3), chunks)


def test_slices_of_one_and_two_dimensions():
    ours = objective(lambda w, x: x * w[None], lambda f, y: f[:, 0] + 10 * f[:, 1] ** 2)
    chunks = pack(ours, (jnp.ones((1, 2)), jnp.zeros(1, int)))
    center = jnp.array([1.0, 0.0])
    axes = jnp.array([1.0, 0.0]), jnp.array([0.0, 1.0])
    rows, columns = np.array([-1.0, 0.0, 2.0]), np.array([0.0, 0.5])
    found = loss_slice(ours, center, chunks, axes, rows, columns)
    np.testing.assert_allclose(found, 1 + rows[:, None] + 10 * columns[None] ** 2, rtol=1e-6)
    with pytest.raises(InvalidInputError, match="directions: found 2 with 1 arrays"):
        loss_slice(ours, center, chunks, axes, rows)


def test_directions_follow_the_scale_of_every_filter():
    network = created("cnn")
    params = start(network, 0)
    direction = filter_normalised_direction(params, jax.random.key(0))
    for name, layer in params.items():
        own, drawn = (np.asarray(tree["kernel"]) for tree in (layer, direction[name]))
        axes = tuple(range(own.ndim - 1))
        np.testing.assert_allclose(
            np.sqrt((drawn**2).sum(axes)), np.sqrt((own**2).sum(axes)), rtol=1e-5
        )
        np.testing.assert_array_equal(direction[name]["bias"], 0)
    # Rescaled layers of a ReLU network give the same slice of the same function.
    scales = {"conv1": 4.0, "conv2": 0.25, "output": 1.0}
    other = {
        name: {"kernel": scales[name] * layer["kernel"], "bias": layer["bias"]}
        for name, layer in params.items()
    }
    other["conv1"]["bias"] = 4 * params["conv1"]["bias"]
    digits = data.load("digits").take(range(40))
    ours = objective(network.apply)
    chunks = pack(ours, (digits.images, digits.labels))
    slices = [
        loss_slice(
            ours, tree, chunks, [filter_normalised_direction(tree, jax.random.key(1))],
            np.array([-1.0, 0.5]),
        )
        for tree in (params, other)
    ]  # fmt: skip
    np.testing.assert_allclose(*slices, rtol=1e-4)
