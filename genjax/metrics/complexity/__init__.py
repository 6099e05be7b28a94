"""Complexity measures: scalars of a trained network that are claimed to predict generalization.

One family per file; each file lists its `MEASURES` and the `INTERMEDIATES` they share. `measure`
computes any of them on a whole population, `catalogue` says what there is.
"""

from genjax.metrics.complexity.agreement import AgreementLine, agreement_on_the_line
from genjax.metrics.complexity.bounds import (
    catoni_bound,
    dziugaite_roy_bound,
    kl_bernoulli,
    kl_inverse,
    langford_seeger_bound,
    maurer_bound,
    mcallester_bound,
    sampled_error_bound,
)
from genjax.metrics.complexity.capacity import vc_bound
from genjax.metrics.complexity.clusters import davies_bouldin
from genjax.metrics.complexity.computing import compute
from genjax.metrics.complexity.contract import (
    Intermediate,
    Measure,
    MeasureData,
    Refusal,
    Trained,
    measure_data,
)
from genjax.metrics.complexity.flatness import tolerated_noise
from genjax.metrics.complexity.langevin import (
    Langevin,
    LearningCoefficient,
    local_learning_coefficient,
    reduced_rank_learning_coefficient,
)
from genjax.metrics.complexity.layer_margins import margin_signature, normalised_layer_margins
from genjax.metrics.complexity.measuring import (
    GroupMeasures,
    Refused,
    measure,
    measure_group,
)
from genjax.metrics.complexity.neighbourhood import label_variation
from genjax.metrics.complexity.norms import size_adjusted
from genjax.metrics.complexity.registry import catalogue, passes, select
from genjax.metrics.complexity.sharpness import tolerated_box
from genjax.metrics.complexity.sign_fit import linear_rademacher
from genjax.metrics.complexity.spectral_laws import fit_marchenko_pastur, fit_power_law
from genjax.metrics.complexity.tangent_kernel import (
    empirical_ntk,
    label_complexity,
    two_layer_relu_kernel,
)
from genjax.metrics.complexity.unlabeled import class_aggregated_calibration_error

__all__ = [
    "AgreementLine",
    "GroupMeasures",
    "Intermediate",
    "Langevin",
    "LearningCoefficient",
    "Measure",
    "MeasureData",
    "Refusal",
    "Refused",
    "Trained",
    "agreement_on_the_line",
    "catalogue",
    "catoni_bound",
    "class_aggregated_calibration_error",
    "compute",
    "davies_bouldin",
    "dziugaite_roy_bound",
    "empirical_ntk",
    "fit_marchenko_pastur",
    "fit_power_law",
    "kl_bernoulli",
    "kl_inverse",
    "label_complexity",
    "label_variation",
    "langford_seeger_bound",
    "linear_rademacher",
    "local_learning_coefficient",
    "margin_signature",
    "maurer_bound",
    "mcallester_bound",
    "measure",
    "measure_data",
    "measure_group",
    "normalised_layer_margins",
    "passes",
    "reduced_rank_learning_coefficient",
    "sampled_error_bound",
    "select",
    "size_adjusted",
    "tolerated_box",
    "tolerated_noise",
    "two_layer_relu_kernel",
    "vc_bound",
]
