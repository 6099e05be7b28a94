"""The falsification suite: every printed number, every verdict, and what must hold beside it."""

import math

import numpy as np
import pytest

from genjax.metrics.information import falsification
from genjax.metrics.information.falsification import HOLDS, REFUTED

_CASES = {case.name: case for case in falsification.cases()}


def test_all_cases_are_there_and_all_claims_but_one_are_refuted():
    assert list(_CASES) == [*(f"F{i}" for i in range(1, 11)), "right"]
    assert {name for name, case in _CASES.items() if case.verdict == HOLDS} == {"right"}
    assert {case.verdict for case in _CASES.values()} == {HOLDS, REFUTED}
    for case in _CASES.values():
        assert case.claim.endswith(".")
        assert case.because.endswith(".")
        assert not any(math.isnan(value) for value in case.numbers.values())


@pytest.mark.parametrize("name", _CASES)
def test_numbers_are_the_printed_ones(name):
    case = _CASES[name]
    assert set(case.expected) <= set(case.numbers)
    for quantity, value in case.expected.items():
        # .7355 and .33989 are printed to that many digits; all others are exact.
        digits = {0.7355: 5e-5, 0.33989: 5e-6}.get(value, 1e-9)
        assert case.numbers[quantity] == pytest.approx(value, abs=digits), quantity


def test_memorising_trunk_holds_all_the_information():
    numbers = _CASES["F3"].numbers
    assert numbers["information_of_trunk"] == pytest.approx(math.log(2))


def test_frozen_trunk_is_no_trivial_case():
    assert _CASES["F5"].numbers["information_of_head"] > 0.1


def test_vanishing_contraction_keeps_a_third():
    """The product is that of (1 - 0.2 / k^2)^2; the infinite one is (sin(pi a) / (pi a))^2."""
    numbers = _CASES["F7"].numbers
    k = np.arange(1, 65)
    expected = np.prod((1 - 0.2 / k**2) ** 2)
    assert numbers["product_over_64_layers"] == pytest.approx(expected, rel=1e-9)
    a = math.pi * math.sqrt(0.2)
    limit = (math.sin(a) / a) ** 2
    assert limit < numbers["product_over_64_layers"] < 1.01 * limit
    assert numbers["last_coefficient"] < 1
    assert numbers["measured_product"] == pytest.approx(numbers["measured_ratio"], rel=1e-12)
    assert numbers["theorem_2_with_measured"] == pytest.approx(numbers["lemma_2"], rel=1e-12)
    assert numbers["measured_ratio"] < 1


def test_information_after_noisy_layers_is_that_of_enumeration():
    """F7's chain by sums over samples and flips."""
    from scipy.special import xlogy

    numbers = _CASES["F7"].numbers
    keep = np.prod([1 - 0.2 / k**2 for k in range(1, 9)])
    flip = (1 - keep) / 2
    joint = np.zeros((8, 2))
    for s in range(8):
        for t in range(8):
            flips = bin(s ^ t).count("1")
            joint[t, int(bin(s).count("1") > 1)] += flip**flips * (1 - flip) ** (3 - flips) / 8
    terms = [xlogy(m, m).sum() for m in (joint, joint.sum(0), joint.sum(1))]
    information = terms[0] - terms[1] - terms[2]
    assert numbers["measured_ratio"] == pytest.approx(information / math.log(2), rel=1e-12)


def test_noise_of_the_head_is_given_away_by_simulation():
    """F8's information by the correlation of residuals in a million runs."""
    numbers = _CASES["F8"].numbers
    rng = np.random.default_rng(0)
    mean, n_1, n_2, m_1, m_2 = rng.normal(size=(5, 400_000))
    n_2, m_1, m_2 = 0.1 * n_2, 0.1 * m_1, 0.1 * m_2
    h, w = mean + n_1, m_1
    h, w = h + n_2, w - (h + w - mean) + m_2

    def residual(x):
        return x - w * (x @ w) / (w @ w)

    r = np.corrcoef(residual(h), residual(mean))[0, 1]
    information = -0.5 * math.log(1 - r**2)
    assert numbers["information_of_head"] == pytest.approx(information, rel=5e-3)
    assert numbers["paper"] < numbers["information_of_head"] <= numbers["trajectory"]


def test_supersample_is_sound_where_the_sample_is_not():
    numbers = _CASES["F9"].numbers
    assert numbers["predictions_information"] <= numbers["log_growth_of_supersample"]
    numbers = _CASES["F10"].numbers
    # Two examples of one pair are the same with probability 1 / letters.
    for letters in (4, 16):
        expected = (1 - 1 / letters) * math.log(2)
        assert numbers[f"conditional_at_{letters}_letters"] == pytest.approx(expected)
