"""Conditional information against published scores, loops over pairs and scikit-learn."""

import collections
import itertools
import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import mutual_info_score

from genjax.errors import InvalidInputError
from genjax.statistics import pairs
from genjax.statistics.conditional_information import (
    conditional_information,
    pair_statistics,
    stratified_kendall,
)
from genjax.statistics.networks import MeasuredNetworks, configuration_draws, from_arrays


def make_networks(count, *, values=10**6, hypers=(2, 3, 2), measures=3, repeats=1, seed=0):
    """Random networks whose first measure is related to the target; few `values` give ties."""
    generator = np.random.default_rng(seed)
    levels = np.array([generator.integers(0, n, count) for n in hypers], np.int64)
    levels = np.repeat(levels.reshape(len(hypers), count).T, repeats, axis=0)
    target = generator.integers(0, values, len(levels)).astype(np.float64)
    table = generator.integers(0, values, (len(levels), measures)).astype(np.float64)
    table[:, 0] = np.floor((table[:, 0] + target) / 2)
    networks = from_arrays(table, target, levels)
    return networks._replace(configurations=np.repeat(np.arange(count), repeats))


def loop_cmi(
    levels: pd.DataFrame, target: np.ndarray, measure: np.ndarray, version: str
) -> tuple[float, tuple[str, ...] | None, dict[tuple[str, ...], float]]:
    """One loop over groups of networks with pandas, SciPy and scikit-learn, for one measure."""
    varying = [name for name in levels if levels[name].nunique() > 1]
    by_set = {}
    for size in (2,) if version == "pgdl" else (0, 1, 2):
        for names in itertools.combinations(varying, size):
            groups = [np.arange(len(levels))]
            if names:
                groups = list(levels.groupby(list(names)).indices.values())
            information, entropy, weights = [], [], []
            for left, right in itertools.product(groups, groups):
                table = loop_table(target, measure, left, right, version)
                if table.sum():
                    information.append(mutual_info_score(None, None, contingency=table))
                    entropy.append(stats.entropy(table.sum(1)))
                    weights.append(table.sum() if version == "jiang" else 1)
            mean_entropy = np.average(entropy, weights=weights) if weights else 0.0
            defined = mean_entropy > 1e-9
            by_set[names] = (
                float(np.average(information, weights=weights) / mean_entropy)
                if defined
                else np.nan
            )
    known = {names: value for names, value in by_set.items() if not np.isnan(value)}
    if not known:
        return np.nan, None, by_set
    smallest = min(known, key=known.__getitem__)
    return known[smallest], smallest, by_set


def loop_table(target, measure, left, right, version):
    """Cross-tabulate the orders of all pairs of a network on the left and one on the right."""
    if version == "pgdl":
        above = target[left][:, None] > target[right]
        measured = measure[left][:, None] > measure[right]
        kinds = [(above == g) & (measured == m) for g in (False, True) for m in (False, True)]
        return np.array([kind.sum() for kind in kinds]).reshape(2, 2)
    order = np.sign(target[left][:, None] - target[right])
    measured = np.sign(measure[left][:, None] - measure[right])
    kinds = [(order == g) & (measured == m) for g in (-1, 1) for m in (-1, 0, 1)]
    return np.array([kind.sum() for kind in kinds]).reshape(2, 3)


def pairwise_cmi(networks, measure, names, version):
    """The definition, one pair of networks after the other, in bits."""
    members = [networks.hyper_names.index(name) for name in names]
    groups = collections.defaultdict(collections.Counter)
    target, levels = networks.target, networks.levels
    for a, b in itertools.product(range(len(target)), repeat=2):
        if version == "pgdl":
            orders = target[a] > target[b], measure[a] > measure[b]
        elif target[a] == target[b]:
            continue
        else:
            orders = np.sign(target[a] - target[b]), np.sign(measure[a] - measure[b])
        groups[tuple(levels[a, members]), tuple(levels[b, members])][orders] += 1
    information, entropy = 0.0, 0.0
    for table in groups.values():
        total = sum(table.values())
        weight = 1 if version == "pgdl" else total
        of_target, of_measure = collections.Counter(), collections.Counter()
        for (g, m), number in table.items():
            of_target[g] += number / total
            of_measure[m] += number / total
        entropy -= weight * sum(p * np.log2(p + 1e-12) for p in of_target.values())
        for (g, m), number in table.items():
            p = number / total
            information += weight * p * np.log2(p / (of_target[g] * of_measure[m]))
    return information / entropy


