"""Masks of whole stacks against PyTorch's pruning of one layer after the other."""

import jax
import numpy as np
import pytest

from genjax import data, errors, models
from genjax.training import HyperParameters, TrainingConfig, pruning
from genjax.training.resamples import Own, train_resamples


@pytest.fixture
def params():
    network = models.create("mlp", image_shape=(4, 4, 1), num_classes=3, widths=(7,))
    made = [network.init(jax.random.key(k))[0] for k in range(3)]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *made)


def test_rounds_of_pruning_are_those_of_torch(params):
    torch = pytest.importorskip("torch")
    from torch.nn.utils import prune

    masks = pruning.full_masks(params)
    for _ in range(3):
        masks = pruning.smallest_removed(params, masks, 0.3)
    for layer in ("dense1", "output"):
        for network in range(3):
            module = torch.nn.Linear(1, 1)
            kernel = params[layer]["kernel"][network]
            module.weight = torch.nn.Parameter(torch.tensor(kernel))
            for _ in range(3):
                prune.l1_unstructured(module, "weight", amount=0.3)
            np.testing.assert_array_equal(
                module.weight_mask.numpy(), masks[layer]["kernel"][network]
            )
        assert masks[layer]["bias"].all()


def test_a_layer_keeps_its_last_weight(params):
    masks = pruning.full_masks(params)
    for _ in range(20):
        masks = pruning.smallest_removed(params, masks, 0.6)
    kernel = masks["dense1"]["kernel"].reshape(3, -1)
    assert kernel.sum(axis=1).tolist() == [1, 1, 1]
    largest = np.abs(params["dense1"]["kernel"]).reshape(3, -1).argmax(axis=1)
    assert kernel.argmax(axis=1).tolist() == largest.tolist()


def test_random_masks_keep_as_many_elsewhere(params):
    masks = pruning.smallest_removed(params, pruning.full_masks(params), 0.5)
    drawn = pruning.shuffled(masks, 3)
    for layer in ("dense1", "output"):
        first, second = masks[layer]["kernel"], drawn[layer]["kernel"]
        axes = tuple(range(1, first.ndim))
        np.testing.assert_array_equal(first.sum(axis=axes), second.sum(axis=axes))
        assert (first != second).any()
        assert (second[0] != second[1]).any()
    assert pruning.share_kept(drawn) == pruning.share_kept(masks) == pytest.approx(0.5, abs=0.01)


def test_a_share_of_all_is_refused(params):
    with pytest.raises(errors.InvalidInputError, match=r"share: found 1\.0; allowed"):
        pruning.smallest_removed(params, pruning.full_masks(params), 1.0)


def test_removed_weights_stay_zero_in_training():
    digits = data.load("digits").take(range(100))
    network = models.create("mlp", image_shape=(8, 8, 1), num_classes=10, widths=(6,))
    rules = TrainingConfig(optimizer="adam", max_steps=5, record_every=5, stop="steps")
    keys = jax.random.split(jax.random.key(0), 2)
    indices = np.arange(100).reshape(2, 50)
    hyper = HyperParameters(learning_rate=0.01)
    first = train_resamples(network, rules, digits, Own(indices, hyper=hyper), keys)
    masks = pruning.smallest_removed(first.params, pruning.full_masks(first.params), 0.5)
    again = train_resamples(network, rules, digits, Own(indices, hyper=hyper, masks=masks), keys)
    for layer in ("dense1", "output"):
        kernel, mask = again.params[layer]["kernel"], masks[layer]["kernel"]
        assert not kernel[mask == 0].any()
        assert kernel[mask == 1].all()
