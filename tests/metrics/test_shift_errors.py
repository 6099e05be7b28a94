import jax
import numpy as np
import optax
import pandas as pd
import pytest
from scipy import stats

from genjax import data, models
from genjax.data import shifts
from genjax.errors import InvalidInputError, ShiftError
from genjax.metrics.shift_errors import combine, error_table, shift_errors, shift_outcomes

TARGETS = [1.0, 0.9, 0.6]
KEY = jax.random.key(5)


@pytest.fixture(scope="module")
def digits():
    return data.load("digits").take(np.random.default_rng(0).permutation(1797))


@pytest.fixture(scope="module")
def trained(digits):
    """A small MLP, trained on 1,000 digits."""
    network = models.create("mlp", image_shape=(8, 8, 1), num_classes=10, widths=(32,))
    parameters, statistics = network.init(jax.random.key(0))
    optimizer = optax.adam(0.02)
    part = digits.take(range(1000))

    @jax.jit
    def step(parameters, state):
        def loss(parameters):
            logits, _ = network.train_apply(parameters, statistics, part.images, jax.random.key(1))
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, part.labels)
            return losses.mean()

        updates, state = optimizer.update(jax.grad(loss)(parameters), state)
        return optax.apply_updates(parameters, updates), state

    state = optimizer.init(parameters)
    for _ in range(100):
        parameters, state = step(parameters, state)
    return network, network.fold(parameters, statistics)


@pytest.fixture(scope="module")
def test_part(digits):
    return digits.take(range(1000, 1250))


@pytest.fixture(scope="module")
def changes():
    return [shifts.create(name) for name in ("gaussian_noise", "gaussian_blur")]


@pytest.fixture(scope="module")
def table(trained, test_part, changes):
    return shift_errors(*trained, test_part, changes, TARGETS, KEY)


def test_every_level_is_counted_as_by_hand(trained, test_part, changes, table):
    network, params = trained
    rows = iter(table.to_dict("records"))
    for change in changes:
        levels = shifts.calibrate(change, test_part.images, TARGETS, KEY)
        shifted = shifts.apply_levels(change, levels, test_part.images, KEY)
        for k, target in enumerate(TARGETS):
            row = next(rows)
            predictions = np.asarray(network.apply(params, shifted[k])).argmax(1)
            wrong = int((predictions != test_part.labels).sum())
            interval = stats.binomtest(wrong, 250).proportion_ci(method="wilson")
            assert (row["shift"], row["ssim"], row["examples"]) == (change.name, target, 250)
            assert (row["wrong"], row["error"]) == (wrong, wrong / 250)
            np.testing.assert_allclose([row["low"], row["high"]], interval, rtol=1e-12, atol=1e-15)
            assert row["strength"] == levels.strengths[k]
            assert row["ssim_achieved"] == levels.achieved[k]
            assert row["ssim_spread"] == levels.spread[k]
    assert next(rows, None) is None


def test_error_grows_as_similarity_falls(table):
    for _, rows in table.groupby("shift"):
        assert rows["error"].iloc[0] < 0.12
        assert rows["error"].is_monotonic_increasing
        assert rows["low"].iloc[-1] > rows["high"].iloc[0]


def test_untouched_images_do_not_depend_on_the_shift(table):
    clean = table[table["ssim"] == 1]
    assert clean["wrong"].nunique() == 1
    assert (clean["strength"] == 0).all()
    assert (clean["ssim_achieved"] == 1).all()


def test_a_shift_alone_gives_the_same_rows(trained, test_part, changes, table):
    seen = []
    alone = shift_errors(
        *trained,
        test_part,
        changes[1:],
        TARGETS[1:],
        KEY,
        batch_size=64,
        on_progress=lambda name, target: seen.append((name, target)),
    )
    among = table[(table["shift"] == "gaussian_blur") & (table["ssim"] < 1)]
    pd.testing.assert_frame_equal(alone, among.reset_index(drop=True), check_exact=True)
    assert seen == [("gaussian_blur", 0.9), ("gaussian_blur", 0.6)]


