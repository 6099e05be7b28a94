"""Figure of the protocols: what each choice of the protocol does to the error."""

from collections.abc import Mapping

import matplotlib
import matplotlib.axes
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from genjax.errors import InvalidInputError
from genjax.report import style

COLUMNS = (
    *("family", "protocol", "description", "error", "low", "high"),
    *("difference", "difference_low", "difference_high"),
)


@matplotlib.rc_context(style.RC)
def protocol_differences(table: pd.DataFrame, *, narrow: bool = False) -> Figure:
    """Draw the error under every protocol, and its paired difference from the protocol `clean`.

    Args:
        table: from `genjax.statistics.analysis.protocol_table`.
        narrow: the two panels below each other.

    Raises:
        InvalidInputError: the table is empty or a column is missing.

    Example:
        >>> row = ["mlp", "clean", "the clean protocol", 0.3, 0.2, 0.4, 0.0, 0.0, 0.0]
        >>> figure = protocol_differences(pd.DataFrame([row], columns=list(COLUMNS)))
        >>> [axis.get_xlabel() for axis in figure.axes]
        ['mean error', 'difference from clean']
    """
    missing = [name for name in COLUMNS if name not in table]
    if missing or not len(table):
        found = f"no column '{missing[0]}'" if missing else "no row"
        raise InvalidInputError(f"table: found {found}; columns {', '.join(COLUMNS)} are needed.")
    protocols = list(dict.fromkeys(table["protocol"]))
    looks = style.family_styles(table["family"])
    height = 0.3 + len(protocols) * max(0.3, 0.15 * len(looks))
    if narrow:
        figure = style.new_figure(style.NARROW, 2 * (height + 0.5) + 0.4)
        panels = figure.subplots(2, 1)
    else:
        figure = style.new_figure(style.WIDE, height + 0.8)
        panels = figure.subplots(1, 2, sharey=True)
    kinds = (("error", "low", "high"), ("difference", "difference_low", "difference_high"))
    for panel, columns in zip(panels, kinds, strict=True):
        _dots(panel, table, columns, protocols, looks)
    panels[0].set_xlabel("mean error")
    panels[1].set_xlabel("difference from clean")
    panels[1].axvline(0, color=style.INK, lw=0.9)
    style.legend(figure, [style.family_key(look) for look in looks.values()], narrow)
    return figure


def _dots(
    panel: matplotlib.axes.Axes,
    table: pd.DataFrame,
    columns: tuple[str, str, str],
    protocols: list[str],
    looks: Mapping[str, style.FamilyStyle],
) -> None:
    """Draw one dot with interval per row of the table; protocols from top to bottom."""
    spread = min(0.3, 0.6 / len(looks))
    for i, (name, (color, marker, _)) in enumerate(looks.items()):
        shown = table[table["family"] == name]
        at = np.array([protocols.index(p) for p in shown["protocol"]], np.float64)
        at += spread * (i - (len(looks) - 1) / 2)
        value, low, high = (np.asarray(shown[column], np.float64) for column in columns)
        panel.hlines(at, low, high, color=color, lw=2, alpha=0.55)
        panel.plot(value, at, color=color, marker=marker, ls="", ms=5.5, mec="white", mew=0.5)
    names = [style.literal(str(p).replace("_", " ")) for p in protocols]
    panel.set_yticks(range(len(protocols)), names)
    panel.set_ylim(len(protocols) - 0.5, -0.5)
    panel.tick_params(axis="y", length=0)
    style.fraction_ticks(panel)
