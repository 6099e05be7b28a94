"""Compression bounds: the description can be decoded, is as long as said, and the bound holds."""

import fractions
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import data, models
from genjax.errors import InvalidInputError
from genjax.metrics import complexity
from genjax.metrics.complexity import compression, subspace_training
from genjax.metrics.complexity.contract import Labelled
from genjax.metrics.complexity.subspace_training import CompressionConfig, Message

RULES = CompressionConfig(dimension=150, epochs=30, quantised_epochs=40)


def labelled(examples):
    return Labelled(jnp.asarray(examples.images), jnp.asarray(examples.labels))


def encode(symbols, num_levels):
    """Write counts (all but the last) and an exact arithmetic code word as a string of bits."""
    count = len(symbols)
    counts = np.bincount(symbols, minlength=num_levels)
    width = math.ceil(math.log2(count + 1))
    header = "".join(f"{c:0{width}b}" for c in counts[:-1])
    starts = np.concatenate([[0], np.cumsum(counts)])
    low, size = fractions.Fraction(0), fractions.Fraction(1)
    for symbol in symbols:
        low += size * int(starts[symbol]) / count
        size *= fractions.Fraction(int(counts[symbol]), count)
    bits = 0
    while True:  # the shortest word all of whose continuations are inside the interval
        point = -(-low.numerator * 2**bits // low.denominator)
        if fractions.Fraction(point + 1, 2**bits) <= low + size:
            return header + (f"{point:0{bits}b}" if bits else "")
        bits += 1


def decode(word, count, num_levels):
    width = math.ceil(math.log2(count + 1))
    counts = [int(word[i * width : (i + 1) * width], 2) for i in range(num_levels - 1)]
    counts.append(count - sum(counts))
    starts = np.concatenate([[0], np.cumsum(counts)])
    rest = word[(num_levels - 1) * width :]
    point = fractions.Fraction(int(rest, 2) if rest else 0, 2 ** len(rest))
    found = []
    for _ in range(count):
        scaled = point * count
        symbol = int(np.searchsorted(starts, int(scaled), side="right")) - 1
        while counts[symbol] == 0:
            symbol -= 1
        found.append(symbol)
        point = (scaled - int(starts[symbol])) / counts[symbol]
    return found


@pytest.mark.parametrize("num_levels", [2, 3, 7])
@pytest.mark.parametrize("count", [1, 5, 64, 300])
def test_a_real_arithmetic_code_is_no_longer_than_said_and_can_be_decoded(count, num_levels):
    rng = np.random.default_rng(count)
    for concentration in (0.1, 1.0, 100.0):
        shares = rng.dirichlet(np.full(num_levels, concentration))
        symbols = rng.choice(num_levels, count, p=shares)
        word = encode(symbols, num_levels)
        assert decode(word, count, num_levels) == symbols.tolist()
        said = float(compression.message_bits(jnp.asarray(symbols), num_levels, numbers=0))
        # At most one bit is lost to rounding the exponent up, and one to ending anywhere.
        assert len(word) <= said <= len(word) + 2


def test_length_counts_everything():
    symbols = jnp.array([0] * 8 + [1] * 4 + [2] * 4)
    # Entropy 1.5 bits x 16 = 24, + 1; two counts of 5 bits; one or three numbers of 16 bits.
    assert float(compression.message_bits(symbols, 3, numbers=1)) == 24 + 1 + 10 + 16
    assert float(compression.message_bits(symbols, 3, numbers=3)) == 24 + 1 + 10 + 48
    assert float(compression.prefix_free_bits(jnp.float32(64.0))) == 64 + 12


def test_prefix_free_lengths_leave_a_probability_for_every_word():
    lengths = np.arange(2, 2_000_000)
    # 2^len words of each length, each with probability 2^-(len + 2 log2 len).
    assert np.sum(2.0 ** -(2 * np.log2(lengths))) < 1


def test_the_projection_is_fixed_has_orthogonal_columns_and_misses_no_weight():
    found = subspace_training.projection(jax.random.key(3), 1000, 30)
    matrix = np.zeros((1000, 30))
    matrix[np.arange(1000), found.coordinate] = found.factor
    np.testing.assert_allclose(matrix.T @ matrix, np.eye(30), atol=1e-6)
    assert np.all(np.abs(matrix).sum(1) > 0)
    again = subspace_training.projection(jax.random.key(3), 1000, 30)
    np.testing.assert_array_equal(found.factor, again.factor)
    start = {"a": jnp.ones((10, 50)), "b": jnp.zeros(500)}
    message = Message(jnp.arange(30) % 3, jnp.array([-1.0, 0.0, 2.0]))
    moved = subspace_training.decode(start, found, message)
    expected = matrix @ np.array([-1.0, 0.0, 2.0])[np.arange(30) % 3]
    np.testing.assert_allclose(moved["a"], 1 + expected[:500].reshape(10, 50), atol=1e-6)
    np.testing.assert_allclose(moved["b"], expected[500:], atol=1e-6)


@pytest.fixture(scope="module")
def network():
    return models.create("mlp", image_shape=(8, 8, 1), num_classes=10, widths=(64,))


@pytest.fixture(scope="module")
def parts():
    """1,400 digits to train on, the 397 others to test."""
    digits = data.load("digits")
    order = np.random.default_rng(0).permutation(len(digits.labels))
    return labelled(digits.take(order[:1400])), labelled(digits.take(order[1400:]))


@pytest.fixture(scope="module")
def program(network):
    """Train and certify one network, and decode it again from the message alone."""

    def one(key, examples):
        keys = jax.random.split(key, 2)
        params = network.fold(*network.init(keys[0]))
        message, fixed = subspace_training.train(network, params, examples, keys[1], RULES)
        decoded = subspace_training.decode(params, fixed, message)
        found = compression.certify(network, decoded, examples, message, RULES)
        return message, decoded, found

    return jax.jit(one)


@pytest.fixture(scope="module")
def three(program, parts):
    """Three seeds."""
    keys = jax.random.split(jax.random.key(0), 3)
    found = [program(key, parts[0]) for key in keys]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *found)


