"""Without labels: the error on unlabelled images, predicted from outputs alone.

Every measure here is an error in [0, 1] (difference of confidences may leave it) that is predicted
for the unlabelled images; `validation` is the labelled source that thresholds are set on.
"""

from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Num

from genjax.errors import InvalidInputError
from genjax.metrics.complexity.contract import (
    Intermediate,
    Labelled,
    Measure,
    Refusal,
    Result,
    value,
)
from genjax.metrics.complexity.workspace import Workspace, in_chunks

_ATC = "Garg et al., Leveraging Unlabeled Data to Predict Out-of-Distribution Performance, 2022"
_GDE = "Jiang et al., Assessing Generalization of SGD via Disagreement, ICLR 2022"


def log_confidence(logits: Any) -> Any:
    """Return the logarithm of the largest softmax probability, `[N]`, nats.

    In float32 the probability itself is 1 beyond a margin of 17; its logarithm still tells
    examples apart, and thresholds only read the order.

    Example:
        >>> bool(log_confidence(jnp.array([[30.0, 0.0]]))[0] < 0)
        True
    """
    best = jax.nn.one_hot(jnp.argmax(logits, -1), logits.shape[-1], dtype=bool)
    gaps = logits - jnp.max(logits, -1, keepdims=True)
    return -jnp.log1p(jnp.sum(jnp.where(best, 0.0, jnp.exp(gaps)), -1))


def negative_entropy(logits: Any) -> Any:
    """Return sum_k p_k ln p_k of the softmax, `[N]`, nats, in [-ln K, 0].

    Example:
        >>> round(float(negative_entropy(jnp.zeros((1, 4)))[0]), 4)  # -ln 4
        -1.3863
    """
    gaps = logits - jnp.max(logits, -1, keepdims=True)
    logs = gaps + log_confidence(logits)[..., None]
    return jnp.sum(jnp.exp(logs) * logs, -1)


def predicted_error_atc(source_scores: Any, source_wrong: Any, target_scores: Any) -> Any:
    """Return the share of target scores below the threshold of the source (ATC).

    The threshold t is the one with as many source scores below it as there are source errors, so
    that #(wrong, s >= t) = #(right, s < t) (Garg et al., 2022). It is the source score of
    that rank; where scores tie, the closest number that can be reached (the smaller of two). The
    authors' program takes the score one rank lower, and 0 where the source has no error, which
    for negative entropy predicts that everything is wrong; neither is copied. Scores that differ by
    rounding tie: equal logits in other places of a batch need not give the same last bit.

    Args:
        source_scores: [M], larger for the more confident.
        source_wrong: [M], whether the prediction is wrong.
        target_scores: [N].

    Example:
        >>> source = jnp.array([0.3, 0.5, 0.8, 0.9])
        >>> wrong = jnp.array([True, False, False, False])
        >>> float(predicted_error_atc(source, wrong, jnp.array([0.2, 0.4, 0.7, 0.95])))
        0.5
    """
    ordered = jnp.sort(source_scores)
    errors = jnp.sum(source_wrong)
    rank = jnp.minimum(errors, ordered.shape[0] - 1)
    tie = 8 * jnp.finfo(ordered.dtype).eps * jnp.abs(ordered[rank])
    below = jnp.sum(ordered < ordered[rank] - tie)
    # The next threshold that a tie allows: the next larger score, or above all of them.
    up_to = jnp.sum(ordered <= ordered[rank] + tie)
    higher = jnp.append(ordered, jnp.inf)[up_to]
    threshold = jnp.where(jnp.abs(up_to - errors) < errors - below, higher, ordered[rank])
    return jnp.mean(target_scores < threshold - tie)


