"""A Flax Linen network of your own: train it as you do, hand it over, measure it."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from genjax import data
from genjax.metrics import accuracy, kappa
from genjax.models import adapters
from genjax.models.foreign import Preprocessing


class Digits(nn.Module):
    """Any Linen module from images to logits will do."""

    @nn.compact
    def __call__(self, images, train: bool):
        x = nn.Conv(16, (3, 3), strides=2, name="conv")(images)
        x = nn.relu(nn.BatchNorm(use_running_average=not train, name="norm")(x))
        x = nn.relu(nn.Dense(32, name="hidden")(x.reshape(len(x), -1)))
        x = nn.Dropout(0.2, deterministic=not train)(x)
        return nn.Dense(10, name="head")(x)


def standardised(images):
    return (images - 0.3) / 0.4


def trained(module, images, labels, steps=60):
    """Your own training loop, with whatever it needs."""
    variables = module.init(jax.random.key(0), images[:1], train=False)
    params, statistics = variables["params"], variables["batch_stats"]
    optimizer = optax.adam(3e-3)
    state = optimizer.init(params)

    @jax.jit
    def step(params, statistics, state, key):
        def loss(params):
            logits, changed = module.apply(
                {"params": params, "batch_stats": statistics},
                images,
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": key},
            )
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            return losses.mean(), changed["batch_stats"]

        (_, statistics), gradient = jax.value_and_grad(loss, has_aux=True)(params)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(params, updates), statistics, state

    for i in range(steps):
        params, statistics, state = step(params, statistics, state, jax.random.key(i))
    return {"params": params, "batch_stats": statistics}


def test_a_linen_network_is_measured():
    digits = data.load("digits")
    images, labels = jnp.asarray(digits.images), jnp.asarray(digits.labels)
    module = Digits()
    variables = trained(module, standardised(images[:1000]), labels[:1000])

    # Images stay in [0, 1] from here on: what the network expects of them is part of it.
    foreign = adapters.from_linen(
        module,
        variables,
        image_shape=digits.image_shape,
        num_classes=10,
        preprocessing=Preprocessing(mean=(0.3,), std=(0.4,)),
    )

    logits = jax.jit(foreign.network.apply)(foreign.params, images[1000:])
    own = module.apply(variables, standardised(images[1000:]), train=False)
    np.testing.assert_allclose(logits, own, rtol=1e-4, atol=1e-4)

    per_class = accuracy.per_class_accuracy(labels[1000:], logits.argmax(-1), 10)
    counts = accuracy.confusion(labels[1000:], logits.argmax(-1), num_classes=10)
    assert per_class.shape == (10,)
    assert float(jnp.trace(counts) / counts.sum()) > 0.8
    assert float(kappa.multiclass_distance(counts)) < 0.25  # 0 is perfect, 1 is chance

    taps = foreign.network.taps(foreign.params, images[1000:])
    assert list(taps) == ["conv", "norm", "hidden", "Dropout_0", "features"]
    assert taps["features"].shape == (len(logits), 32)
