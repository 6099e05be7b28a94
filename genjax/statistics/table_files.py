"""Tables in files: CSV and Parquet."""

import io
import pathlib

import pandas as pd
import pyarrow
import pyarrow.parquet

from genjax.errors import InvalidInputError


def read_table(path: str | pathlib.Path) -> pd.DataFrame:
    r"""Read a table from a CSV (commas, UTF-8, names in the first line) or a Parquet file.

    Nothing in the file is executed.

    Raises:
        InvalidInputError: the file cannot be read, ends otherwise, has no rows, or two columns of
            one name.

    Example:
        >>> import tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "networks.csv"
        >>> _ = path.write_text("hp.depth,gap\n2,0.1\n4,0.2\n")
        >>> read_table(path).shape
        (2, 2)
    """
    path = pathlib.Path(path).expanduser()
    readers = {".csv": _read_csv, ".parquet": _read_parquet}
    if path.suffix.lower() not in readers:
        raise InvalidInputError(
            f"table: '{path}' ends in '{path.suffix}'; allowed are .csv and .parquet."
        )
    try:
        table = readers[path.suffix.lower()](path.read_bytes())
    except InvalidInputError as error:
        raise InvalidInputError(f"table: '{path}' {error}") from error
    except (OSError, ValueError, TypeError, KeyError, pyarrow.ArrowException) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        reason = (getattr(error, "strerror", None) or lines[0]).rstrip(".")
        raise InvalidInputError(f"table: '{path}' cannot be read ({reason}).") from error
    if table.empty:
        raise InvalidInputError(f"table: '{path}' holds no rows.")
    return table


def _read_csv(content: bytes) -> pd.DataFrame:
    # As a row of values: pandas numbers names that come twice.
    names = pd.read_csv(io.BytesIO(content), header=None, nrows=1, dtype=str, skipinitialspace=True)
    table = pd.read_csv(io.BytesIO(content), low_memory=False, skipinitialspace=True)
    if not table.index.equals(pd.RangeIndex(len(table))):
        raise InvalidInputError("has rows with more cells than there are names.")
    if len(table.columns) == 1 and any(mark in str(table.columns[0]) for mark in ";\t"):
        raise InvalidInputError("has a single column; cells must be separated by commas.")
    given = names.iloc[0].dropna().str.strip()
    if given.duplicated().any():
        raise InvalidInputError(f"has two columns called '{given[given.duplicated()].iloc[0]}'.")
    return table.rename(columns=lambda name: str(name).strip())


def _read_parquet(content: bytes) -> pd.DataFrame:
    names = pyarrow.parquet.read_schema(io.BytesIO(content)).names
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InvalidInputError(f"has two columns called '{twice[0]}'.")
    table = pd.read_parquet(io.BytesIO(content), engine="pyarrow")
    if any(name is not None for name in table.index.names):
        table = table.reset_index()  # a named index is a column that somebody set aside
    return table.rename(columns=str)
