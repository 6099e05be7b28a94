"""Permutation p-values, multiplicity and reference measures against enumeration and scipy."""

import itertools

import numpy as np
import pytest
from scipy import stats

from genjax import errors
from genjax.statistics import chance, networks


def population(rng, configurations, seeds=1, measures=3, target=None):
    """Independent normal measures of a grid without structure."""
    levels = np.repeat(np.arange(configurations), seeds)[:, None]
    count = configurations * seeds
    target = rng.normal(size=count) if target is None else target
    return networks.from_arrays(
        rng.normal(size=(count, measures)),
        target,
        levels,
        np.tile(np.arange(seeds), configurations),
    )


def test_exact_p_values_are_those_of_scipy_and_of_enumeration():
    rng = np.random.default_rng(0)
    found = chance.permutation_tests(population(rng, 6), permutations=1000)
    given = population(np.random.default_rng(0), 6)
    assert found.exact
    assert found.permutations == 720
    for column, p in zip(given.measures.T, found.p_values, strict=True):
        expected = stats.kendalltau(column, given.target, method="exact").pvalue
        np.testing.assert_allclose(p, expected, rtol=1e-12)
    taus = np.array(
        [
            [
                stats.kendalltau(column, given.target[list(order)]).statistic
                for column in given.measures.T
            ]
            for order in itertools.permutations(range(6))
        ]
    )
    np.testing.assert_allclose(np.sort(found.best), np.sort(np.abs(taus).max(1)), atol=1e-12)
    reached = (np.abs(taus).max(1) >= np.abs(found.observed).max() - 1e-9).mean()
    np.testing.assert_allclose(found.best_p_value, reached)


def test_ties_are_enumerated_too():
    target = np.array([1.0, 1.0, 2.0, 3.0, 3.0])
    measure = np.array([2.0, 1.0, 2.0, 2.0, 5.0])
    found = chance.permutation_tests(networks.from_arrays(measure[:, None], target))
    taus = [
        stats.kendalltau(measure, target[list(order)]).statistic
        for order in itertools.permutations(range(5))
    ]
    expected = np.mean(np.abs(taus) >= abs(taus[0]) - 1e-9)
    np.testing.assert_allclose(found.observed[0], taus[0], rtol=1e-12)
    np.testing.assert_allclose(found.p_values[0], expected)


@pytest.mark.parametrize("configurations", [40, 260])
def test_drawn_p_values_agree_with_the_normal_approximation(configurations):
    rng = np.random.default_rng(1)
    given = population(rng, configurations, measures=4)
    given.measures[:, 0] += 0.3 * given.target
    found = chance.permutation_tests(given, permutations=20_000)
    test = stats.kendalltau if configurations <= 200 else stats.spearmanr
    assert found.statistic == ("kendall" if configurations <= 200 else "spearman")
    for column, p, value in zip(given.measures.T, found.p_values, found.observed, strict=True):
        expected = test(column, given.target)
        np.testing.assert_allclose(value, expected.statistic, rtol=1e-9)
        error = 4 * np.sqrt(expected.pvalue * (1 - expected.pvalue) / 20_000)
        np.testing.assert_allclose(p, expected.pvalue, atol=error + 0.01)


@pytest.mark.parametrize("seeds", [1, 4])
def test_p_values_are_uniform_under_the_null_also_where_seeds_are_alike(seeds):
    rng = np.random.default_rng(2)
    p_values = []
    for trial in range(600):
        given = population(rng, 40, seeds, measures=1)
        share = np.repeat(rng.normal(size=(40, 2)), seeds, axis=0)
        given = given._replace(
            measures=given.measures + 2 * share[:, 1:], target=given.target + 2 * share[:, 0]
        )
        found = chance.permutation_tests(given, permutations=200, seed=trial)
        p_values.append(found.p_values[0])
    # Tau of 40 means is discrete (steps of .03 in the middle, where p is near 1; finer below).
    for level in (0.05, 0.1, 0.2, 0.3):
        observed = np.mean(np.array(p_values) <= level + 1e-9)
        assert abs(observed - level) < 3 * np.sqrt(level * (1 - level) / 600) + 0.01, level


