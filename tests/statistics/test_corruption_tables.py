import numpy as np
import pandas as pd
import pytest
from scipy import stats

from genjax.errors import InvalidInputError
from genjax.statistics import corruption_tables as robustness

KINDS, SEVERITIES = ["fog", "snow", "frost"], [1, 2, 3, 4, 5]
COLUMNS = pd.MultiIndex.from_product([KINDS, SEVERITIES], names=["corruption", "severity"])


def random_table(networks=4, seed=0):
    values = np.random.default_rng(seed).uniform(0.2, 0.95, (networks, len(COLUMNS)))
    index = pd.Index([f"net{i}" for i in range(networks)], name="network")
    return pd.DataFrame(values, index, COLUMNS)


def loops(table, reference):
    """mCE by the words of the paper, one number at a time."""
    result = []
    for name in table.index:
        ratios = []
        for kind in KINDS:
            own = sum(1 - table.loc[name, (kind, s)] for s in SEVERITIES)
            ratios.append(own / sum(1 - reference[(kind, s)] for s in SEVERITIES))
        result.append(sum(ratios) / len(ratios))
    return result


class TestWilson:
    @pytest.mark.parametrize("trials", [1, 7, 100])
    @pytest.mark.parametrize("level", [0.5, 0.95, 0.99])
    def test_equals_scipy(self, trials, level):
        counts = np.arange(trials + 1)
        low, high = robustness.wilson_interval(counts / trials, trials, level)
        for count in counts:
            expected = stats.binomtest(int(count), trials).proportion_ci(level, method="wilson")
            np.testing.assert_allclose([low[count], high[count]], expected, rtol=1e-12, atol=1e-15)

    def test_ends(self):
        low, high = robustness.wilson_interval(np.array([0.0, 1.0, np.nan]), 10)
        assert low[0] == 0
        assert high[1] == 1
        assert np.isnan([low[2], high[2]]).all()

    @pytest.mark.parametrize(
        ("share", "trials", "level"),
        [(1.1, 5, 0.95), (-0.1, 5, 0.95), (0.5, 0, 0.95), (0.5, 5, 1.0), (0.5, 5, 0.0)],
    )
    def test_refusals(self, share, trials, level):
        with pytest.raises(InvalidInputError, match=r"share|trials|level"):
            robustness.wilson_interval(share, trials, level)