def loop_tau(target, measure, agree):
    """tau-b over the pairs of networks that agree, one pair after the other."""
    up = down = in_target = in_measure = 0
    for a, b in itertools.combinations(range(len(target)), 2):
        if agree(a, b):
            g, m = np.sign(target[a] - target[b]), np.sign(measure[a] - measure[b])
            up, down = up + (g * m > 0), down + (g * m < 0)
            in_target, in_measure = in_target + (g != 0), in_measure + (m != 0)
    return (up - down) / np.sqrt(in_target * in_measure), in_target


def as_frame(networks):
    return pd.DataFrame(networks.levels, columns=list(networks.hyper_names))


@pytest.fixture
def pgdl(data_dir):
    """The 96 networks of the competition's first task, and the published scores."""
    folder = data_dir / "published" / "pgdl"
    table = pd.read_csv(folder / "task1.csv")
    expected = json.loads((folder / "task1_expected.json").read_text())["task1"]
    hypers = [name for name in table if name.startswith("hp.")]
    levels = np.stack([np.unique(table[name], return_inverse=True)[1] for name in hypers], 1)
    measures = table[[f"measure.{name}" for name in expected]].to_numpy(np.float64)
    networks = from_arrays(measures, table["gen_gap_acc"].to_numpy(np.float64), levels)
    return networks._replace(hyper_names=tuple(h.removeprefix("hp.") for h in hypers)), expected


@pytest.mark.data
@pytest.mark.parametrize("exact_units", [0, 200])
def test_scores_are_those_of_the_competition(pgdl, monkeypatch, exact_units):
    monkeypatch.setattr(pairs, "EXACT_UNITS", exact_units)
    networks, expected = pgdl
    found = pair_statistics(networks)
    scores = [entry.get("cmi", entry.get("cmi_recomputed_only")) for entry in expected.values()]
    np.testing.assert_allclose(found.pgdl.value, scores, rtol=0, atol=1e-11)
    for argmin, entry in zip(found.pgdl.argmin, expected.values(), strict=True):
        assert set(argmin or ()) == set(entry["argmin_conditioning_set"])
    taus = [entry["kendall_tau_b"] for entry in expected.values()]
    np.testing.assert_allclose(found.kendall.overall, taus, rtol=0, atol=1e-8)


@pytest.mark.parametrize("version", ["pgdl", "jiang"])
@pytest.mark.parametrize("values", [3, 8, 10**6])
@pytest.mark.parametrize("exact_units", [0, 200])
def test_values_are_those_of_a_loop_over_all_pairs(monkeypatch, values, version, exact_units):
    monkeypatch.setattr(pairs, "EXACT_UNITS", exact_units)
    networks = make_networks(48, values=values, seed=values)
    found = conditional_information(networks, version=version)
    for k, measure in enumerate(networks.measures.T):
        for place, names in enumerate(found.sets):
            expected = pairwise_cmi(networks, measure, names, version)
            assert found.by_set[k, place] == pytest.approx(expected, abs=1e-10)
        value, argmin, by_set = loop_cmi(as_frame(networks), networks.target, measure, version)
        assert found.value[k] == pytest.approx(value, abs=1e-10)
        assert found.argmin[k] == argmin
        assert set(by_set) == set(found.sets)


@pytest.mark.parametrize("values", [4, 10**6])
def test_stratified_tau_is_that_of_the_pairs_that_agree(values):
    networks = make_networks(40, values=values, seed=3)
    found = stratified_kendall(networks)
    for k, measure in enumerate(networks.measures.T):
        overall = stats.kendalltau(networks.target, measure).statistic
        assert found.overall[k] == pytest.approx(overall, abs=1e-12)
        for h, level in enumerate(networks.levels.T):
            tau, count = loop_tau(networks.target, measure, lambda a, b, x=level: x[a] == x[b])
            assert found.value[k, h] == pytest.approx(tau, abs=1e-12)
            assert found.pairs[k, h] == count


def test_draws_are_the_statistics_of_the_networks_drawn():
    networks = make_networks(20, values=30, repeats=2, seed=4)
    draws = configuration_draws(networks.configurations, 6, seed=0)
    found = pair_statistics(networks, draws)
    for draw, times in enumerate(draws):
        rows = np.repeat(np.arange(40), times)
        taken = networks._replace(
            measures=networks.measures[rows],
            target=networks.target[rows],
            levels=networks.levels[rows],
            configurations=np.arange(40),
        )
        alone = pair_statistics(taken)
        np.testing.assert_allclose(found.pgdl.draws[draw], alone.pgdl.value, atol=1e-12)
        np.testing.assert_allclose(found.jiang.draws[draw], alone.jiang.value, atol=1e-12)
        np.testing.assert_allclose(found.kendall.draws[draw], alone.kendall.value, atol=1e-12)
        np.testing.assert_allclose(
            found.kendall.overall_draws[draw], alone.kendall.overall, atol=1e-12
        )


