"""Small trained networks that every test of measures shares; trained once per session."""

import pathlib

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


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Leave to the nightly run what compiles much: large families, and trained networks elsewhere.

    The battery puts every fast measure on trained networks of mlp and cnn in every run; files of
    single families have their oracles on toy networks.
    """
    here = pathlib.Path(__file__).parent
    for item in items:
        if here not in item.path.parents:
            continue
        call = getattr(item, "callspec", None)
        texts = {v for v in call.params.values() if isinstance(v, str)} if call else set()
        trained = "groups" in item.fixturenames and item.path.stem != "test_measure_battery"
        if trained or texts & {"resnet", "vit"}:
            item.add_marker(pytest.mark.slow)


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


class _Groups(dict):
    """Groups by family, each trained when a test first asks for it."""

    def __init__(self, digits):
        super().__init__()
        self.data = training.TrainingData(*digits)

    def __missing__(self, family):
        rules = training.TrainingConfig(
            max_steps=400, record_every=20, threshold=0.02, batch_size=50, optimizer="adam"
        )
        config = training.SweepConfig(
            [training.ModelConfig(family, MODELS[family])],
            [rules],
            {"learning_rate": (0.01, 0.005)},
            seeds=2,
        )
        (self[family],) = training.sweep(config, self.data, jax.random.key(0)).groups
        return self[family]


@pytest.fixture(scope="session")
def groups(digits):
    """Two seeds and two learning rates of each family: mlp, cnn, resnet, vit.

    Trained to a cross-entropy of 0.02 nats.
    """
    return _Groups(digits)
