"""Models as pure functions of (params, images), with named taps."""

from genjax.models.network import FEATURES, Network
from genjax.models.registry import Cost, cost, create, names

__all__ = ["FEATURES", "Cost", "Network", "cost", "create", "names"]
