"""Logits of a whole stack of networks, as one program."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int

from genjax.data import Examples
from genjax.errors import InvalidInputError
from genjax.training import TrainedGroup, execution
from genjax.training.segment import DIVERGED

CHUNK = 1024
"""Images that a network takes at once."""


def group_logits(
    group: TrainedGroup,
    images: Float[np.ndarray, "examples height width channels"],
    own: Int[np.ndarray, "networks chosen"] | None = None,
) -> Float[np.ndarray, "networks chosen classes"]:
    """Return the logits of every network on the same images, or each on its own ones.

    Args:
        group: R trained networks.
        images: in the form that the networks take.
        own: positions of the images of each network; None: all images for all networks.

    Returns:
        float32 `[R, N, C]`; not finite where the numbers of a network are not.

    Raises:
        InvalidInputError: images of another shape than the network's, positions outside of them.

    Example:
        >>> from genjax import data, models
        >>> from genjax.training import TrainingConfig
        >>> from genjax.training.resamples import Own, train_resamples
        >>> digits = data.load("digits")
        >>> mlp = models.create("mlp", image_shape=(8, 8, 1), num_classes=10, widths=(4,))
        >>> rules = TrainingConfig(max_steps=2, record_every=2, stop="steps")
        >>> keys = jax.random.split(jax.random.key(0), 2)
        >>> group = train_resamples(mlp, rules, digits, Own(np.arange(80).reshape(2, 40)), keys)
        >>> group_logits(group, digits.images[:30]).shape
        (2, 30, 10)
    """
    network = group.network
    if tuple(images.shape[1:]) != tuple(network.image_shape) or not len(images):
        raise InvalidInputError(
            f"images: found shape {images.shape}; at least one image of shape "
            f"{tuple(network.image_shape)} is needed for {network.name}."
        )
    count = len(group.seeds)
    if own is not None and (
        len(own) != count or not own.size or own.min() < 0 or own.max() >= len(images)
    ):
        raise InvalidInputError(
            f"own: found shape {own.shape}; positions of 0 to {len(images) - 1}, a row for each of "
            f"the {count} networks, are needed."
        )
    form = execution.choose(networks=count)
    stacked = (group.params,) if own is None else (group.params, np.asarray(own, np.int32))
    program = _program(network.apply, form, len(stacked))
    found = program(np.asarray(images, np.float32), *execution.filled(stacked, count, form))
    return execution.cut(found, count)


def group_errors(group: TrainedGroup, examples: Examples) -> Float[np.ndarray, " networks"]:
    """Return the 0-1 error of every network; NaN of those that diverged.

    A diverged network keeps the last parameters that were finite: its logits alone do not tell.

    Example:
        >>> from genjax import data, models
        >>> from genjax.training import TrainingConfig
        >>> from genjax.training.resamples import Own, train_resamples
        >>> digits = data.load("digits")
        >>> mlp = models.create("mlp", image_shape=(8, 8, 1), num_classes=10, widths=(4,))
        >>> rules = TrainingConfig(max_steps=2, record_every=2, stop="steps")
        >>> keys = jax.random.split(jax.random.key(0), 2)
        >>> group = train_resamples(mlp, rules, digits, Own(np.arange(80).reshape(2, 40)), keys)
        >>> group_errors(group, digits.take(range(30))).shape
        (2,)
    """
    logits = group_logits(group, examples.images)
    wrong = (logits.argmax(axis=-1) != examples.labels).mean(axis=-1)
    alive = (group.status != DIVERGED) & np.isfinite(logits).all(axis=(1, 2))
    return np.where(alive, wrong, np.nan)


@functools.lru_cache(maxsize=8)
def _program(apply: Callable[..., Any], form: execution.Execution, stacked: int) -> Any:
    def logits(images, params, own=None):
        chosen = images if own is None else images[own]
        # Chunks bound the memory of activations; the last one is as long as what is left.
        parts = [
            apply(params, chosen[first : first + CHUNK]) for first in range(0, len(chosen), CHUNK)
        ]
        return jax.numpy.concatenate(parts)

    return execution.spread(logits, form, shared=1, stacked=stacked)
