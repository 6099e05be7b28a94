"""Wasserstein distances between samples, and the bound on the gap that they give.

In one dimension distances are exact: sorted samples against sorted samples. In more, the sliced
distance averages over directions, and the exact one solves an assignment. JAX or NumPy arrays; the
distances of one dimension and the sliced ones go through `jit` and `vmap`.
"""

from typing import Any, NamedTuple

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from genjax.errors import InvalidInputError
from genjax.types import Key

Host = np.ndarray


class SlicedDistance(NamedTuple):
    """A sliced distance and how far its directions leave it open.

    Attributes:
        value: in the units of the points.
        standard_error: over directions only, not over the points.
    """

    value: Float[Array, ""]
    standard_error: Float[Array, ""]


class TransportBound(NamedTuple):
    """A bound on the gap estimated from samples.

    Attributes:
        value: too large on average, so that it stays a bound on average.
        chance: what it is on average if the outputs do not depend on any example, from parts of the
            marginal sample; a value near it says nothing.
    """

    value: float
    chance: float


def wasserstein(first: Any, second: Any, *, order: int = 1) -> Float[Array | Host, "*batch"]:
    """Wasserstein distance of order 1 or 2 between samples in one dimension, exact.

    `W_p^p = int_0^1 |F^-1(u) - G^-1(u)|^p du` of the two empirical distributions; samples may
    differ in size. Between samples of one distribution it is not 0 but of order `N^-1/2`.

    Args:
        first: `[..., n]`; leading axes are of many pairs of samples and broadcast.
        second: `[..., m]`.
        order: p, 1 or 2.

    Returns:
        In the units of the samples. NumPy in, float64 out; else JAX.

    Raises:
        InvalidInputError: another order, or a sample without values.

    Example:
        >>> float(wasserstein(np.array([0.0, 1.0]), np.array([2.0])))
        1.5
    """
    if order not in (1, 2):
        raise InvalidInputError(f"order: found {order}; allowed are 1 and 2.")
    host = not (isinstance(first, jax.Array) or isinstance(second, jax.Array))
    xp = np if host else jnp
    pair = []
    for name, values in (("first", first), ("second", second)):
        values = np.asarray(values, np.float64) if host else jnp.asarray(values)
        if values.ndim < 1 or values.shape[-1] == 0:
            raise InvalidInputError(f"{name}: found shape {values.shape}; a value is needed.")
        pair.append(xp.sort(values, axis=-1))
    x, y = pair
    of_x, of_y, widths = _pieces(x.shape[-1], y.shape[-1])
    leading = np.broadcast_shapes(x.shape[:-1], y.shape[:-1])
    apart = xp.abs(
        xp.broadcast_to(x[..., of_x], (*leading, widths.size))
        - xp.broadcast_to(y[..., of_y], (*leading, widths.size))
    )
    weights = xp.asarray(widths, apart.dtype)
    if order == 2:
        return xp.asarray(xp.sqrt(xp.matmul(apart * apart, weights)))
    return xp.asarray(xp.matmul(apart, weights))


def sliced_wasserstein(
    first: Float[Any, "n d"],
    second: Float[Any, "m dims"],
    key: Key,
    *,
    order: int = 1,
    num_directions: int = 128,
) -> SlicedDistance:
    """Sliced Wasserstein distance in d dimensions, `(mean_theta W_p^p(theta'X, theta'Y))^(1/p)`.

    Directions are uniform on the sphere (Bonneel et al. 2015). It is at most the Wasserstein
    distance itself (of a shift by s it is about `s sqrt(2 / (pi d))` for p = 1 and `s / sqrt(d)`
    for p = 2), so it must not stand for it in an upper bound. The standard error of p = 2 comes
    from that of the mean square; it is 0 where the distance is.

    Args:
        first: points.
        second: points, as many or not.
        key: of the directions; the same key gives the same directions.
        order: p, 1 or 2.
        num_directions: at least 2.

    Raises:
        InvalidInputError: different dimensions, too few directions, another order.

    Example:
        >>> x = jnp.zeros((5, 1))
        >>> [float(v) for v in sliced_wasserstein(x, x + 3.0, jax.random.key(0))]
        [3.0, 0.0]
    """
    first, second = jnp.asarray(first), jnp.asarray(second)
    if first.shape[1] != second.shape[1]:
        raise InvalidInputError(
            f"second: found {second.shape[1]} dimensions; the first has {first.shape[1]}."
        )
    if num_directions < 2:
        raise InvalidInputError(f"num_directions: found {num_directions}; 2 or more are needed.")
    directions = jax.random.normal(key, (num_directions, first.shape[1]), first.dtype)
    directions = directions / jnp.linalg.norm(directions, axis=1, keepdims=True)
    along = [jnp.matmul(directions, points.T, precision="highest") for points in (first, second)]
    powers = wasserstein(*along, order=order) ** order
    mean = powers.mean()
    error = powers.std(ddof=1) / num_directions**0.5
    if order == 1:
        return SlicedDistance(mean, error)
    root = jnp.sqrt(mean)
    return SlicedDistance(root, jnp.where(root > 0, 0.5 * error / jnp.where(root > 0, root, 1), 0))


