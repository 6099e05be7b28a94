"""Programs in processes of their own that need not import anything: they are forked from a server.

Importing takes 3 to 5 s, as long as the smallest variant of many programs. The server has imported
them and never starts JAX, so that each process does that for itself, as after `python -m`.
"""

import importlib
import multiprocessing
import os
import pathlib
import sys
import tempfile

ROOT = pathlib.Path(__file__).parents[2]
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    ["experiments.benchmark", "experiments.layers", "experiments.information", "matplotlib.pyplot"]
)
SHOWN = {"NO_COLOR": "1", "COLUMNS": "200"}


def run(program: str, arguments: tuple[str, ...], *, seconds: int = 300) -> tuple[int, str, str]:
    """Run `python -m experiments.PROGRAM` to its end; return (exit code, stdout, stderr)."""
    with tempfile.TemporaryDirectory() as folder:
        said = [pathlib.Path(folder) / name for name in ("out", "err")]
        process = CONTEXT.Process(
            target=_program, args=(program, arguments, *map(str, said), dict(os.environ))
        )
        process.start()
        process.join(seconds)
        if process.exitcode is None:
            process.kill()
            raise TimeoutError(f"{program} {arguments} ran for {seconds} s: {said[1].read_text()}")
        return process.exitcode, *(path.read_text() for path in said)


def _program(name: str, arguments: tuple[str, ...], out: str, err: str, known: dict) -> None:
    for path, stream in ((out, 1), (err, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), stream)
    os.environ.clear()
    os.environ |= known | SHOWN
    os.chdir(ROOT)
    from experiments import commandline

    program = importlib.import_module(f"experiments.{name}")
    sys.argv = [name, *arguments]
    getattr(program, "define_flags", commandline.define_flags)()
    commandline.launch(name, program.main)
