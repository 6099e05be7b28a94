"""Do winning tickets beat random ones, and is it the mask or the start?

Source: Frankle and Carbin, The lottery ticket hypothesis (ICLR 2019); Frankle et al., Linear mode
  connectivity and the lottery ticket hypothesis (ICML 2020), for rewinding to early weights.
Hardware: 2 CPU cores; see experiments/README.md for times.
Expected: at high sparsity a ticket with its own start errs less than one drawn anew.
Command: python -m experiments.lottery_ticket --config=experiments/configs/lottery_ticket.py

Variants: digits (default), rewind (to weights after 50 steps), fashion_mnist, smoke.
"""

from ml_collections import ConfigDict

from experiments.configs import variants


def get_config(variant: str = "digits") -> ConfigDict:
    return variants.chosen("lottery_ticket", variant, _config(), _VARIANTS)


def _config() -> ConfigDict:
    return ConfigDict(
        {
            "name": "",
            "seed": 0,
            "seeds": 24,
            "level": 0.95,
            "rounds": 8,  # of pruning
            "share": 0.45,  # of the weights that are left, removed in every round
            "rewind_steps": 0,  # a ticket starts from the weights after so many steps
            "data": variants.data(test_share=0.4, train_examples=600),
            "model": {"name": "mlp", "options": {"widths": (64, 32)}},
            "training": {
                "optimizer": "adam",
                "batch_size": 32,
                "max_steps": 400,
                "record_every": 400,
                "stop": "steps",
            },
            "hyper": {"learning_rate": 0.003},
        }
    )


def _rewind(config: ConfigDict) -> None:
    config.rewind_steps = 50


def _fashion_mnist(config: ConfigDict) -> None:
    config.data.source = "tfds:fashion_mnist"
    config.data.train_examples = 10_000
    config.data.test_examples = 2_000
    config.training.max_steps = 1_500
    config.training.record_every = 1_500


def _smoke(config: ConfigDict) -> None:
    config.seeds = 3
    config.rounds = 2
    config.share = 0.7
    config.model.options.widths = (16,)
    config.data.train_examples = 100
    config.data.test_examples = 200
    config.training.max_steps = 60
    config.training.record_every = 60


_VARIANTS = {
    "digits": None,
    "rewind": _rewind,
    "fashion_mnist": _fashion_mnist,
    "smoke": _smoke,
}