class TestTables:
    def test_mean_is_over_all_cells(self):
        table = random_table()
        found = robustness.mean_corruption_accuracy(table)
        np.testing.assert_allclose(found["accuracy"], table.to_numpy().mean(1), rtol=1e-14)
        assert found[["low", "high"]].isna().all(axis=None)
        assert found.index.equals(table.index)

    def test_mce_equals_the_loops(self):
        table = random_table()
        for name in table.index:
            found = robustness.mean_corruption_error(table, table.loc[name])
            np.testing.assert_allclose(found["mce"], loops(table, table.loc[name]), rtol=1e-13)
            assert found.loc[name, "mce"] == 1

    def test_order_of_columns_does_not_matter(self):
        table = random_table()
        mixed = table[COLUMNS[np.random.default_rng(1).permutation(len(COLUMNS))]]
        reference = table.loc["net2"]
        pd.testing.assert_frame_equal(
            robustness.corruption_errors(mixed, reference)[KINDS],
            robustness.corruption_errors(table, mixed.loc["net2"]),
        )

    def test_one_network_one_cell(self):
        table = pd.DataFrame([[0.75]], ["a"], COLUMNS[:1])
        assert robustness.mean_corruption_accuracy(table).loc["a", "accuracy"] == 0.75
        reference = pd.Series([0.5], COLUMNS[:1])
        assert robustness.mean_corruption_error(table, reference).loc["a", "mce"] == 0.5

    def test_missing_cells_are_not_averaged_over(self):
        table = random_table()
        table.iloc[1, 3] = np.nan
        accuracy = robustness.mean_corruption_accuracy(table, images=10)
        mce = robustness.mean_corruption_error(table, table.loc["net0"], images=10)
        for found in (accuracy, mce):
            assert found.isna().all(axis=1).tolist() == [False, True, False, False]

    def test_interval_of_the_accuracy(self):
        table = random_table()
        found = robustness.mean_corruption_accuracy(table, images=200, level=0.9)
        ends = robustness.wilson_interval(table.to_numpy().mean(1), 200, 0.9)
        np.testing.assert_allclose(found[["low", "high"]], np.stack(ends, 1), rtol=1e-13)

    def test_interval_of_mce_with_equal_references_is_that_of_the_error(self):
        table = random_table()
        reference = pd.Series(0.6, COLUMNS)
        found = robustness.mean_corruption_error(table, reference, images=200)
        error = 1 - table.to_numpy().mean(1)
        low, high = robustness.wilson_interval(error, 200)
        np.testing.assert_allclose(found["mce"], error / 0.4, rtol=1e-13)
        np.testing.assert_allclose(found["low"], low / 0.4, rtol=1e-13)
        np.testing.assert_allclose(found["high"], high / 0.4, rtol=1e-13)

    def test_all_wrong_is_the_largest_mce(self):
        table = pd.DataFrame(0.0, ["a"], COLUMNS)
        reference = random_table().loc["net1"]
        found = robustness.mean_corruption_error(table, reference, images=50).loc["a"]
        np.testing.assert_allclose(found["high"], found["mce"], rtol=1e-13)
        assert found["low"] < found["mce"]

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda t: t * 100, "allowed are accuracies as fractions"),
            (lambda t: t - 1, "allowed are accuracies as fractions"),
            (lambda t: t.iloc[:, :-1], r"'frost' has the severities \[1, 2, 3, 4\]"),
            (lambda t: t.iloc[:0], "found 0 rows"),
            (lambda t: t["fog"], "1 header rows"),
            (lambda t: pd.concat([t, t.iloc[:, :1]], axis=1), "severity 1 of 'fog' stands twice"),
            (lambda t: t.astype(object).replace(t.iloc[0, 0], "x"), "no number"),
        ],
    )
    def test_refusals(self, change, message):
        with pytest.raises(InvalidInputError, match=message):
            robustness.mean_corruption_accuracy(change(random_table()))

    def test_references_are_checked(self):
        table = random_table()
        good = table.loc["net0"]
        for reference, message in (
            (good.iloc[1:], "found 14 values"),
            (good.rename({"fog": "rain"}), "one for each of the 15 columns"),
            (good.where(good.index.get_level_values(0) != "snow", 1.0), "on 'snow' is 0"),
            (good.where(good.index != ("snow", 2)), "on 'snow' is nan"),
            (good * 100, "fractions"),
        ):
            with pytest.raises(InvalidInputError, match=message):
                robustness.mean_corruption_error(table, reference)


class TestReadTable:
    def test_round_trip(self, tmp_path):
        table = random_table()
        plain = table.copy()
        plain.columns.names, plain.index.name = [None, None], None
        plain.to_csv(tmp_path / "a.csv")
        pd.testing.assert_frame_equal(robustness.read_table(tmp_path / "a.csv"), table)

    def test_refusals(self, tmp_path):
        path = tmp_path / "a.csv"
        with pytest.raises(InvalidInputError, match="cannot be read"):
            robustness.read_table(path)
        for text, message in (
            ("", "cannot be read"),
            ("network,accuracy\na,0.5\n", "cannot be read"),
            (",fog,fog\n,1,x\na,0.5,0.5\n", "cannot be read"),
            (",fog,fog\n,1,2\na,50,60\n", "fractions"),
            (",fog,fog\n,1,2\na,0.5,cat\n", "no number"),
        ):
            path.write_text(text)
            with pytest.raises(InvalidInputError, match=message):
                robustness.read_table(path)


