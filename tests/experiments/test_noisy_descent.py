"""Bounds along noisy descent as a table."""

import types

import jax
import numpy as np
import pytest

from experiments import noisy_descent
from genjax import data
from genjax.errors import InvalidInputError

SMOKE = {
    "sizes": (40,), "population": 40, "depths": (2,), "width": 8, "seeds": 3, "noises": (0.01, 0.1),
    "rate": 0.2, "steps": 8, "looks": 2, "samplings": ("full", "fixed", "epochs"),
    "batch_share": 0.5, "probed": 16,
}  # fmt: skip


def settings(**changes):
    return types.SimpleNamespace(**{**SMOKE, **changes})


@pytest.fixture(scope="module")
def table():
    calls = []
    found = noisy_descent.run(
        settings(), data.load("digits"), jax.random.key(0), lambda *call: calls.append(call)
    )
    assert [call[:2] for call in calls] == [(0, 3), (1, 3), (2, 3), (3, 3)]
    return found


def test_the_table_has_a_row_per_seed_bound_noise_and_step(table):
    assert list(table) == [
        "experiment", "n", "depth", "bound", "noise", "seed", "gap",
        "value", "low", "high", "vacuous", "step", "holds",
    ]  # fmt: skip
    assert not table.duplicated(["bound", "noise", "seed", "step"]).any()
    full = ("neu", "negrea_variance", "pensia", "pensia_quadratic", "li_luo_qiao", "negrea", "cmi")
    fixed = (*(f"{name}_batches" for name in full[:5]), "wang_batches")
    for name in (*full, *fixed):
        rows = table[table["bound"] == name]
        assert len(rows) == 2 * 2 * 3, name
        assert set(rows["step"]) == {4, 8}
    assert len(table[table["bound"] == "neu_descent"]) == 2 * 3
    assert len(table[table["bound"] == "wang_mao"]) == 3
    assert set(table["seed"]) == {0, 1, 2}
    assert np.isfinite(table["value"]).all()


def test_flags_say_what_values_and_gaps_say(table):
    assert (table["vacuous"] == (table["value"] >= 1)).all()
    means = table.groupby(["bound", "noise", "step"])["gap"].transform("mean")
    assert (table["holds"] == (table["value"] >= means)).all()
    known = table.dropna(subset=["low"])
    assert ((known["low"] <= known["value"]) & (known["value"] <= known["high"])).all()
    # A gap is a difference of shares of 40 test and 40 training examples.
    np.testing.assert_allclose(table["gap"] * 40, np.round(table["gap"] * 40), atol=1e-4)


def test_bounds_fall_with_noise_and_rise_along_the_path(table):
    values = table.groupby(["bound", "noise", "step"])["value"].first().unstack()
    assert (values.dropna()[8] >= values.dropna()[4]).all()
    paths = values.dropna()[8].unstack()
    assert (paths[0.1] < paths[0.01]).all()
    assert (values.loc["pensia", 8] <= values.loc["pensia_quadratic", 8]).all()


@pytest.mark.parametrize(
    ("name", "value"), [("sizes", (2000,)), ("samplings", ("half",)), ("looks", 3)]
)
def test_what_cannot_be_run_is_refused_before_training(name, value):
    with pytest.raises(InvalidInputError, match=f"^{name}: found"):
        noisy_descent.run(
            settings(**{name: value}), data.load("digits"), jax.random.key(0), lambda *call: None
        )
