"""Fold batch normalisation of other libraries' networks into its own scale and offset.

In evaluation a layer with scale g, offset b and running mean m and variance v computes
`(x - m) / sqrt(v + eps) g + b`. With `g' = g / sqrt(v + eps)`, `b' = b - m g'`, mean 0 and variance
1 - eps it computes the same up to rounding. All that was learned is then in the parameters, and
the statistics are constants that every network of the architecture shares. Layers without a scale
or without an offset keep their statistics.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import traverse_util

from genjax.types import Params


def _folded(scale, bias, mean, var, epsilon):
    gain = scale / jnp.sqrt(var + epsilon)
    return gain, bias - mean * gain


def fold_linen(module: nn.Module, variables: dict[str, Any], images: Any, options: dict) -> dict:
    """Return Linen variables with every `BatchNorm` folded.

    Args:
        module: called on `images` to find its `BatchNorm` layers; only shapes are followed.
        variables: with `params` and perhaps `batch_stats`.
        images: one batch, or its shape.
        options: of the call.
    """
    found: dict[tuple[str, ...], float] = {}

    def note(next_function, arguments, keywords, context):
        if isinstance(context.module, nn.BatchNorm) and context.method_name == "__call__":
            found[context.module.path] = context.module.epsilon
        return next_function(*arguments, **keywords)

    with nn.intercept_methods(note):
        jax.eval_shape(lambda v, x: module.apply(v, x, **options), variables, images)
    params: dict[Any, Any] = traverse_util.flatten_dict(variables["params"])
    statistics: dict[Any, Any] = traverse_util.flatten_dict(variables.get("batch_stats", {}))
    for path, epsilon in found.items():
        scale, bias, mean, var = ((*path, leaf) for leaf in ("scale", "bias", "mean", "var"))
        if not {scale, bias} <= params.keys() or not {mean, var} <= statistics.keys():
            continue
        params[scale], params[bias] = _folded(
            params[scale], params[bias], statistics[mean], statistics[var], epsilon
        )
        statistics[mean] = jnp.zeros_like(statistics[mean])
        statistics[var] = jnp.full_like(statistics[var], 1 - epsilon)
    changed = {"params": traverse_util.unflatten_dict(params)}
    if statistics:
        changed["batch_stats"] = traverse_util.unflatten_dict(statistics)
    return {**variables, **changed}


def fold_nnx(model: Any) -> None:
    """Fold every `nnx.BatchNorm` of this model, which changes."""
    from flax import nnx

    for _, layer in nnx.iter_modules(model):
        if not isinstance(layer, nnx.BatchNorm) or layer.scale is None or layer.bias is None:
            continue
        scale, bias = _folded(
            layer.scale[...], layer.bias[...], layer.mean[...], layer.var[...], layer.epsilon
        )
        layer.scale[...], layer.bias[...] = scale, bias
        layer.mean[...] = jnp.zeros_like(layer.mean[...])
        layer.var[...] = jnp.full_like(layer.var[...], 1 - layer.epsilon)


def fold_equinox(eqx: Any, model: Params, state: Any) -> tuple[Params, Any]:
    """Return an Equinox model and its state with every `BatchNorm` folded.

    Args:
        eqx: the library, which is optional here.
        model: in inference mode.
        state: of `eqx.nn.make_with_state`.
    """

    def is_norm(node):
        return isinstance(node, eqx.nn.BatchNorm)

    def statistics(layer):
        """The running mean and variance, and where they are kept."""
        if layer.mode == "ema":
            return layer.ema_state_index, *state.get(layer.ema_state_index)
        count = state.get(layer.batch_counter)
        warm = jnp.where(count == 0, 1, 1 - layer.momentum**count)
        mean, var = state.get(layer.batch_state_index)
        return layer.batch_state_index, mean / warm, var / warm

    norms = [n for n in jax.tree.leaves(model, is_leaf=is_norm) if is_norm(n)]
    folded = []
    for layer in norms:
        if layer.weight is None or not hasattr(layer, "ema_state_index"):
            folded.append(layer)
            continue
        index, mean, var = statistics(layer)
        weight, bias = _folded(layer.weight, layer.bias, mean, var, layer.eps)
        folded.append(eqx.tree_at(lambda n: (n.weight, n.bias), layer, (weight, bias)))
        state = state.set(index, (jnp.zeros_like(mean), jnp.full_like(var, 1 - layer.eps)))
        if layer.batch_counter is not None:
            state = state.set(layer.batch_counter, jnp.zeros_like(state.get(layer.batch_counter)))
    replacements = iter(folded)
    model = jax.tree.map(lambda n: next(replacements) if is_norm(n) else n, model, is_leaf=is_norm)
    return model, state
