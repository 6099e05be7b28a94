"""Public vision transformers: ViT and DeiT as Hugging Face and Google publish them.

Sizes are read off the file. Hugging Face networks have exact GELU and epsilon 1e-12 in their layer
norms, those of vision_transformer and big_vision the tanh approximation and 1e-6: each is loaded as
it was trained.
"""

import functools
import math
from typing import NamedTuple

from genjax import errors
from genjax.models import network, vit_keys
from genjax.models.foreign import Preprocessing
from genjax.models.key_maps import IMAGENET, renamed
from genjax.models.vit import Vit
from genjax.models.weight_files import Shape
from genjax.models.weight_rules import ImageShape, KeyMap, Layout, Plan, Request

_PREFIXES = ("", "params/", "opt/target/")
_SIDE = 224
_DEIT = IMAGENET._replace(resize=256, crop=224, method="bicubic")
_POSITIONS = ("stored", "bicubic")
_UNUSUAL_HEADS = {1280: 16, 1408: 16, 1664: 16, 1792: 16}
"""Heads by width where they are not 64 wide: ViT-H, g, G and e."""


class _Size(NamedTuple):
    """What the file says of a network.

    Attributes:
        patch: side of a patch.
        channels: of the images.
        width: of the tokens.
        depth: number of blocks.
        hidden: width of the perceptrons.
        heads: attention heads.
    """

    patch: int
    channels: int
    width: int
    depth: int
    hidden: int
    heads: int


def vit(request: Request, *, heads: int | None = None, positions: str = "stored") -> Plan:
    """Vision transformers (Dosovitskiy et al., 2021).

    Hugging Face's `ViTForImageClassification` in safetensors, or the `.npz` of vision_transformer
    and big_vision, with class token or mean over the tokens. Images are resized to the whole,
    bilinear, and pixels put in [-1, 1], as by Hugging Face's processor and vision_transformer.

    Args:
        request: the file and what was asked for.
        heads: attention heads, which a safetensors file does not tell; None for 64 numbers per
            head (ViT-H: 80).
        positions: "stored" refuses images of another size than the position embeddings are for;
            "bicubic" interpolates them.
    """
    prefix = next((p for p in _PREFIXES if f"{p}embedding/kernel" in request.shapes), None)
    if prefix is not None:
        return _flax(request, prefix, "vit", heads, positions)
    if "deit.embeddings.cls_token" in request.shapes:
        raise errors.InvalidInputError(
            "model: found vit, but the file is a DeiT, whose images are normalised otherwise; "
            "ask for deit."
        )
    return _hugging_face(request, "vit", "vit", heads, positions)


def deit(request: Request, *, heads: int | None = None, positions: str = "stored") -> Plan:
    """Data-efficient image transformers (Touvron et al., 2021), with or without distillation.

    Hugging Face's `DeiTForImageClassification`, `DeiTForImageClassificationWithTeacher` (the logits
    are the mean of both outputs, `features` both tokens side by side) and, under the naming of ViT,
    the networks that were not distilled; or big_vision's DeiT III as `.npz`.

    Images are preprocessed as the authors evaluate: shorter side to 256, bicubic, centre of 224 (of
    another size in proportion). Hugging Face's processor squeezes images to 256 by 256 instead,
    which is the same for square ones: pass a preprocessing with `resize=(256, 256)` for it. Files
    of big_vision have images resized to the whole and not cropped.

    Args:
        request: the file and what was asked for.
        heads: as for ViT.
        positions: as for ViT.
    """
    prefix = next((p for p in _PREFIXES if f"{p}embedding/kernel" in request.shapes), None)
    if prefix is not None:
        return _flax(request, prefix, "deit", heads, positions)
    base = "vit" if "vit.embeddings.cls_token" in request.shapes else "deit"
    return _hugging_face(request, base, "deit", heads, positions)


def _shape(request: Request, default: Shape, *keys: str) -> Shape:
    """Return the shape of the first of `keys` that the file has with the rank of `default`."""
    found = (request.shapes[key] for key in keys if key in request.shapes)
    return next((shape for shape in found if len(shape) == len(default)), default)


