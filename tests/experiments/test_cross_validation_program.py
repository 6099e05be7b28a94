"""Repeated cross-validation, as a program."""

import types

import numpy as np
import pandas as pd
import pytest

from experiments import folding
from experiments.pools import Pool
from genjax.metrics import calibration
from genjax.report import cross_validation as report
from genjax.report.storage import OutputFolder

CONFIG = "--config=experiments/configs/cross_validation.py:smoke"


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cross_validation") / "out"
    code, out, err = run("cross_validation", CONFIG, f"--output={folder}")
    assert code == 0, err
    return folder, out


def test_models_are_compared_over_folds(folder):
    path, out = folder
    assert "Best by 3-fold cross-validation, repeated 2 times" in out
    for name in ("folds", "classes", "calibration"):
        assert (path / "figures" / f"{name}.png").stat().st_size > 5_000
    assert "Student&#39;s p" in (path / "report.html").read_text()
    folds = pd.read_csv(path / "folds.csv")
    assert len(folds) == 2 * 2 * 3
    wide = folds.pivot(index=["repeat", "fold"], columns="model", values="validation_error")
    apart = (wide.iloc[:, 0] - wide.iloc[:, 1]).to_numpy()
    (row,) = pd.read_csv(path / "comparisons.csv").to_dict("records")
    # 300 of the 302 examples make three folds of 100: n2/n1 = 1/2.
    t = abs(apart.mean()) / np.sqrt((1 / 6 + 1 / 2) * apart.var(ddof=1))
    assert abs(row["t"]) == pytest.approx(t, rel=1e-9)
    assert row["naive_p"] < row["p"]


def test_tables_agree_with_each_other(folder):
    path, _ = folder
    errors = pd.read_csv(path / "errors.csv").set_index(["model", "quantity"])["value"]
    folds = pd.read_csv(path / "folds.csv").groupby("model").mean()
    for model, own in folds.iterrows():
        assert errors[model, "validation nll"] == pytest.approx(own["validation_nll"])
        gap = own["validation_error"] - own["train_error"]
        assert errors[model, "gap"] == pytest.approx(gap)
        assert errors[model, "test error"] == pytest.approx(own["test_error"])
        assert 0 <= errors[model, "validation ece"] < 1


def test_a_second_run_has_nothing_to_do(folder, run):
    code, out, err = run("cross_validation", CONFIG, f"--output={folder[0]}")
    assert (code, "complete" in out) == (0, True), err


def test_what_cannot_be_validated_is_refused(refused, tmp_path):
    cases = {
        "folds: found 1": ["--config.folds=1"],
        "sweep.models: found 1": ["--config.sweep.models=(('mlp', {}),)"],
        "training.stop: found 'early_stopping'": ["--config.training.stop=early_stopping"],
        "sweep.models: found 'mlp 4' more": [
            "--config.sweep.models=(('mlp',{'widths':(4,)}),('mlp',{'widths':(4,)}))"
        ],
        "data.train_examples: found 9999": ["--config.data.train_examples=9999"],
    }
    for s, a in cases.items():
        assert s in refused("cross_validation", CONFIG, *a, f"--output={tmp_path / 'out'}")
    assert not (tmp_path / "out").exists()


def model(errors, bins=calibration.BINS):
    """Return what scores of four networks are, for these errors."""
    errors = np.array(errors)
    alive = np.isfinite(errors)
    repeats = 2 if alive.all() else 0
    scores = {
        f"{part}_{score}": errors
        for part in ("train", "validation", "test") for score in folding.SCORES
    }  # fmt: skip
    return scores | {
        "alive": alive, "class_accuracy": 1 - np.stack([errors, errors], axis=1),
        "test_wrong": np.array([0.1, 0.2, 0.4]) if alive.any() else np.full(3, np.nan),
        "ece": np.full(repeats, 0.1), "bins_examples": np.full((repeats, bins), 9),
        "bins_confidence": np.full((repeats, bins), 0.5),
        "bins_accuracy": np.full((repeats, bins), 0.4),
    }  # fmt: skip


def test_what_diverged_is_left_out_and_said(tmp_path):
    train = types.SimpleNamespace(class_names=("a", "b"))
    ready = folding.Ready(Pool(train, train), np.zeros((4, 8), int), np.zeros((4, 8), int))
    dead = [np.nan] * 4
    found = {
        "one": model([0.1, 0.3, 0.2, 0.2]), "some": model([0.2, np.nan, 0.4, 0.3]),
        "none": model(dead),
    }  # fmt: skip
    tables = folding.tables(found, ready, 2, 0.95)
    said = report.conclusions(tables, 2, 2)
    assert said[0].startswith("Best by 2-fold cross-validation, repeated 2 times: one")
    assert "one and none cannot be compared: too many networks diverged." in said
    pairs = tables["comparisons"].set_index(["a", "b"])
    assert pairs.loc[("one", "some"), "difference"] == pytest.approx(-0.4 / 3)
    errors = tables["errors"].set_index(["model", "quantity"])["value"]
    assert (errors["some", "diverged"], errors["none", "diverged"]) == (1, 4)
    assert len(report.sections(OutputFolder(tmp_path), tables)) == 4
    nothing = folding.tables({"a": model(dead), "b": model(dead)}, ready, 2, 0.95)
    assert report.conclusions(nothing, 2, 2) == [
        "The networks of all models diverged: nothing can be compared."
    ]
