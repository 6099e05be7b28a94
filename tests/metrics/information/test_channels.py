"""Finite channels and contraction coefficients against published values and brute force."""

import itertools

import numpy as np
import pytest
from scipy import integrate, optimize, stats

from genjax.errors import InvalidInputError
from genjax.metrics.information import channels, coefficients

LOG2 = np.log(2)


def _random_channel(seed, inputs, outputs, sharpness=0.5):
    return np.random.default_rng(seed).dirichlet(np.full(outputs, sharpness), inputs)


def _information_by_sums(p_x, channel):
    joint = p_x[:, None] * channel
    p_y = joint.sum(0)
    return sum(
        joint[x, y] * np.log(joint[x, y] / (p_x[x] * p_y[y]))
        for x, y in np.ndindex(*joint.shape)
        if joint[x, y] > 0
    )


@pytest.mark.parametrize("seed", range(3))
def test_information_and_divergence_are_their_sums(seed):
    channel, p_x = _random_channel(seed, 4, 3), _random_channel(seed + 9, 1, 4)[0]
    information = channels.mutual_information(p_x, channel)
    assert information == pytest.approx(_information_by_sums(p_x, channel), abs=1e-13)
    # The golden formula: I = E D(P_{Y|X} || P_Y).
    divergences = channels.kl_divergence(channel, p_x @ channel)
    assert information == pytest.approx(p_x @ divergences, abs=1e-13)


def test_divergence_is_infinite_where_mass_is_missing():
    assert channels.kl_divergence([0.5, 0.5], [1.0, 0.0]) == np.inf
    assert channels.kl_divergence([1.0, 0.0], [0.5, 0.5]) == pytest.approx(LOG2)
    assert channels.binary_entropy(np.array([0.0, 0.5, 1.0])).tolist() == [0, LOG2, 0]


@pytest.mark.parametrize("p", [0.05, 0.1, 0.3])
def test_coefficients_of_binary_channels(p):
    """T6."""
    for channel, kl, tv in (
        (channels.binary_symmetric(p), (1 - 2 * p) ** 2, 1 - 2 * p),
        (channels.erasure(p), 1 - p, 1 - p),
        (channels.z_channel(p), 1 - p, 1 - p),
    ):
        assert coefficients.eta_kl(channel) == pytest.approx(kl, abs=1e-12)
        assert coefficients.eta_tv(channel) == pytest.approx(tv, abs=1e-12)


def test_a_chain_of_binary_symmetric_channels():
    """T6: six layers that flip with probability .1."""
    chain = channels.compose(*[channels.binary_symmetric(0.1)] * 6)
    information = channels.mutual_information([0.5, 0.5], chain)
    assert information == pytest.approx(0.034764, abs=1e-6)
    assert information == pytest.approx(LOG2 - channels.binary_entropy((1 - 0.8**6) / 2))
    assert coefficients.eta_kl(chain) * LOG2 == pytest.approx(0.047633, abs=5e-7)


def test_symmetric_channel():
    """T7."""
    channel = channels.symmetric(5, 0.2)
    assert coefficients.eta_chi2(np.full(5, 0.2), channel) == pytest.approx(0.5625, abs=1e-12)
    assert coefficients.eta_tv(channel) == pytest.approx(0.75, abs=1e-12)


def test_gaussian_channel():
    """T8."""
    assert coefficients.gaussian_channel_coefficient(2.0, 1.0) == pytest.approx(2 / 3)
    # To second order in r the ratio is eta (1 - (1 - eta) r^2 / 2): .666656 at r = .01.
    weak = coefficients.gaussian_channel_ratio(0.01, 2.0, 1.0)
    assert weak == pytest.approx(2 / 3 * (1 - 1e-4 / 6), abs=1e-8)
    assert weak == pytest.approx(0.666656, abs=1e-6)
    assert coefficients.gaussian_channel_ratio(0.9, 2.0, 1.0) == pytest.approx(0.46758, abs=5e-6)
    # The squared correlation of a simulated channel.
    rng = np.random.default_rng(0)
    x = rng.normal(0, np.sqrt(2), 200_000)
    r = np.corrcoef(x, x + rng.normal(size=x.size))[0, 1]
    assert r**2 == pytest.approx(2 / 3, abs=4e-3)


def test_deterministic_layers_and_labels_contract_nothing():
    """T9, F1, F2."""
    merge = channels.deterministic([0, 0, 1])
    assert coefficients.eta_kl(merge) == pytest.approx(1.0, abs=1e-12)
    noisy = channels.binary_symmetric(0.3)
    assert coefficients.eta_kl(noisy) == pytest.approx(0.16, abs=1e-12)
    assert coefficients.eta_kl(channels.with_label(noisy, 2)) == pytest.approx(1.0, abs=1e-12)
    assert coefficients.eta_kl(channels.with_label(noisy, 1)) == pytest.approx(0.16, abs=1e-12)
    assert coefficients.eta_kl(channels.deterministic([1, 1, 1], 2)) == 0


