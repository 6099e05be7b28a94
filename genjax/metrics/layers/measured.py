"""A score of an embedding as it is reported, and the ways to an interval that scores share."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import stats

from genjax.metrics.layers import neighbour_draws
from genjax.metrics.layers.catalogue import Settings


class Measured(NamedTuple):
    """A score of one embedding.

    Attributes:
        metric: its name.
        value: NaN where it is not defined, see `flag`.
        low: lower end of the interval; NaN where there is none.
        high: upper end.
        chance: mean value where labels mean nothing; NaN where not known.
        chance_high: its upper 97.5 % quantile.
        flag: what is to be known about the points or the value, "" for nothing.
        draws: bootstrap values over examples, the same examples for every layer; empty for none.
    """

    metric: str
    value: float
    low: float = np.nan
    high: float = np.nan
    chance: float = np.nan
    chance_high: float = np.nan
    flag: str = ""
    draws: Float[np.ndarray, " draw"] = np.empty(0)


class Task(NamedTuple):
    """Points to be scored.

    Attributes:
        points: `[N, D]`.
        labels: 0 ... C - 1, every class present, `[N]`.
        classes: C.
        settings: the numbers.
        weights: bootstrap counts of the examples, `[draws, N]`.
        base_mean: mean of the classes trained on, `[D]`, that SimpleShot centres by; None: unknown.
        shared: what one family has computed that another one needs as well, by name.
    """

    points: np.ndarray
    labels: np.ndarray
    classes: int
    settings: Settings
    weights: np.ndarray
    base_mean: np.ndarray | None
    shared: dict[str, Any]

    @property
    def largest_share(self) -> float:
        """Share of the largest class: what a classifier gets that always names it."""
        return float(np.bincount(self.labels).max() / len(self.labels))


def around(task: Task, name: str, value: Any, draws: Any, null: Any = None) -> Measured:
    """Return a score with the interval of its bootstrap draws, and what chance gives."""
    draws = np.asarray(draws, np.float64)
    row = Measured(name, float(value), draws=draws)
    if len(draws) > 1:
        found = neighbour_draws.centred_interval(row.value, draws, level=task.settings.level)
        row = row._replace(low=found.low, high=found.high)
    if null is None or not len(null):
        return row
    chance, high = float(np.mean(null)), float(np.quantile(null, 0.975))
    return row._replace(chance=chance, chance_high=high)


def share(task: Task, name: str, value: float, count: int, draws: Any = ()) -> Measured:
    """Return a share of examples with Wilson's interval; chance is the largest class."""
    if not np.isfinite(value):
        return Measured(name, np.nan)
    found = stats.binomtest(round(value * count), count).proportion_ci(
        task.settings.level, method="wilson"
    )
    return Measured(
        name, float(value), float(found.low), float(found.high), task.largest_share,
        draws=np.asarray(draws, np.float64),
    )  # fmt: skip
