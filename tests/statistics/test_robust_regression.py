"""Worst-environment regression: closed forms, scipy's SLSQP, a fine grid, optimality conditions."""

import itertools

import numpy as np
import pytest
from scipy import optimize

from genjax.errors import InvalidInputError
from genjax.statistics.networks import from_arrays
from genjax.statistics.robust_regression import level_environments, robust_regression

WHOLE = np.arange(30)


def example(seed, networks=30, environments=5, digits=None, pull=0.7):
    generator = np.random.default_rng(seed)
    x = generator.normal(size=networks) + generator.integers(0, 3)
    y = 0.4 * generator.normal(size=networks) + pull * x
    if digits is not None:
        x, y = np.round(x, digits), np.round(y, digits)
    sizes = generator.integers(2, networks + 1, environments)
    return x, y, [generator.choice(networks, size, replace=False) for size in sizes]


def errors_of(x, y, groups, slope, intercept):
    return np.array([np.mean((y[g] - slope * x[g] - intercept) ** 2) for g in groups])


def solved(x, y, groups):
    """Smallest largest error by SLSQP on the epigraph, from several starts."""

    def errors(point):
        return errors_of(x, y, groups, point[0], point[1])

    found = []
    for slope, intercept in itertools.product([0.0, 0.5, 2.0], [0.0, float(y.mean())]):
        start = np.array([slope, intercept, errors([slope, intercept]).max()])
        result = optimize.minimize(
            lambda point: point[2],
            start,
            constraints=[{"type": "ineq", "fun": lambda point: point[2] - errors(point)}],
            bounds=[(0, None), (None, None), (None, None)],
            method="SLSQP",
            options={"ftol": 1e-15, "maxiter": 500},
        )
        found.append(errors([max(result.x[0], 0), result.x[1]]).max())
    return np.sqrt(min(found))


@pytest.mark.parametrize("digits", [None, 0])
@pytest.mark.parametrize("pull", [-0.5, 0.0, 0.7])
@pytest.mark.parametrize("seed", range(4))
def test_optimum_equals_slsqp(seed, pull, digits):
    x, y, groups = example(seed, digits=digits, pull=pull)
    fits = robust_regression(x[:, None], y, groups)
    slope, intercept = fits.slope[0], fits.intercept[0]
    assert slope >= 0
    assert fits.robust_rmse[0] == pytest.approx(solved(x, y, groups), rel=1e-7)
    found = errors_of(x, y, groups, slope, intercept)
    assert np.sqrt(found.max()) == pytest.approx(fits.robust_rmse[0], rel=1e-12)
    assert found[fits.worst_environment[0]] == pytest.approx(found.max(), rel=1e-8)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_point_of_a_fine_grid_is_better(seed):
    x, y, groups = example(seed + 10)
    fits = robust_regression(x[:, None], y, groups)
    slope, intercept, best = fits.slope[0], fits.intercept[0], fits.robust_rmse[0] ** 2
    for width in (1.0, 1e-2, 1e-4):
        steps = np.linspace(-width, width, 41)
        slopes = np.maximum(slope + steps, 0)
        grid = [errors_of(x, y, groups, s, intercept + b).max() for s in slopes for b in steps]
        assert min(grid) >= best * (1 - 1e-13)


@pytest.mark.parametrize("pull", [-0.5, 0.7])
@pytest.mark.parametrize("seed", range(3))
def test_optimality_conditions(seed, pull):
    # A convex combination of the gradients of the worst environments is 0, or points to slopes
    # below 0 where the slope is 0.
    x, y, groups = example(seed + 20, pull=pull)
    fits = robust_regression(x[:, None], y, groups)
    slope, intercept = fits.slope[0], fits.intercept[0]
    found = errors_of(x, y, groups, slope, intercept)
    active = np.flatnonzero(found >= found.max() * (1 - 1e-9))
    residuals = [y[groups[k]] - slope * x[groups[k]] - intercept for k in active]
    gradients = np.array(
        [
            (-2 * np.mean(r * x[groups[k]]), -2 * r.mean())
            for k, r in zip(active, residuals, strict=True)
        ]
    )
    columns = np.concatenate([gradients.T, np.ones((1, len(active)))])
    if slope == 0:
        columns = np.concatenate([columns, [[-1.0], [0.0], [0.0]]], axis=1)
    assert optimize.nnls(columns, np.array([0.0, 0.0, 1.0]))[1] < 1e-7
    assert (slope == 0) == (pull < 0)


