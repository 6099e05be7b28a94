"""Heads on frozen features, for all networks of a group, levels and novel shares at once.

`make_head(protocol, num_classes=C)` returns a pure function of features, labels, masks and keys.
Which classes are in play at a novel share is a mask, so that one compiled program serves the
whole grid size x SSIM x novel share; narrower groups are padded with zero features.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from genjax.errors import InvalidInputError
from genjax.metrics.heads_inputs import Features, Labels, check_labels, check_shapes
from genjax.metrics.heads_masks import class_masks, novel_shares
from genjax.metrics.heads_nearest import draw_shots, nearest_class_mean, nearest_neighbour
from genjax.metrics.heads_probe import (
    Linear,
    ProbeSettings,
    Split,
    StopReason,
    all_finite,
    fit_probe,
    initial_weights,
    settings_of,
)
from genjax.metrics.protocol import Protocol

__all__ = [
    "Features",
    "HeadInfo",
    "Labels",
    "StopReason",
    "class_masks",
    "make_head",
    "novel_shares",
]


class HeadInfo(NamedTuple):
    """What happened at each network and novel share, `[n, Z]`.

    Attributes:
        epochs: epochs run; 0 for heads that train nothing.
        kept_epoch: epoch whose weights were kept, from 1; 0 for heads that train nothing.
        train_error: share of wrong training examples of the classes in play, with the kept
            weights; NaN for heads that train nothing and for networks marked as not finite.
        stopping_error: the same on the split that stops training; NaN also where there is none.
        reason: a `StopReason`.
        finite: False where features or weights were not finite; predictions are -1 there.
    """

    epochs: Int[Array, "n Z"]
    kept_epoch: Int[Array, "n Z"]
    train_error: Float[Array, "n Z"]
    stopping_error: Float[Array, "n Z"]
    reason: Int[Array, "n Z"]
    finite: Bool[Array, "n Z"]


def make_head(
    protocol: Protocol, *, num_classes: int, clean_level: int | None = None
) -> Callable[[Features, Labels, Any, Any], tuple[Int[Array, "n L Z N"], HeadInfo]]:
    """Return `predict(features, labels, masks, keys) -> (predictions, info)`.

    `masks` are boolean `[n or 1, Z, C]` from `class_masks`, `keys` one PRNG key per network
    `[n]`; the predictions are int32 `[n, L, Z, N_test]`. Every test example gets one; those of
    examples whose class is not in play mean nothing and are left out by the mask of the confusion
    counts. The function is pure: it may be jitted, vmapped and sharded over networks. On concrete
    input it checks labels, masks and class counts first; under a transformation only shapes.

    Args:
        protocol: the choices.
        num_classes: number C of classes of the labels.
        clean_level: index of the untouched level among the L levels; needed by
            `early_stopping="test"`, which reads the test error there.

    Returns:
        The function. It raises `InvalidInputError` or `DataError` for arrays that do not fit
        together, and `SplitError` where a class in play has no training or stopping example, or
        fewer than the shots.

    Raises:
        InvalidInputError: if there are fewer than two classes, or `clean_level` is missing.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from genjax.metrics.protocol import NEAREST_MEAN
        >>> import dataclasses
        >>> x = jnp.asarray([[0.0], [1.0], [5.0]])
        >>> features = Features(train=x[None], validation=x[None], test=x[None, None] + 0.4)
        >>> labels = Labels(*3 * [jnp.asarray([0, 1, 2])])
        >>> predict = make_head(dataclasses.replace(NEAREST_MEAN, shots=1), num_classes=3)
        >>> masks = class_masks([0, 1], [2], [0, 1], num_classes=3)
        >>> predict(features, labels, masks, jax.random.split(jax.random.key(0), 1))[0].tolist()
        [[[[0, 1, 1], [0, 1, 2]]]]
    """
    if num_classes < 2:
        raise InvalidInputError(f"num_classes: {num_classes} found, at least 2 are needed.")
    if protocol.early_stopping == "test" and clean_level is None:
        raise InvalidInputError(
            f"clean_level: missing, but protocol '{protocol.name}' stops on the test error of the "
            "untouched level; give its index among the levels."
        )

    def predict(
        features: Features, labels: Labels, masks: Any, keys: Any
    ) -> tuple[Int[Array, "n L Z N"], HeadInfo]:
        check_shapes(protocol, features, labels, masks, keys, num_classes, clean_level)
        check_labels(protocol, labels, masks, num_classes)
        return _predict(protocol, features, labels, masks, keys, num_classes, clean_level)

    return predict


def _predict(
    protocol: Protocol,
    features: Features,
    labels: Labels,
    masks: Any,
    keys: Key[Array, " n"],
    num_classes: int,
    clean_level: int | None,
) -> tuple[Int[Array, "n L Z N"], HeadInfo]:
    test = features.test_augmented if protocol.novel_augmentation else features.test
    test = jnp.asarray(test, jnp.float32)
    train = jnp.asarray(features.train, jnp.float32)
    networks, shares = train.shape[0], masks.shape[1]
    in_play = jnp.asarray(masks)
    if protocol.label_space == "fixed":
        in_play = jnp.any(in_play, axis=1, keepdims=True)
    in_play = jnp.broadcast_to(in_play, (networks, *in_play.shape[1:]))
    train_labels = jnp.asarray(labels.train, jnp.int32)
    if protocol.head == "linear_probe":
        stopping, stopping_labels = _stopping(protocol, features, labels, test, clean_level)
        width = train.shape[-1] if features.width is None else features.width
        width = jnp.broadcast_to(jnp.asarray(width, jnp.float32), (networks,))
        program = _probe_program(protocol.batch_size)
        arrays = (train, stopping, test, in_play, width, keys)
        output = program(arrays, train_labels, stopping_labels, settings_of(protocol))
    else:
        program = _nearest_program(protocol.head, protocol.shots, protocol.neighbours, num_classes)
        output = program((train, test, in_play, keys), train_labels)
    if protocol.label_space == "fixed":
        output = _repeat_shares(output, shares)
    return output


def _repeat_shares(
    output: tuple[Int[Array, "n L one N"], HeadInfo], shares: int
) -> tuple[Int[Array, "n L Z N"], HeadInfo]:
    predictions, info = output
    return (
        jnp.repeat(predictions, shares, axis=2),
        HeadInfo(*(jnp.repeat(value, shares, axis=1) for value in info)),
    )


def _stopping(
    protocol: Protocol,
    features: Features,
    labels: Labels,
    test: Float[Array, "n L N D"],
    clean_level: int | None,
) -> tuple[Float[Array, "n M D"], Int[Array, " M"]]:
    """Return features and labels of the split that stops training."""
    if protocol.early_stopping == "test" and clean_level is not None:
        return test[:, clean_level], jnp.asarray(labels.test, jnp.int32)
    if protocol.early_stopping == "validation":
        source, target = features.validation, labels.validation
    else:  # "none": the program takes a split all the same, and ignores its error
        source, target = features.train, labels.train
    return jnp.asarray(source, jnp.float32), jnp.asarray(target, jnp.int32)


def _over_networks(one: Callable, arrays: Any) -> Any:
    """Map over networks; on the CPU one after another, which keeps the data in the cache."""
    if jax.default_backend() == "cpu":
        return jax.lax.map(lambda row: one(*row), arrays)
    return jax.vmap(one)(*arrays)


@functools.cache
def _probe_program(batch_size: int) -> Callable:
    """Return the compiled probe over networks and shares; everything else is an argument."""

    @jax.jit
    @jax.default_matmul_precision("highest")
    def program(
        arrays: Any,
        train_labels: Int[Array, " T"],
        stopping_labels: Int[Array, " M"],
        settings: ProbeSettings,
    ) -> tuple[Int[Array, "n L Z N"], HeadInfo]:
        def one(train: Any, stopping: Any, test: Any, in_play: Any, width: Any, key: Any) -> Any:
            finite = all_finite(train, stopping, test)
            start_key = jax.random.fold_in(key, 0)  # epochs use 1, 2, ...
            start = initial_weights(start_key, train.shape[-1], in_play.shape[-1], width)

            def one_share(mask: Bool[Array, " C"]) -> Any:
                return fit_probe(
                    Split(jnp.where(finite, train, 0.0), train_labels),
                    Split(jnp.where(finite, stopping, 0.0), stopping_labels),
                    mask,
                    start,
                    key,
                    settings,
                    batch_size=batch_size,
                )

            fit = jax.vmap(one_share)(in_play)
            error = jnp.where(settings.watched, fit.stopping_error, jnp.nan)
            info = HeadInfo(
                fit.epochs, fit.kept_epoch, fit.train_error, error, fit.reason,
                finite & fit.finite,
            )  # fmt: skip
            return _mark(_probe_predictions(fit.weights, test, in_play), info)

        return _over_networks(one, arrays)

    return program


def _probe_predictions(
    weights: Linear, test: Float[Array, "L N D"], in_play: Bool[Array, "Z C"]
) -> Int[Array, "L Z N"]:
    # One product for all shares, with the classes of all shares side by side.
    scores = jnp.einsum("lnd,zcd->lznc", test, weights.kernel)
    scores = scores + weights.bias[None, :, None, :]
    allowed = jnp.where(in_play[None, :, None, :], scores, -jnp.inf)
    return jnp.argmax(allowed, axis=-1).astype(jnp.int32)


@functools.cache
def _nearest_program(head: str, shots: int | None, neighbours: int, num_classes: int) -> Callable:
    """Return the compiled head that trains nothing."""

    @jax.jit
    @jax.default_matmul_precision("highest")
    def program(arrays: Any, train_labels: Int[Array, " T"]) -> Any:
        def one(train: Any, test: Any, in_play: Any, key: Any) -> Any:
            drawn = draw_shots(train, train_labels, key, shots=shots, num_classes=num_classes)
            if head == "nearest_class_mean":
                predictions = nearest_class_mean(drawn, test, in_play)
            else:
                predictions = nearest_neighbour(drawn, test, in_play, neighbours=neighbours)
            shares = in_play.shape[:1]
            zero, unknown = jnp.zeros(shares, jnp.int32), jnp.full(shares, jnp.nan)
            finite = jnp.broadcast_to(all_finite(train, test), shares)
            reason = jnp.full(shares, StopReason.NOT_TRAINED, jnp.int32)
            info = HeadInfo(zero, zero, unknown, unknown, reason, finite)
            return _mark(predictions, info)

        return _over_networks(one, arrays)

    return program


def _mark(predictions: Int[Array, "L Z N"], info: HeadInfo) -> tuple[Int[Array, "L Z N"], HeadInfo]:
    """Replace what a network that is not finite gave."""
    ok = info.finite
    info = info._replace(
        train_error=jnp.where(ok, info.train_error, jnp.nan),
        stopping_error=jnp.where(ok, info.stopping_error, jnp.nan),
        reason=jnp.where(ok, info.reason, StopReason.NON_FINITE).astype(jnp.int32),
    )
    return jnp.where(ok[None, :, None], predictions, -1), info
