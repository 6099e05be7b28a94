"""The page of a cross-validation: errors, comparisons, classes, calibration."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from genjax.report import figures_series, layouts
from genjax.report.figures_series import Axes
from genjax.report.layers import groups
from genjax.report.page import Section, Table
from genjax.report.phrases import bracket, count, significant
from genjax.report.storage import OutputFolder

Tables = Mapping[str, Any]
LIMIT = 0.05
"""Above this p-value models cannot be told apart."""
QUANTITIES = (
    "train error", "validation error", "test error", "gap", "validation squared", "validation nll",
    "validation overconfidence", "validation ece", "diverged",
)  # fmt: skip


def _rows(frame: Any) -> list[dict[str, Any]]:
    return frame.to_dict("records")


def _cell(errors: Any, model: str, quantity: str) -> tuple[float, float, float]:
    own = errors[(errors["model"] == model) & (errors["quantity"] == quantity)].iloc[0]
    return own["value"], own["low"], own["high"]


def _best(tables: Tables) -> str:
    errors = tables["errors"]
    own = errors[errors["quantity"] == "validation error"].dropna(subset=["value"])
    return str(own.loc[own["value"].astype(float).idxmin(), "model"])


def conclusions(tables: Tables, folds: int, repeats: int) -> list[str]:
    """Say which model is best, which differences are more than luck, and what one split shows.

    Args:
        tables: as the experiment returns.
        folds: k.
        repeats: divisions into folds.
    """
    errors = tables["errors"]
    if not (errors.loc[errors["quantity"] == "validation error", "value"] >= 0).any():
        return ["The networks of all models diverged: nothing can be compared."]
    best = _best(tables)
    chosen = _cell(errors, best, "validation error")
    on_test = _cell(errors, best, "test error")
    low, high = on_test[1:]
    agrees = (
        "an interval that holds it" if low <= chosen[0] <= high else "an interval that misses it"
    )
    said = [
        f"Best by {folds}-fold cross-validation, repeated {repeats} times: {best}, error "
        f"{bracket(*chosen)}; on test examples that nothing was chosen by its error is "
        f"{bracket(*on_test)}, {agrees}."
    ]
    said += [_on_pair(row) for row in _rows(tables["comparisons"]) if best in (row["a"], row["b"])]
    said += [_on_tests(tables["comparisons"]), _on_one_split(tables["folds"], best)]
    over = _cell(errors, best, "validation overconfidence")
    if over[1] > 0 or over[2] < 0:
        word = "above" if over[0] > 0 else "below"
        said.append(f"The mean confidence of {best} lies {word} its accuracy: {bracket(*over)}.")
    return said


def _on_pair(row: Mapping[str, Any]) -> str:
    difference = bracket(row["difference"], row["low"], row["high"])
    p = f"corrected p = {significant(row['holm_p'])}, Holm over pairs"
    if np.isnan(row["holm_p"]):
        return f"{row['a']} and {row['b']} cannot be compared: too many networks diverged."
    if row["holm_p"] > LIMIT:
        return (
            f"{row['a']} and {row['b']} cannot be told apart: errors differ by {difference} ({p})."
        )
    word = "larger" if row["difference"] > 0 else "smaller"
    return f"{row['a']} has a {word} error than {row['b']}: by {difference} ({p})."


def _on_tests(compared: Any) -> str:
    corrected = int((compared["holm_p"] <= LIMIT).sum())
    naive = int((compared["naive_holm_p"] <= LIMIT).sum())
    pairs = count(len(compared), "pair")
    agrees = (np.sign(compared["test_difference"]) == np.sign(compared["difference"])) & (
        compared["holm_p"] <= LIMIT
    )
    said = (
        f"The corrected test tells {corrected} of {pairs} apart, Student's t, as if folds were "
        f"independent, {naive}"
    )
    if not corrected:
        return f"{said}."
    return f"{said}; the test examples give the same order for {int(agrees.sum())} of {corrected}."


def _on_one_split(folds: Any, best: str) -> str:
    own = folds[folds["model"] == best]["validation_error"].dropna()
    first = folds.dropna(subset=["validation_error"]).pivot_table(
        index=["repeat", "fold"], columns="model", values="validation_error"
    ).dropna()  # fmt: skip
    wins = (first.drop(columns=best).min(axis=1) < first[best]).mean()
    return (
        f"One fold alone would have given {best} an error of {own.min():.3f} to {own.max():.3f}, "
        f"and ranked another model strictly above it in {wins:.0%} of the folds."
    )


def sections(output: OutputFolder, tables: Tables) -> list[Section]:
    """Return the sections of the page, their figures written.

    Args:
        output: the folder.
        tables: as the experiment returns.
    """
    return [
        _error_section(output, tables),
        _comparison_section(tables["comparisons"]),
        _class_section(output, tables["classes"]),
        _calibration_section(output, tables["reliability"]),
    ]


def _error_section(output: OutputFolder, tables: Tables) -> Section:
    rows = []
    for model, own in groups(tables["folds"], "model"):
        errors = np.sort(own["validation_error"].dropna().to_numpy())
        rows += [
            {"model": model, "rank": k + 1, "value": v, "low": np.nan, "high": np.nan}
            for k, v in enumerate(errors)
        ]
    axes = Axes("rank", "fold, by its error", "validation error", by="model")
    models = list(dict.fromkeys(tables["errors"]["model"]))
    found = tables["errors"].set_index(["model", "quantity"])
    cells = [
        (m, *(tuple(found.loc[(m, q), ["value", "low", "high"]]) for q in QUANTITIES))
        for m in models
    ]
    return Section(
        "Errors",
        figures=layouts.draw(
            output, "folds", functools.partial(figures_series.series, axes=axes),
            pd.DataFrame(rows), caption="Errors of single folds, from the smallest to the largest.",
        ),
        tables=[Table("Means over folds", ("model", *QUANTITIES), cells)],
        note="Gap: validation minus training error. Squared: Brier score. Overconfidence: mean "
        "confidence minus accuracy. Intervals of validation are corrected for the overlap of "
        "training sets (Nadeau and Bengio 2003); that of the test error is over its examples.",
    )  # fmt: skip


def _comparison_section(compared: Any) -> Section:
    rows = [
        (
            r["a"], r["b"], (r["difference"], r["low"], r["high"]), r["t"], r["p"], r["holm_p"],
            r["naive_p"], (r["test_difference"], r["test_low"], r["test_high"]),
        )
        for r in _rows(compared)
    ]  # fmt: skip
    columns = (
        "a", "b", "error of a minus b", "corrected t", "corrected p", "Holm p", "Student's p",
        "the same on test examples",
    )  # fmt: skip
    return Section("Comparisons", tables=[Table("Pairs of models", columns, rows)])


def _class_section(output: OutputFolder, classes: Any) -> Section:
    ticks = {float(r["place"]): str(r["class"])[:12] for r in _rows(classes)}
    axes = Axes("place", "class", "accuracy", by="model", ticks=ticks if len(ticks) < 13 else None)
    rows = [(r["model"], r["class"], (r["value"], r["low"], r["high"])) for r in _rows(classes)]
    return Section(
        "Classes",
        figures=layouts.draw(
            output, "classes", functools.partial(figures_series.series, axes=axes), classes,
            caption="Accuracy per class on held-out folds; bands are corrected intervals.",
        ),
        tables=[Table("Accuracy per class", ("model", "class", "accuracy"), rows)],
    )  # fmt: skip


def _calibration_section(output: OutputFolder, bins: Any) -> Section:
    drawn = bins.rename(columns={"accuracy": "value"}).assign(low=np.nan, high=np.nan)
    diagonal = pd.DataFrame(
        {"model": "calibrated", "confidence": [0.0, 1.0], "value": [0.0, 1.0], "low": np.nan,
         "high": np.nan}
    )  # fmt: skip
    axes = Axes("confidence", "mean confidence of the bin", "accuracy", by="model")
    return Section(
        "Calibration",
        figures=layouts.draw(
            output, "calibration", functools.partial(figures_series.series, axes=axes),
            pd.concat([drawn, diagonal], ignore_index=True),
            caption="Accuracy against confidence on held-out folds; below the line of the "
            "calibrated, networks are overconfident.",
        ),
        tables=[Table("Bins", tuple(bins), bins.to_numpy().tolist())],
        note="Bins of fewer than 10 examples over all repeats are left out.",
    )  # fmt: skip


def headline(tables: Tables) -> tuple[str, Sequence[str], Sequence[Sequence[Any]]]:
    """Return the table of the terminal."""
    models = list(dict.fromkeys(tables["errors"]["model"]))
    shown = ("train error", "validation error", "test error")
    rows = [(m, *(bracket(*_cell(tables["errors"], m, q)) for q in shown)) for m in models]
    return "Models", ("model", *shown), rows
