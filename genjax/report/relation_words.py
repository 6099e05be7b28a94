"""What relations between measures and a target say, in sentences made by rule."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from genjax.report.phrases import bracket, count, join, signed, significant
from genjax.statistics import combination
from genjax.statistics.relation_parts import BIAS_ONLY
from genjax.statistics.relations import Relations
from genjax.statistics.verdict import ANTI_PREDICTS, CHANCE, PREDICTS, THROUGH

THROUGH_ANY = THROUGH.format("a hyper-parameter")
"""Every verdict "only through X", whatever X is."""

NO_VERDICT = "no verdict"
KINDS = (PREDICTS, ANTI_PREDICTS, THROUGH_ANY, CHANCE, NO_VERDICT)

CHANCE_LEVEL = 0.95
"""Share of permutations that the best of all measures must exceed."""

LOW_SIGN_ERROR = 0.25
"""Mean sign error that is half of what chance has."""

MOST_NAMES = 5
MOST_REASONS = 4

Row = Mapping[str, Any]

_VERBS = {
    PREDICTS: ("predicts {}", "predict {}"),
    ANTI_PREDICTS: ("anti-predicts {}", "anti-predict {}"),
    THROUGH_ANY: (
        "relates to {} only through a hyper-parameter",
        "relate to {} only through a hyper-parameter",
    ),
    CHANCE: ("cannot be told apart from chance", "cannot be told apart from chance"),
    NO_VERDICT: ("has no verdict", "have no verdict"),
}


def verdict_kind(verdict: Any) -> str:
    """Return which of `KINDS` a verdict is; the hyper-parameter in it is dropped.

    Example:
        >>> verdict_kind("only through hp.width"), verdict_kind("predicts"), verdict_kind(None)
        ('only through a hyper-parameter', 'predicts', 'no verdict')
    """
    text = verdict if isinstance(verdict, str) else ""
    if text.startswith(THROUGH.format("")):
        return THROUGH_ANY
    return text if text in KINDS else NO_VERDICT


def verdict_counts(relations: Relations) -> dict[str, int]:
    """Count the measures of every kind of verdict.

    Example:
        >>> empty = pd.DataFrame()
        >>> table = pd.DataFrame({"verdict": ["predicts", "only through hp.lr", "predicts"]})
        >>> found = Relations(table, *[empty] * 4, None, empty, empty, None, "gap", 0.95)
        >>> {kind: number for kind, number in verdict_counts(found).items() if number}
        {'predicts': 2, 'only through a hyper-parameter': 1}
    """
    kinds = [verdict_kind(verdict) for verdict in relations.table["verdict"]]
    return {kind: kinds.count(kind) for kind in KINDS}


def chance_limit(relations: Relations) -> float:
    """Return what the best of all measures stays below in 95 % of permutations; NaN if unknown.

    Example:
        >>> from genjax.statistics.relations import Chance
        >>> empty = pd.DataFrame()
        >>> chance = Chance("kendall", np.linspace(0, 1, 101), 101, False)
        >>> found = Relations(empty, *[empty] * 4, chance, empty, empty, None, "gap", 0.95)
        >>> round(chance_limit(found), 6)
        0.95
    """
    best = relations.chance.best
    best = best[np.isfinite(best)]
    return float(np.quantile(best, CHANCE_LEVEL, method="higher")) if len(best) else float("nan")


def conclusions(relations: Relations) -> list[str]:
    """Say what relations show, most important first.

    How many measures predict the target, which one best and whether it beats the best of as many
    measures by chance; which relate to it only through a hyper-parameter, in the wrong direction or
    not at all; whether the sign turns within hyper-parameters; the worst case; what all measures
    predict together; what was left out. Brackets hold the intervals.

    Args:
        relations: from `genjax.statistics.relations`.

    Example:
        >>> from genjax.statistics.networks import from_arrays
        >>> from genjax.statistics.relations import Chance
        >>> empty = pd.DataFrame()
        >>> networks = from_arrays(np.zeros((9, 0)), np.arange(9.0))
        >>> chance = Chance("kendall", np.zeros(0), 0, False)
        >>> nothing = pd.DataFrame(columns=["what", "name", "networks", "reason"])
        >>> found = Relations(*[empty] * 4, nothing, chance, empty, empty, networks, "gap", 0.95)
        >>> conclusions(found)
        ['No measure is left that could be related to gap.']
    """
    rows, target = _rows(relations.table), relations.target_name
    groups: dict[str, list[Row]] = {kind: [] for kind in KINDS}
    for row in rows:
        groups[verdict_kind(row["verdict"])].append(row)
    found = [_overview(relations, groups)]
    if rows:
        found += _strongest(relations, groups[PREDICTS] or rows)
        found += _also(target, groups[PREDICTS])
        found += _through(target, groups[THROUGH_ANY])
        found += _anti(target, groups[ANTI_PREDICTS])
        found += _chance(groups[CHANCE]) if len(rows) > len(groups[CHANCE]) else []
        found += _reversals(rows)
        found += _sign_errors(relations, rows)
    found += _combination(relations)
    found += _worst_case(relations)
    return found + _dropped(relations)


def _rows(table: pd.DataFrame) -> list[Row]:
    return [{str(k): v for k, v in row.items()} for row in table.to_dict("records")]


def _with(row: Row, name: str) -> str:
    return bracket(row[name], row[f"{name}_low"], row[f"{name}_high"])


def _taus(rows: Sequence[Row]) -> str:
    """List measures with their tau."""
    return join([f"{row['measure']} ({_with(row, 'kendall')})" for row in rows], MOST_NAMES)


def _overview(relations: Relations, groups: Mapping[str, list[Row]]) -> str:
    target, total = relations.target_name, len(relations.table)
    if not total:
        return f"No measure is left that could be related to {target}."
    sizes = {kind: len(rows) for kind, rows in groups.items() if rows}
    verbs = [_VERBS[kind][size > 1] for kind, size in sizes.items()]
    # The target is named once, at its first place; the rest of the sentence says "it".
    named = next((i for i, verb in enumerate(verbs) if "{}" in verb), None)
    verbs = [verb.format(target if i == named else "it") for i, verb in enumerate(verbs)]
    if total == 1:
        text = f"{relations.table['measure'].iloc[0]} {verbs[0]}"
    elif sizes == {CHANCE: total}:
        text = f"None of {total} measures can be told apart from chance"
    elif len(sizes) == 1:
        text = f"All {total} measures {verbs[0]}"
    else:
        parts = [f"{n} {verb}" for n, verb in zip(sizes.values(), verbs, strict=True)]
        text = f"Of {total} measures {join(parts)}"
    ending = "" if named is not None else f" as a predictor of {target}"
    return f"{text}{ending} ({_scope(relations)})."


def _scope(relations: Relations) -> str:
    networks = relations.networks
    text = count(len(networks.target), "network")
    if networks.hyper_names:
        text += f" of {count(len(set(networks.configurations.tolist())), 'configuration')}"
        text += f", {count(len(networks.hyper_names), 'hyper-parameter')}"
    if np.isfinite(relations.table["kendall_low"].to_numpy(np.float64)).any():
        return f"{text}; brackets hold {relations.level:.0%} intervals over configurations"
    return f"{text}; no number has an interval"


def _strongest(relations: Relations, candidates: Sequence[Row]) -> list[str]:
    """Say which measure has the largest tau, and what the best of all reaches by chance."""
    known = [row for row in candidates if np.isfinite(row["kendall"])]
    if not known:
        return []
    best = max(known, key=lambda row: abs(row["kendall"]))
    predicts = verdict_kind(best["verdict"]) == PREDICTS
    lead = "The strongest predictor is" if predicts else "The measure with the largest tau is"
    text = f"{lead} {best['measure']}, with Kendall's tau {_with(best, 'kendall')}"
    limit, total = chance_limit(relations), len(relations.table)
    if total == 1:
        text = f"{best['measure']} has Kendall's tau {_with(best, 'kendall')}"
    if not np.isfinite(limit):
        return [f"{text}."]
    value = best["statistic_of_means"]
    name = "Spearman correlation" if relations.chance.statistic == "spearman" else "tau"
    subject = ""
    if name != "tau" or not np.isclose(value, best["kendall"]):
        seeded = best["n"] > best["configurations"]
        subject = f"its {name}{' over configuration means' if seeded else ''}, {signed(value)}, is "
    if value < 0:
        subject += "in absolute value "
    more = "more" if abs(value) > limit else "not more"
    who = (
        "chance alone reaches" if total == 1 else f"the best of {total} measures reaches by chance"
    )
    chance = relations.chance
    number = f"all {chance.permutations:,}" if chance.exact else f"{chance.permutations:,}"
    return [
        f"{text}: {subject}{more} than the {signed(limit)} that {who} (95th percentile over "
        f"{number} permutations of configurations)."
    ]


def _also(target: str, predictors: Sequence[Row]) -> list[str]:
    ordered = sorted(predictors, key=lambda row: -abs(row["kendall"]))[1:]
    if not ordered:
        return []
    return [f"{_taus(ordered)} also {_VERBS[PREDICTS][len(ordered) > 1].format(target)}."]


def _through(target: str, rows: Sequence[Row]) -> list[str]:
    """Name what relates to the target only through each hyper-parameter."""
    by_verdict: dict[str, list[Row]] = {}
    for row in rows:
        by_verdict.setdefault(row["verdict"], []).append(row)
    return [
        f"{_taus(members)} {'relate' if len(members) > 1 else 'relates'} to {target} {verdict}."
        for verdict, members in by_verdict.items()
    ]


def _anti(target: str, rows: Sequence[Row]) -> list[str]:
    if not rows:
        return []
    if len(rows) == 1:
        return [
            f"{_taus(rows)} anti-predicts {target}: the larger it is, the smaller {target} tends "
            "to be."
        ]
    return [
        f"{_taus(rows)} anti-predict {target}: the larger they are, the smaller {target} tends to "
        "be."
    ]


def _chance(rows: Sequence[Row]) -> list[str]:
    if not rows:
        return []
    return [f"{join([r['measure'] for r in rows], MOST_NAMES)} cannot be told apart from chance."]


def _side(row: Row, name: str) -> int:
    """Return the sign of a statistic if it is known and its interval excludes zero, else 0."""
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    if not np.isfinite(row[name]):
        return 0
    return 1 if low > 0 else -1 if high < 0 else 0


def _reversals(rows: Sequence[Row]) -> list[str]:
    """Say which measures turn their sign when hyper-parameters are taken out."""
    kinds = {
        "granulated": ("within single hyper-parameters", "granulated tau"),
        "partial_spearman": ("with the controls held fixed", "partial Spearman"),
    }
    found, judged = [], []
    for name, (where, label) in kinds.items():
        if not any(_side(row, "kendall") and np.isfinite(row[f"{name}_low"]) for row in rows):
            continue
        judged.append(where)
        turned = [row for row in rows if _side(row, name) * _side(row, "kendall") < 0]
        if turned:
            parts = [
                f"{row['measure']} (tau {_with(row, 'kendall')}, {label} {_with(row, name)})"
                for row in turned
            ]
            verb = "reverses its sign" if len(turned) == 1 else "reverse their sign"
            found.append(f"{join(parts, MOST_NAMES)} {verb} {where} (Simpson's paradox).")
    if judged and not found:
        found = [
            f"No measure clearly reverses its sign {' or '.join(judged)} (both intervals would "
            "exclude zero)."
        ]
    return found


def _sign_errors(relations: Relations, rows: Sequence[Row]) -> list[str]:
    """Say what happens in the worst environment, and which mean sign error is the smallest."""
    rows = [row for row in rows if np.isfinite(row["sign_error_mean"])]
    total, number = len(rows), len(relations.environments)
    if not rows or not number:
        return []
    where = (
        f"{count(number, 'environment')} (two configurations that differ in one hyper-parameter)"
    )
    best = min(rows, key=lambda row: (row["sign_error_max"], row["sign_error_mean"]))
    reaching = sum(row["sign_error_max"] >= 1 for row in rows)
    if reaching == total:
        who = f"each of {total} measures" if total > 1 else best["measure"]
        worst = f"Over {where} {who} orders at least one entirely wrong (sign error 1)."
    else:
        worst = f"Over {where} the largest sign error of {best['measure']} is "
        worst += f"{best['sign_error_max']:.3f}"
        if total > 1:
            worst += f", the smallest of {total}; {reaching or 'none'} of them "
            worst += "reaches 1" if reaching < 2 else "reach 1"
        worst += "."
    mean = min(rows, key=lambda row: row["sign_error_mean"])
    text = f"The mean sign error of {mean['measure']} is {_with(mean, 'sign_error_mean')}"
    if total > 1:
        low = sum(row["sign_error_mean"] < LOW_SIGN_ERROR for row in rows)
        text += f", the smallest of {total}; {low or 'none'} of them {'is' if low < 2 else 'are'}"
        text += f" below {LOW_SIGN_ERROR}"
    return [worst, f"{text} (chance: 0.5)."]


def _combination(relations: Relations) -> list[str]:
    """Compare the regression over all measures with a constant, where neither was fitted."""
    if not len(relations.combination):
        return []
    found = combination.summarise(relations.combination)
    if not found.environments:
        return []
    better = round(found.better_share * found.environments)
    return [
        "A regression over all measures together, with one value of one hyper-parameter held out, "
        f"misses {relations.target_name} there by {significant(found.rmse)} on average (mean "
        f"root-mean-square error), a constant by {significant(found.bias_only_rmse)}; its error is "
        f"the smaller one in {better} of {found.environments} (no interval)."
    ]


def _worst_case(relations: Relations) -> list[str]:
    """Say whether an affine function of one measure beats a constant in its worst environment."""
    table = relations.worst_case
    if not len(table):
        return []
    rows = [row for row in _rows(table) if np.isfinite(row["robust_rmse"])]
    constant = [row["robust_rmse"] for row in rows if row["measure"] == BIAS_ONLY]
    fits = [row for row in rows if row["measure"] != BIAS_ONLY]
    if not fits or not constant:
        return []
    best, limit = min(fits, key=lambda row: row["robust_rmse"]), significant(constant[0])
    smallest = significant(best["robust_rmse"])
    # What is written alike is not said to differ: a slope of 0 is the constant but for rounding.
    if best["robust_rmse"] >= constant[0] or smallest == limit:
        return [
            "No rising affine function of one measure has a smaller error in its worst environment "
            f"than a constant ({limit})."
        ]
    return [
        f"Of rising affine functions of one measure, that of {best['measure']} has the smallest "
        f"root-mean-square error in its worst environment, {best['worst_environment']}: {smallest} "
        f"against {limit} for a constant, both fitted to the same networks."
    ]


def _dropped(relations: Relations) -> list[str]:
    """Say what was left out and why, grouped by kind and reason."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in _rows(relations.dropped):
        groups.setdefault((str(row["what"]), str(row["reason"]).rstrip(".")), []).append(row)
    if not groups:
        return []
    total = len(relations.networks.target)
    parts = []
    for (what, reason), rows in groups.items():
        most = max(int(row["networks"]) for row in rows)
        if what == "networks":
            verb = reason.replace("have", "has", 1) if most == 1 else reason
            parts.append(f"{count(most, 'network')} ({verb})")
            continue
        names = join([str(row["name"]) for row in rows], MOST_NAMES)
        several = len(rows) > 1
        affected = f"{'up to ' * several}{count(most, 'network')}: " if most < total else ""
        parts.append(f"{what}{'s' * several} {names} ({affected}{'each ' * several}{reason})")
    if len(parts) > MOST_REASONS:
        parts = [*parts[:MOST_REASONS], f"{len(parts) - MOST_REASONS} more kinds"]
    return [f"Left out, wholly or in part: {'; '.join(parts)}."]
