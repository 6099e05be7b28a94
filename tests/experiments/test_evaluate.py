"""Public weights evaluated from the command line, on arrays made here and on CIFAR-10."""

import json
import pickle

import jax
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from resnet8 import digits, weights
from safetensors.numpy import save_file
from sklearn.metrics import cohen_kappa_score, log_loss

from genjax import data, models
from genjax.data import splits

KEYS = {
    *("accuracy", "error", "per_class_accuracy", "kappa", "kappa_one_vs_rest", "nll", "ece"),
    *("brier", "examples", "accuracy_low", "accuracy_high", "model", "weights", "data"),
    *("preprocessing", "class_names"),
}
MODEL = "--model=resnet_cifar:depth=8"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Weights and data sets, good and bad ones."""
    path = tmp_path_factory.mktemp("evaluate")
    save_file(weights(), path / "small.safetensors")
    broken = weights()
    broken["linear.bias"] += np.float32(3e38)
    broken["linear.weight"] *= np.float32(1e38)
    save_file(broken, path / "broken.safetensors")
    (path / "small.pt").write_bytes(pickle.dumps({"linear.bias": [0.0]}))
    (path / "cut.safetensors").write_bytes((path / "small.safetensors").read_bytes()[:5000])
    np.savez(path / "digits.npz", **digits(250))
    np.savez(path / "train.npz", **digits(40))
    np.savez(path / "five.npz", images=digits(5)["images"], labels=np.arange(5))
    np.savez(path / "large.npz", **digits(40, side=40))
    np.savez(path / "grey.npz", **digits(40, channels=1))
    np.savez(path / "objects.npz", images=digits(2)["images"], labels=np.array([0, None]))
    arrays = digits(20)
    for position, (image, label) in enumerate(zip(arrays["images"], arrays["labels"], strict=True)):
        (path / "files" / str(label)).mkdir(parents=True, exist_ok=True)
        size = (40, 36) if position % 2 else (33, 50)
        made = Image.fromarray(image).resize(size)
        made.save(path / "files" / str(label) / f"{position}.png")
    return path


@pytest.fixture(scope="module")
def evaluated(run, folder):
    """One run: (output folder, stdout, stderr, arguments)."""
    output = folder / "results"
    where = (f"--weights={folder / 'small.safetensors'}", f"--data=npz:{folder / 'digits.npz'}")
    arguments = (*where, MODEL, f"--output={output}", "--batch_size=40")
    code, out, err = run("evaluate", *arguments)
    assert code == 0, err
    return output, out, err, arguments


def test_the_numbers_are_those_of_the_logits(evaluated, folder):
    output, out, err, _ = evaluated
    values = json.loads((output / "evaluation.json").read_text())
    assert set(values) == KEYS
    assert json.loads(out) == values, "standard output is the JSON and nothing else"
    loaded = models.load_weights(folder / "small.safetensors", "resnet_cifar")
    arrays = digits(250)
    logits = loaded.network.apply(loaded.params, (arrays["images"] / 255).astype(np.float32))
    logits, labels = np.asarray(logits, np.float64), arrays["labels"]
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    predictions = logits.argmax(1)
    expected = {
        "accuracy": (predictions == labels).mean(),
        "error": (predictions != labels).mean(),
        "per_class_accuracy": [(predictions == c)[labels == c].mean() for c in range(10)],
        "kappa": cohen_kappa_score(labels, predictions),
        "kappa_one_vs_rest": np.mean(
            [cohen_kappa_score(labels == c, predictions == c) for c in range(10)]
        ),
        "nll": log_loss(labels, p),
        "brier": ((p - np.eye(10)[labels]) ** 2).sum(1).mean(),
        "examples": 250,
    }
    for name, value in expected.items():
        np.testing.assert_allclose(values[name], value, rtol=1e-4, atol=1e-6, err_msg=name)
    assert len(set(predictions)) > 1, "a constant prediction would prove little"
    assert 0 < values["ece"] < 1
    assert values["accuracy_low"] < values["accuracy"] < values["accuracy_high"]
    assert values["model"] == "resnet_cifar(depth=8)"
    assert values["preprocessing"]["mean"] == [0.485, 0.456, 0.406]
    counts = pd.read_csv(output / "confusion.csv").iloc[:, 1:].to_numpy()
    assert counts.sum() == 250
    assert np.trace(counts) == round(250 * values["accuracy"])
    assert pd.read_csv(output / "reliability.csv")["examples"].sum() == 250
    assert (output / "reliability.svg").exists()
    assert f"{values['accuracy']:.4f} [" in err
    assert "250/250 images" in err
    assert "\x1b" not in err


def test_the_same_command_does_nothing_and_another_one_is_refused(evaluated, run, refused):
    output, out, _, arguments = evaluated
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*")}
    code, again, err = run("evaluate", *arguments)
    assert code == 0
    assert again == out
    assert err.startswith(f"complete: {output} holds this very run")
    said = refused("evaluate", *arguments, "--batch_size=50")
    assert "another configuration: batch_size was 40 and is now 50" in said
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*")} == before


BAD_INPUT = {
    "missing weights": (["--weights={}/no.safetensors"], "/no.safetensors' cannot be read"),
    "a pickle": (["--weights={}/small.pt"], "'small.pt' is pickled, and unpickling can run any"),
    "weights cut short": (["--weights={}/cut.safetensors"], "or is cut short"),
    "another depth": (
        ["--model=resnet_cifar:depth=14"],
        "'small.safetensors' does not fit resnet_cifar(depth=14); keys missing from the file: 30",
    ),
    "another architecture": (
        ["--model=vit"],
        "weights: 'small.safetensors' does not fit vit",
    ),
    "an unknown architecture": (["--model=resnet_cifer"], "did you mean 'resnet_cifar'"),
    "missing data": (["--data=npz:{}/no.npz"], "/no.npz' cannot be read: no such file"),
    "objects": (["--data=npz:{}/objects.npz"], "'labels' in 'objects.npz' cannot be read without"),
    "another number of labels": (
        ["--data=npz:{}/five.npz"],
        "/five.npz' has 5 classes, and resnet_cifar(depth=8) has 10 outputs; both must be equal.",
    ),
    "images of another size": (
        ["--data=npz:{}/large.npz"],
        "/large.npz' has images of shape (40, 40, 3), and resnet_cifar(depth=8) takes "
        "(32, 32, 3); pass --resize to have them resized.",
    ),
    "grey images": (["--data=npz:{}/grey.npz", "--resize"], "the weights read 3 channels"),
    "files of several sizes": (
        ["--data=folder:{}/files"],
        "all must have one size: pass resizing, e.g. data.Resizing(resize=256, crop=224), or "
        "--resize on the command line.",
    ),
    "means in bytes": (["--mean=125,123,114"], "mean: found '125,123,114'; allowed are numbers"),
    "no numbers": (["--std=a"], "std: found 'a'; allowed are numbers from 0 to 1"),
    "two means": (
        ["--mean=0.5,0.4"],
        "preprocessing.mean of 'resnet_cifar(depth=8)': found 2 numbers; allowed are 1 or 3",
    ),
    "no deviation": (["--std=0"], "preprocessing.std of 'resnet_cifar(depth=8)': found (0.0,)"),
    "an unknown measure": (["--measures=parametrs"], "did you mean 'parameters'"),
    "measures without training examples": (
        ["--measures=parameters"],
        "measures: they need training examples apart from those evaluated; pass --train_data",
    ),
    "no official parts": (["--split=train"], "split: found 'train', and 'npz:"),
    "an unknown part": (["--split=tset"], "flag --split=tset"),
    "empty batches": (["--batch_size=0"], "flag --batch_size=0: "),
}


@pytest.fixture(scope="module")
def refusals(folder, run):
    """What the program says to each bad input: case -> (exit code, stdout, stderr)."""
    usual = ["--weights={}/small.safetensors", "--data=npz:{}/digits.npz", MODEL]
    usual += ["--output={}/refused"]
    cases = {
        case: [argument.format(folder) for argument in (*usual, *changed)]
        for case, (changed, _) in BAD_INPUT.items()
    }
    return {case: run("evaluate", *arguments) for case, arguments in cases.items()}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_refused_in_one_sentence(refusals, folder, case):
    code, out, err = refusals[case]
    assert code == 2
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert BAD_INPUT[case][1] in err
    assert not (folder / "refused").exists()


def test_logits_that_are_not_finite_are_refused(refused, folder):
    where = (f"--weights={folder / 'broken.safetensors'}", f"--data=npz:{folder / 'digits.npz'}")
    said = refused("evaluate", *where, MODEL, f"--output={folder / 'broken'}")
    assert "its logits are NaN or infinite" in said
    assert not (folder / "broken" / "evaluation.json").exists()


def test_images_are_resized_where_asked_and_the_test_part_is_taken(run, folder):
    np.savez(folder / "large_test.npz", **digits(60, side=40))
    arguments = [
        f"--data=npz:{folder / 'large.npz'},{folder / 'large_test.npz'}",
        f"--weights={folder / 'small.safetensors'}",
        f"--output={folder / 'resized'}",
        MODEL,
        "--resize",
    ]
    code, out, err = run("evaluate", *arguments)
    assert code == 0, err
    values = json.loads(out)
    assert values["examples"] == 60
    assert values["preprocessing"]["resize"] == [32, 32]
    code, out, err = run("evaluate", *arguments, "--split=train", "--overwrite")
    assert code == 0, err
    assert json.loads(out)["examples"] == 40


def test_files_of_several_sizes_and_another_normalisation(run, folder):
    usual = [f"--weights={folder / 'small.safetensors'}", f"--data=folder:{folder / 'files'}"]
    usual += [MODEL, "--resize", f"--output={folder / 'files_results'}"]
    changed = ["--mean=0.5,0.4,0.3", "--std=0.25", "--overwrite"]
    runs = {"usual": run("evaluate", *usual), "changed": run("evaluate", *usual, *changed)}
    files = sorted((folder / "files").rglob("*.png"), key=lambda path: int(path.parent.name))
    labels = np.array([int(path.parent.name) for path in files])
    pixels = [Image.open(path).resize((32, 32), Image.Resampling.BILINEAR) for path in files]
    images = np.stack([np.asarray(image) for image in pixels]).astype(np.float32) / 255
    for case, how in {
        "usual": models.load_weights(folder / "small.safetensors", "resnet_cifar").preprocessing,
        "changed": models.Preprocessing((0.5, 0.4, 0.3), (0.25,)),
    }.items():
        code, out, err = runs[case]
        assert code == 0, err
        values = json.loads(out)
        loaded = models.load_weights(
            folder / "small.safetensors", "resnet_cifar", preprocessing=how
        )
        logits = np.asarray(loaded.network.apply(loaded.params, images), np.float64)
        p = np.exp(logits - logits.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        assert values["nll"] == pytest.approx(log_loss(labels, p, labels=np.arange(10)), rel=1e-4)
        assert values["preprocessing"]["resize"] == [32, 32]
        assert values["preprocessing"]["mean"] == list(how.mean)


def test_measures_are_computed_or_refused_by_name(run, folder):
    usual = [
        f"--weights={folder / 'small.safetensors'}",
        MODEL,
        "--measures=parameters,param_norm,cross_entropy,fro_dist",
        "--measure_examples=100",
        "--train_size=5000",
    ]
    parts = [f"--data=npz:{folder / 'digits.npz'},{folder / 'train.npz'}"]
    apart = [f"--data=npz:{folder / 'train.npz'}", f"--train_data=npz:{folder / 'digits.npz'}"]
    runs = [
        run("evaluate", *usual, *parts, f"--output={folder / 'measured'}"),
        run("evaluate", *usual, *apart, f"--output={folder / 'measured_apart'}"),
    ]
    found = []
    for code, out, err in runs:
        assert code == 0, err
        assert "it needs parameters at initialisation" in err
        found.append(json.loads(out)["measures"])
    assert found[0] == found[1]
    loaded = models.load_weights(folder / "small.safetensors", "resnet_cifar")
    leaves = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(loaded.params)]
    values = found[0]["values"]
    assert values["parameters"] == sum(leaf.size for leaf in leaves)
    norm = sum((leaf**2).sum() for leaf in leaves if leaf.ndim > 1)
    assert values["param_norm"] == pytest.approx(norm, rel=1e-5)
    whole = data.load(f"npz:{folder / 'digits.npz'}")
    part = whole.take(splits.nested_subsets(whole, [100], seed=0)[0])
    logits = np.asarray(loaded.network.apply(loaded.params, part.images), np.float64)
    logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    expected = -logs[np.arange(100), part.labels].mean()
    assert values["cross_entropy"] == pytest.approx(expected, rel=1e-4)
    assert values["fro_dist"] is None
    assert found[0]["refused"] == {"fro_dist": "it needs parameters at initialisation"}
    assert found[0]["train_size"] == 5000


# Real weights on real images ---------------------------------------------------------------------


@pytest.mark.data
@pytest.mark.slow
def test_resnet_20_on_a_thousand_images_of_cifar_10(run, data_dir, tmp_path):
    with np.load(data_dir / "cifar10" / "test.npz") as archive:
        # Every tenth: the file is ordered by class.
        images, labels = archive["images"][::10], archive["labels"][::10]
    np.savez(tmp_path / "part.npz", images=images, labels=labels)
    file = data_dir / "pretrained" / "resnet20.safetensors"
    loaded = models.load_weights(file, "resnet_cifar:depth=20")
    logits = loaded.network.apply(loaded.params, images.astype(np.float32) / np.float32(255))
    expected = float(np.mean(np.argmax(np.asarray(logits), 1) == labels))
    where = (f"--weights={file}", f"--data=npz:{tmp_path / 'part.npz'}", f"--output={tmp_path}/out")
    code, out, err = run("evaluate", "--model=resnet_cifar:depth=20", *where)
    assert code == 0, err
    assert json.loads(out)["accuracy"] == expected
    assert expected > 0.9


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize(("depth", "percent"), [(20, 8.27), (32, 7.37), (44, 6.90)])
def test_published_errors_come_out(run, data_dir, tmp_path, depth, percent):
    weights = f"--weights={data_dir / f'pretrained/resnet{depth}.safetensors'}"
    where = f"--data=npz:{data_dir / 'cifar10/test.npz'}"
    model = f"--model=resnet_cifar:depth={depth}"
    code, out, err = run("evaluate", weights, model, where, f"--output={tmp_path}")
    assert code == 0, err
    assert 100 * json.loads(out)["error"] == pytest.approx(percent, abs=0.02)
