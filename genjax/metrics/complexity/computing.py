"""Measures of one network as one pure function, compiled over a stack of networks."""

import functools
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from genjax.metrics.complexity import registry
from genjax.metrics.complexity.contract import MeasureData, Result, Trained
from genjax.metrics.complexity.layers import WeightLayer, weight_layers
from genjax.metrics.complexity.workspace import Workspace
from genjax.models import Network
from genjax.training import execution
from genjax.types import Key


def compute(
    names: Sequence[str],
    network: Network,
    trained: Trained,
    data: MeasureData,
    key: Key,
    *,
    layers: tuple[WeightLayer, ...] | None = None,
) -> tuple[dict[str, Result], dict[str, Any]]:
    """Compute measures of one network: pure, jittable, vmappable over `trained`.

    Nothing is checked here; `measure_group` does. `data.train_size` must be a Python integer.

    Args:
        names: measures, families, `fast` or `all`.
        network: the model as pure functions.
        trained: its arrays, without a network axis.
        data: from `measure_data`.
        key: of everything random.
        layers: of the network; None reads them off its program.

    Returns:
        (value, info) by name, and the intermediates that measures of scope "group" need.

    Example:
        >>> import jax
        >>> from genjax import data, models
        >>> from genjax.metrics.complexity import measure_data
        >>> net = models.create("mlp", image_shape=(8, 8, 1), num_classes=10, widths=(4,))
        >>> start = net.fold(*net.init(jax.random.key(0)))
        >>> network = Trained(start, start, None, None, None, None, 0)
        >>> digits = measure_data(data.load("digits").take(range(20)))
        >>> found, _ = compute(["parameters"], net, network, digits, jax.random.key(1))
        >>> float(found["parameters"][0])
        310.0
    """
    layers = weight_layers(network, trained.params) if layers is None else layers
    workspace = Workspace(network, layers, trained, data, key, registry.intermediates())
    found, shared = {}, {}
    for measure in registry.select(names):
        if measure.scope == "group":
            shared.update({name: workspace[name] for name in measure.needs})
            continue
        amount, info = measure.compute(workspace.restricted(measure.needs))
        found[measure.name] = (jnp.asarray(amount, jnp.result_type(float)), info)
    return found, shared


class SameNetwork:
    """A network as a key of a cache: the very same functions."""

    def __init__(self, network: Network):
        self.network = network

    def __hash__(self):
        return hash((self.network.name, id(self.network.apply)))

    def __eq__(self, other):
        return self.network.apply is other.network.apply


# Few: a program of all measures keeps some 9,000 memory maps, and Linux gives a process 65,530.
@functools.lru_cache(maxsize=4)
def program(
    same: SameNetwork,
    layers: tuple[WeightLayer, ...],
    chosen: tuple[str, ...],
    train_size: int,
    mesh: Any,
    batch: int | None,
):
    """Compile measures of one network, and what measures of a group need, over a stack."""

    def one(data, key, trained):
        data = data._replace(train_size=train_size)
        return compute(chosen, same.network, trained, data, key, layers=layers)

    return execution.spread(one, execution.Execution(mesh, batch), shared=2, compile_fast=True)
