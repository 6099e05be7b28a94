"""Label variation: how often does the nearest neighbour of an example have other labels?"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax.metrics.complexity.contract import (
    Intermediate,
    Measure,
    Refusal,
    Result,
    refuse_where,
)
from genjax.metrics.complexity.stratified import in_turns
from genjax.metrics.complexity.workspace import Workspace, in_chunks
from genjax.models.network import FEATURES

_SOURCE = (
    "Lassance, Bethune, Bontonou, Hamidouche and Gripon, Ranking Deep Learning Generalization "
    "using Label Variation in Latent Geometry Graphs, 2020"
)
_EXAMPLES = 500
_ROWS = 25


def neighbour_graph(points: Any, k: int = 1) -> Any:
    """Return which points are the k nearest to each, `[N, N]` of 0 and 1, row by row.

    Points are divided by their length first. The graph of the source has the weights of a radial
    basis function only to choose neighbours by, which is choosing them by distance, and it is not
    made symmetric. All points as near as the k-th are neighbours; none is its own.

    Args:
        points: [N, D].
        k: from 1 to N - 1; static.

    Example:
        >>> neighbour_graph(jnp.array([[1.0, 0.0], [2.0, 0.1], [0.0, 1.0]])).tolist()
        [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    """
    lengths = jnp.sqrt(jnp.maximum(jnp.sum(points**2, axis=-1, keepdims=True), 1e-12))
    points = points / lengths

    def rows(some):
        # Differences, and not inner products: near points of one class would round to equal ones.
        return jax.vmap(lambda p: jnp.sum((points - p[None]) ** 2, axis=-1))(some)

    distances = in_chunks(rows, points, chunk=_ROWS)
    itself = jnp.eye(points.shape[0], dtype=bool)
    distances = jnp.where(itself, jnp.inf, distances)
    furthest = jnp.sort(distances, axis=-1)[:, k - 1]
    return ((distances <= furthest[:, None]) & ~itself).astype(points.dtype)


def label_variation(points: Any, targets: Any, k: int = 1) -> Any:
    """Return the variation of targets over the graph of nearest neighbours.

    `trace(Y' L Y) / (4 N)`, `L = I - D^(-1/2) A D^(-1/2)`, A from `neighbour_graph`, D its row
    sums; negative values, which only the asymmetry of A makes, become 0, as in the source. With
    one class per point and k = 1 it is a quarter of the share of points whose nearest neighbour is
    of another class. NaN where there are no more than k points.

    Args:
        points: [N, D].
        targets: [N, C], rows that sum to 1.
        k: neighbours.

    Example:
        >>> points = jnp.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]])
        >>> float(label_variation(points, jnp.eye(2)[jnp.array([0, 0, 1, 0])]))
        0.125
    """
    return jnp.maximum(jnp.mean(_contributions(points, targets, k)), 0.0)


def _contributions(points: Any, targets: Any, k: int = 1) -> Any:
    """Return every example's part of the variation, `[N]`; their mean is it."""
    if points.shape[0] <= k:
        return jnp.full(points.shape[0], jnp.nan)
    graph = neighbour_graph(points, k)
    root = jnp.sqrt(jnp.sum(graph, axis=1))
    scaled = graph / root[:, None] / root[None]
    around = jnp.matmul(scaled, targets, precision="highest")
    return jnp.sum(targets * (targets - around), axis=-1) / 4


def _parts(workspace: Workspace) -> tuple[Any, Any]:
    network, params = workspace.network, workspace.trained.params
    train, classes = workspace.data.train, workspace.network.num_classes
    chosen = in_turns(train.labels)[: max(_EXAMPLES // classes, 1) * classes]
    images = jnp.asarray(train.images)[chosen]
    targets = jax.nn.one_hot(jnp.asarray(train.labels)[chosen], classes)
    count = images.shape[0]
    shares, partner = _mixing(workspace.key("label_variation_mixup"), count)
    mixed = _mix(images, partner, shares[:, None, None, None])
    # Both in one pass, so that the network is compiled once.
    features = in_chunks(
        lambda x: network.taps(params, x)[FEATURES], jnp.concatenate([images, mixed])
    ).reshape(2 * count, -1)
    return (
        _contributions(features[:count], targets),
        _contributions(features[count:], _mix(targets, partner, shares[:, None])),
    )


def _variation(position: int):
    def compute(workspace: Workspace) -> Result:
        parts = workspace["label_variations"][position]
        variation = jnp.maximum(jnp.mean(parts), 0.0)
        return refuse_where(
            {Refusal.DEGENERATE: ~jnp.isfinite(variation)},
            variation,
            standard_error=jnp.std(parts) / np.sqrt(parts.shape[0]),
        )

    return compute


def _mixing(key, count: int):
    share_key, partner_key = jax.random.split(key)
    return jax.random.beta(share_key, 2.0, 2.0, (count,)), jax.random.permutation(
        partner_key, count
    )


def _mix(values, partner, shares):
    return shares * values + (1 - shares) * values[partner]


INTERMEDIATES = (
    # Every example's part of label_variation and of label_variation_mixup, [n] each.
    Intermediate("label_variations", _parts, requires=("train", "taps"), passes=2 / 3),
)

MEASURES = (
    Measure(
        "label_variation",
        "neighbourhood",
        "trace(Y' (I - D^(-1/2) A D^(-1/2)) Y) / (4 n) with A the nearest neighbour in the "
        "features, scaled to length 1, of n = 500 training examples, equally many per class",
        _SOURCE,
        _variation(0),
        ("label_variations",),
        fast=False,  # it takes longer to compile than any other family
    ),
    Measure(
        "label_variation_mixup",
        "neighbourhood",
        "label_variation of mixtures a x + (1 - a) x', labels mixed alike, with a ~ Beta(2, 2) and "
        "x' of any class",
        _SOURCE,
        _variation(1),
        ("label_variations",),
        fast=False,  # it takes longer to compile than any other family
    ),
)
