"""Figures of what single hyper-parameters do: sign errors over environments, and heat maps."""

from typing import NamedTuple

import matplotlib
import matplotlib.axes
import matplotlib.cm
import matplotlib.colors
import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.figure import Figure

from genjax.report import measure_rows, style
from genjax.statistics.relations import Relations

MOST_NUMBERS = 12
"""Columns of a heat map up to which its cells carry numbers."""

LONGEST_HYPER = 18

BINS = 200
"""Steps in which a distribution of sign errors is drawn."""

MARKS = {"mean": "o", "90th percentile": "|", "maximum": "^"}


@matplotlib.rc_context(style.RC)
def sign_error_distribution(relations: Relations, *, narrow: bool = False) -> Figure | None:
    """Draw how the sign errors of every measure spread over the environments, sorted by mean.

    The colour at x is the share of environments with a sign error larger than x, one minus the
    cumulative distribution, so a good measure is white almost everywhere. Marks are mean, 90th
    percentile and maximum; the line at 1/2 is chance. After figure 1 of Dziugaite et al. 2020.

    Args:
        relations: measures without any environment are left out.
        narrow: names stand above the rows.

    Returns:
        The figure; None without environments.

    Example:
        >>> table, none = pd.DataFrame({"measure": ["norm"]}), pd.DataFrame()
        >>> environments = pd.DataFrame({"hyperparameter": ["lr", "lr"], "norm": [0.0, 1.0]})
        >>> found = (table, none, environments, *[none] * 5, None, "gap", 0.95)
        >>> panel = sign_error_distribution(Relations(*found)).axes[0]
        >>> [float(line.get_xdata()[0]) for line in panel.lines]  # marks, then the line of chance
        [0.5, 0.9, 1.0, 0.5]
    """
    errors = _environment_errors(relations)
    if errors is None:
        return None
    rows = measure_rows.choose(-np.nanmean(errors, axis=0))
    found = list(errors.columns)
    names = measure_rows.row_names([str(name) for name in found], rows, narrow)
    height = (0.42 if narrow else 0.25) * len(names)
    figure = style.new_figure(style.NARROW if narrow else style.WIDE, height + 1.75)
    sides = 0.05 if narrow else 0.5
    grid = figure.add_gridspec(2, 3, height_ratios=[height, 0.12], width_ratios=[sides, 1, sides])
    panel = figure.add_subplot(grid[0, :])
    at = measure_rows.lay_out([panel], names, narrow)
    norm = matplotlib.colors.Normalize(0, 1)
    colors = matplotlib.colormaps["Blues"]
    for row, index in zip(at, rows.order, strict=True):
        if index >= 0:
            known = errors[found[index]].dropna().to_numpy(np.float64)
            _strip(panel, row, known, 0.2 if narrow else 0.36, colors, norm)
    panel.axvline(0.5, color=style.INK, lw=1, ls=(0, (4, 2)))
    panel.set_xlim(0, 1)
    panel.set_ylim(len(names) - 0.5, -0.5)
    panel.grid(False)
    panel.set_xlabel("sign error (dashed: chance)")
    style.fraction_ticks(panel)
    bar = figure.colorbar(
        matplotlib.cm.ScalarMappable(norm, colors),
        cax=figure.add_subplot(grid[1, 1]),
        orientation="horizontal",
    )
    bar.set_label("share of environments with a larger sign error")
    style.fraction_ticks(bar.ax)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    keys = [style.key(label, ls="", **_mark(marker)) for label, marker in MARKS.items()]
    figure.legend(handles=keys, loc="outside upper left", ncols=3, columnspacing=0.8)
    return figure


def _environment_errors(relations: Relations) -> pd.DataFrame | None:
    """Return the sign errors [environment, measure] of the measures that have any."""
    table = relations.environments
    names = [name for name in relations.table["measure"] if name in table]
    known = [name for name in names if np.isfinite(measure_rows.numbers(table, name)).any()]
    return table.loc[:, known] if known else None


