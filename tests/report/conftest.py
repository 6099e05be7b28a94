"""Relations to report on: made by loops from networks with known structure."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from genjax.statistics.networks import MeasuredNetworks
from genjax.statistics.relations import COLUMNS, Chance, Relations
from genjax.statistics.verdict import ANTI_PREDICTS, CHANCE, PREDICTS, THROUGH

HYPERS = {"lr": (0.01, 0.03, 0.1), "width": (8, 16, 32), "optimizer": ("adam", "sgd")}
WITH_INTERVAL = (
    *("kendall", "spearman", "pearson", "granulated", "cmi", "cmi_jiang"),
    *("sign_error_mean", "sign_error_p90", "partial_spearman"),
)


def make_networks(measures, runs, depths, rng):
    """Return networks whose target rises with width and depth, and measures of all kinds."""
    values = [*HYPERS.values(), tuple(range(1, depths + 1))]
    grid = np.array(list(itertools.product(*(range(len(v)) for v in values))))
    levels = np.repeat(grid, runs, axis=0)
    count = len(levels)
    lr, width, _, depth = levels.T
    own = rng.normal(size=count)
    target = 0.2 + 0.02 * lr + 0.05 * width + 0.01 * depth + 0.03 * own
    columns, names = [], []
    for k in range(measures):
        noise = rng.normal(size=count)
        # In turn: what predicts, what width alone brings about, what anti-predicts, and noise.
        kinds = (target / 0.06 + (0.3 + 0.1 * k) * noise, width + 0.3 * noise)
        kinds += (-own - 0.5 * width + noise, noise)
        columns.append(np.exp(3 * kinds[k % 4]) if k % 3 == 0 else kinds[k % 4])
        kind = ("flatness", "log_prod_of_spectral_norms", "margin", "entropy")[k % 4]
        names.append(f"{kind}_{k}")
    return MeasuredNetworks(
        np.stack(columns, 1),
        target,
        levels,
        np.repeat(np.arange(len(grid)), runs),
        np.tile(np.arange(runs), len(grid)),
        tuple(names),
        (*HYPERS, "depth"),
        tuple(values),
        np.zeros(count, np.int64),
    )


def tau(a, b):
    if len(a) < 2:
        return 0.0
    value = stats.kendalltau(a, b).statistic
    return 0.0 if np.isnan(value) else float(value)


def granulated(networks, column, hyper):
    others = np.delete(networks.levels, hyper, axis=1)
    _, cell = np.unique(np.c_[others, networks.seeds], axis=0, return_inverse=True)
    found = [tau(column[cell == c], networks.target[cell == c]) for c in np.unique(cell)]
    return float(np.mean(found))


def environment_rows(networks):
    rows = []
    first = {c: np.flatnonzero(networks.configurations == c) for c in set(networks.configurations)}
    for a, b in itertools.permutations(sorted(first), 2):
        differs = np.flatnonzero(networks.levels[first[a][0]] != networks.levels[first[b][0]])
        if len(differs) != 1:
            continue
        i, j = (g.ravel() for g in np.meshgrid(first[a], first[b]))
        gap = np.sign(networks.target[i] - networks.target[j])
        order = np.sign(networks.measures[i] - networks.measures[j])
        errors = (0.5 * (1 - order * gap[:, None])).mean(0)
        rows.append([networks.hyper_names[differs[0]], a, b, len(i) / 2, float(len(i)), *errors])
    columns = ["hyperparameter", "source_config", "destination_config", "weight_sum"]
    columns += ["effective_sample_size", *networks.measure_names]
    return pd.DataFrame(rows, columns=columns)


def row_of(networks, k, errors, best):
    """Return the row of one measure; interval ends are made up around true values."""
    column, target = networks.measures[:, k], networks.target
    psi = [granulated(networks, column, h) for h in range(networks.levels.shape[1])]
    values = {
        "kendall": tau(column, target),
        "spearman": float(stats.spearmanr(column, target).statistic),
        "pearson": float(stats.pearsonr(column, target).statistic),
        "granulated": float(np.mean(psi)),
        "sign_error_mean": float(errors.mean()),
        "sign_error_p90": float(np.quantile(errors, 0.9)),
    }
    values["cmi"] = max(values["granulated"], 0.0) ** 2
    values["cmi_jiang"] = 0.8 * values["cmi"]
    residuals = [
        stats.rankdata(v)
        - pd.Series(stats.rankdata(v)).groupby(networks.configurations).transform("mean")
        for v in (column, target)
    ]
    values["partial_spearman"] = float(np.corrcoef(*residuals)[0, 1])
    row = {"measure": networks.measure_names[k], "n": len(target)}
    row["configurations"] = int(networks.configurations.max()) + 1
    for name in WITH_INTERVAL:
        row[name] = values[name]
        row[f"{name}_low"], row[f"{name}_high"] = values[name] - 0.09, values[name] + 0.07
    row |= {"cmi_argmin": "lr, width", "cmi_jiang_argmin": "width"}
    row |= {"cmi_corrected": row["cmi"] - 0.01, "cmi_jiang_corrected": row["cmi_jiang"] - 0.01}
    row |= {"sign_error_max": float(errors.max()), "sign_error": (1 - values["kendall"]) / 2}
    row |= {"concordance": (1 + values["kendall"]) / 2, "cross_fitted": values["partial_spearman"]}
    p = float(stats.kendalltau(column, target).pvalue)
    row |= {"statistic_of_means": row["kendall"]}
    row |= {"p_value": p, "p_adjusted": min(1.0, p * networks.measures.shape[1]), "q_value": p}
    if abs(values["kendall"]) < best:
        row["verdict"] = CHANCE
    elif abs(values["partial_spearman"]) < 0.1:
        row["verdict"] = THROUGH.format("width")
    else:
        row["verdict"] = PREDICTS if values["kendall"] > 0 else ANTI_PREDICTS
    return row, psi


def by_hyper_rows(networks, environments, psi):
    rows = []
    for k, measure in enumerate(networks.measure_names):
        for h, hyper in enumerate(networks.hyper_names):
            own = environments.loc[environments.hyperparameter == hyper, measure]
            column, codes = networks.measures[:, k], networks.levels[:, h]
            within = [
                tau(column[codes == c], networks.target[codes == c]) for c in np.unique(codes)
            ]
            found = {
                "granulated": psi[k][h],
                "stratified": float(np.mean(within)),
                "sign_error_mean": own.mean(),
                "sign_error_p90": own.quantile(0.9),
                "sign_error_max": own.max(),
            }
            rows += [[measure, hyper, s, v, v - 0.1, v + 0.1, len(own)] for s, v in found.items()]
    columns = ["measure", "hyper", "statistic", "value", "low", "high", "count"]
    return pd.DataFrame(rows, columns=columns)


def make(measures=14, runs=4, depths=3, seed=0):
    """Return relations of 18 x `depths` configurations with `runs` seeds each."""
    rng = np.random.default_rng(seed)
    networks = make_networks(measures, runs, depths, rng)
    environments = environment_rows(networks)
    best = np.abs(rng.normal(0, 0.04, (500, max(measures, 1)))).max(1)
    limit = float(np.quantile(best, 0.95))
    found = [
        row_of(networks, k, environments[name], limit)
        for k, name in enumerate(networks.measure_names)
    ]
    table = pd.DataFrame([row for row, _ in found], columns=list(COLUMNS))
    table = table.sort_values("kendall", key=np.abs, ascending=False, ignore_index=True)
    numbers = table.drop(columns=["measure", "verdict"]).iloc[[0] * 4].reset_index(drop=True)
    references = pd.DataFrame({"measure": ["random", "oracle 0.02", "oracle 0.05", "canonical"]})
    references = references.join(numbers).assign(kendall=[0.01, 0.8, 0.7, 0.6], verdict="")
    for end, shift in (("low", -0.1), ("high", 0.1)):
        references[f"kendall_{end}"] = references["kendall"] + shift
    dropped = pd.DataFrame(
        [
            ["networks", "gap", 1, "have no finite target"],
            ["measure", "constant", 216, "has the same value for every network"],
            ["measure", "zero", 216, "has the same value for every network"],
            ["measure", "margin_2", 9, "is not finite for these networks"],
        ],
        columns=["what", "name", "networks", "reason"],
    )
    combination = pd.DataFrame(
        [["width = 8", 72, 0.02, 0.05], ["lr = 0.01", 72, 0.03, 0.02]],
        columns=["held_out", "networks", "rmse", "bias_only_rmse"],
    )
    worst_case = pd.DataFrame(
        [
            ["bias only", np.nan, 0.25, 0.09, "width = 32"],
            *([name, 0.1, 0.2, 0.05, "lr = 0.1"] for name in networks.measure_names[:3]),
        ],
        columns=["measure", "slope", "intercept", "robust_rmse", "worst_environment"],
    )
    return Relations(
        table,
        by_hyper_rows(networks, environments, [psi for _, psi in found]),
        environments,
        references,
        dropped,
        Chance("kendall", best, 500, False),
        combination,
        worst_case,
        networks,
        "gap",
        0.95,
    )


def without_hypers(found):
    """Return what is left where there are no hyper-parameters: no environments, many NaN."""
    names = ["granulated", "cmi", "cmi_jiang", "sign_error_mean", "sign_error_p90"]
    names = [f"{n}{end}" for n in [*names, "partial_spearman"] for end in ("", "_low", "_high")]
    names += ["sign_error_max", "cross_fitted", "cmi_corrected", "cmi_jiang_corrected"]
    networks = found.networks._replace(
        levels=np.zeros((len(found.networks.target), 0), np.int64), hyper_names=(), hyper_values=()
    )
    empty = dict.fromkeys(names, np.nan) | {"cmi_argmin": "", "cmi_jiang_argmin": ""}
    return found._replace(
        table=found.table.assign(**empty),
        references=found.references.assign(**empty),
        by_hyper=found.by_hyper.iloc[:0],
        environments=found.environments.iloc[:0],
        combination=found.combination.iloc[:0],
        worst_case=found.worst_case.iloc[:0],
        networks=networks,
    )


@pytest.fixture(scope="session")
def relations():
    """14 measures on 54 configurations with 4 seeds each, 4 hyper-parameters."""
    return make()


@pytest.fixture(scope="session")
def make_relations():
    """The function that makes relations of another size."""
    return make


@pytest.fixture(scope="session")
def bare_relations(relations):
    """The same without hyper-parameters."""
    return without_hypers(relations)
