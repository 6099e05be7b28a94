"""Reading anybody's table: what is kept, what is left out and why, what is refused."""

import itertools

import numpy as np
import pandas as pd
import pytest

from genjax import errors
from genjax.statistics import tables

NAN = float("nan")


def small(**changes) -> pd.DataFrame:
    """A full grid of 3 x 2 hyper-parameters with two seeds; `None` takes a column away."""
    grid = list(itertools.product([2, 4, 8], ["sgd", "adam"], [0, 1]))
    frame = {
        "hp.depth": [depth for depth, _, _ in grid],
        "hp.optimizer": [name for _, name, _ in grid],
        "seed": [seed for _, _, seed in grid],
        "measure.norm": np.arange(12.0) ** 2,
        "measure.margin": np.arange(12.0)[::-1] % 5,
        "gap": np.linspace(0.1, 0.4, 12),
    }
    frame.update(changes)
    return pd.DataFrame({name: value for name, value in frame.items() if value is not None})


def read(table, **options):
    return tables.measured_networks(table, **{"target": "gap", "seed_column": "seed", **options})


def reasons(usable) -> list[tuple]:
    return list(usable.dropped.itertuples(index=False, name=None))


def refusal(table, **options) -> str:
    with pytest.raises(errors.InvalidInputError) as found:
        read(table, **options)
    assert "\n" not in str(found.value)
    assert str(found.value).endswith(".")
    return str(found.value)


# What comes of a good table ----------------------------------------------------------------------


def test_a_whole_grid():
    networks, dropped, controls = read(small())
    assert dropped.columns.tolist() == ["what", "name", "networks", "reason"]
    assert len(dropped) == 0
    assert networks.measure_names == ("norm", "margin")
    assert networks.hyper_names == ("depth", "optimizer")
    assert networks.hyper_values == ((2, 4, 8), ("adam", "sgd"))
    np.testing.assert_array_equal(networks.levels[:, 0], np.repeat([0, 1, 2], 4))
    np.testing.assert_array_equal(networks.levels[:, 1], np.tile([1, 1, 0, 0], 3))
    # Configurations in the order of their levels: (2, adam), (2, sgd), (4, adam), ...
    np.testing.assert_array_equal(networks.configurations, [1, 1, 0, 0, 3, 3, 2, 2, 5, 5, 4, 4])
    np.testing.assert_array_equal(networks.seeds, np.tile([0, 1], 6))
    np.testing.assert_array_equal(networks.measures[:, 0], np.arange(12.0) ** 2)
    np.testing.assert_array_equal(networks.target, np.linspace(0.1, 0.4, 12))
    assert list(controls) == ["depth", "optimizer"]
    np.testing.assert_array_equal(controls["depth"], np.repeat([2.0, 4, 8], 4))
    assert controls["optimizer"].tolist() == ["sgd", "sgd", "adam", "adam"] * 3


def test_measures_and_controls_by_name_with_and_without_prefix():
    table = small(epochs=np.arange(12) % 4)
    usable = read(table, measures=["margin", "epochs"], controls=["hp.depth", "seed"])
    assert usable.networks.measure_names == ("margin", "epochs")
    assert list(usable.controls) == ["depth", "seed"]
    # A measure that is controlled for is no measure.
    usable = read(table, controls=["norm", "optimizer"])
    assert usable.networks.measure_names == ("margin",)
    assert reasons(usable) == [("measure", "measure.norm", 12, "is a control")]
    assert list(usable.controls) == ["measure.norm", "optimizer"]


def test_a_name_that_another_column_has_keeps_its_prefix():
    table = small(**{"depth": 1.0, "measure.gap": np.arange(12.0), "hp.": [0, 1] * 6})
    networks = read(table).networks
    assert networks.hyper_names == ("hp.depth", "optimizer", "hp.")
    assert networks.measure_names == ("norm", "margin", "measure.gap")


def test_a_measure_called_like_a_column_of_environments_has_a_prefix():
    table = small(**{"measure.weight_sum": np.arange(12.0), "source_config": np.arange(12.0)})
    names = ["norm", "measure.weight_sum", "source_config"]
    networks = read(table, measures=names).networks
    assert networks.measure_names == ("norm", "measure.weight_sum", "measure.source_config")


def test_other_prefixes_and_a_seed_that_looks_like_a_hyper_parameter():
    table = small().rename(columns=lambda name: name.replace("hp.", "conf/"))
    table = table.rename(columns={"seed": "conf/seed", "measure.norm": "m_norm"})
    usable = read(table, hparam_prefix="conf/", measure_prefix="m_", seed_column="conf/seed")
    assert usable.networks.hyper_names == ("depth", "optimizer")
    assert usable.networks.measure_names == ("norm",)


