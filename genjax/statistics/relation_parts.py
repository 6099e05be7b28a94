"""The parts of `relations.relate`: columns of its table, one statistic at a time. Host float64."""

import itertools
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Int
from scipy import stats

from genjax.errors import InvalidInputError
from genjax.statistics import chance, correlation, partial, sign_error
from genjax.statistics.conditional_information import (
    ConditionalInformation,
    PairStatistics,
    pair_statistics,
    stratified_kendall,
)
from genjax.statistics.granulated import Granulated
from genjax.statistics.networks import MeasuredNetworks, complete_columns, group_means
from genjax.statistics.resampling import Interval, bootstrap_indices, percentile_interval
from genjax.statistics.robust_regression import level_environments, robust_regression
from genjax.statistics.sign_error_intervals import mean_intervals, percentile_intervals
from genjax.statistics.verdict import verdicts

Host = np.ndarray
Columns = dict[str, Host]

DRAWN = ("kendall", "spearman", "pearson", "partial_spearman")
BIAS_ONLY = "bias only"
WORST_CASE_COLUMNS = ("measure", "slope", "intercept", "robust_rmse", "worst_environment")
FOLDS = 5
MOST_BINS, FEWEST_IN_A_BIN = 64, 4
FEWEST_GROUPS = 4 * FOLDS
"""Configurations from which on residuals are cross-fitted: four in every fold."""


class Signs(NamedTuple):
    """What the environments say.

    Attributes:
        errors: of every environment.
        columns: of the table of relations.
        by_hyper: statistic -> interval, arrays [M, H].
    """

    errors: sign_error.SignErrors
    columns: Columns
    by_hyper: Mapping[str, Interval]


