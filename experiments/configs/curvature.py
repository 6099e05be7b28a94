"""Curvature: are networks that SAM finds flatter than those of SGD and Adam, and do they err less?

Source: Foret et al. (ICLR 2021) for SAM; Andriushchenko et al. (ICML 2023) for the question whether
  sharpness predicts generalization; Cohen et al. (ICLR 2021) for the edge of stability.
Hardware: 2 CPU cores; see experiments/README.md for memory and time.
Expected: SAM is flatter than SGD in nearly every measure.
Command: python -m experiments.curvature --config=experiments/configs/curvature.py:digits

Variants: digits (default), fashion_mnist, smoke.
"""

from ml_collections import ConfigDict

from experiments.configs import measures

VARIANTS = ("digits", "fashion_mnist", "smoke")


def get_config(variant: str = "digits") -> ConfigDict:
    if variant not in VARIANTS:
        raise ValueError(f"variant: unknown name '{variant}'. Allowed: {', '.join(VARIANTS)}.")
    config = _digits()
    if variant != "digits":
        globals()[f"_{variant}"](config)
    config.name = "curvature" if variant == "digits" else f"curvature_{variant}"
    return config.lock()


def _digits() -> ConfigDict:
    config = measures.get_config().unlock()
    # 3 optimizers x 3 learning rates x 8 seeds: 72 networks.
    config.sweep = ConfigDict(
        {
            "widths": (64,),
            "depths": (2,),
            "batch_sizes": (32,),
            "optimizers": ("momentum", "sam", "adam"),
            "seeds": 8,
            "hyper": {
                "learning_rate": (0.003, 0.01, 0.03),
                "momentum": (0.9,),
                "sam_radius": (0.1,),
            },
        }
    )
    config.measures.names = ("curvature", "adaptive_sharpness", "sharpness_bounds")
    # What is computed of single networks, to be looked at.
    config.pictures = ConfigDict(
        {
            "points": 41,  # of a slice or path
            "span": 1.0,  # of a slice, in lengths of the filters
            "probes": 8,
            "lanczos_steps": 60,
            "edge_rates": (0.1, 0.2, 0.4),
            "edge_steps": 3000,
            "edge_records": 60,
            "examples": 500,
        }
    )
    return config


def _fashion_mnist(config: ConfigDict) -> None:
    """Idx files as published: --config.data.source=idx:FOLDER."""
    config.data.source = "tfds:fashion_mnist"
    config.data.train_examples = 5_000
    config.training.max_steps = 20_000
    config.training.record_every = 100
    config.statistics.hoeffding = True


def _smoke(config: ConfigDict) -> None:
    """A few seconds, for the tests."""
    config.sweep.widths = (8,)
    config.sweep.depths = (1,)
    config.sweep.optimizers = ("momentum", "sam")
    config.sweep.seeds = 2
    config.sweep.hyper.learning_rate = (0.03, 0.1)
    config.training.max_steps = 200
    config.training.threshold = 2.0
    config.measures.names = ("sam_sharpness", "hessian_trace")
    config.measures.examples = 100
    config.statistics.draws = 20
    config.statistics.permutations = 2_000
    config.pictures.points = 5
    config.pictures.probes = 2
    config.pictures.lanczos_steps = 5
    config.pictures.edge_rates = (0.1, 0.2)
    config.pictures.edge_steps = 20
    config.pictures.edge_records = 4
    config.pictures.examples = 100
