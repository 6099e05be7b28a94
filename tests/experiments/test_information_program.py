"""Information theory asked of real networks, as a program: every kind, resumed, refused."""

import pandas as pd
import pytest

from experiments import replacing
from genjax.report import information_words as words

CONFIG = "--config=experiments/configs/information.py:smoke"
COLUMNS = [
    *("experiment", "n", "depth", "seed", "bound", "value", "low", "high", "gap", "vacuous"),
    "holds",
]


@pytest.mark.parametrize(
    ("kind", "figures", "said"),
    [
        ("supersample", ["bounds"], "above the measured gap"),
        pytest.param("depth", ["depth", "chain", "plane"], "hidden layers", marks=pytest.mark.slow),
        pytest.param("stability", ["stability"], "replace-one stability", marks=pytest.mark.slow),
        pytest.param("noisy_sgd", ["noise"], "At the last step", marks=pytest.mark.slow),
    ],
)
def test_every_kind_writes_its_rows_and_pictures(run, tmp_path, kind, figures, said):
    arguments = (CONFIG, f"--config.kind={kind}", f"--output={tmp_path}")
    code, out, err = run("information", *arguments)
    assert code == 0, err
    rows = pd.read_csv(tmp_path / "information.csv")
    assert set(COLUMNS) <= set(rows)
    assert set(rows["experiment"]) == {kind}
    for name in figures:
        assert (tmp_path / "figures" / f"{name}.png").stat().st_size > 5_000
    assert said in out
    assert said in (tmp_path / "report.html").read_text()
    if kind == "supersample":
        first = (tmp_path / "information.csv").read_bytes()
        (tmp_path / "run.json").unlink()
        (tmp_path / "information.csv").unlink()
        code, out, err = run("information", *arguments)
        assert code == 0, err
        assert "steps/s" not in err  # what was trained is read
        assert (tmp_path / "information.csv").read_bytes() == first
    code, out, err = run("information", *arguments)
    assert (code, "complete" in out) == (0, True), err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--config.kind=depht"], "kind: unknown name 'depht'"),
        (["--config.supersample.sizes=(5000,)"], "10000 examples are needed"),
        (["--config.supersample.masks=3"], "supersample.masks: found 3"),
        (["--config.data.classes=(3,)"], "data.classes: found (3,)"),
        (["--config.training.threshold=-1.0"], "training.threshold: found -1"),
    ],
)
def test_what_cannot_be_asked_is_refused(refused, arguments, sentence, tmp_path):
    assert sentence in refused("information", CONFIG, *arguments, f"--output={tmp_path / 'out'}")
    assert not (tmp_path / "out" / "run.json").exists()


def test_verdicts_count_what_was_broken():
    rows = pd.DataFrame(
        {
            "bound": ["a", "a", "b", "b"],
            "value": [0.2, 0.4, 0.05, 2.0],
            "gap": 0.1,
            "vacuous": [False, False, False, True],
            "holds": [True, True, False, True],
        }
    )
    found = words.verdicts(rows).set_index("bound")
    assert found.loc["a", "times the gap"] == pytest.approx(8**0.5)
    assert found.loc["b", ["violated", "vacuous"]].tolist() == [1, 1]


def test_share_kept_is_that_of_the_means_with_a_jackknife():
    rows = [
        {"depth": 2, "control": "none", "seed": s, "place": p, "link": link, "nats": value}
        for s, (a, b) in enumerate([(0.2, 0.1), (0.3, 0.12), (0.25, 0.13)])
        for p, (link, value) in enumerate([("block1", a), ("logits", b)])
    ]
    found = words.kept_by_layers(pd.DataFrame(rows), 0.95).iloc[0]
    assert found["value"] == pytest.approx(0.35 / 0.75)
    assert found["low"] < found["value"] < found["high"]
    assert found["per_layer"] == pytest.approx(found["value"])


def _bounds(rows):
    frame = pd.DataFrame(rows, columns=["bound", "n", "value", "gap"])
    return frame.assign(vacuous=frame["value"] >= 1, holds=frame["value"] >= frame["gap"])


def test_what_applies_in_some_settings_only_is_not_called_the_tightest():
    rows = [("of clean networks", 10, 0.11, 0.1)]
    rows += [("e-CMI", n, 2 * gap, gap) for n, gap in ((10, 0.1), (20, 0.05))]
    said = words.conclusions("supersample", {"bounds": _bounds(rows)}, 0.95)
    assert "in up to 2 settings" in said[0]
    assert "arithmetic, not evidence" in said[0]
    assert "never vacuous is e-CMI: 2.00 times the gap" in said[1]


def test_a_seed_of_stability_is_one_observation():
    # Both sizes of a seed differ alike: 2 observations, not 4.
    found = pd.DataFrame(
        {"n": [10, 20] * 2, "seed": [0, 0, 1, 1], "gap": 0.1, "average": [0.12, 0.12, 0.16, 0.16],
         "hypothesis": 0.01, "uniform": 0.5}
    )  # fmt: skip
    said = words.conclusions("stability", {"stability": found}, 0.95)
    half = 12.7062 * 0.02  # Student's t of one degree of freedom, times the standard error
    assert f"0.040 [\N{MINUS SIGN}{half - 0.04:.3f}, {0.04 + half:.3f}] over 2 seeds" in said[0]
    assert "cannot be told from the gap" in said[0]


def test_only_what_bounds_the_gap_is_held_against_it():
    found = pd.DataFrame(
        {"n": 10, "seed": [0, 1], "average": 0.1, "hypothesis": 0.01, "pointwise": [0.1, 0.3],
         "uniform": 0.05, "gap": 0.1}
    )  # fmt: skip
    rows = replacing._summary(found, 0.95).set_index("bound")
    assert rows.loc[["average", "hypothesis", "gap"], ["holds", "vacuous"]].isna().all(axis=None)
    assert rows["holds"].dropna().to_dict() == {"pointwise": True, "uniform": False}


def test_shares_kept_are_said_with_what_they_do_not_see():
    links = ["block1", "block2", "logits"]
    rows = [
        {"depth": 2, "control": "none", "seed": s, "place": p, "link": link, "nats": value}
        for s in range(3)
        for p, (link, value) in enumerate(zip(links, (0.2, 0.18, 0.162), strict=True))
    ]
    said = words._on_chain(pd.DataFrame(rows), 0.95)
    assert "counts as kept" in said[0]
    assert "geometric mean per layer is 0.900" in said[0]
    assert "its bound would be 0.90 times" in said[1]
