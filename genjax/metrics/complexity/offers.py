"""What a group of networks and its data offer to measures, and what is refused at the door."""

import jax.numpy as jnp
import numpy as np

from genjax.errors import InvalidInputError
from genjax.metrics.complexity.contract import MeasureData
from genjax.metrics.complexity.layers import weight_layers
from genjax.models import Network, names
from genjax.training import TrainedGroup

_RELU_FAMILIES = ("mlp", "cnn", "resnet", "resnet_cifar", "resnet_imagenet")
_CHAINS = ("mlp", "cnn")


def structure(network: Network) -> frozenset[str]:
    """Return what a network's architecture offers: keys of `NEEDS`.

    Networks of the families made here are known; of any other function only what its program shows.

    Example:
        >>> from genjax import models
        >>> net = models.create("vit", image_shape=(8, 8, 1), num_classes=10, patch=4)
        >>> sorted(structure(net))
        ['taps', 'trainable']
    """
    found = {"taps"}
    if network.family in names():
        found.add("trainable")
    folded = network.options.get("norm", "batch") in ("batch", "none")
    if network.family in _RELU_FAMILIES and folded:
        found.add("relu")
    if network.family in _CHAINS:
        found.add("chain")
    return frozenset(found)


def offered(group: TrainedGroup, data: MeasureData) -> frozenset[str]:
    """Return the requirements that a group and its data meet: keys of `NEEDS`."""
    present = {
        "train": data.train,
        "validation": data.validation,
        "unlabeled": data.unlabeled,
        "init": group.init_params,
        "history": group.history,
        "hyper": group.hyper,
    }
    found = {name for name, what in present.items() if what is not None}
    if group.history is not None and not len(np.asarray(group.history_steps)):
        found.discard("history")
    layers = weight_layers(group.network, group.network_params(0))
    return frozenset(found | structure(group.network) | ({"layers"} if layers else set()))


def check_data(network: Network, data: MeasureData) -> None:
    """Refuse examples that the network cannot be measured on.

    Raises:
        InvalidInputError: none, images of another shape, or labels without an output.
    """
    sets = {"train": data.train, "validation": data.validation}
    for name, examples in sets.items():
        if examples is None:
            continue
        if len(examples.labels) == 0:
            raise InvalidInputError(f"{name}: found no examples; at least one is needed.")
        if examples.labels.min() < 0 or examples.labels.max() >= network.num_classes:
            raise InvalidInputError(
                f"{name}: found labels from {examples.labels.min()} to {examples.labels.max()}; "
                f"{network.name} has {network.num_classes} outputs."
            )
    images = {name: examples.images for name, examples in sets.items() if examples is not None}
    images |= {} if data.unlabeled is None else {"unlabeled": data.unlabeled}
    for name, found in images.items():
        if tuple(found.shape[1:]) != tuple(network.image_shape):
            raise InvalidInputError(
                f"{name}: found images of shape {tuple(found.shape[1:])}; {network.name} takes "
                f"{tuple(network.image_shape)}."
            )


def check_deterministic(group: TrainedGroup, data: MeasureData) -> None:
    """Refuse anybody's function that is still random; ours is known not to be."""
    if group.network.family in names():
        return
    first = jnp.asarray(data.train.images[:2])
    params = group.network_params(0)
    once, twice = (np.asarray(group.network.apply(params, first)) for _ in range(2))
    if not np.array_equal(once, twice, equal_nan=True):
        raise InvalidInputError(
            f"network '{group.network.name}': two evaluations of the same images differ; measures "
            "need it without dropout and with fixed normalisation statistics."
        )
