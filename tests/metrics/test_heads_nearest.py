import dataclasses

import jax
import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid

from genjax.errors import SplitError
from genjax.metrics.heads import Features, Labels, StopReason, class_masks, make_head
from genjax.metrics.heads_nearest import draw_shots
from genjax.metrics.protocol import NEAREST_MEAN, NEAREST_NEIGHBOUR

NETWORKS, LEVELS = 2, 2
MASKS = class_masks([0, 3, 5, 8], [9, 1, 2, 4, 6, 7], [0, 2, 6], num_classes=10, order_seeds=[0, 1])


@pytest.fixture(scope="module")
def digits():
    """Random tanh features of real digits: another projection per network, noise per level."""
    images, labels = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    order = rng.permutation(len(labels))[:420]
    images, labels = images[order] / 16, labels[order].astype(np.int32)
    projections = rng.normal(size=(NETWORKS, 64, 24))
    features = np.tanh(np.einsum("ip,npd->nid", images, projections) / 4)
    train, test = features[:, :300], features[:, 300:]
    noise = rng.normal(size=(NETWORKS, LEVELS, 120, 24)) * np.array([0, 1.0])[None, :, None, None]
    test = test[:, None] + noise
    train, test = train.astype(np.float32), test.astype(np.float32)
    parts = Labels(labels[:300], labels[:0], labels[300:])
    return Features(train, train[:, :0], test), parts


def cells():
    for network in range(NETWORKS):
        for level in range(LEVELS):
            for share in range(MASKS.shape[1]):
                yield network, level, share


def fitted(model, digits, network, share):
    features, labels = digits
    member = MASKS[network, share][labels.train]
    return model.fit(features.train[network][member].astype(float), labels.train[member])


def run(protocol, digits, masks=MASKS, seed=0):
    keys = jax.random.split(jax.random.key(seed), NETWORKS)
    predictions, info = make_head(protocol, num_classes=10)(*digits, masks, keys)
    return np.asarray(predictions), info


def test_nearest_class_mean_of_all_examples_is_the_nearest_centroid(digits):
    predictions, info = run(dataclasses.replace(NEAREST_MEAN, shots=None), digits)
    for network, level, share in cells():
        oracle = fitted(NearestCentroid(), digits, network, share)
        expected = oracle.predict(digits[0].test[network, level].astype(float))
        np.testing.assert_array_equal(predictions[network, level, share], expected)
    assert (np.asarray(info.reason) == StopReason.NOT_TRAINED).all()
    assert np.isnan(info.train_error).all()


def test_one_neighbour_is_the_nearest_neighbour_classifier(digits):
    protocol = dataclasses.replace(NEAREST_NEIGHBOUR, shots=None, neighbours=1)
    predictions, _ = run(protocol, digits)
    for network, level, share in cells():
        oracle = fitted(KNeighborsClassifier(1), digits, network, share)
        expected = oracle.predict(digits[0].test[network, level].astype(float))
        np.testing.assert_array_equal(predictions[network, level, share], expected)


def test_five_neighbours_vote_and_ties_go_to_the_nearest_class(digits):
    protocol = dataclasses.replace(NEAREST_NEIGHBOUR, shots=None, neighbours=5)
    predictions, _ = run(protocol, digits)
    tied = 0
    for network, level, share in cells():
        oracle = fitted(KNeighborsClassifier(5), digits, network, share)
        test = digits[0].test[network, level].astype(float)
        votes = oracle.predict_proba(test)
        unique = (votes == votes.max(axis=1, keepdims=True)).sum(axis=1) == 1
        got = predictions[network, level, share]
        np.testing.assert_array_equal(got[unique], oracle.predict(test)[unique])
        member = MASKS[network, share][digits[1].train]
        neighbours = digits[1].train[member][oracle.kneighbors(test, return_distance=False)]
        for row in np.flatnonzero(~unique):
            counts = np.bincount(neighbours[row], minlength=10)
            leaders = np.flatnonzero(counts == counts.max())
            assert got[row] == next(label for label in neighbours[row] if label in leaders)
            tied += 1
    assert tied > 20


