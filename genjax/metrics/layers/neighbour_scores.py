"""Scores of classes among nearest neighbours; all of them share one search."""

from typing import Any, NamedTuple

import numpy as np

from genjax.errors import InvalidInputError
from genjax.metrics.layers.checks import check_points
from genjax.metrics.layers.neighbours import nearest

_ROWS = 2**24  # entries of a table of votes that are held at once


class Ranked(NamedTuple):
    """Every example's neighbours, nearest first, and the classes: what the scores here read.

    Attributes:
        points: `[N, D]`, as searched.
        labels: `[N]`, 0 ... C - 1 in the order of the labels given.
        indices: `[N, K]`, the example itself left out; of equally near the smaller first.
        distances: `[N, K]`.
        counts: `[C]`, examples of every class.
    """

    points: np.ndarray
    labels: np.ndarray
    indices: np.ndarray
    distances: np.ndarray
    counts: np.ndarray


def ranked(
    points: Any, labels: Any, *, k_max: int | None = None, directions: bool = False
) -> Ranked:
    """Rank the k_max nearest neighbours of every example once, for all scores.

    Args:
        points: `[N, D]`.
        labels: `[N]`.
        k_max: length of the lists; None takes what `r_precision` needs, the largest class less one.
        directions: compare unit vectors, as `weighted_knn_accuracy` needs. Points at the origin
            have no direction: they count as one of their own, at a right angle to all others.

    Raises:
        InvalidInputError: one class only, k_max out of range, values that are not finite.

    Example:
        >>> ranked([[0.0], [1.0], [3.0]], [4, 4, 7], k_max=1).indices.tolist()
        [[1], [0], [1]]
    """
    points, labels = check_points(points, labels)
    points = np.asarray(points)
    _, labels, counts = np.unique(np.asarray(labels), return_inverse=True, return_counts=True)
    if directions:
        points = _unit_vectors(points)
    k_max = max(1, int(counts.max()) - 1) if k_max is None else k_max
    if not 1 <= k_max < len(points):
        raise InvalidInputError(
            f"k_max: found {k_max}; every example has {len(points) - 1} neighbours."
        )
    found = nearest(points, k=k_max)
    labels = labels.astype(np.int32)
    return Ranked(points, labels, found.indices, found.distances, counts)


def _unit_vectors(points: np.ndarray) -> np.ndarray:
    largest = np.max(np.abs(points), axis=1, keepdims=True)
    zero = largest == 0
    points = points / np.where(zero, 1, largest)  # squares of the largest might overflow
    points = points / np.where(zero, 1, np.linalg.norm(points, axis=1, keepdims=True))
    return np.concatenate([points, zero], axis=1).astype(points.dtype) if zero.any() else points


def _same_class(ranking: Ranked, k: int, name: str = "k") -> np.ndarray:
    longest = ranking.indices.shape[1]
    if not 1 <= k <= longest:
        raise InvalidInputError(f"{name}: found {k}; the lists hold {longest} neighbours.")
    return ranking.labels[ranking.indices[:, :k]] == ranking.labels[:, None]


def purity(ranking: Ranked, *, k: int) -> float:
    """Return the mean share of an example's k nearest neighbours that are of its class.

    `1/N sum_n 1/k sum_{m in NN_k(n)} 1[y_m = y_n]`, g^kNN of Dyballa, Gerritz and Zucker (2024),
    who take k = 500. In 0 ... 1, larger is better separated; `purity_chance` is what labels dealt
    at random get, `purity_ceiling` what separated classes get.

    Example:
        >>> purity(ranked([[0.0], [1.0], [3.0], [4.0]], [0, 0, 0, 1], k_max=2), k=2)
        0.625
    """
    return float(np.mean(_same_class(ranking, k)))


def purity_chance(labels: Any) -> float:
    """Return the purity that labels dealt at random have on average, whatever k.

    `sum_c n_c/N (n_c - 1)/(N - 1)`.

    Example:
        >>> purity_chance([0, 0, 1, 1])
        0.3333333333333333
    """
    counts = np.unique(np.asarray(labels), return_counts=True)[1]
    total = counts.sum()
    if total < 2:
        raise InvalidInputError("labels: found 1 example; at least 2 are needed.")
    return float(np.sum(counts / total * (counts - 1) / (total - 1)))


def purity_ceiling(labels: Any, *, k: int) -> float:
    """Return the purity of classes that are apart: `sum_c n_c/N min(n_c - 1, k)/k`.

    Example:
        >>> purity_ceiling([0, 0, 1, 1], k=2)
        0.5
    """
    if k < 1:
        raise InvalidInputError(f"k: found {k}; at least 1 is needed.")
    counts = np.unique(np.asarray(labels), return_counts=True)[1]
    return float(np.sum(counts / counts.sum() * np.minimum(counts - 1, k) / k))


def corrected_purity(ranking: Ranked, *, k: int) -> float:
    """Return purity between chance (0) and its ceiling (1): `(p - p0)/(p_max - p0)`.

    Below 0 where neighbours are of other classes more often than by chance. NaN where the ceiling
    is not above chance: with k near N, or a single example in every class.

    Example:
        >>> corrected_purity(ranked([[0.0], [1.0], [3.0], [4.0]], [0, 0, 1, 1], k_max=2), k=1)
        1.0
    """
    chance, ceiling = purity_chance(ranking.labels), purity_ceiling(ranking.labels, k=k)
    if ceiling <= chance:
        return float("nan")
    return (purity(ranking, k=k) - chance) / (ceiling - chance)


