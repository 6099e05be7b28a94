"""Intrinsic dimension and diffusion entropy of embeddings. Host arithmetic in float64."""

from typing import Any, NamedTuple

import numpy as np
from scipy import linalg
from scipy.spatial import distance
from threadpoolctl import threadpool_limits

from genjax.errors import InvalidInputError
from genjax.metrics.layers.checks import check_points
from genjax.metrics.layers.neighbours import nearest

_MAX_EXAMPLES = 2000
_CANDIDATES = 6


class TwoNN(NamedTuple):
    """Intrinsic dimension from the ratio of the distances of two neighbours.

    Attributes:
        slope: by the line through the origin.
        likelihood: by maximum likelihood, corrected for its bias.
        distinct: how many distinct points were left.
    """

    slope: float
    likelihood: float
    distinct: int


def two_nn(
    points: Any, *, discard: float | int = 0.1, neighbours: np.ndarray | None = None
) -> TwoNN:
    """Return the TwoNN intrinsic dimension (Facco et al., 2017; layers: Ansuini et al., 2019).

    With `mu = r_2 / r_1`, the distances of the second and the first neighbour, `F(mu) = 1 - mu^-d`:
    d is the slope of the line through the origin of `-log(1 - F(mu_i))` against `log mu_i`, with
    `F(mu_i) = i/n` for the i-th smallest of n and the largest `discard` of them dropped; by maximum
    likelihood `d = (n - 1) / sum_i log mu_i`, over all. Duplicates are removed first. In
    dimensions, at least 0; with far fewer than exp(d) points it is too low. NaN where fewer than
    three distinct points are left, or every first neighbour is as far as the second.

    Args:
        points: `[N, D]`.
        discard: share of the largest ratios that the slope leaves out, in [0, 1).
        neighbours: `[N, K]`, the nearest of every point, where at hand (`Ranked.indices`, of points
            as they are); best 6 or more. Not read where there are duplicates.

    Example:
        >>> points = np.random.default_rng(0).random((500, 2))
        >>> found = two_nn(np.concatenate([points, points[:9]], axis=0))
        >>> found.distinct, round(found.slope, 1), round(found.likelihood, 1)
        (500, 2.1, 2.0)
    """
    points, _ = check_points(points)
    if not 0 <= discard < 1:
        raise InvalidInputError(f"discard: found {discard}; it must be in [0, 1).")
    if neighbours is not None and (neighbours.ndim != 2 or len(neighbours) != len(points)):
        raise InvalidInputError(
            f"neighbours: found shape {neighbours.shape}; [{len(points)}, K] is needed."
        )
    distinct = np.unique(np.asarray(points), axis=0)
    if len(distinct) == len(points) and neighbours is not None and neighbours.shape[1] > 1:
        rows = np.asarray(points)
    else:
        rows, neighbours = distinct, None
    if len(rows) < 3:
        return TwoNN(float("nan"), float("nan"), len(rows))
    logs = np.sort(_log_ratios(rows, neighbours))
    total = logs.sum()
    if total == 0:
        return TwoNN(float("nan"), float("nan"), len(rows))
    kept = max(1, int(np.floor(len(logs) * (1 - discard))))
    if discard == 0:
        kept = len(logs) - 1  # of the largest ratio F is 1, its logarithm infinite
    heights = -np.log1p(-np.arange(1, kept + 1) / len(logs))
    x = logs[:kept]
    squares = np.sum(x * x)
    slope = float(np.sum(x * heights) / squares) if squares > 0 else float("nan")
    return TwoNN(slope, float((len(logs) - 1) / total), len(rows))


def _log_ratios(rows: np.ndarray, neighbours: np.ndarray | None) -> np.ndarray:
    """Return log(r_2 / r_1) of distinct points."""
    k = min(_CANDIDATES, len(rows) - 1)
    candidates = nearest(rows, k=k).indices if neighbours is None else neighbours[:, :k]
    # Again by differences, in float64: products lose digits of small distances.
    exact = rows.astype(np.float64)
    squares = np.stack(
        [np.sum((exact - exact[place]) ** 2, axis=1) for place in candidates.T], axis=1
    )
    squares.sort(axis=1)
    return (np.log(squares[:, 1]) - np.log(squares[:, 0])) / 2


def diffusion_spectral_entropy(
    points: Any,
    *,
    bandwidth: float | int = 10,
    power: int = 1,
    max_examples: int | None = _MAX_EXAMPLES,
    seed: int = 0,
    drop_largest: bool = True,
) -> float:
    """Return the diffusion spectral entropy, in bits (Liu et al., 2024).

    `-sum_i q_i log2 q_i`, `q_i = |lambda_i|^t / sum_j |lambda_j|^t`, lambda the eigenvalues of
    `D^{-1/2} G D^{-1/2}` without the largest, which is always 1; `G_ij = exp(-||x_i - x_j||^2 /
    (2 sigma^2))` and D its row sums. From 0 to log2(N - 1); m clusters far apart have log2(m - 1).
    The bandwidth is in units of the points and not scaled to them: it decides the number. So does
    N; compare equal ones. NaN for fewer than 3 points or points that are all equal.

    As the reference code does: it calls this normalisation anisotropic, and its first version drops
    the largest eigenvalue, its last one does not.

    Args:
        points: `[N, D]`.
        bandwidth: sigma, above 0; the code's default is 10.
        power: t, the number of diffusion steps.
        max_examples: with more, so many are drawn without replacement (an eigenvalue problem of
            10,000 takes minutes); None takes all. The code's default is 10,000.
        seed: of that draw.
        drop_largest: whether the largest eigenvalue is left out.

    Example:
        >>> points = [[0.0], [0.0], [100.0], [100.0], [200.0], [200.0]]
        >>> round(diffusion_spectral_entropy(points), 6)
        1.0
    """
    points, _ = check_points(points)
    if not bandwidth > 0 or power < 1:
        raise InvalidInputError(
            f"bandwidth, power: found {bandwidth} and {power}; both must be positive."
        )
    if max_examples is not None and max_examples < 3:
        raise InvalidInputError(f"max_examples: found {max_examples}; at least 3 are needed.")
    rows = np.asarray(points, np.float64)
    if max_examples is not None and len(rows) > max_examples:
        chosen = np.random.default_rng(seed).choice(len(rows), max_examples, replace=False)
        rows = rows[np.sort(chosen)]
    if len(rows) < 3 or np.all(rows == rows[:1]):
        return float("nan")
    kernel = np.exp(distance.pdist(rows, "sqeuclidean") / (-2 * float(bandwidth) ** 2))
    kernel = distance.squareform(kernel)
    np.fill_diagonal(kernel, 1)
    scale = 1 / np.sqrt(kernel.sum(axis=1))
    with threadpool_limits(1, user_api="blas"):  # more threads take longer for a few thousand rows
        values = linalg.eigvalsh(kernel * scale[:, None] * scale[None])[::-1]
    values = np.abs(values[1:] if drop_largest else values) ** power
    rounding = len(rows) * np.finfo(np.float64).eps
    values = np.where(values > rounding**power, values, 0)
    if values.sum() == 0:
        return float("nan")
    shares = values[values > 0] / values.sum()
    return float(-np.sum(shares * np.log2(shares)))
