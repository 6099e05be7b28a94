"""The ridge probe: linear regression on one-hot labels, in closed form for many penalties at once.

One eigendecomposition serves all penalties: of the D x D products of dimensions, or of the N x N
products of examples where those are fewer. Penalties are relative to the mean eigenvalue that can
differ from 0, so that the same grid suits layers of every scale.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from genjax.errors import InvalidInputError
from genjax.metrics.layers.checks import check_points
from genjax.metrics.layers.class_means import (
    check_dimensions,
    check_num_classes,
    varies,
)
from genjax.metrics.layers.folds import stratified_folds

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Grid of penalties, relative to the mean eigenvalue."""


class RidgeWeights(NamedTuple):
    """Linear maps, one for every penalty.

    Attributes:
        kernel: `[G, D, C]`.
        bias: `[G, C]`.
        penalties: absolute, as scikit-learn's `Ridge(alpha)` counts them.
    """

    kernel: Float[Array, "G D C"]
    bias: Float[Array, "G C"]
    penalties: Float[Array, " G"]


class RidgeProbe(NamedTuple):
    """What a ridge probe says about a layer.

    Attributes:
        accuracy: of the test examples with the chosen penalty; NaN where the training points are
            all equal.
        penalty: chosen, relative; the strongest of those with the best validation accuracy.
        accuracies: of the test examples with every penalty.
        validation_accuracies: mean over the folds used, with every penalty.
        predictions: of the test examples with the chosen penalty.
    """

    accuracy: float
    penalty: float
    accuracies: Float[np.ndarray, " G"]
    validation_accuracies: Float[np.ndarray, " G"]
    predictions: Int[np.ndarray, " M"]


class _Factors(NamedTuple):
    """Weights of penalty l are `basis @ (targets / (values + l * scale)[:, None])`."""

    mean: Any
    bias: Any
    basis: Any
    targets: Any
    values: Any
    scale: Any


def _factorise(xp: Any, points: Any, targets: Any) -> _Factors:
    """Decompose centred points [N, D] with targets [N, C]; xp is NumPy or jax.numpy."""
    mean, bias = xp.mean(points, axis=0), xp.mean(targets, axis=0)
    points, targets = points - mean[None], targets - bias[None]
    scale = xp.sum(xp.square(points)) / min(points.shape)
    if points.shape[1] <= points.shape[0]:
        values, basis = xp.linalg.eigh(points.T @ points)
        targets = basis.T @ (points.T @ targets)
    else:
        values, vectors = xp.linalg.eigh(points @ points.T)
        basis, targets = points.T @ vectors, vectors.T @ targets
    return _Factors(mean, bias, basis, targets, xp.maximum(values, 0), scale)


def _one_hot(xp: Any, labels: Any, num_classes: int, dtype: Any) -> Any:
    return (labels[:, None] == xp.arange(num_classes)[None]).astype(dtype)


def ridge_weights(points: Any, labels: Any, penalties: Any, *, num_classes: int) -> RidgeWeights:
    """Return the least-squares maps from points to one-hot labels for a grid of penalties.

    Minimises `||Y - X W - 1 b'||_F^2 + penalty * s * ||W||_F^2`, with the bias unpenalised (X and Y
    are centred) and s the sum of squares of the centred X over min(N, D). Pure: jit, vmap.

    Args:
        points: `[N, D]`.
        labels: `[N]`, in 0 ... num_classes - 1.
        penalties: `[G]`, positive, relative.
        num_classes: C; static.

    Raises:
        InvalidInputError: bad points or labels.

    Example:
        >>> points, labels = jnp.array([[-1.0], [1.0]]), jnp.array([0, 1])
        >>> weights = ridge_weights(points, labels, jnp.array([1.0]), num_classes=2)
        >>> weights.kernel.tolist(), weights.bias.tolist()
        ([[[-0.25, 0.25]]], [[0.5, 0.5]])
    """
    points, labels = check_points(points, labels, min_classes=1)
    check_num_classes(labels, num_classes)
    arrays = (jnp.asarray(values) for values in (points, labels, penalties))
    return _ridge_weights(*arrays, num_classes=num_classes)


@partial(jax.jit, static_argnames="num_classes")
def _ridge_weights(points: Any, labels: Any, penalties: Any, *, num_classes: int) -> RidgeWeights:
    with jax.default_matmul_precision("highest"):
        targets = _one_hot(jnp, labels, num_classes, points.dtype)
        factors = _factorise(jnp, points, targets)
        penalties = (penalties * factors.scale).astype(points.dtype)
        shrunk = factors.targets[None] / (factors.values[None] + penalties[:, None])[..., None]
        kernel = jnp.matmul(factors.basis[None], shrunk)
        bias = factors.bias[None] - jnp.matmul(factors.mean[None, None], kernel)[:, 0]
    return RidgeWeights(kernel, bias, penalties)


def ridge_predictions(
    points: Any, labels: Any, queries: Any, penalties: Any, *, num_classes: int
) -> Int[Array, "G M"]:
    """Return the class of the largest output for queries, for a grid of penalties.

    As `ridge_weights`, without the weights of the whole grid at once. Of equal outputs the smaller
    class wins; training points that are all equal have no weights, and class 0 is predicted. Pure.

    Args:
        points: `[N, D]`.
        labels: `[N]`, in 0 ... num_classes - 1.
        queries: `[M, D]`.
        penalties: `[G]`, positive, relative.
        num_classes: C; static.

    Raises:
        InvalidInputError: bad points or labels.

    Example:
        >>> points, labels = jnp.array([[-1.0], [1.0]]), jnp.array([0, 1])
        >>> queries = jnp.array([[-3.0], [0.5]])
        >>> ridge_predictions(points, labels, queries, jnp.array([1.0]), num_classes=2).tolist()
        [[0, 1]]
    """
    points, labels = check_points(points, labels, min_classes=1)
    check_num_classes(labels, num_classes)
    arrays = (jnp.asarray(values) for values in (points, labels, queries, penalties))
    return _ridge_predictions(*arrays, num_classes=num_classes)


