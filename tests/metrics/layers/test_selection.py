"""Which layer is best: coverage in simulation, closed forms, scipy."""

import numpy as np
import pytest
import scipy.stats

from genjax import errors
from genjax.metrics.layers import model_ranks, selection


def test_the_interval_of_the_best_layer_covers_the_truth():
    # Two layers; units differ (sd .1), draws within a unit are noisier copies (sd .05).
    rng = np.random.default_rng(0)
    truth, covered = 0.03, 0
    for repetition in range(200):
        unit = rng.normal(size=(8, 1, 1)) * 0.3  # what both layers share cancels
        own = unit + rng.normal(size=(8, 1, 2)) * 0.1 + np.array([truth, 0.0])
        estimate = own + rng.normal(size=(8, 1, 2)) * 0.05
        draws = estimate + rng.normal(size=(8, 50, 2)) * 0.05
        scores = np.concatenate([estimate, draws], axis=1)
        resampled = selection.resample(scores, draws=500, seed=repetition)
        difference = resampled[:, 0] - resampled[:, 1]
        low, high = np.quantile(difference, [0.025, 0.975])
        covered += low <= truth <= high
    assert 0.89 <= covered / 200 <= 0.99


def test_probabilities_of_layers_follow_their_scores():
    rng = np.random.default_rng(1)
    scores = rng.normal(size=(6, 20, 4)) * 0.1 + np.array([0.0, 1.0, 1.0, -1.0])
    found = selection.best_layer(scores)
    assert found.probability.sum() == pytest.approx(1.0)
    assert found.probability[0] == found.probability[3] == 0.0
    assert 0.05 < found.probability[1] < 0.95
    assert found.best in (1, 2)
    assert found.last_is_best == 0.0
    assert found.beyond_last.low > 1.0


def test_equal_layers_share_the_probability():
    found = selection.best_layer(np.ones((3, 1, 4)))
    np.testing.assert_allclose(found.probability, 0.25)
    assert found.beyond_last == (0.0, 0.0, 0.0)


def test_a_layer_without_a_value_is_never_best():
    scores = np.array([[[np.nan, 0.2, 0.1]], [[0.5, 0.3, 0.1]]])
    assert selection.best_layer(scores).probability.tolist() == [0.0, 1.0, 0.0]
    nothing = selection.best_layer(np.full((2, 1, 3), np.nan))
    assert np.isnan(nothing.probability).all()


def test_nested_selection_has_no_selection_bias():
    # All layers are equally good: the best of them looks better than the last, nested does not.
    rng = np.random.default_rng(2)
    gains, biased = [], []
    for _ in range(200):
        choosing, judging = rng.normal(size=(2, 8, 2, 6))
        found = selection.nested(choosing, judging)
        gains.append(found.gain.value)
        biased.append(found.ceiling.value)
    error = np.std(gains) / np.sqrt(200)
    assert abs(np.mean(gains)) < 4 * error
    assert np.mean(biased) > 1.0


def test_draws_that_are_shifted_as_a_whole_do_not_decide_which_layer_is_best():
    # Bootstrap draws of the first layer lie .2 too high, as copies of examples can make them.
    rng = np.random.default_rng(4)
    draws = rng.normal(size=(3, 200, 2)) * 0.02 + np.array([0.6, 0.5])
    scores = np.concatenate([np.full((3, 1, 2), [0.4, 0.5]), draws], axis=1)
    assert selection.best_layer(scores).probability.tolist() == [0.0, 1.0]


def test_units_of_one_group_count_as_one():
    rng = np.random.default_rng(5)
    covered = 0
    for _ in range(300):
        groups = np.repeat(np.arange(8), 20)
        values = rng.normal(size=8)[groups] + rng.normal(size=160)
        found = selection.mean_over_groups(values, groups)
        covered += found.low <= 0 <= found.high
    assert 0.92 <= covered / 300 <= 0.98


def test_units_without_a_value_of_the_last_layer_are_left_out_whole():
    found = selection.picking(
        [np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, np.nan])],
        [np.array([0.1, 0.4, np.nan]), np.array([0.1, 0.4, 0.9])],
    )
    # The second selector cannot see the best layer: that is its regret.
    assert found.units == 1
    assert found.regret.value == pytest.approx(0.5)
    assert found.regret_of_last.value == 0.0


def test_few_models_have_no_interval_and_a_smallest_p_value():
    found = model_ranks.rank_of_models(np.arange(4.0), np.arange(4.0))
    assert np.isnan(found["spearman"].low)
    assert found["smallest_p"] == found["p_spearman"] == pytest.approx(2 / 24)


def test_picking_tells_regret_by_hand():
    found = selection.picking(
        [np.array([1.0, 2.0, 3.0, 0.0]), np.array([5.0, 5.0, 1.0, 0.0])],
        [np.array([0.1, 0.5, 0.4, 0.2]), np.array([0.3, 0.1, 0.0, 0.2])],
    )
    assert found.regret.value == pytest.approx((0.1 + 0.1) / 2)  # of two equal ones the mean
    assert found.regret_of_last.value == pytest.approx((0.3 + 0.1) / 2)
    assert found.regret_at_random.value == pytest.approx((0.2 + 0.15) / 2)
    first = scipy.stats.spearmanr([1, 2, 3, 0], [0.1, 0.5, 0.4, 0.2]).statistic
    second = scipy.stats.spearmanr([5, 5, 1, 0], [0.3, 0.1, 0.0, 0.2]).statistic
    assert found.correlation.value == pytest.approx((first + second) / 2)
    assert found.units == 2


def test_agreement_over_models_is_that_of_scipy():
    rng = np.random.default_rng(3)
    for count in (7, 20):
        first, second = rng.normal(size=(2, count))
        found = model_ranks.rank_of_models(first, second, permutations=20_000)
        for name, truth in (
            ("spearman", scipy.stats.spearmanr(first, second)),
            ("kendall", scipy.stats.kendalltau(first, second, method="exact")),
            ("pearson", scipy.stats.pearsonr(first, second)),
        ):
            assert found[name].value == pytest.approx(truth.statistic)
            # The parametric p-values of scipy are close to those of permutations.
            tolerance = 1e-12 if name == "kendall" else 0.05
            assert found[f"p_{name}"] == pytest.approx(truth.pvalue, abs=tolerance)


def test_the_permutation_test_is_exact_for_few_models():
    first, second = np.arange(6.0), np.array([0.0, 2.0, 1.0, 3.0, 5.0, 4.0])
    truth = scipy.stats.permutation_test(
        (first,),
        lambda a: scipy.stats.pearsonr(a, second).statistic,
        permutation_type="pairings",
        n_resamples=np.inf,
        vectorized=False,
    )
    found = model_ranks.rank_of_models(first, second)
    assert found["p_pearson"] == pytest.approx(truth.pvalue)


def test_refusals_name_what_is_missing():
    with pytest.raises(errors.InvalidInputError, match="found 0 units"):
        selection.best_layer(np.ones((0, 1, 3)))
    with pytest.raises(errors.InvalidInputError, match="at least 4"):
        model_ranks.rank_of_models(np.arange(3.0), np.arange(3.0))
    with pytest.raises(errors.InvalidInputError, match="found shapes"):
        selection.nested(np.ones((2, 1, 3)), np.ones((2, 1, 4)))
    with pytest.raises(errors.InvalidInputError, match="same units and layers"):
        selection.picking([np.ones(3)], [np.ones(4)])
