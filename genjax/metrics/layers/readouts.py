"""How an activation becomes one vector per example, and how these vectors are scaled.

An activation is a vector `[N, D]`, tokens `[N, T, D]` or a map `[N, H, W, D]`. Dyballa et al. read
the first token of every transformer, which in most of them is the top-left patch of the image: what
they find about depth depends on it. Here the readout is chosen by name, and several of them stand
side by side.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from genjax.errors import InvalidInputError, suggest

READOUTS = (
    "class_token",
    "token0",
    "mean",
    "max",
    "flatten",
    "random_projection",
    "pca_whitened",
)
NORMALISATIONS = ("raw", "l2", "zscore")
DIMENSIONS = 128
"""Dimensions that `random_projection` and `pca_whitened` keep at most."""


class Whitening(NamedTuple):
    """A principal-component projection to unit variances.

    Attributes:
        mean: of the points it was fitted on.
        projection: columns are principal directions over their standard deviations; zero where a
            direction has no variance beyond rounding.
    """

    mean: Float[Array, " D"]
    projection: Float[Array, "D k"]


def applicable(shape: Sequence[int], *, class_token: bool = False) -> tuple[str, ...]:
    """Return the readouts that say different things about activations of this shape.

    Vectors have no places: of them `flatten` is the vector itself, and mean, maximum and first
    token would be the same.

    Args:
        shape: of an activation, `(N, D)`, `(N, T, D)` or `(N, H, W, D)`.
        class_token: whether the first token is one.

    Raises:
        InvalidInputError: another number of axes.

    Example:
        >>> applicable((5, 8)), applicable((5, 17, 8), class_token=True)[:2]
        (('flatten', 'random_projection', 'pca_whitened'), ('class_token', 'mean'))
    """
    if len(shape) not in (2, 3, 4):
        raise InvalidInputError(
            f"activation: found shape {tuple(shape)}; allowed are [N, D], [N, tokens, D] and "
            "[N, height, width, D]."
        )
    whole = ("flatten", "random_projection", "pca_whitened")
    if len(shape) == 2:
        return whole
    first = "class_token" if len(shape) == 3 and class_token else "token0"
    return (first, "mean", "max", *whole)


def read(
    activation: Float[Any, "N *rest"],
    readout: str,
    *,
    class_token: bool = False,
    key: Key[Array, ""] | None = None,
    dimensions: int = DIMENSIONS,
) -> Float[Array, "N D"]:
    """Return one vector per example. Pure; may be jitted with `readout` static.

    `class_token` and `token0` take the first token (of a map: the top-left place), `mean` and `max`
    run over all places, without the class token where there is one; `flatten` keeps everything;
    `random_projection` multiplies that with a Gaussian matrix of variance 1/dimensions (squared
    distances are kept in expectation, Johnson and Lindenstrauss 1984); `pca_whitened` is
    `whitening` fitted on these very points.

    Args:
        activation: `[N, D]`, `[N, tokens, D]` or `[N, height, width, D]`.
        readout: one of `READOUTS`.
        class_token: whether the first token is one.
        key: of the random projection; None is key 0.
        dimensions: of the projections, at most.

    Raises:
        InvalidInputError: unknown readout, another number of axes, or `class_token` asked of an
            activation that has none.

    Example:
        >>> read(jnp.arange(8.0).reshape(1, 2, 2, 2), "mean").tolist()
        [[3.0, 4.0]]
    """
    if readout not in READOUTS:
        raise InvalidInputError(suggest("readout", readout, READOUTS))
    applicable(activation.shape)
    if readout == "class_token" and not (class_token and activation.ndim == 3):
        raise InvalidInputError(
            f"readout: class_token found for an activation of shape {activation.shape} without a "
            "class token; token0 is the first place of any activation."
        )
    examples, width = activation.shape[0], activation.shape[-1]
    whole = jnp.asarray(activation).reshape(examples, -1)
    places = jnp.asarray(activation).reshape(examples, -1, width)
    if readout in ("class_token", "token0"):
        return places[:, 0]
    if readout in ("mean", "max"):
        own = places[:, 1:] if class_token and activation.ndim == 3 else places
        return own.mean(axis=1) if readout == "mean" else own.max(axis=1)
    if readout == "random_projection":
        return random_projection(whole, key, dimensions=dimensions)
    if readout == "pca_whitened":
        return project(whole, whitening(whole, dimensions=dimensions))
    return whole


def random_projection(
    points: Float[Any, "N D"],
    key: Key[Array, ""] | None = None,
    *,
    dimensions: int = DIMENSIONS,
) -> Float[Array, "N k"]:
    """Return points times a Gaussian matrix; points of no more dimensions are left as they are.

    Example:
        >>> random_projection(jnp.ones((3, 500)), dimensions=16).shape
        (3, 16)
    """
    width = points.shape[-1]
    if width <= dimensions:
        return jnp.asarray(points)
    key = jax.random.key(0) if key is None else key
    matrix = jax.random.normal(key, (width, dimensions), jnp.asarray(points).dtype)
    return jnp.matmul(jnp.asarray(points), matrix, precision="highest") / dimensions**0.5


def whitening(points: Float[Any, "N D"], *, dimensions: int = DIMENSIONS) -> Whitening:
    """Fit a whitening on points: at most `dimensions` principal components, each of variance 1.

    Directions whose variance is below rounding, `D eps` of the largest, become zero instead of
    noise.

    Example:
        >>> points = jnp.array([[0.0, 0.0], [4.0, 0.0], [0.0, 1.0], [4.0, 1.0]])
        >>> bool(jnp.allclose(jnp.abs(project(points, whitening(points))), 1.0))
        True
    """
    points = jnp.asarray(points)
    mean = points.mean(axis=0, keepdims=True)
    # Singular values of the centred points, not the eigenvalues of their squares: half the digits
    # of small directions would be lost.
    _, values, directions = jnp.linalg.svd(points - mean, full_matrices=False)
    kept = min(dimensions, values.shape[0])
    deviations = values[:kept] / points.shape[0] ** 0.5
    floor = max(points.shape) * jnp.finfo(points.dtype).eps * values[0] / points.shape[0] ** 0.5
    safe = deviations > floor
    scale = jnp.where(safe, 1 / jnp.where(safe, deviations, 1.0), 0.0)
    return Whitening(mean[0], directions[:kept].T * scale[None])


def project(points: Float[Any, "N D"], fitted: Whitening) -> Float[Array, "N k"]:
    """Return points in the coordinates of a whitening.

    Example:
        >>> fitted = Whitening(jnp.ones(2), jnp.eye(2))
        >>> project(jnp.ones((1, 2)), fitted).tolist()
        [[0.0, 0.0]]
    """
    return jnp.matmul(
        jnp.asarray(points) - fitted.mean[None], fitted.projection, precision="highest"
    )


def normalise(points: Float[Any, "N D"], normalisation: str) -> Float[Array, "N D"]:
    """Return points as they are, each of length 1, or every coordinate standardised.

    A point of length 0 and a coordinate without variance become zeros.

    Args:
        points: one row per example.
        normalisation: `raw`, `l2` or `zscore` (mean 0 and standard deviation 1 over these points,
            ddof 0).

    Raises:
        InvalidInputError: unknown normalisation.

    Example:
        >>> normalise(jnp.array([[3.0, 4.0], [0.0, 0.0]]), "l2").round(6).tolist()
        [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    points = jnp.asarray(points)
    if normalisation == "l2":
        lengths = jnp.linalg.norm(points, axis=-1, keepdims=True)
        return points / jnp.where(lengths > 0, lengths, 1.0)
    if normalisation == "zscore":
        deviations = points.std(axis=0, keepdims=True)
        size = jnp.abs(points).max(axis=0, keepdims=True)
        varies = deviations > 8 * jnp.finfo(points.dtype).eps * size
        centred = points - points.mean(axis=0, keepdims=True)
        return jnp.where(varies, centred / jnp.where(varies, deviations, 1.0), 0.0)
    if normalisation != "raw":
        raise InvalidInputError(suggest("normalisation", normalisation, NORMALISATIONS))
    return points
