"""Conditional mutual information of orders, and Kendall's tau, given hyper-parameters. Host.

Does the order of two networks in a measure say anything about their order in the target beyond
what their hyper-parameters say? Everything is computed from one count of pairs, see
`genjax.statistics.pairs`. The value is a ratio of information to entropy, so that the base of the
logarithm cancels: 0 is nothing, 1 is everything.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from threadpoolctl import threadpool_limits

from genjax.errors import InvalidInputError, suggest
from genjax.statistics.networks import MeasuredNetworks
from genjax.statistics.pair_draws import WORKERS
from genjax.statistics.pair_information import (
    information_interval,
    jiang_information,
    kendall_by_level,
    pgdl_information,
    smallest_over_sets,
)
from genjax.statistics.pairs import (
    PairTables,
    Population,
    conditioning_sets,
    count_pairs,
    make_populations,
)

Host = np.ndarray
Version = Literal["pgdl", "jiang"]
VERSIONS: tuple[Version, ...] = ("pgdl", "jiang")
Progress = Callable[[int, int, str], None]

# Numbers whose logarithms are taken at once: the arrays then stay in the processor's cache.
CACHED = 2**16


class ConditionalInformation(NamedTuple):
    """Conditional mutual information of every measure, the smallest over sets of hyper-parameters.

    Attributes:
        value: the published statistic (plug-in), NaN where it is undefined.
        corrected: `value` less its bias, which the draws estimate; without draws NaN.
        low: lower end of the interval around `corrected`.
        high: upper end; below `value` where most of the value is bias.
        argmin: the set of hyper-parameters with the smallest value; None where it is undefined.
        by_set: plug-in value for every set; NaN where it is undefined.
        sets: the hyper-parameters of every set.
        draws: the statistic in every bootstrap draw, its own smallest over the sets.
    """

    value: Float[Host, " measure"]
    corrected: Float[Host, " measure"]
    low: Float[Host, " measure"]
    high: Float[Host, " measure"]
    argmin: tuple[tuple[str, ...] | None, ...]
    by_set: Float[Host, "measure set"]
    sets: tuple[tuple[str, ...], ...]
    draws: Float[Host, "draw measure"]


class StratifiedKendall(NamedTuple):
    """Kendall's tau-b over all pairs, and over those that share a hyper-parameter's value.

    Attributes:
        overall: over all pairs.
        value: over the pairs of networks that agree in each hyper-parameter; NaN where these are
            all tied.
        pairs: number of pairs behind `value` that are not tied in the target.
        overall_draws: `overall` in every bootstrap draw.
        draws: `value` in every bootstrap draw.
        hyper_names: the hyper-parameters.
    """

    overall: Float[Host, " measure"]
    value: Float[Host, "measure hyper"]
    pairs: Float[Host, "measure hyper"]
    overall_draws: Float[Host, "draw measure"]
    draws: Float[Host, "draw measure hyper"]
    hyper_names: tuple[str, ...]


class PairStatistics(NamedTuple):
    """Everything that one count of the pairs of networks gives.

    Attributes:
        pgdl: conditional mutual information of the PGDL competition.
        jiang: conditional mutual information of Jiang et al.
        kendall: Kendall's tau-b, stratified by each hyper-parameter.
    """

    pgdl: ConditionalInformation
    jiang: ConditionalInformation
    kendall: StratifiedKendall


def pair_statistics(
    networks: MeasuredNetworks,
    multiplicities: Int[Host, "draw network"] | None = None,
    *,
    level: float = 0.95,
    on_progress: Progress | None = None,
) -> PairStatistics:
    """Compute both versions of conditional mutual information and stratified tau in one pass.

    Only hyper-parameters with at least two values count. PGDL's version needs two of them; that of
    Jiang et al. takes what there is, with none the empty set alone. A measure is judged on the
    networks that it has values for; a hyper-parameter that is constant among these leaves out the
    sets that it is in. A measure that is constant has value 0.

    Args:
        networks: what to compare.
        multiplicities: how often each bootstrap draw takes each network, see
            `configuration_draws`; None: no draws and no intervals.
        level: nominal coverage of the intervals.
        on_progress: called with (measures done, all measures, name of the measure).

    Raises:
        InvalidInputError: `level` is not between 0 and 1, or there are too many joint levels.

    Example:
        >>> import numpy as np
        >>> from genjax.statistics.networks import configuration_draws, from_arrays
        >>> generator = np.random.default_rng(0)
        >>> levels, target = generator.integers(0, 2, (60, 2)), generator.normal(size=60)
        >>> measures = np.stack([target, generator.normal(size=60)], 1)
        >>> networks = from_arrays(measures, target, levels)
        >>> draws = configuration_draws(np.arange(60), 100, seed=0)
        >>> networks = networks._replace(configurations=np.arange(60))
        >>> found = pair_statistics(networks, draws)
        >>> found.jiang.low.tolist(), found.jiang.high.round(1).tolist()
        ([1.0, 0.0], [1.0, 0.0])
        >>> found.kendall.value[0].tolist()
        [1.0, 1.0]
    """
    if not 0 < level < 1:
        raise InvalidInputError(f"level: found {level}; it must be between 0 and 1.")
    samples = 1 + (0 if multiplicities is None else len(multiplicities))
    found = _make_results(networks, samples)
    done = 0
    # One thread per measure: small products gain nothing from threads of their own.
    with threadpool_limits(limits=1), ThreadPoolExecutor(WORKERS) as pool:
        for population in make_populations(networks, multiplicities):
            compute = partial(_compute_measure, networks, population, found)
            for measure in pool.map(compute, population.measures.tolist()):
                done += 1
                if on_progress is not None:
                    on_progress(done, len(networks.measure_names), networks.measure_names[measure])
    known = np.isfinite(networks.measures).T
    units = [len(np.unique(networks.configurations[rows])) for rows in known]
    pgdl, jiang = (_summarise(found, version, units, level) for version in VERSIONS)
    kendall = StratifiedKendall(
        found.taus[0, :, 0],
        found.taus[0, :, 1:],
        found.pairs[:, 1:],
        found.taus[1:, :, 0],
        found.taus[1:, :, 1:],
        networks.hyper_names,
    )
    return PairStatistics(pgdl, jiang, kendall)


class _Results(NamedTuple):
    """Arrays that measures are written into, one thread each; sample 0 is the whole table."""

    sets: tuple[tuple[str, ...], ...]
    information: dict[str, Host]  # [sample, measure, set] by version
    taus: Host  # [sample, measure, 1 + hyper], over all pairs first
    pairs: Host  # [measure, 1 + hyper]
    widest: Host  # [measure], largest number of joint levels


def _make_results(networks: MeasuredNetworks, samples: int) -> _Results:
    sets = conditioning_sets(networks.levels, networks.hyper_names).names
    measures, strata = len(networks.measure_names), 1 + len(networks.hyper_names)
    return _Results(
        sets,
        {version: np.full((samples, measures, len(sets)), np.nan) for version in VERSIONS},
        np.full((samples, measures, strata), np.nan),
        np.zeros((measures, strata)),
        np.ones(measures),
    )


def _compute_measure(
    networks: MeasuredNetworks, population: Population, found: _Results, measure: int
) -> int:
    own = population.sets.names
    places = [found.sets.index(members) for members in own]
    # Networks agree in a hyper-parameter that does not vary: that is the empty set.
    wanted = [(), *((name,) for name in networks.hyper_names)]
    strata = [own.index(members) if members in own else 0 for members in wanted]
    found.widest[measure] = population.sets.sizes.max()
    values = networks.measures[population.known, measure]
    for part, tables in _count_in_parts(population, values):
        found.information["pgdl"][part, measure, places] = pgdl_information(tables)
        found.information["jiang"][part, measure, places] = jiang_information(tables)
        tau, comparable = kendall_by_level(tables)
        found.taus[part, measure] = tau[:, strata]
        if part.start == 0:
            found.pairs[measure] = comparable[strata]
    return measure


def _count_in_parts(population: Population, values: Host) -> Iterator[tuple[slice, PairTables]]:
    """Cut the counted samples so that what is computed from them stays in the cache."""
    for samples, tables in count_pairs(population, values):
        rows = max(CACHED // tables.every.shape[1], 1)
        for start in range(0, len(tables.every), rows):
            cells = [cell[start : start + rows] for cell in tables[1:]]
            first = samples.start + start
            yield slice(first, first + len(cells[0])), PairTables(tables.sets, *cells)


def _summarise(
    found: _Results, version: Version, units: list[int], level: float
) -> ConditionalInformation:
    """Take the smallest value over the sets, with its interval, of every measure."""
    kept = [k for k, own in enumerate(found.sets) if version == "jiang" or len(own) == 2]
    sets = tuple(found.sets[k] for k in kept)
    values = found.information[version][:, :, kept]
    undefined = np.isnan(values[0]).all(1)
    argmin = tuple(
        None if none else sets[int(np.nanargmin(row))]
        for none, row in zip(undefined, values[0], strict=True)
    )
    ends = [
        information_interval(values[0, k], values[1:, k], count / found.widest[k], count, level)
        for k, count in enumerate(units)
    ]
    corrected, low, high = np.array(ends, np.float64).reshape(-1, 3).T
    smallest = smallest_over_sets(values)
    return ConditionalInformation(
        smallest[0], corrected, low, high, argmin, values[0], sets, smallest[1:]
    )


def conditional_information(
    networks: MeasuredNetworks,
    *,
    version: str,
    multiplicities: Int[Host, "draw network"] | None = None,
    level: float = 0.95,
) -> ConditionalInformation:
    """Compute one version of conditional mutual information, see `pair_statistics`.

    Args:
        networks: what to compare.
        version: "pgdl" (see `pgdl_information`) or "jiang" (see `jiang_information`).
        multiplicities: how often each bootstrap draw takes each network; None: no intervals.
        level: nominal coverage of the intervals.

    Raises:
        InvalidInputError: the version is unknown, or as in `pair_statistics`.

    Example:
        >>> import numpy as np
        >>> from genjax.statistics.networks import from_arrays
        >>> networks = from_arrays(np.array([[1.0], [2.0], [4.0], [3.0]]), np.arange(4.0))
        >>> float(conditional_information(networks, version="jiang").value[0].round(6))
        0.349978
    """
    if version not in VERSIONS:
        raise InvalidInputError(suggest("version", version, VERSIONS))
    found = pair_statistics(networks, multiplicities, level=level)
    return found.pgdl if version == "pgdl" else found.jiang


def stratified_kendall(
    networks: MeasuredNetworks, *, multiplicities: Int[Host, "draw network"] | None = None
) -> StratifiedKendall:
    """Compute Kendall's tau-b among networks that share a hyper-parameter's value.

    `tau = (concordant - discordant) / sqrt(untied in the target * untied in the measure)` over the
    pairs of networks that agree in the hyper-parameter; over all pairs if it does not vary.

    Args:
        networks: what to compare.
        multiplicities: how often each bootstrap draw takes each network; None: no draws.

    Raises:
        InvalidInputError: there are too many joint levels.

    Example:
        >>> import numpy as np
        >>> from genjax.statistics.networks import from_arrays
        >>> levels = np.array([[0], [0], [1], [1]])
        >>> networks = from_arrays(np.array([[1.0], [2.0], [-1.0], [0.0]]), np.arange(4.0), levels)
        >>> found = stratified_kendall(networks)
        >>> found.overall.round(3).tolist(), found.value.tolist()
        ([-0.333], [[1.0]])
    """
    return pair_statistics(networks, multiplicities).kendall
