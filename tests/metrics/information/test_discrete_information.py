"""Plug-in information of counts, its bias, and what takes the bias away."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import mutual_info_score

from genjax.errors import InvalidInputError
from genjax.metrics.information.discrete import (
    CORRECTIONS,
    entropy,
    joint_counts,
    mean_plug_in,
    mutual_information,
)


def tables(count, shape, samples, seed=0):
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.ones(shape[0] * shape[1]), count)
    return rng.multinomial(samples, probabilities).reshape(count, *shape).astype(float)


def all_tables(samples, cells):
    """Every table of that many samples, with its multinomial coefficient's logarithm."""
    bars = itertools.combinations(range(samples + cells - 1), cells - 1)
    bars = np.array([(-1, *b, samples + cells - 1) for b in bars])
    counts = np.diff(bars, axis=1) - 1
    lgamma = np.array([math.lgamma(k + 1) for k in range(samples + 1)])
    return counts, lgamma[samples] - lgamma[counts].sum(axis=1)


def by_definition(table):
    total = table.sum()
    value = 0.0
    for i, j in np.ndindex(*table.shape):
        if table[i, j] > 0:
            value += (
                table[i, j]
                / total
                * math.log(table[i, j] * total / (table[i].sum() * table[:, j].sum()))
            )
    return value


def test_entropy_is_that_of_scipy():
    counts = tables(50, (1, 7), 20)[:, 0]
    assert entropy(counts) == pytest.approx(stats.entropy(counts, axis=-1), abs=1e-13)
    assert float(entropy(np.array([5.0, 0.0]))) == 0.0


def test_information_is_that_of_scikit_learn_and_of_the_definition():
    rng = np.random.default_rng(1)
    first, second = rng.integers(0, 3, 40), rng.integers(0, 2, 40)
    counts = joint_counts(first, second, num_first=3, num_second=2)
    assert mutual_information(counts) == pytest.approx(mutual_info_score(first, second), abs=1e-12)
    many = tables(30, (3, 2), 12)
    assert mutual_information(many) == pytest.approx([by_definition(t) for t in many], abs=1e-12)


def test_counts_are_those_of_a_loop():
    rng = np.random.default_rng(2)
    first, second = rng.integers(0, 3, (4, 5, 30)), rng.integers(0, 2, (4, 5, 30))
    counts = joint_counts(first, second, num_first=3, num_second=2)
    for index in np.ndindex(4, 5):
        expected = np.zeros((3, 2))
        np.add.at(expected, (first[index], second[index]), 1)
        assert np.array_equal(counts[index], expected)
    of_jax = jax.jit(lambda a, b: joint_counts(a, b, num_first=3, num_second=2))(
        jnp.asarray(first), jnp.asarray(second)
    )
    assert np.array_equal(of_jax, counts)


def test_corrections_are_their_formulas_by_hand():
    table = tables(1, (3, 2), 15, seed=3)[0]
    filled = (table > 0).sum()
    rows, columns = (table.sum(1) > 0).sum(), (table.sum(0) > 0).sum()
    plug_in = by_definition(table)
    assert mutual_information(table, correction="miller_madow") == pytest.approx(
        plug_in + (rows + columns - filled - 1) / 30, abs=1e-12
    )
    pairs = np.repeat(np.array(list(np.ndindex(3, 2))), table.ravel().astype(int), axis=0)
    without = []
    for left_out in range(15):
        kept = np.delete(pairs, left_out, axis=0)
        fewer = np.zeros((3, 2))
        np.add.at(fewer, tuple(kept.T), 1)
        without.append(by_definition(fewer))
    assert mutual_information(table, correction="jackknife") == pytest.approx(
        15 * plug_in - 14 * np.mean(without), abs=1e-11
    )
    counts = table.ravel()
    of_one_less = [
        stats.entropy(counts - np.eye(6)[k]) for k in range(6) for _ in range(int(counts[k]))
    ]
    assert entropy(counts, correction="jackknife") == pytest.approx(
        15 * stats.entropy(counts) - 14 * np.mean(of_one_less), abs=1e-11
    )
    assert entropy(counts, correction="miller_madow") == pytest.approx(
        stats.entropy(counts) + ((counts > 0).sum() - 1) / 30, abs=1e-12
    )


def test_shuffling_is_the_mean_over_all_permutations():
    first = np.array([0, 0, 1, 1, 2, 0])
    second = np.array([0, 1, 1, 1, 0, 0])
    values = []
    for order in itertools.permutations(range(6)):
        counts = joint_counts(first, second[list(order)], num_first=3, num_second=2)
        values.append(by_definition(counts))
    counts = joint_counts(first, second, num_first=3, num_second=2)
    assert mutual_information(counts, correction="shuffling") == pytest.approx(
        by_definition(counts) - np.mean(values), abs=1e-12
    )


