"""Label variation against loops over the graph in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from genjax import models
from genjax.metrics import complexity
from genjax.metrics.complexity import neighbourhood, stratified


def variation_by_hand(points, targets, k):
    """Return the variation as the source computes it: a kernel, its largest entries, L."""
    points = points / np.linalg.norm(points, axis=1, keepdims=True)
    squares = ((points[:, None] - points[None]) ** 2).sum(-1)
    kernel = np.exp(-squares / (3 * squares.std()))
    threshold = np.sort(kernel, axis=1)[:, -(k + 1)]
    graph = (kernel >= threshold[:, None]).astype(float)
    np.fill_diagonal(graph, 0.0)
    root = np.diag(graph.sum(1) ** -0.5)
    laplacian = np.eye(len(points)) - root @ graph @ root
    return max(np.trace(targets.T @ laplacian @ targets) / (4 * len(points)), 0.0)


@pytest.mark.parametrize("k", [1, 3])
def test_variation_agrees_with_the_source(k):
    rng = np.random.default_rng(k)
    points = rng.normal(size=(60, 5))
    targets = rng.dirichlet(np.ones(4), 60)
    expected = variation_by_hand(points, targets, k)
    with jax.enable_x64(True):
        assert float(neighbourhood.label_variation(points, targets, k)) == pytest.approx(expected)


def test_neighbours_agree_with_scikit_learn():
    points = np.random.default_rng(0).normal(size=(60, 5))
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    nearest = NearestNeighbors(n_neighbors=1).fit(unit).kneighbors(return_distance=False)[:, 0]
    graph = neighbourhood.neighbour_graph(points.astype(np.float32))
    np.testing.assert_array_equal(np.argmax(graph, axis=1), nearest)
    np.testing.assert_array_equal(graph.sum(axis=1), 1.0)


def test_with_one_class_each_it_counts_strange_neighbours():
    rng = np.random.default_rng(2)
    points, labels = rng.normal(size=(80, 3)), rng.integers(0, 3, 80)
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    nearest = NearestNeighbors(n_neighbors=1).fit(unit).kneighbors(return_distance=False)[:, 0]
    expected = np.mean(labels != labels[nearest]) / 4
    found = neighbourhood.label_variation(points.astype(np.float32), np.eye(3)[labels])
    assert float(found) == pytest.approx(expected, rel=1e-6)


def test_length_of_features_does_not_matter():
    rng = np.random.default_rng(3)
    points = rng.normal(size=(40, 4)).astype(np.float32)
    lengths = rng.uniform(0.1, 10.0, (40, 1)).astype(np.float32)
    targets = np.eye(4, dtype=np.float32)[rng.integers(0, 4, 40)]
    first = neighbourhood.label_variation(points, targets)
    assert float(first) > 0
    np.testing.assert_array_equal(first, neighbourhood.label_variation(points * lengths, targets))


def test_equal_points_share_a_neighbourhood():
    points = jnp.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    targets = np.eye(2)[[0, 0, 1, 1]]
    np.testing.assert_array_equal(neighbourhood.neighbour_graph(points)[0], [0, 1, 1, 0])
    expected = variation_by_hand(np.asarray(points, float), targets, 1)
    found = neighbourhood.label_variation(points, targets)
    assert float(found) == pytest.approx(expected, rel=1e-6)


def test_too_few_points_have_no_variation():
    assert np.isnan(neighbourhood.label_variation(np.ones((1, 2)), np.ones((1, 2))))


def test_near_points_keep_their_neighbours_in_float32():
    # One direction with differences of 1e-4: cosines would round to 1.
    angles = np.sort(np.random.default_rng(5).uniform(0, 1e-2, 50))
    points = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    nearest = NearestNeighbors(n_neighbors=1).fit(points).kneighbors(return_distance=True)
    distances = np.abs(angles[:, None] - angles[None])
    graph = np.asarray(neighbourhood.neighbour_graph(points.astype(np.float32)))
    found = distances[np.arange(50), graph.argmax(axis=1)]
    np.testing.assert_allclose(found, nearest[0][:, 0], atol=2e-7)


def test_examples_in_turns_are_balanced_and_keep_their_order():
    labels = np.random.default_rng(0).integers(0, 5, 83)
    order = np.asarray(stratified.in_turns(labels))
    np.testing.assert_array_equal(np.sort(order), np.arange(83))
    smallest = np.bincount(labels).min()
    assert set(np.bincount(labels[order[: 5 * smallest]])) == {smallest}
    for label in range(5):
        mine = order[labels[order] == label]
        np.testing.assert_array_equal(mine, np.sort(mine))


def test_the_measure_reads_balanced_training_examples(digits):
    data = complexity.measure_data(digits[0])
    network = models.create("mlp", image_shape=(8, 8, 1), num_classes=10, widths=(8,))
    params = jax.jit(lambda key: network.fold(*network.init(key)))(jax.random.key(0))
    trained = complexity.Trained(params, None, None, None, None, None, 0)
    layers = complexity.layers.weight_layers(network, params)
    compiled = jax.jit(
        lambda t: complexity.compute(
            ["neighbourhood"], network, t, data, jax.random.key(0), layers=layers
        )[0]
    )
    found = compiled(trained)
    features = np.asarray(network.taps(params, data.train.images)["features"], np.float64)
    expected = variation_by_hand(features, np.eye(10)[data.train.labels], 1)
    amount, info = found["label_variation"]
    assert float(amount) == pytest.approx(expected, rel=1e-5)
    wrong = 4 * expected
    error = np.sqrt(wrong * (1 - wrong) / 300) / 4
    assert float(info["standard_error"]) == pytest.approx(error, rel=1e-4)
    assert float(found["label_variation_mixup"][0]) > 0
