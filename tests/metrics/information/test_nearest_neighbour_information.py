"""Nearest-neighbour estimates against scikit-learn, loops and known answers."""

import math
from typing import Any

import jax
import numpy as np
import pytest
from scipy import stats
from scipy.special import digamma, gammaln
from sklearn.feature_selection import mutual_info_classif, mutual_info_regression

from genjax.errors import InvalidInputError
from genjax.metrics.information.nearest_neighbour_information import (
    continuous_information,
    discrete_information,
)


def correlated(r, count, d=1, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, d))
    return x, r * x + math.sqrt(1 - r * r) * rng.normal(size=(count, d))


def by_loops(x, y, k, algorithm):
    count, total = len(x), 0.0
    apart_x = np.abs(x[:, None] - x[None]).max(-1)
    apart_y = np.abs(y[:, None] - y[None]).max(-1)
    apart = np.maximum(apart_x, apart_y)
    for i in range(count):
        others = np.delete(np.arange(count), i)
        near = others[np.argsort(apart[i, others])[:k]]
        if algorithm == 1:
            reach = apart[i, near[-1]]
            total += digamma((apart_x[i, others] < reach).sum() + 1)
            total += digamma((apart_y[i, others] < reach).sum() + 1)
        else:
            total += digamma((apart_x[i, others] <= apart_x[i, near].max()).sum())
            total += digamma((apart_y[i, others] <= apart_y[i, near].max()).sum())
    return digamma(k) - (algorithm == 2) / k + digamma(count) - total / count


@pytest.mark.parametrize("algorithm", [1, 2])
@pytest.mark.parametrize("k", [1, 4])
def test_it_is_the_formula(k, algorithm):
    x, y = correlated(0.6, 60, d=2)
    found = continuous_information(x, y, k=k, algorithm=algorithm)
    assert found.value == pytest.approx(by_loops(x, y, k, algorithm), abs=1e-12)


@pytest.mark.parametrize("r", [0.0, 0.5, 0.95])
def test_it_is_that_of_scikit_learn(r):
    x, y = correlated(r, 300)
    x, y = x / x.std(), y / y.std()  # which scikit-learn does by itself
    peer = mutual_info_regression(x, y[:, 0], n_neighbors=3, random_state=0)[0]
    assert max(continuous_information(x, y).value, 0.0) == pytest.approx(peer, abs=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_discrete_is_that_of_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    labels = rng.choice(3, 200, p=[0.6, 0.25, 0.15])
    labels[0] = 5  # alone in its class
    x = rng.normal(size=200) + seed * labels / 2
    peer = mutual_info_classif(x[:, None], labels, random_state=0)[0]
    assert max(discrete_information(x, labels).value, 0.0) == pytest.approx(peer, abs=1e-9)


def test_discrete_is_the_formula_for_small_classes_and_many_dimensions():
    rng = np.random.default_rng(5)
    labels = np.array([0] * 12 + [1] * 9 + [2] * 3 + [3] * 2 + [4])
    x = rng.normal(size=(27, 3)) + labels[:, None] / 2
    kept = labels != 4
    x_kept, labels_kept = x[kept], labels[kept]
    total = 0.0
    for i in range(26):
        apart = np.abs(x_kept - x_kept[i]).max(axis=1)
        own = np.sort(apart[labels_kept == labels_kept[i]])[1:]
        k = min(3, len(own))
        m = (apart < own[k - 1]).sum()
        total += digamma(k) - digamma(len(own) + 1) - digamma(m)
    expected = digamma(26) + total / 26
    assert discrete_information(x, labels).value == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("algorithm", [1, 2])
@pytest.mark.parametrize(("r", "known"), [(0.0, 0.0), (0.9, 0.830366)])
def test_correlated_gaussians(r, known, algorithm):
    assert -0.5 * math.log(1 - r * r) == pytest.approx(known, abs=5e-7)
    values = [
        continuous_information(*correlated(r, 1000, seed=s), algorithm=algorithm).value
        for s in range(8)
    ]
    assert np.mean(values) == pytest.approx(known, abs=3 * 0.05 / math.sqrt(8))


@pytest.mark.parametrize(
    ("e", "known", "bias"), [(0.1, 1.709438, -0.051), (0.5, 0.5, -0.02), (2.0, 0.125, -0.009)]
)
def test_uniform_plus_uniform(e, known, bias):
    """The more X and Y depend, the more is missing: the stated bias of 1,000 pairs."""
    exact = e - math.log(2 * e) if e <= 0.5 else 1 / (4 * e)
    assert exact == pytest.approx(known, abs=5e-7)
    rng = np.random.default_rng(1)
    x = rng.random((40, 1000))
    y = x + rng.uniform(-e, e, (40, 1000))
    values = np.array([continuous_information(a, b).value for a, b in zip(x, y, strict=True)])
    assert values.mean() - known == pytest.approx(bias, abs=4 * values.std() / math.sqrt(40))


@pytest.mark.parametrize(("freedom", "r"), [(3, 0.0), (3, 0.8), (5, 0.5)])
def test_bivariate_student(freedom, r):
    """h(X) + h(Y) - h(X, Y): dependent at r = 0, too, where Gaussian information is 0."""
    student: Any = stats.multivariate_t
    joint = student(shape=[[1, r], [r, 1]], df=freedom)
    known = 2 * stats.t(freedom).entropy() - joint.entropy()
    terms = [gammaln(v / 2) - v / 2 * digamma(v / 2) for v in (freedom, freedom + 1, freedom + 2)]
    assert known == pytest.approx(
        -0.5 * math.log(1 - r * r) + terms[0] + terms[2] - 2 * terms[1], abs=1e-9
    )
    draws = joint.rvs((20, 1000), random_state=0)
    values = np.array([continuous_information(one[:, 0], one[:, 1]).value for one in draws])
    error = values.std() / math.sqrt(20)
    assert values.mean() == pytest.approx(known, abs=4 * error + 0.01)
    assert known > -0.5 * math.log(1 - r * r) + 3 * error / 2


@pytest.mark.parametrize("algorithm", [1, 2])
def test_what_maps_do_to_each_variable_changes_little(algorithm):
    """Information does not change under the normal distribution function or a cube."""
    x, y = correlated(0.9, 1000)
    values = [
        continuous_information(a, b, algorithm=algorithm).value
        for a, b in ((x, y), (stats.norm.cdf(x), stats.norm.cdf(y)), (x**3, y**3))
    ]
    assert np.ptp(values) < 0.12


def test_discrete_and_uniform():
    """X of m values, Y uniform in (X, X + 2): log m - (m - 1)/m log 2."""
    known = math.log(5) - 4 / 5 * math.log(2)
    assert known == pytest.approx(1.054920, abs=5e-7)
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, (8, 1000))
    y = labels + rng.uniform(0, 2, (8, 1000))
    values = [discrete_information(b, a).value for a, b in zip(labels, y, strict=True)]
    assert np.mean(values) == pytest.approx(known, abs=0.03)


