"""Figures of series: what is drawn is what was given."""

import numpy as np
import pandas as pd
import pytest

from genjax.report.figures_series import Axes, series


def rows():
    return pd.DataFrame(
        {
            "n": [10, 20, 40] * 2,
            "series": ["gap"] * 3 + ["bound"] * 3,
            "value": [0.3, 0.2, 0.1, 0.6, 0.5, np.nan],
            "low": [0.25, 0.15, 0.05, np.nan, np.nan, np.nan],
            "high": [0.35, 0.25, 0.15, np.nan, np.nan, np.nan],
        }
    )


@pytest.mark.parametrize("narrow", [False, True])
def test_lines_are_the_values_and_bands_the_intervals(narrow):
    figure = series(rows(), Axes("n", "examples", "error", log="x"), narrow=narrow)
    assert figure is not None
    panel = figure.axes[0]
    first, second = panel.lines[:2]
    np.testing.assert_allclose(np.asarray(first.get_ydata(), float), [0.3, 0.2, 0.1])
    np.testing.assert_allclose(np.asarray(second.get_xdata(), float), [10, 20])
    assert len(panel.collections) == 1  # the bound has no interval
    assert panel.get_xscale() == "log"


def test_panels_share_series_and_reference_lines():
    both = pd.concat([rows().assign(depth=2), rows().assign(depth=4)])
    figure = series(both, Axes("n", "n", "error", panel="depth", lines={"chance": 0.9}))
    assert figure is not None
    assert [panel.get_title(loc="left") for panel in figure.axes] == ["2", "4"]
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["gap", "bound", "chance"]


def test_nothing_finite_is_no_figure():
    assert series(rows().assign(value=np.nan), Axes("n", "n", "error")) is None


def test_zeros_are_left_out_of_a_logarithmic_scale():
    figure = series(rows().assign(value=0.0), Axes("n", "n", "error", log="xy"))
    assert figure is not None
    assert not np.isfinite(np.asarray(figure.axes[0].lines[0].get_ydata(), float)).any()
