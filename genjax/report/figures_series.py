"""Series with intervals in one or more panels: the picture that most questions need."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
import matplotlib.axes
import matplotlib.ticker
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from genjax.report import style


class Axes(NamedTuple):
    """What the axes of a figure of series are.

    Attributes:
        x: column on the horizontal axis.
        xlabel: its name and unit.
        ylabel: name and unit of the values.
        by: column whose values are series, in the order of their first appearance.
        panel: column whose values are panels; "" for one panel.
        log: of "x", "y", those with a logarithmic scale.
        lines: name -> height of dashed reference lines.
        marks: heights (panels' names) or positions on x of dashed vertical lines.
        ticks: positions on x that get a tick, with their text; None lets matplotlib choose.
    """

    x: str
    xlabel: str
    ylabel: str
    by: str = "series"
    panel: str = ""
    log: str = ""
    lines: Mapping[str, float] = {}
    marks: Mapping[str, float] = {}
    ticks: Mapping[float, str] | None = None


@matplotlib.rc_context(style.RC)
def series(rows: pd.DataFrame, axes: Axes, *, narrow: bool = False) -> Figure | None:
    """Draw `value` with the interval `low` to `high`, one line per series.

    Args:
        rows: columns `value`, `low` and `high` (NaN where there is no interval) and those that
            `axes` names.
        axes: what goes where.
        narrow: laid out for a phone.

    Returns:
        The figure; None where no value is finite.
    """
    rows = pd.DataFrame(rows[np.isfinite(rows["value"].to_numpy(float))])
    if not len(rows):
        return None
    names = list(dict.fromkeys(rows[axes.by]))
    panels = list(dict.fromkeys(rows[axes.panel])) if axes.panel else [""]
    columns = 1 if narrow else min(len(panels), 3)
    lines = -(-len(panels) // columns)
    width = style.NARROW if narrow else (7.6 if columns == 1 else style.WIDE)
    figure = style.new_figure(width, 0.9 + (2.6 if columns > 1 or narrow else 3.4) * lines)
    grid = figure.subplots(lines, columns, squeeze=False, sharey=True).ravel()
    for place, panel in zip(panels, grid, strict=False):
        own = rows[rows[axes.panel] == place] if axes.panel else rows
        for k, name in enumerate(names):
            _line(panel, pd.DataFrame(own[own[axes.by] == name]), axes, k)
        _finish(panel, axes)
        if axes.panel:
            panel.set_title(style.literal(str(place), 40))
    for panel in grid[len(panels) :]:
        panel.set_visible(False)
    for row in range(lines):
        grid[row * columns].set_ylabel(axes.ylabel)
    keys = [
        style.key(style.literal(str(n), 34), color=_color(k), marker=_marker(k), ms=5)
        for k, n in enumerate(names)
    ]
    keys += [style.key(n, color=style.MUTED, ls=(0, (4, 2))) for n in axes.lines]
    if len(keys) > 1:
        style.legend(figure, keys, narrow, most=5 if columns > 1 else 4)
    return figure


def _line(panel: matplotlib.axes.Axes, own: pd.DataFrame, axes: Axes, k: int) -> None:
    own = own.sort_values(axes.x)
    x, value, low, high = (own[c].to_numpy(float) for c in (axes.x, "value", "low", "high"))
    if "y" in axes.log:
        low = np.where(low > 0, low, np.where(value > 0, value, np.nan))
        value = np.where(value > 0, value, np.nan)
    shown = {"marker": _marker(k), "ms": 4} if len(own) <= 40 else {}
    panel.plot(x, value, color=_color(k), ls=_LINES[k // len(style.COLORS) % 3], **shown)
    has = np.isfinite(low) & np.isfinite(high)
    if has.any():
        panel.fill_between(x[has], low[has], high[has], color=_color(k), alpha=0.15, lw=0)


def _finish(panel: matplotlib.axes.Axes, axes: Axes) -> None:
    for height in axes.lines.values():
        panel.axhline(height, color=style.MUTED, lw=1, ls=(0, (4, 2)))
    for text, place in axes.marks.items():
        panel.axvline(place, color=style.MUTED, lw=1, ls=(0, (1, 2)))
        panel.annotate(
            text, (place, 1), xycoords=("data", "axes fraction"), xytext=(3, -10),
            textcoords="offset points", color=style.MUTED, fontsize=8,
        )  # fmt: skip
    for letter, scale, axis in (
        ("x", panel.set_xscale, panel.xaxis), ("y", panel.set_yscale, panel.yaxis),
    ):  # fmt: skip
        if letter in axes.log:
            scale("log")
            axis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter(matplotlib.ticker.FuncFormatter(_plain))
            axis.set_minor_locator(matplotlib.ticker.NullLocator())
    if axes.ticks is not None:
        panel.set_xticks(list(axes.ticks), list(axes.ticks.values()))
        panel.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
    panel.set_xlabel(axes.xlabel)


def _plain(value: float, _: Any = None) -> str:
    return style.compact(value) if value >= 10 else f"{value:g}"


def _color(k: int) -> str:
    return style.COLORS[k % len(style.COLORS)]


def _marker(k: int) -> str:
    return style.MARKERS[k % len(style.MARKERS)]


_LINES: Sequence[Any] = ("-", (0, (5, 1.5)), (0, (1.5, 1)))
"""Line styles, where there are more series than colours."""
