"""Cross-validation: which model is best, how surely, and how far off would one split have been?

Question: is a difference between models more than the folds' luck? Repeated stratified k-fold
cross-validation, all folds of a model as one program, with the corrected resampled t-test.
"""

from typing import Any

import numpy as np

from experiments import commandline, fields, folding, pools, study
from experiments.configs import cross_validation as cross_validation_config
from experiments.folding import Ready
from genjax import errors
from genjax import report as screen
from genjax.data import splits
from genjax.report import cross_validation as report
from genjax.training.resamples import Own, train_resamples

TITLE = "Which model is best, and how surely does cross-validation know?"


def main() -> None:
    """Train every model on every fold, compare them, and check the choice on test examples."""
    study.run(
        TITLE, cross_validation_config.get_config(), prepare, compute,
        lambda ready: pools.fingerprint(ready.pool),
    )  # fmt: skip


def prepare(config: Any) -> Ready:
    """Load and draw the folds, after checking every field that needs no data."""
    pools.at_least("folds", config.folds, 2)
    pools.at_least("seeds", config.seeds, 2)
    chosen = fields.models_of(config)
    if len(chosen) < 2:
        raise errors.InvalidInputError(
            f"sweep.models: found {len(chosen)}; at least two are needed to compare."
        )
    pools.hyper(config)
    if pools.rules(config).stop == "early_stopping":
        raise errors.InvalidInputError(
            "training.stop: found 'early_stopping'; it would choose on what the folds judge by; "
            "allowed are 'steps' and 'cross_entropy'."
        )
    names = [folding.short(name, options) for name, options in chosen]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise errors.InvalidInputError(f"sweep.models: found {twice[0]!r} more than once.")
    pool = pools.load(config)
    for name, options in chosen:
        pools.network_of(pool.train, name, options)
    whole = len(pool.train) // config.folds * config.folds  # all folds of one size: one program
    kept = splits.nested_subsets(pool.train, [whole], seed=config.seed)[0]
    pool = pool._replace(train=pool.train.take(kept))
    folds = [
        fold
        for repeat in range(config.seeds)
        for fold in splits.k_fold(pool.train, config.folds, seed=config.seed * 1000 + repeat)
    ]
    return Ready(pool, np.stack([f.train for f in folds]), np.stack([f.validation for f in folds]))


def compute(config: Any, ready: Ready, work: study.Work) -> study.Study:
    """Train, score, compare, and put it in words."""
    found = {}
    with screen.terminal.progress("folds", unit="steps") as advance:
        for name, options in fields.models_of(config):
            network = pools.network_of(ready.pool.train, name, options)

            def one(network=network):
                group = train_resamples(
                    network, pools.rules(config), ready.pool.train,
                    Own(ready.train, hyper=pools.hyper(config)),
                    pools.keys(config.seed, range(len(ready.train))), on_progress=advance,
                )  # fmt: skip
                return folding.scores(group, ready, config.seeds)

            found[folding.short(name, options)] = work.kept(f"model_{len(found)}", one)
    tables = folding.tables(found, ready, config.folds, config.level)
    return study.Study(
        report.conclusions(tables, config.folds, config.seeds),
        report.sections(work.output, tables),
        tables,
        report.headline(tables),
    )


if __name__ == "__main__":
    commandline.define_flags()
    commandline.launch("cross_validation", main)
