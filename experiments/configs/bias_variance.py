"""Which part of the error is bias, and which is variance?

Source: Geman, Bienenstock and Doursat (1992); Domingos (2000); Neal et al. (arXiv 1810.08591); Yang
  et al., Rethinking bias-variance trade-off (ICML 2020), who find that bias falls with width and
  variance rises and falls.
Hardware: 2 CPU cores; see experiments/README.md for times.
Expected: bias falls with width; see experiments/README.md for the variance.
Command: python -m experiments.bias_variance --config=experiments/configs/bias_variance.py

Variants: digits (default), clean (no label noise), fashion_mnist, smoke.
"""

from ml_collections import ConfigDict

from experiments.configs import variants


def get_config(variant: str = "digits") -> ConfigDict:
    return variants.chosen("bias_variance", variant, _config(), _VARIANTS)


def _config() -> ConfigDict:
    return ConfigDict(
        {
            "name": "",
            "seed": 0,
            "seeds": 16,  # samples of every size
            "level": 0.95,
            "label_noise": 0.2,  # share of wrong labels, in training sets and in expectation
            "data": variants.data(test_share=0.2),
            "depth": 1,
            "widths": (2, 4, 8, 16, 32, 64, 128, 256),
            "sizes": (100, 300, 600),  # each divides the last
            "training": {
                "optimizer": "adam",
                "batch_size": 32,
                "max_steps": 1_500,
                "record_every": 1_500,
                "stop": "steps",
            },
            "hyper": {"learning_rate": 0.003},
        }
    )


def _clean(config: ConfigDict) -> None:
    config.label_noise = 0.0


def _fashion_mnist(config: ConfigDict) -> None:
    config.data.source = "tfds:fashion_mnist"
    config.data.train_examples = 20_000
    config.data.test_examples = 2_000
    config.sizes = (250, 1_000, 4_000)
    config.training.max_steps = 3_000
    config.training.record_every = 3_000


def _smoke(config: ConfigDict) -> None:
    config.seeds = 4
    config.data.test_examples = 100
    config.widths = (2, 16)
    config.sizes = (50, 100)
    config.training.max_steps = 100
    config.training.record_every = 100


_VARIANTS = {
    "digits": None,
    "clean": _clean,
    "fashion_mnist": _fashion_mnist,
    "smoke": _smoke,
}
