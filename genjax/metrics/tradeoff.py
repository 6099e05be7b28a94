"""The trade-off point (Eq 4) of the practical metric, and how much of it is prior.

Eq 4 looks for the lowest SSIM, the highest share of novel classes and the smallest model at which
the six statistics are still small. With x = SSIM, y = 1 - novel share and z the size scaled to
[0, 1] it minimises

    F(x, y, z) + sum_k a_k c_k^2 + penalty * sum over (x, y, z, c1, c2, c3) of
        [exp(-sharpness (v - low)) + exp(-sharpness (high - v))]

subject to c1 >= x, c2 >= y, c3 >= z, everything inside the box of the grid. F is the sum of the
six statistics, interpolated piecewise linearly. The penalty pulls every coordinate to the middle
of the box: `data_free_point` shows what comes out without any data (F = 0), `prior_share` how much
of a measured point that explains, `sensitivity` how the point moves with the arbitrary choices.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.interpolate import LinearNDInterpolator, RegularGridInterpolator
from scipy.optimize import minimize
from scipy.spatial import Delaunay
from scipy.stats import qmc

from genjax.errors import InvalidInputError, suggest
from genjax.metrics.practical_grid import AXES, STATISTICS, Axes, Grid, check_axes

Host = np.ndarray
Number = float | int
Interpolant = Callable[[Host], Host]
STEP = float(np.sqrt(np.finfo(np.float64).eps))
"""Forward-difference step of F, the one with which the paper's solver differentiates."""

SAME = 0.05
"""Share of an axis within which data and prior are said to want the same."""

_SLACK_JACOBIAN = np.hstack([-np.eye(3), np.eye(3)])
_INTERPOLATIONS = ("delaunay", "multilinear")
_SIZE_SCALES = ("linear", "log")


@dataclasses.dataclass(frozen=True)
class TradeOffOptions:
    """Choices of Eq 4; the defaults are those of the paper's code.

    Attributes:
        weights: a_1 (SSIM), a_2 (novel share), a_3 (size).
        penalty: strength of the boundary penalty; 0 switches it off.
        sharpness: decay of the boundary penalty, per unit of the coordinate.
        start: x, y, z, c1, c2, c3 at which the solver starts; clipped to the box of the grid.
        interpolation: "delaunay" (scipy's `griddata`, as the paper) or "multilinear".
        size_scale: how sizes become z: "linear" (paper) or "log".
    """

    weights: tuple[Number, Number, Number] = (1.0, 1.0, 1.0)
    penalty: Number = 0.5
    sharpness: Number = 10.0
    start: tuple[Number, Number, Number, Number, Number, Number] = (0.6, 0.5, 0.0, 1.0, 1.0, 1.0)
    interpolation: str = "delaunay"
    size_scale: str = "linear"

    def __post_init__(self):
        for name, length in (("weights", 3), ("start", 6)):
            values = np.asarray(getattr(self, name), np.float64)
            if values.shape != (length,) or not np.isfinite(values).all():
                raise InvalidInputError(f"{name}: found {values}; {length} numbers are needed.")
        if min(self.weights) < 0:
            raise InvalidInputError(f"weights: found {self.weights}; none may be negative.")
        if not (np.isfinite(self.penalty) and self.penalty >= 0):
            raise InvalidInputError(f"penalty: found {self.penalty}; at least 0 is needed.")
        if not (np.isfinite(self.sharpness) and self.sharpness > 0):
            raise InvalidInputError(f"sharpness: found {self.sharpness}; it must be positive.")
        for name, allowed in (("interpolation", _INTERPOLATIONS), ("size_scale", _SIZE_SCALES)):
            if getattr(self, name) not in allowed:
                raise InvalidInputError(suggest(name, getattr(self, name), allowed))


PAPER = TradeOffOptions()


class TradeOff(NamedTuple):
    """A trade-off point.

    Attributes:
        ssim: lowest SSIM still borne (a lower bound).
        novel_share: largest share of novel classes still borne (an upper bound).
        size: smallest model that still does it, in the unit of the grid.
        objective: value of Eq 4 there.
        converged: whether the solver says so; F has kinks, at which it may stop early.
        info: iterations, evaluations, the solver's message and the slack variables.
    """

    ssim: float
    novel_share: float
    size: float
    objective: float
    converged: bool
    info: dict[str, Any]

    def coordinates(self) -> dict[str, float]:
        """Return the point as a mapping, as `bounds` takes it."""
        return {axis: getattr(self, axis) for axis in AXES}


