"""Supersample bounds: exact on enumerated problems, never below the gap of what they count."""

import itertools

import numpy as np
import pytest

from genjax import errors
from genjax.metrics.information import supersample_bounds as bounds
from genjax.metrics.information.discrete import mutual_information
from genjax.metrics.information.supersample import Outcomes


def of_one_pair(masks, codes):
    wrong = np.stack([codes // 2, codes % 2], axis=-1)[None, :, None]
    return Outcomes(wrong, wrong, masks[None, :, None], np.ones((1, len(masks)), bool))


def majority(n):
    """Every supersample of n pairs of fair bits, every mask: the majority bit is learned."""
    masks = np.array(list(itertools.product((0, 1), repeat=n)))
    bits = np.array(list(itertools.product((0, 1), repeat=2 * n))).reshape(-1, n, 2)
    trained = np.take_along_axis(bits[:, None], masks[None, ..., None], axis=-1)[..., 0]
    learned = (trained.sum(axis=-1) > n / 2).astype(np.int64)
    wrong = (learned[:, :, None, None] != bits[:, None]).astype(np.int64)
    predictions = np.broadcast_to(learned[:, :, None, None], wrong.shape)
    whole = np.broadcast_to(masks, (len(bits), *masks.shape))
    return Outcomes(predictions, wrong, whole, np.ones(wrong.shape[:2], bool))


@pytest.mark.parametrize(("n", "gap", "ld_cmi"), [(3, 0.25, 0.301751), (5, 0.1875, 0.228072)])
def test_majority_of_fair_bits_by_enumeration(n, gap, ld_cmi):
    found = majority(n)
    assert found.gap().mean() == pytest.approx(gap)
    values = {name: compute(found).mean() for name, compute in bounds.BOUNDS.items()}
    assert values["ld-CMI"] == pytest.approx(ld_cmi, abs=1e-6)
    assert values["ld-CMI"] <= values["e-CMI"] + 1e-12
    assert values["e-CMI"] <= values["f-CMI"] + 1e-12
    for name, value in values.items():
        if "corrected" not in name:
            assert value >= gap - 1e-12, name


@pytest.mark.parametrize("interpolates", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_no_bound_is_below_the_gap_that_was_counted(interpolates):
    # Half of the masks are 0: then the plug-in is the information of a distribution of its own.
    rng = np.random.default_rng(0)
    masks = np.repeat([0, 1], 32)
    for _ in range(200):
        shares = rng.dirichlet(np.full(4, rng.choice([0.1, 0.3, 1.0])), size=2)
        codes = np.concatenate([rng.choice(4, 32, p=p) for p in shares])
        if interpolates:
            codes = np.where(masks == 0, codes % 2, 2 * (codes // 2))
        found = of_one_pair(masks, codes)
        for name, compute in bounds.BOUNDS.items():
            if "corrected" not in name:
                assert compute(found)[0] >= found.gap().mean() - 1e-9, name


def test_interpolating_networks_give_an_equality():
    rng = np.random.default_rng(1)
    masks = np.repeat([0, 1], 50)
    codes = rng.integers(4, size=100)
    found = of_one_pair(masks, np.where(masks == 0, codes % 2, 2 * (codes // 2)))
    # With the same share of errors under both coins, I(D; U) = P(D != 0) log 2.
    same = of_one_pair(masks, np.where(masks == 0, [1] * 20 + [0] * 80, [2] * 100))
    assert bounds.interpolating(found)[0] >= found.gap().mean() - 1e-12
    balanced = of_one_pair(masks, np.where(np.arange(100) % 50 < 20, np.where(masks == 0, 1, 2), 0))
    assert bounds.interpolating(balanced)[0] == pytest.approx(0.4)
    assert balanced.gap().mean() == pytest.approx(0.4)
    assert np.isfinite(bounds.interpolating(same)[0])
    assert bounds.interpolating(of_one_pair(masks, np.full(100, 3)))[0] == np.inf


def test_a_memoriser_is_told_its_gap_of_one():
    masks = np.repeat([0, 1], 10)
    found = of_one_pair(masks, np.where(masks == 0, 1, 2))
    assert found.gap().mean() == 1.0
    assert bounds.interpolating(found)[0] == pytest.approx(1.0)
    assert bounds.f_information(found, "tight")[0] == pytest.approx(1.0)
    assert bounds.square_root(found, "differences")[0] == pytest.approx(np.sqrt(2 * np.log(2)))


def test_corrected_estimates_vanish_where_nothing_is_told():
    rng = np.random.default_rng(2)
    n, runs = 400, 30
    masks = rng.integers(2, size=(1, runs, n))
    wrong = rng.integers(2, size=(1, runs, n, 2))
    found = Outcomes(wrong, wrong, masks, np.ones((1, runs), bool))
    plain = bounds.square_root(found, "differences")[0]
    assert plain > 0.2  # all of it is bias
    pooled = bounds.square_root(found, "differences", correction="shuffling", pooled=True)[0]
    assert pooled < 0.08
    rows = bounds.table(found).set_index("bound")
    assert bool(rows.loc["ld-CMI", "mostly_bias"])
    assert not bool(rows.loc["ld-CMI, corrected", "mostly_bias"])


def test_diverged_networks_are_left_out():
    rng = np.random.default_rng(3)
    masks = rng.integers(2, size=(2, 8, 5))
    wrong = rng.integers(2, size=(2, 8, 5, 2))
    alive = np.ones((2, 8), bool)
    alive[0, 3] = False
    found = Outcomes(wrong, wrong, masks, alive)
    kept = np.delete(np.arange(8), 3)
    fewer = Outcomes(wrong[:1, kept], wrong[:1, kept], masks[:1, kept], alive[:1, kept])
    for name, compute in bounds.BOUNDS.items():
        assert compute(found)[0] == pytest.approx(compute(fewer)[0], nan_ok=True), name


def test_table_has_intervals_over_supersamples():
    found = majority(3)
    rows = bounds.table(found)
    assert {"bound", "value", "low", "high", "gap", "vacuous", "holds"} <= set(rows)
    own = rows.set_index("bound").loc["ld-CMI"]
    assert own["low"] < own["value"] < own["high"]
    assert own["gap"] == pytest.approx(0.25)
    weights = rows.set_index("bound").loc["CMI of the weights"]
    assert weights["value"] == pytest.approx(1.17741, abs=1e-5)
    assert weights["vacuous"]


def test_bad_input_is_refused_by_name():
    found = of_one_pair(np.repeat([0, 1], 4), np.zeros(8, np.int64))
    with pytest.raises(errors.InvalidInputError, match="observed: found 'weights'"):
        bounds.square_root(found, "weights")
    with pytest.raises(errors.InvalidInputError, match="divergence: found 'renyi'"):
        bounds.f_information(found, "renyi")
    with pytest.raises(errors.InvalidInputError, match=r"gamma: found 1\.0"):
        bounds.sharpness(found, gamma=1.0)
    dead = found._replace(alive=np.zeros((1, 8), bool))
    with pytest.raises(errors.InvalidInputError, match="supersample 0 has 0 networks"):
        bounds.binary_kl(dead)


def test_corrected_estimates_never_exceed_a_coin():
    # Miller and Madow's correction adds 1/(2 K2) where every outcome gives the coin away.
    masks = np.repeat([0, 1], 4)
    found = of_one_pair(masks, np.where(masks == 0, 1, 2))
    for name in ("f-CMI, corrected", "e-CMI, corrected", "ld-CMI, corrected"):
        assert bounds.BOUNDS[name](found)[0] == pytest.approx(bounds.OF_WEIGHTS), name
    each = bounds.square_root(found, "errors", correction="miller_madow")
    assert each[0] == pytest.approx(bounds.OF_WEIGHTS)


def test_bias_of_the_plug_in_is_as_said():
    # 30 masks in opposites: outcomes that are chance, those that follow another pair's coin (its
    # opposite turns them), and errors of networks that make none on what they are trained on.
    rng = np.random.default_rng(5)
    n, half = 20_000, 15
    masks = rng.integers(2, size=(half, n))
    other = rng.integers(2, size=(half, n))
    masks, other = (np.stack([a, 1 - a], axis=1).reshape(1, 2 * half, n) for a in (masks, other))
    chance = rng.integers(2, size=masks.shape)
    missed = (rng.random(masks.shape) < 0.1).astype(np.int64)
    alive = np.ones((1, 2 * half), bool)

    def nats(second, first=0):
        wrong = np.stack([first * np.ones_like(second), second], axis=-1)
        counts = bounds.joint(Outcomes(wrong, wrong, masks, alive), "errors").counts
        return mutual_information(counts)

    assert nats(chance).mean() == pytest.approx(1 / 60, rel=0.08)
    assert np.sqrt(2 * nats(chance)).mean() == pytest.approx(0.15, abs=0.005)
    assert nats(other).mean() == pytest.approx(1 / 30, rel=0.08)
    interpolating = nats(missed * (masks == 0), missed * (masks == 1))
    assert interpolating.mean() == pytest.approx(0.1 * np.log(2), rel=0.04)


def test_networks_without_training_errors_are_not_called_biased():
    # Eight masks: shuffling takes most of what is told away, though next to none of it is bias.
    rng = np.random.default_rng(6)
    half = rng.integers(2, size=(4, 5_000))
    masks = np.stack([half, 1 - half], axis=1).reshape(1, 8, 5_000)
    missed = (rng.random(masks.shape) < 0.05).astype(np.int64)
    wrong = np.stack([missed * masks, missed * (1 - masks)], axis=-1)
    found = Outcomes(wrong, wrong, masks, np.ones((1, 8), bool))
    counts = bounds.joint(found, "differences").counts
    told = mutual_information(counts).mean()
    assert told == pytest.approx(0.05 * np.log(2), rel=0.08)
    assert mutual_information(counts, correction="shuffling").mean() < 0.5 * told
    assert not bounds.table(found)["mostly_bias"].to_numpy().any()
