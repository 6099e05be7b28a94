"""The page of optimizers: errors over the grid, and each at its best beside the others."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from genjax.report import figures_effects, figures_series, layouts
from genjax.report.figures_series import Axes
from genjax.report.layers import of
from genjax.report.page import Section, Table
from genjax.report.phrases import bracket, join, significant
from genjax.report.storage import OutputFolder

Tables = Mapping[str, Any]

NAMES = {
    "sgd": "SGD", "momentum": "SGD with momentum", "nesterov": "Nesterov's SGD", "adam": "Adam",
    "adamw": "AdamW", "rmsprop": "RMSprop", "sam": "SAM",
}  # fmt: skip
CLEAR = 0.05
"""Largest adjusted p-value of a difference that is called one."""


def _rows(frame: Any) -> list[dict[str, Any]]:
    return frame.to_dict("records")


def conclusions(tables: Tables, base: str) -> list[str]:
    """Say which optimizer generalizes better than the base, and which is flatter.

    Args:
        tables: as the experiment returns.
        base: what the others are compared with.
    """
    found = tables["comparisons"]
    if not len(found):
        return ["Too many networks diverged: no optimizers can be compared."]
    errors = of(found, quantity="test_error")
    # Adam first: it is what the claim is about.
    order = sorted(_rows(errors), key=lambda r: r["optimizer"] != "adam")
    said = [_on_errors(order[0], base)]
    if len(order) > 1:
        said.append(_on_others(order[1:], base))
    said += [_on_sharpness(of(found, quantity="sharpness"), base)]
    said += _on_batches(tables["batches"])
    return [*said, *_on_grid(tables["tuned"])]


def _on_errors(row: Mapping[str, Any], base: str) -> str:
    names = NAMES[base], NAMES[row["optimizer"]]
    amount = bracket(row["value"], row["low"], row["high"])
    if row["p_adjusted"] <= CLEAR:
        better, worse = names if row["value"] > 0 else names[::-1]
        verdict = f"{better} generalizes better than {worse}"
    else:
        verdict = f"that {names[0]} generalizes better or worse than {names[1]} cannot be told"
    return (
        f"When both are tuned, {verdict}: the test error of {names[1]} minus that of {names[0]} "
        f"is {amount} (paired by seed, Holm-adjusted p = {significant(row['p_adjusted'])})."
    )


def _on_others(rows: Sequence[Mapping[str, Any]], base: str) -> str:
    said = [
        f"{NAMES[r['optimizer']]} {bracket(r['value'], r['low'], r['high'])}"
        + ("" if r["p_adjusted"] <= CLEAR else " (not to be told from 0)")
        for r in rows
    ]
    return f"Test errors minus that of {NAMES[base]}: {join(said)}."


def _on_sharpness(found: Any, base: str) -> str:
    said = {"flatter than": [], "sharper than": [], "not to be told from": []}
    for row in _rows(found):
        amount = bracket(row["value"], row["low"], row["high"])
        verdict = "not to be told from"
        if row["p_adjusted"] <= CLEAR:
            verdict = "flatter than" if row["value"] < 1 else "sharper than"
        said[verdict].append(f"{NAMES[row['optimizer']]} ({amount} times)")
    parts = [f"{verdict} it: {join(names)}" for verdict, names in said.items() if names]
    return (
        f"Beside {NAMES[base]}, by the sharpness of SAM on training examples, {'; '.join(parts)}."
    )


def _on_batches(found: Any) -> list[str]:
    if not len(found):
        return []
    said = []
    for row in _rows(found):
        amount = bracket(row["value"], row["low"], row["high"])
        doubt = "" if row["p_adjusted"] <= CLEAR else ", not to be told from 0"
        said.append(f"{NAMES[row['optimizer']]} {amount}{doubt}")
    return [f"Test error with the smallest batches minus that with the largest: {'; '.join(said)}."]


def _on_grid(tuned: Any) -> list[str]:
    ends = [NAMES[r["optimizer"]] for r in _rows(tuned) if r["at the end of the grid"]]
    if not ends:
        return []
    return [f"The best learning rate is at an end of the grid for {join(ends)}: widen it."]


def sections(output: OutputFolder, tables: Tables, base: str) -> list[Section]:
    """Return the sections of the page, their figures written.

    Args:
        output: the folder.
        tables: as the experiment returns.
        base: what the others are compared with.
    """
    settings, found = tables["settings"], tables["comparisons"]
    grid = settings.assign(
        series=[f"batches of {batch}" for batch in settings["batch_size"]],
        panel=[NAMES[name] for name in settings["optimizer"]],
    )
    axes = Axes("learning_rate", "learning rate", "test error", panel="panel", log="x")
    made = [
        Section(
            "The grid",
            figures=layouts.draw(
                output, "grid", functools.partial(figures_series.series, axes=axes), grid,
                caption="Test error of every setting; bands are intervals over seeds.",
            ),
            tables=[
                Table(
                    "Settings",
                    ("optimizer", "batch size", "learning rate", "validation error", "test error",
                     "training loss", "median sharpness", "diverged"),
                    [
                        (NAMES[r["optimizer"]], r["batch_size"], r["learning_rate"],
                         r["validation_error"], (r["value"], r["low"], r["high"]),
                         r["train_loss"], r["sharpness"], r["diverged"])
                        for r in _rows(settings)
                    ],
                    ("", "", "", "", "", "nats", "nats", ""),
                )
            ],
        )
    ]  # fmt: skip
    if len(found):
        made.append(_compared(output, found, base))
    return made


def _compared(output: OutputFolder, found: Any, base: str) -> Section:
    shown = found.assign(name=[NAMES[name] for name in found["optimizer"]])
    figures = []
    for quantity, xlabel, none in (
        ("test_error", f"test error minus that of {NAMES[base]}", 0.0),
        ("sharpness", f"sharpness, times that of {NAMES[base]}", 1.0),
    ):
        draw = functools.partial(figures_effects.effects, xlabel=xlabel, none=none)
        figures += layouts.draw(
            output, quantity, draw, of(shown, quantity=quantity),
            caption=f"Each optimizer at its best setting: {xlabel}; lines are intervals.",
        )  # fmt: skip
    return Section(
        "Each at its best",
        figures=figures,
        tables=[
            Table(
                "Differences of errors and ratios of sharpness",
                ("optimizer", "quantity", "value", "adjusted p", "seeds"),
                [
                    (r["name"], r["quantity"], (r["value"], r["low"], r["high"]),
                     r["p_adjusted"], r["seeds"])
                    for r in _rows(shown)
                ],
            )
        ],
        note="Learning rate and batch size are those with the lowest mean validation error. A seed "
        "has its own training examples; the test examples are taken as given. Sharpness falls with "
        "the training loss, too, which differs between optimizers (see the grid). All take the "
        "same number of epochs; a step of SAM computes two gradients.",
    )  # fmt: skip


def headline(tables: Tables) -> tuple[str, Sequence[str], Sequence[Sequence[Any]]]:
    """Return the table of the terminal: every optimizer at its best."""
    rows = [
        (NAMES[r["optimizer"]], r["batch_size"], f"{r['learning_rate']:g}",
         bracket(r["value"], r["low"], r["high"]), significant(r["sharpness"]))
        for r in _rows(tables["tuned"])
    ]  # fmt: skip
    return (
        "Tuned by validation",
        ("optimizer", "batch size", "learning rate", "test error", "sharpness"),
        rows,
    )
