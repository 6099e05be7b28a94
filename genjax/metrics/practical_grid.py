"""The cells of the practical metric: six statistics per cell, and the grid that holds them.

A cell is one combination of model size, SSIM level and share of novel classes. Host arithmetic in
float64: the cells are few, and what is fitted to them should not depend on the accelerator.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Array, Bool, Float

from genjax.errors import InvalidInputError, suggest

Host = np.ndarray
AXES = ("size", "ssim", "novel_share")
STATISTICS = ("error_mean", "error_std", "error_p10", "kappa_mean", "kappa_std", "kappa_p10")
PERCENTILE = 0.10
"""The percentile of the paper; of an error it is the easiest decile of classes."""

DDOF = {"clean": {"error": 1, "kappa": 1}, "paper": {"error": 1, "kappa": 0}}
"""Delta degrees of freedom of the standard deviations: the paper's code mixes pandas and numpy."""

_ROUNDING = 1e-6
"""How far a statistic computed in float32 may overstep its limits."""

_LIMITS = {"size": (0.0, np.inf), "ssim": (-1.0, 1.0), "novel_share": (0.0, 1.0)} | {
    name: (0.0, 1.0 if name.startswith("error") else 2.0) for name in STATISTICS
}


class Statistics(NamedTuple):
    """The six statistics of a cell, over classes.

    Attributes:
        error_mean: mean error, in [0, 1].
        error_std: standard deviation of the error.
        error_p10: 10th percentile of the error.
        kappa_mean: mean kappa distance, 0 perfect, 1 chance.
        kappa_std: standard deviation of the kappa distance.
        kappa_p10: 10th percentile of the kappa distance.
    """

    error_mean: Float[Host, "..."]
    error_std: Float[Host, "..."]
    error_p10: Float[Host, "..."]
    kappa_mean: Float[Host, "..."]
    kappa_std: Float[Host, "..."]
    kappa_p10: Float[Host, "..."]


class Axes(NamedTuple):
    """Coordinates of a grid, each ascending.

    Attributes:
        size: parameter counts [S].
        ssim: SSIM levels [L], 1 is untouched.
        novel_share: novel classes / all classes [Z].
    """

    size: Float[Host, " size"]
    ssim: Float[Host, " level"]
    novel_share: Float[Host, " share"]


class Grid(NamedTuple):
    """Six statistics over model size x SSIM level x share of novel classes.

    Attributes:
        size: parameter counts [S], ascending.
        ssim: SSIM levels [L], ascending; 1 is untouched.
        novel_share: novel classes / all classes [Z], ascending.
        statistics: name of the statistic -> cells [S, L, Z], float64.
    """

    size: Float[Host, " size"]
    ssim: Float[Host, " level"]
    novel_share: Float[Host, " share"]
    statistics: dict[str, Float[Host, "size level share"]]


def statistics(
    error: Float[Array | Host, "..."],
    kappa: Float[Array | Host, "..."],
    *,
    preset: str = "clean",
) -> Statistics:
    """Summarise per-class errors and kappa distances in the six statistics of a cell.

    Section "six statistics": f1 mean e, f2 mean K, f3 std e, f4 std K, f5 and f6 the 10th
    percentiles (linear interpolation). NaN marks a class that does not count and is left out.

    Args:
        error: per-class errors `[..., C]`.
        kappa: per-class kappa distances `[..., C]`.
        preset: "clean" (both standard deviations with ddof 1) or "paper" (error with ddof 1, kappa
            with ddof 0, as its code does).

    Returns:
        Six float64 arrays `[...]`; NaN where no class counts, and for a standard deviation with
        ddof 1 where only one does.

    Raises:
        InvalidInputError: the preset is unknown or the shapes differ.

    Example:
        >>> import numpy as np
        >>> cell = statistics(np.array([0.1, 0.3, np.nan]), np.array([0.2, 0.4, np.nan]))
        >>> round(float(cell.error_mean), 3), round(float(cell.kappa_p10), 3)
        (0.2, 0.22)
    """
    if preset not in DDOF:
        raise InvalidInputError(suggest("preset", preset, list(DDOF)))
    if error.shape != kappa.shape or error.ndim < 1:
        raise InvalidInputError(
            f"kappa: found shape {tuple(kappa.shape)}; it must be that of error, "
            f"{tuple(error.shape)}, with classes last."
        )
    return Statistics(
        *_summarise(np.asarray(error, np.float64), DDOF[preset]["error"]),
        *_summarise(np.asarray(kappa, np.float64), DDOF[preset]["kappa"]),
    )


