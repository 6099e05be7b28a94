"""Image files, one folder per class."""

import pathlib
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from genjax.data import resizing as resizings
from genjax.data.examples import Examples, StreamedExamples
from genjax.data.resizing import Resizing
from genjax.errors import DataError, InvalidInputError

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
STREAM_ABOVE = 2**30  # Bytes of float32 images above which a set is streamed.
_DEEP_MODES = ("I", "F")  # 16-bit, 32-bit and float grey values: they do not fit a byte.


class _Files(NamedTuple):
    """Image files of one data set.

    Attributes:
      paths: the files, class by class in the order of their names.
      labels: int32 `[N]`.
      class_names: names of the class folders, sorted; by number where all are numbers.
      is_test: bool `[N]`, or None without `train` and `test` folders.
    """

    paths: list[pathlib.Path]
    labels: np.ndarray
    class_names: tuple[str, ...]
    is_test: np.ndarray | None


def _subfolders(root: pathlib.Path) -> list[str]:
    names = [p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")]
    if all(name.isdecimal() for name in names):
        # Folders named after labels, as ImageNetV2's 0 to 999: 10 comes after 9, not after 1.
        return sorted(names, key=lambda name: (int(name), name))
    return sorted(names)


def _image_files(folder: pathlib.Path) -> list[pathlib.Path]:
    files = (p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    return sorted(p for p in files if p.suffix.lower() in ENDINGS)


def _list_files(root: pathlib.Path) -> _Files:
    if not root.is_dir():
        raise DataError(f"folder: '{root}' is not a folder.")
    names = _subfolders(root)
    parts = [""] if set(names) != {"train", "test"} else ["train", "test"]
    class_names = _subfolders(root / parts[0])
    if not class_names:
        raise DataError(f"folder: '{root / parts[0]}' has no subfolder; one per class is needed.")
    paths, labels, is_test = [], [], []
    for part in parts:
        if _subfolders(root / part) != class_names:
            differing = set(_subfolders(root / part)) ^ set(class_names)
            raise DataError(f"folder: class '{min(differing)}' is not in both train and test.")
        for label, class_name in enumerate(class_names):
            files = _image_files(root / part / class_name)
            if not files:
                raise DataError(
                    f"folder: '{root / part / class_name}' has no image file ({', '.join(ENDINGS)})"
                )
            paths += files
            labels += [label] * len(files)
            is_test += [part == "test"] * len(files)
    nested = np.array(is_test) if len(parts) == 2 else None
    return _Files(paths, np.array(labels, np.int32), tuple(class_names), nested)


def _open(path: pathlib.Path) -> Image.Image:
    try:
        return Image.open(path)
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise DataError(f"folder: '{path}' cannot be read as an image ({error}).") from error


def _check_headers(paths: list[pathlib.Path], resizing: Resizing | None) -> tuple[int, int, int]:
    """Height, width and channels as read, which all files must share; only headers are read."""
    size, grey = None, True
    for path in paths:
        with _open(path) as image:
            if image.mode.startswith(_DEEP_MODES):
                raise DataError(
                    f"folder: '{path}' has pixel mode {image.mode}; allowed are 8-bit images."
                )
            found = _size_as_read(path, image, resizing)
            size = size or found
            if found != size:
                raise DataError(
                    f"folder: '{path}' is {found[1]}x{found[0]} pixels, the first image "
                    f"{size[1]}x{size[0]}{' after resizing' if resizing else ''}; all must have "
                    "one size: pass resizing, e.g. data.Resizing(resize=256, crop=224), or "
                    "--resize on the command line."
                )
            grey = grey and image.mode in ("1", "L", "LA")
    if size is None:
        raise DataError("folder: found no image file.")
    return size[0], size[1], 1 if grey else 3


def _size_as_read(
    path: pathlib.Path, image: Image.Image, resizing: Resizing | None
) -> tuple[int, int]:
    """Height and width after resizing."""
    size = (image.size[1], image.size[0])
    if resizing is None:
        return size
    try:
        return resizings.output_size(resizing, size)
    except InvalidInputError as error:
        raise DataError(f"folder: '{path}' cannot be resized: {error}") from error


def _decode(path: pathlib.Path, channels: int, resizing: Resizing | None) -> np.ndarray:
    with _open(path) as image:
        try:
            whole = image.convert("L" if channels == 1 else "RGB")
            pixels = np.asarray(resizings.apply(resizing, whole) if resizing else whole)
        except (OSError, SyntaxError, ValueError) as error:
            raise DataError(f"folder: '{path}' is damaged ({error}).") from error
    return pixels.reshape(*pixels.shape[:2], channels)


def load_folder(
    root: pathlib.Path,
    name: str,
    stream: bool | None = None,
    resizing: Resizing | None = None,
) -> Examples | StreamedExamples:
    """Load image files, one folder per class, perhaps within `train` and `test` folders.

    Classes are the folders in the order of their names, of their numbers where all are numbers
    (ImageNetV2's 0 to 999). Images have one channel when every file
    is grey, else three; transparency is dropped and the first frame of an animation is taken.

    Args:
      root: the folder of class folders, or of `train` and `test`.
      name: the name of the result.
      stream: read images when asked for; None does so above 1 GiB of float32 images.
      resizing: what is done to each image as it is read; None takes images of one size only.

    Raises:
      InvalidInputError: a resizing that cannot be.
      DataError: no classes, an empty class, unreadable files, different sizes, deep pixels.
    """
    if resizing is not None:
        resizings.check(resizing)
    files = _list_files(root)
    shape = _check_headers(files.paths, resizing)

    def read(indices: np.ndarray) -> np.ndarray:
        return np.stack([_decode(files.paths[i], shape[2], resizing) for i in indices])

    if stream is None:
        stream = 4 * len(files.paths) * int(np.prod(shape)) > STREAM_ABOVE
    if stream:
        return StreamedExamples(read, files.labels, files.class_names, name, shape, files.is_test)
    images = read(np.arange(len(files.paths)))
    return Examples(images, files.labels, files.class_names, name, files.is_test)