def make_trade_off(
    axes: Axes | Grid, options: TradeOffOptions = PAPER
) -> Callable[[Float[Host, "size level share"] | None], TradeOff]:
    """Prepare Eq 4 for one set of axes: the triangulation is built once, a solve takes 2-3 ms.

    Args:
        axes: coordinates of the grid, at least two values each.
        options: the choices of Eq 4.

    Returns:
        A function of the cells of F, `[S, L, Z]`, or of None for F = 0, that solves Eq 4.

    Raises:
        InvalidInputError: an axis has fewer than two values; from the function: cells of another
            shape or not finite.

    Example:
        >>> import numpy as np
        >>> axes = Axes(np.array([38.0, 420.0]), np.array([0.6, 1.0]), np.array([0.0, 0.5]))
        >>> round(make_trade_off(axes)(None).ssim, 3)
        0.747
    """
    axes = check_axes(Axes(axes.size, axes.ssim, axes.novel_share))
    for name, values in axes._asdict().items():
        if len(values) < 2:
            raise InvalidInputError(
                f"{name}: found {len(values)} value; the trade-off point needs at least 2."
            )
    z, to_size = _size_scale(axes.size, options.size_scale)
    ticks = (axes.ssim, 1 - axes.novel_share[::-1], z)
    low, high = (np.tile([tick[edge] for tick in ticks], 2) for edge in (0, -1))
    interpolate = _interpolator(ticks, options.interpolation)
    shape = tuple(len(values) for values in axes)

    def solve(cells: Float[Host, "size level share"] | None) -> TradeOff:
        if cells is not None and (cells.shape != shape or not np.isfinite(cells).all()):
            raise InvalidInputError(
                f"cells: found shape {cells.shape} or a number that is not finite; the axes need "
                f"finite {shape}."
            )
        # F is given as [size, ssim, share], the box is (ssim, 1 - share, size).
        surface = None if cells is None else interpolate(np.transpose(cells[..., ::-1], (1, 2, 0)))
        return _solve(surface, low, high, options, to_size)

    return solve


def trade_off_point(grid: Grid, options: TradeOffOptions = PAPER) -> TradeOff:
    """Find the trade-off point of a grid, Eq 4.

    Raises:
        InvalidInputError: an axis of the grid has fewer than two values.

    Example:
        >>> import numpy as np
        >>> from genjax.metrics.practical_grid import Statistics, make_grid
        >>> axes = Axes(np.array([38.0, 420.0]), np.array([0.6, 1.0]), np.array([0.0, 0.5]))
        >>> grid = make_grid(axes, Statistics(*[np.full((2, 2, 2), 0.25)] * 6))
        >>> round(trade_off_point(grid).novel_share, 3)  # F is constant: the data say nothing
        0.325
    """
    return make_trade_off(grid, options)(total(grid))


def data_free_point(axes: Axes | Grid, options: TradeOffOptions = PAPER) -> TradeOff:
    """Find the point that Eq 4 gives without data, F = 0: what weights and penalty alone want.

    With the paper's options, its SSIM levels and novel shares it is SSIM .747, novel share .325
    and z = .285, which is 147M for the sizes of CLIP and 22.6M for those of EfficientNet.

    Example:
        >>> import numpy as np
        >>> axes = Axes(np.array([38.0, 420.0]), np.array([0.6, 1.0]), np.array([0.0, 0.5]))
        >>> round(data_free_point(axes).size)
        147
    """
    return make_trade_off(axes, options)(None)


def data_only_point(grid: Grid) -> TradeOff:
    """Find the point that the data alone want: the minimum of F over the box.

    No weights, no penalty. F is piecewise linear (or multilinear), so its minimum is at a cell,
    and found exactly; among equal cells the first is taken.

    Example:
        >>> import numpy as np
        >>> from genjax.metrics.practical_grid import Statistics, make_grid
        >>> axes = Axes(np.array([38.0, 420.0]), np.array([0.6, 1.0]), np.array([0.0, 0.5]))
        >>> cells = np.full((2, 2, 2), 0.25)
        >>> cells[1, 1, 0] = 0.1
        >>> data_only_point(make_grid(axes, Statistics(*[cells] * 6))).ssim
        1.0
    """
    cells = total(grid)
    i, j, k = (int(index) for index in np.unravel_index(np.argmin(cells), cells.shape))
    return TradeOff(
        ssim=float(grid.ssim[j]),
        novel_share=float(grid.novel_share[k]),
        size=float(grid.size[i]),
        objective=float(cells[i, j, k]),
        converged=True,
        info={"message": "the smallest cell", "iterations": 0, "evaluations": cells.size},
    )