def _strip(
    panel: matplotlib.axes.Axes,
    row: float,
    errors: Float[np.ndarray, " environment"],
    half: float,
    colors: matplotlib.colors.Colormap,
    norm: matplotlib.colors.Normalize,
) -> None:
    """Draw the distribution of one measure."""
    middles = (np.arange(BINS) + 0.5) / BINS
    larger = 1 - np.searchsorted(np.sort(errors), middles, side="right") / len(errors)
    extent = (0, 1, row + half, row - half)
    panel.imshow(
        larger[None], cmap=colors, norm=norm, extent=extent, aspect="auto", interpolation="nearest"
    )
    values = (float(errors.mean()), float(np.quantile(errors, 0.9)), float(errors.max()))
    for value, marker in zip(values, MARKS.values(), strict=True):
        panel.plot(value, row, ls="", clip_on=False, zorder=3, **_mark(marker))


def _mark(marker: str) -> dict:
    size, width = {"o": (6, 1.1), "|": (12, 2)}.get(marker, (6.5, 1.1))
    return {"marker": marker, "mfc": "white", "mec": style.INK, "mew": width, "ms": size}


@matplotlib.rc_context(style.RC)
def hyper_heat_map(relations: Relations, *, narrow: bool = False) -> Figure | None:
    """Draw how every measure does along every hyper-parameter.

    Left: psi_i, Kendall's tau averaged over settings of the other hyper-parameters, and Psi, its
    mean. Right: the mean sign error over the environments in which that hyper-parameter differs,
    and over all; where there are no environments, tau among networks that share its value. Blue is
    in the same order as the target. Sorted by tau.

    Args:
        relations: rows where `by_hyper` has no value are blank.
        narrow: maps below each other, names above the rows.

    Returns:
        The figure; None without hyper-parameters.

    Example:
        >>> from genjax.statistics.networks import from_arrays
        >>> networks = from_arrays(np.zeros((4, 1)), np.arange(4.0), np.array([[0, 1, 0, 1]]).T)
        >>> table = pd.DataFrame({"measure": ["norm"], "kendall": [0.4], "granulated": [0.5]})
        >>> columns, none = ["measure", "hyper", "statistic", "value"], pd.DataFrame()
        >>> by_hyper = pd.DataFrame([["norm", "hp.0", "granulated", 0.5]], columns=columns)
        >>> found = (table, by_hyper, *[none] * 6, networks, "gap", 0.95)
        >>> [text.get_text() for text in hyper_heat_map(Relations(*found)).axes[0].texts]
        ['.50', '.50']
    """
    maps = _maps(relations)
    if not maps:
        return None
    table = relations.table
    rows = measure_rows.choose(measure_rows.numbers(table, "kendall"))
    names = measure_rows.row_names(list(table["measure"]), rows, narrow)
    figure, panels = _map_panels(len(maps), len(names), narrow)
    order = np.array(rows.order)
    for block in [[panel] for panel in panels] if narrow else [panels]:
        at = measure_rows.lay_out(block, names, narrow, shaded=False)
        for panel in block:
            found = maps[panels.index(panel)]
            cells = np.where(order[:, None] < 0, np.nan, found.cells[order])
            _cells(panel, cells, at, 0.24 if narrow else 0.46, found)
            _label_columns(panel, found.columns, narrow)
            panel.set_title(found.title)
    return figure


def _label_columns(panel: matplotlib.axes.Axes, names: list[str], narrow: bool) -> None:
    panel.set_xticks(range(len(names)), measure_rows.short_names(names, LONGEST_HYPER))
    if len(names) > 3 or narrow:
        # Upright in the narrow layout: slanted ones would push the panel to the right.
        for label in panel.get_xticklabels():
            label.set(rotation=90 if narrow else 40, rotation_mode="anchor")
            label.set(ha="right", va="center" if narrow else "top")


