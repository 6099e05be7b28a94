"""Files of weights: read as plain arrays of numbers, with nothing executed."""

import contextlib
import os
import pathlib
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple, NoReturn

import ml_dtypes  # noqa: F401  (lets NumPy, and so safetensors, know bfloat16)
import numpy as np
import safetensors

from genjax.errors import InvalidInputError

Shape = tuple[int, ...]

_FLOATS = ("F64", "F32", "F16", "BF16")
_PICKLES = (".pt", ".pth", ".th", ".bin", ".pkl", ".pickle", ".ckpt")
# Wrappers that put one prefix before every key: DataParallel and torch.compile.
_PREFIXES = ("module.", "_orig_mod.")
_CONVERSION = (
    'python -c "import torch, safetensors.torch as s; '
    "d = torch.load('{file}', weights_only=True); s.save_file("
    "{{k: v.contiguous() for k, v in d.get('state_dict', d).items()}}, '{file}.safetensors')\""
)


class StoredWeights(NamedTuple):
    """What a file of weights holds; arrays are read one by one, when asked for.

    Attributes:
        path: the file.
        shapes: of every array by its key, prefixes of wrappers ("module.") taken off.
        read: `key -> float32 array`; refuses integers and values that are not finite.
    """

    path: pathlib.Path
    shapes: Mapping[str, Shape]
    read: Callable[[str], np.ndarray]


def _refuse(path: pathlib.Path, found: str) -> NoReturn:
    raise InvalidInputError(f"weights: '{path.name}' {found}")


def _is_pickle(path: pathlib.Path, head: bytes) -> bool:
    """Say whether a file is a pickle by what it holds, or failing that by its name."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
        return any(pathlib.PurePosixPath(name).suffix == ".pkl" for name in names)
    protocol = head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")
    return protocol or path.suffix.lower() in _PICKLES


def _check_kind(path: pathlib.Path) -> str:
    """Return "safetensors" or "npz", or refuse the file."""
    if path.is_dir():
        raise InvalidInputError(f"weights: '{path}' is a folder; allowed is one .safetensors file.")
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise InvalidInputError(
            f"weights: '{path}' cannot be read: no such file, or no right to."
        ) from error
    if head[8:9] == b"{":  # The length of the header, then the header itself, in JSON.
        return "safetensors"
    if head.startswith(b"version https://git-lfs"):
        _refuse(path, "is a Git LFS pointer, not the weights; run `git lfs pull` to fetch them.")
    try:
        pickled = _is_pickle(path, head)
    except zipfile.BadZipFile as error:
        raise InvalidInputError(f"weights: '{path.name}' is damaged ({error}).") from error
    if pickled:
        _refuse(
            path,
            "is pickled, and unpickling can run any code; convert it where you trust it: "
            + _CONVERSION.format(file=path),
        )
    if zipfile.is_zipfile(path):
        return "npz"
    _refuse(path, "is not a safetensors file, or is cut short.")


def _without_prefix(keys: list[str]) -> dict[str, str]:
    """Return key of the file by key without the prefix that all keys share."""
    for prefix in _PREFIXES:
        if keys and all(key.startswith(prefix) for key in keys):
            return {key.removeprefix(prefix): key for key in keys}
    return {key: key for key in keys}


def _as_float32(path: pathlib.Path, key: str, array: np.ndarray) -> np.ndarray:
    array = np.asarray(array).astype(np.float32)
    bad = int(np.sum(~np.isfinite(array)))
    if bad:
        _refuse(path, f"has {bad} of {array.size} values of '{key}' that are not finite.")
    return array


@contextlib.contextmanager
def _open_safetensors(path: pathlib.Path) -> Iterator[StoredWeights]:
    try:
        opened = safetensors.safe_open(path, framework="numpy")
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise InvalidInputError(
            f"weights: '{path.name}' is not a safetensors file, or is cut short ({error})."
        ) from error
    with opened as file:
        names = _without_prefix(list(file.keys()))
        shapes = {key: tuple(file.get_slice(name).get_shape()) for key, name in names.items()}

        def read(key: str) -> np.ndarray:
            dtype = file.get_slice(names[key]).get_dtype()
            if dtype not in _FLOATS:
                _refuse(path, f"has {dtype} in '{key}'; allowed are {', '.join(_FLOATS)}.")
            return _as_float32(path, key, file.get_tensor(names[key]))

        yield StoredWeights(path, shapes, read)


@contextlib.contextmanager
def _open_npz(path: pathlib.Path) -> Iterator[StoredWeights]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise InvalidInputError(
            f"weights: '{path.name}' is not an archive of plain arrays, or is damaged ({error})."
        ) from error

    def read(key: str) -> np.ndarray:
        array = arrays[key]
        if array.dtype == np.dtype("V2"):  # How NumPy stores bfloat16, which it does not know.
            array = array.view("bfloat16")
        if array.dtype.kind != "f" and array.dtype.name != "bfloat16":
            _refuse(path, f"has {array.dtype} in '{key}'; allowed are floating-point numbers.")
        return _as_float32(path, key, array)

    yield StoredWeights(path, {key: array.shape for key, array in arrays.items()}, read)


@contextlib.contextmanager
def open_weights(path: str | os.PathLike[str]) -> Iterator[StoredWeights]:
    """Open a `.safetensors` file, or an `.npz` archive of plain arrays.

    Args:
        path: the file; what it holds counts, not its name.

    Raises:
        InvalidInputError: no such file, cut short, another format, or pickled (then the sentence
            has the command that converts it).

    Example:
        >>> import tempfile
        >>> from safetensors.numpy import save_file
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_file({"module.bias": np.ones(3, np.float16)}, f"{folder}/a.safetensors")
        ...     with open_weights(f"{folder}/a.safetensors") as stored:
        ...         print(stored.shapes, stored.read("bias"))
        {'bias': (3,)} [1. 1. 1.]
    """
    file = pathlib.Path(path).expanduser()
    reader = {"safetensors": _open_safetensors, "npz": _open_npz}[_check_kind(file)]
    with reader(file) as stored:
        yield stored
