"""Which measure predicts the target? Every statistic of the literature, on anybody's table.

Question: does a measure of networks predict how well they generalize, beyond their
hyper-parameters, and more than the best of as many measures does by chance?
"""

import datetime
import hashlib
import pathlib
import sys
import time
from typing import Any

from absl import flags

from experiments import commandline
from genjax import report
from genjax.report import relation_words
from genjax.report import relations as relations_report
from genjax.statistics import tables
from genjax.statistics.relations import Relations, relate

FLAGS = flags.FLAGS
READING = ("target", "measures", "hparam_prefix", "measure_prefix", "controls", "seed_column")
SHOWN = ("measure", "tau", "granulated", "verdict")  # what 80 columns hold
COMPUTING = ("test_examples", "draws", "permutations", "level", "seed")


def define_flags() -> None:
    """Define what says how to read the table and what to compute."""
    commandline.define_flags(config=False)
    flags.DEFINE_string("table", None, "CSV or Parquet file, one row per network.", required=True)
    flags.DEFINE_string("target", None, "Column of what is to be predicted.", required=True)
    flags.DEFINE_list("measures", None, "Columns of the measures; default: all with the prefix.")
    flags.DEFINE_string("hparam_prefix", "hp.", "What names of hyper-parameters start with.")
    flags.DEFINE_string("measure_prefix", "measure.", "What names of measures start with.")
    flags.DEFINE_list("controls", None, "Columns to control for; default: all hyper-parameters.")
    flags.DEFINE_string("seed_column", None, "Column that tells repeats of a configuration apart.")
    flags.DEFINE_integer(
        "test_examples", None, "Size of the test set; weights sign errors by its noise.", 1
    )
    flags.DEFINE_integer("draws", 1000, "Draws of the bootstrap.", 1)
    flags.DEFINE_integer("permutations", 10_000, "Permutations for p-values.", 1)
    flags.DEFINE_float("level", 0.95, "Nominal coverage of intervals.")
    flags.DEFINE_integer("seed", 0, "Seed of the draws.", 0)
    flags.register_validator("level", lambda x: 0 < x < 1, "it must be between 0 and 1.")


def main() -> None:
    """Read the table, compute everything, write it and say what came out."""
    started = datetime.datetime.now(datetime.UTC)
    reading: dict[str, Any] = {name: FLAGS[name].value for name in READING}
    computing: dict[str, Any] = {name: FLAGS[name].value for name in COMPUTING}
    path = pathlib.Path(FLAGS.table).expanduser()
    table = tables.read_table(path)
    tables.measured_networks(table, **reading)  # refuses before anything is written
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    config = {"name": "relate", "table": FLAGS.table, "table_digest": digest}
    config |= {**reading, **computing}
    output = report.storage.OutputFolder(FLAGS.output or f"results/relate_{path.stem}")
    if not FLAGS.overwrite and output.prepare(config) == "complete":
        print(commandline.COMPLETE.format(output.path))
        return
    begun = time.monotonic()
    with report.terminal.progress("statistics", "stages") as on_progress:
        found = relate(table, **reading, **computing, on_progress=on_progress)
    if FLAGS.overwrite:  # only now: what cannot be computed throws nothing away
        output.prepare(config, overwrite=True)
    card = report.provenance.run_card(
        config,
        data_fingerprint=digest,
        seeds=[],
        wall_times={"statistics": time.monotonic() - begun},
        command=" ".join(sys.argv),
        status="complete",
        started=started,
    )
    title = f"Which measure predicts {FLAGS.target}? {path.name}"
    written = relations_report.write(output, found, card, title=title)
    written["run card"] = output.write_run_card(card)
    for sentence in relation_words.conclusions(found):
        print(f"- {sentence}")
    summarise(found)
    report.terminal.paths(written)


def summarise(found: Relations) -> None:
    """Print the strongest measures; all columns are in relations.csv."""
    kept = [relations_report.SUMMARY_COLUMNS.index(name) for name in SHOWN]
    rows = [[row[k] for k in kept] for row in relations_report.summary_rows(found)]
    shown = len(rows) if len(rows) == len(found.table) else f"{len(rows)} of {len(found.table)}"
    report.terminal.summary_table(f"{found.target_name}: {shown} measures", SHOWN, rows)


if __name__ == "__main__":
    define_flags()
    commandline.launch("relate", main)
