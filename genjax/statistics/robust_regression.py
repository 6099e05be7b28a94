"""Affine regression with the smallest worst-environment error. Host float64."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from genjax.errors import InvalidInputError
from genjax.statistics.networks import MeasuredNetworks, complete_columns

Host = np.ndarray
STEPS = 64  # halvings: from the width of the bracket to the last bit
TIED = 1e-9  # relative; environments whose errors are equal up to rounding share the maximum


class RobustFits(NamedTuple):
    """The affine fit of every measure, and what a constant reaches on the same networks.

    Attributes:
        slope: at least 0; NaN for a measure without values.
        intercept: in the target's unit.
        robust_rmse: square root of the largest mean squared error of any environment.
        worst_environment: number of that environment; the first if several share the maximum,
            as at most optima they do; -1 for a measure without values.
        bias_only_rmse: the same with slope 0 and the best intercept.
        bias_only_intercept: that intercept.
        bias_only_worst: the worst environment of the constant.
    """

    slope: Float[Host, " measure"]
    intercept: Float[Host, " measure"]
    robust_rmse: Float[Host, " measure"]
    worst_environment: Int[Host, " measure"]
    bias_only_rmse: Float[Host, " measure"]
    bias_only_intercept: Float[Host, " measure"]
    bias_only_worst: Int[Host, " measure"]


class _Moments(NamedTuple):
    """Of standardised measures and target in every environment [M, E]."""

    x: Host  # mean of the measure
    y: Host  # mean of the target
    xx: Host  # variance of the measure
    xy: Host  # covariance
    yy: Host  # variance of the target


def level_environments(
    networks: MeasuredNetworks,
) -> tuple[Bool[Host, "environment network"], Int[Host, "environment 2"]]:
    """Take the networks of one value of one hyper-parameter as an environment, for all of them.

    Returns:
        Which networks each environment holds, and its hyper-parameter and value (both codes).
        Without a hyper-parameter that varies, one environment of all networks, named (-1, -1).

    Example:
        >>> import numpy as np
        >>> from genjax.statistics.networks import from_arrays
        >>> levels = np.array([[0, 0], [1, 0], [1, 0]])
        >>> networks = from_arrays(np.zeros((3, 1)), np.arange(3.0), levels)
        >>> members, names = level_environments(networks)
        >>> members.astype(int).tolist(), names.tolist()
        ([[1, 0, 0], [0, 1, 1]], [[0, 0], [0, 1]])
    """
    members, names = [], []
    for hyper in range(networks.levels.shape[1]):
        values = np.unique(networks.levels[:, hyper])
        for value in values if len(values) > 1 else []:
            members.append(networks.levels[:, hyper] == value)
            names.append((hyper, int(value)))
    if not members:
        members, names = [np.ones(len(networks.target), bool)], [(-1, -1)]
    return np.array(members), np.array(names)


def robust_regression(
    measures: Float[Host, "network measure"],
    target: Float[Host, " network"],
    environments: Bool[Host, "environment member"] | Sequence[Int[Host, " _"]],
) -> RobustFits:
    """Fit target = slope * measure + intercept with the smallest worst-environment error.

    min over slope >= 0 and intercept of max_e MSE_e: how Dziugaite et al. (2020) test a measure on
    single networks. Networks without a value of a measure are left out for that measure, and
    environments without any other do not count.

    Only the moments of the environments enter: each MSE is a convex quadratic of slope and
    intercept. For a given slope all have the same curvature in the intercept, so that the best
    intercept follows by halving an interval according to the mean residual of the worst
    environment; the two environments that meet there give the derivative with respect to the slope,
    which is halved in likewise. By hand, because this solves all measures at once; a solver
    (scipy's SLSQP on the epigraph) takes one call per measure and finds the same to 1e-15.

    Args:
        measures: of any scale; each is standardised.
        target: finite.
        environments: which networks each holds, or a list of their indices; at least one, none
            empty, and a network may be in several.

    Raises:
        InvalidInputError: shapes do not fit, an index is out of range, there is no environment, one
            is empty, or the target is not finite.

    References:
        Dziugaite et al., In search of robust measures of generalization, NeurIPS (2020).

    Example:
        >>> import numpy as np
        >>> measure = np.array([[0.0], [1.0], [2.0], [3.0]])
        >>> groups = [np.array([0, 1]), np.array([2, 3])]
        >>> fits = robust_regression(measure, 2 * measure[:, 0] + 1, groups)
        >>> [float(part[0].round(6)) for part in (fits.slope, fits.intercept, fits.bias_only_rmse)]
        [2.0, 1.0, 2.236068]
    """
    if not np.isfinite(target).all():
        raise InvalidInputError("target: found NaN or infinity; every network needs a value.")
    groups = _indices(environments, len(target))
    count = measures.shape[1]
    floats, places = np.full((5, count), np.nan), np.full((2, count), -1)
    for rows, columns in complete_columns(measures):
        numbers = [k for k, group in enumerate(groups) if rows[group].any()]
        if numbers:
            members = [groups[k][rows[groups[k]]] for k in numbers]
            found, worst = _fits(measures[:, columns], target, members)
            floats[:, columns], places[:, columns] = found, np.array(numbers)[worst]
    slope, intercept, rmse, bias_rmse, bias = floats
    return RobustFits(slope, intercept, rmse, places[0], bias_rmse, bias, places[1])


def _indices(environments: Host | Sequence[Host], networks: int) -> list[Host]:
    if isinstance(environments, np.ndarray):
        if environments.ndim != 2 or environments.shape[1] != networks:
            raise InvalidInputError(
                f"environments: found shape {environments.shape}; one column for each of the "
                f"{networks} networks is needed."
            )
        groups = [np.flatnonzero(row) for row in environments]
    else:
        groups = [np.asarray(group) for group in environments]
    if not groups:
        raise InvalidInputError("environments: found none; at least one is needed.")
    for number, group in enumerate(groups):
        if not len(group):
            raise InvalidInputError(f"environments: number {number} is empty; each needs networks.")
        outside = group[(group < 0) | (group >= networks)]
        if len(outside):
            raise InvalidInputError(
                f"environments: number {number} has network {outside[0]}; they are numbered 0 to "
                f"{networks - 1}."
            )
    return groups


def _fits(measures: Host, target: Host, members: list[Host]) -> tuple[Host, Host]:
    """Slope, intercept, error, error and intercept of the constant [5, M]; worst ones [2, M]."""
    used = np.unique(np.concatenate(members))
    members = [np.searchsorted(used, group) for group in members]
    x, x_centre, x_scale = _standardise(measures[used])
    y, y_centre, y_scale = _standardise(target[used, None])
    moments = _moments(x, y, members)
    slope = _slope(moments)
    intercept, bias = _intercept(moments, slope)[0], _intercept(moments, 0 * slope)[0]
    rmse, worst = _worst(y - slope * x - intercept, members)
    bias_rmse, bias_worst = _worst(y - bias, members)
    with np.errstate(over="ignore"):  # a measure may be so small that its slope is infinite
        slopes = slope * y_scale / x_scale
    intercepts = y_centre + y_scale * (intercept - slope * (x_centre / x_scale))
    constants = y_centre + y_scale * bias
    found = [slopes, intercepts, rmse * y_scale, bias_rmse * y_scale, constants]
    return np.stack(found), np.stack([worst, bias_worst])


def _standardise(values: Host) -> tuple[Host, Host, Host]:
    """Values with mean 0 and deviation 1, and the mean and deviation; 0 and 1 where constant."""
    size = np.abs(values).max(0)  # first, so that no square overflows
    size = np.where(size > 0, size, 1.0)
    values = values / size
    centre = values.mean(0)
    scale = np.where(values.max(0) > values.min(0), values.std(0), np.nan)
    standard = np.where(np.isnan(scale), 0.0, (values - centre) / scale)
    return standard, centre * size, np.where(np.isnan(scale), 1.0, scale * size)


def _moments(x: Host, y: Host, members: list[Host]) -> _Moments:
    parts = []
    for group in members:
        x_mean, y_mean = x[group].mean(0), y[group].mean(0)
        x_left, y_left = x[group] - x_mean, y[group] - y_mean
        products = (x_left**2).mean(0), (x_left * y_left).mean(0), (y_left**2).mean(0)
        parts.append(np.stack(np.broadcast_arrays(x_mean, y_mean, *products)))
    return _Moments(*np.stack(parts, axis=-1))


def _slope(moments: _Moments) -> Host:
    """Slope at least 0 with the smallest largest error: halve by the sign of the derivative."""
    low, high = np.zeros(len(moments.x)), _steepest(moments)
    flat = _derivative(moments, low) >= 0
    for _ in range(STEPS):
        middle = (low + high) / 2
        up = _derivative(moments, middle) < 0
        low, high = np.where(up, middle, low), np.where(up, high, middle)
    return np.where(flat, 0.0, (low + high) / 2)


def _steepest(moments: _Moments) -> Host:
    """A slope that the best one cannot exceed, because a constant then has smaller errors.

    With B the error of the best constant, no environment's residuals may spread by more than
    sqrt(B), and no two environments' mean residuals may differ by more than 2 sqrt(B).
    """
    none = np.zeros(len(moments.x))
    constant, *_ = _intercept(moments, none)
    error = np.sqrt(_errors(moments, none, constant).max(1))[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        within = (np.sqrt(moments.yy) + error) / np.sqrt(moments.xx)
        rows, ends = np.arange(len(none)), (moments.x.argmax(1), moments.x.argmin(1))
        x_gap, y_gap = (part[rows, ends[0]] - part[rows, ends[1]] for part in moments[:2])
        between = (np.abs(y_gap) + 2 * error[:, 0]) / x_gap
    bounds = np.concatenate([within, between[:, None]], axis=1)
    bounds = np.where(np.isfinite(bounds), bounds, np.inf).min(1)
    return np.where(np.isfinite(bounds), bounds, 0.0)  # infinite only for a constant measure


def _derivative(moments: _Moments, slope: Host) -> Host:
    """Derivative of the smallest largest error with respect to the slope.

    The convex combination of the derivatives of the two worst environments that cancels those with
    respect to the intercept.
    """
    intercept, above, below = _intercept(moments, slope)
    rows = np.arange(len(slope))
    gaps, slopes = [], []
    for worst in (above, below):
        x, y, xx, xy, _ = (part[rows, worst] for part in moments)
        gap = y - slope * x - intercept
        gaps.append(np.abs(gap))
        slopes.append(slope * xx - xy - x * gap)
    total = gaps[0] + gaps[1]
    share = np.where(total > 0, gaps[1] / np.where(total > 0, total, 1.0), 0.5)
    return share * slopes[0] + (1 - share) * slopes[1]


def _intercept(moments: _Moments, slope: Host) -> tuple[Host, Host, Host]:
    """Best intercept for given slopes, and the environments that are worst just below and above."""
    rows = np.arange(len(slope))
    means = moments.y - slope[:, None] * moments.x
    low, high = means.min(1), means.max(1)
    above = _errors(moments, slope, low).argmax(1)
    below = _errors(moments, slope, high).argmax(1)
    for _ in range(STEPS):
        middle = (low + high) / 2
        worst = _errors(moments, slope, middle).argmax(1)
        up = means[rows, worst] > middle
        low, high = np.where(up, middle, low), np.where(up, high, middle)
        above, below = np.where(up, worst, above), np.where(up, below, worst)
    return (low + high) / 2, above, below


def _errors(moments: _Moments, slope: Host, intercept: Host) -> Host:
    """Mean squared error of every environment [M, E]."""
    slope = slope[:, None]
    gap = moments.y - slope * moments.x - intercept[:, None]
    return gap**2 + moments.yy - 2 * slope * moments.xy + slope**2 * moments.xx


def _worst(residuals: Host, members: list[Host]) -> tuple[Host, Host]:
    """Largest root mean squared error of any environment, and the first that has it."""
    errors = np.array([(residuals[group] ** 2).mean(0) for group in members])
    most = errors.max(0)
    return np.sqrt(most), (errors >= most * (1 - TIED)).argmax(0)
