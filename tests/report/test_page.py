"""The page: self-contained, escaped, ids apart, tables that sort."""

import html.parser
import re

import matplotlib.figure
import numpy as np
import pytest

from genjax.errors import InvalidInputError
from genjax.report import page, storage
from genjax.report.page import Section, Table
from genjax.statistics.resampling import Interval

VOID = {"meta", "link", "img", "br", "hr", "input"}


class Reader(html.parser.HTMLParser):
    """Collects what a browser would see, and checks that tags are closed in order."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.ids, self.values, self.words, self.open = [], [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self._note(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self._note(tag, attrs)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("script", "style"):
            self.words.append(data)

    def _note(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id"]
        self.values += [value for name, value in attrs if value and name != "content"]


@pytest.fixture(scope="module")
def figure(tmp_path_factory):
    drawn = matplotlib.figure.Figure(figsize=(4, 2))
    axes = drawn.subplots()
    axes.imshow(np.eye(3))
    axes.set_title("a < b & c")
    narrow = matplotlib.figure.Figure(figsize=(2, 2))
    narrow.subplots().plot([0, 1], marker="o")
    folder = storage.OutputFolder(tmp_path_factory.mktemp("run"))
    return folder.write_figure("map", drawn, "A <map>.", "Errors by cell.", narrow=narrow)


def card(**changes):
    settings = {
        "data_fingerprint": "ab12cd",
        "seeds": [0],
        "wall_times": {"training": 75.0},
        "command": "python -m x --name='<b>'",
    }
    return storage.run_card({"data": "<digits>"}, **(settings | changes))


ROWS = [
    ["mlp", Interval(0.25, 0.2, 0.3), 1200, True],
    ["<script>alert(1)</script>", Interval(float("nan"), float("nan"), float("nan")), 80, False],
]
TABLE = Table("Errors & <more>", ["family", "error", "size", "ok"], ROWS, ["", "share", "", ""])


@pytest.fixture(scope="module")
def text(figure):
    sections = [
        Section("First <i>", ["Words & <em>."], [figure, figure], [TABLE], "Mind <this>."),
        Section("Second", figures=[figure]),
    ]
    return page.render("A <title>", ["cnn < mlp, 'surely'."], sections, card())


def test_page_is_well_formed_and_ids_are_unique(text):
    reader = Reader(text)
    assert len(reader.ids) == len(set(reader.ids)) > 20
    references = re.findall(r"url\(#([^)]+)\)", text)
    references += [a["href"][1:] for _, a in reader.tags if "href" in a and a["href"][0] == "#"]
    assert references
    assert set(references) <= set(reader.ids)


def test_page_loads_nothing_from_elsewhere(text):
    reader = Reader(text)
    assert not re.search(r"https?:|//[a-z]", text.split("<footer>")[0].split("</style>")[1])
    assert not {tag for tag, _ in reader.tags} & {"link", "iframe", "object", "embed", "img"}
    for tag, attributes in reader.tags:
        for name in ("src", "href"):
            if name in attributes:
                assert attributes[name].startswith(("#", "data:image/")), (tag, attributes[name])
    assert "@import" not in text
    policies = [a for t, a in reader.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert policies[0]["content"].startswith("default-src 'none'")


def test_every_text_is_escaped(text):
    words = "".join(Reader(text).words)
    for said in ("<script>alert(1)</script>", "A <title>", "cnn < mlp, 'surely'.", "First <i>"):
        assert said in words
        assert said not in text
    for said in ("Words & <em>.", "A <map>.", "Errors & <more>", "Mind <this>.", "--name='<b>'"):
        assert said in words
    assert '"data": "<digits>"' in words
    assert text.count("<script>") == 1  # the page's own


def test_conclusions_come_first_and_phones_are_served(text):
    assert text.index("cnn &lt; mlp") < text.index("<svg") < text.index("<table")
    assert 'name="viewport" content="width=device-width, initial-scale=1"' in text
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text
    assert text.count('class="canvas wide replaced"') == text.count('class="canvas narrow"') == 3
    assert "Figure 3." in text


def test_tables_can_be_sorted_with_their_numbers(text):
    reader = Reader(text)
    heads = [a for tag, a in reader.tags if tag == "th"]
    assert all(a["aria-sort"] == "none" and a["scope"] == "col" for a in heads)
    assert sum(tag == "button" for tag, _ in reader.tags) == len(TABLE.columns)  # by keyboard
    cells = [a for tag, a in reader.tags if tag == "td"]
    assert [a.get("data-key") for a in cells] == [
        *(None, "0.25", "1200.0", None),
        *(None, "", "80.0", None),
    ]
    assert [a["class"] for a in cells[:4]] == ["text", "number", "number", "text"]
    script = text.split("<script>")[1]
    assert 'addEventListener("click"' in script
    assert "aria-sort" in script


def test_a_partial_run_says_so(text):
    assert "This run is not complete" in text
    done = page.render("t", [], [], card(status="complete"))
    assert "This run is not complete" not in done
    assert "training 1 min 15 s" in done


def test_a_page_without_anything_is_still_a_page():
    reader = Reader(page.render("Empty", [], [], {}))
    assert "Empty" in reader.words


@pytest.mark.parametrize(
    ("values", "written"),
    [
        ([0.1234, 5.0], ["0.123", "5.000"]),
        ([0.5, 42.0], ["0.50", "42.00"]),
        ([0.5, 420.0, float("inf")], ["0.5", "420.0", "\u221e"]),
        ([12345.6, -0.5], ["12,346", "\u22125.0e-01"]),
        ([3, 12000, None], ["3", "12,000", "\u2013"]),
        ([-0.25, 0.0], ["\u22120.250", "0.000"]),
        ([1e-5, np.float32(0.5)], ["1.0e-05", "0.500"]),
        ([True, "text"], ["yes", "text"]),
        ([np.array(0.5)], ["0.500"]),
    ],
)
def test_numbers_of_a_column_align(values, written):
    assert [cell.text for cell in page.format_column(values)] == written


def test_intervals_are_written_beside_their_value():
    cells = page.format_column([(-0.1, -0.2, 0.0), (0.5, float("nan"), float("nan"))])
    assert [cell.interval for cell in cells] == ["[\u22120.200, 0.000]", ""]
    assert [cell.key for cell in cells] == ["-0.1", "0.5"]


def test_a_table_that_does_not_fit_is_refused():
    broken = Table("t", ["a", "b"], [[1, 2], [1]])
    with pytest.raises(InvalidInputError, match="table 't': row 1 has 1 cells; there are 2"):
        page.render("t", [], [Section("s", tables=[broken])], {})
    with pytest.raises(InvalidInputError, match="table 't': found 1 units for 2 columns"):
        page.render("t", [], [Section("s", tables=[Table("t", ["a", "b"], [], ["m"])])], {})


def test_svg_keeps_drawing_only():
    nasty = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        'viewBox="0 0 9 9" width="36pt" onload="alert(1)"><metadata>http://x</metadata>'
        '<script>alert(2)</script><style>*{}</style><!-- note --><defs><path id="p"/></defs>'
        '<use xlink:href="#p" clip-path="url(#c)"/><use xlink:href="http://x/y"/>'
        '<image xlink:href="data:image/png;base64,AA"/><rect style="fill: url(http://x)"/>'
        '<a xlink:href="javascript:alert(3)"><text>t</text></a></svg>'
    )
    found = str(page.inline_svg(nasty, "f1", 'say "so"'))
    for gone in ("alert", "http", "metadata", "note", "<style", "<a", "xmlns"):
        assert gone not in found
    assert 'href="#f1-p"' in found
    assert 'clip-path="url(#f1-c)"' in found
    assert 'href="data:image/png;base64,AA"' in found
    assert 'aria-label="say &quot;so&quot;"' in found
    assert 'style="--width: 36.0"' in found


@pytest.mark.parametrize(
    "svg", ["", "not svg", "<p/>", '<!DOCTYPE s [<!ENTITY a "b">]><svg>&a;</svg>']
)
def test_what_is_no_svg_is_refused(svg):
    with pytest.raises(InvalidInputError, match="figure 'f' is not SVG"):
        page.inline_svg(svg, "f", "x")
