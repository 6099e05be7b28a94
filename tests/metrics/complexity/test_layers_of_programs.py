"""Weight layers are read off the program, in order, for every family and form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import models
from genjax.metrics.complexity import layers


def shapes_of(network):
    return jax.eval_shape(lambda key: network.fold(*network.init(key)), jax.random.key(0))


@pytest.mark.parametrize("form", ["plain", "canonical", "widened"])
def test_a_resnet_has_its_layers_in_order_in_every_form(form):
    net = models.create("resnet", image_shape=(8, 8, 1), num_classes=10, depth=8, form=form)
    found = layers.weight_layers(net, shapes_of(net))
    assert [layer.path.split("'")[1] for layer in found] == [
        "stem_1",
        *(f"stage{s}block1_{i}" for s in (1, 2, 3) for i in (1, 2)),
        "output",
    ]
    assert [layer.spatial for layer in found] == [(8, 8)] * 4 + [(4, 4)] * 2 + [(2, 2), (1, 1)]
    assert [layer.strides[1] for layer in found] == [1, 1, 1, 2, 1, 2, 1, 1]


def test_attention_is_dense_and_its_output_sums_over_heads():
    net = models.create("vit", image_shape=(8, 8, 1), num_classes=10, patch=4, width=8, heads=2)
    found = {layer.path: layer for layer in layers.weight_layers(net, shapes_of(net))}
    assert found["['encoder1']['attention']['query']['kernel']"].inputs == 1
    assert found["['encoder1']['attention']['out']['kernel']"].inputs == 2
    assert not any("norm" in path or "position" in path for path in found)


def test_anybodys_function_is_read_too():
    def apply(params, images):
        flat = images.reshape(images.shape[0], -1)
        hidden = jnp.tanh(flat @ params["b"]["w"].T + params["b"]["bias"][None])
        return (hidden * params["gain"][None]) @ (2.0 * params["a"])

    params = {
        "a": jnp.ones((5, 3)),
        "b": {"w": jnp.ones((5, 16)), "bias": jnp.ones(5)},
        "gain": jnp.ones(5),
    }
    net = models.from_function(apply, params, image_shape=(4, 4, 1), num_classes=3).network
    found = layers.weight_layers(net, params)
    assert [layer.path for layer in found] == ["['b']['w']", "['a']"]


def test_fourier_blocks_have_the_singular_values_of_the_circular_convolution():
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(3, 3, 2, 3)).astype(np.float32)
    layer = layers.WeightLayer("", 0, "convolution", kernel.shape, 3, (5, 4), (1, 1))
    columns = []
    for index in range(5 * 4 * 2):
        image = np.zeros((5, 4, 2))
        image.reshape(-1)[index] = 1
        out = sum(
            np.einsum("hwc,co->hwo", np.roll(image, (-i, -j), (0, 1)), kernel[i, j])
            for i in range(3)
            for j in range(3)
        )
        columns.append(out.reshape(-1))
    dense = np.linalg.svd(np.array(columns), compute_uv=False).max()
    blocks = layers.fourier_blocks(jnp.asarray(kernel), layer)
    assert np.linalg.norm(np.asarray(blocks), ord=2, axis=(1, 2)).max() == pytest.approx(
        dense, rel=1e-5
    )


@pytest.mark.parametrize(
    ("groups", "kernel", "kind", "shape"),
    [
        (1, (5, 2, 3, 3), "convolution", (3, 3, 2, 5)),
        (2, (2, 1, 3, 3), "depthwise", (3, 3, 1, 2)),
        (2, (4, 1, 3, 3), "grouped", (3, 3, 1, 4)),
    ],
)
def test_kernels_stored_in_another_layout_are_turned(groups, kernel, kind, shape):
    weights = {"w": jnp.arange(np.prod(kernel), dtype=jnp.float32).reshape(kernel)}

    def apply(params, images):
        out = jax.lax.conv_general_dilated(
            images.transpose(0, 3, 1, 2), params["w"], (1, 1), "SAME", feature_group_count=groups
        )
        return out.mean((2, 3))

    net = models.from_function(apply, weights, image_shape=(6, 6, 2), num_classes=kernel[0]).network
    (found,) = layers.weight_layers(net, weights)
    assert (found.kind, found.shape, found.spatial) == (kind, shape, (6, 6))
    (turned,) = layers.kernels((found,), weights)
    np.testing.assert_array_equal(turned, np.transpose(weights["w"], (2, 3, 1, 0)))
