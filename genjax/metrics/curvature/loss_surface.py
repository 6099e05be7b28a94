"""The loss around one network and between two: filter-normalised slices and linear paths."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from genjax.errors import InvalidInputError
from genjax.metrics.curvature.adaptive import averaged
from genjax.metrics.curvature.objective import Chunks, Objective, value
from genjax.types import Key, Params

POINTS = 25


class LinearPath(NamedTuple):
    """The loss on the straight line between two networks.

    Attributes:
        shares: [T], 0 at the first network, 1 at the second.
        losses: [T], mean loss.
        barrier: the largest excess of the loss over the chord, (1 - t) L_0 + t L_1, at the points
            tried; at least 0, which it is at both ends.
        where: share at which it is reached.
    """

    shares: Any
    losses: Any
    barrier: Any
    where: Any


def filter_normalised_direction(params: Params, key: Key) -> Params:
    """Return a random direction in which every filter is as long as the network's own.

    Gaussian; each filter, the slice of an array that belongs to one entry of its last axis (an
    output unit or channel), is rescaled to the norm of that slice of the weights; arrays with fewer
    than two axes (biases) get zero (Li, Xu, Taylor, Studer and Goldstein, Visualizing the Loss
    Landscape of Neural Nets, NeurIPS 2018). Slices then do not depend on the scales of
    layers.

    Example:
        >>> weights = {"kernel": jnp.array([[3.0, 0.0], [4.0, 2.0]]), "bias": jnp.ones(2)}
        >>> found = filter_normalised_direction(weights, jax.random.key(0))
        >>> jnp.linalg.norm(found["kernel"], axis=0).round(3).tolist(), found["bias"].tolist()
        ([5.0, 2.0], [0.0, 0.0])
    """
    leaves, structure = jax.tree.flatten(params)

    def of_one(leaf, key):
        if leaf.ndim < 2:
            return jnp.zeros_like(leaf)
        axes = tuple(range(leaf.ndim - 1))
        drawn = jax.random.normal(key, leaf.shape, leaf.dtype)
        own = jnp.sqrt(jnp.sum(leaf**2, axis=axes, keepdims=True))
        return drawn * (own / jnp.sqrt(jnp.sum(drawn**2, axis=axes, keepdims=True)))

    keys = jax.random.split(key, len(leaves))
    return jax.tree.unflatten(structure, [of_one(w, k) for w, k in zip(leaves, keys, strict=True)])


def loss_slice(
    objective: Objective,
    params: Params,
    chunks: Chunks,
    directions: Sequence[Params],
    *coordinates: Any,
) -> Any:
    """Return the mean loss at w + a d (+ b e), for all a (and b).

    Args:
        objective: what is measured.
        params: w, of one network.
        chunks: examples.
        directions: one or two trees like `params`, e.g. from `filter_normalised_direction`.
        *coordinates: [A] (and [B]), one array for each direction.

    Returns:
        [A] or [A, B].

    Raises:
        InvalidInputError: there are not one or two directions, each with its coordinates.

    Example:
        >>> from genjax.metrics.curvature.objective import objective, pack
        >>> made = objective(lambda w, x: x * w, lambda logits, labels: logits[:, 0] ** 2)
        >>> chunks = pack(made, (jnp.ones((4, 1)), jnp.zeros(4, int)))
        >>> w, d, places = jnp.array(0.0), jnp.array(1.0), jnp.array([-1.0, 2.0])
        >>> loss_slice(made, w, chunks, [d], places).tolist()
        [1.0, 4.0]
    """
    if len(directions) not in (1, 2) or len(coordinates) != len(directions):
        raise InvalidInputError(
            f"directions: found {len(directions)} with {len(coordinates)} arrays of coordinates; "
            "allowed are one or two, each with its own."
        )
    chunks = averaged(chunks)
    axes = [jnp.asarray(places) for places in coordinates]
    grid = jnp.meshgrid(*axes, indexing="ij")
    points = jnp.stack([axis.reshape(-1) for axis in grid], axis=1)

    def at(point):
        def moved(w, *steps):
            return w + sum((point[i] * step).astype(w.dtype) for i, step in enumerate(steps))

        return value(objective, jax.tree.map(moved, params, *directions), chunks)

    return jax.lax.map(at, points).reshape(grid[0].shape)


def linear_path(
    objective: Objective, first: Params, second: Params, chunks: Chunks, *, points: int = POINTS
) -> LinearPath:
    """Return the mean loss on the line between two networks, and its barrier.

    Linear mode connectivity: Frankle, Dziugaite, Roy and Carbin, Linear Mode Connectivity and the
    Lottery Ticket Hypothesis, ICML 2020; the barrier is measured from the chord, as in Entezari,
    Sedghi, Saukh and Neyshabur, The Role of Permutation Invariance in Linear Mode Connectivity of
    Neural Networks, ICLR 2022.

    Args:
        objective: what is measured.
        first: parameters of a network.
        second: of another one of the same architecture.
        chunks: examples.
        points: on the line, both ends among them.

    Raises:
        InvalidInputError: fewer than two points, or networks of different shapes.

    Example:
        >>> from genjax.metrics.curvature.objective import objective, pack
        >>> def double_well(logits, labels):
        ...     return (logits[:, 0] ** 2 - 1) ** 2
        >>> made = objective(lambda w, x: x * w, double_well)
        >>> chunks = pack(made, (jnp.ones((4, 1)), jnp.zeros(4, int)))
        >>> found = linear_path(made, jnp.array(-1.0), jnp.array(1.0), chunks, points=5)
        >>> float(found.barrier), float(found.where)
        (1.0, 0.5)
    """
    if points < 2:
        raise InvalidInputError(f"points: found {points}; allowed are whole numbers from 2.")
    shapes = [[leaf.shape for leaf in jax.tree.leaves(tree)] for tree in (first, second)]
    if shapes[0] != shapes[1] or jax.tree.structure(first) != jax.tree.structure(second):
        raise InvalidInputError(
            f"second: found arrays {shapes[1]}; the first network has {shapes[0]}, and only "
            "networks of one architecture can be joined."
        )
    # From the first network along the difference: equal networks stay equal to the last bit.
    away = jax.tree.map(lambda a, b: b - a, first, second)
    kind = jnp.result_type(*jax.tree.leaves(first))
    shares = jnp.asarray(np.linspace(0, 1, points), kind)
    losses = loss_slice(objective, first, chunks, [away], shares)
    excess = losses - (losses[0] + shares * (losses[-1] - losses[0]))
    # The end itself is no barrier, whatever rounding says.
    excess = excess.at[jnp.array([0, -1])].set(0.0)
    highest = jnp.argmax(excess)
    return LinearPath(shares, losses, excess[highest], shares[highest])
