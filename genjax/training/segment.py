"""A stretch of training of one network as one pure function: steps, a record, the rules."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from genjax.models import Network
from genjax.training.config import HyperParameters, TrainingConfig
from genjax.training.step import Learner, make_step
from genjax.types import Key

RUNNING, REACHED, STOPPED_EARLY, EXHAUSTED, DIVERGED = range(5)
STATUS_NAMES = ("running", "reached threshold", "stopped early", "all steps", "diverged")

_MONITOR_CHUNK = 512


class NetworkState(NamedTuple):
    """All that training needs to go on with one network.

    Attributes:
        learner: parameters, statistics and optimiser state.
        status: one of RUNNING, REACHED, STOPPED_EARLY, EXHAUSTED, DIVERGED.
        stop_step: steps taken; for a diverged network the last step with finite numbers.
        best: learner with the lowest validation error so far (early stopping only, otherwise
            empty).
        best_error: its validation error.
        waited: records since then.
    """

    learner: Learner
    status: Any
    stop_step: Any
    best: Any
    best_error: Any
    waited: Any


class Record(NamedTuple):
    """One line of the history; NaN once a network has stopped.

    Attributes:
        loss: mean cross-entropy over the whole training set, in nats, without smoothing or mixup.
        accuracy: share of the training set classified correctly.
        gradient_norm: mean over the steps since the last record.
        validation_loss: mean cross-entropy over the validation set; NaN where there is none.
        validation_accuracy: share classified correctly.
    """

    loss: Any
    accuracy: Any
    gradient_norm: Any
    validation_loss: Any
    validation_accuracy: Any


class Monitor(NamedTuple):
    """Examples on which the records are computed, the same for all networks.

    Attributes:
        images: [N, H, W, C].
        labels: [N].
        validation_images: [M, H, W, C], M may be 0.
        validation_labels: [M].
    """

    images: Any
    labels: Any
    validation_images: Any
    validation_labels: Any


def evaluate(network: Network, params, images, labels):
    """Return (mean cross-entropy in nats, accuracy) of one network; NaN for no examples.

    Runs in chunks so that memory does not grow with the number of examples.
    """
    count = images.shape[0]
    if count == 0:
        return jnp.float32(jnp.nan), jnp.float32(jnp.nan)
    chunks = -(-count // _MONITOR_CHUNK)
    size = -(-count // chunks)
    # The last chunk starts early enough to be full; what it repeats gets weight 0.
    starts = jnp.minimum(jnp.arange(chunks) * size, count - size)

    def chunk(index):
        start = starts[index]
        x = jax.lax.dynamic_slice_in_dim(images, start, size)
        y = jax.lax.dynamic_slice_in_dim(labels, start, size)
        fresh = (start + jnp.arange(size)) >= index * size
        logits = network.apply(params, x)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, y)
        right = jnp.argmax(logits, axis=-1) == y
        return jnp.sum(jnp.where(fresh, losses, 0.0)), jnp.sum(fresh & right)

    losses, right = jax.lax.map(chunk, jnp.arange(chunks))
    return jnp.sum(losses) / count, jnp.sum(right) / count


def epoch_order(key: Key, epoch, count: int):
    """Return the order of the examples in an epoch, a function of the network's key alone."""
    bits = jax.random.bits(jax.random.fold_in(jax.random.fold_in(key, 0), epoch), (count,))
    return jnp.argsort(bits)


def step_key(key: Key, step) -> Key:
    """Return the key of everything random inside a step."""
    return jax.random.fold_in(jax.random.fold_in(key, 1), step)


def _steps_from_memory(step_fn, config: TrainingConfig, source, key, hyper):
    """Return the body of a scan that draws its own batches from arrays on the device."""
    images, labels = source
    count = images.shape[0]
    batch = min(config.batch_size, count)
    per_epoch = count // batch

    def body(carry, step):
        learner, order, started = carry
        epoch, within = step // per_epoch, step % per_epoch
        # The predicate is the same for all networks, so it stays a branch under vmap.
        order = jax.lax.cond(
            (within == 0) | ~started, lambda: epoch_order(key, epoch, count), lambda: order
        )
        chosen = jax.lax.dynamic_slice_in_dim(order, within * batch, batch)
        examples = (images[chosen], labels[chosen])
        learner, info = step_fn(learner, examples, step_key(key, step), hyper)
        return (learner, order, jnp.bool_(True)), info

    return body, (jnp.zeros(count, jnp.int32), jnp.bool_(False))


