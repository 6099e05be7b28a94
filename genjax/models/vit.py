"""Small vision transformers (Dosovitskiy et al., An Image is Worth 16x16 Words, 2021)."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from genjax.models import network


class _Block(nn.Module):
    """Pre-norm transformer block: attention, then a perceptron, each with a residual."""

    heads: int
    hidden: int
    epsilon: float
    fast_variance: bool
    tanh_gelu: bool

    @nn.compact
    def __call__(self, x, train: bool, dropout_rate):
        def drop(y):
            if train and dropout_rate is not None:
                return network.dropout(y, dropout_rate, self.make_rng("dropout"))
            return y

        def normalise(x, name):
            return nn.LayerNorm(self.epsilon, use_fast_variance=self.fast_variance, name=name)(x)

        width = x.shape[-1]
        y = normalise(x, "norm1")
        x = x + drop(nn.MultiHeadDotProductAttention(self.heads, name="attention")(y))
        y = nn.Dense(self.hidden, name="dense1")(normalise(x, "norm2"))
        return x + drop(nn.Dense(width, name="dense2")(nn.gelu(y, approximate=self.tanh_gelu)))


def sines_and_cosines(height: int, width: int, channels: int):
    """Return fixed position embeddings [1, height width, channels] of a grid.

    With frequencies `w_k = 10000^(-k / (K - 1))`, k = 0 ... K - 1 and K = channels / 4, position
    (y, x) has `sin(x w), cos(x w), sin(y w), cos(y w)` (Chen, Xie and He, An Empirical Study of
    Training Self-Supervised Vision Transformers, 2021).

    Example:
        >>> sines_and_cosines(1, 2, 8).shape
        (1, 2, 8)
    """
    count = channels // 4
    frequencies = 10_000.0 ** -(np.arange(count) / max(count - 1, 1))
    y, x = (axis.reshape(-1, 1) * frequencies for axis in np.mgrid[:height, :width])
    positions = np.concatenate([np.sin(x), np.cos(x), np.sin(y), np.cos(y)], axis=1)
    return jnp.asarray(positions[None], jnp.float32)


class Vit(nn.Module):
    """Patches, a class token, positions, `depth` blocks, linear output.

    The defaults are the network that is trained here; the other options are those of networks
    trained elsewhere.

    Attributes:
        patch: side of a patch.
        width: token width.
        depth: number of blocks.
        heads: attention heads.
        hidden: hidden width of the perceptrons.
        num_classes: number of outputs.
        epsilon: of the layer norms.
        fast_variance: whether layer norms compute the variance as E[x^2] - E[x]^2, which rounds
            worse where the mean is large.
        tanh_gelu: whether GELU is approximated by tanh.
        class_token: whether there is one; without it the output reads the mean over the tokens.
        learned_positions: False for `sines_and_cosines`.
        representation: width of a layer with tanh before the output; None for no such layer.
        distillation: the second token of DeiT: "none", "token" (it takes part in the attention
            only) or "output" (it has an output of its own, and the logits are the mean of both).
    """

    patch: int
    width: int
    depth: int
    heads: int
    hidden: int
    num_classes: int
    epsilon: float = 1e-6
    fast_variance: bool = True
    tanh_gelu: bool = False
    class_token: bool = True
    learned_positions: bool = True
    representation: int | None = None
    distillation: str = "none"

    def _tokens(self, images):
        """Return the tokens with their positions, class token first."""
        n, height, width, channels = images.shape
        p = self.patch
        # Non-overlapping patches are a reshape and one Dense: no convolution needed.
        x = images.reshape(n, height // p, p, width // p, p, channels)
        x = x.transpose(0, 1, 3, 2, 4, 5).reshape(n, -1, p * p * channels)
        x = nn.Dense(self.width, name="patches")(x)
        if not self.learned_positions:
            x = x + sines_and_cosines(height // p, width // p, self.width)
        names = ["class_token"] * self.class_token
        names += ["distillation_token"] * (self.distillation != "none")
        tokens = [self.param(name, nn.initializers.zeros, (1, 1, self.width)) for name in names]
        tokens = [jnp.broadcast_to(token, (n, 1, self.width)) for token in tokens]
        x = jnp.concatenate([*tokens, x], axis=1)
        if self.learned_positions:
            shape = (1, x.shape[1], self.width)
            x = x + self.param("position", nn.initializers.normal(0.02), shape)
        return x

    @nn.compact
    def __call__(self, images, train: bool = False, dropout_rate=None):
        """Return logits [N, num_classes]; taps `embedding`, `block1` ... and `features`."""
        x = self._tokens(images)
        self.sow("taps", "embedding", x)
        for i in range(1, self.depth + 1):
            x = _Block(
                self.heads,
                self.hidden,
                self.epsilon,
                self.fast_variance,
                self.tanh_gelu,
                name=f"encoder{i}",
            )(x, train, dropout_rate)
            self.sow("taps", f"block{i}", x)
        x = nn.LayerNorm(self.epsilon, use_fast_variance=self.fast_variance, name="norm")(x)
        read = [x[:, 0]] if self.class_token else [x.mean(axis=1)]
        if self.distillation == "output":
            read.append(x[:, 1])
        if self.representation is not None:
            layer = nn.Dense(self.representation, name="representation")
            read = [nn.tanh(layer(y)) for y in read]
        self.sow("taps", network.FEATURES, jnp.concatenate(read, axis=1))
        logits = nn.Dense(self.num_classes, name="output")(read[0])
        if self.distillation == "output":
            other = nn.Dense(self.num_classes, name="distillation_output")(read[1])
            logits = (logits + other) / 2
        return logits


def vit(
    *,
    image_shape,
    num_classes: int,
    patch: int = 4,
    width: int = 64,
    depth: int = 4,
    heads: int = 4,
    mlp_ratio: int = 4,
) -> network.Network:
    """Return a small vision transformer.

    Args:
        image_shape: (height, width, channels); height and width are multiples of `patch`.
        num_classes: number of outputs.
        patch: side of a patch.
        width: token width, a multiple of `heads`.
        depth: number of blocks.
        heads: attention heads.
        mlp_ratio: hidden width of the perceptrons over `width`.

    Example:
        >>> vit(image_shape=(8, 8, 1), num_classes=10, patch=2, width=16, depth=2).family
        'vit'
    """
    module = Vit(patch, width, depth, heads, mlp_ratio * width, num_classes)
    options = {
        "patch": patch,
        "width": width,
        "depth": depth,
        "heads": heads,
        "mlp_ratio": mlp_ratio,
    }
    return network.from_modules(
        module,
        module,
        family="vit",
        options=options,
        image_shape=image_shape,
        num_classes=num_classes,
    )
