"""Public weights: published accuracy, layouts, folding, and a sentence for every bad file."""

import pathlib
import pickle
import re
import subprocess
import sys
import zipfile

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from genjax import errors, models
from genjax.models import key_maps, resnet, vit_pretrained, weight_rules, weights
from genjax.models.foreign import preprocess

PLAIN = models.Preprocessing()
EPSILON = 1e-5


def cifar_arrays(depth=8, classes=5, seed=0):
    """Random weights of a CIFAR ResNet, by the names and in the layouts that PyTorch has."""
    rng = np.random.default_rng(seed)
    arrays = {}

    def add(convolution, norm, inputs, outputs):
        arrays[f"{convolution}.weight"] = rng.normal(
            0, (6 * inputs) ** -0.5, (outputs, inputs, 3, 3)
        )
        arrays[f"{norm}.weight"] = rng.uniform(0.5, 1.5, outputs)
        arrays[f"{norm}.bias"] = rng.normal(0, 0.3, outputs)
        arrays[f"{norm}.running_mean"] = rng.normal(0, 0.3, outputs)
        arrays[f"{norm}.running_var"] = rng.uniform(0.5, 2.0, outputs)
        arrays[f"{norm}.num_batches_tracked"] = np.array(7)

    add("conv1", "bn1", 3, 16)
    inputs = 16
    for stage, outputs in enumerate((16, 32, 64), start=1):
        for block in range((depth - 2) // 6):
            key = f"layer{stage}.{block}"
            add(f"{key}.conv1", f"{key}.bn1", inputs, outputs)
            add(f"{key}.conv2", f"{key}.bn2", outputs, outputs)
            inputs = outputs
    arrays["linear.weight"] = rng.normal(0, 0.2, (classes, 64))
    arrays["linear.bias"] = rng.normal(0, 0.2, classes)
    return {k: v if v.dtype.kind == "i" else v.astype(np.float32) for k, v in arrays.items()}


def save(arrays, path):
    save_file({key: np.ascontiguousarray(array) for key, array in arrays.items()}, path)
    return path


@pytest.fixture
def small(tmp_path):
    """A file with the weights of a ResNet-8."""
    return save(cifar_arrays(), tmp_path / "small.safetensors")


def load_small(path, **options):
    options = {"image_shape": (8, 8, 3), "preprocessing": PLAIN} | options
    return models.load_weights(path, "resnet_cifar", **options)


def reference_taps(arrays, images):
    """Evaluate a CIFAR ResNet in float64, straight from the arrays of the file."""
    a = {key: value.astype(np.float64) for key, value in arrays.items()}

    def convolve(x, kernel, stride):
        padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
        return np.einsum("nchwij,ocij->nohw", windows[:, :, ::stride, ::stride], kernel)

    def normalise(x, name):
        scale, bias, mean, variance = (
            a[f"{name}.{part}"][None, :, None, None]
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean) / np.sqrt(variance + EPSILON) * scale + bias

    taps = {}
    x = images.astype(np.float64).transpose(0, 3, 1, 2)
    x = taps["stem"] = np.maximum(normalise(convolve(x, a["conv1.weight"], 1), "bn1"), 0)
    for stage in (1, 2, 3):
        for block in range(weight_rules.Request(dict(arrays)).count(r"layer1\.(\d+)\.")):
            key = f"layer{stage}.{block}"
            stride = 2 if stage > 1 and block == 0 else 1
            y = normalise(convolve(x, a[f"{key}.conv1.weight"], stride), f"{key}.bn1")
            y = normalise(convolve(np.maximum(y, 0), a[f"{key}.conv2.weight"], 1), f"{key}.bn2")
            shortcut = np.zeros_like(y)
            low = (y.shape[1] - x.shape[1]) // 2
            shortcut[:, low : low + x.shape[1]] = x[:, :, ::stride, ::stride]
            x = taps[f"stage{stage}block{block + 1}"] = np.maximum(shortcut + y, 0)
    taps = {name: x.transpose(0, 2, 3, 1) for name, x in taps.items()}
    taps["features"] = x.mean((2, 3))
    return taps, taps["features"] @ a["linear.weight"].T + a["linear.bias"]


def test_every_tap_is_that_of_the_formula(tmp_path):
    arrays = cifar_arrays(depth=14)
    network, params, *_ = load_small(save(arrays, tmp_path / "a.safetensors"))
    images = np.random.default_rng(1).random((2, 8, 8, 3), np.float32)
    expected, logits = reference_taps(arrays, images)
    taps = network.taps(params, images)
    assert list(taps) == list(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(taps[name], value, rtol=1e-4, atol=1e-4, err_msg=name)
    np.testing.assert_allclose(network.apply(params, images), logits, rtol=1e-4, atol=1e-4)


def test_folded_equals_unfolded(small):
    loaded = load_small(small)
    parameters, statistics = loaded.unfolded
    images = jnp.asarray(np.random.default_rng(1).random((3, 8, 8, 3), np.float32))
    module = resnet.ResNet(1, 1.0, 5, "batch", "plain")
    variables = {"params": parameters, "batch_stats": statistics}
    expected = module.apply(variables, images)
    np.testing.assert_allclose(loaded.network.apply(loaded.params, images), expected, atol=1e-4)
    arrays = load_file(small)
    np.testing.assert_array_equal(statistics["stem_1"]["norm"]["var"], arrays["bn1.running_var"])
    assert "norm" not in loaded.params["stem_1"]


def wrong_labels(folder, depth, count):
    """Return errors in percent of a published network on the first `count` test images."""
    loaded = models.load_weights(
        folder / f"pretrained/resnet{depth}.safetensors", f"resnet_cifar:depth={depth}"
    )
    with np.load(folder / "cifar10/test.npz") as archive:
        images, labels = archive["images"][:count], archive["labels"][:count]

    @jax.jit
    def predict(pixels):
        logits = loaded.network.apply(loaded.params, pixels.astype(jnp.float32) / 255)
        return jnp.argmax(logits, axis=-1)

    found = [predict(images[i : i + 100]) for i in range(0, count, 100)]
    return 100 * np.mean(np.concatenate(found) != labels)


# Of the first 1,000 images PyTorch gets these wrong with the same files.
@pytest.mark.data
@pytest.mark.parametrize(("depth", "percent"), [(20, 8.0), (32, 5.6), (44, 5.8)])
def test_errors_on_the_first_images(data_dir, depth, percent):
    assert wrong_labels(data_dir, depth, 1000) == pytest.approx(percent, abs=0.01)


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize(("depth", "percent"), [(20, 8.27), (32, 7.37), (44, 6.90)])
def test_published_errors(data_dir, depth, percent):
    assert wrong_labels(data_dir, depth, 10_000) == pytest.approx(percent, abs=0.02)


def test_jit_and_vmap_equal_the_loop(tmp_path):
    loaded = [load_small(save(cifar_arrays(seed=s), tmp_path / f"{s}.safetensors")) for s in (0, 1)]
    network = loaded[0].network
    images = jnp.asarray(np.random.default_rng(1).random((3, 8, 8, 3), np.float32))
    stack = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(one.params for one in loaded))
    logits = jax.jit(jax.vmap(network.apply, in_axes=(0, None)))(stack, images)
    taps = jax.jit(jax.vmap(network.taps, in_axes=(0, None)))(stack, images)
    for i, one in enumerate(loaded):
        np.testing.assert_allclose(logits[i], network.apply(one.params, images), atol=1e-4)
        for name, value in network.taps(one.params, images).items():
            np.testing.assert_allclose(taps[name][i], value, atol=1e-4, err_msg=name)


def test_what_a_loaded_network_says_of_itself(small):
    loaded = models.load_weights(small, "resnet_cifar")
    network = loaded.network
    assert (network.name, network.family) == ("resnet_cifar(depth=8)", "resnet_cifar")
    assert dict(network.options) == {"depth": 8}
    assert (network.image_shape, network.num_classes) == ((32, 32, 3), 5)
    assert loaded.preprocessing == models.Preprocessing(
        (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    )
    assert len(loaded.unused) == 7
    assert all(key.endswith(".num_batches_tracked") for key in loaded.unused)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(loaded.params))
    with pytest.raises(errors.InvalidInputError, match="cannot be trained"):
        network.init(jax.random.key(0))


@pytest.mark.parametrize(
    ("build", "side", "resize", "crop", "method", "mean"),
    [
        (key_maps.resnet_cifar, 32, None, None, "bilinear", 0.485),
        (key_maps.resnet_imagenet, 256, 256, 224, "bilinear", 0.485),
        (key_maps.convnext, 256, 256, 224, "bicubic", 0.485),
        (vit_pretrained.deit, 256, 256, 224, "bicubic", 0.485),
        (vit_pretrained.vit, 224, (224, 224), None, "bilinear", 0.5),
    ],
)
def test_images_are_preprocessed_as_the_public_networks_are_evaluated(
    build, side, resize, crop, method, mean
):
    plan = build(weight_rules.Request({}))
    how = plan.preprocessing
    assert plan.image_shape == (side, side, 3)
    assert (how.resize, how.crop, how.method, how.mean[0]) == (resize, crop, method, mean)
    assert plan.network.image_shape == (224 if side > 32 else 32,) * 2 + (3,)
    # Photos of another size come to the same.
    photo = build(weight_rules.Request({}, image_shape=(375, 500, 3), preprocessing=how))
    if side > 32:
        assert photo.network.image_shape == (224, 224, 3)


def test_preprocessing_is_part_of_the_network(small):
    images = np.random.default_rng(1).random((2, 12, 10, 3), np.float32)
    how = models.Preprocessing((0.4, 0.5, 0.6), (0.2, 0.3, 0.4), (8, 8), "cubic")
    ours = load_small(small, image_shape=(12, 10, 3), preprocessing=how)
    bare = load_small(small)
    assert ours.network.image_shape == (12, 10, 3)
    np.testing.assert_allclose(
        ours.network.apply(ours.params, images),
        bare.network.apply(bare.params, preprocess(jnp.asarray(images), how)),
        atol=1e-5,
    )


def test_prefix_of_wrappers_is_taken_off(tmp_path):
    arrays = cifar_arrays()
    path = save({f"module.{k}": v for k, v in arrays.items()}, tmp_path / "a.safetensors")
    loaded = load_small(path)
    expected = load_small(save(arrays, tmp_path / "b.safetensors"))
    jax.tree.map(np.testing.assert_array_equal, loaded.params, expected.params)
    assert loaded.unused == expected.unused


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_other_precisions_become_float32(tmp_path, dtype):
    arrays = {k: v if v.ndim == 0 else v.astype(dtype) for k, v in cifar_arrays().items()}
    loaded = load_small(save(arrays, tmp_path / "a.safetensors"))
    rounded = {k: v if v.ndim == 0 else v.astype(np.float32) for k, v in arrays.items()}
    expected = load_small(save(rounded, tmp_path / "b.safetensors"))
    jax.tree.map(np.testing.assert_array_equal, loaded.params, expected.params)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(loaded.params))


