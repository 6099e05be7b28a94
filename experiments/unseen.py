"""Networks that were trained on some classes of a data set, others being held out, many times."""

import concurrent.futures
import dataclasses
import pathlib
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments import fields
from genjax import data, errors, report, training
from genjax.data import ClassSplit, Examples, splits, union
from genjax.metrics.layers.embeddings import refuse_leaks
from genjax.report.storage import OutputFolder
from genjax.training import ModelConfig, Population, SweepConfig, TrainingConfig, execution


class Split(NamedTuple):
    """One draw of unseen classes.

    Attributes:
        classes: which are seen, which unseen.
        train: examples of seen classes, relabelled, that networks are trained on.
        seen: others of the seen classes, relabelled alike.
        unseen: all examples of the unseen classes, relabelled.
    """

    classes: ClassSplit
    train: Examples
    seen: Examples
    unseen: Examples


def sweep_of(config: Any) -> SweepConfig:
    """Return what is trained in every split."""
    models = [ModelConfig(name, dict(options)) for name, options in fields.models_of(config)]
    hyper = {
        name: fields.numbers(f"sweep.hyper.{name}", values)
        for name, values in config.sweep.hyper.items()
    }
    return SweepConfig(models, [TrainingConfig(**config.training)], hyper, config.sweep.seeds)


def prepare(config: Any) -> list[Split]:
    """Load the data, draw the unseen classes of every split, check all of it and the sweep.

    Raises:
        GenjaxError: naming the field, what was found and what is allowed.
    """
    examples = _pooled(config)
    unseen = config.data.unseen_classes
    if not 4 <= unseen <= examples.num_classes - 2:  # halves of them have classes to separate
        raise errors.SplitError(
            f"data.unseen_classes: found {unseen}; allowed are 4 to {examples.num_classes - 2} of "
            f"the {examples.num_classes} classes."
        )
    if not 0 < config.data.test_share < 1 or config.data.splits < 1:
        raise errors.SplitError(
            f"data.test_share and data.splits: found {config.data.test_share} and "
            f"{config.data.splits}; allowed are a share in (0, 1) and at least one split."
        )
    classes = splits.balanced_novel(
        examples.class_names, num_novel=unseen, draws=config.data.splits, seed=config.seed
    )
    drawn = [_split(config, examples, *each) for each in enumerate(classes)]
    training.check(sweep_of(config), _training_data(drawn[0]), jax.random.key(config.seed))
    return drawn


def _pooled(config: Any) -> Examples:
    """Return all sources as one data set, smaller where the configuration says so."""
    pooled: Examples | None = None
    for source in config.data.sources:
        own = data.load(source, stream=False)
        assert isinstance(own, Examples)  # not streamed
        # Who is a test example is drawn anew in every split, from all examples of a class.
        own = Examples(own.images, own.labels, own.class_names, own.name)
        pooled = own if pooled is None else union.union(pooled, own)
    if pooled is None:
        raise errors.DataError("data.sources: found none; at least one is needed.")
    if config.data.per_class:
        pooled = union.at_most(pooled, config.data.per_class, 0, seed=config.seed)
    images = shrunk(pooled.images, config.data.shrink)
    return Examples(images, pooled.labels, pooled.class_names, pooled.name)


def shrunk(images: np.ndarray, side: int) -> np.ndarray:
    """Return the means of blocks of side x side pixels."""
    count, height, width, channels = images.shape
    if side < 1 or height % side or width % side:
        raise errors.DataError(
            f"data.shrink: found {side}; it must divide the image size {(height, width)}."
        )
    blocks = images.reshape(count, height // side, side, width // side, side, channels)
    return blocks.mean(axis=(2, 4), dtype=np.float32)


def _split(config: Any, examples: Examples, index: int, classes: ClassSplit) -> Split:
    """Draw who among the seen classes is not trained on."""
    seed = config.seed * 1000 + index
    seen = union.of_classes(examples, classes.seen)
    share = config.data.test_share
    parts = splits.stratified(seen, (1 - share, 0.0, share), seed=seed)
    drawn = Split(
        classes,
        seen.take(parts.train),
        seen.take(parts.test),
        union.of_classes(examples, classes.novel),
    )
    refuse_leaks(drawn.train.images, drawn.unseen.images)
    return drawn


def _training_data(split: Split) -> training.TrainingData:
    # Held-out examples of seen classes are recorded along the way; nothing is chosen by them.
    return training.TrainingData(split.train, split.seen)


def train(config: Any, drawn: list[Split], output: OutputFolder) -> list[Population]:
    """Train the networks of every split; what is trained already is read.

    Models are trained side by side, each on one device for all of its splits, so that it is
    compiled once: alone, a network keeps one device busy.
    """
    devices, whole = jax.devices(), sweep_of(config)
    jobs = [(model, split) for model in range(len(whole.models)) for split in range(len(drawn))]
    key = jax.random.key(config.seed)
    each = training.check(
        dataclasses.replace(whole, models=whole.models[:1]), _training_data(drawn[0]), key
    )
    total, done = len(jobs) * each * config.training.max_steps, dict.fromkeys(jobs, 0)
    trained: dict[tuple[int, int], Population] = {}

    def queue(place: int) -> None:
        for job in jobs:
            model, split = job
            if model % len(devices) != place:
                continue
            folder: pathlib.Path = output.path / "checkpoints" / f"split_{split}_model_{model}"
            folder.mkdir(parents=True, exist_ok=True)

            def on_progress(steps, _, words, job=job):
                done[job] = steps
                advance(sum(done.values()), total, f"split {job[1] + 1}: {words}")

            trained[job] = training.sweep(
                dataclasses.replace(whole, models=[whole.models[model]]),
                _training_data(drawn[split]),
                jax.random.fold_in(jax.random.fold_in(key, split), model),
                checkpoints=folder,
                checkpoint_seconds=config.checkpoint_seconds,
                form=execution.choose([devices[place]]),
                on_progress=on_progress,
            )

    with (
        report.terminal.progress("training", unit="steps") as advance,
        concurrent.futures.ThreadPoolExecutor(len(devices)) as pool,
    ):
        advance(0, total, f"compiling {len(whole.models)} models")
        for _ in pool.map(queue, range(min(len(devices), len(whole.models)))):
            pass  # raises what a model raised
    return [
        Population(tuple(g for m in range(len(whole.models)) for g in trained[m, split].groups), {})
        for split in range(len(drawn))
    ]
