"""Lower bounds of mutual information from a critic: InfoNCE, NWJ, Donsker-Varadhan, SMILE.

A critic scores pairs; `scores[i, j] = f(x_i, y_j)`, true pairs on the diagonal. Nats. All of it is
pure JAX that goes through `jit`, and through `vmap` over keys and data.
"""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from genjax.errors import InvalidInputError, suggest
from genjax.types import Key

OBJECTIVES = ("infonce", "nwj", "donsker_varadhan", "smile")


class CriticEstimate(NamedTuple):
    """What stands beside an estimate.

    Attributes:
        standard_error: of the value over held-out batches; NaN if there is one only.
        train_value: the same functional on the training half; far above the value if the critic
            learned its examples by heart.
        cap: InfoNCE: log batch, never exceeded. Others: log of the number M of held-out pairs, the
            order that no lower bound of high confidence exceeds without assumptions (McAllester and
            Stratos 2020, O(log M)); a value above it is to be disbelieved, not impossible.
        losses: minus the objective of every training step.
    """

    standard_error: Float[Array, ""]
    train_value: Float[Array, ""]
    cap: Float[Array, ""]
    losses: Float[Array, " steps"]


def infonce(scores: Float[Any, "*batch K K"]) -> Float[Array, ""]:
    """InfoNCE, `mean_i log(exp f_ii / mean_j exp f_ij)`; at most log K.

    Van den Oord et al. 2018; Poole et al., On variational bounds of mutual information, 2019, eq
    12. A lower bound of I in expectation for any critic that has not seen the pairs.

    Args:
        scores: leading axes are of many batches, averaged over.

    Example:
        >>> round(float(infonce(100.0 * jnp.eye(8))), 4), round(math.log(8), 4)
        (2.0794, 2.0794)
    """
    log_mean = jax.nn.logsumexp(scores, axis=-1) - math.log(scores.shape[-1])
    return jnp.mean(_diagonal(scores) - log_mean)


def nwj(scores: Float[Any, "*batch K K"]) -> Float[Array, ""]:
    """Nguyen, Wainwright and Jordan's bound, `mean_i f_ii - mean_(i != j) exp(f_ij - 1)`.

    Poole et al. 2019, eq 6. A lower bound of I in expectation for any critic that has not seen the
    pairs, tight for `f = 1 + log ratio`; its variance grows as exp(I).

    Args:
        scores: leading axes are of many batches, pooled.

    Example:
        >>> float(nwj(jnp.ones((4, 4))))
        0.0
    """
    return jnp.mean(_diagonal(scores)) - jnp.exp(_log_mean_others(scores - 1.0))


def donsker_varadhan(scores: Float[Any, "*batch K K"]) -> Float[Array, ""]:
    """Donsker-Varadhan, `mean_i f_ii - log mean_(i != j) exp f_ij` (MINE: Belghazi et al. 2018).

    At most I for the means of the population. Of samples the logarithm of a mean is too small on
    average, so the value is too large, and no lower bound; its variance grows as exp(I).

    Args:
        scores: leading axes are of many batches, pooled into one mean each.

    Example:
        >>> abs(float(donsker_varadhan(jnp.full((4, 4), 7.0)))) < 1e-5
        True
    """
    return jnp.mean(_diagonal(scores)) - _log_mean_others(scores)


def smile(scores: Float[Any, "*batch K K"], *, clip: float | int) -> Float[Array, ""]:
    """SMILE, `mean_i f_ii - log mean_(i != j) exp clip(f_ij, -tau, tau)` (Song and Ermon 2020).

    Donsker-Varadhan with less variance and a bias of unknown sign: no bound, of samples or of the
    population. tau = inf is Donsker-Varadhan.

    Args:
        scores: leading axes are of many batches, pooled.
        clip: tau, positive.

    Raises:
        InvalidInputError: tau is not positive.

    Example:
        >>> float(smile(jnp.full((4, 4), 7.0), clip=5))
        2.0
    """
    if not clip > 0:
        raise InvalidInputError(f"clip: found {clip}; a number above 0 is needed.")
    return jnp.mean(_diagonal(scores)) - _log_mean_others(jnp.clip(scores, -clip, clip))


