"""Groups of stacked networks, trained here or elsewhere, and one table row per network."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np
import pandas as pd

from genjax import errors
from genjax.models import Cost, ForeignNetwork, Network
from genjax.training import segment
from genjax.training.config import HyperParameters, TrainingConfig
from genjax.types import Params

ELSEWHERE = -1
"""Status of a network that was trained elsewhere: how its training ended is not known."""


class TrainedGroup(NamedTuple):
    """Networks of one architecture and one set of rules, stacked on a leading axis of n.

    Of networks that were trained elsewhere (see `trained_elsewhere`) only parameters and size are
    known: the record is empty, and what is not known is None, NaN or "".

    Attributes:
        network: the model as pure functions.
        training: the rules; None if not known.
        cost: parameter count and FLOPs (NaN if trained elsewhere).
        params: trained parameters, normalisation folded in, every leaf [n, ...], NumPy.
        init_params: the same at initialisation; None if not known.
        hyper: each field [n]; None if not known.
        seeds: seed index of each network [n]; 0 where networks of one architecture are one.
        status: [n], see `genjax.training.segment`, or `ELSEWHERE`.
        stop_step: steps taken [n]; NaN if not known.
        history: `Record` of arrays [T, n]; NaN after a network stopped.
        history_steps: step of each record [T].
        data_fingerprint: of the training examples; "" if not known.
    """

    network: Network
    training: TrainingConfig | None
    cost: Cost
    params: Params
    init_params: Params
    hyper: HyperParameters | None
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
        """Return a history field per network at the record of its `params`, or NaN.

        That is the last finite record; under early stopping the first with the lowest validation
        error, whose parameters are kept.
        """
        values = np.asarray(getattr(self.history, field))
        if not len(values):
            return np.full(len(self.seeds), np.nan)
        finite = np.isfinite(np.asarray(self.history.loss)) & np.isfinite(values)
        index = len(values) - 1 - finite[::-1].argmax(0)
        if self.training is not None and self.training.stop == "early_stopping":
            right = np.where(finite, np.asarray(self.history.validation_accuracy), -np.inf)
            index = right.argmax(0)
        chosen = values[index, np.arange(values.shape[1])]
        return np.where(finite.any(0), chosen, np.nan)


class Population(NamedTuple):
    """All groups of a sweep.

    Attributes:
        groups: one per architecture and set of rules, or per network trained elsewhere.
        wall_seconds: time spent training each group in this run (0 where it was restored).
    """

    groups: tuple[TrainedGroup, ...]
    wall_seconds: Mapping[str, float]

    def table(self) -> pd.DataFrame:
        """Return one row per network: identity, `hp.*` and `metric.*` columns.

        Losses are mean cross-entropies in nats over the whole training set; steps are optimiser
        steps. What is not known of networks trained elsewhere is missing, and has no column if it
        is known of none.
        """
        rows = [_rows(i, group) for i, group in enumerate(self.groups)]
        return pd.concat(rows, ignore_index=True)

    def alive(self) -> int:
        """Return how many networks ended with finite parameters."""
        return sum(int(np.sum(g.status != segment.DIVERGED)) for g in self.groups)


def _rows(index: int, group: TrainedGroup) -> pd.DataFrame:
    n, status = len(group.seeds), group.status
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
    if group.training is not None and group.hyper is not None:
        for name in ("optimizer", "schedule", "batch_size"):
            frame[f"hp.{name}"] = getattr(group.training, name)
        for name, values in group.hyper._asdict().items():
            # float32 as it was written: 0.03, not 0.029999999329447746.
            frame[f"hp.{name}"] = [float(str(v)) for v in np.asarray(values)]
    names = ["trained elsewhere" if s == ELSEWHERE else segment.STATUS_NAMES[s] for s in status]
    metrics = {
        "parameters": group.cost.parameters,
        "flops": group.cost.flops,
        "steps": group.stop_step,
        "status": names,
        "train_loss": group.last("loss"),
        "train_accuracy": group.last("accuracy"),
        "validation_loss": group.last("validation_loss"),
        "validation_accuracy": group.last("validation_accuracy"),
    }
    if group.training is None:
        metrics = {name: metrics[name] for name in ("parameters", "status")}
    return frame.assign(**{f"metric.{name}": values for name, values in metrics.items()})


def trained_elsewhere(networks: Sequence[ForeignNetwork]) -> Population:
    """Return networks that were trained elsewhere as a population, one group each.

    Parameters are counted as they were stored, before normalisation is folded in, where that is
    known. FLOPs are left out: a loaded network may compute a convolution in a form that multiplies
    more than the convolution itself.

    Args:
        networks: from `genjax.models.load_weights` or `genjax.models.from_function`, ...

    Raises:
        InvalidInputError: there is none.

    Example:
        >>> from genjax import models
        >>> images = np.zeros((2, 4, 4, 1), np.float32)
        >>> network = models.from_function(
        ...     lambda params, images: images.reshape(len(images), -1) @ params["w"],
        ...     {"w": np.ones((16, 3), np.float32)}, name="mine", image_shape=(4, 4, 1),
        ...     num_classes=3)
        >>> trained_elsewhere([network]).table()[["model", "metric.parameters", "metric.status"]]
          model  metric.parameters      metric.status
        0  mine                 48  trained elsewhere
    """
    if not networks:
        raise errors.InvalidInputError("networks: found none; at least one is needed.")
    groups = []
    for one in networks:
        stored = one.params if one.unfolded is None else one.unfolded[0]
        count = sum(int(np.size(leaf)) for leaf in jax.tree.leaves(stored))
        groups.append(
            TrainedGroup(
                network=one.network,
                training=None,
                cost=Cost(count, math.nan),
                params=jax.tree.map(lambda leaf: np.asarray(leaf)[None], one.params),
                init_params=None,
                hyper=None,
                seeds=np.zeros(1, np.int64),
                status=np.full(1, ELSEWHERE),
                stop_step=np.full(1, np.nan),
                history=segment.Record(*[np.empty((0, 1))] * len(segment.Record._fields)),
                history_steps=np.empty(0, np.int64),
                data_fingerprint="",
            )
        )
    return Population(tuple(groups), {})


def require_alive(population: Population) -> None:
    """Refuse to go on when no network is left.

    Raises:
        DivergenceError: every network diverged; it carries the population.
    """
    if population.alive() == 0:
        hypers = [g.hyper for g in population.groups if g.hyper is not None]
        rates = sorted({float(r) for hyper in hypers for r in hyper.learning_rate})
        raise errors.DivergenceError(
            f"training: all {sum(len(g.seeds) for g in population.groups)} networks diverged "
            f"(learning rates {rates}); lower sweep.hyper.learning_rate.",
            population,
        )
