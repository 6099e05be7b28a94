"""The page of relations: which measures predict the target, in tables, figures and sentences."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from genjax.report import (
    figures_relations,
    figures_relations_scatter,
    layouts,
    measure_rows,
    page,
)
from genjax.report import relation_glossary as glossary
from genjax.report import relation_words as words
from genjax.report.page import Section, Table
from genjax.report.phrases import bracket, count, signed
from genjax.report.storage import OutputFolder
from genjax.statistics.relations import Relations

PAGE = "report.html"
SUMMARY_COLUMNS = (
    *("measure", "tau", "granulated", "cmi", "sign_error_mean", "partial_spearman"),
    *("p_adjusted", "verdict"),
)
MOST_SUMMARY = 15
MOST_ROWS = 60
"""Rows of a table of environments on the page; the file holds all."""

LABELS = {
    "n": "networks",
    "kendall": "Kendall's tau",
    "spearman": "Spearman",
    "pearson": "Pearson",
    "granulated": "granulated tau",
    "cmi": "CMI (PGDL)",
    "cmi_argmin": "smallest given",
    "cmi_jiang": "CMI (Jiang)",
    "cmi_jiang_argmin": "smallest given (Jiang)",
    "sign_error_mean": "mean sign error",
    "sign_error_p90": "90th percentile",
    "sign_error_max": "maximum",
    "sign_error": "sign error, all pairs",
    "partial_spearman": "partial Spearman",
    "cross_fitted": "cross-fitted",
    "statistic_of_means": "of means",
    "p_value": "p",
    "p_adjusted": "p, Holm",
    "q_value": "q",
    "robust_rmse": "worst-environment error",
    "worst_environment": "worst environment",
    "held_out": "held out",
    "rmse": "error",
    "bias_only_rmse": "error of a constant",
}
TEXTS = {"measure", "cmi_argmin", "cmi_jiang_argmin", "verdict"}
OVERALL = (
    *("measure", "n", "kendall", "spearman", "pearson"),
    *("statistic_of_means", "p_value", "p_adjusted", "q_value", "verdict"),
)
WITHIN = (
    *("measure", "granulated", "cmi", "cmi_argmin", "cmi_jiang", "cmi_jiang_argmin"),
    *("partial_spearman", "cross_fitted"),
)
SIGN_ERRORS = (
    *("measure", "sign_error_mean", "sign_error_p90", "sign_error_max", "sign_error"),
    "concordance",
)


def write(
    output: OutputFolder, relations: Relations, card: Mapping[str, Any], *, title: str
) -> dict[str, pathlib.Path]:
    """Write tables, figures and the page; return what was written where.

    Args:
        output: the folder.
        relations: from `genjax.statistics.relations`.
        card: from `genjax.report.provenance.run_card`.
        title: heading of the page.
    """
    sections = section(output, relations)
    text = page.render(title, words.conclusions(relations), sections, card)
    written = {"page": output.write_text(PAGE, text), **write_tables(output, relations)}
    if any(part.figures for part in sections):
        written["figures"] = output.path / "figures"
    return written


def write_tables(output: OutputFolder, relations: Relations) -> dict[str, pathlib.Path]:
    """Write every table of relations to its own file, also the empty ones.

    Args:
        output: the folder.
        relations: from `genjax.statistics.relations`.
    """
    return {
        "relations": output.write_csv("relations", relations.table),
        "environments": output.write_parquet("environments", relations.environments),
        "by_hyper": output.write_csv("by_hyper", relations.by_hyper),
        "combination": output.write_csv("combination", relations.combination),
        "worst_case": output.write_csv("worst_case", relations.worst_case),
        "references": output.write_csv("references", relations.references),
        "dropped": output.write_csv("dropped", relations.dropped),
    }


def summary_rows(relations: Relations) -> list[list[Any]]:
    """Return the rows of a short table for the terminal, the strongest measures first.

    Args:
        relations: from `genjax.statistics.relations`; columns are `SUMMARY_COLUMNS`.

    Example:
        >>> row = dict.fromkeys([*SUMMARY_COLUMNS, "kendall", "kendall_low", "kendall_high"], 0.5)
        >>> row |= {"measure": "norm", "verdict": "predicts"}
        >>> found = (pd.DataFrame([row]), *[pd.DataFrame()] * 7, None, "gap", 0.95)
        >>> summary_rows(Relations(*found))
        [['norm', '0.500 [0.500, 0.500]', 0.5, 0.5, 0.5, 0.5, 0.5, 'predicts']]
    """
    rows = []
    for row in relations.table.head(MOST_SUMMARY).to_dict("records"):
        cells: list[Any] = [row["measure"]]
        tau = bracket(row["kendall"], row["kendall_low"], row["kendall_high"])
        cells.append(tau if np.isfinite(row["kendall"]) else "-")
        cells += [float(row[name]) for name in SUMMARY_COLUMNS[2:-1]]
        rows.append([*cells, row["verdict"]])
    return rows


def section(output: OutputFolder, relations: Relations) -> list[Section]:
    """Draw the figures into the folder and return the sections of the page.

    Args:
        output: the folder.
        relations: from `genjax.statistics.relations`.
    """
    return [
        _overall_section(output, relations),
        _within_section(output, relations),
        _sign_error_section(output, relations),
        _together_section(relations),
        _dropped_section(relations),
        Section(
            "What the columns mean",
            tables=[glossary.table()],
            note=f"Brackets, and the columns ending in _low and _high, are {relations.level:.0%} "
            "intervals; seeds of one configuration stay together in them.",
        ),
    ]


def _overall_section(output: OutputFolder, relations: Relations) -> Section:
    figures = layouts.draw(
        output,
        "relations",
        figures_relations.dot_plot,
        relations,
        caption=_dot_caption(relations),
        alt=_dot_alt(relations),
    )
    figures += layouts.draw(
        output,
        "scatter",
        figures_relations.scatter,
        relations,
        caption=_scatter_caption(relations),
        alt=f"Scatter plots of {relations.target_name} against "
        f"{count(len(figures_relations_scatter.shown_measures(relations)), 'measure')} and "
        "against random numbers.",
    )
    tables = [_table("Every measure with the target", relations.table, OVERALL)]
    if len(relations.references):
        tables.append(_table("Reference measures", relations.references, OVERALL[:-1]))
    return Section(
        f"What predicts {relations.target_name}",
        figures=figures,
        tables=tables,
        note="Random is noise, the oracles are the target plus noise of that standard deviation, "
        "canonical is the order known from the hyper-parameters alone; a measure that is to say "
        "more than the settings do should be better than it.",
    )


def _shown(relations: Relations) -> str:
    total, most = len(relations.table), measure_rows.MOST
    if total <= most:
        return ""
    return f" Of {total} measures the first {most - most // 2} and the last {most // 2} are shown."


def _dot_caption(relations: Relations) -> str:
    total = len(relations.table)
    text = (
        f"Relation of every measure to {relations.target_name}, sorted by Kendall's tau; lines are "
        f"{relations.level:.0%} intervals over configurations, markers the verdicts."
    )
    if np.isfinite(words.chance_limit(relations)):
        who = f"the best of {total} measures" if total > 1 else "a measure"
        text += f" Grey band: what {who} stays within in 95% of permutations of the "
        text += "configurations (means over seeds; tau of these is the thin tick"
        spearman = relations.chance.statistic == "spearman"
        text += "; about, from Spearman's correlation times 2/3)." if spearman else ")."
    if np.isfinite(measure_rows.numbers(relations.table, "cmi_low")).any():
        text += " CMI is biased upwards; its intervals are corrected for that and can lie below it."
    if len(relations.references):
        text += " Below the line: reference measures."
    return text + _shown(relations)


def _dot_alt(relations: Relations) -> str:
    taus = measure_rows.numbers(relations.table, "kendall")
    order = [i for i in measure_rows.choose(taus, len(taus)).order if np.isfinite(taus[i])]
    if not order:
        return ""
    ends = [f"{relations.table['measure'].iloc[i]} ({signed(taus[i])})" for i in order]
    where = f"from {ends[0]} to {ends[-1]}" if len(ends) > 1 else f"of {ends[0]}"
    return f"Dot plot of Kendall's tau with {relations.target_name}, {where}."


def _scatter_caption(relations: Relations) -> str:
    shown, total = len(figures_relations_scatter.shown_measures(relations)), len(relations.table)
    which = "every measure" if shown == total else f"the {shown} measures of largest tau"
    text = f"{relations.target_name} of each network against {which}, and random numbers to "
    text += "compare with; axes of measures that span more than two decades are logarithmic."
    hyper = figures_relations_scatter.colouring_hyper(relations.networks)
    if hyper is not None:
        text += f" Colour: {hyper}, the hyper-parameter that explains most of "
        text += f"{relations.target_name} (Kruskal-Wallis, epsilon squared)."
    return text


def _within_section(output: OutputFolder, relations: Relations) -> Section:
    found = np.isfinite(measure_rows.numbers(relations.table, "granulated")).any()
    figures = layouts.draw(
        output,
        "by_hyper",
        figures_relations.hyper_heat_map,
        relations,
        caption="Along every hyper-parameter alone. Blue: the measure orders networks like "
        f"{relations.target_name}; red: the other way round; white: chance.{_shown(relations)}",
        alt=f"Heat map of {count(len(relations.table), 'measure')} by "
        f"{count(len(relations.networks.hyper_names), 'hyper-parameter')}.",
    )
    return Section(
        "Within one hyper-parameter",
        paragraphs=[]
        if found
        else ["No hyper-parameter with a few values varies alone: there is nothing to compare."],
        figures=figures,
        tables=_some(_table("What is left within hyper-parameters", relations.table, WITHIN)),
        note="A measure can relate to the target only because both follow one hyper-parameter. "
        "These statistics compare networks that agree in the others, or take them out.",
    )


def _sign_error_section(output: OutputFolder, relations: Relations) -> Section:
    number = len(relations.environments)
    figures = layouts.draw(
        output,
        "sign_errors",
        figures_relations.sign_error_distribution,
        relations,
        caption=f"Sign errors over {count(number, 'environment')}: at each x the share of "
        "environments with a sign error larger than x. A measure that is never wrong is white "
        "everywhere."
        f"{_shown(relations)}",
        alt=f"Distribution of sign errors of {count(len(relations.table), 'measure')} over "
        f"{count(number, 'environment')}.",
    )
    tables = _some(_table("Sign errors", relations.table, SIGN_ERRORS))
    if len(relations.worst_case):
        tables.append(_plain("Affine functions of one measure", relations.worst_case))
    return Section(
        "Sign errors and the worst case",
        paragraphs=[]
        if number
        else [
            "There is no environment: no two configurations are alike but for one hyper-parameter."
        ],
        figures=figures,
        tables=tables,
        note="For sign errors an environment is two configurations that differ in one "
        "hyper-parameter, for affine functions all networks with one value of one. A mean hides "
        "the environments where a measure is wrong; the maximum does not.",
    )


def _together_section(relations: Relations) -> Section:
    table = relations.combination
    if not len(table):
        nothing = "There is no hyper-parameter of which a value could be held out."
        return Section("Together: regression over all measures", paragraphs=[nothing])
    caption = "Regression over all measures where it was not fitted"
    if len(table) > MOST_ROWS:
        caption += f" (the first {MOST_ROWS} of {len(table)} environments)"
    return Section(
        "Together: regression over all measures",
        tables=[_plain(caption, table.head(MOST_ROWS))],
        note="All networks with one value of one hyper-parameter are held out; ridge regression "
        "over the ranks of all measures is fitted to the others. Errors are in units of "
        f"{relations.target_name}; the constant is the mean of the others.",
    )


def _dropped_section(relations: Relations) -> Section:
    title = "What was left out"
    if not len(relations.dropped):
        return Section(title, paragraphs=["Nothing was left out."])
    return Section(title, tables=[_plain("Left out, and why", relations.dropped)])


def _table(caption: str, table: pd.DataFrame, columns: Sequence[str]) -> Table:
    """Return columns with their intervals; without those that have no value at all."""
    kept = [c for c in columns if c in TEXTS or np.isfinite(measure_rows.numbers(table, c)).any()]
    rows = [[_cell(row, name) for name in kept] for row in table.to_dict("records")]
    empty = {i for i, name in enumerate(kept) if name in TEXTS and not any(r[i] for r in rows)}
    rows = [[cell for i, cell in enumerate(row) if i not in empty] for row in rows]
    kept = [name for i, name in enumerate(kept) if i not in empty]
    return Table(caption, [LABELS.get(name, name) for name in kept], rows)


def _some(table: Table) -> list[Table]:
    """Return a table unless it has nothing but names."""
    return [table] if len(table.columns) > 1 else []


def _cell(row: Mapping[Any, Any], name: str) -> Any:
    if name in TEXTS:
        return row[name] if isinstance(row[name], str) else ""
    if name == "n":
        return int(row[name])
    if f"{name}_low" not in row:
        return float(row[name])
    return tuple(float(row[f"{name}{end}"]) for end in ("", "_low", "_high"))


def _plain(caption: str, table: pd.DataFrame) -> Table:
    """Return a table as it is."""
    names = [LABELS.get(str(name), str(name)) for name in table.columns]
    return Table(caption, names, [list(row) for row in table.itertuples(index=False)])
