"""Networks as they were on the way: parameters at chosen steps of one uninterrupted training.

What a sweep returns are the last parameters. Training in stretches from those of the stretch
before would forget the optimiser's moments.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int
from jaxtyping import Key as Keys

from genjax.data import Examples
from genjax.errors import InvalidInputError
from genjax.models import Network
from genjax.training import execution, segment
from genjax.training.config import HyperParameters, TrainingConfig
from genjax.types import Params


class Snapshots(NamedTuple):
    """A training with what it passed through.

    Attributes:
        params: one tree per kept record, every leaf `[R, ...]`, on the host.
        kept: positions of these records.
        history: `segment.Record` of arrays `[T, R]`; NaN after a network diverged.
        steps: of every record, `[T]`.
        status: `[R]`, see `genjax.training.segment`.
    """

    params: list[Params]
    kept: np.ndarray
    history: segment.Record
    steps: np.ndarray
    status: np.ndarray


def train_with_snapshots(
    network: Network,
    rules: TrainingConfig,
    examples: Examples,
    indices: Int[np.ndarray, "networks examples"],
    held_out: Int[np.ndarray, "networks others"],
    hyper: HyperParameters,
    keys: Keys[Array, " networks"],
    *,
    kept: Sequence[int],
    on_progress: Callable[[int, int, str], None] | None = None,
) -> Snapshots:
    """Train R networks of one architecture as one program, and keep them at some records.

    Every network has its own training and held-out examples. The first record is after
    `rules.record_every` steps.

    Args:
        network: the architecture, for all.
        rules: as in a sweep; `stop` must be "steps", and records divide `max_steps`.
        examples: what the positions point into.
        indices: trained on.
        held_out: for `validation_loss` and `validation_accuracy`.
        hyper: each field a number or `[R]`.
        keys: of the start and of the order of the batches.
        kept: positions of the records whose parameters are kept.
        on_progress: called with (network-steps done, all network-steps, name of the network).

    Raises:
        InvalidInputError: another rule of stopping, records that do not divide the steps, or a
            position of no record.

    Example:
        >>> from genjax import data, models
        >>> digits = data.load("digits")
        >>> mlp = models.create("mlp", image_shape=(8, 8, 1), num_classes=10, widths=(4,))
        >>> rules = TrainingConfig(max_steps=20, record_every=10, stop="steps")
        >>> found = train_with_snapshots(
        ...     mlp, rules, digits, np.arange(100)[None], np.arange(100, 120)[None],
        ...     HyperParameters(), jax.random.split(jax.random.key(0), 1), kept=(1,))
        >>> found.history.loss.shape, len(found.params), found.steps.tolist()
        ((2, 1), 1, [10, 20])
    """
    records = rules.max_steps // rules.record_every
    if rules.stop != "steps" or rules.max_steps % rules.record_every:
        raise InvalidInputError(
            f"rules: found stop '{rules.stop}' and records every {rules.record_every} of "
            f"{rules.max_steps} steps; allowed is stop 'steps' with records that divide the steps."
        )
    if not len(kept) or min(kept) < 0 or max(kept) >= records:
        raise InvalidInputError(f"kept: found {tuple(kept)}; allowed are 0 to {records - 1}.")
    count = len(indices)
    form = execution.choose(networks=count)
    own = {
        "indices": np.asarray(indices, np.int32),
        "held_out": np.asarray(held_out, np.int32),
        "key": keys,
        "hyper": HyperParameters(
            *(np.broadcast_to(np.asarray(v, np.float32), (count,)) for v in hyper)
        ),
    }
    used = frozenset(n for n, v in own["hyper"]._asdict().items() if np.any(v != 0))
    fill = np.minimum(np.arange(execution.padded(count, form)), count - 1)
    own = jax.tree.map(lambda leaf: leaf[fill], own)
    start, run, fold = _programs(network, rules, used, form)
    state = start(own)
    shared = jnp.asarray(examples.images), jnp.asarray(examples.labels)
    history, params = [], []
    for record in range(records):
        steps = record * rules.record_every + np.arange(rules.record_every)
        state, one = run(*shared, steps, state, own)
        history.append(jax.tree.map(lambda leaf: np.asarray(leaf)[:count], one))
        if record in kept:
            found = fold(state.learner)
            params.append(jax.tree.map(lambda leaf: np.asarray(leaf)[:count], found))
        if on_progress is not None:
            on_progress(int(steps[-1] + 1) * count, rules.max_steps * count, network.name)
    return Snapshots(
        params,
        np.array(sorted(set(kept))),
        jax.tree.map(lambda *leaves: np.stack(leaves), *history),
        rules.record_every * (1 + np.arange(records)),
        np.asarray(state.status)[:count],
    )


def _programs(
    network: Network, rules: TrainingConfig, used: frozenset[str], form: execution.Execution
) -> tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any]]:
    init, advance = segment.make_segment(network, rules, used, streamed=False)

    def start(own):
        return init(own["key"], own["hyper"])

    def run(images, labels, steps, state, own):
        source = images[own["indices"]], labels[own["indices"]]
        monitor = segment.Monitor(*source, images[own["held_out"]], labels[own["held_out"]])
        return advance(source, monitor, steps, state, own["key"], own["hyper"])

    def fold(learner):
        return network.fold(learner.parameters, learner.statistics)

    return (
        execution.spread(start, form),
        execution.spread(run, form, shared=3, stacked=2),
        execution.spread(fold, form),
    )