def test_other_name_of_the_output_layer(tmp_path):
    arrays = {k.replace("linear.", "fc."): v for k, v in cifar_arrays().items()}
    assert load_small(save(arrays, tmp_path / "a.safetensors")).network.num_classes == 5


def refusal(path, model="resnet_cifar", **options):
    with pytest.raises(errors.InvalidInputError) as caught:
        models.load_weights(path, model, **options)
    return str(caught.value)


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ("resnet", "model: unknown name 'resnet'; did you mean"),
        ("resnet_cifar:dept=8", "option of model resnet_cifar: unknown name 'dept'; did you mean"),
        ("resnet_cifar:depth", "model: found 'depth' in 'resnet_cifar:depth'; allowed is option=v"),
        ("resnet_cifar:depth=", "model: found 'depth=' in"),
        ("resnet_cifar:depth=x", "model option resnet_cifar.depth: found 'x'; allowed is one of"),
        ("resnet_cifar:depth=8.5", "found '8.5'; allowed is one of type int."),
        ("resnet_cifar:depth=9", "model option resnet_cifar.depth: found 9; it must be 6n + 2"),
        ("resnet_cifar:depth=2", "model option resnet_cifar.depth: found 2; it must be 6n + 2"),
        ("resnet_imagenet:depth=20", "resnet_imagenet.depth: found 20; allowed are 18, 34, 50,"),
        ("convnext:size=tny", "model option convnext.size: unknown name 'tny'; did you mean 'tiny"),
    ],
)
def test_specifications_that_are_refused(small, model, sentence):
    assert sentence in refusal(small, model)