def prior_share(
    measured: TradeOff,
    data_free: TradeOff,
    data_only: TradeOff,
    axes: Axes | Grid | None = None,
) -> dict[str, float]:
    """Say how much of each coordinate of a measured point is prior.

    `1 - (p - p0) / (q - p0)`, clipped to [0, 1], with p the measured point, p0 the data-free point
    and q the point that the data alone want. 1: the data did not move the point towards where they
    want it; 0: it went all the way.

    Args:
        measured: p.
        data_free: p0.
        data_only: q.
        axes: of the grid; a coordinate for which q and p0 are nearer than `SAME` of its axis has
            no share, since a ratio of two such numbers is noise. None compares with equality only.

    Returns:
        Axis -> share in [0, 1]; NaN where data and prior want the same.

    Example:
        >>> points = [TradeOff(s, 0.3, 9.0, 0.0, True, {}) for s in (0.8, 0.7, 0.9)]
        >>> {k: round(v, 3) for k, v in prior_share(*points).items()}
        {'size': nan, 'ssim': 0.5, 'novel_share': nan}
    """
    shares = {}
    for axis in AXES:
        p, p0, q = (getattr(point, axis) for point in (measured, data_free, data_only))
        width = 0.0 if axes is None else SAME * float(np.ptp(getattr(axes, axis)))
        if abs(q - p0) <= width or np.isclose(q, p0, rtol=1e-9, atol=1e-9):
            shares[axis] = float("nan")
        else:
            shares[axis] = float(np.clip(1 - (p - p0) / (q - p0), 0, 1))
    return shares


def sensitivity(grid: Grid, options: TradeOffOptions = PAPER) -> pd.DataFrame:
    """Solve Eq 4 again under every choice that the paper leaves open, one at a time.

    Weights: the paper's and the alternatives in its code; penalty: off and five strengths; start:
    the paper's and 15 spread over the box; interpolation and size scale: both kinds.

    Returns:
        One row per solve: setting, value, ssim, novel_share, size, objective, converged.
        Objectives compare only within start (elsewhere the objective itself changes).

    Example:
        >>> import numpy as np
        >>> from genjax.metrics.practical_grid import Statistics, make_grid
        >>> axes = Axes(np.array([38.0, 420.0]), np.array([0.6, 1.0]), np.array([0.0, 0.5]))
        >>> grid = make_grid(axes, Statistics(*[np.full((2, 2, 2), 0.25)] * 6))
        >>> sorted(set(sensitivity(grid).setting))
        ['interpolation', 'penalty', 'size_scale', 'start', 'weights']
    """
    cells, rows = total(grid), []
    for setting, value in _choices(grid):
        varied = dataclasses.replace(options, **{setting: value})
        point = make_trade_off(grid, varied)(cells)
        label = value if isinstance(value, str) else np.array2string(np.asarray(value), precision=3)
        rows.append({"setting": setting, "value": label} | point._asdict())
    return pd.DataFrame(rows).drop(columns="info")


def spread(table: pd.DataFrame) -> pd.DataFrame:
    """Give the range (largest minus smallest) of each coordinate per setting of `sensitivity`.

    Returns:
        One row per setting: setting, ssim, novel_share, size, solves, converged (how many did; a
        start that ends more than 1e-3 above the best objective of all starts did not).

    Example:
        >>> rows = [("start", 0.7, 0.3, 10.0, True), ("start", 0.8, 0.3, 12.0, True)]
        >>> columns = ["setting", "ssim", "novel_share", "size", "converged"]
        >>> spread(pd.DataFrame(rows, columns=columns))["size"].tolist()
        [2.0]
    """
    # A start from which the solver ends above the best is stuck, whatever it reports itself.
    if "objective" in table:
        starts = table["setting"] == "start"
        stuck = starts & (table["objective"] > table.loc[starts, "objective"].min() + 1e-3)
        table = table.assign(converged=table["converged"] & ~stuck)
    groups = table.groupby("setting", sort=False)
    ranges = groups[["ssim", "novel_share", "size"]].agg(np.ptp)
    return ranges.assign(solves=groups.size(), converged=groups["converged"].sum()).reset_index()


