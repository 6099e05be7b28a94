"""The shapes of the paper's figure: every verdict follows from the numbers beside it."""

import numpy as np
import pytest

from genjax.metrics.practical_grid import Axes
from genjax.report.shape_words import shape_sentences
from genjax.statistics.practical import bootstrap
from genjax.statistics.shapes import shape

MINUS = "\u2212"
SIZES, SSIM, SHARES = (1e3, 1e4, 1e5), (0.6, 0.8, 1.0), (0.0, 0.25, 0.5)


@pytest.fixture(scope="module")
def base():
    axes = Axes(np.array(SIZES), np.array(SSIM), np.array(SHARES))
    error = np.full((3, 1, 3, 3, 4), 0.5)
    return bootstrap(error, error, axes, draws=2)


@pytest.fixture
def sentences(base):
    def of(by_size, by_ssim, by_share, noise=0.0):
        """Sentences on three curves whose bootstrap draws scatter by `noise`."""
        rng, shapes = np.random.default_rng(0), {}
        axes = zip(base.shapes, (by_size, by_ssim, by_share), (SIZES, SSIM, SHARES), strict=True)
        for name, curve, levels in axes:
            errors = np.array(curve, np.float64)
            drawn = errors + noise * rng.normal(size=(400, len(curve)))
            shapes[name] = shape(np.array(levels[: len(curve)]), errors, drawn)
        return shape_sentences("net", base._replace(shapes=shapes))

    return of


FLAT, FALLING, RISING = (0.0, 0.01, 0.0), (0.6, 0.4, 0.3), (0.0, 0.1, 0.15)


def test_the_published_shapes(sentences):
    ssim, share, size = sentences(FLAT, FALLING, RISING)
    ends = f"{MINUS}0.300 [{MINUS}0.300, {MINUS}0.300] from 0.60 to 1.00"
    assert ssim == (
        f"As published, the error of net falls with SSIM: {ends}, at every one of 2 steps (2 of "
        "them with an interval without zero)."
    )
    assert share == (
        "As published, the error of net rises with the share of novel classes: 0.150 [0.150, "
        "0.150] from 0.00 to 0.50, at every one of 2 steps (2 of them with an interval without "
        "zero)."
    )
    assert size == (
        "As published, size matters little for net: mean errors of 3 sizes differ by at most 0.010 "
        "[0.010, 0.010], to be compared with 0.300 along SSIM and 0.150 along the share of novel "
        "classes; also as published, it goes up and down with size (2 of 2 steps with an interval "
        "without zero)."
    )


def test_the_opposite_of_each(sentences):
    ssim, share, size = sentences((0.5, 0.3, 0.0), FALLING[::-1], RISING[::-1])
    assert ssim.startswith("Against what is published, the error of net rises with SSIM: 0.300 [")
    assert share.startswith(
        "Against what is published, the error of net falls with the share of novel classes: "
        f"{MINUS}0.150 ["
    )
    assert size.startswith(
        "Against what is published, size matters for net: mean errors of 3 sizes"
    )
    assert "differ by at most 0.500" in size
    assert size.endswith(
        "; unlike the published curves it falls with size throughout (2 of 2 steps with an "
        "interval without zero)."
    )


def test_single_steps_against_the_direction_are_counted(sentences):
    ssim, share, _ = sentences(FLAT, (0.6, 0.62, 0.3), (0.0, 0.1, 0.05))
    assert "falls with SSIM" in ssim
    assert ssim.endswith(
        "but it rises at 1 of 2 steps, by up to 0.020 (1 of them with an interval without zero)."
    )
    assert share.endswith(
        "but it falls at 1 of 2 steps, by up to 0.050 (1 of them with an interval without zero)."
    )
    ssim, _, _ = sentences(FLAT, (0.6, 0.62, 0.3), RISING, noise=0.05)
    assert ssim.endswith("(none of them with an interval without zero).")


def test_what_the_intervals_leave_open_is_open(sentences):
    ssim, share, size = sentences(FLAT, (0.32, 0.31, 0.3), (0.0, 0.001, 0.002), noise=0.5)
    assert ssim.startswith("Whether the error of net falls with SSIM, as published, is open: ")
    assert share.startswith("Whether the error of net rises with the share of novel classes, as ")
    assert size.endswith(
        "; whether it goes up and down with size, as published, is open (none of 2 steps with an "
        "interval without zero)."
    )


@pytest.mark.parametrize(
    ("by_size", "words"),
    [
        ((0.0, 0.01), "; two sizes cannot show whether error is monotone in size."),
        ((0.0, 0.0, 0.0), "; whether it goes up and down with size, as published, is open (none"),
        ((0.0, 0.0, 0.02), "; whether it goes up and down with size, as published, is open (1 of"),
        ((0.0, 0.01, 0.02), "; unlike the published curves it rises with size throughout (2 of 2"),
    ],
)
def test_what_sizes_can_show(sentences, by_size, words):
    assert words in sentences(by_size, FALLING, RISING)[2]
