"""Parts of a data set: train/validation/test, seen/novel classes, subsets, folds, label noise."""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int, Int32, Int64

from genjax.data.examples import Examples, StreamedExamples
from genjax.errors import SplitError


class Splits(NamedTuple):
    """Disjoint parts of a data set, as sorted positions.

    Attributes:
      train: int64 positions of the training examples.
      validation: int64 positions of the examples that choices are made on.
      test: int64 positions of the examples that only the final numbers see.
    """

    train: Int64[np.ndarray, " train"]
    validation: Int64[np.ndarray, " validation"]
    test: Int64[np.ndarray, " test"]


class Fold(NamedTuple):
    """One fold of a cross-validation, as sorted positions.

    Attributes:
      train: int64 positions outside the fold.
      validation: int64 positions of the fold.
    """

    train: Int64[np.ndarray, " train"]
    validation: Int64[np.ndarray, " validation"]


class ClassSplit(NamedTuple):
    """Which classes are trained on.

    Attributes:
      seen: labels of the classes that are trained on.
      novel: labels of the others, in the order in which they are added as novelty grows.
    """

    seen: tuple[int, ...]
    novel: tuple[int, ...]


class NoisyLabels(NamedTuple):
    """Labels of which some were replaced.

    Attributes:
      labels: int32 `[N]`.
      changed: bool `[N]`, true where the label is now wrong.
    """

    labels: Int32[np.ndarray, " examples"]
    changed: Bool[np.ndarray, " examples"]


def _generator(seed: int) -> np.random.Generator:
    if seed < 0:
        raise SplitError(f"seed: found {seed}; allowed are integers >= 0.")
    return np.random.default_rng(seed)


def _labels_and_names(data: Any) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels and class names of a data set, or of bare labels."""
    if isinstance(data, Examples | StreamedExamples):
        return data.labels, data.class_names
    labels = np.asarray(data)
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer) or labels.size == 0:
        raise SplitError(
            f"labels: found dtype {labels.dtype} and shape {labels.shape}; "
            "allowed are integers of one axis, at least one."
        )
    if labels.min() < 0:
        raise SplitError(f"labels: found {labels.min()}; allowed are integers >= 0.")
    return labels, tuple(map(str, range(int(labels.max()) + 1)))


def _stratified_order(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random order of which every stretch holds the classes in proportion.

    The r-th (at random) of the n examples of a class gets the score (r + 1/2) / n; sorting by
    score spreads every class evenly, so that prefixes of any size are stratified and nested.
    """
    score = np.empty(len(labels))
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        score[members] = (rng.permutation(len(members)) + 0.5) / len(members)
    return np.lexsort((rng.random(len(labels)), score))


def _check_part(
    part: str, indices: np.ndarray, labels: np.ndarray, class_names: tuple[str, ...]
) -> None:
    """Refuse a part without some class that the whole has."""
    lacking = np.setdiff1d(labels, labels[indices])
    if len(lacking):
        label = int(lacking[0])
        raise SplitError(
            f"{part}: class {label} ('{class_names[label]}', {int(np.sum(labels == label))} "
            f"examples in all) is left without an example among {len(indices)}; "
            "every part needs every class."
        )


def _check_fractions(fractions: Sequence[float | int]) -> np.ndarray:
    values = np.asarray(fractions, dtype=np.float64)
    valid = values.shape == (3,) and (values >= 0).all() and abs(values.sum() - 1) < 1e-6
    if not valid or values[0] == 0:
        raise SplitError(
            f"fractions: found {tuple(fractions)}; allowed are three shares >= 0 "
            "(train > 0, validation, test) that sum to 1."
        )
    return values