def test_shots_are_drawn_per_class_without_replacement(digits):
    _, labels = digits
    index = np.arange(300, dtype=np.float32)[:, None]
    drawn = draw_shots(
        jax.numpy.asarray(index),
        jax.numpy.asarray(labels.train),
        jax.random.key(3),
        shots=4,
        num_classes=10,
    )
    chosen = np.asarray(drawn.features[:, 0]).astype(int)
    assert len(set(chosen)) == 40
    assert np.asarray(drawn.valid).all()
    np.testing.assert_array_equal(labels.train[chosen], np.repeat(np.arange(10), 4))
    np.testing.assert_array_equal(drawn.labels, labels.train[chosen])


def test_every_example_of_a_class_is_equally_likely_to_be_a_shot():
    labels = jax.numpy.asarray([0, 1, 0, 1, 0, 0, 1], dtype="int32")
    index = jax.numpy.arange(7.0)[:, None]

    def one(key):
        return draw_shots(index, labels, key, shots=2, num_classes=2).features[:, 0]

    draws = np.asarray(jax.vmap(one)(jax.random.split(jax.random.key(0), 3000)))
    frequency = np.bincount(draws.astype(int).ravel(), minlength=7) / 3000
    # Standard error at most sqrt(1/4 / 3000) = .0091.
    np.testing.assert_allclose(
        frequency, [1 / 2, 2 / 3, 1 / 2, 2 / 3, 1 / 2, 1 / 2, 2 / 3], atol=0.04
    )


def test_a_class_with_too_few_examples_gives_what_it_has():
    labels = jax.numpy.asarray([0, 1, 1, 1], dtype="int32")
    features = jax.numpy.asarray([[0.0], [1.0], [2.0], [3.0]])
    drawn = draw_shots(features, labels, jax.random.key(0), shots=2, num_classes=3)
    np.testing.assert_array_equal(drawn.valid, [True, False, True, True, False, False])


@pytest.mark.parametrize("protocol", [NEAREST_MEAN, NEAREST_NEIGHBOUR])
def test_k_shots_use_k_labels_per_class(digits, protocol):
    """Changing features of training images that were not drawn changes nothing."""
    protocol = dataclasses.replace(protocol, shots=3)
    features, labels = digits
    keys = jax.random.split(jax.random.key(0), NETWORKS)
    index = np.tile(np.arange(300, dtype=np.float32)[:, None], (1, 24))
    train = features.train.copy()
    for network in range(NETWORKS):
        drawn = draw_shots(
            jax.numpy.asarray(index),
            jax.numpy.asarray(labels.train),
            keys[network],
            shots=3,
            num_classes=10,
        )
        spared = np.setdiff1d(np.arange(300), np.asarray(drawn.features[:, 0]).astype(int))
        assert len(spared) == 270
        train[network, spared] = 99.0
    head = make_head(protocol, num_classes=10)
    expected, _ = head(features, labels, MASKS, keys)
    got, _ = head(features._replace(train=train), labels, MASKS, keys)
    np.testing.assert_array_equal(got, expected)


def test_fewer_examples_than_shots_are_refused(digits):
    with pytest.raises(SplitError, match=r"class \d is in play with \d+ examples"):
        run(dataclasses.replace(NEAREST_MEAN, shots=200), digits)


def test_only_classes_in_play_are_predicted(digits):
    for protocol in (NEAREST_MEAN, NEAREST_NEIGHBOUR):
        predictions, _ = run(dataclasses.replace(protocol, shots=3), digits)
        for network, level, share in cells():
            assert MASKS[network, share][predictions[network, level, share]].all()


def test_the_share_with_all_votes_in_play_is_not_moved_by_the_others(digits):
    protocol = dataclasses.replace(NEAREST_NEIGHBOUR, shots=3)
    full, _ = run(protocol, digits)
    alone, _ = run(protocol, digits, masks=MASKS[:, 1:2])
    np.testing.assert_array_equal(full[:, :, 1:2], alone)
