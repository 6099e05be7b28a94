"""All measures together: do they predict the target where they have not been? Host float64."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold
from threadpoolctl import threadpool_limits

from genjax.errors import InvalidInputError
from genjax.statistics.networks import MeasuredNetworks

Host = np.ndarray

COMBINATION_COLUMNS = ("held_out", "networks", "rmse", "bias_only_rmse")
FEWEST_NETWORKS = 5
PENALTIES = np.logspace(-6, 2, 9)
"""Ridge penalties per network; the largest leaves little but the mean."""


class Combination(NamedTuple):
    """The regression over all measures, over all environments that it did not see.

    Attributes:
        environments: how many environments have a value.
        rmse: mean over them of the regression's error.
        bias_only_rmse: mean over them of the error of the training mean.
        better_share: share of them where the regression's error is the smaller one.
        worst: the environment with the largest error; "" if there is none.
        worst_rmse: the error there.
    """

    environments: int
    rmse: float
    bias_only_rmse: float
    better_share: float
    worst: str
    worst_rmse: float


@threadpool_limits.wrap(limits=1)
def leave_one_environment_out(
    networks: MeasuredNetworks, *, folds: int = 5, seed: int = 0
) -> pd.DataFrame:
    """Predict the target in every environment from measures and targets of all others.

    An environment is all networks that share one value of one hyper-parameter. The regression is
    ridge regression over the measures' ranks among the training networks (0 to 1; gaps become the
    median, beside a column that says where they were). Its penalty is the one with the smallest
    error over folds of the training networks; networks of one configuration are in one fold. The
    held-out environment has no part in ranks, medians, penalty or coefficients.

    Args:
        networks: with their levels, which are never predictors.
        folds: of the choice of the penalty.
        seed: of the assignment of configurations to folds.

    Returns:
        Columns `held_out` ("depth = 4"), `networks` (held-out ones), `rmse` and `bias_only_rmse`
        (of predicting the training mean), both in units of the target; NaN where fewer than 5
        networks or 2 configurations are left to train on. One row per environment; none without
        hyper-parameters.

    Raises:
        InvalidInputError: `folds` is smaller than 2.

    References:
        Dziugaite et al., In search of robust measures of generalization, NeurIPS 2020, section 5,
        for predicting in environments; there with one measure at a time.

    Example:
        >>> from genjax.statistics.networks import from_arrays
        >>> target, grid = np.arange(40.0), np.stack([np.arange(40) % 2, np.arange(40) // 20], 1)
        >>> table = leave_one_environment_out(from_arrays(target[:, None] ** 3, target, grid))
        >>> table["held_out"].tolist()
        ['hp.0 = 0', 'hp.0 = 1', 'hp.1 = 0', 'hp.1 = 1']
        >>> (table["rmse"] < table["bias_only_rmse"]).tolist()
        [True, True, True, True]
    """
    if folds < 2:
        raise InvalidInputError(f"folds: found {folds}; at least 2 are needed.")
    count = int(networks.configurations.max(initial=-1)) + 1
    # GroupKFold deals groups out in turn, which would follow a hyper-parameter's values.
    groups = np.random.default_rng(seed).permutation(count)[networks.configurations]
    places = np.stack([_places(column) for column in networks.measures.T], axis=1)
    rows = []
    for hyper, values in enumerate(networks.hyper_values):
        for code, value in enumerate(values):
            held_out = networks.levels[:, hyper] == code
            if held_out.any():
                errors = _errors(networks.target, places, held_out, groups, folds)
                name = f"{networks.hyper_names[hyper]} = {value}"
                rows.append((name, int(held_out.sum()), *errors))
    return pd.DataFrame(rows, columns=list(COMBINATION_COLUMNS))


def summarise(table: pd.DataFrame) -> Combination:
    """Sum up `leave_one_environment_out` over its environments.

    Example:
        >>> table = pd.DataFrame({"held_out": ["depth = 2", "depth = 4"], "networks": [8, 8],
        ...                       "rmse": [0.1, 0.3], "bias_only_rmse": [0.2, 0.2]})
        >>> summarise(table).better_share, summarise(table).worst
        (0.5, 'depth = 4')
    """
    known = table[table["rmse"].notna()]
    if known.empty:
        return Combination(0, np.nan, np.nan, np.nan, "", np.nan)
    rmse, bias_only = np.asarray(known["rmse"]), np.asarray(known["bias_only_rmse"])
    worst = int(np.argmax(rmse))
    return Combination(
        len(known),
        float(rmse.mean()),
        float(bias_only.mean()),
        float((rmse < bias_only).mean()),
        str(list(known["held_out"])[worst]),
        float(rmse[worst]),
    )


def _errors(
    target: Float[Host, " network"],
    places: Int[Host, "network measure"],
    held_out: Bool[Host, " network"],
    groups: Int[Host, " network"],
    folds: int,
) -> tuple[float, float]:
    """Return the errors of the regression and of the training mean in one environment."""
    train = ~held_out
    known, truth, groups = target[train], target[held_out], groups[train]
    kinds = len(np.unique(groups))
    if len(known) < FEWEST_NETWORKS or kinds < 2:
        return np.nan, np.nan
    features = np.concatenate([_training_ranks(c, train) for c in places.T], axis=1)
    seen = features[train]
    splits = GroupKFold(min(folds, kinds)).split(seen, known, groups)
    penalty = _best_penalty(seen, known, list(splits))
    predicted = Ridge(alpha=penalty * len(known)).fit(seen, known).predict(features[held_out])
    return _rmse(predicted - truth), _rmse(known.mean() - truth)


def _places(values: Float[Host, " network"]) -> Int[Host, " network"]:
    """Return the place of each value among the distinct ones; -1 where there is none."""
    known = np.isfinite(values)
    places = np.full(len(values), -1, np.int64)
    places[known] = np.unique(values[known], return_inverse=True)[1]
    return places


def _training_ranks(
    places: Int[Host, " network"], train: Bool[Host, " network"]
) -> Float[Host, "network feature"]:
    """Return the share of training networks below each value (ties half), and where there is none.

    By hand, because places among all values, sorted once, are enough for every environment: which
    share of the training networks lies below a value depends on no other held-out value.
    """
    known = places >= 0
    counts = np.bincount(places[known & train], minlength=int(places.max(initial=-1)) + 1)
    ranks = np.full(len(places), 0.5)
    if counts.any():
        shares = (np.cumsum(counts) - counts / 2) / counts.sum()
        ranks[known] = shares[places[known]]
    if known[train].all():
        return ranks[:, None]
    return np.stack([ranks, (~known).astype(np.float64)], axis=1)


def _best_penalty(
    features: Float[Host, "network feature"],
    target: Float[Host, " network"],
    splits: list[tuple[Host, Host]],
) -> float:
    """Return the penalty with the smallest out-of-fold error; the largest of equal ones."""
    squares = np.zeros(len(PENALTIES))
    for train, test in splits:
        # One copy of the target per penalty: all penalties share the products of the features,
        # which RidgeCV with folds would compute anew for each (100 times as slow).
        copies = np.tile(target[train][:, None], len(PENALTIES))
        penalties: Any = PENALTIES * len(train)  # an array, which sklearn's type stubs do not know
        models = Ridge(alpha=penalties, solver="cholesky")
        predicted = models.fit(features[train], copies).predict(features[test])
        squares += ((predicted - target[test][:, None]) ** 2).sum(0)
    return float(PENALTIES[len(squares) - 1 - np.argmin(squares[::-1])])


def _rmse(errors: Float[Host, " network"]) -> float:
    return float(np.sqrt(np.mean(errors**2)))
