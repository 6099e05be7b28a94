import numpy as np
import pytest
from sklearn.metrics import average_precision_score
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

from genjax.errors import InvalidInputError
from genjax.metrics.layers import neighbour_scores as scores
from genjax.metrics.layers.neighbours import nearest


def clouds(count=120, classes=4, width=5, seed=0, spread=1.0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    return rng.normal(size=(count, width)) + spread * rng.normal(size=(classes, width))[
        labels
    ], labels


@pytest.fixture
def calligraphy(data_dir):
    with np.load(data_dir / "calligraphy" / "unseen.npz") as file:
        return file["images"].reshape(2500, -1) / 255, file["labels"]


@pytest.mark.data
def test_raw_pixels_of_calligraphy_score_what_was_published_for_them(calligraphy):
    points, labels = calligraphy
    ranking = scores.ranked(points.astype(np.float32), labels, k_max=500)
    found = [
        scores.purity(ranking, k=1),
        scores.purity(ranking, k=500),
        scores.r_precision(ranking),
        scores.map_at_r(ranking),
    ]
    np.testing.assert_allclose(found, [0.6224, 0.2823, 0.2824, 0.1177], atol=1e-4)
    np.testing.assert_allclose(scores.purity_ceiling(labels, k=500), 0.998, rtol=1e-12)
    np.testing.assert_allclose(scores.purity_chance(labels), 499 / 2499, rtol=1e-12)


def test_purity_is_that_of_scikit_learns_neighbours():
    points, labels = clouds()
    ranking = scores.ranked(points, labels, k_max=20)
    _, indices = NearestNeighbors(n_neighbors=20).fit(points).kneighbors()
    for k in (1, 7, 20):
        same = labels[indices[:, :k]] == labels[:, None]
        np.testing.assert_allclose(scores.purity(ranking, k=k), same.mean(), rtol=1e-12)
        for label, found in enumerate(scores.class_purities(ranking, k=k)):
            np.testing.assert_allclose(found, same[labels == label].mean(), rtol=1e-12)


def test_purity_of_random_labels_is_chance_and_of_classes_apart_the_ceiling():
    points, labels = clouds(60, 3)
    whole = scores.ranked(points, labels, k_max=59)
    # With all others as neighbours every order of the points gives chance.
    np.testing.assert_allclose(scores.purity(whole, k=59), scores.purity_chance(labels), rtol=1e-12)
    apart = scores.ranked(points + 1e3 * labels[:, None], labels, k_max=40)
    for k in (1, 15, 40):
        np.testing.assert_allclose(
            scores.purity(apart, k=k), scores.purity_ceiling(labels, k=k), rtol=1e-12
        )
        np.testing.assert_allclose(scores.corrected_purity(apart, k=k), 1, rtol=1e-12)
    raw, chance = scores.purity(whole, k=5), scores.purity_chance(labels)
    ceiling = np.mean([min(np.sum(labels == label) - 1, 5) / 5 for label in labels])
    expected = (raw - chance) / (ceiling - chance)
    np.testing.assert_allclose(scores.corrected_purity(whole, k=5), expected, rtol=1e-12)


def test_corrected_purity_is_not_defined_where_the_ceiling_is_chance():
    points, labels = clouds(12, 3)
    ranking = scores.ranked(points, labels, k_max=11)
    assert np.isnan(scores.corrected_purity(ranking, k=11))
    alone = scores.ranked(points, np.arange(12), k_max=1)
    assert np.isnan(scores.corrected_purity(alone, k=1))
    assert scores.purity(alone, k=1) == 0


@pytest.mark.parametrize("k", [1, 2, 4, 9])
def test_vote_accuracy_is_scikit_learns_with_its_rule_for_ties(k):
    points, labels = clouds(40, 5, spread=0.7)
    labels = labels * 3 + 2  # labels need not be 0 ... C - 1
    model = KNeighborsClassifier(k, algorithm="brute")
    predicted = cross_val_predict(model, points, labels, cv=LeaveOneOut())
    found = scores.knn_accuracy(scores.ranked(points, labels, k_max=9), k=k)
    np.testing.assert_allclose(found, np.mean(predicted == labels), rtol=1e-12)


def test_weighted_votes_are_those_of_cosines():
    points, labels = clouds(100, 4, spread=0.8)
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -np.inf)
    for k, temperature in ((5, 0.07), (99, 0.07), (99, 1)):
        ranking = scores.ranked(points, labels, k_max=99, directions=True)
        right = 0
        for row, label in zip(cosines, labels, strict=True):
            voters = np.argsort(-row)[:k]
            votes = [
                np.sum(np.exp(row[voters][labels[voters] == c] / temperature)) for c in range(4)
            ]
            right += np.argmax(votes) == label
        found = scores.weighted_knn_accuracy(ranking, k=k, temperature=temperature)
        np.testing.assert_allclose(found, right / 100, rtol=1e-12)