@pytest.mark.parametrize("pull", [-0.5, 0.7])
def test_one_environment_is_least_squares_with_a_slope_of_at_least_zero(pull):
    x, y, _ = example(30, pull=pull)
    fits = robust_regression(x[:, None], y, np.ones((1, 30), bool))
    slope, intercept = np.polyfit(x, y, 1)
    if pull < 0:
        slope, intercept = 0.0, y.mean()
        assert fits.slope[0] == 0
    assert fits.slope[0] == pytest.approx(slope, rel=1e-12)
    assert fits.intercept[0] == pytest.approx(intercept, rel=1e-12)
    rmse = np.sqrt(np.mean((y - slope * x - intercept) ** 2))
    assert fits.robust_rmse[0] == pytest.approx(rmse, rel=1e-13)
    assert fits.bias_only_rmse[0] == pytest.approx(y.std(), rel=1e-13)
    assert fits.bias_only_intercept[0] == pytest.approx(y.mean(), rel=1e-13)
    assert fits.worst_environment[0] == fits.bias_only_worst[0] == 0


def test_constant_of_single_networks_is_the_middle_of_the_extremes():
    target = np.array([0.1, 0.9, 0.3, 0.35])
    fits = robust_regression(np.ones((4, 1)), target, [np.array([k]) for k in range(4)])
    assert fits.bias_only_intercept[0] == pytest.approx(0.5)
    assert fits.bias_only_rmse[0] == pytest.approx(0.4)
    assert fits.bias_only_worst[0] == 0
    assert (fits.slope[0], fits.robust_rmse[0]) == (0.0, fits.bias_only_rmse[0])


def test_line_of_single_networks_is_the_chebyshev_line():
    # Three points: the residuals of the best line are equal and alternate.
    x, y = np.array([[0.0], [1.0], [3.0]]), np.array([0.0, 2.0, 3.0])
    fits = robust_regression(x, y, [np.array([k]) for k in range(3)])
    assert fits.slope[0] == pytest.approx(1.0)
    assert fits.intercept[0] == pytest.approx(0.5)
    assert fits.robust_rmse[0] == pytest.approx(0.5)
    assert fits.worst_environment[0] == 0


@pytest.mark.parametrize("scale", [1e-300, 1e-9, 1e12, 1e300])
@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e5])
def test_scale_of_measure_and_target_does_not_matter(scale, unit):
    x, y, groups = example(40)
    one = robust_regression(x[:, None], y, groups)
    other = robust_regression(scale * x[:, None], unit * y, groups)
    assert other.slope[0] * scale / unit == pytest.approx(one.slope[0], rel=1e-9)
    for name in ("robust_rmse", "intercept", "bias_only_rmse", "bias_only_intercept"):
        expected = getattr(one, name)[0] * unit
        assert getattr(other, name)[0] == pytest.approx(expected, rel=1e-9)


def test_large_offset_of_a_measure_does_not_matter():
    x, y, groups = example(41, digits=3)
    one = robust_regression(x[:, None], y, groups)
    other = robust_regression(x[:, None] + 2.0**30, y, groups)
    assert other.slope[0] == pytest.approx(one.slope[0], rel=1e-6)
    assert other.robust_rmse[0] == pytest.approx(one.robust_rmse[0], rel=1e-6)


def test_perfect_fit_and_constant_target():
    x, _, groups = example(42)
    fits = robust_regression(x[:, None], 3 * x - 2, groups)
    assert fits.robust_rmse[0] < 1e-14
    assert (fits.slope[0], fits.intercept[0]) == pytest.approx((3, -2), rel=1e-12)
    flat = robust_regression(x[:, None], np.full(30, 0.3), groups)
    assert (flat.slope[0], flat.robust_rmse[0], flat.bias_only_rmse[0]) == (0.0, 0.0, 0.0)
    assert flat.intercept[0] == 0.3