def test_caps_are_reached_by_copies_and_by_classes_apart():
    x = np.random.default_rng(0).normal(size=50)
    one, two = (continuous_information(x, x, algorithm=a) for a in (1, 2))
    assert one.value == pytest.approx(one.cap, abs=1e-12)
    assert one.cap == pytest.approx(digamma(50) - digamma(3), abs=1e-12)
    assert two.value == pytest.approx(two.cap, abs=1e-12)
    labels = np.arange(50) % 2
    apart = discrete_information(x + 100 * labels, labels)
    assert apart.value == pytest.approx(apart.cap, abs=1e-12)
    assert apart.cap == pytest.approx(digamma(50) - digamma(25), abs=1e-12)
    assert apart.cap - math.log(2) == pytest.approx(1 / 100, rel=0.05)


def test_many_dimensions_say_far_too_little_and_are_flagged():
    known = -10 * math.log(1 - 0.81) / 2 * 2
    found = continuous_information(*correlated(0.9, 1000, d=20))
    assert found.value < known / 2
    assert "40 dimensions" in found.flag
    assert continuous_information(*correlated(0.9, 50)).flag == ""


def test_rows_that_repeat_are_refused_or_told_apart():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 20, 400).astype(float)
    y = x + rng.normal(size=400)
    with pytest.raises(InvalidInputError, match="380 of 400 rows that repeat"):
        continuous_information(x, y)
    key = jax.random.key(0)
    found = continuous_information(x, y, key=key)
    assert found == continuous_information(x, y, key=key)
    assert found != continuous_information(x, y, key=jax.random.key(1))
    # x of 20 values is a label, too: both estimates are of one number.
    assert found.value == pytest.approx(discrete_information(y, x.astype(int)).value, abs=0.25)
    with pytest.raises(InvalidInputError, match="repeat"):
        discrete_information(x, np.arange(400) % 2)
    told_apart = discrete_information(x, np.arange(400) % 2, key=key)
    assert abs(told_apart.value) < 0.15


def test_bad_input_is_refused():
    x, y = correlated(0.5, 10)
    for k in (0, 10):
        with pytest.raises(InvalidInputError, match="k: found"):
            continuous_information(x, y, k=k)
    with pytest.raises(InvalidInputError, match="algorithm"):
        continuous_information(x, y, algorithm=3)
    with pytest.raises(InvalidInputError, match="second"):
        continuous_information(x, y[:5])
    with pytest.raises(InvalidInputError, match="one example"):
        discrete_information(x, np.arange(10))
    with pytest.raises(InvalidInputError, match="k: found 0"):
        discrete_information(x, np.arange(10) % 2, k=0)
    with pytest.raises(InvalidInputError, match="not finite"):
        continuous_information(np.full(10, np.nan), y)
