"""The trial of the zoo: which of theory's measures predict the error of networks on digits?

Source: the protocol of Jiang et al. (ICLR 2020) and Dziugaite et al. (NeurIPS 2020), at small size:
  every combination of hyper-parameters, several seeds, networks stopped at a train cross-entropy
  of 0.01 nats.
Hardware: 2 CPU cores; see experiments/README.md for memory and time.
Expected: nearly all networks reach the threshold.
Command: python -m experiments.measures --config=experiments/configs/measures.py:digits

Variants: digits (default), fashion_mnist, smoke.
"""

from ml_collections import ConfigDict

VARIANTS = ("digits", "fashion_mnist", "smoke")


def get_config(variant: str = "digits") -> ConfigDict:
    if variant not in VARIANTS:
        raise ValueError(f"variant: unknown name '{variant}'. Allowed: {', '.join(VARIANTS)}.")
    config = _digits()
    if variant != "digits":
        globals()[f"_{variant}"](config)
    config.name = "measures" if variant == "digits" else f"measures_{variant}"
    return config.lock()


def _digits() -> ConfigDict:
    config = ConfigDict()
    config.name = "measures"
    config.seed = 0
    config.data = ConfigDict(
        {
            "source": "digits",
            "folder": "",
            # Train, validation, test: few to learn from and many to test on, for wide gaps.
            "fractions": (0.2, 0.1, 0.7),
            "train_examples": 0,
        }
    )
    # 2 x 2 x 2 x 2 x 2 x 2 settings, 4 seeds: 256 multilayer perceptrons.
    config.sweep = ConfigDict(
        {
            "widths": (24, 128),
            "depths": (1, 3),
            "batch_sizes": (16, 64),
            "optimizers": ("momentum",),
            "seeds": 4,
            "hyper": {
                "learning_rate": (0.01, 0.05),
                "weight_decay": (0.0, 5e-4),
                "dropout_rate": (0.0, 0.2),
                "momentum": (0.9,),
            },
        }
    )
    config.training = ConfigDict({"max_steps": 6000, "threshold": 0.01, "record_every": 20})
    config.measures = ConfigDict({"names": ("all",), "examples": 1000})
    # Hoeffding's weights leave pairs out whose gaps differ by less than sqrt(3.84 / test
    # examples), here .055: nearly all.
    config.statistics = ConfigDict(
        {"draws": 200, "permutations": 10_000, "level": 0.95, "hoeffding": False}
    )
    config.checkpoint_seconds = 30.0
    return config


def _fashion_mnist(config: ConfigDict) -> None:
    """Idx files as published: --config.data.source=idx:FOLDER."""
    config.data.source = "tfds:fashion_mnist"
    config.data.train_examples = 5_000
    config.sweep.widths = (64, 256)
    config.training.max_steps = 20_000
    config.training.record_every = 100
    config.measures.names = ("fast",)
    config.statistics.hoeffding = True  # 10,000 test images: gaps that differ by .02


def _smoke(config: ConfigDict) -> None:
    """A few seconds, for the tests."""
    config.sweep.widths = (8, 16)
    config.sweep.depths = (1,)
    config.sweep.batch_sizes = (64,)
    config.sweep.seeds = 2
    config.sweep.hyper = {"learning_rate": (0.05, 0.1), "weight_decay": (0.0, 1e-2)}
    config.training.max_steps = 100
    config.training.threshold = 0.5
    config.measures.names = ("capacity", "norms")
    config.measures.examples = 100
    config.statistics.draws = 20
    config.statistics.permutations = 2_000