def test_measures_do_not_depend_on_each_other_and_missing_values_are_left_out():
    x, y, groups = example(43)
    generator = np.random.default_rng(44)
    measures = np.stack([x, generator.normal(size=30), x, np.full(30, 2.0), np.full(30, np.nan)], 1)
    measures[groups[0], 2] = np.nan
    measures[3, 1] = np.inf
    fits = robust_regression(measures, y, groups)
    for column in range(4):
        known = np.isfinite(measures[:, column])
        left = {k: g[known[g]] for k, g in enumerate(groups) if known[g].any()}
        alone = robust_regression(
            measures[:, [column]][known], y[known], [np.cumsum(known)[g] - 1 for g in left.values()]
        )
        for name in fits._fields:
            found, expected = getattr(fits, name)[column], getattr(alone, name)[0]
            if name in ("worst_environment", "bias_only_worst"):
                expected = list(left)[expected]
            assert found == pytest.approx(expected, rel=1e-12)
    assert fits.slope[3] == 0
    assert fits.robust_rmse[3] == fits.bias_only_rmse[3]
    assert np.isnan([fits.slope[4], fits.robust_rmse[4], fits.bias_only_rmse[4]]).all()
    assert fits.worst_environment[4] == fits.bias_only_worst[4] == -1


def test_duplicated_environments_and_networks_change_nothing():
    x, y, groups = example(45)
    one = robust_regression(x[:, None], y, groups)
    twice = [np.concatenate([group, group]) for group in groups]
    other = robust_regression(x[:, None], y, twice + groups)
    for name in one._fields:
        assert getattr(other, name)[0] == pytest.approx(getattr(one, name)[0], rel=1e-9)


@pytest.mark.parametrize("count", [1, 2])
def test_one_and_two_networks(count):
    measures, target = np.arange(count)[:, None] * 1.0, np.arange(count) * 1.0 + 0.5
    fits = robust_regression(measures, target, np.ones((1, count), bool))
    assert fits.robust_rmse[0] < 1e-15
    assert fits.slope[0] == pytest.approx(count - 1)
    assert fits.bias_only_rmse[0] == pytest.approx(0.5 * (count - 1))


def test_membership_and_indices_are_the_same():
    x, y, groups = example(46)
    members = np.array([np.isin(WHOLE, group) for group in groups])
    one, other = (robust_regression(x[:, None], y, form) for form in (groups, members))
    for name in one._fields:
        assert getattr(other, name)[0] == pytest.approx(getattr(one, name)[0], rel=1e-12)


def test_levels_are_environments():
    levels = np.array(list(itertools.product(range(2), range(3), [0])))
    networks = from_arrays(np.zeros((6, 1)), np.arange(6.0), levels)
    members, names = level_environments(networks)
    assert names.tolist() == [[0, 0], [0, 1], [1, 0], [1, 1], [1, 2]]
    for row, (hyper, level) in zip(members, names, strict=True):
        np.testing.assert_array_equal(row, levels[:, hyper] == level)
    members, names = level_environments(from_arrays(np.zeros((2, 1)), np.arange(2.0)))
    assert (members.tolist(), names.tolist()) == ([[True, True]], [[-1, -1]])


@pytest.mark.parametrize(
    ("environments", "words"),
    [
        (np.ones((2, 7), bool), r"environments: found shape \(2, 7\)"),
        ([], "environments: found none"),
        (np.zeros((0, 30), bool), "environments: found none"),
        ([WHOLE, WHOLE[:0]], "environments: number 1 is empty"),
        ([WHOLE + 1], "environments: number 0 has network 30"),
        ([WHOLE - 1], "environments: number 0 has network -1"),
    ],
)
def test_refusals(environments, words):
    x, y, _ = example(47)
    with pytest.raises(InvalidInputError, match=words):
        robust_regression(x[:, None], y, environments)


def test_a_target_that_is_not_finite_is_refused():
    x, y, groups = example(48)
    y[4] = np.inf
    with pytest.raises(InvalidInputError, match="target: found NaN or infinity"):
        robust_regression(x[:, None], y, groups)
