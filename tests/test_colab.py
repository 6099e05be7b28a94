"""Every notebook runs from its first cell to its last, and is kept without outputs."""

import ast
import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "colab").glob("*.ipynb"))


def code_cells(path: pathlib.Path) -> list[dict]:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def is_install(cell: dict) -> bool:
    return "install" in cell["metadata"].get("tags", [])


def shown(source: str) -> str:
    """The program of a cell; like a notebook, it shows the value of its last line."""
    tree = ast.parse(source)
    last = tree.body[-1]
    if isinstance(last, ast.Expr):
        call = ast.Call(ast.Name("show", ast.Load()), [last.value], [])
        tree.body[-1] = ast.copy_location(ast.Expr(call), last)
    return ast.unparse(ast.fix_missing_locations(tree))


SHOW = """
import matplotlib
matplotlib.use("Agg")

def show(value):
    if isinstance(value, matplotlib.figure.Figure):
        print("figure with", len(value.axes), "axes")
        value.canvas.draw()
    elif value is not None:
        print(value)

"""


def test_there_are_notebooks():
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_clean(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4
    for cell in code_cells(path):
        assert cell["outputs"] == []
        assert cell["execution_count"] is None
    assert [is_install(cell) for cell in code_cells(path)].count(True) == 1
    assert is_install(code_cells(path)[0])
    # The distribution is not called genjax; another package is.
    assert '"genjax-benchmark"' in "".join(code_cells(path)[0]["source"])
    assert 'find_spec("genjax") is None' in "".join(code_cells(path)[0]["source"])


HEAVY = ("practical_metric",)
"""Notebooks that only the nightly run starts: they train a population."""


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=path.stem, marks=[pytest.mark.slow] if path.stem in HEAVY else [])
        for path in NOTEBOOKS
    ],
)
def test_notebook_runs(path, tmp_path):
    program = SHOW + "\n".join(
        shown("".join(cell["source"])) for cell in code_cells(path) if not is_install(cell)
    )
    (tmp_path / "notebook.py").write_text(program, encoding="utf-8")
    finished = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", tmp_path / "notebook.py"],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.count("figure with") >= 2
    assert any(line.startswith("- ") and len(line) > 40 for line in finished.stdout.splitlines())
