"""The practical metric: numpy and pandas as oracles, and the paper's own published numbers."""

import json

import numpy as np
import pandas as pd
import pytest
from numpy.polynomial import polynomial

from genjax.errors import InvalidInputError
from genjax.metrics.practical import (
    STATISTICS,
    Axes,
    Statistics,
    TradeOff,
    balanced_identity_gap,
    bounds,
    chance_corrected_error,
    from_table,
    generalization_and_diversity,
    make_grid,
    marginals,
    pareto_front,
    redundancy,
    statistics,
    to_table,
)

SSIM = np.array([0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0])
SHARE = np.array([0, 0.167, 0.286, 0.375, 0.444, 0.5])
CLIP = np.array([38.0, 56, 87, 167, 420])
EFFICIENTNET = np.array([5.3, 7.8, 9.2, 12, 19, 30, 43, 66])


def random_grid(sizes=4, levels=3, shares=3, seed=0):
    rng = np.random.default_rng(seed)
    axes = Axes(
        np.sort(rng.uniform(1e3, 1e6, sizes)),
        np.linspace(0.6, 1, levels),
        np.linspace(0, 0.5, shares),
    )
    return make_grid(axes, Statistics(*rng.random((6, sizes, levels, shares))))


@pytest.mark.parametrize(("preset", "ddof"), [("clean", 1), ("paper", 0)])
def test_statistics_equal_pandas_and_numpy(preset, ddof):
    rng = np.random.default_rng(0)
    error, kappa = rng.random((2, 4, 3, 11))
    error[rng.random(error.shape) < 0.3] = np.nan
    kappa[0, 0, 3:] = np.nan
    found = statistics(error, kappa, preset=preset)
    for index in np.ndindex(4, 3):
        e, k = pd.Series(error[index]).dropna(), kappa[index][~np.isnan(kappa[index])]
        oracle = (e.mean(), e.std(), np.percentile(e, 10))
        oracle += (k.mean(), k.std(ddof=ddof), np.percentile(k, 10))
        np.testing.assert_allclose([cell[index] for cell in found], oracle, rtol=1e-12)


def test_statistics_of_cells_with_no_or_one_class():
    one = np.array([[np.nan, np.nan], [0.3, np.nan]])
    found = statistics(one, one, preset="paper")
    assert all(np.isnan(cell[0]) for cell in found)
    np.testing.assert_array_equal([cell[1] for cell in found], [0.3, np.nan, 0.3, 0.3, 0.0, 0.3])


def test_statistics_refuses():
    with pytest.raises(InvalidInputError, match="did you mean 'paper'"):
        statistics(np.zeros(3), np.zeros(3), preset="papre")
    with pytest.raises(InvalidInputError, match="kappa: found shape"):
        statistics(np.zeros(3), np.zeros(4))


def test_table_round_trip_in_any_order_with_more_columns():
    grid = random_grid()
    table = to_table(grid).sample(frac=1, random_state=0).assign(note="text")
    again = from_table(table)
    for ours, theirs in zip(again[:3], grid[:3], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for name in STATISTICS:
        np.testing.assert_array_equal(again.statistics[name], grid.statistics[name])


def broken(change):
    table = to_table(random_grid())
    return change(table)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.drop(columns="kappa_std"), "the column 'kappa_std' is missing"),
        (lambda t: t.iloc[:0], "no rows"),
        (
            lambda t: pd.concat([t, t.iloc[[4]]]),
            r"ssim=0.8, novel_share=0.25 appears more than once",
        ),
        (lambda t: t.drop(index=1), r"ssim=0.6, novel_share=0.25 is missing"),
        (lambda t: t.astype({"ssim": object}).assign(ssim=["a", *t.ssim[1:]]), "row 1: found 'a'"),
        (lambda t: t.assign(size=t["size"].astype(str)), "column 'size', row 1: found '"),
        (
            lambda t: t.assign(error_p10=t.error_p10.where(t.index != 2)),
            "'error_p10', row 3: found nan",
        ),
        (lambda t: t.assign(error_mean=t.error_mean + 1), "'error_mean', row 1: found 1"),
        (lambda t: t.assign(size=-t["size"]), "a positive parameter count"),
        (lambda t: t.assign(novel_share=t.novel_share * 2), "0 <= share < 1"),
        (lambda t: t.assign(ssim=t.ssim * 2), "-1 < ssim <= 1"),
        (lambda t: t.assign(kappa_std=True), "found .*True.*; a number"),
        (lambda t: t.assign(kappa_std=np.inf), "found inf"),
    ],
)
def test_table_refusals(change, words):
    with pytest.raises(InvalidInputError, match=words):
        from_table(broken(change))


