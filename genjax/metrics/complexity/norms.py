"""Norms of weights, with and without the margin."""

from genjax.metrics.complexity import spectral
from genjax.metrics.complexity.contract import Measure

INTERMEDIATES = spectral.INTERMEDIATES

MEASURES: tuple[Measure, ...] = ()
