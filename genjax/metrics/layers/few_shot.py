"""Few-shot accuracy: how well a handful of examples per class tells the classes of a layer apart.

Draws and episodes run side by side under vmap, in chunks that bound the memory.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from genjax.errors import InvalidInputError
from genjax.metrics.layers.checks import check_points
from genjax.metrics.layers.class_means import nearest_mean, varies

SHOTS = (1, 2, 5, 10, 20)
"""Examples per class of a curve."""
_HALF_WIDTH = 1.96
_CHUNK_BYTES = 2**27


class ShotCurve(NamedTuple):
    """Accuracy against examples per class.

    Attributes:
        shots: examples per class, `[S]`.
        accuracies: of every draw, `[S, T]`.
        mean: over draws, `[S]`.
        low: `mean - 1.96 sd / sqrt(T)`, `[S]` (ddof 1).
        high: `mean + 1.96 sd / sqrt(T)`, `[S]`.
    """

    shots: Int[np.ndarray, " S"]
    accuracies: Float[np.ndarray, "S T"]
    mean: Float[np.ndarray, " S"]
    low: Float[np.ndarray, " S"]
    high: Float[np.ndarray, " S"]


class Episodes(NamedTuple):
    """Accuracy over episodes.

    Attributes:
        mean: over episodes.
        half_width: `1.96 sd / sqrt(T)` (ddof 1).
        accuracies: of every episode, `[T]`.
    """

    mean: float
    half_width: float
    accuracies: Float[np.ndarray, " T"]


class _Classes(NamedTuple):
    """Where the examples of every class stand.

    Attributes:
        order: places of the examples, sorted by class, `[N]`.
        starts: of the classes in `order`, `[C]`.
        counts: of examples, `[C]`.
    """

    order: Array
    starts: Array
    counts: Array


def shot_curve(
    points: Any,
    labels: Any,
    key: Key[Array, ""],
    *,
    shots: Sequence[int] = SHOTS,
    draws: int = 20,
    classifier: str = "nearest_mean",
    queries: int = 2000,
    penalty: float = 0.1,
    chunk_size: int | None = None,
) -> ShotCurve:
    """Return the accuracy with a few training examples per class, over random draws of them.

    Every draw takes max(shots) examples of every class without replacement; the first K of each
    are the training set of K shots, and up to `queries` of the others, drawn at random, are tested:
    the same ones for every K, so that a curve compares like with like. Shares, higher is better;
    chance is about the share of the largest class. The interval is of the mean over draws from
    these points, and does not hold for other points. NaN for points that are all equal.

    Args:
        points: `[N, D]`.
        labels: `[N]`, whole numbers from 0 on; more than max(shots) examples of every class.
        key: of the draws.
        shots: examples per class.
        draws: T.
        classifier: "nearest_mean" or "ridge".
        queries: test examples of a draw, at most.
        penalty: of ridge, relative (see `ridge_weights`).
        chunk_size: draws at a time; None keeps them within 128 MiB.

    Raises:
        InvalidInputError: bad points or labels, too few examples of a class, bad settings.

    Example:
        >>> points, labels = jnp.eye(2).repeat(6, axis=0), jnp.array([0, 1]).repeat(6)
        >>> curve = shot_curve(points, labels, jax.random.key(0), shots=(1, 5), draws=8)
        >>> curve.accuracies.shape, float(curve.mean[1])
        ((2, 8), 1.0)
    """
    points, labels = check_points(points, labels)
    points = jnp.asarray(points)
    classes, targets = np.unique(np.asarray(labels), return_inverse=True)
    _check_settings(shots=min(shots, default=0), draws=draws, queries=queries)
    if classifier not in ("nearest_mean", "ridge"):
        raise InvalidInputError(
            f"classifier: unknown name '{classifier}'. Allowed: nearest_mean, ridge."
        )
    most = max(shots)
    _check_counts(classes, targets, most + 1, f"{most} shots and a query")
    queries = min(queries, points.shape[0] - most * classes.size)
    held = most * classes.size + queries
    fitting = _fitting(held * (points.shape[1] + classes.size), points, draws)
    if classifier == "ridge" and jax.default_backend() == "cpu":
        fitting = 1  # LAPACK factorises one matrix; XLA's batched form is far slower
    chunk = chunk_size or fitting
    found = _curve(
        points - jnp.mean(points, axis=0, keepdims=True),
        jnp.asarray(targets),
        jax.random.split(key, draws),
        jnp.asarray(penalty, points.dtype),
        shots=tuple(shots),
        queries=queries,
        num_classes=classes.size,
        ridge=classifier == "ridge",
        chunk=chunk,
    )
    accuracies = np.asarray(jnp.where(varies(points), found, jnp.nan)).T
    mean, half = _interval(accuracies)
    return ShotCurve(np.asarray(shots), accuracies, mean, mean - half, mean + half)


@partial(jax.jit, static_argnames=("shots", "queries", "num_classes", "ridge", "chunk"))
def _curve(
    points: Any,
    labels: Any,
    keys: Any,
    penalty: Any,
    *,
    shots: tuple[int, ...],
    queries: int,
    num_classes: int,
    ridge: bool,
    chunk: int,
) -> Any:
    most = max(shots)
    total = points.shape[0]

    def accuracy(train: Any, tests: Any, truth: Any) -> Any:
        count = train.shape[0]
        owners = jnp.repeat(jnp.arange(num_classes), count)
        flat = jnp.swapaxes(train, 0, 1).reshape(num_classes * count, -1)
        if ridge:
            found = _ridge(flat, owners, tests, penalty, num_classes)
        else:
            found = nearest_mean(tests, jnp.mean(train, axis=0))
        return jnp.mean((found == truth).astype(points.dtype))

    def of_draw(key: Any) -> Any:
        # Random order within every class: the first of each are drawn, the others are left.
        order = jnp.lexsort((jax.random.uniform(key, (total,)), labels))
        ordered = labels[order]
        rank = jnp.arange(total) - jnp.searchsorted(ordered, ordered, side="left")
        chosen = order[
            jnp.searchsorted(ordered, jnp.arange(num_classes))[None] + jnp.arange(most)[:, None]
        ]
        others = jax.random.uniform(jax.random.fold_in(key, 1), (total,)) + (rank < most)
        tests = order[jax.lax.top_k(-others, queries)[1]]
        return jnp.stack(
            [accuracy(points[chosen[:count]], points[tests], labels[tests]) for count in shots]
        )

    return jax.lax.map(of_draw, keys, batch_size=chunk)


def _ridge(points: Any, labels: Any, queries: Any, penalty: Any, num_classes: int) -> Any:
    """Do as `ridge_predictions` for one penalty: a Cholesky factor is cheaper than eigenvectors."""
    with jax.default_matmul_precision("highest"):
        mean, targets = jnp.mean(points, axis=0), jax.nn.one_hot(labels, num_classes)
        bias = jnp.mean(targets, axis=0)
        points, targets = points - mean[None], (targets - bias[None]).astype(points.dtype)
        primal = points.shape[1] <= points.shape[0]
        gram = points.T @ points if primal else points @ points.T
        ridge = penalty * jnp.trace(gram) / gram.shape[0]
        factor = jax.scipy.linalg.cho_factor(gram + ridge * jnp.eye(gram.shape[0]))
        right = points.T @ targets if primal else targets
        kernel = jax.scipy.linalg.cho_solve(factor, right)
        kernel = kernel if primal else points.T @ kernel
        return jnp.argmax((queries - mean[None]) @ kernel + bias[None], axis=1)


def simple_shot(
    points: Any,
    labels: Any,
    key: Key[Array, ""],
    *,
    base_mean: Any = None,
    ways: int = 5,
    shots: int = 1,
    queries: int = 15,
    episodes: int = 600,
    normalise: bool = True,
    chunk_size: int | None = None,
) -> Episodes:
    """Return the accuracy of SimpleShot over random episodes.

    An episode draws `ways` classes, `shots` training and `queries` test examples of each without
    replacement; points are centred by `base_mean` and divided by their norm (CL2N of Wang, Chao,
    Weinberger and van der Maaten 2019, arXiv 1911.04623), and a query belongs to the nearest mean
    of the training examples. 0 to 1, higher is better; chance is 1 / ways. NaN for points that are
    all equal.

    Args:
        points: `[N, D]`.
        labels: `[N]`, whole numbers from 0 on.
        key: of the episodes.
        base_mean: `[D]`, the mean of the examples of the classes trained on; None does not centre.
        ways: classes of an episode.
        shots: training examples of each.
        queries: test examples of each.
        episodes: T.
        normalise: whether points are divided by their norm; those of norm 0 stay 0.
        chunk_size: episodes at a time; None keeps them within 128 MiB.

    Raises:
        InvalidInputError: bad points or labels, fewer classes than `ways`, a class with fewer
            examples than `shots + queries`, a mean of another dimension, bad settings.

    Example:
        >>> points = jnp.array([[1.0, 0.0]] * 5 + [[0.0, 1.0]] * 5)
        >>> labels = jnp.repeat(jnp.array([0, 1]), 5)
        >>> found = simple_shot(points, labels, jax.random.key(0), ways=2, queries=3, episodes=10)
        >>> found.mean, found.half_width
        (1.0, 0.0)
    """
    points, labels = check_points(points, labels)
    points = jnp.asarray(points)
    _check_settings(ways=ways - 1, shots=shots, queries=queries, episodes=episodes)
    classes, targets = np.unique(np.asarray(labels), return_inverse=True)
    if classes.size < ways:
        raise InvalidInputError(f"ways: found {ways}; the labels have {classes.size} classes.")
    _check_counts(classes, targets, shots + queries, f"{shots} shots and {queries} queries")
    different = varies(points)
    if base_mean is not None:
        base_mean = jnp.asarray(base_mean, points.dtype)
        if base_mean.shape != points.shape[1:]:
            raise InvalidInputError(
                f"base_mean: found shape {base_mean.shape}; {points.shape[1:]} is needed."
            )
        points = points - base_mean[None]
    if normalise:
        norms = jnp.linalg.norm(points, axis=1, keepdims=True)
        points = points / jnp.where(norms > 0, norms, 1)
    # No distance depends on the origin, but far from it distances round.
    points = points - jnp.mean(points, axis=0, keepdims=True)
    counts = np.bincount(targets)
    where = _Classes(
        jnp.asarray(np.argsort(targets, kind="stable")),
        jnp.asarray(np.cumsum(counts) - counts),
        jnp.asarray(counts),
    )
    size = ways * ((shots + queries) * points.shape[1] + int(counts.max()))
    found = _episodes(
        points,
        where,
        jax.random.split(key, episodes),
        ways=ways,
        shots=shots,
        queries=queries,
        longest=int(counts.max()),
        chunk=chunk_size or _fitting(size, points, episodes),
    )
    accuracies = np.asarray(jnp.where(different, found, jnp.nan))
    mean, half = _interval(accuracies)
    return Episodes(float(mean), float(half), accuracies)


@partial(jax.jit, static_argnames=("ways", "shots", "queries", "longest", "chunk"))
def _episodes(
    points: Any,
    where: _Classes,
    keys: Any,
    *,
    ways: int,
    shots: int,
    queries: int,
    longest: int,
    chunk: int,
) -> Any:
    def of_episode(key: Any) -> Any:
        by_class, by_example = jax.random.split(key)
        chosen = jax.random.permutation(by_class, where.counts.shape[0])[:ways]
        draw = jax.random.uniform(by_example, (ways, longest))
        draw = jnp.where(jnp.arange(longest)[None] < where.counts[chosen][:, None], draw, -1)
        ranks = jax.lax.top_k(draw, shots + queries)[1]
        examples = points[where.order[where.starts[chosen][:, None] + ranks]]
        means = jnp.mean(examples[:, :shots], axis=1)
        tests = examples[:, shots:].reshape(ways * queries, -1)
        found = nearest_mean(tests, means)
        return jnp.mean((found == jnp.repeat(jnp.arange(ways), queries)).astype(points.dtype))

    return jax.lax.map(of_episode, keys, batch_size=chunk)


def _interval(accuracies: np.ndarray) -> tuple[Any, Any]:
    """Return the mean over the last axis and 1.96 standard errors; NaN with a single one."""
    count = accuracies.shape[-1]
    mean = accuracies.mean(axis=-1, dtype=np.float64)
    if count < 2:
        return mean, np.full_like(mean, np.nan)
    return mean, _HALF_WIDTH * accuracies.std(axis=-1, ddof=1, dtype=np.float64) / np.sqrt(count)


def _fitting(numbers: int, points: Any, most: int) -> int:
    return max(1, min(most, _CHUNK_BYTES // (numbers * points.dtype.itemsize)))


def _check_settings(**settings: int) -> None:
    for name, value in settings.items():
        if value < 1:
            found, least = (value + 1, 2) if name == "ways" else (value, 1)
            raise InvalidInputError(f"{name}: found {found}; at least {least} is needed.")


def _check_counts(classes: np.ndarray, targets: np.ndarray, needed: int, what: str) -> None:
    counts = np.bincount(targets)
    rarest = int(np.argmin(counts))
    if counts[rarest] < needed:
        raise InvalidInputError(
            f"labels: class {classes[rarest]} has {counts[rarest]} examples; {what} need {needed}."
        )