def estimate(
    x: Float[Any, "N p"],
    y: Float[Any, "rows q"],
    key: Key,
    *,
    objective: str = "infonce",
    clip: float | int = 5.0,
    batch: int = 64,
    steps: int = 500,
    hidden: int = 64,
    learning_rate: float | int = 3e-3,
) -> tuple[Float[Array, ""], CriticEstimate]:
    """Train a critic on one half of the pairs and return the objective on the other half, in nats.

    The critic is a network of two hidden layers on (x, y), trained with Adam. Its value on pairs
    that it has not seen is a lower bound of I in expectation for `infonce` and `nwj`, however badly
    it was trained; `donsker_varadhan` and `smile` are no bounds (see there). SMILE trains by the
    Jensen-Shannon objective, the others by themselves. Columns are standardised by the training
    half. Labels are given one-hot. `jax.vmap` over keys gives seeds, all other arguments are
    static.

    Args:
        x: one row per example.
        y: the rows that belong to them.
        key: of the halves, the initial critic and the batches.
        objective: one of `OBJECTIVES`.
        clip: tau of SMILE.
        batch: pairs per batch, K; training and value have the same.
        steps: of Adam.
        hidden: units of each hidden layer. A step takes about `6 (batch hidden)^2` operations.
        learning_rate: of Adam.

    Returns:
        The value, and what stands beside it.

    Raises:
        InvalidInputError: unknown objective, fewer pairs than two batches, different numbers of
            rows, or no step.

    Example:
        >>> x = jax.random.normal(jax.random.key(0), (256, 1))
        >>> value, info = estimate(x, x, jax.random.key(1), steps=100, batch=32, hidden=16)
        >>> 0.5 < float(value) < float(info.cap)
        True
    """
    if objective not in OBJECTIVES:
        raise InvalidInputError(suggest("objective", objective, OBJECTIVES))
    x, y = jnp.asarray(x), jnp.asarray(y)
    if len(y) != len(x):
        raise InvalidInputError(f"y: found {len(y)} rows; x has {len(x)}.")
    if not 2 <= batch <= len(x) // 2:
        raise InvalidInputError(
            f"batch: found {batch} for {len(x)} pairs; allowed are 2 ... {len(x) // 2}, half of "
            "the pairs."
        )
    if steps < 1 or hidden < 1 or not clip > 0:
        raise InvalidInputError(
            f"steps: found {steps} steps, {hidden} units and a clip of {clip}; all must be above 0."
        )
    settings = _Settings(objective, float(clip), batch, steps, hidden, float(learning_rate))
    return _estimate(x, y, key, settings)


class _Settings(NamedTuple):
    objective: str
    clip: float
    batch: int
    steps: int
    hidden: int
    learning_rate: float