def _heads(family: str, asked: int | None, stored: int | None, width: int) -> int:
    """Return the number of heads from what was asked for, the file or the width."""
    if asked is not None and stored is not None and asked != stored:
        raise errors.InvalidInputError(
            f"model option {family}.heads: found {asked}; the file has {stored}."
        )
    heads = asked or stored or _UNUSUAL_HEADS.get(width) or (0 if width % 64 else width // 64)
    if heads < 1 or width % heads:
        raise errors.InvalidInputError(
            f"model option {family}.heads: found {asked}; the file does not say how many there "
            f"are, give a divisor of the width {width}, e.g. {family}:heads=4."
        )
    return heads


def _side(rows: int, tokens: int) -> int:
    side = math.isqrt(max(rows - tokens, 0))
    if side < 1 or side * side + tokens != rows:
        raise errors.InvalidInputError(
            f"weights: the file has {rows} position embeddings; allowed is a square number of "
            f"patches and {tokens} for other tokens."
        )
    return side


def _images(
    request: Request,
    family: str,
    size: _Size,
    side: int | None,
    how: str,
    start: Preprocessing,
) -> tuple[ImageShape, Preprocessing, ImageShape, tuple[int, int]]:
    """Return image shape, preprocessing, what the network sees, and the grid of its patches.

    Args:
        request: what was asked for.
        family: for the sentences.
        size: of the network.
        side: of the grid of stored positions; None where positions are computed.
        how: the option `positions`.
        start: preprocessing where none was asked for, but for the size; with a crop, images are
            resized to 256/224 of it first.
    """
    if how not in _POSITIONS:
        raise errors.InvalidInputError(
            errors.suggest(f"model option {family}.positions", how, _POSITIONS)
        )
    native = _SIDE if side is None else side * size.patch
    before = native
    wanted = start._replace(resize=(native, native))
    if start.crop is not None:
        before = native * 256 // 224
        wanted = start._replace(resize=before, crop=native)
    shape, preprocessing, seen = request.images((before, before, size.channels), wanted)
    grid = (seen[0] // size.patch, seen[1] // size.patch)
    if seen[0] % size.patch or seen[1] % size.patch:
        raise errors.InvalidInputError(
            f"image_shape: the network sees {seen[:2]} pixels after preprocessing; allowed are "
            f"multiples of its patches of {size.patch}."
        )
    if side is not None and grid != (side, side) and how == "stored":
        raise errors.InvalidInputError(
            f"image_shape: the network sees {seen[:2]} pixels after preprocessing, its position "
            f"embeddings are for {(native, native)}; resize the images, or ask for "
            f"{family}:positions=bicubic."
        )
    return shape, preprocessing, seen, grid


def _centred(channels: int) -> Preprocessing:
    """Pixels in [-1, 1]."""
    return Preprocessing((0.5,) * channels, (0.5,) * channels)


def _named(module: Vit, family: str, seen: ImageShape, size: _Size) -> network.Network:
    made = network.from_modules(
        module,
        module,
        family=family,
        options={},
        image_shape=seen,
        num_classes=module.num_classes,
    )
    return renamed(
        made, family, patch=size.patch, width=size.width, depth=size.depth, heads=size.heads
    )


def _hub_size(request: Request, base: str, family: str, heads: int | None) -> _Size:
    projection = f"{base}.embeddings.patch_embeddings.projection.weight"
    width, channels, patch, _ = _shape(request, (768, 3, 16, 16), projection)
    dense = (f"{base}.encoder.layer.0.intermediate.dense.bias", f"{base}.layers.0.mlp.fc1.bias")
    depth = request.count(rf"{base}\.(?:encoder\.layer|layers)\.(\d+)\.") or 12
    hidden = _shape(request, (4 * width,), *dense)[0]
    return _Size(patch, channels, width, depth, hidden, _heads(family, heads, None, width))


def _hugging_face(
    request: Request, base: str, family: str, heads: int | None, positions: str
) -> Plan:
    size = _hub_size(request, base, family, heads)
    distilled = f"{base}.embeddings.distillation_token" in request.shapes
    outputs = {"classifier": "output"}
    if distilled and "cls_classifier.weight" in request.shapes:
        outputs = {"cls_classifier": "output", "distillation_classifier": "distillation_output"}
    tokens = 1 + distilled
    default = (1, (_SIDE // size.patch) ** 2 + tokens, size.width)
    stored = _shape(request, default, f"{base}.embeddings.position_embeddings")
    start = _centred(size.channels) if family == "vit" else _DEIT
    side = _side(stored[1], tokens)
    shape, preprocessing, seen, grid = _images(request, family, size, side, positions, start)
    module = Vit(
        *(size.patch, size.width, size.depth, size.heads, size.hidden),
        request.classes(*(f"{key}.bias" for key in outputs)),
        epsilon=1e-12,
        fast_variance=False,
        distillation="output" if len(outputs) == 2 else "token" if distilled else "none",
    )
    rules = functools.partial(
        vit_keys.hugging_face,
        base,
        depth=size.depth,
        patches=vit_keys.patches_oihw(size.patch, size.channels),
        position=vit_keys.positions(stored, tokens, grid),
        outputs=outputs,
        distilled=distilled,
    )
    # Neither the pooler nor the token of masked training takes part in the logits.
    harmless = (rf"{base}\.pooler\..*", rf"{base}\.embeddings\.mask_token")
    key_maps = tuple(KeyMap(tuple(rules(names)), harmless) for names in vit_keys.NAMINGS)
    return Plan(_named(module, family, seen, size), key_maps, shape, preprocessing)


def _flax_size(request: Request, prefix: str, family: str, heads: int | None) -> _Size:
    patch, _, channels, width = _shape(request, (16, 16, 3, 768), f"{prefix}embedding/kernel")
    block = f"{prefix}Transformer/encoderblock"
    query = [f"{parts[1]}/query/bias" for parts in vit_keys.BLOCKS]
    dense = [f"{parts[3]}/Dense_0/bias" for parts in vit_keys.BLOCKS]
    alone = request.count(rf"{block}_(\d+)/")
    if alone or f"{block}/LayerNorm_0/scale" not in request.shapes:
        depth = alone or 12
        stored = _shape(request, (0, 0), *(f"{block}_0/{key}" for key in query))[0]
        hidden = _shape(request, (4 * width,), *(f"{block}_0/{key}" for key in dense))[0]
    else:
        depth = request.shapes[f"{block}/LayerNorm_0/scale"][0]
        stored = _shape(request, (0, 0, 0), *(f"{block}/{key}" for key in query))[1]
        hidden = _shape(request, (0, 4 * width), *(f"{block}/{key}" for key in dense))[1]
    heads = _heads(family, heads, stored or None, width)
    return _Size(patch, channels, width, depth, hidden, heads)


def _flax_positions(request: Request, prefix: str) -> tuple[str, Shape] | None:
    """Return key and shape of the learned position embeddings, None where there are none."""
    places = ("Transformer/posembed_input/pos_embedding", "pos_embedding")
    keys = (f"{prefix}{place}" for place in (*places, "Transformer/pos_embedding"))
    return next(((key, request.shapes[key]) for key in keys if key in request.shapes), None)


def _flax(request: Request, prefix: str, family: str, heads: int | None, positions: str) -> Plan:
    size = _flax_size(request, prefix, family, heads)
    class_token = f"{prefix}cls" in request.shapes
    learned = _flax_positions(request, prefix)
    rows = learned[1][1] if learned else 0
    # big_vision adds positions before the class token, vision_transformer after it.
    tokens = int(class_token and math.isqrt(rows) ** 2 != rows)
    side = _side(rows, tokens) if learned else None
    shape, preprocessing, seen, grid = _images(
        request, family, size, side, positions, _centred(size.channels)
    )
    representation = request.shapes.get(f"{prefix}pre_logits/bias")
    module = Vit(
        *(size.patch, size.width, size.depth, size.heads, size.hidden),
        request.classes(f"{prefix}head/bias"),
        fast_variance=False,
        tanh_gelu=True,
        class_token=class_token,
        learned_positions=learned is not None,
        representation=representation[0] if representation else None,
    )
    position: tuple[str, Layout] | None = None
    if learned:
        layout = vit_keys.positions(learned[1], tokens, grid, int(class_token) - tokens)
        position = (learned[0], layout)
    rules = functools.partial(
        vit_keys.flax,
        prefix,
        depth=size.depth,
        patches=vit_keys.patches_hwio(size.patch, size.channels),
        position=position,
        class_token=class_token,
        representation=representation is not None,
        all_blocks_in_one=f"{prefix}Transformer/encoderblock/LayerNorm_0/scale" in request.shapes,
    )
    # Beside the parameters: the state of the optimiser.
    harmless = (rf"(?!{prefix}).*",) if prefix else ()
    key_maps = tuple(KeyMap(tuple(rules(parts)), harmless) for parts in vit_keys.BLOCKS)
    return Plan(_named(module, family, seen, size), key_maps, shape, preprocessing)
