"""Theorems 2 to 7 against their formulas, brute-force counts and simulated Gaussian steps."""

import itertools
import math

import numpy as np
import pytest

from genjax.errors import InvalidInputError
from genjax.metrics.information import noisy_descent_theorems as descent
from genjax.metrics.information import theorems

LOG2 = math.log(2)


def test_expected_gap_is_that_of_the_formula():
    """Theorem 2; T5's 0.339889 is its case without contraction."""
    assert theorems.expected_gap_bound(LOG2, 3) == pytest.approx(0.339889, abs=5e-7)
    assert theorems.expected_gap_bound(LOG2, 5) == pytest.approx(0.263277, abs=5e-7)
    written = math.exp(-3 / 2 * math.log(1 / 0.6)) * math.sqrt(2 * 0.7**2 / 11 * 1.9)
    found = theorems.expected_gap_bound(
        1.9, 11, sub_gaussian=0.7, contraction_coefficient=0.6, depth=3
    )
    assert found == pytest.approx(written, rel=1e-14)
    assert theorems.stability_bound(
        1.9, 11, sub_gaussian=0.7, contraction_coefficient=0.6, depth=3
    ) == pytest.approx(written, rel=1e-14)


def test_log_form_is_the_logarithm_and_goes_where_the_bound_is_zero():
    conditions = {"sub_gaussian": 0.7, "contraction_coefficient": 0.6}
    for depth in (0, 1, 7):
        log = theorems.log_expected_gap_bound(1.9, 11, depth=depth, **conditions)
        bound = theorems.expected_gap_bound(1.9, 11, depth=depth, **conditions)
        assert math.exp(log) == pytest.approx(bound, rel=1e-13)
    deep = {"contraction_coefficient": 1e-3, "depth": 1000}
    assert theorems.expected_gap_bound(2.0, 1, **deep) == 0
    assert theorems.log_expected_gap_bound(2.0, 1, **deep) == pytest.approx(-500 * math.log(1000))
    nothing = {"contraction_coefficient": 0.0, "depth": 2}
    assert theorems.log_expected_gap_bound(1.0, 1, **nothing) == -math.inf
    assert theorems.log_expected_gap_bound(math.inf, 1, **nothing) == math.inf


def test_infinite_information_gives_an_infinite_bound_whatever_the_contraction():
    """F10."""
    ceiling = theorems.sample_information(100, None)
    assert ceiling.value == math.inf
    assert "continuous" in ceiling.reason
    assert theorems.sample_information(100, LOG2) == (100 * LOG2, "finite")
    found = theorems.expected_gap_bound(
        np.array([ceiling.value, 2.0]), 1, contraction_coefficient=0.0, depth=3
    )
    assert found.tolist() == [math.inf, 0.0]
    assert theorems.sample_size(0.1, math.inf) == math.inf


def test_bounds_broadcast_and_give_scalars_for_scalars():
    grid = theorems.expected_gap_bound(
        np.array([[0.5], [2.0]]), 10, contraction_coefficient=0.5, depth=np.array([0, 1, 4])
    )
    assert grid.shape == (2, 3)
    assert grid[1, 2] == theorems.expected_gap_bound(2.0, 10, contraction_coefficient=0.5, depth=4)
    assert np.ndim(grid[1, 2]) == np.ndim(theorems.expected_gap_bound(2.0, 10)) == 0


def test_geometric_mean_is_over_products_of_layers():
    draws = np.array([[0.2, 0.9, 0.5], [1.0, 0.3, 0.4]])
    expected = ((0.2 * 0.9 * 0.5 + 1.0 * 0.3 * 0.4) / 2) ** (1 / 3)
    assert theorems.geometric_mean_coefficient(draws) == pytest.approx(expected, rel=1e-14)
    bound = theorems.expected_gap_bound(
        1.0, 1, contraction_coefficient=theorems.geometric_mean_coefficient(draws), depth=3
    )
    # The proof ends with the root of the mean product.
    assert bound == pytest.approx(math.sqrt(np.prod(draws, 1).mean() / 2), rel=1e-14)


@pytest.mark.parametrize("delta", [1.0, 0.3, 0.05])
@pytest.mark.parametrize(("eta", "depth"), [(1.0, 0), (0.8, 3), (0.2, 10)])
def test_sample_size_is_the_first_that_reaches_the_gap(delta, eta, depth):
    conditions = {"contraction_coefficient": eta, "depth": depth, "delta": delta}
    n = int(theorems.sample_size(0.02, 1.3, **conditions))
    assert theorems.excess_risk_bound(1.3, n, **conditions) <= 0.02 * (1 + 1e-12)
    if n > 1:
        assert theorems.excess_risk_bound(1.3, n - 1, **conditions) > 0.02
    whole = theorems.sample_size(0.1, 2.0, delta=0.5, contraction_coefficient=0.5, depth=2)
    assert whole == 100


