"""Embeddings of networks and files: the same numbers as the taps, and refusals by name."""

import jax
import numpy as np
import pytest

from genjax import errors, models
from genjax.metrics.layers import embeddings, pruning

IMAGES = np.random.default_rng(0).uniform(size=(23, 8, 8, 1)).astype(np.float32)
NETWORKS = {
    "mlp": {"widths": (12, 7)},
    "cnn": {"channels": (4, 6), "readout": "average"},
    "resnet": {"depth": 8, "width": 0.25},
    "vit": {"patch": 4, "width": 8, "depth": 2, "heads": 2},
}


def network_and_params(name):
    network = models.create(name, image_shape=(8, 8, 1), num_classes=3, **NETWORKS[name])
    return network, network.fold(*network.init(jax.random.key(1)))


@pytest.mark.parametrize("name", NETWORKS)
def test_embeddings_are_the_taps_read_out(name):
    network, params = network_and_params(name)
    taps = network.taps(params, IMAGES)
    found = embeddings.extract(network, params, IMAGES, ("mean", "flatten"), chunk=10)
    names = [layer for layer in taps if layer in {layer for layer, _ in found}]
    assert list(dict.fromkeys(layer for layer, _ in found)) == names
    for (layer, readout), points in found.items():
        value = np.asarray(taps[layer])
        if readout == "mean":
            flat = value.reshape(23, -1, value.shape[-1])
            value = flat[:, int(name == "vit") :].mean(1)
        np.testing.assert_allclose(points, value.reshape(23, -1), rtol=1e-5, atol=1e-5)


def test_whitening_sees_all_chunks():
    network, params = network_and_params("mlp")
    found = embeddings.extract(network, params, IMAGES, ("pca_whitened",), chunk=10)
    points = found["block2", "pca_whitened"]
    covariance = np.cov(points.T, ddof=0)
    alive = np.diag(covariance) > 0
    np.testing.assert_allclose(covariance[alive][:, alive], np.eye(alive.sum()), atol=1e-3)


def test_features_that_are_the_mean_of_the_last_map_are_no_layer_of_their_own():
    network, params = network_and_params("resnet")
    found = embeddings.extract(network, params, IMAGES)
    assert "features" not in {layer for layer, _ in found}
    network = models.create("cnn", image_shape=(8, 8, 1), num_classes=3, channels=(4, 6))
    params = network.fold(*network.init(jax.random.key(1)))
    # Here the output layer reads the whole map: its mean is another readout.
    found = embeddings.extract(network, params, IMAGES)
    assert list(found)[-1] == ("features", "flatten")


def test_features_stand_once():
    # The features of a plain network are its last block as a vector.
    network, params = network_and_params("mlp")
    assert list(embeddings.taps_in_order(network, params, IMAGES)) == ["block1", "block2"]
    network, params = network_and_params("vit")
    assert list(embeddings.taps_in_order(network, params, IMAGES))[-1] == "features"


def test_flags_tell_what_is_wrong():
    rng = np.random.default_rng(0)
    good = rng.normal(size=(50, 4)).astype(np.float32)
    assert embeddings.flags(good) == embeddings.Flags(False, 0.0, 0.0, True)
    nearly = 1.0 + 1e-8 * good
    assert embeddings.flags(nearly.astype(np.float32)).constant
    assert embeddings.flags(np.concatenate([good, good])).duplicates == 0.5
    dead = good.copy()
    dead[:, 1] = 3.0
    assert embeddings.flags(dead).dead == 0.25
    dead[3, 2] = np.nan
    assert embeddings.flags(dead).words() == "not finite"


def write(path, **arrays):
    kept = {"labels": np.repeat(["b", "a"], 3), "layer/one": np.eye(6)} | arrays
    kept = {name: value for name, value in kept.items() if value is not None}
    np.savez(path, **kept)
    return path


