"""A Flax NNX model of your own: train it as you do, hand it over, measure it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from genjax import data
from genjax.metrics import accuracy, kappa
from genjax.models import adapters


class Digits(nnx.Module):
    """Any NNX module from images to logits will do."""

    def __init__(self, rngs: nnx.Rngs):
        self.conv = nnx.Conv(1, 16, (3, 3), strides=2, rngs=rngs)
        self.norm = nnx.BatchNorm(16, rngs=rngs)
        self.blocks = nnx.List([nnx.Linear(16, 16, rngs=rngs) for _ in range(2)])
        self.dropout = nnx.Dropout(0.1, rngs=rngs)
        self.head = nnx.Linear(4 * 4 * 16, 10, rngs=rngs)

    def __call__(self, images):
        x = nnx.relu(self.norm(self.conv(images)))
        for block in self.blocks:
            x = x + nnx.relu(block(x))
        return self.head(self.dropout(x.reshape(len(x), -1)))


@nnx.jit
def step(model, optimizer, images, labels):
    def loss(model):
        losses = optax.softmax_cross_entropy_with_integer_labels(model(images), labels)
        return losses.mean()

    optimizer.update(model, nnx.grad(loss)(model))


def test_an_nnx_model_is_measured():
    digits = data.load("digits")
    images, labels = jnp.asarray(digits.images), jnp.asarray(digits.labels)
    model = Digits(nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.adam(3e-3), wrt=nnx.Param)
    for _ in range(60):
        step(model, optimizer, images[:1000], labels[:1000])

    # The model itself stays in training mode and can be trained on.
    foreign = adapters.from_nnx(
        model, image_shape=digits.image_shape, num_classes=10, taps=["conv", "blocks/1"]
    )

    logits = jax.jit(foreign.network.apply)(foreign.params, images[1000:])
    per_class = accuracy.per_class_accuracy(labels[1000:], logits.argmax(-1), 10)
    counts = accuracy.confusion(labels[1000:], logits.argmax(-1), num_classes=10)
    assert per_class.shape == (10,)
    assert float(jnp.trace(counts) / counts.sum()) > 0.8
    assert float(kappa.multiclass_distance(counts)) < 0.25  # 0 is perfect, 1 is chance

    taps = foreign.network.taps(foreign.params, images[1000:])
    assert {name: tap.shape[1:] for name, tap in taps.items()} == {
        "conv": (4, 4, 16),
        "blocks/1": (4, 4, 16),
        "features": (256,),
    }

    # Parameters are plain nested dicts of arrays: gradients, norms and curvature work on them.
    def loss(params):
        scores = foreign.network.apply(params, images[:100])
        return optax.softmax_cross_entropy_with_integer_labels(scores, labels[:100]).mean()

    gradient = jax.grad(loss)(foreign.params)
    assert gradient["blocks"]["0"]["kernel"].shape == (16, 16)
    assert np.isfinite(float(optax.global_norm(gradient)))

    model.eval()
    np.testing.assert_allclose(logits, model(images[1000:]), rtol=1e-4, atol=1e-4)
