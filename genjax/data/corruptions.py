"""Corruptions of images, each with one continuous strength from 0 (untouched) to 1."""

import math
from collections.abc import Callable
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from genjax.data.geometry import rotate
from genjax.errors import ShiftError

Strength = Float[Array | np.ndarray, ""] | float | int

# Luminance quantisation of JPEG (ITU-T T.81, Annex K, table K.1), steps of the 8-bit scale.
JPEG_LUMINANCE = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
)


class ApplyShift(Protocol):
    """Apply a shift: pure, and fit for jit and vmap."""

    def __call__(
        self,
        images: Float[Array | np.ndarray, "n h w c"],
        strength: Strength,
        key: PRNGKeyArray,
    ) -> Float[Array, "n h w c"]:
        """Return the shifted images."""
        ...


class Shift(NamedTuple):
    """A change of the input distribution with a strength.

    Attributes:
      name: as `genjax.data.shifts.create` knows it.
      apply: `(images [N, H, W, C], strength in [0, 1], key) -> images`, all in [0, 1]; strength 0
        returns the images themselves, and with one key the same noise serves every strength.
    """

    name: str
    apply: ApplyShift


def from_function(name: str, change: Callable[[Array, Array, PRNGKeyArray], Array]) -> Shift:
    """Make a shift of `change(images, strength, key)`: clipped to [0, 1], untouched at strength 0.

    Example:
      >>> darken = from_function("darken", lambda images, strength, key: images * (1 - strength))
      >>> darken.apply(jnp.ones((1, 2, 2, 1)), 0.25, jax.random.key(0)).mean().item()
      0.75
    """

    def apply(
        images: Float[Array | np.ndarray, "n h w c"], strength: Strength, key: PRNGKeyArray
    ) -> Float[Array, "n h w c"]:
        images = jnp.asarray(images)
        strength = jnp.asarray(strength, images.dtype)
        changed = jnp.clip(change(images, strength, key), 0, 1)
        return jnp.where(strength > 0, changed, images)

    return Shift(name, apply)


def _positive(option: str, value: float | int, high: float = math.inf) -> float:
    if not 0 < value <= high:
        raise ShiftError(f"{option}: found {value}; allowed are numbers > 0 up to {high:g}.")
    return float(value)


def _along_height_and_width(images: Array, rows: Array, columns: Array) -> Array:
    """Multiply every image plane by a matrix from both sides."""
    precision = jax.lax.Precision.HIGHEST
    return jnp.einsum("ih,nhwc,jw->nijc", rows, images, columns, precision=precision)


def gaussian_noise(*, max_sigma: float | int = 1.0) -> Shift:
    """Add independent normal noise of standard deviation `strength * max_sigma`."""
    max_sigma = _positive("max_sigma", max_sigma)

    def change(images: Array, strength: Array, key: PRNGKeyArray) -> Array:
        noise = jax.random.normal(key, images.shape, images.dtype)
        return images + strength * max_sigma * noise

    return from_function("gaussian_noise", change)


def gaussian_blur(*, max_sigma: float | int = 0.5) -> Shift:
    """Blur by a Gaussian of standard deviation `strength * max_sigma * max(H, W)` pixels.

    The weights are renormalised at the edges, so that flat images stay flat.
    """
    max_sigma = _positive("max_sigma", max_sigma)

    def weights(length: int, sigma: Array) -> Array:
        distance = jnp.arange(length)[:, None] - jnp.arange(length)[None, :]
        kernel = jnp.exp(-0.5 * (distance / jnp.maximum(sigma, 1e-6)) ** 2)
        return kernel / kernel.sum(axis=1, keepdims=True)

    def change(images: Array, strength: Array, key: PRNGKeyArray) -> Array:
        del key
        height, width = images.shape[1:3]
        sigma = strength * max_sigma * max(height, width)
        return _along_height_and_width(images, weights(height, sigma), weights(width, sigma))

    return from_function("gaussian_blur", change)


def _cosine_matrix() -> np.ndarray:
    """Orthonormal 8-point DCT-II, one basis vector per row."""
    frequency, position = np.arange(8)[:, None], np.arange(8)[None, :]
    basis = np.cos(np.pi * (2 * position + 1) * frequency / 16) / 2
    basis[0] /= math.sqrt(2)
    return basis


