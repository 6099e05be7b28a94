"""Likelihood, Brier score and calibration: scikit-learn and float64 loops are the oracles."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, log_loss

from genjax.errors import InvalidInputError
from genjax.metrics import calibration

CASES = [((), 50, 3, 0), ((4,), 1200, 10, 1), ((2, 3), 77, 5, 2), ((1,), 1, 2, 3), ((3,), 20, 2, 4)]


def draw(leading, examples, classes, seed):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (*leading, examples, classes)).astype(np.float32)
    return logits, rng.integers(0, classes, examples)


def softmax(logits):
    shifted = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
    return shifted / shifted.sum(-1, keepdims=True)


def rows(logits):
    return logits.reshape(-1, *logits.shape[-2:])


def looped_table(confidence, right, bins, equal_mass=False):
    """Return (count, mean confidence, accuracy) per bin, one example after the other."""
    members = [[] for _ in range(bins)]
    for k, value in enumerate(confidence):
        if equal_mass:
            where = sum(other < value for other in confidence) * bins // len(confidence)
        else:
            where = 0
            while where < bins - 1 and value > np.float32((where + 1) / bins):
                where += 1
        members[where].append(k)
    mean = [[np.mean(v[m]) if m else np.nan for m in members] for v in (confidence, right)]
    return np.array([len(m) for m in members]), *map(np.array, mean)


def looped_errors(count, confidence, accuracy):
    distances = [(n, abs(a - c)) for n, c, a in zip(count, confidence, accuracy, strict=True) if n]
    expected = sum(n * d for n, d in distances) / sum(count)
    return expected, max(d for _, d in distances)


@pytest.mark.parametrize("case", CASES)
def test_likelihood_and_brier_score_equal_scikit_learn(case):
    logits, labels = draw(*case)
    names = np.arange(case[2])
    probabilities = [softmax(row) for row in rows(logits)]
    nll = [log_loss(labels, p, labels=names) for p in probabilities]
    brier = [
        brier_score_loss(np.eye(case[2])[labels], p, scale_by_half=False) for p in probabilities
    ]
    for function, expected in (
        (calibration.negative_log_likelihood, nll),
        (calibration.brier_score, brier),
    ):
        ours = np.asarray(function(logits, labels))
        # Probabilities near one are known to 6e-8, half the distance of float32 numbers there.
        np.testing.assert_allclose(ours, np.reshape(expected, ours.shape), rtol=2e-6, atol=2e-7)


@pytest.mark.parametrize("equal_mass", [False, True])
@pytest.mark.parametrize("bins", [1, 4, 15])
@pytest.mark.parametrize("case", CASES)
def test_the_table_equals_loops(case, bins, equal_mass):
    logits, labels = draw(*case)
    table = calibration.reliability(logits, labels, bins=bins, equal_mass=equal_mass)
    flat = [np.asarray(v).reshape(-1, bins) for v in table]
    errors = (
        calibration.expected_calibration_error(table),
        calibration.maximum_calibration_error(table),
    )
    # The bins of the float32 confidences: in float64 one might fall on the other side of an edge.
    confidences = calibration.example_scores(logits, labels).confidence
    confidences = np.asarray(confidences).reshape(-1, len(labels))
    for i, row in enumerate(rows(logits)):
        np.testing.assert_allclose(confidences[i], softmax(row).max(-1), rtol=1e-6)
        right = row.argmax(-1) == labels
        expected = looped_table(confidences[i], right, bins, equal_mass)
        np.testing.assert_array_equal(flat[0][i], expected[0])
        np.testing.assert_allclose(flat[1][i], expected[1], rtol=1e-6)
        np.testing.assert_allclose(flat[2][i], expected[2], rtol=1e-6)
        for ours, value in zip(errors, looped_errors(*expected), strict=True):
            assert np.ravel(ours)[i] == pytest.approx(value, abs=1e-6)
        average = np.ravel(calibration.average_confidence(table))[i]
        assert average == pytest.approx(softmax(row).max(-1).mean(), rel=1e-6)


def from_confidence(values):
    values = np.asarray(values, np.float32)
    with np.errstate(divide="ignore"):
        return np.log(np.stack([values, 1 - values], -1))


def test_a_confidence_on_an_edge_falls_into_the_bin_below():
    logits = from_confidence([0.5, 0.75, 0.7501, 1.0])
    confidences = calibration.example_scores(logits, np.zeros(4, int)).confidence
    assert confidences[0] == 0.5
    table = calibration.reliability(logits, np.zeros(4, int), bins=4)
    assert confidences[1] == 0.75, "otherwise this says nothing of the edge"
    np.testing.assert_array_equal(table.examples, [0, 1, 1, 2])


def test_certain_and_right_is_perfect_and_certain_and_wrong_the_worst():
    logits = np.array([[[200.0, 0.0, -200.0]] * 2, [[0.0, 200.0, 0.0]] * 2], np.float32)
    labels = np.zeros(2, int)
    table = calibration.reliability(logits, labels)
    np.testing.assert_array_equal(table.examples[:, -1], [2, 2])
    np.testing.assert_array_equal(table.confidence[:, -1], [1, 1])
    np.testing.assert_array_equal(calibration.expected_calibration_error(table), [0, 1])
    np.testing.assert_array_equal(calibration.maximum_calibration_error(table), [0, 1])
    np.testing.assert_array_equal(calibration.brier_score(logits, labels), [0, 2])
    np.testing.assert_array_equal(calibration.negative_log_likelihood(logits, labels), [0, 200])


def test_a_label_of_probability_zero_has_infinite_loss():
    logits = from_confidence([1.0, 0.6])
    assert calibration.negative_log_likelihood(logits, np.array([1, 0])) == np.inf


def test_equal_confidences_share_a_bin_whatever_their_order():
    labels = np.array([0, 1, 0, 0, 1, 0])
    logits = from_confidence([0.8, 0.8, 0.6, 0.8, 0.8, 0.9])
    order = np.random.default_rng(0).permutation(6)
    first = calibration.reliability(logits, labels, bins=3, equal_mass=True)
    again = calibration.reliability(logits[order], labels[order], bins=3, equal_mass=True)
    np.testing.assert_array_equal(first.examples, [5, 0, 1])
    np.testing.assert_array_equal(first.examples, again.examples)
    np.testing.assert_allclose(first.accuracy, again.accuracy)
    assert np.isnan(first.accuracy[1])
    assert np.isnan(first.confidence[1])


def test_distinct_confidences_fill_equal_masses():
    logits = from_confidence(np.linspace(0.55, 0.95, 30))
    table = calibration.reliability(logits, np.zeros(30, int), equal_mass=True)
    np.testing.assert_array_equal(table.examples, [2] * 15)


@pytest.mark.parametrize("equal_mass", [False, True])
def test_nan_stays_with_its_network(equal_mass):
    logits, labels = draw((3,), 40, 4, 5)
    broken = logits.copy()
    broken[1, 7, 2] = np.nan

    def everything(logits):
        table = calibration.reliability(logits, labels, equal_mass=equal_mass)
        return [
            calibration.negative_log_likelihood(logits, labels),
            calibration.brier_score(logits, labels),
            calibration.expected_calibration_error(table),
            calibration.maximum_calibration_error(table),
            calibration.average_confidence(table),
        ]

    for sound, found in zip(everything(logits), everything(broken), strict=True):
        assert np.isnan(found[1])
        np.testing.assert_array_equal(found[jnp.array([0, 2])], sound[jnp.array([0, 2])])


def test_jitted_and_vmapped_it_is_the_same():
    logits, labels = draw((4,), 60, 5, 6)

    def one(logits, labels):
        table = calibration.reliability(logits, labels)
        return table, calibration.expected_calibration_error(table)

    expected = one(logits, labels)
    found = jax.jit(jax.vmap(one, (0, None)))(logits, labels)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), expected, found)


def test_inside_jit_a_label_out_of_range_has_no_loss():
    logits, _ = draw((), 3, 4, 7)
    found = jax.jit(calibration.example_scores)(logits, np.array([-1, 4, 0])).nll
    np.testing.assert_array_equal(np.isnan(found), [True, True, False])


@pytest.mark.parametrize(
    ("logits", "labels", "words"),
    [
        (np.zeros((4, 3)), np.zeros(3, int), "logits: found shape (4, 3); [..., 3, C]"),
        (np.zeros(3), np.zeros(3, int), "logits: found shape (3,)"),
        (np.zeros((0, 3)), np.zeros(0, int), "at least one example"),
        (np.zeros((2, 3)), np.array([0, 3]), "labels: found class 3; logits of 3 classes"),
        (np.zeros((2, 3)), np.array([-1, 3]), "labels: found class -1;"),
        (np.zeros((2, 3)), np.zeros(2), "labels: found float64 [2]"),
        (np.zeros((2, 3)), np.zeros((2, 1), int), "labels: found int64 [2, 1]"),
    ],
)
def test_what_does_not_fit_is_refused(logits, labels, words):
    with pytest.raises(InvalidInputError) as refused:
        calibration.negative_log_likelihood(logits, labels)
    assert words in str(refused.value)


def test_no_bins_are_refused():
    with pytest.raises(InvalidInputError, match="bins: found 0; at least 1"):
        calibration.reliability(np.zeros((2, 3)), np.zeros(2, int), bins=0)
