"""Which layer is best, does accuracy predict it, and how much does the readout decide?

Networks of one model differ in their seed and in the classes that they never saw: they are the
units of every interval. Models are what a rank correlation with accuracy is over.
"""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from genjax.metrics.layers import catalogue, model_ranks, selection
from genjax.metrics.layers.selection import BestLayer, Estimate, Nested, Picked
from genjax.training import segment

JUDGED = ("nmi", "corrected_purity", "r_precision", "ridge_probe")
"""Scores that layers are judged by: the paper's three, and the one that needs no k."""
HALVED = ("nmi", "r_precision", "ridge_probe")
"""Of these, on halves of the unseen classes: purity at a fixed k means another thing there."""
CHEAP = ("nmi", "r_precision", "nearest_class_mean")
"""Scores by which readouts are compared."""


DIVERGED = segment.STATUS_NAMES[segment.DIVERGED]


class Tables(NamedTuple):
    """What was measured.

    Attributes:
        rows: one per network, source, layer, readout, normalisation, set of examples and metric.
        draws: bootstrap values over examples; draw 0 is the estimate.
        halves: scores on random halves of the unseen classes.
    """

    rows: pd.DataFrame
    draws: pd.DataFrame
    halves: pd.DataFrame


class Answers(NamedTuple):
    """What the tables say, by metric where there are several.

    A unit is a split, a draw of the unseen classes: networks of one model and split are averaged,
    since they share their examples.

    Attributes:
        best: (metric, model) -> which layer is best.
        nested: metric -> what choosing on half of the unseen classes gains over the last layer.
        models: one row per metric and model: accuracy and the score of its best layer.
        agreement: metric -> how accuracy and score agree over models; None for fewer than four.
        readouts: one row per metric: ranges over readouts, normalisations and layers.
        picked: one row per selector and metric.
        baselines: metric -> by how much the best layer lies above pixels, and above the best one of
            the start.
        diverged: networks that were left out because their training diverged.
    """

    best: dict[tuple[str, str], BestLayer]
    nested: dict[str, Nested]
    models: pd.DataFrame
    agreement: dict[str, dict[str, Any] | None]
    readouts: pd.DataFrame
    picked: pd.DataFrame
    baselines: dict[str, tuple[Estimate, Estimate]]
    diverged: int


def of(rows: pd.DataFrame, **wanted: Any) -> Any:
    """Return the rows whose columns have these values.

    Example:
        >>> of(pd.DataFrame({"on": ["seen", "unseen"], "value": [1, 2]}), on="seen")["value"].item()
        1
    """
    kept = np.ones(len(rows), bool)
    for column, value in wanted.items():
        kept &= (rows[column] == value).to_numpy()
    return rows[kept]


def groups(rows: Any, keys: Any) -> list[tuple[Any, Any]]:
    """Return (key, its rows) in the order of their first appearance.

    Example:
        >>> [key for key, _ in groups(pd.DataFrame({"layer": ["b", "a", "b"]}), "layer")]
        ['b', 'a']
    """
    return list(rows.groupby(keys, sort=False))


def answers(tables: Tables, *, level: float = 0.95, seed: int = 0) -> Answers:
    """Answer the questions of the page from the tables.

    Args:
        tables: from an experiment.
        level: of all intervals.
        seed: of resampling.
    """
    diverged = of(tables.rows, status=DIVERGED)
    rows, draws, halves = (_alive(table) for table in tables)
    unseen = of(rows, on="unseen", source="trained")
    models = _models(unseen, level)
    agreement = {
        metric: model_ranks.rank_of_models(
            own["accuracy"].to_numpy(), own["score"].to_numpy(), level=level, seed=seed
        )
        if len(own) >= 4
        else None
        for metric, own in groups(models, "metric")
    }
    return Answers(
        _best(draws, level, seed),
        {metric: _nested(own, level) for metric, own in groups(halves, "metric")},
        models,
        {str(metric): found for metric, found in agreement.items()},
        _readouts(of(rows, on="readouts", source="trained")),
        _picked(rows, level),
        {metric: _baselines(rows, metric, level) for metric in JUDGED},
        len(diverged.drop_duplicates(["split", "network"])),
    )


def _alive(table: Any) -> Any:
    return table[table["status"] != DIVERGED]


def complete(cube: Any) -> Any:
    """Return scores by unit and layer without what has no value.

    A layer without a value in every unit (a class token before the first block, say) is left out,
    then every unit that lacks another layer, so that all means are over the same units.

    Example:
        >>> complete(pd.DataFrame([[1.0, np.nan, 2.0], [3.0, np.nan, np.nan]])).to_numpy().tolist()
        [[1.0, 2.0]]
    """
    return cube.dropna(axis=1, how="all").dropna(axis=0, how="any")


def _best(draws: Any, level: float, seed: int) -> dict[tuple[str, str], BestLayer]:
    found = {}
    for (metric, model), own in groups(draws, ["metric", "model"]):
        by_draw = own.pivot_table(
            index=["split"], columns=["draw", "place"], values="value", dropna=False
        )
        estimates = complete(by_draw[0])
        if not estimates.size:
            continue
        kept = by_draw.loc[estimates.index]
        scores = np.stack(
            [kept[draw][estimates.columns].to_numpy() for draw in range(own["draw"].max() + 1)],
            axis=1,
        )
        found[str(metric), str(model)] = selection.best_layer(
            scores, draws=1000, level=level, seed=seed
        )
    return found


