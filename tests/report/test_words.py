"""Words by rule: every branch says what its numbers say."""

import numpy as np
import pandas as pd
import pytest

from genjax.metrics.practical import Redundancy
from genjax.metrics.practical_grid import Axes, Statistics, make_grid
from genjax.metrics.tradeoff import TradeOff
from genjax.report import sentences as say
from genjax.report import words
from genjax.statistics.analysis import Analysis, FamilyAnalysis, analyse_grid
from genjax.statistics.families import INDISTINGUISHABLE, Comparison, Reach, compare_families
from genjax.statistics.practical import bootstrap
from genjax.statistics.resampling import Interval

NAN = float("nan")
MINUS = "\u2212"
AXES = Axes(np.array([1e3, 1e4]), np.array([0.6, 0.8, 1.0]), np.array([0.0, 0.25, 0.5]))
POINT = TradeOff(0.8, 0.25, 25479.65, 1.0, True, {})


def pair(names, low, high, *, p=(0.01, 0.02), pairs=8):
    value = (low + high) / 2
    excludes = low > 0 or high < 0
    winner = (names[0] if value < 0 else names[1]) if excludes else INDISTINGUISHABLE
    means = (0.4 + value, 0.4)
    gap = Interval(value, low, high)
    return Comparison(names, means, gap, 1.0, p[0], 1.0, p[1], pairs, excludes, winner)


def test_a_clear_difference_names_the_better_family():
    (text,) = say.comparison_sentences([pair(("cnn", "mlp"), -0.12, -0.08)])
    assert text == (
        "cnn generalizes better than mlp: mean errors 0.300 (cnn) and 0.400 (mlp), cnn minus mlp "
        f"{MINUS}0.100 [{MINUS}0.120, {MINUS}0.080] over 8 paired seeds; the interval excludes "
        "zero (paired t-test p = 0.01, Wilcoxon p = 0.02)."
    )
    (text,) = say.comparison_sentences([pair(("cnn", "mlp"), 0.08, 0.12)])
    assert text.startswith("mlp generalizes better than cnn: mean errors 0.500 (cnn)")


def test_no_difference_is_said_as_such():
    (text,) = say.comparison_sentences([pair(("cnn", "mlp"), -0.02, 0.01, p=(0.3, 0.4))])
    assert text.startswith("cnn and mlp cannot be told apart: ")
    assert "the interval includes zero (paired t-test p = 0.3, Wilcoxon p = 0.4)." in text
    assert "better" not in text


def test_a_small_end_is_not_written_as_zero():
    (text,) = say.comparison_sentences([pair(("a", "b"), 0.00004, 0.02)])
    assert "[0.00004, 0.02000]" in text


def test_few_pairs_and_disagreeing_tests_are_told():
    few = say.comparison_sentences([pair(("a", "b"), 0.1, 0.2, p=(0.0001, 0.06), pairs=5)])[0]
    assert "paired t-test p < 0.001" in few
    assert few.endswith("With 5 pairs Wilcoxon's test cannot reach p < 0.05.")
    for found in (
        pair(("a", "b"), 0.1, 0.2, p=(0.06, 0.02)),
        pair(("a", "b"), -0.1, 0.2, p=(0.3, 0.04)),
    ):
        assert "Interval and tests do not agree" in say.comparison_sentences([found])[0]
    assert "agree" not in say.comparison_sentences([pair(("a", "b"), 0.1, 0.2)])[0]


def test_wilcoxon_needs_as_many_pairs_as_said():
    gaps = np.linspace(0.1, 0.2, say.WILCOXON_PAIRS)
    assert compare_families(gaps, gaps * 0).wilcoxon_pvalue < say.SIGNIFICANT
    assert compare_families(gaps[1:], gaps[1:] * 0).wilcoxon_pvalue > say.SIGNIFICANT


