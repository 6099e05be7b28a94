"""Curvature of the loss in the parameters: products, spectra and traces, with their errors."""

from genjax.metrics.curvature.checks import check, fixed_batches
from genjax.metrics.curvature.dense import dense
from genjax.metrics.curvature.eigenvalues import Eigenvalues, extreme_eigenvalues
from genjax.metrics.curvature.objective import (
    Chunks,
    Objective,
    cross_entropy,
    gradient,
    objective,
    pack,
    restricted,
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
from genjax.metrics.curvature.spectrum import (
    Density,
    Quadrature,
    density,
    effective_dimension,
    log_determinant,
    quadrature,
    trace_of,
)
from genjax.metrics.curvature.stacked import over_networks
from genjax.metrics.curvature.traces import Estimate, Trace, diagonal, low_rank_trace, trace

__all__ = [
    "Chunks",
    "Density",
    "Eigenvalues",
    "Estimate",
    "Objective",
    "Quadrature",
    "Trace",
    "check",
    "cross_entropy",
    "dense",
    "density",
    "diagonal",
    "effective_dimension",
    "empirical_fisher",
    "extreme_eigenvalues",
    "fisher",
    "fixed_batches",
    "generalized_gauss_newton",
    "gradient",
    "hessian",
    "log_determinant",
    "low_rank_trace",
    "monte_carlo_fisher",
    "objective",
    "over_networks",
    "pack",
    "quadrature",
    "restricted",
    "squared",
    "trace",
    "trace_of",
    "value",
]
