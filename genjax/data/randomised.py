"""Labels and images made random, step by step: what a network fits that holds nothing to learn.

The randomisation tests of Zhang, Bengio, Hardt, Recht and Vinyals, Understanding deep learning
requires rethinking generalization (ICLR 2017), Sec 2.1.
"""

from typing import Any

import numpy as np
from jaxtyping import Float, Int

from genjax.errors import InvalidInputError, suggest

INPUTS = ("as they are", "shuffled pixels", "random pixels", "gaussian")
"""Forms of images, of which each keeps less of them."""


def corrupted_labels(
    labels: Int[np.ndarray, " examples"], share: float | int, num_classes: int, *, seed: int
) -> Int[np.ndarray, " examples"]:
    """Return labels each of which, with probability `share`, is drawn uniformly from all classes.

    At 1 they tell nothing of the images, and still one of C is right by chance.

    Args:
        labels: integers `[N]`.
        share: probability of a draw, in [0, 1].
        num_classes: C.
        seed: of the draws.

    Raises:
        InvalidInputError: a share outside [0, 1].

    Example:
        >>> corrupted_labels(np.array([2, 0]), 0, 3, seed=0).tolist()
        [2, 0]
    """
    if not 0 <= share <= 1:
        raise InvalidInputError(f"share: found {share}; allowed are shares from 0 to 1.")
    rng = np.random.default_rng(seed)
    drawn = rng.integers(num_classes, size=len(labels))
    return np.where(rng.random(len(labels)) < share, drawn, labels).astype(np.int32)


def randomised_images(
    images: Float[np.ndarray, "examples height width channels"], form: str, *, seed: int
) -> Float[np.ndarray, "examples height width channels"]:
    """Return images in one of `INPUTS`.

    Shuffled pixels: one order of the pixels for all images. Random pixels: an order of its own for
    each. Gaussian: draws with mean and standard deviation of all pixels of a channel, cut to
    [0, 1], where images live. A pixel keeps its channels together.

    Args:
        images: in [0, 1].
        form: one of `INPUTS`.
        seed: of the random choices.

    Raises:
        InvalidInputError: there is no such form.

    Example:
        >>> images = np.arange(4.0).reshape(1, 2, 2, 1) / 4
        >>> sorted(randomised_images(images, "random pixels", seed=0).ravel().tolist())
        [0.0, 0.25, 0.5, 0.75]
    """
    if form not in INPUTS:
        raise InvalidInputError(suggest("form", form, INPUTS))
    rng = np.random.default_rng(seed)
    count, height, width, channels = images.shape
    pixels = images.reshape(count, height * width, channels)
    found: Any = pixels
    if form == "shuffled pixels":
        found = pixels[:, rng.permutation(height * width)]
    elif form == "random pixels":
        orders = rng.permuted(np.tile(np.arange(height * width), (count, 1)), axis=1)
        found = np.take_along_axis(pixels, orders[..., None], axis=1)
    elif form == "gaussian":
        mean, spread = pixels.mean(axis=(0, 1)), pixels.std(axis=(0, 1))
        found = np.clip(mean + spread * rng.standard_normal(pixels.shape), 0, 1)
    return found.reshape(images.shape).astype(images.dtype)
