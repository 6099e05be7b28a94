"""What every experiment shares: flags, devices, compilation cache, errors as exit codes."""

import os
import pathlib
import re
import sys
from collections.abc import Callable
from typing import NoReturn

import jax
from absl import app, flags, logging
from ml_collections import config_flags

from genjax import errors
from genjax.training import execution

FLAGS = flags.FLAGS
CONFIGS = pathlib.Path(__file__).parent / "configs"
COMPLETE = "complete: {} holds this very run; nothing to do (see report.html there)."


def define_flags(*, config: bool = True) -> None:
    """Define --output, --overwrite and --compilation_cache, and --config where there is one."""
    flags.DEFINE_string("output", None, "Folder for the results; default results/NAME.")
    flags.DEFINE_bool("overwrite", False, "Throw away what another run left in the folder.")
    flags.DEFINE_bool("compilation_cache", True, "Keep compiled programs between runs.")
    if not config:
        return
    # The default comes with the command line (see `launch`): given here, it would be parsed, and
    # overrides checked against it, before anything could turn a mistake into one sentence.
    config_flags.DEFINE_config_file("config", None, "Configuration file, FILE.py:VARIANT.")


def _parse_flags(argv: list[str]) -> list[str]:
    """Parse flags; whatever is wrong with them is one sentence and exit code 2."""
    try:
        rest = FLAGS(argv)
        if "config" in FLAGS and FLAGS.config is not None:
            FLAGS.config.get("name")  # a file that could not be loaded says so when it is read
    except flags.Error as error:
        _refuse(_one_line(error))
    except AttributeError as error:
        _refuse(f"config: unknown field {_one_line(error)}")
    except (ImportError, KeyError, OSError, SyntaxError, TypeError, ValueError) as error:
        # What ml_collections raises for files and values that are no configuration.
        _refuse(f"config: {_one_line(error)}")
    if len(rest) > 1:
        _refuse(f"command line: unexpected argument '{rest[1]}'; every option starts with --.")
    return rest


def _one_line(error: BaseException) -> str:
    """Return the text of an error, of the innermost one where they are nested, on one line."""
    while error.args and isinstance(error.args[0], BaseException):
        error = error.args[0]
    text = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
    if "Traceback (most recent call last)" in text:  # ml_collections passes a whole one on
        text = re.sub(r"^[\w.]+: ", "", text.strip().splitlines()[-1])
    return " ".join(text.rpartition("earlier failure to load: ")[2].split())


def _refuse(sentence: str) -> NoReturn:
    print(f"error: {sentence}", file=sys.stderr)
    raise SystemExit(2)


def prepare_devices(*, cache: bool) -> None:
    """Use one CPU device per core, and keep compiled programs between runs."""
    execution.one_device_per_core()
    if cache and "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        folder = pathlib.Path(home) / "genjax" / "compiled"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            return  # a machine without a writable home still works, only colder
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


def launch(experiment: str, main: Callable[[], None]) -> None:
    """Run an experiment: refusals of genjax are one sentence on stderr and exit code 2.

    Args:
        experiment: names the configuration file that is taken where the command line names none;
            without effect on a program that defines no --config.
        main: the program.
    """
    named = any(re.match("--?config(=|$)", argument) for argument in sys.argv)
    if "config" in FLAGS and not named:
        sys.argv.insert(1, f"--config={CONFIGS / f'{experiment}.py'}")

    def guarded(_) -> None:
        if not FLAGS["verbosity"].present:
            logging.set_verbosity(logging.WARNING)  # orbax tells every step of every save
        prepare_devices(cache=FLAGS.compilation_cache)
        try:
            main()
        except errors.GenjaxError as error:
            _refuse(str(error))
        except KeyboardInterrupt:
            print("interrupted; the same command goes on from here.", file=sys.stderr)
            raise SystemExit(130) from None

    app.run(guarded, flags_parser=_parse_flags)
