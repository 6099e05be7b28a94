"""Random changes of training images that keep their labels; pure, for use under jit and vmap."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from genjax.data.geometry import rotate, sample
from genjax.errors import DataError, suggest

_Image = Float[Array, "h w c"]
Augment = Callable[[Float[Array | np.ndarray, "n h w c"], PRNGKeyArray], Float[Array, "n h w c"]]


def _flip(image: _Image, key: PRNGKeyArray) -> _Image:
    return jnp.where(jax.random.bernoulli(key), image[:, ::-1], image)


def _vertical_flip(image: _Image, key: PRNGKeyArray) -> _Image:
    return jnp.where(jax.random.bernoulli(key), image[::-1], image)


def _crop(image: _Image, key: PRNGKeyArray) -> _Image:
    """Pad by an eighth of the height with black, then cut the old size at random."""
    height, _, channels = image.shape
    margin = max(1, height // 8)
    padded = jnp.pad(image, ((margin, margin), (margin, margin), (0, 0)))
    row, column = jax.random.randint(key, (2,), 0, 2 * margin + 1)
    return jax.lax.dynamic_slice(padded, (row, column, 0), (*image.shape[:2], channels))


def _rotation(image: _Image, key: PRNGKeyArray) -> _Image:
    return rotate(image, jax.random.uniform(key, minval=-20.0, maxval=20.0))


def _resized_crop(image: _Image, key: PRNGKeyArray) -> _Image:
    """Cut a part of .8 to 1 of the area with aspect ratio .75 to 1.33, resize it to the whole.

    As RandomResizedCrop of torchvision, except that a side longer than the image is shortened to
    it (torchvision draws again), and that the part need not begin at a pixel.
    """
    height, width, _ = image.shape
    area_key, ratio_key, place_key = jax.random.split(key, 3)
    area = jax.random.uniform(area_key, minval=0.8, maxval=1.0)
    low, high = np.log(3 / 4), np.log(4 / 3)
    ratio = jnp.exp(jax.random.uniform(ratio_key, minval=low, maxval=high))
    part_height = jnp.minimum(jnp.sqrt(area / ratio), 1.0) * height
    part_width = jnp.minimum(jnp.sqrt(area * ratio), 1.0) * width
    place = jax.random.uniform(place_key, (2,))
    rows = place[0] * (height - part_height) + (jnp.arange(height) + 0.5) * part_height / height
    columns = place[1] * (width - part_width) + (jnp.arange(width) + 0.5) * part_width / width
    grid = jnp.meshgrid(rows - 0.5, columns - 0.5, indexing="ij")
    return sample(image, grid[0], grid[1], mode="nearest")


_REGISTRY: dict[str, Callable[[_Image, PRNGKeyArray], _Image]] = {
    "flip": _flip,
    "vertical_flip": _vertical_flip,
    "crop": _crop,
    "rotation": _rotation,
    "resized_crop": _resized_crop,
}


def names() -> tuple[str, ...]:
    """Return the names that `create` knows.

    Example:
      >>> "flip" in names()
      True
    """
    return tuple(_REGISTRY)


def create(names: tuple[str, ...]) -> Augment:
    """Return `augment(images, key)`, which applies the named changes in order.

    Every image draws its own random numbers.

    Args:
      names: any of `flip` (left-right, probability 1/2), `vertical_flip` (up-down, 1/2), `crop`
        (pad by max(1, H // 8) with black, cut the old size at random), `rotation` (uniform in
        -20 to 20 degrees, bilinear, black outside), `resized_crop` (.8 to 1 of the area, aspect
        ratio .75 to 1.33, resized to the whole).

    Raises:
      DataError: an unknown name.

    Example:
      >>> augment = create(("flip", "crop"))
      >>> augment(jnp.zeros((5, 8, 8, 1)), jax.random.key(0)).shape
      (5, 8, 8, 1)
    """
    for name in names:
        if name not in _REGISTRY:
            raise DataError(suggest("augmentation", name, list(_REGISTRY)))
    changes = [_REGISTRY[name] for name in names]

    def augment_one(image: _Image, key: PRNGKeyArray) -> _Image:
        for i, change in enumerate(changes):
            image = change(image, jax.random.fold_in(key, i))
        return image

    def augment(
        images: Float[Array | np.ndarray, "n h w c"], key: PRNGKeyArray
    ) -> Float[Array, "n h w c"]:
        return jax.vmap(augment_one)(jnp.asarray(images), jax.random.split(key, images.shape[0]))

    return augment


paper_novel_augmentation: Augment = create(("flip", "vertical_flip", "rotation", "resized_crop"))
"""What the practical-metric paper does to the test images of novel classes (and to no others):
flips in both directions, rotation by up to 20 degrees, resized crop."""
