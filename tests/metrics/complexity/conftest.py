"""Small trained networks that every test of measures shares; trained once per session."""

import jax
import pytest

from genjax import data, training
from genjax.metrics import complexity

MODELS = {
    "mlp": {"widths": (16, 16)},
    "cnn": {"channels": (4, 8)},
    "resnet": {"depth": 8, "width": 0.25},
    "vit": {"patch": 4, "width": 16, "depth": 1, "heads": 2},
}


@pytest.fixture(scope="session")
def digits():
    """300 training and 200 other images."""
    images = data.load("digits")
    return images.take(range(300)), images.take(range(300, 500))


@pytest.fixture(scope="session")
def measure_data(digits):
    """The same as measures see them; the unlabelled images are those of the validation set."""
    train, validation = digits
    return complexity.measure_data(train, validation, validation)


@pytest.fixture(scope="session")
def population(digits):
    """Two seeds and two learning rates of every family, trained to cross-entropy 0.02."""
    rules = training.TrainingConfig(
        max_steps=400, record_every=20, threshold=0.02, batch_size=50, optimizer="adam"
    )
    config = training.SweepConfig(
        [training.ModelConfig(name, options) for name, options in MODELS.items()],
        [rules],
        {"learning_rate": (0.01, 0.005)},
        seeds=2,
    )
    return training.sweep(config, training.TrainingData(*digits), jax.random.key(0))


@pytest.fixture(scope="session")
def groups(population):
    """The groups by family: mlp, cnn, resnet, vit; 4 networks each."""
    return {group.network.family: group for group in population.groups}
