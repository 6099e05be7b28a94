"""Projected ascent in a ball around the weights: Auto-PGD, which chooses its own step sizes."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from genjax.errors import InvalidInputError
from genjax.types import Key

MOMENTUM = 0.75
SHARE = 0.75
"""Share of steps that must increase the loss, or the step is halved."""

NORMS = (2, math.inf)


class Ascent(NamedTuple):
    """The highest value that an ascent found.

    Attributes:
        value: scalar, at least that at the start.
        point: [P], where.
    """

    value: Any
    point: Any


def checkpoints(steps: int) -> tuple[int, ...]:
    """Return the steps after which Auto-PGD asks whether to halve its step.

    `ceil(p_j steps)` with p_1 = 0.22, p_{j+1} = p_j + max(p_j - p_{j-1} - 0.03, 0.06).

    Example:
        >>> checkpoints(20)
        (5, 9, 12, 14, 16, 18, 19)
    """
    shares, found = [0.0, 0.22], []
    # 0.7 in binary is a little more than 0.7.
    while (place := math.ceil(round(shares[-1] * steps, 9))) < steps:
        found.append(place)
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06))
    return tuple(dict.fromkeys(found))


def check_ball(radius: Any, norm: float | int, steps: int, name: str = "rho") -> None:
    """Refuse a ball or a number of steps that no ascent can use.

    Raises:
        InvalidInputError: a number is out of range.
    """
    if norm not in NORMS:
        raise InvalidInputError(f"norm: found {norm}; allowed are 2 and math.inf.")
    if not isinstance(radius, jax.Array) and not (radius > 0 and math.isfinite(radius)):
        raise InvalidInputError(f"{name}: found {radius}; allowed are numbers above 0.")
    if steps < 1:
        raise InvalidInputError(f"steps: found {steps}; allowed are whole numbers from 1.")


def projected(point: Any, radius: Any, norm: float | int) -> Any:
    """Return the nearest point of the ball around zero.

    Example:
        >>> projected(jnp.array([3.0, 4.0]), 1.0, 2).tolist()
        [0.6000000238418579, 0.800000011920929]
    """
    if norm == math.inf:
        return jnp.clip(point, -radius, radius)
    length = jnp.linalg.norm(point)
    return point * jnp.where(length > radius, radius / jnp.where(length > 0, length, 1.0), 1.0)


def steepest(gradient: Any, norm: float | int) -> Any:
    """Return the direction of norm 1 in which a linear function increases most; 0 where it is flat.

    Example:
        >>> steepest(jnp.array([3.0, -4.0]), math.inf).tolist()
        [1.0, -1.0]
    """
    if norm == math.inf:
        return jnp.sign(gradient)
    # By the largest entry first: squares of small gradients underflow.
    largest = jnp.max(jnp.abs(gradient))
    scaled = gradient / jnp.where(largest > 0, largest, 1.0)
    length = jnp.linalg.norm(scaled)
    return scaled / jnp.where(length > 0, length, 1.0)


def random_point(key: Key, size: int, radius: Any, norm: float | int, kind: Any) -> Any:
    """Return a random point of the ball: uniform in the box, or uniform on the sphere of radius."""
    if norm == math.inf:
        return radius * jax.random.uniform(key, (size,), kind, -1.0, 1.0)
    return radius * steepest(jax.random.normal(key, (size,), kind), 2)


class _State(NamedTuple):
    point: Any
    before: Any
    best: Any
    best_point: Any
    best_gradient: Any
    last: Any
    step: Any
    increases: Any
    step_then: Any
    best_then: Any


def auto_pgd(
    value_and_gradient: Callable[[Any], tuple[Any, Any]],
    start: Any,
    *,
    radius: Any,
    norm: float | int,
    steps: int = 20,
) -> Ascent:
    """Return the highest value of a function that Auto-PGD finds in a ball around zero.

    Croce and Hein, Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse
    Parameter-free Attacks, ICML 2020, algorithm 1: from x_k a step of size eta along the steepest
    direction to z, projected; x_{k+1} = P(x_k + 0.75 (z - x_k) + 0.25 (x_k - x_{k-1})). eta starts
    at 2 radius; at each of `checkpoints(steps)` it is halved, and the search goes on from the best
    point, if fewer than 0.75 of the steps since the last one increased the value, or if neither
    eta nor the best value changed. Costs `steps` gradients and one value.

    Args:
        value_and_gradient: `point [P] -> (value, gradient [P])`.
        start: [P], a point of the ball.
        radius: of the ball.
        norm: 2 or `math.inf`.
        steps: of the ascent.

    Raises:
        InvalidInputError: a number is out of range.

    Example:
        >>> def hill(x):
        ...     return -jnp.sum((x - 3.0) ** 2), -2 * (x - 3.0)
        >>> found = auto_pgd(hill, jnp.zeros(2), radius=1.0, norm=math.inf)
        >>> found.point.tolist(), float(found.value)
        ([1.0, 1.0], -8.0)
    """
    check_ball(radius, norm, steps, "radius")
    places = checkpoints(steps)
    due = np.isin(np.arange(steps), places)
    since = np.diff([0, *places])
    waited = np.zeros(steps)
    waited[list(places)] = since

    def advance(state: _State, turn):
        index, asked, waited = turn
        found, gradient = value_and_gradient(state.point)
        better = (found > state.best) | (index == 0)
        best = jnp.where(better, found, state.best)
        best_point = jnp.where(better, state.point, state.best_point)
        best_gradient = jnp.where(better, gradient, state.best_gradient)
        increases = state.increases + (found > state.last)
        stuck = (state.step_then == state.step) & (state.best_then == best)
        halve = asked & ((increases < SHARE * waited) | stuck)
        step = jnp.where(halve, state.step / 2, state.step)
        point = jnp.where(halve, best_point, state.point)
        gradient = jnp.where(halve, best_gradient, gradient)
        # Algorithm 1 has no momentum in its first step.
        kept = jnp.where(index == 0, 1.0, MOMENTUM).astype(point.dtype)
        ahead = projected(point + step * steepest(gradient, norm), radius, norm)
        moved = point + kept * (ahead - point) + (1 - kept) * (point - state.before)
        return _State(
            point=projected(moved, radius, norm),
            before=point,
            best=best,
            best_point=best_point,
            best_gradient=best_gradient,
            last=found,
            step=step,
            increases=jnp.where(asked, 0, increases),
            step_then=jnp.where(asked, state.step, state.step_then),
            best_then=jnp.where(asked, best, state.best_then),
        ), None

    start = jnp.asarray(start)
    low = jnp.asarray(-jnp.inf, start.dtype)
    high = -low  # the value at the start is no increase
    first = 2 * jnp.asarray(radius, start.dtype)
    zero = jnp.zeros_like(start)
    state = _State(start, start, low, start, zero, high, first, jnp.int32(0), first, low)
    turns = (jnp.arange(steps), jnp.asarray(due), jnp.asarray(waited, start.dtype))
    state, _ = jax.lax.scan(advance, state, turns)
    last, _ = value_and_gradient(state.point)
    better = last > state.best
    return Ascent(
        jnp.where(better, last, state.best), jnp.where(better, state.point, state.best_point)
    )
