"""The cells of one family under one protocol, and how protocols differ. Host float64."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from genjax.errors import DivergenceError
from genjax.metrics.practical_grid import Axes
from genjax.statistics.families import difference_over_classes, mean_interval, seed_means
from genjax.statistics.resampling import FACTORS, Interval

SEEDS, CLASSES = FACTORS
_DIFFERENCE = ("difference", "difference_low", "difference_high")


class FamilyCells(NamedTuple):
    """The cells of one family under one protocol, without sizes of which no network is left.

    Attributes:
        error: per-class error [S, R, L, Z, C].
        kappa: per-class kappa distance, same shape.
        labels: how many classes could be predicted [S, R, L, Z].
        axes: sizes, SSIM (ascending) and novel shares.
        kept: which of the sizes are left.
    """

    error: np.ndarray
    kappa: np.ndarray
    labels: np.ndarray
    axes: Axes
    kept: np.ndarray


def family_cells(cells: xr.Dataset, family: str, protocol: str) -> FamilyCells:
    """Return the cells of one family under one protocol.

    Raises:
        DivergenceError: no network of the family is left.
    """
    chosen = cells.sel(family=family, protocol=protocol).sortby("ssim")
    error = chosen["error"].transpose("size", "seed", "ssim", "novel_share", "class").values
    kept = np.asarray(np.isfinite(error).any(axis=(1, 2, 3, 4)))
    if not kept.any():
        raise DivergenceError(
            f"family '{family}': every network diverged, there is nothing to analyse."
        )
    chosen = chosen.isel(size=np.flatnonzero(kept))
    order = ("size", "seed", "ssim", "novel_share")
    axes = Axes(
        np.asarray(chosen["parameters"].values, np.float64),
        np.asarray(chosen["ssim"].values, np.float64),
        np.asarray(chosen["novel_share"].values, np.float64),
    )
    return FamilyCells(
        error=chosen["error"].transpose(*order, "class").values,
        kappa=chosen["kappa"].transpose(*order, "class").values,
        labels=chosen["labels"].transpose(*order).values,
        axes=axes,
        kept=kept,
    )


def chance_corrected(found: FamilyCells) -> float:
    """Return the mean over cells of error * C / (C - 1), C the labels that could be predicted.

    1 is guessing whatever the number of labels, so growing and fixed label spaces compare. Each
    cell is the mean over the networks that are left.
    """
    counted = np.isfinite(found.error)
    means = np.where(counted, found.error, 0).sum(-1) / np.maximum(counted.sum(-1), 1)
    alive = counted.any(-1)
    corrected = np.where(alive, means * found.labels / (found.labels - 1), 0)
    return float((corrected.sum(1) / alive.sum(1)).mean())


def protocol_table(
    cells: xr.Dataset, descriptions: Mapping[str, str], *, level: float = 0.95, seed: int = 0
) -> pd.DataFrame:
    """Return the grand mean error of every family and protocol, with intervals.

    Columns: family, protocol, description, error, low, high, chance_corrected, difference (from
    `clean`), difference_low, difference_high, over. Errors are means over sizes, levels, shares and
    classes. Intervals are over seeds, differences paired by seed; with fewer than two complete
    seeds they are over classes, paired by class: `over` says which.
    """
    rows = []
    for family in cells["family"].values:
        found = {name: family_cells(cells, str(family), name) for name in descriptions}
        clean = found["clean"].error
        for name, one in found.items():
            error, gap, over = _protocol_intervals(one.error, clean, level, seed)
            rows.append(
                {
                    "family": str(family),
                    "protocol": name,
                    "description": descriptions[name],
                    "chance_corrected": chance_corrected(one),
                    **dict(zip(("error", "low", "high"), error, strict=True)),
                    **dict(zip(_DIFFERENCE, gap, strict=True)),
                    "over": over,
                }
            )
    return pd.DataFrame(rows)


def _protocol_intervals(
    error: np.ndarray, clean: np.ndarray, level: float, seed: int
) -> tuple[Interval, Interval, str]:
    """Mean error, its difference from the clean one, and what their intervals are over."""
    by_seed, by_seed_clean = seed_means(error), seed_means(clean)
    both = np.isfinite(by_seed) & np.isfinite(by_seed_clean)
    if both.sum() > 1:
        means = mean_interval(by_seed[np.isfinite(by_seed)], seed=seed, level=level)
        gaps = mean_interval((by_seed - by_seed_clean)[both], seed=seed, level=level)
        return means, gaps, SEEDS
    left = np.isfinite(error).any((0, 2, 3, 4)) & np.isfinite(clean).any((0, 2, 3, 4))
    error, clean = error[:, left], clean[:, left]
    options: dict[str, Any] = {"seed": seed, "level": level}
    return (
        difference_over_classes(error, 0 * error, **options),
        difference_over_classes(error, clean, **options),
        CLASSES if left.sum() == 1 else f"{SEEDS} and {CLASSES}",
    )
