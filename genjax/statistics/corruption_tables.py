"""Accuracy under corruptions: mean corruption accuracy and mCE, from tables and from outcomes.

Tables are "unaggregated": one row per network, one column per (corruption, severity), accuracies
as fractions.
"""

import os
import pathlib
from collections.abc import Callable

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from scipy import stats

from genjax.errors import InvalidInputError
from genjax.statistics.resampling import Interval, percentile_interval

Host = np.ndarray


def wilson_interval(
    share: Float[Host, "..."] | float, trials: int, level: float = 0.95
) -> tuple[Float[Host, "..."], Float[Host, "..."]]:
    """Wilson's score interval of a share.

    `(p + z^2 / 2n -+ z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)`, without continuity
    correction: Wilson (JASA 22:209, 1927), eq. (4). Written here because scipy's takes one count
    at a time, and whole counts only.

    Args:
        share: successes / trials, in [0, 1]; NaN gives NaN.
        trials: number of trials n of every share.
        level: nominal coverage.

    Returns:
        Lower and upper ends, of the shape of `share`; always within [0, 1].

    Raises:
        InvalidInputError: a share outside [0, 1], no trial, or a level not between 0 and 1.

    Example:
        >>> low, high = wilson_interval(0.5, 100)
        >>> round(float(low), 4), round(float(high), 4)
        (0.4038, 0.5962)
    """
    values = np.asarray(share, np.float64)
    if ((values < 0) | (values > 1)).any():
        found = values[(values < 0) | (values > 1)].flat[0]
        raise InvalidInputError(f"share: found {found:g}; allowed are 0 to 1.")
    if trials < 1:
        raise InvalidInputError(f"trials: found {trials}; at least 1 is needed.")
    if not 0 < level < 1:
        raise InvalidInputError(f"level: found {level}; it must be between 0 and 1.")
    squared = stats.norm.ppf((1 + level) / 2) ** 2
    centre = values + squared / (2 * trials)
    half = np.sqrt(squared * (values * (1 - values) / trials + squared / (4 * trials**2)))
    scale = 1 + squared / trials
    # At 0 and 1 one end is that number, up to rounding, which must not leave the range.
    low, high = np.clip((centre - half) / scale, 0, 1), np.clip((centre + half) / scale, 0, 1)
    return np.where(values == 0, 0.0, low), np.where(values == 1, 1.0, high)


