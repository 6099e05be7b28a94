"""One pass over a data set: the whole set at once in float64 is the oracle."""

import itertools

import jax
import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import cohen_kappa_score, confusion_matrix, log_loss

from genjax import data, models
from genjax.errors import InvalidInputError
from genjax.metrics import calibration
from genjax.metrics.evaluation import evaluate


@pytest.fixture(scope="module")
def digits():
    whole = data.load("digits")
    return whole.take(np.random.default_rng(0).permutation(len(whole))[:333])


@pytest.fixture(scope="module")
def network():
    """A linear network whose weights are class means: right for most digits, not for all."""
    whole = data.load("digits")
    made = models.create("mlp", image_shape=(8, 8, 1), num_classes=10, widths=())
    params = made.fold(*made.init(jax.random.key(0)))
    flat = whole.images.reshape(len(whole), -1)
    means = np.stack([flat[whole.labels == c].mean(0) for c in range(10)])
    leaves = {2: 2 * means.T, 1: -(means**2).sum(1)}
    return made, jax.tree.map(lambda leaf: leaves[leaf.ndim].astype(np.float32), params)


@pytest.fixture(scope="module")
def expected(network, digits):
    """Logits of all examples at once, and what NumPy, SciPy and scikit-learn make of them."""
    logits = np.asarray(network[0].apply(network[1], digits.images), np.float64)
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    predictions, labels = logits.argmax(1), digits.labels
    single = [cohen_kappa_score(labels == c, predictions == c) for c in range(10)]
    interval = stats.binomtest(int((predictions == labels).sum()), 333).proportion_ci(
        0.95, "wilson"
    )
    return {
        "confusion": confusion_matrix(labels, predictions),
        "accuracy": (predictions == labels).mean(),
        "accuracy_low": interval.low,
        "accuracy_high": interval.high,
        "error": (predictions != labels).mean(),
        "per_class_accuracy": [(predictions == c)[labels == c].mean() for c in range(10)],
        "kappa": cohen_kappa_score(labels, predictions),
        "kappa_one_vs_rest": np.mean(single),
        "nll": log_loss(labels, p, labels=np.arange(10)),
        "brier": ((p - np.eye(10)[labels]) ** 2).sum(1).mean(),
        "examples": 333,
        "ece": float(
            calibration.expected_calibration_error(calibration.reliability(logits, labels))
        ),
    }


def check(found, expected):
    for name, value in expected.items():
        np.testing.assert_allclose(getattr(found, name), value, rtol=2e-6, err_msg=name)
    assert 0.5 < found.accuracy < 0.99, "trivial numbers would prove nothing"


@pytest.mark.parametrize("batch_size", [1, 7, 100, 1000])
def test_the_numbers_do_not_depend_on_the_blocks(network, digits, expected, batch_size):
    check(evaluate(*network, digits, batch_size=batch_size), expected)


@pytest.mark.parametrize("devices", [1, 2])
def test_the_numbers_do_not_depend_on_the_devices(network, digits, expected, devices):
    chosen = jax.devices()[:devices]
    assert len(chosen) == devices
    check(evaluate(*network, digits, batch_size=50, devices=chosen), expected)


def test_streamed_examples_give_the_same(network, digits, expected):
    largest = [0]

    def read(indices):
        largest[0] = max(largest[0], len(indices))
        return digits.images[indices]

    streamed = data.StreamedExamples(
        read, digits.labels, digits.class_names, "streamed", digits.image_shape
    )
    check(evaluate(*network, streamed, batch_size=16), expected)
    assert largest[0] == 16 * len(jax.devices()), "more was read at once than one step needs"


def test_batches_of_any_size_give_the_same(network, digits, expected):
    cuts = [0, 40, 41, 140, 333]
    batches = (
        data.Batch(digits.images[a:b], digits.labels[a:b]) for a, b in itertools.pairwise(cuts)
    )
    check(evaluate(*network, batches, batch_size=32), expected)


def test_progress_counts_examples(network, digits):
    said = []
    evaluate(*network, digits, batch_size=100, on_progress=lambda *state: said.append(state))
    assert said[-1] == (333, 333, network[0].name)
    assert [done for done, *_ in said] == sorted(done for done, *_ in said)


def test_a_class_without_examples_has_no_accuracy(network, digits):
    found = evaluate(*network, digits.take(digits.labels != 3))
    assert np.flatnonzero(np.isnan(found.per_class_accuracy)).tolist() == [3]
    assert np.isfinite(found.kappa_one_vs_rest)


def test_a_set_is_compiled_once(network, digits):
    traced = []

    def apply(params, images):
        traced.append(images.shape)
        return network[0].apply(params, images)

    counted = network[0]._replace(apply=apply)
    for _ in range(3):
        evaluate(counted, network[1], digits, batch_size=20)
    assert len(set(traced)) == 1
    assert len(traced) == 1


def two_classes():
    return data.Examples(np.zeros((4, 8, 8)), np.array([0, 1, 0, 1]), ("a", "b"), "two")


def test_what_does_not_fit_is_refused(network, digits):
    big = data.Examples(np.zeros((10, 9, 9)), np.arange(10), tuple("abcdefghij"), "big")
    batch = data.Batch(digits.images[:2], np.array([3, 10], np.int32))
    for options, words in [
        ({"data": two_classes()}, r"'two' has 2 classes, and mlp.* has 10 outputs"),
        ({"data": big}, r"'big' has images of shape \(9, 9, 1\), and mlp.* takes \(8, 8, 1\)"),
        ({"data": [batch]}, r"found the label 10; mlp.* has 10 outputs"),
        ({"data": []}, "found no examples"),
        ({"data": digits, "batch_size": 0}, "batch_size and level: found 0"),
        ({"data": digits, "level": 95}, "batch_size and level: found 100 and 95"),
        ({"data": digits, "bins": 0}, "bins: found 0"),
    ]:
        with pytest.raises(InvalidInputError, match=words):
            evaluate(*network, **options)


def test_logits_that_are_nan_are_refused(network, digits):
    broken = jax.tree.map(lambda leaf: leaf * np.nan, network[1])
    with pytest.raises(InvalidInputError, match=r"NaN or infinite for 200 of 200 images"):
        evaluate(network[0], broken, digits)
