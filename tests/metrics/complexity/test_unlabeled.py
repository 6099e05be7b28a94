"""Errors predicted without labels against loops in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.errors import InvalidInputError
from genjax.metrics import complexity
from genjax.metrics.complexity.unlabeled import (
    class_aggregated_calibration_error,
    disagreements,
    log_confidence,
    negative_entropy,
    predicted_error_atc,
)


def threshold_by_search(scores, wrong):
    """The threshold with #(wrong, s >= t) closest to #(right, s < t), among all there are."""
    best, found = np.inf, None
    for threshold in [*np.unique(scores), np.inf]:
        above = np.sum(wrong & (scores >= threshold))
        below = np.sum(~wrong & (scores < threshold))
        # Of two equally close take the lower; where none is wrong, the lowest score.
        if abs(above - below) < best:
            best, found = abs(above - below), threshold
    return found


@pytest.mark.parametrize("ties", [False, True])
def test_atc_against_a_search_over_thresholds(ties):
    draws = np.random.default_rng(0)
    for trial in range(60):
        source = draws.random(40)
        source = np.round(source, 1) if ties else source
        wrong = draws.random(40) < trial / 59
        target = draws.random(30)
        threshold = threshold_by_search(source, wrong)
        found = predicted_error_atc(*map(jnp.asarray, (source, wrong, target)))
        np.testing.assert_allclose(found, np.mean(target < np.float32(threshold)), atol=1e-7)


def test_atc_gives_back_the_error_of_its_own_source():
    draws = np.random.default_rng(1)
    scores, wrong = draws.random(100), draws.random(100) < 0.3
    found = predicted_error_atc(*map(jnp.asarray, (scores, wrong, scores)))
    np.testing.assert_allclose(found, wrong.mean(), atol=1e-7)


def test_scores_in_float64():
    logits = np.random.default_rng(0).standard_normal((50, 7)) * 5
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    found = log_confidence(jnp.asarray(logits, jnp.float32))
    np.testing.assert_allclose(found, np.log(p.max(1)), rtol=1e-4, atol=1e-9)
    found = negative_entropy(jnp.asarray(logits, jnp.float32))
    np.testing.assert_allclose(found, (p * np.log(p)).sum(1), rtol=1e-4, atol=1e-9)
    # Examples that are certain in float32 keep their order.
    certain = jnp.array([[20.0, 0.0], [30.0, 0.0], [60.0, 0.0]])
    for score in (log_confidence, negative_entropy):
        assert np.all(np.diff(np.asarray(score(certain))) > 0)


def test_disagreement_differs_from_error_by_no_more_than_the_calibration_error():
    draws = np.random.default_rng(0)
    for _ in range(40):
        labels = draws.integers(0, 4, 60)
        skill = draws.random(60)
        right = draws.random((5, 60)) < skill
        predictions = np.where(right, labels, draws.integers(0, 4, (5, 60)))
        pairs = [np.mean(a != b) for a in predictions for b in predictions]
        gap = abs(np.mean(pairs) - np.mean(predictions != labels))
        bound = class_aggregated_calibration_error(predictions, labels)
        assert gap <= bound + 1e-12


def test_equal_networks_miss_the_error_by_half_of_their_calibration_error():
    """They never disagree, are wrong on 3 of 12, and are sure: 3/12 too much at 1 and at 0."""
    labels = np.arange(12) % 3
    predictions = np.tile(np.where(np.arange(12) < 3, labels + 1, labels), (4, 1))
    assert class_aggregated_calibration_error(predictions, labels) == pytest.approx(2 * 3 / 12)
    assert disagreements(predictions).sum() == 0


def test_calibration_error_against_a_loop():
    draws = np.random.default_rng(2)
    labels, predictions = draws.integers(0, 3, 30), draws.integers(0, 3, (4, 30))
    total = 0.0
    for q in np.arange(5) / 4:
        true = everything = 0
        for k in range(3):
            chosen = np.isclose((predictions == k).mean(0), q)
            true += np.mean(chosen & (labels == k))
            everything += np.mean(chosen)
        total += abs(true - q * everything)
    found = class_aggregated_calibration_error(predictions, labels)
    np.testing.assert_allclose(found, total, rtol=1e-12)
    with pytest.raises(InvalidInputError, match="at least one network"):
        class_aggregated_calibration_error(predictions[:0], labels)


