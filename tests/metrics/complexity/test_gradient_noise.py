"""Gradient noise against gradients of single examples in float64, by hand and by PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.metrics import complexity
from genjax.metrics.complexity.gradient_noise import gradient_statistics

NAMES = ["gradient_noise"]


# Eagerly every operation would be compiled on its own.
statistics = jax.jit(gradient_statistics, static_argnums=0)


def mlp_gradients(params, images, labels):
    """Gradients [N, P] of the cross-entropy of every example, by hand, float64."""
    layers = [params[name] for name in ("dense1", "dense2", "output")]
    weights = [np.asarray(layer["kernel"], np.float64) for layer in layers]
    biases = [np.asarray(layer["bias"], np.float64) for layer in layers]
    rows = []
    for image, label in zip(np.asarray(images, np.float64), labels, strict=True):
        inputs = [image.reshape(-1)]
        for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
            inputs.append(np.maximum(inputs[-1] @ weight + bias, 0))
        logits = inputs[-1] @ weights[-1] + biases[-1]
        delta = np.exp(logits - logits.max())
        delta /= delta.sum()
        delta[label] -= 1
        row = []
        for i in reversed(range(3)):
            row += [np.outer(inputs[i], delta).ravel(), delta]
            delta = (weights[i] @ delta) * (inputs[i] > 0)
        rows.append(np.concatenate(row))
    return np.array(rows)


def agree(found, rows):
    """Compare statistics with gradients [N, P] in float64."""
    squared = (rows**2).sum(1)
    # A probability near one is known to 6e-8 in float32, and so is the gradient of its logit.
    np.testing.assert_allclose(
        np.sqrt(found.squared_norms), np.sqrt(squared), rtol=1e-3, atol=1e-6 * np.sqrt(rows.size)
    )
    np.testing.assert_allclose(found.mean_squared_norm, (rows.mean(0) ** 2).sum(), rtol=1e-3)
    deviation = ((rows - rows.mean(0)) ** 2).sum()
    np.testing.assert_allclose(found.deviation, deviation, rtol=1e-3, atol=1e-9)


def expected(gradients):
    mean = gradients.mean(0)
    trace = np.trace(np.cov(gradients, rowvar=False))
    signal = mean @ mean
    unbiased = signal - trace / len(gradients)
    return trace, trace / signal, trace / unbiased if unbiased > 0 else np.nan


def test_measures_of_an_mlp_against_gradients_by_hand(groups, measure_data):
    group = groups["mlp"]
    found = complexity.measure_group(group, measure_data, NAMES, key=jax.random.key(0))
    train = measure_data.train
    for when, stack in (("final", group.params), ("init", group.init_params)):
        for network in range(4):
            params = jax.tree.map(lambda leaf, i=network: leaf[i], stack)
            trace, scale, unbiased = expected(mlp_gradients(params, train.images, train.labels))
            got = [
                found.values[f"gradient_{name}_{when}"][network]
                for name in ("variance", "noise_scale", "noise_scale_unbiased")
            ]
            np.testing.assert_allclose(got[:2], [trace, scale], rtol=2e-4)
            if unbiased > 0:
                np.testing.assert_allclose(got[2], unbiased, rtol=5e-3)
            else:
                assert np.isnan(got[2])


def test_statistics_do_not_depend_on_chunks(groups, measure_data):
    network, params = groups["mlp"].network, groups["mlp"].network_params(0)
    train = measure_data.train
    for count in (1, 64, 65, 130):
        found = statistics(network.apply, params, train.images[:count], train.labels[:count])
        agree(found, mlp_gradients(params, train.images[:count], train.labels[:count]))


def test_a_small_variance_survives_a_large_mean():
    """One input each of nearly equal size: the mean gradient is 1e4 times the deviations."""
    images = 1 + 1e-4 * np.random.default_rng(0).standard_normal((200, 1, 1, 1))
    images = images.astype(np.float32)

    def linear(params, images):
        return images.reshape(len(images), -1) @ params

    labels = jnp.zeros(200, jnp.int32)
    found = statistics(linear, jnp.zeros((1, 2)), jnp.asarray(images), labels)
    rows = images.reshape(-1, 1).astype(np.float64) * np.array([[-0.5, 0.5]])
    deviation = ((rows - rows.mean(0)) ** 2).sum()
    np.testing.assert_allclose(found.deviation, deviation, rtol=2e-3)


def test_scale_of_a_linear_model_in_closed_form():
    """At zero weights of two classes p = 1/2, so g_i = +-x_i / 2 in both columns."""
    inputs = np.array([[1.0, 2.0], [3.0, -1.0], [0.5, 0.5]])
    signs = np.array([-1.0, 1.0, -1.0])

    def linear(params, images):
        return images.reshape(len(images), -1) @ params

    found = statistics(
        linear,
        jnp.zeros((2, 2)),
        jnp.asarray(inputs.reshape(3, 1, 2, 1), jnp.float32),
        jnp.array([0, 1, 0]),
    )
    rows = 0.5 * signs[:, None] * inputs
    np.testing.assert_allclose(found.squared_norms, 2 * (rows**2).sum(1), rtol=1e-6)
    np.testing.assert_allclose(found.mean_squared_norm, 2 * (rows.mean(0) ** 2).sum(), rtol=1e-6)


def test_jit_and_vmap_change_nothing(groups, measure_data):
    group = groups["mlp"]
    train = measure_data.train

    def compute(params):
        return gradient_statistics(
            group.network.apply, params, train.images[:50], train.labels[:50]
        )

    together = jax.jit(jax.vmap(compute))(group.params)
    for network in range(4):
        alone = compute(group.network_params(network))
        for one, many in zip(alone, together, strict=True):
            np.testing.assert_allclose(one, many[network], rtol=1e-4, atol=1e-10)


def test_one_example_has_no_variance(groups, measure_data):
    one = measure_data._replace(
        train=jax.tree.map(lambda values: values[:1], measure_data.train), train_size=1
    )
    found = complexity.measure_group(
        groups["mlp"], one, ["gradient_variance_final"], key=jax.random.key(0)
    )
    assert found.refused[0].networks == (0, 1, 2, 3)
    assert found.refused[0].reason == "the quantity is not defined for it"


@pytest.mark.peers
def test_gradients_of_a_cnn_against_pytorch(groups, measure_data):
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    group = groups["cnn"]
    tree = group.network_params(0)
    train = measure_data.train
    found = statistics(group.network.apply, tree, train.images[:70], train.labels[:70])
    leaves = {
        (name, part): torch.tensor(np.asarray(array, np.float64), requires_grad=True)
        for name, layer in tree.items()
        for part, array in layer.items()
    }
    rows = []
    for image, label in zip(train.images[:70], train.labels[:70], strict=True):
        x = torch.tensor(image.astype(np.float64))[None].permute(0, 3, 1, 2)
        for i in (1, 2):
            kernel = leaves[f"conv{i}", "kernel"].permute(3, 2, 0, 1)
            x = functional.relu(functional.conv2d(x, kernel, leaves[f"conv{i}", "bias"], padding=1))
            x = functional.max_pool2d(x, 2) if x.shape[-1] > 4 else x
        features = x.permute(0, 2, 3, 1).reshape(1, -1)
        logits = features @ leaves["output", "kernel"] + leaves["output", "bias"]
        loss = functional.cross_entropy(logits, torch.tensor([int(label)]))
        gradients = torch.autograd.grad(loss, list(leaves.values()))
        rows.append(np.concatenate([g.numpy().ravel() for g in gradients]))
    agree(found, np.array(rows))
