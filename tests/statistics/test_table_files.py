"""Tables in files: CSV and Parquet give the same networks, what is broken is refused."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from genjax import errors
from genjax.statistics import tables

NAN = float("nan")


def small(**changes) -> pd.DataFrame:
    """Six networks."""
    frame = {
        "hp.depth": [2, 4, 8, 2, 4, 8],
        "hp.optimizer": ["sgd"] * 3 + ["adam"] * 3,
        "seed": np.arange(6),
        "measure.norm": np.arange(6.0) ** 2 / 7,
        "gap": np.linspace(0.1, 0.4, 6),
    }
    return pd.DataFrame({**frame, **changes})


def read(table):
    return tables.measured_networks(table, target="gap", seed_column="seed")


@pytest.mark.parametrize("ending", [".csv", ".parquet", ".CSV"])
def test_a_table_survives_its_file(tmp_path, ending):
    table = small()
    path = tmp_path / f"networks{ending}"
    if ending == ".parquet":
        table.to_parquet(path)
    else:
        table.to_csv(path, index=False)
    found = tables.read_table(str(path))
    pd.testing.assert_frame_equal(found, table)
    from_file, from_memory = read(found), read(table)
    np.testing.assert_array_equal(from_file.networks.measures, from_memory.networks.measures)
    assert from_file.networks.hyper_values == from_memory.networks.hyper_values


def test_parquet_and_csv_of_texts_and_gaps_give_the_same_networks(tmp_path):
    option = pd.Series(["0.1", None, "auto"] * 2, dtype=object)
    table = small(**{"hp.option": option, "measure.norm": [True, False, True, False, True, None]})
    table.to_csv(tmp_path / "t.csv", index=False)
    table.to_parquet(tmp_path / "t.parquet")
    one, other = (read(tables.read_table(tmp_path / f"t.{end}")) for end in ("csv", "parquet"))
    for a, b in zip(one.networks[:5], other.networks[:5], strict=True):
        np.testing.assert_array_equal(a, b)
    assert one.networks[5:8] == other.networks[5:8]  # names and values; arrays are above
    assert one.networks.hyper_values[2] == (0.1, "auto", "none")
    np.testing.assert_array_equal(one.networks.measures[:, 0], [1, 0, 1, 0, 1, NAN])


def test_spaces_a_byte_order_mark_and_a_named_index_do_no_harm(tmp_path):
    (tmp_path / "t.csv").write_bytes("\ufeffhp.a, gap \n1, 0.5\n2, 0.25\n".encode())
    found = tables.read_table(tmp_path / "t.csv")
    assert found.columns.tolist() == ["hp.a", "gap"]
    assert found["gap"].tolist() == [0.5, 0.25]
    small().set_index(["hp.depth", "seed"]).to_parquet(tmp_path / "t.parquet")
    assert {"hp.depth", "seed", "gap"} <= set(tables.read_table(tmp_path / "t.parquet").columns)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("t.xlsx", b"", "ends in '.xlsx'; allowed are .csv and .parquet"),
        ("t", b"", "ends in ''; allowed"),
        ("t.csv", b"", "cannot be read .No columns to parse from file."),
        ("t.csv", b"a,b\n", "holds no rows"),
        ("t.csv", b"a,b\n1,2\n1,2,3,4\n", "cannot be read .*Expected 2 fields in line 3, saw 4"),
        ("t.csv", b"a,b\n1,2,3\n4,5,6\n", "rows with more cells than there are names"),
        ("t.csv", b"a;b\n1;2\n", "cells must be separated by commas"),
        ("t.csv", b"a\tb\n1\t2\n", "cells must be separated by commas"),
        ("t.csv", b"a,b, a\n1,2,3\n", "has two columns called 'a'"),
        ("t.csv", b"\xff\xfea\x00", "cannot be read .'utf-8' codec can't decode byte 0xff"),
        ("t.csv", b'a,b\n"1,2\n', "cannot be read .*EOF inside string"),
        ("t.parquet", b"", "cannot be read .*0 bytes"),
        ("t.parquet", b"a,b\n1,2\n3,4\n5,6\n", "cannot be read .*Parquet magic bytes not found"),
        ("t.parquet", b"PAR1" + bytes(40) + b"PAR1", "cannot be read"),
    ],
)
def test_a_bad_file_is_refused_in_one_sentence(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(errors.InvalidInputError, match=words) as refused:
        tables.read_table(tmp_path / name)
    assert str(refused.value).startswith(f"table: '{tmp_path / name}' ")
    assert "\n" not in str(refused.value)


def test_files_that_are_not_there_or_cut_off(tmp_path):
    with pytest.raises(errors.InvalidInputError, match=r"cannot be read .No such file"):
        tables.read_table(tmp_path / "none.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(errors.InvalidInputError, match=r"cannot be read .Is a directory"):
        tables.read_table(tmp_path / "folder.csv")
    small().to_parquet(tmp_path / "t.parquet")
    whole = (tmp_path / "t.parquet").read_bytes()
    for length in range(4, len(whole), 97):
        (tmp_path / "t.parquet").write_bytes(whole[:length])
        with pytest.raises(errors.InvalidInputError, match="cannot be read"):
            tables.read_table(tmp_path / "t.parquet")


def test_two_parquet_columns_of_one_name(tmp_path):
    column = pa.array([1, 2])
    pq.write_table(pa.Table.from_arrays([column, column], ["a", "a"]), tmp_path / "t.parquet")
    with pytest.raises(errors.InvalidInputError, match="has two columns called 'a'"):
        tables.read_table(tmp_path / "t.parquet")
