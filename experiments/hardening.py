"""Adversarial training of a stack of networks, each against attacks of a radius of its own."""

import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from experiments import over_seeds, pools
from experiments.pools import Pool
from genjax.data import Examples, shifts
from genjax.intervals import mean_interval
from genjax.metrics import outputs, robustness
from genjax.models import Network
from genjax.report.layers import groups, of
from genjax.training import TrainedGroup
from genjax.training.resamples import Own, train_resamples
from genjax.training.segment import DIVERGED

RADIUS = "attack_radius"
"""Name of the frozen parameter that holds what a network is attacked with."""

STRONGEST = "strongest"
"""Stands in tables for whichever attack fools a network, image by image."""


def with_labels(examples: Examples) -> Examples:
    """Return examples whose last channel is label / classes, so that a network can attack them."""
    share = (examples.labels / examples.num_classes).astype(np.float32)
    plane = np.broadcast_to(share[:, None, None, None], (*examples.images.shape[:3], 1))
    return Examples(
        np.concatenate([examples.images, plane], axis=-1), examples.labels,
        examples.class_names, examples.name, examples.is_test,
    )  # fmt: skip


def hardened(network: Network, steps: int) -> Network:
    """Return a network that is trained on attacked images: the inner maximum of Madry et al.

    Its images are those of `with_labels`; its radius is a parameter of its own, to be frozen.

    Args:
        network: as attacked and measured.
        steps: of PGD in every step of training.
    """
    height, width, channels = network.image_shape

    def init(key):
        parameters, statistics = network.init(key)
        return parameters | {RADIUS: {"value": jnp.zeros(())}}, statistics

    def without(parameters):
        return {name: value for name, value in parameters.items() if name != RADIUS}

    def train_apply(parameters, statistics, images, key, dropout_rate=None):
        own = without(parameters)
        attack_key, drop_key = jax.random.split(key)
        labels = jnp.round(images[:, 0, 0, -1] * network.num_classes).astype(jnp.int32)
        found = robustness.pgd(
            network.apply, network.fold(own, statistics), images[..., :-1], labels,
            parameters[RADIUS]["value"], attack_key, steps=steps,
        )  # fmt: skip
        # The maximum is found with the weights held fixed (Danskin's theorem).
        attacked = jax.lax.stop_gradient(found.images)
        return network.train_apply(own, statistics, attacked, drop_key, dropout_rate)

    def fold(parameters, statistics):
        return network.fold(without(parameters), statistics) | {RADIUS: parameters[RADIUS]}

    def apply(params, images):
        return network.apply(without(params), images[..., :channels])

    return network._replace(
        image_shape=(height, width, channels + 1), init=init, train_apply=train_apply, fold=fold,
        apply=apply,
    )  # fmt: skip


def train(config: Any, pool: Pool, on_progress: Any = None) -> TrainedGroup:
    """Train `seeds` networks per radius, in this order: all seeds of the first radius, ...

    Networks of one seed have the same start and order of batches.
    """
    network = network_of(config, pool)
    whole = hardened(network, config.training_attack_steps)
    numbers = np.tile(np.arange(config.seeds), len(config.radii))
    radii = np.repeat(np.asarray(config.radii, np.float32), config.seeds)
    keys = pools.keys(config.seed, numbers)
    start = jax.vmap(lambda key: whole.init(jax.random.fold_in(key, 2))[0])(keys)
    start = start | {RADIUS: {"value": radii}}
    everything = np.broadcast_to(np.arange(len(pool.train)), (len(numbers), len(pool.train)))
    trained = [name for name in start if name != RADIUS]
    group = train_resamples(
        whole, pools.rules(config), with_labels(pool.train),
        Own(everything, hyper=pools.hyper(config), start=start), keys,
        trainable=trained, on_progress=on_progress,
    )  # fmt: skip
    params = {name: value for name, value in group.params.items() if name != RADIUS}
    init = {name: value for name, value in group.init_params.items() if name != RADIUS}
    return group._replace(network=network, params=params, init_params=init)


def network_of(config: Any, pool: Pool) -> Network:
    """Return the model that the configuration names."""
    return pools.network_of(pool.train, config.model.name, config.model.options)


def measured(config: Any, pool: Pool, on_progress: Any = None) -> dict[str, np.ndarray]:
    """Train, attack and shift.

    Returns:
        `attacked`, whether a network errs, `[attacks, radii * seeds, epsilons, examples]`;
        `shifted`, errors `[shifts, levels, radii * seeds]`, NaN where a shift cannot reach a
        level; `alive`, `[radii * seeds]`.
    """
    group = train(config, pool, on_progress)
    key = jax.random.key(config.seed)
    test = pool.test
    attacked = [
        robustness.adversarial_errors(
            group, test.images, test.labels, tuple(config.epsilons), key, attack=name,
            steps=config.attack_steps,
        )
        for name in config.attacks
    ]  # fmt: skip
    shifted = np.full((len(config.shifts), len(config.levels), len(group.seeds)), np.nan)
    for (s, name), (k, target) in itertools.product(
        enumerate(config.shifts), enumerate(config.levels)
    ):
        change = shifts.create(name)
        try:
            level = shifts.calibrate(change, test.images, [float(target)], key)
        except shifts.ShiftError:  # out of reach on these images
            continue
        images = np.asarray(shifts.apply_levels(change, level, test.images, key)[0])
        logits = outputs.group_logits(group, images)
        shifted[s, k] = (logits.argmax(axis=-1) != test.labels).mean(axis=-1)
    return {
        "attacked": np.stack(attacked).astype(np.uint8),
        "shifted": shifted,
        "alive": (group.status != DIVERGED).astype(np.uint8),
    }


