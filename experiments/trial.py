"""Populations whose measures are put to the test: freshly trained, or those of a stored run."""

import pathlib
from typing import Any, NamedTuple

import jax
import numpy as np
import pandas as pd
from ml_collections import ConfigDict

from experiments import configuration, fields
from experiments.configs import measures as measures_config
from genjax import data, errors, report, training
from genjax.data import Examples, splits
from genjax.metrics import complexity, recorded, testbed
from genjax.metrics.complexity import measuring
from genjax.report.storage import OutputFolder
from genjax.training import ModelConfig, Population, SweepConfig, TrainingConfig, execution, segment


class Trial(NamedTuple):
    """Networks, and what their measures and errors are computed on.

    Attributes:
        train: examples that the networks were trained on.
        validation: examples that chose nothing, for measures that need some.
        test: examples that define the error to predict.
        sweep: what was trained.
        seed: of everything random.
    """

    train: Examples
    validation: Examples
    test: Examples
    sweep: SweepConfig
    seed: int


def prepare(config: Any) -> Trial:
    """Load the data and check every part of the configuration against it.

    Raises:
        GenjaxError: naming the field, what was found and what is allowed.
    """
    fields.check_names(config, measures_config.get_config())
    complexity.select(config.measures.names)
    if config.measures.examples < 1:
        raise errors.InvalidInputError(
            f"measures.examples: found {config.measures.examples}; at least 1 is needed."
        )
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
        TrainingConfig(batch_size=size, **config.training)
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
    with report.terminal.progress("training", unit="steps") as advance:
        return training.sweep(
            trial.sweep,
            _training_data(trial),
            jax.random.key(config.seed),
            checkpoints=output.path / "checkpoints",
            checkpoint_seconds=config.checkpoint_seconds,
            on_progress=advance,
        )


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
    if card.get("status") != "complete" or "testbed" not in config:
        raise errors.InvalidInputError(
            f"run: '{folder}' holds no complete run of experiments.benchmark."
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


def errors_on(population: Population, examples: Examples) -> np.ndarray:
    """Return the 0-1 error of every network on labelled examples; NaN for diverged ones."""
    found = []
    for group in population.groups:
        form = execution.choose(networks=len(group.seeds))
        fill = np.minimum(np.arange(execution.padded(len(group.seeds), form)), len(group.seeds) - 1)
        params = jax.tree.map(lambda leaf, fill=fill: np.asarray(leaf)[fill], group.params)

        def accuracy(images, labels, params, network=group.network):
            return segment.evaluate(network, params, images, labels)[1]

        program = execution.spread(accuracy, form, shared=2)
        values = 1 - np.asarray(program(examples.images, examples.labels, params), np.float64)
        values = values[: len(group.seeds)]
        found.append(np.where(group.status == segment.DIVERGED, np.nan, values))
    return np.concatenate(found)


def table(population: Population, trial: Trial, measured: pd.DataFrame) -> pd.DataFrame:
    """Return one row per network: `hp.*`, errors, recorded measures, and those of the zoo.

    Widths become `hp.width` and `hp.depth`; `metric.gap` is test error minus train error.
    """
    rows = population.table()
    widths = rows.pop("hp.widths").str.split("x")
    rows["hp.width"] = [int(w[0]) for w in widths]
    rows["hp.depth"] = [len(w) for w in widths]
    rows["metric.test_error"] = errors_on(population, trial.test)
    rows["metric.gap"] = rows["metric.test_error"] - (1 - rows["metric.train_accuracy"])
    return with_measures(rows, population, measured)


def with_measures(
    rows: pd.DataFrame, population: Population, measured: pd.DataFrame
) -> pd.DataFrame:
    """Return the table with measures added, those recorded in training and those of the zoo."""
    parts = [pd.DataFrame(recorded.recorded_measures(group)) for group in population.groups]
    before = pd.concat(parts, ignore_index=True).add_prefix("measure.")
    before = before[[c for c in before if c not in measured]]
    old = [c for c in rows if str(c).startswith(("measure.", "info."))]
    return pd.concat([rows.drop(columns=old), before, measured], axis=1)


def converged(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the networks whose training reached its threshold; measures compare like with like.

    Raises:
        InvalidInputError: none did.
    """
    reached = rows.loc[rows["metric.status"] == segment.STATUS_NAMES[segment.REACHED]]
    if not len(reached):
        raise errors.InvalidInputError(
            "training: no network reached training.threshold; raise it, or training.max_steps."
        )
    return pd.DataFrame(reached).reset_index(drop=True)


def measure(
    population: Population,
    trial: Trial,
    output: OutputFolder,
    names: tuple[str, ...],
    *,
    examples: int,
    mark: str,
) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """Measure group by group; each is saved as soon as it is done.

    Args:
        population: the networks.
        trial: their data.
        output: where groups are kept, in `measured/`.
        names: measures, families, `fast` or `all`.
        examples: training, validation and unlabelled examples that measures read at most.
        mark: of everything that decides the numbers; groups kept under another one are not used.

    Returns:
        Columns `measure.*` and `info.*`, and what was refused: measure, networks, reason.
    """
    chosen = tuple(m.name for m in complexity.select(names))
    measured = complexity.measure_data(
        _some(trial.train, examples),
        _some(trial.validation, examples),
        _some(trial.validation, examples),
        train_size=len(trial.train),
    )
    key = jax.random.fold_in(jax.random.key(trial.seed), 3)
    frames, refused, row = [], [], 0
    with report.terminal.progress("measuring", unit="networks") as advance:
        total = sum(len(g.seeds) for g in population.groups)
        for index, group in enumerate(population.groups):
            advance(row, total, group.network.name)
            kept = _kept(output, index, mark)
            if kept is None:
                found = complexity.measure_group(group, measured, chosen, key=key)
                said = [{**r._asdict(), "networks": list(r.networks)} for r in found.refused]
                kept = measuring.columns(found), said
                output.write_parquet(f"measured/group_{index:03d}", kept[0])
                output.write_json(f"measured/group_{index:03d}", {"mark": mark, "refused": said})
            frames.append(kept[0])
            refused += [{**r, "networks": [row + i for i in r["networks"]]} for r in kept[1]]
            row += len(group.seeds)
        advance(row, total, "measured")
    return pd.concat(frames, ignore_index=True), refused


def _some(examples: Examples, count: int) -> Examples:
    """Return a random sample, the same one however the examples are ordered elsewhere."""
    chosen = np.random.default_rng(0).permutation(len(examples))[:count]
    return examples.take(np.sort(chosen))


def _kept(output: OutputFolder, index: int, mark: str):
    name = f"measured/group_{index:03d}"
    if not (output.exists(f"{name}.json") and output.exists(f"{name}.parquet")):
        return None
    said = output.read_json(name)
    return (output.read_parquet(name), said["refused"]) if said["mark"] == mark else None
