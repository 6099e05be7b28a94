"""Pairs of networks, counted by order and by hyper-parameters. Host arithmetic.

An ordered pair of networks (a, b) is concordant if a is above b in the target and in the measure,
discordant if above in the target and below in the measure, "measure tied" if above in the target
and equal in the measure, "target tied" if equal in the target and above in the measure. The
mirrored pair (b, a) is counted at its own place, so these four numbers for every (level of a,
level of b) say everything about all pairs.
"""

from collections.abc import Iterator
from itertools import combinations
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import sparse

from genjax.errors import InvalidInputError
from genjax.statistics.dominance import count_below_above, count_strictly
from genjax.statistics.networks import MeasuredNetworks, complete_columns

Host = np.ndarray

# Up to so many units every draw is counted; beyond, its first-order form differs by less than
# the draws do, and costs no products of all pairs.
EXACT_UNITS = 200
# Largest number of (level of a, level of b) over all sets: 2 hyper-parameters of 31 levels.
MOST_ENTRIES = 2**20
# Numbers in the largest array made for one chunk of draws.
CHUNK = 2**22


class ConditioningSets(NamedTuple):
    """Sets of hyper-parameters and the joint levels that the networks have in them.

    A column is one joint level of one set, an entry a pair of joint levels of one set; both are
    numbered through all sets.

    Attributes:
        names: the hyper-parameters of each set, in the order of the table; the empty set first.
        levels: joint level of each network in each set, 0, 1, ... without gaps.
        sizes: number of joint levels of each set.
        first_column: column of each set's level 0; one more for the end.
        first_entry: entry of each set's levels (0, 0); one more for the end.
        left: column of the first network's level, of each entry.
        right: column of the second network's level.
        mirror: the entry with both networks exchanged.
    """

    names: tuple[tuple[str, ...], ...]
    levels: Int[Host, "network set"]
    sizes: Int[Host, " set"]
    first_column: Int[Host, " ends"]
    first_entry: Int[Host, " ends"]
    left: Int[Host, " entry"]
    right: Int[Host, " entry"]
    mirror: Int[Host, " entry"]


class PairTables(NamedTuple):
    """Ordered pairs of networks by (level of a, level of b), for one measure.

    Attributes:
        sets: what the entries belong to.
        concordant: pairs with a above b in the target and in the measure.
        discordant: above in the target, below in the measure.
        measure_tied: above in the target, equal in the measure.
        target_tied: equal in the target, above in the measure.
        every: all ordered pairs, each network with itself included.
    """

    sets: ConditioningSets
    concordant: Float[Host, "sample entry"]
    discordant: Float[Host, "sample entry"]
    measure_tied: Float[Host, "sample entry"]
    target_tied: Float[Host, "sample entry"]
    every: Float[Host, "sample entry"]


def conditioning_sets(
    levels: Int[Host, "network hyper"], names: tuple[str, ...], largest: int = 2
) -> ConditioningSets:
    """Enumerate the sets of at most `largest` hyper-parameters that vary, the empty one first.

    Args:
        levels: code of every hyper-parameter's value.
        names: of the hyper-parameters.
        largest: number of hyper-parameters of the largest sets.

    Raises:
        InvalidInputError: the hyper-parameters have so many levels that the pairs of joint levels
            do not fit into memory.

    Example:
        >>> import numpy as np
        >>> levels = np.array([[0, 0, 0], [0, 1, 0], [1, 0, 0], [1, 1, 0]])
        >>> sets = conditioning_sets(levels, ("lr", "width", "seed"))
        >>> sets.names, sets.sizes.tolist()
        (((), ('lr',), ('width',), ('lr', 'width')), [1, 2, 2, 4])
    """
    codes = [np.unique(column, return_inverse=True)[1].reshape(-1) for column in levels.T]
    varying = [k for k, code in enumerate(codes) if code.max(initial=0) > 0]
    chosen = [s for size in range(largest + 1) for s in combinations(varying, size)]
    joint = np.zeros((len(levels), len(chosen)), np.int64)
    for place, members in enumerate(chosen):
        for member in members:
            joint[:, place] = joint[:, place] * (codes[member].max() + 1) + codes[member]
        joint[:, place] = np.unique(joint[:, place], return_inverse=True)[1].reshape(-1)
    sizes = joint.max(0, initial=0) + 1
    if (sizes**2).sum() > MOST_ENTRIES:
        raise InvalidInputError(
            f"levels: found {(sizes**2).sum()} pairs of levels and of joint levels of two "
            f"hyper-parameters; at most {MOST_ENTRIES} are counted: bin the values, or leave out "
            "hyper-parameters with many."
        )
    first_column = np.concatenate([[0], np.cumsum(sizes)])
    grids = [np.indices((size, size)).reshape(2, -1) for size in sizes]
    left, right = (
        np.concatenate([g[k] + c for g, c in zip(grids, first_column, strict=False)])
        for k in range(2)
    )
    first_entry = np.concatenate([[0], np.cumsum(sizes**2)])
    mirror = np.concatenate(
        [g[1] * s + g[0] + e for g, s, e in zip(grids, sizes, first_entry, strict=False)]
    )
    names_chosen = tuple(tuple(names[m] for m in members) for members in chosen)
    return ConditioningSets(
        names_chosen, joint, sizes, first_column, first_entry, left, right, mirror
    )


