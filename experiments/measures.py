"""The zoo of complexity measures: which of them predict generalization?

Question: of everything that theory has offered to explain generalization, what predicts the error
of a population of networks, beyond their hyper-parameters?
"""

import datetime
import re
import sys
import time
from typing import Any

import pandas as pd
from absl import flags

import genjax
from experiments import commandline, configuration, trial
from genjax import report
from genjax.errors import InvalidInputError
from genjax.metrics import complexity, recorded
from genjax.report import measures as measures_report
from genjax.report import relation_words
from genjax.report import relations as relations_report
from genjax.statistics.relations import relate

FLAGS = flags.FLAGS
TITLE = "Which measure predicts generalization?"
SHOWN = ("measure", "tau", "granulated", "cmi", "sign_error_mean", "verdict")


def define_flags() -> None:
    """Define what is measured on which networks."""
    commandline.define_flags()
    flags.DEFINE_bool("list", False, "Show every measure, and do nothing else.")
    flags.DEFINE_list("names", None, "Measures, families, 'fast' or 'all'.")
    flags.DEFINE_string("run", None, "Folder of a stored run of experiments.benchmark to measure.")
    flags.DEFINE_integer("examples", 1000, "With --run: examples that measures read at most.", 1)


def main() -> None:
    """Measure a stored population, or train one, and say which measures predict its errors."""
    if FLAGS.list:
        measures_report.show(complexity.catalogue().values())
    elif FLAGS.run is not None:
        measure_stored()
    else:
        measure_fresh()


def measure_stored() -> None:
    """Add measures to the table of a stored run, and relate them to its errors."""
    named = [a for a in sys.argv if re.match("--?config(=|$)", a)]
    if named != [f"--config={commandline.CONFIGS / 'measures.py'}"]:  # what `launch` puts there
        raise InvalidInputError("config: with --run the configuration is that of the stored run.")
    started, begun = datetime.datetime.now(datetime.UTC), time.monotonic()
    names = tuple(FLAGS.names or ("fast",))
    complexity.select(names)  # refuses before the run is read
    stored, population, run = trial.stored(FLAGS.run)
    card = run.read_json("run.json")
    config = {
        "name": "measures",
        "run": str(run.path),
        "run_config": card["config_hash"],
        "names": list(names),
        "examples": FLAGS.examples,
    }
    output = report.storage.OutputFolder(FLAGS.output or run.path / "measures")
    if not FLAGS.overwrite and output.prepare(config) == "complete":
        print(commandline.COMPLETE.format(output.path))
        return
    output.prepare(config, overwrite=FLAGS.overwrite)
    measured, refused = _measure(config, population, stored, output, names, FLAGS.examples)
    rows = trial.with_measures(run.read_parquet("networks"), population, measured)
    run.write_parquet("networks", rows)
    run.write_run_card(card)  # its list of files knows their sizes
    target = "metric.practical_error" if "metric.practical_error" in rows else "metric.test_error"
    table = recorded.by_family_and_size(rows)
    draws = {"draws": 200, "permutations": 10_000, "level": 0.95}
    _relate(config, output, table, target, refused, draws, (started, begun))


def measure_fresh() -> None:
    """Train the population of a configuration, measure and relate it."""
    config, started, begun = FLAGS.config, datetime.datetime.now(datetime.UTC), time.monotonic()
    plain = configuration.as_plain(config)
    if FLAGS.names:
        plain["measures"]["names"] = list(FLAGS.names)
    names = tuple(plain["measures"]["names"])
    ready = trial.prepare(config)
    output = report.storage.OutputFolder(FLAGS.output or f"results/{config.name}")
    if not FLAGS.overwrite and output.prepare(plain) == "complete":
        print(commandline.COMPLETE.format(output.path))
        return
    output.prepare(plain, overwrite=FLAGS.overwrite)
    _write_card(plain, output, (started, begun), "partial")
    population = trial.train(config, ready, output)
    measured, refused = _measure(plain, population, ready, output, names, config.measures.examples)
    rows = trial.table(population, ready, measured)
    output.write_parquet("networks", rows)
    _relate(
        plain,
        output,
        trial.converged(rows),
        "metric.gap",
        refused,
        dict(config.statistics),
        (started, begun),
        len(ready.test.labels),
    )


def _measure(config, population, source, output, names, examples) -> tuple[pd.DataFrame, list]:
    mark = report.provenance.config_hash(
        {"config": config, "data": source.train.fingerprint, "version": genjax.__version__}
    )
    return trial.measure(population, source, output, names, examples=examples, mark=mark)


def _relate(
    config: dict[str, Any], output, table, target, refused, settings, times, test_examples=None
) -> None:
    """Relate measures to the target; write tables, figures and the page; say what came out."""
    with report.terminal.progress("statistics", "stages") as on_progress:
        found = relate(
            table,
            target=target,
            seed_column="seed",
            test_examples=test_examples,
            on_progress=on_progress,
            **settings,
        )
    card = _write_card(config, output, times, "complete")
    written = measures_report.write(output, found, refused, card, title=TITLE)
    written["run card"] = output.write_run_card(card)
    said = [*measures_report.conclusions(found, refused), *relation_words.conclusions(found)]
    for sentence in said:
        print(f"- {sentence}")
    kept = [relations_report.SUMMARY_COLUMNS.index(name) for name in SHOWN]
    rows = [[row[k] for k in kept] for row in relations_report.summary_rows(found)]
    report.terminal.summary_table(f"What predicts {target}", SHOWN, rows)
    report.terminal.paths(written)


def _write_card(config, output, times, status) -> dict[str, Any]:
    card = report.provenance.run_card(
        config,
        data_fingerprint="",
        seeds=[],
        wall_times={"all": time.monotonic() - times[1]},
        command=" ".join(sys.argv),
        status=status,
        started=times[0],
    )
    output.write_run_card(card)
    return card


if __name__ == "__main__":
    define_flags()
    commandline.launch("measures", main)
