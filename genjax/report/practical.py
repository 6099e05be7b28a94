"""The page of the practical metric: figures, tables and sentences from an analysis."""

import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib.figure
import numpy as np
import pandas as pd

from genjax.metrics.protocol import Protocol
from genjax.metrics.testbed import Testbed
from genjax.report import figures_practical, figures_training, networks, page, words
from genjax.report.page import Section, Table
from genjax.report.storage import Figure, OutputFolder
from genjax.statistics.analysis import Analysis, FamilyAnalysis, GridAnalysis
from genjax.training import Population

PAGE = "report.html"
_ALONG = {"size": "model size", "ssim": "SSIM", "novel_share": "novel share"}


def _draw(output: OutputFolder, name: str, draw: Any, caption: str) -> Figure:
    wide: matplotlib.figure.Figure = draw(narrow=False)
    return output.write_figure(f"figures/{name}", wide, caption, narrow=draw(narrow=True))


def write_population(
    output: OutputFolder,
    analysis: Analysis,
    population: Population,
    bed: Testbed,
    protocols: Sequence[Protocol],
    card: Mapping[str, Any],
    *,
    title: str,
    sentences: Sequence[str] = (),
    sections: Sequence[Section] = (),
) -> dict[str, pathlib.Path]:
    """Draw every figure, write the page, and return what was written where.

    Args:
        output: the folder.
        analysis: from `genjax.statistics.analysis.analyse`.
        population: what was trained.
        bed: the testbed.
        protocols: how heads were read.
        card: from `genjax.report.provenance.run_card`.
        title: heading of the page.
        sentences: conclusions of others, below the own ones.
        sections: of others, below the own ones.
    """
    own = [
        _metric_section(output, analysis.families, sentences),
        _trade_off_section(output, analysis),
        _protocol_section(output, analysis.protocols),
        networks.section(output, population),
        _shift_section(output, bed, protocols, population),
    ]
    said = [*networks.training_sentences(population), *words.conclusions(analysis), *sentences]
    text = page.render(title, said, [*own, *sections], card)
    return {"page": output.write_text(PAGE, text), "figures": output.path / "figures"}


def write_grids(
    output: OutputFolder,
    grids: Mapping[str, GridAnalysis],
    card: Mapping[str, Any],
    *,
    title: str,
) -> dict[str, pathlib.Path]:
    """Write the page of somebody else's grids: everything that needs no replicates.

    Args:
        output: the folder.
        grids: family -> analysis of its grid.
        card: from `genjax.report.provenance.run_card`.
        title: heading of the page.
    """
    sections = [_metric_section(output, grids), _grid_trade_off_section(output, grids)]
    sentences = [s for name, found in grids.items() for s in words.grid_conclusions(name, found)]
    text = page.render(title, sentences, sections, card)
    return {"page": output.write_text(PAGE, text), "figures": output.path / "figures"}


def _metric_section(
    output: OutputFolder, families: Mapping[str, Any], said: Sequence[str] = ()
) -> Section:
    drawn = [
        _draw(
            output,
            "marginals",
            lambda narrow: figures_practical.marginals(families, narrow=narrow),
            "Mean error (solid) and mean kappa distance (dashed) along each axis, averaged over "
            f"the two others{_bands(families)}; the star is the trade-off point, the diamond the "
            "point without data.",
        ),
        _draw(
            output,
            "heat_maps",
            lambda narrow: figures_practical.heat_maps(families, narrow=narrow),
            "Mean error in the cells of the grid, averaged over the axis that is not shown.",
        ),
    ]
    note = (
        "Error is the mean over classes of 1 - recall; kappa distance is the mean of 1 - "
        "one-vs-rest Cohen kappa. SSIM 1 is untouched; novel share is z / (seen + z) classes."
    )
    return Section(
        "The practical metric",
        paragraphs=[shape for shape in words.shapes(families) if shape not in said],
        figures=drawn,
        tables=[grand_means_table(families)],
        note=note,
    )


def _bands(families: Mapping[str, Any]) -> str:
    """Say what the bands are, where there are any."""
    found = [one.intervals.factors for one in families.values() if isinstance(one, FamilyAnalysis)]
    if not found:
        return ""
    return f"; bands are intervals over {' and '.join(max(found, key=len))}"


