"""The analysis of cells against direct computations with pandas and scipy."""

import numpy as np
import pytest
import scipy.stats
import xarray as xr

from genjax import errors
from genjax.statistics import analysis
from genjax.statistics.families import INDISTINGUISHABLE, difference_over_classes
from genjax.statistics.protocols import family_cells, protocol_table
from genjax.statistics.resampling import percentile_interval, plan_draws

SIZES, SEEDS, CLASSES = {"mlp": (10.0, 100.0, 1000.0), "cnn": (30.0, 300.0)}, 5, 6
SSIM, SHARES = (1.0, 0.6, 0.8), (0.0, 0.25, 0.5)  # stored in another order than ascending
PROTOCOLS = {"paper": "as the paper", "clean": "honest", "nearest_mean": "untrained"}


def family(name, rng):
    shape = (len(PROTOCOLS), len(SIZES[name]), SEEDS, len(SSIM), len(SHARES), CLASSES)
    rise = np.array([0.0, 0.4, 0.2])[:, None, None] + np.array([0.0, 0.1, 0.2])[:, None]
    error = np.clip(0.15 + 0.1 * (name == "cnn") + rise + rng.normal(0, 0.03, shape), 0, 1)
    error[1, -1, 2] = np.nan  # one diverged network, of the largest size
    axes = ("protocol", "size", "seed", "ssim", "novel_share", "class")
    kappa = np.clip(error * 1.1, 0, 2)
    labels = np.broadcast_to(np.array([4.0, 5.0, 6.0]), shape[:-1])
    return xr.Dataset(
        {"error": (axes, error), "kappa": (axes, kappa), "labels": (axes[:-1], labels)},
        coords={
            "protocol": list(PROTOCOLS),
            "ssim": list(SSIM),
            "novel_share": list(SHARES),
            "size": range(len(SIZES[name])),
            "parameters": ("size", list(SIZES[name])),
            "family": name,
        },
    )


@pytest.fixture(scope="module")
def cells():
    rng = np.random.default_rng(0)
    parts = [family("mlp", rng), family("cnn", rng)]
    return xr.concat(parts, dim="family", join="outer", coords="different", compat="equals")


@pytest.fixture(scope="module")
def found(cells):
    return analysis.analyse(cells, PROTOCOLS, draws=30)


def frame(cells, name, protocol):
    table = cells["error"].sel(family=name, protocol=protocol).to_dataframe().reset_index()
    return table.dropna(subset=["error", "parameters"])


def test_cells_are_sorted_by_ssim_and_keep_their_sizes(cells):
    one = family_cells(cells, "cnn", "clean")
    assert one.axes.ssim.tolist() == [0.6, 0.8, 1.0]
    assert one.axes.size.tolist() == [30.0, 300.0]
    assert one.kept.tolist() == [True, True, False]
    stored = cells["error"].sel(family="cnn", protocol="clean", size=1, ssim=0.6, novel_share=0.5)
    np.testing.assert_array_equal(one.error[1, :, 0, 2], stored.values)


@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_grid_and_marginals_equal_pandas(cells, found, name):
    # Class means per network, then seeds within a cell, then cells: each with equal weight.
    table = frame(cells, name, "clean")
    network = table.groupby(["size", "ssim", "novel_share", "seed"])["error"].mean()
    cell = network.groupby(["size", "ssim", "novel_share"]).mean()
    whole = found.families[name].whole
    order = cell.sort_index().to_numpy().reshape(whole.grid.statistics["error_mean"].shape)
    np.testing.assert_allclose(whole.grid.statistics["error_mean"], order, rtol=1e-12)
    marginal = found.families[name].intervals.marginals["error_mean"]["ssim"]
    np.testing.assert_allclose(marginal.value, cell.groupby("ssim").mean(), rtol=1e-12)
    assert np.all(np.asarray(marginal.low) <= marginal.value)
    assert np.all(marginal.value <= np.asarray(marginal.high))


def test_families_are_paired_by_seed_and_a_lost_network_drops_its_pair(cells, found):
    means = {}
    for name in ("mlp", "cnn"):
        table = frame(cells, name, "clean")
        cell = table.groupby(["seed", "size", "ssim", "novel_share"])["error"].mean()
        per_seed = cell.groupby("seed").agg(["mean", "size"])
        complete = per_seed["size"] == per_seed["size"].max()
        means[name] = per_seed["mean"].where(complete)
    (comparison,) = found.comparisons
    both = (means["mlp"] - means["cnn"]).dropna()
    assert comparison.pairs == len(both) == SEEDS - 1
    np.testing.assert_allclose(comparison.difference.value, both.mean(), rtol=1e-12)
    expected = scipy.stats.ttest_1samp(both, 0).pvalue
    np.testing.assert_allclose(comparison.t_pvalue, expected, rtol=1e-9)
    assert comparison.winner == "mlp"


