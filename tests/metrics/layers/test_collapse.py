"""Neural collapse against float64 definitions, in closed form, and where it is not defined."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.neighbors import NearestCentroid

from genjax.errors import InvalidInputError
from genjax.metrics.layers import collapse

CLASSES = 4


def _problem(seed=0, total=90, dimensions=7, offset=0.0):
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(CLASSES), np.arange(CLASSES)])
    labels = np.concatenate([labels, rng.choice(CLASSES, total - 8, p=[0.1, 0.2, 0.3, 0.4])])
    centres = rng.normal(size=(CLASSES, dimensions))
    points = rng.normal(size=(total, dimensions)) + centres[labels] + offset
    return points.astype(np.float32), labels


def _scatter(points, labels):
    points = points.astype(np.float64)
    groups = [points[labels == label] for label in np.unique(labels)]
    means = np.stack([group.mean(axis=0) for group in groups])
    within = np.mean([np.cov(group.T, ddof=0).reshape(2 * group.shape[1:]) for group in groups], 0)
    centred = means - means.mean(axis=0)
    return within, centred.T @ centred / len(groups), centred, groups


def _within_class_variability(points, labels):
    within, between, centred, _ = _scatter(points, labels)
    rank = min(len(centred) - 1, points.shape[1])
    rcond = 0.5 * np.sort(np.linalg.eigvalsh(between))[-rank] / np.linalg.eigvalsh(between)[-1]
    return np.trace(within @ np.linalg.pinv(between, rcond=rcond, hermitian=True)) / len(centred)


def _trace_ratio(points, labels):
    within, between, _, _ = _scatter(points, labels)
    return np.trace(within) / np.trace(between)


def _class_distance_variance(points, labels):
    groups = _scatter(points, labels)[3]
    ratios = []
    for a, first in enumerate(groups):
        for b, second in enumerate(groups):
            if a != b:
                spread = first.var(axis=0).sum() + second.var(axis=0).sum()
                apart = np.sum((first.mean(axis=0) - second.mean(axis=0)) ** 2)
                ratios.append(spread / (2 * apart))
    return np.mean(ratios)


ORACLES = {
    collapse.within_class_variability: _within_class_variability,
    collapse.trace_ratio: _trace_ratio,
    collapse.class_distance_variance: _class_distance_variance,
}
SCORES = (*ORACLES, collapse.nearest_mean_error)


@pytest.mark.parametrize("score", ORACLES, ids=lambda score: score.__name__)
@pytest.mark.parametrize("shape", [(90, 7), (90, 2), (30, 200)])
def test_scores_agree_with_their_definition_in_float64(score, shape):
    for seed in range(3):
        points, labels = _problem(seed, *shape)
        found = score(points, labels, num_classes=CLASSES)
        assert float(found) == pytest.approx(ORACLES[score](points, labels), rel=1e-4)


@pytest.mark.parametrize("score", ORACLES, ids=lambda score: score.__name__)
def test_far_from_the_origin_nothing_rounds_away(score):
    points, labels = _problem(offset=1000.0)
    found = score(points, labels, num_classes=CLASSES)
    assert float(found) == pytest.approx(ORACLES[score](points, labels), rel=1e-3)


def test_mean_geometry_agrees_with_its_definition():
    points, labels = _problem()
    means = _scatter(points, labels)[2]
    norms = np.linalg.norm(means, axis=1)
    pairs = ~np.eye(CLASSES, dtype=bool)
    cosines = (means @ means.T / np.outer(norms, norms))[pairs]
    gram = means @ means.T / np.linalg.norm(means @ means.T)
    simplex = (np.eye(CLASSES) - 1 / CLASSES) / np.sqrt(CLASSES - 1)
    expected = (
        norms.std() / norms.mean(),
        cosines.std(),
        np.mean(np.abs(cosines + 1 / (CLASSES - 1))),
        np.linalg.norm(gram - simplex),
    )
    found = collapse.mean_geometry(points, labels, num_classes=CLASSES)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_self_duality_agrees_with_its_definition():
    points, labels = _problem()
    rows = np.random.default_rng(1).normal(size=(CLASSES, points.shape[1])).astype(np.float32)
    means = _scatter(points, labels)[2]
    expected = np.sum((rows / np.linalg.norm(rows) - means / np.linalg.norm(means)) ** 2)
    found = collapse.self_duality(points, labels, rows, num_classes=CLASSES)
    assert float(found) == pytest.approx(expected, rel=1e-5)
    opposite = collapse.self_duality(points, labels, -means.astype(np.float32), num_classes=CLASSES)
    assert float(opposite) == pytest.approx(4.0, rel=1e-5)


def test_perfect_collapse_is_exact():
    labels = np.arange(40) % CLASSES
    points = 3 * np.eye(CLASSES, 9, dtype=np.float32)[labels]
    for score in SCORES:  # but for the square of single precision's rounding
        found = float(score(points, labels, num_classes=CLASSES))
        assert found == pytest.approx(0, abs=float(np.finfo(np.float32).eps) ** 2)
    geometry = collapse.mean_geometry(points, labels, num_classes=CLASSES)
    np.testing.assert_allclose(geometry, 0, atol=1e-6)
    rows = 0.2 * (np.eye(CLASSES, 9) - np.eye(CLASSES, 9).mean(axis=0, keepdims=True))
    duality = collapse.self_duality(points, labels, rows.astype(np.float32), num_classes=CLASSES)
    assert float(duality) == pytest.approx(0, abs=1e-10)


def test_nearest_means_agree_with_scikit_learn():
    points, labels = _problem()
    nearest = NearestCentroid().fit(points, labels).predict(points)
    predictions = np.random.default_rng(3).integers(0, CLASSES, labels.size)
    error = collapse.nearest_mean_error(points, labels, num_classes=CLASSES)
    assert float(error) == pytest.approx(np.mean(nearest != labels))
    found = collapse.nearest_mean_mismatch(points, labels, predictions, num_classes=CLASSES)
    assert float(found) == pytest.approx(np.mean(nearest != predictions))


@pytest.mark.parametrize("score", SCORES, ids=lambda score: score.__name__)
def test_duplicates_and_absent_classes_change_nothing(score):
    points, labels = _problem()
    once = float(score(points, labels, num_classes=CLASSES))
    twice = score(np.repeat(points, 2, axis=0), np.repeat(labels, 2), num_classes=CLASSES)
    assert float(twice) == pytest.approx(once, rel=1e-4)
    gaps = score(points, 2 * labels + 1, num_classes=3 * CLASSES)
    assert float(gaps) == pytest.approx(once, rel=1e-4)


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, 1234.567])
def test_equal_points_are_undefined(value):
    points, labels = np.full((12, 3), value, np.float32), np.arange(12) % CLASSES
    for score in SCORES:
        assert np.isnan(score(points, labels, num_classes=CLASSES))
    assert np.isnan(collapse.mean_geometry(points, labels, num_classes=CLASSES)).all()
    assert np.isnan(collapse.self_duality(points, labels, np.ones((4, 3)), num_classes=CLASSES))


@pytest.mark.parametrize("score", ORACLES, ids=lambda score: score.__name__)
def test_a_class_of_one_example_is_undefined(score):
    points, labels = _problem()
    keep = (labels != 0) | (np.arange(labels.size) == np.argmax(labels == 0))
    assert np.isnan(score(points[keep], labels[keep], num_classes=CLASSES))


def test_means_of_single_examples_have_a_geometry_but_absent_classes_none():
    points, labels = np.eye(3, 5, dtype=np.float32), np.arange(3)
    assert np.isfinite(collapse.mean_geometry(points, labels, num_classes=3)).all()
    assert np.isnan(collapse.mean_geometry(points, labels, num_classes=4)).all()
    assert np.isnan(collapse.self_duality(points, labels, np.ones((4, 5)), num_classes=4))


def test_equal_means_of_classes_that_vary():
    points = np.array([[-1.0], [1.0], [-2.0], [2.0]], np.float32)
    labels = np.array([0, 0, 1, 1])
    assert np.isinf(collapse.class_distance_variance(points, labels, num_classes=2))
    assert np.isinf(collapse.trace_ratio(points, labels, num_classes=2))
    assert np.isnan(collapse.within_class_variability(points, labels, num_classes=2))


@pytest.mark.parametrize("score", SCORES, ids=lambda score: score.__name__)
def test_compiled_and_vectorised_as_one_by_one(score):
    of = partial(score, num_classes=CLASSES)
    problems = [_problem(seed) for seed in range(3)]
    points = jnp.stack([jnp.asarray(points) for points, _ in problems])
    labels = jnp.stack([jnp.asarray(labels) for _, labels in problems])
    one_by_one = [float(of(*problem)) for problem in problems]
    np.testing.assert_allclose(jax.vmap(of)(points, labels), one_by_one, rtol=1e-5)
    assert float(jax.jit(of)(*problems[0])) == pytest.approx(one_by_one[0], rel=1e-5)


def test_geometry_and_duality_vectorised_as_one_by_one():
    points = jnp.stack([jnp.asarray(_problem(seed)[0]) for seed in range(3)])
    labels = jnp.stack([jnp.asarray(_problem(seed)[1]) for seed in range(3)])
    rows = jax.random.normal(jax.random.key(0), (3, CLASSES, points.shape[-1]))
    geometry = partial(collapse.mean_geometry, num_classes=CLASSES)
    duality = partial(collapse.self_duality, num_classes=CLASSES)
    found = jax.jit(jax.vmap(geometry))(points, labels), jax.vmap(duality)(points, labels, rows)
    for place in range(3):
        expected = geometry(points[place], labels[place])
        np.testing.assert_allclose([part[place] for part in found[0]], expected, rtol=1e-4)
        expected = duality(points[place], labels[place], rows[place])
        np.testing.assert_allclose(found[1][place], expected, rtol=1e-5)


def test_bad_input_is_refused():
    points, labels = _problem()
    for score in SCORES:
        with pytest.raises(InvalidInputError, match="labels: found 3; with num_classes 3"):
            score(points, labels, num_classes=3)
        with pytest.raises(InvalidInputError, match="labels: found 1 class"):
            score(points, 0 * labels, num_classes=3)
        with pytest.raises(InvalidInputError, match="points: found 90 of 90 rows"):
            score(points * np.nan, labels, num_classes=CLASSES)