def test_networks_without_a_target_are_left_out():
    gap = np.linspace(0.1, 0.4, 12)
    gap[[2, 7]] = NAN, np.inf
    usable = read(small(gap=gap))
    assert len(usable.networks.target) == 10
    assert reasons(usable) == [("networks", "gap", 2, "have no finite target")]
    np.testing.assert_array_equal(
        usable.networks.measures[:, 0], np.delete(np.arange(12.0), [2, 7]) ** 2
    )
    assert len(usable.controls["depth"]) == 10


def test_measures_with_gaps_and_without_use():
    partly = np.arange(12.0)
    partly[[0, 3, 5]] = NAN, np.inf, -np.inf
    hardly = np.full(12, NAN)
    hardly[:4] = np.arange(4)
    table = small(
        **{
            "measure.partly": partly,
            "measure.hardly": hardly,
            "measure.constant": 2.5,
            "measure.constant_or_missing": [1.0, NAN] * 6,
            "measure.text": ["0.5"] * 7 + ["n/a?"] * 5,
            "measure.huge": np.linspace(-1.0, 1.0, 12) * 1.7e308,
            "measure.date": pd.date_range("2024-01-01", periods=12),
            "measure.copy": np.linspace(0.1, 0.4, 12),  # an oracle, and kept
        }
    )
    usable = read(table)
    assert usable.networks.measure_names == ("norm", "margin", "partly", "huge", "copy")
    np.testing.assert_array_equal(
        usable.networks.measures[:, 2], [NAN, 1, 2, NAN, 4, NAN, 6, 7, 8, 9, 10, 11]
    )
    constant = "has the same value for every network"
    where = "where a number belongs"
    assert reasons(usable) == [
        (
            "measure",
            "partly",
            3,
            "is not finite for these networks, which are left out for it alone",
        ),
        ("measure", "hardly", 12, "is finite for 4 networks; at least 5 are needed"),
        ("measure", "constant", 12, constant),
        ("measure", "constant_or_missing", 12, constant),
        ("measure", "text", 12, f"column 'measure.text', row 8: found 'n/a?' {where}"),
        (
            "measure",
            "date",
            12,
            f"column 'measure.date', row 1: found Timestamp('2024-01-01 00:00:00') {where}",
        ),
    ]


def test_texts_in_a_measure_that_was_asked_for_are_refused_by_row_and_value():
    gap = np.linspace(0, 1, 12)
    gap[0] = NAN  # rows are counted in the table, not among the networks that are left
    table = small(gap=gap, **{"measure.norm": ["1", "2", "3", "x" * 99, *"45678901"]})
    said = refusal(table, measures=["norm"])
    assert said.startswith("measures: column 'measure.norm', row 4: found 'xxx")
    assert len(said) < 130


# Hyper-parameters --------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", [[1, 2], {"a": 1}, b"raw", 1j, pd.Timestamp("2024-01-01")])
def test_a_hyper_parameter_of_other_things_is_refused(cell):
    table = small(**{"hp.option": pd.Series([*[1.0] * 7, cell, *[2.0] * 4], dtype=object)})
    said = refusal(table)
    assert said.startswith("table: column 'hp.option', row 8: found ")
    assert said.endswith("allowed are numbers, strings, booleans and empty cells.")


def test_missing_and_constant_hyper_parameters():
    usable = read(small(**{"hp.growth": [NAN] * 4 + [2.0] * 4 + [4.0] * 4, "hp.epochs": 10}))
    assert usable.networks.hyper_names == ("depth", "optimizer", "growth")
    assert usable.networks.hyper_values[2] == (2, 4, "none")
    assert ("hyper-parameter", "epochs", 12, "has the same value for every network") in reasons(
        usable
    )
    # For controls the gaps are filled, and where they were is a control too.
    np.testing.assert_array_equal(usable.controls["growth"], [2.0] * 8 + [4.0] * 4)
    np.testing.assert_array_equal(usable.controls["growth has no value"], [1.0] * 4 + [0.0] * 8)
    only = read(small(**{"hp.option": [NAN, 5.0] * 6})).controls
    assert "option" not in only
    np.testing.assert_array_equal(only["option has no value"], [1.0, 0.0] * 6)


