"""The page of corruption errors: one network under shifts at calibrated levels."""

import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from genjax.metrics import shift_errors
from genjax.metrics.shift_comparison import ShiftComparison, compare_shifts
from genjax.report import corruption_words as words
from genjax.report import figures_corruption, page
from genjax.report.corruption_published import Published, agreement
from genjax.report.page import Section, Table
from genjax.report.phrases import bracket
from genjax.report.storage import OutputFolder
from genjax.statistics.corruption_tables import outcome_interval
from genjax.statistics.resampling import Interval

PAGE = "report.html"


class Corruption(NamedTuple):
    """Everything the page says.

    Attributes:
        network: what to call the network.
        outcomes: from `genjax.metrics.shift_errors.combine`.
        table: error with its interval by shift and level.
        comparison: shifts side by side.
        mean: error over all shifts and the levels that all reach, with its interval over images;
            None where there is no such level.
        published: networks to be shown beside, or None.
        level: nominal coverage of the intervals.
    """

    network: str
    outcomes: xr.Dataset
    table: pd.DataFrame
    comparison: ShiftComparison
    mean: Interval | None
    published: Published | None
    level: float


def analyse(
    network: str,
    outcomes: xr.Dataset,
    *,
    published: Published | None = None,
    level: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> Corruption:
    """Compute what the page says.

    Args:
        network: what to call the network.
        outcomes: from `genjax.metrics.shift_errors.combine`.
        published: from `genjax.report.corruption_published.read_published`.
        level: nominal coverage of all intervals.
        draws: of the bootstrap over images behind the interval of the mean over shifts.
        seed: of those draws.
    """
    comparison = compare_shifts(outcomes, level)
    mean = None
    if len(comparison.levels):
        wrong = outcomes["wrong"].sel(ssim=comparison.levels).transpose("shift", "ssim", "image")
        correct = np.asarray(wrong == 0)
        value, low, high = outcome_interval(correct, draws=draws, seed=seed, level=level)
        mean = Interval(1 - value, 1 - high, 1 - low)
    table = shift_errors.error_table(outcomes, level)
    return Corruption(network, outcomes, table, comparison, mean, published, level)


def conclusions(found: Corruption) -> list[str]:
    """Say what was found, most important first, and what was left out."""
    sentences = words.conclusions(found.table, found.comparison, found.mean)
    if found.published is not None:
        sentences.append(agreement(found.published))
    return [*sentences, *words.unreached_sentences(found.outcomes)]


def write(
    output: OutputFolder, found: Corruption, card: Mapping[str, Any], *, title: str
) -> dict[str, pathlib.Path]:
    """Write tables, figures and the page; return what was written where.

    Args:
        output: the folder.
        found: from `analyse`.
        card: from `genjax.report.provenance.run_card`.
        title: heading of the page.
    """
    sections = [_levels_section(output, found), _shifts_section(found)]
    written = {
        "errors": output.write_csv("shift_errors", found.table),
        "shifts": output.write_csv("shifts", found.comparison.means),
        "pairs": output.write_csv("pairs", found.comparison.differences),
    }
    if found.published is not None:
        sections.append(_published_section(output, found, found.published))
        written["published"] = output.write_csv("published", found.published.table)
    text = page.render(title, conclusions(found), sections, card)
    return {"page": output.write_text(PAGE, text), **written}


def summary(found: Corruption) -> Table:
    """Return error by shift and level, with intervals; a level that a shift cannot reach is None.

    Args:
        found: from `analyse`.
    """
    levels = sorted(set(found.table["ssim"]), reverse=True)
    rows = []
    for name, part in found.table.groupby("shift", sort=False):
        by_level = {row["ssim"]: row for row in part.to_dict("records")}
        cells = [by_level.get(ssim) for ssim in levels]
        triples = [c and (c["error"], c["low"], c["high"]) for c in cells]
        rows.append([str(name), *triples])
    columns = ["shift", *(f"SSIM {ssim:.2f}" for ssim in levels)]
    return Table(f"Error of {found.network}", columns, rows)


def short_summary(found: Corruption) -> Table:
    """Return error and interval of every shift at few levels, as many as 80 columns hold.

    Args:
        found: from `analyse`.
    """
    whole = summary(found)
    last = len(whole.columns) - 1
    kept = sorted({1, (last + 1) // 2, last} - {0})
    rows = [
        [row[0], *("-" if row[k] is None else bracket(*row[k]) for k in kept)] for row in whole.rows
    ]
    return Table(whole.caption, ["shift", *(whole.columns[k] for k in kept)], rows)


def _levels_section(output: OutputFolder, found: Corruption) -> Section:
    draw = figures_corruption.error_by_similarity
    examples = int(found.outcomes.sizes["image"])
    figure = output.write_figure(
        "figures/error_by_similarity",
        draw(found.table),
        "Error against average SSIM to the untouched images, one line per shift; bands are Wilson "
        f"{found.level:.0%} intervals over {examples:,} images.",
        narrow=draw(found.table, narrow=True),
    )
    columns = ("ssim", "strength", "ssim_achieved", "ssim_spread")
    rows = [[r["shift"], *(r[c] for c in columns)] for r in found.table.to_dict("records")]
    reached = Table(
        "How each level was reached", ["shift", "SSIM", "strength", "achieved", "spread"], rows
    )
    return Section(
        "Error at calibrated levels",
        [
            "Every shift is calibrated on the images themselves, so that a level means the same "
            "average SSIM under each of them."
        ],
        [figure],
        [summary(found), reached],
        "All cells show the same images: two of them may differ although their intervals overlap. "
        "Spread is the standard deviation of SSIM over images; strengths go from 0 to 1 and mean "
        "something else for every shift.",
    )


def _shifts_section(found: Corruption) -> Section:
    means, pairs = found.comparison.means, found.comparison.differences
    tables = [
        Table(
            "Mean error over the levels below 1 that every shift reaches",
            ["shift", "mean error"],
            [[r["shift"], _triple(r, "error")] for r in means.to_dict("records")],
        ),
        Table(
            "Differences, paired over images",
            ["more harmful", "less harmful", "difference"],
            [[r["more"], r["less"], _triple(r, "difference")] for r in pairs.to_dict("records")],
        ),
    ]
    return Section(
        "Which shift hurts most",
        tables=[table for table in tables if table.rows],
        note=f"Intervals of differences are Bonferroni's: {found.level:.0%} for all pairs at once. "
        "Strengths and images are taken as given.",
    )


def _published_section(output: OutputFolder, found: Corruption, published: Published) -> Section:
    draw = figures_corruption.beside_published
    own = _own_row(found)
    figure = output.write_figure(
        "figures/published",
        draw(own, published.table),
        f"Mean error under corruption (filled) and on untouched images (open): {found.network} "
        f"over shifts and levels measured here, the others on {published.benchmark}.",
        narrow=draw(own, published.table, narrow=True),
    )
    rows = [
        [r["network"], r["clean_error"], _triple(r, "error"), r.get("printed")]
        for r in [*own.to_dict("records"), *published.table.to_dict("records")]
    ]
    table = Table(
        "Mean corruption error, recomputed and as published",
        ["network", "clean error", "mean corruption error", "published"],
        rows,
    )
    return Section(
        f"Beside published networks of {published.benchmark}",
        [
            agreement(published),
            f"The corruptions of {published.benchmark} and their severities are not the shifts and "
            "levels measured here: the numbers stand beside each other to show the size of the "
            "effects, and do not rank this network among the others.",
        ],
        [figure],
        [table],
        "Published intervals are Wilson's over 10,000 images, too wide rather than too narrow.",
    )


def _own_row(found: Corruption) -> pd.DataFrame:
    clean = found.table.loc[found.table["ssim"] == 1, "error"].to_numpy()
    nothing = (float("nan"),) * 3
    value, low, high = nothing if found.mean is None else found.mean
    row = {
        "network": found.network,
        "clean_error": float(clean[0]) if len(clean) else float("nan"),
        "error": value,
        "low": low,
        "high": high,
    }
    return pd.DataFrame([row])


def _triple(row: Mapping[Any, Any], name: str) -> tuple[float, float, float]:
    return float(row[name]), float(row["low"]), float(row["high"])
