"""Folds are stratified, repeatable, and those of scikit-learn."""

import numpy as np
import pytest
from sklearn.model_selection import StratifiedKFold

from genjax.errors import InvalidInputError
from genjax.metrics.layers.folds import stratified_folds


def test_classes_are_spread_evenly_and_a_seed_repeats():
    labels = np.random.default_rng(0).permutation(np.repeat([0, 3, 4], [10, 23, 7]))
    folds = stratified_folds(labels, 5, seed=1)
    for label in (0, 3, 4):
        counts = np.bincount(folds[labels == label], minlength=5)
        assert counts.max() - counts.min() <= 1
    np.testing.assert_array_equal(folds, stratified_folds(labels, 5, seed=1))
    assert np.any(folds != stratified_folds(labels, 5, seed=2))


def test_without_a_seed_they_are_those_of_cross_val_score():
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [10, 23, 7]))
    folds = stratified_folds(labels, 4, seed=None)
    for fold, (_, held) in enumerate(StratifiedKFold(4).split(labels[:, None], labels)):
        np.testing.assert_array_equal(np.flatnonzero(folds == fold), held)


def test_bad_input_is_refused():
    with pytest.raises(InvalidInputError, match="folds: found 1; at least 2"):
        stratified_folds([0, 0], 1)
    with pytest.raises(InvalidInputError, match="labels: class 7 has 2 examples; 3 folds need"):
        stratified_folds([0, 0, 0, 7, 7], 3)