def test_disagreements_against_pairs():
    predictions = np.random.default_rng(3).integers(0, 5, (6, 41))
    expected = [[np.mean(a != b) for b in predictions] for a in predictions]
    np.testing.assert_allclose(disagreements(predictions), expected, atol=1e-12)


@pytest.fixture(scope="module")
def found(groups, measure_data):
    return complexity.measure_group(
        groups["mlp"], measure_data, ["unlabeled"], key=jax.random.key(0)
    )


def test_a_group_against_numpy(found, groups, measure_data):
    group = groups["mlp"]
    source, target = measure_data.validation, measure_data.unlabeled
    logits = [
        [np.asarray(group.network.apply(group.network_params(i), x), np.float64) for i in range(4)]
        for x in (source.images, target)
    ]
    exact = np.exp(np.array(logits) - np.max(logits, -1, keepdims=True))
    exact /= exact.sum(-1, keepdims=True)
    confidence = exact.max(-1)
    wrong = exact[0].argmax(-1) != source.labels
    classes = exact[1].argmax(-1)
    rate = np.asarray(group.hyper.learning_rate)
    for i in range(4):
        values = {name: value[i] for name, value in found.values.items()}
        # A seed's sibling is the network of equal learning rate.
        (other,) = [j for j in range(4) if rate[j] == rate[i] and j != i]
        assert values["disagreement"] == pytest.approx(np.mean(classes[i] != classes[other]))
        threshold = threshold_by_search(confidence[0, i], wrong[i])
        expected = np.mean(confidence[1, i] < threshold)
        assert values["predicted_error_atc"] == pytest.approx(expected, abs=1e-6)
        assert values["predicted_error_average_confidence"] == pytest.approx(
            1 - confidence[1, i].mean(), abs=1e-5
        )
        assert values["predicted_error_difference_of_confidences"] == pytest.approx(
            wrong[i].mean() + confidence[0, i].mean() - confidence[1, i].mean(), abs=1e-5
        )
    calibration = found.values["disagreement_calibration_error"]
    for members in ([0, 1], [2, 3]) if rate[0] == rate[1] else ([0, 2], [1, 3]):
        expected = class_aggregated_calibration_error(exact[0].argmax(-1)[members], source.labels)
        np.testing.assert_allclose(calibration[members], expected)


def test_where_source_and_target_are_the_same_atc_is_exact(found, groups, measure_data):
    """The fixture's unlabelled images are those of the validation set."""
    for name in ("predicted_error_atc", "predicted_error_atc_entropy"):
        error = found.info[name]["validation_error"]
        np.testing.assert_allclose(found.values[name], error, atol=1e-6)


def test_networks_without_a_sibling_are_refused(groups, measure_data):
    group = groups["mlp"]
    params = jax.tree.map(np.array, group.params)
    jax.tree.leaves(params)[0][0] = np.nan
    found = complexity.measure_group(
        group._replace(params=params), measure_data, ["disagreement"], key=jax.random.key(0)
    )
    rate = np.asarray(group.hyper.learning_rate)
    sibling = next(j for j in range(1, 4) if rate[j] == rate[0])
    reasons = {who: one.reason for one in found.refused for who in one.networks}
    assert reasons == {
        0: "its parameters or outputs are not finite",
        sibling: "the quantity is not defined for it",
    }


def test_sets_that_are_missing_are_named(groups, measure_data):
    found = complexity.measure_group(
        groups["mlp"],
        measure_data._replace(validation=None),
        ["unlabeled"],
        key=jax.random.key(0),
    )
    said = {one.measure: one.reason for one in found.refused}
    assert set(said) == {
        "disagreement_calibration_error",
        "predicted_error_atc",
        "predicted_error_atc_entropy",
        "predicted_error_difference_of_confidences",
    }
    assert set(said.values()) == {"it needs labelled examples that were not trained on"}


def test_scores_that_differ_in_the_last_bit_tie():
    same = jnp.full(10, -1.8, jnp.float32)
    other = jnp.nextafter(same, jnp.float32(-2.0))
    wrong = jnp.arange(10) < 3
    assert float(predicted_error_atc(same, wrong, other)) == float(
        predicted_error_atc(same, wrong, same)
    )