def class_purities(ranking: Ranked, *, k: int) -> np.ndarray:
    """Return the purity of every class, `[C]`; its ceiling is `min(n_c - 1, k)/k`.

    Chance is `(n_c - 1)/(N - 1)`.

    Example:
        >>> class_purities(ranked([[0.0], [1.0], [3.0], [9.0]], [0, 0, 0, 1], k_max=1), k=1)
        array([1., 0.])
    """
    shares = _same_class(ranking, k).mean(axis=1)
    return np.bincount(ranking.labels, weights=shares) / ranking.counts


def _share_of_right_votes(ranking: Ranked, k: int, weights: np.ndarray | None) -> float:
    _same_class(ranking, k)
    classes, right = len(ranking.counts), 0
    step = max(1, _ROWS // classes)
    for start in range(0, len(ranking.labels), step):
        rows = slice(start, start + step)
        voters = ranking.labels[ranking.indices[rows, :k]]
        cells = (np.arange(len(voters))[:, None] * classes + voters).ravel()
        ballots = None if weights is None else weights[rows].ravel()
        votes = np.bincount(cells, weights=ballots, minlength=len(voters) * classes)
        votes = votes.reshape(len(voters), classes)
        right += int(np.sum(votes.argmax(axis=1) == ranking.labels[rows]))
    return right / len(ranking.labels)


def knn_accuracy(ranking: Ranked, *, k: int) -> float:
    """Return the leave-one-out accuracy of a majority vote among k neighbours.

    Of classes with equally many votes the one with the smallest label wins, as in scikit-learn's
    `KNeighborsClassifier`. In 0 ... 1; chance is about the share of the largest class.

    Example:
        >>> knn_accuracy(ranked([[0.0], [1.0], [3.0], [4.0]], [0, 0, 1, 1], k_max=3), k=1)
        1.0
    """
    return _share_of_right_votes(ranking, k, None)


def weighted_knn_accuracy(ranking: Ranked, *, k: int, temperature: float | int = 0.07) -> float:
    """Return the leave-one-out accuracy of votes weighted by `exp(cosine / temperature)`.

    The form of Wu et al. (2018) and of DINO (Caron et al., 2021), who take k in {10, 20, 100, 200}.
    The ranking must come from `ranked(..., directions=True)`: of unit vectors the cosine is
    `1 - d^2/2`. Ties are broken as in `knn_accuracy`.

    Raises:
        InvalidInputError: a ranking of points that are no unit vectors, or k out of range.

    Example:
        >>> points = [[1.0, 0.0], [2.0, 0.1], [0.0, 1.0], [0.1, 3.0]]
        >>> weighted_knn_accuracy(ranked(points, [0, 0, 1, 1], k_max=3, directions=True), k=3)
        1.0
    """
    norms = np.linalg.norm(ranking.points, axis=1)
    if not np.allclose(norms, 1, atol=1e-5):
        raise InvalidInputError(
            "ranking: found points that are no unit vectors; rank them with directions=True."
        )
    if not temperature > 0:
        raise InvalidInputError(f"temperature: found {temperature}; it must be above 0.")
    # Relative to the nearest neighbour: exp(1 / temperature) overflows for small temperatures.
    squares = ranking.distances[:, :k].astype(np.float64) ** 2
    weights = np.exp((squares[:, :1] - squares) / (2 * temperature))
    return _share_of_right_votes(ranking, k, weights)


def _relevant(ranking: Ranked) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return R of the queries that have one, their rows, and the first max R hits `[Q, R]`."""
    sought = (ranking.counts - 1)[ranking.labels]
    rows = np.flatnonzero(sought > 0)
    longest = max(1, int(sought.max()))
    hits = _same_class(ranking, longest, "k_max")[rows]
    hits &= np.arange(longest)[None] < sought[rows, None]
    return sought[rows], rows, hits


def r_precision(ranking: Ranked) -> float:
    """Return the mean share of an example's R nearest neighbours that are of its class.

    R is the number of other examples of the query's class (Musgrave, Belongie and Lim, 2020,
    section 2.3), so 1 can always be reached and chance is `purity_chance`. Classes with one example
    give no queries; where all do, NaN.

    Raises:
        InvalidInputError: the lists are shorter than the largest class less one.

    Example:
        >>> r_precision(ranked([[0.0], [1.0], [3.0], [3.5]], [0, 0, 0, 1]))
        0.8333333333333334
    """
    sought, rows, hits = _relevant(ranking)
    return float(np.mean(hits.sum(axis=1) / sought)) if rows.size else float("nan")


def map_at_r(ranking: Ranked) -> float:
    """Return the mean average precision at R: R-precision that rewards early hits.

    `mean_n 1/R sum_{i=1}^{R} P(i) rel(i)`, P(i) the precision among the first i neighbours
    (Musgrave, Belongie and Lim, 2020, equation 4). In 0 ... 1, larger is better; never above
    `r_precision`. Classes with one example give no queries; where all do, NaN.

    Raises:
        InvalidInputError: the lists are shorter than the largest class less one.

    Example:
        >>> map_at_r(ranked([[0.0], [1.0], [3.0], [3.5]], [0, 0, 0, 1]))
        0.75
    """
    sought, rows, hits = _relevant(ranking)
    if not rows.size:
        return float("nan")
    found = np.cumsum(hits, axis=1, dtype=np.int32)
    precision = found / np.arange(1, hits.shape[1] + 1, dtype=np.float32)[None]
    return float(np.mean(np.sum(precision, axis=1, where=hits, dtype=np.float64) / sought))