def make_grid(axes: Axes, cells: Statistics) -> Grid:
    """Check six arrays [S, L, Z] against their axes and make a grid of them.

    Raises:
        InvalidInputError: an axis is not strictly ascending or out of range, a shape does not fit,
            or a value is not finite.

    Example:
        >>> import numpy as np
        >>> axes = Axes(np.array([1e3, 1e4]), np.array([0.6, 1.0]), np.array([0.0, 0.5]))
        >>> grid = make_grid(axes, Statistics(*[np.full((2, 2, 2), 0.1)] * 6))
        >>> grid.statistics["error_mean"].shape
        (2, 2, 2)
    """
    axes = check_axes(axes)
    shape = tuple(len(values) for values in axes)
    found = {name: np.asarray(cell, np.float64) for name, cell in cells._asdict().items()}
    for name, cell in found.items():
        if cell.shape != shape:
            raise InvalidInputError(
                f"{name}: found shape {cell.shape}; the axes {AXES} need {shape}."
            )
        bad = ~_inside(name, cell)
        if bad.any():
            where = tuple(int(i[0]) for i in np.nonzero(bad))
            at = ", ".join(f"{axis}={axes[k][where[k]]:g}" for k, axis in enumerate(AXES))
            raise InvalidInputError(f"{name}: found {cell[where]:g} at {at}; {_allowed(name)}.")
    return Grid(*axes, found)


def check_axes(axes: Axes) -> Axes:
    """Return the axes as float64, or refuse what is not one-dimensional, in range and ascending.

    Raises:
        InvalidInputError: naming the axis.

    Example:
        >>> import numpy as np
        >>> check_axes(Axes(np.array([5.0]), np.array([1.0]), np.array([0.0]))).size
        array([5.])
    """
    checked = {}
    for name, values in axes._asdict().items():
        values = np.asarray(values, np.float64)
        if values.ndim != 1 or values.size == 0:
            raise InvalidInputError(f"{name}: found shape {values.shape}; a list is needed.")
        if not _inside(name, values).all():
            bad = values[~_inside(name, values)][0]
            raise InvalidInputError(f"{name}: found {bad:g}; {_allowed(name)}.")
        if (np.diff(values) <= 0).any():
            raise InvalidInputError(f"{name}: values must ascend strictly, found {values}.")
        checked[name] = values
    return Axes(**checked)


def from_table(table: pd.DataFrame) -> Grid:
    """Read a grid from a table with one row per cell, in any order.

    Args:
        table: columns size, ssim, novel_share and the six statistics; further columns are ignored.

    Returns:
        The grid, axes sorted ascending.

    Raises:
        InvalidInputError: a column is missing or not numeric, a value is missing or out of range,
            a cell appears twice or is missing. The sentence names the column and row (the first
            row of the table is row 1) or the cell.

    Example:
        >>> import numpy as np
        >>> axes = Axes(np.array([1e3, 1e4]), np.array([0.6, 1.0]), np.array([0.0, 0.5]))
        >>> grid = make_grid(axes, Statistics(*[np.full((2, 2, 2), 0.1)] * 6))
        >>> len(from_table(to_table(grid)).size)
        2
    """
    columns = {name: _column(table, name) for name in (*AXES, *STATISTICS)}
    values = [np.unique(columns[name]) for name in AXES]
    index = tuple(np.searchsorted(v, columns[name]) for v, name in zip(values, AXES, strict=True))
    seen = np.zeros([len(v) for v in values], int)
    np.add.at(seen, index, 1)
    for wrong, words in ((seen > 1, "appears more than once"), (seen == 0, "is missing")):
        if wrong.any():
            first = tuple(int(i[0]) for i in np.nonzero(wrong))
            cell = ", ".join(f"{name}={values[k][first[k]]:g}" for k, name in enumerate(AXES))
            raise InvalidInputError(
                f"table: the cell {cell} {words}; every combination of {seen.shape[0]} sizes, "
                f"{seen.shape[1]} SSIM levels and {seen.shape[2]} novel shares is needed once."
            )
    cells = {name: np.empty(seen.shape) for name in STATISTICS}
    for name in STATISTICS:
        cells[name][index] = columns[name]
    return make_grid(Axes(*values), Statistics(**cells))


