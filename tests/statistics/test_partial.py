"""Partial and cross-fitted association: published audit, closed forms, simulated confounding."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.linear_model import Ridge

from genjax.errors import InvalidInputError
from genjax.statistics import partial
from genjax.statistics.correlation import pearson, spearman
from genjax.statistics.partial import control_design, cross_fitted, partial_spearman

CONTROLS = ["lr", "wd", "dropout", "optimizer", "arch", "task", "seed"]


@pytest.mark.data
def test_published_audit(data_dir):
    folder = data_dir / "published" / "mbe"
    tables = ["jmlr_confirm_image_results.csv", "jmlr_scale_image_results.csv"]
    runs = pd.concat([pd.read_csv(folder / name) for name in tables], ignore_index=True)
    audit = pd.read_csv(folder / "audit_summary.csv")
    assert set(audit["group"]) == {"suite=image", "arch=cnn", "arch=resnet"}
    for row in audit.itertuples():
        column, value = row.group.split("=")
        chosen = runs[(runs[column] == value) & runs[row.metric].notna()]
        assert len(chosen) == row.n
        target = chosen["final_acc"].to_numpy()
        measure = chosen[[row.metric]].to_numpy(np.float64)
        design = control_design({name: chosen[name].to_numpy() for name in CONTROLS})
        found = partial_spearman(target, measure, design)[0]
        assert found == pytest.approx(row.mbe_partial, abs=1e-9), row
        assert spearman(target, measure)[0] == pytest.approx(row.raw_spearman, abs=1e-9), row


def table(count, *, seed):
    generator = np.random.default_rng(seed)
    controls = generator.integers(0, 4, (count, 3)).astype(float)
    target = controls @ [1.0, -0.5, 0.3] + generator.normal(size=count)
    measures = controls @ [[0.5, 1.0], [0.5, 0.0], [0.0, 0.2]] + generator.normal(size=(count, 2))
    measures[:, 0] = np.round(measures[:, 0])
    return target, measures, controls


@pytest.mark.parametrize("count", [8, 100])
def test_one_control_equals_the_formula_of_three_correlations(count):
    target, measures, controls = table(count, seed=1)
    one = controls[:, 0]
    xy = spearman(target, measures)
    yz, xz = spearman(target, one[:, None])[0], spearman(one, measures)
    expected = (xy - xz * yz) / np.sqrt((1 - xz**2) * (1 - yz**2))
    design = control_design({"one": one})
    np.testing.assert_allclose(partial_spearman(target, measures, design), expected, atol=1e-12)


def test_several_controls_equal_the_inverse_of_the_correlation_matrix():
    target, measures, controls = table(60, seed=2)
    found = partial_spearman(target, measures, controls)
    for k, measure in enumerate(measures.T):
        ranks = stats.rankdata(np.column_stack([target, measure, controls]), axis=0)
        inverse = np.linalg.inv(np.corrcoef(ranks.T))
        expected = -inverse[0, 1] / np.sqrt(inverse[0, 0] * inverse[1, 1])
        assert found[k] == pytest.approx(expected, abs=1e-12)


def test_categories_remove_the_mean_rank_of_each_value():
    target, measures, controls = table(90, seed=3)
    names = np.array(["sgd", "adam", "lion", "muon"])[controls[:, 0].astype(int)]
    ranks = pd.DataFrame(stats.rankdata(np.column_stack([target, measures]), axis=0))
    left = (ranks - ranks.groupby(names).transform("mean")).to_numpy()
    expected = np.corrcoef(left.T)[0, 1:]
    found = partial_spearman(target, measures, control_design({"optimizer": names}))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_controls_may_repeat_each_other_and_be_constant():
    target, measures, controls = table(50, seed=4)
    ranks = stats.rankdata(controls, axis=0)
    expected = partial_spearman(target, measures, ranks)
    levels = np.eye(4)[controls[:, 0].astype(int)]
    repeated = [ranks, ranks[:, ::-1], np.exp(controls), np.ones((50, 2)), np.zeros((50, 1))]
    found = partial_spearman(target, measures, np.concatenate(repeated, axis=1))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    some, all_levels = (
        partial_spearman(target, measures, np.concatenate([ranks, levels[:, k:]], axis=1))
        for k in (1, 0)
    )
    np.testing.assert_allclose(all_levels, some, rtol=0, atol=1e-12)


def test_without_controls_it_is_spearman():
    target, measures, _ = table(30, seed=5)
    found = partial_spearman(target, measures, np.zeros((30, 0)))
    np.testing.assert_allclose(found, spearman(target, measures), rtol=0, atol=1e-14)


def test_nothing_is_left_of_what_the_controls_explain():
    target, measures, controls = table(40, seed=6)
    explained = np.column_stack([np.exp(controls[:, 0]), np.full(40, 0.1), measures[:, 0]])
    found = partial_spearman(target, explained, controls)
    assert np.isnan(found[:2]).all()
    assert np.isfinite(found[2])
    assert np.isnan(partial_spearman(-controls[:, 1], measures, controls)).all()


def test_few_networks():
    one, two = np.array([1.0]), np.array([1.0, 2.0])
    assert np.isnan(partial_spearman(one, one[:, None], one[:, None])).all()
    assert np.isnan(partial_spearman(two, two[:, None], two[:, None])).all()
    target, measures, controls = table(4, seed=7)
    assert np.isnan(partial_spearman(target, measures, np.eye(4) + controls[:, :1])).all()


def test_design_of_numbers_strings_truth_values_and_objects():
    columns = {
        "lr": np.array([3, 1, 1, 2]),
        "same": np.array([2.0, 2.0, 2.0, 2.0]),
        "norm": np.array([True, False, False, True]),
        "name": np.array(["c", "a", "b", "c"]),
        "object": np.array([None, 1, None, "x"], object),
        "one": np.array(["a", "a", "a", "a"], object),
    }
    expected = [
        [4, 1.5, 1.5, 3],
        [0, 1, 1, 0],
        [0, 1, 0, 0],
        [0, 0, 1, 0],
        [0, 1, 0, 0],
        [0, 0, 0, 1],
    ]
    np.testing.assert_array_equal(control_design(columns).T, expected)
    assert control_design({"same": columns["same"]}).shape == (4, 0)


def test_refusals_name_the_control():
    with pytest.raises(InvalidInputError, match="columns: found none"):
        control_design({})
    with pytest.raises(InvalidInputError, match="wd: found NaN"):
        control_design({"lr": np.array([1.0, 2.0]), "wd": np.array([1.0, np.nan])})
    with pytest.raises(InvalidInputError, match="id: found 1001 values that are no numbers"):
        control_design({"id": np.arange(1001).astype(str)})
    target, measures, controls = table(9, seed=0)
    with pytest.raises(
        InvalidInputError, match="folds: found 5; from 2 to the number of groups, 3"
    ):
        cross_fitted(target, measures, {"a": controls[:, 0]}, np.arange(9) // 3)


def population(count, seeds, *, seed, shared=1.0):
    """Levels of five hyper-parameters and how they move the target and a measure, in pairs too."""
    generator = np.random.default_rng(seed)
    number = np.repeat(np.arange(count), seeds)
    levels = generator.integers(0, 3, (count, 5))[number]

    def effects():
        single = sum(generator.normal(size=3)[levels[:, h]] for h in range(5))
        for a, b in itertools.combinations(range(5), 2):
            single = single + 0.5 * generator.normal(size=(3, 3))[levels[:, a], levels[:, b]]
        return single

    common, own = effects(), effects()
    target, noise = 0.5 * generator.normal(size=(2, len(number)))
    controls = {f"hp.{h}": levels[:, h] for h in range(5)}
    return common + target, shared * common + (1 - shared) * own, noise, controls, number


def by_hand(target, measures, controls, groups, *, penalties, folds, seed):
    """The definition with scikit-learn: one-hot, products of two, ridge per fold and penalty."""
    columns = []
    for levels in controls.values():
        columns.append([(levels == v).astype(float) for v in np.unique(levels)])
    design = [column for levels in columns for column in levels]
    for first, second in itertools.combinations(columns, 2):
        design += [a * b for a in first for b in second]
    design = np.stack(design, axis=1)
    outputs = np.column_stack([target, measures])
    scores = stats.norm.ppf((stats.rankdata(outputs, axis=0) - 0.5) / len(target))
    names = np.unique(groups)
    fold = dict(
        zip(names, np.random.default_rng(seed).permutation(len(names)) % folds, strict=True)
    )
    fold = np.array([fold[group] for group in groups])
    left = np.zeros((len(penalties), *scores.shape))
    for p, penalty in enumerate(penalties):
        for k in range(folds):
            model = Ridge(alpha=penalty, solver="svd").fit(design[fold != k], scores[fold != k])
            left[p, fold == k] = scores[fold == k] - model.predict(design[fold == k])
    best = (left**2).sum(1).argmin(0)
    return np.stack([left[best[m], :, m] for m in range(len(best))], axis=1)


# 24 networks have fewer rows than the design has columns.
@pytest.mark.parametrize(("count", "seeds"), [(24, 1), (60, 3), (200, 1)])
def test_cross_fitting_equals_scikit_learn(count, seeds, monkeypatch):
    target, confounded, noise, controls, groups = population(count, seeds, seed=count)
    measures = np.stack([confounded + noise, target + 2 * noise], axis=1)
    penalties = (0.1, 3.0, 100.0)
    monkeypatch.setattr(partial, "PENALTIES", penalties)
    left = by_hand(target, measures, controls, groups, penalties=penalties, folds=4, seed=3)
    for name, of in (("spearman", spearman), ("pearson", pearson)):
        found = cross_fitted(target, measures, controls, groups, folds=4, seed=3, statistic=name)
        np.testing.assert_allclose(found, of(left[:, 0].copy(), left[:, 1:]), atol=1e-9)


def test_confounding_vanishes_and_prediction_stays():
    found, raw, partials = [], [], []
    for seed in range(12):
        target, confounded, noise, controls, groups = population(1000, 1, seed=seed)
        measures = np.stack([confounded + noise, target + noise, noise], axis=1)
        found.append(cross_fitted(target, measures, controls, groups, seed=seed))
        raw.append(spearman(target, measures))
        names = {name: levels.astype(str) for name, levels in controls.items()}
        partials.append(partial_spearman(target, measures, control_design(names)))
    found = np.array(found)
    assert np.mean(raw, axis=0)[0] > 0.9
    # Controls without interactions leave what pairs of hyper-parameters do.
    assert np.mean(partials, axis=0)[0] > 0.5
    # Normal scores of a sum are no sum: a little of three hyper-parameters together is left.
    assert abs(found[:, 0].mean()) < 0.08
    # Noise of equal size in the target and beside it in the measure: correlation 0.707.
    assert found[:, 1].mean() == pytest.approx(0.69, abs=0.05)
    assert abs(found[:, 2].mean()) < 0.04


def test_permuted_targets_are_at_chance():
    target, confounded, noise, controls, groups = population(80, 1, seed=0)
    measures = np.stack([confounded + noise, noise], axis=1)
    generator = np.random.default_rng(1)
    found = np.array(
        [
            cross_fitted(generator.permutation(target), measures, controls, groups, seed=k)
            for k in range(200)
        ]
    )
    spread = 1 / np.sqrt(79)
    np.testing.assert_allclose(found.mean(0), 0, atol=4 * spread / np.sqrt(200))
    np.testing.assert_allclose(found.std(0), spread, rtol=0.25)


def test_numbers_with_many_values_are_curves():
    generator = np.random.default_rng(0)
    rate, decay = generator.uniform(size=(2, 600))
    bend = np.sin(3 * rate) * (1 + decay**2)
    target, measure, noise = bend + 0.1 * generator.normal(size=(3, 600))
    measures = np.stack([measure, 2 * target + noise - bend], axis=1)
    controls = {"rate": rate, "decay": np.exp(5 * decay)}
    found = cross_fitted(target, measures, controls, np.arange(600))
    assert spearman(target, measures)[0] > 0.9
    assert abs(found[0]) < 0.1
    assert found[1] > 0.8


def test_nothing_is_left_of_a_function_of_hyper_parameters():
    target, _, noise, controls, groups = population(200, 2, seed=1)
    depth, width = controls["hp.0"], controls["hp.1"]
    measures = np.stack([depth * 2.0**width, np.full(400, 0.1), target + noise], axis=1)
    found = cross_fitted(target, measures, controls, groups)
    assert np.isnan(found[:2]).all()
    assert np.isfinite(found[2])
    assert np.isnan(cross_fitted(np.ones(400), measures, controls, groups)).all()


def test_constant_controls_explain_nothing():
    target, confounded, noise, _, groups = population(40, 1, seed=2)
    controls = {"same": np.zeros(40)}
    found = cross_fitted(target, (confounded + noise)[:, None], controls, groups)
    assert found[0] == pytest.approx(spearman(target, (confounded + noise)[:, None])[0], abs=0.05)


def test_where_interactions_are_too_many_single_hyper_parameters_are_used(monkeypatch):
    target, confounded, noise, controls, groups = population(200, 1, seed=3)
    measures = (confounded + noise)[:, None]
    monkeypatch.setattr(partial, "WIDEST", 15 + 10 * 9)
    assert abs(cross_fitted(target, measures, controls, groups)[0]) < 0.2
    monkeypatch.setattr(partial, "WIDEST", 15 + 10 * 9 - 1)
    assert cross_fitted(target, measures, controls, groups)[0] > 0.5
