"""All that is said about the cells of a testbed: by family, between families and protocols."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from threadpoolctl import threadpool_limits

from genjax.errors import DivergenceError, InvalidInputError
from genjax.metrics import practical
from genjax.metrics.practical_grid import Axes
from genjax.metrics.testbed import join_families
from genjax.metrics.tradeoff import (
    PAPER,
    TradeOff,
    TradeOffOptions,
    data_free_point,
    data_only_point,
    prior_share,
    sensitivity,
    spread,
    trade_off_point,
)
from genjax.statistics.families import (
    Comparison,
    Reach,
    compare_families,
    difference_over_classes,
    mean_interval,
    reach,
    seed_means,
)
from genjax.statistics.practical import Intervals, bootstrap, interval_table


class GridAnalysis(NamedTuple):
    """What a grid alone says; no replicates, no intervals.

    Attributes:
        grid: the six statistics per cell.
        point: trade-off point, Eq 4.
        bounds: generalization and diversity bound at the point, Eq 5.
        data_free: the point that the priors of Eq 4 give without data.
        data_only: the cell with the smallest sum of the six statistics.
        prior: share of each coordinate of the point that is prior.
        sensitivity: the point under every choice the paper leaves open.
        spread: its range per choice.
        redundancy: of kappa with error.
        pareto: cells that no other cell beats in error, SSIM, novel share and size at once.
    """

    grid: practical.Grid
    point: TradeOff
    bounds: practical.Bounds
    data_free: TradeOff
    data_only: TradeOff
    prior: Mapping[str, float]
    sensitivity: pd.DataFrame
    spread: pd.DataFrame
    redundancy: practical.Redundancy
    pareto: np.ndarray


class FamilyAnalysis(NamedTuple):
    """One family under one protocol.

    Attributes:
        whole: the grid averaged over seeds, and what it says.
        intervals: bootstrap over seeds and classes of every number.
        seed_errors: grand mean error of each seed [R].
        reach: how far robustness and novelty carry the family.
        chance_corrected: grand mean of error * C / (C - 1), C the labels to choose from.
    """

    whole: GridAnalysis
    intervals: Intervals
    seed_errors: np.ndarray
    reach: Reach
    chance_corrected: float


class Analysis(NamedTuple):
    """The practical metric of a population.

    Attributes:
        families: by name, under the default protocol.
        paper: the same under the protocol `paper`, where it was measured.
        comparisons: every pair of families.
        protocols: one row per family and protocol.
        dropped: sentences about what was left out: sizes of which every network diverged, and
            comparisons that too few seeds allow.
        paper_comparisons: every pair of families under the protocol `paper`.
    """

    families: dict[str, FamilyAnalysis]
    paper: dict[str, FamilyAnalysis]
    comparisons: list[Comparison]
    protocols: pd.DataFrame
    dropped: list[str]
    paper_comparisons: list[Comparison] = []  # noqa: RUF012


# Thousands of tiny solves: threads of the linear algebra library only fight for the cores.
@threadpool_limits.wrap(limits=1)
def analyse_grid(grid: practical.Grid, options: TradeOffOptions = PAPER) -> GridAnalysis:
    """Say what a grid of statistics says, without replicates.

    Example:
        >>> import numpy as np
        >>> from genjax.metrics.practical_grid import Statistics, make_grid
        >>> axes = Axes(np.array([38.0, 420.0]), np.array([0.6, 1.0]), np.array([0.0, 0.5]))
        >>> grid = make_grid(axes, Statistics(*[np.full((2, 2, 2), 0.25)] * 6))
        >>> round(analyse_grid(grid).bounds.generalization, 6)
        0.25
    """
    point = trade_off_point(grid, options)
    free, only = data_free_point(grid, options), data_only_point(grid)
    solves = sensitivity(grid, options)
    return GridAnalysis(
        grid=grid,
        point=point,
        bounds=practical.generalization_and_diversity(grid, point),
        data_free=free,
        data_only=only,
        prior=prior_share(point, free, only, grid),
        sensitivity=solves,
        spread=spread(solves),
        redundancy=practical.redundancy(grid),
        pareto=practical.pareto_front(grid),
    )


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


def analyse_family(
    cells: xr.Dataset,
    family: str,
    protocol: str,
    *,
    preset: str,
    draws: int = 200,
    level: float = 0.95,
    seed: int = 0,
    options: TradeOffOptions = PAPER,
) -> FamilyAnalysis:
    """Compute every number of one family under one protocol, with intervals.

    Args:
        cells: from `genjax.metrics.testbed.combine`.
        family: name.
        protocol: name.
        preset: of the six statistics, `clean` or `paper`.
        draws: bootstrap draws.
        level: nominal coverage.
        seed: of the draws.
        options: of Eq 4.

    Raises:
        DivergenceError: no network of the family is left.
        InvalidInputError: fewer than two sizes are left.
    """
    found = family_cells(cells, family, protocol)
    error, kappa, axes = found.error, found.kappa, found.axes
    if len(axes.size) < 2:
        raise InvalidInputError(
            f"family '{family}': found {len(axes.size)} size with surviving networks; the "
            "trade-off point needs at least 2."
        )
    intervals = bootstrap(
        error, kappa, axes, draws=draws, seed=seed, preset=preset, options=options, level=level
    )
    return FamilyAnalysis(
        whole=analyse_grid(intervals.grid, options),
        intervals=intervals,
        seed_errors=seed_means(error),
        reach=reach(error, axes, draws=draws, seed=seed, level=level),
        chance_corrected=chance_corrected(found),
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
    """Return the grand mean error of every family and protocol, with intervals over seeds.

    Columns: family, protocol, description, error, low, high, chance_corrected, difference (from
    `clean`), difference_low, difference_high. Errors are means over sizes, levels, shares and
    classes; differences are paired by seed.
    """
    rows = []
    for family in cells["family"].values:
        found = {name: family_cells(cells, str(family), name) for name in descriptions}
        by_protocol = {name: seed_means(one.error) for name, one in found.items()}
        for name, errors in by_protocol.items():
            row: dict[str, Any] = {"family": str(family), "protocol": name}
            row["description"] = descriptions[name]
            row["chance_corrected"] = chance_corrected(found[name])
            row |= dict(zip(("error", "low", "high"), _interval(errors, level, seed), strict=True))
            gap = _interval(errors - by_protocol["clean"], level, seed)
            names = ("difference", "difference_low", "difference_high")
            rows.append(row | dict(zip(names, gap, strict=True)))
    return pd.DataFrame(rows)


def _interval(values: np.ndarray, level: float, seed: int) -> tuple[float, float, float]:
    values = values[np.isfinite(values)]
    if len(values) < 2:
        mean = float(values.mean()) if len(values) else float("nan")
        return mean, float("nan"), float("nan")
    value, low, high = mean_interval(values, seed=seed, level=level)
    return float(value), float(low), float(high)


def analyse(
    cells: xr.Dataset,
    descriptions: Mapping[str, str],
    *,
    draws: int = 200,
    level: float = 0.95,
    seed: int = 0,
    options: TradeOffOptions = PAPER,
) -> Analysis:
    """Analyse all families under the protocols `clean` and, if measured, `paper`.

    Args:
        cells: from `genjax.metrics.testbed.combine`.
        descriptions: protocol name -> one line.
        draws: bootstrap draws.
        level: nominal coverage.
        seed: of the draws.
        options: of Eq 4.
    """
    names = [str(f) for f in cells["family"].values]
    shared = {"draws": draws, "level": level, "seed": seed, "options": options}

    def under(protocol: str) -> dict[str, FamilyAnalysis]:
        if protocol not in descriptions:
            return {}
        return {f: analyse_family(cells, f, protocol, preset=protocol, **shared) for f in names}

    clean, paper = under("clean"), under("paper")
    comparisons, refused = _compare(cells, clean, "clean", level=level, seed=seed)
    in_paper, _ = _compare(cells, paper, "paper", level=level, seed=seed)
    return Analysis(
        families=clean,
        paper=paper,
        comparisons=comparisons,
        paper_comparisons=in_paper,
        protocols=protocol_table(cells, descriptions, level=level, seed=seed),
        dropped=[*refused, *_dropped(cells, names)],
    )


def all_intervals(analysis: Analysis) -> pd.DataFrame:
    """Return every number with its interval as one tidy table.

    Columns: protocol, family, and those of `genjax.statistics.interval_table`.
    """
    parts = [
        interval_table(one.intervals).assign(protocol=protocol, family=name)
        for protocol, found in (("clean", analysis.families), ("paper", analysis.paper))
        for name, one in found.items()
    ]
    table = pd.concat(parts, ignore_index=True)
    first = ["protocol", "family"]
    return table.reindex(columns=[*first, *(c for c in table.columns if c not in first)])


def grid_dataset(grids: Mapping[str, practical.Grid]) -> xr.Dataset:
    """Return the six statistics of several grids, dimensions family, size, ssim, novel_share.

    Families with fewer sizes are filled with NaN; `parameters` [family, size] holds the sizes.
    """
    axes = ("size", "ssim", "novel_share")
    parts = [
        xr.Dataset(
            {name: (axes, values) for name, values in grid.statistics.items()},
            coords={
                "size": np.arange(len(grid.size)),
                "parameters": ("size", grid.size),
                "ssim": grid.ssim,
                "novel_share": grid.novel_share,
                "family": family,
            },
        )
        for family, grid in grids.items()
    ]
    return join_families(parts)


def _compare(
    cells: xr.Dataset,
    analysed: Mapping[str, FamilyAnalysis],
    protocol: str,
    *,
    level: float,
    seed: int,
) -> tuple[list[Comparison], list[str]]:
    """Return the comparisons of all pairs of families, and sentences about those that cannot be."""
    found, refused = [], []
    errors = {name: family_cells(cells, name, protocol).error for name in analysed}
    options: dict[str, Any] = {"level": level, "seed": seed}
    for a, b in itertools.combinations(analysed, 2):
        by_seed = [analysed[name].seed_errors for name in (a, b)]
        try:
            wide = difference_over_classes(errors[a], errors[b], **options)
            found.append(compare_families(*by_seed, names=(a, b), over_classes=wide, **options))
        except InvalidInputError as error:
            refused.append(f"{a} and {b} are not compared: {error}")
    return found, refused


def _dropped(cells: xr.Dataset, names: Sequence[str]) -> list[str]:
    sentences = []
    for family in names:
        kept = family_cells(cells, family, "clean").kept
        sizes = cells.sel(family=family)["parameters"].values
        sentences += [
            f"{family} with {size:.0f} parameters is left out: every network diverged."
            for size, alive in zip(sizes, kept, strict=True)
            if not alive and np.isfinite(size)
        ]
    return sentences
