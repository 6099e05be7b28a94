"""The practical metric on networks trained elsewhere: a whole run on tiny files, and bad input."""

import json
import pathlib
import re

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from safetensors.numpy import save_file

from experiments import commandline, pretrained, stages
from experiments.configs import benchmark
from genjax import data, errors

SEEN, OTHERS = ("ant", "bee", "cow", "dog"), ("elk", "fox", "gnu", "hen", "ibex")
CONFIG = "--config=experiments/configs/benchmark.py:pretrained"


def weights(path, depth, classes=4, seed=0):
    """A CIFAR ResNet with random weights, under PyTorch's names and in its layouts."""
    rng = np.random.default_rng(seed)
    arrays = {}

    def add(convolution, norm, inputs, outputs):
        scale = (4.5 * inputs) ** -0.5
        arrays[f"{convolution}.weight"] = rng.normal(0, scale, (outputs, inputs, 3, 3))
        for name, value in (("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0)):
            arrays[f"{norm}.{name}"] = np.full(outputs, value)
        arrays[f"{norm}.running_var"] = np.ones(outputs)

    add("conv1", "bn1", 3, 16)
    inputs = 16
    for stage, outputs in enumerate((16, 32, 64), start=1):
        for block in range((depth - 2) // 6):
            key = f"layer{stage}.{block}"
            add(f"{key}.conv1", f"{key}.bn1", inputs, outputs)
            add(f"{key}.conv2", f"{key}.bn2", outputs, outputs)
            inputs = outputs
    arrays["linear.weight"] = rng.normal(0, 0.2, (classes, 64))
    arrays["linear.bias"] = np.zeros(classes)
    save_file({key: array.astype(np.float32) for key, array in arrays.items()}, path)


def images(path, names, count, *, side=32, seed=0):
    """Smooth random images of which each class has its own colour and direction."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(names)), count)
    across = np.linspace(0, 1, side)[:, None]
    planes = []
    for label in labels:
        turn = across if label % 2 else across.T
        colour = np.random.default_rng(label + 7 * len(names)).uniform(0.2, 1, 3)
        noise = rng.normal(0, 0.04, (side, side, 3))
        planes.append((0.25 + 0.5 * turn)[..., None] * colour + noise)
    pixels = np.clip(np.stack(planes) * 255, 0, 255).astype(np.uint8)
    np.savez(path, images=pixels, labels=labels, class_names=np.array(names))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder as GENJAX_DATA_DIR has it, with two networks and nine classes."""
    folder = tmp_path_factory.mktemp("data")
    for name in ("pretrained", "cifar10", "cifar100"):
        (folder / name).mkdir()
    weights(folder / "pretrained" / "small.safetensors", 8)
    weights(folder / "pretrained" / "large.safetensors", 14, seed=1)
    images(folder / "cifar10" / "train_5k.npz", SEEN, 12)
    images(folder / "cifar10" / "test.npz", SEEN, 6, seed=1)
    images(folder / "cifar100" / "train_10k.npz", OTHERS, 12, seed=2)
    images(folder / "cifar100" / "test.npz", OTHERS, 6, seed=3)
    return folder


NETWORKS = (("small.safetensors", "resnet_cifar:depth=8"), ("large.safetensors", "resnet_cifar"))
SMALL = {
    "networks.weights": NETWORKS,
    "data.novel_count": 3,
    "data.exclude": ("gnu",),
    "data.train_per_class": 8,
    "data.test_per_class": 5,
    "testbed.shift": "gaussian_noise",
    "testbed.levels": (0.7, 1.0),
    "testbed.novel_counts": (0, 3),
    "protocols.shots": 2,
    "protocols.ladder": False,
    "statistics.draws": 20,
}


def changed(**changes):
    """The small configuration with fields replaced; `a__b` is the field a.b."""
    config = benchmark.get_config("pretrained").unlock()
    with config.ignore_type():
        for path, value in {
            **SMALL,
            **{k.replace("__", "."): v for k, v in changes.items()},
        }.items():
            section, name = path.split(".")
            config[section][name] = value
    return config


@pytest.fixture
def at_hand(files, monkeypatch):
    monkeypatch.setenv(pretrained.VARIABLE, str(files))
    return files


def load(**changes):
    return pretrained.load(pretrained.resolved(changed(**changes)))


@pytest.fixture(scope="module")
def whole(run, files, tmp_path_factory):
    """One run from the command line: (folder, stdout, arguments)."""
    folder = tmp_path_factory.mktemp("run") / "results"
    arguments = [CONFIG, f"--output={folder}"]
    arguments += [f"--config.{field}={value}" for field, value in SMALL.items()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(pretrained.VARIABLE, str(files))
        patch.setenv("JAX_NUM_CPU_DEVICES", "1")  # programs are compiled once per device
        code, out, err = run("benchmark", *arguments)
        assert code == 0, err
        again = run("benchmark", *arguments)
    return folder, out, again


@pytest.mark.slow
def test_a_second_run_has_nothing_to_do(whole):
    folder, _, (code, out, _) = whole
    assert code == 0
    assert out == f"{commandline.COMPLETE.format(folder)}\n"


@pytest.mark.slow
def test_networks_are_listed_without_a_history(whole):
    table = pd.read_parquet(whole[0] / "networks.parquet")
    assert table["family"].tolist() == ["resnet_cifar"] * 2
    assert table["hp.depth"].tolist() == [8, 14]
    assert table["metric.status"].tolist() == ["trained elsewhere"] * 2
    assert not {"metric.steps", "metric.train_loss", "hp.learning_rate"} & set(table)
    assert {"measure.parameter_norm", "measure.log_prod_of_fro"} <= set(table)
    assert table["measure.fro_dist"].isna().all()  # where training started is not known
    assert (table["metric.practical_error"].between(0, 1)).all()


@pytest.mark.slow
def test_the_run_card_holds_what_was_read(whole, files):
    card = json.loads((whole[0] / "run.json").read_text())
    assert card["status"] == "complete"
    assert card["seeds"] == []
    assert "train" not in card["wall_times"]
    assert card["config"]["networks"]["folder"] == f"{files}/pretrained"
    assert all(re.fullmatch("[0-9a-f]{16}", d) for d in card["config"]["networks"]["digests"])
    assert card["config"]["data"]["novel_source"].startswith(f"npz:{files}/cifar100/")


@pytest.mark.slow
def test_cells_are_there_and_intervals_are_over_classes(whole):
    cells = xr.load_dataset(whole[0] / "practical.nc", engine="h5netcdf")
    assert cells.sizes["seed"] == 1
    assert cells["class"].values[:4].tolist() == list(SEEN)
    assert set(cells["class"].values[4:]) < set(OTHERS) - {"gnu"}
    table = pd.read_parquet(whole[0] / "intervals.parquet")
    wide = table[table["quantity"].isin(["marginal", "grand_mean", "bound", "change"])]
    assert np.isfinite(wide[["low", "high"]].to_numpy()).all()
    protocols = pd.read_parquet(whole[0] / "protocols.parquet")
    assert protocols["over"].unique().tolist() == ["classes"]
    assert (protocols["low"] <= protocols["high"]).all()


@pytest.mark.slow
def test_page_and_terminal_say_what_can_be_said(whole):
    folder, out, _ = whole
    page = (folder / "report.html").read_text()
    said = [line.removeprefix("- ") for line in out.splitlines() if line.startswith("- ")]
    assert any(
        line.startswith("There is one network per size: intervals are over") for line in said
    )
    assert any("resnet_cifar falls with SSIM" in line for line in said)
    assert any("size matters" in line for line in said)
    assert any(line.startswith("No measure is related to the error: ") for line in said)
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))
    assert "2 networks were trained elsewhere: parameters are all that is known" in text
    assert "bands are intervals over classes;" in text
    assert "over seeds" not in text
    assert "nan" not in text.lower().split()
    assert not (folder / "figures" / "training.svg").exists()


def test_the_plan_keeps_classes_apart_and_balanced(at_hand):
    plan, networks = load()
    assert plan.examples.class_names[:4] == SEEN
    assert plan.classes.seen == (0, 1, 2, 3)
    assert "gnu" not in plan.examples.class_names
    labels = plan.examples.labels
    assert np.bincount(labels[plan.splits.test]).tolist() == [5] * 7
    assert np.bincount(labels[plan.splits.train]).tolist() == [6] * 7
    assert np.bincount(labels[plan.splits.validation]).tolist() == [2] * 7
    # Stem, two convolutions per stage and block, scales and shifts, output; then six more.
    kernels = 9 * (3 * 16 + 2 * 16**2 + 16 * 32 + 32**2 + 32 * 64 + 64**2)
    small = kernels + 2 * (16 + 2 * (16 + 32 + 64)) + 64 * 4 + 4
    more = 2 * 9 * (16**2 + 32**2 + 64**2) + 4 * (16 + 32 + 64)
    assert [g.cost.parameters for g in networks.groups] == [small, small + more]


def test_classes_left_out_are_not_novel(at_hand):
    plan, _ = load(data__classes=("dog", "bee"), data__novel_classes=("hen", "elk", "fox"))
    assert plan.examples.class_names == ("dog", "bee", "hen", "elk", "fox")
    assert plan.classes == ((0, 1), (2, 3, 4))


def test_novel_classes_follow_the_seed(at_hand):
    plans = [load(data__class_seed=seed)[0] for seed in (0, 2, -1)]
    names = [plan.examples.class_names[4:] for plan in plans]
    assert names[2] == ("elk", "fox", "hen")
    assert len(set(names)) == len({plan.examples.fingerprint for plan in plans}) == 3


def test_other_weights_are_another_run(at_hand, tmp_path):
    for name in ("small", "large"):
        weights(tmp_path / f"{name}.safetensors", {"small": 8, "large": 14}[name], seed=5)
    first = pretrained.resolved(changed())
    second = pretrained.resolved(changed(networks__folder=str(tmp_path)))
    assert len(set(first.networks.digests) & set(second.networks.digests)) == 0


@pytest.fixture
def odd(at_hand, tmp_path):
    """Files that do not fit: other images, and a set that repeats a seen class."""
    weights(tmp_path / "five.safetensors", 8, classes=5)
    images(tmp_path / "narrow.npz", OTHERS, 12, side=28)
    images(tmp_path / "small.npz", SEEN, 12, side=28)
    images(tmp_path / "five.npz", (*SEEN, "eel"), 12)
    images(tmp_path / "overlap.npz", ("dog", *OTHERS), 12)
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    return tmp_path


CASES = [
    (
        {"networks__weights": (("no.safetensors", "resnet_cifar"),)},
        "no.safetensors' cannot be read",
    ),
    ({"networks__weights": ()}, "networks.weights: found none"),
    ({"networks__weights": ("small.safetensors",)}, "networks.weights: .* a pair"),
    ({"networks__weights": NETWORKS[:1]}, "family 'resnet_cifar' has 74900 parameters; .* two"),
    (
        {"networks__weights": (("small.safetensors", "resnet_cifar:depth=20"),)},
        "small.safetensors",
    ),
    ({"networks__weights": (("small.safetensors", "resnet_cfar"),)}, "did you mean 'resnet_cifar'"),
    (
        {"networks__weights": (("{odd}/five.safetensors", "resnet_cifar"),)},
        "4 classes, .* 5 outputs",
    ),
    ({"networks__weights": (("{odd}/cut.safetensors", "resnet_cifar"),)}, "cut.safetensors"),
    ({"data__novel_source": "npz:{odd}/narrow.npz"}, "shape .32, 32, 3. .* .28, 28, 3."),
    ({"data__source": "npz:{odd}/five.npz,{odd}/five.npz"}, "5 classes, and .* 4 outputs"),
    ({"data__source": "npz:{odd}/small.npz"}, "shape .28, 28, 3. and .* .32, 32, 3."),
    ({"data__novel_source": "npz:{odd}/absent.npz"}, "absent.npz' cannot be read"),
    ({"data__novel_source": "npz:{odd}/overlap.npz"}, "is_test: .* does not say which"),
    (
        {
            "data__novel_source": "npz:{odd}/overlap.npz",
            "data__novel_classes": ("dog", "elk", "fox"),
        },
        "data.novel_classes: 'dog' is also a class that the networks were trained on",
    ),
    ({"data__novel_classes": ("elk", "foxx", "hen")}, "data.novel_classes: unknown name 'foxx'"),
    ({"data__novel_count": 5}, "data.novel_count: found 5; 4 of 5 classes can be drawn"),
    ({"data__novel_count": 0}, "data.novel_count: found 0"),
    ({"data__novel_count": 2}, "testbed.novel_counts: found 3; data.novel_count gives 2"),
    ({"data__novel_classes": ("elk",)}, "found 3; data.novel_classes gives 1 novel"),
    ({"data__exclude": ("gnus",)}, "data.exclude: unknown name 'gnus'"),
    ({"data__classes": ("ant", "be")}, "data.classes: unknown name 'be'"),
    ({"data__classes": ("ant",)}, "data.classes: .* at least 2 classes"),
    ({"data__train_per_class": -1}, "found -1, 5"),
    ({"testbed__levels": (0.7, 0.9)}, "testbed.levels: found .*1.0 .untouched."),
    ({"testbed__shift": "gausian_noise"}, "did you mean 'gaussian_noise'"),
    ({"protocols__shots": 50}, "protocols.shots: found 50"),
    ({"networks__files": ()}, "networks.files: unknown name 'files'"),
    ({"statistics__draws": 0}, "statistics.draws: found 0"),
]


@pytest.mark.parametrize(("changes", "words"), CASES, ids=lambda v: v if isinstance(v, str) else "")
def test_what_does_not_fit_is_refused_in_one_sentence(odd, changes, words):
    def placed(value):
        if isinstance(value, tuple):
            return tuple(placed(part) for part in value)
        return value.replace("{odd}", str(odd)) if isinstance(value, str) else value

    with pytest.raises(errors.GenjaxError, match=words) as refusal:
        load(**{name: placed(value) for name, value in changes.items()})
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ("networks.folder", "name the folder of the weight files"),
        ("data.source", "name the data set that the networks were trained on"),
        ("data.novel_source", "name the data set of the novel classes"),
    ],
)
def test_paths_that_nobody_gave_are_asked_for(files, monkeypatch, field, words):
    monkeypatch.delenv(pretrained.VARIABLE, raising=False)
    paths = {name: there.format(files) for name, there in pretrained._THERE.items()}
    given = {name.replace(".", "__"): there for name, there in paths.items() if name != field}
    with pytest.raises(errors.InvalidInputError, match=f"^{field}: is empty and .* {words}"):
        pretrained.resolved(changed(**given))