class Population(NamedTuple):
    """The networks that have values for some measures, and the units that are drawn.

    A unit is a configuration, or a network where the draws take a configuration apart.

    Attributes:
        measures: columns of the measures that these networks have values for.
        known: which networks these are.
        sets: sets of hyper-parameters that vary among them.
        target: rank of each network in the target; ties are equal.
        exact: whether draws are counted, or taken to first order.
        kinds: one-hot column of each network that pairs are counted by: its unit if draws are
            counted, its joint levels otherwise.
        by_target: `count_strictly` of `kinds` in the order of the target.
        members: which networks each unit has; sparse.
        unit_levels: joint levels of each unit.
        unit_columns: one-hot of `unit_levels`.
        weights: how often each sample takes each unit; sample 0 are the networks as they are.
        counts: number of networks of each joint level in each sample.
    """

    measures: Int[Host, " measure"]
    known: Bool[Host, " all"]
    sets: ConditioningSets
    target: Int[Host, " network"]
    exact: bool
    kinds: Float[Host, "network kind"]
    by_target: tuple[Float[Host, "network kind"], Float[Host, "network kind"]]
    members: sparse.csr_array
    unit_levels: Int[Host, "unit set"]
    unit_columns: Float[Host, "unit column"]
    weights: Float[Host, "sample unit"]
    counts: Float[Host, "sample column"]


def make_populations(
    networks: MeasuredNetworks, multiplicities: Int[Host, "draw network"] | None = None
) -> Iterator[Population]:
    """Prepare the networks that each measure has values for; measures with fewer than 2 not.

    Args:
        networks: what to count.
        multiplicities: how often each draw takes each network; None: no draws.

    Raises:
        InvalidInputError: there are too many joint levels, see `conditioning_sets`, or
            `multiplicities` are of another number of networks.
    """
    weights = np.ones((1, len(networks.target)))
    if multiplicities is not None:
        if multiplicities.shape[1] != weights.shape[1]:
            raise InvalidInputError(
                f"multiplicities: found {multiplicities.shape[1]} columns; one per network is "
                f"needed ({weights.shape[1]})."
            )
        weights = np.concatenate([weights, multiplicities])
    for known, measures in complete_columns(networks.measures):
        if known.sum() >= 2:
            yield _make_population(networks, known, measures, weights[:, known])


def _make_population(
    networks: MeasuredNetworks, known: Host, measures: Host, weights: Host
) -> Population:
    sets = conditioning_sets(networks.levels[known], networks.hyper_names)
    units, first = _find_units(networks.configurations[known], sets.levels, weights)
    count = len(first)
    exact = count <= EXACT_UNITS
    # Counts of pairs of units are added up to counts of all pairs, so these are in float64.
    precision = np.float64 if exact else np.float32
    entries = (np.ones(len(units), precision), (units, np.arange(len(units))))
    unit_columns = np.zeros((count, sets.first_column[-1]))
    np.put_along_axis(unit_columns, sets.levels[first] + sets.first_column[:-1], 1.0, axis=1)
    kinds = np.eye(count)[units] if exact else unit_columns.astype(np.float32)[units]
    target = np.unique(networks.target[known], return_inverse=True)[1].reshape(-1)
    return Population(
        measures,
        known,
        sets,
        target,
        exact,
        kinds,
        count_strictly(kinds, target),
        sparse.csr_array(entries, (count, len(units))),
        sets.levels[first],
        unit_columns,
        weights[:, first],
        (weights[:, first] * np.bincount(units)) @ unit_columns,
    )


def _find_units(configurations: Host, levels: Host, weights: Host) -> tuple[Host, Host]:
    """Number the units that are drawn as a whole, and name one network of each."""
    _, first, units = np.unique(configurations, return_index=True, return_inverse=True)
    units = units.reshape(-1)
    together = (weights == weights[:, first[units]]).all() and (
        levels == levels[first[units]]
    ).all()
    return (units, first) if together else (np.arange(len(units)), np.arange(len(units)))


def _count_cells(population: Population, values: Host) -> list[tuple[Host, Host] | None]:
    """Count for each network the pairs of each kind, as the upper and as the lower one.

    Kinds are those of `PairTables`, upper means above in the target (in the measure if tied in the
    target); None where there are no such pairs.
    """
    target, kinds = population.target, population.kinds
    measure = np.unique(values, return_inverse=True)[1].reshape(-1)
    all_below, all_above = population.by_target
    below, above = count_below_above(kinds, target, measure)
    tied = measure.max() + 1 < len(measure)
    if tied:
        down_below, down_above = count_below_above(kinds, target, -measure)
    else:
        down_below, down_above = all_below - below, all_above - above
    measure_tied = target_tied = None
    if tied:
        measure_tied = all_below - below - down_below, all_above - above - down_above
    if target.max() + 1 < len(target):
        # A network above in the measure is concordant, tied, or the lower one of a discordant pair.
        lower, upper = count_strictly(kinds, measure)
        target_tied = lower - below - down_above, upper - above - down_below
    return [(below, above), (down_below, down_above), measure_tied, target_tied]


