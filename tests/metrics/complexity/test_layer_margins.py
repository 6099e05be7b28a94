"""Margins at every tap against finite differences and closed forms."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import matplotlib.cbook
import numpy as np
import pytest

from genjax import models
from genjax.metrics import complexity
from genjax.metrics.complexity import layer_margins, tap_gradients
from genjax.metrics.complexity.contract import Labelled

MODELS = {
    "mlp": {"widths": (5, 6)},
    "cnn": {"channels": (3, 4)},
    "resnet": {"depth": 8, "width": 0.25},
    "vit": {"patch": 4, "width": 8, "depth": 1, "heads": 2},
}

# An MLP's last block is its features.
PLACES = {
    "mlp": ["block1", "features"],
    "cnn": ["block1", "block2", "features"],
    "resnet": ["stem", "stage1block1", "stage2block1", "stage3block1", "features"],
    "vit": ["embedding", "block1", "features"],
}


def network_and_params(family, seed=0):
    network = models.create(family, image_shape=(8, 8, 1), num_classes=4, **MODELS[family])
    start = jax.jit(lambda key: network.fold(*network.init(key)))
    return network, start(jax.random.key(seed))


def some_images(count, seed=1):
    rng = np.random.default_rng(seed)
    return rng.random((count, 8, 8, 1), np.float32), rng.integers(0, 4, count).astype(np.int32)


def layer_margins_of(network, params, images, labels, **options):
    """As `normalised_layer_margins`, compiled, with the names in their order again."""
    names = []

    @jax.jit
    def compiled(params, images, labels):
        found = layer_margins.normalised_layer_margins(network, params, images, labels, **options)
        names[:] = found
        return found

    found = compiled(params, images, labels)
    return {name: found[name] for name in names}


def in_float64(params):
    return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf), jnp.float64), params)


@pytest.mark.parametrize("family", MODELS)
def test_nothing_added_changes_nothing_and_every_tap_is_found(family):
    network, params = network_and_params(family)
    images, _ = some_images(3)
    opened = tap_gradients.perturbed(network, params, images)
    logits, activations = jax.jit(lambda p, x: opened.apply(p, x, {}))(params, images)
    taps = jax.jit(network.taps)(params, images)
    assert list(opened.places) == ["input", *PLACES[family]]
    expected = jax.jit(network.apply)(params, images)
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-6)
    for name in PLACES[family]:
        np.testing.assert_allclose(activations[name], taps[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("family", ["mlp", "vit", pytest.param("resnet", marks=pytest.mark.slow)])
def test_gradients_at_taps_agree_with_finite_differences(family):
    network, params = network_and_params(family)
    images, _ = some_images(2)
    with jax.enable_x64(True):
        params, images = in_float64(params), jnp.asarray(images, jnp.float64)
        opened = tap_gradients.perturbed(network, params, images)
        weights = np.random.default_rng(3).normal(size=(2, 4))

        @jax.jit
        def weighted(added):
            return jnp.sum(opened.apply(params, images, added)[0] * weights)

        zeros = {n: jnp.zeros(p.shape, p.dtype) for n, p in opened.places.items()}
        gradients = jax.grad(weighted)(zeros)
        for name, gradient in gradients.items():
            direction = np.random.default_rng(4).normal(size=gradient.shape)
            ahead, behind = (weighted({name: s * 1e-6 * direction}) for s in (1, -1))
            expected = (ahead - behind) / 2e-6
            np.testing.assert_allclose(np.sum(gradient * direction), expected, rtol=1e-5)


def test_features_of_an_mlp_have_the_closed_form():
    network, params = network_and_params("mlp")
    images, labels = some_images(40)
    found = layer_margins_of(network, params, images, labels)["features"]
    features = np.asarray(network.taps(params, images)["features"], np.float64)
    kernel = np.asarray(params["output"]["kernel"], np.float64)
    logits = features @ kernel + np.asarray(params["output"]["bias"], np.float64)
    expected = []
    for row, label in zip(logits, labels, strict=True):
        other = max((j for j in range(4) if j != label), key=lambda j: row[j])
        slope = np.sum((kernel[:, label] - kernel[:, other]) ** 2)
        expected.append((row[label] - row[other]) / np.sqrt(1e-6 + slope))
    expected = np.array(expected) / np.sqrt(features.var(axis=0).sum())
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=1e-6)


@pytest.mark.parametrize("family", ["mlp", "cnn"])
def test_pieces_make_no_difference(family):
    network, params = network_and_params(family)
    images, labels = some_images(30)
    whole = layer_margins_of(network, params, images, labels)
    pieces = layer_margins_of(network, params, images, labels, chunk=10)
    assert list(whole) == list(pieces)
    for name, margins in whole.items():
        np.testing.assert_allclose(pieces[name], margins, rtol=2e-3, atol=1e-5)


def test_the_first_examples_are_read_where_pieces_do_not_divide_them():
    network, params = network_and_params("mlp")
    images, labels = some_images(31)
    found = layer_margins_of(network, params, images, labels, chunk=10)
    first = layer_margins_of(network, params, images[:28], labels[:28])
    np.testing.assert_allclose(found["block1"], first["block1"], rtol=1e-4, atol=1e-6)


def measured(network, params, images, labels):
    data = complexity.MeasureData(Labelled(images, labels), train_size=len(labels))
    trained = complexity.Trained(params, None, None, None, None, None, 0)
    layers = complexity.layers.weight_layers(network, params)

    @jax.jit
    def compiled(trained):
        names = ["layer_margins"]
        key = jax.random.key(0)
        return complexity.compute(names, network, trained, data, key, layers=layers)[0]

    return {name: float(pair[0]) for name, pair in compiled(trained).items()}


def test_rescaling_layers_and_logits_changes_nothing():
    network, params = network_and_params("mlp")
    images, labels = some_images(40)
    moved = jax.tree.map(jnp.array, params)
    for name in ("kernel", "bias"):
        moved["dense1"][name] *= 3.0
        moved["dense2"][name] *= 3.0 if name == "bias" else 1.0
        moved["output"][name] *= 5.0
    moved["output"]["bias"] = 15.0 * params["output"]["bias"]
    before = measured(network, params, images, labels)
    after = measured(network, moved, images, labels)
    assert len(before) == 20
    for name, amount in before.items():
        assert after[name] == pytest.approx(amount, rel=1e-3), name


def test_signature_is_that_of_a_box_plot():
    for seed in range(5):
        margins = np.random.default_rng(seed).standard_cauchy(101)
        box = matplotlib.cbook.boxplot_stats(margins)[0]
        expected = [box[k] for k in ("whislo", "q1", "med", "q3", "whishi")]
        with jax.enable_x64(True):
            np.testing.assert_allclose(layer_margins.margin_signature(margins), expected)


def test_places_and_statistics_are_those_of_the_margins():
    network, params = network_and_params("cnn")
    images, labels = some_images(40)
    margins = layer_margins_of(network, params, images, labels)
    assert list(margins) == ["input", "block1", "block2", "features"]
    found = measured(network, params, images, labels)
    medians = [np.median(m) for m in margins.values()]
    expected = {"input": medians[0], "first": medians[1], "last": medians[3]}
    expected["mean"] = np.mean(medians[1:])
    for place, amount in expected.items():
        assert found[f"layer_margin_median_{place}"] == pytest.approx(amount, rel=1e-4)


def test_a_tap_beside_the_way_to_the_logits_is_left_out():
    network, params = network_and_params("mlp")
    aside = network._replace(taps=lambda p, x: {"aside": x.mean(axis=(1, 2)), **network.taps(p, x)})
    images, _ = some_images(3)
    found = tap_gradients.perturbed(aside, params, images)
    assert list(found.places) == ["input", "block1", "features"]


def test_an_activation_that_never_changes_is_refused():
    network, params = network_and_params("mlp")
    dead = jax.tree.map(jnp.array, params)
    dead["dense1"]["kernel"] *= 0.0
    images, labels = some_images(40)
    found = measured(network, dead, images, labels)
    for place in ("first", "last", "mean"):
        assert np.isnan(found[f"layer_margin_median_{place}"])


@pytest.mark.parametrize("family", ["mlp", "cnn"])
def test_jit_and_vmap_change_nothing(family):
    network, params = network_and_params(family)
    _, other = network_and_params(family, seed=5)
    images, labels = some_images(20)

    def stacked(params):
        found = layer_margins_of(network, params, images, labels)
        return jnp.stack(list(found.values()))

    both = jax.tree.map(lambda *leaves: jnp.stack(leaves), params, other)
    together = jax.jit(jax.vmap(stacked))(both)
    for row, one in zip(together, (params, other), strict=True):
        np.testing.assert_allclose(row, stacked(one), rtol=2e-3, atol=1e-5)


class _Foreign(nn.Module):
    """Somebody's network; its activations are recorded from outside."""

    @nn.compact
    def __call__(self, images):
        x = nn.gelu(nn.Conv(3, (3, 3), name="convolution")(images))
        x = nn.LayerNorm(name="norm")(x).mean(axis=(1, 2))
        return nn.Dense(4, name="output")(x)


def test_a_network_made_elsewhere_opens_at_its_taps():
    module = _Foreign()
    images, _ = some_images(3)
    params = module.init(jax.random.key(0), images)
    foreign = models.from_linen(module, params, image_shape=(8, 8, 1), num_classes=4)
    opened = tap_gradients.perturbed(foreign.network, foreign.params, images)
    assert list(opened.places) == ["input", "convolution", "norm", "features"]
    extra = np.random.default_rng(0).normal(size=opened.places["norm"].shape).astype(np.float32)
    found, _ = opened.apply(foreign.params, images, {"norm": extra})
    before = foreign.network.apply(foreign.params, images)
    expected = extra.mean(axis=(1, 2)) @ params["params"]["output"]["kernel"]
    np.testing.assert_allclose(found - before, expected, atol=1e-5)
