import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.fft
import scipy.ndimage
from skimage.measure import block_reduce
from skimage.metrics import structural_similarity

from genjax.data import Examples, autoencoder, load, shifts
from genjax.data.corruptions import JPEG_LUMINANCE
from genjax.errors import ShiftError

RNG = np.random.default_rng(0)
TARGETS = [1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6]
FORMULAS = [name for name in shifts.names() if name != "autoencoder"]


def images_of(data):
    assert isinstance(data, Examples)
    return data.images


@pytest.fixture(scope="module")
def digits():
    return images_of(load("digits"))[:300]


@pytest.fixture(scope="module")
def learned():
    train = images_of(load("digits"))[300:]
    return autoencoder.fit(train, jax.random.key(1), steps=300)


def make(name, learned):
    return learned if name == "autoencoder" else shifts.create(name)


@pytest.mark.parametrize("name", shifts.names())
class TestEveryShift:
    def test_levels_are_met_as_scikit_image_measures_them(self, name, learned, digits, getkey):
        shift, key = make(name, learned), getkey()
        levels = shifts.calibrate(shift, digits, TARGETS, key)
        assert np.abs(levels.achieved - TARGETS).max() <= 1e-3
        assert levels.strengths[0] == 0
        assert (np.diff(levels.strengths) > 0).all()
        shifted = shifts.apply_levels(shift, levels, digits, key)
        assert shifted.shape == (9, *digits.shape)
        assert shifted.dtype == np.float32
        np.testing.assert_array_equal(shifted[0], digits)
        for level in (4, 8):
            found = [
                structural_similarity(
                    a[..., 0].astype(float), b[..., 0].astype(float), data_range=1
                )
                for a, b in zip(digits, shifted[level], strict=True)
            ]
            assert np.mean(found) == pytest.approx(levels.achieved[level], abs=1e-4)
            assert np.std(found) == pytest.approx(levels.spread[level], abs=1e-4)

    def test_range_identity_and_repeatability(self, name, learned, digits, getkey):
        shift, key = make(name, learned), getkey()
        apply = jax.jit(shift.apply)
        images = digits[:20]
        np.testing.assert_array_equal(apply(images, 0.0, key), images)
        for strength in (1e-6, 0.3, 1.0):
            out = np.asarray(apply(images, strength, key))
            assert out.dtype == np.float32
            assert np.isfinite(out).all()
            assert out.min() >= 0
            assert out.max() <= 1
            np.testing.assert_array_equal(out, apply(images, strength, key))
            # Compiled as a whole or step by step, sums are rounded in another order; jpeg may
            # then round a coefficient that lies on an edge to the other side.
            if name != "jpeg" and strength == 0.3:
                np.testing.assert_allclose(out, shift.apply(images, strength, key), atol=1e-5)

    def test_colour_and_odd_sizes(self, name, learned, getkey):
        images = RNG.random((3, 13, 10, 3), dtype=np.float32)
        if name == "autoencoder":
            shift = autoencoder.fit(images, getkey(), steps=2, batch_size=2)
        else:
            shift = shifts.create(name)
        out = np.asarray(jax.jit(shift.apply)(images, 0.5, getkey()))
        assert out.shape == images.shape
        assert not np.allclose(out, images, atol=1e-3)


