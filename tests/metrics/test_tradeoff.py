"""Eq 4: published data-free points, closed forms, and a literal transcription of the objective."""

import dataclasses
import json
import time

import numpy as np
import pytest
from scipy.interpolate import RegularGridInterpolator, griddata
from scipy.optimize import brentq, minimize

from genjax.errors import InvalidInputError
from genjax.metrics.practical_grid import STATISTICS, Axes, Statistics, make_grid
from genjax.metrics.tradeoff import (
    PAPER,
    TradeOff,
    TradeOffOptions,
    data_free_point,
    data_only_point,
    make_trade_off,
    prior_share,
    sensitivity,
    spread,
    total,
    trade_off_point,
)

SSIM = np.array([0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0])
SHARE = np.array([0, 0.167, 0.286, 0.375, 0.444, 0.5])
CLIP = Axes(np.array([38.0, 56, 87, 167, 420]), SSIM, SHARE)
EFFICIENTNET = Axes(np.array([5.3, 7.8, 9.2, 12, 19, 30, 43, 66]), SSIM, SHARE)


def smooth_grid(axes=CLIP, seed=0):
    """A grid with the shapes of the paper: error falls with SSIM and rises with the share."""
    rng = np.random.default_rng(seed)
    size, ssim, share = np.meshgrid(*axes, indexing="ij")
    base = 0.7 * (1 - ssim) / 0.4 + 0.3 * share + 0.02 * np.cos(np.log(size))
    cells = [
        np.clip(w * base + 0.01 * rng.random(base.shape), 0, 1) for w in rng.uniform(0.2, 0.9, 6)
    ]
    return make_grid(axes, Statistics(*cells))


@pytest.mark.parametrize(("axes", "size"), [(CLIP, 147.0), (EFFICIENTNET, 22.6)])
def test_without_data_the_paper_preset_gives_the_published_point(axes, size):
    point = data_free_point(axes)
    assert point.converged
    assert abs(point.ssim - 0.747) < 0.001
    assert abs(point.novel_share - 0.325) < 0.001
    assert abs(point.size / size - 1) < 0.005


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0), (0.285, 0.8, 0.8), (0.8, 0.25, 0.25)])
def test_without_data_each_coordinate_is_the_root_of_its_derivative(weights):
    options = dataclasses.replace(PAPER, weights=weights)
    point = data_free_point(CLIP, options)
    z = (point.size - 38) / (420 - 38)
    boxes = ((0.6, 1.0), (0.5, 1.0), (0.0, 1.0))
    found = (point.ssim, 1 - point.novel_share, z)
    for v, a, (low, high) in zip(found, weights, boxes, strict=True):

        def slope(t, a=a, low=low, high=high, both=True):
            push = 5 * (np.exp(-10 * (high - t)) - np.exp(-10 * (t - low)))
            return 2 * a * t + (2 if both else 1) * push

        # The slack sits on its constraint (c = v) wherever it alone would rather be smaller.
        assert slope(v, both=False) > 0
        assert abs(v - brentq(slope, low, high)) < 2e-3


def literal(grid):
    """The objective as printed: griddata of the six, everything differentiated numerically."""
    z = (grid.size - grid.size[0]) / (grid.size[-1] - grid.size[0])
    zz, xx, yy = np.meshgrid(z, grid.ssim, 1 - grid.novel_share, indexing="ij")
    points = np.stack([xx.ravel(), yy.ravel(), zz.ravel()], axis=1)
    summed = sum(grid.statistics[name] for name in STATISTICS).ravel()
    box = [(grid.ssim[0], 1), (1 - grid.novel_share[-1], 1), (0, 1)] * 2

    def objective(v):
        at = np.array([v[:3]])
        f = griddata(points, summed, at)[0]
        edge = sum(
            np.exp(-10 * (t - lo)) + np.exp(-10 * (hi - t))
            for t, (lo, hi) in zip(v, box, strict=True)
        )
        return f + v[3] ** 2 + v[4] ** 2 + v[5] ** 2 + 0.5 * edge

    cons = [{"type": "ineq", "fun": lambda v, i=i: v[i + 3] - v[i]} for i in range(3)]
    return objective, box, cons


