"""Pairs counted by order and by levels: loops over all pairs, and networks repeated one by one."""

import numpy as np
import pytest

from genjax.errors import InvalidInputError
from genjax.statistics import dominance, pairs
from genjax.statistics.dominance import count_below_above, count_strictly
from genjax.statistics.networks import MeasuredNetworks, configuration_draws, from_arrays
from genjax.statistics.pairs import conditioning_sets, count_pairs, make_populations


def make_networks(count=40, *, values=1000, hypers=(2, 3, 2), repeats=1, seed=0):
    """Random networks; few `values` give ties, `repeats` networks share a configuration."""
    generator = np.random.default_rng(seed)
    levels = np.stack([generator.integers(0, n, count) for n in hypers], 1)
    levels = np.repeat(levels, repeats, axis=0)
    target = generator.integers(0, values, len(levels)).astype(np.float64)
    measures = generator.integers(0, values, (len(levels), 2)).astype(np.float64)
    configurations = np.repeat(np.arange(count), repeats)
    return from_arrays(measures, target, levels)._replace(configurations=configurations)


def loop_tables(networks, measure, weights):
    """Count pair by pair: {set: {(kind, level of a, level of b): number}}."""
    levels, names = networks.levels, networks.hyper_names
    varying = [k for k in range(len(names)) if len(set(levels[:, k])) > 1]
    chosen = [(), *((k,) for k in varying)]
    chosen += [(k, m) for k in varying for m in varying if k < m]
    found = {tuple(names[k] for k in members): {} for members in chosen}
    for a in range(len(weights)):
        for b in range(len(weights)):
            by_target = np.sign(networks.target[a] - networks.target[b])
            by_measure = np.sign(measure[a] - measure[b])
            kind = {
                (1, 1): "concordant",
                (1, -1): "discordant",
                (1, 0): "measure_tied",
                (0, 1): "target_tied",
            }.get((by_target, by_measure))
            for members in chosen:
                table = found[tuple(names[k] for k in members)]
                both = tuple(levels[a, members]), tuple(levels[b, members])
                for name in (kind, "every"):
                    key = (name, *both)
                    table[key] = table.get(key, 0) + weights[a] * weights[b]
    return found


def assert_equal_tables(networks, tables, sample, expected):
    """Compare every entry, also those that the loop never met (0)."""
    sets = tables.sets
    assert set(sets.names) == set(expected)
    for place, names in enumerate(sets.names):
        members = [networks.hyper_names.index(name) for name in names]
        first = [np.flatnonzero(sets.levels[:, place] == k)[0] for k in range(sets.sizes[place])]
        values = [tuple(networks.levels[k, members]) for k in first]
        for entry in range(sets.first_entry[place], sets.first_entry[place + 1]):
            left = values[sets.left[entry] - sets.first_column[place]]
            right = values[sets.right[entry] - sets.first_column[place]]
            for kind in ("concordant", "discordant", "measure_tied", "target_tied", "every"):
                counted = getattr(tables, kind)[sample, entry]
                assert counted == expected[names].get((kind, left, right), 0), (names, kind)


def all_tables(networks, multiplicities=None):
    (population,) = make_populations(networks, multiplicities)
    ((samples, tables),) = count_pairs(population, networks.measures[:, 0])
    assert (samples.start, samples.stop) == (0, len(tables.every))
    return tables


@pytest.mark.parametrize("block", [3, 192])
@pytest.mark.parametrize("values", [2, 12, 10**6])
@pytest.mark.parametrize("count", [0, 1, 2, 50, 500])
def test_networks_below_and_above_are_those_of_all_pairs(monkeypatch, count, values, block):
    monkeypatch.setattr(dominance, "BLOCK", block)
    generator = np.random.default_rng(count + values)
    first, second = generator.integers(0, values, (2, count))
    columns = generator.integers(0, 3, (count, 4)).astype(np.float32)
    below, above = count_below_above(columns, first, second)
    is_below = (first[:, None] > first) & (second[:, None] > second)
    np.testing.assert_array_equal(below, is_below @ columns)
    np.testing.assert_array_equal(above, is_below.T @ columns)
    below, above = count_strictly(columns, first)
    np.testing.assert_array_equal(below, (first[:, None] > first) @ columns)
    np.testing.assert_array_equal(above, (first[:, None] < first) @ columns)


def test_sets_number_the_joint_levels_without_gaps():
    levels = np.array([[5, 1, 2], [5, 1, 0], [9, 1, 2], [9, 1, 2]])
    sets = conditioning_sets(levels, ("a", "b", "c"))
    assert sets.names == ((), ("a",), ("c",), ("a", "c"))
    assert sets.sizes.tolist() == [1, 2, 2, 3]  # (9, 0) is not there
    assert sets.levels[:, 3].tolist() == [1, 0, 2, 2]
    assert sets.first_entry.tolist() == [0, 1, 5, 9, 18]
    np.testing.assert_array_equal(sets.mirror[sets.mirror], np.arange(18))
    np.testing.assert_array_equal(sets.left[sets.mirror], sets.right)
    assert conditioning_sets(levels, ("a", "b", "c"), largest=1).names == ((), ("a",), ("c",))


