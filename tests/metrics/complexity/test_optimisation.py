"""Optimisation speed against loops over the record, and against records made by hand."""

import jax
import numpy as np
import pytest

from genjax.metrics import complexity
from genjax.training import segment

NAMES = ["steps_to_loss_0_1", "steps_loss_0_1_to_0_01", "sum_of_train_losses"]


@pytest.fixture
def speeds(groups, measure_data):
    """Measure the mlp group with a record of one's own, losses [T, 4] at steps [T]."""

    def measured(losses, steps):
        losses = np.asarray(losses, np.float32)
        nothing = np.full_like(losses, np.nan)
        record = segment.Record(losses, nothing, nothing, nothing, nothing)
        group = groups["mlp"]._replace(history=record, history_steps=np.asarray(steps))
        return complexity.measure_group(group, measure_data, NAMES, key=jax.random.key(0))

    return measured


def test_records_made_by_hand(speeds):
    nan = np.nan
    losses = [
        [2.0, 0.05, 1.0, nan],
        [0.5, 0.005, 0.1, nan],  # 0.1 itself is not below 0.1
        [0.09, nan, 0.05, nan],
        [0.009, nan, 0.02, nan],
    ]
    found = speeds(losses, [20, 40, 60, 70])
    np.testing.assert_array_equal(found.values[NAMES[0]], [60, 20, 60, nan])
    np.testing.assert_array_equal(found.info[NAMES[0]]["resolution"][:3], [20, 20, 20])
    np.testing.assert_array_equal(found.values[NAMES[1]], [10, 20, nan, nan])
    np.testing.assert_array_equal(found.info[NAMES[1]]["resolution"][:2], [20, 20])
    areas = [
        2.0 * 20 + 0.5 * 20 + 0.09 * 20 + 0.009 * 10,
        0.05 * 20 + 0.005 * 20,
        1.0 * 20 + 0.1 * 20 + 0.05 * 20 + 0.02 * 10,
        nan,
    ]
    np.testing.assert_allclose(found.values[NAMES[2]], areas, rtol=1e-6)
    said = {(r.measure, r.networks): r.reason for r in found.refused}
    assert set(said) == {(NAMES[0], (3,)), (NAMES[1], (2, 3)), (NAMES[2], (3,))}
    assert set(said.values()) == {"its training never reached the loss in question"}


def test_a_loss_that_rises_again_was_reached_at_its_first_record(speeds):
    found = speeds(np.tile(np.array([[0.08], [0.3], [0.04], [0.001]]), (1, 4)), [5, 10, 15, 20])
    np.testing.assert_array_equal(found.values[NAMES[0]], [5, 5, 5, 5])
    np.testing.assert_array_equal(found.values[NAMES[1]], [15, 15, 15, 15])


@pytest.mark.parametrize("family", ["mlp", "cnn", "resnet", "vit"])
def test_networks_trained_here_against_a_loop(groups, measure_data, family):
    group = groups[family]
    found = complexity.measure_group(group, measure_data, NAMES, key=jax.random.key(0))
    steps = np.asarray(group.history_steps)
    for network, losses in enumerate(np.asarray(group.history.loss, np.float64).T):
        first, second, area, before = np.nan, np.nan, 0.0, 0
        for step, loss in zip(steps, losses, strict=True):
            if np.isnan(loss):
                break
            area += loss * (step - before)
            before = step
            if np.isnan(first) and loss < 0.1:
                first = step
            if np.isnan(second) and loss < 0.01:
                second = step
        assert found.values[NAMES[0]][network] == first
        np.testing.assert_array_equal(found.values[NAMES[1]][network], second - first)
        # The sum is over the network's own steps, no further.
        assert before == group.stop_step[network]
        np.testing.assert_allclose(found.values[NAMES[2]][network], area, rtol=1e-6)
    assert np.isfinite(found.values[NAMES[0]]).all()


def test_networks_without_a_record_are_refused(groups, measure_data):
    group = groups["mlp"]._replace(history=None, history_steps=None)
    found = complexity.measure_group(group, measure_data, NAMES, key=jax.random.key(0))
    assert {r.measure for r in found.refused} == set(NAMES)
    assert {r.reason for r in found.refused} == {"it needs the record of the training run"}
