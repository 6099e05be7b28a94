"""Bounds on the error of a (stochastic) network, as functions of a few numbers.

Every one holds with the confidence stated if its conditions (`CONDITIONS`) do. Errors are fractions
in [0, 1], logarithms natural, divergences in nats; arguments broadcast. Python and NumPy numbers
are computed in float64, JAX arrays and traced values in their own precision. A bound that reaches 1
says nothing: it is vacuous.
"""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax.errors import InvalidInputError

_SHARED = (
    "the examples are independent draws from one distribution, the loss is in [0, 1], the prior "
    "was fixed without them, and the train error is the mean over them and over the posterior"
)
CONDITIONS: Mapping[str, str] = {
    "maurer": f"{_SHARED}; at least 8 examples",
    "langford_seeger": _SHARED,
    "mcallester": _SHARED,
    "dziugaite_roy": f"{_SHARED}; the scale of the prior is c exp(-j / b) with j = 1, 2, ...",
    "catoni": f"{_SHARED}; the union over exponents is paid for, so the best may be taken",
}
"""What each bound holds for."""

_GRID = 256
_ZOOMS = 4


def _namespace(*values: Any) -> Any:
    return jnp if any(isinstance(value, jax.Array) for value in values) else np


def _prepared(values: Mapping[str, Any], low: float, high: Mapping[str, float]) -> Any:
    """Return (array module, floating arrays of one shape); refuse what is known to be wrong."""
    xp = _namespace(*values.values())
    kind = jnp.result_type(float, *values.values()) if xp is jnp else np.float64
    for name, value in values.items():
        if isinstance(value, jax.Array):
            continue  # may be traced: not known yet
        found = np.asarray(value, np.float64)
        top = high.get(name, math.inf)
        if np.any((found < low) | (found > top)):
            allowed = f"[{low:g}, {top:g}]" if top < math.inf else f"numbers from {low:g}"
            raise InvalidInputError(f"{name}: found {value}; allowed are {allowed}.")
    arrays = [xp.asarray(value, kind) for value in values.values()]
    return xp, xp.broadcast_arrays(*arrays)


def checked(train_error: Any, kl_nats: Any, num_examples: Any, delta: float, smallest: int = 1):
    """Return (array module, train error, divergence, number of examples) as arrays."""
    if not 0 < delta < 1:
        raise InvalidInputError(f"delta: found {delta}; it must be between 0 and 1.")
    if not isinstance(num_examples, jax.Array) and np.any(np.asarray(num_examples) < smallest):
        raise InvalidInputError(
            f"num_examples: found {num_examples}; at least {smallest} are needed."
        )
    values = {"train_error": train_error, "kl_nats": kl_nats, "num_examples": num_examples}
    xp, arrays = _prepared(values, 0.0, {"train_error": 1.0})
    return xp, *arrays


def kl_bernoulli(q: Any, p: Any) -> Any:
    """Return the divergence of two coins, kl(q||p) = q ln(q/p) + (1-q) ln((1-q)/(1-p)), in nats.

    Args:
        q: probability, with 0 ln 0 = 0.
        p: probability; the divergence is infinite where p is 0 or 1 and q is not.

    Raises:
        InvalidInputError: a number is not in [0, 1].

    Example:
        >>> round(float(kl_bernoulli(0.5, 0.25)), 4)
        0.1438
    """
    xp, (q, p) = _prepared({"q": q, "p": p}, 0.0, {"q": 1.0, "p": 1.0})
    return _kl(xp, q, p)


def _kl(xp: Any, q: Any, p: Any) -> Any:
    # By log1p of one difference: near p = q the two terms nearly cancel.
    def term(a, b, difference):
        both = (a > 0) & (b > 0)
        ratio = xp.where(both, difference / xp.where(both, b, 1.0), 0.0)
        far = xp.log(xp.where(both, a, 1.0)) - xp.log(xp.where(both, b, 1.0))
        found = a * xp.where(xp.abs(ratio) < 0.5, xp.log1p(xp.clip(ratio, -0.5, 0.5)), far)
        return xp.where(a == 0, 0.0, xp.where(b == 0, xp.inf, found))

    found = xp.maximum(term(q, p, q - p) + term(1 - q, 1 - p, p - q), 0.0)
    return xp.where(xp.isnan(q) | xp.isnan(p), xp.nan, found)[()]


