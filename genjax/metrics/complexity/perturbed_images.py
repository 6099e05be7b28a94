"""Changed images that margins, accuracies and penalties are computed on; pure, [N, H, W, C].

The changes are those of the programs that took part in the NeurIPS 2020 competition on predicting
generalization, read off their code; images are in [0, 1].
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from genjax.data.geometry import sample
from genjax.types import Key


class PenalisedChange(NamedTuple):
    """A change of images and the penalty for a class that does not survive it.

    Attributes:
        name: of the change.
        weight: penalty of an example whose predicted class changes.
        apply: `(images, key) -> images`.
    """

    name: str
    weight: float
    apply: Callable[[Any, Key], Any]


def flipped(images: Any) -> Any:
    """Return images mirrored left to right."""
    return images[:, :, ::-1]


def saturated(images: Any, factors: Any) -> Any:
    """Return images with the saturation of HSV multiplied, cut off at 1.

    Hue and value stay: a channel x becomes `V - (V - x) S' / S`, with V the largest channel,
    `S = (V - min) / V` and `S' = min(factor S, 1)`. Images that have not three channels have no
    saturation and stay as they are.

    Args:
        images: [N, H, W, C].
        factors: [N].

    Example:
        >>> saturated(jnp.array([[[[1.0, 0.75, 0.5]]]]), jnp.array([1.5])).ravel().tolist()
        [1.0, 0.625, 0.25]
    """
    if images.shape[-1] != 3:
        return images
    top = jnp.max(images, axis=-1, keepdims=True)
    spread = top - jnp.min(images, axis=-1, keepdims=True)
    saturation = spread / jnp.where(top > 0, top, 1.0)
    grown = jnp.minimum(factors[:, None, None, None] * saturation, 1.0)
    return top - (top - images) * grown / jnp.where(saturation > 0, saturation, 1.0)


def centre_cropped(images: Any, fraction: float = 0.9) -> Any:
    """Return the central part, enlarged to the whole by bilinear interpolation.

    `int((H - fraction H) / 2)` rows are cut on each side, and columns alike: none of an image of
    fewer than 20 rows at 0.9.

    Example:
        >>> centre_cropped(jnp.ones((1, 20, 20, 1)).at[:, 0].set(0.0)).min().tolist()
        1.0
    """
    height, width = images.shape[1:3]
    rows, columns = (int((side - fraction * side) / 2) for side in (height, width))
    part = images[:, rows : height - rows, columns : width - columns]
    return jax.image.resize(part, images.shape, "bilinear", antialias=False)


def horizontal_edges(images: Any) -> Any:
    """Return the horizontal Sobel derivative of every channel, over 4, plus 1/2.

    Borders are mirrored without repeating the edge.

    Example:
        >>> horizontal_edges(jnp.ones((1, 4, 4, 1))).max().tolist()
        0.5
    """
    padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
    smooth = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    return (smooth[:, :, 2:] - smooth[:, :, :-2]) / 4 + 0.5


def erased(images: Any, key: Key) -> Any:
    """Return images with a black rectangle each.

    Its sides are uniform integers from `round(sqrt(.02 * .3 H W))` to below
    `min(round(sqrt(.4 H W / .3)), side)`, its place uniform.

    Example:
        >>> changed = erased(jnp.ones((3, 8, 8, 1)), jax.random.key(0))
        >>> bool((changed.sum(axis=(1, 2, 3)) < 64).all())
        True
    """
    count, height, width, _ = images.shape
    low = max(1, round(float(np.sqrt(0.02 * height * width * 0.3))))
    reach = round(float(np.sqrt(0.4 * height * width / 0.3)))

    def inside(key, side):
        size_key, place_key = jax.random.split(key)
        size = jax.random.randint(size_key, (count, 1), low, max(low + 1, min(reach, side)))
        start = jax.random.randint(place_key, (count, 1), 0, jnp.maximum(side - size, 1))
        places = jnp.arange(side)[None]
        return (places >= start) & (places < start + size)

    row_key, column_key = jax.random.split(key)
    rows, columns = inside(row_key, height), inside(column_key, width)
    return jnp.where(rows[:, :, None, None] & columns[:, None, :, None], 0.0, images)


def contrasted(images: Any, factors: Any) -> Any:
    """Return images whose distance from the mean of each channel is multiplied.

    Args:
        images: [N, H, W, C].
        factors: [N].

    Example:
        >>> contrasted(jnp.array([[[[0.0], [1.0]]]]), jnp.array([0.5])).ravel().tolist()
        [0.25, 0.75]
    """
    means = jnp.mean(images, axis=(1, 2), keepdims=True)
    return (images - means) * factors[:, None, None, None] + means


def zoomed(images: Any, scales: Any) -> Any:
    """Return the central part of each image, enlarged to the whole; corners go to corners.

    Args:
        images: [N, H, W, C].
        scales: [N], share of the sides that is kept.

    Example:
        >>> zoomed(jnp.arange(3.0).reshape(1, 1, 3, 1), jnp.array([0.5])).ravel().tolist()
        [0.5, 1.0, 1.5]
    """
    middle = [(side - 1) / 2 for side in images.shape[1:3]]
    grid = jnp.meshgrid(*(jnp.arange(side) for side in images.shape[1:3]), indexing="ij")
    offsets = [places - centre for places, centre in zip(grid, middle, strict=True)]

    def one(image, scale):
        rows, columns = (scale * o + m for o, m in zip(offsets, middle, strict=True))
        return sample(image, rows, columns, mode="nearest")

    return jax.vmap(one)(images, scales)


def augmented(images: Any, key: Key) -> Any:
    """Return images mirrored, with less contrast, and enlarged, at random and each on its own.

    Mirrored with probability 1/2; contrast multiplied by a uniform number in [0.7, 1]; with
    probability 1/2 the central 0.85, 0.86, ... or 1 of the sides enlarged to the whole.

    Example:
        >>> augmented(jnp.ones((2, 8, 8, 1)), jax.random.key(0)).shape
        (2, 8, 8, 1)
    """
    count = images.shape[0]
    keys = jax.random.split(key, 4)
    mirror = jax.random.bernoulli(keys[0], shape=(count, 1, 1, 1))
    images = jnp.where(mirror, flipped(images), images)
    factors = jax.random.uniform(keys[1], (count,), minval=0.7, maxval=1.0)
    images = contrasted(images, factors)
    scales = 0.85 + 0.01 * jax.random.randint(keys[2], (count,), 0, 16)
    return zoomed(images, jnp.where(jax.random.bernoulli(keys[3], shape=(count,)), scales, 1.0))


def _saturated_at_random(images: Any, key: Key) -> Any:
    factors = jax.random.uniform(key, (images.shape[0],), minval=0.6, maxval=1.6)
    return saturated(images, factors)


PENALISED_CHANGES = (
    PenalisedChange("flip", 6.0, lambda images, key: flipped(images)),
    PenalisedChange("saturation", 1.0, _saturated_at_random),
    PenalisedChange("crop", 2.0, lambda images, key: centre_cropped(images)),
    PenalisedChange("sobel", 3.0, lambda images, key: horizontal_edges(images)),
    # Not cut off at 1, as in the code it comes from.
    PenalisedChange("brightness", 1.0, lambda images, key: images + 0.5),
    PenalisedChange(
        "flip_saturation", 12.0, lambda images, key: _saturated_at_random(flipped(images), key)
    ),
    PenalisedChange("erase", 2.0, erased),
)
"""Of the second place of the competition, with its weights."""
