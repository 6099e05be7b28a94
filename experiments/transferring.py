"""Pretrained networks on new tasks: probed, tuned, or not used at all."""

import itertools
from typing import Any, NamedTuple

import jax
import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from experiments import over_seeds, pools
from experiments.pools import Pool
from genjax.metrics import complexity, outputs
from genjax.models import Network
from genjax.statistics import chance, correlation
from genjax.statistics.networks import MeasuredNetworks, configuration_draws, from_arrays
from genjax.training import HyperParameters, TrainedGroup, TrainingConfig
from genjax.training.resamples import Own, train_resamples
from genjax.types import Params

SCRATCH, PROBE, TUNED = METHODS = ("from scratch", "linear probe", "fine-tuned")
NOVEL, SHIFTED = TASKS = ("novel classes", "shifted images")
HEAD = "output"
SOURCE_ERROR = "source test error"
DRAWS = 1_000


class Ready(NamedTuple):
    """Examples of all tasks.

    Attributes:
        source: the seen classes.
        tasks: name -> pool; labels start at 0 in each.
    """

    source: Pool
    tasks: dict[str, Pool]


def settings(config: Any) -> np.ndarray:
    """Return learning rate and weight decay of every pretrained network, `[networks, 2]`."""
    pairs = itertools.product(config.learning_rates, config.weight_decays)
    return np.repeat(np.array(list(pairs), float), config.seeds, axis=0)


