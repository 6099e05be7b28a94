"""Which measure predicts the target: every statistic of the literature, in one call."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from genjax.errors import InvalidInputError
from genjax.statistics import chance, combination
from genjax.statistics import relation_parts as parts
from genjax.statistics.granulated import granulated_tau
from genjax.statistics.networks import MeasuredNetworks, configuration_draws
from genjax.statistics.resampling import Interval
from genjax.statistics.tables import DROPPED_COLUMNS, measured_networks
from genjax.statistics.verdict import ANTI_PREDICTS, CHANCE, PREDICTS, THROUGH

__all__ = [
    "ANTI_PREDICTS",
    "CHANCE",
    "COLUMNS",
    "PREDICTS",
    "THROUGH",
    "Chance",
    "Relations",
    "relate",
]

Host = np.ndarray
Progress = Callable[[int, int, str], None]

STAGES = ("correlations", "pairs of networks", "environments", "chance", "regressions")


def _ends(name: str) -> tuple[str, str, str]:
    return name, f"{name}_low", f"{name}_high"


COLUMNS = (
    *("measure", "n", "configurations"),
    *(*_ends("kendall"), *_ends("spearman"), *_ends("pearson"), *_ends("granulated")),
    *(*_ends("cmi"), "cmi_argmin", "cmi_corrected"),
    *(*_ends("cmi_jiang"), "cmi_jiang_argmin", "cmi_jiang_corrected"),
    *(*_ends("sign_error_mean"), *_ends("sign_error_p90"), "sign_error_max"),
    *("sign_error", "concordance", *_ends("partial_spearman"), "cross_fitted"),
    *("statistic_of_means", "p_value", "p_adjusted", "q_value", "verdict"),
)
"""Columns of `Relations.table`; `_low` and `_high` are the ends of intervals."""


class Chance(NamedTuple):
    """What the best of all measures reaches by chance alone.

    Attributes:
        statistic: "kendall" or "spearman": what was permuted.
        best: largest absolute value over all measures, one per permutation.
        permutations: how many permutations there are behind it.
        exact: whether these are all there are.
    """

    statistic: str
    best: Float[Host, " permutation"]
    permutations: int
    exact: bool


class Relations(NamedTuple):
    """How every measure relates to the target.

    Attributes:
        table: one row per measure, in the order of |kendall|; columns `measure, n, kendall,
            kendall_low, kendall_high, spearman ..., verdict` (see `COLUMNS`).
        by_hyper: long: columns `measure, hyper, statistic, value, low, high, count`; statistics
            are "granulated" (psi_i), "stratified" (Kendall's tau among networks that share the
            hyper-parameter's value), "sign_error_mean", "sign_error_p90" and "sign_error_max".
        environments: one row per environment: columns `hyperparameter, source_config,
            destination_config, weight_sum, effective_sample_size` and the sign error of each
            measure under its name.
        references: rows as in `table` for the reference measures: random, noisy oracles, canonical.
        dropped: columns `what, name, networks, reason`: what was left out and why.
        chance: what the best of all measures reaches by chance.
        combination: columns `held_out, networks, rmse, bias_only_rmse`: the regression over all
            measures, one row per environment that it did not see; empty if there is none.
        worst_case: columns `measure, slope, intercept, robust_rmse, worst_environment`: the affine
            fit with the smallest worst-environment error; first row "bias only".
        networks: what all of it was computed from.
        target_name: of the target.
        level: nominal coverage of the intervals.
    """

    table: pd.DataFrame
    by_hyper: pd.DataFrame
    environments: pd.DataFrame
    references: pd.DataFrame
    dropped: pd.DataFrame
    chance: Chance
    combination: pd.DataFrame
    worst_case: pd.DataFrame
    networks: MeasuredNetworks
    target_name: str
    level: float


def relate(
    table: pd.DataFrame,
    *,
    target: str,
    measures: Sequence[str] | None = None,
    hparam_prefix: str = "hp.",
    measure_prefix: str = "measure.",
    controls: Sequence[str] | None = None,
    seed_column: str | None = None,
    test_examples: int | None = None,
    draws: int = 1000,
    permutations: int = 10_000,
    level: float | int = 0.95,
    seed: int = 0,
    on_progress: Progress | None = None,
) -> Relations:
    """Say which measure predicts the target, with every statistic of the literature.

    What each statistic is stands with the function that computes it: `correlation` (Kendall's
    tau-b, Spearman, Pearson), `granulated.granulated_tau`, `conditional_information`, `sign_error`,
    `partial` (partial Spearman, cross-fitted residuals), `chance` (permutation p-values, Holm,
    Benjamini-Hochberg), `verdict.verdicts`, `combination`, `robust_regression`. A positive relation
    means that the target grows with the measure.

    Intervals of correlations and conditional information come from configurations drawn with
    replacement; those of granulated tau and of mean sign errors from a variance that takes account
    of the configurations that pairs share.

    Args:
        table: one row per network.
        target: column of what is to be predicted, e.g. the generalization gap.
        measures: columns of the measures; None: all with the prefix.
        hparam_prefix: what names of hyper-parameters start with.
        measure_prefix: what names of measures start with.
        controls: columns to control for in the partial correlations; None: all hyper-parameters.
        seed_column: column that tells the networks of one configuration apart.
        test_examples: number of test examples behind the target, a difference of proportions;
            sign errors are then weighted by how sure each difference is (Hoeffding). None: all
            pairs weigh the same.
        draws: bootstrap draws.
        permutations: permutations for the p-values.
        level: nominal coverage of the intervals.
        seed: of draws, permutations, folds and reference measures.
        on_progress: called with (stages done, all stages, name of the stage that begins).

    Raises:
        InvalidInputError: the table cannot be used, see `tables.measured_networks`; or there are
            too few permutations for so many measures.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> table = pd.DataFrame({"hp.width": np.repeat(np.arange(8, 18), 4),
        ...                       "seed": np.tile(np.arange(4), 10)})
        >>> table["gap"] = 1 / table["hp.width"] + 0.01 * rng.normal(size=40)
        >>> table["measure.margin"] = table["gap"] + 0.01 * rng.normal(size=40)
        >>> found = relate(table, target="gap", seed_column="seed", draws=50, permutations=50)
        >>> found.table[["measure", "verdict"]].to_numpy().tolist()
        [['margin', 'predicts']]
    """
    if not 0 < level < 1:
        raise InvalidInputError(f"level: found {level}; it must be between 0 and 1.")
    usable = measured_networks(
        table,
        target=target,
        measures=measures,
        hparam_prefix=hparam_prefix,
        measure_prefix=measure_prefix,
        controls=controls,
        seed_column=seed_column,
    )
    networks, dropped = usable.networks, list(usable.dropped.itertuples(index=False))
    _check_permutations(permutations, networks, level, dropped)
    # References take the same way as the measures; nothing is tested or counted over them.
    everything = _append(networks, chance.reference_measures(networks, seed=seed))
    multiplicities = configuration_draws(networks.configurations, draws, seed=seed)
    begin = _teller(on_progress)
    begin()
    columns = parts.correlations(everything, usable.controls, multiplicities, level, seed)
    begin()
    pairs = parts.pairs(everything, usable.controls, multiplicities, level, seed, dropped)
    columns |= parts.information("cmi", pairs.pgdl)
    columns |= parts.information("cmi_jiang", pairs.jiang)
    begin()
    paired = parts.seeds_are_shared(networks, dropped)
    along = granulated_tau(everything, seeds="paired" if paired else "pooled", level=level)
    columns |= parts.with_ends("granulated", Interval(along.value, along.low, along.high))
    signs = parts.signs(everything, test_examples, draws, level, seed, dropped)
    columns |= signs.columns
    begin()
    tests = chance.permutation_tests(networks, permutations=permutations, seed=seed)
    columns |= parts.p_value_columns(tests, len(everything.measure_names))
    begin()
    count = len(networks.measure_names)
    frame = pd.DataFrame({"measure": everything.measure_names, **columns})
    judged = parts.judge(frame.iloc[:count], pairs, networks, level)
    frame["verdict"] = [*judged, *[""] * (len(frame) - count)]
    frame = frame[list(COLUMNS)]
    strength = np.nan_to_num(np.abs(columns["kendall"][:count]))
    together = combination.leave_one_environment_out(networks, seed=seed)
    worst = parts.worst_case(networks)
    begin()
    return Relations(
        table=frame.iloc[np.argsort(-strength, kind="stable")].reset_index(drop=True),
        by_hyper=parts.by_hyper(networks, along, pairs, signs, level),
        environments=parts.environment_table(signs.errors, networks),
        references=frame.iloc[count:].reset_index(drop=True),
        dropped=pd.DataFrame(dropped, columns=list(DROPPED_COLUMNS)),
        chance=Chance(tests.statistic, tests.best, tests.permutations, tests.exact),
        combination=together,
        worst_case=worst,
        networks=networks,
        target_name=target,
        level=float(level),
    )


def _teller(on_progress: Progress | None) -> Callable[[], None]:
    """Return what is called at the start of every stage and at the end."""
    stages = iter(enumerate((*STAGES, "done")))

    def begin() -> None:
        number, stage = next(stages)
        if on_progress is not None:
            on_progress(number, len(STAGES), stage)

    return begin


def _check_permutations(
    permutations: int, networks: MeasuredNetworks, level: float | int, dropped: list
) -> None:
    """Refuse fewer permutations than an adjusted p-value needs to become small at all.

    Where all permutations are too few, because there are few configurations, this is noted.
    """
    measures, configurations = networks.measures.shape[1], int(networks.configurations.max()) + 1
    smallest = measures / (permutations + 1)
    exhaustive = configurations <= 20 and math.factorial(configurations) <= permutations
    if not exhaustive and smallest >= 1 - level - 1e-9:
        needed = math.ceil(measures / (1 - level) - 1e-9)
        raise InvalidInputError(
            f"permutations: found {permutations}; with {measures} measures no adjusted p-value "
            f"can be below {1 - level:.4g}: at least {needed} are needed."
        )
    if exhaustive and 2 * measures / math.factorial(configurations) >= 1 - level - 1e-9:
        reason = f"with {configurations} configurations no adjusted p-value can be below "
        dropped.append(("statistic", "verdict", len(networks.target), f"{reason}{1 - level:.4g}"))


def _append(networks: MeasuredNetworks, more: MeasuredNetworks) -> MeasuredNetworks:
    return networks._replace(
        measures=np.column_stack([networks.measures, more.measures]),
        measure_names=(*networks.measure_names, *more.measure_names),
    )
