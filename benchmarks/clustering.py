"""Clusters of embeddings against scikit-learn: scores of agreement, k-means, silhouette.

    python benchmarks/clustering.py [--examples=10000 --classes=100 --width=512 --draws=200]

All forms run in one process on the same data, and no time is printed before values are compared:
scores to 1e-10, silhouettes to 1e-4 (float32), inertia to 1 %. Bootstraps and permutations of both
sides draw the same examples; the draws of tables are compared by their means.
"""

import argparse

import numpy as np
import timing
from scipy.optimize import linear_sum_assignment
from sklearn import metrics
from sklearn.cluster import KMeans
from sklearn.metrics.cluster import contingency_matrix

from genjax.metrics.layers import contingency, contingency_draws
from genjax.metrics.layers.clustering import kmeans
from genjax.metrics.layers.silhouette import silhouette


def hungarian(labels, clusters):
    table = contingency_matrix(labels, clusters)
    return table[linear_sum_assignment(table, maximize=True)].sum() / len(labels)


SCORES = {
    "nmi": (metrics.normalized_mutual_info_score, contingency.normalized_mutual_information),
    "ami": (metrics.adjusted_mutual_info_score, contingency.adjusted_mutual_information),
    "ari": (metrics.adjusted_rand_score, contingency.adjusted_rand_index),
    "hungarian": (hungarian, contingency.hungarian_accuracy),
}


def compare(rows, name, theirs, forms, repetitions, agree):
    """Time scikit-learn once or more and each of our forms, and print it when they agree."""
    their_seconds, their_values = timing.timed(theirs, repetitions)
    for form, function in forms.items():
        function()
        seconds, values = timing.timed(function, max(3, repetitions))
        agree(form, values, their_values)
        row = {
            "what": name,
            "form": form,
            "milliseconds": 1e3 * seconds,
            "scikit_learn_milliseconds": 1e3 * their_seconds,
            "genjax_is_faster_by": their_seconds / seconds,
        }
        rows.append(row)
        print(
            f"{name:28s} {form:8s} {row['milliseconds']:10.2f} ms   scikit-learn "
            f"{row['scikit_learn_milliseconds']:10.2f} ms   {row['genjax_is_faster_by']:7.1f}x"
        )


def same(form, values, expected):
    np.testing.assert_allclose(values, expected, atol=1e-10, err_msg=form)


def same_mean(form, values, expected):
    """Values of the same draws agree one by one, those of other draws on average."""
    if form == "paired":
        return same(form, values, expected)
    error = np.sqrt((np.var(values) + np.var(expected)) / len(expected))
    difference = abs(np.mean(values) - np.mean(expected))
    assert difference <= 5 * error + 1e-10, (form, difference, error)


def compare_scores(rows, labels, clusters, options):
    """Compare each score of one partition, of bootstraps and of permutations."""
    sizes = {"num_classes": options.classes, "num_clusters": options.classes}
    table = contingency.contingency_table(labels, clusters, **sizes)

    def looped(score, permute):
        rng, found = np.random.default_rng(1), []
        for _ in range(options.draws):
            if permute:
                found.append(score(rng.permutation(labels), clusters))
            else:
                drawn = rng.integers(0, len(labels), len(labels))
                found.append(score(labels[drawn], clusters[drawn]))
        return np.array(found)

    def paired(score, permute):
        drawn = contingency_draws.paired_tables(
            labels, clusters[None], 1, options.draws, permute=permute, **sizes
        )
        return score(drawn[:, 0])

    for name, (theirs, ours) in SCORES.items():
        one = {
            "one": lambda ours=ours: ours(contingency.contingency_table(labels, clusters, **sizes))
        }
        compare(rows, name, lambda theirs=theirs: theirs(labels, clusters), one, 5, same)
        for permute, draw in (
            (False, contingency_draws.resampled_tables),
            (True, contingency_draws.permuted_tables),
        ):
            forms = {
                "tables": lambda ours=ours, draw=draw: ours(draw(table, 2, options.draws)),
                "paired": lambda ours=ours, permute=permute: paired(ours, permute),
            }
            label = f"{name}, {options.draws} {'permutations' if permute else 'bootstraps'}"
            their_loop = lambda theirs=theirs, permute=permute: looped(theirs, permute)  # noqa: E731
            compare(rows, label, their_loop, forms, 1, same_mean)


def compare_points(rows, points, labels, options):
    """Compare k-means and silhouettes."""

    def near(tolerance):
        def agree(form, values, expected):
            np.testing.assert_allclose(values, expected, **tolerance, err_msg=form)

        return agree

    for restarts in (1, options.restarts):

        def theirs(restarts=restarts):
            model = KMeans(options.classes, n_init=restarts, random_state=0)
            return model.fit(points).inertia_

        def ours(method, restarts=restarts):
            sizes = {"num_clusters": options.classes, "seed": 0, "restarts": restarts}
            return kmeans(points, method=method, **sizes).inertia.min()

        forms = {"auto": lambda: ours("auto"), "jax": lambda: ours("jax")}
        close = near({"rtol": 0.01})
        compare(rows, f"k-means, {restarts} restarts", theirs, forms, 3, close)
    compare(
        rows,
        "silhouette",
        lambda: metrics.silhouette_samples(points, labels),
        {"auto": lambda: silhouette(points, labels, num_classes=options.classes).values},
        1,
        near({"atol": 1e-4}),
    )


def main():
    """Compare, print a table and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    sizes = {"examples": 10_000, "classes": 100, "width": 512, "draws": 200, "restarts": 10}
    for name, value in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--output")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    labels = np.concatenate(
        [np.arange(options.classes), rng.integers(0, options.classes, options.examples)]
    )[: options.examples]
    centres = rng.normal(size=(options.classes, options.width)) / 3
    points = centres[labels] + rng.normal(size=(options.examples, options.width))
    points = points.astype(np.float32)
    clusters = kmeans(points, num_clusters=options.classes, seed=0).assignments[0].astype(np.int64)
    rows = []
    compare_scores(rows, labels, clusters, options)
    compare_points(rows, points, labels, options)
    timing.write(options.output, shape={n: getattr(options, n) for n in sizes}, rows=rows)


if __name__ == "__main__":
    main()