def test_dropout_of_units():
    """T10."""
    channel = channels.dropout(3, 0.3)
    uniform = np.full(8, 1 / 8)
    assert channels.mutual_information(uniform, channel) == pytest.approx(1.455609, abs=5e-7)
    assert coefficients.eta_tv(channel) == pytest.approx(0.973, abs=1e-12)
    assert coefficients.eta_kl(channel) == pytest.approx(0.973, abs=1e-12)
    assert coefficients.dropout_coefficient(3, 0.3) == pytest.approx(0.973)
    # Independent units, of any bias: the coefficient of one unit.
    uneven = np.kron(np.kron([0.2, 0.8], [0.5, 0.5]), [0.9, 0.1])
    for p_x in (uniform, uneven):
        alone = coefficients.dropout_coefficient(3, 0.3, product_input=True)
        assert coefficients.eta_chi2(p_x, channel) == pytest.approx(alone, abs=1e-12)
    # All units equal: the worst input.
    equal = np.zeros(8)
    equal[[0, 7]] = 0.5
    assert coefficients.eta_chi2(equal, channel) == pytest.approx(0.973, abs=1e-12)


def test_bounded_gaussian_noise():
    """T11, and the KL coefficient against a fine grid of the same channel."""
    assert coefficients.bounded_noise_eta_tv(1.0, 4, 1.5) == pytest.approx(0.817578, abs=5e-7)
    for half in (0.01, 0.3, 4 / 3, 3.0, 6.0):
        edges = np.concatenate([[-np.inf], np.linspace(-half - 9, half + 9, 40_001), [np.inf]])
        rows = np.array([np.diff(stats.norm.cdf(edges, loc)) for loc in (-half, half)])
        tv = coefficients.bounded_noise_eta_tv(half, 1, 1.0)
        kl = coefficients.bounded_noise_eta_kl(half, 1, 1.0)
        assert coefficients.eta_tv(rows) == pytest.approx(tv, abs=1e-9)
        assert coefficients.eta_kl(rows) == pytest.approx(kl, rel=1e-4, abs=1e-9)
        assert kl <= tv


def test_bounded_gaussian_noise_inside_the_cube():
    """Finitely many inputs of the cube never beat two opposite corners."""
    sigma, grid = 0.8, np.linspace(-8, 8, 2001)
    edges = np.concatenate([[-np.inf], grid, [np.inf]])
    rows = np.array([np.diff(stats.norm.cdf(edges, x, sigma)) for x in (-1, -0.4, 0.1, 0.7, 1)])
    kl = coefficients.bounded_noise_eta_kl(1.0, 1, sigma)
    assert coefficients.eta_kl(rows) == pytest.approx(kl, rel=1e-4)
    for p_x in np.random.default_rng(1).dirichlet(np.ones(5), 50):
        assert coefficients.eta_chi2(p_x, rows) <= kl


def test_noise_coefficients_broadcast_and_know_their_limits():
    noise = np.array([0.0, 0.5, 1e6])
    tv = coefficients.bounded_noise_eta_tv(1.0, 4, noise)
    kl = coefficients.bounded_noise_eta_kl(1.0, 4, noise)
    assert tv.shape == kl.shape == (3,)
    assert tv[0] == kl[0] == 1
    assert kl[2] == pytest.approx((2e-6) ** 2, rel=1e-6)
    assert coefficients.bounded_noise_eta_kl(0.0, 4, 0.0) == 0
    assert coefficients.bounded_noise_eta_kl(1.0, 1, 0.05) == 1


def test_drop_connect_is_below_its_bound():
    """All functions y = [w1 x1 + w2 x2 > 0] of two dropped weights, by enumeration."""
    rate = 0.4
    rows = np.zeros((4, 3))
    for x, (x1, x2) in enumerate(itertools.product((0, 1), repeat=2)):
        for kept in itertools.product((0, 1), repeat=2):
            weight = np.prod([1 - rate if k else rate for k in kept])
            rows[x, kept[0] * x1 + kept[1] * x2] += weight
    bound = coefficients.drop_connect_coefficient(2, rate)
    assert bound == pytest.approx(0.84)
    # 0 and (1, 1) share the output 0 with probability rate^2 only: the bound is reached.
    assert coefficients.eta_tv(rows) == pytest.approx(bound)
    assert coefficients.eta_kl(rows) <= bound + 1e-12


@pytest.mark.parametrize(("seed", "inputs", "outputs"), [(0, 3, 3), (1, 4, 3), (2, 3, 5)])
def test_coefficient_is_the_supremum_over_the_simplex(seed, inputs, outputs):
    channel = _random_channel(seed, inputs, outputs, 1.0)
    exact = coefficients.eta_kl(channel)

    def negative(logits):
        return -coefficients.eta_chi2(np.exp(logits) / np.exp(logits).sum(), channel)

    rng = np.random.default_rng(seed)
    starts = rng.normal(0, 2, (8, inputs))
    options = {"maxiter": 4000, "xatol": 1e-9, "fatol": 1e-12}
    best = max(
        -optimize.minimize(negative, start, method="Nelder-Mead", options=options).fun
        for start in starts
    )
    assert exact - 2e-5 < best <= exact + 1e-12
    for p_x in rng.dirichlet(np.full(inputs, 0.3), 200):
        assert coefficients.eta_chi2(p_x, channel) <= exact + 1e-12
    assert exact <= coefficients.eta_tv(channel) + 1e-12


