"""The official train and test parts of a data set."""

import dataclasses

import numpy as np

from genjax.data.examples import Examples, StreamedExamples
from genjax.errors import SplitError

PARTS = ("test", "train", "all")


def official_part(
    examples: Examples | StreamedExamples, part: str | None
) -> Examples | StreamedExamples:
    """Return the official part that is asked for; a streamed set stays streamed.

    Args:
      examples: a data set.
      part: "test", "train" or "all"; None is the test part where the source says which examples
        belong to it, else all.

    Raises:
      SplitError: unknown part, the source does not say, or the part is empty.
      DataError: a class of a streamed set has no example in the part.

    Example:
      >>> labels, is_test = np.array([0, 1, 0]), np.array([False, False, True])
      >>> data = Examples(np.zeros((3, 2, 2)), labels, ("a", "b"), "mine", is_test)
      >>> [len(official_part(data, part)) for part in (None, "train", "all")]
      [1, 2, 3]
    """
    if part not in (None, *PARTS):
        raise SplitError(f"split: found '{part}'; allowed are {', '.join(PARTS)}.")
    if part == "all" or (part is None and examples.is_test is None):
        return examples
    if examples.is_test is None:
        raise SplitError(
            f"split: found '{part}', and '{examples.name}' does not say which examples are for "
            "testing; leave split out to take all."
        )
    chosen = np.flatnonzero(examples.is_test == (part != "train"))
    if not len(chosen):
        raise SplitError(f"split: '{examples.name}' has no {part or 'test'} examples.")
    if isinstance(examples, Examples):
        return examples.take(chosen)
    read, labels = examples.read, examples.labels[chosen]
    return dataclasses.replace(
        examples, read=lambda indices: read(chosen[indices]), labels=labels, is_test=None
    )