def test_the_paper_preset_is_its_code():
    small = Axes(
        np.array([38.0, 87, 420]), np.array([0.6, 0.75, 0.9, 1.0]), np.array([0, 0.286, 0.5])
    )
    grid = smooth_grid(small)
    objective, box, cons = literal(grid)
    theirs = minimize(
        objective, [0.6, 0.5, 0, 1, 1, 1], method="SLSQP", bounds=box, constraints=cons
    )
    ours = trade_off_point(grid)
    assert ours.converged == theirs.success
    assert ours.objective == pytest.approx(theirs.fun, abs=1e-6)
    z = (ours.size - 38) / (420 - 38)
    np.testing.assert_allclose([ours.ssim, 1 - ours.novel_share, z], theirs.x[:3], atol=1e-4)
    v = np.array([ours.ssim, 1 - ours.novel_share, z, *ours.info["slack"]])
    assert objective(v) == pytest.approx(ours.objective, abs=1e-9)


@pytest.mark.data
@pytest.mark.parametrize(
    ("panels", "axes", "expected"),
    [("abc", CLIP, (0.870, 0.287, 167)), ("def", EFFICIENTNET, (0.817, 0.286, 23))],
)
def test_additive_surrogate_of_the_published_marginals(data_dir, panels, axes, expected):
    figure = json.loads((data_dir / "practical_metric" / "fig2_marginals.json").read_text())
    cells = []
    for key in ("err", "serr", "perr", "kap", "skap", "pkap"):
        ssim, share, size = (np.array(figure[panel][key]) for panel in panels)
        grand = np.mean([ssim.mean(), share.mean(), size.mean()])
        cell = size[:, None, None] + ssim[None, :, None] + share[None, None, :] - 2 * grand
        cells.append(cell)
    point = make_trade_off(axes)(sum(cells))
    assert abs(point.ssim - expected[0]) < 0.005
    assert abs(point.novel_share - expected[1]) < 0.005
    assert abs(point.size / expected[2] - 1) < 0.02


def test_without_penalty_and_weights_the_data_decide_alone():
    axes = Axes(np.array([10.0, 20, 40]), np.array([0.6, 0.8, 1.0]), np.array([0, 0.25, 0.5]))
    size, ssim, share = np.meshgrid(*axes, indexing="ij")
    slope = 0.3 * (1 - ssim) + 0.2 * share + 0.004 * size  # linear, no kinks: one minimum
    grid = make_grid(axes, Statistics(*[slope] * 6))
    point = trade_off_point(grid, TradeOffOptions(weights=(0, 0, 0), penalty=0))
    only = data_only_point(grid)
    for axis in ("ssim", "novel_share", "size"):
        assert getattr(point, axis) == pytest.approx(getattr(only, axis), abs=1e-6)
    assert point.coordinates() == pytest.approx({"ssim": 1, "novel_share": 0, "size": 10}, abs=1e-6)
    assert point.objective == pytest.approx(total(grid).min())


def test_multilinear_equals_its_transcription():
    grid = smooth_grid()
    ours = trade_off_point(grid, dataclasses.replace(PAPER, interpolation="multilinear"))
    z = (grid.size - 38) / (420 - 38)
    cells = np.transpose(total(grid), (1, 2, 0))[:, ::-1]
    oracle = RegularGridInterpolator((grid.ssim, 1 - grid.novel_share[::-1], z), cells)
    at = np.array([ours.ssim, 1 - ours.novel_share, (ours.size - 38) / (420 - 38)])
    v, low, high = np.r_[at, ours.info["slack"]], [0.6, 0.5, 0] * 2, np.ones(6)
    edge = np.exp(-10 * (v - low)) + np.exp(-10 * (high - v))
    assert ours.objective == pytest.approx(oracle(at)[0] + (v[3:] ** 2).sum() + 0.5 * edge.sum())


