"""What chance alone does: permutation p-values, many measures at once, reference measures."""

import itertools
import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from genjax.errors import InvalidInputError
from genjax.statistics.networks import MeasuredNetworks, complete_columns, group_means

Host = np.ndarray

LARGEST_FOR_KENDALL = 200
"""Configurations up to which tau is permuted: its pairs are 20,000 then; beyond, Spearman's rho."""

ORACLE_NOISE = (0.02, 0.05)
"""Standard deviations of the noisy oracles of Jiang et al. 2020, in units of the target."""


class Permutations(NamedTuple):
    """Permutation tests of all measures with the same permutations.

    Attributes:
        statistic: "kendall" (tau-b) or "spearman" (rho), of configuration means.
        observed: [M]; NaN where the measure or the target is constant.
        p_values: two-sided, [M].
        best: largest absolute value over the measures, one per permutation [B].
        best_p_value: share of permutations whose best reaches the observed best.
        permutations: B.
        exact: whether these are all permutations there are.
    """

    statistic: str
    observed: Float[Host, " measure"]
    p_values: Float[Host, " measure"]
    best: Float[Host, " permutation"]
    best_p_value: float
    permutations: int
    exact: bool


def permutation_tests(
    networks: MeasuredNetworks, *, permutations: int = 10_000, seed: int = 0
) -> Permutations:
    """Test every measure against the target by permuting configurations.

    Networks of one configuration are not exchangeable with others, so measure and target are first
    averaged over the seeds of each configuration; the K means of the target are then permuted. All
    K! permutations are taken if they are no more than asked for, and
    `p = #(|T*| >= |T|) / K!`; else `p = (1 + #(|T*| >= |T|)) / (B + 1)`. The permutations are the
    same for all measures, so `best` is the distribution of the best of M measures under the null
    hypothesis that none has to do with the target (Westfall and Young's maxT).

    The statistic is Kendall's tau-b up to 200 configurations, Spearman's rho beyond.

    Args:
        networks: what is tested.
        permutations: how many permutations at most.
        seed: of the permutations.

    Raises:
        InvalidInputError: `permutations` is not positive.

    References:
        Westfall and Young, Resampling-based multiple testing, 1993, algorithm 2.8.

    Example:
        >>> from genjax.statistics.networks import from_arrays
        >>> found = permutation_tests(from_arrays(np.arange(4.0)[:, None], np.arange(4.0)))
        >>> found.p_values.round(4).tolist(), found.exact  # 2 of 24 orders reach tau = 1 or -1
        ([0.0833], True)
    """
    if permutations < 1:
        raise InvalidInputError(f"permutations: found {permutations}; at least 1 is needed.")
    count = int(networks.configurations.max()) + 1
    orders, exact = _orders(count, permutations, seed)
    kendall = count <= LARGEST_FOR_KENDALL
    width = networks.measures.shape[1]
    observed, reached = np.full(width, np.nan), np.zeros(width)
    best = np.zeros(len(orders))
    for rows, columns in complete_columns(networks.measures):
        if rows.sum() < 2:
            continue
        target, measures, kept = _means(networks, rows, columns)
        prepared = _kendall_scores(measures) if kendall else _spearman_scores(measures)
        observed[columns] = _statistic(prepared, target, np.arange(len(kept))[None], kendall)[0]
        for chunk in _chunks(len(orders), len(target), kendall):
            values = np.abs(
                _statistic(prepared, target, _restricted(orders[chunk], kept, count), kendall)
            )
            # Rounding must not decide between equal arrangements.
            reached[columns] += (values >= np.abs(observed[columns]) - 1e-9).sum(0)
            best[chunk] = np.fmax(best[chunk], np.fmax.reduce(values, axis=1, initial=0.0))
    total = len(orders)
    p_values = reached / total if exact else (1 + reached) / (total + 1)
    p_values[np.isnan(observed)] = np.nan
    top = np.fmax.reduce(np.abs(observed), initial=0.0)
    beaten = int((best >= top - 1e-9).sum())
    return Permutations(
        "kendall" if kendall else "spearman",
        observed,
        p_values,
        best,
        beaten / total if exact else (1 + beaten) / (total + 1),
        total,
        exact,
    )


def _orders(count: int, permutations: int, seed: int) -> tuple[Int[Host, "B K"], bool]:
    if count <= 20 and math.factorial(count) <= permutations:
        return np.array(list(itertools.permutations(range(count)))), True
    generator = np.random.default_rng(seed)
    return generator.permuted(np.tile(np.arange(count), (permutations, 1)), axis=1), False


def _means(networks: MeasuredNetworks, rows: Host, columns: Host) -> tuple[Host, Host, Host]:
    """Means over the seeds of every configuration that has values, and which ones have."""
    values = np.column_stack([networks.target[rows], networks.measures[np.ix_(rows, columns)]])
    means, kept = group_means(values, networks.configurations[rows])
    return means[:, 0], means[:, 1:], kept


def _restricted(orders: Host, kept: Host, count: int) -> Host:
    """Orders of the kept configurations among themselves, from those of all."""
    if len(kept) == count:
        return orders
    code = np.full(count, -1)
    code[kept] = np.arange(len(kept))
    renamed = code[orders]
    return renamed[renamed >= 0].reshape(len(orders), len(kept))


