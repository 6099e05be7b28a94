"""Figures of the relations between measures and a target.

Each takes `genjax.statistics.relations.Relations` and returns a figure, or None where there is
nothing to draw; `narrow` lays it out for a phone. Where there are many measures, rows are the first
and the last ones, see `measure_rows.MOST`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import matplotlib
import matplotlib.axes
import matplotlib.lines
import matplotlib.ticker
import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.figure import Figure

from genjax.report import measure_rows, style
from genjax.report.figures_relations_hypers import hyper_heat_map as hyper_heat_map
from genjax.report.figures_relations_hypers import (
    sign_error_distribution as sign_error_distribution,
)
from genjax.report.figures_relations_scatter import scatter as scatter
from genjax.report.relation_words import (
    KINDS,
    NO_VERDICT,
    THROUGH_ANY,
    chance_limit,
    verdict_kind,
)
from genjax.statistics.relations import Relations
from genjax.statistics.verdict import ANTI_PREDICTS, CHANCE, PREDICTS

TAU_OF_RHO = 2 / 3
"""Kendall's tau over Spearman's rho where both are small, for normal data: 2/pi over 3/pi."""


class Look(NamedTuple):
    """How a verdict looks: filled where something is predicted, in grey told apart by the marker.

    Attributes:
        color: of marker and interval.
        marker: its shape.
        filled: whether it is filled.
        label: in the legend.
    """

    color: str
    marker: str
    filled: bool
    label: str


TICK: dict = {"ls": "", "marker": "|", "ms": 11, "mew": 1.2, "color": style.MUTED}

LOOKS = {
    PREDICTS: Look("#004488", "o", True, PREDICTS),
    ANTI_PREDICTS: Look("#b45309", "s", True, ANTI_PREDICTS),
    THROUGH_ANY: Look("#0f7f6e", "D", False, THROUGH_ANY),
    CHANCE: Look(style.MUTED, "o", False, CHANCE),
    NO_VERDICT: Look(style.MUTED, ".", True, NO_VERDICT),
}
BAND = "#d6d9de"
REFERENCE = Look(style.INK, "x", True, "reference")

DOTS = (
    ("kendall", "Kendall's τ", "τ"),
    ("granulated", "granulated Ψ", "Ψ"),
    ("partial_spearman", "partial Spearman", "partial"),
    ("cmi", "CMI", "CMI"),
)
"""Panels of the dot plot: column, title, title where there is little room."""


@matplotlib.rc_context(style.RC)
def dot_plot(relations: Relations, *, narrow: bool = False) -> Figure | None:
    """Draw tau, granulated tau, partial correlation and CMI of every measure, sorted by tau.

    Markers are the verdicts. The band in the panel of tau is what the best of all measures stays
    within in 95 % of permutations (about 2/3 of it if Spearman's rho was permuted). Below the thin
    line are reference measures.

    Args:
        relations: a panel is left out if its statistic is missing for every measure.
        narrow: names stand above the rows.

    Returns:
        The figure; None without measures.

    Example:
        >>> from genjax.statistics.relations import Chance
        >>> columns = [f"{name}{end}" for name, *_ in DOTS for end in ("", "_low", "_high")]
        >>> table = {"measure": ["norm"], "verdict": ["predicts"], **dict.fromkeys(columns, 0.5)}
        >>> table, none = pd.DataFrame(table), pd.DataFrame()
        >>> chance = Chance("kendall", np.linspace(0, 0.3, 101), 101, False)
        >>> found = (table, none, none, table[:0], none, chance, none, none, None, "gap", 0.95)
        >>> [panel.get_title(loc="left") for panel in dot_plot(Relations(*found)).axes]
        ["Kendall's τ", 'granulated Ψ', 'partial Spearman', 'CMI']
    """
    table, references = relations.table, relations.references
    if not len(table):
        return None
    rows = measure_rows.choose(measure_rows.numbers(table, "kendall"))
    shown = table.reset_index(drop=True).reindex(rows.order)
    names = measure_rows.row_names(list(table["measure"]), rows, narrow)
    names += measure_rows.short_names(list(references["measure"]), measure_rows.LONGEST[narrow])
    columns = [
        dot
        for dot in DOTS
        if dot == DOTS[0] or np.isfinite(measure_rows.numbers(table, dot[0])).any()
    ]
    keys = _verdict_keys(relations, narrow)
    figure, panels = measure_rows.side_by_side(len(columns), len(names), len(keys), narrow)
    at = measure_rows.lay_out(panels, names, narrow)
    limit = max(_largest(shown, columns), _largest(references, columns), 0.25)
    if _of_means(relations):
        means = np.abs(measure_rows.numbers(shown, "statistic_of_means"))
        limit = max(limit, float(np.max(means[np.isfinite(means)], initial=0.0)))
    for panel, (column, title, short) in zip(panels, columns, strict=True):
        panel.set_title(short if narrow else title)
        _dots(panel, shown, column, at[: len(shown)], narrow)
        if len(references):
            _draw_dots(panel, references, column, at[len(shown) :], REFERENCE, narrow)
            panel.axhline(len(shown) - 0.5, color=style.MUTED, lw=0.8)
        _dot_axis(panel, column, limit, narrow)
    band = _band(relations)
    if np.isfinite(band):
        panels[0].axvspan(-band, band, color=BAND, lw=0, zorder=0.4)
    if _of_means(relations):
        # What was permuted, and so what the band is to be compared with.
        means = measure_rows.numbers(shown, "statistic_of_means")
        panels[0].plot(means, at[: len(shown)], **TICK)
    figure.legend(handles=keys, loc="outside upper left", ncols=1 if narrow else 3)
    return figure


def _band(relations: Relations) -> float:
    limit = chance_limit(relations)
    return limit * TAU_OF_RHO if relations.chance.statistic == "spearman" else limit


def _of_means(relations: Relations) -> bool:
    """Whether tau of configuration means was permuted, and is not tau of the networks."""
    table = relations.table
    if relations.chance.statistic != "kendall" or "statistic_of_means" not in table:
        return False
    return bool((table["n"] > table["configurations"]).any())


def _verdict_keys(relations: Relations, narrow: bool) -> list[matplotlib.lines.Line2D]:
    """Return entries of a legend for what is there."""
    found = {verdict_kind(verdict) for verdict in relations.table["verdict"]}
    looks = [LOOKS[kind] for kind in KINDS if kind in found]
    looks += [REFERENCE] if len(relations.references) else []
    keys = [style.key(look.label, ls="", **_marker(look)) for look in looks]
    if _of_means(relations):
        keys.append(style.key("of configuration means", **TICK))
    if np.isfinite(chance_limit(relations)):
        total = len(relations.table)
        about = "about " if relations.chance.statistic == "spearman" else ""
        who = f"best of {total} by chance" if total > 1 else "chance"
        keys.append(style.key(f"{who}, {about}95 %", color=BAND, lw=8))
    return keys


def _marker(look: Look, narrow: bool = False) -> dict:
    size = {"D": 4.8, "x": 5.5, "s": 5.2}.get(look.marker, 6) * (0.75 if narrow else 1)
    face = look.color if look.filled else "white"
    return {"marker": look.marker, "color": look.color, "mfc": face, "ms": size, "mew": 1.3}


def _dots(
    panel: matplotlib.axes.Axes,
    table: pd.DataFrame,
    column: str,
    at: Float[np.ndarray, " row"],
    narrow: bool,
) -> None:
    """Draw a marker with interval for each row, by verdict."""
    kinds = np.array([verdict_kind(verdict) for verdict in table["verdict"]])
    for kind in KINDS:
        mine = kinds == kind
        if mine.any():
            _draw_dots(panel, table.loc[mine], column, at[mine], LOOKS[kind], narrow)


def _draw_dots(
    panel: matplotlib.axes.Axes,
    table: pd.DataFrame,
    column: str,
    at: Float[np.ndarray, " row"],
    look: Look,
    narrow: bool,
) -> None:
    values, low, high = (
        measure_rows.numbers(table, f"{column}{end}") for end in ("", "_low", "_high")
    )
    # Bootstrap draws may have a value where the networks as they are have none.
    known = np.isfinite(values)
    panel.hlines(at[known], low[known], high[known], color=look.color, lw=1.6, alpha=0.75)
    panel.plot(values, at, ls="", clip_on=False, **_marker(look, narrow))


def _largest(table: pd.DataFrame, columns: Sequence[tuple[str, str, str]]) -> float:
    """Return the largest absolute end of any interval of a correlation."""
    names = [f"{c}{end}" for c, _, _ in columns if c != "cmi" for end in ("", "_low", "_high")]
    values = np.abs(table[names].to_numpy(np.float64))
    return float(np.max(values[np.isfinite(values)], initial=0.0))


def _dot_axis(panel: matplotlib.axes.Axes, column: str, limit: float, narrow: bool) -> None:
    panel.axvline(0, color=style.INK, lw=0.9, zorder=0.8)
    if column != "cmi":
        panel.set_xlim(-1.08 * limit, 1.08 * limit)
    else:
        panel.set_xlim(left=min(0.0, panel.get_xlim()[0]))
    style.fraction_ticks(panel)
    panel.xaxis.set_major_locator(
        matplotlib.ticker.MaxNLocator(2 if narrow else 4, steps=[1, 2, 5, 10])
    )
    if panel.get_ylim()[0] > 25:
        panel.tick_params(axis="x", labeltop=True)
