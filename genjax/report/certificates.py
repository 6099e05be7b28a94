"""The page of certificates: bounds on the error, beside the test errors that they bound."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from genjax.report import figures_certificates, page
from genjax.report.page import Section, Table
from genjax.report.phrases import count, join, significant
from genjax.report.storage import OutputFolder

PAGE = "report.html"
STAYS = 1.0
"""Nats below which a posterior is said to stay at its prior."""


class Certified(NamedTuple):
    """One network, or stochastic network, with its bound: a row of the table.

    Attributes:
        method: how it was trained and certified.
        seed: of the start and of everything random.
        bound: on its error; it holds with probability `confidence`.
        test_error: on examples that took no part.
        holds: the test error is not above the bound.
        vacuous: the bound is 1 or more.
        below_guessing: it is below the error of guessing.
        train_error: on the examples that the bound is computed from.
        kl_nats: from the prior.
        num_examples: how many examples the bound is computed from.
        test_examples: how many are tested on.
        confidence: of the bound.
        learnt_prior: examples took part in the prior (others than those of the bound).
    """

    method: str
    seed: int
    bound: float
    test_error: float
    holds: bool
    vacuous: bool
    below_guessing: bool
    train_error: float
    kl_nats: float
    num_examples: int
    test_examples: int
    confidence: float
    learnt_prior: bool


def conclusions(rows: Sequence[Certified], guessing: float) -> list[str]:
    """Say whether the bounds hold, which is smallest, and what it rests on.

    Args:
        rows: one per network, at least one.
        guessing: error of guessing.

    Example:
        >>> row = Certified("a", 0, 0.3, 0.1, True, False, True, 0.1, 5.0, 500, 90, 0.95, False)
        >>> conclusions([row], 0.9)[0]
        'The bound holds: the test error of the one network is below it, on 90 test examples.'
    """
    sentences = [_holding(rows), _smallest(rows, guessing)]
    free = [row for row in rows if not row.learnt_prior]
    if 0 < len(free) < len(rows):
        sentences.append(_without_examples(free, guessing))
    return [*sentences, *_staying(rows), _confidence(rows)]


def by_method(rows: Sequence[Certified]) -> dict[str, list[Certified]]:
    """Return rows by method, in the order of their first appearance."""
    found: dict[str, list[Certified]] = {}
    for row in rows:
        found.setdefault(row.method, []).append(row)
    return found


def _holding(rows: Sequence[Certified]) -> str:
    failed = [f"{row.method} (seed {row.seed})" for row in rows if not row.holds]
    on = f"{rows[0].test_examples:,} test examples"
    if failed:
        some = f"{len(failed)} of {count(len(rows), 'bound')}"
        return f"{some} lie below the test error on {on}: {join(failed, most=5)}."
    if len(rows) == 1:
        return f"The bound holds: the test error of the one network is below it, on {on}."
    margins = [(row.bound - row.test_error) / _noise(row) for row in rows]
    seeds = len({row.seed for row in rows})
    return (
        f"All {len(rows)} bounds hold ({count(len(by_method(rows)), 'method')}, "
        f"{count(seeds, 'seed')}): every test error is below its bound, the closest by "
        f"{min(margins):.1f} of its standard errors on {on}."
    )


def _noise(row: Certified) -> float:
    """Return the standard error of a test error; that of one mistake where there is none."""
    share = min(max(row.test_error, 1 / row.test_examples), 1 - 1 / row.test_examples)
    return float(np.sqrt(share * (1 - share) / row.test_examples))


def _smallest(rows: Sequence[Certified], guessing: float) -> str:
    methods = by_method(rows)
    best = min(methods, key=lambda name: np.mean([row.bound for row in methods[name]]))
    chosen = methods[best]
    verdict = "below" if all(row.below_guessing for row in chosen) else "not always below"
    return (
        f"The smallest bound is that of {best}, {_range(chosen, 'bound')} for a test error of "
        f"{_range(chosen, 'test_error')}; it is {verdict} the {guessing:.3f} of guessing."
    )


def _without_examples(free: Sequence[Certified], guessing: float) -> str:
    parts = [f"{_range(own, 'bound')} by {name}" for name, own in by_method(free).items()]
    below = sum(row.below_guessing for row in free)
    return (
        f"With a prior that no example took part in, the bounds are {join(parts)}; {below} of "
        f"{len(free)} are below the {guessing:.3f} of guessing."
    )


def _staying(rows: Sequence[Certified]) -> list[str]:
    found = {
        name: max(row.kl_nats for row in own)
        for name, own in by_method(rows).items()
        if max(row.kl_nats for row in own) < STAYS
    }
    if not found:
        return []
    examples = next(row.num_examples for row in rows if row.method in found)
    return [
        f"The posterior of {join(list(found))} stays at its prior (KL at most "
        f"{significant(max(found.values()))} nats): these bounds say what {examples:,} examples "
        "kept aside say, and little more."
    ]


def _confidence(rows: Sequence[Certified]) -> str:
    shown = join([f"{c:g}" for c in sorted({round(row.confidence, 6) for row in rows})])
    return (
        f"Each bound holds with probability {shown} at least, taken by itself, over the draw of "
        "the examples; it says nothing about examples of another distribution."
    )


def _range(rows: Sequence[Certified], field: str) -> str:
    values = [getattr(row, field) for row in rows]
    if len(values) == 1:
        return f"{values[0]:.3f}"
    return f"{np.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def summary_table(rows: Sequence[Certified]) -> Table:
    """Return means over seeds, one row per method.

    Example:
        >>> row = Certified("a", 0, 0.3, 0.1, True, False, True, 0.1, 5.0, 500, 90, 0.95, False)
        >>> summary_table([row]).rows
        [['a', (0.3, 0.3, 0.3), 0.1, 0.1, 5.0, 500, '1 of 1']]
    """
    cells = []
    for name, own in by_method(rows).items():
        bounds = [row.bound for row in own]
        means = [
            float(np.mean([getattr(row, field) for row in own]))
            for field in ("test_error", "train_error", "kl_nats")
        ]
        held = f"{sum(row.holds for row in own)} of {len(own)}"
        spread = (float(np.mean(bounds)), min(bounds), max(bounds))
        cells.append([name, spread, *means, own[0].num_examples, held])
    columns = ("method", "bound", "test error", "train error", "KL", "examples", "holds")
    caption = "Means over seeds; brackets hold the smallest and the largest bound"
    return Table(caption, columns, cells, ("", "", "", "", "nats", "", ""))


def write(
    output: OutputFolder,
    rows: Sequence[Certified],
    guessing: float,
    card: Mapping[str, Any],
    *,
    title: str,
    descriptions: Sequence[str] = (),
) -> dict[str, pathlib.Path]:
    """Write table, figure and page; return the paths.

    Args:
        output: where to.
        rows: one per network.
        guessing: error of guessing.
        card: for the footer of the page.
        title: heading of the page.
        descriptions: how the methods work.
    """
    table = pd.DataFrame(list(rows))
    csv = output.write_csv("certificate", table)
    draw = figures_certificates.bounds_and_errors
    figure = output.write_figure(
        "certificate",
        draw(table, guessing),
        "Every network: its bound (square), the test error that it bounds (circle) and the error "
        "on the examples that it is computed from (bar). A bound holds where its square is right "
        "of the circle. Guessing is dashed.",
        narrow=draw(table, guessing, narrow=True),
    )
    cells = [list(row) for row in rows]
    sections = [
        Section("Bounds and test errors", descriptions, [figure], [summary_table(rows)]),
        Section("Every network", tables=[Table("One row per network", Certified._fields, cells)]),
    ]
    text = page.render(title, conclusions(rows, guessing), sections, card)
    return {"table": csv, "page": output.write_text(PAGE, text)}
