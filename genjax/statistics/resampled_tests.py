"""Means over folds and resamples, whose training sets overlap, with honest intervals and tests.

Errors of a cross-validation are not independent: their training sets share most examples. Student's
t as if they were rejects far too often.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import stats

from genjax.errors import InvalidInputError

Host = np.ndarray


class ResampledTest(NamedTuple):
    """A mean over resamples, tested against zero.

    Attributes:
        mean: of the values.
        low: lower end of the corrected interval; NaN where all values are equal.
        high: upper end.
        statistic: corrected t; NaN where all values are equal.
        p_value: two-sided; 1 where all values are 0, 0 where all are the same other number.
        naive_p_value: of Student's t as if resamples were independent: too small.
        freedom: degrees of freedom, resamples - 1.
    """

    mean: float
    low: float
    high: float
    statistic: float
    p_value: float
    naive_p_value: float
    freedom: int


def corrected_test(
    values: Float[Host, " resamples"],
    train_size: int,
    held_out_size: int,
    level: float | int = 0.95,
) -> ResampledTest:
    """Test the mean over resamples with the corrected resampled t-test.

    `t = mean / sqrt((1/J + n2/n1) s^2)`, s^2 the variance with J - 1, n1 examples trained on and n2
    held out in every resample. For k-fold cross-validation repeated r times J = k r and n2/n1 is
    1/(k - 1) (Bouckaert and Frank).

    Args:
        values: one per resample: differences between two models, or the errors of one.
        train_size: n1.
        held_out_size: n2.
        level: of the interval.

    Raises:
        InvalidInputError: fewer than two values, values that are not finite, sizes below 1.

    References:
        Nadeau and Bengio, Inference for the generalization error, Machine Learning 52 (2003), Eq 9;
        Bouckaert and Frank, Evaluating the replicability of significance tests, PAKDD 2004, Eq 3.

    Example:
        >>> found = corrected_test(np.array([0.0, 0.1, 0.2]), train_size=20, held_out_size=10)
        >>> round(found.statistic, 4), round(found.mean, 4)  # 0.1 / sqrt((1/3 + 1/2) 0.01)
        (1.0954, 0.1)
    """
    values = np.asarray(values, np.float64)
    if len(values) < 2 or not np.isfinite(values).all():
        raise InvalidInputError(
            f"values: found {len(values)} of which {int(np.isfinite(values).sum())} are finite; at "
            "least two are needed, all finite."
        )
    if train_size < 1 or held_out_size < 1:
        raise InvalidInputError(
            f"train_size and held_out_size: found {train_size} and {held_out_size}; allowed are "
            "whole numbers from 1."
        )
    count, mean = len(values), float(values.mean())
    if np.ptp(values) == 0:
        certain = 1.0 if mean == 0 else 0.0
        return ResampledTest(mean, np.nan, np.nan, np.nan, certain, certain, count - 1)
    variance = values.var(ddof=1)
    error = np.sqrt((1 / count + held_out_size / train_size) * variance)
    half = stats.t.ppf((1 + level) / 2, count - 1) * error
    return ResampledTest(
        mean,
        float(mean - half),
        float(mean + half),
        float(mean / error),
        _two_sided(mean / error, count - 1),
        _two_sided(mean / np.sqrt(variance / count), count - 1),
        count - 1,
    )


def _two_sided(statistic: Any, freedom: int) -> float:
    return float(2 * stats.t.sf(abs(statistic), freedom))


def jackknife_interval(
    estimate: float | Float[Host, "*shape"],
    left_out: Float[Host, "units *shape"],
    level: float | int = 0.95,
) -> tuple[Any, Any]:
    """Return Student's interval around an estimate from its values with one unit left out each.

    Standard error `sqrt((J - 1)/J sum_j (v_j - mean v)^2)`, J - 1 degrees of freedom.

    Args:
        estimate: from all units.
        left_out: the estimate without unit j, one row per unit.
        level: nominal coverage.

    Raises:
        InvalidInputError: fewer than two units.

    References:
        Tukey (1958); Efron and Stein, The jackknife estimate of variance (1981).

    Example:
        >>> x = np.array([1.0, 2.0, 3.0])
        >>> left_out = (x.sum() - x) / 2  # of a mean: Student's own interval
        >>> [round(float(end), 3) for end in jackknife_interval(x.mean(), left_out)]
        [-0.484, 4.484]
    """
    count = len(left_out)
    if count < 2:
        raise InvalidInputError(f"left_out: found {count} units; at least two are needed.")
    spread = ((left_out - left_out.mean(axis=0)) ** 2).sum(axis=0)
    half = stats.t.ppf((1 + level) / 2, count - 1) * np.sqrt((count - 1) / count * spread)
    return estimate - half, estimate + half
