"""The shift of the practical-metric paper: images passed through a small autoencoder."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from jaxtyping import Array, Float, PRNGKeyArray

from genjax.data.corruptions import Shift, from_function
from genjax.errors import ShiftError


class Autoencoder(nn.Module):
    """Three stride-2 convolutions with 16, 32, 64 channels and their mirror, sigmoid at the end.

    Kernels are 3x3 and the hidden activations ReLU (neither is published).

    Attributes:
      channels: of the images.
      width: channels of the first layer.
    """

    channels: int
    width: int = 16

    @nn.compact
    def __call__(self, images: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
        """Reconstruct images whose sides are multiples of 8."""
        hidden = images
        for factor in (1, 2, 4):
            hidden = nn.relu(nn.Conv(factor * self.width, (3, 3), (2, 2))(hidden))
        for factor in (2, 1):
            hidden = nn.relu(nn.ConvTranspose(factor * self.width, (3, 3), (2, 2))(hidden))
        return nn.sigmoid(nn.ConvTranspose(self.channels, (3, 3), (2, 2))(hidden))


def _reconstruct(model: Autoencoder, params: Any, images: Array) -> Array:
    """Reconstruct images of any size, padded at their edges to multiples of 8."""
    height, width = images.shape[1:3]
    margins = ((0, 0), (0, -height % 8), (0, -width % 8), (0, 0))
    padded = jnp.pad(images, margins, mode="edge")
    output = model.apply({"params": params}, padded)
    assert isinstance(output, jax.Array)
    return output[:, :height, :width]


@functools.partial(jax.jit, static_argnames="model")
def _init(model: Autoencoder, key: PRNGKeyArray) -> tuple[Any, Any]:
    params = model.init(key, jnp.zeros((1, 8, 8, model.channels)))["params"]
    return params, optax.adam(0.0).init(params)


@functools.partial(jax.jit, static_argnames="model", donate_argnames=("params", "state"))
def _step(
    model: Autoencoder, params: Any, state: Any, batch: Array, learning_rate: Array
) -> tuple[Any, Any]:
    """One step of Adam on the mean squared error."""

    def loss(params: Any) -> Array:
        return jnp.mean((_reconstruct(model, params, batch) - batch) ** 2)

    optimizer = optax.adam(learning_rate)
    updates, state = optimizer.update(jax.grad(loss)(params), state)
    return optax.apply_updates(params, updates), state


def _train(
    model: Autoencoder,
    images: np.ndarray,
    key: PRNGKeyArray,
    snapshots: list[int],
    batch_size: int,
    learning_rate: float | int,
) -> Any:
    """Train; parameters after the numbers of steps in `snapshots`, stacked, last first."""
    init_key, order_key = jax.random.split(key)
    params, state = _init(model, init_key)
    rate = jnp.asarray(learning_rate, jnp.float32)
    rng = np.random.default_rng(int(jax.random.randint(order_key, (), 0, np.iinfo(np.int32).max)))
    kept = [jax.device_get(params)]
    # A host loop of a jitted step: on CPU a convolution inside a scan is many times slower.
    for number in range(1, snapshots[-1] + 1):
        batch = jnp.asarray(images[rng.integers(0, len(images), batch_size)])
        params, state = _step(model, params, state, batch, rate)
        if number in snapshots:
            kept.append(jax.device_get(params))
    return jax.tree.map(lambda *leaves: np.stack(leaves[::-1]), *kept)


def _check(images: np.ndarray, steps: int, batch_size: int, learning_rate: float | int) -> None:
    if len(images) == 0 or steps < 1 or batch_size < 1 or not 0 < learning_rate < math.inf:
        raise ShiftError(
            f"autoencoder: found {len(images)} images, steps {steps}, batch_size {batch_size}, "
            f"learning_rate {learning_rate}; all must be positive."
        )


def fit(
    images: Float[np.ndarray | jax.Array, "n h w c"],
    key: PRNGKeyArray,
    *,
    steps: int = 1000,
    batch_size: int = 32,
    learning_rate: float | int = 4e-3,
    width: int = 16,
) -> Shift:
    """Train the autoencoder and return the shift that passes images through it.

    The path of the strength: from the untouched images (0) by mixing to the reconstruction of the
    finished network (1/4), then through the reconstructions of ever earlier moments of its
    training, halving the number of steps each time, to the untrained network (1). Between two
    moments the two reconstructions are mixed. In the paper every level is the output of an
    autoencoder whose average SSIM is the target; how its training was stopped there is not
    published. Levels better than the finished network reaches are mixtures with the
    original, which the paper's are not.

    Args:
      images: TRAINING images in [0, 1].
      key: of the initial parameters and the batches.
      steps: of Adam on the mean squared error.
      batch_size: images per step.
      learning_rate: of Adam.
      width: channels of the first layer (16 in the paper: 16, 32, 64).

    Raises:
      ShiftError: no images, or a number that is not positive.

    Example:
      >>> from genjax.data import load
      >>> images = load("digits").images
      >>> shift = fit(images, jax.random.key(0), steps=10)
      >>> shift.apply(images[:5], 0.5, jax.random.key(1)).shape
      (5, 8, 8, 1)
    """
    images = np.asarray(images, np.float32)
    _check(images, steps, batch_size, learning_rate)
    halvings = [steps // 2**i for i in range(steps.bit_length() + 1)]
    snapshots = sorted(set(halvings))
    model = Autoencoder(images.shape[-1], width)
    stacked = _train(model, images, key, snapshots, batch_size, learning_rate)
    last = len(snapshots) - 1

    def change(images: Array, strength: Array, key: PRNGKeyArray) -> Array:
        del key

        def reconstruction(moment: Array) -> Array:
            return _reconstruct(
                model, jax.tree.map(lambda p: jnp.asarray(p)[moment], stacked), images
            )

        place = jnp.clip((strength - 0.25) / 0.75, 0, 1) * last
        moment = jnp.clip(jnp.floor(place).astype(int), 0, max(last - 1, 0))
        share = place - moment
        newer, older = reconstruction(moment), reconstruction(jnp.minimum(moment + 1, last))
        mixed = (1 - share) * newer + share * older
        original = jnp.clip(1 - 4 * strength, 0, 1)
        return original * images + (1 - original) * mixed

    return from_function("autoencoder", change)
