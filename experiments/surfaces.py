"""What the loss looks like around chosen networks: computed once, drawn by the report."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from experiments.trial import Trial
from genjax.metrics import curvature
from genjax.report.curvature import Edge, Pictures, best_rate
from genjax.training import Population, TrainedGroup


def best_rates(population: Population) -> list[tuple[TrainedGroup, np.ndarray]]:
    """Return every group with the rows of the learning rate that validates best, by seed.

    The rate is chosen by mean validation accuracy over the seeds, so no test example takes part.
    """
    chosen = []
    for group in population.groups:
        rates = np.asarray(group.hyper.learning_rate)  # pyright: ignore[reportOptionalMemberAccess]
        right = np.nan_to_num(group.last("validation_accuracy"), nan=-1.0)
        rows = np.flatnonzero(rates == best_rate(rates, right))
        chosen.append((group, rows[np.argsort(group.seeds[rows])]))
    return chosen


def pictures(population: Population, ready: Trial, settings: Any, seed: int) -> Pictures:
    """Compute spectra, slices and paths of every optimizer's networks, and the edge of stability.

    Args:
        population: groups that differ in their optimizer.
        ready: examples; the loss is that of the first ones of training.
        settings: as `pictures` in configs/curvature.py.
        seed: of probes and directions.
    """
    key = jax.random.key(seed)
    images = jnp.asarray(ready.train.images[: settings.examples])
    labels = jnp.asarray(ready.train.labels[: settings.examples])
    spectra, slices, paths = {}, {}, {}
    for group, rows in best_rates(population):
        name = group.training.optimizer  # pyright: ignore[reportOptionalMemberAccess]
        made = curvature.objective(group.network.apply)
        chunks = curvature.pack(made, (images, labels))
        first, second = (group.network_params(int(row)) for row in (rows[0], rows[1]))
        spectra[name] = _spectrum(made, first, chunks, key, settings)
        slices[name] = _slice(made, first, chunks, key, settings)
        paths[name] = curvature.mode_connectivity(
            group.network, made, first, second, chunks, points=settings.points
        )
    return Pictures(spectra, slices, paths, _edge(population.groups[0], images, labels, settings))


def _spectrum(made, params, chunks, key, settings):
    def compute(params):
        product = curvature.hessian(made)(params, chunks)
        found = curvature.quadrature(
            product, params, key, probes=settings.probes, steps=settings.lanczos_steps
        )
        return curvature.density(found)

    return jax.tree.map(np.asarray, jax.jit(compute)(params))


def _slice(made, params, chunks, key, settings) -> pd.DataFrame:
    """Return the loss on a plane of two filter-normalised directions, one row per point."""
    places = jnp.linspace(-settings.span, settings.span, settings.points)
    directions = [
        curvature.filter_normalised_direction(params, jax.random.fold_in(key, i)) for i in (0, 1)
    ]
    compute = jax.jit(lambda w: curvature.loss_slice(made, w, chunks, directions, places, places))
    first, second = np.meshgrid(places, places, indexing="ij")
    losses = np.asarray(compute(params))
    return pd.DataFrame({"first": first.ravel(), "second": second.ravel(), "loss": losses.ravel()})


def _edge(group: TrainedGroup, images, labels, settings) -> Edge:
    """Run full-batch gradient descent on the squared loss from one start, at several rates."""
    made = curvature.objective(group.network.apply, "squared")
    chunks = curvature.pack(made, (images, labels))
    start = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), group.init_params)
    rates = jnp.asarray(settings.edge_rates)
    every = settings.edge_steps // settings.edge_records

    def descend(rate):
        found = curvature.training_curvature(
            made,
            start,
            chunks,
            jax.random.key(0),
            learning_rate=rate,
            steps=every * settings.edge_records,
            record_every=every,
        )
        return found._replace(params=())

    found = jax.jit(lambda rates: jax.lax.map(descend, rates))(rates)
    return Edge(
        tuple(settings.edge_rates),
        np.asarray(found.steps[0]),
        np.asarray(found.top_eigenvalues),
        np.asarray(found.losses),
    )
