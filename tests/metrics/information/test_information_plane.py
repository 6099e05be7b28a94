"""The information plane of small networks: every estimator, its ceilings, its words."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import models
from genjax.errors import InvalidInputError
from genjax.metrics.information.binning import binned_information
from genjax.metrics.information.information_plane import (
    ESTIMATORS,
    PlaneSettings,
    information_plane,
    information_planes,
)
from genjax.metrics.information.nearest_neighbour_information import discrete_information
from genjax.metrics.information.pairwise import pairwise_information

COUNT = 96


@pytest.fixture(scope="module")
def case():
    """A network of two layers and examples of three classes that lie apart."""
    network = models.create("mlp", image_shape=(3, 3, 1), num_classes=3, widths=(12, 6))
    params = network.fold(*network.init(jax.random.key(0)))
    rng = np.random.default_rng(0)
    labels = np.arange(COUNT) % 3
    images = rng.normal(size=(COUNT, 3, 3, 1)) + 2 * np.eye(3, 9)[labels].reshape(-1, 3, 3, 1)
    return network, params, images.astype(np.float32), labels


def taps(case):
    network, params, images, _ = case
    return {name: np.asarray(v) for name, v in network.taps(params, jnp.asarray(images)).items()}


def test_pairwise_and_binned_are_those_of_the_taps(case):
    network, params, images, labels = case
    layers = taps(case)
    noisy = information_plane(network, params, images, labels, chunk=40)
    boxes = information_plane(
        network, params, images, labels, PlaneSettings("binned", bins=5, binning="quantile")
    )
    assert [one.layer for one in noisy] == ["block1", "block2"]
    for one, box in zip(noisy, boxes, strict=True):
        points = layers[one.layer]
        found = pairwise_information(points, labels, variance=0.1 * float(points.var(0).mean()))
        assert one.input_low == pytest.approx(float(found.input_low), abs=1e-4)
        assert one.input_high == pytest.approx(float(found.input_high), abs=1e-4)
        assert one.label_low == pytest.approx(float(found.label_low), abs=1e-4)
        assert one.label_high == pytest.approx(float(found.label_high), abs=1e-4)
        binned = binned_information(points, labels, bins=5, method="quantile")
        assert box.input_low == box.input_high == pytest.approx(binned.input, abs=1e-9)
        assert box.label_low == box.label_high == pytest.approx(binned.label, abs=1e-9)


@pytest.mark.parametrize("estimator", [e for e in ESTIMATORS if e != "infonce"])
def test_values_stay_below_their_ceilings(case, estimator):
    network, params, images, labels = case
    for one in information_plane(network, params, images, labels, PlaneSettings(estimator)):
        assert one.input_low <= one.input_high
        assert one.label_low <= one.label_high <= one.label_ceiling + 1e-6
        assert one.label_ceiling < math.log(3) + 0.05
        if estimator == "neighbours":
            assert one.input_low == math.inf
            assert "infinite" in one.flag
            assert one.label_low > 0.3
        else:
            assert one.input_high <= one.input_ceiling + 1e-6 == math.log(COUNT) + 1e-6
            assert one.label_high > 0.3


def one_layer(params):
    """The first layer of the network as a network."""
    network = models.create("mlp", image_shape=(3, 3, 1), num_classes=3, widths=(12,))
    output = {"kernel": jnp.zeros((12, 3)), "bias": jnp.zeros(3)}
    return network, {"dense1": params["dense1"], "output": output}


@pytest.mark.slow
def test_a_critic_gives_lower_bounds_up_to_log_batch(case):
    _, params, images, labels = case
    settings = PlaneSettings("infonce", steps=60, batch=24)
    (one,) = information_plane(*one_layer(params), images, labels, settings)
    assert 1.0 < one.input_low <= one.input_ceiling == pytest.approx(math.log(24), rel=1e-6)
    assert one.input_high == math.inf
    assert 0.1 < one.label_low <= one.label_high == pytest.approx(math.log(3), abs=1e-9)
    assert "lower bounds" in one.flag


def test_a_layer_at_its_ceiling_is_flagged(case):
    network, params, images, labels = case
    for estimator in ("pairwise", "gaussian", "binned"):
        flags = [
            [
                "at its ceiling" in one.flag
                for one in information_plane(
                    network, params, images, labels, PlaneSettings(estimator, variance=v, bins=bins)
                )
            ]
            for v, bins in ((1e-4, 1000), (30.0, 2))
        ]
        assert flags == [[True, True], [False, False]]


def test_gaussian_bounds_the_noisy_layer_from_above(case):
    """The mixture that `pairwise` bounds has at most the information of its covariance."""
    network, params, images, labels = case
    for variance in (0.5, 5.0):
        noisy, normal = (
            information_plane(network, params, images, labels, PlaneSettings(e, variance=variance))
            for e in ("pairwise", "gaussian")
        )
        for one, other in zip(noisy, normal, strict=True):
            assert other.input_high >= one.input_low
    points = taps(case)["block2"].astype(np.float64)
    covariance = np.cov(points.T, bias=True)
    inner = np.eye(6) + covariance / (5.0 * points.var(0).mean())
    known = 0.5 * np.linalg.slogdet(inner)[1]
    assert normal[1].input_high == pytest.approx(known, abs=1e-6)


@pytest.mark.parametrize("relative", [True, False])
def test_relative_noise_does_not_see_the_scale(case, relative):
    _, params, images, labels = case
    settings = PlaneSettings(relative=relative, variance=0.3)
    double = jax.tree.map(lambda leaf: 2 * leaf, params)
    first, second = (
        information_plane(*one_layer(p), images, labels, settings)[0].input_high
        for p in (params, double)
    )
    assert (abs(first - second) < 1e-4) == relative


def test_neighbours_of_few_units_are_those_of_the_whitened_layer(case):
    network, params, images, labels = case
    found = information_plane(network, params, images, labels, PlaneSettings("neighbours"))[1]
    points = taps(case)["block2"]
    alive = points[:, points.std(0) > 1e-6].astype(np.float64)
    centred = alive - alive.mean(0)
    _, values, directions = np.linalg.svd(centred, full_matrices=False)
    white = centred @ directions.T / values * math.sqrt(COUNT)
    known = discrete_information(white, labels, key=jax.random.key(1))
    assert found.label_low == pytest.approx(known.value, abs=0.02)


def test_a_stack_is_the_loop_and_a_broken_network_says_so(case):
    network, _, images, labels = case
    stack = jax.vmap(lambda key: network.fold(*network.init(key)))(
        jax.random.split(jax.random.key(5), 3)
    )
    stack = jax.tree.map(lambda leaf: leaf.at[1].set(jnp.nan), stack)
    found = information_planes(network, stack, images, labels)
    assert len(found) == 3
    for index in (0, 2):
        params = jax.tree.map(lambda leaf, i=index: leaf[i], stack)
        assert found[index] == information_plane(network, params, images, labels)
    assert all(one.flag == "not finite" and math.isnan(one.input_low) for one in found[1])


def test_a_constant_layer_knows_nothing(case):
    network, params, images, labels = case
    zeros = jax.tree.map(jnp.zeros_like, params)
    for estimator in ("pairwise", "binned", "gaussian"):
        for one in information_plane(network, zeros, images, labels, PlaneSettings(estimator)):
            assert one.input_high == pytest.approx(0.0, abs=1e-6)
            assert one.label_high == pytest.approx(0.0, abs=1e-6)
            assert one.flag.startswith("constant")


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        (PlaneSettings("pairwse"), "estimator"),
        (PlaneSettings(readout="meen"), "readout"),
        (PlaneSettings(variance=0.0), "variance"),
        (PlaneSettings(dimensions=0), "dimensions"),
        (PlaneSettings(readout="mean"), "applies to some"),
        (PlaneSettings("binned", bins=0), "bins"),
    ],
)
def test_bad_settings_are_refused(case, settings, word):
    with pytest.raises(InvalidInputError, match=word):
        information_plane(case[0], case[1], case[2], case[3], settings)


def test_labels_that_do_not_fit_are_refused(case):
    network, params, images, labels = case
    with pytest.raises(InvalidInputError, match="labels: found 3 for 96"):
        information_plane(network, params, images, labels[:3])
