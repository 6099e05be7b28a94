"""What the tables of layers say, in sentences made by rules."""

from typing import Any

import numpy as np

from genjax.metrics.layers.selection import Estimate
from genjax.report.layers import JUDGED, Answers, of
from genjax.report.phrases import bracket, count, join
from genjax.statistics import chance

ALPHA = 0.05
SHOWN = "nmi"
"""The score that single pictures and sentences are of: the paper's first."""


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
    sentences = [_verdict_on_depth(found.by_model)]
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
        sentences.append(sentence + _on_reading_alike(found, metric))
    return sentences


def _verdict_on_depth(gains: Any) -> str:
    """Say for which models a layer before the last is better on classes that did not choose it.

    The finding is that there are such models: a mean over models could hide them.
    """
    sure = gains[gains["p_adjusted"] < ALPHA]
    earlier = sure[sure["gain"] > 0]
    models = count(gains["model"].nunique(), "model")
    start = "The finding of Dyballa et al. that deeper is not always better"
    tested = f"Holm over {count(len(gains), 'test')}"
    if len(earlier):
        named = [
            f"{row['model']} by {row['metric']} ({bracket(row['gain'], row['low'], row['high'])})"
            for row in earlier.to_dict("records")
        ]
        verdict = f"holds here, beyond selection, for {join(named)}, of {models} ({tested})"
    else:
        best = gains.loc[gains["gain"].idxmax()]
        amount = bracket(best["gain"], best["low"], best["high"])
        verdict = (
            f"is not shown here for any of {models}: no layer chosen on other unseen classes is "
            f"better than the last one beyond chance ({tested}; the largest gain is that of "
            f"{best['model']} by {best['metric']}, {amount} by itself)"
        )
    lost = sure[sure["gain"] < 0]
    also = ""
    if len(lost):
        also = (
            f" In {count(len(lost), 'test')} the chosen layer is surely worse, which says what a "
            "choice by few classes costs."
        )
    return f"{start} {verdict}.{also}"


def _on_reading_alike(found: Answers, metric: str) -> str:
    own = [best for (m, _), best in found.alike_best.items() if m == metric]
    nested = found.alike_nested.get(metric)
    all_are = found.alike_best is found.best
    if all_are or not own or nested is None or found.alike_best.keys() != found.best.keys():
        return ""
    last = sum(best.best == len(best.mean) - 1 for best in own)
    return (
        " Read alike in all layers, the last one then being the last block, it has the highest "
        f"mean in {last}, and choosing gains {_estimate(nested.gain)}."
    )


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
        f"{r['metric']} by {r['readouts']:.3f} ({r['plain_readouts']:.3f} without the top-left "
        f"place and without whitening), the layer by {r['layers']:.3f}, the normalisation by "
        f"{r['normalisations']:.3f}"
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
