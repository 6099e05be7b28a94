"""Information: what do bounds from information theory say of real networks, and does depth help?

Source: Zhang, Liu and Tao (arXiv 1804.09060); supersample bounds of Harutyunyan et al. (2021),
  Hellstrom and Durisi (2022), Wang and Mao (2023, 2024); noisy descent as in Negrea et al. (2019)
  and Haghifam et al. (2020); replace-one stability of Shalev-Shwartz et al. (2010).
Hardware: 2 CPU cores; see experiments/README.md for times.
Expected: see experiments/README.md.
Command: python -m experiments.information --config=experiments/configs/information.py:supersample

Variants: supersample (default, digits), depth, stability, noisy_sgd, mnist_4v9 (idx files as
published: --config.data.source=idx:FOLDER), mnist_4v9_cnn, smoke.
"""

from ml_collections import ConfigDict

from experiments.configs import variants


def get_config(variant: str = "supersample") -> ConfigDict:
    return variants.chosen("information", variant, _config(), _VARIANTS)


def _config() -> ConfigDict:
    return ConfigDict(
        {
            "name": "",
            "kind": "supersample",  # or depth, stability, noisy_sgd
            "seed": 0,
            "level": 0.95,
            "data": {"source": "digits", "folder": "", "classes": ()},  # (): all
            "model": {"name": "mlp", "options": {"widths": (128,)}},
            "training": {
                "optimizer": "adam",
                "batch_size": 32,
                "max_steps": 6_000,
                "record_every": 50,
                "stop": "cross_entropy",
                "threshold": 0.01,
            },
            "hyper": {"learning_rate": 0.001, "momentum": 0.9, "weight_decay": 0.0},
            "supersample": {
                "sizes": (75, 150, 300, 600),
                "supersamples": 5,
                "masks": 30,
                "random_seeds": True,
            },
            "depth": {
                "depths": (2, 4, 6, 8, 12),
                "width": 64,
                "size": 150,
                "supersamples": 8,
                "masks": 8,
                "controls": (
                    "bottleneck",
                    "noise",
                    "frozen trunk",
                    "frozen head",
                    "random labels",
                ),
                "control_depths": (2, 12),
                "bottleneck": 8,  # units of every second layer
                "noise": 0.1,  # dropout rate
                "planes": 3,  # networks of each setting in the information plane
            },
            "stability": {"sizes": (75, 150, 300), "replacements": 24, "samples": 8},
            "noisy_sgd": {
                "sizes": (200, 800),
                "population": 500,  # examples to test on, and for gradients of the population
                "depths": (2,),
                "width": 32,
                "seeds": 8,
                "noises": (0.003, 0.01, 0.03),  # standard deviation of what is added to weights
                "rate": 0.2,
                "steps": 200,
                "looks": 4,
                "samplings": ("full", "fixed", "epochs"),
                "batch_share": 0.25,
                "probed": 64,  # examples for variances
            },
        }
    )


def _supersample(config: ConfigDict) -> None:
    config.kind = "supersample"


def _depth(config: ConfigDict) -> None:
    config.kind = "depth"
    config.training.max_steps = 3_000


def _stability(config: ConfigDict) -> None:
    config.kind = "stability"


def _noisy_sgd(config: ConfigDict) -> None:
    config.kind = "noisy_sgd"


def _mnist_4v9(config: ConfigDict) -> None:
    """The published sizes, with a network that 600 trainings of which fit in minutes."""
    config.data.source = "tfds:mnist"
    config.data.classes = (4, 9)
    config.training.batch_size = 128
    config.training.max_steps = 6_400
    config.supersample.sizes = (75, 250, 1000, 4000)


def _mnist_4v9_cnn(config: ConfigDict) -> None:
    _mnist_4v9(config)
    config.model = ConfigDict({"name": "cnn", "options": {"channels": (8, 16)}})


def _smoke(config: ConfigDict) -> None:
    """A few seconds for any kind, for the tests."""
    config.training.max_steps = 200
    config.training.threshold = 0.2
    config.model.options.widths = (16,)
    config.supersample.sizes = (100,)
    config.supersample.supersamples = 2
    config.supersample.masks = 4
    config.depth.depths = (1, 2)
    config.depth.width = 16
    config.depth.supersamples = 2
    config.depth.masks = 4
    config.depth.controls = ("frozen trunk",)
    config.depth.control_depths = (2,)
    config.stability.sizes = (100,)
    config.stability.replacements = 3
    config.stability.samples = 2
    config.noisy_sgd.sizes = (40,)
    config.noisy_sgd.population = 40
    config.noisy_sgd.width = 8
    config.noisy_sgd.seeds = 2
    config.noisy_sgd.noises = (0.01,)
    config.noisy_sgd.steps = 8
    config.noisy_sgd.looks = 2
    config.noisy_sgd.samplings = ("full",)
    config.noisy_sgd.batch_share = 0.5
    config.noisy_sgd.probed = 16


_VARIANTS = {
    "supersample": _supersample,
    "depth": _depth,
    "stability": _stability,
    "noisy_sgd": _noisy_sgd,
    "mnist_4v9": _mnist_4v9,
    "mnist_4v9_cnn": _mnist_4v9_cnn,
    "smoke": _smoke,
}
