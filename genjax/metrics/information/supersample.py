"""Supersamples: pairs of examples of which a coin decides who is trained on.

n pairs are drawn; mask U in {0, 1}^n says which of each pair is trained on, the other one is the
ghost that the network is judged by (Steinke and Zakynthinou 2020). One cache of trained networks,
K1 supersamples x K2 masks, serves every bound of this family: what the outcomes of pair i tell
about U_i. The mean over masks of `gap` is the expected generalization gap that they bound.
"""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from genjax import errors
from genjax.data import Examples
from genjax.metrics.outputs import group_logits
from genjax.models import Network
from genjax.training import TrainingConfig
from genjax.training.config import HyperParameters
from genjax.training.population import TrainedGroup
from genjax.training.resamples import Own, Progress, train_resamples
from genjax.training.segment import DIVERGED
from genjax.types import Key

Host = np.ndarray


class Supersamples(NamedTuple):
    """Who may be trained on, and who is.

    Attributes:
        pairs: positions of examples, `[K1, n, 2]`, none twice within a supersample.
        masks: `[K1, K2, n]`: pair i trains on `pairs[..., i, mask]`.
    """

    pairs: Int[Host, "supersamples n 2"]
    masks: Int[Host, "supersamples masks n"]

    def trained_on(self) -> Int[Host, "runs n"]:
        """Return the training set of every run, runs in the order (supersample, mask)."""
        pairs = self.pairs[:, None]
        chosen = np.take_along_axis(pairs, self.masks[..., None], axis=-1)[..., 0]
        return chosen.reshape(-1, chosen.shape[-1])


class Outcomes(NamedTuple):
    """What the trained networks say about both examples of every pair.

    Attributes:
        predictions: classes, `[K1, K2, n, 2]`.
        errors: 0-1 losses, `[K1, K2, n, 2]`.
        masks: `[K1, K2, n]`.
        alive: whether a network ended with finite numbers, `[K1, K2]`.
    """

    predictions: Int[Host, "supersamples masks n 2"]
    errors: Int[Host, "supersamples masks n 2"]
    masks: Int[Host, "supersamples masks n"]
    alive: Bool[Host, "supersamples masks"]

    def train_error(self) -> Float[Host, "supersamples masks"]:
        """Return the share of errors on the examples trained on."""
        return self._chosen(self.masks)

    def ghost_error(self) -> Float[Host, "supersamples masks"]:
        """Return the share of errors on the other example of each pair: the test error."""
        return self._chosen(1 - self.masks)

    def gap(self) -> Float[Host, "supersamples masks"]:
        """Return ghost minus training error."""
        return self.ghost_error() - self.train_error()

    def _chosen(
        self, masks: Int[Host, "supersamples masks n"]
    ) -> Float[Host, "supersamples masks"]:
        picked = np.take_along_axis(self.errors, masks[..., None], axis=-1)[..., 0]
        return np.where(self.alive, picked.mean(axis=-1), np.nan)


