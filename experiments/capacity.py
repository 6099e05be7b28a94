"""Capacity: do networks fit what holds nothing to learn, and what do bounds from that say?

Question: are random labels and random images fitted, how much longer does it take, and how large
is the Rademacher complexity, measured by fitting random signs, against examples and width?
"""

from typing import Any, NamedTuple

import numpy as np

from experiments import capacities, commandline, fields, pools, study
from experiments.configs import capacity as capacity_config
from experiments.pools import Pool
from genjax import errors
from genjax import report as screen
from genjax.data import randomised, splits
from genjax.report import capacity as report
from genjax.training import TrainingConfig
from genjax.training.resamples import Own, train_resamples

TITLE = "What can these networks fit, and what does that say of generalization?"


class Ready(NamedTuple):
    """What is fitted.

    Attributes:
        pool: the examples to fit, and test examples.
        conditions: share of random labels and form of the images, the first of them unchanged.
    """

    pool: Pool
    conditions: list[tuple[float, str]]


def main() -> None:
    """Fit true and random labels and images, then random signs, and compare with bounds."""
    study.run(
        TITLE, capacity_config.get_config(), prepare, compute,
        lambda ready: pools.fingerprint(ready.pool),
    )  # fmt: skip


def prepare(config: Any) -> Ready:
    """Load the examples to fit, after checking every field that needs no data."""
    pools.at_least("seeds", config.seeds, 2)
    pools.at_least("examples", config.examples, 2)
    pools.at_least("signs.widths", config.signs.widths, 1)
    shares = fields.numbers("random_labels", config.random_labels)
    if sorted(set(shares)) != list(shares) or shares[:1] != (0.0,) or shares[-1:] != (1.0,):
        raise errors.InvalidInputError(
            f"random_labels: found {shares}; allowed are growing shares from 0 to 1, with both."
        )
    for form in config.images:
        if form not in randomised.INPUTS[1:]:
            raise errors.InvalidInputError(errors.suggest("images", form, randomised.INPUTS[1:]))
    if pools.rules(config).stop != "cross_entropy" or _sign_rules(config).stop != "cross_entropy":
        raise errors.InvalidInputError(
            "training.stop: the time to fit is when the cross-entropy on the training set falls "
            f"below the threshold; found '{config.training.stop}', allowed is 'cross_entropy'."
        )
    pools.hyper(config)
    pool = pools.load(config)
    pools.check_sizes("signs.sizes", config.signs.sizes, len(pool.train))
    if config.examples > len(pool.train):
        raise errors.SplitError(
            f"examples: found {config.examples}; there are {len(pool.train)} to train on."
        )
    pools.network_of(pool.train, config.model.name, config.model.options)
    conditions = [(share, randomised.INPUTS[0]) for share in shares]
    return Ready(pool, conditions + [(0.0, form) for form in config.images])


def _sign_rules(config: Any) -> TrainingConfig:
    return TrainingConfig(**{**config.training, **config.signs.training})


def compute(config: Any, ready: Ready, work: study.Work) -> study.Study:
    """Fit, measure, and put it in words."""
    with screen.terminal.progress("fitting", unit="steps") as advance:
        fitted = work.kept("conditions", lambda: _conditions(config, ready, advance))
        gains = {
            width: work.kept(f"signs_{width}", lambda width=width: _signs(
                config, ready.pool, width, advance))
            for width in config.signs.widths
        }  # fmt: skip
    tables = capacities.tables(config, ready.conditions, ready.pool, fitted, gains)
    return study.Study(
        report.conclusions(tables),
        report.sections(work.output, tables),
        tables,
        report.headline(tables),
    )


def _conditions(config: Any, ready: Ready, advance: Any) -> dict[str, np.ndarray]:
    """Fit every condition with every seed, as one program; times, errors and who fitted."""
    train, test = ready.pool
    chosen = splits.nested_subsets(train, [config.examples], seed=config.seed)[0]
    everything, own, of_test = capacities.images_of(train.take(chosen), test, config.seed)
    indices, labels, judged = [], [], []
    for share, form in ready.conditions:
        for seed in range(config.seeds):
            indices.append(own[form])
            judged.append(of_test[form])
            labels.append(
                randomised.corrupted_labels(
                    train.labels[chosen], share, train.num_classes,
                    seed=config.seed * 1000 + seed,
                )
            )  # fmt: skip
    # A seed has one start and order of batches in all conditions.
    numbers = np.arange(len(indices)) % config.seeds
    group = train_resamples(
        pools.network_of(train, config.model.name, config.model.options), pools.rules(config),
        everything, Own(np.stack(indices), np.stack(labels), pools.hyper(config)),
        pools.keys(config.seed, numbers), on_progress=advance,
    )  # fmt: skip
    shape = (len(ready.conditions), config.seeds)
    return capacities.fitted(group, everything, np.stack(judged), shape)


def _signs(config: Any, pool: Pool, width: int, advance: Any) -> dict[str, np.ndarray]:
    """Fit random signs to sets of every size, as one program; the gains, `[sizes, seeds]`."""
    indices, signs = capacities.random_signs(config, len(pool.train))
    network = capacities.sign_network(pool.train, width, config.signs.depth)
    group = train_resamples(
        network, _sign_rules(config), pool.train,
        Own(indices, signs, pools.hyper(config)),
        pools.keys(config.seed, np.arange(len(indices))), on_progress=advance,
    )  # fmt: skip
    return {"gain": capacities.gains(group).reshape(len(config.signs.sizes), config.seeds)}


if __name__ == "__main__":
    commandline.define_flags()
    commandline.launch("capacity", main)