@functools.partial(jax.jit, static_argnums=3)
def _estimate(x, y, key, settings: _Settings):
    for_halves, for_start, for_batches = jax.random.split(key, 3)
    order = jax.random.permutation(for_halves, x.shape[0])
    train, held_out = jnp.split(order, [x.shape[0] // 2])
    x, y = _standardised(x, train), _standardised(y, train)
    start = _critic(for_start, x.shape[1], y.shape[1], settings.hidden)
    optimizer = optax.adam(settings.learning_rate)

    def loss(params, rows):
        return -_trained_by(_scores(params, x[rows], y[rows]), settings)

    def step(carry, key):
        params, state = carry
        rows = jax.random.permutation(key, train)[: settings.batch]
        value, gradient = jax.value_and_grad(loss)(params, rows)
        updates, state = optimizer.update(gradient, state)
        return (optax.apply_updates(params, updates), state), value

    keys = jax.random.split(for_batches, settings.steps)
    (params, _), losses = jax.lax.scan(step, (start, optimizer.init(start)), keys)

    def batches(rows):
        count = rows.shape[0] // settings.batch
        blocks = rows[: count * settings.batch].reshape(count, settings.batch)
        return jax.lax.map(lambda b: _scores(params, x[b], y[b]), blocks)

    scores = batches(held_out)
    each = jax.vmap(lambda s: _value(s, settings))(scores)
    count = scores.shape[0]
    error = each.std(ddof=1) / count**0.5 if count > 1 else jnp.full((), jnp.nan)
    pairs = settings.batch if settings.objective == "infonce" else count * settings.batch
    info = CriticEstimate(
        standard_error=error,
        train_value=_value(batches(train), settings),
        cap=jnp.log(jnp.asarray(float(pairs))),
        losses=losses,
    )
    return _value(scores, settings), info


def _value(scores: Any, settings: _Settings) -> Any:
    if settings.objective == "smile":
        return smile(scores, clip=settings.clip)
    functions = {"infonce": infonce, "nwj": nwj, "donsker_varadhan": donsker_varadhan}
    return functions[settings.objective](scores)


def _trained_by(scores: Any, settings: _Settings) -> Any:
    if settings.objective != "smile":
        return _value(scores, settings)
    # Jensen-Shannon: its optimal critic is the log ratio, and its gradient has little variance.
    others = jax.nn.softplus(scores) * (1.0 - jnp.eye(scores.shape[-1]))
    count = scores.shape[-1] * (scores.shape[-1] - 1)
    return -jnp.mean(jax.nn.softplus(-_diagonal(scores))) - jnp.sum(others) / count


def _critic(key, p: int, q: int, hidden: int) -> dict[str, Any]:
    keys = jax.random.split(key, 4)
    return {
        "x": jax.random.normal(keys[0], (p, hidden)) * (1 / (p + q)) ** 0.5,
        "y": jax.random.normal(keys[1], (q, hidden)) * (1 / (p + q)) ** 0.5,
        "first_bias": jnp.zeros(hidden),
        "second": jax.random.normal(keys[2], (hidden, hidden)) * (2 / hidden) ** 0.5,
        "second_bias": jnp.zeros(hidden),
        "output": jax.random.normal(keys[3], (hidden,)) * (1 / hidden) ** 0.5,
        # Without it NWJ could not shift all scores; other objectives do not feel it.
        "output_bias": jnp.zeros(()),
    }


def _scores(params, x, y):
    """Score all pairs; the first layer is linear in x and y and is read once for each."""
    first = (x @ params["x"])[:, None] + (y @ params["y"])[None]
    first = jax.nn.relu(first + params["first_bias"].reshape(1, 1, -1))
    second = jax.nn.relu(first @ params["second"] + params["second_bias"].reshape(1, 1, -1))
    return second @ params["output"] + params["output_bias"]


def _standardised(points, train):
    mean = points[train].mean(axis=0, keepdims=True)
    deviation = points[train].std(axis=0, keepdims=True)
    varies = deviation > 8 * jnp.finfo(points.dtype).eps * jnp.abs(mean)
    return jnp.where(varies, (points - mean) / jnp.where(varies, deviation, 1.0), 0.0)


def _diagonal(scores: Any) -> Any:
    return jnp.diagonal(scores, axis1=-2, axis2=-1)


def _log_mean_others(scores: Any) -> Any:
    """Log of the mean of exp over all pairs that do not belong together, of all batches."""
    size = scores.shape[-1]
    own = jnp.broadcast_to(jnp.eye(size, dtype=bool), scores.shape)
    count = scores.size // size * (size - 1)
    return jax.nn.logsumexp(jnp.where(own, -jnp.inf, scores)) - math.log(count)