def make_segment(
    network: Network, config: TrainingConfig, used: frozenset[str], *, streamed: bool
) -> tuple[Callable[..., NetworkState], Callable[..., tuple[NetworkState, Record]]]:
    """Return `(init, segment)` of one network.

    `init(key, hyper) -> NetworkState`. `segment(source, monitor, steps, state, key, hyper)` takes
    the steps numbered `steps` [S] and returns `(state, Record)`; `source` is `(images, labels)` of
    the whole training set, or with `streamed` one batch per step, `[S, B, ...]`. A network that is
    no longer RUNNING is returned as it is; one whose numbers stop being finite keeps its last
    finite state.
    """
    init_learner, step_fn = make_step(network, config, used)
    early = config.stop == "early_stopping"

    def init(key, hyper):
        learner = init_learner(jax.random.fold_in(key, 2), hyper)
        best = learner if early else ()
        return NetworkState(
            learner, jnp.int32(RUNNING), jnp.int32(0), best, jnp.float32(jnp.inf), jnp.int32(0)
        )

    def run_steps(source, steps, learner, key, hyper) -> Any:
        if streamed:

            def shared_batch(carry, inputs):
                step, examples = inputs
                return step_fn(carry, examples, step_key(key, step), hyper)

            return jax.lax.scan(shared_batch, learner, (steps, source))
        body, start = _steps_from_memory(step_fn, config, source, key, hyper)
        (learner, *_), infos = jax.lax.scan(body, (learner, *start), steps)
        return learner, infos

    def advance(source, monitor, steps, state, key, hyper):
        learner, infos = run_steps(source, steps, state.learner, key, hyper)
        params = network.fold(learner.parameters, learner.statistics)
        loss, accuracy = evaluate(network, params, monitor.images, monitor.labels)
        held_out = evaluate(network, params, monitor.validation_images, monitor.validation_labels)
        record = Record(loss, accuracy, jnp.mean(infos.gradient_norm), *held_out)
        return _apply_rules(config, state, learner, record, steps), record

    def skip(state):
        nan = jnp.float32(jnp.nan)
        return state, Record(nan, nan, nan, nan, nan)

    def segment(source, monitor, steps, state, key, hyper: HyperParameters):
        return jax.lax.cond(
            state.status == RUNNING,
            lambda s: advance(source, monitor, steps, s, key, hyper),
            skip,
            state,
        )

    return init, segment


def _apply_rules(config: TrainingConfig, state: NetworkState, learner, record: Record, steps):
    """Freeze what diverged, and stop what its rule says is done."""
    finite = jnp.isfinite(record.loss) & jnp.isfinite(record.gradient_norm)
    step = steps[-1] + 1
    status = jnp.where(step >= config.max_steps, EXHAUSTED, RUNNING)
    best, best_error, waited = state.best, state.best_error, state.waited
    if config.stop == "cross_entropy":
        status = jnp.where(record.loss < config.threshold, REACHED, status)
    if config.stop == "early_stopping":
        error = 1 - record.validation_accuracy
        better = finite & (error < best_error)
        best = jax.tree.map(lambda new, old: jnp.where(better, new, old), learner, best)
        best_error = jnp.where(better, error, best_error)
        waited = jnp.where(better, 0, waited + 1)
        status = jnp.where(waited >= config.patience, STOPPED_EARLY, status)
    kept = jax.tree.map(lambda new, old: jnp.where(finite, new, old), learner, state.learner)
    return NetworkState(
        learner=kept,
        status=jnp.where(finite, status, DIVERGED).astype(jnp.int32),
        stop_step=jnp.where(finite, step, state.stop_step).astype(jnp.int32),
        best=best,
        best_error=best_error.astype(jnp.float32),
        waited=waited.astype(jnp.int32),
    )
