"""Train populations of networks, measure them, and say which measure predicts generalization.

Example:
    >>> import genjax
    >>> genjax.data.load("digits").image_shape
    (8, 8, 1)
"""

from genjax import data, errors, metrics, models, report, statistics, training

__version__ = "0.1.0"

__all__ = ["data", "errors", "metrics", "models", "report", "statistics", "training"]
