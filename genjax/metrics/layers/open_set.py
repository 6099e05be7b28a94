"""Can examples of unseen classes be told from those of seen ones? Scores and their curves.

A detection score is larger the less an example looks like the seen classes.
"""

from typing import Any

import numpy as np
from scipy import linalg, special, stats
from sklearn.covariance import ledoit_wolf

from genjax.errors import InvalidInputError
from genjax.metrics.layers.checks import check_points
from genjax.metrics.layers.neighbours import nearest


def max_logit_score(logits: Any) -> np.ndarray:
    """Return minus the largest logit, `[N]` (Hendrycks et al., 2022; Vaze et al., 2022).

    Args:
        logits: `[N, C]` of the seen classes.

    Example:
        >>> max_logit_score([[1.0, 3.0], [0.5, 0.0]]).tolist()
        [-3.0, -0.5]
    """
    logits, _ = check_points(logits, name="logits")
    return -np.asarray(logits).max(axis=1)


def max_softmax_score(logits: Any) -> np.ndarray:
    """Return 1 minus the largest softmax probability, `[N]` (Hendrycks and Gimpel, 2017).

    In float64 and by the other classes' probabilities, so that confident examples do not tie at 0.

    Args:
        logits: `[N, C]` of the seen classes.

    Example:
        >>> max_softmax_score([[0.0, 0.0], [0.0, 100.0]]).round(3).tolist()
        [0.5, 0.0]
    """
    logits, _ = check_points(logits, name="logits")
    ordered = np.sort(np.asarray(logits, np.float64), axis=1)
    others = special.softmax(ordered, axis=1)[:, :-1]
    return others.sum(axis=1)


def mahalanobis_score(
    points: Any,
    seen: Any,
    labels: Any,
    *,
    shrinkage: float | int | str = "ledoit-wolf",
) -> np.ndarray:
    """Return the squared Mahalanobis distance to the nearest seen class mean, `[N]`.

    `min_c (x - mu_c)' S^-1 (x - mu_c)`, one covariance S of the residuals of all classes (Lee et
    al., 2018, equation 2), shrunk to `(1 - a) S + a tr(S)/D I` since S is singular where D is above
    N - C. NaN where the seen examples all equal their class means.

    Args:
        points: `[N, D]`, to be scored.
        seen: `[M, D]`, examples of the seen classes.
        labels: `[M]`, their classes.
        shrinkage: a in 0 ... 1, or "ledoit-wolf": the optimum of Ledoit and Wolf (2004).

    Raises:
        InvalidInputError: widths that differ, shrinkage out of range, or a singular S.

    Example:
        >>> seen = [[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]
        >>> mahalanobis_score([[2.0, 0.0]], seen, [0, 0, 0, 0], shrinkage=0.0).round(6).tolist()
        [8.0]
    """
    points, _ = check_points(points)
    seen, labels = check_points(seen, labels, name="seen", min_classes=1)
    _same_width(points, seen)
    if shrinkage != "ledoit-wolf" and (isinstance(shrinkage, str) or not 0 <= shrinkage <= 1):
        raise InvalidInputError(
            f"shrinkage: found {shrinkage}; a number in 0 ... 1 or ledoit-wolf is needed."
        )
    rows, asked = np.asarray(seen, np.float64), np.asarray(points, np.float64)
    centre = rows.mean(axis=0, keepdims=True)
    rows, asked = rows - centre, asked - centre
    _, labels, counts = np.unique(np.asarray(labels), return_inverse=True, return_counts=True)
    means = np.zeros((len(counts), rows.shape[1]))
    np.add.at(means, labels, rows)
    means /= counts[:, None]
    residuals = rows - means[labels]
    rounding = 16 * np.finfo(np.asarray(seen).dtype).eps * np.abs(rows).max()
    if np.abs(residuals).max() <= rounding:
        return np.full(len(asked), np.nan)
    if shrinkage == "ledoit-wolf":
        covariance, _ = ledoit_wolf(residuals, assume_centered=True)
    else:
        covariance = residuals.T @ residuals / len(rows)
        level = np.trace(covariance) / len(covariance)
        covariance = (1 - shrinkage) * covariance
        covariance[np.diag_indices_from(covariance)] += shrinkage * level
    try:
        factor = linalg.cholesky(covariance, lower=True)
    except linalg.LinAlgError as error:
        raise InvalidInputError(
            f"shrinkage: found {shrinkage}; the covariance is singular and needs more."
        ) from error
    white = linalg.solve_triangular(factor, asked.T, lower=True).T
    white_means = linalg.solve_triangular(factor, means.T, lower=True).T
    nearest_mean = np.full(len(white), np.inf)
    for mean in white_means:  # one class after another: all at once would be N x C x D
        apart = white - mean[None]
        np.minimum(nearest_mean, np.einsum("nd,nd->n", apart, apart), out=nearest_mean)
    return nearest_mean