def test_of_three_families_the_best_is_named_only_if_it_beats_all():
    wins = [pair(("a", "b"), -0.2, -0.1), pair(("a", "c"), -0.2, -0.1), pair(("b", "c"), -0.1, 0.1)]
    lead = say.comparison_sentences(wins)
    assert lead[0].startswith("a generalizes best of 3 families (3 comparisons by pairs, not corr")
    assert len(lead) == 4
    wins[1] = pair(("a", "c"), -0.2, 0.1)
    lead = say.comparison_sentences(wins)
    assert lead[0].startswith("No one of 3 families generalizes better than all others")


def test_reach_at_the_edges_of_what_was_measured():
    found = Reach(Interval(0.6, 0.6, 0.8), Interval(0.5, 0.25, 0.5), 0.5, "marginal")
    assert say.reach_sentence("cnn", found, AXES) == (
        "cnn stays within half of the error of guessing down to SSIM 0.60 [0.60, 0.80], the lowest "
        "measured, and up to a share of 50% [25%, 50%] novel classes, the largest measured "
        "(averaged over the other axis)."
    )
    inside = Reach(Interval(0.8, 0.6, NAN), Interval(0.25, NAN, 0.5), 0.3, "clean")
    assert say.reach_sentence("cnn", inside, AXES) == (
        "cnn stays within 0.3 of the error of guessing down to SSIM 0.80 [0.60, none borne] and up "
        "to a share of 25% [none borne, 50%] novel classes (the other axis at its easiest value)."
    )


def test_reach_where_nothing_is_borne():
    none = Interval(NAN, NAN, NAN)
    neither = say.reach_sentence("cnn", Reach(none, none, 0.5, "marginal"), AXES)
    assert neither.startswith(
        "cnn exceeds half of the error of guessing even on untouched images and without novel"
    )
    one = say.reach_sentence("cnn", Reach(none, Interval(0.25, 0.0, 0.5), 0.5, "clean"), AXES)
    assert "up to a share of 25% [0%, 50%] novel classes; it exceeds that even on untouched" in one
    hard = Axes(AXES.size, AXES.ssim[:2], AXES.novel_share[1:])
    text = say.reach_sentence("cnn", Reach(none, none, 0.5, "marginal"), hard)
    assert "even at SSIM 0.80 and at a share of 25% (" in text


def prior(shares, intervals=None, point=POINT):
    named = dict(zip(("ssim", "novel_share", "size"), shares, strict=True))
    if intervals:
        intervals = dict(zip(named, intervals, strict=True))
    return say.prior_sentence("mlp", point, named, None, intervals)


def test_prior_share_is_judged_by_its_interval():
    intervals = [Interval(0.9, 0.6, 1.0), Interval(0.1, 0.0, 0.3), Interval(0.6, 0.2, 0.9)]
    assert prior((0.9, 0.1, 0.6), intervals) == (
        "The trade-off point of mlp (Eq 4) is SSIM 0.80, share of novel classes 25% and size "
        "25,480. What weights and penalty want without any data decides most of its SSIM (90% "
        "[60%, 100%] prior); the data decide most of its share of novel classes (10% [0%, 30%] "
        "prior); whether data or prior decide its size (60% [20%, 90%] prior) is open."
    )


def test_prior_share_without_intervals_and_where_it_is_undefined():
    text = prior((0.9, NAN, 0.2))
    assert "decides most of its SSIM (90% prior)" in text
    assert "the data decide most of its size (20% prior)" in text
    assert "data and prior want the same share of novel classes." in text
    assert "is open" not in text
    assert "The solver did not converge there." in prior(
        (0.9, 0.1, 0.2), point=POINT._replace(converged=False)
    )


@pytest.mark.parametrize(
    ("correlation", "verdict"),
    [
        (0.999, "For cnn kappa adds next to nothing to the error: over cells they correlate"),
        (0.95, "For cnn kappa adds little to the error"),
        (0.5, "For cnn kappa says something that the error does not"),
        (-0.999, f"that the error does not: over cells they correlate with r = {MINUS}0.999;"),
        (NAN, "For cnn nothing can be said about what kappa adds"),
    ],
)
def test_kappa(correlation, verdict):
    text = say.kappa_sentence("cnn", Redundancy(correlation, 0.21, 0.07))
    assert verdict in text
    assert text.endswith("the two differ by 0.070 on average and 0.210 at most.")


