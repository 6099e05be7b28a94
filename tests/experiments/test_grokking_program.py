"""Grokking, as a program; delays and sentences by rules from numbers."""

import types

import jax
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from experiments import modular
from genjax import models
from genjax.metrics.information.nearest_neighbour_information import discrete_information
from genjax.report import grokking as report

CONFIG = "--config=experiments/configs/grokking.py:smoke"


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("grokking") / "out"
    code, out, err = run("grokking", CONFIG, f"--output={folder}")
    assert code == 0, err
    return folder, out


def test_networks_are_followed(folder):
    path, out = folder
    assert "reach 99% training accuracy" in out
    for name in ("accuracies", "norm", "sharpness", "margin_information", "error_information"):
        assert (path / "figures" / f"{name}.png").stat().st_size > 5_000
    measures = pd.read_csv(path / "measures.csv")
    assert sorted(measures["step"].unique()) == [25, 75, 200]
    norms = measures[(measures["quantity"] == "norm") & (measures["step"] == 200)]
    by_decay = norms.set_index("weight_decay")["value"]
    assert by_decay[1.0] < by_decay[0.0]
    assert len(pd.read_csv(path / "networks.csv")) == 2 * 3
    assert "What changes in between" in (path / "report.html").read_text()


def test_a_second_run_has_nothing_to_do(folder, run):
    code, out, err = run("grokking", CONFIG, f"--output={folder[0]}")
    assert (code, "complete" in out) == (0, True), err


def test_what_cannot_be_followed_is_refused(refused, tmp_path):
    cases = {
        "did you mean 'subtract'": ["--config.operation=substract"],
        "train_share: found 1.0": ["--config.train_share=1.0"],
        "records every 30 of 200 steps": ["--config.training.record_every=30"],
        "modulus: found 2": ["--config.modulus=2"],
    }
    for s, a in cases.items():
        assert s in refused("grokking", CONFIG, *a, f"--output={tmp_path / 'out'}")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("operation", "expected"), [("add", 1), ("subtract", 2)])
def test_pairs_are_one_hot_and_modular(operation, expected):
    examples = modular.pairs(5, operation)
    assert examples.images.shape == (25, 1, 10, 1)
    place = 4 * 5 + 2  # a = 4, b = 2
    assert np.flatnonzero(examples.images[place]).tolist() == [4, 5 + 2]
    assert examples.labels[place] == expected
    ready = modular.divided(examples, 0.8, 3, 0)
    for train, test in zip(ready.train, ready.test, strict=True):
        assert sorted([*train, *test]) == list(range(25))
        assert len(train) == 20


def test_delays_are_between_the_first_records_that_reach():
    found = {
        "steps": np.array([10, 20, 30]),
        "train": np.array([[1.0, 0.5, 0.2], [1.0, 0.99, 0.3], [1.0, 1.0, 0.3]]),
        "test": np.array([[0.1, 0.0, 0.0], [0.2, 0.2, 0.1], [0.99, 0.4, 0.1]]),
    }
    rows = modular.delays(found, (0.5,), 0.99)
    assert rows["fits_at"].tolist() == [10, 20, np.inf]
    assert rows["generalizes_at"].tolist() == [30, np.inf, np.inf]
    assert rows["delay"].tolist() == [20, np.inf, np.inf]


