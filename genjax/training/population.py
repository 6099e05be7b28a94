"""What training returns: groups of stacked networks, one table row per network."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import numpy as np
import pandas as pd

from genjax import errors
from genjax.models import Cost, Network
from genjax.training import segment
from genjax.training.config import HyperParameters, TrainingConfig
from genjax.types import Params


class TrainedGroup(NamedTuple):
    """Networks of one architecture and one set of rules, stacked on a leading axis of n.

    Attributes:
        network: the model as pure functions.
        training: the rules.
        cost: parameter count and FLOPs.
        params: trained parameters, normalisation folded in, every leaf [n, ...], NumPy.
        init_params: the same at initialisation.
        hyper: each field [n].
        seeds: seed index of each network [n].
        status: [n], see `genjax.training.segment`.
        stop_step: steps taken [n].
        history: `Record` of arrays [T, n]; NaN after a network stopped.
        history_steps: step of each record [T].
        data_fingerprint: of the training examples.
    """

    network: Network
    training: TrainingConfig
    cost: Cost
    params: Params
    init_params: Params
    hyper: HyperParameters
    seeds: np.ndarray
    status: np.ndarray
    stop_step: np.ndarray
    history: segment.Record
    history_steps: np.ndarray
    data_fingerprint: str

    def network_params(self, index: int) -> Params:
        """Return the parameters of one network of the stack."""
        return jax.tree.map(lambda leaf: leaf[index], self.params)

    def last(self, field: str) -> np.ndarray:
        """Return the last finite entry of a history field per network, or NaN."""
        values = np.asarray(getattr(self.history, field))
        if not len(values):
            return np.full(len(self.seeds), np.nan)
        finite = np.isfinite(values)
        index = np.where(finite.any(0), len(values) - 1 - finite[::-1].argmax(0), 0)
        return np.where(finite.any(0), values[index, np.arange(values.shape[1])], np.nan)


class Population(NamedTuple):
    """All groups of a sweep.

    Attributes:
        groups: one per architecture and set of rules.
        wall_seconds: time spent training each group in this run (0 where it was restored).
    """

    groups: tuple[TrainedGroup, ...]
    wall_seconds: Mapping[str, float]

    def table(self) -> pd.DataFrame:
        """Return one row per network: identity, `hp.*` and `metric.*` columns.

        Losses are mean cross-entropies in nats over the whole training set; steps are optimiser
        steps.
        """
        rows = [_rows(i, group) for i, group in enumerate(self.groups)]
        return pd.concat(rows, ignore_index=True)

    def alive(self) -> int:
        """Return how many networks ended with finite parameters."""
        return sum(int(np.sum(g.status != segment.DIVERGED)) for g in self.groups)


def _rows(index: int, group: TrainedGroup) -> pd.DataFrame:
    n = len(group.seeds)
    frame = pd.DataFrame(
        {
            "network": [f"{index:03d}-{k:04d}" for k in range(n)],
            "group": index,
            "family": group.network.family,
            "model": group.network.name,
            "seed": group.seeds,
        }
    )
    for name, value in group.network.options.items():
        text = isinstance(value, (tuple, list))
        frame[f"hp.{name}"] = "x".join(map(str, value)) if text else value
    for name in ("optimizer", "schedule", "batch_size"):
        frame[f"hp.{name}"] = getattr(group.training, name)
    for name, values in group.hyper._asdict().items():
        frame[f"hp.{name}"] = np.asarray(values)
    frame["metric.parameters"] = group.cost.parameters
    frame["metric.flops"] = group.cost.flops
    frame["metric.steps"] = group.stop_step
    frame["metric.status"] = [segment.STATUS_NAMES[s] for s in group.status]
    frame["metric.train_loss"] = group.last("loss")
    frame["metric.train_accuracy"] = group.last("accuracy")
    frame["metric.validation_loss"] = group.last("validation_loss")
    frame["metric.validation_accuracy"] = group.last("validation_accuracy")
    return frame


def require_alive(population: Population) -> None:
    """Refuse to go on when no network is left.

    Raises:
        DivergenceError: every network diverged; it carries the population.
    """
    if population.alive() == 0:
        rates = sorted({float(r) for g in population.groups for r in g.hyper.learning_rate})
        raise errors.DivergenceError(
            f"training: all {sum(len(g.seeds) for g in population.groups)} networks diverged "
            f"(learning rates {rates}); lower sweep.hyper.learning_rate.",
            population,
        )


def select(params: Params, count: int) -> Params:
    """Return the first `count` networks of a stack (what pads it to the devices is dropped).

    On the host: a population may be larger than a device, and its next program may lie elsewhere.
    """
    return jax.tree.map(lambda leaf: np.asarray(leaf)[:count], params)