def test_make_grid_refuses():
    axes, cells = Axes(CLIP, SSIM, SHARE), np.full((5, 9, 6), 0.5)
    with pytest.raises(InvalidInputError, match="size: values must ascend"):
        make_grid(axes._replace(size=CLIP[::-1]), Statistics(*[cells] * 6))
    with pytest.raises(InvalidInputError, match="error_mean: found shape"):
        make_grid(axes, Statistics(*[cells[:4]] * 6))
    bad = cells.copy()
    bad[1, 2, 3] = np.nan
    with pytest.raises(
        InvalidInputError, match=r"found nan at size=56, ssim=0.7, novel_share=0.375"
    ):
        make_grid(axes, Statistics(*[bad] * 6))


def test_marginals_equal_groupby():
    grid = random_grid()
    table, found = to_table(grid), marginals(grid)
    for name in STATISTICS:
        for axis in ("size", "ssim", "novel_share"):
            values, means = found[name][axis]
            oracle = table.groupby(axis)[name].mean()
            np.testing.assert_allclose(values, oracle.index)
            np.testing.assert_allclose(means, oracle, rtol=1e-13)


def test_bounds_of_quartics_are_exact():
    rng = np.random.default_rng(2)
    c = rng.normal(size=(3, 5))
    sizes = EFFICIENTNET * 1e6
    given = {
        "size": (sizes, polynomial.polyval(np.log(sizes) - 16, c[0])),
        "ssim": (SSIM, polynomial.polyval(SSIM, c[1])),
        "novel_share": (SHARE, polynomial.polyval(SHARE, c[2])),
    }
    point = {"size": 21e6, "ssim": 0.83, "novel_share": 0.31}
    at = [np.log(21e6) - 16, 0.83, 0.31]
    oracle = np.mean([polynomial.polyval(x, row) for x, row in zip(at, c, strict=True)])
    found = bounds(given, point)
    assert isinstance(found, float)
    np.testing.assert_allclose(found, oracle, rtol=1e-8)


def test_bounds_fit_least_squares_and_keep_leading_axes():
    rng = np.random.default_rng(3)
    given = {
        "size": (CLIP, rng.random((2, 3, 5))),
        "ssim": (SSIM, rng.random((2, 3, 9))),
        "novel_share": (SHARE[:3], rng.random((2, 3, 3))),  # three values: a parabola
    }
    point = {"size": 100.0, "ssim": 0.77, "novel_share": 0.2}
    found = bounds(given, point)
    for index in np.ndindex(2, 3):
        oracle = [
            np.polyval(np.polyfit(np.log(CLIP), given["size"][1][index], 4), np.log(100)),
            np.polyval(np.polyfit(SSIM, given["ssim"][1][index], 4), 0.77),
            np.polyval(np.polyfit(SHARE[:3], given["novel_share"][1][index], 2), 0.2),
        ]
        np.testing.assert_allclose(found[index], np.mean(oracle), rtol=1e-9)