class TestFormulas:
    def test_noise_has_its_standard_deviation(self, getkey):
        grey = np.full((50, 20, 20, 1), 0.5, np.float32)
        out = shifts.create("gaussian_noise", max_sigma=0.4).apply(grey, 0.25, getkey())
        residual = np.asarray(out) - 0.5  # 20,000 draws of sigma .1: error of the std is .0005.
        assert residual.std() == pytest.approx(0.1, abs=0.002)
        assert abs(residual.mean()) < 0.003

    @pytest.mark.parametrize("strength", [0.05, 0.1, 0.2])
    def test_blur_is_scipys_away_from_the_edges(self, strength, getkey):
        images = RNG.random((2, 40, 40, 1), dtype=np.float32)
        out = shifts.create("gaussian_blur", max_sigma=0.25).apply(images, strength, getkey())
        sigma = strength * 0.25 * 40
        theirs = scipy.ndimage.gaussian_filter(
            images.astype(float), (0, sigma, sigma, 0), truncate=8
        )
        inner = slice(18, 22)
        np.testing.assert_allclose(out[:, inner, inner], theirs[:, inner, inner], atol=1e-5)
        flat = np.full((1, 9, 9, 1), 0.3, np.float32)
        np.testing.assert_allclose(
            shifts.create("gaussian_blur").apply(flat, 0.7, getkey()), flat, atol=1e-6
        )

    @pytest.mark.parametrize("strength", [0.1, 0.4, 1.0])
    def test_jpeg_rounds_scipys_cosine_transform(self, strength, getkey):
        images = RNG.random((3, 16, 8, 2), dtype=np.float32)
        out = np.asarray(shifts.create("jpeg").apply(images, strength, getkey()))
        steps = strength**2 * 50 * JPEG_LUMINANCE / 255
        for n, row, channel in [(0, 0, 0), (1, 8, 1), (2, 0, 1)]:
            block = images[n, row : row + 8, :, channel].astype(float)
            rounded = np.rint(scipy.fft.dctn(block, norm="ortho") / steps) * steps
            expected = np.clip(scipy.fft.idctn(rounded, norm="ortho"), 0, 1)
            np.testing.assert_allclose(out[n, row : row + 8, :, channel], expected, atol=1e-5)

    @pytest.mark.parametrize(("strength", "cell"), [(0.25, 2), (0.5, 4), (0.75, 8), (1.0, 16)])
    def test_pixelate_has_block_means(self, strength, cell, getkey):
        images = RNG.random((2, 16, 16, 3), dtype=np.float32)
        out = shifts.create("pixelate").apply(images, strength, getkey())
        means = block_reduce(images.astype(float), (1, cell, cell, 1), np.mean)
        expected = means.repeat(cell, axis=1).repeat(cell, axis=2)
        np.testing.assert_allclose(out, expected, atol=1e-5)

    def test_contrast_keeps_the_mean_and_shrinks_the_rest(self, getkey):
        images = RNG.random((4, 6, 6, 3), dtype=np.float32)
        out = np.asarray(shifts.create("contrast").apply(images, 0.7, getkey()))
        mean = images.mean((1, 2, 3), keepdims=True)
        np.testing.assert_allclose(out - mean, 0.3 * (images - mean), atol=1e-6)

    def test_occlusion_covers_its_share_and_grows(self, getkey):
        key, black = getkey(), np.zeros((40, 12, 10, 1), np.float32)
        apply = shifts.create("occlusion", fill=1).apply
        covered = [np.asarray(apply(black, s, key)) for s in (0.2, 0.5, 0.9, 1.0)]
        for share, mask in zip((0.2, 0.5, 0.9, 1.0), covered, strict=True):
            np.testing.assert_allclose(mask.mean((1, 2, 3)), share**2, atol=1e-5)
        for small, large in itertools.pairwise(covered):
            assert (large >= small - 1e-5).all()
        assert np.ptp(covered[0].argmax(1).mean((1, 2))) > 1  # Not all at one place.

    def test_rotation_turns_both_ways_as_scipy_does(self, getkey):
        images = np.stack([RNG.random((9, 9, 1), dtype=np.float32)] * 20)
        out = np.asarray(shifts.create("rotation", max_degrees=90).apply(images, 0.5, getkey()))
        turned = [
            scipy.ndimage.rotate(
                images[0, ..., 0].astype(float), a, reshape=False, order=1, mode="grid-constant"
            )
            for a in (45, -45)
        ]
        matches = np.array([[np.allclose(o[..., 0], t, atol=1e-5) for t in turned] for o in out])
        assert (matches.sum(1) == 1).all()
        assert matches.any(0).all()


class TestAutoencoder:
    def test_reconstructions_of_unseen_images_get_worse_along_the_path(self, learned, digits):
        key = jax.random.key(0)
        error = [
            float(jnp.mean((learned.apply(digits, s, key) - digits) ** 2))
            for s in (0.25, 0.5, 0.75, 1.0)
        ]
        assert error[0] < 0.25 * digits.var()
        assert error == sorted(error)

    def test_below_a_quarter_it_mixes_with_the_original(self, learned, digits):
        key = jax.random.key(0)
        best = learned.apply(digits, 0.25, key)
        half = learned.apply(digits, 0.125, key)
        np.testing.assert_allclose(half, (digits + best) / 2, atol=1e-5)

    def test_same_key_same_network(self, digits):
        keys = [jax.random.key(k) for k in (0, 0, 1)]
        first, again, other = (
            jax.jit(autoencoder.fit(digits, key, steps=1).apply)(digits[:5], 0.25, keys[0])
            for key in keys
        )
        np.testing.assert_array_equal(first, again)
        assert not np.array_equal(first, other)

    def test_layers_are_the_papers(self):
        model = autoencoder.Autoencoder(channels=3)
        images = jax.ShapeDtypeStruct((1, 32, 32, 3), np.float32)
        params = jax.eval_shape(model.init, jax.random.key(0), images)["params"]
        kernels = {name: layer["kernel"].shape for name, layer in params.items()}
        assert kernels == {
            "Conv_0": (3, 3, 3, 16),
            "Conv_1": (3, 3, 16, 32),
            "Conv_2": (3, 3, 32, 64),
            "ConvTranspose_0": (3, 3, 64, 32),
            "ConvTranspose_1": (3, 3, 32, 16),
            "ConvTranspose_2": (3, 3, 16, 3),
        }

    def test_numbers_must_be_positive(self, digits):
        with pytest.raises(ShiftError, match="steps 0"):
            autoencoder.fit(digits, jax.random.key(0), steps=0)


