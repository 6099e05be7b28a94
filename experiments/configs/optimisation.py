"""Optimisation: does SGD with momentum generalize better than Adam, when all are tuned?

Source: Wilson et al., The marginal value of adaptive gradient methods (NeurIPS 2017); Choi et al.
  (arXiv 1910.05446), that tuning decides; Keskar et al. (ICLR 2017) for batch size and sharpness;
  Foret et al. (ICLR 2021) for SAM.
Hardware: 2 CPU cores; see experiments/README.md for times.
Expected: see experiments/README.md.
Command: python -m experiments.optimisation --config=experiments/configs/optimisation.py

Variants: digits (default), fashion_mnist, smoke.
"""

from ml_collections import ConfigDict

from experiments.configs import variants


def get_config(variant: str = "digits") -> ConfigDict:
    return variants.chosen("optimisation", variant, _config(), _VARIANTS)


def _config() -> ConfigDict:
    return ConfigDict(
        {
            "name": "",
            "seed": 0,
            "seeds": 8,
            "level": 0.95,
            "data": variants.data(fractions=(0.5, 0.2, 0.3)),
            "examples": 300,  # that every seed draws to train on
            "model": {"name": "mlp", "options": {"widths": (64,)}},
            "base": "momentum",  # what the others are compared with
            "batch_sizes": (16, 64),
            # Learning rates of every optimizer.
            "rates": {
                "sgd": (0.03, 0.1, 0.3, 1.0, 3.0),
                "momentum": (0.01, 0.03, 0.1, 0.3, 1.0),
                "adam": (0.001, 0.003, 0.01, 0.03, 0.1),
                "adamw": (0.001, 0.003, 0.01, 0.03, 0.1),
                "sam": (0.01, 0.03, 0.1, 0.3, 1.0),
            },
            "weight_decay": 0.0003,  # coupled
            "decoupled_decay": 0.1,  # of adamw
            "sam_radius": 0.05,
            "sharpness_radius": 0.05,
            "epochs": 40,  # the same for all
        }
    )


def _fashion_mnist(config: ConfigDict) -> None:
    config.data.source = "tfds:fashion_mnist"
    config.data.fractions = (0.9, 0.1, 0.0)  # the test examples are the official ones
    config.data.train_examples = 10_000
    config.data.test_examples = 2_000
    config.examples = 2_000
    config.model.options.widths = (128,)


def _smoke(config: ConfigDict) -> None:
    config.seeds = 2
    config.data.test_examples = 100
    config.examples = 60
    config.model.options.widths = (8,)
    config.batch_sizes = (32,)
    config.rates.sgd = ()
    config.rates.adamw = ()
    config.rates.sam = ()
    config.rates.momentum = (0.03, 0.1)
    config.rates.adam = (0.003, 0.01)
    config.epochs = 10


_VARIANTS = {"digits": None, "fashion_mnist": _fashion_mnist, "smoke": _smoke}
