"""Pruning of whole stacks of networks: masks by magnitude, and random ones of the same size.

Masks are trees of zeros and ones in the shape of the parameters, as `resamples.Own` takes them.
Only kernels are pruned, each layer by itself; biases stay. Sorting is on the host, so that equal
weights are ordered in one way everywhere.
"""

from typing import Any

import jax
import numpy as np

from genjax.errors import InvalidInputError
from genjax.types import Params

KERNEL = "kernel"


def _name(path: Any) -> str:
    return str(getattr(path[-1], "key", path[-1]))


def full_masks(params: Params) -> Params:
    """Return masks that keep every weight.

    Example:
        >>> full_masks({"dense": {"kernel": np.zeros((1, 2, 2))}})["dense"]["kernel"].tolist()
        [[[1.0, 1.0], [1.0, 1.0]]]
    """
    return jax.tree.map(lambda leaf: np.ones(np.shape(leaf), np.float32), params)


def smallest_removed(params: Params, masks: Params, share: float) -> Params:
    """Remove a share of the weights that are left, those of the smallest magnitude in their layer.

    Of the k weights that a layer has left, `round(share k)` go, but never the last one. Of equal
    magnitudes the first in stored order goes first.

    Args:
        params: trained parameters, every leaf `[R, ...]`.
        masks: zeros and ones of the same shapes; every network has as many ones in a layer as the
            others.
        share: in [0, 1).

    Returns:
        The new masks.

    Raises:
        InvalidInputError: a share outside [0, 1).

    References:
        Frankle and Carbin, The lottery ticket hypothesis, ICLR 2019, section 2: layer-wise
        magnitude pruning.

    Example:
        >>> params = {"dense": {"kernel": np.array([[3.0, -1.0, 2.0, -4.0]])}}
        >>> smallest_removed(params, full_masks(params), 0.5)["dense"]["kernel"].tolist()
        [[1.0, 0.0, 0.0, 1.0]]
    """
    if not 0 <= share < 1:
        raise InvalidInputError(f"share: found {share}; allowed are shares from 0, below 1.")

    def layer(path, weights, mask):
        if _name(path) != KERNEL:
            return mask
        flat = np.asarray(mask).reshape(len(mask), -1)
        left = int(flat[0].sum())
        gone = min(round(share * left), left - 1)
        size = np.abs(np.asarray(weights, np.float64)).reshape(flat.shape)
        # What is removed already comes last; a diverged weight counts as large.
        size = np.where(flat > 0, np.nan_to_num(size, nan=np.finfo(float).max), np.inf)
        order = np.argsort(size, axis=1, kind="stable")
        new = flat.copy()
        np.put_along_axis(new, order[:, :gone], 0.0, axis=1)
        return new.reshape(np.shape(mask))

    return jax.tree_util.tree_map_with_path(layer, params, masks)


def shuffled(masks: Params, seed: int) -> Params:
    """Return masks with as many ones in every layer, at random places.

    Args:
        masks: every leaf `[R, ...]`.
        seed: of the places; every network has its own.

    Example:
        >>> masks = {"dense": {"kernel": np.array([[1.0, 0.0, 0.0, 1.0]] * 3)}}
        >>> shuffled(masks, 0)["dense"]["kernel"].sum(axis=1).tolist()
        [2.0, 2.0, 2.0]
    """
    rng = np.random.default_rng(seed)

    def layer(path, mask):
        if _name(path) != KERNEL:
            return mask
        flat = np.asarray(mask).reshape(len(mask), -1)
        return rng.permuted(flat, axis=1).reshape(np.shape(mask))

    return jax.tree_util.tree_map_with_path(layer, masks)


def share_kept(masks: Params) -> float:
    """Return the share of the kernels' weights that are kept, over all networks.

    Example:
        >>> share_kept({"dense": {"kernel": np.array([[1.0, 0.0]]), "bias": np.ones((1, 1))}})
        0.5
    """
    kernels = [
        np.asarray(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(masks)
        if _name(path) == KERNEL
    ]
    return sum(float(leaf.sum()) for leaf in kernels) / sum(leaf.size for leaf in kernels)
