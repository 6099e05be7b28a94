"""A tiny network as public weights come, and images for it."""

import numpy as np
from sklearn.datasets import load_digits


def weights(classes=10):
    """Random weights of a ResNet-8 in PyTorch's naming and layouts."""
    rng = np.random.default_rng(0)
    arrays = {"linear.weight": rng.normal(0, 0.3, (classes, 64)), "linear.bias": np.zeros(classes)}

    def add(convolution, norm, inputs, outputs):
        arrays[f"{convolution}.weight"] = rng.normal(
            0, (5 * inputs) ** -0.5, (outputs, inputs, 3, 3)
        )
        parts = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0}
        arrays.update({f"{norm}.{k}": np.full(outputs, v) for k, v in parts.items()})

    add("conv1", "bn1", 3, 16)
    for stage, (inputs, outputs) in enumerate([(16, 16), (16, 32), (32, 64)], start=1):
        add(f"layer{stage}.0.conv1", f"layer{stage}.0.bn1", inputs, outputs)
        add(f"layer{stage}.0.conv2", f"layer{stage}.0.bn2", outputs, outputs)
    return {key: np.ascontiguousarray(value, np.float32) for key, value in arrays.items()}


def digits(count, side=32, channels=3):
    """Scikit-learn's digits as uint8 colour images."""
    bunch = load_digits()
    images = (bunch.images[:count] * 15.9).astype(np.uint8).repeat(4, axis=1).repeat(4, axis=2)
    images = np.pad(images, ((0, 0), (0, max(side - 32, 0)), (0, max(side - 32, 0))))
    images = np.repeat(images[:, :side, :side, None], channels, axis=3)
    return {"images": images, "labels": bunch.target[:count]}
