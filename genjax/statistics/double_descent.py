"""Double descent: its exact curve for random features, and a test for a second descent."""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import stats

from genjax.errors import InvalidInputError

Host = np.ndarray


class SecondDescent(NamedTuple):
    """An error that falls, rises and falls again along an axis: the places and by how much.

    Attributes:
        shown: whether all its changes are beyond chance, for all pairs of places at once.
        start: place before the dip where it is higher; None if it only rises and falls.
        dip: place before the peak.
        peak: place of the peak.
        end: place after the peak.
        first: error at the start minus error at the dip: (mean, low, high); NaN without a start.
        rise: error at the peak minus error at the dip: (mean, low, high).
        fall: error at the peak minus error at the end: (mean, low, high).
    """

    shown: bool
    start: int | None
    dip: int
    peak: int
    end: int
    first: tuple[float, float, float]
    rise: tuple[float, float, float]
    fall: tuple[float, float, float]


def random_features_risk(
    features_per_dimension: float | int,
    examples_per_dimension: float | int,
    *,
    signal: float | int = 1.0,
    noise: float | int = 0.0,
) -> float:
    """Return the limit of the excess risk of least squares on random ReLU features.

    `E (f(x) - <b, x>)^2` of the interpolator (or least squares fit) of minimum norm on N features
    `max(<theta, x>/sqrt(d), 0)`, theta and x uniform on the sphere of radius sqrt(d), labels
    `<b, x> + noise`, from n examples, as N, n, d grow with psi1 = N/d and psi2 = n/d. With zeta =
    mu1/mu*, mu1 = 1/2 and mu*^2 = 1/4 - 1/(2 pi) of ReLU, psi = min(psi1, psi2), q = psi zeta^2 -
    zeta^2 - 1 and chi = -(sqrt(q^2 + 4 zeta^2 psi) + q) / (2 zeta^2) it is `signal E1/E0 + noise
    E2/E0`, E0, E1 and E2 polynomials of chi.

    Args:
        features_per_dimension: psi1.
        examples_per_dimension: psi2.
        signal: squared norm of b.
        noise: variance of the noise in labels; the risk is about labels without it.

    Returns:
        The risk; infinite where psi1 = psi2, the interpolation threshold.

    Raises:
        InvalidInputError: a ratio that is not above 0, or a negative variance.

    References:
        Mei and Montanari, The generalization error of random features regression, Communications on
        Pure and Applied Mathematics 75 (2022), ridgeless limit (theorem 3 of the preprint,
        numbered from memory; the formula is held against simulations in the tests).

    Example:
        >>> [round(random_features_risk(psi, 3, noise=0.25), 3) for psi in (1, 2.5, 4, 10)]
        [0.797, 2.318, 1.293, 0.278]
    """
    a, b = float(features_per_dimension), float(examples_per_dimension)
    for name, value in (("features_per_dimension", a), ("examples_per_dimension", b)):
        if not 0 < value < math.inf:
            raise InvalidInputError(f"{name}: found {value}; allowed are numbers above 0.")
    if signal < 0 or noise < 0:
        raise InvalidInputError(
            f"signal and noise: found {signal} and {noise}; allowed are numbers from 0."
        )
    if a == b:
        return math.inf
    z2 = 0.25 / (0.25 - 1 / (2 * math.pi))
    z4, z6 = z2**2, z2**3
    psi = min(a, b)
    q = psi * z2 - z2 - 1
    root = math.sqrt(q**2 + 4 * z2 * psi)
    # Whichever of two equal forms does not cancel.
    chi = -(root + q) / (2 * z2) if q > 0 else -2 * psi / (root - q)
    top = chi**5 * z6 - 3 * chi**4 * z4
    middle = 2 * chi**3 * z4 + 3 * chi**3 * z2 - 2 * chi**2 * z2 - chi**2
    e0 = (
        -top - middle + (a * b - b - a + 1) * chi**3 * z6
        + (a + b - 3 * a * b + 1) * chi**2 * z4 + 3 * a * b * chi * z2 - a * b
    )  # fmt: skip
    e1 = b * chi**3 * z4 - b * chi**2 * z2 + a * b * chi * z2 - a * b
    e2 = top + middle + (a - 1) * chi**3 * z6 - (a + 1) * chi**2 * z4
    return (float(signal) * e1 + float(noise) * e2) / e0


def second_descent(
    errors: Float[Host, "seeds places"], level: float | int = 0.95
) -> SecondDescent | None:
    """Look for a fall, a rise and another fall, and say whether they are more than chance.

    Where the error does not fall before it rises, a rise and a fall are looked for. Student's
    intervals of paired differences over seeds, for all pairs of places at once (Bonferroni), since
    the places are sought in the same numbers.

    Args:
        errors: of every seed along the axis.
        level: of all intervals together.

    Returns:
        The places whose least certain change is most certain; None if there are fewer than three
        places or no place has lower means on both sides.

    Raises:
        InvalidInputError: fewer than two seeds, errors that are not finite.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> errors = np.array([0.5, 0.2, 0.6, 0.1]) + rng.normal(0, 0.01, (8, 4))
        >>> found = second_descent(errors)
        >>> found.shown, found.start, found.dip, found.peak, found.end
        (True, 0, 1, 2, 3)
    """
    errors = np.asarray(errors, np.float64)
    seeds, places = errors.shape
    if seeds < 2 or not np.isfinite(errors).all():
        raise InvalidInputError(
            f"errors: found {seeds} seeds and {int((~np.isfinite(errors)).sum())} numbers that are "
            "not finite; at least two seeds and only finite numbers are needed."
        )
    if places < 3:
        return None
    apart = errors[:, :, None] - errors[:, None, :]  # [seeds, of the peak, of another place]
    mean = apart.mean(axis=0)
    chance = (1 - level) / (places * (places - 1) / 2)
    half = stats.t.ppf(1 - chance / 2, seeds - 1) * apart.std(axis=0, ddof=1) / np.sqrt(seeds)
    low = mean - half
    certain = np.where(mean > 0, low, -np.inf)  # of means that are not above there is nothing

    def best(walks: Iterable[Any]) -> tuple[float, Any]:
        """Return the walk down and up whose least certain step is most certain."""
        scored = [(min(float(certain[step]) for step in steps), steps) for steps in walks]
        return max(scored, default=(-np.inf, ()), key=lambda one: one[0])

    peaks = range(1, places - 1)
    after = {p: p + 1 + int(certain[p, p + 1 :].argmax()) for p in peaks}
    twice = best(
        ((s, d), (p, d), (p, after[p])) for p in peaks for d in range(1, p) for s in range(d)
    )
    once = best(((p, d), (p, after[p])) for p in peaks for d in range(p))
    if once[0] == -np.inf:
        return None
    told = twice[0] > 0 or (once[0] <= 0 and twice[0] > -np.inf)
    score, steps = twice if told else once
    changes = [(float(mean[at]), float(low[at]), float(mean[at] + half[at])) for at in steps]
    (peak, dip), (_, end) = steps[-2:]
    start, first = (steps[0][0], changes[0]) if told else (None, (np.nan, np.nan, np.nan))
    return SecondDescent(bool(score > 0), start, dip, peak, end, first, *changes[-2:])
