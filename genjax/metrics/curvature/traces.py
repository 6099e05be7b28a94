"""Traces and diagonals of a matrix from products with random vectors, with standard errors."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from genjax.errors import InvalidInputError
from genjax.metrics.curvature.lanczos import count, flat
from genjax.types import Key, Params


class Estimate(NamedTuple):
    """A mean over independent draws.

    Attributes:
        value: the mean.
        standard_error: its standard deviation, from the spread of the draws; NaN with one draw.
    """

    value: Any
    standard_error: Any


class Trace(NamedTuple):
    """A trace, and the parts of it that belong to each array of parameters.

    Attributes:
        value: a scalar.
        standard_error: of it.
        leaves: trace of the diagonal block of every leaf: a tree like the parameters, of scalars.
        leaf_errors: their standard errors.
    """

    value: Any
    standard_error: Any
    leaves: Any
    leaf_errors: Any


def estimate(draws: Any) -> Estimate:
    """Return mean and standard error over the first axis.

    Example:
        >>> found = estimate(jnp.array([1.0, 3.0]))
        >>> float(found.value), float(found.standard_error)
        (2.0, 1.0)
    """
    number = draws.shape[0]
    mean = jnp.mean(draws, axis=0)
    if number == 1:
        return Estimate(mean, jnp.full_like(mean, jnp.nan))
    return Estimate(mean, jnp.std(draws, axis=0, ddof=1) / number**0.5)


def signs(key: Key, sample: Any) -> Any:
    """Return a vector like `sample`, [n], of independent signs, -1 or 1.

    One random word holds 32 of them: a word each would take a tenth of the time of a product with a
    small network's Hessian.

    Example:
        >>> bool(jnp.all(signs(jax.random.key(0), jnp.zeros(50)) ** 2 == 1))
        True
    """
    size = sample.shape[0]
    words = jax.random.bits(key, (-(-size // 32), 1), jnp.uint32)
    bits = (words >> jnp.arange(32, dtype=jnp.uint32)[None]) & 1
    return 1 - 2 * bits.reshape(-1)[:size].astype(sample.dtype)


def rademacher(key: Key, params: Params) -> Params:
    """Return a tree like the parameters of independent signs, -1 or 1.

    Example:
        >>> bool(jnp.all(rademacher(jax.random.key(0), jnp.zeros((5, 2))) ** 2 == 1))
        True
    """
    sample, unflatten = ravel_pytree(params)
    return unflatten(signs(key, sample))


def _checked(probes: int) -> int:
    if probes < 1:
        raise InvalidInputError(f"probes: found {probes}; at least 1 is needed.")
    return probes


def trace(
    product: Callable[[Params], Params], params: Params, key: Key, *, probes: int = 32
) -> Trace:
    """Return E[v' A v] over random signs v (Hutchinson 1990), and the same of every leaf.

    The variance of one draw is 2 (||A||_F^2 - sum_i A_ii^2). Probes are made one after another.
    Memory: 2 vectors.

    Args:
        product: with a symmetric matrix.
        params: a tree of the shapes that the product takes.
        key: of the probes.
        probes: products with the matrix.

    Raises:
        InvalidInputError: no probes.

    Example:
        >>> scale = {"w": jnp.array([1.0, 2.0]), "b": jnp.array([4.0])}
        >>> found = trace(
        ...     lambda v: jax.tree.map(jnp.multiply, scale, v), scale, jax.random.key(0))
        >>> float(found.value), float(found.leaves["w"]), float(found.standard_error)
        (7.0, 3.0, 0.0)
    """

    def draw(key):
        drawn = rademacher(key, params)
        return jax.tree.map(jnp.vdot, drawn, product(drawn))

    draws = jax.lax.map(draw, jax.random.split(key, _checked(probes)))
    whole = estimate(sum(jax.tree.leaves(draws)))
    parts = [estimate(leaf) for leaf in jax.tree.leaves(draws)]
    structure = jax.tree.structure(params)
    means, errors = ([part[i] for part in parts] for i in range(2))
    return Trace(*whole, jax.tree.unflatten(structure, means), structure.unflatten(errors))


def diagonal(
    product: Callable[[Params], Params], params: Params, key: Key, *, probes: int = 32
) -> Estimate:
    """Return E[v * A v] over random signs v, entry by entry (Bekas, Kokiopoulou and Saad 2007).

    The variance of one draw of entry i is sum_{j != i} A_ij^2. Memory: 4 vectors.

    Args:
        product: with a symmetric matrix.
        params: a tree of the shapes that the product takes.
        key: of the probes.
        probes: products with the matrix.

    Returns:
        Trees like the parameters.

    Raises:
        InvalidInputError: no probes.

    Example:
        >>> scale = jnp.array([1.0, 2.0, 4.0])
        >>> diagonal(lambda v: scale * v, scale, jax.random.key(0), probes=4).value.tolist()
        [1.0, 2.0, 4.0]
    """
    zeros = jax.tree.map(jnp.zeros_like, params)

    def draw(state, key):
        number, mean, spread = state
        probe = rademacher(key, params)
        drawn = jax.tree.map(jnp.multiply, probe, product(probe))
        # Welford's update: the spread is never the difference of two large sums.
        number = number + 1
        moved = jax.tree.map(lambda d, m: m + (d - m) / number.astype(m.dtype), drawn, mean)
        spread = jax.tree.map(lambda s, d, m, n: s + (d - m) * (d - n), spread, drawn, mean, moved)
        return (number, moved, spread), None

    start = (jnp.zeros((), jnp.int32), zeros, zeros)
    keys = jax.random.split(key, _checked(probes))
    (_, mean, spread), _ = jax.lax.scan(draw, start, keys)
    # 0/0 where there is one probe: its error is not known.
    errors = jax.tree.map(lambda s: jnp.sqrt(s / jnp.asarray(probes - 1, s.dtype) / probes), spread)
    return Estimate(mean, errors)


def low_rank_trace(
    product: Callable[[Params], Params], params: Params, key: Key, *, products: int = 30
) -> Estimate:
    """Return the trace by Hutch++ (Meyer, Musco, Musco and Woodruff, SOSA 2021, algorithm 1).

    tr(Q'AQ) + E[g'(1 - QQ') A (1 - QQ') g], with Q an orthonormal basis of A S for random signs S.
    Exact for matrices of rank below a third of the products; the error falls as 1/products, where
    that of `trace` falls as its square root. The standard error is that of the second term given Q.
    Written here and not taken from matfree, whose form has all probes in one product and draws that
    are not independent. Memory: `products` vectors.

    Args:
        product: with a symmetric matrix.
        params: a tree of the shapes that the product takes.
        key: of the probes.
        products: with the matrix; a third each for S, Q and the second term, at least 3. Where
            they are more than enough for all of the matrix, its trace is exact.

    Raises:
        InvalidInputError: fewer than 3 products.

    Example:
        >>> scale = jnp.array([5.0, 3.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
        >>> found = low_rank_trace(lambda v: scale * v, scale, jax.random.key(0), products=9)
        >>> round(float(found.value), 3)
        8.0
    """
    if products < 3:
        raise InvalidInputError(f"products: found {products}; at least 3 are needed.")
    sample, _ = ravel_pytree(params)
    matrix, rank = flat(product, params), min(products // 3, count(params))
    sketch_key, rest_key = jax.random.split(key)
    sketch = jax.lax.map(lambda k: matrix(signs(k, sample)), jax.random.split(sketch_key, rank))
    basis = jnp.linalg.qr(sketch.T)[0]

    def quadratic(vector):
        return jnp.vdot(vector, matrix(vector))

    def outside(key):
        drawn = signs(key, sample)
        along = jnp.matmul(drawn, basis, precision="highest")
        return quadratic(drawn - jnp.matmul(basis, along, precision="highest"))

    inside = jnp.sum(jax.lax.map(quadratic, basis.T))
    found = estimate(jax.lax.map(outside, jax.random.split(rest_key, products - 2 * rank)))
    return Estimate(inside + found.value, found.standard_error)
