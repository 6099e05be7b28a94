"""Bias and variance over widths and sizes, as a program; its sentences and its samples."""

import types

import numpy as np
import pandas as pd
import pytest

from experiments import bias_variance as program
from experiments import pools
from experiments.configs import bias_variance as configs
from genjax.report import bias_variance as report

CONFIG = "--config=experiments/configs/bias_variance.py:smoke"


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bias_variance") / "out"
    code, out, err = run("bias_variance", CONFIG, f"--output={folder}")
    assert code == 0, err
    return folder, out


def test_the_sum_of_the_parts_is_the_loss(folder):
    path, out = folder
    assert "sum to the loss to" in out
    parts = pd.read_csv(path / "parts.csv")
    assert len(parts) == 2 * 2 * 3 * 4
    wide = parts.pivot(index=["width", "n", "loss"], columns="part", values="value")
    total = wide["noise"] + wide["bias"] + wide["variance"]
    np.testing.assert_allclose(total, wide["loss"], rtol=0, atol=1e-6)
    # Label noise of 0.2 over 10 classes: 1 - 0.8^2 - 9 (0.2/9)^2, 0.2, and an entropy.
    rate = 0.2
    entropy = -0.8 * np.log(0.8) - rate * np.log(rate / 9)
    noise = wide["noise"].groupby("loss").mean()
    expected = {"squared": 1 - 0.64 - rate**2 / 9, "0-1": rate, "cross-entropy": entropy}
    for loss, value in expected.items():
        assert noise[loss] == pytest.approx(value, rel=1e-9)


def test_the_page_shows_it_and_a_second_run_has_nothing_to_do(folder, run):
    path, _ = folder
    for name in ("width", "losses", "size"):
        assert (path / "figures" / f"{name}.png").stat().st_size > 5_000
    assert "Three losses against width" in (path / "report.html").read_text()
    code, out, err = run("bias_variance", CONFIG, f"--output={path}")
    assert (code, "complete" in out) == (0, True), err


def test_what_cannot_be_decomposed_is_refused(refused, tmp_path):
    cases = {
        "seeds: found 2": ["--config.seeds=2"],
        "label_noise: found 1.0": ["--config.label_noise=1.0"],
        "sizes: found (60, 100); they must grow": ["--config.sizes=(60, 100)"],
        "sizes: found 9000; there are": ["--config.sizes=(9000,)"],
        "widths: found (16, 2)": ["--config.widths=(16, 2)"],
    }
    for s, a in cases.items():
        assert s in refused("bias_variance", CONFIG, *a, f"--output={tmp_path / 'out'}")
    assert not (tmp_path / "out").exists()


def test_samples_are_nested_and_their_noise_is_the_stated_share():
    config = configs.get_config("smoke")
    pool = program.prepare(config)
    drawn, labels = program.samples(config, pool)
    assert drawn.shape == labels.shape == (2 * 4, 100)
    for sample in range(4):
        small, large = drawn[sample], drawn[4 + sample]
        np.testing.assert_array_equal(small, np.tile(large[:50], 2))
        np.testing.assert_array_equal(labels[sample], np.tile(labels[4 + sample][:50], 2))
        assert len(np.unique(large)) == 100
        assert np.sum(labels[4 + sample] != pool.train.labels[large]) == 20
    np.testing.assert_array_equal(pools.repeated(np.array([[1, 2]]), 4), [[1, 2, 1, 2]])


