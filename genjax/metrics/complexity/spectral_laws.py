"""Laws of eigenvalues: power-law tails and the Marchenko-Pastur bulk."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

_CANDIDATES = 256
"""Cut-offs that are tried at once."""

_TRACY_WIDOM_95 = 0.9793
"""95th percentile of the Tracy-Widom law for real matrices."""


class PowerLaw(NamedTuple):
    """The power law p(x) ~ x^-alpha that fits the largest values best.

    Attributes:
        alpha: exponent, by maximum likelihood; NaN with fewer than 2 different positive values.
        xmin: smallest value of the tail.
        distance: Kolmogorov-Smirnov distance between tail and law.
        tail: number of values in the tail.
    """

    alpha: Any
    xmin: Any
    distance: Any
    tail: Any


def fit_power_law(values: Float[Array, " n"]) -> PowerLaw:
    """Fit a continuous power law, its cut-off chosen among all values.

    alpha(xmin) = 1 + k / sum ln(x_j / xmin) over the k values x_j >= xmin, and xmin minimises the
    Kolmogorov-Smirnov distance max_j |1 - (x_j / xmin)^(1 - alpha) - (j - 1) / k| (Clauset, Shalizi
    and Newman, Power-law distributions in empirical data, 2009, eqs 3.1 and 3.9; the empirical
    distribution is the lower step, as in their program and in the packages `powerlaw` and
    `weightwatcher`). The largest value is no candidate; there is no bound on alpha.

    Args:
        values: in any order; what is not positive is left out. At most 256 n numbers are held.

    Example:
        >>> quantiles = (1.0 - (jnp.arange(250) + 0.5) / 250) ** (-1 / 1.5)
        >>> round(float(fit_power_law(quantiles).alpha), 1)
        2.5
    """
    count = values.shape[0]
    ordered = jnp.sort(jnp.where(values > 0, values, 0.0))
    logs = jnp.log(jnp.where(ordered > 0, ordered, 1.0))
    places = jnp.arange(count)

    def law(i):
        kept = places >= i
        excess = jnp.where(kept, logs - logs[i], 0.0)
        size = count - i
        alpha = 1.0 + size / jnp.sum(excess)
        expected = -jnp.expm1(-(alpha - 1.0) * excess)
        apart = jnp.abs(expected - (places - i) / size)
        # Equal values are one candidate, with all of them in its tail.
        first = (i == 0) | (ordered[i] > ordered[i - 1])
        allowed = (ordered[i] > 0) & first & (logs[-1] > logs[i])
        return jnp.where(allowed, jnp.max(jnp.where(kept, apart, 0.0)), jnp.inf), alpha

    candidates = jnp.arange(max(count - 1, 1))
    if count <= _CANDIDATES:
        distances, alphas = jax.vmap(law)(candidates)
    else:
        distances, alphas = jax.lax.map(law, candidates, batch_size=_CANDIDATES)
    best = jnp.argmin(distances)
    found = jnp.isfinite(distances[best])
    first = jnp.where(found, ordered[best], jnp.nan)
    return PowerLaw(
        jnp.where(found, alphas[best], jnp.nan),
        first,
        jnp.where(found, distances[best], jnp.nan),
        jnp.where(found, count - best, 0),
    )


@functools.cache
def marchenko_pastur_median(ratio: float) -> float:
    """Return the median of the Marchenko-Pastur law of unit variance.

    Its density is sqrt((b - x)(x - a)) / (2 pi ratio x) on [a, b] = [(1 - sqrt(ratio))^2,
    (1 + sqrt(ratio))^2] (Gavish and Donoho, The optimal hard threshold for singular values is
    4/sqrt(3), 2014).

    Args:
        ratio: columns / rows of a tall random matrix, in (0, 1].

    Example:
        >>> round(marchenko_pastur_median(1.0), 3)
        0.653
    """
    low, high = (1 - np.sqrt(ratio)) ** 2, (1 + np.sqrt(ratio)) ** 2
    # x = low + (high - low) sin(t)^2 makes the integrand smooth at both ends.
    t = (np.arange(20_000) + 0.5) / 20_000 * np.pi / 2
    x = low + (high - low) * np.sin(t) ** 2
    mass = np.cumsum(np.sin(2 * t) ** 2 / x)
    return float(np.interp(0.5, mass / mass[-1], x))


class MarchenkoPastur(NamedTuple):
    """The bulk of a spectrum, and what sticks out of it.

    Attributes:
        edge: upper edge of the bulk.
        softrank: edge / largest eigenvalue, at most 1 up to fluctuations.
        spikes: number of eigenvalues that random entries would exceed with probability 5%.
    """

    edge: Any
    softrank: Any
    spikes: Any


def fit_marchenko_pastur(eigenvalues: Float[Array, " n"], rows: int) -> MarchenkoPastur:
    """Fit the law of a random matrix to the eigenvalues of W'W.

    The variance of the entries is median(eigenvalues) / (rows mu), mu the median of the law (Gavish
    and Donoho 2014), which spikes do not move; the edge is variance (sqrt(rows) +
    sqrt(n))^2. Spikes are eigenvalues beyond variance (m + 0.9793 s), the 95th percentile of the
    largest eigenvalue of random entries (Johnstone, On the distribution of the largest eigenvalue
    in principal components analysis, 2001, theorem 1.1). The package `weightwatcher` fits the
    variance to a smoothed density by search instead.

    Args:
        eigenvalues: all n of W'W, W of shape [rows, n] with n <= rows.
        rows: the longer side of W.

    Example:
        >>> entries = jax.random.normal(jax.random.key(0), (200, 100)).at[0].set(20.0)
        >>> found = fit_marchenko_pastur(jnp.linalg.eigvalsh(entries.T @ entries), 200)
        >>> int(found.spikes)
        1
    """
    return ordered_marchenko_pastur(jnp.sort(eigenvalues), rows)


def ordered_marchenko_pastur(eigenvalues: Float[Array, " n"], rows: int) -> MarchenkoPastur:
    """Do what `fit_marchenko_pastur` does, for eigenvalues in ascending order.

    Example:
        >>> float(ordered_marchenko_pastur(jnp.ones(4), 4).softrank) > 1
        True
    """
    count = eigenvalues.shape[0]
    median = (eigenvalues[(count - 1) // 2] + eigenvalues[count // 2]) / 2
    scale = median / (rows * marchenko_pastur_median(count / rows))
    edge = scale * (np.sqrt(rows) + np.sqrt(count)) ** 2
    both = np.sqrt(max(rows - 1, 1)) + np.sqrt(count)
    spread = both * (1 / np.sqrt(max(rows - 1, 1)) + 1 / np.sqrt(count)) ** (1 / 3)
    spikes = jnp.sum(eigenvalues > scale * (both**2 + _TRACY_WIDOM_95 * spread))
    return MarchenkoPastur(edge, edge / eigenvalues[-1], spikes)
