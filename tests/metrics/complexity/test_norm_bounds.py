"""Norm bounds against float64 NumPy, and against what they bound."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import models
from genjax.metrics import complexity
from genjax.metrics.complexity import computing, rademacher, registry, sign_fit
from genjax.metrics.complexity.contract import Labelled, MeasureData, Trained
from genjax.metrics.complexity.layers import weight_layers
from genjax.metrics.complexity.norm_bounds import grid_above, with_biases
from genjax.metrics.complexity.workspace import Workspace

LAYERS = {"mlp": ("dense1", "dense2", "output"), "cnn": ("conv1", "conv2", "output")}


def matrices(params, family, biases=False):
    found = []
    for name in LAYERS[family]:
        kernel = np.asarray(params[name]["kernel"], np.float64)
        matrix = kernel.reshape(-1, kernel.shape[-1]).T
        if biases:
            bias = np.asarray(params[name]["bias"], np.float64)
            matrix = np.hstack([matrix, bias[:, None]])
            if name != "output":
                matrix = np.vstack([matrix, np.eye(1, matrix.shape[1], matrix.shape[1] - 1)])
        found.append(matrix)
    return found


def margin_of(network, params, data):
    logits = np.asarray(network.apply(params, data.images), np.float64)
    rows = np.arange(len(logits))
    true = logits[rows, data.labels]
    logits[rows, data.labels] = -np.inf
    margins = true - logits.max(1)
    return margins, np.sort(margins)[len(margins) // 10 - 1]


@pytest.fixture(scope="module", params=["mlp", "cnn"])
def measured(request, groups, measure_data):
    group = groups[request.param]
    found = complexity.measure_group(group, measure_data, ["norm_bounds"], key=jax.random.key(0))
    return request.param, group, found


def test_leading_terms_in_float64(measured, measure_data):
    family, group, found = measured
    squared = (measure_data.train.images.reshape(300, -1).astype(np.float64) ** 2).sum(1)
    for i in range(4):
        params = group.network_params(i)
        start = jax.tree.map(lambda leaf, i=i: leaf[i], group.init_params)
        _, gamma = margin_of(group.network, params, measure_data.train)
        weights, before = matrices(params, family), matrices(start, family)
        golowich = (
            np.prod([np.linalg.norm(w) for w in weights])
            * (math.sqrt(2 * 3 * math.log(2)) + 1)
            * math.sqrt(squared.max() / 300)
            / gamma
        )
        spectral = [np.linalg.norm(w, 2) for w in weights]
        ratios = [
            np.linalg.norm(w - o, axis=1).sum() / s
            for w, o, s in zip(weights, before, spectral, strict=True)
        ]
        bartlett = (
            np.prod(spectral)
            * np.sum(np.array(ratios) ** (2 / 3)) ** 1.5
            * math.sqrt(squared.mean() / 300)
            / gamma
        )
        assert found.values["log_golowich"][i] == pytest.approx(math.log(golowich), abs=2e-4)
        assert found.values["log_bartlett_foster_telgarsky"][i] == pytest.approx(
            math.log(bartlett), abs=2e-4
        )


def price_of(j):
    return math.log(3 * (abs(j) + 1) * (abs(j) + 2) / 2)


def above(value, per_octave):
    j = math.ceil(per_octave * math.log2(value))
    return 2 ** (j / per_octave), price_of(j)


def test_bounds_in_float64(measured, measure_data):
    family, group, found = measured
    bounds = ("golowich_bound", "bartlett_foster_telgarsky_bound")
    if family == "cnn":
        said = {one.measure: one for one in found.refused}
        assert set(said) == set(bounds)
        assert said[bounds[0]].networks == (0, 1, 2, 3)
        assert said[bounds[0]].reason == "the quantity is not defined for it"
        return
    squared = (measure_data.train.images.reshape(300, -1).astype(np.float64) ** 2).sum(1) + 1
    for i in range(4):
        params = group.network_params(i)
        start = jax.tree.map(lambda leaf, i=i: leaf[i], group.init_params)
        margins, gamma = margin_of(group.network, params, measure_data.train)
        weights, before = matrices(params, family, True), matrices(start, family, True)
        share = np.mean(margins <= gamma)
        ratio, price = above(np.prod([np.linalg.norm(w) for w in weights]) / gamma, 8)
        complexity_term = 2 * 10 * ratio * (math.sqrt(6 * math.log(2)) + 1)
        complexity_term *= math.sqrt(squared.sum()) / 300
        deviation = 3 * math.sqrt((math.log(40) + price) / 600)
        expected = share + 2 * complexity_term + deviation
        np.testing.assert_allclose(found.values[bounds[0]][i], expected, rtol=1e-4)
        norms, moved, total = [], [], 0.0
        for w, o in zip(weights, before, strict=True):
            for values, amount in (
                (norms, np.linalg.norm(w, 2)),
                (moved, np.linalg.norm(w - o, axis=1).sum()),
            ):
                rounded, price = above(amount, 3)
                values.append(rounded)
                total += price
        inverse, price = above(1 / gamma, 3)
        total += price
        root = (
            2
            * inverse
            * math.sqrt(squared.sum() * math.log(2 * 65**2))
            * np.prod(norms)
            * np.sum((np.array(moved) / np.array(norms)) ** (2 / 3)) ** 1.5
        )
        expected = (
            share
            + 2 * (4 / 300**1.5 + 18 * math.log(300) / 300 * root)
            + 3 * math.sqrt((math.log(40) + total) / 600)
        )
        np.testing.assert_allclose(found.values[bounds[1]][i], expected, rtol=1e-4)
        assert found.info[bounds[0]]["vacuous"][i]
        assert found.info[bounds[1]]["vacuous"][i]


def test_matrices_with_biases_compute_the_network(groups, measure_data):
    group = groups["mlp"]
    params = group.network_params(1)
    layers = weight_layers(group.network, params)
    images = measure_data.train.images[:20]
    x = np.hstack([images.reshape(20, -1), np.ones((20, 1))])
    *hidden, last = [np.asarray(m, np.float64) for m in with_biases(params, layers)]
    for matrix in hidden:
        x = np.maximum(x @ matrix.T, 0)
    np.testing.assert_allclose(x @ last.T, group.network.apply(params, images), atol=1e-4)


def test_weights_of_the_grid_sum_to_one_and_its_values_lie_above():
    j = np.arange(-(10**6), 10**6)
    weights = 2 / (3 * (np.abs(j) + 1.0) * (np.abs(j) + 2.0))
    assert weights.sum() == pytest.approx(1, abs=1e-5)
    values = np.exp(np.random.default_rng(0).normal(0, 5, 1000)).astype(np.float32)
    rounded, price = (np.asarray(v) for v in grid_above(jnp.asarray(values), 4))
    assert np.all(rounded >= values * (1 - 1e-6))
    assert np.all(rounded <= values * 2**0.25 * (1 + 1e-5))
    np.testing.assert_allclose(
        price, [price_of(k) for k in np.round(4 * np.log2(rounded)).astype(int)], rtol=1e-5
    )


def test_a_large_margin_on_many_examples_has_a_bound_that_says_something():
    """One pixel of value +-1 and weights (w, -w): where Golowich's bound falls below one."""
    network = models.create("mlp", image_shape=(1, 1, 1), num_classes=2, widths=())
    count = 100_000
    labels = np.arange(count, dtype=np.int32) % 2
    images = (1.0 - 2.0 * labels).astype(np.float32).reshape(count, 1, 1, 1)
    params = {"output": {"kernel": jnp.array([[5.0, -5.0]]), "bias": jnp.zeros(2)}}
    start = {"output": {"kernel": jnp.array([[4.9, -4.9]]), "bias": jnp.zeros(2)}}
    data = MeasureData(Labelled(images, labels), None, None, count)
    trained = Trained(params, start, None, None, None, None, 0)
    names = ["golowich_bound", "bartlett_foster_telgarsky_bound"]
    found, _ = computing.compute(names, network, trained, data, jax.random.key(0))
    amount, info = found["golowich_bound"]
    # gamma = 10 is the margin of every example: R_gamma = 1 with "up to gamma".
    assert float(info["margin_error"]) == 1.0
    assert bool(info["vacuous"])
    assert float(amount) < 1.3
    # With a tenth of the examples at a smaller margin the share is a tenth.
    images[: count // 10] *= 0.5
    found, _ = computing.compute(names, network, trained, data, jax.random.key(0))
    amount, info = found["golowich_bound"]
    assert float(info["margin_error"]) == pytest.approx(0.1)
    assert 0.1 < float(amount) < 0.6
    assert not bool(info["vacuous"])
    assert float(found["bartlett_foster_telgarsky_bound"][0]) > 0.1


def test_what_training_reaches_lies_below_the_bound_on_complexity(groups, measure_data):
    """The margins' complexity found by ascent, within the same norms, against 2 K Golowich."""
    group = groups["mlp"]
    params = group.network_params(0)
    layers = weight_layers(group.network, params)
    few = jax.tree.map(lambda values: values[:60], measure_data.train)
    trained = Trained(params, params, None, None, None, None, 0)
    data = MeasureData(few, None, None, 60)
    workspace = Workspace(
        group.network, layers, trained, data, jax.random.key(0), registry.intermediates()
    )
    gains, _ = rademacher.margin_complexity(workspace, rademacher.BALL_SCHEDULE)
    reached, _ = sign_fit.mean_and_error(gains)
    norms = [np.linalg.norm(np.asarray(m)) for m in with_biases(params, layers)]
    root = math.sqrt(np.sum(few.images.astype(np.float64) ** 2) + 60)
    bound = 20 * np.prod(norms) * (math.sqrt(6 * math.log(2)) + 1) * root / 60
    assert 0 < float(reached) < bound


def test_layer_rescaling_of_a_network_without_biases_changes_nothing(groups, measure_data):
    group = groups["mlp"]
    params = jax.tree.map(np.array, group.network_params(0))
    for layer in params.values():
        layer["bias"] *= 0
    scaled = jax.tree.map(np.array, params)
    scaled["dense1"]["kernel"] *= 4
    scaled["output"]["kernel"] /= 4
    found = []
    for tree in (params, scaled):
        trained = Trained(tree, tree, None, None, None, None, 0)
        values, _ = computing.compute(
            ["log_golowich"], group.network, trained, measure_data, jax.random.key(0)
        )
        found.append(float(values["log_golowich"][0]))
    assert found[0] == pytest.approx(found[1], abs=1e-4)


def test_networks_without_margin_or_movement_are_refused(groups, measure_data):
    untrained = groups["mlp"]._replace(params=groups["mlp"].init_params)
    found = complexity.measure_group(
        untrained, measure_data, ["norm_bounds"], key=jax.random.key(0)
    )
    assert {one.reason for one in found.refused} == {"its margin is zero or negative"}
    still = groups["mlp"]._replace(init_params=groups["mlp"].params)
    found = complexity.measure_group(still, measure_data, ["norm_bounds"], key=jax.random.key(0))
    (one,) = found.refused
    assert one.measure == "log_bartlett_foster_telgarsky"
    assert one.reason == "the quantity is not defined for it"
    assert np.isfinite(found.values["bartlett_foster_telgarsky_bound"]).all()


def test_networks_together_have_the_values_of_networks_alone(measure_data, measured):
    family, group, alone = measured
    found = complexity.measure_group(
        group, measure_data, ["norm_bounds"], key=jax.random.key(0), batch_networks=4
    )
    assert found.refused == alone.refused
    for name, values in found.values.items():
        np.testing.assert_allclose(
            values, alone.values[name], rtol=1e-4, err_msg=f"{family} {name}"
        )
