"""Measure every network of a group, or of a population, in one program per group."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from genjax.errors import InvalidInputError
from genjax.metrics.complexity import computing, offers, registry
from genjax.metrics.complexity.contract import (
    NEEDS,
    REASONS,
    Measure,
    MeasureData,
    Refusal,
    Trained,
)
from genjax.metrics.complexity.layers import weight_layers
from genjax.metrics.complexity.workspace import CHUNK
from genjax.training import Population, TrainedGroup, execution, segment
from genjax.types import Key

Host = np.ndarray
_CPU_BYTES = 2 * 2**30


class Refused(NamedTuple):
    """A measure that has no value for some networks.

    Attributes:
        measure: its name.
        networks: positions in the group, or in the table of a population.
        reason: in words.
    """

    measure: str
    networks: tuple[int, ...]
    reason: str

    def sentence(self) -> str:
        """Return who is refused and why.

        Example:
            >>> Refused("inverse_margin", (3,), "its margin is zero or negative").sentence()
            'inverse_margin: no value for network 3: its margin is zero or negative.'
        """
        shown = ", ".join(map(str, self.networks[:5])) + (
            f" and {len(self.networks) - 5} more" if len(self.networks) > 5 else ""
        )
        plural = "s" if len(self.networks) > 1 else ""
        return f"{self.measure}: no value for network{plural} {shown}: {self.reason}."


class GroupMeasures(NamedTuple):
    """What was measured of the networks of a group.

    Attributes:
        values: name -> [n], float64, NaN where refused.
        info: name -> diagnostic -> [n].
        refused: what has no value, and why.
    """

    values: Mapping[str, Host]
    info: Mapping[str, Mapping[str, Host]]
    refused: tuple[Refused, ...]


class GroupWorkspace(NamedTuple):
    """What a measure of scope "group" sees.

    Attributes:
        stacked: intermediate -> pytree of NumPy arrays [n, ...].
        seeds: [n], index of the seed.
        settings: [n], networks of equal number differ in nothing but their seed.
        valid: [n], whether the network may be used.
        data: the examples.
    """

    stacked: Mapping[str, Any]
    seeds: Host
    settings: Host
    valid: Host
    data: MeasureData


def measure_group(
    group: TrainedGroup,
    data: MeasureData,
    names: Sequence[str] = ("fast",),
    *,
    key: Key,
    form: execution.Execution | None = None,
    batch_networks: int | None = None,
) -> GroupMeasures:
    """Compute measures of every network of a group, as one compiled program.

    What several measures need is computed once per network. A measure whose requirements the group
    or the data do not meet is refused by name; so is a network for which a measure is not defined;
    the others are not affected. The same group, names and shapes compile once.

    Args:
        group: trained here, or one foreign network.
        data: from `measure_data`.
        names: measures, families, `fast` or `all`.
        key: of everything random; a network's draws depend on it and on the network's seed.
        form: devices and form; None chooses.
        batch_networks: networks of a device that are measured at once, which bounds the memory;
            None takes one on CPU and what fits on accelerators.

    Raises:
        InvalidInputError: a name is unknown, images of another shape, labels without an output, or
            a network that gives different outputs for the same images.

    Example:
        >>> from genjax import data, training
        >>> from genjax.metrics.complexity import measure_data
        >>> digits = data.load("digits").take(range(100))
        >>> config = training.SweepConfig(
        ...     [training.ModelConfig("mlp", {"widths": (4,)})],
        ...     [training.TrainingConfig(max_steps=2, record_every=1)], {}, seeds=2)
        >>> group = training.sweep(config, digits, jax.random.key(0)).groups[0]
        >>> found = measure_group(group, measure_data(digits), ["parameters"],
        ...                       key=jax.random.key(1))
        >>> found.values["parameters"].tolist()
        [310.0, 310.0]
    """
    chosen = registry.select(names)
    offers.check_data(group.network, data)
    offers.check_deterministic(group, data)
    possible, refused = _possible(chosen, offers.offered(group, data), len(group.seeds))
    if not possible:
        nothing = np.full(len(group.seeds), np.nan)
        return GroupMeasures({m.name: nothing for m in chosen}, {}, tuple(refused))
    form = _form(group, form, batch_networks)
    valid = (group.status != segment.DIVERGED) & _finite(group.params)
    found = _run(group, data, possible, key, form)
    results = {name: _as_host(pair, len(group.seeds)) for name, pair in found[0].items()}
    together = _group_workspace(group, data, found[1], valid)
    for measure in possible:
        if measure.scope == "group":
            results[measure.name] = _as_host(measure.compute(together), len(group.seeds))
    return _collect(chosen, results, valid, refused)


def _possible(chosen, have, count) -> tuple[list[Measure], list[Refused]]:
    possible, refused = [], []
    for measure in chosen:
        missing = [need for need in registry.requirements(measure) if need not in have]
        if missing:
            words = "; ".join(NEEDS[need] for need in missing)
            refused.append(Refused(measure.name, tuple(range(count)), f"it needs {words}"))
        else:
            possible.append(measure)
    return possible, refused


def _finite(params: Any) -> Host:
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(params)]
    return np.all([np.isfinite(w).reshape(len(w), -1).all(1) for w in leaves], axis=0)


def _form(group, form, batch_networks) -> execution.Execution:
    form = execution.choose(networks=len(group.seeds)) if form is None else form
    if batch_networks is not None:
        if batch_networks < 1:
            raise InvalidInputError(
                f"batch_networks: found {batch_networks}; allowed are whole numbers from 1."
            )
        return form._replace(batch=batch_networks)
    if form.batch is not None:
        return form
    # Weights, their gradients and spectra; activations of a chunk, forward and backward.
    weights = sum(np.asarray(leaf)[0].size for leaf in jax.tree.leaves(group.params))
    image = jax.ShapeDtypeStruct((1, *group.network.image_shape), jnp.float32)
    taps = jax.eval_shape(group.network.taps, group.network_params(0), image)
    activations = sum(np.prod(tap.shape) for tap in jax.tree.leaves(taps))
    need = 4 * (16 * weights + 8 * CHUNK * activations)
    stats = form.mesh.devices.flat[0].memory_stats() or {}
    room = stats.get("bytes_limit", 2 * _CPU_BYTES) // 2
    return form._replace(batch=max(1, int(room // need)))


def _run(group, data, possible: Sequence[Measure], key, form):
    layers = weight_layers(group.network, group.network_params(0))
    program = computing.program(
        computing.SameNetwork(group.network),
        layers,
        tuple(m.name for m in possible),
        data.train_size,
        form.mesh,
        form.batch,
    )
    n = len(group.seeds)
    trained = execution.filled(_stacked(group), n, form)
    # LAPACK's own threads would compete with the devices for the cores.
    with threadpool_limits(limits=1):
        found = program(data._replace(train_size=None), key, trained)
        jax.block_until_ready(found)
    return execution.cut(found, n)


def _stacked(group: TrainedGroup) -> Trained:
    history = steps = None
    if group.history is not None:
        history, steps = _padded_record(group)
    return Trained(
        params=group.params,
        init_params=group.init_params,
        history=history,
        history_steps=steps,
        stop_step=group.stop_step,
        hyper=group.hyper,
        seed=np.asarray(group.seeds, np.int32),
    )


def _padded_record(group) -> tuple[Any, Host]:
    """Return the record with networks first, as long as it can be: equal rules compile once.

    What is added is NaN, as after a network stopped, at the last step.
    """
    most = len(group.history_steps)
    if group.training is not None and most:
        most = max(most, -(-group.training.max_steps // group.training.record_every))
    more = most - len(group.history_steps)

    def filled(values):
        values = np.moveaxis(np.asarray(values), 1, 0)
        return np.pad(values, ((0, 0), (0, more)), constant_values=np.nan)

    steps = np.pad(np.asarray(group.history_steps), (0, more), mode="edge")
    return jax.tree.map(filled, group.history), np.broadcast_to(steps, (len(group.seeds), most))


def _group_workspace(group, data, shared, valid) -> GroupWorkspace:
    settings = np.zeros(len(group.seeds), int)
    if group.hyper is not None:
        rows = np.stack([np.asarray(v, np.float64) for v in group.hyper], axis=1)
        settings = np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1)
    return GroupWorkspace(shared, np.asarray(group.seeds), settings, valid, data)


def _as_host(pair, count) -> tuple[Host, dict[str, Host]]:
    amount, info = pair
    spread = {k: np.broadcast_to(np.asarray(v), (count,)) for k, v in info.items()}
    return np.broadcast_to(np.asarray(amount, np.float64), (count,)).copy(), spread


def _collect(chosen, results, valid, refused) -> GroupMeasures:
    values, infos = {}, {}
    for measure in chosen:
        if measure.name not in results:
            values[measure.name] = np.full(len(valid), np.nan)
            continue
        amount, info = results[measure.name]
        codes = np.asarray(info.get("refusal", np.zeros(len(valid), int))).copy()
        codes = np.where(~np.isfinite(amount) & (codes == 0), Refusal.DEGENERATE, codes)
        codes = np.where(valid, codes, Refusal.NOT_FINITE)
        values[measure.name] = np.where(codes == 0, amount, np.nan)
        infos[measure.name] = {k: v for k, v in info.items() if k != "refusal"}
        for code in np.unique(codes[codes != 0]):
            who = tuple(np.flatnonzero(codes == code).tolist())
            refused.append(Refused(measure.name, who, REASONS[Refusal(code)]))
    return GroupMeasures(values, infos, tuple(refused))


def measure(
    population: Population,
    data: MeasureData,
    names: Sequence[str] = ("fast",),
    *,
    key: Key,
    batch_networks: int | None = None,
    on_progress: Callable[[int, int, str], None] | None = None,
) -> tuple[pd.DataFrame, tuple[Refused, ...]]:
    """Measure every network of a population; rows are those of `population.table()`.

    Args:
        population: what was trained.
        data: from `measure_data`.
        names: measures, families, `fast` or `all`.
        key: of everything random.
        batch_networks: see `measure_group`.
        on_progress: called with (groups done, groups, name of the model) after each group.

    Returns:
        Columns `measure.NAME` and `info.NAME.DIAGNOSTIC`, and what was refused, with positions in
        the table.

    Raises:
        InvalidInputError: as `measure_group`.
    """
    frames, refused, row = [], [], 0
    for index, group in enumerate(population.groups):
        found = measure_group(group, data, names, key=key, batch_networks=batch_networks)
        frames.append(columns(found))
        refused += [r._replace(networks=tuple(row + i for i in r.networks)) for r in found.refused]
        row += len(group.seeds)
        if on_progress is not None:
            on_progress(index + 1, len(population.groups), group.network.name)
    return pd.concat(frames, ignore_index=True), merged(refused)


def columns(found: GroupMeasures) -> pd.DataFrame:
    """Return values and diagnostics of a group as columns `measure.*` and `info.*`."""
    table = {f"measure.{name}": values for name, values in found.values.items()}
    for name, info in found.info.items():
        table |= {f"info.{name}.{what}": values for what, values in info.items()}
    return pd.DataFrame(table)


def merged(refused: Sequence[Refused]) -> tuple[Refused, ...]:
    """Return refusals with the networks of equal measure and reason put together."""
    together: dict[tuple[str, str], tuple[int, ...]] = {}
    for one in refused:
        place = (one.measure, one.reason)
        together[place] = together.get(place, ()) + one.networks
    return tuple(Refused(m, who, why) for (m, why), who in together.items())
