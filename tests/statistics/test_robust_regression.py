"""The worst-case affine fit against a fine grid, closed forms, and a generic solver."""

import numpy as np
import pytest
from scipy import optimize

from genjax import errors
from genjax.statistics import networks, robust_regression
from genjax.statistics.robust_regression import robust_fit


def worst(target, measure, environments, slope, intercept):
    return max(np.mean((target[e] - slope * measure[e] - intercept) ** 2) for e in environments)


def population(seed, groups=5, each=12):
    rng = np.random.default_rng(seed)
    target = rng.normal(size=groups * each) + np.repeat(rng.normal(size=groups), each)
    measure = rng.normal(size=groups * each) + rng.uniform(-1, 2) * target
    environments = [np.arange(g * each, (g + 1) * each) for g in range(groups)]
    return target, measure, environments


@pytest.mark.parametrize("seed", range(8))
def test_no_point_of_a_fine_grid_is_better(seed):
    target, measure, environments = population(seed)
    fit = robust_fit(target, measure, environments)
    reached = worst(target, measure, environments, fit.slope, fit.intercept)
    np.testing.assert_allclose(fit.robust_rmse, np.sqrt(reached), rtol=1e-9)
    slopes = np.maximum(fit.slope + np.linspace(-2, 2, 161), 0)
    intercepts = fit.intercept + np.linspace(-2, 2, 161)
    best = min(worst(target, measure, environments, w, b) for w in slopes for b in intercepts)
    assert reached <= best + 1e-9
    # Steps too small for the grid: the problem is convex, so a local check suffices.
    for step in (1e-3, 1e-5):
        for angle in np.linspace(0, 2 * np.pi, 64, endpoint=False):
            w, b = fit.slope + step * np.cos(angle), fit.intercept + step * np.sin(angle)
            assert worst(target, measure, environments, max(w, 0.0), b) >= reached - 1e-9
    # At the optimum several environments are equally bad; the named one is among them.
    named = environments[fit.worst_environment]
    np.testing.assert_allclose(
        worst(target, measure, [named], fit.slope, fit.intercept), reached, rtol=1e-6
    )


@pytest.mark.parametrize("seed", range(3))
def test_a_generic_solver_does_not_find_better(seed):
    target, measure, environments = population(seed + 20)
    fit = robust_fit(target, measure, environments)
    tried = [
        optimize.minimize(
            lambda x: worst(target, measure, environments, abs(x[0]), x[1]),
            start,
            method="Nelder-Mead",
            options={"xatol": 1e-10, "fatol": 1e-12, "maxiter": 4000},
        ).fun
        for start in ((0.0, 0.0), (1.0, 0.0), (0.2, 1.0), (0.5, -1.0))
    ]
    np.testing.assert_allclose(fit.robust_rmse**2, min(tried), rtol=1e-6)


def test_one_environment_is_least_squares_with_a_slope_that_is_not_negative():
    target, measure, _ = population(3)
    whole = [np.arange(len(target))]
    rising = measure * np.sign(np.corrcoef(target, measure)[0, 1])
    fit = robust_fit(target, rising, whole)
    np.testing.assert_allclose([fit.slope, fit.intercept], np.polyfit(rising, target, 1), rtol=1e-5)
    fallen = robust_fit(target, -rising, whole)
    np.testing.assert_allclose(fallen.slope, 0, atol=1e-7)
    np.testing.assert_allclose(fallen.robust_rmse, target.std(), rtol=1e-9)


def test_bias_only_is_the_middle_of_the_worst_two():
    target = np.array([0.0, 0.0, 10.0, 10.0, 4.0])
    fit = robust_fit(target, None, [np.array([0, 1]), np.array([2, 3]), np.array([4])])
    np.testing.assert_allclose([fit.slope, fit.intercept, fit.robust_rmse], [0, 5, 5])


@pytest.mark.parametrize("scale", [1e12, 1e-9])
def test_units_do_not_matter(scale):
    target, measure, environments = population(1)
    plain = robust_fit(target, measure, environments)
    scaled = robust_fit(target, scale * measure, environments)
    np.testing.assert_allclose(scaled.slope * scale, plain.slope, rtol=1e-5)
    np.testing.assert_allclose(scaled.robust_rmse, plain.robust_rmse, rtol=1e-7)
    other = robust_fit(1e6 * target + 5, measure, environments)
    np.testing.assert_allclose(other.robust_rmse, 1e6 * plain.robust_rmse, rtol=1e-6)


def test_constant_measures_and_targets():
    environments = [np.array([0, 1]), np.array([2])]
    fit = robust_fit(np.array([1.0, 1.0, 3.0]), np.ones(3), environments)
    np.testing.assert_allclose([fit.slope, fit.intercept, fit.robust_rmse], [0, 2, 1])
    flat = robust_fit(np.ones(3), np.arange(3.0), environments)
    np.testing.assert_allclose([flat.intercept, flat.robust_rmse], [1, 0], atol=1e-9)


def test_the_table_leaves_out_networks_without_a_value():
    rng = np.random.default_rng(0)
    levels = np.stack(np.meshgrid(range(3), range(2), range(4), indexing="ij"), -1).reshape(-1, 3)
    target = rng.normal(size=24)
    measures = np.column_stack([target, rng.normal(size=24), np.full(24, np.nan)])
    measures[levels[:, 0] == 2, 1] = np.nan
    given = networks.from_arrays(measures, target, levels)
    environments = robust_regression.level_environments(given)
    assert len(environments.names) == 9
    table = robust_regression.worst_case_fits(given, environments)
    assert table["measure"].tolist() == ["bias only", "measure.0", "measure.1"]
    np.testing.assert_allclose(table["robust_rmse"][1], 0, atol=1e-6)
    known = levels[:, 0] != 2
    members = [np.flatnonzero(m & known) for m in environments.members if (m & known).any()]
    alone = robust_fit(target, np.nan_to_num(measures[:, 1]), members)
    np.testing.assert_allclose(table["robust_rmse"][2], alone.robust_rmse, rtol=1e-6)
    nothing = networks.from_arrays(measures, target)
    none = robust_regression.level_environments(nothing)
    assert robust_regression.worst_case_fits(nothing, none).empty


def test_no_environment_is_refused():
    with pytest.raises(errors.InvalidInputError, match="environments: found none"):
        robust_fit(np.arange(3.0), np.arange(3.0), [])
    with pytest.raises(errors.InvalidInputError, match="or an empty one"):
        robust_fit(np.arange(3.0), np.arange(3.0), [np.array([0]), np.array([], int)])