def test_another_architecture_is_named_with_its_keys(small, tmp_path):
    assert refusal(small, "resnet_cifar:depth=14") == (
        "weights: 'small.safetensors' does not fit resnet_cifar(depth=14); "
        "keys missing from the file: 30 ('layer1.1.conv1.weight' (16, 16, 3, 3), "
        "'layer1.1.bn1.weight' (16,), 'layer1.1.bn1.bias' (16,) and 27 more)."
    )
    deeper = save(cifar_arrays(depth=14), tmp_path / "deeper.safetensors")
    assert re.search(
        r"does not fit resnet_cifar\(depth=8\); keys of the file that nothing reads: 30 "
        r"\('layer\d.1.[a-z0-9_.]+' .* and 27 more\)\.$",
        refusal(deeper, "resnet_cifar:depth=8"),
    )
    sentence = refusal(small, "resnet_imagenet:depth=18")
    assert re.search(r"keys missing from the file: \d+ \('layer1.1.conv1.weight' ", sentence)
    assert re.search(
        r"shapes that differ: \d+ \('conv1.weight' \(16, 3, 3, 3\), not \(64, 3, 7, 7\)", sentence
    )
    assert "that nothing reads: 2 ('linear.bias' (5,), 'linear.weight' (5, 64))." in sentence
    assert "does not fit convnext(size=tiny);" in refusal(small, "convnext")


