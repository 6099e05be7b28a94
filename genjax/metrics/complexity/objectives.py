"""What posteriors are trained to minimise: bounds that have a gradient everywhere.

Each is a function `(risk, kl_nats, num_examples)`: mean loss in [0, 1] over examples and posterior,
divergence of the posterior from the prior in nats, and n. Python and NumPy numbers are computed in
float64, JAX arrays and traced values in their own precision.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax

from genjax.metrics.complexity.bounds import checked, maurer_price


def fclassic(risk: Any, kl_nats: Any, num_examples: Any, *, delta: float = 0.025) -> Any:
    """Return risk + sqrt(K) with K = (KL + ln(2 sqrt(n)/delta))/(2n).

    A bound with confidence 1 - delta if the risk is in [0, 1]; it follows from Maurer's by Pinsker
    (Perez-Ortiz et al., JMLR 2021).

    Raises:
        InvalidInputError: an argument is out of range.

    Example:
        >>> round(float(fclassic(0.1, 500.0, 10_000)), 4)
        0.2595
    """
    xp, risk, kl, n = checked(risk, kl_nats, num_examples, delta)
    return risk + xp.sqrt(maurer_price(xp, kl, n, delta) / (2 * n))


def fquad(risk: Any, kl_nats: Any, num_examples: Any, *, delta: float = 0.025) -> Any:
    """Return (sqrt(risk + K) + sqrt(K))^2 with K as in `fclassic`.

    A bound with confidence 1 - delta if the risk is in [0, 1]; it follows from Maurer's
    (Perez-Ortiz et al., JMLR 2021).

    Raises:
        InvalidInputError: an argument is out of range.

    Example:
        >>> round(float(fquad(0.1, 500.0, 10_000)), 4)
        0.2639
    """
    xp, risk, kl, n = checked(risk, kl_nats, num_examples, delta)
    price = maurer_price(xp, kl, n, delta) / (2 * n)
    return (xp.sqrt(risk + price) + xp.sqrt(price)) ** 2


def best_lambda(risk: Any, kl_nats: Any, num_examples: Any, *, delta: float = 0.025) -> Any:
    """Return the l that minimises `flambda`, 2/(1 + sqrt(1 + 2 n risk/(KL + ln(2 sqrt(n)/delta)))).

    Thiemann et al., A Strongly Quasiconvex PAC-Bayesian Bound, 2017.

    Raises:
        InvalidInputError: an argument is out of range.

    Example:
        >>> round(float(best_lambda(0.1, 500.0, 10_000)), 4)
        0.6211
    """
    xp, risk, kl, n = checked(risk, kl_nats, num_examples, delta)
    return 2 / (1 + xp.sqrt(1 + 2 * n * risk / maurer_price(xp, kl, n, delta)))


def flambda(
    risk: Any, kl_nats: Any, num_examples: Any, *, lam: Any = None, delta: float = 0.025
) -> Any:
    """Return risk/(1 - l/2) + (KL + ln(2 sqrt(n)/delta))/(n l (1 - l/2)).

    A bound with confidence 1 - delta for all l in (0, 2) at once, if the risk is in [0, 1]
    (Thiemann et al. 2017; Perez-Ortiz et al., JMLR 2021).

    Args:
        risk: mean loss.
        kl_nats: of the posterior from the prior.
        num_examples: n.
        lam: l; None takes the best one, which no gradient passes through (at a minimum there is
            none). The value is then that of `fquad`.
        delta: probability of failing.

    Raises:
        InvalidInputError: an argument is out of range.

    Example:
        >>> round(float(flambda(0.1, 500.0, 10_000)), 4)
        0.2639
    """
    if lam is None:
        lam = best_lambda(risk, kl_nats, num_examples, delta=delta)
        lam = jax.lax.stop_gradient(lam) if isinstance(lam, jax.Array) else lam
    xp, risk, kl, n = checked(risk, kl_nats, num_examples, delta)
    rest = 1 - lam / 2
    return risk / rest + maurer_price(xp, kl, n, delta) / (n * lam * rest)


def bbb(risk: Any, kl_nats: Any, num_examples: Any, *, penalty: float | int = 0.1) -> Any:
    """Return risk + penalty KL/n, the objective of Bayes by backprop; no bound.

    Blundell et al. 2015, with the penalty of Perez-Ortiz et al. (JMLR 2021).

    Raises:
        InvalidInputError: an argument is out of range.

    Example:
        >>> round(float(bbb(0.1, 500.0, 10_000)), 4)
        0.105
    """
    _, risk, kl, n = checked(risk, kl_nats, num_examples, 0.5)
    return risk + penalty * kl / n


OBJECTIVES: Mapping[str, Callable[..., Any]] = {
    "fquad": fquad,
    "flambda": flambda,
    "fclassic": fclassic,
    "bbb": bbb,
}
"""What posteriors are trained to minimise, `(risk, kl_nats, num_examples) -> scalar`."""
