"""Generalized category discovery against the definition and small brute force."""

import itertools
from typing import Any

import numpy as np
import pytest

from genjax.errors import InvalidInputError
from genjax.metrics.layers.category_discovery import (
    category_discovery,
    discovery_accuracy,
    estimate_num_classes,
    semi_supervised_kmeans,
)


def _blobs(seed=0, count=240, classes=6, width=5, spread=0.3):
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    centres = 3 * rng.normal(size=(classes, width))
    points = centres[labels] + spread * rng.normal(size=(count, width))
    return points.astype(np.float32), labels, (labels < 4) & (rng.random(count) < 0.5)


def _by_force(labels, clusters, some):
    """Best share of the examples named right, and for which of them, over all namings."""
    size = max(labels.max(), clusters.max()) + 1
    names = (np.array(order)[clusters] for order in itertools.permutations(range(size)))
    return max(((labels == name)[some] for name in names), key=np.mean)


def test_accuracies_are_those_of_the_best_naming():
    rng = np.random.default_rng(1)
    for clusters_found in (3, 5, 6):
        labels = rng.integers(0, 5, 60)
        clusters = np.where(rng.random(60) < 0.6, (labels + 2) % clusters_found, 0)
        old = labels < 3
        everything = np.ones(60, bool)
        joint = discovery_accuracy(labels, clusters, old)
        right = _by_force(labels, clusters, everything)
        assert joint.all == pytest.approx(right.mean())
        # Among equally good namings the split is not unique; the parts add up all the same.
        assert old.mean() * joint.old + (~old).mean() * joint.new == pytest.approx(joint.all)
        separate = discovery_accuracy(labels, clusters, old, assignment="separate")
        assert separate.old == pytest.approx(_by_force(labels, clusters, old).mean())
        assert separate.new == pytest.approx(_by_force(labels, clusters, ~old).mean())
        assert separate.all == pytest.approx(
            old.mean() * separate.old + (~old).mean() * separate.new
        )
        assert separate.all >= joint.all


def test_joint_and_separate_part_where_a_cluster_holds_old_and_new():
    """A cluster that swallows an old and a new class is right for one of them, or for both."""
    labels, clusters = np.repeat([0, 1, 2], [30, 20, 10]), np.repeat([0, 0, 1], [30, 20, 10])
    old = labels == 0
    assert [float(x) for x in discovery_accuracy(labels, clusters, old)] == pytest.approx(
        [40 / 60, 1.0, 10 / 30]
    )
    separate = discovery_accuracy(labels, clusters, old, assignment="separate")
    assert [float(x) for x in separate] == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("assignment", ["joint", "separate"])
def test_without_new_or_old_examples_their_accuracy_is_undefined(assignment):
    labels, clusters = np.array([0, 0, 1]), np.array([1, 1, 1])
    only_old = discovery_accuracy(labels, clusters, np.ones(3, bool), assignment=assignment)
    assert only_old.all == only_old.old == pytest.approx(2 / 3)
    assert np.isnan(only_old.new)
    only_new = discovery_accuracy(labels, clusters, np.zeros(3, bool), assignment=assignment)
    assert only_new.all == only_new.new == pytest.approx(2 / 3)
    assert np.isnan(only_new.old)


def test_labelled_examples_stay_and_the_rest_goes_to_the_nearest_centre():
    points, labels, labelled = _blobs(2, spread=2.5)
    found = semi_supervised_kmeans(points, labels, labelled, num_clusters=6, seed=0, restarts=3)
    for assignment in found.assignments:
        np.testing.assert_array_equal(assignment[labelled], labels[labelled])
    clusters = found.assignments[int(found.best)]
    distances = np.sum((points[:, None] - np.asarray(found.centres)[None]) ** 2, axis=2)
    np.testing.assert_array_equal(clusters[~labelled], distances.argmin(axis=1)[~labelled])
    # A fixed point: the centres are the means of labelled and unlabelled examples together.
    means = np.stack([points[clusters == c].mean(axis=0) for c in range(6)])
    np.testing.assert_allclose(found.centres, means, atol=0.05)
    own = np.sum((points - np.asarray(found.centres)[clusters]) ** 2)
    assert found.inertia[int(found.best)] == pytest.approx(own, rel=1e-5)
    # Some labelled examples are nearer to another centre: without their labels they would move.
    assert np.any(distances.argmin(axis=1)[labelled] != labels[labelled])


