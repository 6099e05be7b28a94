"""Bare numpy files, as CIFAR-10.1, CIFAR-10-C and CIFAR-100-C are published."""

import os
import pathlib
from collections.abc import Callable

import numpy as np

from genjax.data.examples import Examples, StreamedExamples, numbered_classes
from genjax.data.folder import STREAM_ABOVE
from genjax.errors import DataError, suggest

CIFAR10_CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
"""Names of the classes of CIFAR-10, in the order of its labels."""

_FINE = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly
camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile
cup dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp
lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom
oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake
spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor
train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""
CIFAR100_CLASSES = tuple(_FINE.split())
"""Names of the fine classes of CIFAR-100, in the order of its labels."""

CORRUPTIONS = (
    *("gaussian_noise", "shot_noise", "impulse_noise"),
    *("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    *("snow", "frost", "fog", "brightness"),
    *("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
)
"""The 15 corruptions over which Hendrycks and Dietterich (2019) average: noise, blur, weather and
digital ones."""

EXTRA_CORRUPTIONS = ("gaussian_blur", "saturate", "spatter", "speckle_noise")
"""The 4 further corruptions that they publish for validation."""

SEVERITIES = 5
PER_SEVERITY = 10_000  # Images of one severity: the test set of CIFAR-10 or CIFAR-100.
_SHAPE = (SEVERITIES * PER_SEVERITY, 32, 32, 3)


def _open_array(path: pathlib.Path, kind: str) -> np.ndarray:
    """Map a file into memory: nothing is read yet, and pickled code is never run."""
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except (OSError, EOFError) as error:
        raise DataError(
            f"{kind}: '{path}' cannot be read: no such file, or no right to."
        ) from error
    except ValueError as error:
        if "Python objects" in str(error):
            raise DataError(
                f"{kind}: '{path.name}' holds Python objects, which cannot be read without running "
                "pickled code; allowed are plain arrays of numbers."
            ) from error
        raise DataError(f"{kind}: '{path}' is not a .npy file, or is cut short.") from error


def _rows(images: np.ndarray, first: int = 0) -> Callable[[np.ndarray], np.ndarray]:
    """The function that reads images at given positions, counted from `first`."""
    return lambda indices: images[first + indices]


def _is_large(count: int, shape: tuple[int, ...]) -> bool:
    return 4 * count * int(np.prod(shape)) > STREAM_ABOVE


def load_npy(rest: str, name: str, stream: bool | None = None) -> Examples | StreamedExamples:
    """Load `IMAGES.npy,LABELS.npy`, as CIFAR-10.1 is published.

    The classes are numbered, except that a file of images whose name begins with `cifar10.1` gets
    the names of CIFAR-10's and counts as official test examples.

    Args:
      rest: the two paths, separated by a comma.
      name: of the result.
      stream: read images when asked for; None does so above 1 GiB of float32 images.

    Raises:
      DataError: not two files, a file cannot be read, object arrays, wrong shapes or lengths.
    """
    paths = [pathlib.Path(part.strip()).expanduser() for part in rest.split(",")]
    if len(paths) != 2:
        raise DataError(f"npy: found {len(paths)} files; needed are two, IMAGES.npy,LABELS.npy.")
    images, labels = (_open_array(path, "npy") for path in paths)
    if images.ndim not in (3, 4) or 0 in images.shape:
        raise DataError(
            f"npy: '{paths[0].name}' has shape {images.shape}; "
            "allowed are [N, H, W, C] and [N, H, W], no axis empty."
        )
    if labels.shape != (len(images),):
        raise DataError(
            f"npy: '{paths[1].name}' has shape {labels.shape}; "
            f"needed is one label for each of the {len(images)} images of '{paths[0].name}'."
        )
    published = paths[0].name.startswith("cifar10.1")
    labels = np.array(labels)
    class_names = CIFAR10_CLASSES if published else numbered_classes(labels)
    is_test = np.ones(len(labels), np.bool_) if published else None
    if images.ndim == 3:
        images = images[..., None]
    height, width, channels = images.shape[1:]
    shape = (height, width, channels)
    if _is_large(len(images), shape) if stream is None else stream:
        return StreamedExamples(_rows(images), labels, class_names, name, shape, is_test)
    # A copy: floats would otherwise stay in the file, which may change or vanish.
    return Examples(np.array(images), labels, class_names, name, is_test)


def corruption_set(
    folder: str | os.PathLike[str],
    corruption: str,
    severity: int,
    *,
    name: str | None = None,
    stream: bool | None = None,
) -> Examples | StreamedExamples:
    """Load one severity of one corruption of CIFAR-10-C or CIFAR-100-C.

    The published layout of Hendrycks and Dietterich, "Benchmarking neural network robustness to
    common corruptions and perturbations" (2019): `CORRUPTION.npy` holds uint8 images
    `[50000, 32, 32, 3]`, 10,000 of each severity from 1 to 5, and `labels.npy` their labels
    `[50000]`. Only the images of the severity asked for are read.

    Args:
      folder: where the files are.
      corruption: one of `CORRUPTIONS` or `EXTRA_CORRUPTIONS`.
      severity: 1 (weakest) to 5.
      name: of the result; None is `cifar_c:FOLDER/CORRUPTION:SEVERITY`.
      stream: read images when asked for; the default is to read them now.

    Returns:
      10,000 test examples in the order of the clean test set, with the class names of CIFAR-10
      (labels 0 to 9) or CIFAR-100 (labels up to 99).

    Raises:
      DataError: unknown corruption, severity outside 1 to 5, a file cannot be read, object arrays,
        or another layout.

    Example:
      >>> import tempfile
      >>> folder = pathlib.Path(tempfile.mkdtemp())
      >>> np.save(folder / "labels.npy", np.tile(np.arange(10), 5_000))
      >>> path, shape = folder / "fog.npy", (50_000, 32, 32, 3)
      >>> pixels = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
      >>> pixels[20_000] = 51
      >>> data = corruption_set(folder, "fog", 3)
      >>> len(data), data.class_names[0], data.images[0].mean().round(3)
      (10000, 'airplane', np.float32(0.2))
    """
    known = [*CORRUPTIONS, *EXTRA_CORRUPTIONS]
    if corruption not in known:
        raise DataError(suggest("corruption", corruption, known))
    if not 1 <= severity <= SEVERITIES:
        raise DataError(f"severity: found {severity}; allowed are 1 to {SEVERITIES}.")
    folder = pathlib.Path(folder).expanduser()
    images = _open_array(folder / f"{corruption}.npy", "cifar_c")
    labels = _open_array(folder / "labels.npy", "cifar_c")
    _check_layout(corruption, images, labels)
    name = name or f"cifar_c:{folder}/{corruption}:{severity}"
    first = (severity - 1) * PER_SEVERITY
    labels = np.array(labels[first : first + PER_SEVERITY])
    class_names = CIFAR10_CLASSES if labels.max() < len(CIFAR10_CLASSES) else CIFAR100_CLASSES
    is_test = np.ones(PER_SEVERITY, np.bool_)
    if stream:
        read = _rows(images, first)
        return StreamedExamples(read, labels, class_names, name, (32, 32, 3), is_test)
    kept = images[first : first + PER_SEVERITY]
    return Examples(kept, labels, class_names, name, is_test)


def _check_layout(corruption: str, images: np.ndarray, labels: np.ndarray) -> None:
    # A shorter file would be cut into the wrong severities, so nothing but the whole is allowed.
    if images.shape != _SHAPE or images.dtype != np.uint8:
        raise DataError(
            f"cifar_c: '{corruption}.npy' has images {images.dtype} {images.shape}; "
            f"needed is uint8 {_SHAPE}, {PER_SEVERITY} of each severity."
        )
    if labels.shape != _SHAPE[:1] or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(
            f"cifar_c: 'labels.npy' has labels {labels.dtype} {labels.shape}; "
            f"needed are {_SHAPE[0]} integers, one per image."
        )


def load_corruption(
    rest: str, name: str, stream: bool | None = None
) -> Examples | StreamedExamples:
    """Load `FOLDER/CORRUPTION:SEVERITY` with `corruption_set`.

    Raises:
      DataError: written in another way, or as of `corruption_set`.
    """
    path, _, severity = rest.rpartition(":")
    if not path or not severity.isdecimal():
        raise DataError(
            f"cifar_c: found '{rest}'; needed is FOLDER/CORRUPTION:SEVERITY, e.g. CIFAR-10-C/fog:3."
        )
    whole = pathlib.Path(path)
    return corruption_set(whole.parent, whole.name, int(severity), name=name, stream=stream)
