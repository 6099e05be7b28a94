"""Curvature of the loss in the parameters: products, spectra and traces, with their errors."""

from genjax.metrics.curvature.objective import (
    Chunks,
    Objective,
    cross_entropy,
    gradient,
    objective,
    pack,
    squared,
    value,
)
from genjax.metrics.curvature.products import (
    empirical_fisher,
    fisher,
    generalized_gauss_newton,
    hessian,
    monte_carlo_fisher,
)

__all__ = [
    "Chunks",
    "Objective",
    "cross_entropy",
    "empirical_fisher",
    "fisher",
    "generalized_gauss_newton",
    "gradient",
    "hessian",
    "monte_carlo_fisher",
    "objective",
    "pack",
    "squared",
    "value",
]
