"""Pure functional training of populations of networks."""

from genjax.training.config import HyperParameters, ModelConfig, SweepConfig, TrainingConfig
from genjax.training.population import Population, TrainedGroup
from genjax.training.sweep import TrainingData, check, sweep

__all__ = [
    "HyperParameters",
    "ModelConfig",
    "Population",
    "SweepConfig",
    "TrainedGroup",
    "TrainingConfig",
    "TrainingData",
    "check",
    "sweep",
]
