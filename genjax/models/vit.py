"""Small vision transformers (Dosovitskiy et al., An Image is Worth 16x16 Words, 2021)."""

import flax.linen as nn
import jax.numpy as jnp

from genjax.models import network


class _Block(nn.Module):
    """Pre-norm transformer block: attention, then a perceptron, each with a residual."""

    heads: int
    mlp_ratio: int

    @nn.compact
    def __call__(self, x, train: bool, dropout_rate):
        def drop(y):
            if train and dropout_rate is not None:
                return network.dropout(y, dropout_rate, self.make_rng("dropout"))
            return y

        width = x.shape[-1]
        y = nn.LayerNorm(name="norm1")(x)
        x = x + drop(nn.MultiHeadDotProductAttention(self.heads, name="attention")(y))
        y = nn.LayerNorm(name="norm2")(x)
        y = nn.gelu(nn.Dense(self.mlp_ratio * width, name="dense1")(y), approximate=False)
        return x + drop(nn.Dense(width, name="dense2")(y))


class Vit(nn.Module):
    """Patches, a class token, learned positions, `depth` blocks, linear output on the token.

    Attributes:
        patch: side of a patch.
        width: token width.
        depth: number of blocks.
        heads: attention heads.
        mlp_ratio: hidden width of the perceptrons over `width`.
        num_classes: number of outputs.
    """

    patch: int
    width: int
    depth: int
    heads: int
    mlp_ratio: int
    num_classes: int

    @nn.compact
    def __call__(self, images, train: bool = False, dropout_rate=None):
        """Return logits [N, num_classes]; taps `embedding`, `block1` ... and `features`."""
        n, height, width, channels = images.shape
        p = self.patch
        # Non-overlapping patches are a reshape and one Dense: no convolution needed.
        x = images.reshape(n, height // p, p, width // p, p, channels)
        x = x.transpose(0, 1, 3, 2, 4, 5).reshape(n, -1, p * p * channels)
        x = nn.Dense(self.width, name="patches")(x)
        token = self.param("class_token", nn.initializers.zeros, (1, 1, self.width))
        x = jnp.concatenate([jnp.broadcast_to(token, (n, 1, self.width)), x], axis=1)
        shape = (1, x.shape[1], self.width)
        x = x + self.param("position", nn.initializers.normal(0.02), shape)
        self.sow("taps", "embedding", x)
        for i in range(1, self.depth + 1):
            x = _Block(self.heads, self.mlp_ratio, name=f"encoder{i}")(x, train, dropout_rate)
            self.sow("taps", f"block{i}", x)
        x = nn.LayerNorm(name="norm")(x)[:, 0]
        self.sow("taps", network.FEATURES, x)
        return nn.Dense(self.num_classes, name="output")(x)


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
    module = Vit(patch, width, depth, heads, mlp_ratio, num_classes)
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
