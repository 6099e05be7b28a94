"""Train networks that each have examples, labels, a start or a mask of their own, all at once.

What a sweep shares (the training set) differs here from network to network: folds of a
cross-validation, bootstrap resamples, supersamples and their masks, replaced examples, random
labels, pruning masks, starts to fine-tune from. The rules, the step and the record are those of a
sweep.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int
from jaxtyping import Key as Keys

from genjax import errors, models
from genjax.data import Examples
from genjax.models import Network
from genjax.training import execution, segment
from genjax.training.config import HyperParameters, TrainingConfig
from genjax.training.population import TrainedGroup
from genjax.types import Params

Progress = Callable[[int, int, str], None]
OnRecord = Callable[[int, Callable[[], Params]], None]


class Own(NamedTuple):
    """What every one of R networks has for itself.

    Attributes:
        indices: examples it is trained on, `[R, n]`; one listed twice counts twice.
        labels: their labels, `[R, n]`; None takes those of the examples.
        hyper: each field a number or `[R]`; fields of value 0 for all networks cost nothing.
        start: parameters to start from, every leaf `[R, ...]`; None draws them from the key.
        masks: zeros and ones of the shape of the parameters, every leaf `[R, ...]`: where there is
            a zero, the weight is and stays 0; None keeps all.
        held_out: examples for the record (`validation_loss`, `validation_accuracy`), `[R, m]`;
            None takes those that all share, where there are any.
    """

    indices: Int[np.ndarray, "networks examples"]
    labels: Int[np.ndarray, "networks examples"] | None = None
    hyper: HyperParameters = HyperParameters()
    start: Params | None = None
    masks: Params | None = None
    held_out: Int[np.ndarray, "networks others"] | None = None


def train_resamples(
    network: Network,
    rules: TrainingConfig,
    examples: Examples,
    own: Own,
    keys: Keys[Array, " networks"],
    *,
    held_out: Examples | None = None,
    trainable: Sequence[str] | None = None,
    form: execution.Execution | None = None,
    on_progress: Progress | None = None,
    on_record: OnRecord | None = None,
) -> TrainedGroup:
    """Train R networks of one architecture, each on its own examples, as one program.

    The record and the stopping rules look at a network's own training set. A network whose numbers
    stop being finite is frozen and marked; the others go on.

    Args:
        network: the architecture, for all.
        rules: as in a sweep; early stopping needs `held_out`.
        examples: what `own.indices` points into.
        own: what differs between networks.
        keys: `[R]`, of the start and of the order of the batches; equal keys give equal ones.
        held_out: examples for the record (`validation_loss`, `validation_accuracy`), shared.
        trainable: names of the modules that are trained, the others stay as they start; None: all.
        form: devices and form; chosen for the backend when None.
        on_progress: called with (network-steps done, all network-steps, name of the network).
        on_record: called after every record with the steps done and a function that returns the
            parameters of all networks as they are now.

    Returns:
        The stack of networks; `seeds` number them 0 to R - 1.

    Raises:
        InvalidInputError: shapes that do not fit, indices outside the examples, unknown modules,
            early stopping without held-out examples, held-out examples given twice.

    Example:
        >>> from genjax import data
        >>> digits = data.load("digits")
        >>> mlp = models.create("mlp", image_shape=(8, 8, 1), num_classes=10, widths=(8,))
        >>> halves = np.arange(400).reshape(2, 200)
        >>> rules = TrainingConfig(max_steps=20, record_every=20, stop="steps")
        >>> keys = jax.random.split(jax.random.key(0), 2)
        >>> group = train_resamples(mlp, rules, digits, Own(halves), keys)
        >>> group.history.loss.shape
        (1, 2)
    """
    stacked = _checked(network, rules, examples, own, keys, held_out, trainable)
    count = len(own.indices)
    form = execution.choose(networks=count) if form is None else form
    stacked = execution.filled(stacked, count, form)
    used = frozenset(n for n, v in stacked["hyper"]._asdict().items() if np.any(v != 0))
    chosen = None if trainable is None else tuple(trainable)
    # Options may be lists; nothing here reads them.
    start, run, fold = _programs(network._replace(options=()), rules, used, chosen, form)
    state, init_params = start(stacked)
    real = np.arange(execution.padded(count, form)) < count
    idle = np.where(real, segment.RUNNING, segment.EXHAUSTED)
    state = state._replace(status=jnp.asarray(idle, jnp.int32))
    judged = examples if own.held_out is not None else held_out
    shared = (jnp.asarray(examples.images), *_held_out(examples, judged))
    history, steps = [], []
    status = np.asarray(state.status)
    total = rules.max_steps * count
    for first in range(0, rules.max_steps, rules.record_every):
        if not np.any(status == segment.RUNNING):
            break
        taken = np.arange(first, min(first + rules.record_every, rules.max_steps))
        state, record = run(*shared, taken, state, stacked)
        history.append(jax.tree.map(np.asarray, record))
        steps.append(int(taken[-1]) + 1)
        status = np.asarray(state.status)
        if on_progress is not None:
            running = int(np.sum(status[:count] == segment.RUNNING))
            done = (count - running) * rules.max_steps + running * steps[-1]
            on_progress(done, total, network.name)
        if on_record is not None:
            learner = state.learner
            on_record(steps[-1], lambda now=learner: execution.cut(fold(now, stacked), count))
    learner = state.best if rules.stop == "early_stopping" else state.learner
    records = segment.Record(
        *(np.stack([getattr(h, name) for h in history])[:, :count] for name in history[0]._fields)
    )
    return TrainedGroup(
        network=network,
        training=rules,
        cost=models.cost(network),
        params=execution.cut(fold(learner, stacked), count),
        init_params=execution.cut(init_params, count),
        hyper=execution.cut(stacked["hyper"], count),
        seeds=np.arange(count),
        status=status[:count],
        stop_step=np.asarray(state.stop_step)[:count],
        history=records,
        history_steps=np.asarray(steps),
        data_fingerprint=examples.fingerprint,
    )


def _held_out(examples: Examples, held_out: Examples | None) -> tuple[Any, Any]:
    if held_out is None:
        empty = np.zeros((0, *examples.image_shape), np.float32)
        return jnp.asarray(empty), jnp.zeros(0, jnp.int32)
    return jnp.asarray(held_out.images), jnp.asarray(held_out.labels)


def _with_own(network: Network, own: Any, trainable: Sequence[str] | None) -> Network:
    """Return the network as one of the stack sees it: with its start, its mask, what is frozen."""
    base = network.init

    def init(key):
        parameters, statistics = base(key)
        return own.get("start", parameters), statistics

    def seen(parameters, start):
        if trainable is not None:
            parameters = {
                name: parameters[name] if name in trainable else start[name] for name in parameters
            }
        if "masks" in own:
            parameters = jax.tree.map(lambda w, m: w * m, parameters, own["masks"])
        return parameters

    def train_apply(parameters, statistics, images, key, rate=None):
        start = own["frozen"] if trainable is not None else None
        return network.train_apply(seen(parameters, start), statistics, images, key, rate)

    def fold(parameters, statistics):
        start = own["frozen"] if trainable is not None else None
        return network.fold(seen(parameters, start), statistics)

    return network._replace(init=init, train_apply=train_apply, fold=fold)


@functools.lru_cache(maxsize=8)
def _programs(
    network: Any,
    rules: TrainingConfig,
    used: frozenset[str],
    trainable: tuple[str, ...] | None,
    form: execution.Execution,
) -> tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any]]:
    """Return the compiled programs of a stack: start, a segment of training, the end.

    Kept for the next stack of the same network, rules and shapes: it is compiled once.
    """

    def bound(own):
        if trainable is not None:
            start = _with_own(network, own, None).init(jax.random.fold_in(own["key"], 2))[0]
            own = own | {"frozen": start}
        return _with_own(network, own, trainable)

    def start(own):
        init, _ = segment.make_segment(bound(own), rules, used, streamed=False)
        state = init(own["key"], own["hyper"])
        learner = state.learner
        return state, bound(own).fold(learner.parameters, learner.statistics)

    def run(images, held_images, held_labels, steps, state, own):
        _, advance = segment.make_segment(bound(own), rules, used, streamed=False)
        source = images[own["indices"]], own["labels"]
        if "held_out" in own:
            held_images, held_labels = images[own["held_out"]], held_labels[own["held_out"]]
        monitor = segment.Monitor(*source, held_images, held_labels)
        return advance(source, monitor, steps, state, own["key"], own["hyper"])

    def fold(learner, own):
        return bound(own).fold(learner.parameters, learner.statistics)

    return (
        execution.spread(start, form),
        execution.spread(run, form, shared=4, stacked=2, donate=(4,)),
        execution.spread(fold, form, stacked=2),
    )


def _checked(network, rules, examples, own: Own, keys, held_out, trainable) -> dict[str, Any]:
    """Return what is stacked, after refusing what does not fit."""
    indices = np.asarray(own.indices)
    if indices.ndim != 2 or 0 in indices.shape or indices.dtype.kind != "i":
        raise errors.InvalidInputError(
            f"own.indices: found dtype {indices.dtype} and shape {indices.shape}; allowed are "
            "integers [networks, examples]."
        )
    if indices.min() < 0 or indices.max() >= len(examples):
        raise errors.InvalidInputError(
            f"own.indices: found {indices.min()} to {indices.max()}; allowed are 0 to "
            f"{len(examples) - 1}."
        )
    count = len(indices)
    labels = examples.labels[indices] if own.labels is None else np.asarray(own.labels)
    if labels.shape != indices.shape or labels.min() < 0 or labels.max() >= network.num_classes:
        raise errors.InvalidInputError(
            f"own.labels: found shape {labels.shape} and values {labels.min()} to {labels.max()}; "
            f"allowed is shape {indices.shape} with 0 to {network.num_classes - 1}."
        )
    if keys.shape != (count,):
        raise errors.InvalidInputError(
            f"keys: found shape {keys.shape}; one key for each of the {count} networks is needed."
        )
    if own.held_out is not None and held_out is not None:
        raise errors.InvalidInputError(
            "held_out: found examples of every network and shared ones; allowed is one of them."
        )
    if rules.stop == "early_stopping" and held_out is None and own.held_out is None:
        raise errors.InvalidInputError(
            "rules.stop: found 'early_stopping' without held_out examples; give some or stop by "
            "'steps' or 'cross_entropy'."
        )
    parameters, _ = jax.eval_shape(network.init, keys[0])
    unknown = sorted(set(trainable or ()) - set(parameters))
    if unknown:
        raise errors.InvalidInputError(errors.suggest("trainable", unknown[0], sorted(parameters)))
    others = {} if own.held_out is None else {"held_out": _held(own.held_out, count, len(examples))}
    stacked: dict[str, Any] = others | {
        "indices": jnp.asarray(indices, jnp.int32),
        "labels": jnp.asarray(labels, jnp.int32),
        "key": keys,
        "hyper": HyperParameters(
            *(np.broadcast_to(np.asarray(v, np.float32), (count,)) for v in own.hyper)
        ),
    }
    for name, tree in (("start", own.start), ("masks", own.masks)):
        if tree is not None:
            _check_tree(name, tree, parameters, count)
            stacked[name] = jax.tree.map(jnp.asarray, tree)
    return stacked


def _held(positions: Any, count: int, examples: int) -> Any:
    positions = np.asarray(positions)
    fits = positions.ndim == 2 and len(positions) == count and positions.size > 0
    if not fits or positions.min() < 0 or positions.max() >= examples:
        raise errors.InvalidInputError(
            f"own.held_out: found shape {positions.shape}; allowed are positions of 0 to "
            f"{examples - 1}, a row for each of the {count} networks."
        )
    return jnp.asarray(positions, jnp.int32)


def _check_tree(name: str, tree: Params, like: Params, count: int) -> None:
    """Refuse a stack of parameters that is not one of this network."""
    same = jax.tree.structure(tree) == jax.tree.structure(like)
    shapes = [np.shape(leaf) for leaf in jax.tree.leaves(tree)]
    if not same or shapes != [(count, *leaf.shape) for leaf in jax.tree.leaves(like)]:
        raise errors.InvalidInputError(
            f"own.{name}: found other arrays than those of {count} stacked networks; allowed is "
            "the tree of the network's parameters with a leading axis."
        )
