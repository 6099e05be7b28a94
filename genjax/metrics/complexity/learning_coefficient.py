"""The local learning coefficient and WBIC, by stochastic gradient Langevin dynamics.

Four chains of 200 + 200 steps on minibatches of 128, gamma = 100, epsilon = 0.02 / (n beta). The
loss at the trained parameters is that of all measured examples, not of one minibatch. Draws of the
loss that do not stay above it (a parameter that is no minimum, chains that have not settled) give a
negative coefficient, which is kept. A chain that leaves the range of numbers refuses the network.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp

from genjax.metrics.complexity.contract import Intermediate, Measure, Refusal, Result, refuse_where
from genjax.metrics.complexity.langevin import (
    Langevin,
    LearningCoefficient,
    local_learning_coefficient,
)
from genjax.metrics.complexity.workspace import Workspace, cross_entropies

SAMPLER = Langevin()


def _sampled(workspace: Workspace, batch_temperature: bool) -> LearningCoefficient:
    train, apply = workspace.data.train, workspace.network.apply
    batch = min(SAMPLER.batch or len(train.labels), len(train.labels))

    def loss(params: Any, examples: Any) -> Any:
        images, labels = examples
        return jnp.mean(cross_entropies(apply(params, images), labels))

    # Kernels that differ between chains make grouped convolutions, which are slow on CPU.
    convolutions = any(layer.kind != "dense" for layer in workspace.layers)
    return local_learning_coefficient(
        loss,
        workspace.trained.params,
        (jnp.asarray(train.images), jnp.asarray(train.labels)),
        workspace.key("learning_coefficient"),
        size=workspace.train_size,
        baseline=jnp.mean(workspace["losses"]),
        inverse_temperature=batch / math.log(batch) if batch_temperature else None,
        how=SAMPLER._replace(together=not (convolutions and jax.default_backend() == "cpu")),
    )


def _result(found: LearningCoefficient, amount: Any, error: Any, **info: Any) -> Result:
    return refuse_where(
        {Refusal.DEGENERATE: ~jnp.isfinite(found.value)}, amount, standard_error=error, **info
    )


def _coefficient(name: str) -> Any:
    def compute(workspace: Workspace) -> Result:
        found = workspace[name]
        baseline = jnp.mean(workspace["losses"])
        return _result(
            found,
            found.value,
            found.standard_error,
            loss=baseline,
            mean_loss=found.mean_loss,
            smallest_chain=jnp.min(found.chains),
            largest_chain=jnp.max(found.chains),
        )

    return compute


def _wbic(workspace: Workspace) -> Result:
    found, size = workspace["posterior_losses"], workspace.train_size
    # A change of lambda-hat by one is a change of n E[L_n] by ln n.
    error = found.standard_error * math.log(size)
    return _result(found, size * found.mean_loss, error)


# Passes at 1,000 measured examples: 4 chains x 400 steps x 128 examples.
_PASSES = SAMPLER.chains * (SAMPLER.burn_in + SAMPLER.draws) * (SAMPLER.batch or 0) / 1000
INTERMEDIATES = (
    # `LearningCoefficient` with n beta = n / ln n.
    Intermediate(
        "posterior_losses",
        lambda w: _sampled(w, batch_temperature=False),
        ("losses",),
        ("train",),
        _PASSES,
    ),
    # The same with n beta = b / ln b, b the size of a minibatch.
    Intermediate(
        "batch_posterior_losses",
        lambda w: _sampled(w, batch_temperature=True),
        ("losses",),
        ("train",),
        _PASSES,
    ),
)

_LAU = "Lau, Furman, Wang, Murfet and Wei, The local learning coefficient, 2023"
MEASURES = (
    Measure(
        name="local_learning_coefficient",
        family="learning_coefficient",
        formula="n beta (E_beta[L_n] - L_n(w)), beta = 1 / ln n, L_n mean cross-entropy in nats, "
        "around w with gamma = 100",
        source=_LAU,
        compute=_coefficient("posterior_losses"),
        needs=("posterior_losses", "losses"),
        fast=False,
    ),
    Measure(
        name="local_learning_coefficient_batch_temperature",
        family="learning_coefficient",
        formula="the same with n beta = b / ln b, b = 128 the size of a minibatch, the default of "
        "the package devinterp",
        source=_LAU,
        compute=_coefficient("batch_posterior_losses"),
        needs=("batch_posterior_losses", "losses"),
        fast=False,
    ),
    Measure(
        name="wbic",
        family="learning_coefficient",
        formula="n E_beta[L_n], beta = 1 / ln n, in nats, around w with gamma = 100",
        source="Watanabe, A widely applicable Bayesian information criterion, JMLR 14:867, 2013",
        compute=_wbic,
        needs=("posterior_losses",),
        fast=False,
    ),
)
