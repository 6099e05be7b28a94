"""Figures of relations: what is drawn is what the tables hold, and everything can be read."""

import itertools

import matplotlib
import matplotlib.colors
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from scipy import stats

from genjax.report import figures_relations as figures
from genjax.report import figures_relations_hypers, measure_rows, style
from genjax.report.relation_words import chance_limit, verdict_kind
from genjax.statistics.relations import Chance

DRAWN = (
    figures.dot_plot,
    figures.sign_error_distribution,
    figures.hyper_heat_map,
    figures.scatter,
)


@pytest.fixture(scope="module")
def many(make_relations):
    """More measures than a figure shows."""
    return make_relations(65, runs=2, depths=1)


@pytest.fixture(scope="module")
def one(make_relations):
    return make_relations(1, runs=2, depths=1)


@pytest.fixture(scope="module")
def hostile(relations):
    """Names that matplotlib would read as formulas, hide or cut."""
    networks = relations.networks
    names = [f"_a very long $x_{i}$ name\nof a measure that goes on and on {i}" for i in range(14)]
    renamed = dict(zip(networks.measure_names, names, strict=True))
    hypers = ("_lr", "$w$", "a very long name of an optimizer", "depth")
    hyper = dict(zip(networks.hyper_names, hypers, strict=True))
    return relations._replace(
        table=relations.table.assign(measure=relations.table["measure"].map(renamed)),
        by_hyper=relations.by_hyper.assign(
            measure=relations.by_hyper["measure"].map(renamed),
            hyper=relations.by_hyper["hyper"].map(hyper),
        ),
        environments=relations.environments.rename(columns=renamed),
        networks=networks._replace(measure_names=tuple(names), hyper_names=hypers),
        target_name="_error in $ of " + "a" * 90,
    )


def drawn_texts(figure):
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    found = figure.findobj(matplotlib.text.Text)
    return [t for t in found if t.get_text().strip() and t.get_visible()], canvas


def row_positions(panel):
    """The name of each row -> where it is, wide or narrow."""
    if panel.get_yticklabels() and panel.get_yticklabels()[0].get_text():
        return {t.get_text(): t.get_position()[1] for t in panel.get_yticklabels()}
    return {t.get_text(): round(t.get_position()[1] + 0.24, 6) for t in panel.texts}


def dots(panel):
    """(marker, whether it is filled) -> points."""
    found = {}
    for line in panel.lines:
        if line.get_marker() != "None":
            filled = not matplotlib.colors.same_color(line.get_markerfacecolor(), "white")
            found[line.get_marker(), filled] = [tuple(point) for point in line.get_xydata()]
    return found


@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize("case", ["relations", "many", "one", "hostile"])
@pytest.mark.parametrize("draw", DRAWN)
def test_nothing_leaves_the_canvas_touches_or_is_small(draw, case, narrow, request):
    figure = draw(request.getfixturevalue(case), narrow=narrow)
    assert figure.get_figwidth() <= (style.NARROW if narrow else style.WIDE)
    found, canvas = drawn_texts(figure)
    assert min(text.get_fontsize() for text in found) >= 9
    renderer = canvas.get_renderer()
    drawn = figure.get_tightbbox(renderer).padded(-0.01)
    assert drawn.x0 >= 0
    assert drawn.y0 >= 0
    assert drawn.x1 <= figure.get_figwidth()
    assert drawn.y1 <= figure.get_figheight()
    for panel in figure.axes:
        # Names above their rows do not count for the layout: they must fit all the same.
        for text in panel.texts:
            assert text.get_window_extent(renderer).x1 <= figure.bbox.x1
        for axis, side in ((panel.xaxis, "x"), (panel.yaxis, "y")):
            low, high = sorted(axis.get_view_interval())
            boxes = [
                tick.label1.get_window_extent(renderer)
                for tick in axis.get_major_ticks()
                if low <= tick.get_loc() <= high
                and tick.label1.get_text()
                and tick.label1.get_visible()
                and not tick.label1.get_rotation()
            ]
            ends = sorted((getattr(b, f"{side}0"), getattr(b, f"{side}1")) for b in boxes)
            for (_, end), (start, _) in itertools.pairwise(ends):
                assert end < start
        titles = [p.title for p in figure.axes] + [p._left_title for p in figure.axes]
    boxes = [t.get_window_extent(renderer) for t in titles if t.get_text()]
    for a, b in itertools.combinations(boxes, 2):
        assert not a.overlaps(b)


