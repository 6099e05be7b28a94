"""Figure of the networks themselves: target against measure."""

from collections.abc import Sequence
from typing import NamedTuple

import matplotlib
import matplotlib.axes
import matplotlib.colors
import matplotlib.lines
import matplotlib.ticker
import numpy as np
from jaxtyping import Bool, Float, Int
from matplotlib.figure import Figure
from scipy import stats

from genjax.errors import InvalidInputError, suggest
from genjax.report import measure_rows, style
from genjax.statistics import chance
from genjax.statistics.networks import MeasuredNetworks
from genjax.statistics.relations import Relations

MOST_PANELS = 12
"""Panels at most, the one of the random measure included."""

MOST_LEVELS = 6
"""Values of a hyper-parameter that the legend names, at most."""

MANY = 500
"""Networks from which on points are drawn as pixels: a page of paths would be too heavy."""

DECADES = 2.0
"""Decades that a positive measure must span for a logarithmic axis."""

RANDOM = "random"
COLUMNS = {False: 4, True: 2}


def colouring_hyper(networks: MeasuredNetworks) -> str | None:
    """Return the hyper-parameter that explains most of the target.

    Returns:
        The name with the largest `epsilon_squared`; None if there is none with two values.

    Example:
        >>> from genjax.statistics.networks import from_arrays
        >>> levels = np.array([[0, 0], [1, 0], [0, 1], [1, 1]])
        >>> colouring_hyper(from_arrays(np.zeros((4, 1)), np.array([0.0, 0.1, 1.0, 1.1]), levels))
        'hp.1'
    """
    shares = {
        name: epsilon_squared(codes, networks.target)
        for name, codes in zip(networks.hyper_names, networks.levels.T, strict=True)
    }
    known = {name: share for name, share in shares.items() if np.isfinite(share)}
    return max(known, key=lambda name: known[name]) if known else None


def epsilon_squared(
    codes: Int[np.ndarray, " network"], target: Float[np.ndarray, " network"]
) -> float:
    """Share of the target's rank variance that lies between values, corrected for their number.

    `(H - k + 1) / (N - k)` with H of the Kruskal-Wallis test and k values: eta squared in Tomczak
    and Tomczak, the adjusted R squared of the ranks without ties.

    Args:
        codes: value of the hyper-parameter of each network.
        target: of each network.

    Returns:
        At most 1, about 0 by chance; NaN for one value, or as many as networks, or one target.

    References:
        Tomczak and Tomczak, The need to report effect size estimates revisited, Trends in Sport
        Sciences 21 (2014).

    Example:
        >>> share = epsilon_squared(np.array([0, 0, 1, 1]), np.array([0.1, 0.2, 0.3, 0.4]))
        >>> round(share, 6)
        0.7
    """
    groups = [target[codes == code] for code in np.unique(codes)]
    if not 1 < len(groups) < len(target) or np.ptp(target) == 0:
        return float("nan")
    statistic = float(stats.kruskal(*groups).statistic)
    return (statistic - len(groups) + 1) / (len(target) - len(groups))


