"""The page of transfer: errors on new tasks over their size, and what predicts them."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from genjax.report import figures_series, layouts
from genjax.report.figures_series import Axes
from genjax.report.layers import groups, of
from genjax.report.page import Section, Table
from genjax.report.phrases import bracket, count, significant
from genjax.report.storage import OutputFolder

Tables = Mapping[str, Any]
LIMIT = 0.05
"""Above this p-value, Holm over what is compared together, nothing is told apart."""
SCRATCH, PROBE, TUNED = "from scratch", "linear probe", "fine-tuned"
USES = {PROBE: "probing", TUNED: "fine-tuning"}
SOURCE_ERROR = "source test error"


def _rows(frame: Any) -> list[dict[str, Any]]:
    return frame.to_dict("records")


def _interval(row: Any) -> str:
    return bracket(row["value"], row["low"], row["high"])


def conclusions(tables: Tables) -> list[str]:
    """Say what pretraining buys on every task, how to use it, and what predicts the error.

    Args:
        tables: as the experiment returns.
    """
    apart = tables["differences"]
    tasks = list(dict.fromkeys(apart["task"]))
    said = []
    for task in tasks:
        own = of(apart, task=task)
        said += [_on_pretraining(of(own, a=SCRATCH, b=use), use, task) for use in (TUNED, PROBE)]
        said.append(_on_use(of(own, a=PROBE, b=TUNED), task))
    for (task, method), own in groups(tables["relations"], ["task", "method"]):
        said.append(_on_measures(own, f"{USES[method]} on {task}"))
    lost = int(tables["seeds"]["test_error"].isna().sum())
    if lost:
        said.append(f"{count(lost, 'mean')} over settings miss, since networks diverged.")
    return said


def _on_pretraining(apart: Any, use: str, task: str) -> str:
    """Return at which sizes pretraining helps: errors from scratch minus those with it."""
    rows = _rows(apart.sort_values("n"))
    better = [r["n"] for r in rows if r["holm_p"] <= LIMIT and r["value"] > 0]
    worse = [r["n"] for r in rows if r["holm_p"] <= LIMIT and r["value"] < 0]
    first, last = rows[0], rows[-1]
    said = (
        f"On {task}, training from scratch minus {USES[use]} the pretrained network is "
        f"{_interval(first)} in test error with {first['n']} examples and {_interval(last)} with "
        f"{last['n']}"
    )
    if not better and not worse:
        return f"{said}: that {USES[use]} helps cannot be told."
    verdicts = [f"helps at {len(better)} of {count(len(rows), 'size')}"] if better else []
    verdicts += [f"harms at {len(worse)} of {count(len(rows), 'size')}"] if worse else []
    return f"{said}: {USES[use]} {' and '.join(verdicts)}."


def _on_use(apart: Any, task: str) -> str:
    """Return whether to probe or to tune: the error of the probe minus that of the tuned."""
    parts = []
    for row in _rows(apart.sort_values("n")):
        name = "cannot be told"
        if row["holm_p"] <= LIMIT:
            name = "fine-tuning" if row["value"] > 0 else "probing"
        parts.append(f"{name} with {row['n']} ({_interval(row)})")
    return f"On {task} the smaller test error is that of: {'; '.join(parts)}."


def _on_measures(own: Any, target: str) -> str:
    measures = own[own["measure"] != SOURCE_ERROR]
    base = _rows(own[own["measure"] == SOURCE_ERROR])
    known = f" (the source test error: {_interval(base[0])})" if base else ""
    if not len(measures):
        return f"No measure varies over the pretrained networks, so none is related to {target}."
    sure = measures[measures["holm_p"] <= LIMIT]
    if not len(sure):
        return (
            f"That any of {count(len(measures), 'measure')} predicts the error of {target} cannot "
            f"be told{known}."
        )
    best = sure.loc[sure["value"].abs().astype(float).idxmax()]
    name = str(best["measure"]).removeprefix("measure.")
    return (
        f"Of {count(len(measures), 'measure')} {len(sure)} "
        f"{'is' if len(sure) == 1 else 'are'} related to the error of {target}, "
        f"most {name}: Kendall's tau {_interval(best)}, Holm p = {significant(best['holm_p'])}"
        f"{known}."
    )


def sections(output: OutputFolder, tables: Tables) -> list[Section]:
    """Return the sections of the page, their figures written.

    Args:
        output: the folder.
        tables: as the experiment returns.
    """
    sizes = dict.fromkeys(tables["errors"]["n"])
    axes = Axes(
        "n", "examples of the new task", "test error", by="method", panel="task", log="x",
        ticks={float(n): str(n) for n in sizes},
    )  # fmt: skip
    cells = [
        (r["task"], r["n"], r["method"], (r["value"], r["low"], r["high"]))
        for r in _rows(tables["errors"])
    ]
    pairs = [
        (r["task"], r["n"], r["a"], r["b"], (r["value"], r["low"], r["high"]), r["holm_p"])
        for r in _rows(tables["differences"])
    ]
    related = [
        (r["measure"].removeprefix("measure."), r["task"], r["method"],
         (r["value"], r["low"], r["high"]), r["p"], r["holm_p"], r["settings"])
        for r in _rows(tables["relations"])
    ]  # fmt: skip
    return [
        Section(
            "Errors on new tasks",
            figures=layouts.draw(
                output, "errors", functools.partial(figures_series.series, axes=axes),
                tables["errors"],
                caption="Test errors over the number of examples of the new task; bands are "
                "intervals over seeds.",
            ),
            tables=[
                Table("Means over seeds", ("task", "examples", "method", "test error"), cells),
                Table("Differences, paired by seed",
                      ("task", "examples", "a", "b", "error of a minus b", "Holm p"), pairs),
            ],
            note="Errors of a seed are means over the settings of pretraining. Novel classes get a "
            "new head; for shifted images the head of pretraining is trained further.",
        ),
        Section(
            "What predicts transfer",
            tables=[
                Table(
                    "Kendall's tau with the test error, mean over sizes",
                    ("measure", "task", "method", "tau", "p", "Holm p", "settings"),
                    related,
                )
            ],
            note="Over settings of pretraining, means over seeds. Intervals draw settings with "
            "replacement, p-values permute them. Few settings make intervals rough.",
        ),
    ]  # fmt: skip


def headline(tables: Tables) -> tuple[str, Sequence[str], Sequence[Sequence[Any]]]:
    """Return the table of the terminal."""
    rows = []
    for (task, size), own in groups(tables["errors"], ["task", "n"]):
        cells = {r["method"]: _interval(r) for r in _rows(own)}
        rows.append((task, size, *(cells[m] for m in (SCRATCH, PROBE, TUNED))))
    return "Test errors", ("task", "examples", SCRATCH, PROBE, TUNED), rows