@pytest.mark.parametrize("narrow", [False, True])
def test_dots_are_the_numbers_at_the_row_of_their_measure(relations, narrow):
    figure = figures.dot_plot(relations, narrow=narrow)
    rows = row_positions(figure.axes[0])
    assert len(figure.axes) == 4
    order = relations.table.sort_values("kendall", ascending=False, kind="stable")[
        "measure"
    ].tolist()
    references = relations.references["measure"].tolist()
    assert list(rows) == [*order, *references]
    assert list(rows.values()) == list(range(18))
    offset = 0.2 if narrow else 0.0
    for panel, (column, *_) in zip(figure.axes, figures.DOTS, strict=True):
        every = pd.concat([relations.table, relations.references]).set_index("measure")
        kinds = relations.table["verdict"].map(verdict_kind)
        expected = {("x", True): references}
        for kind in set(kinds):
            look = figures.LOOKS[kind]
            names = relations.table.loc[kinds == kind, "measure"].tolist()
            expected[look.marker, look.filled] = names
        drawn = dots(panel)
        ticks = [look for look in drawn if look[0] == "|"]
        assert len(ticks) == (1 if column == "kendall" else 0)
        for look in ticks:
            means = relations.table.set_index("measure")["statistic_of_means"]
            points = [(means[name], rows[name] + offset) for name in means.index]
            np.testing.assert_allclose(sorted(drawn.pop(look)), sorted(points), atol=1e-12)
        assert set(drawn) == set(expected)
        for look, names in expected.items():
            points = [(every[column][name], rows[name] + offset) for name in names]
            np.testing.assert_allclose(sorted(drawn[look]), sorted(points), atol=1e-12)
        segments = [s for c in panel.collections for s in c.get_segments()]
        ends = [(every[f"{column}_low"][n], every[f"{column}_high"][n]) for n in rows]
        np.testing.assert_allclose(
            sorted((s[0, 0], s[1, 0]) for s in segments), sorted(ends), atol=1e-12
        )


def test_every_verdict_has_its_own_shape_filled_or_not():
    looks = [(look.marker, look.filled) for look in [*figures.LOOKS.values(), figures.REFERENCE]]
    assert len(set(looks)) == len(looks)


def band(panel):
    """The grey band of chance."""
    (patch,) = [
        p
        for p in panel.patches
        if matplotlib.colors.same_color(p.get_facecolor(), figures.BAND) and p.get_height() == 1
    ]
    return patch.get_x(), patch.get_x() + patch.get_width()


def test_band_is_what_the_best_stays_within_by_chance(relations):
    limit = float(np.quantile(relations.chance.best, 0.95, method="higher"))
    assert chance_limit(relations) == limit
    assert band(figures.dot_plot(relations).axes[0]) == pytest.approx((-limit, limit))
    spearman = relations._replace(chance=relations.chance._replace(statistic="spearman"))
    figure = figures.dot_plot(spearman)
    assert band(figure.axes[0]) == pytest.approx((-limit * 2 / 3, limit * 2 / 3))
    texts = [t.get_text() for t in figure.legends[0].get_texts()]
    assert texts[-1] == "best of 14 by chance, about 95 %"
    nothing = relations._replace(chance=Chance("kendall", np.zeros(0), 0, False))
    with pytest.raises(ValueError, match="not enough values"):
        band(figures.dot_plot(nothing).axes[0])


def test_small_rho_is_three_halves_of_tau():
    rng = np.random.default_rng(0)
    x = rng.normal(size=20_000)
    y = 0.1 * x + rng.normal(size=20_000)
    ratio = stats.kendalltau(x, y).statistic / stats.spearmanr(x, y).statistic
    assert ratio == pytest.approx(figures.TAU_OF_RHO, abs=0.005)


def test_panels_without_any_number_are_left_out(bare_relations):
    figure = figures.dot_plot(bare_relations)
    assert [panel.get_title(loc="left") for panel in figure.axes] == ["Kendall's τ"]


def test_of_many_measures_the_first_and_the_last_are_shown(many):
    order = many.table.sort_values("kendall", ascending=False, kind="stable")["measure"].tolist()
    rows = list(row_positions(figures.dot_plot(many).axes[0]))
    assert rows[:30] == order[:30]
    assert rows[30] == "5 measures between these"
    assert rows[31:61] == order[-30:]
    assert len(rows) == 65
    heat = list(row_positions(figures.hyper_heat_map(many).axes[0]))
    assert heat == rows[:61]
    means = many.environments[many.table["measure"].tolist()].mean().sort_values(kind="stable")
    found = list(row_positions(figures.sign_error_distribution(many).axes[0]))
    assert found[:5] == means.index[:5].tolist()
    assert found[-5:] == means.index[-5:].tolist()


