"""Whether the shapes of the published figure come out: by rule, in words.

Huang, Yu and Zhang (Sci Rep 15:9747, 2025), figure 2: error falls with SSIM, rises with the share
of novel classes, and moves little with size, up and down.
"""

import numpy as np

from genjax.report.phrases import bracket, count, signed
from genjax.statistics.practical import Intervals
from genjax.statistics.shapes import Shape

_AXES = {"ssim": ("SSIM", -1), "novel_share": ("the share of novel classes", 1)}
"""Axis -> its name, and the sign of the published change along it."""

_VERBS = {-1: "falls", 1: "rises"}


def shape_sentences(name: str, intervals: Intervals) -> list[str]:
    """Say for each axis whether the mean error moves as published, in which steps, and how surely.

    A direction holds if the interval of the change along the whole axis excludes zero. Size is said
    to matter little if it moves the error less than either other axis does.

    Args:
        name: of the family.
        intervals: of the same.

    Example:
        >>> import numpy as np
        >>> from genjax.metrics.practical_grid import Axes
        >>> from genjax.statistics.practical import bootstrap
        >>> axes = Axes(np.array([1e3, 1e4]), np.array([0.6, 1.0]), np.array([0.0, 0.5]))
        >>> cells = np.array([[0.5, 0.7], [0.2, 0.3]])[None, None, :, :, None]
        >>> error = np.broadcast_to(cells, (2, 1, 2, 2, 3))
        >>> shape_sentences("mlp", bootstrap(error, error, axes, draws=5))[0]
        'As published, the error of mlp falls with SSIM: −0.350 [−0.350, −0.350] from 0.60 to 1.00.'
    """
    shapes = intervals.shapes
    sentences = [
        _direction(name, shapes[axis], label, sign) for axis, (label, sign) in _AXES.items()
    ]
    return [*sentences, _size(name, shapes)]


def _direction(name: str, shape: Shape, label: str, sign: int) -> str:
    total, steps = shape.total, sign * np.asarray(shape.steps.value)
    ends = f"{bracket(*total)} from {shape.levels[0]:.2f} to {shape.levels[-1]:.2f}"
    low, high = (float(end) for end in total[1:])
    if not (low > 0 or high < 0):
        return (
            f"Whether the error of {name} {_VERBS[sign]} with {label}, as published, is open: "
            f"{ends}."
        )
    if sign * total.value < 0:
        return (
            f"Against what is published, the error of {name} {_VERBS[-sign]} with {label}: {ends}."
        )
    text = f"As published, the error of {name} {_VERBS[sign]} with {label}: {ends}"
    against = steps < 0
    if not against.any():
        every = f", at every one of {len(steps)} steps ({_how_many(shape.sure())} of them with an "
        return f"{text}{every}interval without zero)." if len(steps) > 1 else f"{text}."
    beyond = np.asarray(shape.steps.low) > 0 if sign < 0 else np.asarray(shape.steps.high) < 0
    sure = int((against & beyond).sum())
    return (
        f"{text}, but it {_VERBS[-sign]} at {int(against.sum())} of {len(steps)} steps, by up to "
        f"{-steps.min():.3f} ({_how_many(sure)} of them with an interval without zero)."
    )


def _size(name: str, shapes: dict[str, Shape]) -> str:
    size, others = shapes["size"], [shapes[axis] for axis in _AXES]
    widest = bracket(*size.widest)
    others_by = " and ".join(
        f"{signed(float(shape.widest.value))} along {label}"
        for shape, (label, _) in zip(others, _AXES.values(), strict=True)
    )
    small = all(size.widest.value < shape.widest.value for shape in others)
    lead = (
        "As published, size matters little" if small else "Against what is published, size matters"
    )
    text = (
        f"{lead} for {name}: mean errors of {len(size.levels)} sizes differ by at most {widest}, "
        f"to be compared with {others_by}"
    )
    return f"{text}; {_order(size)}."


def _order(size: Shape) -> str:
    """Say whether the error is monotone in size, as far as the intervals of its steps tell."""
    steps, low, high = (np.asarray(part) for part in size.steps)
    if len(steps) < 2:
        return "two sizes cannot show whether error is monotone in size"
    sure = f"{_how_many(size.sure())} of {count(len(steps), 'step')} with an interval without zero"
    if (low > 0).any() and (high < 0).any():
        return f"also as published, it goes up and down with size ({sure})"
    for sign, beyond in ((1, low > 0), (-1, high < 0)):
        if beyond.all():
            return f"unlike the published curves it {_VERBS[sign]} with size throughout ({sure})"
    return f"whether it goes up and down with size, as published, is open ({sure})"


def _how_many(number: int) -> str:
    return "none" if number == 0 else f"{number}"
