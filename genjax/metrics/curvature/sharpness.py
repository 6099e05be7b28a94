"""Sharpness in fixed neighbourhoods: Keskar's box, and one step of ascent as in SAM and ASAM."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from genjax.errors import InvalidInputError
from genjax.metrics.curvature.adaptive import (
    Sharpness,
    loss_and_gradient,
    mean_loss,
    over_chunks,
    scaling,
    worst_in_ball,
)
from genjax.metrics.curvature.ascent import check_ball, steepest
from genjax.metrics.curvature.objective import Chunks, Objective
from genjax.types import Params


def keskar_sharpness(
    objective: Objective,
    params: Params,
    chunks: Chunks,
    *,
    epsilon: float = 1e-3,
    steps: int = 20,
) -> Sharpness:
    """Return 100 (max f - f) / (1 + f), the maximum over |z_i| <= epsilon (|w_i| + 1).

    Keskar et al., On Large-batch Training for Deep Learning, ICLR 2017, metric 2.1 with A the
    identity; f is the mean loss over the examples. There the box is searched by 10 iterations of
    L-BFGS-B, here by `steps` of Auto-PGD, whose steps are signs of the gradient: exact where f is
    linear. Either finds a lower bound on the maximum.

    Args:
        objective: what is differentiated.
        params: w, of one network.
        chunks: examples.
        epsilon: size of the box; the paper has 1e-3 and 5e-4.
        steps: of the ascent.

    Raises:
        InvalidInputError: a number is out of range.

    Example:
        >>> from genjax.metrics.curvature.objective import objective, pack
        >>> made = objective(lambda w, x: x * w, lambda logits, labels: logits[:, 0])
        >>> chunks = pack(made, (jnp.ones((4, 1)), jnp.zeros(4, int)))
        >>> found = keskar_sharpness(made, jnp.array(3.0), chunks, epsilon=1e-2)
        >>> round(float(found.value), 4)  # 100 * 0.01 * (3 + 1) / (1 + 3)
        1.0
    """
    check_ball(epsilon, math.inf, steps, "epsilon")
    flat, unravel = ravel_pytree(params)
    look = loss_and_gradient(objective, unravel, chunks)
    start = mean_loss(objective, unravel, chunks)(flat)
    worst = worst_in_ball(look, flat, jnp.abs(flat) + 1, rho=epsilon, norm=math.inf, steps=steps)
    return Sharpness(100 * (worst.value - start) / (1 + start), None, start)


def sam_sharpness(
    objective: Objective,
    params: Params,
    chunks: Chunks,
    *,
    rho: float = 0.05,
    per_chunk: bool = False,
) -> Sharpness:
    """Return L(w + rho g / ||g||) - L(w), g the gradient of L.

    The ascent of sharpness-aware minimization to first order (Foret et al., ICLR 2021, eq. 2 with p
    = 2). With `per_chunk` every chunk of m examples has its own loss and step, averaged over
    examples: m-sharpness.

    Args:
        objective: what is differentiated.
        params: w, of one network.
        chunks: examples.
        rho: length of the step.
        per_chunk: whether each chunk is perturbed by itself.

    Raises:
        InvalidInputError: rho is out of range.

    Example:
        >>> from genjax.metrics.curvature.objective import objective, pack
        >>> made = objective(lambda w, x: x * w, lambda logits, labels: logits[:, 0] ** 2 / 2)
        >>> chunks = pack(made, (jnp.ones((4, 1)), jnp.zeros(4, int)))
        >>> float(sam_sharpness(made, jnp.array(2.0), chunks, rho=1.0).value)  # (9 - 4) / 2
        2.5
    """
    return _one_step(objective, params, chunks, rho, jax.tree.map(jnp.ones_like, params), per_chunk)


def asam_sharpness(
    objective: Objective,
    params: Params,
    chunks: Chunks,
    *,
    rho: float = 0.5,
    eta: float = 0.01,
    per_chunk: bool = False,
) -> Sharpness:
    """Return L(w + rho T^2 g / ||T g||) - L(w), T = |w| + eta elementwise.

    The ascent of adaptive sharpness-aware minimization (Kwon et al., ASAM, ICML 2021; its released
    code leaves biases unscaled, here they are weights). eta breaks the invariance to rescaled
    layers, a little.

    Args:
        objective: what is differentiated.
        params: w, of one network.
        chunks: examples.
        rho: length of the step in units of T.
        eta: what weights of size zero may move by.
        per_chunk: whether each chunk is perturbed by itself.

    Raises:
        InvalidInputError: rho or eta is out of range.

    Example:
        >>> from genjax.metrics.curvature.objective import objective, pack
        >>> made = objective(lambda w, x: x * w, lambda logits, labels: logits[:, 0] ** 2 / 2)
        >>> chunks = pack(made, (jnp.ones((4, 1)), jnp.zeros(4, int)))
        >>> float(asam_sharpness(made, jnp.array(2.0), chunks, eta=0.0).value)  # (3^2 - 2^2) / 2
        2.5
    """
    if eta < 0:
        raise InvalidInputError(f"eta: found {eta}; allowed are numbers from 0.")
    sizes = scaling(params, "elementwise", eta)
    return _one_step(objective, params, chunks, rho, sizes, per_chunk)


def _one_step(
    objective: Objective, params: Params, chunks: Chunks, rho: Any, scale: Params, per_chunk: bool
) -> Sharpness:
    check_ball(rho, 2, 1)
    flat, unravel = ravel_pytree(params)
    sizes = ravel_pytree(scale)[0]

    def growth(chunks):
        start, gradient = loss_and_gradient(objective, unravel, chunks)(flat)
        moved = flat + rho * sizes * steepest(sizes * gradient, 2)
        return mean_loss(objective, unravel, chunks)(moved) - start, start

    gain, start = over_chunks(growth, chunks) if per_chunk else growth(chunks)
    return Sharpness(gain, None, start)
