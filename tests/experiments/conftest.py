"""The programs, started as a user starts them."""

import fcntl
import os
import pathlib
import subprocess
import sys

import program_process
import pytest

ROOT = pathlib.Path(__file__).parents[2]


def start(program: str, *arguments: str, **options) -> subprocess.Popen:
    """Start `python -m experiments.PROGRAM` without the compilation cache."""
    return subprocess.Popen(
        [sys.executable, "-m", f"experiments.{program}", *arguments, "--nocompilation_cache"],
        cwd=ROOT,
        env={**os.environ, "NO_COLOR": "1", "COLUMNS": "200"},
        text=True,
        **options,
    )


@pytest.fixture(scope="session")
def launch():
    """A function that starts a program and returns the running process."""
    return start


@pytest.fixture(scope="session")
def run():
    """A function that runs a program to its end; returns (exit code, stdout, stderr).

    In a process of its own, see `program_process`.
    """

    def to_end(program: str, *arguments: str) -> tuple[int, str, str]:
        return program_process.run(program, (*arguments, "--nocompilation_cache"))

    return to_end


@pytest.fixture(scope="session")
def refused(run):
    """A function that runs what must be refused, and returns the sentence after `error:`."""

    def sentence(program: str, *arguments: str) -> str:
        code, _, err = run(program, *arguments)
        assert code == 2, err
        assert "Traceback" not in err
        lines = [line for line in err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, err
        assert err.rstrip().endswith(lines[0])
        return lines[0].removeprefix("error: ")

    return sentence


@pytest.fixture(scope="session")
def smoke(run, tmp_path_factory):
    """One whole run of the smallest variant: (folder, stdout, arguments).

    Test processes share it: whoever comes first computes it, the others wait.
    """
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # of all processes of this run of the tests
    folder, said = base / "smoke" / "results", base / "smoke" / "stdout"
    arguments = ("--config=experiments/configs/benchmark.py:smoke", f"--output={folder}")
    folder.parent.mkdir(exist_ok=True)
    with (folder.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not said.exists():
            code, out, err = run("benchmark", *arguments)
            assert code == 0, err
            said.write_text(out)
    return folder, said.read_text(), arguments
