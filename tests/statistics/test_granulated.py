"""Granulated Kendall coefficients: scipy line by line, closed cases, simulated coverage."""

import itertools

import numpy as np
import pytest
from scipy import stats
from simulated_grids import simulated

from genjax.errors import InvalidInputError
from genjax.statistics import granulated
from genjax.statistics.granulated import granulated_tau
from genjax.statistics.networks import from_arrays

GRID = np.array(list(itertools.product(range(3), range(2), range(4))))


def population(seed, levels=GRID, seeds=1, measures=3, digits=None):
    generator = np.random.default_rng(seed)
    codes, runs = np.repeat(levels, seeds, axis=0), np.tile(np.arange(seeds), len(levels))
    count = len(codes)
    values = generator.normal(size=(count, measures)) + generator.normal(size=(count, 1))
    target = generator.normal(size=count) + values[:, 0]
    if digits is not None:
        values, target = np.round(values, digits), np.round(target, digits)
    return from_arrays(values, target, codes, runs)


def tau_of(x, y, form):
    if form == "b":
        if len(set(y)) == 1:
            return None
        return 0.0 if len(set(x)) == 1 else stats.kendalltau(x, y).statistic
    pairs = list(itertools.combinations(range(len(x)), 2))
    return sum(np.sign(x[i] - x[j]) * np.sign(y[i] - y[j]) for i, j in pairs) / len(pairs)


def looped(networks, column, seeds, form):
    """psi of every hyper-parameter and its number of lines, line by line."""
    hypers = networks.levels.shape[1]
    psi, counts = np.full(hypers, np.nan), np.zeros(hypers, int)
    known = np.isfinite(networks.measures[:, column])
    for axis in range(hypers):
        groups = {}
        for row in np.flatnonzero(known):
            key = tuple(np.delete(networks.levels[row], axis))
            key += (networks.seeds[row],) if seeds == "paired" else ()
            groups.setdefault(key, []).append(row)
        taus = [
            tau_of(networks.measures[rows, column], networks.target[rows], form)
            for rows in groups.values()
            if len(set(networks.levels[rows, axis])) > 1
        ]
        taus = [tau for tau in taus if tau is not None]
        counts[axis] = len(taus)
        if taus:
            psi[axis] = np.mean(taus)
    return psi, counts


@pytest.mark.parametrize("digits", [None, 0])
@pytest.mark.parametrize("form", ["a", "b"])
@pytest.mark.parametrize("seeds", ["paired", "pooled"])
def test_equals_scipy_line_by_line(seeds, form, digits):
    networks = population(1, seeds=3, digits=digits)
    networks.measures[::5, 1] = np.nan
    networks.measures[:, 2] = 1.0
    networks.measures[7:12, 2] = 2.0
    # Rows at random: lines of unequal lengths, and seeds that are not everywhere.
    keep = np.random.default_rng(2).permutation(len(networks.target))[:55]
    some = from_arrays(
        networks.measures[keep], networks.target[keep], networks.levels[keep], networks.seeds[keep]
    )
    result = granulated_tau(some, seeds=seeds, form=form)
    for column in range(3):
        psi, counts = looped(some, column, seeds, form)
        np.testing.assert_allclose(result.by_hyper.value[column], psi, rtol=0, atol=1e-14)
        np.testing.assert_array_equal(result.lines[column], counts)
        assert result.value[column] == pytest.approx(np.mean(psi), abs=1e-14)
    assert (result.lines[1] <= result.lines[0]).all()


@pytest.mark.parametrize("form", ["a", "b"])
@pytest.mark.parametrize("digits", [None, 0])
def test_sorted_lines_equal_listed_pairs(monkeypatch, form, digits):
    networks = population(3, seeds=4, digits=digits)
    listed = granulated_tau(networks, seeds="pooled", form=form)
    monkeypatch.setattr(granulated, "MOST_PAIRS", 10)
    ordered = granulated_tau(networks, seeds="pooled", form=form)
    np.testing.assert_allclose(ordered.value, listed.value, atol=1e-14)
    np.testing.assert_allclose(ordered.by_hyper.value, listed.by_hyper.value, atol=1e-14)
    np.testing.assert_array_equal(ordered.lines, listed.lines)
    assert np.isnan([ordered.low, ordered.high]).all()
    assert np.isfinite([listed.low, listed.high]).all()


