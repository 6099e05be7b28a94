"""Heads that train nothing: nearest class mean and k nearest neighbours of K labelled examples."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

_ROWS = 1024  # examples classified at once, so that large test sets need little memory


class Shots(NamedTuple):
    """Labelled examples that a head remembers.

    Attributes:
        features: `[M, D]`.
        labels: `[M]`.
        valid: `[M]`, False where a class has fewer examples than shots.
    """

    features: Float[Array, "M D"]
    labels: Int[Array, " M"]
    valid: Bool[Array, " M"]


def draw_shots(
    features: Float[Array, "N D"],
    labels: Int[Array, " N"],
    key: Key[Array, ""],
    *,
    shots: int | None,
    num_classes: int,
) -> Shots:
    """Draw `shots` examples of every class without replacement; None remembers all examples.

    The draw does not depend on the classes in play, so that the examples of a class are the same at
    every novel share. A class with fewer examples gives all it has.
    """
    if shots is None:
        return Shots(features, labels, jnp.ones(labels.shape, bool))
    rank = jax.random.permutation(key, labels.shape[0])
    order = jnp.lexsort((rank, labels))
    count = jnp.bincount(labels, length=num_classes)
    first = jnp.cumsum(count) - count
    position = jnp.arange(shots)[None, :]
    valid = (position < count[:, None]).ravel()
    chosen = order[jnp.where(valid, (first[:, None] + position).ravel(), 0)]
    drawn = jnp.repeat(jnp.arange(num_classes, dtype=labels.dtype), shots)
    return Shots(features[chosen], drawn, valid)


def nearest_class_mean(
    shots: Shots, test: Float[Array, "L N D"], in_play: Bool[Array, "Z C"]
) -> Int[Array, "L Z N"]:
    """Predict the class in play whose mean over its shots is nearest in Euclidean distance.

    `argmin_c ||x - mu_c||_2`, `mu_c` the mean of the shots of class c; of equals the lowest class.
    """
    member = jax.nn.one_hot(shots.labels, in_play.shape[-1], dtype=test.dtype)
    member = member * shots.valid[:, None]
    center = _center(shots)
    count = jnp.maximum(member.sum(axis=0), 1.0)
    means = (member.T @ (shots.features - center[None, :])) / count[:, None]
    distance = _squared_distances(test - center[None, None, :], means)  # [L, N, C]
    allowed = jnp.where(in_play[None, :, None, :], distance[:, None], jnp.inf)
    return jnp.argmin(allowed, axis=-1).astype(jnp.int32)


def nearest_neighbour(
    shots: Shots,
    test: Float[Array, "L N D"],
    in_play: Bool[Array, "Z C"],
    *,
    neighbours: int,
) -> Int[Array, "L Z N"]:
    """Predict by majority among the nearest shots of the classes in play.

    Euclidean distance, equal weights. Of classes with equally many votes the one whose nearest
    voter is nearest wins. With fewer than `neighbours` shots in play, all of them vote.
    """
    center = _center(shots)
    remembered = shots.features - center[None, :]
    usable = in_play[:, shots.labels] & shots.valid[None, :]  # [Z, M]
    k = min(neighbours, shots.labels.shape[0])

    def classify(example: Float[Array, " D"]) -> Int[Array, " Z"]:
        distance = _squared_distances(example[None, :], remembered)[0]
        score = jnp.where(usable, -distance[None, :], -jnp.inf)
        nearest, where = jax.lax.top_k(score, k)
        return _vote(shots.labels[where], nearest > -jnp.inf, in_play.shape[-1])

    levels, examples, width = test.shape
    flat = (test - center[None, None, :]).reshape(levels * examples, width)
    votes = jax.lax.map(classify, flat, batch_size=min(_ROWS, levels * examples))
    return votes.reshape(levels, examples, -1).transpose(0, 2, 1)


def _vote(
    labels: Int[Array, "Z k"], counts: Bool[Array, "Z k"], num_classes: int
) -> Int[Array, " Z"]:
    k = labels.shape[-1]
    voted = (labels[:, :, None] == jnp.arange(num_classes)[None, None, :]) & counts[:, :, None]
    votes = voted.sum(axis=1)
    first = jnp.where(voted.any(axis=1), jnp.argmax(voted, axis=1), k)
    # One vote more outweighs any difference in rank, which lies in 0..k.
    return jnp.argmax(votes * (k + 1) - first, axis=-1).astype(jnp.int32)


def _center(shots: Shots) -> Float[Array, " D"]:
    """Return a point amid the shots: distances from there lose fewer digits to cancellation."""
    weight = shots.valid[:, None].astype(shots.features.dtype)
    return (shots.features * weight).sum(axis=0) / jnp.maximum(weight.sum(), 1.0)


def _squared_distances(a: Float[Array, "... D"], b: Float[Array, "M D"]) -> Float[Array, "... M"]:
    """Return squared distances up to the term ||a||^2, which does not change the order in M."""
    lead = (1,) * (a.ndim - 1)
    square = jnp.sum(b * b, axis=-1).reshape((*lead, -1))
    return square - 2.0 * (a @ b.T)
