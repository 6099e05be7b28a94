"""What every experiment shares: flags, devices, compilation cache, errors as exit codes."""

import os
import pathlib
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


def define_flags(experiment: str, *, config_required: bool = True) -> None:
    """Define --config, --output and --overwrite."""
    default = str(CONFIGS / f"{experiment}.py") if config_required else None
    config_flags.DEFINE_config_file("config", default, "Configuration file, FILE.py:VARIANT.")
    flags.DEFINE_string("output", None, "Folder for the results; default results/NAME.")
    flags.DEFINE_bool("overwrite", False, "Throw away what another run left in the folder.")
    flags.DEFINE_bool("compilation_cache", True, "Keep compiled programs between runs.")


def _parse_flags(argv: list[str]) -> list[str]:
    """Parse flags; whatever is wrong with them is one sentence and exit code 2."""
    try:
        rest = FLAGS(argv)
    except flags.Error as error:
        _refuse(str(error))
    except (AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        # ml_collections raises these for fields and values that a configuration does not have.
        _refuse(f"config: {str(error).strip(chr(34))}")
    if len(rest) > 1:
        _refuse(f"command line: unexpected argument '{rest[1]}'; every option starts with --.")
    return rest


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


def launch(main: Callable[[], None]) -> None:
    """Run an experiment: refusals of genjax are one sentence on stderr and exit code 2."""

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
