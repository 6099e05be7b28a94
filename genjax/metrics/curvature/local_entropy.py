"""Local entropy: how much of a Gaussian neighbourhood of the weights has a low loss."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from genjax.errors import InvalidInputError
from genjax.metrics.curvature.adaptive import mean_loss
from genjax.metrics.curvature.objective import Chunks, Objective
from genjax.types import Key, Params


class LocalEntropy(NamedTuple):
    """A local entropy and how well it is known.

    Attributes:
        value: ln E exp(-beta L(w + xi)), without the Gaussian's own volume; at most 0 for losses
            that are not negative.
        standard_error: by the delta method; it can be trusted where `effective_draws` is large.
        effective_draws: (sum of weights)^2 / sum of squared weights of the draws.
        loss: L(w).
    """

    value: Any
    standard_error: Any
    effective_draws: Any
    loss: Any


def local_entropy(
    objective: Objective,
    params: Params,
    chunks: Chunks,
    key: Key,
    *,
    gamma: float | int,
    beta: float | int = 1.0,
    draws: int = 100,
) -> LocalEntropy:
    """Return ln E exp(-beta L(w + xi)), xi ~ N(0, I / gamma), L the mean loss.

    Chaudhari et al., Entropy-SGD, ICLR 2017: ln of the integral of exp(-beta L(w') - gamma
    |w - w'|^2 / 2) over w', minus ln of its value for L = 0, (P / 2) ln(2 pi / gamma): the volume
    of the neighbourhood, the same for all networks of one size. beta = 1 is the paper's. Estimated
    by plain Monte Carlo: exact on average up to terms of order 1 / effective draws; of use while
    beta L varies by a few units over the neighbourhood.

    Args:
        objective: what is differentiated.
        params: w, of one network.
        chunks: examples.
        key: of the draws.
        gamma: inverse variance of the neighbourhood.
        beta: inverse temperature; n for the loss summed over n examples.
        draws: at least 2.

    Raises:
        InvalidInputError: a number is out of range.

    Example:
        >>> from genjax.metrics.curvature.objective import objective, pack
        >>> made = objective(lambda w, x: x * w, lambda logits, labels: logits[:, 0] ** 2 / 2)
        >>> chunks = pack(made, (jnp.ones((4, 1)), jnp.zeros(4, int)))
        >>> found = local_entropy(
        ...     made, jnp.array(0.0), chunks, jax.random.key(0), gamma=1.0, draws=1000)
        >>> bool(abs(found.value + math.log(2) / 2) < 4 * found.standard_error)
        True
    """
    for name, number in (("gamma", gamma), ("beta", beta)):
        if not (number > 0 and math.isfinite(number)):
            raise InvalidInputError(f"{name}: found {number}; allowed are numbers above 0.")
    if draws < 2:
        raise InvalidInputError(f"draws: found {draws}; allowed are whole numbers from 2.")
    flat, unravel = ravel_pytree(params)
    loss = mean_loss(objective, unravel, chunks)
    width = 1 / math.sqrt(gamma)

    def of_one(key):
        return loss(flat + width * jax.random.normal(key, flat.shape, flat.dtype))

    exponents = -beta * jax.lax.map(of_one, jax.random.split(key, draws))
    value = jax.nn.logsumexp(exponents) - math.log(draws)
    shares = jnp.exp(exponents - value)  # of mean 1
    return LocalEntropy(
        value,
        jnp.std(shares, ddof=1) / math.sqrt(draws),
        draws / jnp.mean(shares**2),
        loss(flat),
    )
