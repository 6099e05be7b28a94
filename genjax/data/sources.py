"""Where examples come from: `load(spec)`."""

import importlib.util
import os
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from genjax.data.cifar_variants import CIFAR10_CLASSES, load_corruption, load_npy
from genjax.data.examples import BLOCK, Examples, StreamedExamples
from genjax.data.folder import STREAM_ABOVE, load_folder
from genjax.data.idx import load_idx
from genjax.data.npz import load_npz
from genjax.data.resizing import Resizing
from genjax.errors import DataError, suggest

_KINDS = {  # Whether images of that kind can be read when asked for.
    "digits": False,
    "tfds": True,
    "npz": False,
    "npy": True,
    "cifar_c": True,
    "idx": False,
    "folder": True,
}
_CIFAR10_WITHOUT_NAMES = ("cifar10_corrupted", "cifar10_1")
NEEDS_TENSORFLOW = 'pip install "genjax-benchmark[tfds]"'


def _builder(name: str, data_dir: str | None) -> Any:
    import tensorflow_datasets as tfds

    base = name.partition(":")[0].partition("/")[0]
    known = tfds.list_builders(with_community_datasets=False)
    try:
        return tfds.builder(name, data_dir=data_dir)
    except (AssertionError, ValueError) as error:
        if base not in known:  # The list of all names would bury the message.
            close = suggest("tfds", base, known).partition(" Allowed:")[0].rstrip(".?")
            raise DataError(f"{close} ({len(known)} sets are known).") from error
        configs = list(tfds.builder_cls(base).builder_configs)
        config = name.partition(":")[0].partition("/")[2]
        if config and configs and config not in configs:
            close = suggest(f"tfds: configuration of '{base}'", config, configs)
            close = close.partition(" Allowed:")[0].rstrip(".?")
            raise DataError(f"{close} ({len(configs)} are known).") from error
        raise DataError(f"tfds: '{name}' cannot be built: {str(error).strip()}") from error


def _has_array_record(builder: Any) -> bool:
    return builder.is_prepared() and builder.info.file_format.value == "array_record"


def _prepare(name: str, builder: Any, data_dir: str | None) -> Any:
    import tensorflow_datasets as tfds

    if importlib.util.find_spec("tensorflow") is None:
        raise DataError(
            f"tfds: '{name}' is not prepared as ArrayRecord in '{builder.data_path}', and "
            f"preparing needs TensorFlow: {NEEDS_TENSORFLOW}."
        )
    builder = tfds.builder(name, data_dir=data_dir, file_format="array_record")
    try:
        builder.download_and_prepare(file_format="array_record")
    except Exception as error:  # Downloads fail in as many ways as there are sources.
        raise DataError(
            f"tfds: '{name}' could not be prepared ({type(error).__name__}: {error})."
        ) from error
    return builder


def _parts(builder: Any) -> dict[str, Any]:
    """The train and the test part, those whose files are there."""
    splits = builder.info.splits
    official = "test" if "test" in splits else "validation"
    found = {}
    for part, split in (("train", "train"), ("test", official)):
        if split in splits and all(os.path.exists(path) for path in splits[split].filepaths):
            found[part] = split
    if not found:
        raise DataError(
            f"tfds: '{builder.name}' in '{builder.data_path}' has the files of no train or test "
            f"split; its splits are {', '.join(splits)}."
        )
    return found


def _check_features(builder: Any) -> tuple[tuple[int, int, int], tuple[str, ...]]:
    """Shape of the images and names of the classes."""
    features = builder.info.features
    if not {"image", "label"} <= set(features) or not hasattr(features["label"], "names"):
        raise DataError(
            f"tfds: '{builder.name}' has the features {', '.join(features)}; "
            "needed are an 'image' and a class 'label'."
        )
    shape, names = features["image"].shape, tuple(features["label"].names)
    if len(shape) != 3 or None in shape:
        raise DataError(
            f"tfds: the images of '{builder.name}' have the shape {shape}; "
            "needed is one size for all."
        )
    if features["image"].np_dtype != np.uint8:
        raise DataError(
            f"tfds: the images of '{builder.name}' are {features['image'].np_dtype}; "
            "allowed is uint8."
        )
    # The only builders of CIFAR-10's classes that leave their names out.
    if builder.name in _CIFAR10_WITHOUT_NAMES and names == tuple(map(str, range(10))):
        names = CIFAR10_CLASSES
    return shape, names


def _read_labels(source: Any) -> np.ndarray:
    blocks = (range(i, min(i + BLOCK, len(source))) for i in range(0, len(source), BLOCK))
    return np.array([r["label"] for block in blocks for r in source.__getitems__(list(block))])


def _reader(sources: list[Any], shape: tuple[int, int, int]) -> Callable[[np.ndarray], np.ndarray]:
    """Positions in the concatenation of `sources` -> images; blocks are much faster than ones."""
    starts = np.cumsum([0] + [len(source) for source in sources])

    def read(indices: np.ndarray) -> np.ndarray:
        images = np.empty((len(indices), *shape), np.uint8)
        for start, source in zip(starts, sources, strict=False):
            here = np.flatnonzero((indices >= start) & (indices < start + len(source)))
            if len(here):
                records = source.__getitems__([int(i) for i in indices[here] - start])
                images[here] = [record["image"] for record in records]
        return images

    return read


