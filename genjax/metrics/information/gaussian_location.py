"""Gaussian location: learners whose gap and information are known in closed form.

Examples are `Z ~ N(mu, s2 I_d)`, n of them, `Zbar` is their mean. All information in nats. Numbers
and arrays broadcast; scalar in, scalar out.
"""

from typing import Any, NamedTuple

import numpy as np

from genjax.errors import InvalidInputError
from genjax.metrics.information.checks import check_counts, check_not_negative, check_positive

_FINITE = "finite"
_NO_NOISE = (
    "infinite where there is no noise: the weights are a function of continuous data, so that "
    "I(S;W) is infinite; add noise, quantise, or condition on a supersample"
)


class NoisyMean(NamedTuple):
    """What is known of `W = Zbar + N(0, t2 I)` under the loss `||w - z||^2`.

    Attributes:
        gap: `2 s2 d / n`, whatever the noise.
        information: `I(S;W) = (d/2) log(1 + s2 / (n t2))`; infinite at t2 = 0.
        individual_information: `I(W;Z_i)`; at t2 = 0 it is `(d/2) log(n / (n - 1))`.
        conditional_information: `min(I(S;W), n log 2)`, at least CMI and equal to it at t2 = 0.
        individual_bound: of the gap, from `I(W;Z_i)` (Bu, Zou and Veeravalli, 2020), see
            `noisy_mean`.
        reason: why a value is infinite, in words, or "finite".
    """

    gap: Any
    information: Any
    individual_information: Any
    conditional_information: Any
    individual_bound: Any
    reason: str


def noisy_mean(num_examples: Any, dimension: Any, variance: Any, noise_variance: Any) -> NoisyMean:
    """Return gap, information and the bound from single examples of a noisy mean.

    With `c = s2 (1 + 1/n) + t2`, the variance of `W - Z` where they are independent, the loss has
    `log E exp(-x (l - E l)) <= d c^2 x^2` for x > 0, so that the gap is at most
    `2 c sqrt(d I(W;Z_i))`: `s2 d (1 + 1/n) sqrt(2 log(n / (n - 1)))` at t2 = 0.

    Args:
        num_examples: n.
        dimension: d.
        variance: s2 of one coordinate of an example.
        noise_variance: t2 of one coordinate of the weights, at least 0.

    Raises:
        InvalidInputError: an argument is out of range.

    Example:
        >>> found = noisy_mean(20, 3, 1.7, 0.4)
        >>> round(float(found.gap), 2), round(float(found.information), 6)
        (0.51, 0.289027)
    """
    n, d = check_counts(num_examples, "num_examples"), check_counts(dimension, "dimension")
    s2 = check_positive(variance, "variance")
    t2 = check_not_negative(noise_variance, "noise_variance")
    information = _half_log(d, s2 / n, t2)
    # Given Z_i the mean of the others is left, of variance s2 (n - 1) / n^2.
    individual = _half_log(d, s2 / n**2, s2 * (n - 1) / n**2 + t2)
    spread = s2 * (1 + 1 / n) + t2
    return NoisyMean(
        gap=2 * s2 * d / n + 0 * t2,
        information=information,
        individual_information=individual,
        conditional_information=np.minimum(information, n * np.log(2)),
        individual_bound=2 * spread * np.sqrt(d * individual),
        reason=_reason(information, individual),
    )


class NoisyDescent(NamedTuple):
    """What is known of noisy gradient descent on `1/2 ||w - z||^2` from a fixed start.

    Attributes:
        gap: `a s2 d / n` of the loss with its factor 1/2.
        last_information: `I(S;W_T)`, of the last iterate.
        path_information: `I(S;W_1, ..., W_T)`, of the whole path.
        summed_information: sum over steps of the largest information of one step, what the bound
            for noisy stochastic gradient descent adds up.
        reason: why a value is infinite, in words, or "finite".
    """

    gap: Any
    last_information: Any
    path_information: Any
    summed_information: Any
    reason: str


def noisy_descent(
    num_examples: Any, dimension: Any, variance: Any, rate: Any, noise_variance: Any, steps: Any
) -> NoisyDescent:
    """Return gap and information of `W_t = W_{t-1} - e (W_{t-1} - Zbar) + N(0, v I)`.

    With `a = 1 - (1 - e)^T` and `V = v (1 - (1 - e)^{2T}) / (1 - (1 - e)^2)` the last iterate has
    `(d/2) log(1 + a^2 s2 / (n V))`, the path `(d/2) log(1 + T e^2 s2 / (n v))` and the sum of steps
    `T (d/2) log(1 + e^2 s2 / (n v))`, in ascending order.

    Args:
        num_examples: n.
        dimension: d.
        variance: s2 of one coordinate of an example.
        rate: e, in (0, 2).
        noise_variance: v of one coordinate of one step, at least 0.
        steps: T.

    Raises:
        InvalidInputError: an argument is out of range.

    Example:
        >>> found = noisy_descent(20, 3, 1.7, 0.1, 0.01, 50)
        >>> [round(float(value), 5) for value in found[1:4]]
        [1.43237, 2.48734, 6.1185]
    """
    n, d = check_counts(num_examples, "num_examples"), check_counts(dimension, "dimension")
    steps = check_counts(steps, "steps")
    s2, v = (
        check_positive(variance, "variance"),
        check_not_negative(noise_variance, "noise_variance"),
    )
    e = np.asarray(rate, np.float64)
    if not np.all((e > 0) & (e < 2)):
        raise InvalidInputError(f"rate: found {rate}; it must be in (0, 2).")
    kept = (1 - e) ** steps
    last_noise = v * (1 - kept**2) / (e * (2 - e))
    last = _half_log(d, (1 - kept) ** 2 * s2 / n, last_noise)
    return NoisyDescent(
        gap=(1 - kept) * s2 * d / n + 0 * v,
        last_information=last,
        path_information=_half_log(d, steps * e**2 * s2 / n, v),
        summed_information=steps * _half_log(d, e**2 * s2 / n, v),
        reason=_reason(last),
    )