def stratified(
    data: Any,
    fractions: Sequence[float | int] = (0.6, 0.2, 0.2),
    *,
    seed: int,
    is_test: np.ndarray | None = None,
) -> Splits:
    """Split into train, validation and test, every class in proportion.

    Args:
      data: a data set, or its labels `[N]`.
      fractions: shares of train, validation and test, summing to 1. A share of 0 gives an empty
        part.
      seed: of the random choice.
      is_test: bool `[N]`, the official test examples (`data.is_test`). When given, they are the
        test part, and train and validation share the rest in the proportion of their fractions.

    Returns:
      Sorted positions. Class counts follow the shares to within one example.

    Raises:
      SplitError: a part would lack a class, or the shares are not as above.

    Example:
      >>> parts = stratified(np.array([0, 1] * 10), seed=0)
      >>> len(parts.train), len(parts.validation), len(parts.test)
      (12, 4, 4)
    """
    labels, class_names = _labels_and_names(data)
    shares = _check_fractions(fractions)
    rng = _generator(seed)
    if is_test is None:
        order = _stratified_order(labels, rng)
        first, second = np.rint(np.cumsum(shares)[:2] * len(labels)).astype(int)
        train, validation, test = order[:first], order[first:second], order[second:]
    else:
        is_test = np.asarray(is_test)
        if is_test.dtype != np.bool_ or is_test.shape != labels.shape:
            raise SplitError(
                f"is_test: found dtype {is_test.dtype} and shape {is_test.shape}; "
                f"allowed is bool [{len(labels)}]."
            )
        if is_test.all():
            raise SplitError(
                "is_test: every example is a test example, none is left to train on; "
                "pass is_test=None to split the test examples themselves."
            )
        rest, test = np.flatnonzero(~is_test), np.flatnonzero(is_test)
        order = rest[_stratified_order(labels[rest], rng)]
        first = int(np.rint(shares[0] / (shares[0] + shares[1]) * len(order)))
        train, validation = order[:first], order[first:]
    parts = Splits(*(np.sort(part).astype(np.int64) for part in (train, validation, test)))
    wanted = (True, shares[1] > 0, shares[2] > 0 or is_test is not None)
    for name, indices, needed in zip(Splits._fields, parts, wanted, strict=True):
        if needed:
            _check_part(name, indices, labels, class_names)
    return parts


def _listed_classes(seen: Sequence[int | str], names: tuple[str, ...]) -> tuple[int, ...]:
    """Labels of the classes in an explicit list of labels or names."""
    listed = []
    for entry in seen:
        if isinstance(entry, str):
            if entry not in names:
                raise SplitError(f"seen: found class '{entry}'; allowed are {', '.join(names)}.")
            listed.append(names.index(entry))
        elif 0 <= entry < len(names):
            listed.append(int(entry))
        else:
            raise SplitError(f"seen: found class {entry}; allowed are 0 to {len(names) - 1}.")
    if not listed or len(set(listed)) < len(listed):
        raise SplitError(f"seen: found {list(seen)}; allowed is a list of distinct classes.")
    return tuple(listed)


def seen_novel(
    classes: int | Sequence[str],
    *,
    num_seen: int | None = None,
    seen: Sequence[int | str] | None = None,
    seed: int | None = None,
) -> ClassSplit:
    """Divide the classes into seen ones (trained on) and novel ones.

    Args:
      classes: their number, or their names.
      num_seen: how many are seen; half of them (rounded up) when neither this nor `seen` is given.
      seen: an explicit list of labels or names.
      seed: None takes the first `num_seen` classes as seen and the others in stored order as
        novel; a seed draws both in random order.

    Raises:
      SplitError: more classes than exist, unknown ones, or none.

    Example:
      >>> seen_novel(4, num_seen=2)
      ClassSplit(seen=(0, 1), novel=(2, 3))
      >>> seen_novel(("cat", "dog", "fox"), seen=["fox"]).novel
      (0, 1)
    """
    names = tuple(map(str, range(classes))) if isinstance(classes, int) else tuple(classes)
    if not names:
        raise SplitError("classes: found none; at least one class is needed.")
    if seen is not None:
        if num_seen is not None or seed is not None:
            raise SplitError("seen: an explicit list leaves nothing to num_seen or seed.")
        listed = _listed_classes(seen, names)
        return ClassSplit(listed, tuple(i for i in range(len(names)) if i not in listed))
    if num_seen is None:
        num_seen = (len(names) + 1) // 2
    if not 1 <= num_seen <= len(names):
        raise SplitError(f"num_seen: found {num_seen}; allowed are 1 to {len(names)} classes.")
    order = list(range(len(names)))
    if seed is not None:
        order = _generator(seed).permutation(len(names)).tolist()
    return ClassSplit(tuple(order[:num_seen]), tuple(order[num_seen:]))


def balanced_novel(
    classes: int | Sequence[str], *, num_novel: int, draws: int, seed: int
) -> list[ClassSplit]:
    """Divide the classes many times, each being novel equally often (or once more than others).

    Random orders of all classes are dealt out one after another, `num_novel` classes to a draw; a
    class that a draw has already waits for the next one.

    Args:
      classes: their number, or their names.
      num_novel: novel classes of each draw.
      draws: how many divisions.
      seed: decides all of them; the first draws do not depend on how many follow.

    Raises:
      SplitError: no novel or no seen class would be left, or no draw is asked for.

    Example:
      >>> draws = balanced_novel(6, num_novel=2, draws=3, seed=0)
      >>> sorted(label for draw in draws for label in draw.novel)
      [0, 1, 2, 3, 4, 5]
    """
    count = classes if isinstance(classes, int) else len(classes)
    if not 1 <= num_novel < count:
        raise SplitError(
            f"num_novel: found {num_novel}; allowed are 1 to {count - 1} of {count} classes."
        )
    if draws < 1:
        raise SplitError(f"draws: found {draws}; at least one is needed.")
    rng, waiting, drawn = _generator(seed), list[int](), list[ClassSplit]()
    for _ in range(draws):
        novel: list[int] = []
        while len(novel) < num_novel:
            fresh = [label for label in waiting if label not in novel]
            if not fresh:
                waiting += rng.permutation(count).tolist()
                continue
            novel.append(fresh[0])
            waiting.remove(fresh[0])
        rest = tuple(label for label in range(count) if label not in novel)
        drawn.append(ClassSplit(rest, tuple(novel)))
    return drawn