def test_the_command_line_refuses_before_anything_is_written(refused, tmp_path, monkeypatch):
    monkeypatch.delenv(pretrained.VARIABLE, raising=False)
    said = refused("benchmark", CONFIG, f"--output={tmp_path / 'results'}")
    assert said.startswith("networks.folder: is empty and GENJAX_DATA_DIR is not set")
    assert not (tmp_path / "results" / "run.json").exists()


@pytest.mark.data
def test_real_networks_and_classes_fit(data_dir, monkeypatch):
    monkeypatch.setenv(pretrained.VARIABLE, str(data_dir))
    plan, networks = pretrained.load(pretrained.resolved(benchmark.get_config("pretrained")))
    assert [g.cost.parameters for g in networks.groups] == [269722, 464154, 658586]
    assert plan.examples.class_names[:3] == ("airplane", "automobile", "bird")
    novel = set(plan.examples.class_names[10:])
    assert len(novel) == 10
    assert not novel & {"bus", "pickup_truck", "streetcar", "tank", "tractor"}
    assert np.bincount(plan.examples.labels[plan.splits.test]).tolist() == [100] * 20
    assert np.bincount(plan.examples.labels[plan.splits.train]).tolist() == [75] * 20
    # The images are those of the two sets, each under the name of its class.
    test = data.load(f"npz:{data_dir}/cifar100/test.npz")
    name = plan.examples.class_names[12]
    mine = plan.examples.take(np.flatnonzero(plan.examples.labels == 12))
    theirs = test.take(test.labels == test.class_names.index(name))
    known = {image.tobytes() for image in theirs.images}
    assert sum(image.tobytes() in known for image in mine.images) == 100


def test_stages_know_both_kinds():
    assert stages.trains(benchmark.get_config("smoke"))
    assert not stages.trains(benchmark.get_config("pretrained"))
    config = benchmark.get_config("smoke")
    assert stages.resolved(config) is config
    assert pathlib.Path(benchmark.__file__).with_name("pretrained.py").exists()
