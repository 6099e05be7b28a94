"""Bootstrap: drawing with replacement, and intervals from the draws. Host arithmetic in float64."""

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from genjax.errors import InvalidInputError

Host = np.ndarray
FACTORS = ("seeds", "classes")


class Interval(NamedTuple):
    """An estimate with its interval.

    Attributes:
        value: the estimate from all data; a float or an array.
        low: lower end, of the same shape; NaN where no interval exists.
        high: upper end.
    """

    value: float | Float[Host, "..."]
    low: float | Float[Host, "..."]
    high: float | Float[Host, "..."]


class Plan(NamedTuple):
    """What every bootstrap draw of a population of networks takes.

    Attributes:
        seeds: how often each seed is taken [D, R]; the same seeds for every size (paired).
        classes: which classes are taken [D, C]; the same ones in every cell.
        units: number of independent units behind the least-sampled factor, for the
            small-sample expansion of `percentile_interval`; 1 if nothing can be resampled.
    """

    seeds: Int[Host, "draws seeds"]
    classes: Int[Host, "draws classes"]
    units: int


def bootstrap_indices(
    draws: int, units: int, *, seed: int, strata: Int[Host, " units"] | None = None
) -> Int[Host, "draws units"]:
    """Draw units with replacement, each draw as many as there are.

    Args:
        draws: number of draws.
        units: number of units.
        seed: seed of the generator; the same seed gives the same draws.
        strata: stratum of each unit `[units]`; units are then drawn within their stratum only.

    Returns:
        Indices `[draws, units]`.

    Raises:
        InvalidInputError: a count is not positive, or `strata` has another length.

    Example:
        >>> bootstrap_indices(2, 3, seed=0).shape
        (2, 3)
    """
    for name, count in (("draws", draws), ("units", units)):
        if count < 1:
            raise InvalidInputError(f"{name}: found {count}; at least 1 is needed.")
    generator = np.random.default_rng(seed)
    if strata is None:
        return generator.integers(0, units, (draws, units))
    if len(strata) != units:
        raise InvalidInputError(f"strata: found {len(strata)} entries; {units} are needed.")
    indices = np.empty((draws, units), np.int64)
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        chosen = generator.integers(0, len(members), (draws, len(members)))
        indices[:, members] = members[chosen]
    return indices


def percentile_interval(
    draws: Float[Host, "draws ..."],
    level: float = 0.95,
    *,
    units: int | None = None,
    method: Literal["linear", "inverted_cdf"] = "linear",
) -> tuple[Float[Host, "..."], Float[Host, "..."]]:
    """Interval between two percentiles of bootstrap draws.

    Without `units` the percentiles are (1 - level) / 2 and its complement. For a mean of few units
    these intervals are too narrow (n = 8: about 88 % instead of 95 %); with `units` = n the tail is
    `Phi(-sqrt(n / (n - 1)) t_{n-1})` instead, t the Student quantile of the level: Hesterberg's
    expanded percentile interval. No percentile lies beyond the data, so with fewer than 6 units
    even the widest interval covers less than 95 %.

    Args:
        draws: bootstrap values `[D, ...]`; NaN draws are left out.
        level: nominal coverage.
        units: number of resampled units, if few.
        method: numpy's percentile method; "inverted_cdf" keeps to values that were drawn.

    Returns:
        Lower and upper ends `[...]`, arrays also if 0-d; NaN where no draw is left or `units` is 1.

    Raises:
        InvalidInputError: the level is not between 0 and 1, or `units` is not positive.

    References:
        Hesterberg, What teachers should know about the bootstrap, The American Statistician 69
        (2015), section 4.3.

    Example:
        >>> import numpy as np
        >>> low, high = percentile_interval(np.arange(101.0), level=0.9)
        >>> round(float(low), 6), round(float(high), 6)
        (5.0, 95.0)
    """
    if not 0 < level < 1:
        raise InvalidInputError(f"level: found {level}; it must be between 0 and 1.")
    if units is not None and units < 1:
        raise InvalidInputError(f"units: found {units}; at least 1 is needed.")
    tail = (1 - level) / 2
    if units is not None and units > 1:
        student = np.sqrt(units / (units - 1)) * stats.t.ppf(tail, units - 1)
        tail = float(stats.norm.cdf(student))
    columns = draws.reshape(len(draws), -1)
    ends = np.full((2, columns.shape[1]), np.nan)
    if units != 1:
        tails = [tail, 1 - tail]
        known = ~np.isnan(columns)
        whole = known.all(0)
        if whole.any():
            ends[:, whole] = np.quantile(columns[:, whole], tails, axis=0, method=method)
        for column in np.flatnonzero(known.any(0) & ~whole):
            ends[:, column] = np.quantile(columns[known[:, column], column], tails, method=method)
    return ends[0].reshape(draws.shape[1:]), ends[1].reshape(draws.shape[1:])


def plan_draws(
    values: Float[Host, "size seed level share class_"],
    draws: int,
    *,
    seed: int,
    resample: tuple[str, ...] = FACTORS,
) -> Plan:
    """Plan the draws of seeds and classes for per-class values of a population.

    Both factors are drawn independently (Owen's pigeonhole bootstrap). Classes that count in every
    cell (the seen ones) are drawn among themselves, the others among themselves, so that no cell
    loses all its classes.

    Args:
        values: per-class values, NaN where a class does not count or a network failed.
        draws: number of draws.
        seed: seed of the generator.
        resample: the factors to draw: "seeds", "classes" or both. What is not drawn, or has a
            single unit, is taken as it is.

    Raises:
        InvalidInputError: a factor is unknown or none is given.

    References:
        Owen, The pigeonhole bootstrap, Annals of Applied Statistics 1 (2007).

    Example:
        >>> import numpy as np
        >>> plan_draws(np.zeros((2, 8, 3, 2, 10)), 5, seed=0).units
        8
    """
    if not resample or not set(resample) <= set(FACTORS):
        raise InvalidInputError(f"resample: found {resample}; allowed are {', '.join(FACTORS)}.")
    runs, classes = values.shape[1], values.shape[4]
    streams = np.random.SeedSequence(seed).generate_state(2)
    taken = np.ones((draws, runs), np.int64)
    chosen = np.tile(np.arange(classes), (draws, 1))
    units = []
    if "seeds" in resample and runs > 1:
        indices = bootstrap_indices(draws, runs, seed=int(streams[0]))
        taken = np.stack([(indices == run).sum(1) for run in range(runs)], axis=1)
        units.append(int((~np.isnan(values)).any((0, 2, 3, 4)).sum()))
    if "classes" in resample and classes > 1:
        strata = _always_counts(values).astype(np.int64)
        chosen = bootstrap_indices(draws, classes, seed=int(streams[1]), strata=strata)
        units.append(classes - len(np.unique(strata)) + 1)
    return Plan(taken, chosen, max(min(units, default=1), 1))


def _always_counts(values: Host) -> Host:
    """Which classes count in every cell of every network that did not fail."""
    missing = np.isnan(values)
    failed = missing.all((2, 3, 4), keepdims=True)
    return np.asarray(~(missing & ~failed).any((0, 1, 2, 3)))
