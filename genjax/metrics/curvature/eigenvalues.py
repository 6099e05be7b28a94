"""Largest and smallest eigenvalues of a curvature matrix, with bounds on their errors."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from genjax.errors import InvalidInputError
from genjax.metrics.curvature.lanczos import (
    Matrix,
    Projection,
    clipped,
    count,
    extended,
    flat,
    lanczos,
    ritz,
)
from genjax.types import Key, Params


class Eigenvalues(NamedTuple):
    """Extreme eigenvalues of a symmetric matrix.

    The interval `value +- residual` holds an eigenvalue of the matrix (Parlett, The Symmetric
    Eigenvalue Problem, theorem 4.5.1), up to rounding. That it is the extreme one is not certain,
    but likely: a random start has a share in every eigenvector.

    Attributes:
        top: [k], the largest first.
        top_residuals: [k], `||A v - value v||`.
        bottom: [l], the smallest first.
        bottom_residuals: [l].
        top_vectors: a tree like the parameters with a leading axis [k], of length 1 each; or None.
        bottom_vectors: the same with [l], or None.
        info: `steps`, products with the matrix that were made: those asked for, but no more than
            there are parameters; with restarts up to the end of a cycle.
    """

    top: Any
    top_residuals: Any
    bottom: Any
    bottom_residuals: Any
    top_vectors: Any
    bottom_vectors: Any
    info: dict[str, Any]


def extreme_eigenvalues(
    product: Callable[[Params], Params],
    params: Params,
    key: Key,
    *,
    top: int = 1,
    bottom: int = 0,
    steps: int = 30,
    kept: int | None = None,
    vectors: bool = False,
) -> Eigenvalues:
    """Return the largest and smallest eigenvalues by Lanczos with full reorthogonalisation.

    Memory: `steps` + 4 vectors of the size of the parameters. With `kept` it is at most twice that
    many + 4, however many steps: Lanczos with thick restarts (Wu and Simon, SIAM J. Matrix Anal.
    2000), which needs more steps for the same residual.

    Args:
        product: with the matrix, e.g. `hessian(objective)(params, chunks)`.
        params: a tree of the shapes that the product takes.
        key: of the start vector.
        top: how many of the largest.
        bottom: how many of the smallest.
        steps: products with the matrix; more than there are parameters are not made.
        kept: vectors in memory at once, at least `top + bottom + 2`; None keeps all.
        vectors: return eigenvectors, too.

    Raises:
        InvalidInputError: a number is out of range.

    Example:
        >>> scale = jnp.arange(1.0, 6.0)
        >>> found = extreme_eigenvalues(
        ...     lambda v: scale * v, jnp.zeros(5), jax.random.key(0), top=2, bottom=1)
        >>> found.top.round(3).tolist(), found.bottom.round(3).tolist(), found.info["steps"]
        ([5.0, 4.0], [1.0], 5)
    """
    asked = top + bottom
    if top < 0 or bottom < 0 or not 1 <= asked <= count(params):
        raise InvalidInputError(
            f"top, bottom: found {top} and {bottom}; of {count(params)} parameters at least 1 and "
            "at most all can be asked for."
        )
    steps = clipped(steps, params)
    if steps < asked:
        raise InvalidInputError(f"steps: found {steps}; {asked} eigenvalues need as many.")
    if kept is not None and kept < asked + 2:
        raise InvalidInputError(f"kept: found {kept}; at least top + bottom + 2 are needed.")
    sample, unflatten = ravel_pytree(params)
    start_key, key = jax.random.split(key)
    start = jax.random.normal(start_key, sample.shape, sample.dtype)
    matrix = flat(product, params)
    if kept is None or kept >= steps:
        found = lanczos(matrix, start, steps, key)
    else:
        found, steps = _restarted(matrix, start, steps, kept, (bottom, top), key)
    values, inner = ritz(found)
    residuals = jnp.abs(found.residual * inner[-1])

    def pick(indices):
        if not vectors:
            return values[indices], residuals[indices], None
        combined = jnp.matmul(inner[:, indices].T, found.basis, precision="highest")
        return values[indices], residuals[indices], jax.vmap(unflatten)(combined)

    high, high_errors, high_vectors = pick(len(values) - 1 - jnp.arange(top))
    low, low_errors, low_vectors = pick(jnp.arange(bottom))
    info = {"steps": steps}
    return Eigenvalues(high, high_errors, low, low_errors, high_vectors, low_vectors, info)


def _restarted(
    matrix: Matrix, start: Any, steps: int, kept: int, ends: tuple[int, int], key: Key
) -> tuple[Projection, int]:
    """Return a projection on `kept` vectors, restarted from those at both ends, and the products.

    From one cycle to the next go as many Ritz vectors as are asked for, and of the rest of the room
    half, at the same ends: they hold what was found of the nearest others.
    """
    room = (kept - 1 - sum(ends)) // 2
    low, high = (number + room * number // sum(ends) for number in ends)
    locked = low + high
    cycles = 1 + max(0, -(-(steps - kept) // (kept - locked)))
    order = jnp.r_[0:low, kept - high : kept]

    def restart(cycle, found: Projection):
        values, inner = ritz(found)
        basis = jnp.matmul(inner[:, order].T, found.basis, precision="highest")
        small = jnp.zeros_like(found.matrix).at[:locked, :locked].set(jnp.diag(values[order]))
        begin = found._replace(
            basis=jnp.zeros_like(found.basis).at[:locked].set(basis), matrix=small
        )
        return extended(matrix, begin, locked, jax.random.fold_in(key, cycle))

    found = lanczos(matrix, start, kept, key)
    found = jax.lax.fori_loop(1, cycles, restart, found)
    return found, kept + (cycles - 1) * (kept - locked)
