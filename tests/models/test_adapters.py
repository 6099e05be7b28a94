"""Adapters of functions and Linen: the library's own numbers, and impure networks refused."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import errors
from genjax.models import adapters
from genjax.models.foreign import Preprocessing, preprocess

SHAPE = (8, 8, 3)
IMAGES = jax.random.uniform(jax.random.key(7), (5, *SHAPE))
ABOUT = {"image_shape": SHAPE, "num_classes": 4}


def dense(params, images):
    return images.reshape(len(images), -1) @ params["kernel"]


@pytest.fixture
def kernel(getkey):
    return {"kernel": jax.random.normal(getkey(), (8 * 8 * 3, 4))}


class Block(nn.Module):
    scale: bool = True

    @nn.compact
    def __call__(self, x, train: bool):
        x = nn.Conv(6, (3, 3))(x)
        return nn.relu(nn.BatchNorm(use_running_average=not train, use_scale=self.scale)(x))


class Convolutional(nn.Module):
    scale: bool = True
    logarithms: bool = False

    @nn.compact
    def __call__(self, x, train: bool = True):
        x = Block(self.scale, name="first")(x, train)
        x = Block(self.scale, name="second")(x, train).mean((1, 2))
        x = nn.Dropout(0.5, deterministic=not train)(x)
        x = nn.Dense(4, name="head")(nn.relu(nn.Dense(7, name="hidden")(x)))
        return nn.log_softmax(x) if self.logarithms else x


def trained(module, key):
    """Variables with scales, offsets and running statistics that are not the initial ones."""
    variables = module.init(key, IMAGES, train=False)
    keys = iter(jax.random.split(key, 100))
    return jax.tree.map(lambda x: jax.random.uniform(next(keys), x.shape, minval=0.2), variables)


def test_function_gets_preprocessed_images_and_keeps_its_logits(kernel):
    how = Preprocessing((0.5, 0.4, 0.3), (0.2, 0.3, 0.4), resize=(8, 8))
    foreign = adapters.from_function(
        dense, kernel, image_shape=(16, 12, 3), num_classes=4, preprocessing=how
    )
    images = jax.random.uniform(jax.random.key(1), (3, 16, 12, 3))
    wanted = dense(kernel, preprocess(images, how))
    np.testing.assert_array_equal(foreign.network.apply(foreign.params, images), wanted)
    assert foreign.unfolded is None
    assert (foreign.network.name, foreign.network.family) == ("function", "function")
    with pytest.raises(errors.InvalidInputError, match="cannot be trained or initialised here"):
        foreign.network.init(jax.random.key(0))


def test_function_without_taps_refuses_only_when_they_are_asked_for(kernel):
    foreign = adapters.from_function(dense, kernel, **ABOUT)
    with pytest.raises(errors.InvalidInputError, match=r"'function': it came without taps; pass"):
        foreign.network.taps(foreign.params, IMAGES)


def test_function_with_taps_puts_features_last(kernel):
    def taps(params, images):
        return {"features": images.reshape(len(images), -1), "logits": dense(params, images)}

    foreign = adapters.from_function(dense, kernel, taps=taps, **ABOUT)
    assert list(foreign.network.taps(foreign.params, IMAGES)) == ["logits", "features"]


@pytest.mark.parametrize(
    ("taps", "sentence"),
    [
        (lambda p, x: {"logits": dense(p, x)}, r"found \['logits'\]; a dict .* with 'features'"),
        (lambda p, x: dense(p, x), "found .*Tracer; a dict of activations"),
        (lambda p, x: {"features": x}, r"found float32 \[2, 8, 8, 3\]; a vector per image"),
        (lambda p, x: {"features": x[0, 0]}, r"found float32 \[8, 3\]; a vector per image"),
    ],
)
def test_function_with_wrong_taps_is_refused(taps, sentence, kernel):
    with pytest.raises(errors.InvalidInputError, match=sentence):
        adapters.from_function(dense, kernel, taps=taps, **ABOUT)


def numpy_dense(params, images):
    return np.asarray(images).reshape(len(images), -1) @ np.asarray(params["kernel"])


@pytest.mark.parametrize(
    ("apply", "sentence"),
    [
        (lambda p, x: dense(p, x)[:, :3], r"for 2 images it returns float32 \[2, 3\]; allowed are"),
        (lambda p, x: (dense(p, x), x), "it returns tuple; allowed are logits"),
        (lambda p, x: dense(p, x).argmax(-1, keepdims=True).repeat(4, 1), r"int32 \[2, 4\]"),
        (lambda p, x: dense(p, x) * jnp.nan, "logits of random images .* are not finite"),
        (lambda p, x: dense(p, x - x.mean(0, keepdims=True)), "depend on the images beside it"),
        (numpy_dense, r"shape \(8, 8, 3\) failed with TracerArrayConversionError"),
        (lambda p, x: x @ p["kernel"], "failed with TypeError: .* Check image_shape"),
    ],
)
def test_function_that_is_no_pure_network_is_refused(apply, sentence, kernel):
    with pytest.raises(errors.InvalidInputError, match=sentence):
        adapters.from_function(apply, kernel, **ABOUT)


def test_randomness_of_the_host_is_refused(kernel):
    draws = np.random.default_rng(0)
    with pytest.raises(errors.InvalidInputError, match="two evaluations of the same images differ"):
        adapters.from_function(lambda p, x: dense(p, x) * draws.uniform(), kernel, **ABOUT)


def test_dropout_with_a_stored_key_is_refused(kernel):
    def apply(params, images):
        return dense(params, images * jax.random.bernoulli(jax.random.key(1), 0.5, images.shape))

    with pytest.raises(errors.InvalidInputError, match=r"beside it; .*deterministic=True"):
        adapters.from_function(apply, kernel, **ABOUT)


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ({"a": {"steps": np.zeros(3, int)}}, "leaf 'a/steps' is int64; keep only arrays of floats"),
        ({"a": ["relu"]}, "leaf 'a/0' is str; keep only"),
    ],
)
def test_parameters_that_are_no_floats_are_refused(params, sentence):
    with pytest.raises(errors.InvalidInputError, match=sentence):
        adapters.from_function(dense, params, **ABOUT)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"image_shape": (8, 8)}, r"found \(8, 8\) and 4; allowed are"),
        ({"image_shape": (8, 0, 3)}, r"found \(8, 0, 3\) and 4"),
        ({"num_classes": 1}, "found .* and 1; allowed are .* at least 2 classes"),
        ({"preprocessing": Preprocessing((0.5, 0.5))}, "preprocessing.mean .* found 2 numbers"),
        ({"preprocessing": Preprocessing(std=(0.0,))}, r"found \(0.0,\); it must be positive"),
    ],
)
def test_wrong_descriptions_are_refused(changed, sentence, kernel):
    with pytest.raises(errors.InvalidInputError, match=sentence):
        adapters.from_function(dense, kernel, **{**ABOUT, **changed})


@pytest.mark.parametrize("function", ["apply", "taps"])
def test_images_of_another_kind_are_refused(function, kernel):
    network = adapters.from_function(dense, kernel, **ABOUT).network
    call = getattr(network, function)
    with pytest.raises(errors.InvalidInputError, match=r"found shape \(2, 8, 9, 3\); it takes \[N"):
        call(kernel, jnp.zeros((2, 8, 9, 3)))
    with pytest.raises(errors.InvalidInputError, match=r"found shape \(8, 8, 3\)"):
        call(kernel, jnp.zeros(SHAPE))
    with pytest.raises(errors.InvalidInputError, match=r"found uint8; .* divide by 255"):
        call(kernel, jnp.zeros((2, *SHAPE), jnp.uint8))


def test_linen_logits_and_activations_are_those_of_flax(getkey):
    module = Convolutional()
    variables = trained(module, getkey())
    foreign = adapters.from_linen(module, variables, **ABOUT)
    logits, captured = module.apply(
        variables, IMAGES, train=False, capture_intermediates=True, mutable=["intermediates"]
    )
    found = foreign.network.apply(foreign.params, IMAGES)
    np.testing.assert_allclose(found, logits, rtol=1e-5, atol=1e-5)
    taps = foreign.network.taps(foreign.params, IMAGES)
    assert list(taps) == [
        *("first/Conv_0", "first/BatchNorm_0", "first"),
        *("second/Conv_0", "second/BatchNorm_0", "second"),
        *("Dropout_0", "hidden", "features"),
    ]
    for path, tap in taps.items():
        if path != "features":
            node = captured["intermediates"]
            for part in path.split("/"):
                node = node[part]
            np.testing.assert_allclose(tap, node["__call__"][0], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(taps["features"], nn.relu(taps["hidden"]))
    head = variables["params"]["head"]
    again = taps["features"] @ head["kernel"] + head["bias"][None]
    np.testing.assert_allclose(again, logits, rtol=1e-5, atol=1e-5)


def test_linen_parameters_hold_all_that_was_learned(getkey):
    module = Convolutional()
    variables = trained(module, getkey())
    foreign = adapters.from_linen(module, variables, **ABOUT)
    assert jax.tree.structure(foreign.params) == jax.tree.structure(variables["params"])
    jax.tree.map(np.testing.assert_array_equal, foreign.unfolded[0], variables["params"])
    jax.tree.map(np.testing.assert_array_equal, foreign.unfolded[1], variables["batch_stats"])
    norm, running = (variables[kind]["first"]["BatchNorm_0"] for kind in ("params", "batch_stats"))
    gain = norm["scale"] / np.sqrt(running["var"] + 1e-5)
    folded = foreign.params["first"]["BatchNorm_0"]
    np.testing.assert_allclose(folded["scale"], gain, rtol=1e-6)
    np.testing.assert_allclose(folded["bias"], norm["bias"] - running["mean"] * gain, rtol=1e-5)


def test_networks_of_one_architecture_can_be_stacked_although_their_statistics_differ(getkey):
    module = Convolutional()
    stored = [trained(module, getkey()) for _ in range(3)]
    networks = [adapters.from_linen(module, variables, **ABOUT) for variables in stored]
    together = jax.tree.map(lambda *leaves: jnp.stack(leaves), *[n.params for n in networks])
    apply = networks[0].network.apply
    found = jax.jit(jax.vmap(apply, (0, None)))(together, IMAGES)
    wanted = [module.apply(variables, IMAGES, train=False) for variables in stored]
    np.testing.assert_allclose(found, np.stack(wanted), rtol=1e-5, atol=1e-5)
    taps = jax.jit(jax.vmap(networks[0].network.taps, (0, None)))(together, IMAGES)
    for i, one in enumerate(networks):
        for path, tap in one.network.taps(one.params, IMAGES).items():
            np.testing.assert_allclose(taps[path][i], tap, rtol=1e-4, atol=1e-5)


def test_statistics_without_a_scale_stay_constants(getkey):
    module = Convolutional(scale=False)
    variables = trained(module, getkey())
    foreign = adapters.from_linen(module, variables, **ABOUT)
    jax.tree.map(np.testing.assert_array_equal, foreign.params, variables["params"])
    found = foreign.network.apply(foreign.params, IMAGES)
    np.testing.assert_array_equal(found, module.apply(variables, IMAGES, train=False))


def test_layers_are_chosen_by_name(getkey):
    module = Convolutional(logarithms=True)
    variables = trained(module, getkey())
    foreign = adapters.from_linen(
        module, variables, taps=["second", "first/Conv_0"], features="head", **ABOUT
    )
    taps = foreign.network.taps(foreign.params, IMAGES)
    assert list(taps) == ["first/Conv_0", "second", "features"]
    head = variables["params"]["head"]
    again = nn.log_softmax(taps["features"] @ head["kernel"] + head["bias"][None])
    wanted = module.apply(variables, IMAGES, train=False)
    np.testing.assert_allclose(again, wanted, rtol=1e-5, atol=1e-5)


def test_features_must_be_named_where_no_layer_returns_the_logits(getkey):
    module = Convolutional(logarithms=True)
    foreign = adapters.from_linen(module, trained(module, getkey()), **ABOUT)
    assert foreign.network.apply(foreign.params, IMAGES).shape == (5, 4)
    with pytest.raises(errors.InvalidInputError, match=r"name the output layer.*features='head'"):
        foreign.network.taps(foreign.params, IMAGES)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"taps": ["hiden"]}, "taps: unknown name 'hiden'; did you mean 'hidden'"),
        ({"taps": "hidden"}, "taps: found 'hidden'; allowed are None .* or a list"),
        ({"features": "haed"}, "features: unknown name 'haed'; did you mean 'head'"),
        ({"features": "second/Conv_0"}, r"found float32 \[2, 8, 8, 6\]; a vector per image"),
        ({"call_options": {"train": True}}, "call_options={'train': False}"),
        ({"call_options": {"trian": True}}, "TypeError: .*unexpected keyword argument 'trian'"),
        ({"image_shape": (8, 8, 1)}, r"shape \(8, 8, 1\) failed with ScopeParamShapeError"),
        ({"num_classes": 5}, r"returns float32 \[2, 4\]; allowed are logits, float \[2, 5\]"),
    ],
)
def test_linen_modules_that_cannot_be_read_are_refused(options, sentence, getkey):
    module = Convolutional()
    variables = trained(module, getkey())
    with pytest.raises(errors.InvalidInputError, match=sentence):
        adapters.from_linen(module, variables, **{**ABOUT, **options})


def test_linen_wants_variables_not_parameters(getkey):
    variables = trained(Convolutional(), getkey())
    with pytest.raises(errors.InvalidInputError, match=r"found \['first', .* e.g. {'params': par"):
        adapters.from_linen(Convolutional(), variables["params"], **ABOUT)


def test_active_linen_dropout_is_refused_with_what_to_pass(getkey):
    class Noisy(nn.Module):
        @nn.compact
        def __call__(self, x, noisy: bool = True):
            x = nn.Dropout(0.5, deterministic=not noisy)(x.reshape(len(x), -1))
            return nn.Dense(4)(x)

    variables = Noisy().init(getkey(), IMAGES, noisy=False)
    with pytest.raises(errors.InvalidInputError, match="Dropout is active: pass call_options"):
        adapters.from_linen(Noisy(), variables, **ABOUT)
    adapters.from_linen(Noisy(), variables, call_options={"noisy": False}, **ABOUT)


def test_repeated_and_scanned_layers(getkey):
    class Step(nn.Module):
        @nn.compact
        def __call__(self, x, _):
            return nn.relu(nn.Dense(6)(x)), None

    class Repeated(nn.Module):
        @nn.compact
        def __call__(self, x):
            shared = nn.Dense(6, name="features")
            x = shared(nn.relu(shared(nn.Dense(6, name="in")(x.reshape(len(x), -1)))))
            scan = nn.scan(Step, variable_axes={"params": 0}, split_rngs={"params": True}, length=2)
            x, _ = scan(name="steps")(x, None)
            return nn.Dense(4, name="head")(x)

    variables = Repeated().init(getkey(), IMAGES)
    foreign = adapters.from_linen(Repeated(), variables, **ABOUT)
    taps = jax.jit(foreign.network.taps)(foreign.params, IMAGES)
    assert set(taps) == {"in", "features#1", "features#2", "features"}
    head = variables["params"]["head"]
    again = taps["features"] @ head["kernel"] + head["bias"][None]
    wanted = Repeated().apply(variables, IMAGES)
    np.testing.assert_allclose(again, wanted, rtol=1e-5, atol=1e-5)
