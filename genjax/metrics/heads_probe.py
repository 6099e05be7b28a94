"""The linear probe: multinomial logistic regression by AdamW with early stopping, for one network.

One program serves every protocol and every set of classes in play: examples of classes that are
not in play have weight 0 and come last in each epoch, their logits are excluded, and steps that
hold only such examples change nothing, not even the optimizer's counters. The numbers of the
optimizer are arguments, so that another learning rate does not compile again.
"""

import enum
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, Key

from genjax.metrics.protocol import Protocol

# Excluded logits: exp underflows to exactly 0 as with -inf, but 0 * loss stays 0 instead of NaN.
_EXCLUDED = -1e30


class StopReason(enum.IntEnum):
    """Why a head's training ended."""

    EPOCHS = 0
    PATIENCE = 1
    TRAIN_ERROR = 2
    NOT_TRAINED = 3
    NON_FINITE = 4


class Linear(NamedTuple):
    """Weights of a linear layer; one row per class makes the thin products fast on CPUs.

    Attributes:
        kernel: `[C, D]`.
        bias: `[C]`.
    """

    kernel: Float[Array, "C D"]
    bias: Float[Array, " C"]


class Split(NamedTuple):
    """Examples of one network.

    Attributes:
        features: `[N, D]`.
        labels: `[N]`.
    """

    features: Float[Array, "N D"]
    labels: Int[Array, " N"]


class ProbeSettings(NamedTuple):
    """Numbers of a protocol that the compiled program takes as arguments.

    Attributes:
        learning_rate: of AdamW.
        weight_decay: decoupled, on kernel and bias.
        l2: penalty `l2 / 2 * ||kernel||_F^2`.
        standardise: whether features are standardised before the fit.
        stop_error: training error below which training stops.
        epochs: most epochs.
        patience: epochs without a lower stopping error.
        watched: whether there is a stopping error.
        keep_last: keep the weights of the last epoch instead of the best.
    """

    learning_rate: Any
    weight_decay: Any
    l2: Any
    standardise: Any
    stop_error: Any
    epochs: Any
    patience: Any
    watched: Any
    keep_last: Any


class ProbeFit(NamedTuple):
    """A fitted probe.

    Attributes:
        weights: those kept.
        epochs: epochs run.
        kept_epoch: epoch of the kept weights, from 1.
        train_error: share of wrong training examples in play, with the kept weights.
        stopping_error: the same of the stopping split.
        reason: a `StopReason`.
        finite: whether the weights and the optimizer's moments of the kept epoch are finite.
    """

    weights: Linear
    epochs: Int[Array, ""]
    kept_epoch: Int[Array, ""]
    train_error: Float[Array, ""]
    stopping_error: Float[Array, ""]
    reason: Int[Array, ""]
    finite: Bool[Array, ""]


class _Loop(NamedTuple):
    weights: Linear
    optimizer: Any
    best_error: Float[Array, ""]
    waited: Int[Array, ""]
    fit: ProbeFit


def settings_of(protocol: Protocol) -> ProbeSettings:
    """Return the numbers of `protocol` as arrays."""
    return ProbeSettings(
        learning_rate=jnp.float32(protocol.learning_rate),
        weight_decay=jnp.float32(protocol.weight_decay),
        l2=jnp.float32(protocol.l2),
        standardise=jnp.asarray(protocol.standardise),
        stop_error=jnp.float32(protocol.stop_error),
        epochs=jnp.int32(protocol.epochs),
        patience=jnp.int32(protocol.patience),
        watched=jnp.asarray(protocol.early_stopping != "none"),
        keep_last=jnp.asarray(protocol.keep == "last"),
    )


def initial_weights(
    key: Key[Array, ""], features: int, num_classes: int, width: Float[Array, ""]
) -> Linear:
    """Draw weights as `torch.nn.Linear` does: uniform within 1 / sqrt(width), kernel and bias.

    Drawn row by row, the bias first (JAX's default counter-based generator numbers the entries in
    order), so that features padded with zeros behind the others do not move the others' weights.
    """
    draw = jax.random.uniform(key, (1 + features, num_classes), minval=-1.0, maxval=1.0)
    draw = draw * jax.lax.rsqrt(width.astype(jnp.float32))
    return Linear(kernel=draw[1:].T, bias=draw[0])


