"""Bias, variance and noise of networks trained on different samples, for three losses.

R networks predict N examples whose labels are drawn from q(x): the label itself where there is no
noise. For every loss the mean over networks and labels is noise + bias + variance, exactly, per
example and without approximation.
"""

from typing import Any, NamedTuple

import numpy as np
import scipy.special
from jaxtyping import Float, Int

from genjax.errors import InvalidInputError

Host = np.ndarray


class Decomposition(NamedTuple):
    """Expected loss in parts, per example; `noise + bias + variance` is `loss`.

    Attributes:
        loss: mean over networks, expectation over labels.
        noise: loss of the best prediction, that of q itself.
        bias: what the central prediction loses beyond that.
        variance: what single networks lose beyond the central prediction.
    """

    loss: Float[Host, " examples"]
    noise: Float[Host, " examples"]
    bias: Float[Host, " examples"]
    variance: Float[Host, " examples"]


class ZeroOne(NamedTuple):
    """Parts of the expected 0-1 loss, per example.

    Attributes:
        parts: here variance is the net effect of varying, negative where it helps.
        spread: share of networks that do not give the main prediction: Domingos's variance.
        biased: whether the main prediction is not the most likely label: Domingos's bias.
    """

    parts: Decomposition
    spread: Float[Host, " examples"]
    biased: Float[Host, " examples"]


def noisy_labels(
    labels: Int[Host, " examples"], rate: float | int, num_classes: int
) -> Float[Host, "examples classes"]:
    """Return the distribution of labels of which a share is replaced by another class, at random.

    Example:
        >>> noisy_labels(np.array([1]), 0.2, 3).tolist()
        [[0.1, 0.8, 0.1]]
    """
    truth = np.eye(num_classes)[labels]
    return (1 - rate) * truth + rate / (num_classes - 1) * (1 - truth)


def squared(
    logits: Float[Host, "networks examples classes"],
    labels: Float[Host, "examples classes"],
    *,
    unbiased: bool = True,
) -> Decomposition:
    """Decompose the squared distance of probabilities from the label, `||p - y||^2` (Brier).

    `E ||p - y||^2 = (1 - ||q||^2) + ||E p - q||^2 + E ||p - E p||^2`.

    Args:
        logits: of R networks; softmax gives p. Computed in float64.
        labels: q(x), the distribution of the label of every example.
        unbiased: whether variance is divided by R - 1 and what the mean of R networks varies by is
            taken out of the bias; the sum stays exact, and a bias may come out below 0.

    Raises:
        InvalidInputError: shapes that do not fit, no distributions, fewer than two networks.

    References:
        Geman, Bienenstock and Doursat, Neural networks and the bias/variance dilemma (1992), Eq 8;
        Yang, Yu, You, Steinhardt and Ma, Rethinking bias-variance trade-off, ICML 2020, Sec 2.

    Example:
        >>> logits = np.log(np.array([[[0.6, 0.4]], [[0.8, 0.2]]]))
        >>> found = squared(logits, np.array([[1.0, 0.0]]), unbiased=False)
        >>> [round(float(part[0]), 4) for part in found]  # E p = (0.7, 0.3)
        [0.2, 0.0, 0.18, 0.02]
    """
    logits, labels = _checked(logits, labels)
    probabilities = scipy.special.softmax(logits, axis=-1)
    centre = probabilities.mean(axis=0)
    purity = (labels**2).sum(axis=-1)
    # E_y ||p - y||^2 = ||p||^2 - 2 p.q + 1, of every network, not put together from the parts.
    each = (probabilities**2).sum(axis=-1) - 2 * (probabilities * labels).sum(axis=-1) + 1
    variance = ((probabilities - centre) ** 2).sum(axis=-1).mean(axis=0)
    bias = ((centre - labels) ** 2).sum(axis=-1)
    if unbiased:
        count = len(logits)
        bias = bias - variance / (count - 1)
        variance = variance * count / (count - 1)
    return Decomposition(each.mean(axis=0), 1 - purity, bias, variance)


