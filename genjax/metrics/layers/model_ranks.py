"""Does accuracy on seen classes predict generalization to unseen ones? Over models, in float64."""

import itertools
import math
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import stats

from genjax.errors import InvalidInputError
from genjax.metrics.layers.selection import Estimate

Host = np.ndarray
FEWEST = 10
"""Models below which a rank correlation has no bootstrap interval."""


def rank_of_models(
    accuracies: Float[Host, " model"],
    scores: Float[Host, " model"],
    *,
    permutations: int = 100_000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Estimate | float]:
    """Return how accuracy and a score of generalization agree over models.

    Spearman's and Kendall's rank correlations and Pearson's, each with a percentile bootstrap
    interval over models, and two-sided p-values: Kendall's of the exact permutation distribution
    (normal approximation where there are ties), the others of all permutations up to 8 models and
    of `permutations` random ones beyond, the identity counted.

    Args:
        accuracies: one per model, at least four.
        scores: one per model.
        permutations: random ones.
        level: of the intervals.
        seed: of permutations and bootstrap.

    Returns:
        `spearman`, `kendall`, `pearson` as estimates (without interval for fewer than 10 models:
        a bootstrap of so few does not cover), `p_spearman`, `p_kendall`, `p_pearson`, `models`, and
        `smallest_p`, below which no permutation p-value of so many models can lie.

    Raises:
        InvalidInputError: fewer than four models.

    Example:
        >>> found = rank_of_models(np.arange(5.0), np.array([1.0, 2.0, 3.0, 5.0, 4.0]))
        >>> round(found["spearman"].value, 3), round(found["p_spearman"], 4)
        (0.9, 0.0833)
    """
    accuracies, scores = np.asarray(accuracies, np.float64), np.asarray(scores, np.float64)
    known = np.isfinite(accuracies) & np.isfinite(scores)
    accuracies, scores = accuracies[known], scores[known]
    count = len(scores)
    if count < 4:
        raise InvalidInputError(f"models: found {count} with both values; at least 4 are needed.")
    rng = np.random.default_rng(seed)
    draws = rng.integers(count, size=(2000, count))
    orders = _orders(count, permutations, rng)
    found: dict[str, Estimate | float] = {"models": float(count)}
    for name, statistic in _CORRELATIONS.items():
        resampled = np.array([statistic(accuracies[d], scores[d]) for d in draws])
        ends = np.nanquantile(resampled, [(1 - level) / 2, (1 + level) / 2])
        if count < FEWEST:
            ends = (np.nan, np.nan)
        value = statistic(accuracies, scores)
        found[name] = Estimate(value, float(ends[0]), float(ends[1]))
    kendall: Any = stats.kendalltau(accuracies, scores)
    found["p_kendall"] = float(kendall.pvalue)
    found["smallest_p"] = 2 / math.factorial(count) if count <= 8 else 1 / (permutations + 1)
    found["p_pearson"] = _p_value(accuracies, scores, orders)
    found["p_spearman"] = _p_value(stats.rankdata(accuracies), stats.rankdata(scores), orders)
    return found


def _orders(count: int, permutations: int, rng: np.random.Generator) -> Host:
    """Return all permutations of up to 8 models, or random ones with the identity first."""
    if count <= 8:
        return np.array(list(itertools.permutations(range(count))))
    drawn = rng.permuted(np.tile(np.arange(count), (permutations, 1)), axis=1)
    return np.concatenate([np.arange(count)[None], drawn])


def _p_value(first: Host, second: Host, orders: Host) -> float:
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return np.nan
    first, second = first - first.mean(), second - second.mean()
    products = np.abs(first[orders] @ second)
    # The identity must not fall out of the count by rounding.
    return float((products >= abs(first @ second) * (1 - 1e-12)).mean())


def _pearson(first: Host, second: Host) -> float:
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return np.nan
    return float(np.corrcoef(first, second)[0, 1])


def _spearman(first: Host, second: Host) -> float:
    return _pearson(stats.rankdata(first), stats.rankdata(second))


def _kendall(first: Host, second: Host) -> float:
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return np.nan
    found: Any = stats.kendalltau(first, second)
    return float(found.statistic)


_CORRELATIONS = {"spearman": _spearman, "kendall": _kendall, "pearson": _pearson}
