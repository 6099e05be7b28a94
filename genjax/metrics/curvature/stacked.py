"""Curvature over all devices: of many networks at once, or of one network with many examples."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec as P
from threadpoolctl import threadpool_limits

from genjax.errors import InvalidInputError
from genjax.metrics.curvature.checks import check
from genjax.metrics.curvature.objective import Chunks, Objective, sums_over, value
from genjax.training import execution
from genjax.types import Key, Params

OfOneNetwork = Callable[[Params, Chunks, Key], Any]
"""`(params, chunks, key) -> tree of arrays`, traced once for all networks."""


def over_networks(
    objective: Objective,
    function: OfOneNetwork,
    params_stack: Params,
    chunks: Chunks,
    key: Key,
    *,
    batch: int | None = None,
) -> tuple[Any, np.ndarray]:
    """Apply a function of one network to each of a stack, spread over the devices.

    On CPU every core maps over its networks, on accelerators they are one vmapped program. The
    program is compiled once for the same objective and function objects and shapes.

    Args:
        objective: what the curvature is of; its value says which networks can be measured.
        function: of one network.
        params_stack: parameters with a leading network axis [n, ...].
        chunks: from `pack`, shared by all networks.
        key: every network has its own, which depends on its position alone.
        batch: networks per device in one vmapped program; None chooses for the devices. Memory
            is that of the function times this.

    Returns:
        What the function returns, as NumPy arrays with a leading axis [n], NaN (or 0 for integers)
        for networks whose parameters or loss are not finite; and which are valid, [n].

    Raises:
        InvalidInputError: no networks, or the first one that is finite is refused by `check`.

    Example:
        >>> from genjax.metrics import curvature
        >>> line = curvature.objective(lambda w, x: x * w, "squared")
        >>> chunks = curvature.pack(line, (jnp.ones((4, 1)), jnp.zeros(4, int)))
        >>> def steepness(params, chunks, key):
        ...     return curvature.hessian(line)(params, chunks)(jnp.ones(()))
        >>> found, valid = over_networks(
        ...     line, steepness, jnp.array([1.0, jnp.inf]), chunks, jax.random.key(0))
        >>> found.tolist(), valid.tolist()
        ([1.0, nan], [True, False])
    """
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(params_stack)]
    number = {leaf.shape[0] for leaf in leaves if leaf.ndim}
    if len(number) != 1 or 0 in number or not all(leaf.ndim for leaf in leaves):
        raise InvalidInputError(
            f"params_stack: found leading axes {sorted(number)}; all arrays need the same number "
            "of networks, at least one."
        )
    (networks,) = number
    form = execution.choose(networks=networks)
    form = form if batch is None else form._replace(batch=batch)
    program = _program(objective, function, form.mesh, form.batch)
    if not program.checked:
        _check_first(objective, params_stack, leaves, chunks)
        program.checked = True
    own = (params_stack, np.arange(networks, dtype=np.int32))
    # LAPACK's own threads would compete with the devices for the cores.
    with threadpool_limits(limits=1):
        found, valid = program.run(chunks, key, execution.filled(own, networks, form))
        jax.block_until_ready(found)
    return execution.cut((found, valid), networks)


def over_devices(
    function: OfOneNetwork, params: Params, chunks: Chunks, key: Key, *, devices: Any = None
) -> Any:
    """Apply a function of one network with its examples spread over the devices.

    Every product, gradient and value adds up what the devices have; all else is computed on each.
    On CPU one device per core makes curvature of a single small network about as much faster as
    there are cores. The program is compiled once for the same function object and shapes.

    Args:
        function: of one network; whatever of `genjax.metrics.curvature` it calls.
        params: of one network.
        chunks: from `pack`; filled up by chunks of weight 0 to a multiple of the devices.
        key: of everything random.
        devices: to use; None takes all.

    Example:
        >>> from genjax.metrics import curvature
        >>> line = curvature.objective(lambda w, x: x * w, "squared", chunk=2)
        >>> chunks = curvature.pack(line, (jnp.ones((6, 1)), jnp.zeros(6, int)))
        >>> def steepness(params, chunks, key):
        ...     return curvature.hessian(line)(params, chunks)(jnp.ones(()))
        >>> float(over_devices(steepness, jnp.ones(()), chunks, jax.random.key(0)))
        1.0
    """
    mesh = execution.choose(devices, networks=len(chunks.weights)).mesh
    missing = -len(chunks.weights) % mesh.size

    def filled(leaf):
        return jnp.concatenate([leaf, leaf[:missing]]) if missing else leaf

    weights = jnp.concatenate([chunks.weights, jnp.zeros_like(chunks.weights[:missing])])
    chunks = Chunks(filled(chunks.images), filled(chunks.labels), weights)
    with threadpool_limits(limits=1):
        return jax.block_until_ready(_shared(function, mesh)(params, chunks, key))


@functools.lru_cache(maxsize=32)
def _shared(function: OfOneNetwork, mesh: Any):
    def one(params, chunks, key):
        with sums_over(execution.AXIS):
            return function(params, chunks, key)

    # What every device computes is the same: sums over devices are, and all else follows from them.
    mapped = jax.shard_map(
        one, mesh=mesh, in_specs=(P(), P(execution.AXIS), P()), out_specs=P(), check_vma=False
    )
    return jax.jit(mapped)


def _check_first(objective: Objective, stack: Params, leaves: list[Any], chunks: Chunks) -> None:
    """Refuse what holds for all networks; parameters or a loss not finite are a network's own."""
    finite = [np.isfinite(leaf).reshape(len(leaf), -1).all(axis=1) for leaf in leaves]
    for index in np.flatnonzero(np.all(finite, axis=0))[:1].tolist():
        params = jax.tree.map(lambda leaf, i=index: jnp.asarray(leaf[i]), stack)
        if np.isfinite(float(value(objective, params, chunks))):
            check(objective, params, chunks)


class _Program:
    """A compiled program, and whether a network of its objective has passed `check`."""

    def __init__(self, run: Callable[..., Any]):
        self.run, self.checked = run, False


@functools.lru_cache(maxsize=32)
def _program(objective: Objective, function: OfOneNetwork, mesh: Any, batch: int | None):
    def one(chunks, key, own):
        params, index = own
        finite = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(params)]
        valid = functools.reduce(jnp.logical_and, finite)
        valid = valid & jnp.isfinite(value(objective, params, chunks))
        # Decompositions and loops of the function meet numbers, whatever the network is.
        params = jax.tree.map(lambda leaf: jnp.where(valid, leaf, jnp.zeros_like(leaf)), params)
        found = function(params, chunks, jax.random.fold_in(key, index))

        def marked(leaf):
            leaf = jnp.asarray(leaf)
            none = jnp.nan if jnp.issubdtype(leaf.dtype, jnp.inexact) else 0
            return jnp.where(valid, leaf, jnp.asarray(none, leaf.dtype))

        return jax.tree.map(marked, found), valid

    return _Program(execution.spread(one, execution.Execution(mesh, batch), shared=2))
