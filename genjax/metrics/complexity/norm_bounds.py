"""Norm bounds: Rademacher complexities from norms of weights, and the bounds they give.

The `log_` measures are the terms that the papers are quoted for, without constants and logarithms:
they order networks and guarantee nothing. The `_bound` measures keep every constant, read biases as
weights of an input that is always one, and pay for having chosen norms and margin after the data:
they hold, for dense ReLU networks, and are vacuous at ordinary sizes.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import keystr

from genjax.metrics.complexity.contract import Measure, Refusal, Result, refuse_where
from genjax.metrics.complexity.layers import as_matrix
from genjax.metrics.complexity.spectral import largest_singular_values
from genjax.metrics.complexity.workspace import Workspace
from genjax.types import Params

DELTA = 0.05

_GOLOWICH = "Golowich, Rakhlin and Shamir, Size-Independent Sample Complexity, COLT 2018"
_BARTLETT = "Bartlett, Foster and Telgarsky, Spectrally-normalized Margin Bounds, NeurIPS 2017"
_CONDITIONS = (
    "with probability 0.95 over n independent examples, n those measured; dense layers with ReLU "
    "between them; the union over a grid of {union} is paid for, so that they may depend on the "
    "examples"
)


def _squared_lengths(workspace: Workspace) -> Any:
    images = jnp.asarray(workspace.data.train.images)
    return jnp.sum(images.reshape(images.shape[0], -1) ** 2, axis=1)


def _refused(workspace: Workspace, zero: Any) -> dict[Refusal, Any]:
    return {Refusal.MARGIN: workspace["margin"] <= 0, Refusal.ZERO_LAYER: zero}


def _positive(values: Any) -> Any:
    """Return values with 1 where they are not positive, for logarithms that are refused anyway."""
    return jnp.where(values > 0, values, 1.0)


def _log_golowich(workspace: Workspace) -> Result:
    norms, depth = workspace["frobenius_norms"], len(workspace.layers)
    radius = jnp.sqrt(jnp.max(_squared_lengths(workspace)))
    value = (
        jnp.sum(jnp.log(_positive(norms)))
        + math.log(math.sqrt(2 * depth * math.log(2)) + 1)
        + jnp.log(_positive(radius))
        - jnp.log(_positive(workspace["margin"]))
        - 0.5 * math.log(workspace.train_size)
    )
    return refuse_where(_refused(workspace, jnp.any(norms == 0)), value)


def _row_norm_sums(matrices: list[Any]) -> Any:
    """Return ||A^T||_{2,1} of each matrix [outputs, rest]: the sum of its rows' norms."""
    return jnp.stack([jnp.sum(jnp.linalg.norm(matrix, axis=1)) for matrix in matrices])


def _log_bartlett(workspace: Workspace) -> Result:
    pairs = zip(workspace.kernels, workspace.init_kernels, workspace.layers, strict=True)
    moved = _row_norm_sums([as_matrix(end - start, layer) for end, start, layer in pairs])
    norms = workspace["spectral_norms"]
    safe = _positive(norms)
    spread = jnp.sum((moved / safe) ** (2 / 3))
    length = jnp.sqrt(jnp.mean(_squared_lengths(workspace)))
    value = (
        jnp.sum(jnp.log(safe))
        + 1.5 * jnp.log(_positive(spread))
        + jnp.log(_positive(length))
        - jnp.log(_positive(workspace["margin"]))
        - 0.5 * math.log(workspace.train_size)
    )
    refused = _refused(workspace, jnp.any(norms == 0))
    return refuse_where({**refused, Refusal.DEGENERATE: spread == 0}, value)


