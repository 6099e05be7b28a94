"""Weight files of convolutional networks: one table per architecture."""

import re

from genjax import errors
from genjax.models import convnext as convnexts
from genjax.models import convolution, network, residual, resnet
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
    layer_norm,
)

IMAGENET = Preprocessing((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation of ImageNet's channels, which CIFAR networks often use too."""

IMAGENET_224 = IMAGENET._replace(resize=256, crop=224)
"""Evaluation on ImageNet: the shorter side becomes 256, and the centre is kept."""

_PHOTO = (256, 256, 3)


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
    form = convolution.for_backend(measuring=True)
    made = resnet.resnet(image_shape=seen, num_classes=classes, depth=depth, form=form)
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


def _resnet_depth(request: Request) -> int:
    """Return the depth that has as many blocks per stage as the file; 50 where none has."""
    found = tuple(request.count(rf"layer{stage}\.(\d+)\.") for stage in (1, 2, 3, 4))
    bottleneck = "layer1.0.conv3.weight" in request.shapes
    fitting = (
        depth
        for depth, blocks in residual.BLOCKS.items()
        if blocks == found and (depth >= 50) == bottleneck
    )
    return next(fitting, 50)


def resnet_imagenet(request: Request, *, depth: int | None = None) -> Plan:
    """ResNet-18 to 152 in torchvision's naming.

    Images are preprocessed as by torchvision's `ImageClassification(crop_size=224)`, with which the
    weights `IMAGENET1K_V1` are evaluated: shorter side to 256, bilinear, centre of 224. For
    `IMAGENET1K_V2` pass a preprocessing with `resize=232`.

    Args:
        request: the file and what was asked for.
        depth: 18, 34, 50, 101 or 152; None reads it off the file.
    """
    depth = _resnet_depth(request) if depth is None else depth
    if depth not in residual.BLOCKS:
        allowed = ", ".join(map(str, residual.BLOCKS))
        raise errors.InvalidInputError(
            f"model option resnet_imagenet.depth: found {depth}; allowed are {allowed}."
        )
    shape, preprocessing, seen = request.images(_PHOTO, IMAGENET_224)
    classes = request.classes("fc.bias")
    made = residual.resnet_imagenet(image_shape=seen, num_classes=classes, depth=depth)
    rules = list(_convolution_and_norm("conv1", "bn1", "stem_1"))
    for stage, count in enumerate(residual.BLOCKS[depth], start=1):
        for block in range(count):
            key, path = f"layer{stage}.{block}", f"stage{stage}block{block + 1}"
            for i in (1, 2, 3) if depth >= 50 else (1, 2):
                rules += _convolution_and_norm(f"{key}.conv{i}", f"{key}.bn{i}", f"{path}_{i}")
            if block == 0 and (stage > 1 or depth >= 50):
                shortcut = f"{key}.downsample"
                rules += _convolution_and_norm(f"{shortcut}.0", f"{shortcut}.1", f"{path}_shortcut")
    rules += layer("fc", "output", DENSE)
    return Plan(made, (KeyMap(tuple(rules)),), shape, preprocessing)


def _convnext_shape(request: Request, size: str | None) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return blocks and channels per stage, of `size` or else of the file."""
    if size is not None:
        if size not in convnexts.SIZES:
            raise errors.InvalidInputError(
                errors.suggest("model option convnext.size", size, list(convnexts.SIZES))
            )
        return convnexts.SIZES[size]
    blocks, widths = [], []
    for stage in range(request.count(r"convnext\.encoder\.stages\.(\d+)\.")):
        key = f"convnext.encoder.stages.{stage}.layers"
        blocks.append(request.count(rf"{re.escape(key)}\.(\d+)\."))
        widths.append((request.shapes.get(f"{key}.0.dwconv.bias") or (0,))[0])
    return (tuple(blocks), tuple(widths)) if all(widths) and widths else convnexts.SIZES["tiny"]


def convnext(request: Request, *, size: str | None = None) -> Plan:
    """ConvNeXt in the naming of Hugging Face's `ConvNextForImageClassification`.

    Images are preprocessed as the authors evaluate networks for 224 pixels, and as Hugging Face's
    processor with `shortest_edge=224` and `crop_pct=0.875`: shorter side to 256, bicubic, centre of
    224. For 384 pixels and more pass a preprocessing with `resize=(384, 384), crop=None`.

    Args:
        request: the file and what was asked for.
        size: tiny, small, base, large or xlarge; None reads blocks and channels off the file.
    """
    blocks, widths = _convnext_shape(request, size)
    default = IMAGENET_224._replace(method="bicubic")
    shape, preprocessing, seen = request.images(_PHOTO, default)
    smallest = 4 * 2 ** (len(blocks) - 1)
    if min(seen[:2]) < smallest:
        raise errors.InvalidInputError(
            f"image_shape: found {seen[:2]} after resizing; convnext takes images of at least "
            f"{smallest} by {smallest}."
        )
    classes = request.classes("classifier.bias")
    made = convnexts.convnext(image_shape=seen, num_classes=classes, blocks=blocks, widths=widths)
    names = {value: key for key, value in convnexts.SIZES.items()}
    if (blocks, widths) in names:
        made = renamed(made, "convnext", size=names[blocks, widths])
    rules = [
        *layer("convnext.embeddings.patch_embeddings", "stem_1", CONVOLUTION),
        *layer_norm("convnext.embeddings.layernorm", "stem_norm"),
    ]
    for stage, count in enumerate(blocks):
        key = f"convnext.encoder.stages.{stage}"
        if stage:
            rules += layer_norm(f"{key}.downsampling_layer.0", f"reduce{stage + 1}_norm")
            rules += layer(f"{key}.downsampling_layer.1", f"reduce{stage + 1}", CONVOLUTION)
        for block in range(count):
            rules += _convnext_block(f"{key}.layers.{block}", f"stage{stage + 1}_{block + 1}")
    rules += layer_norm("convnext.layernorm", "norm") + layer("classifier", "output", DENSE)
    return Plan(made, (KeyMap(tuple(rules)),), shape, preprocessing)


def _convnext_block(key: str, path: str) -> tuple[Rule, ...]:
    return (
        *layer(f"{key}.dwconv", f"{path}/depthwise", CONVOLUTION),
        *layer_norm(f"{key}.layernorm", f"{path}/norm"),
        *layer(f"{key}.pwconv1", f"{path}/dense1", DENSE),
        *layer(f"{key}.pwconv2", f"{path}/dense2", DENSE),
        Rule(f"{key}.layer_scale_parameter", f"{path}/scale"),
    )