def total(grid: Grid) -> Float[Host, "size level share"]:
    """Return F, the sum of the six statistics, at every cell `[S, L, Z]`.

    Example:
        >>> import numpy as np
        >>> from genjax.metrics.practical_grid import Statistics, make_grid
        >>> axes = Axes(np.array([38.0]), np.array([1.0]), np.array([0.0]))
        >>> total(make_grid(axes, Statistics(*[np.full((1, 1, 1), 0.25)] * 6))).item()
        1.5
    """
    return sum((grid.statistics[name] for name in STATISTICS), np.zeros(()))


def _choices(axes: Axes | Grid) -> Iterator[tuple[str, Any]]:
    """Yield setting and value; the starts spread over the box by a Halton sequence."""
    for weights in ((1, 1, 1), (0.03, 0.25, 0.25), (0.8, 0.25, 0.25), (0.285, 0.8, 0.8)):
        yield "weights", tuple(float(a) for a in weights)
    for penalty in (0.0, 0.1, 0.25, 0.5, 1.0, 2.0):
        yield "penalty", penalty
    yield "start", PAPER.start
    low = np.array([axes.ssim[0], 1 - axes.novel_share[-1], 0.0])
    high = np.array([axes.ssim[-1], 1 - axes.novel_share[0], 1.0])
    for unit in qmc.Halton(3, scramble=False).random(16)[1:]:
        yield "start", (*(float(v) for v in low + unit * (high - low)), 1.0, 1.0, 1.0)
    for interpolation in _INTERPOLATIONS:
        yield "interpolation", interpolation
    for scale in _SIZE_SCALES:
        yield "size_scale", scale


def _size_scale(size: Host, scale: str) -> tuple[Host, Callable[[float], float]]:
    """Give the sizes on [0, 1], and the way back."""
    values = size if scale == "linear" else np.log(size)
    low, width = float(values[0]), float(values[-1] - values[0])

    def to_size(z: float) -> float:
        value = low + z * width
        back = value if scale == "linear" else float(np.exp(value))
        return float(np.clip(back, size[0], size[-1]))

    return (values - low) / width, to_size


def _interpolator(ticks: tuple[Host, Host, Host], kind: str) -> Callable[[Host], Interpolant]:
    """Return what turns cells `[x, y, z]` into F at points `[K, 3]`."""
    if kind == "multilinear":
        return lambda cells: RegularGridInterpolator(ticks, cells)
    points = np.stack([tick.ravel() for tick in np.meshgrid(*ticks, indexing="ij")], axis=-1)
    triangulation = Delaunay(points)
    return lambda cells: LinearNDInterpolator(triangulation, cells.ravel())


def _solve(
    surface: Interpolant | None,
    low: Host,
    high: Host,
    options: TradeOffOptions,
    to_size: Callable[[float], float],
) -> TradeOff:
    weights = np.asarray(options.weights, np.float64)

    def objective(v: Host) -> tuple[float, Host]:
        near_low = options.penalty * np.exp(-options.sharpness * (v - low))
        near_high = options.penalty * np.exp(-options.sharpness * (high - v))
        value = (near_low + near_high).sum() + (weights * v[3:] ** 2).sum()
        slope = options.sharpness * (near_high - near_low)
        slope[3:] += 2 * weights * v[3:]
        if surface is not None:
            f, df = _value_and_slope(surface, np.clip(v[:3], low[:3], high[:3]), high[:3])
            value, slope[:3] = value + f, slope[:3] + df
        return float(value), slope

    result = minimize(
        objective,
        np.clip(options.start, low, high),
        jac=True,
        method="SLSQP",
        bounds=list(zip(low, high, strict=True)),
        constraints={
            "type": "ineq",
            "fun": lambda v: v[3:] - v[:3],
            "jac": lambda v: _SLACK_JACOBIAN,
        },
    )
    x, y, z, *slack = (float(v) for v in np.clip(result.x, low, high))
    info = {"message": str(result.message), "iterations": int(result.nit)}
    info |= {"evaluations": int(result.nfev), "slack": slack}
    return TradeOff(x, 1 - y, to_size(z), float(result.fun), bool(result.success), info)


def _value_and_slope(surface: Interpolant, at: Host, high: Host) -> tuple[float, Host]:
    """F and its forward differences (backward at the upper edge), in one call."""
    steps = np.where(at + STEP > high, -STEP, STEP)
    values = surface(at + np.vstack([np.zeros(3), np.diag(steps)]))
    return float(values[0]), (values[1:] - values[0]) / steps
