"""How good the probabilities of networks are: likelihood, Brier score, calibration.

Everything is read off logits `[..., N, C]`, leading axes are networks. Logarithms of probabilities
are logits too: their softmax is the probabilities again.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Int, Num

from genjax.errors import InvalidInputError

BINS = 15
"""Bins of Guo et al. (2017), which most published calibration errors have."""


class ExampleScores(NamedTuple):
    """What the logits of every example say about its label, each `[..., N]`.

    Attributes:
        prediction: int32, the class with the largest logit; the first of those that tie.
        confidence: softmax probability of the prediction, in [1/C, 1].
        nll: negative logarithm of the label's probability, nats.
        brier: squared distance of the probabilities from the label, in [0, 2].
    """

    prediction: Int[Array | np.ndarray, "..."]
    confidence: Float[Array | np.ndarray, "..."]
    nll: Float[Array | np.ndarray, "..."]
    brier: Float[Array | np.ndarray, "..."]


class Reliability(NamedTuple):
    """Examples by bins of their confidence, each `[..., bins]`.

    Attributes:
        examples: how many are in the bin.
        confidence: their mean confidence; NaN in an empty bin.
        accuracy: the share of them that is predicted right; NaN in an empty bin.
    """

    examples: Int[Array | np.ndarray, "..."]
    confidence: Float[Array | np.ndarray, "..."]
    accuracy: Float[Array | np.ndarray, "..."]


def example_scores(
    logits: Float[Array | np.ndarray, "..."], labels: Num[Array | np.ndarray, "..."]
) -> ExampleScores:
    """Score every example; means over examples are the measures below.

    Args:
        logits: float `[..., N, C]`.
        labels: true classes, integers in [0, C), shape `[N]`, shared by all networks.

    Returns:
        Scores float32 `[..., N]`; NaN where a logit is NaN or +inf. Inside `jit` labels cannot be
        refused: nll is NaN where one is out of range.

    Raises:
        InvalidInputError: shapes do not fit, labels are not integers or out of range.

    Example:
        >>> import jax.numpy as jnp
        >>> scores = example_scores(jnp.log(jnp.array([[0.75, 0.25]])), jnp.array([0]))
        >>> int(scores.prediction[0]), round(float(scores.brier[0]), 6)
        (0, 0.125)
    """
    logits, labels = _check(logits, labels)
    logs = jax.nn.log_softmax(logits)
    places = jnp.broadcast_to(labels[:, None], (*logits.shape[:-1], 1))
    # Negative places would wrap around: send them out of range, where "fill" makes them NaN.
    places = jnp.where(places >= 0, places, logits.shape[-1])
    truth = jax.nn.one_hot(labels, logits.shape[-1], dtype=jnp.float32)
    probabilities = jnp.exp(logs)
    return ExampleScores(
        prediction=jnp.argmax(logits, -1).astype(jnp.int32),
        # Rounding may lift the exponential of a logarithm above one.
        confidence=jnp.minimum(probabilities.max(-1), 1),
        nll=-jnp.take_along_axis(logs, places, axis=-1, mode="fill")[..., 0],
        brier=((probabilities - jnp.broadcast_to(truth, logits.shape)) ** 2).sum(-1),
    )


def negative_log_likelihood(
    logits: Float[Array | np.ndarray, "..."], labels: Num[Array | np.ndarray, "..."]
) -> Float[Array, "..."]:
    """Mean negative log-likelihood, `-1/N sum_k log p_k(y_k)`, in nats; smaller is better.

    Args:
        logits: float `[..., N, C]`.
        labels: true classes `[N]`.

    Returns:
        Float32 `[...]`; inf where a label has probability zero, NaN for a network with NaN logits.

    Raises:
        InvalidInputError: as `example_scores`.

    Example:
        >>> import jax.numpy as jnp
        >>> round(float(negative_log_likelihood(jnp.zeros((5, 4)), jnp.arange(5) % 4)), 4)  # ln 4
        1.3863
    """
    return example_scores(logits, labels).nll.mean(-1)


def brier_score(
    logits: Float[Array | np.ndarray, "..."], labels: Num[Array | np.ndarray, "..."]
) -> Float[Array, "..."]:
    """Brier score, `1/N sum_k sum_c (p_k(c) - [c = y_k])^2`, in [0, 2]; smaller is better.

    The sum over all classes is Brier's own form (1950); for two classes it is twice the form that
    looks at one class alone.

    Args:
        logits: float `[..., N, C]`.
        labels: true classes `[N]`.

    Returns:
        Float32 `[...]`; NaN for a network with NaN logits.

    Raises:
        InvalidInputError: as `example_scores`.

    Example:
        >>> import jax.numpy as jnp
        >>> float(brier_score(jnp.zeros((1, 2)), jnp.array([1])))
        0.5
    """
    return example_scores(logits, labels).brier.mean(-1)


def inner_edges(bins: int) -> Float[np.ndarray, " edges"]:
    """Return the edges between equal-width bins of [0, 1], float32 `[bins - 1]`.

    Bin m holds the confidences in ((m - 1) / bins, m / bins], as in Guo et al. (2017): one that
    equals an edge falls into the bin below. `searchsorted` from the left says which bin.

    Raises:
        InvalidInputError: fewer than one bin.

    Example:
        >>> inner_edges(4).tolist()
        [0.25, 0.5, 0.75]
    """
    if bins < 1:
        raise InvalidInputError(f"bins: found {bins}; at least 1 is needed.")
    return (np.arange(1, bins) / bins).astype(np.float32)


def reliability(
    logits: Float[Array | np.ndarray, "..."],
    labels: Num[Array | np.ndarray, "..."],
    *,
    bins: int = BINS,
    equal_mass: bool = False,
) -> Reliability:
    """Count examples, their mean confidence and accuracy in bins of the confidence.

    Args:
        logits: float `[..., N, C]`.
        labels: true classes `[N]`.
        bins: how many.
        equal_mass: False for bins of equal width (see `inner_edges`); True for bins with equally
            many examples: an example above r others falls into bin floor(r * bins / N). Equal
            confidences share a bin, so that the order of examples does not matter.

    Returns:
        A table with arrays `[..., bins]`; confidence and accuracy of all bins are NaN for a network
        with NaN logits.

    Raises:
        InvalidInputError: as `example_scores`, or fewer than one bin.

    References:
        Guo, Pleiss, Sun and Weinberger, On calibration of modern neural networks (2017), Eq 3;
        equal mass: Nguyen and O'Connor (2015), Nixon et al. (2019).

    Example:
        >>> import jax.numpy as jnp
        >>> logits = jnp.log(jnp.array([[0.5, 0.5], [0.9, 0.1]]))
        >>> reliability(logits, jnp.array([0, 1]), bins=4).examples.tolist()
        [0, 1, 0, 1]
    """
    edges = inner_edges(bins)
    scores = example_scores(logits, labels)
    examples = scores.confidence.shape[-1]
    truth = jnp.broadcast_to(jnp.asarray(labels), scores.prediction.shape)
    right = (scores.prediction == truth).astype(jnp.float32)

    def one(confidence, right):
        if equal_mass:
            below = jnp.searchsorted(jnp.sort(confidence), confidence, side="left")
            index = below * bins // examples
        else:
            index = jnp.searchsorted(edges, confidence, side="left")
        member = jnp.arange(bins)[:, None] == jnp.minimum(index, bins - 1)[None, :]
        count = member.sum(-1)
        # NaN spreads over the whole network: its other bins are of no use.
        poison = jnp.where(jnp.isnan(confidence).any(), jnp.nan, 0.0)
        sums = (jnp.where(member, v[None, :], 0).sum(-1) for v in (confidence, right))
        confidence, accuracy = (total / count + poison for total in sums)
        return Reliability(count, confidence, accuracy)

    rows = (v.reshape((-1, examples)) for v in (scores.confidence, right))
    found = jax.vmap(one)(*rows)
    return Reliability(*(v.reshape((*scores.confidence.shape[:-1], bins)) for v in found))


def expected_calibration_error(table: Reliability) -> Float[Array, "..."]:
    """Mean distance of confidence and accuracy, `sum_m n_m / N |acc_m - conf_m|`, in [0, 1].

    Args:
        table: of `reliability`.

    Returns:
        Float32 `[...]`; empty bins count nothing, NaN where the table is.

    Example:
        >>> import jax.numpy as jnp
        >>> means = jnp.array([[0.5, jnp.nan, 1], [1, jnp.nan, 0]])
        >>> table = Reliability(jnp.array([3, 0, 1]), *means)
        >>> float(expected_calibration_error(table))
        0.625
    """
    distance = jnp.where(table.examples > 0, jnp.abs(table.accuracy - table.confidence), 0)
    return (table.examples * distance).sum(-1) / table.examples.sum(-1)


def maximum_calibration_error(table: Reliability) -> Float[Array, "..."]:
    """Largest distance of confidence and accuracy over bins with examples, in [0, 1].

    Args:
        table: of `reliability`. A bin with one example counts as much as one with thousands.

    Returns:
        Float32 `[...]`; NaN where the table is.

    Example:
        >>> import jax.numpy as jnp
        >>> means = jnp.array([[0.5, jnp.nan, 1], [1, jnp.nan, 0]])
        >>> table = Reliability(jnp.array([3, 0, 1]), *means)
        >>> float(maximum_calibration_error(table))
        1.0
    """
    return jnp.where(table.examples > 0, jnp.abs(table.accuracy - table.confidence), 0).max(-1)


def average_confidence(table: Reliability) -> Float[Array, "..."]:
    """Mean confidence over all examples; above the accuracy a network is overconfident.

    Args:
        table: of `reliability`.

    Returns:
        Float32 `[...]`; NaN where the table is.

    Example:
        >>> import jax.numpy as jnp
        >>> means = jnp.array([[0.5, jnp.nan, 1], [1, jnp.nan, 0]])
        >>> table = Reliability(jnp.array([3, 0, 1]), *means)
        >>> float(average_confidence(table))
        0.625
    """
    confidence = jnp.where(table.examples > 0, table.confidence, 0)
    return (table.examples * confidence).sum(-1) / table.examples.sum(-1)


def _check(logits, labels) -> tuple[Array, Array]:
    if labels.ndim != 1 or not jnp.issubdtype(labels.dtype, jnp.integer):
        raise InvalidInputError(
            f"labels: found {labels.dtype} {list(labels.shape)}; one integer class per example, "
            "[N], is needed."
        )
    shape = tuple(logits.shape)
    if len(shape) < 2 or shape[-2] != labels.shape[0] or 0 in shape[-2:]:
        raise InvalidInputError(
            f"logits: found shape {shape}; [..., {labels.shape[0]}, C] is needed for the labels "
            "given, with at least one example and one class."
        )
    if not isinstance(labels, Tracer):
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high >= shape[-1]:
            raise InvalidInputError(
                f"labels: found class {low if low < 0 else high}; logits of {shape[-1]} classes "
                f"allow 0 to {shape[-1] - 1}."
            )
    return jnp.asarray(logits, jnp.float32), jnp.asarray(labels, jnp.int32)
