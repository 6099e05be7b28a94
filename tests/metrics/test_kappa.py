"""Kappa distances: scikit-learn's Cohen kappa and a literal float64 transcription are oracles."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from genjax.errors import InvalidInputError
from genjax.metrics.accuracy import confusion
from genjax.metrics.kappa import (
    KAPPA_VARIANTS,
    arxiv2024_distance,
    kappa_variant,
    multiclass_distance,
    one_vs_rest_distance,
    pairwise_distance,
)


def draw(examples, classes, right, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes, examples - classes)])
    noise = rng.integers(0, classes, examples)
    return labels, np.where(rng.random(examples) < right, labels, noise)


CASES = [(60, 3, 0.5), (2_000, 10, 0.99), (100_000, 7, 0.9999), (5_000, 100, 0.02)]


@pytest.mark.parametrize("case", CASES)
def test_one_vs_rest_equals_cohen_kappa(case):
    labels, predictions = draw(*case)
    distance = one_vs_rest_distance(confusion(labels, predictions, num_classes=case[1]))
    oracle = [1 - cohen_kappa_score(labels == i, predictions == i) for i in range(case[1])]
    np.testing.assert_allclose(distance, oracle, rtol=0, atol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_multiclass_equals_cohen_kappa(case):
    labels, predictions = draw(*case)
    distance = multiclass_distance(confusion(labels, predictions, num_classes=case[1]))
    np.testing.assert_allclose(
        distance, 1 - cohen_kappa_score(labels, predictions), rtol=0, atol=1e-6
    )


def test_pairwise_equals_cohen_kappa_of_the_two_classes_alone():
    labels, predictions = draw(400, 4, 0.6)
    distance = pairwise_distance(confusion(labels, predictions, num_classes=4))
    for i in range(4):
        oracle = []
        for j in set(range(4)) - {i}:
            kept = np.isin(labels, (i, j)) & np.isin(predictions, (i, j))
            oracle.append(1 - cohen_kappa_score(labels[kept], predictions[kept]))
        np.testing.assert_allclose(distance[i], np.mean(oracle), rtol=0, atol=1e-6)


def transcribed(p, i, t1, t2, total):
    h, m = p[:, i], np.delete(p, i, axis=1).max(1)
    ignored = np.all(p < t1, axis=1)
    a = np.sum((np.abs(h - m) <= t2) & ~ignored)
    b = np.sum((m - h > t2) & ~ignored)
    c = np.sum((h - m > t2) & ~ignored)
    d = total - a - b - c
    p1 = (a + d) / total
    p2 = ((a + b) * (a + c) + (c + d) * (b + d)) / total**2
    return 0.5 if p2 == 1 else abs(p1 - p2) / (1 - p2)


@pytest.mark.parametrize(
    ("total", "t1", "t2"), [(10_000, 0.2, 0.2), (None, 0.2, 0.2), (500, 0.4, 0.05)]
)
def test_arxiv2024_equals_its_formula(total, t1, t2):
    rng = np.random.default_rng(3)
    logits = rng.normal(size=(2, 300, 9)) * np.array([0.5, 3.0])[:, None, None]
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    labels = rng.integers(0, 8, 300)
    distance = np.asarray(arxiv2024_distance(p.astype(np.float32), labels, t1, t2, M=total))
    p = p.astype(np.float32)  # thresholds are compared at the same precision
    oracle = [[transcribed(q, i, t1, t2, total or 300) for i in range(8)] for q in p]
    np.testing.assert_allclose(distance[:, :8], oracle, rtol=0, atol=1e-5)
    assert np.isnan(distance[:, 8]).all()  # class 8 has no examples


def test_arxiv2024_where_nothing_is_counted():
    p = np.full((6, 8), 1 / 8, np.float32)
    distance = arxiv2024_distance(p, np.arange(6), M=None)
    np.testing.assert_array_equal(distance[:6], 0.5)


def test_balanced_multiclass_distance_is_the_chance_corrected_error():
    labels = np.repeat(np.arange(10), 50)
    predictions = np.random.default_rng(5).integers(0, 10, (8, 500))
    distance = multiclass_distance(confusion(labels, predictions, num_classes=10))
    error = np.mean(predictions != labels, axis=-1)
    np.testing.assert_allclose(distance, error * 10 / 9, rtol=0, atol=1e-6)


def test_conventions_at_the_edges():
    absent = jnp.array([[3, 1, 0], [0, 4, 1], [0, 0, 0]])
    assert np.isnan(one_vs_rest_distance(absent)).tolist() == [False, False, True]
    assert np.isnan(pairwise_distance(absent)).tolist() == [False, False, True]
    alone = jnp.array([[7, 0], [0, 0]])  # Pe = 1: kappa is 0 by convention
    np.testing.assert_array_equal(one_vs_rest_distance(alone), [1.0, np.nan])
    np.testing.assert_array_equal(multiclass_distance(alone), 1.0)
    assert np.isnan(multiclass_distance(jnp.zeros((2, 2), jnp.int32)))
    np.testing.assert_array_equal(one_vs_rest_distance(jnp.array([[0, 5], [5, 0]])), [2.0, 2.0])


@pytest.mark.parametrize("dtype", [jnp.int32, jnp.float32])
@pytest.mark.parametrize("name", ["one_vs_rest", "multiclass", "pairwise"])
def test_leading_axes_jit_and_float_counts(name, dtype):
    labels, _ = draw(300, 5, 1)
    predictions = np.random.default_rng(1).integers(0, 5, (2, 3, 300))
    counts = confusion(labels, predictions, num_classes=5)
    distance = jax.jit(kappa_variant(name).apply)(counts.astype(dtype))
    for index in np.ndindex(2, 3):
        np.testing.assert_allclose(
            distance[index], kappa_variant(name).apply(counts[index]), rtol=1e-6
        )
    assert distance.shape == ((2, 3, 5) if KAPPA_VARIANTS[name].per_class else (2, 3))


def test_refusals():
    with pytest.raises(InvalidInputError, match="did you mean 'pairwise'"):
        kappa_variant("pairwse")
    with pytest.raises(InvalidInputError, match="counts: found shape"):
        one_vs_rest_distance(jnp.zeros((2, 3), jnp.int32))
    with pytest.raises(InvalidInputError, match="not logits"):
        arxiv2024_distance(np.array([[3.0, -1.0]]), np.array([0]))
    with pytest.raises(InvalidInputError, match="probabilities: found shape"):
        arxiv2024_distance(np.ones((2, 3)), np.array([0]))
    with pytest.raises(InvalidInputError, match="M: found 1"):
        arxiv2024_distance(np.full((2, 2), 0.5), np.array([0, 1]), M=1)