class TestCalibration:
    def test_first_crossing_counts_where_the_shift_comes_back(self, digits, getkey):
        # A digit turned by 180 degrees has an SSIM of about .45 again.
        levels = shifts.calibrate(shifts.create("rotation"), digits, [0.4], getkey())
        assert levels.strengths[0] < 0.25

    def test_many_chunks_give_what_is_reported(self, digits, getkey, monkeypatch):
        monkeypatch.setattr("genjax.data.calibration.CHUNK", 128)
        shift, key = shifts.create("gaussian_noise"), getkey()
        levels = shifts.calibrate(shift, digits, [0.9, 0.7], key)
        shifted = shifts.apply_levels(shift, levels, digits, key)
        for level in range(2):
            found = shifts.ssim(digits, shifted[level])
            assert float(found.mean()) == pytest.approx(levels.achieved[level], abs=1e-5)
        noise = shifted[1] - digits
        assert not np.allclose(noise[:44], noise[128:172])  # Every chunk draws its own.

    def test_targets_in_any_order(self, digits, getkey):
        levels = shifts.calibrate(shifts.create("contrast"), digits, [0.7, 1, 0.9], getkey())
        np.testing.assert_allclose(levels.achieved, [0.7, 1, 0.9], atol=1e-3)

    def test_unreachable_targets_are_named_with_the_range(self, digits, getkey):
        weak = shifts.create("gaussian_noise", max_sigma=0.1)
        with pytest.raises(
            ShiftError, match=r"'gaussian_noise' cannot reach .* 0.6 .*reachable are 0\.9\d+ to 1"
        ):
            shifts.calibrate(weak, digits, [0.99, 0.6], getkey())

    def test_jumps_are_named(self, digits, getkey):
        step = shifts.from_function("step", lambda x, s, key: jnp.where(s > 0.3, 1 - x, x))
        with pytest.raises(ShiftError, match=r"'step' cannot meet .* it jumps from 1.0000 to"):
            shifts.calibrate(step, digits, [0.8], getkey())

    @pytest.mark.parametrize("targets", [[], [1.1], [np.nan], np.ones((1, 1))])
    def test_targets_must_be_similarities(self, digits, getkey, targets):
        with pytest.raises(ShiftError, match="targets"):
            shifts.calibrate(shifts.create("contrast"), digits, targets, getkey())

    @pytest.mark.data
    @pytest.mark.parametrize("name", FORMULAS)
    def test_fashion_mnist_reaches_all_levels(self, data_dir, name, getkey):
        data = load(f"idx:{data_dir}/fashion_mnist").take(np.arange(60_000, 60_300))
        levels = shifts.calibrate(shifts.create(name), data.images, TARGETS, getkey())
        assert np.abs(levels.achieved - TARGETS).max() <= 1e-3


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("gausian_noise", {}, "did you mean 'gaussian_noise'"),
        ("jpeg", {"quality": 3}, "unknown option 'quality'; allowed: max_scale"),
        ("contrast", {"low": 0}, "allowed: none"),
        ("autoencoder", {}, "the option 'images' is missing"),
        ("gaussian_blur", {"max_sigma": 0}, "max_sigma: found 0"),
        ("rotation", {"max_degrees": 200}, "max_degrees: found 200"),
        ("occlusion", {"fill": 2}, "fill: found 2"),
    ],
)
def test_unknown_names_and_options_are_refused(name, options, message):
    with pytest.raises(ShiftError, match=message):
        shifts.create(name, **options)
