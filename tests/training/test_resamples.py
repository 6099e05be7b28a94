"""Networks with examples, labels, starts and masks of their own, against sweeps and plain loops."""

import dataclasses

import jax
import numpy as np
import pytest

from genjax import errors, models
from genjax.training import (
    HyperParameters,
    ModelConfig,
    SweepConfig,
    TrainingConfig,
    execution,
    resamples,
    segment,
    sweep,
)
from genjax.training.resamples import Own, train_resamples

KEY = jax.random.key(3)
RULES = TrainingConfig(batch_size=16, max_steps=24, record_every=8, stop="steps")


@pytest.fixture(scope="module")
def mlp():
    return models.create("mlp", image_shape=(8, 8, 1), num_classes=3, widths=(8,))


def keys(count):
    return jax.vmap(lambda s: jax.random.fold_in(KEY, s))(np.arange(count))


def leaves(tree):
    return jax.tree.leaves(tree)


def test_on_the_whole_set_it_is_a_sweep(few_digits, mlp):
    config = SweepConfig([ModelConfig("mlp", {"widths": (8,)})], [RULES], {}, 3)
    expected = sweep(config, few_digits, KEY).groups[0]
    whole = np.tile(np.arange(len(few_digits)), (3, 1))
    found = train_resamples(mlp, RULES, few_digits, Own(whole), keys(3))
    for a, b in zip(leaves(expected.params), leaves(found.params), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    for a, b in zip(leaves(expected.init_params), leaves(found.init_params), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    np.testing.assert_allclose(expected.history.loss, found.history.loss, rtol=1e-4)
    assert found.history_steps.tolist() == expected.history_steps.tolist()


@pytest.mark.parametrize("batch", [1, None], ids=["mapped", "vmapped"])
def test_every_network_is_as_if_trained_alone(few_digits, mlp, batch):
    rng = np.random.default_rng(0)
    own = rng.integers(len(few_digits), size=(3, 40))
    labels = rng.integers(3, size=(3, 40))
    hyper = HyperParameters(learning_rate=np.array([0.1, 0.05, 0.02]), weight_decay=0.01)
    form = execution.choose(jax.devices()[:1])._replace(batch=batch)
    together = train_resamples(
        mlp, RULES, few_digits, Own(own, labels, hyper), keys(3), form=form, held_out=few_digits
    )
    for k in range(3):
        single = Own(
            own[k : k + 1], labels[k : k + 1],
            hyper._replace(learning_rate=hyper.learning_rate[k]),
        )  # fmt: skip
        alone = train_resamples(mlp, RULES, few_digits, single, keys(3)[k : k + 1])
        for a, b in zip(leaves(together.params), leaves(alone.params), strict=True):
            np.testing.assert_allclose(a[k], b[0], atol=2e-5)
        logits = mlp.apply(together.network_params(k), few_digits.images[own[k]])
        right = np.mean(np.argmax(logits, 1) == labels[k])
        assert together.last("accuracy")[k] == pytest.approx(float(right), abs=1e-6)
        everywhere = np.argmax(mlp.apply(together.network_params(k), few_digits.images), 1)
        shared = np.mean(everywhere == few_digits.labels)
        assert together.last("validation_accuracy")[k] == pytest.approx(float(shared), abs=1e-6)


def test_starts_masks_and_frozen_modules_are_kept(few_digits, mlp):
    whole = np.tile(np.arange(len(few_digits)), (2, 1))
    first = train_resamples(mlp, RULES, few_digits, Own(whole), keys(2))
    rng = np.random.default_rng(1)
    masks = jax.tree.map(
        lambda leaf: rng.integers(2, size=leaf.shape).astype(np.float32), first.params
    )
    later = train_resamples(
        mlp, RULES, few_digits, Own(whole, start=first.params, masks=masks), keys(2)
    )
    for mask, begun, start, end in zip(
        *map(leaves, (masks, first.params, later.init_params, later.params)), strict=True
    ):
        np.testing.assert_allclose(start, begun * mask, atol=1e-7)
        assert np.all(end[mask == 0] == 0)
        assert np.any(end != start)
    head = train_resamples(mlp, RULES, few_digits, Own(whole), keys(2), trainable=("output",))
    for a, b in zip(leaves(head.params["dense1"]), leaves(head.init_params["dense1"]), strict=True):
        np.testing.assert_array_equal(a, b)
    assert np.any(head.params["output"]["kernel"] != head.init_params["output"]["kernel"])


def test_a_frozen_trunk_is_not_moved_by_weight_decay(few_digits, mlp):
    whole = np.tile(np.arange(len(few_digits)), (1, 1))
    own = Own(whole, hyper=HyperParameters(weight_decay=0.5))
    found = train_resamples(mlp, RULES, few_digits, own, keys(1), trainable=("output",))
    for a, b in zip(*(leaves(p["dense1"]) for p in (found.params, found.init_params)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_diverging_network_leaves_the_others_alone(few_digits, mlp):
    whole = np.tile(np.arange(len(few_digits)), (2, 1))
    hyper = HyperParameters(learning_rate=np.array([0.1, 1e30]))
    found = train_resamples(mlp, RULES, few_digits, Own(whole, hyper=hyper), keys(2))
    assert found.status.tolist() == [segment.EXHAUSTED, segment.DIVERGED]
    assert all(np.isfinite(leaf).all() for leaf in leaves(found.params))


def test_stopping_rules_look_at_the_own_training_set(few_digits, mlp):
    rules = TrainingConfig(batch_size=10, max_steps=2000, record_every=10, threshold=0.1)
    own = np.stack([np.arange(10), np.arange(10, 20)])
    found = train_resamples(mlp, rules, few_digits, Own(own), keys(2))
    assert np.all(found.status == segment.REACHED)
    assert np.all(found.last("loss") < 0.1)
    assert np.all(found.stop_step < 2000)


@pytest.mark.parametrize(
    ("own", "changes", "message"),
    [
        (Own(np.zeros(3, int)), {}, "own.indices: found dtype int64 and shape"),
        (Own(np.full((2, 3), 10**6)), {}, "own.indices: found 1000000 to 1000000"),
        (Own(np.zeros((2, 3), int), np.zeros((2, 2), int)), {}, "own.labels: found shape"),
        (Own(np.zeros((2, 3), int), np.full((2, 3), 3)), {}, "values 3 to 3"),
        (Own(np.zeros((3, 3), int)), {}, "one key for each of the 3"),
        (Own(np.zeros((2, 3), int)), {"trainable": ("outptu",)}, "trainable"),
        (Own(np.zeros((2, 3), int), start={"dense1": 0}), {}, "own.start: found other arrays"),
    ],
)
def test_bad_input_is_refused_by_name(few_digits, mlp, own, changes, message):
    with pytest.raises(errors.InvalidInputError, match=message):
        train_resamples(mlp, RULES, few_digits, own, keys(2), **changes)


def test_early_stopping_needs_held_out_examples(few_digits, mlp):
    rules = TrainingConfig(stop="early_stopping")
    with pytest.raises(errors.InvalidInputError, match="early_stopping"):
        train_resamples(mlp, rules, few_digits, Own(np.zeros((2, 3), int)), keys(2))


def test_the_same_shapes_are_compiled_once(few_digits, mlp):
    whole = np.tile(np.arange(len(few_digits)), (2, 1))
    train_resamples(mlp, RULES, few_digits, Own(whole), keys(2))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(resamples.segment, "make_segment", None)  # what tracing would call
        train_resamples(mlp, RULES, few_digits, Own(whole[:, ::-1]), keys(2))


WAY = Own(
    np.arange(12).reshape(2, 6),
    held_out=np.arange(12, 28).reshape(2, 8),
    hyper=HyperParameters(learning_rate=np.array([0.01, 0.02]), weight_decay=0.1),
)


@pytest.fixture(scope="module")
def on_the_way(few_digits, mlp):
    passed = {}

    def keep(step, params):
        passed[step] = params()

    group = train_resamples(mlp, RULES, few_digits, WAY, keys(2), on_record=keep)
    return group, passed


@pytest.mark.parametrize("steps", [8, 24])
def test_what_a_training_passes_through_is_a_training_that_ends_there(
    on_the_way, few_digits, mlp, steps
):
    whole, passed = on_the_way
    rules = dataclasses.replace(RULES, max_steps=steps)
    group = train_resamples(mlp, rules, few_digits, WAY, keys(2))
    for ours, theirs in zip(leaves(passed[steps]), leaves(group.params), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        whole.history.loss[: steps // 8], group.history.loss, rtol=1e-5, atol=1e-6
    )


def test_every_network_is_judged_by_its_own_held_out_examples(on_the_way, few_digits, mlp):
    group, passed = on_the_way
    for k in range(2):
        params = jax.tree.map(lambda leaf, k=k: leaf[k], passed[24])
        own = WAY.held_out[k]
        right = np.asarray(mlp.apply(params, few_digits.images[own])).argmax(1)
        share = (right == few_digits.labels[own]).mean()
        assert group.history.validation_accuracy[-1, k] == pytest.approx(share)


def test_held_out_examples_that_do_not_fit_are_refused(few_digits, mlp):
    with pytest.raises(errors.InvalidInputError, match=r"own.held_out: found shape \(1, 8\)"):
        train_resamples(mlp, RULES, few_digits, WAY._replace(held_out=WAY.held_out[:1]), keys(2))
    with pytest.raises(errors.InvalidInputError, match="held_out: found examples of every network"):
        train_resamples(mlp, RULES, few_digits, WAY, keys(2), held_out=few_digits)
