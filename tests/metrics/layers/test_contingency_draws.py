"""Random tables have the distribution of tables of drawn and of permuted examples."""

import numpy as np
import pytest

from genjax.errors import InvalidInputError
from genjax.metrics.layers.contingency import (
    adjusted_mutual_information,
    adjusted_rand_index,
    contingency_table,
)
from genjax.metrics.layers.contingency_draws import (
    paired_tables,
    permuted_tables,
    resampled_tables,
)


def _examples():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 60)
    return labels, np.where(rng.random(60) < 0.6, labels, rng.integers(0, 4, 60))


def _count(labels, clusters):
    return contingency_table(labels, clusters, num_classes=3, num_clusters=4)


@pytest.mark.parametrize("times", [1, 100])  # few examples per cell are drawn one by one
def test_bootstrap_has_the_moments_of_drawn_examples(times):
    table, draws = times * _count(*_examples()), 10_000
    tables = resampled_tables(table, 1, draws)
    assert np.all(tables.sum(axis=(1, 2)) == 60 * times)
    share = table / table.sum()
    variance = table * (1 - share)
    assert np.all(np.abs(tables.mean(0) - table) <= 5 * np.sqrt(variance / draws))
    np.testing.assert_allclose(tables.var(0), variance, rtol=0.08, atol=1e-12)
    # Cells of a fixed total draw against each other.
    first, second = np.argsort(table.ravel())[-2:]
    together = np.cov(tables.reshape(draws, -1)[:, [first, second]].T)[0, 1]
    expected = -table.ravel()[first] * share.ravel()[second]
    assert together == pytest.approx(expected, rel=0.15)


def test_permutations_have_the_moments_of_permuted_labels():
    table, draws = _count(*_examples()), 20_000
    tables = permuted_tables(table, 2, draws)
    assert np.all(tables.sum(2) == table.sum(1))
    assert np.all(tables.sum(1) == table.sum(0))
    a, b, n = table.sum(1)[:, None], table.sum(0)[None], 60
    variance = a * b * (n - a) * (n - b) / (n**2 * (n - 1))
    assert np.all(np.abs(tables.mean(0) - a * b / n) <= 5 * np.sqrt(variance / draws))
    np.testing.assert_allclose(tables.var(0), variance, rtol=0.06)


def test_adjusted_scores_of_permutations_are_zero_on_average():
    tables = permuted_tables(_count(*_examples()), 3, 20_000)
    for score in (adjusted_mutual_information, adjusted_rand_index):
        values = score(tables)
        assert abs(values.mean()) <= 5 * values.std() / np.sqrt(len(values))


def test_pairs_share_their_draws():
    labels, clusters = _examples()
    both = np.stack([clusters, 3 - clusters])
    for permute in (False, True):
        tables = paired_tables(labels, both, 4, 50, num_classes=3, num_clusters=4, permute=permute)
        assert tables.shape == (50, 2, 3, 4)
        np.testing.assert_array_equal(tables[:, 0], tables[:, 1, :, ::-1])
        assert len(np.unique(tables[:, 0], axis=0)) > 40
        if permute:
            assert np.all(tables[:, 0].sum(2) == _count(labels, clusters).sum(1))
            assert np.all(tables[:, 0].sum(1) == _count(labels, clusters).sum(0))


def test_pairs_have_the_moments_of_tables():
    labels, clusters = _examples()
    table = _count(labels, clusters)
    tables = paired_tables(labels, clusters[None], 5, 5000, num_classes=3, num_clusters=4)[:, 0]
    share = table / 60
    error = np.sqrt(60 * share * (1 - share) / 5000)
    assert np.all(np.abs(tables.mean(0) - table) <= 5 * error)


def test_the_same_seed_gives_the_same_draws_and_a_generator_goes_on():
    table = _count(*_examples())
    for draw in (resampled_tables, permuted_tables):
        np.testing.assert_array_equal(draw(table, 7, 4), draw(table, 7, 4))
        generator = np.random.default_rng(7)
        first, second = draw(table, generator, 4), draw(table, generator, 4)
        np.testing.assert_array_equal(first, draw(table, 7, 4))
        assert not np.array_equal(first, second)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: resampled_tables(np.array([[0.5, 1.0]]), 0, 2), "table: found values that are no"),
        (lambda: permuted_tables(np.zeros((2, 2)), 0, 2), "table: found no example"),
        (lambda: resampled_tables(np.eye(2), 0, 0), "draws: found 0"),
        (
            lambda: paired_tables([0, 1], np.array([[0, 2]]), 0, 2, num_classes=2, num_clusters=2),
            "clusters: found int64 in 0 ... 2",
        ),
        (
            lambda: paired_tables([0, 1], np.array([0, 1]), 0, 2, num_classes=2, num_clusters=2),
            r"clusters: found shape \(2,\)",
        ),
    ],
)
def test_refusals(call, sentence):
    with pytest.raises(InvalidInputError, match=sentence):
        call()
