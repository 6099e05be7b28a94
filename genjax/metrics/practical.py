"""The practical generalization metric of Huang, Yu and Zhang (Sci Rep 15:9747, 2025).

Marginals and bounds (Eq 5) of a grid, the chance-corrected error, the redundancy of kappa with
error, and the Pareto front. The grid itself is in `practical_grid`, the trade-off point (Eq 4) in
`tradeoff`; both are re-exported here. Host arithmetic in float64.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float, Num
from numpy.polynomial import Polynomial

from genjax.errors import InvalidInputError
from genjax.metrics.kappa import multiclass_distance
from genjax.metrics.practical_grid import (
    AXES,
    STATISTICS,
    Axes,
    Grid,
    Statistics,
    check_axes,
    from_table,
    make_grid,
    statistics,
    to_table,
)
from genjax.metrics.tradeoff import (
    PAPER,
    TradeOff,
    TradeOffOptions,
    data_free_point,
    data_only_point,
    prior_share,
    sensitivity,
    spread,
    trade_off_point,
)

__all__ = [
    "AXES",
    "PAPER",
    "STATISTICS",
    "Axes",
    "Bounds",
    "Grid",
    "Redundancy",
    "Statistics",
    "TradeOff",
    "TradeOffOptions",
    "balanced_identity_gap",
    "bounds",
    "chance_corrected_error",
    "check_axes",
    "data_free_point",
    "data_only_point",
    "from_table",
    "generalization_and_diversity",
    "make_grid",
    "marginals",
    "pareto_front",
    "prior_share",
    "redundancy",
    "sensitivity",
    "spread",
    "statistics",
    "to_table",
    "trade_off_point",
]

Host = np.ndarray
DEGREE = 4
"""Degree of the polynomial that Eq 5 fits to a marginal; less where there are too few values."""


class Bounds(NamedTuple):
    """The two bounds of Eq 5, lower is better.

    Attributes:
        generalization: from the marginals of the mean error.
        diversity: from the marginals of the mean kappa distance.
    """

    generalization: float
    diversity: float


class Redundancy(NamedTuple):
    """How little the kappa distance says beyond the error.

    Attributes:
        correlation: Pearson correlation of mean error and mean kappa over cells; NaN if constant.
        max_gap: largest absolute difference between the two over cells.
        mean_gap: mean absolute difference.
    """

    correlation: float
    max_gap: float
    mean_gap: float


def marginals(grid: Grid) -> dict[str, dict[str, tuple[Host, Host]]]:
    """Average every statistic over the cells that share one coordinate, unweighted.

    Returns:
        Statistic -> axis -> (values of the axis [n], means [n]).

    Example:
        >>> import numpy as np
        >>> axes = Axes(np.array([1e3, 1e4]), np.array([0.6, 1.0]), np.array([0.0, 0.5]))
        >>> grid = make_grid(axes, Statistics(*[np.full((2, 2, 2), 0.25)] * 6))
        >>> marginals(grid)["error_mean"]["ssim"][1].tolist()
        [0.25, 0.25]
    """
    axes = dict(zip(AXES, grid[:3], strict=True))
    others = {"size": (-2, -1), "ssim": (-3, -1), "novel_share": (-3, -2)}
    return {
        name: {axis: (values, cells.mean(others[axis])) for axis, values in axes.items()}
        for name, cells in grid.statistics.items()
    }


def bounds(marginals: Mapping[str, Any], point: Mapping[str, Any]) -> float | Float[Host, "..."]:
    """Bound of Eq 5: what the fitted marginals of one statistic say at the trade-off point.

    `bound = (1/3) * sum over axes of q_axis(point_axis)`, q_axis the least-squares polynomial of
    degree min(4, n - 1) through the marginal of the axis with n values; size enters as its natural
    logarithm. With n <= 5 values the polynomial passes through every one. (Eq 5 is reconstructed:
    it reproduces the published bounds.)

    Args:
        marginals: `{"size": (values, means), "ssim": ..., "novel_share": ...}`; values `[n]`,
            means `[..., n]`. Sizes may have any unit, the same as in `point`.
        point: `{"size": ..., "ssim": ..., "novel_share": ...}`, inside the range of the values.

    Returns:
        The bound, a float, or an array `[...]` if the means have leading axes.

    Raises:
        InvalidInputError: a key is missing or unknown, lengths differ, a value repeats or is not
            finite, a size is not positive, or the point lies outside the values (a quartic
            says nothing there).

    Example:
        >>> line = {"ssim": ([0.6, 1.0], [0.4, 0.2]), "novel_share": ([0.0, 0.5], [0.3, 0.3])}
        >>> line["size"] = ([1.0, 100.0], [0.2, 0.4])
        >>> round(bounds(line, {"size": 10.0, "ssim": 0.8, "novel_share": 0.1}), 6)
        0.3
    """
    for name, given in (("marginals", marginals), ("point", point)):
        if set(given) != set(AXES):
            raise InvalidInputError(
                f"{name}: found the keys {sorted(str(key) for key in given)}; "
                f"{', '.join(AXES)} are needed."
            )
    fitted = [_fit_at(axis, marginals[axis], point[axis]) for axis in AXES]
    bound = sum(np.broadcast_arrays(*fitted)) / len(AXES)
    return float(bound) if np.ndim(bound) == 0 else bound


def generalization_and_diversity(grid: Grid, point: Mapping[str, Any] | TradeOff) -> Bounds:
    """Compute both bounds of Eq 5 at a point: of the mean error and of the mean kappa distance.

    Args:
        grid: the grid.
        point: a mapping as in `bounds`, or a trade-off point.

    Example:
        >>> import numpy as np
        >>> axes = Axes(np.array([1e3, 1e4]), np.array([0.6, 1.0]), np.array([0.0, 0.5]))
        >>> grid = make_grid(axes, Statistics(*[np.full((2, 2, 2), 0.25)] * 6))
        >>> round(generalization_and_diversity(grid, trade_off_point(grid)).generalization, 6)
        0.25
    """
    if isinstance(point, TradeOff):
        point = point.coordinates()
    means = marginals(grid)
    return Bounds(
        float(bounds(means["error_mean"], point)), float(bounds(means["kappa_mean"], point))
    )


def chance_corrected_error(error: Any, num_labels: Any) -> float | Float[Host, "..."]:
    """Error in units of guessing: `error * C / (C - 1)`; 0 is perfect, 1 is guessing.

    It makes cells with different numbers of labels comparable: with a growing label space the
    error rises with the share of novel classes even if the network gets no worse.

    Args:
        error: error rates, any shape.
        num_labels: number C of labels to choose from, at least 2; broadcasts with `error`.

    Raises:
        InvalidInputError: there are fewer than two labels.

    Example:
        >>> chance_corrected_error(0.45, 10)
        0.5
    """
    labels = np.asarray(num_labels, np.float64)
    if not (labels >= 2).all():
        raise InvalidInputError(f"num_labels: found {labels.min():g}; at least 2 are needed.")
    corrected = np.asarray(error, np.float64) * (labels / (labels - 1))
    return float(corrected) if corrected.ndim == 0 else corrected


def redundancy(grid: Grid) -> Redundancy:
    """Correlate mean error and mean kappa distance over all cells, and give their largest gap.

    Example:
        >>> import numpy as np
        >>> axes = Axes(np.array([1e3, 1e4]), np.array([0.6, 1.0]), np.array([0.0, 0.5]))
        >>> cells = np.linspace(0.1, 0.8, 8).reshape(2, 2, 2)
        >>> round(redundancy(make_grid(axes, Statistics(*[cells] * 6))).correlation, 6)
        1.0
    """
    error = grid.statistics["error_mean"].ravel()
    kappa = grid.statistics["kappa_mean"].ravel()
    varies = error.size > 1 and np.ptp(error) > 0 and np.ptp(kappa) > 0
    gap = np.abs(error - kappa)
    correlation = float(np.corrcoef(error, kappa)[0, 1]) if varies else float("nan")
    return Redundancy(correlation, float(gap.max()), float(gap.mean()))


def balanced_identity_gap(counts: Num[Array | Host, "..."]) -> float:
    """Largest `|multiclass K - error * C / (C - 1)|` over confusions.

    C is the number of classes with examples. On a balanced test set whose predictions name only
    these classes the gap is zero: the multiclass kappa distance *is* the chance-corrected error.

    Args:
        counts: confusion counts `[..., C, C]`, each with at least two classes that have examples.

    Raises:
        InvalidInputError: not square, or fewer than two classes have examples.

    Example:
        >>> import numpy as np
        >>> balanced_identity_gap(np.array([[4, 1], [3, 2]])) < 1e-6
        True
    """
    distance = np.asarray(multiclass_distance(counts), np.float64)
    exact = np.asarray(counts, np.float64)
    truth = exact.sum(-1)
    error = 1 - np.trace(exact, axis1=-2, axis2=-1) / truth.sum(-1)
    return float(np.abs(distance - chance_corrected_error(error, (truth > 0).sum(-1))).max())


def pareto_front(grid: Grid) -> Bool[Host, "size level share"]:
    """Mark the cells that no other cell beats in everything that one may want.

    Wanted are a low mean error, a low SSIM (withstood), a high share of novel classes and a small
    size. A cell is beaten by another that is at least as good in all four and better in one.

    Returns:
        Boolean `[S, L, Z]`, true on the front.

    Example:
        >>> import numpy as np
        >>> axes = Axes(np.array([1e3, 1e4]), np.array([0.6, 1.0]), np.array([0.0, 0.5]))
        >>> grid = make_grid(axes, Statistics(*[np.full((2, 2, 2), 0.25)] * 6))
        >>> int(pareto_front(grid).sum())  # equal errors: only the smallest, hardest cell is left
        1
    """
    size, ssim, share = np.meshgrid(*grid[:3], indexing="ij")
    error = grid.statistics["error_mean"]
    costs = np.stack([error, ssim, -share, size], axis=-1).reshape(-1, 4)
    front = np.empty(len(costs), bool)
    for index, cost in enumerate(costs):
        front[index] = not ((costs <= cost).all(1) & (costs < cost).any(1)).any()
    return front.reshape(error.shape)


def _fit_at(axis: str, marginal: Any, at: Any) -> Float[Host, "..."]:
    """Value of the polynomial fitted to one marginal, at one coordinate."""
    values, means = _check_marginal(axis, marginal)
    try:
        coordinate = float(at)
    except (TypeError, ValueError):
        raise InvalidInputError(f"point: {axis} is {at!r}; a number is needed.") from None
    slack = 1e-9 * np.ptp(values)  # an optimum on the edge may miss it by a rounding
    if not values.min() - slack <= coordinate <= values.max() + slack:
        raise InvalidInputError(
            f"point: {axis} is {coordinate:g}; the marginal covers {values.min():g} to "
            f"{values.max():g} only."
        )
    if axis == "size":
        values, coordinate = np.log(values), np.log(coordinate)
    degree = min(DEGREE, len(values) - 1)
    rows = means.reshape(-1, len(values))
    if degree == 0:
        fitted = rows[:, 0]
    else:
        # `fit` maps the axis to [-1, 1]: the quartic stays well conditioned for any unit.
        fitted = np.array([Polynomial.fit(values, row, degree)(coordinate) for row in rows])
    return fitted.reshape(means.shape[:-1])


def _check_marginal(axis: str, marginal: Any) -> tuple[Host, Host]:
    try:
        values, means = (np.asarray(part, np.float64) for part in marginal)
    except (TypeError, ValueError):
        raise InvalidInputError(
            f"marginals: {axis} must be a pair (values, means) of numbers."
        ) from None
    if values.ndim != 1 or means.ndim < 1 or values.size == 0 or means.shape[-1] != values.size:
        raise InvalidInputError(
            f"marginals: {axis} has values of shape {values.shape} and means of shape "
            f"{means.shape}; [n] and [..., n] are needed."
        )
    if not (np.isfinite(values).all() and np.isfinite(means).all()):
        raise InvalidInputError(f"marginals: {axis} holds a number that is not finite.")
    if axis == "size" and (values <= 0).any():
        raise InvalidInputError(f"marginals: size holds {values.min():g}; sizes are positive.")
    if len(np.unique(values)) != len(values):
        raise InvalidInputError(f"marginals: {axis} holds a value twice.")
    return values, means
