"""What a configuration's types leave open: contents of its tuples, and what needs the data."""

import numbers as abstract
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from genjax import errors, models
from genjax.data import shifts
from genjax.metrics import complexity
from genjax.training import SweepConfig

_FREE = ("data.seen", "sweep.hyper")
"""Fields that take more than one type, or names that only the library knows."""


def numbers(name: str, values: Any) -> tuple[Any, ...]:
    """Return a field as a tuple of numbers.

    Raises:
        InvalidInputError: it is a single value, or holds something else.
    """
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise errors.InvalidInputError(f"{name}: found {values!r}; a tuple of numbers is needed.")
    for value in values:
        if isinstance(value, bool) or not isinstance(value, abstract.Real):
            raise errors.InvalidInputError(f"{name}: found {value!r}; a number is needed.")
    return tuple(values)


def _axis(name: str, values: Any) -> tuple[Any, ...]:
    """Return an axis of the grid: at least two different numbers."""
    found = numbers(name, values)
    if len(found) < 2 or len(set(found)) < len(found):
        raise errors.InvalidInputError(
            f"{name}: found {found}; at least two different numbers are needed, none of them twice."
        )
    return found


def models_of(config: Any) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the pairs (name, options) of the sweep.

    Raises:
        InvalidInputError: an entry is no such pair.
    """
    for entry in config.sweep.models:
        pair = isinstance(entry, Sequence) and not isinstance(entry, str) and len(entry) == 2
        if not pair or not isinstance(entry[0], str) or not isinstance(entry[1], Mapping):
            raise errors.InvalidInputError(
                f"sweep.models: found {entry!r}; a pair (name, options) is needed."
            )
    return list(config.sweep.models)


def check_names(config: Any, like: Any, path: str = "") -> None:
    """Refuse fields that `like` does not have, missing ones, and values of another type.

    Raises:
        InvalidInputError: naming the field.
    """
    for name in config:
        if name not in like:
            raise errors.InvalidInputError(
                errors.suggest(f"config: {path}{name}", name, list(like))
            )
    for name, example in like.items():
        field = f"{path}{name}"
        if name not in config:
            raise errors.InvalidInputError(f"config: the field {field} is missing.")
        if field in _FREE:
            continue
        value = config[name]
        if isinstance(example, Mapping | ConfigDict):
            if not isinstance(value, Mapping | ConfigDict):
                raise errors.InvalidInputError(
                    f"config: {field}: found {value!r}; allowed are fields."
                )
            check_names(value, example, f"{field}.")
            continue
        kind = type(example)
        kinds = (int, float) if kind is float else (tuple, list) if kind is tuple else (kind,)
        if not isinstance(value, kinds) or isinstance(value, bool) != (kind is bool):
            raise errors.InvalidInputError(
                f"config: {field}: found {value!r}; allowed is {kind.__name__}."
            )


def check(config: Any) -> None:
    """Refuse what nothing can be trained or computed from.

    Raises:
        GenjaxError: naming the field, what was found and what is allowed.
    """
    check_grid(config)
    if isinstance(config.data.seen, int) and config.data.seen < 2:
        raise errors.SplitError(
            f"data.seen: found {config.data.seen}; a head needs at least 2 classes to choose from."
        )
    settings = {name: tuple(values) for name, values in config.sweep.hyper.items()}
    several = [name for name, values in settings.items() if len(values) > 1]
    if several:
        raise errors.InvalidInputError(
            f"sweep.hyper.{several[0]}: found {settings[several[0]]}; the practical metric takes "
            "one setting (its replicates are seeds, and a grid would count settings as seeds)."
        )
    for name in ("train_examples", "test_examples"):
        if config.data[name] < 0:
            raise errors.SplitError(
                f"data.{name}: found {config.data[name]}; allowed are whole numbers from 0 (all)."
            )


def check_measures(config: Any) -> None:
    """Refuse measures that do not exist, and no examples to compute them from.

    Raises:
        InvalidInputError: naming the field, what was found and what is allowed.
    """
    complexity.select(config.measures.names)
    if config.measures.examples < 1:
        raise errors.InvalidInputError(
            f"measures.examples: found {config.measures.examples}; at least 1 is needed."
        )


def check_pictures(config: Any) -> None:
    """Refuse pictures of curvature that cannot be computed.

    Raises:
        InvalidInputError: naming the field, what was found and what is allowed.
    """
    for name in ("probes", "lanczos_steps", "edge_records", "examples"):
        if config.pictures[name] < 1:
            raise errors.InvalidInputError(
                f"pictures.{name}: found {config.pictures[name]}; at least 1 is needed."
            )
    if config.pictures.points < 3:
        raise errors.InvalidInputError(
            f"pictures.points: found {config.pictures.points}; at least 3 are needed."
        )
    if config.pictures.edge_steps < config.pictures.edge_records:
        raise errors.InvalidInputError(
            f"pictures.edge_steps: found {config.pictures.edge_steps}; at least one for each of "
            f"the {config.pictures.edge_records} records is needed."
        )
    for rate in numbers("pictures.edge_rates", config.pictures.edge_rates):
        if rate <= 0:
            raise errors.InvalidInputError(
                f"pictures.edge_rates: found {rate}; allowed are rates above 0."
            )
    if config.sweep.seeds < 2:
        raise errors.InvalidInputError(
            f"sweep.seeds: found {config.sweep.seeds}; a path between two seeds needs at least 2."
        )


def check_grid(config: Any) -> None:
    """Refuse axes of the grid and settings of the statistics that nothing can be computed from.

    Raises:
        GenjaxError: naming the field, what was found and what is allowed.
    """
    check_measures(config)
    if config.testbed.shift not in shifts.names():
        raise errors.ShiftError(
            errors.suggest("testbed.shift", config.testbed.shift, shifts.names())
        )
    levels = _axis("testbed.levels", config.testbed.levels)
    if not all(-1 < level <= 1 for level in levels):
        raise errors.ShiftError(f"testbed.levels: found {levels}; allowed is -1 < SSIM <= 1.")
    if max(levels) < 1:
        raise errors.InvalidInputError(
            f"testbed.levels: found {levels}; 1.0 (untouched) must be one of them."
        )
    counts = _axis("testbed.novel_counts", config.testbed.novel_counts)
    if not all(isinstance(count, int) and count >= 0 for count in counts):
        raise errors.SplitError(
            f"testbed.novel_counts: found {counts}; allowed are whole numbers from 0."
        )
    if list(counts) != sorted(counts):
        raise errors.SplitError(f"testbed.novel_counts: found {counts}; they must ascend.")
    if config.statistics.draws < 1:
        raise errors.InvalidInputError(
            f"statistics.draws: found {config.statistics.draws}; at least 1 is needed."
        )
    if not 0 < config.statistics.level < 1:
        raise errors.InvalidInputError(
            f"statistics.level: found {config.statistics.level}; it must be between 0 and 1."
        )
    fractions = numbers("data.fractions", config.data.fractions)
    if min(fractions, default=0) <= 0:
        raise errors.SplitError(
            f"data.fractions: found {fractions}; train, validation and test are all needed."
        )


def check_sizes(sweep: SweepConfig, image_shape: tuple[int, int, int], num_classes: int) -> None:
    """Refuse a sweep whose families do not span an axis of sizes, before anything is trained.

    Raises:
        InvalidInputError: a model cannot be made, a family has one size only, or one size twice.
    """
    found = []
    for model in sweep.models:
        try:
            network = models.create(
                model.name, image_shape=image_shape, num_classes=num_classes, **model.options
            )
            found.append((network.family, models.cost(network).parameters))
        except errors.GenjaxError:
            raise
        except (TypeError, ValueError, AttributeError) as error:
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise errors.InvalidInputError(
                f"sweep.models: {model.name} with options {dict(model.options)} makes no network "
                f"({first})."
            ) from error
    check_family_sizes("sweep.models", found)


def check_family_sizes(field: str, networks: Sequence[tuple[str, int]]) -> None:
    """Refuse families that do not span an axis of sizes.

    Args:
        field: that names the networks.
        networks: family and number of parameters of each.

    Raises:
        InvalidInputError: a family has one size only, or one size twice.
    """
    sizes: dict[str, list[int]] = {}
    for family, parameters in networks:
        sizes.setdefault(family, []).append(parameters)
    for family, found in sizes.items():
        if len(set(found)) < len(found) or len(found) < 2:
            raise errors.InvalidInputError(
                f"{field}: family '{family}' has {', '.join(map(str, found))} parameters; the "
                "size axis needs at least two different sizes, none of them twice."
            )
