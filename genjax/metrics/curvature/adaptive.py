"""Adaptive sharpness: how much the loss grows in a neighbourhood whose shape follows the weights.

Perturbations u of the weights w (biases are weights) are measured in units T of their own scale:
u = T v, v in a ball. With T = |w| or T = the size of w's array, sharpness does not change when the
layers of a ReLU network are rescaled without changing its function; with T = 1 it does.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from genjax.errors import InvalidInputError, suggest
from genjax.metrics.curvature.ascent import Ascent, auto_pgd, check_ball, random_point
from genjax.metrics.curvature.objective import (
    Chunks,
    Objective,
    accumulated,
    chunk_value,
    summed,
    sums_over,
    value,
)
from genjax.types import Key, Params

SCALINGS = ("none", "elementwise", "layerwise")
_SMALLEST_NORM = 1e-10


class Sharpness(NamedTuple):
    """How much the loss grows in a neighbourhood of the weights.

    Attributes:
        value: growth of the mean loss, in its own unit (nats for cross-entropy).
        standard_error: of a Monte Carlo mean; None where nothing is drawn.
        loss: mean loss at the weights.
    """

    value: Any
    standard_error: Any
    loss: Any


def scaling(params: Params, kind: str = "elementwise", offset: float | int = 0.0) -> Params:
    """Return the scale T of every weight.

    Args:
        params: of one network.
        kind: "none", T = 1; "elementwise", T = |w|; "layerwise", T = ||W||_F / sqrt(|W|) for all
            entries of an array W of parameters: elementwise and layerwise scales of an array have
            the same norm.
        offset: added to T.

    Raises:
        InvalidInputError: the kind is unknown.

    Example:
        >>> scaling(jnp.array([1.0, -7.0]), "layerwise").tolist()
        [5.0, 5.0]
    """
    if kind == "none":
        return jax.tree.map(lambda w: jnp.ones_like(w) + offset, params)
    if kind == "elementwise":
        return jax.tree.map(lambda w: jnp.abs(w) + offset, params)
    if kind == "layerwise":
        return jax.tree.map(
            lambda w: jnp.full_like(w, jnp.sqrt(jnp.mean(jnp.square(w))) + offset), params
        )
    raise InvalidInputError(suggest("scaling", kind, SCALINGS))


def with_normalised_logits(objective: Objective) -> Objective:
    """Return an objective that sees logits without their mean and of norm 1.

    Andriushchenko et al., A Modern Look at the Relationship between Sharpness and Generalization,
    ICML 2023, in the form of the released code.

    Example:
        >>> from genjax.metrics.curvature.objective import objective
        >>> made = with_normalised_logits(objective(lambda w, x: x * w))
        >>> made.apply(jnp.float32(9.0), jnp.array([[1.0, 3.0]])).round(3).tolist()
        [[-0.7070000171661377, 0.7070000171661377]]
    """

    def apply(params, images):
        logits = objective.apply(params, images)
        centred = logits - jnp.mean(logits, axis=-1, keepdims=True)
        # The root has no derivative at zero.
        squares = jnp.sum(centred**2, axis=-1, keepdims=True)
        positive = squares > _SMALLEST_NORM**2
        norms = jnp.where(positive, jnp.sqrt(jnp.where(positive, squares, 1.0)), _SMALLEST_NORM)
        return centred / norms

    return objective._replace(apply=apply)


def averaged(chunks: Chunks) -> Chunks:
    """Return the same examples with the weights of a mean."""
    present = (chunks.weights > 0).astype(chunks.weights.dtype)
    # Chunks that only fill up the devices have no examples at all.
    return chunks._replace(weights=present / jnp.maximum(summed(jnp.sum(present)), 1))


def shares_of(chunks: Chunks) -> Any:
    """Return the share of each chunk in all examples, `[k]`."""
    return jnp.sum(averaged(chunks).weights, axis=1)


def over_chunks(function: Callable[[Chunks], Any], chunks: Chunks) -> Any:
    """Return means over examples of what `function` gives for every chunk by itself.

    Args:
        function: of chunks, here one at a time, to a tree of numbers.
        chunks: all.
    """
    with sums_over(None):  # a chunk is on one device
        found = jax.lax.map(lambda c: function(jax.tree.map(lambda x: x[None], c)), chunks)
    shares = shares_of(chunks)
    return jax.tree.map(lambda each: summed(jnp.sum(shares * each)), found)


def loss_and_gradient(
    objective: Objective, unravel: Callable[[Any], Params], chunks: Chunks
) -> Callable[[Any], tuple[Any, Any]]:
    """Return `flat weights -> (mean loss, its gradient)`, whatever the objective's reduction.

    Args:
        objective: what is differentiated.
        unravel: of `ravel_pytree`.
        chunks: examples; those of weight 0 do not count.
    """
    chunks = averaged(chunks)

    def look(vector):
        def of_chunk(chunk):
            return jax.value_and_grad(lambda v: chunk_value(objective, unravel(v), chunk))(vector)

        return accumulated(of_chunk, chunks)

    return look


def mean_loss(
    objective: Objective, unravel: Callable[[Any], Params], chunks: Chunks
) -> Callable[[Any], Any]:
    """Return `flat weights -> mean loss`, whatever the objective's reduction."""
    chunks = averaged(chunks)
    return lambda vector: value(objective, unravel(vector), chunks)


