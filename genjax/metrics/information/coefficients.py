"""How much of the information a channel or a noise layer lets through: contraction coefficients.

A coefficient eta of a divergence is the smallest number with `D(QP || RP) <= eta D(Q || R)` for all
pairs of inputs Q, R. In [0, 1]; below 1 only where there is noise: of every deterministic map that
is not constant it is 1.
"""

from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import integrate
from scipy.special import erf

from genjax.errors import InvalidInputError
from genjax.metrics.information.channels import (
    check_channel,
    check_distribution,
    check_probability,
)
from genjax.metrics.information.checks import check_counts, check_not_negative, check_positive

_BISECTIONS = 60


def eta_kl(channel: Any) -> float:
    """Return the strong data-processing coefficient of a finite channel, exact to rounding.

    `eta_KL = sup I(U;Y) / I(U;X)` over all U - X - Y, which is the supremum of `eta_chi2` over the
    input distributions (Ahlswede and Gacs, 1976; Choi, Ruskai and Seneta, 1994). It is reached by
    two inputs (Ordentlich and Polyanskiy, Strong Data Processing Constant is Achieved by Binary
    Inputs, 2022), and for the rows P, Q of two inputs it is

        max_b b (1 - b) sum_y (P - Q)^2 / (b P + (1 - b) Q) = 1 - min_b sum_y P Q / (b P + (1-b) Q)

    whose sum is convex in b: bisection of its slope finds the minimum. All pairs are tried, so
    that nothing is sampled and the result is no lower bound.

    Args:
        channel: `[inputs, outputs]`; O(inputs^2 outputs).

    Raises:
        InvalidInputError: it is no channel.

    Example:
        >>> round(eta_kl([[0.7, 0.3], [0.3, 0.7]]), 6)
        0.16
    """
    channel = check_channel(channel)
    pairs = [_eta_of_two(row, channel[i + 1 :]) for i, row in enumerate(channel[:-1])]
    return float(max(pairs, default=0.0))


def _eta_of_two(row: Float[np.ndarray, " y"], others: Float[np.ndarray, "x y"]) -> float:
    """Return the largest coefficient of one input and each of several others."""
    both = row * others
    low, high = np.zeros((len(others), 1)), np.ones((len(others), 1))
    for _ in range(_BISECTIONS):
        b = (low + high) / 2
        mixed = np.where(both > 0, b * row + (1 - b) * others, 1.0)
        falling = np.sum(both * (others - row) / mixed**2, axis=1, keepdims=True) < 0
        low, high = np.where(falling, b, low), np.where(falling, high, b)
    b = (low + high) / 2
    mixed = np.where(both > 0, b * row + (1 - b) * others, 1.0)
    # At an end the limit of the sum counts, which the last midpoint has to rounding.
    return float(np.max(1 - np.sum(both / mixed, axis=1)).clip(0, 1))


def eta_chi2(p_x: Any, channel: Any) -> float:
    """Return the chi-square coefficient of a channel at one input distribution.

    `sigma_2^2` of `diag(p_x)^(1/2) P diag(p_y)^(-1/2)`, the squared maximal correlation of X and Y
    (Witsenhausen, 1975). It is at most the KL coefficient at the same distribution, and that at
    most `eta_kl(channel)`. Inputs without mass are left out; 0 where one input has all mass.

    Args:
        p_x: `[inputs]`.
        channel: `[inputs, outputs]`.

    Raises:
        InvalidInputError: either is no distribution, or they do not fit.

    Example:
        >>> round(eta_chi2([0.5, 0.5], [[0.7, 0.3], [0.3, 0.7]]), 6)
        0.16
    """
    channel = check_channel(channel)
    p_x = check_distribution(p_x, len(channel), "p_x")
    rows, p_x = channel[p_x > 0], p_x[p_x > 0]
    p_y = p_x @ rows
    rows, p_y = rows[:, p_y > 0], p_y[p_y > 0]
    scaled = np.sqrt(p_x)[:, None] * rows / np.sqrt(p_y)
    # The first singular pair is known: taking it off leaves the second at full precision.
    rest = scaled - np.sqrt(p_x)[:, None] * np.sqrt(p_y)
    return float(np.clip(np.linalg.norm(rest, 2) ** 2, 0, 1))


def eta_tv(channel: Any) -> float:
    """Return Dobrushin's coefficient, the largest total variation between two rows.

    `max_{x, x'} 1/2 sum_y |P(y|x) - P(y|x')|` (Dobrushin, 1956); no f-divergence contracts less,
    so `eta_kl <= eta_tv`.

    Args:
        channel: `[inputs, outputs]`.

    Raises:
        InvalidInputError: it is no channel.

    Example:
        >>> round(eta_tv([[0.7, 0.3], [0.3, 0.7]]), 6)
        0.4
    """
    channel = check_channel(channel)
    return float(max(np.abs(row - channel).sum(1).max() for row in channel) / 2)


def gaussian_channel_coefficient(signal: Any, noise: Any) -> Any:
    """Return the coefficient of `Y = X + N` at a Gaussian input, `P / (P + N)`.

    The squared correlation of X and Y, which is both `eta_chi2` and `eta_KL` at that input
    (Erkip and Cover, 1998). Over all inputs of unbounded power the coefficient is 1.

    Args:
        signal: variance P of X, positive.
        noise: variance N of the noise, at least 0; 0 gives 1.

    Raises:
        InvalidInputError: a variance is out of range.

    Example:
        >>> round(float(gaussian_channel_coefficient(2.0, 1.0)), 6)
        0.666667
    """
    signal, noise = check_positive(signal, "signal"), check_not_negative(noise, "noise")
    return signal / (signal + noise)


