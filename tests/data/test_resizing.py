"""Resizing and centre crops against torchvision's `Resize` and `CenterCrop`, written with PIL."""

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from genjax import data, models
from genjax.data import Resizing, resizing
from genjax.errors import DataError, InvalidInputError
from genjax.models.foreign import preprocess

SIZES = [(375, 500), (500, 375), (333, 333), (227, 613), (90, 61), (225, 257)]


def photo(height, width, seed=0):
    """Smooth colours with edges: noise alone would hide a shift by one pixel."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (9, 11, 3), dtype=np.uint8))
    whole = np.array(small.resize((width, height), Image.Resampling.BICUBIC))
    whole[height // 3 : height // 2, width // 4 : width // 2] = rng.integers(0, 256, 3)
    return whole


def torchvision(image, short, crop, method=Image.Resampling.BILINEAR):
    """`Compose([Resize(short, method), CenterCrop(crop)])` of torchvision on a PIL image."""
    w, h = image.size
    size = (short, int(short * h / w)) if w < h else (int(short * w / h), short)
    image = image.resize(size, method)
    top, left = round((size[1] - crop) / 2.0), round((size[0] - crop) / 2.0)
    return image.crop((left, top, left + crop, top + crop))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("crop", [224, 0.875, (224, 224)])
@pytest.mark.parametrize("method", ["bilinear", "bicubic"])
def test_files_are_read_as_torchvision_does(size, crop, method):
    image = Image.fromarray(photo(*size))
    found = resizing.apply(Resizing(256, crop, method), image)
    expected = torchvision(image, 256, 224, resizing.METHODS[method])
    np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))
    assert resizing.output_size(Resizing(256, crop, method), size) == (224, 224)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("method", ["bilinear", "bicubic", "cubic"])
def test_inside_a_network_the_same_happens_but_for_rounding(size, method):
    pixels = photo(*size)
    how = models.Preprocessing((0.5, 0.4, 0.3), (0.2, 0.3, 0.4), 256, method, 224)
    found = preprocess(jnp.asarray(pixels[None] / 255, jnp.float32), how)[0]
    image = torchvision(Image.fromarray(pixels), 256, 224, resizing.METHODS[method])
    expected = (np.asarray(image) / 255 - np.array(how.mean)) / np.array(how.std)
    # Bytes are rounded after each of two passes; steps of the last are 1 / 255 / std.
    worst = np.abs(np.asarray(found) - expected).max((0, 1)) * np.array(how.std) * 255
    assert worst.max() <= 2.0
    shifted = np.roll(np.asarray(found), 1, axis=1)
    assert np.abs(shifted - expected).max() * 255 > 10, "a crop one pixel aside would show"


def test_sizes():
    assert resizing.resized(Resizing(), (5, 7)) == (5, 7)
    assert resizing.resized(Resizing(10), (7, 5)) == (14, 10)
    assert resizing.crop_box(Resizing(crop=(3, 4)), (6, 7)) == (2, 2, 3, 4)  # 1.5 to the even one
    assert resizing.crop_box(Resizing(crop=1.0), (6, 9)) == (0, 2, 6, 6)
    assert resizing.crop_box(Resizing(crop=1), (6, 9))[2:] == (1, 1), "a whole number is pixels"


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (Resizing(0), "resize: found 0"),
        (Resizing((8, 0)), "resize: found"),
        (Resizing(8, 0), "crop: found 0"),
        (Resizing(8, 1.5), "crop: found 1.5"),
        (Resizing(8, (2, 2, 2)), "crop: found"),  # pyright: ignore[reportArgumentType]
        (Resizing(8, 4, "bicubik"), "did you mean 'bicubic'"),
    ],
)
def test_refusals(how, message):
    with pytest.raises(InvalidInputError, match=message):
        resizing.check(how)
    with pytest.raises(InvalidInputError, match=message):
        models.from_function(
            lambda params, images: images.mean((1, 2)) @ params["w"],
            {"w": jnp.eye(3)},
            image_shape=(8, 8, 3),
            num_classes=3,
            preprocessing=models.Preprocessing(resize=how.resize, crop=how.crop, method=how.method),
        )


def test_a_crop_must_lie_within():
    with pytest.raises(InvalidInputError, match="found 9 by 9 pixels of an image that has 8 by 8"):
        resizing.output_size(Resizing(8, 9), (20, 20))


class TestFolder:
    def write(self, root, sizes):
        for label, size in enumerate(sizes):
            (root / str(label)).mkdir()
            Image.fromarray(photo(*size, seed=label)).save(root / str(label) / "photo.png")

    @pytest.mark.parametrize("stream", [False, True])
    def test_images_of_several_sizes(self, tmp_path, stream):
        sizes = [(40, 50), (60, 45), (33, 80), *[(40, 40)] * 9]
        self.write(tmp_path, sizes)
        how = Resizing(32, 28, "bicubic")
        found = data.load(f"folder:{tmp_path}", resizing=how, stream=stream)
        assert found.image_shape == (28, 28, 3)
        assert found.class_names[9:] == ("9", "10", "11"), "in the order of their numbers"
        for position in range(12):
            image = Image.fromarray(photo(*sizes[position], seed=position))
            expected = np.asarray(torchvision(image, 32, 28, Image.Resampling.BICUBIC)) / 255
            np.testing.assert_allclose(found.take([position]).images[0], expected, atol=1e-6)

    def test_refusals(self, tmp_path):
        self.write(tmp_path, [(40, 50), (60, 45)])
        with pytest.raises(DataError, match=r"45x60 pixels, the first image 50x40; .*Resizing\("):
            data.load(f"folder:{tmp_path}")
        with pytest.raises(DataError, match="32x42 pixels, the first image 40x32 after resizing"):
            data.load(f"folder:{tmp_path}", resizing=Resizing(32))
        with pytest.raises(DataError, match="cannot be resized: crop: found 99 by 99"):
            data.load(f"folder:{tmp_path}", resizing=Resizing(32, 99))
        with pytest.raises(InvalidInputError, match="resize: found -1"):
            data.load(f"folder:{tmp_path}", resizing=Resizing(-1))
        with pytest.raises(DataError, match="only those of folder are resized"):
            data.load("digits", resizing=Resizing(4))


@pytest.mark.peers
@pytest.mark.parametrize("size", [(80, 100), (100, 80), (77, 77)])
@pytest.mark.parametrize("kind", ["ConvNext", "ViT", "DeiT"])
def test_the_processors_of_transformers(kind, size):
    transformers = pytest.importorskip("transformers")
    processor = getattr(transformers, f"{kind}ImageProcessorPil")
    how, options = {
        "ConvNext": (Resizing(32, 28, "bicubic"), {"size": {"shortest_edge": 28}}),
        "ViT": (Resizing((28, 28)), {"size": {"height": 28, "width": 28}}),
        "DeiT": (
            Resizing((32, 32), 28, "bicubic"),
            {"size": {"height": 32, "width": 32}, "crop_size": {"height": 28, "width": 28}},
        ),
    }[kind]
    image = Image.fromarray(photo(*size))
    found = processor(do_normalize=False, **options)(image)["pixel_values"][0]
    expected = np.asarray(resizing.apply(how, image)) / 255
    np.testing.assert_allclose(np.transpose(found, (1, 2, 0)), expected, atol=1e-6)
