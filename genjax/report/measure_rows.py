"""Rows of measures, the same in every figure: which ones, in which order, and how they are named.

In the wide layout names stand left of the panels, in the narrow one above their rows.
"""

from collections.abc import Sequence
from typing import NamedTuple

import matplotlib.axes
import matplotlib.figure
import numpy as np
import pandas as pd
from jaxtyping import Float

from genjax.report import style

MOST = 60
"""Measures that a figure shows at most: the first and the last ones."""

LONGEST = {False: 34, True: 44}
"""Characters of a name, at most; by whether the layout is narrow."""

STRIPE = "#f4f5f7"


class Rows(NamedTuple):
    """The rows of a figure from top to bottom.

    Attributes:
        order: indices of the measures; -1 is the row that stands for those left out.
        left_out: how many measures are left out.
    """

    order: list[int]
    left_out: int


def choose(values: Float[np.ndarray, " measure"], most: int = MOST) -> Rows:
    """Order measures from the largest to the smallest value; NaN last, ties as they come.

    Args:
        values: one per measure.
        most: if there are more measures, the first and the last ones are shown.

    Example:
        >>> choose(np.array([0.1, np.nan, 0.3, 0.2, 0.0]), most=3)
        Rows(order=[2, 3, -1, 1], left_out=2)
    """
    order = np.argsort(-values, kind="stable").tolist()
    if len(order) <= most:
        return Rows(order, 0)
    tail = most // 2
    return Rows([*order[: most - tail], -1, *order[len(order) - tail :]], len(order) - most)


def short_names(names: Sequence[str], longest: int) -> list[str]:
    """Return names for a figure: without their common prefix, long ones cut in the middle.

    Names of measures often begin alike and differ at the end, so both ends are kept. A prefix is a
    word before a dot: `measure.`, `complexity.`.

    Example:
        >>> short_names(["measure.path_norm", "measure.margin"], 20)
        ['path_norm', 'margin']
        >>> short_names(["log_prod_of_spectral_norms_over_margin"], 20)
        ['log_prod_o…er_margin']
    """
    names = [" ".join(name.split()) for name in names]
    parts = [name.partition(".") for name in names]
    prefixes = {prefix for prefix, _, _ in parts}
    # A word before the dot: "p 0.1" and "p 0.2" have a number in common, not a prefix.
    if len(prefixes) == 1 and parts[0][0].replace("_", "").isalpha() and all(p[2] for p in parts):
        names = [rest for _, _, rest in parts]
    return [style.literal(_cut(name, longest), longest) for name in names]


def _cut(name: str, longest: int) -> str:
    if len(name) <= longest:
        return name
    head = longest // 2
    return f"{name[:head]}…{name[len(name) - (longest - 1 - head) :]}"


def row_names(names: Sequence[str], rows: Rows, narrow: bool) -> list[str]:
    """Return what stands at each row.

    Example:
        >>> row_names(["measure.a", "measure.b", "measure.c"], Rows([2, -1, 0], 1), False)
        ['c', '1 measure between these', 'a']
    """
    short = short_names(names, LONGEST[narrow])
    between = f"{rows.left_out} measure{'s' * (rows.left_out != 1)} between these"
    return [between if i < 0 else short[i] for i in rows.order]


def lay_out(
    panels: Sequence[matplotlib.axes.Axes],
    names: Sequence[str],
    narrow: bool,
    *,
    shaded: bool = True,
) -> Float[np.ndarray, " row"]:
    """Name the rows of panels that stand side by side; return where values are drawn.

    Args:
        panels: the names belong to the first one.
        names: from top to bottom.
        narrow: names stand above the rows instead of left of them.
        shaded: shade every second row, so that the eye stays in it.

    Example:
        >>> panel = style.new_figure(style.WIDE, 2.0).subplots()
        >>> lay_out([panel], ["path_norm", "margin"], narrow=False).tolist()
        [0.0, 1.0]
    """
    rows = np.arange(len(names), dtype=np.float64)
    for panel in panels:
        panel.set_ylim(len(names) - 0.5, -0.5)
        panel.set_yticks([])
        panel.spines["left"].set_visible(False)
        for row in rows[1::2] if shaded else ():
            panel.axhspan(row - 0.5, row + 0.5, color=STRIPE, lw=0, zorder=0)
    first = panels[0]
    if not narrow:
        first.set_yticks(rows, names)
        first.tick_params(axis="y", length=0)
        first.grid(False, axis="y")
        return rows
    # Names run on over the panels beside the first one: it is drawn last, and the layout must not
    # make room for them.
    first.set_zorder(1)
    first.patch.set_visible(False)
    for i, (row, name) in enumerate(zip(rows, names, strict=True)):
        background = {"fc": STRIPE if shaded and i % 2 else "white", "ec": "none", "pad": 0.8}
        text = first.text(
            *(0, row - 0.24, name),
            transform=first.get_yaxis_transform(),
            va="center",
            fontsize=9,
            bbox=background,
        )
        text.set_in_layout(False)
    return rows + 0.2


def side_by_side(
    count: int, rows: int, keys: int, narrow: bool
) -> tuple[matplotlib.figure.Figure, list[matplotlib.axes.Axes]]:
    """Return a figure that grows with its rows, and its panels.

    Args:
        count: number of panels.
        rows: number of rows, the same in all panels.
        keys: number of entries of the legend.
        narrow: laid out for a phone.

    Example:
        >>> figure, panels = side_by_side(3, 20, 4, narrow=False)
        >>> len(panels), figure.get_size_inches().tolist()
        (3, [9.6, 6.17])
    """
    height = (0.42 if narrow else 0.25) * rows + 0.75
    height += 0.21 * (keys if narrow else -(-keys // 3))
    figure = style.new_figure(style.NARROW if narrow else style.WIDE, height)
    return figure, figure.subplots(1, count, squeeze=False)[0].tolist()


def numbers(table: pd.DataFrame, column: str) -> Float[np.ndarray, " row"]:
    """Return a column as floats.

    Example:
        >>> numbers(pd.DataFrame({"kendall": [1, None]}), "kendall").tolist()
        [1.0, nan]
    """
    return table[column].to_numpy(np.float64)
