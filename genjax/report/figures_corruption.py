"""Figures of corruption error: along similarity, and beside published networks."""

import matplotlib
import matplotlib.ticker
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from genjax.errors import InvalidInputError
from genjax.report import style

ROW = 0.21
"""Height of a row of networks, inches."""


@matplotlib.rc_context(style.RC)
def error_by_similarity(table: pd.DataFrame, *, narrow: bool = False) -> Figure:
    """Draw the error of a network against average SSIM, one line per shift, bands for intervals.

    Args:
        table: from `genjax.metrics.shift_errors.error_table`.
        narrow: laid out for a phone.

    Raises:
        InvalidInputError: there is no row.

    Example:
        >>> row = {"shift": "jpeg", "ssim": 0.9, "error": 0.2, "low": 0.1, "high": 0.3}
        >>> figure = error_by_similarity(pd.DataFrame([row, {**row, "ssim": 1.0, "error": 0.1}]))
        >>> [line.get_ydata().tolist() for line in figure.axes[0].lines]
        [[0.1, 0.2]]
    """
    if not len(table):
        raise InvalidInputError("table: found no row; one shift at one level is needed.")
    looks = style.family_styles(table["shift"])
    # Colours come again after the sixth shift: dashes tell those apart.
    dashes = {name: "-" if k < len(style.COLORS) else (0, (3, 1.5)) for k, name in enumerate(looks)}
    figure = style.new_figure(style.NARROW, 4.0) if narrow else style.new_figure(7.2, 4.4)
    panel = figure.subplots()
    for name, rows in table.groupby("shift", sort=False):
        rows = rows.sort_values("ssim", ascending=False)
        color, marker, _ = looks[str(name)]
        x = rows["ssim"].to_numpy(np.float64)
        panel.fill_between(x, rows["low"], rows["high"], color=color, alpha=0.15, lw=0)
        line = dashes[str(name)]
        panel.plot(x, rows["error"], color=color, marker=marker, ms=4.5, ls=line)
    panel.set_ylim(bottom=0)
    # Damage grows to the right.
    panel.invert_xaxis()
    panel.set_xlabel("average SSIM (1 = untouched)")
    panel.set_ylabel("error")
    style.fraction_ticks(panel)
    style.fraction_ticks(panel, "y")
    keys = [
        style.key(look.label, color=look.color, marker=look.marker, ms=5, ls=dashes[name])
        for name, look in looks.items()
    ]
    style.legend(figure, keys, narrow)
    return figure


@matplotlib.rc_context(style.RC)
def beside_published(own: pd.DataFrame, published: pd.DataFrame, *, narrow: bool = False) -> Figure:
    """Draw clean and mean corruption error of a network above those of published networks.

    Args:
        own: rows `network`, `clean_error`, `error`, `low`, `high`.
        published: the same columns, of other networks.
        narrow: laid out for a phone.

    Example:
        >>> numbers = {"clean_error": [0.1], "error": [0.3], "low": [0.2], "high": [0.4]}
        >>> mine, other = (pd.DataFrame({"network": [n], **numbers}) for n in ("mine", "other"))
        >>> [text.get_text() for text in beside_published(mine, other).axes[0].get_yticklabels()]
        ['mine', 'other']
    """
    rows = pd.concat([own, published], ignore_index=True)
    figure = style.new_figure(style.NARROW if narrow else 7.2, 1.0 + ROW * len(rows))
    panel = figure.subplots()
    places = np.arange(len(rows))
    colors = [style.COLORS[1]] * len(own) + [style.COLORS[0]] * len(published)
    panel.hlines(places, rows["low"], rows["high"], color=colors, lw=1.6)
    panel.scatter(rows["error"], places, color=colors, s=20, zorder=3)
    panel.scatter(
        rows["clean_error"], places, facecolor="white", edgecolor=colors, s=18, zorder=3, lw=1.1
    )
    longest = 18 if narrow else 44
    names = [style.literal(name, longest) for name in rows["network"]]
    panel.set_yticks(places, names, fontsize=7.5 if narrow else 8.5)
    panel.set_ylim(len(rows) - 0.4, -0.6)
    panel.grid(axis="y", visible=False)
    panel.set_xlim(left=0)
    panel.set_xlabel("error")
    style.fraction_ticks(panel)
    ink = style.INK
    keys = [
        style.key("corrupted", color=ink, marker="o", ms=5, lw=1.6),
        style.key("untouched", color=ink, marker="o", ms=5, ls="", markerfacecolor="white"),
    ]
    style.legend(figure, keys, narrow)
    return figure
