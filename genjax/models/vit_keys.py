"""Tables of keys of public vision transformers: Hugging Face, vision_transformer, big_vision."""

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from genjax.models.weight_files import Shape
from genjax.models.weight_rules import DENSE, SAME, Layout, Rule, layer, layer_norm

# Attention: [heads width, inputs] and [heads width] in PyTorch; [inputs, heads, width] in Flax.
_INTO_HEADS = Layout(lambda s: (s[1] * s[2], s[0]), lambda array, s: array.T.reshape(s))
_HEADS_BIAS = Layout(lambda s: (s[0] * s[1],), lambda array, s: array.reshape(s))
_OUT_OF_HEADS = Layout(lambda s: (s[2], s[0] * s[1]), lambda array, s: array.T.reshape(s))


def patches_oihw(patch: int, channels: int) -> Layout:
    """Return the layout of a PyTorch convolution with stride `patch`, here a dense layer."""
    return Layout(
        lambda shape: (shape[1], channels, patch, patch),
        lambda array, shape: array.transpose(2, 3, 1, 0).reshape(shape),
    )


def patches_hwio(patch: int, channels: int) -> Layout:
    """Return the layout of a Flax convolution with stride `patch`, here a dense layer."""
    return Layout(
        lambda shape: (patch, patch, channels, shape[1]),
        lambda array, shape: array.reshape(shape),
    )


def stacked(index: int, depth: int) -> Layout:
    """Return the layout of block `index` of an array that holds all `depth` blocks."""
    return Layout(lambda shape: (depth, *shape), lambda array, shape: array[index])


def bicubic_weights(old: int, new: int) -> np.ndarray:
    """Return the matrix [new, old] that resizes one axis as PyTorch's `bicubic` does.

    Keys' kernel with a = -0.75 around the centres of pixels (`align_corners=False`), the border
    repeated; no antialiasing. `jax.image.resize` has a = -0.5 and weighs the border otherwise.

    Example:
        >>> bicubic_weights(2, 4).sum(axis=1)
        array([1., 1., 1., 1.])
    """
    a = -0.75
    centres = (np.arange(new) + 0.5) * old / new - 0.5
    first = np.floor(centres).astype(int) - 1
    weights = np.zeros((new, old))
    for step in range(4):
        distance = np.abs(centres - (first + step))
        near = (a + 2) * distance**3 - (a + 3) * distance**2 + 1
        far = a * (distance**3 - 5 * distance**2 + 8 * distance - 4)
        source = np.clip(first + step, 0, old - 1)
        np.add.at(weights, (np.arange(new), source), np.where(distance <= 1, near, far))
    return weights


def positions(stored: Shape, tokens: int, grid: tuple[int, int], empty_rows: int = 0) -> Layout:
    """Return the layout of position embeddings.

    Args:
        stored: shape in the file, [1, tokens + side^2, width].
        tokens: rows of the class token and its like, which come first and are not resized.
        grid: (height, width) of the patches that the network sees; another grid than that of the
            file is reached by bicubic interpolation.
        empty_rows: rows of zeros put in front, for tokens that have no position in the file.
    """

    def convert(array: np.ndarray, shape: Shape) -> np.ndarray:
        side = math.isqrt(array.shape[1] - tokens)
        rows = array[0, :tokens], array[0, tokens:]
        if grid != (side, side):
            vertical, horizontal = (bicubic_weights(side, n) for n in grid)
            old = rows[1].reshape(side, side, -1)
            new = np.einsum("yh,xw,hwc->yxc", vertical, horizontal, old)
            rows = rows[0], new.reshape(grid[0] * grid[1], -1).astype(np.float32)
        front = np.zeros((empty_rows, array.shape[2]), np.float32)
        return np.concatenate([front, *rows])[None]

    # The rows are those of the file, the width that of the network.
    return Layout(lambda shape: (1, stored[1], shape[2]), convert)


_HUB = {
    "layers": "encoder.layer",
    "query": "attention.attention.query",
    "key": "attention.attention.key",
    "value": "attention.attention.value",
    "out": "attention.output.dense",
    "dense1": "intermediate.dense",
    "dense2": "output.dense",
}
"""Names in published files."""

_STATE_DICT = {
    "layers": "layers",
    "query": "attention.q_proj",
    "key": "attention.k_proj",
    "value": "attention.v_proj",
    "out": "attention.o_proj",
    "dense1": "mlp.fc1",
    "dense2": "mlp.fc2",
}
"""Names in memory since transformers 5, for weights saved without `save_pretrained`."""

NAMINGS = (_HUB, _STATE_DICT)


