"""Results as files, figures, one page, and words: everything a reader sees.

Example:
    >>> from genjax.report import terminal
    >>> terminal.duration(75)
    '1 min 15 s'
"""

from genjax.report import page, provenance, storage, terminal, words

__all__ = ["page", "provenance", "storage", "terminal", "words"]
