"""Pure functional training of populations of networks."""

from genjax.training.config import HyperParameters, ModelConfig, SweepConfig, TrainingConfig
from genjax.training.population import Population, TrainedGroup
from genjax.training.resamples import Own, train_resamples
from genjax.training.sweep import TrainingData, check, sweep

__all__ = [
    "HyperParameters",
    "ModelConfig",
    "Own",
    "Population",
    "SweepConfig",
    "TrainedGroup",
    "TrainingConfig",
    "TrainingData",
    "check",
    "sweep",
    "train_resamples",
]