def gaussian_channel_ratio(correlation: Any, signal: Any, noise: Any) -> Any:
    """Return `I(U;Y) / I(U;X)` for a U that is jointly Gaussian with the input X.

    `log(1 - r^2 eta) / log(1 - r^2)` with `eta = P / (P + N)`; it tends to eta for weak U and is
    smaller for strong ones.

    Args:
        correlation: r of U and X, in (-1, 1) and not 0.
        signal: variance P of X, positive.
        noise: variance N of the noise, at least 0.

    Raises:
        InvalidInputError: an argument is out of range.

    Example:
        >>> round(float(gaussian_channel_ratio(0.9, 2.0, 1.0)), 5)
        0.46758
    """
    r2 = np.square(np.asarray(correlation, np.float64))
    if not np.all((r2 > 0) & (r2 < 1)):
        raise InvalidInputError(
            f"correlation: found {correlation}; it must be in (-1, 1) and not 0."
        )
    return np.log1p(-r2 * gaussian_channel_coefficient(signal, noise)) / np.log1p(-r2)


def dropout_coefficient(num_units: int, rate: float | int, *, product_input: bool = False) -> float:
    """Return the coefficient of dropout of `num_units` units, `1 - rate^d`.

    With probability `rate^d` nothing is left. For the worst input, all units equal, both `eta_KL`
    and `eta_TV` are `1 - rate^d`. Where the units are independent the coefficient at that input is
    that of one unit, `1 - rate` (tensorisation).

    Args:
        num_units: d.
        rate: of dropout, in [0, 1]; 0 gives 1.
        product_input: whether the units are independent of one another.

    Raises:
        InvalidInputError: no unit, or a rate out of range.

    Example:
        >>> round(dropout_coefficient(3, 0.3), 3), dropout_coefficient(3, 0.3, product_input=True)
        (0.973, 0.7)
    """
    check_counts(num_units, "num_units")
    rate = check_probability(rate, "rate")
    return 1.0 - rate if product_input else 1.0 - rate**num_units


def drop_connect_coefficient(num_weights: int, rate: float | int) -> float:
    """Return an upper bound on the coefficient of DropConnect, `1 - rate^(number of weights)`.

    With probability `rate^m` all m weights are dropped and the output says nothing about the input
    (Doeblin's condition): every f-divergence contracts at least by the rest. For networks of real
    sizes it is 1 to rounding.

    Args:
        num_weights: m, of the layer.
        rate: with which each weight is dropped.

    Raises:
        InvalidInputError: no weight, or a rate out of range.

    Example:
        >>> drop_connect_coefficient(2, 0.5)
        0.75
    """
    check_counts(num_weights, "num_weights")
    return 1.0 - check_probability(rate, "rate") ** num_weights


def bounded_noise_eta_tv(bound: Any, num_units: Any, noise: Any) -> Any:
    """Return Dobrushin's coefficient of Gaussian noise on activations in `[-a, a]^d`.

    `1 - 2 Q(a sqrt(d) / sigma) = 2 Phi(a sqrt(d) / sigma) - 1`: the total variation of the noisy
    images of two opposite corners. An upper bound on `eta_KL`.

    Args:
        bound: a, at least 0.
        num_units: d, at least 1.
        noise: sigma, standard deviation of the noise of each unit, at least 0; 0 gives 1.

    Raises:
        InvalidInputError: an argument is out of range.

    Example:
        >>> round(float(bounded_noise_eta_tv(1.0, 4, 1.5)), 6)
        0.817578
    """
    return erf(_half_distance(bound, num_units, noise) / np.sqrt(2))


def bounded_noise_eta_kl(bound: Any, num_units: Any, noise: Any) -> Any:
    """Return the KL coefficient of Gaussian noise on activations in `[-a, a]^d`.

    Two inputs reach it (Ordentlich and Polyanskiy, 2022), the farthest two are two opposite
    corners, and by symmetry b = 1/2 in the formula of `eta_kl`: with `A = a sqrt(d) / sigma` and
    Y ~ N(A, 1) it is `E[tanh(A Y)] = E[tanh(A Y)^2]`, taken by quadrature. At most
    `bounded_noise_eta_tv`.

    Args:
        bound: a, at least 0.
        num_units: d, at least 1.
        noise: sigma of the noise of each unit, at least 0; 0 gives 1.

    Raises:
        InvalidInputError: an argument is out of range.

    Example:
        >>> round(float(bounded_noise_eta_kl(1.0, 4, 1.5)), 6)
        0.733531
    """
    half = np.asarray(_half_distance(bound, num_units, noise))
    found = [_eta_of_antipodes(float(each)) for each in half.ravel()]
    return np.array(found).reshape(half.shape)[()]


def _eta_of_antipodes(half: float) -> float:
    if not np.isfinite(half) or half > 12:  # 1 - eta is at most 4 Q(12) < 1e-32
        return 1.0

    def integrand(y):
        return np.tanh(half * (y + half)) ** 2 * np.exp(-y * y / 2) / np.sqrt(2 * np.pi)

    found = integrate.quad(integrand, -13, 13, points=[-half], epsabs=0, epsrel=1e-11, limit=200)
    return float(min(found[0], 1.0))


def _half_distance(bound: Any, num_units: Any, noise: Any) -> Any:
    """Return a sqrt(d) / sigma; infinite where there is no noise but room to move."""
    noise = check_not_negative(noise, "noise")
    length = check_not_negative(bound, "bound") * np.sqrt(check_counts(num_units, "num_units"))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(length == 0, 0.0, length / noise)[()]