@pytest.fixture
def tables():
    """Variance rises and falls over three widths, bias falls; whether beyond doubt is open."""

    def make(doubt):
        parts, changes = [], []
        for loss in ("squared", "0-1", "cross-entropy"):
            for width, bias, variance in ((2, 0.5, 0.1), (8, 0.2, 0.3), (32, 0.1, 0.2)):
                values = {"loss": bias + variance, "noise": 0.0, "bias": bias, "variance": variance}
                parts += [(width, 100, loss, p, v, v - 0.01, v + 0.01) for p, v in values.items()]
            for start, end, bias, variance in (
                (2, 8, -0.3, 0.2), (2, 32, -0.4, 0.1), (32, 2, 0.4, -0.1), (32, 8, 0.1, 0.1),
            ):  # fmt: skip
                for part, v in (("bias", bias), ("variance", variance)):
                    ends = (v - doubt, v + doubt)
                    changes.append(("width", start, end, loss, part, v, *ends, *ends))
        columns = ["loss", "part", "value", "low", "high"]
        return {
            "parts": pd.DataFrame(parts, columns=["width", "n", *columns]),
            "changes": pd.DataFrame(
                changes, columns=["axis", "from", "to", *columns, "all_low", "all_high"]
            ),
            "networks": pd.DataFrame({"left out": [0]}),
        }

    return make


def test_sentences_follow_the_intervals(tables):
    sure = report.conclusions(tables(0.05))
    assert "the bias falls by 0.400 [0.350, 0.450]" in sure[0]
    assert "the variance grows by 0.100 [0.050, 0.150]" in sure[0]
    assert "largest at 8 units, by 0.2 above 2 and by 0.1 above 32" in sure[1]
    unsure = report.conclusions(tables(0.15))
    assert "a change of the variance cannot be told" in unsure[0]
    assert "larger than at 32 units cannot be told" in unsure[1]
    assert "larger than at 2 or 32 units cannot be told" in report.conclusions(tables(0.5))[1]


def test_diverged_networks_take_their_sample_out_everywhere():
    from experiments import resampling

    config = types.SimpleNamespace(widths=(2, 4), sizes=(50,), label_noise=0.0, level=0.95)
    test = types.SimpleNamespace(labels=np.array([0, 1]), num_classes=2)
    logits = np.random.default_rng(0).normal(size=(2, 1, 5, 2, 2))
    alive = np.ones((2, 1, 5), bool)
    alive[1, 0, 3] = False
    dead = logits.copy()
    dead[1, 0, 3] = np.nan
    found = resampling.tables(config, test, dead, alive)
    kept = resampling.tables(config, test, np.delete(logits, 3, 2), np.delete(alive, 3, 2))
    pd.testing.assert_frame_equal(found["parts"], kept["parts"])
    assert found["networks"]["diverged"].tolist() == [0, 1]
    alive[:] = False
    nothing = resampling.tables(config, test, dead, alive)
    assert nothing["parts"]["value"].isna().all()
    assert report.conclusions(nothing) == [
        "Too many networks diverged: nothing can be said of bias and variance."
    ]


def test_few_networks_do_not_bias_the_parts_of_the_cross_entropy():
    from experiments import resampling
    from genjax.metrics import decomposition

    rng = np.random.default_rng(0)
    centre = rng.normal(size=(40, 4))
    labels = np.arange(40) % 4

    def drawn(networks):
        return centre + 1.5 * rng.normal(size=(networks, 40, 4))

    known = np.eye(4)[labels]
    exact = [part.mean() for part in decomposition.cross_entropy(drawn(20_000), known)]
    config = types.SimpleNamespace(widths=(2, 4), sizes=(50,), label_noise=0.0, level=0.95)
    test = types.SimpleNamespace(labels=labels, num_classes=4)
    found, plain = [], []
    for _ in range(60):
        logits = drawn(8)
        rows = resampling.tables(
            config, test, np.stack([logits, logits])[:, None], np.ones((2, 1, 8), bool)
        )["parts"]
        own = rows[(rows["loss"] == "cross-entropy") & (rows["width"] == 2)].set_index("part")
        found.append(own.loc[["loss", "noise", "bias", "variance"], "value"].to_numpy())
        plain.append([part.mean() for part in decomposition.cross_entropy(logits, known)])
    found, plain = np.mean(found, axis=0), np.mean(plain, axis=0)
    np.testing.assert_allclose(found[0], found[1:].sum(), atol=1e-12)
    for part in (2, 3):  # bias and variance
        assert abs(found[part] - exact[part]) < 0.3 * abs(plain[part] - exact[part])
