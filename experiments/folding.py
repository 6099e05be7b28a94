"""Folds of a cross-validation: what networks score on them, and tables of it."""

import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from experiments.pools import Pool
from genjax.intervals import mean_interval
from genjax.metrics import calibration, outputs
from genjax.statistics.chance import holm
from genjax.statistics.resampled_tests import ResampledTest, corrected_test
from genjax.training.segment import DIVERGED

SCORES = ("error", "squared", "nll", "overconfidence")
"""Of every part: 0-1 loss, Brier score, nats, and mean confidence minus accuracy."""

Found = Mapping[str, Mapping[str, np.ndarray]]


class Ready(NamedTuple):
    """Examples, and who is trained on.

    Attributes:
        pool: of all folds, its number of examples a multiple of k; and the test examples.
        train: positions in the pool, `[repeats * k, n1]`, repeats first.
        held_out: the others, `[repeats * k, n2]`.
    """

    pool: Pool
    train: np.ndarray
    held_out: np.ndarray


def short(name: str, options: Mapping[str, Any]) -> str:
    """Return what a model is called in tables: its name and the sizes that its options give."""
    sizes = [
        "x".join(map(str, v)) if isinstance(v, tuple | list) else f"{k}={v}"
        for k, v in options.items()
    ]
    return " ".join([name, *sizes])


def scores(group: Any, ready: Ready, repeats: int) -> dict[str, Any]:
    """Return every score by part and network, accuracy per class, and bins of the confidence.

    Numbers of networks that diverged are NaN.
    """
    train, test = ready.pool
    alive = group.status != DIVERGED
    found: dict[str, Any] = {"alive": alive}
    for part, own in (("train", ready.train), ("validation", ready.held_out), ("test", None)):
        logits = outputs.group_logits(group, test.images if own is None else train.images, own)
        labels = [test.labels] * len(logits) if own is None else list(train.labels[own])
        means, wrong = zip(*map(_of_network, logits, labels), strict=True)
        for name, values in zip(SCORES, np.array(means).T, strict=True):
            found[f"{part}_{name}"] = np.where(alive, values, np.nan)
        if part == "test":
            kept = np.stack(wrong)[alive] if alive.any() else np.full((1, len(test)), np.nan)
            found["test_wrong"] = kept.mean(axis=0)
        if part == "validation":
            found["class_accuracy"] = np.array(
                [[1 - w[y == c].mean() for c in range(train.num_classes)]
                 for w, y in zip(wrong, labels, strict=True)]
            )  # fmt: skip
            found |= _bins(logits, np.stack(labels), alive, repeats)
    return found


def _of_network(logits: np.ndarray, labels: np.ndarray) -> tuple[tuple[float, ...], np.ndarray]:
    found = calibration.example_scores(logits, labels)
    wrong = (np.asarray(found.prediction) != labels).astype(np.float64)
    confidence, brier, nll = (
        np.asarray(v, np.float64).mean() for v in (found.confidence, found.brier, found.nll)
    )
    return (wrong.mean(), brier, nll, confidence - 1 + wrong.mean()), wrong


def _bins(
    logits: np.ndarray, labels: np.ndarray, alive: np.ndarray, repeats: int
) -> dict[str, np.ndarray]:
    """Return reliability by repeat: all of its folds together hold every example once."""
    tables = []
    for own, truth, kept in zip(
        np.split(logits, repeats), np.split(labels, repeats), np.split(alive, repeats), strict=True
    ):
        if kept.all():
            tables.append(calibration.reliability(np.concatenate(own), truth.ravel()))
    names = calibration.Reliability._fields
    empty = np.zeros((0, calibration.BINS))
    found = {
        f"bins_{name}": np.stack([getattr(t, name) for t in tables]) if tables else empty
        for name in names
    }
    errors = [float(calibration.expected_calibration_error(table)) for table in tables]
    return {**found, "ece": np.array(errors)}


def tables(found: Found, ready: Ready, folds: int, level: float) -> dict[str, pd.DataFrame]:
    """Return the tables of the experiment.

    Returns:
        `errors` (a row per model and quantity), `comparisons` (per pair of models), `classes` (per
        model and class), `reliability` (per model and bin), `folds` (per network).
    """
    sizes = (ready.train.shape[1], ready.held_out.shape[1])
    names = ready.pool.train.class_names
    return {
        "errors": _errors(found, sizes, level),
        "comparisons": _comparisons(found, sizes, level),
        "classes": _classes(found, names, sizes, level),
        "reliability": _reliability(found),
        "folds": _folds(found, folds),
    }


