"""The covariance of the gradients of single examples, and how it is aligned with the Hessian."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from genjax.errors import InvalidInputError
from genjax.metrics.curvature.adaptive import averaged
from genjax.metrics.curvature.objective import Chunks, Objective, gradient
from genjax.metrics.curvature.products import Product, empirical_fisher, hessian
from genjax.metrics.curvature.traces import rademacher
from genjax.types import Key, Params


class Alignment(NamedTuple):
    """Gradient covariance C and Hessian H of the mean loss, by the same probes.

    Attributes:
        cosine: tr(C H) / (||C||_F ||H||_F), in [-1, 1].
        cosine_error: its standard error, by the jackknife over probes.
        product_trace: tr(C H).
        covariance_norm: ||C||_F.
        hessian_norm: ||H||_F.
        covariance_trace: tr(C).
        hessian_trace: tr(H).
        trace_errors: standard errors of the last two, [2].
    """

    cosine: Any
    cosine_error: Any
    product_trace: Any
    covariance_norm: Any
    hessian_norm: Any
    covariance_trace: Any
    hessian_trace: Any
    trace_errors: Any


def gradient_covariance(
    objective: Objective, *, linearised: bool = False
) -> Callable[[Params, Chunks], Product]:
    """Return C = mean_i (g_i - g)(g_i - g)': `(params, chunks) -> (v -> C v)`.

    g_i is the gradient of the loss of example i, g their mean.

    Args:
        objective: what is differentiated; the mean is meant, whatever its reduction.
        linearised: as in `hessian`.

    Example:
        >>> from genjax.metrics.curvature.objective import objective, pack
        >>> made = objective(lambda w, x: x * w, lambda logits, labels: logits[:, 0])
        >>> chunks = pack(made, (jnp.array([[1.0], [3.0]]), jnp.zeros(2, int)))
        >>> float(gradient_covariance(made)(jnp.array(5.0), chunks)(jnp.array(1.0)))
        1.0
    """

    def at(params: Params, chunks: Chunks) -> Product:
        chunks = averaged(chunks)
        second_moment = empirical_fisher(objective, linearised=linearised)(params, chunks)
        mean = gradient(objective, params, chunks)

        def product(v):
            along = _inner(mean, v)
            return jax.tree.map(lambda e, g: e - along * g, second_moment(v), mean)

        return product

    return at


def _inner(first: Params, second: Params) -> Any:
    pairs = zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True)
    return sum(jnp.sum(a * b) for a, b in pairs)


def noise_alignment(
    objective: Objective, params: Params, chunks: Chunks, key: Key, *, probes: int = 32
) -> Alignment:
    """Estimate how the covariance of gradients is aligned with the Hessian.

    tr(C H) / (||C||_F ||H||_F): the cosine between the two matrices (Thomas et al., On the
    Interplay between Noise and Curvature and its Effect on Optimization and Generalization, AISTATS
    2020, compare them so). Each probe z of random signs gives (C z) . (H z), ||C z||^2 and
    ||H z||^2, whose means are the two norms squared and the product's trace (Hutchinson).

    Args:
        objective: what is differentiated.
        params: of one network.
        chunks: examples.
        key: of the probes.
        probes: at least 2.

    Raises:
        InvalidInputError: fewer than two probes.

    Example:
        >>> from genjax.metrics.curvature.objective import objective, pack
        >>> made = objective(lambda w, x: x * w, lambda logits, labels: logits[:, 0] ** 2 / 2)
        >>> chunks = pack(made, (jnp.array([[1.0], [3.0]]), jnp.zeros(2, int)))
        >>> found = noise_alignment(made, jnp.array(1.0), chunks, jax.random.key(0), probes=2)
        >>> float(found.cosine), float(found.covariance_trace), float(found.hessian_trace)
        (1.0, 16.0, 5.0)
    """
    if probes < 2:
        raise InvalidInputError(f"probes: found {probes}; allowed are whole numbers from 2.")
    covariance = gradient_covariance(objective)(params, chunks)
    curvature = hessian(objective)(params, averaged(chunks))

    def of_probe(key):
        z = rademacher(key, params)
        c, h = covariance(z), curvature(z)
        return jnp.stack([_inner(c, h), _inner(c, c), _inner(h, h), _inner(c, z), _inner(h, z)])

    found = jax.lax.map(of_probe, jax.random.split(key, probes))
    sums = jnp.sum(found, axis=0)
    cosines = _cosine((sums[None] - found) / (probes - 1))
    spread = jnp.sum((cosines - jnp.mean(cosines)) ** 2) * (probes - 1) / probes
    means = sums / probes
    return Alignment(
        _cosine(means),
        jnp.sqrt(spread),
        means[0],
        jnp.sqrt(means[1]),
        jnp.sqrt(means[2]),
        means[3],
        means[4],
        jnp.std(found[:, 3:], axis=0, ddof=1) / math.sqrt(probes),
    )


def _cosine(means: Any) -> Any:
    # Root by root: products of squares leave the range of float32.
    norms = jnp.sqrt(means[..., 1]) * jnp.sqrt(means[..., 2])
    return means[..., 0] / norms