def test_a_continuous_hyper_parameter_has_no_levels_but_counts():
    rates = np.linspace(0.001, 0.1, 12)
    usable = tables.measured_networks(small(**{"hp.lr": rates}), target="gap")
    assert usable.networks.hyper_names == ("depth", "optimizer")
    assert len(np.unique(usable.networks.configurations)) == 12  # no seed column is needed
    np.testing.assert_array_equal(usable.controls["lr"], rates)
    assert reasons(usable) == [
        (
            "hyper-parameter",
            "lr",
            12,
            "has 12 values: taken as continuous, with no part in what needs levels",
        ),
        *(
            (
                "hyper-parameter",
                name,
                12,
                "never varies alone: left out of granulated tau and of sign errors",
            )
            for name in ("depth", "optimizer")
        ),
    ]
    np.testing.assert_array_equal(usable.networks.continuous, np.arange(12))


def test_where_a_grid_ends():
    def table(values, each):
        count = values * each
        column = np.repeat(np.arange(values), each)
        noise = np.random.default_rng(0).normal(size=(2, count))
        return pd.DataFrame(
            {"hp.a": column, "measure.b": noise[0], "gap": noise[1], "seed": range(count)}
        )

    assert read(table(64, 2)).networks.hyper_names == ("a",)
    assert read(table(65, 3)).networks.hyper_names == ()
    assert read(table(10, 1)).networks.hyper_names == ()


def test_without_hyper_parameters_every_row_is_a_configuration():
    table = small(**{"hp.depth": None, "hp.optimizer": None})
    for frame in (table, table.assign(**{"hp.one": 3})):
        usable = tables.measured_networks(frame, target="gap")
        np.testing.assert_array_equal(usable.networks.configurations, np.arange(12))
        assert usable.networks.levels.shape == (12, 0)
        assert usable.controls == {}
        dropped = usable.dropped[usable.dropped["what"] == "statistic"]
        assert dropped["name"].tolist() == ["granulated", "sign_error", "combination", "cmi"]
    alone = read(small(**{"hp.optimizer": None, "seed": range(12)})).dropped
    assert alone["name"].tolist() == ["cmi"]
    assert alone["reason"].tolist() == ["needs 2 or more hyper-parameters with a few values each"]


def test_hyper_parameters_that_never_vary_alone_are_named():
    usable = read(small(**{"hp.width": [8] * 4 + [16] * 4 + [32] * 4}))  # goes with depth
    never = "never varies alone: left out of granulated tau and of sign errors"
    assert reasons(usable) == [("hyper-parameter", name, 12, never) for name in ("depth", "width")]
    assert usable.networks.hyper_names == ("depth", "optimizer", "width")


def test_texts_that_all_differ_are_no_control():
    table = small(**{"hp.name": [f"run {k}" for k in range(12)]})
    usable = tables.measured_networks(table, target="gap")
    assert list(usable.controls) == ["depth", "optimizer"]
    assert ("control", "name", 12, "has 12 different texts: nothing would be left to explain") in (
        reasons(usable)
    )


def test_nothing_but_the_table_decides():
    table = small()
    before = table.copy()
    read(table)
    pd.testing.assert_frame_equal(table, before)
    shuffled = table.sample(frac=1, random_state=1)  # its index is no row number
    one, other = read(table).networks, read(shuffled).networks
    order = np.argsort(shuffled.index.to_numpy())
    np.testing.assert_array_equal(one.configurations, other.configurations[order])
    np.testing.assert_array_equal(one.measures, other.measures[order])


# Refusals ----------------------------------------------------------------------------------------

