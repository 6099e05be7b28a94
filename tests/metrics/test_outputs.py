"""Logits of a stack against one network after the other."""

import jax
import numpy as np
import pytest

from genjax import data, errors, models
from genjax.metrics import outputs
from genjax.training import TrainingConfig, segment
from genjax.training.resamples import Own, train_resamples


@pytest.fixture(scope="module")
def trained():
    digits = data.load("digits")
    mlp = models.create("mlp", image_shape=(8, 8, 1), num_classes=10, widths=(4,))
    rules = TrainingConfig(max_steps=4, record_every=4, stop="steps")
    own = np.arange(120).reshape(3, 40)
    keys = jax.random.split(jax.random.key(0), 3)
    return digits, train_resamples(mlp, rules, digits, Own(own), keys)


def test_a_stack_is_a_loop(trained, monkeypatch):
    digits, group = trained
    monkeypatch.setattr(outputs, "CHUNK", 32)  # a full chunk, and a rest
    found = outputs.group_logits(group, digits.images[:50])
    own = np.random.default_rng(0).integers(200, size=(3, 20))
    apart = outputs.group_logits(group, digits.images[:200], own)
    for k in range(3):
        params = group.network_params(k)
        np.testing.assert_allclose(
            found[k], group.network.apply(params, digits.images[:50]), atol=1e-6
        )
        np.testing.assert_allclose(
            apart[k], group.network.apply(params, digits.images[own[k]]), atol=1e-6
        )


def test_a_diverged_network_has_no_error_though_its_logits_are_finite(trained):
    digits, group = trained
    status = np.array([segment.EXHAUSTED, segment.DIVERGED, segment.EXHAUSTED])
    found = outputs.group_errors(group._replace(status=status), digits)
    params = group.network_params(0)
    wrong = np.argmax(group.network.apply(params, digits.images), axis=-1) != digits.labels
    assert found[0] == pytest.approx(wrong.mean())
    assert np.isnan(found).tolist() == [False, True, False]


def test_what_does_not_fit_is_refused(trained):
    digits, group = trained
    with pytest.raises(errors.InvalidInputError, match="images: found shape"):
        outputs.group_logits(group, digits.images[:3, :4])
    with pytest.raises(errors.InvalidInputError, match="own: found shape"):
        outputs.group_logits(group, digits.images[:3], np.full((3, 2), 3))