def assigned_wasserstein(first: Any, second: Any, *, order: int = 1) -> float:
    """Wasserstein distance of order 1 or 2 between samples of equal size in d dimensions, exact.

    `min_perm (mean_i ||x_i - y_perm(i)||^p)^(1/p)`: an assignment, O(n^3); some seconds for 2,000.
    Between samples of one distribution it falls only as `n^(-1/d)`. Host.

    Args:
        first: `[n, d]`.
        second: `[n, d]`.
        order: p, 1 or 2.

    Raises:
        InvalidInputError: different shapes, or another order.

    Example:
        >>> assigned_wasserstein([[0.0, 0.0], [4.0, 0.0]], [[4.0, 3.0], [0.0, 3.0]])
        3.0
    """
    x, y = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if x.shape != y.shape or x.ndim != 2:
        raise InvalidInputError(
            f"second: found shape {y.shape}; that of the first, {x.shape}, is needed, as [n, d]."
        )
    if order not in (1, 2):
        raise InvalidInputError(f"order: found {order}; allowed are 1 and 2.")
    costs = cdist(x, y) ** order
    return float(costs[linear_sum_assignment(costs)].mean() ** (1 / order))


def transport_bound(distances: Any, lipschitz: Any) -> Any:
    """Bound on the gap, `K mean_i E W_1(P_W, P_(W|Z_i))`, from the distances.

    For a loss that is K-Lipschitz in w for every z; no sub-Gaussian loss is needed. The theorem of
    Zhang, Liu and Tao (An optimal transport analysis of generalization in deep learning, 2021),
    without its contraction over layers. Sliced distances are too small to be put in.

    Args:
        distances: of every example, averaged over its value, `[..., n]`; not negative.
        lipschitz: K, not negative.

    Returns:
        `[...]`, in the units of the loss.

    Raises:
        InvalidInputError: a distance or K is negative.

    Example:
        >>> float(transport_bound(np.array([0.1, 0.3]), 2.0))
        0.4
    """
    distances = distances if isinstance(distances, jax.Array) else np.asarray(distances, np.float64)
    for name, values in (("distances", distances), ("lipschitz", lipschitz)):
        if not isinstance(values, jax.core.Tracer) and np.any(np.asarray(values) < 0):
            raise InvalidInputError(f"{name}: found a negative value; 0 or more is needed.")
    return lipschitz * distances.mean(axis=-1)


def estimated_transport_bound(
    marginal: Any, conditional: Any, lipschitz: float | int, key: Key, *, splits: int = 32
) -> TransportBound:
    """Bound on the gap from samples of scalar outputs W, with and without an example given.

    `K mean W_1(marginal, conditional)`. Distances of empirical distributions are too large on
    average (W_1 is convex in both), by `O(1/sqrt(S))` where nothing depends: `chance` shows it.

    Args:
        marginal: samples of P_W, `[M]`.
        conditional: samples of P_(W|Z_i = z), `[..., S]`; leading axes run over examples i and
            drawn values z, all of the same weight.
        lipschitz: K of the loss in w.
        key: of the parts of the marginal sample that `chance` compares.
        splits: how many of these parts. They have min(S, M/2) values each.

    Raises:
        InvalidInputError: fewer than 2 marginal samples, values that are not finite, no split, or a
            negative K.

    Example:
        >>> w = np.random.default_rng(0).normal(size=(2, 500))
        >>> found = estimated_transport_bound(w[0], w[1:] + 1.0, 1.0, jax.random.key(0))
        >>> 0.8 < found.value < 1.2, found.chance < 0.2
        (True, True)
    """
    marginal, conditional = np.asarray(marginal, np.float64), np.asarray(conditional, np.float64)
    if marginal.ndim != 1 or marginal.size < 2:
        raise InvalidInputError(
            f"marginal: found shape {marginal.shape}; [M] is needed, M at least 2."
        )
    if not (np.isfinite(marginal).all() and np.isfinite(conditional).all()):
        raise InvalidInputError("marginal: found outputs, there or given, that are not finite.")
    if splits < 1:
        raise InvalidInputError(f"splits: found {splits}; at least 1 is needed.")
    value = transport_bound(np.ravel(wasserstein(marginal, conditional)), lipschitz)
    size = min(conditional.shape[-1], marginal.size // 2)
    seed = np.asarray(jax.random.key_data(key)).ravel().tolist()
    mixed = np.random.default_rng(seed).permuted(np.tile(marginal, (splits, 1)), axis=1)
    by_chance = transport_bound(wasserstein(mixed[:, :size], mixed[:, size:]), lipschitz)
    return TransportBound(float(value), float(by_chance))


def _pieces(n: int, m: int) -> tuple[Any, Any, Any]:
    """Cut (0, 1] where either quantile function jumps: both ranks and the width of each piece."""
    if n == m:
        ranks = np.arange(n)
        return ranks, ranks, np.full(n, 1 / n)
    # Whole numbers in units of 1/(nm): ends that coincide are one end.
    ends = np.union1d(np.arange(1, n + 1) * m, np.arange(1, m + 1) * n)
    widths = np.diff(ends, prepend=0) / (n * m)
    return (ends - 1) // m, (ends - 1) // n, widths
