"""What is saved by keeping a network only up to a layer."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.interpreters import partial_eval

from genjax.metrics.layers.embeddings import taps_in_order
from genjax.models.network import Network


class Kept(NamedTuple):
    """Cost of a network up to a layer.

    Attributes:
        layer: the last layer kept.
        parameters: trained numbers that it depends on.
        flops: floating-point operations of one image up to it; NaN where the backend does not say.
        parameters_saved: share of all parameters, output layer included, that are not needed.
        flops_saved: the same of the operations.
    """

    layer: str
    parameters: int
    flops: float
    parameters_saved: float
    flops_saved: float


def truncations(network: Network) -> list[Kept]:
    """Return the cost of keeping a network up to each of its layers, in their order.

    Parameters are those of the measured form, with normalisation folded in, that the layer depends
    on; a multiply-add counts as two operations, as XLA counts them before optimisation. Nothing is
    computed: shapes are enough.

    Example:
        >>> from genjax import models
        >>> network = models.create("mlp", image_shape=(2, 2, 1), num_classes=3, widths=(5, 5))
        >>> [(k.layer, k.parameters, round(k.parameters_saved, 2)) for k in truncations(network)]
        [('block1', 25, 0.66), ('block2', 55, 0.25)]
    """
    params = jax.eval_shape(lambda key: network.fold(*network.init(key)), jax.random.key(0))
    image = jax.ShapeDtypeStruct((1, *network.image_shape), jnp.float32)
    whole = _cost(network.apply, params, image)

    def up_to(layer):
        return lambda params, images: network.taps(params, images)[layer]

    kept = []
    for layer in taps_in_order(network, params, image):
        parameters, flops = _cost(up_to(layer), params, image)
        kept.append(Kept(layer, parameters, flops, 1 - parameters / whole[0], 1 - flops / whole[1]))
    return kept


def _cost(function, params, image) -> tuple[int, float]:
    """Return how many parameters a function depends on, and its operations."""
    closed = jax.make_jaxpr(function)(params, image)
    _, used = partial_eval.dce_jaxpr(closed.jaxpr, [True] * len(closed.jaxpr.outvars))
    leaves = jax.tree.leaves(params)
    count = sum(
        math.prod(leaf.shape) for leaf, is_used in zip(leaves, used, strict=False) if is_used
    )
    analysis = jax.jit(function).lower(params, image).cost_analysis() or {}
    return count, float(analysis.get("flops", math.nan))
