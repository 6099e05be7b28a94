"""The main job from the command line: what it writes, and that it never does harm."""

import html.parser
import json
import pathlib
import re
import shutil
import xml.etree.ElementTree as ElementTree

import numpy as np
import pandas as pd
import pytest
import xarray as xr

FIGURES = ("heat_maps", "marginals", "protocols", "shift", "trade_off", "training")
FIGURES += ("by_hyper", "relations", "scatter", "sign_errors")
DIVERGING = """
from experiments.configs import benchmark

def get_config():
    config = benchmark.get_config("smoke").unlock()
    config.sweep.models = config.sweep.models[:2]
    config.sweep.hyper = {"learning_rate": (1e38,), "momentum": (0.9,)}
    return config.lock()
"""


def contents(folder: pathlib.Path) -> dict[str, tuple[int, int]]:
    """Every file of a folder with its time of change and size."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(p.relative_to(folder)): (p.stat().st_mtime_ns, p.stat().st_size) for p in files}


def test_run_card_says_what_was_run(smoke):
    folder, _, _ = smoke
    card = json.loads((folder / "run.json").read_text())
    assert card["status"] == "complete"
    assert card["config"]["name"] == "benchmark_smoke"
    assert card["config"]["testbed"]["levels"] == [0.6, 0.8, 1.0]
    assert {"python", "jax", "flax", "optax", "numpy", "genjax"} <= set(card["versions"])
    assert re.fullmatch("[0-9a-f]{16}", card["data_fingerprint"])
    stages = {"load", "testbed", "train", "measure", "analyse", "measures", "relate", "report"}
    assert set(card["wall_times"]) == stages
    assert all(seconds > 0 for seconds in card["wall_times"].values())
    assert card["seeds"] == [0, 1]
    for name, size in card["files"].items():
        assert (folder / name).stat().st_size == size


def test_networks_have_one_row_each(smoke):
    table = pd.read_parquet(smoke[0] / "networks.parquet")
    assert len(table) == 8
    assert table["network"].is_unique
    assert (
        table.groupby(["family", "metric.parameters"])["seed"].apply(list).tolist() == [[0, 1]] * 4
    )
    assert {"hp.widths", "hp.channels", "hp.learning_rate", "hp.batch_size"} <= set(table.columns)
    assert (table["metric.status"] != "diverged").all()
    assert (table["metric.steps"] == 50).all()
    accuracy = table.set_index("family")["metric.train_accuracy"]
    assert accuracy["mlp"].between(0.9, 1).all()
    assert accuracy["cnn"].between(0.2, 1).all()  # 50 steps: the smallest are hardly trained
    # 8 x 8 inputs, 5 outputs
    mlp = table[table["hp.widths"] == "16"]
    assert (mlp["metric.parameters"] == 64 * 16 + 16 + 16 * 5 + 5).all()


def test_cells_have_named_dimensions(smoke):
    cells = xr.load_dataset(smoke[0] / "practical.nc", engine="h5netcdf")
    assert dict(cells["error"].sizes) == {
        "family": 2,
        "size": 2,
        "protocol": 5,
        "seed": 2,
        "ssim": 3,
        "novel_share": 3,
        "class": 10,
    }
    np.testing.assert_allclose(cells["novel_share"], [0, 2 / 7, 5 / 10])
    np.testing.assert_allclose(cells["ssim_achieved"], cells["ssim"], atol=1e-3)
    assert cells["error"].sizes == cells["kappa"].sizes
    clean = cells.sel(protocol="clean")
    in_play = np.isfinite(clean["error"]).sum("class")
    for share, classes in zip(cells["novel_share"].values, (5, 7, 10), strict=True):
        assert (in_play.sel(novel_share=share) == classes).all()
    finite = clean["error"].values[np.isfinite(clean["error"].values)]
    assert finite.min() >= 0
    assert finite.max() <= 1


def test_protocols_are_the_means_of_the_cells(smoke):
    table = pd.read_parquet(smoke[0] / "protocols.parquet").set_index(["family", "protocol"])
    cells = xr.load_dataset(smoke[0] / "practical.nc", engine="h5netcdf")
    assert len(table) == 10
    for (family, protocol), row in table.iterrows():
        error = cells["error"].sel(family=family, protocol=protocol).mean("class").mean()
        assert row["error"] == pytest.approx(float(error), abs=1e-12)
        assert row["low"] <= row["error"] <= row["high"]
        clean = table.loc[(family, "clean"), "error"]
        assert row["difference"] == pytest.approx(row["error"] - clean, abs=1e-12)


class _Page(html.parser.HTMLParser):
    """Collects the text of a page and everything that it would load."""

    def __init__(self):
        super().__init__()
        self.text, self.loaded = [], []

    def handle_starttag(self, tag, attrs):
        sources = ("src", "srcset", "href", "xlink:href", "data", "action", "poster")
        self.loaded += [v for k, v in attrs if k in sources and tag != "a"]
        styles = [v for k, v in attrs if k == "style" and v]
        self.loaded += [u for s in styles for u in re.findall(r"url\(([^)]*)\)", s)]

    def handle_data(self, data):
        self.text.append(data)


def test_page_loads_nothing_and_says_what_the_terminal_says(smoke):
    folder, out, _ = smoke
    source = (folder / "report.html").read_text()
    page = _Page()
    page.feed(source)
    assert all(address.startswith(("#", "data:")) for address in page.loaded)
    assert not re.search(r"@import|url\(\s*['\"]?\s*(https?:)?//|fetch\(|XMLHttpRequest", source)
    said = [line.removeprefix("- ") for line in out.splitlines() if line.startswith("- ")]
    assert len(said) >= 4
    text = " ".join(" ".join(page.text).split())
    for sentence in said:
        assert " ".join(sentence.split()) in text


def test_figures_are_there_in_both_forms(smoke):
    folder = smoke[0] / "figures"
    assert {path.name for path in folder.iterdir()} == {
        f"{name}.{ending}" for name in FIGURES for ending in ("png", "svg")
    }
    for name in FIGURES:
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG\r\n")
        tree = ElementTree.parse(folder / f"{name}.svg")
        links = [v for e in tree.iter() for k, v in e.attrib.items() if k.endswith("href")]
        assert all(link.startswith(("#", "data:")) for link in links)


def test_paths_on_the_terminal_exist(smoke):
    folder, out, _ = smoke
    paths = re.findall(rf"{re.escape(str(folder))}\S*", out)
    assert {pathlib.Path(path).name for path in paths} >= {
        "networks.parquet",
        "practical.nc",
        "report.html",
        "figures",
        "run.json",
    }
    assert all(pathlib.Path(path).exists() for path in paths)


def test_the_same_command_does_nothing(smoke, run):
    folder, _, arguments = smoke
    before = contents(folder)
    code, out, _ = run("benchmark", *arguments)
    assert code == 0
    assert out.startswith(f"complete: {folder}")
    assert "nothing to do" in out
    assert contents(folder) == before


def test_another_configuration_is_refused(smoke, refused):
    folder, _, arguments = smoke
    before = contents(folder)
    said = refused("benchmark", *arguments, "--config.sweep.seeds=3")
    assert "another configuration: sweep.seeds was 2 and is now 3" in said
    assert "--overwrite" in said
    # A mistake throws nothing away, even when allowed to.
    said = refused("benchmark", *arguments, "--config.data.source=digit", "--overwrite")
    assert said.startswith("data: unknown name 'digit'; did you mean 'digits'?")
    assert contents(folder) == before


def test_a_diverged_population_is_refused_with_its_table_and_nothing_of_an_older_run(
    smoke, refused, tmp_path
):
    folder = tmp_path / "results"
    shutil.copytree(smoke[0], folder, ignore=shutil.ignore_patterns(".*"))
    (tmp_path / "diverging.py").write_text(DIVERGING)
    arguments = (f"--config={tmp_path / 'diverging.py'}", f"--output={folder}")
    said = refused("benchmark", *arguments, "--overwrite")
    assert said.startswith("training: all 4 networks diverged")
    table = pd.read_parquet(folder / "networks.parquet")
    assert str(folder / "networks.parquet") in said
    assert table["metric.status"].tolist() == ["diverged"] * 4
    assert (table["metric.steps"] <= 50).all()
    assert {path.name for path in folder.iterdir() if any(path.rglob("*")) or path.is_file()} == {
        "checkpoints",
        "networks.parquet",
        "run.json",
    }
    assert sorted(p.name for p in (folder / "checkpoints").iterdir()) == ["group_000", "group_001"]
    assert json.loads((folder / "run.json").read_text())["status"] != "complete"


@pytest.mark.parametrize("damage", ["corrupt", "foreign"])
def test_a_damaged_checkpoint_is_refused(smoke, refused, tmp_path, damage):
    folder = tmp_path / "results"
    shutil.copytree(smoke[0], folder, ignore=shutil.ignore_patterns(".*"))
    card = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**card, "status": "running"}))
    first, second = (folder / "checkpoints" / name for name in ("group_000", "group_001"))
    if damage == "foreign":
        shutil.rmtree(first)
        shutil.copytree(second, first)
        expected = "it belongs to another configuration or data set"
    else:
        for path in (path for path in first.rglob("*") if path.is_file()):
            path.write_bytes(b"\0" * 64)
        expected = "cannot be read, it is corrupt or not a checkpoint"
    said = refused("benchmark", smoke[2][0], f"--output={folder}")
    assert said.startswith("checkpoint ")
    assert "group_000" in said
    assert expected in said
    assert (folder / "checkpoints" / "group_001").is_dir()
    assert (folder / "practical.nc").is_file()
