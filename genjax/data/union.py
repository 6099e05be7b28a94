"""Data sets made of others: some of their classes, some of their examples, two side by side."""

from collections.abc import Sequence

import numpy as np

from genjax.data.examples import Examples
from genjax.errors import DataError, SplitError


def of_classes(examples: Examples, classes: Sequence[int], *, name: str | None = None) -> Examples:
    """Return the examples of some classes, relabelled 0, 1, ... in the order given.

    Args:
      examples: a data set.
      classes: labels, each once.
      name: of the result; None says which classes were taken.

    Raises:
      SplitError: no class, one that does not exist, or one twice.

    Example:
      >>> from genjax.data import load
      >>> two = of_classes(load("digits"), [7, 3])
      >>> two.class_names, len(two), two.name
      (('7', '3'), 362, 'digits, classes 7,3')
    """
    classes = [int(label) for label in classes]
    outside = [label for label in classes if not 0 <= label < examples.num_classes]
    if not classes or outside or len(set(classes)) < len(classes):
        raise SplitError(
            f"classes: found {classes}; allowed are distinct labels from 0 to "
            f"{examples.num_classes - 1}, at least one."
        )
    kept = np.flatnonzero(np.isin(examples.labels, classes))
    position = np.zeros(examples.num_classes, np.int32)
    position[classes] = np.arange(len(classes))
    return Examples(
        images=examples.images[kept],
        labels=position[examples.labels[kept]],
        class_names=tuple(examples.class_names[label] for label in classes),
        name=name or f"{examples.name}, classes {','.join(map(str, classes))}",
        is_test=None if examples.is_test is None else examples.is_test[kept],
    )


def at_most(examples: Examples, train: int, test: int, *, seed: int) -> Examples:
    """Return at most so many random examples of every class, in stored order.

    Classes with more examples than others would decide a head that is fitted on all of them.

    Args:
      examples: a data set; where it does not say which examples are for testing, all count as
        training examples.
      train: examples per class that are not for testing; 0 takes all.
      test: examples per class that are; 0 takes all.
      seed: of the choice.

    Raises:
      SplitError: a negative number.

    Example:
      >>> from genjax.data import load
      >>> np.bincount(at_most(load("digits"), 5, 0, seed=0).labels).tolist()
      [5, 5, 5, 5, 5, 5, 5, 5, 5, 5]
    """
    if train < 0 or test < 0:
        raise SplitError(f"train, test: found {train}, {test}; allowed are numbers from 0 (all).")
    rng = np.random.default_rng(seed)
    is_test = np.zeros(len(examples), np.bool_) if examples.is_test is None else examples.is_test
    order = rng.permutation(len(examples))
    kept = np.zeros(len(examples), np.bool_)
    for part, limit in ((False, train), (True, test)):
        for label in range(examples.num_classes):
            mine = order[(examples.labels[order] == label) & (is_test[order] == part)]
            kept[mine[: limit or None]] = True
    return examples.take(kept)


def union(first: Examples, second: Examples, *, name: str | None = None) -> Examples:
    """Return both data sets as one: classes of the second follow those of the first.

    The fingerprint is that of the whole, so it changes with either part, and with their order.

    Args:
      first: labels are kept.
      second: labels are raised by the number of classes of the first.
      name: of the result; None joins the names.

    Raises:
      DataError: images differ in shape, a class name is in both, or only one of the two says which
        examples are for testing.

    Example:
      >>> from genjax.data import load
      >>> digits = load("digits")
      >>> both = union(of_classes(digits, [0, 1]), of_classes(digits, [9]))
      >>> both.class_names, np.bincount(both.labels).tolist()
      (('0', '1', '9'), [178, 182, 180])
    """
    if first.image_shape != second.image_shape:
        raise DataError(
            f"images: '{first.name}' has the shape {first.image_shape} and '{second.name}' "
            f"{second.image_shape}; both must be equal."
        )
    both = [label for label in second.class_names if label in first.class_names]
    if both:
        raise DataError(
            f"class_names: '{both[0]}' is a class of '{first.name}' and of '{second.name}'; a "
            "class can be in one of them only."
        )
    is_test = None
    if first.is_test is not None and second.is_test is not None:
        is_test = np.concatenate([first.is_test, second.is_test])
    elif first.is_test is not None or second.is_test is not None:
        silent = first if first.is_test is None else second
        raise DataError(
            f"is_test: '{silent.name}' does not say which examples are for testing and the other "
            "data set does; give both as train and test, or neither."
        )
    return Examples(
        images=np.concatenate([first.images, second.images]),
        labels=np.concatenate([first.labels, second.labels + np.int32(first.num_classes)]),
        class_names=(*first.class_names, *second.class_names),
        name=name or f"{first.name} and {second.name}",
        is_test=is_test,
    )
