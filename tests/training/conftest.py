"""A small population that trains in a second."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from genjax.data import Examples
from genjax.training import ModelConfig, SweepConfig, TrainingConfig


@pytest.fixture(scope="session")
def few_digits():
    """200 digits of three classes."""
    digits = load_digits()
    keep = np.flatnonzero(digits.target < 3)[:200]
    return Examples(
        images=(digits.images[keep, :, :, None] / 16).astype(np.float32),
        labels=digits.target[keep].astype(np.int32),
        class_names=("0", "1", "2"),
        name="few digits",
    )


@pytest.fixture
def small_sweep():
    """A factory of configurations: one small mlp, `seeds` networks, few steps."""

    def make(*, hyper=None, seeds=3, model=None, **rules):
        settings = {"max_steps": 30, "record_every": 10, "batch_size": 32, "stop": "steps", **rules}
        return SweepConfig(
            [model or ModelConfig("mlp", {"widths": (8,)})],
            [TrainingConfig(**settings)],
            hyper or {},
            seeds,
        )

    return make