def draw(
    num_examples: int, *, num_pairs: int, num_supersamples: int, num_masks: int, seed: int
) -> Supersamples:
    """Draw supersamples and their masks.

    Masks come in twos, one the opposite of the other, so that every coin falls on both sides
    equally often: each mask alone is as if drawn by n coins, and plug-in bounds are those of a
    distribution with fair coins, never below the gap that was counted.

    Args:
        num_examples: examples there are; supersamples are drawn from all of them, independently.
        num_pairs: n, the size of a training set.
        num_supersamples: K1.
        num_masks: K2, even. Information is estimated from so many coins per pair: 30 leave a bias
            of about 1/60 nats (see `genjax.metrics.information.supersample_bounds`).
        seed: of both.

    Raises:
        InvalidInputError: too few examples, or fewer than two masks.

    Example:
        >>> found = draw(100, num_pairs=10, num_supersamples=2, num_masks=6, seed=0)
        >>> found.pairs.shape, found.masks.shape
        ((2, 10, 2), (2, 6, 10))
    """
    if num_pairs < 1 or 2 * num_pairs > num_examples:
        raise errors.InvalidInputError(
            f"num_pairs: found {num_pairs}; allowed are 1 to {num_examples // 2}, half of the "
            f"{num_examples} examples."
        )
    if num_supersamples < 1 or num_masks < 2 or num_masks % 2:
        raise errors.InvalidInputError(
            f"num_supersamples and num_masks: found {num_supersamples} and {num_masks}; allowed "
            "are whole numbers from 1, and even ones from 2."
        )
    rng = np.random.default_rng(seed)
    pairs = np.stack(
        [rng.permutation(num_examples)[: 2 * num_pairs] for _ in range(num_supersamples)]
    )
    half = rng.integers(2, size=(num_supersamples, num_masks // 2, num_pairs))
    masks = np.stack([half, 1 - half], axis=2).reshape(num_supersamples, num_masks, num_pairs)
    return Supersamples(pairs.reshape(num_supersamples, num_pairs, 2), masks)


def train(
    network: Network,
    rules: TrainingConfig,
    examples: Examples,
    drawn: Supersamples,
    key: Key,
    *,
    hyper: HyperParameters | None = None,
    random_seeds: bool = True,
    trainable: tuple[str, ...] | None = None,
    on_progress: Progress | None = None,
) -> TrainedGroup:
    """Train a network for every supersample and mask, K1 * K2 of them, as one program.

    Args:
        network: the architecture.
        rules: of training.
        examples: what the supersamples point into; with the labels to be learned, true or not.
        drawn: from `draw`.
        key: of starts and orders of batches.
        hyper: numbers, the same for all.
        random_seeds: a start and an order of its own for every network; otherwise all share one, so
            that the mask is all that differs ("deterministic" in the published experiments).
        trainable: modules that are trained, see `train_resamples`.
        on_progress: see `train_resamples`.

    Raises:
        InvalidInputError: a mask leaves a class without any example in every pair it could be in.
    """
    own = drawn.trained_on()
    runs = len(own)
    _refuse_empty_classes(examples.labels[own], examples.labels[drawn.pairs])
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(
        np.arange(runs) if random_seeds else np.zeros(runs, np.int64)
    )
    stacked = Own(own, hyper=HyperParameters() if hyper is None else hyper)
    return train_resamples(
        network, rules, examples, stacked, keys, trainable=trainable, on_progress=on_progress
    )


def _refuse_empty_classes(
    trained: Int[Host, "runs n"], pairs: Int[Host, "supersamples n 2"]
) -> None:
    """Refuse masks under which a class of the supersample has nothing to be trained on."""
    per_supersample = len(trained) // len(pairs)
    for run, own in enumerate(trained):
        there = np.unique(pairs[run // per_supersample])
        lost = np.setdiff1d(there, own)
        if len(lost):
            raise errors.InvalidInputError(
                f"masks: mask {run % per_supersample} of supersample {run // per_supersample} "
                f"leaves nothing of class {lost[0]} to train on; more pairs are needed than "
                f"{own.size}."
            )


def outcomes(group: TrainedGroup, examples: Examples, drawn: Supersamples) -> Outcomes:
    """Return what the networks of `train` predict on both examples of every pair.

    Args:
        group: from `train`.
        examples: with the labels that errors are counted by.
        drawn: from `draw`.
    """
    supersamples, masks, n = drawn.masks.shape
    own = np.repeat(drawn.pairs.reshape(supersamples, -1), masks, axis=0)
    found = np.argmax(group_logits(group, examples.images, own), axis=-1)
    predictions = found.reshape(supersamples, masks, n, 2)
    wrong = (predictions != examples.labels[drawn.pairs][:, None]).astype(np.int64)
    alive = (group.status != DIVERGED).reshape(supersamples, masks)
    return Outcomes(predictions.astype(np.int64), wrong, drawn.masks, alive)
