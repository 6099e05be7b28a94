"""Power laws of the error: fitted with intervals over seeds, and tested beyond where they were."""

from typing import Any, NamedTuple

import numpy as np
import scipy.optimize
from jaxtyping import Float, Int, Num

from genjax.errors import InvalidInputError
from genjax.statistics.resampled_tests import jackknife_interval
from genjax.statistics.resampling import Interval

Host = np.ndarray


class PowerLaw(NamedTuple):
    """The law `error = scale * size^-exponent + offset`; NaN where there is no fit.

    Attributes:
        exponent: alpha; above 0 the error falls.
        scale: a.
        offset: c, what is left for endless sizes; 0 where it was not fitted.
        residual: root of the mean squared difference of logarithms of fit and mean errors.
    """

    exponent: float
    scale: float
    offset: float
    residual: float

    def at(self, sizes: Num[Host, " sizes"]) -> Float[Host, " sizes"]:
        """Return the errors that the law gives."""
        return self.scale * np.asarray(sizes, np.float64) ** -self.exponent + self.offset


class FittedLaw(NamedTuple):
    """A law with intervals over seeds.

    Attributes:
        law: of the mean errors.
        exponent: alpha.
        offset: c; no interval where it was not fitted.
        left_out: exponent and offset without each seed, `[seeds, 2]`.
        seeds: which rows of the errors these are, the others are not finite.
    """

    law: PowerLaw
    exponent: Interval
    offset: Interval
    left_out: Float[Host, "seeds 2"]
    seeds: Int[Host, " seeds"]


_EDGE = 1e-3
"""An offset this close to 0 or to the smallest error, as a share of it, is at an end."""

_NONE = PowerLaw(np.nan, np.nan, np.nan, np.nan)


def fit_means(
    sizes: Num[Host, " sizes"], errors: Float[Host, " sizes"], *, offset: bool
) -> PowerLaw:
    """Fit the law to one error per size, by least squares of logarithms.

    Without an offset that is the line through the logarithms. With one it is searched from several
    starts with 0 <= c < smallest error, and alpha >= 0: else c and a constant power were the same.

    Args:
        sizes: N, above 0.
        errors: their errors; where one is not above 0 there is no fit.
        offset: whether c is fitted, for which three sizes are needed, two without.

    Raises:
        InvalidInputError: too few different sizes.

    References:
        Hestness et al., Deep learning scaling is predictable, empirically (arXiv 1712.00409);
        Rosenfeld, Rosenfeld, Belinkov and Shavit, A constructive prediction of the generalization
        error across scales, ICLR 2020.

    Example:
        >>> sizes = np.array([1.0, 4.0, 16.0])
        >>> law = fit_means(sizes, np.array([0.8, 0.4, 0.2]), offset=False)
        >>> round(law.exponent, 6), round(law.scale, 6)
        (0.5, 0.8)
    """
    sizes, errors = np.asarray(sizes, np.float64), np.asarray(errors, np.float64)
    least = 3 if offset else 2
    if len(np.unique(sizes)) < least or not (sizes > 0).all():
        raise InvalidInputError(
            f"sizes: found {sizes.tolist()}; at least {least} different ones above 0 are needed."
        )
    if not (np.isfinite(errors) & (errors > 0)).all():
        return _NONE
    x, y = np.log(sizes), np.log(errors)
    slope, level = np.polyfit(x, y, 1)
    if not offset:
        residual = np.sqrt(np.mean((level + slope * x - y) ** 2))
        return PowerLaw(float(-slope), float(np.exp(level)), 0.0, float(residual))
    return _search(x, errors, (0.0, 0.5, 0.9))


def _search(x: Host, errors: Host, starts: tuple[float, ...]) -> PowerLaw:
    """Return the best law with an offset; starts are offsets as shares of the smallest error."""
    y, smallest = np.log(errors), errors.min()
    centred = x - x.mean()  # scale and exponent are then hardly correlated

    def parts(free: Any) -> tuple[Any, Any]:
        power = np.exp(free[0] - free[1] * centred)
        return power, power + free[2] * smallest

    def residuals(free: Any) -> Any:
        return np.log(parts(free)[1]) - y

    def slopes(free: Any) -> Any:
        power, total = parts(free)
        columns = (power, -power * centred, np.full_like(power, smallest))
        return np.stack(columns, axis=1) / total[:, None]

    found = []
    for share in starts:
        steep, middle = np.polyfit(centred, np.log(errors - share * smallest), 1)
        start = (middle, max(-steep, 1e-3), max(share, 1e-6))
        bounds = ([-np.inf, 0, 0], [np.inf, np.inf, 1])
        found.append(
            scipy.optimize.least_squares(
                residuals,
                start,
                jac=slopes,  # pyright: ignore[reportArgumentType]  (stubs know only names)
                bounds=bounds,
                xtol=1e-12,
                ftol=1e-12,
                gtol=1e-12,
            )
        )
    best = min(found, key=lambda one: one.cost)
    middle, exponent, share = best.x
    scale = np.exp(middle + exponent * x.mean())
    residual = np.sqrt(np.mean(best.fun**2))
    return PowerLaw(float(exponent), float(scale), float(share * smallest), float(residual))


