"""Spectra of embeddings: how many directions they fill. Host arithmetic in float64.

Singular values are square roots of eigenvalues of `Z'Z` or `ZZ'`, whichever is smaller. In float32
the root would bury every direction below 3e-4 of the largest in rounding, and an entropy adds up
hundreds of them; hence float64, and hence the host.
"""

from typing import Any

import numpy as np
from scipy import linalg
from threadpoolctl import threadpool_limits

from genjax.errors import InvalidInputError
from genjax.metrics.layers.checks import check_points


def squared_singular_values(points: Any, *, centred: bool) -> np.ndarray:
    """Return the min(N, D) squared singular values of the points, largest first, in float64.

    What is below rounding, `max(N, D) eps` of the largest, is 0.

    Args:
        points: `[N, D]`.
        centred: about the mean: N - 1 times the eigenvalues of the covariance.

    Example:
        >>> squared_singular_values([[3.0, 0.0], [0.0, 2.0], [0.0, 0.0]], centred=False).tolist()
        [9.0, 4.0]
    """
    points, _ = check_points(points)
    rows = np.asarray(points, np.float64)
    largest = np.abs(rows).max()
    if largest == 0:
        return np.zeros(min(rows.shape))
    rows = rows / largest  # squares of values near the largest float32 would overflow
    if centred:
        rows = rows - rows.mean(axis=0, keepdims=True)
    gram = rows.T @ rows if rows.shape[0] >= rows.shape[1] else rows @ rows.T
    with threadpool_limits(1, user_api="blas"):  # more threads take longer for a few thousand rows
        values = linalg.eigvalsh(gram)[::-1]
    # Relative to the points as they are: what is left of a constant after centring is rounding.
    scale = values[0] if not centred else max(values[0], np.finfo(np.float64).eps * rows.shape[0])
    rounding = max(rows.shape) * np.finfo(np.float64).eps * scale
    return np.where(values > rounding, values, 0.0) * largest**2


def _entropy(shares: np.ndarray) -> float:
    shares = shares[shares > 0]
    return float(-np.sum(shares * np.log(shares)))


def rankme(points: Any, *, squared: Any = None) -> float:
    """Return RankMe, the effective rank: `exp(-sum_k p_k log p_k)`, `p_k = s_k / sum_j s_j`.

    s are the singular values of the points, not centred (Garrido et al., 2023, equation 1; Roy and
    Vetterli, 2007). The paper adds 1e-7 to every p_k against log 0; here 0 log 0 is 0, which is the
    same to 1e-4. From 1 (one direction) to min(N, D). NaN where all points are 0.

    Args:
        points: `[N, D]`.
        squared: their `squared_singular_values(points, centred=False)`, where at hand.

    Example:
        >>> round(rankme([[3.0, 0.0], [0.0, 3.0], [0.0, 0.0]]), 6)
        2.0
    """
    squared = squared_singular_values(points, centred=False) if squared is None else squared
    singular = np.sqrt(squared)
    if singular.sum() == 0:
        return float("nan")
    return float(np.exp(_entropy(singular / singular.sum())))


def alpha_req(
    points: Any, *, first: int = 1, last: int | None = None, squared: Any = None
) -> float:
    """Return alpha of the power law `lambda_j ~ j^-alpha` of the eigenvalues of the covariance.

    Minus the least-squares slope of log lambda_j against log j over the ranks first ... last
    (alpha-ReQ, Agrawal et al., 2022, section 3). A decay is positive; about 1 is called good. The
    tail bends the line: state the range with the number. NaN where fewer than two eigenvalues of
    the range are above rounding, as of constant points.

    Args:
        points: `[N, D]`.
        first: first rank of the fit, from 1 on.
        last: last rank; None takes all. Eigenvalues below rounding never count.
        squared: their `squared_singular_values(points, centred=True)`, where at hand.

    Raises:
        InvalidInputError: a range without two ranks.

    Example:
        >>> points = np.diag([4.0, 2.0, 1.0])
        >>> round(alpha_req(np.concatenate([points, -points])), 4)
        2.4673
    """
    if first < 1 or (last is not None and last <= first):
        raise InvalidInputError(
            f"first, last: found {first} and {last}; two ranks from 1 on are needed."
        )
    squared = squared_singular_values(points, centred=True) if squared is None else squared
    ranks = np.arange(1, len(squared) + 1)
    fitted = (squared > 0) & (ranks >= first) & (ranks <= (last or len(squared)))
    if fitted.sum() < 2:
        return float("nan")
    x, y = np.log(ranks[fitted]), np.log(squared[fitted])
    x = x - x.mean()
    return float(-np.sum(x * y) / np.sum(x * x))


