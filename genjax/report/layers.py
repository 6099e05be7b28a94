"""Which layer is best, does accuracy predict it, and how much does the readout decide?

Networks of one model differ in their seed and in the classes that they never saw: they are the
units of every interval. Models are what a rank correlation with accuracy is over.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from genjax.metrics.layers import catalogue, selection
from genjax.metrics.layers.selection import BestLayer, Estimate, Nested, Picked

JUDGED = ("nmi", "corrected_purity", "r_precision", "ridge_probe")
"""Scores that layers are judged by: the paper's three, and the one that needs no k."""
HALVED = ("nmi", "r_precision", "ridge_probe")
"""Of these, on halves of the unseen classes: purity at a fixed k means another thing there."""
CHEAP = ("nmi", "r_precision", "nearest_class_mean")
"""Scores by which readouts are compared."""


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

    Attributes:
        best: (metric, model) -> which layer is best.
        nested: metric -> what choosing on half of the unseen classes gains over the last layer.
        models: one row per metric and model: accuracy and the score of its best layer.
        agreement: metric -> how accuracy and score agree over models; None for fewer than four.
        readouts: one row per metric: ranges over readouts, normalisations and layers.
        picked: one row per selector and metric.
        baselines: metric -> shares of networks whose best layer beats pixels, and the start.
    """

    best: dict[tuple[str, str], BestLayer]
    nested: dict[str, Nested]
    models: pd.DataFrame
    agreement: dict[str, dict[str, Any] | None]
    readouts: pd.DataFrame
    picked: pd.DataFrame
    baselines: dict[str, tuple[Estimate, Estimate]]


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
    unseen = of(tables.rows, on="unseen", source="trained")
    models = _models(unseen, level)
    agreement = {
        metric: selection.rank_of_models(
            own["accuracy"].to_numpy(), own["score"].to_numpy(), level=level, seed=seed
        )
        if len(own) >= 4
        else None
        for metric, own in groups(models, "metric")
    }
    return Answers(
        _best(tables.draws, level, seed),
        {metric: _nested(own, level) for metric, own in groups(tables.halves, "metric")},
        models,
        {str(metric): found for metric, found in agreement.items()},
        _readouts(of(tables.rows, on="readouts")),
        _picked(tables.rows, level),
        {metric: _baselines(tables.rows, metric, level) for metric in JUDGED},
    )


def _best(draws: Any, level: float, seed: int) -> dict[tuple[str, str], BestLayer]:
    found = {}
    for (metric, model), own in groups(draws, ["metric", "model"]):
        layers = list(dict.fromkeys(own.sort_values("place", kind="stable")["layer"]))
        cube = own.pivot(index=["split", "seed"], columns=["draw", "layer"], values="value")
        count = own["draw"].max() + 1
        scores = np.stack([[cube[d, layer] for layer in layers] for d in range(count)])
        # [draw, layer, unit] -> [unit, draw, layer]
        scores = scores.transpose(2, 0, 1)
        found[str(metric), str(model)] = selection.best_layer(
            scores, draws=1000, level=level, seed=seed
        )
    return found


def _nested(halves: Any, level: float) -> Nested:
    """Choose the layer of every network on one half, judge it on the other, both ways."""
    gains = {"gain": [], "ceiling": [], "last": []}
    for _, own in groups(halves, ["model", "split", "seed"]):
        cube = own.pivot(index=["halving", "side"], columns="place", values="value")
        scores = cube.to_numpy().reshape(-1, 2, cube.shape[1])
        choosing = scores.reshape(1, -1, cube.shape[1])
        judging = scores[:, ::-1].reshape(1, -1, cube.shape[1])
        one = selection.nested(choosing, judging, level=level)
        for name, value in zip(gains, (one.gain.value, one.ceiling.value, one.last_chosen),
                               strict=True):  # fmt: skip
            gains[name].append(value)
    units = halves.drop_duplicates(["model", "split", "seed"])["split"].to_numpy()
    return Nested(
        _over_splits(gains["gain"], units, level),
        _over_splits(gains["ceiling"], units, level),
        float(np.mean(gains["last"])),
    )


def _over_splits(values: Sequence[float], splits: Any, level: float) -> Estimate:
    """Return a mean over networks; splits vary independently, networks of one split do not."""
    by_split: Any = pd.Series(np.asarray(values, float)).groupby(splits)
    means = by_split.mean().to_numpy()
    return selection.mean_interval(means, level)


def _models(unseen: Any, level: float) -> pd.DataFrame:
    """Return accuracy and generalization of every model, the maximum over layers of the mean."""
    rows = []
    for (metric, model), own in groups(unseen, ["metric", "model"]):
        if metric not in JUDGED:
            continue
        cube = own.pivot_table(index=["split", "seed"], columns="place", values="value")
        if not cube.shape[1]:  # no layer has a value
            continue
        best = cube.mean().idxmax()
        score = selection.mean_interval(cube[best].to_numpy(), level)
        right = own.drop_duplicates(["split", "seed"])["seen_accuracy"].to_numpy()
        accuracy = selection.mean_interval(right, level)
        rows.append(
            {
                "metric": metric, "model": model, "family": own["family"].iloc[0],
                "accuracy": accuracy.value, "accuracy_low": accuracy.low,
                "accuracy_high": accuracy.high, "score": score.value, "low": score.low,
                "high": score.high, "best_place": best, "networks": len(cube),
                "last": cube[cube.columns.max()].mean(),
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def _readouts(rows: Any) -> pd.DataFrame:
    """Return how far apart scores are over readouts, normalisations and layers, mean per network.

    Ranges are over what applies: readouts of a layer with places, raw; normalisations of the
    default readout; layers under the default readout, raw.
    """
    found = []
    for metric, own in groups(rows, "metric"):
        ranges: dict[str, list[float]] = {"readouts": [], "normalisations": [], "layers": []}
        for _, network in groups(own, ["model", "split", "seed"]):
            raw = of(network, normalisation="raw")
            default = network[network["readout"].map(_default(network))]
            for _, layer in groups(raw, "layer"):
                if len(layer) > 3:  # a vector has no places to read
                    ranges["readouts"].append(_range(layer["value"]))
            ranges["normalisations"] += [
                _range(layer["value"]) for _, layer in groups(default, "layer")
            ]
            ranges["layers"].append(_range(of(default, normalisation="raw")["value"]))
        found.append(
            {"metric": metric, **{k: np.mean(v) if v else np.nan for k, v in ranges.items()}}
        )
    return pd.DataFrame(found, columns=["metric", "readouts", "normalisations", "layers"])


def _default(network: Any) -> Callable[[str], bool]:
    places = (network["readout"] == "mean").any()
    return lambda readout: readout == ("mean" if places else "flatten")


def _range(values: Any) -> float:
    values = np.asarray(values, float)
    values = values[np.isfinite(values)]
    return float(np.ptp(values)) if len(values) else np.nan


def _picked(rows: pd.DataFrame, level: float) -> pd.DataFrame:
    """Return how well scores of seen classes, and scores without labels, pick the best layer."""
    trained = of(rows, source="trained", normalisation="raw")
    targets = of(trained, on="unseen")
    found = []
    for on in ("seen", "unseen_without_labels"):
        for selector, own in groups(of(trained, on=on), "metric"):
            sign = 1 if catalogue.by_name(str(selector)).larger_is_better else -1
            for metric in JUDGED:
                one = _pick(own, of(targets, metric=metric), sign, level)
                found.append(
                    {"selector": selector, "on": on, "metric": metric, **one._asdict()}
                )  # fmt: skip
    columns = ["selector", "on", "metric", *Picked._fields]
    return pd.DataFrame(found, columns=columns)


def _pick(selector: Any, target: Any, sign: int, level: float) -> Picked:
    keys = ["model", "split", "seed", "place"]
    both = selector[[*keys, "value"]].merge(target[[*keys, "value"]], on=keys)
    both = both.sort_values(keys)
    units = [own for _, own in both.groupby(keys[:3], sort=False)]
    return selection.picking(
        [sign * own["value_x"].to_numpy() for own in units],
        [own["value_y"].to_numpy() for own in units],
        level=level,
    )


def _baselines(rows: pd.DataFrame, metric: str, level: float) -> tuple[Estimate, Estimate]:
    """Return by how much the best layer lies above raw pixels, and above that of the start."""
    keys = ["model", "split", "seed"]
    own = of(rows, on="unseen", metric=metric)
    best = of(own, source="trained").groupby(keys)["value"].max()
    pixels = of(own, source="pixels").groupby(keys)["value"].max()
    start = of(own, source="initial").groupby(keys)["value"].max()
    splits = best.index.get_level_values("split").to_numpy()
    return (
        _over_splits((best - pixels).to_numpy(), splits, level),
        _over_splits((best - start).to_numpy(), splits, level),
    )
