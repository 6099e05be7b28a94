"""How many networks lie below each one in one order, or in two at once. Host arithmetic."""

import numpy as np
from jaxtyping import Float, Int
from scipy import sparse

Host = np.ndarray

# Networks per block of `count_below_above`: the fastest of 32 to 512 for 10,000 networks.
BLOCK = 192


def count_strictly(
    columns: Float[Host, "network column"], values: Int[Host, " network"]
) -> tuple[Float[Host, "network column"], Float[Host, "network column"]]:
    """Count, for every network, those of smaller value, and those of larger value.

    Args:
        columns: what is summed, such as the one-hot level of each network.
        values: an order of the networks; ties are equal numbers.

    Example:
        >>> import numpy as np
        >>> below, above = count_strictly(np.ones((3, 1)), np.array([5, 2, 5]))
        >>> below[:, 0].tolist(), above[:, 0].tolist()
        ([1.0, 0.0, 1.0], [0.0, 2.0, 0.0])
    """
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    sums = np.zeros((len(values) + 1, columns.shape[1]), columns.dtype)
    np.cumsum(columns[order], axis=0, out=sums[1:])
    up_to = np.searchsorted(ordered, values, side="right")
    return sums[np.searchsorted(ordered, values, side="left")], sums[-1] - sums[up_to]


def count_below_above(
    columns: Float[Host, "network column"],
    first: Int[Host, " network"],
    second: Int[Host, " network"],
) -> tuple[Float[Host, "network column"], Float[Host, "network column"]]:
    """Count, for every network, those below it in two orders, and those above it in both.

    `below[a, c] = sum_b 1[first_b < first_a] 1[second_b < second_a] columns[b, c]`, ties in either
    order not counted, in O(N sqrt(N)) per column: ties are broken against being counted, which
    leaves two permutations. Each is cut into blocks; networks in an earlier block of both are
    counted by cumulative sums of a table of blocks, the others (same block of the first, or
    same block of the second and an earlier one of the first) by products of block-diagonal 0/1
    matrices. By hand, because no library counts this for many columns.

    Args:
        columns: what is summed, such as the one-hot level of each network.
        first: an order of the networks; ties are equal numbers.
        second: the other order.

    Returns:
        `below` and `above`, of the type of `columns`: exact in float32 up to 2^24.

    Example:
        >>> import numpy as np
        >>> order = np.array([0, 1, 2, 2])
        >>> below, above = count_below_above(np.ones((4, 1)), order, np.array([0, 2, 1, 2]))
        >>> below[:, 0].tolist(), above[:, 0].tolist()
        ([0.0, 1.0, 1.0, 1.0], [3.0, 0.0, 0.0, 0.0])
    """
    count, width = columns.shape
    index = np.arange(count)
    # Whichever way a pair tied in one order is placed there, it is placed the other way round in
    # the other order; a pair tied in both is told apart by the index and its opposite.
    order = np.lexsort((index, -second, first))
    blocks = max(-(-count // BLOCK), 1)
    size = max(-(-count // blocks), 1)
    places = np.arange(blocks * size)
    places[np.lexsort((-index, -first, second))] = index
    places[:count] = places[order]
    padded = np.zeros((blocks * size, width), columns.dtype)
    padded[:count] = columns[order]
    below, above = _count_inside_blocks(padded, places, blocks)
    if blocks > 1:
        by_second = np.argsort(places)
        block, other = np.arange(blocks * size) // size, places // size
        inside = _count_inside_blocks(padded[by_second], block[by_second], blocks)
        below[by_second] += inside[0]
        above[by_second] += inside[1]
        lower, upper = _count_across_blocks(padded, block, other, blocks)
        below += lower[block, other]
        above += upper[block, other]
    results = np.empty_like(columns), np.empty_like(columns)
    for result, found in zip(results, (below, above), strict=True):
        result[order] = found[:count]
    return results


def _count_inside_blocks(columns: Host, key: Host, blocks: int) -> tuple[Host, Host]:
    """Count, in each block of rows, the earlier rows of smaller key and the later of larger."""
    keys = key.reshape(blocks, -1)
    size = keys.shape[1]
    is_below = (keys[:, :, None] > keys[:, None, :]) & np.tri(size, k=-1, dtype=bool)
    matrices = is_below.astype(columns.dtype)
    parts = columns.reshape(blocks, size, -1)
    below, above = matrices @ parts, matrices.transpose(0, 2, 1) @ parts
    return below.reshape(columns.shape), above.reshape(columns.shape)


def _count_across_blocks(columns: Host, block: Host, other: Host, blocks: int) -> tuple[Host, Host]:
    """Count, for every pair of blocks, what lies in earlier blocks of both, and in later ones."""
    ones = np.ones(len(block), columns.dtype)
    cells = sparse.csr_array(
        (ones, (block * blocks + other, np.arange(len(block)))), (blocks**2, len(block))
    )
    up_to = np.zeros((blocks + 1, blocks + 1, columns.shape[1]), columns.dtype)
    up_to[1:, 1:] = (cells @ columns).reshape(blocks, blocks, -1).cumsum(0).cumsum(1)
    # Later in both = all - up to here in either + up to here in both.
    later = up_to[-1, -1] - up_to[1:, -1:] - up_to[-1:, 1:] + up_to[1:, 1:]
    return up_to[:-1, :-1], later
