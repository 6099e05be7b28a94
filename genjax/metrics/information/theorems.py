"""Theorems 2 to 7 of Zhang, Liu and Tao as calculators, and the sound forms beside them.

"Going Deeper, Generalizing Better" (TNNLS 35(11), 2024; arXiv 1804.09060v8). All information in
nats. Numbers and arrays broadcast; scalar in, scalar out. The calculators say what the paper says.
Its proof takes trained hidden layers as chosen without the sample, and no layer without noise
contracts (see `genjax.metrics.information.falsification`). Sound are: Theorems 2 and 3 at
`depth = 0`, `supersample_vc_bound`, and the trajectory form of Theorem 4 in
`genjax.metrics.information.noisy_descent_theorems`.
"""

from typing import Any, NamedTuple

import numpy as np
from scipy.special import gammaln, logsumexp

from genjax.errors import InvalidInputError
from genjax.metrics.information.checks import (
    check_counts,
    check_delta,
    check_fraction,
    check_not_negative,
    check_positive,
)


class Information(NamedTuple):
    """Information in nats, or why there is none that is finite.

    Attributes:
        value: in nats, or inf.
        reason: in words why it is infinite, or "finite".
    """

    value: float
    reason: str


def sample_information(num_examples: int, example_entropy: float | int | None) -> Information:
    """Return the ceiling `I(S;W) <= H(S) = n H(Z)` of Theorem 2.

    Args:
        num_examples: n.
        example_entropy: H(Z) in nats of one example; None where examples are continuous.

    Raises:
        InvalidInputError: an argument is out of range.

    Example:
        >>> sample_information(100, None).reason[:27]
        'the examples are continuous'
    """
    check_counts(num_examples, "num_examples")
    if example_entropy is None:
        return Information(
            float("inf"),
            "the examples are continuous: H(S) is infinite, and so is I(S;W) of an algorithm "
            "without noise whose weights tell samples apart; add noise, quantise, or condition "
            "on a supersample (CMI is at most n log 2)",
        )
    check_not_negative(example_entropy, "example_entropy")
    return Information(float(num_examples * example_entropy), "finite")


def geometric_mean_coefficient(coefficients: Any) -> float:
    """Return the eta of Theorem 2, `(E_{w_1..w_L} prod_k eta_k)^(1/L)`.

    Args:
        coefficients: `[L]`, or `[draws, L]` for draws of the hidden layers; in [0, 1].

    Raises:
        InvalidInputError: a coefficient is outside [0, 1], or there is none.

    Example:
        >>> geometric_mean_coefficient([0.25, 1.0])
        0.5
    """
    values = np.atleast_2d(np.asarray(coefficients, np.float64))
    if values.ndim != 2 or values.size == 0:
        raise InvalidInputError(
            f"coefficients: found shape {values.shape}; [draws, layers] is needed."
        )
    check_fraction(values, "coefficients")
    return float(np.mean(np.prod(values, axis=1)) ** (1 / values.shape[1]))


def expected_gap_bound(
    information: Any,
    num_examples: Any,
    *,
    sub_gaussian: Any = 0.5,
    contraction_coefficient: Any = 1.0,
    depth: Any = 0,
) -> Any:
    """Return Theorem 2, `eta^(L/2) sqrt(2 sigma^2 I(S;W) / n)`, also of the absolute gap.

    At `depth = 0` it is the bound of Xu and Raginsky (2017), which is sound. Infinite information
    gives inf, whatever the contraction. Conditions: the loss is sigma-sub-Gaussian under (W, Z)
    given any hidden layers; all L hidden layers have coefficient eta in geometric mean; and, which
    the paper does not say, the hidden layers do not depend on the sample.

    Args:
        information: I(S;W), or an upper bound such as H(S), in nats; at least 0.
        num_examples: n.
        sub_gaussian: sigma; 1/2 for a loss in [0, 1].
        contraction_coefficient: eta in [0, 1].
        depth: L, number of contraction layers.

    Raises:
        InvalidInputError: an argument is out of range.

    Example:
        >>> round(float(expected_gap_bound(np.log(2), 3)), 6)
        0.339889
    """
    root = np.sqrt(_variance_term(information, num_examples, sub_gaussian))
    shrink = _shrink(contraction_coefficient, depth)
    finite = np.isfinite(root)
    return np.where(finite, shrink * np.where(finite, root, 0.0), np.inf)[()]


