"""Files of vision transformers with random weights, and the networks written out in NumPy."""

import numpy as np
from safetensors.numpy import save_file
from scipy import special

from genjax.models import vit_keys

PATCH, WIDTH, DEPTH, HEADS, HIDDEN, CLASSES = 4, 12, 3, 3, 20, 5
ATTENTION_PARTS = ("query", "key", "value")


# Files, with random values everywhere: a bias of zero would hide that it is not read.


def filled(shapes, seed=0):
    rng = np.random.default_rng(seed)
    return {key: rng.normal(0, 0.3, shape).astype(np.float32) for key, shape in shapes.items()}


def hub_shapes(base="vit", outputs=("classifier",), tokens=1, side=3):
    """Keys of a Hugging Face file."""
    shapes = {
        f"{base}.embeddings.cls_token": (1, 1, WIDTH),
        f"{base}.embeddings.patch_embeddings.projection.weight": (WIDTH, 3, PATCH, PATCH),
        f"{base}.embeddings.patch_embeddings.projection.bias": (WIDTH,),
        f"{base}.embeddings.position_embeddings": (1, tokens + side**2, WIDTH),
    }
    if tokens == 2:
        shapes[f"{base}.embeddings.distillation_token"] = (1, 1, WIDTH)
    linear = {f"{base}.layernorm": (WIDTH,)}
    for i in range(DEPTH):
        block = f"{base}.encoder.layer.{i}"
        linear |= {f"{block}.attention.attention.{k}": (WIDTH, WIDTH) for k in ATTENTION_PARTS}
        linear |= {
            f"{block}.attention.output.dense": (WIDTH, WIDTH),
            f"{block}.intermediate.dense": (HIDDEN, WIDTH),
            f"{block}.output.dense": (WIDTH, HIDDEN),
            f"{block}.layernorm_before": (WIDTH,),
            f"{block}.layernorm_after": (WIDTH,),
        }
    linear |= dict.fromkeys(outputs, (CLASSES, WIDTH))
    for key, shape in linear.items():
        shapes |= {f"{key}.weight": shape, f"{key}.bias": shape[:1]}
    return shapes


def in_memory(key):
    """The name that transformers 5 gives a published key."""
    changes = {
        "encoder.layer.": "layers.",
        "attention.attention.query": "attention.q_proj",
        "attention.attention.key": "attention.k_proj",
        "attention.attention.value": "attention.v_proj",
        "attention.output.dense": "attention.o_proj",
        "intermediate.dense": "mlp.fc1",
        "output.dense": "mlp.fc2",
    }
    for old, new in changes.items():
        key = key.replace(old, new)
    return key