def test_chance_correction_equals_pandas(cells, found):
    table = frame(cells, "mlp", "clean")
    network = table.groupby(["size", "ssim", "novel_share", "seed"])["error"].mean()
    labels = network.index.get_level_values("novel_share").map({0.0: 4, 0.25: 5, 0.5: 6})
    cell = (network * labels / (labels - 1)).groupby(["size", "ssim", "novel_share"]).mean()
    np.testing.assert_allclose(found.families["mlp"].chance_corrected, cell.mean(), rtol=1e-12)


def test_protocols_are_paired_with_clean(cells, found):
    table = found.protocols.set_index(["family", "protocol"])
    assert list(table.loc["cnn"].index) == list(PROTOCOLS)
    assert table.loc[("cnn", "clean"), "difference"] == 0
    by_seed = {
        name: frame(cells, "cnn", name).groupby(["seed", "size", "ssim", "novel_share"])["error"]
        for name in ("paper", "clean")
    }
    means = {name: g.mean().unstack("seed").mean(skipna=False) for name, g in by_seed.items()}
    expected = (means["paper"] - means["clean"]).dropna().mean()
    np.testing.assert_allclose(table.loc[("cnn", "paper"), "difference"], expected, rtol=1e-9)


def test_a_size_that_died_out_is_dropped_and_named(cells):
    dead = cells.copy(deep=True)
    dead["error"][{"family": 0, "size": 1}] = np.nan
    found = analysis.analyse(dead, PROTOCOLS, draws=10)
    assert found.families["mlp"].whole.grid.size.tolist() == [10.0, 1000.0]
    assert found.dropped == ["mlp with 100 parameters is left out: every network diverged."]


def test_a_family_without_networks_is_an_error(cells):
    dead = cells.copy(deep=True)
    dead["error"][{"family": 0}] = np.nan
    with pytest.raises(errors.DivergenceError, match="family 'mlp'"):
        analysis.analyse(dead, PROTOCOLS, draws=10)


def test_one_surviving_size_is_too_few(cells):
    with pytest.raises(errors.InvalidInputError, match="at least 2"):
        analysis.analyse(cells.isel(size=[0]), PROTOCOLS, draws=10)


def test_the_interval_table_holds_the_numbers_of_the_page(found):
    table = analysis.all_intervals(found).set_index(["protocol", "family", "quantity", "name"])
    row = table.loc[("clean", "cnn", "bound", "generalization")]
    interval = found.families["cnn"].intervals.bounds["generalization"]
    np.testing.assert_allclose(row[["value", "low", "high"]].astype(float), interval)
    assert set(table.index.get_level_values("protocol")) == {"clean", "paper"}


def test_grids_of_families_with_different_sizes_join(found):
    grids = {name: one.whole.grid for name, one in found.families.items()}
    joined = analysis.grid_dataset(grids)
    assert dict(joined.sizes) == {"family": 2, "size": 3, "ssim": 3, "novel_share": 3}
    cell = joined["error_p10"].sel(family="cnn", size=1, ssim=0.8, novel_share=0.25)
    assert cell == grids["cnn"].statistics["error_p10"][1, 1, 1]
    assert np.isnan(joined["error_mean"].sel(family="cnn", size=2)).all()


@pytest.fixture(scope="module")
def single(cells):
    """The same cells with one network per size."""
    return cells.isel(seed=[0])


CLEAN = {"clean": "honest"}


@pytest.fixture(scope="module")
def alone(single):
    return analysis.analyse(single, CLEAN, draws=12)


def test_one_network_per_size_has_intervals_over_classes(alone):
    found = alone
    table = analysis.all_intervals(found)
    low, high = (np.asarray(table[end], np.float64) for end in ("low", "high"))
    shares = np.asarray(table["quantity"] == "prior_share")
    assert np.isfinite([low[~shares], high[~shares]]).all()
    wide = np.asarray(table["quantity"].isin(["marginal", "grand_mean"]))
    assert (low[wide] < high[wide]).all()
    for family in found.families.values():
        assert family.intervals.factors == ("classes",)
    assert found.dropped == []


