"""Comparing two families of networks, and saying how far one carries. Host float64."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float
from scipy import stats

from genjax.errors import InvalidInputError, suggest
from genjax.metrics.practical import chance_corrected_error
from genjax.metrics.practical_grid import Axes, check_axes
from genjax.statistics.practical import PerClass, check_per_class
from genjax.statistics.resampling import (
    FACTORS,
    Interval,
    bootstrap_indices,
    percentile_interval,
    plan_draws,
)

Host = np.ndarray
INDISTINGUISHABLE = "indistinguishable"
CONDITIONS = ("marginal", "clean")


class Comparison(NamedTuple):
    """Two families, paired by seed; lower values are better.

    Attributes:
        names: the families a and b.
        means: mean of each over the pairs.
        difference: mean of a - b with its interval.
        t_statistic: paired t-test.
        t_pvalue: two-sided.
        wilcoxon_statistic: Wilcoxon's signed-rank test.
        wilcoxon_pvalue: two-sided.
        pairs: seeds that have a value in both families.
        excludes_zero: whether the interval of the difference excludes zero, and the one over
            seeds and classes too where it is given.
        winner: the family with the lower mean if `excludes_zero`, else "indistinguishable".
        over_classes: the difference with an interval over seeds and classes; None if not given.
    """

    names: tuple[str, str]
    means: tuple[float, float]
    difference: Interval
    t_statistic: float
    t_pvalue: float
    wilcoxon_statistic: float
    wilcoxon_pvalue: float
    pairs: int
    excludes_zero: bool
    winner: str
    over_classes: Interval | None = None


class Reach(NamedTuple):
    """How far robustness and novelty carry a family.

    Attributes:
        ssim: lowest SSIM level borne; NaN, in the value or at an end: not even the untouched
            images are.
        novel_share: largest share of novel classes borne; NaN likewise: not even the smallest is.
        limit: the largest chance-corrected error that counts as borne.
        condition: "marginal" or "clean".
    """

    ssim: Interval
    novel_share: Interval
    limit: float
    condition: str


def seed_means(values: PerClass) -> Float[Host, " seed"]:
    """Grand mean of each seed over sizes, levels, shares and classes, equal weight per cell.

    Returns:
        `[R]`; NaN for a seed of which any network failed (its mean would miss a size).

    Example:
        >>> import numpy as np
        >>> seed_means(np.full((2, 3, 2, 2, 4), 0.25)).tolist()
        [0.25, 0.25, 0.25]
    """
    return _class_means(np.asarray(values, np.float64)).mean((0, 2, 3))


def compare_families(
    a: Float[Array | Host, "..."],
    b: Float[Array | Host, "..."],
    *,
    names: tuple[str, str] = ("a", "b"),
    over_classes: Interval | None = None,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> Comparison:
    """Compare two families by one number per seed, paired, lower is better.

    Paired t-test and Wilcoxon's signed-rank test (scipy), and the mean difference with a bootstrap
    interval over the pairs, which decides the winner. The percentile interval is stretched about
    the mean by `sqrt(n / (n - 1)) t_{n-1} / z`, as small samples need (without it two pairs of
    equal sign would already be a win).

    Args:
        a: one value per seed `[R]`, such as `seed_means` gives; NaN where the seed failed.
        b: the same of the other family, seed by seed.
        names: what to call them.
        over_classes: from `difference_over_classes`; a winner must win over both.
        level: nominal coverage of the interval.
        draws: bootstrap draws.
        seed: seed of the draws.

    Raises:
        InvalidInputError: lengths differ, or fewer than two seeds have a value in both.

    Example:
        >>> import numpy as np
        >>> a = np.array([0.30, 0.31, 0.29, 0.30])
        >>> compare_families(a, a + np.array([0.1, 0.12, 0.11, 0.1]), names=("cnn", "mlp")).winner
        'cnn'
    """
    first, second = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if first.ndim != 1 or first.shape != second.shape:
        raise InvalidInputError(
            f"b: found shape {second.shape}; families are compared seed by seed, a has "
            f"{first.shape}."
        )
    both = np.isfinite(first) & np.isfinite(second)
    if both.sum() < 2:
        raise InvalidInputError(
            f"a, b: found {int(both.sum())} seeds with a value in both; at least 2 are needed."
        )
    first, second = first[both], second[both]
    gaps = first - second
    difference = mean_interval(gaps, draws=draws, seed=seed, level=level)
    excludes = _excludes_zero(difference)
    if over_classes is not None:
        excludes = excludes and _excludes_zero(over_classes)
    better = names[0] if difference.value < 0 else names[1]
    return Comparison(
        names,
        (float(first.mean()), float(second.mean())),
        difference,
        *_paired_tests(gaps),
        pairs=len(gaps),
        excludes_zero=excludes,
        winner=better if excludes else INDISTINGUISHABLE,
        over_classes=over_classes,
    )


def mean_interval(
    values: Float[Host, " seed"], *, draws: int = 2000, seed: int = 0, level: float = 0.95
) -> Interval:
    """Mean over seeds with a bootstrap interval stretched for small samples.

    Args:
        values: one finite value per seed `[R]`, at least two.
        draws: bootstrap draws.
        seed: seed of the draws.
        level: nominal coverage.

    Example:
        >>> import numpy as np
        >>> found = mean_interval(np.array([0.1, 0.2, 0.3]))
        >>> round(found.value, 6), found.low < 0.1 < 0.3 < found.high
        (0.2, True)
    """
    indices = bootstrap_indices(draws, len(values), seed=seed)
    low, high = percentile_interval(values[indices].mean(1), level)
    mean, stretch = float(values.mean()), _student_stretch(len(values), level)
    ends = (mean + stretch * (float(end) - mean) for end in (low, high))
    return Interval(mean, *ends)


def difference_over_classes(
    a: PerClass, b: PerClass, *, draws: int = 1000, seed: int = 0, level: float = 0.95
) -> Interval:
    """Difference of two families' grand means with an interval over seeds and classes.

    A draw takes the same seeds and the same classes of both families: what one set of classes
    favours by chance then shows as width. Expanded percentiles, as in `percentile_interval`.

    Args:
        a: per-class errors `[S, R, L, Z, C]`, NaN = does not count.
        b: the same of the other family; the number of sizes may differ.
        draws: bootstrap draws.
        seed: seed of the draws.
        level: nominal coverage.

    Raises:
        InvalidInputError: seeds, levels, shares or classes of the two differ.

    Example:
        >>> import numpy as np
        >>> a = np.random.default_rng(0).random((2, 6, 3, 2, 5)) / 10
        >>> difference_over_classes(a, a + 0.3, draws=50).high < -0.25
        True
    """
    first, second = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if first.shape[1:] != second.shape[1:]:
        raise InvalidInputError(
            f"b: found shape {second.shape[1:]} behind the sizes; a has {first.shape[1:]}."
        )
    plan = plan_draws(np.concatenate([first, second]), draws, seed=seed)

    def mean(values: Host, taken: Host, classes: Host) -> float:
        means = _class_means(values[..., classes])
        weight = np.einsum("srlz,r->slz", ~np.isnan(means), taken)
        summed = np.einsum("srlz,r->slz", np.nan_to_num(means), taken)
        return float(np.mean(summed[weight > 0] / weight[weight > 0]))

    def gap(taken: Host, classes: Host) -> float:
        return mean(first, taken, classes) - mean(second, taken, classes)

    value = gap(np.ones(first.shape[1]), np.arange(first.shape[-1]))
    drawn = np.array([gap(*pair) for pair in zip(plan.seeds, plan.classes, strict=True)])
    low, high = percentile_interval(drawn, level, units=plan.units)
    return Interval(value, float(low), float(high))


def _excludes_zero(interval: Interval) -> bool:
    return bool(interval.low > 0 or interval.high < 0)


def reach(
    error: PerClass,
    axes: Axes,
    *,
    limit: float = 0.5,
    num_labels: int | None = None,
    condition: str = "marginal",
    interpolate: bool = False,
    draws: int = 200,
    seed: int = 0,
    level: float = 0.95,
    resample: tuple[str, ...] = FACTORS,
) -> Reach:
    """Find the lowest SSIM and the largest share of novel classes that a family bears.

    Borne is a level at which, and at all easier levels, the chance-corrected error
    error * C / (C - 1) stays at or below `limit`. The default, 0.5, is half of the error of
    guessing: nearer to perfect than to chance, whatever the number of labels. Errors are means over
    classes, networks and sizes.

    Args:
        error: per-class errors `[S, R, L, Z, C]`, NaN = does not count.
        axes: coordinates.
        limit: largest chance-corrected error; for twice the clean error pass that number.
        num_labels: labels to choose from. None: the classes that count at each share (a growing
            label space); give the number if the label space is fixed.
        condition: what happens on the other axis: "marginal" averages over it, "clean" takes its
            easiest value (untouched images; the smallest share of novel classes).
        interpolate: False gives a level that was measured, True the crossing of the straight line
            between the last level borne and the first that is not.
        draws: bootstrap draws over seeds and classes.
        seed: seed of the draws.
        level: nominal coverage.
        resample: "seeds", "classes" or both.

    Raises:
        InvalidInputError: shapes do not fit, the condition is unknown, or there are fewer than two
            labels.
        DivergenceError: every network of a size failed.

    Example:
        >>> import numpy as np
        >>> axes = Axes(np.array([1e3]), np.array([0.6, 0.8, 1.0]), np.array([0.0, 0.5]))
        >>> error = np.zeros((1, 4, 3, 2, 4)) + np.array([0.9, 0.3, 0.1])[:, None, None]
        >>> reach(error, axes, draws=20, condition="clean").ssim.value
        0.8
    """
    if condition not in CONDITIONS:
        raise InvalidInputError(suggest("condition", condition, CONDITIONS))
    axes, values = check_axes(axes), np.asarray(error, np.float64)
    check_per_class("error", values, axes)
    labels = (~np.isnan(values)).sum(-1).max((0, 1, 2)) if num_labels is None else num_labels

    def ends(per_class: Host, taken: Host) -> list[float]:
        profiles = _profiles(per_class, taken, labels, condition)
        easy_first = ((axes.ssim[::-1], profiles[0][::-1]), (axes.novel_share, profiles[1]))
        return [_last_borne(x, y, limit, interpolate) for x, y in easy_first]

    value = np.array(ends(values, np.ones(values.shape[1])))
    plan = plan_draws(values, draws, seed=seed, resample=resample)
    pairs = zip(plan.seeds, plan.classes, strict=True)
    drawn = np.array([ends(values[..., classes], taken) for taken, classes in pairs])
    # "Not even the easiest" lies beyond the easy end of its axis: infinite while it is ordered.
    beyond = np.array([np.inf, -np.inf])
    drawn = np.where(np.isnan(drawn), np.broadcast_to(beyond, drawn.shape), drawn)
    low, high = percentile_interval(drawn, level, units=plan.units, method="inverted_cdf")
    rows = np.stack([value, low, high])
    rows[np.isinf(rows)] = np.nan
    ssim, share = (Interval(*(float(v) for v in rows[:, k])) for k in range(2))
    return Reach(ssim, share, float(limit), condition)


def _class_means(values: Host) -> Host:
    """Mean over classes [S, R, L, Z], NaN where none counts."""
    known = ~np.isnan(values)
    count = known.sum(-1)
    means = np.where(known, values, 0).sum(-1) / np.maximum(count, 1)
    return np.where(count > 0, means, np.nan)


def _profiles(values: Host, taken: Host, labels, condition: str) -> tuple[Host, Host]:
    """Chance-corrected error over SSIM levels [L] and over novel shares [Z]."""
    means = _class_means(values)
    weight = np.einsum("srlz,r->slz", ~np.isnan(means), taken)
    summed = np.einsum("srlz,r->slz", np.nan_to_num(means), taken)
    # A size whose networks all failed in this draw is left to the other sizes.
    cells = np.where(weight > 0, summed / np.where(weight > 0, weight, 1), 0).sum(0)
    cells = cells / np.maximum((weight > 0).sum(0), 1)
    cells = np.asarray(chance_corrected_error(cells, np.broadcast_to(labels, cells.shape)))
    cells = np.where((weight > 0).any(0), cells, np.nan)
    if condition == "clean":
        return cells[:, 0], cells[-1, :]
    return cells.mean(1), cells.mean(0)


def _last_borne(values: Host, errors: Host, limit: float, interpolate: bool) -> float:
    """Last of the values, from easy to hard, up to which every error is within the limit."""
    borne = errors <= limit
    count = len(borne) if borne.all() else int(np.argmin(borne))
    if count == 0:
        return float("nan")
    if count == len(borne) or not interpolate:
        return float(values[count - 1])
    (x0, x1), (y0, y1) = values[count - 1 : count + 1], errors[count - 1 : count + 1]
    return float(x0 + (x1 - x0) * (limit - y0) / (y1 - y0))


def _student_stretch(pairs: int, level: float) -> float:
    """Ratio of Student's interval with the unbiased variance to the normal one without."""
    student, normal = stats.t.ppf((1 + level) / 2, pairs - 1), stats.norm.ppf((1 + level) / 2)
    return float(np.sqrt(pairs / (pairs - 1)) * student / normal)


def _paired_tests(gaps: Host) -> tuple[float, float, float, float]:
    """Statistic and p-value of the paired t-test and of Wilcoxon's signed-rank test."""
    if not gaps.any():  # equal everywhere: nothing to test, scipy would give NaN
        return 0.0, 1.0, 0.0, 1.0
    if np.ptp(gaps) == 0:
        t, p = float(np.copysign(np.inf, gaps[0])), 0.0
    else:
        t, p = (float(v) for v in np.asarray(stats.ttest_1samp(gaps, 0.0), np.float64))
    statistic, pvalue = (float(v) for v in np.asarray(stats.wilcoxon(gaps), np.float64))
    return t, p, statistic, pvalue
