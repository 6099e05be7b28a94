"""Curvature: are networks that SAM finds flatter, and do flatter networks err less?

Question: does sharpness, measured in every way of the literature, differ between SAM, SGD and Adam,
and does it predict the gap between networks?
"""

from absl import flags

from experiments import commandline, configuration, fields, relating, study, surfaces, trial
from experiments.configs import curvature as curvature_config
from genjax.metrics import complexity
from genjax.report import curvature as curvature_report
from genjax.report import measures as measures_report
from genjax.report import relation_words

FLAGS = flags.FLAGS
TITLE = "Are flat networks better?"


def main() -> None:
    """Train networks by several optimizers, measure their sharpness, relate it to their errors."""
    config, begun = FLAGS.config, study.begin()
    plain = configuration.as_plain(config)
    names = [m.name for m in complexity.select(tuple(config.measures.names))]
    ready = trial.prepare(config, curvature_config.get_config())
    fields.check_pictures(config)
    output = relating.opened(plain, ready, begun)
    if output is None:
        return
    population, rows, refused, found = relating.related(config, plain, ready, output)
    compared = curvature_report.compare(rows, config.statistics.level, names)
    pictures = surfaces.pictures(population, ready, config.pictures, config.seed)
    said = curvature_report.conclusions(compared, pictures)
    card = relating.card(plain, ready, begun, "complete")
    written = measures_report.write(
        output,
        found,
        refused,
        card,
        title=TITLE,
        sentences=said,
        sections=curvature_report.section(output, compared, pictures),
    )
    written["optimizers"] = output.write_csv("optimizers", compared)
    written["run card"] = output.write_run_card(card)
    relating.tell([*said, *relation_words.conclusions(found)], found, written)


if __name__ == "__main__":
    commandline.define_flags()
    commandline.launch("curvature", main)
