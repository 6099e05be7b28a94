"""Fully connected networks."""

from collections.abc import Sequence

import flax.linen as nn

from genjax.models import network


class Mlp(nn.Module):
    """Flatten, then Dense + ReLU for each width, then the output layer.

    Attributes:
        widths: units of each hidden layer.
        num_classes: number of outputs.
    """

    widths: Sequence[int]
    num_classes: int

    @nn.compact
    def __call__(self, images, train: bool = False, dropout_rate=None):
        """Return logits [N, num_classes]; taps `block1` ... and `features`."""
        x = images.reshape(images.shape[0], -1)
        for i, width in enumerate(self.widths, start=1):
            x = nn.relu(nn.Dense(width, name=f"dense{i}")(x))
            self.sow("taps", f"block{i}", x)
            if train and dropout_rate is not None:
                x = network.dropout(x, dropout_rate, self.make_rng("dropout"))
        self.sow("taps", network.FEATURES, x)
        return nn.Dense(self.num_classes, name="output")(x)


def mlp(*, image_shape, num_classes: int, widths: Sequence[int] = (128, 128)) -> network.Network:
    """Return a fully connected ReLU network.

    Args:
        image_shape: (height, width, channels).
        num_classes: number of outputs.
        widths: units of each hidden layer.

    Example:
        >>> mlp(image_shape=(8, 8, 1), num_classes=10, widths=(32,)).name
        'mlp(widths=(32,))'
    """
    module = Mlp(tuple(widths), num_classes)
    return network.from_modules(
        module,
        module,
        family="mlp",
        options={"widths": tuple(widths)},
        image_shape=image_shape,
        num_classes=num_classes,
    )
