"""All measures together: against loops over scikit-learn, without leaks, and honest about noise."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GroupKFold

from genjax import errors
from genjax.statistics import combination
from genjax.statistics.networks import from_arrays

NAN = float("nan")


def grid(levels: tuple[int, ...], seeds: int) -> np.ndarray:
    """Every combination of levels, `seeds` times."""
    return np.repeat(np.stack([a.ravel() for a in np.indices(levels)], axis=1), seeds, axis=0)


def population(seed: int, levels=(3, 2, 2), seeds=5, width=4):
    generator = np.random.default_rng(seed)
    codes = grid(levels, seeds)
    return generator.normal(size=(len(codes), width)), generator.normal(size=len(codes)), codes


def by_loops(networks, hyper: int, code: int, seed: int = 0, folds: int = 5):
    """The same by definition: pairwise comparisons for ranks, RidgeCV for the penalty."""
    out = networks.levels[:, hyper] == code
    train = ~out
    features = []
    for column in networks.measures.T:
        known = column[train & ~np.isnan(column)]
        ranks = [
            0.5 if np.isnan(x) else np.mean([(v < x) + 0.5 * (v == x) for v in known])
            for x in column
        ]
        features.append(np.array(ranks))
        if np.isnan(column[train]).any():
            features.append(np.isnan(column).astype(float))
    features = np.stack(features, axis=1)
    count = networks.configurations.max() + 1
    groups = np.random.default_rng(seed).permutation(count)[networks.configurations]
    target = networks.target[train]
    splits = list(GroupKFold(folds).split(features[train], target, groups[train]))
    squares = np.zeros(9)
    for k, penalty in enumerate(np.logspace(-6, 2, 9)):
        for fit, check in splits:
            # Penalties count per network, so that folds of other sizes choose the same one.
            model = RidgeCV([penalty * len(fit)]).fit(features[train][fit], target[fit])
            squares[k] += ((model.predict(features[train][check]) - target[check]) ** 2).sum()
    best = np.logspace(-6, 2, 9)[np.argmin(squares)] * train.sum()
    predicted = RidgeCV([best]).fit(features[train], target).predict(features[out])
    truth = networks.target[out]
    return (
        np.sqrt(np.mean((predicted - truth) ** 2)),
        np.sqrt(np.mean((target.mean() - truth) ** 2)),
    )


@pytest.mark.parametrize("seed", [0, 1])
def test_every_environment_against_loops(seed):
    measures, noise, codes = population(seed)
    measures[:, 1] = measures[:, 1].round()  # ties
    measures[np.random.default_rng(seed).random(len(noise)) < 0.3, 2] = NAN
    target = measures[:, 0] + measures[:, 1] ** 2 + 0.3 * noise + codes[:, 0]
    networks = from_arrays(measures, target, codes)
    table = combination.leave_one_environment_out(networks)
    assert table.columns.tolist() == ["held_out", "networks", "rmse", "bias_only_rmse"]
    assert table["held_out"].tolist() == [
        *(f"hp.0 = {k}" for k in range(3)),
        *(f"hp.{h} = {k}" for h in (1, 2) for k in range(2)),
    ]
    assert table["networks"].tolist() == [20, 20, 20, 30, 30, 30, 30]
    expected = [by_loops(networks, h, k) for h, n in enumerate((3, 2, 2)) for k in range(n)]
    found = table[["rmse", "bias_only_rmse"]].to_numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_informative_measures_beat_the_mean_also_where_they_have_not_been():
    measures, noise, codes = population(3)
    target = measures[:, 0] - measures[:, 1] + 0.05 * noise
    table = combination.leave_one_environment_out(from_arrays(measures, target, codes))
    assert (table["rmse"] < 0.5 * table["bias_only_rmse"]).all()
    assert combination.summarise(table).better_share == 1.0


def test_noise_does_not_beat_the_mean_and_is_hardly_worse():
    ratios = []
    for seed in range(20):
        measures, target, codes = population(seed, width=8)
        table = combination.leave_one_environment_out(from_arrays(measures, target, codes))
        ratios.append(float((table["rmse"] / table["bias_only_rmse"]).mean()))
    # With all 8 coefficients free, noise would cost about 8 / 40 of the variance: a ratio of 1.1.
    assert 0.99 < np.mean(ratios) < 1.04


def test_what_only_tells_configurations_apart_is_no_prediction():
    """Seeds in different folds would let the regression recognise configurations."""
    generator = np.random.default_rng(0)
    codes = grid((8, 4), 10)
    measures, target = generator.normal(size=(32, 16)), generator.normal(size=32)
    networks = from_arrays(np.repeat(measures, 10, axis=0), np.repeat(target, 10), codes)
    together = combination.leave_one_environment_out(networks)
    apart = combination.leave_one_environment_out(
        networks._replace(configurations=np.arange(len(codes)))
    )
    ratio = together["rmse"].mean() / together["bias_only_rmse"].mean()
    assert ratio < 1.1
    assert apart["rmse"].mean() > 1.3 * together["rmse"].mean()


def test_the_held_out_environment_takes_no_part():
    measures, noise, codes = population(5, levels=(4, 3), seeds=2)
    first, second = 0, len(codes) - 1  # a usual network, and an odd one
    measures[second] = 1e6, -1e6, NAN, 0.0
    target = measures[:, 0] + noise
    target[second] = 1e3

    def error(out: list[int], without: list[int]) -> float:
        rows = np.setdiff1d(np.arange(len(codes)), without)
        level = np.isin(rows, out).astype(int)[:, None]
        networks = from_arrays(measures[rows], target[rows], level)
        networks = networks._replace(configurations=np.arange(len(rows)))
        return combination.leave_one_environment_out(networks)["rmse"].iloc[1]

    usual, odd, both = (
        error([first], [second]),
        error([second], [first]),
        error([first, second], []),
    )
    assert odd > 100
    # Squares add up: neither network changed the prediction of the other.
    assert 2 * both**2 == pytest.approx(usual**2 + odd**2, rel=1e-9)


def test_the_error_follows_the_held_out_target_alone():
    measures, target, codes = population(6)
    held_out = codes[:, 1] == 0
    errors_of = []
    for shift in (1e4, -1e4):
        shifted = from_arrays(measures, np.where(held_out, shift, target), codes)
        table = combination.leave_one_environment_out(shifted).set_index("held_out")
        errors_of.append(table.loc["hp.1 = 0"])
    # Constant targets c and -c: mean square errors differ by 4 c times the mean prediction.
    mean = (errors_of[1]["rmse"] ** 2 - errors_of[0]["rmse"] ** 2) / 4e4
    bias = (errors_of[1]["bias_only_rmse"] ** 2 - errors_of[0]["bias_only_rmse"] ** 2) / 4e4
    assert bias == pytest.approx(target[~held_out].mean(), abs=1e-6)
    assert abs(mean) < 3


def test_only_the_order_of_a_measure_counts():
    measures, noise, codes = population(7)
    target = measures[:, 0] + noise
    odd = np.stack([np.exp(5 * measures[:, 0]), *(1e300 * measures[:, 1:].T)], axis=1)
    one, other = (
        combination.leave_one_environment_out(from_arrays(m, target, codes))
        for m in (measures, odd)
    )
    pd.testing.assert_frame_equal(one, other)


def test_two_levels_one_of_them_nearly_everything():
    generator = np.random.default_rng(8)
    codes = np.array([0] * 4 + [1] * 16)[:, None]
    measures = generator.normal(size=(20, 2))
    networks = from_arrays(measures, measures[:, 0], codes)
    alone = networks._replace(configurations=np.arange(20))
    table = combination.leave_one_environment_out(alone)
    assert table["rmse"].isna().tolist() == [False, True]  # four networks are too few to train on
    assert table["bias_only_rmse"].isna().tolist() == [False, True]
    assert combination.summarise(table).environments == 1
    # One configuration is left in each: nothing to choose a penalty by.
    assert combination.leave_one_environment_out(networks)["rmse"].isna().all()


def test_measures_without_values_or_with_one_in_training():
    measures, target, codes = population(9)
    measures[:, 1] = 2.0
    measures[codes[:, 0] != 0, 2] = NAN  # known in one environment only
    table = combination.leave_one_environment_out(from_arrays(measures, target, codes))
    assert np.isfinite(table["rmse"]).all()


def test_no_hyper_parameters_no_environments():
    measures, target, _ = population(10)
    table = combination.leave_one_environment_out(from_arrays(measures, target))
    assert table.columns.tolist() == list(combination.COMBINATION_COLUMNS)
    assert len(table) == 0
    summary = combination.summarise(table)
    assert (summary.environments, summary.worst) == (0, "")
    assert np.isnan([summary.rmse, summary.bias_only_rmse, summary.better_share]).all()


def test_summary_by_hand():
    table = pd.DataFrame(
        {
            "held_out": ["a", "b", "c", "d"],
            "networks": [1, 2, 3, 4],
            "rmse": [0.1, 0.5, NAN, 0.3],
            "bias_only_rmse": [0.2, 0.4, NAN, 0.3],
        }
    )
    summary = combination.summarise(table)
    assert summary == pytest.approx((3, 0.3, 0.3, 1 / 3, "b", 0.5))


def test_the_same_seed_gives_the_same_numbers():
    measures, target, codes = population(11)
    networks = from_arrays(measures, target, codes)
    one, other = (combination.leave_one_environment_out(networks, seed=3) for _ in range(2))
    pd.testing.assert_frame_equal(one, other)


def test_too_few_folds():
    measures, target, codes = population(12)
    with pytest.raises(errors.InvalidInputError, match="folds: found 1; at least 2"):
        combination.leave_one_environment_out(from_arrays(measures, target, codes), folds=1)
