"""Regularisation: which of six ways lowers the test error, and do they add up?

Question: a full factorial experiment, every combination on the same samples with the same number of
steps; main effects and interactions with intervals over seeds.
"""

import itertools
from typing import Any

from experiments import ablating, commandline, pools, study
from experiments.configs import regularisation as regularisation_config
from experiments.study import Parts
from genjax import errors
from genjax import report as screen
from genjax.data import augmentation
from genjax.report import regularisation as report
from genjax.training.config import SweepConfig

TITLE = "Which regularisers lower the test error, and do they add up?"


def main() -> None:
    """Train every combination of the regularisers, and tell their effects apart."""
    study.run(TITLE, regularisation_config.get_config(), prepare, compute, _fingerprint)


def _fingerprint(parts: Parts) -> str:
    return " ".join(part.fingerprint for part in parts)


def prepare(config: Any) -> Parts:
    """Load, after checking every field that needs no data."""
    pools.at_least("seeds", config.seeds, 2)
    pools.at_least("examples", config.examples, 1)
    if not 0 <= config.label_noise < 1:
        raise errors.InvalidInputError(
            f"label_noise: found {config.label_noise}; allowed are shares from 0, below 1."
        )
    if not ablating.factors(config):
        raise errors.InvalidInputError("factors: found none that is on; at least one is needed.")
    for name in ablating.NUMBERS:
        SweepConfig([None], hyper={name: (config.factors[name],)})  # type: ignore[list-item]
    if config.factors.augmentation:
        augmentation.create(tuple(config.factors.augmentation))
    pools.hyper(config)
    ablating.rules(config, True, True)
    parts = study.load(config)
    if config.examples > len(parts.train):
        raise errors.SplitError(
            f"examples: found {config.examples}; there are {len(parts.train)} to draw from."
        )
    ablating.network_of(config, parts)
    return parts


def compute(config: Any, ready: Parts, work: study.Work) -> study.Study:
    """Train all combinations, tell effects apart, and put it in words."""
    names = ablating.factors(config)
    kinds = itertools.product(*((False, True) if n in names else (False,) for n in ablating.CODE))
    found = {}
    with screen.terminal.progress("combinations", unit="steps") as advance:
        for augmented, early in kinds:

            def one(augmented=augmented, early=early):
                return ablating.trained(config, ready, augmented, early, advance)

            found[augmented, early] = work.kept(f"code_{augmented:d}_{early:d}", one)
    tables = ablating.tables(config, found)
    return study.Study(
        report.conclusions(tables),
        report.sections(work.output, tables),
        tables,
        report.headline(tables),
    )


if __name__ == "__main__":
    commandline.define_flags()
    commandline.launch("regularisation", main)