def cross_entropy(
    logits: Float[Host, "networks examples classes"], labels: Float[Host, "examples classes"]
) -> Decomposition:
    """Decompose the cross-entropy, `-sum_c q_c log p_c`, in nats.

    `E H(q, p) = H(q) + KL(q || m) + E KL(m || p)`, m proportional to `exp(E log p)`, the mean of
    logits: the central prediction of this loss.

    Args:
        logits: of R networks. Computed in float64.
        labels: q(x).

    Raises:
        InvalidInputError: as `squared`.

    References:
        Heskes, Bias/variance decompositions for likelihood-based estimators (1998), Eqs 2 and 3;
        Yang et al. (2020), Sec 2.

    Example:
        >>> logits = np.array([[[1.0, 0.0]], [[3.0, 0.0]]])
        >>> found = cross_entropy(logits, np.array([[1.0, 0.0]]))
        >>> [round(float(part[0]), 4) for part in found]  # m = softmax(2, 0)
        [0.1809, 0.0, 0.1269, 0.054]
    """
    logits, labels = _checked(logits, labels)
    logs = scipy.special.log_softmax(logits, axis=-1)
    centre = scipy.special.log_softmax(logs.mean(axis=0), axis=-1)
    noise = scipy.special.entr(labels).sum(axis=-1)
    loss = -(labels * logs).sum(axis=-1).mean(axis=0)
    bias = (scipy.special.xlogy(labels, labels) - labels * centre).sum(axis=-1)
    variance = (np.exp(centre) * (centre - logs)).sum(axis=-1).mean(axis=0)
    return Decomposition(loss, noise, bias, variance)


def zero_one(
    logits: Float[Host, "networks examples classes"], labels: Float[Host, "examples classes"]
) -> ZeroOne:
    """Decompose the 0-1 loss around the main prediction, the one most networks give.

    With m the main prediction and y* the most likely label: noise `1 - q(y*)`, bias
    `q(y*) - q(m)`, net variance `q(m) - E q(prediction)` (the systematic and the variance effect of
    James). Without noise, bias is 0 or 1 and net variance is Domingos's: the spread where the main
    prediction is right, minus the share of networks that are right where it is wrong.

    Args:
        logits: of R networks; the first of the largest is the prediction, and the first of the
            most frequent predictions the main one.
        labels: q(x).

    Raises:
        InvalidInputError: as `squared`.

    References:
        Domingos, A unified bias-variance decomposition, ICML 2000, Theorem 2; James, Variance and
        bias for general loss functions, Machine Learning 51 (2003), Eqs 8 and 9.

    Example:
        >>> logits = np.array([[[1.0, 0.0]], [[1.0, 0.0]], [[0.0, 1.0]]])
        >>> found = zero_one(logits, np.array([[0.0, 1.0]]))  # two of three are wrong
        >>> [round(float(part[0]), 4) for part in found.parts]
        [0.6667, 0.0, 1.0, -0.3333]
    """
    logits, labels = _checked(logits, labels)
    votes = np.eye(labels.shape[-1])[logits.argmax(axis=-1)].mean(axis=0)
    main = votes.argmax(axis=-1)[:, None]
    of_main = np.take_along_axis(labels, main, axis=-1)[:, 0]
    best = labels.max(axis=-1)
    right = (votes * labels).sum(axis=-1)
    parts = Decomposition(1 - right, 1 - best, best - of_main, of_main - right)
    spread = 1 - np.take_along_axis(votes, main, axis=-1)[:, 0]
    return ZeroOne(parts, spread, (main[:, 0] != labels.argmax(axis=-1)).astype(np.float64))


def _checked(logits: Any, labels: Any) -> tuple[Host, Host]:
    logits, labels = np.asarray(logits, np.float64), np.asarray(labels, np.float64)
    if logits.ndim != 3 or len(logits) < 2 or logits.shape[1:] != labels.shape or not labels.size:
        raise InvalidInputError(
            f"logits and labels: found shapes {logits.shape} and {labels.shape}; [R, N, C] of at "
            "least two networks and [N, C] are needed."
        )
    if not np.isfinite(logits).all():
        raise InvalidInputError("logits: found values that are not finite.")
    if (labels < 0).any() or np.abs(labels.sum(axis=-1) - 1).max() > 1e-9:
        raise InvalidInputError(
            "labels: found rows that are no distributions; each must be >= 0 and sum to 1."
        )
    return logits, labels
