"""Spectral densities and traces of matrix functions, by stochastic Lanczos quadrature."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from genjax.errors import InvalidInputError
from genjax.metrics.curvature.lanczos import clipped, count, flat, lanczos, recurrence, ritz
from genjax.metrics.curvature.traces import Estimate, estimate, signs
from genjax.types import Key, Params

_NEGATIVE = 1e-4


class Quadrature(NamedTuple):
    """Gauss quadratures of the spectral measure, one per probe.

    `n sum_k weight_k f(node_k)` estimates tr f(A), without bias in the probes. In the steps it is
    exact for polynomials of degree up to 2 steps - 1; for other functions the error falls
    exponentially in the steps and is not in the standard errors (Ubaru, Chen and Saad, SIAM J.
    Matrix Anal. 2017).

    Attributes:
        nodes: [probes, steps], in ascending order.
        weights: [probes, steps], those of a probe sum to 1.
        parameters: n, an integer.
    """

    nodes: Any
    weights: Any
    parameters: int


class Density(NamedTuple):
    """A smoothed spectral density; it integrates to 1 over the line.

    Attributes:
        grid: [g] eigenvalues.
        density: [g], mean over probes.
        standard_error: [g], over probes; NaN with one.
        width: standard deviation of the Gaussian that every eigenvalue is spread to, a scalar.
    """

    grid: Any
    density: Any
    standard_error: Any
    width: Any


def quadrature(
    product: Callable[[Params], Params],
    params: Params,
    key: Key,
    *,
    probes: int = 8,
    steps: int = 30,
    reorthogonalise: bool = True,
) -> Quadrature:
    """Return the spectral measure of a symmetric matrix, seen from random signs.

    Memory: `steps` + 4 vectors of the size of the parameters; without reorthogonalisation 4, at the
    price of more steps for the same resolution, as eigenvalues that have converged come again.

    Args:
        product: with the matrix.
        params: a tree of the shapes that the product takes.
        key: of the probes.
        probes: start vectors, one after another.
        steps: products with the matrix per probe, no more than there are parameters.
        reorthogonalise: keep all vectors of a probe orthogonal.

    Raises:
        InvalidInputError: no probes or no steps.

    Example:
        >>> scale = jnp.array([1.0, 3.0, 3.0, 3.0])
        >>> found = quadrature(lambda v: scale * v, scale, jax.random.key(0), probes=1, steps=2)
        >>> bool(jnp.allclose(found.nodes, jnp.array([[1.0, 3.0]])))
        True
        >>> bool(jnp.allclose(found.weights, jnp.array([[0.25, 0.75]])))
        True
    """
    if probes < 1:
        raise InvalidInputError(f"probes: found {probes}; at least 1 is needed.")
    steps = clipped(steps, params)
    sample, _ = ravel_pytree(params)
    matrix = flat(product, params)

    def draw(key):
        start_key, key = jax.random.split(key)
        start = signs(start_key, sample)
        if reorthogonalise:
            found = lanczos(matrix, start, steps, key)
        else:
            found = recurrence(matrix, start, steps)
        nodes, vectors = ritz(found)
        return nodes, vectors[0] ** 2

    nodes, weights = jax.lax.map(draw, jax.random.split(key, probes))
    return Quadrature(nodes, weights, count(params))


def density(found: Quadrature, *, points: int = 1000, width: Any = None) -> Density:
    """Return the spectral density, every node spread to a Gaussian.

    Args:
        found: from `quadrature`.
        points: of the grid, which reaches 6 widths beyond the nodes.
        width: standard deviation of the Gaussian; None takes 1/100 of the range of the nodes, or
            of their size where that is more. On a grid coarser than a width the integral is not 1.

    Raises:
        InvalidInputError: fewer than two points.

    Example:
        >>> scale = jnp.linspace(0.0, 1.0, 50)
        >>> nodes = quadrature(lambda v: scale * v, scale, jax.random.key(0), probes=2)
        >>> found = density(nodes)
        >>> round(float(jnp.trapezoid(found.density, found.grid)), 4)
        1.0
    """
    if points < 2:
        raise InvalidInputError(f"points: found {points}; at least 2 are needed.")
    low, high = jnp.min(found.nodes), jnp.max(found.nodes)
    if width is None:
        size = jnp.maximum(high - low, jnp.maximum(jnp.abs(low), jnp.abs(high)))
        width = jnp.where(size > 0, size, 1.0) / 100
    width = jnp.asarray(width, found.nodes.dtype)
    grid = jnp.linspace(low - 6 * width, high + 6 * width, points)

    def smoothed(pair):
        nodes, weights = pair
        away = (grid[:, None] - nodes[None]) / width
        bells = jnp.exp(-(away**2) / 2) / (width * jnp.sqrt(2 * jnp.pi).astype(width.dtype))
        return jnp.sum(bells * weights[None], axis=-1)

    curves = estimate(jax.lax.map(smoothed, (found.nodes, found.weights)))
    return Density(grid, *curves, width)


def trace_of(function: Callable[[Any], Any], found: Quadrature) -> Estimate:
    """Return tr f(A), f applied to the eigenvalues.

    Args:
        function: of eigenvalues [probes, steps].
        found: from `quadrature`.

    Example:
        >>> scale = jnp.array([1.0, 2.0, 3.0])
        >>> nodes = quadrature(lambda v: scale * v, scale, jax.random.key(0))
        >>> round(float(trace_of(jnp.square, nodes).value), 3)
        14.0
    """
    return estimate(found.parameters * jnp.sum(found.weights * function(found.nodes), axis=-1))


def _above_zero(damping: Any) -> Any:
    """Return damping, NaN where it is not positive (it may be traced)."""
    damping = jnp.asarray(damping)
    return jnp.where(damping > 0, damping, jnp.nan)


def log_determinant(found: Quadrature, damping: Any) -> Estimate:
    """Return ln det(A + damping 1) of a positive semi-definite matrix, in nats.

    NaN where a node is more negative than rounding would make it.

    Args:
        found: from `quadrature` of a Gauss-Newton or Fisher matrix.
        damping: positive; else the result is NaN.

    Example:
        >>> scale = jnp.array([1.0, 3.0])
        >>> nodes = quadrature(lambda v: scale * v, scale, jax.random.key(0))
        >>> round(float(log_determinant(nodes, 1.0).value), 4)  # ln 2 + ln 4
        2.0794
    """
    damping = _above_zero(damping)
    return trace_of(lambda nodes: jnp.log(_positive(nodes) + damping), found)


def effective_dimension(found: Quadrature, damping: Any) -> Estimate:
    """Return sum_i l_i/(l_i + damping), l_i the eigenvalues of a positive semi-definite matrix.

    MacKay, Bayesian Interpolation, Neural Computation 1992, equation 4.9 (the number of
    well-determined parameters). NaN where a node is more negative than rounding would make it.

    Args:
        found: from `quadrature` of a Gauss-Newton or Fisher matrix.
        damping: positive; else the result is NaN.

    Example:
        >>> scale = jnp.array([1.0, 3.0])
        >>> nodes = quadrature(lambda v: scale * v, scale, jax.random.key(0))
        >>> round(float(effective_dimension(nodes, 1.0).value), 4)
        1.25
    """
    damping = _above_zero(damping)

    def share(nodes):
        positive = _positive(nodes)
        return positive / (positive + damping)

    return trace_of(share, found)


def _positive(nodes: Any) -> Any:
    rounding = nodes >= -_NEGATIVE * jnp.max(jnp.abs(nodes))
    return jnp.where(rounding, jnp.maximum(nodes, 0.0), jnp.nan)
