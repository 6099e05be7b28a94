"""Learning rates and noise of noisy gradient descent, in one convention.

W_t = W_{t-1} - eta_t g(W_{t-1}, B_t) + sigma_t xi_t with xi_t ~ N(0, I), t = 1 ... T: `rate` is
eta_t, `noise` is sigma_t, the standard deviation of what is added to each PARAMETER (not to the
gradient, and not a variance). Langevin dynamics at inverse temperature beta_t has sigma_t^2 =
2 eta_t / beta_t.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from genjax.errors import InvalidInputError

Host = np.ndarray


class Schedule(NamedTuple):
    """Numbers of every step; a pytree that jit and vmap take.

    Attributes:
        rate: eta_t, [T].
        noise: sigma_t, [T]; 0 is plain gradient descent.
        virtual: [T], standard deviations of a noise that is only imagined: that of the bounds for
            plain gradient descent (Neu et al. 2021). It never touches the parameters.
    """

    rate: Any
    noise: Any
    virtual: Any


def _steps(steps: int) -> Float[Host, " steps"]:
    if steps < 1:
        raise InvalidInputError(f"steps: found {steps}; at least 1 is needed.")
    return np.arange(1, steps + 1, dtype=float)


def _not_negative(**values: Any) -> None:
    for name, value in values.items():
        found = np.asarray(value, float)
        if not np.all(np.isfinite(found) & (found >= 0)):
            raise InvalidInputError(f"{name}: found {value}; allowed are finite numbers from 0.")


def noise_of(rate: Any, inverse_temperature: Any) -> Any:
    """Return sigma = sqrt(2 eta / beta), the noise of Langevin dynamics.

    Args:
        rate: eta, at least 0.
        inverse_temperature: beta, above 0; inf gives no noise.

    Raises:
        InvalidInputError: a rate below 0, or an inverse temperature that is not above 0.

    Example:
        >>> float(noise_of(0.02, 4.0))
        0.1
    """
    _not_negative(rate=rate)
    if not np.all(np.asarray(inverse_temperature, float) > 0):
        raise InvalidInputError(
            f"inverse_temperature: found {inverse_temperature}; it must be above 0."
        )
    return np.sqrt(2 * np.asarray(rate, float) / np.asarray(inverse_temperature, float))


def inverse_temperature_of(rate: Any, noise: Any) -> Any:
    """Return beta = 2 eta / sigma^2; inf where there is no noise.

    Raises:
        InvalidInputError: a rate or a noise below 0.

    Example:
        >>> float(inverse_temperature_of(0.5, 0.5)), float(inverse_temperature_of(0.5, 0.0))
        (4.0, inf)
    """
    _not_negative(rate=rate, noise=noise)
    rate, noise = np.broadcast_arrays(np.asarray(rate, float), np.asarray(noise, float))
    silent = noise == 0
    return np.where(silent, np.inf, 2 * rate / np.where(silent, 1.0, noise**2))


def constant(
    steps: int,
    rate: float,
    *,
    noise: float | None = None,
    inverse_temperature: float | None = None,
    virtual: float = 0.0,
) -> Schedule:
    """Return the same rate and noise at every step.

    Args:
        steps: T.
        rate: eta.
        noise: sigma; or else `inverse_temperature`, beta. Neither: no noise.
        inverse_temperature: of Langevin dynamics.
        virtual: standard deviation of the imagined noise.

    Raises:
        InvalidInputError: no steps, numbers below 0, or both a noise and a temperature.

    Example:
        >>> constant(2, 0.02, inverse_temperature=4.0).noise.tolist()
        [0.1, 0.1]
    """
    if noise is not None and inverse_temperature is not None:
        raise InvalidInputError("noise: found it and inverse_temperature; one of them is allowed.")
    if inverse_temperature is not None:
        noise = float(noise_of(rate, inverse_temperature))
    one = np.ones_like(_steps(steps))
    sigma = 0.0 if noise is None else noise
    _not_negative(rate=rate, noise=sigma, virtual=virtual)
    return Schedule(rate * one, sigma * one, virtual * one)


def staircase(
    steps: int,
    *,
    rate: float = 0.06,
    rate_decay: float = 0.95,
    variances: tuple[float, float] = (3e-6, 1e-8),
    variance_decay: float = 0.5,
    every: int = 50,
) -> Schedule:
    """Return the falling staircase of the experiments of Haghifam et al. (NeurIPS 2020).

    With k = floor((t - 1) / every): eta_t = rate rate_decay^k and sigma_t^2 = v_1 + (v_0 - v_1)
    exp(-variance_decay k). The defaults are the published code's for a perceptron on MNIST
    (20,000 examples, 900 steps of all of them).

    Args:
        steps: T.
        rate: at the start.
        rate_decay: factor of each stair.
        variances: (v_0, v_1), at the start and in the end.
        variance_decay: of each stair, in the exponent.
        every: steps of a stair.

    Raises:
        InvalidInputError: no steps or stairs, or numbers below 0.

    Example:
        >>> made = staircase(51)
        >>> made.rate[[0, 50]].round(4).tolist(), (made.noise[[0, 50]] ** 2).round(9).tolist()
        ([0.06, 0.057], [3e-06, 1.824e-06])
    """
    if every < 1:
        raise InvalidInputError(f"every: found {every}; at least 1 is needed.")
    _not_negative(rate=rate, rate_decay=rate_decay, variances=variances)
    _not_negative(variance_decay=variance_decay)
    stair = np.floor((_steps(steps) - 1) / every)
    first, last = variances
    variance = last + (first - last) * np.exp(-variance_decay * stair)
    return Schedule(rate * rate_decay**stair, np.sqrt(variance), np.zeros_like(stair))


def inverse_square(steps: int, scale: float | int) -> Schedule:
    """Return eta_t = C / t^2 and sigma_t = sqrt(C) / t of Zhang, Liu and Tao (2024), theorem 5.

    sum_t eta_t^2 M^2 / sigma_t^2 = C M^2 sum_t t^-2 stays below C M^2 pi^2 / 6 for any number of
    steps.

    Args:
        steps: T.
        scale: C, at least 0.

    Raises:
        InvalidInputError: no steps, or a scale below 0.

    Example:
        >>> made = inverse_square(2, 0.25)
        >>> made.rate.tolist(), made.noise.tolist()
        ([0.25, 0.0625], [0.5, 0.25])
    """
    _not_negative(scale=scale)
    t = _steps(steps)
    return Schedule(scale / t**2, np.sqrt(scale) / t, np.zeros_like(t))
