"""What every column of the tables of relations means, one line each, with its source."""

from genjax.report.page import Table

_JIANG = "Jiang et al., ICLR 2020"
_PGDL = "Jiang et al., PGDL, NeurIPS 2020"
_ROBUST = "Dziugaite et al., NeurIPS 2020"
_PRACTICAL = "Huang, Yu and Zhang 2025"

DEFINITIONS: dict[str, tuple[str, str]] = {
    "measure": ("what was measured on each network; larger is claimed to mean a larger target", ""),
    "n": ("networks with a finite value of the measure", ""),
    "configurations": ("settings of all hyper-parameters among them; seeds of one are not", ""),
    "kendall": (
        "tau-b over all pairs of networks: same order minus reverse order, over the root of the "
        "pairs untied in one times those untied in the other; 1 same, -1 reversed, 0 unrelated",
        "Kendall, Biometrika 1945",
    ),
    "spearman": ("Pearson correlation of the ranks, ties at their mean rank", "Spearman 1904"),
    "pearson": ("linear correlation; follows single large values", ""),
    "granulated": (
        "Psi: mean over the hyper-parameters of psi_i, and psi_i: mean of tau over groups of "
        "networks that share all hyper-parameters but the i-th",
        f"{_JIANG}, eq 4 and 5",
    ),
    "cmi": (
        "information that the order of two networks by the measure has about their order by the "
        "target, given two hyper-parameters of both, over the entropy of the latter; the smallest "
        "over pairs of hyper-parameters; 0 none, 1 all; no direction; biased upwards, which its "
        "interval corrects, so that the value can lie above it; over seeds where two "
        "hyper-parameters all but fix the configuration",
        _PGDL,
    ),
    "cmi_corrected": ("the same less its bias, which bootstrap draws estimate", ""),
    "cmi_argmin": ("the pair of hyper-parameters where it is smallest", _PGDL),
    "cmi_jiang": (
        "the same given no, one or two hyper-parameters; the smallest over these sets",
        f"{_JIANG}, section 3",
    ),
    "cmi_jiang_corrected": ("the same less its bias, which bootstrap draws estimate", ""),
    "cmi_jiang_argmin": ("the set of hyper-parameters where it is smallest", _JIANG),
    "sign_error_mean": (
        "mean over environments; an environment is two configurations, in either order, that "
        "differ in one hyper-parameter, its sign error the share of its pairs of networks that the "
        "measure orders wrong (weighted by how sure their order is, where the size of the test set "
        "was given); 0 none, 0.5 chance, 1 all",
        _ROBUST,
    ),
    "sign_error_p90": ("90th percentile over environments", _ROBUST),
    "sign_error_max": ("largest over environments: the worst case", _ROBUST),
    "sign_error": (
        "mean over all pairs of networks of (1 - sign sign) / 2; ties count one half",
        _PRACTICAL,
    ),
    "concordance": (
        "share of the pairs untied in the target that the measure orders like it; ties of the "
        "measure count one half",
        "Harrell et al. 1982",
    ),
    "partial_spearman": (
        "correlation of what least squares on the controls (by default all hyper-parameters) "
        "leaves of both ranks",
        "Conover 1999, section 5.4",
    ),
    "cross_fitted": (
        "the same for a flexible model of the hyper-parameters that did not see the network's "
        "configuration; follows bends and interactions",
        "Chernozhukov et al. 2018",
    ),
    "statistic_of_means": (
        "tau of the configurations' means over their seeds (Spearman's correlation where there are "
        "more than 200 configurations): what the permutation test compares with chance",
        "",
    ),
    "p_value": (
        "permutation test, two-sided: share of permutations of configurations (means over seeds) "
        "in which the measure relates as strongly",
        "",
    ),
    "p_adjusted": ("p value corrected for the number of measures", "Holm 1979"),
    "q_value": (
        "the same, but as expected share of false findings among all findings",
        "Benjamini and Hochberg 1995",
    ),
    "verdict": (
        "indistinguishable from chance: adjusted p not below one minus the level of the intervals; "
        "only through X: nothing of tau of configuration means is left among configurations that "
        "share the value of X (its bin, where X is continuous), and the loss is no chance; else "
        "predicts or anti-predicts, by the sign of that tau: not shown to come from one "
        "hyper-parameter, though it may come from several together, as canonical does",
        "",
    ),
    "robust_rmse": (
        "root-mean-square error of slope (not negative) times measure plus intercept in its worst "
        "environment, here all networks with one value of one hyper-parameter; slope and intercept "
        "make that as small as possible",
        f"{_ROBUST}, section 6",
    ),
    "rmse": (
        "root-mean-square error of ridge regression over the ranks of all measures, in networks "
        "with a value of a hyper-parameter that was held out",
        "",
    ),
    "bias_only_rmse": ("the same of predicting the mean of the others", ""),
}
"""Column -> what it is, and whose definition; columns with `_low` and `_high` are intervals."""


def table() -> Table:
    """Return the definitions as a table of the page.

    Example:
        >>> [row[0] for row in table().rows[:3]]
        ['measure', 'n', 'configurations']
    """
    rows = [[name, meaning, source] for name, (meaning, source) in DEFINITIONS.items()]
    return Table("Columns of the tables", ["column", "meaning", "source"], rows)
