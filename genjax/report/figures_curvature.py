"""Figures of curvature: optimizers compared, spectra, slices, paths, and the edge of stability."""

from collections.abc import Iterable, Mapping
from typing import Any

import matplotlib
import matplotlib.ticker
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from genjax.metrics.curvature import Density
from genjax.metrics.curvature.weight_matching import ModeConnectivity
from genjax.report import style

LEVELS = 12
FLOOR = 1e-6
"""Smallest density shown, as a share of the largest."""


@matplotlib.rc_context(style.RC)
def ratios(compared: pd.DataFrame, *, narrow: bool = False) -> Figure | None:
    """Draw the ratio of every measure to that of the base optimizer, with intervals.

    Args:
        compared: from `genjax.report.curvature.compare`.
        narrow: laid out for a phone.

    Returns:
        The figure; None where there is no ratio.
    """
    own = compared[compared["kind"] == "ratio"]
    if not len(own):
        return None
    names, optimizers = list(dict.fromkeys(own["quantity"])), list(dict.fromkeys(own["optimizer"]))
    figure = style.new_figure(style.NARROW if narrow else 7.6, 1.2 + 0.26 * len(names))
    panel = figure.subplots()
    for k, optimizer in enumerate(optimizers):
        rows = own[own["optimizer"] == optimizer]
        y = np.array([names.index(q) for q in rows["quantity"]]) + 0.3 * (
            k - (len(optimizers) - 1) / 2
        )
        color = style.COLORS[k + 1]
        panel.hlines(y, rows["low"], rows["high"], color=color, lw=1.6)
        panel.plot(rows["value"], y, style.MARKERS[k + 1], color=color, ms=4.5)
    panel.axvline(1.0, color=style.MUTED, lw=1, ls=(0, (4, 2)))
    panel.set_xscale("log")
    panel.xaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 2, 5)))
    panel.xaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda x, _: f"{x:g}"))
    panel.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
    panel.set_yticks(range(len(names)), [style.literal(n, 26 if narrow else 60) for n in names])
    panel.set_ylim(len(names) - 0.4, -0.6)
    panel.grid(visible=False, axis="y")
    panel.set_xlabel("ratio to momentum")
    keys = [
        style.key(o, color=style.COLORS[k + 1], marker=style.MARKERS[k + 1], ms=5, ls="")
        for k, o in enumerate(optimizers)
    ]
    style.legend(figure, keys, narrow)
    return figure


@matplotlib.rc_context(style.RC)
def densities(spectra: Mapping[str, Density], *, narrow: bool = False) -> Figure | None:
    """Draw spectral densities, one line per optimizer.

    Args:
        spectra: by optimizer.
        narrow: laid out for a phone.
    """
    if not spectra:
        return None
    figure = style.new_figure(style.NARROW if narrow else 7.6, 3.2)
    panel = figure.subplots()
    for k, found in enumerate(spectra.values()):
        floor = FLOOR * np.max(found.density)
        panel.plot(found.grid, np.maximum(found.density, floor), color=style.COLORS[k])
    panel.set_yscale("log")
    panel.set_xlabel("eigenvalue of the Hessian")
    panel.set_ylabel("density")
    _legend(figure, spectra, narrow)
    return figure


def _legend(figure: Figure, names: Iterable[str], narrow: bool, dashed: str = "") -> None:
    """Put one line per name, in the order of the colours, and what is dashed, above the panels."""
    keys = [
        style.key(name, color=style.COLORS[k % len(style.COLORS)]) for k, name in enumerate(names)
    ]
    if dashed:
        keys.append(style.key(dashed, color=style.MUTED, ls=(0, (4, 2))))
    style.legend(figure, keys, narrow)


@matplotlib.rc_context(style.RC)
def slices(found: Mapping[str, pd.DataFrame], *, narrow: bool = False) -> Figure | None:
    """Draw contours of the loss on a plane through each network, with the same levels.

    Args:
        found: by optimizer: rows `first`, `second`, `loss` of a grid.
        narrow: panels below each other.
    """
    if not found:
        return None
    count = len(found)
    size = (style.NARROW, 2.9 * count) if narrow else (style.WIDE, 3.4)
    figure = style.new_figure(*size)
    panels = np.atleast_1d(figure.subplots(*((count, 1) if narrow else (1, count)), sharey=True))
    losses = np.concatenate([t["loss"].to_numpy(float) for t in found.values()])
    losses = losses[np.isfinite(losses) & (losses > 0)]
    levels = np.geomspace(losses.min(), losses.max(), LEVELS) if len(losses) else None
    for panel, (name, table) in zip(panels, found.items(), strict=True):
        grid = table.pivot(index="second", columns="first", values="loss")
        lines = panel.contour(grid.columns, grid.index, grid.to_numpy(), levels, cmap="viridis")
        panel.clabel(lines, fontsize=7, fmt=style.compact)
        panel.plot(0, 0, "+", color=style.INK, ms=8)
        panel.set_title(style.literal(name))
        panel.set_aspect("equal")
        panel.grid(visible=False)
    return figure


@matplotlib.rc_context(style.RC)
def paths(found: Mapping[str, ModeConnectivity], *, narrow: bool = False) -> Figure | None:
    """Draw the loss between two seeds, plain and with matched units.

    Args:
        found: by optimizer.
        narrow: laid out for a phone.
    """
    if not found:
        return None
    figure = style.new_figure(style.NARROW if narrow else 7.6, 3.2)
    panel = figure.subplots()
    for k, path in enumerate(found.values()):
        panel.plot(path.plain.shares, path.plain.losses, color=style.COLORS[k])
        panel.plot(path.matched.shares, path.matched.losses, color=style.COLORS[k], ls=(0, (4, 2)))
    panel.set_xlabel("share of the way from one network to the other")
    panel.set_ylabel("loss, nats")
    _legend(figure, found, narrow, dashed="units matched")
    return figure


@matplotlib.rc_context(style.RC)
def edge(found: Any, *, narrow: bool = False) -> Figure:
    """Draw the top eigenvalue along gradient descent beside 2 / learning rate, and the loss.

    Args:
        found: a `genjax.report.curvature.Edge`.
        narrow: panels below each other.
    """
    size = (style.NARROW, 5.0) if narrow else (style.WIDE, 3.2)
    figure = style.new_figure(*size)
    above, below = figure.subplots(*((2, 1) if narrow else (1, 2)))
    for k, rate in enumerate(found.rates):
        color = style.COLORS[k % len(style.COLORS)]
        above.plot(found.steps, found.top_eigenvalues[k], color=color, lw=1.2)
        above.axhline(2 / rate, color=color, lw=1, ls=(0, (4, 2)))
        below.plot(found.steps, found.losses[k], color=color, lw=1.2)
    above.set_ylabel("top eigenvalue")
    below.set_ylabel("squared loss")
    below.set_yscale("log")
    for panel in (above, below):
        panel.set_xlabel("steps")
    names = [f"learning rate {rate:g}" for rate in found.rates]
    _legend(figure, names, narrow, dashed="2 / learning rate")
    return figure
