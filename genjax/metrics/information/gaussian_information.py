"""Information of Gaussian variables and of linear layers with Gaussian noise, in closed form.

Exact for what is jointly Gaussian. The information of a layer with Gaussian noise is at most that
of a Gaussian of the same covariance. All in nats; pure JAX that goes through `jit` and `vmap`.
"""

from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.special import digamma

from genjax.errors import InvalidInputError


def canonical_correlations(
    first: Float[Any, "N p"], second: Float[Any, "N q"]
) -> Float[Array, " smaller"]:
    """Canonical correlations of two samples, the largest first, min(p, q) of them.

    Singular values of `Q_x' Q_y`, Q orthonormal bases of the centred columns (Bjoerck and Golub
    1973). Directions without variance beyond rounding are left out: their correlations are 0. Of
    independent variables the squares are about p/N and above, not 0.

    Raises:
        InvalidInputError: different numbers of examples, or N is not above p + q: then some
            correlations are 1 whatever the variables are.

    Example:
        >>> x = jnp.array([[1.0], [2.0], [3.0], [4.0]])
        >>> canonical_correlations(x, 5.0 - 2.0 * x).round(5).tolist()
        [1.0]
    """
    first, second = jnp.asarray(first), jnp.asarray(second)
    (count, p), (others, q) = first.shape, second.shape
    if count != others:
        raise InvalidInputError(f"second: found {others} examples; the first has {count}.")
    if count <= p + q:
        raise InvalidInputError(
            f"first: found {count} examples of {p} and {q} dimensions; more than {p + q} are "
            "needed, or some correlations are 1 whatever the variables are."
        )
    product = jnp.matmul(_basis(first).T, _basis(second), precision="highest")
    return jnp.clip(jnp.linalg.svd(product, compute_uv=False), 0.0, 1.0)


def contraction_coefficient(
    first: Float[Any, "N p"], second: Float[Any, "N q"]
) -> Float[Array, ""]:
    """Top squared canonical correlation: the share of information that can pass, at most.

    Of jointly Gaussian X and Y `I(U; Y) <= rho_1^2 I(U; X)` for every U - X - Y (Hirschfeld,
    Gebelein, Renyi: their maximal correlation is the canonical one, and eta_chi2 = eta_KL of this
    input; see `genjax.metrics.information.coefficients.gaussian_channel_coefficient` for a single
    channel). It depends on the distribution of X. Of other variables it is a lower bound of the
    coefficient only; the coefficient of a deterministic layer is 1. Estimates are too large by
    about (p + q)/N.

    Example:
        >>> x = jnp.array([[1.0], [2.0], [3.0], [4.0]])
        >>> round(float(contraction_coefficient(x, x)), 4)
        1.0
    """
    return canonical_correlations(first, second)[0] ** 2


def canonical_information(correlations: Float[Any, "*batch r"]) -> Float[Array, "*batch"]:
    """Mutual information of jointly Gaussian variables, `-1/2 sum_i log(1 - rho_i^2)` in nats.

    Of others it may be more or less than the truth. Infinite where a correlation is 1: one variable
    then determines a direction of the other. Of sample correlations it is too large by
    `gaussian_bias`.

    Example:
        >>> round(float(canonical_information(jnp.array([0.9]))), 4)
        0.8304
    """
    return -0.5 * jnp.sum(jnp.log1p(-(jnp.asarray(correlations) ** 2)), axis=-1)


def gaussian_bias(num_examples: int, p: int, q: int) -> float:
    """Mean of the estimate from sample correlations minus the truth, exact for Gaussians; nats.

    The estimate is `1/2 (log det S_x + log det S_y - log det S)`, and for a Wishart matrix of
    `nu = N - 1` degrees of freedom `E log det W = log det Sigma + d log 2 + sum_(i=1..d)
    psi((nu + 1 - i)/2)`. All but the last terms are the truth or cancel, whatever the correlations
    are:

        1/2 (sum_(i<=p) + sum_(i<=q) - sum_(i<=p+q)) psi((N - i)/2),  about p q / 2N.

    Subtracting it makes the estimate unbiased for Gaussians without collinear columns.

    Raises:
        InvalidInputError: N is not above p + q.

    Example:
        >>> round(gaussian_bias(50, 2, 3), 4), 2 * 3 / (2 * 50)
        (0.0652, 0.06)
    """
    if num_examples <= p + q:
        raise InvalidInputError(
            f"num_examples: found {num_examples}; more than {p + q} are needed."
        )
    terms = np.cumsum(digamma((num_examples - np.arange(1, p + q + 1)) / 2))
    return float(0.5 * (terms[p - 1] + terms[q - 1] - terms[p + q - 1]))


