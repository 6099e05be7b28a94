"""Which layer is best, does accuracy predict it, and how much does the readout decide?

Networks of one model differ in their seed and in the classes that they never saw: they are the
units of every interval. Models are what a rank correlation with accuracy is over.
"""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from genjax.metrics.layers import catalogue, model_ranks, selection
from genjax.metrics.layers.selection import Estimate, Nested, Picked
from genjax.statistics import chance
from genjax.training import segment

JUDGED = ("nmi", "corrected_purity", "r_precision", "ridge_probe")
"""Scores that layers are judged by: the paper's three, and the one that needs no k."""
HALVED = ("nmi", "r_precision", "ridge_probe")
"""Of these, on halves of the unseen classes: purity at a fixed k means another thing there."""
CHEAP = ("nmi", "r_precision", "nearest_class_mean")
"""Scores by which readouts are compared."""
EXTREME = ("token0", "pca_whitened")
"""Readouts that move scores most: one place of many, and all directions made equally long."""
_KINDS = ("readouts", "plain_readouts", "normalisations", "layers")


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


class PlacedBest(NamedTuple):
    """`BestLayer`, and where its layers lie: first ones may be missing, having no value."""

    probability: np.ndarray
    mean: np.ndarray
    best: int
    beyond_last: Estimate
    last_is_best: float
    places: np.ndarray


class Answers(NamedTuple):
    """What the tables say, by metric where there are several.

    A unit is a split, a draw of the unseen classes: networks of one model and split are averaged,
    since they share their examples.

    Attributes:
        best: (metric, model) -> which layer is best.
        nested: metric -> what choosing on half of the unseen classes gains over the last layer.
        by_model: the same for every metric and model, with p-values over splits, Holm over all.
        alike_best: as `best`, all layers of a network read alike: without last layers of which
            more is read (the whole map, the class token) than of those before.
        alike_nested: as `nested`, read alike.
        models: one row per metric and model: accuracy and the score of its best layer.
        agreement: metric -> how accuracy and score agree over models; None for fewer than four.
        readouts: one row per metric: ranges over readouts, normalisations and layers.
        picked: one row per selector and metric.
        baselines: metric -> by how much the best layer lies above pixels, and above the best one of
            the start.
        diverged: networks that were left out because their training diverged.
    """

    best: dict[tuple[str, str], PlacedBest]
    nested: dict[str, Nested]
    by_model: pd.DataFrame
    alike_best: dict[tuple[str, str], PlacedBest]
    alike_nested: dict[str, Nested]
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
    best, gains = _best(draws, level, seed), _gains(halves, level)
    alike, alike_best, alike_gains = read_alike(draws, unseen), best, gains
    if len(alike) < len(draws):
        alike_best = _best(alike, level, seed)
        alike_gains = _gains(read_alike(halves, unseen), level)
    return Answers(
        best,
        _nested(gains, level),
        _by_model(gains, level),
        alike_best,
        _nested(alike_gains, level),
        models,
        {str(metric): found for metric, found in agreement.items()},
        _readouts(of(rows, on="readouts", source="trained")),
        _picked(rows, level),
        {metric: _baselines(rows, metric, level) for metric in JUDGED},
        len(diverged.drop_duplicates(["split", "network"])),
    )


def _alive(table: Any) -> Any:
    return table[table["status"] != DIVERGED]


def alive(tables: Tables) -> Tables:
    """Return the tables without networks that diverged, whose numbers mean nothing."""
    return Tables(*(_alive(table) for table in tables))


def read_alike(table: Any, unseen: Any) -> Any:
    """Return the rows without layers that are read otherwise than most of their network.

    Blocks with places are read by their mean, features as they are: the whole map of some networks,
    the class token of others. Where they are the last layer, depth and readout change together.

    Args:
        table: rows with `model` and `layer`.
        unseen: rows that know the `readout` of every layer.
    """
    known = unseen.drop_duplicates(["model", "layer"])
    with_places = set(of(known, readout="mean")["model"])
    other = known[known["model"].isin(with_places) & (known["readout"] != "mean")]
    dropped = set(zip(other["model"], other["layer"], strict=True))
    kept = [pair not in dropped for pair in zip(table["model"], table["layer"], strict=True)]
    return table[np.array(kept, bool)]


def complete(cube: Any) -> Any:
    """Return scores by unit and layer without what has no value.

    A layer without a value in every unit (a class token before the first block, say) is left out,
    then every unit that lacks another layer, so that all means are over the same units.

    Example:
        >>> complete(pd.DataFrame([[1.0, np.nan, 2.0], [3.0, np.nan, np.nan]])).to_numpy().tolist()
        [[1.0, 2.0]]
    """
    return cube.dropna(axis=1, how="all").dropna(axis=0, how="any")


