"""Contraction over iterations: total variation, exact laws, and where the naive sum fails."""

import numpy as np
import pytest
from scipy import integrate, special, stats

from genjax.errors import InvalidInputError
from genjax.metrics.information import iteration_contraction as contraction

GRID = np.linspace(-35, 35, 14_001)


def information(first, second):
    """Return I(S; W) in nats of a fair bit S by two densities of W on the grid."""
    middle = (first + second) / 2
    parts = [integrate.simpson(special.rel_entr(p, middle), GRID) for p in (first, second)]
    return sum(parts) / 2


def blurred(weights, places, noise):
    return sum(
        w * stats.norm.pdf(GRID, place, noise) for w, place in zip(weights, places, strict=True)
    )


@pytest.mark.parametrize(("diameter", "noise"), [(1.0, 1.0), (3.0, 0.7), (0.2, 2.0)])
def test_the_coefficient_is_the_total_variation_of_the_farthest_pair(diameter, noise):
    first, second = (stats.norm.pdf(GRID, x, noise) for x in (0, diameter))
    expected = integrate.simpson(np.abs(first - second), GRID) / 2
    assert float(contraction.contraction_coefficient(diameter, noise)) == pytest.approx(
        expected, abs=1e-8
    )
    tail = 1 - 2 * stats.norm.sf(diameter / (2 * noise))
    assert float(contraction.contraction_coefficient(diameter, noise)) == pytest.approx(tail)


def test_a_noisy_layer_has_its_coefficient():
    # 4 activations in [-1, 1] with noise 1.5: their set has diameter 4.
    assert float(contraction.contraction_coefficient(4.0, 1.5)) == pytest.approx(0.817578, abs=5e-7)


def test_the_edges_of_the_coefficient():
    q = contraction.contraction_coefficient
    assert q(np.array([1.0, 0.0, np.inf, 0.0]), np.array([0.0, 0.0, 1.0, 1.0])).tolist() == [
        1.0, 0.0, 1.0, 0.0,
    ]  # fmt: skip
    for bad in ((-1.0, 1.0), (1.0, np.nan)):
        with pytest.raises(InvalidInputError, match=r"^(diameter|noise): "):
            q(*bad)


def test_a_part_used_once_gives_the_published_product():
    told, q = np.array([9.0, 2.0, 9.0, 9.0]), np.array([0.1, 0.2, 0.5, 0.3])
    used = np.array([False, True, False, False])
    found = contraction.contracted_information(told, q, used)
    np.testing.assert_allclose(found, [0, 2.0, 1.0, 0.3], rtol=1e-12)
    everything = contraction.contracted_information(told, q, np.ones(4, bool))
    np.testing.assert_allclose(everything, np.cumsum(told))


def test_infinite_information_stays_or_is_forgotten_and_is_never_nan():
    used = np.array([True, False, False])
    found = contraction.contracted_information(
        np.array([np.inf, 0, 0]), np.array([1, 0.5, 0.0]), used
    )
    assert found.tolist() == [np.inf, np.inf, 0.0]


def clipped(mean, noise, limit):
    """Return places and weights of a Gaussian whose values beyond the limits lie on them."""
    places = np.linspace(-limit, limit, 401)
    edges = np.concatenate([[-np.inf], (places[1:] + places[:-1]) / 2, [np.inf]])
    return np.diff(stats.norm.cdf(edges, mean, noise)), places


def test_a_step_that_does_not_use_the_examples_contracts():
    # W_1 = -a or a plus noise, kept in [-R, R]; W_2 = W_1 plus noise.
    a, first, limit, second = 0.5, 1.0, 2.0, 3.0
    before = information(*(stats.norm.pdf(GRID, s * a, first) for s in (-1, 1)))
    after = information(*(blurred(*clipped(s * a, first, limit), second) for s in (-1, 1)))
    q = float(contraction.contraction_coefficient(2 * limit, second))
    found = contraction.contracted_information(
        np.array([before, 0.0]), np.array([1.0, q]), np.array([True, False])
    )
    assert 0.05 * before < after < found[1] < before


