"""Transferability against the Gaussian evidence itself, scikit-learn and closed forms."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from scipy.stats import entropy, multivariate_normal
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture

from genjax.errors import InvalidInputError
from genjax.metrics.layers import transfer
from genjax.metrics.layers.transfer import log_maximum_evidence, log_maximum_evidence_jax

SHAPES = pytest.mark.parametrize("shape", [(60, 5), (24, 40)], ids=["narrow", "wide"])
FORMS = pytest.mark.parametrize(
    "form", [log_maximum_evidence, log_maximum_evidence_jax], ids=["numpy", "jax"]
)


def _problem(seed=0, total=60, dimensions=5, classes=3, apart=1.0):
    rng = np.random.default_rng(seed)
    labels = np.arange(total) % classes
    centres = apart * rng.normal(size=(classes, dimensions))
    points = rng.normal(size=(total, dimensions)) + centres[labels] + 0.5
    return points.astype(np.float32), labels


def _evidence(points, labels):
    """Maximise the density of the targets over both precisions, from a grid of starts."""
    points = points.astype(np.float64)
    kernel, found = points @ points.T, []
    for label in np.unique(labels):
        target = (labels == label).astype(np.float64)

        def loss(logs, target=target):
            covariance = kernel * np.exp(-logs[0]) + np.eye(len(target)) * np.exp(-logs[1])
            normal = multivariate_normal(np.zeros(len(target)), covariance, allow_singular=True)
            return -normal.logpdf(target) / len(target)

        starts = [(a, b) for a in np.arange(-4.5, 20, 2) for b in (0.5, 1.5, 3.5)]
        best = min(starts, key=loss)
        result = scipy.optimize.minimize(loss, best, method="BFGS", options={"gtol": 1e-9})
        found.append(-result.fun)
    return np.mean(found)


@FORMS
@SHAPES
@pytest.mark.parametrize("seed", range(2))
def test_logme_is_the_largest_evidence(form, shape, seed):
    points, labels = _problem(seed, *shape)
    found = float(form(points, labels, num_classes=3))
    assert found == pytest.approx(_evidence(points, labels), abs=2e-4)
    assert float(form(1e3 * points, labels, num_classes=3)) == pytest.approx(found, abs=1e-4)


@SHAPES
def test_logme_in_double_precision_is_the_evidence_to_six_digits(shape):
    points, labels = _problem(0, *shape)
    with jax.enable_x64(True):
        points = points.astype(np.float64)
        pure = float(log_maximum_evidence_jax(points, labels, num_classes=3))
        host = float(log_maximum_evidence(points, labels))
    assert pure == pytest.approx(_evidence(points, labels), rel=1e-6)
    assert host == pytest.approx(pure, rel=1e-8)


@FORMS
def test_dimensions_that_are_dead_or_repeated_change_little(form):
    points, labels = _problem()
    found = float(form(points, labels, num_classes=3))
    dead = np.concatenate([points, np.zeros_like(points)], axis=1)
    assert float(form(dead, labels, num_classes=3)) == pytest.approx(found, abs=1e-4)
    # Repeated dimensions double the kernel, which alpha absorbs.
    twice = np.concatenate([points, points], axis=1)
    assert float(form(twice, labels, num_classes=3)) == pytest.approx(found, abs=1e-4)
    assert float(form(points, 2 * labels + 1, num_classes=9)) == pytest.approx(found, abs=1e-5)


@FORMS
def test_points_that_say_nothing_have_the_evidence_of_noise(form):
    labels = np.arange(60) % 3
    # All zero: y ~ N(0, 1 / beta), best with beta = N / sum y^2 = 3.
    expected = 0.5 * (np.log(3) - 1 - np.log(2 * np.pi))
    zero = float(form(np.zeros((60, 4), np.float32), labels, num_classes=3))
    assert zero == pytest.approx(expected, abs=1e-5)
    constant = np.full((60, 4), 0.7, np.float32)
    found = float(form(constant, labels, num_classes=3))
    assert found == pytest.approx(_evidence(constant, labels), abs=1e-4)
    assert found > zero


@FORMS
def test_exactly_linear_labels_have_no_largest_evidence(form):
    labels = np.arange(60) % 3
    assert np.isposinf(float(form(np.eye(3, 8, dtype=np.float32)[labels], labels, num_classes=3)))


def test_logme_compiled_and_vectorised_as_one_by_one():
    problems = [_problem(seed) for seed in range(3)]
    points, labels = (jnp.stack([jnp.asarray(p[i]) for p in problems]) for i in range(2))
    of = partial(log_maximum_evidence, num_classes=3)  # traced: the pure form
    expected = [float(log_maximum_evidence(*problem)) for problem in problems]
    np.testing.assert_allclose(jax.jit(jax.vmap(of))(points, labels), expected, atol=1e-4)


def test_leep_agrees_with_loops():
    rng = np.random.default_rng(0)
    theta = rng.dirichlet(np.ones(4), 50)
    labels = rng.integers(0, 3, 50)
    joint = np.zeros((3, 4))
    for row, label in zip(theta, labels, strict=True):
        joint[label] += row / 50
    given = joint / joint.sum(axis=0)
    rows = zip(theta, labels, strict=True)
    expected = np.mean([np.log(np.sum(given[label] * row)) for row, label in rows])
    of = partial(transfer.leep, num_classes=3)
    single = theta.astype(np.float32)
    assert float(of(single, labels)) == pytest.approx(expected, rel=1e-5)
    assert float(jax.jit(of)(single, labels)) == pytest.approx(expected, rel=1e-5)
    stacked = jnp.stack([single] * 2), jnp.stack([jnp.asarray(labels)] * 2)
    np.testing.assert_allclose(jax.vmap(of)(*stacked), expected, rtol=1e-5)


def test_leep_of_certain_and_of_empty_probabilities():
    labels = np.array([0, 0, 0, 1])
    certain = np.eye(3, dtype=np.float32)[[0, 0, 0, 2]]  # a source class that is never used
    assert float(transfer.leep(certain, labels, num_classes=2)) == 0
    empty = np.full((4, 3), 1 / 3, np.float32)
    found = transfer.leep(empty, labels, num_classes=2)
    assert float(found) == pytest.approx(-entropy([0.75, 0.25]), rel=1e-5)


def test_leep_refuses_what_are_no_probabilities():
    with pytest.raises(InvalidInputError, match="probabilities: found a smallest value of -1"):
        transfer.leep(np.array([[-1.0, 2.0], [0.5, 0.5]]), np.array([0, 1]), num_classes=2)
    with pytest.raises(InvalidInputError, match="a row that sums to 3"):
        transfer.leep(np.array([[1.0, 2.0], [0.5, 0.5]]), np.array([0, 1]), num_classes=2)


@pytest.mark.parametrize("covariance", ["diag", "full"])
def test_nleep_is_leep_of_the_mixture_of_scikit_learn(covariance):
    points, labels = _problem(0, 150)
    single = transfer.mixture_leep(points, labels, components=6, covariance=covariance, seed=4)
    points = points.astype(np.float64)
    found = transfer.mixture_leep(points, labels, components=6, covariance=covariance, seed=4)
    assert single.score == pytest.approx(found.score, rel=1e-2)
    reduced = PCA(0.8, svd_solver="full").fit_transform(points)
    mixture = GaussianMixture(6, covariance_type=covariance, random_state=4).fit(reduced)
    posteriors = mixture.predict_proba(reduced)
    with jax.enable_x64(True):
        expected = float(transfer.leep(posteriors, labels, num_classes=3))
    assert found.score == pytest.approx(expected, rel=1e-6)
    assert found.dimensions == reduced.shape[1]
    assert found.components == 6


def test_nleep_of_separate_classes_equal_points_and_duplicates():
    points, labels = _problem(0, 150, apart=100.0)
    assert transfer.mixture_leep(points, labels).score == pytest.approx(0, abs=1e-6)
    assert transfer.mixture_leep(points, labels).components == 15
    same = transfer.mixture_leep(np.full((150, 3), 0.1, np.float32), labels)
    assert np.isnan(same.score)
    assert not same.converged
    few = np.eye(3, dtype=np.float32)[labels]  # three different points, fifteen components
    assert transfer.mixture_leep(few, labels).score == pytest.approx(0, abs=1e-6)


def test_h_score_is_that_of_its_definition():
    points, labels = _problem(0, 60)
    exact = points.astype(np.float64)
    means = np.stack([exact[labels == label].mean(axis=0) for label in labels])
    covariance, between = np.cov(exact.T, ddof=0), np.cov(means.T, ddof=0)
    expected = np.trace(np.linalg.pinv(covariance) @ between)
    assert transfer.h_score(points, labels, shrinkage="none") == pytest.approx(expected, rel=1e-6)
    shrunk = LedoitWolf().fit(exact)
    expected = (1 - shrunk.shrinkage_) * np.trace(np.linalg.pinv(shrunk.covariance_) @ between)
    assert transfer.h_score(points, labels) == pytest.approx(expected, rel=1e-6)


def test_h_score_without_shrinkage_is_full_with_as_many_dimensions_as_examples():
    rng = np.random.default_rng(0)
    points, labels = rng.normal(size=(20, 50)), np.arange(20) % 4
    assert transfer.h_score(points, labels, shrinkage="none") == pytest.approx(3, rel=1e-6)
    assert transfer.h_score(points, labels) < 1
    assert np.isnan(transfer.h_score(np.full((20, 2), 0.1), labels))
    dead = np.concatenate([points[:, :3], np.zeros((20, 2))], axis=1)
    alive = transfer.h_score(points[:, :3], labels, shrinkage="none")
    assert transfer.h_score(dead, labels, shrinkage="none") == pytest.approx(alive)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"components": 61}, "components: found 61; between 1 and the 60 points"),
        ({"energy": 1.5}, "energy: found 1.5"),
        ({"covariance": "round"}, "covariance: unknown name 'round'"),
    ],
)
def test_bad_settings_are_refused(arguments, sentence):
    points, labels = _problem()
    with pytest.raises(InvalidInputError, match=sentence):
        transfer.mixture_leep(points, labels, **arguments)
    with pytest.raises(InvalidInputError, match="shrinkage: unknown name 'oas'"):
        transfer.h_score(points, labels, shrinkage="oas")
