"""Lanczos' iteration for a symmetric matrix that is given by its products.

Written here and not taken from matfree: curvature matrices are often of low rank, where its vectors
stop being orthogonal once the Krylov space ends and eigenvalues come again as copies; and its form
without reorthogonalisation keeps all vectors.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from genjax.errors import InvalidInputError
from genjax.types import Key, Params

Matrix = Callable[[Any], Any]
"""A symmetric matrix, as what it does to a vector [n]."""


class Projection(NamedTuple):
    """A symmetric matrix A on the space of k orthonormal vectors V: `A V = V T + r e_k'`.

    Attributes:
        basis: V transposed, [k, n]; None if it was not kept.
        matrix: T, [k, k]; tridiagonal unless restarted.
        following: r / ||r||, [n]: orthogonal to V; random where r is zero.
        residual: ||r||, a scalar.
    """

    basis: Any
    matrix: Any
    following: Any
    residual: Any


def count(params: Params) -> int:
    """Return the number of parameters.

    Example:
        >>> count({"w": jnp.ones((2, 3)), "b": jnp.ones(3)})
        9
    """
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


def flat(product: Callable[[Params], Params], params: Params) -> Matrix:
    """Return a product of trees as one of vectors [n], leaf after leaf."""
    _, unflatten = ravel_pytree(params)
    return lambda vector: ravel_pytree(product(unflatten(vector)))[0]


def clipped(steps: int, params: Params) -> int:
    """Return the number of steps, no more than there are parameters.

    Raises:
        InvalidInputError: fewer than one step.
    """
    if steps < 1:
        raise InvalidInputError(f"steps: found {steps}; at least 1 is needed.")
    return min(steps, count(params))


def lanczos(matrix: Matrix, start: Any, steps: int, key: Key) -> Projection:
    """Run Lanczos' iteration (1950) with full reorthogonalisation from a start vector [n].

    Where the Krylov space ends, it goes on in the space that is left, from a random vector: values
    of higher multiplicity come as often as they are there. Memory: `steps` + 4 vectors.

    Args:
        matrix: [n] -> [n].
        start: of any length but zero.
        steps: k <= n.
        key: of the random vectors.

    Example:
        >>> found = lanczos(
        ...     lambda v: jnp.array([1.0, 3.0]) * v, jnp.ones(2), 2, jax.random.key(0))
        >>> found.matrix.round(4).tolist()
        [[2.0, 1.0], [1.0, 2.0]]
    """
    basis = jnp.zeros((steps, len(start)), start.dtype)
    small = jnp.zeros((steps, steps), start.dtype)
    unit = start / _length(start)
    begin = Projection(basis, small, unit, jnp.zeros((), start.dtype))
    return extended(matrix, begin, 0, key)


def extended(matrix: Matrix, found: Projection, first: int, key: Key) -> Projection:
    """Fill a basis up, of which the first vectors are there, and the next one is `following`."""
    steps = len(found.basis)

    def step(index, state: Projection):
        basis = state.basis.at[index].set(state.following)
        image = matrix(state.following)
        along, rest = _split(basis, image)
        rest = _split(basis, rest)[1]
        small = state.matrix.at[:, index].set(along).at[index].set(along)
        lost = 4 * jnp.finfo(rest.dtype).eps * jnp.max(jnp.abs(small))
        following, length = _next(basis, rest, lost, jax.random.fold_in(key, index))
        return Projection(basis, small, following, length)

    return jax.lax.fori_loop(first, steps, step, found)


def _split(basis: Any, vector: Any) -> tuple[Any, Any]:
    """Return coordinates [k] of a vector in an orthonormal basis, and what is orthogonal to it."""
    along = jnp.matmul(basis, vector, precision="highest")
    return along, vector - jnp.matmul(along, basis, precision="highest")


def _length(vector: Any) -> Any:
    """Return the norm; squares of very small or large numbers neither vanish nor overflow."""
    largest = jnp.max(jnp.abs(vector))
    scaled = vector / jnp.where(largest > 0, largest, 1)
    return largest * jnp.linalg.norm(scaled)


def _next(basis: Any, rest: Any, lost: Any, key: Key) -> tuple[Any, Any]:
    """Return the unit vector to go on with, and the length of what led to it.

    The Krylov space ended, and the length is zero, where what is left after two orthogonalisations
    is rounding: no longer than `lost`, or not orthogonal.
    """
    tiny = jnp.finfo(rest.dtype).tiny
    length = _length(rest)
    checked = _split(basis, rest / jnp.maximum(length, tiny))[1]
    share = _length(checked)
    # NaN is no end: it has to be seen.
    ended = (length <= lost) | (share < 0.5)

    def fresh():
        drawn = jax.random.normal(key, rest.shape, rest.dtype)
        for _ in range(2):
            drawn = _split(basis, drawn)[1]
            drawn = drawn / jnp.maximum(_length(drawn), tiny)
        return drawn

    following = jax.lax.cond(ended, fresh, lambda: checked / jnp.maximum(share, tiny))
    return following, jnp.where(ended, 0.0, length)


def recurrence(matrix: Matrix, start: Any, steps: int) -> Projection:
    """Run Lanczos' iteration as a three-term recurrence, without reorthogonalisation.

    Eigenvalues that have converged come again as copies, which share their weight: right for
    quadrature (Greenbaum, Linear Algebra Appl. 1989), not for counting. Memory: 4 vectors.

    Args:
        matrix: [n] -> [n].
        start: of any length but zero.
        steps: k.

    Example:
        >>> found = recurrence(lambda v: jnp.array([1.0, 3.0]) * v, jnp.ones(2), 2)
        >>> found.matrix.round(4).tolist()
        [[2.0, 1.0], [1.0, 2.0]]
    """
    tiny = jnp.finfo(start.dtype).tiny

    def step(state, _):
        previous, current, beta = state
        image = matrix(current)
        alpha = jnp.vdot(current, image)
        rest = image - alpha * current - beta * previous
        length = _length(rest)
        return (current, rest / jnp.maximum(length, tiny), length), (alpha, length)

    unit = start / _length(start)
    begin = (jnp.zeros_like(unit), unit, jnp.zeros((), start.dtype))
    (_, following, _), (diagonal, lengths) = jax.lax.scan(step, begin, None, length=steps)
    beside = lengths[:-1]
    small = jnp.diag(diagonal) + jnp.diag(beside, 1) + jnp.diag(beside, -1)
    return Projection(None, small, following, lengths[-1])


def ritz(found: Projection) -> tuple[Any, Any]:
    """Return the eigenvalues of T in ascending order, and its eigenvectors in columns.

    The eigenvalues are NaN where T is not finite. One matrix at a time: on CPU, batches of
    decompositions inside of programs can wait for their own threads.
    """
    finite = jnp.all(jnp.isfinite(found.matrix))
    values, vectors = jnp.linalg.eigh(jnp.where(finite, found.matrix, 0.0))
    return jnp.where(finite, values, jnp.nan), vectors
