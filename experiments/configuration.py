"""From a configuration file to the library's own types, checked before any work."""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments import fields
from experiments.configs import benchmark
from genjax import data, errors
from genjax.data import ClassSplit, Splits, augmentation, shifts, splits
from genjax.metrics import protocol, testbed
from genjax.metrics.protocol import Protocol
from genjax.training import ModelConfig, SweepConfig, TrainingConfig


class Plan(NamedTuple):
    """A checked configuration.

    Attributes:
        examples: all classes.
        splits: train, validation, test.
        classes: seen and novel.
        sweep: what to train.
        protocols: how heads are read.
    """

    examples: data.Examples
    splits: Splits
    classes: ClassSplit
    sweep: SweepConfig
    protocols: tuple[Protocol, ...]


class Reading(NamedTuple):
    """A checked configuration of networks that were trained elsewhere.

    Attributes:
        examples: all classes.
        splits: train, validation, test, of the heads.
        classes: seen and novel.
        protocols: how heads are read.
    """

    examples: data.Examples
    splits: Splits
    classes: ClassSplit
    protocols: tuple[Protocol, ...]


def as_plain(config: Any) -> dict[str, Any]:
    """Return the configuration as JSON-able dictionaries and lists."""
    return json.loads(config.to_json_best_effort())


def sweep_config(config: Any) -> SweepConfig:
    """Return the sweep; refuses what cannot be trained."""
    models = [ModelConfig(name, dict(options)) for name, options in fields.models_of(config)]
    changes = tuple(config.training.augmentation)
    augmentation.create(changes)
    rules = TrainingConfig(**{**config.training, "augmentation": changes})
    hyper = {
        name: fields.numbers(f"sweep.hyper.{name}", values)
        for name, values in config.sweep.hyper.items()
    }
    return SweepConfig(models, [rules], hyper, config.sweep.seeds)


def protocols(config: Any) -> tuple[Protocol, ...]:
    """Return the ladder from the paper's protocol to the clean one, and what stands beside it."""
    chosen = config.protocols
    paper = dataclasses.replace(
        protocol.PAPER, learning_rate=chosen.paper_learning_rate, epochs=chosen.paper_epochs
    )
    rungs = protocol.ladder(paper) if chosen.ladder else (paper, protocol.CLEAN)
    untrained = (
        dataclasses.replace(
            head,
            shots=chosen.shots,
            description=head.description.replace("10 labelled", f"{chosen.shots} labelled"),
        )
        for head in (protocol.NEAREST_MEAN, protocol.NEAREST_NEIGHBOUR)
    )
    return (*rungs, protocol.FIXED_LABELS, *untrained)


def _take(indices: np.ndarray, labels: np.ndarray, count: int | None, seed: int) -> np.ndarray:
    if count is None or count >= len(indices):
        return indices
    chosen = splits.nested_subsets(labels[indices], [count], seed=seed)[0]
    return np.sort(indices[chosen])


def plan(config: Any) -> Plan:
    """Load the data and check every part of the configuration against it.

    Raises:
        GenjaxError: naming the field, what was found and what is allowed.
    """
    fields.check_names(config, benchmark.get_config())
    sweep = sweep_config(config)
    named = protocols(config)
    fields.check(config)
    examples = data.load(config.data.source, data_dir=config.data.folder or None, stream=False)
    assert isinstance(examples, data.Examples)  # not streamed
    seen = config.data.seen
    seed = None if config.data.class_seed < 0 else config.data.class_seed
    if isinstance(seen, int):
        classes = splits.seen_novel(examples.num_classes, num_seen=seen, seed=seed)
    else:
        classes = splits.seen_novel(examples.num_classes, seen=tuple(seen))
    if max(config.testbed.novel_counts) > len(classes.novel):
        raise errors.SplitError(
            f"testbed.novel_counts: found {max(config.testbed.novel_counts)}; only "
            f"{len(classes.novel)} classes are novel."
        )
    whole = splits.stratified(
        examples, tuple(config.data.fractions), seed=config.seed, is_test=examples.is_test
    )
    train_limit = config.data.train_examples or None  # 0 takes all
    validation_limit = None if train_limit is None else max(train_limit // 4, 1)
    limits = (train_limit, validation_limit, config.data.test_examples or None)
    parts = (
        _take(part, examples.labels, limit, config.seed)
        for part, limit in zip(whole, limits, strict=True)
    )
    chosen = Splits(*parts)
    check_shots(named, examples, chosen)
    fields.check_sizes(sweep, examples.image_shape, len(classes.seen))
    return Plan(examples, chosen, classes, sweep, named)


def check_shots(named: Sequence[Protocol], examples: data.Examples, chosen: Splits) -> None:
    """Refuse heads that want more labelled images of a class than there are.

    Raises:
        SplitError: naming the class with the fewest.
    """
    counts = np.bincount(examples.labels[chosen.train], minlength=examples.num_classes)
    shots = max(head.shots or 0 for head in named)
    if shots > counts.min():
        raise errors.SplitError(
            f"protocols.shots: found {shots}; class '{examples.class_names[counts.argmin()]}' has "
            f"only {counts.min()} training examples."
        )


def build_testbed(config: Any, plan: Plan | Reading) -> testbed.Testbed:
    """Make and calibrate the shift; an autoencoder is trained on training images."""
    key = jax.random.fold_in(jax.random.key(config.seed), 1)
    fit_key, key = jax.random.split(key)
    options = {}
    if config.testbed.shift == "autoencoder":
        options = {"images": plan.examples.images[plan.splits.train], "key": fit_key}
    shift = shifts.create(config.testbed.shift, **options)
    return testbed.build(
        plan.examples,
        plan.splits,
        plan.classes,
        shift=shift,
        targets=tuple(config.testbed.levels),
        counts=tuple(config.testbed.novel_counts),
        key=key,
    )