def test_rows_keep_ties_and_put_what_is_unknown_last():
    values = np.array([0.1, np.nan, 0.1, 0.3])
    assert measure_rows.choose(values) == ([3, 0, 2, 1], 0)
    assert measure_rows.choose(values, 4).left_out == 0
    assert measure_rows.choose(np.arange(10.0), 4) == ([9, 8, -1, 1, 0], 6)
    assert measure_rows.choose(np.zeros(0)) == ([], 0)


def test_short_names():
    short = measure_rows.short_names
    assert short(["measure.a.x", "measure.a.y"], 9) == ["a.x", "a.y"]
    assert short(["measure.a", "b"], 9) == ["measure.a", "b"]
    assert short(["a.", "a.b"], 9) == ["a.", "a.b"]
    assert short([".a", ".b"], 9) == [".a", ".b"]
    assert short(["p 0.1", "p 0.2"], 9) == ["p 0.1", "p 0.2"]
    assert short(["v1.5", "v1.7"], 9) == ["v1.5", "v1.7"]
    assert short(["a.b", "c.b"], 9) == ["a.b", "c.b"]
    assert short(["0123456789"], 7) == ["012…789"]
    assert short([], 9) == []


@pytest.mark.parametrize("narrow", [False, True])
def test_sign_errors_are_shares_of_environments(relations, narrow):
    figure = figures.sign_error_distribution(relations, narrow=narrow)
    panel = figure.axes[0]
    rows = row_positions(panel)
    means = (
        relations.environments[relations.table["measure"].tolist()]
        .mean()
        .sort_values(kind="stable")
    )
    assert list(rows) == means.index.tolist()
    bins = figures_relations_hypers.BINS
    for image, name in zip(panel.images, rows, strict=True):
        errors = relations.environments[name].tolist()
        image_row = np.asarray(image.get_array())[0]
        expected = [
            sum(e > (k + 0.5) / bins for e in errors) / len(errors) for k in range(0, bins, 7)
        ]
        np.testing.assert_allclose(image_row[::7], expected, atol=1e-12)
        left, right, bottom, top = image.get_extent()
        assert (left, right) == (0, 1)
        at = rows[name] + (0.2 if narrow else 0)
        assert top < at < bottom
    for i, name in enumerate(rows):
        errors = relations.environments[name].to_numpy()
        drawn = [line.get_xydata()[0] for line in panel.lines[3 * i : 3 * i + 3]]
        assert [x for x, _ in drawn] == pytest.approx(
            [errors.mean(), np.quantile(errors, 0.9), errors.max()]
        )
    assert panel.lines[-1].get_xdata() == [0.5, 0.5]
    assert panel.get_xlim() == (0, 1)


def test_measures_without_environments_are_left_out(relations):
    lost = relations.table["measure"][0]
    environments = relations.environments.assign(**{lost: np.nan})
    environments = environments.drop(columns=relations.table["measure"][1])
    rows = row_positions(
        figures.sign_error_distribution(relations._replace(environments=environments)).axes[0]
    )
    assert set(rows) == set(relations.table["measure"][2:])


@pytest.mark.data
def test_published_sign_errors(relations, data_dir):
    folder = data_dir / "published" / "robust_gm"
    environments = pd.read_csv(folder / "environments.csv")
    summary = pd.read_csv(folder / "sign_error_summary.csv")
    summary = summary[summary.iloc[:, 0] == "all"].set_index(summary.columns[1])
    names = list(environments.columns[5:])
    table = relations.table.reindex(np.arange(24) % 14).assign(measure=names)
    found = relations._replace(table=table, environments=environments)
    panel = figures.sign_error_distribution(found).axes[0]
    rows = list(row_positions(panel))
    assert rows[0] == "pacbayes_orig"
    assert rows[-1] == "log_prod_of_spec_over_margin_fft"
    for i, name in enumerate(rows):
        mean, p90, largest = (line.get_xdata()[0] for line in panel.lines[3 * i : 3 * i + 3])
        published = summary.loc[f"complexity.{name}"]
        numbers = published[["mean_sign_error", "p90_sign_error", "max_sign_error"]]
        assert [mean, p90, largest] == pytest.approx([float(v) for v in numbers], rel=1e-12)


def heat_cells(panel):
    """(row, column) -> number written."""
    return {
        (round(t.get_position()[1]), round(t.get_position()[0])): t.get_text()
        for t in panel.texts
        if t.get_ha() == "center"
    }


