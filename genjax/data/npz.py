"""Numpy archives with `images`, `labels` and perhaps `class_names`."""

import contextlib
import pathlib
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from genjax.data.examples import Examples, numbered_classes
from genjax.errors import DataError

_UNREADABLE = (OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error)


@contextlib.contextmanager
def opened(path: pathlib.Path, what: str = "npz") -> Iterator[Any]:
    """Open an archive of arrays; nothing in it is ever executed.

    Args:
        path: of the file.
        what: the first word of refusals.

    Raises:
      DataError: the file cannot be read, is no archive, or holds one bare array.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise DataError(
            f"{what}: '{path}' cannot be read: no such file, or no right to."
        ) from error
    with file:
        try:
            archive = np.load(file, allow_pickle=False)
        except (*_UNREADABLE, ValueError) as error:
            raise DataError(f"{what}: '{path}' is not an npz archive, or is cut short.") from error
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise DataError(f"{what}: '{path}' holds one bare array; allowed is an npz archive.")
        yield archive


def read_array(archive: Any, key: str, path: pathlib.Path, what: str = "npz") -> np.ndarray:
    """Return an array of an archive.

    Raises:
      DataError: it is damaged, or of objects, which pickle would have to run.
    """
    try:
        return archive[key]
    except ValueError as error:  # What numpy raises for object arrays, which need pickle.
        raise DataError(
            f"{what}: '{key}' in '{path.name}' cannot be read without running pickled code or is "
            "malformed; allowed are plain arrays of numbers or text."
        ) from error
    except _UNREADABLE as error:
        raise DataError(f"{what}: '{key}' in '{path.name}' is damaged ({error}).") from error


def read_npz(path: pathlib.Path) -> tuple[np.ndarray, np.ndarray, tuple[str, ...] | None]:
    """Read images, labels and class names (None where the archive has none).

    Raises:
      DataError: not an archive, arrays missing or damaged, object arrays (pickle is never run).
    """
    with opened(path) as archive:
        lacking = {"images", "labels"} - set(archive.files)
        if lacking:
            raise DataError(
                f"npz: '{path.name}' lacks {' and '.join(sorted(lacking))}; "
                f"found {', '.join(archive.files) or 'nothing'}."
            )
        images, labels = (read_array(archive, key, path) for key in ("images", "labels"))
        names = None
        if "class_names" in archive.files:
            names = _as_names(read_array(archive, "class_names", path), path)
    if images.ndim == 0 or labels.ndim == 0 or len(images) != len(labels):
        raise DataError(
            f"npz: '{path.name}' has images of shape {images.shape} and labels of shape "
            f"{labels.shape}; allowed is one label per image."
        )
    return images, labels, names


def _as_names(values: np.ndarray, path: pathlib.Path) -> tuple[str, ...]:
    if values.ndim != 1 or values.dtype.kind not in "US":
        raise DataError(
            f"npz: class_names in '{path.name}' have dtype {values.dtype} and shape "
            f"{values.shape}; allowed is text of one axis."
        )
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8")
    return tuple(str(value) for value in values)


def load_npz(rest: str, name: str) -> Examples:
    """Load one archive, or `TRAIN,TEST`, whose second one holds the official test examples.

    Raises:
      DataError: a file cannot be read, or the two do not belong together.
    """
    whole = pathlib.Path(rest).expanduser()
    if whole.is_file() or "," not in rest:
        images, labels, names = read_npz(whole)
        return Examples(images, labels, names or numbered_classes(labels), name)
    paths = [pathlib.Path(part.strip()).expanduser() for part in rest.split(",")]
    if len(paths) != 2:
        raise DataError(f"npz: found {len(paths)} files; allowed are one, or train,test.")
    parts = [read_npz(path) for path in paths]
    (train, train_labels, names), (test, test_labels, test_names) = parts
    if names != test_names:
        raise DataError(f"npz: the class names of '{paths[0]}' and '{paths[1]}' differ.")
    if train.shape[1:] != test.shape[1:] or train.dtype != test.dtype:
        raise DataError(
            f"npz: '{paths[0].name}' has images {train.dtype} {train.shape[1:]}, "
            f"'{paths[1].name}' {test.dtype} {test.shape[1:]}; both must be alike."
        )
    labels = np.concatenate([train_labels, test_labels])
    is_test = np.arange(len(labels)) >= len(train_labels)
    images = np.concatenate([train, test])
    return Examples(images, labels, names or numbered_classes(labels), name, is_test)
