"""Optimizers on a grid of learning rates and batch sizes: all rates and seeds as one program."""

import functools
import itertools
from typing import Any

import jax
import numpy as np
import pandas as pd

from experiments import over_seeds, pools
from experiments.study import Parts
from genjax.intervals import mean_interval
from genjax.metrics import curvature, outputs
from genjax.models import Network
from genjax.report.layers import groups, of
from genjax.statistics.chance import holm
from genjax.training import HyperParameters, TrainingConfig
from genjax.training.resamples import Own, train_resamples


def optimizers(config: Any) -> tuple[str, ...]:
    """Return the optimizers that have rates, the base first."""
    names = [name for name in config.rates if config.rates[name]]
    return tuple(sorted(names, key=lambda name: (name != config.base, name)))


def rules(config: Any, optimizer: str, batch: int) -> TrainingConfig:
    """Return the rules: as many steps as the epochs take."""
    steps = config.epochs * max(config.examples // batch, 1)
    return TrainingConfig(
        optimizer=optimizer, batch_size=batch, max_steps=steps, record_every=steps, stop="steps"
    )


def network_of(config: Any, parts: Parts) -> Network:
    """Return the model that the configuration names."""
    return pools.network_of(parts.train, config.model.name, config.model.options)


def sample(config: Any, parts: Parts, seed: int) -> np.ndarray:
    """Return the positions of the examples that a seed is trained on."""
    order = np.random.default_rng([config.seed, seed]).permutation(len(parts.train))
    return order[: config.examples]


def trained(
    config: Any, parts: Parts, network: Network, optimizer: str, batch: int, on_progress: Any
) -> dict[str, np.ndarray]:
    """Train all learning rates and seeds of an optimizer with one batch size.

    Returns:
        Errors, losses and `sharpness` `[rates, seeds]`, NaN of networks that diverged. Sharpness is
        that of SAM, on the training examples of each network.
    """
    rates = tuple(config.rates[optimizer])
    numbers = np.tile(np.arange(config.seeds), len(rates))
    drawn = np.stack([sample(config, parts, seed) for seed in range(config.seeds)])
    group = train_resamples(
        network, rules(config, optimizer, batch), parts.train,
        Own(
            drawn[numbers],
            hyper=HyperParameters(
                learning_rate=np.repeat(np.asarray(rates, np.float32), config.seeds),
                weight_decay=(
                    config.decoupled_decay if optimizer == "adamw" else config.weight_decay
                ),
                sam_radius=config.sam_radius,
            ),
        ),
        # A seed has its examples, its start and its order of batches in all settings.
        pools.keys(config.seed, numbers), held_out=parts.validation, on_progress=on_progress,
    )  # fmt: skip
    wrong = outputs.group_errors(group, parts.test)
    alive = np.isfinite(wrong)
    found = {
        "test_error": wrong,
        "validation_error": 1 - group.last("validation_accuracy"),
        "train_error": 1 - group.last("accuracy"),
        "train_loss": group.last("loss"),
        "sharpness": _sharpness(config, parts, group, drawn, numbers),
    }
    shape = (len(rates), config.seeds)
    return {k: np.where(alive, v, np.nan).reshape(shape) for k, v in found.items()}


@functools.lru_cache(maxsize=2)
def _measure(apply: Any, radius: float) -> tuple[Any, Any]:
    """Return what is measured, the same objects for all groups, so that it is compiled once."""
    objective = curvature.objective(apply)

    def of_one(params, chunks, key):
        del key
        return curvature.sam_sharpness(objective, params, chunks, rho=radius).value

    return objective, of_one


def _sharpness(config: Any, parts: Parts, group: Any, drawn: np.ndarray, numbers: np.ndarray):
    """Return the sharpness of every network, those of one seed on their common examples."""
    objective, of_one = _measure(group.network.apply, float(config.sharpness_radius))
    found = np.full(len(numbers), np.nan)
    for seed, positions in enumerate(drawn):
        own = parts.train.take(positions)
        chunks = curvature.pack(objective, (own.images, own.labels))
        chosen = np.flatnonzero(numbers == seed)
        stack = jax.tree.map(lambda leaf, chosen=chosen: leaf[chosen], group.params)
        values, _ = curvature.over_networks(
            objective, of_one, stack, chunks, jax.random.key(config.seed)
        )
        found[chosen] = values
    return found


def tables(config: Any, found: dict[tuple[str, int], dict[str, np.ndarray]]) -> dict[str, Any]:
    """Return the tables of the experiment.

    Args:
        config: of the experiment.
        found: (optimizer, batch size) -> what `trained` returned.

    Returns:
        `comparisons` (each optimizer minus the base, both at their best setting by validation),
        `batches` (smallest minus largest batch size, each at its best rate), `settings` (means per
        setting), `tuned` (the best of each optimizer), `networks` (a row per network).
    """
    rows = [
        {"optimizer": name, "batch_size": batch, "learning_rate": rate, "seed": seed,
         **{k: v[place, seed] for k, v in part.items()}}
        for (name, batch), part in found.items()
        for (place, rate), seed in itertools.product(
            enumerate(config.rates[name]), range(config.seeds)
        )
    ]  # fmt: skip
    networks = pd.DataFrame(rows)
    settings = _settings(config, networks)
    best = {name: _best(settings, optimizer=name) for name in optimizers(config)}
    tuned = pd.DataFrame([row for row in best.values() if row is not None])
    return {
        "comparisons": _comparisons(config, networks, best),
        "batches": _batches(config, networks, settings),
        "settings": settings,
        "tuned": tuned,
        "networks": networks,
    }


def _settings(config: Any, networks: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for (name, batch, rate), own in groups(networks, ["optimizer", "batch_size", "learning_rate"]):
        test = own["test_error"].dropna().to_numpy()
        low, high = mean_interval(test, config.level)
        rates = list(config.rates[name])
        rows.append({
            "optimizer": name, "batch_size": batch, "learning_rate": rate,
            # A setting in which a network diverged is none to choose.
            "validation_error": own["validation_error"].mean(skipna=False),
            "value": test.mean() if len(test) else np.nan, "low": low, "high": high,
            "train_loss": own["train_loss"].mean(), "sharpness": own["sharpness"].median(),
            "diverged": int(own["test_error"].isna().sum()),
            "at the end of the grid": rate in (rates[0], rates[-1]),
        })  # fmt: skip
    return pd.DataFrame(rows)


def _best(settings: pd.DataFrame, **wanted: Any) -> dict[str, Any] | None:
    own = of(settings, **wanted).dropna(subset=["validation_error"])
    if not len(own):
        return None
    return own.loc[own["validation_error"].idxmin()].to_dict()


def _chosen(networks: pd.DataFrame, setting: dict[str, Any]) -> pd.DataFrame:
    names = ("optimizer", "batch_size", "learning_rate")
    return of(networks, **{name: setting[name] for name in names}).sort_values("seed")


def _comparisons(config: Any, networks: pd.DataFrame, best: dict[str, Any]) -> pd.DataFrame:
    rows = []
    standard = best[config.base]
    if standard is None:
        return pd.DataFrame()
    base = _chosen(networks, standard)
    for name, setting in best.items():
        if name == config.base or setting is None:
            continue
        own = _chosen(networks, setting)
        errors = over_seeds.paired(
            own["test_error"].to_numpy(), base["test_error"].to_numpy(), config.level
        )
        rows.append({"optimizer": name, "quantity": "test_error", **errors})
        sharp = [frame["sharpness"].to_numpy(float) for frame in (own, base)]
        # Ratios of what is positive; networks at a minimum to rounding have none.
        first, second = (np.log(np.where(values > 0, values, np.nan)) for values in sharp)
        ratio = over_seeds.paired(first, second, config.level)
        ratio |= {key: float(np.exp(ratio[key])) for key in ("value", "low", "high")}
        rows.append({"optimizer": name, "quantity": "sharpness", **ratio})
    table = pd.DataFrame(rows)
    if len(table):
        table["p_adjusted"] = np.nan
        for quantity in ("test_error", "sharpness"):
            mine = table["quantity"] == quantity
            table.loc[mine, "p_adjusted"] = holm(table.loc[mine, "p"].to_numpy(float))
    return table


def _batches(config: Any, networks: pd.DataFrame, settings: pd.DataFrame) -> pd.DataFrame:
    small, large = min(config.batch_sizes), max(config.batch_sizes)
    rows = []
    for name in optimizers(config):
        ends = [_best(settings, optimizer=name, batch_size=b) for b in (small, large)]
        known = [_chosen(networks, end)["test_error"].to_numpy() for end in ends if end is not None]
        if small == large or len(known) < 2:
            continue
        first, second = known
        rows.append({"optimizer": name, **over_seeds.paired(first, second, config.level)})
    table = pd.DataFrame(rows, columns=["optimizer", "value", "low", "high", "p", "seeds"])
    return table.assign(p_adjusted=holm(table["p"].to_numpy(float)))
