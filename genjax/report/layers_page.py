"""The page of layers: what was asked, what came out, in words, figures and tables."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from genjax.metrics.layers.pruning import Kept
from genjax.metrics.layers.selection import Estimate, mean_over_groups
from genjax.report import figures_layers as figures
from genjax.report import layouts, page
from genjax.report.layers import CHEAP, JUDGED, Answers, Tables, complete, groups, of
from genjax.report.page import Section, Table
from genjax.report.phrases import bracket, count, join
from genjax.report.storage import OutputFolder
from genjax.statistics import chance

PAGE = "report.html"
ALPHA = 0.05
PLACES = 11
"""Places between first and last layer at which curves are averaged."""
SHOWN = "nmi"
"""The score that single pictures are of: the paper's first."""


def conclusions(found: Answers) -> list[str]:
    """Say what the tables answer, most important first.

    Args:
        found: from `genjax.report.layers.answers`.
    """
    return [
        *_finding_on_depth(found),
        *_finding_on_accuracy(found),
        *_on_readouts(found),
        *_on_picking(found),
        *_on_baselines(found),
        *_left_out(found),
    ]


def _left_out(found: Answers) -> list[str]:
    if not found.diverged:
        return []
    return [f"{count(found.diverged, 'network')} diverged in training and are left out."]


def _estimate(value: Estimate) -> str:
    return bracket(value.value, value.low, value.high)


def _finding_on_depth(found: Answers) -> list[str]:
    if not found.nested:
        return []
    gains = {metric: n.gain for metric, n in found.nested.items()}
    above = [metric for metric, gain in gains.items() if gain.low > 0]
    below = [metric for metric, gain in gains.items() if gain.high < 0]
    verdict = "cannot be told here: choosing a layer on other unseen classes gains nothing surely"
    if above:
        verdict = f"holds here, beyond selection, by {join(above)} of {join(list(gains))}"
    elif below:
        verdict = (
            "is not supported here: a layer chosen on other unseen classes does worse than the "
            f"last one by {join(below)}"
        )
    sentences = [f"The finding of Dyballa et al. that deeper is not always better {verdict}."]
    for metric in JUDGED:
        own = [best for (m, _), best in found.best.items() if m == metric]
        if not own:
            continue
        last = sum(best.best == len(best.mean) - 1 for best in own)
        sure = sum(best.last_is_best >= 0.95 for best in own)
        never = sum(best.last_is_best <= 0.05 for best in own)
        sentence = (
            f"By {metric} the last layer has the highest mean in {last} of "
            f"{count(len(own), 'model')}; it is the best with probability .95 or more in {sure}, "
            f"with .05 or less in {never}."
        )
        if metric in found.nested:
            nested = found.nested[metric]
            sentence += (
                " Choosing the layer on one half of the unseen classes gains "
                f"{_estimate(nested.gain)} over the last layer on the other half, where the layer "
                f"best there gains {_estimate(nested.ceiling)}."
            )
        sentences.append(sentence)
    return sentences


def _finding_on_accuracy(found: Answers) -> list[str]:
    known = {m: a for m, a in found.agreement.items() if a is not None}
    if not known:
        return ["Fewer than four models: whether accuracy predicts generalization stays open."]
    parts = [
        f"{metric} {_estimate(a['spearman'])} (p = {a['p_spearman']:.2g}, {a['models']:.0f} models)"
        for metric, a in known.items()
    ]
    adjusted = chance.holm(np.array([a["p_spearman"] for a in known.values()]))
    sure = [m for m, p in zip(known, adjusted, strict=True) if p < ALPHA]
    follows = [m for m in sure if known[m]["spearman"].value > 0]
    against = [m for m in sure if known[m]["spearman"].value < 0]
    few = max(a["smallest_p"] for a in known.values()) * len(known) >= ALPHA
    verdict = "is not contradicted here: no score follows accuracy beyond chance"
    if follows:
        verdict = f"does not hold here by {join(follows)}, which rise with accuracy"
    elif against:
        verdict = f"holds here, even reversed, by {join(against)}, which fall with accuracy"
    elif few:
        verdict = "cannot be judged here: so few models could not show a correlation"
    return [
        "The finding that accuracy on seen classes does not imply generalization to unseen ones "
        f"{verdict} (permutation tests over models, Holm over scores). Spearman's correlation of "
        f"ranks: {join(parts)}."
    ]


def _on_readouts(found: Answers) -> list[str]:
    rows: Any = found.readouts.to_dict("records")
    parts = [
        f"{r['metric']} by {r['readouts']:.3f}, the layer by {r['layers']:.3f}, the normalisation "
        f"by {r['normalisations']:.3f}"
        for r in rows
        if np.isfinite(r["readouts"])
    ]
    if not parts:
        return []
    return [
        f"Among networks whose layers have places, the choice of the readout moves {join(parts)} "
        "(mean ranges, each over as many choices as there are)."
    ]


def _on_picking(found: Answers) -> list[str]:
    sentences = []
    words = {"seen": "scores of seen classes", "unseen_without_labels": "scores without labels"}
    for on, kind in words.items():
        own = of(found.picked, on=on, metric=SHOWN)
        own = own[[np.isfinite(p.value) for p in own["regret"]]]
        if not len(own):
            continue
        best = min(own.to_dict("records"), key=lambda row: row["regret"].value)
        sentences.append(
            f"Of {len(own)} {kind}, {best['selector']} picks the layer with the least regret in "
            f"{SHOWN}, {_estimate(best['regret'])}, in hindsight; always taking the last layer has "
            f"{_estimate(best['regret_of_last'])}, a random one "
            f"{_estimate(best['regret_at_random'])}."
        )
    return sentences


def _on_baselines(found: Answers) -> list[str]:
    known = {m: pair for m, pair in found.baselines.items() if np.isfinite(pair[0].value)}
    if not known:
        return []
    sentences = []
    for place, beside in enumerate(("raw pixels", "the best layer of the untrained network")):
        parts = [f"{_estimate(pair[place])} in {metric}" for metric, pair in known.items()]
        sentences.append(
            f"The best layer of a trained network, chosen in hindsight, has {join(parts)} on "
            f"average beside {beside}."
        )
    return sentences


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
    pruned = pruning(tables, costs)
    text = page.render(title, conclusions(found), _sections(output, tables, found, pruned, planes,
                                                            classes), card)  # fmt: skip
    picked = found.picked.copy()
    for column in ("correlation", "regret", "regret_of_last", "regret_at_random"):
        picked[column] = [estimate.value for estimate in picked[column]]
    return {
        "page": output.write_text(PAGE, text),
        "layers": output.write_csv("layers", tables.rows),
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
            tables=[_best_table(found)],
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
                    ("metric", "over readouts", "over normalisations", "over layers"),
                    found.readouts.to_numpy().tolist(),
                )
            ],
            note=f"Networks of the first splits; compared by {join(CHEAP)}.",
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
            "place": place / max(len(best.probability) - 1, 1),
        }
        for (metric, model), best in found.best.items()
        for place, probability in enumerate(best.probability)
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["metric", "model", "place", "probability"])


def _best_table(found: Answers) -> Table:
    rows = [
        (
            model, metric, best.best + 1, len(best.mean), float(best.mean[best.best]),
            tuple(best.beyond_last), best.last_is_best,
        )
        for (metric, model), best in found.best.items()
    ]  # fmt: skip
    columns = (
        "model", "metric", "best layer", "layers", "score there", "above the last",
        "P(last is best)",
    )  # fmt: skip
    return Table("Best layers (chosen and judged on the same classes)", columns, rows)


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