REFUSALS = [
    ({}, {"target": "gpa"}, "target: unknown name 'gpa'; did you mean 'gap'?"),
    ({"gap": ["a", *"23456789012"]}, {}, "target: column 'gap', row 1: found 'a' where"),
    ({"gap": 0.25}, {}, "target: 'gap' is 0.25 for every network"),
    ({"gap": [0.1, 0.2, 0.3, 0.4] + [NAN] * 8}, {}, "target: 'gap' is finite for 4 of 12 networks"),
    ({}, {"target": "measure.norm"}, "target: 'measure.norm' is also a measure."),
    ({}, {"measures": ["norm", "gap"]}, "target: 'gap' is also a measure."),
    ({}, {"target": "hp.depth"}, "target: 'hp.depth' is also a hyper-parameter."),
    ({}, {"controls": ["gap"]}, "target: 'gap' is also a control."),
    ({}, {"seed_column": "gap"}, "target: 'gap' is also a seed_column."),
    ({}, {"measures": ["hp.depth"]}, "measures: 'hp.depth' is also a hyper-parameter."),
    ({}, {"measures": ["norm", "norm"]}, "measures: 'measure.norm' is named twice."),
    ({}, {"measures": ["seed"]}, "measures: 'seed' is also a seed_column."),
    (
        {},
        {"measures": ["norm"], "controls": ["norm"]},
        "measures: 'measure.norm' is also a control",
    ),
    ({}, {"measures": ["nrom"]}, "measures: unknown name 'nrom'"),
    ({}, {"measures": []}, "measures: none is left"),
    ({}, {"controls": ["dept"]}, "controls: unknown name 'dept'"),
    ({}, {"seed_column": "sed"}, "seed_column: unknown name 'sed'; did you mean 'seed'?"),
    ({}, {"measure_prefix": "m."}, "measure_prefix: no column starts with 'm.', and measures name"),
    (
        {},
        {"hparam_prefix": "conf."},
        "hparam_prefix: no column starts with 'conf.'; found hp.depth,",
    ),
    ({}, {"hparam_prefix": ""}, "hparam_prefix: found ''; every column would count."),
    (
        {"measure.norm": 1, "measure.margin": 2},
        {},
        "measures: none is left ('measure.norm': has the",
    ),
    (
        {},
        {"seed_column": None},
        "seed_column: rows 1 and 2 have the same hyper-parameters; name the",
    ),
    (
        {"seed": 0},
        {},
        "seed_column: rows 1 and 2 have the same hyper-parameters and the same 'seed'",
    ),
    ({"hp.x": pd.Series([[1]] * 12)}, {}, "table: column 'hp.x', row 1: found [1]; allowed are"),
]


@pytest.mark.parametrize(("changes", "options", "words"), REFUSALS)
def test_what_cannot_be_meant_is_refused_in_one_sentence(changes, options, words):
    assert refusal(small(**changes), **options).startswith(words)


def test_repeats_are_named_by_their_rows_and_the_likely_column():
    table = small(seed=None, repeat_id=[0, 1] * 6)
    table.loc[0, "gap"] = NAN  # the first pair is left: the rows are those of the table
    said = refusal(table, seed_column=None)
    assert "rows 3 and 4 " in said
    assert said.endswith("tells repeats apart, here perhaps 'repeat_id'.")
    assert refusal(small(seed=None), seed_column=None).endswith("tells repeats apart.")


def test_two_columns_of_one_name_and_no_rows():
    table = small()
    assert "two columns called 'gap'" in refusal(pd.concat([table, table[["gap"]]], axis=1))
    assert "found no rows" in refusal(table.iloc[:0])


def test_an_unused_column_may_hold_anything():
    table = small(notes=pd.Series([[1, 2], {"a": 3}, None] * 4, dtype=object))
    assert read(table).networks.measure_names == ("norm", "margin")


# Published tables --------------------------------------------------------------------------------


@pytest.mark.data
def test_pgdl_task_1(data_dir):
    table = tables.read_table(data_dir / "published" / "pgdl" / "task1.csv")
    networks, dropped, controls = tables.measured_networks(table, target="gen_gap_acc")
    assert networks.levels.shape == (96, 6)
    assert networks.hyper_values[3] == (8, 32, 512)
    assert len(np.unique(networks.configurations)) == 96
    assert networks.measures.shape == (96, 12)
    assert len(dropped) == 0
    assert list(controls) == list(networks.hyper_names)


@pytest.mark.data
def test_runs_with_continuous_learning_rates(data_dir):
    path = data_dir / "published" / "mbe" / "jmlr_scale_image_results.csv"
    names = ("lr", "wd", "dropout", "optimizer", "arch", "task")
    table = tables.read_table(path).rename(columns={name: f"hp.{name}" for name in names})
    measures = ["sam_sharpness", "hessian_trace_hutchinson"]
    networks, dropped, controls = tables.measured_networks(
        table, target="final_acc", measures=measures
    )
    assert networks.hyper_names == ("arch", "dropout", "optimizer")
    assert len(np.unique(networks.configurations)) == 160
    rows = list(dropped.itertuples(index=False, name=None))
    assert [(what, name, count) for what, name, count, _ in rows] == [
        ("measure", "hessian_trace_hutchinson", 40),
        ("hyper-parameter", "task", 160),
        ("hyper-parameter", "lr", 160),
        ("hyper-parameter", "wd", 160),
        *(("hyper-parameter", name, 160) for name in ("arch", "dropout", "optimizer")),
    ]
    assert list(controls) == ["arch", "lr", "wd", "dropout", "optimizer"]
    np.testing.assert_array_equal(controls["lr"], table["hp.lr"])
