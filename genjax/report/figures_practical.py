"""Figures of the practical metric: marginals, heat maps, the trade-off point, and the protocols.

Each takes results of `genjax.statistics.analysis` and returns a figure; `narrow` lays it out for a
phone. A `FamilyAnalysis` brings intervals, a `GridAnalysis` (somebody's grid without replicates)
is drawn without them.
"""

from collections.abc import Mapping
from typing import NamedTuple

import matplotlib
import matplotlib.axes
import matplotlib.colors
import numpy as np
from matplotlib.figure import Figure

from genjax.errors import InvalidInputError
from genjax.metrics import practical
from genjax.report import style
from genjax.report.figures_protocols import protocol_differences as protocol_differences
from genjax.statistics.analysis import FamilyAnalysis, GridAnalysis
from genjax.statistics.resampling import Interval

Family = FamilyAnalysis | GridAnalysis
AXES = ("size", "ssim", "novel_share")
LABELS = {
    "size": "model size (parameters)",
    "ssim": "SSIM (1 = untouched)",
    "novel_share": "share of novel classes",
}
CURVES = {"error_mean": ("mean error", "-"), "kappa_mean": ("mean κ distance", (0, (4, 2)))}
MOST_NUMBERS = 12
"""Columns of a heat map up to which its cells carry numbers."""

SETTINGS = {
    "start": ("other start", "."),
    "penalty": ("other penalty", "+"),
    "weights": ("other weights", "x"),
    "interpolation": ("other interpolation", "^"),
    "size_scale": ("logarithmic size", "v"),
}
"""Setting of the sensitivity analysis -> its name and marker."""


@matplotlib.rc_context(style.RC)
def marginals(families: Mapping[str, Family], *, narrow: bool = False) -> Figure:
    """Draw mean error and kappa distance along size, SSIM and share of novel classes.

    Lines average over the two other axes, bands are intervals. The strip above each panel shows
    the family's trade-off point (star, with interval) and where Eq 4 puts it without any data
    (open diamond).

    Args:
        families: by name.
        narrow: panels below each other.

    Raises:
        InvalidInputError: there is no family.

    Example:
        >>> from genjax.metrics.practical_grid import Axes, Statistics, make_grid
        >>> from genjax.statistics.analysis import analyse_grid
        >>> axes = Axes(np.array([38.0, 420.0]), np.array([0.6, 1.0]), np.array([0.0, 0.5]))
        >>> found = analyse_grid(make_grid(axes, Statistics(*[np.full((2, 2, 2), 0.25)] * 6)))
        >>> [panel.get_xlabel() for panel in marginals({"mlp": found}).axes[3:]]
        ['model size (parameters)', 'SSIM (1 = untouched)', 'share of novel classes']
    """
    looks = _looks(families)
    lanes = 0.12 + 0.17 * len(families)
    if narrow:
        figure = style.new_figure(style.NARROW, 3 * (2.4 + lanes) + 1.0)
        frames = figure.subplots(6, 1, height_ratios=[lanes, 2.4] * 3).reshape(3, 2)
    else:
        figure = style.new_figure(style.WIDE, 3.3 + lanes + 0.4)
        frames = figure.subplots(2, 3, height_ratios=[lanes, 3.3]).T
    top = 0.0
    for axis, (strip, panel) in zip(AXES, frames, strict=True):
        top = max(top, _marginal_panel(panel, axis, families, looks))
        _strip(strip, panel, axis, families, looks)
    for axis, (_, panel) in zip(AXES, frames, strict=True):
        panel.set_ylim(0, 1.04 * top)
        style.fraction_ticks(panel, "y")
        if narrow or axis == AXES[0]:
            panel.set_ylabel("error, κ distance")
        else:
            panel.tick_params(labelleft=False)
    keys = [style.family_key(look) for look in looks.values()]
    keys += [style.key(name, color=style.INK, ls=line) for name, line in CURVES.values()]
    keys += [_star_key(), _diamond_key()]
    style.legend(figure, keys, narrow)
    return figure