@pytest.mark.parametrize(("one", "printed"), [(0.5, 0.0177), (0.3, 0.0188)])
def test_mean_of_two_independent_bits_is_enumerated_and_simulated(one, printed):
    joint = np.outer([one, 1 - one], [one, 1 - one])
    counts, coefficient = all_tables(30, 4)
    probability = np.exp(coefficient + counts @ np.log(joint.ravel()))
    assert probability.sum() == pytest.approx(1.0, abs=1e-12)
    values = mutual_information(counts.reshape(-1, 2, 2))
    exact = mean_plug_in(joint, 30)
    assert probability @ values == pytest.approx(exact, abs=1e-12)
    assert round(exact, 4) == printed
    assert exact > 1 / 60  # what the first order says is too little
    bits = (np.random.default_rng(0).random((2, 100_000, 30)) > one).astype(int)
    simulated = mutual_information(joint_counts(*bits, num_first=2, num_second=2))
    error = simulated.std() / math.sqrt(len(simulated))
    assert abs(simulated.mean() - exact) < 4 * error
    assert error < 1e-4


@pytest.mark.parametrize(("samples", "known"), [(5, 0.3467), (30, 0.1542), (100, 0.0808)])
def test_what_it_adds_to_a_bound(samples, known):
    """E sqrt(2 I) of two independent bits with P(1) = .3: the spurious bound per example."""
    counts, coefficient = all_tables(samples, 4)
    values = np.sqrt(2 * mutual_information(counts.reshape(-1, 2, 2)))
    masses = np.log(np.outer([0.3, 0.7], [0.3, 0.7]).ravel())
    assert np.exp(coefficient + counts @ masses) @ values == pytest.approx(known, abs=5e-5)
    if samples == 100:  # the limit: sqrt(2 I) is |standard normal| / sqrt(N)
        assert known == pytest.approx(math.sqrt(2 / math.pi / samples), rel=0.02)


def test_bias_after_each_correction():
    """Shuffling is unbiased for independent variables; the others leave O(1/N^2) of 1/(2N)."""
    counts, coefficient = all_tables(30, 4)
    skewed = np.outer([0.3, 0.7], [0.4, 0.6])
    probability = np.exp(coefficient + counts @ np.log(skewed.ravel()))
    left = {
        c: float(probability @ mutual_information(counts.reshape(-1, 2, 2), correction=c))
        for c in CORRECTIONS
    }
    assert left["none"] == pytest.approx(mean_plug_in(skewed, 30), abs=1e-12)
    assert left["none"] > 1 / 60
    assert left["shuffling"] == pytest.approx(0.0, abs=1e-12)
    assert abs(left["miller_madow"]) < left["none"] / 5
    assert abs(left["jackknife"]) < left["none"] / 5


def test_shuffling_takes_too_much_from_dependent_variables():
    assert mutual_information(np.eye(6), correction="shuffling") == pytest.approx(0.0, abs=1e-12)
    assert mutual_information(np.eye(6)) == pytest.approx(math.log(6), abs=1e-12)


@pytest.mark.parametrize("correction", CORRECTIONS[:3])
def test_jit_and_vmap_are_the_host(correction):
    many = tables(40, (3, 2), 20, seed=4)
    expected = mutual_information(many, correction=correction)

    def one(table):
        return mutual_information(table, correction=correction)

    # 20 samples: the jackknife multiplies float32's rounding by as much.
    near = 2e-5 if correction == "jackknife" else 1e-6
    of_jax = jnp.asarray(many, jnp.float32)
    assert np.asarray(one(of_jax)) == pytest.approx(expected, abs=near)
    assert np.asarray(jax.jit(jax.vmap(one))(of_jax)) == pytest.approx(expected, abs=near)
    entropies = entropy(many.reshape(40, 6), correction=correction)
    assert np.asarray(
        jax.jit(lambda c: entropy(c, correction=correction))(of_jax.reshape(40, 6))
    ) == pytest.approx(entropies, abs=near)


def test_empty_tables_are_nan_and_one_sample_is_nothing():
    empty = np.zeros((2, 3, 2))
    for correction in CORRECTIONS:
        assert np.isnan(mutual_information(empty, correction=correction)).all()
    for correction in CORRECTIONS[:3]:
        assert np.isnan(np.asarray(mutual_information(jnp.zeros((3, 2)), correction=correction)))
    single = np.array([[1.0, 0.0], [0.0, 0.0]])
    for correction in CORRECTIONS:
        assert float(mutual_information(single, correction=correction)) == 0.0


def test_bad_input_is_refused():
    with pytest.raises(InvalidInputError, match="correction"):
        mutual_information(np.ones((2, 2)), correction="miller")
    with pytest.raises(InvalidInputError, match="correction"):
        entropy(np.ones(2), correction="shuffling")
    with pytest.raises(InvalidInputError, match="negative"):
        mutual_information(np.array([[1.0, -1.0]]))
    with pytest.raises(InvalidInputError, match="shape"):
        mutual_information(np.ones(3))
    with pytest.raises(InvalidInputError, match="host"):
        mutual_information(jnp.ones((2, 2)), correction="shuffling")
    with pytest.raises(InvalidInputError, match="allowed are"):
        joint_counts(np.array([2]), np.array([0]), num_first=2, num_second=2)
    with pytest.raises(InvalidInputError, match="second"):
        joint_counts(np.array([1]), np.array([0, 1]), num_first=2, num_second=2)
    with pytest.raises(InvalidInputError, match="add up"):
        mean_plug_in(np.ones((2, 2)), 30)
    with pytest.raises(InvalidInputError, match="num_samples"):
        mean_plug_in(np.full((2, 2), 0.25), 0)
