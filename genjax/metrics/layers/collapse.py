"""Neural collapse: how far classes have shrunk to points, and how these points stand.

Every class counts alike: covariances and the global mean are means over classes, which is what
Papyan, Han and Donoho (2020) write for classes of one size. All functions are pure: jit, vmap.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from genjax.metrics.layers.checks import check_points
from genjax.metrics.layers.class_means import (
    check_num_classes,
    class_means,
    nearest_mean,
    varies,
)

_compiled = partial(jax.jit, static_argnames="num_classes")


class _Classes(NamedTuple):
    """Points about the mean of their class, and class means about the mean of these means."""

    residuals: Float[Array, "N D"]
    centred_means: Float[Array, "C D"]
    counts: Float[Array, " C"]
    varies: Array


class MeanGeometry(NamedTuple):
    """How the means of classes stand about their centre; all are 0 for a simplex (NC2).

    Attributes:
        norm_variation: standard deviation of their norms over the mean norm (ddof 0).
        angle_variation: standard deviation of the cosines of all pairs (ddof 0).
        angle_error: mean over pairs of `|cos + 1 / (C - 1)|`.
        simplex_distance: `||M M' / ||M M'||_F - (I - 1 1' / C) / sqrt(C - 1)||_F`, at most 2.
    """

    norm_variation: Float[Array, ""]
    angle_variation: Float[Array, ""]
    angle_error: Float[Array, ""]
    simplex_distance: Float[Array, ""]


def _checked(points: Any, labels: Any, num_classes: int) -> tuple[Any, Any]:
    points, labels = check_points(points, labels)
    check_num_classes(labels, num_classes)
    return jnp.asarray(points), jnp.asarray(labels)


def _classes(points: Any, labels: Any, num_classes: int) -> _Classes:
    different = varies(points)
    points = points - jnp.mean(points, axis=0, keepdims=True)
    means, counts = class_means(points, labels, num_classes=num_classes)
    present = (counts > 0).astype(points.dtype)
    centre = jnp.sum(means, axis=0) / jnp.maximum(jnp.sum(present), 1)
    about = (means - centre[None]) * present[:, None]
    return _Classes(points - means[labels], about, counts, different)


def _within(classes: _Classes, labels: Any) -> Float[Array, " C"]:
    """Return the variance of every class about its mean, summed over dimensions (ddof 0)."""
    squares = jnp.sum(jnp.square(classes.residuals), axis=1)
    totals = jnp.zeros_like(classes.counts).at[labels].add(squares)
    return totals / jnp.maximum(classes.counts, 1)


def _mean_over(values: Any, counts: Any) -> Any:
    """Return the mean over the classes that have examples; NaN where one has a single example."""
    present = counts > 0
    mean = jnp.sum(jnp.where(present, values, 0)) / jnp.sum(present)
    return jnp.where(jnp.any(counts == 1), jnp.nan, mean)


def within_class_variability(points: Any, labels: Any, *, num_classes: int) -> Float[Array, ""]:
    """Return NC1, `tr(S_W S_B^+) / C`: variation in classes against the means; 0 is collapse.

    `S_W` is the mean over classes of their covariances, `S_B` the covariance of their means (both
    ddof 0), `S_B^+` the pseudo-inverse (Papyan et al. 2020, Figure 6). No units, at least 0, no
    upper end. Classes without examples do not count. NaN where the means do not vary and where a
    class has one example, whose covariance is unknown.

    Args:
        points: `[N, D]`.
        labels: `[N]`, in 0 ... num_classes - 1.
        num_classes: static.

    Raises:
        InvalidInputError: bad points or labels.

    Example:
        >>> points = jnp.array([[-3.0], [-1.0], [1.0], [3.0]])
        >>> labels = jnp.array([0, 0, 1, 1])
        >>> round(float(within_class_variability(points, labels, num_classes=2)), 5)
        0.125
    """
    points, labels = _checked(points, labels, num_classes)
    return _within_class_variability(points, labels, num_classes=num_classes)


@_compiled
def _within_class_variability(points: Any, labels: Any, *, num_classes: int) -> Any:
    classes = _classes(points, labels, num_classes)
    present = jnp.sum(classes.counts > 0)
    _, values, directions = jnp.linalg.svd(classes.centred_means, full_matrices=False)
    epsilon = jnp.finfo(values.dtype).eps
    scale = jnp.sqrt(jnp.max(jnp.sum(jnp.square(classes.residuals), axis=1)))
    floor = epsilon * jnp.maximum(max(classes.centred_means.shape) * values[0], scale)
    # Means about their centre span one dimension less than there are classes.
    kept = (values > floor) & (jnp.arange(values.shape[0]) < present - 1)
    along = jnp.square(jnp.matmul(classes.residuals, directions.T, precision="highest"))
    weights = 1 / jnp.maximum(classes.counts, 1)[labels]
    variances = jnp.matmul(weights, along, precision="highest") / present
    ratios = jnp.where(kept, variances / jnp.where(kept, jnp.square(values) / present, 1), 0)
    score = jnp.sum(ratios) / present
    defined = classes.varies & jnp.any(kept) & ~jnp.any(classes.counts == 1)
    return jnp.where(defined, score, jnp.nan)


def trace_ratio(points: Any, labels: Any, *, num_classes: int) -> Float[Array, ""]:
    """Return `tr S_W / tr S_B`, the variant of NC1 that needs no inverse; 0 is collapse.

    `S_W` and `S_B` as in `within_class_variability`. No units, at least 0; infinite where all
    means are equal, NaN where all points are or where a class has one example.

    Args:
        points: `[N, D]`.
        labels: `[N]`, in 0 ... num_classes - 1.
        num_classes: static.

    Raises:
        InvalidInputError: bad points or labels.

    Example:
        >>> points = jnp.array([[-3.0], [-1.0], [1.0], [3.0]])
        >>> float(trace_ratio(points, jnp.array([0, 0, 1, 1]), num_classes=2))
        0.25
    """
    points, labels = _checked(points, labels, num_classes)
    return _trace_ratio(points, labels, num_classes=num_classes)


@_compiled
def _trace_ratio(points: Any, labels: Any, *, num_classes: int) -> Any:
    classes = _classes(points, labels, num_classes)
    within = _mean_over(_within(classes, labels), classes.counts)
    between = jnp.sum(jnp.square(classes.centred_means)) / jnp.sum(classes.counts > 0)
    between = jnp.where(between > _floor(classes), between, 0)
    return jnp.where(classes.varies, within / between, jnp.nan)


def _floor(classes: _Classes) -> Any:
    """Return the squared distance that rounding alone may give to means."""
    residuals = jnp.max(jnp.sum(jnp.square(classes.residuals), axis=1))
    means = jnp.max(jnp.sum(jnp.square(classes.centred_means), axis=1))
    return jnp.square(16 * jnp.finfo(residuals.dtype).eps) * jnp.maximum(residuals, means)


def mean_geometry(points: Any, labels: Any, *, num_classes: int) -> MeanGeometry:
    """Return NC2: how far the class means are from a simplex of equal norms and equal angles.

    The means stand about the mean of the means (Papyan et al. 2020, Figures 2, 3 and 4; the
    distance to the simplex as in Zhu et al. 2021, Eq. 13). Every class must have an example and
    a mean that is not the centre; otherwise, and where all means are equal, all four are NaN.

    Args:
        points: `[N, D]`.
        labels: `[N]`, in 0 ... num_classes - 1.
        num_classes: C; static.

    Raises:
        InvalidInputError: bad points or labels.

    Example:
        >>> found = mean_geometry(jnp.eye(3), jnp.array([0, 1, 2]), num_classes=3)
        >>> [round(abs(float(value)), 5) for value in found]
        [0.0, 0.0, 0.0, 0.0]
    """
    points, labels = _checked(points, labels, num_classes)
    return _mean_geometry(points, labels, num_classes=num_classes)


@_compiled
def _mean_geometry(points: Any, labels: Any, *, num_classes: int) -> Any:
    classes = _classes(points, labels, num_classes)
    means = classes.centred_means
    norms = jnp.linalg.norm(means, axis=1)
    defined = jnp.all(classes.counts > 0) & jnp.all(norms**2 > _floor(classes)) & classes.varies
    safe = jnp.where(defined, norms, 1)
    gram = jnp.matmul(means, means.T, precision="highest")
    cosines = gram / (safe[:, None] * safe[None])
    pair = 1 - jnp.eye(num_classes, dtype=means.dtype)
    pairs = num_classes * (num_classes - 1)
    mean_cosine = jnp.sum(cosines * pair) / pairs
    spread = jnp.sqrt(jnp.sum(jnp.square(cosines - mean_cosine) * pair) / pairs)
    error = jnp.sum(jnp.abs(cosines + 1 / (num_classes - 1)) * pair) / pairs
    simplex = _simplex(num_classes, means.dtype)
    distance = jnp.linalg.norm(gram / jnp.where(defined, jnp.linalg.norm(gram), 1) - simplex)
    found = (jnp.std(norms) / jnp.mean(safe), spread, error, distance)
    return MeanGeometry(*(jnp.where(defined, value, jnp.nan) for value in found))


def _simplex(num_classes: int, dtype: Any) -> Any:
    equal = jnp.eye(num_classes, dtype=dtype) - 1 / num_classes
    return equal / jnp.sqrt(jnp.asarray(num_classes - 1, dtype))


def self_duality(
    points: Any, labels: Any, classifier: Any, *, num_classes: int
) -> Float[Array, ""]:
    """Return NC3, `||W / ||W||_F - M / ||M||_F||_F^2`: the classifier against the class means.

    M are the class means about their mean, W the rows of the last layer as they are (Papyan et al.
    2020, Figure 5). From 0 (rows are the means) over 2 (at right angles) to 4. NaN where W or M
    is 0 and where a class has no example.

    Args:
        points: what the classifier reads, `[N, D]`.
        labels: `[N]`, in 0 ... num_classes - 1.
        classifier: one row per class, `[C, D]`, without bias.
        num_classes: C; static.

    Raises:
        InvalidInputError: bad points or labels.

    Example:
        >>> rows = jnp.array([[-2.0], [2.0]])
        >>> points, labels = jnp.array([[0.0], [1.0]]), jnp.array([0, 1])
        >>> float(self_duality(points, labels, rows, num_classes=2))
        0.0
    """
    points, labels = _checked(points, labels, num_classes)
    return _self_duality(points, labels, jnp.asarray(classifier), num_classes=num_classes)


@_compiled
def _self_duality(points: Any, labels: Any, classifier: Any, *, num_classes: int) -> Any:
    classes = _classes(points, labels, num_classes)
    means, rows = classes.centred_means, classifier
    lengths = jnp.linalg.norm(rows), jnp.linalg.norm(means)
    defined = jnp.all(classes.counts > 0) & (lengths[0] > 0) & classes.varies
    defined &= lengths[1] ** 2 > _floor(classes)
    distance = rows / jnp.where(defined, lengths[0], 1) - means / jnp.where(defined, lengths[1], 1)
    return jnp.where(defined, jnp.sum(jnp.square(distance)), jnp.nan)


def nearest_mean_mismatch(
    points: Any, labels: Any, predictions: Any, *, num_classes: int
) -> Float[Array, ""]:
    """Return NC4: the share of points whose nearest class mean is not what the network predicts.

    `mean_n 1[argmin_c ||h_n - mu_c|| != prediction_n]` (Ben-Shaul and Dekel 2022 per layer), with
    the means of these very points. 0 to 1, 0 is collapse. Equally near means: the smaller class.
    NaN for points that are all equal.

    Args:
        points: `[N, D]`.
        labels: of which the means are, `[N]`, in 0 ... num_classes - 1.
        predictions: of the network, `[N]`.
        num_classes: static.

    Raises:
        InvalidInputError: bad points or labels.

    Example:
        >>> points, labels = jnp.array([[0.0], [1.0], [5.0], [6.0]]), jnp.array([0, 0, 1, 1])
        >>> float(nearest_mean_mismatch(points, labels, jnp.array([0, 1, 1, 1]), num_classes=2))
        0.25
    """
    points, labels = _checked(points, labels, num_classes)
    return _nearest_mean_mismatch(points, labels, jnp.asarray(predictions), num_classes=num_classes)


@_compiled
def _nearest_mean_mismatch(points: Any, labels: Any, predictions: Any, *, num_classes: int) -> Any:
    different = varies(points)
    points = points - jnp.mean(points, axis=0, keepdims=True)
    means, counts = class_means(points, labels, num_classes=num_classes)
    nearest = nearest_mean(points, means, counts > 0)
    wrong = (nearest != predictions).astype(points.dtype)
    return jnp.where(different, jnp.mean(wrong), jnp.nan)


def nearest_mean_error(points: Any, labels: Any, *, num_classes: int) -> Float[Array, ""]:
    """Return the share of points whose nearest class mean is of another class (NCC error).

    `nearest_mean_mismatch` with the labels as predictions, on the points that made the means: 0 is
    separation, `1 - 1 / C` about chance for classes of one size in few dimensions.

    Args:
        points: `[N, D]`.
        labels: `[N]`, in 0 ... num_classes - 1.
        num_classes: static.

    Raises:
        InvalidInputError: bad points or labels.

    Example:
        >>> points, labels = jnp.array([[0.0], [6.0], [5.0], [6.0]]), jnp.array([0, 0, 1, 1])
        >>> float(nearest_mean_error(points, labels, num_classes=2))
        0.25
    """
    return nearest_mean_mismatch(points, labels, labels, num_classes=num_classes)


def class_distance_variance(points: Any, labels: Any, *, num_classes: int) -> Float[Array, ""]:
    """Return the class-distance normalised variance (CDNV), averaged over pairs of classes.

    `mean_{a != b} (Var_a + Var_b) / (2 ||mu_a - mu_b||^2)`, `Var` summed over dimensions with ddof
    0 (Galanti, Gyorgy and Hutter 2021, arXiv 2112.15121, Eq. 3). No units, at least 0; 0 is
    collapse. Classes without examples do not count. Infinite where two classes that vary have one
    mean, NaN where neither varies, for points that are all equal and where a class has one
    example.

    Args:
        points: `[N, D]`.
        labels: `[N]`, in 0 ... num_classes - 1.
        num_classes: static.

    Raises:
        InvalidInputError: bad points or labels.

    Example:
        >>> points = jnp.array([[-3.0], [-1.0], [1.0], [3.0]])
        >>> float(class_distance_variance(points, jnp.array([0, 0, 1, 1]), num_classes=2))
        0.0625
    """
    points, labels = _checked(points, labels, num_classes)
    return _class_distance_variance(points, labels, num_classes=num_classes)


@_compiled
def _class_distance_variance(points: Any, labels: Any, *, num_classes: int) -> Any:
    classes = _classes(points, labels, num_classes)
    means, present = classes.centred_means, classes.counts > 0
    variances = _within(classes, labels)
    # One class after another: all differences at once would be C x C x D.
    apart = jax.lax.map(lambda mean: jnp.sum(jnp.square(means - mean[None]), axis=1), means)
    apart = jnp.where(apart > _floor(classes), apart, 0)
    pair = present[:, None] & present[None] & ~jnp.eye(num_classes, dtype=bool)
    ratios = (variances[:, None] + variances[None]) / (2 * jnp.where(pair, apart, 1))
    score = jnp.sum(jnp.where(pair, ratios, 0)) / jnp.sum(pair)
    defined = classes.varies & ~jnp.any(classes.counts == 1)
    return jnp.where(defined, score, jnp.nan)
