"""Models as pure functions of (params, images), with named taps."""

from genjax.models.adapters import from_equinox, from_function, from_linen, from_nnx
from genjax.models.foreign import ForeignNetwork, Preprocessing
from genjax.models.network import FEATURES, Network
from genjax.models.registry import Cost, cost, create, names
from genjax.models.weights import architectures, load_weights

__all__ = [
    "FEATURES",
    "Cost",
    "ForeignNetwork",
    "Network",
    "Preprocessing",
    "architectures",
    "cost",
    "create",
    "from_equinox",
    "from_function",
    "from_linen",
    "from_nnx",
    "load_weights",
    "names",
]