def _marginal_panel(
    panel: matplotlib.axes.Axes,
    axis: str,
    families: Mapping[str, Family],
    looks: Mapping[str, style.FamilyStyle],
) -> float:
    """Draw the curves along one axis; returns the highest value drawn."""
    top = 0.0
    for name, found in families.items():
        values = getattr(_whole(found).grid, axis)
        for statistic, (_, line) in CURVES.items():
            color, marker, _ = looks[name]
            curve = _marginal(found, statistic, axis)
            is_error = statistic == "error_mean"
            dots = {"marker": marker, "ms": 4} if is_error else {}
            panel.plot(values, curve.value, color=color, ls=line, lw=1.8 if is_error else 1.2)
            panel.plot(values, curve.value, color=color, ls="", **dots)
            panel.fill_between(
                values, curve.low, curve.high, color=color, alpha=0.16 if is_error else 0.07, lw=0
            )
            top = max(top, float(np.nanmax([*np.ravel(curve.value), *np.ravel(curve.high)])))
    _scale(panel, axis, families)
    panel.set_xlabel(LABELS[axis])
    return top


def _strip(
    strip: matplotlib.axes.Axes,
    panel: matplotlib.axes.Axes,
    axis: str,
    families: Mapping[str, Family],
    looks: Mapping[str, style.FamilyStyle],
) -> None:
    """Draw one lane per family with its trade-off coordinate, above the panel."""
    for lane, (name, found) in enumerate(families.items()):
        color = looks[name].color
        at = _point(found, axis)
        free = getattr(_whole(found).data_free, axis)
        strip.plot([at.low, at.high], [-lane, -lane], color=color, lw=3, alpha=0.45)
        strip.plot(free, -lane, "D", mfc="white", mec=color, ms=6.5)
        strip.plot(at.value, -lane, "*", color=color, ms=8.5, mec="white", mew=0.3)
        panel.axvline(at.value, color=color, lw=0.9, alpha=0.55)
    strip.set_ylim(0.6 - len(families), 0.6)
    strip.set_xscale(panel.get_xscale())
    strip.set_xlim(panel.get_xlim())
    strip.set_axis_off()


@matplotlib.rc_context(style.RC)
def heat_maps(families: Mapping[str, Family], *, narrow: bool = False) -> Figure:
    """Draw the mean error of every cell: SSIM x novel share and SSIM x size, one row per family.

    Each map averages over the axis that it does not show; all have one colour scale. A
    ring marks the trade-off point. Columns and rows are the measured values, at equal distances.

    Args:
        families: by name.
        narrow: maps below each other.

    Raises:
        InvalidInputError: there is no family.

    Example:
        >>> from genjax.metrics.practical_grid import Axes, Statistics, make_grid
        >>> from genjax.statistics.analysis import analyse_grid
        >>> axes = Axes(np.array([38.0, 420.0]), np.array([0.6, 1.0]), np.array([0.0, 0.5]))
        >>> found = analyse_grid(make_grid(axes, Statistics(*[np.full((2, 2, 2), 0.25)] * 6)))
        >>> [text.get_text() for text in heat_maps({"mlp": found}).axes[0].texts]
        ['.25', '.25', '.25', '.25']
    """
    looks = _looks(families)
    rows = len(families)
    grids = {name: _whole(found).grid for name, found in families.items()}
    heights = [
        (len(grid.novel_share), len(grid.size)) if narrow else (len(grid.novel_share),)
        for grid in grids.values()
    ]
    ratios = [max(1.1 + 0.26 * n, 2.0) for row in heights for n in row]
    width = style.NARROW if narrow else style.WIDE
    figure = style.new_figure(width, sum(ratios) + 0.9)
    frames = figure.subplots(len(ratios), 1 if narrow else 2, height_ratios=ratios, squeeze=False)
    frames = frames.reshape(rows, 2)
    errors = {name: grid.statistics["error_mean"] for name, grid in grids.items()}
    by_share = {name: cells.mean(0).T for name, cells in errors.items()}
    by_size = {name: cells.mean(2) for name, cells in errors.items()}
    high = max(float(m.max()) for maps in (by_share, by_size) for m in maps.values())
    norm = matplotlib.colors.Normalize(0, high if high > 0 else 1)
    for (name, found), (left, right) in zip(families.items(), frames, strict=True):
        _heat_map(left, by_share[name], found, "novel_share", norm)
        _heat_map(right, by_size[name], found, "size", norm)
        left.set_title(f"{looks[name].label}: mean over sizes")
        right.set_title(f"{looks[name].label}: mean over novel shares")
    bar = figure.colorbar(
        frames[0, 0].images[0],
        ax=frames.ravel().tolist(),
        location="bottom",
        shrink=0.6,
        aspect=40,
        pad=0.02,
    )
    bar.set_label("mean error (ring: trade-off point)")
    style.fraction_ticks(bar.ax)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    return figure


