"""What does pretraining buy, how should it be used, and which measures predict it?

Source: Yosinski et al., How transferable are features in deep neural networks? (NeurIPS 2014);
  Kornblith, Shlens and Le, Do better ImageNet models transfer better? (CVPR 2019).
Hardware: 2 CPU cores; see experiments/README.md for times.
Expected: pretraining helps most with few examples.
Command: python -m experiments.transfer --config=experiments/configs/transfer.py

Variants: digits (default), fashion_mnist, cifar10, smoke.
"""

from ml_collections import ConfigDict

from experiments.configs import variants


def get_config(variant: str = "digits") -> ConfigDict:
    return variants.chosen("transfer", variant, _config(), _VARIANTS)


def _config() -> ConfigDict:
    return ConfigDict(
        {
            "name": "",
            "seed": 0,
            "seeds": 8,
            "level": 0.95,
            "seen": 5,  # classes to pretrain on; the others are novel
            "shift": {"name": "gaussian_noise", "strength": 0.6},
            "sizes": (10, 40, 160),  # examples of the new task; each divides the last
            "measures": (  # names or families, see genjax.metrics.complexity.catalogue
                "param_norm",
                "fro_dist",
                "log_prod_of_fro",
                "path_norm",
                "output_margin_mean",
                "cross_entropy",
                "fisher_rao_closed_form",
                "sam_sharpness",
                "davies_bouldin_features",
            ),
            "data": variants.data(test_share=0.4),
            "model": {"name": "mlp", "options": {"widths": (64,)}},
            "pretraining": {
                "optimizer": "adamw",
                "batch_size": 32,
                "max_steps": 300,
                "record_every": 300,
                "stop": "steps",
            },
            "learning_rates": (0.0003, 0.001, 0.003, 0.01),  # of pretraining
            "weight_decays": (0.0, 0.1, 1.0),  # of pretraining
            "training": {
                "optimizer": "adam",
                "batch_size": 32,
                "max_steps": 200,
                "record_every": 200,
                "stop": "steps",
            },
            "hyper": {"learning_rate": 0.003},
            "probe_learning_rate": 0.03,  # a head alone bears, and needs, a larger one
        }
    )


def _fashion_mnist(config: ConfigDict) -> None:
    config.data.source = "tfds:fashion_mnist"
    config.data.train_examples = 10_000
    config.data.test_examples = 2_000
    config.pretraining.max_steps = 1_000
    config.pretraining.record_every = 1_000


def _cifar10(config: ConfigDict) -> None:
    _fashion_mnist(config)
    config.data.source = "tfds:cifar10"
    config.model = ConfigDict({"name": "cnn", "options": {"channels": (16, 32)}})


def _smoke(config: ConfigDict) -> None:
    config.seeds = 3
    config.sizes = (10, 40)
    config.measures = ("parameters", "fro_dist")
    config.data.train_examples = 300
    config.data.test_examples = 200
    config.model.options.widths = (8,)
    config.learning_rates = (0.001, 0.01)
    config.weight_decays = (0.0, 1.0)
    for rules in (config.pretraining, config.training):
        rules.max_steps = 60
        rules.record_every = 60


_VARIANTS = {
    "digits": None,
    "fashion_mnist": _fashion_mnist,
    "cifar10": _cifar10,
    "smoke": _smoke,
}
