"""Certificates from the command line: what is written, that it holds, resumes and refuses."""

import json
import shutil
from typing import Any

import numpy as np
import pandas as pd
import pytest

from experiments import certifying
from experiments.configs import certificate as configs
from genjax.errors import InvalidInputError
from genjax.metrics import complexity

SMOKE = "--config=experiments/configs/certificate.py:smoke"
METHODS = ["compression", "learnt_fquad"]


@pytest.fixture(scope="module")
def certified(run, tmp_path_factory):
    """One run of the smallest variant: (folder, stdout, arguments)."""
    folder = tmp_path_factory.mktemp("certificate") / "results"
    arguments = (SMOKE, f"--output={folder}")
    code, out, err = run("certificate", *arguments)
    assert code == 0, err
    return folder, out, arguments


def test_every_bound_holds_and_is_below_guessing(certified):
    folder, out, _ = certified
    table = pd.read_csv(folder / "certificate.csv")
    assert table["method"].tolist() == [name for name in METHODS for _ in range(2)]
    assert table["seed"].tolist() == [0, 1, 0, 1]
    assert np.all(table["test_error"] < table["bound"])
    assert np.all(table["bound"] < 0.9)
    assert np.all(table["bound"] > table["train_error"])
    assert table["holds"].tolist() == table["below_guessing"].tolist() == [True] * 4
    assert table["vacuous"].tolist() == [False] * 4
    assert table["learnt_prior"].tolist() == [False, False, True, True]
    np.testing.assert_allclose(table["confidence"], [0.95, 0.95, 0.965, 0.965])
    # 1,438 of 1,797 digits are trained on; half of them taught the prior.
    assert table["num_examples"].tolist() == [1438, 1438, 719, 719]
    assert set(table["test_examples"]) == {359}
    assert "- All 4 bounds hold (2 methods, 2 seeds)" in out
    assert (folder / "certificate.svg").exists()
    text = (folder / "report.html").read_text()
    assert "All 4 bounds hold" in text


def test_settings_that_were_tried_are_paid_for(certified):
    """The union over 64 settings is in the numbers: 6 bits, and a 64th of the failures."""
    table = pd.read_csv(certified[0] / "certificate.csv")
    for row in table.to_dict("records"):
        if row["method"] == "compression":
            bound = complexity.catoni_bound(row["train_error"], row["kl_nats"], 1438)
        else:
            on_examples = complexity.sampled_error_bound(row["train_error"], 200, delta=0.01 / 64)
            bound = complexity.maurer_bound(on_examples, row["kl_nats"], 719, delta=0.025 / 64)
        assert row["bound"] == pytest.approx(float(bound), abs=2e-5)


@pytest.mark.slow
def test_the_same_command_does_nothing_and_a_stopped_run_goes_on(certified, run, tmp_path):
    folder, _, arguments = certified
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    code, out, _ = run("certificate", *arguments)
    assert code == 0
    assert out.startswith("complete: ")
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    # As if it had been stopped after both methods, one of them measured on other examples.
    again = tmp_path / "again"
    shutil.copytree(folder, again)
    card = json.loads((again / "run.json").read_text())
    (again / "run.json").write_text(json.dumps({**card, "status": "partial"}))
    (again / "report.html").unlink()
    stored = again / "methods" / "compression.parquet"
    stored_before = stored.stat().st_mtime_ns
    other = again / "methods" / "learnt_fquad.parquet"
    pd.read_parquet(other).assign(mark="another run", bound=0.0).to_parquet(other)
    code, _, err = run("certificate", SMOKE, f"--output={again}")
    assert code == 0, err
    assert stored.stat().st_mtime_ns == stored_before
    first, second = (pd.read_csv(f / "certificate.csv") for f in (folder, again))
    pd.testing.assert_frame_equal(first, second)
    assert json.loads((again / "run.json").read_text())["status"] == "complete"


BAD = {
    "methods.compression.levels: found 4; uniform": ("methods.compression.levels", 4),
    "objective: unknown name 'fqad'; did you mean": ("methods.learnt_fquad.objective", "fqad"),
    "methods.compression.kind: found 'zip'": ("methods.compression.kind", "zip"),
    "methods.compression: .* unexpected keyword": ("methods.compression.draws", 3),
    "data.test_share: found 1.5": ("data.test_share", 1.5),
    "settings_tried: found 0": ("settings_tried", 0),
    "unknown name 'mlpp'": ("model.name", "mlpp"),
    "data.test_examples: found -1": ("data.test_examples", -1),
}


@pytest.mark.parametrize("sentence", BAD)
def test_bad_settings_are_refused(sentence):
    config = configs.get_config("smoke").unlock()
    field, found = BAD[sentence]
    *path, name = field.split(".")
    inner: Any = config
    for part in path:
        inner = inner[part]
    inner[name] = found
    with pytest.raises(InvalidInputError, match=sentence):
        certifying.plan(config)


def test_nothing_is_written_where_settings_are_refused(refused, tmp_path):
    said = refused("certificate", SMOKE, f"--output={tmp_path / 'bad'}", "--config.seeds=0")
    assert said == "seeds: found 0; allowed are whole numbers from 1."
    assert not list((tmp_path / "bad").glob("*"))


def test_a_folder_of_another_run_is_kept(certified, refused):
    folder, _, arguments = certified
    said = refused("certificate", *arguments, "--config.seeds=3")
    assert "another configuration: seeds was 2 and is now 3" in said
    assert (folder / "certificate.csv").exists()


@pytest.mark.data
@pytest.mark.slow
def test_bounds_hold_on_fashion_mnist(run, data_dir, tmp_path):
    arguments = [
        f"--config.data.source=idx:{data_dir / 'fashion_mnist'}",
        "--config.data.train_examples=10000",
        "--config.data.test_examples=4000",
        "--config.methods.compression.dimension=300",
    ]
    code, _, err = run("certificate", SMOKE, f"--output={tmp_path}", *arguments)
    assert code == 0, err
    table = pd.read_csv(tmp_path / "certificate.csv")
    assert table["test_examples"].tolist() == [4000] * 4
    assert np.all(table["test_error"] < table["bound"])
    assert np.all(table["bound"] < 0.6)
