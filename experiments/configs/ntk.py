"""When does the linear picture of a network predict its test error?

Source: Jacot, Gabriel and Hongler, Neural tangent kernel (NeurIPS 2018); Lee et al., Wide neural
  networks of any depth evolve as linear models under gradient descent (NeurIPS 2019).
Hardware: 2 CPU cores; see experiments/README.md for times.
Expected: distance to the linearisation and drift of the kernel fall as 1/width (tanh).
Command: python -m experiments.ntk --config=experiments/configs/ntk.py

Variants: digits (default), relu, deep (two hidden layers), fashion_mnist, smoke.
"""

from ml_collections import ConfigDict

from experiments.configs import variants


def get_config(variant: str = "digits") -> ConfigDict:
    return variants.chosen("ntk", variant, _config(), _VARIANTS)


def _config() -> ConfigDict:
    return ConfigDict(
        {
            "name": "",
            "seed": 0,
            "seeds": 8,
            "level": 0.95,
            "data": variants.data(test_share=0.4, train_examples=100, test_examples=300),
            "widths": (32, 64, 128, 256, 512),
            "depth": 1,
            "activation": "tanh",  # or erf, relu
            "rate": 1.0,  # of full-batch gradient descent on the squared loss
            "steps": 1_000,
            "ridge": 1e-4,  # of kernel regression, relative to the mean of the kernel's diagonal
            "margin": 0.02,  # test errors that differ by less are called the same
        }
    )


def _relu(config: ConfigDict) -> None:
    config.activation = "relu"


def _deep(config: ConfigDict) -> None:
    config.depth = 2


def _fashion_mnist(config: ConfigDict) -> None:
    config.data.source = "tfds:fashion_mnist"
    config.data.train_examples = 200


def _smoke(config: ConfigDict) -> None:
    config.seeds = 4
    config.widths = (16, 64)
    config.data.train_examples = 40
    config.data.test_examples = 60
    config.steps = 40


_VARIANTS = {
    "digits": None,
    "relu": _relu,
    "deep": _deep,
    "fashion_mnist": _fashion_mnist,
    "smoke": _smoke,
}
