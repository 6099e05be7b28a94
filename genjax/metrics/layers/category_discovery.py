"""Generalized category discovery: sort unlabelled examples of known and of new classes.

Vaze, Han, Vedaldi and Zisserman, Generalized Category Discovery, CVPR 2022: some examples of the
known (old) classes are labelled, all others, of old and of new classes, are to be clustered.
Embeddings are taken as they are; the paper scales them to length 1 first.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.optimize import linear_sum_assignment

from genjax.errors import InvalidInputError, suggest
from genjax.metrics.layers.checks import check_labels, check_points
from genjax.metrics.layers.clustering import (
    Clustering,
    check_counts,
    kmeans,
    kmeans_jitted,
)
from genjax.metrics.layers.contingency import contingency_table, hungarian_accuracy

Host = np.ndarray

ASSIGNMENTS = ("joint", "separate")


class DiscoveryAccuracy(NamedTuple):
    """Clustering accuracy of all examples, of those of old and of those of new classes.

    Attributes:
        all: NaN where there are no examples, as the others.
        old: of classes with labelled examples.
        new: of the other classes.
    """

    all: Float[Host, ""]
    old: Float[Host, ""]
    new: Float[Host, ""]


class CategoryDiscovery(NamedTuple):
    """What was found among the unlabelled examples.

    Attributes:
        joint: accuracy with one assignment of clusters to all classes ("v2", what the paper
            reports).
        separate: with one assignment for old and another for new classes ("v1"); never less, since
            a cluster may then stand for an old and a new class at once.
        clustering: of all examples, labelled ones included.
    """

    joint: DiscoveryAccuracy
    separate: DiscoveryAccuracy
    clustering: Clustering


class ClassCount(NamedTuple):
    """Estimate of the number of classes.

    Attributes:
        num_classes: the candidate of highest accuracy, of equals the smallest.
        candidates: `[M]`, ascending.
        accuracies: Hungarian accuracy of the labelled examples at each, `[M]`.
    """

    num_classes: int
    candidates: Int[Host, " M"]
    accuracies: Float[Host, " M"]


def semi_supervised_kmeans(
    points: Any,
    labels: Any,
    labelled: Any,
    *,
    num_clusters: int,
    seed: int,
    restarts: int = 10,
    max_iterations: int = 300,
    tolerance: float = 1e-4,
) -> Clustering:
    """k-means in which labelled examples stay with their class.

    The classes with labelled examples, in ascending order, are the first clusters and start at the
    means of these; k-means++ draws the other centres among the unlabelled examples. The paper's
    code draws them without local trials and keeps the best iteration; we draw greedily, as `kmeans`
    does, and keep the last.

    Args:
        points: `[N, D]`.
        labels: `[N]` classes; those of unlabelled examples are not read.
        labelled: `[N]` booleans.
        num_clusters: K, at least the number of classes with labelled examples.
        seed: of the key; restart r draws with `fold_in(key(seed), r)`.
        restarts: R.
        max_iterations: of Lloyd.
        tolerance: as in `kmeans`.

    Returns:
        NumPy arrays; the inertia is that of all examples.

    Raises:
        InvalidInputError: no labelled example, fewer clusters than labelled classes, or what
            `kmeans` refuses.

    Example:
        >>> points = [[0.0], [0.2], [5.0], [5.2], [0.1]]
        >>> found = semi_supervised_kmeans(
        ...     points, [3, 3, 0, 0, 3], [True, False, False, False, True], num_clusters=2, seed=0
        ... )
        >>> found.assignments[int(found.best)].tolist()
        [0, 0, 1, 1, 0]
    """
    points, labels = check_points(points, labels, min_classes=1)
    labels, labelled = np.asarray(labels), _mask("labelled", labelled, len(labels))
    check_counts(len(points), num_clusters, restarts, max_iterations)
    if not labelled.any():
        raise InvalidInputError("labelled: found no labelled example; at least 1 is needed.")
    classes, places = np.unique(labels[labelled], return_inverse=True)
    if num_clusters < classes.size:
        raise InvalidInputError(
            f"num_clusters: found {num_clusters} for {classes.size} classes with labelled examples."
        )
    known = np.full(labels.shape, -1, np.int32)
    known[labelled] = places
    found = kmeans_jitted(
        jnp.asarray(points),
        jax.random.key(seed),
        num_clusters=num_clusters,
        known=jnp.asarray(known),
        num_known=int(classes.size),
        restarts=restarts,
        max_iterations=max_iterations,
        tolerance=tolerance,
    )
    return Clustering(*(np.asarray(each) for each in found))


def discovery_accuracy(
    labels: Any, clusters: Any, old: Any, *, assignment: str = "joint"
) -> DiscoveryAccuracy:
    """Clustering accuracy of examples of old and of new classes, each in [0, 1]; 1 is best.

    `max_perm mean [y = perm(c)]`. "joint": one assignment of clusters to classes for all examples,
    and how much of it is right for the old and for the new ones ("v2" of the paper's code).
    "separate": one assignment for the old examples and another for the new ones, and the mean of
    both by numbers of examples ("v1").

    Args:
        labels: `[N]` classes.
        clusters: `[N]`.
        old: `[N]` booleans, True for examples of classes that had labelled examples.
        assignment: joint or separate.

    Raises:
        InvalidInputError: lengths that differ, or a class is old and new at once.

    Example:
        >>> labels, clusters = np.array([0, 0, 1, 1, 2]), np.array([0, 0, 0, 0, 1])
        >>> old = labels < 1
        >>> [round(float(x), 2) for x in discovery_accuracy(labels, clusters, old)]
        [0.6, 1.0, 0.33]
        >>> both = discovery_accuracy(labels, clusters, old, assignment="separate")
        >>> [round(float(x), 2) for x in both]
        [1.0, 1.0, 1.0]
    """
    if assignment not in ASSIGNMENTS:
        raise InvalidInputError(suggest("assignment", assignment, ASSIGNMENTS))
    labels, clusters = check_labels(labels), check_labels(clusters, name="clusters")
    old = _mask("old", old, len(labels))
    if len(clusters) != len(labels):
        raise InvalidInputError(f"clusters: found {len(clusters)} for {len(labels)} labels.")
    classes, labels = np.unique(np.asarray(labels), return_inverse=True)
    names, clusters = np.unique(np.asarray(clusters), return_inverse=True)
    is_old = np.bincount(labels, old, minlength=classes.size) > 0
    if not np.array_equal(is_old[labels], old):
        raise InvalidInputError("old: found a class whose examples are old and new at once.")
    table = contingency_table(labels, clusters, num_classes=classes.size, num_clusters=names.size)
    table = np.asarray(table)
    if assignment == "separate":
        accuracies = [hungarian_accuracy(_some(table, group)) for group in (is_old, ~is_old)]
        share = old.mean()
        weighted = [w * a for w, a in zip((share, 1 - share), accuracies, strict=True) if w > 0]
        return DiscoveryAccuracy(np.array(sum(weighted)), *accuracies)
    right = np.zeros(classes.size)
    rows, columns = linear_sum_assignment(table, maximize=True)
    right[rows] = table[rows, columns]
    groups = (np.ones_like(is_old), is_old, ~is_old)
    with np.errstate(invalid="ignore"):
        found = [np.asarray(right[group].sum() / table[group].sum()) for group in groups]
    return DiscoveryAccuracy(*found)


def category_discovery(
    points: Any,
    labels: Any,
    labelled: Any,
    *,
    num_clusters: int,
    seed: int,
    restarts: int = 10,
    max_iterations: int = 300,
    tolerance: float = 1e-4,
) -> CategoryDiscovery:
    """Cluster by semi-supervised k-means and score the unlabelled examples.

    Args:
        points: `[N, D]`.
        labels: `[N]` classes, those of unlabelled examples for the score only. Classes with a
            labelled example are old.
        labelled: `[N]` booleans; at least one example must be unlabelled.
        num_clusters: K, the number of classes where it is known, else from `estimate_num_classes`.
        seed: as in `semi_supervised_kmeans`.
        restarts: of which the one of smallest inertia counts.
        max_iterations: of Lloyd.
        tolerance: as in `kmeans`.

    Raises:
        InvalidInputError: as in `semi_supervised_kmeans`, or nothing is unlabelled.

    Example:
        >>> points = [[0.0], [0.2], [5.0], [5.2], [0.1]]
        >>> found = category_discovery(
        ...     points, [3, 3, 0, 0, 3], [True, False, False, False, True], num_clusters=2, seed=0
        ... )
        >>> [float(x) for x in found.joint]
        [1.0, 1.0, 1.0]
    """
    labels = np.asarray(check_labels(labels))
    labelled = _mask("labelled", labelled, len(labels))
    if labelled.all():
        raise InvalidInputError("labelled: found no unlabelled example; at least 1 is needed.")
    found = semi_supervised_kmeans(
        points,
        labels,
        labelled,
        num_clusters=num_clusters,
        seed=seed,
        restarts=restarts,
        max_iterations=max_iterations,
        tolerance=tolerance,
    )
    clusters = np.asarray(found.assignments)[int(found.best)]
    old = np.isin(labels, labels[labelled])
    rest = ~labelled
    joint, separate = (
        discovery_accuracy(labels[rest], clusters[rest], old[rest], assignment=assignment)
        for assignment in ASSIGNMENTS
    )
    return CategoryDiscovery(joint, separate, found)


def estimate_num_classes(
    points: Any,
    labels: Any,
    labelled: Any,
    *,
    candidates: Sequence[int],
    seed: int,
    restarts: int = 1,
    method: str = "auto",
) -> ClassCount:
    """Estimate the number of classes by how well clusters fit the labelled examples.

    For every candidate K all examples are clustered by k-means without labels; the K at which the
    Hungarian accuracy of the labelled examples is highest is taken: too few clusters merge their
    classes, too many split them. The paper looks for that K by Brent's method, which assumes a
    single peak; here every candidate is tried.

    Args:
        points: `[N, D]`, of labelled and unlabelled examples.
        labels: `[N]` classes; those of unlabelled examples are not read.
        labelled: `[N]` booleans, with two classes at least.
        candidates: numbers of classes to try.
        seed: of k-means.
        restarts: of k-means, of which the best counts.
        method: of k-means.

    Raises:
        InvalidInputError: no candidate, one labelled class only, or what `kmeans` refuses.

    Example:
        >>> points = [[x + e] for x in (0.0, 4.0, 9.0) for e in (0.0, 0.1, 0.2, 0.3)]
        >>> labels = np.repeat([0, 1, 2], 4)
        >>> estimate_num_classes(
        ...     points, labels, labels < 2, candidates=[2, 3, 6], seed=0
        ... ).num_classes
        3
    """
    points, labels = check_points(points, labels, min_classes=1)
    labels, labelled = np.asarray(labels), _mask("labelled", labelled, len(labels))
    tried = np.unique(np.asarray(candidates, np.int64))
    if tried.size == 0:
        raise InvalidInputError("candidates: found none; at least 1 is needed.")
    classes, truth = np.unique(labels[labelled], return_inverse=True)
    if classes.size < 2:
        raise InvalidInputError(
            f"labelled: found {classes.size} classes with labelled examples; at least 2 are needed."
        )
    accuracies = []
    for count in tried.tolist():
        found = kmeans(points, num_clusters=count, seed=seed, restarts=restarts, method=method)
        clusters = np.asarray(found.assignments)[int(found.best)][labelled]
        table = contingency_table(truth, clusters, num_classes=classes.size, num_clusters=count)
        accuracies.append(float(hungarian_accuracy(table)))
    return ClassCount(int(tried[np.argmax(accuracies)]), tried, np.array(accuracies))


def _mask(name: str, values: Any, count: int) -> Bool[Host, " N"]:
    mask = np.asarray(values)
    if mask.dtype != bool or mask.shape != (count,):
        raise InvalidInputError(
            f"{name}: found {mask.dtype} of shape {mask.shape}; booleans [{count}] are needed."
        )
    return mask


def _some(table: Float[Host, "C K"], group: Bool[Host, " C"]) -> Float[Host, "S K"]:
    """Rows of a group of classes; one empty row where there are none, for a score of NaN."""
    return table[group] if group.any() else np.zeros((1, table.shape[1]))
