"""The page of curvature: optimizers compared by sharpness and error, and pictures of the loss."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.stats

from genjax.metrics.curvature import Density
from genjax.metrics.curvature.weight_matching import ModeConnectivity
from genjax.report import figures_curvature as figures
from genjax.report import layouts
from genjax.report.page import Section, Table
from genjax.report.phrases import bracket, join, significant
from genjax.report.storage import OutputFolder

BASE = "momentum"
"""What other optimizers are compared with."""


class Edge(NamedTuple):
    """Full-batch gradient descent from one start at several learning rates.

    Attributes:
        rates: learning rates, [R].
        steps: of each record, [T].
        top_eigenvalues: of the Hessian, [R, T].
        losses: [R, T].
    """

    rates: Sequence[float]
    steps: np.ndarray
    top_eigenvalues: np.ndarray
    losses: np.ndarray


class Pictures(NamedTuple):
    """What was computed of chosen networks, by optimizer.

    Attributes:
        spectra: density of the eigenvalues of the Hessian.
        slices: rows `first`, `second` (coordinates) and `loss`, on a grid.
        paths: from one seed to another.
        edge: gradient descent at the edge of stability.
    """

    spectra: Mapping[str, Density]
    slices: Mapping[str, pd.DataFrame]
    paths: Mapping[str, ModeConnectivity]
    edge: Edge


def compare(
    rows: pd.DataFrame, level: float, measures: Sequence[str] | None = None
) -> pd.DataFrame:
    """Compare optimizers with `BASE`, seed by seed, each at the learning rate that validates best.

    Measures are compared by the geometric mean of their ratios, with the interval of Student's t
    for the logarithms; where a value is not positive there is none. Errors are compared by their
    mean difference, with the same interval.

    Args:
        rows: one per network: `hp.optimizer`, `hp.learning_rate`, `seed`,
            `metric.validation_accuracy`, `metric.test_error` and `measure.*`.
        level: of the intervals.
        measures: names of those to compare; None: all.

    Returns:
        Rows `optimizer`, `quantity`, `kind` ("ratio" or "difference"), `value`, `low`, `high`,
        `all_low` and `all_high` (for all rows at once) and `pairs` of seeds.

    Example:
        >>> rows = pd.DataFrame({"hp.optimizer": ["momentum"] * 2 + ["sam"] * 2, "seed": [0, 1] * 2,
        ...     "hp.learning_rate": 0.1, "metric.validation_accuracy": 0.9,
        ...     "metric.test_error": [0.1, 0.2, 0.1, 0.1], "measure.norm": [2.0, 2.0, 1.0, 1.0]})
        >>> compare(rows, 0.95)[["quantity", "value"]].to_numpy().tolist()
        [['test_error', -0.05], ['norm', 0.5]]
    """
    chosen = {name: _at_best_rate(own) for name, own in rows.groupby("hp.optimizer")}
    found = []
    for name, own in chosen.items():
        if name == BASE or BASE not in chosen:
            continue
        both = own.join(chosen[BASE].add_suffix(".base"), how="inner")
        for column in ["metric.test_error", *_columns(own, measures)]:
            pair = both[[column, f"{column}.base"]].to_numpy(np.float64)
            pair = pair[np.isfinite(pair).all(axis=1)]
            kind = "difference" if column.startswith("metric.") else "ratio"
            if len(pair) < 2 or (kind == "ratio" and not (pair > 0).all()):
                continue
            found.append((name, column.split(".", 1)[1], kind, pair))
    # For all comparisons at once (Bonferroni): measures are counted by them.
    together = 1 - (1 - level) / max(len(found), 1)
    rows_ = [
        (name, quantity, kind, *_interval(pair, kind, level),
         *_interval(pair, kind, together)[1:], len(pair))
        for name, quantity, kind, pair in found
    ]  # fmt: skip
    columns = ["optimizer", "quantity", "kind", "value", "low", "high", "all_low", "all_high"]
    return pd.DataFrame(rows_, columns=[*columns, "pairs"])


def _columns(rows: pd.DataFrame, measures: Sequence[str] | None) -> list[str]:
    found = [str(c) for c in rows if str(c).startswith("measure.")]
    return found if measures is None else [c for c in found if c.split(".", 1)[1] in measures]


def best_rate(rates: Any, accuracies: Any) -> Any:
    """Return the learning rate with the highest mean accuracy, the smallest of equal ones.

    Example:
        >>> float(best_rate([0.1, 0.1, 0.2], [0.5, 0.7, 0.9]))
        0.2
    """
    means = pd.Series(pd.Series(accuracies).groupby(np.asarray(rates)).mean())
    return means.idxmax()


def _at_best_rate(rows: pd.DataFrame) -> pd.DataFrame:
    # Rates at which some networks did not converge are not in the running: few seeds may be lucky.
    counts = rows.groupby("hp.learning_rate")["seed"].transform("size")
    rows = pd.DataFrame(rows[counts == counts.max()])
    rates = rows["hp.learning_rate"].to_numpy()
    best = best_rate(rates, rows["metric.validation_accuracy"].to_numpy())
    return pd.DataFrame(rows[rates == best]).set_index("seed")


def _interval(pair: np.ndarray, kind: str, level: float) -> tuple[float, float, float]:
    values = np.log(pair[:, 0] / pair[:, 1]) if kind == "ratio" else pair[:, 0] - pair[:, 1]
    back = np.exp if kind == "ratio" else np.asarray
    if np.ptp(values) == 0:  # the same for every seed: no spread to make an interval of
        return float(back(values[0])), np.nan, np.nan
    ends = scipy.stats.ttest_1samp(values, 0.0).confidence_interval(level)
    return float(back(values.mean())), float(back(ends.low)), float(back(ends.high))


def conclusions(compared: pd.DataFrame, pictures: Pictures) -> list[str]:
    """Return what the comparison and the pictures say, in sentences.

    Args:
        compared: from `compare`.
        pictures: what was computed of chosen networks.
    """
    said = []
    for name, own in compared.groupby("optimizer"):
        said += [_error_sentence(name, own), _sharpness_sentence(name, own)]
    return [
        *[s for s in said if s],
        *_path_sentences(pictures.paths),
        _edge_sentence(pictures.edge),
    ]


def _error_sentence(name: Any, own: pd.DataFrame) -> str:
    errors = own[own["quantity"] == "test_error"]
    if not len(errors):
        return ""
    row = errors.iloc[0]
    sure = "excludes" if row["low"] > 0 or row["high"] < 0 else "includes"
    if np.isnan(row["low"]):
        return (
            f"The test error of {name} minus that of {BASE}, each at its best learning rate, is "
            f"{row['value']:.3f} for each of {row['pairs']} seeds, which leaves no interval."
        )
    return (
        f"The test error of {name} minus that of {BASE}, each at its best learning rate, is "
        f"{bracket(row['value'], row['low'], row['high'])} over {row['pairs']} seeds; the interval "
        f"{sure} zero."
    )


def _sharpness_sentence(name: Any, own: pd.DataFrame) -> str:
    ratios = own[own["kind"] == "ratio"]
    if not len(ratios):
        return ""
    flatter = ratios[ratios["all_high"] < 1]["quantity"].tolist()
    sharper = ratios[ratios["all_low"] > 1]["quantity"].tolist()
    open_ = len(ratios) - len(flatter) - len(sharper)
    parts = [
        f"{word} by {len(names)} ({join(names, most=4)})"
        for word, names in (("smaller", flatter), ("larger", sharper))
        if names
    ]
    parts += [f"not told apart by {open_}"] if open_ else []
    return (
        f"Of {len(ratios)} measures, {name} has values beside {BASE} that are {join(parts)} "
        "(intervals for all comparisons at once; at the best learning rate of each)."
    )


def _path_sentences(paths: Mapping[str, ModeConnectivity]) -> list[str]:
    shown = [
        f"{significant(float(p.plain.barrier))} ({significant(float(p.matched.barrier))} after "
        f"matching units) for {name}"
        for name, p in paths.items()
    ]
    if not shown:
        return []
    return [f"On the line between two seeds the loss rises above the chord by {join(shown)}."]


def _edge_sentence(edge: Edge) -> str:
    late = edge.top_eigenvalues[:, -(-len(edge.steps) * 3 // 4) :]
    shown = [
        f"{significant(float(np.median(own)))} for 2/learning rate = {significant(2 / rate)}"
        for own, rate in zip(late, edge.rates, strict=True)
    ]
    return (
        "In full-batch gradient descent on the squared loss the top eigenvalue of the Hessian is, "
        f"as median of the last quarter of the records, {join(shown)}."
    )


def section(output: OutputFolder, compared: pd.DataFrame, pictures: Pictures) -> list[Section]:
    """Draw the figures into the folder and return the parts of the page.

    Args:
        output: the folder.
        compared: from `compare`.
        pictures: what was computed of chosen networks.
    """
    return [
        Section(
            "Optimizers beside each other",
            ["Every optimizer at the learning rate whose networks validate best, seed by seed."],
            layouts.draw(output, "optimizers", figures.ratios, compared, caption=_RATIOS),
            [_table(compared)],
            "Ratios and differences are paired by seed: the same start, the same order of batches.",
        ),
        Section(
            "The loss around the networks",
            figures=[
                *layouts.draw(
                    output, "spectra", figures.densities, pictures.spectra, caption=_SPECTRA
                ),
                *layouts.draw(output, "slices", figures.slices, pictures.slices, caption=_SLICES),
                *layouts.draw(output, "paths", figures.paths, pictures.paths, caption=_PATHS),
            ],
        ),
        Section(
            "The edge of stability",
            figures=layouts.draw(output, "edge", figures.edge, pictures.edge, caption=_EDGE),
        ),
    ]


_RATIOS = f"Measures and test error of every optimizer beside {BASE}; lines are intervals."
_SPECTRA = (
    "Density of the eigenvalues of the Hessian at one network of each optimizer (stochastic "
    "Lanczos quadrature), logarithmic."
)
_SLICES = (
    "Loss on a plane through one network of each optimizer, in two filter-normalised directions; "
    "coordinates are in lengths of the filters."
)
_PATHS = "Loss on the line between two seeds, as they are and after matching their hidden units."
_EDGE = (
    "Top eigenvalue of the Hessian along full-batch gradient descent; dashed lines are 2 / learning"
    " rate, where a quadratic would become unstable."
)


def _table(compared: pd.DataFrame) -> Table:
    rows = [
        (r["optimizer"], r["quantity"], r["kind"], (r["value"], r["low"], r["high"]), r["pairs"])
        for r in compared.to_dict("records")
    ]
    columns = ("optimizer", "quantity", "compared by", f"beside {BASE}", "seeds")
    return Table(f"Optimizers beside {BASE}", columns, rows)
