"""Networks trained elsewhere: parameters, the functions that read them, and their preprocessing."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from genjax import errors
from genjax.models.network import Network
from genjax.types import Params


class Preprocessing(NamedTuple):
    """What a network expects of its images, applied inside its `apply`.

    Images come as float32 in [0, 1], `[N, H, W, C]`. They are resized, then each channel becomes
    `(x - mean) / std`.

    Attributes:
        mean: one number per channel, or a single one; in units of [0, 1].
        std: the same.
        resize: (height, width) that images are resized to; None leaves them as they are.
        method: of `jax.image.resize`, e.g. "bilinear" or "cubic" (with antialiasing).
    """

    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    resize: tuple[int, int] | None = None
    method: str = "bilinear"


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
    if how.resize is not None and images.shape[1:3] != how.resize:
        shape = (images.shape[0], *how.resize, images.shape[3])
        images = jax.image.resize(images, shape, how.method)
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
