"""Optimizers compared by sharpness, as a program; the comparison against scipy."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from genjax.report import curvature

CONFIG = "--config=experiments/configs/curvature.py:smoke"


def test_a_run_compares_optimizers_and_draws_the_loss(run, tmp_path):
    code, out, err = run("curvature", CONFIG, f"--output={tmp_path}")
    assert code == 0, err
    compared = pd.read_csv(tmp_path / "optimizers.csv")
    assert set(compared["optimizer"]) == {"sam"}
    assert {"test_error", "sam_sharpness"} <= set(compared["quantity"])
    table = pd.read_parquet(tmp_path / "networks.parquet")
    assert {"measure.sam_sharpness", "measure.hessian_trace", "metric.test_error"} <= set(table)
    for name in ("spectra", "slices", "paths", "edge"):
        assert (tmp_path / "figures" / f"{name}.png").stat().st_size > 5_000
    assert "The test error of sam minus that of momentum" in out
    assert "2/learning rate = 20" in out
    page = (tmp_path / "report.html").read_text()
    assert "edge of stability" in page
    code, out, err = run("curvature", CONFIG, f"--output={tmp_path}")
    assert (code, "complete" in out) == (0, True), err


@pytest.fixture
def rows():
    """Two optimizers, two rates, five seeds; the second rate validates better."""
    rng = np.random.default_rng(0)
    made = []
    for name in ("momentum", "sam"):
        for rate in (0.1, 0.2):
            for seed in range(5):
                made.append((name, rate, seed, rate, rng.uniform(), rng.uniform(1, 2)))
    names = ("hp.optimizer", "hp.learning_rate", "seed", "metric.validation_accuracy")
    return pd.DataFrame(made, columns=[*names, "metric.test_error", "measure.norm"])


def test_comparisons_are_paired_and_have_students_intervals(rows):
    found = curvature.compare(rows, 0.9).set_index("quantity")
    best = rows[rows["hp.learning_rate"] == 0.2]
    sam, base = (best[best["hp.optimizer"] == name] for name in ("sam", "momentum"))
    errors = sam["metric.test_error"].to_numpy() - base["metric.test_error"].to_numpy()
    half = scipy.stats.t.ppf(0.95, 4) * errors.std(ddof=1) / np.sqrt(5)
    got = found.loc["test_error", ["value", "low", "high"]].to_numpy(float)
    np.testing.assert_allclose(got, errors.mean() + np.array([0, -half, half]), rtol=1e-12)
    logs = np.log(sam["measure.norm"].to_numpy() / base["measure.norm"].to_numpy())
    half = scipy.stats.t.ppf(0.95, 4) * logs.std(ddof=1) / np.sqrt(5)
    got = found.loc["norm", ["value", "low", "high"]].to_numpy(float)
    np.testing.assert_allclose(got, np.exp(logs.mean() + np.array([0, -half, half])), rtol=1e-12)


def test_what_is_not_positive_has_no_ratio(rows):
    rows.loc[rows["seed"] == 3, "measure.norm"] = -1.0
    assert "norm" not in set(curvature.compare(rows, 0.9)["quantity"])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--config.pictures.points=2"], "pictures.points: found 2"),
        (["--config.pictures.edge_rates=(0.0,)"], "pictures.edge_rates: found 0"),
        (["--config.sweep.optimizers=('momentun',)"], "training.optimizer"),
    ],
)
def test_what_cannot_be_compared_is_refused(refused, arguments, sentence, tmp_path):
    assert sentence in refused("curvature", CONFIG, *arguments, f"--output={tmp_path / 'out'}")
    assert not (tmp_path / "out" / "run.json").exists()
