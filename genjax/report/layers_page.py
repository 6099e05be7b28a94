"""The page of layers: what was asked, what came out, in words, figures and tables."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from genjax.metrics.layers.pruning import Kept
from genjax.metrics.layers.selection import mean_over_groups
from genjax.report import figures_layers as figures
from genjax.report import layouts, page
from genjax.report.layers import CHEAP, JUDGED, Answers, Tables, alive, complete, groups, of
from genjax.report.layers_words import SHOWN, conclusions
from genjax.report.page import Section, Table
from genjax.report.phrases import join
from genjax.report.storage import OutputFolder

PAGE = "report.html"
PLACES = 11
"""Places between first and last layer at which curves are averaged."""


def curves(tables: Tables, level: float = 0.95) -> pd.DataFrame:
    """Return the curves of score against depth, by family, with intervals over splits.

    Every network is drawn through its layers at the same places, so that all networks of a family
    take part everywhere; networks of one split are averaged first.

    Args:
        tables: from an experiment.
        level: of the intervals.
    """
    unseen = of(tables.rows, on="unseen")
    unseen = unseen[unseen["metric"].isin(JUDGED)]
    grid = np.linspace(0, 1, PLACES)
    rows: list[dict[str, Any]] = []
    for metric, own in groups(unseen, "metric"):
        pixels = of(own, source="pixels")["value"].mean()
        rows.append({"metric": metric, "family": "pixels", "value": pixels})
        for family, line in groups(of(own, source="trained"), "family"):
            drawn, splits = [], []
            for (_, split, _), network in groups(line, ["model", "split", "seed"]):
                network = network.dropna(subset=["value"]).sort_values("place")
                if len(network):
                    drawn.append(np.interp(grid, network["place"], network["value"]))
                    splits.append(split)
            for place, values in zip(grid, np.array(drawn).T, strict=True):
                mean = mean_over_groups(values, np.array(splits), level)
                fields = {"value": mean.value, "low": mean.low, "high": mean.high}
                rows.append({"metric": metric, "family": family, "place": place, **fields})
    return pd.DataFrame(rows, columns=["metric", "family", "place", "value", "low", "high"])


def pruning(tables: Tables, costs: Mapping[str, Sequence[Kept]]) -> pd.DataFrame:
    """Return, per model and layer kept, what is saved and what every judged score changes by.

    Args:
        tables: from an experiment.
        costs: by model.
    """
    unseen = of(tables.rows, on="unseen", source="trained")
    rows = []
    for (model, metric), own in groups(unseen, ["model", "metric"]):
        if metric not in JUDGED:
            continue
        cube = complete(own.pivot_table(index="split", columns="layer", values="value"))
        means = cube.mean()
        last = own.sort_values("place")["layer"].iloc[-1]
        for kept in costs[str(model)]:
            if kept.layer not in means or last not in means:
                continue  # no value, or the same as the layer before
            rows.append(
                {
                    "model": model, "family": own["family"].iloc[0], "layer": kept.layer,
                    "parameters_saved": kept.parameters_saved, "flops_saved": kept.flops_saved,
                    "metric": metric, "change": means[kept.layer] - means[last],
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def write(
    output: OutputFolder,
    tables: Tables,
    found: Answers,
    costs: Mapping[str, Sequence[Kept]],
    planes: Mapping[str, tuple[Any, Any]],
    classes: Sequence[str],
    card: Mapping[str, Any],
    *,
    title: str,
) -> dict[str, Any]:
    """Write tables, figures and the page; return name -> path.

    Args:
        output: the folder.
        tables: what was measured.
        found: its answers.
        costs: by model.
        planes: pictures in two dimensions by title.
        classes: names of the classes in them.
        card: of the run.
        title: of the page.
    """
    everything, tables = tables, alive(tables)
    pruned = pruning(tables, costs)
    text = page.render(title, conclusions(found), _sections(output, tables, found, pruned, planes,
                                                            classes), card)  # fmt: skip
    picked = found.picked.copy()
    for column in ("correlation", "regret", "regret_of_last", "regret_at_random"):
        picked[column] = [estimate.value for estimate in picked[column]]
    return {
        "page": output.write_text(PAGE, text),
        "layers": output.write_csv("layers", everything.rows),
        "models": output.write_csv("models", found.models),
        "pruning": output.write_csv("pruning", pruned),
        "selection": output.write_csv("selection", picked),
    }


def _sections(output, tables: Tables, found: Answers, pruned, planes, classes) -> list[Section]:
    best = _best_rows(found)
    shown = of(found.models, metric=SHOWN)
    label = f"{SHOWN} of unseen classes, best layer"
    return [
        Section(
            "Scores against depth",
            ["Mean over networks; bands are intervals over draws of the unseen classes."],
            layouts.draw(
                output, "depth", figures.depth, curves(tables), caption="Scores against depth."
            ),
        ),
        Section(
            "Which layer is best",
            figures=layouts.draw(
                output, "best", figures.best, of(best, metric=SHOWN),
                caption=f"Probability that each layer is the best by {SHOWN}; the larger the "
                "likelier.",
            ),
            tables=[_best_table(found), _gain_table(found.by_model)],
            note="Draws of the unseen classes overlap: intervals over them are of these classes, "
            "and too narrow for others.",
        ),
        Section(
            "Accuracy and generalization",
            figures=layouts.draw(
                output, "models", figures.models, shown, label,
                caption="Accuracy on seen classes and separability of unseen ones; intervals "
                "are over networks.",
            ),
            tables=[_agreement_table(found)],
        ),
        Section(
            "A look at the embeddings",
            figures=layouts.draw(
                output, "planes", figures.planes, planes, classes,
                caption="Examples of the unseen classes of the first split in two dimensions "
                "(t-SNE).",
            ),
        ),
        Section(
            "How much the readout decides",
            tables=[
                Table(
                    "Mean range of a score per network",
                    ("metric", "over readouts", "over plain readouts", "over normalisations",
                     "over layers"),
                    found.readouts.to_numpy().tolist(),
                )
            ],
            note=f"Networks of the first splits; compared by {join(CHEAP)}. Plain: without "
            "the top-left place, and without whitening, which is a rescaling.",
        ),
        Section("Can the best layer be known beforehand?", tables=[_picked_table(found)]),
        Section(
            "What is saved by keeping less of a network",
            figures=layouts.draw(
                output, "pruning", figures.pruned,
                of(pruned, metric=SHOWN), f"{SHOWN} minus that of the last layer",
                caption="What a score changes by when the network is kept only up to a layer.",
            ),
        ),
        Section("Seen and unseen classes together", tables=[_joint_table(tables)]),
    ]  # fmt: skip


def _best_rows(found: Answers) -> pd.DataFrame:
    rows = [
        {
            "metric": metric, "model": model, "probability": probability,
            "place": place,
        }
        for (metric, model), best in found.best.items()
        for place, probability in zip(best.places, best.probability, strict=True)
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["metric", "model", "place", "probability"])


def _best_table(found: Answers) -> Table:
    rows = [
        (
            model, metric, float(best.places[best.best]), float(best.mean[best.best]),
            tuple(best.beyond_last), best.last_is_best,
        )
        for (metric, model), best in found.best.items()
    ]  # fmt: skip
    columns = (
        "model", "metric", "depth of the best layer", "score there", "above the last",
        "P(last is best)",
    )  # fmt: skip
    return Table("Best layers (chosen and judged on the same classes)", columns, rows)


def _gain_table(gains: Any) -> Table:
    rows = [
        (r["model"], r["metric"], (r["gain"], r["low"], r["high"]), r["p"], r["p_adjusted"])
        for r in gains.to_dict("records")
    ]
    columns = ("model", "metric", "chosen minus last", "p", "adjusted p")
    return Table("Chosen on half of the unseen classes, judged on the other half", columns, rows)


def _agreement_table(found: Answers) -> Table:
    rows = [
        (metric, name, tuple(a[name]), a[f"p_{name}"])
        for metric, a in found.agreement.items()
        if a is not None
        for name in ("spearman", "kendall", "pearson")
    ]
    return Table("Accuracy against scores over models", ("metric", "statistic", "value", "p"), rows)


def _picked_table(found: Answers) -> Table:
    rows = [
        (
            row["selector"], "seen" if row["on"] == "seen" else "unseen, no labels", row["metric"],
            tuple(row["correlation"]), tuple(row["regret"]), tuple(row["regret_of_last"]),
        )
        for row in found.picked.to_dict("records")
        if np.isfinite(row["regret"].value)
    ]  # fmt: skip
    columns = ("selector", "examples", "metric", "rank correlation", "regret", "regret of the last")
    return Table("Scores that pick a layer", columns, rows)


def _joint_table(tables: Tables) -> Table:
    own = of(tables.rows, on="joint")
    rows = []
    for metric, part in groups(own, "metric"):
        ends = {"last": [], "best": []}
        for _, network in groups(part, ["model", "split", "seed"]):
            values = network.sort_values("place")["value"].to_numpy()
            ends["last"].append(values[-1])
            ends["best"].append(values.min() if metric.startswith("fpr95") else values.max())
        rows.append((metric, float(np.mean(ends["last"])), float(np.mean(ends["best"]))))
    columns = ("metric", "last layer", "best layer, in hindsight")
    return Table("Open-set scores and category discovery, means over networks", columns, rows)
