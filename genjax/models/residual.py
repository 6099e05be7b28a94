"""Residual networks for ImageNet (He et al., Deep Residual Learning, 2016, table 1; v1.5)."""

import flax.linen as nn
import jax.numpy as jnp

from genjax.models import convolution, network
from genjax.models.resnet import ConvNorm, fold_batch_norm

BLOCKS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
"""Residual blocks per stage by depth; from 50 on, bottlenecks of three convolutions."""

EXPANSION = 4
"""Channels that a bottleneck puts out, over those inside of it."""


class ResNet(nn.Module):
    """A 7x7 stem with a max pool, four stages of residual blocks, an output.

    Shortcuts that change shape are 1x1 convolutions (option B); bottlenecks stride in their 3x3
    convolution (v1.5), as is usual now and differs from the paper.

    Attributes:
        blocks: residual blocks per stage.
        bottleneck: blocks of 1x1, 3x3, 1x1 instead of two 3x3 convolutions.
        num_classes: number of outputs.
        norm: `batch` or `none`.
        form: form of the convolution.
    """

    blocks: tuple[int, ...]
    bottleneck: bool
    num_classes: int
    norm: str
    form: str

    @nn.compact
    def __call__(self, images, train: bool = False, dropout_rate=None):
        """Return logits [N, num_classes]; taps `stem`, `stageSblockB` and `features`."""

        def layer(x, name, channels, window, stride=1):
            made = ConvNorm(channels, stride, self.norm, self.form, window, name=name)
            return made(x, train)

        x = nn.relu(layer(images, "stem_1", 64, 7, 2))
        padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))  # nothing is below 0 after relu
        x = nn.max_pool(padded, (3, 3), (2, 2))
        self.sow("taps", "stem", x)
        for s, count in enumerate(self.blocks, start=1):
            inside = 32 * 2**s
            for b in range(1, count + 1):
                name, stride = f"stage{s}block{b}", 2 if s > 1 and b == 1 else 1
                if self.bottleneck:
                    y = nn.relu(layer(x, f"{name}_1", inside, 1))
                    y = nn.relu(layer(y, f"{name}_2", inside, 3, stride))
                    y = layer(y, f"{name}_3", EXPANSION * inside, 1)
                else:
                    y = nn.relu(layer(x, f"{name}_1", inside, 3, stride))
                    y = layer(y, f"{name}_2", inside, 3)
                if x.shape != y.shape:
                    x = layer(x, f"{name}_shortcut", y.shape[-1], 1, stride)
                x = nn.relu(x + y)
                self.sow("taps", name, x)
        x = jnp.mean(x, axis=(1, 2))
        self.sow("taps", network.FEATURES, x)
        if train and dropout_rate is not None:
            x = network.dropout(x, dropout_rate, self.make_rng("dropout"))
        return nn.Dense(self.num_classes, name="output")(x)


def resnet_imagenet(
    *, image_shape, num_classes: int, depth: int = 50, form: str | None = None
) -> network.Network:
    """Return a ResNet for large images.

    Args:
        image_shape: (height, width, channels).
        num_classes: number of outputs.
        depth: 18, 34, 50, 101 or 152.
        form: `plain` or `canonical` convolution; None chooses for the backend.

    Example:
        >>> resnet_imagenet(image_shape=(64, 64, 3), num_classes=10, depth=18).name
        'resnet_imagenet(depth=18)'
    """
    form = form or convolution.for_backend()
    training, measuring = (
        ResNet(BLOCKS[depth], depth >= 50, num_classes, norm, form) for norm in ("batch", "none")
    )
    return network.from_modules(
        training,
        measuring,
        family="resnet_imagenet",
        options={"depth": depth},
        image_shape=image_shape,
        num_classes=num_classes,
        fold=fold_batch_norm,
    )
