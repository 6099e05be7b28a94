"""Confusion and per-class accuracy: scikit-learn looped is the oracle, equality is exact."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, recall_score

from genjax.errors import InvalidInputError
from genjax.metrics.accuracy import confusion, per_class_accuracy

CASES = [((), 50, 3), ((4,), 120, 10), ((2, 3, 2), 77, 5), ((1,), 1, 2), ((3,), 5, 12)]


def draw(leading, examples, classes, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, examples)
    noise = rng.integers(0, classes, (*leading, examples))
    return labels, np.where(rng.random((*leading, examples)) < 0.6, labels, noise)


def looped(labels, predictions, classes):
    rows = predictions.reshape(-1, predictions.shape[-1])
    names = np.arange(classes)
    counts = [confusion_matrix(labels, row, labels=names) for row in rows]
    return np.stack(counts).reshape(*predictions.shape[:-1], classes, classes)


@pytest.mark.parametrize("case", CASES)
def test_confusion_equals_scikit_learn_exactly(case):
    labels, predictions = draw(*case)
    counts = confusion(labels, predictions, num_classes=case[2])
    assert counts.dtype == jnp.int32
    np.testing.assert_array_equal(counts, looped(labels, predictions, case[2]))


@pytest.mark.parametrize("case", CASES)
def test_accuracy_equals_recall(case):
    labels, predictions = draw(*case)
    ours = np.asarray(per_class_accuracy(labels, predictions, case[2]))
    rows = predictions.reshape(-1, predictions.shape[-1])
    recall = [
        recall_score(labels, row, labels=np.arange(case[2]), average=None, zero_division=np.nan)
        for row in rows
    ]
    expected = np.stack(recall).reshape(ours.shape)
    np.testing.assert_array_equal(ours, expected.astype(np.float32))


def test_the_blocks_of_an_accelerator_count_the_same():
    labels, predictions = draw((7,), 60, 4)
    rows = jnp.asarray(predictions)

    def count_row(row):
        return jnp.zeros(16, jnp.int32).at[jnp.asarray(labels) * 4 + row].add(1, mode="drop")

    blocks = jax.lax.map(count_row, rows, batch_size=3).reshape(7, 4, 4)
    np.testing.assert_array_equal(blocks, confusion(labels, predictions, num_classes=4))


def test_excluded_classes_do_not_count_and_masks_broadcast():
    labels, predictions = draw((2, 3, 4), 90, 5)
    include = np.random.default_rng(1).random((2, 1, 4, 5)) < 0.6
    include[0, 0, 0] = False
    counts = confusion(labels, predictions, num_classes=5, include=include)
    accuracy = per_class_accuracy(labels, predictions, 5, include)
    for index in np.ndindex(2, 3, 4):
        mask = include[index[0], 0, index[2]]
        kept = mask[labels]
        expected = np.zeros((5, 5), int)
        np.add.at(expected, (labels[kept], predictions[index][kept]), 1)
        np.testing.assert_array_equal(counts[index], expected)
        np.testing.assert_array_equal(np.isnan(accuracy[index]), ~mask)
        right = np.diag(expected)[mask] / expected.sum(1)[mask]
        np.testing.assert_array_equal(accuracy[index][mask], right.astype(np.float32))


def test_a_mask_may_add_axes():
    labels, predictions = draw((), 40, 3)
    include = np.eye(3, dtype=bool)
    counts = confusion(labels, predictions, num_classes=3, include=include)
    assert counts.shape == (3, 3, 3)
    np.testing.assert_array_equal(counts.sum(0), confusion(labels, predictions, num_classes=3))
    assert per_class_accuracy(labels, predictions, 3, include).shape == (3, 3)


def test_no_examples_and_no_rows():
    nothing = np.zeros((3, 0), int)
    assert not confusion(nothing[0], nothing, num_classes=2).any()
    assert np.isnan(per_class_accuracy(nothing[0], nothing, 2)).all()
    assert confusion(np.zeros(4, int), np.zeros((0, 4), int), num_classes=2).shape == (0, 2, 2)


def test_under_jit_and_vmap():
    labels, predictions = draw((4,), 30, 3)
    expected = looped(labels, predictions, 3)

    @jax.jit
    def count(labels, predictions):
        return confusion(labels, predictions, num_classes=3)

    np.testing.assert_array_equal(count(labels, predictions), expected)
    mapped = jax.vmap(count, in_axes=(None, 0))(jnp.asarray(labels), jnp.asarray(predictions))
    np.testing.assert_array_equal(mapped, expected)


def test_under_jit_out_of_range_examples_spill_nowhere():
    @jax.jit
    def both(labels, predictions):
        accuracy = per_class_accuracy(labels, predictions, 2)
        return confusion(labels, predictions, num_classes=2), accuracy

    labels = jnp.array([0, 0, 1, -1, 2])
    counts, accuracy = both(labels, jnp.array([0, 2, -1, 0, 1]))
    np.testing.assert_array_equal(counts, [[1, 0], [0, 0]])
    np.testing.assert_array_equal(accuracy, [0.5, 0.0])


@pytest.mark.parametrize(
    ("labels", "predictions", "classes", "include", "words"),
    [
        ([0, 1], [[0, 2]], 2, None, "predictions: found class 2"),
        ([0, -1], [[0, 1]], 2, None, "labels: found class -1"),
        ([0, 1], [0.0, 1.0], 2, None, "predictions: found dtype float"),
        ([0, 1], [0, 1, 1], 2, None, "last axis must hold the 2 examples"),
        ([[0, 1]], [0, 1], 2, None, "labels: found shape"),
        ([0, 1], [0, 1], 0, None, "num_classes: found 0"),
        ([0, 1], [0, 1], 2, [True], "include: found shape"),
        ([0, 1], [[0, 1]] * 2, 2, [[True, True]] * 3, "do not broadcast"),
    ],
)
def test_refusals(labels, predictions, classes, include, words):
    mask = None if include is None else np.array(include)
    for call in (
        lambda: confusion(
            np.array(labels), np.array(predictions), num_classes=classes, include=mask
        ),
        lambda: per_class_accuracy(np.array(labels), np.array(predictions), classes, mask),
    ):
        with pytest.raises(InvalidInputError, match=words.replace("[", r"\[")):
            call()
