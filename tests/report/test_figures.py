import itertools

import matplotlib
import matplotlib.colors
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from genjax.errors import InvalidInputError
from genjax.metrics.practical_grid import Axes
from genjax.report import figures_practical, figures_protocols, figures_training, style
from genjax.statistics.analysis import FamilyAnalysis, analyse_grid
from genjax.statistics.families import reach, seed_means
from genjax.statistics.practical import bootstrap

SSIM = np.array([0.6, 0.7, 0.8, 0.9, 1.0])
SHARES = np.array([0.0, 0.2, 1 / 3])


def family(sizes, seed):
    # Smooth cells, so that the solver is quick, and a little noise of seeds and classes.
    error = np.random.default_rng(seed).uniform(0, 0.1, (1, 4, 1, 1, 6))
    error = error + 0.9 * (1.02 - SSIM)[None, None, :, None, None]
    error = error + (0.3 * SHARES)[None, None, None, :, None]
    error = error + (0.1 / np.arange(1, len(sizes) + 1))[:, None, None, None, None]
    kappa = np.minimum(1.2 * error, 1)
    axes = Axes(np.asarray(sizes, np.float64), SSIM, SHARES)
    intervals = bootstrap(error, kappa, axes, draws=4)
    found = FamilyAnalysis(
        whole=analyse_grid(intervals.grid),
        intervals=intervals,
        seed_errors=seed_means(error),
        reach=reach(error, axes, draws=5),
        chance_corrected=0.3,
    )
    return found, error


@pytest.fixture(scope="module")
def cells():
    return {"mlp": family([1397, 8645, 83717], 0), "cnn": family([381, 1333, 4965], 1)}


@pytest.fixture(scope="module")
def families(cells):
    return {name: found for name, (found, _) in cells.items()}


@pytest.fixture(scope="module")
def grids(families):
    return {name: found.whole for name, found in families.items()}


@pytest.fixture
def protocols():
    rows = [
        (family, name, "a line", e, e - 0.01, e + 0.02, e - 0.3, e - 0.32, e - 0.27)
        for family, shift in (("mlp", 0.0), ("cnn", 0.05))
        for name, e in (("paper", 0.4 + shift), ("class_order", 0.35), ("clean", 0.3))
    ]
    return pd.DataFrame(rows, columns=list(figures_protocols.COLUMNS))


@pytest.fixture
def groups():
    steps = np.array([0, 10, 20, 30])
    loss = np.array([[2.0, 1.0, 0.5, 0.25], [2.4, 0.8, 0.1, 0.0], [2.2, 3.0, np.inf, np.nan]])
    return {
        f"{f}, {n}": (steps, loss, loss / 4) for f in ("mlp", "cnn") for n in ("1k", "9k", "8M")
    }


@pytest.fixture
def every_figure(families, grids, protocols, groups):
    images = np.random.default_rng(0).random((9, 5, 8, 8, 1))
    levels = np.linspace(0.6, 1, 9)

    def draw(narrow):
        yield figures_practical.marginals(families, narrow=narrow)
        yield figures_practical.marginals(grids, narrow=narrow)
        yield figures_practical.heat_maps(families, narrow=narrow)
        yield figures_practical.heat_maps({"cnn": grids["cnn"]}, narrow=narrow)
        yield figures_practical.trade_off(families, narrow=narrow)
        yield figures_practical.trade_off(grids, narrow=narrow)
        yield figures_practical.protocol_differences(protocols, narrow=narrow)
        yield figures_training.training_curves(groups, 0.01, narrow=narrow)
        yield figures_training.shift_examples(images, levels, levels - 0.0004, narrow=narrow)

    return draw


def texts(figure):
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return [
        text
        for text in figure.findobj(matplotlib.text.Text)
        if text.get_text().strip() and text.get_visible()
    ], canvas


def line_through(panel, values):
    return [
        line
        for line in panel.lines
        if len(line.get_ydata()) == len(values) and np.allclose(line.get_ydata(), values)
    ]


