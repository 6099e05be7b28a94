"""Finite learning problems: an alphabet of examples, a learner and a loss, and their tables."""

import itertools
from collections.abc import Callable, Hashable, Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from genjax.errors import InvalidInputError
from genjax.metrics.information.channels import check_distribution

_MOST_SAMPLES = 1 << 17
_MOST_ENTRIES = 1 << 27


class Problem(NamedTuple):
    """A finite learning problem.

    Attributes:
        probabilities: of the A letters that an example can be; a letter holds input and label.
        num_examples: n.
        learn: sample (n letters) -> probability of each hypothesis; hypotheses are hashable.
        predict: (hypothesis, letter) -> prediction, hashable.
        loss: (prediction, letter) -> loss in [0, 1].
    """

    probabilities: Any
    num_examples: int
    learn: Callable[[tuple[int, ...]], Mapping[Any, float]]
    predict: Callable[[Any, int], Hashable]
    loss: Callable[[Any, int], float | int]


class Tables(NamedTuple):
    """A problem as arrays: S samples, H hypotheses, A letters.

    Attributes:
        letters: probabilities of the letters.
        samples: all samples, in the order of their letters as digits.
        learner: probability of each hypothesis given each sample.
        losses: of each hypothesis on each letter.
        same: by link, whether hypotheses look the same on a pair of letters.
        hypotheses: in the order of their columns.
    """

    letters: Float[np.ndarray, " A"]
    samples: Int[np.ndarray, "S n"]
    learner: Float[np.ndarray, "S H"]
    losses: Float[np.ndarray, "H A"]
    same: dict[str, Bool[np.ndarray, "A A H H"]]
    hypotheses: tuple[Any, ...]


def majority(num_examples: int, flip: float | int = 0.0) -> Problem:
    """Return the majority of n fair bits under the 0-1 loss, read through a noisy channel.

    The loss of w on z is `E 1[w != z']`, z' being z flipped with probability `flip`. At flip 0 the
    gap is `C(n-1, (n-1)/2) / 2^n`.

    Args:
        num_examples: n, odd.
        flip: in [0, 1].

    Raises:
        InvalidInputError: an even number of examples.

    Example:
        >>> majority(3).learn((1, 0, 1))
        {1: 1.0}
    """
    if num_examples < 1 or num_examples % 2 == 0:
        raise InvalidInputError(f"num_examples: found {num_examples}; an odd number is needed.")
    return Problem(
        probabilities=np.array([0.5, 0.5]),
        num_examples=num_examples,
        learn=lambda sample: {int(2 * sum(sample) > num_examples): 1.0},
        predict=lambda w, z: w,
        loss=lambda prediction, z: flip + (1 - 2 * flip) * (prediction != z),
    )


def tabulate(problem: Problem) -> Tables:
    """Return a problem as arrays: what `learn`, `predict` and `loss` say of every letter.

    Raises:
        InvalidInputError: probabilities that are none, a loss outside [0, 1], or a problem that is
            too large.
    """
    probabilities = np.asarray(problem.probabilities, np.float64)
    letters = check_distribution(probabilities, probabilities.size, "probabilities")
    count, n = len(letters), problem.num_examples
    if n < 1 or count**n > _MOST_SAMPLES:
        raise InvalidInputError(
            f"num_examples: found {n} of {count} letters; at least 1, and {_MOST_SAMPLES} samples "
            "at most."
        )
    samples = np.array(list(itertools.product(range(count), repeat=n)))
    found: dict[Any, int] = {}
    entries = []
    for row, sample in enumerate(samples):
        for w, chance in problem.learn(tuple(int(z) for z in sample)).items():
            entries.append((row, found.setdefault(w, len(found)), float(chance)))
    learner = np.zeros((len(samples), len(found)))
    for row, column, chance in entries:
        learner[row, column] += chance
    if learner.min() < 0 or np.abs(learner.sum(1) - 1).max() > 1e-9:
        raise InvalidInputError("learn: the probabilities of hypotheses must sum to 1.")
    predictions = [[problem.predict(w, z) for z in range(count)] for w in found]
    losses = np.array([[problem.loss(p, z) for z, p in enumerate(row)] for row in predictions])
    losses = losses.astype(np.float64)
    if not (losses.min() >= 0 and losses.max() <= 1):
        raise InvalidInputError("loss: found a value outside [0, 1].")
    if count**2 * len(found) ** 2 > _MOST_ENTRIES:
        raise InvalidInputError(
            f"learn: found {len(found)} hypotheses for {count} letters; pairs of both must be at "
            f"most {_MOST_ENTRIES}."
        )
    return Tables(letters, samples, learner, losses, _same(predictions, losses), tuple(found))


def _same(predictions: Any, losses: Float[np.ndarray, "H A"]) -> dict[str, Any]:
    """Return which hypotheses a pair of letters cannot tell apart in each link, [A, A, H, H]."""
    count, size = losses.shape
    codes: dict[Any, int] = {}
    coded = np.array([[codes.setdefault(p, len(codes)) for p in row] for row in predictions])

    def equal(values):
        return np.abs(values[..., :, None] - values[..., None, :]) < 1e-12

    def of_both(alike):
        return alike[:, None] & alike[None, :]

    differences = losses.T[None, :] - losses.T[:, None]
    return {
        "weights": np.broadcast_to(np.eye(count, dtype=bool), (size, size, count, count)),
        "predictions": of_both(equal(coded.T)),
        "losses": of_both(equal(losses.T)),
        "differences": equal(differences),
    }
