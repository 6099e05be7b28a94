"""Figures of the training and of the shifts: learning curves, and what the images look like."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import matplotlib.axes
import matplotlib.ticker
import numpy as np
from jaxtyping import Array, Num
from matplotlib.figure import Figure

from genjax.errors import InvalidInputError
from genjax.report import style

COLUMNS = {False: 5, True: 2}
"""Panels side by side, at most; by whether the layout is narrow."""


@matplotlib.rc_context(style.RC)
def training_curves(
    groups: Mapping[str, tuple[Any, Any, Any]],
    threshold: float | None = None,
    *,
    narrow: bool = False,
) -> Figure:
    """Draw loss (logarithmic) and accuracy over steps, one pair of panels per group.

    Lines are medians over the networks with a finite value at that step, bands reach from the
    smallest to the largest. Groups whose names agree up to the first comma share a colour.

    Args:
        groups: name, such as "mlp" or "mlp, 1.4k" -> steps [T], loss [n, T], accuracy [n, T];
            NaN where a network was not recorded.
        threshold: loss at which training stops; a dashed line.
        narrow: two panels side by side.

    Raises:
        InvalidInputError: there is no group, or the shapes do not fit.

    Example:
        >>> loss = np.array([[2.0, 0.1], [2.2, 0.2]])
        >>> figure = training_curves({"mlp": (np.array([0, 9]), loss, 1 - loss / 3)}, 0.01)
        >>> [axis.get_ylabel() for axis in figure.axes]
        ['train loss', 'accuracy']
    """
    checked = {name: _check(name, *curves) for name, curves in groups.items()}
    if not checked:
        raise InvalidInputError("groups: found none; at least one group is needed.")
    blocks = -(-len(checked) // COLUMNS[narrow])
    columns = -(-len(checked) // blocks)
    width = style.NARROW if narrow else min(style.WIDE, 2.0 + 3.4 * columns)
    figure = style.new_figure(width, 0.6 + (2.3 if narrow else 2.8) * blocks)
    frames = figure.subplots(
        2 * blocks, columns, squeeze=False, sharex=len(checked) > 1, height_ratios=[1.3, 1] * blocks
    )
    looks = style.family_styles(_family(name) for name in checked)
    pairs = frames.reshape(blocks, 2, columns).transpose(0, 2, 1).reshape(-1, 2)
    for i, (name, (steps, loss, accuracy)) in enumerate(checked.items()):
        color = looks[_family(name)].color
        _curves(pairs[i, 0], steps, loss, color)
        _curves(pairs[i, 1], steps, accuracy, color)
        pairs[i, 0].set_title(style.literal(name))
    _finish(pairs, len(checked), columns, _loss_limits(checked, threshold))
    keys = [style.key("median over seeds", color=style.INK)]
    keys += [style.key("smallest to largest", color=style.INK, lw=7, alpha=0.2)]
    if threshold is not None:
        for panel in pairs[: len(checked), 0]:
            panel.axhline(threshold, color=style.INK, lw=1, ls=(0, (4, 2)))
        keys += [style.key("stopping threshold", color=style.INK, lw=1, ls=(0, (4, 2)))]
    figure.supxlabel("step", fontsize=10)
    style.legend(figure, keys, narrow)
    return figure


def _family(name: str) -> str:
    return name.partition(",")[0].strip()


def _check(name: str, steps: Any, loss: Any, accuracy: Any) -> tuple[np.ndarray, ...]:
    steps, loss, accuracy = (np.asarray(v, np.float64) for v in (steps, loss, accuracy))
    if steps.ndim != 1 or not steps.size or loss.ndim != 2 or loss.shape[1:] != steps.shape:
        raise InvalidInputError(
            f"groups['{name}']: found steps {steps.shape} and loss {loss.shape}; [T] and [n, T] "
            "are needed."
        )
    if accuracy.shape != loss.shape:
        raise InvalidInputError(
            f"groups['{name}']: found accuracy {accuracy.shape}; it must be that of loss, "
            f"{loss.shape}."
        )
    return steps, *(np.where(np.isfinite(v), v, np.nan) for v in (loss, accuracy))


def _curves(panel: matplotlib.axes.Axes, steps: np.ndarray, values: np.ndarray, color: str) -> None:
    """Draw median and range over the networks [n, T]; steps without any network are left out."""
    kept = np.isfinite(values).any(axis=0)
    steps, values = steps[kept], values[:, kept]
    if not len(steps):
        panel.text(0.5, 0.5, "diverged", transform=panel.transAxes, ha="center", color=style.MUTED)
        return
    low, middle, high = (np.nanquantile(values, q, axis=0) for q in (0, 0.5, 1))
    panel.fill_between(steps, low, high, color=color, alpha=0.2, lw=0)
    panel.plot(steps, middle, color=color, marker="o" if len(steps) == 1 else "", ms=4)


def _loss_limits(
    groups: Mapping[str, tuple[np.ndarray, ...]], threshold: float | None
) -> tuple[float, float]:
    """Limits of all loss panels; a loss of exactly zero has no place on a logarithmic axis."""
    values = np.concatenate([loss.ravel() for _, loss, _ in groups.values()])
    values = values[values > 0]
    line = [threshold] if threshold else []
    if not len(values) and not line:
        return 0.1, 10.0
    low, high = min([*values, *line]), max([*values, *line])
    return float(low / 1.5), float(high * 1.5)


def _finish(pairs: np.ndarray, used: int, columns: int, limits: tuple[float, float]) -> None:
    """Give all panels the same axes, label the outer ones, remove the unused ones."""
    for i, (loss, accuracy) in enumerate(pairs):
        if i >= used:
            loss.remove()
            accuracy.remove()
            continue
        loss.set_yscale("log", nonpositive="clip")
        loss.set_ylim(limits)
        loss.yaxis.set_major_locator(matplotlib.ticker.LogLocator(numticks=5))
        loss.yaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda v, _: f"{v:g}"))
        loss.yaxis.set_minor_locator(matplotlib.ticker.NullLocator())
        accuracy.set_ylim(-0.02, 1.04)
        style.fraction_ticks(accuracy, "y")
        accuracy.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(3, integer=True))
        accuracy.xaxis.set_major_formatter(
            matplotlib.ticker.FuncFormatter(lambda v, _: style.compact(v))
        )
        loss.tick_params(labelbottom=False)
        # Below the last row of a column there is nothing that would carry its labels.
        accuracy.tick_params(labelbottom=True)
        first = i % columns == 0
        loss.tick_params(labelleft=first)
        accuracy.tick_params(labelleft=first)
        if first:
            loss.set_ylabel("train loss")
            accuracy.set_ylabel("accuracy")


@matplotlib.rc_context(style.RC)
def shift_examples(
    images: Num[Array | np.ndarray, "..."],
    targets: Sequence[float] | Num[Array | np.ndarray, "..."],
    achieved: Sequence[float] | Num[Array | np.ndarray, "..."],
    count: int = 5,
    *,
    narrow: bool = False,
) -> Figure:
    r"""Draw the same examples at every level of a shift: rows are examples, columns levels.

    Args:
        images: the images at each level [L, N, H, W, C], one or three channels, floats in [0, 1]
            or integers in 0..255.
        targets: the SSIM asked for, [L].
        achieved: the mean SSIM that the shift reached, [L].
        count: how many examples, the first ones.
        narrow: laid out for a phone.

    Raises:
        InvalidInputError: the shapes do not fit, or count is not positive.

    Example:
        >>> figure = shift_examples(np.zeros((2, 3, 8, 8, 1)), [0.6, 1.0], [0.61, 1.0], count=3)
        >>> len(figure.axes), figure.axes[0].get_title(loc="center")
        (6, '.60\n.610')
    """
    shown = _shown(images, len(targets), len(achieved), count)
    levels, rows = shown.shape[:2]
    width = style.NARROW if narrow else min(style.WIDE, 0.9 + 1.0 * levels)
    cell = (width - 0.75) / levels
    figure = style.new_figure(width, rows * cell * shown.shape[2] / shown.shape[3] + 0.75)
    figure.get_layout_engine().set(w_pad=0.015, h_pad=0.025, wspace=0, hspace=0)  # pyright: ignore[reportOptionalMemberAccess, reportCallIssue]
    frames = figure.subplots(rows, levels, squeeze=False)
    for (row, level), panel in np.ndenumerate(frames):
        panel.imshow(shown[level, row], cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        panel.set_xticks([])
        panel.set_yticks([])
        panel.grid(False)
        panel.spines[:].set_visible(False)
        if row == 0:
            title = f"{style.fraction(float(targets[level]))}\n"
            title += style.fraction(float(achieved[level]), 3)
            panel.set_title(title, loc="center", fontweight="normal", fontsize=9)
    figure.supxlabel("SSIM: asked for (above), reached (below)", fontsize=9.5)
    return figure


def _shown(images: Any, targets: int, achieved: int, count: int) -> np.ndarray:
    """Return `[L, count, H, W]` or `[L, count, H, W, 3]` in [0, 1]."""
    images = np.asarray(images)
    if images.ndim != 5 or 0 in images.shape or images.shape[-1] not in (1, 3):
        raise InvalidInputError(
            f"images: found shape {images.shape}; [levels, examples, height, width, channels] "
            "with 1 or 3 channels is needed."
        )
    for name, length in (("targets", targets), ("achieved", achieved)):
        if length != len(images):
            raise InvalidInputError(
                f"{name}: found {length} values; the images have {len(images)} levels."
            )
    if count < 1:
        raise InvalidInputError(f"count: found {count}; at least 1 is needed.")
    scale = 255.0 if images.dtype.kind in "ui" else 1.0
    shown = np.clip(images[:, :count] / scale, 0, 1)
    return shown[..., 0] if shown.shape[-1] == 1 else shown
