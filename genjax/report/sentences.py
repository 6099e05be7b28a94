"""Single sentences about single results, made by rule: the same numbers give the same words."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from genjax.metrics.practical import Bounds, Redundancy
from genjax.metrics.practical_grid import Axes
from genjax.metrics.tradeoff import TradeOff
from genjax.report.phrases import Write, bracket, bracketed, join, resolving, signed
from genjax.statistics.families import Comparison, Reach
from genjax.statistics.resampling import Interval

REDUNDANT = 0.99
"""Correlation from which on kappa is said to add nothing; 1 - .99^2 = 2 % of its variance."""

DISTINCT = 0.90
"""Correlation below which kappa is said to add something; 1 - .9^2 = 19 % of its variance."""

SIGNIFICANT = 0.05
WILCOXON_PAIRS = 6
"""Fewer pairs cannot give a two-sided p below .05 in Wilcoxon's test: 2 / 2^5 = .0625."""

_NAMES = {"ssim": "SSIM", "novel_share": "share of novel classes", "size": "size"}


def comparison_sentences(comparisons: Sequence[Comparison]) -> list[str]:
    """Say which family generalizes better, pair by pair; the best of all first, if there is one.

    Example:
        >>> gap = Interval(-0.1, -0.12, -0.08)
        >>> tests = (-9.0, 1e-4, 0.0, 8e-3)
        >>> won = Comparison(("cnn", "mlp"), (0.3, 0.4), gap, *tests, 8, True, "cnn")
        >>> comparison_sentences([won])[0].split(":")[0]
        'cnn generalizes better than mlp'
    """
    sentences = [_comparison_sentence(comparison) for comparison in comparisons]
    if len(comparisons) > 1:
        names = list(dict.fromkeys(name for c in comparisons for name in c.names))
        wins = {name: sum(c.winner == name for c in comparisons) for name in names}
        best = [name for name in names if wins[name] == len(names) - 1]
        lead = (
            f"{best[0]} generalizes best of {len(names)} families"
            if best
            else f"No one of {len(names)} families generalizes better than all others"
        )
        sentences.insert(
            0,
            f"{lead} ({len(comparisons)} comparisons by pairs, not corrected for their number).",
        )
    return sentences


def only_sentence(name: str, error: Interval) -> str:
    """Say that there is nothing to compare.

    Example:
        >>> only_sentence("mlp", Interval(0.25, 0.2, 0.3))
        'Only one family was measured: mlp, with a mean error of 0.250 [0.200, 0.300] over all \
cells.'
    """
    return (
        f"Only one family was measured: {name}, with a mean error of {bracketed(*error, _three)} "
        "over all cells."
    )


def reach_sentence(name: str, reach: Reach, axes: Axes) -> str:
    """Say how far robustness and novelty carry a family.

    Example:
        >>> import numpy as np
        >>> axes = Axes(np.array([1.0]), np.array([0.6, 0.75, 1.0]), np.array([0.0, 0.5]))
        >>> found = Reach(Interval(0.75, 0.75, 1.0), Interval(0.5, 0.0, 0.5), 0.5, "marginal")
        >>> reach_sentence("cnn", found, axes)  # doctest: +NORMALIZE_WHITESPACE
        'cnn stays within half of the error of guessing down to SSIM 0.75 [0.75, 1.00] and up to a
        share of 50% [0%, 50%] novel classes, the largest measured (averaged over the other axis).'
    """
    limit = "half of" if math.isclose(reach.limit, 0.5) else f"{reach.limit:.3g} of"
    other = {
        "marginal": "averaged over the other axis",
        "clean": "the other axis at its easiest value",
    }
    found = (_ssim_reach(reach.ssim, axes), _share_reach(reach.novel_share, axes))
    borne, failed = ([text for fits, text in found if fits is kind] for kind in (True, False))
    guessing = f"{limit} the error of guessing"
    if not borne:
        text = f"{name} exceeds {guessing} even {join(failed)}"
    else:
        text = f"{name} stays within {guessing} {join(borne)}"
        text += f"; it exceeds that even {join(failed)}" if failed else ""
    return f"{text} ({other[reach.condition]})."