def class_aggregated_calibration_error(
    predictions: Int[np.ndarray, "networks examples"], labels: Num[np.ndarray, " examples"]
) -> float:
    """Return the class-aggregated calibration error of networks that vote (CACE).

    `sum_q |P(Y = k, h_k = q) - q P(h_k = q)|`, with both probabilities summed over classes k and
    h_k the share of networks that predict k (Jiang et al., 2022). If two networks are drawn from
    the same ones, with replacement, then the mean disagreement of their predictions differs from
    the mean error by no more than this.

    Args:
        predictions: classes.
        labels: true classes.

    Raises:
        InvalidInputError: no network or no example.

    Example:
        >>> class_aggregated_calibration_error(np.array([[0, 1], [0, 0]]), np.array([0, 1]))
        0.0
    """
    if 0 in predictions.shape:
        raise InvalidInputError(
            f"predictions: found shape {predictions.shape}; at least one network and one example "
            "are needed."
        )
    networks, examples = predictions.shape
    classes = np.arange(int(max(predictions.max(), labels.max())) + 1)
    votes = (predictions[..., None] == classes).sum(0)  # [examples, classes], 0 .. networks
    true = labels[:, None] == classes
    right = np.bincount(votes[true], minlength=networks + 1)
    everything = np.bincount(votes.ravel(), minlength=networks + 1)
    expected = np.arange(networks + 1) / networks * everything
    return float(np.abs(right - expected).sum() / examples)


def disagreements(
    predictions: Int[np.ndarray, "networks examples"],
) -> Float[np.ndarray, "networks networks"]:
    """Return the share of examples on which two networks predict different classes.

    Example:
        >>> disagreements(np.array([[0, 1], [0, 2]])).tolist()
        [[0.0, 0.5], [0.5, 0.0]]
    """
    same = np.zeros((len(predictions),) * 2)
    for label in np.unique(predictions):
        # Counts below 2^24 are exact in float32, whose product is the fast one.
        hot = (predictions == label).astype(np.float32)
        same += hot @ hot.T
    return 1 - same / predictions.shape[1]


def _logits(workspace: Workspace, images: Array) -> Any:
    network, params = workspace.network, workspace.trained.params
    return in_chunks(lambda x: network.apply(params, x), images)


def _source(workspace: Workspace) -> Labelled:
    """Return the labelled examples that were not trained on; `requires` says they are there."""
    return cast(Labelled, workspace.data.validation)


def _classes(logits: Any) -> Any:
    return jnp.argmax(logits, -1).astype(jnp.int32)


def _atc(score: Any):
    def compute(workspace: Workspace) -> Result:
        source = workspace["validation_logits"]
        wrong = _classes(source) != _source(workspace).labels
        target = score(workspace["unlabeled_logits"])
        predicted = predicted_error_atc(score(source), wrong, target)
        return value(predicted, validation_error=jnp.mean(wrong))

    return compute


def _mean_confidence(logits: Any) -> Any:
    return jnp.mean(jnp.exp(log_confidence(logits)))


def _average_confidence(workspace: Workspace) -> Result:
    return value(1 - _mean_confidence(workspace["unlabeled_logits"]))


def _difference_of_confidences(workspace: Workspace) -> Result:
    source = workspace["validation_logits"]
    error = jnp.mean(_classes(source) != _source(workspace).labels)
    drop = _mean_confidence(source) - _mean_confidence(workspace["unlabeled_logits"])
    return value(error + drop, validation_error=error)


def _siblings(together: Any) -> list[np.ndarray]:
    """Return the positions of usable networks that differ in nothing but their seed."""
    usable = np.flatnonzero(together.valid)
    settings = np.asarray(together.settings)[usable]
    return [usable[settings == setting] for setting in np.unique(settings)]


def _disagreement(together: Any) -> Result:
    predictions = np.asarray(together.stacked["unlabeled_predictions"])
    amount = np.full(len(predictions), np.nan)
    count = np.zeros(len(predictions), int)
    for members in _siblings(together):
        count[members] = len(members)
        if len(members) > 1:
            pairs = disagreements(predictions[members])
            amount[members] = pairs.sum(1) / (len(members) - 1)
    return amount, _refused_alone(count)


