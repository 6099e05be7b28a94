"""Contraction over iterations: what the noise of later steps makes a path forget.

For the last iterate only. A step W -> f(W) + sigma xi whose f(W) lies in a set of diameter D keeps
at most the share q = 1 - 2 Q(D / (2 sigma)) of any information about examples that it does not
itself use (Q: upper tail of the standard normal; Wang, Huang, Gao and Calmon, NeurIPS 2021). A step
that uses the examples does not contract what was known of them before: see
`contracted_information`. D is finite only where parameters are kept in a bounded set, for example
by projection; `noisy_training` does not do that. Where D is 10 times the noise, q is 1 to six
digits; D of all parameters of a network is usually far more.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float, Num
from scipy.special import erf

from genjax.errors import InvalidInputError
from genjax.metrics.information.path_information import (
    Host,
    PathBound,
    check_count,
    check_positive,
    path_energy,
    reason_of,
)


def contraction_coefficient(diameter: Any, noise: Any) -> Any:
    """Return q = 1 - 2 Q(D / (2 sigma)) = erf(D / (sqrt 8 sigma)), in [0, 1].

    The total variation between two Gaussians D apart: Dobrushin's coefficient of the step, and so a
    bound on how much of any divergence it keeps. 1 without noise or bounds (nothing is forgotten),
    0 where D is 0.

    Args:
        diameter: D of the set of f(W), before the noise; inf is allowed.
        noise: sigma, standard deviation of what is added to each parameter.

    Raises:
        InvalidInputError: a value below 0 or NaN.

    Example:
        >>> contraction_coefficient(2.0, np.array([0.0, 1.0, np.inf])).round(6).tolist()
        [1.0, 0.682689, 0.0]
    """
    wide, sigma = np.broadcast_arrays(np.asarray(diameter, float), np.asarray(noise, float))
    for name, found in (("diameter", wide), ("noise", sigma)):
        if not np.all(found >= 0):
            raise InvalidInputError(f"{name}: found {found.min()}; it must be at least 0.")
    # D = 0 forgets everything even without noise, and infinite noise whatever D is.
    never, always = (sigma == 0) & (wide > 0), (wide == 0) | np.isinf(sigma)
    plain = ~(never | always)
    ratio = np.where(plain, wide, 0.0) / np.where(plain, sigma, 1.0)
    return np.where(never, 1.0, erf(ratio / np.sqrt(8)))


def contracted_information(
    step_information: Num[Array | Host, " steps"],
    coefficients: Num[Array | Host, " steps"],
    used: Bool[Host, " steps"],
) -> Float[Host, " steps"]:
    """Return what the iterate after each step tells about a part of the examples at most, in nats.

    C_t = C_{t-1} + I_t at steps that use the part, C_t = q_t C_{t-1} at the others. For a part that
    is used once, at t, this is q_{t+1} ... q_T I_t, as published. Given all other examples the
    first line is the chain rule, the second data processing, so it holds for any number of uses.
    Contraction at EVERY step, sum_t q_{t+1} ... q_T I_t with all examples used in each, is no
    bound: two steps that push the same way tell more together (a test shows one).

    Args:
        step_information: I_t, of the part's own steps; others are not looked at.
        coefficients: q_t, in [0, 1].
        used: whether step t uses the part.

    Raises:
        InvalidInputError: information below 0, or a coefficient outside of [0, 1].

    Example:
        >>> one = np.ones(3)
        >>> contracted_information(one, 0.5 * one, np.array([True, False, True])).tolist()
        [1.0, 0.5, 1.5]
    """
    information, keep = (np.asarray(x, float) for x in (step_information, coefficients))
    if not np.all(information >= 0):
        raise InvalidInputError(
            f"step_information: found {information.min()}; it must be at least 0."
        )
    if not np.all((keep >= 0) & (keep <= 1)):
        raise InvalidInputError(
            "coefficients: found some outside of [0, 1], which is what q can be."
        )
    known, found = 0.0, []
    for told, q, now in zip(information, keep, used, strict=True):
        if now:
            known += told
        else:  # what is fully forgotten is forgotten, even if it was infinite
            known = q * known if q > 0 else 0.0
        found.append(known)
    return np.array(found)


class DescentInformation(NamedTuple):
    """Information about the examples in nats, from the smallest up.

    Attributes:
        last_iterate: I(W_T; S).
        path: I(W_1, ..., W_T; S).
        sum_of_steps: sum_t I(W_t; S | W_{t-1}), each step taken alone.
    """

    last_iterate: float
    path: float
    sum_of_steps: float


def quadratic_descent(
    steps: int,
    *,
    rate: float,
    noise: float,
    variance: float,
    num_examples: int,
    dimension: int = 1,
) -> DescentInformation:
    """Return the exact information of noisy descent on the mean of |w - z_i|^2 / 2.

    z_i ~ N(mu, s^2 I_d), W_0 fixed, W_t = (1 - e) W_{t-1} + e zbar + sigma xi. With a = 1 -
    (1-e)^T, V = sigma^2 (1 - (1-e)^2T) / (1 - (1-e)^2): (d/2) log(1 + a^2 s^2 / (n V)), (d/2) log(1
    + T e^2 s^2 / (n sigma^2)), T (d/2) log(1 + e^2 s^2 / (n sigma^2)).

    Args:
        steps: T.
        rate: e, above 0 and below 2.
        noise: sigma, above 0.
        variance: s^2 of the examples.
        num_examples: n.
        dimension: d.

    Raises:
        InvalidInputError: a number outside of its range.

    Example:
        >>> found = quadratic_descent(
        ...     50, rate=0.1, noise=0.1, variance=1.7, num_examples=20, dimension=3)
        >>> [round(x, 5) for x in found]
        [1.43237, 2.48734, 6.1185]
    """
    positive = {"steps": steps, "noise": noise, "num_examples": num_examples}
    for name, value in {**positive, "variance": variance, "dimension": dimension}.items():
        if not value > 0:
            raise InvalidInputError(f"{name}: found {value}; it must be above 0.")
    if not 0 < rate < 2:
        raise InvalidInputError(f"rate: found {rate}; it must be between 0 and 2.")
    keep = 1 - rate
    signal = variance / (num_examples * noise**2)
    gathered = (1 - keep ** (2 * steps)) / (1 - keep**2)
    half = dimension / 2
    return DescentInformation(
        half * math.log1p((1 - keep**steps) ** 2 * signal / gathered),
        half * math.log1p(steps * rate**2 * signal),
        steps * half * math.log1p(rate**2 * signal),
    )


def variance_over_runs(
    sketch: Num[Array | Host, "runs steps size"],
) -> Float[Host, " steps"]:
    """Return E||g_t - E g_t||^2 over independent runs, from projections of their gradients.

    sum_r ||s_r - sbar||^2 / (runs - 1): unbiased over runs and projections, with a relative error
    of about sqrt(2 / size) from the latter; storing gradients would take size / d times as much.

    Args:
        sketch: `Record.sketch`.

    Raises:
        InvalidInputError: fewer than two runs.

    Example:
        >>> variance_over_runs(np.array([[[1.0, 0.0]], [[0.0, 1.0]]])).tolist()
        [1.0]
    """
    rows = np.asarray(sketch, float)
    if len(rows) < 2:
        raise InvalidInputError(f"sketch: found {len(rows)} runs; at least 2 are needed.")
    return np.sum(np.var(rows, axis=0, ddof=1), axis=-1)


def wang_gaussian_channels(
    variance: Num[Array | Host, " steps"],
    rate: Num[Array | Host, " steps"],
    noise: Num[Array | Host, " steps"],
    *,
    num_examples: int,
    batch_size: int,
    sub_gaussian: float = 0.5,
    coefficients: Num[Array | Host, " steps"] | None = None,
) -> PathBound:
    """Return (s sqrt(2 b) / n) sum_j sqrt(I_j) over fixed batches j (Wang et al., NeurIPS 2021).

    I_j = sum over the steps t of batch j of eta_t^2 Var(g_t) / (2 sigma_t^2): for s = 1/2 and
    Langevin noise this is (sqrt(2 b) / (4 n)) sum_j sqrt(sum_t eta_t beta_t Var_t). Batches are
    disjoint and come round in one order (`sampling="fixed"`). With `coefficients` what batch j told
    is contracted at the steps that do not use it (`contracted_information`), which only bounds
    the information of the last iterate.

    Args:
        variance: E||g_t - E g_t||^2 of the batch's gradient, e.g. by `variance_over_runs`.
        rate: eta_t, the same for all layers.
        noise: sigma_t, the same for all layers.
        num_examples: n, those that fill batches: a multiple of b.
        batch_size: b.
        sub_gaussian: s of the loss; 1/2 for losses in [0, 1].
        coefficients: contraction coefficients of the steps, or None.

    Raises:
        InvalidInputError: examples that do not fill the batches, or a value below 0.

    Example:
        >>> one = np.ones(4)
        >>> found = wang_gaussian_channels(one, one, one, num_examples=20, batch_size=10)
        >>> found.value.round(4).tolist()
        [0.0791, 0.1581, 0.1909, 0.2236]
    """
    check_count(num_examples=num_examples, batch_size=batch_size)
    check_positive(sub_gaussian=sub_gaussian)
    if num_examples % batch_size:
        raise InvalidInputError(
            f"num_examples: found {num_examples}; it must be a multiple of the {batch_size} "
            "examples of a batch."
        )
    columns = (np.asarray(x, float)[:, None] for x in (variance, rate, noise))
    information = path_energy(*columns) / 2
    batches = num_examples // batch_size
    used = np.arange(len(information)) % batches
    keep = np.ones_like(information) if coefficients is None else np.asarray(coefficients, float)
    roots = [np.sqrt(contracted_information(information, keep, used == j)) for j in range(batches)]
    value = sub_gaussian * np.sqrt(2 * batch_size) / num_examples * np.sum(roots, axis=0)
    return PathBound(
        value,
        value >= 1,
        value,
        "independent examples; sub-Gaussian loss; the same disjoint batches in each epoch; "
        "Gaussian noise of one size on every trained layer; runs with independent training sets",
        reason_of(information, variance),
    )
