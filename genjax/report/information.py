"""The page of information: which bounds hold, how tight they are, and what depth does."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from genjax.intervals import mean_interval
from genjax.metrics.information import falsification
from genjax.report import figures_series, layouts
from genjax.report.figures_series import Axes
from genjax.report.information_words import Tables, kept_by_layers, per_depth, verdicts
from genjax.report.layers import groups
from genjax.report.page import Section, Table
from genjax.report.phrases import bracket
from genjax.report.storage import OutputFolder

DRAWN = ("f-CMI", "ld-CMI", "f-CMI, corrected", "e-CMI, binary kl", "f-information, kl")
"""Bounds of the figures; the tables hold all."""

ALONG = ("gap", "negrea_variance", "cmi", "neu", "pensia", "li_luo_qiao")
"""Bounds along noisy descent that are drawn."""

PUBLISHED = (
    (75, 0.08347, 0.22257), (250, 0.03451, 0.09499), (1000, 0.01411, 0.04081),
    (4000, 0.00814, 0.02655),
)  # fmt: skip
"""n, gap and f-CMI of Harutyunyan et al. (2021): MNIST 4 against 9, deterministic CNN."""

OF_THE_POOL = (
    "Supersamples and samples are all drawn from one pool of examples and overlap: intervals are "
    "of means over that pool, and too narrow for other examples, the more of it each one takes."
)


def _rows(frame: Any) -> list[dict[str, Any]]:
    return frame.to_dict("records")


def sections(
    output: OutputFolder,
    kind: str,
    tables: Tables,
    level: float,
    classes: tuple[int, ...] = (),
) -> list[Section]:
    """Return the sections of the page, their figures written.

    Args:
        output: the folder.
        kind: of the experiment.
        tables: as the experiment returns.
        level: of intervals.
        classes: told apart, (): all; 4 and 9 have the published experiment beside them.
    """
    if kind == "stability":
        return [_stability_section(output, tables["information"])]
    found = [_verdict_section(tables["bounds"])]
    if kind == "noisy_sgd":
        return [_noise_section(output, tables["bounds"]), *found]
    if kind == "depth":
        found = [
            _depth_section(output, tables, level),
            _chain_section(output, tables),
            _plane_section(output, tables["plane"]),
            *found,
            _falsification_section(),
        ]
    else:
        found = [_size_section(output, tables, classes), *found]
    return found


def _with_gap(bounds: Any, networks: Any) -> Any:
    gaps = networks.rename(columns={"gap": "value"}).assign(bound="gap")
    shown = bounds[bounds["bound"].isin(DRAWN)]
    columns = [c for c in ("n", "depth", "control", "bound", "value", "low", "high") if c in shown]
    return pd.concat([gaps[columns], shown[columns]], ignore_index=True)


def _size_section(output: OutputFolder, tables: Tables, classes: tuple[int, ...]) -> Section:
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
        tables=[table, *(_published(tables) if classes == (4, 9) else [])],
        note=OF_THE_POOL,
    )  # fmt: skip


def _published(tables: Tables) -> list[Table]:
    """Return the published experiment beside ours, where the sizes are the same."""
    own = tables["networks"].set_index("n")["gap"]
    bound = tables["bounds"]
    ours = bound[bound["bound"] == "f-CMI"].set_index("n")["value"]
    rows = [(n, gap, own[n], f_cmi, ours[n]) for n, gap, f_cmi in PUBLISHED if n in own.index]
    if not rows:
        return []
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
        note="Vacuous: 1 or more. Corrected bounds are pooled, so looser. Bounds of fewer settings "
        "apply only there, and are not to be compared with the others.",
    )


def _depth_section(output: OutputFolder, tables: Tables, level: float) -> Section:
    rows = []
    for (control, depth), own in groups(per_depth(tables["information"]), ["control", "depth"]):
        gaps = own["gap"].to_numpy()
        low, high = mean_interval(gaps, level)
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
        note=OF_THE_POOL,
    )  # fmt: skip


def _chain_section(output: OutputFolder, tables: Tables) -> Section:
    own = tables["chain"][tables["chain"]["control"] == "none"]
    rows = []
    for (depth, place), part in groups(own, ["depth", "place"]):
        nats = part["nats"].to_numpy()
        low, high = mean_interval(nats, 0.95)
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
                    if np.isfinite(r["value"])
                    else (r["depth"], r["control"], "not measurable", "not measurable")
                    for r in _rows(kept_by_layers(tables["chain"], 0.95))
                ],
            )
        ],
        "Shares are ratios of two estimates from below, by three statistics of each layer: no "
        "bounds, and above 1 by error of estimation only. Not measurable: the interval of what the "
        "first layer tells includes zero.",
    )  # fmt: skip


def _noise_section(output: OutputFolder, bounds: Any) -> Section:
    """Bounds along the path, a panel per noise, at the largest size."""
    own = bounds[(bounds["n"] == bounds["n"].max()) & np.isfinite(bounds["value"])]
    shown = own[own["bound"].isin(ALONG)]
    gaps = shown.drop_duplicates(["noise", "step"]).assign(bound="gap")
    gaps = gaps.assign(value=gaps["gap"], low=gaps["gap_low"], high=gaps["gap_high"])
    rows = pd.concat([gaps, shown], ignore_index=True)
    rows = rows.assign(panel=[f"noise {noise:g}" for noise in rows["noise"]])
    axes = Axes("step", "step", "gap, 0-1 loss", by="bound", panel="panel", log="y",
                lines={"vacuous": 1.0})  # fmt: skip
    last = own[own["step"] == own["step"].max()]
    return Section(
        f"Bounds along noisy descent, {int(bounds['n'].max())} examples",
        ["Noise is the standard deviation of what is added to every weight at every step."],
        layouts.draw(
            output, "noise", functools.partial(figures_series.series, axes=axes), rows,
            caption="Bounds and mean gap along the path; bands are intervals over seeds.",
        ),
        [
            Table(
                "At the last step",
                ("bound", "noise", "value", "mean gap"),
                [
                    (r["bound"], r["noise"], (r["value"], r["low"], r["high"]),
                     (r["gap"], r["gap_low"], r["gap_high"]))
                    for r in _rows(last)
                ],
            )
        ],
        "wang_mao is an approximation of a bound on the cross-entropy, no bound of this gap; for "
        "it and neu_descent the noise is imagined, training has none.",
    )  # fmt: skip


def _plane_section(output: OutputFolder, plane: Any) -> Section:
    own = plane[plane["control"] == "none"]
    rows = [
        {"input": part["input"].mean(), "series": f"{depth} layers",
         "value": part["label"].mean(), "low": np.nan, "high": np.nan}
        for (depth, _), part in groups(own, ["depth", "place"])
    ]  # fmt: skip
    axes = Axes("input", "I(input; layer), nats", "I(layer; label), nats")
    audited = [
        (depth, control, part["contraction_layers"].mean(), part["coefficient"].mean())
        for (depth, control), part in groups(plane, ["depth", "control"])
    ]
    return Section(
        "The information plane, and what is proved of the layers",
        [
            "Information that is left when noise of a tenth of a layer's mean variance is added "
            "(middle of the bounds of Kolchinsky and Tracey): without noise every layer that keeps "
            "the examples apart tells all. A layer that Lemma 1 calls a contraction layer has a "
            "rank below its inputs; the proved coefficient of a layer without noise is 1."
        ],
        layouts.draw(
            output, "plane", functools.partial(figures_series.series, axes=axes),
            pd.DataFrame(rows), caption="Layers of trained networks, mean over networks.",
        ),
        [
            Table(
                "Contraction audit, mean over networks",
                ("layers", "control", "contraction layers by Lemma 1", "proved coefficient"),
                audited,
            )
        ],
    )  # fmt: skip


def _falsification_section() -> Section:
    cases = falsification.cases()
    rows = [(case.name, case.claim, case.verdict, case.because) for case in cases]
    refuted = sum(case.verdict == falsification.REFUTED for case in cases)
    return Section(
        "The theorem, step by step",
        [
            f"Of {len(cases)} claims in Zhang, Liu and Tao (arXiv 1804.09060v8) and its proof, "
            f"{refuted} are refuted by a problem that can be solved exactly, computed with this "
            "page."
        ],
        tables=[Table("Claims", ("case", "claim", "verdict", "why"), rows)],
    )


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
        note="Average equals the gap in the mean, pointwise and uniform bound it; hypothesis, at "
        "examples that no network was trained on, does not. Uniform: the largest over test "
        "examples, an estimate from below. " + OF_THE_POOL,
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
