"""What the steps of a noisy path tell about the examples, and the bounds made of it.

The convention is that of `genjax.metrics.information.noise_schedules`: W_t = W_{t-1} - eta_t g +
sigma_t xi_t, so beta_t eta_t of the literature on Langevin dynamics is 2 eta_t^2 / sigma_t^2.
Everything is written with eta_t^2 / sigma_t^2. Statistics come as [runs, steps, layers] (any number
of leading axes; see `noisy_records.Record`), rates and noises as [steps, layers] or alike; layers
are summed. Expectations over runs are means over the leading axes: runs should differ in training
set, initial weights, batches and noise. Information is in nats. float64, on the host.

Sums run over the steps given. Of a record of every k-th step (`record_every`), multiply statistics
by k: each recorded step then stands for k, an approximation.

A layer that moves (rate and statistic above 0) without noise has infinite information: the value is
inf and the reason says so. NaN in a statistic (a run that diverged) gives inf, too, never NaN.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import scipy.stats
from jaxtyping import Array, Bool, Float, Num

from genjax.errors import InvalidInputError, suggest

Host = np.ndarray
Statistic = Num[Array | Host, "*runs steps layers"]
Steps = Num[Array | Host, "*#runs #steps #layers"]

AVERAGES = ("root_of_mean", "mean_of_roots")
NO_NOISE = "a layer moves without noise: the information of its path is infinite"
NOT_FINITE = "a recorded statistic is not finite: a run diverged"


class PathBound(NamedTuple):
    """A bound on the expected gap of the iterate after each recorded step.

    Attributes:
        value: [steps]; inf where `reason` says why.
        vacuous: value >= 1, which losses in [0, 1] cannot exceed, [steps].
        of_runs: what each run alone gives, [*runs, steps]; `value` is the root of the mean of
            their squares, unless another average was asked for.
        conditions: under which it holds, in words.
        reason: why a value is infinite; "" where all are finite.
    """

    value: Float[Host, " steps"]
    vacuous: Bool[Host, " steps"]
    of_runs: Float[Host, "*runs steps"]
    conditions: str
    reason: str


def path_energy(statistic: Statistic, rate: Steps, noise: Steps) -> Float[Host, "*runs steps"]:
    """Return sum over layers of eta_t^2 statistic_t / sigma_t^2 of each step.

    Half of it is the divergence (nats) of two Gaussian steps whose means differ by eta_t times a
    vector of squared norm `statistic_t`. 0 where nothing moves; inf where something moves without
    noise, and where the statistic is not finite.

    Args:
        statistic: squared norms, at least 0.
        rate: eta_t.
        noise: sigma_t, standard deviation of what is added to each parameter.

    Raises:
        InvalidInputError: a value below 0, or a rate or noise that is not finite.

    Example:
        >>> one = np.ones((1, 2))
        >>> path_energy(np.array([[4.0, 2.0]]), 0.5 * one, np.array([[1.0, 0.5]])).tolist()
        [3.0]
    """
    values, rates, noises = (np.asarray(x, float) for x in (statistic, rate, noise))
    for name, found in (("rate", rates), ("noise", noises)):
        if not np.all(np.isfinite(found) & (found >= 0)):
            raise InvalidInputError(f"{name}: found {found.min()}; it must be finite and from 0.")
    if np.any(values < 0):
        raise InvalidInputError(f"statistic: found {values.min()}; it must be at least 0.")
    values = np.where(np.isfinite(values), values, np.inf)
    moved, noises = np.broadcast_arrays(zero_safe(rates**2, values), noises**2)
    silent = noises == 0
    energy = np.where(silent, np.where(moved > 0, np.inf, 0.0), moved / np.where(silent, 1, noises))
    return energy.sum(-1)


def zero_safe(first: Any, second: Any) -> Any:
    """Return the product, in which 0 times inf is 0: a layer at rate 0 tells nothing."""
    first, second = np.broadcast_arrays(first, second)
    return np.where(first == 0, 0.0, first * np.where(first == 0, 0.0, second))


def reason_of(energy: Any, statistic: Any) -> str:
    """Return why an energy is infinite, "" where it is not.

    Example:
        >>> reason_of(np.array([np.inf]), np.array([np.nan]))
        'a recorded statistic is not finite: a run diverged'
    """
    if np.all(np.isfinite(energy)):
        return ""
    return NO_NOISE if np.all(np.isfinite(np.asarray(statistic, float))) else NOT_FINITE


def from_energy(
    energy: Any,
    scale: float,
    conditions: str,
    reason: str,
    average: str = "root_of_mean",
) -> PathBound:
    """Return sqrt(scale sum_t energy_t) of each step."""
    if average not in AVERAGES:
        raise InvalidInputError(suggest("average", average, AVERAGES))
    own = np.sqrt(scale * np.cumsum(energy, axis=-1))
    over_runs = tuple(range(own.ndim - 1))
    squares = np.sqrt(np.mean(own**2, axis=over_runs))
    value = squares if average == "root_of_mean" else np.mean(own, axis=over_runs)
    return PathBound(value, value >= 1, own, conditions, reason)


def check_count(**counts: int) -> None:
    """Refuse a number of examples below 2, or another count below 1.

    Example:
        >>> check_count(num_examples=2, batch_size=1)
    """
    for name, value in counts.items():
        if value < (2 if name == "num_examples" else 1):
            least = 2 if name == "num_examples" else 1
            raise InvalidInputError(f"{name}: found {value}; at least {least} is needed.")


def check_positive(**numbers: float | int) -> None:
    """Refuse numbers that are not finite and above 0.

    Example:
        >>> check_positive(sub_gaussian=0.5)
    """
    for name, value in numbers.items():
        if not 0 < value < np.inf:
            raise InvalidInputError(f"{name}: found {value}; it must be finite and above 0.")


def step_information(
    second_moment: Statistic,
    rate: Steps,
    noise: Steps,
    *,
    sizes: tuple[int, ...] | None = None,
) -> Float[Host, " steps"]:
    """Return what each step tells about the examples at most, in nats.

    Quadratic: sum_l eta^2 M_l^2 / (2 sigma^2). With `sizes`, the smaller logarithmic form sum_l
    (d_l / 2) log(1 + eta^2 M_l^2 / (d_l sigma^2)) (Pensia, Jog and Loh 2018; Zhang, Liu and Tao
    2024, theorem 4). M_l^2 is E||g_l||^2, or that of g_l minus anything that is known before the
    examples are; runs are averaged inside the logarithm, which is concave.

    Args:
        second_moment: M_l^2, or the square of a Lipschitz constant.
        rate: eta_t.
        noise: sigma_t.
        sizes: d_l, parameters of each layer.

    Raises:
        InvalidInputError: a value below 0, or sizes that are not one whole number per layer.

    Example:
        >>> one = np.ones((1, 1))
        >>> step_information(one, 0.1 * one, 0.001 * one).round(6).tolist()
        [5000.0]
        >>> step_information(one, 0.1 * one, 0.001 * one, sizes=(1000,)).round(2).tolist()
        [1198.95]
    """
    moment, noises, rates = (np.asarray(x, float) for x in (second_moment, noise, rate))
    mean = np.mean(moment, axis=tuple(range(moment.ndim - 2)))
    if sizes is None:
        return np.asarray(path_energy(mean, *map(_common, (rates, noises)))) / 2
    if len(sizes) != moment.shape[-1] or min(sizes) < 1:
        raise InvalidInputError(
            f"sizes: found {sizes}; allowed is one whole number from 1 for each of "
            f"{moment.shape[-1]} layers."
        )
    rates, noises = _common(rates), _common(noises)
    rates, noises = (np.broadcast_to(x, mean.shape) for x in (rates, noises))
    # Layer by layer: `path_energy` sums over its last axis.
    each = path_energy(mean[..., None], rates[..., None], noises[..., None])
    d = np.asarray(sizes, float)
    return np.sum(d / 2 * np.log1p(each / d), axis=-1)


def _common(x: Any) -> Any:
    """Return rates or noises without runs, which have to share them."""
    x = np.asarray(x, float)
    flat = x.reshape(-1, *x.shape[-2:])
    if np.any(flat != flat[:1]):
        raise InvalidInputError("rate, noise: found runs that differ; they have to share both.")
    return flat[0]


def interval_over_runs(of_runs: Num[Host, "*runs"], level: float = 0.95) -> tuple[float, float]:
    """Return an interval of the root of the mean square, by Student's t over runs.

    Args:
        of_runs: `PathBound.of_runs` at one step.
        level: of confidence.

    Returns:
        (NaN, NaN) with one run or with values that are not finite; at least 0.

    Example:
        >>> [round(x, 4) for x in interval_over_runs(np.array([1.0, 1.1, 0.9, 1.0]))]
        [0.8631, 1.1247]
    """
    squares = np.asarray(of_runs, float) ** 2
    if squares.size < 2 or not np.all(np.isfinite(squares)):
        return math.nan, math.nan
    half = scipy.stats.sem(squares) * scipy.stats.t.ppf((1 + level) / 2, squares.size - 1)
    low, high = (max(squares.mean() + sign * half, 0.0) ** 0.5 for sign in (-1, 1))
    return float(low), float(high)


def expected_share_squared(num_examples: int, batch_size: int, replacement: bool = False) -> float:
    """Return E (m_J / b)^2 of an example J in a batch of b of n examples.

    1 / (n b) without replacement (1 / n^2 where the batch is everything), and 1 + (b - 1) / n times
    that with replacement.

    Example:
        >>> expected_share_squared(10, 10), expected_share_squared(4, 2, replacement=True)
        (0.01, 0.15625)
    """
    check_count(num_examples=num_examples, batch_size=batch_size)
    if batch_size > num_examples and not replacement:
        raise InvalidInputError(f"batch_size: found {batch_size} of {num_examples} examples.")
    repeated = 1 + (batch_size - 1) / num_examples if replacement else 1.0
    return repeated / (num_examples * batch_size)
