"""Results as files, figures, one page, and words: everything a reader sees.

Example:
    >>> from genjax.report import terminal
    >>> terminal.duration(75)
    '1 min 15 s'
"""

from genjax.report import (
    figures_practical,
    figures_training,
    page,
    practical,
    provenance,
    storage,
    terminal,
    words,
)

__all__ = [
    "figures_practical",
    "figures_training",
    "page",
    "practical",
    "provenance",
    "storage",
    "terminal",
    "words",
]
