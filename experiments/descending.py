"""Errors along an axis of size: of random features, and of networks by width, examples and time."""

import itertools
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from experiments import pools
from experiments.pools import Pool
from genjax.data import splits
from genjax.intervals import mean_interval
from genjax.metrics import outputs
from genjax.report.layers import groups
from genjax.statistics.double_descent import random_features_risk, second_descent
from genjax.training.resamples import Own, train_resamples


def sphere(rng: np.random.Generator, count: int, dimension: int) -> np.ndarray:
    """Return points `[count, dimension]`, uniform on the sphere of radius sqrt(dimension)."""
    drawn = rng.normal(size=(count, dimension))
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True) * np.sqrt(dimension)


def minimum_norm(seen: np.ndarray, targets: np.ndarray, unseen: np.ndarray) -> np.ndarray:
    """Return predictions of least squares of minimum norm, in float64 on the host."""
    with threadpool_limits(limits=1):  # these are too small for more
        return unseen @ np.linalg.lstsq(seen, targets, rcond=None)[0]


def simulated(config: Any) -> dict[str, np.ndarray]:
    """Return excess risks of random ReLU features of a linear signal, `[trials, counts]`."""
    asked = config.simulated
    d = asked.dimension
    risks = np.empty((asked.trials, len(asked.features)))
    for trial in range(asked.trials):
        rng = np.random.default_rng([config.seed, 1, trial])
        seen, unseen = sphere(rng, asked.examples, d), sphere(rng, asked.test_examples, d)
        signal = sphere(rng, 1, d)[0] / np.sqrt(d)
        targets = seen @ signal + np.sqrt(asked.noise) * rng.normal(size=asked.examples)
        weights = sphere(rng, max(asked.features), d)
        activations = [np.maximum(x @ weights.T / np.sqrt(d), 0) for x in (seen, unseen)]
        for k, count in enumerate(asked.features):
            found = minimum_norm(activations[0][:, :count], targets, activations[1][:, :count])
            risks[trial, k] = np.mean((found - unseen @ signal) ** 2)
    return {"risk": risks}


