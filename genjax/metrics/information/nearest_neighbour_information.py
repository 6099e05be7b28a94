"""Mutual information from distances to nearest neighbours: of few dimensions and little dependence.

Kraskov, Stoegbauer and Grassberger (Phys. Rev. E 69, 066138, 2004) for two continuous variables,
Ross (PLoS ONE 9(2), e87357, 2014) for a continuous and a discrete one. Host, float64, nats; k-d
trees of scipy, maximum norm. Beyond some 10 dimensions both report far too little, and the trees
are no faster than all pairs.
"""

from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float
from scipy.spatial import KDTree
from scipy.special import digamma

from genjax.errors import InvalidInputError
from genjax.metrics.layers.checks import check_points
from genjax.types import Key

MOST_DIMENSIONS = 10
"""Together; beyond them an estimate is flagged."""
_JITTER = 1e-10  # of the mean size of a column, as in scikit-learn


class NeighbourInformation(NamedTuple):
    """An estimate in nats.

    Attributes:
        value: may be a little below 0; nothing is cut off.
        cap: the largest value the estimator can return for so many examples, whatever the truth.
        flag: what is to be known about the value, "" for nothing.
    """

    value: float
    cap: float
    flag: str


def continuous_information(
    first: Any, second: Any, *, k: int = 3, algorithm: int = 1, key: Key | None = None
) -> NeighbourInformation:
    """I(X; Y) of two continuous variables, estimators 1 and 2 of Kraskov et al., in nats.

    1 (eq 8): `psi(k) + psi(N) - <psi(n_x + 1) + psi(n_y + 1)>`, n counting examples strictly nearer
    than the k-th neighbour in the joint space; 2 (eq 9): `psi(k) - 1/k + psi(N) - <psi(n_x) +
    psi(n_y)>`, n counting within the k neighbours' extent along each variable. About unbiased where
    X and Y are independent; too low the stronger they depend and the more dimensions they have (X ~
    U(0, 1), Y = X + U(-.1, .1), 1.71 nats: by .05 of 1,000 pairs, by .03 of 4,000). The units
    of X against those of Y matter: bring both to like spread. Caps: `psi(N) - psi(k)`, for 2 less
    1/k.

    Args:
        first: `[N, d]` or `[N]`.
        second: `[N, d']` or `[N]`.
        k: neighbours, 1 ... N - 1; larger has less variance and more bias.
        algorithm: 1 or 2.
        key: allows rows that repeat, which have no k-th distance to speak of: normal noise of 1e-10
            of the mean absolute value of a column is added. What comes out then depends on N and k
            more than on the data if many repeat; for labels take `discrete_information`.

    Raises:
        InvalidInputError: rows of X or of Y repeat and no key is given; k or the algorithm is out
            of range; different numbers of examples.

    Example:
        >>> x, noise = np.random.default_rng(0).normal(size=(2, 2000))
        >>> found = continuous_information(x, x + noise)  # the truth is log(2) / 2 = 0.347
        >>> 0.3 < found.value < 0.4, round(found.cap, 3)
        (True, 6.678)
    """
    if algorithm not in (1, 2):
        raise InvalidInputError(f"algorithm: found {algorithm}; allowed are 1 and 2.")
    keys = (None, None) if key is None else jax.random.split(key)
    x, y = _distinct(first, "first", keys[0]), _distinct(second, "second", keys[1])
    count = len(x)
    if len(y) != count:
        raise InvalidInputError(f"second: found {len(y)} examples; the first has {count}.")
    _check_k(k, count)
    joint = np.hstack([x, y])
    distances, neighbours = (np.asarray(f) for f in KDTree(joint).query(joint, k + 1, p=np.inf))
    if algorithm == 1:
        radius = np.nextafter(distances[:, -1], 0)  # strictly nearer
        of_x, of_y = _within(x, radius), _within(y, radius)  # counting itself: n + 1
        value = digamma(k) - np.mean(digamma(of_x) + digamma(of_y))
        cap = digamma(count) - digamma(k)
    else:
        near = neighbours[:, 1:]
        of_x, of_y = (_within(v, _extent(v, near)) - 1 for v in (x, y))
        value = digamma(k) - 1 / k - np.mean(digamma(of_x) + digamma(of_y))
        cap = digamma(count) - digamma(k) - 1 / k
    flag = _flag(joint.shape[1])
    return NeighbourInformation(float(value + digamma(count)), float(cap), flag)


