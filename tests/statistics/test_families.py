"""Comparing families and their reach: scipy's tests, built profiles, and simulated false wins."""

import numpy as np
import pytest
from scipy import stats

from genjax.errors import InvalidInputError
from genjax.metrics.practical import Axes
from genjax.statistics.families import (
    compare_families,
    difference_over_classes,
    reach,
    seed_means,
)

AXES = Axes(np.array([1e3, 1e4]), np.array([0.6, 0.7, 0.8, 0.9, 1.0]), np.array([0, 0.25, 0.5]))


def test_tests_equal_scipy_and_pairs_with_failures_are_dropped():
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 9))
    a[2], b[5] = np.nan, np.nan
    found = compare_families(a, b)
    kept = [0, 1, 3, 4, 6, 7, 8]
    t, w = stats.ttest_rel(a[kept], b[kept]), stats.wilcoxon(a[kept], b[kept])
    assert found.pairs == 7
    assert (found.t_statistic, found.t_pvalue) == pytest.approx((t.statistic, t.pvalue))
    assert (found.wilcoxon_statistic, found.wilcoxon_pvalue) == (w.statistic, w.pvalue)
    assert found.means == pytest.approx((a[kept].mean(), b[kept].mean()))
    assert found.difference.value == pytest.approx((a - b)[kept].mean())


def test_interval_is_near_students():
    gaps = 0.1 + stats.norm.ppf((np.arange(12) + 0.5) / 12)  # symmetric, as Student assumes
    found = compare_families(gaps, np.zeros(12), draws=20_000)
    half = stats.t.ppf(0.975, 11) * gaps.std(ddof=1) / np.sqrt(12)
    assert found.difference.low == pytest.approx(gaps.mean() - half, abs=0.05 * half)
    assert found.difference.high == pytest.approx(gaps.mean() + half, abs=0.05 * half)


def test_winner_is_the_lower_and_symmetric():
    rng = np.random.default_rng(2)
    a = rng.normal(0.3, 0.01, 8)
    b = a + 0.05 + rng.normal(0, 0.005, 8)
    first, second = (compare_families(*x) for x in ((a, b), (b, a)))
    assert (first.winner, second.winner) == ("a", "b")
    assert first.excludes_zero
    assert compare_families(a, b, names=("cnn", "mlp")).winner == "cnn"


@pytest.mark.parametrize("pairs", [2, 3, 8])
def test_families_that_are_equal_rarely_win(pairs):
    rng = np.random.default_rng(4)
    gaps = rng.normal(size=(400, pairs))
    wins = [
        compare_families(gap, np.zeros(pairs), draws=200, seed=k).excludes_zero
        for k, gap in enumerate(gaps)
    ]
    assert 0.005 <= np.mean(wins) <= 0.10  # nominal 5 %


@pytest.mark.parametrize(
    ("gaps", "winner", "p"),
    [([0.0, 0.0, 0.0], "indistinguishable", 1.0), ([0.1, 0.1, 0.1], "b", 0.0)],
)
def test_constant_differences(gaps, winner, p):
    found = compare_families(np.array(gaps), np.zeros(3))
    assert (found.winner, found.t_pvalue) == (winner, p)


def test_compare_refuses():
    with pytest.raises(InvalidInputError, match="b: found shape"):
        compare_families(np.zeros(3), np.zeros(4))
    with pytest.raises(InvalidInputError, match="found 1 seeds"):
        compare_families(np.array([1.0, np.nan]), np.array([1.0, 2.0]))


def test_seed_means_equal_nanmean_and_mark_failures():
    values = np.random.default_rng(0).random((2, 4, 5, 3, 6))
    values[..., 0, 4:] = np.nan
    values[1, 2] = np.nan
    found = seed_means(values)
    for r in (0, 1, 3):
        assert found[r] == pytest.approx(np.nanmean(values[:, r], axis=-1).mean())
    assert np.isnan(found[2])


def built(ssim_errors, share_errors, seeds=4, classes=5, noise=0.0):
    """Error = sum of a part per SSIM level and a part per share."""
    cells = np.array(ssim_errors)[:, None] + np.array(share_errors)
    rng = np.random.default_rng(0)
    jitter = noise * rng.normal(size=(2, seeds, 5, 3, classes))
    return np.clip(cells[..., None] + jitter, 0, 1)


