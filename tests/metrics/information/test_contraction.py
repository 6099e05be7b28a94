"""The contraction audit against dense operators, hand-made networks and counts by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import data, models
from genjax.errors import InvalidInputError
from genjax.metrics.complexity.layers import WeightLayer
from genjax.metrics.information import coefficients
from genjax.metrics.information.contraction import (
    HEURISTIC,
    LEMMA_1,
    PROVABLE,
    Pooling,
    audit,
    poolings,
)
from genjax.metrics.information.operator_ranks import operator_ranks, singular_values


def _periodic(kernel, spatial, strides, groups=1):
    """The matrix of a convolution of periodic images, by its Jacobian."""
    channels = kernel.shape[2] * groups
    wrap = [(0, 0), *((0, k - 1) for k in kernel.shape[:2]), (0, 0)]

    def convolve(flat):
        image = flat.reshape(1, *spatial, channels)
        return jax.lax.conv_general_dilated(
            jnp.pad(image, wrap, mode="wrap"),
            jnp.asarray(kernel),
            strides,
            "VALID",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=groups,
            precision="highest",
        ).ravel()

    return np.asarray(jax.jacobian(convolve)(jnp.zeros(int(np.prod(spatial)) * channels)))


def _check_operator(kernel, layer, groups=1):
    matrix = _periodic(kernel, layer.spatial, layer.strides, groups)
    expected = np.linalg.svd(matrix, compute_uv=False)
    found = singular_values(kernel, layer)
    assert found is not None
    found = np.sort(found)[::-1]
    # Blocks of more rows than columns have fewer values than the matrix has: the others are 0.
    size = max(len(found), len(expected))
    padded = [np.pad(values, (0, size - len(values))) for values in (found, expected)]
    assert padded[0] == pytest.approx(padded[1], abs=2e-5 * expected[0])
    ranks = operator_ranks(kernel, layer)
    assert (ranks.outputs, ranks.inputs) == matrix.shape
    assert ranks.rank == np.linalg.matrix_rank(matrix, tol=1e-4 * expected[0])
    assert ranks.stable_rank == pytest.approx(np.sum(expected**2) / expected[0] ** 2, rel=1e-5)
    shares = expected[expected > 1e-5 * expected[0]] / expected.sum()
    assert ranks.effective_rank == pytest.approx(np.exp(-shares @ np.log(shares)), rel=1e-3)
    return ranks


@pytest.mark.parametrize("strides", [(1, 1), (2, 2), (2, 3)])
@pytest.mark.parametrize("channels", [(2, 3), (3, 2), (1, 5)])
def test_convolution_is_its_dense_operator(strides, channels):
    with jax.enable_x64(True):
        kernel = np.random.default_rng(0).normal(size=(3, 3, *channels))
        layer = WeightLayer("", 0, "convolution", kernel.shape, 3, (4, 6), strides)
        _check_operator(kernel, layer)


def test_kernels_that_lose_frequencies_or_channels():
    rng = np.random.default_rng(1)
    with jax.enable_x64(True):
        # A difference of neighbours is blind to constant images.
        edge = np.zeros((2, 1, 1, 1))
        edge[:, 0, 0, 0] = 1, -1
        layer = WeightLayer("", 0, "convolution", edge.shape, 3, (4, 4), (1, 1))
        assert _check_operator(edge, layer).rank == 12
        # One direction of channels is lost at every pixel.
        mixed = rng.normal(size=(3, 3, 2, 3)).transpose(0, 1, 3, 2)
        mixed = np.einsum("hwio,oj->hwij", mixed, np.array([[1.0, 2.0, 1.0], [0.0, 1.0, 1.0]]))
        layer = WeightLayer("", 0, "convolution", mixed.shape, 3, (4, 4), (1, 1))
        assert _check_operator(mixed, layer).rank == 32
        # A window larger than the image wraps around it.
        wide = rng.normal(size=(5, 5, 1, 2))
        layer = WeightLayer("", 0, "convolution", wide.shape, 3, (4, 2), (1, 1))
        _check_operator(wide, layer)


@pytest.mark.parametrize("strides", [(1, 1), (2, 2)])
def test_depthwise_convolution_is_its_dense_operator(strides):
    with jax.enable_x64(True):
        kernel = np.random.default_rng(2).normal(size=(3, 3, 1, 3))
        layer = WeightLayer("", 0, "depthwise", kernel.shape, 2, (4, 4), strides)
        _check_operator(kernel, layer, groups=3)


def test_dense_layers_and_what_is_not_known():
    rng = np.random.default_rng(3)
    kernel = (rng.normal(size=(7, 2)) @ rng.normal(size=(2, 5))).astype(np.float32)
    layer = WeightLayer("", 0, "dense", (7, 5), 1, (1, 1), (1, 1))
    ranks = operator_ranks(kernel, layer)
    values = np.linalg.svd(kernel.astype(float), compute_uv=False)
    assert ranks[:3] == (7, 5, 2.0)
    assert ranks.stable_rank == pytest.approx(np.sum(values**2) / values[0] ** 2)
    assert operator_ranks(np.zeros((7, 5)), layer)[2:] == (0, 0, 0)
    identity = operator_ranks(np.eye(4), layer._replace(shape=(4, 4)))
    assert identity[2:] == pytest.approx((4, 4, 4))
    odd = WeightLayer("", 0, "convolution", (3, 3, 2, 2), 3, (5, 5), (2, 2))
    assert np.isnan(operator_ranks(np.ones((3, 3, 2, 2)), odd).rank)
    assert singular_values(np.ones((3, 3, 2, 4)), odd._replace(kind="grouped")) is None


def _mlp(widths, kernel=None, bias=0.0, pixels=2):
    net = models.create("mlp", image_shape=(1, pixels, 1), num_classes=2, widths=widths)
    params = net.fold(*net.init(jax.random.key(0)))
    if kernel is not None:
        params["dense1"]["kernel"] = jnp.asarray(kernel, jnp.float32)
        params["dense1"]["bias"] = jnp.full(len(kernel[0]), bias, jnp.float32)
    return net, params


def test_rank_deficient_layer_may_be_injective_on_the_data():
    """F6: Lemma 1 calls it a contraction layer; on a line it loses nothing."""
    net, params = _mlp((2,), [[1.0, 0.0], [0.0, 0.0]])
    line = np.linspace(0.1, 1, 10, dtype=np.float32)
    on_line = np.stack([line, line], -1).reshape(-1, 1, 2, 1)
    found = audit(net, params, on_line)
    assert found.layers[0].contraction is True
    assert found.layers[0].ranks.rank == 1
    assert found.theorem_2 is True
    assert found.taps[0].injective
    assert found.taps[0].coefficient == found.coefficient == 1
    plane = np.stack(np.meshgrid(line, line), -1).reshape(-1, 1, 2, 1)
    found = audit(net, params, plane)
    assert found.distinct == 100
    assert found.taps[0].distinct == 10
    assert not found.taps[0].injective
    # Even so: what is left is all that a learner of the first number needs.
    assert found.coefficient == 1


def test_digits_do_not_collide_in_contraction_layers():
    """F6 on real data: 64 pixels to 8 units to 8 units, and not one of 1,797 digits is lost."""
    examples = data.load("digits")
    assert isinstance(examples, data.Examples)
    images = np.asarray(examples.images)
    net = models.create("mlp", image_shape=(8, 8, 1), num_classes=10, widths=(8, 8))
    found = audit(net, net.fold(*net.init(jax.random.key(0))), images)
    assert [layer.contraction for layer in found.layers] == [True, False, False]
    assert found.contraction_layers == 1
    assert found.distinct == found.taps[0].distinct == 1797
    # One unit that is off for half of them does merge some.
    net = models.create("mlp", image_shape=(8, 8, 1), num_classes=10, widths=(1,))
    params = net.fold(*net.init(jax.random.key(0)))
    sums = images.reshape(len(images), -1) @ np.asarray(params["dense1"]["kernel"])
    params["dense1"]["bias"] = -jnp.median(sums)[None]
    found = audit(net, params, images)
    on = np.sum(np.asarray(net.taps(params, images)["block1"]) > 0)
    assert 500 < found.taps[0].distinct <= 1 + on < 1000
    assert not found.taps[0].injective
    assert found.theorem_2 is True


def test_full_column_rank_is_no_contraction_layer_and_relu_may_lose_anyway():
    net, params = _mlp((2, 2), [[-1.0, 0.0], [0.0, 1.0]])
    images = np.array([[1, 2], [3, 2], [3, 0.5], [3, 2]], np.float32).reshape(-1, 1, 2, 1)
    found = audit(net, params, images)
    assert found.layers[0].contraction is False
    assert found.theorem_2 is False
    first = found.taps[0]
    assert (found.distinct, first.distinct, first.injective) == (3, 2, False)
    assert first.zero_share == 0.5
    assert first.dead_share == 0.5


def test_shares_are_counts_of_the_taps():
    net, params = _mlp((16, 8), pixels=6)
    images = np.random.default_rng(5).normal(size=(600, 1, 6, 1)).astype(np.float32)
    found = audit(net, params, images)
    for tap, (name, values) in zip(found.taps, net.taps(params, images).items(), strict=True):
        values = np.asarray(values)
        assert (tap.name, tap.dimension) == (name, values.shape[1])
        assert tap.zero_share == pytest.approx(np.mean(values == 0), abs=1e-4)
        assert tap.dead_share == np.mean((values == 0).all(0))
        assert tap.distinct == len(np.unique(values, axis=0))


def test_only_noise_has_a_coefficient_below_one():
    net, params = _mlp((4, 4))
    images = np.random.default_rng(6).random((9, 1, 2, 1), np.float32)
    eta = coefficients.bounded_noise_eta_kl(1.0, 4, 2.0)
    rate = coefficients.dropout_coefficient(4, 0.5)
    found = audit(net, params, images, noise={"block1": float(eta), "block2": rate})
    assert [tap.coefficient for tap in found.taps] == [eta, rate, 1.0]
    assert found.coefficient == pytest.approx(eta * rate)
    # A layer that says the same of all examples lets nothing through.
    net, params = _mlp((2,), [[-1.0, -1.0], [-1.0, -1.0]])
    assert audit(net, params, images).coefficient == 0
    assert audit(net, params, images[:1]).coefficient == 1


def test_table_labels_every_number():
    net = models.create("cnn", image_shape=(8, 8, 1), num_classes=3, channels=(4, 4))
    params = net.fold(*net.init(jax.random.key(1)))
    images = np.random.default_rng(7).random((5, 8, 8, 1), np.float32)
    found = audit(net, params, images)
    table = found.table()
    assert set(table["label"]) == {LEMMA_1, HEURISTIC, PROVABLE}
    labels = dict(zip(table["quantity"], table["label"], strict=True))
    assert labels["contraction layer"] == labels["Theorem 2 applies"] == LEMMA_1
    assert found.contraction_layers == 1  # the pooling: the convolutions have full rank
    assert labels["coefficient"] == labels["injective on the examples"] == PROVABLE
    assert (
        labels["rank / inputs"] == labels["zero share"] == labels["outputs / inputs"] == HEURISTIC
    )
    at = table[(table["place"] == found.layers[1].path) & (table["quantity"] == "rank / inputs")]
    assert at["value"].item() == found.layers[1].ranks.rank / (4 * 4 * 4)
    assert [layer.ranks.inputs for layer in found.layers] == [64, 64, 64]


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("mlp", {"widths": (4, 4)}, ()),
        ("cnn", {"channels": (4, 6)}, (Pooling("max", 1024, 256), Pooling("max", 384, 96))),
        (
            "cnn",
            {"channels": (4,), "readout": "average"},
            (Pooling("max", 1024, 256), Pooling("average", 256, 4)),
        ),
    ],
)
def test_poolings_are_read_off_the_program(name, options, expected):
    net = models.create(name, image_shape=(16, 16, 1), num_classes=3, **options)
    shapes = jax.eval_shape(lambda key: net.fold(*net.init(key)), jax.random.key(0))
    assert poolings(net, shapes) == expected


def test_windows_and_means_of_a_foreign_program():
    def apply(params, images):
        x = jnp.mean(images, axis=-1, keepdims=True)  # over channels alone: no pooling
        x = jax.nn.softmax(x - jnp.max(x, axis=-1, keepdims=True), axis=-1)
        x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        x = jax.lax.reduce_window(x, 0.0, jax.lax.add, (1, 3, 3, 1), (1, 1, 1, 1), "SAME")
        return jnp.sum(x, axis=(1, 2)) @ params["w"] + jnp.sum(params["w"], axis=0)[None]

    loaded = models.from_function(
        apply, {"w": np.ones((1, 2), np.float32)}, name="mine", image_shape=(8, 8, 2), num_classes=2
    )
    found = poolings(loaded.network, loaded.params)
    assert found == (Pooling("max", 64, 16), Pooling("average", 16, 1))


@pytest.mark.parametrize(
    ("images", "noise", "named"),
    [
        (np.zeros((3, 1, 3, 1), np.float32), None, "images"),
        (np.zeros((0, 1, 2, 1), np.float32), None, "images"),
        (np.zeros((3, 1, 2, 1), np.float32), {"blok1": 0.5}, "noise"),
        (np.zeros((3, 1, 2, 1), np.float32), {"block1": 1.5}, "noise"),
    ],
)
def test_bad_input_is_named(images, noise, named):
    net, params = _mlp((4,))
    with pytest.raises(InvalidInputError, match=named):
        audit(net, params, images, noise=noise)
