"""k-means: greedy k-means++, Lloyd's iterations, several restarts and all of their partitions.

On a CPU scikit-learn does it. The jitted form is a pure function for accelerators and for many
small problems at once: `vmap` it over layers, bootstraps and subsets.
"""

import math
import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key
from threadpoolctl import threadpool_limits

from genjax.errors import InvalidInputError, suggest
from genjax.metrics.layers.checks import check_points

Host = np.ndarray

METHODS = ("auto", "scikit-learn", "jax")

_SEEDS = 2**32  # of NumPy


class Clustering(NamedTuple):
    """What k-means found in every restart.

    Attributes:
        assignments: cluster of every example, `[R, N]`.
        centres: of the best restart, `[K, D]`.
        inertia: sum of squared distances from the own centre, `[R]`.
        iterations: of Lloyd, `[R]`.
        best: the restart of smallest inertia, of equals the first.
    """

    assignments: Int[Array | Host, "R N"]
    centres: Float[Array | Host, "K D"]
    inertia: Float[Array | Host, " R"]
    iterations: Int[Array | Host, " R"]
    best: Int[Array | Host, ""]


def kmeans(
    points: Any,
    *,
    num_clusters: int,
    seed: int,
    restarts: int = 1,
    max_iterations: int = 300,
    tolerance: float = 1e-4,
    method: str = "auto",
) -> Clustering:
    """Cluster points by k-means and keep the partition of every restart.

    With scikit-learn restart r is `KMeans(num_clusters, random_state=seed + r, n_init=1)`, so that
    one restart is what `n_init="auto"` gives for that seed. In JAX its key is
    `fold_in(key(seed), r)`: the same distribution of partitions, but not the same partitions. On a
    CPU that others use, too, limit OpenMP to one thread (threadpoolctl) around a single restart:
    scikit-learn's threads wait for each other. Several restarts do so by themselves.

    Args:
        points: `[N, D]`.
        num_clusters: K.
        seed: of the first restart.
        restarts: R.
        max_iterations: of Lloyd in every restart.
        tolerance: a restart ends when the centres move by less: sum of squared shifts, relative to
            the mean variance of the columns. Also when no example changes its cluster.
        method: "scikit-learn", "jax", or "auto": scikit-learn on a CPU and JAX elsewhere.

    Returns:
        NumPy arrays. Where there are fewer different points than clusters, some stay empty.

    Raises:
        InvalidInputError: points that are not finite, fewer points than clusters, a count below 1,
            a negative tolerance or a seed that NumPy does not take.

    Example:
        >>> found = kmeans([[0.0], [0.1], [5.0], [5.1]], num_clusters=2, seed=0)
        >>> bool(found.assignments[0, 0] == found.assignments[0, 1])
        True
        >>> found.inertia.round(4).tolist()
        [0.01]
    """
    if method not in METHODS:
        raise InvalidInputError(suggest("method", method, METHODS))
    points, _ = check_points(points)
    check_counts(len(points), num_clusters, restarts, max_iterations)
    if not tolerance >= 0:
        raise InvalidInputError(f"tolerance: found {tolerance}; 0 or more is needed.")
    if not 0 <= seed <= _SEEDS - restarts:
        raise InvalidInputError(f"seed: found {seed}; allowed are 0 ... {_SEEDS - restarts}.")
    if method == "auto":
        method = "scikit-learn" if jax.default_backend() == "cpu" else "jax"
    if method == "jax":
        found = kmeans_jitted(
            jnp.asarray(points),
            jax.random.key(seed),
            num_clusters=num_clusters,
            restarts=restarts,
            max_iterations=max_iterations,
            tolerance=tolerance,
        )
        return Clustering(*(np.asarray(each) for each in found))
    return _scikit_learn(
        np.asarray(points), num_clusters, seed, restarts, max_iterations, tolerance
    )


