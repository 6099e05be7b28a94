"""Weight matching: the order of hidden units in which two networks are closest.

On the host: the assignment problem is SciPy's.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from scipy.optimize import linear_sum_assignment

from genjax.errors import InvalidInputError
from genjax.metrics.curvature.loss_surface import POINTS, LinearPath, linear_path
from genjax.metrics.curvature.objective import Chunks, Objective
from genjax.models import Network
from genjax.types import Params

FAMILIES = ("mlp", "cnn")
_SWEEPS = 100


class Matched(NamedTuple):
    """A network with its hidden units reordered.

    Attributes:
        params: the same function, closest to the other network.
        permutations: one per hidden layer: unit i is now what was unit `permutation[i]`.
        sweeps: over the layers, until none changed.
    """

    params: Params
    permutations: tuple[np.ndarray, ...]
    sweeps: int


class ModeConnectivity(NamedTuple):
    """The line between two networks, before and after their units are matched.

    Attributes:
        plain: the line between the two as they are.
        matched: the line after the hidden units of the second are reordered.
        permutations: by which.
    """

    plain: LinearPath
    matched: LinearPath
    permutations: tuple[np.ndarray, ...]


def _layers(network: Network) -> list[str]:
    """Return the names of the layers in order."""
    if network.family not in FAMILIES:
        raise InvalidInputError(
            f"network: found {network.name}; hidden units are matched in the families "
            f"{' and '.join(FAMILIES)} only, whose layers form a chain."
        )
    stem, sizes = ("dense", "widths") if network.family == "mlp" else ("conv", "channels")
    return [*(f"{stem}{i + 1}" for i in range(len(network.options[sizes]))), "output"]


def _permuted(
    params: Mapping[str, Any], names: Sequence[str], permutations: Sequence[np.ndarray]
) -> dict[str, dict[str, np.ndarray]]:
    """Return parameters with hidden units reordered; nothing else changes, to the last bit."""
    result = {name: {k: np.asarray(v) for k, v in params[name].items()} for name in names}
    for name, following, order in zip(names[:-1], names[1:], permutations, strict=True):
        result[name] = {k: v[..., order] for k, v in result[name].items()}
        kernel = result[following]["kernel"]
        rows = kernel.reshape(*_inputs(kernel, len(order)))[..., order, :]
        result[following] = {**result[following], "kernel": rows.reshape(kernel.shape)}
    return result


def _inputs(kernel: np.ndarray, units: int) -> tuple[int, int, int]:
    """Return the shape [places, units, outputs]: a flattened map has its channels last."""
    return (kernel.size // (units * kernel.shape[-1]), units, kernel.shape[-1])


def match_weights(network: Network, first: Params, second: Params) -> Matched:
    """Reorder the hidden units of the second network to be closest to the first.

    Maximises the inner product of the weights, one hidden layer after the other, each exactly, from
    the first layer to the last until no layer changes (Ainsworth, Hayase and Srinivasa, Git
    Re-Basin: Merging Models modulo Permutation Symmetries, ICLR 2023, section 3.2 and algorithm 1;
    biases count as weights). It finds a local optimum.

    Args:
        network: of both; an `mlp` or a `cnn`.
        first: parameters.
        second: parameters, on the host or a device.

    Raises:
        InvalidInputError: another architecture, parameters that are not finite.

    Example:
        >>> from genjax import models
        >>> net = models.create("mlp", image_shape=(4, 4, 1), num_classes=3, widths=(5,))
        >>> params = net.fold(*net.init(jax.random.key(0)))
        >>> match_weights(net, params, params).permutations[0].tolist()
        [0, 1, 2, 3, 4]
    """
    names = _layers(network)
    for which, params in (("first", first), ("second", second)):
        if not all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves(params)):
            raise InvalidInputError(
                f"{which}: found parameters that are not finite; they match nothing."
            )
    one = {n: {k: np.asarray(v, np.float64) for k, v in first[n].items()} for n in names}
    other = {n: {k: np.asarray(v, np.float64) for k, v in second[n].items()} for n in names}
    orders = [np.arange(one[name]["kernel"].shape[-1]) for name in names[:-1]]
    sweeps, changed = 0, True
    while changed and sweeps < _SWEEPS:
        sweeps, changed = sweeps + 1, False
        for place in range(len(orders)):
            free = [*orders]
            free[place] = np.arange(len(orders[place]))
            gains = _similarity(one, _permuted(other, names, free), names, place)
            _, best = linear_sum_assignment(gains, maximize=True)
            rows = np.arange(len(best))
            now, then = gains[rows, best].sum(), gains[rows, orders[place]].sum()
            if now > then + 1e-12 * abs(then):
                orders[place], changed = best, True
    matched = _permuted(second, names, orders)
    return Matched(jax.tree.map(np.asarray, matched), tuple(orders), sweeps)


def _similarity(one, other, names, place) -> np.ndarray:
    """Return [units, units]: inner product of unit i's weights with those of unit j."""
    name, following = names[place], names[place + 1]
    units = one[name]["kernel"].shape[-1]
    total = np.zeros((units, units))
    for key, value in one[name].items():
        total += value.reshape(-1, units).T @ other[name][key].reshape(-1, units)
    ahead = [
        tree[following]["kernel"].reshape(_inputs(one[following]["kernel"], units))
        for tree in (one, other)
    ]
    return total + np.einsum("piq,pjq->ij", *ahead)


def mode_connectivity(
    network: Network,
    objective: Objective,
    first: Params,
    second: Params,
    chunks: Chunks,
    *,
    points: int = POINTS,
) -> ModeConnectivity:
    """Return the loss between two networks, as they are and after weight matching.

    Args:
        network: of both; an `mlp` or a `cnn`.
        objective: what is measured.
        first: parameters.
        second: parameters.
        chunks: examples.
        points: on the line.

    Raises:
        InvalidInputError: another architecture, or fewer than two points.

    Example:
        >>> from genjax import models
        >>> from genjax.metrics.curvature.objective import objective, pack
        >>> net = models.create("mlp", image_shape=(2, 2, 1), num_classes=3, widths=(4,))
        >>> params = net.fold(*net.init(jax.random.key(0)))
        >>> made = objective(net.apply)
        >>> chunks = pack(made, (np.ones((4, 2, 2, 1), np.float32), np.zeros(4, int)))
        >>> found = mode_connectivity(net, made, params, params, chunks, points=3)
        >>> float(found.plain.barrier), float(found.matched.barrier)
        (0.0, 0.0)
    """
    matched = match_weights(network, first, second)
    return ModeConnectivity(
        linear_path(objective, first, second, chunks, points=points),
        linear_path(objective, first, matched.params, chunks, points=points),
        matched.permutations,
    )
