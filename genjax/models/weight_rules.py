"""How the keys of a weight file become a tree of parameters: one small table per architecture.

An architecture is a function `(Request, **options) -> Plan`, registered in
`genjax.models.weights.ARCHITECTURES`. Its `Plan` holds the network and one or more `KeyMap`s, each
a table of `Rule`s for one naming of the same weights. Everything else (reading, checking shapes,
converting, folding, reporting) is done here and in `weights`.
"""

import collections
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from genjax import errors
from genjax.data import resizing
from genjax.models.foreign import Preprocessing
from genjax.models.network import Network
from genjax.models.weight_files import Shape, StoredWeights
from genjax.types import Params

ImageShape = tuple[int, int, int]
MOST_SHOWN = 3


class Layout(NamedTuple):
    """How one array is stored, against how the tree has it.

    Attributes:
        stored: shape in the tree -> shape that the file must have.
        convert: (array of the file, shape in the tree) -> array of the tree.
    """

    stored: Callable[[Shape], Shape]
    convert: Callable[[np.ndarray, Shape], np.ndarray]


SAME = Layout(lambda shape: shape, lambda array, shape: array)
"""Stored as the tree has it: biases, scales."""

DENSE = Layout(lambda shape: shape[::-1], lambda array, shape: array.T)
"""PyTorch's `Linear.weight` [outputs, inputs] -> [inputs, outputs]."""

CONVOLUTION = Layout(
    lambda shape: (shape[3], shape[2], shape[0], shape[1]),
    lambda array, shape: array.transpose(2, 3, 1, 0),
)
"""OIHW -> HWIO. Depthwise kernels too: [C, 1, h, w] -> [h, w, 1, C]."""


class Rule(NamedTuple):
    """Where one array of the tree comes from. Several rules may read parts of one key.

    Attributes:
        key: in the file, without "module.".
        path: in the tree, e.g. "stem_1/conv/kernel".
        layout: SAME, DENSE, CONVOLUTION or another `Layout`.
        statistic: True if the array belongs to the statistics (running mean and variance), not to
            the parameters.
    """

    key: str
    path: str
    layout: Layout = SAME
    statistic: bool = False


class KeyMap(NamedTuple):
    """One naming of the weights of an architecture.

    Attributes:
        rules: one for every array of the tree, in the order computed.
        harmless: regular expressions of keys that may be left over (matched in full), e.g.
            counters; any other key that no rule reads is refused.
    """

    rules: tuple[Rule, ...]
    harmless: tuple[str, ...] = (r".*num_batches_tracked",)


class Request(NamedTuple):
    """What an architecture is made from: the shapes in the file, and what the user gave.

    Attributes:
        shapes: of every array by key.
        num_classes: as given, or None.
        image_shape: as given, or None.
        preprocessing: as given, or None.
    """

    shapes: Mapping[str, Shape]
    num_classes: int | None = None
    image_shape: ImageShape | None = None
    preprocessing: Preprocessing | None = None

    def classes(self, *keys: str, default: int = 1000) -> int:
        """Return the number of classes: rows of the first of `keys` (output biases) in the file.

        Raises:
            InvalidInputError: another number was asked for.
        """
        stored = next((self.shapes[key][0] for key in keys if self.shapes.get(key)), None)
        if stored is not None and self.num_classes not in (None, stored):
            raise errors.InvalidInputError(
                f"num_classes: found {self.num_classes}; the output layer in the file has {stored}."
            )
        return self.num_classes or stored or default

    def images(
        self, shape: ImageShape, preprocessing: Preprocessing
    ) -> tuple[ImageShape, Preprocessing, ImageShape]:
        """Return shape of the images, preprocessing, and shape of what the network itself sees.

        Args:
            shape: of the images where none is given.
            preprocessing: used where none is given.

        Raises:
            InvalidInputError: `image_shape` is no (height, width, channels), or has other channels.
        """
        preprocessing = self.preprocessing or preprocessing
        found = self.image_shape or shape
        if len(found) != 3 or min(found) < 1 or found[2] != shape[2]:
            raise errors.InvalidInputError(
                f"image_shape: found {found}; "
                f"allowed is (height, width, {shape[2]}), as the weights read {shape[2]} channels."
            )
        height, width, channels = found
        resizing.check(preprocessing.resizing)
        height, width = resizing.output_size(preprocessing.resizing, (height, width))
        return found, preprocessing, (height, width, channels)

    def count(self, pattern: str) -> int:
        r"""Return one more than the largest number that group 1 of `pattern` has among the keys.

        Example:
            >>> Request({"layer1.0.w": (1,), "layer1.1.w": (1,)}).count(r"layer1\.(\d+)\.")
            2
        """
        found = (re.match(pattern, key) for key in self.shapes)
        return max((int(match[1]) + 1 for match in found if match), default=0)