@pytest.mark.parametrize("narrow", [False, True])
def test_nothing_leaves_the_canvas_touches_or_is_small(every_figure, narrow):
    for figure in every_figure(narrow):
        assert figure.get_figwidth() <= (style.NARROW if narrow else style.WIDE)
        found, canvas = texts(figure)
        # Labels of ticks outside the limits exist but are not drawn, and have no extent of note.
        drawn = figure.get_tightbbox(canvas.get_renderer()).padded(-0.01)
        assert drawn.x0 >= 0
        assert drawn.y0 >= 0
        assert drawn.x1 <= figure.get_figwidth()
        assert drawn.y1 <= figure.get_figheight()
        assert len(found) > 5
        assert min(text.get_fontsize() for text in found) >= 9
        for panel in figure.axes:
            low, high = sorted(panel.get_xlim())
            boxes = [
                tick.label1.get_window_extent(canvas.get_renderer())
                for tick in panel.xaxis.get_major_ticks()
                if low <= tick.get_loc() <= high and tick.label1.get_text()
            ]
            boxes = [box for box in boxes if box.width > 1]
            for left, right in itertools.pairwise(boxes):
                assert left.x1 < right.x0


def test_figures_leave_matplotlib_as_it_was(every_figure):
    before = dict(matplotlib.rcParams)
    with pytest.raises(InvalidInputError):
        figures_practical.marginals({})
    next(every_figure(False))
    assert dict(matplotlib.rcParams) == before
    pyplot = pytest.importorskip("matplotlib.pyplot")
    assert pyplot.get_fignums() == []


def test_marginals_draw_the_means_and_their_intervals(cells, families):
    figure = figures_practical.marginals(families)
    panels = figure.axes[3:]
    assert [panel.get_xlabel() for panel in panels] == [
        "model size (parameters)",
        "SSIM (1 = untouched)",
        "share of novel classes",
    ]
    assert panels[0].get_xscale() == "log"
    assert len({panel.get_ylim() for panel in panels}) == 1
    for name, (_, error) in cells.items():
        # Every class counts in every cell, so that the order of the means does not matter.
        for panel, others in zip(panels, ((1, 2, 3, 4), (0, 1, 3, 4), (0, 1, 2, 4)), strict=True):
            found = line_through(panel, error.mean(others))
            assert {line.get_color() for line in found} == {style.family_styles(cells)[name].color}
            assert "-" in [line.get_linestyle() for line in found]
            assert line_through(panel, np.minimum(1.2 * error, 1).mean(others))
    band = panels[1].collections[0].get_paths()[0].vertices
    interval = families["mlp"].intervals.marginals["error_mean"]["ssim"]
    for end in (interval.low, interval.high):
        for point in np.stack([SSIM, end], axis=1):
            assert np.isclose(band, point[None, :]).all(1).any()


def test_strip_shows_the_trade_off_point_and_the_one_without_data(families):
    strips = figures_practical.marginals(families).axes[:3]
    for axis, strip in zip(figures_practical.AXES, strips, strict=True):
        for name, found in families.items():
            color = style.family_styles(families)[name].color
            drawn = [line for line in strip.lines if color in (line.get_color(), line.get_mec())]
            at = {line.get_marker(): line.get_xdata()[0] for line in drawn}
            assert at["*"] == getattr(found.whole.point, axis)
            assert at["D"] == getattr(found.whole.data_free, axis)
            ends = [list(line.get_xdata()) for line in drawn if len(line.get_xdata()) == 2]
            assert ends == [[found.intervals.point[axis].low, found.intervals.point[axis].high]]


def test_a_grid_without_replicates_has_the_same_lines_and_no_bands(families, grids):
    ours = figures_practical.marginals(grids).axes[3:]
    theirs = figures_practical.marginals(families).axes[3:]
    for panel, other in zip(ours, theirs, strict=True):
        for line, twin in zip(panel.lines, other.lines, strict=True):
            np.testing.assert_allclose(line.get_ydata(), twin.get_ydata(), rtol=1e-12)
        assert all(not len(band.get_paths()) for band in panel.collections)


