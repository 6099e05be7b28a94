"""Output margins against NumPy, SciPy and their behaviour under scaling."""

import jax
import numpy as np
import pytest
import scipy.special
import scipy.stats

from genjax.errors import InvalidInputError
from genjax.metrics import complexity
from genjax.metrics.complexity import output_margins, workspace


@pytest.fixture(scope="module")
def logits_and_labels():
    rng = np.random.default_rng(0)
    return rng.normal(size=(57, 4)), rng.integers(0, 4, 57)


def measured(logits, labels):
    """Return every measure of a network whose logits are its images."""
    network = _identity_network(logits.shape[1])
    with jax.enable_x64(True):
        data = complexity.MeasureData(
            complexity.contract.Labelled(logits[:, None, None, :], labels), train_size=len(labels)
        )
        trained = complexity.Trained({}, None, None, None, None, None, 0)
        found, _ = complexity.compute(
            ["output_margins"], network, trained, data, jax.random.key(0), layers=()
        )
        return {name: float(pair[0]) for name, pair in found.items()}


def _identity_network(classes):
    from genjax import models

    return models.create(
        "mlp", image_shape=(1, 1, classes), num_classes=classes, widths=(2,)
    )._replace(apply=lambda params, images: images[:, 0, 0, :])


def by_hand(logits, labels):
    margins = [row[y] - max(np.delete(row, y)) for row, y in zip(logits, labels, strict=True)]
    return np.array(margins)


def test_percentiles_mean_and_tenth_agree_with_numpy(logits_and_labels):
    logits, labels = logits_and_labels
    margins, found = by_hand(logits, labels), measured(logits, labels)
    assert found["output_margin"] == pytest.approx(sorted(margins)[57 // 10 - 1], rel=1e-12)
    assert found["output_margin_mean"] == pytest.approx(margins.mean(), rel=1e-12)
    for percent in (1, 5, 25, 50, 75):
        expected = np.percentile(margins, percent)
        assert found[f"output_margin_percentile_{percent}"] == pytest.approx(expected, rel=1e-10)
        assert scipy.stats.scoreatpercentile(margins, percent) == pytest.approx(expected)


def test_normalised_margins_agree_with_a_standardised_row(logits_and_labels):
    logits, labels = logits_and_labels
    margins = by_hand(scipy.stats.zscore(logits, axis=1), labels)
    found = measured(logits, labels)
    assert found["normalised_output_margin"] == pytest.approx(sorted(margins)[4], rel=1e-10)
    assert found["normalised_output_margin_mean"] == pytest.approx(margins.mean(), rel=1e-10)


def test_entropy_cross_entropy_and_error_agree_with_scipy(logits_and_labels):
    logits, labels = logits_and_labels
    found = measured(logits, labels)
    probabilities = scipy.special.softmax(logits, axis=1)
    chosen = probabilities[np.arange(57), labels]
    assert found["cross_entropy"] == pytest.approx(-np.log(chosen).mean(), rel=1e-10)
    entropy = scipy.stats.entropy(probabilities, axis=1).mean()
    assert found["output_entropy"] == pytest.approx(entropy, rel=1e-10)
    wrong = (logits.argmax(1) != labels).mean()
    assert found["train_error"] == pytest.approx(wrong, rel=1e-6)


def test_scaling_and_shifting_logits(logits_and_labels):
    logits, labels = logits_and_labels
    before, after = measured(logits, labels), measured(7 * logits + 3, labels)
    for name in ("normalised_output_margin", "normalised_output_margin_mean", "train_error"):
        assert after[name] == pytest.approx(before[name], rel=1e-9)
    for name in ("output_margin", "output_margin_percentile_50", "output_margin_mean"):
        assert after[name] == pytest.approx(7 * before[name], rel=1e-9)


def test_entropy_of_certain_outputs_is_zero():
    assert np.allclose(output_margins.entropies(np.array([[500.0, -500.0]], np.float32)), 0.0)


def test_equal_logits_have_no_normalised_margin():
    found = measured(np.ones((20, 3)), np.zeros(20, int))
    assert np.isnan(found["normalised_output_margin"])
    assert found["output_margin"] == 0.0
    assert found["output_entropy"] == pytest.approx(np.log(3))


def test_margins_of_the_workspace_are_the_ones_measured(logits_and_labels):
    logits, labels = logits_and_labels
    np.testing.assert_allclose(
        workspace.margins(logits.astype(np.float32), labels), by_hand(logits, labels), rtol=1e-5
    )


def test_a_close_name_is_suggested():
    with pytest.raises(InvalidInputError, match="did you mean 'output_margin'"):
        complexity.select(["output_margn"])