def test_work_in_blocks_gives_the_same(monkeypatch):
    networks = population(4, measures=7, digits=1)
    whole = granulated_tau(networks)
    monkeypatch.setattr(granulated, "BLOCK", 200)
    parts = granulated_tau(networks)
    for one, other in zip(whole[:3], parts[:3], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-13)


def test_duplicated_networks_share_a_line():
    networks = population(5)
    twice = from_arrays(
        np.tile(networks.measures, (2, 1)),
        np.tile(networks.target, 2),
        np.tile(networks.levels, (2, 1)),
    )
    psi, counts = looped(twice, 0, "paired", "b")
    result = granulated_tau(twice)
    np.testing.assert_allclose(result.by_hyper.value[0], psi, atol=1e-14)
    np.testing.assert_array_equal(result.lines[0], counts)
    np.testing.assert_array_equal(counts, [8, 12, 6])


def test_target_and_its_opposite():
    networks = population(6)
    values = np.stack([networks.target, -networks.target, np.exp(networks.target)], axis=1)
    result = granulated_tau(networks._replace(measures=values))
    np.testing.assert_array_equal(result.value, [1, -1, 1])
    np.testing.assert_array_equal(result.low, [1, -1, 1])
    np.testing.assert_array_equal(result.by_hyper.high[1], [-1, -1, -1])


def test_constant_columns():
    networks = population(7, measures=2)
    networks.measures[:, 1] = 4.0
    result = granulated_tau(networks)
    assert (result.value[1], result.low[1], result.high[1]) == (0.0, 0.0, 0.0)
    constant = networks._replace(target=np.full_like(networks.target, 0.5))
    nothing = granulated_tau(constant)
    assert np.isnan(nothing.value).all()
    np.testing.assert_array_equal(nothing.lines, 0)
    zero = granulated_tau(constant, form="a")
    np.testing.assert_array_equal(zero.value, 0)


def test_extreme_values_do_not_overflow():
    values = np.array([[1e308], [-1e308], [5e-324], [0.0]])
    levels = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    result = granulated_tau(from_arrays(values, np.array([4.0, 1.0, 2.0, 3.0]), levels))
    np.testing.assert_array_equal(result.by_hyper.value, [[1.0, 0.0]])


def test_measure_without_values_and_hyper_parameters_without_lines():
    levels = np.concatenate([GRID, np.zeros((24, 1), int)], axis=1)
    networks = population(8, levels=levels, seeds=2)
    networks.measures[:, 1] = np.nan
    for seeds in ("paired", "pooled"):  # seeds alone make no line
        result = granulated_tau(networks, seeds=seeds)
        assert np.isnan([result.value[1], result.low[1]]).all()
        np.testing.assert_array_equal(result.lines[1], 0)
        assert result.lines[0, 3] == 0
        assert np.isnan(result.by_hyper.value[0, 3])
        assert result.value[0] == pytest.approx(result.by_hyper.value[0, :3].mean())


@pytest.mark.parametrize("count", [1, 2])
def test_one_and_two_networks(count):
    networks = from_arrays(
        np.arange(count)[:, None] * 1.0, np.arange(count) * 1.0, np.arange(count)[:, None]
    )
    result = granulated_tau(networks)
    np.testing.assert_array_equal(result.value, np.nan if count == 1 else 1.0)
    assert np.isnan([result.low, result.high]).all()
    assert np.isnan(granulated_tau(from_arrays(np.ones((3, 1)), np.arange(3.0))).value).all()


def test_interval_of_paired_pairs_equals_the_loop():
    networks = population(9, levels=GRID[:16], seeds=2, measures=1, digits=0)
    result = granulated_tau(networks, form="a")
    terms = []
    for axis in range(3):
        rows = [
            (i, j)
            for i, j in itertools.combinations(range(32), 2)
            if networks.seeds[i] == networks.seeds[j]
            and (np.delete(networks.levels[i] != networks.levels[j], axis) == 0).all()
        ]
        lines = {}
        for i, j in rows:
            key = (*np.delete(networks.levels[i], axis), networks.seeds[i])
            lines.setdefault(key, []).append((i, j))
        for pairs in lines.values():
            for i, j in pairs:
                x = networks.measures[i, 0] - networks.measures[j, 0]
                y = networks.target[i] - networks.target[j]
                ends = networks.configurations[[i, j]]
                psi = result.by_hyper.value[0, axis]
                weight = 1 / (len(lines) * len(pairs) * 3)
                terms.append((set(ends), weight, weight * (np.sign(x) * np.sign(y) - psi), axis))
    shares = [(p, q) for p in terms for q in terms if p[0] & q[0]]
    f = sum(p[1] * q[1] for p, q in shares)
    variance = sum(p[2] * q[2] for p, q in shares) / (1 - f)
    alone = sum(p[2] * q[2] for p, q in shares if p[0] == q[0])
    quantile = stats.t.ppf(0.975, 2 / (f + 1 / 15))
    half = quantile * np.sqrt(max(variance, alone))
    assert result.high[0] - result.value[0] == pytest.approx(half, rel=1e-12)
    assert result.value[0] - result.low[0] == pytest.approx(half, rel=1e-12)


