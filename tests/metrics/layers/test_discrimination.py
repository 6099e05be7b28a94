"""The generalized discrimination value against scipy's distances and in closed form."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import cdist, pdist
from scipy.stats import zscore

from genjax.errors import InvalidInputError
from genjax.metrics.layers import discrimination
from genjax.metrics.layers.discrimination import discrimination_value, discrimination_value_jax


def _problem(seed=0, total=70, dimensions=6, classes=4, offset=0.0):
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes).repeat(2), rng.integers(0, classes, total)])
    points = rng.normal(size=(labels.size, dimensions)) + rng.normal(size=(classes, 1))[labels]
    return (points * rng.uniform(0.1, 9, dimensions) + offset).astype(np.float32), labels


def _oracle(points, labels):
    points = zscore(points.astype(np.float64), axis=0) / 2
    groups = [points[labels == label] for label in np.unique(labels)]
    count = len(groups)
    intra = np.mean([pdist(group).mean() for group in groups])
    inter = sum(
        cdist(groups[a], groups[b]).mean() for a in range(count) for b in range(a + 1, count)
    )
    return (intra - 2 * inter / (count * (count - 1))) / np.sqrt(points.shape[1])


def _of(form, points, labels):
    return form(points, labels, num_classes=int(labels.max()) + 1)


FORMS = pytest.mark.parametrize(
    "form", [discrimination_value, discrimination_value_jax], ids=["numpy", "jax"]
)


@FORMS
@pytest.mark.parametrize("seed", range(3))
def test_it_agrees_with_its_definition(form, seed, monkeypatch):
    points, labels = _problem(seed)
    expected = _oracle(points, labels)
    assert float(_of(form, points, labels)) == pytest.approx(expected, abs=1e-5)
    assert float(_of(form, 1e-3 * points, labels)) == pytest.approx(expected, abs=1e-5)
    monkeypatch.setattr(discrimination, "_CHUNK", 13)
    if form is discrimination_value_jax:
        form = partial(form, chunk_size=13)
    assert float(_of(form, points, labels)) == pytest.approx(expected, abs=1e-5)


@FORMS
def test_far_from_the_origin_nothing_rounds_away(form):
    points, labels = _problem(offset=1000.0)
    assert float(_of(form, points, labels)) == pytest.approx(_oracle(points, labels), abs=1e-3)


@FORMS
def test_two_points_apart_in_every_dimension_are_minus_one(form):
    labels = np.array([0, 1] * 20)
    points = np.where(labels[:, None] == 0, 5.1, np.arange(7.0)).astype(np.float32)
    assert float(_of(form, points, labels)) == pytest.approx(-1, abs=1e-6)


@FORMS
@pytest.mark.parametrize("classes", [2, 3, 10])
def test_a_simplex_reaches_the_least_value(form, classes):
    labels = np.arange(12 * classes) % classes
    points = np.eye(classes, dtype=np.float32)[labels]
    least = -np.sqrt(classes / (2 * (classes - 1)))
    assert float(_of(form, points, labels)) == pytest.approx(least, abs=1e-6)


@FORMS
def test_no_separation_is_about_zero(form):
    rng = np.random.default_rng(0)
    points, labels = rng.normal(size=(900, 5)).astype(np.float32), np.arange(900) % 3
    assert float(_of(form, points, labels)) == pytest.approx(0, abs=0.01)


@FORMS
def test_constant_dimensions_count_as_zero_and_absent_classes_not_at_all(form):
    points, labels = _problem()
    wide = np.concatenate([points, np.full_like(points, 0.1)], axis=1)
    expected = _oracle(points, labels) / np.sqrt(2)
    assert float(_of(form, wide, 3 * labels + 1)) == pytest.approx(expected, abs=1e-5)


@FORMS
def test_what_is_undefined(form):
    labels = np.arange(12) % 3
    assert np.isnan(_of(form, np.full((12, 2), 0.1, np.float32), labels))
    points, labels = _problem()
    labels[labels == 0] = 1
    labels[0] = 0
    assert np.isnan(_of(form, points, labels))


def test_compiled_and_vectorised_as_one_by_one():
    problems = [_problem(seed) for seed in range(3)]
    points, labels = (jnp.stack([jnp.asarray(p[i]) for p in problems]) for i in range(2))
    of = partial(discrimination_value, num_classes=4)  # traced: the pure form
    expected = [_oracle(*problem) for problem in problems]
    np.testing.assert_allclose(jax.jit(jax.vmap(of))(points, labels), expected, atol=1e-5)


@FORMS
def test_bad_input_is_refused(form):
    with pytest.raises(InvalidInputError, match="labels: found 1 class"):
        form(np.ones((3, 2)), np.zeros(3, int), num_classes=2)