def test_heat_maps_write_the_mean_error_into_each_cell(cells, families):
    figure = figures_practical.heat_maps(families)
    for i, (name, (_, error)) in enumerate(cells.items()):
        for panel, others in zip(figure.axes[2 * i :], ((0, 1, 4), (1, 3, 4)), strict=False):
            expected = error.mean(others)
            expected = expected.T if others[0] == 0 else expected
            image = np.asarray(panel.images[0].get_array())
            np.testing.assert_allclose(image, expected, rtol=1e-12)
            for text in panel.texts:
                j, k = (round(v) for v in text.get_position())
                assert abs(float(text.get_text()) - expected[k, j]) <= 0.005 + 1e-12
            assert len(panel.texts) == expected.size
            assert panel.get_title(loc="left").startswith(name)
    limits = {panel.images[0].get_clim() for panel in figure.axes[:4]}
    assert limits == {(0, max(p.images[0].get_array().max() for p in figure.axes[:4]))}


def test_heat_map_ring_is_at_the_trade_off_point(families):
    left, right = figures_practical.heat_maps({"mlp": families["mlp"]}).axes[:2]
    whole = families["mlp"].whole
    x, y = left.lines[-1].get_xydata()[0]
    assert x == pytest.approx((whole.point.ssim - 0.6) / 0.1)
    assert np.interp(y, range(3), SHARES) == pytest.approx(whole.point.novel_share)
    y = right.lines[-1].get_xydata()[0, 1]
    sizes = np.log(whole.grid.size)
    assert np.exp(np.interp(y, range(3), sizes)) == pytest.approx(whole.point.size)


def test_numbers_on_dark_cells_are_light(families):
    def luminance(color):
        channels = np.array(matplotlib.colors.to_rgb(color))
        linear = np.where(
            channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4
        )
        return linear @ np.array([0.2126, 0.7152, 0.0722])

    panel = figures_practical.heat_maps({"mlp": families["mlp"]}).axes[0]
    image = panel.images[0]
    values = np.asarray(image.get_array())
    assert values.max() > 3 * values.min()
    for text in panel.texts:
        j, k = (round(v) for v in text.get_position())
        pair = sorted(
            [luminance(text.get_color()), luminance(image.cmap(image.norm(values[k, j])))]
        )
        assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 4.5


def test_trade_off_shows_points_and_every_solve(families):
    figure = figures_practical.trade_off(families)
    assert len(figure.axes) == 4
    assert [figure.axes[i].get_title(loc="left") for i in (0, 2)] == ["mlp", "cnn"]
    for i, found in enumerate(families.values()):
        whole = found.whole
        for axis, panel in zip(("novel_share", "size"), figure.axes[2 * i :], strict=False):
            drawn = {line.get_marker(): line.get_xydata() for line in panel.lines}
            for marker, point in (
                ("*", whole.point),
                ("D", whole.data_free),
                ("s", whole.data_only),
            ):
                assert drawn[marker].tolist() == [[getattr(point, axis), point.ssim]]
            markers = [marker for _, marker in figures_practical.SETTINGS.values()]
            assert sum(len(drawn[m]) for m in markers) == len(whole.sensitivity)
        assert panel.get_xscale() == "log"


def test_protocols_from_top_to_bottom_with_their_intervals(protocols):
    left, right = figures_practical.protocol_differences(protocols).axes
    assert [text.get_text() for text in left.get_yticklabels()] == ["paper", "class order", "clean"]
    assert left.get_ylim()[0] > left.get_ylim()[1]
    assert left.lines[0].get_xdata().tolist() == [0.4, 0.35, 0.3]
    assert left.lines[1].get_xdata().tolist() == pytest.approx([0.45, 0.35, 0.3])
    segment = right.collections[0].get_segments()[0]
    assert segment[:, 0].tolist() == pytest.approx([0.08, 0.13])
    assert right.get_xlabel() == "difference from clean"


def test_names_of_users_are_drawn_letter_by_letter(grids):
    hostile = {"_$x_1$ <b>": grids["mlp"], "a" * 90 + "\n": grids["cnn"]}
    for draw in (
        figures_practical.marginals,
        figures_practical.heat_maps,
        figures_practical.trade_off,
    ):
        found, _ = texts(draw(hostile, narrow=True))
        shown = " ".join(text.get_text() for text in found)
        assert r"_\$x_1\$ <b>" in shown
        assert "a" * 27 + "…" in shown