def test_markov_holds_for_a_non_negative_excess_risk():
    rng = np.random.default_rng(0)
    excess = rng.exponential(0.1, 100_000)
    for delta in (0.5, 0.1):
        assert np.mean(excess > 0.1 / delta) <= delta
    assert theorems.excess_risk_bound(1.0, 50, delta=0.1) == pytest.approx(
        10 * theorems.expected_gap_bound(1.0, 50)
    )


def test_vc_bounds_are_those_of_the_paper():
    """Theorems 6 and 7."""
    few = theorems.vc_bound(7, 10, sub_gaussian=0.5)
    assert few == pytest.approx(math.sqrt(2 * 0.25 * 10 / 7))
    many = theorems.vc_bound(
        700, 10, delta=0.1, sub_gaussian=0.5, contraction_coefficient=0.9, depth=4
    )
    log_form = math.sqrt(2 * 0.25 * 10 / 700 * math.log(math.e * 70))
    assert many == pytest.approx(10 * 0.9**2 * log_form)
    # Both forms meet at n = d.
    assert theorems.vc_bound(10, 10) == pytest.approx(math.sqrt(0.5))


def _behaviours(points, functions):
    return len({tuple(f(x) for x in points) for f in functions})


def test_growth_is_counted_for_thresholds_and_intervals():
    points = range(8)
    thresholds = [lambda x, t=t: x >= t for t in range(9)]
    intervals = [
        lambda x, a=a, b=b: a <= x < b
        for a, b in itertools.combinations_with_replacement(range(9), 2)
    ]
    assert math.exp(theorems.log_growth(8, 1)) == pytest.approx(_behaviours(points, thresholds))
    assert math.exp(theorems.log_growth(8, 2)) == pytest.approx(_behaviours(points, intervals))
    assert theorems.log_growth(8, 8) == pytest.approx(8 * LOG2)
    assert theorems.log_growth(8, 50) == pytest.approx(8 * LOG2)
    big = [math.comb(500, i) for i in range(21)]
    assert theorems.log_growth(500, 20) == pytest.approx(math.log(sum(big)), rel=1e-12)


@pytest.mark.parametrize("n", [1, 5, 40, 3000])
@pytest.mark.parametrize("d", [1, 4, 100])
def test_closed_growth_is_above_the_sum(n, d):
    closed, summed = (theorems.supersample_vc_bound(n, d, closed=c) for c in (True, False))
    assert summed <= closed + 1e-12
    assert summed == pytest.approx(math.sqrt(2 * theorems.log_growth(2 * n, d) / n))
    if n == 3000:
        assert closed == pytest.approx(math.sqrt(2 * d * math.log(2 * math.e * n / d) / n))


def test_steps_in_log_and_quadratic_form():
    """T15."""
    found = descent.descent_information([0.1], [1.0], [0.001], [1000])
    assert found.log_steps.item() == pytest.approx(1198.95, abs=5e-3)
    assert found.quadratic_steps.item() == pytest.approx(5000, rel=1e-12)
    assert found.reason == "finite"


def test_schedule_of_theorem_5_converges():
    """T14."""
    schedule = descent.theorem_5_schedule(0.7, 100_000)
    moments = np.full(100_000, 1.3**2)
    steps = descent.descent_information(schedule.rates, moments, schedule.noises, [10])
    total = 2 * steps.quadratic_steps.sum()
    assert total == pytest.approx(1.945957, abs=2e-5)
    limit = 0.7 * 1.3**2 * math.pi**2 / 6
    assert limit == pytest.approx(1.945957, abs=5e-7)
    bounds = descent.descent_bounds(steps, 50, contraction_coefficient=0.8, depth=2)
    five = descent.theorem_5_bound(0.7, 1.3**2, 50, delta=0.1, contraction_coefficient=0.8, depth=2)
    assert five == pytest.approx(10 * 0.8 * math.sqrt(0.25 * limit / 50))
    assert 10 * bounds.paper <= five
    assert 10 * bounds.paper == pytest.approx(five, rel=1e-5)