def to_table(grid: Grid) -> pd.DataFrame:
    """Write a grid as a table with one row per cell (what `from_table` reads).

    Example:
        >>> import numpy as np
        >>> axes = Axes(np.array([1e3]), np.array([1.0]), np.array([0.0]))
        >>> to_table(make_grid(axes, Statistics(*[np.full((1, 1, 1), 0.1)] * 6))).shape
        (1, 9)
    """
    axes = np.meshgrid(grid.size, grid.ssim, grid.novel_share, indexing="ij")
    columns: Mapping[str, Any] = dict(zip(AXES, axes, strict=True)) | dict(grid.statistics)
    return pd.DataFrame({name: columns[name].ravel() for name in (*AXES, *STATISTICS)})


def _summarise(values: Host, ddof: int) -> tuple[Host, Host, Host]:
    """Mean, standard deviation and 10th percentile over the last axis, without its NaNs.

    Written out because numpy's `nanpercentile` loops over cells in Python: 300 times slower on the
    2,000 cells that every bootstrap draw summarises.
    """
    ordered = np.sort(values, axis=-1)  # NaNs go last
    known = ~np.isnan(ordered)
    count = known.sum(-1)
    enough = np.maximum(count, 1)
    mean = np.where(known, ordered, 0).sum(-1) / enough
    squares = np.where(known, (ordered - mean[..., None]) ** 2, 0).sum(-1)
    std = np.sqrt(squares / np.maximum(count - ddof, 1))
    position = (enough - 1) * PERCENTILE
    low = np.floor(position).astype(int)
    high = np.minimum(low + 1, enough - 1)
    below = np.take_along_axis(ordered, low[..., None], -1)[..., 0]
    above = np.take_along_axis(ordered, high[..., None], -1)[..., 0]
    percentile = below + (above - below) * (position - low)
    return (
        np.where(count > 0, mean, np.nan),
        np.where(count > ddof, std, np.nan),
        np.where(count > 0, percentile, np.nan),
    )


def _inside(name: str, values: Host) -> Bool[Host, "..."]:
    low, high = _LIMITS[name]
    if name in STATISTICS:
        return np.isfinite(values) & (values >= low - _ROUNDING) & (values <= high + _ROUNDING)
    above = values > low if name in ("size", "ssim") else values >= low
    below = values < high if name in ("size", "novel_share") else values <= high
    return np.isfinite(values) & above & below


def _allowed(name: str) -> str:
    low, high = _LIMITS[name]
    if name == "size":
        return "a positive parameter count is needed"
    if name in ("ssim", "novel_share"):
        return "allowed is -1 < ssim <= 1" if name == "ssim" else "allowed is 0 <= share < 1"
    return f"a number from {low:g} to {high:g} is needed"


def _column(table: pd.DataFrame, name: str) -> Float[Host, " rows"]:
    if name not in table.columns:
        found = ", ".join(str(column) for column in table.columns)
        raise InvalidInputError(
            f"table: the column '{name}' is missing; found {found}; needed are "
            f"{', '.join((*AXES, *STATISTICS))}."
        )
    column = table[name]
    if isinstance(column, pd.DataFrame):
        raise InvalidInputError(f"table: the column '{name}' appears more than once.")
    if len(column) == 0:
        raise InvalidInputError("table: it has no rows; one row per cell is needed.")
    if not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
        numbers = np.asarray(pd.to_numeric(column, errors="coerce"), np.float64)
        row = int(np.argmax(np.isnan(numbers)))  # row 0 if all could be read: none may be text
        found = column.iloc[row]
        raise InvalidInputError(
            f"table: column '{name}', row {row + 1}: found {found!r}; a number is needed."
        )
    values = column.to_numpy(np.float64, na_value=np.nan)
    bad = ~_inside(name, values)
    if bad.any():
        row = int(np.argmax(bad))
        raise InvalidInputError(
            f"table: column '{name}', row {row + 1}: found {values[row]:g}; {_allowed(name)}."
        )
    return values
