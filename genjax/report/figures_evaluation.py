"""Figure of an evaluation: how often a network is right when it says how sure it is."""

import matplotlib
import matplotlib.ticker
import numpy as np
from matplotlib.figure import Figure

from genjax.errors import InvalidInputError
from genjax.metrics.calibration import Reliability
from genjax.report import style


@matplotlib.rc_context(style.RC)
def reliability_diagram(table: Reliability, *, narrow: bool = False) -> Figure:
    """Draw accuracy against confidence bin by bin, and below it how many examples each bin holds.

    Points on the dashed diagonal are calibrated, points below it overconfident. A point lies at
    the mean confidence of its bin; the bins are those of equal width.

    Args:
        table: of one network, arrays `[bins]`.
        narrow: laid out for a phone.

    Raises:
        InvalidInputError: the table is of several networks, or holds no examples.

    Example:
        >>> table = Reliability(np.array([0, 9]), np.array([np.nan, 0.9]), np.array([np.nan, 0.8]))
        >>> [axis.get_ylabel() for axis in reliability_diagram(table).axes]
        ['accuracy', 'examples']
    """
    examples, confidence, accuracy = (np.asarray(values, np.float64) for values in table)
    if examples.ndim != 1 or not examples.sum():
        raise InvalidInputError(
            f"table: found arrays of shape {examples.shape} with {examples.sum():g} examples; "
            "one network with at least one example is needed."
        )
    width = style.NARROW if narrow else 5.2
    figure = style.new_figure(width, 1.1 * width)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    full = examples > 0
    upper.plot([0, 1], [0, 1], color=style.MUTED, lw=1, ls=(0, (4, 2)))
    upper.vlines(confidence[full], confidence[full], accuracy[full], color=style.COLORS[1], lw=2)
    upper.plot(confidence[full], accuracy[full], "o", color=style.COLORS[0], ms=5)
    edges = np.linspace(0, 1, len(examples) + 1)
    lower.bar(edges[:-1], examples, np.diff(edges), align="edge", color=style.COLORS[0], lw=0)
    upper.set_xlim(0, 1.02)
    upper.set_ylim(-0.02, 1.02)
    upper.set_ylabel("accuracy")
    lower.set_ylabel("examples")
    lower.set_xlabel("confidence")
    lower.yaxis.set_major_locator(matplotlib.ticker.MaxNLocator(3, integer=True))
    lower.yaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda v, _: style.compact(v)))
    style.fraction_ticks(upper, "y")
    style.fraction_ticks(lower)
    keys = [
        style.key("a bin", color=style.COLORS[0], marker="o", ms=5, ls=""),
        style.key("calibrated", color=style.MUTED, lw=1, ls=(0, (4, 2))),
        style.key("distance", color=style.COLORS[1], lw=2),
    ]
    style.legend(figure, keys, narrow)
    return figure
