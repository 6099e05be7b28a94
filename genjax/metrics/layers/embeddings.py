"""Embeddings of layers: out of networks, or out of a file that somebody else wrote."""

import functools
import hashlib
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Int

from genjax.data import npz
from genjax.errors import DataError, InvalidInputError
from genjax.metrics.layers import readouts as reading
from genjax.metrics.layers.neighbours import distinct_rows
from genjax.models.network import FEATURES, Network
from genjax.types import Params

PIXELS = "pixels"
"""Name under which raw images stand beside the layers."""
_PREFIX = "layer/"


class Stored(NamedTuple):
    """Embeddings of a file.

    Attributes:
        layers: activations [N, ...] by layer, in the order of the file.
        labels: 0, 1, ... in the order of `names`, [N].
        names: the labels as they were written.
        seen: whether the class of an example was trained on, [N]; None if the file does not say.
    """

    layers: Mapping[str, np.ndarray]
    labels: Int[np.ndarray, " N"]
    names: tuple[str, ...]
    seen: Bool[np.ndarray, " N"] | None


class Flags(NamedTuple):
    """What is wrong with the points of a layer.

    Attributes:
        constant: all are equal, up to rounding.
        duplicates: share of points that equal an earlier one exactly.
        dead: share of dimensions that are constant.
        finite: whether every number is finite.
    """

    constant: bool
    duplicates: float
    dead: float
    finite: bool

    def words(self) -> str:
        """Return them as words, empty if there is nothing to say.

        Example:
            >>> Flags(True, 0.5, 1.0, True).words()
            'constant'
            >>> Flags(False, 0.5, 0.0, True).words()
            '50 % duplicates'
        """
        if not self.finite:
            return "not finite"
        if self.constant:
            return "constant"
        said = []
        if self.duplicates > 0:
            said.append(f"{max(round(100 * self.duplicates), 1)} % duplicates")
        if self.dead > 0:
            said.append(f"{max(round(100 * self.dead), 1)} % dead dimensions")
        return ", ".join(said)


def flags(points: Any) -> Flags:
    """Look at the points of a layer [N, D].

    Example:
        >>> flags(np.ones((4, 2))).constant, flags(np.eye(4)).words()
        (True, '')
    """
    points = np.ascontiguousarray(points)
    if not np.isfinite(points).all():
        return Flags(False, 0.0, 0.0, False)
    spread = np.ptp(points, axis=0)
    rounding = 8 * np.finfo(points.dtype).eps * np.abs(points).max(axis=0)
    dead = spread <= rounding
    distinct, _ = distinct_rows(points)
    return Flags(bool(dead.all()), 1 - len(distinct) / len(points), float(dead.mean()), True)


def extract(
    network: Network,
    params: Params,
    images: np.ndarray,
    readouts: Sequence[str] | None = None,
    *,
    chunk: int = 500,
    seed: int = 0,
) -> dict[tuple[str, str], np.ndarray]:
    """Return the embeddings of every tap under every readout that applies to it.

    What needs all examples at once (`pca_whitened`) is computed after the last chunk, everything
    else inside the compiled program, so that a large activation leaves the device only where it is
    asked for whole.

    Args:
        network: its taps.
        params: of one network.
        images: `[N, H, W, C]`.
        readouts: of `readouts.READOUTS`; None is `mean` of tokens and maps and `flatten` of
            vectors. Those that do not apply to a tap are left out of it.
        chunk: images that go through the network at once.
        seed: of random projections, the same for every network.

    Returns:
        (layer, readout) -> [N, D] float32, layers in the order in which they are computed.
        `features` that are the mean of the map before them are left out: they would be one layer
        twice.

    Raises:
        InvalidInputError: no image, or an unknown readout.

    Example:
        >>> from genjax import models
        >>> network = models.create("mlp", image_shape=(4, 4, 1), num_classes=3, widths=(8, 8))
        >>> params = network.fold(*network.init(jax.random.key(0)))
        >>> found = extract(network, params, np.ones((5, 4, 4, 1), np.float32))
        >>> {name: points.shape for name, points in found.items()}
        {('block1', 'flatten'): (5, 8), ('block2', 'flatten'): (5, 8)}
    """
    if not len(images):
        raise InvalidInputError("images: found none; at least one is needed.")
    kept = _kept(network, params, images, None if readouts is None else tuple(readouts))
    program = _program(network.taps, kept, has_class_token(network), seed)
    size = min(chunk, len(images))
    parts: dict[tuple[str, str], list[np.ndarray]] = {}
    for start in range(0, len(images), size):
        part = images[start : start + size]
        missing = size - len(part)
        padded = np.concatenate([part, np.zeros((missing, *part.shape[1:]), part.dtype)])
        for name, points in program(params, jnp.asarray(padded)).items():
            parts.setdefault(name, []).append(np.asarray(points)[: len(part)])
    found = _without_repeats({name: np.concatenate(parts[name]) for name in kept})
    for (layer, readout), points in found.items():
        if readout == "pca_whitened":
            fitted = reading.whitening(points)
            found[layer, readout] = np.asarray(reading.project(points, fitted))
    return found


