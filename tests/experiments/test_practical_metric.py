"""The practical metric as a program: after a kill, and on somebody else's grid."""

import json
import pathlib
import signal
import subprocess
import time

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from experiments import practical_metric, stages
from genjax import errors, report
from genjax.metrics import practical

AXES = ("size", "ssim", "novel_share")
SSIM = np.arange(0.6, 1.001, 0.05).round(2)
SHARE = np.array([0, 0.167, 0.286, 0.375, 0.444, 0.5])
# Parameters in millions, panels of the figure, published point and bounds (Sci Rep 15:9747).
PUBLISHED = {
    "clip": ("abc", [38, 56, 87, 167, 420], (116, 0.874, 0.285), (0.279, 0.276)),
    "efficientnet": (
        "def",
        [5.3, 7.8, 9.2, 12, 19, 30, 43, 66],
        (20, 0.805, 0.295),
        (0.284, 0.280),
    ),
}
KEYS = dict(zip(practical.STATISTICS, ("err", "serr", "perr", "kap", "skap", "pkap"), strict=True))
SMALL = """
from experiments.configs import practical_metric

def get_config():
    config = practical_metric.get_config("smoke").unlock()
    config.sweep.models = config.sweep.models[:2]
    config.checkpoint_seconds = 0.0
    config.statistics.draws = 5
    return config.lock()
"""


def kill_once(process: subprocess.Popen, there) -> None:
    """Kill a process without warning as soon as `there()` is true."""
    limit = time.monotonic() + 120
    while not there() and process.poll() is None and time.monotonic() < limit:
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL


@pytest.mark.slow
def test_killed_twice_and_run_again_gives_the_cells_of_an_uninterrupted_run(
    smoke, launch, run, tmp_path
):
    (tmp_path / "small.py").write_text(SMALL)
    folder = tmp_path / "results"
    command = ("practical_metric", f"--config={tmp_path / 'small.py'}", f"--output={folder}")
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    kill_once(
        launch(*command, **silent),
        lambda: any(folder.glob("checkpoints/group_000/step_*[0-9]/commit_success.txt")),
    )
    assert not (folder / "networks.parquet").exists()
    kill_once(launch(*command, **silent), lambda: any(folder.glob("cells/group_*.nc")))
    kept = {path: path.stat().st_mtime_ns for path in folder.glob("cells/group_*.nc")}
    assert not (folder / "practical.nc").exists()
    assert json.loads((folder / "run.json").read_text())["status"] != "complete"

    code, out, err = run(*command)
    assert code == 0, err
    assert {path: path.stat().st_mtime_ns for path in kept} == kept  # measured once
    assert "trade-off point of mlp" in out
    assert json.loads((folder / "run.json").read_text())["status"] == "complete"
    again = xr.load_dataset(folder / "practical.nc", engine="h5netcdf")
    whole = xr.load_dataset(smoke[0] / "practical.nc", engine="h5netcdf")
    assert again["family"].values.tolist() == ["mlp"]
    for name in ("error", "kappa", "kappa_multiclass", "labels", "parameters"):
        one, other = (cells.sel(family="mlp")[name] for cells in (again, whole))
        np.testing.assert_array_equal(one, other.transpose(*one.dims))
    networks = pd.read_parquet(folder / "networks.parquet")
    expected = pd.read_parquet(smoke[0] / "networks.parquet").query("family == 'mlp'")
    pd.testing.assert_frame_equal(networks, expected[networks.columns], check_dtype=False)


def test_cells_of_another_run_are_never_restored(smoke):
    output = report.storage.OutputFolder(smoke[0])
    name = "cells/group_000.nc"
    mark = output.read_netcdf(name).attrs["config_hash"]
    assert len(mark) == 64
    assert stages._restored(output, name, mark) is not None
    assert stages._restored(output, name, "0" * 64) is None
    assert stages._restored(output, "cells/group_999.nc", mark) is None


def surrogate(figure, family: str) -> pd.DataFrame:
    """A grid with the published marginals: the product of the three, over the grand mean squared.

    Positive everywhere, and its marginals are the published ones up to their grand means, which
    differ by less than 0.002.
    """
    panels, sizes, _, _ = PUBLISHED[family]
    size, ssim, share = np.meshgrid(np.array(sizes) * 1e6, SSIM, SHARE, indexing="ij")
    table = {"family": family, "size": size.ravel(), "ssim": ssim.ravel()}
    table["novel_share"] = share.ravel()
    for name, key in KEYS.items():
        by_ssim, by_share, by_size = (np.array(figure[panel][key]) for panel in panels)
        product = by_size[:, None, None] * by_ssim[None, :, None] * by_share[None, None, :]
        table[name] = (
            product / np.mean([by_ssim.mean(), by_share.mean(), by_size.mean()]) ** 2
        ).ravel()
    return pd.DataFrame(table)


def bound(cells: xr.DataArray, point: dict[str, float]) -> float:
    """Eq 5 with numpy.polyfit: mean of quartics through the three marginals, size as its log."""
    values = []
    for axis in AXES:
        marginal = cells.mean([other for other in AXES if other != axis])
        x, at = marginal[axis].values, point[axis]
        if axis == "size":
            x, at = np.log(x), np.log(at)
        values.append(np.polyval(np.polyfit(x, marginal.values, min(4, len(x) - 1)), at))
    return float(np.mean(values))


