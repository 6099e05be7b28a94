"""Bad input: one sentence that names the field, before anything is trained or written."""

import pathlib

import numpy as np
import pytest

from experiments import configuration, stages
from experiments.configs import benchmark
from genjax import errors, report

SMOKE = "--config=experiments/configs/benchmark.py:smoke"


def changed(**changes):
    """The smoke configuration with fields replaced; `a__b` is the field a.b."""
    config = benchmark.get_config("smoke").unlock()
    with config.ignore_type():
        for path, value in changes.items():
            *parents, name = path.split("__")
            section = config
            for parent in parents:
                section = section[parent]
            section[name] = value
    return config


def test_every_variant_has_the_fields_of_the_first():
    from experiments import fields

    for variant in set(benchmark.VARIANTS) - {"pretrained"}:
        fields.check_names(benchmark.get_config(variant), benchmark.get_config())
        fields.check(benchmark.get_config(variant))


def test_the_smoke_configuration_is_planned():
    plan = configuration.plan(changed())
    assert len(plan.classes.seen) == 5
    assert [model.name for model in plan.sweep.models] == ["mlp", "mlp", "cnn", "cnn"]
    assert sum(map(len, plan.splits)) == 1797


def test_seen_classes_may_be_listed():
    plan = configuration.plan(changed(data__seen=(7, 3, 5)))
    assert plan.classes.seen == (7, 3, 5)
    assert configuration.plan(changed(data__class_seed=-1)).classes.seen == (0, 1, 2, 3, 4)


MLP = ("mlp", {"widths": (8,)})
CASES = [
    ({"data__source": "digit"}, "data: unknown name 'digit'; did you mean 'digits'"),
    ({"data__source": "npz:no_such.npz"}, "npz: 'no_such.npz' cannot be read"),
    ({"data__seen": 0}, "data.seen: found 0; .* at least 2 classes"),
    ({"data__seen": 1}, "data.seen: found 1; .* at least 2 classes"),
    ({"data__seen": (3,)}, "found .* and 1; allowed .* at least 2 classes"),
    ({"data__seen": 11}, "num_seen: found 11; allowed are 1 to 10"),
    ({"data__seen": (1, 12), "data__class_seed": -1}, "found class 12; allowed are 0 to 9"),
    ({"data__fractions": (0.8, 0.2, 0.0)}, "data.fractions: found .* are all needed"),
    ({"data__fractions": (0.5, 0.5, 0.5)}, "fractions: found .* sum to 1"),
    ({"data__test_examples": 3}, "subset of 3: class . .* is left without an example"),
    ({"data__train_examples": -5}, "data.train_examples: found -5"),
    ({"sweep__models": ()}, "sweep.models and sweep.training: found 0 models"),
    ({"sweep__models": (("mpl", {}), MLP)}, "model: unknown name 'mpl'; did you mean 'mlp'"),
    ({"sweep__models": (("mlp", {"width": 8}),)}, "unknown name 'width'; did you mean 'widths'"),
    ({"sweep__models": (("mlp", {"widths": 8}),)}, "mlp with options .* makes no network"),
    ({"sweep__models": (("mlp", {"widths": "a"}),)}, "mlp with options .* makes no network"),
    ({"sweep__models": (("mlp", {"widths": (-8,)}),)}, "mlp.widths: found .* must be positive"),
    ({"sweep__models": ("mlp",)}, "sweep.models: found 'mlp'; a pair"),
    ({"sweep__models": (MLP,)}, "family 'mlp' has 565 parameters; .* two different sizes"),
    ({"sweep__models": (MLP, MLP)}, "family 'mlp' has 565, 565 parameters; .* twice"),
    ({"sweep__seeds": 0}, "sweep.seeds: found 0"),
    ({"sweep__seeds": 2.5}, "sweep.seeds: found 2.5; allowed is int"),
    ({"sweep__sedes": 3}, "sweep.sedes: unknown name 'sedes'; did you mean 'seeds'"),
    ({"sweep__hyper": {"learning_rat": (0.1,)}}, "did you mean 'learning_rate'"),
    ({"sweep__hyper": {"learning_rate": 0.1}}, "learning_rate: found 0.1; a tuple"),
    ({"sweep__hyper": {"learning_rate": ("a",)}}, "learning_rate: found 'a'; a number"),
    ({"sweep__hyper": {"learning_rate": (-0.1,)}}, "learning_rate: found -0.1; allowed"),
    ({"sweep__hyper": {"learning_rate": (0.1, 0.2)}}, "learning_rate: found .* one setting"),
    ({"training__optimizer": "adm"}, "training.optimizer: unknown name 'adm'; did you mean"),
    ({"training__augmentation": ("flp",)}, "augmentation: unknown name 'flp'; did you mean 'flip'"),
    ({"training__batch_size": 0}, "training.batch_size: found 0"),
    ({"testbed__shift": "gausian_noise"}, "did you mean 'gaussian_noise'"),
    ({"testbed__levels": ()}, "testbed.levels: found .*at least two"),
    ({"testbed__levels": (0.6, 0.6, 1.0)}, "testbed.levels: found .*twice"),
    ({"testbed__levels": (0.6, 1.2)}, "testbed.levels: found .*SSIM <= 1"),
    ({"testbed__levels": (0.6, 0.8)}, "testbed.levels: found .*1.0 .untouched."),
    ({"testbed__levels": ("a", 1.0)}, "testbed.levels: found 'a'; a number"),
    ({"testbed__novel_counts": (0, 6)}, "testbed.novel_counts: found 6; only 5 classes are novel"),
    ({"testbed__novel_counts": (-1, 2)}, "testbed.novel_counts: .*whole numbers from 0"),
    ({"testbed__novel_counts": (5, 0)}, "testbed.novel_counts: .*must ascend"),
    ({"testbed__novel_counts": (0,)}, "testbed.novel_counts: .*at least two"),
    ({"protocols__shots": 0}, "shots: 0 found"),
    ({"protocols__shots": 1000}, "protocols.shots: found 1000; class .* training examples"),
    ({"statistics__draws": 0}, "statistics.draws: found 0"),
    ({"statistics__level": 95.0}, "statistics.level: found 95.0"),
]


