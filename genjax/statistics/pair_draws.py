"""Count pairs of networks that a measure and a target order alike. Exact whole numbers."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from os import cpu_count
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy import sparse, stats
from threadpoolctl import threadpool_limits

Host = np.ndarray
# SciPy's sorts and NumPy's products leave the interpreter free while they run.
WORKERS = min(cpu_count() or 1, 8)
# Draws counted at once: numbers in the largest array.
LARGEST = 4_000_000


class Pairs(NamedTuple):
    """Numbers of pairs of networks, in every draw.

    Attributes:
        difference: pairs in the same order minus pairs in the reverse order.
        total: all pairs.
        target_ties: pairs that are tied in the target.
        measure_ties: pairs that are tied in the measure.
    """

    difference: Float[Host, "draw measure"]
    total: Float[Host, "draw 1"]
    target_ties: Float[Host, "draw 1"]
    measure_ties: Float[Host, "draw measure"]


def tau_b(pairs: Pairs) -> Float[Host, "draw measure"]:
    """Kendall's tau-b, difference / sqrt(untied pairs of the measure, of the target).

    Example:
        >>> import numpy as np
        >>> counted = count_pairs(np.array([1.0, 2.0, 3.0]), np.array([[1.0], [1.0], [2.0]]))
        >>> tau_b(counted).round(6).tolist()
        [[0.816497]]
    """
    measure = _or_nan(pairs.total - pairs.measure_ties)
    target = _or_nan(pairs.total - pairs.target_ties)
    return np.clip(pairs.difference / np.sqrt(measure) / np.sqrt(target), -1, 1)


def concordant_share(pairs: Pairs) -> Float[Host, "draw measure"]:
    """Share of the pairs untied in the target that have the same order; ties count one half.

    Example:
        >>> import numpy as np
        >>> counted = count_pairs(np.array([1.0, 2.0, 3.0]), np.array([[1.0], [1.0], [2.0]]))
        >>> concordant_share(counted).round(6).tolist()
        [[0.833333]]
    """
    measure = _or_nan(pairs.total - pairs.measure_ties)
    target = _or_nan(pairs.total - pairs.target_ties)
    return np.where(measure > 0, (1 + pairs.difference / target) / 2, np.nan)


def mean_sign_error(pairs: Pairs) -> Float[Host, "draw measure"]:
    """Mean over all pairs of (1 - sign sign) / 2; ties count one half.

    Example:
        >>> import numpy as np
        >>> counted = count_pairs(np.array([1.0, 2.0, 3.0]), np.array([[1.0], [1.0], [2.0]]))
        >>> mean_sign_error(counted).round(6).tolist()
        [[0.166667]]
    """
    untied = (pairs.total > pairs.measure_ties) & (pairs.total > pairs.target_ties)
    return np.where(untied, (1 - pairs.difference / _or_nan(pairs.total)) / 2, np.nan)


def count_pairs(target: Float[Host, " network"], measures: Float[Host, "network measure"]) -> Pairs:
    """Count the pairs of a table, as one draw.

    Example:
        >>> import numpy as np
        >>> count_pairs(np.array([1.0, 2.0, 2.0]), np.array([[1.0], [2.0], [3.0]])).difference
        array([[2.]])
    """
    total = len(target) * (len(target) - 1) / 2
    target_ties = _ties(np.unique(target, return_counts=True)[1])

    def column(values: Host) -> tuple[float, float]:
        ties = _ties(np.unique(values, return_counts=True)[1])
        if total in (ties, target_ties):
            return 0.0, float(ties)
        tau = stats.kendalltau(target, values)[0]
        # SciPy returns the quotient only; its numerator is the whole number next to this.
        difference = np.rint(tau * np.sqrt(total - ties) * np.sqrt(total - target_ties))
        return float(difference), float(ties)

    with ThreadPoolExecutor(WORKERS) as pool:
        found = list(pool.map(column, measures.T))
    difference, ties = np.array(found, np.float64).reshape(-1, 2).T
    return Pairs(difference[None], np.array([[total]]), np.array([[target_ties]]), ties[None])


@threadpool_limits.wrap(limits=1)
def count_pairs_in_draws(
    target: Float[Host, " network"],
    measures: Float[Host, "network measure"],
    multiplicities: Int[Host, "draw network"],
) -> Pairs:
    """Count the pairs of every bootstrap sample, all draws of a measure at once.

    SciPy would sort every sample anew; here signs of pairs are computed once per measure. Networks
    are cut into blocks of neighbours in the target and in the measure. Between blocks, sums over
    the grid of blocks count; within a block, w' K w with K the products of signs. A copy of a
    network is tied with it, as in a table with repeated rows.

    Example:
        >>> import numpy as np
        >>> target, measures = np.array([1.0, 2.0, 2.0]), np.array([[1.0], [2.0], [3.0]])
        >>> count_pairs_in_draws(target, measures, np.array([[1, 1, 1], [2, 0, 1]])).difference
        array([[2.],
               [2.]])
    """
    # Products within blocks and sums over the grid then cost about the same.
    length = int(max(64, len(target) ** (2 / 3) / 4))
    rows = _block(target, length)
    columns = [_block(values, length) for values in measures.T]
    cells = len(rows.single) * max((len(column.single) for column in columns), default=0)
    step = max(1, LARGEST // max(cells, len(target)))
    parts = []
    with ThreadPoolExecutor(WORKERS) as pool:
        for start in range(0, len(multiplicities), step):
            weights = np.array(multiplicities[start : start + step].T, np.float64, order="C")
            by_target = weights[rows.order]
            found = list(pool.map(partial(_count, rows, weights, by_target), columns))
            shape = (len(columns), weights.shape[1])
            difference = np.array([one for one, _ in found]).reshape(shape).T
            ties = np.array([tied for _, tied in found]).reshape(shape).T
            sizes = weights.sum(0)[:, None]
            target_ties = _tied_pairs(rows, weights)[:, None]
            parts.append((difference, sizes * (sizes - 1) / 2, target_ties, ties))
    return Pairs(*(np.concatenate(part) for part in zip(*parts, strict=True)))


class _Blocks(NamedTuple):
    """A column cut into runs of whole tie groups.

    Attributes:
        code: dense rank of each network's value.
        distinct: number of codes.
        order: the networks by value.
        edges: where each block starts in this order, and the end.
        single: whether a block is one tie group.
        number: block of each network.
    """

    code: Int[Host, " network"]
    distinct: int
    order: Int[Host, " network"]
    edges: Int[Host, " edge"]
    single: list[bool]
    number: Int[Host, " network"]


def _block(column: Host, length: int) -> _Blocks:
    """Cut into blocks of less than twice the length; a longer tie group is a block by itself."""
    _, code, counts = np.unique(column, return_inverse=True, return_counts=True)
    groups = np.cumsum(counts) - counts
    # A long group runs past its window's end: whatever follows is in another window anyway.
    new = np.diff(groups // length, prepend=-1) > 0
    new |= counts > length
    number = np.cumsum(new) - 1
    edges = np.append(groups[new], len(column))
    single = np.bincount(number) == 1
    order = np.argsort(code, kind="stable")
    return _Blocks(code, len(counts), order, edges, single.tolist(), number[code])


def _count(rows: _Blocks, weights: Host, by_target: Host, columns: _Blocks) -> tuple[Host, Host]:
    """Difference and ties of one measure; weights [N, D] as they are and in the target's order."""
    difference = _between(rows, columns, weights)
    difference += _within(columns, columns.code, rows.code, weights[columns.order])
    # Pairs of one block of the measure are counted above: its block numbers are equal, sign 0.
    difference += _within(rows, columns.number, rows.code, by_target)
    return difference, _tied_pairs(columns, weights)


