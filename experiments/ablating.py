"""Networks of a full factorial experiment over regularisers, as few programs as code allows."""

import dataclasses
import itertools
from typing import Any

import numpy as np
import pandas as pd

from experiments import pools
from experiments.study import Parts
from genjax.data import Examples, splits
from genjax.intervals import mean_interval
from genjax.metrics import outputs
from genjax.models import Network
from genjax.statistics import factorial
from genjax.training import TrainingConfig
from genjax.training.resamples import Own, train_resamples
from genjax.training.segment import DIVERGED

NUMBERS = ("weight_decay", "dropout_rate", "label_smoothing", "mixup_alpha")
"""Factors that are numbers: all their combinations are one program."""

CODE = ("augmentation", "early_stopping")
"""Factors that change code."""

OUTCOMES = ("test_error", "test_loss", "gap")


def factors(config: Any) -> tuple[str, ...]:
    """Return the names of the factors that are switched on and off."""
    return tuple(name for name in (*NUMBERS, *CODE) if config.factors[name])


def rules(config: Any, augmented: bool, early: bool) -> TrainingConfig:
    """Return the rules; with early stopping all steps are taken, and the best record is kept."""
    base = pools.rules(config)
    return dataclasses.replace(
        base,
        stop="early_stopping" if early else "steps",
        patience=base.max_steps,
        augmentation=tuple(config.factors.augmentation) if augmented else (),
    )


def network_of(config: Any, parts: Parts) -> Network:
    """Return the model that the configuration names."""
    return pools.network_of(parts.train, config.model.name, config.model.options)


def judges(config: Any, parts: Parts) -> tuple[Examples, Examples]:
    """Return two halves of the validation examples: to stop by, and to choose a combination by.

    Their labels are wrong as often as those that networks are trained on. Were one set used for
    both, combinations that stop early would be chosen for what they were fitted to.
    """
    noisy = pools.with_noise(parts.validation, config.label_noise, config.seed)
    order = np.random.default_rng(config.seed).permutation(len(noisy))
    middle = len(order) // 2
    return noisy.take(np.sort(order[:middle])), noisy.take(np.sort(order[middle:]))


def trained(
    config: Any, parts: Parts, augmented: bool, early: bool, on_progress: Any
) -> dict[str, np.ndarray]:
    """Train all combinations of the factors that are numbers, with code of one kind.

    Returns:
        `settings` `[cells, numbers]` and outcomes `[seeds, cells]`, NaN of diverged networks.
    """
    names = [name for name in NUMBERS if config.factors[name]]
    to_stop, to_choose = judges(config, parts)
    settings = np.array(list(itertools.product((0, 1), repeat=len(names)))).reshape(
        2 ** len(names), len(names)
    )
    cells = len(settings)
    drawn, labels = zip(*(sample(config, parts, s) for s in range(config.seeds)), strict=True)
    chosen = {
        name: np.tile(settings[:, k] * config.factors[name], config.seeds)
        for k, name in enumerate(names)
    }
    group = train_resamples(
        network_of(config, parts), rules(config, augmented, early), parts.train,
        Own(
            np.repeat(np.stack(drawn), cells, axis=0), np.repeat(np.stack(labels), cells, axis=0),
            pools.hyper(config, **chosen),
        ),
        # Start and order of batches of a seed are the same in all cells.
        pools.keys(config.seed, np.repeat(np.arange(config.seeds), cells)),
        held_out=to_stop, on_progress=on_progress,
    )  # fmt: skip
    logits = outputs.group_logits(group, parts.test.images).astype(np.float64)
    error = (logits.argmax(axis=-1) != parts.test.labels).mean(axis=-1)
    top = logits.max(axis=-1)
    normaliser = np.log(np.exp(logits - top[..., None]).sum(axis=-1)) + top
    own = np.take_along_axis(logits, np.asarray(parts.test.labels)[None, :, None], -1)[..., 0]
    # What the test error were if test labels were wrong as often as those trained on.
    expected = (1 - error) * config.label_noise + error * (
        1 - config.label_noise / (parts.test.num_classes - 1)
    )
    found = {
        "test_error": error,
        "test_loss": (normaliser - own).mean(axis=-1),
        "gap": expected - (1 - group.last("accuracy")),
        "validation_error": outputs.group_errors(group, to_choose),
        "train_error": 1 - group.last("accuracy"),
    }
    alive = (group.status != DIVERGED) & np.isfinite(logits).all(axis=(1, 2))
    shape = (config.seeds, cells)
    return {
        "settings": settings,
        **{name: np.where(alive, value, np.nan).reshape(shape) for name, value in found.items()},
    }


def sample(config: Any, parts: Parts, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions and the labels that a seed is trained on."""
    order = np.random.default_rng([config.seed, seed]).permutation(len(parts.train))
    order = order[: config.examples]
    noisy = splits.label_noise(
        parts.train.labels[order], config.label_noise, parts.train.num_classes,
        seed=config.seed * 1000 + seed,
    )  # fmt: skip
    return order, noisy.labels


def tables(config: Any, found: dict[tuple[bool, bool], dict[str, np.ndarray]]) -> Any:
    """Return the tables of the experiment.

    Args:
        config: of the experiment.
        found: (augmented, early) -> what `trained` returned.

    Returns:
        `effects` (a row per outcome and set of factors), `cells` (means over seeds), `networks` (a
        row per network).
    """
    names = factors(config)
    settings, outcomes = [], {}
    for (augmented, early), part in found.items():
        code = [v for name, v in zip(CODE, (augmented, early), strict=True) if name in names]
        settings += [(*map(bool, row), *code) for row in part["settings"]]
        for name, value in part.items():
            if name != "settings":
                outcomes.setdefault(name, []).append(value)
    settings = np.array(settings, bool).reshape(-1, len(names))
    outcomes = {name: np.concatenate(value, axis=1) for name, value in outcomes.items()}
    order = min(2, len(names))
    effects = [
        factorial.effects(
            outcomes[name], settings, names, order=order, level=config.level
        ).assign(outcome=name)
        for name in OUTCOMES
    ]  # fmt: skip
    networks = pd.DataFrame(
        [
            {"seed": seed, "cell": cell, **dict(zip(names, settings[cell], strict=True)),
             **{name: value[seed, cell] for name, value in outcomes.items()}}
            for seed, cell in itertools.product(range(config.seeds), range(len(settings)))
        ]
    )  # fmt: skip
    return {
        "effects": pd.concat(effects, ignore_index=True),
        "cells": _cells(config, settings, outcomes, names),
        "networks": networks,
    }


def _cells(config: Any, settings: np.ndarray, outcomes: Any, names: tuple[str, ...]) -> Any:
    """Return every combination beside the one without any, on seeds where both ended finite."""
    nothing = int(np.flatnonzero(~settings.any(axis=1))[0])
    rows = []
    for cell, on in enumerate(settings):
        test = outcomes["test_error"][:, cell]
        apart = test - outcomes["test_error"][:, nothing]
        kept = np.isfinite(apart)
        alone = test[np.isfinite(test)]
        row = {
            "combination": " + ".join(n for n, o in zip(names, on, strict=True) if o) or "none",
            "factors": int(on.sum()),
            "validation_error": outcomes["validation_error"][:, cell].mean(),
            "value": alone.mean() if len(alone) else np.nan,
        }
        row["low"], row["high"] = mean_interval(alone, config.level)
        row["change"] = apart[kept].mean() if kept.any() else np.nan
        row["change_low"], row["change_high"] = mean_interval(apart[kept], config.level)
        rows.append(row)
    return pd.DataFrame(rows)
