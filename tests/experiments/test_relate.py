"""The statistics of relations as a program, on somebody else's table."""

import itertools
import json

import numpy as np
import pandas as pd
import pytest
from absl import flags
from absl.testing import flagsaver

from experiments import commandline

NAN = float("nan")
COLUMNS = [
    *("measure", "n", "kendall", "spearman", "pearson", "granulated", "cmi", "cmi_argmin"),
    *("cmi_jiang", "sign_error_mean", "sign_error_p90", "sign_error_max", "partial_spearman"),
    *("p_value", "p_adjusted", "verdict"),
]
QUICK = ("--draws=50", "--permutations=500")


def population() -> pd.DataFrame:
    """3 x 2 x 2 configurations with two seeds; a measure that predicts, and one that does not."""
    generator = np.random.default_rng(0)
    grid = list(itertools.product([2, 4, 8], [0.1, 0.01], ["adam", "sgd"], [0, 1]))
    depth, rate, optimizer, seed = zip(*grid, strict=True)
    gap = generator.normal(size=24)
    return pd.DataFrame(
        {
            "hp.depth": depth,
            "hp.lr": rate,
            "hp.optimizer": optimizer,
            "seed": seed,
            "measure.good": gap + 0.2 * generator.normal(size=24),
            "measure.noise": generator.normal(size=24),
            "measure.constant": 1.0,
            "gap": gap,
        }
    )


@pytest.fixture(scope="module")
def analysed(run, tmp_path_factory):
    """One run on a CSV: (folder, stdout, arguments)."""
    folder = tmp_path_factory.mktemp("relate")
    population().to_csv(folder / "networks.csv", index=False)
    arguments = (
        f"--table={folder / 'networks.csv'}",
        "--target=gap",
        "--seed_column=seed",
        f"--output={folder / 'results'}",
        *QUICK,
    )
    code, out, err = run("relate", *arguments)
    assert code == 0, err
    return folder / "results", out, arguments


def test_a_csv_gives_tables_figures_and_a_page(analysed):
    folder, out, _ = analysed
    table = pd.read_csv(folder / "relations.csv")
    assert set(COLUMNS) <= set(table.columns)
    assert {"kendall_low", "kendall_high"} <= set(table.columns)
    assert table["measure"].tolist() == ["good", "noise"]
    assert table["n"].tolist() == [24, 24]
    assert table["verdict"].iloc[0] == "predicts"
    assert table["kendall"].iloc[0] > 0.6
    dropped = pd.read_csv(folder / "dropped.csv")
    assert "has the same value for every network" in dropped["reason"].tolist()
    environments = pd.read_parquet(folder / "environments.parquet")
    assert {"hyperparameter", "good", "noise"} <= set(environments.columns)
    assert (folder / "report.html").stat().st_size > 10_000
    assert list(folder.rglob("*.svg"))
    said = [line for line in out.splitlines() if line.startswith("- ")]
    assert said[0].startswith("- Of 2 measures 1 predicts gap")
    assert "strongest predictor is good" in out
    assert "\x1b" not in out
    assert str(folder / "relations.csv") in out
    card = json.loads((folder / "run.json").read_text())
    assert card["status"] == "complete"
    assert card["config"]["target"] == "gap"
    assert set(card["files"]) >= {"relations.csv", "environments.parquet", "report.html"}


def test_the_same_command_does_nothing_and_another_one_is_refused(analysed, run, refused):
    folder, _, arguments = analysed
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    code, out, _ = run("relate", *arguments)
    assert code == 0
    assert out.startswith("complete: ")
    assert "another configuration: draws was 50 and is now 60" in refused(
        "relate", *arguments, "--draws=60"
    )
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_overwriting_throws_nothing_away_for_what_cannot_be_computed(analysed, refused):
    folder, _, arguments = analysed
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    said = refused("relate", *arguments, "--test_examples=1000", "--overwrite")
    assert said.startswith("target: found values from -")
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_a_parquet_file_gives_the_same_numbers(analysed, run, tmp_path):
    population().to_parquet(tmp_path / "networks.parquet")
    where = (f"--table={tmp_path / 'networks.parquet'}", f"--output={tmp_path / 'results'}")
    code, _, err = run("relate", *where, "--target=gap", "--seed_column=seed", *QUICK)
    assert code == 0, err
    for name in ("relations.csv", "environments.parquet", "dropped.csv", "combination.csv"):
        assert (tmp_path / "results" / name).read_bytes() == (analysed[0] / name).read_bytes()


# Refusals ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def define_flags():
    """The program's flags, defined once in this process."""
    from experiments import relate

    if "table" not in flags.FLAGS:
        relate.define_flags()
    return relate.main


