"""Figures of layers: scores against depth, models against each other, points in two dimensions."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from genjax.report import style


@matplotlib.rc_context(style.RC)
def depth(curves: Any, *, narrow: bool = False) -> Figure | None:
    """Draw scores against depth, one panel per metric, one line per model family.

    Args:
        curves: columns metric, family, place (0 first, 1 last layer), value, low, high; and rows of
            family `pixels` without a place, drawn as a dashed line.
        narrow: laid out for a phone.
    """
    if not len(curves):
        return None
    metrics = list(dict.fromkeys(curves["metric"]))
    families = [f for f in dict.fromkeys(curves["family"]) if f != "pixels"]
    looks = style.family_styles(families)
    columns = 1 if narrow else min(len(metrics), 3)
    rows = -(-len(metrics) // columns)
    width = style.NARROW if narrow else 2.9 * columns + 0.6
    figure = style.new_figure(width, 0.7 + 2.6 * rows)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel, metric in zip(panels, metrics, strict=False):
        own = curves[curves["metric"] == metric]
        for family in families:
            line = own[own["family"] == family].sort_values("place")
            look = looks[family]
            panel.plot(line["place"], line["value"], color=look.color, marker=look.marker, ms=3)
            panel.fill_between(
                line["place"], line["low"], line["high"], color=look.color, alpha=0.18
            )
        for value in own[own["family"] == "pixels"]["value"]:
            panel.axhline(value, color=style.MUTED, lw=1, ls=(0, (4, 2)))
        panel.set_title(style.literal(metric))
        panel.set_xlabel("depth of the layer")
        panel.set_xticks([0, 0.5, 1], ["first", "", "last"])
    for panel in panels[len(metrics) :]:
        panel.set_visible(False)
    keys = [style.family_key(looks[family]) for family in families]
    if (curves["family"] == "pixels").any():
        keys.append(style.key("raw pixels", color=style.MUTED, ls=(0, (4, 2))))
    style.legend(figure, keys, narrow)
    return figure


@matplotlib.rc_context(style.RC)
def layers(table: Any, *, narrow: bool = False) -> Figure | None:
    """Draw the scores of one network's layers with their intervals, one panel per metric.

    Args:
        table: columns layer, metric, value, low, high, source. Rows of source `before` are drawn as
            a dashed line, of `pixels` as a dotted one; all others are the layers.
        narrow: laid out for a phone.
    """
    before, pixels = (table[table["source"] == source] for source in ("before", "pixels"))
    table = table[~table["source"].isin(["before", "pixels"])]
    if not len(table):
        return None
    metrics, names = list(dict.fromkeys(table["metric"])), list(dict.fromkeys(table["layer"]))
    columns = 1 if narrow else min(len(metrics), 3)
    rows = -(-len(metrics) // columns)
    width = style.NARROW if narrow else 2.9 * columns + 0.6
    figure = style.new_figure(width, 0.5 + 2.6 * rows)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel, metric in zip(panels, metrics, strict=False):
        own = table[table["metric"] == metric]
        places = np.array([names.index(layer) for layer in own["layer"]])
        panel.vlines(places, own["low"], own["high"], color=style.COLORS[0], lw=1.6)
        panel.plot(places, own["value"], color=style.COLORS[0], marker="o", ms=4)
        start = before[before["metric"] == metric]
        ranks = [names.index(layer) for layer in start["layer"]]
        panel.plot(ranks, start["value"], color=style.MUTED, lw=1.2, ls=(0, (4, 2)))
        for value in pixels[pixels["metric"] == metric]["value"]:
            panel.axhline(value, color=style.MUTED, lw=1, ls=(0, (1, 2)))
        panel.set_title(style.literal(metric))
        # The first and the last layer are always named.
        shown = np.linspace(0, len(names) - 1, min(len(names), 7)).round().astype(int).tolist()
        words = [style.literal(names[k], 14) for k in shown]
        panel.set_xticks(shown, words, rotation=40, ha="right", rotation_mode="anchor")
    for panel in panels[len(metrics) :]:
        panel.set_visible(False)
    return figure


@matplotlib.rc_context(style.RC)
def models(table: Any, label: str, *, narrow: bool = False) -> Figure | None:
    """Draw generalization to unseen classes against accuracy on seen ones, one point per model.

    Args:
        table: columns family, accuracy, accuracy_low, accuracy_high, score, low, high.
        label: of the score.
        narrow: laid out for a phone.
    """
    if not len(table):
        return None
    looks = style.family_styles(table["family"])
    figure = style.new_figure(style.NARROW if narrow else 6.0, 4.0)
    panel = figure.subplots()
    for family, own in table.groupby("family", sort=False):
        look = looks[str(family)]
        panel.hlines(
            own["score"], own["accuracy_low"], own["accuracy_high"], color=look.color, lw=1
        )
        panel.vlines(own["accuracy"], own["low"], own["high"], color=look.color, lw=1)
        panel.plot(own["accuracy"], own["score"], look.marker, color=look.color, ms=6)
    panel.set_xlabel("accuracy on seen classes")
    panel.set_ylabel(label)
    style.legend(figure, [style.family_key(look) for look in looks.values()], narrow)
    return figure


@matplotlib.rc_context(style.RC)
def best(table: Any, *, narrow: bool = False) -> Figure | None:
    """Draw how probable it is that each layer is the best, one row per model.

    Args:
        table: columns model, place (0 first, 1 last layer), probability.
        narrow: laid out for a phone.
    """
    if not len(table):
        return None
    names = list(dict.fromkeys(table["model"]))
    figure = style.new_figure(style.NARROW if narrow else 7.2, 1.0 + 0.24 * len(names))
    panel = figure.subplots()
    sizes = 12 + 220 * table["probability"].to_numpy()
    rows = [names.index(name) for name in table["model"]]
    panel.scatter(
        table["place"], rows, s=sizes, c=table["probability"], cmap="Blues", vmin=-0.15, vmax=1,
        edgecolors=style.MUTED, linewidths=0.5,
    )  # fmt: skip
    panel.set_xticks([0, 0.5, 1], ["first", "depth of the layer", "last"])
    panel.set_xlim(-0.08, 1.08)
    panel.set_yticks(range(len(names)), [style.literal(n, 24 if narrow else 44) for n in names])
    panel.set_ylim(len(names) - 0.4, -0.6)
    return figure


@matplotlib.rc_context(style.RC)
def planes(
    pictures: Mapping[str, tuple[Any, Any]], names: Sequence[str], *, narrow: bool = False
) -> Figure | None:
    """Draw points of unseen classes in two dimensions, one panel per layer.

    Args:
        pictures: title -> (points [N, 2], labels [N]).
        names: of the classes.
        narrow: laid out for a phone.
    """
    if not pictures:
        return None
    count = len(pictures)
    width = style.NARROW if narrow else 3.4 * count + 0.4
    figure = style.new_figure(width, 3.6 * (count if narrow else 1))
    panels = figure.subplots(*((count, 1) if narrow else (1, count)), squeeze=False).ravel()
    for panel, (title, (points, labels)) in zip(panels, pictures.items(), strict=True):
        for label in range(len(names)):
            own = points[labels == label]
            panel.plot(*own.T, ".", color=_color(label), ms=3, alpha=0.8)
        panel.set_title(style.literal(title, 40))
        panel.set_xticks([])
        panel.set_yticks([])
        panel.grid(visible=False)
    keys = [
        style.key(style.literal(name, 12), color=_color(k), marker="o", ms=5, ls="")
        for k, name in enumerate(names)
    ]
    style.legend(figure, keys, narrow)
    return figure


def _color(label: int) -> Any:
    if label < len(style.COLORS):
        return style.COLORS[label]
    return matplotlib.colormaps["tab20"](label % 20)


@matplotlib.rc_context(style.RC)
def pruned(table: Any, label: str, *, narrow: bool = False) -> Figure | None:
    """Draw what a score loses against the operations that are saved, one line per model.

    Args:
        table: columns model, family, flops_saved, change.
        label: of the change.
        narrow: laid out for a phone.
    """
    if not len(table):
        return None
    looks = style.family_styles(table["family"])
    figure = style.new_figure(style.NARROW if narrow else 6.0, 3.6)
    panel = figure.subplots()
    for _, own in table.groupby("model", sort=False):
        look = looks[own["family"].iloc[0]]
        own = own.sort_values("flops_saved")
        panel.plot(own["flops_saved"], own["change"], color=look.color, marker=look.marker,
                   ms=3.5, lw=1, alpha=0.7)  # fmt: skip
    panel.axhline(0.0, color=style.MUTED, lw=1, ls=(0, (4, 2)))
    panel.set_xlabel("share of operations saved")
    panel.set_ylabel(label)
    style.legend(figure, [style.family_key(look) for look in looks.values()], narrow)
    return figure
