"""The main job: train a population or load one, measure the practical metric, report.

Question: which family of networks generalizes better, over model size, robustness and share of
novel classes, how sure is that, and which measure of a network predicts it?
"""

import datetime
import pathlib
import sys
import time

from absl import flags

from experiments import commandline, configuration, measuring, stages
from genjax import report
from genjax.report import measures as measures_report
from genjax.report import networks, relation_words
from genjax.report import relations as relations_report
from genjax.statistics import analysis as analyses

FLAGS = flags.FLAGS
TITLE = "The practical generalization metric"
COMPLETE = commandline.COMPLETE


def main() -> None:
    """Run every stage that is not done yet, and say what came out."""
    config = stages.resolved(FLAGS.config)
    plain = configuration.as_plain(config)
    output = report.storage.OutputFolder(FLAGS.output or f"results/{config.name}")
    if not FLAGS.overwrite and output.prepare(plain) == "complete":
        print(COMPLETE.format(output.path))
        return
    # Nothing is written or thrown away before the whole configuration is known to work.
    ready = stages.prepare(config)
    if FLAGS.overwrite:
        output.prepare(plain, overwrite=True)
        stages.forget(output)
    started = datetime.datetime.now(datetime.UTC)
    card = {
        "config": plain,
        "data_fingerprint": ready.plan.examples.fingerprint,
        "seeds": list(range(config.sweep.seeds)) if stages.trains(config) else [],
        "wall_times": {},
        "command": " ".join(sys.argv),
        "started": started,
    }
    output.write_run_card(report.provenance.run_card(**card))
    measured = stages.train_and_measure(config, ready, output)

    begun = time.monotonic()
    found = analyses.analyse(
        measured.cells,
        {p.name: p.description for p in measured.plan.protocols},
        draws=config.statistics.draws,
        level=config.statistics.level,
        seed=config.seed,
    )
    card["wall_times"] = {**measured.seconds, "analyse": time.monotonic() - begun}
    begun = time.monotonic()
    table, refused = stages.measure_networks(config, measured, output)
    card["wall_times"]["measures"] = time.monotonic() - begun
    begun = time.monotonic()
    related = measuring.relate_population(config, table)
    card["wall_times"]["relate"] = time.monotonic() - begun
    written = write(output, measured, found, related, refused, card)
    summarise(measured.population, found, related, output, written)


def conclusions(population, found, related) -> list[str]:
    """Return what is said below the conclusions of the metric.

    Of networks trained elsewhere the question is whether what was published holds for them, too.
    """
    elsewhere = any(group.training is None for group in population.groups)
    shapes = report.words.shapes(found.families) if elsewhere else []
    said = [related] if isinstance(related, str) else relation_words.conclusions(related)
    return [*shapes, *said]


def write(output, measured, found, related, refused, card):
    """Write tables, figures, the page, and the run card last."""
    begun = time.monotonic()
    sections, tables = [], {}
    if not isinstance(related, str):
        sections = relations_report.section(output, related)
        tables = relations_report.write_tables(output, related)
    if refused:
        sections = [*sections, measures_report.refusals(refused)]
    output.write_parquet("protocols.parquet", found.protocols)
    output.write_parquet("intervals.parquet", analyses.all_intervals(found))
    complete = report.provenance.run_card(**card, status="complete")
    written = report.practical.write_population(
        output,
        found,
        measured.population,
        measured.bed,
        measured.plan.protocols,
        complete,
        title=f"{TITLE}: {measured.plan.examples.name}",
        sentences=conclusions(measured.population, found, related),
        sections=sections,
    )
    written = {**tables, **written}
    card["wall_times"]["report"] = time.monotonic() - begun
    card["ended"] = datetime.datetime.now(datetime.UTC)
    written["run card"] = output.write_run_card(
        report.provenance.run_card(**card, status="complete")
    )
    return written


def summarise(population, found, related, output, written) -> None:
    """Print the conclusions, short tables and the paths."""
    warnings = networks.training_sentences(population)
    said = conclusions(population, found, related)
    for sentence in [*warnings, *report.words.conclusions(found), *said]:
        print(f"- {sentence}")
    table = report.practical.grand_means_table(found.families)
    kept = [0, 1, 4, 7, 8]
    rows = [
        [row[i] if i == 0 else report.practical.with_interval(row[i]) for i in kept]
        for row in table.rows
    ]
    report.terminal.summary_table(table.caption, [table.columns[i] for i in kept], rows)
    if not isinstance(related, str):
        rows = relations_report.summary_rows(related)
        caption = f"What predicts the mean error over all cells ({related.target_name})"
        report.terminal.summary_table(caption, relations_report.SUMMARY_COLUMNS, rows)
    names = ("networks.parquet", "practical.nc", "intervals.parquet", "protocols.parquet")
    tables = {pathlib.Path(name).stem: output.path / name for name in names}
    report.terminal.paths({**tables, **written})


if __name__ == "__main__":
    commandline.define_flags()
    commandline.launch("benchmark", main)