@partial(jax.jit, static_argnames=("num_clusters", "restarts", "max_iterations", "num_known"))
def kmeans_jitted(
    points: Float[Array, "N D"],
    key: Key[Array, ""],
    *,
    num_clusters: int,
    weights: Float[Array, " N"] | None = None,
    known: Int[Array, " N"] | None = None,
    num_known: int = 0,
    restarts: int = 1,
    max_iterations: int = 300,
    tolerance: float | Float[Array, ""] = 1e-4,
) -> Clustering:
    """k-means as a pure function, to be vmapped over layers, bootstraps or subsets.

    Greedy k-means++ with 2 + log K trials (Arthur and Vassilvitskii 2007, as in scikit-learn), then
    Lloyd; a cluster that runs empty moves to the example farthest from its centre. Restarts are
    vmapped and go on until the last has converged.

    Args:
        points: `[N, D]`; distances are taken about their mean.
        key: restart r draws with `fold_in(key, r)`.
        num_clusters: K; static.
        weights: of the examples, not all 0. Examples of weight 0 are assigned but move nothing:
            subsets of different sizes are padded so.
        known: cluster in 0 ... num_known - 1 of the examples that stay where they are, -1 of the
            others; the first `num_known` centres start as their means (semi-supervised k-means).
        num_known: static.
        restarts: R; static.
        max_iterations: static.
        tolerance: as in `kmeans`.

    Returns:
        JAX arrays; the inertia is weighted.

    Example:
        >>> points = jnp.array([[0.0], [0.1], [5.0], [5.1]])
        >>> subsets = jnp.array([[1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 0.0, 1.0]])
        >>> found = jax.vmap(
        ...     lambda weights: kmeans_jitted(
        ...         points, jax.random.key(0), num_clusters=2, weights=weights
        ...     )
        ... )(subsets)
        >>> found.inertia[:, 0].round(4).tolist()
        [0.009999999776482582, 0.004999999888241291]
    """
    if weights is None:
        weights = jnp.ones(points.shape[0], points.dtype)
    if known is None:
        known = jnp.full(points.shape[0], -1)
    share = weights / jnp.sum(weights)
    mean = jnp.sum(points * share[:, None], axis=0)
    # About the mean: squared distances far from the origin would round.
    points = points - mean[None]
    variance = jnp.mean(jnp.sum(points * points * share[:, None], axis=0))

    def restart(r):
        centres = plus_plus(
            points,
            jax.random.fold_in(key, r),
            weights,
            known,
            num_clusters=num_clusters,
            num_known=num_known,
        )
        return lloyd(
            points,
            centres,
            weights,
            known,
            tolerance * variance,
            max_iterations=max_iterations,
        )

    assignments, centres, inertia, iterations = jax.vmap(restart)(jnp.arange(restarts))
    best = jnp.argmin(inertia)
    return Clustering(assignments, centres[best] + mean[None], inertia, iterations, best)