def test_points_without_direction_are_at_right_angles_to_all_others():
    points = np.array([[0.0, 0], [3, 0], [0, 2], [0, 0]])
    ranking = scores.ranked(points, [0, 1, 1, 0], k_max=3, directions=True)
    np.testing.assert_allclose(1 - ranking.distances[0] ** 2 / 2, [1, 0, 0], atol=1e-12)


def brute_at_r(points, labels):
    """R-precision and MAP@R of every query with an R, by loops."""
    squares = np.sum((points[:, None] - points[None]) ** 2, axis=-1)
    np.fill_diagonal(squares, np.inf)
    precisions, averages = [], []
    for row, label in zip(squares, labels, strict=True):
        r = np.sum(labels == label) - 1
        if r == 0:
            continue
        right = labels[np.argsort(row, kind="stable")[:r]] == label
        precisions.append(right.mean())
        averages.append(sum(right[: i + 1].mean() for i in range(r) if right[i]) / r)
    return np.mean(precisions), np.mean(averages)


def test_scores_at_r_are_those_of_loops_for_unequal_classes_and_one_alone():
    points, labels = clouds(80, 4)
    labels[0] = 9  # a class of one example has no R
    labels[labels == 3] = np.where(np.arange(np.sum(labels == 3)) % 3, 2, 3)
    ranking = scores.ranked(points, labels)
    precision, average = brute_at_r(points, labels)
    np.testing.assert_allclose(scores.r_precision(ranking), precision, rtol=1e-12)
    np.testing.assert_allclose(scores.map_at_r(ranking), average, rtol=1e-6)


def test_map_at_r_is_average_precision_where_all_hits_come_within_r():
    points, labels = clouds(40, 2)
    points = points + 100 * labels[:, None]
    ranking = scores.ranked(points, labels)
    distances = np.linalg.norm(points[0] - points[1:], axis=1)
    average = average_precision_score(labels[1:] == labels[0], -distances)
    assert scores.map_at_r(ranking) == pytest.approx(average, rel=1e-6) == 1


def test_constant_embeddings_score_by_index_and_are_no_better_than_their_order():
    labels = np.repeat([0, 1], 5)
    ranking = scores.ranked(np.ones((10, 3)), labels, k_max=4)
    assert scores.purity(ranking, k=4) == pytest.approx(5 * 4 / 40)
    assert ranking.indices[7].tolist() == [0, 1, 2, 3]


def test_classes_of_one_example_only_have_no_precision_at_r():
    ranking = scores.ranked(np.arange(4.0)[:, None], np.arange(4))
    assert np.isnan(scores.r_precision(ranking))
    assert np.isnan(scores.map_at_r(ranking))


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda p, y: scores.ranked(p, y * 0, k_max=2), "labels: found 1 class"),
        (lambda p, y: scores.ranked(p, y[:-1], k_max=2), "labels: found 9 for 10"),
        (lambda p, y: scores.ranked(p, y, k_max=10), "k_max: found 10"),
        (lambda p, y: scores.purity(scores.ranked(p, y, k_max=2), k=3), "k: found 3"),
        (lambda p, y: scores.r_precision(scores.ranked(p, y, k_max=1)), "k_max: found 4"),
        (lambda p, y: scores.weighted_knn_accuracy(scores.ranked(p, y), k=1), "no unit vectors"),
    ],
)
def test_bad_arguments_are_refused_by_name(call, sentence):
    points = np.random.default_rng(0).normal(size=(10, 3))
    with pytest.raises(InvalidInputError, match=sentence):
        call(points, np.repeat([0, 1], 5))


def test_the_ranking_is_the_search_and_counts_classes():
    points, labels = clouds(30, 3)
    ranking = scores.ranked(points, labels * 7, k_max=5)
    np.testing.assert_array_equal(ranking.indices, nearest(points, k=5).indices)
    np.testing.assert_array_equal(ranking.counts, np.bincount(labels))
    np.testing.assert_array_equal(ranking.labels, labels)
