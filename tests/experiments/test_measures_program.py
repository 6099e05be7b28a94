"""The zoo as a program: listing, a fresh population, a stored one, refusals."""

import json
import pathlib
import shutil

import pandas as pd
import pytest

from genjax.metrics import complexity
from genjax.report import measures as measures_report

CONFIG = "--config=experiments/configs/measures.py:smoke"


@pytest.fixture(scope="module")
def trial(run, tmp_path_factory):
    """One run of the smallest variant: (folder, stdout, arguments)."""
    folder = tmp_path_factory.mktemp("trial") / "results"
    arguments = (CONFIG, f"--output={folder}")
    code, out, err = run("measures", *arguments)
    assert code == 0, err
    return folder, out, arguments


def test_the_list_names_every_measure(run):
    code, out, err = run("measures", "--list")
    assert code == 0, err
    shown = {line.split()[0] for line in out.splitlines() if line.strip()}
    assert set(complexity.catalogue()) <= shown


def test_a_fresh_population_gives_a_table_with_measures_and_a_page(trial):
    folder, out, _ = trial
    table = pd.read_parquet(folder / "networks.parquet")
    assert len(table) == 16
    assert {"measure.parameters", "measure.steps", "metric.gap", "hp.width"} <= set(table)
    page = (folder / "report.html").read_text()
    assert "Refusals" in page
    assert "measures were related to the target" in out
    related = pd.read_csv(folder / "relations.csv")
    shown = {line.split()[0]: line.count("[") for line in out.splitlines() if line.strip()}
    assert all(shown[name] >= 3 for name in related["measure"])  # each with its intervals
    lines = (folder / "relations.md").read_text().splitlines()
    assert sum(line.startswith("| `") for line in lines) == len(related)


def test_a_complete_run_is_left_as_it_is(run, trial):
    folder, _, arguments = trial
    before = (folder / "run.json").stat().st_mtime_ns
    code, out, err = run("measures", *arguments)
    assert (code, "complete" in out) == (0, True), err
    assert (folder / "run.json").stat().st_mtime_ns == before


def test_a_stored_population_gets_columns(run, smoke, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(smoke[0], folder, ignore=shutil.ignore_patterns(".*"))
    before = pd.read_parquet(folder / "networks.parquet")
    code, _, err = run("measures", f"--run={folder}", "--names=fro_dist", "--examples=50")
    assert code == 0, err
    after = pd.read_parquet(folder / "networks.parquet")
    new = {m.name for m in complexity.select(["fro_dist"])}
    assert {f"measure.{name}" for name in new} <= set(after)
    kept = [c for c in before if not c.startswith("measure.")]
    pd.testing.assert_frame_equal(after[kept], before[kept])
    assert (folder / "measures" / "report.html").is_file()
    # The run is still complete: its card knows the new size of the table.
    card = json.loads((folder / "run.json").read_text())
    size = (folder / "networks.parquet").stat().st_size
    assert card["files"]["networks.parquet"] == size


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--names=pathnorm", CONFIG], "measures: unknown name 'pathnorm'"),
        (["--run=no/such/folder"], "holds no run.json"),
        (["--run=no/such/folder", CONFIG], "with --run the configuration is that"),
        ([CONFIG, "--config.measures.examples=0"], "measures.examples: found 0"),
        ([CONFIG, "--config.sweep.seeds=0"], "sweep.seeds: found 0"),
    ],
)
def test_what_cannot_be_measured_is_refused(refused, arguments, sentence, tmp_path):
    assert sentence in refused("measures", *arguments, f"--output={tmp_path / 'out'}")
    assert not (tmp_path / "out" / "run.json").exists()


def test_the_catalogue_on_paper_is_that_of_the_registry():
    written = pathlib.Path(__file__).parents[2] / "docs" / "measures.md"
    assert written.read_text() == measures_report.catalogue_markdown()


@pytest.mark.slow
def test_overwriting_with_other_settings_trains_anew(run, tmp_path):
    arguments = (
        CONFIG,
        "--names=parameters",
        f"--output={tmp_path}",
        "--config.statistics.draws=5",
    )
    code, _, err = run("measures", *arguments, "--config.statistics.permutations=200")
    assert code == 0, err
    more = ("--config.training.max_steps=120", "--overwrite")
    code, _, err = run("measures", *arguments, "--config.statistics.permutations=200", *more)
    assert code == 0, err
    assert pd.read_parquet(tmp_path / "networks.parquet")["metric.steps"].max() > 100
