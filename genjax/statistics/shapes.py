"""How the mean error moves along each axis of the grid: in all, step by step, at most."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from genjax.statistics.resampling import Interval, percentile_interval

Host = np.ndarray


class Shape(NamedTuple):
    """The mean error along one axis, averaged over the two others; all are differences of errors.

    Attributes:
        total: error at the last value of the axis minus error at the first.
        steps: error at each value minus error at the one before `[n - 1]`.
        widest: largest minus smallest error on the axis, never negative; the interval is that of
            the difference between the two values which all data say are the extremes.
        levels: the values of the axis `[n]`.
    """

    total: Interval
    steps: Interval
    widest: Interval
    levels: Float[Host, " values"]

    def rising(self) -> int:
        """Return how many steps go up."""
        return int((np.asarray(self.steps.value) > 0).sum())

    def sure(self) -> int:
        """Return how many steps have an interval without zero."""
        low, high = np.asarray(self.steps.low), np.asarray(self.steps.high)
        return int(((low > 0) | (high < 0)).sum())


def shape(
    levels: Float[Host, " values"],
    errors: Float[Host, " values"],
    drawn: Float[Host, "draws values"],
    *,
    level: float = 0.95,
    units: int | None = None,
) -> Shape:
    """Return the shape of a marginal with intervals; both ends of a difference share their draws.

    Args:
        levels: values of the axis, ascending.
        errors: mean error at each.
        drawn: the same in every bootstrap draw.
        level: nominal coverage.
        units: of `percentile_interval`.

    Example:
        >>> drawn = np.array([[0.5, 0.3, 0.2], [0.7, 0.5, 0.4]])
        >>> found = shape(np.array([0.6, 0.8, 1.0]), np.array([0.6, 0.4, 0.3]), drawn)
        >>> [round(float(end), 6) for end in found.total], found.rising(), found.sure()
        ([-0.3, -0.3, -0.3], 0, 2)
    """
    lowest, highest = int(np.argmin(errors)), int(np.argmax(errors))

    def with_ends(value: Any, draws: Host) -> Interval:
        return Interval(value, *percentile_interval(draws, level, units=units))

    return Shape(
        total=with_ends(float(errors[-1] - errors[0]), drawn[:, -1] - drawn[:, 0]),
        steps=with_ends(np.diff(errors), np.diff(drawn)),
        widest=with_ends(
            float(errors[highest] - errors[lowest]), drawn[:, highest] - drawn[:, lowest]
        ),
        levels=levels,
    )
