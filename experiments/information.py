"""Information: what do bounds from information theory say of real networks, and does depth help?

Question: which bounds hold and are not vacuous, does the gap fall with depth at equal training
error, what does noise buy, and how stable is training?
"""

from typing import Any

import numpy as np

from experiments import commandline, replacing, study, supersampling
from experiments.configs import information as information_config
from genjax import data, errors
from genjax.data import Examples, union
from genjax.report import information as report
from genjax.report import information_words as words

TITLE = "What does information theory say of these networks?"
KINDS = ("supersample", "depth", "stability", "noisy_sgd")
COMPUTE = {
    "supersample": supersampling.against_size,
    "depth": supersampling.against_depth,
    "stability": replacing.against_size,
}


def main() -> None:
    """Train on supersamples, at depths, with examples replaced or with noise; bound the gaps."""
    study.run(
        TITLE, information_config.get_config(), prepare, compute, lambda ready: ready.fingerprint
    )


def prepare(config: Any) -> Examples:
    """Load the classes asked for, after checking every field that needs no data."""
    if config.kind not in KINDS:
        raise errors.InvalidInputError(errors.suggest("kind", config.kind, KINDS))
    supersampling.rules(config)
    examples = data.load(config.data.source, data_dir=config.data.folder or None, stream=False)
    assert isinstance(examples, Examples)  # not streamed
    chosen = tuple(config.data.classes)
    if chosen:
        missing = [c for c in chosen if not 0 <= c < examples.num_classes]
        if missing or len(set(chosen)) < 2:
            raise errors.DataError(
                f"data.classes: found {chosen}; at least two of 0 to {examples.num_classes - 1} "
                "are needed, or () for all."
            )
        examples = union.of_classes(examples, chosen)
    largest = {
        "supersample": 2 * max(config.supersample.sizes),
        "depth": 2 * config.depth.size,
        "stability": 2 * (max(config.stability.sizes) + config.stability.replacements),
    }.get(config.kind, 0)
    if largest > len(examples):
        raise errors.SplitError(
            f"{config.kind}: {largest} examples are needed; {config.data.source} has "
            f"{len(examples)}."
        )
    if np.min(config.supersample.masks) < 2:
        raise errors.InvalidInputError(
            f"supersample.masks: found {config.supersample.masks}; allowed are even numbers from 2."
        )
    supersampling.network_of(config, examples, config.model.options)
    return examples


def compute(config: Any, ready: Examples, work: study.Work) -> study.Study:
    """Do what the configuration's kind says, and put it in words."""
    tables = COMPUTE[config.kind](config, ready, work)
    return study.Study(
        words.conclusions(config.kind, tables, config.level),
        report.sections(work.output, config.kind, tables, config.level),
        tables,
        report.headline(config.kind, tables),
    )


if __name__ == "__main__":
    commandline.define_flags()
    commandline.launch("information", main)
