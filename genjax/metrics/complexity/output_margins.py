"""Margins of the output: how far apart the logits of the true and of the next class are."""

from typing import Any

import jax
import jax.numpy as jnp

from genjax.metrics.complexity.contract import (
    Intermediate,
    Measure,
    Refusal,
    Result,
    refuse_where,
    value,
)
from genjax.metrics.complexity.workspace import Workspace, margins

_JIANG = "Jiang et al., Fantastic Generalization Measures, ICLR 2020"
_DZIUGAITE = "Dziugaite et al., In Search of Robust Measures of Generalization, NeurIPS 2020"
_ANDRIUSHCHENKO = (
    "logit normalisation of Andriushchenko et al., A Modern Look at the Relationship between "
    "Sharpness and Generalization, ICML 2023"
)
_PERCENTILES = (1, 5, 25, 50, 75)


def normalised_logits(logits: Any) -> Any:
    """Return logits with mean zero and mean square one within every example, `[N, K]`.

    `(f_k - mean_k f) / sqrt(mean_k (f_k - mean_k f)^2)`. Adding a number to all logits or
    multiplying them by a positive one changes nothing. Equal logits give NaN.

    Example:
        >>> normalised_logits(jnp.array([[10.0, 20.0]])).tolist()
        [[-1.0, 1.0]]
    """
    centred = logits - jnp.mean(logits, axis=-1, keepdims=True)
    return centred / jnp.sqrt(jnp.mean(centred**2, axis=-1, keepdims=True))


def entropies(logits: Any) -> Any:
    """Return the entropy of the softmax of every example in nats, `[N]`.

    Example:
        >>> [round(float(h), 4) for h in entropies(jnp.array([[0.0, 0.0], [4.0, 0.0]]))]
        [0.6931, 0.0901]
    """
    logs = jax.nn.log_softmax(logits, axis=-1)
    return -jnp.sum(jnp.exp(logs) * logs, axis=-1)


def _normalised_margins(workspace: Workspace) -> Any:
    return margins(normalised_logits(workspace["logits"]), workspace.data.train.labels)


def _tenth(workspace: Workspace) -> Result:
    return value(workspace["margin"])


def _percentile(percent: int):
    def compute(workspace: Workspace) -> Result:
        return value(jnp.percentile(workspace["margins"], percent))

    return compute


def _mean(workspace: Workspace) -> Result:
    return value(jnp.mean(workspace["margins"]))


def _normalised_tenth(workspace: Workspace) -> Result:
    found = workspace["normalised_margins"]
    tenth = jnp.sort(found)[max(found.shape[0] // 10 - 1, 0)]
    return refuse_where({Refusal.DEGENERATE: ~jnp.all(jnp.isfinite(found))}, tenth)


def _normalised_mean(workspace: Workspace) -> Result:
    found = workspace["normalised_margins"]
    return refuse_where({Refusal.DEGENERATE: ~jnp.all(jnp.isfinite(found))}, jnp.mean(found))


def _cross_entropy(workspace: Workspace) -> Result:
    return value(jnp.mean(workspace["losses"]))


def _entropy(workspace: Workspace) -> Result:
    return value(jnp.mean(entropies(workspace["logits"])))


def _train_error(workspace: Workspace) -> Result:
    return value(workspace["train_error"])


def _measure(name, formula, source, compute, needs, **options) -> Measure:
    return Measure(name, "output_margins", formula, source, compute, (needs,), **options)


INTERMEDIATES = (
    # [N], margins over the root mean square of the centred logits of the example.
    Intermediate("normalised_margins", _normalised_margins, needs=("logits",)),
)

MEASURES = (
    _measure(
        "output_margin",
        "10th percentile over the training examples of f_y - max_{j != y} f_j, logits f: the k-th "
        "smallest, k = floor(N / 10), at least the smallest",
        _DZIUGAITE,
        _tenth,
        "margin",
        larger_is_worse=False,
    ),
    *(
        _measure(
            f"output_margin_percentile_{percent}",
            f"{percent}th percentile of f_y - max_{{j != y}} f_j, linear between order statistics",
            _JIANG,
            _percentile(percent),
            "margins",
            larger_is_worse=False,
            fast=percent == 50,
        )
        for percent in _PERCENTILES
    ),
    _measure(
        "output_margin_mean",
        "mean of f_y - max_{j != y} f_j",
        _JIANG,
        _mean,
        "margins",
        larger_is_worse=False,
    ),
    _measure(
        "normalised_output_margin",
        "k-th smallest, k = floor(N / 10), of (f_y - max_{j != y} f_j) / sqrt(mean_k (f_k - "
        "mean_k f)^2): invariant to the scale of the logits",
        _ANDRIUSHCHENKO,
        _normalised_tenth,
        "normalised_margins",
        larger_is_worse=False,
    ),
    _measure(
        "normalised_output_margin_mean",
        "mean of (f_y - max_{j != y} f_j) / sqrt(mean_k (f_k - mean_k f)^2)",
        _ANDRIUSHCHENKO,
        _normalised_mean,
        "normalised_margins",
        larger_is_worse=False,
        fast=False,
    ),
    _measure(
        "cross_entropy",
        "mean of -ln softmax(f)_y, nats (eq 21)",
        _JIANG,
        _cross_entropy,
        "losses",
    ),
    _measure(
        "output_entropy",
        "mean of -sum_k p_k ln p_k, p = softmax(f), nats (eq 23)",
        _JIANG,
        _entropy,
        "logits",
        # Confident outputs are a sign of overfitting, and of examples that are easy.
        larger_is_worse=None,
    ),
    _measure(
        "train_error",
        "share of training examples whose largest logit is of another class",
        _JIANG,
        _train_error,
        "train_error",
    ),
)
