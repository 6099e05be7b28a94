"""The logistic probe: multinomial logistic regression on frozen embeddings, penalty validated.

Minimises `(1/N) sum_n CE(W z_n + b, y_n) + (penalty / 2) ||W||_F^2` in nats over standardised
points z, bias unpenalised: scikit-learn's `LogisticRegression` with `C = 1 / (penalty N)`. scipy's
L-BFGS runs in the eigenbasis of the points, where the Hessian at the start is nearly the identity:
less than half of the steps that raw coordinates take. Along a grid every penalty starts from the
solution of the next stronger one. Products are NumPy's, in the precision of the points.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.optimize
from jaxtyping import Float, Int

from genjax.errors import InvalidInputError
from genjax.metrics.layers.checks import check_points
from genjax.metrics.layers.class_means import check_dimensions, varies
from genjax.metrics.layers.folds import stratified_folds
from genjax.metrics.layers.ridge_probe import check_penalties, strongest_of_best

PENALTIES = (1e-1, 1e-2, 1e-3, 1e-4)
"""Grid of penalties on the mean loss; weaker ones take longer."""
_TOLERANCE = 3e-4
_STEPS = 500
_MEMORY = 10


class LogisticFit(NamedTuple):
    """A fitted logistic regression, for raw points.

    Attributes:
        kernel: `[C, D]`.
        bias: `[C]`, summing to 0.
        classes: labels in the order of the rows, `[C]`.
        gradient_norm: largest absolute entry of the gradient of the objective, with respect to
            the weights of standardised points and the bias.
        steps: of L-BFGS.
        loss: value of the objective, in nats.
    """

    kernel: Float[np.ndarray, "C D"]
    bias: Float[np.ndarray, " C"]
    classes: Int[np.ndarray, " C"]
    gradient_norm: float
    steps: int
    loss: float

    def predict(self, points: Any) -> Int[np.ndarray, " M"]:
        """Return the class of the largest logit; of equals the smaller class."""
        return self.classes[np.argmax(np.asarray(points) @ self.kernel.T + self.bias, axis=1)]


class LogisticProbe(NamedTuple):
    """What a logistic probe says about a layer.

    Attributes:
        accuracy: of the test examples with the chosen penalty; NaN where the training points are
            all equal.
        penalty: chosen: the strongest of those with the best validation accuracy.
        validation_accuracies: mean over the folds used, with every penalty, in the order given.
        predictions: of the test examples.
        gradient_norm: of the final fit, see `LogisticFit`.
        steps: of L-BFGS, over all fits.
    """

    accuracy: float
    penalty: float
    validation_accuracies: Float[np.ndarray, " G"]
    predictions: Int[np.ndarray, " M"]
    gradient_norm: float
    steps: int


class CrossValidated(NamedTuple):
    """Accuracy over folds.

    Attributes:
        mean: over the folds.
        deviation: standard deviation over the folds (ddof 0).
        accuracies: of every fold.
    """

    mean: float
    deviation: float
    accuracies: Float[np.ndarray, " K"]


class _Problem(NamedTuple):
    """Standardised training points in their eigenbasis.

    Attributes:
        points: `[N, R]`.
        targets: places of the labels in `classes`, `[N]`.
        classes: `[C]`.
        mean: of the raw points.
        deviation: of the raw points, 1 where they do not vary.
        basis: `[D, R]`, or None where the coordinates are the raw ones.
        variances: along the basis, `[R]`.
    """

    points: np.ndarray
    targets: np.ndarray
    classes: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    basis: np.ndarray | None
    variances: np.ndarray


def _problem(points: np.ndarray, labels: np.ndarray) -> _Problem:
    classes, targets = np.unique(labels, return_inverse=True)
    mean = points.mean(axis=0, dtype=np.float64).astype(points.dtype)
    centred = points - mean
    deviation = np.sqrt(np.mean(np.square(centred), axis=0, dtype=np.float64)).astype(points.dtype)
    # What varies by rounding alone would be blown up to a feature.
    rounding = 16 * np.finfo(points.dtype).eps * np.max(np.abs(points), axis=0)
    deviation = np.where(deviation > rounding, deviation, 1)
    centred /= deviation
    total, dimensions = points.shape
    if dimensions > total:
        basis, variances = None, np.ones(dimensions, points.dtype)
    else:
        variances, basis = np.linalg.eigh(centred.T @ centred / total)
        variances, centred = np.maximum(variances, 0), centred @ basis
    return _Problem(centred, targets, classes, mean, deviation, basis, variances)


class _Objective:
    """Loss and gradient in scaled coordinates: weights are `scale * coordinates`."""

    def __init__(self, problem: _Problem, penalty: float, scale: np.ndarray, bias_scale: float):
        self.problem, self.penalty = problem, penalty
        self.scale, self.bias_scale = scale, bias_scale
        self.rows = np.arange(problem.targets.size)
        self.gradient = np.empty(0)

    def weights(self, coordinates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return kernel `[R, C]` and bias `[C]`."""
        both = coordinates.reshape(self.scale.size + 1, -1).astype(self.scale.dtype)
        return both[:-1] * self.scale[:, None], both[-1] * self.bias_scale

    def coordinates(self, kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
        """Invert `weights`."""
        both = [kernel / self.scale[:, None], bias[None] / self.bias_scale]
        return np.concatenate(both).ravel().astype(np.float64)

    def __call__(self, coordinates: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the loss and its gradient by the coordinates."""
        kernel, bias = self.weights(coordinates)
        points, targets = self.problem.points, self.problem.targets
        logits = points @ kernel
        logits += bias
        logits -= logits.max(axis=1, keepdims=True)
        right = logits[self.rows, targets].copy()
        np.exp(logits, out=logits)
        sums = logits.sum(axis=1)
        loss = np.mean(np.log(sums, dtype=np.float64) - right)
        loss += 0.5 * self.penalty * np.sum(np.square(kernel), dtype=np.float64)
        logits /= sums[:, None]
        logits[self.rows, targets] -= 1
        logits /= targets.size
        by_kernel = points.T @ logits
        by_kernel += self.penalty * kernel
        by_bias = logits.sum(axis=0)
        self.gradient = np.concatenate([by_kernel, by_bias[None]])
        by_kernel *= self.scale[:, None]
        scaled = np.concatenate([by_kernel, by_bias[None] * self.bias_scale])
        return float(loss), scaled.ravel().astype(np.float64)


class _State(NamedTuple):
    """Weights in the basis of a problem, and how they were reached."""

    kernel: np.ndarray
    bias: np.ndarray
    gradient_norm: float
    steps: int
    loss: float


def _start(problem: _Problem) -> _State:
    """Return weights of 0 and the bias that gives the frequencies of the classes."""
    count, dtype = problem.classes.size, problem.points.dtype
    bias = np.log(np.bincount(problem.targets, minlength=count)).astype(dtype)
    kernel = np.zeros((problem.points.shape[1], count), dtype)
    return _State(kernel, bias - bias.mean(), np.inf, 0, np.inf)


def _curvature(problem: _Problem, state: _State) -> float:
    """Return the mean of `p (1 - p)` over examples and classes: how the Hessian scales now."""
    logits = problem.points @ state.kernel + state.bias
    logits = np.exp(logits - logits.max(axis=1, keepdims=True))
    logits /= logits.sum(axis=1, keepdims=True)
    return float(np.mean(logits * (1 - logits)))


def _minimise(
    problem: _Problem, penalty: float, state: _State, tolerance: float, most_steps: int
) -> _State:
    curvature = max(_curvature(problem, state), 1e-6)
    scale = 1 / np.sqrt(curvature * problem.variances + penalty)
    objective = _Objective(
        problem, penalty, scale.astype(problem.points.dtype), 1 / np.sqrt(curvature)
    )
    found = scipy.optimize.minimize(
        objective,
        objective.coordinates(state.kernel, state.bias),
        method="L-BFGS-B",
        jac=True,
        options={"maxcor": _MEMORY, "gtol": tolerance, "ftol": 0.0, "maxiter": most_steps},
    )
    loss, _ = objective(found.x)  # also the gradient at the solution, not at the last trial
    kernel, bias = objective.weights(found.x)
    gradient = objective.gradient
    if problem.basis is not None:
        gradient = np.concatenate([problem.basis @ gradient[:-1], gradient[-1:]])
    return _State(kernel, bias, float(np.max(np.abs(gradient))), int(found.nit), loss)


def _path(
    problem: _Problem, penalties: Iterable[float], tolerance: float, most_steps: int
) -> dict[float, _State]:
    """Return the solution of every penalty, each started from that of the next stronger."""
    states, state = {}, _start(problem)
    for penalty in sorted(penalties, reverse=True):
        states[penalty] = state = _minimise(problem, penalty, state, tolerance, most_steps)
    return states


def _fit_of(problem: _Problem, state: _State) -> LogisticFit:
    kernel = state.kernel if problem.basis is None else problem.basis @ state.kernel
    kernel = (kernel / problem.deviation[:, None]).T
    bias = state.bias - state.bias.mean() - kernel @ problem.mean
    bias = bias - bias.mean()
    return LogisticFit(kernel, bias, problem.classes, state.gradient_norm, state.steps, state.loss)


def fit_logistic(
    points: Any,
    labels: Any,
    *,
    penalty: float,
    tolerance: float = 1e-5,
    most_steps: int = 5000,
) -> LogisticFit:
    """Fit a multinomial logistic regression to standardised points.

    Args:
        points: `[N, D]`; float64 for tolerances below about 1e-5.
        labels: `[N]`, whole numbers from 0 on.
        penalty: on the mean loss, positive; scikit-learn's `C = 1 / (penalty N)`.
        tolerance: largest entry of the gradient by coordinates in which the Hessian is about the
            identity, at which the fit ends.
        most_steps: of L-BFGS.

    Raises:
        InvalidInputError: bad points, labels or penalty.

    Example:
        >>> points, labels = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([4, 4, 7, 7])
        >>> fit = fit_logistic(points, labels, penalty=0.1)
        >>> fit.predict(points).tolist(), fit.gradient_norm < 1e-4
        ([4, 4, 7, 7], True)
    """
    points, labels = check_points(points, labels)
    check_penalties([penalty])
    problem = _problem(np.asarray(points), np.asarray(labels))
    return _fit_of(problem, _minimise(problem, penalty, _start(problem), tolerance, most_steps))


def logistic_probe(
    points: Any,
    labels: Any,
    test_points: Any,
    test_labels: Any,
    *,
    penalties: Sequence[float] = PENALTIES,
    folds: int = 5,
    used_folds: int | None = 1,
    seed: int = 0,
    tolerance: float = _TOLERANCE,
    most_steps: int = _STEPS,
) -> LogisticProbe:
    """Fit a logistic probe, its penalty chosen on held-out training examples, and test it.

    Each of the first `used_folds` stratified folds is predicted from the others along the grid,
    from strong to weak; the penalty with the best mean accuracy is taken, the strongest of equals,
    and fitted to all training examples, from the solution of the last fold. Accuracies are shares,
    higher is better; chance is the share of the largest class.

    Args:
        points: training, `[N, D]`.
        labels: `[N]`, whole numbers from 0 on.
        test_points: `[M, D]`.
        test_labels: `[M]`; examples of classes that are not in `labels` count as wrong.
        penalties: `[G]`, positive, on the mean loss.
        folds: into how many parts the training examples are cut.
        used_folds: how many of them are predicted; all if None.
        seed: of the folds.
        tolerance: of every fit, see `fit_logistic`.
        most_steps: of L-BFGS, for every fit.

    Raises:
        InvalidInputError: bad points, labels, penalties or folds.

    Example:
        >>> points, labels = np.arange(12.0)[:, None], np.repeat([0, 1], 6)
        >>> probe = logistic_probe(points, labels, points, labels, folds=3)
        >>> probe.accuracy, probe.penalty
        (1.0, 0.1)
    """
    points, labels = check_points(points, labels)
    test_points, test_labels = check_points(
        test_points, test_labels, name="test_points", min_classes=1
    )
    points, labels = np.asarray(points), np.asarray(labels)
    test_points, test_labels = np.asarray(test_points), np.asarray(test_labels)
    check_penalties(penalties)
    check_dimensions(points, test_points)
    parts = stratified_folds(labels, folds, seed=seed)
    rates, steps, fits = [], 0, {}
    for fold in range(folds if used_folds is None else min(used_folds, folds)):
        held = parts == fold
        problem = _problem(points[~held], labels[~held])
        states = _path(problem, penalties, tolerance, most_steps)
        fits = {penalty: _fit_of(problem, states[penalty]) for penalty in penalties}
        found = [fits[penalty].predict(points[held]) == labels[held] for penalty in penalties]
        rates.append(np.mean(found, axis=1))
        steps += sum(state.steps for state in states.values())
    validation = np.mean(rates, axis=0)
    penalty = penalties[strongest_of_best(validation, penalties)]
    problem = _problem(points, labels)
    state = _minimise(problem, penalty, _moved(problem, fits[penalty]), tolerance, most_steps)
    predictions = _fit_of(problem, state).predict(test_points)
    accuracy = float(np.mean(predictions == test_labels))
    if not bool(varies(points)):
        accuracy, validation = float("nan"), np.full_like(validation, np.nan)
    return LogisticProbe(
        accuracy, float(penalty), validation, predictions, state.gradient_norm, steps + state.steps
    )


def _moved(problem: _Problem, fit: LogisticFit) -> _State:
    """Return a fit to other examples of the same classes as a start for this problem."""
    bias = fit.bias + fit.kernel @ problem.mean
    kernel = fit.kernel.T * problem.deviation[:, None]
    if problem.basis is not None:
        kernel = problem.basis.T @ kernel
    return _State(kernel, bias, np.inf, 0, np.inf)


def cross_validated_accuracy(
    points: Any,
    labels: Any,
    *,
    inverse_penalty: float = 0.01,
    folds: int = 5,
    seed: int | None = None,
    tolerance: float = _TOLERANCE,
) -> CrossValidated:
    """Return the accuracy of a logistic probe with a fixed penalty over stratified folds.

    By default what scikit-learn's `cross_val_score(make_pipeline(StandardScaler(),
    LogisticRegression(C=0.01)), points, labels, cv=5)` returns. Shares, higher is better; chance
    is the share of the largest class. NaN for points that are all equal.

    Args:
        points: `[N, D]`.
        labels: `[N]`, whole numbers from 0 on.
        inverse_penalty: scikit-learn's C; the penalty on the mean loss is 1 over C times the
            number of training examples.
        folds: how many.
        seed: of the folds; None takes the examples of a class in their order.
        tolerance: see `fit_logistic`.

    Raises:
        InvalidInputError: bad points, labels, inverse_penalty or folds.

    Example:
        >>> points, labels = np.eye(2).repeat(6, axis=0), np.repeat([0, 1], 6)
        >>> cross_validated_accuracy(points, labels, folds=3).mean
        1.0
    """
    points, labels = check_points(points, labels)
    points, labels = np.asarray(points), np.asarray(labels)
    if not (np.isfinite(inverse_penalty) and inverse_penalty > 0):
        raise InvalidInputError(
            f"inverse_penalty: found {inverse_penalty}; a positive number is needed."
        )
    parts = stratified_folds(labels, folds, seed=seed)
    rates = []
    for held in (parts == fold for fold in range(folds)):
        penalty = 1 / (inverse_penalty * int(np.sum(~held)))
        fit = fit_logistic(points[~held], labels[~held], penalty=penalty, tolerance=tolerance)
        rates.append(np.mean(fit.predict(points[held]) == labels[held]))
    rates = np.asarray(rates) if bool(varies(points)) else np.full(folds, np.nan)
    return CrossValidated(float(rates.mean()), float(rates.std()), rates)
