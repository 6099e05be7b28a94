"""Capacity: what can be said of an architecture without looking at its weights."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from genjax.errors import InvalidInputError
from genjax.metrics.complexity.contract import Measure, Result, value
from genjax.metrics.complexity.workspace import Workspace


def vc_bound(kernel_sizes: Sequence[int] | np.ndarray, pixels: int) -> float:
    """Return the bound on the VC dimension that the PGDL competition scored.

    `d + 2 d ln(22 d P) sum_i k_i` with d weight layers, k_i weights in the kernel of layer i
    (biases are not counted) and P pixels of an image. PGDL fixes P = 32^2, the size of CIFAR-10
    images, whatever the data. Computed in float64.

    Args:
        kernel_sizes: number of weights in the kernel of every layer, k_i.
        pixels: height times width of an image, without channels.

    Raises:
        InvalidInputError: no layer, an empty kernel or no pixel.

    Example:
        >>> round(vc_bound([6912, 589824, 8388608, 1280], pixels=32 * 32), 4)
        820213390.8528
    """
    sizes = [int(size) for size in kernel_sizes]
    if not sizes or min(sizes) < 1 or pixels < 1:
        raise InvalidInputError(
            f"vc_bound: found kernel_sizes {sizes} and {pixels} pixels; at least one layer, one "
            "weight per layer and one pixel are needed."
        )
    depth = len(sizes)
    return depth + 2 * depth * math.log(22 * depth * pixels) * sum(sizes)


def _parameters(workspace: Workspace) -> Result:
    count = sum(leaf.size for leaf in jax.tree.leaves(workspace.trained.params))
    return value(jnp.float32(count))


def _vc_dimension(workspace: Workspace) -> Result:
    height, width, _ = workspace.network.image_shape
    sizes = [math.prod(layer.shape) for layer in workspace.layers]
    return value(jnp.asarray(vc_bound(sizes, height * width), jnp.result_type(float)))


MEASURES = (
    Measure(
        name="parameters",
        family="capacity",
        formula="number of weights and biases, normalisation folded in (eq 20)",
        source="Jiang et al., Fantastic Generalization Measures, ICLR 2020",
        compute=_parameters,
    ),
    Measure(
        name="vc_dimension",
        family="capacity",
        formula="d + 2 d ln(22 d P) sum_i |K_i|: d weight layers with kernels of |K_i| weights, "
        "images of P pixels; the bound that the PGDL competition scored",
        source="Jiang et al., Predicting Generalization in Deep Learning, NeurIPS 2020",
        compute=_vc_dimension,
        requires=("layers",),
    ),
)
