import jax.numpy as jnp
import numpy as np
import pytest
from skimage.metrics import structural_similarity

from genjax.data import load
from genjax.data.ssim import ssim
from genjax.errors import DataError

RNG = np.random.default_rng(0)


def pairs(shape):
    """Images and partners from equal to unrelated, flat and saturated regions among them."""
    clean = RNG.random((6, *shape)).astype(np.float32)
    clean[1] = np.linspace(0, 1, clean[1].size).reshape(shape)
    clean[2] = 1.0
    clean[3] = (clean[3] > 0.5).astype(np.float32)
    clean[4] *= 1e-3
    amount = np.array([0, 0.02, 0.1, 0.3, 1, 3], np.float32)[:, None, None, None]
    noise = RNG.standard_normal(clean.shape).astype(np.float32)
    return clean, np.clip(clean + amount * noise, 0, 1)


def reference(a, b, **options):
    a, b = a.astype(np.float64), b.astype(np.float64)
    options = {"data_range": 1.0, "channel_axis": -1, **options}
    return [structural_similarity(x, y, **options) for x, y in zip(a, b, strict=True)]


@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3), (20, 13, 2), (8, 8, 1)])
def test_uniform_window_is_scikit_images(shape):
    a, b = pairs(shape)
    np.testing.assert_allclose(ssim(a, b), reference(a, b), atol=1e-5)


@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3), (11, 17, 1)])
def test_gaussian_window_is_scikit_images(shape):
    a, b = pairs(shape)
    theirs = reference(a, b, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
    np.testing.assert_allclose(ssim(a, b, gaussian=True), theirs, atol=1e-5)


@pytest.mark.parametrize("win_size", [3, 5, 9])
def test_other_windows_are_scikit_images(win_size):
    a, b = pairs((12, 14, 1))
    theirs = reference(a, b, win_size=win_size)
    np.testing.assert_allclose(ssim(a, b, win_size=win_size), theirs, atol=1e-5)


@pytest.mark.parametrize(("side", "fits"), [(3, 3), (4, 3), (5, 5), (6, 5), (7, 7), (40, 7)])
def test_default_window_fits_small_images(side, fits):
    a, b = pairs((side, side, 1))
    np.testing.assert_allclose(ssim(a, b), reference(a, b, win_size=fits), atol=1e-5)


def test_nearly_flat_bright_images_keep_their_digits():
    a = (0.9 + 0.005 * RNG.standard_normal((4, 28, 28, 1))).astype(np.float32)
    b = (0.9 + 0.005 * RNG.standard_normal((4, 28, 28, 1))).astype(np.float32)
    np.testing.assert_allclose(ssim(a, b), reference(a, b), atol=2e-6)


def test_digits_against_their_noisy_selves():
    data = load("digits").take(np.arange(50))
    b = np.clip(data.images + 0.1 * RNG.standard_normal(data.images.shape), 0, 1).astype("f4")
    np.testing.assert_allclose(ssim(data.images, b), reference(data.images, b), atol=1e-5)


def test_equal_images_have_one_and_order_does_not_matter():
    a, b = pairs((16, 16, 3))
    np.testing.assert_allclose(ssim(a, a), np.ones(6), atol=1e-6)
    np.testing.assert_allclose(ssim(a, b), ssim(jnp.asarray(b), jnp.asarray(a)), atol=1e-6)


@pytest.mark.parametrize("win_size", [4, 1, 9])
def test_windows_that_do_not_fit_are_refused(win_size):
    with pytest.raises(DataError, match=f"win_size: found {win_size} for images of 8x8"):
        ssim(jnp.zeros((1, 8, 8, 1)), jnp.zeros((1, 8, 8, 1)), win_size=win_size)