def test_log_sizes_are_the_linear_problem_on_log_coordinates():
    grid = smooth_grid()
    log = trade_off_point(grid, TradeOffOptions(size_scale="log"))
    relabelled = grid._replace(size=np.log(grid.size))
    assert np.log(log.size) == pytest.approx(trade_off_point(relabelled).size, abs=1e-9)
    free = data_free_point(CLIP, TradeOffOptions(size_scale="log"))
    assert np.log(free.size / 38) / np.log(420 / 38) == pytest.approx(0.2851, abs=1e-3)


def test_prior_share_at_known_points():
    def at(ssim, share, size):
        return TradeOff(ssim, share, size, 0.0, True, {})

    shares = prior_share(at(0.8, 0.3, 5.0), at(0.8, 0.2, 9.0), at(1.0, 0.2, 11.0))
    assert shares["ssim"] == 1  # did not move
    assert np.isnan(shares["novel_share"])  # data and prior want the same
    assert shares["size"] == 1  # moved the wrong way: nothing of it is the data's pull
    half = prior_share(at(0.7, 0.3, 10.0), at(0.8, 0.2, 9.0), at(0.6, 0.6, 11.0))
    assert half == pytest.approx({"size": 0.5, "ssim": 0.5, "novel_share": 0.75})
    near = Axes(np.array([1.0, 100.0]), np.array([0.6, 1.0]), np.array([0.0, 0.5]))
    noise = prior_share(at(0.7, 0.3, 10.0), at(0.8, 0.2, 9.0), at(0.6, 0.6, 11.0), near)
    assert np.isnan(noise["size"])  # 2 of an axis of 99: a ratio of such numbers is noise
    assert noise["ssim"] == pytest.approx(0.5)


def test_sensitivity_varies_one_choice_at_a_time():
    grid = smooth_grid(Axes(CLIP.size[[0, 2, 4]], SSIM[::4], SHARE[::2]))
    table = sensitivity(grid)
    counts = table.groupby("setting").size()
    assert counts["start"] >= 12
    assert counts["weights"] == 4
    paper = trade_off_point(grid)
    same = table[(table.ssim == paper.ssim) & (table["size"] == paper.size)]
    assert set(same.setting) == set(table.setting)  # the paper's own choice is in every setting
    off = table[(table.setting == "penalty") & (table.value == "0.")].iloc[0]
    expected = trade_off_point(grid, TradeOffOptions(penalty=0))
    assert (off.ssim, off["size"]) == (expected.ssim, expected.size)
    ranges = spread(table).set_index("setting")
    starts = table[table.setting == "start"]
    assert ranges.loc["start", "ssim"] == starts.ssim.max() - starts.ssim.min()
    assert ranges.loc["start", "solves"] == len(starts)


def test_a_solve_takes_milliseconds():
    solve, cells = make_trade_off(EFFICIENTNET), total(smooth_grid(EFFICIENTNET))
    times = []
    for _ in range(7):
        start = time.process_time()
        solve(cells)
        times.append(time.process_time() - start)
    assert min(times) < 0.015


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"interpolation": "delauny"}, "did you mean 'delaunay'"),
        ({"size_scale": "cubic"}, "size_scale: unknown name"),
        ({"weights": (1.0, 1.0, -1.0)}, "none may be negative"),
        ({"penalty": -0.1}, "penalty: found -0.1"),
        ({"sharpness": 0.0}, "sharpness: found 0"),
        ({"start": (0.6, 0.5, 0.0, 1.0, 1.0, float("nan"))}, "start: found"),
    ],
)
def test_options_refuse(options, words):
    with pytest.raises(InvalidInputError, match=words):
        TradeOffOptions(**options)


def test_axes_with_one_value_and_wrong_cells_are_refused():
    with pytest.raises(InvalidInputError, match="size: found 1 value"):
        data_free_point(CLIP._replace(size=np.array([5.0])))
    with pytest.raises(InvalidInputError, match="cells: found shape"):
        make_trade_off(CLIP)(np.zeros((2, 2, 2)))
