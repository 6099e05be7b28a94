"""Midranks, correlations and residuals of rows with multiplicities. Host arithmetic in float64.

A bootstrap sample is its multiplicities `[draw, network]`: nothing is repeated and no column is
sorted again. Everything here is `[draw, column, network]`; a whole table is one draw of ones.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

Host = np.ndarray
# Ranks that differ in one swap differ by more than this share of their norm, up to 10^6 networks;
# what is less is rounding.
NOTHING = 1e-10


class Places(NamedTuple):
    """Where a column's values stand when sorted, once for all draws.

    Attributes:
        order: the networks from the smallest value to the largest.
        below: of each network, how many values are smaller.
        up_to: of each network, how many values are smaller or equal.
    """

    order: Int[Host, " network"]
    below: Int[Host, " network"]
    up_to: Int[Host, " network"]


def places(column: Float[Host, " network"]) -> Places:
    """Sort a column and find its ties.

    Example:
        >>> import numpy as np
        >>> found = places(np.array([2.0, 1.0, 2.0]))
        >>> found.below.tolist(), found.up_to.tolist()
        ([1, 0, 1], [3, 1, 3])
    """
    order = np.argsort(column, kind="stable")
    ordered = column[order]
    below = np.searchsorted(ordered, column, side="left")
    return Places(order, below, np.searchsorted(ordered, column, side="right"))


def centred_midranks(
    sorted_places: Places, weights: Float[Host, "draw network"]
) -> Float[Host, "draw network"]:
    """Midranks of a column in every draw, less their mean.

    With W the sum of the multiplicities w, the midrank is (W_{<} + W_{<=} + 1) / 2 and the mean of
    all midranks (W + 1) / 2. Networks outside the draw get the rank that they would have in it.
    All values are exact multiples of one half.

    Args:
        sorted_places: of the column.
        weights: multiplicity of each network in each draw, whole numbers.

    Example:
        >>> import numpy as np
        >>> column = np.array([2.0, 1.0, 2.0])
        >>> centred_midranks(places(column), np.array([[1.0, 1.0, 1.0], [0.0, 3.0, 1.0]])).tolist()
        [[0.5, -1.0, 0.5], [1.5, -0.5, 1.5]]
    """
    sums = np.zeros((len(weights), weights.shape[1] + 1))
    np.cumsum(np.take(weights, sorted_places.order, axis=1), axis=1, out=sums[:, 1:])
    ranks = np.take(sums, sorted_places.below, axis=1)
    ranks += np.take(sums, sorted_places.up_to, axis=1)
    ranks -= sums[:, -1:]
    ranks /= 2
    return ranks


def centred_values(
    column: Float[Host, " network"], weights: Float[Host, "draw network"]
) -> Float[Host, "draw network"]:
    """Values of a column less their mean, in every draw; largest size 1, exactly 0 if constant.

    Example:
        >>> import numpy as np
        >>> values = centred_values(np.array([0.1, 0.1, 0.4]), np.array([[1.0, 1, 1], [1, 2, 0]]))
        >>> values.round(6).tolist()
        [[-0.5, -0.5, 1.0], [0.0, 0.0, 0.0]]
    """
    present = weights > 0
    # A power of two: no digit of a column far from 0 is lost.
    column = np.ldexp(column, -np.frexp(np.abs(column).max())[1])
    means = weights @ column / np.maximum(weights.sum(1), 1)
    # Outside the draw a value may be so large that its square would spoil sums even times 0.
    values = np.where(present, column - means[:, None], 0)
    low = np.min(np.broadcast_to(column, weights.shape), axis=1, where=present, initial=np.inf)
    high = np.max(np.broadcast_to(column, weights.shape), axis=1, where=present, initial=-np.inf)
    size = np.abs(values).max(1)
    scale = np.where((low < high) & (size > 0), size, np.inf)
    return values / scale[:, None] + 0.0


def norms(columns: Float[Host, "draw column network"]) -> Float[Host, "draw column"]:
    """Euclidean norms over networks.

    Example:
        >>> import numpy as np
        >>> norms(np.array([[[3.0, 4.0]]])).tolist()
        [[5.0]]
    """
    return np.sqrt(np.einsum("dcn,dcn->dc", columns, columns))


def correlate(
    columns: Float[Host, "draw column network"],
    least: Float[Host, "draw column"] | None = None,
) -> Float[Host, "draw others"]:
    """Cosine between the first column and each of the others.

    Args:
        columns: centred, times the root of the multiplicities.
        least: a column whose norm is not larger than this has no correlation.

    Returns:
        [D, C - 1]; NaN where either column has none.

    Example:
        >>> import numpy as np
        >>> correlate(np.array([[[1.0, -1.0], [-2.0, 2.0], [0.0, 0.0]]])).round(12).tolist()
        [[-1.0, nan]]
    """
    sizes = norms(columns)
    sizes[sizes <= (0 if least is None else least)] = np.nan
    products = np.matmul(columns[:, 1:], columns[:, 0, :, None])[..., 0]
    return np.clip(products / sizes[:, 1:] / sizes[:, :1], -1, 1)


def residuals(
    columns: Float[Host, "draw column network"], design: Float[Host, "draw control network"]
) -> Float[Host, "draw column network"]:
    """What least squares on the design leaves of every column.

    The design is scaled to unit columns; directions whose singular value is below `NOTHING` times
    the largest one are left out, so that controls may repeat each other or be constant.

    Args:
        columns: centred, times the root of the multiplicities.
        design: likewise.

    Example:
        >>> import numpy as np
        >>> design = np.array([[[1.0, 0.0, -1.0], [2.0, 0.0, -2.0]]])
        >>> residuals(np.array([[[2.0, -1.0, -1.0]]]), design).round(12).tolist()
        [[[0.5, -1.0, 0.5]]]
    """
    if design.shape[1] == 0:
        return columns
    sizes = norms(design)[..., None]
    unit = design / np.where(sizes > 0, sizes, np.inf)
    # The singular vectors of the small triangle cost less than those of the design itself.
    tall, triangle = np.linalg.qr(unit.transpose(0, 2, 1))
    turned, values, _ = np.linalg.svd(triangle, full_matrices=False)
    turned *= (values > NOTHING * values[:, :1])[:, None]
    basis = tall @ turned
    return columns - (columns @ basis) @ basis.transpose(0, 2, 1)


def rank_correlations(
    columns: list[Places], design: list[Places], weights: Float[Host, "draw network"]
) -> tuple[Float[Host, "draw others"], Float[Host, "draw others"]]:
    """Spearman and partial Spearman between the first column and the others, in every draw.

    Example:
        >>> import numpy as np
        >>> up, bend = places(np.array([1.0, 2.0, 3.0])), places(np.array([1.0, 3.0, 2.0]))
        >>> both = rank_correlations([up, bend], [], np.ones((1, 3)))
        >>> [found.round(6).tolist() for found in both]
        [[[0.5]], [[0.5]]]
    """
    root = np.sqrt(weights)
    ranks = _stack(columns, weights, root)
    left = residuals(ranks, _stack(design, weights, root))
    return correlate(ranks), correlate(left, NOTHING * norms(ranks))


def _stack(columns: list[Places], weights: Host, root: Host) -> Host:
    """Centred midranks times the root of the weights, [D, C, N]."""
    stacked = np.empty((len(weights), len(columns), weights.shape[1]))
    for k, column in enumerate(columns):
        np.multiply(centred_midranks(column, weights), root, out=stacked[:, k])
    return stacked
