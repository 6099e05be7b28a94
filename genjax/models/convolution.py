"""Convolutions whose gradients stay fast inside compiled loops on CPU.

Inside the body of a `lax.scan` or `lax.map`, XLA:CPU uses its fast kernel only for convolutions in
canonical layout (input NHWC, kernel HWIO, output NHWC); anything else falls back to a naive loop
(jax issue 12868). The forward pass is canonical; the two gradients that autodiff emits are not.
`canonical` computes the same convolution with both gradients written as canonical convolutions.
cuDNN and TPU want the `plain` form. `widened` is `canonical` with a forward pass that is faster
where there are few channels: for measuring large sets, not for training.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

_LAYOUT = ("NHWC", "HWIO", "NHWC")
FORMS = ("plain", "canonical", "widened")

Padding = Sequence[tuple[int, int]]


def for_backend(backend: str | None = None, *, measuring: bool = False) -> str:
    """Return the form that is fastest on `backend` (default: the one in use).

    Args:
        backend: e.g. "cpu".
        measuring: the network is only evaluated, never trained.

    Example:
        >>> for_backend("gpu")
        'plain'
    """
    if (backend or jax.default_backend()) != "cpu":
        return "plain"
    return "widened" if measuring else "canonical"


def _convolve(images, kernel, strides, padding, lhs_dilation=(1, 1), rhs_dilation=(1, 1)):
    return lax.conv_general_dilated(
        images,
        kernel,
        strides,
        padding,
        lhs_dilation=lhs_dilation,
        rhs_dilation=rhs_dilation,
        dimension_numbers=_LAYOUT,
    )


def _neighbours(kernel, strides) -> int:
    """Return how many neighbours in a row to compute at once; 1 where that does not pay."""
    inputs, outputs = kernel.shape[2:]
    count = 4 if inputs <= 4 else 2
    pays = outputs <= 16 and strides[1] == 1 and kernel.shape[1] > 1
    return count if pays else 1


def _convolve_widened(images, kernel, strides, padding):
    """Compute r neighbours in a row as r times the output channels, at stride r.

    The kernel is laid r times into a window that is r - 1 wider, once per neighbour. That is more
    products, but few channels leave most of the processor's vectors idle: with 16 channels this
    takes 2/3 of the time, with 3 input channels a quarter (measured).
    """
    r = _neighbours(kernel, strides)
    if r == 1:
        return _convolve(images, kernel, strides, padding)
    shifted = [jnp.pad(kernel, ((0, 0), (i, r - 1 - i), (0, 0), (0, 0))) for i in range(r)]
    low, high = padding[1]
    extra = -(images.shape[2] + low + high - kernel.shape[1] + 1) % r
    wide = _convolve(
        images,
        jnp.concatenate(shifted, axis=-1),
        (strides[0], r),
        (padding[0], (low, high + extra)),
    )
    n, height, width, _ = wide.shape
    return wide.reshape(n, height, width * r, -1)[:, :, : width * r - extra]


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def canonical(images, kernel, strides: tuple[int, int], padding: Padding, widened: bool = False):
    """Convolve `images` [N,H,W,C] with `kernel` [h,w,C,O], gradients in canonical layout.

    With `widened` the forward pass computes neighbours together where there are few channels.

    Reverse-mode only: a `custom_vjp` has no forward derivative; use the plain form for `jax.jvp`.

    Example:
        >>> import jax.numpy as jnp
        >>> images, kernel = jnp.ones((1, 4, 4, 1)), jnp.ones((3, 3, 1, 2))
        >>> canonical(images, kernel, (1, 1), ((1, 1), (1, 1))).shape
        (1, 4, 4, 2)
    """
    convolve = _convolve_widened if widened else _convolve
    return convolve(images, kernel, strides, padding)


def _forward(images, kernel, strides, padding, widened):
    return canonical(images, kernel, strides, padding, widened), (images, kernel)


def _backward(strides, padding, widened, residuals, gradient):
    del widened
    images, kernel = residuals
    side = images.shape[1:3]
    window = kernel.shape[:2]
    spread = [(n - 1) * s + 1 for n, s in zip(gradient.shape[1:3], strides, strict=True)]

    before = [w - 1 - low for w, (low, _) in zip(window, padding, strict=True)]
    after = [n + w - 1 - o - b for n, w, o, b in zip(side, window, spread, before, strict=True)]
    flipped = kernel[::-1, ::-1].swapaxes(2, 3)
    pads = tuple(zip(before, after, strict=True))
    image_gradient = _convolve(gradient, flipped, (1, 1), pads, lhs_dilation=strides)

    # The batch becomes the contracted channel: [C,H,W,N] * [Ho,Wo,N,O] -> [C,h,w,O].
    low = [p[0] for p in padding]
    high = [o - n + w - 1 - p for o, n, w, p in zip(spread, side, window, low, strict=True)]
    kernel_gradient = _convolve(
        images.transpose(3, 1, 2, 0),
        gradient.transpose(1, 2, 0, 3),
        (1, 1),
        tuple(zip(low, high, strict=True)),
        rhs_dilation=strides,
    )
    return image_gradient, kernel_gradient.transpose(1, 2, 0, 3)


canonical.defvjp(_forward, _backward)


def depthwise(images, kernel, padding: Padding):
    """Convolve every channel of `images` [N,H,W,C] by its own `kernel` [h,w,1,C], at stride 1.

    A sum of shifted products: XLA:CPU has no fast kernel for this convolution and takes ten times
    as long (7x7, measured).

    Example:
        >>> depthwise(jnp.ones((1, 4, 4, 2)), jnp.ones((3, 3, 1, 2)), ((1, 1), (1, 1)))[0, 0, 0]
        Array([4., 4.], dtype=float32)
    """
    padded = jnp.pad(images, ((0, 0), *padding, (0, 0)))
    rows, columns = kernel.shape[:2]
    height, width = padded.shape[1] - rows + 1, padded.shape[2] - columns + 1
    return sum(
        padded[:, i : i + height, j : j + width] * kernel[None, i, None, j]
        for i in range(rows)
        for j in range(columns)
    )


def as_flax(form: str) -> Callable[..., Any]:
    """Return a convolution for `flax.linen.Conv(conv_general_dilated=...)` in the given form.

    Example:
        >>> import flax.linen as nn
        >>> layer = nn.Conv(4, (3, 3), conv_general_dilated=as_flax("canonical"))
    """
    if form == "plain":
        return lax.conv_general_dilated

    def convolve(lhs, rhs, window_strides, padding, **options):
        groups = options.get("feature_group_count", 1)
        undilated = all(
            d in (1, None)
            for name in ("lhs_dilation", "rhs_dilation")
            for d in (options.get(name) or (1,))
        )
        own = groups == lhs.shape[-1] == rhs.shape[-1] and set(window_strides) == {1}
        if not ((groups == 1 or own) and undilated and lhs.ndim == 4):
            return lax.conv_general_dilated(lhs, rhs, window_strides, padding, **options)
        if isinstance(padding, str):
            padding = lax.padtype_to_pads(lhs.shape[1:3], rhs.shape[:2], window_strides, padding)
        pads = tuple((low, high) for low, high in padding)
        if groups > 1:
            return depthwise(lhs, rhs, pads)
        return canonical(lhs, rhs, tuple(window_strides), pads, form == "widened")

    return convolve
