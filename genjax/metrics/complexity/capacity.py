"""Capacity: what can be said of an architecture without looking at its weights."""

import jax
import jax.numpy as jnp

from genjax.metrics.complexity.contract import Measure, Result, value
from genjax.metrics.complexity.workspace import Workspace


def _parameters(workspace: Workspace) -> Result:
    count = sum(leaf.size for leaf in jax.tree.leaves(workspace.trained.params))
    return value(jnp.float32(count))


MEASURES = (
    Measure(
        name="parameters",
        family="capacity",
        formula="number of weights and biases, normalisation folded in (eq 20)",
        source="Jiang et al., Fantastic Generalization Measures, ICLR 2020",
        compute=_parameters,
    ),
)
