"""Walks down ranked lists for many draws at once: the loops behind `neighbour_draws`.

Draws lie along the last axis, so that one step of a walk is one vector operation over all of them;
queries go in blocks whose state stays in the cache.
"""

import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

_ROWS, _ACCELERATOR_ROWS = 128, 8192


@functools.partial(jax.jit, static_argnames="most")
def walk_weighted(lists: Any, alike: Any, weights: Any, limits: Any, *, most: int) -> Any:
    """Walk until the weights of the neighbours add up to a limit; the last may count in part.

    Args:
        lists: `[K, n]`, the neighbours of n queries, nearest first.
        alike: `[K, n]`, whether they are of the query's class.
        weights: `[N, b]`, whole numbers.
        limits: `[n, b]`, int32.
        most: largest weight if average precisions are wanted, 0 if not; static.

    Returns:
        Weight reached, weight of hits, and sums of precisions at hits, `[n, b]` each.
    """

    def step(state, column):
        reached, hits, precisions = state
        where, right = column
        taken = weights.at[where].get(mode="promise_in_bounds").astype(jnp.int32)
        used = jnp.minimum(taken, limits - reached)
        found = jnp.where(right[:, None], used, 0)
        for copy in range(1, most + 1):
            precision = (hits + copy).astype(jnp.float32) / (reached + copy).astype(jnp.float32)
            precisions += jnp.where(copy <= found, precision, 0)
        return (reached + used, hits + found, precisions), None

    none = jnp.zeros(limits.shape, jnp.int32)
    state, _ = jax.lax.scan(step, (none, none, none.astype(jnp.float32)), (lists, alike))
    return state


@functools.partial(jax.jit, static_argnames="at_r")
def walk_relabelled(
    lists: Any, own: Any, labels: Any, limits: Any, nearby: Any, *, at_r: bool
) -> Any:
    """Walk with other labels in every column.

    Args:
        lists: `[K, n]`.
        own: `[n, b]`, labels of the queries.
        labels: `[N, b]`.
        limits: `[n, b]`, how many neighbours count for hits and precisions.
        nearby: how many count for the first result; a scalar.
        at_r: whether hits and precisions are wanted; static.

    Returns:
        Hits among the `nearby` nearest, among the `limits` nearest, and sums of precisions there,
        `[n, b]` each.
    """

    def step(state, column):
        close, hits, precisions = state
        place, where = column
        right = labels.at[where].get(mode="promise_in_bounds") == own
        close += (right & (place <= nearby)).astype(jnp.int32)
        if at_r:
            counted = right & (place <= limits)
            hits += counted.astype(jnp.int32)
            share = hits.astype(jnp.float32) / place.astype(jnp.float32)
            precisions += jnp.where(counted, share, 0)
        return (close, hits, precisions), None

    none = jnp.zeros(limits.shape, jnp.int32)
    places = jnp.arange(1, lists.shape[0] + 1, dtype=jnp.int32)
    state = (none, none, none.astype(jnp.float32))
    state, _ = jax.lax.scan(step, state, (places, lists))
    return state


def over_blocks(walk: Callable[[np.ndarray], Any], count: int) -> tuple[np.ndarray, ...]:
    """Walk for blocks of queries, on a CPU in as many threads as cores, and join the results."""
    on_cpu = jax.default_backend() == "cpu"
    rows = _ROWS if on_cpu else _ACCELERATOR_ROWS
    blocks = range(0, count, rows)

    def one(start):
        # The last block repeats its last query: one program serves all.
        found = walk(np.minimum(np.arange(start, start + rows), count - 1))
        return tuple(np.asarray(part)[: count - start] for part in found)

    if on_cpu:
        # One small program uses one core; calls release the interpreter's lock.
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2
        with ThreadPoolExecutor(cores) as pool:
            found = list(pool.map(one, blocks))
    else:
        found = [one(block) for block in blocks]
    return tuple(np.concatenate(parts) for parts in zip(*found, strict=True))
