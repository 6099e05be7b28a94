"""Stability: what changes when one example is replaced, or left out, and training is run again.

All losses here are 0-1 or any others in [0, 1]; values are in their unit. The mean over samples of
replace-one stability is the expected generalization gap, exactly (Shalev-Shwartz et al. 2010).
"""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Int
from jaxtyping import Key as Keys

from genjax.data import Examples
from genjax.errors import InvalidInputError
from genjax.metrics.outputs import group_logits
from genjax.models import Network
from genjax.training import TrainingConfig
from genjax.training.config import HyperParameters
from genjax.training.population import TrainedGroup
from genjax.training.resamples import Own, Progress, train_resamples
from genjax.training.segment import DIVERGED

Host = np.ndarray


class Perturbed(NamedTuple):
    """Training sets that differ in one example from a base, and their networks.

    Attributes:
        samples: training sets, the base first, `[1 + R, n]`; where an example is left out it stands
            there as a copy of another one.
        places: which position of the base is changed, `[R]`.
        fresh: the example that replaces it, `[R]`; of leave-one-out the one that is left out.
    """

    samples: Int[Host, "networks n"]
    places: Int[Host, " replaced"]
    fresh: Int[Host, " replaced"]


class Stability(NamedTuple):
    """How much a learning algorithm minds one example.

    Attributes:
        average: mean over i of `l(W, z'_i) - l(W^i, z'_i)`: its mean over samples is the gap.
        hypothesis: mean over i and test examples of `|l(W, z) - l(W^i, z)|`.
        pointwise: mean over i of `|l(W, z_i) - l(W^i, z_i)|` at the replaced example itself.
        uniform: largest mean over i of `|l(W, z) - l(W^i, z)|` over test examples z: an estimate
            from below of what uniform stability takes the supremum of.
        gap: test minus training error of the base network.
        per_replacement: `l(W, z'_i) - l(W^i, z'_i)`, `[R]`.
        disagreement: share of test examples on which prediction changes, `[R]`.
    """

    average: float
    hypothesis: float
    pointwise: float
    uniform: float
    gap: float
    per_replacement: Float[Host, " replaced"]
    disagreement: Float[Host, " replaced"]


def replace_one(num_examples: int, *, sample_size: int, replacements: int, seed: int) -> Perturbed:
    """Draw a sample, and as many with one example replaced by a fresh one.

    Args:
        num_examples: examples there are.
        sample_size: n.
        replacements: R; different positions, each with a fresh example of its own.
        seed: of all of it.

    Raises:
        InvalidInputError: too few examples, or more replacements than positions.

    Example:
        >>> found = replace_one(100, sample_size=10, replacements=3, seed=0)
        >>> (found.samples[1:] != found.samples[0]).sum(axis=1).tolist()
        [1, 1, 1]
    """
    if not 1 <= replacements <= sample_size or sample_size + replacements > num_examples:
        raise InvalidInputError(
            f"replacements and sample_size: found {replacements} and {sample_size}; at least 1 and "
            f"at most sample_size replacements are allowed, together at most {num_examples}."
        )
    rng = np.random.default_rng(seed)
    order = rng.permutation(num_examples)
    base, fresh = order[:sample_size], order[sample_size : sample_size + replacements]
    places = rng.permutation(sample_size)[:replacements]
    samples = np.tile(base, (1 + replacements, 1))
    samples[1 + np.arange(replacements), places] = fresh
    return Perturbed(samples, places, fresh)


def leave_one_out(sample: Int[Host, " n"], *, left_out: int, seed: int) -> Int[Host, "networks m"]:
    """Return training sets of n - 1 examples, each without another one.

    Args:
        sample: the base.
        left_out: how many sets.
        seed: of who is left out.

    Raises:
        InvalidInputError: more sets than examples.

    Example:
        >>> leave_one_out(np.arange(4), left_out=2, seed=0).shape
        (2, 3)
    """
    if not 1 <= left_out <= len(sample):
        raise InvalidInputError(
            f"left_out: found {left_out}; allowed are 1 to {len(sample)}, the size of the sample."
        )
    places = np.random.default_rng(seed).permutation(len(sample))[:left_out]
    return np.stack([np.delete(sample, place) for place in places])


def retrain(
    network: Network,
    rules: TrainingConfig,
    examples: Examples,
    samples: Int[Host, "networks n"],
    key: Keys[Array, ""],
    *,
    hyper: HyperParameters | None = None,
    on_progress: Progress | None = None,
) -> TrainedGroup:
    """Train one network per sample, all from the same start and in the same order of batches.

    Only the examples differ then, position by position.
    """
    keys = jax.vmap(lambda _: key)(np.arange(len(samples)))
    own = Own(samples, hyper=HyperParameters() if hyper is None else hyper)
    return train_resamples(network, rules, examples, own, keys, on_progress=on_progress)


def measure(group: TrainedGroup, examples: Examples, drawn: Perturbed, test: Examples) -> Stability:
    """Return replace-one stability from the networks of `retrain`, by 0-1 loss.

    Args:
        group: trained on `drawn.samples`; diverged networks are left out.
        examples: what the samples point into.
        drawn: from `replace_one`.
        test: examples that none was trained on.

    Raises:
        InvalidInputError: the base network diverged, or all others did.
    """
    alive = group.status[1:] != DIVERGED
    if group.status[0] == DIVERGED or not alive.any():
        raise InvalidInputError(
            "group: the network of the base sample, or all with a replaced example, diverged."
        )
    base, fresh = drawn.samples[0], drawn.fresh
    asked = np.concatenate([base, fresh])
    wrong = _errors(group, examples.images[asked], examples.labels[asked])
    on_test = _errors(group, test.images, test.labels)
    rows = np.flatnonzero(alive)
    changed = rows + 1
    at_fresh = len(base) + rows
    per = (wrong[0, at_fresh] - wrong[changed, at_fresh]).astype(float)
    at_own = np.abs(wrong[0, drawn.places[rows]] - wrong[changed, drawn.places[rows]])
    moved = np.abs(on_test[changed] - on_test[0])
    return Stability(
        float(per.mean()),
        float(moved.mean()),
        float(at_own.mean()),
        float(moved.mean(axis=0).max()),
        float(on_test[0].mean() - wrong[0, : len(base)].mean()),
        per,
        moved.mean(axis=1),
    )


def _errors(
    group: TrainedGroup, images: Float[Host, "m h w c"], labels: Int[Host, " m"]
) -> Int[Host, "networks m"]:
    return (np.argmax(group_logits(group, images), axis=-1) != labels).astype(np.int64)
