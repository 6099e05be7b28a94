"""What corruption errors say, in sentences made by rule, most important first."""

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from genjax.metrics.shift_comparison import ShiftComparison
from genjax.report.phrases import bracket, count, join, signed
from genjax.statistics.resampling import Interval

MOST_NAMED = 4


def conclusions(
    table: pd.DataFrame, comparison: ShiftComparison, mean: Interval | None
) -> list[str]:
    """Say which shift hurts most, what equal similarity hides, and whether error follows it.

    Args:
        table: from `genjax.metrics.shift_errors.error_table`.
        comparison: from `genjax.metrics.shift_comparison.compare_shifts`.
        mean: error over all shifts and common levels, with its interval; None without them.
    """
    sentences = []
    if len(comparison.levels):
        sentences += _harm(comparison)
        sentences.append(_at_lowest(table, float(comparison.levels.min())))
    else:
        sentences.append(
            "No level below SSIM 1 is reached by every shift: they cannot be compared at equal "
            "similarity."
        )
    clean = table[table["ssim"] == 1]
    if len(clean):
        row = clean.iloc[0]
        sentences.append(
            f"Untouched, the network errs on {bracket(row['error'], row['low'], row['high'])} of "
            f"{row['examples']:,} images."
        )
    if mean is not None:
        levels = count(len(comparison.levels), "level")
        sentences.append(
            f"Its mean corruption error over {count(len(comparison.means), 'shift')} and {levels} "
            f"is {bracket(float(mean.value), float(mean.low), float(mean.high))}."
        )
    return [*sentences, *_monotone(table)]


def unreached_sentences(outcomes: xr.Dataset) -> list[str]:
    """Say which levels were left out, shift by shift, and why.

    Args:
        outcomes: from `genjax.metrics.shift_errors.combine`.
    """
    sentences = []
    for name in outcomes["shift"].values:
        reasons = outcomes["reason"].sel(shift=name)
        for ssim in reasons["ssim"].values:
            reason = str(reasons.sel(ssim=ssim).item()).removeprefix("targets: ")
            if reason:
                sentences.append(f"Left out: {name} at SSIM {ssim:.2f} ({reason.rstrip('.')}).")
    return sentences


def _harm(comparison: ShiftComparison) -> list[str]:
    means, span = comparison.means, _span(comparison.levels)
    worst, least = (_mean(means.iloc[k]) for k in (0, -1))
    name = means["shift"].iloc[0]
    if len(means) == 1:
        return [f"Under {name} the network has a mean error of {worst} over {span}."]
    pairs = comparison.differences
    rivals = pairs[pairs["more"] == name]
    near = list(rivals.loc[~(rivals["low"] > 0), "less"])
    if near:
        sentence = (
            f"At equal SSIM {name} has the largest mean error, {worst} over {span}, but cannot be "
            f"told apart from {join(near, MOST_NAMED)}"
        )
    else:
        closest = rivals.iloc[0]
        more = bracket(closest["difference"], closest["low"], closest["high"])
        sentence = (
            f"At equal SSIM {name} hurts most: mean error {worst} over {span}, {more} more than "
            f"the next, {closest['less']} (paired over images)"
        )
    return [f"{sentence}.", f"{means['shift'].iloc[-1]} hurts least, with a mean error of {least}."]


def _mean(row: Any) -> str:
    return bracket(row["error"], row["low"], row["high"])


def _span(levels: np.ndarray) -> str:
    if len(levels) == 1:
        return f"SSIM {levels[0]:.2f}"
    return f"{len(levels)} levels of SSIM from {levels.min():.2f} to {levels.max():.2f}"


def _at_lowest(table: pd.DataFrame, ssim: float) -> str:
    rows = table.loc[table["ssim"] == ssim].sort_values(by=["error"], kind="stable")
    low, high = rows.iloc[0], rows.iloc[-1]
    if len(rows) == 1:
        return f"At SSIM {ssim:.2f} it errs on {bracket(low['error'], low['low'], low['high'])}."
    ends = [f"{bracket(r['error'], r['low'], r['high'])} ({r['shift']})" for r in (low, high)]
    apart = ": equal similarity is not equal harm" if high["low"] > low["high"] else ""
    return f"At the same SSIM of {ssim:.2f} errors range from {ends[0]} to {ends[1]}{apart}."


def _monotone(table: pd.DataFrame) -> list[str]:
    falls = {}
    several = 0
    for name, rows in table.groupby("shift", sort=False):
        errors = rows.sort_values("ssim", ascending=False)["error"].to_numpy(np.float64)
        several += len(errors) > 1
        if len(errors) > 1 and np.diff(errors).min() < 0:
            falls[str(name)] = float(-np.diff(errors).min())
    if not several:
        return []
    if not falls:
        return [f"Error never falls as SSIM falls ({count(several, 'shift')})."]
    named = [f"{name} (by at most {signed(fall)})" for name, fall in falls.items()]
    return [
        f"Error falls somewhere as SSIM falls for {len(falls)} of {count(several, 'shift')}: "
        f"{join(named, MOST_NAMED)}."
    ]