def logits(
    weights: Linear, features: Float[Array, "N D"], in_play: Bool[Array, " C"]
) -> Float[Array, "N C"]:
    """Return the logits; those of classes that are not in play exclude them from any prediction."""
    scores = features @ weights.kernel.T + weights.bias[None, :]
    return jnp.where(in_play[None, :], scores, _EXCLUDED)


def error_in_play(weights: Linear, split: Split, in_play: Bool[Array, " C"]) -> Float[Array, ""]:
    """Return the share of wrongly predicted examples among those of the classes in play."""
    wrong = jnp.argmax(logits(weights, split.features, in_play), axis=-1) != split.labels
    counted = in_play[split.labels]
    return jnp.sum(wrong & counted) / jnp.maximum(jnp.sum(counted), 1).astype(jnp.float32)


class Scale(NamedTuple):
    """Shift and scale of features.

    Attributes:
        mean: `[D]`.
        deviation: `[D]`, 1 for constant features.
    """

    mean: Float[Array, " D"]
    deviation: Float[Array, " D"]

    def apply(self, features: Float[Array, "N D"]) -> Float[Array, "N D"]:
        """Return `(features - mean) / deviation`."""
        return (features - self.mean[None, :]) / self.deviation[None, :]

    def undo(self, weights: Linear) -> Linear:
        """Return the layer that gives on raw features what `weights` gives on scaled ones."""
        kernel = weights.kernel / self.deviation[None, :]
        return Linear(kernel, weights.bias - kernel @ self.mean)


def scale_of(train: Split, in_play: Bool[Array, " C"], standardise: Bool[Array, ""]) -> Scale:
    """Return mean and standard deviation (ddof 0) of the training examples in play, or 0 and 1."""
    used = in_play[train.labels].astype(jnp.float32)[:, None]
    count = jnp.maximum(jnp.sum(used), 1)
    mean = jnp.sum(train.features * used, axis=0) / count
    centred = (train.features - mean[None, :]) * used
    deviation = jnp.sqrt(jnp.sum(jnp.square(centred), axis=0) / count)
    # What varies by rounding alone would be blown up to a feature.
    varies = deviation > 1e-5 * jnp.max(deviation)
    return Scale(
        jnp.where(standardise, mean, 0.0),
        jnp.where(standardise & varies, deviation, 1.0),
    )


def fit_probe(
    train: Split,
    stopping: Split,
    in_play: Bool[Array, " C"],
    start: Linear,
    key: Key[Array, ""],
    settings: ProbeSettings,
    *,
    batch_size: int,
) -> ProbeFit:
    """Fit one probe: minimise the mean cross-entropy of the training examples in play.

    After every epoch the training error and the error of `stopping` are computed; training ends
    when the first falls below `stop_error`, when the second has not become lower for `patience`
    epochs, or after `epochs`.

    Args:
        train: labelled examples; those whose class is not in play have no influence.
        stopping: examples whose error stops training and selects the epoch.
        in_play: classes that take part.
        start: initial weights.
        key: of the order of examples; epoch e, from 1, uses `fold_in(key, e)`.
        settings: numbers of the protocol.
        batch_size: examples per step.

    Returns:
        The fit, its weights for raw features; with non-finite features its numbers mean nothing.
    """
    optimizer = optax.adamw(settings.learning_rate, weight_decay=settings.weight_decay)
    scale = scale_of(train, in_play, settings.standardise)
    train = train._replace(features=scale.apply(train.features))
    stopping = stopping._replace(features=scale.apply(stopping.features))

    def unfinished(loop: _Loop) -> Bool[Array, ""]:
        running = loop.fit.reason == StopReason.EPOCHS
        return running & (loop.fit.epochs < settings.epochs)

    def one_epoch(loop: _Loop) -> _Loop:
        weights, state = _epoch(
            (loop.weights, loop.optimizer),
            train,
            in_play,
            jax.random.fold_in(key, loop.fit.epochs + 1),
            optimizer,
            settings.l2,
            batch_size,
        )
        return _judge(loop, weights, state, train, stopping, in_play, settings)

    zero, infinite = jnp.int32(0), jnp.float32(jnp.inf)
    reason = jnp.int32(StopReason.EPOCHS)
    fit = ProbeFit(start, zero, zero, infinite, infinite, reason, jnp.asarray(True))
    loop = _Loop(start, optimizer.init(start), infinite, zero, fit)
    found = jax.lax.while_loop(unfinished, one_epoch, loop).fit
    return found._replace(weights=scale.undo(found.weights))


