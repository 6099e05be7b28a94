"""Theorems 4 and 5 of Zhang, Liu and Tao: what noisy gradient descent can learn about its sample.

Step t adds `N(0, s_t^2 I)` to each layer of d parameters after a move of `rate_t` times a gradient
whose mean square norm is M^2 (the paper writes `E ||g||^2 <= M` and uses M^2). All information in
nats.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from genjax.errors import InvalidInputError
from genjax.metrics.information.checks import (
    check_counts,
    check_delta,
    check_not_negative,
    check_positive,
)
from genjax.metrics.information.theorems import expected_gap_bound


class DescentInformation(NamedTuple):
    """Information of the steps of noisy gradient descent, per layer, the output layer last.

    Attributes:
        log_steps: `[T, L]`, `(d/2) log(1 + rate^2 M^2 / (d s^2))`.
        quadratic_steps: `[T, L]`, the larger `rate^2 M^2 / (2 s^2)`.
        reason: why a step is infinite, in words, or "finite".
    """

    log_steps: Float[np.ndarray, "T L"]
    quadratic_steps: Float[np.ndarray, "T L"]
    reason: str


class DescentBounds(NamedTuple):
    """Bounds of the gap after noisy gradient descent, all for the same record.

    Attributes:
        paper: Theorem 4 as printed, `eta^(L/2) sqrt((sigma^2 / n) sum_t rate^2 M^2 / s^2)` of the
            output layer alone. Not sound where the hidden layers are trained on the same sample:
            given their final weights the noise of the output layer is no longer `N(0, s^2 I)`.
        paper_log: the same with the smaller logarithm of each step.
        trajectory: `sqrt((sigma^2 / n) sum_t sum_layers rate^2 M^2 / s^2)` of all parameters, no
            contraction (Pensia, Jog and Loh, 2018): sound.
        trajectory_log: the same with the smaller logarithms: sound.
        reason: why a bound is infinite, in words, or "finite".
    """

    paper: float
    paper_log: float
    trajectory: float
    trajectory_log: float
    reason: str


def descent_information(
    rates: Any, second_moments: Any, noises: Any, dimensions: Any
) -> DescentInformation:
    """Return how much each step can tell about the sample, per layer.

    The noise has independent coordinates, so that the information of a step about all layers is at
    most the sum over layers, and that of the path at most the sum over steps. A step that does not
    move tells nothing; one that moves without noise tells infinitely much.

    Args:
        rates: learning rates `[T]` or `[T, L]`.
        second_moments: `E ||g||^2 = M^2` of the mean gradient of the batch, `[T]` or `[T, L]`.
        noises: standard deviations s of the noise of one coordinate, `[T]` or `[T, L]`.
        dimensions: number of parameters of each layer `[L]`, the output layer last.

    Raises:
        InvalidInputError: shapes that do not fit, or a value that is negative or not finite.

    Example:
        >>> found = descent_information([0.1], [1.0], [0.001], [1000])
        >>> round(float(found.log_steps[0, 0]), 2), round(float(found.quadratic_steps[0, 0]))
        (1198.95, 5000)
    """
    d = check_counts(dimensions, "dimensions")
    if d.ndim != 1 or not d.size:
        raise InvalidInputError(f"dimensions: found shape {d.shape}; [L] is needed.")
    arrays = [
        _per_layer(values, name, len(d))
        for name, values in (
            ("rates", rates),
            ("second_moments", second_moments),
            ("noises", noises),
        )
    ]
    steps = {len(values) for values in arrays}
    if len(steps) > 1:
        raise InvalidInputError(
            f"rates: found {[len(values) for values in arrays]} steps of rates, second moments "
            "and noises; they must be equally many."
        )
    rate, moment, noise = (np.broadcast_to(a, (len(a), len(d))) for a in arrays)
    signal = rate**2 * moment
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(signal == 0, 0.0, signal / noise**2)
    reason = "finite"
    if not np.isfinite(ratio).all():
        t, layer = np.argwhere(~np.isfinite(ratio))[0]
        reason = (
            f"infinite: step {t} moves layer {layer} without noise, so that it may tell everything "
            "about a continuous sample"
        )
    return DescentInformation(d / 2 * np.log1p(ratio / d), ratio / 2, reason)


def descent_bounds(
    information: DescentInformation,
    num_examples: int,
    *,
    sub_gaussian: float | int = 0.5,
    contraction_coefficient: float | int = 1.0,
    depth: int = 0,
) -> DescentBounds:
    """Return Theorem 4 as printed and its sound form over the whole path.

    Args:
        information: from `descent_information`.
        num_examples: n.
        sub_gaussian: sigma of the loss; 1/2 for a loss in [0, 1].
        contraction_coefficient: eta of the paper's form.
        depth: L of the paper's form.

    Raises:
        InvalidInputError: an argument is out of range.

    Example:
        >>> steps = descent_information([0.1] * 4, [1.0] * 4, [0.1] * 4, [50, 10])
        >>> found = descent_bounds(steps, 100)
        >>> round(found.paper, 4), round(found.trajectory, 4)
        (0.1, 0.1414)
    """
    conditions = {
        "sub_gaussian": sub_gaussian,
        "contraction_coefficient": contraction_coefficient,
        "depth": depth,
    }
    both = (information.quadratic_steps, information.log_steps)
    paper = [expected_gap_bound(s[:, -1].sum(), num_examples, **conditions) for s in both]
    sound = [expected_gap_bound(s.sum(), num_examples, sub_gaussian=sub_gaussian) for s in both]
    return DescentBounds(
        paper=float(paper[0]),
        paper_log=float(paper[1]),
        trajectory=float(sound[0]),
        trajectory_log=float(sound[1]),
        reason=information.reason,
    )


class Schedule(NamedTuple):
    """Rates and noises of Theorem 5.

    Attributes:
        rates: `C / t^2`, `[T]`.
        noises: `sqrt(C) / t`, standard deviations, `[T]`.
    """

    rates: Float[np.ndarray, " T"]
    noises: Float[np.ndarray, " T"]


def theorem_5_schedule(scale: float | int, steps: int) -> Schedule:
    """Return the schedule of Theorem 5 for t = 1 ... T, whose `sum rate^2 / noise^2` converges.

    Args:
        scale: C, positive.
        steps: T.

    Raises:
        InvalidInputError: an argument is out of range.

    Example:
        >>> theorem_5_schedule(0.25, 2).noises.tolist()
        [0.5, 0.25]
    """
    check_positive(scale, "scale")
    check_counts(steps, "steps")
    t = np.arange(1.0, steps + 1)
    return Schedule(scale / t**2, np.sqrt(scale) / t)


def theorem_5_bound(
    scale: Any, second_moment: Any, num_examples: Any, *, delta: Any = 1.0, **conditions: Any
) -> Any:
    """Return Theorem 5, `(1/delta) eta^(L/2) sqrt(C M^2 sigma^2 pi^2 / (6 n))`.

    Excess risk of an empirical risk minimiser with probability `1 - delta`, for any number of
    steps of `theorem_5_schedule`; in expectation at delta = 1. As printed: of the output layer
    alone, see `DescentBounds`. Its noise falls as 1/t and its rates as 1/t^2, so that the weights
    move by at most `C pi^2 / 6` times the gradient in all.

    Args:
        scale: C.
        second_moment: M^2.
        num_examples: n.
        delta: in (0, 1].
        **conditions: as for `genjax.metrics.information.theorems.expected_gap_bound`.

    Raises:
        InvalidInputError: an argument is out of range.

    Example:
        >>> round(float(theorem_5_bound(0.7, 1.69, 100)), 6)
        0.069749
    """
    scale = check_positive(scale, "scale")
    information = scale * check_not_negative(second_moment, "second_moment") * np.pi**2 / 12
    return expected_gap_bound(information, num_examples, **conditions) / check_delta(delta)


def _per_layer(values: Any, name: str, layers: int) -> Float[np.ndarray, "T columns"]:
    found = np.asarray(values, np.float64)
    if found.ndim == 1:
        found = found[:, None]
    if found.ndim != 2 or found.shape[1] not in (1, layers) or len(found) == 0:
        raise InvalidInputError(
            f"{name}: found shape {np.shape(values)}; [T] or [T, {layers}] is needed."
        )
    if not (np.isfinite(found).all() and found.min() >= 0):
        raise InvalidInputError(f"{name}: found values that are negative or not finite.")
    return found
