"""Bounds along a noisy path from what one training example changes, at the path that was taken.

Statistics, shapes, units and what happens without noise: `genjax.metrics.information.
path_information`.
"""

import numpy as np
from jaxtyping import Array, Float, Num
from scipy.special import erf, expit

from genjax.errors import InvalidInputError, suggest
from genjax.metrics.information.path_information import (
    Host,
    PathBound,
    Statistic,
    Steps,
    expected_share_squared,
    from_energy,
    path_energy,
    reason_of,
    zero_safe,
)

THETAS = {
    "sigmoid": expit,
    "erf": lambda a: (1 + erf(a)) / 2,
    "tanh": lambda a: (1 + np.tanh(a)) / 2,
    "indicator": lambda a: (1 + np.sign(a)) / 2,
}


def negrea(
    incoherence: Statistic, rate: Steps, noise: Steps, *, average: str = "root_of_mean"
) -> PathBound:
    """Return (1/2) E sqrt(sum_t eta_t^2 / sigma_t^2 ||zeta_t||^2) (Negrea et al., NeurIPS 2019).

    zeta_t = (m_J / b)(gbar_{-J} - g_J): what one random training example J changes. For Langevin
    dynamics with all examples this is (1 / (2 sqrt 2)) E sqrt(sum_t beta_t eta_t ||zeta_t||^2),
    zeta_t = (gbar_{-J} - g_J) / n, the paper's and its authors' code's.

    The theorem has the expectation over the path inside of the root, that over training sets
    outside. One run per training set does not tell them apart: the root of the mean over runs is
    at least both (Jensen), the mean of roots, which published code takes, may be too small.

    Args:
        incoherence: ||zeta_t||^2 (`Record.incoherence`).
        rate: eta_t.
        noise: sigma_t.
        average: over runs, "root_of_mean" or "mean_of_roots".

    Raises:
        InvalidInputError: a value below 0, or an unknown average.

    Example:
        >>> one = np.ones((2, 1))
        >>> negrea(1e-4 * one, one, one).value.round(5).tolist()
        [0.005, 0.00707]
    """
    energy = path_energy(incoherence, rate, noise)
    return from_energy(
        energy,
        1 / 4,
        "independent examples; loss in [0, 1]; Gaussian noise on every trained layer; batches are "
        "drawn without looking at the examples",
        reason_of(energy, incoherence),
        average,
    )


def negrea_from_variance(
    variance: Statistic,
    rate: Steps,
    noise: Steps,
    *,
    num_examples: int,
    batch_size: int,
    replacement: bool = False,
    constant: str = "derived",
) -> PathBound:
    """Return Negrea's bound with E||zeta_t||^2 from the variance of single gradients.

    E||zeta_t||^2 = n v_t / (b (n - 1)^2) with v_t = mean_i ||g_i - gbar||^2 over the training set,
    without replacement: derived here, exact over J, so the bound is sqrt(n / (2 b (n - 1)^2) sum_t
    eta_t beta_t v_t / 4). The estimate of v_t is (n - 1) / n times the unbiased variance.

    Args:
        variance: sum_i ||g_i - gbar||^2 / (number - 1) (`Record.variance`).
        rate: eta_t.
        noise: sigma_t.
        num_examples: n.
        batch_size: b; n for full batches.
        replacement: batches are drawn with replacement.
        constant: "derived", or "f_cmi_code" for the constant of the code of Harutyunyan et al.
            (2021), which is smaller by sqrt 2, for comparison only: it is no bound.

    Raises:
        InvalidInputError: a value below 0, sizes that do not fit, or an unknown constant.

    Example:
        >>> one = np.ones((1, 1))
        >>> found = negrea_from_variance(one, one, one, num_examples=101, batch_size=25)
        >>> round(float(found.value[0]), 4)
        0.01
    """
    if constant not in ("derived", "f_cmi_code"):
        raise InvalidInputError(suggest("constant", constant, ("derived", "f_cmi_code")))
    share = expected_share_squared(num_examples, batch_size, replacement)
    moment = share * num_examples / (num_examples - 1)
    energy = path_energy(variance, rate, noise)
    scale = moment / 4 if constant == "derived" else moment / 8
    conditions = (
        "independent examples; loss in [0, 1]; Gaussian noise on every trained layer; batches are "
        "drawn without looking at the examples; the variance is that of training examples"
    )
    if constant == "f_cmi_code":
        conditions = "none known: the published code's constant, for comparison only"
    return from_energy(energy, scale, conditions, reason_of(energy, variance))


