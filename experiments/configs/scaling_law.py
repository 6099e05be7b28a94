"""How does the error scale with examples, width and label noise?

Source: Hestness et al., Deep learning scaling is predictable, empirically (arXiv 1712.00409), who
  find exponents of 0.07 to 0.35; Rosenfeld et al. (ICLR 2020) for the offset.
Hardware: 2 CPU cores; see experiments/README.md for times.
Expected: see experiments/README.md.
Command: python -m experiments.scaling_law --config=experiments/configs/scaling_law.py

Variants: digits (default), fashion_mnist, cifar10, smoke.
"""

from ml_collections import ConfigDict

from experiments.configs import variants


def get_config(variant: str = "digits") -> ConfigDict:
    return variants.chosen("scaling_law", variant, _config(), _VARIANTS)


def _config() -> ConfigDict:
    return ConfigDict(
        {
            "name": "",
            "seed": 0,
            "seeds": 8,
            "level": 0.95,
            "data": variants.data(fractions=(0.7, 0.1, 0.2)),
            "sizes": (50, 75, 100, 150, 200, 300, 400, 600, 1200),  # each divides the last
            "label_noise": (0.0, 0.2, 0.4),
            "depth": 1,
            "width": 64,  # of the networks over sizes
            "widths": (2, 3, 4, 6, 8, 12, 16, 32, 64),  # at the largest size
            "beyond": 3,  # of the largest sizes and widths laws are tested on, not fitted to
            "training": {
                "optimizer": "adam",
                "batch_size": 32,
                "max_steps": 1_500,
                "record_every": 50,
                "stop": "early_stopping",
                "patience": 8,
            },
            "hyper": {"learning_rate": 0.003},
        }
    )


def _fashion_mnist(config: ConfigDict) -> None:
    config.data.source = "tfds:fashion_mnist"
    config.sizes = (100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800)
    config.label_noise = (0.0, 0.2)
    config.training.max_steps = 4_000
    config.training.record_every = 200


def _cifar10(config: ConfigDict) -> None:
    _fashion_mnist(config)
    config.data.source = "tfds:cifar10"


def _smoke(config: ConfigDict) -> None:
    config.seeds = 3
    config.sizes = (50, 100, 200, 400)
    config.label_noise = (0.0, 0.3)
    config.width = 8
    config.widths = (2, 3, 4, 8)
    config.beyond = 1
    config.training.max_steps = 200
    config.training.record_every = 100


_VARIANTS = {
    "digits": None,
    "fashion_mnist": _fashion_mnist,
    "cifar10": _cifar10,
    "smoke": _smoke,
}