class Gibbs(NamedTuple):
    """What is known of the Gibbs posterior of a mean in one dimension.

    Attributes:
        gap: `4 g s2 / (n p)`.
        symmetrised_information: `I_SKL(S;W)`, mutual plus lautum information; `g gap` exactly.
        information: `I(S;W) = 1/2 log(1 + I_SKL)`.
        lautum_information: `I_SKL - I(S;W)`, KL of the product to the joint distribution.
    """

    gap: Any
    symmetrised_information: Any
    information: Any
    lautum_information: Any


def gibbs(num_examples: Any, variance: Any, inverse_temperature: Any, prior_variance: Any) -> Gibbs:
    """Return gap and information of `P(w|S) ~ N(w; 0, nu2) exp(-g mean_i (w - z_i)^2)`.

    With `p = 1 / nu2 + 2 g` the posterior is `N(2 g Zbar / p, 1 / p)`. Gap and information obey
    `gap = I_SKL / g` (Aminian et al., 2021).

    Args:
        num_examples: n.
        variance: s2 of an example.
        inverse_temperature: g, positive.
        prior_variance: nu2, positive.

    Raises:
        InvalidInputError: an argument is out of range.

    Example:
        >>> found = gibbs(20, 1.7, 5.0, 2.0)
        >>> round(float(found.gap), 7), round(float(found.symmetrised_information / 5.0), 7)
        (0.1619048, 0.1619048)
    """
    n = check_counts(num_examples, "num_examples")
    s2, g = (
        check_positive(variance, "variance"),
        check_positive(inverse_temperature, "inverse_temperature"),
    )
    precision = 1 / check_positive(prior_variance, "prior_variance") + 2 * g
    symmetrised = (2 * g / precision) ** 2 * s2 / n * precision
    information = np.log1p(symmetrised) / 2
    return Gibbs(4 * g * s2 / (n * precision), symmetrised, information, symmetrised - information)


class TransportGap(NamedTuple):
    """Gap and optimal-transport bound of a mean in one dimension under the loss `|w - z|`.

    Attributes:
        gap: `sqrt(2 s2 / pi) (sqrt(1 + 1/n) - sqrt(1 - 1/n))`.
        bound: `E W_1(P_W, P_{W|Z})`.
    """

    gap: Any
    bound: Any


def transport(num_examples: Any, variance: Any = 1.0) -> TransportGap:
    """Return gap and bound of `W = Zbar` under the loss `|w - z|`, which is 1-Lipschitz in w.

    `gap <= K (1/n) sum_i E W_1(P_W, P_{W|Z_i})` for losses that are K-Lipschitz in w (Zhang, Liu
    and Tao, 2021). Here the transport is `sqrt(2 s2 / pi) sqrt(1/n^2 + (s_0 - s_1)^2)` with
    `s_0 = n^(-1/2)` and `s_1 = sqrt(n - 1) / n`.

    Args:
        num_examples: n.
        variance: s2 of an example.

    Raises:
        InvalidInputError: an argument is out of range.

    Example:
        >>> [round(float(value), 6) for value in transport(5)]
        [0.160389, 0.163963]
    """
    n, s2 = check_counts(num_examples, "num_examples"), check_positive(variance, "variance")
    scale = np.sqrt(2 * s2 / np.pi)
    before, after = 1 / np.sqrt(n), np.sqrt(n - 1) / n
    # sqrt(1 + 1/n) - sqrt(1 - 1/n) without the loss of digits for large n.
    gap = scale * 2 / n / (np.sqrt(1 + 1 / n) + np.sqrt(1 - 1 / n))
    return TransportGap(gap, scale * np.sqrt(1 / n**2 + (before - after) ** 2))


def _half_log(dimension: Any, signal: Any, noise: Any) -> Any:
    """Return (d/2) log(1 + signal / noise), infinite where there is no noise."""
    with np.errstate(divide="ignore"):
        return dimension / 2 * np.log1p(np.asarray(signal) / noise)


def _reason(*values: Any) -> str:
    return _FINITE if all(np.all(np.isfinite(value)) for value in values) else _NO_NOISE