@pytest.mark.parametrize(
    ("marginal", "point", "words"),
    [
        ({"ssim": None}, {}, "marginals: ssim must be a pair"),
        ({"ssim": ([0.6, 1], [0.1, 0.2, 0.3])}, {}, "marginals: ssim has values of shape"),
        ({"size": ([0, 1], [0.1, 0.2])}, {}, "size holds 0; sizes are positive"),
        ({"size": ([1, 1], [0.1, 0.2])}, {}, "size holds a value twice"),
        ({"ssim": ([0.6, 1], [0.1, np.nan])}, {}, "ssim holds a number that is not finite"),
        ({"other": ([0.6, 1], [0.1, 0.2])}, {}, "marginals: found the keys"),
        ({}, {"extra": 1}, "point: found the keys"),
        ({}, {"size": 200.0}, "point: size is 200; the marginal covers 1 to 100 only"),
        ({}, {"size": -1.0}, "point: size is -1"),
        ({}, {"ssim": "high"}, "point: ssim is 'high'; a number is needed"),
        ({}, {"ssim": np.nan}, "point: ssim is nan"),
    ],
)
def test_bounds_refusals(marginal, point, words):
    given = {
        "size": ([1, 100], [0.2, 0.3]),
        "ssim": ([0.6, 1], [0.3, 0.1]),
        "novel_share": ([0, 0.5], [0.1, 0.2]),
    }
    at = {"size": 10.0, "ssim": 0.8, "novel_share": 0.2}
    assert bounds(given, at) == pytest.approx((0.25 + 0.2 + 0.14) / 3)
    with pytest.raises(InvalidInputError, match=words):
        bounds(given | marginal, at | point)


@pytest.mark.data
@pytest.mark.parametrize(
    ("panels", "sizes", "point", "published"),
    [
        ("abc", CLIP, (116, 0.874, 0.285), (0.279, 0.276)),
        ("def", EFFICIENTNET, (20, 0.805, 0.295), (0.284, 0.280)),
    ],
)
def test_published_bounds(data_dir, panels, sizes, point, published):
    figure = json.loads((data_dir / "practical_metric" / "fig2_marginals.json").read_text())
    for key, expected in zip(("err", "kap"), published, strict=True):
        ssim, share, size = (np.array(figure[panel][key]) for panel in panels)
        given = {"size": (sizes, size), "ssim": (SSIM, ssim), "novel_share": (SHARE, share)}
        at = dict(zip(("size", "ssim", "novel_share"), point, strict=True))
        assert abs(bounds(given, at) - expected) < 0.005
        grand = [axis.mean() for axis in (ssim, share, size)]
        assert np.ptp(grand) < 0.002


def test_generalization_and_diversity_pick_their_statistics():
    grid = random_grid()
    point = {"size": float(grid.size.mean()), "ssim": 0.8, "novel_share": 0.2}
    means = marginals(grid)
    oracle = (bounds(means["error_mean"], point), bounds(means["kappa_mean"], point))
    assert generalization_and_diversity(grid, point) == oracle
    trade_off = TradeOff(0.8, 0.2, point["size"], 0.0, True, {})
    assert generalization_and_diversity(grid, trade_off) == oracle


def test_chance_corrected_error():
    found = chance_corrected_error(np.array([0.0, 0.5, 0.9]), np.array([2, 2, 10]))
    np.testing.assert_allclose(found, [0.0, 1.0, 1.0])
    with pytest.raises(InvalidInputError, match="num_labels: found 1"):
        chance_corrected_error(0.5, 1)


def test_redundancy_equals_pearson():
    grid = random_grid()
    found = redundancy(grid)
    e, k = (grid.statistics[name].ravel() for name in ("error_mean", "kappa_mean"))
    assert found.correlation == pytest.approx(pd.Series(e).corr(pd.Series(k)), abs=1e-12)
    assert found.max_gap == np.abs(e - k).max()
    assert found.mean_gap == np.abs(e - k).mean()


def test_balanced_identity_gap():
    rng = np.random.default_rng(4)
    balanced = np.stack([rng.multinomial(200, rng.dirichlet(np.ones(7)), 7) for _ in range(5)])
    assert balanced_identity_gap(balanced) < 1e-6
    skewed = balanced.copy()
    skewed[:, 0] *= 9
    assert balanced_identity_gap(skewed) > 1e-3


def test_pareto_front_equals_its_definition():
    grid = random_grid(3, 3, 2)
    front = pareto_front(grid)
    cells = list(np.ndindex(3, 3, 2))
    costs = {(i, j, k): (grid.statistics["error_mean"][i, j, k], j, -k, i) for i, j, k in cells}
    for cell in cells:
        beaten = any(
            all(a <= b for a, b in zip(costs[other], costs[cell], strict=True))
            and costs[other] != costs[cell]
            for other in cells
        )
        assert front[cell] == (not beaten)
    assert 0 < front.sum() < front.size
