"""What a head reads: features and labels of one group, and whether they fit together."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from genjax.errors import DataError, InvalidInputError, SplitError
from genjax.metrics.protocol import Protocol


class Features(NamedTuple):
    """Frozen features of one group of networks, float32.

    Attributes:
        train: `[n, N_train, D]`.
        validation: `[n, N_val, D]`.
        test: `[n, L, N_test, D]`, every shift level, examples in the order of `Labels.test`.
        test_augmented: `[n, L, N_test, D]`, as `test` but with the images of novel classes
            augmented; needed only where a protocol says `novel_augmentation`.
        width: `[n]` or scalar, number of features before padding with zeros (sets the scale of the
            probe's initial weights); None takes D.
    """

    train: Any
    validation: Any
    test: Any
    test_augmented: Any = None
    width: Any = None


class Labels(NamedTuple):
    """Labels over all C classes, int32, shared by all networks.

    Attributes:
        train: `[N_train]`.
        validation: `[N_val]`.
        test: `[N_test]`.
    """

    train: Any
    validation: Any
    test: Any


def check_shapes(
    protocol: Protocol,
    features: Features,
    labels: Labels,
    masks: Any,
    keys: Any,
    num_classes: int,
    clean_level: int | None,
) -> None:
    """Raise `InvalidInputError` where shapes or types do not fit together."""
    n, _, width = _shape("features.train", features.train, 3)
    levels = _shape("features.test", features.test, 4)[1]
    wanted: dict[str, tuple[int, ...]] = {"train": (n, np.size(labels.train), width)}
    if protocol.early_stopping == "validation":
        wanted["validation"] = (n, np.size(labels.validation), width)
    wanted["test"] = (n, levels, np.size(labels.test), width)
    if protocol.novel_augmentation:
        if features.test_augmented is None:
            raise InvalidInputError(
                f"features.test_augmented: missing, but protocol '{protocol.name}' augments the "
                "test images of novel classes."
            )
        wanted["test_augmented"] = wanted["test"]
    for field, shape in wanted.items():
        found = np.shape(getattr(features, field))
        if found != shape or 0 in shape:
            raise InvalidInputError(
                f"features.{field}: shape {found} found, the labels and the other features need "
                f"{shape} with no empty axis."
            )
    _check_masks_and_keys(masks, keys, n, num_classes)
    if features.width is not None and np.shape(features.width) not in ((), (n,)):
        raise InvalidInputError(
            f"features.width: shape {np.shape(features.width)} found, allowed are () and ({n},)."
        )
    if clean_level is not None and not -levels <= clean_level < levels:
        raise InvalidInputError(f"clean_level: {clean_level} found, there are {levels} levels.")


def _check_masks_and_keys(masks: Any, keys: Any, n: int, num_classes: int) -> None:
    shape = _shape("masks", masks, 3)
    if shape[0] not in (1, n) or shape[1] == 0 or shape[2] != num_classes or masks.dtype != bool:
        raise InvalidInputError(
            f"masks: {masks.dtype} of shape {shape} found, needed is bool of shape "
            f"({n} or 1, shares, {num_classes})."
        )
    typed = isinstance(keys, jax.Array) and jnp.issubdtype(keys.dtype, jax.dtypes.prng_key)
    if not typed or np.shape(keys) != (n,):
        raise InvalidInputError(
            f"keys: needed are {n} PRNG keys, one per network, as jax.random.split(key, {n}) gives."
        )


def _shape(argument: str, array: Any, rank: int) -> tuple[int, ...]:
    shape = np.shape(array)
    if len(shape) != rank:
        raise InvalidInputError(f"{argument}: shape {shape} found, {rank} axes are needed.")
    return shape


def check_labels(protocol: Protocol, labels: Labels, masks: Any, num_classes: int) -> None:
    """Check what only concrete arrays can show; under a transformation they pass."""
    if any(isinstance(value, Tracer) for value in (*labels, masks)):
        return
    splits = {"train": protocol.shots or 1}
    if protocol.early_stopping in ("test", "validation"):
        splits[protocol.early_stopping] = 1
    in_play = np.asarray(masks)
    if not in_play.any(axis=-1).all():
        raise InvalidInputError("masks: a share without any class in play was found.")
    for split, least in splits.items():
        values = np.asarray(getattr(labels, split))
        if values.ndim != 1 or not np.issubdtype(values.dtype, np.integer):
            raise DataError(
                f"labels.{split}: {values.dtype} of shape {values.shape} found, needed are "
                "integers on one axis."
            )
        if values.min() < 0 or values.max() >= num_classes:
            raise DataError(
                f"labels.{split}: values from {values.min()} to {values.max()} found, allowed are "
                f"0 to {num_classes - 1}."
            )
        counts = np.bincount(values, minlength=num_classes)
        poor = np.flatnonzero(in_play.any(axis=(0, 1)) & (counts < least))
        if poor.size:
            raise SplitError(
                f"labels.{split}: class {poor[0]} is in play with {counts[poor[0]]} examples, "
                f"protocol '{protocol.name}' needs at least {least}."
            )