def jpeg(*, max_scale: float | int = 50.0) -> Shift:
    """Quantise the 8x8 discrete cosine transform as JPEG does, without its entropy coding.

    Every channel is padded at its edge to a multiple of 8, transformed in 8x8 blocks, and the
    coefficients rounded to multiples of `strength^2 * max_scale` times the luminance table of
    ITU-T T.81, Annex K; JPEG's quality 50 is a scale of 1, quality 1 one of 50. Unlike JPEG,
    colours are not transformed, steps are not limited to 255, pixels are not rounded, and there
    is no level shift: black blocks stay black, where their common rounding would make the SSIM
    of images with a black background jump.
    """
    max_scale = _positive("max_scale", max_scale)
    table = JPEG_LUMINANCE / 255

    def change(images: Array, strength: Array, key: PRNGKeyArray) -> Array:
        del key
        count, height, width, channels = images.shape
        rows, columns = -(-height // 8), -(-width // 8)
        margins = ((0, 0), (0, rows * 8 - height), (0, columns * 8 - width), (0, 0))
        padded = jnp.pad(images, margins, mode="edge")
        blocks = padded.reshape(count, rows, 8, columns, 8, channels)
        cosine = jnp.asarray(_cosine_matrix(), images.dtype)
        precision = jax.lax.Precision.HIGHEST
        coefficients = jnp.einsum(
            "ui,nripjc,vj->nrupvc", cosine, blocks, cosine, precision=precision
        )
        scale = jnp.maximum(strength**2 * max_scale, 1e-6)
        steps = (scale * jnp.asarray(table, images.dtype))[None, None, :, None, :, None]
        rounded = jnp.round(coefficients / steps) * steps
        restored = jnp.einsum("ui,nrupvc,vj->nripjc", cosine, rounded, cosine, precision=precision)
        return restored.reshape(padded.shape)[:, :height, :width]

    return from_function("jpeg", change)


def _cell_means(length: int, cell: int) -> np.ndarray:
    """The matrix that replaces every pixel by the mean of its cell of `cell` pixels."""
    index = np.arange(length) // cell
    same = index[:, None] == index[None, :]
    return same / same.sum(axis=1, keepdims=True)


def pixelate() -> Shift:
    """Replace square cells of 1, 2, 4, 8 ... pixels by their means.

    `strength` walks through the sizes up to the whole image; between two sizes the two images
    are mixed in proportion, so that the strength is continuous.
    """

    def change(images: Array, strength: Array, key: PRNGKeyArray) -> Array:
        del key
        height, width = images.shape[1:3]
        last = max(1, math.ceil(math.log2(max(height, width))))
        rows, columns = (
            jnp.asarray([_cell_means(length, 2**i) for i in range(last + 1)], images.dtype)
            for length in (height, width)
        )
        place = strength * last
        fine = jnp.clip(jnp.floor(place).astype(int), 0, last - 1)
        share = place - fine
        finer = _along_height_and_width(images, rows[fine], columns[fine])
        coarser = _along_height_and_width(images, rows[fine + 1], columns[fine + 1])
        return (1 - share) * finer + share * coarser

    return from_function("pixelate", change)


def contrast() -> Shift:
    """Shrink the distance of every pixel to the mean of its image by `1 - strength`."""

    def change(images: Array, strength: Array, key: PRNGKeyArray) -> Array:
        del key
        mean = jnp.mean(images, axis=(1, 2, 3), keepdims=True)
        return mean + (1 - strength) * (images - mean)

    return from_function("contrast", change)


def occlusion(*, fill: float | int = 0.5) -> Shift:
    """Cover a rectangle of `strength` times the height and the width by the grey value `fill`.

    Its place is random and fixed per image: with the strength it grows around its place until it
    covers the whole image. Pixels at its border are covered in part.
    """
    if not 0 <= fill <= 1:
        raise ShiftError(f"fill: found {fill}; allowed are grey values from 0 to 1.")

    def cover(length: int, place: Array, strength: Array) -> Array:
        """Covered share of each pixel `[n, length]`."""
        start = (place * (1 - strength) * length)[:, None]
        pixel = jnp.arange(length)[None, :]
        stop = start + strength * length
        return jnp.clip(jnp.minimum(stop, pixel + 1) - jnp.maximum(start, pixel), 0, 1)

    def change(images: Array, strength: Array, key: PRNGKeyArray) -> Array:
        count, height, width, _ = images.shape
        place = jax.random.uniform(key, (2, count), images.dtype)
        rows, columns = cover(height, place[0], strength), cover(width, place[1], strength)
        covered = rows[:, :, None, None] * columns[:, None, :, None]
        return images + covered * (fill - images)

    return from_function("occlusion", change)


def rotation(*, max_degrees: float | int = 180.0) -> Shift:
    """Rotate by `strength * max_degrees`, each image clockwise or counter-clockwise at random.

    Bilinear, black comes in from outside.
    """
    max_degrees = _positive("max_degrees", max_degrees, 180.0)

    def change(images: Array, strength: Array, key: PRNGKeyArray) -> Array:
        sign = jax.random.rademacher(key, (images.shape[0],), images.dtype)
        return jax.vmap(rotate)(images, sign * strength * max_degrees)

    return from_function("rotation", change)
