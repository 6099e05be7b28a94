"""Tables of what was found for every seed, as means with Student's intervals."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from genjax.intervals import mean_interval
from genjax.report.layers import groups


def means(
    rows: pd.DataFrame, by: Sequence[str], values: Sequence[str], level: float
) -> pd.DataFrame:
    """Return a row per setting and quantity: `quantity`, `value`, `low`, `high`, `seeds`.

    Args:
        rows: one row per setting and seed; what is not finite is left out, `seeds` counts the rest.
        by: columns of a setting.
        values: columns to take the mean of.
        level: of the intervals.
    """
    found = []
    for setting, own in groups(rows, list(by)):
        for quantity in values:
            column = own[quantity].to_numpy(float)
            column = column[np.isfinite(column)]
            mean = column.mean() if len(column) else np.nan
            low, high = mean_interval(column, level)
            found.append((*setting, quantity, mean, low, high, len(column)))
    return pd.DataFrame(found, columns=[*by, "quantity", "value", "low", "high", "seeds"])


def paired(first: np.ndarray, second: np.ndarray, level: float) -> dict[str, float]:
    """Return the mean of `first - second` over seeds: `value`, `low`, `high` and Student's `p`.

    Args:
        first: one number per seed; seeds where either is not finite are left out.
        second: of the same seeds.
        level: of the interval.
    """
    apart = np.asarray(first, float) - np.asarray(second, float)
    apart = apart[np.isfinite(apart)]
    low, high = mean_interval(apart, level)
    p = np.nan
    if np.isfinite(low):
        p = float(2 * stats.t.sf(abs(apart.mean()) / stats.sem(apart), len(apart) - 1))
    elif len(apart) > 1:
        p = 1.0 if apart[0] == 0 else 0.0
    mean = float(apart.mean()) if len(apart) else np.nan
    return {"value": mean, "low": low, "high": high, "p": p, "seeds": len(apart)}
