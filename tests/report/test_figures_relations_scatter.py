"""Scatter plots of relations: every network where it is, in the colour of its hyper-parameter."""

import matplotlib.colors
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from genjax.errors import InvalidInputError
from genjax.report import figures_relations_scatter as figures
from genjax.report import style
from genjax.statistics.chance import reference_measures


def test_scatter_shows_networks_of_the_largest_tau_and_random_numbers(relations):
    figure = figures.scatter(relations)
    names = relations.table["measure"][:11].tolist()  # the table is in the order of |tau|
    assert figures.shown_measures(relations) == names
    networks = relations.networks
    for panel, name in zip(figure.axes, names, strict=False):
        column = networks.measures[:, networks.measure_names.index(name)]
        points = np.concatenate([c.get_offsets() for c in panel.collections])
        expected = np.c_[column, networks.target]
        np.testing.assert_array_equal(np.sort(points, axis=0), np.sort(expected, axis=0))
        spans = column.min() > 0 and column.max() > 100 * column.min()
        assert panel.get_xscale() == ("log" if spans else "linear")
        tau = relations.table.set_index("measure")["kendall"][name]
        assert panel.get_title(loc="left").endswith(f"τ = {style.fraction(tau)}")
    assert {p.get_xscale() for p in figure.axes} == {"log", "linear"}
    last = np.concatenate([c.get_offsets() for c in figure.axes[11].collections])
    random = reference_measures(networks).measures[:, 0]
    np.testing.assert_array_equal(np.sort(last[:, 0]), np.sort(random))
    assert len(figure.axes) == 12


def test_scatter_is_coloured_by_the_hyper_parameter_that_explains_most(relations):
    networks = relations.networks
    shares = {}
    for name, codes in zip(networks.hyper_names, networks.levels.T, strict=True):
        # Epsilon squared is the adjusted R squared of ranks (no ties in the target).
        ranks = pd.Series(stats.rankdata(networks.target))
        within = ((ranks - ranks.groupby(codes).transform("mean")) ** 2).sum()
        total = ((ranks - ranks.mean()) ** 2).sum()
        k, n = codes.max() + 1, len(codes)
        shares[name] = 1 - (within / (n - k)) / (total / (n - 1))
        share = figures.epsilon_squared(codes, networks.target)
        assert share == pytest.approx(shares[name], abs=1e-12)
    best = max(shares, key=shares.get)
    assert figures.colouring_hyper(networks) == best == "width"
    figure = figures.scatter(relations)
    assert figure.legends[0].get_title().get_text() == "width"
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["8", "16", "32"]
    for code, points in enumerate(figure.axes[0].collections):
        mine = networks.levels[:, 1] == code
        targets = np.sort(points.get_offsets()[:, 1])
        np.testing.assert_array_equal(targets, np.sort(networks.target[mine]))
    chosen = figures.scatter(relations, color_by="optimizer").legends[0]
    assert [t.get_text() for t in chosen.get_texts()] == ["adam", "sgd"]
    with pytest.raises(InvalidInputError, match="did you mean 'depth'"):
        figures.scatter(relations, color_by="dpeth")


def test_no_hyper_parameter_explains_a_constant_target_or_has_one_value(relations):
    networks = relations.networks
    constant = networks._replace(target=np.zeros(len(networks.target)))
    assert figures.colouring_hyper(constant) is None
    same = networks._replace(levels=np.zeros_like(networks.levels))
    assert figures.colouring_hyper(same) is None
    assert figures.scatter(relations._replace(networks=same)).legends == []


def test_many_networks_are_pixels_in_mixed_order(relations):
    networks = relations.networks
    times = figures.MANY // len(networks.target) + 1
    large = networks._replace(
        measures=np.tile(networks.measures, (times, 1)),
        target=np.tile(networks.target, times),
        levels=np.tile(networks.levels, (times, 1)),
    )
    panel = figures.scatter(relations._replace(networks=large)).axes[0]
    (points,) = panel.collections
    assert points.get_rasterized()
    assert not figures.scatter(relations).axes[0].collections[0].get_rasterized()
    assert len(points.get_offsets()) == times * len(networks.target)
    colors = [matplotlib.colors.to_hex(c) for c in points.get_facecolors()]
    legend = figures.scatter(relations._replace(networks=large)).legends[0].legend_handles
    color_of = [matplotlib.colors.to_hex(handle.get_color()) for handle in legend]
    code_of = dict(zip(networks.target, networks.levels[:, 1], strict=True))
    assert colors == [color_of[code_of[y]] for _, y in points.get_offsets()]


def test_a_measure_with_gaps_keeps_the_networks_that_it_has(relations):
    networks = relations.networks
    at = networks.measure_names.index(relations.table["measure"][0])
    measures = networks.measures.copy()
    measures[:10, at] = np.nan
    panel = figures.scatter(relations._replace(networks=networks._replace(measures=measures))).axes[
        0
    ]
    assert sum(len(c.get_offsets()) for c in panel.collections) == len(networks.target) - 10


def test_long_lists_of_values_are_named_in_part(relations):
    networks = relations.networks
    levels = networks.levels.copy()
    levels[:, 0] = np.arange(len(levels)) % 20
    values = (tuple(np.linspace(0.1, 2.0, 20)), *networks.hyper_values[1:])
    many = relations._replace(networks=networks._replace(levels=levels, hyper_values=values))
    legend = figures.scatter(many, color_by="lr").legends[0]
    assert legend.get_title().get_text() == "lr (6 of 20 values)"
    assert [t.get_text() for t in legend.get_texts()] == ["0.1", "0.5", "0.9", "1.2", "1.6", "2"]
