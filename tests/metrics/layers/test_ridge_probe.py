"""The ridge probe against scikit-learn, for many penalties, in both forms of the equations."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import Ridge

from genjax.errors import InvalidInputError
from genjax.metrics.layers import ridge_probe
from genjax.metrics.layers.folds import stratified_folds

PENALTIES = (1e-3, 1e-1, 10.0)
SHAPES = pytest.mark.parametrize("shape", [(120, 9), (30, 50)], ids=["primal", "dual"])


def _problem(seed=0, total=120, dimensions=9, classes=5):
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes).repeat(5), rng.integers(0, classes, total)])
    labels = labels[-total:] if total > 30 else labels[:total]
    points = rng.normal(size=(total, dimensions)) + rng.normal(size=(classes, dimensions))[labels]
    return points + 3, labels


def _relative(points):
    centred = points - points.mean(axis=0)
    return np.sum(centred**2) / min(points.shape)


def _oracle(points, labels, penalty, classes=5):
    model = Ridge(alpha=penalty * _relative(points), solver="svd")
    return model.fit(points, np.eye(classes)[labels])


@SHAPES
def test_weights_are_those_of_scikit_learn(shape):
    points, labels = _problem(0, *shape)
    with jax.enable_x64(True):
        found = ridge_probe.ridge_weights(points, labels, jnp.asarray(PENALTIES), num_classes=5)
    single = ridge_probe.ridge_weights(
        points.astype(np.float32), labels, np.asarray(PENALTIES, np.float32), num_classes=5
    )
    for place, penalty in enumerate(PENALTIES):
        model = _oracle(points, labels, penalty)
        np.testing.assert_allclose(found.kernel[place].T, model.coef_, rtol=1e-7, atol=1e-10)
        np.testing.assert_allclose(found.bias[place], model.intercept_, rtol=1e-7, atol=1e-10)
        assert float(found.penalties[place]) == pytest.approx(model.alpha)
        np.testing.assert_allclose(single.kernel[place].T, model.coef_, atol=2e-4)


@SHAPES
def test_predictions_are_those_of_scikit_learn(shape):
    points, labels = _problem(0, *shape)
    queries, _ = _problem(0, 400, shape[1])
    single = [values.astype(np.float32) for values in (points, queries)]
    found = ridge_probe.ridge_predictions(
        single[0], labels, single[1], jnp.asarray(PENALTIES), num_classes=5
    )
    for place, penalty in enumerate(PENALTIES):
        outputs = _oracle(points, labels, penalty).predict(queries)
        top = np.sort(outputs, axis=1)
        clear = top[:, -1] - top[:, -2] > 1e-3
        assert clear.mean() > 0.95
        np.testing.assert_array_equal(found[place][clear], np.argmax(outputs, axis=1)[clear])


@SHAPES
def test_compiled_and_vectorised_as_one_by_one(shape):
    problems = [_problem(seed, *shape) for seed in range(3)]
    points = jnp.stack([jnp.asarray(points) for points, _ in problems])
    labels = jnp.stack([jnp.asarray(labels) for _, labels in problems])
    weights = partial(ridge_probe.ridge_weights, num_classes=5)
    predict = partial(ridge_probe.ridge_predictions, num_classes=5)
    grid = jnp.asarray(PENALTIES)
    found = jax.jit(jax.vmap(weights, (0, 0, None)))(points, labels, grid)
    predictions = jax.jit(jax.vmap(predict, (0, 0, 0, None)))(points, labels, points, grid)
    for place in range(3):
        expected = weights(points[place], labels[place], grid)
        np.testing.assert_allclose(found.kernel[place], expected.kernel, atol=2e-4)
        outputs = points[place] @ expected.kernel + expected.bias[:, None]
        top = jnp.sort(outputs, axis=-1)
        clear = top[..., -1] - top[..., -2] > 1e-3
        wrong = (predictions[place] != jnp.argmax(outputs, axis=-1)) & clear
        assert not bool(jnp.any(wrong))


@pytest.mark.parametrize("used", [1, None])
def test_the_probe_is_the_loop_over_folds_and_penalties(used):
    points, labels = _problem(0, 120, 9)
    test_points, test_labels = _problem(0, 400, 9)
    probe = ridge_probe.ridge_probe(
        points, labels, test_points, test_labels, penalties=PENALTIES, used_folds=used, seed=3
    )
    folds = stratified_folds(labels, 5, seed=3)
    validation = np.zeros(3)
    for place, penalty in enumerate(PENALTIES):
        rates = []
        for fold in range(used or 5):
            held = folds == fold
            model = _oracle(points[~held], labels[~held], penalty)
            rates.append(np.mean(model.predict(points[held]).argmax(axis=1) == labels[held]))
        validation[place] = np.mean(rates)
        found = _oracle(points, labels, penalty).predict(test_points).argmax(axis=1)
        assert probe.accuracies[place] == pytest.approx(np.mean(found == test_labels))
    np.testing.assert_allclose(probe.validation_accuracies, validation)
    best = max(np.flatnonzero(validation == validation.max()))
    assert probe.penalty == PENALTIES[best]
    assert probe.accuracy == probe.accuracies[best]
    assert probe.accuracy == pytest.approx(np.mean(probe.predictions == test_labels))


def test_labels_need_not_count_from_zero_and_unknown_ones_are_wrong():
    points, labels = _problem()
    known = ridge_probe.ridge_probe(points, labels, points, labels)
    moved = ridge_probe.ridge_probe(points, 10 * labels + 3, points, 10 * labels + 3)
    assert moved.accuracy == known.accuracy
    np.testing.assert_array_equal(moved.predictions, 10 * known.predictions + 3)
    assert ridge_probe.ridge_probe(points, labels, points, labels + 5).accuracy == 0


def test_scale_and_duplicates_change_nothing():
    points, labels = _problem()
    once = ridge_probe.ridge_probe(points, labels, points, labels)
    scaled = ridge_probe.ridge_probe(1e-3 * points, labels, 1e-3 * points, labels)
    np.testing.assert_array_equal(once.predictions, scaled.predictions)
    weights = ridge_probe.ridge_weights(points, labels, jnp.ones(1), num_classes=5)
    twice = ridge_probe.ridge_weights(
        np.repeat(points, 2, axis=0), np.repeat(labels, 2), jnp.ones(1), num_classes=5
    )
    np.testing.assert_allclose(weights.kernel, twice.kernel, atol=1e-5)


def test_equal_points_are_undefined():
    points, labels = np.full((20, 3), 0.1, np.float32), np.arange(20) % 2
    probe = ridge_probe.ridge_probe(points, labels, points, labels)
    assert np.isnan(probe.accuracy)
    assert np.isnan(probe.accuracies).all()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"penalties": ()}, "penalties: found none"),
        ({"penalties": (1.0, -2.0)}, "penalties: found -2.0"),
        ({"folds": 60}, "labels: class . has .* examples; 60 folds need"),
    ],
)
def test_bad_settings_are_refused(arguments, sentence):
    points, labels = _problem()
    with pytest.raises(InvalidInputError, match=sentence):
        ridge_probe.ridge_probe(points, labels, points, labels, **arguments)


def test_bad_points_are_refused():
    points, labels = _problem()
    with pytest.raises(InvalidInputError, match="test_points: found 3 dimensions"):
        ridge_probe.ridge_probe(points, labels, points[:, :3], labels)
    bad = points.copy()
    bad[4, 0] = np.nan
    with pytest.raises(InvalidInputError, match="test_points: found 1 of 120 rows"):
        ridge_probe.ridge_probe(points, labels, bad, labels)
    with pytest.raises(InvalidInputError, match="labels: found 4; with num_classes 4"):
        ridge_probe.ridge_weights(points, labels, jnp.ones(1), num_classes=4)
