"""Few-shot accuracy: against loops over draws, in closed form, and how episodes are drawn."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.errors import InvalidInputError
from genjax.metrics.layers import few_shot
from genjax.metrics.layers.ridge_probe import ridge_predictions


def _problem(seed=0, total=200, dimensions=6, classes=5, apart=1.0):
    rng = np.random.default_rng(seed)
    labels = np.arange(total) % classes
    centres = apart * rng.normal(size=(classes, dimensions))
    points = rng.normal(size=(total, dimensions)) + centres[labels]
    return points.astype(np.float32), labels


@pytest.mark.parametrize("classifier", ["nearest_mean", "ridge"])
def test_a_curve_rises_and_does_not_depend_on_chunks(classifier):
    points, labels = _problem(apart=0.8)
    of = partial(
        few_shot.shot_curve, points, labels, jax.random.key(0), classifier=classifier, draws=30
    )
    curve = of()
    assert curve.accuracies.shape == (5, 30)
    assert np.all(np.diff(curve.mean) > 0)
    np.testing.assert_allclose(curve.mean, curve.accuracies.mean(axis=1), rtol=1e-6)
    half = 1.96 * curve.accuracies.std(axis=1, ddof=1) / np.sqrt(30)
    np.testing.assert_allclose(curve.high - curve.mean, half, rtol=1e-5)
    np.testing.assert_allclose(curve.mean - curve.low, half, rtol=1e-5)
    # Products of another batch size may round a near tie the other way.
    np.testing.assert_allclose(of(chunk_size=7).accuracies, curve.accuracies, atol=0.011)
    again = few_shot.shot_curve(
        points, 3 * labels + 2, jax.random.key(0), classifier=classifier, draws=30
    )
    np.testing.assert_array_equal(again.accuracies, curve.accuracies)
    other = few_shot.shot_curve(points, labels, jax.random.key(1), classifier=classifier, draws=30)
    assert np.any(other.accuracies != curve.accuracies)


@pytest.mark.parametrize("total", [20, 200], ids=["dual", "primal"])
def test_ridge_of_a_curve_is_the_ridge_probe(total):
    points, labels = _problem(total=total, dimensions=30)
    queries, _ = _problem(0, 300, 30)
    expected = ridge_predictions(points, labels, queries, jnp.ones(1), num_classes=5)[0]
    found = few_shot._ridge(points, labels, queries, 1.0, 5)
    np.testing.assert_array_equal(found, expected)


def test_a_draw_tests_exactly_the_examples_it_did_not_take():
    # Four examples per class, each at a place of its own: two are taken, two are tested. Distances
    # tell which ones, because the nearest mean is right for every test example of these points.
    points = np.array([[0.0], [1.0], [2.0], [3.0], [90.0], [91.0], [92.0], [93.0]], np.float32)
    labels = np.arange(8) // 4
    curve = few_shot.shot_curve(points, labels, jax.random.key(0), shots=(1, 3), draws=40)
    np.testing.assert_array_equal(curve.accuracies, 1)
    # Every example is another class's twin: a leak would be right half of the time or more.
    twins = np.repeat(np.arange(10.0, dtype=np.float32), 2)[:, None] ** 2
    labels = np.tile([0, 1], 10)
    curve = few_shot.shot_curve(twins, labels, jax.random.key(0), shots=(9,), draws=200)
    assert curve.accuracies.shape == (1, 200)
    assert float(curve.mean[0]) < 0.5


def test_mean_accuracy_of_a_draw_agrees_with_all_draws_there_are():
    points = np.array([[0.0], [3.0], [4.0], [2.0], [6.0], [9.0]], np.float32)
    labels = np.array([0, 0, 0, 1, 1, 1])
    rates = []
    for first in range(3):
        for second in range(3, 6):
            left = [place for place in range(6) if place not in (first, second)]
            near = [
                int(abs(points[p, 0] - points[second, 0]) < abs(points[p, 0] - points[first, 0]))
                for p in left
            ]
            rates.append(np.mean(np.array(near) == labels[left]))
    curve = few_shot.shot_curve(points, labels, jax.random.key(0), shots=(1,), draws=3000)
    assert float(curve.mean[0]) == pytest.approx(np.mean(rates), abs=4 * 0.3 / np.sqrt(3000))


def test_episodes_of_separated_classes_are_right_and_of_noise_at_chance():
    points, labels = _problem(apart=50.0, dimensions=30)
    found = few_shot.simple_shot(points, labels, jax.random.key(0), shots=5)
    assert found.mean == 1
    assert found.half_width == 0
    assert found.accuracies.shape == (600,)
    noise, labels = _problem(apart=0.0, total=1000)
    found = few_shot.simple_shot(noise, labels, jax.random.key(0))
    assert abs(found.mean - 0.2) < 4 * found.half_width / 1.96
    half = 1.96 * found.accuracies.std(ddof=1) / np.sqrt(600)
    assert found.half_width == pytest.approx(half, rel=1e-5)


def test_centring_and_normalising_are_those_of_the_paper():
    # Directions from the base mean tell the classes apart, lengths and the origin do not.
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 5
    directions = np.eye(5)[labels]
    lengths = np.exp(3 * rng.normal(size=(200, 1)))
    base = 100 * rng.normal(size=5)
    points = (base + directions * lengths).astype(np.float32)
    of = partial(few_shot.simple_shot, points, labels, jax.random.key(0), episodes=100)
    assert of(base_mean=base).mean > 0.999
    assert of(base_mean=base, normalise=False).mean < 0.9
    assert of().mean < 0.9


def test_episodes_do_not_depend_on_chunks_and_repeat_for_a_key():
    points, labels = _problem()
    of = partial(few_shot.simple_shot, points, labels, ways=3, queries=4, episodes=50)
    found = of(jax.random.key(0))
    np.testing.assert_allclose(
        of(jax.random.key(0), chunk_size=8).accuracies, found.accuracies, atol=0.09
    )
    np.testing.assert_array_equal(of(jax.random.key(0)).accuracies, found.accuracies)
    assert np.any(of(jax.random.key(1)).accuracies != found.accuracies)


def test_the_mean_over_episodes_agrees_with_all_episodes_there_are():
    # Two classes of three: each shot (3 x 3) with the other two of each as queries.
    points = np.array([[0.0], [3.0], [4.0], [2.0], [6.0], [9.0]], np.float32)
    labels = np.array([0, 0, 0, 1, 1, 1])
    rates = []
    for first in range(3):
        for second in range(3, 6):
            left = [place for place in range(6) if place not in (first, second)]
            near = [
                int(abs(points[p, 0] - points[second, 0]) < abs(points[p, 0] - points[first, 0]))
                for p in left
            ]
            rates.append(np.mean(np.array(near) == labels[left]))
    found = few_shot.simple_shot(
        points,
        labels,
        jax.random.key(0),
        ways=2,
        queries=2,
        episodes=3000,
        normalise=False,
    )
    # An exact tie goes to whichever class was drawn first: half of them are right either way.
    assert found.mean == pytest.approx(np.mean(rates), abs=4 * 0.3 / np.sqrt(3000) + 0.03)


def test_equal_points_are_undefined():
    points, labels = np.full((200, 3), 0.1, np.float32), np.arange(200) % 5
    assert np.isnan(few_shot.simple_shot(points, labels, jax.random.key(0), episodes=5).mean)
    assert np.isnan(few_shot.shot_curve(points, labels, jax.random.key(0), draws=3).mean).all()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"shots": (40,)}, "labels: class 0 has 40 examples; 40 shots and a query need 41"),
        ({"shots": ()}, "shots: found 0"),
        ({"draws": 0}, "draws: found 0"),
        ({"classifier": "svm"}, "classifier: unknown name 'svm'"),
    ],
)
def test_bad_settings_of_a_curve_are_refused(arguments, sentence):
    points, labels = _problem()
    with pytest.raises(InvalidInputError, match=sentence):
        few_shot.shot_curve(points, labels, jax.random.key(0), **arguments)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"ways": 6}, "ways: found 6; the labels have 5 classes"),
        ({"ways": 1}, "ways: found 1; at least 2"),
        ({"queries": 40}, "labels: class 0 has 40 examples; 1 shots and 40 queries need 41"),
        ({"episodes": 0}, "episodes: found 0"),
        ({"base_mean": np.ones(3)}, "base_mean: found shape"),
    ],
)
def test_bad_settings_of_episodes_are_refused(arguments, sentence):
    points, labels = _problem()
    with pytest.raises(InvalidInputError, match=sentence):
        few_shot.simple_shot(points, labels, jax.random.key(0), **arguments)
