"""Lottery tickets, as a program; sentences by rules from numbers."""

import numpy as np
import pandas as pd
import pytest

from experiments import over_seeds
from genjax.report import lottery_ticket as report

CONFIG = "--config=experiments/configs/lottery_ticket.py:smoke"


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("lottery_ticket") / "out"
    code, out, err = run("lottery_ticket", CONFIG, f"--output={folder}")
    assert code == 0, err
    return folder, out


def test_kinds_are_compared_at_every_sparsity(folder):
    path, out = folder
    assert "Winning tickets" in out
    for name in ("errors", "differences"):
        assert (path / "figures" / f"{name}.png").stat().st_size > 5_000
    networks = pd.read_csv(path / "networks.csv")
    assert len(networks) == 3 * 3 * 3
    # 64 x 16 + 16 x 10 kernel weights, of which 30 % are left, and then 30 % of those.
    kept = [(307 + 48) / 1184, (92 + 14) / 1184]
    np.testing.assert_allclose(sorted(networks["kept"].unique())[::-1][1:], kept, rtol=1e-9)
    dense = networks[networks["round"] == 0].groupby("seed")["test_error"]
    assert dense.nunique().tolist() == [1, 1, 1]
    assert "mask or the start" in (path / "report.html").read_text()


def test_differences_are_paired_by_start(folder):
    path, _ = folder
    networks = pd.read_csv(path / "networks.csv")
    wide = networks[networks["round"] == 2].pivot(index="seed", columns="kind", values="test_error")
    found = pd.read_csv(path / "differences.csv").set_index(["round", "against"])
    apart = (wide["random mask"] - wide["winning ticket"]).to_numpy()
    row = found.loc[(2, "random mask")]
    assert row["value"] == pytest.approx(apart.mean())
    t = apart.mean() / (apart.std(ddof=1) / np.sqrt(3))
    half = apart.mean() - row["low"]
    assert apart.mean() / half == pytest.approx(t / 4.302653, rel=1e-5)


def test_a_second_run_has_nothing_to_do(folder, run):
    code, out, err = run("lottery_ticket", CONFIG, f"--output={folder[0]}")
    assert (code, "complete" in out) == (0, True), err


def test_what_cannot_be_pruned_is_refused(refused, tmp_path):
    cases = {
        "share: found 1.0": ["--config.share=1.0"],
        "rewind_steps: found 60; allowed are 0 to 59": ["--config.rewind_steps=60"],
        "seeds: found 2": ["--config.seeds=2"],
        "training.stop: found 'early_stopping'": ["--config.training.stop=early_stopping"],
    }
    for s, a in cases.items():
        assert s in refused("lottery_ticket", CONFIG, *a, f"--output={tmp_path / 'out'}")
    assert not (tmp_path / "out").exists()


def _tables(new_start, p):
    """Tables in which tickets at two sparsities are beaten by, or beat, other networks."""
    rows = [
        (kept, against, value, value - 0.01, value + 0.01, chance)
        for kept, value, chance in zip((0.5, 0.1), new_start, p, strict=True)
        for against in ("mask with a new start", "random mask", "dense network")
    ]
    columns = ["kept", "against", "value", "low", "high", "holm_p"]
    errors = pd.DataFrame([(0, "winning ticket", "test_error", 0.1, 0.09, 0.11)])
    errors.columns = ["round", "kind", "quantity", "value", "low", "high"]
    networks = pd.DataFrame({"test_error": [0.1]})
    return {
        "differences": pd.DataFrame(rows, columns=columns),
        "errors": errors,
        "networks": networks,
    }


def test_a_win_is_said_only_where_it_is_sure():
    won = report.conclusions(_tables((0.0, 0.05), (1.0, 0.01)), 8)
    assert "beat the same masks with new starts at 1 of 2 sparsities, most at 10%" in won[0]
    assert "0.050 [0.040, 0.060]" in won[0]
    not_won = report.conclusions(_tables((0.0, 0.05), (1.0, 0.06)), 8)
    assert "do not beat the same masks with new starts at any of 2 sparsities" in not_won[0]
    beaten = report.conclusions(_tables((0.0, -0.05), (1.0, 0.01)), 8)
    assert beaten[0].endswith("and are beaten at 1.")
    assert beaten[2].startswith("Down to 50% of the weights")


def test_pairs_leave_out_what_diverged():
    found = over_seeds.paired(np.array([1.0, 2.0, np.nan]), np.array([0.5, 1.0, 3.0]), 0.95)
    assert (found["value"], found["seeds"]) == (0.75, 2)
    same = over_seeds.paired(np.ones(3), np.ones(3), 0.95)
    assert (same["value"], same["p"]) == (0.0, 1.0)
