"""Which examples a measure reads that wants every class alike: static shapes, labels traced."""

from typing import Any

import jax.numpy as jnp


def rank_in_class(labels: Any) -> Any:
    """Return, for every example, how many of its class stand before it, `[N]`.

    Example:
        >>> rank_in_class(jnp.array([3, 1, 3, 3])).tolist()
        [0, 0, 1, 2]
    """
    order = jnp.argsort(labels, stable=True)
    ordered = jnp.asarray(labels)[order]
    places = jnp.arange(ordered.shape[0])
    ranks = places - jnp.searchsorted(ordered, ordered, side="left")
    return jnp.zeros_like(ranks).at[order].set(ranks)


def in_turns(labels: Any) -> Any:
    """Return an order that takes one example of every class in turn, `[N]`.

    Within a class the order stays. The first k have equally many of every class, up to one, as
    long as no class runs out.

    Example:
        >>> in_turns(jnp.array([1, 1, 0, 1, 0])).tolist()
        [2, 0, 4, 1, 3]
    """
    return jnp.lexsort((jnp.asarray(labels), rank_in_class(labels)))


def first_of_classes(labels: Any, num_classes: int, count: int) -> tuple[Any, Any]:
    """Return positions of the first `count` examples of every class, and which exist.

    Args:
        labels: [N].
        num_classes: C.
        count: k; static.

    Returns:
        Positions [C, k], 0 where there are too few, and booleans [C, k].

    Example:
        >>> positions, exists = first_of_classes(jnp.array([1, 1, 0, 1]), 2, 2)
        >>> positions.tolist(), exists.tolist()
        ([[2, 0], [0, 1]], [[True, False], [True, True]])
    """
    labels, ranks = jnp.asarray(labels), rank_in_class(labels)
    positions = jnp.zeros((num_classes, count), ranks.dtype)
    exists = jnp.zeros((num_classes, count), bool)
    places = jnp.arange(labels.shape[0], dtype=ranks.dtype)
    return (
        positions.at[labels, ranks].set(places, mode="drop"),
        exists.at[labels, ranks].set(True, mode="drop"),
    )