def with_ends(name: str, found: Interval) -> Columns:
    """Return a value and the ends of its interval as three columns."""
    ends = {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
    return {key: np.asarray(value) for key, value in ends.items()}


def correlations(
    networks: MeasuredNetworks,
    controls: Mapping[str, Host],
    multiplicities: Int[Host, "draw network"],
    level: float | int,
    seed: int,
) -> Columns:
    """Columns n, configurations, and every correlation, with intervals where they have some."""
    width = networks.measures.shape[1]
    design = partial.control_design(controls) if controls else None
    drawn = DRAWN if design is not None and design.shape[1] else DRAWN[:3]
    plain = {"sign_error": correlation.plain_sign_error, "concordance": correlation.concordance}
    names = [*(f"{n}{end}" for n in DRAWN for end in ("", "_low", "_high")), *plain]
    found = {name: np.full(width, np.nan) for name in (*names, "cross_fitted")}
    found |= {name: np.zeros(width, np.int64) for name in ("n", "configurations")}
    for rows, columns in complete_columns(networks.measures):
        target, values = networks.target[rows], networks.measures[np.ix_(rows, columns)]
        groups = networks.configurations[rows]
        units = len(np.unique(groups))
        found["n"][columns], found["configurations"][columns] = rows.sum(), units
        # The first sample is the table itself.
        samples = np.concatenate([np.ones((1, len(target)), np.int64), multiplicities[:, rows]])
        part = None if design is None else design[rows]
        draws = correlation.bootstrap(drawn, target, values, samples, design=part)
        for name in drawn:
            ends = percentile_interval(draws[name][1:], float(level), units=units)
            # A draw may have a value where the table has none; an interval around nothing is none.
            gap = np.isnan(draws[name][0])
            for end, value in zip(("", "_low", "_high"), (draws[name][0], *ends), strict=True):
                found[f"{name}{end}"][columns] = np.where(gap, np.nan, value)
        for name, statistic in plain.items():
            found[name][columns] = statistic(target, values)
        if drawn == DRAWN and units >= FEWEST_GROUPS:
            held = {name: column[rows] for name, column in controls.items()}
            found["cross_fitted"][columns] = partial.cross_fitted(
                target, values, held, groups, folds=FOLDS, seed=seed
            )
    return found


def pairs(
    networks: MeasuredNetworks,
    controls: Mapping[str, Host],
    multiplicities: Host,
    level: float | int,
    seed: int,
    dropped: list,
) -> PairStatistics:
    """Conditional information of networks, and stratified tau of configurations' means.

    Tau is of means, because pairs of seeds of one configuration share every hyper-parameter and
    would count as "what is left"; and because means are what permutations test. It is stratified by
    every hyper-parameter, and by the controls without levels in bins of about four.

    Where two hyper-parameters all but fix the configuration, conditional information compares
    seeds: then these are drawn, within their configuration, because whole configurations that come
    and go say nothing about the noise of seeds, nor about the bias that it brings.
    """
    if _settings_are_fixed(networks):
        draws = len(multiplicities)
        taken = bootstrap_indices(
            draws, len(networks.target), seed=seed, strata=networks.configurations
        )
        times = np.stack([np.bincount(row, minlength=len(networks.target)) for row in taken])
        alone = networks._replace(configurations=np.arange(len(networks.target)))
        found = _of_levels(alone, times, level, dropped)
    else:
        found = _of_levels(networks, multiplicities, level, dropped)
    means, first = _means(networks)
    columns = dict(zip(networks.hyper_names, networks.levels[first].T, strict=True))
    for name, column in controls.items():
        if name not in columns and column.dtype.kind == "f":
            columns[name] = _bins(column[first])
    # Each alone: two with many values have more joint levels than can be counted.
    within = [
        stratified_kendall(_with_levels(means, chosen), multiplicities=multiplicities[:, first])
        for chosen in [{}, *({name: codes} for name, codes in columns.items())]
    ]
    merged = within[0]._replace(
        value=np.concatenate([part.value for part in within], axis=1),
        pairs=np.concatenate([part.pairs for part in within], axis=1),
        draws=np.concatenate([part.draws for part in within], axis=2),
        hyper_names=tuple(name for part in within for name in part.hyper_names),
    )
    return found._replace(kendall=merged)


def _settings_are_fixed(networks: MeasuredNetworks) -> bool:
    """Whether the largest joint level of two hyper-parameters has fewer than two configurations."""
    count = int(networks.configurations.max()) + 1
    hypers = range(networks.levels.shape[1])
    joint = [
        len(np.unique(networks.levels[:, [a, b]], axis=0))
        for a, b in itertools.combinations(hypers, 2)
    ] or [len(np.unique(networks.levels[:, 0])) if len(hypers) else 0]
    return len(networks.target) > count and 2 * max(joint) > count


def _with_levels(networks: MeasuredNetworks, columns: Mapping[str, Host]) -> MeasuredNetworks:
    levels = np.zeros((len(networks.target), len(columns)), np.int64)
    for place, codes in enumerate(columns.values()):
        levels[:, place] = codes
    return networks._replace(
        levels=levels,
        hyper_names=tuple(columns),
        hyper_values=tuple(tuple(range(int(codes.max()) + 1)) for codes in levels.T),
    )


def _means(networks: MeasuredNetworks) -> tuple[MeasuredNetworks, Host]:
    """One row per configuration, with means over its seeds, and a network of each."""
    values = np.column_stack([networks.target, networks.measures])
    means, numbers = group_means(values, networks.configurations)
    first = np.unique(networks.configurations, return_index=True)[1]
    rows = networks._replace(
        measures=means[:, 1:],
        target=means[:, 0],
        levels=networks.levels[first],
        configurations=numbers,
        seeds=networks.seeds[first] * 0,
        continuous=networks.continuous[first],
    )
    return rows, first


def _bins(column: Host) -> Host:
    """Number up to 64 bins of equally many, four at least; equal values stay together."""
    count = min(MOST_BINS, max(len(column) // FEWEST_IN_A_BIN, 2))
    below = stats.rankdata(column, method="min") - 1
    return np.unique((below * count // len(column)).astype(np.int64), return_inverse=True)[
        1
    ].reshape(-1)


def _of_levels(
    networks: MeasuredNetworks, multiplicities: Host, level: float | int, dropped: list
) -> PairStatistics:
    """Statistics of pairs; given no hyper-parameter where these have too many values."""
    try:
        return pair_statistics(networks, multiplicities, level=float(level))
    except InvalidInputError as error:
        count = len(networks.target)
        dropped += [("statistic", name, count, str(error)) for name in ("cmi", "cmi_jiang")]
        bare = networks._replace(levels=networks.levels[:, :0], hyper_names=(), hyper_values=())
        found = pair_statistics(bare, multiplicities, level=float(level))
        return found._replace(pgdl=_nothing(found.pgdl), jiang=_nothing(found.jiang))


def _nothing(found: ConditionalInformation) -> ConditionalInformation:
    gap = np.full_like(found.value, np.nan)
    return found._replace(
        value=gap, corrected=gap, low=gap, high=gap, argmin=(None,) * len(found.argmin)
    )


def information(name: str, found: ConditionalInformation) -> Columns:
    """Columns of one version: published value, interval of the corrected one, smallest set."""
    argmin = [None if names is None else " & ".join(names) or "nothing" for names in found.argmin]
    return {
        **with_ends(name, Interval(found.value, found.low, found.high)),
        f"{name}_argmin": np.array(argmin, object),
        f"{name}_corrected": found.corrected,
    }


def signs(
    networks: MeasuredNetworks,
    test_examples: int | None,
    draws: int,
    level: float | int,
    seed: int,
    dropped: list,
) -> Signs:
    """Sign errors of all environments, their mean, 90th percentile and maximum."""
    hypers, width = networks.levels.shape[1], networks.measures.shape[1]
    weighting = None if test_examples is None else sign_error.HOEFFDING
    options = {"weighting": weighting, "test_examples": test_examples}
    try:
        errors = sign_error.sign_errors(networks, **options)
    except InvalidInputError as error:
        if not str(error).startswith("levels"):
            raise
        dropped.append(("statistic", "sign_error", len(networks.target), str(error)))
        bare = networks._replace(levels=networks.levels[:, :0])
        errors = sign_error.sign_errors(bare, **options)
    mean = mean_intervals(errors, hypers, level=float(level))
    high = percentile_intervals(errors, hypers, draws=draws, level=float(level), seed=seed)
    chosen = sign_error.environment_groups(errors, hypers)
    largest = np.full((1 + hypers, width), np.nan)
    for row, members in enumerate(chosen):
        known = np.where(np.isnan(errors.errors[members]), -np.inf, errors.errors[members])
        most = known.max(0, initial=-np.inf)
        largest[row] = np.where(np.isinf(most), np.nan, most)
    gap = np.full_like(largest, np.nan)
    every = {"mean": mean, "p90": high, "max": Interval(largest, gap, gap)}
    columns = {}
    for name in ("mean", "p90"):
        pooled = Interval(*(np.asarray(array)[0] for array in every[name]))
        columns |= with_ends(f"sign_error_{name}", pooled)
    by_hyper = {
        f"sign_error_{name}": Interval(*(np.asarray(array)[1:].T for array in found))
        for name, found in every.items()
    }
    return Signs(errors, {**columns, "sign_error_max": largest[0]}, by_hyper)


def p_value_columns(tests: chance.Permutations, width: int) -> Columns:
    """P-values of the measures; none for the references behind them."""
    gap = np.full(width - len(tests.p_values), np.nan)
    columns = {
        "statistic_of_means": tests.observed,
        "p_value": tests.p_values,
        "p_adjusted": chance.holm(tests.p_values),
        "q_value": chance.benjamini_hochberg(tests.p_values),
    }
    return {name: np.concatenate([values, gap]) for name, values in columns.items()}


def judge(
    frame: pd.DataFrame, found: PairStatistics, networks: MeasuredNetworks, level: float | int
) -> list[str]:
    """Verdicts of the measures, in the order of the frame."""
    count = len(frame)
    return verdicts(
        found.kendall.overall[:count],
        frame["p_adjusted"].to_numpy(np.float64),
        # Without pairs nothing is known; where the measure tells no pair apart, nothing is left.
        np.where(
            found.kendall.pairs[:count] > 0, np.nan_to_num(found.kendall.value[:count]), np.nan
        ),
        found.kendall.overall_draws[:, :count],
        found.kendall.draws[:, :count],
        found.kendall.hyper_names,
        level=float(level),
        units=int(networks.configurations.max()) + 1,
    )


def by_hyper(
    networks: MeasuredNetworks,
    along: Granulated,
    found: PairStatistics,
    errors: Signs,
    level: float | int,
) -> pd.DataFrame:
    """Long table of what every measure says about every hyper-parameter."""
    within, units = found.kendall, int(networks.configurations.max()) + 1
    statistics = {"granulated": (networks.hyper_names, along.by_hyper, along.lines)}
    ends = percentile_interval(within.draws, float(level), units=units)
    stratified = Interval(within.value, *ends)
    statistics["stratified"] = (within.hyper_names, stratified, within.pairs)
    environments = np.bincount(errors.errors.hyper, minlength=len(networks.hyper_names))
    counts = np.broadcast_to(environments, along.lines.shape)
    for name, interval in errors.by_hyper.items():
        statistics[name] = (networks.hyper_names, interval, counts)
    columns = ["measure", "hyper", "statistic", "value", "low", "high", "count"]
    rows = []
    for statistic, (hypers, interval, counted) in statistics.items():
        for h, hyper in enumerate(hypers):
            for m, measure in enumerate(networks.measure_names):
                values = (float(np.asarray(array)[m, h]) for array in interval)
                rows.append((measure, hyper, statistic, *values, int(counted[m, h])))
    return pd.DataFrame(rows, columns=columns)


def environment_table(found: sign_error.SignErrors, networks: MeasuredNetworks) -> pd.DataFrame:
    """One row per environment, a column per measure, as the published tables have it."""
    table = pd.DataFrame(
        {
            "hyperparameter": np.array([*networks.hyper_names, ""], object)[found.hyper],
            "source_config": found.source,
            "destination_config": found.destination,
            "weight_sum": found.weight_sum,
            "effective_sample_size": found.effective_sample_size,
        }
    )
    count = len(networks.measure_names)
    errors = pd.DataFrame(found.errors[:, :count], columns=list(networks.measure_names))
    return pd.concat([table, errors], axis=1)


def worst_case(networks: MeasuredNetworks) -> pd.DataFrame:
    """Affine fit of every measure with the smallest worst-environment error, a constant first.

    An environment is one value of one hyper-parameter; without hyper-parameters there are no rows.
    """
    members, codes = level_environments(networks)
    rows = []
    if codes[0, 0] >= 0:
        names = [
            f"{networks.hyper_names[h]} = {networks.hyper_values[h][value]}" for h, value in codes
        ]
        # A constant measure has slope 0: the baseline on all networks.
        measures = np.column_stack([np.zeros(len(networks.target)), networks.measures])
        fits = robust_regression(measures, networks.target, members)
        for m, name in enumerate((BIAS_ONLY, *networks.measure_names)):
            numbers = (fits.slope[m], fits.intercept[m], fits.robust_rmse[m])
            rows.append((name, *map(float, numbers), names[fits.worst_environment[m]]))
        rows[1:] = sorted(rows[1:], key=lambda row: row[3])
    return pd.DataFrame(rows, columns=list(WORST_CASE_COLUMNS))


def seeds_are_shared(networks: MeasuredNetworks, dropped: list) -> bool:
    """Whether some seed occurs in two configurations, so that lines can be paired by seed."""
    pairs = np.unique(np.stack([networks.seeds, networks.configurations]), axis=1)
    shared = len(np.unique(pairs[0])) < pairs.shape[1] or pairs.shape[1] < 2
    if not shared:
        reason = "no seed occurs in two configurations: lines hold all their networks"
        dropped.append(("statistic", "granulated", len(networks.target), reason))
    return shared
