"""Complexity measures: scalars of a trained network that are claimed to predict generalization.

One family per file; each file lists its `MEASURES` and the `INTERMEDIATES` they share. `measure`
computes any of them on a whole population, `catalogue` says what there is.
"""

from genjax.metrics.complexity.computing import compute
from genjax.metrics.complexity.contract import (
    Intermediate,
    Measure,
    MeasureData,
    Refusal,
    Trained,
    measure_data,
)
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
    "compute",
    "measure",
    "measure_data",
    "measure_group",
    "passes",
    "select",
]
