"""Class means, the nearest of them, and when points count as equal."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.neighbors import NearestCentroid

from genjax.errors import InvalidInputError
from genjax.metrics.layers import class_means


def _problem(seed=0, total=80, dimensions=6, classes=5):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, total)
    centres = 2 * rng.normal(size=(classes, dimensions))
    return rng.normal(size=(total, dimensions)) + centres[labels], labels


def test_means_and_counts_are_those_of_numpy():
    points, labels = _problem()
    found = class_means.class_means(points.astype(np.float32), labels, num_classes=7)
    for label in range(5):
        expected = points[labels == label].mean(axis=0)
        np.testing.assert_allclose(found.means[label], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found.counts, np.bincount(labels, minlength=7))
    assert not np.any(found.means[5:])


def test_a_label_beyond_the_classes_is_refused():
    with pytest.raises(InvalidInputError, match="labels: found 4; with num_classes 4"):
        class_means.class_means(*_problem(), num_classes=4)


def test_nearest_means_agree_with_scikit_learn():
    points, labels = _problem()
    centred = points - points.mean(axis=0)
    means = class_means.class_means(centred.astype(np.float32), labels, num_classes=5).means
    found = class_means.nearest_mean(centred.astype(np.float32), means)
    np.testing.assert_array_equal(found, NearestCentroid().fit(points, labels).predict(points))


def test_of_equal_means_the_smaller_class_wins_in_any_order():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(200, 33)).astype(np.float32)
    copies = np.concatenate([points, points[::-1]])
    labels = np.repeat([0, 1], 200)  # equal means, summed in another order
    means = class_means.class_means(copies, labels, num_classes=2).means
    found = class_means.nearest_mean(copies, means)
    np.testing.assert_array_equal(found, 0)


def test_classes_that_are_absent_are_never_nearest():
    means = jnp.array([[0.0], [100.0]])
    found = class_means.nearest_mean(jnp.zeros((3, 1)), means, jnp.array([False, True]))
    np.testing.assert_array_equal(found, 1)


def test_squared_distances_agree_with_scipy():
    rng = np.random.default_rng(1)
    first, second = rng.normal(size=(9, 4)), rng.normal(size=(5, 4))
    found = class_means.squared_distances(first.astype(np.float32), second.astype(np.float32))
    np.testing.assert_allclose(found, cdist(first, second) ** 2, rtol=1e-5)


@pytest.mark.parametrize("offset", [0.0, 1.0, 1e4])
def test_points_vary_or_do_not(offset):
    same = np.full((5, 3), offset, np.float32)
    assert not bool(class_means.varies(same))
    other = same.copy()
    other[2, 1] += 1e-4 * max(offset, 1)
    assert bool(class_means.varies(other))
    assert bool(jax.jit(class_means.varies)(other))
    rounded = np.nextafter(same, np.float32(np.inf))
    rounded[0] = same[0]
    assert not bool(class_means.varies(rounded)) or offset == 0


def test_nearest_class_mean_is_that_of_scikit_learn():
    points, labels = _problem()
    tests, truth = _problem(0, 400)
    expected = NearestCentroid().fit(points, labels).score(tests, truth)
    of = partial(class_means.nearest_class_mean, num_classes=5)
    assert float(of(points, labels, tests, truth)) == pytest.approx(expected)
    assert float(jax.jit(of)(points, labels, tests, truth)) == pytest.approx(expected)
    stacked = [jnp.stack([jnp.asarray(part)] * 2) for part in (points, labels, tests, truth)]
    np.testing.assert_allclose(jax.vmap(of)(*stacked), expected, rtol=1e-6)


def test_nearest_class_mean_with_absent_classes_ties_and_equal_points():
    points = np.array([[0.0], [0.0], [2.0], [2.0]], np.float32)
    labels = np.array([1, 1, 3, 3])
    tests = np.array([[1.0], [0.9], [1.1]], np.float32)
    found = class_means.nearest_mean_predictions(points, labels, tests, num_classes=6)
    assert found.tolist() == [1, 1, 3]
    same = np.full((4, 1), 0.1, np.float32)
    accuracy = class_means.nearest_class_mean(same, labels, tests, np.ones(3, int), num_classes=6)
    assert np.isnan(accuracy)


def test_a_large_constant_column_hides_nothing():
    points = jnp.concatenate([jnp.full((4, 1), 1e6), 1e-3 * jnp.eye(4)], axis=1)
    assert bool(class_means.varies(points))
    assert not bool(class_means.varies(points[:, :1]))
