import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from genjax.data import augmentation
from genjax.data.geometry import rotate
from genjax.errors import DataError

RNG = np.random.default_rng(0)
IMAGES = RNG.random((64, 16, 12, 2)).astype(np.float32)


@pytest.mark.parametrize("degrees", [-170.0, -20.0, 0.0, 7.5, 90.0, 180.0])
@pytest.mark.parametrize("shape", [(9, 9), (16, 11)])
def test_rotate_is_scipys(degrees, shape):
    image = RNG.random(shape).astype(np.float32)
    theirs = scipy.ndimage.rotate(
        image.astype(np.float64), degrees, reshape=False, order=1, mode="grid-constant"
    )
    ours = rotate(jnp.asarray(image)[..., None], jnp.float32(degrees))[..., 0]
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_quarter_turn_is_counter_clockwise():
    image = jnp.asarray(RNG.random((7, 7, 3)), jnp.float32)
    np.testing.assert_allclose(rotate(image, jnp.float32(90)), np.rot90(image), atol=1e-5)


@pytest.mark.parametrize(("name", "axis"), [("flip", 2), ("vertical_flip", 1)])
def test_flips_turn_about_half_of_the_images(name, axis, getkey):
    out = np.asarray(augmentation.create((name,))(IMAGES, getkey()))
    turned = np.array(
        [np.array_equal(o, i) for o, i in zip(out, np.flip(IMAGES, axis), strict=True)]
    )
    kept = np.array([np.array_equal(o, i) for o, i in zip(out, IMAGES, strict=True)])
    assert (turned ^ kept).all()
    assert 16 <= turned.sum() <= 48  # 64 fair coins: four standard deviations.


def test_crop_moves_by_at_most_the_margin(getkey):
    out = np.asarray(augmentation.create(("crop",))(IMAGES, getkey()))
    padded = np.pad(IMAGES, ((0, 0), (2, 2), (2, 2), (0, 0)))
    offsets = []
    for image, candidates in zip(out, padded, strict=True):
        found = [
            (r, c)
            for r in range(5)
            for c in range(5)
            if np.array_equal(image, candidates[r : r + 16, c : c + 12])
        ]
        assert len(found) == 1
        offsets += found
    assert {r for r, _ in offsets} == {c for _, c in offsets} == set(range(5))


def test_rotation_stays_within_twenty_degrees(getkey):
    # A bar through the centre: its direction after rotation is the angle.
    image = np.zeros((41, 41, 1), np.float32)
    image[20, 22:] = 1
    out = np.asarray(augmentation.create(("rotation",))(np.stack([image] * 200), getkey()))[..., 0]
    y, x = np.mgrid[:41, :41] - 20.0
    angles = np.degrees(np.arctan2(-(out * y).sum((1, 2)), (out * x).sum((1, 2))))
    assert np.abs(angles).max() < 20.5
    assert angles.min() < -17
    assert angles.max() > 17


def test_resized_crop_of_ramps_shows_area_and_ratio(getkey):
    # Ramps along both axes: a crop of a ramp is a ramp with a smaller slope.
    side = 64
    ramp = np.arange(side, dtype=np.float32) / side
    image = np.stack(np.meshgrid(ramp, ramp, indexing="ij"), axis=-1)
    out = np.asarray(augmentation.create(("resized_crop",))(np.stack([image] * 300), getkey()))
    heights = (out[:, 40, 20, 0] - out[:, 20, 20, 0]) / 20 * side
    widths = (out[:, 20, 40, 1] - out[:, 20, 20, 1]) / 20 * side
    assert heights.max() <= 1 + 1e-4
    assert widths.max() <= 1 + 1e-4
    area, ratio = heights * widths, widths / heights
    assert area.max() <= 1 + 1e-3
    assert area.min() > np.sqrt(0.8 * 3 / 4) - 1e-3  # A side of 1 with the narrowest ratio.
    assert area.min() < 0.85
    assert ratio.min() >= 3 / 4 - 1e-3
    assert ratio.max() <= 4 / 3 + 1e-3
    assert out.min() >= 0
    assert out.max() <= ramp.max() + 1e-6  # Interpolation weights sum to 1 up to rounding.


def test_paper_augmentation_changes_every_image_differently(getkey):
    same = np.stack([IMAGES[0]] * 8)
    out = np.asarray(augmentation.paper_novel_augmentation(same, getkey()))
    assert out.shape == same.shape
    assert np.isfinite(out).all()
    assert len({image.tobytes() for image in out}) == 8


def test_composition_under_jit_and_vmap_gives_the_same_numbers(getkey):
    augment = augmentation.create(augmentation.names())
    keys = jax.random.split(getkey(), 3)
    images = jnp.asarray(IMAGES[:5])
    loop = jnp.stack([augment(images, key) for key in keys])
    mapped = jax.jit(jax.vmap(augment, in_axes=(None, 0)))(images, keys)
    np.testing.assert_allclose(loop, mapped, atol=1e-5)
    assert not np.allclose(loop[0], loop[1])


def test_no_names_change_nothing(getkey):
    np.testing.assert_array_equal(augmentation.create(())(IMAGES, getkey()), IMAGES)


def test_unknown_names_are_refused():
    with pytest.raises(DataError, match="did you mean 'rotation'"):
        augmentation.create(("flip", "rotatoin"))
