"""Transfer: what does pretraining buy, how should it be used, and which measures predict it?

Question: networks that were trained on some classes meet others, or the same ones shifted; they are
probed, tuned or replaced by untrained ones, for every number of new examples.
"""

from typing import Any

import jax
import numpy as np

from experiments import commandline, pools, study, transferring
from experiments.configs import transfer as transfer_config
from experiments.pools import Pool
from experiments.transferring import NOVEL, SHIFTED, Ready
from genjax import errors, models
from genjax import report as screen
from genjax.data import Examples, shifts, splits, union
from genjax.metrics import complexity
from genjax.report import transfer as report
from genjax.training import TrainingConfig

TITLE = "What does pretraining buy, and which measures predict it?"


def main() -> None:
    """Pretrain, transfer to novel classes and to shifted images, and compare."""
    study.run(TITLE, transfer_config.get_config(), prepare, compute, _fingerprint)


def _fingerprint(ready: Ready) -> str:
    return " ".join(pools.fingerprint(pool) for pool in (ready.source, *ready.tasks.values()))


def prepare(config: Any) -> Ready:
    """Load and divide classes, after checking every field that needs no data."""
    pools.at_least("seeds", config.seeds, 3)
    if not 0 < config.shift.strength <= 1:
        raise errors.ShiftError(
            f"shift.strength: found {config.shift.strength}; allowed are numbers above 0, up to 1."
        )
    shift = shifts.create(config.shift.name)
    complexity.select(tuple(config.measures))
    for name in ("learning_rates", "weight_decays"):
        if not len(config[name]) or min(config[name]) < 0:
            raise errors.InvalidInputError(
                f"{name}: found {tuple(config[name])}; at least one number from 0 is needed."
            )
    if len(config.learning_rates) * len(config.weight_decays) < 3:
        raise errors.InvalidInputError(
            "learning_rates and weight_decays: found fewer than 3 settings of pretraining; "
            "measures cannot be related to transfer over fewer."
        )
    for name in ("pretraining", "training"):
        if TrainingConfig(**config[name]).stop == "early_stopping":
            raise errors.InvalidInputError(
                f"{name}.stop: found 'early_stopping'; allowed are 'steps' and 'cross_entropy'."
            )
    if not config.probe_learning_rate > 0:
        raise errors.InvalidInputError(
            f"probe_learning_rate: found {config.probe_learning_rate}; it must be above 0."
        )
    pools.hyper(config)
    pool = pools.load(config)
    classes = splits.seen_novel(pool.train.num_classes, num_seen=config.seen)
    if not 2 <= len(classes.novel) <= len(classes.seen):
        raise errors.SplitError(
            f"seen: found {config.seen} of {pool.train.num_classes} classes; at least 2 must be "
            "novel, and no more than are seen, since heads keep their size."
        )
    source, novel = (Pool(*(union.of_classes(part, own) for part in pool)) for own in classes)
    key = jax.random.key(config.seed)
    shifted = Pool(*(_shifted(part, shift, config, jax.random.fold_in(key, k))
                     for k, part in enumerate(source)))  # fmt: skip
    pools.check_sizes("sizes", config.sizes, min(len(novel.train), len(source.train)))
    _network(config, source)
    return Ready(source, {NOVEL: novel, SHIFTED: shifted})


def _shifted(part: Examples, shift: Any, config: Any, key: Any) -> Examples:
    images = np.asarray(shift.apply(part.images, config.shift.strength, key))
    return Examples(images, part.labels, part.class_names, f"{part.name}, {shift.name}")


def _network(config: Any, source: Pool) -> models.Network:
    network = pools.network_of(source.train, config.model.name, config.model.options)
    parameters, _ = jax.eval_shape(network.init, jax.random.key(0))
    if transferring.HEAD not in parameters:
        raise errors.InvalidInputError(
            f"model.name: found '{config.model.name}', which has no layer "
            f"'{transferring.HEAD}' to replace; 'mlp' and 'cnn' have one."
        )
    return network


def compute(config: Any, ready: Ready, work: study.Work) -> study.Study:
    """Pretrain, measure, transfer, compare, and put it in words."""
    network = _network(config, ready.source)
    with screen.terminal.progress("transfer", unit="steps") as advance:
        group = transferring.pretrained(config, ready, network, advance)
        known = work.kept("measures", lambda: transferring.measured(config, ready, group))
        found = work.kept(
            "transfer",
            lambda: transferring.transferred(config, ready, network, group.params, advance),
        )
    tables = transferring.tables(config, found, known)
    return study.Study(
        report.conclusions(tables),
        report.sections(work.output, tables),
        tables,
        report.headline(tables),
    )


if __name__ == "__main__":
    commandline.define_flags()
    commandline.launch("transfer", main)