@pytest.mark.parametrize("narrow", [False, True])
def test_heat_map_writes_psi_and_sign_errors(relations, narrow):
    left, right = figures.hyper_heat_map(relations, narrow=narrow).axes
    order = relations.table.sort_values("kendall", ascending=False, kind="stable").set_index(
        "measure"
    )
    kinds = (("granulated", left), ("sign_error_mean", right))
    for statistic, panel in kinds:
        cells = heat_cells(panel)
        values = relations.by_hyper[relations.by_hyper["statistic"] == statistic]
        values = values.set_index(["measure", "hyper"])["value"]
        hypers = relations.networks.hyper_names
        assert [t.get_text() for t in panel.get_xticklabels()][1:] == list(hypers)
        assert len(cells) == 14 * 5
        for i, name in enumerate(order.index):
            assert abs(float(cells[i, 0]) - order[statistic][name]) <= 0.005 + 1e-9
            for j, hyper in enumerate(hypers, 1):
                assert abs(float(cells[i, j]) - values[name, hyper]) <= 0.005 + 1e-9


def test_heat_map_colours_agree_in_both_maps_and_unknown_cells_are_blank(relations):
    measure = relations.table["measure"][0]
    table = relations.by_hyper.copy()
    mine = (table["measure"] == measure) & (table["hyper"] == "lr")
    table.loc[mine, "value"] = np.nan
    table.loc[(table["measure"] == measure) & (table["statistic"] == "granulated"), "value"] *= 1
    left, right = figures.hyper_heat_map(relations._replace(by_hyper=table)).axes
    assert len(heat_cells(left)) == len(heat_cells(right)) == 14 * 5 - 1
    assert (0, 1) not in heat_cells(left)
    for panel, best in ((left, max), (right, min)):
        cells = heat_cells(panel)
        where = best(cells, key=lambda cell: float(cells[cell]))
        bars = {(round(p.get_y() + 0.46), round(p.get_x() + 0.47)): p for p in panel.patches}
        red, _, blue, _ = bars[where].get_facecolor()
        assert blue > red + 0.3


def test_heat_map_without_environments_shows_tau_at_equal_values(relations):
    table = relations.by_hyper
    table = table[~table["statistic"].str.startswith("sign_error")]
    _, right = figures.hyper_heat_map(relations._replace(by_hyper=table)).axes
    assert right.get_title(loc="left") == "τ at equal values"
    only = table[table["statistic"] == "granulated"]
    assert len(figures.hyper_heat_map(relations._replace(by_hyper=only)).axes) == 1


def test_where_there_is_nothing_there_is_no_figure(bare_relations):
    assert figures.sign_error_distribution(bare_relations) is None
    assert figures.hyper_heat_map(bare_relations) is None
    empty = bare_relations._replace(table=bare_relations.table.iloc[:0])
    for draw in DRAWN:
        assert draw(empty) is None
    assert figures.scatter(bare_relations).legends == []


def test_a_measure_without_any_statistic_still_has_its_row(one):
    numbers = [c for c in one.table if c not in ("measure", "verdict", "cmi_argmin")]
    numbers = [c for c in numbers if c not in ("cmi_jiang_argmin", "n", "configurations")]
    unknown = one._replace(
        table=one.table.assign(**dict.fromkeys(numbers, np.nan)), references=one.references[:0]
    )
    (panel,) = figures.dot_plot(unknown).axes
    assert list(row_positions(panel)) == unknown.table["measure"].tolist()


def test_no_interval_without_a_value(relations):
    table = relations.table.copy()
    table.loc[0, "partial_spearman"] = np.nan
    panel = figures.dot_plot(relations._replace(table=table)).axes[2]
    segments = [s for c in panel.collections for s in c.get_segments()]
    rows = row_positions(panel.figure.axes[0])
    assert rows[table["measure"][0]] not in [segment[0, 1] for segment in segments]
    assert len(segments) == 14 + 4 - 1


def test_names_of_users_are_drawn_letter_by_letter(hostile):
    found, _ = drawn_texts(figures.dot_plot(hostile, narrow=True))
    assert any(r"_a very long \$x_0\$ na" in text.get_text() for text in found)
    found, _ = drawn_texts(figures.scatter(hostile, narrow=True))
    assert any(r"in \$ of" in text.get_text() for text in found)


def test_figures_leave_matplotlib_as_it_was(relations):
    before = dict(matplotlib.rcParams)
    for draw in DRAWN:
        draw(relations)
    assert dict(matplotlib.rcParams) == before
