"""Figures for a page: drawn twice, for a desk and for a phone."""

from collections.abc import Callable
from typing import Any

import matplotlib.figure

from genjax.report.storage import Figure, OutputFolder


def draw(
    output: OutputFolder,
    name: str,
    how: Callable[..., matplotlib.figure.Figure | None],
    *data: Any,
    caption: str,
    alt: str = "",
) -> list[Figure]:
    """Draw a figure in both layouts and write it to `figures/NAME`.

    Args:
        output: the folder.
        name: the name without folder and ending.
        how: called as `how(*data, narrow=False)` and with True; returns None where there is
            nothing to draw.
        data: what is drawn.
        caption: one or two sentences.
        alt: what it shows, in words; the caption if not given.

    Returns:
        The figure for the page, or nothing.
    """
    wide, narrow = how(*data, narrow=False), how(*data, narrow=True)
    if wide is None or narrow is None:
        return []
    return [output.write_figure(f"figures/{name}", wide, caption, alt or caption, narrow=narrow)]