def _nested(halves: Any, level: float) -> Nested:
    """Choose the layer of every network on one half, judge it on the other, both ways."""
    rows = []
    for (_, split, _), own in groups(halves, ["model", "split", "seed"]):
        cube = own.pivot(index=["halving", "side"], columns="place", values="value")
        cube = cube.dropna(axis=1, how="all")
        scores = cube.to_numpy().reshape(-1, 2, cube.shape[1])
        scores = scores[np.isfinite(scores).all(axis=(1, 2))]
        if not scores.size:
            continue
        choosing = scores.reshape(1, -1, scores.shape[-1])
        judging = scores[:, ::-1].reshape(1, -1, scores.shape[-1])
        one = selection.nested(choosing, judging, level=level)
        rows.append((split, one.gain.value, one.ceiling.value, one.last_chosen))
    splits, gains, ceilings, last = np.array(rows).reshape(-1, 4).T
    return Nested(
        selection.mean_over_groups(gains, splits, level),
        selection.mean_over_groups(ceilings, splits, level),
        float(np.mean(last)) if len(last) else np.nan,
    )


def _models(unseen: Any, level: float) -> pd.DataFrame:
    """Return accuracy and generalization of every model, the maximum over layers of the mean."""
    rows = []
    for (metric, model), own in groups(unseen, ["metric", "model"]):
        if metric not in JUDGED:
            continue
        cube = complete(own.pivot_table(index="split", columns="place", values="value"))
        if not cube.size:  # no layer has a value
            continue
        best = cube.mean().idxmax()
        score = selection.mean_interval(cube[best].to_numpy(), level)
        right = own.drop_duplicates(["split", "seed"]).groupby("split")["seen_accuracy"].mean()
        accuracy = selection.mean_interval(right.to_numpy(), level)
        rows.append(
            {
                "metric": metric, "model": model, "family": own["family"].iloc[0],
                "accuracy": accuracy.value, "accuracy_low": accuracy.low,
                "accuracy_high": accuracy.high, "score": score.value, "low": score.low,
                "high": score.high, "best_place": best, "splits": len(cube),
                "last": cube[cube.columns.max()].mean(),
            }
        )  # fmt: skip
    return pd.DataFrame(rows, columns=list(rows[0]) if rows else ["metric", "model"])


def _readouts(rows: Any) -> pd.DataFrame:
    """Return how far apart scores are over readouts, normalisations and layers, mean per network.

    Of networks that have layers with places. Readouts: those of such a layer, raw. Normalisations:
    of every layer under its default readout. Layers: under their default readouts, raw.
    """
    found = []
    for metric, own in groups(rows, "metric"):
        ranges: dict[str, list[float]] = {"readouts": [], "normalisations": [], "layers": []}
        for _, network in groups(own, ["model", "split", "seed"]):
            if not (network["readout"] == "mean").any():
                continue
            default = _under_default(network)
            for _, layer in groups(of(network, normalisation="raw"), "layer"):
                if (layer["readout"] == "mean").any():
                    ranges["readouts"].append(_range(layer["value"]))
            ranges["normalisations"] += [
                _range(layer["value"]) for _, layer in groups(default, "layer")
            ]
            ranges["layers"].append(_range(of(default, normalisation="raw")["value"]))
        means = {
            kind: float(np.nanmean(each)) if np.isfinite(each).any() else np.nan
            for kind, each in ranges.items()
        }
        found.append({"metric": metric, **means})
    return pd.DataFrame(found, columns=["metric", "readouts", "normalisations", "layers"])


def _under_default(network: Any) -> Any:
    """Return the rows of every layer under its default readout."""
    places = set(network[network["readout"] == "mean"]["layer"])
    default = np.where(network["layer"].isin(places), "mean", "flatten")
    return network[network["readout"] == default]


def _range(values: Any) -> float:
    values = np.asarray(values, float)
    values = values[np.isfinite(values)]
    return float(np.ptp(values)) if len(values) else np.nan


def _picked(rows: Any, level: float) -> pd.DataFrame:
    """Return how well scores of seen classes, and scores without labels, pick the best layer."""
    trained = of(rows, source="trained", normalisation="raw")
    targets = of(trained, on="unseen")
    found = []
    for on in ("seen", "unseen_without_labels"):
        for selector, own in groups(of(trained, on=on), "metric"):
            own = own.assign(value=catalogue.by_name(selector).goodness(own["value"]))
            for metric in JUDGED:
                one = _pick(own, of(targets, metric=metric), level)
                found.append({"selector": selector, "on": on, "metric": metric, **one._asdict()})
    columns = ["selector", "on", "metric", *Picked._fields]
    return pd.DataFrame(found, columns=columns)


def _pick(selector: Any, target: Any, level: float) -> Picked:
    keys = ["model", "split", "seed", "place"]
    both = selector[[*keys, "value"]].merge(target[[*keys, "value"]], on=keys)
    units = groups(both.sort_values(keys), keys[:3])
    return selection.picking(
        [own["value_x"].to_numpy() for _, own in units],
        [own["value_y"].to_numpy() for _, own in units],
        [split for (_, split, _), _ in units],
        level=level,
    )


def _baselines(rows: Any, metric: str, level: float) -> tuple[Estimate, Estimate]:
    """Return by how much the best layer lies above raw pixels, and above that of the start."""
    keys = ["model", "split", "seed"]
    own = of(rows, on="unseen", metric=metric)
    best = of(own, source="trained").groupby(keys)["value"].max()
    found = []
    for source in ("pixels", "initial"):
        other = of(own, source=source).groupby(keys)["value"].max()
        apart = (best - other).dropna()
        splits = apart.index.get_level_values("split").to_numpy()
        found.append(selection.mean_over_groups(apart.to_numpy(), splits, level))
    return found[0], found[1]
