"""A network's program, evaluated in ways that its function does not offer by itself."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import extend

from genjax.models import Network
from genjax.types import Params

_TOLERANCE = 1e-4
_CONSTANT, _IMAGE, _PARAMETERS = range(3)


def forward_differentiable(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the same function, in which derivatives written for reverse mode are not used.

    Convolutions in canonical form have a backward pass of their own and therefore no forward
    derivative; what they compute has one.

    Args:
        function: of arrays; traced anew at each call.

    Example:
        >>> @jax.custom_vjp
        ... def square(x):
        ...     return x * x
        >>> square.defvjp(lambda x: (square(x), x), lambda x, g: (2 * x * g,))
        >>> [float(v) for v in jax.jvp(forward_differentiable(square), (3.0,), (1.0,))]
        [9.0, 6.0]
    """

    def evaluated(*arguments):
        closed, shapes = jax.make_jaxpr(function, return_shape=True)(*arguments)
        results = _evaluated(closed.jaxpr, closed.consts, jax.tree.leaves(arguments))
        return jax.tree.unflatten(jax.tree.structure(shapes), results)

    return evaluated


def _evaluated(jaxpr, consts: Sequence[Any], arguments: Sequence[Any]) -> list[Any]:
    """Evaluate a program with all calls written out, but for those with a forward derivative."""
    known = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *arguments], strict=True))
    for equation in jaxpr.eqns:
        inner = _called(equation)
        if inner is not None and equation.primitive.name != "custom_jvp_call":
            results = _evaluated(*inner, [_value(var, known) for var in equation.invars])
        else:
            results = _bound(jaxpr, equation, known)
        known.update(zip(equation.outvars, results, strict=True))
    return [_value(var, known) for var in jaxpr.outvars]


def _is_literal(var) -> bool:
    return isinstance(var, extend.core.Literal)


def _value(var, known):
    return var.val if _is_literal(var) else known[var]


def _called(equation) -> tuple[Any, Sequence[Any]] | None:
    """Return the program that an equation calls once with its own inputs, and its constants."""
    if equation.primitive.name in ("scan", "while"):
        return None
    for name in ("jaxpr", "call_jaxpr"):
        inner = equation.params.get(name)
        program = getattr(inner, "jaxpr", inner)
        if program is not None and len(program.invars) == len(equation.invars):
            return program, getattr(inner, "consts", ())
    return None


def _bound(jaxpr, equation, known: Mapping[Any, Any]) -> Sequence[Any]:
    """Evaluate one equation, as the program of its own that JAX can evaluate."""
    names = list(dict.fromkeys(v for v in equation.invars if not _is_literal(v)))
    alone = jaxpr.replace(
        constvars=[], invars=names, outvars=equation.outvars, eqns=[equation], effects=set()
    )
    program = extend.core.jaxpr_as_fun(extend.core.ClosedJaxpr(alone, ()))
    return program(*[known[var] for var in names])


def input_of_ones(network: Network, params: Params) -> tuple[Any, Any]:
    """Return the image [1, H, W, C] of which the first weight layer reads ones, and if there is.

    Path norms feed ones into the first layer. A network that subtracts means and divides by
    standard deviations before that, inside of `apply`, must be fed images that undo it. What
    happens to images before they meet parameters is read off the program; it must be affine in
    each channel, and resizing may only keep what is constant.

    Args:
        network: any network.
        params: its parameters; only their shapes are read.

    Returns:
        The image, constant in each channel, and a boolean scalar: whether every value that meets
        parameters is 1 (or 0 where it does not depend on the image: padding).

    Example:
        >>> from genjax import models
        >>> found = models.from_function(
        ...     lambda params, images: images.mean((1, 2)) @ params, jnp.ones((1, 2)),
        ...     image_shape=(2, 2, 1), num_classes=2,
        ...     preprocessing=models.Preprocessing(mean=(0.5,), std=(0.25,)))
        >>> image, possible = input_of_ones(found.network, found.params)
        >>> float(image[0, 0, 0, 0]), bool(possible)
        (0.75, True)
    """
    shape = (1, *network.image_shape)
    kind = jnp.result_type(float)
    shapes = jax.tree.map(lambda w: jax.ShapeDtypeStruct(w.shape, w.dtype), params)
    closed = jax.make_jaxpr(network.apply)(shapes, jax.ShapeDtypeStruct(shape, kind))

    def read(image):
        found: list[Any] = []
        inputs = [(None, _PARAMETERS)] * len(jax.tree.leaves(params)) + [(image, _IMAGE)]
        _first_reads(closed.jaxpr, closed.consts, inputs, found)
        return jnp.concatenate([jnp.zeros(0, kind), *[value.reshape(-1) for value in found]])

    channels = shape[-1]
    levels = jnp.concatenate([jnp.zeros((1, channels), kind), jnp.eye(channels, dtype=kind)])
    images = jnp.broadcast_to(levels[:, None, None, None, :], (channels + 1, *shape))
    seen = jax.vmap(read)(images)
    start, response = seen[0], seen[1:] - seen[:1]
    gram = jnp.matmul(response, response.T, precision="highest")
    wanted = jnp.matmul(response, 1 - start, precision="highest")
    image = jnp.broadcast_to(jnp.linalg.solve(gram, wanted), shape)
    reached = jnp.any(response != 0, axis=0)
    return image, jnp.max(jnp.abs(read(image) - reached), initial=0.0) < _TOLERANCE


def _first_reads(jaxpr, consts, inputs, found: list[Any]) -> list[Any]:
    """Collect what was computed from the image alone where it meets parameters.

    Inputs and results are (value, origin); the value is None where the origin is `_PARAMETERS`.
    """
    starts = [(const, _CONSTANT) for const in consts]
    pairs = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*starts, *inputs], strict=True))
    for equation in jaxpr.eqns:
        own = [(v.val, _CONSTANT) if _is_literal(v) else pairs[v] for v in equation.invars]
        origin = max((where for _, where in own), default=_CONSTANT)
        inner = _called(equation)
        if origin != _PARAMETERS:
            known = {v: pairs[v][0] for v in equation.invars if not _is_literal(v)}
            results = [(value, origin) for value in _bound(jaxpr, equation, known)]
        elif inner is not None:
            results = _first_reads(*inner, own, found)
        else:
            found.extend(value for value, where in own if where == _IMAGE)
            results = [(None, _PARAMETERS)] * len(equation.outvars)
        pairs.update(zip(equation.outvars, results, strict=True))
    return [(v.val, _CONSTANT) if _is_literal(v) else pairs[v] for v in jaxpr.outvars]
