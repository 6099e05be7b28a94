"""Measures that need nothing but the training record and the parameters. Host float64."""

import jax
import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float

from genjax.errors import InvalidInputError
from genjax.training import Population, TrainedGroup, segment
from genjax.types import Params

Host = np.ndarray


def recorded_measures(group: TrainedGroup) -> dict[str, Float[Host, " network"]]:
    """Return what training left behind about every network of a group.

    - `parameters`: number of parameters; `flops`: of one image;
    - `steps`: optimiser steps until training stopped;
    - `train_loss`: mean cross-entropy over the training set in nats, `gradient_norm`: mean over the
      steps since the last record, both as last recorded;
    - `parameter_norm`: sum of ||W||_F^2 over weight arrays (biases and scales left out), eq 42 of
      Jiang et al. 2020 before the size adjustment; `distance_from_init`: sum of ||W - W0||_F^2,
      eq 40;
    - `validation_error`: no theory: what a held-out set says, to compare the others with.

    Normalisation is folded into the weights. Diverged networks have NaN. Of networks that were
    trained elsewhere there are `parameters` and `parameter_norm` alone.

    Example:
        >>> from genjax import data, training
        >>> config = training.SweepConfig(
        ...     [training.ModelConfig("mlp", {"widths": (4,)})],
        ...     [training.TrainingConfig(max_steps=2, record_every=1)], {}, seeds=2)
        >>> population = training.sweep(config, data.load("digits"), jax.random.key(0))
        >>> recorded_measures(population.groups[0])["parameters"].tolist()
        [310.0, 310.0]
    """
    count = len(group.seeds)
    found = {
        "parameters": np.full(count, float(group.cost.parameters)),
        "flops": np.full(count, float(group.cost.flops)),
        "steps": group.stop_step.astype(np.float64),
        "train_loss": group.last("loss").astype(np.float64),
        "gradient_norm": group.last("gradient_norm").astype(np.float64),
        "parameter_norm": _squared_weights(group.params),
    }
    if group.init_params is not None:
        moved = jax.tree.map(lambda w, at: np.asarray(w) - at, group.params, group.init_params)
        found["distance_from_init"] = _squared_weights(moved)
    found["validation_error"] = 1 - group.last("validation_accuracy").astype(np.float64)
    if group.training is None:
        found = {name: found[name] for name in ("parameters", "parameter_norm")}
    alive = group.status != segment.DIVERGED
    return {name: np.where(alive, values, np.nan) for name, values in found.items()}


def _squared_weights(params: Params) -> Float[Host, " network"]:
    """Sum of squares over all arrays with two axes or more behind that of the networks."""
    arrays = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(params)]
    squares = [(w**2).reshape(len(w), -1).sum(1) for w in arrays if w.ndim > 2]
    return np.sum(squares, axis=0)


def measured_table(population: Population, cells: xr.Dataset) -> pd.DataFrame:
    """Return one row per network: `population.table()`, errors to predict, recorded measures.

    Adds `metric.practical_error`: mean over all cells of the clean protocol of the mean error over
    classes; `metric.clean_error`: the same in the cell of untouched images with the smallest novel
    share; and `measure.*`.

    Args:
        population: what was trained.
        cells: of the same population, from `genjax.metrics.testbed.combine`.

    Raises:
        InvalidInputError: the cells know nothing of a group.
    """
    parts = [pd.DataFrame(recorded_measures(group)) for group in population.groups]
    measures = pd.concat(parts, ignore_index=True).add_prefix("measure.")
    errors = pd.concat([_errors(group, cells) for group in population.groups], ignore_index=True)
    return pd.concat([population.table(), errors, measures], axis=1)


def by_family_and_size(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with family and size as its only hyper-parameters.

    Options of different families (widths, channels) never vary alone. `hp.family` and `hp.size`,
    the rank of the parameter count in its family, do: sizes of equal rank are compared.

    Args:
        table: from `measured_table`.

    Example:
        >>> table = pd.DataFrame({"family": ["mlp", "mlp", "cnn"], "hp.widths": ["8", "16", None],
        ...                       "metric.parameters": [10, 20, 15]})
        >>> by_family_and_size(table)[["hp.family", "hp.size"]].to_numpy().tolist()
        [['mlp', 0], ['mlp', 1], ['cnn', 0]]
    """
    kept = table.drop(columns=[name for name in table if str(name).startswith("hp.")])
    ranks = table.groupby("family")["metric.parameters"].rank(method="dense").astype(int) - 1
    return kept.assign(**{"hp.family": table["family"], "hp.size": ranks})


def _errors(group: TrainedGroup, cells: xr.Dataset) -> pd.DataFrame:
    family, size = group.network.family, group.cost.parameters
    try:
        mine = cells["error"].sel(family=family, protocol="clean")
        place = int(np.flatnonzero(cells["parameters"].sel(family=family).values == size)[0])
    except (KeyError, IndexError) as error:
        raise InvalidInputError(
            f"cells: they hold nothing of {family} with {size} parameters under the protocol "
            "'clean'."
        ) from error
    by_cell = mine.isel(size=place).mean("class").sel(seed=group.seeds)
    return pd.DataFrame(
        {
            "metric.practical_error": by_cell.mean(("ssim", "novel_share")).values,
            "metric.clean_error": by_cell.sel(ssim=1.0).isel(novel_share=0).values,
        }
    )
