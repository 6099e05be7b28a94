"""How a stack of networks is laid over the devices of this machine.

Measured (see docs/decisions.md): on CPU mapping over networks beats vmapping them, on accelerators
one vmapped program per device is expected to win. Devices run independently: no collectives.
"""

import functools
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

AXIS = "network"


class Execution(NamedTuple):
    """Form of a population program.

    Attributes:
        mesh: the devices, one axis named `network`.
        batch: networks per device that run as one vmapped program; 1 maps over them one by one,
            None takes all at once.
    """

    mesh: Mesh
    batch: int | None


def one_device_per_core() -> None:
    """Ask for one CPU device per core; call before the first use of JAX.

    Two single-core devices train small networks 1.7-2x faster than one two-core device. Does
    nothing where JAX_NUM_CPU_DEVICES is set, or once JAX has started.
    """
    if "JAX_NUM_CPU_DEVICES" in os.environ:
        return
    try:
        jax.config.update("jax_num_cpu_devices", len(os.sched_getaffinity(0)))
        # Each device is driven by its own core; queues between them only add latency.
        jax.config.update("jax_cpu_enable_async_dispatch", False)
    except (RuntimeError, AttributeError):
        return  # JAX has started already, or this platform hides its cores


def choose(devices: list[Any] | None = None, *, networks: int | None = None) -> Execution:
    """Return the fastest form for the devices at hand, no more of them than `networks`.

    Example:
        >>> choose().batch
        1
    """
    devices = (jax.devices() if devices is None else devices)[:networks]
    mesh = Mesh(np.array(devices), (AXIS,))
    return Execution(mesh, 1 if devices[0].platform == "cpu" else None)


def padded(count: int, execution: Execution) -> int:
    """Return `count` rounded up to a multiple of the number of devices."""
    devices = execution.mesh.size
    return -(-count // devices) * devices


def filled(stacked: Any, count: int, form: Execution) -> Any:
    """Repeat the last of `count` networks until every device of `form` has as many.

    Args:
        stacked: a tree of arrays with a leading network axis.
        count: of networks.
        form: that a program is spread with.

    Returns:
        The same tree laid over the devices, once, whatever devices it came from.

    Example:
        >>> filled(np.array([3, 4, 5]), 3, choose(jax.devices()[:1])).tolist()
        [3, 4, 5]
    """
    rows = np.minimum(np.arange(padded(count, form)), count - 1)
    place = NamedSharding(form.mesh, P(AXIS))

    def fill(leaf):
        is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return jax.device_put(leaf[rows] if is_key else np.asarray(leaf)[rows], place)

    return jax.tree.map(fill, stacked)


def cut(stacked: Any, count: int) -> Any:
    """Return the first `count` networks of a tree: without what was filled in.

    On the host: a population may be larger than a device, and its next program may lie elsewhere.

    Example:
        >>> cut({"loss": jax.numpy.arange(4.0)}, 3)
        {'loss': array([0., 1., 2.], dtype=float32)}
    """
    return jax.tree.map(lambda leaf: np.asarray(leaf)[:count], stacked)


def spread(
    function: Callable[..., Any],
    execution: Execution,
    *,
    shared: int = 0,
    stacked: int = 1,
    donate: tuple[int, ...] = (),
    compile_fast: bool = False,
):
    """Compile `function` of one network into a program over a stack of networks.

    Args:
        function: `function(*shared, *of_one_network)`.
        execution: devices and form.
        shared: how many leading arguments all networks share (replicated on every device).
        stacked: how many arguments follow that have a leading network axis, a multiple of the
            number of devices; so do the results.
        donate: positions of arguments whose memory may be reused.
        compile_fast: for large programs that run for less time than they compile; see
            `fast_compilation`.

    Example:
        >>> import jax.numpy as jnp
        >>> program = spread(lambda c, x: c * x, choose(jax.devices()[:1]), shared=1)
        >>> [float(v) for v in program(2.0, jnp.arange(3.0))]
        [0.0, 2.0, 4.0]
    """

    def per_device(*arguments):
        common, own = arguments[:shared], arguments[shared:]

        def one(own):
            return function(*common, *own)

        if execution.batch is None:
            return jax.vmap(one)(own)
        if execution.batch == 1:
            return jax.lax.map(one, own)
        return jax.lax.map(one, own, batch_size=execution.batch)

    specs = (P(),) * shared + (P(AXIS),) * stacked
    # Nothing crosses networks, so there is no replication to verify; with the check on, the zeros
    # that start a scan would have to be cast to "varying" one by one.
    mapped = jax.shard_map(
        per_device, mesh=execution.mesh, in_specs=specs, out_specs=P(AXIS), check_vma=False
    )
    # Shardings are stated, so that a program may be compiled before its inputs exist.
    places = tuple(NamedSharding(execution.mesh, spec) for spec in specs)
    out = NamedSharding(execution.mesh, P(AXIS))
    options = fast_compilation(execution.mesh.devices.flat[0].platform) if compile_fast else None
    return jax.jit(
        mapped, in_shardings=places, out_shardings=out, donate_argnums=donate,
        compiler_options=options,
    )  # fmt: skip


@functools.cache
def fast_compilation(platform: str) -> dict[str, bool] | None:
    """Return compiler options that save compilation and cost a little running time.

    On CPU, fusions go through XLA's older code generator (measured in docs/decisions.md). None
    where there is no such option, e.g. in another version of XLA.

    Example:
        >>> fast_compilation("gpu") is None
        True
    """
    options = {"xla_cpu_use_fusion_emitters": False}
    if platform != "cpu":
        return None
    try:
        jax.jit(lambda x: x, compiler_options=options)(0)
    except jax.errors.JaxRuntimeError:
        return None
    return options


def compile_ahead(program, *arguments):
    """Return `program` compiled for the shapes of `arguments`, without running it."""
    shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(np.shape(a), a.dtype), arguments)
    return program.lower(*shapes).compile()