def test_draws_to_first_order_spread_like_counted_ones(monkeypatch):
    networks = make_networks(180, hypers=(3, 3, 3), seed=5)
    draws = configuration_draws(networks.configurations, 400, seed=0)
    counted = pair_statistics(networks, draws)
    monkeypatch.setattr(pairs, "EXACT_UNITS", 0)
    linear = pair_statistics(networks, draws)
    for exact, first_order in (
        (counted.pgdl.draws, linear.pgdl.draws),
        (counted.jiang.draws, linear.jiang.draws),
        (counted.kendall.draws, linear.kendall.draws),
    ):
        ratio = first_order.std(0) / exact.std(0)
        np.testing.assert_allclose(ratio[0], 1, rtol=0, atol=0.1)
        # What is unrelated has no first order to speak of: there it spreads more, never less.
        assert (ratio[1:] > 0.9).all()
        assert (ratio[1:] < 1.5).all()
        # The first measure is related to the target: its draws agree one by one.
        ratio = np.corrcoef(first_order[:, 0].reshape(400, -1).T, exact[:, 0].reshape(400, -1).T)
        half = len(ratio) // 2
        assert (np.diag(ratio[:half, half:]) > 0.95).all()


@pytest.mark.parametrize("count", [150, 300])
def test_an_oracle_has_one_and_an_independent_measure_zero_within_its_interval(count):
    networks = make_networks(count, hypers=(3, 3, 3), seed=6)
    networks.measures[:, 1] = networks.target
    networks.measures[:, 2] = 0.5
    draws = configuration_draws(networks.configurations, 200, seed=0)
    found = pair_statistics(networks, draws)
    for information in (found.pgdl, found.jiang):
        value, low, high = information.value, information.low, information.high
        assert 0 < low[0] < information.corrected[0] < high[0] < 1
        ends = [value[1], information.corrected[1], low[1], high[1]]
        np.testing.assert_allclose(ends, 1, rtol=0, atol=1e-9)
        assert [value[2], low[2], high[2]] == [0, 0, 0]  # a constant says nothing
    generator = np.random.default_rng(7)
    noise = networks._replace(
        measures=generator.normal(size=(count, 8)), measure_names=tuple("abcdefgh")
    )
    found = pair_statistics(noise, draws)
    for information in (found.pgdl, found.jiang):
        assert (information.value > 0).all()
        assert (information.value < 0.1).all()
        assert (information.low == 0).all()


def test_monotone_transforms_and_the_order_of_rows_change_nothing():
    networks = make_networks(60, values=20, seed=8)
    draws = configuration_draws(networks.configurations, 20, seed=0)
    found = pair_statistics(networks, draws)
    rows = np.random.default_rng(0).permutation(60)
    other = networks._replace(
        measures=np.exp(networks.measures / 9)[rows],
        target=-1 / (1 + networks.target[rows]),
        levels=7 - 2 * networks.levels[rows],
        configurations=networks.configurations[rows],
    )
    moved = pair_statistics(other, draws[:, rows])
    for one, two in zip(found, moved, strict=True):
        for name, expected in one._asdict().items():
            if isinstance(expected, np.ndarray):
                np.testing.assert_allclose(getattr(two, name), expected, atol=1e-10, err_msg=name)
            else:
                assert getattr(two, name) == expected


def test_jiangs_version_does_not_care_for_the_sign_of_a_measure():
    networks = make_networks(50, values=9, seed=9)
    turned = networks._replace(measures=-networks.measures)
    np.testing.assert_allclose(
        conditional_information(turned, version="jiang").by_set,
        conditional_information(networks, version="jiang").by_set,
        atol=1e-12,
    )
    np.testing.assert_allclose(
        stratified_kendall(turned).value, -stratified_kendall(networks).value, atol=1e-12
    )