def _load_tfds(
    name: str, spec: str, data_dir: str | pathlib.Path | None, stream: bool | None = None
) -> Examples | StreamedExamples:
    """Load a set of tensorflow-datasets, preparing it first where it is not.

    The splits used are `train` and `test` (`validation` where there is no test split); one whose
    files are not there is left out.

    Args:
      name: as tensorflow-datasets spells it, perhaps with `:VERSION`.
      spec: the name of the result.
      data_dir: where sets are prepared; None is tensorflow-datasets' own folder.
      stream: read images when asked for; None does so above 1 GiB of float32 images.

    Raises:
      DataError: unknown name, not an image classification set, not prepared and not preparable.
    """
    import tensorflow_datasets as tfds

    folder = None if data_dir is None else os.fspath(data_dir)
    builder = _builder(name, folder)
    if not _has_array_record(builder):
        builder = _prepare(name, builder, folder)
    shape, class_names = _check_features(builder)
    parts = _parts(builder)
    sources = {part: builder.as_data_source(split=split) for part, split in parts.items()}
    total = sum(map(len, sources.values()))
    read = _reader(list(sources.values()), shape)
    is_test = None
    if "test" in sources:
        is_test = np.arange(total) >= total - len(sources["test"])
    if stream is None:
        stream = 4 * total * int(np.prod(shape)) > STREAM_ABOVE
    skip = {"image": tfds.decode.SkipDecoding()}
    bare = [builder.as_data_source(split=split, decoders=skip) for split in parts.values()]
    labels = np.concatenate([_read_labels(source) for source in bare])
    if stream:
        return StreamedExamples(read, labels, class_names, spec, shape, is_test)
    blocks = [read(np.arange(i, min(i + BLOCK, total))) for i in range(0, total, BLOCK)]
    return Examples(np.concatenate(blocks), labels, class_names, spec, is_test)


def _digits() -> Examples:
    from sklearn.datasets import load_digits

    bunch: Any = load_digits()
    images = (bunch.images / 16).astype(np.float32)
    return Examples(images, bunch.target, tuple(map(str, bunch.target_names)), "digits")


def load(
    spec: str,
    *,
    data_dir: str | pathlib.Path | None = None,
    stream: bool | None = None,
    resizing: Resizing | None = None,
) -> Examples | StreamedExamples:
    """Load the data set that `spec` names.

    | spec | source |
    |---|---|
    | `digits` | scikit-learn's 1,797 handwritten digits, 8x8 (values / 16) |
    | `tfds:NAME`, `tfds:NAME:VERSION` | tensorflow-datasets, read from ArrayRecord files |
    | `npz:FILE`, `npz:TRAIN,TEST` | arrays `images`, `labels`, perhaps `class_names` |
    | `npy:IMAGES,LABELS` | bare arrays, as of CIFAR-10.1 |
    | `cifar_c:FOLDER/CORRUPTION:SEVERITY` | CIFAR-10-C and CIFAR-100-C, severities 1 to 5 |
    | `idx:FOLDER` | MNIST-style `train-*` and `t10k-*` files, gzipped or not |
    | `folder:FOLDER` | one folder of image files per class, perhaps within `train` and `test` |

    Args:
      spec: as in the table.
      data_dir: of `tfds:`, where sets are prepared; default is tensorflow-datasets' own
        (environment variable TFDS_DATA_DIR).
      stream: of `tfds:`, `folder:`, `npy:` and `cifar_c:`, whether images are read when asked for;
        None streams what decodes to more than 1 GiB.
      resizing: of `folder:`, how each image is resized and cropped as it is read, e.g.
        `Resizing(resize=256, crop=224)`; without it all images must have one size.

    Raises:
      DataError: unknown kind or name, nothing readable there, wrong shapes, types or labels.

    Example:
      >>> data = load("digits")
      >>> data.images.shape, data.num_classes
      ((1797, 8, 8, 1), 10)
    """
    kind, _, rest = spec.partition(":")
    if kind not in _KINDS:
        raise DataError(suggest("data", kind, list(_KINDS)))
    if kind == "digits" and rest:
        raise DataError(f"data: found '{spec}'; 'digits' takes nothing after the name.")
    if kind != "digits" and not rest:
        raise DataError(f"data: found '{spec}'; '{kind}:' needs a name or a path after the colon.")
    if stream and not _KINDS[kind]:
        streaming = ", ".join(kind for kind, streams in _KINDS.items() if streams)
        raise DataError(f"stream: '{kind}' is read into memory; only {streaming} stream.")
    if resizing is not None and kind != "folder":
        raise DataError(
            f"resizing: '{kind}' has images of one size; only those of folder are resized as they "
            "are read."
        )
    if kind == "digits":
        return _digits()
    if kind == "tfds":
        return _load_tfds(rest, spec, data_dir, stream)
    if kind == "folder":
        return load_folder(pathlib.Path(rest).expanduser(), spec, stream, resizing)
    if kind in ("npy", "cifar_c"):
        return (load_npy if kind == "npy" else load_corruption)(rest, spec, stream)
    return load_npz(rest, spec) if kind == "npz" else load_idx(rest, spec)