def test_the_best_of_many_is_found_by_chance_as_often_as_it_says():
    rng = np.random.default_rng(3)
    p_values = [
        chance.permutation_tests(
            population(rng, 12, measures=20), permutations=300, seed=trial
        ).best_p_value
        for trial in range(120)
    ]
    assert stats.kstest(p_values, "uniform").pvalue > 0.01


def test_a_measure_without_values_for_some_networks_is_tested_on_the_others():
    rng = np.random.default_rng(4)
    given = population(rng, 30, seeds=2, measures=3)
    given.measures[:10, 1] = np.nan  # five whole configurations
    given.measures[12, 2] = np.nan  # one of two seeds
    found = chance.permutation_tests(given, permutations=200)
    part = population(rng, 25, seeds=2, measures=1, target=given.target[10:])._replace(
        measures=given.measures[10:, 1:2]
    )
    alone = chance.permutation_tests(part, permutations=200)
    np.testing.assert_allclose(found.observed[1], alone.observed[0], rtol=1e-12)
    assert np.isfinite(found.p_values).all()


def test_constants_have_no_p_value():
    given = networks.from_arrays(np.column_stack([np.ones(8), np.arange(8.0)]), np.arange(8.0) ** 2)
    found = chance.permutation_tests(given, permutations=100)
    assert np.isnan(found.p_values[0])
    assert found.p_values[1] == 1 / 101
    assert found.best_p_value == 1 / 101
    flat = chance.permutation_tests(given._replace(target=np.ones(8)), permutations=100)
    assert np.isnan(flat.p_values).all()


def test_holm_and_benjamini_hochberg_against_their_definitions():
    rng = np.random.default_rng(5)
    p = rng.random(12) ** 3
    ordered = np.sort(p)
    holm = np.array([max((12 - j) * ordered[j] for j in range(k + 1)) for k in range(12)])
    np.testing.assert_allclose(np.sort(chance.holm(p)), np.minimum(holm, 1))
    bh = np.array([min(12 / (j + 1) * ordered[j] for j in range(k, 12)) for k in range(12)])
    np.testing.assert_allclose(np.sort(chance.benjamini_hochberg(p)), np.minimum(bh, 1))
    assert np.isnan(chance.holm(np.array([np.nan, np.nan]))).all()
    assert np.isnan(chance.benjamini_hochberg(np.array([np.nan]))).all()


def test_reference_measures_are_what_they_say():
    rng = np.random.default_rng(6)
    levels = np.stack(np.meshgrid(range(3), range(4), indexing="ij"), -1).reshape(-1, 2)
    levels = np.repeat(levels, 50, axis=0)
    target = 2.0 * levels[:, 0] - 0.5 * levels[:, 1] + 0.01 * rng.normal(size=len(levels))
    given = networks.from_arrays(
        np.zeros((len(target), 1)), target, levels, np.tile(np.arange(50), 12)
    )
    found = chance.reference_measures(given, seed=1)
    assert found.measure_names == ("random", "oracle 0.02", "oracle 0.05", "canonical")
    noise = found.measures[:, 1:3] - target[:, None]
    np.testing.assert_allclose(noise.std(0), [0.02, 0.05], rtol=0.1)
    canonical = found.measures[:, 3]
    for axis, sign in ((0, 1), (1, -1)):
        for other in range((4, 3)[axis]):
            line = levels[:, 1 - axis] == other
            order = stats.kendalltau(canonical[line], levels[line, axis]).statistic
            assert np.sign(order) == sign
    names = given._replace(hyper_values=(("c", "a", "b"), (0, 1, 2, 3)))
    assert chance.reference_measures(names).measures.shape == (600, 4)


def test_bad_arguments_are_refused():
    given = networks.from_arrays(np.zeros((4, 1)), np.arange(4.0))
    with pytest.raises(errors.InvalidInputError, match="permutations: found 0"):
        chance.permutation_tests(given, permutations=0)
    with pytest.raises(errors.InvalidInputError, match="target: found NaN"):
        networks.from_arrays(np.zeros((2, 1)), np.array([1.0, np.nan]))
