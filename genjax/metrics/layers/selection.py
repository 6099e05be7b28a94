"""Which layer is best, how sure that is, and whether it can be known beforehand. Host float64.

Scores are arrays of layers by draws or by units. A unit is what varies independently: one network
with its seed and its own set of unseen classes. Larger scores are better throughout; negate others.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import stats

from genjax.errors import InvalidInputError

Host = np.ndarray


class Estimate(NamedTuple):
    """A number with its interval.

    Attributes:
        value: the estimate.
        low: lower end; NaN where there is nothing to estimate it from.
        high: upper end.
    """

    value: float
    low: float
    high: float


class BestLayer(NamedTuple):
    """Which layer of one architecture is best.

    Attributes:
        probability: P(layer is best), its share of the draws, ties shared, `[L]`.
        mean: mean score over units `[L]`.
        best: position of the highest mean, the first of equal ones.
        beyond_last: mean score of that layer minus that of the last one. Chosen and judged on the
            same data, so too high: see `nested`.
        last_is_best: probability of the last layer.
    """

    probability: Float[Host, " L"]
    mean: Float[Host, " L"]
    best: int
    beyond_last: Estimate
    last_is_best: float


class Nested(NamedTuple):
    """What choosing a layer on some unseen classes gains on others.

    Attributes:
        gain: score on the other classes of the chosen layer minus that of the last, mean over
            units, with its interval; free of the bias of a maximum.
        ceiling: the same of the layer that is best on the other classes: what could be gained.
        last_chosen: share of choices that fell on the last layer.
    """

    gain: Estimate
    ceiling: Estimate
    last_chosen: float


class Picked(NamedTuple):
    """How well another score picks the layer.

    Attributes:
        correlation: Spearman's rank correlation over the layers of a unit, mean over units.
        regret: score of the best layer minus that of the picked one, mean over units.
        regret_of_last: the same of always taking the last layer.
        regret_at_random: the same of a layer drawn at random.
        units: how many units had a value.
    """

    correlation: Estimate
    regret: Estimate
    regret_of_last: Estimate
    regret_at_random: Estimate
    units: int


def mean_interval(values: Float[Host, " unit"], level: float = 0.95) -> Estimate:
    """Return the mean over units with Student's interval; NaN entries are left out.

    Example:
        >>> mean_interval(np.array([1.0, 3.0])).value
        2.0
    """
    values = np.asarray(values, np.float64)
    values = values[np.isfinite(values)]
    if len(values) < 2:
        return Estimate(float(values.mean()) if len(values) else np.nan, np.nan, np.nan)
    mean, error = values.mean(), values.std(ddof=1) / len(values) ** 0.5
    reach = stats.t.ppf((1 + level) / 2, len(values) - 1) * error
    return Estimate(float(mean), float(mean - reach), float(mean + reach))


def resample(
    scores: Float[Host, "unit draw L"], *, draws: int = 2000, seed: int = 0
) -> Float[Host, "{draws} L"]:
    """Return mean scores of layers over resampled units, in each of which a draw is resampled too.

    Units carry seeds and sets of unseen classes; the draws within them examples and restarts of a
    clustering. A draw of one unit is taken for all of its layers together, so that what they share
    cancels in comparisons. Resampling both is slightly conservative, since the difference between
    units already holds the noise within them; one unit alone still has the interval of its draws.

    Args:
        scores: by unit, draw and layer.
        draws: how many to return.
        seed: of the resampling.

    Raises:
        InvalidInputError: no unit, draw or layer.

    Example:
        >>> resample(np.ones((3, 2, 4)), draws=5).shape
        (5, 4)
    """
    units, within, layers = scores.shape
    if not units or not within or not layers:
        raise InvalidInputError(
            f"scores: found {units} units, {within} draws and {layers} layers; at least one of "
            "each is needed."
        )
    rng = np.random.default_rng(seed)
    # A bootstrap of n units has (n - 1) / n of the variance that their mean has: made good here.
    stretch = (units / (units - 1)) ** 0.5 if units > 1 else 1.0
    unit = rng.integers(units, size=(draws, units))
    draw = rng.integers(within, size=(draws, units))
    means = scores[unit, draw].mean(axis=1)
    centre = means.mean(axis=0)
    return centre + stretch * (means - centre)


def best_layer(
    scores: Float[Host, "unit draw L"], *, draws: int = 2000, level: float = 0.95, seed: int = 0
) -> BestLayer:
    """Return the probability of every layer to be the best, and how far the best is from the last.

    The draws of every unit and layer are first moved to have the estimate as their mean: copies of
    examples, and restarts of a clustering beside its best one, shift layers differently.

    Args:
        scores: by unit, draw (the first is the estimate itself, the others resampled) and layer;
            larger is better. Layers with NaN are never best.
        draws: resamplings.
        level: of the interval.
        seed: of the resampling.

    Raises:
        InvalidInputError: no unit, draw or layer.

    Example:
        >>> found = best_layer(np.array([[[0.1, 0.9, 0.5]], [[0.2, 0.8, 0.6]]]))
        >>> found.best, found.probability.tolist()
        (1, [0.0, 1.0, 0.0])
    """
    scores = np.asarray(scores, np.float64)
    estimate, resampled = scores[:, :1], scores[:, 1:]
    if resampled.shape[1]:
        resampled = resampled + estimate - resampled.mean(axis=1, keepdims=True)
    else:
        resampled = estimate
    resampled = resample(resampled, draws=draws, seed=seed)
    mean = scores[:, 0].mean(axis=0)
    if not np.isfinite(mean).any():
        nothing = Estimate(np.nan, np.nan, np.nan)
        return BestLayer(np.full(len(mean), np.nan), mean, 0, nothing, np.nan)
    comparable = np.where(np.isfinite(resampled), resampled, -np.inf)
    top = comparable == comparable.max(axis=1, keepdims=True)
    probability = (top / top.sum(axis=1, keepdims=True)).mean(axis=0)
    best = int(np.nanargmax(mean))
    beyond = _around(mean[best] - mean[-1], resampled[:, best] - resampled[:, -1], level)
    return BestLayer(probability, mean, best, beyond, float(probability[-1]))


def _around(value: float, draws: Float[Host, " draw"], level: float) -> Estimate:
    """Return an estimate with the quantiles of the deviations of its draws from their mean.

    Deviations, because resampled examples contain copies, which shifts some scores as a whole.
    """
    deviations = draws - draws.mean()
    low, high = np.quantile(deviations, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(float(value), float(value + low), float(value + high))


def nested(
    choosing: Float[Host, "unit half L"],
    judging: Float[Host, "units halves layers"],
    *,
    level: float = 0.95,
) -> Nested:
    """Choose a layer on one half of the unseen classes, judge it on the other half.

    The mean over units of what is gained has no selection bias: the classes that judge had no part
    in the choice.

    Args:
        choosing: score of every layer on the classes that choose, by unit and halving.
        judging: on the other classes.
        level: of the intervals, over units.

    Raises:
        InvalidInputError: shapes that differ.

    Example:
        >>> scores = np.array([[[0.2, 0.9, 0.5]], [[0.3, 0.8, 0.6]]])
        >>> round(nested(scores, scores).gain.value, 3)
        0.3
    """
    choosing, judging = np.asarray(choosing, np.float64), np.asarray(judging, np.float64)
    if choosing.shape != judging.shape or choosing.ndim != 3:
        raise InvalidInputError(
            f"choosing and judging: found shapes {choosing.shape} and {judging.shape}; allowed is "
            "one shape [units, halves, layers]."
        )
    first = np.where(np.isfinite(choosing), choosing, -np.inf).argmax(axis=-1)
    chosen = np.take_along_axis(judging, first[..., None], axis=-1)[..., 0]
    last = judging[..., -1]
    ceiling = np.where(np.isfinite(judging), judging, -np.inf).max(axis=-1)
    return Nested(
        mean_interval((chosen - last).mean(axis=1), level),
        mean_interval((ceiling - last).mean(axis=1), level),
        float((first == choosing.shape[-1] - 1).mean()),
    )


def picking(
    selectors: list[Host],
    targets: list[Host],
    groups: list[int] | None = None,
    *,
    level: float = 0.95,
) -> Picked:
    """Say whether the layer that one score ranks highest is the one that another ranks highest.

    Units in which fewer than two layers have both values are left out. Regret is against the best
    of the layers that have a target.

    Args:
        selectors: a score of every layer, larger is better, one array per unit; units may have
            different numbers of layers. Say, collapse on seen classes, or a spectrum.
        targets: the score that counts, of the same layers.
        groups: of every unit, those that share a draw of unseen classes; their mean counts as one.
            None takes every unit as independent.
        level: of the intervals, over groups.

    Raises:
        InvalidInputError: numbers of units or of layers that differ.

    Example:
        >>> found = picking([np.array([1.0, 2.0, 3.0])], [np.array([0.1, 0.4, 0.3])])
        >>> round(found.regret.value, 3), round(found.correlation.value, 3)
        (0.1, 0.5)
    """
    if [len(s) for s in selectors] != [len(t) for t in targets]:
        raise InvalidInputError(
            f"selectors: found layers {[len(s) for s in selectors]}, targets "
            f"{[len(t) for t in targets]}; both need the same units and layers."
        )
    owners = np.arange(len(selectors)) if groups is None else np.asarray(groups)
    rows = np.array(
        [_picked(np.asarray(s), np.asarray(t)) for s, t in zip(selectors, targets, strict=True)]
    ).reshape(-1, 4)
    found = [mean_over_groups(column, owners, level) for column in rows.T]
    return Picked(*found, units=int(np.isfinite(rows[:, 1]).sum()))


def mean_over_groups(values: Host, groups: Host, level: float = 0.95) -> Estimate:
    """Return the mean of group means with Student's interval over groups; NaN is left out.

    Units of one group are not independent; groups are.

    Example:
        >>> mean_over_groups(np.array([1.0, 3.0, 6.0]), np.array([0, 0, 1])).value
        4.0
    """
    values, groups = np.asarray(values, np.float64), np.asarray(groups)
    known = np.isfinite(values)
    means = [values[known & (groups == group)].mean() for group in np.unique(groups[known])]
    return mean_interval(np.array(means), level)


def _picked(selector: Host, target: Host) -> tuple[float, float, float, float]:
    known, judged = np.isfinite(selector), np.isfinite(target)
    both = known & judged
    if both.sum() < 2 or not judged[-1]:
        return np.nan, np.nan, np.nan, np.nan
    best, last, mean = target[judged].max(), target[-1], target[judged].mean()
    selector, target = selector[both], target[both]
    varies = np.ptp(selector) > 0 and np.ptp(target) > 0
    # Of two layers a rank correlation is +1 or -1 whatever they are.
    rho = np.nan
    if varies and len(target) > 2:
        rho = np.corrcoef(stats.rankdata(selector), stats.rankdata(target))[0, 1]
    # The mean over equal selectors, so that their order in the network decides nothing.
    chosen = target[selector == selector.max()].mean()
    return float(rho), float(best - chosen), float(best - last), float(best - mean)
