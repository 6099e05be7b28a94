"""ConvNeXt (Liu et al., A ConvNet for the 2020s, 2022)."""

import flax.linen as nn
import jax.numpy as jnp

from genjax.models import convolution, network

EPSILON = 1e-6
EPSILON_LAST = 1e-12  # Of the normalisation before the output, as the public weights were made.

SIZES: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "tiny": ((3, 3, 9, 3), (96, 192, 384, 768)),
    "small": ((3, 3, 27, 3), (96, 192, 384, 768)),
    "base": ((3, 3, 27, 3), (128, 256, 512, 1024)),
    "large": ((3, 3, 27, 3), (192, 384, 768, 1536)),
    "xlarge": ((3, 3, 27, 3), (256, 512, 1024, 2048)),
}
"""Blocks and channels per stage by size."""


def _norm(name: str, epsilon: float = EPSILON) -> nn.LayerNorm:
    # The fast variance E[x^2] - E[x]^2 loses digits where the mean is large.
    return nn.LayerNorm(epsilon=epsilon, use_fast_variance=False, name=name)


class _Block(nn.Module):
    """Depthwise 7x7 convolution, normalisation, perceptron of width 4, scale, residual."""

    form: str

    @nn.compact
    def __call__(self, x):
        width = x.shape[-1]
        y = nn.Conv(
            width,
            (7, 7),
            padding=((3, 3), (3, 3)),
            feature_group_count=width,
            conv_general_dilated=convolution.as_flax(self.form),
            name="depthwise",
        )(x)
        y = nn.Dense(4 * width, name="dense1")(_norm("norm")(y))
        y = nn.Dense(width, name="dense2")(nn.gelu(y, approximate=False))
        scale = self.param("scale", nn.initializers.constant(1e-6), (width,))
        return x + y * scale[None, None, None, :]


class ConvNeXt(nn.Module):
    """Patches of 4x4, stages of blocks with a 2x2 reduction between them, an output.

    Attributes:
        blocks: per stage.
        widths: channels per stage.
        num_classes: number of outputs.
        form: form of the convolution.
        patch: side of a patch.
    """

    blocks: tuple[int, ...]
    widths: tuple[int, ...]
    num_classes: int
    form: str
    patch: int = 4

    @nn.compact
    def __call__(self, images, train: bool = False, dropout_rate=None):
        """Return logits [N, num_classes]; taps `stem`, `stageSblockB` and `features`."""
        side = (self.patch, self.patch)
        x = nn.Conv(self.widths[0], side, side, padding="VALID", name="stem_1")(images)
        x = _norm("stem_norm")(x)  # modules must not have the names of taps
        self.sow("taps", "stem", x)
        for s, (count, width) in enumerate(zip(self.blocks, self.widths, strict=True), start=1):
            if s > 1:
                x = _norm(f"reduce{s}_norm")(x)
                x = nn.Conv(width, (2, 2), (2, 2), padding="VALID", name=f"reduce{s}")(x)
            for b in range(1, count + 1):
                x = _Block(self.form, name=f"stage{s}_{b}")(x)
                self.sow("taps", f"stage{s}block{b}", x)
        x = _norm("norm", EPSILON_LAST)(jnp.mean(x, axis=(1, 2)))
        self.sow("taps", network.FEATURES, x)
        if train and dropout_rate is not None:
            x = network.dropout(x, dropout_rate, self.make_rng("dropout"))
        return nn.Dense(self.num_classes, name="output")(x)


def convnext(
    *,
    image_shape,
    num_classes: int,
    blocks: tuple[int, ...] = SIZES["tiny"][0],
    widths: tuple[int, ...] = SIZES["tiny"][1],
    patch: int = 4,
) -> network.Network:
    """Return a ConvNeXt.

    Args:
        image_shape: (height, width, channels).
        num_classes: number of outputs.
        blocks: per stage.
        widths: channels per stage.
        patch: side of a patch.

    Example:
        >>> convnext(image_shape=(32, 32, 3), num_classes=10, blocks=(1, 1), widths=(8, 16)).name
        'convnext(blocks=(1, 1), widths=(8, 16))'
    """
    form = convolution.for_backend()
    module = ConvNeXt(tuple(blocks), tuple(widths), num_classes, form, patch)
    return network.from_modules(
        module,
        module,
        family="convnext",
        options={"blocks": tuple(blocks), "widths": tuple(widths)},
        image_shape=image_shape,
        num_classes=num_classes,
    )