def log_likelihood_ratio(
    difference: Statistic,
    inner: Statistic,
    share: Num[Array | Host, "*runs steps"],
    rate: Steps,
    noise: Steps,
) -> Float[Host, "*runs steps"]:
    """Return A_t, what the path before step t says for the example that was NOT trained on.

    A_{t+1} = A_t - c <g_other - g_J, xi_t> - c^2 ||g_other - g_J||^2 / 2 with c = share_t eta_t /
    sigma_t, A_1 = 0: the logarithm (nats) of the ratio of the path's densities. This is the
    recursion of Haghifam et al. (2020), in which xi is ADDED to the parameters. (Their code adds
    noise to the gradient, which moves the parameters the other way, and keeps the sign; then A is
    no function of the path and its weights are no prior.)

    Args:
        difference: ||g_other - g_J||^2.
        inner: <g_other - g_J, xi_t>.
        share: m_J / b; 1 / n for full batches.
        rate: eta_t.
        noise: sigma_t; layers without noise are left out, their bound is infinite anyway.

    Example:
        >>> one = np.ones((2, 1))
        >>> log_likelihood_ratio(one, 0 * one, np.array([0.5, 0.5]), one, one).tolist()
        [0.0, -0.125]
    """
    noises = np.asarray(noise, float)
    ratio = np.where(noises > 0, np.asarray(rate, float) / np.where(noises > 0, noises, 1), 0.0)
    c = np.asarray(share, float)[..., None] * ratio
    # A run that diverged is infinite already; here it only must not make NaN.
    along, square = (np.nan_to_num(x, posinf=0.0, neginf=0.0) for x in (inner, difference))
    steps = np.sum(c * along.astype(float) + c**2 * square.astype(float) / 2, axis=-1)
    return steps - np.cumsum(steps, axis=-1)


def cmi_langevin(
    difference: Statistic,
    inner: Statistic,
    share: Num[Array | Host, "*runs steps"],
    rate: Steps,
    noise: Steps,
    *,
    theta: str = "sigmoid",
    average: str = "root_of_mean",
) -> PathBound:
    """Return E sqrt(sum_t (m_J eta_t theta(A_t) / (b sigma_t))^2 ||g_other - g_J||^2).

    For all examples at each step it is (1 / (sqrt 2 n)) E sqrt(sum_t beta_t eta_t theta_t^2
    ||g_other - g_J||^2): conditional mutual information for Langevin dynamics (Haghifam, Negrea,
    Khisti, Roy and Dziugaite, NeurIPS 2020). theta(A_t) is the weight that the prior, having seen
    the path, gives to the wrong one of two examples, `log_likelihood_ratio`. "sigmoid" is its
    posterior probability, "erf" is what the published code takes; (1 + erf A) / 2, (1 + tanh A) / 2
    and the indicator are priors, too.

    Args:
        difference: ||g_other - g_J||^2 (`Record.difference`).
        inner: <g_other - g_J, xi_t> (`Record.inner`).
        share: m_J / b (`Record.share`).
        rate: eta_t.
        noise: sigma_t.
        theta: one of `THETAS`.
        average: over runs; see `negrea`.

    Raises:
        InvalidInputError: an unknown theta or average, or a squared norm below 0.

    Example:
        >>> one = np.ones((1, 1))
        >>> cmi_langevin(one, 0 * one, np.array([0.01]), one, one).value.tolist()
        [0.005]
    """
    if theta not in THETAS:
        raise InvalidInputError(suggest("theta", theta, tuple(THETAS)))
    shares = np.asarray(share, float)
    ratio = log_likelihood_ratio(difference, inner, shares, rate, noise)
    wrong = THETAS[theta](ratio)
    energy = zero_safe(shares**2, path_energy(difference, rate, noise))
    # A weight of 0 would hide a step without noise.
    infinite = np.isinf(energy)
    energy = np.where(infinite, np.inf, wrong**2 * np.where(infinite, 0.0, energy))
    return from_energy(
        energy,
        1.0,
        "independent examples; loss in [0, 1]; Gaussian noise on every trained layer; batches are "
        "drawn without looking at the examples; the other example is drawn as the training set is",
        reason_of(energy, difference),
        average,
    )
