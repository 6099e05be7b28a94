"""The page of relations and its files: complete, the numbers of the tables, sound without any."""

import re

import numpy as np
import pandas as pd
import pytest
from test_page import Reader

from genjax.report import relation_glossary, relation_words, terminal
from genjax.report import relations as report
from genjax.report.storage import Figure, OutputFolder, run_card

TITLES = (
    "What predicts gap",
    "Within one hyper-parameter",
    "Sign errors and the worst case",
    "Together: regression over all measures",
    "What was left out",
    "What the columns mean",
)
TABLES = ("relations", "by_hyper", "combination", "worst_case", "references", "dropped")


def write(found, path):
    card = run_card(
        {"table": "networks.csv"},
        data_fingerprint="ab12",
        seeds=[],
        wall_times={"statistics": 1.0},
        command="python -m experiments.relate",
    )
    output = OutputFolder(path)
    written = report.write(output, found, card, title="Which measure predicts gap?")
    return output, written, written["page"].read_text()


@pytest.fixture(scope="module")
def full(relations, tmp_path_factory):
    return write(relations, tmp_path_factory.mktemp("full"))


@pytest.fixture(scope="module")
def bare(bare_relations, tmp_path_factory):
    return write(bare_relations, tmp_path_factory.mktemp("bare"))


@pytest.fixture
def undrawn(monkeypatch):
    """Figures are made but not written, which takes most of the time."""

    def record(self, name, figure, caption="", alt="", *, narrow=None):
        return Figure(name, caption, "", alt)

    monkeypatch.setattr(OutputFolder, "write_figure", record)


def rows_below(text, caption):
    """The texts of the cells of a table of the page, and its heads."""
    table = text[text.index(f"<caption>{caption}</caption>") :]
    table = table[: table.index("</table>")]
    heads = re.findall(r'<button type="button">(.*?)</button>', table)
    rows = re.findall(r"<tr>\s*(<td.*?)</tr>", table, re.DOTALL)
    return heads, [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in rows]


def test_every_table_is_a_file_with_all_digits(relations, full):
    output, written, _ = full
    for name in TABLES:
        expected = getattr(relations, "table" if name == "relations" else name)
        assert written[name] == output.path / f"{name}.csv"
        # An empty cell is NaN, or a text that is empty.
        found = pd.read_csv(written[name], dtype={"verdict": str, "name": str})
        found = found.astype(dict.fromkeys(found.columns.intersection(["verdict"]), object))
        for column in expected:
            ours, theirs = found[column], expected[column]
            if theirs.dtype.kind == "f":
                np.testing.assert_array_equal(ours.to_numpy(np.float64), theirs.to_numpy())
            else:
                assert ours.fillna("").tolist() == theirs.tolist()
        assert list(found.columns) == list(expected.columns)
    parquet = pd.read_parquet(written["environments"])
    pd.testing.assert_frame_equal(parquet, relations.environments)
    first = (output.path / "relations.csv").read_text().splitlines()[0].split(",")
    assert first[:4] == ["measure", "n", "configurations", "kendall"]
    assert {*output.written} >= {"report.html", *(f"{name}.csv" for name in TABLES)}
    assert all(path.exists() for path in written.values())


def test_nan_is_an_empty_cell_and_empty_tables_have_their_heads(bare):
    output, written, _ = bare
    table = pd.read_csv(written["relations"], keep_default_na=False, dtype=str)
    assert set(table["granulated"]) == {""}
    heads = (output.path / "combination.csv").read_text()
    assert heads == "held_out,networks,rmse,bias_only_rmse\n"
    assert len(pd.read_parquet(written["environments"])) == 0


def test_the_page_says_shows_and_lists_everything(relations, full):
    output, _, text = full
    page = Reader(text)
    words = " ".join(" ".join(page.words).split())
    for title in TITLES:
        assert f"<h2>{title}</h2>" in text
    for sentence in relation_words.conclusions(relations):
        assert " ".join(sentence.split()) in words
    figures = ["relations", "scatter", "by_hyper", "sign_errors"]
    assert sorted(p.stem for p in (output.path / "figures").glob("*.png")) == sorted(figures)
    # Each in both layouts, with what it shows in words.
    labels = [values.get("aria-label") for tag, values in page.tags if tag == "svg"]
    assert len(labels) == 2 * len(figures)
    assert all(labels)
    assert labels[0].startswith("Dot plot of Kendall's tau with gap, from flatness_0 (0.797) to ")
    assert len(page.ids) == len(set(page.ids))
    assert "nan" not in re.findall(r"[a-z]+", words.lower())


