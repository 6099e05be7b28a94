"""What can these networks fit, and what does that say of generalization?

Source: Zhang, Bengio, Hardt, Recht and Vinyals, Understanding deep learning requires rethinking
  generalization (ICLR 2017); Bartlett and Mendelson (JMLR 2002).
Hardware: 2 CPU cores; see experiments/README.md for times.
Expected: random labels are fitted, in a few times the steps of true ones.
Command: python -m experiments.capacity --config=experiments/configs/capacity.py

Variants: digits (default), fashion_mnist, cifar10, smoke.
"""

from ml_collections import ConfigDict

from experiments.configs import variants


def get_config(variant: str = "digits") -> ConfigDict:
    return variants.chosen("capacity", variant, _config(), _VARIANTS)


def _config() -> ConfigDict:
    return ConfigDict(
        {
            "name": "",
            "seed": 0,
            "seeds": 8,
            "level": 0.95,
            "data": variants.data(test_share=0.2),
            "model": {"name": "mlp", "options": {"widths": (256,)}},
            "examples": 600,  # to fit
            "random_labels": (0.0, 0.25, 0.5, 0.75, 1.0),
            "images": ("shuffled pixels", "random pixels", "gaussian"),
            "signs": {
                "sizes": (50, 100, 200, 400, 800),  # each divides the last
                "widths": (2, 8, 32, 128),
                "depth": 1,
                "training": {"max_steps": 2_000},  # of what differs from below
            },
            "training": {
                "optimizer": "adam",
                "batch_size": 32,
                "max_steps": 6_000,
                "record_every": 50,
                "stop": "cross_entropy",
                "threshold": 0.01,
            },
            "hyper": {"learning_rate": 0.003},
        }
    )


def _fashion_mnist(config: ConfigDict) -> None:
    config.data.source = "tfds:fashion_mnist"
    config.data.test_examples = 2_000
    config.model.options.widths = (512,)
    config.examples = 2_000
    config.signs.sizes = (250, 500, 1_000, 2_000)
    config.training.max_steps = 20_000


def _cifar10(config: ConfigDict) -> None:
    _fashion_mnist(config)
    config.data.source = "tfds:cifar10"


def _smoke(config: ConfigDict) -> None:
    config.seeds = 2
    config.data.test_examples = 100
    config.model.options.widths = (64,)
    config.examples = 100
    config.random_labels = (0.0, 1.0)
    config.images = ("gaussian",)
    config.signs.sizes = (20, 100)
    config.signs.widths = (2, 64)
    config.signs.training.max_steps = 1_000
    config.training.max_steps = 2_000
    config.hyper.learning_rate = 0.01


_VARIANTS = {
    "digits": None,
    "fashion_mnist": _fashion_mnist,
    "cifar10": _cifar10,
    "smoke": _smoke,
}
