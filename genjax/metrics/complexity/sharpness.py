"""Worst-case sharpness: how large a box of weights a network bears before its accuracy drops."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from genjax.errors import InvalidInputError
from genjax.metrics.complexity.contract import Intermediate, Measure, Result
from genjax.metrics.complexity.flatness import (
    DROP,
    EPSILON,
    STEPS,
    Tolerated,
    check_search,
    largest_tolerated,
    of_scale,
)
from genjax.metrics.complexity.pac_bayes import weights
from genjax.metrics.complexity.workspace import (
    CHUNK,
    Workspace,
    cross_entropies,
    in_chunks,
    margins,
)
from genjax.types import Key, Params

RESTARTS = 3
ASCENTS = 10
LARGEST = 0.5
CONFIDENCE = 0.05
"""delta of eq 59 and 60, which the paper leaves open."""


def tolerated_box(
    apply: Callable[[Params, Any], Any],
    params: Params,
    images: Any,
    labels: Any,
    key: Key,
    *,
    magnitude: bool = False,
    drop: float = DROP,
    restarts: int = RESTARTS,
    ascents: int = ASCENTS,
    steps: int = STEPS,
    largest: float | int = LARGEST,
) -> Tolerated:
    """Return the largest alpha for which no weights of a box have an accuracy lower by `drop`.

    The box is |u_j| <= alpha around weight w_j, or with `magnitude` alpha |w_j| + eps, eps 1e-3;
    biases are weights (Jiang et al. 2020, appendix C and algorithm 2). Its worst point is searched
    by projected ascent along the signs of the gradient of a loss, from w and from random points of
    the box; the lowest accuracy on the way counts. A stronger search could find a worse point:
    this alpha is an upper bound on the true one. It is searched as in `tolerated_noise`, over
    [largest / 2^15, largest].

    The loss is the mean cross-entropy of logits divided by half the margin that a share `drop` of
    the right examples falls short of. With that unit the examples that must flip weigh most,
    whatever the scale of the outputs; gradients of the plain cross-entropy (the paper's) vanish in
    float32 for confident networks.

    (The baseline of the PGDL starting kit steps along the descent direction: its box has no worst
    point in it.)

    Args:
        apply: `(params, images) -> logits`.
        params: of one network.
        images: [N, H, W, C].
        labels: [N].
        key: of the random starts.
        magnitude: whether the box is proportional to the weights.
        drop: of the accuracy, as a fraction.
        restarts: ascents of a box, the first one from its middle.
        ascents: gradients of one ascent.
        steps: boxes tried.
        largest: of them.

    Raises:
        InvalidInputError: a number is out of range.

    Example:
        >>> images = jnp.eye(10).reshape(10, 10, 1, 1)
        >>> weights = jnp.stack([jnp.arange(1.0, 11.0), jnp.zeros(10)], axis=1)
        >>> found = tolerated_box(
        ...     lambda w, x: x.reshape(len(x), -1) @ w, weights, images, jnp.zeros(10, int),
        ...     jax.random.key(0), drop=0.25, largest=8.0)
        >>> bool(1 <= found.scale < 1.6)  # the third of ten margins, 1, 2, ..., flips at 1.5
        True
    """
    check_search(drop, steps, largest)
    for name, number in (("restarts", restarts), ("ascents", ascents)):
        if number < 1:
            raise InvalidInputError(f"{name}: found {number}; allowed are whole numbers from 1.")
    flat, unravel = ravel_pytree(params)
    logits = in_chunks(lambda x: apply(params, x), jnp.asarray(images))
    right = jnp.sum(jnp.argmax(logits, axis=-1) == labels, dtype=jnp.float32) / len(labels)
    look = _gradients(apply, unravel, images, labels, _unit(margins(logits, labels), drop))
    starts = jax.random.uniform(key, (restarts, flat.size), flat.dtype, -1.0, 1.0)
    starts = starts.at[0].set(0.0)
    # In units of the box: the first step reaches the corner to which the gradient points.
    sizes = 1 / jnp.sqrt(jnp.arange(1, ascents + 1, dtype=flat.dtype))

    def worst(alpha):
        box = alpha * jnp.abs(flat) + EPSILON if magnitude else jnp.full_like(flat, alpha)

        def ascend(state):
            index, moved, lowest = state
            turn = index % ascents
            moved = jnp.where(turn == 0, starts[index // ascents], moved)
            gradient, found = look(flat + moved * box)
            ahead = jnp.clip(moved + sizes[turn] * jnp.sign(gradient), -1.0, 1.0)
            return index + 1, ahead, jnp.maximum(lowest, right - found)

        def unfinished(state):
            return (state[0] < restarts * ascents) & (state[2] <= drop + 1e-6)

        start = (jnp.int32(0), jnp.zeros_like(flat), jnp.zeros_like(right))
        return jax.lax.while_loop(unfinished, ascend, start)[2][None]

    return largest_tolerated(worst, drop=drop, largest=largest, steps=steps)


def _unit(margins, drop):
    """Return half the margin that a share `drop` of the right examples falls short of."""
    lowest = jnp.nanquantile(jnp.where(margins > 0, margins, jnp.nan), drop)
    return jnp.where(lowest > 0, lowest / 2, 1.0)


def _gradients(apply, unravel, images, labels, unit):
    """Return `vector -> (gradient of the summed loss, accuracy)` over all examples."""
    count = len(labels)
    pieces = -(-count // CHUNK)
    size = -(-count // pieces)
    # The last chunk is filled with examples of weight zero.
    order = np.minimum(np.arange(pieces * size), count - 1).reshape(pieces, size)
    real = (np.arange(pieces * size) < count).reshape(pieces, size)
    chunks = jnp.asarray(images)[order], jnp.asarray(labels)[order], jnp.asarray(real, jnp.float32)

    def loss(vector, images, labels, real):
        logits = apply(unravel(vector), images)
        right = jnp.sum(real * (jnp.argmax(logits, axis=-1) == labels))
        return jnp.sum(real * cross_entropies(logits / unit, labels)), right

    def look(vector):
        def add(total, chunk):
            found = jax.grad(loss, has_aux=True)(vector, *chunk)
            return jax.tree.map(jnp.add, total, found), None

        nothing = jnp.zeros_like(vector), jnp.zeros((), jnp.float32)
        (gradient, right), _ = jax.lax.scan(add, nothing, chunks)
        return gradient, right / count

    return look


def _alpha(workspace: Workspace, magnitude: bool) -> Tolerated:
    train = workspace.data.train
    return tolerated_box(
        workspace.network.apply,
        workspace.trained.params,
        train.images,
        train.labels,
        workspace.key("box"),
        magnitude=magnitude,
    )


def _without_error(result: Result) -> Result:
    """Drop the standard error: nothing of this search is an average over draws."""
    amount, info = result
    return amount, {name: found for name, found in info.items() if name != "standard_error"}


def _flat(workspace: Workspace, name: str) -> Result:
    return _without_error(of_scale(workspace[name], lambda alpha: 1 / alpha**2, "alpha"))


def _plain(workspace: Workspace, origin: str) -> Result:
    vector = weights(workspace, origin=origin)
    squared = jnp.sum(vector**2) * math.log(2 * vector.size)
    sigma = workspace["sigma"]

    def formula(alpha):
        last = math.log(workspace.train_size) - jnp.log(sigma.scale) + 10
        return squared / (4 * alpha**2) + last

    alpha = workspace["alpha"]
    both = alpha._replace(found=alpha.found & sigma.found)
    return _without_error(of_scale(both, formula, "alpha"))


def _magnitude(workspace: Workspace, origin: str) -> Result:
    squares = weights(workspace, origin=origin) ** 2
    tail = 4 * math.log(2 * squares.size / CONFIDENCE)

    def formula(alpha):
        above = jnp.log(EPSILON**2 + (alpha**2 + tail) * jnp.mean(squares))
        logs = above - jnp.log(EPSILON**2 + alpha**2 * squares)
        return jnp.sum(logs) / 4 + math.log(workspace.train_size / CONFIDENCE) + 10

    return _without_error(of_scale(workspace["alpha_magnitude"], formula, "alpha"))


_SOURCE = "Jiang et al., Fantastic Generalization Measures, ICLR 2020"
_PASSES = STEPS * RESTARTS * ASCENTS + 1 / 3  # at most: an ascent that succeeds stops

INTERMEDIATES = (
    Intermediate(
        "alpha",
        lambda workspace: _alpha(workspace, magnitude=False),
        requires=("train",),
        passes=_PASSES,
    ),
    Intermediate(
        "alpha_magnitude",
        lambda workspace: _alpha(workspace, magnitude=True),
        requires=("train",),
        passes=_PASSES,
    ),
)

MEASURES = (
    Measure(
        name="sharpness_flatness",
        family="sharpness",
        formula="1/alpha^2 (eq 54), alpha the largest box |u_j| <= alpha around the weights and "
        "biases in which 3 ascents of 10 gradient signs find no training accuracy lower by more "
        "than 0.1; alpha in [2^-16, 0.5], 11 steps in ln alpha",
        source=_SOURCE,
        compute=lambda workspace: _flat(workspace, "alpha"),
        needs=("alpha",),
        fast=False,
    ),
    Measure(
        name="sharpness_init",
        family="sharpness",
        formula="||w - w0||_2^2 ln(2 omega) / (4 alpha^2) + ln(m / sigma) + 10 (eq 51), omega "
        "weights and biases, alpha of sharpness_flatness, sigma of pacbayes_flatness",
        source=_SOURCE,
        compute=lambda workspace: _plain(workspace, "init"),
        needs=("alpha", "sigma"),
        requires=("init",),
        fast=False,
    ),
    Measure(
        name="sharpness_orig",
        family="sharpness",
        formula="||w||_2^2 ln(2 omega) / (4 alpha^2) + ln(m / sigma) + 10 (eq 52)",
        source=_SOURCE,
        compute=lambda workspace: _plain(workspace, "zero"),
        needs=("alpha", "sigma"),
        fast=False,
    ),
    Measure(
        name="sharpness_mag_flatness",
        family="sharpness",
        formula="1/alpha'^2 (eq 62), alpha' as alpha of sharpness_flatness for the box |u_j| <= "
        "alpha' |w_j| + eps, eps = 1e-3",
        source=_SOURCE,
        compute=lambda workspace: _flat(workspace, "alpha_magnitude"),
        needs=("alpha_magnitude",),
        fast=False,
    ),
    Measure(
        name="sharpness_mag_init",
        family="sharpness",
        formula="1/4 sum_j ln[(eps^2 + (alpha'^2 + 4 ln(2 omega / delta)) ||w - w0||_2^2 / omega) "
        "/ (eps^2 + alpha'^2 (w_j - w0_j)^2)] + ln(m / delta) + 10 (eq 59), delta = 0.05",
        source=_SOURCE,
        compute=lambda workspace: _magnitude(workspace, "init"),
        needs=("alpha_magnitude",),
        requires=("init",),
        fast=False,
    ),
    Measure(
        name="sharpness_mag_orig",
        family="sharpness",
        formula="1/4 sum_j ln[(eps^2 + (alpha'^2 + 4 ln(2 omega / delta)) ||w||_2^2 / omega) / "
        "(eps^2 + alpha'^2 w_j^2)] + ln(m / delta) + 10 (eq 60), delta = 0.05",
        source=_SOURCE,
        compute=lambda workspace: _magnitude(workspace, "zero"),
        needs=("alpha_magnitude",),
        fast=False,
    ),
)
