"""Populations whose measures are tried: freshly trained, or those of a stored run."""

import pathlib
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from experiments import configuration, fields
from experiments.configs import measures as measures_config
from genjax import data, errors, report, training
from genjax.data import Examples, splits
from genjax.metrics import testbed
from genjax.report.storage import OutputFolder
from genjax.training import (
    ModelConfig,
    Population,
    SweepConfig,
    TrainingConfig,
    execution,
    segment,
)


class Trial(NamedTuple):
    """Networks, and what their measures and errors are computed on.

    Attributes:
        train: examples that the networks were trained on.
        validation: examples that were not trained on, for measures that need some, or None.
        test: examples that define the error to predict.
        sweep: what was trained; None if elsewhere.
        seed: of everything random.
        train_size: examples that training used; 0 for all of `train`.
    """

    train: Examples
    validation: Examples | None
    test: Examples
    sweep: SweepConfig | None
    seed: int
    train_size: int = 0


def prepare(config: Any, like: Any = None) -> Trial:
    """Load the data and check every part of the configuration against it.

    Args:
        config: fields as in configs/measures.py.
        like: configuration whose fields are allowed; None takes that one.

    Raises:
        GenjaxError: naming the field, what was found and what is allowed.
    """
    fields.check_names(config, like or measures_config.get_config())
    fields.check_measures(config)
    sweep = _sweep(config)
    examples = data.load(config.data.source, data_dir=config.data.folder or None, stream=False)
    assert isinstance(examples, Examples)  # not streamed
    parts = splits.stratified(
        examples, tuple(config.data.fractions), seed=config.seed, is_test=examples.is_test
    )
    limit = config.data.train_examples or len(parts.train)
    train = np.sort(np.random.default_rng(config.seed).permutation(parts.train)[:limit])
    trial = Trial(
        examples.take(train),
        examples.take(parts.validation),
        examples.take(parts.test),
        sweep,
        config.seed,
    )
    training.check(sweep, _training_data(trial), jax.random.key(config.seed))
    return trial


def _sweep(config: Any) -> SweepConfig:
    models = [
        ModelConfig("mlp", {"widths": (width,) * depth})
        for width in fields.numbers("sweep.widths", config.sweep.widths)
        for depth in fields.numbers("sweep.depths", config.sweep.depths)
    ]
    rules = [
        TrainingConfig(batch_size=size, optimizer=optimizer, **config.training)
        for optimizer in config.sweep.optimizers
        for size in fields.numbers("sweep.batch_sizes", config.sweep.batch_sizes)
    ]
    hyper = {
        name: fields.numbers(f"sweep.hyper.{name}", values)
        for name, values in config.sweep.hyper.items()
    }
    return SweepConfig(models, rules, hyper, config.sweep.seeds)


def _training_data(trial: Trial) -> training.TrainingData:
    return training.TrainingData(trial.train, trial.validation)


def train(config: Any, trial: Trial, output: OutputFolder) -> Population:
    """Train, or go on where another run of the same configuration was stopped."""
    assert trial.sweep is not None
    with report.terminal.progress("training", unit="steps") as advance:
        return training.sweep(
            trial.sweep,
            _training_data(trial),
            jax.random.key(config.seed),
            checkpoints=output.path / "checkpoints",
            checkpoint_seconds=config.checkpoint_seconds,
            on_progress=advance,
        )


def errors_on(population: Population, examples: Examples) -> np.ndarray:
    """Return the 0-1 error of every network on labelled examples; NaN for diverged ones."""
    found = []
    for group in population.groups:
        count = len(group.seeds)
        form = execution.choose(networks=count)
        params = execution.filled(group.params, count, form)

        def accuracy(images, labels, params, network=group.network):
            return segment.evaluate(network, params, images, labels)[1]

        program = execution.spread(accuracy, form, shared=2)
        right = execution.cut(program(examples.images, examples.labels, params), count)
        values = 1 - right.astype(np.float64)
        found.append(np.where(group.status == segment.DIVERGED, np.nan, values))
    return np.concatenate(found)


def stored(folder: str) -> tuple[Trial, Population, OutputFolder]:
    """Read the networks of a complete run of `experiments.benchmark` again.

    Raises:
        InvalidInputError: the folder holds no complete run, or not its networks.
    """
    path = pathlib.Path(folder).expanduser()
    if not (path / "run.json").is_file():
        raise errors.InvalidInputError(f"run: '{folder}' holds no run.json of a stored run.")
    output = OutputFolder(path)
    card = output.read_json("run.json")
    config: Any = ConfigDict(card.get("config", {}))
    if card.get("status") != "complete" or not {"testbed", "sweep"} <= set(config):
        raise errors.InvalidInputError(
            f"run: '{folder}' holds no complete run of experiments.benchmark that trained networks."
        )
    if not list((path / "checkpoints").glob("group_*/step_*")):
        raise errors.InvalidInputError(
            f"run: the networks of '{folder}' are gone (its folder checkpoints is empty)."
        )
    plan = configuration.plan(config)
    train, validation, test = (
        testbed.seen_only(plan.examples.take(part), plan.classes) for part in plan.splits
    )
    trial = Trial(train, validation, test, plan.sweep, config.seed)
    population = training.sweep(
        plan.sweep,
        _training_data(trial),
        jax.random.key(config.seed),
        checkpoints=path / "checkpoints",
    )
    return trial, population, output