def with_biases(params: Params, layers: Any) -> list[Any]:
    """Return the matrices [outputs, inputs] of a dense network that has its biases as inputs.

    A hidden layer is [[W, b], [0, 1]], the last one [W, b]: on images with a one appended, and
    with ReLU(1) = 1, they compute the network without biases.

    Example:
        >>> from genjax.metrics.complexity.layers import WeightLayer
        >>> layer = WeightLayer("['out']['kernel']", 1, "dense", (2, 1), 1, (1, 1), (1, 1))
        >>> params = {"out": {"bias": jnp.array([3.0]), "kernel": jnp.array([[1.0], [2.0]])}}
        >>> with_biases(params, (layer,))[0].tolist()
        [[1.0, 2.0, 3.0]]
    """
    leaves = {keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params)}
    found = []
    for index, layer in enumerate(layers):
        weights = as_matrix(leaves[layer.path], layer)
        bias = leaves.get(layer.path.replace("['kernel']", "['bias']"))
        bias = jnp.zeros(weights.shape[0], weights.dtype) if bias is None else bias
        matrix = jnp.concatenate([weights, bias[:, None]], axis=1)
        if index < len(layers) - 1:
            one = jnp.zeros((1, matrix.shape[1]), matrix.dtype).at[0, -1].set(1.0)
            matrix = jnp.concatenate([matrix, one])
        found.append(matrix)
    return found


def grid_above(values: Any, per_octave: int) -> tuple[Any, Any]:
    """Return the next grid values 2^(j / per_octave) above, and ln(1 / weight) of each j.

    The weights 2 / (3 (|j| + 1) (|j| + 2)) sum to 1 over all integers j, so that a statement for
    every j with its share of the confidence holds for all of them at once.

    Example:
        >>> above, price = grid_above(jnp.array([3.0]), per_octave=1)
        >>> above.tolist(), round(float(price[0]), 4)  # j = 2, ln(3 * 3 * 4 / 2)
        ([4.0], 2.8904)
    """
    # Values below the smallest step still lie under it.
    j = jnp.ceil(per_octave * jnp.log2(jnp.maximum(values, 2.0**-40)))
    return 2.0 ** (j / per_octave), jnp.log(1.5 * (jnp.abs(j) + 1) * (jnp.abs(j) + 2))


def _deviation(price: Any, count: int) -> Any:
    """Return 3 sqrt(ln(2 / delta') / (2n)) where delta' is delta times exp(-price)."""
    return 3 * jnp.sqrt((math.log(2 / DELTA) + price) / (2 * count))


def _bound(workspace: Workspace, complexity: Any, price: Any, zero: Any) -> Result:
    """Return R_gamma + 2 Rad + deviation, where it is defined."""
    margins, gamma = workspace["margins"], workspace["margin"]
    share = jnp.mean(margins <= gamma)
    largest = float(np.finfo(np.float32).max)
    bound = share + 2 * complexity + _deviation(price, margins.shape[0])
    bound = jnp.minimum(bound, largest)
    return refuse_where(
        _refused(workspace, zero), bound, vacuous=bound >= 1, margin_error=share, price=price
    )


def _dense(workspace: Workspace) -> bool:
    return all(layer.kind == "dense" and layer.inputs == 1 for layer in workspace.layers)


def _not_dense() -> Result:
    return refuse_where({Refusal.DEGENERATE: True}, jnp.nan, vacuous=True)


def _golowich_bound(workspace: Workspace) -> Result:
    if not _dense(workspace):
        return _not_dense()
    matrices = with_biases(workspace.trained.params, workspace.layers)
    count, depth = workspace["margins"].shape[0], len(matrices)
    log_product = sum(jnp.log(_positive(jnp.linalg.norm(matrix))) for matrix in matrices)
    ratio = jnp.exp(log_product) / _positive(workspace["margin"])
    ratio, price = grid_above(ratio, per_octave=8)
    root = jnp.sqrt(jnp.sum(_squared_lengths(workspace) + 1))
    real_valued = ratio * (math.sqrt(2 * depth * math.log(2)) + 1) * root / count
    zero = jnp.linalg.norm(matrices[-1]) == 0
    return _bound(workspace, 2 * workspace.network.num_classes * real_valued, price, zero)


