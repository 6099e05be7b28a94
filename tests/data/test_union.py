"""Data sets made of others: every example keeps its image and the name of its class."""

import numpy as np
import pytest

from genjax import data, errors
from genjax.data.union import at_most, of_classes, union


def made(names, counts, *, side=4, seed=0, name="made", test=None):
    """Random images; `test` is the share of every class, from its end, that is for testing."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(names)), counts)
    images = rng.integers(0, 256, (len(labels), side, side, 3)).astype(np.uint8)
    is_test = None
    if test is not None:
        is_test = np.concatenate([np.arange(n) >= n - round(test * n) for n in counts])
    return data.Examples(images, labels, tuple(names), name, is_test)


def named(examples):
    """Bytes of every image -> name of its class and whether it is for testing."""
    tests = examples.is_test if examples.is_test is not None else [None] * len(examples)
    return {
        image.tobytes(): (examples.class_names[label], None if test is None else bool(test))
        for image, label, test in zip(examples.images, examples.labels, tests, strict=True)
    }


def test_a_union_keeps_images_names_and_parts():
    first = made("abc", (6, 4, 8), test=0.5)
    second = made(("x", "y"), (4, 2), seed=1, name="other", test=0.5)
    both = union(first, second)
    assert both.class_names == ("a", "b", "c", "x", "y")
    assert named(both) == named(first) | named(second)
    assert len(both) == len(first) + len(second)
    assert both.name == "made and other"
    assert union(first, second, name="mine").name == "mine"


def test_the_fingerprint_follows_either_part_and_their_order():
    first, second = made("abc", (6, 4, 8)), made("xy", (4, 2), seed=1)
    changed = made("xy", (4, 2), seed=2)
    renamed = made("xz", (4, 2), seed=1)
    marks = {
        union(*parts).fingerprint
        for parts in ((first, second), (second, first), (first, changed), (first, renamed))
    }
    assert len(marks) == 4
    assert union(first, second, name="other words").fingerprint == union(first, second).fingerprint


@pytest.mark.parametrize(
    ("second", "words"),
    [
        (made("xy", (2, 2), side=5), r"shape .4, 4, 3. and 'made' .5, 5, 3.; both must be equal"),
        (made("xb", (2, 2), name="other"), "'b' is a class of 'made' and of 'other'"),
        (made("xy", (2, 2), name="other", test=0.5), "is_test: 'made' does not say which"),
    ],
)
def test_sets_that_do_not_belong_together_are_refused(second, words):
    with pytest.raises(errors.DataError, match=words):
        union(made("ab", (3, 3)), second)


def test_classes_are_taken_in_the_order_given():
    examples = made("abcd", (3, 5, 2, 4), test=0.5)
    chosen = of_classes(examples, [3, 1])
    assert chosen.class_names == ("d", "b")
    expected = {k: v for k, v in named(examples).items() if v[0] in "db"}
    assert named(chosen) == expected
    assert np.bincount(chosen.labels).tolist() == [4, 5]


@pytest.mark.parametrize("classes", [[], [4], [-1], [1, 1]])
def test_classes_that_do_not_exist_are_refused(classes):
    with pytest.raises(errors.SplitError, match="distinct labels from 0 to 3"):
        of_classes(made("abcd", (3, 5, 2, 4)), classes)


def test_no_class_has_more_than_was_asked_for():
    examples = made("abc", (40, 10, 4), test=0.5)
    chosen = at_most(examples, 3, 4, seed=1)
    assert chosen.is_test is not None
    assert np.bincount(chosen.labels[~chosen.is_test]).tolist() == [3, 3, 2]
    assert np.bincount(chosen.labels[chosen.is_test]).tolist() == [4, 4, 2]
    assert named(chosen).items() <= named(examples).items()
    assert at_most(examples, 0, 0, seed=1).fingerprint == examples.fingerprint
    assert at_most(examples, 3, 4, seed=1).fingerprint == chosen.fingerprint
    assert at_most(examples, 3, 4, seed=2).fingerprint != chosen.fingerprint
    whole = at_most(made("abc", (40, 10, 4)), 3, 0, seed=1)
    assert np.bincount(whole.labels).tolist() == [3, 3, 3]
    with pytest.raises(errors.SplitError, match="found -1, 2"):
        at_most(examples, -1, 2, seed=0)