def neighbour_score(points: Any, seen: Any, *, k: int = 1) -> np.ndarray:
    """Return the distance to the k-th nearest seen example, `[N]` (Sun et al., 2022).

    The paper divides every example by its norm first; pass such points for that.

    Args:
        points: `[N, D]`, to be scored; none of them among `seen`.
        seen: `[M, D]`, training examples of the seen classes.
        k: which neighbour; at most M.

    Example:
        >>> neighbour_score([[0.0], [5.0]], [[1.0], [2.0]], k=2).tolist()
        [2.0, 4.0]
    """
    return nearest(seen, queries=points, k=k).distances[:, -1]


def auroc(seen_scores: Any, unseen_scores: Any) -> float:
    """Return the area under the receiver operating characteristic: P(unseen scores above seen).

    Ties count one half. .5 is chance, 1 is perfect; NaN where a score is NaN.

    Args:
        seen_scores: `[N]`, of examples of seen classes.
        unseen_scores: `[M]`, of examples of unseen classes.

    Raises:
        InvalidInputError: no scores, or of another shape.

    Example:
        >>> auroc([0.0, 1.0], [1.0, 2.0])
        0.875
    """
    seen, unseen = _scores(seen_scores, "seen_scores"), _scores(unseen_scores, "unseen_scores")
    if np.isnan(seen).any() or np.isnan(unseen).any():
        return float("nan")
    ranks = stats.rankdata(np.concatenate([unseen, seen]))[: len(unseen)]
    above = ranks.sum() - len(unseen) * (len(unseen) + 1) / 2
    return float(above / (len(unseen) * len(seen)))


def fpr_at_tpr(seen_scores: Any, unseen_scores: Any, *, tpr: float | int = 0.95) -> float:
    """Return the share of unseen examples accepted where at least `tpr` of the seen ones are.

    An example is accepted if its score is at most the threshold: the smallest one that accepts
    so many seen examples. FPR95 of the literature: seen is positive. 0 is perfect, .95 chance; NaN
    where a score is NaN.

    Args:
        seen_scores: `[N]`.
        unseen_scores: `[M]`.
        tpr: in (0, 1].

    Example:
        >>> fpr_at_tpr([0.0, 1.0, 2.0, 3.0], [1.5, 2.0, 4.0, 5.0], tpr=0.75)
        0.5
    """
    seen, unseen = _scores(seen_scores, "seen_scores"), _scores(unseen_scores, "unseen_scores")
    if not 0 < tpr <= 1:
        raise InvalidInputError(f"tpr: found {tpr}; it must be in (0, 1].")
    if np.isnan(seen).any() or np.isnan(unseen).any():
        return float("nan")
    # 0.95 * 20 is 19.000000000000004 or 19 or less, as rounding has it: rounding asks for no more.
    needed = max(1, int(np.ceil(tpr * len(seen) - 1e-9)))
    threshold = np.partition(seen, needed - 1)[needed - 1]
    return float(np.mean(unseen <= threshold))


def oscr(seen_scores: Any, correct: Any, unseen_scores: Any) -> float:
    """Return the area under the open-set classification rate curve (Dhamija et al., 2018).

    Correct classification rate (share of seen examples accepted and classified correctly) against
    the share of unseen examples accepted, over all thresholds; acceptance is score <= threshold for
    both. Joined by straight lines, that is the mean over pairs of 1[correct] (1[seen < unseen] +
    1[seen = unseen] / 2): `auroc` if all are correct. From 0 to the accuracy; half of it is chance.
    NaN where a score is NaN.

    Args:
        seen_scores: `[N]`.
        correct: `[N]`, whether each seen example is classified correctly.
        unseen_scores: `[M]`.

    Example:
        >>> oscr([0.0, 1.0], [True, False], [1.0, 2.0])
        0.5
    """
    seen, unseen = _scores(seen_scores, "seen_scores"), _scores(unseen_scores, "unseen_scores")
    right = np.asarray(correct)
    if right.shape != seen.shape or right.dtype != bool:
        raise InvalidInputError(
            f"correct: found {right.dtype} of shape {right.shape}; one truth value is needed for "
            f"each of {len(seen)} seen scores."
        )
    if np.isnan(seen).any() or np.isnan(unseen).any():
        return float("nan")
    ordered = np.sort(unseen)
    below = np.searchsorted(ordered, seen[right], side="left")
    through = np.searchsorted(ordered, seen[right], side="right")
    above = len(unseen) - (below + through) / 2
    return float(above.sum() / (len(seen) * len(unseen)))


def _scores(scores: Any, name: str) -> np.ndarray:
    scores = np.asarray(scores, np.float64)
    if scores.ndim != 1 or not scores.size:
        raise InvalidInputError(f"{name}: found shape {scores.shape}; one row of scores is needed.")
    return scores


def _same_width(points: Any, seen: Any) -> None:
    if points.shape[1] != seen.shape[1]:
        raise InvalidInputError(
            f"points: found {points.shape[1]} dimensions; the seen examples have {seen.shape[1]}."
        )
