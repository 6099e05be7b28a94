import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.special import softmax
from sklearn.covariance import LedoitWolf
from sklearn.metrics import auc, roc_auc_score, roc_curve

from genjax.errors import InvalidInputError
from genjax.metrics.layers import open_set


def scores(seed=0, ties=True):
    rng = np.random.default_rng(seed)
    seen, unseen = rng.normal(0, 1, 70), rng.normal(0.8, 1, 50)
    return (seen.round(1), unseen.round(1)) if ties else (seen, unseen)


@pytest.mark.parametrize("ties", [True, False])
def test_auroc_is_scikit_learns(ties):
    seen, unseen = scores(ties=ties)
    truth = np.repeat([0, 1], [70, 50])
    expected = roc_auc_score(truth, np.concatenate([seen, unseen]))
    assert open_set.auroc(seen, unseen) == pytest.approx(expected, rel=1e-12)
    assert open_set.auroc(seen, unseen + 99) == 1
    assert open_set.auroc(np.ones(4), np.ones(3)) == 0.5


@pytest.mark.parametrize("ties", [True, False])
@pytest.mark.parametrize("tpr", [0.5, 0.9, 0.95, 1])
def test_false_acceptance_is_where_the_curve_of_scikit_learn_reaches_the_rate(ties, tpr):
    seen, unseen = scores(1, ties)
    truth = np.repeat([1, 0], [70, 50])
    false, true, _ = roc_curve(truth, -np.concatenate([seen, unseen]), drop_intermediate=False)
    expected = false[np.flatnonzero(true >= tpr - 1e-12)[0]]
    assert open_set.fpr_at_tpr(seen, unseen, tpr=tpr) == pytest.approx(expected, rel=1e-12)


def test_the_rate_is_met_exactly_where_it_is_a_whole_number_of_examples():
    seen, unseen = np.arange(20.0), np.arange(20.0)
    assert open_set.fpr_at_tpr(seen, unseen) == 0.95
    assert open_set.fpr_at_tpr(seen, unseen, tpr=0.35) == 0.35


@pytest.mark.parametrize("ties", [True, False])
def test_oscr_is_the_area_under_the_curve_over_all_thresholds(ties):
    seen, unseen = scores(2, ties)
    correct = np.random.default_rng(3).random(70) < 0.8
    thresholds = np.concatenate([[-np.inf], np.unique(np.concatenate([seen, unseen]))])
    rate = [np.mean((seen <= t) & correct) for t in thresholds]
    false = [np.mean(unseen <= t) for t in thresholds]
    found = open_set.oscr(seen, correct, unseen)
    assert found == pytest.approx(auc(false, rate), rel=1e-12)
    everything = open_set.oscr(seen, np.ones(70, bool), unseen)
    assert everything == pytest.approx(open_set.auroc(seen, unseen), rel=1e-12)
    assert open_set.oscr(seen, correct, unseen + 99) == pytest.approx(correct.mean())
    assert open_set.oscr(seen, ~correct & correct, unseen) == 0


def test_scores_that_are_not_numbers_give_none():
    seen, unseen = scores()
    unseen[3] = np.nan
    assert np.isnan(open_set.auroc(seen, unseen))
    assert np.isnan(open_set.fpr_at_tpr(seen, unseen))
    assert np.isnan(open_set.oscr(seen, seen > 0, unseen))


def test_scores_of_logits_are_minus_the_maximum_and_the_rest_of_the_probability():
    logits = np.random.default_rng(4).normal(0, 3, (30, 5)).astype(np.float32)
    np.testing.assert_array_equal(open_set.max_logit_score(logits), -logits.max(axis=1))
    expected = 1 - softmax(logits.astype(np.float64), axis=1).max(axis=1)
    np.testing.assert_allclose(open_set.max_softmax_score(logits), expected, rtol=1e-9)
    confident = open_set.max_softmax_score([[100.0, 0.0], [90.0, 0.0], [200.0, 0.0]])
    assert 0 < confident[2] < confident[0] < confident[1]


@pytest.mark.parametrize("shift", [0, 1e4])
def test_mahalanobis_is_the_distance_to_the_nearest_mean_in_the_shared_covariance(shift):
    rng = np.random.default_rng(5)
    seen, labels = rng.normal(size=(60, 4)) @ rng.normal(size=(4, 4)), np.arange(60) % 3
    seen += shift + labels[:, None]
    points = rng.normal(size=(9, 4)) + shift
    means = np.stack([seen[labels == c].mean(axis=0) for c in range(3)])
    residuals = seen - means[labels]
    plain = residuals.T @ residuals / 60
    fitted = LedoitWolf(assume_centered=True).fit(residuals).covariance_
    for shrinkage, covariance in (
        (0, plain),
        (0.3, 0.7 * plain + 0.3 * np.trace(plain) / 4 * np.eye(4)),
        ("ledoit-wolf", fitted),
    ):
        inverse = np.linalg.inv(covariance)
        expected = cdist(points, means, "mahalanobis", VI=inverse).min(axis=1) ** 2
        found = open_set.mahalanobis_score(points, seen, 2 * labels, shrinkage=shrinkage)
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_mahalanobis_with_more_dimensions_than_examples_needs_shrinkage():
    rng = np.random.default_rng(6)
    seen, labels = rng.normal(size=(10, 30)), np.arange(10) % 2
    with pytest.raises(InvalidInputError, match="shrinkage: found 0; the covariance is singular"):
        open_set.mahalanobis_score(seen, seen, labels, shrinkage=0)
    assert np.isfinite(open_set.mahalanobis_score(seen, seen, labels)).all()
    constant = np.full((10, 3), 0.1)
    assert np.isnan(open_set.mahalanobis_score(constant, constant, labels)).all()


def test_neighbour_score_is_the_distance_to_the_kth_seen_example():
    rng = np.random.default_rng(7)
    seen, points = rng.normal(size=(50, 3)), rng.normal(size=(20, 3))
    expected = np.sort(cdist(points, seen), axis=1)
    for k in (1, 5, 50):
        found = open_set.neighbour_score(points, seen, k=k)
        np.testing.assert_allclose(found, expected[:, k - 1], rtol=1e-9)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: open_set.auroc([], [1.0]), "seen_scores: found shape"),
        (lambda: open_set.auroc([1.0], [[1.0]]), "unseen_scores: found shape"),
        (lambda: open_set.fpr_at_tpr([1.0], [1.0], tpr=0), "tpr: found 0"),
        (lambda: open_set.oscr([1.0], [1], [1.0]), "correct: found int64"),
        (lambda: open_set.oscr([1.0], [True, False], [1.0]), "correct: found bool of shape"),
        (lambda: open_set.max_logit_score([[np.nan, 1.0]]), "logits: found 1 of 1 rows"),
        (lambda: open_set.mahalanobis_score(np.eye(2), np.eye(3), [0, 1, 1]), "found 2 dimensions"),
        (
            lambda: open_set.mahalanobis_score(np.eye(3), np.eye(3), [0, 1, 1], shrinkage=2),
            "shrinkage: found 2",
        ),
        (
            lambda: open_set.mahalanobis_score(np.eye(3), np.eye(3), [0, 1, 1], shrinkage="oas"),
            "shrinkage: found oas",
        ),
    ],
)
def test_bad_arguments_are_refused_by_name(call, sentence):
    with pytest.raises(InvalidInputError, match=sentence):
        call()
