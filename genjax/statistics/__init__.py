"""How measured quantities vary over seeds and classes, and relate across networks."""

from genjax.statistics.families import (
    Comparison,
    Reach,
    compare_families,
    reach,
    seed_means,
)
from genjax.statistics.practical import Intervals, average_grid, bootstrap, interval_table
from genjax.statistics.relations import Relations, relate
from genjax.statistics.resampling import Interval, bootstrap_indices, percentile_interval

__all__ = [
    "Comparison",
    "Interval",
    "Intervals",
    "Reach",
    "Relations",
    "average_grid",
    "bootstrap",
    "bootstrap_indices",
    "compare_families",
    "interval_table",
    "percentile_interval",
    "reach",
    "relate",
    "seed_means",
]
