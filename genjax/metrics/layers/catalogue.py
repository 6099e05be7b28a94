"""Which scores a layer can have, by name, and the numbers they are computed with."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

from genjax.errors import InvalidInputError, suggest


class Score(NamedTuple):
    """A score of the embeddings of a layer.

    Attributes:
        name: the metric in tables.
        family: what is computed together.
        larger_is_better: whether larger is taken to mean better.
        labels: whether it reads labels.
        ideal: the value that is best, for a score that is neither; None otherwise.
    """

    name: str
    family: str
    larger_is_better: bool = True
    labels: bool = True
    ideal: float | None = None

    def goodness(self, value: Any) -> Any:
        """Return values turned so that larger is better.

        Example:
            >>> by_name("alpha_req").goodness(0.75), by_name("cdnv").goodness(2.0)
            (-0.25, -2.0)
        """
        if self.ideal is not None:
            return -abs(value - self.ideal)
        return value if self.larger_is_better else -value


SHOTS = (1, 2, 5, 10, 20)
"""Training examples per class of the few-shot curves; what a class cannot give is left out."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """Numbers that scores are computed with.

    Attributes:
        clusters: of k-means; 0 takes as many as there are classes.
        restarts: of k-means; the partition of least inertia counts.
        purity_neighbours: of purity, 500 in the paper; at most one less than there are examples.
        neighbours: of the k-nearest-neighbour classifier.
        shot_draws: training sets per number of shots.
        episodes: of SimpleShot.
        draws: bootstrap samples of the examples; 0 gives no intervals.
        permutations: of the labels, for what chance gives; 0 gives none.
        groups: that are left out one by one for the intervals of scores that no bootstrap suits;
            0 gives none.
        level: of the intervals.
        seed: of everything random; the same for all layers, so that they can be compared in pairs.
    """

    clusters: int = 0
    restarts: int = 3
    purity_neighbours: int = 500
    neighbours: int = 20
    shot_draws: int = 20
    episodes: int = 600
    draws: int = 200
    permutations: int = 200
    groups: int = 10
    level: float = 0.95
    seed: int = 0

    def __post_init__(self):
        """Refuse numbers that nothing can be computed with."""
        for field in ("restarts", "purity_neighbours", "neighbours", "shot_draws", "episodes"):
            if getattr(self, field) < 1:
                raise InvalidInputError(
                    f"{field}: found {getattr(self, field)}; at least 1 is needed."
                )
        for field in ("clusters", "draws", "permutations", "groups", "seed"):
            if getattr(self, field) < 0:
                raise InvalidInputError(
                    f"{field}: found {getattr(self, field)}; allowed are numbers from 0."
                )
        if not 0 < self.level < 1:
            raise InvalidInputError(f"level: found {self.level}; allowed is a share in (0, 1).")


DYBALLA2024 = Settings(restarts=1, seed=42)
"""As the code of Dyballa et al. computes: one restart of k-means from seed 42, purity at 500."""

SCORES = (
    Score("nmi", "clustering"),
    Score("ami", "clustering"),
    Score("ari", "clustering"),
    Score("hungarian_accuracy", "clustering"),
    Score("purity_1", "neighbours"),
    Score("purity", "neighbours"),
    Score("corrected_purity", "neighbours"),
    Score("knn_accuracy", "neighbours"),
    Score("r_precision", "neighbours"),
    Score("map_at_r", "neighbours"),
    Score("weighted_knn_accuracy", "directions"),
    Score("ridge_probe", "ridge"),
    Score("logistic_probe", "logistic"),
    Score("nearest_class_mean", "nearest_mean"),
    *(Score(f"shots_{k}", "shots") for k in SHOTS),
    Score("simple_shot_1", "episodes"),
    Score("simple_shot_5", "episodes"),
    Score("silhouette", "silhouette"),
    Score("gdv", "gdv", larger_is_better=False),
    Score("cdnv", "collapse", larger_is_better=False),
    Score("nc1", "collapse", larger_is_better=False),
    Score("nc1_trace_ratio", "collapse", larger_is_better=False),
    Score("nc2_norm_variation", "collapse", larger_is_better=False),
    Score("nc2_simplex_distance", "collapse", larger_is_better=False),
    Score("ncc_error", "collapse", larger_is_better=False),
    Score("label_cka", "alignment"),
    Score("label_cka_unbiased", "alignment"),
    Score("logme", "evidence"),
    Score("h_score", "h_score"),
    Score("nleep", "mixture"),
    Score("lidar", "discriminant_rank"),
    Score("rankme", "spectrum", labels=False),
    Score("alpha_req", "spectrum", labels=False, ideal=1.0),
    Score("matrix_entropy", "spectrum", labels=False),
    Score("two_nn", "dimension", larger_is_better=False, labels=False),
    Score("diffusion_spectral_entropy", "diffusion", labels=False),
)
"""Directions of scores without labels: high effective rank (RankMe), decay of 1 (alpha-ReQ), low
dimension (Ansuini et al. 2019); for entropies the papers differ, and larger is taken."""

_BY_NAME = {score.name: score for score in SCORES}
GROUPS: dict[str, tuple[str, ...]] = {
    "all": tuple(_BY_NAME),
    "dyballa2024": ("nmi", "purity", "logistic_probe"),
    "unseen": (
        "nmi", "ami", "ari", "hungarian_accuracy", "purity_1", "purity", "corrected_purity",
        "knn_accuracy", "r_precision", "map_at_r", "ridge_probe", "nearest_class_mean",
        "silhouette", "cdnv",
    ),
    "seen": (
        "nmi", "r_precision", "nearest_class_mean", "silhouette", "cdnv", "nc1", "ncc_error",
        "label_cka", "logme",
    ),
    "label_free": (
        "rankme", "alpha_req", "matrix_entropy", "two_nn", "diffusion_spectral_entropy",
    ),
}  # fmt: skip
"""Names that stand for several scores."""


def select(names: Sequence[str]) -> tuple[Score, ...]:
    """Return scores by name, by group or by family, in the order of the catalogue.

    Raises:
        InvalidInputError: an unknown name, or none.

    Example:
        >>> [score.name for score in select(["nmi", "spectrum"])]
        ['nmi', 'rankme', 'alpha_req', 'matrix_entropy']
    """
    families = {score.family for score in SCORES}
    chosen: set[str] = set()
    for name in names:
        if name in GROUPS:
            chosen.update(GROUPS[name])
        elif name in families:
            chosen.update(score.name for score in SCORES if score.family == name)
        elif name in _BY_NAME:
            chosen.add(name)
        else:
            allowed = sorted({*GROUPS, *families, *_BY_NAME})
            raise InvalidInputError(suggest("names", name, allowed))
    if not chosen:
        raise InvalidInputError("names: found none; at least one score is needed.")
    return tuple(score for score in SCORES if score.name in chosen)


def by_name(name: str) -> Score:
    """Return a score of the catalogue.

    Raises:
        InvalidInputError: an unknown name.

    Example:
        >>> by_name("cdnv").larger_is_better
        False
    """
    if name not in _BY_NAME:
        raise InvalidInputError(suggest("score", name, sorted(_BY_NAME)))
    return _BY_NAME[name]
