"""How much the outputs react to the images: norms of the input-output Jacobian.

Of the first 256 training examples; J is [classes, pixels], in units of logits (or probabilities)
per unit of pixel value, images being in [0, 1].
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from genjax.metrics.complexity.contract import Intermediate, Measure, Result, value
from genjax.metrics.complexity.workspace import Workspace, in_chunks

SAMPLE = 256
PROBES = 8
_HELD = 2**25
"""Numbers of one chunk of Jacobians (128 MiB in float32), unless one example has more."""

_SQUARINGS = 20


def input_jacobians(apply: Callable[..., Any], params: Any, images: Any) -> tuple[Any, Any]:
    """Return the logits, and their Jacobians with respect to the images, `[n, classes, pixels]`.

    One reverse pass per class. Examples do not interact, so that the sum over examples of a logit
    has the gradients of all of them.

    Args:
        apply: `(params, images) -> logits`.
        params: its parameters.
        images: [n, H, W, channels].

    Example:
        >>> images = jnp.ones((5, 1, 2, 1))
        >>> _, found = input_jacobians(lambda w, x: x.reshape(5, 2) @ w, jnp.eye(2), images)
        >>> found[0].tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    logits, pull = jax.vjp(lambda x: apply(params, x), images)

    def row(output: Any) -> Any:
        return pull(jnp.broadcast_to(output, logits.shape).astype(logits.dtype))[0]

    rows = jax.lax.map(row, jnp.eye(logits.shape[1]))
    return logits, jnp.moveaxis(rows.reshape(*rows.shape[:2], -1), 0, 1)


def _jacobian_norms(workspace: Workspace) -> dict[str, Any]:
    """Return three norms of the Jacobian of every example, [n] each."""
    network, params = workspace.network, workspace.trained.params
    images = jnp.asarray(workspace.data.train.images[:SAMPLE])
    widest = max(math.prod(network.image_shape), network.num_classes)
    chunk = min(SAMPLE, max(1, _HELD // (network.num_classes * widest)))

    def of(some: Any) -> dict[str, Any]:
        logits, found = input_jacobians(network.apply, params, some)
        grams = jnp.einsum("icp,idp->icd", found, found, precision="highest")
        return {
            "logits": _root(jnp.trace(grams, axis1=1, axis2=2)),
            "probabilities": _root(_through_softmax(grams, jax.nn.softmax(logits, axis=-1))),
            "spectral": _root(_largest_eigenvalues(grams)),
        }

    return in_chunks(of, images, chunk=chunk)


def _root(squares: Any) -> Any:
    return jnp.sqrt(jnp.maximum(squares, 0.0))


def _largest_eigenvalues(grams: Any) -> Any:
    """Return the largest eigenvalue of every Gram matrix, [n].

    lambda_max <= tr(G^p)^(1/p) <= C^(1/p) lambda_max with p = 2^20. Not by decomposition: on CPU a
    batch of them waits for threads of the pool it runs in, and two devices wait for one another.
    """

    def square(state: Any, _: Any) -> Any:
        power, log_scale = state
        trace = jnp.trace(power, axis1=1, axis2=2)
        scale = jnp.where(trace > 0, trace, 1.0)
        power = power / scale[:, None, None]
        return (
            jnp.matmul(power, power, precision="highest"),
            2 * (log_scale + jnp.log(scale)),
        ), None

    start = (grams, jnp.zeros(len(grams), grams.dtype))
    (power, log_scale), _ = jax.lax.scan(square, start, length=_SQUARINGS)
    trace = jnp.trace(power, axis1=1, axis2=2)
    logs = (log_scale + jnp.log(jnp.where(trace > 0, trace, 1.0))) / 2**_SQUARINGS
    return jnp.where(trace > 0, jnp.exp(logs), 0.0)


def _through_softmax(grams: Any, p: Any) -> Any:
    """Return tr(S J J' S), S = diag(p) - pp', of every example."""
    # Only differences of logits count, and without their mean they cancel less.
    rows = grams - jnp.mean(grams, axis=1, keepdims=True)
    centred = rows - jnp.mean(rows, axis=2, keepdims=True)
    diagonal = jnp.eye(p.shape[1], dtype=bool)[None]
    # The diagonal of S is p times the sum of the others, which does not cancel where p is near 1.
    others = jnp.sum(jnp.where(diagonal, 0.0, p[:, None, :]), axis=-1)
    softmax = jnp.where(diagonal, (p * others)[:, :, None], -p[:, :, None] * p[:, None, :])
    both = jnp.matmul(softmax, centred, precision="highest")
    return jnp.sum(both * softmax, axis=(1, 2))


def _mean_norm(kind: str) -> Any:
    def compute(workspace: Workspace) -> Result:
        norms = workspace["jacobian_norms"][kind]
        error = jnp.std(norms) / math.sqrt(max(len(norms) - 1, 1))
        return value(jnp.mean(norms), standard_error=error)

    return compute


def _estimated_square(workspace: Workspace) -> Result:
    network, params = workspace.network, workspace.trained.params
    images = jnp.asarray(workspace.data.train.images[:SAMPLE])
    logits, pull = jax.vjp(lambda x: network.apply(params, x), images)

    def probe(key: Any) -> Any:
        signs = jax.random.rademacher(key, logits.shape, logits.dtype)
        pulled = pull(signs)[0]
        return jnp.sum(pulled.reshape(len(images), -1) ** 2, axis=1)

    keys = jax.random.split(workspace.key("jacobian"), PROBES)
    squares = jax.lax.map(probe, keys)
    means = jnp.mean(squares, axis=1)
    return value(jnp.mean(means), standard_error=jnp.std(means, ddof=1) / math.sqrt(PROBES))


# A reverse pass to the images alone counts as 1/3; with 10 classes and 1,000 examples.
_PASSES = (1 + 10) / 3 * SAMPLE / 1000
INTERMEDIATES = (
    # {"logits", "probabilities", "spectral"}: [n] each, of the first examples.
    Intermediate("jacobian_norms", _jacobian_norms, requires=("train",), passes=_PASSES),
)

_NOVAK = "Novak et al., Sensitivity and generalization in neural networks, ICLR 2018"
MEASURES = (
    Measure(
        name="jacobian_norm",
        family="jacobian",
        formula="mean over 256 examples of ||d logits / d image||_F",
        source=_NOVAK,
        compute=_mean_norm("logits"),
        needs=("jacobian_norms",),
    ),
    Measure(
        name="jacobian_norm_probabilities",
        family="jacobian",
        formula="mean over 256 examples of ||d probabilities / d image||_F",
        source=_NOVAK,
        compute=_mean_norm("probabilities"),
        needs=("jacobian_norms",),
    ),
    Measure(
        name="jacobian_spectral_norm",
        family="jacobian",
        formula="mean over 256 examples of ||d logits / d image||_2",
        source="Sokolic, Giryes, Sapiro and Rodrigues, Robust large margin deep networks, 2017",
        compute=_mean_norm("spectral"),
        needs=("jacobian_norms",),
    ),
    Measure(
        name="jacobian_squared_norm_estimate",
        family="jacobian",
        formula="mean over 256 examples of ||d logits / d image||_F^2, by |J'v|^2 with 8 random "
        "sign vectors v; for many classes",
        source="Hoffman, Roberts and Yaida, Robust learning with Jacobian regularization, 2019",
        compute=_estimated_square,
        requires=("train",),
        passes=(1 + PROBES) / 3 * SAMPLE / 1000,
        fast=False,
    ),
)
