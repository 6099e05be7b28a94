"""The weight layers of any network, read off its program.

Norms and spectra need to know which arrays are the weights of linear maps, in which order they are
applied, and on which inputs. Neither the names nor the shapes of a parameter tree tell; the traced
program does, for our networks and for anybody's function.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import extend
from jax.tree_util import keystr

from genjax.models import Network
from genjax.types import Params

_MATRIX_PRODUCTS = ("dot_general", "conv_general_dilated")


class WeightLayer(NamedTuple):
    """One linear map of a network.

    Attributes:
        path: of its kernel in the parameter tree, e.g. `['dense1']['kernel']`.
        leaf: its position among the leaves of the tree.
        kind: `dense`, `convolution`, `depthwise` (one filter per channel) or `grouped`.
        shape: of the kernel; a convolution is [h, w, in, out], a dense layer has its inputs first.
        inputs: number of leading axes of a dense kernel that are summed over.
        spatial: (height, width) of the images it reads; (1, 1) for a dense layer.
        strides: of a convolution.
        axes: order in which the axes of the stored kernel give `shape`; empty where they do.
    """

    path: str
    leaf: int
    kind: str
    shape: tuple[int, ...]
    inputs: int
    spatial: tuple[int, int]
    strides: tuple[int, int]
    axes: tuple[int, ...] = ()


def weight_layers(network: Network, params: Params) -> tuple[WeightLayer, ...]:
    """Return the weight layers in the order in which the network applies them.

    Kernels of convolutions are taken as [h, w, in, out] wherever the program reads another layout
    directly from the parameters; one that it rearranges first must be stored in that layout.

    A layer is a leaf of `params` that the program multiplies by something that depends on the
    images: a matrix product, a convolution, or a depthwise convolution. Biases, scales of
    normalisation layers and embeddings that are only added are no layers. A kernel that is applied
    twice is one layer, where it first stands.

    Args:
        network: any `Network`.
        params: its parameters (or shapes of them), without a network axis.

    Example:
        >>> from genjax import models
        >>> net = models.create("mlp", image_shape=(8, 8, 1), num_classes=10, widths=(4,))
        >>> params = jax.eval_shape(lambda k: net.fold(*net.init(k)), jax.random.key(0))
        >>> [(layer.path, layer.shape) for layer in weight_layers(net, params)]
        [("['dense1']['kernel']", (64, 4)), ("['output']['kernel']", (4, 10))]
    """
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), params)
    image = jax.ShapeDtypeStruct((1, *network.image_shape), jnp.float32)
    closed = jax.make_jaxpr(network.apply)(shapes, image)
    leaves, _ = jax.tree_util.tree_flatten_with_path(shapes)
    origins: dict[Any, Any] = {
        var: i if i < len(leaves) else _IMAGES for i, var in enumerate(closed.jaxpr.invars)
    }
    found: dict[int, WeightLayer] = {}
    _walk(closed.jaxpr, origins, leaves, found)
    return tuple(found.values())


_IMAGES = -1
"""Origin of what depends on the images; a leaf's index is that of what depends on it alone."""


def _walk(jaxpr, origins, leaves, found) -> None:
    for equation in jaxpr.eqns:
        inputs = [_origin(var, origins) for var in equation.invars]
        inner = _inner_jaxpr(equation)
        if inner is not None and len(inner.invars) == len(equation.invars):
            below = dict(zip(inner.invars, inputs, strict=True))
            _walk(inner, below, leaves, found)
            results = [_origin(var, below) for var in inner.outvars]
        else:
            _note_layer(equation, inputs, leaves, found)
            results = [_joined(inputs)] * len(equation.outvars)
        origins.update(zip(equation.outvars, results, strict=True))


def _inner_jaxpr(equation):
    """Return the program inside a call that is executed once, or None."""
    for name in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        inner = equation.params.get(name)
        if inner is not None and equation.primitive.name not in ("scan", "while"):
            return getattr(inner, "jaxpr", inner)
    return None


def _origin(var, origins):
    return None if isinstance(var, extend.core.Literal) else origins.get(var)


def _joined(inputs):
    """Return what a result depends on: images before weights, one weight, or nothing."""
    kinds = {origin for origin in inputs if origin is not None}
    if not kinds:
        return None
    weights = kinds - {_IMAGES}
    return _IMAGES if _IMAGES in kinds or len(weights) > 1 else weights.pop()


