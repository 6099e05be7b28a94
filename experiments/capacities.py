"""Random labels, images and signs: who is trained on what, and tables of what was fitted."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import pandas as pd

from experiments import pools
from experiments.pools import Pool
from genjax import models
from genjax.data import Examples, randomised
from genjax.intervals import mean_interval
from genjax.metrics import outputs
from genjax.metrics.complexity import growth
from genjax.metrics.complexity.capacity import vc_bound
from genjax.models import Network
from genjax.training.segment import DIVERGED, REACHED


def images_of(
    train: Examples, test: Examples, seed: int
) -> tuple[Examples, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return all forms of all images as one set, and where those to train and to test on are.

    Training and test images of a form are made together: shuffled ones share their order.
    """
    both = np.concatenate([train.images, test.images])
    labels = np.concatenate([train.labels, test.labels])
    images = [randomised.randomised_images(both, form, seed=seed) for form in randomised.INPUTS]
    count, first = len(randomised.INPUTS), np.arange(len(train))
    rest = np.arange(len(train), len(both))
    whole = Examples(
        np.concatenate(images), np.tile(labels, count), train.class_names, "randomised"
    )
    places = {form: k * len(both) for k, form in enumerate(randomised.INPUTS)}
    return (
        whole,
        {form: first + place for form, place in places.items()},
        {form: rest + place for form, place in places.items()},
    )


def fitted(
    group: Any, everything: Examples, judged: np.ndarray, shape: tuple[int, int]
) -> dict[str, np.ndarray]:
    """Return steps taken, training error, test error against true labels, and whether fitted.

    Each `[conditions, seeds]`; numbers of a network that diverged are NaN.
    """
    logits = outputs.group_logits(group, everything.images, judged)
    wrong = (logits.argmax(-1) != everything.labels[judged]).mean(-1)
    alive = group.status != DIVERGED
    found = {
        "steps": group.stop_step.astype(np.float64),
        "train_error": 1 - group.last("accuracy"),
        "test_error": wrong,
    }
    known = {name: np.where(alive, v, np.nan).reshape(shape) for name, v in found.items()}
    return {**known, "reached": (group.status == REACHED).reshape(shape)}


def sign_network(examples: Examples, width: int, depth: int) -> Network:
    """Return the network whose class of signs is measured: that of its first logit's lead."""
    return models.create(
        "mlp", image_shape=examples.image_shape, num_classes=2, widths=(width,) * depth
    )


def random_signs(config: Any, available: int) -> tuple[np.ndarray, np.ndarray]:
    """Return positions and signs (0 or 1), `[sizes * seeds, largest size]`, sets of a seed nested.

    Sets are drawn at random, not by class: signs know of no class.
    """
    largest = max(config.signs.sizes)
    rng = np.random.default_rng(config.seed)
    orders = np.stack([rng.permutation(available)[:largest] for _ in range(config.seeds)])
    signs = rng.integers(2, size=orders.shape)
    return tuple(
        np.concatenate([pools.repeated(whole[:, :n], largest) for n in config.signs.sizes])
        for whole in (orders, signs)
    )  # type: ignore[return-value]


def gains(group: Any) -> np.ndarray:
    """Return `(1/n) sum_i s_i f(x_i)` of every network, f its signs: twice the accuracy minus 1.

    The most along training: each record is a member of the class, so all are at most its supremum.
    NaN of a network that diverged before its first record.
    """
    finite = np.isfinite(np.asarray(group.history.loss))
    accuracy = np.where(finite, np.asarray(group.history.accuracy), np.nan)
    return 2 * np.fmax.reduce(accuracy, axis=0).astype(np.float64) - 1


def tables(
    config: Any,
    conditions: list[tuple[float, str]],
    pool: Pool,
    fits: Mapping[str, np.ndarray],
    gained: Mapping[int, Mapping[str, np.ndarray]],
) -> dict[str, pd.DataFrame]:
    """Return the tables of the experiment.

    Returns:
        `fits` (a row per condition: who fitted, steps beside those of true labels and of random
        ones, errors), `networks` (a row per network), `rademacher` (a row per width and size, with
        bounds), `draws`.
    """
    rows, networks = [], []
    random = [share for share, _ in conditions].index(1.0)
    for k, (share, form) in enumerate(conditions):
        own = {name: np.asarray(values[k]) for name, values in fits.items()}
        networks += [
            {"random_labels": share, "images": form, "seed": seed,
             **{name: values[seed] for name, values in own.items()}}
            for seed in range(config.seeds)
        ]  # fmt: skip
        rows.append({
            "random_labels": share, "images": form, "seeds": config.seeds,
            "reached": int(own["reached"].sum()),
            "diverged": int(np.isnan(own["test_error"]).sum()),
            **_named("times", _ratio(own["steps"], fits["steps"][0], config.level)),
            **_named("to_random", _ratio(own["steps"], fits["steps"][random], config.level)),
            **_named("steps", _mean(own["steps"], config.level)),
            **_named("train_error", _share(own["train_error"], config.level)),
            **_named("test_error", _share(own["test_error"], config.level)),
        })  # fmt: skip
    draws = [
        {"width": width, "n": size, "draw": draw, "gain": gain}
        for width, own in gained.items()
        for size, each in zip(config.signs.sizes, own["gain"], strict=True)
        for draw, gain in enumerate(each)
    ]
    return {
        "fits": pd.DataFrame(rows),
        "networks": pd.DataFrame(networks),
        "rademacher": _rademacher(config, pool, gained),
        "draws": pd.DataFrame(draws),
    }


def _mean(values: np.ndarray, level: float) -> tuple[float, float, float]:
    values = values[np.isfinite(values)]
    if not len(values):
        return np.nan, np.nan, np.nan
    return float(values.mean()), *mean_interval(values, level)


def _share(values: np.ndarray, level: float) -> tuple[float, float, float]:
    value, low, high = _mean(values, level)
    return value, float(np.clip(low, 0, 1)), float(np.clip(high, 0, 1))


def _named(name: str, numbers: tuple[float, float, float]) -> dict[str, float]:
    return dict(zip((name, f"{name}_low", f"{name}_high"), numbers, strict=True))


def _ratio(steps: np.ndarray, base: np.ndarray, level: float) -> tuple[float, float, float]:
    """Return steps over other steps, geometric mean over the same seeds."""
    value, low, high = np.exp(_mean(np.log(steps) - np.log(base), level))
    return float(value), float(low), float(high)


def _rademacher(config: Any, pool: Pool, gained: Any) -> pd.DataFrame:
    rows = []
    for width, own in gained.items():
        network = sign_network(pool.train, width, config.signs.depth)
        parameters, _ = jax.eval_shape(network.init, jax.random.key(0))
        leaves = jax.tree.leaves(parameters)
        kernels = [int(np.prod(leaf.shape)) for leaf in leaves if len(leaf.shape) > 1]
        height, across, _ = network.image_shape
        dimension = vc_bound(kernels, height * across)
        for size, gain in zip(config.signs.sizes, own["gain"], strict=True):
            value, low, high = _share(gain, config.level)
            rows.append({
                "width": width, "n": size, "value": value, "low": low, "high": high,
                "parameters": sum(int(np.prod(leaf.shape)) for leaf in leaves),
                "gap_bound": growth.gap_bound(value, size),
                "vc_dimension": dimension, "vc_rademacher": growth.vc_rademacher(dimension, size),
            })  # fmt: skip
    return pd.DataFrame(rows)