def test_cells_are_the_numbers_with_their_intervals(relations, full):
    heads, rows = rows_below(full[2], "Every measure with the target")
    assert heads == [
        *("measure", "networks", "Kendall&#39;s tau", "Spearman", "Pearson", "of means"),
        *("p", "p, Holm", "q", "verdict"),
    ]
    for cells, row in zip(rows, relations.table.to_dict("records"), strict=True):
        tau = f"{row['kendall']:.3f}".replace("-", "\u2212")
        low, high = (f"{row[f'kendall_{e}']:.3f}".replace("-", "\u2212") for e in ("low", "high"))
        assert cells[0] == row["measure"]
        assert cells[1] == "216"
        assert cells[2] == f'{tau}<span class="interval">[{low}, {high}]</span>'
        assert cells[-1] == row["verdict"]
    heads, rows = rows_below(full[2], "Sign errors")
    assert heads[1:4] == ["mean sign error", "90th percentile", "maximum"]
    assert rows[0][3] == f"{relations.table['sign_error_max'][0]:.3f}"
    heads, rows = rows_below(full[2], "Left out, and why")
    assert len(rows) == len(relations.dropped)


def test_without_hyper_parameters_sections_say_why_they_are_empty(bare):
    output, _, text = bare
    Reader(text)
    assert sorted(p.stem for p in (output.path / "figures").glob("*.png")) == [
        "relations",
        "scatter",
    ]
    assert "there is nothing to compare" in text
    assert "There is no environment" in text
    assert "There is no hyper-parameter of which a value could be held out" in text
    assert len(rows_below(text, "Every measure with the target")[1]) == 14
    # Columns without any number are left out, and tables that have no other.
    assert rows_below(text, "Sign errors")[0] == ["measure", "sign error, all pairs", "concordance"]
    assert "What is left within hyper-parameters" not in text


def test_without_any_measure_there_is_still_a_page(bare_relations, tmp_path):
    nothing = bare_relations._replace(
        table=bare_relations.table.iloc[:0],
        references=bare_relations.references.iloc[:0],
        dropped=bare_relations.dropped.iloc[:0],
    )
    _, written, text = write(nothing, tmp_path)
    Reader(text)
    assert "figures" not in written
    assert "No measure is left that could be related to gap." in text
    assert "Nothing was left out." in text
    assert report.summary_rows(nothing) == []


def test_captions_say_what_is_not_shown_and_what_is_about(make_relations, tmp_path, undrawn):
    many = make_relations(61, runs=2, depths=1)
    many = many._replace(chance=many.chance._replace(statistic="spearman"))
    sections = report.section(OutputFolder(tmp_path), many)
    dots, scatter = (figure.caption for figure in sections[0].figures)
    left_out = "Of 61 measures the first 30 and the last 30 are shown."
    assert dots.endswith(left_out)
    assert "the best of 61 measures" in dots
    assert "about, from Spearman's correlation times 2/3" in dots
    assert "against the 11 measures of largest tau" in scatter
    assert "Colour: width" in scatter
    assert sections[1].figures[0].caption.endswith(left_out)
    assert sections[2].figures[0].caption.endswith(left_out)


def test_long_tables_of_environments_are_cut_on_the_page_only(relations, tmp_path, undrawn):
    rows = pd.DataFrame(
        {
            "held_out": [f"a = {i}" for i in range(99)],
            "networks": 5,
            "rmse": 0.1,
            "bias_only_rmse": 0.2,
        }
    )
    sections = report.section(
        OutputFolder(tmp_path), relations._replace(combination=rows, environments=rows[:0])
    )
    (table,) = sections[3].tables
    assert len(table.rows) == report.MOST_ROWS
    assert table.caption.endswith("(the first 60 of 99 environments)")


def test_summary_is_short_and_has_no_empty_interval(relations, bare_relations, make_relations):
    rows = report.summary_rows(relations)
    first = relations.table.iloc[0]
    assert rows[0][0] == first["measure"]
    assert rows[0][1] == (
        f"{first.kendall:.3f} [{first.kendall_low:.3f}, {first.kendall_high:.3f}]"
    )
    assert rows[0][2:] == [first[name] for name in report.SUMMARY_COLUMNS[2:]]
    assert all(len(row) == len(report.SUMMARY_COLUMNS) for row in rows)
    assert len(rows) == 14
    unknown = relations._replace(table=relations.table.assign(kendall=np.nan))
    assert report.summary_rows(unknown)[0][1] == "-"
    assert len(report.summary_rows(make_relations(16, runs=2, depths=1))) == 15
    assert [terminal.number(cell) for cell in report.summary_rows(bare_relations)[0][2:4]] == [
        "-",
        "-",
    ]


def test_the_glossary_knows_every_column(relations):
    defined = set(relation_glossary.DEFINITIONS)
    tables = {*relations.table, *relations.combination, "robust_rmse"}
    plain = {re.sub("_(low|high)$", "", name) for name in tables} - {"held_out", "networks"}
    assert plain <= defined
    shown = {*report.OVERALL, *report.WITHIN, *report.SIGN_ERRORS}
    assert shown <= defined
    for name in defined - {"configurations"}:
        assert name in plain
