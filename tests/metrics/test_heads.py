"""Heads over networks, levels and shares: leaks, masks, padding, failure, transformations."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from genjax.errors import DataError, InvalidInputError, SplitError
from genjax.metrics.heads import Features, Labels, StopReason, class_masks, make_head
from genjax.metrics.protocol import CLEAN, NEAREST_MEAN, NEAREST_NEIGHBOUR, PAPER

NETWORKS, LEVELS, CLASSES, WIDTH = 4, 2, 6, 10
CLEAN_LEVEL = 1  # the last one: SSIM ascending
MASKS = class_masks([0, 1, 2], [3, 4, 5], [0, 1, 3], num_classes=CLASSES, order_seeds=range(4))
QUICK_PAPER = dataclasses.replace(PAPER, learning_rate=0.02, epochs=6, patience=2)
QUICK_CLEAN = dataclasses.replace(CLEAN, learning_rate=0.02, epochs=6, patience=2)
QUICK_MEAN = dataclasses.replace(NEAREST_MEAN, shots=5)
QUICK_NEIGHBOUR = dataclasses.replace(NEAREST_NEIGHBOUR, shots=5)
PROTOCOLS = [QUICK_PAPER, QUICK_CLEAN, QUICK_MEAN, QUICK_NEIGHBOUR]
BY_NAME = {"argvalues": PROTOCOLS, "ids": [protocol.name for protocol in PROTOCOLS]}


@pytest.fixture(scope="module")
def group():
    """Overlapping Gaussian classes, other means per network; levels differ in noise."""
    rng = np.random.default_rng(1)
    labels = Labels(
        *(rng.permutation(np.arange(n) % CLASSES).astype(np.int32) for n in (90, 42, 42))
    )
    means = rng.normal(size=(NETWORKS, CLASSES, WIDTH)) * 0.9

    def draw(y, noise):
        return means[:, y] + noise * rng.normal(size=(NETWORKS, len(y), WIDTH))

    test = np.stack([draw(labels.test, 2.0), draw(labels.test, 1.0)], axis=1)
    novel = np.isin(labels.test, [3, 4, 5])[None, None, :, None]
    augmented = np.where(novel, test + rng.normal(size=test.shape), test)
    parts = (draw(labels.train, 1.0), draw(labels.validation, 1.0), test, augmented)
    features = Features(*(jnp.asarray(part, jnp.float32) for part in parts), width=WIDTH)
    return features, Labels(*map(jnp.asarray, labels))


def keys(n=NETWORKS):
    return jax.random.split(jax.random.key(5), n)


def head(protocol):
    return make_head(protocol, num_classes=CLASSES, clean_level=CLEAN_LEVEL)


def run(protocol, group, masks=MASKS):
    predictions, info = head(protocol)(*group, masks, keys())
    return np.asarray(predictions), jax.tree.map(np.asarray, info)


def error(predictions, labels, masks=MASKS):
    """Mean over networks, levels and shares of the error of the examples in play."""
    member = masks[:, :, np.asarray(labels.test)][:, None]
    wrong = (predictions != np.asarray(labels.test)) & member
    return wrong.sum() / np.broadcast_to(member, wrong.shape).sum()


@pytest.mark.parametrize("protocol", **BY_NAME)
def test_shapes_and_learning(protocol, group):
    predictions, info = run(protocol, group)
    assert predictions.shape == (NETWORKS, LEVELS, 3, 42)
    assert predictions.dtype == np.int32
    assert all(value.shape == (NETWORKS, 3) for value in info)
    assert info.finite.all()
    assert error(predictions, group[1]) < 0.5  # chance is .67 to .83
    trained = protocol.head == "linear_probe"
    assert ((info.epochs > 0) == trained).all()
    assert (np.isfinite(info.train_error) == trained).all()
    for network in range(NETWORKS):
        for share in range(3):
            assert MASKS[network, share][predictions[network, :, share]].all()


def test_clean_predictions_do_not_depend_on_test_labels(group):
    features, labels = group
    permuted = labels._replace(
        test=labels.test[jnp.asarray(np.random.default_rng(0).permutation(42))]
    )
    for protocol in (QUICK_CLEAN, QUICK_MEAN, QUICK_NEIGHBOUR):
        np.testing.assert_array_equal(
            run(protocol, (features, labels))[0], run(protocol, (features, permuted))[0]
        )


def test_the_paper_leaks_test_labels_into_the_stopping_epoch(group):
    features, labels = group
    permuted = labels._replace(
        test=labels.test[jnp.asarray(np.random.default_rng(0).permutation(42))]
    )
    honest, info = run(QUICK_PAPER, (features, labels))
    leaked, other = run(QUICK_PAPER, (features, permuted))
    assert (info.kept_epoch != other.kept_epoch).any()
    assert (honest != leaked).any()


def test_the_paper_does_not_read_validation_data(group):
    features, labels = group
    expected = run(QUICK_PAPER, group)[0]
    moved = features._replace(validation=features.validation + 7.0)
    np.testing.assert_array_equal(run(QUICK_PAPER, (moved, labels))[0], expected)
    assert (
        run(QUICK_CLEAN, (moved, labels))[1].stopping_error
        != run(QUICK_CLEAN, group)[1].stopping_error
    ).any()


def test_the_stopping_error_is_that_of_the_reported_predictions(group):
    """Kept weights, untouched level, examples in play: computed again from the predictions."""
    labels = group[1]
    predictions, info = run(QUICK_PAPER, group)
    member = MASKS[:, :, np.asarray(labels.test)]
    wrong = predictions[:, CLEAN_LEVEL] != np.asarray(labels.test)
    expected = (wrong & member).sum(-1) / member.sum(-1)
    np.testing.assert_allclose(info.stopping_error, expected, atol=1e-6)
    assert not np.isnan(info.stopping_error).any()


def test_validation_and_test_stopping_agree_on_equal_data(group):
    """The two protocols differ in the split only: with the test split as validation they agree."""
    features, labels = group
    plain = dataclasses.replace(QUICK_PAPER, novel_augmentation=False)
    honest = dataclasses.replace(plain, early_stopping="validation")
    swapped = features._replace(validation=features.test[:, CLEAN_LEVEL])
    a, _ = run(plain, group)
    b, _ = run(honest, (swapped, labels._replace(validation=labels.test)))
    np.testing.assert_array_equal(a, b)


def test_without_early_stopping_the_last_weights_are_kept(group):
    protocol = dataclasses.replace(QUICK_CLEAN, early_stopping="none")
    _, info = run(protocol, group)
    assert (info.epochs == 6).all()
    assert (info.kept_epoch == 6).all()
    assert (info.reason == StopReason.EPOCHS).all()
    assert np.isnan(info.stopping_error).all()


def test_augmented_features_are_read_only_where_the_protocol_says_so(group):
    features, labels = group
    swapped = features._replace(test_augmented=features.test, test=features.test_augmented)
    clean = run(QUICK_CLEAN, (features, labels))[0]
    np.testing.assert_array_equal(
        run(QUICK_CLEAN, (features._replace(test_augmented=None), labels))[0], clean
    )
    augmented = dataclasses.replace(QUICK_CLEAN, novel_augmentation=True)
    np.testing.assert_array_equal(run(augmented, (swapped, labels))[0], clean)
    assert (run(augmented, group)[0] != clean).any()
    with pytest.raises(InvalidInputError, match="test_augmented: missing"):
        run(QUICK_PAPER, (features._replace(test_augmented=None), labels))


@pytest.mark.parametrize("protocol", **BY_NAME)
def test_padding_with_zeros_changes_nothing(protocol, group):
    features, labels = group
    pad = [jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, 6)]) for x in features[:4]]
    padded = Features(*pad, width=jnp.full(NETWORKS, WIDTH, jnp.int32))
    expected, info = run(protocol, (features, labels))
    got, other = run(protocol, (padded, labels))
    np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(other.kept_epoch, info.kept_epoch)


@pytest.mark.parametrize("protocol", **BY_NAME)
def test_a_network_alone_gives_what_it_gives_in_the_group(protocol, group):
    features, labels = group
    together, info = run(protocol, group)
    for network in (0, 3):
        one = jax.tree.map(lambda x, k=network: x[k : k + 1], features._replace(width=None))
        k = slice(network, network + 1)
        alone, single = head(protocol)(one, labels, MASKS[k], keys()[k])
        np.testing.assert_array_equal(alone, together[k])
        np.testing.assert_array_equal(single.kept_epoch, info.kept_epoch[k])


@pytest.mark.parametrize("protocol", **BY_NAME)
def test_a_share_alone_gives_what_it_gives_in_the_grid(protocol, group):
    together, _ = run(protocol, group)
    alone, _ = run(protocol, group, masks=MASKS[:, 1:2])
    np.testing.assert_array_equal(alone, together[:, :, 1:2])


@pytest.mark.parametrize("protocol", [QUICK_PAPER, QUICK_MEAN], ids=["probe", "mean"])
def test_jit_and_sharding_over_networks(protocol, group):
    expected, _ = run(protocol, group)
    masks = jnp.asarray(MASKS)
    features = group[0]._replace(width=None)
    predict = head(protocol)
    jitted = jax.jit(predict)(features, group[1], masks, keys())[0]
    np.testing.assert_array_equal(jitted, expected)
    mesh = jax.make_mesh((2,), ("network",), axis_types=(jax.sharding.AxisType.Auto,))
    spread, whole = PartitionSpec("network"), PartitionSpec()
    sharded = jax.shard_map(
        predict,
        mesh=mesh,
        in_specs=(spread, whole, spread, spread),
        out_specs=spread,
        check_vma=False,
    )
    got, _ = jax.jit(sharded)(features, group[1], masks, keys())
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("protocol", **BY_NAME)
@pytest.mark.parametrize("field", ["train", "test"])
def test_a_network_that_is_not_finite_is_marked_and_spares_the_others(protocol, group, field):
    features, labels = group
    expected, _ = run(protocol, group)
    names = ("test", "test_augmented") if field == "test" else (field,)
    broken = {n: getattr(features, n).at[2].set(jnp.nan).at[2, 0].set(jnp.inf) for n in names}
    got, info = run(protocol, (features._replace(**broken), labels))
    others = [0, 1, 3]
    np.testing.assert_array_equal(got[others], expected[others])
    assert (got[2] == -1).all()
    np.testing.assert_array_equal(info.finite, [[True] * 3, [True] * 3, [False] * 3, [True] * 3])
    assert (info.reason[2] == StopReason.NON_FINITE).all()
    assert np.isnan(info.train_error[2]).all()


def test_a_probe_that_diverges_is_marked(group):
    features, labels = group
    wild = features._replace(train=features.train.at[1].multiply(1e30))
    predictions, info = run(QUICK_CLEAN, (wild, labels))
    assert not info.finite[1].any()
    assert (predictions[1] == -1).all()
    assert info.finite[[0, 2, 3]].all()


def test_in_a_fixed_label_space_the_share_does_not_move_the_predictions(group):
    for protocol in (QUICK_CLEAN, QUICK_MEAN):
        fixed, info = run(dataclasses.replace(protocol, label_space="fixed"), group)
        growing, _ = run(protocol, group)
        assert fixed.shape == growing.shape
        assert info.epochs.shape == (NETWORKS, 3)
        for share in range(3):
            np.testing.assert_array_equal(fixed[:, :, share], growing[:, :, -1])
        assert error(fixed, group[1]) > error(growing, group[1]), "more classes can be confused"


def test_one_mask_serves_all_networks(group):
    one = class_masks([0, 1, 2], [3, 4, 5], [0, 2], num_classes=CLASSES)
    np.testing.assert_array_equal(
        run(QUICK_MEAN, group, masks=one)[0],
        run(QUICK_MEAN, group, masks=np.repeat(one, NETWORKS, axis=0))[0],
    )


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"train": jnp.zeros((4, 91, WIDTH))}, InvalidInputError, "features.train: shape"),
        ({"train": jnp.zeros((90, WIDTH))}, InvalidInputError, "features.train: shape"),
        ({"test": jnp.zeros((4, 42, WIDTH))}, InvalidInputError, "4 axes are needed"),
        ({"test": jnp.zeros((3, 2, 42, WIDTH))}, InvalidInputError, "features.test: shape"),
        ({"validation": jnp.zeros((4, 0, WIDTH))}, InvalidInputError, "features.validation"),
        ({"width": jnp.zeros(3)}, InvalidInputError, "features.width"),
    ],
)
def test_features_that_do_not_fit_are_refused(group, change, kind, message):
    with pytest.raises(kind, match=message):
        run(QUICK_CLEAN, (group[0]._replace(**change), group[1]))


def test_labels_masks_and_keys_that_do_not_fit_are_refused(group):
    features, labels = group
    predict = head(QUICK_CLEAN)
    with pytest.raises(DataError, match="values from 0 to 9 found"):
        predict(features, labels._replace(train=labels.train.at[0].set(9)), MASKS, keys())
    with pytest.raises(DataError, match="integers on one axis"):
        predict(features, labels._replace(train=labels.train * 1.0), MASKS, keys())
    poor = jnp.where(labels.validation == 4, 0, labels.validation)
    with pytest.raises(SplitError, match="class 4 is in play with 0 examples"):
        predict(features, labels._replace(validation=poor), MASKS, keys())
    with pytest.raises(InvalidInputError, match="masks: float64"):
        predict(features, labels, MASKS * 1.0, keys())
    with pytest.raises(InvalidInputError, match="masks: bool of shape"):
        predict(features, labels, MASKS[:3], keys())
    with pytest.raises(InvalidInputError, match="without any class"):
        predict(features, labels, np.zeros_like(MASKS), keys())
    with pytest.raises(InvalidInputError, match="keys: needed are 4"):
        predict(features, labels, MASKS, keys(3))
    with pytest.raises(InvalidInputError, match="keys: needed are 4"):
        predict(features, labels, MASKS, jnp.zeros(4))


def test_a_head_that_cannot_be_made_is_refused():
    with pytest.raises(InvalidInputError, match="num_classes: 1"):
        make_head(CLEAN, num_classes=1)
    with pytest.raises(InvalidInputError, match="clean_level: missing"):
        make_head(PAPER, num_classes=3)


def test_a_clean_level_beyond_the_levels_is_refused(group):
    predict = make_head(QUICK_PAPER, num_classes=CLASSES, clean_level=2)
    with pytest.raises(InvalidInputError, match="clean_level: 2 found, there are 2 levels"):
        predict(*group, MASKS, keys())
