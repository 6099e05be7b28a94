"""How good is a network that was trained elsewhere, on a data set?

Question: do public weights give their published accuracy here, and how sure are they of it?
"""

import datetime
import json
import pathlib
import sys
import time
from typing import Any

import jax
import numpy as np
import pandas as pd
from absl import flags
from rich.console import Console

from experiments import commandline, foreign
from genjax import data, report
from genjax.data import splits
from genjax.metrics import complexity, evaluation
from genjax.report import figures_evaluation
from genjax.training import population

FLAGS = flags.FLAGS
COMPLETE = "complete: {} holds this very run; nothing to do."
SHOWN = ("error", "nll", "ece", "brier", "kappa", "kappa_one_vs_rest")
LEFT_OUT = ("confusion", "reliability")  # files of their own


def define_flags() -> None:
    """Define which weights are evaluated on which examples."""
    commandline.define_flags(config=False)
    foreign.define_flags()
    flags.DEFINE_list("measures", None, "Also compute these: names, families, 'fast' or 'all'.")
    flags.DEFINE_string("train_data", None, "What the network was trained on, for measures.")
    flags.DEFINE_integer("train_size", None, "How many examples that was in full.", 1)
    flags.DEFINE_integer("measure_examples", 1000, "Examples that measures read at most.", 1)


def sample(examples: data.Examples | data.StreamedExamples) -> data.Examples:
    """Return at most as many examples as measures may read, class by class at random."""
    size = min(FLAGS.measure_examples, len(examples))
    return examples.take(splits.nested_subsets(examples, [size], seed=0)[0])


def measured(given: foreign.Given, train: Any) -> dict[str, Any]:
    """Return the measures that were asked for, and why some of them have no value."""
    (group,) = population.trained_elsewhere([given.loaded]).groups
    held_out = sample(given.examples)
    # What needs no labels predicts the error on other images than those whose labels it is given.
    half = np.random.default_rng(0).permutation(len(held_out)) < len(held_out) // 2
    labelled, unlabeled = (held_out.take(np.flatnonzero(part)) for part in (half, ~half))
    size = FLAGS.train_size or len(train)
    on = complexity.measure_data(sample(train), labelled, unlabeled, train_size=size)
    found = complexity.measure_group(group, on, FLAGS.measures, key=jax.random.key(0))
    values = {name: float(value[0]) for name, value in found.values.items()}
    refused = {one.measure: one.reason for one in found.refused}
    return {"train_size": size, "values": values, "refused": refused}


def result(
    found: evaluation.Evaluation, given: foreign.Given, class_names: tuple[str, ...]
) -> dict[str, Any]:
    """Return what evaluation.json holds."""
    numbers = {k: v for k, v in found._asdict().items() if k not in LEFT_OUT}
    where = {name: FLAGS[name].value for name in ("weights", "data")}
    made = {"model": given.loaded.network.name, "preprocessing": given.preprocessing}
    return numbers | {"class_names": class_names} | made | where


def main() -> None:
    """Load, evaluate, write, and say what came out; standard output holds the JSON alone."""
    started, aside = datetime.datetime.now(datetime.UTC), Console(stderr=True)
    given = foreign.load()
    loaded, examples = given.loaded, given.examples
    names = ("measures", "train_data", "train_size", "measure_examples")
    config = {"name": "evaluate", **given.config, **{name: FLAGS[name].value for name in names}}
    train = None
    if FLAGS.measures:
        complexity.select(FLAGS.measures)  # refuses before anything is computed
        train = foreign.training_examples(given, FLAGS.train_data)
        config["train_digest"] = foreign.digest(train)
    folder = FLAGS.output or f"results/evaluate_{pathlib.Path(FLAGS.weights).stem}"
    output = report.storage.OutputFolder(folder)
    if not FLAGS.overwrite and output.prepare(config) == "complete":
        aside.print(COMPLETE.format(output.path), markup=False, highlight=False, soft_wrap=True)
        print(json.dumps(output.read_json("evaluation"), indent=2))
        return
    begun = time.monotonic()
    with report.terminal.progress("evaluating", "images") as on_progress:
        found = evaluation.evaluate(
            loaded.network,
            loaded.params,
            examples,
            batch_size=FLAGS.batch_size,
            on_progress=on_progress,
        )
    values = result(found, given, examples.class_names)
    if train is not None:
        aside.print(f"measuring {', '.join(FLAGS.measures)}", markup=False, highlight=False)
        values["measures"] = measured(given, train)
    seconds = time.monotonic() - begun
    if FLAGS.overwrite:  # only now: what cannot be computed throws nothing away
        output.prepare(config, overwrite=True)
    card = report.provenance.run_card(
        config,
        data_fingerprint=given.config["data_digest"],
        seeds=[],
        wall_times={"evaluation": seconds},
        command=" ".join(sys.argv),
        status="complete",
        started=started,
    )
    written = write(output, found, values)
    written["run card"] = output.write_run_card(card)
    interval = f"{found.accuracy:.4f} [{found.accuracy_low:.4f}, {found.accuracy_high:.4f}]"
    rows = [["accuracy", interval], *([name, getattr(found, name)] for name in SHOWN)]
    title = f"{loaded.network.name} on {found.examples:,} examples of {examples.name}"
    report.terminal.summary_table(title, ("", "value"), rows, console=aside)
    if train is not None:
        rows = [
            [n, v, values["measures"]["refused"].get(n, "")]
            for n, v in values["measures"]["values"].items()
        ]
        report.terminal.summary_table("measures", ("", "value", ""), rows, console=aside)
    report.terminal.paths(written, console=aside)
    print(json.dumps(output.read_json("evaluation"), indent=2))


def write(
    output: report.storage.OutputFolder, found: evaluation.Evaluation, values: dict[str, Any]
) -> dict[str, Any]:
    """Write numbers, confusion counts, bins and the figure; return the paths."""
    counts = pd.DataFrame(found.confusion, columns=list(values["class_names"]))
    counts.insert(0, "true class", list(values["class_names"]), allow_duplicates=True)
    table = pd.DataFrame(found.reliability._asdict())
    output.write_figure("reliability", figures_evaluation.reliability_diagram(found.reliability))
    return {
        "evaluation": output.write_json("evaluation", values),
        "confusion": output.write_csv("confusion", counts),
        "bins": output.write_csv("reliability", table),
        "figure": output.path / "reliability.svg",
    }


if __name__ == "__main__":
    define_flags()
    commandline.launch("evaluate", main)