def worst_in_ball(
    look: Callable[[Any], tuple[Any, Any]],
    flat: Any,
    scale: Any,
    *,
    rho: float | int,
    norm: float | int,
    steps: int = 20,
    key: Key | None = None,
    restarts: int = 1,
) -> Ascent:
    """Return the highest loss at w + T v, ||v|| <= rho, that Auto-PGD finds; its point is v.

    Args:
        look: `flat weights -> (loss, gradient)`.
        flat: w, [P].
        scale: T, [P].
        rho: radius.
        norm: 2 or `math.inf`.
        steps: of each ascent.
        key: of random starts; needed for more than one ascent.
        restarts: ascents; the first starts at w.
    """
    check_ball(rho, norm, steps)
    if restarts < 1 or (restarts > 1 and key is None):
        raise InvalidInputError(
            f"restarts: found {restarts}; allowed are whole numbers from 1, with a key above 1."
        )

    def lifted(v):
        value, gradient = look(flat + scale * v)
        return value, scale * gradient

    def ascend(start):
        return auto_pgd(lifted, start, radius=rho, norm=norm, steps=steps)

    middle = jnp.zeros_like(flat)
    if key is None or restarts == 1:
        return ascend(middle)
    keys = jax.random.split(key, restarts - 1)
    draws = [random_point(k, flat.size, rho, norm, flat.dtype) for k in keys]
    found = jax.lax.map(ascend, jnp.stack([middle, *draws]))
    best = jnp.argmax(found.value)
    return Ascent(found.value[best], found.point[best])


