"""The page of information: which bounds hold, how tight they are, and what depth does."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from genjax.metrics.information.supersample_bounds import interval
from genjax.report import figures_series, layouts
from genjax.report.figures_series import Axes
from genjax.report.information_words import Tables, kept_by_layers, per_depth, verdicts
from genjax.report.layers import groups
from genjax.report.page import Section, Table
from genjax.report.phrases import bracket
from genjax.report.storage import OutputFolder

DRAWN = ("f-CMI", "ld-CMI", "f-CMI, corrected", "e-CMI, binary kl", "f-information, kl")
"""Bounds of the figures; the tables hold all."""

PUBLISHED = (
    (75, 0.08347, 0.22257), (250, 0.03451, 0.09499), (1000, 0.01411, 0.04081),
    (4000, 0.00814, 0.02655),
)  # fmt: skip
"""n, gap and f-CMI of Harutyunyan et al. (2021): MNIST 4 against 9, deterministic CNN."""


def _rows(frame: Any) -> list[dict[str, Any]]:
    return frame.to_dict("records")


def sections(output: OutputFolder, kind: str, tables: Tables, level: float) -> list[Section]:
    """Return the sections of the page, their figures written.

    Args:
        output: the folder.
        kind: of the experiment.
        tables: as the experiment returns.
        level: of intervals.
    """
    if kind == "stability":
        return [_stability_section(output, tables["information"])]
    found = [_verdict_section(tables["bounds"])]
    if kind == "depth":
        found = [_depth_section(output, tables, level), _chain_section(output, tables), *found]
    else:
        found = [_size_section(output, tables), *found]
    return found


def _with_gap(bounds: Any, networks: Any) -> Any:
    gaps = networks.rename(columns={"gap": "value"}).assign(bound="gap")
    shown = bounds[bounds["bound"].isin(DRAWN)]
    columns = [c for c in ("n", "depth", "control", "bound", "value", "low", "high") if c in shown]
    return pd.concat([gaps[columns], shown[columns]], ignore_index=True)


def _size_section(output: OutputFolder, tables: Tables) -> Section:
    axes = Axes("n", "training examples", "gap, 0-1 loss", by="bound", log="xy")
    rows = _with_gap(tables["bounds"], tables["networks"])
    networks = tables["networks"]
    table = Table(
        "Networks",
        ("n", "networks", "diverged", "training error", "test error", "gap"),
        [
            (r["n"], r["networks"], r["diverged"], r["train_error"], r["test_error"],
             (r["gap"], r["low"], r["high"]))
            for r in _rows(networks)
        ],
    )  # fmt: skip
    return Section(
        "Gap and bounds against the size of the sample",
        figures=layouts.draw(
            output, "bounds", functools.partial(figures_series.series, axes=axes), rows,
            caption="Measured gap and bounds; bands are intervals over supersamples.",
        ),
        tables=[table, *_published(tables)],
    )  # fmt: skip


def _published(tables: Tables) -> list[Table]:
    """Return the published experiment beside ours, where the sizes are the same."""
    own = tables["networks"].set_index("n")["gap"]
    bound = tables["bounds"]
    ours = bound[bound["bound"] == "f-CMI"].set_index("n")["value"]
    if tuple(own.index) != tuple(n for n, *_ in PUBLISHED):
        return []
    rows = [(n, gap, own[n], f_cmi, ours[n]) for n, gap, f_cmi in PUBLISHED]
    return [
        Table(
            "MNIST 4 against 9: Harutyunyan et al. (2021), deterministic CNN of four "
            "convolutions, and the networks here",
            ("n", "gap, published", "gap here", "f-CMI, published", "f-CMI here"),
            rows,
        )
    ]


def _verdict_section(bounds: Any) -> Section:
    found = verdicts(bounds)
    return Section(
        "Verdicts",
        tables=[Table("Every bound", tuple(found), found.to_numpy().tolist())],
        note="Vacuous: 1 or more. Corrected bounds are pooled, so looser, with little bias.",
    )


def _depth_section(output: OutputFolder, tables: Tables, level: float) -> Section:
    rows = []
    for (control, depth), own in groups(per_depth(tables["information"]), ["control", "depth"]):
        gaps = own["gap"].to_numpy()
        low, high = interval(gaps, level)
        rows.append({"control": "as it is" if control == "none" else control, "depth": depth,
                     "value": gaps.mean(), "low": low, "high": high})  # fmt: skip
    frame = pd.DataFrame(rows)
    frame = pd.concat(
        [frame[frame["control"] == "as it is"], frame[frame["control"] != "as it is"]]
    )
    axes = Axes("depth", "hidden layers", "gap, 0-1 loss", by="control")
    networks = tables["networks"]
    return Section(
        "The gap against depth",
        figures=layouts.draw(
            output, "depth", functools.partial(figures_series.series, axes=axes), frame,
            caption="Test minus training error; bands are intervals over supersamples.",
        ),
        tables=[
            Table(
                "Networks",
                ("control", "depth", "diverged", "training error", "test error", "gap"),
                [
                    (r["control"], r["depth"], r["diverged"], r["train_error"], r["test_error"],
                     (r["gap"], r["low"], r["high"]))
                    for r in _rows(networks)
                ],
            )
        ],
    )  # fmt: skip


def _chain_section(output: OutputFolder, tables: Tables) -> Section:
    own = tables["chain"][tables["chain"]["control"] == "none"]
    rows = []
    for (depth, place), part in groups(own, ["depth", "place"]):
        nats = part["nats"].to_numpy()
        low, high = interval(nats, 0.95)
        rows.append({"place": place + 1, "series": f"{depth} layers", "value": nats.mean(),
                     "low": low, "high": high})  # fmt: skip
    axes = Axes("place", "link of the chain", "nats about the coin", lines={"log 2": np.log(2)})
    return Section(
        "What every layer tells about who was trained on",
        [
            "Layers, logits, predictions, losses, their difference: each is computed from the one "
            "before. Up to the logits the information is estimated from below."
        ],
        layouts.draw(
            output, "chain", functools.partial(figures_series.series, axes=axes),
            pd.DataFrame(rows),
            caption="Information about who of a pair was trained on, along the networks.",
        ),
        [
            Table(
                "What the logits keep of what the first layer tells",
                ("layers", "control", "kept", "kept per layer"),
                [
                    (r["depth"], r["control"], (r["value"], r["low"], r["high"]), r["per_layer"])
                    for r in _rows(kept_by_layers(tables["chain"], 0.95))
                ],
            )
        ],
    )  # fmt: skip


def _stability_section(output: OutputFolder, information: Any) -> Section:
    axes = Axes("n", "training examples", "0-1 loss", by="bound", log="xy")
    return Section(
        "One example replaced",
        figures=layouts.draw(
            output, "stability", functools.partial(figures_series.series, axes=axes), information,
            caption="Notions of stability and the gap; bands are intervals over samples.",
        ),
        tables=[
            Table(
                "Stability",
                ("n", "quantity", "value"),
                [
                    (r["n"], r["bound"], (r["value"], r["low"], r["high"]))
                    for r in _rows(information)
                ],
            )
        ],
        note="Uniform: the largest over test examples, an estimate from below.",
    )  # fmt: skip


def headline(kind: str, tables: Tables) -> tuple[str, Sequence[str], Sequence[Sequence[Any]]]:
    """Return the table of the terminal."""
    if kind == "stability":
        rows = [
            (r["n"], r["bound"], bracket(r["value"], r["low"], r["high"]))
            for r in _rows(tables["information"])
        ]
        return "Stability", ("n", "quantity", "value"), rows
    found = verdicts(tables["bounds"])
    return "Bounds", tuple(found), found.to_numpy().tolist()