def flax_shapes(parts, position, *, cls, rep=None, width=WIDTH):
    """Keys of an `.npz` of vision_transformer or big_vision; `position` is (key, rows) or None."""
    norm1, attention, norm2, perceptron = parts
    shapes = {
        "embedding/kernel": (PATCH, PATCH, 3, width),
        "embedding/bias": (width,),
        "Transformer/encoder_norm/scale": (width,),
        "Transformer/encoder_norm/bias": (width,),
        "head/kernel": (rep or width, CLASSES),
        "head/bias": (CLASSES,),
    }
    if cls:
        shapes["cls"] = (1, 1, width)
    if rep:
        shapes |= {"pre_logits/kernel": (width, rep), "pre_logits/bias": (rep,)}
    if position:
        shapes[position[0]] = (1, position[1], width)
    per_head = (HEADS, width // HEADS)
    for i in range(DEPTH):
        block = f"Transformer/encoderblock_{i}"
        for norm in (norm1, norm2):
            shapes |= {f"{block}/{norm}/{leaf}": (width,) for leaf in ("scale", "bias")}
        for part in ATTENTION_PARTS:
            shapes[f"{block}/{attention}/{part}/kernel"] = (width, *per_head)
            shapes[f"{block}/{attention}/{part}/bias"] = per_head
        shapes[f"{block}/{attention}/out/kernel"] = (*per_head, width)
        shapes[f"{block}/{attention}/out/bias"] = (width,)
        for n, (a, b) in enumerate([(width, HIDDEN), (HIDDEN, width)]):
            shapes[f"{block}/{perceptron}/Dense_{n}/kernel"] = (a, b)
            shapes[f"{block}/{perceptron}/Dense_{n}/bias"] = (b,)
    return shapes


OLD, NEW = vit_keys.BLOCKS
OLD_POSITION = ("Transformer/posembed_input/pos_embedding", 10)


# Oracles, in float64 and in the words of the papers.


def normalise(x, scale, offset, epsilon):
    variance = x.var(axis=-1, keepdims=True)
    return (x - x.mean(axis=-1, keepdims=True)) / np.sqrt(variance + epsilon) * scale + offset


def exact_gelu(x):
    return x * 0.5 * (1 + special.erf(x / np.sqrt(2)))


def tanh_gelu(x):
    return x * 0.5 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def attend(q, k, v):
    """q, k, v: [tokens, heads, width] -> [tokens, heads, width], one image, head by head."""
    out = np.zeros_like(v)
    for h in range(q.shape[1]):
        scores = q[:, h] @ k[:, h].T / np.sqrt(q.shape[2])
        out[:, h] = special.softmax(scores, axis=1) @ v[:, h]
    return out


def embedded(image, kernel):
    """Patches in rows; `kernel(patch [p, p, 3]) -> token`."""
    side = range(0, image.shape[0], PATCH)
    return np.stack([kernel(image[y : y + PATCH, x : x + PATCH]) for y in side for x in side])


def hub_forward(arrays, image, base="vit", tokens=1):
    """Hidden states [blocks + 1, tokens, width] and the normalised last one."""
    a = {key.removeprefix(f"{base}."): value.astype(np.float64) for key, value in arrays.items()}

    def linear(key, x):
        return x @ a[f"{key}.weight"].T + a[f"{key}.bias"]

    def norm(key, x):
        return normalise(x, a[f"{key}.weight"], a[f"{key}.bias"], 1e-12)

    name = "embeddings.patch_embeddings.projection"
    weight = a[f"{name}.weight"]
    patches = embedded(image, lambda p: np.einsum("yxc,ocyx->o", p, weight) + a[f"{name}.bias"])
    first = [a["embeddings.cls_token"][0]]
    if tokens == 2:
        first.append(a["embeddings.distillation_token"][0])
    x = np.concatenate([*first, patches]) + a["embeddings.position_embeddings"][0]
    states = [x]
    for i in range(DEPTH):
        block = f"encoder.layer.{i}"
        y = norm(f"{block}.layernorm_before", x)
        split = [linear(f"{block}.attention.attention.{k}", y) for k in ATTENTION_PARTS]
        y = attend(*[s.reshape(len(s), HEADS, -1) for s in split]).reshape(len(y), -1)
        x = x + linear(f"{block}.attention.output.dense", y)
        y = exact_gelu(linear(f"{block}.intermediate.dense", norm(f"{block}.layernorm_after", x)))
        x = x + linear(f"{block}.output.dense", y)
        states.append(x)
    return states, norm("layernorm", x)


def flax_forward(arrays, image, parts, position):
    """Hidden states, the vector that the head reads, and logits; any dialect of the `.npz`."""
    a = {key: value.astype(np.float64) for key, value in arrays.items()}
    norm1, attention, norm2, perceptron = parts

    def dense(key, x, over=1):
        kernel, bias = a[f"{key}/kernel"], a[f"{key}/bias"]
        return np.tensordot(x, kernel, over) + bias

    def norm(key, x):
        return normalise(x, a[f"{key}/scale"], a[f"{key}/bias"], 1e-6)

    patches = embedded(
        image, lambda p: np.einsum("yxc,yxco->o", p, a["embedding/kernel"]) + a["embedding/bias"]
    )
    x = patches
    if position is None:
        x = x + written_out_sines(3, x.shape[1])
    elif position[1] == len(patches):
        x = x + a[position[0]][0]
    if "cls" in a:
        x = np.concatenate([a["cls"][0], x])
    if position is not None and position[1] == len(patches) + 1:
        x = x + a[position[0]][0]
    states = [x]
    for i in range(DEPTH):
        block = f"Transformer/encoderblock_{i}"
        y = norm(f"{block}/{norm1}", x)
        y = attend(*[dense(f"{block}/{attention}/{k}", y) for k in ATTENTION_PARTS])
        x = x + dense(f"{block}/{attention}/out", y, 2)
        y = tanh_gelu(dense(f"{block}/{perceptron}/Dense_0", norm(f"{block}/{norm2}", x)))
        x = x + dense(f"{block}/{perceptron}/Dense_1", y)
        states.append(x)
    x = norm("Transformer/encoder_norm", x)
    x = x[0] if "cls" in a else x.mean(axis=0)
    if "pre_logits/kernel" in a:
        x = np.tanh(dense("pre_logits", x))
    return states, x, dense("head", x)


def written_out_sines(side, width):
    """Position embeddings of Chen, Xie and He (2021), number by number."""
    count = width // 4
    rows = []
    for y in range(side):
        for x in range(side):
            angles = [10_000 ** -(k / (count - 1)) for k in range(count)]
            rows.append(
                [np.sin(x * w) for w in angles]
                + [np.cos(x * w) for w in angles]
                + [np.sin(y * w) for w in angles]
                + [np.cos(y * w) for w in angles]
            )
    return np.array(rows)


def save(arrays, path):
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    else:
        save_file({key: np.ascontiguousarray(array) for key, array in arrays.items()}, path)
    return path