def pretrained(config: Any, ready: Ready, network: Network, advance: Any) -> TrainedGroup:
    """Train on the seen classes with every setting and seed."""
    chosen = settings(config)
    seeds = np.tile(np.arange(config.seeds), len(chosen) // config.seeds)
    train = ready.source.train
    return train_resamples(
        network, TrainingConfig(**config.pretraining), train,
        Own(
            np.tile(np.arange(len(train)), (len(chosen), 1)),
            hyper=HyperParameters(learning_rate=chosen[:, 0], weight_decay=chosen[:, 1]),
        ),
        pools.keys(config.seed, seeds), on_progress=advance,
    )  # fmt: skip


def measured(config: Any, ready: Ready, group: TrainedGroup) -> dict[str, np.ndarray]:
    """Return what is known of the pretrained networks: measures, and their own test error."""
    train, test = ready.source
    key = jax.random.key(config.seed)
    found = complexity.measure_group(
        group, complexity.measure_data(train, test), tuple(config.measures), key=key
    )
    own = {f"measure.{name}": values for name, values in found.values.items()}
    return {SOURCE_ERROR: outputs.group_errors(group, test)} | own


def transferred(
    config: Any, ready: Ready, network: Network, params: Params, advance: Any
) -> dict[str, np.ndarray]:
    """Return test errors on every task, `[networks, sizes]` (from scratch: `[seeds, sizes]`).

    Probes and tuned networks start from the pretrained ones; novel classes need a new head, for
    shifted images the old one is kept. A seed has the same examples, of every size, whatever is
    done with them.
    """
    found = {}
    count = len(settings(config))
    fresh = jax.vmap(lambda key: network.init(key)[0])(
        pools.keys(config.seed + 1, np.arange(count) % config.seeds)
    )
    fresh = jax.tree.map(np.asarray, fresh)
    for task, pool in ready.tasks.items():
        start = params | {HEAD: fresh[HEAD]} if task == NOVEL else params
        own = jax.tree.map(lambda leaf: leaf[: config.seeds], fresh)
        for method, tree, only in (
            (SCRATCH, own, None), (PROBE, start, (HEAD,)), (TUNED, start, None),
        ):  # fmt: skip
            found[f"{task}: {method}"] = _trained(config, pool, network, tree, task, only, advance)
    return found


def _trained(config, pool, network, start, task, only, advance) -> np.ndarray:
    count = len(jax.tree.leaves(start)[0])
    seeds = np.arange(count) % config.seeds
    draws = [
        np.random.default_rng([config.seed, TASKS.index(task), s]).permutation(len(pool.train))
        for s in range(config.seeds)
    ]
    largest = max(config.sizes)
    indices = np.concatenate(
        [pools.repeated(np.stack(draws)[seeds, :size], largest) for size in config.sizes]
    )
    repeats = len(config.sizes)
    changed = {} if only is None else {"learning_rate": config.probe_learning_rate}
    group = train_resamples(
        network, pools.rules(config), pool.train,
        Own(
            indices, hyper=pools.hyper(config, **changed),
            start=jax.tree.map(lambda leaf: np.concatenate([leaf] * repeats), start),
        ),
        pools.keys(config.seed + 2, np.tile(seeds, repeats)),
        trainable=only, on_progress=advance,
    )  # fmt: skip
    return outputs.group_errors(group, pool.test).reshape(repeats, count).T


def tables(
    config: Any, found: dict[str, np.ndarray], known: dict[str, np.ndarray]
) -> dict[str, pd.DataFrame]:
    """Return `errors` (means over seeds), `differences` (paired) and `relations` of measures."""
    rows, differences = [], []
    for task, (k, size) in itertools.product(TASKS, enumerate(config.sizes)):
        of_seed = {}
        for method in METHODS:
            errors = found[f"{task}: {method}"][:, k].reshape(-1, config.seeds)
            of_seed[method] = errors.mean(axis=0)  # over settings of pretraining
            rows += [
                (task, method, size, seed, error) for seed, error in enumerate(of_seed[method])
            ]
        for first, second in ((SCRATCH, PROBE), (SCRATCH, TUNED), (PROBE, TUNED)):
            apart = over_seeds.paired(of_seed[first], of_seed[second], config.level)
            differences.append({"task": task, "n": size, "a": first, "b": second, **apart})
    networks = pd.DataFrame(rows, columns=["task", "method", "n", "seed", "test_error"])
    frame = pd.DataFrame(differences)
    frame["holm_p"] = chance.holm(frame["p"].to_numpy())
    by = ("task", "method", "n")
    return {
        "errors": over_seeds.means(networks, by, ("test_error",), config.level),
        "differences": frame,
        "relations": _relations(config, found, known),
        "seeds": networks,
    }


def _relations(
    config: Any, found: dict[str, np.ndarray], known: dict[str, np.ndarray]
) -> pd.DataFrame:
    """Return Kendall's tau of every measure with the error on new tasks, over settings.

    The error of a network is the mean over sizes; networks of one setting are averaged over seeds,
    since they are not independent of each other.
    """
    chosen = settings(config)
    _, codes = np.unique(chosen, axis=0, return_inverse=True)
    rows = []
    for task, method in itertools.product(TASKS, (PROBE, TUNED)):
        target = found[f"{task}: {method}"].mean(axis=1)
        for name, values in known.items():
            frame: Any = pd.DataFrame({"target": target, "measure": values}).groupby(codes).mean()
            own: Any = frame.dropna()
            if len(own) < 3 or own["measure"].nunique() == 1:
                continue  # a constant has no rank
            networks = from_arrays(own[["measure"]].to_numpy(), own["target"].to_numpy())
            tau, low, high, p = _tau(networks, config)
            rows.append((task, method, name, tau, low, high, p, len(own)))
    columns = ["task", "method", "measure", "value", "low", "high", "p", "settings"]
    relations: Any = pd.DataFrame(rows, columns=columns)
    relations["holm_p"] = relations.groupby(["task", "method"])["p"].transform(
        lambda p: chance.holm(p.to_numpy())
    )
    return relations


def _tau(networks: MeasuredNetworks, config: Any) -> tuple[float, float, float, float]:
    """Return tau of one measure over settings, its bootstrap interval, its permutation p-value."""
    with threadpool_limits(limits=1):
        tau = correlation.kendall(networks.target, networks.measures)[0]
        p = chance.permutation_tests(networks, seed=config.seed).p_values[0]
        draws = configuration_draws(networks.configurations, DRAWS, seed=config.seed)
        spread = correlation.bootstrap(("kendall",), networks.target, networks.measures, draws)
    tail = (1 - config.level) / 2
    low, high = np.nanquantile(spread["kendall"][:, 0], [tail, 1 - tail])
    return float(tau), float(low), float(high), float(p)
