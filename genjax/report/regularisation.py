"""The page of regularisers: main effects, interactions, and the best combination."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from genjax.report import figures_effects, layouts
from genjax.report.layers import of
from genjax.report.page import Section, Table
from genjax.report.phrases import bracket, count, join
from genjax.report.storage import OutputFolder

Tables = Mapping[str, Any]

_TITLES = {
    "test_error": "test error",
    "test_loss": "test cross-entropy, nats",
    "gap": "gap between test and training error, labels equally noisy",
}
CLEAR = 0.05
"""Largest adjusted p-value of an effect that is called one."""


def _rows(frame: Any) -> list[dict[str, Any]]:
    return frame.to_dict("records")


def _said(row: Mapping[str, Any]) -> str:
    amount = bracket(row["value"], row["low"], row["high"])
    return f"{row['factors'].replace('_', ' ')} ({amount})"


def conclusions(tables: Tables) -> list[str]:
    """Say what lowers the test error, what raises it, and what does not add up.

    Args:
        tables: as the experiment returns.
    """
    found = of(tables["effects"], outcome="test_error")
    if not np.isfinite(found["value"]).all():
        return ["Networks diverged in every seed: nothing can be said of regularisers."]
    main = of(found, order=1).sort_values("value")
    return [
        _on_main(main),
        _on_alone(tables["cells"]),
        _on_best(tables["cells"]),
        _on_interactions(of(found, order=2)),
        _on_others(tables["effects"]),
    ]


def _on_main(main: Any) -> str:
    clear = main["p_adjusted"] <= CLEAR
    lower, higher = main[clear & (main["value"] < 0)], main[clear & (main["value"] > 0)]
    rest = [name.replace("_", " ") for name in main[~clear]["factors"]]
    said = []
    if len(lower):
        said.append(f"the test error is lowered by {join([_said(r) for r in _rows(lower)])}")
    if len(higher):
        what = "it" if len(lower) else "the test error"
        said.append(f"{what} is raised by {join([_said(r) for r in _rows(higher)][::-1])}")
    if rest:
        said.append(f"no effect can be told of {join(rest)}")
    text = "; ".join(said)
    return f"Averaged over all combinations, {text} (Holm-adjusted for all effects)."


def _on_alone(cells: Any) -> str:
    """Say what every factor does where no other is on."""
    own = of(cells, factors=1).sort_values("change")
    verdicts = {"lowers": own["change_high"] < 0, "raises": own["change_low"] > 0}
    said = []
    for verb, which in verdicts.items():
        if which.any():
            each = [
                f"{r['combination'].replace('_', ' ')} "
                f"({bracket(r['change'], r['change_low'], r['change_high'])})"
                for r in _rows(own[which])
            ]
            said.append(f"{join(each)} {verb if len(each) == 1 else verb[:-1]} it")
    rest = own[~(verdicts["lowers"] | verdicts["raises"])]
    if len(rest):
        names = join([name.replace("_", " ") for name in rest["combination"]])
        said.append(f"no change can be told of {names}")
    return f"Alone, against no regulariser, {'; '.join(said)} (each by itself)."


def _on_best(cells: Any) -> str:
    row = _rows(cells.loc[[cells["validation_error"].idxmin()]])[0]
    none = _rows(of(cells, combination="none"))[0]
    name = row["combination"].replace("_", " ")
    plain = bracket(none["value"], none["low"], none["high"])
    if row["factors"] == 0:
        return f"By validation no regulariser at all is best: test error {plain}."
    change = bracket(row["change"], row["change_low"], row["change_high"])
    verdict = "cannot be told from none"
    if row["change_high"] < 0:
        verdict = "is better than none"
    elif row["change_low"] > 0:
        verdict = "is worse than none"
    return (
        f"By validation the best of {count(len(cells), 'combination')} is {name}; on test examples "
        f"it {verdict}: the error changes by {change} from {plain}."
    )


def _on_interactions(found: Any) -> str:
    if not len(found):
        return "One factor has no interactions."
    clear = found[found["p_adjusted"] <= CLEAR]
    if not len(clear):
        return f"None of {count(len(found), 'interaction')} of two can be told from adding up."
    strongest = _rows(clear.loc[[clear["value"].abs().idxmax()]])[0]
    sign = "higher" if strongest["value"] > 0 else "lower"
    return (
        f"{len(clear)} of {count(len(found), 'interaction')} of two can be told from adding up; "
        f"the strongest is {_said(strongest)}: with both the error is {sign} than the sum of what "
        "each does alone says."
    )


def _on_others(effects: Any) -> str:
    said = []
    for outcome in ("test_loss", "gap"):
        own = of(effects, outcome=outcome, order=1)
        title = _TITLES[outcome].partition(",")[0]
        clear = own[own["p_adjusted"] <= CLEAR]
        if not len(clear):
            said.append(f"no effect on the {title} can be told")
            continue
        lowest = _rows(clear.loc[[clear["value"].idxmin()]])[0]
        if lowest["value"] < 0:
            said.append(f"the {title} is lowered most by {_said(lowest)}")
        else:
            said.append(f"nothing lowers the {title}")
    return f"Besides, {join(said)}."


def sections(output: OutputFolder, tables: Tables) -> list[Section]:
    """Return the sections of the page, their figures written.

    Args:
        output: the folder.
        tables: as the experiment returns.
    """
    found = tables["effects"]
    made = [_effects_section(output, of(found, outcome=o), o) for o in dict.fromkeys(_TITLES)]
    cells = tables["cells"].sort_values("value")
    made.append(
        Section(
            "All combinations",
            tables=[
                Table(
                    "Test error, lowest first",
                    ("combination", "validation error", "test error", "change from none"),
                    [
                        (r["combination"].replace("_", " "), r["validation_error"],
                         (r["value"], r["low"], r["high"]),
                         (r["change"], r["change_low"], r["change_high"]))
                        for r in _rows(cells)
                    ],
                )
            ],
            note="The lowest of many test errors is too low by chance; the sentence above chooses "
            "by validation error. Early stopping sees labels that no other regulariser sees: half "
            "of the validation examples, labels as noisy as in training; the other half chooses.",
        )
    )  # fmt: skip
    return made


def _effects_section(output: OutputFolder, found: Any, outcome: str) -> Section:
    shown = found.assign(name=[name.replace("_", " ") for name in found["factors"]])
    draw = functools.partial(figures_effects.effects, xlabel=f"effect on the {_TITLES[outcome]}")
    return Section(
        f"Effects on the {_TITLES[outcome]}",
        figures=layouts.draw(
            output, f"effects_{outcome}", draw, shown,
            caption="Main effects and interactions of two; lines are intervals over seeds.",
        ),
        tables=[
            Table(
                "Effects",
                ("factors", "effect", "adjusted p", "seeds"),
                [
                    (r["name"], (r["value"], r["low"], r["high"]), r["p_adjusted"], r["blocks"])
                    for r in _rows(shown)
                ],
            )
        ],
        note="Main effect: mean with the factor minus mean without it. Interaction: half of how "
        "much one factor's effect changes when the other is on. Intervals are of each effect by "
        "itself, p-values adjusted for all, over the seeds of which no network diverged.",
    )  # fmt: skip


def headline(tables: Tables) -> tuple[str, Sequence[str], Sequence[Sequence[Any]]]:
    """Return the table of the terminal: main effects."""
    found = tables["effects"]
    names = dict.fromkeys(of(found, order=1)["factors"])
    rows = []
    for name in names:
        own = of(found, factors=name)
        cells = [_rows(of(own, outcome=outcome))[0] for outcome in _TITLES]
        rows.append((name, *(bracket(r["value"], r["low"], r["high"]) for r in cells)))
    return "Main effects", ("factor", *_TITLES), rows
