"""Path norms against sums over paths in float64, and how programs are read for them."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import models
from genjax.metrics import complexity, programs
from genjax.metrics.complexity import Refusal, path_norms
from genjax.metrics.complexity.contract import Labelled, Trained

NAMES = ["path_norm", "path_norm_over_margin", "log_path_norm", "log_l1_path_norm"]


def chain(spread=0.5, depth=3, width=6):
    """Kernels and biases of a random fully connected network of 12 inputs and 3 outputs."""
    rng = np.random.default_rng(0)
    sizes = [12, *[width] * depth, 3]
    names = [*(f"dense{i}" for i in range(1, depth + 1)), "output"]
    return {
        name: {
            "kernel": jnp.asarray(rng.normal(size=(a, b)) * spread, jnp.float32),
            "bias": jnp.asarray(rng.normal(size=b), jnp.float32),
        }
        for name, a, b in zip(names, sizes, sizes[1:], strict=False)
    }


def mlp_apply(params, images):
    x = images.reshape(len(images), -1)
    for name in params:
        x = (jax.nn.relu(x) if name != "dense1" else x) @ params[name]["kernel"]
        x = x + params[name]["bias"][None]
    return x


def foreign(params, preprocessing=models.Preprocessing(), apply=mlp_apply):  # noqa: B008
    return models.from_function(
        apply, params, image_shape=(2, 2, 3), num_classes=3, preprocessing=preprocessing
    ).network


def log_sums(params):
    """Natural logarithms of the two sums over paths, in float64."""
    found = []
    for power in (1, 2):
        x = np.ones(12)
        for layer in params.values():
            kernel, bias = (np.asarray(layer[k], np.float64) for k in ("kernel", "bias"))
            x = x @ np.abs(kernel) ** power + np.abs(bias) ** power
        found.append(math.log(x.sum()))
    return found


def sums_of(network, params):
    return jax.jit(lambda p: path_norms.path_sums(network, p))(params)


def test_paths_are_enumerated_one_by_one():
    params = chain(depth=1, width=2)
    first, last = (np.asarray(params[n]["kernel"], np.float64) for n in ("dense1", "output"))
    bias, end = (np.asarray(params[n]["bias"], np.float64) for n in ("dense1", "output"))
    paths = [first[i, j] * last[j, k] for i in range(12) for j in range(2) for k in range(3)]
    paths += [bias[j] * last[j, k] for j in range(2) for k in range(3)] + list(end)
    found = sums_of(foreign(params), params)
    assert float(found.sums[0]) == pytest.approx(np.sum(np.abs(paths)), rel=1e-5)
    assert float(found.sums[1]) == pytest.approx(np.sum(np.square(paths)), rel=1e-5)


@pytest.mark.parametrize("spread", [1e-4, 0.5, 300.0, 3e4])
def test_logarithms_stay_finite_where_sums_leave_the_range_of_float32(spread):
    params = chain(spread, depth=6)
    params = {n: {"kernel": p["kernel"], "bias": p["bias"] * 1e-30} for n, p in params.items()}
    found = sums_of(foreign(params), params)
    np.testing.assert_allclose(found.logs, log_sums(params), rtol=1e-5)
    assert bool(jnp.isinf(found.sums[1])) == (log_sums(params)[1] > math.log(3.4e38))


def test_normalisation_inside_of_the_network_is_undone():
    params = chain()
    how = models.Preprocessing((0.5, 0.4, 0.3), (0.2, 0.25, 0.3), resize=(2, 2))
    plain, other = foreign(params), foreign(params, how)
    np.testing.assert_allclose(sums_of(plain, params).logs, sums_of(other, params).logs, rtol=1e-5)
    image, possible = programs.input_of_ones(other, params)
    np.testing.assert_allclose(image[0, 1, 0], [0.7, 0.65, 0.6], rtol=1e-5)
    assert possible


def test_resizing_and_padding_before_the_first_layer_are_read_through():
    def apply(params, images):
        padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
        x = jax.lax.conv_general_dilated(
            padded, params, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return jnp.max(jax.nn.relu(x), axis=(1, 2))

    params = jnp.asarray(np.random.default_rng(0).normal(size=(3, 3, 3, 3)), jnp.float32)
    how = models.Preprocessing((0.5,), (0.2,), resize=(4, 4))
    found = sums_of(foreign(params, how, apply), params)
    # In the middle of the image every tap reads a one; elsewhere fewer do.
    wanted = [np.sum(np.abs(np.asarray(params)) ** p) for p in (1, 2)]
    np.testing.assert_allclose(found.sums, wanted, rtol=1e-5)
    assert found.possible


def values_of(network, params, labels=None):
    images = np.random.default_rng(1).uniform(size=(30, 2, 2, 3)).astype(np.float32)
    logits = network.apply(params, images)
    labels = np.asarray(jnp.argmax(logits, axis=1), np.int32) if labels is None else labels
    trained = Trained(params, None, None, None, None, None, 0)
    data = complexity.measure_data(Labelled(images, labels))
    found, _ = jax.jit(
        lambda t: complexity.compute(
            NAMES, network, t, data._replace(train_size=30), jax.random.key(0)
        )
    )(trained)
    logits = np.asarray(logits, np.float64)
    own = logits[np.arange(30), labels]
    logits[np.arange(30), labels] = -np.inf
    return found, np.sort(own - logits.max(1))[2]


def test_measures_are_the_sums_and_their_quotients_by_the_squared_margin():
    params = chain()
    found, gamma = values_of(foreign(params), params)
    ones, squares = log_sums(params)
    assert float(found["log_l1_path_norm"][0]) == pytest.approx(ones, rel=1e-5)
    assert float(found["log_path_norm"][0]) == pytest.approx(squares, rel=1e-5)
    assert float(found["path_norm"][0]) == pytest.approx(math.exp(squares), rel=1e-5)
    over = math.exp(squares) / gamma**2
    assert float(found["path_norm_over_margin"][0]) == pytest.approx(over, rel=1e-4)


def test_a_rescaling_of_two_layers_changes_nothing():
    params = chain()
    first = jax.tree.map(lambda w: 7 * w, params["dense1"])
    second = {**params["dense2"], "kernel": params["dense2"]["kernel"] / 7}
    other = {**params, "dense1": first, "dense2": second}
    one, two = (values_of(foreign(p), p)[0] for p in (params, other))
    for name in NAMES:
        assert float(two[name][0]) == pytest.approx(float(one[name][0]), rel=1e-4), name


def test_what_has_no_path_norm_is_refused_by_reason():
    params = chain()
    found, _ = values_of(foreign(params), params, labels=np.zeros(30, np.int32))
    assert int(found["path_norm_over_margin"][1]["refusal"]) == Refusal.MARGIN
    assert int(found["path_norm"][1]["refusal"]) == Refusal.NONE

    large = chain(3e4, depth=6)
    found, _ = values_of(foreign(large), large)
    assert int(found["path_norm"][1]["refusal"]) == Refusal.NOT_FINITE
    assert int(found["log_path_norm"][1]["refusal"]) == Refusal.NONE

    # Nothing constant in each channel makes these inputs ones.
    bent = foreign(params, apply=lambda params, images: mlp_apply(params, jnp.sin(9 * images)))
    ramp = jnp.arange(12.0).reshape(1, 2, 2, 3)
    tilted = foreign(params, apply=lambda params, images: mlp_apply(params, images + ramp))
    for network in (bent, tilted):
        found, _ = values_of(network, params)
        for name in NAMES:
            assert int(found[name][1]["refusal"]) == Refusal.DEGENERATE, name


@pytest.mark.parametrize(
    ("family", "options"), [("cnn", {"channels": (3, 4)}), ("resnet", {"depth": 8, "width": 0.25})]
)
def test_our_networks_are_those_of_their_plain_form_in_float64(family, options):
    def made(form):
        return models.create(family, image_shape=(8, 8, 2), num_classes=3, form=form, **options)

    net = made("canonical")
    params = jax.jit(lambda key: net.fold(*net.init(key)))(jax.random.key(0))
    params = jax.tree.map(lambda w: w - 0.1 * jnp.cos(jnp.arange(w.size)).reshape(w.shape), params)
    found = sums_of(net, params)
    with jax.enable_x64(True):
        for i, power in enumerate((1, 2)):
            raised = jax.tree.map(lambda w, p=power: jnp.abs(w.astype(jnp.float64)) ** p, params)
            wanted = float(jax.jit(made("plain").apply)(raised, jnp.ones((1, 8, 8, 2))).sum())
            assert float(found.sums[i]) == pytest.approx(wanted, rel=1e-4)


@pytest.mark.data
def test_public_networks_are_normalised_inside_and_have_their_path_norms(data_dir):
    loaded = models.load_weights(
        data_dir / "pretrained" / "resnet20.safetensors", "resnet_cifar:depth=20"
    )
    found = sums_of(loaded.network, loaded.params)
    assert found.possible
    made = models.create("resnet", image_shape=(32, 32, 3), num_classes=10, depth=20, form="plain")
    with jax.enable_x64(True):
        raised = jax.tree.map(lambda w: jnp.square(w.astype(jnp.float64)), loaded.params)
        wanted = float(jax.jit(made.apply)(raised, jnp.ones((1, 32, 32, 3))).sum())
    assert float(found.sums[1]) == pytest.approx(wanted, rel=1e-4)


def test_a_function_with_a_backward_pass_of_its_own_has_its_forward_derivative():
    def made(form):
        return models.create("cnn", image_shape=(8, 8, 1), num_classes=3, channels=(2,), form=form)

    net = made("canonical")
    params = jax.jit(lambda key: net.fold(*net.init(key)))(jax.random.key(0))
    images = jax.random.uniform(jax.random.key(1), (4, 8, 8, 1))
    plain = jax.jvp(lambda p: made("plain").apply(p, images), (params,), (params,))
    free = programs.forward_differentiable(jax.jit(lambda p: net.apply(p, images)))
    for one, other in zip(plain, jax.jvp(free, (params,), (params,)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