def _bartlett_bound(workspace: Workspace) -> Result:
    if not _dense(workspace):
        return _not_dense()
    matrices = with_biases(workspace.trained.params, workspace.layers)
    starts = with_biases(workspace.trained.init_params, workspace.layers)
    count, depth = workspace["margins"].shape[0], len(matrices)
    norms, first = grid_above(largest_singular_values([m[None] for m in matrices]), depth)
    moved = _row_norm_sums([end - start for end, start in zip(matrices, starts, strict=True)])
    moved, second = grid_above(moved, depth)
    inverse, third = grid_above(1 / _positive(workspace["margin"]), depth)
    width = max(size for matrix in matrices for size in matrix.shape)
    root = jnp.sqrt(jnp.sum(_squared_lengths(workspace) + 1))
    log_cover = (
        jnp.sum(jnp.log(norms))
        + 1.5 * jnp.log(jnp.sum((moved / norms) ** (2 / 3)))
        + jnp.log(2 * inverse * root * math.sqrt(math.log(2 * width**2)))
    )
    scale = 18 * math.log(count) / count
    complexity = 4 / count**1.5 + scale * jnp.exp(log_cover)
    price = jnp.sum(first) + jnp.sum(second) + third
    zero = jnp.linalg.norm(matrices[-1]) == 0
    return _bound(workspace, complexity, price, zero)


MEASURES = (
    Measure(
        name="log_golowich",
        family="norm_bounds",
        formula="ln[ prod_i ||W_i||_F (sqrt(2 d ln 2) + 1) B / (gamma sqrt(m)) ]: kernels of d "
        "layers, B the largest norm of a measured image, gamma the 10th percentile of the margins "
        "(Theorem 1)",
        source=_GOLOWICH,
        compute=_log_golowich,
        needs=("margin", "frobenius_norms"),
        requires=("chain", "train"),
    ),
    Measure(
        name="log_bartlett_foster_telgarsky",
        family="norm_bounds",
        formula="ln[ prod_i ||W_i||_2 (sum_i (||(W_i - W_i^0)^T||_{2,1} / ||W_i||_2)^(2/3))^(3/2) "
        "X / (gamma sqrt(m)) ]: kernels as matrices [outputs, rest], ||A^T||_{2,1} the sum of the "
        "norms of the rows of A, X the root mean squared norm of the measured images (Theorem 1.1)",
        source=_BARTLETT,
        compute=_log_bartlett,
        needs=("margin", "spectral_norms"),
        requires=("chain", "train", "init"),
    ),
    Measure(
        name="golowich_bound",
        family="norm_bounds",
        formula="R_gamma + 2 (2 K / gamma) prod_i ||W_i||_F (sqrt(2 d ln 2) + 1) sqrt(sum_i "
        "||x_i||^2) / n + 3 sqrt(ln(2 / delta') / (2n)), delta = 0.05: Theorem 1, one network of "
        "real output per class (contraction for vectors, Maurer 2016); W_i with biases, prod / "
        "gamma rounded up to a power of 2^(1/8)",
        source=_GOLOWICH,
        compute=_golowich_bound,
        needs=("margin", "margins"),
        requires=("chain", "train"),
        conditions=_CONDITIONS.format(union="the product of norms over the margin"),
    ),
    Measure(
        name="bartlett_foster_telgarsky_bound",
        family="norm_bounds",
        formula="R_gamma + 2 [4 / n^(3/2) + (18 ln n / n) (2 / gamma) ||X||_F sqrt(ln(2 w^2)) "
        "prod_i s_i (sum_i (b_i / s_i)^(2/3))^(3/2)] + 3 sqrt(ln(2 / delta') / (2n)), delta = "
        "0.05: s_i = ||W_i||_2, b_i = ||(W_i - W_i^0)^T||_{2,1}, both with biases, w the largest "
        "width (covering number of Theorem 3.3, Dudley's entropy integral)",
        source=_BARTLETT,
        compute=_bartlett_bound,
        needs=("margin", "margins"),
        requires=("chain", "train", "init"),
        conditions=_CONDITIONS.format(union="norms, distances and margins")
        + "; the initial weights do not depend on the examples",
    ),
)
