"""The page of scaling laws: exponents, what is left for endless sizes, and predictions."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from genjax.report import figures_series, layouts
from genjax.report.figures_series import Axes
from genjax.report.layers import of
from genjax.report.page import Section, Table
from genjax.report.phrases import bracket
from genjax.report.storage import OutputFolder

Tables = Mapping[str, Any]
PUBLISHED = (0.07, 0.35)
"""Exponents of the error over examples that Hestness et al. (2017) found."""
POWER, OFFSET = "power", "power and offset"
NOUNS = {"examples": "training examples", "width": "units of a layer"}
LABELS = {"error": "0-1 error", "nats": "cross-entropy, nats"}


def _rows(frame: Any) -> list[dict[str, Any]]:
    return frame.to_dict("records")


def conclusions(tables: Tables) -> list[str]:
    """Say with which exponent errors fall and whether laws predict larger sizes, by rules.

    Args:
        tables: as the experiment returns.
    """
    said = []
    for axis in ("examples", "width"):
        fits = of(tables["fits"], axis=axis, noise=0.0, measure="error")
        for row in _rows(of(fits, form=POWER)):
            said.append(_on_exponent(row))
        inside = np.isfinite(of(fits, form=OFFSET)["low"].to_numpy(float)).all()
        for form in (POWER, OFFSET) if inside else (POWER,):
            tested = of(tables["extrapolation"], axis=axis, noise=0.0, measure="error", form=form)
            if len(tested):
                said.append(_on_prediction(_rows(tested)[-1]))
        said += [_on_offset(row) for row in _rows(of(fits, form=OFFSET))]
    said += [_on_noise(row) for row in _rows(of(tables["noise"], axis="examples", measure="error"))]
    return said or ["Too many networks diverged: no law could be fitted."]


def _on_exponent(row: Mapping[str, Any]) -> str:
    noun = NOUNS[row["axis"]]
    if np.isnan(row["alpha"]):
        return f"There is no power law over {noun}: errors of 0 have no logarithm."
    verb = "cannot be told to fall or rise"
    if row["low"] > 0:
        verb = "falls"
    elif row["high"] < 0:
        verb = "rises"
    text = (
        f"With labels as they are the error {verb} with {noun}: as N^-alpha, alpha = "
        f"{bracket(row['alpha'], row['low'], row['high'])}, from {row['from']} to {row['to']}"
    )
    if row["axis"] != "examples":
        return f"{text}."
    low, high = PUBLISHED
    place = "partly inside"
    if row["low"] > high:
        place = "above"
    elif row["high"] < low:
        place = "below"
    elif row["low"] >= low and row["high"] <= high:
        place = "inside"
    return f"{text}: {place} the range of {low} to {high} that Hestness et al. (2017) report."


def _on_prediction(row: Mapping[str, Any]) -> str:
    law = "The law" if row["form"] == POWER else "With an offset it"
    ratio = bracket(row["value"], row["low"], row["high"])
    verdict = "which is right as far as can be told"
    if row["low"] > 1:
        verdict = "too much"
    elif row["high"] < 1:
        verdict = "too little"
    elif np.isnan(row["low"]):
        verdict = "of unknown certainty"
    return (
        f"{law} predicts {ratio} times the measured error at {row['size']} {NOUNS[row['axis']]}, "
        f"{row['times']:.3g} times the most that it was fitted to: {verdict}."
    )


def _on_offset(row: Mapping[str, Any]) -> str:
    noun = NOUNS[row["axis"]]
    if np.isnan(row["low"]):
        why = "no law with an offset could be fitted"
        if np.isfinite(row["offset"]):
            why = (
                "with all seeds, or without one of them, the fit puts the offset at an end of its "
                f"range (with all of them at {row['offset']:.3f})"
            )
        return f"Whether an error is left for endlessly many {noun} cannot be told: {why}."
    text = f"{bracket(row['offset'], row['offset_low'], row['offset_high'])}"
    alpha = bracket(row["alpha"], row["low"], row["high"])
    if row["offset_low"] > 0:
        return (
            f"For endlessly many {noun} the law leaves an error of {text}; alpha is then {alpha}."
        )
    return (
        f"That an error is left for endlessly many {noun} cannot be told: {text}, with alpha = "
        f"{alpha}."
    )


def _on_noise(row: Mapping[str, Any]) -> str:
    change = bracket(row["value"], row["low"], row["high"])
    start = f"Wrong labels of a share of {row['noise']:g}"
    if row["low"] > 0:
        return f"{start} raise alpha over training examples, by {change}."
    if row["high"] < 0:
        return f"{start} lower alpha over training examples: it changes by {change}."
    return f"{start}: a change of alpha over training examples cannot be told ({change})."


def sections(output: OutputFolder, tables: Tables) -> list[Section]:
    """Return the sections of the page, their figures written.

    Args:
        output: the folder.
        tables: as the experiment returns.
    """
    found = [_law_section(output, tables, axis) for axis in ("examples", "width")]
    return [*found, _noise_section(output, tables)]


def _law_section(output: OutputFolder, tables: Tables, axis: str) -> Section:
    own = {name: of(tables[name], axis=axis) for name in ("means", "curves", "fits")}
    drawn = pd.concat(
        [
            own["means"].assign(series="measured"),
            own["curves"].assign(low=np.nan, high=np.nan, series=own["curves"]["form"]),
        ],
        ignore_index=True,
    )
    noisy = len(set(drawn["noise"])) > 1
    drawn["panel"] = [
        f"{LABELS[m]}, noise {n:g}" if noisy else LABELS[m]
        for m, n in zip(drawn["measure"], drawn["noise"], strict=True)
    ]
    marks = {"fitted": float(own["fits"]["to"].max())} if len(own["fits"]) else {}
    axes = Axes("size", NOUNS[axis], "on test examples", panel="panel", log="xy", marks=marks)
    return Section(
        f"Against {NOUNS[axis]}",
        figures=layouts.draw(
            output, axis, functools.partial(figures_series.series, axes=axes), drawn,
            caption="Mean errors, bands are intervals over seeds, and laws fitted up to the dotted "
            "line.",
        ),
        tables=[_fit_table(own["fits"]), _prediction_table(of(tables["extrapolation"], axis=axis))],
        note="Intervals are over seeds, draws of nested training sets with a start each; the test "
        "examples are the same for all. All sets are of one pool: the nearer a size is to all of "
        "it, the more seeds differ by their starts alone. N does not count the validation examples "
        "that decide when to stop; their labels are as noisy as those trained on.",
    )  # fmt: skip


def _fit_table(fits: Any) -> Table:
    rows = [
        (
            r["measure"], r["noise"], r["form"], (r["alpha"], r["low"], r["high"]),
            (r["offset"], r["offset_low"], r["offset_high"]), r["scale"], r["residual"],
        )
        for r in _rows(fits)
    ]  # fmt: skip
    columns = ("measure", "label noise", "form", "alpha", "offset c", "scale a", "residual")
    return Table("Laws: a N^-alpha (+ c); the residual is of logarithms", columns, rows)


def _prediction_table(tested: Any) -> Table:
    rows = [
        (r["measure"], r["noise"], r["form"], r["size"], (r["value"], r["low"], r["high"]))
        for r in _rows(tested)
    ]
    columns = ("measure", "label noise", "form", "size", "predicted over measured")
    return Table("Sizes that were not fitted", columns, rows)


def _noise_section(output: OutputFolder, tables: Tables) -> Section:
    own = of(tables["means"], axis="examples", measure="error")
    sizes = sorted(own["size"].unique())
    shown = own[own["size"].isin(sizes[:: max(1, len(sizes) // 4)])]
    shown = shown.assign(series=[f"{n} examples" for n in shown["size"]])
    rows = [
        (r["measure"], r["noise"], (r["value"], r["low"], r["high"]))
        for r in _rows(of(tables["noise"], axis="examples"))
    ]
    axes = Axes("noise", "share of wrong labels", "0-1 error")
    return Section(
        "Against label noise",
        figures=layouts.draw(
            output, "noise", functools.partial(figures_series.series, axes=axes), shown,
            caption="Errors on test examples with right labels; bands are intervals over seeds.",
        ),
        tables=[Table("Changes of alpha", ("measure", "label noise", "change of alpha"), rows)],
    )  # fmt: skip


def headline(tables: Tables) -> tuple[str, Sequence[str], Sequence[Sequence[Any]]]:
    """Return the table of the terminal."""
    rows = [
        (
            r["axis"], f"{r['noise']:g}", r["form"], bracket(r["alpha"], r["low"], r["high"]),
            bracket(r["offset"], r["offset_low"], r["offset_high"]),
        )
        for r in _rows(of(tables["fits"], measure="error"))
    ]  # fmt: skip
    return "Laws of the error", ("over", "label noise", "form", "alpha", "offset"), rows
