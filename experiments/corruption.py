"""How often does a network that was trained elsewhere err on shifted images?

Question: which shift hurts most at equal average SSIM, and how sure is that?
"""

import datetime
import itertools
import os
import pathlib
import sys
import time
from typing import Any

import jax
import xarray as xr
from absl import flags

from experiments import commandline, foreign
from genjax import data, report
from genjax.data import shifts, splits
from genjax.errors import InvalidInputError
from genjax.metrics import shift_errors
from genjax.report import corruption as corruption_report
from genjax.report.corruption_published import Published, read_published

FLAGS = flags.FLAGS
SHIFTS = [name for name in shifts.names() if name != "autoencoder"]  # it needs training images
LEVELS = ["1", "0.95", "0.9", "0.85", "0.8", "0.75", "0.7", "0.65", "0.6"]
DATA_SETS = {10: "cifar10", 100: "cifar100"}


def define_flags() -> None:
    """Define network, data, and which shifts at which levels."""
    commandline.define_flags(config=False)
    foreign.define_flags()
    flags.DEFINE_integer("examples", 2000, "How many, drawn at random class by class.", 1)
    flags.DEFINE_list("levels", LEVELS, "Average SSIM of each level; 1 is untouched.")
    flags.DEFINE_list("shifts", SHIFTS, "Names of shifts.")
    flags.DEFINE_integer("seed", 0, "Of the examples drawn, the noise and the intervals.", 0)
    flags.DEFINE_string("published", None, "Folder of RobustBench's tables to show beside.")


def chosen_levels() -> list[float]:
    """Return the levels, the untouched one first."""
    try:
        levels = sorted({float(text) for text in FLAGS.levels}, reverse=True)
    except ValueError:
        levels = []
    if not levels or not all(0 < level <= 1 for level in levels):
        raise InvalidInputError(
            f"levels: found '{','.join(FLAGS.levels)}'; allowed are numbers above 0 and up to 1, "
            "separated by commas."
        )
    return levels


def published(classes: int) -> Published | None:
    """Return the published networks of the data set with as many classes, where there are any."""
    asked, home = FLAGS.published, os.environ.get("GENJAX_DATA_DIR")
    folder = asked or (home and str(pathlib.Path(home) / "published" / "robustbench"))
    if classes in DATA_SETS and folder and (asked or pathlib.Path(folder).is_dir()):
        return read_published(folder, DATA_SETS[classes])
    if asked:
        raise InvalidInputError(
            f"published: tables are of CIFAR-10-C and CIFAR-100-C, and the network has {classes} "
            "classes; leave the flag out."
        )
    return None


def subset(examples: data.Examples | data.StreamedExamples) -> data.Examples:
    """Return as many examples as were asked for, every class in proportion: files may be sorted."""
    size = min(FLAGS.examples, len(examples))
    return examples.take(splits.nested_subsets(examples, [size], seed=FLAGS.seed)[0])


def measure(
    output: report.storage.OutputFolder,
    given: foreign.Given,
    examples: data.Examples,
    changes: list[shifts.Shift],
    levels: list[float],
    card: dict[str, Any],
) -> xr.Dataset:
    """Measure shift by shift and save each; what an earlier run of this command saved is read."""
    run, parts, total = report.provenance.config_hash(card["config"]), [], len(changes)
    with report.terminal.progress("calibrating", "levels") as advance:
        for number, change in enumerate(changes):
            file, done = f"shifts/{change.name}.nc", itertools.count(number * len(levels) + 1)
            saved = output.read_netcdf(file) if output.exists(file) else None
            if saved is None or saved.attrs.get("run") != run:
                saved = shift_errors.shift_outcomes(
                    given.loaded.network,
                    given.loaded.params,
                    examples,
                    change,
                    levels,
                    jax.random.key(FLAGS.seed),
                    batch_size=FLAGS.batch_size,
                    on_progress=lambda name, ssim, done=done: advance(
                        next(done), total * len(levels), f"{name} at SSIM {ssim:.2f}"
                    ),
                ).assign_attrs(run=run)
                output.write_netcdf(file, saved)
                output.write_run_card(report.provenance.run_card(**card, wall_times={}))
            parts.append(saved)
            advance((number + 1) * len(levels), total * len(levels), change.name)
    return shift_errors.combine(parts)


def main() -> None:
    """Measure, write the page and say what came out."""
    started = datetime.datetime.now(datetime.UTC)
    levels = chosen_levels()
    changes = [shifts.create(name) for name in dict.fromkeys(FLAGS.shifts)]
    given = foreign.load()
    network, names = given.loaded.network, [change.name for change in changes]
    beside, examples = published(network.num_classes), subset(given.examples)
    config = {"name": "corruption", **given.config, "examples": FLAGS.examples, "seed": FLAGS.seed}
    config |= {"levels": levels, "shifts": names, "published": beside and beside.benchmark}
    folder = FLAGS.output or f"results/corruption_{pathlib.Path(FLAGS.weights).stem}"
    output = report.storage.OutputFolder(folder)
    if output.prepare(config, overwrite=FLAGS.overwrite) == "complete":
        print(commandline.COMPLETE.format(output.path))
        return
    card: dict[str, Any] = {"config": config, "data_fingerprint": examples.fingerprint}
    card |= {"seeds": [FLAGS.seed], "command": " ".join(sys.argv), "started": started}
    output.write_run_card(report.provenance.run_card(**card, wall_times={}))
    begun = time.monotonic()
    outcomes = measure(output, given, examples, changes, levels, card)
    seconds = {"measure": time.monotonic() - begun}
    found = corruption_report.analyse(network.name, outcomes, published=beside, seed=FLAGS.seed)
    complete = report.provenance.run_card(**card, wall_times=seconds, status="complete")
    title = f"{network.name} under shifts of {examples.name}"
    written = corruption_report.write(output, found, complete, title=title)
    written["run card"] = output.write_run_card(complete)
    for sentence in corruption_report.conclusions(found):
        print(f"- {sentence}")
    table = corruption_report.short_summary(found)
    report.terminal.summary_table(table.caption, table.columns, table.rows)
    report.terminal.paths(written)


if __name__ == "__main__":
    define_flags()
    commandline.launch("corruption", main)