class TestOutcomes:
    def test_value_and_draws_equal_loops(self):
        rng = np.random.default_rng(3)
        correct = rng.random((2, 3, 25)) < 0.6
        reference = rng.random((2, 3, 25)) < 0.3
        drawn = np.random.default_rng(7)
        accuracies, ratios = [], []
        for _ in range(200):
            taken = drawn.integers(25, size=25)
            own, other = correct[..., taken], reference[..., taken]
            accuracies.append(own.mean())
            ratios.append(np.mean([(~own[c]).sum() / (~other[c]).sum() for c in range(2)]))
        tail = stats.norm.cdf(np.sqrt(25 / 24) * stats.t.ppf(0.05, 24))
        accuracy = robustness.outcome_interval(correct, draws=200, seed=7, level=0.9)
        expected = np.quantile(accuracies, [tail, 1 - tail])
        np.testing.assert_allclose(accuracy, [correct.mean(), *expected], rtol=1e-12)
        mce = robustness.outcome_interval(correct, reference, draws=200, seed=7, level=0.9)
        whole = np.mean([(~correct[c]).sum() / (~reference[c]).sum() for c in range(2)])
        expected = np.quantile(ratios, [tail, 1 - tail])
        np.testing.assert_allclose(mce, [whole, *expected], rtol=1e-12)

    def test_value_equals_the_tables(self):
        rng = np.random.default_rng(4)
        both = rng.random((2, 3, 5, 80)) < 0.5
        table = pd.DataFrame(both.mean(-1).reshape(2, -1), ["a", "b"], COLUMNS)
        value = robustness.outcome_interval(both[0], both[1], draws=1).value
        expected = robustness.mean_corruption_error(table, table.loc["b"]).loc["a", "mce"]
        assert value == pytest.approx(expected, rel=1e-13)

    def test_same_network_as_its_reference_has_no_doubt(self):
        correct = np.random.default_rng(5).random((2, 3, 50)) < 0.5
        found = robustness.outcome_interval(correct, correct, draws=50)
        np.testing.assert_allclose(found, 1, rtol=1e-12)

    def test_identical_cells_are_as_one(self):
        """An image counts once, in however many cells it stands."""
        one = np.random.default_rng(6).random((1, 1, 60)) < 0.7
        many = np.broadcast_to(one, (4, 5, 60)).copy()
        np.testing.assert_allclose(
            robustness.outcome_interval(many, draws=300),
            robustness.outcome_interval(one, draws=300),
            rtol=1e-12,
        )

    def test_where_no_interval_exists(self):
        single = robustness.outcome_interval(np.ones((2, 2, 1), bool))
        assert single.value == 1
        assert np.isnan([single.low, single.high]).all()
        reference = np.ones((1, 1, 20), bool)
        reference[..., 0] = False  # Missing from a third of the draws.
        rare = robustness.outcome_interval(np.zeros((1, 1, 20), bool), reference, draws=50)
        assert rare.value == pytest.approx(20)
        assert np.isnan([rare.low, rare.high]).all()

    def test_refusals(self):
        correct = np.zeros((2, 2, 5), bool)
        better = np.stack([correct[0], ~correct[0]])
        with pytest.raises(InvalidInputError, match="no error on corruption 1"):
            robustness.outcome_interval(correct, better)
        with pytest.raises(InvalidInputError, match="neither may be empty"):
            robustness.outcome_interval(correct[:, :0])
        with pytest.raises(InvalidInputError, match="neither may be empty"):
            robustness.outcome_interval(correct, draws=0)


@pytest.mark.data
@pytest.mark.parametrize(("dataset", "networks"), [("cifar10", 23), ("cifar100", 13)])
def test_published_accuracies(data_dir, dataset, networks):
    """Within .01 points: some of the printed values are cut off, not rounded."""
    folder = data_dir / "published" / "robustbench"
    table = robustness.read_table(folder / f"{dataset}_c_unaggregated.csv")
    assert table.shape == (networks, 75)
    # Two networks are spelt differently in the two files.
    table.index = table.index.str.replace("AugMixResNeXt", "AugMix_ResNeXt")
    table.index = table.index.str.replace("AugMixWRN", "AugMix_WRN")
    printed = pd.read_csv(folder / "model_info.csv")
    printed = printed[(printed["dataset"] == dataset) & (printed["threat"] == "corruptions")]
    printed = printed.set_index("model")["corruptions_acc"]
    assert set(printed.index) == set(table.index)
    found = 100 * robustness.mean_corruption_accuracy(table)["accuracy"]
    np.testing.assert_allclose(found, printed[table.index], rtol=0, atol=0.01)
