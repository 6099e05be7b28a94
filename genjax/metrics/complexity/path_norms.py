"""Path norms: the sum over all paths from inputs to outputs of the product of their weights.

Of a network of linear maps, ReLU and pooling it is a forward pass: with every weight and bias
replaced by its absolute value to a power, and ones as the input (max-pooling keeps the maximum).
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from genjax.metrics.complexity.contract import (
    Intermediate,
    Measure,
    Refusal,
    Result,
    refuse_where,
)
from genjax.metrics.complexity.workspace import Workspace
from genjax.metrics.programs import input_of_ones, scaled
from genjax.models import Network
from genjax.types import Params

_JIANG = "Jiang et al., Fantastic Generalization Measures, ICLR 2020"
_NEYSHABUR = "Neyshabur, Tomioka and Srebro, Norm-Based Capacity Control, COLT 2015"


class PathSums(NamedTuple):
    """Sums over paths, for absolute values and for squares.

    Attributes:
        sums: [2], infinite where they are too large for their type.
        logs: [2], natural logarithms, finite where the sums are not.
        possible: whether an input of ones exists.
    """

    sums: Any
    logs: Any
    possible: Any


def path_sums(network: Network, params: Params) -> PathSums:
    """Return sum_k f_{|w|^p}(1)_k for p = 1 and p = 2, over the outputs k.

    Only what the first layer reads is one: normalisation of images inside `apply` is undone.
    Powers of two are carried along, so that logarithms are right at any depth.

    Args:
        network: linear maps, ReLU and pooling.
        params: of one network, normalisation folded in.

    Example:
        >>> from genjax import models
        >>> net = models.create("mlp", image_shape=(2, 2, 1), num_classes=3, widths=(2,))
        >>> params = net.fold(*net.init(jax.random.key(0)))
        >>> params = jax.tree.map(lambda w: jnp.full_like(w, -0.5), params)
        >>> path_sums(net, params).sums.tolist()  # 3 (2 (2.5 / 2) + .5) of absolute values
        [9.0, 2.625]
    """
    image, possible = input_of_ones(network, params)

    def forward(power):
        raised = jax.tree.map(lambda w: jnp.where(power == 2, w * w, jnp.abs(w)), params)
        return scaled(lambda w: jnp.sum(network.apply(w, image)), raised)

    found = jax.lax.map(forward, jnp.array([1, 2]))
    logs = jnp.log(found.mantissa) + found.exponent * math.log(2)
    return PathSums(found.mantissa * jnp.exp2(found.exponent), logs, possible)


def _sums(workspace: Workspace) -> PathSums:
    return path_sums(workspace.network, workspace.trained.params)


def _path_norm(workspace: Workspace) -> Result:
    found = workspace["path_sums"]
    amount = found.sums[1]
    return refuse_where(
        {Refusal.DEGENERATE: ~found.possible, Refusal.NOT_FINITE: ~jnp.isfinite(amount)}, amount
    )


def _path_norm_over_margin(workspace: Workspace) -> Result:
    found, margin = workspace["path_sums"], workspace["margin"]
    amount = found.sums[1] / margin**2
    return refuse_where(
        {
            Refusal.MARGIN: ~(margin > 0),
            Refusal.DEGENERATE: ~found.possible,
            Refusal.NOT_FINITE: ~jnp.isfinite(amount),
        },
        amount,
    )


def _log(index: int) -> Any:
    def compute(workspace: Workspace) -> Result:
        found = workspace["path_sums"]
        amount = found.logs[index]
        return refuse_where({Refusal.DEGENERATE: ~(found.possible & jnp.isfinite(amount))}, amount)

    return compute


INTERMEDIATES = (
    # `PathSums`.
    Intermediate("path_sums", _sums, requires=("relu",)),
)

_SQUARES = "sum_k f_{w^2}(1)_k over outputs k, all weights and biases squared, input of ones"

MEASURES = (
    Measure(
        name="path_norm",
        family="path_norms",
        formula=f"{_SQUARES} (eq 44)",
        source=_JIANG,
        compute=_path_norm,
        needs=("path_sums",),
    ),
    Measure(
        name="path_norm_over_margin",
        family="path_norms",
        formula=f"{_SQUARES}, / gamma^2 (eq 43); gamma: 10th percentile of the training margins",
        source=_JIANG,
        compute=_path_norm_over_margin,
        needs=("path_sums", "margin"),
    ),
    Measure(
        name="log_path_norm",
        family="path_norms",
        formula=f"natural logarithm of {_SQUARES} (eq 44); finite where path_norm overflows",
        source=_JIANG,
        compute=_log(1),
        needs=("path_sums",),
        # Networks are ordered as by path_norm.
        fast=False,
    ),
    Measure(
        name="log_l1_path_norm",
        family="path_norms",
        formula="natural logarithm of sum_k f_{|w|}(1)_k over outputs k, input of ones",
        source=_NEYSHABUR,
        compute=_log(0),
        needs=("path_sums",),
    ),
)
