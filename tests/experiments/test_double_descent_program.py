"""Double descent, as a program."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats

CONFIG = "--config=experiments/configs/double_descent.py:smoke"


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("double_descent") / "out"
    code, out, err = run("double_descent", CONFIG, f"--output={folder}")
    assert code == 0, err
    return folder, out


def test_random_features_err_most_where_they_are_as_many_as_examples(folder):
    path, out = folder
    assert "random features err most at 60 features, the number of examples" in out
    found = pd.read_csv(path / "closed_form.csv")
    assert found.loc[found["value"].idxmax(), "features"] == 60
    assert np.isinf(found.loc[found["features"] == 60, "closed"]).all()
    errors = pd.read_csv(path / "errors.csv")
    own = errors[errors["axis"] == "random features"].groupby("x")["test_error"].mean()
    assert own.idxmax() == 60
    page = (path / "report.html").read_text()
    assert "Random features against their closed form" in page
    for name in ("closed_form", "width_of_networks", "random_features", "steps_of_training"):
        assert (path / "figures" / f"{name}.png").stat().st_size > 5_000


def test_curves_are_means_with_students_intervals(folder):
    path, _ = folder
    errors, curves = (pd.read_csv(path / f"{name}.csv") for name in ("errors", "curves"))
    for row in curves.to_dict("records"):
        same = (errors["axis"] == row["axis"]) & (errors["x"] == row["x"])
        values = errors.loc[same, "test_error"].to_numpy()
        assert len(values) == row["seeds"] == 3
        assert row["value"] == pytest.approx(values.mean())
        if np.ptp(values):
            half = scipy.stats.t.ppf(0.975, 2) * scipy.stats.sem(values)
            assert row["high"] - row["value"] == pytest.approx(half)
    # The last record of the widest network is what it ends with.
    last = errors[(errors["axis"] == "steps of training") & (errors["x"] == 100)]
    widest = errors[(errors["axis"] == "width of networks") & (errors["x"] == 32)]
    np.testing.assert_allclose(last["test_error"], widest["test_error"], atol=1e-6)


def test_a_second_run_has_nothing_to_do(folder, run):
    code, out, err = run("double_descent", CONFIG, f"--output={folder[0]}")
    assert (code, "complete" in out) == (0, True), err


def test_what_has_no_curve_is_refused(refused, tmp_path):
    cases = {
        "network.widths: found (2, 4)": ["--config.network.widths=(2, 4)"],
        "label_noises: found (1.0,)": ["--config.label_noises=(1.0,)"],
        "network.sizes: found (30, 50)": ["--config.network.sizes=(30, 50)"],
        "features.examples: found 5000": ["--config.features.examples=5000"],
        "training.stop: found 'early_stopping'": ["--config.training.stop=early_stopping"],
    }
    for s, a in cases.items():
        assert s in refused("double_descent", CONFIG, *a, f"--output={tmp_path / 'out'}")
    assert not (tmp_path / "out").exists()
