"""Vision transformers from files: equal to NumPy on the file's own arrays, or refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from vit_oracles import (
    CLASSES,
    DEPTH,
    HEADS,
    NEW,
    OLD,
    OLD_POSITION,
    WIDTH,
    filled,
    flax_forward,
    flax_shapes,
    hub_forward,
    hub_shapes,
    in_memory,
    save,
)

from genjax import errors, models
from genjax.models import vit_keys

RNG = np.random.default_rng(0)
IMAGES = RNG.uniform(0, 1, (3, 12, 12, 3)).astype(np.float32)  # a grid of 3 x 3 patches


def check_against(foreign, states, features, logits, images=IMAGES):
    """Every tap and the logits, eagerly, and under jit and vmap."""
    taps = foreign.network.taps(foreign.params, images)
    assert list(taps) == ["embedding", *(f"block{i + 1}" for i in range(DEPTH)), "features"]
    for tap, wanted in zip(taps.values(), [*np.stack(states, 1), features], strict=True):
        np.testing.assert_allclose(tap, wanted, atol=1e-4, rtol=1e-4)
    found = foreign.network.apply(foreign.params, images)
    np.testing.assert_allclose(found, logits, atol=1e-4, rtol=1e-4)
    two = jax.tree.map(lambda leaf: jnp.stack([leaf, 0.5 * leaf]), foreign.params)
    both = jax.jit(jax.vmap(foreign.network.apply, (0, None)))(two, images)
    half = foreign.network.apply(jax.tree.map(lambda leaf: 0.5 * leaf, foreign.params), images)
    np.testing.assert_allclose(both, np.stack([found, half]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("rename", [str, in_memory])
def test_hugging_face_vit_is_that_of_its_file(rename, tmp_path):
    arrays = filled(hub_shapes())
    path = save({rename(k): v for k, v in arrays.items()}, tmp_path / "vit.safetensors")
    foreign = models.load_weights(path, f"vit:heads={HEADS}")
    states, last = zip(*[hub_forward(arrays, (image - 0.5) / 0.5) for image in IMAGES], strict=True)
    features = np.stack(last)[:, 0]
    logits = features @ arrays["classifier.weight"].T + arrays["classifier.bias"]
    check_against(foreign, states, features, logits)
    assert foreign.network.name == "vit(patch=4, width=12, depth=3, heads=3)"
    assert foreign.preprocessing == models.Preprocessing((0.5,) * 3, (0.5,) * 3, (12, 12))


MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


# Without the crop that is the default.
CROPPED = {
    "image_shape": (12, 12, 3),
    "preprocessing": models.Preprocessing(tuple(MEAN), tuple(STD)),
}


def test_deit_without_distillation_has_the_naming_of_vit(tmp_path):
    arrays = filled(hub_shapes())
    path = save(arrays, tmp_path / "deit.safetensors")
    foreign = models.load_weights(path, f"deit:heads={HEADS}", **CROPPED)
    states, last = zip(*[hub_forward(arrays, (i - MEAN) / STD) for i in IMAGES], strict=True)
    features = np.stack(last)[:, 0]
    logits = features @ arrays["classifier.weight"].T + arrays["classifier.bias"]
    check_against(foreign, states, features, logits)
    assert foreign.network.family == "deit"


@pytest.mark.parametrize("teacher", [False, True])
def test_deit_with_a_distillation_token(teacher, tmp_path):
    outputs = ("cls_classifier", "distillation_classifier") if teacher else ("classifier",)
    arrays = filled(hub_shapes("deit", outputs, tokens=2))
    path = save(arrays, tmp_path / "deit.safetensors")
    foreign = models.load_weights(path, f"deit:heads={HEADS}", **CROPPED)
    run = [hub_forward(arrays, (image - MEAN) / STD, "deit", tokens=2) for image in IMAGES]
    states, last = zip(*run, strict=True)
    read = np.stack(last)[:, : len(outputs)]
    logits = np.mean(
        [
            read[:, i] @ arrays[f"{key}.weight"].T + arrays[f"{key}.bias"]
            for i, key in enumerate(outputs)
        ],
        axis=0,
    )
    check_against(foreign, states, read.reshape(len(IMAGES), -1), logits)


DIALECTS = {
    "vision_transformer": (OLD, OLD_POSITION, {"cls": True}),
    "vision_transformer, ImageNet-21k": (OLD, OLD_POSITION, {"cls": True, "rep": 7}),
    "big_vision, class token": (NEW, ("pos_embedding", 9), {"cls": True}),
    "big_vision, mean": (NEW, ("pos_embedding", 9), {"cls": False}),
    "big_vision, plain ViT-S/16": (NEW, None, {"cls": False, "rep": 12}),
}


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("prefix", ["", "params/", "opt/target/"])
def test_npz_is_that_of_its_file(dialect, prefix, tmp_path):
    parts, position, options = DIALECTS[dialect]
    arrays = filled(flax_shapes(parts, position, **options))
    stored = {f"{prefix}{key}": array for key, array in arrays.items()}
    if prefix:
        stored["opt/state/step"] = np.array(3)
    path = save(stored, tmp_path / "vit.npz")
    # Computed positions have no resolution of their own.
    given = {
        "preprocessing": models.Preprocessing((0.5,), (0.5,), (12, 12)),
        "image_shape": (12, 12, 3),
    }
    foreign = models.load_weights(path, "vit", **({} if position else given))
    run = [flax_forward(arrays, (image - 0.5) / 0.5, parts, position) for image in IMAGES]
    states, features, logits = zip(*run, strict=True)
    check_against(foreign, states, np.stack(features), np.stack(logits))
    assert foreign.unused == (("opt/state/step",) if prefix else ())


def test_blocks_stacked_into_one_array(tmp_path):
    arrays = filled(flax_shapes(NEW, ("pos_embedding", 9), cls=False))
    block = "Transformer/encoderblock"
    stored = {key: array for key, array in arrays.items() if f"{block}_" not in key}
    for key in arrays:
        if f"{block}_0/" in key:
            of_all = [arrays[key.replace("block_0/", f"block_{i}/")] for i in range(DEPTH)]
            stored[key.replace("block_0/", "block/")] = np.stack(of_all)
    foreign = models.load_weights(save(stored, tmp_path / "vit.npz"), "vit")
    alone = models.load_weights(save(arrays, tmp_path / "alone.npz"), "vit")
    jax.tree.map(np.testing.assert_array_equal, foreign.params, alone.params)
    assert foreign.network.name == alone.network.name


def test_heads_are_64_wide_where_the_file_does_not_say(tmp_path):
    arrays = filled(hub_shapes())
    with pytest.raises(errors.InvalidInputError, match=r"vit.heads: found None; .*vit:heads=4"):
        models.load_weights(save(arrays, tmp_path / "vit.safetensors"), "vit")
    with pytest.raises(errors.InvalidInputError, match=r"heads: found 5; .* divisor of the width"):
        models.load_weights(tmp_path / "vit.safetensors", "vit:heads=5")
    wide = flax_shapes(OLD, OLD_POSITION, cls=True)
    path = save(filled(wide), tmp_path / "vit.npz")
    with pytest.raises(errors.InvalidInputError, match="heads: found 4; the file has 3"):
        models.load_weights(path, "vit:heads=4")
    assert models.load_weights(path, "vit:heads=3").network.options["heads"] == 3


def test_bicubic_weights_are_exact_where_they_must_be():
    np.testing.assert_allclose(vit_keys.bicubic_weights(5, 5), np.eye(5), atol=1e-12)
    # Twice as fine: distances 1.25, .25, .75 and 1.75 in Keys' kernel with a = -0.75.
    a = -0.75
    near = [(a + 2) * d**3 - (a + 3) * d**2 + 1 for d in (0.25, 0.75)]
    far = [a * (d**3 - 5 * d**2 + 8 * d - 4) for d in (1.25, 1.75)]
    found = vit_keys.bicubic_weights(6, 12)[5]
    np.testing.assert_allclose(found, [0, far[0], near[0], near[1], far[1], 0], atol=1e-12)


def test_positions_are_interpolated_only_if_asked_for(tmp_path):
    arrays = filled(hub_shapes())
    path = save(arrays, tmp_path / "vit.safetensors")
    how = models.Preprocessing((0.5,), (0.5,))
    larger = {"image_shape": (16, 20, 3), "preprocessing": how}
    sentence = r"sees \(16, 20\) pixels .* embeddings are for \(12, 12\); .*vit:positions=bicubic"
    with pytest.raises(errors.InvalidInputError, match=sentence):
        models.load_weights(path, f"vit:heads={HEADS}", **larger)
    foreign = models.load_weights(path, f"vit:heads={HEADS},positions=bicubic", **larger)
    stored = arrays["vit.embeddings.position_embeddings"][0].astype(np.float64)
    found = foreign.params["position"][0]
    np.testing.assert_array_equal(found[0], stored[0])
    grid = stored[1:].reshape(3, 3, WIDTH)
    wanted = np.zeros((4, 5, WIDTH))
    for i in range(4):
        for j in range(5):
            for y in range(3):
                for x in range(3):
                    weight = vit_keys.bicubic_weights(3, 4)[i, y]
                    wanted[i, j] += weight * vit_keys.bicubic_weights(3, 5)[j, x] * grid[y, x]
    np.testing.assert_allclose(found[1:], wanted.reshape(20, WIDTH), atol=1e-5)
    assert foreign.network.apply(foreign.params, jnp.zeros((2, 16, 20, 3))).shape == (2, CLASSES)


def test_smaller_images_are_resized_to_what_the_network_was_trained_on(tmp_path):
    path = save(filled(flax_shapes(OLD, OLD_POSITION, cls=True)), tmp_path / "vit.npz")
    foreign = models.load_weights(path, "vit", image_shape=(6, 6, 3))
    native = models.load_weights(path, "vit")
    images = jax.random.uniform(jax.random.key(0), (2, 6, 6, 3))
    resized = jax.image.resize(images, (2, 12, 12, 3), "bilinear")
    np.testing.assert_allclose(
        foreign.network.apply(foreign.params, images),
        native.network.apply(native.params, resized),
        rtol=1e-5,
        atol=1e-5,
    )


def without(arrays, *keys):
    return {key: array for key, array in arrays.items() if key not in keys}


@pytest.mark.parametrize(
    ("change", "model", "options", "sentence"),
    [
        (
            lambda a: without(a, "classifier.weight"),
            "vit:heads=3",
            {},
            r"keys missing from the file: 1 \('classifier.weight' \(5, 12\)\)",
        ),
        (
            lambda a: without(a, "vit.layernorm.bias"),
            "vit:heads=3",
            {},
            r"missing from the file: 1 \('vit.layernorm.bias' \(12,\)\)",
        ),
        (
            lambda a: a | {"lm_head.bias": a["classifier.bias"]},
            "vit:heads=3",
            {},
            r"keys of the file that nothing reads: 1 \('lm_head.bias' \(5,\)\)",
        ),
        (
            lambda a: a | {"vit.layernorm.bias": np.ones(3, np.float32)},
            "vit:heads=3",
            {},
            r"shapes that differ: 1 \('vit.layernorm.bias' \(3,\), not \(12,\)\)",
        ),
        (
            lambda a: a | {"vit.embeddings.position_embeddings": np.ones((1, 9, 12), np.float32)},
            "vit:heads=3",
            {},
            "has 9 position embeddings; allowed is a square number of patches and 1 for other",
        ),
        (
            lambda a: a,
            "vit:heads=3",
            {"num_classes": 7},
            "num_classes: found 7; .* in the file has 5",
        ),
        (
            lambda a: a,
            "vit:heads=3",
            {"image_shape": (12, 12, 1)},
            "image_shape: found .* 3 channels",
        ),
        (
            lambda a: a,
            "vit:heads=3",
            {"preprocessing": models.Preprocessing(resize=(14, 14))},
            r"sees \(14, 14\) pixels after preprocessing; allowed are multiples of its patches",
        ),
        (lambda a: a, "vit:heads=3,positions=cubic", {}, "did you mean 'bicubic'"),
        (lambda a: a, "vit:hads=3", {}, "option of model vit: unknown name 'hads'; did you"),
    ],
)
def test_files_and_options_that_do_not_fit_are_refused(change, model, options, sentence, tmp_path):
    path = save(change(filled(hub_shapes())), tmp_path / "vit.safetensors")
    with pytest.raises(errors.InvalidInputError, match=sentence):
        models.load_weights(path, model, **options)


def test_deit_is_not_taken_for_vit(tmp_path):
    arrays = filled(hub_shapes("deit", tokens=2))
    path = save(arrays, tmp_path / "deit.safetensors")
    with pytest.raises(
        errors.InvalidInputError, match=r"found vit, but the file is a DeiT, .* ask"
    ):
        models.load_weights(path, "vit:heads=3")


def test_other_networks_are_refused_by_their_keys(tmp_path):
    path = save({"conv1.weight": np.ones((16, 3, 3, 3), np.float32)}, tmp_path / "a.safetensors")
    sentence = (
        r"does not fit vit\(patch=16, width=768, depth=12, heads=12\); keys missing from .* 200 "
    )
    with pytest.raises(errors.InvalidInputError, match=sentence):
        models.load_weights(path, "vit")
    arrays = filled(flax_shapes(NEW, ("pos_embedding", 9), cls=False))
    arrays["MAPHead_0/probe"] = np.ones((1, 1, WIDTH), np.float32)
    with pytest.raises(errors.InvalidInputError, match=r"nothing reads: 1 \('MAPHead_0/probe' "):
        models.load_weights(save(arrays, tmp_path / "map.npz"), "vit")


def test_object_arrays_are_refused_and_not_opened(tmp_path):
    arrays = filled(flax_shapes(OLD, OLD_POSITION, cls=True))
    np.savez(tmp_path / "vit.npz", **arrays, extra=np.array([{"a": 1}], dtype=object))
    with pytest.raises(errors.InvalidInputError, match="is not an archive of plain arrays"):
        models.load_weights(tmp_path / "vit.npz", "vit")