def _note_layer(equation, inputs, leaves, found) -> None:
    name = equation.primitive.name
    product = name in _MATRIX_PRODUCTS
    if not (product or name == "mul") or len(inputs) != 2 or _IMAGES not in inputs:
        return
    own = next((i for i, origin in enumerate(inputs) if origin not in (None, _IMAGES)), None)
    if own is None or inputs[own] in found:
        return
    index, other = inputs[own], equation.invars[1 - own].aval.shape
    path, leaf = leaves[index]
    if not product:  # a depthwise convolution written as a sum of shifted products
        if leaf.ndim == 4 and leaf.shape[2] == 1 and len(other) == 4:
            found[index] = WeightLayer(
                keystr(path), index, "depthwise", leaf.shape, 2, tuple(other[1:3]), (1, 1)
            )
        return
    if leaf.ndim == 4 and name == "conv_general_dilated":
        found[index] = _convolution(equation, index, path, leaf, other, own)
    elif leaf.ndim >= 2:
        summed = _summed_axes(equation, own, leaf)
        found[index] = WeightLayer(keystr(path), index, "dense", leaf.shape, summed, (1, 1), (1, 1))


def _convolution(equation, index, path, leaf, other, own) -> WeightLayer:
    numbers = equation.params["dimension_numbers"]
    spec = numbers.lhs_spec if own == 1 else numbers.rhs_spec
    spatial = (other[spec[2]], other[spec[3]])
    kernel = tuple(equation.invars[own].aval.shape)
    strides, axes, shape = tuple(equation.params["window_strides"]), (), tuple(leaf.shape)
    if own == 1 and kernel == shape:  # the program says which axis is which
        out, into, rows, columns = numbers.rhs_spec
        axes = (rows, columns, into, out)
        shape = tuple(leaf.shape[axis] for axis in axes)
    elif sorted(kernel) != sorted(shape):
        # A window that computes neighbours together moves by more than the layer's own stride.
        strides = (strides[0], strides[0])
    groups = equation.params["feature_group_count"]
    kind = "convolution" if groups == 1 else "grouped"
    if groups > 1 and groups == other[spec[1]] == shape[3]:
        kind = "depthwise"
    axes = () if axes == (0, 1, 2, 3) else axes
    return WeightLayer(keystr(path), index, kind, shape, 3, spatial, strides, axes)


def _summed_axes(equation, own, leaf) -> int:
    """Return how many leading axes of a kernel are inputs; Flax has inputs first."""
    axes = equation.params["dimension_numbers"][0][own]
    same = tuple(equation.invars[own].aval.shape) == tuple(leaf.shape)
    leading = sorted(axes) == list(range(len(axes)))
    return len(axes) if same and leading else leaf.ndim - 1


def kernels(layers: tuple[WeightLayer, ...], params: Params) -> list[Any]:
    """Return the kernels of the layers, in their order; convolutions are [h, w, in, out]."""
    leaves = jax.tree.leaves(params)
    return [
        leaves[layer.leaf].transpose(layer.axes) if layer.axes else leaves[layer.leaf]
        for layer in layers
    ]


def as_matrix(kernel: Any, layer: WeightLayer) -> Any:
    """Return a kernel as a matrix [outputs, rest].

    Of a convolution `rest` runs over window and input channels: the reshaped-matrix version. A
    depthwise kernel [h, w, 1, C] becomes [C, h w].

    Example:
        >>> layer = WeightLayer("", 0, "convolution", (3, 3, 2, 5), 3, (8, 8), (1, 1))
        >>> as_matrix(jnp.ones((3, 3, 2, 5)), layer).shape
        (5, 18)
    """
    if layer.kind != "dense":
        return kernel.reshape(-1, kernel.shape[-1]).T
    rows = math.prod(kernel.shape[: layer.inputs])
    return kernel.reshape(rows, -1).T


def fourier_blocks(kernel: Any, layer: WeightLayer) -> Any:
    """Return the blocks [F, in, out] whose singular values are those of the circular convolution.

    With periodic borders and stride 1 a convolution of H x W images is block-diagonal in the
    Fourier basis (Sedghi, Gupta and Long, The Singular Values of Convolutional Layers, 2019). Real
    kernels have conjugate pairs of blocks: half of them are enough for a maximum.

    Args:
        kernel: [h, w, in, out].
        layer: its layer; windows larger than the images are refused by the caller.

    Example:
        >>> layer = WeightLayer("", 0, "convolution", (1, 1, 1, 1), 3, (4, 4), (1, 1))
        >>> fourier_blocks(jnp.full((1, 1, 1, 1), 2.0), layer).shape
        (12, 1, 1)
    """
    height, width = (max(n, k) for n, k in zip(layer.spatial, layer.shape[:2], strict=True))
    blocks = jnp.fft.rfft2(kernel, s=(height, width), axes=(0, 1))
    return blocks.reshape(-1, *kernel.shape[2:])


def count_weights(layers: tuple[WeightLayer, ...]) -> int:
    """Return the number of weights in the kernels of the layers.

    Example:
        >>> count_weights((WeightLayer("", 0, "dense", (4, 5), 1, (1, 1), (1, 1)),))
        20
    """
    return int(sum(np.prod(layer.shape) for layer in layers))