def _without_repeats(
    found: dict[tuple[str, str], np.ndarray],
) -> dict[tuple[str, str], np.ndarray]:
    features = found.get((FEATURES, "flatten"))
    means = [points for (_, readout), points in found.items() if readout == "mean"]
    if features is None or not means or means[-1].shape != features.shape:
        return found
    if not np.allclose(means[-1], features, rtol=1e-4, atol=1e-5 * np.abs(features).max()):
        return found
    return {name: points for name, points in found.items() if name[0] != FEATURES}


def taps_in_order(network: Network, params: Params, images: Any) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tap, in the order in which they are computed.

    `features` is left out where the tap before it is the same vector.

    Example:
        >>> from genjax import models
        >>> network = models.create("mlp", image_shape=(4, 4, 1), num_classes=3, widths=(8,))
        >>> params = network.fold(*network.init(jax.random.key(0)))
        >>> taps_in_order(network, params, np.ones((5, 4, 4, 1), np.float32))
        {'block1': (5, 8)}
    """
    shapes: dict[str, tuple[int, ...]] = {}

    def look(params, images):
        for name, value in network.taps(params, images).items():
            shapes[name] = tuple(value.shape)

    jax.eval_shape(look, params, images)  # jit would return the taps sorted by name
    names = list(shapes)
    if len(names) > 1 and names[-1] == FEATURES:
        before, last = shapes[names[-2]], shapes[FEATURES]
        if before == last:
            del shapes[FEATURES]
    return shapes


def _kept(
    network: Network, params: Params, images: Any, readouts: tuple[str, ...] | None
) -> tuple[tuple[str, str], ...]:
    """Return (layer, readout) of everything that is read, in the order of the layers."""
    class_token = has_class_token(network)
    return tuple(
        (layer, readout)
        for layer, shape in taps_in_order(network, params, images[:1]).items()
        for readout in _chosen(reading.applicable(shape, class_token=class_token), readouts)
    )


@functools.lru_cache(maxsize=8)
def _program(
    taps: Callable[..., Any], kept: tuple[tuple[str, str], ...], class_token: bool, seed: int
) -> Callable[..., dict[tuple[str, str], Any]]:
    """Return the compiled program of one chunk, the same for all networks of one architecture."""

    @jax.jit
    def one(params, images):
        found, key = taps(params, images), jax.random.key(seed)
        # Whitening needs every example: only the whole activation is taken here.
        points = {
            (layer, readout): reading.read(
                found[layer],
                "flatten" if readout == "pca_whitened" else readout,
                class_token=class_token,
                key=key,
            )
            for layer, readout in kept
        }
        return {name: value.astype(jnp.float32) for name, value in points.items()}

    return one


def _chosen(allowed: Sequence[str], readouts: tuple[str, ...] | None) -> list[str]:
    if readouts is None:
        return ["mean" if "mean" in allowed else "flatten"]
    return [readout for readout in allowed if readout in readouts]


def has_class_token(network: Network) -> bool:
    """Return whether the first token of a network's taps is a class token.

    Example:
        >>> from genjax import models
        >>> has_class_token(models.create("vit", image_shape=(8, 8, 1), num_classes=3, patch=4))
        True
    """
    return network.family == "vit" and bool(network.options.get("class_token", True))


def load(path: str | pathlib.Path) -> Stored:
    """Read an npz file with arrays `layer/NAME` [N, ...], `labels` [N] and perhaps `seen` [N].

    Nothing in the file is executed: arrays of objects are refused.

    Raises:
        DataError: the file cannot be read; an array is missing, of objects, not finite or of
            another length; all labels are one class.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = pathlib.Path(folder, "mine.npz")
        ...     np.savez(file, labels=["a", "b"], **{"layer/last": np.eye(2)})
        ...     load(file).names
        ('a', 'b')
    """
    path = pathlib.Path(path).expanduser()
    if not path.exists():
        raise DataError(f"embeddings: there is no file '{path}'.")
    with npz.opened(path, "embeddings") as archive:
        names = [name for name in archive.files if name.startswith(_PREFIX)]
        if not names or "labels" not in archive.files:
            raise DataError(
                f"embeddings: '{path.name}' holds {', '.join(archive.files) or 'nothing'}; needed "
                "are labels and at least one layer/NAME."
            )
        labels, classes = _labels(npz.read_array(archive, "labels", path, "embeddings"), path)
        layers = {
            name.removeprefix(_PREFIX): _layer(
                npz.read_array(archive, name, path, "embeddings"), name, labels, path
            )
            for name in names
        }
        seen = _seen(archive, labels, path)
    return Stored(layers, labels, classes, seen)


def _labels(values: np.ndarray, path: pathlib.Path) -> tuple[np.ndarray, tuple[str, ...]]:
    if values.ndim != 1 or values.dtype.kind not in "iuUSb":
        raise DataError(
            f"embeddings: labels in '{path.name}' have dtype {values.dtype} and shape "
            f"{values.shape}; allowed are whole numbers or text of one axis."
        )
    if values.dtype.kind == "S":
        try:
            values = np.char.decode(values, "utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"embeddings: labels in '{path.name}' are not UTF-8 text.") from error
    classes, labels = np.unique(values, return_inverse=True)
    if len(classes) < 2:
        raise DataError(
            f"embeddings: labels in '{path.name}' are of {len(classes)} class; separating classes "
            "takes at least two."
        )
    return labels.astype(np.int64), tuple(str(name) for name in classes)


def _layer(values: np.ndarray, name: str, labels: np.ndarray, path: pathlib.Path) -> np.ndarray:
    if values.dtype.kind not in "fiu" or values.ndim not in (2, 3, 4) or 0 in values.shape:
        raise DataError(
            f"embeddings: '{name}' in '{path.name}' has dtype {values.dtype} and shape "
            f"{values.shape}; allowed are numbers [N, D], [N, tokens, D] or [N, height, width, D]."
        )
    if len(values) != len(labels):
        raise DataError(
            f"embeddings: '{name}' in '{path.name}' has {len(values)} examples, labels "
            f"{len(labels)}; both must be alike."
        )
    values = values.astype(np.float64 if values.dtype == np.float64 else np.float32)
    bad = np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(axis=1))
    if len(bad):
        raise DataError(
            f"embeddings: '{name}' in '{path.name}' is not finite in {len(bad)} examples, first in "
            f"number {bad[0]}; every number must be finite."
        )
    return values


def _seen(archive: Any, labels: np.ndarray, path: pathlib.Path) -> np.ndarray | None:
    if "seen" not in archive.files:
        return None
    seen = npz.read_array(archive, "seen", path, "embeddings")
    if seen.shape != labels.shape or seen.dtype.kind != "b":
        raise DataError(
            f"embeddings: seen in '{path.name}' has dtype {seen.dtype} and shape {seen.shape}; "
            f"allowed are booleans of shape {labels.shape}."
        )
    mixed = np.intersect1d(labels[seen], labels[~seen])
    if len(mixed):
        raise DataError(
            f"embeddings: seen in '{path.name}' is true and false within class number {mixed[0]}; "
            "a class was trained on or was not."
        )
    sides = [len(np.unique(labels[side])) for side in (seen, ~seen)]
    if min(sides) < 2:
        raise DataError(
            f"embeddings: seen in '{path.name}' marks {sides[0]} classes, {sides[1]} are left; at "
            "least two of each are needed."
        )
    return seen


def refuse_leaks(trained_on: Any, unseen: Any) -> None:
    """Refuse images of unseen classes that are among those trained on, by their bytes.

    Args:
        trained_on: images [N, ...].
        unseen: images [M, ...] of the same shape and scale; precision does not matter.

    Raises:
        DataError: an image is in both, or they cannot be compared.

    Example:
        >>> refuse_leaks(np.zeros((2, 2, 2, 1)), np.ones((2, 2, 2, 1)))
    """
    trained_on, unseen = np.asarray(trained_on), np.asarray(unseen)
    kinds = {images.dtype.kind == "f" for images in (trained_on, unseen)}
    if trained_on.shape[1:] != unseen.shape[1:] or len(kinds) > 1:
        raise DataError(
            f"unseen classes: found images of shape {unseen.shape[1:]} and {unseen.dtype}, trained "
            f"on were {trained_on.shape[1:]} and {trained_on.dtype}; they cannot be compared."
        )
    known = {_fingerprint(image) for image in np.asarray(trained_on)}
    leaked = [i for i, image in enumerate(np.asarray(unseen)) if _fingerprint(image) in known]
    if leaked:
        raise DataError(
            f"unseen classes: {len(leaked)} of their {len(unseen)} images were trained on, first "
            f"number {leaked[0]}; unseen classes must be unseen."
        )


def _fingerprint(image: np.ndarray) -> bytes:
    # Zeros of both signs are equal, and so are values that differ in precision only.
    plain = np.ascontiguousarray(image, np.float32) + np.float32(0)
    return hashlib.sha256(plain.tobytes()).digest()
