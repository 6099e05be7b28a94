"""A pool to draw training sets from, test examples, and networks trained on what was drawn."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments import study
from genjax import data, errors, models
from genjax.data import Examples, splits
from genjax.models import Network
from genjax.training import HyperParameters, TrainingConfig


class Pool(NamedTuple):
    """Examples of an experiment.

    Attributes:
        train: what training sets are drawn from.
        test: what only the final numbers see.
    """

    train: Examples
    test: Examples


def load(config: Any) -> Pool:
    """Return the examples that `config.data` names: a pool, and test examples beside it.

    Fields of `config.data`: source, folder, test_share, train_examples and test_examples (0: all).

    Raises:
        GenjaxError: naming the field, what was found and what is allowed.
    """
    asked = config.data
    if not 0 < asked.test_share < 1:
        raise errors.SplitError(
            f"data.test_share: found {asked.test_share}; allowed are shares between 0 and 1."
        )
    examples = data.load(asked.source, data_dir=asked.folder or None, stream=False)
    assert isinstance(examples, Examples)  # not streamed
    # A set with official test examples keeps them: the pool is all others.
    parts = splits.stratified(
        examples, (1 - asked.test_share, 0.0, asked.test_share), seed=config.seed,
        is_test=examples.is_test,
    )  # fmt: skip
    return Pool(
        *(
            study.at_most(
                examples, getattr(parts, name), asked[f"{name}_examples"], name, config.seed
            )
            for name in ("train", "test")
        )
    )


def fingerprint(pool: Pool) -> str:
    """Return what names the examples."""
    return f"{pool.train.fingerprint} {pool.test.fingerprint}"


def rules(config: Any) -> TrainingConfig:
    """Return the rules of training."""
    return TrainingConfig(**config.training)


def hyper(config: Any, **changed: Any) -> HyperParameters:
    """Return the hyper-parameters, some of them changed.

    Raises:
        InvalidInputError: one of them does not exist.
    """
    unknown = sorted(set(config.hyper) - set(HyperParameters._fields))
    if unknown:
        raise errors.InvalidInputError(errors.suggest("hyper", unknown[0], HyperParameters._fields))
    return HyperParameters(**{**config.hyper, **changed})


def network_of(examples: Examples, name: str, options: Mapping[str, Any]) -> Network:
    """Return a model for these examples."""
    return models.create(
        name, image_shape=examples.image_shape, num_classes=examples.num_classes, **options
    )


def keys(seed: int, numbers: Sequence[int] | np.ndarray) -> Any:
    """Return a key per number; equal numbers give equal keys."""
    key = jax.random.key(seed)
    return jax.vmap(lambda k: jax.random.fold_in(key, k))(np.asarray(numbers))


def with_noise(examples: Examples, rate: float, seed: int) -> Examples:
    """Return the examples with a share of wrong labels."""
    noisy = splits.label_noise(examples.labels, rate, examples.num_classes, seed=seed)
    return dataclasses.replace(examples, labels=noisy.labels)


def at_least(name: str, value: Any, least: int) -> None:
    """Refuse a number, or the smallest of several, that is too small.

    Raises:
        InvalidInputError: naming the field.
    """
    values = tuple(value) if isinstance(value, Sequence) else (value,)
    if not values or any(not isinstance(v, int) or v < least for v in values):
        raise errors.InvalidInputError(
            f"{name}: found {value}; allowed are whole numbers from {least}."
        )


def check_sizes(name: str, sizes: Sequence[int], available: int) -> None:
    """Refuse sizes of training sets that cannot be stacked, or that there are no examples for.

    Raises:
        InvalidInputError: naming the field.
    """
    at_least(name, sizes, 1)
    largest = max(sizes)
    if any(largest % size for size in sizes) or list(sizes) != sorted(set(sizes)):
        raise errors.InvalidInputError(
            f"{name}: found {tuple(sizes)}; they must grow, and each must divide the largest, "
            "since smaller sets are repeated to its length so that all are one program."
        )
    if largest > available:
        raise errors.SplitError(f"{name}: found {largest}; there are {available} examples.")


def repeated(chosen: np.ndarray, length: int) -> np.ndarray:
    """Return training sets `[R, n]` as `[R, length]`, every entry equally often.

    The mean loss over a set repeated is that over the set.
    """
    return np.tile(chosen, (1, length // chosen.shape[1]))
