"""Intervals of the practical metric: a loop written out as the oracle, failures, and speed."""

import time

import numpy as np
import pytest

from genjax.errors import DivergenceError, InvalidInputError
from genjax.metrics.practical import (
    STATISTICS,
    Axes,
    Statistics,
    data_free_point,
    generalization_and_diversity,
    make_grid,
    marginals,
    statistics,
    trade_off_point,
)
from genjax.statistics.practical import average_grid, bootstrap, interval_table
from genjax.statistics.resampling import percentile_interval, plan_draws

AXES = Axes(np.array([1e3, 4e3, 2e4]), np.array([0.6, 0.75, 0.9, 1.0]), np.array([0, 0.25, 0.5]))


def population(axes=AXES, seeds=4, classes=8, seed=0):
    """Errors that fall with SSIM; the novel half of the classes counts as the share grows."""
    rng = np.random.default_rng(seed)
    shape = (len(axes.size), seeds, len(axes.ssim), len(axes.novel_share), classes)
    level = np.linspace(0.8, 0.1, len(axes.ssim))[:, None, None]
    error = np.clip(level * (0.5 + rng.random(shape)), 0, 1)
    kappa = np.clip(error * 1.05, 0, 2)
    for k, share in enumerate(axes.novel_share):
        counted = round(classes / 2 / (1 - share))
        error[..., k, counted:] = kappa[..., k, counted:] = np.nan
    return error, kappa


def looped_grid(error, kappa, taken, classes, preset):
    """Seeds and classes of a draw, cell by cell, network by network."""
    shape = (6, error.shape[0], *error.shape[2:4])
    cells = np.zeros(shape)
    for s, level, z in np.ndindex(shape[1:]):
        rows = []
        for r in np.repeat(np.arange(len(taken)), taken):
            e, k = error[s, r, level, z, classes], kappa[s, r, level, z, classes]
            if not np.isnan(e).all():
                rows.append(list(statistics(e, k, preset=preset)))
        cells[:, s, level, z] = np.mean(rows, axis=0)
    return make_grid(AXES, Statistics(*cells))


@pytest.mark.parametrize("preset", ["clean", "paper"])
def test_values_and_intervals_equal_a_loop(preset):
    error, kappa = population()
    error[1, 2], kappa[1, 2] = np.nan, np.nan  # one network failed
    found = bootstrap(error, kappa, AXES, draws=4, seed=5, preset=preset)
    assert found.draws == 4
    plan = plan_draws(error, 4, seed=5)
    everything = (np.ones(4, int), np.arange(8))
    grids = [
        looped_grid(error, kappa, *draw, preset)
        for draw in (everything, *zip(plan.seeds, plan.classes, strict=True))
    ]

    def check(interval, number, corrected=False):
        value, *draws = (number(grid) for grid in grids)
        draws = np.stack(draws)
        if corrected:  # centred on the value: resampling few classes biases spreads downwards
            draws = draws - draws.mean(0) + value
        low, high = percentile_interval(draws, units=plan.units)
        for ours, theirs in zip(interval, (value, low, high), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-6)

    for name in STATISTICS:
        for axis in ("size", "ssim", "novel_share"):
            marginal = found.marginals[name][axis]
            check(marginal, lambda g, n=name, a=axis: marginals(g)[n][a][1], corrected=True)
        mean = found.grand_means[name]
        check(mean, lambda g, n=name: g.statistics[n].mean(), corrected=True)
    for axis in ("size", "ssim", "novel_share"):
        found_shape = found.shapes[axis]
        means = [marginals(grid)["error_mean"][axis][1] for grid in grids]
        low, high = int(np.argmin(means[0])), int(np.argmax(means[0]))
        checks = {
            "total": lambda curve: curve[-1] - curve[0],
            "steps": np.diff,
            "widest": lambda curve, low=low, high=high: curve[high] - curve[low],
        }
        for name, number in checks.items():
            check(
                getattr(found_shape, name),
                lambda g, a=axis, f=number: f(marginals(g)["error_mean"][a][1]),
                corrected=True,
            )
    assert found.factors == ("seeds", "classes")
    points = {id(grid): trade_off_point(grid) for grid in grids}
    for axis in ("size", "ssim", "novel_share"):
        check(found.point[axis], lambda g, a=axis: getattr(points[id(g)], a))
    for k, name in enumerate(("generalization", "diversity")):
        check(found.bounds[name], lambda g, k=k: generalization_and_diversity(g, points[id(g)])[k])


@pytest.mark.slow
def test_intervals_of_the_spread_over_classes_cover_it():
    """Simulated: uncorrected intervals covered 67 % of the true standard deviation."""
    rng = np.random.default_rng(8)
    axes = Axes(np.array([1e3, 1e4]), np.array([0.6, 1.0]), np.array([0.0, 0.5]))
    covered, sigma = [], 0.1
    for simulation in range(120):
        classes = rng.normal(0.4, sigma, 10)
        error = classes + rng.normal(0, 0.01, (2, 8, 2, 2, 10))
        found = bootstrap(error, error, axes, draws=100, seed=simulation)
        _, low, high = found.grand_means["error_std"]
        covered.append(low <= sigma <= high)
    assert 0.82 <= np.mean(covered) <= 0.99, np.mean(covered)


def test_a_failed_network_leaves_the_others_alone():
    error, kappa = population()
    whole = average_grid(error, kappa, AXES)
    broken, broken_kappa = error.copy(), kappa.copy()
    broken[1, 2], broken_kappa[1, 2] = np.nan, np.nan
    grid = average_grid(broken, broken_kappa, AXES)
    others = average_grid(error[:, [0, 1, 3]], kappa[:, [0, 1, 3]], AXES)
    for name in STATISTICS:
        np.testing.assert_allclose(grid.statistics[name][1], others.statistics[name][1], rtol=1e-14)
        np.testing.assert_array_equal(grid.statistics[name][::2], whole.statistics[name][::2])