def test_shapes_that_differ_are_both_given(tmp_path):
    arrays = cifar_arrays()
    arrays["linear.weight"] = arrays["linear.weight"].T
    sentence = refusal(save(arrays, tmp_path / "a.safetensors"))
    assert sentence.endswith("; shapes that differ: 1 ('linear.weight' (64, 5), not (5, 64)).")


def test_images_and_classes_must_fit_the_file(small):
    sentence = "num_classes: found 7; the output layer in the file has 5."
    assert refusal(small, num_classes=7) == sentence
    assert load_small(small, num_classes=5).network.num_classes == 5
    assert "image_shape: found (8, 8, 1); allowed is (height, width, 3)" in refusal(
        small, image_shape=(8, 8, 1)
    )


def test_preprocessing_must_fit_the_channels(small):
    for how, sentence in (
        (models.Preprocessing((0.1, 0.2), (1.0,)), "preprocessing.mean of 'resnet_cifar(depth=8)'"),
        (models.Preprocessing((0.1,), (0.0,)), "preprocessing.std of 'resnet_cifar(depth=8)'"),
    ):
        assert sentence in refusal(small, preprocessing=how)


def test_images_of_another_size_are_refused(small):
    loaded = load_small(small)
    for function in (loaded.network.apply, loaded.network.taps):
        with pytest.raises(errors.InvalidInputError, match=r"found shape \(2, 9, 8, 3\); it takes"):
            function(loaded.params, jnp.zeros((2, 9, 8, 3)))
    tiny = weight_rules.Request({}, image_shape=(16, 64, 3), preprocessing=PLAIN)
    with pytest.raises(errors.InvalidInputError, match=r"images of at least 32 by 32\."):
        weights.ARCHITECTURES["convnext"](tiny, size="tiny")


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.safetensors", b"", "is not a safetensors file, or is cut short."),
        ("a.safetensors", b"<html>not found</html>", "is not a safetensors file"),
        ("a.safetensors", b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS pointer"),
        ("a.safetensors", b"\x40\0\0\0\0\0\0\0{broken", "is not a safetensors file, or is cut"),
        ("a.pt", b"anything", "is pickled, and unpickling can run any code"),
    ],
)
def test_foreign_files(tmp_path, name, content, sentence):
    (tmp_path / name).write_bytes(content)
    assert sentence in refusal(tmp_path / name)


