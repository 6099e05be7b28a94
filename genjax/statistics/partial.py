"""What a measure says about the target beyond the hyper-parameters. Host arithmetic in float64."""

from collections.abc import Mapping
from itertools import combinations
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, Shaped
from numpy.polynomial import legendre
from scipy import stats
from threadpoolctl import threadpool_limits

from genjax.errors import InvalidInputError
from genjax.statistics.correlation import pearson, spearman
from genjax.statistics.ranks import places, rank_correlations

Host = np.ndarray
Columns = Mapping[str, Shaped[Host, " network"]]
# A number with more values than this is a curve, not a set of levels.
LEVELS = 8
DEGREE = 3
# Interactions are left out where there would be more columns than this: the solve grows with the
# cube.
WIDEST = 1000
PENALTIES = (1e-6, 1e-2, 0.1, 1.0, 10.0, 100.0, 1e3, 1e4)
# A residual below this share of a column's norm is what ridge's smallest penalty leaves.
EXPLAINED = 1e-4


def control_design(columns: Columns) -> Float[Host, "network control"]:
    """Turn hyper-parameters into the columns that partial statistics control for.

    Numbers become midranks. Everything else (strings, truth values, objects) becomes one 0/1 column
    per value but one. Columns with one value vanish.

    Args:
        columns: hyper-parameters by name, all of one length.

    Returns:
        [N, P], without an intercept.

    Raises:
        InvalidInputError: there are no columns, lengths differ, a number is NaN, or there are more
            than 1000 values that are no numbers.

    Example:
        >>> import numpy as np
        >>> control_design({"lr": np.array([0.1, 0.01, 0.1]), "norm": np.array(["a", "a", "b"])})
        array([[2.5, 0. ],
               [1. , 0. ],
               [2.5, 1. ]])
    """
    parts = []
    for name, (codes, numeric) in _codes(columns).items():
        if numeric:
            ranks = stats.rankdata(columns[name])[:, None]
            parts.append(ranks if codes.max() > 0 else ranks[:, :0])
        else:
            parts.append(np.eye(codes.max() + 1)[codes][:, 1:])
    return np.concatenate(parts, axis=1)


def partial_spearman(
    target: Float[Host, " network"],
    measures: Float[Host, "network measure"],
    design: Float[Host, "network control"],
) -> Float[Host, " measure"]:
    """Partial rank correlation of every measure with the target, given the controls.

    Pearson correlation between what least squares on an intercept and the design leaves of the
    target's midranks and of the measure's. Columns of the design are ranked too, which changes
    neither ranks nor 0/1 columns in what they explain. Controls may repeat each other.

    Args:
        target: [N].
        measures: [N, M], complete.
        design: from `control_design`.

    Returns:
        [M]; NaN where the controls explain all of a measure or of the target.

    References:
        Conover, Practical Nonparametric Statistics (1999), section 5.4.

    Example:
        >>> import numpy as np
        >>> size = np.array([1.0, 1.0, 1.0, 2.0, 2.0, 2.0])
        >>> target = np.array([1.0, 2.0, 3.0, 11.0, 12.0, 13.0])
        >>> partial_spearman(target, (20 * size - target)[:, None], size[:, None]).round(6).tolist()
        [-1.0]
    """
    columns = [places(column) for column in (target, *measures.T)]
    controls = [places(column) for column in design.T]
    return rank_correlations(columns, controls, np.ones((1, len(target))))[1][0]


