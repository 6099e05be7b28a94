"""The house keeps its shape: a room imports only rooms above it, borders stay where they are."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parent.parent
ROOMS = [
    "errors", "types", "intervals", "data", "models", "training", "metrics", "statistics", "report",
]  # fmt: skip
# Libraries that only one place may know.
BORDERS = {
    "orbax": {"genjax/training/checkpoint.py"},
    "tensorflow_datasets": {"genjax/data/sources.py"},
    "absl": set(),
    "ml_collections": set(),
    "tensorflow": set(),
    "experiments": set(),
    "pickle": set(),
}


def modules():
    return sorted((ROOT / "genjax").rglob("*.py"))


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_a_room_imports_only_rooms_above_it(path):
    relative = path.relative_to(ROOT / "genjax")
    room = relative.parts[0].removesuffix(".py")
    if room == "__init__":
        return
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "genjax" and len(parts) > 1 and parts[1] in ROOMS:
            assert ROOMS.index(parts[1]) <= ROOMS.index(room), f"{relative} imports {name}"
        for library, allowed in BORDERS.items():
            if parts[0] == library:
                assert str(path.relative_to(ROOT)) in allowed, f"{relative} imports {name}"


def test_public_surface_is_short():
    assert len((ROOT / "genjax/__init__.py").read_text().splitlines()) < 80


def test_nothing_that_a_user_loads_is_executed():
    for path in [*modules(), *(ROOT / "experiments").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("eval", "exec", "compile"), path
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert isinstance(node.value, ast.Constant), path
                assert node.value.value is False, path


def test_experiments_are_short():
    for path in (ROOT / "experiments").glob("*.py"):
        text = path.read_text()
        limit = 150 if "commandline.launch(" in text else 250  # programs, and what they share
        assert len(text.splitlines()) <= limit, path
