"""Singular values of weight layers as linear maps, and ranks read off them. Host, float64."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import entr

from genjax.metrics.complexity.layers import WeightLayer, as_matrix


class Ranks(NamedTuple):
    """Ranks of a linear map of `inputs` numbers to `outputs` numbers.

    Attributes:
        inputs: numbers that go in; of a convolution height x width x channels.
        outputs: numbers that come out.
        rank: singular values above `size * eps * largest`, the size that of the largest side of
            the matrices that are decomposed and eps of float32, in which weights are stored; NaN
            where singular values are not known.
        stable_rank: `||W||_F^2 / ||W||_2^2`; NaN likewise.
        effective_rank: `exp(H(s / sum s))` of the singular values (Roy and Vetterli, 2007).
    """

    inputs: int
    outputs: int
    rank: float
    stable_rank: float
    effective_rank: float


def operator_ranks(kernel: Any, layer: WeightLayer) -> Ranks:
    """Return the ranks of a layer as a map of all that it reads.

    A convolution is taken at the size of the images that it reads, with periodic borders, where
    the singular values are exact by the Fourier transform (Sedghi, Gupta and Long, 2019), strides
    included if they divide the image. With zeros around the image they differ at the border. A
    convolution in groups of several channels, or with strides that do not divide, has NaN.

    Args:
        kernel: `[h, w, in, out]`, or inputs first for a dense layer.
        layer: what `genjax.metrics.complexity.layers.weight_layers` says of it.

    Example:
        >>> layer = WeightLayer("", 0, "dense", (3, 2), 1, (1, 1), (1, 1))
        >>> operator_ranks(np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]), layer)[:3]
        (3, 2, 2.0)
    """
    values = singular_values(kernel, layer)
    inputs, outputs = _sizes(layer)
    if values is None:
        return Ranks(inputs, outputs, float("nan"), float("nan"), float("nan"))
    largest = values.max(initial=0.0)
    if largest == 0:
        return Ranks(inputs, outputs, 0.0, 0.0, 0.0)
    tolerance = _largest_side(layer) * float(np.finfo(np.float32).eps) * largest
    scaled = values / largest
    return Ranks(
        inputs,
        outputs,
        rank=float(np.sum(values > tolerance)),
        stable_rank=float(np.sum(scaled**2)),
        effective_rank=float(np.exp(entr(values / values.sum()).sum())),
    )


def singular_values(kernel: Any, layer: WeightLayer) -> Float[np.ndarray, " values"] | None:
    """Return all singular values of a layer, see `operator_ranks`; None where they are not known.

    Example:
        >>> layer = WeightLayer("", 0, "convolution", (1, 1, 1, 1), 3, (2, 2), (1, 1))
        >>> singular_values(np.full((1, 1, 1, 1), 3.0), layer).tolist()
        [3.0, 3.0, 3.0, 3.0]
    """
    weights = np.asarray(kernel, np.float64)
    if layer.kind == "dense":
        return np.linalg.svd(np.asarray(as_matrix(weights, layer)), compute_uv=False)
    (height, width), (down, across) = layer.spatial, layer.strides
    if layer.kind == "grouped" or height % down or width % across:
        return None
    folded = np.zeros((height, width, *weights.shape[2:]))
    rows, columns = np.indices(weights.shape[:2])
    # Taps that meet the same pixel of a periodic image add up.
    np.add.at(folded, (rows % height, columns % width), weights)
    blocks = np.fft.fft2(folded, axes=(0, 1))
    if layer.kind == "depthwise":  # a block of one input and one output per channel
        blocks = np.moveaxis(blocks[..., 0, :], -1, 0)[..., None, None]
    else:
        blocks = blocks[None]
    # Of strides s x t those s t frequencies meet that look alike on every s-th and t-th pixel.
    shape = (len(blocks), down, height // down, across, width // across, *blocks.shape[3:])
    joined = blocks.reshape(shape).transpose(0, 2, 4, 1, 3, 5, 6)
    joined = joined.reshape(-1, down * across * shape[5], shape[6]) / np.sqrt(down * across)
    return np.linalg.svd(joined, compute_uv=False).ravel()


def _sizes(layer: WeightLayer) -> tuple[int, int]:
    shape = layer.shape
    if layer.kind == "dense":
        return int(np.prod(shape[: layer.inputs])), int(np.prod(shape[layer.inputs :]))
    pixels = int(np.prod(layer.spatial))
    kept = int(np.prod([-(-n // s) for n, s in zip(layer.spatial, layer.strides, strict=True)]))
    # A grouped kernel says how many channels one group reads, not how many there are.
    channels = shape[3] if layer.kind == "depthwise" else shape[2]
    return pixels * channels, kept * shape[3]


def _largest_side(layer: WeightLayer) -> int:
    if layer.kind == "dense":
        return max(_sizes(layer))
    aliases = int(np.prod(layer.strides))
    return aliases if layer.kind == "depthwise" else max(aliases * layer.shape[2], layer.shape[3])
