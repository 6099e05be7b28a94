"""Networks trained on samples: their losses in parts, with intervals over samples."""

import itertools
from typing import Any

import numpy as np
import pandas as pd

from genjax.data import Examples
from genjax.metrics import decomposition
from genjax.statistics.resampled_tests import jackknife_interval

LOSSES = ("squared", "0-1", "cross-entropy")
PARTS = ("loss", "noise", "bias", "variance")


def parts_of(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the mean over examples of every part of every loss, `[losses, parts]`.

    Args:
        logits: of the networks of one setting, `[R, N, C]`.
        labels: distribution of the label of every example, `[N, C]`.
    """
    found = (
        decomposition.squared(logits, labels),
        decomposition.zero_one(logits, labels).parts,
        decomposition.cross_entropy(logits, labels),
    )
    return np.array([[part.mean() for part in one] for one in found])


def tables(
    config: Any, test: Examples, logits: np.ndarray, alive: np.ndarray
) -> dict[str, pd.DataFrame]:
    """Return the tables of the experiment.

    Args:
        config: of the experiment.
        test: the examples.
        logits: `[widths, sizes, samples, N, C]`.
        alive: whether training ended with finite numbers, `[widths, sizes, samples]`.

    Returns:
        `parts` (a row per width, size, loss and part), `changes` (of a part from one setting to
        another, on the same samples), `networks` (how many diverged).
    """
    labels = decomposition.noisy_labels(test.labels, config.label_noise, test.num_classes)
    kept = np.flatnonzero(alive.all(axis=(0, 1)))  # samples on which every setting is trained
    shape = alive.shape[:2]
    if len(kept) < 3:
        whole = np.full((*shape, len(LOSSES), len(PARTS)), np.nan)
        left_out = np.stack([whole, whole])
    else:
        whole = _all_settings(logits[:, :, kept], labels)
        left_out = np.stack(
            [_all_settings(logits[:, :, np.delete(kept, k)], labels) for k in range(len(kept))]
        )
    if len(kept) >= 3:
        # Of few networks bias is too large and variance too small. For the squared loss that is
        # exact in `decomposition`; for the cross-entropy the jackknife takes most of it away, and
        # the sum stays what it is. The 0-1 parts are no smooth function: they are left.
        at = LOSSES.index("cross-entropy")
        found = len(kept) * whole - (len(kept) - 1) * left_out.mean(axis=0)
        whole[:, :, at] = found[:, :, at]
    return {
        "parts": _parts(config, whole, left_out),
        "changes": _changes(config, whole, left_out),
        "networks": pd.DataFrame(
            [
                (w, n, alive.shape[2], int((~alive[i, j]).sum()), alive.shape[2] - len(kept))
                for (i, w), (j, n) in itertools.product(
                    enumerate(config.widths), enumerate(config.sizes)
                )
            ],
            columns=["width", "n", "samples", "diverged", "left out"],
        ),
    }


def _all_settings(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return np.array([[parts_of(own, labels) for own in row] for row in logits])


def _parts(config: Any, whole: np.ndarray, left_out: np.ndarray) -> pd.DataFrame:
    low, high = jackknife_interval(whole, left_out, config.level)
    rows = []
    for at in np.ndindex(whole.shape):
        width, size, loss, part = at
        # What does not vary, as the noise, has no interval.
        ends = (low[at], high[at]) if high[at] - low[at] > 1e-9 else (np.nan, np.nan)
        rows.append(
            (config.widths[width], config.sizes[size], LOSSES[loss], PARTS[part], whole[at], *ends)
        )
    return pd.DataFrame(rows, columns=["width", "n", "loss", "part", "value", "low", "high"])


def _changes(config: Any, whole: np.ndarray, left_out: np.ndarray) -> pd.DataFrame:
    """Return changes over widths at the largest size, and over sizes at the largest width.

    Over widths they are from the first and from the last one to every other; `all_low` and
    `all_high` hold for all pairs of widths at once.
    """
    rows = []
    ends = (0, len(config.widths) - 1)
    pairs = [
        ("width", config.widths, (start, -1), (place, -1))
        for start in ends
        for place in range(len(config.widths))
        if place != start
    ]
    pairs += [("n", config.sizes, (-1, 0), (-1, k)) for k in range(1, len(config.sizes))]
    for axis, values, first, second in pairs:
        apart = whole[second] - whole[first]
        over = left_out[(slice(None), *second)] - left_out[(slice(None), *first)]
        low, high = jackknife_interval(apart, over, config.level)
        # For all pairs of widths at once: a peak is sought in the same numbers.
        pairs_ = len(config.widths) * (len(config.widths) - 1) / 2
        all_low, all_high = jackknife_interval(apart, over, 1 - (1 - config.level) / pairs_)
        place = 0 if axis == "width" else 1
        for loss, part in np.ndindex(apart.shape):
            rows.append(
                (axis, values[first[place]], values[second[place]], LOSSES[loss], PARTS[part],
                 apart[loss, part], low[loss, part], high[loss, part], all_low[loss, part],
                 all_high[loss, part])
            )  # fmt: skip
    columns = ["axis", "from", "to", "loss", "part", "value", "low", "high", "all_low", "all_high"]
    return pd.DataFrame(rows, columns=columns)
