"""An Equinox model of your own: train it as you do, hand it over, measure it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax import data
from genjax.metrics import accuracy, kappa
from genjax.models import adapters

eqx = pytest.importorskip("equinox")
pytestmark = pytest.mark.peers


class Digits(eqx.Module):
    """Any Equinox module from one image to its logits will do; convolutions take [C, H, W]."""

    conv: eqx.nn.Conv2d
    hidden: eqx.nn.Linear
    dropout: eqx.nn.Dropout
    head: eqx.nn.Linear

    def __init__(self, key):
        keys = jax.random.split(key, 3)
        self.conv = eqx.nn.Conv2d(1, 16, 3, stride=2, padding=1, key=keys[0])
        self.hidden = eqx.nn.Linear(4 * 4 * 16, 32, key=keys[1])
        self.dropout = eqx.nn.Dropout(0.1)
        self.head = eqx.nn.Linear(32, 10, key=keys[2])

    def __call__(self, image, key=None):
        x = jax.nn.relu(self.conv(image))
        x = jax.nn.relu(self.hidden(x.ravel()))
        return self.head(self.dropout(x, key=key))


def trained(model, images, labels, steps=60):
    """Your own training loop, with whatever it needs."""
    optimizer = optax.adam(3e-3)
    state = optimizer.init(eqx.filter(model, eqx.is_inexact_array))

    @eqx.filter_jit
    def step(model, state, key):
        def loss(model):
            logits = jax.vmap(model)(images, jax.random.split(key, len(images)))
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

        updates, state = optimizer.update(eqx.filter_grad(loss)(model), state)
        return eqx.apply_updates(model, updates), state

    for i in range(steps):
        model, state = step(model, state, jax.random.key(i))
    return model


def test_an_equinox_model_is_measured():
    digits = data.load("digits")
    images, labels = jnp.asarray(digits.images), jnp.asarray(digits.labels)
    planes = images.transpose(0, 3, 1, 2)
    model = trained(Digits(jax.random.key(0)), planes[:1000], labels[:1000])

    # Images are [N, H, W, C] from here on: the adapter turns them into the model's layout.
    foreign = adapters.from_equinox(model, image_shape=digits.image_shape, num_classes=10)

    logits = jax.jit(foreign.network.apply)(foreign.params, images[1000:])
    own = jax.vmap(eqx.nn.inference_mode(model))(planes[1000:])
    np.testing.assert_allclose(logits, own, rtol=1e-4, atol=1e-4)

    per_class = accuracy.per_class_accuracy(labels[1000:], logits.argmax(-1), 10)
    counts = accuracy.confusion(labels[1000:], logits.argmax(-1), num_classes=10)
    assert per_class.shape == (10,)
    assert float(jnp.trace(counts) / counts.sum()) > 0.8
    assert float(kappa.multiclass_distance(counts)) < 0.25  # 0 is perfect, 1 is chance

    taps = foreign.network.taps(foreign.params, images[1000:])
    assert {name: tap.shape[1:] for name, tap in taps.items()} == {
        "conv": (4, 4, 16),
        "hidden": (32,),
        "dropout": (32,),
        "features": (32,),
    }
