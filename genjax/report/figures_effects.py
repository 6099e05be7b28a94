"""Differences or ratios with their intervals, one below the other."""

import matplotlib
import matplotlib.ticker
import pandas as pd
from matplotlib.figure import Figure

from genjax.report import style


@matplotlib.rc_context(style.RC)
def effects(
    rows: pd.DataFrame, xlabel: str, *, none: float = 0.0, narrow: bool = False
) -> Figure | None:
    """Draw values with intervals as dots and lines; what excludes no effect is filled.

    Args:
        rows: columns `name`, `value`, `low` and `high` (NaN: no interval), from top to bottom.
        xlabel: what the values are, with their unit.
        none: value of no effect; 1 draws ratios on a logarithmic axis.
        narrow: laid out for a phone.

    Returns:
        The figure; None without rows that have a value.
    """
    rows = pd.DataFrame(rows[rows["value"].notna()])
    if not len(rows):
        return None
    figure = style.new_figure(style.NARROW if narrow else 7.6, 1.0 + 0.27 * len(rows))
    panel = figure.subplots()
    for y, row in enumerate(rows.to_dict("records")):
        clear = row["low"] > none or row["high"] < none
        panel.hlines(y, row["low"], row["high"], color=style.COLORS[0], lw=1.6)
        face = style.COLORS[0] if clear else "white"
        panel.plot(row["value"], y, "o", color=style.COLORS[0], mfc=face, ms=5)
    panel.axvline(none, color=style.MUTED, lw=1, ls=(0, (4, 2)))
    if none == 1:
        panel.set_xscale("log")
        panel.xaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 2, 5)))
        panel.xaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda x, _: f"{x:g}"))
        panel.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
    names = [style.literal(str(n), 30 if narrow else 60) for n in rows["name"]]
    panel.set_yticks(range(len(names)), names)
    panel.set_ylim(len(names) - 0.4, -0.6)
    panel.grid(visible=False, axis="y")
    panel.set_xlabel(xlabel)
    return figure
