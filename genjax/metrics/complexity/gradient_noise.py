"""Gradient noise: how much the gradients of single examples differ.

Gradients are those of the cross-entropy (nats; no smoothing, mixup or weight decay) of the measured
training examples, with respect to all parameters of the network as measured, normalisation folded
in.

The literature measures early noise at the end of the first epoch. Training keeps parameters at the
start and at the end only, so the early variants here are taken at initialisation, and their names
say so: `_init`.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from genjax.metrics.complexity.contract import Intermediate, Measure, Refusal, Result, refuse_where
from genjax.metrics.complexity.workspace import Workspace, cross_entropies
from genjax.types import Params

_JIANG = "Jiang et al., Fantastic Generalization Measures, ICLR 2020"
_MCCANDLISH = "McCandlish et al., An Empirical Model of Large-Batch Training, 2018"
_CHUNK = 64
_CHUNK_FLOATS = 2**24


class GradientStatistics(NamedTuple):
    """Statistics of the gradients g_i of N examples, in squared units of the gradient.

    Attributes:
        squared_norms: [N], ||g_i||^2.
        mean_squared_norm: ||g||^2 of the mean gradient g.
        deviation: sum_i ||g_i - g||^2.
        mean: g, a tree like the parameters (not squared).
    """

    squared_norms: Any
    mean_squared_norm: Any
    deviation: Any
    mean: Params


def gradient_statistics(apply: Any, params: Params, images: Any, labels: Any) -> GradientStatistics:
    """Return statistics of the gradients of single examples, in chunks of bounded memory.

    In two sweeps, the mean first: a difference of two large sums would lose the variance in
    float32, and a running mean of gradients costs more than a second sweep (measured: 2.8 times).

    Args:
        apply: `(params, images [N, H, W, C]) -> logits`.
        params: one network.
        images: [N, H, W, C].
        labels: [N].

    Example:
        >>> def linear(params, images):
        ...     return images.reshape(len(images), -1) @ params
        >>> images = jnp.ones((2, 1, 1, 1))
        >>> found = gradient_statistics(linear, jnp.zeros((1, 2)), images, jnp.array([0, 1]))
        >>> found.squared_norms.tolist(), float(found.mean_squared_norm), float(found.deviation)
        ([0.5, 0.5], 0.0, 1.0)
    """
    count = len(labels)
    leaves = jax.tree.leaves(params)
    kind = jnp.result_type(*leaves)
    size = min(count, _CHUNK, max(1, _CHUNK_FLOATS // sum(np.size(leaf) for leaf in leaves)))
    pieces = -(-count // size)
    order = np.arange(pieces * size)
    present = jnp.asarray(order < count, kind).reshape(pieces, size)

    def cut(array):
        return jnp.asarray(array)[order % count].reshape(pieces, size, *array.shape[1:])

    def loss(params, image, label):
        return cross_entropies(apply(params, image[None]), label[None])[0]

    def mean_loss(params, images, labels, present):
        return jnp.sum(present * cross_entropies(apply(params, images), labels)) / count

    def add(total, chunk):
        return jax.tree.map(jnp.add, total, jax.grad(mean_loss)(params, *chunk)), None

    def sweep(chunk):
        images, labels, _ = chunk
        gradients = jax.vmap(jax.grad(loss), (None, 0, 0))(params, images, labels)
        away = jax.tree.map(lambda g, m: g - m[None], gradients, mean)
        return _row_norms(gradients), _row_norms(away)

    chunks = (cut(images), cut(labels), present)
    mean, _ = jax.lax.scan(add, jax.tree.map(jnp.zeros_like, params), chunks)
    norms, away = jax.lax.map(sweep, chunks)
    squared = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(mean))
    return GradientStatistics(norms.reshape(-1)[:count], squared, jnp.sum(away * present), mean)


def _row_norms(tree):
    """Return the squared norm over all leaves for each entry of their first axis."""
    rows = [jnp.sum(leaf.reshape(len(leaf), -1) ** 2, axis=1) for leaf in jax.tree.leaves(tree)]
    return jnp.sum(jnp.stack(rows), axis=0)


def _at(params: Params, workspace: Workspace) -> GradientStatistics:
    train = workspace.data.train
    return gradient_statistics(workspace.network.apply, params, train.images, train.labels)


def _variance(name: str):
    def compute(workspace: Workspace) -> Result:
        found = workspace[name]
        count = found.squared_norms.shape[0]
        return refuse_where(
            {Refusal.DEGENERATE: count < 2}, found.deviation / max(count - 1, 1), examples=count
        )

    return compute


def _noise_scale(name: str, unbiased: bool):
    def compute(workspace: Workspace) -> Result:
        found = workspace[name]
        count = found.squared_norms.shape[0]
        trace = found.deviation / max(count - 1, 1)
        signal = found.mean_squared_norm - (trace / count if unbiased else 0.0)
        undefined = (count < 2) | (signal <= 0)
        safe = jnp.where(undefined, 1.0, signal)
        return refuse_where({Refusal.DEGENERATE: undefined}, trace / safe, examples=count)

    return compute


INTERMEDIATES = (
    # `GradientStatistics` of the measured training examples at the end of training.
    Intermediate(
        "gradients",
        lambda workspace: _at(workspace.trained.params, workspace),
        requires=("train",),
        passes=2,
    ),
    # The same at initialisation.
    Intermediate(
        "initial_gradients",
        lambda workspace: _at(workspace.trained.init_params, workspace),
        requires=("train", "init"),
        passes=2,
    ),
)


def _measures(when: str, name: str, where: str, worse: bool | None, equation: str):
    """Return the three measures of one point of training."""
    fast = when == "final"
    variance = "tr(Sigma) = sum_i ||g_i - g||^2 / (N - 1)"
    shared = {"family": "gradient_noise", "needs": (name,), "fast": fast}
    return (
        Measure(
            name=f"gradient_variance_{when}",
            formula=f"{variance}, unbiased, {where}{equation}",
            source=_JIANG,
            compute=_variance(name),
            larger_is_worse=worse,
            **shared,
        ),
        Measure(
            name=f"gradient_noise_scale_{when}",
            formula=f"tr(Sigma) / ||g||^2 (eq 2.9), {variance}, g the mean gradient of the "
            f"measured examples, {where}",
            source=_MCCANDLISH,
            compute=_noise_scale(name, unbiased=False),
            larger_is_worse=None,
            **shared,
        ),
        Measure(
            name=f"gradient_noise_scale_unbiased_{when}",
            formula="tr(Sigma) / (||g||^2 - tr(Sigma) / N): both parts unbiased for the "
            f"distribution the N examples come from (their ratio is not), {where}; refused where "
            "the denominator is not positive",
            source=_MCCANDLISH,
            compute=_noise_scale(name, unbiased=True),
            larger_is_worse=None,
            **shared,
        ),
    )


MEASURES = (
    *_measures("final", "gradients", "at the end of training", True, " (eq 66)"),
    *_measures(
        "init",
        "initial_gradients",
        "at initialisation",
        None,
        " (the paper's early variant, eq 65, is at the end of epoch 1)",
    ),
)
