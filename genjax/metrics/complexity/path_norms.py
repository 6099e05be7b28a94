"""Path norms: the sum over all paths from inputs to outputs of the product of their weights.

Of a network of linear maps, ReLU and pooling it is a forward pass: with every weight and bias
replaced by its absolute value to a power, and ones as the input (max-pooling keeps the maximum).
"""

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
from genjax.metrics.complexity.layers import WeightLayer
from genjax.metrics.complexity.programs import input_of_ones
from genjax.metrics.complexity.workspace import Workspace
from genjax.models import Network
from genjax.types import Params

_JIANG = "Jiang et al., Fantastic Generalization Measures, ICLR 2020"
_NEYSHABUR = "Neyshabur, Tomioka and Srebro, Norm-Based Capacity Control, COLT 2015"
_SCALES = (1.0, 2.0**-80, 2.0**80)
_SMALLEST = 1e-20


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


def path_sums(network: Network, layers: tuple[WeightLayer, ...], params: Params) -> PathSums:
    """Return sum_k f_{|w|^p}(1)_k for p = 1 and p = 2, over the outputs k.

    Multiplying the first kernel and all biases by a factor multiplies the outputs by it: that is
    how sums of up to 1e62 are found in float32. Only what the first layer reads is one:
    normalisation of images inside `apply` is undone.

    Args:
        network: linear maps, ReLU and pooling; its images enter at the first layer alone.
        layers: of the network; other parameters are biases.
        params: of one network, normalisation folded in.

    Example:
        >>> from genjax import models
        >>> from genjax.metrics.complexity.layers import weight_layers
        >>> net = models.create("mlp", image_shape=(2, 2, 1), num_classes=3, widths=(2,))
        >>> params = net.fold(*net.init(jax.random.key(0)))
        >>> params = jax.tree.map(lambda w: jnp.full_like(w, -0.5), params)
        >>> path_sums(net, weight_layers(net, params), params).sums.tolist()  # 3 (2 (2.5 / 2) + .5)
        [9.0, 2.625]
    """
    image, possible = input_of_ones(network, params)
    leaves, structure = jax.tree.flatten(params)
    later = {layer.leaf for layer in layers[1:]}

    def forward(option):
        power, scale = option
        raised = [jnp.where(power == 2, w * w, jnp.abs(w)) for w in leaves]
        scaled = [w if i in later else w * scale.astype(w.dtype) for i, w in enumerate(raised)]
        return jnp.sum(network.apply(jax.tree.unflatten(structure, scaled), image))

    powers = jnp.repeat(jnp.array([1, 2]), len(_SCALES))
    scales = jnp.tile(jnp.array(_SCALES), 2)
    sums = jax.lax.map(forward, (powers, scales)).reshape(2, len(_SCALES))
    logs = jnp.log(sums) - jnp.log(jnp.array(_SCALES))[None]
    plain, down, up = (jnp.isfinite(sums) & (sums > _SMALLEST)).T
    chosen = jnp.select([plain, down, up], [logs[:, 0], logs[:, 1], logs[:, 2]], logs[:, 0])
    return PathSums(sums[:, 0], chosen, possible)


def _sums(workspace: Workspace) -> PathSums:
    return path_sums(workspace.network, workspace.layers, workspace.trained.params)


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
    Intermediate("path_sums", _sums, requires=("relu", "layers")),
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
