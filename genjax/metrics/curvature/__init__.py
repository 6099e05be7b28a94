"""Curvature of the loss in the parameters: products, spectra and traces, with their errors."""

from genjax.metrics.curvature.adaptive import (
    Sharpness,
    average_case_sharpness,
    scaling,
    with_normalised_logits,
    worst_case_sharpness,
)
from genjax.metrics.curvature.ascent import Ascent, auto_pgd
from genjax.metrics.curvature.checks import check, fixed_batches
from genjax.metrics.curvature.dense import dense
from genjax.metrics.curvature.eigenvalues import Eigenvalues, extreme_eigenvalues
from genjax.metrics.curvature.gradient_covariance import (
    Alignment,
    gradient_covariance,
    noise_alignment,
)
from genjax.metrics.curvature.local_entropy import LocalEntropy, local_entropy
from genjax.metrics.curvature.loss_surface import (
    LinearPath,
    filter_normalised_direction,
    linear_path,
    loss_slice,
)
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
from genjax.metrics.curvature.relative_flatness import (
    Kernel,
    RelativeFlatness,
    output_relative_flatness,
    relative_flatness,
)
from genjax.metrics.curvature.sharpness import asam_sharpness, keskar_sharpness, sam_sharpness
from genjax.metrics.curvature.spectrum import (
    Density,
    Quadrature,
    density,
    effective_dimension,
    log_determinant,
    quadrature,
    trace_of,
)
from genjax.metrics.curvature.stacked import over_devices, over_networks
from genjax.metrics.curvature.traces import Estimate, Trace, diagonal, low_rank_trace, trace
from genjax.metrics.curvature.training_curvature import TrainingCurvature, training_curvature
from genjax.metrics.curvature.weight_matching import (
    Matched,
    ModeConnectivity,
    match_weights,
    mode_connectivity,
)

__all__ = [
    "Alignment",
    "Ascent",
    "Chunks",
    "Density",
    "Eigenvalues",
    "Estimate",
    "Kernel",
    "LinearPath",
    "LocalEntropy",
    "Matched",
    "ModeConnectivity",
    "Objective",
    "Quadrature",
    "RelativeFlatness",
    "Sharpness",
    "Trace",
    "TrainingCurvature",
    "asam_sharpness",
    "auto_pgd",
    "average_case_sharpness",
    "check",
    "cross_entropy",
    "dense",
    "density",
    "diagonal",
    "effective_dimension",
    "empirical_fisher",
    "extreme_eigenvalues",
    "filter_normalised_direction",
    "fisher",
    "fixed_batches",
    "generalized_gauss_newton",
    "gradient",
    "gradient_covariance",
    "hessian",
    "keskar_sharpness",
    "linear_path",
    "local_entropy",
    "log_determinant",
    "loss_slice",
    "low_rank_trace",
    "match_weights",
    "mode_connectivity",
    "monte_carlo_fisher",
    "noise_alignment",
    "objective",
    "output_relative_flatness",
    "over_devices",
    "over_networks",
    "pack",
    "quadrature",
    "relative_flatness",
    "restricted",
    "sam_sharpness",
    "scaling",
    "squared",
    "trace",
    "trace_of",
    "training_curvature",
    "value",
    "with_normalised_logits",
    "worst_case_sharpness",
]
