"""The affine function of a measure whose worst environment is best. Host float64."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int
from scipy import optimize

from genjax.errors import InvalidInputError
from genjax.statistics.networks import MeasuredNetworks

Host = np.ndarray

BIAS_ONLY = "bias only"
WORST_CASE_COLUMNS = ("measure", "slope", "intercept", "robust_rmse", "worst_environment")


class Environments(NamedTuple):
    """Groups of networks in each of which a prediction must hold.

    Attributes:
        names: e.g. "depth = 4".
        members: which networks are in each.
    """

    names: tuple[str, ...]
    members: Bool[Host, "environment network"]


class WorstCase(NamedTuple):
    """`slope * measure + intercept` with the smallest error in its worst environment.

    Attributes:
        slope: not negative; 0 where the measure does not help.
        intercept: in units of the target.
        robust_rmse: root of the mean squared error in the worst environment.
        worst_environment: its index.
    """

    slope: float
    intercept: float
    robust_rmse: float
    worst_environment: int


def level_environments(networks: MeasuredNetworks) -> Environments:
    """Take the networks of every level of every hyper-parameter as an environment.

    Example:
        >>> from genjax.statistics.networks import from_arrays
        >>> levels = np.array([[0, 0], [0, 1], [1, 0]])
        >>> found = level_environments(from_arrays(np.zeros((3, 1)), np.arange(3.0), levels))
        >>> found.names, found.members[3].tolist()
        (('hp.0 = 0', 'hp.0 = 1', 'hp.1 = 0', 'hp.1 = 1'), [False, True, False])
    """
    names, members = [], []
    for h, values in enumerate(networks.hyper_values):
        for code, value in enumerate(values):
            inside = networks.levels[:, h] == code
            if inside.any():
                names.append(f"{networks.hyper_names[h]} = {value}")
                members.append(inside)
    whole = np.array(members, bool).reshape(len(members), len(networks.target))
    return Environments(tuple(names), whole)


def robust_fit(
    target: Float[Host, " network"],
    measure: Float[Host, " network"] | None,
    environments: Sequence[Int[Host, "..."]],
) -> WorstCase:
    """Minimise the largest mean squared error over environments.

    `min over w >= 0, b of max_e mean_{i in e} (g_i - w C_i - b)^2`, section 6 of Dziugaite et al.
    2020, a convex problem in two variables: every error is a quadratic with the moments of its
    environment. Solved in its epigraph form (SLSQP) in standardised units. Without a measure (bias
    only, w = 0) it is the baseline.

    Args:
        target: finite.
        measure: finite; None for the baseline.
        environments: indices of the networks in each.

    Raises:
        InvalidInputError: there is no environment, or one is empty.

    Example:
        >>> target = np.array([0.0, 1.0, 4.0, 5.0])
        >>> halves = [np.array([0, 1]), np.array([2, 3])]
        >>> robust_fit(target, None, halves).intercept
        2.5
        >>> fit = robust_fit(target, 10 * target, halves)
        >>> round(fit.slope, 6), round(abs(fit.intercept), 5), round(fit.robust_rmse, 5)
        (0.1, 0.0, 0.0)
    """
    if not environments or min(len(members) for members in environments) == 0:
        raise InvalidInputError("environments: found none, or an empty one; all need networks.")
    centre, spread = float(target.mean()), float(target.std()) or 1.0
    scaled = (target - target.mean()) / spread
    width = 0.0 if measure is None else float(measure.std())
    if measure is None or not width > 0:
        intercept = _middle(np.array([_moments(scaled, scaled * 0, e) for e in environments]))
        slope = 0.0
        moments = np.array([_moments(scaled, scaled * 0, e) for e in environments])
        errors = _errors(moments, 0.0, intercept)
        middle = 0.0
    else:
        middle = float(measure.mean())
        values = (measure - middle) / width
        moments = np.array([_moments(scaled, values, e) for e in environments])
        slope, intercept = _solve(moments)
        errors = _errors(moments, slope, intercept)
    worst = int(errors.argmax())
    natural = spread * slope / width if width > 0 else 0.0
    return WorstCase(
        natural,
        centre + spread * intercept - natural * middle,
        spread * float(np.sqrt(max(errors[worst], 0.0))),
        worst,
    )


def _moments(target: Host, values: Host, members: Host) -> Host:
    """Means of g, C, g^2, g C and C^2 in an environment."""
    g, c = target[members], values[members]
    return np.array([g.mean(), c.mean(), (g * g).mean(), (g * c).mean(), (c * c).mean()])


def _errors(moments: Host, slope: float | int, intercept: float | int) -> Host:
    """Mean squared error in every environment."""
    g, c, gg, gc, cc = moments.T
    return (
        gg + slope**2 * cc + intercept**2 + 2 * slope * intercept * c
        - 2 * slope * gc - 2 * intercept * g
    )  # fmt: skip


def _middle(moments: Host) -> float:
    """Intercept of the smallest worst error at slope 0: parabolas of equal width, so convex."""
    g, gg = moments[:, 0], moments[:, 2]
    ends = float(g.min()), float(g.max())
    if ends[0] == ends[1]:
        return ends[0]
    # The best point is a vertex or where two parabolas cross: there are few, so try all.
    crossings = [
        (gg[i] - gg[j]) / (2 * (g[i] - g[j]))
        for i in range(len(g))
        for j in range(i)
        if g[i] != g[j]
    ]
    tried = np.clip(np.array([*g, *crossings]), *ends)
    errors = gg[:, None] + tried**2 - 2 * g[:, None] * tried
    return float(tried[errors.max(0).argmin()])


def _solve(moments: Host) -> tuple[float, float]:
    """Slope and intercept; the better of the solver's point and of slope 0."""
    g, c, _, gc, cc = moments.T

    def gradient(x: Host) -> Host:
        by_slope = 2 * (x[0] * cc + x[1] * c - gc)
        by_intercept = 2 * (x[1] + x[0] * c - g)
        return np.stack([-by_slope, -by_intercept, np.ones(len(g))], axis=1)

    flat = (0.0, _middle(moments))
    best, smallest = flat, float(_errors(moments, *flat).max())
    for start in (flat, (max(float((gc - g * c).mean()), 0.0), 0.0)):
        found = optimize.minimize(
            lambda x: x[2],
            np.array([*start, _errors(moments, *start).max()]),
            jac=lambda x: np.array([0.0, 0.0, 1.0]),
            bounds=[(0, None), (None, None), (None, None)],
            constraints={
                "type": "ineq",
                "fun": lambda x: x[2] - _errors(moments, x[0], x[1]),
                "jac": gradient,
            },
            method="SLSQP",
            options={"ftol": 1e-14, "maxiter": 500},
        )
        point = max(float(found.x[0]), 0.0), float(found.x[1])
        value = float(_errors(moments, *point).max())
        if value < smallest:
            best, smallest = point, value
    return best


