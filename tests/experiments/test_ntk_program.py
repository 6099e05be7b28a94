"""Networks against their linearisations, as a program; sentences by rules from numbers."""

import numpy as np
import pandas as pd
import pytest

from genjax.report import ntk as report

CONFIG = "--config=experiments/configs/ntk.py:smoke"


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ntk") / "out"
    code, out, err = run("ntk", CONFIG, f"--output={folder}")
    assert code == 0, err
    return folder, out


def test_widths_are_compared(folder):
    path, out = folder
    assert "falls as width to the power" in out
    for name in ("distance", "errors"):
        assert (path / "figures" / f"{name}.png").stat().st_size > 5_000
    networks = pd.read_csv(path / "networks.csv")
    assert len(networks) == 2 * 4
    # The wider network is closer to its linearisation from every start.
    wide = networks.pivot(index="width", columns="seed", values="distance").to_numpy()
    assert np.all(wide[1] < wide[0])
    slopes = np.log(wide[1] / wide[0]) / np.log(4)
    found = pd.read_csv(path / "slopes.csv").set_index("quantity")["value"]
    assert found["distance"] == pytest.approx(slopes.mean())
    assert "linear picture" in (path / "report.html").read_text()


def test_a_second_run_has_nothing_to_do(folder, run):
    code, out, err = run("ntk", CONFIG, f"--output={folder[0]}")
    assert (code, "complete" in out) == (0, True), err


def test_what_has_no_linearisation_is_refused(refused, tmp_path):
    cases = {
        "widths: found (64,)": ["--config.widths=(64,)"],
        "rate: found 0.0": ["--config.rate=0.0"],
        "activation: unknown name 'tan'; did you mean 'tanh'": ["--config.activation=tan"],
    }
    for s, a in cases.items():
        assert s in refused("ntk", CONFIG, *a, f"--output={tmp_path / 'out'}")
    assert not (tmp_path / "out").exists()


def _tables(apart, slope):
    rows = [
        (width, against, value, value - 0.01, value + 0.01, 8, 0.5)
        for width, value in zip((16, 64), apart, strict=True)
        for against in ("linear_error", "kernel_error")
    ]
    columns = ["width", "against", "value", "low", "high", "seeds", "p"]
    return {
        "differences": pd.DataFrame(rows, columns=columns),
        "slopes": pd.DataFrame([{"quantity": "drift", **slope}]),
        "networks": pd.DataFrame({"distance": [0.1]}),
    }


@pytest.mark.parametrize(
    ("apart", "sentence"),
    [
        ((0.05, 0.005), "predicts the test error to 0.02 from 64 units on"),
        ((0.0, 0.005), "predicts the test error to 0.02 at every width"),
        ((0.0, 0.015), "cannot be told at the widest"),
    ],
)
def test_the_picture_holds_where_the_interval_is_inside_the_margin(apart, sentence):
    slope = {"value": -1.1, "low": -1.2, "high": -0.9, "seeds": 8}
    said = report.conclusions(_tables(apart, slope), 0.02)
    assert sentence in said[0]
    assert said[1].endswith("1/width is in the interval.")


@pytest.mark.parametrize(
    ("low", "high", "sentence"),
    [
        (-1.5, -1.1, "faster than 1/width"),
        (-0.9, -0.5, "slower than 1/width"),
        (-0.9, 0.1, "that it falls cannot be told"),
        (np.nan, np.nan, "cannot be told"),
    ],
)
def test_rates_are_held_against_one_over_width(low, high, sentence):
    slope = {"value": (low + high) / 2, "low": low, "high": high, "seeds": 8}
    assert sentence in report.conclusions(_tables((0.0, 0.0), slope), 0.02)[1]
