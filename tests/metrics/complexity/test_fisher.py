"""Fisher-Rao norms and the Fisher trace against gradients of single examples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import models
from genjax.metrics import complexity
from genjax.metrics.complexity import fisher
from genjax.metrics.complexity.contract import Labelled, Trained

NAMES = ["fisher_rao", "fisher_rao_closed_form", "fisher_trace"]
CASES = {
    "mlp": {"widths": (6, 5)},
    "cnn": {"channels": (2, 3)},
    "vit": {"patch": 4, "width": 8, "depth": 1, "heads": 2},
}


def toy(family, biases=True):
    net = models.create(family, image_shape=(8, 8, 1), num_classes=4, **CASES[family])
    params = jax.jit(lambda key: net.fold(*net.init(key)))(jax.random.key(0))
    rng = np.random.default_rng(0)

    def bias(path, leaf):
        offsets = rng.normal(size=leaf.shape) if biases else np.zeros(leaf.shape)
        return jnp.asarray(offsets, jnp.float32) if "bias" in str(path[-1]) else leaf

    params = jax.tree_util.tree_map_with_path(bias, params)
    images = rng.uniform(size=(12, 8, 8, 1)).astype(np.float32)
    data = complexity.measure_data(Labelled(images, rng.integers(4, size=12).astype(np.int32)))
    return net, params, data


def measured(names, net, params, data):
    trained = Trained(params, None, None, None, None, None, 0)
    found, _ = jax.jit(
        lambda t: complexity.compute(names, net, t, data._replace(train_size=12), jax.random.key(0))
    )(trained)
    return {name: float(amount) for name, (amount, _) in found.items()}


@pytest.mark.parametrize("family", CASES)
def test_values_are_those_of_gradients_one_example_at_a_time(family):
    net, params, data = toy(family)
    names = NAMES if family != "vit" else ["fisher_rao", "fisher_trace"]

    @jax.jit
    def gradient(params, image, label):
        def loss(p):
            return -jax.nn.log_softmax(net.apply(p, image[None])[0])[label]

        return jax.grad(loss)(params)

    products, squares = [], []
    for image, label in zip(data.train.images, data.train.labels, strict=True):
        g = gradient(params, image, label)
        pairs = zip(jax.tree.leaves(g), jax.tree.leaves(params), strict=True)
        flat = [(np.asarray(a, np.float64), np.asarray(b, np.float64)) for a, b in pairs]
        products.append(sum(np.sum(a * b) for a, b in flat))
        squares.append(sum(np.sum(a * a) for a, _ in flat))
    found = measured(names, net, params, data)
    assert found["fisher_rao"] == pytest.approx(np.mean(np.square(products)), rel=1e-4)
    assert found["fisher_trace"] == pytest.approx(np.mean(squares), rel=1e-4)


@pytest.mark.parametrize("family", ["mlp", "cnn"])
def test_the_closed_form_is_the_norm_where_there_are_no_biases_and_only_there(family):
    found = measured(NAMES[:2], *toy(family, biases=False))
    assert found["fisher_rao_closed_form"] == pytest.approx(found["fisher_rao"], rel=1e-4)
    found = measured(NAMES[:2], *toy(family, biases=True))
    assert found["fisher_rao_closed_form"] != pytest.approx(found["fisher_rao"], rel=0.02)


def test_the_closed_form_in_float64_by_hand():
    net, params, data = toy("mlp")
    f = np.asarray(net.apply(params, data.train.images), np.float64)
    p = np.exp(f) / np.exp(f).sum(1, keepdims=True)
    p[np.arange(12), data.train.labels] -= 1
    wanted = 9 * np.mean(np.sum(p * f, axis=1) ** 2)
    found = measured(NAMES[1:2], net, params, data)
    assert found["fisher_rao_closed_form"] == pytest.approx(wanted, rel=1e-4)


def test_norms_do_not_feel_a_rescaling_of_layers_and_the_trace_does():
    net, params, data = toy("mlp")
    first = jax.tree.map(lambda w: 4 * w, params["dense1"])
    second = {**params["dense2"], "kernel": params["dense2"]["kernel"] / 4}
    before = measured(NAMES, net, params, data)
    after = measured(NAMES, net, {**params, "dense1": first, "dense2": second}, data)
    for name in NAMES[:2]:
        assert after[name] == pytest.approx(before[name], rel=1e-4)
    assert after["fisher_trace"] > 1.5 * before["fisher_trace"]


def test_slopes_of_certain_predictions_are_not_lost_in_rounding():
    logits, changes = np.array([[30.0, 2.0, 1.0]]), np.array([[30.0, 2.0, 1.0]])
    p = np.exp(logits - 30) / np.sum(np.exp(logits - 30))
    wanted = float(p[0, 1] * -28 + p[0, 2] * -29)
    arrays = [jnp.asarray(a, jnp.float32) for a in (logits, changes)]
    assert float(fisher.loss_slopes(*arrays, jnp.array([0]))[0]) == pytest.approx(wanted, rel=1e-5)


def test_many_examples_are_read_in_chunks_and_give_the_same_mean():
    net, params, data = toy("mlp")
    many = jax.tree.map(lambda a: np.concatenate([a] * 100), data.train)
    once = measured(["fisher_rao"], net, params, data)["fisher_rao"]
    again = measured(["fisher_rao"], net, params, data._replace(train=many))["fisher_rao"]
    assert again == pytest.approx(once, rel=1e-5)