def test_the_bound_is_below_guessing_without_any_held_out_example(three, parts, network):
    message, decoded, found = three
    test = parts[1]
    for i in range(3):
        params = jax.tree.map(lambda a, i=i: a[i], decoded)
        wrong = np.argmax(network.apply(params, test.images), axis=1) != np.asarray(test.labels)
        assert wrong.mean() < float(found.bound[i]) < 0.8
        assert not found.vacuous[i]
        assert len(np.unique(message.levels[i])) == 3
        assert set(np.unique(message.symbols[i])) <= {0, 1, 2}


def test_the_certificate_is_catonis_bound_of_its_message(three, parts, network):
    message, decoded, found = three
    images, labels = (np.asarray(a) for a in parts[0])
    for i in range(3):
        params = jax.tree.map(lambda a, i=i: a[i], decoded)
        error = float(np.mean(np.argmax(network.apply(params, images), axis=1) != labels))
        counts = np.bincount(message.symbols[i], minlength=3)
        shares = counts[counts > 0] / 150
        code = math.ceil(-np.sum(counts[counts > 0] * np.log2(shares))) + 1
        length = code + 2 * 8 + 16
        bits = length + 2 * math.log2(length)
        assert float(found.bits[i]) == pytest.approx(bits, abs=1e-3)
        bound = complexity.catoni_bound(error, bits * math.log(2), 1400)
        assert float(found.bound[i]) == pytest.approx(bound, abs=1e-5)
        assert float(found.train_error[i]) == pytest.approx(error, abs=1e-6)
        word = encode(np.asarray(message.symbols[i]), 3)
        assert len(word) + 16 <= length


def test_levels_survive_being_sent_as_float16(three):
    levels = np.asarray(three[0].levels)
    np.testing.assert_array_equal(levels[:, 2].astype(np.float16).astype(np.float32), levels[:, 2])
    np.testing.assert_array_equal(levels[:, 0], -levels[:, 2])
    assert np.all(levels[:, 1] == 0)


def test_a_stack_gives_the_same_as_one_after_the_other(program, parts, three):
    # Rounding changes single symbols, and those the training after it.
    keys = jax.random.split(jax.random.key(0), 3)
    together = jax.vmap(program, in_axes=(0, None))(keys, parts[0])
    np.testing.assert_allclose(together[2].bits, three[2].bits, rtol=0.1)
    np.testing.assert_allclose(together[2].bound, three[2].bound, atol=0.15)


def test_k_means_levels_are_those_of_lloyds_algorithm():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(m, 0.05, 40) for m in (-2.0, 0.1, 1.0)])
    config = CompressionConfig(dimension=120, levels=3, quantiser="kmeans")
    found = subspace_training._first_numbers(jnp.asarray(values, jnp.float32), config)
    expected = [values[40 * i : 40 * (i + 1)].mean() for i in range(3)]
    np.testing.assert_allclose(np.sort(found), expected, atol=1e-5)
    assert subspace_training.transmitted_numbers(config) == 3


def test_extra_bits_are_paid_for(three, parts, network):
    message, decoded, found = jax.tree.map(lambda a: a[0], three)
    more = CompressionConfig(**{**RULES.__dict__, "extra_bits": 6.0})
    dearer = compression.certify(network, decoded, parts[0], message, more)
    assert float(dearer.bits) == pytest.approx(float(found.bits) + 6, abs=1e-3)
    assert dearer.bound > found.bound


BAD = {
    "quantiser: unknown name 'kmean'": {"quantiser": "kmean"},
    "levels: found 4; uniform": {"levels": 4},
    "levels: found 1; allowed": {"levels": 1},
    "dimension: found 0": {"dimension": 0},
    "extra_bits: found -1": {"extra_bits": -1.0},
}


@pytest.mark.parametrize("sentence", BAD)
def test_rules_out_of_range_are_refused(sentence):
    with pytest.raises(InvalidInputError, match=sentence):
        CompressionConfig(**BAD[sentence])


def test_more_coordinates_than_weights_are_refused(network, parts):
    params = network.fold(*network.init(jax.random.key(0)))
    rules = CompressionConfig(dimension=10_000)
    with pytest.raises(InvalidInputError, match="has only 4810 weights"):
        subspace_training.train(network, params, parts[0], jax.random.key(0), rules)


def test_the_measure_of_trained_networks(groups, measure_data):
    name = "compression_bound"
    found = complexity.measure_group(groups["mlp"], measure_data, [name], key=jax.random.key(1))
    assert not found.refused
    info = found.info[name]
    assert np.all(found.values[name] > info["train_error"])
    np.testing.assert_array_equal(info["vacuous"], found.values[name] >= 1)
    np.testing.assert_allclose(info["confidence"], 0.95, rtol=1e-6)
    seeds = groups["mlp"].seeds
    for seed in np.unique(seeds):  # it reads the start alone, which networks of a seed share
        assert len(set(found.values[name][seeds == seed].tolist())) == 1
