"""The output folder: whole files or the old ones, early refusals, known runs."""

import dataclasses
import datetime
import errno
import json
import os
import pathlib
import subprocess
import sys
from typing import NamedTuple

import jax.numpy as jnp
import matplotlib.figure
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from genjax.errors import InvalidInputError, OutputError
from genjax.report import json_values, provenance, storage
from genjax.report.storage import OutputFolder, completed, run_card

CONFIG = {"data": "digits", "sweep": {"seeds": 8, "sizes": (1, 2)}, "rate": 0.1}


def card(config=CONFIG, **changes):
    settings = {
        "data_fingerprint": "ab12",
        "seeds": [0, 1],
        "wall_times": {"training": 1.5},
        "command": "make benchmark",
    }
    return run_card(config, **(settings | changes))


@pytest.fixture
def folder(tmp_path):
    return OutputFolder(tmp_path / "run")


def leftovers(path):
    return [p.name for p in path.rglob("*genjax-tmp")]


def test_tables_grids_and_values_come_back_as_they_went(folder):
    table = pd.DataFrame({"network": [0, 1], "hp.width": [8, 16], "metric.error": [0.25, np.nan]})
    grid = xr.Dataset({"error": (("size", "class"), np.arange(6.0).reshape(2, 3))})
    folder.write_parquet("networks", table)
    folder.write_netcdf("practical", grid)
    folder.write_json("summary", {"error": np.float64(0.1), "sizes": np.arange(2)})
    folder.write_text("notes/read.txt", "für alle\n")

    pd.testing.assert_frame_equal(folder.read_parquet("networks"), table)
    xr.testing.assert_identical(folder.read_netcdf("practical"), grid)
    assert folder.read_json("summary") == {"error": 0.1, "sizes": [0, 1]}
    assert (folder.path / "notes/read.txt").read_bytes().decode() == "für alle\n"
    assert set(folder.written) == {
        "networks.parquet",
        "practical.nc",
        "summary.json",
        "notes/read.txt",
    }
    assert not leftovers(folder.path)


def test_figure_is_written_as_png_and_svg_with_the_same_bytes_each_time(folder):
    def draw():
        figure = matplotlib.figure.Figure(figsize=(2, 1))
        figure.subplots().plot([0, 1], [1, 0])
        narrow = matplotlib.figure.Figure(figsize=(1, 1))
        return folder.write_figure("line", figure, "A line.", narrow=narrow)

    record = draw()
    first = (folder.path / "line.svg").read_bytes()
    assert record.svg.encode() == first
    assert 'width="144pt"' in record.svg
    assert 'width="72pt"' in record.narrow
    assert sorted(folder.written) == ["line.png", "line.svg"]
    assert (record.name, record.caption, record.alt) == ("line", "A line.", "A line.")
    assert (folder.path / "line.png").read_bytes().startswith(b"\x89PNG")
    width = int.from_bytes((folder.path / "line.png").read_bytes()[16:20], "big")
    assert width == 2 * storage.DOTS_PER_INCH
    draw()
    assert (folder.path / "line.svg").read_bytes() == first


