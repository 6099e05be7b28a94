"""Robust sign error: does a measure order two settings as the target does? Host float64."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from genjax.errors import InvalidInputError, suggest
from genjax.statistics.dyadic import axis_lines, pairs_within
from genjax.statistics.networks import MeasuredNetworks, everything_set

Host = np.ndarray
HOEFFDING = "hoeffding"
SHARE = 0.12  # of the pairs of seeds: 12 of 10 x 10 in the paper
CLOSE = 1e-5  # how far an effective sample size may fall short by rounding, as in the paper's code
BLOCK = 1_000_000  # pairs of networks times measures that are worked on at once
LARGEST = 2**28  # sign errors that are held at once: 2 GiB


class SignErrors(NamedTuple):
    """Sign error of every measure in every environment.

    An environment is an ordered pair of configurations that differ in one hyper-parameter. Both
    orders are there, with equal errors.

    Attributes:
        hyper: number of the hyper-parameter that differs.
        source: number of the first configuration.
        destination: number of the second one.
        weight_sum: sum of the weights of its pairs of networks.
        effective_sample_size: (sum w)^2 / sum w^2.
        errors: between 0 and 1; NaN where no pair with a weight has values of the measure.
    """

    hyper: Int[Host, " environment"]
    source: Int[Host, " environment"]
    destination: Int[Host, " environment"]
    weight_sum: Float[Host, " environment"]
    effective_sample_size: Float[Host, " environment"]
    errors: Float[Host, "environment measure"]


def sign_errors(
    networks: MeasuredNetworks,
    *,
    weighting: str | None = HOEFFDING,
    test_examples: int | None = None,
    minimum_effective_size: float | int | None = None,
) -> SignErrors:
    """Sign error of Dziugaite et al. (2020) in every environment.

    The error of two networks is (1 - sgn(C1 - C2) sgn(G1 - G2)) / 2 for a measure C and target G; a
    tie is 0.5. An environment's error is its weighted mean over all pairs of seeds of the two
    configurations. Pairs with a missing value of a measure have weight 0 for that measure.

    The weight "hoeffding" is (w - 1/2)_+ with w = max(0, 1 - 2 exp(-2 n (|G1 - G2| / 2)^2))^2: how
    surely the targets, each measured on n test examples, differ. It is 1/2 at most.

    Args:
        networks: any number.
        weighting: "hoeffding"; or None: every pair has weight 1.
        test_examples: n.
        minimum_effective_size: environments with a smaller effective sample size are left out;
            the paper's is 12. None: 12 % of the environment's pairs of seeds, the same for the
            paper's 10 x 10, which keeps networks without repeats.

    Returns:
        Environments in the order of the hyper-parameters; those of weight 0 are left out.

    Raises:
        InvalidInputError: the weighting is unknown; it is "hoeffding" and `test_examples` is not
            positive or the target is no difference of proportions; or there are too many
            environments to hold.

    References:
        Dziugaite et al., In search of robust measures of generalization, NeurIPS (2020).

    Example:
        >>> import numpy as np
        >>> from genjax.statistics.networks import from_arrays
        >>> measure = np.array([[1.0], [2.0], [2.0]])
        >>> networks = from_arrays(measure, np.array([0.1, 0.3, 0.2]), np.array([[0], [1], [2]]))
        >>> found = sign_errors(networks, test_examples=10_000)
        >>> found.source.tolist(), found.destination.tolist(), found.errors.ravel().tolist()
        ([0, 1, 0, 2, 1, 2], [1, 0, 2, 0, 2, 1], [0.0, 0.0, 0.0, 0.0, 0.5, 0.5])
    """
    _check(networks, weighting, test_examples)
    hyper, first, second = _environments(networks)
    measures = networks.measures.shape[1]
    if 2 * len(hyper) * measures > LARGEST:
        raise InvalidInputError(
            f"levels: found {2 * len(hyper)} environments, too many for the sign errors of "
            f"{measures} measures; at most {LARGEST // measures} are possible."
        )
    sizes, weight, squared, wrong, known = _sums(networks, first, second, weighting, test_examples)
    effective = np.divide(weight**2, squared, out=np.zeros_like(weight), where=squared > 0)
    least = SHARE * sizes if minimum_effective_size is None else minimum_effective_size
    kept = np.flatnonzero((weight > 0) & (effective >= least * (1 - CLOSE)))
    nothing = np.full((len(kept), measures), np.nan)
    errors = np.divide(wrong[kept], known[kept], out=nothing, where=known[kept] > 0)
    return SignErrors(
        np.repeat(hyper[kept], 2),
        np.stack([first[kept], second[kept]], axis=1).ravel(),
        np.stack([second[kept], first[kept]], axis=1).ravel(),
        np.repeat(weight[kept], 2),
        np.repeat(effective[kept], 2),
        np.repeat(np.minimum(errors, 1.0), 2, axis=0),
    )


def _check(networks: MeasuredNetworks, weighting: str | None, test_examples: int | None) -> None:
    if weighting is None:
        return
    if weighting != HOEFFDING:
        raise InvalidInputError(suggest("weighting", weighting, [HOEFFDING]))
    if test_examples is None or test_examples < 1:
        raise InvalidInputError(
            f"test_examples: found {test_examples}; the weighting '{HOEFFDING}' needs the number "
            "of examples behind every target."
        )
    if np.abs(networks.target).max(initial=0) > 1:
        raise InvalidInputError(
            f"target: found values from {networks.target.min():.4g} to {networks.target.max():.4g};"
            f" the weighting '{HOEFFDING}' needs differences of proportions, between -1 and 1."
        )


def _environments(networks: MeasuredNetworks) -> tuple[Host, Host, Host]:
    """Hyper-parameter, first and second configuration of all unordered pairs."""
    numbers, rows = np.unique(networks.configurations, return_index=True)
    levels = everything_set(networks)[rows]
    found = [np.zeros((3, 0), np.int64)]
    for hyper in range(networks.levels.shape[1]):
        first, second = pairs_within(axis_lines(levels, hyper))
        apart = levels[first, hyper] != levels[second, hyper]
        first, second = numbers[first[apart]], numbers[second[apart]]
        found.append(np.stack([np.full_like(first, hyper), first, second]))
    hyper, first, second = np.concatenate(found, axis=1)
    return hyper, first, second


def _sums(
    networks: MeasuredNetworks,
    first: Host,
    second: Host,
    weighting: str | None,
    test_examples: int | None,
) -> tuple[Host, Host, Host, Host, Host]:
    """Number of pairs of networks, sum of weights, of their squares, of errors and what is known.

    The pairs of networks are numbered environment after environment and worked on in blocks, so
    that memory does not grow with the number of seeds.
    """
    order = np.argsort(networks.configurations, kind="stable")
    runs = np.bincount(networks.configurations)
    begin = np.cumsum(runs) - runs
    sizes = runs[first] * runs[second]
    ends = np.cumsum(sizes)
    measures, count = networks.measures.shape[1], int(sizes.sum())
    missing = ~np.isfinite(networks.measures)
    weight, squared = np.zeros(len(first)), np.zeros(len(first))
    wrong = np.zeros((len(first), measures))
    known = np.zeros((len(first), measures if missing.any() else 1))
    step = max(BLOCK // max(measures, 1), 1)
    for start in range(0, count, step):
        number = np.arange(start, min(start + step, count))
        place = np.searchsorted(ends, number, side="right")
        inside = number - (ends - sizes)[place]
        one = order[begin[first[place]] + inside // runs[second[place]]]
        two = order[begin[second[place]] + inside % runs[second[place]]]
        gap = networks.target[one] - networks.target[two]
        w = np.ones(len(gap)) if weighting is None else _hoeffding(gap, test_examples or 1)
        x, y = networks.measures[one], networks.measures[two]
        agree = ((x > y).astype(np.int8) - (x < y)) * np.sign(gap).astype(np.int8)[:, None]
        parts, here = np.unique(place, return_index=True)
        weight[parts] += np.add.reduceat(w, here)
        squared[parts] += np.add.reduceat(w**2, here)
        there = ~(missing[one] | missing[two]) if missing.any() else True
        weights = w[:, None] * there
        known[parts] += np.add.reduceat(weights, here)
        wrong[parts] += np.add.reduceat(weights * (0.5 - 0.5 * agree), here)
    return sizes, weight, squared, wrong, np.broadcast_to(known, wrong.shape)


def _hoeffding(gap: Host, test_examples: int) -> Host:
    sure = np.maximum(1 - 2 * np.exp(-2 * test_examples * (gap / 2) ** 2), 0) ** 2
    return np.maximum(sure - 0.5, 0)


def summarise(
    found: SignErrors, hyper_names: tuple[str, ...], measure_names: tuple[str, ...]
) -> pd.DataFrame:
    """Mean, 90th percentile and maximum of the sign errors, pooled and per hyper-parameter.

    Args:
        found: of `sign_errors`.
        hyper_names: of the hyper-parameters.
        measure_names: of the measures.

    Returns:
        Columns `hyperparameter, metric, environments, mean_sign_error, p90_sign_error,
        max_sign_error`; first the rows "all", then each hyper-parameter that has environments.
        Environments without a value of the measure do not count.

    Example:
        >>> import numpy as np
        >>> node = np.array([0, 1])
        >>> found = SignErrors(0 * node, node, node[::-1], 1.0 * node, 1.0 * node, np.ones((2, 1)))
        >>> summarise(found, ("hp.lr",), ("measure.a",)).mean_sign_error.tolist()
        [1.0, 1.0]
    """
    rows = []
    for name, chosen in zip(
        ("all", *hyper_names), environment_groups(found, len(hyper_names)), strict=True
    ):
        for column, measure in enumerate(measure_names):
            errors = found.errors[chosen, column]
            errors = errors[~np.isnan(errors)]
            if len(errors):
                values = errors.mean(), np.quantile(errors, 0.9), errors.max()
                rows.append((name, measure, len(errors), *map(float, values)))
    columns = ["hyperparameter", "metric", "environments"]
    return pd.DataFrame(
        rows, columns=[*columns, "mean_sign_error", "p90_sign_error", "max_sign_error"]
    )


def environment_groups(found: SignErrors, hypers: int) -> list[Bool[Host, " environment"]]:
    """Select all environments, then those of each hyper-parameter.

    Example:
        >>> import numpy as np
        >>> node, one = np.array([0, 1]), np.ones(2)
        >>> found = SignErrors(np.array([1, 1]), node, node[::-1], one, one, np.ones((2, 1)))
        >>> [int(chosen.sum()) for chosen in environment_groups(found, 2)]
        [2, 0, 2]
    """
    return [np.ones(len(found.hyper), bool), *(found.hyper == hyper for hyper in range(hypers))]


def sign_error_distribution(
    found: SignErrors, thresholds: Float[Host, " threshold"]
) -> Float[Host, "threshold measure"]:
    """Share of environments whose sign error is at most each threshold: Dziugaite's figure 1.

    Returns:
        Cumulative distribution; NaN for a measure without any value.

    Example:
        >>> import numpy as np
        >>> node, errors = np.array([0, 1]), np.array([[0.0], [0.6]])
        >>> found = SignErrors(0 * node, node, node[::-1], 1.0 * node, 1.0 * node, errors)
        >>> sign_error_distribution(found, np.array([0.0, 0.5, 1.0])).ravel().tolist()
        [0.5, 0.5, 1.0]
    """
    shares = np.full((len(thresholds), found.errors.shape[1]), np.nan)
    for column, errors in enumerate(found.errors.T):
        ordered = np.sort(errors[~np.isnan(errors)])
        if len(ordered):
            shares[:, column] = np.searchsorted(ordered, thresholds, side="right") / len(ordered)
    return shares
