"""neighbourhood measures."""

from genjax.metrics.complexity.contract import Measure

MEASURES: tuple[Measure, ...] = ()