@threadpool_limits.wrap(limits=1)
def cross_fitted(
    target: Float[Host, " network"],
    measures: Float[Host, "network measure"],
    controls: Columns,
    groups: Int[Host, " network"],
    *,
    folds: int = 5,
    seed: int = 0,
    statistic: Literal["spearman", "pearson"] = "spearman",
) -> Float[Host, " measure"]:
    """Association of what hyper-parameters do not predict, neither of the measure nor the target.

    Target and measures (normal scores of their midranks) are predicted from the hyper-parameters by
    ridge regression that has not seen the network's configuration, and the out-of-fold residuals
    are correlated. Other than `partial_spearman` it follows bends and pairwise interactions, and it
    cannot fit noise away. The model is additive in functions of one and of two hyper-parameters:
    columns per level (up to 8 values) or Legendre polynomials of the midrank up to degree 3
    (numbers with more values), and their products between hyper-parameters. Of the penalties 1e-6
    to 1e4, which count as that many networks added to every level with the mean value, each column
    takes the one with the smallest out-of-fold error: one choice of eight cannot leak.

    What three hyper-parameters do together is left, and what few configurations cannot teach. In
    simulations with one function of five three-valued hyper-parameters and all their pairs behind
    both target and measure (Spearman 0.94), 0.18 was left of it from 100 configurations and 0.05
    from 1000.

    Args:
        target: [N].
        measures: [N, M], complete.
        controls: hyper-parameters by name, as for `control_design`.
        groups: networks of one group are in one fold; the configurations.
        folds: number of folds.
        seed: of the assignment of groups to folds.
        statistic: of the residuals.

    Returns:
        [M]; NaN where a column is constant or the hyper-parameters predict all of it.

    Raises:
        InvalidInputError: there are fewer groups than folds or fewer than 2 folds.

    References:
        Chernozhukov et al., Double/debiased machine learning for treatment and structural
        parameters, The Econometrics Journal 21 (2018), section 1.

    Example:
        >>> import numpy as np
        >>> generator = np.random.default_rng(0)
        >>> width = generator.integers(0, 4, 400)
        >>> hidden, noise = generator.normal(size=(2, 400))
        >>> measures = np.stack([width + noise, width + hidden], axis=1)
        >>> controls, groups = {"width": width}, np.arange(400)
        >>> association = cross_fitted(width + hidden, measures, controls, groups)
        >>> (np.abs(association) > 0.9).tolist(), (np.abs(association) < 0.1).tolist()
        ([False, True], [True, False])
    """
    names = np.unique(groups, return_inverse=True)
    count = len(names[0])
    if not 2 <= folds <= count:
        raise InvalidInputError(
            f"folds: found {folds}; from 2 to the number of groups, {count}, are allowed."
        )
    fold = (np.random.default_rng(seed).permutation(count) % folds)[names[1]]
    ranks = stats.rankdata(np.column_stack([target, measures]), axis=0)
    scores = stats.norm.ppf((ranks - 0.5) / len(target))
    left = _out_of_fold(_basis(controls), scores, fold)
    centred = scores - scores.mean(0)
    gone = np.linalg.norm(left, axis=0) <= EXPLAINED * np.linalg.norm(centred, axis=0)
    left[:, gone] = 0
    of = spearman if statistic == "spearman" else pearson
    return of(left[:, 0].copy(), left[:, 1:])


def _codes(columns: Columns) -> dict[str, tuple[Host, bool]]:
    """Code of every value, and whether the column holds numbers."""
    if not columns:
        raise InvalidInputError("columns: found none; at least one control is needed.")
    found, lengths = {}, {name: len(column) for name, column in columns.items()}
    for name, column in columns.items():
        if lengths[name] != next(iter(lengths.values())):
            raise InvalidInputError(
                f"{name}: found {lengths[name]} values; the first control has "
                f"{next(iter(lengths.values()))}."
            )
        numeric = column.dtype.kind in "iuf"
        if numeric and np.isnan(column).any():
            raise InvalidInputError(
                f"{name}: found NaN; a control needs a value for every network."
            )
        codes, values = pd.factorize(column, use_na_sentinel=False)
        if not numeric and len(values) > WIDEST:
            raise InvalidInputError(
                f"{name}: found {len(values)} values that are no numbers; at most {WIDEST} can be "
                "controlled for."
            )
        found[name] = (codes.astype(np.int64), numeric)
    return found


def _basis(columns: Columns) -> Host:
    """Functions of one hyper-parameter and of two, [N, P]."""
    single = []
    for name, (codes, numeric) in _codes(columns).items():
        count = codes.max() + 1
        if numeric and count > LEVELS:
            ranks = stats.rankdata(columns[name])
            curve = legendre.legvander((2 * ranks - 1) / len(ranks) - 1, DEGREE)[:, 1:]
            single.append(curve * np.sqrt(2 * np.arange(1, DEGREE + 1) + 1))
        elif count > 1:
            single.append(np.eye(count)[codes])
    if not single:
        return np.zeros((len(next(iter(columns.values()))), 1))
    main = np.concatenate(single, axis=1)
    widths = [part.shape[1] for part in single]
    if sum(widths) + sum(a * b for a, b in combinations(widths, 2)) > WIDEST:
        return main
    products = [
        (a[:, :, None] * b[:, None, :]).reshape(len(a), -1) for a, b in combinations(single, 2)
    ]
    return np.concatenate([main, *products], axis=1)


def _out_of_fold(basis: Host, outputs: Host, fold: Host) -> Host:
    """Residuals of every output at the penalty with the smallest error; one solve per fold."""
    if basis.shape[1] > len(basis):
        # The same inner products in as many columns as there are networks.
        basis = np.transpose(np.linalg.qr(basis.T, mode="r"))
    left = np.empty((len(PENALTIES), *outputs.shape))
    for k in range(fold.max() + 1):
        train, test = fold != k, fold == k
        mean, level = basis[train].mean(0), outputs[train].mean(0)
        known = basis[train] - mean
        values, vectors = np.linalg.eigh(known.T @ known)
        # Levels that the fold has never seen span nothing; dividing by rounding would invent them.
        spanned = values > 1e-10 * values[-1]
        values, vectors = values[spanned], vectors[:, spanned]
        along = vectors.T @ (known.T @ (outputs[train] - level))
        turned = (basis[test] - mean) @ vectors
        for p, penalty in enumerate(PENALTIES):
            predicted = level + turned @ (along / (values + penalty)[:, None])
            left[p, test] = outputs[test] - predicted
    best = (left**2).sum(1).argmin(0)
    return np.take_along_axis(left, best[None, None], axis=0)[0]
