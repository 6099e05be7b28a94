"""Can the error of a network be bounded, from its training examples, below that of guessing?

Question: how small are PAC-Bayes and compression bounds on real images, and do they hold?
"""

import datetime
import sys
import time
from collections.abc import Mapping
from typing import Any

import pandas as pd
from absl import flags

from experiments import certifying, commandline, configuration
from genjax import report
from genjax.report import certificates as page
from genjax.report.certificates import Certified

FLAGS = flags.FLAGS
DESCRIPTIONS = (
    "Names that start with learnt: a stochastic network (independent Gaussian weights). The mean "
    "of the prior is learnt from one part of the training examples, the posterior and the bound "
    "come from the rest; the last word is the objective. The bound is that of Maurer and of the "
    "stochastic network, which draws its weights anew for every prediction; so is the test error.",
    "Names that start with initial: the same around the initial weights, from all examples.",
    "compression: one network, quantised steps in a random subspace from its initial weights; "
    "Catoni's bound by the length of its description in bits.",
    "Of each method several settings were looked at beforehand; a union over them is paid for.",
)


def restored(output: report.storage.OutputFolder, name: str, mark: str) -> list[Certified] | None:
    """Return the rows of a method that this very run has finished, on the same examples."""
    if not output.exists(f"methods/{name}.parquet"):
        return None
    table = output.read_parquet(f"methods/{name}")
    if set(table.columns) != {*Certified._fields, "mark"} or set(table["mark"]) != {mark}:
        return None
    return [Certified(**row) for row in table.drop(columns="mark").to_dict("records")]


def main() -> None:
    """Train, certify, test, write, and say what came out."""
    config, started = FLAGS.config, datetime.datetime.now(datetime.UTC)
    plain = configuration.as_plain(config)
    output = report.storage.OutputFolder(FLAGS.output or f"results/{config.name}")
    if not FLAGS.overwrite and output.prepare(plain) == "complete":
        print(commandline.COMPLETE.format(output.path))
        return
    ready = certifying.plan(config)
    if FLAGS.overwrite:  # only now: what cannot be computed throws nothing away
        output.prepare(plain, overwrite=True)
    fingerprint = f"{ready.train.fingerprint} {ready.test.fingerprint}"
    card: dict[str, Any] = {
        "data_fingerprint": fingerprint,
        "seeds": list(range(config.seeds)),
        "wall_times": {},
        "command": " ".join(sys.argv),
        "started": started,
    }
    output.write_run_card(report.provenance.run_card(plain, **card))
    mark = f"{report.provenance.config_hash(plain)} {fingerprint}"
    rows: list[Certified] = []
    with report.terminal.progress("certificates", "methods") as on_progress:
        for index, name in enumerate(ready.methods):
            begun = time.monotonic()
            own = None if FLAGS.overwrite else restored(output, name, mark)
            if own is None:
                own = certifying.certify(ready, name, config)
                output.write_parquet(f"methods/{name}", pd.DataFrame(own).assign(mark=mark))
            rows += own
            card["wall_times"][name] = time.monotonic() - begun
            on_progress(index + 1, len(ready.methods), name)
            output.write_run_card(report.provenance.run_card(plain, **card))
    finish(output, ready, rows, report.provenance.run_card(plain, **card, status="complete"))


def finish(output, ready: certifying.Plan, rows: list[Certified], card: Mapping[str, Any]) -> None:
    """Write everything, the run card last, and print what came out."""
    guessing = 1 - 1 / ready.network.num_classes
    title = f"Bounds on the error: {ready.network.name} on {ready.train.name}"
    written: dict[str, Any] = dict(
        page.write(output, rows, guessing, card, title=title, descriptions=DESCRIPTIONS)
    )
    written["run card"] = output.write_run_card(card)
    for sentence in page.conclusions(rows, guessing):
        print(f"- {sentence}")
    table = page.summary_table(rows)
    shown = [
        [name, "{:.3f} [{:.3f}, {:.3f}]".format(*spread), *rest]
        for name, spread, *rest in table.rows
    ]
    report.terminal.summary_table(table.caption, table.columns, shown)
    report.terminal.paths(written)


if __name__ == "__main__":
    commandline.define_flags()
    commandline.launch("certificate", main)
