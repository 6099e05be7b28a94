"""Figure of certificates: each bound beside the test error that it bounds."""

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from genjax.errors import InvalidInputError
from genjax.report import style

ROW = 0.09
"""Height of one network, inches."""


@matplotlib.rc_context(style.RC)
def bounds_and_errors(table: pd.DataFrame, guessing: float, *, narrow: bool = False) -> Figure:
    """Draw bound, train error and test error of every network, one line per seed.

    Args:
        table: rows `method`, `seed`, `bound`, `train_error`, `test_error`; methods are drawn from
            the top in the order of their first row.
        guessing: error of guessing, a dashed line.
        narrow: laid out for a phone.

    Raises:
        InvalidInputError: there is no row.

    Example:
        >>> row = {"method": "a", "seed": 0, "bound": 0.3, "train_error": 0.1, "test_error": 0.12}
        >>> figure = bounds_and_errors(pd.DataFrame([row]), 0.9)
        >>> [text.get_text() for text in figure.axes[0].get_yticklabels()]
        ['a']
    """
    if not len(table):
        raise InvalidInputError("table: found no row; one network is needed.")
    methods = list(dict.fromkeys(table["method"]))
    seeds = sorted(set(table["seed"]))
    height = 1.3 + len(methods) * max(0.4, ROW * len(seeds) + 0.12)
    figure = style.new_figure(style.NARROW if narrow else 7.6, height)
    panel = figure.subplots()
    spread = 0.62 if len(seeds) > 1 else 0.0
    offset = dict(zip(seeds, np.linspace(-spread / 2, spread / 2, len(seeds)), strict=True))
    y = np.array([methods.index(m) + offset[s] for m, s in table[["method", "seed"]].to_numpy()])
    bound, train, test = (table[c].to_numpy(np.float64) for c in _COLUMNS)
    panel.hlines(y, test, bound, color=style.MUTED, lw=0.8)
    panel.axvline(guessing, color=style.MUTED, lw=1, ls=(0, (4, 2)))
    size = 4.5
    panel.plot(train, y, "|", color=style.COLORS[2], ms=6, mew=1.4)
    panel.plot(test, y, "o", color=style.COLORS[0], ms=size)
    panel.plot(bound, y, "s", color=style.COLORS[1], ms=size)
    panel.set_yticks(range(len(methods)), [style.literal(m) for m in methods])
    panel.set_ylim(len(methods) - 0.45, -0.55)
    panel.set_xlim(0, max(1.0, float(bound.max()) * 1.02))
    panel.grid(visible=False, axis="y")
    panel.set_xlabel("error")
    style.fraction_ticks(panel)
    keys = [
        style.key("bound", color=style.COLORS[1], marker="s", ms=size, ls=""),
        style.key("test error", color=style.COLORS[0], marker="o", ms=size, ls=""),
        style.key("train error", color=style.COLORS[2], marker="|", ms=6, mew=1.4, ls=""),
        style.key("guessing", color=style.MUTED, lw=1, ls=(0, (4, 2))),
    ]
    style.legend(figure, keys, narrow)
    return figure


_COLUMNS = ("bound", "train_error", "test_error")
