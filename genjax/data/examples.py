"""Labelled images: in memory (`Examples`) or read when asked for (`StreamedExamples`)."""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, Int32, Shaped

from genjax.errors import DataError

BLOCK = 1024  # Images that a streamed set reads at once when it walks over all of them.


class Batch(NamedTuple):
    """Some examples.

    Attributes:
      images: float32 in [0, 1], `[B, H, W, C]`.
      labels: int32 `[B]`.
    """

    images: Float[np.ndarray, "batch height width channels"]
    labels: Int[np.ndarray, " batch"]


def as_images(images: Any) -> Float[np.ndarray, "examples height width channels"]:
    """Return `images` as float32 in [0, 1] with a channel axis.

    Args:
      images: uint8 (divided by 255) or floats in [0, 1]; `[N, H, W, C]`, or `[N, H, W]`.

    Raises:
      DataError: another rank or dtype, no images, an empty axis, values not finite or outside
        [0, 1].

    Example:
      >>> as_images(np.full((2, 4, 4), 255, np.uint8)).shape
      (2, 4, 4, 1)
    """
    images = np.asarray(images)
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4:
        raise DataError(
            f"images: found {images.ndim} dimensions, shape {images.shape}; "
            "allowed are [N, H, W, C] and [N, H, W]."
        )
    if 0 in images.shape:
        raise DataError(f"images: found the empty shape {images.shape}; every axis needs entries.")
    if images.dtype == np.uint8:
        return images.astype(np.float32) / np.float32(255)
    if not np.issubdtype(images.dtype, np.floating):
        raise DataError(
            f"images: found dtype {images.dtype}; allowed are uint8 (0..255) and floats in [0, 1]."
        )
    low, high = float(images.min()), float(images.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise DataError("images: found values that are not finite; allowed are floats in [0, 1].")
    if low < 0 or high > 1:
        raise DataError(f"images: found floats from {low:g} to {high:g}; allowed are [0, 1].")
    return np.ascontiguousarray(images, dtype=np.float32)


def as_labels(
    labels: Any, num_examples: int, class_names: tuple[str, ...]
) -> Int32[np.ndarray, " examples"]:
    """Return `labels` as int32 `[N]` after checking that they fit images and classes.

    Raises:
      DataError: wrong rank, dtype or length, a label outside the classes, or an empty class.
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(
            f"labels: found dtype {labels.dtype} and shape {labels.shape}; "
            "allowed is one integer per image, [N]."
        )
    if len(labels) != num_examples:
        raise DataError(f"labels: found {len(labels)} of them for {num_examples} images.")
    outside = (labels < 0) | (labels >= len(class_names))
    if outside.any():
        where = int(np.argmax(outside))
        raise DataError(
            f"labels: found {labels[where]} at position {where}; "
            f"allowed are 0 to {len(class_names) - 1} ({len(class_names)} classes)."
        )
    counts = np.bincount(labels, minlength=len(class_names))
    if (counts == 0).any():
        empty = int(np.argmin(counts))
        raise DataError(
            f"labels: class {empty} ('{class_names[empty]}') has no example; "
            "every class needs at least one."
        )
    return np.ascontiguousarray(labels, dtype=np.int32)


def numbered_classes(labels: np.ndarray) -> tuple[str, ...]:
    """Return the class names of a source that has none: the labels as text.

    Raises:
      DataError: labels are not integers.
    """
    if not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"labels: found dtype {labels.dtype}; allowed are integers.")
    return tuple(map(str, range(int(labels.max()) + 1 if labels.size else 0)))


def _as_is_test(is_test: Any, num_examples: int) -> np.ndarray | None:
    if is_test is None:
        return None
    is_test = np.asarray(is_test)
    if is_test.dtype != np.bool_ or is_test.shape != (num_examples,):
        raise DataError(
            f"is_test: found dtype {is_test.dtype} and shape {is_test.shape}; "
            f"allowed is bool [{num_examples}] or None."
        )
    return is_test


def _as_indices(indices: Any, num_examples: int) -> np.ndarray:
    """Positions as int64, from integers or from a boolean mask."""
    indices = np.asarray(indices)
    if indices.dtype == np.bool_ and indices.shape == (num_examples,):
        return np.flatnonzero(indices)
    if indices.ndim != 1 or not (indices.size == 0 or np.issubdtype(indices.dtype, np.integer)):
        raise DataError(
            f"indices: found dtype {indices.dtype} and shape {indices.shape}; "
            f"allowed are integers of one axis or a bool mask [{num_examples}]."
        )
    indices = indices.astype(np.int64)
    if indices.size == 0:
        raise DataError("indices: found none; at least one example must be taken.")
    if indices.min() < 0 or indices.max() >= num_examples:
        raise DataError(
            f"indices: found {indices.min()} to {indices.max()}; "
            f"allowed are 0 to {num_examples - 1}."
        )
    return indices


def _batch_indices(
    num_examples: int, batch_size: int, seed: int | None, epochs: int, drop_remainder: bool
) -> list[np.ndarray]:
    """Positions of every batch, epoch by epoch; the same for every kind of set."""
    if batch_size < 1 or epochs < 0:
        raise DataError(
            f"batch_size, epochs: found {batch_size}, {epochs}; allowed are >= 1 and >= 0."
        )
    if drop_remainder and batch_size > num_examples:
        raise DataError(
            f"batch_size: found {batch_size} with drop_remainder; "
            f"allowed are 1 to {num_examples}, the number of examples."
        )
    batches = []
    for epoch in range(epochs):
        order = np.arange(num_examples)
        if seed is not None:
            order = np.random.default_rng((seed, epoch)).permutation(num_examples)
        stop = num_examples - num_examples % batch_size if drop_remainder else num_examples
        batches += [order[i : min(i + batch_size, stop)] for i in range(0, stop, batch_size)]
    return batches


def _digest(
    shape: tuple[int, ...], blocks: Any, labels: np.ndarray, class_names: tuple[str, ...]
) -> str:
    sha = hashlib.sha256(repr((shape, class_names)).encode())
    for block in blocks:
        sha.update(np.ascontiguousarray(block, dtype="<f4").data)
    sha.update(np.ascontiguousarray(labels, dtype="<i4").data)
    return sha.hexdigest()[:16]


@dataclasses.dataclass(frozen=True, eq=False)
class Examples:
    """Labelled images in memory, checked when they are made.

    Attributes:
      images: float32 in [0, 1], `[N, H, W, C]`. Given as uint8 they are divided by 255, given
        as `[N, H, W]` they get a channel axis.
      labels: int32 `[N]`, positions in `class_names`.
      class_names: one name per class; every class has at least one example (a set that `take`
        made may lack some).
      name: where the examples come from: the spec given to `load`, or any words.
      is_test: bool `[N]`, the official test examples, where the source has them; else None.

    Raises:
      DataError: shapes, types, values or labels are not as above.

    Example:
      >>> data = Examples(np.zeros((4, 8, 8), np.uint8), np.array([0, 1, 1, 0]), ("a", "b"), "mine")
      >>> len(data), data.num_classes, data.image_shape
      (4, 2, (8, 8, 1))
    """

    images: Shaped[np.ndarray, "..."]
    labels: Shaped[np.ndarray, "..."]
    class_names: tuple[str, ...]
    name: str
    is_test: np.ndarray | None = None

    def __post_init__(self):
        images = as_images(self.images)
        labels = as_labels(self.labels, len(images), self.class_names)
        object.__setattr__(self, "images", images)
        object.__setattr__(self, "labels", labels)
        object.__setattr__(self, "is_test", _as_is_test(self.is_test, len(images)))

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width, channels."""
        height, width, channels = self.images.shape[1:]
        return height, width, channels

    @functools.cached_property
    def fingerprint(self) -> str:
        """First 16 hex digits of the SHA-256 of images, labels and class names."""
        return _digest(self.images.shape, [self.images], self.labels, self.class_names)

    def take(self, indices: Any) -> "Examples":
        """Return the examples at `indices` (integers, or a bool mask `[N]`); classes are kept.

        Raises:
          DataError: no index, or one outside the set.
        """
        indices = _as_indices(indices, len(self))
        is_test = None if self.is_test is None else self.is_test[indices]
        images, labels = self.images[indices], self.labels[indices]
        return _trusted(images, labels, self.class_names, self.name, is_test)

    def batches(
        self,
        batch_size: int,
        *,
        seed: int | None = None,
        epochs: int = 1,
        drop_remainder: bool = False,
    ) -> Iterator[Batch]:
        """Yield batches, in stored order or (with a seed) in a new order every epoch.

        Example:
          >>> data = Examples(np.zeros((5, 2, 2)), np.zeros(5, int), ("a",), "mine")
          >>> [len(batch.labels) for batch in data.batches(2)]
          [2, 2, 1]
        """
        order = _batch_indices(len(self), batch_size, seed, epochs, drop_remainder)
        return (Batch(self.images[i], self.labels[i]) for i in order)


def _trusted(
    images: np.ndarray,
    labels: np.ndarray,
    class_names: tuple[str, ...],
    name: str,
    is_test: np.ndarray | None,
) -> Examples:
    """A part of a checked set: checking again would refuse parts without some class."""
    part = object.__new__(Examples)
    fields = {"images": images, "labels": labels, "class_names": class_names, "name": name}
    for field, value in {**fields, "is_test": is_test}.items():
        object.__setattr__(part, field, value)
    return part


@dataclasses.dataclass(frozen=True, eq=False)
class StreamedExamples:
    """Labelled images that are read when asked for; the same interface without `images`.

    Batches are read ahead by grain's threads. They are the same batches that `Examples` yields
    for the same seed.

    Attributes:
      read: positions int64 `[B]` -> images `[B, H, W, C]`, uint8 or floats in [0, 1].
      labels: int32 `[N]`, in memory.
      class_names: one name per class; every class has at least one example.
      name: where the examples come from.
      image_shape: height, width, channels.
      is_test: bool `[N]`, the official test examples, where the source has them; else None.

    Raises:
      DataError: labels or `is_test` do not fit.

    Example:
      >>> pixels = np.arange(6, dtype=np.uint8)
      >>> read = lambda indices: np.broadcast_to(pixels[indices, None, None, None], (2, 4, 4, 1))
      >>> data = StreamedExamples(read, np.array([0, 1] * 3), ("a", "b"), "mine", (4, 4, 1))
      >>> [batch.labels.tolist() for batch in data.batches(2)]
      [[0, 1], [0, 1], [0, 1]]
    """

    read: Callable[[np.ndarray], np.ndarray]
    labels: Shaped[np.ndarray, "..."]
    class_names: tuple[str, ...]
    name: str
    image_shape: tuple[int, int, int]
    is_test: np.ndarray | None = None

    def __post_init__(self):
        labels = as_labels(self.labels, len(self.labels), self.class_names)
        object.__setattr__(self, "labels", labels)
        object.__setattr__(self, "is_test", _as_is_test(self.is_test, len(labels)))

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @functools.cached_property
    def fingerprint(self) -> str:
        """As of the same examples in memory; the first use reads every image once."""
        shape = (len(self), *self.image_shape)
        blocks = (batch.images for batch in self.batches(BLOCK))
        return _digest(shape, blocks, self.labels, self.class_names)

    def _batch(self, indices: np.ndarray) -> Batch:
        images = as_images(self.read(indices))
        if images.shape != (len(indices), *self.image_shape):
            raise DataError(
                f"images: {self.name} gave shape {images.shape}; "
                f"expected {(len(indices), *self.image_shape)}."
            )
        return Batch(images, self.labels[indices])

    def take(self, indices: Any) -> Examples:
        """Read the examples at `indices` (integers, or a bool mask `[N]`) into memory."""
        indices = _as_indices(indices, len(self))
        images = np.empty((len(indices), *self.image_shape), np.float32)
        for start in range(0, len(indices), BLOCK):
            block = indices[start : start + BLOCK]
            images[start : start + BLOCK] = self._batch(block).images
        is_test = None if self.is_test is None else self.is_test[indices]
        return _trusted(images, self.labels[indices], self.class_names, self.name, is_test)

    def batches(
        self,
        batch_size: int,
        *,
        seed: int | None = None,
        epochs: int = 1,
        drop_remainder: bool = False,
    ) -> Iterator[Batch]:
        """Yield batches, in stored order or (with a seed) in a new order every epoch."""
        import grain

        order = _batch_indices(len(self), batch_size, seed, epochs, drop_remainder)
        # One grain element is one batch, so that sources which read in blocks can do so.
        reading = grain.ReadOptions(num_threads=2, prefetch_buffer_size=4)
        return iter(grain.MapDataset.source(order).map(self._batch).to_iter_dataset(reading))
