"""The testbed end to end on real digits, against direct computations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score, confusion_matrix
from sklearn.neighbors import NearestCentroid

from genjax import data, errors, models
from genjax.data import ClassSplit, shifts, splits
from genjax.metrics import heads, testbed
from genjax.metrics.protocol import CLEAN, NEAREST_MEAN, PAPER
from genjax.training import (
    ModelConfig,
    SweepConfig,
    TrainingConfig,
    execution,
    population,
    sweep,
)
from genjax.training import segment as seg

CLASSES = ClassSplit(seen=(4, 6, 2, 7), novel=(5, 9, 0))
TARGETS = (0.7, 1.0)
COUNTS = (0, 1, 3)


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


@pytest.fixture(scope="module")
def parts(digits):
    return splits.stratified(digits, (0.6, 0.2, 0.2), seed=0)


@pytest.fixture(scope="module")
def bed(digits, parts):
    return testbed.build(
        digits,
        parts,
        CLASSES,
        shift=shifts.create("gaussian_noise"),
        targets=TARGETS,
        counts=COUNTS,
        key=jax.random.key(1),
    )


@pytest.fixture(scope="module")
def group(bed):
    rules = TrainingConfig(max_steps=60, record_every=30, stop="steps")
    hyper = {"learning_rate": (0.1, 1e38)}
    config = SweepConfig([ModelConfig("mlp", {"widths": (16,)})], [rules], hyper, 2)
    population = sweep(config, testbed.seen_only(bed.train, CLASSES), jax.random.key(0))
    return population.groups[0]


@pytest.fixture(scope="module")
def cells(group, bed):
    return testbed.measure_group(group, bed, [CLEAN, PAPER, NEAREST_MEAN], jax.random.key(3))


def test_seen_only_relabels_in_the_order_of_the_split(digits):
    seen = testbed.seen_only(digits, CLASSES)
    assert seen.class_names == ("4", "6", "2", "7")
    original = digits.take(np.flatnonzero(np.isin(digits.labels, CLASSES.seen)))
    np.testing.assert_array_equal(np.array(CLASSES.seen)[seen.labels], original.labels)
    np.testing.assert_array_equal(seen.images, original.images)


def test_levels_meet_their_targets_and_leave_the_clean_one_untouched(bed):
    np.testing.assert_allclose(bed.calibration.achieved, TARGETS, atol=2e-3)
    np.testing.assert_array_equal(bed.levels[1], bed.test.images)
    assert bed.novel_shares.tolist() == [0, 1 / 5, 3 / 7]


def test_the_papers_augmentation_touches_novel_images_only(bed):
    seen = np.isin(bed.test.labels, CLASSES.seen)
    novel = np.isin(bed.test.labels, CLASSES.novel)
    np.testing.assert_array_equal(bed.augmented[:, seen], bed.levels[:, seen])
    moved = np.abs(bed.augmented - bed.levels).max(axis=(2, 3, 4))
    assert np.mean(moved[:, novel] > 0) > 0.9


def test_features_equal_the_tap_of_each_network(group, bed):
    images = bed.test.images[:7]
    for form in (None, execution.choose(jax.devices()[:1])):
        (features,) = testbed.frozen_features(group, [images], form)
        for i in range(2):
            tap = group.network.taps(group.network_params(i), jnp.asarray(images))[models.FEATURES]
            np.testing.assert_allclose(features[i], tap, atol=1e-5)


def test_features_of_every_set_equal_the_taps(group, bed):
    found = testbed.group_features(group, bed)
    width = int(found.width)
    tested = {"test": bed.levels, "test_augmented": bed.augmented}
    for name, images in {"train": bed.train.images, "validation": bed.validation.images}.items():
        tap = group.network.taps(group.network_params(1), jnp.asarray(images))[models.FEATURES]
        np.testing.assert_allclose(getattr(found, name)[1, :, :width], tap, atol=1e-5)
    for name, images in tested.items():
        for level in range(len(TARGETS)):
            tap = group.network.taps(group.network_params(1), jnp.asarray(images[level]))
            ours = getattr(found, name)[1, level]
            np.testing.assert_allclose(ours[:, :width], tap[models.FEATURES], atol=1e-5)
            assert not ours[:, width:].any()
    plain = testbed.group_features(group, bed._replace(augmented=None))
    assert plain.test_augmented is None
    np.testing.assert_allclose(plain.test, found.test, atol=1e-5)


def test_images_go_through_in_chunks_that_do_not_change_them(group, bed, monkeypatch):
    images = bed.test.images[:25]
    (whole,) = testbed.frozen_features(group, [images])
    monkeypatch.setattr(testbed, "_POSITIONS", 7 * 64)
    (parts,) = testbed.frozen_features(group, [images])
    np.testing.assert_allclose(parts, whole, atol=1e-6)


def test_a_network_trained_elsewhere_has_the_cells_of_its_parameters(group, bed, cells):
    network = group.network
    params = group.network_params(0)
    foreign = models.from_function(
        network.apply,
        params,
        taps=network.taps,
        name="same",
        image_shape=(8, 8, 1),
        num_classes=4,
    )
    (other,) = population.trained_elsewhere([foreign]).groups
    found = testbed.measure_group(other, bed, [NEAREST_MEAN], jax.random.key(3)).isel(protocol=0)
    expected = cells.sel(protocol="nearest_mean").isel(seed=0)
    assert found.attrs["family"] == "same"
    assert np.isnan(found["flops"])
    for name in ("error", "kappa", "labels"):
        np.testing.assert_allclose(found[name].isel(seed=0), expected[name], atol=1e-6)


@pytest.mark.filterwarnings("ignore:self.within_class_std_dev_")
def test_nearest_mean_cells_equal_scikit_learn(group, bed):
    # All shots: the head has no randomness left, so every number can be computed from outside.
    import dataclasses

    full = dataclasses.replace(NEAREST_MEAN, shots=None, novel_order="listed")
    cells = testbed.measure_group(group, bed, [full], jax.random.key(3)).isel(protocol=0)
    train, test = testbed.frozen_features(
        group, [bed.train.images, bed.levels.reshape(-1, 8, 8, 1)]
    )
    test = test.reshape(len(test), 2, -1, test.shape[-1])
    for z, count in enumerate(COUNTS):
        playing = [*CLASSES.seen, *CLASSES.novel[:count]]
        fit, asked = np.isin(bed.train.labels, playing), np.isin(bed.test.labels, playing)
        for level in range(2):
            head = NearestCentroid().fit(train[0][fit], bed.train.labels[fit])
            guess = head.predict(test[0, level][asked])
            truth = bed.test.labels[asked]
            counts = confusion_matrix(truth, guess, labels=range(10))
            with np.errstate(invalid="ignore"):
                error = 1 - np.diag(counts) / counts.sum(1)
            found = cells.isel(seed=0, ssim=level, novel_share=z)
            np.testing.assert_allclose(found["error"], error, atol=1e-9)
            for c in playing:
                expected = 1 - cohen_kappa_score(truth == c, guess == c)
                np.testing.assert_allclose(found["kappa"].values[c], expected, atol=1e-6)
            whole = 1 - cohen_kappa_score(truth, guess)
            np.testing.assert_allclose(found["kappa_multiclass"], whole, atol=1e-6)
            assert found["labels"] == len(playing)


def test_diverged_networks_are_blank_and_leave_the_others_alone(group, bed, cells):
    assert group.status.tolist() == [seg.EXHAUSTED] * 2 + [seg.DIVERGED] * 2
    assert np.isnan(cells["error"].isel(seed=slice(2, 4))).all()
    in_play = np.isfinite(cells["error"].isel(seed=0, ssim=0, protocol=0)).sum("class")
    assert in_play.values.tolist() == [4, 5, 7]


def test_novel_order_follows_the_seed_and_is_nested(cells):
    playing = np.isfinite(cells["error"].sel(protocol="clean").isel(ssim=0, seed=slice(0, 2)))
    for z in range(1, 3):
        assert (playing.isel(novel_share=z) | ~playing.isel(novel_share=z - 1)).all()
    listed = np.isfinite(cells["error"].sel(protocol="paper").isel(ssim=0, novel_share=1, seed=0))
    assert bool(listed.sel({"class": "5"}))


def test_errors_rise_with_the_shift_and_with_novelty(cells):
    error = cells["error"].sel(protocol="clean").isel(seed=slice(0, 2)).mean(("seed", "class"))
    assert (error.sel(ssim=0.7) > error.sel(ssim=1.0)).all()
    assert error.isel(novel_share=2).mean() > error.isel(novel_share=0).mean()


def test_groups_combine_by_family_and_ascending_size(cells):
    small = cells.assign_coords(parameters=10)
    other = cells.assign_coords(parameters=7)
    other.attrs["family"] = "cnn"
    whole = testbed.combine([cells, small, other])
    assert whole.sizes["family"] == 2
    assert whole.sel(family="mlp")["parameters"].values[0] == 10
    assert np.isnan(whole.sel(family="cnn", size=1)["error"]).all()
    assert testbed.combine([cells, small])["parameters"].dims == ("family", "size")
    with pytest.raises(errors.InvalidInputError, match="two groups of 10 parameters"):
        testbed.combine([small, small])


def test_more_novel_classes_than_there_are(digits, parts):
    with pytest.raises(errors.SplitError, match="3 novel classes"):
        testbed.build(
            digits,
            parts,
            CLASSES,
            shift=shifts.create("contrast"),
            targets=TARGETS,
            counts=(0, 4),
            key=jax.random.key(0),
        )


def test_labels_of_the_fixed_space_do_not_grow(group, bed):
    import dataclasses

    fixed = dataclasses.replace(NEAREST_MEAN, label_space="fixed")
    cells = testbed.measure_group(group, bed, [fixed], jax.random.key(3))
    assert (cells["labels"] == 7).all()
    assert heads.novel_shares(4, COUNTS).tolist() == cells["novel_share"].values.tolist()
