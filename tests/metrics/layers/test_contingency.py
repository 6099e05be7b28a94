"""Scores of contingency tables against scikit-learn, exact fractions and the definition."""

import itertools
import math
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import gammaln
from sklearn import metrics

from genjax.errors import InvalidInputError
from genjax.metrics.layers.contingency import (
    adjusted_mutual_information,
    adjusted_rand_index,
    contingency_table,
    hungarian_accuracy,
    mutual_information,
    normalized_mutual_information,
)
from genjax.metrics.layers.expected_information import expected_mutual_information

_MEANS = ("arithmetic", "geometric", "min", "max")


def _partitions(seed=0):
    """Pairs of partitions: near chance, near truth, one cluster, singletons, uneven."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 5, 300)
    noisy = np.where(rng.random(300) < 0.7, labels, rng.integers(0, 8, 300))
    uneven = rng.choice(6, 300, p=[0.9, 0.05, 0.02, 0.01, 0.01, 0.01])
    return {
        "chance": (labels, rng.integers(0, 7, 300)),
        "noisy": (labels, noisy),
        "same": (labels, (labels + 2) % 5),
        "uneven": (uneven, labels),
        "one cluster": (labels, np.zeros(300, int)),
        "one class": (np.zeros(300, int), labels),
        "one of both": (np.zeros(9, int), np.zeros(9, int)),
        "singleton clusters": (labels, np.arange(300)),
        "singletons": (np.arange(40), np.arange(40)[::-1]),
        "two examples": (np.array([0, 1]), np.array([0, 0])),
        "one example": (np.array([0]), np.array([0])),
        "independent": (np.repeat([0, 1, 2], 6), np.tile([0, 1], 9)),
        "empty rows": (labels * 2 + 1, noisy + 3),
    }


def _table(labels, clusters):
    return contingency_table(
        labels, clusters, num_classes=int(labels.max()) + 2, num_clusters=int(clusters.max()) + 2
    )


@pytest.mark.parametrize("kind", _partitions())
def test_scores_are_those_of_scikit_learn(kind):
    labels, clusters = _partitions()[kind]
    table = _table(labels, clusters)
    assert mutual_information(table) == pytest.approx(
        metrics.mutual_info_score(labels, clusters), abs=1e-10
    )
    assert adjusted_rand_index(table) == pytest.approx(
        metrics.adjusted_rand_score(labels, clusters), abs=1e-10
    )
    for mean in _MEANS:
        assert normalized_mutual_information(table, normalisation=mean) == pytest.approx(
            metrics.normalized_mutual_info_score(labels, clusters, average_method=mean), abs=1e-10
        )


# 0 / 0 for one cluster per example and the smaller entropy: the next test.
_DEFINED = [
    (kind, mean)
    for kind in _partitions()
    for mean in _MEANS
    if (kind, mean) != ("singleton clusters", "min")
]


@pytest.mark.parametrize(("kind", "mean"), _DEFINED)
def test_adjusted_mutual_information_is_that_of_scikit_learn(kind, mean):
    labels, clusters = _partitions()[kind]
    found = adjusted_mutual_information(_table(labels, clusters), normalisation=mean)
    expected = metrics.adjusted_mutual_info_score(labels, clusters, average_method=mean)
    assert found == pytest.approx(expected, abs=1e-10)


def test_nothing_to_gain_is_undefined_unless_both_are_the_same():
    # With one cluster per example the information is the entropy of the classes whatever they are.
    table = _table(np.array([0, 0, 1]), np.arange(3))
    assert np.isnan(adjusted_mutual_information(table, normalisation="min"))
    assert adjusted_mutual_information(table) == 0.0
    assert adjusted_mutual_information(np.eye(7)) == 1.0


def test_batches_with_different_totals_are_loops():
    rng = np.random.default_rng(1)
    tables = rng.integers(0, 9, (3, 4, 5, 6)).astype(float)
    tables[0, 0] = 0.0
    tables[0, 1] *= 3
    for score in (
        mutual_information,
        normalized_mutual_information,
        adjusted_mutual_information,
        adjusted_rand_index,
        hungarian_accuracy,
    ):
        found = score(tables)
        assert found.shape == (3, 4)
        assert np.isnan(found[0, 0])
        one_by_one = [[score(table) for table in row] for row in tables]
        np.testing.assert_allclose(found, np.array(one_by_one), rtol=1e-12, atol=1e-13)


def _exact_expectation(rows, columns):
    """Sum over all values of all cells with exact probabilities."""
    total, found = sum(rows), 0.0
    for a, b in itertools.product(rows, columns):
        for n in range(max(1, a + b - total), min(a, b) + 1):
            probability = Fraction(
                math.comb(a, n) * math.comb(total - a, b - n), math.comb(total, b)
            )
            found += float(probability) * n / total * math.log(total * n / (a * b))
    return found


@pytest.mark.parametrize(
    ("rows", "columns"),
    [([7, 5, 3], [6, 6, 3]), ([90, 9, 1], [50, 50]), ([1, 1, 998], [400, 600]), ([200], [150, 50])],
)
def test_expectation_is_the_exact_sum(rows, columns):
    found = expected_mutual_information(np.array(rows, float), np.array(columns, float))
    assert float(found) == pytest.approx(_exact_expectation(rows, columns), rel=1e-11, abs=1e-14)


def test_expectation_at_fifty_thousand_examples():
    rows, columns = np.array([49_000, 700, 300]), np.array([20_000, 29_990, 10])
    total, expected = 50_000, 0.0
    for a, b in itertools.product(rows, columns):
        n = np.arange(max(1, a + b - total), min(a, b) + 1, dtype=float)
        log_mass = (
            gammaln(a + 1) - gammaln(n + 1) - gammaln(a - n + 1)
            + gammaln(total - a + 1) - gammaln(b - n + 1) - gammaln(total - a - b + n + 1)
        )  # fmt: skip
        mass = np.exp(log_mass - log_mass.max())
        with_zero = a + b <= total  # n = 0 is possible and adds nothing to the sum
        zero = gammaln(a + 1) + gammaln(total - a + 1) - gammaln(a + 1)
        zero = np.exp(zero - gammaln(b + 1) - gammaln(total - a - b + 1) - log_mass.max())
        mass /= mass.sum() + (zero if with_zero else 0.0)
        expected += np.sum(mass * n / total * np.log(total * n / (a * b)))
    found = expected_mutual_information(rows.astype(float), columns.astype(float))
    assert float(found) == pytest.approx(expected, rel=1e-8)


def test_float32_counts_of_fifty_thousand_examples_keep_their_digits():
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 20, 50_000)
    clusters = np.where(rng.random(50_000) < 0.05, labels, rng.integers(0, 30, 50_000))
    table = contingency_table(
        jnp.asarray(labels), jnp.asarray(clusters), num_classes=20, num_clusters=30
    )
    assert table.dtype == jnp.float32
    for ours, theirs in (
        (mutual_information, metrics.mutual_info_score),
        (normalized_mutual_information, metrics.normalized_mutual_info_score),
        (adjusted_mutual_information, metrics.adjusted_mutual_info_score),
        (adjusted_rand_index, metrics.adjusted_rand_score),
    ):
        assert ours(table) == pytest.approx(theirs(labels, clusters), abs=1e-10)


def test_shared_margins_and_unique_pairs_agree():
    """Many tables with all different margins take another way than tables with few of them."""
    rng = np.random.default_rng(3)
    tables = rng.multinomial(4000, np.full(6, 1 / 6), size=50).reshape(50, 2, 3).astype(float)
    found = expected_mutual_information(tables.sum(2), tables.sum(1))
    alone = [expected_mutual_information(t.sum(1), t.sum(0)) for t in tables]
    np.testing.assert_allclose(found, np.array(alone), rtol=1e-12)


@pytest.mark.parametrize(("classes", "clusters"), [(3, 3), (4, 3), (3, 5)])
def test_hungarian_accuracy_is_the_best_of_all_namings(classes, clusters):
    rng = np.random.default_rng(4)
    for _ in range(20):
        table = rng.integers(0, 9, (classes, clusters))
        padded = np.zeros((max(table.shape), max(table.shape)))
        padded[:classes, :clusters] = table
        best = max(
            padded[np.arange(len(padded)), list(order)].sum()
            for order in itertools.permutations(range(len(padded)))
        )
        assert hungarian_accuracy(table) == best / table.sum()


def test_scores_do_not_depend_on_the_names_of_clusters():
    rng = np.random.default_rng(5)
    table = rng.integers(0, 20, (6, 9)).astype(float)
    shuffled = table[rng.permutation(6)][:, rng.permutation(9)]
    for score in (adjusted_mutual_information, adjusted_rand_index, hungarian_accuracy):
        assert score(table) == pytest.approx(score(shuffled), abs=1e-13)


def test_counting_is_the_same_in_numpy_jit_and_vmap():
    rng = np.random.default_rng(6)
    labels, clusters = rng.integers(0, 4, 200), rng.integers(0, 6, (5, 200))
    sizes: dict[str, Any] = {"num_classes": 4, "num_clusters": 6}
    matrix: Any = metrics.cluster.contingency_matrix
    expected = np.stack([matrix(labels, row) for row in clusters])
    np.testing.assert_array_equal(contingency_table(labels, clusters, **sizes), expected)
    on_device = jnp.asarray(labels), jnp.asarray(clusters)
    jitted = jax.jit(lambda y, z: contingency_table(y, z, **sizes))(*on_device)
    np.testing.assert_array_equal(jitted, expected)
    mapped = jax.vmap(lambda z: contingency_table(on_device[0], z, **sizes))(on_device[1])
    np.testing.assert_array_equal(mapped, expected)


def test_weights_count_examples_as_often_as_they_were_drawn():
    rng = np.random.default_rng(7)
    labels, clusters = rng.integers(0, 3, 50), rng.integers(0, 4, 50)
    drawn = rng.integers(0, 50, 50)
    weights = np.bincount(drawn, minlength=50).astype(float)
    sizes: dict[str, Any] = {"num_classes": 3, "num_clusters": 4}
    expected = contingency_table(labels[drawn], clusters[drawn], **sizes)
    np.testing.assert_array_equal(
        contingency_table(labels, clusters, weights=weights, **sizes), expected
    )
    found = contingency_table(
        jnp.asarray(labels), jnp.asarray(clusters), weights=jnp.asarray(weights), **sizes
    )
    np.testing.assert_array_equal(found, expected)


def test_weighted_tables_scale():
    table = np.array([[3.0, 1.0], [0.5, 2.5]])
    for score in (mutual_information, normalized_mutual_information, hungarian_accuracy):
        assert score(table) == pytest.approx(score(table * 0.37), abs=1e-13)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: mutual_information(np.array([[-1.0, 2.0]])), "table: found values"),
        (lambda: mutual_information(np.array([[np.nan, 2.0]])), "table: found values"),
        (lambda: mutual_information(np.ones(3)), r"table: found shape \(3,\)"),
        (lambda: adjusted_mutual_information(np.array([[0.5, 2.0]])), "table: found margins"),
        (
            lambda: normalized_mutual_information(np.eye(2), normalisation="maximum"),
            "normalisation: unknown name 'maximum'",
        ),
        (
            lambda: contingency_table(
                np.array([0, 5]), np.array([0, 1]), num_classes=2, num_clusters=2
            ),
            "labels: found 0 ... 5; allowed are 0 ... 1",
        ),
        (
            lambda: contingency_table(
                np.array([0, 1]), np.array([0.0, 1.0]), num_classes=2, num_clusters=2
            ),
            "clusters: found type float64",
        ),
    ],
)
def test_refusals(call, sentence):
    with pytest.raises(InvalidInputError, match=sentence):
        call()