def test_coefficient_bounds_every_ratio_of_divergences():
    channel = _random_channel(5, 4, 4)
    rng = np.random.default_rng(6)
    p, q = rng.dirichlet(np.ones(4), (2, 3000))
    ratios = channels.kl_divergence(p @ channel, q @ channel) / channels.kl_divergence(p, q)
    assert ratios.max() <= coefficients.eta_kl(channel) + 1e-12
    distances = np.abs((p - q) @ channel).sum(1) / np.abs(p - q).sum(1)
    assert distances.max() <= coefficients.eta_tv(channel) + 1e-12


def test_chi_square_coefficient_is_that_of_scipys_eigenvalues():
    channel, p_x = _random_channel(3, 4, 6), np.array([0.1, 0.2, 0.3, 0.4])
    p_y = p_x @ channel
    backward = (p_x[:, None] * channel / p_y).T
    eigenvalues = np.sort(np.linalg.eigvals(channel @ backward).real)
    assert coefficients.eta_chi2(p_x, channel) == pytest.approx(eigenvalues[-2], abs=1e-12)
    assert coefficients.eta_chi2([1.0, 0, 0, 0], channel) == pytest.approx(0, abs=1e-15)


def test_products_over_layers():
    first, second = _random_channel(7, 3, 4), _random_channel(8, 4, 3)
    both = channels.compose(first, second)
    assert coefficients.eta_kl(both) <= coefficients.eta_kl(first) * coefficients.eta_kl(second)
    assert coefficients.eta_tv(both) <= coefficients.eta_tv(first) * coefficients.eta_tv(second)
    side_by_side = channels.parallel(first, second)
    assert side_by_side[1 * 4 + 2, 3 * 3 + 1] == pytest.approx(first[1, 3] * second[2, 1])
    p = np.kron([0.2, 0.3, 0.5], np.full(4, 0.25))
    single = [
        coefficients.eta_chi2([0.2, 0.3, 0.5], first),
        coefficients.eta_chi2(np.full(4, 0.25), second),
    ]
    # Maximal correlation of independent pairs is the larger of both (Witsenhausen, 1975).
    assert coefficients.eta_chi2(p, side_by_side) == pytest.approx(max(single), abs=1e-12)


def test_quadrature_is_the_textbook_integral():
    a, sigma = 1.0, 0.9

    def overlap(y):
        p, q = stats.norm.pdf(y, a, sigma), stats.norm.pdf(y, -a, sigma)
        return p * q / (0.5 * p + 0.5 * q)

    expected = 1 - integrate.quad(overlap, -12, 12, epsabs=1e-12)[0]
    assert coefficients.bounded_noise_eta_kl(a, 1, sigma) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: channels.mutual_information([0.5, 0.5], np.eye(3)), "p_x"),
        (lambda: channels.mutual_information([0.7, 0.7], np.eye(2)), "p_x"),
        (lambda: coefficients.eta_kl([[0.5, 0.6]]), "channel"),
        (lambda: coefficients.eta_kl([[1.5, -0.5]]), "channel"),
        (lambda: coefficients.eta_tv([0.5, 0.5]), "channel"),
        (lambda: channels.binary_symmetric(1.2), "flip"),
        (lambda: channels.z_channel(float("nan")), "fall"),
        (lambda: channels.symmetric(1, 0.1), "num_letters"),
        (lambda: channels.identity(0), "num_letters"),
        (lambda: channels.deterministic([0, 3], 2), "targets"),
        (lambda: channels.deterministic([0.5]), "targets"),
        (lambda: channels.compose(), "channels"),
        (lambda: channels.compose(np.eye(2), np.eye(3)), "channels"),
        (lambda: channels.parallel(), "channels"),
        (lambda: channels.dropout(30, 0.5), "num_units"),
        (lambda: coefficients.dropout_coefficient(0, 0.5), "num_units"),
        (lambda: coefficients.drop_connect_coefficient(0, 0.5), "num_weights"),
        (lambda: coefficients.bounded_noise_eta_tv(-1.0, 2, 1.0), "bound"),
        (lambda: coefficients.bounded_noise_eta_kl(1.0, 2, -1.0), "noise"),
        (lambda: coefficients.bounded_noise_eta_tv(1.0, 0, 1.0), "num_units"),
        (lambda: coefficients.gaussian_channel_coefficient(0.0, 1.0), "signal"),
        (lambda: coefficients.gaussian_channel_ratio(1.0, 1.0, 1.0), "correlation"),
    ],
)
def test_bad_input_is_named(call, named):
    with pytest.raises(InvalidInputError, match=named):
        call()
