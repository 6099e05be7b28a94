"""The page of grokking: accuracies along training, the delay, and what changes in between."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from genjax.report import figures_series, layouts
from genjax.report.figures_series import Axes
from genjax.report.layers import groups, of
from genjax.report.page import Section, Table
from genjax.report.phrases import bracketed, significant
from genjax.report.storage import OutputFolder

Tables = Mapping[str, Any]
NAMES = {
    "norm": "norm of the weights",
    "sharpness": "sharpness of the training loss",
    "margin_information": "information of margins on membership, nats",
    "error_information": "information of errors on membership, nats",
}


def _rows(frame: Any) -> list[dict[str, Any]]:
    return frame.to_dict("records")


def median(values: np.ndarray, level: float) -> tuple[float, float, float]:
    """Return the median with an interval that assumes no distribution; infinity is allowed.

    Ends are order statistics (scipy's `quantile_test`), so what is never reached counts as later
    than everything. NaN where there are too few values for the level.

    Example:
        >>> median(np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, np.inf]), 0.95)
        (4.5, 1.0, inf)
    """
    ordered = np.sort(np.asarray(values, float))
    middle = ordered[(len(ordered) - 1) // 2 : len(ordered) // 2 + 1]
    value = float(middle[0]) if middle[0] == middle[-1] else float(middle.mean())
    # Ranks carry the order, also that of infinity.
    ends = stats.quantile_test(np.arange(len(ordered)), p=0.5).confidence_interval(level)
    low, high = (float(ordered[int(e)]) if np.isfinite(e) else np.nan for e in ends)
    return value, low, high


def _steps(value: Any) -> str:
    return "\u221e" if np.isinf(value) else significant(value)


def _bracket(row: Mapping[str, Any]) -> str:
    if not row["reached"]:
        return "not at all"
    return bracketed(row["value"], row["low"], row["high"], _steps)


def conclusions(tables: Tables, accuracy: float) -> list[str]:
    """Say how long generalization is delayed, and what happened to the networks meanwhile.

    Args:
        tables: as the experiment returns.
        accuracy: that counts as fitted and as generalizing.
    """
    found = []
    last = int(tables["accuracies"]["step"].max())
    for decay, own in groups(tables["delays"], "weight_decay"):
        rows = {r["quantity"]: r for r in _rows(own)}
        found.append(
            (rows["generalizes_at"]["reached"] == 0, _on_delay(decay, rows, accuracy, last))
        )
    said = [sentence for _, sentence in sorted(found, key=lambda one: one[0])]  # grokked first
    for decay, own in groups(tables["measures"], "weight_decay"):
        said += _on_changes(decay, own, of(tables["delays"], weight_decay=decay))
    return said


def _on_delay(decay: float, own: Mapping[str, Any], accuracy: float, last: int) -> str:
    fits, knows, delay = own["fits_at"], own["generalizes_at"], own["delay"]
    name = f"With weight decay {decay:g}" if decay else "Without weight decay"
    share = f"{accuracy:.0%}"
    if not fits["reached"]:
        return f"{name} no network reaches {share} training accuracy."
    said = (
        f"{name} {fits['reached']} of {fits['seeds']} networks reach {share} training accuracy, "
        f"at the median after {_bracket(fits)} steps"
    )
    if not knows["reached"]:
        return f"{said}, and none {share} test accuracy within {last:,} steps."
    said += f", and {knows['reached']} reach {share} test accuracy"
    if np.isinf(delay["value"]):
        return f"{said}: the median delay cannot be told, since most have not generalized."
    said += f", at the median {_bracket(delay)} steps later"
    if delay["low"] > 0:
        return f"{said}: generalization is delayed."
    return f"{said}: that generalization is delayed cannot be told."


def _on_changes(decay: float, own: Any, delays: Any) -> list[str]:
    """Return how measures change from the snapshot at which networks fit to the last one."""
    fits = _rows(of(delays, quantity="fits_at"))[0]["value"]
    last = own["step"].max()
    earlier = own[own["step"] >= fits]["step"]
    if not len(earlier) or earlier.min() == last:
        return []
    first = earlier.min()
    parts = []
    for quantity in NAMES:
        pair = [_rows(of(own, quantity=quantity, step=step))[0] for step in (first, last)]
        if any(row["seeds"] < 2 for row in pair):
            continue
        # Where all networks have one value, it has no interval.
        pair = [r if r["high"] > r["low"] else r | dict.fromkeys(("low", "high"), r["value"])
                for r in pair]  # fmt: skip
        word = "does not surely change"
        if pair[1]["low"] > pair[0]["high"]:
            word = "rises"
        if pair[1]["high"] < pair[0]["low"]:
            word = "falls"
        texts = [bracketed(r["value"], r["low"], r["high"], significant) for r in pair]
        name, _, unit = NAMES[quantity].partition(", ")
        said = f"the {name} {word}, from {texts[0]} to {texts[1]} {unit}"
        parts.append(said.rstrip())
    if not parts:
        return []
    name = f"with weight decay {decay:g}" if decay else "without weight decay"
    return [f"From step {first} (fitted) to {last}, {name}: {'; '.join(parts)}."]


def _named(rows: Any, series: Mapping[str, str]) -> Any:
    decays = rows["weight_decay"].map(lambda d: f"weight decay {d:g}")
    return rows.assign(decay=decays, series=rows["quantity"].map(series))


def sections(output: OutputFolder, tables: Tables) -> list[Section]:
    """Return the sections of the page, their figures written.

    Args:
        output: the folder.
        tables: as the experiment returns.
    """
    axes = Axes("step", "steps", "accuracy", panel="decay", log="x")
    curves = _named(tables["accuracies"], {"train": "training pairs", "test": "other pairs"})
    medians = [
        (r["weight_decay"], r["quantity"].replace("_", " "), (r["value"], r["low"], r["high"]),
         r["reached"], r["seeds"])
        for r in _rows(tables["delays"])
    ]  # fmt: skip
    return [
        Section(
            "Accuracy along training",
            figures=layouts.draw(
                output, "accuracies", functools.partial(figures_series.series, axes=axes), curves,
                caption="Accuracy on the pairs trained on and on all others; bands are Student's "
                "intervals over seeds.",
            ),
            tables=[
                Table("Medians over seeds",
                      ("weight decay", "quantity", "steps", "networks that got there", "networks"),
                      medians)
            ],
            note="Infinity: later than training went. Intervals of medians are order statistics.",
        ),
        _measure_section(output, tables["measures"]),
    ]  # fmt: skip


def _measure_section(output: OutputFolder, measures: Any) -> Section:
    figures = []
    for quantity, text in NAMES.items():
        axes = Axes("step", "steps", text, by="decay", log="xy" if quantity == "sharpness" else "x")
        figures += layouts.draw(
            output, quantity, functools.partial(figures_series.series, axes=axes),
            pd.DataFrame(_named(of(measures, quantity=quantity), NAMES)),
            caption=f"The {text}; bands are Student's intervals over seeds.",
        )  # fmt: skip
    cells = [
        (r["weight_decay"], r["step"], NAMES[r["quantity"]], (r["value"], r["low"], r["high"]))
        for r in _rows(measures)
    ]
    return Section(
        "What changes in between",
        figures=figures,
        tables=[Table("Means over seeds", ("weight decay", "step", "measure", "value"), cells)],
        note="Sharpness: largest eigenvalue of the Hessian of the mean cross-entropy. Information: "
        "what the margin of a pair, and whether it is classified rightly, tell about whether it "
        "was trained on; nothing where the network treats both kinds of pairs alike.",
    )


def headline(tables: Tables) -> tuple[str, Sequence[str], Sequence[Sequence[Any]]]:
    """Return the table of the terminal."""
    rows = []
    for decay, own in groups(tables["delays"], "weight_decay"):
        cells = {r["quantity"]: r for r in _rows(own)}
        names = ("fits_at", "generalizes_at", "delay")
        rows.append((f"{decay:g}", *(_bracket(cells[q]) for q in names)))
    return "Steps, medians over seeds", ("weight decay", "fits", "generalizes", "delay"), rows