def test_truncated_missing_and_folder(small, tmp_path):
    whole = small.read_bytes()
    for length in (4, 100, len(whole) // 2, len(whole) - 1):
        small.write_bytes(whole[:length])
        assert "is not a safetensors file, or is cut short" in refusal(small)
    assert "cannot be read: no such file" in refusal(tmp_path / "none.safetensors")
    assert "is a folder" in refusal(tmp_path)


class Trap:
    """Creates a file when unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (pathlib.Path.touch, (self.path,))


def pickled_plainly(path, trap):
    path.write_bytes(pickle.dumps(trap))


def pickled_in_an_archive(path, trap):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(trap))


def pickled_in_npz(path, trap):
    with path.open("wb") as file:
        np.savez(file, allow_pickle=True, weight=np.array([trap], object))


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("write", [pickled_plainly, pickled_in_an_archive, pickled_in_npz])
def test_pickles_are_refused_and_never_run(tmp_path, suffix, write):
    path = tmp_path / f"weights{suffix}"
    write(path, Trap(tmp_path / "sprung"))
    sentence = refusal(path)
    if write is pickled_in_npz:
        assert "is not an archive of plain arrays" in sentence or "is pickled" in sentence
    else:
        assert f"torch.load('{path}', weights_only=True)" in sentence
        assert "\n" not in sentence
    assert not (tmp_path / "sprung").exists()
    pickle.loads(pickle.dumps(Trap(tmp_path / "sprung")))  # the trap works
    assert (tmp_path / "sprung").exists()


@pytest.mark.peers
def test_the_conversion_command_works(tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "weights.th"
    arrays = cifar_arrays()
    state = {key: torch.tensor(value) for key, value in arrays.items()}
    torch.save({"state_dict": state, "best": 1.0}, path)
    code = re.search(r'python -c "(.*)"$', refusal(path))[1]
    subprocess.run([sys.executable, "-c", code], check=True)
    loaded = load_small(f"{path}.safetensors")
    np.testing.assert_array_equal(loaded.params["output"]["bias"], arrays["linear.bias"])


def test_values_that_no_network_can_use(tmp_path):
    path = tmp_path / "a.safetensors"
    arrays = cifar_arrays()
    arrays["bn1.bias"][2] = np.nan
    assert "has 1 of 16 values of 'bn1.bias' that are not finite." in refusal(save(arrays, path))
    arrays = cifar_arrays() | {"bn1.bias": np.zeros(16, np.int8)}
    assert "has I8 in 'bn1.bias'; allowed are F64, F32, F16, BF16." in refusal(save(arrays, path))
    arrays = cifar_arrays()
    arrays["bn1.running_var"][0] = -1
    assert "has running variances that are negative" in refusal(save(arrays, path))


def test_every_architecture_explains_itself():
    for name in weights.architectures():
        assert weights.parse_specification(name) == (name, {})
        assert weights.ARCHITECTURES[name].__doc__
