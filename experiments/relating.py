"""A population trained, measured and related to its gaps: shared by measures and curvature."""

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import pandas as pd

from experiments import measuring, study
from experiments.trial import Trial
from genjax import report
from genjax.metrics.complexity import Refused
from genjax.report import measures as measures_report
from genjax.report.storage import OutputFolder
from genjax.statistics.relations import Relations
from genjax.training import Population


class Related(NamedTuple):
    """What came out.

    Attributes:
        population: all networks.
        rows: one per network that converged.
        refused: measures without a value, by these rows.
        found: how measures relate to the gap.
    """

    population: Population
    rows: pd.DataFrame
    refused: list[Refused]
    found: Relations


def card(
    config: Mapping[str, Any],
    source: Trial,
    begun: study.Begun,
    status: Literal["partial", "complete"],
) -> dict[str, Any]:
    """Return the run card of a trial."""
    seconds = {"all": time.monotonic() - begun.clock}
    return report.provenance.run_card(
        config, **_known(source, begun), wall_times=seconds, status=status
    )


def _known(source: Trial, begun: study.Begun) -> dict[str, Any]:
    return {
        "data_fingerprint": source.train.fingerprint,
        "seeds": list(range(source.sweep.seeds)) if source.sweep else [],
        "command": " ".join(sys.argv),
        "started": begun.started,
    }


def opened(plain: Mapping[str, Any], ready: Trial, begun: study.Begun) -> OutputFolder | None:
    """Return the folder of a run, its card saying that it is partial; None if it is complete."""
    return study.opened(plain, _known(ready, begun))


def related(config: Any, plain: Mapping[str, Any], ready: Trial, output: OutputFolder) -> Related:
    """Train, measure, and relate measures to the gap.

    Args:
        config: fields as in configs/measures.py.
        plain: the same as written to the run card.
        ready: from `trial.prepare`.
        output: from `opened`.
    """
    population, rows, refused = measuring.fresh(config, plain, ready, output)
    settings = dict(config.statistics)
    examples = len(ready.test.labels) if settings.pop("hoeffding") else None
    found = measuring.relate(rows, "metric.gap", test_examples=examples, **settings)
    return Related(population, rows, refused, found)


def tell(sentences: Sequence[str], found: Relations, written: Mapping[str, Any]) -> None:
    """Print sentences, every measure with its intervals, and what was written where."""
    for sentence in sentences:
        print(f"- {sentence}")
    report.terminal.summary_table(
        f"What predicts {found.target_name}",
        measures_report.INTERVAL_COLUMNS,
        measures_report.interval_rows(found),
    )
    report.terminal.paths(written)
