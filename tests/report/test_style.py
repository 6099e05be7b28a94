import matplotlib.colors
import numpy as np
import pytest

from genjax.report import style


def lightness(color):
    """CIE L*, what is left of a colour in grey."""
    channels = np.array(matplotlib.colors.to_rgb(color))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    y = linear @ np.array([0.2126, 0.7152, 0.0722])
    return 116 * np.cbrt(y) - 16 if y > 0.008856 else 903.3 * y


def test_the_first_families_stay_apart_in_grey():
    first, second = (lightness(color) for color in style.COLORS[:2])
    assert abs(first - second) > 25
    for color in style.COLORS:
        assert lightness(color) < 75
    looks = style.family_styles([f"family {i}" for i in range(12)]).values()
    assert len({(look.color, look.marker) for look in looks}) == 12


@pytest.mark.parametrize(
    "sizes", [[381, 4965], [1397, 83717], [38e6, 420e6], [1000, 1300], [5, 5e9], [7, 8], [0.5, 66]]
)
def test_size_ticks_are_few_true_and_inside(sizes):
    panel = style.new_figure(3.0, 3.0).subplots()
    style.size_axis(panel, sizes)
    ticks = panel.get_xticks()
    assert 2 <= len(ticks) <= 10
    low, high = panel.get_xlim()
    assert low < min(sizes)
    assert high > max(sizes)
    scale = {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
    for tick in ticks:
        assert low <= tick <= high
        label = panel.xaxis.get_major_formatter()(tick)
        factor = scale.get(label[-1], 1)
        assert float(label.rstrip("kMGT")) * factor == pytest.approx(tick, rel=0.05)


def test_fraction_ticks_never_round():
    panel = style.new_figure(3.0, 3.0).subplots()
    for span in (0.0013, 0.08, 0.3, 1.0, 1.7):
        panel.set_xlim(-span / 7, span)
        style.fraction_ticks(panel)
        for tick in panel.get_xticks():
            label = panel.xaxis.get_major_formatter()(tick)
            assert float(label) == pytest.approx(tick, abs=1e-9)
