"""Nearest neighbours and their scores, with bootstrap and permutations, against scikit-learn.

    python benchmarks/neighbours.py [--examples=10000 --dimensions=512 --classes=100 --k=500]

Both libraries run in one process on the same points and must agree before a time is printed.
scikit-learn's loops, which search every sample anew, run on a few draws and genjax on the same few;
genjax's time for all draws stands beside it. Nothing is multiplied.
"""

import argparse

import numpy as np
import timing
from sklearn.neighbors import NearestNeighbors

from genjax.metrics.layers import neighbour_draws as draws
from genjax.metrics.layers import neighbour_scores as scores
from genjax.metrics.layers.neighbours import nearest


def searched(points, k):
    found = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(points).kneighbors()
    return found[0], found[1]


def purity_of(points, labels, k):
    _, indices = searched(points, k)
    return float(np.mean(labels[indices] == labels[:, None]))


def scored(points, labels, k):
    """Return purity, vote accuracy, R-precision and MAP@R from one search of scikit-learn."""
    _, indices = searched(points, k)
    voters = labels[indices]
    same = voters == labels[:, None]
    votes = np.array([np.bincount(row, minlength=labels.max() + 1).argmax() for row in voters])
    sought = np.bincount(labels)[labels] - 1
    precisions, averages = [], []
    for row, r in zip(same, sought, strict=True):
        hits = row[:r]
        precisions.append(hits.mean())
        averages.append(np.sum(np.cumsum(hits) / np.arange(1, r + 1) * hits) / r)
    return [same.mean(), np.mean(votes == labels), np.mean(precisions), np.mean(averages)]


def ours_scored(points, labels, k):
    ranking = scores.ranked(points, labels, k_max=k)
    return [
        scores.purity(ranking, k=k),
        scores.knn_accuracy(ranking, k=k),
        scores.r_precision(ranking),
        scores.map_at_r(ranking),
    ]


def resampled(points, labels, weights, k):
    """Return the purity of one bootstrap sample by a new search with scikit-learn."""
    sample = np.repeat(np.arange(len(labels)), weights)
    asked = np.flatnonzero(weights)
    model = NearestNeighbors(n_neighbors=k + int(weights.max()), algorithm="brute")
    indices = sample[model.fit(points[sample]).kneighbors(points[asked], return_distance=False)]
    others = indices != asked[:, None]
    counted = others & (np.cumsum(others, axis=1) <= k)
    same = labels[indices] == labels[asked, None]
    return float(np.average(np.sum(same & counted, axis=1) / k, weights=weights[asked]))


def rows_of(task, times):
    """Return table rows with the factor by which the first form, genjax, is faster."""
    own = times[0][1]
    return [
        {"task": task, "form": form, "seconds": seconds, "genjax_is_faster_by": seconds / own}
        for form, seconds in times
    ]


def search_rows(points, sizes):
    rows = []
    for k in sizes:
        numpy_time, found = timing.timed(
            lambda k=k: nearest(points, k=k, method="numpy"), 3, warm=True
        )
        jax_time, on_device = timing.timed(
            lambda k=k: nearest(points, k=k, method="jax"), 1, warm=True
        )
        peer_time, peer = timing.timed(lambda k=k: searched(points, k), 3, warm=True)
        for other in (on_device.distances, peer[0]):
            np.testing.assert_allclose(found.distances, other, rtol=1e-4)
        assert np.mean(found.indices == peer[1]) > 0.99  # near ties may change places
        times = [("genjax numpy", numpy_time), ("genjax jax", jax_time)]
        rows += rows_of(f"search, k = {k}", [*times, ("scikit-learn brute", peer_time)])
    return rows


def score_rows(points, labels, k):
    ours_time, ours = timing.timed(lambda: ours_scored(points, labels, k), 3, warm=True)
    peer_time, peer = timing.timed(lambda: scored(points, labels, k), 1, warm=True)
    np.testing.assert_allclose(ours, peer, atol=1e-5)
    return rows_of("search and 4 scores", [("genjax", ours_time), ("scikit-learn", peer_time)])


