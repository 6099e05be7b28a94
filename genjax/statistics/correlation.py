"""Agreement between measures and a target over networks, and its bootstrap. Host float64.

Tables are complete: no NaN. A measure or a target that is constant has no order to agree with, and
every statistic of it is NaN.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import Float, Int
from threadpoolctl import threadpool_limits

from genjax.errors import InvalidInputError, suggest
from genjax.statistics.pair_draws import (
    WORKERS,
    Pairs,
    concordant_share,
    count_pairs,
    count_pairs_in_draws,
    mean_sign_error,
    tau_b,
)
from genjax.statistics.ranks import centred_values, correlate, places, rank_correlations

Host = np.ndarray
OF_PAIRS: dict[str, Callable[[Pairs], Host]] = {
    "kendall": tau_b,
    "concordance": concordant_share,
    "plain_sign_error": mean_sign_error,
}
OF_RANKS = ("spearman", "partial_spearman")
STATISTICS = (*OF_PAIRS, *OF_RANKS, "pearson")
# Numbers in one block of draws x columns x networks.
LARGEST = 2_000_000


def kendall(
    target: Float[Host, " network"], measures: Float[Host, "network measure"]
) -> Float[Host, " measure"]:
    """Kendall's tau-b of every measure with the target.

    tau_b = (C - D) / sqrt((P - T_m) (P - T_t)) over all P pairs of networks: C in the same order, D
    in the reverse order, T tied in the measure or in the target.

    References:
        Kendall, The treatment of ties in ranking problems, Biometrika 33 (1945).

    Example:
        >>> import numpy as np
        >>> kendall(np.array([1.0, 2.0, 3.0]), np.array([[3.0], [2.0], [1.0]])).tolist()
        [-1.0]
    """
    return tau_b(count_pairs(target, measures))[0]


def concordance(
    target: Float[Host, " network"], measures: Float[Host, "network measure"]
) -> Float[Host, " measure"]:
    """Share of the pairs untied in the target that the measure orders alike; its ties count half.

    (d + 1) / 2 with Somers' d of the measure given the target; 0.5 is chance.

    References:
        Somers, A new asymmetric measure of association for ordinal variables, American
        Sociological Review 27 (1962).

    Example:
        >>> import numpy as np
        >>> concordance(np.array([1.0, 2.0, 2.0]), np.array([[1.0], [2.0], [1.0]])).tolist()
        [0.75]
    """
    return concordant_share(count_pairs(target, measures))[0]


def plain_sign_error(
    target: Float[Host, " network"], measures: Float[Host, "network measure"]
) -> Float[Host, " measure"]:
    """Mean over all pairs of [1 - sign(C1 - C2) sign(g1 - g2)] / 2.

    C is the measure and g the target; ties of either count one half; 0 is the same order, 0.5
    chance, 1 the reverse. No pair is weighted, unlike in the robust sign error.

    Example:
        >>> import numpy as np
        >>> plain_sign_error(np.array([1.0, 2.0]), np.array([[5.0], [3.0]])).tolist()
        [1.0]
    """
    return mean_sign_error(count_pairs(target, measures))[0]


def spearman(
    target: Float[Host, " network"], measures: Float[Host, "network measure"]
) -> Float[Host, " measure"]:
    """Spearman's rho: Pearson correlation of the midranks.

    Example:
        >>> import numpy as np
        >>> spearman(np.array([1.0, 2.0, 3.0]), np.array([[1.0], [3.0], [2.0]])).round(6).tolist()
        [0.5]
    """
    columns = [places(column) for column in (target, *measures.T)]
    return rank_correlations(columns, [], np.ones((1, len(target))))[0][0]


def pearson(
    target: Float[Host, " network"], measures: Float[Host, "network measure"]
) -> Float[Host, " measure"]:
    """Pearson's product-moment correlation.

    Example:
        >>> import numpy as np
        >>> pearson(np.array([1.0, 2.0, 4.0]), np.array([[-2.0], [-4.0], [-8.0]])).round(6).tolist()
        [-1.0]
    """
    return _pearson([target, *measures.T], np.ones((1, len(target))))[0]


def bootstrap(
    statistics: tuple[str, ...],
    target: Float[Host, " network"],
    measures: Float[Host, "network measure"],
    multiplicities: Int[Host, "draw network"],
    *,
    design: Float[Host, "network control"] | None = None,
) -> dict[str, Float[Host, "draw measure"]]:
    """Compute statistics in every bootstrap sample, as from a table with repeated rows.

    Nothing is sorted twice (see `genjax.statistics.ranks` and `genjax.statistics.pair_draws`).
    Controls are ranked anew in every sample, as everything else is.

    Args:
        statistics: some of "kendall", "concordance", "plain_sign_error", "spearman",
            "partial_spearman", "pearson".
        target: [N].
        measures: [N, M].
        multiplicities: how often each network is in each sample, as from
            `genjax.statistics.networks.configuration_draws`.
        design: controls of the partial correlation, from
            `genjax.statistics.partial.control_design`.

    Returns:
        Draws `[D, M]` of every statistic; NaN where a sample leaves a column constant.

    Raises:
        InvalidInputError: a statistic is unknown, or the partial correlation has no design.

    Example:
        >>> import numpy as np
        >>> target, measures = np.arange(4.0), np.array([[0.0], [2.0], [1.0], [3.0]])
        >>> draws = np.array([[1, 1, 1, 1], [0, 1, 1, 2], [4, 0, 0, 0]])
        >>> bootstrap(("kendall",), target, measures, draws)["kendall"].round(6).tolist()
        [[0.666667], [0.6], [nan]]
    """
    for name in statistics:
        if name not in STATISTICS:
            raise InvalidInputError(suggest("statistics", name, STATISTICS))
    if "partial_spearman" in statistics and design is None:
        raise InvalidInputError("design: found None; partial_spearman needs controls.")
    found = {}
    if set(statistics) & set(OF_PAIRS):
        pairs = count_pairs_in_draws(target, measures, multiplicities)
        found = {name: of(pairs) for name, of in OF_PAIRS.items()}
    if set(statistics) - set(OF_PAIRS):
        controls = design if "partial_spearman" in statistics else None
        columns = [np.ascontiguousarray(column) for column in (target, *measures.T)]
        found |= _moments(set(statistics), columns, multiplicities, controls)
    return {name: found[name] for name in statistics}


@threadpool_limits.wrap(limits=1)
def _moments(
    statistics: set[str], columns: list[Host], multiplicities: Host, design: Host | None
) -> dict[str, Host]:
    """Statistics that are cosines, for a few draws at a time in every thread."""
    ranked = [places(column) for column in columns] if statistics & set(OF_RANKS) else []
    controls = [] if design is None else [places(column) for column in design.T]
    step = max(1, LARGEST // (len(columns[0]) * (len(columns) + len(controls))))

    def part(start: int) -> dict[str, Host]:
        weights = multiplicities[start : start + step].astype(np.float64)
        found = {}
        if ranked:
            found |= dict(zip(OF_RANKS, rank_correlations(ranked, controls, weights), strict=True))
        if "pearson" in statistics:
            found["pearson"] = _pearson(columns, weights)
        return found

    with ThreadPoolExecutor(WORKERS) as pool:
        parts = list(pool.map(part, range(0, len(multiplicities), step)))
    return {name: np.concatenate([found[name] for found in parts]) for name in parts[0]}


def _pearson(columns: list[Host], weights: Host) -> Host:
    """Correlation of the first column with the others, in every draw [D, N]."""
    stacked = np.empty((len(weights), len(columns), weights.shape[1]))
    root = np.sqrt(weights)
    for k, column in enumerate(columns):
        np.multiply(centred_values(column, weights), root, out=stacked[:, k])
    return correlate(stacked)
