"""Mixup and augmentation measures against loops, and changed images against other libraries."""

import colorsys
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
import scipy.stats

from genjax import models
from genjax.metrics import complexity
from genjax.metrics.complexity import mixup, perturbed_images
from genjax.metrics.complexity.contract import Labelled


@pytest.fixture(scope="module")
def network_and_params():
    network = models.create("mlp", image_shape=(8, 8, 1), num_classes=10, widths=(12,))
    return network, jax.jit(lambda key: network.fold(*network.init(key)))(jax.random.key(0))


def measured(names, network, params, data):
    trained = complexity.Trained(params, None, None, None, None, None, 0)
    layers = complexity.layers.weight_layers(network, params)
    compiled = jax.jit(
        lambda t: complexity.compute(names, network, t, data, jax.random.key(0), layers=layers)[0]
    )
    return compiled(trained)


@pytest.fixture(scope="module")
def found(network_and_params, digits):
    return measured(["mixup"], *network_and_params, complexity.measure_data(digits[0]))


def accuracy_by_hand(network, params, images, labels):
    """Return the mean over classes, batches and pairs, one pair after another."""
    batches = min(max(len(labels) // 100, 1), 10)
    by_class = []
    for label in range(10):
        own = images[labels == label][: 10 * batches]
        means = []
        for start in range(0, len(own), 10):
            pairs = list(itertools.combinations(own[start : start + 10], 2))
            if pairs:
                mixed = np.stack([(one + other) / 2 for one, other in pairs])
                means.append(np.mean(np.argmax(network.apply(params, mixed), -1) == label))
        if means:
            by_class.append(np.mean(means))
    return np.mean(by_class)


def test_mixup_accuracy_agrees_with_a_loop_over_pairs(found, network_and_params, digits):
    data = complexity.measure_data(digits[0]).train
    expected = accuracy_by_hand(*network_and_params, data.images, data.labels)
    assert 0 < expected < 1
    assert float(found["mixup_accuracy"][0]) == pytest.approx(expected, rel=1e-5)


def test_classes_without_pairs_do_not_count(network_and_params, digits):
    labels = digits[0].labels
    few = np.flatnonzero(labels < 3)[:37]
    one = np.flatnonzero(labels == 7)[:1]
    chosen = np.concatenate([few, one])
    data = complexity.MeasureData(Labelled(digits[0].images[chosen], labels[chosen]))
    expected = accuracy_by_hand(*network_and_params, *data.train)
    result = measured(["mixup_accuracy"], *network_and_params, data)
    assert float(result["mixup_accuracy"][0]) == pytest.approx(expected, rel=1e-5)


def test_no_pair_at_all_is_refused(network_and_params, digits):
    data = complexity.MeasureData(Labelled(digits[0].images[:4], np.arange(4)))
    amount, info = measured(["mixup_accuracy"], *network_and_params, data)["mixup_accuracy"]
    assert np.isnan(amount)
    assert int(info["refusal"]) == complexity.Refusal.DEGENERATE


def test_pairs_are_of_one_class_and_each_is_counted_once():
    labels = np.random.default_rng(0).integers(0, 4, 163)
    first, second, exists = (np.asarray(a) for a in mixup.same_class_pairs(labels, 4))
    assert first.shape == (4, 4, 45)
    for label in range(4):
        kept = exists[label]
        assert (labels[first[label][kept]] == label).all()
        assert (labels[second[label][kept]] == label).all()
        pairs = set(zip(first[label][kept], second[label][kept], strict=True))
        assert len(pairs) == kept.sum()
        own = min(np.sum(labels == label), 40)
        full, rest = divmod(own, 10)
        assert kept.sum() == 45 * full + rest * (rest - 1) // 2


def test_partners_are_a_permutation_within_class_and_batch():
    labels = np.random.default_rng(0).integers(0, 3, 100)
    order, partner = (
        np.asarray(a) for a in mixup.shuffled_within_classes(labels, jax.random.key(0), 50)
    )
    for positions in (order, partner):
        np.testing.assert_array_equal(np.sort(positions), np.arange(100))
    np.testing.assert_array_equal(labels[order], labels[partner])
    np.testing.assert_array_equal(order // 50, partner // 50)
    assert np.mean(order == partner) < 0.2


def margins_by_hand(params, images, labels):
    """Return margins at the hidden layer of an MLP with one, in float64."""
    hidden, output = (
        {k: np.asarray(v, np.float64) for k, v in params[name].items()}
        for name in ("dense1", "output")
    )
    flat = np.asarray(images, np.float64).reshape(len(images), -1)
    activations = np.maximum(flat @ hidden["kernel"] + hidden["bias"], 0)
    logits = activations @ output["kernel"] + output["bias"]
    margins = []
    for row, label in zip(logits, labels, strict=True):
        other = max((j for j in range(10) if j != label), key=lambda j: row[j])
        slope = output["kernel"][:, label] - output["kernel"][:, other]
        margins.append((row[label] - row[other]) / (np.linalg.norm(slope) + 1e-7))
    spread = np.sqrt(scipy.stats.trim_mean(activations.var(axis=0), 0.05))
    return np.array(margins) / (spread + 1e-7)


def test_augment_margin_has_the_closed_form(found, network_and_params, digits, monkeypatch):
    del found
    network, params = network_and_params
    monkeypatch.setattr(mixup, "augmented", lambda images, key: images)
    data = complexity.measure_data(digits[0])
    amount, info = measured(["augment_margin"], network, params, data)["augment_margin"]
    expected = margins_by_hand(params, *data.train)
    assert float(amount) == pytest.approx(-expected.mean(), rel=1e-3)
    assert float(info["standard_error"]) == pytest.approx(expected.std() / np.sqrt(300), rel=1e-3)


def test_mixup_margin_is_the_margin_of_midpoints(network_and_params, digits, monkeypatch):
    network, params = network_and_params
    data = complexity.measure_data(digits[0])
    rng = np.random.default_rng(0)
    order = rng.permutation(300)
    partner = order.copy()
    for label in range(10):
        places = np.flatnonzero(data.train.labels[order] == label)
        partner[places] = rng.permutation(order[places])
    monkeypatch.setattr(mixup, "shuffled_within_classes", lambda *_: (order, partner))
    amount = measured(["mixup_margin"], network, params, data)["mixup_margin"][0]
    mixed = (data.train.images[order] + data.train.images[partner]) / 2
    expected = margins_by_hand(params, mixed, data.train.labels[order])
    assert float(amount) == pytest.approx(-expected.mean(), rel=1e-3)


def test_margins_do_not_feel_the_scale_of_the_logits(network_and_params, digits, found):
    network, params = network_and_params
    larger = {**params, "output": jax.tree.map(lambda w: 4 * w, params["output"])}
    after = measured(["mixup"], network, larger, complexity.measure_data(digits[0]))
    for name in ("mixup_margin", "augment_margin", "mixup_accuracy", "augmentation_consistency"):
        assert float(after[name][0]) == pytest.approx(float(found[name][0]), rel=1e-4), name


def edges_by_scipy(images):
    """Return Sobel derivatives plane by plane: SciPy smooths over every other axis."""
    planes = images.astype(np.float64).transpose(0, 3, 1, 2)
    found = [[scipy.ndimage.sobel(plane, axis=1, mode="mirror") for plane in n] for n in planes]
    return np.array(found).transpose(0, 2, 3, 1) / 4 + 0.5


def test_the_penalty_is_the_sum_over_changes(network_and_params, digits, monkeypatch):
    network, params = network_and_params
    plain = tuple(c for c in perturbed_images.PENALISED_CHANGES if c.name != "erase")
    monkeypatch.setattr(mixup, "PENALISED_CHANGES", plain)
    data = complexity.measure_data(digits[0])
    images = data.train.images

    def probabilities(images):
        return np.asarray(jax.nn.softmax(network.apply(params, images)))

    before, expected = probabilities(images), np.zeros(300)
    flip, grey = images[:, :, ::-1], images
    # Of 8 x 8 pixels nothing is cut away.
    for changed, weight in (
        (flip, 6),
        (grey, 1),
        (images, 2),
        (edges_by_scipy(images), 3),
        (images + 0.5, 1),
        (flip, 12),
    ):
        after = probabilities(changed)
        kept = before.argmax(1) == after.argmax(1)
        expected += np.where(kept, np.abs(before.max(1) - after.max(1)), weight)
    amount, info = measured(["augmentation_penalty"], network, params, data)["augmentation_penalty"]
    assert float(amount) == pytest.approx(expected.mean(), rel=1e-4)
    assert float(info["standard_error"]) == pytest.approx(expected.std() / np.sqrt(300), rel=1e-3)


def test_a_network_that_ignores_its_images_pays_nothing(network_and_params, digits):
    network, params = network_and_params
    constant = {**params, "dense1": jax.tree.map(jnp.zeros_like, params["dense1"])}
    names = ["augmentation_penalty", "augmentation_consistency"]
    result = measured(names, network, constant, complexity.measure_data(digits[0]))
    assert float(result["augmentation_penalty"][0]) == pytest.approx(0.0, abs=1e-6)
    assert float(result["augmentation_consistency"][0]) == 1.0


def test_weights_are_those_of_the_source():
    weights = {c.name: c.weight for c in perturbed_images.PENALISED_CHANGES}
    assert weights == {
        "flip": 6,
        "saturation": 1,
        "crop": 2,
        "sobel": 3,
        "brightness": 1,
        "flip_saturation": 12,
        "erase": 2,
    }


def test_saturation_agrees_with_the_standard_library():
    images = np.random.default_rng(0).random((2, 3, 3, 3), np.float32)
    images[0, 0, 0] = 0.0
    images[0, 0, 1] = 0.4
    factors = np.array([0.7, 1.6], np.float32)
    found = np.asarray(perturbed_images.saturated(jnp.asarray(images), factors))
    for n, row, column in itertools.product(range(2), range(3), range(3)):
        hue, saturation, top = colorsys.rgb_to_hsv(*map(float, images[n, row, column]))
        expected = colorsys.hsv_to_rgb(hue, min(saturation * factors[n], 1.0), top)
        np.testing.assert_allclose(found[n, row, column], expected, atol=1e-6)


def test_grey_images_have_no_saturation():
    images = np.random.default_rng(0).random((2, 3, 3, 1), np.float32)
    assert perturbed_images.saturated(images, np.array([0.7, 1.6])) is images


def test_edges_agree_with_scipy():
    images = np.random.default_rng(0).random((2, 7, 6, 3), np.float32)
    found = perturbed_images.horizontal_edges(jnp.asarray(images))
    np.testing.assert_allclose(found, edges_by_scipy(images), atol=1e-6)


@pytest.mark.peers
def test_the_centre_is_enlarged_as_in_torch():
    torch = pytest.importorskip("torch")
    images = np.random.default_rng(0).random((2, 32, 28, 3), np.float32)
    part = torch.from_numpy(images[:, 1:31, 1:27].transpose(0, 3, 1, 2).copy())
    expected = torch.nn.functional.interpolate(part, (32, 28), mode="bilinear")
    found = perturbed_images.centre_cropped(jnp.asarray(images))
    np.testing.assert_allclose(found, expected.numpy().transpose(0, 2, 3, 1), atol=1e-5)


@pytest.mark.peers
def test_zooming_puts_corners_on_corners_as_in_torch():
    torch = pytest.importorskip("torch")
    images = np.random.default_rng(0).random((2, 8, 6, 1), np.float32)
    scales = np.array([0.9, 1.0], np.float32)
    found = np.asarray(perturbed_images.zoomed(jnp.asarray(images), scales))
    theta = torch.tensor([[[s, 0, 0], [0, s, 0]] for s in scales])
    grid = torch.nn.functional.affine_grid(theta, [2, 1, 8, 6], align_corners=True)
    tensor = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
    expected = torch.nn.functional.grid_sample(tensor, grid, align_corners=True)
    np.testing.assert_allclose(found, expected.numpy().transpose(0, 2, 3, 1), atol=1e-5)


def test_contrast_keeps_the_mean_of_each_channel():
    images = np.random.default_rng(0).random((3, 5, 5, 2), np.float32)
    found = np.asarray(perturbed_images.contrasted(jnp.asarray(images), np.full(3, 0.7)))
    np.testing.assert_allclose(found.mean(axis=(1, 2)), images.mean(axis=(1, 2)), atol=1e-6)
    np.testing.assert_allclose(found.std(axis=(1, 2)), 0.7 * images.std(axis=(1, 2)), atol=1e-6)


def test_erasing_blackens_one_rectangle_of_allowed_size():
    found = np.asarray(perturbed_images.erased(jnp.ones((200, 32, 28, 1)), jax.random.key(0)))
    area = 32 * 28
    low, high = round(np.sqrt(0.006 * area)), round(np.sqrt(0.4 * area / 0.3))
    sizes = []
    for image in found[..., 0]:
        rows, columns = (np.flatnonzero((image == 0).any(axis=a)) for a in (1, 0))
        assert (image[np.ix_(rows, columns)] == 0).all()
        assert (image == 0).sum() == len(rows) * len(columns)
        for places in (rows, columns):
            assert places[-1] - places[0] + 1 == len(places)
        sizes.append((len(rows), len(columns)))
    rows, columns = np.array(sizes).T
    assert rows.min() >= low
    assert rows.max() < min(high, 32)
    assert columns.min() >= low
    assert columns.max() < min(high, 28)
    assert len(set(sizes)) > 100


def test_random_changes_are_each_images_own():
    images = jnp.tile(jnp.asarray(np.random.default_rng(0).random((1, 8, 8, 1))), (40, 1, 1, 1))
    found = np.asarray(perturbed_images.augmented(images, jax.random.key(0)))
    assert len({image.tobytes() for image in found}) == 40
