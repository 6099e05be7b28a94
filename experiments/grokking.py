"""Grokking: do networks generalize long after they fit, and what changes in between?

Question: networks learn modular arithmetic from some of the pairs, with and without weight decay;
how many steps lie between fitting and generalizing, and what do norm, sharpness and information do?
"""

from typing import Any

import numpy as np
import pandas as pd

from experiments import commandline, modular, over_seeds, pools, study
from experiments.configs import grokking as grokking_config
from experiments.modular import MEASURED, Ready
from genjax import errors
from genjax import report as screen
from genjax.report import grokking as report
from genjax.report.layers import groups
from genjax.training.resamples import Own, train_resamples

TITLE = "Do networks generalize long after they fit, and what changes in between?"


def main() -> None:
    """Train with every weight decay and seed, and measure networks on the way."""
    study.run(
        TITLE, grokking_config.get_config(), prepare, compute,
        lambda ready: f"{ready.examples.fingerprint} {len(ready.train[0])}",
    )  # fmt: skip


def prepare(config: Any) -> Ready:
    """Make the pairs and divide them, after checking every field."""
    pools.at_least("seeds", config.seeds, 3)
    pools.at_least("modulus", config.modulus, 3)
    pools.at_least("snapshots", config.snapshots, 2)
    if config.operation not in modular.OPERATIONS:
        raise errors.InvalidInputError(
            errors.suggest("operation", config.operation, modular.OPERATIONS)
        )
    for name in ("train_share", "accuracy"):
        if not 0 < config[name] < 1:
            raise errors.InvalidInputError(
                f"{name}: found {config[name]}; allowed are shares between 0 and 1."
            )
    if not len(config.weight_decays) or min(config.weight_decays) < 0:
        raise errors.InvalidInputError(
            f"weight_decays: found {tuple(config.weight_decays)}; at least one number from 0 is "
            "needed."
        )
    rules = pools.rules(config)
    if rules.stop != "steps" or rules.max_steps % rules.record_every:
        raise errors.InvalidInputError(
            f"training: found stop '{rules.stop}' and records every {rules.record_every} of "
            f"{rules.max_steps} steps; allowed is stop 'steps' with records that divide the steps."
        )
    pools.hyper(config)
    examples = modular.pairs(config.modulus, config.operation)
    if not 0 < round(config.train_share * len(examples)) < len(examples):
        raise errors.SplitError(
            f"train_share: found {config.train_share}, which leaves no pair to train or to test on."
        )
    pools.network_of(examples, config.model.name, config.model.options)
    return modular.divided(examples, config.train_share, config.seeds, config.seed)


def compute(config: Any, ready: Ready, work: study.Work) -> study.Study:
    """Train, measure on the way, and put it in words."""
    with screen.terminal.progress("grokking", unit="steps") as advance:
        found = work.kept("training", lambda: _train(config, ready, advance))
    tables = _tables(config, found)
    return study.Study(
        report.conclusions(tables, config.accuracy),
        report.sections(work.output, tables),
        tables,
        report.headline(tables),
    )


def _train(config: Any, ready: Ready, advance: Any) -> dict[str, np.ndarray]:
    """Return records `[T, networks]` and measures of snapshots; seeds of a decay are neighbours."""
    network = pools.network_of(ready.examples, config.model.name, config.model.options)
    rules, times = pools.rules(config), len(config.weight_decays)
    records = rules.max_steps // rules.record_every
    kept = np.unique(np.geomspace(1, records, config.snapshots).round().astype(int))
    kept *= rules.record_every
    train, test = (np.tile(part, (times, 1)) for part in (ready.train, ready.test))
    seeds = np.tile(np.arange(config.seeds), times)
    decays = np.repeat(np.array(config.weight_decays, float), config.seeds)
    own = Own(train, held_out=test, hyper=pools.hyper(config, weight_decay=decays))
    passed = []

    def keep(step: int, params: Any) -> None:
        if step in kept:
            passed.append(params())

    group = train_resamples(
        network, rules, ready.examples, own, pools.keys(config.seed, seeds), on_progress=advance,
        on_record=keep,
    )  # fmt: skip
    return {
        "steps": group.history_steps,
        "kept": kept,
        "train": group.history.accuracy,
        "test": group.history.validation_accuracy,
        **modular.on_the_way(group, ready, train, passed, config.seed),
    }


def _tables(config: Any, found: dict[str, np.ndarray]) -> dict[str, pd.DataFrame]:
    """Return `delays`, `accuracies` and `measures` (means over seeds), `networks`."""
    networks = modular.delays(found, config.weight_decays, config.accuracy)
    medians = []
    for decay, own in groups(networks, "weight_decay"):
        for quantity in ("fits_at", "generalizes_at", "delay"):
            value, low, high = report.median(own[quantity].to_numpy(), config.level)
            reached = int(np.isfinite(own[quantity]).sum())
            medians.append((decay, quantity, value, low, high, reached, len(own)))
    columns = ["weight_decay", "quantity", "value", "low", "high", "reached", "seeds"]
    by = ("weight_decay", "step")
    return {
        "delays": pd.DataFrame(medians, columns=columns),
        "accuracies": over_seeds.means(
            _long(found, found["steps"], ("train", "test"), networks), by, ("train", "test"),
            config.level,
        ),
        "measures": over_seeds.means(
            _long(found, found["kept"], MEASURED, networks), by, MEASURED, config.level
        ),
        "networks": networks,
    }  # fmt: skip


def _long(found: Any, steps: np.ndarray, names: Any, networks: pd.DataFrame) -> pd.DataFrame:
    frame = networks[["weight_decay", "seed"]]
    return pd.concat(
        [
            frame.assign(step=step, **{name: found[name][t] for name in names})
            for t, step in enumerate(steps)
        ],
        ignore_index=True,
    ).sort_values(["weight_decay", "step"], kind="stable")


if __name__ == "__main__":
    commandline.define_flags()
    commandline.launch("grokking", main)
