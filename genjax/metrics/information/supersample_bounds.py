"""Bounds on the generalization gap by what the outcomes of a pair tell about its coin.

With a supersample fixed, the gap is `(1/n) sum_i E[(-1)^{U_i} D_i]`, where `D_i = L_i1 - L_i0` is
the difference of the losses on pair i. All bounds are of one supersample, averaged over its n pairs
(and then over supersamples, see `table`); losses are 0-1, information is in nats. Information is
estimated over K2 masks, which come in opposites. The plug-in, which the published experiments use,
bounds the gap that was counted, by arithmetic: that it is above says nothing, and its mean over
draws is no less than the true gap. As an estimate of information it is biased up where both coins
allow the same outcomes: 1/(2 K2) nats for a pair with two outcomes that tell nothing (30 masks show
sqrt(2 I) = .15 in the mean), up to twice that where the outcome follows coins of other pairs, which
opposites turn too. Networks without training errors have next to no bias. Corrected estimates are
pooled over the pairs before the root is taken: by Jensen that is a bound too, a looser one. They
take 1/(2 K2) away, so they are too large by up to as much in that case, and too small where
networks of opposite masks agree more than others do.
"""

import functools
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import stats

from genjax.errors import InvalidInputError
from genjax.intervals import mean_interval
from genjax.metrics.complexity.bounds import kl_inverse
from genjax.metrics.information.discrete import joint_counts, mutual_information
from genjax.metrics.information.supersample import Outcomes

Host = np.ndarray
LOG_2 = float(np.log(2.0))
OBSERVED = ("predictions", "errors", "differences", "first_error", "second_error")


class Joint(NamedTuple):
    """What is observed of every pair, counted against its coin.

    Attributes:
        counts: `[K1, n, outcomes, 2]` over masks.
        values: value of each outcome, for differences -1, 0, 1.
    """

    counts: Float[Host, "supersamples n outcomes 2"]
    values: Float[Host, " outcomes"]


def joint(found: Outcomes, observed: str) -> Joint:
    """Count an observation of every pair against its coin, over the networks that are alive.

    Args:
        found: outcomes of all runs.
        observed: `predictions` (f-CMI: both predicted classes), `errors` (e-CMI: both losses),
            `differences` (ld-CMI: second loss minus first), `first_error` or `second_error`.

    Raises:
        InvalidInputError: another observation, or a supersample with fewer than two live networks.
    """
    if observed not in OBSERVED:
        raise InvalidInputError(f"observed: found '{observed}'; allowed are {', '.join(OBSERVED)}.")
    alive = found.alive.sum(axis=1)
    if alive.min() < 2:
        raise InvalidInputError(
            f"found: supersample {alive.argmin()} has {alive.min()} networks that did not diverge; "
            "at least 2 are needed."
        )
    first, second = (found.errors[..., k] for k in (0, 1))
    if observed == "predictions":
        classes = int(found.predictions.max()) + 1
        codes = found.predictions[..., 0] * classes + found.predictions[..., 1]
        values = np.arange(classes**2, dtype=float)
    elif observed == "errors":
        codes, values = 2 * first + second, np.arange(4.0)
    elif observed == "differences":
        codes, values = second - first + 1, np.array([-1.0, 0.0, 1.0])
    else:
        codes = first if observed == "first_error" else second
        values = np.array([0.0, 1.0])
    counts = [
        joint_counts(code[live].T, mask[live].T, num_first=len(values), num_second=2)
        for code, mask, live in zip(codes, found.masks, found.alive, strict=True)
    ]
    return Joint(np.stack(counts), values)


def _information(found: Outcomes, observed: str, correction: str) -> Any:
    return mutual_information(joint(found, observed).counts, correction=correction)


