"""The page of layers: what was asked, what came out, in words, figures and tables."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as MatplotlibFigure

from genjax.metrics.layers.pruning import Kept
from genjax.metrics.layers.selection import Estimate
from genjax.report import figures_layers as figures
from genjax.report import page
from genjax.report.layers import CHEAP, JUDGED, Answers, Tables, groups, of
from genjax.report.page import Section, Table
from genjax.report.phrases import bracket, count, join
from genjax.report.storage import Figure, OutputFolder

PAGE = "report.html"
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
    ]


def _estimate(value: Estimate) -> str:
    return bracket(value.value, value.low, value.high)


def _finding_on_depth(found: Answers) -> list[str]:
    sentences = []
    for metric in JUDGED:
        own = {model: best for (m, model), best in found.best.items() if m == metric}
        if not own:
            continue
        last = [best.best == len(best.mean) - 1 for best in own.values()]
        sure = [best.last_is_best >= 0.95 for best in own.values()]
        never = [best.last_is_best <= 0.05 for best in own.values()]
        sentence = (
            f"By {metric} the last layer has the highest mean in {sum(last)} of "
            f"{count(len(own), 'model')}; it is the best with probability .95 or more in "
            f"{sum(sure)}, with .05 or less in {sum(never)}."
        )
        if metric in found.nested:
            nested = found.nested[metric]
            sentence += (
                " Choosing the layer on one half of the unseen classes gains "
                f"{_estimate(nested.gain)} over the last layer on the other half (at most "
                f"{_estimate(nested.ceiling)} is to be gained there)."
            )
        sentences.append(sentence)
    if found.nested:
        above = [m for m, n in found.nested.items() if n.gain.low > 0]
        verdict = (
            f"holds here, beyond selection, by {join(above)}"
            if above
            else "is not supported here: choosing a layer on other unseen classes gains nothing "
            "that can be told from zero"
        )
        sentences.insert(
            0, f"The finding of Dyballa et al. that deeper is not always better {verdict}."
        )
    return sentences


def _finding_on_accuracy(found: Answers) -> list[str]:
    known = {m: a for m, a in found.agreement.items() if a is not None}
    if not known:
        return ["Fewer than four models: whether accuracy predicts generalization stays open."]
    parts = [
        f"{metric} {_estimate(a['spearman'])} (p = {a['p_spearman']:.2g})"
        for metric, a in known.items()
    ]
    models = int(next(iter(known.values()))["models"])
    positive = [m for m, a in known.items() if a["spearman"].low > 0]
    verdict = (
        f"does not hold here by {join(positive)}: more accurate models separate unseen classes "
        "better"
        if positive
        else "is not contradicted here: no score of unseen classes follows accuracy beyond chance"
    )
    return [
        "The finding that accuracy on seen classes does not imply generalization to unseen ones "
        f"{verdict}. Spearman's rank correlation over {models} models: {join(parts)}."
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
    return [f"The choice of the readout moves {join(parts)} (mean ranges per network)."]


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
            f"Of {kind}, {best['selector']} picks the layer with the least regret in {SHOWN}, "
            f"{_estimate(best['regret'])}; always taking the last layer has "
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
            f"The best layer of a trained network, beside {beside}, has {join(parts)} on average."
        )
    return sentences


def curves(tables: Tables) -> pd.DataFrame:
    """Return the curves of score against depth, by family, with intervals over splits.

    Depth is divided into fifths, so that networks of different depth can be averaged.
    """
    unseen = of(tables.rows, on="unseen")
    unseen = unseen[unseen["metric"].isin(JUDGED)]
    rows = []
    for (metric, source), own in groups(unseen, ["metric", "source"]):
        if source == "initial":
            continue
        if source == "pixels":
            rows.append({"metric": metric, "family": "pixels", "value": own["value"].mean()})
            continue
        own = own.assign(bin=(own["place"] * 5).round() / 5)
        for (family, place), line in groups(own, ["family", "bin"]):
            mean = line.groupby("split")["value"].mean()
            error = 1.96 * mean.std(ddof=1) / max(len(mean), 1) ** 0.5
            rows.append(
                {
                    "metric": metric, "family": family, "place": place, "value": mean.mean(),
                    "low": mean.mean() - error, "high": mean.mean() + error,
                }
            )  # fmt: skip
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
        means = own.groupby("layer", sort=False)["value"].mean()
        for kept in costs[str(model)]:
            rows.append(
                {
                    "model": model, "family": own["family"].iloc[0], "layer": kept.layer,
                    "parameters_saved": kept.parameters_saved, "flops_saved": kept.flops_saved,
                    "metric": metric, "change": means[kept.layer] - means.iloc[-1],
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
            _drawn(output, "depth", figures.depth, (curves(tables),), "Scores against depth."),
        ),
        Section(
            "Which layer is best",
            figures=_drawn(
                output, "best", figures.best, (of(best, metric=SHOWN),),
                f"Probability that each layer is the best by {SHOWN}; the larger the likelier.",
            ),
            tables=[_best_table(found)],
        ),
        Section(
            "Accuracy and generalization",
            figures=_drawn(
                output, "models", figures.models, (shown, label),
                "Accuracy on seen classes and separability of unseen ones; intervals are over "
                "networks.",
            ),
            tables=[_agreement_table(found)],
        ),
        Section(
            "A look at the embeddings",
            figures=_drawn(
                output, "planes", figures.planes, (planes, classes),
                "Examples of the unseen classes of the first split in two dimensions (t-SNE).",
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
            figures=_drawn(
                output, "pruning", figures.pruned,
                (of(pruned, metric=SHOWN), f"{SHOWN} minus that of the last layer"),
                "What a score changes by when the network is kept only up to a layer.",
            ),
        ),
        Section("Seen and unseen classes together", tables=[_joint_table(tables)]),
    ]  # fmt: skip


def _drawn(output, name: str, draw: Any, data: tuple[Any, ...], caption: str) -> list[Figure]:
    wide: MatplotlibFigure | None = draw(*data, narrow=False)
    narrow: MatplotlibFigure | None = draw(*data, narrow=True)
    if wide is None or narrow is None:
        return []
    return [output.write_figure(f"figures/{name}", wide, caption, caption, narrow=narrow)]


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
    if len(own):
        for metric, part in groups(own, "metric"):
            smaller = str(metric).startswith("fpr95")
            by_network = part.groupby("network")["value"]
            best = by_network.min() if smaller else by_network.max()
            last = of(part, place=1.0)["value"]
            rows.append((metric, float(last.mean()), float(best.mean())))
    return Table(
        "Open-set scores and category discovery", ("metric", "last layer", "best layer"), rows
    )