@matplotlib.rc_context(style.RC)
def scatter(
    relations: Relations, *, color_by: str | None = None, narrow: bool = False
) -> Figure | None:
    r"""Draw the target against every measure, coloured by one hyper-parameter.

    Measures are the ones with the largest absolute tau, at most 11, and a random one to compare
    with. The axis of a positive measure that spans more than two decades is logarithmic.

    Args:
        relations: with its networks.
        color_by: a hyper-parameter; by default the one that explains most of the target, see
            `colouring_hyper`.
        narrow: two panels side by side.

    Returns:
        The figure; None without measures.

    Raises:
        InvalidInputError: there is no such hyper-parameter.

    Example:
        >>> from genjax.statistics.networks import from_arrays
        >>> networks = from_arrays(np.arange(4.0)[:, None], np.arange(4.0))
        >>> import pandas as pd
        >>> table = pd.DataFrame({"measure": ["measure.0"], "kendall": [1.0]})
        >>> found = (table, *[pd.DataFrame()] * 7, networks, "gap", 0.95)
        >>> [panel.get_title(loc="left") for panel in scatter(Relations(*found)).axes]
        ['0\nτ = 1', 'random numbers\n(for comparison)']
    """
    networks = relations.networks
    if color_by is not None and color_by not in networks.hyper_names:
        raise InvalidInputError(suggest("color_by", color_by, networks.hyper_names))
    names = shown_measures(relations)
    if not names:
        return None
    values = [networks.measures[:, networks.measure_names.index(name)] for name in names]
    titles = _titles(relations, names, 16 if narrow else 23)
    random = chance.reference_measures(networks)
    values.append(random.measures[:, random.measure_names.index(RANDOM)])
    titles.append(f"{RANDOM} numbers\n(for comparison)")
    columns = min(COLUMNS[narrow], len(values))
    rows = -(-len(values) // columns)
    width = style.NARROW if narrow else min(style.WIDE, 0.6 + 2.3 * columns)
    hyper = color_by or colouring_hyper(networks)
    groups = _groups(networks, hyper)
    figure = style.new_figure(width, (1.85 if narrow else 2.25) * rows + 0.8)
    frames = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
    for panel, column, title in zip(frames, values, titles, strict=False):
        _panel(panel, column, networks.target, groups, 3 if narrow else 4)
        panel.set_title(title, fontsize=9)
    for panel in frames[len(values) :]:
        panel.remove()
    figure.supylabel(style.literal(relations.target_name, 40), fontsize=10)
    if hyper is not None:
        _legend(figure, hyper, groups, narrow)
    return figure


def shown_measures(relations: Relations) -> list[str]:
    """Return the measures that the scatter plots show, from the largest |tau| on.

    Example:
        >>> import pandas as pd
        >>> table = pd.DataFrame({"measure": ["a", "b"], "kendall": [0.2, -0.4]})
        >>> empty = pd.DataFrame()
        >>> found = Relations(table, *[empty] * 4, None, empty, empty, None, "gap", 0.95)
        >>> shown_measures(found)
        ['b', 'a']
    """
    table = relations.table
    if not len(table):
        return []
    size = np.nan_to_num(np.abs(table["kendall"].to_numpy(np.float64)), nan=-1.0)
    order = np.argsort(-size, kind="stable")[: MOST_PANELS - 1]
    return [str(table["measure"].iloc[i]) for i in order]


def _titles(relations: Relations, names: Sequence[str], longest: int) -> list[str]:
    """Return name and tau of each measure."""
    taus = relations.table.set_index("measure")["kendall"]
    short = measure_rows.short_names(names, longest)
    return [
        f"{title}\nτ = {style.fraction(float(taus.loc[name]))}"
        for title, name in zip(short, names, strict=True)
    ]


class Group(NamedTuple):
    """Networks that share a colour.

    Attributes:
        label: in the legend; "" if it is not named there.
        networks: which ones.
        color: of the points.
        marker: of the points.
    """

    label: str
    networks: Bool[np.ndarray, " network"]
    color: str
    marker: str


def _groups(networks: MeasuredNetworks, hyper: str | None) -> list[Group]:
    """Split networks by the values of a hyper-parameter: numbers get lighter as they grow."""
    if hyper is None:
        return [Group("", np.ones(len(networks.target), bool), style.COLORS[0], "o")]
    at = networks.hyper_names.index(hyper)
    values, codes = networks.hyper_values[at], networks.levels[:, at]
    named = set(np.linspace(0, len(values) - 1, min(len(values), MOST_LEVELS)).round().astype(int))
    numbers = all(isinstance(value, int | float | np.number) for value in values)
    if numbers or len(values) > len(style.COLORS):
        places = np.linspace(0.0, 0.82, len(values))
        shades = matplotlib.colormaps["viridis"](places)
        colors = [matplotlib.colors.to_hex(shade) for shade in shades]
    else:
        colors = list(style.COLORS)
    return [
        Group(
            _label(value) if code in named else "",
            codes == code,
            colors[code],
            style.MARKERS[code % len(style.MARKERS)] if len(codes) <= MANY else "o",
        )
        for code, value in enumerate(values)
    ]


def _label(value: object) -> str:
    text = f"{value:.4g}" if isinstance(value, float | np.floating) else str(value)
    return style.literal(text, 16)


def _panel(
    panel: matplotlib.axes.Axes,
    column: Float[np.ndarray, " network"],
    target: Float[np.ndarray, " network"],
    groups: Sequence[Group],
    ticks: int,
) -> None:
    known = np.isfinite(column)
    many = len(target) > MANY
    size = float(np.clip(4000 / len(target), 3, 22))
    if many:
        # In a random order: drawn one after the other, the last group would hide the others.
        colors = np.empty(len(target), object)
        for group in groups:
            colors[group.networks] = group.color
        order = np.random.default_rng(0).permutation(np.flatnonzero(known))
        panel.scatter(
            *(column[order], target[order]),
            s=size,
            c=colors[order].tolist(),
            alpha=0.4,
            lw=0,
            rasterized=True,
        )
    for group in () if many else groups:
        mine = known & group.networks
        panel.scatter(
            *(column[mine], target[mine]),
            s=size,
            c=group.color,
            marker=group.marker,
            alpha=0.65,
            lw=0,
        )
    found = column[known]
    if len(found) and found.min() > 0 and np.log10(found.max() / found.min()) > DECADES:
        panel.set_xscale("log")
        panel.xaxis.set_major_locator(matplotlib.ticker.LogLocator(numticks=ticks))
        panel.xaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(_power))
        panel.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
    else:
        panel.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(3))
        panel.ticklabel_format(axis="x", style="sci", scilimits=(-3, 4))
    panel.yaxis.set_major_locator(matplotlib.ticker.MaxNLocator(4))


def _power(value: float | int, _: object = None) -> str:
    """Write a power of ten without superscripts, which would be too small."""
    exponent = round(np.log10(value))
    return f"{value:g}" if -3 < exponent < 4 else f"1e{exponent}"


def _legend(figure: Figure, hyper: str, groups: Sequence[Group], narrow: bool) -> None:
    named = [group for group in groups if group.label]
    keys = [
        style.key(group.label, ls="", color=group.color, marker=group.marker, ms=5)
        for group in named
    ]
    title = style.literal(hyper, 30)
    title += f" ({len(named)} of {len(groups)} values)" if len(named) < len(groups) else ""
    figure.legend(
        handles=keys,
        title=title,
        alignment="left",
        loc="outside upper left",
        ncols=3 if narrow else 6,
        handlelength=1,
    )
