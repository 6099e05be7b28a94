"""Bilinear sampling of images at shifted positions."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def sample(
    image: Float[Array, "h w c"],
    rows: Float[Array, "out_h out_w"],
    columns: Float[Array, "out_h out_w"],
    *,
    mode: str = "constant",
) -> Float[Array, "out_h out_w c"]:
    """Read `image` at positions between its pixels, linearly interpolated.

    Args:
      image: one image.
      rows: row of every output pixel; 0 is the centre of the first row.
      columns: column of every output pixel.
      mode: what lies outside: `constant` is black, `nearest` the pixel at the edge.
    """

    def channel(plane: Array) -> Array:
        return jax.scipy.ndimage.map_coordinates(plane, [rows, columns], order=1, mode=mode)

    return jax.vmap(channel, in_axes=-1, out_axes=-1)(image)


def rotate(image: Float[Array, "h w c"], degrees: Float[Array, ""]) -> Float[Array, "h w c"]:
    """Rotate one image counter-clockwise about its centre; black comes in from outside.

    Example:
      >>> image = jnp.arange(9.0).reshape(3, 3, 1)
      >>> rotate(image, jnp.float32(90))[0, :, 0].round(4).tolist()
      [2.0, 5.0, 8.0]
    """
    height, width, _ = image.shape
    angle = jnp.deg2rad(degrees)
    y = jnp.arange(height)[:, None] - (height - 1) / 2
    x = jnp.arange(width)[None, :] - (width - 1) / 2
    rows = jnp.cos(angle) * y + jnp.sin(angle) * x + (height - 1) / 2
    columns = -jnp.sin(angle) * y + jnp.cos(angle) * x + (width - 1) / 2
    return sample(image, rows, columns)