@pytest.mark.parametrize(("changes", "words"), CASES, ids=lambda v: v if isinstance(v, str) else "")
def test_a_bad_configuration_is_refused_by_the_plan(changes, words):
    with pytest.raises(errors.GenjaxError, match=words) as refusal:
        configuration.plan(changed(**changes))
    assert "\n" not in str(refusal.value)


def test_a_target_that_the_shift_cannot_reach():
    config = changed(testbed__levels=(-0.9, 1.0))
    with pytest.raises(errors.ShiftError, match=r"cannot reach an average SSIM of -0.9 .* to 1"):
        stages.prepare(config)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"images": np.zeros((40, 8, 8), np.int32)}, "images: found dtype int32"),
        ({"images": np.zeros((40, 64), np.uint8)}, "images: found 2 dimensions"),
        ({"images": np.full((40, 8, 8), 2.0)}, "images: found floats from 2 to 2"),
        ({"images": np.full((40, 8, 8), np.nan)}, "images: found values that are not finite"),
        ({"labels": np.arange(40) % 4 + 1}, "labels: found 4 at position 3; allowed are 0 to 3"),
        ({"labels": np.arange(40) % 4 - 1}, "labels: found -1 at position 0"),
        ({"labels": np.arange(40) % 3}, "class 3 .'d'. has no example"),
        ({"labels": np.zeros(40)}, "labels: found dtype float64"),
        ({"labels": np.zeros(39, int)}, "images of shape .40, 8, 8. and labels of shape .39,."),
        ({"labels": np.array([0] * 40, object)}, "'labels' in .* without running pickled code"),
        ({"labels": np.array([0, 1, 2] * 13 + [3])}, "class 3 .'d', 1 examples in all. is left"),
    ],
)
def test_a_bad_archive_is_refused_by_the_plan(tmp_path, arrays, words):
    good = {
        "images": np.zeros((40, 8, 8), np.uint8),
        "labels": np.arange(40) % 4,
        "class_names": np.array(list("abcd")),
    }
    np.savez(tmp_path / "bad.npz", **{**good, **arrays})
    config = changed(
        data__source=f"npz:{tmp_path / 'bad.npz'}", data__seen=2, testbed__novel_counts=(0, 2)
    )
    with pytest.raises(errors.DataError, match=words):
        configuration.plan(config)


@pytest.mark.parametrize("path", ["file", "file/below", "/proc/genjax"])
def test_an_output_folder_that_cannot_be_made(tmp_path, path):
    if path.startswith("/") and not pathlib.Path("/proc/self").exists():
        pytest.skip("no /proc here")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(errors.OutputError, match=r"output folder|cannot be") as refusal:
        report.storage.OutputFolder(tmp_path / path)
    assert path.rpartition("/")[2] in str(refusal.value)
    assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--config.sweep.sedes=3"], "config: unknown field 'sedes'"),
        (["--config.sweep.seeds=abc"], "flag --config.sweep.seeds=abc: invalid literal"),
        (["--ouput=somewhere"], "Unknown command line flag 'ouput'"),
        (["--config=experiments/configs/benchmark.py:smok"], "variant: unknown name 'smok'"),
        (["--config=no_such_file.py"], "config: Failed loading"),
        ([SMOKE, "--config.testbed.novel_counts=(0,6)"], "testbed.novel_counts: found 6"),
    ],
)
def test_the_command_line_refuses_in_one_sentence(refused, tmp_path, arguments, words):
    said = refused("benchmark", f"--output={tmp_path / 'results'}", *arguments)
    assert said.startswith(words)
    # The corrected command must find nothing in its way.
    assert not (tmp_path / "results" / "run.json").exists()


def test_a_blocked_output_path_is_refused_in_one_sentence(refused, tmp_path):
    (tmp_path / "file").write_text("in the way")
    said = refused("benchmark", SMOKE, f"--output={tmp_path / 'file' / 'below'}")
    assert "below" in said
