"""The corrected resampled t-test against numbers worked out by hand; the jackknife."""

import numpy as np
import pytest
import scipy.stats

from genjax import errors
from genjax.statistics import resampled_tests


def test_against_a_computation_by_hand():
    # Ten differences, 90 examples trained on and 10 held out.
    thousandths = [20, 10, 30, -5, 40, 15, 25, 0, 35, 20]
    mean = sum(thousandths) / 10
    squares = sum((v - mean) ** 2 for v in thousandths)  # 1 + 81 + 121 + 576 + 441 + 16 + ...
    assert (mean, squares) == (19, 1890)
    variance = 210e-6  # 1890e-6 / 9
    corrected = 0.019 / np.sqrt((1 / 10 + 1 / 9) * variance)
    assert corrected == pytest.approx(2.85357, abs=1e-5)
    found = resampled_tests.corrected_test(np.array(thousandths) / 1000, 90, 10)
    assert found.statistic == pytest.approx(corrected, rel=1e-12)
    assert found.p_value == pytest.approx(2 * scipy.stats.t.sf(corrected, 9), rel=1e-9)
    # 2.262157 is the 97.5 % point of Student's t with 9 degrees of freedom in any table.
    half = 2.262157 * np.sqrt((1 / 10 + 1 / 9) * variance)
    assert (found.low, found.high) == pytest.approx((0.019 - half, 0.019 + half), abs=1e-8)
    naive = scipy.stats.ttest_1samp(np.array(thousandths) / 1000, 0).pvalue
    assert found.naive_p_value == pytest.approx(naive, rel=1e-9)
    assert found.naive_p_value < found.p_value


def test_of_overlapping_resamples_it_keeps_its_level_where_students_t_does_not():
    """Two constant predictors of equal expected error, compared on random halves of few examples.

    Differences of a resample are means over its held-out part: overlapping draws of one sample.
    """
    rng = np.random.default_rng(0)
    corrected, naive, total = 0, 0, 400
    for _ in range(total):
        examples = rng.normal(size=60)
        differences = np.array([rng.permutation(examples)[:20].mean() for _ in range(15)])
        found = resampled_tests.corrected_test(differences, 40, 20)
        corrected += found.p_value < 0.05
        naive += found.naive_p_value < 0.05
    assert naive / total > 0.2
    # Five standard errors above the nominal level.
    assert corrected / total < 0.05 + 5 * np.sqrt(0.05 * 0.95 / total)


def test_values_that_do_not_vary_have_no_interval():
    same = resampled_tests.corrected_test(np.zeros(5), 8, 2)
    assert (same.mean, same.p_value) == (0, 1)
    assert np.isnan([same.low, same.high, same.statistic]).all()
    assert resampled_tests.corrected_test(np.ones(5), 8, 2).p_value == 0


@pytest.mark.parametrize(
    ("values", "sizes", "sentence"),
    [
        ([0.1], (8, 2), "values: found 1"),
        ([0.1, np.nan], (8, 2), "values: found 2 of which 1"),
        ([0.1, 0.2], (0, 2), "train_size and held_out_size: found 0 and 2"),
    ],
)
def test_what_cannot_be_tested_is_refused(values, sizes, sentence):
    with pytest.raises(errors.InvalidInputError, match=sentence):
        resampled_tests.corrected_test(np.array(values), *sizes)


def test_the_jackknife_of_a_mean_is_students_interval():
    values = np.random.default_rng(1).normal(size=(9, 2))
    left_out = (values.sum(axis=0) - values) / 8
    low, high = resampled_tests.jackknife_interval(values.mean(axis=0), left_out, 0.9)
    half = scipy.stats.t.ppf(0.95, 8) * scipy.stats.sem(values, axis=0)
    np.testing.assert_allclose(high - values.mean(axis=0), half, rtol=1e-12)
    np.testing.assert_allclose(values.mean(axis=0) - low, half, rtol=1e-12)
    with pytest.raises(errors.InvalidInputError, match="left_out: found 1"):
        resampled_tests.jackknife_interval(0.0, np.zeros(1))
