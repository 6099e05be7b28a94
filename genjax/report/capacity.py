"""The page of capacity: what random labels, images and signs say."""

import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from genjax.report import figures_series, layouts
from genjax.report.figures_series import Axes
from genjax.report.layers import of
from genjax.report.page import Section, Table
from genjax.report.phrases import bracket, count, join
from genjax.report.storage import OutputFolder

Tables = Mapping[str, Any]
UNCHANGED = "as they are"


def _rows(frame: Any) -> list[dict[str, Any]]:
    return frame.to_dict("records")


def _cell(row: Mapping[str, Any], name: str) -> tuple[Any, Any, Any]:
    return row[name], row[f"{name}_low"], row[f"{name}_high"]


def conclusions(tables: Tables) -> list[str]:
    """Say what was fitted, how long it took, and what bounds are left with.

    Args:
        tables: as the experiment returns.
    """
    fits = tables["fits"]
    true = _rows(of(fits, random_labels=0.0, images=UNCHANGED))[0]
    random = _rows(of(fits, random_labels=1.0))[0]
    if np.isnan(fits["test_error"].to_numpy(float)).any():
        said = ["Networks diverged in some condition: nothing can be said of random labels."]
        return [*said, *_on_signs(tables["rademacher"])]
    said = [_on_random_labels(true, random)]
    for row in _rows(fits[fits["images"] != UNCHANGED]):
        said.append(_on_images(row))
    said.append(_on_shares(of(fits, images=UNCHANGED)))
    lost = int(fits["diverged"].sum())
    if lost:
        said.append(f"{count(lost, 'network')} diverged and are left out.")
    return [*said, *_on_signs(tables["rademacher"])]


def _on_random_labels(true: Mapping[str, Any], random: Mapping[str, Any]) -> str:
    every = random["reached"] == random["seeds"]
    share = "all" if every else f"{random['reached']} of {random['seeds']}"
    least = "" if every else "at least "
    verdict = "Random labels are fitted" if random["reached"] else "Random labels are not fitted"
    errors = (
        f"the same networks err on {bracket(*_cell(true, 'test_error'))} of the test examples "
        f"with true labels, and on {bracket(*_cell(random, 'test_error'))} with random ones"
    )
    return (
        f"{verdict}, by {share} networks, in {least}{bracket(*_cell(random, 'times'))} times the "
        f"steps of true ones: {errors}."
        if random["reached"]
        else f"{verdict} by any of {random['seeds']} networks: {errors}."
    )


def _on_images(row: Mapping[str, Any]) -> str:
    name = {"gaussian": "Gaussian images"}.get(row["images"], row["images"].capitalize())
    times = bracket(*_cell(row, "times"))
    if row["reached"] < row["seeds"]:
        return f"{name} with true labels are fitted by {row['reached']} of {row['seeds']} networks."
    verdict = "as far as can be told like random labels"
    if row["to_random_high"] < 1:
        verdict = "faster than random labels"
    elif row["to_random_low"] > 1:
        verdict = "slower than random labels"
    return f"{name} with true labels are fitted in {times} times the steps, {verdict}."


def _on_shares(shares: Any) -> str:
    rows = _rows(shares.sort_values("random_labels"))
    rising = all(a["test_error"] <= b["test_error"] for a, b in itertools.pairwise(rows))
    slower = all(a["steps"] <= b["steps"] for a, b in itertools.pairwise(rows))
    fitted, every = sum(r["reached"] for r in rows), sum(r["seeds"] for r in rows)
    text = (
        f"With the share of random labels the test error {'rises' if rising else 'moves'} from "
        f"{rows[0]['test_error']:.3f} to {rows[-1]['test_error']:.3f} and the steps to fit "
        f"{'rise' if slower else 'move'} from {rows[0]['steps']:.0f} to {rows[-1]['steps']:.0f}"
    )
    if fitted < every:
        return f"{text}; {fitted} of {every} networks fit their labels."
    apart = rows[-1]["test_error_low"] > rows[0]["test_error_high"]
    more = ": the training error does not tell them apart" if apart else ""
    return f"{text}, while all {every} networks fit their labels{more}."


def _on_signs(found: Any) -> list[str]:
    found = found.dropna(subset=["value"])
    if not len(found):
        return ["All networks diverged on random signs: their capacity is not measured."]
    widest = found["width"].max()
    rows = _rows(of(found, width=widest))
    first, last = rows[0], rows[-1]
    change = f"{bracket(*_ends(first))} at {first['n']} and {bracket(*_ends(last))} at {last['n']}"
    vacuous = found[found["gap_bound"] >= 1]
    said = [
        f"Measured Rademacher complexity of {widest} units: {change} examples; of "
        f"{found['width'].min()} units {_last_of(found, found['width'].min())}."
    ]
    informative = found[found["gap_bound"] < 1]
    if len(informative):
        names = [f"{r['width']} units at {r['n']}" for r in _rows(informative)]
        said.append(
            f"It is an estimate from below, and leaves the bound on the gap at 1 or more, so "
            f"without content, in {len(vacuous)} of {len(found)} settings; it could say something "
            f"for {join(names, most=6)} examples."
        )
    else:
        said.append(
            f"It is an estimate from below, and leaves the bound on the gap at 1 or more, so "
            f"without content, in all {len(found)} settings."
        )
    empty = int((found["vc_rademacher"] >= 1).sum())
    said.append(
        f"By the VC dimension, at most {found['vc_dimension'].min():,.0f} to "
        f"{found['vc_dimension'].max():,.0f}, the complexity is at most 1, which says nothing, in "
        f"{empty} of {len(found)} settings."
    )
    return said