def worst_case_sharpness(
    objective: Objective,
    params: Params,
    chunks: Chunks,
    *,
    rho: float | int,
    norm: float | int = 2,
    scale: str = "elementwise",
    normalise_logits: bool = False,
    steps: int = 20,
    key: Key | None = None,
    restarts: int = 1,
) -> Sharpness:
    """Return max over ||u / T||_p <= rho of L(w + u) - L(w), averaged over chunks.

    Andriushchenko et al. (ICML 2023): m-sharpness, with a worst point for every
    chunk of m examples (there m = 128 and 1,024 examples; a padded last chunk counts by its
    examples). The worst point is searched by Auto-PGD from w, and from random points if asked: a
    stronger search could find a worse one, so that the value is a lower bound on the maximum.

    It ascends in v = u / T, in which the neighbourhood is a ball, so that steps are steepest and
    projections exact. The released code steps along |w| grad L / ||grad L|| and projects u; with p
    = infinity both are the same but for its momentum, which leaves out x_k - x_{k-1}.

    Args:
        objective: what is differentiated.
        params: w, of one network.
        chunks: examples.
        rho: radius.
        norm: p, 2 or `math.inf`.
        scale: T, see `scaling`.
        normalise_logits: see `with_normalised_logits`.
        steps: of each ascent.
        key: of random starts.
        restarts: ascents for each chunk; the first starts at w.

    Raises:
        InvalidInputError: a number or a name is out of range.

    Example:
        >>> from genjax.metrics.curvature.objective import objective, pack
        >>> made = objective(lambda w, x: x * w, lambda logits, labels: logits[:, 0] ** 2 / 2)
        >>> chunks = pack(made, (jnp.ones((4, 1)), jnp.zeros(4, int)))
        >>> found = worst_case_sharpness(made, jnp.array(2.0), chunks, rho=0.5)
        >>> float(found.value)  # from w = 2 to 3: (9 - 4) / 2
        2.5
    """
    if normalise_logits:
        objective = with_normalised_logits(objective)
    flat, unravel = ravel_pytree(params)
    sizes = ravel_pytree(scaling(params, scale))[0]
    how = {"rho": rho, "norm": norm, "steps": steps, "key": key, "restarts": restarts}

    def of_chunk(one):
        look = loss_and_gradient(objective, unravel, one)
        start = mean_loss(objective, unravel, one)(flat)
        return worst_in_ball(look, flat, sizes, **how).value - start, start

    gain, loss = over_chunks(of_chunk, chunks)
    return Sharpness(gain, None, loss)


def average_case_sharpness(
    objective: Objective,
    params: Params,
    chunks: Chunks,
    key: Key,
    *,
    rho: float | int,
    norm: float | int = 2,
    scale: str = "elementwise",
    normalise_logits: bool = False,
    draws: int = 100,
) -> Sharpness:
    """Return E[L(w + u)] - L(w) with random u, and its standard error.

    u_j is Gaussian with standard deviation rho T_j (p = 2), or uniform in [-rho T_j, rho T_j] (p =
    infinity): Andriushchenko et al. (ICML 2023), the latter from the released code.

    Args:
        objective: what is differentiated.
        params: w, of one network.
        chunks: examples; all of them see every draw.
        key: of the draws.
        rho: radius.
        norm: p, 2 or `math.inf`.
        scale: T, see `scaling`.
        normalise_logits: see `with_normalised_logits`.
        draws: at least 2.

    Raises:
        InvalidInputError: a number or a name is out of range.

    Example:
        >>> from genjax.metrics.curvature.objective import objective, pack
        >>> made = objective(lambda w, x: x * w, lambda logits, labels: logits[:, 0] ** 2 / 2)
        >>> chunks = pack(made, (jnp.ones((4, 1)), jnp.zeros(4, int)))
        >>> found = average_case_sharpness(
        ...     made, jnp.array(2.0), chunks, jax.random.key(0), rho=0.1, draws=1000)
        >>> bool(abs(found.value - 0.02) < 4 * found.standard_error)  # (0.1 * 2)^2 / 2
        True
    """
    check_ball(rho, norm, 1)
    if draws < 2:
        raise InvalidInputError(f"draws: found {draws}; allowed are whole numbers from 2.")
    if normalise_logits:
        objective = with_normalised_logits(objective)
    flat, unravel = ravel_pytree(params)
    sizes = ravel_pytree(scaling(params, scale))[0]
    loss = mean_loss(objective, unravel, chunks)
    start = loss(flat)

    def draw(key):
        if norm == math.inf:
            return jax.random.uniform(key, flat.shape, flat.dtype, -1.0, 1.0)
        return jax.random.normal(key, flat.shape, flat.dtype)

    gains = jax.lax.map(
        lambda key: loss(flat + rho * sizes * draw(key)) - start, jax.random.split(key, draws)
    )
    error = jnp.std(gains, ddof=1) / math.sqrt(draws)
    return Sharpness(jnp.mean(gains), error, start)