def tables(config: Any, found: dict[str, np.ndarray]) -> dict[str, pd.DataFrame]:
    """Return the tables of the experiment.

    Returns:
        `errors` (a row per radius, seed, attack and epsilon), `shifts` (per radius, seed, shift and
        level), `curves` and `shift_curves` (means with intervals over seeds), `changes` (what
        training on attacks changes, paired by seed), `attacks` (each beside the first).
    """
    networks = list(itertools.product(config.radii, range(config.seeds)))
    alive = found["alive"].astype(bool)
    kept = [k for k in range(len(networks)) if alive[k]]
    # As AutoAttack counts: an image is lost to whichever attack fools the network.
    attacked = np.concatenate([found["attacked"], found["attacked"].max(axis=0)[None]])
    attacks = (*config.attacks, STRONGEST)
    error = attacked.mean(axis=-1)
    errors = pd.DataFrame(
        [
            (*networks[k], attack, epsilon, error[a, k, e])
            for k, (a, attack), (e, epsilon) in itertools.product(
                kept, enumerate(attacks), enumerate(config.epsilons)
            )
        ],
        columns=["radius", "seed", "attack", "epsilon", "error"],
    )
    shifted = pd.DataFrame(
        [
            (*networks[k], shift, level, found["shifted"][s, v, k])
            for k, (s, shift), (v, level) in itertools.product(
                kept, enumerate(config.shifts), enumerate(config.levels)
            )
        ],
        columns=["radius", "seed", "shift", "ssim", "error"],
    ).dropna()
    return {
        "curves": _means(errors, ["radius", "attack", "epsilon"], config.level),
        "shift_curves": _means(shifted, ["radius", "shift", "ssim"], config.level),
        "changes": _changes(config, errors, shifted),
        "attacks": _against_first(config, attacks, attacked.astype(bool), kept),
        "errors": errors,
        "shifts": shifted,
    }


def _means(rows: pd.DataFrame, by: list[str], level: float) -> pd.DataFrame:
    return over_seeds.means(rows, by, ["error"], level).drop(columns="quantity")


def _changes(config: Any, errors: pd.DataFrame, shifted: pd.DataFrame) -> pd.DataFrame:
    """Return errors of networks trained on attacks minus those of the others, seed by seed."""
    cases = [("no attack", of(errors, attack=STRONGEST, epsilon=min(config.epsilons)))]
    at = of(errors, attack=STRONGEST, epsilon=config.compared_at)
    cases.append((f"{STRONGEST} {config.compared_at:g}", at))
    cases += [(f"{name}, SSIM {ssim:g}", own) for (name, ssim), own in groups(
        shifted, ["shift", "ssim"])]  # fmt: skip
    rows = []
    for name, own in cases:
        wide = own.pivot(index="seed", columns="radius", values="error")
        for radius in config.radii[1:]:
            if radius not in wide or config.radii[0] not in wide:
                continue
            apart = (wide[radius] - wide[config.radii[0]]).dropna().to_numpy()
            value = apart.mean() if len(apart) else np.nan
            rows.append((name, radius, value, *mean_interval(apart, config.level), len(apart)))
    return pd.DataFrame(rows, columns=["images", "radius", "value", "low", "high", "seeds"])


def _against_first(
    config: Any, attacks: Sequence[str], wrong: np.ndarray, kept: list[int]
) -> pd.DataFrame:
    """Return how much more every attack fools than the first, over all networks and seeds."""
    rows = []
    for (a, name), (e, epsilon) in itertools.product(
        enumerate(attacks), enumerate(config.epsilons)
    ):
        if a == 0:
            continue
        own, first = wrong[a, kept, e], wrong[0, kept, e]
        # Seeds are the unit: networks of one seed share their start.
        seeds = np.asarray(kept) % config.seeds
        apart = (own.astype(float) - first).mean(axis=-1)
        means = np.array([apart[seeds == s].mean() for s in np.unique(seeds)])
        missed = int((first & ~own).sum())
        low, high = mean_interval(means, config.level)
        mean = means.mean() if len(means) else np.nan
        rows.append((name, attacks[0], epsilon, mean, low, high, missed))
    columns = ["attack", "first", "epsilon", "value", "low", "high", "weaker on images"]
    return pd.DataFrame(rows, columns=columns)
