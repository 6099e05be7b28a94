"""The page of lottery tickets: errors of sparse networks, and whether the start matters."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from genjax.report import figures_series, layouts
from genjax.report.figures_series import Axes
from genjax.report.layers import of
from genjax.report.page import Section, Table
from genjax.report.phrases import bracket, count, significant
from genjax.report.storage import OutputFolder

Tables = Mapping[str, Any]
LIMIT = 0.05
"""Above this p-value, Holm over sparsities, kinds of networks cannot be told apart."""
WINNING, NEW_START, RANDOM = "winning ticket", "mask with a new start", "random mask"


def _rows(frame: Any) -> list[dict[str, Any]]:
    return frame.to_dict("records")


def _percent(kept: float) -> str:
    return f"{100 * kept:.3g}%"


def conclusions(tables: Tables, seeds: int) -> list[str]:
    """Say whether tickets win, against what, and how small they may be.

    Args:
        tables: as the experiment returns.
        seeds: networks of every kind.
    """
    apart, errors = tables["differences"], tables["errors"]
    lost = int((tables["networks"]["test_error"].isna()).sum())
    said = [
        _on_kind(of(apart, against=NEW_START), "the same masks with new starts", seeds),
        _on_kind(of(apart, against=RANDOM), "random masks with the same starts", seeds),
        _on_dense(of(apart, against="dense network"), errors),
    ]
    if lost:
        said.append(f"{count(lost, 'network')} diverged and are left out, in pairs.")
    return said


def _on_kind(apart: Any, others: str, seeds: int) -> str:
    """Return where tickets err less than others of their size, the largest difference first."""
    sure = apart[(apart["holm_p"] <= LIMIT) & (apart["value"] > 0)]
    worse = apart[(apart["holm_p"] <= LIMIT) & (apart["value"] < 0)]
    tested = f"of {count(len(apart), 'sparsity').replace('sparsitys', 'sparsities')}"
    if not len(sure):
        said = f"Winning tickets do not beat {others} at any {tested}"
        ends = apart.loc[apart["value"].astype(float).idxmax()]
        difference = bracket(ends["value"], ends["low"], ends["high"])
        said += f": the largest difference of test errors is {difference}"
    else:
        best = sure.loc[sure["value"].astype(float).idxmax()]
        said = (
            f"Winning tickets beat {others} at {len(sure)} {tested}, most at "
            f"{_percent(best['kept'])} of the weights: their test error is smaller by "
            f"{bracket(best['value'], best['low'], best['high'])} (paired over {seeds} starts, "
            f"Holm p = {significant(best['holm_p'])})"
        )
    if len(worse):
        said += f", and are beaten at {len(worse)}"
    return f"{said}."


def _on_dense(apart: Any, errors: Any) -> str:
    """Return down to which size tickets are not worse than the networks they come from."""
    dense = _rows(of(errors, round=0, kind=WINNING, quantity="test_error"))[0]
    base = f"{bracket(dense['value'], dense['low'], dense['high'])} for the dense networks"
    better = apart[(apart["holm_p"] <= LIMIT) & (apart["value"] > 0)]
    ordered = _rows(apart.sort_values("kept", ascending=False))
    held = []
    for row in ordered:
        if row["holm_p"] <= LIMIT and row["value"] < 0:
            break
        held.append(row)
    if not held:
        return f"Already the first round of pruning costs test error ({base})."
    last = held[-1]
    said = (
        f"Down to {_percent(last['kept'])} of the weights a loss of the tickets against the dense "
        f"networks cannot be told (test error {base})"
    )
    if len(better):
        best = better.loc[better["value"].astype(float).idxmax()]
        said += (
            f"; at {_percent(best['kept'])} they are better, by "
            f"{bracket(best['value'], best['low'], best['high'])}"
        )
    return f"{said}."


def sections(output: OutputFolder, tables: Tables) -> list[Section]:
    """Return the sections of the page, their figures written.

    Args:
        output: the folder.
        tables: as the experiment returns.
    """
    errors = tables["errors"]
    shown = [f"{float(f'{100 * k:.2g}'):g}" for k in dict.fromkeys(errors["kept"])]
    ticks = dict(zip(dict.fromkeys(errors["kept"]), shown, strict=True))
    drawn = pd.concat(
        [
            of(errors, quantity=quantity).assign(panel=panel)
            for quantity, panel in (("test_error", "test"), ("train_error", "training"))
        ]
    )
    axes = Axes("kept", "weights kept, %", "error", by="kind", panel="panel", log="x", ticks=ticks)
    cells = [
        (r["kept"], r["kind"], r["quantity"].replace("_", " "),
         (r["value"], r["low"], r["high"]), r["seeds"])
        for r in _rows(errors)
    ]  # fmt: skip
    against = Axes(
        "kept", "weights kept, %", "test error minus that of the ticket", by="against", log="x",
        lines={"no difference": 0.0}, ticks=ticks,
    )  # fmt: skip
    pairs = [
        (r["kept"], r["against"], (r["value"], r["low"], r["high"]), r["p"], r["holm_p"])
        for r in _rows(tables["differences"])
    ]
    return [
        Section(
            "Errors against sparsity",
            figures=layouts.draw(
                output, "errors", functools.partial(figures_series.series, axes=axes), drawn,
                caption="Errors of sparse networks; bands are Student's intervals over starts.",
            ),
            tables=[
                Table("Errors", ("kept", "kind", "quantity", "value", "networks"), cells)
            ],
            note="Every layer is pruned by itself, biases are kept. The three kinds of a seed have "
            "as many weights in every layer and see the same batches.",
        ),
        Section(
            "Is it the mask or the start?",
            figures=layouts.draw(
                output, "differences", functools.partial(figures_series.series, axes=against),
                tables["differences"],
                caption="How much more others err than winning tickets, paired by start.",
            ),
            tables=[
                Table(
                    "Differences to winning tickets",
                    ("kept", "against", "test error of the other minus the ticket's", "p",
                     "Holm p"),
                    pairs,
                )
            ],
        ),
    ]  # fmt: skip


def headline(tables: Tables) -> tuple[str, Sequence[str], Sequence[Sequence[Any]]]:
    """Return the table of the terminal."""
    own = of(tables["errors"], quantity="test_error")
    rows = []
    for kept in dict.fromkeys(own["kept"]):
        cells = {r["kind"]: r for r in _rows(of(own, kept=kept))}
        written = [
            bracket(cells[k]["value"], cells[k]["low"], cells[k]["high"])
            for k in (WINNING, NEW_START, RANDOM)
        ]
        rows.append((_percent(kept), *written))
    return "Test errors", ("kept", WINNING, NEW_START, RANDOM), rows