def test_bounds_of_a_path_add_up_what_they_say():
    rng = np.random.default_rng(1)
    rates, noises = rng.uniform(0.01, 0.1, (2, 6, 3))
    moments, dimensions = rng.uniform(1, 5, (6, 3)), [40, 20, 5]
    steps = descent.descent_information(rates, moments, noises, dimensions)
    found = descent.descent_bounds(
        steps, 30, sub_gaussian=0.4, contraction_coefficient=0.5, depth=2
    )
    each = moments * rates**2 / noises**2
    assert found.paper == pytest.approx(0.5 * math.sqrt(0.16 / 30 * each[:, -1].sum()))
    assert found.trajectory == pytest.approx(math.sqrt(0.16 / 30 * each.sum()))
    logs = np.array(dimensions) / 2 * np.log(1 + each / dimensions)
    assert found.paper_log == pytest.approx(0.5 * math.sqrt(2 * 0.16 / 30 * logs[:, -1].sum()))
    assert found.trajectory_log == pytest.approx(math.sqrt(2 * 0.16 / 30 * logs.sum()))
    assert found.paper_log < found.paper
    assert found.trajectory_log < found.trajectory
    # One column for all layers is the same as a column for each.
    spread = descent.descent_information(rates[:, :1], moments, noises[:, 0], dimensions)
    alike = np.repeat(rates[:, :1], 3, 1), moments, np.repeat(noises[:, :1], 3, 1)
    assert np.array_equal(
        spread.log_steps, descent.descent_information(*alike, dimensions).log_steps
    )


def test_log_step_is_reached_by_a_gaussian_gradient():
    """The gradient N(0, M^2 / d I) has the information of the log form exactly."""
    d, moment, rate, noise = 4, 2.0, 0.3, 0.2
    found = descent.descent_information([rate], [moment], [noise], [d])
    before = np.eye(d) * noise**2
    after = before + rate**2 * moment / d * np.eye(d)
    exact = (np.linalg.slogdet(after)[1] - np.linalg.slogdet(before)[1]) / 2
    assert found.log_steps.item() == pytest.approx(exact, rel=1e-12)


def test_step_without_noise_is_infinite_in_words_and_one_without_move_is_not():
    found = descent.descent_information([0.1, 0.0], [1.0, 1.0], [[1.0, 0.0], [0.0, 0.0]], [3, 2])
    assert found.quadratic_steps[1].tolist() == [0, 0]
    assert found.quadratic_steps[0, 1] == math.inf
    assert "step 0 moves layer 1 without noise" in found.reason
    bounds = descent.descent_bounds(found, 10, contraction_coefficient=0.0, depth=1)
    assert bounds.paper == bounds.trajectory == math.inf
    assert bounds.reason == found.reason


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: theorems.expected_gap_bound(-1.0, 3), "information"),
        (lambda: theorems.expected_gap_bound(float("nan"), 3), "information"),
        (lambda: theorems.expected_gap_bound(1.0, 0), "num_examples"),
        (lambda: theorems.expected_gap_bound(1.0, 3, sub_gaussian=0.0), "sub_gaussian"),
        (
            lambda: theorems.expected_gap_bound(1.0, 3, contraction_coefficient=1.1),
            "contraction_coefficient",
        ),
        (lambda: theorems.log_expected_gap_bound(1.0, 3, depth=-1), "depth"),
        (lambda: theorems.expected_gap_bound(1.0, 3, depth=0.5), "depth"),
        (lambda: theorems.excess_risk_bound(1.0, 3, delta=0.0), "delta"),
        (lambda: theorems.sample_size(0.0, 1.0), "gap"),
        (lambda: theorems.sample_information(0, 1.0), "num_examples"),
        (lambda: theorems.sample_information(3, -1.0), "example_entropy"),
        (lambda: theorems.geometric_mean_coefficient([]), "coefficients"),
        (lambda: theorems.geometric_mean_coefficient([1.2]), "coefficients"),
        (lambda: theorems.vc_bound(10, 0), "vc_dimension"),
        (lambda: theorems.supersample_vc_bound(0, 1), "num_examples"),
        (lambda: descent.descent_information([0.1], [1.0], [1.0], [0]), "dimensions"),
        (lambda: descent.descent_information([0.1], [1.0, 1.0], [1.0], [3]), "rates"),
        (lambda: descent.descent_information([0.1], [-1.0], [1.0], [3]), "second_moments"),
        (lambda: descent.descent_information([0.1], [1.0], [[1.0, 1.0]], [3]), "noises"),
        (lambda: descent.theorem_5_schedule(0.0, 3), "scale"),
        (lambda: descent.theorem_5_schedule(1.0, 0), "steps"),
        (lambda: descent.theorem_5_bound(-1.0, 1.0, 3), "scale"),
        (lambda: descent.theorem_5_bound(1.0, 1.0, 3, delta=2.0), "delta"),
    ],
)
def test_bad_input_is_named(call, named):
    with pytest.raises(InvalidInputError, match=named):
        call()
