"""Transferability: how well a layer's embeddings explain labels, without training on them."""

import warnings
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from sklearn.covariance import ledoit_wolf
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from genjax.errors import InvalidInputError
from genjax.metrics.layers.checks import check_points
from genjax.metrics.layers.class_means import check_num_classes, varies

_FIXED_POINTS = 200
_COMPONENTS_PER_CLASS = 5


class MixtureLeep(NamedTuple):
    """NLEEP and the mixture it rests on.

    Attributes:
        score: mean log likelihood of the labels in nats, at most 0; NaN for points that are all
            equal.
        converged: whether the fit of the mixture converged.
        dimensions: principal components kept.
        components: of the mixture.
    """

    score: float
    converged: bool
    dimensions: int
    components: int


def log_maximum_evidence(
    points: Any, labels: Any, *, num_classes: int | None = None
) -> Float[Array, ""]:
    """Return LogME: the largest log evidence of a linear model per example, mean over classes.

    For every class, y is 1 for its examples and 0 for the others, `y ~ N(F w, 1 / beta)` with
    `w ~ N(0, 1 / alpha)`; the maximum over alpha and beta of `log p(y | F, alpha, beta) / N` in
    nats (You et al. 2021, arXiv 2102.11005). Higher is better; not bounded, comparable only for
    the same labels. Points are neither centred nor scaled, as published; the score does not depend
    on their common scale. Points that are all equal carry the frequencies of the classes alone.
    Infinite where the labels are an exactly linear function of fewer dimensions than examples.

    Two differences from `thuml/LogME`: the evidence counts only dimensions that the points span
    (there `D > N` adds `(D - N) / 2 log alpha`, which grows with the unused dimensions), and it is
    evaluated at the fixed point, without 1e-5 in its denominators.

    Concrete points on a CPU are decomposed with NumPy in float64; traced ones and those of other
    devices by `log_maximum_evidence_jax`.

    Args:
        points: `[N, D]`.
        labels: `[N]`, whole numbers from 0 on.
        num_classes: more than the largest label; needed where labels are traced. Classes without
            examples do not count.

    Raises:
        InvalidInputError: bad points or labels.

    Example:
        >>> points, labels = np.array([[-1.0], [-1.2], [1.1], [0.9]]), np.array([0, 0, 1, 1])
        >>> noise = np.array([[-1.0], [1.2], [1.1], [-0.9]])
        >>> bool(log_maximum_evidence(points, labels) > log_maximum_evidence(noise, labels))
        True
    """
    points, labels = check_points(points, labels)
    traced = any(isinstance(values, jax.core.Tracer) for values in (points, labels))
    if num_classes is None:
        num_classes = int(np.max(np.asarray(labels))) + 1
    if traced or jax.default_backend() != "cpu":
        return log_maximum_evidence_jax(points, labels, num_classes=num_classes)
    points = np.asarray(points, np.float64)
    classes, places = np.unique(np.asarray(labels), return_inverse=True)
    # Products of dimensions (or of examples) in float64 keep what float32 embeddings hold.
    wide = points.shape[1] > points.shape[0]
    gram = points @ points.T if wide else points.T @ points
    eigenvalues, vectors = np.linalg.eigh(gram)
    kept = eigenvalues > max(eigenvalues[-1], 0) * max(points.shape) * np.finfo(np.float64).eps
    eigenvalues, vectors = eigenvalues[kept], vectors[:, kept]
    targets = (places[:, None] == np.arange(classes.size)).astype(np.float64)
    if wide:
        left = vectors
        along = left.T @ targets
        rest = targets - left @ along
    else:
        projected = vectors.T @ (points.T @ targets)
        along = projected / np.sqrt(eigenvalues)[:, None]
        rest = targets - points @ (vectors @ (projected / eigenvalues[:, None]))
    with jax.enable_x64(True):
        evidences = _evidences(
            jnp.asarray(eigenvalues),
            jnp.ones(eigenvalues.shape, bool),
            jnp.asarray(np.square(along)),
            jnp.asarray(np.sum(np.square(rest), axis=0)),
            points.shape[0],
        )
        found = float(jnp.mean(evidences))
    return jnp.asarray(found)


