"""Transfer, as a program; sentences by rules from numbers."""

from typing import Any

import jax
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from experiments import transferring
from experiments.configs import transfer as transfer_config
from experiments.transferring import NOVEL, PROBE, SCRATCH, SHIFTED, TUNED
from genjax.report import transfer as report

CONFIG = "--config=experiments/configs/transfer.py:smoke"


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("transfer") / "out"
    code, out, err = run("transfer", CONFIG, f"--output={folder}")
    assert code == 0, err
    return folder, out


def test_methods_are_compared_on_every_task(folder):
    path, out = folder
    assert "On novel classes, training from scratch minus" in out
    assert "On shifted images, training from scratch minus" in out
    assert (path / "figures" / "errors.png").stat().st_size > 5_000
    errors = pd.read_csv(path / "errors.csv")
    assert len(errors) == 2 * 3 * 2  # tasks, methods, sizes
    relations = pd.read_csv(path / "relations.csv")
    # The number of parameters is that of all networks: it has no rank.
    assert set(relations["measure"]) == {"source test error", "measure.fro_dist"}
    assert set(relations["settings"]) == {4}
    assert "What predicts transfer" in (path / "report.html").read_text()


def test_a_second_run_has_nothing_to_do(folder, run):
    code, out, err = run("transfer", CONFIG, f"--output={folder[0]}")
    assert (code, "complete" in out) == (0, True), err


def test_what_cannot_be_transferred_is_refused(refused, tmp_path):
    cases = {
        "seen: found 4 of 10 classes": ["--config.seen=4"],
        "shift.strength: found 0.0": ["--config.shift.strength=0.0"],
        "sizes: found (10, 35)": ["--config.sizes=(10, 35)"],
        "found fewer than 3 settings": ["--config.learning_rates=(0.1,)"],
    }
    for s, a in cases.items():
        assert s in refused("transfer", CONFIG, *a, f"--output={tmp_path / 'out'}")
    assert not (tmp_path / "out").exists()


@pytest.fixture
def tables():
    """Tables of invented errors: tuning helps on novel classes, and one measure predicts."""
    config: Any = transfer_config.get_config("smoke").unlock()
    config.learning_rates = (0.1, 0.2, 0.3)
    rng = np.random.default_rng(0)
    count = len(transferring.settings(config))
    setting = np.repeat(np.arange(count // 3), 3)
    found = {}
    for task in (NOVEL, SHIFTED):
        found[f"{task}: {SCRATCH}"] = 0.8 + 0.001 * rng.normal(size=(3, 2))
        found[f"{task}: {PROBE}"] = 0.8 + 0.1 * rng.normal(size=(count, 2))
        found[f"{task}: {TUNED}"] = 0.5 + 0.01 * setting[:, None] + np.zeros((count, 2))
        found[f"{task}: {TUNED}"] += 0.001 * rng.normal(size=(count, 2))
    known = {"measure.good": 1.0 * setting, "measure.flat": np.ones(count)}
    return transferring.tables(config, found, known), found


def test_means_differences_and_relations(tables):
    made, found = tables
    tuned = found[f"{NOVEL}: {TUNED}"][:, 1].reshape(6, 3).mean(axis=0)
    apart = found[f"{NOVEL}: {SCRATCH}"][:, 1] - tuned
    own = made["differences"].set_index(["task", "n", "a", "b"]).loc[(NOVEL, 40, SCRATCH, TUNED)]
    assert own["value"] == pytest.approx(apart.mean())
    assert own["p"] == pytest.approx(stats.ttest_1samp(apart, 0).pvalue)
    related = made["relations"].set_index(["task", "method", "measure"])
    good = related.loc[(NOVEL, TUNED, "measure.good")]
    assert good["value"] == pytest.approx(1.0)
    assert good["p"] == pytest.approx(2 / 720)  # of 6! orders, two are as extreme
    assert "measure.flat" not in related.index.get_level_values("measure")


def test_sentences_follow_the_numbers(tables):
    said = report.conclusions(tables[0])
    assert "fine-tuning helps at 2 of 2 sizes" in said[0]
    assert "that probing helps cannot be told" in said[1]
    assert any("most good: Kendall's tau 1.000" in s for s in said if "fine-tuning on" in s)


@pytest.mark.slow
def test_a_network_is_tuned_from_where_it_was_pretrained():
    """With a learning rate of next to nothing networks stay what they were."""
    from experiments import transfer

    config: Any = transfer_config.get_config("smoke").unlock()
    config.training.max_steps = config.training.record_every = 1
    config.hyper.learning_rate = config.probe_learning_rate = 1e-12
    ready = transfer.prepare(config)
    network = transfer._network(config, ready.source)
    count = len(transferring.settings(config))
    params = jax.vmap(lambda key: network.init(key)[0])(jax.random.split(jax.random.key(5), count))
    params = jax.tree.map(np.asarray, params)
    found = transferring.transferred(config, ready, network, params, None)
    test = ready.tasks[SHIFTED].test
    compared = 0
    for k in range(count):
        own = jax.tree.map(lambda leaf, k=k: leaf[k], params)
        logits = np.asarray(network.apply(own, test.images))
        first, second = np.sort(logits, axis=1)[:, -1], np.sort(logits, axis=1)[:, -2]
        if (first - second).min() == 0:
            continue  # units that are all dead leave a tie, which the least step breaks
        compared += 1
        wrong = (logits.argmax(axis=1) != test.labels).mean()
        for method in (PROBE, TUNED):
            assert found[f"{SHIFTED}: {method}"][k].tolist() == [wrong] * 2
    assert compared >= count // 2
    # Novel classes have new heads: nothing that pretraining left there is read.
    assert not np.array_equal(found[f"{NOVEL}: {PROBE}"], found[f"{SHIFTED}: {PROBE}"])
