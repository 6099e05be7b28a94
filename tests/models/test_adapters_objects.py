"""Adapters of NNX and Equinox: logits and activations are those of the model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from genjax import errors
from genjax.models import adapters

SHAPE = (8, 8, 3)
IMAGES = jax.random.uniform(jax.random.key(7), (5, *SHAPE))
ABOUT = {"image_shape": SHAPE, "num_classes": 4}


class Small(nnx.Module):
    def __init__(self, rngs):
        self.conv = nnx.Conv(3, 6, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(6, rngs=rngs)
        self.blocks = nnx.List([nnx.Linear(6, 6, rngs=rngs) for _ in range(2)])
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.head = nnx.Linear(6, 4, rngs=rngs)

    def __call__(self, x):
        x = nnx.relu(self.norm(self.conv(x))).mean((1, 2))
        for block in self.blocks:
            x = nnx.relu(block(x))
        return self.head(self.dropout(x))


def small(seed):
    model = Small(nnx.Rngs(seed))
    for _ in range(3):
        model(IMAGES * (1 + seed))
    return model


def test_nnx_logits_and_activations_are_those_of_the_model():
    model = small(3)
    foreign = adapters.from_nnx(model, **ABOUT)
    assert not model.dropout.deterministic
    assert not model.norm.use_running_average
    model.eval()
    found = foreign.network.apply(foreign.params, IMAGES)
    np.testing.assert_allclose(found, model(IMAGES), rtol=1e-5, atol=1e-5)
    taps = foreign.network.taps(foreign.params, IMAGES)
    assert list(taps) == ["conv", "norm", "blocks/0", "blocks/1", "dropout", "features"]
    x = model.conv(IMAGES)
    np.testing.assert_array_equal(taps["conv"], x)
    np.testing.assert_allclose(taps["norm"], model.norm(x), rtol=1e-5, atol=1e-5)
    again = model.head(taps["features"])
    np.testing.assert_allclose(again, model(IMAGES), rtol=1e-5, atol=1e-5)


def test_nnx_parameters_are_plain_dicts_that_stack():
    models = [small(seed) for seed in range(3)]
    networks = [adapters.from_nnx(model, **ABOUT) for model in models]
    assert networks[0].params["blocks"]["1"]["kernel"].shape == (6, 6)
    assert networks[0].unfolded[1]["norm"]["mean"].shape == (6,)
    together = jax.tree.map(lambda *leaves: jnp.stack(leaves), *[n.params for n in networks])
    apply, taps = networks[0].network.apply, networks[0].network.taps
    found = jax.jit(jax.vmap(apply, (0, None)))(together, IMAGES)
    features = jax.jit(jax.vmap(taps, (0, None)))(together, IMAGES)["features"]
    for i, model in enumerate(models):
        model.eval()
        np.testing.assert_allclose(found[i], model(IMAGES), rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(model.head(features[i]), model(IMAGES), rtol=1e-5, atol=1e-5)


def test_nnx_classes_are_left_as_they_are():
    model = small(0)
    call = nnx.Linear.__call__
    foreign = adapters.from_nnx(model, taps=["blocks/1"], **ABOUT)
    assert list(foreign.network.taps(foreign.params, IMAGES)) == ["blocks/1", "features"]
    assert nnx.Linear.__call__ is call
    assert type(model.head) is nnx.Linear


def test_nnx_noise_that_eval_does_not_switch_off_is_refused():
    class Noisy(nnx.Module):
        def __init__(self, rngs):
            self.rngs = rngs
            self.head = nnx.Linear(8 * 8 * 3, 4, rngs=rngs)

        def __call__(self, x):
            noise = jax.random.normal(self.rngs.dropout(), x.shape)
            return self.head((x + noise).reshape(len(x), -1))

    with pytest.raises(errors.InvalidInputError, match="'Noisy': the logits of an image depend on"):
        adapters.from_nnx(Noisy(nnx.Rngs(0)), **ABOUT)


def test_nnx_wants_a_module():
    with pytest.raises(errors.InvalidInputError, match=r"model: found .* a flax.nnx.Module is"):
        adapters.from_nnx(jnp.ones(3), **ABOUT)


def test_equinox_says_how_to_get_it_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "equinox", None)
    with pytest.raises(errors.InvalidInputError, match="not installed; run: pip install equinox"):
        adapters.from_equinox(None, **ABOUT)


@pytest.fixture
def eqx():
    return pytest.importorskip("equinox")


def equinox_model(eqx, mode, key):
    """A trained convolutional network with its state."""

    class Model(eqx.Module):
        conv: eqx.nn.Conv2d
        norm: eqx.nn.BatchNorm
        dropout: eqx.nn.Dropout
        mlp: eqx.nn.MLP

        def __init__(self, key):
            keys = jax.random.split(key)
            self.conv = eqx.nn.Conv2d(3, 6, 3, key=keys[0])
            self.norm = eqx.nn.BatchNorm(6, "batch", mode=mode)
            self.dropout = eqx.nn.Dropout(0.5)
            self.mlp = eqx.nn.MLP(6, 4, 7, 1, key=keys[1])

        def __call__(self, x, state, key):
            x, state = self.norm(self.conv(x), state)
            x = self.dropout(jax.nn.relu(x).mean((1, 2)), key=key)
            return self.mlp(x), state

    model, state = eqx.nn.make_with_state(Model)(key)
    run = jax.vmap(model, axis_name="batch", in_axes=(0, None, 0), out_axes=(0, None))
    for i in range(2):
        keys = jax.random.split(jax.random.fold_in(key, i), len(IMAGES))
        _, state = run(IMAGES.transpose(0, 3, 1, 2), state, keys)
    return model, state


def equinox_logits(eqx, model, state):
    leaves, structure = jax.tree.flatten(state)

    def one(image):
        return eqx.nn.inference_mode(model)(image, jax.tree.unflatten(structure, leaves), None)[0]

    return jax.vmap(one)(IMAGES.transpose(0, 3, 1, 2))


@pytest.mark.peers
@pytest.mark.parametrize("mode", ["ema", "batch"])
def test_equinox_logits_and_activations_are_those_of_the_model(eqx, mode, getkey):
    model, state = equinox_model(eqx, mode, getkey())
    foreign = adapters.from_equinox(model, state, features="mlp/layers/1", **ABOUT)
    wanted = equinox_logits(eqx, model, state)  # the user's state can still be used
    found = foreign.network.apply(foreign.params, IMAGES)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
    taps = foreign.network.taps(foreign.params, IMAGES)
    assert list(taps) == ["conv", "norm", "dropout", "mlp/layers/0", "mlp/layers/1", "features"]
    convolved = jax.vmap(model.conv)(IMAGES.transpose(0, 3, 1, 2))
    np.testing.assert_allclose(taps["conv"], convolved.transpose(0, 2, 3, 1), rtol=1e-5, atol=1e-5)
    again = jax.vmap(model.mlp.layers[1])(taps["features"])
    np.testing.assert_allclose(again, wanted, rtol=1e-5, atol=1e-5)
    assert foreign.params["mlp"]["layers"]["0"]["weight"].shape == (7, 6)


@pytest.mark.peers
def test_equinox_modules_that_end_in_a_function_need_the_name_of_their_last_layer(eqx, getkey):
    model, state = equinox_model(eqx, "batch", getkey())
    foreign = adapters.from_equinox(model, state, **ABOUT)
    with pytest.raises(errors.InvalidInputError, match=r"e\.g\. features='mlp/layers/1'"):
        foreign.network.taps(foreign.params, IMAGES)


@pytest.mark.peers
def test_equinox_networks_stack_under_jit_and_vmap(eqx, getkey):
    made = [equinox_model(eqx, "batch", getkey()) for _ in range(2)]
    networks = [
        adapters.from_equinox(*one, taps=["norm"], features="mlp/layers/1", **ABOUT) for one in made
    ]
    together = jax.tree.map(lambda *leaves: jnp.stack(leaves), *[n.params for n in networks])
    found = jax.jit(jax.vmap(networks[0].network.apply, (0, None)))(together, IMAGES)
    taps = jax.jit(jax.vmap(networks[0].network.taps, (0, None)))(together, IMAGES)
    for i, (model, state) in enumerate(made):
        wanted = equinox_logits(eqx, model, state)
        np.testing.assert_allclose(found[i], wanted, rtol=1e-5, atol=1e-5)
        one = networks[i].network.taps(networks[i].params, IMAGES)
        np.testing.assert_allclose(taps["norm"][i], one["norm"], rtol=1e-5, atol=1e-5)


@pytest.mark.peers
def test_equinox_batches_in_other_layouts(eqx, getkey):
    class Batched(eqx.Module):
        kernel: jax.Array
        name: str = eqx.field(static=True)

        def __call__(self, x):
            return x.reshape(len(x), -1) @ self.kernel

    model = Batched(jax.random.normal(getkey(), (8 * 8 * 3, 4)), "mine")
    foreign = adapters.from_equinox(model, single=False, layout="HWC", **ABOUT)
    np.testing.assert_array_equal(foreign.network.apply(foreign.params, IMAGES), model(IMAGES))
    with pytest.raises(errors.InvalidInputError, match="no layer returns the logits themselves"):
        foreign.network.taps(foreign.params, IMAGES)


@pytest.mark.peers
def test_equinox_models_that_cannot_be_read_are_refused(eqx, getkey):
    model, state = equinox_model(eqx, "ema", getkey())
    with pytest.raises(errors.InvalidInputError, match="layout: unknown name 'NHWC'"):
        adapters.from_equinox(model, state, layout="NHWC", **ABOUT)
    with pytest.raises(errors.InvalidInputError, match=r"failed with TypeError: .*state"):
        adapters.from_equinox(model, **ABOUT)
    with pytest.raises(errors.InvalidInputError, match="unknown name 'mlp/layers/2'; did you mean"):
        adapters.from_equinox(model, state, features="mlp/layers/2", **ABOUT)
    with pytest.raises(errors.InvalidInputError, match=r"model: found .* an equinox.Module is"):
        adapters.from_equinox(jnp.ones(3), **ABOUT)
    state.set(model.norm.ema_first_time_index, jnp.array(False))
    with pytest.raises(errors.InvalidInputError, match=r"failed with ValueError: .*old state"):
        adapters.from_equinox(model, state, **ABOUT)
