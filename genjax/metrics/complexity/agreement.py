"""Agreement on the line: accuracy under shift from how networks agree, over a population."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, Num
from scipy import stats

from genjax.errors import InvalidInputError
from genjax.metrics.complexity.unlabeled import disagreements


class AgreementLine(NamedTuple):
    """The line through agreements of pairs, and what it says of accuracy.

    Attributes:
        slope: a of probit(agreement under shift) = a probit(agreement) + b.
        intercept: b.
        correlation: Pearson's r of the two probits over pairs; the method is meant for r near 1.
        pairs: number of pairs of networks.
        clipped: how many agreements and accuracies were 0 or 1, and pulled in by half an example.
        accuracy: predicted accuracy of each network under shift.
    """

    slope: float
    intercept: float
    correlation: float
    pairs: int
    clipped: int
    accuracy: Float[np.ndarray, " networks"]


def agreement_on_the_line(
    predictions: Int[np.ndarray, "networks examples"],
    labels: Num[np.ndarray, " examples"],
    shifted_predictions: Int[np.ndarray, "shifted_networks shifted_examples"],
) -> AgreementLine:
    """Predict the accuracy of networks on shifted data without labels (ALine-S).

    Over all pairs of networks `probit(agreement under shift) = a probit(agreement) + b` is fitted
    by least squares; the same line then maps accuracy to accuracy under shift (Baek et al.,
    Agreement on the Line, NeurIPS 2022). probit is the inverse of the normal distribution function.

    Args:
        predictions: classes predicted on labelled data that were not trained on.
        labels: their true classes.
        shifted_predictions: classes predicted by the same networks on unlabelled shifted data.

    Raises:
        InvalidInputError: fewer than three networks, no examples, or networks that all agree
            equally, through which no line can be drawn.

    Example:
        >>> labels = np.zeros(8, int)
        >>> wrong = np.tril(np.ones((4, 8), int))  # network i is wrong on i + 1 examples
        >>> line = agreement_on_the_line(wrong, labels, wrong)
        >>> line.pairs, round(line.slope, 6), line.accuracy.round(3).tolist()
        (6, 1.0, [0.875, 0.75, 0.625, 0.5])
    """
    networks = len(predictions)
    if networks != len(shifted_predictions) or networks < 3 or 0 in shifted_predictions.shape:
        raise InvalidInputError(
            f"predictions: found shapes {predictions.shape} and {shifted_predictions.shape}; the "
            "same three or more networks on at least one example each are needed."
        )
    if not len(labels):
        raise InvalidInputError("labels: found no examples; at least one is needed.")
    upper = np.triu_indices(networks, k=1)
    agreement, clipped = _inside(1 - disagreements(predictions)[upper], predictions.shape[1])
    shifted, more = _inside(
        1 - disagreements(shifted_predictions)[upper], shifted_predictions.shape[1]
    )
    accuracy, most = _inside((predictions == labels).mean(1), predictions.shape[1])
    if np.ptp(agreement) == 0:
        raise InvalidInputError(
            f"predictions: all pairs of networks agree on the same share, {agreement[0]:.4g}; no "
            "line can be fitted."
        )
    line: Any = stats.linregress(stats.norm.ppf(agreement), stats.norm.ppf(shifted))
    slope, intercept = float(line.slope), float(line.intercept)
    return AgreementLine(
        slope,
        intercept,
        float(line.rvalue),
        len(agreement),
        clipped + more + most,
        stats.norm.cdf(slope * stats.norm.ppf(accuracy) + intercept),
    )


def _inside(shares: np.ndarray, examples: int) -> tuple[np.ndarray, int]:
    """Return shares within [1/2N, 1 - 1/2N], where the probit is finite, and how many moved."""
    half = 0.5 / examples
    inside = np.clip(shares, half, 1 - half)
    return inside, int(np.sum(inside != shares))
