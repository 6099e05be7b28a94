"""Everything read off a trained network."""

from genjax.metrics import accuracy, heads, kappa, practical, protocol, testbed, tradeoff

__all__ = ["accuracy", "heads", "kappa", "practical", "protocol", "testbed", "tradeoff"]
