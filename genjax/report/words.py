"""What the numbers say, in sentences made by rule, most important first."""

from collections.abc import Mapping

from genjax.metrics.practical_grid import Axes, Grid
from genjax.report import sentences as say
from genjax.report import shape_words
from genjax.report.phrases import join
from genjax.statistics.analysis import Analysis, FamilyAnalysis, GridAnalysis

CONVERGED = 0.9
"""Share of bootstrap draws that must converge for an interval to pass without a warning."""


def conclusions(analysis: Analysis) -> list[str]:
    """Say what an analysis shows, most important first.

    Which family generalizes better and whether the interval excludes zero; what the intervals do
    not cover; how far robustness and novelty carry each; how much of each trade-off point is prior;
    what kappa adds; what the paper's choices change; what was left out. Brackets hold the intervals
    of the analysis. What else there is to say about the trade-off points is in `details`, about the
    shapes of the paper's figure in `shapes`.

    Example:
        >>> import pandas as pd
        >>> empty = Analysis({}, {}, [], pd.DataFrame(columns=["protocol"]), ["mlp is left out."])
        >>> conclusions(empty)
        ['mlp is left out.']
    """
    families = analysis.families
    sentences = say.comparison_sentences(analysis.comparisons)
    if len(families) == 1:
        name, only = next(iter(families.items()))
        sentences.append(say.only_sentence(name, only.intervals.grand_means["error_mean"]))
    sentences += _coverage(analysis)
    sentences += [
        say.reach_sentence(name, family.reach, _axes(family.whole.grid))
        for name, family in families.items()
    ]
    for name, family in families.items():
        found = family.intervals
        sentences.append(
            say.prior_sentence(
                name, family.whole.point, family.whole.prior, found.point, found.prior_share
            )
        )
        if found.converged < CONVERGED:
            sentences.append(
                f"Only {found.converged:.0%} of the bootstrap draws of {name} converged to a "
                "trade-off point: read its intervals with care."
            )
    sentences += [say.kappa_sentence(name, f.whole.redundancy) for name, f in families.items()]
    sentences += say.paper_sentences(analysis.protocols)
    sentences += _paper_order(analysis)
    return [sentence for sentence in [*sentences, *analysis.dropped] if sentence]


def shapes(families: Mapping[str, FamilyAnalysis | GridAnalysis]) -> list[str]:
    """Say of every family with intervals whether its error moves as in the paper's figure 2.

    Example:
        >>> shapes({})
        []
    """
    return [
        sentence
        for name, found in families.items()
        if isinstance(found, FamilyAnalysis)
        for sentence in shape_words.shape_sentences(name, found.intervals)
    ]


def details(analysis: Analysis) -> list[str]:
    """Say the bounds of each family and how far its trade-off point moves under open choices.

    Example:
        >>> import pandas as pd
        >>> details(Analysis({}, {}, [], pd.DataFrame(columns=["protocol"]), []))
        []
    """
    sentences = []
    for name, family in analysis.families.items():
        bounds = family.intervals.bounds
        sentences.append(say.bounds_sentence(name, family.whole.bounds, bounds))
        sentences.append(say.sensitivity_sentence(name, family.whole.spread))
    return [sentence for sentence in sentences if sentence]


def grid_conclusions(name: str, grid_analysis: GridAnalysis) -> list[str]:
    """Say what a grid without replicates shows.

    Args:
        name: what to call the grid, e.g. the family.
        grid_analysis: from `genjax.statistics.analysis.analyse_grid`.

    Example:
        >>> import numpy as np
        >>> from genjax.metrics.practical_grid import Statistics, make_grid
        >>> from genjax.statistics.analysis import analyse_grid
        >>> axes = Axes(np.array([38.0, 420.0]), np.array([0.6, 1.0]), np.array([0.0, 0.5]))
        >>> grid = make_grid(axes, Statistics(*[np.full((2, 2, 2), 0.25)] * 6))
        >>> grid_conclusions("CLIP", analyse_grid(grid))[0]
        'CLIP: mean error 0.250 and mean kappa distance 0.250 over 8 cells.'
    """
    cells = grid_analysis.grid.statistics
    error, kappa = cells["error_mean"], cells["kappa_mean"]
    front = int(grid_analysis.pareto.sum())
    return [
        f"{name}: mean error {error.mean():.3f} and mean kappa distance {kappa.mean():.3f} over "
        f"{error.size} cells.",
        say.prior_sentence(name, grid_analysis.point, grid_analysis.prior),
        say.bounds_sentence(name, grid_analysis.bounds),
        say.sensitivity_sentence(name, grid_analysis.spread),
        say.kappa_sentence(name, grid_analysis.redundancy),
        f"No other cell beats {front} of the {error.size} cells in error, SSIM, share of novel "
        "classes and size at once (Pareto front).",
        "The grid has no replicates, so no number here has an interval.",
    ]


def _coverage(analysis: Analysis) -> list[str]:
    """Say it where intervals are over classes alone."""
    alone = [n for n, f in analysis.families.items() if "seeds" not in f.intervals.factors]
    if not alone:
        return []
    who = "" if len(alone) == len(analysis.families) else f"Of {join(alone)} "
    lead = f"{who}there is one network per size"
    return [
        f"{lead[:1].upper()}{lead[1:]}: intervals are over classes, each with its images, and over "
        "nothing else. Whether the same training with another seed would give the same is not in "
        "them."
    ]


def _paper_order(analysis: Analysis) -> list[str]:
    """Say whether the paper's choices keep the order of families that the clean protocol tells."""
    sentences = []
    clean = {comparison.names: comparison for comparison in analysis.comparisons}
    for paper in analysis.paper_comparisons:
        comparison = clean.get(paper.names)
        if comparison is None or not comparison.excludes_zero:
            continue
        a, b = paper.names
        means = f"mean errors {paper.means[0]:.3f} and {paper.means[1]:.3f}"
        if not paper.excludes_zero:
            sentences.append(
                f"Under the paper's choices {a} and {b} cannot be told apart: {means}."
            )
        else:
            verb = "keep" if paper.winner == comparison.winner else "reverse"
            sentences.append(f"The paper's choices {verb} the order of {a} and {b}: {means}.")
    return sentences


def _axes(grid: Grid) -> Axes:
    return Axes(grid.size, grid.ssim, grid.novel_share)