class Plan(NamedTuple):
    """An architecture made for one file.

    Attributes:
        network: whose `init` has the shapes; its `apply` takes images already preprocessed.
        key_maps: the namings known, tried in turn; the one with the fewest missing keys counts.
        image_shape: (height, width, channels) of the images as they come.
        preprocessing: put in front of the network.
    """

    network: Network
    key_maps: tuple[KeyMap, ...]
    image_shape: ImageShape
    preprocessing: Preprocessing


def batch_norm(key: str, path: str) -> tuple[Rule, ...]:
    """Return the rules of one PyTorch `BatchNorm2d`.

    Args:
        key: its name in the file.
        path: of the Linen `BatchNorm` in the tree.

    Example:
        >>> [rule.path for rule in batch_norm("bn1", "stem_1/norm")][:2]
        ['stem_1/norm/scale', 'stem_1/norm/bias']
    """
    return (
        Rule(f"{key}.weight", f"{path}/scale"),
        Rule(f"{key}.bias", f"{path}/bias"),
        Rule(f"{key}.running_mean", f"{path}/mean", SAME, True),
        Rule(f"{key}.running_var", f"{path}/var", SAME, True),
    )


def layer(key: str, path: str, layout: Layout) -> tuple[Rule, ...]:
    """Return the rules of `weight` -> `kernel` and `bias` -> `bias`.

    Example:
        >>> [rule.key for rule in layer("linear", "output", DENSE)]
        ['linear.weight', 'linear.bias']
    """
    return Rule(f"{key}.weight", f"{path}/kernel", layout), Rule(f"{key}.bias", f"{path}/bias")


def layer_norm(key: str, path: str) -> tuple[Rule, ...]:
    """Return the rules of one `LayerNorm`: `weight` -> `scale` and `bias` -> `bias`."""
    return Rule(f"{key}.weight", f"{path}/scale"), Rule(f"{key}.bias", f"{path}/bias")


def _leaves(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}/")
        else:
            yield f"{prefix}{name}", value


def tree_shapes(network: Network) -> dict[tuple[bool, str], Shape]:
    """Return the shape of every array by (is a statistic, path), without computing any."""
    trees = jax.eval_shape(network.init, jax.random.key(0))
    return {
        (bool(which), path): leaf.shape
        for which, tree in enumerate(trees)
        for path, leaf in _leaves(tree)
    }


def _shown(found: list[str]) -> str:
    """Join the first few of what was found, and say if there is more."""
    rest = len(found) - MOST_SHOWN
    return ", ".join(found[:MOST_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def check(
    stored: StoredWeights, plan: Plan, shapes: Mapping[tuple[bool, str], Shape]
) -> tuple[KeyMap, tuple[str, ...]]:
    """Return the naming that fits the file, and the harmless keys left over.

    Args:
        stored: the file.
        plan: the network that was asked for.
        shapes: `tree_shapes` of that network.

    Raises:
        InvalidInputError: keys missing, shapes that differ, or keys that nothing reads; the
            sentence counts them and names the first.
    """
    key_map = min(plan.key_maps, key=lambda m: sum(r.key not in stored.shapes for r in m.rules))
    paths = collections.Counter((rule.statistic, rule.path) for rule in key_map.rules)
    assert paths == collections.Counter(shapes.keys()), "the table is not that of the network"
    missing, different = {}, {}
    for rule in key_map.rules:
        wanted = rule.layout.stored(shapes[rule.statistic, rule.path])
        if rule.key not in stored.shapes:
            missing[rule.key] = f"'{rule.key}' {wanted}"
        elif stored.shapes[rule.key] != wanted:
            there = stored.shapes[rule.key]
            different[rule.key] = f"'{rule.key}' {there}, not {wanted}"
    read = {rule.key for rule in key_map.rules}
    rest = [key for key in stored.shapes if key not in read]
    harmless = tuple(k for k in rest if any(re.fullmatch(p, k) for p in key_map.harmless))
    unused = [f"'{key}' {stored.shapes[key]}" for key in rest if key not in harmless]
    kinds = {
        "keys missing from the file": list(missing.values()),
        "shapes that differ": list(different.values()),
        "keys of the file that nothing reads": unused,
    }
    found = [f"{kind}: {len(keys)} ({_shown(keys)})" for kind, keys in kinds.items() if keys]
    if found:
        raise errors.InvalidInputError(
            f"weights: '{stored.path.name}' does not fit {plan.network.name}; {'; '.join(found)}."
        )
    return key_map, harmless


def convert(
    stored: StoredWeights, key_map: KeyMap, shapes: Mapping[tuple[bool, str], Shape]
) -> tuple[Params, Params]:
    """Return (parameters, statistics) of a file that `check` has accepted."""
    trees: tuple[dict, dict] = ({}, {})
    for rule in key_map.rules:
        shape = shapes[rule.statistic, rule.path]
        *parents, name = rule.path.split("/")
        branch = trees[rule.statistic]
        for parent in parents:
            branch = branch.setdefault(parent, {})
        array = rule.layout.convert(stored.read(rule.key), shape)
        branch[name] = jax.numpy.asarray(np.ascontiguousarray(array))
    return trees
