"""Robust sign error: enumerated populations by plain loops, and the published tables."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest

from genjax.errors import InvalidInputError
from genjax.statistics import sign_error
from genjax.statistics.networks import from_arrays
from genjax.statistics.sign_error import (
    SignErrors,
    environment_groups,
    sign_error_distribution,
    sign_errors,
    summarise,
)

GRID = np.array(list(itertools.product(range(3), range(2), range(2))))


def population(seed, levels=GRID, seeds=3, measures=3, digits=None):
    generator = np.random.default_rng(seed)
    codes, runs = np.repeat(levels, seeds, axis=0), np.tile(np.arange(seeds), len(levels))
    values = generator.normal(size=(len(codes), measures)) + generator.normal(size=(len(codes), 1))
    target = np.clip(0.1 * (generator.normal(size=len(codes)) + values[:, 0]), -1, 1)
    if digits is not None:
        values, target = np.round(values), np.round(target, digits)
    return from_arrays(values, target, codes, runs)


def sign(x):
    return int(x > 0) - int(x < 0)


def looped(networks, weighting, n, least):
    """Environment after environment, pair of networks after pair of networks."""
    settings = {}
    for row, setting in enumerate(map(tuple, networks.levels)):
        settings.setdefault(setting, []).append(row)
    found = {}
    for source, destination in itertools.permutations(settings, 2):
        differs = [h for h in range(len(source)) if source[h] != destination[h]]
        if len(differs) != 1:
            continue
        weights, wrong, known = [], 0.0, 0.0
        for i, j in itertools.product(settings[source], settings[destination]):
            gap = networks.target[i] - networks.target[j]
            weight = 1.0
            if weighting == "hoeffding":
                weight = max(0.0, 1 - 2 * math.exp(-2 * n * (abs(gap) / 2) ** 2)) ** 2
                weight = weight - 0.5 if weight > 0.5 else 0.0
            weights.append(weight)
            x, y = networks.measures[i], networks.measures[j]
            there = ~np.isnan(x) & ~np.isnan(y)
            error = np.array(
                [0.5 * (1 - sign(a - b) * sign(gap)) for a, b in zip(x, y, strict=True)]
            )
            wrong, known = wrong + weight * np.where(there, error, 0), known + weight * there
        total = sum(weights)
        effective = total**2 / sum(w**2 for w in weights) if total else 0.0
        smallest = 0.12 * len(weights) if least is None else least
        if total > 0 and (effective > smallest or math.isclose(effective, smallest, rel_tol=1e-5)):
            with np.errstate(invalid="ignore"):
                found[source, destination] = (differs[0], total, effective, wrong / known)
    return found


@pytest.mark.parametrize("digits", [None, 2])
@pytest.mark.parametrize("least", [None, 4, 7.5])
@pytest.mark.parametrize("weighting", ["hoeffding", None])
def test_equals_the_loop_over_pairs_of_networks(monkeypatch, weighting, least, digits):
    monkeypatch.setattr(sign_error, "BLOCK", 50)  # environments split between blocks
    networks = population(1, digits=digits)
    networks.measures[::7, 1] = np.nan
    networks.measures[networks.levels[:, 0] == 0, 2] = np.nan
    rows = np.random.default_rng(2).permutation(36)[:31]  # unequal numbers of seeds
    networks = from_arrays(
        networks.measures[rows], networks.target[rows], networks.levels[rows], networks.seeds[rows]
    )
    found = sign_errors(
        networks, weighting=weighting, test_examples=10_000, minimum_effective_size=least
    )
    expected = looped(networks, weighting, 10_000, least)
    settings = {k: tuple(networks.levels[networks.configurations == k][0]) for k in range(12)}
    ends = zip(found.source.tolist(), found.destination.tolist(), strict=True)
    keys = [(settings[a], settings[b]) for a, b in ends]
    assert len(keys) == len(set(keys)) == len(expected)
    assert (np.diff(found.hyper) >= 0).all()
    for row, key in enumerate(keys):
        hyper, total, effective, errors = expected[key]
        assert found.hyper[row] == hyper
        assert found.weight_sum[row] == pytest.approx(total, rel=1e-12)
        assert found.effective_sample_size[row] == pytest.approx(effective, rel=1e-12)
        np.testing.assert_allclose(found.errors[row], errors, rtol=0, atol=1e-14)
    assert np.isnan(found.errors[:, 2]).any()


def test_both_orders_follow_each_other():
    found = sign_errors(population(3), weighting=None)
    np.testing.assert_array_equal(found.source[::2], found.destination[1::2])
    np.testing.assert_array_equal(found.source[1::2], found.destination[::2])
    np.testing.assert_array_equal(found.errors[::2], found.errors[1::2])
    # 3 x 2 x 2: 3 pairs on each of 4 lines, and 1 on each of 6, twice.
    np.testing.assert_array_equal(np.bincount(found.hyper), [24, 12, 12])


def test_weights_of_networks_that_surely_differ_are_half_as_in_the_paper():
    # 10 seeds each, targets far apart: the published tables have weight 50 and size 100.
    target = np.concatenate([np.linspace(0.1, 0.2, 10), np.linspace(0.6, 0.7, 10)])
    networks = from_arrays(
        np.stack([target, -target, np.ones(20)], axis=1), target, np.repeat([[0], [1]], 10, axis=0)
    )
    found = sign_errors(networks, test_examples=10_000, minimum_effective_size=12)
    np.testing.assert_allclose(found.weight_sum, 50)
    np.testing.assert_allclose(found.effective_sample_size, 100)
    np.testing.assert_array_equal(found.errors, [[0, 1, 0.5]] * 2)


def test_sizes_that_fall_short_by_rounding_are_kept_as_in_the_paper():
    # Weights 1/2 and a little less: the published tables keep 11.99998 at a minimum of 12.
    target = np.array([0.0, 0.5, 0.05])
    networks = from_arrays(np.arange(3.0)[:, None], target, np.array([[0], [1], [1]]))
    found = sign_errors(networks, test_examples=10_000, minimum_effective_size=2)
    assert len(found.hyper) == 2
    assert 2 - 1e-5 < found.effective_sample_size[0] < 2
    low = networks._replace(target=np.array([0.0, 0.5, 0.03]))
    assert len(sign_errors(low, test_examples=10_000, minimum_effective_size=2).hyper) == 0
    assert len(sign_errors(low, test_examples=10_000, minimum_effective_size=1.9).hyper) == 2


def test_ties_and_target_ties_count_a_half():
    values = np.array([[1.0, 1.0], [1.0, 2.0], [3.0, 3.0]])
    networks = from_arrays(values, np.array([0.1, 0.2, 0.2]), np.array([[0], [1], [2]]))
    found = sign_errors(networks, weighting=None)
    np.testing.assert_array_equal(found.errors[::2], [[0.5, 0.0], [0.0, 0.0], [0.5, 0.5]])
    # Equal targets have no weight.
    kept = sign_errors(networks, test_examples=10**6)
    np.testing.assert_array_equal(kept.source, [0, 1, 0, 2])


def test_extreme_values_and_missing_ones():
    values = np.array([[1e308, np.inf], [-1e308, 1.0], [5e-324, 2.0], [0.0, 3.0]])
    networks = from_arrays(values, np.array([4.0, 1.0, 2.0, 3.0]), GRID[:4, 1:])
    found = sign_errors(networks, weighting=None)
    np.testing.assert_array_equal(found.errors[::2, 0], [0, 0, 0, 1])
    assert np.isnan(found.errors[found.source == 0, 1]).all()


@pytest.mark.parametrize("levels", [None, np.array([[0], [0], [0]]), np.array([[0, 0], [1, 1]])])
def test_no_environment(levels):
    count = 3 if levels is None else len(levels)
    networks = from_arrays(np.ones((count, 2)), np.linspace(0, 0.5, count), levels)
    found = sign_errors(networks, test_examples=100)
    assert found.errors.shape == (0, 2)
    assert len(found.hyper) == len(found.weight_sum) == 0
    assert summarise(found, networks.hyper_names, networks.measure_names).empty
    assert np.isnan(sign_error_distribution(found, np.array([0.5]))).all()


@pytest.mark.data
def test_published_summary_is_reproduced(data_dir):
    folder = data_dir / "published" / "robust_gm"
    table = pd.read_csv(folder / "environments.csv")
    expected = pd.read_csv(folder / "sign_error_summary.csv")
    names = tuple(sorted(table.hyperparameter.unique()))
    measures = tuple(c for c in table.columns if c.startswith("complexity."))
    found = SignErrors(
        table.hyperparameter.map(names.index).to_numpy(),
        table.source_config.to_numpy(),
        table.destination_config.to_numpy(),
        table.weight_sum.to_numpy(),
        table.effective_sample_size.to_numpy(),
        table[list(measures)].to_numpy(),
    )
    summary = summarise(found, names, measures)
    assert len(summary) == 144
    pd.testing.assert_frame_equal(summary, expected, check_exact=False, rtol=0, atol=1e-15)
    # Both orders are there with equal errors, as `SignErrors` says.
    forward = table.set_index(["source_config", "destination_config"])[list(measures)]
    backward = forward.swaplevel().rename_axis(forward.index.names).loc[forward.index]
    pd.testing.assert_frame_equal(forward, backward)


def test_summary_leaves_out_missing_errors():
    found = sign_errors(population(4), weighting=None)
    found.errors[found.hyper == 0, 1] = np.nan
    found.errors[::3, 2] = np.nan
    table = summarise(found, ("a", "b", "c"), ("x", "y", "z"))
    assert table.hyperparameter.drop_duplicates().tolist() == ["all", "a", "b", "c"]
    assert ("a", "y") not in set(zip(table.hyperparameter, table.metric, strict=True))
    for row in table.itertuples():
        chosen = environment_groups(found, 3)[["all", "a", "b", "c"].index(row.hyperparameter)]
        errors = pd.Series(found.errors[chosen, ["x", "y", "z"].index(row.metric)]).dropna()
        assert row.environments == len(errors)
        assert row.mean_sign_error == pytest.approx(errors.mean())
        assert row.p90_sign_error == pytest.approx(errors.quantile(0.9))
        assert row.max_sign_error == errors.max()


def test_distribution_is_the_share_of_environments():
    found = sign_errors(population(5), weighting=None)
    found.errors[::5, 1] = np.nan
    thresholds = np.linspace(0, 1, 12)
    shares = sign_error_distribution(found, thresholds)
    for k, threshold in enumerate(thresholds):
        for column in range(3):
            errors = found.errors[~np.isnan(found.errors[:, column]), column]
            assert shares[k, column] == pytest.approx((errors <= threshold).mean())
    np.testing.assert_array_equal(shares[-1], 1)


def test_too_many_environments_are_refused(monkeypatch):
    monkeypatch.setattr(sign_error, "LARGEST", 100)
    with pytest.raises(InvalidInputError, match="levels: found 48 environments, too many"):
        sign_errors(population(6), weighting=None)


@pytest.mark.parametrize(
    ("change", "arguments", "words"),
    [
        (0.0, {"weighting": "hoefding", "test_examples": 5}, "did you mean 'hoeffding'"),
        (0.0, {}, "test_examples: found None"),
        (0.0, {"test_examples": 0}, "test_examples: found 0"),
        (1.5, {"test_examples": 5}, "target: found values from 1.078 to 1.702"),
    ],
)
def test_refusals(change, arguments, words):
    networks = population(7)
    networks = networks._replace(target=networks.target + change)
    with pytest.raises(InvalidInputError, match=words):
        sign_errors(networks, **arguments)