def draw_rows(points, labels, k, count, few):
    ranking = scores.ranked(points, labels, k_max=draws.list_length(k, len(labels)))
    weights = draws.bootstrap_weights(count, len(labels), seed=0)
    ours_time, ours = timing.timed(
        lambda: draws.purity_draws(ranking, weights[:few], k=k), 3, warm=True
    )
    all_time, every = timing.timed(lambda: draws.purity_draws(ranking, weights, k=k), 1, warm=True)
    at_r_time, _ = timing.timed(lambda: draws.r_precision_draws(ranking, weights), 1, warm=True)
    map_time, _ = timing.timed(lambda: draws.map_at_r_draws(ranking, weights), 1, warm=True)
    peer_time, peer = timing.timed(
        lambda: [resampled(points, labels, row, k) for row in weights[:few]]
    )
    np.testing.assert_allclose(ours, peer, atol=1e-5)
    np.testing.assert_allclose(every[:few], ours, rtol=1e-10)
    times = [("genjax", ours_time), ("scikit-learn, new search", peer_time)]
    rows = rows_of(f"purity, {few} bootstrap draws", times)
    rows += rows_of(f"purity, {count} bootstrap draws", [("genjax", all_time)])
    rows += rows_of(f"R-precision, {count} bootstrap draws", [("genjax", at_r_time)])
    return rows + rows_of(f"MAP@R, {count} bootstrap draws", [("genjax", map_time)])


def permutation_rows(points, labels, k, count, few):
    ranking = scores.ranked(points, labels, k_max=k)
    permuted = draws.permuted_labels(labels, count, seed=0)

    def ours(rows):
        return draws.permuted_scores(ranking, rows, k=k, at_r=False).purity

    def listed():
        return [np.mean(row[ranking.indices] == row[:, None]) for row in permuted]

    few_time, found = timing.timed(lambda: ours(permuted[:few]), 3, warm=True)
    all_time, every = timing.timed(lambda: ours(permuted), 3, warm=True)
    at_r_time, _ = timing.timed(lambda: draws.permuted_scores(ranking, permuted), 1, warm=True)
    listed_time, same_lists = timing.timed(listed)
    peer_time, peer = timing.timed(lambda: [purity_of(points, row, k) for row in permuted[:few]])
    np.testing.assert_allclose(found, peer, atol=1e-5)
    np.testing.assert_allclose(every, same_lists, rtol=1e-6)
    few_times = [("genjax", few_time), ("scikit-learn, new search", peer_time)]
    rows = rows_of(f"purity, {few} permutations", few_times)
    times = [("genjax", all_time), ("NumPy loop over the same lists", listed_time)]
    rows += rows_of(f"purity, {count} permutations", times)
    return rows + rows_of(f"R-precision and MAP@R, {count} permutations", [("genjax", at_r_time)])


def main():
    """Compare, print a table and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    sizes = {"examples": 10_000, "dimensions": 512, "classes": 100, "k": 500, "draws": 200}
    for name, value in (sizes | {"few": 3}).items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--output")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    labels = rng.integers(0, options.classes, options.examples)
    centres = rng.normal(0, 0.3, (options.classes, options.dimensions))
    points = centres[labels] + rng.normal(size=(options.examples, options.dimensions))
    points = points.astype(np.float32)
    k, count, few = options.k, options.draws, options.few
    rows = search_rows(points, sorted({k, min(k, 100)}))
    rows += score_rows(points, labels, k)
    rows += draw_rows(points, labels, k, count, few)
    rows += permutation_rows(points, labels, k, count, few)
    for row in rows:
        factor = row["genjax_is_faster_by"]
        print(f"{row['task']:42s} {row['form']:32s} {row['seconds']:9.3f} s {factor:8.1f}x")
    shape = {name: getattr(options, name) for name in (*sizes, "few")}
    timing.write(options.output, shape=shape, rows=rows)


if __name__ == "__main__":
    main()
