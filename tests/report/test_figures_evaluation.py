"""The reliability diagram shows the numbers of its table."""

import numpy as np
import pytest

from genjax.errors import InvalidInputError
from genjax.metrics.calibration import Reliability
from genjax.report.figures_evaluation import reliability_diagram

TABLE = Reliability(
    np.array([0, 5, 0, 20]),
    np.array([np.nan, 0.4, np.nan, 0.9]),
    np.array([np.nan, 0.6, np.nan, 0.8]),
)


@pytest.mark.parametrize("narrow", [False, True])
def test_points_and_bars_are_the_table(narrow):
    upper, lower = reliability_diagram(TABLE, narrow=narrow).axes
    points = next(line for line in upper.lines if line.get_marker() == "o")
    np.testing.assert_allclose(points.get_xdata(), [0.4, 0.9])
    np.testing.assert_allclose(points.get_ydata(), [0.6, 0.8])
    assert [bar.get_height() for bar in lower.patches] == [0, 5, 0, 20]
    assert [bar.get_x() for bar in lower.patches] == [0, 0.25, 0.5, 0.75]


@pytest.mark.parametrize("shape", [(2, 3), (3,)])
def test_several_networks_or_no_examples_are_refused(shape):
    with pytest.raises(InvalidInputError, match="one network with at least one example"):
        reliability_diagram(Reliability(np.zeros(shape, int), np.zeros(shape), np.zeros(shape)))