def _chunks(total: int, count: int, kendall: bool) -> list[slice]:
    """Blocks of permutations that take about 64 MiB."""
    size = max(1, 2**24 // (count * (count - 1) // 2 + 1 if kendall else count))
    return [slice(start, min(start + size, total)) for start in range(0, total, size)]


def _kendall_scores(measures: Host) -> Host:
    """Signs of all differences [pairs, M]: sums of 19,900 of them are exact in float32."""
    a, b = np.triu_indices(len(measures), 1)
    return np.sign(measures[a] - measures[b]).astype(np.float32)


def _spearman_scores(measures: Host) -> Host:
    """Centred midranks [K, M] of unit length."""
    ranks = stats.rankdata(measures, axis=0)
    ranks = ranks - ranks.mean(0)
    length = np.sqrt((ranks**2).sum(0))
    return ranks / np.where(length > 0, length, np.nan)


def _statistic(scores: Host, target: Host, orders: Host, kendall: bool) -> Host:
    """Tau-b or rho of the measures with the target in each order [B, M]."""
    if not kendall:
        return _spearman_scores(target[:, None])[orders, 0] @ scores
    a, b = np.triu_indices(len(target), 1)
    # Pairs first: rows of permuted ranks are contiguous, which makes this several times faster.
    ranks = np.unique(target, return_inverse=True)[1].reshape(-1).astype(np.int16)[orders.T]
    signs = np.sign(ranks[a] - ranks[b]).astype(np.float32)
    untied = np.abs(signs[:, 0]).sum(dtype=np.float64) * np.abs(scores).sum(0, dtype=np.float64)
    concordance = (signs.T @ scores).astype(np.float64)
    return concordance / np.sqrt(np.where(untied > 0, untied, np.nan))


def holm(p_values: Float[Host, " measure"]) -> Float[Host, " measure"]:
    """Adjust p-values for many tests: Holm's step-down method, family-wise error; NaN stay out.

    References:
        Holm, A simple sequentially rejective multiple test procedure, Scand. J. Statist. 6 (1979).

    Example:
        >>> holm(np.array([0.01, 0.04, np.nan, 0.03])).round(4).tolist()
        [0.03, 0.06, nan, 0.06]
    """
    adjusted = np.full(len(p_values), np.nan)
    known = np.flatnonzero(~np.isnan(p_values))
    order = known[np.argsort(p_values[known], kind="stable")]
    factors = len(order) - np.arange(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(p_values[order] * factors), 1.0)
    return adjusted


def benjamini_hochberg(p_values: Float[Host, " measure"]) -> Float[Host, " measure"]:
    """Adjust p-values for the false discovery rate (Benjamini and Hochberg 1995); NaN stay out.

    Example:
        >>> benjamini_hochberg(np.array([0.01, 0.04, np.nan, 0.03])).round(4).tolist()
        [0.03, 0.04, nan, 0.04]
    """
    adjusted = np.full(len(p_values), np.nan)
    known = ~np.isnan(p_values)
    if known.any():
        adjusted[known] = stats.false_discovery_control(p_values[known], method="bh")
    return adjusted


def reference_measures(networks: MeasuredNetworks, *, seed: int = 0) -> MeasuredNetworks:
    """Return the same networks with the reference measures of Jiang et al. 2020 instead.

    - random: standard normal;
    - oracle s: target + N(0, s), s = 0.02 and 0.05 in units of the target, as in the paper;
    - canonical: the order that is known without any network: every hyper-parameter's values in
      their order (names by the mean target), turned so that it rises with the target, standardised
      and summed. Along one hyper-parameter this is the best fixed order of its values.

    Args:
        networks: the population.
        seed: of the noise.

    Example:
        >>> from genjax.statistics.networks import from_arrays
        >>> networks = from_arrays(np.zeros((4, 1)), np.arange(4.0), np.array([[1], [1], [0], [0]]))
        >>> found = reference_measures(networks)
        >>> found.measure_names, found.measures[:, 3].tolist()
        (('random', 'oracle 0.02', 'oracle 0.05', 'canonical'), [-1.0, -1.0, 1.0, 1.0])
    """
    generator = np.random.default_rng(seed)
    noise = generator.standard_normal((len(networks.target), 1 + len(ORACLE_NOISE)))
    columns = [noise[:, 0]]
    columns += [networks.target + s * noise[:, k + 1] for k, s in enumerate(ORACLE_NOISE)]
    names = ["random", *(f"oracle {s:g}" for s in ORACLE_NOISE)]
    if networks.levels.shape[1]:
        columns.append(_canonical(networks))
        names.append("canonical")
    return networks._replace(measures=np.column_stack(columns), measure_names=tuple(names))


def _canonical(networks: MeasuredNetworks) -> Float[Host, " network"]:
    total = np.zeros(len(networks.target))
    for codes, values in zip(networks.levels.T, networks.hyper_values, strict=True):
        order = codes.astype(np.float64)
        if any(isinstance(value, str) for value in values):
            means = np.bincount(codes, networks.target) / np.maximum(np.bincount(codes), 1)
            order = stats.rankdata(means)[codes]
        spread = order.std()
        if spread == 0:
            continue
        tau = np.asarray(stats.kendalltau(order, networks.target))[0]
        total += (-1.0 if tau < 0 else 1.0) * (order - order.mean()) / spread
    return total