@pytest.mark.parametrize("seeds", ["paired", "pooled"])
def test_residuals_of_tau_b_are_its_derivatives_with_respect_to_the_pairs(seeds):
    networks = population(10, seeds=2, measures=1, digits=0)
    networks.measures[networks.levels[:, 1] == 0] = 3.0  # lines along which it is constant
    axis = granulated._axis(networks, np.ones(48, bool), 0, seeds == "paired", "b")
    mean = granulated._psi(axis, networks, np.array([0]), "b")
    x = np.sign(networks.measures[axis.first, 0] - networks.measures[axis.second, 0])
    y = np.sign(networks.target[axis.first] - networks.target[axis.second])

    def taus(weights):
        agree, moves, target_moves = (
            np.bincount(axis.line, weights * terms) for terms in (x * y, x != 0, y != 0)
        )
        return np.where(moves > 0, agree / np.sqrt(np.maximum(moves, 1) * target_moves), 0.0)

    tau = taus(np.ones(len(x)))
    assert (tau == 0).any()
    assert mean.value[0] == pytest.approx(tau.mean())
    between = (tau - tau.mean())[axis.line] / np.bincount(axis.line)[axis.line] / len(tau)
    for pair in range(len(x)):
        step = 1e-4 * (np.arange(len(x)) == pair)
        slope = (taus(1 + step).mean() - taus(1 - step).mean()) / 2e-4
        assert mean.residuals[pair, 0] == pytest.approx(slope + between[pair], abs=1e-9)
    assert abs(mean.residuals.sum()) < 1e-12


@pytest.mark.parametrize(
    ("shape", "seeds", "effect", "shared", "by_configuration", "by_seed"),
    [
        ((3, 3, 3), 1, 0.0, 0.0, 1.0, 0.0),
        ((3, 3, 3), 1, 0.0, 0.5, 1.0, 0.5),
        ((3, 3, 3), 4, 0.0, 0.0, 0.0, 1.0),
        ((3, 3, 3), 4, 1.0, 0.3, 0.7, 0.5),
        ((5, 4), 4, 0.0, 0.5, 1.0, 0.5),
    ],
)
def test_coverage_of_the_interval(shape, seeds, effect, shared, by_configuration, by_seed):
    generator = np.random.default_rng(12)
    noise = (effect, shared, by_configuration, by_seed)
    found = [granulated_tau(simulated(generator, shape, seeds, *noise)) for _ in range(400)]
    value, low, high = np.array([[one.value[0], one.low[0], one.high[0]] for one in found]).T
    assert 0.92 <= ((low <= value.mean()) & (value.mean() <= high)).mean() <= 0.98
    by_hyper = np.array([one.by_hyper for one in found])[:, :, 0]
    expected = by_hyper[:, 0].mean(0)
    covered = (by_hyper[:, 1] <= expected) & (expected <= by_hyper[:, 2])
    assert (covered.mean(0) > 0.91).all()


def test_coverage_is_conservative_where_lines_differ():
    generator = np.random.default_rng(13)
    found = [
        granulated_tau(simulated(generator, (3, 3, 3), 1, 2.0, 0.0, 0.3, 0.3)) for _ in range(400)
    ]
    value, low, high = np.array([[one.value[0], one.low[0], one.high[0]] for one in found]).T
    assert ((low <= value.mean()) & (value.mean() <= high)).mean() >= 0.95


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"seeds": "pool"}, "seeds: unknown name 'pool'"),
        ({"form": "c"}, "form: unknown name 'c'"),
        ({"level": 95.0}, r"level: found 95\.0"),
    ],
)
def test_refusals(arguments, words):
    with pytest.raises(InvalidInputError, match=words):
        granulated_tau(population(0), **arguments)
