"""The Davies-Bouldin index against scikit-learn, and what it is computed on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import davies_bouldin_score

from genjax import models
from genjax.metrics import complexity
from genjax.metrics.complexity import clusters
from genjax.metrics.complexity.contract import Labelled


@pytest.mark.parametrize("seed", range(4))
def test_the_index_agrees_with_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    labels = rng.choice([0, 2, 3, 6], 60)
    points = rng.normal(size=(60, 5)) + 2.0 * rng.normal(size=(7, 5))[labels]
    found = clusters.davies_bouldin(points.astype(np.float32), labels, 7)
    assert float(found) == pytest.approx(davies_bouldin_score(points, labels), rel=1e-5)


def test_far_from_the_origin_nothing_rounds_away():
    rng = np.random.default_rng(0)
    labels = np.arange(90) % 3
    points = (rng.normal(size=(90, 4)) + labels[:, None] + 1000.0).astype(np.float32)
    expected = davies_bouldin_score(points.astype(np.float64), labels)
    found = clusters.davies_bouldin(points, labels, 3)
    assert float(found) == pytest.approx(expected, rel=1e-3)


def test_one_point_of_a_class_and_equal_means_are_as_in_scikit_learn():
    points = np.array([[-1.0], [1.0], [-2.0], [2.0], [7.0]])
    labels = np.array([0, 0, 1, 1, 2])
    expected = davies_bouldin_score(points, labels)
    assert float(clusters.davies_bouldin(points, labels, 3)) == pytest.approx(expected, rel=1e-6)


def test_no_pair_of_classes_is_undefined():
    assert np.isnan(clusters.davies_bouldin(np.ones((4, 2)), np.array([0, 0, 1, 1]), 2))
    assert np.isnan(clusters.davies_bouldin(np.eye(4), np.zeros(4, int), 2))


def test_pooling_takes_the_maximum_of_windows():
    image = np.random.default_rng(0).random((2, 9, 10, 3), np.float32)
    found = clusters.pooled(jnp.asarray(image)).reshape(2, 2, 2, 3)
    for row in range(2):
        for column in range(2):
            window = image[:, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
            np.testing.assert_array_equal(found[:, row, column], window.max(axis=(1, 2)))


@pytest.mark.parametrize("count", [70, 300])
def test_measures_average_the_index_of_groups(digits, count):
    train = complexity.measure_data(digits[0].take(range(count)))
    network = models.create("cnn", image_shape=(8, 8, 1), num_classes=10, channels=(3, 4))
    params = jax.jit(lambda key: network.fold(*network.init(key)))(jax.random.key(0))
    layers = complexity.layers.weight_layers(network, params)

    @jax.jit
    def measured(params):
        trained = complexity.Trained(params, None, None, None, None, None, 0)
        return complexity.compute(
            ["clusters", "mixup_accuracy"],
            network,
            trained,
            train,
            jax.random.key(0),
            layers=layers,
        )[0]

    found = {name: float(pair[0]) for name, pair in measured(params).items()}
    images, labels = train.train
    taps = jax.jit(network.taps)(params, images)
    first = np.asarray(taps["block1"], np.float64)
    assert first.shape == (count, 4, 4, 3)
    first = first.max(axis=(1, 2))
    features = np.asarray(taps["features"], np.float64)
    groups = [slice(0, 70)] if count == 70 else [slice(0, 120), slice(120, 240)]
    for name, points in {"davies_bouldin": first, "davies_bouldin_features": features}.items():
        expected = np.mean([davies_bouldin_score(points[g], labels[g]) for g in groups])
        assert found[name] == pytest.approx(expected, rel=1e-4), name
    product = found["davies_bouldin"] * (1 - found["mixup_accuracy"])
    assert found["davies_bouldin_mixup"] == pytest.approx(product, rel=1e-5)


def test_scaling_and_moving_points_changes_nothing():
    rng = np.random.default_rng(1)
    points, labels = rng.normal(size=(50, 3)).astype(np.float32), np.arange(50) % 5
    before = float(clusters.davies_bouldin(points, labels, 5))
    after = float(clusters.davies_bouldin(7 * points + 2, labels, 5))
    assert after == pytest.approx(before, rel=1e-4)


def test_a_dead_network_is_refused(digits):
    network = models.create("mlp", image_shape=(8, 8, 1), num_classes=10, widths=(4,))
    params = jax.jit(lambda key: network.fold(*network.init(key)))(jax.random.key(0))
    dead = jax.tree.map(jnp.zeros_like, params)
    data = complexity.MeasureData(Labelled(digits[0].images[:40], digits[0].labels[:40]), None)
    trained = complexity.Trained(dead, None, None, None, None, None, 0)
    found, _ = complexity.compute(["davies_bouldin"], network, trained, data, jax.random.key(0))
    amount, info = found["davies_bouldin"]
    assert np.isnan(amount)
    assert int(info["refusal"]) == complexity.Refusal.DEGENERATE


def test_means_that_differ_by_rounding_are_no_pair():
    points = np.zeros((30, 4), np.float32)
    points[:10] = 1.0
    points[10:] = np.float32(0.3)
    points[20:] = np.nextafter(np.float32(0.3), np.float32(1.0))
    points[::3, 0] += 0.5
    labels = np.repeat([0, 1, 2], 10)
    merged = np.where(labels == 2, 1, labels)  # what is left: each of the equal two against class 0
    found = float(clusters.davies_bouldin(jnp.asarray(points), jnp.asarray(labels), 3))
    assert found == pytest.approx(davies_bouldin_score(points.astype(np.float64), merged), rel=0.05)
