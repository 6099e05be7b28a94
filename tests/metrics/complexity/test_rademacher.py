"""Rademacher complexity against closed forms: linear classes, and what must be fitted or cannot."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import models
from genjax.errors import InvalidInputError
from genjax.metrics import complexity
from genjax.metrics.complexity import computing, rademacher, registry, sign_fit
from genjax.metrics.complexity.contract import Labelled, MeasureData, Trained
from genjax.metrics.complexity.layers import weight_layers
from genjax.metrics.complexity.workspace import Workspace


def workspace_of(network, params, images, labels, key):
    data = MeasureData(Labelled(images, labels), None, None, len(labels))
    trained = Trained(params, None, None, None, None, None, 0)
    layers = weight_layers(network, params)
    return Workspace(network, layers, trained, data, key, registry.intermediates())


def test_linear_closed_form_is_the_largest_over_the_ball():
    draws = np.random.default_rng(0)
    inputs, signs = draws.standard_normal((20, 3)), np.sign(draws.standard_normal((5, 20)))
    found = np.asarray(sign_fit.linear_rademacher(inputs, signs, 2.5))
    for value, row in zip(found, signs, strict=True):
        total = row @ inputs
        best = 2.5 * total / np.linalg.norm(total)
        np.testing.assert_allclose(value, np.mean(row * (inputs @ best)), rtol=1e-5)
        others = draws.standard_normal((2000, 3))
        others *= 2.5 / np.linalg.norm(others, axis=1, keepdims=True)
        assert np.max((others @ inputs.T @ row) / 20) <= value * (1 + 1e-6)
    with pytest.raises(InvalidInputError, match="radius"):
        sign_fit.linear_rademacher(inputs, signs, -1)


def test_training_finds_the_linear_supremum(getkey):
    inputs = jax.random.normal(getkey(), (40, 6))

    def correlation(params, inputs, signs):
        return jnp.mean(signs * (inputs @ params))

    functions = sign_fit.balls(
        jnp.float32(1.5),
        start=lambda key: jax.random.normal(key, (6,)),
        loss=lambda params, inputs, signs: (-correlation(params, inputs, signs), params),
        gain=correlation,
    )
    schedule = sign_fit.Schedule(draws=6, epochs=200, batch_size=40, learning_rate=0.1)
    gains, signs = sign_fit.fit_random_targets(
        functions,
        inputs,
        lambda key: jax.random.rademacher(key, (40,), jnp.float32),
        getkey(),
        schedule,
    )
    exact = sign_fit.linear_rademacher(inputs, signs, 1.5)
    np.testing.assert_allclose(gains, exact, rtol=1e-3)
    assert np.all(np.asarray(gains) <= np.asarray(exact) * (1 + 1e-5))
    assert len(np.unique(np.asarray(signs), axis=0)) == 6
    mean, error = sign_fit.mean_and_error(gains)
    np.testing.assert_allclose(mean, np.mean(gains), rtol=1e-6)
    np.testing.assert_allclose(error, np.std(gains, ddof=1) / np.sqrt(6), rtol=1e-5)


def test_margins_of_a_linear_network_reach_their_supremum(getkey):
    """Two classes: M = t (w_1 - w_0).x with t = +-1, so |w_1 - w_0| is at most sqrt 2 times B."""
    network = models.create("mlp", image_shape=(2, 2, 1), num_classes=2, widths=())
    params = {"output": {"kernel": 3 * jax.random.normal(getkey(), (4, 2)), "bias": jnp.zeros(2)}}
    images = np.asarray(jax.random.normal(getkey(), (32, 2, 2, 1)))
    labels = np.arange(32, dtype=np.int32) % 2
    workspace = workspace_of(network, params, images, labels, getkey())
    schedule = rademacher.BALL_SCHEDULE._replace(epochs=150, learning_rate=0.1)
    gains, signs = rademacher.margin_complexity(workspace, schedule)
    radius = float(jnp.linalg.norm(params["output"]["kernel"]))
    turned = np.asarray(signs) * np.where(labels == 1, 1.0, -1.0)
    exact = sign_fit.linear_rademacher(images.reshape(32, 4), turned, math.sqrt(2) * radius)
    np.testing.assert_allclose(gains, exact, rtol=2e-3)


def test_a_wide_network_fits_any_signs_and_a_single_input_fits_none(getkey):
    images = np.asarray(jax.random.normal(getkey(), (24, 4, 4, 1)))
    labels = np.arange(24, dtype=np.int32) % 3
    network = models.create("mlp", image_shape=(4, 4, 1), num_classes=3, widths=(64,))
    start = network.fold(*network.init(getkey()))
    trained = Trained(start, start, None, None, None, None, 0)
    sets = MeasureData(Labelled(images, labels), None, None, 24)
    names = ["rademacher_complexity", "random_label_fit"]
    found, _ = computing.compute(names, network, trained, sets, getkey())
    for name in names:
        amount, info = found[name]
        assert float(amount) == pytest.approx(1.0, abs=1e-6), name
        assert float(info["standard_error"]) == pytest.approx(0.0, abs=1e-6)


def test_equal_images_get_the_majority_of_the_signs(getkey):
    images = np.ones((24, 4, 4, 1), np.float32)
    network = models.create("mlp", image_shape=(4, 4, 1), num_classes=3, widths=(8,))
    start = network.fold(*network.init(getkey()))
    workspace = workspace_of(network, start, images, np.zeros(24, np.int32), getkey())
    gains, signs = rademacher.sign_complexity(workspace, rademacher.SCHEDULE)
    sums = np.asarray(signs).mean(1)
    assert np.any(sums != 0)
    chosen = sums != 0  # at a tie either class is as good
    np.testing.assert_allclose(np.asarray(gains)[chosen], np.abs(sums[chosen]), atol=1e-6)


def test_a_margin_bound_is_the_sum_of_its_parts(groups, measure_data):
    few = measure_data._replace(
        train=jax.tree.map(lambda values: values[:60], measure_data.train), train_size=60
    )
    group = groups["mlp"]
    found = complexity.measure_group(group, few, ["rademacher_margin_bound"], key=jax.random.key(0))
    info = found.info["rademacher_margin_bound"]
    for i in range(4):
        logits = np.asarray(group.network.apply(group.network_params(i), few.train.images))
        others = np.array(logits)
        others[np.arange(60), few.train.labels] = -np.inf
        margins = logits[np.arange(60), few.train.labels] - others.max(1)
        gamma = np.sort(margins)[5]
        assert gamma > 0
        expected = (
            np.mean(margins <= gamma)
            + 2 * info["rademacher"][i] / gamma
            + 3 * math.sqrt(math.log(40) / 120)
        )
        np.testing.assert_allclose(found.values["rademacher_margin_bound"][i], expected, rtol=1e-4)
        assert bool(info["vacuous"][i]) == (expected >= 1)
        assert info["rademacher"][i] > 0


def test_a_network_without_margin_has_no_margin_bound(groups, measure_data):
    few = measure_data._replace(
        train=jax.tree.map(lambda values: values[:60], measure_data.train), train_size=60
    )
    group = groups["mlp"]._replace(params=groups["mlp"].init_params)
    found = complexity.measure_group(group, few, ["rademacher_margin_bound"], key=jax.random.key(0))
    assert found.refused[0].reason == "its margin is zero or negative"
    assert found.refused[0].networks == (0, 1, 2, 3)


def test_architectures_that_cannot_be_trained_here_are_refused(groups, measure_data):
    group = groups["mlp"]
    elsewhere = group._replace(network=group.network._replace(family="somebody's"))
    found = complexity.measure_group(
        elsewhere, measure_data, ["rademacher_complexity"], key=jax.random.key(0)
    )
    (one,) = found.refused
    assert one.reason == "it needs an architecture that can be initialised and trained here"


@pytest.mark.slow
@pytest.mark.parametrize("family", ["cnn", "resnet", "vit"])
def test_every_family_can_be_fitted(groups, measure_data, family):
    few = measure_data._replace(
        train=jax.tree.map(lambda values: values[:64], measure_data.train), train_size=64
    )
    found = complexity.measure_group(groups[family], few, ["rademacher"], key=jax.random.key(0))
    for name in ("rademacher_complexity", "random_label_fit"):
        values = found.values[name]
        assert np.all((values > 0.2) & (values <= 1)), name
    bounds = found.values["rademacher_margin_bound"]
    assert np.all(np.isfinite(bounds) & (bounds > 0))
