"""The official parts, in memory and streamed."""

import numpy as np
import pytest

from genjax.data import Examples, StreamedExamples
from genjax.data.parts import official_part
from genjax.errors import SplitError

PIXELS = np.arange(12, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 1), np.uint8)
LABELS = np.array([0, 1] * 6)
IS_TEST = np.arange(12) % 3 == 0


def in_memory(is_test=IS_TEST):
    return Examples(PIXELS, LABELS, ("a", "b"), "mine", is_test)


def streamed(is_test=IS_TEST):
    return StreamedExamples(
        lambda i: PIXELS[i], LABELS, ("a", "b"), "mine", PIXELS.shape[1:], is_test
    )


@pytest.mark.parametrize("make", [in_memory, streamed])
@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (None, [0, 3, 6, 9]),
        ("test", [0, 3, 6, 9]),
        ("train", [1, 2, 4, 5, 7, 8, 10, 11]),
        ("all", range(12)),
    ],
)
def test_a_part_has_its_examples_in_stored_order(make, part, expected):
    found = official_part(make(), part)
    assert isinstance(found, type(make()))
    batches = list(found.batches(3))
    pixels = np.concatenate([batch.images[:, 0, 0, 0] for batch in batches])
    np.testing.assert_array_equal(np.round(255 * pixels), expected)
    np.testing.assert_array_equal(
        np.concatenate([batch.labels for batch in batches]), LABELS[list(expected)]
    )


@pytest.mark.parametrize("make", [in_memory, streamed])
def test_without_official_parts_there_is_only_all(make):
    assert len(official_part(make(None), None)) == 12
    for part in ("test", "train"):
        with pytest.raises(SplitError, match=f"found '{part}', and 'mine' does not say"):
            official_part(make(None), part)


def test_empty_and_unknown_parts_are_refused():
    with pytest.raises(SplitError, match="'mine' has no train examples"):
        official_part(in_memory(np.ones(12, bool)), "train")
    with pytest.raises(SplitError, match="'mine' has no test examples"):
        official_part(in_memory(np.zeros(12, bool)), None)
    with pytest.raises(SplitError, match="found 'tset'; allowed are test, train, all"):
        official_part(in_memory(), "tset")
