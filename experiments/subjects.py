"""What layers are scored of: an npz file of embeddings, or a network that was trained elsewhere."""

import functools
import pathlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import flags

from experiments import foreign
from genjax import data, errors, models
from genjax.data import splits
from genjax.metrics.layers import PIXELS, embeddings, readouts
from genjax.report import embeddings as embeddings_page

FLAGS = flags.FLAGS
Readings = Iterator[tuple[str, np.ndarray]]


class Layer(NamedTuple):
    """A layer that is scored.

    Attributes:
        name: its name.
        source: `report.embeddings.GIVEN`, or what it is a baseline of the layers as.
        read: yields (readout, points [N, D]).
    """

    name: str
    source: str
    read: Callable[[], Iterator[tuple[str, np.ndarray]]]


class Subject(NamedTuple):
    """What is scored.

    Attributes:
        name: for the title.
        layers: in their order.
        labels: `[N]`.
        seen: whether an example's class was trained on, `[N]`; None if that is not known.
        config: tells it from others.
    """

    name: str
    layers: list[Layer]
    labels: np.ndarray
    seen: np.ndarray | None
    config: dict[str, Any]


def define_flags() -> None:
    """Define the file, or the network and its images."""
    flags.DEFINE_string(
        "embeddings", None, "npz file with layer/NAME [N, ...], labels [N], perhaps seen [N]."
    )
    flags.DEFINE_bool("class_token", False, "With --embeddings: the first token is one.")
    foreign.define_flags(required=False)
    flags.DEFINE_string("before", None, "With --weights: those before training or fine-tuning.")
    flags.DEFINE_list("seen_classes", None, "With --weights: classes of the data trained on.")
    flags.DEFINE_integer("examples", 10_000, "With --weights: images that are read at most.", 1)


def asked_for() -> bool:
    """Return whether flags name layers that somebody else made."""
    return FLAGS.embeddings is not None or FLAGS.weights is not None


def load(wanted: Sequence[str] | None, seed: int) -> Subject:
    """Return what the flags name.

    Args:
        wanted: readouts of tokens and maps; None for the usual one.
        seed: of random projections, and of which images are read.

    Raises:
        GenjaxError: it cannot be read, or has not what was asked for.
    """
    if FLAGS.embeddings is not None:
        if FLAGS.weights is not None:
            raise errors.InvalidInputError(
                "embeddings, weights: found both; layers are those of a file or of a network."
            )
        return _of_file(wanted, seed)
    missing = [name for name in ("model", "data") if FLAGS[name].value is None]
    if missing:
        raise errors.InvalidInputError(
            f"{missing[0]}: found none; with --weights, --model and --data are needed."
        )
    return _of_network(wanted, seed)


def _of_network(wanted: Sequence[str] | None, seed: int) -> Subject:
    """Return every tap of the network on images, with what it started from and raw pixels."""
    given = foreign.load(own_classes=False)
    network, params = given.loaded.network, given.loaded.params
    size = min(FLAGS.examples, len(given.examples))
    examples = given.examples.take(splits.nested_subsets(given.examples, [size], seed=seed)[0])
    assert isinstance(examples, data.Examples)  # taken: no longer streamed
    images = np.asarray(examples.images)
    config = given.config | {
        "name": "layers_of_a_network",
        "fingerprint": given.config["data_digest"],
        "examples": FLAGS.examples,
        "seen_classes": FLAGS.seen_classes,
        "before": FLAGS.before,
    }
    found = _taps(network, params, images, wanted, seed, embeddings_page.GIVEN)
    if FLAGS.before is not None:
        start = models.load_weights(
            FLAGS.before, FLAGS.model,
            image_shape=network.image_shape, preprocessing=given.loaded.preprocessing,
        )  # fmt: skip
        config["before_digest"] = foreign.file_digest(FLAGS.before)
        found += _taps(start.network, start.params, images, wanted, seed, "before")
    pixels = images.reshape(len(images), -1).astype(np.float32)
    found.append(Layer(PIXELS, PIXELS, lambda: iter([("flatten", pixels)])))
    name = f"{network.name}, {pathlib.Path(FLAGS.weights).stem}, on {examples.name}"
    return Subject(name, found, np.asarray(examples.labels), _seen(examples), config)


