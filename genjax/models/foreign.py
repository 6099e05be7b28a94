"""Networks trained elsewhere: parameters, the functions that read them, and their preprocessing."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from genjax import errors
from genjax.data.resizing import Resizing, crop_box, resized
from genjax.models.network import Network
from genjax.types import Params


class Preprocessing(NamedTuple):
    """What a network expects of its images, applied inside its `apply`.

    Images come as float32 in [0, 1], `[N, H, W, C]`. They are resized, cropped around the centre,
    then each channel becomes `(x - mean) / std`.

    Attributes:
        mean: one number per channel, or a single one; in units of [0, 1].
        std: the same.
        resize: pixels of the shorter side, or (height, width); None leaves images as they are.
        method: of `genjax.data.resizing.METHODS`, with antialiasing; what cubic interpolation gives
            beyond [0, 1] is clipped, as where pixels are bytes.
        crop: pixels of a square, (height, width), or a fraction of the shorter side; None keeps
            all. See `genjax.data.Resizing`.
    """

    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    resize: int | tuple[int, int] | None = None
    method: str = "bilinear"
    crop: int | float | tuple[int, int] | None = None

    @property
    def resizing(self) -> Resizing:
        """Resizing and crop, for images that are resized as they are read."""
        return Resizing(self.resize, self.crop, self.method)


class ForeignNetwork(NamedTuple):
    """A network that was trained elsewhere, ready to be measured.

    Attributes:
        network: pure functions; `network.apply(params, images)` takes images in [0, 1] and does the
            preprocessing itself. It cannot be trained: `init` and `train_apply` refuse.
        params: one tree, normalisation folded in.
        preprocessing: what `apply` does to images first.
        unfolded: (parameters, statistics) as they were stored, before folding; None if the network
            came as a function.
        unused: keys of the file that no parameter took, e.g. counters.
    """

    network: Network
    params: Params
    preprocessing: Preprocessing
    unfolded: tuple[Params, Params] | None = None
    unused: tuple[str, ...] = ()


def preprocess(images: Any, how: Preprocessing) -> Any:
    """Return images as the network wants them.

    Args:
        images: float32 in [0, 1], `[N, H, W, C]`.
        how: what to do.

    Example:
        >>> images = jnp.full((1, 4, 4, 1), 0.75)
        >>> how = Preprocessing((0.5,), (0.25,), resize=(2, 2))
        >>> preprocess(images, how)[0, :, :, 0].round(3).tolist()
        [[1.0, 1.0], [1.0, 1.0]]
    """
    size = resized(how.resizing, images.shape[1:3])
    if images.shape[1:3] != size:
        shape = (images.shape[0], *size, images.shape[3])
        images = jnp.clip(jax.image.resize(images, shape, how.method), 0, 1)
    top, left, rows, columns = crop_box(how.resizing, size)
    images = images[:, top : top + rows, left : left + columns]
    mean, std = (jnp.asarray(values, jnp.float32).reshape(1, 1, 1, -1) for values in how[:2])
    return (images - mean) / std


def measured_only(
    name: str,
    *,
    family: str,
    options: Mapping[str, Any],
    image_shape: tuple[int, int, int],
    num_classes: int,
    apply: Callable[[Params, Any], Any],
    taps: Callable[[Params, Any], dict[str, Any]],
    preprocessing: Preprocessing,
) -> Network:
    """Return a `Network` that can be evaluated but not trained.

    Args:
        name: what to call it.
        family: networks of one family are compared as sizes of one another.
        options: what it was made with, for the record.
        image_shape: (height, width, channels) of the images as they come, before resizing.
        num_classes: number of outputs.
        apply: `(params, preprocessed images) -> logits`.
        taps: `(params, preprocessed images) -> activations`, `features` the last.
        preprocessing: put in front of both.
    """

    def refuse(*_, **__):
        raise errors.InvalidInputError(
            f"network '{name}': it was trained elsewhere and cannot be trained or initialised here."
        )

    return Network(
        name=name,
        family=family,
        options=dict(options),
        image_shape=image_shape,
        num_classes=num_classes,
        init=refuse,
        train_apply=refuse,
        fold=refuse,
        apply=lambda params, images: apply(params, preprocess(images, preprocessing)),
        taps=lambda params, images: taps(params, preprocess(images, preprocessing)),
    )
