"""The page of bias and variance: parts of three losses against width and size."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from genjax.report import figures_series, layouts
from genjax.report.figures_series import Axes
from genjax.report.layers import of
from genjax.report.page import Section, Table
from genjax.report.phrases import bracket, significant
from genjax.report.storage import OutputFolder

Tables = Mapping[str, Any]
NAMES = {"squared": "squared (Brier)", "0-1": "0-1", "cross-entropy": "cross-entropy (nats)"}


def _rows(frame: Any) -> list[dict[str, Any]]:
    return frame.to_dict("records")


def sum_error(parts: Any) -> float:
    """Return how far noise + bias + variance is from the loss, at most, over all settings.

    Example:
        >>> import pandas as pd
        >>> rows = [(1, 1, "0-1", p, v) for p, v in
        ...     (("loss", 3.0), ("noise", 1.0), ("bias", 1.0), ("variance", 0.5))]
        >>> sum_error(pd.DataFrame(rows, columns=["width", "n", "loss", "part", "value"]))
        0.5
    """
    wide = parts.pivot(index=["width", "n", "loss"], columns="part", values="value")
    return float((wide["noise"] + wide["bias"] + wide["variance"] - wide["loss"]).abs().max())


def conclusions(tables: Tables) -> list[str]:
    """Say what width and examples do to bias and variance, most important first.

    Args:
        tables: as the experiment returns.
    """
    parts, changes = tables["parts"], tables["changes"]
    lost = int(tables["networks"]["left out"].max())
    if not np.isfinite(parts["value"]).all():
        return ["Too many networks diverged: nothing can be said of bias and variance."]
    largest, widest = parts["n"].max(), parts["width"].max()
    over_width = of(changes, axis="width", **{"from": parts["width"].min(), "to": widest})
    said = [
        f"From {parts['width'].min()} to {widest} units, at {largest} examples, "
        f"{_what_changes(over_width, 'squared', 'bias')} and "
        f"{_what_changes(over_width, 'squared', 'variance')} (squared loss).",
        _on_peak(parts, changes),
    ]
    over_size = of(changes, axis="n", **{"from": parts["n"].min(), "to": largest})
    if len(over_size):
        said.append(
            f"From {parts['n'].min()} to {largest} examples, at {widest} units, "
            f"{_what_changes(over_size, 'squared', 'bias')} and "
            f"{_what_changes(over_size, 'squared', 'variance')}."
        )
    for loss in ("0-1", "cross-entropy"):
        said.append(
            f"For the {loss} loss, over widths, {_what_changes(over_width, loss, 'bias')} and "
            f"{_what_changes(over_width, loss, 'variance')}."
        )
    error = significant(sum_error(parts))
    said.append(
        f"Noise, bias and variance sum to the loss to {error} in every setting, for three losses."
    )
    if lost:
        said.append(f"{lost} samples are left out, since networks diverged on them.")
    return said


def _what_changes(changes: Any, loss: str, part: str) -> str:
    row = _rows(of(changes, loss=loss, part=part))[0]
    amount = bracket(row["value"], row["low"], row["high"])
    if row["low"] > 0:
        return f"the {part} grows by {amount}"
    if row["high"] < 0:
        return f"the {part} falls by {bracket(-row['value'], -row['high'], -row['low'])}"
    return f"a change of the {part} cannot be told ({amount})"


def _on_peak(parts: Any, changes: Any) -> str:
    """Say whether variance is largest at a width between the ends, beyond doubt at both sides."""
    own = of(parts, loss="squared", part="variance", n=parts["n"].max())
    peak = own.loc[own["value"].idxmax(), "width"]
    first, last = own["width"].min(), own["width"].max()
    if peak in (first, last):
        place = "narrowest" if peak == first else "widest"
        return f"The variance is largest for the {place} networks, {peak} units."
    sides = [
        _rows(
            of(changes, axis="width", loss="squared", part="variance", **{"from": e, "to": peak})
        )[0]
        for e in (first, last)
    ]
    above = [row["all_low"] > 0 for row in sides]
    if all(above):
        return (
            f"The variance rises and falls with width: it is largest at {peak} units, by "
            f"{significant(sides[0]['value'])} above {first} and by "
            f"{significant(sides[1]['value'])} above {last} units (for all pairs of widths)."
        )
    other = last if above[0] else first
    doubt = f"{other}" if any(above) else f"{first} or {last}"
    return (
        f"The variance is largest at {peak} units, but that it is larger than at {doubt} units "
        "cannot be told (for all pairs of widths)."
    )


def sections(output: OutputFolder, tables: Tables) -> list[Section]:
    """Return the sections of the page, their figures written.

    Args:
        output: the folder.
        tables: as the experiment returns.
    """
    parts = tables["parts"]
    squared = of(parts, loss="squared")
    squared = squared.assign(size=[f"{n} examples" for n in squared["n"]])
    losses = parts.assign(name=[NAMES[loss] for loss in parts["loss"]])
    return [
        _section(
            output, "width", "Squared loss against width", squared,
            Axes("width", "units of a layer", "squared loss (Brier)", by="part", panel="size",
                 log="x"),
            "Parts of the expected squared loss; bands are intervals over samples.",
        ),
        _section(
            output, "losses", "Three losses against width", of(losses, n=parts["n"].max()),
            Axes("width", "units of a layer", "loss and its parts", by="part", panel="name",
                 log="x"),
            f"Parts of three losses at {parts['n'].max()} examples.",
            "Of the 0-1 loss bias is what the most frequent prediction loses, and variance the net "
            "effect of varying around it: below zero it helps.",
        ),
        _section(
            output, "size", "Three losses against examples",
            of(losses, width=parts["width"].max()),
            Axes("n", "training examples", "loss and its parts", by="part", panel="name", log="x"),
            f"Parts of three losses at {parts['width'].max()} units.",
        ),
        _change_section(tables),
    ]  # fmt: skip


def _section(
    output: OutputFolder, name: str, title: str, rows: Any, axes: Axes, caption: str, note: str = ""
) -> Section:
    cells = [
        (r["width"], r["n"], r["loss"], r["part"], (r["value"], r["low"], r["high"]))
        for r in _rows(rows)
    ]
    return Section(
        title,
        figures=layouts.draw(
            output, name, functools.partial(figures_series.series, axes=axes), rows, caption=caption
        ),
        tables=[Table("Parts", ("units", "examples", "loss", "part", "value"), cells)],
        note=note
        or "Intervals are a jackknife over samples: of other test examples they say nothing. "
        "Samples are drawn without replacement from one pool and overlap, the more the larger they "
        "are: the part of the variance that comes from examples is about 1 - n / pool of what "
        "independent samples had. The cross-entropy's parts are corrected by the jackknife for the "
        "small number of networks; bias of the 0-1 loss is somewhat too large.",
    )


def _change_section(tables: Tables) -> Section:
    rows = [
        (r["axis"], r["from"], r["to"], r["loss"], r["part"], (r["value"], r["low"], r["high"]))
        for r in _rows(tables["changes"])
    ]
    return Section(
        "Changes on the same samples",
        tables=[
            Table("Changes", ("axis", "from", "to", "loss", "part", "change"), rows),
            Table("Networks", tuple(tables["networks"]), tables["networks"].to_numpy().tolist()),
        ],
    )


def headline(tables: Tables) -> tuple[str, Sequence[str], Sequence[Sequence[Any]]]:
    """Return the table of the terminal: the squared loss at the largest size."""
    own = of(tables["parts"], loss="squared", n=tables["parts"]["n"].max())
    names = ("loss", "noise", "bias", "variance")
    rows = [
        (
            width,
            *(
                bracket(*(_rows(of(own, width=width, part=part))[0][c] for c in _ENDS))
                for part in names
            ),
        )
        for width in dict.fromkeys(own["width"])
    ]
    return "Squared loss", ("width", *names), rows


_ENDS = ("value", "low", "high")