def _ends(row: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    return row["value"], row["low"], row["high"]


def _last_of(found: Any, width: Any) -> str:
    row = _rows(of(found, width=width))[-1]
    return f"{bracket(*_ends(row))} at {row['n']}"


def sections(output: OutputFolder, tables: Tables) -> list[Section]:
    """Return the sections of the page, their figures written.

    Args:
        output: the folder.
        tables: as the experiment returns.
    """
    return [_fit_section(output, tables["fits"]), _sign_section(output, tables["rademacher"])]


def _fit_section(output: OutputFolder, fits: Any) -> Section:
    own = of(fits, images=UNCHANGED)
    drawn = pd.concat(
        [
            pd.DataFrame({
                "share": own["random_labels"], "panel": title, "series": series,
                "value": own[name], "low": own[f"{name}_low"], "high": own[f"{name}_high"],
            })
            for title, series, name in (
                ("errors", "training error", "train_error"), ("errors", "test error", "test_error"),
            )
        ]
    )  # fmt: skip
    steps = own.rename(columns={"times": "value", "times_low": "low", "times_high": "high"})
    rows = [
        (
            r["random_labels"], r["images"], r["reached"], r["seeds"], _cell(r, "steps"),
            _cell(r, "times"), _cell(r, "to_random"), _cell(r, "train_error"),
            _cell(r, "test_error"),
        )
        for r in _rows(fits)
    ]  # fmt: skip
    columns = (
        "random labels", "images", "fitted", "networks", "steps", "times those of true labels",
        "times those of random labels",
        "training error", "test error",
    )  # fmt: skip
    draw = functools.partial(layouts.draw, output)
    return Section(
        "Random labels and images",
        figures=[
            *draw(
                "errors",
                functools.partial(
                    figures_series.series, axes=Axes("share", "share of random labels", "error")
                ),
                drawn,
                caption="Errors against the share of labels that were drawn at random; test labels "
                "are the true ones.",
            ),
            *draw(
                "steps",
                functools.partial(
                    figures_series.series,
                    axes=Axes("random_labels", "share of random labels",
                              "steps to fit, of those of true labels", by="images"),
                ),
                steps,
                caption="Steps until the training cross-entropy is below the threshold, in units "
                "of what true labels take.",
            ),
        ],
        tables=[Table("Conditions", columns, rows)],
        note="Steps are counted to the record at which the threshold was passed; of networks that "
        "did not reach it they are all steps, so less than it takes.",
    )  # fmt: skip


def _sign_section(output: OutputFolder, found: Any) -> Section:
    drawn = found.assign(series=[f"{w} units" for w in found["width"]])
    axes = Axes("n", "examples", "Rademacher complexity, measured", log="x", lines={"all signs": 1})
    rows = [
        (
            r["width"], r["parameters"], r["n"], _ends(r), r["gap_bound"], r["vc_dimension"],
            r["vc_rademacher"],
        )
        for r in _rows(found)
    ]  # fmt: skip
    columns = (
        "units", "parameters", "examples", "measured complexity", "bound on the gap, at least",
        "VC dimension, at most", "complexity by it, at most",
    )  # fmt: skip
    return Section(
        "Random signs",
        figures=layouts.draw(
            output, "signs", functools.partial(figures_series.series, axes=axes), drawn,
            caption="Share of random signs fitted, from 0 (half of them right) to 1 (all); bands "
            "are intervals over draws of signs and examples.",
        ),
        tables=[Table("Rademacher complexity", columns, rows)],
        note="Training finds some member of the class, not the best: what is measured is at most "
        "the complexity. Bound: R + 3 sqrt(ln(2/delta) / (2n)), delta = 0.05.",
    )  # fmt: skip


def headline(tables: Tables) -> tuple[str, Sequence[str], Sequence[Sequence[Any]]]:
    """Return the table of the terminal."""
    rows = [
        (
            f"{r['random_labels']:g}", r["images"], f"{r['reached']} of {r['seeds']}",
            bracket(*_cell(r, "times")), bracket(*_cell(r, "test_error")),
        )
        for r in _rows(tables["fits"])
    ]  # fmt: skip
    return "Fitting", ("random labels", "images", "fitted", "times the steps", "test error"), rows