def square_root(
    found: Outcomes, observed: str, *, correction: str = "none", pooled: bool = False
) -> Float[Host, " K1"]:
    """Bound by `(1/n) sum_i sqrt(2 I(O_i; U_i))`, O_i what is observed of pair i.

    f-CMI (Harutyunyan et al. 2021, Thm 2.1 at m = 1), e-CMI (Hellstrom and Durisi 2022), ld-CMI
    (Wang and Mao 2023, Thm 3.1).

    Args:
        found: outcomes.
        observed: see `joint`.
        correction: of the estimate, see `discrete.mutual_information`; what is below 0 counts as 0,
            what is above log 2, all there is to know of a coin, as log 2.
        pooled: `sqrt(2 mean_i I)`, looser, and less biased.
    """
    own = _information(found, observed, correction)
    if pooled:
        return np.sqrt(2 * np.clip(own.mean(axis=1), 0.0, LOG_2))
    return np.sqrt(2 * np.clip(own, 0.0, LOG_2)).mean(axis=1)


def single_loss(found: Outcomes, *, correction: str = "none") -> Float[Host, " K1"]:
    """Bound by `(1/n) sum_i [sqrt(2 I(L_i0; U_i)) + sqrt(2 I(L_i1; U_i))]`.

    Wang and Mao (2023), Thm 3.3, takes twice the first, which is the same in the mean over
    supersamples but no bound for every one of them.
    """
    each = [
        square_root(found, f"{which}_error", correction=correction) for which in ("first", "second")
    ]
    return each[0] + each[1]


def binary_kl(found: Outcomes, *, correction: str = "none") -> Float[Host, " K1"]:
    """Bound by inverting `kl(R_S || (R_S + R)/2) <= (1/n) sum_i I(L_i0, L_i1; U_i)` for R.

    Hellstrom and Durisi (2022), Thm 4. The gap is R minus the training error.
    """
    budget = np.maximum(_information(found, "errors", correction).mean(axis=1), 0.0)
    train = np.nanmean(found.train_error(), axis=1)
    return 2 * (np.asarray(kl_inverse(train, budget)) - train)


def interpolating(
    found: Outcomes, observed: str = "differences", *, correction: str = "none"
) -> Float[Host, " K1"]:
    """Bound by `(1/n) sum_i I(O_i; U_i) / log 2`, of networks without training errors.

    For differences Wang and Mao (2023), Thm 3.4, an equality of the information that is not given
    the supersample; given it, as here, equal where both examples of a pair err equally often, and
    otherwise above. For both losses Hellstrom and Durisi (2022). Infinite for supersamples with a
    training error.
    """
    own = _information(found, observed, correction).mean(axis=1) / LOG_2
    clean = np.nanmax(found.train_error(), axis=1) == 0
    return np.where(clean, np.maximum(own, 0.0), np.inf)


_RATES = np.linspace(1e-3, LOG_2 / 2 * (1 - 1e-9), 400)
"""Values of C2 that are tried; any of them gives a bound."""


def fast_rate(found: Outcomes, *, correction: str = "none") -> Float[Host, " K1"]:
    """Bound by `min C1 R_S + (1/n) sum_i I(L_i0, L_i1; U_i) / C2`.

    Subject to `exp(2 C2) + exp(-2 C2 (C1 + 1)) <= 2` (Wang and Mao 2023, Thm 4.1).
    """
    return _weighted(found, correction, 1.0)


def sharpness(
    found: Outcomes, *, gamma: float = 0.5, correction: str = "none"
) -> Float[Host, " K1"]:
    """Bound by `min C1 (R_S - (1 - gamma^2) (1/n) sum_i E[train loss_i]^2) + mean I / C2`.

    Subject to `exp(2 C2) + exp(-2 C2 (C1 gamma^2 + 1)) <= 2` (Wang and Mao 2023, Thm 4.4).

    Args:
        found: outcomes.
        gamma: in (0, 1); the closer to 0, the more stable losses count.
        correction: of the estimate.
    """
    if not 0 < gamma < 1:
        raise InvalidInputError(f"gamma: found {gamma}; it must be between 0 and 1.")
    return _weighted(found, correction, gamma)


def _weighted(found: Outcomes, correction: str, gamma: float) -> Float[Host, " K1"]:
    information = _information(found, "errors", correction).mean(axis=1, keepdims=True)
    trained = np.take_along_axis(found.errors, found.masks[..., None], axis=-1)[..., 0]
    per_pair = np.where(found.alive[..., None], trained, np.nan)
    mean = np.nanmean(per_pair, axis=1)
    spread = mean.mean(axis=1) - (1 - gamma**2) * (mean**2).mean(axis=1)
    weight = (-np.log(2 - np.exp(2 * _RATES)) / (2 * _RATES) - 1) / gamma**2
    values = weight * spread[:, None] + np.maximum(information, 0.0) / _RATES
    return values.min(axis=1)