def plus_plus(
    points: Float[Array, "N D"],
    key: Key[Array, ""],
    weights: Float[Array, " N"],
    known: Int[Array, " N"],
    *,
    num_clusters: int,
    num_known: int = 0,
) -> Float[Array, "K D"]:
    """Draw centres among the points by greedy k-means++; those of known clusters are their means.

    Of 2 + log K candidates, drawn by weight times squared distance from the nearest centre, the one
    that leaves the smallest sum of them is taken.

    Example:
        >>> points = jnp.array([[0.0], [9.0]])
        >>> centres = plus_plus(
        ...     points, jax.random.key(0), jnp.ones(2), jnp.array([-1, -1]), num_clusters=2
        ... )
        >>> sorted(centres[:, 0].tolist())
        [0.0, 9.0]
    """
    count = points.shape[0]
    free = jnp.where(known < 0, weights, 0.0)
    norms = jnp.sum(points * points, axis=1)
    last = count - 1 - jnp.argmax(free[::-1] > 0)

    def draw(amounts, uniform):
        """Indices with probability proportional to the amounts, which may all be 0."""
        cumulative = jnp.cumsum(amounts)
        reached = cumulative[None] <= (uniform * cumulative[-1])[:, None]
        return jnp.minimum(jnp.sum(reached, axis=1), last)

    trials = 2 + int(math.log(num_clusters))
    uniform = jax.random.uniform(key, (num_clusters, trials), points.dtype)
    centres = jnp.zeros((num_clusters, points.shape[1]), points.dtype)
    if num_known:
        means, there = _means(points, weights, known, num_known)
        centres = centres.at[:num_known].set(jnp.where(there[:, None] > 0, means, 0.0))
        closest = jnp.min(_squared_distances(points, norms, centres[:num_known]), axis=1)
    else:
        first = draw(free, uniform[0, :1])[0]
        centres = centres.at[0].set(points[first])
        closest = _squared_distances(points, norms, centres[:1])[:, 0]

    def add(c, state):
        centres, closest = state
        candidates = points[draw(free * closest, uniform[c])]
        left = jnp.minimum(closest[:, None], _squared_distances(points, norms, candidates))
        best = jnp.argmin(jnp.sum(left * free[:, None], axis=0))
        return centres.at[c].set(candidates[best]), left[:, best]

    return jax.lax.fori_loop(max(num_known, 1), num_clusters, add, (centres, closest))[0]


def lloyd(
    points: Float[Array, "N D"],
    centres: Float[Array, "K D"],
    weights: Float[Array, " N"],
    known: Int[Array, " N"],
    tolerance: Float[Array, ""],
    *,
    max_iterations: int,
) -> tuple[Int[Array, " N"], Float[Array, "K D"], Float[Array, ""], Int[Array, ""]]:
    """Assign points to the nearest centre and move centres to the means, until nothing moves.

    Args:
        points: about their mean.
        centres: to begin with.
        weights: `[N]`.
        known: cluster of the examples that stay, -1 of the others.
        tolerance: end where the sum of squared shifts of the centres is no larger.
        max_iterations: end in any case.

    Returns:
        Assignments, centres, weighted inertia, iterations.

    Example:
        >>> points = jnp.array([[0.0], [1.0], [8.0]])
        >>> found = lloyd(
        ...     points, points[:2], jnp.ones(3), jnp.full(3, -1), jnp.zeros(()), max_iterations=9
        ... )
        >>> found[0].tolist(), found[1].tolist(), float(found[2])
        ([0, 0, 1], [[0.5], [8.0]], 0.5)
    """
    norms, num_clusters = jnp.sum(points * points, axis=1), centres.shape[0]

    def assign(centres):
        squared = _squared_distances(points, norms, centres)
        labels = jnp.where(known >= 0, known, jnp.argmin(squared, axis=1)).astype(jnp.int32)
        return labels, jnp.take_along_axis(squared, labels[:, None], axis=1)[:, 0]

    def step(state):
        centres, before, iteration, _ = state
        labels, own = assign(centres)
        filled = jnp.zeros(num_clusters, bool).at[labels].max(weights > 0)
        moved = jax.lax.cond(
            jnp.all(filled),
            lambda: labels,
            lambda: _refill(labels, filled, jnp.where((weights > 0) & (known < 0), own, 0.0)),
        )
        means, mass = _means(points, weights, moved, num_clusters)
        means = jnp.where(mass[:, None] > 0, means, centres)
        shift = jnp.sum((means - centres) ** 2)
        done = jnp.all(labels == before) | (shift <= tolerance)
        return means, labels, iteration + 1, done

    def goes_on(state):
        return (state[2] < max_iterations) & ~state[3]

    nowhere = jnp.full(points.shape[0], -1, jnp.int32)
    start = (centres, nowhere, jnp.int32(0), jnp.bool_(False))
    centres, _, iterations, _ = jax.lax.while_loop(goes_on, step, start)
    labels, _ = assign(centres)
    own = jnp.sum((points - centres[labels]) ** 2, axis=1)
    return labels, centres, jnp.sum(weights * own), iterations


