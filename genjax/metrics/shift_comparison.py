"""Which shift hurts a network most, at equal similarity and on the same images."""

from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float
from scipy import stats

from genjax.errors import InvalidInputError


class ShiftComparison(NamedTuple):
    """Shifts side by side, over the levels that all of them reach.

    Attributes:
        levels: average SSIM of the levels below 1 that every shift reaches `[L]`.
        means: one row per shift, the most harmful first: `shift`, `error` (mean over levels and
            images), and `low`, `high`, its interval over images.
        differences: one row per pair: `more`, `less` (shifts, the more harmful first),
            `difference` of their mean errors, and `low`, `high`, intervals that hold for all pairs
            at once.
    """

    levels: Float[np.ndarray, " levels"]
    means: pd.DataFrame
    differences: pd.DataFrame


def compare_shifts(outcomes: xr.Dataset, level: float | int = 0.95) -> ShiftComparison:
    """Compare shifts by their mean error over the levels below 1 that all of them reach.

    All shifts are read on the same images, so errors are paired: a difference is the mean over
    images of `d_i = mean_l wrong_i(a, l) - mean_l wrong_i(b, l)`, its interval Student's,
    `mean d -+ t_{n-1} s / sqrt(n)`. With k shifts the intervals of the k (k - 1) / 2 differences
    are Bonferroni's, so that the largest may be picked after having looked. Strengths are taken as
    given.

    Args:
        outcomes: from `genjax.metrics.shift_errors.combine`.
        level: nominal coverage.

    Returns:
        The comparison; without a common level `means` and `differences` have no rows. Intervals are
        NaN with one image, and of no width where all images agree.

    Raises:
        InvalidInputError: a level not between 0 and 1.

    Example:
        >>> wrong = np.array([[[0, 0, 0, 1], [1, 1, 0, 1]], [[0, 0, 0, 1], [0, 1, 0, 1.0]]])
        >>> outcomes = xr.Dataset(
        ...     {"wrong": (("shift", "ssim", "image"), wrong)},
        ...     coords={"shift": ["noise", "blur"], "ssim": [1.0, 0.8]},
        ... )
        >>> found = compare_shifts(outcomes)
        >>> found.means[["shift", "error"]].to_numpy().tolist()
        [['noise', 0.75], ['blur', 0.5]]
        >>> found.differences[["more", "less", "difference"]].to_numpy().tolist()
        [['noise', 'blur', 0.25]]
    """
    if not 0 < level < 1:
        raise InvalidInputError(f"level: found {level}; it must be between 0 and 1.")
    wrong = outcomes["wrong"].transpose("shift", "ssim", "image")
    common = ~wrong.isnull().any(("shift", "image")) & (outcomes["ssim"] < 1)
    kept = np.asarray(wrong.sel(ssim=common), np.float64)
    levels = np.asarray(outcomes["ssim"].sel(ssim=common), np.float64)
    means = pd.DataFrame(columns=["shift", "error", "low", "high"])
    differences = pd.DataFrame(columns=["more", "less", "difference", "low", "high"])
    if not len(levels):
        return ShiftComparison(levels, means, differences)
    by_image = kept.mean(axis=1)
    order = np.argsort(-by_image.mean(axis=1), kind="stable")
    names = [str(outcomes["shift"].values[k]) for k in order]
    by_image = by_image[order]
    pairs = [(a, b) for a in range(len(names)) for b in range(a + 1, len(names))]
    for row, (name, values) in enumerate(zip(names, by_image, strict=True)):
        value, low, high = _mean_interval(values, level)
        means.loc[row] = [name, value, max(low, 0.0), min(high, 1.0)]
    for row, (a, b) in enumerate(pairs):
        together = 1 - (1 - level) / len(pairs)
        found = _mean_interval(by_image[a] - by_image[b], together)
        differences.loc[row] = [names[a], names[b], *found]
    return ShiftComparison(levels, means, differences)


def _mean_interval(
    values: Float[np.ndarray, " images"], level: float | int
) -> tuple[float, float, float]:
    mean, count = float(values.mean()), len(values)
    if count < 2:
        return mean, float("nan"), float("nan")
    half = stats.t.ppf((1 + level) / 2, count - 1) * values.std(ddof=1) / np.sqrt(count)
    return mean, mean - float(half), mean + float(half)
