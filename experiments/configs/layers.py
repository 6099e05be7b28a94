"""Which layer separates classes that a network was never trained on?

Source: Dyballa, Gerritz and Zucker, A separability-based approach to quantifying generalization:
  which layer is best? (arXiv 2405.01524), who hold out five artists of calligraphy and five classes
  of CIFAR-100, once each, and fine-tune six networks. Here small networks are trained from nothing,
  and the unseen classes are drawn anew in every split.
Hardware: 2 CPU cores; see experiments/README.md for memory and time.
Expected: on calligraphy, separability of unseen classes well above that of raw pixels.
Command: python -m experiments.layers --config=experiments/configs/layers.py:digits

Variants: digits (default), calligraphy, cifar100, smoke. The middle two read their files from
GENJAX_DATA_DIR, or from --config.data.sources.
"""

import os

from ml_collections import ConfigDict

VARIANTS = ("digits", "calligraphy", "cifar100", "smoke")


def get_config(variant: str = "digits") -> ConfigDict:
    if variant not in VARIANTS:
        raise ValueError(f"variant: unknown name '{variant}'. Allowed: {', '.join(VARIANTS)}.")
    config = _digits()
    if variant != "digits":
        globals()[f"_{variant}"](config)
    config.name = "layers" if variant == "digits" else f"layers_{variant}"
    return config.lock()


def _digits() -> ConfigDict:
    config = ConfigDict()
    config.name = "layers"
    config.seed = 0
    config.data = ConfigDict(
        {
            "sources": ("digits",),  # data sets whose classes are pooled
            "shrink": 1,  # side of the blocks of pixels that are averaged
            "per_class": 0,  # examples of a class at most; 0 takes all
            "unseen_classes": 4,
            "splits": 4,  # draws of the unseen classes
            "test_share": 0.25,  # of the seen classes' examples, not trained on
        }
    )
    config.sweep = ConfigDict(
        {
            "models": (
                ("mlp", {"widths": (64, 64, 64)}),
                ("cnn", {"channels": (8, 16, 32)}),
                ("mlp", {"widths": (16, 16)}),
                ("vit", {"patch": 2, "width": 32, "depth": 3, "heads": 2}),
            ),
            "seeds": 1,  # networks of every model and split
            "hyper": {"learning_rate": (1e-3,)},
        }
    )
    config.training = ConfigDict(
        {
            "optimizer": "adam",
            "batch_size": 32,
            "max_steps": 1000,
            "threshold": 0.05,
            "record_every": 100,
        }
    )
    config.scores = ConfigDict(
        {
            "names": ("unseen",),  # what is measured on unseen classes
            "selectors": ("seen", "label_free"),  # what might tell the best layer beforehand
            "purity_neighbours": 500,  # as in the paper; where there are fewer, all but one
            "restarts": 2,  # of a clustering
            "draws": 50,  # of the bootstrap over examples
            "halvings": 2,  # of the unseen classes, to choose on one half and judge on the other
            "readouts": 1,  # splits whose networks have all readouts compared
            "level": 0.95,
        }
    )
    config.checkpoint_seconds = 30.0
    return config


def _files(*names: str) -> tuple[str, ...]:
    folder = os.environ.get("GENJAX_DATA_DIR", "GENJAX_DATA_DIR")
    return tuple(f"npz:{folder}/{name}" for name in names)


def _calligraphy(config: ConfigDict) -> None:
    """20 artists, 5 of them unseen as in the paper; 20 models, 8 networks of each."""
    config.data.sources = _files("calligraphy/seen_train.npz", "calligraphy/unseen.npz")
    config.data.shrink = 2
    config.data.per_class = 250
    config.data.unseen_classes = 5
    config.data.splits = 8
    config.scores.restarts = 3
    config.scores.draws = 100
    config.scores.halvings = 3
    config.sweep.models = (
        *(("mlp", {"widths": (w,) * d}) for w, d in ((64, 2), (256, 2), (64, 4), (256, 4))),
        ("mlp", {"widths": (128,) * 6}),
        *(
            ("cnn", {"channels": channels, "readout": readout})
            for channels in ((8, 16, 32), (16, 32, 64), (8, 16, 32, 32))
            for readout in ("flatten", "average")
        ),
        *(("resnet", {"depth": d, "width": w}) for d, w in ((8, 0.25), (8, 0.5), (14, 0.25))),
        *(
            ("vit", {"patch": 8, "width": w, "depth": d, "heads": 4})
            for w, d in ((32, 2), (64, 2), (32, 4), (64, 4), (32, 6), (64, 6))
        ),
    )  # fmt: skip
    config.training.batch_size = 64
    config.training.max_steps = 400


def _cifar100(config: ConfigDict) -> None:
    """100 classes, 20 of them unseen; meant for an accelerator."""
    config.data.sources = _files("cifar100/train_10k.npz")
    config.data.unseen_classes = 20
    config.data.splits = 6
    config.sweep.models = tuple(
        ("resnet", {"depth": d, "width": w})
        for d in (8, 14, 20, 26, 32)
        for w in (0.5, 1.0, 2.0, 4.0)
    )
    config.training.batch_size = 128
    config.training.max_steps = 5000


def _smoke(config: ConfigDict) -> None:
    """A few seconds, for the tests."""
    config.data.per_class = 40
    config.data.splits = 2
    config.sweep.models = (("mlp", {"widths": (16, 16)}), ("mlp", {"widths": (8, 8, 8)}))
    config.training.max_steps = 200
    config.training.threshold = 0.5
    config.scores.names = ("nmi", "corrected_purity", "r_precision", "ridge_probe")
    config.scores.selectors = ("nmi", "spectrum")
    config.scores.purity_neighbours = 20
    config.scores.restarts = 1
    config.scores.draws = 20
    config.scores.halvings = 1
