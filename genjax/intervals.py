"""The interval of a mean over seeds, runs or supersamples, wherever a mean is shown."""

import numpy as np
from jaxtyping import Float
from scipy import stats


def mean_interval(values: Float[np.ndarray, " independent"], level: float) -> tuple[float, float]:
    """Return Student's interval of a mean; NaN of one value, or where all are equal.

    mean -+ t_{K-1, (1 + level) / 2} s / sqrt(K), s with K - 1.

    Args:
        values: independent ones, finite.
        level: of confidence.

    Example:
        >>> [round(end, 3) for end in mean_interval(np.array([1.0, 2.0, 3.0]), 0.95)]
        [-0.484, 4.484]
    """
    if len(values) < 2 or np.ptp(values) == 0:
        return np.nan, np.nan
    half = stats.t.ppf((1 + level) / 2, len(values) - 1) * stats.sem(values)
    return float(values.mean() - half), float(values.mean() + half)