def all_finite(*arrays: Array) -> Bool[Array, ""]:
    """Return whether every entry of every array is finite."""
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(array)) for array in arrays]))


def _judge(
    loop: _Loop,
    weights: Linear,
    state: Any,
    train: Split,
    stopping: Split,
    in_play: Bool[Array, " C"],
    settings: ProbeSettings,
) -> _Loop:
    """Decide after an epoch whether its weights are kept and whether training goes on."""
    train_error = error_in_play(weights, train, in_play)
    stopping_error = error_in_play(weights, stopping, in_play)
    better = (stopping_error < loop.best_error) | ~settings.watched
    waited = jnp.where(better, 0, loop.waited + 1)
    reason = jnp.where(waited >= settings.patience, StopReason.PATIENCE, StopReason.EPOCHS)
    reason = jnp.where(train_error < settings.stop_error, StopReason.TRAIN_ERROR, reason)
    epoch = loop.fit.epochs + 1
    reason = reason.astype(jnp.int32)
    finite = all_finite(*jax.tree.leaves((weights, state)))
    candidate = ProbeFit(weights, epoch, epoch, train_error, stopping_error, reason, finite)
    keep = better | settings.keep_last
    kept = jax.tree.map(lambda new, old: jnp.where(keep, new, old), candidate, loop.fit)
    kept = kept._replace(epochs=candidate.epochs, reason=candidate.reason)
    best = jnp.minimum(loop.best_error, stopping_error)
    return _Loop(weights, state, best, waited, kept)


def _epoch(
    carry: tuple[Linear, Any],
    train: Split,
    in_play: Bool[Array, " C"],
    key: Key[Array, ""],
    optimizer: optax.GradientTransformation,
    l2: Float[Array, ""],
    batch_size: int,
) -> tuple[Linear, Any]:
    """Go once through the examples in play, in an order drawn from `key`."""
    included = in_play[train.labels]
    examples = included.shape[0]
    batch_size = min(batch_size, examples)
    steps = math.ceil(examples / batch_size)
    # Those in play come first in random order: a batch is full until they are used up.
    draw = jax.random.uniform(key, (examples,)) + jnp.where(included, 0.0, 2.0)
    order = jnp.pad(jnp.argsort(draw), (0, steps * batch_size - examples))
    used = jnp.arange(steps * batch_size) < jnp.sum(included)
    batches = (order.reshape(steps, batch_size), used.reshape(steps, batch_size))

    def step(
        carry: tuple[Linear, Any], batch: tuple[Int[Array, " B"], Bool[Array, " B"]]
    ) -> tuple[tuple[Linear, Any], None]:
        weights, state = carry
        chosen, weight = batch
        part = Split(train.features[chosen], train.labels[chosen])
        gradient = jax.grad(_loss)(weights, part, weight, in_play, l2)
        updates, new_state = optimizer.update(gradient, state, weights)
        new = (optax.apply_updates(weights, updates), new_state)
        active = jnp.any(weight)
        return jax.tree.map(lambda a, b: jnp.where(active, a, b), new, carry), None

    return jax.lax.scan(step, carry, batches)[0]


def _loss(
    weights: Linear,
    batch: Split,
    used: Bool[Array, " B"],
    in_play: Bool[Array, " C"],
    l2: Float[Array, ""],
) -> Float[Array, ""]:
    """Mean cross-entropy in nats of the used examples plus the penalty."""
    losses = optax.softmax_cross_entropy_with_integer_labels(
        logits(weights, batch.features, in_play), batch.labels
    )
    mean = jnp.sum(losses * used) / jnp.maximum(jnp.sum(used), 1)
    return mean + 0.5 * l2 * jnp.sum(jnp.square(weights.kernel))
