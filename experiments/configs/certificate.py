"""Bounds on the error that are not vacuous, on networks trained for them.

Sources: Perez-Ortiz et al., Tighter Risk Certificates for Neural Networks, JMLR 2021; Lotfi et al.,
  PAC-Bayes Compression Bounds So Tight That They Can Explain Generalization, NeurIPS 2022.
Hardware: 2 CPU cores; see experiments/README.md for the times.
Expected: every bound is above the test error; far below guessing with a learnt prior, below it
  without one.
Command: python -m experiments.certificate --config=experiments/configs/certificate.py:digits

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
    config.name = "certificate" if variant == "digits" else f"certificate_{variant}"
    return config.lock()


def _digits() -> ConfigDict:
    learnt = {
        "kind": "pac_bayes",
        "prior": "learnt",
        "prior_share": 0.5,
        "deviation": 0.03,
        "prior_epochs": 100,
        "epochs": 50,
        "batch_size": 64,
        "learning_rate": 3e-3,
        "draws": 1500,
        "examples_per_draw": 0,
    }
    initial = {**learnt, "prior": "initial", "deviation": 0.1, "learning_rate": 1e-2, "epochs": 300}
    compressed = {
        "kind": "compression",
        "dimension": 250,
        "levels": 3,
        "quantiser": "uniform",
        "epochs": 50,
        "quantised_epochs": 100,
        "batch_size": 64,
        "learning_rate": 0.1,
    }
    return ConfigDict(
        {
            "name": "certificate",
            "seed": 0,
            "seeds": 5,
            "data": {
                "source": "digits",
                "folder": "",  # of tfds; empty takes TFDS_DATA_DIR or its default
                "test_share": 0.2,  # where the source has no test part of its own
                "train_examples": 0,  # 0 takes all
                "test_examples": 0,
            },
            "model": {"name": "mlp", "options": {"widths": (100,)}},
            # How many settings of each method were looked at before these were chosen: a union
            # over them is paid for.
            "settings_tried": 64,
            "test_draws": 500,
            # Without flambda: with its best lambda it is fquad.
            "methods": {
                "learnt_fquad": {**learnt, "objective": "fquad"},
                "learnt_fclassic": {**learnt, "objective": "fclassic"},
                "learnt_bbb": {**learnt, "objective": "bbb"},
                "initial_bbb": {**initial, "objective": "bbb"},
                "compression": compressed,
            },
        }
    )


def _fashion_mnist(config: ConfigDict) -> None:
    """Idx files as published: --config.data.source=idx:FOLDER."""
    config.data.source = "tfds:fashion_mnist"
    config.seeds = 3
    config.model.options = {"widths": (600,)}
    config.test_draws = 100
    for name in ("learnt_fclassic", "initial_bbb"):
        del config.methods[name]
    for name in ("learnt_fquad", "learnt_bbb"):
        config.methods[name].update(
            deviation=0.01,
            prior_epochs=20,
            epochs=5,
            batch_size=256,
            learning_rate=1e-3,
            draws=4000,
            examples_per_draw=128,
        )
    config.methods.compression.update(
        dimension=1000, levels=5, epochs=10, quantised_epochs=10, batch_size=256
    )


def _smoke(config: ConfigDict) -> None:
    """A few seconds, for the tests."""
    config.seeds = 2
    config.model.options = {"widths": (16,)}
    config.test_draws = 20
    for name in ("learnt_fclassic", "learnt_bbb", "initial_bbb"):
        del config.methods[name]
    config.methods.learnt_fquad.update(prior_epochs=20, epochs=2, draws=200, learning_rate=0.01)
    config.methods.compression.update(dimension=120, epochs=10, quantised_epochs=10)