@pytest.fixture
def sentence(define_flags, tmp_path, monkeypatch, capsys):
    """A function that runs the program in this process; returns the refusal after `error:`."""

    def refusal(
        table: pd.DataFrame | None,
        *arguments: str,
        seeds: tuple[str, ...] = ("--seed_column=seed",),
    ) -> str:
        where = [f"--output={tmp_path / 'results'}"]
        if table is not None:
            table.to_csv(tmp_path / "networks.csv", index=False)
            where.append(f"--table={tmp_path / 'networks.csv'}")
        options = ("--target=gap", *seeds, *arguments)
        monkeypatch.setattr("sys.argv", ["relate", *where, "--nocompilation_cache", *options])
        with flagsaver.flagsaver(), pytest.raises(SystemExit) as refused:
            commandline.launch("relate", define_flags)
        assert refused.value.code == 2
        assert not (tmp_path / "results").exists()
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        return err.removeprefix("error: ").rstrip()

    return refusal


def changed(**changes) -> pd.DataFrame:
    return population().assign(**changes)


BAD_INPUT = {
    "a missing target": (
        population(),
        ["--target=gpa"],
        "target: unknown name 'gpa'; did you mean",
    ),
    "a missing measure": (
        population(),
        ["--measures=good,nose"],
        "measures: unknown name 'nose'. Allowed: gap, hp.depth",
    ),
    "a missing control": (
        population(),
        ["--controls=dept"],
        "controls: unknown name 'dept'; did you mean 'hp.depth'",
    ),
    "a missing seed column": (
        population(),
        ["--seed_column=sed"],
        "seed_column: unknown name 'sed'",
    ),
    "no measures": (
        population(),
        ["--measure_prefix=m."],
        "measure_prefix: no column starts with 'm.'",
    ),
    "a constant target": (changed(gap=0.5), [], "target: 'gap' is 0.5 for every network"),
    "a constant measure alone": (
        population(),
        ["--measures=constant"],
        "measures: none is left ('measure.constant': has the same value for every network).",
    ),
    "strings in the target": (
        changed(gap=["0.1"] * 23 + ["high"]),
        [],
        "target: column 'gap', row 24: found 'high' where a number belongs.",
    ),
    "strings in a measure asked for": (
        changed(**{"measure.good": ["x", *range(23)]}),
        ["--measures=good"],
        "measures: column 'measure.good', row 1: found 'x' where a number belongs.",
    ),
    "nothing but nan and inf": (
        changed(gap=[NAN, np.inf] * 10 + [0.1, 0.2, 0.3, 0.4]),
        [],
        "target: 'gap' is finite for 4 of 24 networks; at least 5 are needed.",
    ),
    "duplicated networks": (
        pd.concat([population(), population().iloc[[2]]]),
        [],
        "seed_column: rows 3 and 25 have the same hyper-parameters and the same 'seed'",
    ),
    "fewer networks than needed": (
        population().head(4),
        [],
        "target: 'gap' is finite for 4 of 4 networks; at least 5 are needed.",
    ),
    "a target that is also a measure": (
        population(),
        ["--target=measure.good"],
        "target: 'measure.good' is also a measure.",
    ),
    "a measure that is a hyper-parameter": (
        population(),
        ["--measures=hp.lr"],
        "measures: 'hp.lr' is also a hyper-parameter.",
    ),
    "no rows": (population().head(0), [], "holds no rows."),
    "no table": (None, [], "Flag --table must have a value"),
    "a level that is no share": (population(), ["--level=95"], "flag --level=95.0: it must be"),
    "no draws": (population(), ["--draws=0"], "flag --draws=0: "),
    "an unknown flag": (population(), ["--traget=gap"], "Unknown command line flag 'traget'"),
    "an argument without a flag": (
        population(),
        ["gap"],
        "command line: unexpected argument 'gap'",
    ),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_refused_in_one_sentence(sentence, case):
    table, arguments, words = BAD_INPUT[case]
    assert words in sentence(table, *arguments)


def test_duplicated_configurations_need_the_column_that_tells_them_apart(sentence):
    assert sentence(population(), seeds=()) == (
        "seed_column: rows 1 and 2 have the same hyper-parameters; name the column that tells "
        "repeats apart, here perhaps 'seed'."
    )


def test_a_file_that_is_no_table(refused, tmp_path):
    (tmp_path / "networks.parquet").write_text("hp.depth,gap\n1,2\n")
    output = f"--output={tmp_path / 'results'}"
    table = f"--table={tmp_path / 'networks.parquet'}"
    assert "networks.parquet' cannot be read" in refused("relate", table, "--target=gap", output)
    assert not (tmp_path / "results").exists()


@pytest.mark.data
def test_pgdl_task_1_through_the_command_line(run, data_dir, tmp_path):
    published = data_dir / "published" / "pgdl"
    where = (f"--table={published / 'task1.csv'}", f"--output={tmp_path}", *QUICK)
    code, _, err = run("relate", *where, "--target=gen_gap_acc")
    assert code == 0, err
    table = pd.read_csv(tmp_path / "relations.csv").set_index("measure")
    expected = json.loads((published / "task1_expected.json").read_text())["task1"]
    checked = 0
    for measure, values in expected.items():
        if "cmi" in values:
            assert table.loc[measure, "cmi"] == pytest.approx(values["cmi"], abs=1e-9)
            checked += 1
        if "pearson" in values:
            assert abs(table.loc[measure, "pearson"]) == pytest.approx(values["pearson"], abs=1e-9)
    assert checked >= 9
