"""Curvature matrices of small networks, entry by entry."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from genjax.errors import InvalidInputError
from genjax.metrics.curvature.lanczos import flat
from genjax.types import Params

LIMIT = 5000
"""Parameters up to which a dense matrix is made: 100 MB in float32."""


def dense(product: Callable[[Params], Params], params: Params, *, limit: int = LIMIT) -> Any:
    """Return a symmetric matrix [n, n] from its n products with unit vectors.

    Rows and columns are the parameters leaf after leaf, as `jax.flatten_util.ravel_pytree` has
    them.

    Args:
        product: with the matrix.
        params: a tree of the shapes that the product takes.
        limit: parameters up to which the matrix is made.

    Raises:
        InvalidInputError: there are more parameters than `limit`.

    Example:
        >>> scale = jnp.array([1.0, 2.0])
        >>> dense(lambda v: scale * v, scale).tolist()
        [[1.0, 0.0], [0.0, 2.0]]
    """
    sample, _ = ravel_pytree(params)
    if len(sample) > limit:
        raise InvalidInputError(
            f"params: found {len(sample)} parameters; a dense matrix is made of at most {limit}."
        )
    matrix = flat(product, params)

    def column(index):
        return matrix(jnp.zeros_like(sample).at[index].set(1))

    return jax.lax.map(column, jnp.arange(len(sample))).T
