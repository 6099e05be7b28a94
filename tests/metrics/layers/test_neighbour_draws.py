import numpy as np
import pytest

from genjax.errors import InvalidInputError
from genjax.metrics.layers import neighbour_draws as draws
from genjax.metrics.layers import neighbour_scores as scores


def clouds(count=60, classes=3, width=4, seed=0, spread=1.0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    centres = np.random.default_rng(99).normal(size=(classes, width))
    return rng.normal(size=(count, width)) + spread * centres[labels], labels


def by_repeating_examples(points, labels, weights, k):
    """Purity (or, without k, R-precision and MAP@R) of a sample that is searched anew."""
    sample = np.repeat(np.arange(len(labels)), weights)
    shares, averages = [], []
    for query in sample:
        others = sample[sample != query]  # without the query and its copies
        squares = np.sum((points[others] - points[query]) ** 2, axis=1)
        right = labels[others][np.argsort(squares, kind="stable")] == labels[query]
        limit = right.sum() if k is None else min(k, len(others))
        if limit:
            right = right[:limit]
            shares.append(right.mean())
            precisions = np.cumsum(right) / np.arange(1, limit + 1)
            averages.append(np.sum(precisions * right) / limit)
    return (np.mean(shares), np.mean(averages)) if shares else (np.nan, np.nan)


@pytest.mark.parametrize("k_max", [59, 25, 9])  # short lists run out and are searched again
def test_draws_are_the_scores_of_samples_that_are_searched_anew(k_max):
    points, labels = clouds()
    weights = draws.bootstrap_weights(6, 60, seed=1)
    # Two examples only, to be looked for far down the lists.
    weights = np.concatenate([weights, 30 * np.isin(np.arange(60), (3, 59))[None]])
    ranking = scores.ranked(points, labels, k_max=k_max)
    for k in (1, 8):
        expected = [by_repeating_examples(points, labels, row, k)[0] for row in weights]
        np.testing.assert_allclose(draws.purity_draws(ranking, weights, k=k), expected, rtol=1e-10)
    expected = np.array([by_repeating_examples(points, labels, row, None) for row in weights]).T
    np.testing.assert_allclose(draws.r_precision_draws(ranking, weights), expected[0], rtol=1e-10)
    np.testing.assert_allclose(draws.map_at_r_draws(ranking, weights), expected[1], rtol=1e-6)


def test_the_sample_of_every_example_once_has_the_score_itself():
    points, labels = clouds()
    ones = np.ones((1, 60), int)
    ranking = scores.ranked(points, labels, k_max=40)
    for found, expected in (
        (draws.purity_draws(ranking, ones, k=7), scores.purity(ranking, k=7)),
        (draws.r_precision_draws(ranking, ones), scores.r_precision(ranking)),
        (draws.map_at_r_draws(ranking, ones), scores.map_at_r(ranking)),
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_samples_too_small_for_k_count_all_their_examples():
    points, labels = clouds(6)
    weights = np.array([[3, 0, 0, 0, 0, 3], [0, 1, 5, 0, 0, 0], [6, 0, 0, 0, 0, 0]])
    ranking = scores.ranked(points, labels, k_max=4)
    expected = [by_repeating_examples(points, labels, row, 4)[0] for row in weights]
    np.testing.assert_allclose(draws.purity_draws(ranking, weights, k=4), expected)
    assert np.isnan(expected[2])


def test_blocks_of_draws_and_queries_join_in_order():
    points, labels = clouds(300, 3)
    weights = draws.bootstrap_weights(260, 300, seed=2)
    ranking = scores.ranked(points, labels, k_max=draws.list_length(5, 300))
    found = draws.purity_draws(ranking, weights, k=5)
    last = [draws.purity_draws(ranking, weights[[i]], k=5)[0] for i in (0, 255, 256, 259)]
    np.testing.assert_allclose(found[[0, 255, 256, 259]], last, rtol=1e-12)


def test_weights_are_counts_of_draws_within_strata_if_asked():
    labels = np.repeat([5, 1, 3], [4, 9, 20])
    free = draws.bootstrap_weights(500, 33, seed=3)
    kept = draws.bootstrap_weights(500, 33, seed=3, strata=labels)
    np.testing.assert_array_equal(free.sum(axis=1), 33)
    for label in (5, 1, 3):
        np.testing.assert_array_equal(kept[:, labels == label].sum(axis=1), np.sum(labels == label))
    np.testing.assert_allclose(free.mean(axis=0), 1, atol=5 / np.sqrt(500))
    np.testing.assert_allclose(free.var(), 1 - 1 / 33, rtol=0.05)


def test_lists_of_the_length_advised_do_not_run_out(monkeypatch):
    points, labels = clouds(800, 4, seed=5)
    weights = draws.bootstrap_weights(50, 800, seed=6)
    monkeypatch.setattr(draws, "nearest", None)  # a second search would fail
    for k in (1, 5, 60):
        ranking = scores.ranked(points, labels, k_max=draws.list_length(k, 800))
        draws.purity_draws(ranking, weights, k=k)
    draws.r_precision_draws(
        scores.ranked(points, labels, k_max=draws.list_length_at_r(labels)), weights
    )


def test_permuted_labels_score_what_a_new_ranking_would():
    points, labels = clouds(90, 4)
    permuted = draws.permuted_labels(labels, 5, seed=7)
    np.testing.assert_array_equal(np.sort(permuted, axis=1), np.sort(labels)[None].repeat(5, 0))
    ranking = scores.ranked(points, labels, k_max=40)
    found = draws.permuted_scores(ranking, permuted, k=12)
    for row, *values in zip(permuted, *found, strict=True):
        again = scores.ranked(points, row, k_max=40)
        expected = [
            scores.purity(again, k=12),
            scores.r_precision(again),
            scores.map_at_r(again),
        ]
        np.testing.assert_allclose(values, expected, rtol=1e-6)
    only = draws.permuted_scores(ranking, permuted, k=12, at_r=False)
    np.testing.assert_array_equal(only.purity, found.purity)
    assert only.r_precision is None
    assert only.map_at_r is None


def test_purity_under_permuted_labels_is_chance_on_average():
    points, labels = clouds(90, 4)
    permuted = draws.permuted_labels(labels, 400, seed=8)
    ranking = scores.ranked(points, labels, k_max=89)
    found = draws.permuted_scores(ranking, permuted, k=10)
    chance = scores.purity_chance(labels)
    for values in (found.purity, found.r_precision):
        assert abs(values.mean() - chance) < 4 * values.std() / np.sqrt(400)


def test_intervals_are_centred_on_the_score():
    points, labels = clouds(150, 3)
    ranking = scores.ranked(points, labels, k_max=100)
    weights = draws.bootstrap_weights(99, 150, seed=9)
    for found, value in (
        (draws.bootstrap_purity(ranking, weights, k=3), scores.purity(ranking, k=3)),
        (draws.bootstrap_r_precision(ranking, weights), scores.r_precision(ranking)),
        (draws.bootstrap_map_at_r(ranking, weights), scores.map_at_r(ranking)),
    ):
        assert found.value == value
        assert found.low < value < found.high
        reach = np.quantile(found.draws, 0.975) - np.mean(found.draws)
        np.testing.assert_allclose(found.low, value - reach, rtol=1e-12)
    undefined = draws.centred_interval(0.5, np.full(3, np.nan))
    assert np.isnan([undefined.low, undefined.high]).all()


@pytest.mark.slow
@pytest.mark.parametrize("spread", [1.0, 0.4])
def test_intervals_cover_the_expected_score_of_fresh_samples(spread):
    def fresh(seed, k_max):
        return scores.ranked(*clouds(200, 4, 6, seed, spread), k_max=k_max)

    def values(ranking):
        return [
            scores.purity(ranking, k=1),
            scores.purity(ranking, k=5),
            scores.r_precision(ranking),
        ]

    expected = np.mean([values(fresh(10_000 + seed, 90)) for seed in range(1500)], axis=0)
    covered = np.zeros(3)
    for seed in range(300):
        ranking = fresh(seed, 150)
        weights = draws.bootstrap_weights(200, 200, seed=seed)
        intervals = (
            draws.bootstrap_purity(ranking, weights, k=1),
            draws.bootstrap_purity(ranking, weights, k=5),
            draws.bootstrap_r_precision(ranking, weights),
        )
        covered += [
            found.low <= value <= found.high
            for found, value in zip(intervals, expected, strict=True)
        ]
    # A coverage of .95 has a standard error of .013 here; where classes overlap it is above that.
    assert np.all(covered / 300 > 0.95 - 2.5 * 0.013)
    assert np.all(covered / 300 < 0.995)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda r: draws.purity_draws(r, np.ones((1, 9), int), k=1),
            r"weights: found shape \(1, 9",
        ),
        (lambda r: draws.purity_draws(r, -np.ones((1, 8), int), k=1), "weights: found int64"),
        (lambda r: draws.purity_draws(r, np.ones((1, 8)), k=1), "weights: found float64"),
        (lambda r: draws.purity_draws(r, np.ones((1, 8), int), k=4), "k: found 4"),
        (lambda r: draws.permuted_scores(r, np.zeros((1, 7), int)), "permuted: found shape"),
        (lambda r: draws.permuted_scores(r, np.zeros((1, 8), int)), "largest class needs 7"),
        (lambda r: draws.permuted_scores(r, np.zeros((1, 8), int), k=9), "k: found 9"),
        (lambda r: draws.bootstrap_weights(0, 8, seed=0), "draws, count"),
    ],
)
def test_bad_arguments_are_refused_by_name(call, sentence):
    points = np.random.default_rng(0).normal(size=(8, 2))
    with pytest.raises(InvalidInputError, match=sentence):
        call(scores.ranked(points, np.arange(8) % 2))
