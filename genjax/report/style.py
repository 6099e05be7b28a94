"""One look for all figures: colours, sizes, number formats.

Figures come in two layouts: `WIDE` for a page on a desk, `NARROW` for a phone (360 CSS pixels, so
that 9 pt stay 12 pixels). Families differ in colour, in lightness (they stay apart in grey) and in
marker.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import matplotlib.axes
import matplotlib.colors
import matplotlib.figure
import matplotlib.lines
import matplotlib.ticker
import numpy as np

WIDE = 9.6
"""Width of the layout for a desk, inches."""

NARROW = 3.75
"""Width of the layout for a phone, inches."""

INK = "#1f2430"
"""Colour of text and of what belongs to no family."""

MUTED = "#6b7280"
"""Colour of what stands back: settings that were tried, reference lines."""

RC: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": MUTED,
    "axes.formatter.use_mathtext": False,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 10,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.titlecolor": INK,
    "axes.unicode_minus": True,
    "figure.facecolor": "white",
    "figure.constrained_layout.h_pad": 0.06,
    "figure.constrained_layout.w_pad": 0.06,
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same figure on every machine
    "font.size": 9.5,
    "grid.color": "#e5e7eb",
    "grid.linewidth": 0.7,
    "legend.fontsize": 9.5,
    "legend.frameon": False,
    "legend.handlelength": 2.0,
    "legend.columnspacing": 1.4,
    "lines.linewidth": 1.8,
    "savefig.facecolor": "white",
    "svg.fonttype": "path",  # looks the same without the font
    "text.color": INK,
    "text.usetex": False,
    "xtick.color": INK,
    "xtick.labelsize": 9,
    "xtick.major.width": 0.8,
    "xtick.minor.size": 2,
    "ytick.color": INK,
    "ytick.labelsize": 9,
    "ytick.major.width": 0.8,
}
"""Settings of matplotlib while figures are made and written."""

# Ordered so that neighbours differ in lightness (CIE L* 29, 60, 47, 72, 41, 12), for grey prints
# and every kind of colour blindness.
COLORS = ("#004488", "#d97706", "#0f7f6e", "#8ab6dc", "#a23b72", "#202020")
MARKERS = ("o", "s", "^", "D", "v")
LONGEST_NAME = 28


class FamilyStyle(NamedTuple):
    """How a family looks, the same in every figure.

    Attributes:
        color: of lines, bands and markers.
        marker: of its points.
        label: its name, safe to draw.
    """

    color: str
    marker: str
    label: str


def family_styles(names: Iterable[str]) -> dict[str, FamilyStyle]:
    """Give each family its look, in the order of their first appearance.

    Example:
        >>> looks = family_styles(["mlp", "cnn", "mlp"])
        >>> list(looks), looks["mlp"].color != looks["cnn"].color
        (['mlp', 'cnn'], True)
    """
    looks = {}
    for i, name in enumerate(dict.fromkeys(names)):
        color, marker = COLORS[i % len(COLORS)], MARKERS[i % len(MARKERS)]
        looks[name] = FamilyStyle(color, marker, literal(name))
    return looks


def literal(name: str, longest: int = LONGEST_NAME) -> str:
    r"""Return a name from a user's table as matplotlib draws it letter by letter.

    A dollar sign would start a formula, a leading underscore hides a legend entry, a line break
    or an endless name would break the layout.

    Example:
        >>> literal("cost in $")
        'cost in \\$'
    """
    name = " ".join(name.split())
    name = name if len(name) <= longest else name[: longest - 1] + "…"
    name = name.replace("$", r"\$")
    return f" {name}" if name.startswith("_") else name


def new_figure(width: float | int, height: float | int) -> matplotlib.figure.Figure:
    """Return an empty figure, inches, that arranges itself; no state of pyplot is involved.

    Example:
        >>> new_figure(WIDE, 3.0).get_size_inches().tolist()
        [9.6, 3.0]
    """
    return matplotlib.figure.Figure(figsize=(width, height), layout="constrained")


def compact(number: float | int) -> str:
    """Write a count in at most five characters: 1397 -> 1.4k.

    Example:
        >>> [compact(n) for n in (38, 381, 1397, 25_477, 83_717, 6.6e6, 2.5e9, 0.5)]
        ['38', '381', '1.4k', '25k', '84k', '6.6M', '2.5G', '0.5']
    """
    for limit, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        # 999.6k would round to 1000k: it is 1M.
        if abs(number) >= 0.9995 * limit:
            return f"{_two_digits(number / limit)}{letter}"
    return _two_digits(number) if abs(number) < 10 else f"{number:.0f}"


def _two_digits(number: float | int) -> str:
    return f"{number:.0f}" if abs(number) >= 9.95 else f"{float(f'{number:.2g}'):g}"


def fraction(number: float | int, digits: int = 2) -> str:
    """Write a number of about 0 to 1 without the leading zero, as narrow as it can be.

    Example:
        >>> [fraction(n) for n in (0.0, 0.6, 0.4444, 1.0, -0.07, 1.25)]
        ['0', '.60', '.44', '1', '-.07', '1.25']
    """
    text = f"{number:.{digits}f}"
    if float(text) in (0.0, 1.0):
        return f"{float(text):.0f}".replace("-0", "0")
    return text.replace("0.", ".", 1) if abs(float(text)) < 1 else text


def ink_on(background: Any) -> str:
    """Return black or white, whichever is read better; the contrast is at least 4.5 (WCAG AA).

    Args:
        background: any colour of matplotlib.

    Example:
        >>> ink_on("#ffffcc"), ink_on("#081d58")
        ('black', 'white')
    """
    channels = np.array(matplotlib.colors.to_rgb(background))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    # Where (1 + .05) / (L + .05) = (L + .05) / .05 both are read equally well.
    return "black" if linear @ np.array([0.2126, 0.7152, 0.0722]) > 0.179 else "white"


def size_axis(axis: matplotlib.axes.Axes, sizes: Sequence[float | int] | np.ndarray) -> None:
    """Make the x axis logarithmic with few, readable ticks (300, 1k, 3k), at least two.

    Args:
        axis: the axes.
        sizes: all sizes that are shown, positive.

    Example:
        >>> figure = new_figure(WIDE, 3.0)
        >>> axis = figure.subplots()
        >>> size_axis(axis, [381, 83717])
        >>> axis.get_xscale()
        'log'
    """
    low, high = float(np.min(sizes)), float(np.max(sizes))
    decades = np.log10(high / low)
    steps = (1.0,) if decades > 3.5 else (1.0, 3.0) if decades > 1.3 else (1.0, 2.0, 5.0)
    axis.set_xscale("log")
    pad = 10 ** (0.04 * max(decades, 0.3))
    axis.set_xlim(low / pad, high * pad)
    powers = 10.0 ** np.arange(np.floor(np.log10(low)) - 1, np.ceil(np.log10(high)) + 1)
    ticks = np.sort(np.outer(powers, steps).ravel())
    ticks = ticks[(ticks >= low / pad) & (ticks <= high * pad)]
    if len(ticks) < 2:  # the sizes lie close together: name them
        ticks = np.unique([low, high])
    axis.xaxis.set_major_locator(matplotlib.ticker.FixedLocator(ticks.tolist()))
    axis.xaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda v, _: compact(v)))
    axis.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())


def fraction_ticks(axis: matplotlib.axes.Axes, which: str = "x") -> None:
    """Label an axis of fractions without leading zeros, with every digit that a tick needs.

    Example:
        >>> axis = new_figure(WIDE, 3.0).subplots()
        >>> fraction_ticks(axis)
        >>> [axis.xaxis.get_major_formatter()(tick) for tick in (0.0, 0.025, 0.2, 1.0)]
        ['0', '.025', '.2', '1']
    """
    chosen = axis.xaxis if which == "x" else axis.yaxis
    chosen.set_major_locator(matplotlib.ticker.MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    chosen.set_major_formatter(matplotlib.ticker.FuncFormatter(_exact_fraction))


def _exact_fraction(value: float | int, _: object = None) -> str:
    # Rounding to six digits removes the noise of the tick positions, no tick is that fine.
    digits = len(f"{value:.6f}".rstrip("0").partition(".")[2])
    return fraction(value, digits)


def key(label: str, **look: object) -> matplotlib.lines.Line2D:
    """Return an entry of a legend.

    Example:
        >>> key("mean error", color=INK).get_label()
        'mean error'
    """
    return matplotlib.lines.Line2D([], [], label=label, **look)  # pyright: ignore[reportArgumentType]


def family_key(look: FamilyStyle) -> matplotlib.lines.Line2D:
    """Return the entry of a family in a legend.

    Example:
        >>> family_key(family_styles(["mlp"])["mlp"]).get_label()
        'mlp'
    """
    return key(look.label, color=look.color, marker=look.marker, ms=5)


def legend(
    figure: matplotlib.figure.Figure,
    keys: Sequence[matplotlib.lines.Line2D],
    narrow: bool,
    most: int = 6,
) -> None:
    """Put the legend above the panels, never over the data.

    Example:
        >>> figure = new_figure(WIDE, 3.0)
        >>> legend(figure, [key("mean error")], narrow=False)
        >>> len(figure.legends)
        1
    """
    rows = -(-len(keys) // (2 if narrow else most))
    columns = -(-len(keys) // rows)
    figure.legend(handles=list(keys), loc="outside upper left", ncols=columns)