@partial(jax.jit, static_argnames="num_classes")
def _ridge_predictions(
    points: Any, labels: Any, queries: Any, penalties: Any, *, num_classes: int
) -> Any:
    with jax.default_matmul_precision("highest"):
        targets = _one_hot(jnp, labels, num_classes, points.dtype)
        factors = _factorise(jnp, points, targets)
        along = (queries - factors.mean[None]) @ factors.basis

        def of_penalty(penalty: Any) -> Any:
            shrunk = factors.targets / (factors.values + penalty * factors.scale)[:, None]
            return jnp.argmax(along @ shrunk + factors.bias[None], axis=1)

        return jax.lax.map(of_penalty, penalties.astype(points.dtype))


def _predict_with_numpy(
    points: np.ndarray,
    labels: np.ndarray,
    queries: np.ndarray,
    penalties: Sequence[float],
    num_classes: int,
) -> np.ndarray:
    """Do as `ridge_predictions` in float64, which LAPACK does faster than XLA compiles."""
    points, queries = points.astype(np.float64), queries.astype(np.float64)
    factors = _factorise(np, points, _one_hot(np, labels, num_classes, np.float64))
    if factors.scale == 0:
        return np.zeros((len(penalties), queries.shape[0]), int)
    along = (queries - factors.mean[None]) @ factors.basis
    found = []
    for penalty in penalties:
        shrunk = factors.targets / (factors.values + penalty * factors.scale)[:, None]
        found.append(np.argmax(along @ shrunk + factors.bias[None], axis=1))
    return np.stack(found)


def ridge_probe(
    points: Any,
    labels: Any,
    test_points: Any,
    test_labels: Any,
    *,
    penalties: Sequence[float] = PENALTIES,
    folds: int = 5,
    used_folds: int | None = None,
    seed: int = 0,
) -> RidgeProbe:
    """Fit a ridge probe, its penalty chosen on held-out training examples, and test it.

    Each of the first `used_folds` stratified folds is predicted from the others; the penalty with
    the best mean accuracy is taken, the strongest of equals, and fitted to all training examples.
    `used_folds=1` is a single validation part. Accuracies are shares, higher is better; chance is
    the share of the largest class.

    Computed in float64 with NumPy, on the CPU.

    Args:
        points: training, `[N, D]`.
        labels: `[N]`, whole numbers from 0 on.
        test_points: `[M, D]`.
        test_labels: `[M]`; examples of classes that are not in `labels` count as wrong.
        penalties: `[G]`, positive, relative (see `ridge_weights`).
        folds: into how many parts the training examples are cut.
        used_folds: how many of them are predicted; all if None.
        seed: of the folds.

    Raises:
        InvalidInputError: bad points, labels, penalties or folds.

    Example:
        >>> points, labels = np.arange(12.0)[:, None], np.repeat([0, 1], 6)
        >>> probe = ridge_probe(points, labels, points, labels, folds=3)
        >>> probe.accuracy, probe.penalty, probe.predictions.tolist() == labels.tolist()
        (1.0, 10.0, True)
    """
    points, labels = _host(*check_points(points, labels))
    test_points, test_labels = _host(
        *check_points(test_points, test_labels, name="test_points", min_classes=1)
    )
    check_penalties(penalties)
    check_dimensions(points, test_points)
    parts = stratified_folds(labels, folds, seed=seed)
    classes, targets = np.unique(labels, return_inverse=True)
    count = classes.size
    rates = []
    for fold in range(folds if used_folds is None else min(used_folds, folds)):
        held = parts == fold
        found = _predict_with_numpy(points[~held], targets[~held], points[held], penalties, count)
        rates.append(np.mean(found == targets[held][None], axis=1))
    validation = np.mean(rates, axis=0)
    predictions = classes[_predict_with_numpy(points, targets, test_points, penalties, count)]
    accuracies = np.mean(predictions == test_labels[None], axis=1)
    chosen = strongest_of_best(validation, penalties)
    if not bool(varies(points)):
        accuracies, validation = np.full_like(accuracies, np.nan), np.full_like(validation, np.nan)
    return RidgeProbe(
        float(accuracies[chosen]),
        float(penalties[chosen]),
        accuracies,
        validation,
        predictions[chosen],
    )


def strongest_of_best(accuracies: np.ndarray, penalties: Sequence[float]) -> int:
    """Return the place of the best accuracy, of equals that of the largest penalty.

    Example:
        >>> strongest_of_best(np.array([0.5, 0.9, 0.9, 0.2]), [1.0, 2.0, 3.0, 4.0])
        2
    """
    return max(range(len(penalties)), key=lambda place: (accuracies[place], penalties[place]))


def check_penalties(penalties: Sequence[float]) -> None:
    """Refuse an empty grid and penalties that are not positive.

    Raises:
        InvalidInputError: naming the first such penalty.

    Example:
        >>> check_penalties([1.0, 0.1])
    """
    if not len(penalties):
        raise InvalidInputError("penalties: found none; at least one is needed.")
    for penalty in penalties:
        if not (np.isfinite(penalty) and penalty > 0):
            raise InvalidInputError(f"penalties: found {penalty}; they must be positive numbers.")


def _host(points: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
    return np.asarray(points), np.asarray(labels)