def f_information(found: Outcomes, divergence: str) -> Float[Host, " K1"]:
    """Bound by a conditional f-information of the differences (Wang and Mao 2024).

    With `v = E D^2` and `g = |E (-1)^U D|` of a pair, averaged over pairs:

    - `kl`: `sqrt(2 (v + g) I)`;
    - `kl_sum`: `I + sqrt((I + 2 v) I)`;
    - `hellinger`: `sqrt((4 v + 2 g) H^2)`, `H^2 = sum (sqrt p - sqrt q)^2`;
    - `jensen_shannon`: `2 sqrt((4 v + g) JSD)`;
    - `chi_squared`: `sqrt(2 (v + g) chi^2)`;
    - `tight`: the largest gap that `v kl((1 + gap/v)/2 || 1/2) <= I` allows, our derivation: (D, U)
      -> (-1)^U D loses information, and by chance both signs are equally likely.

    v and g are those of the outcomes on both examples: these bounds explain a gap that was measured
    more than they foretell one, and of interpolating networks v is the gap itself. All are plug-in
    estimates; p is the joint distribution of D and U, q the product of its margins.

    Raises:
        InvalidInputError: another divergence.
    """
    counted = joint(found, "differences")
    p = counted.counts / counted.counts.sum(axis=(-2, -1), keepdims=True)
    q = p.sum(axis=-1, keepdims=True) * p.sum(axis=-2, keepdims=True)
    square = (p * counted.values[:, None] ** 2).sum(axis=(-2, -1))
    signed = (p * counted.values[:, None] * np.array([1.0, -1.0])).sum(axis=(-2, -1))
    own = _DIVERGENCES.get(divergence)
    if own is None:
        raise InvalidInputError(
            f"divergence: found '{divergence}'; allowed are {', '.join(_DIVERGENCES)}."
        )
    information = mutual_information(counted.counts)
    return own(p, q, square, np.abs(signed), information).mean(axis=1)


def _tight(p: Any, q: Any, square: Any, signed: Any, information: Any) -> Any:
    varied = square > 0
    budget = np.minimum(information / np.where(varied, square, 1.0), LOG_2)
    low, high = np.full(budget.shape, 0.5), np.ones(budget.shape)
    for _ in range(60):
        middle = (low + high) / 2
        inside = LOG_2 - stats.bernoulli.entropy(middle) <= budget
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    return np.where(varied, square * (2 * high - 1), 0.0)


def _hellinger(p: Any, q: Any) -> Any:
    return ((np.sqrt(p) - np.sqrt(q)) ** 2).sum(axis=(-2, -1))


def _jensen_shannon(p: Any, q: Any) -> Any:
    middle = (p + q) / 2
    half = [
        np.where(x > 0, x * np.log(np.where(x > 0, x, 1.0) / np.where(x > 0, middle, 1.0)), 0.0)
        for x in (p, q)
    ]
    return 0.5 * (half[0] + half[1]).sum(axis=(-2, -1))


def _chi_squared(p: Any, q: Any) -> Any:
    return np.where(q > 0, (p - q) ** 2 / np.where(q > 0, q, 1.0), 0.0).sum(axis=(-2, -1))


_DIVERGENCES: dict[str, Any] = {
    "kl": lambda p, q, v, g, i: np.sqrt(2 * (v + g) * i),
    "kl_sum": lambda p, q, v, g, i: i + np.sqrt((i + 2 * v) * i),
    "hellinger": lambda p, q, v, g, i: np.sqrt((4 * v + 2 * g) * _hellinger(p, q)),
    "jensen_shannon": lambda p, q, v, g, i: 2 * np.sqrt((4 * v + g) * _jensen_shannon(p, q)),
    "chi_squared": lambda p, q, v, g, i: np.sqrt(2 * (v + g) * _chi_squared(p, q)),
    "tight": _tight,
}

