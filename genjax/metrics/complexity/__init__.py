"""Complexity measures: scalars of a trained network that are claimed to predict generalization.

One family per file; each file lists its `MEASURES` and the `INTERMEDIATES` they share. `measure`
computes any of them on a whole population, `catalogue` says what there is.
"""

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
from genjax.metrics.complexity.registry import catalogue, passes, select

__all__ = [
    "GroupMeasures",
    "Intermediate",
    "Measure",
    "MeasureData",
    "Refusal",
    "Refused",
    "Trained",
    "catalogue",
    "catoni_bound",
    "compute",
    "dziugaite_roy_bound",
    "kl_bernoulli",
    "kl_inverse",
    "langford_seeger_bound",
    "maurer_bound",
    "mcallester_bound",
    "measure",
    "measure_data",
    "measure_group",
    "passes",
    "sampled_error_bound",
    "select",
    "tolerated_noise",
]
