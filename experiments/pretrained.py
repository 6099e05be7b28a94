"""Networks that were trained elsewhere, as the main job takes them: files, classes, checks."""

import hashlib
import os
import pathlib
from typing import Any

import numpy as np

from experiments import configuration, fields
from experiments.configs import pretrained as template
from genjax import data, errors, models
from genjax.data import ClassSplit, splits, union
from genjax.metrics import evaluation
from genjax.training import Population, population

VARIABLE = "GENJAX_DATA_DIR"
_THERE = {
    "networks.folder": "{}/pretrained",
    "data.source": "npz:{0}/cifar10/train_5k.npz,{0}/cifar10/test.npz",
    "data.novel_source": "npz:{0}/cifar100/train_10k.npz,{0}/cifar100/test.npz",
}
"""Field -> what it takes in the folder that the environment names, where it is empty."""

_NEEDED = {
    "networks.folder": "the folder of the weight files",
    "data.source": "the data set that the networks were trained on, such as npz:TRAIN,TEST",
    "data.novel_source": "the data set of the novel classes, such as npz:TRAIN,TEST",
}


def resolved(config: Any) -> Any:
    """Return the configuration with empty paths filled in from the environment.

    It also gets `networks.digests`, so that a run is not taken for one with other weights.

    Raises:
        InvalidInputError: an unknown or missing field, an empty path and no environment, or a
            weight file that cannot be read.
    """
    fields.check_names(config, template.get_config())
    config = config.copy_and_resolve_references().unlock()
    _pairs(config)
    folder = os.environ.get(VARIABLE, "")
    for field, there in _THERE.items():
        section, name = field.split(".")
        if config[section][name] or (field == "networks.folder" and _absolute(config)):
            continue
        if not folder:
            raise errors.InvalidInputError(
                f"{field}: is empty and {VARIABLE} is not set; name {_NEEDED[field]}."
            )
        config[section][name] = there.format(folder)
    config.networks.digests = tuple(_digests(config))
    return config.lock()


def _pairs(config: Any) -> list[tuple[str, str]]:
    for entry in config.networks.weights:
        texts = isinstance(entry, list | tuple) and all(isinstance(part, str) for part in entry)
        if not texts or len(entry) != 2:
            raise errors.InvalidInputError(
                f"networks.weights: found {entry!r}; a pair (file, architecture) is needed."
            )
    if not config.networks.weights:
        raise errors.InvalidInputError("networks.weights: found none; at least two are needed.")
    return [(str(file), str(model)) for file, model in config.networks.weights]


def _absolute(config: Any) -> bool:
    return all(pathlib.Path(file).expanduser().is_absolute() for file, _ in _pairs(config))


def _files(config: Any) -> list[pathlib.Path]:
    folder = pathlib.Path(config.networks.folder).expanduser()
    return [folder / pathlib.Path(file).expanduser() for file, _ in _pairs(config)]


def _digests(config: Any) -> list[str]:
    """Return the first 16 hex digits of the SHA-256 of every weight file."""
    found = []
    for path in _files(config):
        try:
            with path.open("rb") as file:
                found.append(hashlib.file_digest(file, "sha256").hexdigest()[:16])
        except OSError as error:
            raise errors.InvalidInputError(
                f"networks.weights: '{path}' cannot be read ({error.strerror or error})."
            ) from error
    return found


def load(config: Any) -> tuple[configuration.Reading, Population]:
    """Load networks and images and check that they fit; nothing is measured.

    Raises:
        GenjaxError: naming the field, what was found and what is allowed.
    """
    fields.check_grid(config)
    named = configuration.protocols(config)
    seen = _read(config, config.data.source)
    kept = _labels("data.classes", config.data.classes or seen.class_names, seen)
    if len(kept) < 2:
        raise errors.SplitError(
            f"data.classes: found {tuple(config.data.classes)}; a head needs at least 2 classes to "
            "choose from."
        )
    novel = _novel(config, _read(config, config.data.novel_source), seen)
    whole = union.union(union.of_classes(seen, kept), novel, name=_name(config, novel))
    limits = (config.data.train_per_class, config.data.test_per_class)
    whole = union.at_most(whole, *limits, seed=config.seed)
    parts = splits.stratified(
        whole, tuple(config.data.fractions), seed=config.seed, is_test=whole.is_test
    )
    configuration.check_shots(named, whole, parts)
    networks = _networks(config, seen)
    sizes = [(g.network.family, g.cost.parameters) for g in networks.groups]
    fields.check_family_sizes("networks.weights", sizes)
    classes = ClassSplit(tuple(range(len(kept))), tuple(range(len(kept), whole.num_classes)))
    return configuration.Reading(whole, parts, classes, named), networks


def _read(config: Any, source: str) -> data.Examples:
    examples = data.load(source, data_dir=config.data.folder or None, stream=False)
    assert isinstance(examples, data.Examples)  # not streamed
    return examples


def _networks(config: Any, seen: data.Examples) -> Population:
    """Load every file; a network that resizes its images takes those that there are."""
    found = []
    for path, (_, model) in zip(_files(config), _pairs(config), strict=True):
        loaded = models.load_weights(path, model)
        if loaded.preprocessing.resize is not None:
            loaded = models.load_weights(path, model, image_shape=seen.image_shape)
        evaluation.check_fit(loaded.network, seen)
        found.append(loaded)
    return population.trained_elsewhere(found)


def _labels(field: str, names: Any, examples: data.Examples) -> list[int]:
    unknown = [name for name in names if name not in examples.class_names]
    if unknown:
        raise errors.SplitError(errors.suggest(field, str(unknown[0]), [*examples.class_names]))
    return [examples.class_names.index(name) for name in names]


def _novel(config: Any, examples: data.Examples, seen: data.Examples) -> data.Examples:
    """Return the novel classes that are listed, or draw them."""
    chosen = config.data
    _labels("data.exclude", [] if chosen.novel_classes else chosen.exclude, examples)
    if chosen.novel_classes:
        labels, field = _labels("data.novel_classes", chosen.novel_classes, examples), "classes"
    else:
        shared = {*chosen.exclude, *seen.class_names}
        free = [k for k, name in enumerate(examples.class_names) if name not in shared]
        if not 1 <= chosen.novel_count <= len(free):
            raise errors.SplitError(
                f"data.novel_count: found {chosen.novel_count}; {len(free)} of "
                f"{examples.num_classes} classes can be drawn, the others are excluded or also "
                "seen."
            )
        if chosen.class_seed >= 0:
            free = np.random.default_rng(chosen.class_seed).permutation(free).tolist()
        labels, field = free[: chosen.novel_count], "count"
    if max(config.testbed.novel_counts) > len(labels):
        raise errors.SplitError(
            f"testbed.novel_counts: found {max(config.testbed.novel_counts)}; data.novel_{field} "
            f"gives {len(labels)} novel classes."
        )
    both = [c for c in labels if examples.class_names[c] in seen.class_names]
    if both:
        raise errors.SplitError(
            f"data.novel_classes: '{examples.class_names[both[0]]}' is also a class that the "
            "networks were trained on, so it is not novel."
        )
    return union.of_classes(examples, labels)


def _name(config: Any, novel: data.Examples) -> str:
    sources = (config.data.source, config.data.novel_source)
    seen, other = (",".join(_short(part) for part in source.split(",")) for source in sources)
    return f"{seen} and {novel.num_classes} novel classes of {other}"


def _short(path: str) -> str:
    """The last folder and the file: enough to recognise, the run card holds the rest."""
    return "/".join(path.partition(":")[2].split("/")[-2:] if ":" in path else path.split("/")[-2:])