BOUNDS: dict[str, Any] = {
    "f-CMI": functools.partial(square_root, observed="predictions"),
    "e-CMI": functools.partial(square_root, observed="errors"),
    "ld-CMI": functools.partial(square_root, observed="differences"),
    "single loss": single_loss,
    "f-CMI, corrected": functools.partial(
        square_root, observed="predictions", correction="miller_madow", pooled=True
    ),
    "e-CMI, corrected": functools.partial(
        square_root, observed="errors", correction="miller_madow", pooled=True
    ),
    "ld-CMI, corrected": functools.partial(
        square_root, observed="differences", correction="miller_madow", pooled=True
    ),
    "e-CMI, binary kl": binary_kl,
    "e-CMI, fast rate": fast_rate,
    "e-CMI, sharpness": sharpness,
    "ld-CMI, interpolating": interpolating,
    "f-information, kl": functools.partial(f_information, divergence="kl"),
    "f-information, kl sum": functools.partial(f_information, divergence="kl_sum"),
    "f-information, Hellinger": functools.partial(f_information, divergence="hellinger"),
    "f-information, Jensen-Shannon": functools.partial(f_information, divergence="jensen_shannon"),
    "f-information, chi squared": functools.partial(f_information, divergence="chi_squared"),
    "f-information, tight": functools.partial(f_information, divergence="tight"),
}
"""Name -> function of outcomes that returns a bound of every supersample."""

ROUNDING = 1e-9
"""A bound is below the gap only by more than that."""

OF_WEIGHTS = float(np.sqrt(2 * LOG_2))
"""CMI of continuous weights: the masks can be read off them, so it is n log 2 and says 1.177."""


def per_supersample(found: Outcomes) -> pd.DataFrame:
    """Return every bound of every supersample.

    Bounds that need what is not the case (interpolating networks) are left out.

    Returns:
        Rows `bound`, `supersample`, `value` and `gap` (mean over masks).
    """
    gaps = np.nanmean(found.gap(), axis=1)
    rows = []
    for name, compute in BOUNDS.items():
        values = compute(found)
        if np.isfinite(values).all():
            rows += [(name, k, value, gaps[k]) for k, value in enumerate(values)]
    rows += [("CMI of the weights", k, OF_WEIGHTS, gap) for k, gap in enumerate(gaps)]
    return pd.DataFrame(rows, columns=["bound", "supersample", "value", "gap"])


def table(found: Outcomes, *, level: float = 0.95) -> pd.DataFrame:
    """Return every bound beside the gap.

    Args:
        found: outcomes of all runs.
        level: of Student's intervals over supersamples; NaN from one.

    Returns:
        Rows `bound`, `value`, `low`, `high`, `gap` (mean over supersamples and masks), `vacuous`
        (at least 1, or what guessing could not exceed), `holds` (at least the gap) and
        `mostly_bias` (half or more of the information is what masks that tell nothing would show;
        False for networks without training errors, where an outcome that masks of one side never
        show is told, not chance).
    """
    rows = []
    for name, own in per_supersample(found).groupby("bound", sort=False):
        values = own["value"].to_numpy()
        rows.append((name, values.mean(), *mean_interval(values, level)))
    frame = pd.DataFrame(rows, columns=["bound", "value", "low", "high"])
    gap = float(np.nanmean(found.gap(), axis=1).mean())
    return frame.assign(
        gap=gap,
        vacuous=frame["value"] >= 1,
        holds=frame["value"] >= gap - ROUNDING,
        mostly_bias=[_mostly_bias(found, name) for name in frame["bound"]],
    )


def _mostly_bias(found: Outcomes, bound: str) -> bool:
    if "corrected" in bound or bound == "CMI of the weights":
        return False
    observed = {"f-CMI": "predictions", "single loss": "first_error"}.get(
        bound, "errors" if bound.startswith("e-CMI") else "differences"
    )
    errs = np.nanmax(found.train_error(), axis=1) > 0
    if not errs.any():
        return False
    seen, left = (_information(found, observed, c)[errs].mean() for c in ("none", "shuffling"))
    return bool(left < 0.5 * seen)
