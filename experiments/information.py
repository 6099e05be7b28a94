"""Information: what do bounds from information theory say of real networks, and does depth help?

Question: which bounds hold and are not vacuous, does the gap fall with depth at equal training
error, what does noise buy, and how stable is training?
"""

from typing import Any

import jax
import pandas as pd

from experiments import commandline, noisy_descent, pools, replacing, study, supersampling
from experiments.configs import information as information_config
from genjax import data, errors
from genjax.data import Examples, union
from genjax.intervals import mean_interval
from genjax.report import information as report
from genjax.report import information_words as words
from genjax.report import terminal
from genjax.report.layers import groups

TITLE = "What does information theory say of these networks?"
KINDS = ("supersample", "depth", "stability", "noisy_sgd")


def main() -> None:
    """Train on supersamples, at depths, with examples replaced or with noise; bound the gaps."""
    study.run(
        TITLE, information_config.get_config(), prepare, compute, lambda ready: ready.fingerprint
    )


def prepare(config: Any) -> Examples:
    """Load the classes asked for, after checking every field that needs no data."""
    if config.kind not in KINDS:
        raise errors.InvalidInputError(errors.suggest("kind", config.kind, KINDS))
    pools.rules(config)
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
        "noisy_sgd": max(config.noisy_sgd.sizes) + config.noisy_sgd.population,
    }.get(config.kind, 0)
    if largest > len(examples):
        raise errors.SplitError(
            f"{config.kind}: {largest} examples are needed; {config.data.source} has "
            f"{len(examples)}."
        )
    for name, fewest in (("supersample", 2), ("depth", 4)):
        masks = config[name].masks
        if masks < fewest or masks % 2:
            raise errors.InvalidInputError(
                f"{name}.masks: found {masks}; allowed are even numbers from {fewest}."
            )
    pools.network_of(examples, config.model.name, config.model.options)
    return examples


def along_noise(config: Any, examples: Examples, work: study.Work) -> dict[str, pd.DataFrame]:
    """Bound the gaps of noisy descent along its path, size by size.

    Returns:
        `information` (a row per setting, step, seed and bound) and `bounds` (without the seeds,
        beside the mean gap and its interval over seeds).
    """
    settings, parts = config.noisy_sgd.copy_and_resolve_references(), []
    with terminal.progress("noisy descent", unit="settings") as advance:
        for size in config.noisy_sgd.sizes:
            settings.sizes = (size,)

            def rows():
                told = noisy_descent.run(settings, examples, jax.random.key(config.seed), advance)
                return {name: told[name].to_numpy() for name in told}

            parts.append(pd.DataFrame(work.kept(f"noisy_{size}", rows)))
    found = pd.concat(parts, ignore_index=True)
    keys = ["n", "depth", "noise", "step", "bound"]
    kept = pd.DataFrame(found.drop_duplicates(keys)).drop(columns=["seed", "gap"])
    gaps = pd.DataFrame(
        [
            (*one, own["gap"].mean(), *mean_interval(own["gap"].to_numpy(), config.level))
            for one, own in groups(found, keys)
        ],
        columns=[*keys, "gap", "gap_low", "gap_high"],
    )
    return {"information": found, "bounds": kept.merge(gaps, on=keys)}


COMPUTE = {
    "supersample": supersampling.against_size,
    "depth": supersampling.against_depth,
    "stability": replacing.against_size,
    "noisy_sgd": along_noise,
}


def compute(config: Any, ready: Examples, work: study.Work) -> study.Study:
    """Do what the configuration's kind says, and put it in words."""
    tables = COMPUTE[config.kind](config, ready, work)
    return study.Study(
        words.conclusions(config.kind, tables, config.level),
        report.sections(work.output, config.kind, tables, config.level, tuple(config.data.classes)),
        tables,
        report.headline(config.kind, tables),
    )


if __name__ == "__main__":
    commandline.define_flags()
    commandline.launch("information", main)
