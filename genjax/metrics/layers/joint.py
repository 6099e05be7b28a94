"""Seen and unseen classes together: are unseen examples told apart, and sorted into classes?"""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from genjax.errors import InvalidInputError
from genjax.metrics.layers import category_discovery, class_means, folds, open_set
from genjax.metrics.layers.catalogue import Settings
from genjax.metrics.layers.checks import check_points
from genjax.metrics.layers.measured import Measured

_NEIGHBOUR = 5


def measure_joint(
    points: Float[Any, "N D"],
    labels: Any,
    seen: Bool[Any, " N"],
    settings: Settings = Settings(),  # noqa: B008  (frozen)
) -> list[Measured]:
    """Score one embedding of examples of seen and of unseen classes.

    Half of the examples of every seen class, drawn by the seed, are labelled; the other half and
    the unseen classes are queries. `auroc_*`, `fpr95_*` (the share of unseen queries accepted where
    95 % of seen ones are; smaller is better) and `oscr_*` tell seen queries from unseen ones by the
    distance to the 5th labelled neighbour and by Mahalanobis distance, OSCR with the nearest
    labelled class mean as classifier; `discovery_*` are the accuracies of generalized category
    discovery (Vaze et al., 2022) on all queries, those of seen and those of unseen classes, with
    one assignment of clusters to all classes.

    Args:
        points: one row per example.
        labels: whole numbers from 0 on.
        seen: whether the class of an example was trained on.
        settings: restarts, draws, level and seed are read.

    Raises:
        InvalidInputError: bad points or labels, fewer than two seen classes, no unseen one, or a
            seen class with fewer than two examples.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> labels = np.repeat([0, 1, 2], 20)
        >>> points = rng.normal(size=(60, 2)) + 20.0 * np.eye(3)[labels][:, :2]
        >>> rows = measure_joint(points, labels, labels < 2, Settings(draws=0))
        >>> {row.metric: round(row.value, 2) for row in rows}["auroc_neighbour"]
        1.0
    """
    points, labels = check_points(points, labels)
    points, seen = np.asarray(points), np.asarray(seen)
    codes = np.unique(np.asarray(labels), return_inverse=True)[1]
    labelled = _labelled(codes, seen, settings.seed)
    rows = _told_apart(points, codes, seen, labelled, settings)
    found = category_discovery.category_discovery(
        points,
        codes,
        labelled,
        num_clusters=int(codes.max()) + 1,
        seed=settings.seed,
        restarts=settings.restarts,
    )
    rows += [
        Measured(f"discovery_{part}", float(getattr(found.joint, part)))
        for part in ("all", "old", "new")
    ]
    return rows


def _labelled(codes: np.ndarray, seen: np.ndarray, seed: int) -> np.ndarray:
    """Return who is labelled: half of every seen class."""
    old = np.unique(codes[seen])
    if seen.shape != codes.shape or seen.dtype != bool or len(old) < 2 or seen.all():
        raise InvalidInputError(
            f"seen: found {seen.dtype} of shape {seen.shape} with {len(old)} seen classes among "
            f"{codes.max() + 1}; at least two seen and one unseen class are needed."
        )
    if np.bincount(codes[seen])[old].min() < 2:
        raise InvalidInputError("seen: a seen class has one example; two are needed.")
    labelled = np.zeros(len(codes), bool)
    fold = folds.stratified_folds(np.unique(codes[seen], return_inverse=True)[1], 2, seed=seed)
    labelled[np.flatnonzero(seen)[fold == 0]] = True
    return labelled


def _told_apart(points, codes, seen, labelled, settings: Settings) -> list[Measured]:
    # Relabelled: the seen classes need not be the first ones.
    old = np.unique(codes[labelled], return_inverse=True)[1]
    known, query = points[labelled], seen & ~labelled
    centre = known.mean(axis=0)
    nearest = class_means.nearest_mean_predictions(
        known - centre, old, points[query] - centre, num_classes=int(old.max()) + 1
    )
    names = np.unique(codes[labelled])
    right = names[np.asarray(nearest)] == codes[query]
    k = min(_NEIGHBOUR, len(known))
    scores = {
        "neighbour": lambda p: open_set.neighbour_score(p, known, k=k),
        "mahalanobis": lambda p: open_set.mahalanobis_score(p, known, old),
    }
    rng = np.random.default_rng(settings.seed)
    rows = []
    for name, score in scores.items():
        own, other = score(points[query]), score(points[~seen])
        functions = {
            "auroc": lambda a, b, c: open_set.auroc(a, c),
            "fpr95": lambda a, b, c: open_set.fpr_at_tpr(a, c),
            "oscr": open_set.oscr,
        }
        draws = {
            metric: np.array([]) if not settings.draws else np.empty(settings.draws)
            for metric in functions
        }
        for draw in range(settings.draws):
            a, b = (rng.integers(len(x), size=len(x)) for x in (own, other))
            for metric, function in functions.items():
                draws[metric][draw] = function(own[a], right[a], other[b])
        for metric, function in functions.items():
            value = float(function(own, right, other))
            low, high = np.nan, np.nan
            if settings.draws > 1:
                tail = (1 - settings.level) / 2
                low, high = np.quantile(draws[metric], [tail, 1 - tail])
            chance = {"auroc": 0.5, "fpr95": 0.95}.get(metric, np.nan)
            rows.append(
                Measured(f"{metric}_{name}", value, float(low), float(high), chance,
                         draws=draws[metric])
            )  # fmt: skip
    return rows
