"""The page of double descent: errors along axes of size, and what can be said of a second fall."""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from genjax.report import figures_series, layouts
from genjax.report.figures_series import Axes
from genjax.report.layers import groups, of
from genjax.report.page import Section, Table
from genjax.report.phrases import bracket, count, join, significant
from genjax.report.storage import OutputFolder

Tables = Mapping[str, Any]

FITTED = 0.01
"""Training error below which networks are said to fit their examples."""

_SAID = {
    "width of networks": ("of networks against width", "units"),
    "examples of networks": ("of networks of one width against examples", "examples"),
    "steps of training": ("of the widest networks during training", "steps"),
    "random features": ("of random features of the images against their number", "features"),
    "examples of random features": (
        "of a fixed number of random features against examples", "examples",
    ),
}  # fmt: skip
AXES = tuple(_SAID)


def _rows(frame: Any) -> list[dict[str, Any]]:
    return frame.to_dict("records")


def _labels(noise: float) -> str:
    return f"{noise:.0%} wrong labels" if noise else "right labels"


def conclusions(tables: Tables, examples: int) -> list[str]:
    """Say where the error falls twice, most important first.

    Args:
        tables: as the experiment returns.
        examples: of the simulation, where its risk has no limit.
    """
    descents = tables["descents"]
    said = []
    for axis in AXES:
        for row in sorted(_rows(of(descents, axis=axis)), key=lambda r: -r["label_noise"]):
            said.append(_on_descent(row))
        if axis == AXES[0]:
            said += _on_fit(of(tables["curves"], axis=axis))
    said.insert(1, _on_closed_form(tables["closed_form"], examples))
    return said


def _on_descent(row: Mapping[str, Any]) -> str:
    what, unit = _SAID[row["axis"]]
    start = f"With {_labels(row['label_noise'])} the test error {what}"
    if row["seeds"] < 2:
        return f"{start} is not known: too few seeds are complete."
    if math.isnan(row["peak"]):
        return f"{start} has no peak: nowhere is the mean above those on both sides."
    rise = bracket(row["rise"], row["rise_low"], row["rise_high"])
    fall = bracket(row["fall"], row["fall_low"], row["fall_high"])
    dip, peak, end = (f"{int(row[name]):,}" for name in ("dip", "peak", "end"))
    there = f"at {peak} {unit} it is {rise} above {dip} and {fall} above {end} {unit}"
    if math.isnan(row["start"]):
        said = "rises and falls" if row["shown"] else "cannot be told to rise and fall"
        return f"{start} {said}: {there}; before that it does not fall for certain."
    first = bracket(row["first"], row["first_low"], row["first_high"])
    there = f"from {int(row['start']):,} to {dip} {unit} it falls by {first}, and {there}"
    if row["shown"]:
        return f"{start} falls twice: {there}."
    return f"{start} cannot be told to fall twice: {there} (intervals for all pairs at once)."


def _on_fit(curves: Any) -> list[str]:
    said = []
    for noise, own in groups(curves, "label_noise"):
        fitted = own.loc[own["train_error"] < FITTED, "x"]
        where = f"at no width up to {int(own['x'].max())}"
        if len(fitted):
            after = own.loc[own["x"] >= fitted.min(), "train_error"]
            where = f"from {int(fitted.min())} units on"
            if not (after < FITTED).all():
                where = f"at {join([f'{int(x)}' for x in fitted])} units"
        said.append(
            f"Networks fit {_labels(noise)} (mean training error below {FITTED:.0%}) {where}."
        )
    return said


def _on_closed_form(found: Any, examples: int) -> str:
    finite = found[np.isfinite(found["closed"])]
    peak = int(found.loc[found["value"].idxmax(), "features"])
    apart = float((finite["value"] / finite["closed"] - 1).abs().max())
    place = (
        "the number of examples"
        if peak == examples
        else f"not where they are as many as the {examples} examples"
    )
    return (
        f"On simulated data random features err most at {count(peak, 'feature')}, {place}; at "
        f"{int(finite['within'].sum())} of {len(finite)} other sizes the closed form is in the "
        f"interval of the simulation, and at most {apart:.1%} away from its mean."
    )