@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
def test_a_failure_in_the_middle_leaves_the_old_file(folder, monkeypatch, step):
    folder.write_json("summary", {"error": 0.25})

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def half(path, data):
        with path.open("wb") as file:
            file.write(data[: len(data) // 2])
        full()

    if step == "write":
        monkeypatch.setattr(pathlib.Path, "write_bytes", half)
    else:
        monkeypatch.setattr(os, step, full)
    with pytest.raises(OutputError, match=r"summary\.json' cannot be written: the disk is full\."):
        folder.write_json("summary", {"error": 0.5, "more": list(range(1000))})
    monkeypatch.undo()
    assert folder.read_json("summary") == {"error": 0.25}
    assert not leftovers(folder.path)


def test_a_table_that_parquet_cannot_hold_leaves_the_old_one(folder):
    folder.write_parquet("networks", pd.DataFrame({"a": [1]}))
    with pytest.raises(InvalidInputError, match="'networks' cannot be written as Parquet"):
        folder.write_parquet("networks", pd.DataFrame({"a": [1, "one"]}))
    assert folder.read_parquet("networks")["a"].tolist() == [1]
    assert not leftovers(folder.path)


def test_a_dataset_that_netcdf_cannot_hold_is_refused(folder):
    with pytest.raises(InvalidInputError, match="'practical' cannot be written as NetCDF"):
        folder.write_netcdf("practical", xr.Dataset(attrs={"config": {"a": {}}}))
    assert not leftovers(folder.path)


def test_a_killed_writer_leaves_the_old_file_and_no_half_one(folder):
    folder.write_text("page.html", "old")
    script = (
        "import os, sys\n"
        "from genjax.report.storage import OutputFolder\n"
        "os.fsync = lambda descriptor: os._exit(9)\n"
        "folder = OutputFolder.__new__(OutputFolder)\n"
        "import pathlib\n"
        "folder.path, folder.written = pathlib.Path(sys.argv[1]), {}\n"
        "folder.write_text('page.html', 'new')\n"
    )
    result = subprocess.run([sys.executable, "-c", script, str(folder.path)], check=False)
    assert result.returncode == 9
    assert (folder.path / "page.html").read_text() == "old"
    stale = leftovers(folder.path)
    assert len(stale) == 1  # what the kill left behind; swept once it is an hour old
    os.utime(folder.path / stale[0], (0, 0))
    OutputFolder(folder.path)
    assert not leftovers(folder.path)


def test_a_folder_that_cannot_be_used_is_refused_at_once(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="a file of that name is in the way"):
        OutputFolder(tmp_path / "file")
    with pytest.raises(OutputError, match="a file is in the way of one of its folders"):
        OutputFolder(tmp_path / "file" / "run")
    with pytest.raises(
        OutputError, match=r"MiB are free on its disk; the run needs 1073741824 MiB"
    ):
        OutputFolder(tmp_path / "run", needed_bytes=2**50)

    def read_only(*args):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(pathlib.Path, "write_bytes", read_only)
    with pytest.raises(OutputError, match="the file system is read-only"):
        OutputFolder(tmp_path / "other")


@pytest.mark.parametrize("name", ["", "../outside", "/etc/passwd", "a/../../b"])
def test_names_stay_inside_the_folder(folder, name):
    with pytest.raises(InvalidInputError, match="a relative path inside the output folder"):
        folder.write_text(name, "x")


def test_reading_what_is_missing_or_broken_says_so(folder):
    with pytest.raises(InvalidInputError, match="does not exist"):
        folder.read_json("none")
    for name, read in (
        ("a.json", folder.read_json),
        ("a.parquet", folder.read_parquet),
        ("a.nc", folder.read_netcdf),
    ):
        folder.write_text(name, "{broken")
        with pytest.raises(InvalidInputError, match="cannot be read"):
            read(name)


def test_a_run_recognises_itself(folder):
    assert folder.prepare(CONFIG) == "new"
    folder.write_text("networks.csv", "a\n")
    folder.write_run_card(card())
    assert folder.prepare(CONFIG) == "partial"
    assert not completed(folder, CONFIG)
    folder.write_run_card(card(status="complete"))
    # A tuple comes back from JSON as a list; that is the same configuration.
    assert folder.prepare(json.loads(json.dumps(CONFIG))) == "complete"
    assert completed(folder.path, CONFIG)
    assert folder.read_json("run")["files"] == {"networks.csv": 2}
    (folder.path / "networks.csv").write_text("a")  # another size: not what was written
    assert folder.prepare(CONFIG) == "partial"
    (folder.path / "networks.csv").unlink()
    assert not completed(folder, CONFIG)


def test_files_of_the_interrupted_part_stay_on_the_card(folder):
    folder.write_text("networks.csv", "a\n")
    folder.write_run_card(card())
    later = OutputFolder(folder.path)
    later.write_text("report.html", "<p>")
    later.write_run_card(card(status="complete"))
    assert later.read_json("run")["files"] == {"networks.csv": 2, "report.html": 3}


def test_a_folder_with_another_configuration_is_refused_by_its_field(folder):
    folder.write_text("networks.csv", "a\n")
    folder.write_run_card(card(status="complete"))
    other = {**CONFIG, "sweep": {"seeds": 16, "sizes": (1, 2)}}
    message = r"sweep\.seeds was 8 and is now 16; choose another folder or pass --overwrite"
    with pytest.raises(InvalidInputError, match=message):
        folder.prepare(other)
    assert folder.exists("networks.csv")
    assert not completed(folder, other)
    assert folder.prepare(other, overwrite=True) == "new"
    assert not folder.exists("networks.csv")
    assert not folder.exists(storage.RUN_CARD)


@pytest.mark.parametrize("text", ["{", "[]", '{"status": "complete"}'])
def test_a_broken_card_is_refused_and_can_be_overwritten(folder, text):
    folder.write_text(storage.RUN_CARD, text)
    assert not completed(folder, CONFIG)
    with pytest.raises(InvalidInputError, match="cannot be read; choose another folder"):
        folder.prepare(CONFIG)
    assert folder.prepare(CONFIG, overwrite=True) == "new"


def test_run_card_says_what_is_needed_to_repeat():
    found = card(started=datetime.datetime(2025, 3, 19, 12, tzinfo=datetime.UTC), status="complete")
    assert found["versions"]["numpy"] == np.__version__
    assert found["config"]["sweep"] == {"seeds": 8, "sizes": [1, 2]}
    assert found["started"] == "2025-03-19T12:00:00+00:00"
    assert found["ended"] > found["started"]
    assert found["devices"]
    assert found["data_fingerprint"] == "ab12"
    assert found["cpu_count"] == os.cpu_count()
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"started": datetime.datetime(2025, 1, 1)}, "started: the time .* has no zone"),
        ({"config": {"model": object()}}, r"config\.model: the type object cannot be written"),
    ],
)
def test_run_card_refusals(changes, message):
    with pytest.raises(InvalidInputError, match=message):
        card(**changes)


