"""Folds of examples for validation: every class alike in every fold, the same for the same seed."""

from typing import Any

import numpy as np
from jaxtyping import Int
from sklearn.model_selection import StratifiedKFold

from genjax.errors import InvalidInputError
from genjax.metrics.layers.checks import check_labels


def stratified_folds(labels: Any, folds: int, *, seed: int | None = 0) -> Int[np.ndarray, " N"]:
    """Return the fold of every example, with the classes as evenly as possible in every fold.

    Args:
        labels: `[N]`, whole numbers from 0 on; at least `folds` examples of every class.
        folds: how many, at least 2.
        seed: of the order of the examples of a class; None takes them as they stand, which is
            what scikit-learn's `cross_val_score` does.

    Raises:
        InvalidInputError: fewer than two folds, or a class with fewer examples than folds.

    Example:
        >>> stratified_folds([0, 0, 1, 1, 0, 1], 3, seed=None).tolist()
        [0, 1, 0, 1, 2, 2]
    """
    labels = np.asarray(check_labels(labels))
    if folds < 2:
        raise InvalidInputError(f"folds: found {folds}; at least 2 are needed.")
    classes, counts = np.unique(labels, return_counts=True)
    if counts.min() < folds:
        rarest = int(np.argmin(counts))
        raise InvalidInputError(
            f"labels: class {classes[rarest]} has {counts[rarest]} examples; {folds} folds need at "
            f"least {folds} of every class."
        )
    splitter = StratifiedKFold(folds, shuffle=seed is not None, random_state=seed)
    found = np.zeros(labels.shape[0], int)
    for fold, (_, held_out) in enumerate(splitter.split(labels[:, None], labels)):
        found[held_out] = fold
    return found