def lidar(points: Any, labels: Any, *, delta: float | int = 1e-4) -> float:
    """Return LiDAR: the effective rank of what tells groups apart.

    `exp(-sum_k p_k log p_k)`, p the eigenvalues of `S_w^{-1/2} S_b S_w^{-1/2}` over their sum;
    `S_b = mean_c (mu_c - mu)(mu_c - mu)'`, `S_w = mean_c cov_c + delta I` (Thilak et al., 2024,
    equations 1-3, whose groups are augmented copies of one image). Every group weighs the same,
    and so do its examples; mu is the mean of the group means. From 1 to min(C - 1, D), in
    directions; NaN where all group means are equal.

    delta is in units of squared points: it matters where S_w is small or singular, D above N - C.

    Args:
        points: `[N, D]`.
        labels: `[N]`, the groups.
        delta: added to the diagonal of S_w, above 0.

    Example:
        >>> round(lidar([[1.0, 0.0], [3.0, 0.0], [7.0, 0.0], [9.0, 0.0]], [0, 0, 1, 1]), 6)
        1.0
    """
    points, labels = check_points(points, labels)
    if not delta > 0:
        raise InvalidInputError(f"delta: found {delta}; it must be above 0.")
    rows = np.asarray(points, np.float64)
    _, labels, counts = np.unique(np.asarray(labels), return_inverse=True, return_counts=True)
    rows = rows - rows.mean(axis=0, keepdims=True)
    means = np.zeros((len(counts), rows.shape[1]))
    np.add.at(means, labels, rows)
    means /= counts[:, None]
    within = (rows - means[labels]) / np.sqrt(counts[labels] * len(counts))[:, None]
    between = (means - means.mean(axis=0, keepdims=True)) / np.sqrt(len(counts))
    rounding = 16 * np.finfo(np.asarray(points).dtype).eps * np.abs(rows).max(initial=0)
    if np.abs(between).max() <= rounding:
        return float("nan")
    scatter = within.T @ within
    scatter[np.diag_indices_from(scatter)] += delta
    # S_b has rank C - 1: the C x C matrix M' S_w^-1 M with S_b = M M' has the same eigenvalues.
    factor = linalg.cho_factor(scatter, lower=True)
    values = linalg.eigvalsh(between @ linalg.cho_solve(factor, between.T))
    values = np.maximum(values, 0)
    return float(np.exp(_entropy(values / values.sum())))


def matrix_entropy(
    points: Any, *, order: float | int = 1, normaliser: str = "raw", squared: Any = None
) -> float:
    """Return the matrix-based Renyi entropy of the points, in nats.

    `S_a = 1/(1 - a) log sum_k p_k^a`, p the eigenvalues of `K = ZZ'` over their sum, not centred;
    for a = 1 the limit, von Neumann's `-sum_k p_k log p_k` (Giraldo, Rao and Principe, 2014; Skean
    et al., 2025, equation 1). From 0 to log min(N, D); divided by the normaliser from 0 to 1 at
    most. NaN where all points are 0 or the normaliser is log 1.

    Args:
        points: `[N, D]`.
        order: a, above 0; 1 and 2 are usual.
        normaliser: "raw" for none, "log N", "log D" or "log min" for log min(N, D).
        squared: their `squared_singular_values(points, centred=False)`, where at hand.

    Raises:
        InvalidInputError: another normaliser, or an order that is not above 0.

    Example:
        >>> points = [[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]
        >>> round(matrix_entropy(points, order=2), 4)
        0.6931
        >>> round(matrix_entropy(points, normaliser="log D"), 4)
        1.0
    """
    if not (order > 0 and np.isfinite(order)):
        raise InvalidInputError(f"order: found {order}; it must be above 0 and finite.")
    count, width = np.shape(points)
    bounds = {"log N": count, "log D": width, "log min": min(count, width)}
    if normaliser != "raw" and normaliser not in bounds:
        raise InvalidInputError(
            f"normaliser: found '{normaliser}'; allowed are raw, {', '.join(bounds)}."
        )
    squared = squared_singular_values(points, centred=False) if squared is None else squared
    if squared.sum() == 0 or bounds.get(normaliser) == 1:
        return float("nan")
    shares = squared[squared > 0] / squared.sum()
    if order == 1:
        amount = _entropy(shares)
    else:
        amount = float(np.log(np.sum(shares**order)) / (1 - order))
    return amount if normaliser == "raw" else amount / float(np.log(bounds[normaliser]))