def hugging_face(
    base: str,
    names: Mapping[str, str],
    *,
    depth: int,
    patches: Layout,
    position: Layout,
    outputs: Mapping[str, str],
    distilled: bool,
) -> Iterator[Rule]:
    """Yield the rules of `ViTForImageClassification` and its DeiT siblings.

    Args:
        base: "vit" or "deit".
        names: one of `NAMINGS`.
        depth: number of blocks.
        patches: layout of the patch embedding.
        position: layout of the position embeddings.
        outputs: name of each output layer in the file -> in the tree.
        distilled: whether there is a distillation token.
    """
    embeddings = f"{base}.embeddings"
    yield from layer(f"{embeddings}.patch_embeddings.projection", "patches", patches)
    yield Rule(f"{embeddings}.cls_token", "class_token")
    if distilled:
        yield Rule(f"{embeddings}.distillation_token", "distillation_token")
    yield Rule(f"{embeddings}.position_embeddings", "position", position)
    for i in range(depth):
        key, path = f"{base}.{names['layers']}.{i}", f"encoder{i + 1}"
        yield from layer_norm(f"{key}.layernorm_before", f"{path}/norm1")
        for part in ("query", "key", "value"):
            place = f"{path}/attention/{part}"
            yield Rule(f"{key}.{names[part]}.weight", f"{place}/kernel", _INTO_HEADS)
            yield Rule(f"{key}.{names[part]}.bias", f"{place}/bias", _HEADS_BIAS)
        yield from layer(f"{key}.{names['out']}", f"{path}/attention/out", _OUT_OF_HEADS)
        yield from layer_norm(f"{key}.layernorm_after", f"{path}/norm2")
        for part in ("dense1", "dense2"):
            yield from layer(f"{key}.{names[part]}", f"{path}/{part}", DENSE)
    yield from layer_norm(f"{base}.layernorm", "norm")
    for key, path in outputs.items():
        yield from layer(key, path, DENSE)


NUMBERED = (("LayerNorm_0", "MultiHeadDotProductAttention_1", "LayerNorm_2", "MlpBlock_3"),)
LINEN = (("LayerNorm_0", "MultiHeadDotProductAttention_0", "LayerNorm_1", "MlpBlock_0"),)
BLOCKS = NUMBERED + LINEN
"""Names of the parts of a block before Linen (vision_transformer) and since (big_vision)."""


def flax(
    prefix: str,
    parts: Sequence[str],
    *,
    depth: int,
    patches: Layout,
    position: tuple[str, Layout] | None,
    class_token: bool,
    representation: bool,
    all_blocks_in_one: bool,
) -> Iterator[Rule]:
    """Yield the rules of the `.npz` files of vision_transformer and big_vision.

    Args:
        prefix: of every key, e.g. "params/".
        parts: one of `BLOCKS`.
        depth: number of blocks.
        patches: layout of the patch embedding.
        position: key and layout of the position embeddings; None where they are not learned.
        class_token: whether there is one.
        representation: whether there is a layer before the output.
        all_blocks_in_one: whether one array holds a weight of all blocks.
    """

    def same(key: str, path: str, *leaves: str, layout: Layout = SAME) -> Iterator[Rule]:
        for leaf in leaves:
            yield Rule(f"{prefix}{key}/{leaf}", f"{path}/{leaf}", layout)

    yield Rule(f"{prefix}embedding/kernel", "patches/kernel", patches)
    yield Rule(f"{prefix}embedding/bias", "patches/bias")
    if class_token:
        yield Rule(f"{prefix}cls", "class_token")
    if position is not None:
        yield Rule(position[0], "position", position[1])
    norm1, attention, norm2, perceptron = parts
    for i in range(depth):
        key = "Transformer/encoderblock" + ("" if all_blocks_in_one else f"_{i}")
        path, how = f"encoder{i + 1}", stacked(i, depth) if all_blocks_in_one else SAME
        yield from same(f"{key}/{norm1}", f"{path}/norm1", "scale", "bias", layout=how)
        for part in ("query", "key", "value", "out"):
            place = f"{path}/attention/{part}"
            yield from same(f"{key}/{attention}/{part}", place, "kernel", "bias", layout=how)
        yield from same(f"{key}/{norm2}", f"{path}/norm2", "scale", "bias", layout=how)
        for n in (0, 1):
            place = f"{path}/dense{n + 1}"
            yield from same(f"{key}/{perceptron}/Dense_{n}", place, "kernel", "bias", layout=how)
    yield from same("Transformer/encoder_norm", "norm", "scale", "bias")
    if representation:
        yield from same("pre_logits", "representation", "kernel", "bias")
    yield from same("head", "output", "kernel", "bias")
