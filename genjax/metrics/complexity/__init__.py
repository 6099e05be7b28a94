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
from genjax.metrics.complexity.measuring import (
    GroupMeasures,
    Refused,
    measure,
    measure_group,
)
from genjax.metrics.complexity.norms import size_adjusted
from genjax.metrics.complexity.registry import catalogue, passes, select
from genjax.metrics.complexity.sign_fit import linear_rademacher
from genjax.metrics.complexity.unlabeled import class_aggregated_calibration_error

__all__ = [
    "AgreementLine",
    "GroupMeasures",
    "Intermediate",
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
    "dziugaite_roy_bound",
    "kl_bernoulli",
    "kl_inverse",
    "langford_seeger_bound",
    "linear_rademacher",
    "maurer_bound",
    "mcallester_bound",
    "measure",
    "measure_data",
    "measure_group",
    "passes",
    "sampled_error_bound",
    "select",
    "size_adjusted",
    "tolerated_noise",
    "vc_bound",
]
