"""Regularisers in a factorial experiment, as a program."""

import numpy as np
import pandas as pd
import pytest

CONFIG = "--config=experiments/configs/regularisation.py:smoke"


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("regularisation") / "out"
    code, out, err = run("regularisation", CONFIG, f"--output={folder}")
    assert code == 0, err
    return folder, out


def test_effects_are_those_of_the_networks(folder):
    path, out = folder
    assert "Averaged over all combinations" in out
    assert "Alone, against no regulariser" in out
    assert (path / "figures" / "effects_test_error.png").stat().st_size > 5_000
    assert "All combinations" in (path / "report.html").read_text()
    networks, effects = (pd.read_csv(path / f"{name}.csv") for name in ("networks", "effects"))
    assert len(networks) == 2 * 4
    found = effects[effects["outcome"] == "test_loss"].set_index("factors")["value"]
    assert list(found.index) == [
        "weight_decay", "early_stopping", "weight_decay x early_stopping",
    ]  # fmt: skip
    for name in ("weight_decay", "early_stopping"):
        means = networks.groupby(name)["test_loss"].mean()
        assert found[name] == pytest.approx(means[True] - means[False], rel=1e-6)
    assert np.abs(found["weight_decay"]) > 0


def test_combinations_are_compared_with_none_on_the_same_seeds(folder):
    path, _ = folder
    networks, cells = (pd.read_csv(path / f"{name}.csv") for name in ("networks", "cells"))
    wide = networks.pivot(index="seed", columns="cell", values="test_error")
    for place, row in enumerate(cells.to_dict("records")):
        assert row["value"] == pytest.approx(wide[place].mean())
        assert row["change"] == pytest.approx((wide[place] - wide[0]).mean())
    assert sorted(cells["combination"]) == [
        "early_stopping", "none", "weight_decay", "weight_decay + early_stopping",
    ]  # fmt: skip


def test_what_cannot_be_compared_is_refused(run, refused, tmp_path, folder):
    cases = {
        "seeds: found 1": ["--config.seeds=1"],
        "examples: found 5000": ["--config.examples=5000"],
        "label_noise: found 1.0": ["--config.label_noise=1.0"],
        "sweep.hyper.dropout_rate: found 1.5": ["--config.factors.dropout_rate=1.5"],
    }
    nowhere = f"--output={tmp_path / 'out'}"
    code, out, err = run("regularisation", CONFIG, f"--output={folder[0]}")
    assert (code, "complete" in out) == (0, True), err
    for sentence, arguments in cases.items():
        assert sentence in refused("regularisation", CONFIG, *arguments, nowhere)
    assert not (tmp_path / "out").exists()