def bounds_sentence(
    name: str, bounds: Bounds, intervals: Mapping[str, Interval] | None = None
) -> str:
    """Give the two bounds of Eq 5.

    Example:
        >>> bounds_sentence("CLIP", Bounds(0.279, 0.276))
        'At its trade-off point the generalization bound of CLIP is 0.279 and its diversity bound \
0.276 (Eq 5; lower is better).'
    """
    values = {key: Interval(value, math.nan, math.nan) for key, value in bounds._asdict().items()}
    found = {key: bracketed(*value, _three) for key, value in (intervals or values).items()}
    return (
        f"At its trade-off point the generalization bound of {name} is {found['generalization']} "
        f"and its diversity bound {found['diversity']} (Eq 5; lower is better)."
    )


def prior_sentence(
    name: str,
    point: TradeOff,
    prior: Mapping[str, float],
    point_intervals: Mapping[str, Interval] | None = None,
    prior_intervals: Mapping[str, Interval] | None = None,
) -> str:
    """Give the trade-off point and say how much of each coordinate is prior.

    A coordinate is mostly prior if the whole interval of its share is at one half or above, mostly
    data if it is at one half or below, and undecided between; without an interval the share itself
    decides. NaN: data and prior want the same.

    Example:
        >>> point = TradeOff(0.8, 0.3, 9.0, 0.0, True, {})
        >>> text = prior_sentence("mlp", point, {"ssim": 0.2, "novel_share": 0.9, "size": 0.6})
        >>> print(text)  # doctest: +NORMALIZE_WHITESPACE
        The trade-off point of mlp (Eq 4) is SSIM 0.80, share of novel classes 30% and size 9. What
        weights and penalty want without any data decides most of its share of novel classes (90%
        prior) and size (60% prior); the data decide most of its SSIM (20% prior).
    """
    points = point_intervals or {}
    where = []
    for axis, label in _NAMES.items():
        value = getattr(point, axis)
        interval = points.get(axis, Interval(value, math.nan, math.nan))
        where.append(f"{label} {bracketed(value, interval.low, interval.high, _WRITE[axis])}")
    first = f"The trade-off point of {name} (Eq 4) is {join(where)}."
    if not point.converged:
        first += " The solver did not converge there."
    groups: dict[str, list[str]] = {"prior": [], "data": [], "undecided": [], "same": []}
    for axis, label in _NAMES.items():
        share = prior[axis]
        interval = (prior_intervals or {}).get(axis, Interval(share, math.nan, math.nan))
        text = f"{label} ({bracketed(share, *interval[1:], _percent)} prior)"
        kind = _decided(share, interval)
        groups[kind].append(label if kind == "same" else text)
    forms = {
        "prior": "what weights and penalty want without any data decides most of its {}",
        "data": "the data decide most of its {}",
        "undecided": "whether data or prior decide its {} is open",
        "same": "data and prior want the same {}",
    }
    parts = [forms[kind].format(join(found)) for kind, found in groups.items() if found]
    return f"{first} {_capital('; '.join(parts))}."


def sensitivity_sentence(name: str, spread: pd.DataFrame) -> str:
    """Say how far the point moves under the choices that the paper leaves open.

    Example:
        >>> columns = ["setting", "ssim", "novel_share", "size", "solves", "converged"]
        >>> rows = [("penalty", 0.05, 0.1, 9.0, 6, 6), ("size_scale", 0.01, 0.2, 3.0, 2, 1)]
        >>> text = sensitivity_sentence("mlp", pd.DataFrame(rows, columns=columns))
        >>> print(text)  # doctest: +NORMALIZE_WHITESPACE
        Choices that the paper leaves open move the point of mlp by up to 0.05 in SSIM (penalty),
        0.20 in share of novel classes (size scale) and 9 in size (penalty); 1 of 8 solves did not
        converge.
    """
    moves = []
    for axis, label in _NAMES.items():
        at = int(spread[axis].to_numpy().argmax())
        move = float(spread[axis].to_numpy()[at])
        amount = _size(move) if axis == "size" else f"{move:.2f}"
        setting = str(spread["setting"].to_numpy()[at]).replace("_", " ")
        moves.append(f"{amount} in {label} ({setting})")
    solves = int(spread["solves"].to_numpy().sum())
    failed = solves - int(spread["converged"].to_numpy().sum())
    ending = f"; {failed} of {solves} solves did not converge" if failed else ""
    return (
        f"Choices that the paper leaves open move the point of {name} by up to "
        f"{join(moves)}{ending}."
    )


