"""Shifts side by side: SciPy's paired test on the same images is the oracle."""

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from genjax.errors import InvalidInputError
from genjax.metrics.shift_comparison import compare_shifts


def outcomes(wrong, ssim, names):
    return xr.Dataset(
        {"wrong": (("shift", "ssim", "image"), np.asarray(wrong, np.float64))},
        coords={"shift": names, "ssim": ssim},
    )


@pytest.fixture(scope="module")
def wrong():
    """Three shifts with errors of about .3, .6 and .4 at four levels of 200 images."""
    rng = np.random.default_rng(0)
    hard = rng.normal(size=200)  # images that are hard under one shift are so under all
    noise = rng.normal(size=(3, 4, 200))
    made = (hard + noise < np.array([-0.7, 0.4, -0.4])[:, None, None]).astype(float)
    made[2, 3] = np.nan  # a level that the third shift cannot reach
    return made


def test_means_and_differences_are_those_of_scipy(wrong):
    found = compare_shifts(outcomes(wrong, [1.0, 0.9, 0.8, 0.7], ["a", "b", "c"]), 0.9)
    assert found.levels.tolist() == [0.9, 0.8], "not 1, and not 0.7"
    by_image = wrong[:, 1:3].mean(1)
    assert found.means["shift"].tolist() == ["b", "c", "a"]
    for row in found.means.to_dict("records"):
        values = by_image["abc".index(row["shift"])]
        interval = stats.ttest_1samp(values, 0).confidence_interval(0.9)
        np.testing.assert_allclose(
            [row["error"], row["low"], row["high"]], [values.mean(), *interval], rtol=1e-12
        )
    pairs = found.differences.to_dict("records")
    assert [(row["more"], row["less"]) for row in pairs] == [("b", "c"), ("b", "a"), ("c", "a")]
    for row in pairs:
        more, less = (by_image["abc".index(row[name])] for name in ("more", "less"))
        interval = stats.ttest_rel(more, less).confidence_interval(1 - 0.1 / 3)
        np.testing.assert_allclose(
            [row["difference"], row["low"], row["high"]],
            [(more - less).mean(), *interval],
            rtol=1e-10,
        )


def test_intervals_of_all_pairs_hold_together():
    """Under equal shifts all pairs cover zero in about 95 % of samples, not each of them alone."""
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(300):
        wrong = (rng.random((4, 2, 150)) < 0.3).astype(float)
        pairs = compare_shifts(outcomes(wrong, [0.9, 0.8], list("abcd"))).differences
        covered += bool(((pairs["low"] <= 0) & (pairs["high"] >= 0)).all())
    assert 0.92 < covered / 300 <= 1


def test_edges(wrong):
    alone = compare_shifts(outcomes(wrong[:1, :2], [1.0, 0.9], ["a"]))
    assert len(alone.means) == 1
    assert not len(alone.differences)
    untouched = compare_shifts(outcomes(wrong[:, :1], [1.0], ["a", "b", "c"]))
    assert not len(untouched.levels)
    assert not len(untouched.means)
    always = compare_shifts(outcomes(np.ones((2, 1, 5)), [0.9], ["a", "b"]))
    assert always.means[["error", "low", "high"]].to_numpy().tolist() == [[1, 1, 1]] * 2
    single = compare_shifts(outcomes(np.ones((2, 1, 1)), [0.9], ["a", "b"]))
    assert single.means[["low", "high"]].isna().all(axis=None)
    with pytest.raises(InvalidInputError, match="level: found 95"):
        compare_shifts(outcomes(wrong, [1.0, 0.9, 0.8, 0.7], ["a", "b", "c"]), 95)
