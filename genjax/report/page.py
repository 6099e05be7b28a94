"""One self-contained HTML page: conclusions first, then figures and sortable tables.

The page loads nothing: styles, script and figures are inside, and its content policy forbids the
rest. Every text goes through jinja2's autoescape; of figures only drawing elements are kept.
"""

import functools
import importlib.resources
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from xml.etree import ElementTree

import jinja2
import numpy as np
from markupsafe import Markup

from genjax.errors import InvalidInputError
from genjax.report import json_values, terminal
from genjax.report.storage import Figure

TEMPLATE = "report.html.j2"
NOTHING = "\u2013"
"""What stands for a missing number."""

_DROPPED = {"script", "style", "metadata", "foreignObject", "a", "animate", "set", "iframe"}
_OUTSIDE = re.compile(r"url\(\s*(?!#)", re.IGNORECASE)


class Table(NamedTuple):
    """A table that readers can sort.

    Attributes:
        caption: what it shows.
        columns: names of the columns.
        rows: cells: numbers, texts, booleans, None, or `Interval`-like triples (value, low, high).
        units: unit of each column, "" for none; empty if no column has one.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    units: Sequence[str] = ()


class Section(NamedTuple):
    """A part of the page.

    Attributes:
        title: its heading.
        paragraphs: sentences, before the figures.
        figures: from `OutputFolder.write_figure`.
        tables: after the figures.
        note: what to keep in mind when reading it.
    """

    title: str
    paragraphs: Sequence[str] = ()
    figures: Sequence[Figure] = ()
    tables: Sequence[Table] = ()
    note: str = ""


class Cell(NamedTuple):
    """One cell as it is written.

    Attributes:
        text: the number or text.
        interval: the interval beside it, or "".
        key: what is sorted by: a number as text; "" if it is missing; None for text.
    """

    text: str
    interval: str
    key: str | None


def render(
    title: str,
    summary_sentences: Sequence[str],
    sections: Sequence[Section],
    run_card: Mapping[str, Any],
) -> str:
    """Return the page as HTML text.

    Args:
        title: heading of the page.
        summary_sentences: the conclusions, most important first.
        sections: what they rest on.
        run_card: from `storage.run_card`; its keys may be missing.

    Raises:
        InvalidInputError: a row or the units of a table do not fit its columns, or a figure is not
            SVG.

    Example:
        >>> text = render("A run", ["cnn generalizes better."], [Section("Errors")], {})
        >>> text.startswith("<!doctype html>"), "<h2>Errors</h2>" in text
        (True, True)
    """
    counter = iter(range(1, 10**6))
    shown = [
        {
            "id": f"section-{index}",
            "title": section.title,
            "paragraphs": section.paragraphs,
            "figures": [_shown_figure(figure, next(counter)) for figure in section.figures],
            "tables": [_shown_table(table) for table in section.tables],
            "note": section.note,
        }
        for index, section in enumerate(sections, 1)
    ]
    return _template().render(
        title=title,
        conclusions=summary_sentences,
        sections=shown,
        partial=run_card.get("status") == "partial",
        provenance=_provenance(run_card),
        config=_config(run_card),
    )


def format_column(values: Sequence[Any]) -> list[Cell]:
    """Write the cells of one column with the same number of decimals, so that digits align.

    Numbers below 10 get three decimals, below 100 two, below 1000 one; whole numbers none. A
    number that this would round to zero is written with two significant digits instead.

    Example:
        >>> [cell.text for cell in format_column([0.25, 1.0, float("nan"), 0.0001])]
        ['0.250', '1.000', '–', '1.0e-04']
        >>> format_column([(0.5, 0.25, 0.75)])[0].interval
        '[0.250, 0.750]'
    """
    triples = [_triple(value) for value in values]
    numbers = [n for triple in triples if triple for n in triple if _finite(n)]
    whole = all(isinstance(n, int | np.integer) for n in numbers)
    decimals = 0 if whole else _decimals(max((abs(float(n)) for n in numbers), default=0.0))
    cells = []
    for value, triple in zip(values, triples, strict=True):
        if triple is None:
            cells.append(Cell(_text(value), "", None))
            continue
        number, *ends = triple
        text = _write(number, decimals)
        known = bool(ends) and _known(number) and any(_known(end) for end in ends)
        interval = f"[{', '.join(_write(end, decimals) for end in ends)}]" if known else ""
        cells.append(Cell(text, interval, repr(float(number)) if _known(number) else ""))
    return cells


def inline_svg(svg: str, prefix: str, label: str) -> Markup:
    """Return an SVG for use inside a page: drawing elements only, ids unique by `prefix`.

    Metadata, scripts, styles, event handlers and links to other places are left out.

    Args:
        svg: the text of an SVG file.
        prefix: put before every id, and before every reference to one.
        label: what it shows, for those who cannot see it.

    Raises:
        InvalidInputError: the text is not SVG.

    Example:
        >>> inline_svg('<svg width="72pt" viewBox="0 0 72 9"><g id="a"/></svg>', "f1", "A line.")
        Markup('<svg viewBox="0 0 72 9" style="--width: 72.0" role="img" \
aria-label="A line."><g id="f1-a" /></svg>')
    """
    try:
        # Entities could grow without limit; matplotlib writes none.
        if "<!ENTITY" in svg:
            raise ElementTree.ParseError("it declares entities")
        root = ElementTree.fromstring(svg)
    except ElementTree.ParseError as error:
        raise InvalidInputError(f"figure '{prefix}' is not SVG: {error}.") from None
    if _local(root.tag) != "svg":
        raise InvalidInputError(f"figure '{prefix}' is not SVG but <{_local(root.tag)}>.")
    _clean(root, prefix)
    width = root.attrib.pop("width", "0").removesuffix("pt")
    root.attrib.pop("height", None)
    root.attrib.pop("version", None)
    # Inches are 72 points in Matplotlib; the style sheet turns points into CSS pixels.
    root.set("style", f"--width: {float(width) if re.fullmatch('[0-9.]+', width) else 0}")
    root.set("role", "img")
    root.set("aria-label", label)
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _clean(element: ElementTree.Element, prefix: str) -> None:
    element.tag = _local(element.tag)
    attributes = {_local(name): value for name, value in element.attrib.items()}
    element.attrib.clear()
    for name, value in attributes.items():
        if name.lower().startswith("on") or _OUTSIDE.search(value):
            continue
        if name == "href":
            if value.startswith("#"):
                value = f"#{prefix}-{value[1:]}"
            elif not value.startswith("data:image/"):
                continue
        if name == "id":
            value = f"{prefix}-{value}"
        element.set(name, re.sub(r"url\(\s*#", f"url(#{prefix}-", value))
    for child in list(element):
        if not isinstance(child.tag, str) or _local(child.tag) in _DROPPED:
            element.remove(child)
        else:
            _clean(child, prefix)


def _local(tag: str) -> str:
    """Drop the namespace: the HTML parser knows SVG, and a namespace is a web address."""
    return tag.rpartition("}")[2]


@functools.cache
def _template() -> jinja2.Template:
    folder = importlib.resources.files("genjax.report") / "templates"
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string((folder / TEMPLATE).read_text(encoding="utf-8"))


def _shown_figure(figure: Figure, number: int) -> dict[str, Any]:
    # The number keeps ids apart even if two figures have one name.
    prefix = f"figure-{number}"
    label = figure.alt or figure.caption or figure.name
    narrow = inline_svg(figure.narrow, f"{prefix}n", label) if figure.narrow else ""
    return {
        "number": number,
        "caption": figure.caption,
        "svg": inline_svg(figure.svg, prefix, label),
        "narrow": narrow,
    }


def _shown_table(table: Table) -> dict[str, Any]:
    count = len(table.columns)
    units = list(table.units) or [""] * count
    if len(units) != count:
        raise InvalidInputError(
            f"table '{table.caption}': found {len(units)} units for {count} columns."
        )
    for index, row in enumerate(table.rows):
        if len(row) != count:
            raise InvalidInputError(
                f"table '{table.caption}': row {index} has {len(row)} cells; there are {count} "
                "columns."
            )
    columns = [format_column([row[i] for row in table.rows]) for i in range(count)]
    numeric = [
        any(cell.key is not None for cell in column)
        and all(cell.key is not None for cell in column)
        for column in columns
    ]
    heads = [
        {"name": str(name), "unit": unit, "numeric": is_numeric}
        for name, unit, is_numeric in zip(table.columns, units, numeric, strict=True)
    ]
    rows = list(zip(*columns, strict=True))
    return {"caption": table.caption, "heads": heads, "rows": rows, "numeric": numeric}


def _triple(value: Any) -> tuple[Any, ...] | None:
    """Return the numbers of a cell: one, or a value with its interval; None for text."""
    if value is None:
        return (float("nan"),)
    if isinstance(value, bool | np.bool_ | str):
        return None
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value.item()
    if isinstance(value, int | float | np.integer | np.floating):
        return (value,)
    if isinstance(value, tuple) and len(value) == 3:
        parts = [_triple(part) for part in value]
        if all(part is not None and len(part) == 1 for part in parts):
            return tuple(part[0] for part in parts if part is not None)
    return None


def _text(value: Any) -> str:
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    return str(value)


def _write(number: Any, decimals: int) -> str:
    if not _known(number):
        return NOTHING
    if math.isinf(number):
        return "\u221e" if number > 0 else "\u2212\u221e"
    text = f"{number:,.{decimals}f}"
    if number != 0 and not text.strip("-0.,"):
        text = f"{number:.1e}"
    return text.replace("-", "\u2212", 1) if number < 0 else text


def _decimals(largest: float) -> int:
    """Decimals of a column whose largest number is this one."""
    if largest < 10:
        return 3
    return 2 if largest < 100 else int(largest < 1000)


def _known(number: Any) -> bool:
    return not math.isnan(number)


def _finite(number: Any) -> bool:
    return math.isfinite(number)


def _provenance(card: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the lines of the footer; what the card does not hold is left out."""
    times = card.get("wall_times") or {}
    spent = [f"{name} {terminal.duration(seconds)}" for name, seconds in times.items()]
    versions = [f"{name} {version}" for name, version in (card.get("versions") or {}).items()]
    devices = card.get("devices") or []
    kinds = [f"{devices.count(d)} x {d}" for d in dict.fromkeys(devices)]
    cores = card.get("cpu_count")
    lines = [
        ("Command", card.get("command")),
        ("Data fingerprint", card.get("data_fingerprint")),
        ("Configuration", (card.get("config_hash") or "")[:16]),
        ("Started", card.get("started")),
        ("Ended", card.get("ended")),
        ("Time", ", ".join(spent)),
        ("Devices", ", ".join(kinds)),
        ("Machine", ", ".join(filter(None, [card.get("platform"), cores and f"{cores} cores"]))),
        ("Versions", ", ".join(versions)),
    ]
    return [(name, str(value)) for name, value in lines if value]


def _config(card: Mapping[str, Any]) -> str:
    config = card.get("config")
    return json.dumps(json_values.plain(config), indent=2) if config else ""