def test_config_hash_ignores_order_and_spelling_but_not_values():
    same = {"rate": 0.1, "sweep": {"sizes": [1.0, 2], "seeds": np.int64(8)}, "data": "digits"}
    assert provenance.config_hash(same) == provenance.config_hash(CONFIG)
    assert provenance.config_hash({**CONFIG, "rate": 0.2}) != provenance.config_hash(CONFIG)
    assert provenance.first_difference({"a": 1}, {"a": 1, "b": 2}) == ("b", None, 2)
    assert provenance.first_difference({"a": True}, {"a": 1}) == ("a", True, 1)
    assert provenance.first_difference(CONFIG, same) is None


def test_plain_values():
    @dataclasses.dataclass
    class Options:
        weights: tuple

    class Point(NamedTuple):
        ssim: float

    value = {
        "options": Options((1.0, np.nan)),
        "point": Point(0.7),
        "jax": jnp.arange(2, dtype=jnp.bfloat16),
        "infinite": [np.inf, -np.inf],
        "names": {"b", "a"},
        "path": pathlib.PurePosixPath("a/b"),
        3: np.bool_(True),
    }
    assert json_values.plain(value) == {
        "options": {"weights": [1.0, None]},
        "point": {"ssim": 0.7},
        "jax": [0.0, 1.0],
        "infinite": ["Infinity", "-Infinity"],
        "names": ["a", "b"],
        "path": "a/b",
        "3": True,
    }
    with pytest.raises(InvalidInputError, match="two keys become the same name '1'"):
        json_values.plain({1: 0, "1": 0})


def test_csv_keeps_every_digit_and_writes_nan_as_nothing(folder):
    table = pd.DataFrame({"measure": ["a,b", "für"], "tau": [0.1 + 0.2, np.nan], "n": [1, 2]})
    path = folder.write_csv("relations", table)
    assert path == folder.path / "relations.csv"
    expected = 'measure,tau,n\n"a,b",0.30000000000000004,1\nfür,,2\n'
    assert path.read_bytes().decode() == expected
    pd.testing.assert_frame_equal(pd.read_csv(path), table)
    folder.write_csv("empty.csv", table.iloc[:0])
    assert (folder.path / "empty.csv").read_text() == "measure,tau,n\n"
    assert folder.written == {"relations.csv": len(path.read_bytes()), "empty.csv": 14}


def test_a_csv_that_cannot_be_written_leaves_the_old_one(folder, monkeypatch):
    folder.write_csv("relations", pd.DataFrame({"tau": [0.5]}))

    def full(self, target, **settings):
        pathlib.Path(target).write_text("tau\n0.")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pd.DataFrame, "to_csv", full)
    with pytest.raises(OutputError, match=r"relations\.csv' cannot be written: the disk is full"):
        folder.write_csv("relations", pd.DataFrame({"tau": [0.7]}))
    assert (folder.path / "relations.csv").read_text() == "tau\n0.5\n"
    assert not leftovers(folder.path)