def kappa_sentence(name: str, redundancy: Redundancy) -> str:
    """Say whether kappa adds anything beyond the error.

    Example:
        >>> kappa_sentence("cnn", Redundancy(0.998, 0.21, 0.07)).split(":")[0]
        'For cnn kappa adds next to nothing to the error'
    """
    r = redundancy.correlation
    gaps = (
        f"the two differ by {redundancy.mean_gap:.3f} on average and {redundancy.max_gap:.3f} at "
        "most"
    )
    if math.isnan(r):
        return (
            f"For {name} nothing can be said about what kappa adds: error or kappa is the same in "
            f"all cells; {gaps}."
        )
    if r >= REDUNDANT:
        verdict = "adds next to nothing to the error"
    elif r >= DISTINCT:
        verdict = "adds little to the error"
    else:
        verdict = "says something that the error does not"
    return f"For {name} kappa {verdict}: over cells they correlate with r = {signed(r, 3)}; {gaps}."


def paper_sentences(protocols: pd.DataFrame) -> list[str]:
    """Say by how much the paper's choices change the error of each family, and by which one most.

    The largest step is looked for between neighbouring rungs from `paper` to `clean`.

    Example:
        >>> rows = [("cnn", "paper", "", 0.4, 0.1, 0.05, 0.15), ("cnn", "clean", "", 0.3, 0, 0, 0)]
        >>> columns = ["family", "protocol", "description", "error", "difference"]
        >>> columns += ["difference_low", "difference_high"]
        >>> paper_sentences(pd.DataFrame(rows, columns=columns))
        ["The paper's choices raise the mean error of cnn by 0.100 [0.050, 0.150]: 0.400 instead \
of 0.300."]
    """
    if not {"paper", "clean"} <= set(protocols["protocol"]):
        return []
    sentences = []
    for family, rows in protocols.groupby("family", sort=False):
        rows = rows.reset_index(drop=True)
        start, end = (int(rows.index[rows.protocol == name][0]) for name in ("paper", "clean"))
        first, last = rows.loc[start], rows.loc[end]
        gap = Interval(first.difference, first.difference_low, first.difference_high)
        errors = f"{first.error:.3f} instead of {last.error:.3f}"
        if math.isnan(gap.low):
            text = (
                f"The paper's choices change the mean error of {family} by "
                f"{signed(gap.value, 3)}, with too few seeds for an interval: {errors}"
            )
        elif gap.low <= 0 <= gap.high:
            text = (
                f"The paper's choices change the mean error of {family} by "
                f"{bracket(*gap)}, which may be nothing: {errors}"
            )
        else:
            verb = "raise" if gap.value > 0 else "lower"
            size = gap if gap.value > 0 else Interval(-gap.value, -gap.high, -gap.low)
            text = (
                f"The paper's choices {verb} the mean error of {family} by "
                f"{bracket(*size)}: {errors}"
            )
        sentences.append(text + _largest_step(rows, start, end) + ".")
    return sentences


def _comparison_sentence(comparison: Comparison) -> str:
    (a, b), (mean_a, mean_b) = comparison.names, comparison.means
    gap = bracket(*comparison.difference)
    tests = f"paired t-test {_p(comparison.t_pvalue)}, Wilcoxon {_p(comparison.wilcoxon_pvalue)}"
    shared = f"mean errors {mean_a:.3f} ({a}) and {mean_b:.3f} ({b}), {a} minus {b} {gap} over "
    if comparison.pairs == 1:
        return _one_pair(comparison, shared)
    shared += f"{comparison.pairs} paired seeds"
    if comparison.over_classes is not None:
        wide = comparison.over_classes
        digits = resolving(*wide[1:])
        shared += f" and [{digits(wide.low)}, {digits(wide.high)}] over seeds and classes"
    if comparison.excludes_zero:
        loser = b if comparison.winner == a else a
        text = (
            f"{comparison.winner} generalizes better than {loser}: {shared}; "
            f"{_intervals(comparison)} zero ({tests})."
        )
    else:
        text = (
            f"{a} and {b} cannot be told apart: {shared}; {_intervals(comparison)} zero ({tests})."
        )
    if comparison.over_classes is not None:
        text += (
            " Both intervals take the split into seen and novel classes and the images as given."
        )
    return text + _doubt(comparison)


