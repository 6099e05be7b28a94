"""The catalogue of measures in words, and the page of a population that was measured."""

import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import rich.box
import scipy.stats
from rich.console import Console
from rich.table import Table as RichTable

from genjax.metrics.complexity import Measure, Refused, registry
from genjax.metrics.complexity.contract import NEEDS
from genjax.report import page, relation_words
from genjax.report import relations as relations_report
from genjax.report.page import Section, Table
from genjax.report.phrases import bracket, signed
from genjax.report.storage import OutputFolder
from genjax.statistics.published import MEAN_SIGN_ERRORS
from genjax.statistics.relations import Relations

INTERVAL_COLUMNS = ("measure", "tau", "granulated", "cmi", "sign_error_mean")

_WORSE = {True: "worse", False: "better", None: "open"}


def show(measures: Iterable[Measure], *, console: Console | None = None) -> None:
    """Print a line per measure, by family: what larger means, its cost, whether it is fast.

    Args:
        measures: what to show.
        console: where; standard output by default.
    """
    table = RichTable(box=rich.box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("measure", no_wrap=True)
    table.add_column("larger is")
    table.add_column("passes", justify="right")
    table.add_column("fast")
    table.add_column("needs", overflow="fold")
    family = ""
    for one in measures:
        if one.family != family:
            family = one.family
            table.add_section()
            table.add_row(f"[bold]{family}[/bold]")
        needs = ", ".join(registry.requirements(one))
        cost = f"{registry.passes([one]):.2g}"
        worse = _WORSE[one.larger_is_worse]
        table.add_row(f"  {one.name}", worse, cost, "yes" if one.fast else "", needs)
    (console or Console()).print(table)


def catalogue_markdown() -> str:
    """Return docs/measures.md: every registered measure, family by family.

    Example:
        >>> catalogue_markdown().splitlines()[0]
        '# Measures'
    """
    measures = list(registry.catalogue().values())
    lines = [
        "# Measures",
        "",
        "Written from the registry by `python -m genjax.report.measures`; a test compares the two.",
        "",
        f"{len(measures)} measures, {sum(m.fast for m in measures)} of them in the fast subset, "
        f"which costs {registry.passes([m for m in measures if m.fast]):.1f} forward-backward "
        "passes over the measured training examples.",
        "",
        "`passes` is the cost of a measure alone, in forward-backward passes; measures share "
        "intermediates, so several cost less than their sum. `larger is` says what theory claims "
        "of networks with larger values. A measure with conditions is a bound.",
    ]
    for family, title in registry.FAMILIES.items():
        mine = [m for m in measures if m.family == family]
        if mine:
            lines += ["", f"## {title} (`{family}`)", ""]
            lines += ["| measure | formula | larger is | needs | passes | fast | source |"]
            lines += ["|---|---|---|---|---|---|---|"]
            lines += [_line(m) for m in mine]
    return "\n".join([*lines, "", "## What measures may need", "", *_needs(), ""])


def _line(measure: Measure) -> str:
    formula = measure.formula + (f" Bound: {measure.conditions}" if measure.conditions else "")
    cells = (
        f"`{measure.name}`",
        formula,
        _WORSE[measure.larger_is_worse],
        ", ".join(registry.requirements(measure)),
        f"{registry.passes([measure]):.2g}",
        "yes" if measure.fast else "",
        measure.source,
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _needs() -> list[str]:
    return [f"- `{name}`: {words}" for name, words in NEEDS.items()]


def conclusions(relations: Relations, refused: Sequence[Refused]) -> list[str]:
    """Return what was measured and what was refused, in sentences.

    Args:
        relations: of the measured networks.
        refused: with rows of what was related.
    """
    networks = len(relations.networks.target)
    said = [f"{len(relations.table)} measures were related to the target over {networks} networks."]
    without: dict[str, set[int]] = {}
    for r in refused:
        without.setdefault(r.measure, set()).update(r.networks)
    whole = {name for name, rows in without.items() if len(rows) >= networks}
    some = set(without) - whole
    if some:
        said.append(
            f"{len(some)} measures have no value for some networks; the table of refusals says why."
        )
    if whole:
        said.append(f"Refused for every network: {', '.join(sorted(whole))}.")
    order = beside_published(relations)[0]
    return [*said, order] if order else said


def write(
    output: OutputFolder,
    relations: Relations,
    refused: Sequence[Refused],
    card: Mapping[str, Any],
    *,
    title: str,
    sentences: Sequence[str] = (),
    sections: Sequence[Section] = (),
) -> dict[str, pathlib.Path]:
    """Write tables, figures and the page of relations, with what was refused.

    Args:
        output: the folder.
        relations: from `genjax.statistics.relations`.
        refused: what has no value.
        card: from `genjax.report.provenance.run_card`.
        title: heading of the page.
        sentences: what an experiment has to say before.
        sections: what these rest on.
    """
    compared = beside_published(relations)[1]
    related = [*relations_report.section(output, relations), compared, refusals(refused)]
    said = [*conclusions(relations, refused), *relation_words.conclusions(relations)]
    text = page.render(title, [*sentences, *said], [*sections, *related], card)
    table = pd.DataFrame(
        [(r.measure, len(r.networks), r.reason) for r in refused],
        columns=["measure", "networks", "reason"],
    )
    return {
        "page": output.write_text(relations_report.PAGE, text),
        "table": output.write_text("relations.md", interval_markdown(relations, title)),
        "refused": output.write_csv("refused", table),
        **relations_report.write_tables(output, relations),
    }


def beside_published(relations: Relations) -> tuple[str, Section]:
    """Return a sentence and a table: our mean sign errors beside those of Dziugaite et al.

    The sentence compares orders by Spearman's correlation over the measures of both, with its
    two-sided p-value for unrelated orders (permutations, by scipy).

    Args:
        relations: of the measured networks.
    """
    ours = dict(
        zip(relations.table["measure"], _with_ends(relations, "sign_error_mean"), strict=True)
    )
    both = [name for name in MEAN_SIGN_ERRORS if name in ours and np.isfinite(ours[name][0])]
    title = "Beside the published order"
    if len(both) < 5:
        return "", Section(title, [f"Only {len(both)} of the 24 published measures are here."])
    published = np.array([MEAN_SIGN_ERRORS[name] for name in both])
    here = np.array([ours[name][0] for name in both])
    test = scipy.stats.permutation_test(
        (here,),
        lambda values: scipy.stats.spearmanr(published, values)[0],
        permutation_type="pairings",
        n_resamples=9999,
        rng=np.random.default_rng(0),
    )
    found, p = float(test.statistic), float(test.pvalue)
    judged = "agrees with" if found > 0 and p < 0.05 else "cannot be told to agree with"
    if found < 0 and p < 0.05:
        judged = "contradicts"
    sentence = (
        f"The order of {len(both)} measures by mean sign error {judged} the published one of "
        f"Dziugaite et al. (Spearman {signed(found)}, p = {p:.2g})."
    )
    columns = ("measure", "published mean sign error", "mean sign error here")
    rows = [(name, MEAN_SIGN_ERRORS[name], bracket(*ours[name])) for name in both]
    return sentence, Section(title, [sentence], (), [Table(title, columns, rows)])


def _with_ends(relations: Relations, statistic: str) -> list[tuple[float, float, float]]:
    names = [statistic, f"{statistic}_low", f"{statistic}_high"]
    return [(a, low, high) for a, low, high in relations.table[names].to_numpy(float).tolist()]


def interval_rows(relations: Relations) -> list[list[str]]:
    """Return every measure with tau, granulated tau, CMI and mean sign error, all with intervals.

    Args:
        relations: from `genjax.statistics.relations`; columns are `INTERVAL_COLUMNS`.
    """
    statistics = ("kendall", "granulated", "cmi", "sign_error_mean")
    columns = [_with_ends(relations, name) for name in statistics]
    cells = [[bracket(*one) if np.isfinite(one[0]) else "-" for one in c] for c in columns]
    return [[str(m), *row] for m, *row in zip(relations.table["measure"], *cells, strict=True)]


def interval_markdown(relations: Relations, title: str) -> str:
    """Return every measure with its statistics and verdict as a table for a README or an issue.

    The last column holds the mean sign error that Dziugaite et al. published, where they have one.

    Args:
        relations: from `genjax.statistics.relations`.
        title: heading.
    """
    networks = relations.networks
    lines = [
        f"# {title}",
        "",
        f"What predicts `{relations.target_name}` over {len(networks.target)} networks of "
        f"{len(np.unique(networks.configurations))} configurations; brackets hold "
        f"{relations.level:.0%} intervals over configurations.",
        "",
        "| measure | tau | granulated tau | CMI | mean sign error | verdict | published error |",
        "|---|---|---|---|---|---|---|",
    ]
    for row, verdict in zip(interval_rows(relations), relations.table["verdict"], strict=True):
        published = MEAN_SIGN_ERRORS.get(row[0])
        cells = [f"`{row[0]}`", *row[1:], verdict, "" if published is None else f"{published:.3f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def refusals(refused: Sequence[Refused]) -> Section:
    """Return the part of the page that says which measure has no value for which networks."""
    if not refused:
        return Section("Refusals", ["Every measure has a value for every network."])
    rows = [(r.measure, len(r.networks), r.reason) for r in refused]
    table = Table("Measures without a value", ("measure", "networks", "reason"), rows)
    return Section("Refusals", ["What could not be computed is left out and named."], (), [table])


if __name__ == "__main__":
    print(catalogue_markdown(), end="")
