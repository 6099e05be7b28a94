"""What the layers of somebody else's network read and returned, in the order of their calls."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any, NamedTuple

import flax.linen as nn
from flax import traverse_util
from jax import tree_util
from jax.extend.core import get_opaque_trace_state

from genjax import errors
from genjax.models.network import FEATURES
from genjax.types import Params


class Call(NamedTuple):
    """One call of one layer.

    Attributes:
        path: where the layer sits in the network, e.g. `block1/conv`.
        input: its first argument; None if it cannot be had.
        output: what it returned, of several things the first; None if it cannot be had.
    """

    path: str
    input: Any
    output: Any


def _level():
    return get_opaque_trace_state(convention="nnx")


class _Tape:
    """Notes calls made at the level of tracing at which it was started.

    What a layer reads and returns inside a nested `jit`, `scan` or `remat` cannot leave it: of such
    calls only the path is noted.
    """

    def __init__(self):
        self.calls: list[Call] = []
        self.paths: dict[int, str] = {}
        self._start = _level()

    def note(self, path: str, arguments: tuple, output: Any) -> None:
        if self._start != _level():
            self.calls.append(Call(path, None, None))
            return
        output = output[0] if isinstance(output, tuple) and output else output
        self.calls.append(Call(path, arguments[0] if arguments else None, output))


_TAPE: ContextVar[_Tape | None] = ContextVar("tape", default=None)


@contextlib.contextmanager
def linen_calls() -> Iterator[list[Call]]:
    """Note the calls of all submodules of Linen modules that are applied inside.

    Example:
        >>> import flax.linen as nn, jax
        >>> model = nn.Sequential([nn.Dense(3), nn.relu, nn.Dense(2)])
        >>> images = jax.numpy.ones((1, 4))
        >>> variables = model.init(jax.random.key(0), images)
        >>> with linen_calls() as calls:
        ...     logits = model.apply(variables, images)
        >>> [(call.path, call.output.shape) for call in calls]
        [('layers_0', (1, 3)), ('layers_2', (1, 2))]
    """
    tape = _Tape()

    def note(next_function, arguments, keywords, context):
        output = next_function(*arguments, **keywords)
        if context.method_name == "__call__" and context.module.path:
            tape.note("/".join(context.module.path), arguments, output)
        return output

    with nn.intercept_methods(note):
        yield tape.calls


@functools.cache
def _noting(kind: type) -> type:
    """Return the class `kind` whose calls are noted.

    A subclass per kind leaves the classes of other libraries as they are, unlike a patch of their
    methods, and `isinstance` and attributes keep working.
    """

    def note(self, *arguments, **keywords):
        output = kind.__call__(self, *arguments, **keywords)
        tape = _TAPE.get()
        if tape is not None and id(self) in tape.paths:
            tape.note(tape.paths[id(self)], arguments, output)
        return output

    body = {"__call__": note, "__module__": kind.__module__, "__qualname__": kind.__qualname__}
    return type(kind)(kind.__name__, (kind,), body)


@contextlib.contextmanager
def object_calls(submodules: Sequence[tuple[str, Any]]) -> Iterator[list[Call]]:
    """Note the calls of these objects, which change their class: pass copies made for this.

    Args:
        submodules: (path, object); objects that cannot be called are left out.
    """
    tape = _Tape()
    for path, module in submodules:
        # `callable` of the class would find the metaclass's `__call__`.
        if any("__call__" in vars(base) for base in type(module).__mro__):
            object.__setattr__(module, "__class__", _noting(type(module)))
            tape.paths[id(module)] = path
    token = _TAPE.set(tape)
    try:
        yield tape.calls
    finally:
        _TAPE.reset(token)


def children(module: Any, kind: type) -> list[tuple[str, Any]]:
    """Return (path, submodule) of every object of this kind inside a module that is a pytree."""

    def below(node: Any, path: tuple) -> Iterator[tuple[tuple, Any]]:
        nodes = tree_util.tree_flatten_with_path(
            node, is_leaf=lambda x: x is not node and isinstance(x, kind)
        )[0]
        for step, child in nodes:
            if isinstance(child, kind) and child is not node:
                yield (*path, *step), child
                yield from below(child, (*path, *step))

    return [(written(path), child) for path, child in below(module, ())]


def written(path: Sequence[Any]) -> str:
    """Return the path of a leaf as `block/0/kernel`.

    Example:
        >>> tree_util.tree_map_with_path(lambda path, _: written(path), {"a": [1, 2]})
        {'a': ['a/0', 'a/1']}
    """
    return tree_util.keystr(tuple(path), simple=True, separator="/")


def _innermost(calls: Sequence[Call]) -> list[Call]:
    """Return the calls of layers that call no other layer."""
    paths = [call.path for call in calls]
    return [c for c in calls if not any(path.startswith(f"{c.path}/") for path in paths)]


def activations(
    calls: Sequence[Call],
    logits: Any,
    *,
    wanted: Sequence[str] | None,
    features: str | None,
    is_activation: Callable[[Any], bool],
) -> dict[str, Any]:
    """Return what layers returned, by path in the order of the calls, and `features` as the last.

    The second call of a layer is named `path#2`, and so on; a layer that is itself called
    `features` is named `features#1`.

    Args:
        calls: from `linen_calls` or `object_calls`.
        logits: what the network returned.
        wanted: names to keep; None keeps all but the output layer's.
        features: path of the output layer, whose input becomes `features`; None takes the layer
            that returned the logits and calls no other.
        is_activation: tells activations from other things that modules return.

    Raises:
        InvalidInputError: unknown names, or no output layer.
    """
    taps, counts = {}, {}
    for call in calls:
        counts[call.path] = counts.get(call.path, 0) + 1
        if call.output is logits or not is_activation(call.output):
            continue
        plain = counts[call.path] == 1 and call.path != FEATURES
        taps[call.path if plain else f"{call.path}#{counts[call.path]}"] = call.output
    for name in wanted or ():
        if name not in taps and name != FEATURES:
            raise errors.InvalidInputError(errors.suggest("taps", name, list(taps)))
    if wanted is not None:
        taps = {name: value for name, value in taps.items() if name in wanted}
    taps[FEATURES] = _read_by_output(calls, logits, features)
    return taps


def _read_by_output(calls: Sequence[Call], logits: Any, features: str | None) -> Any:
    if features is None:
        layers = _innermost(calls)
        for call in layers:
            if call.output is logits:
                return call.input
        raise errors.InvalidInputError(
            "features: no layer returns the logits themselves; name the output layer, whose input "
            f"is taken, e.g. features='{layers[-1].path if layers else 'head'}'."
        )
    named = [call for call in calls if call.path == features]
    if not named:
        paths = list(dict.fromkeys(call.path for call in calls))
        raise errors.InvalidInputError(errors.suggest("features", features, paths))
    return named[-1].input


def per_image(examples: int) -> Callable[[Any], bool]:
    """Tell arrays with one row per image from everything else that modules return."""
    return lambda value: getattr(value, "ndim", 0) > 0 and value.shape[0] == examples


def as_dicts(tree: Any) -> tuple[Params, Callable[[Params], Any]]:
    """Return the leaves of a pytree as nested dicts by path, and the way back."""
    leaves, structure = tree_util.tree_flatten_with_path(tree)
    # NNX ends every path with `value`, which says nothing.
    paths = [written(path).removesuffix("/value") for path, _ in leaves]
    nested = traverse_util.unflatten_dict(
        dict(zip(paths, (leaf for _, leaf in leaves), strict=True)), sep="/"
    )

    def rebuild(params):
        flat = traverse_util.flatten_dict(params, sep="/")
        return tree_util.tree_unflatten(structure, [flat[path] for path in paths])

    return nested, rebuild
