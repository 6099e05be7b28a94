"""Logits as a function of any tap, for networks of which only `apply` and `taps` are known.

`taps` returns activations, but no function that goes on from them. The traced programs of `apply`
and `taps` do the same things, though: once equal equations are put together, the variable that
`taps` returns is one that `apply` computes on its way to the logits, and something can be added to
it there.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import core, extend

from genjax.models import Network
from genjax.types import Params

INPUT = "input"
"""Name under which the images themselves can be perturbed."""

_INLINED = ("jit", "pjit", "closed_call")
"""Calls whose equations are taken one by one; others are a single equation."""


class PerturbedNetwork(NamedTuple):
    """A network to whose activations something can be added; for images of one shape.

    Attributes:
        places: name -> shape of the activation, `input` first, then the taps in the order
            computed. A tap that the logits do not depend on is left out; of taps that are the same
            activation the last name stays.
        apply: `(params, images, {place: what is added}) -> (logits, {place: activation})`; the
            activations are those after adding.
    """

    places: Mapping[str, jax.ShapeDtypeStruct]
    apply: Any


def perturbed(network: Network, params: Params, images: Any) -> PerturbedNetwork:
    """Return a network with an opening at every tap.

    Args:
        network: any `Network`.
        params: its parameters or shapes of them, without a network axis.
        images: [N, H, W, C], or the shape of them.

    Example:
        >>> from genjax import models
        >>> net = models.create("mlp", image_shape=(2, 2, 1), num_classes=3, widths=(4,))
        >>> params = net.fold(*net.init(jax.random.key(0)))
        >>> images = jnp.ones((5, 2, 2, 1))
        >>> opened = perturbed(net, params, images)
        >>> {name: place.shape for name, place in opened.places.items()}
        {'input': (5, 2, 2, 1), 'features': (5, 4)}
        >>> logits, _ = opened.apply(params, images, {"features": jnp.ones((5, 4))})
        >>> by_hand = net.apply(params, images) + params["output"]["kernel"].sum(axis=0)[None]
        >>> bool(jnp.allclose(logits, by_hand, atol=1e-6))
        True
    """
    names: list[str] = []

    def both(params, images):
        found = network.taps(params, images)
        names[:] = found
        return network.apply(params, images), list(found.values())

    shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), (params, images))
    closed = jax.make_jaxpr(both)(*shapes)
    program = _Program(len(closed.jaxpr.invars))
    ids = program.add(closed.jaxpr, closed.consts, list(range(len(closed.jaxpr.invars))))
    inputs = len(closed.jaxpr.invars)
    needed = program.behind(ids[0])
    marked = {inputs - 1: INPUT}
    for name, variable in zip(names, ids[1:], strict=True):
        if variable in needed and variable not in program.constants and variable >= inputs:
            marked[variable] = name
    avals = dict(zip(ids, (v.aval for v in closed.jaxpr.outvars), strict=True))
    avals[inputs - 1] = closed.jaxpr.invars[-1].aval
    places = {n: jax.ShapeDtypeStruct(avals[v].shape, avals[v].dtype) for v, n in marked.items()}

    def apply(params, images, added):
        start = [*jax.tree.leaves(params), images]
        return program.run(start, ids[0], marked, added)

    return PerturbedNetwork(places, apply)


class _Program:
    """Equations over numbered variables, each computed once."""

    def __init__(self, inputs: int):
        self.inputs = inputs
        self.equations: list[tuple[Any, list[int], list[int]]] = []
        self.constants: dict[int, Any] = {}
        self._count = inputs
        self._known: dict[Any, Any] = {}

    def add(self, jaxpr, consts, arguments: list[int]) -> list[int]:
        """Append what a traced function does; return the numbers of its results."""
        numbers: dict[Any, int] = dict(zip(jaxpr.invars, arguments, strict=True))
        for variable, constant in zip(jaxpr.constvars, consts, strict=True):
            numbers[variable] = self._constant(constant)

        def number(atom) -> int:
            if isinstance(atom, extend.core.Literal):
                return self._constant(atom.val)
            return numbers[atom]

        for equation in jaxpr.eqns:
            read = [number(atom) for atom in equation.invars]
            inner = equation.params.get("jaxpr")
            if equation.primitive.name in _INLINED and inner is not None:
                results = self.add(inner.jaxpr, inner.consts, read)
            else:
                results = self._equation(equation, read)
            numbers.update(zip(equation.outvars, results, strict=True))
        return [number(atom) for atom in jaxpr.outvars]

    def _new(self) -> int:
        self._count += 1
        return self._count - 1

    def _constant(self, value) -> int:
        key = ("constant", *_identity(value))
        if key not in self._known:
            self._known[key] = self._new()
            self.constants[self._known[key]] = value
        return self._known[key]

    def _equation(self, equation, read: list[int]) -> list[int]:
        written = tuple((name, _static(v)) for name, v in sorted(equation.params.items()))
        key = (equation.primitive.name, written, tuple(read))
        if key not in self._known:
            self._known[key] = [self._new() for _ in equation.outvars]
            self.equations.append((equation, read, self._known[key]))
        return self._known[key]

    def behind(self, variable: int) -> set[int]:
        """Return the variables that one depends on, itself among them."""
        found = {variable}
        for _, read, results in reversed(self.equations):
            if found & set(results):
                found |= set(read)
        return found

    def run(self, start, wanted: int, marked: Mapping[int, str], added: Mapping[str, Any]):
        """Compute `wanted`, adding to marked variables on the way, and the marked variables."""
        values = dict(self.constants)

        def note(number, value):
            extra = added.get(marked[number]) if number in marked else None
            values[number] = value if extra is None else value + extra

        for number, value in enumerate(start):
            note(number, value)
        needed = self.behind(wanted)
        for equation, read, results in self.equations:
            if not needed & set(results):
                continue
            params = equation.primitive.get_bind_params(equation.params)
            with equation.ctx.manager:
                found = equation.primitive.bind(*[values[i] for i in read], **params)
            found = found if equation.primitive.multiple_results else [found]
            for number, value in zip(results, found, strict=True):
                note(number, value)
        return values[wanted], {name: values[number] for number, name in marked.items()}


def _identity(value) -> tuple[Any, ...]:
    """Return what two constants must share to be one."""
    if isinstance(value, core.Tracer):
        return ("traced", id(value))
    array = np.asarray(value)
    weak = isinstance(value, bool | int | float | complex)
    return (weak or getattr(value, "weak_type", False), array.dtype, array.shape, array.tobytes())


def _static(value) -> Any:
    """Return what two parameters of equations must share to be equal.

    Derivative rules are Python functions, made anew by every trace: they are told apart by what
    they belong to, the traced function beside them, and not by themselves.
    """
    if isinstance(value, extend.core.ClosedJaxpr):
        return (str(value.jaxpr), tuple(_identity(c) for c in value.consts))
    if isinstance(value, extend.core.Jaxpr):
        return str(value)
    if isinstance(value, tuple | list):
        return tuple(_static(v) for v in value)
    if isinstance(value, np.ndarray | jax.Array):
        return _identity(value)
    if type(value).__name__ == "WrappedFun" or (callable(value) and not isinstance(value, type)):
        return type(value).__name__
    try:
        hash(value)
    except TypeError:
        return repr(value)
    return value


class TapMargins(NamedTuple):
    """Distances to the decision boundary at every place of a network, to first order.

    Attributes:
        margins: name of the place -> [N], true logit minus the largest other one, over the norm of
            its gradient with respect to the activation.
        activations: name of the place -> [N, ...].
    """

    margins: Mapping[str, Any]
    activations: Mapping[str, Any]


def tap_margins(
    network: Network,
    params: Params,
    images: Any,
    labels: Any,
    *,
    epsilon: float = 1e-6,
    added: float = 0.0,
) -> TapMargins:
    """Return margins in the images and in every tap, by one backward pass.

    `(f_y - f_j) / sqrt(epsilon + ||grad_h f_y - grad_h f_j||_2^2)`, where y is the true class, j
    the class with the largest other logit, and h the activation (Jiang et al., Predicting the
    Generalization Gap in Deep Networks with Margin Distributions, ICLR 2019, with the constant of
    the released code). Wrongly classified examples have a negative margin.

    Args:
        network: any `Network` that treats every image on its own.
        params: its parameters, without a network axis.
        images: [N, H, W, C].
        labels: [N].
        epsilon: keeps the quotient finite where the gradient is zero.
        added: the same, but added to the norm instead of its square.

    Example:
        >>> from genjax import models
        >>> net = models.create("mlp", image_shape=(2, 2, 1), num_classes=3, widths=(4,))
        >>> params = net.fold(*net.init(jax.random.key(0)))
        >>> found = tap_margins(net, params, jnp.ones((5, 2, 2, 1)), jnp.zeros(5, int))
        >>> {name: values.shape for name, values in found.margins.items()}
        {'input': (5,), 'features': (5,)}
    """
    opened = perturbed(network, params, images)
    zeros = {name: jnp.zeros(place.shape, place.dtype) for name, place in opened.places.items()}
    logits, pull_back, activations = jax.vjp(
        lambda extra: opened.apply(params, jnp.asarray(images), extra), zeros, has_aux=True
    )
    true = jax.nn.one_hot(labels, logits.shape[-1], dtype=bool)
    other = jnp.argmax(jnp.where(true, -jnp.inf, logits), axis=-1)
    direction = true.astype(logits.dtype) - jax.nn.one_hot(
        other, logits.shape[-1], dtype=logits.dtype
    )
    gradients = pull_back(direction)[0]
    margins = jnp.sum(logits * direction, axis=-1)

    def normalised(gradient):
        squares = jnp.sum(gradient.reshape(gradient.shape[0], -1) ** 2, axis=-1)
        return margins / (jnp.sqrt(epsilon + squares) + added)

    return TapMargins({name: normalised(gradients[name]) for name in zeros}, activations)