def grand_means_table(families: Mapping[str, Any]) -> Table:
    """Return the means over all cells and the two bounds, one row per family."""
    names = ("error_mean", "error_std", "error_p10", "kappa_mean", "kappa_std", "kappa_p10")
    rows = []
    for family, found in families.items():
        if isinstance(found, FamilyAnalysis):
            means = found.intervals.grand_means
            cells = [tuple(map(float, means[name])) for name in names]
            cells += [tuple(map(float, found.intervals.bounds[b])) for b in found.intervals.bounds]
            rows.append([family, *cells, found.chance_corrected])
        else:
            cells = [float(np.mean(found.grid.statistics[name])) for name in names]
            rows.append([family, *cells, *map(float, found.bounds), None])
    columns = ["family", "mean error", "std error", "p10 error"]
    columns += ["mean kappa", "std kappa", "p10 kappa"]
    columns += ["generalization bound", "diversity bound", "chance-corrected error"]
    return Table("Means over all cells and Eq 5 bounds at the trade-off point", columns, rows)


def _records(table: pd.DataFrame) -> Iterator[Any]:
    """Yield the rows of a table as named tuples."""
    yield from table.itertuples()


def _coordinates(name: str, kind: str, point: Any, intervals: Any = None) -> list[Any]:
    cells = []
    for axis in ("ssim", "novel_share", "size"):
        value = float(getattr(point, axis))
        cells.append(value if intervals is None else tuple(map(float, intervals[axis])))
    return [name, kind, *cells]


def _point_rows(name: str, found: GridAnalysis, intervals: Any = None) -> list[list[Any]]:
    rows = [_coordinates(name, "measured (Eq 4)", found.point, intervals)]
    rows.append(_coordinates(name, "without data (F = 0)", found.data_free))
    rows.append(_coordinates(name, "data alone (smallest F)", found.data_only))
    return rows


def _prior_table(wholes: Mapping[str, GridAnalysis]) -> Table:
    rows = [
        [name, *(100 * found.prior[axis] for axis in ("ssim", "novel_share", "size"))]
        for name, found in wholes.items()
    ]
    columns = ["family", "SSIM", "novel share", "parameters"]
    return Table("Share of each coordinate that is prior", columns, rows, ("", "%", "%", "%"))


_POINT_COLUMNS = ("family", "point", "SSIM", "novel share", "parameters")


def _spread_table(wholes: Mapping[str, GridAnalysis]) -> Table:
    rows = [
        [family, row.setting, row.ssim, row.novel_share, row.size, f"{row.converged}/{row.solves}"]
        for family, found in wholes.items()
        for row in _records(found.spread)
    ]
    columns = ["family", "choice", "SSIM", "novel share", "parameters", "converged"]
    return Table(
        "Range of the trade-off point over each choice the paper leaves open", columns, rows
    )


def _pareto_table(wholes: Mapping[str, GridAnalysis]) -> Table:
    rows = []
    for family, found in wholes.items():
        error = found.grid.statistics["error_mean"]
        for i, j, k in np.argwhere(found.pareto):
            cell = (
                found.grid.size[i],
                found.grid.ssim[j],
                found.grid.novel_share[k],
                error[i, j, k],
            )
            rows.append([family, *map(float, cell)])
    rows.sort(key=lambda row: row[-1])
    columns = ["family", "parameters", "SSIM", "novel share", "mean error"]
    caption = "Pareto front: cells that no other cell beats in error, SSIM, novel share and size"
    return Table(f"{caption} (the first 20 by error of {len(rows)})", columns, rows[:20])


def _trade_off_figure(output: OutputFolder, families: Mapping[str, Any]) -> Figure:
    return _draw(
        output,
        "trade_off",
        lambda narrow: figures_practical.trade_off(families, narrow=narrow),
        "Trade-off point of Eq 4, the point that the formula gives without any data, the cell the "
        "data alone prefer, and where the point goes under each choice that the paper leaves open.",
    )


