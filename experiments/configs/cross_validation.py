"""Which model is best, how surely, and how far off would one split have been?

Source: Nadeau and Bengio, Inference for the generalization error, Machine Learning 52 (2003);
  Bouckaert and Frank, Evaluating the replicability of significance tests (2004).
Hardware: 2 CPU cores; see experiments/README.md for times.
Expected: Student's t over folds is surer than the corrected test; see experiments/README.md.
Command: python -m experiments.cross_validation --config=experiments/configs/cross_validation.py

Variants: digits (default), fashion_mnist, cifar10, smoke.
"""

from ml_collections import ConfigDict

from experiments.configs import variants


def get_config(variant: str = "digits") -> ConfigDict:
    return variants.chosen("cross_validation", variant, _config(), _VARIANTS)


def _config() -> ConfigDict:
    return ConfigDict(
        {
            "name": "",
            "seed": 0,
            "seeds": 8,  # repeats: divisions into folds
            "folds": 5,
            "level": 0.95,
            "data": variants.data(test_share=0.2),
            "sweep": {
                "models": (
                    ("mlp", {"widths": (8,)}),
                    ("mlp", {"widths": (32,)}),
                    ("mlp", {"widths": (128,)}),
                    ("mlp", {"widths": (64, 64, 64)}),
                    ("cnn", {"channels": (8, 16)}),
                ),
            },
            "training": {
                "optimizer": "adam",
                "batch_size": 32,
                "max_steps": 500,
                "record_every": 500,
                "stop": "steps",
            },
            "hyper": {"learning_rate": 0.003},
        }
    )


def _fashion_mnist(config: ConfigDict) -> None:
    config.data.source = "tfds:fashion_mnist"
    config.data.train_examples = 10_000
    config.training.max_steps = 2_000
    config.training.record_every = 2_000


def _cifar10(config: ConfigDict) -> None:
    config.data.source = "tfds:cifar10"
    config.data.train_examples = 10_000
    config.training.max_steps = 2_000
    config.training.record_every = 2_000
    config.sweep.models = (
        ("cnn", {"channels": (16, 32)}),
        ("cnn", {"channels": (16, 32, 64)}),
        ("mlp", {"widths": (256,)}),
    )


def _smoke(config: ConfigDict) -> None:
    config.seeds = 2
    config.folds = 3
    config.data.train_examples = 302
    config.sweep.models = (("mlp", {"widths": (4,)}), ("mlp", {"widths": (32,)}))
    config.training.max_steps = 150
    config.training.record_every = 150


_VARIANTS = {
    "digits": None,
    "fashion_mnist": _fashion_mnist,
    "cifar10": _cifar10,
    "smoke": _smoke,
}
