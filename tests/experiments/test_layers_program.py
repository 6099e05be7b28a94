"""Layers as a program: a whole run, somebody else's embeddings or network, what is refused."""

import json

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics
from resnet8 import digits, weights
from safetensors.numpy import save_file

from genjax import data, models
from genjax.metrics import layers

CONFIG = "--config=experiments/configs/layers.py:smoke"


def test_a_run_answers_which_layer_is_best(run, tmp_path):
    code, out, err = run("layers", CONFIG, f"--output={tmp_path}")
    assert code == 0, err
    assert "By nmi the last layer has the highest mean in" in out
    assert json.loads((tmp_path / "run.json").read_text())["status"] == "complete"
    assert {f.name for f in (tmp_path / "figures").glob("*.svg")} >= {
        "depth.svg", "best.svg", "models.svg", "planes.svg", "pruning.svg",
    }  # fmt: skip
    table = pd.read_csv(tmp_path / "layers.csv")
    # 2 splits, 2 models; the layers of every one, and the pixels beside them.
    nmi = table[(table["metric"] == "nmi") & (table["on"] == "unseen")]
    assert (nmi["source"] == "pixels").sum() == 4
    assert (nmi["source"] == "trained").sum() == (nmi["source"] == "initial").sum() == 2 * (2 + 3)
    # The pixels of a split are the same for all of its networks.
    assert nmi[nmi["source"] == "pixels"].groupby("split")["value"].nunique().tolist() == [1, 1]
    code, out, _ = run("layers", CONFIG, f"--output={tmp_path}")
    assert code == 0
    assert "complete" in out


def embeddings(path, **arrays):
    rng = np.random.default_rng(0)
    labels = np.repeat(["a", "b", "c", "d"], 30)
    codes = np.repeat(np.arange(4), 30)
    kept = {
        "layer/mixed": rng.normal(size=(120, 5)),
        "layer/map": rng.normal(size=(120, 3, 3, 4)) + 2 * np.eye(4)[codes][:, None, None],
        "labels": labels,
    }
    kept |= arrays
    np.savez(path, **kept)
    return path, codes


def test_somebody_elses_embeddings_are_scored(run, tmp_path):
    file, codes = embeddings(tmp_path / "mine.npz")
    output = tmp_path / "out"
    code, out, err = run(
        "layers", f"--embeddings={file}", f"--output={output}", "--metrics=clustering,neighbours",
        "--readouts=mean,token0", "--normalisations=raw,l2", "--draws=50",
    )  # fmt: skip
    assert code == 0, err
    assert "The best layer is map, mean, raw by nmi" in out
    table = pd.read_csv(output / "layers.csv")
    assert list(table.columns[:7]) == [
        "layer", "readout", "normalisation", "metric", "value", "low", "high",
    ]  # fmt: skip
    assert set(table[table["layer"] == "map"]["readout"]) == {"mean", "token0"}
    assert set(table[table["layer"] == "mixed"]["readout"]) == {"flatten"}
    points = np.load(file)["layer/map"].mean((1, 2))
    distances = sklearn.metrics.pairwise_distances(points)
    np.fill_diagonal(distances, np.inf)
    nearest = (codes[distances.argmin(1)] == codes).mean()
    row = table[
        (table["layer"] == "map") & (table["readout"] == "mean")
        & (table["normalisation"] == "raw") & (table["metric"] == "purity_1")
    ]  # fmt: skip
    assert row["value"].item() == pytest.approx(nearest)
    assert row["low"].item() <= nearest <= row["high"].item()
    code, out, _ = run(
        "layers", f"--embeddings={file}", f"--output={output}", "--metrics=clustering,neighbours",
        "--readouts=mean,token0", "--normalisations=raw,l2", "--draws=50",
    )  # fmt: skip
    assert "complete" in out


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """Flags of a network made elsewhere, of what it was before, and images of five classes."""
    folder = tmp_path_factory.mktemp("network")
    save_file(weights(), folder / "small.safetensors")
    first = {name: array[..., ::-1].copy() for name, array in weights().items()}
    save_file(first, folder / "first.safetensors")
    arrays = digits(300)
    kept = arrays["labels"] < 5  # fewer classes than the network has outputs
    np.savez(folder / "digits.npz", **{name: array[kept] for name, array in arrays.items()})
    return [
        f"--weights={folder / 'small.safetensors'}",
        "--model=resnet_cifar:depth=8",
        f"--data=npz:{folder / 'digits.npz'}",
        f"--before={folder / 'first.safetensors'}",
        "--draws=0",
    ]


