"""Randomised labels and images keep what they should, and nothing else."""

import numpy as np
import pytest

from genjax import errors
from genjax.data import randomised

IMAGES = np.random.default_rng(0).random((50, 4, 5, 3)).astype(np.float32)


def test_labels_are_drawn_from_all_classes_with_the_stated_probability():
    labels = np.zeros(20_000, int)
    found = randomised.corrupted_labels(labels, 0.4, 5, seed=1)
    # 0.4 are drawn, a fifth of these is right by chance: five standard errors of a share.
    assert abs(np.mean(found != 0) - 0.32) < 5 * np.sqrt(0.32 * 0.68 / 20_000)
    shares = np.bincount(randomised.corrupted_labels(labels, 1, 5, seed=2)) / 20_000
    np.testing.assert_allclose(shares, 0.2, atol=5 * np.sqrt(0.16 / 20_000))
    with pytest.raises(errors.InvalidInputError, match=r"share: found 1\.5"):
        randomised.corrupted_labels(labels, 1.5, 5, seed=0)


def test_shuffled_pixels_are_the_same_for_all_images():
    found = randomised.randomised_images(IMAGES, "shuffled pixels", seed=3).reshape(50, 20, 3)
    flat = IMAGES.reshape(50, 20, 3)
    order = [np.flatnonzero((flat[0] == pixel).all(-1)).item() for pixel in found[0]]
    assert sorted(order) == list(range(20))
    assert order != list(range(20))
    np.testing.assert_array_equal(found, flat[:, order])


def test_random_pixels_have_an_order_of_their_own():
    found = randomised.randomised_images(IMAGES, "random pixels", seed=3).reshape(50, 20, 3)
    flat = IMAGES.reshape(50, 20, 3)
    orders = {
        tuple(np.flatnonzero((own == pixel).all(-1)).item() for pixel in new)
        for own, new in zip(flat, found, strict=True)
    }
    assert len(orders) == 50
    assert all(sorted(order) == list(range(20)) for order in orders)


def test_gaussian_images_keep_two_moments_of_a_channel():
    images = 0.5 + 0.1 * (IMAGES - 0.5) * np.array([1, 2, 1], np.float32)  # far from 0 and 1
    images = np.tile(images, (40, 1, 1, 1))
    found = randomised.randomised_images(images, "gaussian", seed=4)
    count = found[..., 0].size
    spread = images.std(axis=(0, 1, 2))
    away = np.abs(found.mean(axis=(0, 1, 2)) - images.mean(axis=(0, 1, 2)))
    assert (away < 5 * spread / np.sqrt(count)).all()
    np.testing.assert_allclose(found.std(axis=(0, 1, 2)), spread, rtol=5 / np.sqrt(2 * count))
    np.testing.assert_array_equal(
        randomised.randomised_images(IMAGES, "as they are", seed=0), IMAGES
    )
    with pytest.raises(errors.InvalidInputError, match="form: unknown name 'gausian'"):
        randomised.randomised_images(IMAGES, "gausian", seed=0)
