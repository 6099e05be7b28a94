"""Readouts and normalisations against plain float64 computations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.decomposition
import sklearn.preprocessing

from genjax import errors
from genjax.metrics.layers import readouts

TOKENS = np.random.default_rng(0).normal(size=(40, 6, 5))


def test_places_are_read_as_named():
    with jax.enable_x64(True):
        read = {
            r: np.asarray(readouts.read(TOKENS, r, class_token=True))
            for r in ("class_token", "token0", "mean", "max", "flatten")
        }
    np.testing.assert_array_equal(read["class_token"], TOKENS[:, 0])
    np.testing.assert_array_equal(read["token0"], TOKENS[:, 0])
    # The class token is no place of the image.
    np.testing.assert_allclose(read["mean"], TOKENS[:, 1:].mean(1), rtol=1e-12)
    np.testing.assert_array_equal(read["max"], TOKENS[:, 1:].max(1))
    np.testing.assert_array_equal(read["flatten"], TOKENS.reshape(40, -1))


def test_a_map_is_read_over_all_of_its_places():
    maps = TOKENS[:, :, :4].reshape(40, 2, 3, 4)
    with jax.enable_x64(True):
        np.testing.assert_array_equal(readouts.read(maps, "token0"), maps[:, 0, 0])
        np.testing.assert_allclose(readouts.read(maps, "mean"), maps.mean((1, 2)), rtol=1e-12)


def test_whitening_is_that_of_scikit_learn_up_to_signs():
    points = TOKENS.reshape(40, -1)
    with jax.enable_x64(True):
        ours = np.asarray(readouts.read(TOKENS, "pca_whitened", dimensions=7))
    # scikit-learn divides by N - 1.
    theirs = sklearn.decomposition.PCA(7, whiten=True).fit_transform(points) * np.sqrt(40 / 39)
    np.testing.assert_allclose(np.abs(ours), np.abs(theirs), atol=1e-9)


def test_whitening_turns_directions_without_variance_into_zeros():
    points = np.concatenate([TOKENS[:, 0], TOKENS[:, 0]], axis=1).astype(np.float32)
    white = np.asarray(readouts.read(points, "pca_whitened"))
    np.testing.assert_allclose(white[:, :5].std(0), 1.0, rtol=1e-4)
    np.testing.assert_array_equal(white[:, 5:], 0.0)
    constant = readouts.read(np.ones((6, 3), np.float32), "pca_whitened")
    np.testing.assert_array_equal(constant, 0.0)


def test_a_random_projection_keeps_squared_distances_on_average():
    points = np.random.default_rng(1).normal(size=(2, 3000)).astype(np.float32)
    truth = np.sum((points[0] - points[1]) ** 2)
    found = [
        float(jnp.sum(jnp.diff(readouts.random_projection(points, k, dimensions=64), axis=0) ** 2))
        for k in jax.random.split(jax.random.key(0), 200)
    ]
    # The squared length is truth times chi2(64) / 64: standard deviation sqrt(2 / 64).
    assert abs(np.mean(found) / truth - 1) < 4 * np.sqrt(2 / 64 / 200)
    assert 0.7 < np.std(found) / truth / np.sqrt(2 / 64) < 1.3


def test_normalisations_are_those_of_scikit_learn():
    points = TOKENS[:, 0]
    with jax.enable_x64(True):
        np.testing.assert_allclose(
            readouts.normalise(points, "l2"), sklearn.preprocessing.normalize(points), rtol=1e-12
        )
        np.testing.assert_allclose(
            readouts.normalise(points, "zscore"), sklearn.preprocessing.scale(points), rtol=1e-9
        )
        np.testing.assert_array_equal(readouts.normalise(points, "raw"), points)


def test_what_does_not_vary_becomes_zero():
    points = np.full((9, 2), 0.1, np.float32)
    points[:, 1] = np.arange(9)
    scaled = np.asarray(readouts.normalise(points, "zscore"))
    np.testing.assert_array_equal(scaled[:, 0], 0.0)
    np.testing.assert_allclose(scaled[:, 1].std(), 1.0, rtol=1e-5)


@pytest.mark.parametrize("readout", ["token0", "mean", "max", "flatten", "random_projection"])
def test_jit_and_vmap_change_nothing(readout):
    stack = jnp.asarray(TOKENS.reshape(4, 10, 6, 5), jnp.float32)

    def one(activation):
        return readouts.read(activation, readout, dimensions=8)

    loop = jnp.stack([one(a) for a in stack])
    np.testing.assert_allclose(jax.jit(jax.vmap(one))(stack), loop, rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: readouts.read(TOKENS, "cls"), "readout: unknown"),
        (lambda: readouts.read(TOKENS, "class_token"), "without a class token"),
        (lambda: readouts.read(np.ones(3), "mean"), "activation: found shape"),
        (lambda: readouts.normalise(TOKENS[:, 0], "L2"), "normalisation: unknown"),
    ],
)
def test_refusals_name_the_argument(call, words):
    with pytest.raises(errors.InvalidInputError, match=words):
        call()
