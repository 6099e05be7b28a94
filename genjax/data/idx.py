"""MNIST-style idx files, raw or gzipped."""

import gzip
import os
import pathlib
import zlib

import numpy as np

from genjax.data.examples import Examples, numbered_classes
from genjax.errors import DataError

LABELS_MAGIC, IMAGES_MAGIC = 0x00000801, 0x00000803


def _read_bytes(path: pathlib.Path) -> bytes:
    try:
        with path.open("rb") as file:
            zipped = file.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rb") if zipped else path.open("rb") as file:
            return file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"idx: '{path.name}' cannot be read ({error}).") from error


def read_idx(path: str | os.PathLike[str], magic: int) -> np.ndarray:
    """Read one idx file of unsigned bytes.

    The format is a magic number (two zero bytes, type 8, number of axes), the length of every
    axis as big-endian uint32, then the values, last axis fastest (LeCun, Cortes and Burges, *The
    MNIST database*).

    Args:
      path: the file, gzipped or not.
      magic: 0x803 for images `[N, H, W]`, 0x801 for labels `[N]`.

    Raises:
      DataError: not readable, another magic number, or a length that differs from the header's.
    """
    path = pathlib.Path(path)
    content = _read_bytes(path)
    found = int.from_bytes(content[:4], "big")
    if len(content) < 4 or found != magic:
        raise DataError(
            f"idx: '{path.name}' begins with 0x{found:08x}; expected the magic number "
            f"0x{magic:08x}."
        )
    axes = magic & 0xFF
    start = 4 + 4 * axes
    header = np.frombuffer(content[4:start].ljust(4 * axes, b"\0"), ">u4")
    shape = tuple(int(length) for length in header)
    size = int(np.prod(shape, dtype=np.float64))
    if len(content) != start + size:
        raise DataError(
            f"idx: '{path.name}' holds {max(len(content) - start, 0)} values; its header says "
            f"{size} (shape {shape})."
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _find(folder: pathlib.Path, part: str, kind: str) -> pathlib.Path | None:
    rank = {"images": 3, "labels": 1}[kind]
    for separator in "-.":
        for ending in (".gz", ""):
            path = folder / f"{part}-{kind}{separator}idx{rank}-ubyte{ending}"
            if path.is_file():
                return path
    return None


def read_pairs(folder: pathlib.Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Read the pairs of images and labels of a folder, those it has of `train` and `test`.

    Raises:
      DataError: no pair, half a pair, different lengths, or a broken file.
    """
    if not folder.is_dir():
        raise DataError(f"idx: '{folder}' is not a folder.")
    pairs = {}
    for part, prefix in (("train", "train"), ("test", "t10k")):
        paths = [_find(folder, prefix, kind) for kind in ("images", "labels")]
        images_path, labels_path = paths
        if images_path is None and labels_path is None:
            continue
        if images_path is None or labels_path is None:
            kind = "images" if images_path is None else "labels"
            raise DataError(f"idx: '{folder}' lacks the file {prefix}-{kind}-idx*-ubyte[.gz].")
        images = read_idx(images_path, IMAGES_MAGIC)
        labels = read_idx(labels_path, LABELS_MAGIC)
        if len(images) != len(labels):
            raise DataError(
                f"idx: '{images_path.name}' has {len(images)} images, "
                f"'{labels_path.name}' {len(labels)} labels."
            )
        pairs[part] = (images, labels)
    if not pairs:
        raise DataError(
            f"idx: '{folder}' has neither train-images-idx3-ubyte[.gz] nor "
            "t10k-images-idx3-ubyte[.gz]."
        )
    return pairs


def load_idx(rest: str, name: str) -> Examples:
    """Load the MNIST-style files of the folder `rest`; `t10k` holds the official test examples.

    Raises:
      DataError: files are missing, broken, or do not belong together.
    """
    pairs = read_pairs(pathlib.Path(rest).expanduser())
    shapes = {images.shape[1:] for images, _ in pairs.values()}
    if len(shapes) > 1:
        raise DataError(f"idx: train and test images differ in size: {sorted(shapes)}.")
    images = np.concatenate([images for images, _ in pairs.values()])
    labels = np.concatenate([labels for _, labels in pairs.values()])
    is_test = None
    if "test" in pairs:
        is_test = np.arange(len(labels)) >= len(labels) - len(pairs["test"][1])
    return Examples(images, labels, numbered_classes(labels), name, is_test)
