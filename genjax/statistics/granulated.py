"""Granulated Kendall coefficients: one hyper-parameter varies, the others are held. Float64."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import stats

from genjax.errors import InvalidInputError, suggest
from genjax.statistics.dyadic import (
    PairMean,
    axis_lines,
    combine,
    interval,
    joint_codes,
    pairs_within,
    sharing,
)
from genjax.statistics.networks import MeasuredNetworks, complete_columns, everything_set
from genjax.statistics.resampling import Interval

Host = np.ndarray
FORMS = ("a", "b")
SEEDS = ("paired", "pooled")
MOST_PAIRS = 1_000_000  # along one hyper-parameter; beyond, lines are sorted and have no interval
BLOCK = 4_000_000  # pairs times measures that are worked on at once


class Granulated(NamedTuple):
    """Granulated Kendall coefficients of all measures.

    Attributes:
        value: Psi, mean over the hyper-parameters that have lines; NaN if none has.
        low: lower end of its interval; NaN where there is none.
        high: upper end.
        by_hyper: psi_i with its interval, arrays [M, H]; NaN for a hyper-parameter without lines.
        lines: number of lines behind every psi_i.
    """

    value: Float[Host, " measure"]
    low: Float[Host, " measure"]
    high: Float[Host, " measure"]
    by_hyper: Interval
    lines: Int[Host, "measure hyper"]


class _Axis(NamedTuple):
    """The pairs of networks on the lines of one hyper-parameter, line after line."""

    first: Host  # network [P]
    second: Host
    line: Host  # [P]
    starts: Host  # first pair of every line [L]
    sizes: Host  # pairs of every line [L]
    configurations: tuple[Host, Host]  # of the first and second network [P]
    unlisted: tuple[Host, Host] | None  # networks and their lines where there are too many pairs


def granulated_tau(
    networks: MeasuredNetworks, *, seeds: str = "paired", form: str = "b", level: float = 0.95
) -> Granulated:
    """Granulated Kendall coefficients of Jiang et al. (2020), with intervals.

    psi_i = mean over lines of Kendall's tau(measure, target) along the line and Psi = mean_i psi_i.
    A line holds the networks that share all hyper-parameters but the i-th and has at least two
    values of the i-th. Networks without a value of a measure are left out for that measure.

    The intervals are value +- t sqrt(V), clipped to [-1, 1], from `dyadic.interval`: a variance
    robust to shared configurations, over the pairs of networks on the lines (linearised for tau-b).
    Over whole lines it would miss much of the dependence, because in small grids every line crosses
    many others. Simulated coverage of 95 % intervals on grids of 12 to 81 configurations with 1 or
    4 seeds: 91 to 98 %; 90 % for pooled seeds that do not differ; up to 99 % where expected values
    differ between lines. Where nearly all pairs agree the interval is too short, and where all
    do it is the value itself.

    Args:
        networks: any number.
        seeds: "paired": a line holds one seed, as in the paper (networks of one configuration that
            share a seed share a line); "pooled": a line holds all seeds.
        form: "b": tau-b; a measure that is constant along a line counts 0, lines with a constant
            target are left out. "a": the paper's; ties count 0 in the mean over all pairs.
        level: nominal coverage.

    Returns:
        Values between -1 and 1. An interval is NaN where all pairs share configurations, such as
        psi_i of a single line of three, or where a hyper-parameter has more than a million pairs.

    Raises:
        InvalidInputError: `seeds` or `form` is unknown, or the level is not between 0 and 1.

    References:
        Jiang et al., Fantastic generalization measures and where to find them, ICLR (2020).

    Example:
        >>> import numpy as np
        >>> from genjax.statistics.networks import from_arrays
        >>> levels = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
        >>> measure = np.array([[1.0], [2.0], [3.0], [3.0]])
        >>> result = granulated_tau(from_arrays(measure, np.arange(4.0), levels))
        >>> result.value.tolist(), result.by_hyper.value.tolist(), result.lines.tolist()
        ([0.75], [[1.0, 0.5]], [[2, 2]])
    """
    for name, found, allowed in (("seeds", seeds, SEEDS), ("form", form, FORMS)):
        if found not in allowed:
            raise InvalidInputError(suggest(name, found, allowed))
    if not 0 < level < 1:
        raise InvalidInputError(f"level: found {level}; it must be between 0 and 1.")
    count, hypers = networks.measures.shape[1], networks.levels.shape[1]
    overall = np.full((3, count), np.nan)
    by_hyper = np.full((3, count, hypers), np.nan)
    lines = np.zeros((count, hypers), np.int64)
    for rows, columns in complete_columns(networks.measures):
        which = [_axis(networks, rows, axis, seeds == "paired", form) for axis in range(hypers)]
        axes = {hyper: axis for hyper, axis in enumerate(which) if len(axis.starts)}
        if not axes:
            continue
        shared = [sharing(*axis.configurations) for axis in axes.values()]
        ends = np.concatenate([axis.configurations for axis in axes.values()], axis=1)
        all_shared, shares = sharing(*ends), np.full((len(axes), 1), 1 / len(axes))
        chunks = -(-len(columns) * ends.shape[1] // BLOCK)
        for some in np.array_split(columns, min(chunks, len(columns))):
            means = [_psi(axis, networks, some, form) for axis in axes.values()]
            for hyper, mean, one in zip(axes, means, shared, strict=True):
                lines[some, hyper] = len(axes[hyper].starts)
                by_hyper[:, some, hyper] = mean.value, *interval(mean, one, level, (-1.0, 1.0))
            psi = combine(means, shares, shared)
            overall[:, some] = psi.value, *interval(psi, all_shared, level, (-1.0, 1.0))
    return Granulated(overall[0], overall[1], overall[2], Interval(*by_hyper), lines)


def _axis(networks: MeasuredNetworks, rows: Host, axis: int, paired: bool, form: str) -> _Axis:
    chosen = np.flatnonzero(rows)
    levels = everything_set(networks)[chosen]
    line = axis_lines(levels, axis)
    if paired:
        line = joint_codes(line, networks.seeds[chosen])
    counts = _varies(line, levels[:, axis])
    if form == "b":
        counts &= _varies(line, networks.target[chosen])
    chosen, line = chosen[counts[line]], line[counts[line]]
    line = np.unique(line, return_inverse=True)[1].reshape(-1)
    members = np.bincount(line)
    sizes = members * (members - 1) // 2
    starts = np.cumsum(sizes) - sizes
    if sizes.sum() > MOST_PAIRS:
        nothing, node = np.zeros(0, np.int64), np.zeros(1, np.int64)
        return _Axis(nothing, nothing, nothing, starts, sizes, (node, node), (chosen, line))
    first, second = (chosen[ends] for ends in pairs_within(line))
    of_pair = np.repeat(np.arange(len(sizes)), sizes)
    configurations = networks.configurations[first], networks.configurations[second]
    return _Axis(first, second, of_pair, starts, sizes, configurations, None)


def _varies(line: Host, values: Host) -> Bool[Host, " line"]:
    """Whether a value varies along each line."""
    order = np.argsort(line, kind="stable")
    counts = np.bincount(line)
    starts = np.cumsum(counts) - counts
    if not len(line):
        return np.zeros(0, bool)
    least = np.minimum.reduceat(values[order], starts)
    return np.maximum.reduceat(values[order], starts) > least


def _sign(first: Host, second: Host) -> Host:
    # Comparisons cannot overflow, differences can.
    return (first > second).astype(np.int8) - (first < second).astype(np.int8)


def _psi(axis: _Axis, networks: MeasuredNetworks, columns: Host, form: str) -> PairMean:
    """Mean tau of the lines, and what each pair contributes to its error."""
    values, target = networks.measures[:, columns], networks.target
    if axis.unlisted is not None:
        psi = _sorted_tau(*axis.unlisted, target, values, form).mean(0)
        return PairMean(psi, np.full((1, len(columns)), np.nan), np.ones((1, 1)))
    move = _sign(values[axis.first], values[axis.second])
    target_move = _sign(target[axis.first], target[axis.second])[:, None]
    agree = move * target_move
    weights = (1 / (len(axis.sizes) * axis.sizes))[axis.line, None]
    total = np.add.reduceat(agree, axis.starts, dtype=np.int64)
    if form == "a" or (move.all() and target_move.all()):
        psi = (total / axis.sizes[:, None]).mean(0)
        return PairMean(psi, weights * (agree - psi), weights)
    # tau-b = S / sqrt(T U): S agreeing minus disagreeing pairs, T and U those that are not tied.
    # Its error is that of S / sqrt(T U) less tau / 2 times those of T / T and U / U.
    moves = np.add.reduceat(move != 0, axis.starts, dtype=np.int64)
    moves = np.maximum(moves, 1)  # without any, S and tau are 0
    target_moves = np.add.reduceat(target_move != 0, axis.starts, dtype=np.int64)
    scale = np.sqrt(moves * target_moves.astype(np.float64))
    tau = total / scale
    psi, line = tau.mean(0), axis.line
    ties = (move != 0) / moves[line] + (target_move != 0) / target_moves[line]
    residuals = (agree / scale[line] - tau[line] / 2 * ties) / len(tau)
    return PairMean(psi, residuals + weights * (tau - psi)[line], weights)


def _sorted_tau(
    rows: Host, line: Host, target: Host, values: Host, form: str
) -> Float[Host, "line measure"]:
    """Kendall's tau of long lines by sorting; scipy has no call for many at once."""
    tau = np.zeros((int(line.max()) + 1, values.shape[1]))
    for number, column in np.ndindex(*tau.shape):
        members = rows[line == number]
        x, y = values[members, column], target[members]
        moves, target_moves = _moves(x), _moves(y)
        if moves and target_moves:
            tau[number, column] = np.asarray(stats.kendalltau(x, y))[0]
            if form == "a":
                pairs = len(x) * (len(x) - 1) / 2
                tau[number, column] *= np.sqrt(moves) * np.sqrt(target_moves) / pairs
    return tau


def _moves(values: Host) -> int:
    """Pairs that are not tied."""
    counts = np.unique(values, return_counts=True)[1]
    return (len(values) * (len(values) - 1) - int((counts * (counts - 1)).sum())) // 2