def test_equal_networks_and_classes_give_no_width():
    error = np.broadcast_to(np.linspace(0.6, 0.2, 4)[:, None, None], (3, 4, 4, 3, 6)).copy()
    found = bootstrap(error, error, AXES, draws=20)
    for low, high in (found.bounds["generalization"][1:], found.point["ssim"][1:]):
        assert low == pytest.approx(high, abs=1e-9)
    value, low, high = found.marginals["error_mean"]["ssim"]
    np.testing.assert_allclose(value, np.linspace(0.6, 0.2, 4), rtol=1e-12)
    np.testing.assert_allclose([low, high], [value, value], rtol=1e-12)


def test_one_seed_per_size_leaves_the_classes_to_resample():
    error, kappa = population(seeds=1, classes=12)
    found = bootstrap(error, kappa, AXES, draws=40, seed=2)
    assert found.factors == ("classes",)
    plan = plan_draws(error, 40, seed=2)
    grids = [looped_grid(error, kappa, np.ones(1, int), c, "clean") for c in plan.classes]
    drawn = np.array([marginals(grid)["error_mean"]["ssim"][1] for grid in grids])
    value = marginals(found.grid)["error_mean"]["ssim"][1]
    ends = percentile_interval(drawn - drawn.mean(0) + value, units=plan.units)
    for ours, theirs in zip(found.marginals["error_mean"]["ssim"][1:], ends, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9)
    table = interval_table(found)
    assert (table.loc[table.quantity == "marginal", "low"] < table["high"][:60]).all()
    # Seeds of which every network failed say nothing, and must not take the intervals away.
    padded = np.full((3, 4, *error.shape[2:]), np.nan)
    padded_kappa = padded.copy()
    padded[:, 2:3], padded_kappa[:, 2:3] = error, kappa
    again = interval_table(bootstrap(padded, padded_kappa, AXES, draws=40, seed=2))
    assert again.equals(table)


def test_prior_share_without_data_influence_is_one():
    error = np.full((3, 4, 4, 3, 6), 0.3)
    found = bootstrap(error, error, AXES, draws=5)
    free = data_free_point(AXES)
    for axis in ("size", "ssim", "novel_share"):
        assert found.point[axis].value == pytest.approx(getattr(free, axis), rel=1e-6)
        assert found.prior_share[axis].value == pytest.approx(1, abs=1e-5)


def test_same_seed_same_numbers_and_fewer_factors_are_narrower():
    error, kappa = population()
    both = interval_table(bootstrap(error, kappa, AXES, draws=15, seed=3))
    again = interval_table(bootstrap(error, kappa, AXES, draws=15, seed=3))
    assert both.equals(again)
    alike = np.repeat(error[:, :1], 4, axis=1)  # seeds do not differ: only classes matter
    seeds = bootstrap(alike, alike, AXES, draws=20, resample=("seeds",))
    low, high = seeds.grand_means["error_mean"][1:]
    assert low == pytest.approx(high, abs=1e-12)
    classes = bootstrap(alike, alike, AXES, draws=20, resample=("classes",))
    low, high = classes.grand_means["error_mean"][1:]
    assert high - low > 1e-3


def test_table_is_complete_and_ordered():
    error, kappa = population()
    table = interval_table(bootstrap(error, kappa, AXES, draws=10))
    assert len(table) == 6 * (3 + 4 + 3) + 6 + 3 + 2 + 3 + (3 + 4 + 3)
    bracket = table.dropna(subset=["low"])
    assert (bracket.low <= bracket.high).all()
    cell = table.query("quantity == 'marginal' and name == 'error_mean' and axis == 'ssim'")
    cell = cell[cell.coordinate == 0.75]
    grid = average_grid(error, kappa, AXES)
    assert cell.value.item() == pytest.approx(grid.statistics["error_mean"][:, 1].mean())


def test_refusals():
    error, kappa = population()
    with pytest.raises(InvalidInputError, match="error: found shape"):
        bootstrap(error[:2], kappa[:2], AXES)
    with pytest.raises(InvalidInputError, match="kappa: found shape"):
        bootstrap(error, kappa[:, :2], AXES)
    with pytest.raises(InvalidInputError, match="infinite"):
        bootstrap(np.where(error > 0.5, np.inf, error), kappa, AXES)
    broken = error.copy()
    broken[0, :, 0, 0] = np.nan
    with pytest.raises(InvalidInputError, match=r"error_mean: found nan at size=1000, ssim=0.6"):
        bootstrap(broken, kappa, AXES)
    dead, dead_kappa = error.copy(), kappa.copy()
    dead[1], dead_kappa[1] = np.nan, np.nan
    with pytest.raises(DivergenceError, match="every network of size 4000 failed"):
        bootstrap(dead, dead_kappa, AXES)


@pytest.mark.slow
def test_the_main_job_takes_seconds():
    share = np.array([0, 0.167, 0.286, 0.375, 0.444, 0.5])
    axes = Axes(np.geomspace(1e3, 1e6, 5), np.r_[np.arange(0.6, 0.951, 0.05), 1.0], share)
    error, kappa = population(axes, seeds=8, classes=10)
    start = time.process_time()  # processor time: neighbours on the machine do not count
    for _ in range(2):
        assert bootstrap(error, kappa, axes, draws=200).draws == 200
    assert time.process_time() - start < 10
