"""Which layer generalizes: how well the embeddings of every layer separate unseen classes."""

from genjax.metrics.layers.catalogue import DYBALLA2024, SCORES, Score, Settings, select
from genjax.metrics.layers.embeddings import PIXELS, extract, flags, load, refuse_leaks
from genjax.metrics.layers.joint import measure_joint
from genjax.metrics.layers.measured import Measured
from genjax.metrics.layers.model_ranks import rank_of_models
from genjax.metrics.layers.pruning import truncations
from genjax.metrics.layers.readouts import NORMALISATIONS, READOUTS, normalise, read
from genjax.metrics.layers.scores import measure
from genjax.metrics.layers.selection import best_layer, nested, picking

__all__ = [
    "DYBALLA2024",
    "NORMALISATIONS",
    "PIXELS",
    "READOUTS",
    "SCORES",
    "Measured",
    "Score",
    "Settings",
    "best_layer",
    "extract",
    "flags",
    "load",
    "measure",
    "measure_joint",
    "nested",
    "normalise",
    "picking",
    "rank_of_models",
    "read",
    "refuse_leaks",
    "select",
    "truncations",
]
