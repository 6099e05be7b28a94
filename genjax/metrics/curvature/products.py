"""Products of curvature matrices with vectors, over all examples, without the matrices.

A matrix is a function `(params, chunks[, key]) -> (tree -> tree)`; trees are like `params`. All
are sums over examples with the objective's weights, computed chunk after chunk.

    Hessian              sum_i w_i d2 loss_i / d theta2, forward over reverse
    Gauss-Newton         sum_i w_i J_i' H_i J_i; J_i: Jacobian of the logits, H_i: Hessian of the
                         loss in the logits (Schraudolph, Neural Computation 2002)
    Fisher               sum_i w_i E_{y ~ p(.|x_i)} g_i(y) g_i(y)'; g_i(y): gradient of the loss for
                         the label y, p: the network's own distribution
    Monte Carlo Fisher   the expectation by labels drawn from p
    empirical Fisher     the data's own labels in place of the expectation (Kunstner et al., 2019)
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from genjax.errors import InvalidInputError
from genjax.metrics.curvature.objective import (
    Chunks,
    Objective,
    accumulated,
    chunk_value,
    cross_entropy,
    own_key,
    squared,
    weighted,
)
from genjax.types import Key, Params

Product = Callable[[Params], Params]
"""A symmetric matrix, as what it does to a tree like the parameters."""


def hessian(
    objective: Objective, *, linearised: bool = False
) -> Callable[[Params, Chunks], Product]:
    """Return the Hessian of the objective: `(params, chunks) -> (v -> H v)`.

    Args:
        objective: what is differentiated.
        linearised: compute once what does not depend on the vector, and keep it: faster for many
            vectors; memory grows by the activations of all examples (with the patches of
            convolutions), where it is otherwise that of one chunk.

    Raises:
        InvalidInputError: the gradient has no forward derivative.

    Example:
        >>> from genjax.metrics import curvature
        >>> cubic = curvature.objective(lambda w, x: x * w**3, lambda f, y: f[:, 0])
        >>> chunks = curvature.pack(cubic, (jnp.ones((4, 1)), jnp.zeros(4, int)))
        >>> float(hessian(cubic)(jnp.array(2.0), chunks)(jnp.array(1.0)))
        12.0
    """

    def at(params: Params, chunks: Chunks) -> Product:
        def linear(chunk, _):
            def slope(p):
                return jax.grad(lambda q: chunk_value(objective, q, chunk))(p)

            return Partial(_applied, jax.linearize(slope, params)[1])

        return _summed(linear, chunks, None, linearised)

    return at


def generalized_gauss_newton(
    objective: Objective, *, linearised: bool = False
) -> Callable[[Params, Chunks], Product]:
    """Return the generalized Gauss-Newton matrix: `(params, chunks) -> (v -> G v)`.

    Args:
        objective: what is differentiated.
        linearised: as in `hessian`.

    Raises:
        InvalidInputError: the network has no forward derivative.

    Example:
        >>> from genjax.metrics import curvature
        >>> cubic = curvature.objective(lambda w, x: x * w**3, "squared")
        >>> chunks = curvature.pack(cubic, (jnp.ones((4, 1)), jnp.zeros(4, int)))
        >>> float(generalized_gauss_newton(cubic)(jnp.array(2.0), chunks)(jnp.array(1.0)))
        144.0
    """

    def middle(logits, chunk, _):
        return jax.linearize(jax.grad(lambda f: weighted(objective, f, chunk)), logits)[1]

    return _through_logits(objective, middle, linearised)


def fisher(
    objective: Objective, *, linearised: bool = False
) -> Callable[[Params, Chunks], Product]:
    """Return the Fisher information: `(params, chunks) -> (v -> F v)`.

    The expectation is over the network's own distribution of labels: the softmax of its logits for
    `cross_entropy`, a Gaussian of variance 1 around them for `squared`. Both make it equal to the
    Gauss-Newton matrix (Martens, JMLR 2020); here it is the covariance of the slopes.

    Args:
        objective: its loss must be one of the two.
        linearised: as in `hessian`.

    Raises:
        InvalidInputError: another loss, or the network has no forward derivative.

    Example:
        >>> from genjax.metrics import curvature
        >>> line = curvature.objective(lambda w, x: x * w[None])
        >>> chunks = curvature.pack(line, (jnp.ones((4, 2)), jnp.zeros(4, int)))
        >>> fisher(line)(jnp.zeros(2), chunks)(jnp.array([1.0, 0.0])).tolist()
        [0.25, -0.25]
    """
    _check_distribution(objective)

    def covariance(probabilities, weights, change):
        mean = jnp.sum(probabilities * change, axis=-1, keepdims=True)
        return weights[:, None] * probabilities * (change - mean)

    def middle(logits, chunk, _):
        weights = chunk.weights.astype(logits.dtype)
        if objective.loss is squared:
            return Partial(lambda w, change: w[:, None] * change, weights)
        return Partial(covariance, jax.nn.softmax(logits, axis=-1), weights)

    return _through_logits(objective, middle, linearised)


def monte_carlo_fisher(
    objective: Objective, *, samples: int = 1, linearised: bool = False
) -> Callable[[Params, Chunks, Key], Product]:
    """Return an unbiased estimate of the Fisher information: `(params, chunks, key) -> product`.

    Labels are drawn from the network's own distribution, as in `fisher`; the same ones for every
    vector that a product is asked for.

    Args:
        objective: its loss must be `cross_entropy` or `squared`.
        samples: labels per example; the error falls with their square root.
        linearised: as in `hessian`.

    Raises:
        InvalidInputError: another loss, no samples, or the network has no forward derivative.

    Example:
        >>> from genjax.metrics import curvature
        >>> line = curvature.objective(lambda w, x: x * w[None])
        >>> chunks = curvature.pack(line, (jnp.ones((4, 2)), jnp.zeros(4, int)))
        >>> product = monte_carlo_fisher(line)(jnp.zeros(2), chunks, jax.random.key(0))
        >>> product(jnp.array([1.0, 0.0])).tolist()
        [0.25, -0.25]
    """
    _check_distribution(objective)
    if samples < 1:
        raise InvalidInputError(f"samples: found {samples}; at least 1 is needed.")

    def slopes(logits, key):
        if objective.loss is squared:
            return jax.random.normal(key, logits.shape, logits.dtype)
        drawn = jax.random.categorical(key, logits, axis=-1)
        hot = jax.nn.one_hot(drawn, logits.shape[-1], dtype=logits.dtype)
        return jax.nn.softmax(logits, axis=-1) - hot

    def middle(logits, chunk, key):
        found = jax.vmap(lambda k: slopes(logits, k))(jax.random.split(key, samples))
        return Partial(_outer, found, chunk.weights.astype(logits.dtype) / samples)

    return _through_logits(objective, middle, linearised)


def empirical_fisher(
    objective: Objective, *, linearised: bool = False
) -> Callable[[Params, Chunks], Product]:
    """Return sum_i w_i g_i g_i', g_i the gradient of the loss of example i with its own label.

    Args:
        objective: what is differentiated.
        linearised: as in `hessian`.

    Raises:
        InvalidInputError: the network has no forward derivative.

    Example:
        >>> from genjax.metrics import curvature
        >>> line = curvature.objective(lambda w, x: x * w, "squared")
        >>> chunks = curvature.pack(line, (jnp.ones((4, 1)), jnp.zeros(4, int)))
        >>> float(empirical_fisher(line)(jnp.array(3.0), chunks)(jnp.array(1.0)))
        4.0
    """

    def middle(logits, chunk, _):
        slopes = jax.grad(lambda f: jnp.sum(objective.loss(f, chunk.labels)))(logits)
        return Partial(_outer, slopes[None], chunk.weights.astype(logits.dtype))

    return _through_logits(objective, middle, linearised)


def _outer(slopes: Any, weights: Any, change: Any) -> Any:
    """Return sum_s w_i u_si (u_si . change_i), `[N, C]`, of slopes u [S, N, C]."""
    along = jnp.sum(slopes * change[None], axis=-1, keepdims=True)
    return weights[:, None] * jnp.sum(slopes * along, axis=0)


def _check_distribution(objective: Objective) -> None:
    if objective.loss not in (cross_entropy, squared):
        raise InvalidInputError(
            "loss: the Fisher information needs the network's own distribution of labels, which is "
            "known for cross_entropy and squared only."
        )


def _through_logits(objective: Objective, middle: Callable[..., Any], linearised: bool):
    """Return `J' M J` with `middle(logits, chunk, key)` the product with M, a tree of arrays."""

    def at(params: Params, chunks: Chunks, key: Key | None = None) -> Product:
        def linear(chunk, key):
            logits, forward = jax.linearize(lambda p: objective.apply(p, chunk.images), params)
            return Partial(_sandwich, forward, middle(logits, chunk, key))

        count = len(chunks.weights)
        keys = None if key is None else jax.random.split(own_key(key), count)
        return _summed(linear, chunks, keys, linearised)

    return at


def _applied(linear: Callable[[Params], Params], v: Params) -> Params:
    return linear(v)


def _sandwich(forward: Callable[[Params], Any], middle: Callable[[Any], Any], v: Params) -> Params:
    return jax.linear_transpose(forward, v)(middle(forward(v)))[0]


def _summed(
    linear: Callable[[Chunks, Any], Callable[[Params], Params]],
    chunks: Chunks,
    keys: Any,
    linearised: bool,
) -> Product:
    """Return the sum over chunks of `linear(chunk, key)`, linear maps that are trees of arrays."""
    if not linearised:
        return lambda v: _with_derivatives(
            lambda: accumulated(lambda pair: linear(*pair)(v), (chunks, keys))
        )
    with jax.default_matmul_precision("highest"):
        maps = _with_derivatives(lambda: jax.lax.map(lambda pair: linear(*pair), (chunks, keys)))
    return lambda v: accumulated(lambda one: one(v), maps)


def _with_derivatives(function: Callable[[], Any]) -> Any:
    """Call a function, and say in one sentence what has no derivative in it."""
    try:
        return function()
    except (TypeError, NotImplementedError) as error:
        reason = str(error).split("\n")[0]
        if not any(word in reason for word in ("forward-mode", "ifferentiation rule", "ranspose")):
            raise
        raise InvalidInputError(
            f"network: it lacks a derivative that curvature needs: {reason}"
        ) from error
