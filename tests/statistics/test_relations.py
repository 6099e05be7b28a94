"""Everything in one call: published numbers, known populations, what is left out and said."""

import json

import numpy as np
import pandas as pd
import pytest

from genjax import errors
from genjax.statistics import relate
from genjax.statistics.relations import COLUMNS, STAGES
from genjax.statistics.tables import read_table

FAST = {"draws": 40, "permutations": 200}


def grid_table(rng, seeds=3, shape=(3, 3, 4)):
    """A full grid; the target depends on every hyper-parameter and on chance."""
    levels = np.stack(np.meshgrid(*map(range, shape), indexing="ij"), -1).reshape(-1, len(shape))
    levels = np.repeat(levels, seeds, axis=0)
    hidden = np.repeat(rng.normal(size=len(levels) // seeds), seeds)
    table = pd.DataFrame(levels, columns=["hp.lr", "hp.depth", "hp.width"])
    table["seed"] = np.tile(np.arange(seeds), len(levels) // seeds)
    table["gap"] = 0.1 * (levels @ [1.0, 0.5, 0.2] + hidden + 0.2 * rng.normal(size=len(levels)))
    table["measure.good"] = table["gap"] + 0.02 * rng.normal(size=len(levels))
    table["measure.reversed"] = -(table["measure.good"] ** 3)
    table["measure.through"] = levels[:, 0] + 0.3 * rng.normal(size=len(levels))
    table["measure.noise"] = np.repeat(rng.normal(size=len(levels) // seeds), seeds)
    return table


@pytest.fixture(scope="module")
def found():
    table = grid_table(np.random.default_rng(0))
    return table, relate(table, target="gap", seed_column="seed", **FAST)


def test_verdicts_of_a_population_with_known_answers(found):
    _, relations = found
    verdicts = relations.table.set_index("measure")["verdict"]
    assert verdicts["good"] == "predicts"
    assert verdicts["reversed"] == "anti-predicts"
    assert verdicts["through"] == "only through lr"
    assert verdicts["noise"] == "indistinguishable from chance"


def test_the_table_has_the_stated_columns_and_order(found):
    _, relations = found
    assert tuple(relations.table.columns) == COLUMNS
    assert tuple(relations.references.columns) == COLUMNS
    strength = relations.table["kendall"].abs().to_numpy()
    assert (np.diff(strength) <= 0).all()
    assert relations.references["measure"].tolist() == [
        "random",
        "oracle 0.02",
        "oracle 0.05",
        "canonical",
    ]
    assert relations.references["p_value"].isna().all()
    assert relations.table["n"].tolist() == [108] * 4
    assert relations.table["configurations"].tolist() == [36] * 4


def test_intervals_hold_their_values(found):
    _, relations = found
    for name in ("kendall", "spearman", "pearson", "granulated", "sign_error_mean"):
        values, low, high = (relations.table[f"{name}{end}"] for end in ("", "_low", "_high"))
        assert ((low <= values) & (values <= high)).all(), name
    for name in ("cmi", "cmi_jiang"):
        low, middle, high = (relations.table[f"{name}{e}"] for e in ("_low", "_corrected", "_high"))
        assert ((low <= middle) & (middle <= high)).all(), name


def test_every_number_is_that_of_its_own_function(found):
    from scipy import stats

    table, relations = found
    rows = relations.table.set_index("measure")
    for name in rows.index:
        column = table[f"measure.{name}"]
        tau = stats.kendalltau(column, table["gap"]).statistic
        np.testing.assert_allclose(rows.loc[name, "kendall"], tau, rtol=1e-9)
        rho = stats.spearmanr(column, table["gap"]).statistic
        np.testing.assert_allclose(rows.loc[name, "spearman"], rho, rtol=1e-9)
        np.testing.assert_allclose(
            rows.loc[name, "concordance"], 1 - rows.loc[name, "sign_error"], rtol=1e-9
        )
    environments = relations.environments
    np.testing.assert_allclose(environments[rows.index].mean(), rows["sign_error_mean"], rtol=1e-9)
    np.testing.assert_allclose(
        environments[rows.index].quantile(0.9), rows["sign_error_p90"], rtol=1e-9
    )
    granulated = relations.by_hyper.query("statistic == 'granulated'")
    np.testing.assert_allclose(
        granulated.groupby("measure")["value"].mean()[rows.index], rows["granulated"], rtol=1e-9
    )


def test_by_hyper_is_long_and_complete(found):
    _, relations = found
    statistics = {"granulated", "stratified", "sign_error_mean", "sign_error_p90"}
    assert set(relations.by_hyper["statistic"]) == statistics | {"sign_error_max"}
    assert len(relations.by_hyper) == 5 * 4 * 3
    assert relations.by_hyper["value"].notna().all()


def test_the_same_seed_gives_the_same_numbers_and_progress_is_told():
    table, told = grid_table(np.random.default_rng(1), seeds=1), []
    one = relate(table, target="gap", on_progress=lambda *x: told.append(x), **FAST)
    other = relate(table, target="gap", **FAST)
    pd.testing.assert_frame_equal(one.table, other.table)
    assert told == [(k, len(STAGES), stage) for k, stage in enumerate((*STAGES, "done"))]


def test_the_order_of_rows_and_increasing_maps_do_not_matter():
    table = grid_table(np.random.default_rng(2), seeds=2)
    mixed = table.sample(frac=1.0, random_state=0).reset_index(drop=True)
    mixed["measure.good"] = np.exp(3 * mixed["measure.good"])
    one, other = (
        relate(t, target="gap", seed_column="seed", **FAST).table.set_index("measure").sort_index()
        for t in (table, mixed)
    )
    for name in ("kendall", "spearman", "granulated", "cmi", "cmi_jiang", "sign_error_mean"):
        np.testing.assert_allclose(one[name], other[name], rtol=1e-9, err_msg=name)


def test_a_table_without_hyper_parameters_has_correlations_only():
    rng = np.random.default_rng(3)
    table = pd.DataFrame({"gap": rng.normal(size=30), "measure.a": rng.normal(size=30)})
    relations = relate(table, target="gap", **FAST)
    row = relations.table.iloc[0]
    assert np.isfinite(row[["kendall", "kendall_low", "spearman", "p_value"]].astype(float)).all()
    nothing = ["granulated", "cmi", "sign_error_mean", "partial_spearman", "cross_fitted"]
    assert row[nothing].isna().all()
    assert relations.environments.empty
    assert relations.combination.empty
    assert set(relations.dropped["what"]) == {"statistic"}


def test_gaps_count_for_their_own_measure_only():
    table = grid_table(np.random.default_rng(4))
    whole = relate(table, target="gap", seed_column="seed", **FAST)
    table.loc[:20, "measure.noise"] = np.nan
    table.loc[50, "measure.noise"] = np.inf
    part = relate(table, target="gap", seed_column="seed", **FAST)
    rows, before = part.table.set_index("measure"), whole.table.set_index("measure")
    assert rows["n"].to_dict() == {"good": 108, "reversed": 108, "through": 108, "noise": 86}
    assert rows.loc["good", "kendall_low"] == before.loc["good", "kendall_low"]
    assert part.dropped["name"].tolist() == ["noise"]
    assert np.isfinite(rows.loc["noise", ["kendall", "granulated", "cmi"]].astype(float)).all()


def test_sign_errors_weigh_by_the_test_set_where_it_is_given():
    table = grid_table(np.random.default_rng(5))
    table["gap"] = table["gap"] / table["gap"].abs().max()
    plain = relate(table, target="gap", seed_column="seed", **FAST)
    sure = relate(table, target="gap", seed_column="seed", test_examples=500, **FAST)
    assert len(sure.environments) < len(plain.environments)
    assert (sure.environments["weight_sum"] <= 4.5).all()
    with pytest.raises(errors.InvalidInputError, match="differences of proportions"):
        relate(
            table.assign(gap=10 * table["gap"]),
            target="gap",
            seed_column="seed",
            test_examples=500,
            **FAST,
        )


def test_hyper_parameters_with_many_values_leave_out_what_needs_memory():
    rng = np.random.default_rng(6)
    levels = np.stack(np.meshgrid(range(40), range(40), indexing="ij"), -1).reshape(-1, 2)
    table = pd.DataFrame(levels, columns=["hp.a", "hp.b"])
    table["gap"] = rng.normal(size=1600) + 0.05 * levels[:, 0]
    table["measure.a"] = table["gap"] + rng.normal(size=1600)
    relations = relate(table, target="gap", draws=5, permutations=20)
    assert "joint levels" in " ".join(relations.dropped["reason"])
    assert np.isnan(relations.table["cmi"][0])
    assert np.isfinite(relations.table["granulated"][0])
    assert relations.table["verdict"][0] == "predicts"


def test_conditional_information_of_noise_holds_zero_where_settings_are_fixed():
    """Two hyper-parameters that fix the configuration: only seeds are left to compare."""
    held = []
    for trial in range(24):
        rng = np.random.default_rng(100 + trial)
        table = grid_table(rng, seeds=8, shape=(2, 5, 1)).drop(columns="hp.width")
        table = table.assign(**{f"measure.{k}": rng.normal(size=80) for k in range(3)})
        kept = ["hp.lr", "hp.depth", "seed", "gap", "measure.0", "measure.1", "measure.2"]
        rows = relate(table[kept], target="gap", seed_column="seed", draws=60, permutations=99)
        held += (rows.table["cmi_low"] == 0).tolist()
    assert np.mean(held) > 0.9


def settings(rng, shape, seeds):
    """A grid with its seeds, and an effect of each configuration that no hyper-parameter has."""
    levels = np.stack(np.meshgrid(*map(range, shape), indexing="ij"), -1).reshape(-1, len(shape))
    table = pd.DataFrame(np.repeat(levels, seeds, axis=0), columns=[f"hp.{k}" for k in range(2)])
    table["seed"] = np.tile(np.arange(seeds), len(levels))
    return table, np.repeat(rng.normal(size=len(levels)), seeds)


def test_what_follows_configurations_is_not_called_confounded():
    """Seed noise within configurations must not look like a loss within hyper-parameters."""
    verdicts = []
    for trial in range(12):
        rng = np.random.default_rng(200 + trial)
        table, effect = settings(rng, (3, 4), 8)
        table["gap"] = effect + rng.normal(size=len(table))
        table["measure.a"] = effect + rng.normal(size=len(table))
        found = relate(table, target="gap", seed_column="seed", **FAST)
        verdicts.append(found.table["verdict"][0])
    assert sum(verdict.startswith("only through") for verdict in verdicts) <= 1
    assert verdicts.count("predicts") >= 9


def test_the_direction_is_that_of_what_was_tested():
    """Means rise together while networks of one configuration fall: tau of networks is negative."""
    rng = np.random.default_rng(9)
    table, effect = settings(rng, (3, 4), 6)
    noise = 20 * rng.normal(size=(12, 6))
    noise = (noise - noise.mean(1, keepdims=True)).ravel()
    table["gap"], table["measure.a"] = effect + noise, effect - noise
    row = relate(table, target="gap", seed_column="seed", **FAST).table.iloc[0]
    assert row["kendall"] < 0 < row["statistic_of_means"]
    assert row["verdict"] == "predicts"


def test_few_configurations_and_seeds_of_their_own_are_said():
    rng = np.random.default_rng(10)
    table, effect = settings(rng, (2, 2), 6)
    table["gap"], table["measure.a"] = effect, effect + 0.01 * rng.normal(size=24)
    table["seed"] = np.arange(24)
    found = relate(table, target="gap", seed_column="seed", **FAST)
    reasons = " ".join(found.dropped["reason"])
    assert "with 4 configurations no adjusted p-value can be below 0.05" in reasons
    assert "no seed occurs in two configurations" in reasons
    assert np.isfinite(found.table["granulated"][0])


def test_networks_that_differ_in_a_continuous_hyper_parameter_are_no_environment():
    """A random search: what relates only through the learning rate is found in its bins."""
    rng = np.random.default_rng(7)
    table = pd.DataFrame({"hp.lr": rng.random(300), "hp.depth": rng.integers(0, 3, 300)})
    table["gap"] = table["hp.lr"] + 0.1 * rng.normal(size=300)
    table["measure.rate"] = table["hp.lr"] + 0.1 * rng.normal(size=300)
    table["measure.good"] = table["gap"] + 0.1 * rng.normal(size=300)
    relations = relate(table, target="gap", **FAST)
    rows = relations.table.set_index("measure")
    assert rows["granulated"].isna().all()
    assert relations.environments.empty
    assert rows["verdict"].to_dict() == {"good": "predicts", "rate": "only through lr"}
    stratified = relations.by_hyper.query("statistic == 'stratified'")
    assert set(stratified["hyper"]) == {"depth", "lr"}


def test_too_few_permutations_for_many_measures_are_refused():
    table = grid_table(np.random.default_rng(8), seeds=1)
    with pytest.raises(errors.InvalidInputError, match=r"permutations: found 79; .* at least 80"):
        relate(table, target="gap", draws=5, permutations=79)


def test_a_level_that_is_none_is_refused():
    with pytest.raises(errors.InvalidInputError, match="level: found 95"):
        relate(pd.DataFrame(), target="gap", level=95)


@pytest.mark.data
def test_published_numbers_of_pgdl_task_1(data_dir):
    folder = data_dir / "published" / "pgdl"
    expected = json.loads((folder / "task1_expected.json").read_text())["task1"]
    table = read_table(folder / "task1.csv")
    relations = relate(table, target="gen_gap_acc", draws=40, permutations=500)
    rows = relations.table.set_index("measure")
    assert set(rows.index) == set(expected)
    for name, numbers in expected.items():
        row = rows.loc[name]
        cmi = numbers.get("cmi", numbers.get("cmi_recomputed_only"))
        np.testing.assert_allclose(row["cmi"], cmi, atol=1e-9, err_msg=name)
        argmin = row["cmi_argmin"].split(" & ")
        assert sorted(argmin) == sorted(numbers["argmin_conditioning_set"])
        np.testing.assert_allclose(row["kendall"], numbers["kendall_tau_b"], atol=1e-8)
        if "pearson" in numbers:
            np.testing.assert_allclose(abs(row["pearson"]), numbers["pearson"], atol=1e-9)
