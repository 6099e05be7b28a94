"""A network's program, evaluated in ways that its function does not offer by itself."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import extend, lax

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
    return _evaluated_by(function, _bound)


def as_matrix_products(
    function: Callable[..., Any], *, backend: str | None = None
) -> Callable[..., Any]:
    """Return the same function, forward differentiable, with 2-D convolutions as matrix products.

    Every derivative of a matrix product is one, and XLA:CPU is as fast with it inside of compiled
    loops as outside, which holds for few convolutions (see `genjax.models.convolution`). The price
    is memory: patches are as many times larger than images as a window has pixels. Grouped
    convolutions, and those inside of loops of the function's own, stay what they are.

    Args:
        function: of arrays; traced anew at each call.
        backend: e.g. "gpu"; None takes the one in use. Elsewhere than on CPU convolutions stay.

    Example:
        >>> def convolve(images, kernel):
        ...     return jax.lax.conv(images, kernel, (1, 1), "SAME")
        >>> images, kernel = jnp.ones((1, 1, 3, 3)), jnp.ones((1, 1, 3, 3))
        >>> as_matrix_products(convolve)(images, kernel)[0, 0].astype(int).tolist()
        [[4, 6, 4], [6, 9, 6], [4, 6, 4]]
    """
    cpu = (backend or jax.default_backend()) == "cpu"
    return _evaluated_by(function, _product_rule if cpu else _bound)


def _evaluated_by(function: Callable[..., Any], rule: "Rule") -> Callable[..., Any]:
    def evaluated(*arguments):
        closed, shapes = jax.make_jaxpr(function, return_shape=True)(*arguments)
        leaves = jax.tree.leaves(arguments)
        results = _evaluated(closed.jaxpr, closed.consts, leaves, rule, ("custom_jvp_call",))
        return jax.tree.unflatten(jax.tree.structure(shapes), results)

    return evaluated


def _product_rule(jaxpr, equation, known: Mapping[Any, Any]) -> Sequence[Any]:
    options = equation.params
    planar = equation.primitive.name == "conv_general_dilated" and equation.invars[0].aval.ndim == 4
    if not planar or options["feature_group_count"] > 1 or options["batch_group_count"] > 1:
        return _bound(jaxpr, equation, known)
    images, kernel = (_value(var, known) for var in equation.invars)
    return [_convolved_by_products(images, kernel, options)]


def _convolved_by_products(images: Any, kernel: Any, options: Mapping[str, Any]) -> Any:
    """Convolve as patches [N, H, W, h w in] times the kernel [h w in, out]."""
    layout = options["dimension_numbers"]
    to_last = [(spec[0], *spec[2:], spec[1]) for spec in (layout.lhs_spec, layout.out_spec)]
    out, into, rows, columns = layout.rhs_spec
    kernel = kernel.transpose(rows, columns, into, out)
    dilated = [
        (low, high, step - 1)
        for (low, high), step in zip(options["padding"], options["lhs_dilation"], strict=True)
    ]
    zero = jnp.zeros((), images.dtype)
    padded = lax.pad(images.transpose(to_last[0]), zero, [(0, 0, 0), *dilated, (0, 0, 0)])
    strides, gaps = options["window_strides"], options["rhs_dilation"]
    reach = [gap * (size - 1) for gap, size in zip(gaps, kernel.shape[:2], strict=True)]
    ends = [max(n - r, 0) for n, r in zip(padded.shape[1:3], reach, strict=True)]
    patches = [
        padded[:, i : i + ends[0] : strides[0], j : j + ends[1] : strides[1]]
        for i in range(0, reach[0] + 1, gaps[0])
        for j in range(0, reach[1] + 1, gaps[1])
    ]
    result = lax.dot_general(
        jnp.concatenate(patches, axis=-1),
        kernel.reshape(-1, kernel.shape[-1]),
        (((3,), (0,)), ((), ())),
        precision=options["precision"],
        preferred_element_type=options["preferred_element_type"],
    )
    return result.transpose(np.argsort(to_last[1]))


Rule = Callable[[Any, Any, Mapping[Any, Any]], Sequence[Any]]
"""`(program, equation, values of its variables) -> results` of one equation."""


def _evaluated(
    jaxpr, consts: Sequence[Any], arguments: Sequence[Any], rule: Rule, whole: tuple[str, ...] = ()
) -> list[Any]:
    """Evaluate a program by a rule, with all calls written out but for those named."""
    known = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *arguments], strict=True))
    for equation in jaxpr.eqns:
        inner = _called(equation)
        if inner is not None and equation.primitive.name not in whole:
            inputs = [_value(var, known) for var in equation.invars]
            results = _evaluated(*inner, inputs, rule, whole)
        else:
            results = rule(jaxpr, equation, known)
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


class Scaled(NamedTuple):
    """An array whose entries may be outside of the range of its type.

    Attributes:
        mantissa: the array, divided by a power of two.
        exponent: of that power, a whole number as a float scalar.
    """

    mantissa: Any
    exponent: Any


_CONTRACTIONS = ("dot_general", "conv_general_dilated")
_PRODUCTS = (*_CONTRACTIONS, "mul", "div")
_SUMS = ("add", "add_any", "sub", "max", "min", "concatenate", "pad", "select_n")
_COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")
_SINGLE = ("reshape", "transpose", "broadcast_in_dim", "squeeze", "slice", "dynamic_slice", "rev")
_SINGLE += ("split", "gather", "copy", "convert_element_type", "neg", "abs", "stop_gradient")
_SINGLE += ("reduce_sum", "reduce_max", "reduce_window_sum", "reduce_window_max")
_ZERO = -1e6


def scaled(function: Callable[..., Any], *arguments: Any) -> Scaled:
    """Evaluate a function of linear maps, maxima and sums without overflow or underflow.

    A power of two is taken out of what every matrix product and convolution returns, and carried
    along. Residual networks need it: shortcuts forbid to rescale their layers one by one.
    Made for sums of positive numbers: where sums cancel by more than the range, what is left is 0.

    Args:
        function: returns one array; where it does to products what is not positively homogeneous
            (e.g. exp), the result is NaN.
        *arguments: arrays.

    Example:
        >>> found = scaled(lambda x: (x @ x) @ (x @ x) + x, 1e18 * jnp.eye(2))
        >>> round(float(jnp.log10(found.mantissa[0, 0]) + found.exponent * jnp.log10(2.0)), 3)
        72.0
    """
    closed = jax.make_jaxpr(function)(*arguments)
    leaves = jax.tree.leaves(arguments)
    result = _evaluated(closed.jaxpr, closed.consts, leaves, _scaled_rule)[0]
    return result if isinstance(result, Scaled) else Scaled(result, jnp.zeros(()))


def _scaled_rule(jaxpr, equation, known: Mapping[Any, Any]) -> Sequence[Any]:
    """Evaluate one equation, of arrays as they are and of `Scaled` ones."""
    name = equation.primitive.name
    values = {v: _value(v, known) for v in equation.invars if not _is_literal(v)}
    if name not in _CONTRACTIONS and not any(isinstance(v, Scaled) for v in values.values()):
        return _bound(jaxpr, equation, values)
    for var, array in values.items():
        if not isinstance(array, Scaled) and jnp.issubdtype(array.dtype, jnp.inexact):
            # Parameters are in the range of their type, but the small ones may be added to smaller.
            plain = Scaled(array, jnp.zeros(()))
            values[var] = plain if name in _PRODUCTS else _normalised(*plain)
    held = {v: value.exponent for v, value in values.items() if isinstance(value, Scaled)}
    arrays = {v: value.mantissa if v in held else value for v, value in values.items()}
    if name in _PRODUCTS:
        first, second = (0 if _is_literal(v) else held[v] for v in equation.invars)
        exponent = first - second if name == "div" else first + second
    elif name in (*_SUMS, *_COMPARISONS) and not any(map(_is_fixed, equation.invars)):
        exponent = functools.reduce(jnp.maximum, held.values())
        if len(held) > 1:
            arrays |= {v: arrays[v] * jnp.exp2(own - exponent) for v, own in held.items()}
    elif name in _SINGLE:
        (exponent,) = held.values()
    else:
        return [jnp.full(v.aval.shape, jnp.nan, v.aval.dtype) for v in equation.outvars]
    results = _bound(jaxpr, equation, arrays)
    if name in _COMPARISONS:
        return results
    finish = _normalised if name in _CONTRACTIONS else Scaled
    return [finish(result, exponent) for result in results]


def _is_fixed(var) -> bool:
    """Return whether it is a number written into the program that would have to be rescaled."""
    return _is_literal(var) and bool(var.val != 0 and np.isfinite(var.val))


def _normalised(array: Any, exponent: Any) -> Scaled:
    largest = jnp.max(jnp.abs(array), initial=0)
    own = jnp.where(largest == 0, 0.0, jnp.ceil(jnp.log2(largest)))
    # What is zero must not decide about the exponent of a sum.
    return Scaled(array * jnp.exp2(-own), jnp.where(largest == 0, _ZERO, exponent + own))


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
