"""Errors over sizes, widths and noise rates: means, laws, and laws tested on larger sizes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from experiments import pools
from experiments.study import Parts
from genjax.data import Examples
from genjax.errors import InvalidInputError
from genjax.intervals import mean_interval
from genjax.metrics import calibration, outputs
from genjax.statistics import power_law
from genjax.statistics.resampled_tests import jackknife_interval
from genjax.training.segment import DIVERGED

MEASURES = ("error", "nats")
FORMS = ("power", "power and offset")

Found = Mapping[str, Mapping[str, np.ndarray]]


def judged(rates: Sequence[float], parts: Parts, seed: int) -> tuple[Examples, np.ndarray]:
    """Return training and validation examples in one, and which judge at each noise rate.

    A network is stopped by validation labels that are wrong as often as those it is trained on.

    Returns:
        The examples, and positions in them, `[rates, validation examples]`.
    """
    pieces = [parts.train]
    pieces += [pools.with_noise(parts.validation, r, seed) for r in rates]
    known = Examples(
        np.concatenate([piece.images for piece in pieces]),
        np.concatenate([piece.labels for piece in pieces]),
        parts.train.class_names,
        parts.train.name,
    )
    shape = len(rates), len(parts.validation)
    return known, len(parts.train) + np.arange(np.prod(shape)).reshape(shape)


def scores(group: Any, test: Examples, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Return error and cross-entropy on test examples, `[rates, sizes, seeds]`; NaN of diverged."""
    logits = outputs.group_logits(group, test.images)
    each = calibration.example_scores(logits, test.labels)
    wrong = np.asarray(each.prediction) != test.labels[None]
    dead = group.status == DIVERGED
    return {
        "error": np.where(dead, np.nan, wrong.mean(-1)).reshape(shape),
        "nats": np.where(dead, np.nan, np.asarray(each.nll, np.float64).mean(-1)).reshape(shape),
    }


def tables(config: Any, found: Found) -> dict[str, pd.DataFrame]:
    """Return the tables of the experiment.

    Args:
        config: of the experiment.
        found: "examples" and "width" -> measure -> `[rates, sizes, seeds]`.

    Returns:
        `networks` (a row per network), `means` (with intervals over seeds), `fits` (a row per axis,
        rate, measure and form), `curves` (what the laws give), `extrapolation` (predicted over
        measured at sizes that were not fitted), `noise` (changes of the exponent).
    """
    rows: dict[str, list[Any]] = {name: [] for name in ("networks", "means", "fits", "curves",
                                                        "extrapolation", "noise")}  # fmt: skip
    for axis, sizes in (("examples", config.sizes), ("width", config.widths)):
        sizes = np.asarray(sizes)
        for measure in MEASURES:
            values = found[axis][measure]
            laws = {}
            for k in range(len(values)):
                rate = float(config.label_noise[k])
                known = {"axis": axis, "noise": rate, "measure": measure}
                _means(rows, known, sizes, values[k], config.level)
                laws[rate] = _laws(rows, known, sizes, values[k].T, config)
            _noise(rows, {"axis": axis, "measure": measure}, laws, config.level)
    return {name: pd.DataFrame(own, columns=_COLUMNS.get(name)) for name, own in rows.items()}


_KNOWN = ["axis", "noise", "measure", "form"]
_COLUMNS = {  # of tables that are empty where nothing could be fitted
    "noise": ["axis", "measure", "noise", "value", "low", "high"],
    "fits": [
        *_KNOWN, "from", "to", "alpha", "low", "high", "offset", "offset_low", "offset_high",
        "scale", "residual",
    ],
    "curves": [*_KNOWN, "size", "value"],
    "extrapolation": [*_KNOWN, "size", "times", "value", "low", "high"],
}  # fmt: skip


def _means(rows, known, sizes: np.ndarray, values: np.ndarray, level: float) -> None:
    for size, own in zip(sizes, values, strict=True):
        rows["networks"] += [
            {**known, "size": size, "seed": seed, "value": v} for seed, v in enumerate(own)
        ]
        own = own[np.isfinite(own)]
        mean = own.mean() if len(own) else np.nan
        low, high = mean_interval(own, level)
        rows["means"].append({**known, "size": size, "value": mean, "low": low, "high": high})


def _laws(rows, known, sizes: np.ndarray, values: np.ndarray, config: Any) -> Any:
    """Fit both forms and test them beyond; return the fit without an offset, None if none."""
    first = None
    seen, beyond = slice(None, -config.beyond), slice(-config.beyond, None)
    for form, offset in zip(FORMS, (False, True), strict=True):
        try:
            one = power_law.fit(sizes[seen], values[:, seen], offset=offset, level=config.level)
            ratio = power_law.extrapolate(
                sizes[seen], values[:, seen], sizes[beyond], values[:, beyond], offset=offset,
                level=config.level,
            )  # fmt: skip
        except InvalidInputError:  # too many networks diverged
            continue
        first = one if first is None else first
        rows["fits"].append({
            **known, "form": form, "from": sizes[0], "to": sizes[seen][-1],
            "alpha": one.exponent.value, "low": one.exponent.low, "high": one.exponent.high,
            "offset": one.offset.value, "offset_low": one.offset.low,
            "offset_high": one.offset.high, "scale": one.law.scale, "residual": one.law.residual,
        })  # fmt: skip
        rows["curves"] += [
            {**known, "form": form, "size": n, "value": v}
            for n, v in zip(sizes, one.law.at(sizes), strict=True)
        ]
        rows["extrapolation"] += [
            {**known, "form": form, "size": n, "times": n / sizes[seen][-1],
             "value": v, "low": low, "high": high}
            for n, v, low, high in zip(sizes[beyond], *ratio, strict=True)  # type: ignore[call-overload]
        ]  # fmt: skip
    return first


def _noise(rows, known, laws: Mapping[float, Any], level: float) -> None:
    """Add changes of the exponent from clean labels to each rate of noise, on the same seeds."""
    clean = laws.get(0.0)
    for rate, noisy in laws.items():
        if rate == 0 or clean is None or noisy is None:
            continue
        if not np.array_equal(clean.seeds, noisy.seeds):  # some diverged
            continue
        apart = noisy.exponent.value - clean.exponent.value
        over = noisy.left_out[:, 0] - clean.left_out[:, 0]
        low, high = jackknife_interval(apart, over, level)
        rows["noise"].append({**known, "noise": rate, "value": apart, "low": low, "high": high})