def test_contraction_at_every_step_is_no_bound():
    # Both steps push by the same bit S in proportion to their variances, which makes the chain rule
    # tight: I(W_2; S) = I_1 + I_2 to leading order, and q I_1 + I_2 with q < 1 is too small.
    c, first, second, limit = 0.02, 1.0, 3.0, 3.0
    push = (c * first**2, c * second**2)
    q = float(contraction.contraction_coefficient(2 * limit + 2 * push[1], second))
    assert q < 0.75

    def last(sign):
        weights, places = clipped(sign * push[0], first, limit)
        return blurred(weights, places + sign * push[1], second)

    exact = information(last(-1), last(1))
    told = [
        information(*(stats.norm.pdf(GRID, s * p, v) for s in (-1, 1)))
        for p, v in zip(push, (first, second), strict=True)
    ]
    assert exact > 1.01 * (q * told[0] + told[1])
    sound = contraction.contracted_information(
        np.array(told), np.array([q, q]), np.array([True, True])
    )
    assert exact < sound[-1]


def test_descent_on_a_quadratic_has_its_exact_informations():
    found = contraction.quadratic_descent(
        50, rate=0.1, noise=0.1, variance=1.7, num_examples=20, dimension=3
    )
    assert found.last_iterate == pytest.approx(1.43237, abs=5e-6)
    assert found.path == pytest.approx(2.48734, abs=5e-6)
    assert found.sum_of_steps == pytest.approx(6.11850, abs=5e-6)
    # To the limit: (d/2) log(1 + s^2 (2e - e^2) / (n v)).
    long = contraction.quadratic_descent(
        5000, rate=0.1, noise=0.1, variance=1.7, num_examples=20, dimension=3
    )
    assert long.last_iterate == pytest.approx(1.5 * np.log1p(1.7 * 0.19 / 0.2), rel=1e-9)


@pytest.mark.parametrize("steps", [1, 2, 7])
@pytest.mark.parametrize(("rate", "noise"), [(0.3, 0.2), (1.5, 0.4)])
def test_informations_are_those_of_the_joint_gaussian(steps, rate, noise):
    # W = A zbar + B xi: brute force over the covariance of the whole path.
    s2, n = 1.3, 6
    powers = np.abs(np.subtract.outer(np.arange(steps), np.arange(steps)))
    pull = np.tril((1 - rate) ** powers)
    mean, blur = pull @ np.full(steps, rate), noise**2 * pull @ pull.T
    both = blur + s2 / n * np.outer(mean, mean)
    path = 0.5 * (np.linalg.slogdet(both)[1] - np.linalg.slogdet(blur)[1])
    last = 0.5 * np.log(both[-1, -1] / blur[-1, -1])
    found = contraction.quadratic_descent(
        steps, rate=rate, noise=noise, variance=s2, num_examples=n
    )
    assert found.path == pytest.approx(path, rel=1e-9)
    assert found.last_iterate == pytest.approx(last, rel=1e-9)
    slack = 1e-12
    assert found.last_iterate <= found.path + slack
    assert found.path <= found.sum_of_steps + slack


def test_contraction_makes_the_bound_of_the_last_iterate_smaller():
    one = np.ones(8)
    given = {"num_examples": 40, "batch_size": 10}
    plain = contraction.wang_gaussian_channels(one, one, one, **given)
    # Batch j was last used 3 - j steps before the end, and once a round before.
    q = 0.5
    less = contraction.wang_gaussian_channels(one, one, one, coefficients=q * one, **given)
    assert np.all(less.value <= plain.value)
    informations = [(0.5 * q**3 + 0.5) * q ** (3 - j) for j in range(4)]
    expected = 0.5 * np.sqrt(20) / 40 * np.sum(np.sqrt(informations))
    assert less.value[-1] == pytest.approx(expected, rel=1e-12)


def test_bad_input_is_refused_by_name():
    one = np.ones(3)
    with pytest.raises(InvalidInputError, match=r"^step_information: "):
        contraction.contracted_information(-one, one, one > 0)
    with pytest.raises(InvalidInputError, match=r"^coefficients: "):
        contraction.contracted_information(one, 2 * one, one > 0)
    with pytest.raises(InvalidInputError, match=r"^num_examples: "):
        contraction.wang_gaussian_channels(one, one, one, num_examples=10, batch_size=4)
    with pytest.raises(InvalidInputError, match=r"^sketch: "):
        contraction.variance_over_runs(np.ones((1, 3, 2)))
    with pytest.raises(InvalidInputError, match=r"^rate: "):
        contraction.quadratic_descent(3, rate=2.0, noise=1.0, variance=1.0, num_examples=3)
    with pytest.raises(InvalidInputError, match=r"^noise: "):
        contraction.quadratic_descent(3, rate=0.5, noise=0.0, variance=1.0, num_examples=3)