def test_reach_of_built_profiles():
    error = built([0.6, 0.5, 0.3, 0.1, 0.0], [0.0, 0.1, 0.6])
    found = reach(error, AXES, num_labels=2, limit=0.8, draws=10, condition="clean")
    # Chance correction with two labels doubles the error: clean profiles are
    # SSIM 1.2 1.0 .6 .2 0 and share 0 .2 1.2.
    assert found.ssim == (0.8, 0.8, 0.8)
    assert found.novel_share == (0.25, 0.25, 0.25)
    crossing = reach(
        error, AXES, num_labels=2, limit=0.8, draws=5, condition="clean", interpolate=True
    )
    assert crossing.ssim.value == pytest.approx(0.8 - 0.1 * (0.8 - 0.6) / (1.0 - 0.6))
    assert crossing.novel_share.value == pytest.approx(0.25 + 0.25 * (0.8 - 0.2) / 1.0)
    marginal = reach(error, AXES, num_labels=2, limit=1.2, draws=5)
    # Marginal SSIM profile: 2 (e + .2333), capped at error 1 in one cell: .6 still is 1.2 - 1.67.
    capped = np.clip(np.array([0.6, 0.5, 0.3, 0.1, 0.0])[:, None] + [0.0, 0.1, 0.6], 0, 1)
    borne = AXES.ssim[2 * capped.mean(1) <= 1.2]
    assert marginal.ssim.value == borne.min()


def test_reach_stops_at_the_first_level_that_is_not_borne():
    error = built([0.0, 0.9, 0.2, 0.9, 0.0], [0.0, 0.0, 0.0])
    assert reach(error, AXES, num_labels=2, draws=5).ssim.value == 1.0


def test_reach_counts_the_labels_of_a_growing_label_space():
    error = built([0.0] * 5, [0.3, 0.3, 0.3], classes=4)
    error[..., 0, 2:] = error[..., 1, 3:] = np.nan  # 2, 3, 4 labels: corrected .6, .45, .4
    assert np.isnan(reach(error, AXES, limit=0.5, draws=5, condition="clean").novel_share.value)
    found = reach(error, AXES, limit=0.5, num_labels=4, draws=5, condition="clean")
    assert found.novel_share.value == 0.5


def test_reach_that_does_not_even_start():
    found = reach(built([0.9] * 5, [0.0] * 3), AXES, draws=5)
    assert np.isnan([*found.ssim, *found.novel_share]).all()


def test_reach_intervals_bracket_and_ignore_failures():
    error = built([0.6, 0.45, 0.3, 0.2, 0.1], [0.0, 0.05, 0.1], noise=0.15)
    error[1, 2] = np.nan
    found = reach(error, AXES, limit=0.6, draws=100, interpolate=True)
    assert found.ssim.low <= found.ssim.value <= found.ssim.high
    assert found.ssim.low < found.ssim.high
    assert np.isfinite([*found.ssim, *found.novel_share]).all()


def test_reach_refuses():
    error = built([0.1] * 5, [0.0] * 3)
    with pytest.raises(InvalidInputError, match="did you mean 'marginal'"):
        reach(error, AXES, condition="marginl")
    with pytest.raises(InvalidInputError, match="num_labels: found 1"):
        reach(error, AXES, num_labels=1)
    with pytest.raises(InvalidInputError, match="error: found shape"):
        reach(error[:1], AXES)


def test_classes_that_favour_one_family_by_chance_widen_the_difference():
    rng = np.random.default_rng(2)
    by_class = rng.normal(0, 0.15, 8)  # the families differ from class to class, not on average
    a = 0.5 + rng.normal(0, 0.005, (2, 8, 2, 2, 8))
    b = a + 0.02 + by_class + rng.normal(0, 0.005, a.shape)
    wide = difference_over_classes(a, b, draws=400)
    found = compare_families(seed_means(a), seed_means(b), over_classes=wide)
    np.testing.assert_allclose(wide.value, found.difference.value, atol=1e-12)
    np.testing.assert_allclose(wide.value, a.mean() - b.mean(), atol=1e-12)
    assert found.difference.high < 0 or found.difference.low > 0
    assert wide.low < 0 < wide.high
    assert found.winner == "indistinguishable"
    with pytest.raises(InvalidInputError, match="behind the sizes"):
        difference_over_classes(a, b[:, :4])
