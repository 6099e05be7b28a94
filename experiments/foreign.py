"""A network trained elsewhere and the data it is measured on, as flags."""

import hashlib
import pathlib
from typing import Any, NamedTuple

import numpy as np
from absl import flags

from genjax import data, models
from genjax.data import parts
from genjax.errors import InvalidInputError
from genjax.metrics import evaluation

FLAGS = flags.FLAGS
NAMES = ("weights", "model", "data", "data_folder", "split", "resize", "mean", "std", "batch_size")


class Given(NamedTuple):
    """What the flags ask for.

    Attributes:
        loaded: the network, for images of the shape of the data.
        examples: of the part that was asked for.
        whole: of all parts.
        reading: how images are resized as they are read, or None.
        preprocessing: all that is done to images, as they are read and inside the network.
        config: flags and digests, which tell one run from another.
    """

    loaded: models.ForeignNetwork
    examples: data.Examples | data.StreamedExamples
    whole: data.Examples | data.StreamedExamples
    reading: data.Resizing | None
    preprocessing: models.Preprocessing
    config: dict[str, Any]


def define_flags(*, required: bool = True) -> None:
    """Define which network is measured on which examples.

    Args:
        required: a program that can do something else does not require them.
    """
    flags.DEFINE_string("weights", None, "File, .safetensors (or .npz).", required=required)
    flags.DEFINE_string("model", None, "NAME:OPTION=VALUE, e.g. resnet_cifar.", required=required)
    flags.DEFINE_string("data", None, "npz:FILE, folder:FOLDER, tfds:NAME, ...", required=required)
    flags.DEFINE_string("data_folder", None, "Where sets of tfds are prepared.")
    flags.DEFINE_enum("split", None, parts.PARTS, "Default: test if the data say which, or all.")
    flags.DEFINE_bool("resize", False, "Resize images to what the network takes.")
    flags.DEFINE_list("mean", None, "Of the channels, in [0, 1]; default: as trained.")
    flags.DEFINE_list("std", None, "Standard deviation of the channels; default: as trained.")
    flags.DEFINE_integer("batch_size", evaluation.BLOCK, "Examples per core and step.", 1)


def load(*, own_classes: bool = True) -> Given:
    """Load network and data and check that they fit.

    Args:
        own_classes: the classes of the data must be those of the network.

    Raises:
        GenjaxError: one of them cannot be read, or they do not fit.
    """
    loaded = models.load_weights(FLAGS.weights, FLAGS.model)  # refuses before images are read
    how = loaded.preprocessing
    changed = {name: _numbers(name) for name in ("mean", "std") if FLAGS[name].value is not None}
    if changed:
        how = how._replace(**changed)
        loaded = models.load_weights(FLAGS.weights, FLAGS.model, preprocessing=how)
    if FLAGS.resize and how.resize is None and how.crop is None:
        how = how._replace(resize=tuple(loaded.network.image_shape[:2]))
    # Files of several sizes can only be resized one by one, as they are read.
    as_read = how.resizing if FLAGS.data.startswith("folder:") else data.Resizing()
    reading = as_read if as_read.resize is not None or as_read.crop is not None else None
    whole = data.load(FLAGS.data, data_dir=FLAGS.data_folder, resizing=reading)
    rest = how if reading is None else how._replace(resize=None, crop=None)
    loaded = _fitted(loaded, whole.image_shape, rest)
    if own_classes:
        evaluation.check_fit(loaded.network, whole)
    examples = parts.official_part(whole, FLAGS.split)
    config: dict[str, Any] = {name: FLAGS[name].value for name in NAMES}
    config |= {"weights_digest": file_digest(FLAGS.weights), "data_digest": digest(examples)}
    return Given(loaded, examples, whole, reading, how, config)


def training_examples(given: Given, spec: str | None) -> data.Examples | data.StreamedExamples:
    """Return what `spec` names, or the official training part of the data.

    Raises:
        GenjaxError: there is none, or it does not fit the network.
    """
    if spec is not None:
        found = data.load(spec, data_dir=FLAGS.data_folder, resizing=given.reading)
        evaluation.check_fit(given.loaded.network, found)
        return found if found.is_test is None else parts.official_part(found, "train")
    if given.whole.is_test is None or FLAGS.split in ("train", "all"):
        raise InvalidInputError(
            "measures: they need training examples apart from those evaluated; pass --train_data, "
            "e.g. --train_data=npz:FILE, or data that say which examples are for testing."
        )
    return parts.official_part(given.whole, "train")


def _numbers(name: str) -> tuple[float, ...]:
    """Return a list of numbers per channel; how many there may be is checked with the network."""
    texts: Any = FLAGS[name].value
    try:
        values = tuple(float(text) for text in texts)
    except ValueError:
        values = ()
    if not values or not all(0 <= value <= 1 for value in values):
        raise InvalidInputError(
            f"{name}: found '{','.join(texts)}'; allowed are numbers from 0 to 1, "
            "separated by commas, one per channel (of bytes: divide by 255)."
        )
    return values


def _fitted(
    loaded: models.ForeignNetwork, shape: tuple[int, int, int], how: models.Preprocessing
) -> models.ForeignNetwork:
    """Return the network for images of this shape."""
    network = loaded.network
    if tuple(network.image_shape) == shape and loaded.preprocessing == how:
        return loaded
    seen = loaded.preprocessing.resizing == data.Resizing(method=how.method)
    if how.resize is None and seen and shape[2] == network.image_shape[2]:
        raise InvalidInputError(
            f"data: '{FLAGS.data}' has images of shape {shape}, and {network.name} takes "
            f"{tuple(network.image_shape)}; pass --resize to have them resized."
        )
    return models.load_weights(FLAGS.weights, FLAGS.model, image_shape=shape, preprocessing=how)


def file_digest(path: str) -> str:
    """Return the fingerprint of a file."""
    with pathlib.Path(path).expanduser().open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def digest(examples: data.Examples | data.StreamedExamples) -> str:
    """Return the fingerprint; of a streamed set that of its labels, to read it only once."""
    if isinstance(examples, data.Examples):
        return examples.fingerprint
    return "labels " + hashlib.sha256(np.asarray(examples.labels, "<i4").tobytes()).hexdigest()[:16]
