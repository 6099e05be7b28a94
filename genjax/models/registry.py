"""Make a network by name, and know its size and cost before training it."""

import inspect
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from genjax import errors
from genjax.models import cnn, mlp, resnet, vit
from genjax.models.network import Network

_MODELS: dict[str, Callable[..., Network]] = {
    "mlp": mlp.mlp,
    "cnn": cnn.cnn,
    "resnet": resnet.resnet,
    "vit": vit.vit,
}


class Cost(NamedTuple):
    """Size of a network, known without training or compiling it.

    Attributes:
        parameters: number of trained numbers.
        flops: floating-point operations of one forward pass on one image (a multiply-add counts as
            two), as XLA counts them: products with padding are left out. NaN where the backend does
            not say.
    """

    parameters: int
    flops: float


def names() -> tuple[str, ...]:
    """Return the registered model names.

    Example:
        >>> names()
        ('cnn', 'mlp', 'resnet', 'vit')
    """
    return tuple(sorted(_MODELS))


def _check_numbers(name: str, options: dict[str, Any], image_shape) -> None:
    """Refuse options that cannot make a network, before anything is built."""
    for key, value in options.items():
        numbers = value if isinstance(value, (tuple, list)) else [value]
        for number in numbers:
            if isinstance(number, (int, float)) and not isinstance(number, bool) and number <= 0:
                raise errors.InvalidInputError(
                    f"model option {name}.{key}: found {value}; every number must be positive."
                )
    choices = {"norm": ("batch", "group", "none"), "readout": ("flatten", "average")}
    for key, allowed in choices.items():
        if key in options and options[key] not in allowed:
            raise errors.InvalidInputError(
                errors.suggest(f"model option {name}.{key}", str(options[key]), allowed)
            )
    if name == "resnet" and (options.get("depth", 20) - 2) % 6:
        raise errors.InvalidInputError(
            f"model option resnet.depth: found {options['depth']}; "
            "it must be 6n + 2 (8, 14, 20, 26, 32, ...)."
        )
    if name == "vit":
        patch, width, heads = (
            options.get(k, d) for k, d in (("patch", 4), ("width", 64), ("heads", 4))
        )
        if image_shape[0] % patch or image_shape[1] % patch:
            raise errors.InvalidInputError(
                f"model option vit.patch: found {patch}; "
                f"it must divide the image size {image_shape[:2]}."
            )
        if width % heads:
            raise errors.InvalidInputError(
                f"model option vit.width: found {width}; it must be a multiple of heads={heads}."
            )


def create(
    name: str, *, image_shape: tuple[int, int, int], num_classes: int, **options: Any
) -> Network:
    """Return the registered model `name` as a `Network`.

    Args:
        name: one of `names()`.
        image_shape: (height, width, channels) of one image.
        num_classes: number of outputs.
        **options: the model's own options (widths, channels, depth, ...).

    Raises:
        InvalidInputError: unknown name or option, or a value that makes no network.

    Example:
        >>> network = create("mlp", image_shape=(8, 8, 1), num_classes=10, widths=(32, 32))
        >>> cost(network).parameters
        3466
    """
    if name not in _MODELS:
        raise errors.InvalidInputError(errors.suggest("model", name, names()))
    factory = _MODELS[name]
    allowed = [
        p for p in inspect.signature(factory).parameters if p not in ("image_shape", "num_classes")
    ]
    for option in options:
        if option not in allowed:
            raise errors.InvalidInputError(
                errors.suggest(f"option of model {name}", option, allowed)
            )
    if len(image_shape) != 3 or num_classes < 2:
        raise errors.InvalidInputError(
            f"image_shape and num_classes: found {image_shape} and {num_classes}; "
            "allowed are (height, width, channels) and at least 2 classes."
        )
    _check_numbers(name, options, image_shape)
    return factory(image_shape=tuple(image_shape), num_classes=num_classes, **options)


def cost(network: Network) -> Cost:
    """Return parameter count and FLOPs of one forward pass, by shape evaluation alone.

    Example:
        >>> network = create("mlp", image_shape=(8, 8, 1), num_classes=10, widths=(32,))
        >>> cost(network)
        Cost(parameters=2410, flops=4810.0)
    """
    parameters, statistics = jax.eval_shape(network.init, jax.random.key(0))
    count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(parameters))
    params = jax.eval_shape(network.fold, parameters, statistics)
    image = jax.ShapeDtypeStruct((1, *network.image_shape), jnp.float32)
    analysis = jax.jit(network.apply).lower(params, image).cost_analysis() or {}
    return Cost(count, float(analysis.get("flops", math.nan)))
