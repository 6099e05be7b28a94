"""Agreement with a target and its bootstrap: scipy, loops over pairs, simulated coverage."""

import json
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from genjax.errors import InvalidInputError
from genjax.statistics import correlation, pair_draws
from genjax.statistics.correlation import (
    STATISTICS,
    bootstrap,
    concordance,
    kendall,
    pearson,
    plain_sign_error,
    spearman,
)
from genjax.statistics.networks import configuration_draws
from genjax.statistics.partial import partial_spearman
from genjax.statistics.resampling import percentile_interval

PLAIN = {
    "kendall": kendall,
    "concordance": concordance,
    "plain_sign_error": plain_sign_error,
    "spearman": spearman,
    "pearson": pearson,
}


def table(count, *, seed):
    """A target with ties and measures: no tie, few values, one long tie, another scale."""
    generator = np.random.default_rng(seed)
    target = generator.integers(0, max(2, count // 2), count) / 7
    noise = generator.normal(size=(count, 4))
    measures = noise + target[:, None]
    measures[:, 1] = np.floor(measures[:, 1])
    measures[:, 2] = np.where(generator.random(count) < 0.8, 0, measures[:, 2])
    measures[:, 3] = 1e6 - 1e3 * measures[:, 3]
    return target, measures


def loop_over_pairs(target, measure):
    """Concordance and sign error, from their definitions."""
    errors, concordant = [], []
    for i in range(len(target)):
        for j in range(i):
            product = np.sign(measure[i] - measure[j]) * np.sign(target[i] - target[j])
            errors.append((1 - product) / 2)
            if target[i] != target[j]:
                concordant.append((1 + product) / 2)
    return np.mean(concordant), np.mean(errors)


@pytest.mark.parametrize("count", [5, 40, 90])
def test_equal_scipy_column_by_column(count):
    target, measures = table(count, seed=count)
    for k, measure in enumerate(measures.T):
        expected = [
            stats.kendalltau(target, measure).statistic,
            (1 + stats.somersd(target, measure).statistic) / 2,
            stats.spearmanr(target, measure).statistic,
            stats.pearsonr(target, measure).statistic,
        ]
        found = [of(target, measures)[k] for of in (kendall, concordance, spearman, pearson)]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_concordance_and_sign_error_equal_loops_over_pairs(seed):
    target, measures = table(23, seed=seed)
    expected = np.array([loop_over_pairs(target, measure) for measure in measures.T])
    np.testing.assert_allclose(concordance(target, measures), expected[:, 0], atol=1e-14)
    np.testing.assert_allclose(plain_sign_error(target, measures), expected[:, 1], atol=1e-14)


@pytest.mark.parametrize("name", PLAIN)
def test_constant_columns_have_no_value(name):
    target, measures = np.arange(6.0), np.stack([np.full(6, 0.1), np.arange(6.0)], axis=1)
    found = PLAIN[name](target, measures)
    assert np.isnan(found[0])
    assert found[1] == pytest.approx(0 if name == "plain_sign_error" else 1, abs=1e-15)
    assert np.isnan(PLAIN[name](np.full(6, 0.3), measures)).all()


@pytest.mark.parametrize("name", PLAIN)
def test_one_network_two_networks_no_measure(name):
    statistic = PLAIN[name]
    assert np.isnan(statistic(np.array([1.0]), np.array([[2.0]]))).all()
    reverse = statistic(np.array([1.0, 2.0]), np.array([[5.0], [3.0]]))
    worst = {"concordance": 0, "plain_sign_error": 1}.get(name, -1)
    assert reverse[0] == pytest.approx(worst, abs=1e-15)
    assert statistic(np.array([1.0, 2.0]), np.zeros((2, 0))).shape == (0,)


@pytest.mark.parametrize("scale", [1e-300, 1e-8, 1e300])
def test_scale_does_not_matter(scale):
    target, measures = table(50, seed=1)
    for of in PLAIN.values():
        expected = of(target, measures)
        np.testing.assert_allclose(of(target * scale, measures * scale / 1e7), expected, rtol=1e-9)


def test_a_measure_far_from_zero_keeps_its_digits():
    target, measures = table(50, seed=2)
    shifted = measures[:, :1] + 1e6
    exact = [Fraction(value) for value in shifted[:, 0]], [Fraction(value) for value in target]
    x, y = ([value - sum(column) / 50 for value in column] for column in exact)
    product = sum(a * b for a, b in zip(x, y, strict=True))
    norms = [float(sum(value**2 for value in column)) ** 0.5 for column in (x, y)]
    assert pearson(target, shifted)[0] == pytest.approx(
        float(product) / norms[0] / norms[1], abs=1e-14
    )


@pytest.mark.data
def test_published_kendall_and_pearson(data_dir):
    folder = data_dir / "published" / "pgdl"
    networks = pd.read_csv(folder / "task1.csv")
    expected = json.loads((folder / "task1_expected.json").read_text())["task1"]
    target = networks["gen_gap_acc"].to_numpy()
    for name, values in expected.items():
        measures = networks[[f"measure.{name}"]].to_numpy(np.float64)
        if values.get("pearson") is not None:
            found = abs(pearson(target, measures)[0])
            assert found == pytest.approx(values["pearson"], abs=1e-9), name
        if values.get("kendall_tau_b") is not None:
            found = kendall(target, measures)[0]
            assert found == pytest.approx(values["kendall_tau_b"], abs=1e-8), name


# 700 networks make several blocks of neighbours, and the tie of 80 % is longer than a block.
@pytest.mark.parametrize("count", [1, 2, 7, 90, 700])
def test_draws_equal_repeated_rows(count):
    target, measures = table(count, seed=count)
    generator = np.random.default_rng(count)
    configurations = np.sort(generator.integers(0, (count + 1) // 2, count))
    configurations = np.unique(configurations, return_inverse=True)[1]
    draws = configuration_draws(configurations, 6, seed=0)
    design = np.stack([configurations % 3 == 0, configurations, configurations % 2], axis=1)
    design = design.astype(np.float64)
    found = bootstrap(STATISTICS, target, measures, draws, design=design)
    assert tuple(found) == STATISTICS
    for k, times in enumerate(draws):
        rows = np.repeat(np.arange(count), times)
        again = (target[rows], measures[rows])
        for name, of in PLAIN.items():
            np.testing.assert_allclose(found[name][k], of(*again), rtol=0, atol=1e-12)
        expected = partial_spearman(*again, design[rows])
        np.testing.assert_allclose(found["partial_spearman"][k], expected, rtol=0, atol=1e-11)


def test_pairs_in_draws_are_exact_whole_numbers():
    target, measures = table(61, seed=5)
    draws = np.random.default_rng(0).integers(0, 4, (3, 61))
    found = pair_draws.count_pairs_in_draws(target, measures, draws)
    for d, times in enumerate(draws):
        for m, measure in enumerate(measures.T):
            signs = np.sign(target[:, None] - target) * np.sign(measure[:, None] - measure)
            equal = measure[:, None] == measure
            assert found.difference[d, m] == (times @ signs @ times) / 2
            assert found.measure_ties[d, m] == (times @ equal @ times - times.sum()) / 2
        assert found.total[d, 0] == times.sum() * (times.sum() - 1) / 2
    whole = pair_draws.count_pairs_in_draws(target, measures, np.ones((1, 61), np.int64))
    for one, other in zip(whole, pair_draws.count_pairs(target, measures), strict=True):
        np.testing.assert_array_equal(one, other)


def test_draws_do_not_depend_on_how_many_are_computed_at_once(monkeypatch):
    target, measures = table(90, seed=3)
    draws = configuration_draws(np.arange(90) // 2, 9, seed=1)
    design = np.arange(90.0)[:, None] % 4
    whole = bootstrap(STATISTICS, target, measures, draws, design=design)
    monkeypatch.setattr(correlation, "LARGEST", 1200)
    monkeypatch.setattr(pair_draws, "LARGEST", 200)
    parts = bootstrap(STATISTICS, target, measures, draws, design=design)
    for name in STATISTICS:
        np.testing.assert_allclose(parts[name], whole[name], rtol=0, atol=1e-14)


def test_a_huge_value_outside_the_sample_does_not_spoil_it():
    generator = np.random.default_rng(0)
    target, measure = generator.normal(size=(2, 20))
    measure[0], target[1] = 1e290, -1e250
    draws = np.ones((1, 20), np.int64)
    draws[0, :2] = 0
    expected = stats.pearsonr(target[2:], measure[2:]).statistic
    found = bootstrap(("pearson",), target, measure[:, None], draws)["pearson"]
    assert found[0, 0] == pytest.approx(expected, abs=1e-12)


def test_samples_without_networks_or_spread_have_no_value():
    target, measures = table(12, seed=4)
    draws = np.zeros((3, 12), np.int64)
    draws[1, 5] = 12
    draws[2] = np.isin(measures[:, 2], [0])
    found = bootstrap(STATISTICS, target, measures, draws, design=np.ones((12, 1)))
    for name in STATISTICS:
        assert np.isnan(found[name][:2]).all()
        assert np.isnan(found[name][2, 2])
        assert np.isfinite(found[name][2, [0, 3]]).all()


def test_refusals_name_the_argument():
    target, measures = table(5, seed=0)
    draws = np.ones((1, 5), np.int64)
    with pytest.raises(InvalidInputError, match="statistics: unknown name 'kendal'; did you mean"):
        bootstrap(("kendal",), target, measures, draws)
    with pytest.raises(InvalidInputError, match="design: found None"):
        bootstrap(("partial_spearman",), target, measures, draws)


# Populations of normal variables, whose rank correlations are known. Parts: of a configuration,
# shared by its seeds, and of a seed. The control belongs to the configuration.
TO_TARGET = np.array([0.0, 0.4, 0.85])
COVERED = ("kendall", "spearman", "pearson", "partial_spearman")


def population(generator, *, configurations, seeds, share, by_control):
    """Target, measures and control; `share` of the variance is the configuration's."""
    number = np.repeat(np.arange(configurations), seeds)
    control = generator.normal(size=configurations)[number]

    def parts(count):
        target = generator.normal(size=count)
        own = generator.normal(size=(count, len(TO_TARGET)))
        return target, TO_TARGET * target[:, None] + np.sqrt(1 - TO_TARGET**2) * own

    common, single = parts(configurations), parts(len(number))
    target, measures = (
        np.sqrt(share) * a[number] + np.sqrt(1 - share) * b
        for a, b in zip(common, single, strict=True)
    )
    return target + by_control * control, measures + by_control * control[:, None], control, number


def truth(by_control):
    """tau = 2/pi asin r, rho_s = 6/pi asin(r/2), and the partial correlation of the latter."""
    variance = 1 + by_control**2
    r = (TO_TARGET + by_control**2) / variance
    to_control = 6 / np.pi * np.arcsin(by_control / np.sqrt(variance) / 2)
    ranks = 6 / np.pi * np.arcsin(r / 2)
    partial = (ranks - to_control**2) / (1 - to_control**2)
    return np.stack([2 / np.pi * np.arcsin(r), ranks, r, partial])


def coverage(populations, draws, **settings):
    generator = np.random.default_rng(11)
    hits = 0
    for k in range(populations):
        target, measures, control, number = population(generator, **settings)
        times = configuration_draws(number, draws, seed=k)
        found = bootstrap(COVERED, target, measures, times, design=control[:, None])
        drawn = np.stack([found[name] for name in COVERED], axis=1)
        low, high = percentile_interval(drawn, units=settings["configurations"])
        hits += (low <= truth(settings["by_control"])) & (truth(settings["by_control"]) <= high)
    return hits / populations


@pytest.mark.slow
def test_coverage_with_three_seeds_per_configuration():
    found = coverage(500, 400, configurations=30, seeds=3, share=0.6, by_control=0.7)
    assert found.min() >= 0.92, found
    assert found.max() <= 0.98, found


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {"configurations": 50, "seeds": 1, "share": 1.0, "by_control": 0.0},
        {"configurations": 200, "seeds": 1, "share": 1.0, "by_control": 1.0},
        {"configurations": 40, "seeds": 5, "share": 0.9, "by_control": 0.7},
        {"configurations": 100, "seeds": 5, "share": 0.3, "by_control": 0.5},
    ],
)
def test_coverage(settings):
    found = coverage(1000, 400, **settings)
    assert found.min() >= 0.92, found
    assert found.max() <= 0.98, found