def _squared_distances(points: Any, norms: Any, centres: Any) -> Any:
    """Return squared distances `[N, K]`, at least 0."""
    product = jnp.matmul(points, centres.T, precision="highest")
    squared = norms[:, None] + jnp.sum(centres * centres, axis=1)[None] - 2.0 * product
    return jnp.maximum(squared, 0.0)


def _means(points: Any, weights: Any, labels: Any, num_clusters: int) -> tuple[Any, Any]:
    """Return weighted means `[K, D]`, 0 where there is nothing, and weights `[K]`."""
    member = jax.nn.one_hot(labels, num_clusters, dtype=points.dtype) * weights[:, None]
    mass = jnp.sum(member, axis=0)
    sums = jnp.matmul(member.T, points, precision="highest")
    return sums / jnp.where(mass > 0, mass, 1.0)[:, None], mass


def _refill(labels: Any, filled: Any, own: Any) -> Any:
    """Give the e-th empty cluster the e-th farthest example, if that is not at its centre."""
    num_clusters, count = filled.shape[0], labels.shape[0]
    distance, farthest = jax.lax.top_k(own, min(num_clusters, count))
    rank = jnp.minimum(jnp.cumsum(~filled) - 1, farthest.shape[0] - 1)
    give = ~filled & (distance[rank] > 0)
    return labels.at[jnp.where(give, farthest[rank], count)].set(
        jnp.arange(num_clusters, dtype=labels.dtype), mode="drop"
    )


def _scikit_learn(
    points: Host, num_clusters: int, seed: int, restarts: int, max_iterations: int, tolerance: float
) -> Clustering:
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    def fit(restart: int) -> Any:
        model = KMeans(
            num_clusters,
            n_init="auto",  # one
            random_state=seed + restart,
            max_iter=max_iterations,
            tol=tolerance,
        )
        if restarts == 1:
            return model.fit(points)
        with threadpool_limits(1, user_api="openmp"):
            return model.fit(points)

    with warnings.catch_warnings():
        # Fewer different points than clusters: the empty ones are plain to see in the assignments.
        warnings.simplefilter("ignore", ConvergenceWarning)
        if restarts == 1:
            found = [fit(0)]
        else:
            # One thread per restart: threads within one wait for each other at every iteration.
            # Each fit limits BLAS and sets it back, and so would leave it limited to the others.
            workers = ThreadPoolExecutor(min(restarts, os.cpu_count() or 1))
            with threadpool_limits(1, user_api="blas"), workers:
                found = list(workers.map(fit, range(restarts)))
    inertia = np.array([model.inertia_ for model in found], points.dtype)
    best = np.argmin(inertia)
    return Clustering(
        np.stack([model.labels_ for model in found]),
        found[best].cluster_centers_,
        inertia,
        np.array([model.n_iter_ for model in found], np.int32),
        np.asarray(best, np.int32),
    )


def check_counts(points: int, num_clusters: int, restarts: int, max_iterations: int) -> None:
    """Refuse counts that k-means is not defined for.

    Raises:
        InvalidInputError: fewer points than clusters, or a count below 1.

    Example:
        >>> check_counts(3, 4, 1, 300)
        Traceback (most recent call last):
        ...
        genjax.errors.InvalidInputError: num_clusters: found 4 for 3 points; 1 ... 3 are allowed.
    """
    if not 1 <= num_clusters <= points:
        raise InvalidInputError(
            f"num_clusters: found {num_clusters} for {points} points; 1 ... {points} are allowed."
        )
    for name, value in (("restarts", restarts), ("max_iterations", max_iterations)):
        if value < 1:
            raise InvalidInputError(f"{name}: found {value}; at least 1 is needed.")