def _calibration_error(together: Any) -> Result:
    predictions = np.asarray(together.stacked["validation_predictions"])
    labels = np.asarray(together.data.validation.labels)
    amount = np.full(len(predictions), np.nan)
    count = np.zeros(len(predictions), int)
    for members in _siblings(together):
        count[members] = len(members)
        if len(members) > 1:
            amount[members] = class_aggregated_calibration_error(predictions[members], labels)
    return amount, _refused_alone(count)


def _refused_alone(count: np.ndarray) -> dict[str, Any]:
    alone = np.where(count > 1, Refusal.NONE, Refusal.DEGENERATE)
    return {"networks": count, "refusal": alone.astype(int)}


INTERMEDIATES = (
    # [M, classes] on the labelled examples that were not trained on.
    Intermediate(
        "validation_logits",
        lambda workspace: _logits(workspace, _source(workspace).images),
        requires=("validation",),
        passes=1 / 3,
    ),
    # [M, classes] on the unlabelled images.
    Intermediate(
        "unlabeled_logits",
        lambda workspace: _logits(workspace, workspace.data.unlabeled),
        requires=("unlabeled",),
        passes=1 / 3,
    ),
    # [M], int32.
    Intermediate(
        "validation_predictions",
        lambda workspace: _classes(workspace["validation_logits"]),
        needs=("validation_logits",),
    ),
    # [M], int32.
    Intermediate(
        "unlabeled_predictions",
        lambda workspace: _classes(workspace["unlabeled_logits"]),
        needs=("unlabeled_logits",),
    ),
)

MEASURES = (
    Measure(
        name="disagreement",
        family="unlabeled",
        formula="share of unlabelled images on which the network and another one of equal settings "
        "and another seed that did not diverge predict different classes, mean (GDE); predicts the "
        "error as far as `disagreement_calibration_error` is small",
        source=_GDE,
        compute=_disagreement,
        needs=("unlabeled_predictions",),
        scope="group",
    ),
    Measure(
        name="disagreement_calibration_error",
        family="unlabeled",
        formula="class-aggregated calibration error, on the validation set, of the votes of all "
        "networks of equal settings: how far the mean disagreement, a network "
        "paired with itself included, can be from the mean error there",
        source=_GDE,
        compute=_calibration_error,
        needs=("validation_predictions",),
        larger_is_worse=None,
        scope="group",
    ),
    Measure(
        name="predicted_error_atc",
        family="unlabeled",
        formula="share of unlabelled images with maximum probability below t; below t are as many "
        "validation examples as are wrong",
        source=_ATC,
        compute=_atc(log_confidence),
        needs=("validation_logits", "unlabeled_logits"),
    ),
    Measure(
        name="predicted_error_atc_entropy",
        family="unlabeled",
        formula="share of unlabelled images with sum_k p_k ln p_k below t; below t are as many "
        "validation examples as are wrong",
        source=_ATC,
        compute=_atc(negative_entropy),
        needs=("validation_logits", "unlabeled_logits"),
    ),
    Measure(
        name="predicted_error_average_confidence",
        family="unlabeled",
        formula="1 - mean maximum probability of the unlabelled images",
        source="Hendrycks and Gimpel, A Baseline for Detecting Misclassified and "
        "Out-of-Distribution Examples, ICLR 2017",
        compute=_average_confidence,
        needs=("unlabeled_logits",),
    ),
    Measure(
        name="predicted_error_difference_of_confidences",
        family="unlabeled",
        formula="validation error + mean maximum probability of the validation images - that of "
        "the unlabelled images",
        source="Guillory et al., Predicting with Confidence on Unseen Distributions, ICCV 2021",
        compute=_difference_of_confidences,
        needs=("validation_logits", "unlabeled_logits"),
    ),
)
