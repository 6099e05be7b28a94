"""What curvature refuses at the door: functions that are not fixed, and what is not finite."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax.errors import InvalidInputError
from genjax.metrics.curvature.objective import Chunks, Objective, value
from genjax.metrics.curvature.products import hessian
from genjax.types import Params

_TOLERANCE = 1e-3


def fixed_batches(source: Callable[[], Iterable[Any]] | Iterable[Any]) -> tuple[Any, ...]:
    """Return the batches of a source that gives the same ones each time, in the same order.

    Curvature of batches that change from one product to the next is that of no function.

    Args:
        source: e.g. a data loader: something that can be iterated over more than once, or a
            function that returns one pass.

    Raises:
        InvalidInputError: two passes differ, or a second one is not possible.

    Example:
        >>> batches = fixed_batches([(np.ones((2, 3)), np.zeros(2, int))])
        >>> len(batches)
        1
    """
    if isinstance(source, Iterator):
        raise InvalidInputError(
            "batches: found an iterator that can be read once; give a list, a loader that can be "
            "read again, or a function that returns one pass."
        )
    once, twice = (list(source() if callable(source) else source) for _ in range(2))
    same = jax.tree.structure(once) == jax.tree.structure(twice) and all(
        np.array_equal(np.asarray(a), np.asarray(b))
        for pair in zip(once, twice, strict=True)
        for a, b in zip(*map(jax.tree.leaves, pair), strict=True)
    )
    if not same:
        raise InvalidInputError(
            "batches: two passes over them differ; curvature needs them without shuffling and "
            "without random augmentation."
        )
    return tuple(once)


def check(objective: Objective, params: Params, chunks: Chunks) -> None:
    """Refuse what has no curvature, before long work starts; not for traced values.

    Args:
        objective: what is differentiated.
        params: of one network.
        chunks: from `pack`.

    Raises:
        InvalidInputError: parameters or loss are not finite, the loss is not one number per
            example, two evaluations of the same images differ (dropout), an example's logits
            depend on the others in its batch (normalisation in train mode) or on its place there
            (dropout with a fixed key), or a derivative is missing.

    Example:
        >>> from genjax.metrics import curvature
        >>> line = curvature.objective(lambda w, x: x * w, "squared")
        >>> chunks = curvature.pack(line, (jnp.ones((4, 1)), jnp.zeros(4, int)))
        >>> check(line, jnp.array(jnp.inf), chunks)
        Traceback (most recent call last):
        ...
        genjax.errors.InvalidInputError: params: found values that are not finite in the array ''.
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if not bool(jnp.all(jnp.isfinite(leaf))):
            name = jax.tree_util.keystr(path)
            raise InvalidInputError(
                f"params: found values that are not finite in the array '{name}'."
            )
    found = float(value(objective, params, chunks))
    if not np.isfinite(found):
        raise InvalidInputError(f"loss: found {found} at the parameters; it must be finite.")
    check_fixed(objective, params, chunks)
    jax.eval_shape(lambda p: hessian(objective)(p, chunks)(p), params)


def check_fixed(objective: Objective, params: Params, chunks: Chunks) -> None:
    """Refuse a network whose logits are not a function of parameters and image alone.

    Raises:
        InvalidInputError: two evaluations differ, or those in another company.
    """
    size = chunks.images.shape[1]
    images = chunks.images[: max(2, -(-8 // size))].reshape(-1, *chunks.images.shape[2:])
    # What was traced once gives the same random numbers for ever.
    apply = objective.given or objective.apply
    once, twice = (np.asarray(apply(params, images)) for _ in range(2))
    if not np.array_equal(once, twice, equal_nan=True):
        raise InvalidInputError(
            "network: two evaluations of the same images differ; curvature needs it without "
            "dropout or other randomness."
        )
    alone = np.asarray(apply(params, images[: max(1, len(images) // 2)]))
    # Random numbers of a fixed key belong to places, not to images.
    turned = np.asarray(apply(params, images[::-1]))[::-1]
    apart = max(np.max(np.abs(alone - once[: len(alone)])), np.max(np.abs(turned - once)))
    if apart > _TOLERANCE * max(np.max(np.abs(once)), 1e-6):
        raise InvalidInputError(
            "network: the logits of an image depend on the other images of its batch, or on its "
            "place there; curvature needs normalisation with fixed statistics, not in train mode, "
            "and no dropout, not with a fixed key either."
        )