def log_expected_gap_bound(
    information: Any,
    num_examples: Any,
    *,
    sub_gaussian: Any = 0.5,
    contraction_coefficient: Any = 1.0,
    depth: Any = 0,
) -> Any:
    """Return the logarithm of Theorem 2, `-(L/2) log(1/eta) + 1/2 log(2 sigma^2 I / n)`.

    As written in the paper, and for depths at which the bound itself is 0 to rounding. Arguments
    as for `expected_gap_bound`; -inf where the bound is 0.

    Example:
        >>> round(float(log_expected_gap_bound(1.0, 2, contraction_coefficient=0.1, depth=1000)), 2)
        -1151.99
    """
    term = _variance_term(information, num_examples, sub_gaussian)
    _shrink(contraction_coefficient, depth)
    eta, depth = np.asarray(contraction_coefficient, np.float64), np.asarray(depth, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_shrink = np.where(depth == 0, 0.0, depth / 2 * np.log(eta))
        total = log_shrink + np.log(term) / 2
    return np.where(np.isposinf(term), np.inf, total)[()]


def stability_bound(information: Any, num_examples: Any, **conditions: Any) -> Any:
    """Return Theorem 3, the rate of average replace-one hypothesis stability.

    `|1/n sum_i E[l(W, Z'_i) - l(W^i, Z'_i)]| <= eta^(L/2) sqrt(2 sigma^2 I(S;W) / n)`: the left
    side is the gap, exactly, and the right side is Theorem 2. Necessary, not sufficient, for
    learnability.

    Args:
        information: as for `expected_gap_bound`.
        num_examples: n.
        **conditions: `sub_gaussian`, `contraction_coefficient`, `depth`, as there.

    Example:
        >>> round(float(stability_bound(np.log(2), 3)), 6)
        0.339889
    """
    return expected_gap_bound(information, num_examples, **conditions)


def excess_risk_bound(
    information: Any, num_examples: Any, *, delta: Any = 1.0, **conditions: Any
) -> Any:
    """Return equations 24 and 25: excess risk in expectation, or with probability `1 - delta`.

    `R(W) - R* <= (1/delta) eta^(L/2) sqrt(2 sigma^2 I(S;W) / n)` by Markov's inequality, which
    needs the left side to be non-negative: the excess risk of an empirical risk minimiser over the
    best of its class. It is no statement about the gap, which may be negative.

    Args:
        information: as for `expected_gap_bound`.
        num_examples: n.
        delta: in (0, 1]; 1 gives the expectation.
        **conditions: as for `expected_gap_bound`.

    Raises:
        InvalidInputError: an argument is out of range.

    Example:
        >>> round(float(excess_risk_bound(np.log(2), 3, delta=0.5)), 6)
        0.679778
    """
    return expected_gap_bound(information, num_examples, **conditions) / check_delta(delta)


def sample_size(
    gap: Any,
    information: Any,
    *,
    delta: Any = 1.0,
    sub_gaussian: Any = 0.5,
    contraction_coefficient: Any = 1.0,
    depth: Any = 0,
) -> Any:
    """Return how many examples make `excess_risk_bound` at most `gap`.

    `n(eps, delta, L, eta) = ceil(2 sigma^2 eta^L I / (eps delta)^2)`, at least 1, as a float, and
    inf for infinite information. Condition: I does not grow with n. In general it does, up to
    n H(Z), and then no number of examples is enough.

    Args:
        gap: eps, positive.
        information: I(S;W) in nats.
        delta: in (0, 1]; 1 is for the expectation.
        sub_gaussian: sigma.
        contraction_coefficient: eta in [0, 1].
        depth: L.

    Raises:
        InvalidInputError: an argument is out of range.

    Example:
        >>> float(sample_size(0.1, 2.0, delta=0.5, contraction_coefficient=0.5, depth=2))
        100.0
    """
    eps = np.asarray(gap, np.float64)
    if not np.all(eps > 0):
        raise InvalidInputError(f"gap: found {gap}; it must be positive.")
    one = excess_risk_bound(
        information,
        1,
        delta=delta,
        sub_gaussian=sub_gaussian,
        contraction_coefficient=contraction_coefficient,
        depth=depth,
    )
    # Rounding must not ask for one example more where n is a whole number.
    return np.maximum(np.ceil((one / eps) ** 2 * (1 - 1e-14)), 1.0)[()]


def vc_bound(num_examples: Any, vc_dimension: Any, *, delta: Any = 1.0, **conditions: Any) -> Any:
    """Return Theorems 6 and 7, binary classification, as in the paper.

    `eta^(L/2) sqrt(2 sigma^2 d / n)` for `n <= d`, else
    `eta^(L/2) sqrt(2 sigma^2 (d / n) log(e n / d))`, over delta for Theorem 7. It takes the
    entropy of the output layer to be at most `log Pi(n)`, which counts what the class does on one
    sample and not over random samples: not sound, see `supersample_vc_bound`.

    Args:
        num_examples: n.
        vc_dimension: d, of the class of output layers.
        delta: in (0, 1]; 1 gives the expectation, Theorem 6.
        **conditions: as for `expected_gap_bound`.

    Raises:
        InvalidInputError: an argument is out of range.

    Example:
        >>> round(float(vc_bound(100, 10)), 6)
        0.406361
    """
    n, d = check_counts(num_examples, "num_examples"), check_counts(vc_dimension, "vc_dimension")
    information = np.where(n <= d, d, d * np.log(np.e * np.maximum(n / d, 1)))
    return excess_risk_bound(information, n, delta=delta, **conditions)


def log_growth(num_points: int, vc_dimension: int) -> float:
    """Return `log sum_{i <= d} C(m, i)`, Sauer's bound on the growth function of m points.

    Args:
        num_points: m.
        vc_dimension: d.

    Raises:
        InvalidInputError: an argument is out of range.

    Example:
        >>> round(float(np.exp(log_growth(4, 2))))
        11
    """
    m = check_counts(num_points, "num_points")
    i = np.arange(min(int(check_counts(vc_dimension, "vc_dimension")), num_points) + 1.0)
    terms = gammaln(m + 1) - gammaln(i + 1) - gammaln(m - i + 1)
    return float(np.asarray(logsumexp(terms)))


def supersample_vc_bound(num_examples: int, vc_dimension: int, *, closed: bool = False) -> float:
    """Return the sound form of Theorem 6, `sqrt(2 log Pi(2n) / n)`, for losses in [0, 1].

    The predictions on the 2n examples of a supersample take at most `Pi(2n)` values, so that
    `f-CMI <= log Pi(2n)` (Harutyunyan et al., 2021), and the absolute gap is at most
    `sqrt(2 f-CMI / n)`. No contraction: depth does not enter.

    Args:
        num_examples: n.
        vc_dimension: d of all functions that the whole network can be, not of its output layer.
        closed: their closed form `max{(d + 1) log 2, d log(2 e n / d)}` in place of Sauer's sum.

    Raises:
        InvalidInputError: an argument is out of range.

    Example:
        >>> round(float(supersample_vc_bound(100, 2)), 4)
        0.4452
    """
    n, d = check_counts(num_examples, "num_examples"), check_counts(vc_dimension, "vc_dimension")
    if closed:
        information = np.maximum((d + 1) * np.log(2), d * np.log(2 * np.e * n / d))
    else:
        information = log_growth(2 * num_examples, vc_dimension)
    return float(np.sqrt(2 * information / n))


def _variance_term(information: Any, num_examples: Any, sub_gaussian: Any) -> Any:
    information = np.asarray(information, np.float64)
    if not np.all(information >= 0):
        raise InvalidInputError(f"information: found {information}; at least 0 nats is needed.")
    sigma = check_positive(sub_gaussian, "sub_gaussian")
    return 2 * sigma**2 * information / check_counts(num_examples, "num_examples")


def _shrink(contraction_coefficient: Any, depth: Any) -> Any:
    """Return eta^(L/2) after checking both."""
    eta = check_fraction(contraction_coefficient, "contraction_coefficient")
    layers = np.asarray(depth, np.float64)
    if not np.all((layers >= 0) & (layers == np.floor(layers)) & np.isfinite(layers)):
        raise InvalidInputError(f"depth: found {depth}; a whole number of at least 0 is needed.")
    return eta ** (layers / 2)
