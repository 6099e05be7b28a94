"""Sharpness along training: the top eigenvalue of the Hessian while gradient descent runs."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from genjax.errors import InvalidInputError
from genjax.metrics.curvature.adaptive import averaged
from genjax.metrics.curvature.lanczos import flat, lanczos, ritz
from genjax.metrics.curvature.objective import Chunks, Objective, gradient, value
from genjax.metrics.curvature.products import hessian
from genjax.types import Key, Params

_NOISE = 0.1


class TrainingCurvature(NamedTuple):
    """What was recorded along gradient descent.

    Attributes:
        steps: [T], steps taken before each record.
        top_eigenvalues: [T] (or [n, T] of a stack), the largest eigenvalue of the Hessian.
        residuals: the same shape: ||H v - lambda v|| with the unit vector v found; an eigenvalue
            lies within this distance of each `top_eigenvalues`.
        losses: the same shape, the loss before the step.
        params: after the last step.
    """

    steps: Any
    top_eigenvalues: Any
    residuals: Any
    losses: Any
    params: Params


def training_curvature(
    objective: Objective,
    params: Params,
    chunks: Chunks,
    key: Key,
    *,
    learning_rate: Any,
    steps: int,
    record_every: int = 10,
    iterations: int = 20,
) -> TrainingCurvature:
    """Run full-batch gradient descent and record the top eigenvalue of the Hessian on the way.

    w <- w - learning_rate grad L. Where gradient descent is at the edge of stability the eigenvalue
    settles near 2 / learning_rate (Cohen et al., Gradient Descent on Neural Networks Typically
    Occurs at the Edge of Stability, ICLR 2021).

    The eigenvector is followed: each record starts Lanczos near the vector that the last one found,
    so that few iterations are enough. For a stack of networks, vmap or map over `params` and
    `learning_rate`; what diverges has infinite or NaN records and harms no other.

    Args:
        objective: what is minimised, over all examples at once.
        params: where it starts.
        chunks: examples.
        key: of the first Lanczos vector.
        learning_rate: a scalar, may be traced.
        steps: of gradient descent, a multiple of `record_every`.
        record_every: steps between records; the first record is before any step.
        iterations: Hessian-vector products per record.

    Raises:
        InvalidInputError: a number is out of range.

    Example:
        >>> from genjax.metrics.curvature.objective import objective, pack
        >>> made = objective(lambda w, x: x * w[None], lambda logits, labels: logits[:, 0] ** 2 / 2)
        >>> chunks = pack(made, (jnp.full((1, 2), 3.0), jnp.zeros(1, int)))
        >>> found = training_curvature(
        ...     made, jnp.ones(2), chunks, jax.random.key(0), learning_rate=0.01, steps=2,
        ...     record_every=1, iterations=2)
        >>> found.top_eigenvalues.round(3).tolist(), found.steps.tolist()
        ([9.0, 9.0, 9.0], [0, 1, 2])
    """
    if record_every < 1 or steps < 1 or steps % record_every:
        raise InvalidInputError(
            f"steps: found {steps} with a record every {record_every}; allowed are multiples of it."
        )
    start, unravel = ravel_pytree(params)
    if iterations < 1:
        raise InvalidInputError(f"iterations: found {iterations}; at least 1 is needed.")
    iterations = min(iterations, start.size)
    chunks = averaged(chunks)
    records = steps // record_every

    def descend(_, w):
        slope = ravel_pytree(gradient(objective, unravel(w), chunks))[0]
        return w - learning_rate * slope

    def record(state, turn):
        w, near = state
        index, key = turn
        top, residual, vector = _top(objective, unravel, w, chunks, near, key, iterations)
        loss = value(objective, unravel(w), chunks)
        after = jax.lax.fori_loop(0, jnp.where(index < records, record_every, 0), descend, w)
        return (after, vector), (top, residual, loss)

    turns = jnp.arange(records + 1), jax.random.split(key, records + 1)
    (last, _), found = jax.lax.scan(record, (start, jnp.zeros_like(start)), turns)
    return TrainingCurvature(record_every * jnp.arange(records + 1), *found, unravel(last))


def _top(objective, unravel, w, chunks, near, key, iterations: int):
    """Return the top eigenvalue, its residual and its unit vector, starting near a vector."""
    product = flat(hessian(objective)(unravel(w), chunks), unravel(w))
    noise_key, key = jax.random.split(key)
    noise = jax.random.normal(noise_key, w.shape, w.dtype)
    # Some noise, because what is orthogonal to the old eigenvector would never be found.
    found = lanczos(product, near + _NOISE * noise / jnp.linalg.norm(noise), iterations, key)
    values, inner = ritz(found)
    vector = jnp.matmul(inner[:, -1], found.basis, precision="highest")
    safe = jnp.where(jnp.all(jnp.isfinite(vector)), vector, 0.0)
    return values[-1], jnp.abs(found.residual * inner[-1, -1]), safe
