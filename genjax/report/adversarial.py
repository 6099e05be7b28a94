"""The page of attacks: errors against their size, and what training on them changes."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from genjax.report import figures_series, layouts
from genjax.report.figures_series import Axes
from genjax.report.layers import groups, of
from genjax.report.page import Section, Table
from genjax.report.phrases import bracket, count
from genjax.report.storage import OutputFolder

Tables = Mapping[str, Any]

NAMES = {
    "fgsm": "FGSM",
    "pgd": "PGD",
    "auto_pgd": "Auto-PGD",
    "auto_pgd_ratio": "Auto-PGD (logits ratio)",
    "strongest": "the strongest attack",  # for every image
}


def _rows(frame: Any) -> list[dict[str, Any]]:
    return frame.to_dict("records")


def _trained(radius: float) -> str:
    return f"trained at {radius:g}" if radius else "trained plainly"


def conclusions(tables: Tables, epsilon: float) -> list[str]:
    """Say what attacks do and what training on them changes, most important first.

    Args:
        tables: as the experiment returns.
        epsilon: where networks are compared under attack.
    """
    if not len(tables["curves"]) or not len(tables["changes"]):
        return ["Too many networks diverged: nothing can be said of attacks."]
    return [
        *_on_training(tables, epsilon),
        _on_plain(tables["curves"]),
        *_on_attacks(tables["attacks"], epsilon),
        *_on_shifts(tables),
    ]


def _on_training(tables: Tables, epsilon: float) -> list[str]:
    changes, curves = tables["changes"], tables["curves"]
    last = curves["attack"].iloc[-1]
    under = of(changes, images=f"{last} {epsilon:g}")
    best = _rows(under.loc[[under["value"].idxmin()]])[0]
    clean = _rows(of(changes, images="no attack", radius=best["radius"]))[0]
    what = f"Training on PGD of radius {best['radius']:g}"
    amount = bracket(best["value"], best["low"], best["high"])
    if best["high"] < 0:
        first = (
            f"{what} lowers the error under {NAMES[last]} of radius {epsilon:g}: change {amount}"
        )
    elif best["low"] > 0:
        first = f"{what}, the best radius, raises the error under {NAMES[last]}: change {amount}"
    else:
        first = (
            f"{what} changes the error under {NAMES[last]} of radius {epsilon:g} by {amount}, "
            "which cannot be told from no change"
        )
    price = bracket(clean["value"], clean["low"], clean["high"])
    if clean["low"] > 0:
        second = f"it costs {price} without an attack"
    elif clean["high"] < 0:
        second = f"it lowers the error without an attack, too: {price}"
    else:
        second = f"without an attack no change can be told: {price}"
    return [f"{first}; {second} (radius chosen by the former; paired by seed)."]


def _on_plain(curves: Any) -> str:
    last = curves["attack"].iloc[-1]
    own = of(curves, radius=curves["radius"].min(), attack=last)
    clean = _rows(own)[0]
    half = own[own["value"] >= 0.5]
    said = (
        f"Plainly trained networks err on {clean['value']:.1%} of the images as they are, and on "
    )
    if len(half):
        row = _rows(half)[0]
        return (
            f"{said}at least half of them from a change of {row['epsilon']:g} per pixel on "
            f"({NAMES[last]}: {bracket(row['value'], row['low'], row['high'])})."
        )
    row = _rows(own)[-1]
    return f"{said}{row['value']:.1%} after the largest attack, {row['epsilon']:g} per pixel."


def _on_attacks(found: Any, epsilon: float) -> list[str]:
    """Say how much more than the first one every attack fools."""
    said = []
    for name, own in groups(found, "attack"):
        row = _rows(of(own, epsilon=epsilon))[0]
        amount = bracket(row["value"], row["low"], row["high"])
        missed = int(own["weaker on images"].sum())
        never = (
            "and is never weaker"
            if missed == 0
            else f"but is weaker on {count(missed, 'attacked image')}"
        )
        first = NAMES[row["first"]]
        beyond = f"fools {amount} more of the images than {first}"
        if not row["low"] > 0:
            beyond = f"cannot be told to fool more images than {first} ({amount})"
        named = NAMES[name][0].upper() + NAMES[name][1:]
        said.append(
            f"{named} of radius {epsilon:g} {beyond}, {never} (networks of all trainings together)."
        )
    return said


def _on_shifts(tables: Tables) -> list[str]:
    curves, changes = tables["shift_curves"], tables["changes"]
    if not len(curves):
        return []
    plain = of(curves, radius=curves["radius"].min())
    worst = _rows(plain.loc[[plain["value"].idxmax()]])[0]
    radius = changes["radius"].max()
    own = changes[changes["images"].str.contains("SSIM") & (changes["radius"] == radius)]
    better, worse = int((own["high"] < 0).sum()), int((own["low"] > 0).sum())
    amount = bracket(worst["value"], worst["low"], worst["high"])
    return [
        f"Of the shifts {worst['shift'].replace('_', ' ')} at SSIM {worst['ssim']:g} hurts "
        f"plainly trained networks most: error {amount}.",
        f"Training on attacks of radius {radius:g} lowers the error in {better} of {len(own)} "
        f"shifts and levels, raises it in {worse}; in the others no change can be told.",
    ]


def sections(output: OutputFolder, tables: Tables) -> list[Section]:
    """Return the sections of the page, their figures written.

    Args:
        output: the folder.
        tables: as the experiment returns.
    """
    curves, shifted = tables["curves"], tables["shift_curves"]
    attacked = curves.assign(
        series=[NAMES[name] for name in curves["attack"]],
        place=[_trained(radius) for radius in curves["radius"]],
    )
    kinds = shifted.assign(
        series=[_trained(radius) for radius in shifted["radius"]],
        shift=[str(name).replace("_", " ") for name in shifted["shift"]],
    )
    return [
        _section(
            output, "attacks", "Error against the size of the attack", attacked,
            Axes("epsilon", "largest change of a pixel", "error", panel="place"),
            "Errors under attack; bands are intervals over seeds.", ("radius", "attack", "epsilon"),
            "Attacks are found with the network's own gradients; stronger ones may exist.",
        ),
        _section(
            output, "shifts", "Error under shifts", kinds,
            Axes("ssim", "average SSIM (1: untouched)", "error", panel="shift"),
            "Errors under shifts calibrated to equal average SSIM.", ("radius", "shift", "ssim"),
            "Levels that a shift cannot reach on these images are left out.",
        ),
        Section(
            "What is changed",
            tables=[
                Table(
                    "Networks trained on attacks minus those trained plainly",
                    ("images", "trained at", "change of the error"),
                    [
                        (r["images"], r["radius"], (r["value"], r["low"], r["high"]))
                        for r in _rows(tables["changes"])
                    ],
                ),
                Table(
                    "Attacks minus the first one, networks of all trainings together",
                    ("attack", "epsilon", "more images fooled", "weaker on images"),
                    [
                        (NAMES[r["attack"]], r["epsilon"], (r["value"], r["low"], r["high"]),
                         r["weaker on images"])
                        for r in _rows(tables["attacks"])
                    ],
                ),
            ],
            note="Intervals are Student's over seeds; the test examples are taken as given. PGD "
            "and Auto-PGD keep the point of FGSM where that is stronger, so that they are never "
            "weaker by construction. The strongest attack is chosen image by image.",
        ),
    ]  # fmt: skip


def _section(
    output: OutputFolder, name: str, title: str, rows: Any, axes: Axes, caption: str,
    columns: tuple[str, str, str], note: str,
) -> Section:  # fmt: skip
    return Section(
        title,
        figures=layouts.draw(
            output, name, functools.partial(figures_series.series, axes=axes), rows, caption=caption
        ),
        tables=[
            Table(
                "Errors",
                ("trained at", *columns[1:], "error"),
                [
                    (*(r[c] for c in columns), (r["value"], r["low"], r["high"]))
                    for r in _rows(rows)
                ],
            )
        ],
        note=note,
    )


def headline(tables: Tables) -> tuple[str, Sequence[str], Sequence[Sequence[Any]]]:
    """Return the table of the terminal: errors under the last attack."""
    curves = tables["curves"]
    if not len(curves):
        return "Error", ("radius",), []
    last = curves["attack"].iloc[-1]
    own = of(curves, attack=last)
    epsilons = list(dict.fromkeys(own["epsilon"]))
    rows = []
    for radius, part in groups(own, "radius"):
        cells = {r["epsilon"]: bracket(r["value"], r["low"], r["high"]) for r in _rows(part)}
        rows.append((_trained(radius), *(cells.get(e, "") for e in epsilons)))
    shown = epsilons if len(epsilons) <= 4 else [epsilons[k] for k in _places(len(epsilons))]
    kept = [0, *(1 + epsilons.index(e) for e in shown)]
    return (
        f"Error under {NAMES[last]}",
        ("networks", *(f"{e:g}" for e in shown)),
        [[row[k] for k in kept] for row in rows],
    )


def _places(length: int) -> list[int]:
    return [int(k) for k in np.linspace(0, length - 1, 4).round()]
