"""Sources of labelled images, their splits, and shifts of their distribution."""

from genjax.data import augmentation, shifts, splits
from genjax.data.examples import Batch, Examples, StreamedExamples
from genjax.data.resizing import Resizing
from genjax.data.sources import load
from genjax.data.splits import ClassSplit, Splits

__all__ = [
    "Batch",
    "ClassSplit",
    "Examples",
    "Resizing",
    "Splits",
    "StreamedExamples",
    "augmentation",
    "load",
    "shifts",
    "splits",
]
