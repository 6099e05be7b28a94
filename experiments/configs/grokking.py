"""Do networks generalize long after they fit, and what changes in between?

Source: Power et al., Grokking: generalization beyond overfitting on small algorithmic datasets
  (arXiv 2201.02177); Gromov, Grokking modular arithmetic (arXiv 2301.02679), for fully connected
  networks; Liu et al., Omnigrok (ICLR 2023), for the norm of the weights.
Hardware: 2 CPU cores; see experiments/README.md for times.
Expected: with weight decay test accuracy follows long after training accuracy; without it, never.
Command: python -m experiments.grokking --config=experiments/configs/grokking.py

Variants: addition (default), subtraction, smoke.
"""

from ml_collections import ConfigDict

from experiments.configs import variants


def get_config(variant: str = "addition") -> ConfigDict:
    return variants.chosen("grokking", variant, _config(), _VARIANTS)


def _config() -> ConfigDict:
    return ConfigDict(
        {
            "name": "",
            "seed": 0,
            "seeds": 8,
            "level": 0.95,
            "modulus": 23,
            "operation": "add",  # or subtract
            "train_share": 0.8,  # of all pairs; every seed has its own
            "accuracy": 0.99,  # what counts as fitted, and as generalizing
            "snapshots": 12,  # at which networks are measured, evenly over the log of steps
            "model": {"name": "mlp", "options": {"widths": (256,)}},
            "weight_decays": (0.0, 1.0),
            "training": {
                "optimizer": "adamw",
                "batch_size": 512,  # all of them at once
                "max_steps": 2_500,
                "record_every": 25,
                "stop": "steps",
            },
            "hyper": {"learning_rate": 0.01},
        }
    )


def _subtraction(config: ConfigDict) -> None:
    config.operation = "subtract"


def _smoke(config: ConfigDict) -> None:
    config.seeds = 3
    config.modulus = 7
    config.snapshots = 3
    config.model.options.widths = (32,)
    config.training.max_steps = 200


_VARIANTS = {"addition": None, "subtraction": _subtraction, "smoke": _smoke}
