"""The practical generalization metric alone: size x SSIM level x share of novel classes.

Source: Huang, Yu and Zhang, A practical generalization metric for deep networks benchmarking,
  Sci Rep 15:9747 (2025), with the settings of the main job (experiments/configs/benchmark.py).
Hardware: 2 CPU cores, 3 GiB of memory (digits).
Time: as the main job.
Expected: as the main job.
Command: python -m experiments.practical_metric
  python -m experiments.practical_metric --config=experiments/configs/practical_metric.py:smoke
  python -m experiments.practical_metric --grid=FILE.csv     (somebody else's grid, seconds)

Variants: digits (default), fashion_mnist, cifar10, cifar100, smoke.
"""

from ml_collections import ConfigDict

from experiments.configs import benchmark


def get_config(variant: str = "digits") -> ConfigDict:
    config = benchmark.get_config(variant).unlock()
    config.name = config.name.replace("benchmark", "practical_metric")
    return config.lock()