def kl_inverse(error: Any, budget: Any) -> Any:
    """Return the largest p in [error, 1] with kl(error||p) <= budget, by bisection.

    What is returned is the upper end of the last interval: it is never below the true value by more
    than rounding.

    Args:
        error: observed fraction.
        budget: what the divergence may reach, nats, from 0.

    Raises:
        InvalidInputError: an error is not in [0, 1] or a budget is negative.

    Example:
        >>> round(float(kl_inverse(0.0, 0.1)), 6) == round(1 - math.exp(-0.1), 6)
        True
    """
    values = {"error": error, "budget": budget}
    xp, (error, budget) = _prepared(values, 0.0, {"error": 1.0})
    return _inverse(xp, error, budget)


def _inverse(xp: Any, error: Any, budget: Any) -> Any:
    # Twice as many halvings as the precision has bits: bounds far below 1 keep their digits too.
    rounds = 2 * int(jnp.finfo(error.dtype).nmant)

    def halve(_, ends):
        low, high = ends
        middle = (low + high) / 2
        inside = _kl(xp, error, middle) <= budget
        return xp.where(inside, middle, low), xp.where(inside, high, middle)

    ends = (error, xp.ones_like(error))
    if xp is jnp:
        _, high = jax.lax.fori_loop(0, rounds, halve, ends)
    else:
        for index in range(rounds):
            ends = halve(index, ends)
        high = ends[1]
    # Every comparison with NaN is false, which would look like a perfect bound.
    return xp.where(xp.isnan(error) | xp.isnan(budget), xp.nan, high)[()]


def sampled_error_bound(sampled_error: Any, draws: Any, *, delta: float = 0.01) -> Any:
    """Return an upper bound on a mean in [0, 1] from its average over independent draws.

    kl^-1(average, ln(2/delta)/draws), with probability 1 - delta over the draws (Langford and
    Caruana 2002; Perez-Ortiz et al., JMLR 2021).

    Args:
        sampled_error: average over the draws, each of which is in [0, 1] with that mean.
        draws: their number; draws, not examples, are what is independent.
        delta: probability of failing.

    Raises:
        InvalidInputError: an argument is out of range.

    Example:
        >>> round(float(sampled_error_bound(0.1, 1000)), 4)
        0.1337
    """
    xp, error, _, draws = checked(sampled_error, 0.0, draws, delta)
    return _inverse(xp, error, math.log(2 / delta) / draws)


def maurer_price(xp: Any, kl_nats: Any, num_examples: Any, delta: float) -> Any:
    """Return KL + ln(2 sqrt(n)/delta) in nats, what Maurer's bound divides by n."""
    return kl_nats + xp.log(2 * xp.sqrt(num_examples) / delta)


def maurer_bound(train_error: Any, kl_nats: Any, num_examples: Any, *, delta: float = 0.05) -> Any:
    """Return kl^-1(train error, (KL + ln(2 sqrt(n)/delta))/n), with confidence 1 - delta.

    Maurer, A Note on the PAC Bayesian Theorem, 2004; conditions in `CONDITIONS["maurer"]`.

    Args:
        train_error: mean over examples and posterior.
        kl_nats: of the posterior from the prior.
        num_examples: n, at least 8: those that the error is the mean over.
        delta: probability of failing.

    Raises:
        InvalidInputError: an argument is out of range.

    Example:
        >>> round(float(maurer_bound(0.1, 500.0, 10_000)), 4)
        0.2213
    """
    xp, error, kl, n = checked(train_error, kl_nats, num_examples, delta, smallest=8)
    return _inverse(xp, error, maurer_price(xp, kl, n, delta) / n)


def langford_seeger_bound(
    train_error: Any, kl_nats: Any, num_examples: Any, *, delta: float = 0.05
) -> Any:
    """Return kl^-1(train error, (KL + ln((n+1)/delta))/n), with confidence 1 - delta.

    Langford and Seeger 2001 (Langford, JMLR 2005); arguments as `maurer_bound`, with n
    from 1.

    Raises:
        InvalidInputError: an argument is out of range.

    Example:
        >>> bool(langford_seeger_bound(0.1, 500.0, 10_000) > maurer_bound(0.1, 500.0, 10_000))
        True
    """
    xp, error, kl, n = checked(train_error, kl_nats, num_examples, delta)
    return _inverse(xp, error, (kl + xp.log((n + 1) / delta)) / n)


