"""All that is said about the cells of a testbed: by family, between families and protocols."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from threadpoolctl import threadpool_limits

from genjax.errors import InvalidInputError
from genjax.metrics import practical
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
    INDISTINGUISHABLE,
    Comparison,
    Reach,
    compare_families,
    difference_over_classes,
    reach,
    seed_means,
)
from genjax.statistics.practical import Intervals, bootstrap, interval_table
from genjax.statistics.protocols import chance_corrected, family_cells, protocol_table
from genjax.statistics.resampling import Interval


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
        >>> from genjax.metrics.practical_grid import Axes, Statistics, make_grid
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
    axes = found.axes
    # A seed of which every network diverged is no unit to draw.
    left = np.isfinite(found.error).any((0, 2, 3, 4))
    error, kappa = found.error[:, left], found.kappa[:, left]
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
        seed_errors=seed_means(found.error),
        reach=reach(error, axes, draws=draws, seed=seed, level=level),
        chance_corrected=chance_corrected(found),
    )


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
        # A seed of which every network of a family diverged is no pair, and no unit to draw.
        left = [np.isfinite(errors[name]).any((0, 2, 3, 4)) for name in (a, b)]
        left = left[0] & left[1]
        by_seed = [analysed[name].seed_errors[left] for name in (a, b)]
        try:
            if not left.any():
                raise InvalidInputError("no seed has networks of both.")
            wide = difference_over_classes(errors[a][:, left], errors[b][:, left], **options)
            if left.sum() == 1:
                found.append(_compare_over_classes((a, b), by_seed, wide))
                continue
            found.append(compare_families(*by_seed, names=(a, b), over_classes=wide, **options))
        except InvalidInputError as error:
            refused.append(f"{a} and {b} are not compared: {error}")
    return found, refused


def _compare_over_classes(
    names: tuple[str, str], by_seed: Sequence[np.ndarray], wide: Interval
) -> Comparison:
    """Compare two families with one network per size: classes are all there is to resample."""
    excludes = bool(wide.low > 0 or wide.high < 0)
    better = names[0] if wide.value < 0 else names[1]
    untested = (float("nan"),) * 4
    return Comparison(
        names,
        (float(by_seed[0][0]), float(by_seed[1][0])),
        wide,
        *untested,
        pairs=1,
        excludes_zero=excludes,
        winner=better if excludes else INDISTINGUISHABLE,
    )


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
