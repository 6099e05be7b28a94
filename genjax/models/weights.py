"""Load public weights into networks that can be measured."""

import inspect
import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from genjax import errors
from genjax.models import key_maps, vit_pretrained
from genjax.models.adapters_checks import describe, guarded
from genjax.models.foreign import ForeignNetwork, Preprocessing, measured_only
from genjax.models.weight_files import open_weights
from genjax.models.weight_rules import Plan, Request, check, convert, tree_shapes

ARCHITECTURES: dict[str, Callable[..., Plan]] = {
    "convnext": key_maps.convnext,
    "deit": vit_pretrained.deit,
    "resnet_cifar": key_maps.resnet_cifar,
    "resnet_imagenet": key_maps.resnet_imagenet,
    "vit": vit_pretrained.vit,
}
"""Builders `(Request, **options) -> Plan` by the name that a specification starts with."""


def architectures() -> tuple[str, ...]:
    """Return the names that `load_weights` knows.

    Example:
        >>> "resnet_cifar" in architectures()
        True
    """
    return tuple(sorted(ARCHITECTURES))


def _value(text: str) -> Any:
    """Read an option: a number where it is one, else text."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def parse_specification(model: str) -> tuple[str, dict[str, Any]]:
    """Return architecture and options of a specification "name:option=value,option=value".

    Raises:
        InvalidInputError: unknown architecture or option, or a part that is no `option=value`.

    Example:
        >>> parse_specification("resnet_cifar:depth=20")
        ('resnet_cifar', {'depth': 20})
    """
    name, _, rest = model.partition(":")
    if name not in ARCHITECTURES:
        raise errors.InvalidInputError(errors.suggest("model", name, architectures()))
    _, *parameters = inspect.signature(ARCHITECTURES[name]).parameters.values()
    allowed = {parameter.name: parameter.annotation for parameter in parameters}
    options = {}
    for part in filter(None, rest.split(",")):
        option, equals, text = part.partition("=")
        if not equals or not text:
            raise errors.InvalidInputError(
                f"model: found '{part}' in '{model}'; allowed is option=value, separated by commas."
            )
        if option not in allowed:
            raise errors.InvalidInputError(
                errors.suggest(f"option of model {name}", option, list(allowed))
            )
        options[option] = _value(text)
        if not isinstance(options[option], allowed[option]):
            kind = str(allowed[option]).partition(" ")[0]
            raise errors.InvalidInputError(
                f"model option {name}.{option}: found '{text}'; allowed is one of type {kind}."
            )
    return name, options


def load_weights(
    path: str | os.PathLike[str],
    model: str,
    *,
    num_classes: int | None = None,
    image_shape: tuple[int, int, int] | None = None,
    preprocessing: Preprocessing | None = None,
) -> ForeignNetwork:
    """Load public weights; every array of the file must have its place, and every place its array.

    Batch normalisation is folded into `params`; what the file had is kept in `unfolded`.

    Args:
        path: a `.safetensors` file, or for vision transformers an `.npz`. Pickles (.pt, .pth,
            .bin) are refused, never opened.
        model: architecture and options, e.g. "resnet_cifar:depth=20"; options left out are read off
            the file, options given must fit it.
        num_classes: must be that of the file where given.
        image_shape: (height, width, channels) of the images as they come; None for what the
            architecture was made for.
        preprocessing: None for the architecture's own.

    Raises:
        InvalidInputError: the file is missing, damaged, pickled or of another architecture, or the
            specification is not known.

    Example:
        >>> load_weights("resnet20.safetensors", "resnet_cifar:depth=20")
        Traceback (most recent call last):
        ...
        genjax.errors.InvalidInputError: weights: 'resnet20.safetensors' cannot be read: ...
    """
    name, options = parse_specification(model)
    with open_weights(path) as stored:
        request = Request(stored.shapes, num_classes, image_shape, preprocessing)
        plan = ARCHITECTURES[name](request, **options)
        shapes = tree_shapes(plan.network)
        key_map, unused = check(stored, plan, shapes)
        unfolded = convert(stored, key_map, shapes)
    params = jax.jit(plan.network.fold)(*unfolded)
    if not all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(params)):
        raise errors.InvalidInputError(
            f"weights: '{stored.path.name}' has running variances that are negative; "
            "normalisation cannot be folded."
        )
    made = plan.network
    # Says what is wrong with a preprocessing or an image shape that the user gave.
    describe(made.name, made.family, plan.image_shape, made.num_classes, plan.preprocessing)
    network = measured_only(
        made.name,
        family=made.family,
        options=made.options,
        image_shape=plan.image_shape,
        num_classes=made.num_classes,
        apply=made.apply,
        taps=made.taps,
        preprocessing=plan.preprocessing,
    )
    return ForeignNetwork(guarded(network), params, plan.preprocessing, unfolded, unused)
