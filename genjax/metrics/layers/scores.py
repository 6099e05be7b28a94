"""All scores of one embedding at once: what they share is computed once, each with its interval.

`measure(points, labels, names, settings)` returns one row per score. Intervals come from a
bootstrap over examples, the same draws for every layer, where a score has one (clusterings,
neighbours, probes); from draws of training sets (few-shot); or from leaving out groups of examples
one by one (the others, which copies of an example would distort).
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import stats

from genjax.metrics.layers import (
    collapse,
    dimension,
    discrimination,
    folds,
    neighbour_draws,
    silhouette,
    similarity,
    spectra,
    transfer,
)
from genjax.metrics.layers.catalogue import Score, Settings, select
from genjax.metrics.layers.checks import check_points
from genjax.metrics.layers.embeddings import Flags, flags
from genjax.metrics.layers.measured import Measured, Task
from genjax.metrics.layers.score_families import FAMILIES

Plain = Callable[[Any, Any, int, list[str]], dict[str, Any]]
"""Scores of points and labels, with the number of classes, by the names that are wanted."""
_MOST = {"mixture": 4000, "diffusion": 2000}
"""Examples that a family looks at: of 10,000 a mixture takes 10 s, an eigenproblem minutes."""
_PAIRS = 2.5e7
"""Points squared beyond which no score of all pairs is computed again for its interval."""


def measure(
    points: Float[Any, "N D"],
    labels: Any,
    names: Sequence[str] = ("unseen",),
    settings: Settings = Settings(),  # noqa: B008  (frozen)
    *,
    keep_constant: bool = False,
    base_mean: Float[Any, " D"] | None = None,
) -> list[Measured]:
    """Score one embedding; one row per score, in the order of the catalogue.

    Points that are all equal separate nothing: their scores are NaN and flagged. A score that is
    not defined for these points (a class with too few examples, say) is NaN and flagged as well.

    Args:
        points: one row per example, finite.
        labels: whole numbers from 0 on, at least two classes.
        names: scores, families or groups of `catalogue`.
        settings: the numbers.
        keep_constant: score points that are all equal, as Dyballa et al. do (k-means finds one
            cluster, nmi 0; neighbours are those with the smallest index).
        base_mean: mean embedding of the classes trained on, which SimpleShot centres by (CL2N);
            None: not known, and `simple_shot_*` is the form that only normalises (L2N).

    Raises:
        InvalidInputError: bad points or labels, or an unknown name.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> labels = np.repeat([0, 1], 20)
        >>> points = rng.normal(size=(40, 3)) + 9.0 * labels[:, None]
        >>> [(row.metric, round(row.value, 3)) for row in measure(points, labels, ["nmi"])]
        [('nmi', 1.0)]
    """
    chosen = select(names)
    points, labels = check_points(points, labels)
    points = np.asarray(points)
    found, codes = np.unique(np.asarray(labels), return_inverse=True)
    state = flags(points)
    if state.constant and not keep_constant:
        return [Measured(score.name, np.nan, flag="constant") for score in chosen]
    weights = np.empty((0, len(codes)), np.int64)
    if settings.draws:
        weights = neighbour_draws.bootstrap_weights(settings.draws, len(codes), seed=settings.seed)
    task = Task(points, codes, len(found), settings, weights, base_mean, {})
    by_family: dict[str, dict[str, Measured]] = {}
    for family in dict.fromkeys(score.family for score in chosen):
        wanted = [score.name for score in chosen if score.family == family]
        by_family[family] = _family(task, family, wanted)
    return [_flagged(by_family[score.family], score, state) for score in chosen]


def _flagged(rows: dict[str, Measured], score: Score, state: Flags) -> Measured:
    row = rows.get(score.name, Measured(score.name, np.nan, flag="too few examples"))
    flag = row.flag or ("not defined" if not np.isfinite(row.value) else "")
    return row._replace(flag=", ".join(word for word in (state.words(), flag) if word))


def _family(task: Task, family: str, wanted: list[str]) -> dict[str, Measured]:
    if family in FAMILIES:
        rows = FAMILIES[family](task, wanted)
    elif family == "mixture" and len(task.labels) < 10 * task.classes:
        rows = []  # its components are five per class
    else:
        whole = None
        if family == "dimension":  # neighbours take longest, and may be known already
            near = task.shared.get("neighbours")
            whole = {"two_nn": dimension.two_nn(task.points, neighbours=near).likelihood}
        few = task
        if len(task.labels) > _MOST.get(family, len(task.labels)):
            # Drawn once: parts that each drew others would differ by the draw as well.
            few = task._replace(**_drawn(task, _MOST[family]))
        rows = _left_out(few, _PLAIN[family], wanted, family in _OF_PAIRS, whole)
    return {row.metric: row for row in rows}


def _left_out(
    task: Task, scores: Plain, wanted: list[str], pairs: bool, whole: dict[str, float] | None
) -> list[Measured]:
    """Return scores with the interval of the grouped jackknife; `whole` are theirs where known.

    Groups of examples are left out one by one; the standard error is `sqrt((G - 1) / G sum_g
    (value_g - mean)^2)`, the interval Student's with G - 1 degrees of freedom.
    """

    def compute(points, labels):
        found = scores(points, labels, task.classes, wanted)
        return {name: float(value) for name, value in found.items()}

    values = compute(task.points, task.labels) if whole is None else whole
    count, groups = len(task.labels), task.settings.groups
    many = pairs and count**2 > _PAIRS
    if groups < 2 or many or np.bincount(task.labels).min() < 2 * groups:
        return [Measured(name, value) for name, value in values.items()]
    fold = folds.stratified_folds(task.labels, groups, seed=task.settings.seed)
    # Equally many examples in every computation: one compiled program serves all.
    size = count - int(np.bincount(fold).max())
    parts = [np.flatnonzero(fold != g)[:size] for g in range(groups)]
    found = [compute(task.points[part], task.labels[part]) for part in parts]
    rows = []
    for name, value in values.items():
        each = np.array([part[name] for part in found])
        error = np.sqrt((groups - 1) / groups * np.sum((each - each.mean()) ** 2))
        reach = stats.t.ppf((1 + task.settings.level) / 2, groups - 1) * error
        rows.append(Measured(name, value, float(value - reach), float(value + reach)))
    return rows


def _each(**functions: Callable[[Any, Any, int], Any]) -> Plain:
    """Return a family of scores that share nothing."""
    return lambda points, labels, classes, wanted: {
        name: functions[name](points, labels, classes) for name in wanted
    }


def _drawn(task: Task, most: int) -> dict[str, np.ndarray]:
    """Return some of the examples; where a class has none among them its scores say so."""
    kept = np.sort(np.random.default_rng(0).choice(len(task.labels), most, replace=False))
    return {"points": task.points[kept], "labels": task.labels[kept]}


def _spectrum(points: Any, labels: Any, classes: int, wanted: list[str]) -> dict[str, Any]:
    found = {}
    if "alpha_req" in wanted:
        found["alpha_req"] = spectra.alpha_req(points)
    if {"rankme", "matrix_entropy"} & set(wanted):
        squared = spectra.squared_singular_values(points, centred=False)
        found["rankme"] = spectra.rankme(points, squared=squared)
        found["matrix_entropy"] = spectra.matrix_entropy(points, squared=squared)
    return {name: found[name] for name in wanted}


_PLAIN: dict[str, Plain] = {
    "silhouette": _each(silhouette=lambda p, y, c: silhouette.silhouette(p, y, num_classes=c).mean),
    "gdv": _each(gdv=lambda p, y, c: discrimination.discrimination_value(p, y, num_classes=c)),
    "collapse": _each(
        cdnv=lambda p, y, c: collapse.class_distance_variance(p, y, num_classes=c),
        nc1=lambda p, y, c: collapse.within_class_variability(p, y, num_classes=c),
        nc1_trace_ratio=lambda p, y, c: collapse.trace_ratio(p, y, num_classes=c),
        nc2_norm_variation=lambda p, y, c: (
            collapse.mean_geometry(p, y, num_classes=c).norm_variation
        ),
        nc2_simplex_distance=lambda p, y, c: (
            collapse.mean_geometry(p, y, num_classes=c).simplex_distance
        ),
        ncc_error=lambda p, y, c: collapse.nearest_mean_error(p, y, num_classes=c),
    ),
    "alignment": _each(
        label_cka=lambda p, y, c: similarity.label_cka(p, y),
        label_cka_unbiased=lambda p, y, c: similarity.label_cka(p, y, unbiased=True),
    ),
    "evidence": _each(logme=lambda p, y, c: transfer.log_maximum_evidence(p, y, num_classes=c)),
    "h_score": _each(h_score=lambda p, y, c: transfer.h_score(p, y)),
    "mixture": _each(nleep=lambda p, y, c: transfer.mixture_leep(p, y).score),
    "discriminant_rank": _each(lidar=lambda p, y, c: spectra.lidar(p, y)),
    "spectrum": _spectrum,
    "dimension": _each(two_nn=lambda p, y, c: dimension.two_nn(p).likelihood),
    "diffusion": _each(
        diffusion_spectral_entropy=lambda p, y, c: dimension.diffusion_spectral_entropy(p)
    ),
}
_OF_PAIRS = ("silhouette", "gdv", "dimension", "diffusion", "mixture")
