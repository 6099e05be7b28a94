"""Intervals for every number of the practical metric, over seeds and classes.

Input are per-class errors and kappa distances `[S, R, L, Z, C]`: sizes, seeds, SSIM levels, shares
of novel classes, classes; NaN where a class does not count or a network failed. A cell of the grid
is the mean over its networks of each network's statistics, so that a failed network leaves its
cell to its neighbours. Host arithmetic in float64.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Array, Float
from threadpoolctl import threadpool_limits

from genjax.errors import DivergenceError, InvalidInputError
from genjax.metrics.practical import bounds, marginals
from genjax.metrics.practical_grid import (
    AXES,
    STATISTICS,
    Axes,
    Grid,
    Statistics,
    check_axes,
    make_grid,
    statistics,
)
from genjax.metrics.tradeoff import (
    PAPER,
    TradeOff,
    TradeOffOptions,
    data_free_point,
    data_only_point,
    make_trade_off,
    prior_share,
    total,
)
from genjax.statistics.resampling import FACTORS, Interval, percentile_interval, plan_draws
from genjax.statistics.shapes import Shape, shape

Host = np.ndarray
PerClass = Float[Array | Host, "..."]
"""Per-class values [S, R, L, Z, C]; `check_per_class` looks at the shape."""


class Intervals(NamedTuple):
    """Every number of the practical metric with its interval.

    Attributes:
        grid: the grid of all data.
        marginals: statistic -> axis -> interval `[n]` over the values of the axis.
        grand_means: statistic -> interval of the mean over all cells.
        point: axis -> interval of the trade-off coordinate (Eq 4).
        bounds: "generalization" and "diversity" -> interval of the bound (Eq 5), each draw at its
            own trade-off point.
        prior_share: axis -> interval of the share of the coordinate that is prior.
        shapes: axis -> how the mean error moves along it.
        draws: bootstrap draws that count; a draw that leaves a cell without networks or classes
            is left out.
        converged: share of the draws whose trade-off point converged.
        units: independent units of the least-sampled factor; intervals from fewer than 6 are too
            narrow.
        factors: what was resampled, of "seeds" and "classes": what the intervals cover. Seeds are
            not where there is one of them; the images of a class come with the class.
    """

    grid: Grid
    marginals: dict[str, dict[str, Interval]]
    grand_means: dict[str, Interval]
    point: dict[str, Interval]
    bounds: dict[str, Interval]
    prior_share: dict[str, Interval]
    shapes: dict[str, Shape]
    draws: int
    converged: float
    units: int
    factors: tuple[str, ...]


def average_grid(error: PerClass, kappa: PerClass, axes: Axes, *, preset: str = "clean") -> Grid:
    """Average each network's six statistics over the seeds of its cell.

    Args:
        error: per-class errors `[S, R, L, Z, C]`.
        kappa: per-class kappa distances, same shape.
        axes: coordinates.
        preset: "clean" or "paper", see `genjax.metrics.practical.statistics`.

    Raises:
        InvalidInputError: shapes do not fit or a cell has no class.
        DivergenceError: every network of a size failed.

    Example:
        >>> import numpy as np
        >>> axes = Axes(np.array([1e3, 1e4]), np.array([0.6, 1.0]), np.array([0.0, 0.5]))
        >>> values = np.full((2, 3, 2, 2, 4), 0.25)
        >>> average_grid(values, values, axes).statistics["error_mean"].shape
        (2, 2, 2)
    """
    error, kappa, axes = _check(error, kappa, axes)
    cells = _cells(statistics(error, kappa, preset=preset), np.ones(error.shape[1], np.int64))
    return make_grid(axes, Statistics(*cells))


# Thousands of tiny solves: threads of the linear algebra library only fight for the cores.
@threadpool_limits.wrap(limits=1)
def bootstrap(
    error: PerClass,
    kappa: PerClass,
    axes: Axes,
    *,
    draws: int = 200,
    seed: int = 0,
    preset: str = "clean",
    options: TradeOffOptions = PAPER,
    level: float = 0.95,
    resample: tuple[str, ...] = FACTORS,
) -> Intervals:
    """Bootstrap every number of the practical metric over seeds and classes.

    A draw takes seeds (the same for every size) and classes (the same in every cell) with
    replacement and computes everything anew: statistics, marginals, trade-off point, bounds.
    Images are not drawn on their own: every class brings its images, and so their noise, along.
    With one network per size only classes are drawn (`Intervals.factors`).
    Intervals are expanded percentile intervals (see `percentile_interval`); those of marginals and
    grand means are corrected for the bias of resampling few classes (`_bias`).

    Args:
        error: per-class errors `[S, R, L, Z, C]`, NaN = does not count.
        kappa: per-class kappa distances, same shape.
        axes: coordinates; at least two values each.
        draws: number of bootstrap draws.
        seed: seed of the draws.
        preset: "clean" or "paper", see `genjax.metrics.practical.statistics`.
        options: choices of Eq 4.
        level: nominal coverage.
        resample: "seeds", "classes" or both; leave out what is not to be generalized over.

    Raises:
        InvalidInputError: shapes do not fit, a cell has no class, or no draw leaves every cell
            with networks and classes.
        DivergenceError: every network of a size failed.

    Example:
        >>> import numpy as np
        >>> axes = Axes(np.array([1e3, 1e4]), np.array([0.6, 1.0]), np.array([0.0, 0.5]))
        >>> error = np.random.default_rng(0).random((2, 3, 2, 2, 4))
        >>> found = bootstrap(error, error, axes, draws=20)
        >>> found.bounds["generalization"].low < found.bounds["generalization"].high
        True
    """
    error, kappa, axes = _check(error, kappa, axes)
    # A seed of which every network failed is no unit to draw.
    left = np.isfinite(error).any((0, 2, 3, 4))
    error, kappa = error[:, left], kappa[:, left]
    solve = make_trade_off(axes, options)
    free = data_free_point(axes, options)
    grid = average_grid(error, kappa, axes, preset=preset)
    value, _ = _numbers(grid, solve, free)
    plan = plan_draws(error, draws, seed=seed, resample=resample)
    rows, converged = [], []
    for taken, classes in zip(plan.seeds, plan.classes, strict=True):
        networks = statistics(error[..., classes], kappa[..., classes], preset=preset)
        cells = _cells(networks, taken)
        if np.isfinite(cells).all():
            drawn = grid._replace(statistics=dict(zip(STATISTICS, cells, strict=True)))
            numbers, success = _numbers(drawn, solve, free)
            rows.append(numbers)
            converged.append(success)
    if not rows:
        raise InvalidInputError(
            f"error: none of {draws} draws leaves every cell with networks and classes; more "
            "surviving networks per size or more classes per share are needed."
        )
    drawn = np.stack(rows)
    drawn[:, : _count_of_means(axes)] -= _bias(drawn, value)[: _count_of_means(axes)]
    low, high = percentile_interval(drawn, level, units=plan.units)
    counts = {"seeds": error.shape[1], "classes": error.shape[4]}
    return Intervals(
        grid,
        *_unflatten(value, low, high, axes),
        shapes=_shapes(value, drawn, axes, level, plan.units),
        draws=len(rows),
        converged=float(np.mean(converged)),
        units=plan.units,
        factors=tuple(name for name in FACTORS if name in resample and counts[name] > 1),
    )


def interval_table(intervals: Intervals) -> pd.DataFrame:
    """Write intervals as a tidy table.

    Returns:
        Columns quantity ("marginal", "grand_mean", "point", "bound", "prior_share", "change"),
        name, axis, coordinate, value, low, high. "change" is that of the mean error: along the
        whole axis, and up to each coordinate from the one before.

    Example:
        >>> import numpy as np
        >>> axes = Axes(np.array([1e3, 1e4]), np.array([0.6, 1.0]), np.array([0.0, 0.5]))
        >>> error = np.random.default_rng(0).random((2, 3, 2, 2, 4))
        >>> len(interval_table(bootstrap(error, error, axes, draws=5)))
        56
    """
    rows = []
    for name, by_axis in intervals.marginals.items():
        for axis, found in by_axis.items():
            points = np.stack([getattr(intervals.grid, axis), *found], axis=1)
            rows += [("marginal", name, axis, *point) for point in points.tolist()]
    rows += [("grand_mean", k, "", np.nan, *v) for k, v in intervals.grand_means.items()]
    rows += [("point", k, k, np.nan, *v) for k, v in intervals.point.items()]
    rows += [("bound", k, "", np.nan, *v) for k, v in intervals.bounds.items()]
    rows += [("prior_share", k, k, np.nan, *v) for k, v in intervals.prior_share.items()]
    for axis, found in intervals.shapes.items():
        rows.append(("change", "error_mean", axis, np.nan, *map(float, found.total)))
        points = np.stack([found.levels[1:], *found.steps], axis=1)
        rows += [("change", "error_mean", axis, *point) for point in points.tolist()]
    columns = ["quantity", "name", "axis", "coordinate", "value", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def _cells(networks: Statistics, taken: Host) -> Host:
    """Mean over seeds, each taken so often, of the networks that did not fail: [6, S, L, Z]."""
    stacked = np.stack(networks)
    known = ~np.isnan(stacked)
    weight = np.einsum("ksrlz,r->kslz", known, taken)
    summed = np.einsum("ksrlz,r->kslz", np.where(known, stacked, 0), taken)
    return np.where(weight > 0, summed / np.maximum(weight, 1), np.nan)


def _numbers(
    grid: Grid, solve: Callable[[Host], TradeOff], free: TradeOff
) -> tuple[Float[Host, " numbers"], bool]:
    """Everything that gets an interval, in one vector; `_unflatten` knows the order."""
    means = marginals(grid)
    point = solve(total(grid))
    share = prior_share(point, free, data_only_point(grid), grid)
    at = point.coordinates()
    parts = [means[name][axis][1] for name in STATISTICS for axis in AXES]
    parts.append(np.array([grid.statistics[name].mean() for name in STATISTICS]))
    parts.append(np.array([at[axis] for axis in AXES]))
    parts.append(np.array([bounds(means[name], at) for name in ("error_mean", "kappa_mean")]))
    parts.append(np.array([share[axis] for axis in AXES]))
    return np.concatenate(parts), point.converged


def _shapes(value: Host, drawn: Host, axes: Axes, level: float, units: int) -> dict[str, Shape]:
    """Shapes of the marginals of the mean error, which stand first in the vectors."""
    found, position = {}, 0
    for axis in AXES:
        levels = getattr(axes, axis)
        cut = slice(position, position + len(levels))
        found[axis] = shape(levels, value[cut], drawn[:, cut], level=level, units=units)
        position += len(levels)
    return found


def _count_of_means(axes: Axes) -> int:
    """How many of the numbers are marginals and grand means."""
    return len(STATISTICS) * (sum(len(getattr(axes, axis)) for axis in AXES) + 1)


def _bias(drawn: Host, value: Host) -> Host:
    """Bootstrap estimate of the bias of each number.

    Repeated classes make the standard deviation and the easiest decile over classes too small in
    every draw; without the correction their intervals lie below the value.
    """
    return drawn.mean(0) - value


def _unflatten(value: Host, low: Host, high: Host, axes: Axes):
    """Cut the vectors of `_numbers` into the fields of `Intervals`."""
    position = 0

    def vector(length: int) -> Interval:
        nonlocal position
        cut = slice(position, position + length)
        position += length
        return Interval(value[cut], low[cut], high[cut])

    def scalars(names: tuple[str, ...]) -> dict[str, Interval]:
        ends = np.stack(vector(len(names)), axis=1).tolist()
        return {name: Interval(*end) for name, end in zip(names, ends, strict=True)}

    means = {name: {axis: vector(len(getattr(axes, axis))) for axis in AXES} for name in STATISTICS}
    kinds = (STATISTICS, AXES, ("generalization", "diversity"), AXES)
    return (means, *(scalars(names) for names in kinds))


def _check(error: PerClass, kappa: PerClass, axes: Axes) -> tuple[Host, Host, Axes]:
    axes = check_axes(axes)
    error, kappa = np.asarray(error, np.float64), np.asarray(kappa, np.float64)
    check_per_class("error", error, axes)
    check_per_class("kappa", kappa, axes)
    if kappa.shape != error.shape:
        raise InvalidInputError(
            f"kappa: found shape {kappa.shape}; it must be that of error, {error.shape}."
        )
    return error, kappa, axes


def check_per_class(name: str, values: Host, axes: Axes) -> None:
    """Refuse per-class values that do not fit their axes, are infinite, or have an empty size.

    Raises:
        InvalidInputError: the shape is not `[S, R, L, Z, C]` or a value is infinite.
        DivergenceError: every network of a size failed.

    Example:
        >>> import numpy as np
        >>> axes = Axes(np.array([1e3]), np.array([1.0]), np.array([0.0]))
        >>> check_per_class("error", np.zeros((1, 3, 1, 1, 4)), axes)
    """
    expected = (len(axes.size), len(axes.ssim), len(axes.novel_share))
    if values.ndim != 5 or (values.shape[0], *values.shape[2:4]) != expected:
        raise InvalidInputError(
            f"{name}: found shape {values.shape}; [sizes, seeds, levels, shares, classes] with "
            f"{expected[0]} sizes, {expected[1]} levels and {expected[2]} shares is needed."
        )
    if np.isinf(values).any():
        raise InvalidInputError(f"{name}: found an infinite value; NaN marks what does not count.")
    empty = np.isnan(values).all((1, 2, 3, 4))
    if empty.any():
        raise DivergenceError(
            f"{name}: every network of size {axes.size[np.argmax(empty)]:g} failed; at least one "
            "seed per size is needed."
        )