def sections(
    output: OutputFolder, tables: Tables, examples: int, thresholds: Mapping[str, int]
) -> list[Section]:
    """Return the sections of the page, their figures written.

    Args:
        output: the folder.
        tables: as the experiment returns.
        examples: of the simulation.
        thresholds: axis -> place where there are as many features as examples.
    """
    curves = tables["curves"]
    made = [_axis_section(output, curves, axis, thresholds) for axis in AXES]
    made.insert(1, _closed_section(output, tables["closed_form"], examples))
    made.append(
        Section(
            "Second descents",
            tables=[
                Table(
                    "What rises and falls",
                    ("axis", "wrong labels", "seeds", "shown", "start", "dip", "peak", "end",
                     "first fall", "rise", "second fall"),
                    [
                        (r["axis"], f"{r['label_noise']:.0%}", r["seeds"], bool(r["shown"]),
                         r["start"], r["dip"], r["peak"], r["end"],
                         (r["first"], r["first_low"], r["first_high"]),
                         (r["rise"], r["rise_low"], r["rise_high"]),
                         (r["fall"], r["fall_low"], r["fall_high"]))
                        for r in _rows(tables["descents"])
                    ],
                )
            ],
            note="Intervals hold for all pairs of places at once (Bonferroni), over seeds; the "
            "test examples are taken as given.",
        )
    )  # fmt: skip
    return made


def _axis_section(
    output: OutputFolder, curves: Any, axis: str, thresholds: Mapping[str, int]
) -> Section:
    what, unit = _SAID[axis]
    own = of(curves, axis=axis)
    parts = []
    for noise, part in groups(own, "label_noise"):
        short = f"{noise:.0%} wrong" if noise else "none wrong"
        parts.append(part.assign(series=f"test, {short}"))
        if np.isfinite(part["train_error"]).any():
            train = part.assign(value=part["train_error"], low=np.nan, high=np.nan)
            parts.append(train.assign(series=f"training, {short}"))
    marks = {"as many features as examples": thresholds[axis]} if axis in thresholds else {}
    axes = Axes("x", unit, "error", log="x", marks=marks)
    return Section(
        f"The error {what}",
        figures=layouts.draw(
            output, axis.replace(" ", "_"), functools.partial(figures_series.series, axes=axes),
            pd.concat(parts), caption=f"Errors {what}; bands are intervals over seeds.",
        ),
        tables=[
            Table(
                "Errors",
                (unit, "wrong labels", "test error", "training error", "seeds"),
                [
                    (r["x"], f"{r['label_noise']:.0%}", (r["value"], r["low"], r["high"]),
                     r["train_error"], r["seeds"])
                    for r in _rows(own)
                ],
            )
        ],
    )  # fmt: skip


def _closed_section(output: OutputFolder, found: Any, examples: int) -> Section:
    simulated = found.assign(series="simulation")
    exact = found[np.isfinite(found["closed"])].assign(
        value=lambda rows: rows["closed"], low=np.nan, high=np.nan
    )
    parts = [simulated]
    for k, side in enumerate((exact["features"] < examples, exact["features"] > examples)):
        # Two pieces: the limit between them is infinite.
        name = "closed form" if k == 0 else "closed form, more features"
        parts.append(exact[side].assign(series=name))
    axes = Axes("features", "features", "excess risk", log="xy", marks={"examples": examples})
    return Section(
        "Random features against their closed form",
        figures=layouts.draw(
            output, "closed_form", functools.partial(figures_series.series, axes=axes),
            pd.concat(parts), caption="Simulated risks of random ReLU features and their limit.",
        ),
        tables=[
            Table(
                "Excess risk",
                ("features", "simulated", "closed form", "in the interval"),
                [
                    (r["features"], (r["value"], r["low"], r["high"]), r["closed"], r["within"])
                    for r in _rows(found)
                ],
            )
        ],
        note="Mei and Montanari (2022). The limit is for many dimensions; intervals are Student's "
        "over trials, single ones: one in twenty leaves out the truth.",
    )  # fmt: skip


def headline(tables: Tables) -> tuple[str, Sequence[str], Sequence[Sequence[Any]]]:
    """Return the table of the terminal."""
    rows = [
        (
            r["axis"], f"{r['label_noise']:.0%}", "yes" if r["shown"] else "not shown",
            "" if math.isnan(r["peak"]) else significant(r["peak"]),
            "" if math.isnan(r["peak"]) else bracket(r["rise"], r["rise_low"], r["rise_high"]),
            "" if math.isnan(r["peak"]) else bracket(r["fall"], r["fall_low"], r["fall_high"]),
        )
        for r in _rows(tables["descents"])
    ]  # fmt: skip
    return "Falls twice", ("axis", "wrong labels", "shown", "peak", "rise", "fall"), rows