def protocols(*differences, low=-0.01, high=0.01, description="early stopping on validation"):
    names = ["paper", "stopping", "clean", "nearest_mean"]
    rows = [
        ("cnn", name, description, 0.3 + d, d, d + low, d + high)
        for name, d in zip(names, differences, strict=True)
    ]
    columns = ["family", "protocol", "description", "error"]
    columns += ["difference", "difference_low", "difference_high"]
    return pd.DataFrame(rows, columns=columns)


def test_the_papers_choices():
    (text,) = say.paper_sentences(protocols(0.1, 0.02, 0.0, 0.5))
    assert text == (
        "The paper's choices raise the mean error of cnn by 0.100 [0.090, 0.110]: 0.400 instead of "
        f"0.300; on the way to the clean protocol the largest step, {MINUS}0.080, comes with early "
        "stopping on validation."
    )
    (text,) = say.paper_sentences(protocols(-0.1, -0.02, 0.0, 0.5))
    assert "lower the mean error of cnn by 0.100 [0.090, 0.110]: 0.200 instead of 0.300" in text
    (text,) = say.paper_sentences(protocols(0.005, 0.0, 0.0, 0.5))
    assert f"change the mean error of cnn by 0.005 [{MINUS}0.005, 0.015], which may be" in text
    (text,) = say.paper_sentences(protocols(0.1, 0.02, 0.0, 0.5, low=NAN, high=NAN))
    assert "by 0.100, with too few seeds for an interval: 0.400 instead of 0.300" in text
    assert "largest step" not in say.paper_sentences(protocols(0.0, 0.0, 0.0, 0.5))[0]
    assert say.paper_sentences(protocols(0.1, 0.0, 0.0, 0.5).iloc[1:]) == []


def family(shift, seed=0, converged=None, seeds=4):
    """A family whose error rises with everything hard; the numbers are computed, not made up."""
    rng = np.random.default_rng(seed)
    error = np.clip(
        shift
        + 0.1 * AXES.novel_share[None, None, None, :, None]
        + 0.3 * (1 - AXES.ssim[None, None, :, None, None])
        + 0.05 * rng.random((2, seeds, 3, 3, 5)),
        0,
        1,
    )
    found = bootstrap(error, error * 1.1, AXES, draws=10)
    if converged is not None:
        found = found._replace(converged=converged)
    limits = Reach(Interval(0.8, 0.6, 1.0), Interval(0.25, 0.0, 0.5), 0.5, "marginal")
    return FamilyAnalysis(
        analyse_grid(found.grid), found, error.mean((0, 2, 3, 4)), limits, float(error.mean())
    )


def test_conclusions_put_the_comparison_first_and_the_losses_last():
    families = {"cnn": family(0.1), "mlp": family(0.2, seed=1, converged=0.5)}
    paper = {"cnn": families["mlp"], "mlp": families["cnn"]}
    gap = compare_families(
        families["cnn"].seed_errors, families["mlp"].seed_errors, names=("cnn", "mlp")
    )
    table = protocols(0.1, 0.02, 0.0, 0.5)
    lost = "mlp with 12 parameters is left out: every network diverged."
    reversed_gap = gap._replace(means=gap.means[::-1], winner="mlp")
    analysis = Analysis(families, paper, [gap], table, [lost], [reversed_gap])
    found = words.conclusions(analysis)
    assert found[0].startswith("cnn generalizes better than mlp")
    assert found[-1] == lost
    text = "\n".join([*found, *words.details(analysis)])
    for name, one in families.items():
        bound = one.whole.bounds.generalization
        assert f"the generalization bound of {name} is {bound:.3f} [" in text
        assert f"{name} stays within half of the error of guessing" in text
        assert f"The trade-off point of {name} (Eq 4) is SSIM {one.whole.point.ssim:.2f} [" in text
        assert f"For {name} kappa adds next to nothing" in text
        assert f"move the point of {name} by up to" in text
    assert "Only 50% of the bootstrap draws of mlp converged" in text
    assert "The paper's choices reverse the order of cnn and mlp: mean errors" in text
    kept = words.conclusions(Analysis(families, families, [gap], table, [], [gap]))
    assert "The paper's choices keep the order of cnn and mlp" in "\n".join(kept)
    open_ = gap._replace(excludes_zero=False)
    unsure = words.conclusions(Analysis(families, families, [gap], table, [], [open_]))
    assert "Under the paper's choices cnn and mlp cannot be told apart" in "\n".join(unsure)
    assert "nan" not in text.lower().split()