def test_layers_of_a_network_made_elsewhere_stand_beside_what_it_was_before(run, network, tmp_path):
    code, out, err = run(
        "layers", *network, f"--output={tmp_path}", "--metrics=r_precision",
        "--seen_classes=0,1", "--examples=60",
    )  # fmt: skip
    assert code == 0, err
    assert "The best layer of unseen classes is" in out
    assert "Beside the best layer's r_precision: before training" in out
    table = pd.read_csv(tmp_path / "layers.csv")
    names = table.groupby("source")["layer"].unique().map(list).to_dict()
    taps = ["stem", "stage1block1", "stage2block1", "stage3block1"]
    assert names == {"given": taps, "before": taps, "pixels": ["pixels"]}
    assert set(table["examples"]) == {"unseen", "seen", "joint"}
    weights_file, model, images = (flag.split("=", 1)[1] for flag in network[:3])
    loaded = models.load_weights(weights_file, model)
    examples = data.load(images)
    chosen = data.splits.nested_subsets(examples, [60], seed=0)[0]
    labels = examples.labels[chosen]
    points = layers.extract(loaded.network, loaded.params, examples.images[chosen])
    (own,) = layers.measure(
        points["stage2block1", "mean"][labels > 1], labels[labels > 1], ("r_precision",)
    )
    row = table.query(
        "source == 'given' and layer == 'stage2block1' and examples == 'unseen' "
        "and metric == 'r_precision'"
    )
    assert row["value"].item() == pytest.approx(own.value)


def test_networks_that_cannot_be_used_are_refused(refused, network, tmp_path):
    cases = {
        "model: found none": [network[0], network[2]],
        "data: found none": network[:2],
        "embeddings, weights: found both": [*network, "--embeddings=x.npz"],
        "seen_classes: unknown name '7'": [*network, "--seen_classes=0,7"],
        "seen_classes: found 1 with examples, 4": [*network, "--seen_classes=3"],
        "missing.safetensors": [*network, f"--before={tmp_path}/missing.safetensors"],
    }
    for words, arguments in cases.items():
        sentence = refused("layers", *arguments, f"--output={tmp_path}/refused")
        assert words in sentence
    assert not (tmp_path / "refused").exists()


def test_files_and_flags_that_cannot_be_used_are_refused(refused, tmp_path):
    good, _ = embeddings(tmp_path / "good.npz")
    short, _ = embeddings(tmp_path / "short.npz", labels=np.zeros(5, int))
    pickled, _ = embeddings(tmp_path / "pickled.npz", **{"layer/bad": np.array([{}] * 120)})
    cases = {
        "layer/NAME|labels|alike|class": [f"--embeddings={short}"],
        "pickled code": [f"--embeddings={pickled}"],
        "there is no file": [f"--embeddings={tmp_path}/none.npz"],
        "names: unknown name 'nmj'": [f"--embeddings={good}", "--metrics=nmj"],
        "readouts: unknown": [f"--embeddings={good}", "--readouts=cls"],
        "normalisations: unknown": [f"--embeddings={good}", "--normalisations=L2"],
        "preset: unknown": [f"--embeddings={good}", "--preset=dyballa"],
        "data.unseen_classes: found 9": [CONFIG, "--config.data.unseen_classes=9"],
        "data.shrink: found 3": [CONFIG, "--config.data.shrink=3"],
        "names: unknown name 'x'": [CONFIG, "--config.scores.names=('x',)"],
        "data.test_share": [CONFIG, "--config.data.test_share=1.0"],
    }
    output = tmp_path / "refused"
    named = {words: [*arguments, f"--output={output}"] for words, arguments in cases.items()}
    for words, arguments in named.items():
        sentence = refused("layers", *arguments)
        assert any(part in sentence for part in words.split("|")), (words, sentence)
    assert not output.exists()
