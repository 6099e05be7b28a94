"""What the statistics of relations start from: networks as rows of arrays. Host float64."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from genjax.errors import InvalidInputError

Host = np.ndarray


class MeasuredNetworks(NamedTuple):
    """Networks with their hyper-parameters, their target and everything measured on them.

    A configuration is one setting of all hyper-parameters; networks of one configuration differ in
    the seed only. Every value is a code, so that all statistics work on integers.

    Attributes:
        measures: [N, M]; NaN where a measure has no value for a network.
        target: what is to be predicted, finite.
        levels: code of every hyper-parameter's value, 0, 1, ... in the order of the values.
        configurations: number of the configuration of each network, 0 to K - 1.
        seeds: code of the seed; 0 everywhere if the networks have none.
        measure_names: of the columns of `measures`.
        hyper_names: of the columns of `levels`.
        hyper_values: the values behind the codes, for every hyper-parameter.
        continuous: number of the joint value of all hyper-parameters that have no levels because
            they have too many values; networks that differ in it differ in more than their levels.
    """

    measures: Float[Host, "network measure"]
    target: Float[Host, " network"]
    levels: Int[Host, "network hyper"]
    configurations: Int[Host, " network"]
    seeds: Int[Host, " network"]
    measure_names: tuple[str, ...]
    hyper_names: tuple[str, ...]
    hyper_values: tuple[tuple, ...]
    continuous: Int[Host, " network"]


def everything_set(networks: MeasuredNetworks) -> Int[Host, "network hyper"]:
    """Return the levels with one more column, `continuous`: all that is set but the seed.

    Networks vary in one hyper-parameter alone if they share all other columns.

    Example:
        >>> networks = from_arrays(np.zeros((2, 1)), np.zeros(2), np.array([[0], [1]]))
        >>> everything_set(networks).tolist()
        [[0, 0], [1, 0]]
    """
    return np.column_stack([networks.levels, networks.continuous])


def from_arrays(
    measures: Float[Host, "network measure"],
    target: Float[Host, " network"],
    levels: Int[Host, "network hyper"] | None = None,
    seeds: Int[Host, " network"] | None = None,
) -> MeasuredNetworks:
    """Number configurations and name everything by its place; for arrays made in a program.

    Args:
        measures: [N, M].
        target: [N].
        levels: code of every hyper-parameter's value; None: every network is its own configuration.
        seeds: code of each network's seed; None: 0.

    Raises:
        InvalidInputError: the target is not finite.

    Example:
        >>> import numpy as np
        >>> networks = from_arrays(np.zeros((4, 1)), np.arange(4.0), np.array([[0], [0], [1], [1]]))
        >>> networks.configurations.tolist(), networks.hyper_values
        ([0, 0, 1, 1], ((0, 1),))
    """
    count = len(target)
    if not np.isfinite(target).all():
        raise InvalidInputError("target: found NaN or infinity; every network needs a value.")
    codes = np.zeros((count, 0), np.int64) if levels is None else np.asarray(levels, np.int64)
    configurations = np.arange(count)
    if levels is not None:
        configurations = np.unique(codes, axis=0, return_inverse=True)[1].reshape(-1)
    return MeasuredNetworks(
        np.asarray(measures, np.float64),
        np.asarray(target, np.float64),
        codes,
        configurations.astype(np.int64),
        np.zeros(count, np.int64) if seeds is None else np.asarray(seeds, np.int64),
        tuple(f"measure.{k}" for k in range(measures.shape[1])),
        tuple(f"hp.{k}" for k in range(codes.shape[1])),
        tuple(tuple(range(int(c.max()) + 1)) for c in codes.T),
        np.zeros(count, np.int64),
    )


def configuration_draws(
    configurations: Int[Host, " network"], draws: int, *, seed: int
) -> Int[Host, "draws network"]:
    """Draw configurations with replacement: how often each network is in each bootstrap sample.

    The cluster is the configuration: its networks (seeds) come and go together, because they are
    not independent of each other. Without seeds every network is its own cluster.

    Args:
        configurations: number of the configuration of each network.
        draws: number of draws D.
        seed: of the generator.

    Returns:
        Multiplicities `[D, N]`.

    Raises:
        InvalidInputError: `draws` is not positive.

    Example:
        >>> import numpy as np
        >>> configuration_draws(np.array([0, 0, 1]), 1, seed=0).tolist()
        [[1, 1, 1]]
    """
    if draws < 1:
        raise InvalidInputError(f"draws: found {draws}; at least 1 is needed.")
    count = int(configurations.max()) + 1
    generator = np.random.default_rng(seed)
    times = generator.multinomial(count, np.full(count, 1 / count), size=draws)
    return times[:, configurations]


def group_means(
    values: Float[Host, "network column"], groups: Int[Host, " network"]
) -> tuple[Float[Host, "group column"], Int[Host, " group"]]:
    """Return means over the networks of every group that have a value, and the groups' numbers.

    Example:
        >>> means, numbers = group_means(np.array([[1.0], [3.0], [np.nan]]), np.array([4, 4, 7]))
        >>> means.ravel().tolist(), numbers.tolist()
        ([2.0, nan], [4, 7])
    """
    numbers, code = np.unique(groups, return_inverse=True)
    known = np.isfinite(values)
    sums, counts = np.zeros((2, len(numbers), values.shape[1]))
    np.add.at(sums, code.reshape(-1), np.where(known, values, 0))
    np.add.at(counts, code.reshape(-1), known)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan), numbers


def complete_columns(
    measures: Float[Host, "network measure"],
) -> list[tuple[Bool[Host, " network"], Int[Host, " columns"]]]:
    """Group measures by the networks that they have values for.

    Returns:
        One pair per pattern of missing values: which networks have values, and which columns these
        are. Statistics then work on complete blocks.

    Example:
        >>> import numpy as np
        >>> values = np.array([[1.0, 2.0, np.nan], [3.0, 4.0, 5.0]])
        >>> [(rows.tolist(), columns.tolist()) for rows, columns in complete_columns(values)]
        [([False, True], [2]), ([True, True], [0, 1])]
    """
    known = np.isfinite(measures)
    patterns, which = np.unique(known, axis=1, return_inverse=True)
    which = which.reshape(-1)
    return [(patterns[:, k], np.flatnonzero(which == k)) for k in range(patterns.shape[1])]