def gaussian_mutual_information(
    first: Float[Any, "N p"], second: Float[Any, "N q"], *, corrected: bool = True
) -> Float[Array, ""]:
    """Mutual information of two samples as if they were jointly Gaussian, in nats.

    Args:
        first: X.
        second: Y.
        corrected: subtract `gaussian_bias`, which makes it unbiased for Gaussians; it may be below
            0 then.

    Raises:
        InvalidInputError: as of `canonical_correlations`.

    Example:
        >>> x = jax.random.normal(jax.random.key(0), (2000, 3))
        >>> abs(float(gaussian_mutual_information(x[:, :1], x[:, 1:]))) < 0.005
        True
    """
    value = canonical_information(canonical_correlations(first, second))
    bias = gaussian_bias(first.shape[0], first.shape[1], second.shape[1]) if corrected else 0.0
    return value - bias


def linear_information(
    covariance: Float[Any, "p p"],
    variance: Any,
    weights: Float[Any, "p d"] | None = None,
) -> Float[Array, ""]:
    """Information through a linear layer with noise, `T = X W + N(0, v I)`, in nats.

    `I(X; T) = 1/2 log det(I + W' Sigma W / v)`: exact for Gaussian X, and for every X with that
    covariance the largest (a Gaussian has the largest entropy). So of any activations f(X) with
    covariance Sigma, and no weights, it is an upper bound of `I(X; f(X) + N(0, v I))`. Infinite for
    v = 0 unless nothing varies, when it is 0.

    Args:
        covariance: Sigma of X.
        variance: v of the noise per unit, not negative.
        weights: W; None is the identity.

    Raises:
        InvalidInputError: a negative variance.

    Example:
        >>> round(float(linear_information(jnp.eye(2), 1.0)), 4)  # log(2)
        0.6931
    """
    ratios = _signal(covariance, weights) / _checked(variance)
    return 0.5 * jnp.sum(jnp.log1p(jnp.where(jnp.isnan(ratios), 0.0, ratios)))


def linear_contraction(
    covariance: Float[Any, "p p"],
    variance: Any,
    weights: Float[Any, "p d"] | None = None,
) -> Float[Array, ""]:
    """Contraction coefficient of `T = X W + N(0, v I)` for Gaussian X: `s / (s + v)`.

    s is the largest eigenvalue of `W' Sigma W`; the value is the top squared canonical correlation
    of X and T. 1 without noise, 0 where nothing varies. For layers in sequence the product is a
    bound, since noise of the first is signal of the second.

    Args:
        covariance: Sigma of X.
        variance: v of the noise per unit, not negative.
        weights: W; None is the identity.

    Raises:
        InvalidInputError: a negative variance.

    Example:
        >>> round(float(linear_contraction(jnp.array([[2.0]]), 1.0)), 4)
        0.6667
    """
    top = _signal(covariance, weights)[-1]
    return jnp.where(top > 0, top / (top + _checked(variance)), 0.0)


def _signal(covariance: Any, weights: Any) -> Float[Array, " d"]:
    """Eigenvalues of the covariance after the layer, increasing, what is rounding 0."""
    covariance = jnp.asarray(covariance)
    if weights is not None:
        right = jnp.matmul(covariance, jnp.asarray(weights), precision="highest")
        covariance = jnp.matmul(jnp.asarray(weights).T, right, precision="highest")
    values = jnp.linalg.eigvalsh(covariance)
    floor = covariance.shape[0] * jnp.finfo(values.dtype).eps * jnp.abs(values).max()
    return jnp.where(values > floor, values, 0.0)


def _basis(points: Float[Array, "N d"]) -> Float[Array, "N d"]:
    """Orthonormal columns that span the centred points; zeros for what has no variance."""
    centred = points - points.mean(axis=0, keepdims=True)
    left, values, _ = jnp.linalg.svd(centred, full_matrices=False)
    floor = max(points.shape) * jnp.finfo(left.dtype).eps * values[0]
    # A column that is constant but for rounding of its mean has no variance either.
    floor = jnp.maximum(floor, 8 * jnp.finfo(left.dtype).eps * jnp.linalg.norm(points))
    return left * (values > floor)[None]


def _checked(variance: Any) -> Any:
    if not isinstance(variance, jax.core.Tracer) and not float(variance) >= 0:
        raise InvalidInputError(f"variance: found {float(variance)}; 0 or more is needed.")
    return variance