def _taps(
    network: models.Network, params: Any, images: np.ndarray, wanted: Sequence[str] | None,
    seed: int, source: str,
) -> list[Layer]:  # fmt: skip
    """Return the layers of a network; all are computed together when the first one is read."""
    lock = threading.Lock()

    @functools.cache
    def computed() -> dict[tuple[str, str], np.ndarray]:
        return embeddings.extract(network, params, images, wanted, seed=seed)

    def read(name: str) -> Readings:
        with lock:  # layers are scored side by side
            found = computed()
        return ((readout, points) for (layer, readout), points in found.items() if layer == name)

    def layer(name: str) -> Layer:
        return Layer(name, source, lambda: read(name))

    return [layer(name) for name in embeddings.taps_in_order(network, params, images)]


def _seen(examples: data.Examples) -> np.ndarray | None:
    """Return whether an example is of a class that was trained on."""
    if FLAGS.seen_classes is None:
        return None
    names = examples.class_names
    for name in FLAGS.seen_classes:
        if name not in names:
            raise errors.InvalidInputError(errors.suggest("seen_classes", name, names))
    seen = np.isin(examples.labels, [names.index(name) for name in FLAGS.seen_classes])
    sides = [len(np.unique(examples.labels[side])) for side in (seen, ~seen)]
    if min(sides) < 2:
        raise errors.InvalidInputError(
            f"seen_classes: found {sides[0]} with examples, {sides[1]} are left; at least two of "
            "each are needed."
        )
    return seen


def _of_file(wanted: Sequence[str] | None, seed: int) -> Subject:
    """Return the layers of the npz file."""
    stored = embeddings.load(FLAGS.embeddings)
    _check_readouts(stored, wanted)

    def layer(name: str) -> Layer:
        return Layer(name, embeddings_page.GIVEN, lambda: _read(stored.layers[name], wanted, seed))

    config = {
        "name": "layers_of_a_file",
        "embeddings": str(FLAGS.embeddings),
        "fingerprint": foreign.file_digest(FLAGS.embeddings),
    }
    return Subject("a file", [layer(n) for n in stored.layers], stored.labels, stored.seen, config)


def _read(activation: np.ndarray, wanted: Sequence[str] | None, seed: int) -> Readings:
    """Yield (readout, points) of an activation."""
    tokens = FLAGS.class_token and activation.ndim == 3
    default = "class_token" if tokens else "mean" if activation.ndim > 2 else "flatten"
    allowed = readouts.applicable(activation.shape, class_token=tokens)
    # A vector has no places to choose from: it is read as it is.
    chosen = [r for r in wanted or (default,) if r in allowed]
    for readout in chosen or ["flatten"]:
        with jax.enable_x64(activation.dtype == np.float64):
            key = jax.random.key(seed)
            points = np.asarray(readouts.read(activation, readout, class_token=tokens, key=key))
        yield readout, points


def _check_readouts(stored: Any, wanted: Sequence[str] | None) -> None:
    """Refuse readouts that tokens or maps of the file do not have."""
    for layer, activation in stored.layers.items():
        if activation.ndim == 2 or not wanted:
            continue
        tokens = FLAGS.class_token and activation.ndim == 3
        allowed = readouts.applicable(activation.shape, class_token=tokens)
        missing = [readout for readout in wanted if readout not in allowed]
        if missing:
            raise errors.InvalidInputError(
                f"readouts: layer '{layer}' of shape {activation.shape} has no {missing[0]}; it "
                f"has {', '.join(allowed)} (--class_token says that the first token is one)."
            )
