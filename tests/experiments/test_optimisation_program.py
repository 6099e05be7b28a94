"""Optimizers tuned and compared, as a program."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from experiments import tuning
from experiments.configs import optimisation as optimisation_config

CONFIG = "--config=experiments/configs/optimisation.py:smoke"


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("optimisation") / "out"
    code, out, err = run("optimisation", CONFIG, f"--output={folder}")
    assert code == 0, err
    return folder, out


def test_optimizers_are_compared_at_their_best(folder):
    path, out = folder
    assert "When both are tuned" in out
    assert (path / "figures" / "grid.png").stat().st_size > 5_000
    assert "Each at its best" in (path / "report.html").read_text()
    networks = pd.read_csv(path / "networks.csv")
    assert len(networks) == 2 * 2 * 2
    assert (networks["sharpness"] > 0).all()
    tuned = pd.read_csv(path / "tuned.csv").set_index("optimizer")
    by_rate = networks.groupby(["optimizer", "learning_rate"])["validation_error"].mean()
    for name, own in tuned.iterrows():
        assert own["validation_error"] == pytest.approx(by_rate[name].min())


@pytest.fixture
def grid():
    """Three optimizers, two batch sizes, two rates, six seeds; rate 1 and batch size 8 validate
    best, one network of sgd diverged there."""
    config = optimisation_config.get_config().unlock()
    config.seeds, config.batch_sizes = 6, (8, 16)
    config.rates = {"momentum": (0.1, 0.2), "adam": (0.1, 0.2), "sgd": (0.1, 0.2)}
    rng = np.random.default_rng(0)
    found = {}
    for name in tuning.optimizers(config):
        for batch in config.batch_sizes:
            base = 0.1 * (batch == 16) + np.array([[0.1], [0.0]])
            part = {
                "validation_error": 0.2 + base + rng.uniform(0, 0.01, (2, 6)),
                "test_error": 0.3 + rng.uniform(0, 0.1, (2, 6)),
                "train_error": np.zeros((2, 6)),
                "train_loss": np.zeros((2, 6)),
                "sharpness": rng.uniform(1, 2, (2, 6)),
            }
            found[name, batch] = part
    for value in found["sgd", 8].values():
        value[1, 3] = np.nan
    return config, found


def test_comparisons_are_paired_tests(grid):
    config, found = grid
    tables = tuning.tables(config, found)
    rows = tables["comparisons"].set_index(["optimizer", "quantity"])
    adam, base = (found[name, 8] for name in ("adam", "momentum"))
    test = scipy.stats.ttest_rel(adam["test_error"][1], base["test_error"][1])
    row = rows.loc[("adam", "test_error")]
    assert row["p"] == pytest.approx(test.pvalue)
    np.testing.assert_allclose([row["low"], row["high"]], test.confidence_interval(0.95))
    test = scipy.stats.ttest_rel(np.log(adam["sharpness"][1]), np.log(base["sharpness"][1]))
    row = rows.loc[("adam", "sharpness")]
    np.testing.assert_allclose(
        [row["low"], row["high"]], np.exp(np.array(test.confidence_interval(0.95)))
    )
    batches = tables["batches"].set_index("optimizer")
    test = scipy.stats.ttest_rel(base["test_error"][1], found["momentum", 16]["test_error"][1])
    assert batches.loc["momentum", "p"] == pytest.approx(test.pvalue)


def test_a_setting_in_which_a_network_diverged_is_not_chosen(grid):
    config, found = grid
    tuned = tuning.tables(config, found)["tuned"].set_index("optimizer")
    assert tuned.loc["adam", ["batch_size", "learning_rate"]].tolist() == [8, 0.2]
    assert tuned.loc["sgd", "learning_rate"] != 0.2 or tuned.loc["sgd", "batch_size"] != 8


def test_what_cannot_be_compared_is_refused(run, refused, tmp_path, folder):
    cases = {
        "base: unknown name 'sgd'": ["--config.base=sgd"],
        "rates.adam: found (0.1, 0.01)": ["--config.rates.adam=(0.1, 0.01)"],
        "batch_sizes: found 64": ["--config.batch_sizes=(64,)"],
        "examples: found 5000": ["--config.examples=5000"],
    }
    nowhere = f"--output={tmp_path / 'out'}"
    code, out, err = run("optimisation", CONFIG, f"--output={folder[0]}")
    assert (code, "complete" in out) == (0, True), err
    for sentence, arguments in cases.items():
        assert sentence in refused("optimisation", CONFIG, *arguments, nowhere)
    assert not (tmp_path / "out").exists()