def test_sharpness_and_norm_are_those_of_the_dense_hessian():
    examples = modular.pairs(3, "add")
    network = models.create("mlp", image_shape=(1, 6, 1), num_classes=3, widths=(2,))
    made = [network.init(jax.random.key(k))[0] for k in range(2)]
    stack = jax.tree.map(lambda *leaves: np.stack(leaves), *made)
    train = np.array([[0, 1, 2, 3, 4], [4, 5, 6, 7, 8]])
    ready = modular.Ready(examples, train, train)
    group = types.SimpleNamespace(network=network, status=np.zeros(2, int))
    measured = modular.on_the_way(group, ready, train, [stack], 0)
    for k, params in enumerate(made):
        flat, unravel = jax.flatten_util.ravel_pytree(params)

        def loss(w, k=k, unravel=unravel):
            logits = network.apply(unravel(w), examples.images[train[k]])
            logs = jax.nn.log_softmax(logits)
            return -logs[np.arange(5), examples.labels[train[k]]].mean()

        top = np.linalg.eigvalsh(np.asarray(jax.hessian(loss)(flat), np.float64))[-1]
        assert measured["sharpness"][0, k] == pytest.approx(top, rel=1e-4)
        assert measured["norm"][0, k] == pytest.approx(np.linalg.norm(flat), rel=1e-5)
        logits = np.array(network.apply(params, examples.images))
        right = logits[np.arange(9), examples.labels]
        logits[np.arange(9), examples.labels] = -np.inf
        margins = (right - logits.max(axis=1))[:, None]
        member = np.isin(np.arange(9), train[k]).astype(int)
        expected = discrete_information(margins, member, key=jax.random.key(0)).value
        assert measured["margin_information"][0, k] == pytest.approx(expected, abs=1e-6)
        joint = np.histogram2d(margins[:, 0] > 0, member, bins=2)[0] / 9
        product = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
        counted = np.sum(joint[joint > 0] * np.log((joint / product)[joint > 0]))
        assert measured["error_information"][0, k] == pytest.approx(counted, abs=1e-9)


def test_the_interval_of_a_median_covers_it():
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        value, low, high = report.median(rng.exponential(size=9), 0.95)
        assert low <= value <= high
        held += low <= np.log(2) <= high
    # At least 0.95, up to the noise of 400 draws; order statistics are on the safe side.
    assert stats.binom.cdf(held, 400, 0.95) > 0.01
    assert report.median(np.array([1.0, np.inf, np.inf]), 0.95)[0] == np.inf


def _tables(delay):
    rows = [
        (1.0, "fits_at", 50.0, 40.0, 60.0, 8, 8),
        (1.0, "generalizes_at", 500.0, 400.0, 600.0, 8, 8),
    ]
    rows.append((1.0, "delay", *delay, 8, 8))
    columns = ["weight_decay", "quantity", "value", "low", "high", "reached", "seeds"]
    measures = [
        (1.0, step, "norm", value, value - 1, value + 1, 8)
        for step, value in ((50, 10.0), (900, 5.0))
    ]  # fmt: skip
    names = ["weight_decay", "step", "quantity", "value", "low", "high", "seeds"]
    found = pd.DataFrame(measures, columns=names)
    names = ("sharpness", "margin_information", "error_information")
    others = [found.assign(quantity=q, seeds=0) for q in names]
    return {
        "accuracies": pd.DataFrame({"step": [50, 900]}),
        "delays": pd.DataFrame(rows, columns=columns),
        "measures": pd.concat([found, *others], ignore_index=True),
    }


def test_sentences_follow_the_numbers():
    said = report.conclusions(_tables((450.0, 350.0, 550.0)), 0.99)
    assert said[0].endswith("at the median 450 [350, 550] steps later: generalization is delayed.")
    assert "norm of the weights falls, from 10 [9, 11] to 5 [4, 6]" in said[1]
    assert "sharpness" not in said[1]
    unsure = report.conclusions(_tables((0.0, 0.0, 550.0)), 0.99)
    assert unsure[0].endswith("that generalization is delayed cannot be told.")
    none = _tables((np.inf, np.inf, np.inf))
    none["delays"].loc[1, "reached"] = 0
    assert report.conclusions(none, 0.99)[0].endswith("none 99% test accuracy within 900 steps.")
    most = report.conclusions(_tables((np.inf, 350.0, np.inf)), 0.99)
    assert most[0].endswith("cannot be told, since most have not generalized.")