def _between(rows: _Blocks, columns: _Blocks, weights: Host) -> Host:
    """Pairs in different blocks of both: each cell with those before it in the measure."""
    shape = (len(columns.single), len(rows.single))
    cell = columns.number * shape[1] + rows.number
    grid = _sums(cell, shape[0] * shape[1], weights).reshape(*shape, -1)
    before = np.cumsum(grid, axis=0) - grid
    signed = 2 * np.cumsum(before, axis=1) - before - before.sum(1, keepdims=True)
    return np.einsum("ijd,ijd->d", grid, signed)


def _within(blocks: _Blocks, first: Host, second: Host, ordered: Host) -> Host:
    """Pairs of one block: half of w' K w, K the product of the signs of both codes."""
    found = np.zeros(ordered.shape[1])
    first, second = first[blocks.order], second[blocks.order]
    for k, single in enumerate(blocks.single):
        if not single:
            cut = slice(blocks.edges[k], blocks.edges[k + 1])
            product = _signs(first[cut]) * _signs(second[cut])
            taken = ordered[cut]
            found += np.einsum("nd,nd->d", taken, product.astype(np.float64) @ taken)
    return found / 2


def _signs(codes: Host) -> Host:
    """Sign of every difference of two codes."""
    larger = codes[:, None] > codes
    return larger.view(np.int8) - larger.T.view(np.int8)


def _sums(group: Host, count: int, weights: Host) -> Host:
    """Sum the weights [N, D] of each group of networks: [G, D]."""
    places = (np.ones(len(group)), (group, np.arange(len(group))))
    return sparse.csr_array(places, shape=(count, len(group))) @ weights


def _tied_pairs(blocks: _Blocks, weights: Host) -> Host:
    """Pairs of equal values, and of copies of one network, in every draw."""
    if blocks.distinct == len(weights):
        return np.asarray(_ties(weights))
    return np.asarray(_ties(_sums(blocks.code, blocks.distinct, weights)))


def _ties(counts: Host) -> Host | np.floating:
    """Pairs inside groups of these sizes, [G] or [G, D]."""
    counts = counts.astype(np.float64)
    return (np.einsum("g...,g...->...", counts, counts) - counts.sum(0)) / 2


def _or_nan(counts: Host) -> Host:
    """NaN for no pairs, so that a quotient needs no warning."""
    return np.where(counts > 0, counts, np.nan)