def log_maximum_evidence_jax(points: Any, labels: Any, *, num_classes: int) -> Float[Array, ""]:
    """Return `log_maximum_evidence` by a pure function, for jit and vmap, in the points' precision.

    Args:
        points: `[N, D]`.
        labels: `[N]`, in 0 ... num_classes - 1.
        num_classes: static.

    Raises:
        InvalidInputError: bad points or labels.

    Example:
        >>> points, labels = jnp.array([[-1.0], [-1.2], [1.1], [0.9]]), jnp.array([0, 0, 1, 1])
        >>> round(float(log_maximum_evidence_jax(points, labels, num_classes=2)), 3)
        -1.007
    """
    points, labels = check_points(points, labels)
    check_num_classes(labels, num_classes)
    return _with_jax(jnp.asarray(points), jnp.asarray(labels), num_classes=num_classes)


@partial(jax.jit, static_argnames="num_classes")
def _with_jax(points: Any, labels: Any, *, num_classes: int) -> Any:
    total, dimensions = points.shape
    with jax.default_matmul_precision("highest"):
        if total > dimensions:
            # The singular vectors of the triangle are far cheaper than those of the points.
            orthonormal, triangle = jnp.linalg.qr(points)
            rotation, values, _ = jnp.linalg.svd(triangle, full_matrices=False)
            left = orthonormal @ rotation
        else:
            left, values, _ = jnp.linalg.svd(points, full_matrices=False)
        floor = min(points.shape) * jnp.finfo(points.dtype).eps * values[0]
        kept = values > floor
        left = jnp.where(kept[None], left, 0)
        targets = jax.nn.one_hot(labels, num_classes, dtype=points.dtype)
        along = left.T @ targets
        rest = jnp.sum(jnp.square(targets - left @ along), axis=0)
    evidences = _evidences(jnp.square(values), kept, jnp.square(along), rest, total)
    present = jnp.sum(targets, axis=0) > 0
    return jnp.sum(jnp.where(present, evidences, 0)) / jnp.sum(present)


@jax.jit
def _evidences(values: Any, kept: Any, along: Any, rest: Any, total: Any) -> Any:
    """Return the largest log evidence per example of every class.

    With t = alpha / beta the best beta is `N / sum_i t y_i^2 / (t + s_i)`, which leaves one number.

    Args:
        values: eigenvalues s of F F', `[K]`.
        kept: which of them are not 0, `[K]`.
        along: squared coordinates of the targets along the eigenvectors, `[K, C]`.
        rest: squared length of the targets beyond them, `[C]`.
        total: N.
    """
    dtype = along.dtype
    total = jnp.asarray(total, dtype)
    largest = jnp.max(values, initial=0)
    # Only the ratio to t counts, which keeps every number near 1.
    scaled = jnp.where(kept, values / jnp.where(largest > 0, largest, 1), 0)[:, None]
    along = jnp.where(kept[:, None], along, 0)
    epsilon = jnp.finfo(dtype).eps
    low, high = epsilon**2, 1 / epsilon**2

    def of_ratio(ratio: Any) -> tuple[Any, Any]:
        shrink = ratio[None] / (ratio[None] + scaled)
        effective = jnp.sum(jnp.where(kept[:, None], 1 - shrink, 0), axis=0)
        squares = jnp.sum(along * jnp.square(shrink), axis=0) + rest
        # alpha = effective / |m|^2, beta = (N - effective) / squares.
        norm = jnp.sum(along * (1 - shrink) * shrink, axis=0) / ratio
        new = effective * squares / ((total - effective) * norm)
        return jnp.clip(jnp.where(norm > 0, new, high), low, high), shrink

    def moves(state: Any) -> Any:
        step, ratio, before = state
        return (step < _FIXED_POINTS) & jnp.any(jnp.abs(ratio - before) > 1e-6 * before)

    def move(state: Any) -> Any:
        step, ratio, _ = state
        return step + 1, of_ratio(ratio)[0], ratio

    ratio = jnp.ones_like(rest)
    _, ratio, _ = jax.lax.while_loop(moves, move, (0, ratio, jnp.zeros_like(rest)))
    shrink = of_ratio(ratio)[1]
    energy = jnp.sum(along * shrink, axis=0) + rest
    logarithms = jnp.sum(jnp.where(kept[:, None], jnp.log(shrink), 0), axis=0)
    beta = total / energy
    evidence = 0.5 * logarithms + 0.5 * total * (jnp.log(beta) - 1 - jnp.log(2 * jnp.pi))
    length = jnp.sum(along, axis=0) + rest
    exact = (rest <= jnp.square(jnp.sum(kept) * epsilon) * length) & (jnp.sum(kept) < total)
    return jnp.where(exact & (length > 0), jnp.inf, evidence / total)


