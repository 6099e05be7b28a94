"""PAC-Bayes measures: the leading terms of bounds at the largest noise that a network bears."""

import math

import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from genjax.metrics.complexity.contract import Measure, Result
from genjax.metrics.complexity.flatness import EPSILON, of_scale
from genjax.metrics.complexity.workspace import Workspace

_SOURCE = "Jiang et al., Fantastic Generalization Measures, ICLR 2020"


def weights(workspace: Workspace, *, origin: str = "zero"):
    """Return all weights and biases as one vector, minus those at initialisation if asked.

    Args:
        workspace: of one network.
        origin: "zero", or "init".
    """
    flat = ravel_pytree(workspace.trained.params)[0]
    return flat if origin == "zero" else flat - ravel_pytree(workspace.trained.init_params)[0]


def _plain(workspace: Workspace, origin: str) -> Result:
    squared = jnp.sum(weights(workspace, origin=origin) ** 2)
    size = workspace.train_size

    def formula(sigma):
        return squared / (4 * sigma**2) + math.log(size) - jnp.log(sigma) + 10

    return of_scale(workspace["sigma"], formula, "sigma")


def _magnitude(workspace: Workspace, origin: str, per_weight: str) -> Result:
    # R^2 / omega as a mean, so that it neither over- nor underflows in large networks.
    mean_square = jnp.mean(weights(workspace, origin=origin) ** 2)
    squares = weights(workspace, origin=per_weight) ** 2
    size = workspace.train_size

    def formula(sigma):
        above = jnp.log(EPSILON**2 + (sigma**2 + 1) * mean_square)
        logs = above - jnp.log(EPSILON**2 + sigma**2 * squares)
        return jnp.sum(logs) / 4 + math.log(size) - jnp.log(sigma) + 10

    return of_scale(workspace["sigma_magnitude"], formula, "sigma")


MEASURES = (
    Measure(
        name="pacbayes_init",
        family="pac_bayes",
        formula="||w - w0||_2^2 / (4 sigma^2) + ln(m / sigma) + 10 (eq 48), w all weights and "
        "biases, sigma of pacbayes_flatness",
        source=_SOURCE,
        compute=lambda workspace: _plain(workspace, "init"),
        needs=("sigma",),
        requires=("init",),
    ),
    Measure(
        name="pacbayes_orig",
        family="pac_bayes",
        formula="||w||_2^2 / (4 sigma^2) + ln(m / sigma) + 10 (eq 49)",
        source=_SOURCE,
        compute=lambda workspace: _plain(workspace, "zero"),
        needs=("sigma",),
    ),
    Measure(
        name="pacbayes_mag_init",
        family="pac_bayes",
        formula="1/4 sum_j ln[(eps^2 + (sigma'^2 + 1) ||w - w0||_2^2 / omega) / (eps^2 + sigma'^2 "
        "(w_j - w0_j)^2)] + ln(m / sigma') + 10 (eq 56), omega weights and biases, eps = 1e-3, "
        "sigma' of pacbayes_mag_flatness",
        source=_SOURCE,
        compute=lambda workspace: _magnitude(workspace, "init", "init"),
        needs=("sigma_magnitude",),
        requires=("init",),
    ),
    Measure(
        name="pacbayes_mag_orig",
        family="pac_bayes",
        formula="1/4 sum_j ln[(eps^2 + (sigma'^2 + 1) ||w||_2^2 / omega) / (eps^2 + sigma'^2 "
        "(w_j - w0_j)^2)] + ln(m / sigma') + 10 (eq 57, with w - w0 below the line as in the code "
        "that this name's published values come from; see pacbayes_mag_orig_kl)",
        source="Dziugaite et al., In Search of Robust Measures of Generalization, NeurIPS 2020",
        compute=lambda workspace: _magnitude(workspace, "zero", "init"),
        needs=("sigma_magnitude",),
        requires=("init",),
    ),
    Measure(
        name="pacbayes_mag_orig_kl",
        family="pac_bayes",
        formula="as pacbayes_mag_orig with eps^2 + sigma'^2 w_j^2 below the line, the variance of "
        "the noise that was searched: the sum is then half the Kullback-Leibler divergence "
        "(nats) of that noise around w from the best N(0, s^2 I)",
        source=_SOURCE,
        compute=lambda workspace: _magnitude(workspace, "zero", "zero"),
        needs=("sigma_magnitude",),
    ),
)
