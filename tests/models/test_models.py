"""Models: contract, known sizes, folding, gradients of the canonical convolution, bad input."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from genjax import errors, models
from genjax.models import convolution, resnet
from genjax.models.network import dropout

CASES = [
    ("mlp", {"widths": (16, 12)}, (8, 8, 1)),
    ("cnn", {"channels": (4, 6)}, (8, 8, 1)),
    ("cnn", {"channels": (4, 6), "readout": "average"}, (9, 8, 3)),
    ("resnet", {"depth": 8, "width": 0.5}, (8, 8, 1)),
    ("resnet", {"depth": 8, "norm": "group"}, (8, 8, 3)),
    ("vit", {"patch": 2, "width": 8, "depth": 2, "heads": 2}, (8, 8, 1)),
]


def create(name, options, shape):
    return models.create(name, image_shape=shape, num_classes=5, **options)


@pytest.mark.parametrize(("name", "options", "shape"), CASES)
def test_contract_holds_under_jit_and_vmap(name, options, shape, getkey):
    network = create(name, options, shape)
    images = jax.random.uniform(getkey(), (3, *shape))
    init = jax.jit(jax.vmap(lambda key: network.fold(*network.init(key))))
    params = init(jax.random.split(getkey(), 2))
    apply, taps_of = jax.jit(network.apply), jax.jit(network.taps)
    stacked = jax.jit(jax.vmap(network.apply, in_axes=(0, None)))(params, images)
    assert stacked.shape == (2, 3, 5)
    for i in range(2):
        one = jax.tree.map(lambda leaf, i=i: leaf[i], params)
        np.testing.assert_allclose(stacked[i], apply(one, images), atol=2e-5)
        taps = taps_of(one, images)
        assert models.FEATURES in taps
        assert taps[models.FEATURES].ndim == 2
        assert len(taps) >= 3


@pytest.mark.parametrize(("name", "options", "shape"), CASES)
def test_output_layer_reads_the_features_tap(name, options, shape, getkey):
    network = create(name, options, shape)
    params = jax.jit(lambda key: network.fold(*network.init(key)))(getkey())
    images = jax.random.uniform(getkey(), (3, *shape))

    @jax.jit
    def both(params, images):
        return network.taps(params, images), network.apply(params, images)

    taps, expected = both(params, images)
    logits = taps[models.FEATURES] @ params["output"]["kernel"]
    logits = logits + params["output"]["bias"][None, :]
    np.testing.assert_allclose(logits, expected, atol=1e-5)


def test_known_sizes():
    assert (
        models.cost(create("mlp", {"widths": (3,)}, (2, 2, 1))).parameters == 4 * 3 + 3 + 3 * 5 + 5
    )
    # The published CIFAR-10 ResNet-20 with option A shortcuts has 269,722 parameters; batch
    # normalisation's scale and offset are counted, its running statistics are not.
    network = models.create("resnet", image_shape=(32, 32, 3), num_classes=10, depth=20)
    assert models.cost(network).parameters == 269_722
    # Products with padding are not counted: a 3x3 window on a side of n has 3n - 2 true taps, with
    # stride 2 from 2n 3n - 1.
    stem = 3 * 16 * 94**2
    stages = [(16, 94, 94), (32, 47, 46), (64, 23, 22)]
    products = stem + 64 * 10
    for channels, first, rest in stages:
        inputs = channels if channels == 16 else channels // 2
        products += inputs * channels * first**2 + 5 * channels**2 * rest**2
    assert 2 * products < models.cost(network).flops < 1.02 * 2 * products


def test_folded_batch_norm_equals_evaluation_mode(getkey):
    network = create("resnet", {"depth": 8}, (8, 8, 3))
    parameters, statistics = jax.jit(network.init)(getkey())
    train_apply = jax.jit(network.train_apply)
    for _ in range(3):  # move the running statistics away from 0 and 1
        images = jax.random.uniform(getkey(), (16, 8, 8, 3)) * 3
        _, statistics = train_apply(parameters, statistics, images, getkey())
    images = jax.random.uniform(getkey(), (4, 8, 8, 3))
    module = resnet.ResNet(1, 1.0, 5, "batch", "plain")
    evaluated = module.apply({"params": parameters, "batch_stats": statistics}, images, train=False)
    folded = network.apply(network.fold(parameters, statistics), images)
    np.testing.assert_allclose(folded, evaluated, atol=1e-4)


@pytest.mark.parametrize(
    ("stride", "window", "padding"),
    [
        (1, (3, 3), "SAME"),
        (2, (3, 3), "SAME"),
        (3, (2, 3), "VALID"),
        (2, (1, 1), "VALID"),
        (2, (2, 3), ((1, 1), (0, 2))),
    ],
)
def test_canonical_convolution_equals_autodiff(stride, window, padding, getkey):
    images = jax.random.normal(getkey(), (3, 7, 6, 2))
    kernel = jax.random.normal(getkey(), (*window, 2, 4))
    form = {"window_strides": (stride, stride), "padding": padding}
    layout = ("NHWC", "HWIO", "NHWC")

    def plain(x, w):
        y = lax.conv_general_dilated(x, w, dimension_numbers=layout, **form)
        return jnp.sum(jnp.sin(y))

    def canonical(x, w):
        y = convolution.as_flax("canonical")(x, w, dimension_numbers=layout, **form)
        return jnp.sum(jnp.sin(y))

    expected = jax.value_and_grad(plain, argnums=(0, 1))(images, kernel)
    found = jax.jit(jax.value_and_grad(canonical, argnums=(0, 1)))(images, kernel)
    for a, b in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("width", [5, 6, 8])
@pytest.mark.parametrize(("inputs", "outputs"), [(3, 16), (16, 16), (16, 20)])
@pytest.mark.parametrize("padding", ["SAME", "VALID", ((1, 1), (0, 2))])
def test_widened_convolution_equals_the_plain_form(width, inputs, outputs, padding, getkey):
    images = jax.random.normal(getkey(), (2, 5, width, inputs))
    kernel = jax.random.normal(getkey(), (3, 3, inputs, outputs))
    weights = jnp.arange(1.0, 1.0 + outputs) / outputs

    def total(form, x, w):
        convolve = convolution.as_flax(form)
        y = convolve(x, w, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return jnp.sum(jnp.sin(y) * weights[None, None, None, :]), y

    expected, found = (
        jax.jit(jax.value_and_grad(functools.partial(total, form), argnums=(0, 1), has_aux=True))(
            images, kernel
        )
        for form in ("plain", "widened")
    )
    for a, b in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
        np.testing.assert_allclose(a, b, atol=5e-5, rtol=1e-4)


@pytest.mark.parametrize(("strides", "outputs"), [((1, 1), 5), ((2, 2), 5), ((1, 1), 10)])
def test_depthwise_convolution_equals_the_plain_form(strides, outputs, getkey):
    images = jax.random.normal(getkey(), (2, 6, 7, 5))
    kernel = jax.random.normal(getkey(), (3, 4, 1, outputs))
    layout = {"dimension_numbers": ("NHWC", "HWIO", "NHWC"), "feature_group_count": 5}

    def total(form, x, w):
        y = convolution.as_flax(form)(x, w, strides, ((1, 1), (0, 2)), **layout)
        return jnp.sum(jnp.sin(y)), y

    expected, found = (
        jax.value_and_grad(functools.partial(total, form), argnums=(0, 1), has_aux=True)(
            images, kernel
        )
        for form in ("plain", "canonical")
    )
    for a, b in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5, rtol=1e-4)


def test_grouped_convolution_falls_back_to_the_plain_form(getkey):
    layer = nn.Conv(
        4, (3, 3), feature_group_count=2, conv_general_dilated=convolution.as_flax("canonical")
    )
    plain = nn.Conv(4, (3, 3), feature_group_count=2)
    images = jax.random.normal(getkey(), (2, 5, 5, 2))
    params = layer.init(getkey(), images)
    np.testing.assert_allclose(layer.apply(params, images), plain.apply(params, images), atol=1e-6)


def test_dropout_keeps_the_mean_and_the_rate(getkey):
    x = jnp.ones((400, 500))
    y = jax.jit(dropout)(x, 0.3, getkey())
    assert abs(float(jnp.mean(y == 0)) - 0.3) < 5 * np.sqrt(0.3 * 0.7 / x.size)
    assert abs(float(jnp.mean(y)) - 1) < 5 * np.sqrt(0.3 / 0.7 / x.size)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("resnt", {}, "did you mean 'resnet'"),
        ("mlp", {"width": (3,)}, "did you mean 'widths'"),
        ("mlp", {"widths": (3, 0)}, "must be positive"),
        ("resnet", {"depth": 9}, "6n + 2"),
        ("resnet", {"norm": "layer"}, "resnet.norm"),
        ("vit", {"patch": 3}, "divide the image size"),
        ("vit", {"width": 10, "heads": 4}, "multiple of heads"),
    ],
)
def test_bad_input_is_named(name, options, words):
    with pytest.raises(errors.InvalidInputError, match=words.replace("+", r"\+")):
        models.create(name, image_shape=(8, 8, 1), num_classes=10, **options)
