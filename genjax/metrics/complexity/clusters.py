"""Clusters of representations: are the classes apart in the activations of a layer?"""

from typing import Any

import jax
import jax.numpy as jnp

from genjax.metrics.complexity.contract import (
    Intermediate,
    Measure,
    Refusal,
    Result,
    refuse_where,
)
from genjax.metrics.complexity.workspace import Workspace, in_chunks
from genjax.models.network import FEATURES

_SOURCE = (
    "Natekar and Sharma, Representation Based Complexity Measures for Predicting Generalization in "
    "Deep Learning, 2020"
)
_GROUP = 120
_GROUPS = 10
_POOL = 4


def davies_bouldin(points: Any, labels: Any, num_classes: int) -> Any:
    """Return the Davies-Bouldin index of labelled points; smaller is better separated.

    `mean_i max_{j != i} (s_i + s_j) / ||c_i - c_j||`: c_i is the mean of class i, s_i the mean
    distance of its points from c_i. Classes without points do not count, and two classes of equal
    mean are no pair (as in scikit-learn). Where no pair is left the index is NaN, and not 0, which
    would be the best value of all (scikit-learn returns 0).

    Args:
        points: [N, D].
        labels: [N], in 0 ... num_classes - 1.
        num_classes: static.

    Example:
        >>> points = jnp.array([[0.0], [2.0], [9.0], [9.0]])
        >>> float(davies_bouldin(points, jnp.array([0, 0, 1, 1]), 3))
        0.125
    """
    # About the mean: distances between points far from the origin would round.
    points = points - jnp.mean(points, axis=0, keepdims=True)
    member = jax.nn.one_hot(labels, num_classes, dtype=points.dtype)
    counts = jnp.sum(member, axis=0)
    sums = jnp.matmul(member.T, points, precision="highest")
    centres = sums / jnp.maximum(counts, 1)[:, None]
    distances = jnp.linalg.norm(points - centres[labels], axis=-1)
    spreads = jnp.matmul(member.T, distances, precision="highest") / jnp.maximum(counts, 1)
    # One class after another: all differences at once would be C x C x D.
    apart = jax.lax.map(lambda c: jnp.linalg.norm(centres - c[None], axis=-1), centres)
    present = counts > 0
    # Means that differ by rounding are equal: of a network whose units are nearly all dead, say.
    rounding = 16 * jnp.finfo(points.dtype).eps * jnp.max(jnp.linalg.norm(points, axis=-1))
    pair = present[:, None] & present[None] & (apart > rounding)
    ratios = (spreads[:, None] + spreads[None]) / jnp.where(pair, apart, 1.0)
    worst = jnp.max(jnp.where(pair, ratios, 0.0), axis=1)
    index = jnp.sum(jnp.where(present, worst, 0.0)) / jnp.sum(present)
    return jnp.where(jnp.any(pair), index, jnp.nan)


def pooled(activation: Any) -> Any:
    """Return the maxima of 4 x 4 windows of an activation [N, H, W, C], flattened to [N, D].

    Rows and columns beyond the last whole window are dropped. What is no image, or smaller than a
    window, is only flattened.

    Example:
        >>> pooled(jnp.ones((2, 9, 8, 3))).shape, pooled(jnp.ones((2, 5, 3))).shape
        ((2, 12), (2, 15))
    """
    if activation.ndim == 4 and min(activation.shape[1:3]) >= _POOL:
        n, height, width, channels = activation.shape
        rows, columns = height // _POOL, width // _POOL
        whole = activation[:, : rows * _POOL, : columns * _POOL]
        windows = whole.reshape(n, rows, _POOL, columns, _POOL, channels)
        activation = windows.max(axis=(2, 4))
    return activation.reshape(activation.shape[0], -1)


def _representations(workspace: Workspace) -> Any:
    network, params = workspace.network, workspace.trained.params
    count = workspace.data.train.labels.shape[0]
    if count > _GROUP:
        count = min(count // _GROUP, _GROUPS) * _GROUP

    def both(images):
        # The order of the taps is lost beyond this function.
        found = network.taps(params, images)
        return pooled(next(iter(found.values()))), found[FEATURES].reshape(images.shape[0], -1)

    return in_chunks(both, jnp.asarray(workspace.data.train.images)[:count])


def _indices(workspace: Workspace) -> tuple[Any, Any]:
    first, features = workspace["cluster_representations"]
    labels = jnp.asarray(workspace.data.train.labels)[: first.shape[0]]
    groups = max(1, first.shape[0] // _GROUP)

    def mean_index(points):
        cut = points.reshape(groups, -1, points.shape[-1])
        found = jax.lax.map(
            lambda group: davies_bouldin(group[0], group[1], workspace.network.num_classes),
            (cut, labels.reshape(groups, -1)),
        )
        return jnp.mean(found)

    return mean_index(first), mean_index(features)


def _refused_where_undefined(amount: Any) -> Result:
    return refuse_where({Refusal.DEGENERATE: ~jnp.isfinite(amount)}, amount)


def _first_layer(workspace: Workspace) -> Result:
    return _refused_where_undefined(workspace["davies_bouldin"][0])


def _features(workspace: Workspace) -> Result:
    return _refused_where_undefined(workspace["davies_bouldin"][1])


def _times_mixup_error(workspace: Workspace) -> Result:
    amount = workspace["davies_bouldin"][0] * workspace["mixup_error"]
    return _refused_where_undefined(amount)


INTERMEDIATES = (
    # Pooled first tap [n, D] and features [n, D'] of the first n examples: whole groups of 120, at
    # most 10 of them, or all examples where they are fewer than 120.
    Intermediate(
        "cluster_representations", _representations, requires=("train", "taps"), passes=1 / 3
    ),
    # Mean index over the groups, of the first tap and of the features; NaN where not defined.
    Intermediate("davies_bouldin", _indices, needs=("cluster_representations",)),
)

_INDEX = (
    "mean_i max_j (s_i + s_j) / ||c_i - c_j|| over the classes, mean over up to 10 groups of 120"
)

MEASURES = (
    Measure(
        "davies_bouldin",
        "clusters",
        f"{_INDEX} training examples; activation: the first tap, 4 x 4 max-pooled",
        _SOURCE,
        _first_layer,
        ("davies_bouldin",),
    ),
    Measure(
        "davies_bouldin_features",
        "clusters",
        f"{_INDEX} training examples; activation: the features",
        _SOURCE,
        _features,
        ("davies_bouldin",),
    ),
    Measure(
        "davies_bouldin_mixup",
        "clusters",
        "davies_bouldin (1 - mixup_accuracy)",
        _SOURCE,
        _times_mixup_error,
        ("davies_bouldin", "mixup_error"),
    ),
)
