"""Adversarial: how far must an image be moved to fool a network, and what does training on it buy?

Source: Goodfellow et al. (ICLR 2015) for FGSM; Madry et al. (ICLR 2018) for PGD and adversarial
  training; Croce and Hein (ICML 2020) for Auto-PGD; Tsipras et al. (ICLR 2019) for its price.
Hardware: 2 CPU cores; see experiments/README.md for times.
Expected: adversarial training lowers the error under attack; see experiments/README.md.
Command: python -m experiments.adversarial --config=experiments/configs/adversarial.py

Variants: digits (default), fashion_mnist, smoke.
"""

from ml_collections import ConfigDict

from experiments.configs import variants


def get_config(variant: str = "digits") -> ConfigDict:
    return variants.chosen("adversarial", variant, _config(), _VARIANTS)


def _config() -> ConfigDict:
    return ConfigDict(
        {
            "name": "",
            "seed": 0,
            "seeds": 8,
            "level": 0.95,
            "data": variants.data(test_share=0.2),
            "model": {"name": "mlp", "options": {"widths": (64,)}},
            "radii": (0.0, 0.05, 0.1, 0.2),  # of the attacks trained on; the first is 0: none
            "training_attack_steps": 5,
            # The first is compared with the others.
            "attacks": ("fgsm", "pgd", "auto_pgd", "auto_pgd_ratio"),
            "attack_steps": 20,
            "epsilons": (0.0, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3),
            "compared_at": 0.1,  # one of epsilons
            "shifts": ("gaussian_noise", "gaussian_blur", "contrast", "occlusion"),
            "levels": (0.9, 0.8, 0.7),  # average SSIM, falling
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


def _fashion_mnist(config: ConfigDict) -> None:
    config.data.source = "tfds:fashion_mnist"
    config.data.train_examples = 10_000
    config.data.test_examples = 1_000
    config.model.options.widths = (128,)
    config.training.max_steps = 3_000
    config.training.record_every = 3_000


def _smoke(config: ConfigDict) -> None:
    config.seeds = 2
    config.data.test_examples = 60
    config.model.options.widths = (16,)
    config.radii = (0.0, 0.1)
    config.training_attack_steps = 2
    config.attacks = ("fgsm", "pgd")
    config.attack_steps = 3
    config.epsilons = (0.0, 0.1)
    config.shifts = ("gaussian_noise", "contrast")
    config.levels = (0.9, 0.8)
    config.training.max_steps = 200
    config.training.record_every = 200


_VARIANTS = {"digits": None, "fashion_mnist": _fashion_mnist, "smoke": _smoke}