def _best(draws: Any, level: float, seed: int) -> dict[tuple[str, str], PlacedBest]:
    found = {}
    for (metric, model), own in groups(draws, ["metric", "model"]):
        by_draw = own.pivot_table(
            index=["split"], columns=["draw", "place"], values="value", dropna=False
        )
        estimates = complete(by_draw[0])
        if not estimates.size or estimates.columns[-1] != by_draw[0].columns[-1]:
            continue  # without its last layer there is nothing to compare with
        kept = by_draw.loc[estimates.index]
        scores = np.stack(
            [kept[draw][estimates.columns].to_numpy() for draw in range(own["draw"].max() + 1)],
            axis=1,
        )
        one = selection.best_layer(scores, draws=1000, level=level, seed=seed)
        found[str(metric), str(model)] = PlacedBest(*one, estimates.columns.to_numpy(float))
    return found


def _gains(halves: Any, level: float) -> pd.DataFrame:
    """Choose the layer of every network on one half, judge it on the other, both ways.

    Returns:
        Rows `metric`, `model`, `split`, `gain`, `ceiling`, `last_chosen`, one per network.
    """
    rows = []
    for (metric, model, split, _), own in groups(halves, ["metric", "model", "split", "seed"]):
        cube = own.pivot(index=["halving", "side"], columns="place", values="value")
        last = cube.columns[-1]
        cube = cube.dropna(axis=1, how="all")
        if not len(cube.columns) or cube.columns[-1] != last:
            continue
        scores = cube.to_numpy().reshape(-1, 2, cube.shape[1])
        scores = scores[np.isfinite(scores).all(axis=(1, 2))]
        if not scores.size:
            continue
        choosing = scores.reshape(1, -1, scores.shape[-1])
        judging = scores[:, ::-1].reshape(1, -1, scores.shape[-1])
        one = selection.nested(choosing, judging, level=level)
        rows.append((metric, model, split, one.gain.value, one.ceiling.value, one.last_chosen))
    columns = pd.Index(["metric", "model", "split", "gain", "ceiling", "last_chosen"])
    return pd.DataFrame(rows, columns=columns)


def _nested(gains: Any, level: float) -> dict[str, Nested]:
    """Return, by metric, means over networks with intervals over splits."""
    found = {}
    for metric, own in groups(gains, "metric"):
        splits = own["split"].to_numpy()
        found[str(metric)] = Nested(
            selection.mean_over_groups(own["gain"].to_numpy(), splits, level),
            selection.mean_over_groups(own["ceiling"].to_numpy(), splits, level),
            float(own["last_chosen"].mean()),
        )
    return found


def _by_model(gains: Any, level: float) -> pd.DataFrame:
    """Return gains by metric and model over splits; p-values of Student's t, Holm over all."""
    rows = []
    for (metric, model), own in groups(gains, ["metric", "model"]):
        each = own.groupby("split")["gain"].mean().to_numpy()
        mean = selection.mean_interval(each, level)
        test: Any = stats.ttest_1samp(each, 0) if len(each) > 1 and np.ptp(each) > 0 else None
        p = np.nan if test is None else test.pvalue
        rows.append((metric, model, *mean, p, len(each)))
    columns = pd.Index(["metric", "model", "gain", "low", "high", "p", "splits"])
    found = pd.DataFrame(rows, columns=columns)
    return found.assign(p_adjusted=chance.holm(found["p"].to_numpy()) if len(found) else [])


def _models(unseen: Any, level: float) -> pd.DataFrame:
    """Return accuracy and generalization of every model, the maximum over layers of the mean."""
    rows = []
    for (metric, model), own in groups(unseen, ["metric", "model"]):
        if metric not in JUDGED:
            continue
        cube = complete(own.pivot_table(index="split", columns="place", values="value"))
        if not cube.size or cube.columns[-1] != own["place"].max():  # the last layer has no value
            continue
        best = cube.mean().idxmax()
        score = selection.mean_interval(cube[best].to_numpy(), level)
        same = own[own["split"].isin(cube.index)]
        right = same.drop_duplicates(["split", "seed"]).groupby("split")["seen_accuracy"].mean()
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

    Of networks that have layers with places. Readouts: those of such a layer, raw; plain ones
    without the top-left place and without whitening, which is no place to read but a rescaling.
    Normalisations:
    of every layer under its default readout. Layers: under their default readouts, raw.
    """
    found = []
    for metric, own in groups(rows, "metric"):
        ranges: dict[str, list[float]] = {kind: [] for kind in _KINDS}
        for _, network in groups(own, ["model", "split", "seed"]):
            if not (network["readout"] == "mean").any():
                continue
            default = _under_default(network)
            for _, layer in groups(of(network, normalisation="raw"), "layer"):
                if (layer["readout"] == "mean").any():
                    ranges["readouts"].append(_range(layer["value"]))
                    plain = layer[~layer["readout"].isin(EXTREME)]
                    ranges["plain_readouts"].append(_range(plain["value"]))
            ranges["normalisations"] += [
                _range(layer["value"]) for _, layer in groups(default, "layer")
            ]
            ranges["layers"].append(_range(of(default, normalisation="raw")["value"]))
        means = {
            kind: float(np.nanmean(each)) if np.isfinite(each).any() else np.nan
            for kind, each in ranges.items()
        }
        found.append({"metric": metric, **means})
    return pd.DataFrame(found, columns=pd.Index(["metric", *_KINDS]))


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