def test_one_family_has_nothing_to_be_compared_with():
    only = family(0.1)
    found = words.conclusions(Analysis({"cnn": only}, {}, [], protocols(0.1, 0, 0, 0.5)[1:], []))
    error = only.intervals.grand_means["error_mean"]
    assert found[0] == (
        f"Only one family was measured: cnn, with a mean error of {error.value:.3f} "
        f"[{error.low:.3f}, {error.high:.3f}] over all cells."
    )
    assert not any("paper's choices" in sentence for sentence in found)


def test_a_grid_without_replicates():
    rng = np.random.default_rng(3)
    error = rng.random((2, 3, 3))
    whole = analyse_grid(make_grid(AXES, Statistics(error, *[error * 0.5] * 5)))
    found = words.grid_conclusions("CLIP", whole)
    assert found[0] == (
        f"CLIP: mean error {error.mean():.3f} and mean kappa distance {error.mean() / 2:.3f} over "
        "18 cells."
    )
    assert "[" not in "".join(found)
    front = int(whole.pareto.sum())
    assert any(text.startswith(f"No other cell beats {front} of the 18 cells") for text in found)
    assert found[-1] == "The grid has no replicates, so no number here has an interval."


def test_sensitivity_names_the_setting_and_the_failures():
    rows = [("penalty", 0.05, 0.1, 20157.6, 6, 6), ("size_scale", 0.01, 0.2, 3.0, 2, 2)]
    columns = ["setting", "ssim", "novel_share", "size", "solves", "converged"]
    text = say.sensitivity_sentence("mlp", pd.DataFrame(rows, columns=columns))
    assert text.endswith(
        "0.05 in SSIM (penalty), 0.20 in share of novel classes (size scale) and 20,160 in size "
        "(penalty)."
    )


def test_one_network_per_size_is_told_and_no_seeds_are_claimed():
    gap = pair(("cnn", "mlp"), -0.12, -0.08, p=(NAN, NAN), pairs=1)
    (text,) = say.comparison_sentences([gap])
    assert text == (
        "cnn generalizes better than mlp: mean errors 0.300 (cnn) and 0.400 (mlp), cnn minus mlp "
        f"{MINUS}0.100 [{MINUS}0.120, {MINUS}0.080] over classes, for these very networks; there "
        "is one per size, and nothing is known of other seeds."
    )
    (text,) = say.comparison_sentences([pair(("a", "b"), -0.1, 0.2, p=(NAN, NAN), pairs=1)])
    assert text.startswith("a and b cannot be told apart: ")
    assert "nan" not in text
    several, alone = family(0.1), family(0.2, seeds=1)
    found = "\n".join(
        words.conclusions(Analysis({"cnn": alone}, {}, [], protocols(0.1, 0, 0, 0.5)[1:], []))
    )
    assert "There is one network per size: intervals are over classes" in found
    mixed = Analysis({"cnn": several, "mlp": alone}, {}, [], protocols(0.1, 0, 0, 0.5)[1:], [])
    assert "Of mlp there is one network per size: intervals are" in "\n".join(
        words.conclusions(mixed)
    )
    none = Analysis({"cnn": several}, {}, [], protocols(0.1, 0, 0, 0.5)[1:], [])
    assert "one network per size" not in "\n".join(words.conclusions(none))
