"""The page of somebody else's layers: every score of every layer, with the best one named."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from genjax.metrics.layers import SCORES
from genjax.report import figures_layers, layouts, page, terminal
from genjax.report.layers import groups, of
from genjax.report.page import Section, Table
from genjax.report.phrases import bracket, join
from genjax.report.storage import OutputFolder

PAGE = "report.html"
GIVEN = "given"
"""Source of the layers themselves; other sources are baselines that stand beside them."""
SOURCES = {"before": "before training", "pixels": "raw pixels"}
MOST_PANELS = 6
_SCORES = {score.name: score for score in SCORES}


def best_layers(
    table: pd.DataFrame, source: str = GIVEN
) -> list[tuple[str, str, str, float, float, float]]:
    """Return, per set of examples and metric, the best layer and its score with the interval.

    Where layers are read in several ways, the reading that is best is named with it.

    Args:
        table: as `layers.csv`.
        source: whose layers.

    Example:
        >>> rows = pd.DataFrame({"examples": "all", "metric": "nmi", "layer": ["a", "b"],
        ...     "value": [0.4, 0.3], "low": [0.3, 0.2], "high": [0.5, 0.4], "source": GIVEN})
        >>> best_layers(rows)
        [('all', 'nmi', 'a', 0.4, 0.3, 0.5)]
    """
    found = []
    for (examples, metric), own in groups(of(table, source=source), ["examples", "metric"]):
        own = own[np.isfinite(own["value"])]
        if not len(own):
            continue
        score = _SCORES.get(metric)
        good = own["value"] if score is None else score.goodness(own["value"])
        row = own.loc[(-good if metric.startswith("fpr95") else good).idxmax()]
        several = [c for c in ("readout", "normalisation") if c in own and own[c].nunique() > 1]
        named = ", ".join(str(row[c]) for c in ("layer", *several))
        found.append(
            (
                str(examples), str(metric), named, float(row["value"]),
                float(row["low"]), float(row["high"]),
            )
        )  # fmt: skip
    return found


def conclusions(table: pd.DataFrame) -> list[str]:
    """Say which layer each score ranks first, and what is wrong with the points.

    Args:
        table: as `layers.csv`.
    """
    sentences = []
    best = best_layers(table)
    for examples, own in groups(pd.DataFrame(best), 0) if best else []:
        parts = [
            f"{row[2]} by {row[1]} ({bracket(row[3], row[4], row[5])})"
            for row in own.itertuples(index=False)
        ]
        words = "" if examples == "all" else f" of {examples} classes"
        sentences.append(f"The best layer{words} is {join(parts, most=5)}.")
    sentences += _beside(table, best)
    flagged = table[table["flag"].astype(bool)]
    for flag, own in groups(flagged, "flag"):
        sentences.append(f"{join(list(dict.fromkeys(own['layer'])), most=5)}: {flag}.")
    return sentences


def _beside(table: pd.DataFrame, best: list[tuple[str, str, str, float, float, float]]):
    """Say how far the best layer of each baseline comes, by the first metric."""
    if not best:
        return []
    examples, metric = best[0][:2]
    parts = [
        f"{words} {bracket(*row[3:])}" + (f" ({row[2]})" if row[2] != source else "")
        for source, words in SOURCES.items()
        for row in best_layers(table, source)
        if row[:2] == (examples, metric)
    ]
    return [f"Beside the best layer's {metric}: {join(parts)}."] if parts else []


def write(
    output: OutputFolder, table: pd.DataFrame, card: Mapping[str, Any], title: str
) -> dict[str, Any]:
    """Write `layers.csv`, the figure and the page; return name -> path.

    Args:
        output: the folder.
        table: one row per layer, readout, normalisation, set of examples and metric.
        card: of the run.
        title: of the page.
    """
    # Under the first readout and normalisation of every layer: vectors have another than maps.
    first = table.drop_duplicates(["source", "layer"])[
        ["source", "layer", "readout", "normalisation", "examples"]
    ]
    shown: Any = table.merge(first)
    metrics = list(dict.fromkeys(shown["metric"]))[:MOST_PANELS]
    shown = shown[shown["metric"].isin(metrics)]
    caption = (
        "Scores of every layer; lines are intervals over examples, of few-shot scores over draws "
        "of training examples. Dashed: before training; dotted: raw pixels."
        if shown["source"].nunique() > 1
        else "Scores of every layer; lines are intervals over examples, of few-shot scores over "
        "draws of training examples."
    )
    drawn = layouts.draw(output, "layers", figures_layers.layers, shown, caption=caption)
    rows = [
        (
            r["layer"], r["source"], r["readout"], r["normalisation"], r["examples"], r["metric"],
            (r["value"], r["low"], r["high"]), r["chance"], r["flag"],
        )
        for r in table.to_dict("records")
    ]  # fmt: skip
    columns = (
        "layer", "source", "readout", "normalisation", "classes", "metric", "value", "chance",
        "flag",
    )  # fmt: skip
    sections = [
        Section("Scores of every layer", figures=drawn, tables=[Table("Scores", columns, rows)])
    ]
    text = page.render(title, conclusions(table), sections, card)
    return {
        "layers": output.write_csv("layers", table),
        "page": output.write_text(PAGE, text),
    }


def tell(table: pd.DataFrame) -> None:
    """Print the conclusions and the best layers.

    Args:
        table: as `layers.csv`.
    """
    for sentence in conclusions(table):
        print(f"- {sentence}")
    rows = [
        (examples, metric, layer, bracket(value, low, high))
        for examples, metric, layer, value, low, high in best_layers(table)
    ]
    terminal.summary_table("Best layers", ("classes", "metric", "layer", "score"), rows)
