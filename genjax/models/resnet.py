"""CIFAR-style residual networks (He et al., Deep Residual Learning, 2016, section 4.2)."""

import flax.linen as nn
import jax.numpy as jnp

from genjax.models import convolution, network

EPSILON = 1e-5
MOMENTUM = 0.9


class ConvNorm(nn.Module):
    """Convolution, then a normalisation or, where there is none, a bias.

    Attributes:
        channels: of the output.
        stride: in both directions.
        norm: `batch`, `group` or `none`.
        form: form of the convolution.
        window: side of the kernel, odd; the borders are padded by half of it.
    """

    channels: int
    stride: int
    norm: str
    form: str
    window: int = 3

    @nn.compact
    def __call__(self, x, train: bool):
        """Return [N, H, W, channels]; `train` normalises by the batch."""
        pad = (self.window // 2, self.window // 2)
        x = nn.Conv(
            self.channels,
            (self.window, self.window),
            (self.stride, self.stride),
            padding=(pad, pad),
            use_bias=self.norm != "batch",
            kernel_init=nn.initializers.he_normal(),
            conv_general_dilated=convolution.as_flax(self.form),
            name="conv",
        )(x)
        if self.norm == "batch":
            x = nn.BatchNorm(
                use_running_average=not train, momentum=MOMENTUM, epsilon=EPSILON, name="norm"
            )(x)
        if self.norm == "group":
            x = nn.GroupNorm(num_groups=min(8, self.channels), epsilon=EPSILON, name="norm")(x)
        return x


def _shortcut(x, channels: int, stride: int):
    """Option A of the paper: subsample, and pad the new channels with zeros on both sides."""
    x = x[:, ::stride, ::stride]
    missing = channels - x.shape[-1]
    return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (missing // 2, missing - missing // 2)))


class ResNet(nn.Module):
    """A stem, three stages of residual blocks with 16, 32, 64 channels times `width`, an output.

    Attributes:
        blocks: residual blocks per stage; depth = 6 blocks + 2.
        width: multiplier of the channels.
        num_classes: number of outputs.
        norm: `batch`, `group` or `none`.
        form: form of the convolution.
    """

    blocks: int
    width: float
    num_classes: int
    norm: str
    form: str

    @nn.compact
    def __call__(self, images, train: bool = False, dropout_rate=None):
        """Return logits [N, num_classes]; taps `stem`, `stageSblockB` and `features`."""
        channels = [max(1, round(c * self.width)) for c in (16, 32, 64)]
        x = nn.relu(ConvNorm(channels[0], 1, self.norm, self.form, name="stem_1")(images, train))
        self.sow("taps", "stem", x)
        for s, width in enumerate(channels, start=1):
            for b in range(1, self.blocks + 1):
                stride = 2 if s > 1 and b == 1 else 1
                name = f"stage{s}block{b}"
                y = ConvNorm(width, stride, self.norm, self.form, name=f"{name}_1")(x, train)
                y = ConvNorm(width, 1, self.norm, self.form, name=f"{name}_2")(nn.relu(y), train)
                x = nn.relu(y + _shortcut(x, width, stride))
                self.sow("taps", name, x)
        x = jnp.mean(x, axis=(1, 2))
        self.sow("taps", network.FEATURES, x)
        if train and dropout_rate is not None:
            x = network.dropout(x, dropout_rate, self.make_rng("dropout"))
        return nn.Dense(self.num_classes, name="output")(x)


def fold_batch_norm(parameters, statistics):
    r"""Fold batch normalisation into the convolution before it.

    With scale g, offset b, running mean m and variance v: kernel -> kernel g / sqrt(v + eps) and
    bias = b - m g / sqrt(v + eps). Exact in evaluation mode.
    """
    folded = {}
    for name, layer in parameters.items():
        if not (isinstance(layer, dict) and "norm" in layer and name in statistics):
            folded[name] = layer
            continue
        running = statistics[name]["norm"]
        gain = layer["norm"]["scale"] / jnp.sqrt(running["var"] + EPSILON)
        folded[name] = {
            "conv": {
                "kernel": layer["conv"]["kernel"] * gain[None, None, None, :],
                "bias": layer["norm"]["bias"] - running["mean"] * gain,
            }
        }
    return folded


def resnet(
    *,
    image_shape,
    num_classes: int,
    depth: int = 20,
    width: float = 1.0,
    norm: str = "batch",
    form: str | None = None,
) -> network.Network:
    """Return a CIFAR-style ResNet with option A shortcuts.

    Args:
        image_shape: (height, width, channels).
        num_classes: number of outputs.
        depth: 6n + 2.
        width: multiplier of the channels 16, 32, 64.
        norm: `batch` (running statistics are folded in before measuring), `group` or `none`.
        form: of the convolution, one of `convolution.FORMS`; None chooses for the backend.

    Example:
        >>> resnet(image_shape=(32, 32, 3), num_classes=10, depth=8).name
        'resnet(depth=8, width=1.0, norm=batch)'
    """
    form = form or convolution.for_backend()
    blocks = (depth - 2) // 6
    training = ResNet(blocks, width, num_classes, norm, form)
    measuring = ResNet(blocks, width, num_classes, "none" if norm == "batch" else norm, form)
    return network.from_modules(
        training,
        measuring,
        family="resnet",
        options={"depth": depth, "width": width, "norm": norm},
        image_shape=image_shape,
        num_classes=num_classes,
        fold=fold_batch_norm if norm == "batch" else lambda parameters, statistics: parameters,
    )