def mcallester_bound(
    train_error: Any, kl_nats: Any, num_examples: Any, *, delta: float = 0.05
) -> Any:
    """Return train error + sqrt((KL + ln(n/delta))/(2n - 1)), with confidence 1 - delta.

    McAllester, Simplified PAC-Bayesian Margin Bounds, 2003; it may exceed 1. Arguments as
    `maurer_bound`, with n from 1.

    Raises:
        InvalidInputError: an argument is out of range.

    Example:
        >>> round(float(mcallester_bound(0.1, 500.0, 10_000)), 4)
        0.26
    """
    xp, error, kl, n = checked(train_error, kl_nats, num_examples, delta)
    return error + xp.sqrt((kl + xp.log(n / delta)) / (2 * n - 1))


def dziugaite_roy_bound(
    train_error: Any,
    kl_nats: Any,
    num_examples: Any,
    prior_variance: Any,
    *,
    delta: float = 0.025,
    precision: float | int = 100,
    largest: float = 0.1,
) -> Any:
    """Return the bound of Dziugaite and Roy (2017), with confidence 1 - delta.

    kl^-1(train error, (KL + ln(pi^2 n/(6 delta)) + 2 ln(b ln(c/lambda)))/(n - 1)): the variance
    lambda of the prior may be chosen with the data among c exp(-j/b), j = 1, 2, ...

    Args:
        train_error: mean over examples and posterior.
        kl_nats: of the posterior from the prior.
        num_examples: n, at least 2.
        prior_variance: lambda, below `largest` exp(-1/b).
        delta: probability of failing.
        precision: b.
        largest: c.

    Raises:
        InvalidInputError: an argument is out of range.

    Example:
        >>> round(float(dziugaite_roy_bound(0.028, 5144.0, 55_000, 0.1 * math.exp(-3))), 3)
        0.161
    """
    top = largest * math.exp(-1 / precision)
    xp, error, kl, n = checked(train_error, kl_nats, num_examples, delta, smallest=2)
    _prepared({"prior_variance": prior_variance}, 0.0, {"prior_variance": top * (1 + 1e-9)})
    index = precision * xp.log(largest / xp.asarray(prior_variance, error.dtype))
    price = xp.log(math.pi**2 * n / (6 * delta)) + 2 * xp.log(index)
    return _inverse(xp, error, (kl + price) / (n - 1))


def catoni_bound(
    train_error: Any,
    kl_nats: Any,
    num_examples: Any,
    *,
    alpha: float = 1e-4,
    eps: float = 0.05,
) -> Any:
    """Return Catoni's bound with a union over its exponent, with confidence 1 - eps.

    Minimum over g in (0, 4 + ln n) of (1 - exp(-a q))/(1 - exp(-a)), where a = exp(g)/n and
    q = train error + (1 + alpha) exp(-g) (KL - ln eps + 2 ln(2 + g/ln(1 + alpha))) (Catoni 2007;
    Lotfi et al., NeurIPS 2022). Any g gives a bound that holds; a grid that zooms in
    on its best point finds the smallest. It may exceed 1.

    Args:
        train_error: of the network, or mean over the posterior.
        kl_nats: of the posterior from the prior; of a single network ln 1/prior(network), which is
            the length of its description in bits times ln 2.
        num_examples: n.
        alpha: step of the union.
        eps: probability of failing.

    Raises:
        InvalidInputError: an argument is out of range.

    Example:
        >>> round(100 * float(catoni_bound(0.4795833230495453, 870.2679322439, 60_000)), 4)
        56.5701
    """
    xp, error, kl, n = checked(train_error, kl_nats, num_examples, eps)
    if not alpha > 0:
        raise InvalidInputError(f"alpha: found {alpha}; it must be above 0.")
    last = 4 + xp.log(n)
    low, high = xp.zeros_like(last), last
    parts = xp.linspace(0.0, 1.0, _GRID, dtype=error.dtype)
    spread = tuple(range(error.ndim))
    parts = xp.expand_dims(parts, tuple(axis + 1 for axis in spread))

    def at(g):
        price = kl - math.log(eps) + 2 * xp.log(2 + g / math.log1p(alpha))
        q = error + (1 + alpha) * xp.exp(-g) * price
        a = xp.exp(g) / n
        return xp.expm1(-a * q) / xp.expm1(-a)

    best = error
    for _ in range(_ZOOMS):  # each divides the interval by more than a hundred
        g = low + parts * (high - low)
        values = jax.vmap(at)(g) if xp is jnp else at(g)
        best = xp.min(values, axis=0)
        centre = xp.take_along_axis(g, xp.expand_dims(xp.argmin(values, axis=0), 0), 0)[0]
        step = (high - low) / (_GRID - 1)
        low, high = xp.maximum(centre - step, 0.0), xp.minimum(centre + step, last)
    return best[()]
