"""Snapshots are those of the uninterrupted training."""

import jax
import numpy as np
import pytest

from genjax import data, errors, models
from genjax.training import HyperParameters, TrainingConfig
from genjax.training.resamples import Own, train_resamples
from genjax.training.snapshots import train_with_snapshots


@pytest.fixture(scope="module")
def digits():
    return data.load("digits").take(range(200))


@pytest.fixture(scope="module")
def network():
    return models.create("mlp", image_shape=(8, 8, 1), num_classes=10, widths=(6,))


HYPER = HyperParameters(learning_rate=np.array([0.01, 0.02]), weight_decay=0.1)
INDICES = np.arange(120).reshape(2, 60)


def _train(network, digits, **changed):
    options = {"optimizer": "adamw", "max_steps": 30, "record_every": 10, "stop": "steps"}
    rules = TrainingConfig(**(options | changed))
    keys = jax.random.split(jax.random.key(0), 2)
    return train_with_snapshots(
        network, rules, digits, INDICES, np.arange(120, 200).reshape(2, 40), HYPER, keys,
        kept=(1, 2),
    )  # fmt: skip


@pytest.fixture(scope="module")
def found(network, digits):
    return _train(network, digits)


@pytest.mark.parametrize(("place", "steps"), [(0, 20), (1, 30)])
def test_a_snapshot_is_a_training_that_ends_there(found, network, digits, place, steps):
    rules = TrainingConfig(optimizer="adamw", max_steps=steps, record_every=10, stop="steps")
    keys = jax.random.split(jax.random.key(0), 2)
    group = train_resamples(network, rules, digits, Own(INDICES, hyper=HYPER), keys)
    for ours, theirs in zip(
        jax.tree.leaves(found.params[place]), jax.tree.leaves(group.params), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        found.history.loss[: steps // 10], group.history.loss, rtol=1e-5, atol=1e-6
    )


def test_every_network_is_judged_by_its_own_held_out_examples(found, network, digits):
    for k in range(2):
        params = jax.tree.map(lambda leaf, k=k: leaf[k], found.params[-1])
        part = slice(120 + 40 * k, 160 + 40 * k)
        right = np.asarray(network.apply(params, digits.images[part])).argmax(1)
        share = (right == digits.labels[part]).mean()
        assert found.history.validation_accuracy[-1, k] == pytest.approx(share)


def test_rules_that_break_the_records_are_refused(network, digits):
    with pytest.raises(errors.InvalidInputError, match="rules: found stop 'cross_entropy'"):
        _train(network, digits, stop="cross_entropy")
    with pytest.raises(errors.InvalidInputError, match="records every 7 of 30"):
        _train(network, digits, record_every=7)
