"""The output folder: every file is either the old one or the complete new one, never half of one.

Long tables are Parquet, short ones CSV, grids NetCDF, figures PNG and SVG, the run card JSON. A
file is written under a temporary name in the same folder, forced to disk and then renamed, so a
kill or a full disk leaves what was there before.
"""

import contextlib
import errno
import io
import json
import os
import pathlib
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

import matplotlib
import matplotlib.figure
import pandas as pd
import xarray as xr

from genjax.errors import InvalidInputError, OutputError
from genjax.report import json_values, provenance, style
from genjax.report.provenance import run_card

__all__ = ["DOTS_PER_INCH", "RUN_CARD", "Figure", "OutputFolder", "completed", "run_card"]

RUN_CARD = "run.json"
DOTS_PER_INCH = 150


class Figure(NamedTuple):
    """A figure, ready for the page.

    Attributes:
        name: the name of the file without its ending; names the figure's ids on the page.
        caption: one or two sentences below the figure.
        svg: the SVG text.
        alt: what the figure shows, for those who cannot see it; "" takes the caption.
        narrow: SVG text of the layout for phones; "" if there is none.
    """

    name: str
    caption: str
    svg: str
    alt: str = ""
    narrow: str = ""


class OutputFolder:
    """A folder of results with atomic writing.

    The folder is created, and refused if it cannot be written or its disk is full, before any
    long work starts.

    Args:
        path: the folder; its parents are created too.
        needed_bytes: the free space that the run needs.

    Attributes:
        path: the absolute path of the folder.
        written: name -> bytes of every file written through this object.

    Raises:
        OutputError: if the folder cannot be created or written, or too little space is left.

    Example:
        >>> import tempfile
        >>> folder = OutputFolder(tempfile.mkdtemp())
        >>> _ = folder.write_json("summary", {"error": 0.25})
        >>> folder.read_json("summary")
        {'error': 0.25}
    """

    def __init__(self, path: str | os.PathLike[str], *, needed_bytes: int = 32 * 2**20):
        self.path = pathlib.Path(path).expanduser().absolute()
        self.written: dict[str, int] = {}
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._sweep()
            free = shutil.disk_usage(self.path).free
            with self._replacing(self.path / ".probe") as probe:
                # Real bytes: a quota or a read-only mount shows only when something is written.
                probe.write_bytes(bytes(64 * 1024))
            (self.path / ".probe").unlink()
        except OutputError:
            raise
        except OSError as error:
            raise _refusal(self.path, error) from error
        if free < needed_bytes:
            raise OutputError(
                f"output folder '{self.path}': {free / 2**20:.0f} MiB are free on its disk; "
                f"the run needs {needed_bytes / 2**20:.0f} MiB."
            )

    def target(self, name: str, suffix: str = "") -> pathlib.Path:
        """Return the path of the file `name`, with `suffix` added if it is missing.

        Raises:
            InvalidInputError: if the name is empty or leaves the folder.
        """
        parts = pathlib.PurePath(name).parts
        if not parts or pathlib.PurePath(name).is_absolute() or ".." in parts or "\0" in name:
            raise InvalidInputError(
                f"name: found '{name}'; allowed is a relative path inside the output folder."
            )
        path = self.path.joinpath(*parts)
        return path if path.name.endswith(suffix) else path.with_name(path.name + suffix)

    def write_parquet(self, name: str, table: pd.DataFrame) -> pathlib.Path:
        """Write a long table to `name.parquet` and return its path.

        Raises:
            InvalidInputError: if a column mixes types that Parquet cannot hold.
            OutputError: if the file cannot be written; an older file is left as it was.
        """
        path = self.target(name, ".parquet")
        with self._replacing(path) as temporary:
            try:
                table.to_parquet(temporary, engine="pyarrow")
            except (ValueError, TypeError) as error:  # pyarrow's refusals derive from these
                reason = str(error).splitlines()[0]
                raise InvalidInputError(
                    f"table '{name}' cannot be written as Parquet: {reason}."
                ) from error
        return path

    def write_csv(self, name: str, table: pd.DataFrame) -> pathlib.Path:
        """Write a table to `name.csv` and return its path: UTF-8, all digits, NaN as nothing.

        Raises:
            OutputError: if the file cannot be written; an older file is left as it was.
        """
        path = self.target(name, ".csv")
        with self._replacing(path) as temporary:
            table.to_csv(temporary, index=False, lineterminator="\n", encoding="utf-8")
        return path

    def write_netcdf(self, name: str, dataset: xr.Dataset) -> pathlib.Path:
        """Write a grid with named dimensions to `name.nc` (NetCDF 4) and return its path.

        Raises:
            InvalidInputError: if a variable or attribute has no form in NetCDF.
            OutputError: if the file cannot be written; an older file is left as it was.
        """
        path = self.target(name, ".nc")
        with self._replacing(path) as temporary:
            try:
                dataset.to_netcdf(temporary, engine="h5netcdf")
            except (ValueError, TypeError) as error:
                reason = str(error).splitlines()[0]
                raise InvalidInputError(
                    f"dataset '{name}' cannot be written as NetCDF: {reason}."
                ) from error
        return path

    def write_json(self, name: str, value: Any) -> pathlib.Path:
        """Write `value` to `name.json` and return its path; see `json_values.plain` for NaN."""
        text = json.dumps(json_values.plain(value, name), indent=2, allow_nan=False)
        return self.write_text(self.target(name, ".json").relative_to(self.path), text + "\n")

    def write_text(self, name: str | os.PathLike[str], text: str) -> pathlib.Path:
        """Write `text` to the file `name` (with its ending) in UTF-8 and return its path."""
        path = self.target(os.fspath(name))
        with self._replacing(path) as temporary:
            temporary.write_bytes(text.encode())
        return path

    def write_figure(
        self,
        name: str,
        figure: matplotlib.figure.Figure,
        caption: str = "",
        alt: str = "",
        *,
        narrow: matplotlib.figure.Figure | None = None,
    ) -> Figure:
        """Write `name.png` and `name.svg` and return the record that the page takes.

        A fixed salt and no date: the same numbers give the same bytes.

        Args:
            name: the name without ending.
            figure: the figure.
            caption: one or two sentences.
            alt: what it shows, in words; the caption if not given.
            narrow: the same figure laid out for a phone; only the page holds it.

        Raises:
            OutputError: if a file cannot be written; older files are left as they were.
        """
        stem = name.removesuffix(".png").removesuffix(".svg")
        settings: Any = {**style.RC, "svg.hashsalt": stem}
        with matplotlib.rc_context(settings):
            with self._replacing(self.target(stem, ".png")) as temporary:
                figure.savefig(temporary, format="png", dpi=DOTS_PER_INCH)
            svg = _svg(figure)
            small = _svg(narrow) if narrow is not None else ""
        self.write_text(f"{stem}.svg", svg)
        return Figure(stem, caption, svg, alt or caption, small)

    def read_parquet(self, name: str) -> pd.DataFrame:
        """Return the table of `name.parquet`.

        Raises:
            InvalidInputError: if the file is missing or is not Parquet.
        """
        path = self.target(name, ".parquet")
        with _reading(path):
            return pd.read_parquet(path, engine="pyarrow")

    def read_netcdf(self, name: str) -> xr.Dataset:
        """Return the grid of `name.nc`, in memory and with the file closed."""
        path = self.target(name, ".nc")
        with _reading(path):
            return xr.load_dataset(path, engine="h5netcdf")

    def read_json(self, name: str) -> Any:
        """Return the value of `name.json`."""
        path = self.target(name, ".json")
        with _reading(path):
            return json.loads(path.read_text(encoding="utf-8"))

    def exists(self, name: str) -> bool:
        """Return whether the file `name` (with its ending) is in the folder."""
        return self.target(name).is_file()

    def prepare(
        self, config: Mapping[str, Any], *, overwrite: bool = False
    ) -> Literal["new", "partial", "complete"]:
        """Say what the folder holds of the run with this configuration.

        Args:
            config: the configuration of the run that is about to start.
            overwrite: remove the files of the run that is in the folder, whatever it is.

        Returns:
            `"complete"` if nothing is left to do, `"partial"` if the run can go on, else `"new"`.

        Raises:
            InvalidInputError: if the folder holds a run with another configuration.
        """
        if not self.exists(RUN_CARD):
            return "new"
        if overwrite:
            self._remove_run()
            return "new"
        card = _card(self.path)
        if card is None:
            raise InvalidInputError(
                f"output folder '{self.path}': its {RUN_CARD} cannot be read; "
                "choose another folder or pass --overwrite."
            )
        found = provenance.first_difference(card["config"], config)
        if found:
            field, old, new = found
            raise InvalidInputError(
                f"output folder '{self.path}' holds a run with another configuration: "
                f"{field} was {old!r} and is now {new!r}; "
                "choose another folder or pass --overwrite."
            )
        return "complete" if completed(self, config) else "partial"

    def write_run_card(self, card: Mapping[str, Any]) -> pathlib.Path:
        """Write `run.json` with the list of this run's files and their sizes.

        Files that an earlier, interrupted part of the same run wrote stay on the list.
        """
        earlier = _card(self.path)
        if earlier is None or earlier["config_hash"] != card["config_hash"]:
            earlier = {"files": {}}
        names = {*earlier["files"], *card["files"], *self.written} - {RUN_CARD}
        sizes = {n: self.target(n).stat().st_size for n in sorted(names) if self.exists(n)}
        return self.write_json(RUN_CARD, {**card, "files": sizes})

    def _remove_run(self) -> None:
        """Remove the files that the run card lists, the card last: a kill leaves it recognised."""
        card = _card(self.path) or {"files": {}}
        try:
            for name in card["files"]:
                self.target(name).unlink(missing_ok=True)
            self.target(RUN_CARD).unlink(missing_ok=True)
        except OSError as error:
            raise _refusal(self.path, error) from error

    def _sweep(self) -> None:
        """Remove temporary files that a killed run left behind an hour or more ago.

        Younger ones may belong to a run that writes into this folder now.
        """
        for path in self.path.glob(".*.genjax-tmp"):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < time.time() - 3600:
                    path.unlink()

    @contextlib.contextmanager
    def _replacing(self, path: pathlib.Path) -> Iterator[pathlib.Path]:
        """Give a temporary path; if the block succeeds, it becomes `path` in one step."""
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.genjax-tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
            _sync_folder(path.parent)
            if not path.name.startswith("."):
                name = path.relative_to(self.path).as_posix()
                self.written[name] = path.stat().st_size
        except OutputError:
            raise
        except OSError as error:
            raise _refusal(path, error) from error
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def completed(folder: OutputFolder | str | os.PathLike[str], config: Mapping[str, Any]) -> bool:
    """Return whether `folder` holds the complete run of `config`.

    That is: a run card of status complete, the same configuration hash, and every listed file
    there with its listed size. Nothing is created.

    Example:
        >>> completed("no/such/folder", {"seeds": 8})
        False
    """
    path = folder.path if isinstance(folder, OutputFolder) else pathlib.Path(folder).expanduser()
    card = _card(path)
    if card is None or card["status"] != "complete":
        return False
    if card["config_hash"] != provenance.config_hash(config):
        return False
    return all(
        (path / name).is_file() and (path / name).stat().st_size == size
        for name, size in card["files"].items()
    )


