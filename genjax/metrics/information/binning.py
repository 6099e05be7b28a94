"""Binned information of the layers of deterministic networks, and what it really measures.

A deterministic layer of continuous inputs has infinite mutual information with them. Bins make it
finite, and then it is the entropy of how examples fall into boxes: large where every example has a
box of its own, small where they cluster (Goldfeld et al., Estimating information flow in deep
neural networks, ICML 2019). It depends on the bins; it is no property of the network alone. Host,
float64, nats.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from genjax.errors import InvalidInputError, suggest
from genjax.metrics.information import discrete
from genjax.metrics.layers.checks import check_points

METHODS = ("equal_width", "quantile")


class BinnedInformation(NamedTuple):
    """Information of binned activations over the examples at hand, in nats.

    Attributes:
        input: I(X; bin T) = H(bin T) with X uniform over the examples.
        input_cap: log N, reached where every example has a box of its own.
        label: plug-in I(bin T; Y); NaN without labels. It equals H(Y) at the cap of `input`
            whatever the labels are: memory, not prediction.
        label_cap: H(Y) of the labels at hand; NaN without labels.
        boxes: how many boxes hold an example.
    """

    input: float
    input_cap: float
    label: float
    label_cap: float
    boxes: int


def bin_edges(points: Any, *, bins: int, method: str = "equal_width") -> Float[np.ndarray, " E"]:
    """Return the inner edges of bins that all units of a layer share.

    `equal_width` divides the range of the layer evenly (Shwartz-Ziv and Tishby 2017: tanh units in
    -1 ... 1, 30 bins), so units that vary little do not fill bins. `quantile` puts the edges at the
    layer's quantiles; edges that coincide, as at the zeros of a ReLU, become one.

    Args:
        points: activations `[N, D]`.
        bins: at least 1.
        method: one of `METHODS`.

    Returns:
        At most bins - 1 increasing numbers; none for a layer that is constant.

    Raises:
        InvalidInputError: no bin, or an unknown method.

    Example:
        >>> bin_edges([[0.0], [4.0]], bins=4).tolist()
        [1.0, 2.0, 3.0]
    """
    if bins < 1:
        raise InvalidInputError(f"bins: found {bins}; at least 1 is needed.")
    values = np.asarray(check_points(points)[0], np.float64)
    if method == "equal_width":
        edges = np.linspace(values.min(), values.max(), bins + 1)[1:-1]
    elif method == "quantile":
        edges = np.quantile(values, np.arange(1, bins) / bins)
    else:
        raise InvalidInputError(suggest("method", method, METHODS))
    # At or below the smallest value an edge divides nothing.
    return np.unique(edges[edges > values.min()])


def box_codes(points: Any, edges: Float[np.ndarray, " E"]) -> Int[np.ndarray, " N"]:
    """Number the boxes that examples fall into; a value at an edge belongs to the bin above.

    Args:
        points: activations `[N, D]`.
        edges: from `bin_edges`, also of other examples.

    Returns:
        0 ... boxes - 1, equal for examples whose D bins are all equal.

    Example:
        >>> box_codes([[0.0, 4.0], [0.5, 4.0], [4.0, 0.0]], np.array([2.0])).tolist()
        [0, 0, 1]
    """
    values = np.asarray(check_points(points)[0], np.float64)
    bins = np.searchsorted(edges, values, side="right").astype(np.int32)
    # One string of bytes per example: sorting these is faster than sorting rows.
    rows = np.ascontiguousarray(bins).view(np.dtype((np.void, 4 * bins.shape[1])))[:, 0]
    _, codes = np.unique(rows, return_inverse=True)
    return codes


def binned_information(
    points: Any, labels: Any = None, *, bins: int = 30, method: str = "equal_width"
) -> BinnedInformation:
    """Binned information of a layer with its inputs and with labels, in nats.

    `I(X; bin T) = H(bin T)` and `I(bin T; Y)`, plug-in over the N examples, which all differ by
    assumption. Both fall with fewer bins and grow to their caps with more. Corrections of the bias
    are left out: near the cap nothing can be corrected.

    Args:
        points: activations `[N, D]`.
        labels: `[N]`, or None.
        bins: of every unit.
        method: one of `METHODS`.

    Raises:
        InvalidInputError: as of `bin_edges`, or labels that do not fit.

    Example:
        >>> found = binned_information([[0.0], [0.1], [1.0], [1.1]], [0, 0, 1, 1], bins=2)
        >>> round(found.input, 4), round(found.label, 4), found.boxes
        (0.6931, 0.6931, 2)
    """
    points, labels = check_points(points, labels, min_classes=1)
    codes = box_codes(points, bin_edges(points, bins=bins, method=method))
    boxes = int(codes.max()) + 1
    label = label_cap = float("nan")
    if labels is not None:
        _, classes = np.unique(np.asarray(labels), return_inverse=True)
        table = discrete.joint_counts(
            codes, classes, num_first=boxes, num_second=int(classes.max()) + 1
        )
        label = float(discrete.mutual_information(table))
        label_cap = float(discrete.entropy(table.sum(axis=0)))
    return BinnedInformation(
        input=float(discrete.entropy(np.bincount(codes))),
        input_cap=float(np.log(len(codes))),
        label=label,
        label_cap=label_cap,
        boxes=boxes,
    )