def _one_pair(comparison: Comparison, shared: str) -> str:
    """Say what one network per size and family allows: an interval over classes."""
    a, b = comparison.names
    lead = f"{a} and {b} cannot be told apart"
    if comparison.excludes_zero:
        lead = f"{comparison.winner} generalizes better than {b if comparison.winner == a else a}"
    return (
        f"{lead}: {shared}classes, for these very networks; there is one per size, and nothing "
        "is known of other seeds."
    )


def _intervals(comparison: Comparison) -> str:
    """Say which intervals exclude zero, up to the word zero."""
    gap, wide = comparison.difference, comparison.over_classes
    seeds = gap.low > 0 or gap.high < 0
    if wide is None:
        return "the interval excludes" if seeds else "the interval includes"
    classes = wide.low > 0 or wide.high < 0
    if seeds == classes:
        return "both intervals exclude" if seeds else "both intervals include"
    if seeds:
        return "the first interval excludes, the second includes"
    return "the first interval includes, the second excludes"


def _doubt(comparison: Comparison) -> str:
    """Say it if the tests see it differently from the interval, or cannot see it at all."""
    if comparison.pairs < WILCOXON_PAIRS:
        return f" With {comparison.pairs} pairs Wilcoxon's test cannot reach p < {SIGNIFICANT}."
    found = [comparison.t_pvalue < SIGNIFICANT, comparison.wilcoxon_pvalue < SIGNIFICANT]
    over_seeds = comparison.difference.low > 0 or comparison.difference.high < 0
    if all(agrees == over_seeds for agrees in found):
        return ""
    return " Interval and tests do not agree: this is a borderline case."


def _ssim_reach(found: Interval, axes: Axes) -> tuple[bool, str]:
    """Say whether the easiest level is borne, and down to which level."""
    easiest = float(axes.ssim[-1])
    if math.isnan(found.value):
        return False, "on untouched images" if easiest == 1 else f"at SSIM {easiest:.2f}"
    lowest = math.isclose(float(found.value), float(axes.ssim[0]))
    ending = ", the lowest measured," if lowest else ""
    return True, f"down to SSIM {_borne(found, _two)}{ending}"


def _share_reach(found: Interval, axes: Axes) -> tuple[bool, str]:
    """Say whether the smallest share is borne, and up to which share."""
    smallest = float(axes.novel_share[0])
    if math.isnan(found.value):
        return False, "without novel classes" if smallest == 0 else f"at a share of {smallest:.0%}"
    largest = math.isclose(float(found.value), float(axes.novel_share[-1]))
    ending = ", the largest measured" if largest else ""
    return True, f"up to a share of {_borne(found, _percent)} novel classes{ending}"


def _borne(found: Interval, write: Write) -> str:
    """Write a level with its interval; an end that is NaN means that no level is borne there."""
    ends = ["none borne" if math.isnan(end) else write(end) for end in found[1:]]
    return f"{write(found.value)} [{', '.join(ends)}]"


def _decided(share: float, interval: Interval) -> str:
    if math.isnan(share):
        return "same"
    low, high = (share if math.isnan(end) else float(end) for end in interval[1:])
    if low >= 0.5:
        return "prior"
    return "data" if high <= 0.5 else "undecided"


def _largest_step(rows: pd.DataFrame, start: int, end: int) -> str:
    rungs = rows.loc[start:end]
    if len(rungs) < 3:
        return ""
    steps = rungs["error"].diff().iloc[1:]
    if steps.isna().all() or not steps.any():
        return ""
    at = int(steps.abs().idxmax())
    return (
        f"; on the way to the clean protocol the largest step, {signed(float(steps.loc[at]), 3)}, "
        f"comes with {rows.loc[at, 'description']}"
    )


def _size(value: Any) -> str:
    """Write a size with four significant digits, in any unit."""
    return f"{float(f'{value:.4g}'):,.0f}" if value >= 1000 else f"{value:.4g}"


def _two(value: Any) -> str:
    return signed(value, 2)


def _three(value: Any) -> str:
    return signed(value, 3)


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.2g}"


def _percent(value: Any) -> str:
    return f"{value:.0%}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


_WRITE: dict[str, Write] = {"ssim": _two, "novel_share": _percent, "size": _size}