def test_a_measure_is_judged_on_the_networks_that_it_has_values_for():
    networks = make_networks(60, values=40, seed=10)
    measures = networks.measures.copy()
    # Among the last 40 networks the third hyper-parameter does not vary.
    networks.levels[20:, 2] = 1
    measures[:20, 0] = np.nan
    measures[:, 1] = np.nan
    draws = configuration_draws(networks.configurations, 10, seed=0)
    found = pair_statistics(networks._replace(measures=measures), draws)
    rest = MeasuredNetworks(
        measures[20:, :1],
        networks.target[20:],
        networks.levels[20:],
        networks.configurations[20:] - 20,
        networks.seeds[20:],
        ("one",),
        networks.hyper_names,
        networks.hyper_values,
        networks.continuous[20:],
    )
    alone = pair_statistics(rest, draws[:, 20:])
    for own, expected in ((found.pgdl, alone.pgdl), (found.jiang, alone.jiang)):
        for name in ("value", "corrected", "low", "high"):
            assert getattr(own, name)[0] == pytest.approx(getattr(expected, name)[0], abs=1e-12)
            assert np.isnan(getattr(own, name)[1])
        assert own.argmin[0] == expected.argmin[0]
        assert own.argmin[1] is None
        np.testing.assert_allclose(own.draws[:, 0], expected.draws[:, 0], atol=1e-12)
        with_third = ["hp.2" in names for names in own.sets]
        assert np.isnan(own.by_set[0, with_third]).all()
        assert np.isfinite(own.by_set[0, np.logical_not(with_third)]).all()
    np.testing.assert_allclose(found.kendall.value[0], alone.kendall.value[0], atol=1e-12)
    assert found.kendall.value[0, 2] == pytest.approx(found.kendall.overall[0], abs=1e-12)
    assert np.isnan(found.kendall.overall[1])


@pytest.mark.parametrize("hypers", [(), (3,), (1, 3)])
def test_fewer_than_two_hyper_parameters_that_vary(hypers):
    networks = make_networks(30, hypers=hypers, seed=11)
    draws = configuration_draws(networks.configurations, 10, seed=0)
    found = pair_statistics(networks, draws)
    assert np.isnan(found.pgdl.value).all()
    assert np.isnan(found.pgdl.low).all()
    assert found.pgdl.argmin == (None, None, None)
    assert found.pgdl.draws.shape == (10, 3)
    expected = [
        loop_cmi(as_frame(networks), networks.target, measure, "jiang")
        for measure in networks.measures.T
    ]
    np.testing.assert_allclose(found.jiang.value, [value for value, _, _ in expected], atol=1e-12)
    assert found.jiang.argmin == tuple(argmin for _, argmin, _ in expected)
    assert found.kendall.value.shape == (3, len(hypers))


def test_what_the_hyper_parameters_decide_is_left_out():
    # The target follows from the first hyper-parameter: no order is left when it is known.
    levels = np.array(list(itertools.product(range(6), range(2))))
    target = levels[:, 0] * 2.0
    networks = from_arrays(np.random.default_rng(0).normal(size=(12, 1)), target, levels)
    found = conditional_information(networks, version="jiang")
    undefined = ["hp.0" in names for names in found.sets]
    assert np.isnan(found.by_set[0, undefined]).all()
    assert found.value[0] == np.nanmin(found.by_set[0])
    alone = from_arrays(networks.measures, np.zeros(12), levels)  # nothing at all to predict
    assert np.isnan(conditional_information(alone, version="jiang").value).all()
    assert np.isnan(conditional_information(alone, version="pgdl").value).all()
    assert np.isnan(stratified_kendall(alone).overall).all()


@pytest.mark.parametrize("count", [1, 2])
def test_one_and_two_networks(count):
    networks = make_networks(count, seed=12)
    found = pair_statistics(networks, np.ones((3, count), np.int64))
    assert np.isnan(found.pgdl.value).all()
    expected = np.nan if count == 1 else 1.0
    np.testing.assert_array_equal(found.jiang.value[:1], [expected])
    np.testing.assert_array_equal(np.abs(found.kendall.overall[:1]), [expected])


def test_progress_names_every_measure_with_values():
    networks = make_networks(20, seed=13)
    said = []
    pair_statistics(networks, on_progress=lambda *words: said.append(words))
    assert said == [(1, 3, "measure.0"), (2, 3, "measure.1"), (3, 3, "measure.2")]


def test_wrong_arguments_are_refused():
    networks = make_networks(10)
    with pytest.raises(InvalidInputError, match="level: found 95"):
        pair_statistics(networks, level=95.0)
    with pytest.raises(InvalidInputError, match="version: unknown name 'pgld'; did you mean"):
        conditional_information(networks, version="pgld")