def test_what_cannot_be_drawn_is_refused(protocols):
    for draw in (
        figures_practical.marginals,
        figures_practical.heat_maps,
        figures_practical.trade_off,
    ):
        with pytest.raises(InvalidInputError, match="at least one family"):
            draw({})
    with pytest.raises(InvalidInputError, match="no column 'low'"):
        figures_practical.protocol_differences(protocols.drop(columns="low"))
    with pytest.raises(InvalidInputError, match="no row"):
        figures_practical.protocol_differences(protocols[:0])


def test_training_curves_draw_median_and_range_of_the_finite(groups):
    figure = figures_training.training_curves(groups, threshold=0.01)
    loss = figure.axes[0]
    assert loss.get_yscale() == "log"
    assert loss.get_title(loc="left") == "mlp, 1k"
    assert loss.lines[0].get_ydata().tolist() == pytest.approx([2.2, 1.0, 0.3, 0.125])
    band = loss.collections[0].get_paths()[0].vertices
    for point in ([0, 2.0], [0, 2.4], [10, 0.8], [10, 3.0], [20, 0.5], [30, 0.0]):
        assert np.isclose(band, np.array(point)[None, :]).all(1).any()
    assert loss.lines[1].get_ydata()[0] == 0.01
    assert loss.get_ylim()[0] < 0.01
    colors = {axis.lines[0].get_color() for axis in figure.axes}
    assert len(colors) == 2
    assert "stopping threshold" in [t.get_text() for t in figure.legends[0].get_texts()]


def test_training_curves_of_a_group_that_diverged():
    steps, nothing = np.arange(3), np.full((2, 3), np.nan)
    figure = figures_training.training_curves({"mlp": (steps, nothing, nothing)})
    assert [text.get_text() for axis in figure.axes for text in axis.texts] == ["diverged"] * 2
    texts(figure)


@pytest.mark.parametrize(
    ("curves", "named"),
    [
        ((np.zeros(3), np.ones((2, 4)), np.ones((2, 4))), "found steps"),
        ((np.zeros(0), np.ones((2, 0)), np.ones((2, 0))), "found steps"),
        ((np.zeros(4), np.ones((2, 4)), np.ones((3, 4))), "found accuracy"),
    ],
)
def test_training_curves_refuse_shapes(curves, named):
    with pytest.raises(InvalidInputError, match=named):
        figures_training.training_curves({"mlp": curves})


def test_training_curves_need_a_group():
    with pytest.raises(InvalidInputError, match="groups: found none"):
        figures_training.training_curves({})


def test_shift_examples_are_rows_and_levels_columns():
    images = np.random.default_rng(0).random((3, 4, 6, 5, 3))
    figure = figures_training.shift_examples(images, [0.6, 0.8, 1.0], [0.612, 0.8, 1.0], count=2)
    assert len(figure.axes) == 6
    for i, panel in enumerate(figure.axes):
        np.testing.assert_array_equal(panel.images[0].get_array(), images[i % 3, i // 3])
    assert [a.get_title(loc="center") for a in figure.axes[:3]] == [
        ".60\n.612",
        ".80\n.800",
        "1\n1",
    ]


def test_shift_examples_of_integers_are_scaled():
    images = np.full((1, 1, 4, 4, 1), 51, np.uint8)
    panel = figures_training.shift_examples(images, [1.0], [1.0]).axes[0]
    np.testing.assert_allclose(panel.images[0].get_array(), 0.2)
    assert panel.images[0].get_clim() == (0, 1)


@pytest.mark.parametrize(
    ("shape", "levels", "count", "named"),
    [
        ((2, 3, 4, 4), 2, 5, "images"),
        ((2, 3, 4, 4, 2), 2, 5, "images"),
        ((2, 3, 4, 4, 1), 3, 5, "targets"),
        ((2, 3, 4, 4, 1), 2, 0, "count"),
    ],
)
def test_shift_examples_refuse(shape, levels, count, named):
    with pytest.raises(InvalidInputError, match=f"^{named}"):
        figures_training.shift_examples(np.zeros(shape), [1.0] * levels, [1.0] * levels, count)