class Map(NamedTuple):
    """One of the maps.

    Attributes:
        title: above it.
        columns: names of its columns; the first is over all hyper-parameters, if there is one.
        cells: [measure, column].
        norm: from values to colours.
        colors: the colours, blue where the order is right.
    """

    title: str
    columns: list[str]
    cells: Float[np.ndarray, "measure column"]
    norm: matplotlib.colors.Normalize
    colors: str


def _maps(relations: Relations) -> list[Map]:
    around_zero = matplotlib.colors.Normalize(-1, 1)
    around_half = matplotlib.colors.Normalize(0, 1)
    granulated = _cells_of(relations, "granulated")
    if not np.isfinite(granulated).any():
        return []
    names = [*relations.networks.hyper_names]
    overall = measure_rows.numbers(relations.table, "granulated")[:, None]
    maps = [
        Map(
            "granulated τ (ψ)",
            ["all (Ψ)", *names],
            np.hstack([overall, granulated]),
            around_zero,
            "RdBu",
        )
    ]
    errors = _cells_of(relations, "sign_error_mean")
    if np.isfinite(errors).any():
        overall = measure_rows.numbers(relations.table, "sign_error_mean")[:, None]
        cells = np.hstack([overall, errors])
        maps.append(Map("mean sign error", ["all", *names], cells, around_half, "RdBu_r"))
        return maps
    within = _cells_of(relations, "stratified")
    if np.isfinite(within).any():
        overall = measure_rows.numbers(relations.table, "kendall")[:, None]
        cells = np.hstack([overall, within])
        maps.append(Map("τ at equal values", ["all (τ)", *names], cells, around_zero, "RdBu"))
    return maps


def _cells_of(relations: Relations, statistic: str) -> Float[np.ndarray, "measure hyper"]:
    """Return the values of a statistic, NaN where there is none."""
    table = relations.by_hyper
    values = (
        {
            (measure, hyper): value
            for measure, hyper, value in table.loc[
                table["statistic"] == statistic, ["measure", "hyper", "value"]
            ].itertuples(index=False)
        }
        if len(table)
        else {}
    )
    names, hypers = list(relations.table["measure"]), relations.networks.hyper_names
    cells = [[float(values.get((name, hyper), np.nan)) for hyper in hypers] for name in names]
    return np.array(cells, np.float64).reshape(len(names), len(hypers))


def _map_panels(count: int, rows: int, narrow: bool) -> tuple[Figure, list[matplotlib.axes.Axes]]:
    height = (0.42 if narrow else 0.25) * rows + 1.1
    if narrow:
        figure = style.new_figure(style.NARROW, count * height)
        return figure, figure.subplots(count, 1, squeeze=False)[:, 0].tolist()
    figure = style.new_figure(style.WIDE, height)
    return figure, figure.subplots(1, count, squeeze=False)[0].tolist()


def _cells(
    panel: matplotlib.axes.Axes,
    cells: Float[np.ndarray, "row column"],
    at: Float[np.ndarray, " row"],
    half: float,
    found: Map,
) -> None:
    """Draw coloured cells with their numbers; rows do not touch."""
    colors = matplotlib.colormaps[found.colors]
    columns = cells.shape[1]
    across, down = np.meshgrid(np.arange(columns), at)
    known = np.isfinite(cells)
    shades = colors(found.norm(cells[known]))
    panel.bar(across[known], 2 * half, 0.94, down[known] - half, color=shades, lw=0)
    if columns <= MOST_NUMBERS:
        for x, y, value, shade in zip(
            across[known], down[known], cells[known], shades, strict=True
        ):
            panel.text(
                *(x, y, style.fraction(float(value)).replace("1.00", "1")),
                color=style.ink_on(shade),
                ha="center",
                va="center",
                fontsize=9,
            )
    panel.set_xlim(-0.5, columns - 0.5)
    panel.set_ylim(len(at) - 0.5, -0.5)
    panel.axvline(0.5, color="white", lw=3)
    panel.grid(False)
    panel.spines[:].set_visible(False)
    panel.tick_params(length=0)