def samples(config: Any, pool: Pool, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return positions `[seeds, size]` and labels `[noises, seeds, size]` of training sets.

    What is drawn for a smaller size begins what is drawn for a larger one, labels included.
    """
    whole = len(pool.train)
    orders = np.stack(
        [np.random.default_rng([config.seed, 2, s]).permutation(whole) for s in range(config.seeds)]
    )
    labels = np.empty((len(config.label_noises), config.seeds, whole), np.int64)
    for (k, noise), seed in itertools.product(enumerate(config.label_noises), range(config.seeds)):
        own = pool.train.labels[orders[seed]]
        drawn = splits.label_noise(
            own, noise, pool.train.num_classes, seed=config.seed * 1000 + seed
        )
        labels[k, seed] = drawn.labels
    return orders[:, :size], labels[:, :, :size]


def features(config: Any, pool: Pool) -> dict[str, np.ndarray]:
    """Return test errors of random ReLU features of images, `[noises, seeds, places]`.

    Returns:
        `features` (over their number) and `feature_examples` (over examples at a fixed number).
    """
    asked, classes = config.features, pool.train.num_classes
    orders, labels = samples(config, pool, max(asked.examples, *asked.sizes))
    seen, unseen = (
        part.images.reshape(len(part), -1).astype(np.float64) for part in (pool.train, pool.test)
    )
    axes = {
        "features": [(asked.examples, count) for count in asked.counts],
        "feature_examples": [(size, asked.fixed) for size in asked.sizes],
    }
    found = {
        name: np.empty((len(labels), config.seeds, len(pairs))) for name, pairs in axes.items()
    }
    centre, noises = seen.mean(axis=0), len(labels)
    for seed in range(config.seeds):
        rng = np.random.default_rng([config.seed, 3, seed])
        weights = sphere(rng, max(*asked.counts, asked.fixed), seen.shape[1]).T
        train = np.maximum((seen[orders[seed]] - centre) @ weights, 0)
        test = np.maximum((unseen - centre) @ weights, 0)
        # Targets of all shares of wrong labels are columns of one problem.
        targets = np.concatenate(list(np.eye(classes)[labels[:, seed]]), axis=1)
        for name, pairs in axes.items():
            for k, (n, count) in enumerate(pairs):
                scores = minimum_norm(train[:n, :count], targets[:n], test[:, :count])
                chosen = scores.reshape(len(test), noises, classes).argmax(axis=-1)
                wrong = chosen != pool.test.labels[:, None]
                found[name][:, seed, k] = wrong.mean(axis=0)
    return found


def trained(
    config: Any, pool: Pool, width: int, sizes: tuple[int, ...], on_progress: Any
) -> dict[str, np.ndarray]:
    """Train networks of one width on samples of these sizes, for every share of wrong labels.

    Returns:
        `train` and `test`, errors `[noises, seeds, sizes]`, and their records over time,
        `train_records` and `test_records`, `[records, noises, seeds, sizes]`; NaN of diverged
        networks.
    """
    largest = max(sizes)
    orders, labels = samples(config, pool, largest)
    noises, seeds = labels.shape[:2]
    drawn, given, numbers = [], [], []
    for k, seed, size in itertools.product(range(noises), range(seeds), sizes):
        drawn.append(pools.repeated(orders[seed : seed + 1, :size], largest)[0])
        given.append(pools.repeated(labels[k, seed : seed + 1, :size], largest)[0])
        numbers.append(seed)  # a seed has its start and order of batches, whatever the size
    group = train_resamples(
        pools.network_of(pool.train, "mlp", {"widths": (width,)}), pools.rules(config), pool.train,
        Own(np.stack(drawn), np.stack(given), pools.hyper(config)),
        pools.keys(config.seed, numbers), held_out=pool.test, on_progress=on_progress,
    )  # fmt: skip
    shape = (noises, seeds, len(sizes))
    wrong = outputs.group_errors(group, pool.test)
    records = (
        1 - np.asarray(group.history.accuracy),
        1 - np.asarray(group.history.validation_accuracy),
    )
    return {
        "train": np.where(np.isfinite(wrong), 1 - group.last("accuracy"), np.nan).reshape(shape),
        "test": wrong.reshape(shape),
        "train_records": records[0].reshape(-1, *shape),
        "test_records": records[1].reshape(-1, *shape),
        "steps": group.history_steps,
    }


def closed_form(config: Any, risk: np.ndarray) -> pd.DataFrame:
    """Return simulated risks beside their limit, a row per number of features.

    Args:
        config: of the experiment.
        risk: `[trials, counts]`.
    """
    asked, rows = config.simulated, []
    for k, count in enumerate(asked.features):
        exact = random_features_risk(
            count / asked.dimension, asked.examples / asked.dimension, noise=asked.noise
        )
        low, high = mean_interval(risk[:, k], config.level)
        within = bool(low <= exact <= high)
        rows.append((count, exact, risk[:, k].mean(), low, high, within))
    return pd.DataFrame(rows, columns=["features", "closed", "value", "low", "high", "within"])


def long(
    config: Any, axis: str, places: Any, test: np.ndarray, train: np.ndarray | None = None
) -> pd.DataFrame:
    """Return a row per share of wrong labels, seed and place.

    Args:
        config: of the experiment.
        axis: name of the axis.
        places: on it.
        test: errors `[noises, seeds, places]`.
        train: the same of training examples, if known.
    """
    rows = [
        (axis, config.label_noises[k], int(place), seed, test[k, seed, p],
         np.nan if train is None else train[k, seed, p])
        for k, seed, (p, place) in itertools.product(
            range(len(test)), range(test.shape[1]), enumerate(places)
        )
    ]  # fmt: skip
    return pd.DataFrame(
        rows, columns=["axis", "label_noise", "x", "seed", "test_error", "train_error"]
    )


def tables(config: Any, errors: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return `curves` (means with intervals over seeds) and `descents` (what rises and falls)."""
    curves, descents = [], []
    for (axis, noise), own in groups(errors, ["axis", "label_noise"]):
        wide = own.pivot(index="seed", columns="x", values="test_error").dropna()
        for x, part in groups(own, "x"):
            test = part["test_error"].dropna().to_numpy()
            low, high = mean_interval(test, config.level)
            mean = test.mean() if len(test) else np.nan
            curves.append((axis, noise, x, mean, low, high, part["train_error"].mean(), len(test)))
        places = wide.columns.to_numpy()
        found = second_descent(wide.to_numpy(), config.level) if len(wide) > 1 else None
        if found is None:
            descents.append((axis, noise, len(wide), False, *[np.nan] * 13))
            continue
        start = np.nan if found.start is None else places[found.start]
        where = places[[found.dip, found.peak, found.end]]
        descents.append((
            axis, noise, len(wide), found.shown, start, *where, *found.first, *found.rise,
            *found.fall,
        ))  # fmt: skip
    return {
        "curves": pd.DataFrame(
            curves,
            columns=["axis", "label_noise", "x", "value", "low", "high", "train_error", "seeds"],
        ),
        "descents": pd.DataFrame(
            descents,
            columns=["axis", "label_noise", "seeds", "shown", "start", "dip", "peak", "end",
                     "first", "first_low", "first_high", "rise", "rise_low", "rise_high",
                     "fall", "fall_low", "fall_high"],
        ),
    }  # fmt: skip
