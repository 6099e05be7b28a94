"""The page of tangent kernels: networks against their linearisations over width."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from genjax.report import figures_series, layouts
from genjax.report.figures_series import Axes
from genjax.report.layers import of
from genjax.report.page import Section, Table
from genjax.report.phrases import bracket, count
from genjax.report.storage import OutputFolder

Tables = Mapping[str, Any]
NAMES = {
    "network_error": "network",
    "linear_error": "linearisation",
    "kernel_error": "kernel regression",
    "distance": "distance to the linearisation",
    "drift": "drift of the kernel",
}


def _rows(frame: Any) -> list[dict[str, Any]]:
    return frame.to_dict("records")


def _interval(row: Mapping[str, Any]) -> str:
    return bracket(row["value"], row["low"], row["high"])


def conclusions(tables: Tables, margin: float) -> list[str]:
    """Say from which width on the linear picture holds, and at which rate networks approach it.

    Args:
        tables: as the experiment returns.
        margin: test errors that differ by less are the same.
    """
    lost = int(tables["networks"]["distance"].isna().sum())
    said = [_on_errors(of(tables["differences"], against="linear_error"), margin)]
    said += [_on_slope(row) for row in _rows(tables["slopes"])]
    said.append(_on_kernel(tables, margin))
    if lost:
        said.append(
            f"{count(lost, 'network')} diverged and are left out: the learning rate is too large."
        )
    return said


def _within(row: Mapping[str, Any], margin: float) -> bool:
    return row["low"] > -margin and row["high"] < margin


def _certain(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row; where all differences are equal the interval is the value."""
    if np.isfinite(row["low"]) or row["seeds"] < 2:
        return dict(row)
    return {**row, "low": row["value"], "high": row["value"]}


def _on_errors(apart: Any, margin: float) -> str:
    rows = [_certain(row) for row in _rows(apart.sort_values("width"))]
    held = len(rows)
    while held and _within(rows[held - 1], margin):
        held -= 1
    narrow, wide = rows[0], rows[-1]
    ends = (
        f"network minus linearisation is {_interval(narrow)} at {narrow['width']} units and "
        f"{_interval(wide)} at {wide['width']}"
    )
    if held == len(rows):
        return (
            f"That the linear picture predicts the test error to {margin:g} cannot be told at the "
            f"widest networks: {ends}."
        )
    where = f"from {rows[held]['width']} units on" if held else "at every width"
    return f"The linear picture predicts the test error to {margin:g} {where}: {ends}."


def _on_slope(row: Mapping[str, Any]) -> str:
    said = f"The {NAMES[row['quantity']]} falls as width to the power {_interval(row)}"
    if not np.isfinite(row["low"]):
        return f"The rate of the {NAMES[row['quantity']]} cannot be told."
    if row["low"] <= -1 <= row["high"]:
        return f"{said}: 1/width is in the interval."
    if row["high"] < -1:
        return f"{said}, faster than 1/width."
    slow = ", slower than 1/width"
    return f"{said}{slow}." if row["high"] < 0 else f"{said}: that it falls cannot be told."


def _on_kernel(tables: Tables, margin: float) -> str:
    rows = _rows(of(tables["differences"], against="kernel_error").sort_values("width"))
    row = _certain(rows[-1])
    said = f"At {row['width']} units network minus kernel regression is {_interval(row)}"
    if _within(row, margin):
        return f"{said}: regression with the kernel of the start predicts the test error as well."
    if row["low"] > 0 or row["high"] < 0:
        better = "kernel regression" if row["low"] > 0 else "the network"
        return f"{said}: {better} errs less."
    return f"{said}: which errs less cannot be told."


def sections(output: OutputFolder, tables: Tables) -> list[Section]:
    """Return the sections of the page, their figures written.

    Args:
        output: the folder.
        tables: as the experiment returns.
    """
    return [_rate_section(output, tables), _error_section(output, tables)]


def _named(tables: Tables, quantities: Sequence[str]) -> Any:
    widths = tables["widths"]
    shown = widths[widths["quantity"].isin(quantities)]
    return shown.assign(series=shown["quantity"].map(NAMES))


def _rate_section(output: OutputFolder, tables: Tables) -> Section:
    axes = Axes("width", "units per hidden layer", "relative change", log="xy")
    return Section(
        "Distance and drift",
        figures=layouts.draw(
            output, "distance", functools.partial(figures_series.series, axes=axes),
            _named(tables, ("distance", "drift")),
            caption="Distance between network and linearisation on test images over the change of "
            "outputs, and change of the kernel in the Frobenius norm; bands are intervals over "
            "starts.",
        ),
        tables=[
            Table(
                "Slopes of log against log width",
                ("quantity", "slope", "networks of every width"),
                [
                    (NAMES[r["quantity"]], (r["value"], r["low"], r["high"]), r["seeds"])
                    for r in _rows(tables["slopes"])
                ],
            )
        ],
        note="Neural tangent parametrisation, full-batch gradient descent on the squared loss. "
        "Theory has 1/width for smooth activations in the limit; kinks of ReLU slow it down.",
    )  # fmt: skip


def _error_section(output: OutputFolder, tables: Tables) -> Section:
    axes = Axes("width", "units per hidden layer", "test error", log="x")
    cells = [
        (r["width"], r["quantity"].replace("_", " "), (r["value"], r["low"], r["high"]), r["seeds"])
        for r in _rows(tables["widths"])
    ]
    pairs = [
        (r["width"], NAMES[r["against"]], (r["value"], r["low"], r["high"]), r["p"])
        for r in _rows(tables["differences"])
    ]
    return Section(
        "Test errors",
        figures=layouts.draw(
            output, "errors", functools.partial(figures_series.series, axes=axes),
            _named(tables, ("network_error", "linear_error", "kernel_error")),
            caption="Test errors of networks, of their linearisations after as many steps, and of "
            "kernel regression, which is training without end.",
        ),
        tables=[
            Table("Means over starts", ("width", "quantity", "value", "networks"), cells),
            Table("Differences", ("width", "against", "test error of the network minus", "p"),
                  pairs),
        ],
    )  # fmt: skip


def headline(tables: Tables) -> tuple[str, Sequence[str], Sequence[Sequence[Any]]]:
    """Return the table of the terminal."""
    shown = ("distance", "drift", "network_error", "linear_error", "kernel_error")
    rows = []
    for width in dict.fromkeys(tables["widths"]["width"]):
        cells = {r["quantity"]: r for r in _rows(of(tables["widths"], width=width))}
        rows.append((width, *(_interval(cells[q]) for q in shown)))
    return "Widths", ("width", *(q.replace("_", " ") for q in shown)), rows