def leep(probabilities: Any, labels: Any, *, num_classes: int) -> Float[Array, ""]:
    """Return LEEP: the mean log likelihood of labels under the empirical predictor, in nats.

    `mean_n log sum_z P(y_n | z) theta_n(z)` with `P(y, z) = (1 / N) sum_{n: y_n = y} theta_n(z)`
    and `P(y | z) = P(y, z) / P(z)` (Nguyen et al. 2020, arXiv 2002.12462, Eq. 1 and 2). At most 0,
    higher is better; probabilities that say nothing give minus the entropy of the labels. (Codes
    that leave out the logarithm return a mean probability, which is another number.) Pure.

    Args:
        probabilities: theta, of Z source classes or clusters, `[N, Z]`; rows sum to 1.
        labels: `[N]`, in 0 ... num_classes - 1.
        num_classes: static.

    Raises:
        InvalidInputError: bad probabilities or labels.

    Example:
        >>> float(leep(jnp.eye(2), jnp.array([1, 0]), num_classes=2))
        0.0
        >>> round(float(leep(jnp.full((2, 3), 1 / 3), jnp.array([1, 0]), num_classes=2)), 4)
        -0.6931
    """
    probabilities, labels = check_points(probabilities, labels, name="probabilities")
    probabilities, labels = jnp.asarray(probabilities), jnp.asarray(labels)
    check_num_classes(labels, num_classes)
    _check_probabilities(probabilities)
    member = jax.nn.one_hot(labels, num_classes, dtype=probabilities.dtype)
    joint = jnp.matmul(member.T, probabilities, precision="highest")
    source = jnp.sum(joint, axis=0)
    given = joint / jnp.where(source > 0, source, 1)[None]
    likelihood = jnp.sum(given[labels] * probabilities, axis=1)
    return jnp.mean(jnp.log(likelihood))


def _check_probabilities(probabilities: Any) -> None:
    if isinstance(probabilities, jax.core.Tracer):
        return
    values = np.asarray(probabilities)
    sums = values.sum(axis=1)
    if values.min() < 0 or np.abs(sums - 1).max() > 1e-3:
        worst = sums[np.argmax(np.abs(sums - 1))]
        raise InvalidInputError(
            f"probabilities: found a smallest value of {values.min():.3g} and a row that sums to "
            f"{worst:.3g}; values from 0 on in rows that sum to 1 are needed."
        )