def _heat_map(
    panel: matplotlib.axes.Axes,
    cells: np.ndarray,
    found: Family,
    vertical: str,
    norm: matplotlib.colors.Normalize,
) -> None:
    """Draw cells [vertical, SSIM] with their numbers and the trade-off point."""
    whole = _whole(found)
    grid = whole.grid
    image = panel.imshow(cells, cmap="YlGnBu", norm=norm, origin="lower", aspect="auto")
    panel.grid(False)
    panel.spines[:].set_visible(False)
    panel.tick_params(length=0)
    rows, columns = cells.shape
    every = -(-columns // MOST_NUMBERS)
    panel.set_xticks(range(0, columns, every), [style.fraction(v) for v in grid.ssim[::every]])
    write = style.compact if vertical == "size" else style.fraction
    panel.set_yticks(range(rows), [write(v) for v in getattr(grid, vertical)])
    panel.set_xlabel(LABELS["ssim"])
    panel.set_ylabel({"size": "parameters"}.get(vertical, "novel share"))
    scale = np.log if vertical == "size" else np.asarray
    x = np.interp(whole.point.ssim, grid.ssim, np.arange(columns))
    y = np.interp(
        scale(getattr(whole.point, vertical)), scale(getattr(grid, vertical)), np.arange(rows)
    )
    if columns <= MOST_NUMBERS:
        for (i, j), value in np.ndenumerate(cells):
            color = style.ink_on(image.cmap(norm(value)))
            panel.text(j, i, style.fraction(value), ha="center", va="center", color=color)
    # A ring: a star would hide the number. Its white edge keeps it visible on dark cells.
    for color, width in (("white", 3.6), (style.INK, 1.8)):
        panel.plot(x, y, "o", ms=21, mfc="none", mec=color, mew=width)


@matplotlib.rc_context(style.RC)
def trade_off(families: Mapping[str, Family], *, narrow: bool = False) -> Figure:
    """Draw where the trade-off point lies in the box of the grid, and what moves it.

    Star: the measured point with its intervals. Diamond: the point without any data. Square: the
    cell that the data alone want. Grey: the point under every choice that Eq 4 leaves open.

    Args:
        families: by name, one row of panels each.
        narrow: panels below each other.

    Raises:
        InvalidInputError: there is no family.

    Example:
        >>> from genjax.metrics.practical_grid import Axes, Statistics, make_grid
        >>> from genjax.statistics.analysis import analyse_grid
        >>> axes = Axes(np.array([38.0, 420.0]), np.array([0.6, 1.0]), np.array([0.0, 0.5]))
        >>> found = analyse_grid(make_grid(axes, Statistics(*[np.full((2, 2, 2), 0.25)] * 6)))
        >>> len(trade_off({"mlp": found}).axes)
        2
    """
    looks = _looks(families)
    count = len(families)
    if narrow:
        figure = style.new_figure(style.NARROW, 5.0 * count + 1.4)
        frames = figure.subplots(2 * count, 1).reshape(count, 2)
    else:
        figure = style.new_figure(style.WIDE, 2.9 * count + 0.7)
        frames = figure.subplots(count, 2, squeeze=False)
    for (name, found), panels in zip(families.items(), frames, strict=True):
        for axis, panel in zip(("novel_share", "size"), panels, strict=True):
            _trade_off_panel(panel, axis, found, looks[name])
        panels[0].set_title(looks[name].label)
    keys = [_star_key(), _diamond_key(), style.key("data alone", **_square(style.INK))]
    keys += [style.key(label, **_setting(marker)) for label, marker in SETTINGS.values()]
    style.legend(figure, keys, narrow)
    return figure


def _trade_off_panel(
    panel: matplotlib.axes.Axes, axis: str, found: Family, look: style.FamilyStyle
) -> None:
    """Draw SSIM over one other axis."""
    whole = _whole(found)
    for setting, rows in whole.sensitivity.groupby("setting", sort=False):
        marker = SETTINGS[str(setting)][1]
        panel.plot(rows[axis], rows["ssim"], **_setting(marker))
    free, only = whole.data_free, whole.data_only
    across, up = _point(found, axis), _point(found, "ssim")
    panel.plot([across.low, across.high], [up.value] * 2, color=look.color, lw=2.2, alpha=0.6)
    panel.plot([across.value] * 2, [up.low, up.high], color=look.color, lw=2.2, alpha=0.6)
    panel.plot(getattr(only, axis), only.ssim, **_square(look.color), clip_on=False)
    panel.plot(getattr(free, axis), free.ssim, ls="", marker="D", mfc="white", mec=look.color, ms=7)
    panel.plot(across.value, up.value, "*", color=look.color, ms=15, mec="white", mew=0.8)
    _scale(panel, axis, {"": found})
    low, high = whole.grid.ssim[[0, -1]]
    panel.set_ylim(low - 0.04 * (high - low), high + 0.04 * (high - low))
    style.fraction_ticks(panel, "y")
    panel.set_xlabel(LABELS[axis])
    panel.set_ylabel("SSIM")


def _looks(families: Mapping[str, Family]) -> dict[str, style.FamilyStyle]:
    if not families:
        raise InvalidInputError("families: found none; at least one family is needed.")
    return style.family_styles(families)


def _whole(found: Family) -> GridAnalysis:
    return found.whole if isinstance(found, FamilyAnalysis) else found


def _marginal(found: Family, statistic: str, axis: str) -> Interval:
    if isinstance(found, FamilyAnalysis):
        return found.intervals.marginals[statistic][axis]
    values = practical.marginals(found.grid)[statistic][axis][1]
    return Interval(values, np.full_like(values, np.nan), np.full_like(values, np.nan))


class Coordinate(NamedTuple):
    """One coordinate of a trade-off point.

    Attributes:
        value: where the point is.
        low: lower end of its interval; NaN without replicates.
        high: upper end.
    """

    value: float
    low: float
    high: float


def _point(found: Family, axis: str) -> Coordinate:
    if isinstance(found, FamilyAnalysis):
        return Coordinate(*(float(end) for end in found.intervals.point[axis]))
    return Coordinate(float(getattr(found.point, axis)), float("nan"), float("nan"))


def _scale(panel: matplotlib.axes.Axes, axis: str, families: Mapping[str, Family]) -> None:
    """Let the x axis span the values of all families."""
    values = np.concatenate([getattr(_whole(found).grid, axis) for found in families.values()])
    if axis == "size":
        style.size_axis(panel, values)
        return
    low, high = values.min(), values.max()
    panel.set_xlim(low - 0.04 * (high - low), high + 0.04 * (high - low))
    style.fraction_ticks(panel)


def _setting(marker: str) -> dict:
    size = {".": 7, "^": 4.5, "v": 4.5}.get(marker, 6)
    look = {"ls": "", "marker": marker, "color": style.MUTED, "ms": size, "mew": 1.1, "alpha": 0.8}
    return look | {"mfc": style.MUTED if marker == "." else "none"}


def _square(color: str) -> dict:
    return {"ls": "", "marker": "s", "mfc": "white", "mec": color, "ms": 7, "mew": 1.4}


def _star_key():
    return style.key("trade-off point", color=style.INK, marker="*", ls="", ms=10)


def _diamond_key():
    return style.key("without data", mec=style.INK, mfc="white", marker="D", ls="", ms=6)
