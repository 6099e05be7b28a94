"""Scores with a bootstrap or draws of their own: clusterings, neighbours, probes, few examples."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from scipy import stats

from genjax.metrics.layers import (
    class_means,
    clustering,
    contingency,
    contingency_draws,
    few_shot,
    folds,
    logistic_probe,
    neighbour_draws,
    neighbour_scores,
    ridge_probe,
)
from genjax.metrics.layers.measured import Measured, Task, around, share

_FOLDS = 5


def _clustering(task: Task, wanted: list[str]) -> list[Measured]:
    settings = task.settings
    clusters = settings.clusters or task.classes
    if clusters > len(task.points):
        return []
    found = clustering.kmeans(
        task.points, num_clusters=clusters, seed=settings.seed, restarts=settings.restarts
    )
    assignments = np.asarray(found.assignments)
    count = functools.partial(
        contingency.contingency_table,
        task.labels,
        num_classes=task.classes,
        num_clusters=clusters,
    )
    table = np.asarray(count(assignments[found.best]))
    # Every draw takes one of the restarts: where a clustering depends on its start, that counts.
    rng = np.random.default_rng(settings.seed)
    taken = rng.integers(len(assignments), size=len(task.weights))
    tables = [
        count(assignments[one], weights=weights.astype(float))
        for one, weights in zip(taken, task.weights, strict=True)
    ]
    null = None
    if settings.permutations:
        null = contingency_draws.permuted_tables(table, rng, settings.permutations)
    functions = {
        "nmi": contingency.normalized_mutual_information,
        "ami": contingency.adjusted_mutual_information,
        "ari": contingency.adjusted_rand_index,
        "hungarian_accuracy": contingency.hungarian_accuracy,
    }
    return [
        around(
            task,
            name,
            functions[name](table),
            functions[name](np.stack(tables)) if tables else [],
            None if null is None else functions[name](null),
        )
        for name in wanted
    ]


def _neighbours(task: Task, wanted: list[str]) -> list[Measured]:
    settings, weights = task.settings, task.weights
    count = len(task.labels)
    k = min(settings.purity_neighbours, count - 1)
    vote = min(settings.neighbours, count - 1)
    longest = max(
        neighbour_draws.list_length(k, count),
        neighbour_draws.list_length_at_r(task.labels),
        vote,
    )
    ranking = neighbour_scores.ranked(task.points, task.labels, k_max=min(longest, count - 1))
    task.shared["neighbours"] = ranking.indices
    floor = neighbour_scores.purity_chance(task.labels)
    null, close = None, None
    if settings.permutations:
        permuted = neighbour_draws.permuted_labels(
            task.labels, settings.permutations, seed=settings.seed
        )
        null = neighbour_draws.permuted_scores(ranking, permuted, k=k)
        close = neighbour_draws.permuted_scores(ranking, permuted, k=1, at_r=False).purity
    purity = neighbour_scores.purity(ranking, k=k)
    purity_draws = neighbour_draws.purity_draws(ranking, weights, k=k) if len(weights) else []
    reach = neighbour_scores.purity_ceiling(task.labels, k=k) - floor
    short = f"k = {k}" if k < settings.purity_neighbours else ""

    def corrected(values):
        if values is None or reach <= 0:
            return np.full(0 if values is None else np.shape(values), np.nan)
        return (np.asarray(values) - floor) / reach

    def drawn(function, **options):
        return function(ranking, weights, **options) if len(weights) else []

    nearest = neighbour_scores.purity(ranking, k=1)
    rows = [
        around(task, "purity_1", nearest, drawn(neighbour_draws.purity_draws, k=1), close),
        around(task, "purity", purity, purity_draws, null and null.purity)._replace(flag=short),
        around(
            task, "corrected_purity", corrected(purity), corrected(purity_draws),
            corrected(null and null.purity),
        )._replace(flag=short),
        share(task, "knn_accuracy", neighbour_scores.knn_accuracy(ranking, k=vote), count),
    ]  # fmt: skip
    if "r_precision" in wanted:
        value = neighbour_scores.r_precision(ranking)
        draws = drawn(neighbour_draws.r_precision_draws)
        rows.append(around(task, "r_precision", value, draws, null and null.r_precision))
    if "map_at_r" in wanted:
        value = neighbour_scores.map_at_r(ranking)
        draws = drawn(neighbour_draws.map_at_r_draws)
        rows.append(around(task, "map_at_r", value, draws, null and null.map_at_r))
    return rows


def _directions(task: Task, wanted: list[str]) -> list[Measured]:
    count = len(task.labels)
    vote = min(task.settings.neighbours, count - 1)
    ranking = neighbour_scores.ranked(task.points, task.labels, k_max=vote, directions=True)
    value = neighbour_scores.weighted_knn_accuracy(ranking, k=vote)
    return [share(task, wanted[0], value, count)]


def _held_out(task: Task) -> tuple[np.ndarray, np.ndarray] | None:
    """Return who trains and who tests a probe: the first of five stratified folds tests."""
    if np.bincount(task.labels).min() < 2 * _FOLDS:
        return None
    fold = folds.stratified_folds(task.labels, _FOLDS, seed=task.settings.seed)
    return np.flatnonzero(fold > 0), np.flatnonzero(fold == 0)


def _probe(fit: Callable[..., Any], **options: Any) -> Callable[[Task, list[str]], list[Measured]]:
    def compute(task: Task, wanted: list[str]) -> list[Measured]:
        parts = _held_out(task)
        if parts is None:
            return []
        train, test = parts
        found = fit(
            task.points[train], task.labels[train], task.points[test], task.labels[test],
            seed=task.settings.seed, **options,
        )  # fmt: skip
        right = np.asarray(found.predictions) == task.labels[test]
        return [_of_right(task, wanted[0], right, test, float(found.accuracy))]

    return compute


def _of_right(task: Task, name: str, right: Any, test: Any, value: float) -> Measured:
    """Return an accuracy on held-out examples; its draws weigh them as often as they are drawn."""
    drawn = task.weights[:, test]
    draws = drawn @ right / np.maximum(drawn.sum(axis=1), 1)
    return share(task, name, value, len(test), draws if np.isfinite(value) else ())


def _nearest_mean(task: Task, wanted: list[str]) -> list[Measured]:
    parts = _held_out(task)
    if parts is None:
        return []
    train, test = parts
    # About a common centre, as float32 needs it.
    points = task.points - task.points[train].mean(axis=0)
    predictions = class_means.nearest_mean_predictions(
        points[train], task.labels[train], points[test], num_classes=task.classes
    )
    right = np.asarray(predictions) == task.labels[test]
    return [_of_right(task, wanted[0], right, test, float(right.mean()))]


def _shots(task: Task, wanted: list[str]) -> list[Measured]:
    smallest = np.bincount(task.labels).min()
    asked = [int(name.rpartition("_")[2]) for name in wanted]
    possible = tuple(k for k in asked if k < smallest)
    if not possible:
        return []
    curve = few_shot.shot_curve(
        task.points,
        task.labels,
        jax.random.key(task.settings.seed),
        shots=possible,
        draws=task.settings.shot_draws,
    )
    return [
        _over_draws(task, f"shots_{k}", accuracies, task.largest_share)
        for k, accuracies in zip(possible, curve.accuracies, strict=True)
    ]


def _over_draws(task: Task, name: str, accuracies: np.ndarray, chance: float) -> Measured:
    """Return a mean over draws of training sets, `mean +- z sd / sqrt(T)`."""
    mean = float(accuracies.mean())
    reach = stats.norm.ppf((1 + task.settings.level) / 2) * accuracies.std(ddof=1)
    reach = float(reach) / len(accuracies) ** 0.5 if len(accuracies) > 1 else np.nan
    return Measured(name, mean, mean - reach, mean + reach, chance)


def _episodes(task: Task, wanted: list[str]) -> list[Measured]:
    rows = []
    for name in wanted:
        shots, queries = int(name.rpartition("_")[2]), 15
        if np.bincount(task.labels).min() < shots + queries:
            continue
        found = few_shot.simple_shot(
            task.points,
            task.labels,
            jax.random.key(task.settings.seed),
            ways=min(5, task.classes),
            shots=shots,
            queries=queries,
            episodes=task.settings.episodes,
            base_mean=task.base_mean,
        )
        rows.append(_over_draws(task, name, found.accuracies, 1 / min(5, task.classes)))
    return rows


FAMILIES: dict[str, Callable[[Task, list[str]], list[Measured]]] = {
    "clustering": _clustering,
    "neighbours": _neighbours,
    "directions": _directions,
    "ridge": _probe(ridge_probe.ridge_probe),
    "logistic": _probe(logistic_probe.logistic_probe),
    "nearest_mean": _nearest_mean,
    "shots": _shots,
    "episodes": _episodes,
}
