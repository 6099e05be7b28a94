"""Double descent: does the test error fall, rise and fall again with width, examples and time?

Source: Belkin et al. (PNAS 2019); Mei and Montanari (2022) for random features; Nakkiran et al.,
  Deep double descent (ICLR 2020), for width, examples and time, with and without wrong labels.
Hardware: 2 CPU cores; see experiments/README.md for times.
Expected: random features peak where they are as many as examples; networks with wrong labels near
  the width that fits all of them; see experiments/README.md.
Command: python -m experiments.double_descent --config=experiments/configs/double_descent.py

Variants: digits (default), fashion_mnist, smoke.
"""

from ml_collections import ConfigDict

from experiments.configs import variants


def get_config(variant: str = "digits") -> ConfigDict:
    return variants.chosen("double_descent", variant, _config(), _VARIANTS)


def _config() -> ConfigDict:
    return ConfigDict(
        {
            "name": "",
            "seed": 0,
            "seeds": 16,
            "level": 0.95,
            "label_noises": (0.0, 0.3),  # shares of wrong labels
            "data": variants.data(test_share=0.3),
            "simulated": {
                "dimension": 100,
                "examples": 300,
                "noise": 0.25,  # variance
                "trials": 16,
                "test_examples": 1_000,
                "features": (25, 50, 100, 150, 200, 250, 300, 360, 450, 600, 900, 1_500),
            },
            "features": {  # random features of the images
                "examples": 300,
                "counts": (30, 75, 150, 225, 270, 300, 330, 400, 600, 1_200, 2_400),
                "fixed": 300,  # for the curve over examples
                "sizes": (50, 100, 200, 270, 300, 330, 400, 600, 900),
            },
            "network": {
                "examples": 400,
                "widths": (2, 4, 8, 16, 24, 32, 64, 128, 256),
                "fixed": 24,  # for the curve over examples
                "sizes": (60, 120, 200, 300, 600, 1_200),  # each divides the last
                "looks": 8,  # places of the curve over time
            },
            "training": {
                "optimizer": "adam",
                "batch_size": 32,
                "max_steps": 3_000,
                "record_every": 100,
                "stop": "steps",
            },
            "hyper": {"learning_rate": 0.003},
        }
    )


def _fashion_mnist(config: ConfigDict) -> None:
    config.data.source = "tfds:fashion_mnist"
    config.data.train_examples = 10_000
    config.data.test_examples = 2_000
    config.network.examples = 1_000
    config.network.widths = (2, 4, 6, 8, 12, 16, 24, 32, 64, 128)
    config.network.sizes = (100, 200, 400, 800, 1_600)
    config.training.max_steps = 6_000
    config.training.record_every = 200


def _smoke(config: ConfigDict) -> None:
    config.seeds = 3
    config.label_noises = (0.3,)
    config.data.test_examples = 100
    config.simulated.dimension = 20
    config.simulated.examples = 60
    config.simulated.trials = 6
    config.simulated.test_examples = 200
    config.simulated.features = (10, 30, 60, 100, 200)
    config.features.examples = 60
    config.features.counts = (20, 60, 200)
    config.features.fixed = 60
    config.features.sizes = (20, 60, 200)
    config.network.examples = 60
    config.network.widths = (2, 8, 32)
    config.network.fixed = 8
    config.network.sizes = (30, 60)
    config.network.looks = 4
    config.training.max_steps = 100
    config.training.record_every = 10


_VARIANTS = {"digits": None, "fashion_mnist": _fashion_mnist, "smoke": _smoke}