def discrete_information(
    points: Any, labels: Any, *, k: int = 3, key: Key | None = None
) -> NeighbourInformation:
    """I(T; Y) of a continuous layer and discrete labels (Ross 2014, eq 2), in nats.

    `psi(N) + <psi(k_i)> - <psi(N_y)> - <psi(m)>`: m counts examples, itself too, strictly nearer
    than its k-th neighbour of the same label. Of a class of N_y examples k is at most N_y - 1;
    examples alone in their class are left out. For one dimension and classes of more than 2k + 1 it
    is what `sklearn.feature_selection.mutual_info_classif` returns, which cuts off below 0 (and
    lets rounding count neighbours of smaller classes). The cap, where
    every class lies apart, is `psi(N) - <psi(N_y)>`: a little above H(Y).

    Args:
        points: `[N, d]` or `[N]`.
        labels: whole numbers `[N]`.
        k: neighbours, at least 1.
        key: allows rows that repeat, as in `continuous_information`.

    Raises:
        InvalidInputError: rows repeat and no key is given, every class has one example, or k is
            below 1.

    Example:
        >>> found = discrete_information(np.arange(20.0), np.arange(20) // 10)
        >>> round(found.value, 3), round(found.cap, 3)
        (0.66, 0.719)
    """
    x = _distinct(points, "points", key)
    _, codes = check_points(x, labels, min_classes=1)
    _, codes, sizes = np.unique(np.asarray(codes), return_inverse=True, return_counts=True)
    _check_k(k, k + 1)
    shared = sizes[codes] > 1
    if not shared.any():
        raise InvalidInputError("labels: every class has one example; two of some are needed.")
    x, codes = x[shared], codes[shared]
    radius, used = np.empty(len(x)), np.minimum(k, sizes - 1)
    for label in np.unique(codes):
        own = x[codes == label]
        distances, _ = KDTree(own).query(own, int(used[label]) + 1, p=np.inf)
        radius[codes == label] = np.nextafter(distances[:, -1], 0)
    cap = digamma(len(x)) - np.mean(digamma(sizes[codes]))
    value = cap + np.mean(digamma(used[codes]) - digamma(_within(x, radius)))
    return NeighbourInformation(float(value), float(cap), _flag(x.shape[1]))


def _distinct(values: Any, name: str, key: Key | None) -> Float[np.ndarray, "N d"]:
    """Return columns in float64, all rows different."""
    values = np.asarray(values)
    values = values[:, None] if values.ndim == 1 else values
    rows = np.asarray(check_points(values, name=name)[0]).astype(np.float64)
    if key is not None:
        scale = _JITTER * np.maximum(np.abs(rows).mean(axis=0, keepdims=True), np.finfo(float).tiny)
        seed = np.asarray(jax.random.key_data(key)).ravel().tolist()
        return rows + scale * np.random.default_rng(seed).normal(size=rows.shape)
    repeats = len(rows) - len(np.unique(rows, axis=0))
    if repeats:
        raise InvalidInputError(
            f"{name}: found {repeats} of {len(rows)} rows that repeat another; distinct rows are "
            "needed, or a key that allows noise of 1e-10 to tell them apart."
        )
    return rows


def _check_k(k: int, count: int) -> None:
    if not 1 <= k < count:
        raise InvalidInputError(f"k: found {k}; allowed are 1 ... {count - 1}.")


def _within(rows: Any, radius: Any) -> Any:
    """Return how many rows, itself too, lie within a distance of each."""
    return KDTree(rows).query_ball_point(rows, radius, p=np.inf, return_length=True)


def _extent(rows: Any, neighbours: Any) -> Any:
    return np.abs(rows[neighbours] - rows[:, None]).max(axis=(1, 2))


def _flag(dimensions: int) -> str:
    if dimensions <= MOST_DIMENSIONS:
        return ""
    return f"{dimensions} dimensions: far too little is to be expected beyond {MOST_DIMENSIONS}"
