"""Regularisation: which of six ways lowers the test error, and do they add up?

Source: Zhang et al. (ICLR 2017) for the question; Srivastava et al. (2014) for dropout; Szegedy et
  al. (2016) for label smoothing; Zhang et al. (ICLR 2018) for mixup; Box, Hunter and Hunter (2005)
  for factorial experiments.
Hardware: 2 CPU cores; see experiments/README.md for times.
Expected: see experiments/README.md.
Command: python -m experiments.regularisation --config=experiments/configs/regularisation.py

Variants: digits (default), fashion_mnist, smoke.
"""

from ml_collections import ConfigDict

from experiments.configs import variants


def get_config(variant: str = "digits") -> ConfigDict:
    return variants.chosen("regularisation", variant, _config(), _VARIANTS)


def _config() -> ConfigDict:
    return ConfigDict(
        {
            "name": "",
            "seed": 0,
            "seeds": 8,
            "level": 0.95,
            "label_noise": 0.1,  # share of wrong labels among those trained on
            "data": variants.data(fractions=(0.5, 0.2, 0.3)),
            "examples": 300,  # that every seed draws to train on
            "model": {"name": "mlp", "options": {"widths": (64,)}},
            # Values of the factors where they are on; () and 0 leave a factor out.
            "factors": {
                "weight_decay": 0.003,
                "dropout_rate": 0.3,
                "label_smoothing": 0.1,
                "mixup_alpha": 0.4,
                "augmentation": ("rotation",),
                "early_stopping": True,
            },
            "training": {
                "optimizer": "momentum",
                "batch_size": 32,
                "max_steps": 800,
                "record_every": 50,
            },
            "hyper": {"learning_rate": 0.05, "momentum": 0.9},
        }
    )


def _fashion_mnist(config: ConfigDict) -> None:
    config.data.source = "tfds:fashion_mnist"
    config.data.fractions = (0.9, 0.1, 0.0)  # the test examples are the official ones
    config.data.train_examples = 10_000
    config.data.test_examples = 2_000
    config.examples = 2_000
    config.model.options.widths = (128,)
    config.training.max_steps = 2_000
    config.training.record_every = 200


def _smoke(config: ConfigDict) -> None:
    config.seeds = 2
    config.data.test_examples = 100
    config.examples = 60
    config.model.options.widths = (8,)
    config.factors.dropout_rate = 0.0
    config.factors.label_smoothing = 0.0
    config.factors.mixup_alpha = 0.0
    config.factors.augmentation = ()
    config.training.max_steps = 40
    config.training.record_every = 20


_VARIANTS = {"digits": None, "fashion_mnist": _fashion_mnist, "smoke": _smoke}