def test_outcomes_of_single_images(trained, test_part, changes, table):
    network, params = trained
    seen = []
    parts = [
        shift_outcomes(
            *trained, test_part, change, TARGETS, KEY, on_progress=lambda *a: seen.append(a)
        )
        for change in changes
    ]
    assert seen == [(change.name, target) for change in changes for target in TARGETS]
    both = combine(parts)
    pd.testing.assert_frame_equal(error_table(both), table, check_exact=True)
    for change in changes:
        levels = shifts.calibrate(change, test_part.images, TARGETS, KEY)
        shifted = shifts.apply_levels(change, levels, test_part.images, KEY)
        for k, target in enumerate(TARGETS):
            logits = np.asarray(network.apply(params, shifted[k]))
            np.testing.assert_array_equal(
                both["wrong"].sel(shift=change.name, ssim=target),
                logits.argmax(1) != test_part.labels,
            )
    assert (both["reason"] == "").all()


def test_a_level_out_of_reach_is_left_out_with_its_reason(trained, test_part):
    jpeg = shifts.create("jpeg")
    found = shift_outcomes(*trained, test_part, jpeg, [0.9, 0.01, 1.0], KEY)
    reasons = found["reason"].values.tolist()
    assert "cannot reach an average SSIM of 0.01" in reasons[1]
    assert reasons[0] == reasons[2] == ""
    assert np.isnan(found["wrong"].sel(ssim=0.01)).all()
    assert np.isnan(found["strength"].sel(ssim=0.01))
    assert found["wrong"].drop_sel(ssim=0.01).notnull().all()
    kept = error_table(combine([found]))
    alone = shift_errors(*trained, test_part, [jpeg], [0.9], KEY)
    pd.testing.assert_frame_equal(kept[:1], alone, check_exact=True)
    assert kept["ssim"].tolist() == [0.9, 1.0]
    # A part of the examples without some class is measured all the same.
    few = test_part.take(np.flatnonzero(test_part.labels != 3))
    assert shift_outcomes(*trained, few, jpeg, [1.0], KEY).sizes["image"] == len(few)


def test_a_network_that_is_always_wrong(trained, test_part, changes):
    network, params = trained
    always = network._replace(apply=lambda params, images: -network.apply(params, images))
    found = shift_errors(always, params, test_part, changes[1:], [1.0], KEY)
    assert found["error"].tolist() == [1.0]
    assert found["high"].tolist() == [1.0]


def test_refusals(trained, test_part, changes):
    network, params = trained
    with pytest.raises(InvalidInputError, match=r"found the shifts \[\]"):
        shift_errors(network, params, test_part, [], TARGETS, KEY)
    with pytest.raises(InvalidInputError, match="each with its own name"):
        shift_errors(network, params, test_part, changes[:1] * 2, TARGETS, KEY)
    with pytest.raises(ShiftError, match="cannot reach"):
        shift_errors(network, params, test_part, [shifts.create("jpeg")], [0.1], KEY)
    for targets in ([], [1.1], [np.nan], [0.9, 0.9]):
        for measure in (shift_outcomes, lambda n, p, e, c, t, k: shift_errors(n, p, e, [c], t, k)):
            with pytest.raises(ShiftError, match="different SSIM values up to 1"):
                measure(network, params, test_part, changes[0], targets, KEY)
    with pytest.raises(ShiftError, match="tolerance: found 0"):
        shift_outcomes(network, params, test_part, changes[0], [1.0], KEY, tolerance=0)
    first, other = (
        shift_outcomes(network, params, test_part, changes[0], [level], KEY) for level in (1, 0.9)
    )
    with pytest.raises(InvalidInputError, match="none twice"):
        combine([first, first])
    with pytest.raises(InvalidInputError, match="have different levels or images"):
        combine([first, other.assign_coords(shift="other")])
    other = network._replace(num_classes=7)
    with pytest.raises(InvalidInputError, match="has 10 classes"):
        shift_errors(other, params, test_part, changes, TARGETS, KEY)
    broken = jax.tree.map(lambda leaf: leaf * np.nan, params)
    with pytest.raises(InvalidInputError, match="NaN"):
        shift_errors(network, broken, test_part, changes, TARGETS, KEY)
