"""Which measure predicts the target: every statistic of the literature, in one call."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from genjax.statistics.networks import MeasuredNetworks

Host = np.ndarray


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