def worst_case_fits(networks: MeasuredNetworks, environments: Environments) -> pd.DataFrame:
    """Fit every measure, and no measure ("bias only", the first row).

    A measure is fitted to the networks that it has values for; environments without any are left
    out for it.

    Args:
        networks: measures and target.
        environments: e.g. from `level_environments`.

    Returns:
        Columns `measure, slope, intercept, robust_rmse, worst_environment`; no rows without
        environments.

    Example:
        >>> from genjax.statistics.networks import from_arrays
        >>> levels, target = np.array([[0], [0], [1], [1]]), np.arange(4.0)
        >>> networks = from_arrays(target[:, None], target, levels)
        >>> table = worst_case_fits(networks, level_environments(networks))
        >>> table[["measure", "robust_rmse"]].round(3).to_numpy().tolist()
        [['bias only', 1.118], ['measure.0', 0.0]]
    """
    rows = []
    if environments.names:
        columns = [
            (BIAS_ONLY, None),
            *zip(networks.measure_names, networks.measures.T, strict=True),
        ]
        for name, values in columns:
            known = np.ones(len(networks.target), bool) if values is None else np.isfinite(values)
            inside = environments.members & known
            kept = np.flatnonzero(inside.any(1))
            if not len(kept):
                continue
            members = [np.flatnonzero(inside[e]) for e in kept]
            fit = robust_fit(networks.target, values, members)
            worst = environments.names[kept[fit.worst_environment]]
            rows.append((name, fit.slope, fit.intercept, fit.robust_rmse, worst))
    return pd.DataFrame(rows, columns=list(WORST_CASE_COLUMNS))