def _means_without_each(sizes: Host, errors: Host, law: PowerLaw, offset: bool) -> list[PowerLaw]:
    """Return the law without each seed; searched from the law of all, which is close."""
    found = []
    for k in range(len(errors)):
        means = np.delete(errors, k, axis=0).mean(axis=0)
        if offset and (means > 0).all() and np.isfinite(law.offset):
            share = min(law.offset / means.min(), 0.99)
            found.append(_search(np.log(np.asarray(sizes, np.float64)), means, (share,)))
        else:
            found.append(fit_means(sizes, means, offset=offset))
    return found


def fit(
    sizes: Num[Host, " sizes"],
    errors: Float[Host, "seeds sizes"],
    *,
    offset: bool,
    level: float | int = 0.95,
) -> FittedLaw:
    """Fit the law to mean errors over seeds, with jackknife intervals over seeds.

    A seed is one draw of nested training sets and starts: its errors belong together. Where the
    offset comes out at an end of its range, with or without a seed, there are no intervals: there
    the jackknife does not see how uncertain the law is.

    Args:
        sizes: N.
        errors: a row per seed; rows with a value that is not finite are left out.
        offset: whether c is fitted.
        level: of the intervals.

    Raises:
        InvalidInputError: as `fit_means`, or fewer than three seeds are left.

    Example:
        >>> sizes = np.array([1, 4, 16])
        >>> errors = np.array([0.8, 0.4, 0.2]) * np.array([[0.9], [1.0], [1.1]])
        >>> found = fit(sizes, errors, offset=False)
        >>> round(found.exponent.value, 6), found.exponent.low <= 0.5 <= found.exponent.high
        (0.5, True)
    """
    seeds = np.flatnonzero(np.isfinite(np.asarray(errors, np.float64)).all(axis=1))
    errors = _finite(errors)
    law = fit_means(sizes, errors.mean(axis=0), offset=offset)
    each = _means_without_each(sizes, errors, law, offset)
    left_out = np.array([[one.exponent, one.offset] for one in each])
    low, high = jackknife_interval(np.array([law.exponent, law.offset]), left_out, level)
    least = errors.mean(axis=0).min()
    inside = (left_out[:, 1] > _EDGE * least) & (left_out[:, 1] < (1 - _EDGE) * least)
    if offset and not inside.all():
        low, high = np.full(2, np.nan), np.full(2, np.nan)
    offset_ends = (max(float(low[1]), 0.0), float(high[1])) if offset else (np.nan, np.nan)
    return FittedLaw(
        law,
        Interval(law.exponent, float(low[0]), float(high[0])),
        Interval(law.offset, *offset_ends),
        left_out,
        seeds,
    )


def extrapolate(
    sizes: Num[Host, " sizes"],
    errors: Float[Host, "seeds sizes"],
    larger: Num[Host, " larger"],
    measured: Float[Host, "seeds larger"],
    *,
    offset: bool,
    level: float | int = 0.95,
) -> Interval:
    """Return predicted over measured error at sizes that were not fitted; 1 is a right prediction.

    Args:
        sizes: fitted.
        errors: at these, a row per seed.
        larger: where the law is tested.
        measured: errors there, of the same seeds.
        offset: whether c is fitted.
        level: of the intervals, a jackknife over seeds of the logarithm of the ratio.

    Returns:
        An array of ratios per larger size, with both ends; NaN where there is no fit.

    Raises:
        InvalidInputError: as `fit`.

    Example:
        >>> errors = np.array([0.8, 0.4]) * np.array([[0.9], [1.0], [1.1]])
        >>> found = extrapolate(np.array([1, 4]), errors, np.array([16]), errors[:, 1:] / 4,
        ...     offset=False)
        >>> np.round(found.value, 6).tolist()  # 0.2 predicted, 0.1 measured
        [2.0]
    """
    both = _finite(np.concatenate([errors, measured], axis=1))
    errors, measured = both[:, : errors.shape[1]], both[:, errors.shape[1] :]

    def log_ratio(law: PowerLaw, kept: Any) -> Host:
        with np.errstate(divide="ignore", invalid="ignore"):  # an error of 0 has no logarithm
            ratio = np.log(law.at(larger)) - np.log(measured[kept].mean(axis=0))
        return np.where(np.isfinite(ratio), ratio, np.nan)

    law = fit_means(sizes, errors.mean(axis=0), offset=offset)
    each = _means_without_each(sizes, errors, law, offset)
    whole = log_ratio(law, slice(None))
    left_out = np.stack([log_ratio(own, np.arange(len(both)) != k) for k, own in enumerate(each)])
    low, high = jackknife_interval(whole, left_out, level)
    return Interval(np.exp(whole), np.exp(low), np.exp(high))


def _finite(errors: Host) -> Host:
    kept = errors[np.isfinite(errors).all(axis=1)]
    if len(kept) < 3:
        raise InvalidInputError(
            f"errors: found {len(kept)} seeds with finite errors at all sizes; three are needed."
        )
    return kept