@pytest.mark.data
def test_published_bounds_from_the_published_marginals(data_dir, run, tmp_path):
    figure = json.loads((data_dir / "practical_metric" / "fig2_marginals.json").read_text())
    grid = pd.concat([surrogate(figure, family) for family in PUBLISHED])
    grid.sample(frac=1, random_state=0).to_csv(tmp_path / "grid.csv", index=False)
    arguments = (f"--grid={tmp_path / 'grid.csv'}", f"--output={tmp_path / 'results'}")
    code, out, err = run("practical_metric", *arguments)
    assert code == 0, err
    found = json.loads((tmp_path / "results" / "trade_off.json").read_text())
    cells = xr.load_dataset(tmp_path / "results" / "practical.nc", engine="h5netcdf")
    for family, (_, sizes, published_point, published) in PUBLISHED.items():
        one = cells.sel(family=family).isel(size=slice(len(sizes)))
        one = one.assign_coords(size=one["parameters"].values)
        np.testing.assert_allclose(one["size"], np.array(sizes) * 1e6)
        size, ssim, share = published_point
        there = {"size": size * 1e6, "ssim": ssim, "novel_share": share}
        here = {axis: found[family][axis] for axis in AXES}
        pairs = (("generalization_bound", "error_mean"), ("diversity_bound", "kappa_mean"))
        for (name, statistic), expected in zip(pairs, published, strict=True):
            assert abs(bound(one[statistic], there) - expected) < 0.005
            assert found[family][name] == pytest.approx(bound(one[statistic], here), abs=1e-6)
            assert abs(found[family][name] - expected) < 0.02
        free = (found[family]["data_free_ssim"], found[family]["data_free_novel_share"])
        np.testing.assert_allclose(free, (0.747, 0.325), atol=1e-3)
        assert f"trade-off point of {family}" in out
    assert (tmp_path / "results" / "report.html").is_file()
    assert (tmp_path / "results" / "figures" / "heat_maps.png").is_file()

    code, out, _ = run("practical_metric", *arguments)
    assert code == 0
    assert out.startswith("complete: ")


def small_grid() -> pd.DataFrame:
    """A grid of 2 x 2 x 2 cells."""
    axes = np.meshgrid([1e3, 1e4], [0.6, 1.0], [0.0, 0.5], indexing="ij")
    table = {name: axis.ravel() for name, axis in zip(AXES, axes, strict=True)}
    rng = np.random.default_rng(0)
    return pd.DataFrame({**table, **{name: rng.uniform(0.1, 0.6, 8) for name in KEYS}})


def written(path: pathlib.Path, table: pd.DataFrame) -> str:
    table.to_csv(path, index=False)
    return str(path)


def test_grids_are_read_as_they_are_written(tmp_path):
    table = small_grid()
    both = pd.concat([table.assign(family="b"), table.assign(family="a", error_mean=0.25)])
    grids = practical_metric.read_grids(written(tmp_path / "two.csv", both))
    assert list(grids) == ["b", "a"]
    np.testing.assert_array_equal(grids["a"].statistics["error_mean"], np.full((2, 2, 2), 0.25))
    np.testing.assert_allclose(
        grids["b"].statistics["kappa_std"].ravel(), table["kappa_std"], rtol=1e-15
    )
    assert list(practical_metric.read_grids(written(tmp_path / "one.csv", table))) == ["one"]


def _with(row: int, column: str, value) -> pd.DataFrame:
    table = small_grid().astype({column: object})
    table.loc[row, column] = value
    return table


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (small_grid().drop(columns="kappa_p10"), "the column 'kappa_p10' is missing"),
        (pd.concat([small_grid(), small_grid()[:1]]), "size=1000, .* appears more than once"),
        (small_grid()[1:], "size=1000, ssim=0.6, novel_share=0 is missing"),
        (small_grid()[:0], "has no rows"),
        (_with(2, "error_mean", "high"), "column 'error_mean', row 3: found 'high'"),
        (_with(2, "error_mean", None), "column 'error_mean', row 3: found nan"),
        (_with(1, "error_mean", 1.5), "column 'error_mean', row 2: found 1.5"),
        (_with(1, "ssim", 1.5), "column 'ssim', row 2: found 1.5"),
        (_with(1, "size", -5), "column 'size', row 2: found -5"),
        (small_grid().assign(family=["a"] * 7 + [None]), "column 'family', row 8: found no name"),
        (small_grid().assign(family=["a"] * 7 + ["b"]), "family 'a', table: .* is missing"),
    ],
)
def test_bad_grids_are_refused(tmp_path, table, words):
    with pytest.raises(errors.InvalidInputError, match=words):
        practical_metric.read_grids(written(tmp_path / "bad.csv", table))


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe\x00", b'a,b\n"1,2\n3', "folder"])
def test_what_is_no_table_is_refused(tmp_path, content):
    path = tmp_path / "grid.csv"
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(errors.InvalidInputError, match=r"cannot be read|is missing"):
        practical_metric.read_grids(str(path))


def test_the_command_line_refuses_bad_grids(refused, tmp_path):
    output = f"--output={tmp_path / 'results'}"
    missing = tmp_path / "none.csv"
    said = refused("practical_metric", f"--grid={missing}", output)
    assert said == f"grid: '{missing}' cannot be read (No such file or directory)."
    bad = written(tmp_path / "bad.csv", _with(2, "ssim", "high"))
    said = refused("practical_metric", f"--grid={bad}", output)
    assert said.startswith("table: column 'ssim', row 3: found 'high'")
    assert not (tmp_path / "results").exists()