def read_table(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read an unaggregated table as RobustBench publishes them.

    Two header rows (corruption, severity), then one row per network, its name first.

    Returns:
        Accuracies as fractions; columns (corruption, severity), severities as integers.

    Raises:
        InvalidInputError: not such a file, or not such a table.
    """
    file = pathlib.Path(path)
    try:
        table = pd.read_csv(file, header=[0, 1], index_col=0)
        severities = [int(severity) for severity in table.columns.get_level_values(1)]
    except (OSError, ValueError, IndexError) as error:
        raise InvalidInputError(
            f"table: '{file}' cannot be read as comma-separated values with two header rows, "
            f"corruption and severity ({error})."
        ) from error
    pairs = list(zip(table.columns.get_level_values(0), severities, strict=True))
    table.columns = pd.MultiIndex.from_tuples(pairs, names=["corruption", "severity"])
    table.index.name = "network"
    _checked(table)
    return table


def _checked(table: pd.DataFrame) -> tuple[Float[Host, "networks corruptions"], list[str]]:
    """Mean accuracy over severities, and the corruptions in the order of the table."""
    if table.columns.nlevels != 2 or table.empty:
        raise InvalidInputError(
            f"table: found {table.shape[0]} rows and {table.shape[1]} columns of "
            f"{table.columns.nlevels} header rows; needed are columns (corruption, severity)."
        )
    if not table.columns.is_unique:
        name, severity = table.columns[table.columns.duplicated()][0]
        raise InvalidInputError(f"table: severity {severity} of '{name}' stands twice.")
    try:
        values = table.to_numpy(np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"table: found what is no number ({error}).") from error
    if ((values < 0) | (values > 1)).any():
        found = values[(values < 0) | (values > 1)].flat[0]
        raise InvalidInputError(
            f"table: found {found:g}; allowed are accuracies as fractions, 0 to 1."
        )
    corruptions = list(dict.fromkeys(table.columns.get_level_values(0)))
    kinds = {corruption: set(table[corruption].columns) for corruption in corruptions}
    for corruption in corruptions:
        if kinds[corruption] != kinds[corruptions[0]]:
            raise InvalidInputError(
                f"table: '{corruption}' has the severities {sorted(kinds[corruption])}, "
                f"'{corruptions[0]}' {sorted(kinds[corruptions[0]])}; all must have the same."
            )
    owner = np.array([corruptions.index(name) for name in table.columns.get_level_values(0)])
    means = [values[:, owner == i].mean(axis=1) for i in range(len(corruptions))]
    return np.stack(means, axis=1), corruptions


def mean_corruption_accuracy(
    table: pd.DataFrame, *, images: int | None = None, level: float = 0.95
) -> pd.DataFrame:
    """Mean accuracy over corruptions and severities, RobustBench's `corruptions_acc`.

    The interval is Wilson's with the number of images n as the number of trials, however many
    cells there are: all cells show the same images, so that the variance of the mean is that of
    the share of its cells that a network gets right of one image, divided by n; a share with mean
    p has a variance of at most p (1 - p). It is therefore too wide rather than too narrow.
    `outcome_interval` is exact where the outcome of every image is known.

    Args:
        table: accuracies as fractions, networks by (corruption, severity).
        images: how many images each cell was measured on; None gives no intervals.
        level: nominal coverage.

    Returns:
        Columns `accuracy`, `low`, `high` (fractions; NaN without `images`), one row per network. A
        network with a missing cell gets NaN.

    Raises:
        InvalidInputError: values outside [0, 1], or corruptions with different severities.

    Example:
        >>> columns = pd.MultiIndex.from_product([["fog", "snow"], [1, 2]])
        >>> table = pd.DataFrame([[0.9, 0.8, 0.7, 0.6]], ["mine"], columns)
        >>> mean_corruption_accuracy(table, images=100).round(3).loc["mine"].tolist()
        [0.75, 0.657, 0.825]
    """
    means, _ = _checked(table)
    return _with_interval("accuracy", means.mean(axis=1), table.index, 1.0, images, level)


def corruption_errors(table: pd.DataFrame, reference: pd.Series) -> pd.DataFrame:
    """Error on each corruption, relative to that of a reference network.

    `CE_c = sum_s E_{s,c} / sum_s E^ref_{s,c}`, E = 1 - accuracy, s the severities: Hendrycks and
    Dietterich, "Benchmarking neural network robustness to common corruptions and perturbations"
    (2019), section 4.1, where the reference is AlexNet.

    Args:
        table: accuracies as fractions, networks by (corruption, severity).
        reference: accuracies of the reference network on the same columns, e.g.
            `table.loc["AlexNet"]`.

    Returns:
        Ratios, 1 where a network errs as often as the reference; networks by corruptions.

    Raises:
        InvalidInputError: as of `mean_corruption_accuracy`; a reference with other columns, a
            missing value, or no error at all on a corruption.

    Example:
        >>> columns = pd.MultiIndex.from_product([["fog", "snow"], [1, 2]])
        >>> table = pd.DataFrame([[0.9, 0.8, 0.7, 0.6], [0.8, 0.6, 0.7, 0.6]], columns=columns)
        >>> corruption_errors(table, table.loc[1]).round(3).values.tolist()
        [[0.5, 1.0], [1.0, 1.0]]
    """
    means, corruptions = _checked(table)
    ratios = (1 - means) / _reference_errors(table, reference)
    return pd.DataFrame(ratios, table.index, pd.Index(corruptions, name="corruption"))


def mean_corruption_error(
    table: pd.DataFrame,
    reference: pd.Series,
    *,
    images: int | None = None,
    level: float = 0.95,
) -> pd.DataFrame:
    """mCE: the mean over corruptions of `corruption_errors`.

    CIFAR-10-C and CIFAR-100-C have no agreed reference network; their leaderboards use the plain
    mean, `mean_corruption_accuracy`.

    The interval takes the errors of the reference as known and is Wilson's for
    `mCE / W`, `W = mean_c 1 / E^ref_c`, a weighted share of errors, with the number of images as
    the number of trials; too wide rather than too narrow, as in `mean_corruption_accuracy`.

    Args:
        table: accuracies as fractions, networks by (corruption, severity).
        reference: accuracies of the reference network on the same columns.
        images: how many images each cell was measured on; None gives no intervals.
        level: nominal coverage.

    Returns:
        Columns `mce`, `low`, `high`: ratios (publications print them times 100), NaN without
        `images`; one row per network.

    Raises:
        InvalidInputError: as of `corruption_errors`.

    Example:
        >>> columns = pd.MultiIndex.from_product([["fog", "snow"], [1, 2]])
        >>> table = pd.DataFrame([[0.9, 0.8, 0.7, 0.6], [0.8, 0.6, 0.7, 0.6]], columns=columns)
        >>> mean_corruption_error(table, table.loc[1])["mce"].round(3).tolist()
        [0.75, 1.0]
    """
    ratios = corruption_errors(table, reference).to_numpy()
    largest = float((1 / _reference_errors(table, reference)).mean())
    return _with_interval("mce", ratios.mean(axis=1), table.index, largest, images, level)


def _reference_errors(table: pd.DataFrame, reference: pd.Series) -> Float[Host, " corruptions"]:
    """Mean error over severities, in the order of the corruptions in the table."""
    if not reference.index.is_unique or set(reference.index) != set(table.columns):
        raise InvalidInputError(
            f"reference: found {len(reference)} values; needed is one for each of the "
            f"{table.shape[1]} columns of the table."
        )
    row = pd.DataFrame([reference.reindex(table.columns).to_numpy()], columns=table.columns)
    means, corruptions = _checked(row)
    errors = 1 - means[0]
    if not (errors > 0).all():  # NaN as well.
        name = corruptions[int(np.argmin(errors > 0))]
        raise InvalidInputError(
            f"reference: its error on '{name}' is {errors[corruptions.index(name)]:g}; "
            "needed are errors above 0 on every corruption."
        )
    return errors


def _with_interval(
    name: str, values: Host, index: pd.Index, largest: float, images: int | None, level: float
) -> pd.DataFrame:
    low = high = np.full(len(values), np.nan)
    if images is not None:
        # Rounding may put the quotient of equal numbers just above 1.
        low, high = wilson_interval(np.minimum(values / largest, 1.0), images, level)
    return pd.DataFrame({name: values, "low": largest * low, "high": largest * high}, index)


def outcome_interval(
    correct: Bool[Host, "corruptions severities images"],
    reference: Bool[Host, "corruptions severities images"] | None = None,
    *,
    draws: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Mean corruption accuracy, or mCE if there is a reference, with a bootstrap over images.

    Images are drawn with replacement, each with its outcomes in all cells and under both networks:
    what the cells share is kept, and the reference is not taken as known.

    Args:
        correct: whether the network is right; image i is the same one in every cell.
        reference: the same for the reference network; None asks for the accuracy.
        draws: number of bootstrap draws.
        seed: of the draws.
        level: nominal coverage.

    Returns:
        The value from all images with percentile ends; the ends are NaN if there is one image, or
        if the reference makes no error on a corruption in some draw.

    Raises:
        InvalidInputError: an empty axis, no draw, other shapes, or a reference without an error on
            some corruption.

    Example:
        >>> correct = np.random.default_rng(0).random((2, 3, 400)) < 0.7
        >>> value, low, high = outcome_interval(correct)
        >>> low < value < high, round(value - float(correct.mean()), 9)
        (True, 0.0)
    """
    if 0 in correct.shape or draws < 1:
        raise InvalidInputError(
            f"correct, draws: found shape {correct.shape}, {draws}; neither may be empty."
        )
    errors = 1 - correct.mean(axis=1).T  # [images, corruptions]
    if reference is None:
        return _bootstrap(1 - errors, lambda means: means.mean(axis=1), draws, seed, level)
    others = 1 - reference.mean(axis=1).T
    if (others.sum(0) == 0).any():
        where = int(np.argmin(others.sum(0)))
        raise InvalidInputError(f"reference: it makes no error on corruption {where}.")
    kinds = errors.shape[1]

    def mce(means: Host) -> Host:
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = means[:, :kinds] / means[:, kinds:]
        return ratios.mean(axis=1)

    return _bootstrap(np.concatenate([errors, others], axis=1), mce, draws, seed, level)


def _bootstrap(
    values: Float[Host, "images columns"],
    statistic: Callable[[Host], Host],
    draws: int,
    seed: int,
    level: float,
) -> Interval:
    """A function of column means, with a percentile interval over rows drawn with replacement."""
    count = len(values)
    rng = np.random.default_rng(seed)
    means = np.empty((draws, values.shape[1]))
    for draw in range(draws):  # One at a time: all indices at once would not fit for many images.
        taken = np.bincount(rng.integers(count, size=count), minlength=count)
        means[draw] = taken @ values / count
    sampled = statistic(means)
    if not np.isfinite(sampled).all():
        sampled = np.full(draws, np.nan)
    low, high = percentile_interval(sampled, level, units=count)
    value = statistic(values.mean(axis=0, keepdims=True))[0]
    return Interval(float(value), float(low), float(high))
