"""Modular arithmetic: the examples, and what is measured of networks on the way."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from sklearn.metrics import mutual_info_score
from threadpoolctl import threadpool_limits

from genjax.data import Examples
from genjax.metrics import curvature
from genjax.metrics.information.nearest_neighbour_information import discrete_information
from genjax.training import execution
from genjax.training.population import TrainedGroup
from genjax.training.segment import DIVERGED
from genjax.types import Params

MEASURED = ("norm", "sharpness", "margin_information", "error_information")
OPERATIONS = ("add", "subtract")
LANCZOS_STEPS = 30


class Ready(NamedTuple):
    """Examples and how every seed divides them.

    Attributes:
        examples: all pairs.
        train: positions, `[seeds, n]`.
        test: the others, `[seeds, m]`.
    """

    examples: Examples
    train: np.ndarray
    test: np.ndarray


def pairs(modulus: int, operation: str) -> Examples:
    """Return all pairs (a, b) as two one-hot vectors in a row, and (a + b) or (a - b) mod p."""
    a, b = np.divmod(np.arange(modulus**2), modulus)
    images = np.zeros((modulus**2, 1, 2 * modulus, 1), np.float32)
    images[np.arange(modulus**2), 0, a, 0] = 1
    images[np.arange(modulus**2), 0, modulus + b, 0] = 1
    labels = (a + b if operation == "add" else a - b) % modulus
    names = tuple(map(str, range(modulus)))
    return Examples(images, labels, names, f"{operation} modulo {modulus}")


def divided(examples: Examples, share: float, seeds: int, seed: int) -> Ready:
    """Divide the pairs at random, once for every seed."""
    count = round(share * len(examples))
    orders = np.stack(
        [np.random.default_rng([seed, s]).permutation(len(examples)) for s in range(seeds)]
    )
    return Ready(examples, np.sort(orders[:, :count]), np.sort(orders[:, count:]))


def on_the_way(
    group: TrainedGroup, ready: Ready, train: np.ndarray, passed: Sequence[Params], seed: int
) -> dict[str, np.ndarray]:
    """Return what `MEASURED` names of networks on the way, `[moments, networks]`.

    The norm is that of all weights; sharpness the largest eigenvalue of the Hessian of the training
    loss; information what the margin of a pair (by nearest neighbours), or whether it is classified
    rightly (by counting), tells about whether it was trained on, in nats.

    Args:
        group: the networks, trained.
        ready: the examples.
        train: positions that every network is trained on, `[networks, n]`.
        passed: their parameters at every moment, every leaf `[networks, ...]`.
        seed: of Lanczos' start.
    """
    network = group.network
    made = curvature.objective(network.apply)
    images, labels = jnp.asarray(ready.examples.images), jnp.asarray(ready.examples.labels)
    count = len(train)
    form = execution.choose(networks=count)

    def one(images, labels, own):
        params, chosen, key = own
        chunks = curvature.pack(made, (images[chosen], labels[chosen]))
        top = curvature.extreme_eigenvalues(
            curvature.hessian(made)(params, chunks), params, key, steps=LANCZOS_STEPS
        )
        norm = jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params)))
        logits = network.apply(params, images)
        right = jax.nn.one_hot(labels, network.num_classes, dtype=bool)
        others = jnp.max(jnp.where(right, -jnp.inf, logits), axis=1)
        return norm, top.top[0], jnp.sum(jnp.where(right, logits, 0), axis=1) - others

    program = execution.spread(one, form, shared=2)
    keys = jax.random.split(jax.random.key(seed), count)
    rows = []
    for params in passed:
        own = execution.filled((params, train, keys), count, form)
        with threadpool_limits(limits=1):  # LAPACK's threads would compete with the devices
            norm, top, margins = execution.cut(program(images, labels, own), count)
        known = np.array([_membership(*pair) for pair in zip(margins, train, strict=True)])
        rows.append((norm, top, *known.T))
    measured = [np.stack(part) for part in zip(*rows, strict=True)]
    gone = group.status == DIVERGED
    return {
        name: np.where(gone, np.nan, values)
        for name, values in zip(MEASURED, measured, strict=True)
    }


def _membership(margins: np.ndarray, train: np.ndarray) -> tuple[float, float]:
    """Return what margins, and errors, tell about membership in the training set, in nats."""
    margins = np.asarray(margins)
    if not np.isfinite(margins).all():
        return np.nan, np.nan
    member = np.zeros(len(margins), int)
    member[train] = 1
    of_margins = discrete_information(margins[:, None], member, key=jax.random.key(0)).value
    return of_margins, float(mutual_info_score(margins > 0, member))


def first_reached(accuracy: np.ndarray, steps: np.ndarray, threshold: float) -> np.ndarray:
    """Return the step of the first record at which the accuracy is reached, infinity if none.

    Args:
        accuracy: `[records, networks]`.
        steps: of the records.
        threshold: of the accuracy.
    """
    there = np.asarray(accuracy) >= threshold
    return np.where(there.any(axis=0), steps[there.argmax(axis=0)], np.inf)


def delays(found: dict[str, np.ndarray], decays: Any, threshold: float) -> pd.DataFrame:
    """Return a row per network: when it fits, when it generalizes, and what lies between."""
    count = found["train"].shape[1] // len(decays)
    fits = first_reached(found["train"], found["steps"], threshold)
    knows = first_reached(found["test"], found["steps"], threshold)
    apart = np.where(np.isfinite(fits), knows - np.where(np.isfinite(fits), fits, 0), np.inf)
    return pd.DataFrame({
        "weight_decay": np.repeat(np.asarray(decays, float), count),
        "seed": np.tile(np.arange(count), len(decays)),
        "fits_at": fits,
        "generalizes_at": knows,
        "delay": apart,
        "test_accuracy": found["test"][-1],
    })  # fmt: skip
