"""Bounds made of sharpness, and the terms of bounds that sharpness enters.

The two bounds here rest on conditions that cannot be checked on a network (an expansion to second
order, a maximum that a search has found, noise that does no good): they are no certificates.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from genjax.errors import InvalidInputError
from genjax.metrics.complexity.adaptive_sharpness import measured
from genjax.metrics.complexity.bounds import kl_inverse
from genjax.metrics.complexity.contract import Measure, Refusal, Result, refuse_where, value
from genjax.metrics.complexity.norm_bounds import grid_above
from genjax.metrics.complexity.pac_bayes import weights
from genjax.metrics.complexity.workspace import Workspace
from genjax.metrics.curvature import adaptive
from genjax.metrics.curvature.objective import objective, pack

DELTA = 0.05
RHO = 0.05
SIGMA = 0.05
DRAWS = 20
_STEPS = 20
_PER_OCTAVE = 32
_SIGMAS = 400


class SecondOrderBound(NamedTuple):
    """The bound of `second_order_bound` and where it is reached.

    Attributes:
        bound: on the error of the stochastic network.
        sigma: standard deviation of the posterior.
        kl_nats: of the posterior from the prior.
        sampled_loss: the expansion of the posterior's mean loss, nats.
    """

    bound: Any
    sigma: Any
    kl_nats: Any
    sampled_loss: Any


def second_order_bound(
    loss: Any,
    trace: Any,
    squared_distance: Any,
    *,
    parameters: int,
    examples: int,
    delta: float = DELTA,
) -> SecondOrderBound:
    """Return a PAC-Bayes bound on the error of N(w, sigma^2 I), with its loss to second order.

    min over sigma of kl^-1(min(1, (L + sigma^2 tr(H)^+ / 2) / ln 2), B), B = (KL + ln(2 sqrt(n) /
    delta')) / n. A wrong answer has a cross-entropy of at least ln 2, so that the first argument
    bounds the posterior's training error as far as its mean loss is L + sigma^2 tr(H) / 2: that
    expansion is the heuristic step. KL = (P (s - 1 - ln s) + ||w - w0||^2 / sigma_P^2) / 2, s =
    sigma^2 / sigma_P^2, from the prior N(w0, sigma_P^2 I); sigma_P^2 is the best one rounded up to
    a power of 2^(1/32), whose choice delta' pays for. The inequality is Maurer's (2004); Tsuzuku,
    Sato and Sugiyama (Normalized Flat Minima, ICML 2020) expand PAC-Bayes bounds so.

    Args:
        loss: L, mean cross-entropy in nats.
        trace: of its Hessian; negative estimates count as 0.
        squared_distance: ||w - w0||^2.
        parameters: P.
        examples: n, at least 8.
        delta: probability of failing.

    Raises:
        InvalidInputError: a number is out of range.

    Example:
        >>> found = second_order_bound(0.01, 1.0, 4.0, parameters=100, examples=10_000)
        >>> round(float(found.bound), 3), round(float(found.sigma), 2)
        (0.048, 0.08)
    """
    if parameters < 1 or examples < 8 or not 0 < delta < 1:
        raise InvalidInputError(
            f"parameters, examples, delta: found {parameters}, {examples} and {delta}; allowed are "
            "numbers from 1, from 8 and between 0 and 1."
        )
    kind = jnp.result_type(float)
    squares = jnp.exp(2 * jnp.linspace(math.log(1e-6), math.log(10.0), _SIGMAS, dtype=kind))
    shares = jnp.asarray(squared_distance, kind) / parameters
    priors, price = grid_above(squares + shares, _PER_OCTAVE)
    ratio = squares / priors
    # Near s = 1 the difference would cancel.
    divergences = parameters * (ratio - 1 - jnp.log(ratio) + shares / priors) / 2
    losses = loss + squares * jnp.maximum(trace, 0.0) / 2
    budget = (divergences + price + math.log(2 * math.sqrt(examples) / delta)) / examples
    bounds = kl_inverse(jnp.minimum(losses / math.log(2), 1.0), budget)
    best = jnp.argmin(bounds)
    return SecondOrderBound(bounds[best], jnp.sqrt(squares[best]), divergences[best], losses[best])


def sam_bound(
    worst_loss: Any,
    squared_norm: Any,
    *,
    parameters: int,
    examples: int,
    rho: float = RHO,
    delta: float = DELTA,
) -> Any:
    """Return the bound of sharpness-aware minimization on the loss of a network.

    (1 - 1/sqrt(n)) max L(w + e) + 1/sqrt(n) + sqrt(((k/4) ln(1 + (||w||^2 / rho^2) (1 + sqrt(ln n /
    k))^2) + ln(n / delta) + 2 ln(6 n + 3 k)) / (n - 1)), the maximum over ||e||_2 <= rho: the last
    line but one of the proof of theorem 2 of Foret et al. (ICLR 2021, appendix A.1), which is
    tighter than the theorem and holds under the same conditions: losses in [0, 1], n independent
    examples, rho fixed beforehand, and noise N(0, sigma^2) on the weights, sigma = rho / (sqrt(k) +
    sqrt(ln n)), does not lower the expected loss.

    Args:
        worst_loss: max over the ball of the training loss, in [0, 1].
        squared_norm: ||w||^2.
        parameters: k.
        examples: n, at least 2.
        rho: radius of the ball.
        delta: probability of failing.

    Raises:
        InvalidInputError: a number is out of range.

    Example:
        >>> round(float(sam_bound(0.01, 4.0, parameters=100, examples=100_000)), 3)
        0.062
    """
    if parameters < 1 or examples < 2 or not rho > 0 or not 0 < delta < 1:
        raise InvalidInputError(
            f"parameters, examples, rho, delta: found {parameters}, {examples}, {rho} and {delta}; "
            "allowed are numbers from 1, from 2, above 0 and between 0 and 1."
        )
    widening = (1 + math.sqrt(math.log(examples) / parameters)) ** 2 / rho**2
    rest = math.log(examples / delta) + 2 * math.log(6 * examples + 3 * parameters)
    complexity = parameters / 4 * jnp.log1p(squared_norm * widening) + rest
    share = 1 / math.sqrt(examples)
    return (1 - share) * worst_loss + share + jnp.sqrt(complexity / (examples - 1))


def _second_order(workspace: Workspace) -> Result:
    probes = workspace["curvature_probes"]
    distance = jnp.sum(weights(workspace, origin="init") ** 2)
    examples = workspace.data.train.labels.shape[0]
    if examples < 8:
        return refuse_where({Refusal.DEGENERATE: jnp.bool_(True)}, jnp.zeros(()))
    found = second_order_bound(
        jnp.mean(workspace["losses"]),
        probes.hessian_trace,
        distance,
        parameters=weights(workspace).size,
        examples=examples,
    )
    return value(
        found.bound,
        vacuous=found.bound >= 1,
        sigma=found.sigma,
        kl_nats=found.kl_nats,
        sampled_loss=found.sampled_loss,
    )


def _sam(workspace: Workspace) -> Result:
    made, chunks = measured(workspace)
    network, train = workspace.network, workspace.data.train
    examples = train.labels.shape[0]
    if examples < 2:
        return refuse_where({Refusal.DEGENERATE: jnp.bool_(True)}, jnp.zeros(()))
    flat, unravel = ravel_pytree(workspace.trained.params)
    look = adaptive.loss_and_gradient(made, unravel, chunks)
    found = adaptive.worst_in_ball(look, flat, jnp.ones_like(flat), rho=RHO, norm=2, steps=_STEPS)
    counted = objective(network.apply, _zero_one)
    worst = adaptive.mean_loss(counted, unravel, pack(counted, (train.images, train.labels)))(
        flat + found.point
    )
    worst = jnp.maximum(worst, workspace["train_error"])
    bound = sam_bound(worst, jnp.sum(flat**2), parameters=flat.size, examples=examples)
    return value(bound, vacuous=bound >= 1, worst_error=worst)


def _zero_one(logits: Any, labels: Any) -> Any:
    return (jnp.argmax(logits, axis=-1) != labels).astype(logits.dtype)


def _neu(workspace: Workspace) -> Result:
    made, train = measured(workspace)
    held_out = workspace.data.validation
    assert held_out is not None
    chunks = pack(made, (held_out.images, held_out.labels))
    key = workspace.key("flatness_gap")
    flat, unravel = ravel_pytree(workspace.trained.params)
    losses = [adaptive.mean_loss(made, unravel, c) for c in (chunks, train)]

    def growth(w):
        return losses[0](w) - losses[1](w)

    start = growth(flat)

    def of_one(key):
        return start - growth(flat + SIGMA * jax.random.normal(key, flat.shape, flat.dtype))

    found = jax.lax.map(of_one, jax.random.split(key, DRAWS))
    error = jnp.std(found, ddof=1) / math.sqrt(DRAWS)
    return value(jnp.abs(jnp.mean(found)), standard_error=error)


def _wang_mao(workspace: Workspace) -> Result:
    probes = workspace["curvature_probes"]
    product = probes.covariance_trace * probes.hessian_trace
    positive = jnp.where(product > 0, product, 1.0)
    return refuse_where({Refusal.DEGENERATE: product <= 0}, jnp.cbrt(positive))


_FAMILY = "sharpness_bounds"
MEASURES = (
    Measure(
        name="second_order_pac_bayes_bound",
        family=_FAMILY,
        formula="min over sigma of kl^-1((L + sigma^2 tr(H) / 2) / ln 2, (KL + ln(2 sqrt(n) / "
        "delta')) / n), delta = 0.05: posterior N(w, sigma^2 I), prior N(w0, sigma_P^2 I) with the "
        "best of a grid of sigma_P, w0 at initialisation, H Hessian of the mean cross-entropy L",
        source="Tsuzuku, Sato and Sugiyama, Normalized Flat Minima, ICML 2020",
        compute=_second_order,
        needs=("curvature_probes", "losses"),
        requires=("init",),
        fast=False,
        conditions="no certificate: confidence 0.95 for the error of the stochastic network if its "
        "mean training loss is as its expansion to second order says, with the trace as estimated; "
        "n independent examples, n those measured, initial weights fixed without them",
    ),
    Measure(
        name="sam_bound",
        family=_FAMILY,
        formula="(1 - 1/sqrt(n)) max R(w + e) + 1/sqrt(n) + sqrt(((k/4) ln(1 + (||w||^2 / rho^2) "
        "(1 + sqrt(ln n / k))^2) + ln(n / delta) + 2 ln(6 n + 3 k)) / (n - 1)), the maximum over "
        f"||e|| <= rho = {RHO:g}, R the training error, delta = 0.05 (proof of theorem 2)",
        source="Foret et al., Sharpness-Aware Minimization, ICLR 2021",
        compute=_sam,
        needs=("train_error",),
        requires=("train",),
        passes=_STEPS + 4 / 3,
        fast=False,
        conditions="no certificate: confidence 0.95 if Gaussian noise on the weights does not "
        "lower the expected error, and if no point of the ball has more errors than the one that "
        f"{_STEPS} steps of Auto-PGD on the cross-entropy find; n independent examples, n those "
        "measured",
    ),
    Measure(
        name="neu_flatness_gap",
        family=_FAMILY,
        formula="|E[D(validation) - D(train)]|, D = L(w) - L(w + xi), xi ~ N(0, sigma^2 I), sigma "
        f"= {SIGMA:g}, {DRAWS} draws: the flatness term of theorem 1 for this network, without the "
        "sum over the trajectory; a term, no bound",
        source="Neu et al., Information-Theoretic Generalization Bounds for Stochastic Gradient "
        "Descent, COLT 2021",
        compute=_neu,
        requires=("train", "validation"),
        passes=(DRAWS + 1) * 2 / 3,
        fast=False,
    ),
    Measure(
        name="wang_mao_term",
        family=_FAMILY,
        formula="(tr(C) tr(H))^(1/3), C the covariance of gradients at the end of training: of the "
        "bound 3 (A^2 B / 4)^(1/3), A^2 a sum of gradient variances along the trajectory and B "
        "proportional to tr(H), what the end of training shows; a term, no bound",
        source="Wang and Mao, On the Generalization of Models Trained with SGD, ICLR 2022",
        compute=_wang_mao,
        needs=("curvature_probes",),
        fast=False,
    ),
)
