"""One example replaced: how much a network changes, and whether that is its gap."""

from typing import Any

import jax
import numpy as np
import pandas as pd

from experiments.pools import network_of, rules
from experiments.study import Work
from genjax import report
from genjax.data import Examples
from genjax.intervals import mean_interval
from genjax.metrics.information import stability
from genjax.training import HyperParameters

QUANTITIES = ("average", "hypothesis", "pointwise", "uniform", "gap")
BOUNDS = ("pointwise", "uniform")
"""What is no less than the gap in expectation; the average equals it, hypothesis is no bound."""


def against_size(config: Any, examples: Examples, work: Work) -> dict[str, pd.DataFrame]:
    """Retrain with one example replaced, for samples of every size.

    Returns:
        `stability` (a row per size and sample) and `information` (a row per size and notion of
        stability, with intervals over samples, beside the gap).
    """
    asked = config.stability
    rng = np.random.default_rng(config.seed)
    order = rng.permutation(len(examples))
    pool, test = examples.take(order[: len(order) // 2]), examples.take(order[len(order) // 2 :])
    network = network_of(examples, config.model.name, config.model.options)
    total = len(asked.sizes) * asked.samples * (asked.replacements + 1)
    rows = []
    with report.terminal.progress("stability", unit="networks") as advance:
        for size in asked.sizes:
            for seed in range(asked.samples):
                advance(len(rows) * (asked.replacements + 1), total, f"n = {size}")

                def compute(size=size, seed=seed):
                    drawn = stability.replace_one(
                        len(pool), sample_size=size, replacements=asked.replacements,
                        seed=config.seed * 1000 + seed,
                    )  # fmt: skip
                    key = jax.random.fold_in(jax.random.key(config.seed), seed)
                    group = stability.retrain(
                        network, rules(config), pool, drawn.samples, key,
                        hyper=HyperParameters(**config.hyper),
                    )  # fmt: skip
                    found = stability.measure(group, pool, drawn, test)
                    return {name: getattr(found, name) for name in QUANTITIES}

                kept = work.kept(f"stability_{size}_{seed}", compute)
                rows.append({"n": size, "seed": seed, **{k: float(v) for k, v in kept.items()}})
        advance(total, total, "stability")
    found = pd.DataFrame(rows)
    return {"information": _summary(found, config.level), "stability": found}


def _summary(found: pd.DataFrame, level: float) -> pd.DataFrame:
    rows = []
    for size, own in found.groupby("n"):
        gap = own["gap"].mean()
        for name in QUANTITIES:
            values = own[name].to_numpy()
            low, high = mean_interval(values, level)
            rows.append({
                "experiment": "stability", "n": size, "depth": np.nan, "seed": np.nan,
                "bound": name, "value": values.mean(), "low": low, "high": high, "gap": gap,
                "vacuous": bool(values.mean() >= 1) if name in BOUNDS else None,
                "holds": bool(values.mean() >= gap) if name in BOUNDS else None,
            })  # fmt: skip
    return pd.DataFrame(rows)
