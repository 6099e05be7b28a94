"""What a VC dimension says of the Rademacher complexity, and what that says of the gap."""

import math

import numpy as np
import scipy.special

from genjax.errors import InvalidInputError


def log_growth(dimension: float | int, examples: int) -> float:
    """Return the logarithm of the most sign patterns on n points, `ln sum_{i <= d} C(n, i)`.

    Sauer's bound on the growth function of a class of VC dimension d; n ln 2 where d >= n.

    Args:
        dimension: d.
        examples: n.

    Raises:
        InvalidInputError: a negative dimension, or no example.

    Example:
        >>> round(math.exp(log_growth(1, 4)), 6), round(math.exp(log_growth(9, 4)), 6)
        (5.0, 16.0)
    """
    if dimension < 0 or examples < 1:
        raise InvalidInputError(
            f"dimension and examples: found {dimension} and {examples}; allowed are at least 0, "
            "and at least 1."
        )
    if dimension >= examples:
        return examples * math.log(2)
    chosen = np.arange(math.floor(dimension) + 1)
    gammas = scipy.special.gammaln(np.array([examples + 1]))
    each = gammas - scipy.special.gammaln(chosen + 1) - scipy.special.gammaln(examples - chosen + 1)
    return float(scipy.special.logsumexp(each))


def vc_rademacher(dimension: float | int, examples: int) -> float:
    """Return the bound on the Rademacher complexity of signs that a VC dimension gives, at most 1.

    `E_s sup_f (1/n) sum_i s_i f(x_i) <= sqrt(2 ln G(n) / n)`: Massart's lemma with Sauer's bound
    on the growth function G. At 1 it says nothing.

    Args:
        dimension: VC dimension, or a bound on it.
        examples: n.

    Raises:
        InvalidInputError: as `log_growth`.

    References:
        Mohri, Rostamizadeh and Talwalkar, Foundations of Machine Learning (2018), Theorems 3.7
        and 3.17.

    Example:
        >>> round(vc_rademacher(1, 1000), 4), vc_rademacher(1000, 1000)  # sqrt(2 ln(1001) / 1000)
        (0.1175, 1.0)
    """
    return min(1.0, math.sqrt(2 * log_growth(dimension, examples) / examples))


def gap_bound(rademacher: float | int, examples: int, delta: float = 0.05) -> float:
    """Return the bound on test minus training error, 0-1 loss, of a class of signs.

    `R + 3 sqrt(ln(2/delta) / (2n))` with probability 1 - delta, R the empirical Rademacher
    complexity of the signs; that of their 0-1 loss is half of it. At 1 or more it says nothing. Of
    an R that was estimated from below this is no bound, only what the bound is at least.

    Args:
        rademacher: R.
        examples: n.
        delta: probability of failing.

    References:
        Mohri, Rostamizadeh and Talwalkar (2018), Theorem 3.5, Eq 3.18.

    Example:
        >>> round(gap_bound(0.1, 800), 4)
        0.244
    """
    return rademacher + 3 * math.sqrt(math.log(2 / delta) / (2 * examples))