def test_a_file_is_read_as_it_was_written(tmp_path):
    file = write(
        tmp_path / "a.npz",
        labels=np.array(list("ddcbaa")),
        **{"layer/two": np.ones((6, 2, 3), np.float32), "seen": np.repeat([True, False], 3)},
    )
    stored = embeddings.load(file)
    assert list(stored.layers) == ["one", "two"]
    assert stored.names == ("a", "b", "c", "d")
    assert stored.labels.tolist() == [3, 3, 2, 1, 0, 0]
    assert stored.seen is not None
    assert stored.seen.tolist() == [True] * 3 + [False] * 3
    assert stored.layers["two"].dtype == np.float32
    assert stored.layers["one"].dtype == np.float64


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"labels": None}, "needed are labels"),
        ({"layer/one": None}, "at least one layer/NAME"),
        ({"labels": np.zeros(6, int)}, "are of 1 class"),
        ({"labels": np.zeros(6)}, "labels .* dtype float64"),
        ({"labels": np.array([{}] * 6, object)}, "pickled code"),
        ({"layer/one": np.array([[{}]] * 6, object)}, "'layer/one'.*pickled code"),
        ({"layer/one": np.eye(5)}, "5 examples, labels 6"),
        ({"layer/one": np.eye(6) + np.diag([0, 0, np.nan, 0, 0, 0])}, "first in number 2"),
        ({"layer/one": np.ones(6)}, "shape \\(6,\\)"),
        ({"seen": np.ones(6)}, "seen .* dtype float64"),
        ({"seen": np.array([True, False] * 3)}, "true and false within class"),
        ({"seen": np.repeat([True, False], 3)}, "marks 1 classes, 1 are left"),
        ({"labels": np.array([b"\xff"] * 3 + [b"a"] * 3)}, "not UTF-8"),
        ({"layer/one": np.ones((6, 0))}, "shape \\(6, 0\\)"),
    ],
)
def test_files_that_cannot_be_measured_are_refused(tmp_path, arrays, words):
    with pytest.raises(errors.DataError, match=words):
        embeddings.load(write(tmp_path / "a.npz", **arrays))


def test_what_is_no_archive_is_refused(tmp_path):
    with pytest.raises(errors.DataError, match="there is no file"):
        embeddings.load(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("no")
    with pytest.raises(errors.DataError, match="not an npz archive"):
        embeddings.load(tmp_path / "text.npz")
    np.save(tmp_path / "bare.npy", np.eye(2))
    with pytest.raises(errors.DataError, match="one bare array"):
        embeddings.load(tmp_path / "bare.npy")


def test_images_that_were_trained_on_are_found():
    unseen = np.concatenate([IMAGES[5:6], 1 - IMAGES[:4]])
    with pytest.raises(
        errors.DataError, match="1 of their 5 images were trained on, first number 0"
    ):
        embeddings.refuse_leaks(IMAGES, unseen)
    embeddings.refuse_leaks(IMAGES, 1 - IMAGES)
    with pytest.raises(errors.DataError, match="were trained on"):  # precision hides nothing
        embeddings.refuse_leaks(IMAGES.astype(np.float32), IMAGES.astype(np.float64))
    with pytest.raises(errors.DataError, match="cannot be compared"):
        embeddings.refuse_leaks(IMAGES, IMAGES.astype(np.uint8))


def test_keeping_less_of_a_network_costs_less():
    network, _ = network_and_params("mlp")
    first, second = pruning.truncations(network)
    assert first.parameters == 64 * 12 + 12
    assert second.parameters == first.parameters + 12 * 7 + 7
    whole = second.parameters + 7 * 3 + 3
    assert first.parameters_saved == pytest.approx(1 - first.parameters / whole)
    # Products count two per weight; what XLA adds for bias and activation is one per unit each.
    assert first.flops == pytest.approx(2 * 64 * 12, rel=0.05)
    assert second.flops - first.flops == pytest.approx(2 * 12 * 7, rel=0.2)


@pytest.mark.parametrize("name", NETWORKS)
def test_costs_grow_with_depth(name):
    network, params = network_and_params(name)
    kept = pruning.truncations(network)
    assert [k.layer for k in kept] == list(embeddings.taps_in_order(network, params, IMAGES))
    parameters = [k.parameters for k in kept]
    assert parameters == sorted(parameters)
    assert all(0 <= k.parameters_saved < 1 and 0 <= k.flops_saved < 1 for k in kept)
