"""Scaling laws over examples, width and label noise, as a program; its sentences and its sets."""

import types

import numpy as np
import pandas as pd
import pytest

from experiments import scaling
from experiments import scaling_law as program
from experiments.configs import scaling_law as configs
from genjax.report import scaling_law as report
from genjax.report.storage import OutputFolder

CONFIG = "--config=experiments/configs/scaling_law.py:smoke"


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("scaling_law") / "out"
    code, out, err = run("scaling_law", CONFIG, f"--output={folder}")
    assert code == 0, err
    return folder, out


def test_laws_are_fitted_to_small_sizes_and_tested_on_the_largest(folder):
    path, out = folder
    assert "with training examples: as N^-alpha, alpha =" in out
    networks = pd.read_csv(path / "networks.csv")
    assert len(networks) == 2 * (2 * 4 * 3 + 4 * 3)  # measures, (rates, sizes, seeds), widths
    own = networks[(networks.axis == "examples") & (networks.noise == 0)]
    means = own[own.measure == "error"].groupby("size")["value"].mean()
    slope = np.polyfit(np.log(means.index[:-1]), np.log(means[:-1]), 1)
    fits = pd.read_csv(path / "fits.csv").set_index(["axis", "noise", "measure", "form"])
    alpha = fits.loc[("examples", 0.0, "error", "power"), "alpha"]
    assert alpha == pytest.approx(-slope[0], rel=1e-6)
    tested = pd.read_csv(path / "extrapolation.csv")
    row = tested[(tested.axis == "examples") & (tested.noise == 0) & (tested.measure == "error")]
    predicted = np.exp(np.polyval(slope, np.log(400)))
    assert row.iloc[0]["value"] == pytest.approx(predicted / means[400], rel=1e-6)
    # Networks of the largest set stand on the axis of widths too, trained once.
    wide = networks[(networks.axis == "width") & (networks["size"] == 8)]
    same = networks[(networks.axis == "examples") & (networks.noise == 0)]
    same = same[same["size"] == 400]
    np.testing.assert_array_equal(wide["value"], same["value"])


def test_the_page_shows_it_and_a_second_run_has_nothing_to_do(folder, run):
    path, _ = folder
    for name in ("examples", "width", "noise"):
        assert (path / "figures" / f"{name}.png").stat().st_size > 5_000
    assert "Sizes that were not fitted" in (path / "report.html").read_text()
    code, out, err = run("scaling_law", CONFIG, f"--output={path}")
    assert (code, "complete" in out) == (0, True), err


def test_what_cannot_be_fitted_is_refused(refused, tmp_path):
    cases = {
        "seeds: found 2": ["--config.seeds=2"],
        "label_noise: found (0.1,)": ["--config.label_noise=(0.1,)"],
        "sizes: found (50, 100, 200); they must grow": ["--config.sizes=(50, 100, 200)"],
        "sizes: found (50, 100, 150, 200); they must grow, and each must divide": [
            "--config.sizes=(50, 100, 150, 200)"
        ],
        "widths: found (8, 4, 2, 1)": ["--config.widths=(8, 4, 2, 1)"],
    }
    for s, a in cases.items():
        assert s in refused("scaling_law", CONFIG, *a, f"--output={tmp_path / 'out'}")
    assert not (tmp_path / "out").exists()


def test_sets_are_nested_and_so_is_their_noise():
    config = configs.get_config("smoke")
    ready = program.prepare(config)
    drawn, labels = (v.reshape(2, 4, 3, 400) for v in (ready.drawn, ready.labels))
    truth = ready.parts.train.labels
    np.testing.assert_array_equal(labels[0], truth[drawn[0]])
    for seed in range(3):
        sets = [set(drawn[1, size, seed]) for size in range(4)]
        assert [len(own) for own in sets] == [50, 100, 200, 400]
        assert sets[0] < sets[1] < sets[2] < sets[3]
        # Each example has one label for a seed, whatever the size of the set.
        labelled = np.full(len(truth), -1)
        labelled[drawn[1, 3, seed]] = labels[1, 3, seed]
        for size in range(3):
            np.testing.assert_array_equal(labels[1, size, seed], labelled[drawn[1, size, seed]])
        wrong = np.mean(labels[1, 3, seed] != truth[drawn[1, 3, seed]])
        assert abs(wrong - 0.3) < 5 * np.sqrt(0.3 * 0.7 / 400)
    np.testing.assert_array_equal(drawn[0], drawn[1])


@pytest.fixture(scope="module")
def tables():
    """Tables of synthetic errors: 2 n^-0.2 with right labels, n^-0.5 + 0.2 with wrong ones."""
    sizes, widths = (50, 100, 200, 400, 800), (2, 4, 8, 16, 32)
    config = types.SimpleNamespace(
        sizes=sizes, widths=widths, label_noise=(0.0, 0.3), beyond=2, level=0.95
    )
    factor = np.exp(0.01 * np.random.default_rng(0).normal(size=(2, 5, 8)))
    n = np.array(sizes, float)
    examples = np.stack([2 * n**-0.2, n**-0.5 + 0.2])[..., None] * factor
    width = (0.9 * np.array(widths, float) ** -0.5)[None, :, None] * factor[:1]
    found = {
        axis: {"error": values, "nats": 2 * values}
        for axis, values in (("examples", examples), ("width", width))
    }
    return scaling.tables(config, found)


def test_sentences_follow_the_numbers(tables):
    said = " ".join(report.conclusions(tables))
    fits = tables["fits"].set_index(["axis", "noise", "measure", "form"])
    for measure in ("error", "nats"):
        row = fits.loc[("examples", 0.0, measure, "power")]
        assert row["low"] < 0.2 < row["high"]
        assert row["high"] - row["low"] < 0.1
    assert "inside the range of 0.07 to 0.35" in said
    assert "right as far as can be told" in said
    assert "the error falls with units of a layer: as N^-alpha, alpha = 0.5" in said
    assert "Wrong labels of a share of 0.3 lower alpha" in said
    # With an offset, a power alone predicts too little of the error at larger sizes.
    tested = tables["extrapolation"]
    own = tested[(tested.noise == 0.3) & (tested.measure == "error") & (tested["size"] == 800)]
    own = own.set_index("form")
    assert own.loc["power", "high"] < 1


def test_without_a_law_the_page_says_so(tmp_path):
    config = types.SimpleNamespace(
        sizes=(1, 2, 4, 8), widths=(1, 2, 4, 8), label_noise=(0.0,), beyond=1, level=0.95
    )
    dead = np.full((1, 4, 3), np.nan)
    each = {"error": dead, "nats": dead}
    found = scaling.tables(config, {"examples": each, "width": each})
    assert np.isnan(found["means"]["value"]).all()
    assert not len(found["fits"])
    assert len(report.sections(OutputFolder(tmp_path), found)) == 3
    assert report.conclusions(found) == ["Too many networks diverged: no law could be fitted."]