def _trade_off_section(output: OutputFolder, analysis: Analysis) -> Section:
    rows = []
    for name, found in analysis.families.items():
        rows += _point_rows(f"{name}, clean", found.whole, found.intervals.point)
    for name, found in analysis.paper.items():
        rows += _point_rows(f"{name}, paper", found.whole, found.intervals.point)
    wholes = {name: found.whole for name, found in analysis.families.items()}
    whole_by_protocol = {f"{name}, clean": found for name, found in wholes.items()}
    whole_by_protocol |= {f"{name}, paper": f.whole for name, f in analysis.paper.items()}
    return Section(
        "The trade-off point and how much of it is prior",
        paragraphs=words.details(analysis),
        figures=[_trade_off_figure(output, analysis.families)],
        tables=[
            Table("Trade-off points", _POINT_COLUMNS, rows),
            _prior_table(whole_by_protocol),
            _spread_table(wholes),
            _pareto_table(wholes),
        ],
        note="Share that is prior: 100 % = the data did not move the coordinate from where the "
        "formula puts it without data towards where the data alone want it, 0 % = it lies there; "
        "no share where the two want nearly the same (within 5 % of the axis).",
    )


def _grid_trade_off_section(output: OutputFolder, grids: Mapping[str, GridAnalysis]) -> Section:
    rows = [row for name, found in grids.items() for row in _point_rows(name, found)]
    return Section(
        "The trade-off point and how much of it is prior",
        figures=[_trade_off_figure(output, grids)],
        tables=[
            Table("Trade-off points", _POINT_COLUMNS, rows),
            _prior_table(grids),
            _spread_table(grids),
            _pareto_table(grids),
        ],
    )


def _protocol_section(output: OutputFolder, table: pd.DataFrame) -> Section:
    over = " or ".join(table["over"].unique())
    unit = over.replace("seeds", "seed").replace("classes", "class")
    figure = _draw(
        output,
        "protocols",
        lambda narrow: figures_practical.protocol_differences(table, narrow=narrow),
        "Mean error under each way of reading a network, from the paper's choices to the clean "
        f"ones one at a time, and for heads that train nothing; intervals over {over}.",
    )
    rows = [
        [
            row.family,
            row.protocol,
            row.description,
            (row.error, row.low, row.high),
            (row.difference, row.difference_low, row.difference_high),
            row.chance_corrected,
        ]
        for row in _records(table)
    ]
    columns = ["family", "protocol", "what changes", "mean error", "difference from clean"]
    columns += ["chance-corrected error"]
    return Section(
        "What the paper's choices change",
        figures=[figure],
        tables=[Table("Protocols", columns, rows)],
        note=f"Differences are paired by {unit}. The paper's probe reads labelled images of the "
        "novel classes and stops on the test split; only its novel test images are augmented.",
    )


def _shift_section(
    output: OutputFolder, bed: Testbed, protocols: Sequence[Protocol], population: Population
) -> Section:
    found = bed.calibration
    order = np.argsort(found.targets)
    shown = bed.levels[order][:, _of_several_classes(bed.test.labels)]
    figure = _draw(
        output,
        "shift",
        lambda narrow: figures_training.shift_examples(
            shown, found.targets[order], found.achieved[order], narrow=narrow
        ),
        f"The same test images at every level of the shift '{bed.shift}'.",
    )
    rows = [
        [float(v) for v in row]
        for row in zip(found.targets, found.achieved, found.spread, found.strengths, strict=True)
    ]
    columns = ["target SSIM", "achieved mean", "std over images", "strength"]
    return Section(
        "The testbed",
        paragraphs=networks.testbed_sentences(bed, population),
        figures=[figure],
        tables=[
            Table("Levels of the shift", columns, rows),
            Table("Protocols", ["name", "choices"], [[p.name, p.description] for p in protocols]),
        ],
    )


def _of_several_classes(labels: np.ndarray, count: int = 5) -> np.ndarray:
    """Return the first example of each of so many classes, evenly spaced; files may be sorted."""
    _, first = np.unique(labels, return_index=True)
    return first[np.linspace(0, len(first) - 1, count).round().astype(int)]


def with_interval(value: Any) -> str:
    """Write a number, or a triple (value, low, high), with three decimals.

    Example:
        >>> with_interval((0.25, 0.2, 0.3125))
        '0.250 [0.200, 0.312]'
    """
    if isinstance(value, tuple):
        middle, low, high = value
        return f"{middle:.3f} [{low:.3f}, {high:.3f}]"
    return f"{value:.3f}"