def nested_subsets(data: Any, sizes: Sequence[int], *, seed: int) -> list[np.ndarray]:
    """Stratified subsets of growing size, each contained in the next.

    Args:
      data: a data set, or its labels `[N]`.
      sizes: numbers of examples, increasing.
      seed: of the random choice.

    Returns:
      Sorted int64 positions, one array per size.

    Raises:
      SplitError: sizes that do not increase or do not fit, or a subset without some class.

    Example:
      >>> small, large = nested_subsets(np.array([0, 1] * 10), [4, 8], seed=0)
      >>> set(small) < set(large)
      True
    """
    labels, class_names = _labels_and_names(data)
    increasing = all(a < b for a, b in itertools.pairwise(sizes))
    if not sizes or sizes[0] < 1 or not increasing or sizes[-1] > len(labels):
        raise SplitError(
            f"sizes: found {list(sizes)}; allowed are increasing numbers from 1 to {len(labels)}."
        )
    order = _stratified_order(labels, _generator(seed))
    subsets = [np.sort(order[:size]).astype(np.int64) for size in sizes]
    _check_part(f"subset of {sizes[0]}", subsets[0], labels, class_names)
    return subsets


def k_fold(data: Any, k: int, *, seed: int) -> list[Fold]:
    """Divide into k stratified folds, each the validation part once.

    Args:
      data: a data set, or its labels `[N]`.
      k: number of folds, at least 2.
      seed: of the shuffle, below 2^32.

    Raises:
      SplitError: fewer than two folds, or a class with fewer than k examples.

    Example:
      >>> [len(fold.validation) for fold in k_fold(np.array([0, 1] * 6), 3, seed=0)]
      [4, 4, 4]
    """
    from sklearn.model_selection import StratifiedKFold

    labels, class_names = _labels_and_names(data)
    present, counts = np.unique(labels, return_counts=True)
    if k < 2 or not 0 <= seed < 2**32:
        raise SplitError(f"k, seed: found {k}, {seed}; allowed are k >= 2 and 0 <= seed < 2^32.")
    if counts.min() < k:
        label = int(present[np.argmin(counts)])
        raise SplitError(
            f"k: {k} folds would leave class {label} ('{class_names[label]}') empty in some; "
            f"allowed are at most {counts.min()}, its number of examples."
        )
    folds = StratifiedKFold(k, shuffle=True, random_state=seed).split(labels, labels)
    return [Fold(train.astype(np.int64), held.astype(np.int64)) for train, held in folds]


def label_noise(
    labels: Int[np.ndarray, " examples"], rate: float | int, num_classes: int, *, seed: int
) -> NoisyLabels:
    """Replace a share of the labels by wrong ones, all wrong classes equally likely.

    Args:
      labels: integers `[N]`.
      rate: share of the labels to change, in [0, 1]; exactly `round(rate * N)` of them are.
      num_classes: number of classes to draw from.
      seed: of the random choice.

    Raises:
      SplitError: a rate outside [0, 1], fewer than two classes, labels outside the classes.

    Example:
      >>> int(label_noise(np.zeros(10, int), 0.3, 5, seed=0).changed.sum())
      3
    """
    if not 0 <= rate <= 1:
        raise SplitError(f"rate: found {rate}; allowed are shares from 0 to 1.")
    if num_classes < 2:
        raise SplitError(f"num_classes: found {num_classes}; wrong labels need at least 2 classes.")
    if len(labels) and (labels.min() < 0 or labels.max() >= num_classes):
        raise SplitError(
            f"labels: found {labels.min()} to {labels.max()}; allowed are 0 to {num_classes - 1}."
        )
    rng = _generator(seed)
    changed = np.zeros(len(labels), dtype=np.bool_)
    changed[rng.choice(len(labels), size=round(rate * len(labels)), replace=False)] = True
    offset = rng.integers(1, num_classes, size=len(labels))
    noisy = np.where(changed, (labels + offset) % num_classes, labels)
    return NoisyLabels(noisy.astype(np.int32), changed)
