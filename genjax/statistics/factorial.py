"""Factorial experiments with two levels per factor: main effects and interactions."""

import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from scipy import stats

from genjax.errors import InvalidInputError
from genjax.statistics.chance import holm

Host = np.ndarray


def effects(
    values: Float[Host, "blocks cells"],
    settings: Bool[Host, "cells factors"],
    names: Sequence[str],
    *,
    order: int = 2,
    level: float | int = 0.95,
) -> pd.DataFrame:
    """Return main effects and interactions of a full factorial experiment, over blocks.

    The effect of a set of factors S is `2 mean_c y_c prod_{i in S} s_ci`, s = +1 where a factor is
    on and -1 where it is off: for one factor the mean with it minus the mean without; for two, half
    of how much the effect of one changes when the other is switched on (twice the coefficient of
    least squares). Every block (a seed) gives one value; intervals and tests are Student's over
    blocks, and p-values are adjusted for all rows by Holm's method.

    Args:
        values: outcome of every cell in every block; blocks with a number that is not finite are
            left out.
        settings: which factors are on in every cell; each of the 2^k combinations once.
        names: of the factors.
        order: largest number of factors in an interaction.
        level: of the intervals, of each by itself.

    Returns:
        Rows `factors` (joined by " x "), `order`, `value`, `low`, `high`, `p`, `p_adjusted` and
        `blocks`; main effects first.

    Raises:
        InvalidInputError: cells that are not a full factorial, other than one name per factor, or
            an order out of range.

    References:
        Box, Hunter and Hunter, Statistics for experimenters, 2nd ed. (2005), chapter 5.

    Example:
        >>> settings = np.array([[0, 0], [1, 0], [0, 1], [1, 1]], bool)
        >>> values = np.array([[1.0, 2.0, 1.0, 4.0], [1.0, 2.0, 1.5, 4.5]])
        >>> effects(values, settings, ("a", "b"))[["factors", "value"]].values.tolist()
        [['a', 2.0], ['b', 1.25], ['a x b', 1.0]]
    """
    cells, factors = settings.shape
    if len(names) != factors or len(set(names)) < factors:
        raise InvalidInputError(
            f"names: found {tuple(names)}; {factors} different names are needed, one per factor."
        )
    if cells != 2**factors or len({tuple(row) for row in settings.tolist()}) < cells:
        raise InvalidInputError(
            f"settings: found {cells} cells of {factors} factors; each of the {2**factors} "
            "combinations is needed once."
        )
    if not 1 <= order <= factors:
        raise InvalidInputError(f"order: found {order}; allowed are 1 to {factors}.")
    values = np.asarray(values, np.float64)
    values = values[np.isfinite(values).all(axis=1)]
    signs = np.where(settings, 1.0, -1.0)
    rows = []
    for size in range(1, order + 1):
        for chosen in itertools.combinations(range(factors), size):
            found = 2 * (values * signs[:, chosen].prod(axis=1)).mean(axis=1)
            text = " x ".join(names[k] for k in chosen)
            rows.append((text, size, *_student(found, float(level)), len(found)))
    columns = ["factors", "order", "value", "low", "high", "p", "blocks"]
    table = pd.DataFrame(rows, columns=columns)
    table.insert(6, "p_adjusted", holm(table["p"].to_numpy(float)))
    return table


def _student(found: np.ndarray, level: float) -> tuple[float, float, float, float]:
    """Return mean, interval and two-sided p; NaN where blocks do not allow them."""
    mean = found.mean() if len(found) else np.nan
    if len(found) < 2 or np.ptp(found) == 0:
        return mean, np.nan, np.nan, np.nan
    error = stats.sem(found)
    half = stats.t.ppf((1 + level) / 2, len(found) - 1) * error
    p = 2 * stats.t.sf(abs(mean) / error, len(found) - 1)
    return mean, mean - half, mean + half, float(p)