def test_names_of_classes_do_not_matter():
    points, labels, labelled = _blobs(3)
    first = category_discovery(points, labels, labelled, num_clusters=6, seed=0, restarts=5)
    renamed = category_discovery(
        points, labels * 10 + 3, labelled, num_clusters=6, seed=0, restarts=5
    )
    np.testing.assert_array_equal(first.clustering.assignments, renamed.clustering.assignments)
    assert [float(x) for x in first.joint] == [1.0, 1.0, 1.0]
    assert renamed.joint == first.joint


def test_labels_of_unlabelled_examples_are_not_read():
    points, labels, labelled = _blobs(4)
    hidden = np.where(labelled, labels, 0)
    sizes: dict[str, Any] = {"num_clusters": 6, "seed": 0, "restarts": 2}
    np.testing.assert_array_equal(
        semi_supervised_kmeans(points, labels, labelled, **sizes).assignments,
        semi_supervised_kmeans(points, hidden, labelled, **sizes).assignments,
    )


def test_all_classes_may_be_labelled():
    points, labels, _ = _blobs(5)
    labelled = np.arange(240) < 60
    found = category_discovery(points, labels, labelled, num_clusters=6, seed=0, restarts=1)
    assert found.joint.all == 1.0
    assert np.isnan(found.joint.new)


def test_the_number_of_classes_is_found():
    points, labels, labelled = _blobs(6, spread=0.1)
    found = estimate_num_classes(
        points, labels, labelled, candidates=[12, 4, 6, 9], seed=0, restarts=5
    )
    assert found.num_classes == 6
    assert found.candidates.tolist() == [4, 6, 9, 12]
    assert found.accuracies[1] == 1.0
    assert np.all(found.accuracies[[0, 2, 3]] < 1.0)


_POINTS, _LABELS, _LABELLED = _blobs(7)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda: category_discovery(
                _POINTS, _LABELS, np.ones(240, bool), num_clusters=6, seed=0
            ),
            "labelled: found no unlabelled example",
        ),
        (
            lambda: category_discovery(
                _POINTS, _LABELS, np.zeros(240, bool), num_clusters=6, seed=0
            ),
            "labelled: found no labelled example",
        ),
        (
            lambda: category_discovery(_POINTS, _LABELS, _LABELLED, num_clusters=3, seed=0),
            "num_clusters: found 3 for 4 classes with labelled examples",
        ),
        (
            lambda: category_discovery(_POINTS, _LABELS, _LABELS, num_clusters=6, seed=0),
            r"labelled: found int64 of shape \(240,\)",
        ),
        (
            lambda: discovery_accuracy([0, 0, 1], [0, 1, 1], np.array([True, False, False])),
            "old: found a class whose examples are old and new at once",
        ),
        (
            lambda: discovery_accuracy([0, 1], [0, 1], np.ones(2, bool), assignment="v2"),
            "assignment: unknown name 'v2'",
        ),
        (
            lambda: discovery_accuracy([0, 1], [0], np.ones(2, bool)),
            "clusters: found 1 for 2 labels",
        ),
        (
            lambda: estimate_num_classes(_POINTS, _LABELS, _LABELLED, candidates=[], seed=0),
            "candidates: found none",
        ),
        (
            lambda: estimate_num_classes(_POINTS, _LABELS, _LABELS == 0, candidates=[2], seed=0),
            "labelled: found 1 classes",
        ),
    ],
)
def test_refusals(call, sentence):
    with pytest.raises(InvalidInputError, match=sentence):
        call()
