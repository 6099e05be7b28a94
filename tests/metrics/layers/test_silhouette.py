"""Silhouettes against scikit-learn and the definition."""

from typing import Any

import numpy as np
import pytest
from sklearn import metrics

from genjax.errors import InvalidInputError
from genjax.metrics.layers.silhouette import silhouette

silhouette_samples: Any = metrics.silhouette_samples  # NumPy arrays, whatever its stubs say


def _points(dtype: Any = np.float64, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, 157)
    return (rng.normal(size=(157, 9)) + labels[:, None]).astype(dtype), labels


@pytest.mark.parametrize("chunk_size", [1, 50, 157, 1000])
def test_values_are_those_of_scikit_learn(chunk_size):
    points, labels = _points()
    found = silhouette(points, labels, num_classes=4, chunk_size=chunk_size)
    expected = silhouette_samples(points, labels)
    np.testing.assert_allclose(found.values, expected, atol=1e-10)
    assert found.mean == pytest.approx(expected.mean(), abs=1e-10)


@pytest.mark.parametrize("method", ["numpy", "jax"])
def test_float32_is_near_float64(method):
    points, labels = _points(np.float32)
    found = silhouette(points + 100, labels, num_classes=4, method=method, chunk_size=64)
    expected = silhouette_samples((points + 100).astype(float), labels)
    np.testing.assert_allclose(found.values, expected, atol=2e-5)


@pytest.mark.parametrize("method", ["numpy", "jax"])
def test_singletons_empty_classes_and_duplicates(method):
    points, labels = _points()
    labels = labels * 2  # classes 1, 3, 5 have no example
    labels[7] = 7
    points[20:40] = points[20]
    labels[20:30] = 0
    found = silhouette(points, labels, num_classes=9, method=method)
    np.testing.assert_allclose(found.values, silhouette_samples(points, labels), atol=3e-5)
    assert found.values[7] == 0.0


@pytest.mark.parametrize("method", ["numpy", "jax"])
def test_equal_points_are_at_distance_zero_in_float32(method):
    """Far from all others, so that rounding would leave a distance of the order of 0.1."""
    rng = np.random.default_rng(1)
    points = np.repeat(1000 * rng.normal(size=(6, 30)), 5, axis=0).astype(np.float32)
    labels = np.repeat(np.arange(6), 5)
    found = silhouette(points, labels, num_classes=6, method=method)
    assert np.all(found.values == 1.0)


def test_zero_and_minus_zero_are_one_point():
    found = silhouette(np.array([[0.0], [-0.0], [3.0], [4.0]]), [0, 0, 1, 1], num_classes=2)
    np.testing.assert_array_equal(found.values[:2], 1.0)


def test_nothing_apart_is_undefined():
    found = silhouette(np.ones((6, 2)), [0, 0, 0, 1, 1, 1], num_classes=2)
    assert np.isnan(found.mean)
    assert np.all(np.isnan(found.values))
    alone = silhouette(np.eye(3), [0, 1, 2], num_classes=3)
    assert np.isnan(alone.mean)
    assert np.all(alone.values == 0.0)


@pytest.mark.parametrize(
    ("points", "labels", "sentence"),
    [
        (np.ones((3, 1)), [0, 0, 0], "labels: found 1 class"),
        (np.ones((3, 1)), [0, 1], "labels: found 2 for 3 points"),
        (np.ones((3, 1)), [0, 1, 2], "labels: found 2; allowed are 0 ... 1"),
        (np.full((3, 1), np.nan), [0, 1, 1], "points: found 3 of 3 rows"),
    ],
)
def test_refusals(points, labels, sentence):
    with pytest.raises(InvalidInputError, match=sentence):
        silhouette(points, labels, num_classes=2)
    with pytest.raises(InvalidInputError, match="method: unknown name 'torch'"):
        silhouette(np.eye(2), [0, 1], num_classes=2, method="torch")


@pytest.mark.data
def test_golden_value_of_the_calligraphy_images(data_dir):
    with np.load(data_dir / "calligraphy" / "unseen.npz") as archive:
        points, labels = archive["images"].reshape(2500, -1) / 255.0, archive["labels"]
    _, labels = np.unique(labels, return_inverse=True)
    for dtype in (np.float32, np.float64):
        found = silhouette(points.astype(dtype), labels, num_classes=5)
        assert found.mean == pytest.approx(-0.0147, abs=1e-4)
