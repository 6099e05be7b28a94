"""The sandwich of pairwise distances against the definition, quadrature and far points."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, special, stats

from genjax.errors import InvalidInputError
from genjax.metrics.information import pairwise
from genjax.metrics.information.pairwise import pairwise_information


def by_definition(points, labels, variance):
    """Float64 loops over the bounds of the paper and of the published code."""

    def entropies(rows):
        d = rows.shape[1]
        squares = ((rows[:, None] - rows[None]) ** 2).sum(-1)

        def high(v):
            inner = np.log(np.exp(-squares / (2 * v)).mean(axis=1))
            return d / 2 - inner.mean() + d / 2 * math.log(2 * math.pi * v)

        return high(4 * variance) + d / 2 * math.log(1 / 4), high(variance)

    low, high = entropies(points)
    noise = points.shape[1] / 2 * math.log(2 * math.pi * math.e * variance)
    share = np.bincount(labels) / len(labels)
    parts = np.array([entropies(points[labels == c]) for c in range(len(share))])
    cap = -np.sum(share * np.log(share))
    return {
        "entropy_low": low,
        "entropy_high": high,
        "input_low": low - noise,
        "input_high": high - noise,
        "label_low": max(low - share @ parts[:, 1], 0.0),
        "label_high": min(high - share @ parts[:, 0], cap),
        "label_cap": cap,
    }


def example(count=40, width=3, classes=3, seed=0, apart=6.0):
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    return rng.normal(size=(count, width)) + apart * np.eye(classes, width)[labels], labels


@pytest.mark.parametrize(("chunk", "apart"), [(1, 6.0), (7, 2.0), (1000, 20.0)])
def test_bounds_are_the_definition(chunk, apart):
    points, labels = example(apart=apart)
    expected = by_definition(points, labels, 0.5)
    with jax.enable_x64(True):
        found = pairwise_information(points, labels, variance=0.5, chunk=chunk)
    for name, value in expected.items():
        assert float(getattr(found, name)) == pytest.approx(value, abs=1e-10), name
    of_singles = pairwise_information(points.astype(np.float32), labels, variance=0.5, chunk=chunk)
    for name, value in expected.items():
        assert float(getattr(of_singles, name)) == pytest.approx(value, abs=1e-4), name


def test_two_far_points_are_one_bit_in_both_bounds():
    found = pairwise_information([[0.0, 0.0], [300.0, 0.0]], [0, 1], variance=2.0)
    noise = math.log(2 * math.pi * math.e * 2.0)
    for value in (found.input_low, found.input_high, found.label_low, found.label_high):
        assert float(value) == pytest.approx(math.log(2), abs=1e-6)
    assert float(found.entropy_low) == pytest.approx(math.log(2) + noise, abs=1e-6)
    assert float(found.entropy_high) == pytest.approx(math.log(2) + noise, abs=1e-6)


def test_caps_are_log_n_and_the_entropy_of_labels():
    points = np.arange(50)[:, None] * 100.0
    labels = np.arange(50) % 5
    found = pairwise_information(points, labels, variance=1.0)
    assert float(found.input_high) == pytest.approx(math.log(50), rel=1e-6)
    assert float(found.input_low) == pytest.approx(math.log(50), rel=1e-6)
    assert float(found.label_high) == pytest.approx(math.log(5), rel=1e-6)
    same = pairwise_information(np.ones((9, 4)), np.arange(9) % 2, variance=1.0)
    for value in (same.input_low, same.input_high, same.label_low, same.label_high):
        assert float(value) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("variance", [0.02, 0.3, 4.0])
def test_the_mixture_lies_between(variance):
    """One dimension: entropies of the mixture and of its classes by quadrature."""
    points, labels = example(count=12, width=1, classes=2, seed=1)

    def entropy(rows):
        def minus_p_log_p(t):
            p = stats.norm.pdf(t, rows[:, 0], math.sqrt(variance)).mean()
            return special.entr(p)

        reach = 10 * math.sqrt(variance)
        steps = np.linspace(rows.min() - reach, rows.max() + reach, 400)
        pieces = itertools.pairwise(steps)
        return sum(
            integrate.fixed_quad(np.vectorize(minus_p_log_p), a, b, n=5)[0] for a, b in pieces
        )

    mixture = entropy(points)
    of_input = mixture - 0.5 * math.log(2 * math.pi * math.e * variance)
    of_label = mixture - np.mean([entropy(points[labels == c]) for c in (0, 1)])
    with jax.enable_x64(True):
        found = pairwise_information(points, labels, variance=variance)
    assert float(found.entropy_low) <= mixture <= float(found.entropy_high)
    assert float(found.input_low) <= of_input <= float(found.input_high)
    # At .02 the upper bound is H(Y), which quadrature reaches to rounding.
    assert float(found.label_low) <= of_label <= float(found.label_high) + 1e-12
    assert float(found.input_high) - float(found.input_low) < 1.0


def test_a_gaussian_channel_lies_between(getkey):
    """X ~ N(0, 1), T = X + N(0, 1/.81 - 1): correlation .9, .830366 nats in every dimension."""
    x = jax.random.normal(getkey(), (4000, 2))
    found = pairwise_information(x, variance=1 / 0.81 - 1)
    assert float(found.input_low) < 2 * 0.830366 < float(found.input_high)
    # Known for N to infinity: mean log of E exp(-D/cv), D of a normal pair, c = 2 and 8.
    for value, c in ((found.input_high, 2), (found.input_low, 8)):
        a = 1 / (c * (1 / 0.81 - 1))
        known = math.log(1 + 2 * a) + 2 * a / (1 + 2 * a)
        assert float(value) == pytest.approx(known, abs=0.03)


def test_jit_and_vmap_are_the_loop(getkey):
    stack = jax.random.normal(getkey(), (3, 20, 4))
    labels = jnp.arange(20) % 2
    variances = jnp.array([0.1, 1.0, 3.0])

    def one(points, variance):
        return pairwise_information(points, labels, variance=variance, chunk=8)

    at_once = jax.jit(jax.vmap(one))(stack, variances)
    for index in range(3):
        alone = one(stack[index], variances[index])
        for name in alone._fields:
            assert float(getattr(at_once, name)[index]) == pytest.approx(
                float(getattr(alone, name)), abs=1e-5
            )


def test_without_labels_there_is_nothing_about_labels():
    points, labels = example()
    with_labels = pairwise_information(points, labels, variance=1.0)
    without = pairwise_information(points, variance=1.0)
    assert float(without.input_high) == float(with_labels.input_high)
    assert all(math.isnan(float(v)) for v in without[4:])


def test_ten_thousand_examples_stay_far_below_four_gibibytes():
    """What the compiled program takes beside its arguments: a bound that needs no large run."""
    shapes = (
        jax.ShapeDtypeStruct((10_000, 256), jnp.float32),
        jax.ShapeDtypeStruct((10_000,), jnp.int32),
        jax.ShapeDtypeStruct((), jnp.float32),
    )
    compiled = pairwise._bounds.lower(*shapes, pairwise.CHUNK).compile()
    memory = compiled.memory_analysis()
    assert memory is not None
    assert 0 < memory.temp_size_in_bytes < 100 * 2**20


def test_bad_input_is_refused():
    points, labels = example()
    for variance in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(InvalidInputError, match="variance"):
            pairwise_information(points, labels, variance=variance)
    with pytest.raises(InvalidInputError, match="chunk"):
        pairwise_information(points, labels, variance=1.0, chunk=0)
    with pytest.raises(InvalidInputError, match="labels"):
        pairwise_information(points, labels[:3], variance=1.0)
