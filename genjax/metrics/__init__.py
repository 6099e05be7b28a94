"""Everything read off a trained network."""

from genjax.metrics import (
    accuracy,
    calibration,
    evaluation,
    heads,
    kappa,
    practical,
    protocol,
    testbed,
    tradeoff,
)

__all__ = [
    "accuracy",
    "calibration",
    "evaluation",
    "heads",
    "kappa",
    "practical",
    "protocol",
    "testbed",
    "tradeoff",
]