def test_protocols_of_one_network_per_size_are_paired_by_class(found, single):
    assert found.protocols["over"].unique().tolist() == ["seeds"]
    table = protocol_table(single, PROTOCOLS).set_index(["family", "protocol"])
    assert table["over"].unique().tolist() == ["classes"]
    errors = {name: family_cells(single, "cnn", name).error for name in PROTOCOLS}
    row = table.loc[("cnn", "paper")]
    assert row["error"] == pytest.approx(errors["paper"].mean(), rel=1e-12)
    # By hand: the same classes of both protocols in every draw.
    plan = plan_draws(np.concatenate([errors["paper"], errors["clean"]]), 1000, seed=0)
    gaps = [(errors["paper"] - errors["clean"])[..., chosen].mean() for chosen in plan.classes]
    low, high = percentile_interval(np.array(gaps), units=plan.units)
    assert row["difference_low"] == pytest.approx(low, rel=1e-9)
    assert row["difference_high"] == pytest.approx(high, rel=1e-9)
    means = [errors["paper"][..., chosen].mean() for chosen in plan.classes]
    low, high = percentile_interval(np.array(means), units=plan.units)
    assert row["low"] == pytest.approx(low, rel=1e-9)
    assert row["high"] == pytest.approx(high, rel=1e-9)


def test_families_of_one_network_per_size_are_compared_over_classes(alone, single):
    (comparison,) = alone.comparisons
    errors = [family_cells(single, name, "clean").error for name in ("mlp", "cnn")]
    np.testing.assert_allclose(comparison.means, [error.mean() for error in errors], rtol=1e-12)
    assert comparison.difference == difference_over_classes(*errors)
    assert comparison.pairs == 1
    assert np.isnan([comparison.t_pvalue, comparison.wilcoxon_pvalue]).all()
    assert (comparison.winner, comparison.excludes_zero) == ("mlp", True)
    alike = single.copy(deep=True)
    alike["error"][{"family": 1, "size": 0}] = single["error"].isel(family=0, size=0).values
    alike["error"][{"family": 1, "size": 1}] = single["error"].isel(family=0, size=1).values
    (comparison,) = analysis.analyse(alike.isel(size=[0, 1]), CLEAN, draws=2).comparisons
    assert comparison.difference == (0, 0, 0)
    assert comparison.winner == INDISTINGUISHABLE


def test_one_surviving_seed_is_like_one_seed(cells, alone):
    rest = cells.copy(deep=True)
    rest["error"][{"seed": slice(1, None)}] = np.nan
    rest["kappa"][{"seed": slice(1, None)}] = np.nan
    found = analysis.analyse(rest, CLEAN, draws=12)
    for name, family in found.families.items():
        assert family.intervals.factors == ("classes",)
        assert repr(family.reach) == repr(alone.families[name].reach)  # NaN is not NaN
    np.testing.assert_array_equal(
        analysis.all_intervals(found)[["low", "high"]],
        analysis.all_intervals(alone)[["low", "high"]],
    )
    assert found.protocols["over"].unique().tolist() == ["classes"]
    assert found.comparisons[0].difference == alone.comparisons[0].difference
    other = rest.copy(deep=True)
    for name in ("error", "kappa"):
        other[name][{"family": 1}] = rest[name].isel(family=1).roll(seed=1).values
    found = analysis.analyse(other, CLEAN, draws=2)
    assert found.dropped == ["mlp and cnn are not compared: no seed has networks of both."]


def test_classes_bring_the_noise_of_their_images_along():
    """All classes alike, 100 images each: intervals are as wide as those of 2,000 images."""
    rng = np.random.default_rng(5)
    classes, images, rate = 20, 100, 0.3
    wide = []
    for seed in range(60):
        share = rng.binomial(images, rate, classes) / images
        error = share.reshape(1, 1, 1, 1, classes)
        _, low, high = difference_over_classes(error, 0 * error, draws=200, seed=seed)
        wide.append(high - low)
    # Student's interval over the classes is what expanded percentiles aim at.
    deviation = np.sqrt(rate * (1 - rate) / (classes * images))
    expected = 2 * scipy.stats.t.ppf(0.975, classes - 1) * deviation
    np.testing.assert_allclose(np.mean(wide), expected, rtol=0.1)
