"""Fitting random targets: a lower estimate of how well a class of functions can do it.

The empirical Rademacher complexity is a mean of suprema over a class. Training finds some member of
the class for every draw of the targets: what it reaches is at most the supremum, so the estimate is
too low where training does not find the best member.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from genjax.errors import InvalidInputError
from genjax.types import Key, Params


class Schedule(NamedTuple):
    """How much is trained.

    Attributes:
        draws: independent draws of the targets.
        epochs: passes over the examples for each draw.
        batch_size: examples per step; the rest of an epoch that fills no batch is left out of it.
        learning_rate: at the start; it falls to zero along a cosine.
    """

    draws: int = 4
    epochs: int = 100
    batch_size: int = 32
    learning_rate: float = 0.005


class FunctionClass(NamedTuple):
    """A class of functions that can be trained.

    Attributes:
        start: `key -> params`, where every draw begins.
        loss: `(params, inputs, targets) -> (mean loss, params)` of a batch; the parameters come
            back because running statistics may have moved.
        gain: `(params, inputs, targets) -> scalar` over all examples: what is to be largest.
        optimizer: `learning rate schedule -> optax.GradientTransformation`.
        project: `params -> params`, back into the class after every step.
    """

    start: Callable[[Key], Params]
    loss: Callable[[Params, Any, Any], tuple[Any, Params]]
    gain: Callable[[Params, Any, Any], Any]
    optimizer: Callable[[Any], optax.GradientTransformation] = optax.adam
    project: Callable[[Params], Params] = lambda params: params


def fit_random_targets(
    functions: FunctionClass,
    inputs: Any,
    draw: Callable[[Key], Any],
    key: Key,
    schedule: Schedule,
) -> tuple[Any, Any]:
    """Return (gains [draws], targets [draws, n]) after training on each draw of the targets.

    Args:
        functions: the class.
        inputs: pytree of arrays [n, ...].
        draw: `key -> targets [n]`.
        key: of the draws, the starts and the order of the examples.
        schedule: how much is trained.
    """
    count = jax.tree.leaves(inputs)[0].shape[0]
    size = min(schedule.batch_size, count)
    per_epoch = count // size
    rate = optax.cosine_decay_schedule(schedule.learning_rate, schedule.epochs * per_epoch)
    optimizer = functions.optimizer(rate)

    def one(key):
        target_key, start_key, order_key = jax.random.split(key, 3)
        targets = draw(target_key)
        params = functions.project(functions.start(start_key))

        def epoch(carry, number):
            order = jax.random.permutation(jax.random.fold_in(order_key, number), count)
            batches = order[: per_epoch * size].reshape(per_epoch, size)
            return jax.lax.scan(step, carry, batches)[0], None

        def step(carry, chosen):
            params, state = carry
            batch = jax.tree.map(lambda leaf: leaf[chosen], (inputs, targets))
            gradients, moved = jax.grad(functions.loss, has_aux=True)(params, *batch)
            updates, state = optimizer.update(gradients, state, params)
            return (functions.project(optax.apply_updates(moved, updates)), state), None

        start = (params, optimizer.init(params))
        (params, _), _ = jax.lax.scan(epoch, start, jnp.arange(schedule.epochs))
        return functions.gain(params, inputs, targets), targets

    return jax.lax.map(one, jax.random.split(key, schedule.draws))


def mean_and_error(gains: Any) -> tuple[Any, Any]:
    """Return the mean over draws and its standard error.

    Example:
        >>> [float(v) for v in mean_and_error(jnp.array([1.0, 3.0]))]
        [2.0, 1.0]
    """
    return jnp.mean(gains), jnp.std(gains, ddof=1) / np.sqrt(gains.shape[0])


def balls(
    radii: Params,
    start: Callable[[Key], Params],
    loss: Callable[[Params, Any, Any], tuple[Any, Params]],
    gain: Callable[[Params, Any, Any], Any],
) -> FunctionClass:
    """Return the class in which every array stays within a Euclidean ball around zero.

    Steps follow the gradient of every array, at the length of its own radius: in a ball that is
    where ascent ends in the direction of the gradient. Adam's steps would end elsewhere, since it
    rescales every entry.

    Args:
        radii: one radius per array of the parameters, a tree of scalars.
        start: as in `FunctionClass`.
        loss: as in `FunctionClass`.
        gain: as in `FunctionClass`.
    """

    def project(params):
        def inside(leaf, radius):
            norm = jnp.linalg.norm(leaf.reshape(-1))
            return leaf * jnp.minimum(1.0, radius / jnp.maximum(norm, _TINY))

        return jax.tree.map(inside, params, radii)

    def optimizer(rate):
        def update(updates, state, params=None):
            del params

            def along(leaf, radius):
                norm = jnp.linalg.norm(leaf.reshape(-1))
                return -rate(state) * radius * leaf / jnp.maximum(norm, _TINY)

            return jax.tree.map(along, updates, radii), state + 1

        return optax.GradientTransformation(lambda params: jnp.int32(0), update)

    return FunctionClass(start, loss, gain, optimizer, project)


_TINY = float(np.finfo(np.float32).tiny)


def linear_rademacher(
    inputs: Float[Array | np.ndarray, "n d"],
    signs: Float[Array | np.ndarray, "draws n"],
    radius: float | int,
) -> Float[Array, " draws"]:
    """Return sup over ||w|| <= B of (1/n) sum_i s_i w.x_i, which is (B/n) ||sum_i s_i x_i||.

    Its mean over uniform signs is the empirical Rademacher complexity of linear functions in a
    ball; it is at most B sqrt(sum_i ||x_i||^2) / n.

    Args:
        inputs: x_i.
        signs: s_i, +1 or -1, one row per draw.
        radius: B.

    Raises:
        InvalidInputError: the radius is negative.

    Example:
        >>> linear_rademacher(np.ones((4, 1)), np.array([[1.0, 1.0, 1.0, -1.0]]), 2.0).tolist()
        [1.0]
    """
    if radius < 0:
        raise InvalidInputError(f"radius: found {radius}; it must not be negative.")
    sums = jnp.matmul(jnp.asarray(signs), jnp.asarray(inputs), precision="highest")
    return radius / inputs.shape[0] * jnp.linalg.norm(sums, axis=-1)