def _tested(values: np.ndarray, sizes: tuple[int, int], level: float) -> ResampledTest:
    values = values[np.isfinite(values)]
    if len(values) < 2:  # the others diverged
        return ResampledTest(*[np.nan] * 6, 0)  # type: ignore[arg-type]
    return corrected_test(values, *sizes, level)


def _mean_of_finite(values: np.ndarray) -> float:
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else np.nan


def _errors(found: Found, sizes: tuple[int, int], level: float) -> pd.DataFrame:
    rows = []
    for model, own in found.items():
        gap = own["validation_error"] - own["train_error"]
        quantities = {"gap": gap} | {
            f"{part} {score}": own[f"{part}_{score}"]
            for part in ("train", "validation")
            for score in SCORES
        }
        for name, values in quantities.items():
            one = _tested(values, sizes, level)
            rows.append((model, name, one.mean, one.low, one.high))
        # Networks share the test examples: what varies is who these examples are.
        wrong = own["test_wrong"]
        rows.append((model, "test error", wrong.mean(), *mean_interval(wrong, level)))
        rows.extend(
            (model, f"test {score}", _mean_of_finite(own[f"test_{score}"]), np.nan, np.nan)
            for score in SCORES[1:]
        )
        ece = own["ece"].mean() if len(own["ece"]) else np.nan
        rows.append((model, "validation ece", ece, np.nan, np.nan))
        rows.append((model, "diverged", float((~own["alive"]).sum()), np.nan, np.nan))
    return pd.DataFrame(rows, columns=["model", "quantity", "value", "low", "high"])


def _comparisons(found: Found, sizes: tuple[int, int], level: float) -> pd.DataFrame:
    rows = []
    for a, b in itertools.combinations(found, 2):
        apart = found[a]["validation_error"] - found[b]["validation_error"]
        one = _tested(apart, sizes, level)
        on_test = found[a]["test_wrong"] - found[b]["test_wrong"]
        low, high = mean_interval(on_test, level)
        rows.append({
            "a": a, "b": b, "difference": one.mean, "low": one.low, "high": one.high,
            "t": one.statistic, "p": one.p_value, "naive_p": one.naive_p_value,
            "test_difference": on_test.mean(), "test_low": low, "test_high": high,
        })  # fmt: skip
    table = pd.DataFrame(rows)
    known = np.isfinite(table["p"].to_numpy())
    table["holm_p"] = np.nan
    table["naive_holm_p"] = np.nan
    table.loc[known, "holm_p"] = holm(table.loc[known, "p"].to_numpy())
    table.loc[known, "naive_holm_p"] = holm(table.loc[known, "naive_p"].to_numpy())
    return table


def _classes(
    found: Found, names: tuple[str, ...], sizes: tuple[int, int], level: float
) -> pd.DataFrame:
    rows = []
    for model, own in found.items():
        for place, name in enumerate(names):
            one = _tested(own["class_accuracy"][own["alive"], place], sizes, level)
            ends = np.clip([one.low, one.high], 0, 1)  # an accuracy
            rows.append((model, name, place, one.mean, *ends))
    return pd.DataFrame(rows, columns=["model", "class", "place", "value", "low", "high"])


def _reliability(found: Found) -> pd.DataFrame:
    rows = []
    for model, own in found.items():
        examples = own["bins_examples"].astype(np.float64)
        total = examples.sum(axis=0)
        for k in np.flatnonzero(total >= 10):  # of fewer the accuracy says nothing
            weights = examples[:, k]
            means = [
                np.nansum(weights * np.nan_to_num(own[f"bins_{name}"][:, k])) / total[k]
                for name in ("confidence", "accuracy")
            ]
            rows.append((model, int(k), total[k] / len(examples), *means))
    return pd.DataFrame(rows, columns=["model", "bin", "examples", "confidence", "accuracy"])


def _folds(found: Found, folds: int) -> pd.DataFrame:
    rows = []
    for model, own in found.items():
        for network in range(len(own["alive"])):
            rows.append({
                "model": model, "repeat": network // folds, "fold": network % folds,
                **{f"{part}_{score}": own[f"{part}_{score}"][network]
                   for part in ("train", "validation", "test") for score in SCORES},
            })  # fmt: skip
    return pd.DataFrame(rows)
