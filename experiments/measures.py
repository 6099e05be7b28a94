"""The zoo of complexity measures: which of them predict generalization?

Question: of everything that theory has offered to explain generalization, what predicts the error
of a population of networks, beyond their hyper-parameters?
"""

import re
import sys

from absl import flags

from experiments import commandline, configuration, measuring, relating, study, trial
from genjax import report
from genjax.errors import InvalidInputError
from genjax.metrics import complexity, recorded
from genjax.report import measures as measures_report
from genjax.report import relation_words

FLAGS = flags.FLAGS
TITLE = "Which measure predicts generalization?"


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
    begun = study.begin()
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
    measured, refused = measuring.measure(
        population, stored, output, names, examples=FLAGS.examples, config=config
    )
    rows = measuring.with_measures(run.read_parquet("networks"), measured)
    run.write_parquet("networks", rows)
    run.write_run_card(card)  # its list of files knows their sizes
    target = "metric.practical_error" if "metric.practical_error" in rows else "metric.test_error"
    table = recorded.by_family_and_size(rows)
    found = measuring.relate(table, target, draws=200, permutations=10_000, level=0.95)
    _report(config, output, found, refused, stored, begun)


def measure_fresh() -> None:
    """Train the population of a configuration, measure and relate it."""
    config, begun = FLAGS.config, study.begin()
    plain = configuration.as_plain(config)
    if FLAGS.names:
        plain["measures"]["names"] = list(FLAGS.names)
    complexity.select(tuple(plain["measures"]["names"]))
    ready = trial.prepare(config)
    output = relating.opened(plain, ready, begun)
    if output is None:
        return
    _, _, refused, found = relating.related(config, plain, ready, output)
    _report(plain, output, found, refused, ready, begun)


def _report(config, output, found, refused, source, begun) -> None:
    """Write tables, figures and the page, the run card last; say what came out."""
    card = relating.card(config, source, begun, "complete")
    written = measures_report.write(output, found, refused, card, title=TITLE)
    written["run card"] = output.write_run_card(card)
    said = [*measures_report.conclusions(found, refused), *relation_words.conclusions(found)]
    relating.tell(said, found, written)


if __name__ == "__main__":
    define_flags()
    commandline.launch("measures", main)
