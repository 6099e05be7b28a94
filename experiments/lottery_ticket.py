"""Lottery tickets: do winning tickets beat random ones, and is it the mask or the start?

Question: networks are pruned by magnitude, round after round, and trained again from where they
started; beside them the same masks with other starts, and random masks with the same starts. With
`rewind_steps` tickets start from weights trained so far, new starts from nothing: tickets have had
so many steps more then.
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from experiments import commandline, pools, study, tickets
from experiments.configs import lottery_ticket as lottery_ticket_config
from experiments.pools import Pool
from experiments.tickets import KINDS
from genjax import errors, training
from genjax import report as screen
from genjax.metrics import outputs
from genjax.models import Network
from genjax.report import lottery_ticket as report
from genjax.training import TrainedGroup, pruning
from genjax.training.resamples import Own, train_resamples
from genjax.types import Params

TITLE = "Do winning tickets beat random ones, and is it the mask or the start?"


def main() -> None:
    """Prune in rounds and train every kind of sparse network from every seed."""
    study.run(TITLE, lottery_ticket_config.get_config(), prepare, compute, pools.fingerprint)


def prepare(config: Any) -> Pool:
    """Load, after checking every field that needs no data."""
    pools.at_least("seeds", config.seeds, 3)
    pools.at_least("rounds", config.rounds, 1)
    if not 0 < config.share < 1:
        raise errors.InvalidInputError(
            f"share: found {config.share}; allowed are shares between 0 and 1."
        )
    steps = config.training.max_steps
    if not 0 <= config.rewind_steps < steps:
        raise errors.InvalidInputError(
            f"rewind_steps: found {config.rewind_steps}; allowed are 0 to {steps - 1}, fewer than "
            "training.max_steps."
        )
    if pools.rules(config).stop == "early_stopping":
        raise errors.InvalidInputError(
            "training.stop: found 'early_stopping'; allowed are 'steps' and 'cross_entropy'."
        )
    pools.hyper(config)
    pool = pools.load(config)
    pools.network_of(pool.train, config.model.name, config.model.options)
    return pool


def compute(config: Any, ready: Pool, work: study.Work) -> study.Study:
    """Train, prune, compare, and put it in words."""
    with screen.terminal.progress("rounds", unit="networks") as advance:
        found = [work.kept("rounds", lambda: _rounds(config, ready, advance))]
    tables = tickets.tables(found[0], config.level)
    return study.Study(
        report.conclusions(tables, config.seeds),
        report.sections(work.output, tables),
        tables,
        report.headline(tables),
    )


def _rounds(config: Any, pool: Pool, advance: Any) -> Mapping[str, np.ndarray]:
    """Return errors `[rounds + 1, kinds, seeds]` and the share of weights left in every round."""
    network = pools.network_of(pool.train, config.model.name, config.model.options)
    total = config.seeds * (1 + config.rounds * len(KINDS))
    dense, start = _dense(config, pool, network)
    other = _starts(network, pools.keys(config.seed + 1, range(config.seeds)))
    advance(config.seeds, total, "dense")
    masks, last = pruning.full_masks(start), dense.params
    errors_ = [np.repeat(_errors(dense, pool)[:, None], len(KINDS), axis=1)]
    shares = [1.0]
    for turn in range(config.rounds):
        masks = pruning.smallest_removed(last, masks, config.share)
        drawn = pruning.shuffled(masks, config.seed * 1000 + turn)
        group = _train(
            config, pool, network, len(KINDS), start=_joined(start, other, start),
            masks=_joined(masks, masks, drawn),
        )  # fmt: skip
        last = jax.tree.map(lambda leaf: leaf[: config.seeds], group.params)
        errors_.append(_errors(group, pool).reshape(2, len(KINDS), config.seeds))
        shares.append(pruning.share_kept(masks))
        advance(config.seeds * (1 + (turn + 1) * len(KINDS)), total, f"round {turn + 1}")
    train, test = np.stack(errors_, axis=1)
    return {"train": train, "test": test, "kept": np.array(shares)}


def _dense(config: Any, pool: Pool, network: Network) -> tuple[TrainedGroup, Params]:
    """Return the networks before pruning, and where tickets start from."""
    start = _starts(network, pools.keys(config.seed, range(config.seeds)))
    if config.rewind_steps:
        early = {**config.training, "max_steps": config.rewind_steps, "stop": "steps"}
        start = _train(config, pool, network, 1, rules=early, start=start).params
    return _train(config, pool, network, 1, start=start), start


def _starts(network: Network, keys: Any) -> Params:
    return jax.tree.map(np.asarray, jax.vmap(lambda key: network.init(key)[0])(keys))


def _joined(*trees: Params) -> Params:
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *trees)


def _train(
    config: Any, pool: Pool, network: Network, kinds: int, rules: Any = None, **own: Any
) -> TrainedGroup:
    """Train every seed once per kind; kinds of one seed see the same batches."""
    seeds = np.tile(np.arange(config.seeds), kinds)
    indices = np.tile(np.arange(len(pool.train)), (len(seeds), 1))
    chosen = pools.rules(config) if rules is None else training.TrainingConfig(**rules)
    return train_resamples(
        network, chosen, pool.train, Own(indices, hyper=pools.hyper(config), **own),
        pools.keys(config.seed, seeds),
    )  # fmt: skip


def _errors(group: TrainedGroup, pool: Pool) -> np.ndarray:
    """Return training and test error, `[2, R]`; NaN where training diverged."""
    return np.stack([outputs.group_errors(group, part) for part in pool])


if __name__ == "__main__":
    commandline.define_flags()
    commandline.launch("lottery_ticket", main)
