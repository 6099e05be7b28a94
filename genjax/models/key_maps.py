"""Weight files of convolutional networks: one table per architecture."""

from genjax import errors
from genjax.models import network, resnet
from genjax.models.foreign import Preprocessing
from genjax.models.weight_rules import (
    CONVOLUTION,
    DENSE,
    KeyMap,
    Plan,
    Request,
    Rule,
    batch_norm,
    layer,
)

IMAGENET = Preprocessing((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation of ImageNet's channels, which CIFAR networks often use too."""

IMAGENET_224 = IMAGENET._replace(resize=(224, 224))


def renamed(made: network.Network, family: str, **options) -> network.Network:
    """Return `made` under the family and the options that the user knows it by."""
    written = ", ".join(f"{key}={value}" for key, value in options.items())
    return made._replace(name=f"{family}({written})", family=family, options=options)


def _convolution_and_norm(convolution: str, norm: str, path: str) -> tuple[Rule, ...]:
    return (
        Rule(f"{convolution}.weight", f"{path}/conv/kernel", CONVOLUTION),
        *batch_norm(norm, f"{path}/norm"),
    )


def resnet_cifar(request: Request, *, depth: int | None = None) -> Plan:
    """CIFAR ResNets of He et al. (2016), option A shortcuts, in the usual PyTorch naming.

    Args:
        request: the file and what was asked for.
        depth: 6n + 2; None reads it off the file.
    """
    blocks = request.count(r"layer1\.(\d+)\.") or 3
    depth = 6 * blocks + 2 if depth is None else depth
    if depth < 8 or (depth - 2) % 6:
        raise errors.InvalidInputError(
            f"model option resnet_cifar.depth: found {depth}; it must be 6n + 2 (20, 32, 44, ...)."
        )
    shape, preprocessing, seen = request.images((32, 32, 3), IMAGENET)
    classes = request.classes("linear.bias", "fc.bias", default=10)
    made = resnet.resnet(image_shape=seen, num_classes=classes, depth=depth)
    body = list(_convolution_and_norm("conv1", "bn1", "stem_1"))
    for stage in (1, 2, 3):
        for block in range((depth - 2) // 6):
            key, path = f"layer{stage}.{block}", f"stage{stage}block{block + 1}"
            for i in (1, 2):
                body += _convolution_and_norm(f"{key}.conv{i}", f"{key}.bn{i}", f"{path}_{i}")
    key_maps = tuple(
        KeyMap((*body, *layer(output, "output", DENSE))) for output in ("linear", "fc")
    )
    return Plan(renamed(made, "resnet_cifar", depth=depth), key_maps, shape, preprocessing)