def count_pairs(
    population: Population, values: Float[Host, " network"]
) -> Iterator[tuple[slice, PairTables]]:
    """Count all ordered pairs of networks, of one measure and every draw.

    Sample 0 are the networks as they are, exactly. A bootstrap draw that takes network a w_a times
    has `T(w) = sum_ab w_a w_b t_ab` pairs. With at most `EXACT_UNITS` units that is counted; with
    more, its first-order form `T(1) + sum_a (w_a - 1) sum_b (t_ab + t_ba)` (the infinitesimal
    jackknife), with negative numbers set to 0: it needs no pairs again, so that a draw costs as
    much as one product of units and entries.

    Args:
        population: from `make_populations`.
        values: of the measure, one per network of the population.

    Yields:
        The samples counted (0 is the whole table, 1 the first draw), and the counts.

    Example:
        >>> import numpy as np
        >>> from genjax.statistics.networks import from_arrays
        >>> networks = from_arrays(np.array([[1.0], [3.0], [2.0]]), np.array([1.0, 2.0, 3.0]))
        >>> population = next(make_populations(networks))
        >>> samples, tables = next(count_pairs(population, networks.measures[:, 0]))
        >>> tables.concordant.tolist(), tables.discordant.tolist(), tables.every.tolist()
        ([[2.0]], [[1.0]], [[9.0]])
    """
    cells = [
        None if cell is None else (population.members @ cell[0], population.members @ cell[1])
        for cell in _count_cells(population, values)
    ]
    sets, weights = population.sets, population.weights
    count = _count_draws_exactly if population.exact else _count_draws_to_first_order
    widest = max(len(sets.left), population.unit_columns.size if population.exact else 1)
    step = max(CHUNK // widest, 1)
    for start in range(0, len(weights), step):
        part = slice(start, min(start + step, len(weights)))
        tables = [
            np.zeros((part.stop - start, len(sets.left)))
            if cell is None
            else count(population, cell, weights[part])
            for cell in cells
        ]
        yield part, PairTables(sets, *tables, every=_count_every(population, part))


def _count_every(population: Population, samples: slice) -> Host:
    """Count all ordered pairs, in the form in which the others are counted."""
    left, right = population.sets.left, population.sets.right
    counts = population.counts[samples]
    pairs = counts[:, left] * counts[:, right]
    if not population.exact:
        change = counts - population.counts[0]
        pairs = np.maximum(pairs - change[:, left] * change[:, right], 0)
    return pairs


def _count_draws_exactly(population: Population, cell: tuple[Host, Host], weights: Host) -> Host:
    """Sum w_a w_b t_ab over the units of each pair of levels; t is `[unit, unit]`."""
    sets, columns = population.sets, population.unit_columns
    drawn = weights[:, :, None] * columns
    sums = weights[:, :, None] * (cell[0] @ drawn)
    tables = np.empty((len(weights), len(sets.left)))
    for place, size in enumerate(sets.sizes):
        own = slice(sets.first_column[place], sets.first_column[place + 1])
        entries = slice(sets.first_entry[place], sets.first_entry[place + 1])
        tables[:, entries] = (columns[:, own].T @ sums[:, :, own]).reshape(-1, size**2)
    return tables


def _count_draws_to_first_order(
    population: Population, cell: tuple[Host, Host], weights: Host
) -> Host:
    """Add up what each one more of a unit adds to the pairs that it is the upper or lower one of.

    Units are sorted by level, since a unit of level u adds to the entries (u, .) and (., u) only.
    """
    sets, (below, above) = population.sets, cell
    change = (weights.T - 1).astype(np.float32)
    tables = np.empty((len(weights), len(sets.left)))
    for place, size in enumerate(sets.sizes):
        levels = population.unit_levels[:, place]
        order = np.argsort(levels, kind="stable")
        ends = np.cumsum(np.bincount(levels))
        own = slice(sets.first_column[place], sets.first_column[place + 1])
        upper, lower, changes = below[order, own], above[order, own], change[order]
        start = np.concatenate([[0], ends[:-1]])
        block = np.zeros((size, size, len(weights)))
        block += np.add.reduceat(upper, start, axis=0, dtype=np.float64)[:, :, None]
        for level, rows in enumerate(map(slice, start, ends)):
            block[level] += upper[rows].T @ changes[rows]
            block[:, level] += lower[rows].T @ changes[rows]
        entries = slice(sets.first_entry[place], sets.first_entry[place + 1])
        tables[:, entries] = block.reshape(size**2, -1).T
    return np.maximum(tables, 0, out=tables)