def _svg(figure: matplotlib.figure.Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": "genjax"})
    return buffer.getvalue().decode()


def _card(path: pathlib.Path) -> dict[str, Any] | None:
    """Return the run card of a folder, or None if there is none that can be read."""
    try:
        card = json.loads((path / RUN_CARD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    kinds = {"status": str, "config": dict, "config_hash": str, "files": dict}
    if not isinstance(card, dict):
        return None
    sound = all(isinstance(card.get(name), kind) for name, kind in kinds.items())
    return card if sound else None


@contextlib.contextmanager
def _reading(path: pathlib.Path) -> Iterator[None]:
    if not path.is_file():
        raise InvalidInputError(f"'{path}' does not exist.")
    try:
        yield
    except (OSError, ValueError, TypeError, KeyError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InvalidInputError(f"'{path}' cannot be read: {reason}.") from error


def _refusal(path: pathlib.Path, error: OSError) -> OutputError:
    reasons = {
        errno.ENOSPC: "the disk is full",
        errno.EDQUOT: "the disk quota is used up",
        errno.EROFS: "the file system is read-only",
        errno.EACCES: "the permission is missing",
        errno.EPERM: "the permission is missing",
        errno.EEXIST: "a file of that name is in the way",
        errno.ENOTDIR: "a file is in the way of one of its folders",
        errno.EISDIR: "a folder of that name is in the way",
    }
    fallback = error.strerror or (str(error).splitlines() or ["the system refused"])[0]
    reason = reasons.get(error.errno or 0, fallback)
    return OutputError(f"output path '{path}' cannot be written: {reason}.")


def _sync_folder(path: pathlib.Path) -> None:
    """Force the rename itself to disk, where the system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