def mixture_leep(
    points: Any,
    labels: Any,
    *,
    seed: int = 0,
    energy: float = 0.8,
    components: int | None = None,
    covariance: str = "diag",
) -> MixtureLeep:
    """Return NLEEP: LEEP with the posteriors of a Gaussian mixture in place of source classes.

    Principal components that hold `energy` of the variance, then a mixture of 5 C Gaussians, both
    by scikit-learn and both fitted to these very points (Li et al. 2021, arXiv 2011.11200). In
    nats, at most 0, higher is better; the more components per example, the nearer 0. Comparable
    between layers only with the same N, C and settings.

    Covariances are diagonal by default: full ones (`covariance="full"`, scikit-learn's default and
    that of published code) are singular as soon as a component has fewer examples than dimensions.

    Args:
        points: `[N, D]`.
        labels: `[N]`, whole numbers from 0 on.
        seed: of the mixture's start.
        energy: share of variance kept, between 0 and 1.
        components: of the mixture; 5 C if None; at most N.
        covariance: "diag", "full", "tied" or "spherical".

    Raises:
        InvalidInputError: bad points, labels or settings.

    Example:
        >>> points = np.array([[0.0], [0.1], [0.2], [5.0], [5.1], [5.2]])
        >>> found = mixture_leep(points, np.array([0, 0, 0, 1, 1, 1]), components=2)
        >>> abs(found.score) < 1e-6, found.dimensions, found.components
        (True, 1, 2)
    """
    points, labels = check_points(points, labels)
    points = np.asarray(points)
    classes, targets = np.unique(np.asarray(labels), return_inverse=True)
    components = _COMPONENTS_PER_CLASS * classes.size if components is None else components
    if not 1 <= components <= points.shape[0]:
        raise InvalidInputError(
            f"components: found {components}; between 1 and the {points.shape[0]} points are "
            "allowed."
        )
    if not 0 < energy < 1:
        raise InvalidInputError(f"energy: found {energy}; a share between 0 and 1 is needed.")
    allowed = ("diag", "full", "spherical", "tied")
    if covariance not in allowed:
        raise InvalidInputError(
            f"covariance: unknown name '{covariance}'. Allowed: {', '.join(allowed)}."
        )
    if not bool(varies(points)):
        return MixtureLeep(float("nan"), False, 0, components)
    narrow = points.shape[0] >= points.shape[1]
    axes = PCA(energy, svd_solver="covariance_eigh" if narrow else "full")
    # The axes in double, the mixture in the points' precision: single takes half the time.
    reduced = axes.fit_transform(points.astype(np.float64)).astype(points.dtype)
    mixture = GaussianMixture(components, covariance_type=covariance, random_state=seed)
    with warnings.catch_warnings():
        # Reported as a value instead; also where points are fewer than components by duplicates.
        warnings.simplefilter("ignore", ConvergenceWarning)
        posteriors = mixture.fit(reduced).predict_proba(reduced)
    joint = np.zeros((classes.size, components))
    np.add.at(joint, targets, posteriors)
    given = joint / np.maximum(joint.sum(axis=0), np.finfo(np.float64).tiny)
    score = float(np.mean(np.log(np.sum(given[targets] * posteriors, axis=1))))
    return MixtureLeep(score, bool(mixture.converged_), reduced.shape[1], components)


def h_score(points: Any, labels: Any, *, shrinkage: str = "ledoit_wolf") -> float:
    """Return the H-score: variance between class means, in units of the total; higher is better.

    `tr(cov(F)^-1 cov(E[F | y]))` (Bao et al. 2019). With "ledoit_wolf" shrinkage a of the
    covariance, and the means' covariance times `1 - a` (Ibrahim, Ponomareva and Mazumder 2021,
    arXiv 2110.06893, Eq. 6); "none" takes the pseudo-inverse and is
    `C - 1` for any labels as soon as there are as many dimensions as examples. From 0 to
    `min(C - 1, D)`; chance is about `(C - 1) D / N`. NaN for points that are all equal.

    Args:
        points: `[N, D]`.
        labels: `[N]`, whole numbers from 0 on.
        shrinkage: "ledoit_wolf" or "none".

    Raises:
        InvalidInputError: bad points, labels or shrinkage.

    Example:
        >>> points, labels = np.array([[-3.0], [-1.0], [1.0], [3.0]]), np.array([0, 0, 1, 1])
        >>> round(h_score(points, labels, shrinkage="none"), 6)
        0.8
    """
    points, labels = check_points(points, labels)
    if shrinkage not in ("ledoit_wolf", "none"):
        raise InvalidInputError(
            f"shrinkage: unknown name '{shrinkage}'. Allowed: ledoit_wolf, none."
        )
    if not bool(varies(points)):
        return float("nan")
    points = np.asarray(points, np.float64)
    points = points - points.mean(axis=0)
    classes, targets = np.unique(np.asarray(labels), return_inverse=True)
    member = (targets[:, None] == np.arange(classes.size)).astype(np.float64)
    counts = member.sum(axis=0)
    means = (member.T @ points) / counts[:, None]
    weighted = means * np.sqrt(counts / points.shape[0])[:, None]
    if shrinkage == "none":
        covariance, amount = points.T @ points / points.shape[0], 0.0
    else:
        covariance, amount = ledoit_wolf(points, assume_centered=True)
    values, vectors = np.linalg.eigh(covariance)
    kept = values > values[-1] * max(points.shape) * np.finfo(np.float64).eps
    along = weighted @ vectors[:, kept]
    return float((1 - amount) * np.sum(np.square(along) / values[None, kept]))
