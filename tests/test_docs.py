"""The README's program runs, and the documents name what exists."""

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).parent.parent


def test_the_readme_program_runs():
    text = (ROOT / "README.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", block], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "metric.train_accuracy" in done.stdout


def test_every_experiment_stands_in_the_table():
    table = (ROOT / "experiments/README.md").read_text()
    for path in (ROOT / "experiments").glob("*.py"):
        if "commandline.launch(" in path.read_text() and path.stem != "commandline":
            assert f"experiments.{path.stem}" in table, path


def test_links_of_the_documents_lead_somewhere():
    for document in ("README.md", "experiments/README.md", "CONTRIBUTING.md", "docs/decisions.md"):
        for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / document).read_text()):
            assert (ROOT / document).parent.joinpath(target).exists(), (document, target)


def test_make_targets_of_the_readme_exist():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", (ROOT / "README.md").read_text(), flags=re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target