def test_too_many_levels_are_refused():
    levels = np.stack([np.arange(2000)] * 2, 1)
    with pytest.raises(InvalidInputError, match="levels: found 12000001 pairs of levels"):
        conditioning_sets(levels, ("a", "b"))


@pytest.mark.parametrize("exact_units", [0, 200])
@pytest.mark.parametrize("values", [3, 10, 1000])
@pytest.mark.parametrize("repeats", [1, 3])
def test_counts_are_those_of_a_loop_over_all_pairs(monkeypatch, values, repeats, exact_units):
    monkeypatch.setattr(pairs, "EXACT_UNITS", exact_units)
    networks = make_networks(36 // repeats, values=values, repeats=repeats, seed=values)
    expected = loop_tables(networks, networks.measures[:, 0], np.ones(36))
    assert_equal_tables(networks, all_tables(networks), 0, expected)


@pytest.mark.parametrize("values", [3, 1000])
@pytest.mark.parametrize("repeats", [1, 2])
def test_draws_count_the_networks_as_often_as_they_are_drawn(values, repeats):
    networks = make_networks(24 // repeats, values=values, repeats=repeats, seed=1)
    draws = configuration_draws(networks.configurations, 3, seed=0)
    tables = all_tables(networks, draws)
    for sample, weights in enumerate([np.ones(24), *draws]):
        expected = loop_tables(networks, networks.measures[:, 0], weights)
        assert_equal_tables(networks, tables, sample, expected)


@pytest.mark.parametrize("values", [4, 1000])
@pytest.mark.parametrize("repeats", [1, 2])
def test_the_first_order_is_the_derivative_of_the_counts(monkeypatch, values, repeats):
    networks = make_networks(24 // repeats, values=values, repeats=repeats, seed=2)
    draws = configuration_draws(networks.configurations, 4, seed=1)
    # T is quadratic: its derivative in the direction w - 1 is (T(w) - T(2 - w)) / 2 exactly.
    both = all_tables(networks, np.concatenate([draws, 2 - draws]))
    monkeypatch.setattr(pairs, "EXACT_UNITS", 0)
    tables = all_tables(networks, draws)
    for kind in ("concordant", "discordant", "measure_tied", "target_tied", "every"):
        exact = getattr(both, kind)
        slope = (exact[1:5] - exact[5:]) / 2
        expected = np.maximum(exact[0] + slope, 0)
        np.testing.assert_array_equal(getattr(tables, kind)[0], exact[0])
        np.testing.assert_allclose(getattr(tables, kind)[1:], expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("exact_units", [0, 200])
def test_chunks_do_not_change_the_counts(monkeypatch, exact_units):
    monkeypatch.setattr(pairs, "EXACT_UNITS", exact_units)
    networks = make_networks(30, seed=3)
    draws = configuration_draws(networks.configurations, 7, seed=0)
    whole = all_tables(networks, draws)
    monkeypatch.setattr(pairs, "CHUNK", 3 * len(whole.sets.left))
    (population,) = make_populations(networks, draws)
    parts = list(count_pairs(population, networks.measures[:, 0]))
    assert len(parts) > 2
    assert [p[0].start for p in parts[1:]] == [p[0].stop for p in parts[:-1]]
    for kind in ("concordant", "discordant", "every"):
        joined = np.concatenate([getattr(tables, kind) for _, tables in parts])
        np.testing.assert_array_equal(joined, getattr(whole, kind))


@pytest.mark.parametrize("exact_units", [0, 200])
def test_draws_that_split_a_configuration_count_its_networks_apart(monkeypatch, exact_units):
    monkeypatch.setattr(pairs, "EXACT_UNITS", exact_units)
    networks = make_networks(12, repeats=2, seed=4)
    draws = configuration_draws(np.arange(24), 3, seed=0)
    tables = all_tables(networks, draws)
    alone: MeasuredNetworks = networks._replace(configurations=np.arange(24))
    np.testing.assert_array_equal(tables.concordant, all_tables(alone, draws).concordant)
    assert (tables.concordant[1:] != tables.concordant[0]).any()


def test_a_measure_is_counted_among_the_networks_that_it_has_values_for():
    networks = make_networks(20, seed=5)
    measures = networks.measures.copy()
    measures[:7, 0] = np.nan
    measures[:19, 1] = np.inf
    populations = list(make_populations(networks._replace(measures=measures)))
    assert len(populations) == 1  # one network alone makes no pair
    ((_, tables),) = count_pairs(populations[0], measures[7:, 0])
    rest = networks._replace(
        measures=measures[7:], target=networks.target[7:], levels=networks.levels[7:]
    )
    assert populations[0].measures.tolist() == [0]
    assert_equal_tables(rest, tables, 0, loop_tables(rest, measures[7:, 0], np.ones(13)))


def test_multiplicities_of_other_networks_are_refused():
    networks = make_networks(10)
    with pytest.raises(InvalidInputError, match="multiplicities: found 9 columns"):
        next(make_populations(networks, np.ones((2, 9), np.int64)))
