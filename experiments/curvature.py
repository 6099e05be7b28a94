"""Curvature: are networks that SAM finds flatter, and do flatter networks err less?

Question: does sharpness, measured in every way of the literature, differ between SAM, SGD and Adam,
and does it predict the gap between networks?
"""

import datetime
import sys
import time
from typing import Any

from absl import flags

from experiments import commandline, configuration, fields, measuring, stages, surfaces, trial
from experiments.configs import curvature as curvature_config
from genjax import report
from genjax.metrics import complexity
from genjax.report import curvature as curvature_report
from genjax.report import measures as measures_report
from genjax.report import relation_words

FLAGS = flags.FLAGS
TITLE = "Are flat networks better?"


def main() -> None:
    """Train networks by several optimizers, measure their sharpness, relate it to their errors."""
    config, started, begun = FLAGS.config, datetime.datetime.now(datetime.UTC), time.monotonic()
    plain = configuration.as_plain(config)
    names = [m.name for m in complexity.select(tuple(config.measures.names))]
    ready = trial.prepare(config, curvature_config.get_config())
    fields.check_pictures(config)
    output = report.storage.OutputFolder(FLAGS.output or f"results/{config.name}")
    if not FLAGS.overwrite and output.prepare(plain) == "complete":
        print(commandline.COMPLETE.format(output.path))
        return
    output.prepare(plain, overwrite=FLAGS.overwrite)
    if FLAGS.overwrite:
        stages.forget(output)
    output.write_run_card(_card(plain, ready, (started, begun), "partial"))
    population, rows, refused = measuring.fresh(config, plain, ready, output)
    settings = dict(config.statistics)
    weighted = settings.pop("hoeffding")
    examples = len(ready.test.labels) if weighted else None
    found = measuring.relate(rows, "metric.gap", test_examples=examples, **settings)
    compared = curvature_report.compare(rows, config.statistics.level, names)
    pictures = surfaces.pictures(population, ready, config.pictures, config.seed)
    said = curvature_report.conclusions(compared, pictures)
    card = _card(plain, ready, (started, begun), "complete")
    written = measures_report.write(
        output,
        found,
        refused,
        card,
        title=TITLE,
        sentences=said,
        sections=curvature_report.section(output, rows, compared, pictures),
    )
    written["optimizers"] = output.write_csv("optimizers", compared)
    written["run card"] = output.write_run_card(card)
    for sentence in [*said, *relation_words.conclusions(found)]:
        print(f"- {sentence}")
    report.terminal.summary_table(
        f"What predicts {found.target_name}",
        measures_report.INTERVAL_COLUMNS,
        measures_report.interval_rows(found),
    )
    report.terminal.paths(written)


def _card(config, source, times, status) -> dict[str, Any]:
    return report.provenance.run_card(
        config,
        data_fingerprint=source.train.fingerprint,
        seeds=list(range(source.sweep.seeds)),
        wall_times={"all": time.monotonic() - times[1]},
        command=" ".join(sys.argv),
        status=status,
        started=times[0],
    )


if __name__ == "__main__":
    commandline.define_flags()
    commandline.launch("curvature", main)
