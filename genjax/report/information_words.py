"""What the tables of information say, in sentences made by rules."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import scipy.stats

from genjax.intervals import mean_interval
from genjax.report.layers import groups
from genjax.report.phrases import bracket, count, join

Tables = Mapping[str, Any]
WHAT = {"noise": "noise (dropout while training, none while measuring)"}

SAME_ERROR = 0.02
"""Training errors that differ by more are not compared: the gap of what does not fit is small."""


def _rows(frame: Any) -> list[dict[str, Any]]:
    return frame.to_dict("records")


def verdicts(bounds: Any) -> Any:
    """Say of every bound how often it held, was vacuous, and how far above the gap it is.

    Args:
        bounds: rows `bound`, `value`, `gap`, `vacuous`, `holds`, one per setting.

    Returns:
        Rows `bound`, `settings`, `violated`, `vacuous` and `times the gap` (geometric mean over
        settings whose gap is above 0), tightest first.

    Example:
        >>> rows = pd.DataFrame({"bound": ["a", "a"], "value": [0.2, 0.8], "gap": [0.1, 0.1],
        ...     "vacuous": False, "holds": True})
        >>> round(float(verdicts(rows)["times the gap"].iloc[0]), 6)
        4.0
    """
    found = []
    for name, own in groups(bounds, "bound"):
        value, gap = own["value"].to_numpy(float), own["gap"].to_numpy(float)
        both = (gap > 0) & (value > 0) & np.isfinite(value)
        ratio = np.exp(np.log(value[both] / gap[both]).mean()) if both.any() else np.nan
        violated = int((~own["holds"].astype(bool)).sum())
        found.append((name, len(own), violated, int(own["vacuous"].sum()), ratio))
    columns = ["bound", "settings", "violated", "vacuous", "times the gap"]
    return pd.DataFrame(found, columns=columns).sort_values("times the gap", ignore_index=True)


def conclusions(kind: str, tables: Tables, level: float) -> list[str]:
    """Say what the tables show, by rules, most important first.

    Args:
        kind: of the experiment.
        tables: as the experiment returns.
        level: of intervals.
    """
    if kind == "stability":
        return _on_stability(tables["stability"], level)
    bounds = tables["bounds"]
    if kind == "noisy_sgd":
        return _on_noise(bounds)
    said = _on_bounds(bounds)
    if kind == "depth":
        said = [*_on_depth(tables, level), *_on_chain(tables["chain"], level), *said]
    return said


def _on_bounds(bounds: Any) -> list[str]:
    found = verdicts(bounds)
    settings = int(found["settings"].max())
    broken = found[found["violated"] > 0]
    vacuous = found[found["vacuous"] == found["settings"]]
    # What looks at the errors of both examples besides their information explains, not foretells.
    foretelling = ~found["bound"].str.startswith("f-information")
    # One that applies in the easier settings only cannot be compared with the others.
    everywhere = found["settings"] == settings
    informative = found[
        (found["violated"] == 0) & (found["vacuous"] == 0) & foretelling & everywhere
    ]
    said = []
    if len(broken):
        each = [f"{r['bound']} in {r['violated']} of {r['settings']}" for r in _rows(broken)]
        said.append(f"Below the measured gap: {join(each)} settings.")
    else:
        said.append(
            f"All {len(found)} bounds are above the measured gap wherever they apply, in up to "
            f"{count(settings, 'setting')}. Of plug-in estimates with masks in opposites that is "
            "arithmetic, not evidence; only the corrected ones could have been below."
        )
    if len(informative):
        best = _rows(informative)[0]
        said.append(
            f"The tightest that applies and holds in every setting and is never vacuous is "
            f"{best['bound']}: {best['times the gap']:.2f} times the gap (geometric mean; chosen "
            "after looking at these settings)."
        )
    if len(vacuous):
        said.append(f"Vacuous in every setting: {join(list(vacuous['bound']), most=6)}.")
    if "mostly_bias" in bounds:
        own = bounds[bounds["mostly_bias"].astype(bool)]
        if len(own):
            said.append(
                f"In {len(own)} of {len(bounds)} rows at least half of the estimated information "
                "is what masks that tell nothing would show; read the corrected rows there."
            )
    return said


def _on_noise(bounds: Any) -> list[str]:
    """Say where along noisy descent bounds say something."""
    own = bounds[(bounds["n"] == bounds["n"].max()) & (bounds["bound"] != "wang_mao")]
    broken = own[~own["holds"].astype(bool)]
    said = [
        f"All bounds are above the mean gap in all {len(own)} rows of n = {int(own['n'].max())}."
        if not len(broken)
        else f"Below the mean gap: {join(sorted(set(broken['bound'])))}."
    ]
    first, last = (own[own["step"] == step] for step in (own["step"].min(), own["step"].max()))
    for when, part in (("first", first), ("last", last)):
        for noise in sorted(part["noise"].unique()):
            here = part[(part["noise"] == noise) & ~part["vacuous"].astype(bool)]
            names = [f"{r['bound']} ({r['value']:.2f})" for r in _rows(here.sort_values("value"))]
            said.append(
                f"At the {when} step looked at, with noise {noise:g}: "
                + (f"below 1 are {join(names, most=4)}." if names else "every bound is vacuous.")
            )
    return said


def _on_depth(tables: Tables, level: float) -> list[str]:
    own = per_depth(tables["information"])
    plain = own[own["control"] == "none"]
    fits = tables["networks"]
    depths = sorted(plain["depth"].unique())
    said = []
    if len(depths) > 1:
        change = _paired(plain, depths[0], depths[-1])
        low, high = mean_interval(change, level)
        verdict = "cannot be told from no change"
        if low > 0:
            verdict = "grows"
        elif high < 0:
            verdict = "falls"
        train = fits[fits["control"] == "none"]["train_error"]
        said.append(
            f"From {depths[0]} to {depths[-1]} hidden layers, at training errors of "
            f"{train.min():.3f} to {train.max():.3f}, the gap {verdict}: it changes by "
            f"{bracket(change.mean(), low, high)}."
        )
    for control in dict.fromkeys(own["control"]):
        part = own[own["control"] == control]
        there = sorted(part["depth"].unique())
        if control == "none" or len(there) < 2:
            continue
        change = _paired(part, there[0], there[-1])
        train = fits[fits["control"] == control].set_index("depth")["train_error"]
        said.append(
            f"With {WHAT.get(control, control)}, from {there[0]} to {there[-1]} layers: "
            f"{bracket(change.mean(), *mean_interval(change, level))}, at training errors of "
            f"{train[there[0]]:.3f} and {train[there[-1]]:.3f}"
            + _what_it_means(control, abs(train[there[-1]] - train[there[0]]))
        )
    return said


def _what_it_means(control: str, apart: float) -> str:
    if apart > SAME_ERROR:
        return ": they do not fit alike, so that this says nothing of depth."
    if control == "random labels":
        return ": labels that nothing tells leave every network that fits them this gap."
    return "."


def per_depth(information: Any) -> Any:
    """Return a gap per control, depth and supersample.

    Args:
        information: rows of bounds, one per control, depth, seed and bound.
    """
    return information.drop_duplicates(["control", "depth", "seed"])[
        ["control", "depth", "seed", "gap"]
    ]


def _paired(own: Any, first: Any, last: Any) -> np.ndarray:
    """Return changes of the gap from one depth to another, by supersample."""
    wide = own.pivot(index="seed", columns="depth", values="gap")
    return (wide[last] - wide[first]).dropna().to_numpy()


def kept_by_layers(chain: Any, level: float) -> Any:
    """Return the share of information that every layer keeps of the first one's, per depth.

    Args:
        chain: rows `depth`, `control`, `seed`, `place`, `link`, `nats`.
        level: of intervals, by jackknife over supersamples.

    Returns:
        Rows `depth`, `control`, `layers`, `value` (nats at the logits over nats at the first
        layer), `low`, `high` and `per_layer`, its root; NaN where the interval of what the first
        layer tells includes zero: there is nothing to keep a share of.
    """
    rows = []
    for (depth, control), own in groups(chain, ["depth", "control"]):
        wide = own.pivot(index="seed", columns="link", values="nats")
        first = own.loc[own["place"] == 0, "link"].iloc[0]
        layers = int(own.loc[own["link"] == "logits", "place"].iloc[0])
        start, end = (np.asarray(wide[name], float) for name in (first, "logits"))
        if start.mean() <= 0 or mean_interval(start, level)[0] <= 0:
            rows.append({"depth": depth, "control": control, "layers": layers})
            continue
        ratio = end.mean() / start.mean()
        left = np.array([
            np.delete(end, k).mean() / np.delete(start, k).mean() for k in range(len(end))
        ]) if len(end) > 2 else np.array([np.nan])  # fmt: skip
        count_ = len(left)
        error = np.sqrt((count_ - 1) / count_ * ((left - left.mean()) ** 2).sum())
        half = scipy.stats.t.ppf((1 + level) / 2, max(count_ - 1, 1)) * error
        rows.append({
            "depth": depth, "control": control, "layers": layers, "value": ratio,
            "low": ratio - half, "high": ratio + half,
            "per_layer": max(ratio, 0.0) ** (1 / max(layers, 1)),
        })  # fmt: skip
    columns = ("depth", "control", "layers", "value", "low", "high", "per_layer")
    return pd.DataFrame(rows, columns=pd.Index(columns))


def _on_chain(chain: Any, level: float) -> list[str]:
    found = kept_by_layers(chain, level).dropna(subset="value")
    if not len(found):
        return ["No layer tells who was trained on, as far as the statistics used here can."]
    own = found[found["control"] == "none"]
    if not len(own):
        return []
    last = _rows(own)[-1]
    low_share = own["per_layer"].min()
    promise = last["per_layer"] ** (last["depth"] / 2)
    return [
        f"Of what three statistics of each layer tell about who was trained on, from the first "
        f"layer on, the logits of the network of {last['depth']} layers keep "
        f"{bracket(last['value'], last['low'], last['high'])}; the geometric mean per layer is "
        f"{last['per_layer']:.3f} there, and {low_share:.3f} at the depth where it is smallest. "
        "What such statistics miss counts as kept.",
        f"If {last['per_layer']:.3f} were the theorem's coefficient at every layer, its bound "
        f"would be {promise:.2f} times that without layers. What is proved of a layer without "
        "noise is a coefficient of 1, no promise at all.",
    ]


def _on_stability(found: Any, level: float) -> list[str]:
    said = []
    # Samples of one seed are nested from size to size: a seed is one observation.
    each = (found["average"] - found["gap"]).groupby(found["seed"]).mean().to_numpy()
    low, high = mean_interval(each, level)
    verdict = "differs from the gap, against the identity of their means"
    if not (low > 0 or high < 0):
        verdict = "cannot be told from the gap, which it equals in the mean"
    said.append(
        f"Average replace-one stability {verdict}: their difference is "
        f"{bracket(each.mean(), low, high)} over {len(each)} seeds, sizes averaged."
    )
    sizes = sorted(found["n"].unique())
    means = [found.loc[found["n"] == n, "hypothesis"].mean() for n in (sizes[0], sizes[-1])]
    if len(sizes) > 1:
        said.append(
            f"Replacing one of {sizes[0]} examples changes whether a test example is classified "
            f"rightly for {means[0]:.1%} of them, one of {sizes[-1]} for {means[1]:.1%}; there the "
            "example that is hit most often changes in "
            f"{found.loc[found['n'] == sizes[-1], 'uniform'].mean():.1%} of the replacements."
        )
    return said
