"""Train a population: every model, hyper-parameter setting and seed, a program per group."""

import concurrent.futures
import dataclasses
import hashlib
import json
import os
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from genjax import errors, models
from genjax.data import Examples, StreamedExamples
from genjax.training import checkpoint, execution, segment
from genjax.training.config import HyperParameters, SweepConfig, TrainingConfig
from genjax.training.population import Population, TrainedGroup, require_alive
from genjax.types import Key

Progress = Callable[[int, int, str], None]

MONITOR_LIMIT = 10_000
"""Records of a streamed training set are computed on this many of its examples at most."""


class TrainingData(NamedTuple):
    """What a sweep trains on.

    Attributes:
        train: the training examples; streamed ones are shared batch by batch by all networks.
        validation: examples for early stopping and the history, or None.
    """

    train: Examples | StreamedExamples
    validation: Examples | None = None


class _Group(NamedTuple):
    """One compiled program's worth of networks, before training."""

    network: models.Network
    training: TrainingConfig
    hyper: HyperParameters
    seeds: np.ndarray
    keys: Any
    used: frozenset[str]
    fingerprint: str


def group_fingerprint(network, training, hyper, seeds, key, data: list[str]) -> str:
    """Return a digest of all that decides the numbers of a group."""
    content = {
        "model": network.name,
        "classes": network.num_classes,
        "training": dataclasses.asdict(training),
        "hyper": {k: np.asarray(v).tolist() for k, v in hyper._asdict().items()},
        "seeds": seeds.tolist(),
        "key": np.asarray(jax.random.key_data(key)).tolist(),
        "data": data,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _plan(config: SweepConfig, data: TrainingData, key: Key) -> list[_Group]:
    """Make every group before anything is trained, so that a bad one is refused at once."""
    train = data.train
    settings = config.settings()
    seeds = np.tile(np.arange(config.seeds), len(settings))
    columns = {name: [s[name] for s in settings] for name in HyperParameters._fields}
    hyper = HyperParameters(
        **{n: np.repeat(np.asarray(c, np.float32), config.seeds) for n, c in columns.items()}
    )
    used = frozenset(n for n, v in hyper._asdict().items() if np.any(v != 0))
    keys = jax.vmap(lambda s: jax.random.fold_in(key, s))(jnp.asarray(seeds))
    groups = []
    for model in config.models:
        network = models.create(
            model.name,
            image_shape=train.image_shape,
            num_classes=train.num_classes,
            **model.options,
        )
        for rules in config.training:
            if rules.stop == "early_stopping" and data.validation is None:
                raise errors.InvalidInputError(
                    "training.stop: found 'early_stopping' without validation examples; "
                    "give some or stop by 'steps' or 'cross_entropy'."
                )
            sets = [train.fingerprint, data.validation.fingerprint if data.validation else "none"]
            mark = group_fingerprint(network, rules, hyper, seeds, key, sets)
            groups.append(_Group(network, rules, hyper, seeds, keys, used, mark))
    return groups


def _monitor(data: TrainingData) -> segment.Monitor:
    train = data.train
    if isinstance(train, StreamedExamples):
        chosen = np.random.default_rng(0).permutation(len(train))[:MONITOR_LIMIT]
        train = train.take(np.sort(chosen))
    empty = np.zeros((0, *train.image_shape), np.float32), np.zeros(0, np.int32)
    held_out = data.validation
    validation = (held_out.images, held_out.labels) if held_out is not None else empty
    return segment.Monitor(*map(jnp.asarray, (train.images, train.labels, *validation)))


def _stream(train: StreamedExamples, batch_size: int, start: int) -> Iterator[Any]:
    """Yield the batches from step `start` on; the order of epoch e comes from e alone."""
    per_epoch = len(train) // batch_size
    epoch, skip = divmod(start, per_epoch)
    while True:
        for i, batch in enumerate(train.batches(batch_size, seed=epoch, drop_remainder=True)):
            if i >= skip:
                yield batch
        epoch, skip = epoch + 1, 0


class _Trainer:
    """Runs one group segment by segment; everything numeric happens in `segment`."""

    def __init__(self, group: _Group, data: TrainingData, form: execution.Execution):
        self.group, self.data, self.form = group, data, form
        self.count = len(group.seeds)
        self.size = execution.padded(self.count, form)
        self.streamed = isinstance(data.train, StreamedExamples)
        init, run = segment.make_segment(
            group.network, group.training, group.used, streamed=self.streamed
        )

        def fold(learner):
            return group.network.fold(learner.parameters, learner.statistics)

        def start(key, hyper):
            state = init(key, hyper)
            return state, fold(state.learner)

        self._start = execution.spread(start, form, stacked=2)
        self._run = execution.spread(run, form, shared=3, stacked=3, donate=(3,))
        self._fold = execution.spread(fold, form)
        self._ahead: dict[int, Any] = {}
        self.keys, self.hyper = execution.filled((group.keys, group.hyper), self.count, form)

    def compile(self, monitor: segment.Monitor) -> None:
        """Compile the group's programs; thread-safe, so that groups compile side by side."""
        own = (self.keys, self.hyper)
        state, _ = jax.eval_shape(self._start, *own)
        self._start = execution.compile_ahead(self._start, *own)
        if not self.streamed:
            steps = np.arange(self.group.training.record_every)
            self._ahead[len(steps)] = execution.compile_ahead(
                self._run, (monitor.images, monitor.labels), monitor, steps, state, *own
            )

    def start(self) -> tuple[segment.NetworkState, Any]:
        state, init_params = self._start(self.keys, self.hyper)
        # The copies that fill the last device never run.
        idle = np.where(np.arange(self.size) < self.count, segment.RUNNING, segment.EXHAUSTED)
        return state._replace(status=jnp.asarray(idle, jnp.int32)), init_params

    def segments(self, start: int, monitor: segment.Monitor):
        """Yield functions state -> (state, record) with the step reached after each."""
        rules = self.group.training
        train = self.data.train
        batch = min(rules.batch_size, len(train))
        stream = _stream(train, batch, start) if self.streamed else None  # type: ignore[arg-type]
        resident = None if self.streamed else (monitor.images, monitor.labels)
        for first in range(start, rules.max_steps, rules.record_every):
            steps = np.arange(first, min(first + rules.record_every, rules.max_steps))
            source = resident
            if stream is not None:
                batches = [next(stream) for _ in steps]
                source = (
                    np.stack([b.images for b in batches]),
                    np.stack([b.labels for b in batches]),
                )

            def advance(state, source=source, steps=steps):
                run = self._ahead.get(len(steps), self._run)
                return run(source, monitor, steps, state, self.keys, self.hyper)

            yield int(steps[-1]) + 1, advance

    def finish(self, state, init_params, history, steps) -> TrainedGroup:
        """Fold, drop the padding and hand over."""
        group, n = self.group, self.count
        learner = state.learner
        if group.training.stop == "early_stopping":
            learner = state.best
        has_statistics = bool(jax.tree.leaves(learner.statistics))
        params = self._fold(learner) if has_statistics else learner.parameters
        records = segment.Record(*(np.asarray(v) for v in history))
        return TrainedGroup(
            network=group.network,
            training=group.training,
            cost=models.cost(group.network),
            params=execution.cut(params, n),
            init_params=execution.cut(init_params, n),
            hyper=group.hyper,
            seeds=group.seeds,
            status=np.asarray(state.status)[:n],
            stop_step=np.asarray(state.stop_step)[:n],
            history=segment.Record(*(v[:, :n] for v in records)),
            history_steps=np.asarray(steps),
            data_fingerprint=self.data.train.fingerprint,
        )


def _train_group(
    trainer: _Trainer, monitor, folder: pathlib.Path | None, every: float, report
) -> TrainedGroup:
    """Train one group, or what is left of it, saving as it goes."""
    group = trainer.group
    state, init_params = trainer.start()
    rules = group.training
    records = -(-rules.max_steps // rules.record_every)
    blank = np.full((records, trainer.size), np.nan, np.float32)
    history = segment.Record(*(blank.copy() for _ in segment.Record._fields))
    step, done = 0, 0
    found = checkpoint.latest(folder) if folder else None
    if found:
        like = {"state": state, "history": history}
        step, stored = checkpoint.restore(found, like, group.fingerprint)
        state, history = stored["state"], segment.Record(*map(np.array, stored["history"]))
        done = -(-step // rules.record_every)
    saved_at, saved_step = time.monotonic(), step
    status = np.asarray(state.status)
    report(status, step)
    for reached, advance in trainer.segments(step, monitor):
        if not np.any(status == segment.RUNNING):
            break
        state, record = advance(state)
        for column, value in zip(history, record, strict=True):
            column[done] = np.asarray(value)
        step, done = reached, done + 1
        status = np.asarray(state.status)
        report(status, step)
        if folder and time.monotonic() - saved_at > every:
            checkpoint.save(folder, step, {"state": state, "history": history}, group.fingerprint)
            saved_at, saved_step = time.monotonic(), step
    if folder and (saved_step != step or not found):
        checkpoint.save(folder, step, {"state": state, "history": history}, group.fingerprint)
    steps = np.minimum(np.arange(1, done + 1) * rules.record_every, rules.max_steps)
    return trainer.finish(state, init_params, [column[:done] for column in history], steps)


def sweep(
    config: SweepConfig,
    data: Examples | StreamedExamples | TrainingData,
    key: Key,
    *,
    checkpoints: str | pathlib.Path | None = None,
    checkpoint_seconds: float = 30.0,
    form: execution.Execution | None = None,
    on_progress: Progress | None = None,
) -> Population:
    """Train every network of `config` on `data`.

    The key of a network is `fold_in(key, seed)`, and inside it `fold_in` of the step, so that a
    network's numbers do not depend on its neighbours, on the number of devices or on interruptions
    (up to float32 rounding of differently compiled programs). Networks whose numbers stop being
    finite are frozen at their last record and marked; the others go on.

    Args:
        config: models, rules, grid and seeds.
        data: examples to train on, optionally with validation examples.
        key: base of all randomness.
        checkpoints: folder for checkpoints; a run that finds some goes on from there.
        checkpoint_seconds: time between checkpoints inside a group; each group is saved at its end.
        form: devices and form; chosen for the backend when None.
        on_progress: called with (network-steps done, all network-steps, what is being trained).

    Raises:
        InvalidInputError: unknown names or values outside their range, before any training.
        CheckpointError: a checkpoint is corrupt or of another run.
        DivergenceError: no network is left with finite numbers.

    Example:
        >>> from genjax import data as gdata
        >>> from genjax.training import ModelConfig, TrainingConfig
        >>> rules = TrainingConfig(max_steps=20, record_every=10)
        >>> config = SweepConfig([ModelConfig("mlp", {"widths": (8,)})], [rules], seeds=2)
        >>> population = sweep(config, gdata.load("digits"), jax.random.key(0))
        >>> len(population.table())
        2
    """
    if not isinstance(data, TrainingData):
        data = TrainingData(data)
    groups = _plan(config, data, key)
    form = execution.choose(networks=len(groups[0].seeds)) if form is None else form
    if checkpoints is not None:
        _refuse_foreign(pathlib.Path(checkpoints), groups)
    monitor = _monitor(data)
    total = sum(g.training.max_steps * len(g.seeds) for g in groups)
    behind = 0
    trained, seconds = [], {}
    trainers = _compiled_in_order(groups, data, form, monitor)
    for index, (group, trainer) in enumerate(zip(groups, trainers, strict=True)):
        folder = None
        if checkpoints is not None:
            folder = pathlib.Path(checkpoints) / f"group_{index:03d}"
        started = time.monotonic()
        count = len(group.seeds)

        def report(status, step, group=group, behind=behind, count=count):
            if on_progress is not None:
                running = int(np.sum(status[:count] == segment.RUNNING))
                finished = (count - running) * group.training.max_steps + running * step
                on_progress(behind + finished, total, group.network.name)

        trained.append(_train_group(trainer, monitor, folder, checkpoint_seconds, report))
        seconds[f"{index:03d} {group.network.name}"] = time.monotonic() - started
        behind += group.training.max_steps * count
    population = Population(tuple(trained), seconds)
    require_alive(population)
    return population


def _compiled_in_order(groups, data, form, monitor) -> Iterator[_Trainer]:
    """Yield the trainers; while one trains, the next ones compile (one core each)."""
    trainers = [_Trainer(group, data, form) for group in groups]
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2
    pool = concurrent.futures.ThreadPoolExecutor(workers)
    try:
        compiled = [pool.submit(trainer.compile, monitor) for trainer in trainers]
        for trainer, job in zip(trainers, compiled, strict=True):
            job.result()
            yield trainer
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def check(config: SweepConfig, data: Examples | TrainingData, key: Key) -> int:
    """Return how many networks `sweep` would train, after refusing what it would refuse.

    Raises:
        InvalidInputError: unknown names, or values that make no network.

    Example:
        >>> from genjax import data as gdata
        >>> from genjax.training import ModelConfig
        >>> config = SweepConfig([ModelConfig("mlp")], seeds=3)
        >>> check(config, gdata.load("digits"), jax.random.key(0))
        3
    """
    if not isinstance(data, TrainingData):
        data = TrainingData(data)
    return sum(len(group.seeds) for group in _plan(config, data, key))


def _refuse_foreign(folder: pathlib.Path, groups: list[_Group]) -> None:
    """Read the header of every checkpoint before the first step is taken."""
    for index, group in enumerate(groups):
        found = checkpoint.latest(folder / f"group_{index:03d}")
        if found:
            checkpoint.check(found, group.fingerprint)
