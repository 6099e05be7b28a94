"""Relative flatness: curvature of a layer's weights, measured against the weights themselves."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from genjax.errors import InvalidInputError
from genjax.metrics.curvature.adaptive import averaged
from genjax.metrics.curvature.objective import Chunks, Objective
from genjax.metrics.curvature.products import hessian
from genjax.types import Key, Params


class Kernel(NamedTuple):
    """An array of weights as a linear map.

    Attributes:
        leaf: its position among the leaves of the parameters.
        inputs: how many of its leading axes are inputs; the others are outputs (neurons).
    """

    leaf: int
    inputs: int


class RelativeFlatness(NamedTuple):
    """Relative flatness, summed over layers and of each.

    Attributes:
        value: sum over layers.
        standard_error: of it, over probes; NaN with one probe.
        layers: [L], of each layer; they share probes.
        layer_errors: [L].
    """

    value: Any
    standard_error: Any
    layers: Any
    layer_errors: Any


def relative_flatness(
    objective: Objective,
    params: Params,
    chunks: Chunks,
    key: Key,
    kernels: Sequence[Kernel],
    *,
    probes: int = 32,
) -> RelativeFlatness:
    """Estimate kappa = sum_{s,s'} <w_s, w_s'> tr(H_{s,s'}) of layers, and their sum.

    w_s are the input weights of neuron s (of a convolution: of an output channel, its window as one
    vector), H_{s,s'} the block of the Hessian of the mean loss in w_s and w_s' (Petzka, Kamp,
    Adilova, Sminchisescu and Boley, Relative Flatness and Generalization, NeurIPS 2021, definition
    3). It does not change when layers of a ReLU network are rescaled.

    With W [outputs, inputs] it is the trace of the map Z -> W' H(W Z) of square matrices Z, and
    each probe draws Z of random signs, for all layers at once: one Hessian-vector product per
    probe; terms between layers have mean zero. Memory: inputs^2 numbers of the widest layer.

    Args:
        objective: what is differentiated.
        params: of one network.
        chunks: examples.
        key: of the probes.
        kernels: the layers.
        probes: at least 1.

    Raises:
        InvalidInputError: no layers, no probes, or a kernel that is none.

    Example:
        >>> from genjax.metrics.curvature.objective import objective, pack
        >>> made = objective(lambda w, x: x @ w, "squared")
        >>> chunks = pack(made, (jnp.ones((4, 1)), jnp.zeros(4, int)))
        >>> found = relative_flatness(
        ...     made, jnp.array([[3.0, 4.0]]), chunks, jax.random.key(0), [Kernel(0, 1)], probes=2)
        >>> float(found.value)  # ||w||^2 ||x||^2
        25.0
    """
    if not kernels or probes < 1:
        raise InvalidInputError(
            f"kernels, probes: found {len(kernels)} and {probes}; at least one of each is needed."
        )
    leaves, structure = jax.tree.flatten(params)
    for one in kernels:
        if not 0 <= one.leaf < len(leaves) or not 0 < one.inputs < leaves[one.leaf].ndim:
            raise InvalidInputError(
                f"kernels: found {one} for {len(leaves)} arrays; a kernel has at least one axis of "
                "inputs and one of outputs."
            )
    product = hessian(objective)(params, averaged(chunks))

    def of_probe(key):
        directions = [jnp.zeros_like(leaf) for leaf in leaves]
        for one, own in zip(kernels, jax.random.split(key, len(kernels)), strict=True):
            weights = leaves[one.leaf]
            rows = math.prod(weights.shape[: one.inputs])
            signs = jax.random.rademacher(own, (rows, rows), weights.dtype)
            moved = jnp.matmul(signs, weights.reshape(rows, -1), precision="highest")
            directions[one.leaf] = moved.reshape(weights.shape)
        changed = jax.tree.leaves(product(jax.tree.unflatten(structure, directions)))
        return jnp.stack([jnp.sum(directions[one.leaf] * changed[one.leaf]) for one in kernels])

    found = jax.lax.map(of_probe, jax.random.split(key, probes))
    totals = jnp.sum(found, axis=1)
    if probes == 1:
        missing = jnp.full_like(found[0], jnp.nan)
        return RelativeFlatness(totals[0], missing[0], found[0], missing)
    root = math.sqrt(probes)
    return RelativeFlatness(
        jnp.mean(totals),
        jnp.std(totals, ddof=1) / root,
        jnp.mean(found, axis=0),
        jnp.std(found, axis=0, ddof=1) / root,
    )


def output_relative_flatness(features: Any, kernel: Any, logits: Any) -> Any:
    """Return the relative flatness of an output layer under the cross-entropy, exactly.

    mean_i ||phi_i||^2 (sum_c G_cc p_ic - p_i' G p_i) with G = W W', W [outputs, inputs], and p_i
    the softmax: definition 3 of Petzka et al. (2021) with the Hessian of the cross-entropy in the
    logits, diag(p) - p p'. The bias does not count.

    Args:
        features: phi, [N, D], what the layer reads.
        kernel: W', [D, C].
        logits: [N, C].

    Example:
        >>> found = output_relative_flatness(
        ...     jnp.ones((1, 2)), jnp.array([[1.0, -1.0], [0.0, 0.0]]), jnp.zeros((1, 2)))
        >>> float(found)
        2.0
    """
    gram = jnp.matmul(kernel.T, kernel, precision="highest")
    own = jnp.diagonal(gram)
    distances = own[:, None] + own[None, :] - 2 * gram  # squared, of the rows of W
    likeliest = jnp.argmax(logits, axis=-1)
    # The variance of the rows of W under p, from the likeliest one: where p is nearly certain
    # the plain difference would cancel.
    hot = jax.nn.one_hot(likeliest, logits.shape[-1], dtype=logits.dtype)
    others = jax.nn.softmax(logits, axis=-1) * (1 - hot)
    shift = others - hot * jnp.sum(others, axis=-1, keepdims=True)
    variance = jnp.sum(others * distances[likeliest], axis=-1) - jnp.einsum(
        "nc,cd,nd->n", shift, gram, shift, precision="highest"
    )
    return jnp.mean(jnp.sum(features**2, axis=-1) * variance)
