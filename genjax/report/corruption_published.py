"""Mean corruption accuracies of published networks, recomputed from unaggregated tables."""

import os
import pathlib
from typing import NamedTuple

import numpy as np
import pandas as pd

from genjax.errors import InvalidInputError, suggest
from genjax.statistics import corruption_tables

SETS = {"cifar10": "CIFAR-10-C", "cifar100": "CIFAR-100-C"}
IMAGES = 10_000
"""Images behind every accuracy in these tables."""

CLOSE = 1e-4
"""Largest distance, as a fraction, at which a recomputed accuracy counts as the printed one."""


class Published(NamedTuple):
    """Networks of a leaderboard.

    Attributes:
        benchmark: e.g. "CIFAR-10-C".
        cells: corruptions times severities behind each mean.
        table: one row per network, the most accurate first: `network`, `clean_error`, `error` (mean
            over corruptions and severities, recomputed), `low`, `high` (its interval over images,
            too wide rather than too narrow), `printed` (the error that was published). Fractions.
    """

    benchmark: str
    cells: int
    table: pd.DataFrame


def read_published(
    folder: str | os.PathLike[str], dataset: str, *, level: float = 0.95
) -> Published:
    """Read and recompute RobustBench's networks of one data set.

    Args:
        folder: with `DATASET_c_unaggregated.csv` and `model_info.csv` (columns dataset, threat,
            model, clean_acc, corruptions_acc, accuracies in percent).
        dataset: "cifar10" or "cifar100".
        level: nominal coverage of the intervals.

    Raises:
        InvalidInputError: an unknown data set, a file that is missing or has another layout, or
            networks of one file that are not in the other.
    """
    if dataset not in SETS:
        raise InvalidInputError(suggest("published data set", dataset, list(SETS)))
    path = pathlib.Path(folder).expanduser()
    table = corruption_tables.read_table(path / f"{dataset}_c_unaggregated.csv")
    printed = _printed(path / "model_info.csv", dataset)
    names = [_bare(name) for name in table.index]
    if sorted(names) != sorted(printed.index) or len(set(names)) < len(names):
        differing = sorted(set(names) ^ set(printed.index)) or names
        raise InvalidInputError(
            f"published: the networks of '{dataset}_c_unaggregated.csv' and 'model_info.csv' are "
            f"not the same; the first that differs is '{differing[0]}'."
        )
    found = corruption_tables.mean_corruption_accuracy(table, images=IMAGES, level=level)
    rows = printed.loc[names]
    made = pd.DataFrame(
        {
            "network": rows["model"].to_numpy(),
            "clean_error": 1 - rows["clean_acc"].to_numpy(np.float64) / 100,
            "error": 1 - found["accuracy"].to_numpy(),
            "low": 1 - found["high"].to_numpy(),
            "high": 1 - found["low"].to_numpy(),
            "printed": 1 - rows["corruptions_acc"].to_numpy(np.float64) / 100,
        }
    )
    made = made.sort_values("error", ignore_index=True)
    return Published(SETS[dataset], table.shape[1], made)


def _printed(path: pathlib.Path, dataset: str) -> pd.DataFrame:
    columns = ["dataset", "threat", "model", "clean_acc", "corruptions_acc"]
    try:
        table = pd.read_csv(path)[columns]
    except (OSError, ValueError, KeyError) as error:
        raise InvalidInputError(
            f"published: '{path}' cannot be read as comma-separated values with the columns "
            f"{', '.join(columns)} ({error})."
        ) from error
    rows = table.loc[(table["dataset"] == dataset) & (table["threat"] == "corruptions")]
    return rows.set_index(pd.Index([_bare(name) for name in rows["model"]]))


def _bare(name: object) -> str:
    # Two networks are spelt differently in the two files: AugMixWRN and AugMix_WRN.
    return str(name).replace("_", "").lower()


def agreement(published: Published) -> str:
    """Say whether recomputed accuracies are those printed.

    Example:
        >>> table = pd.DataFrame({"network": ["a"], "error": [0.25], "printed": [0.25]})
        >>> agreement(Published("CIFAR-10-C", 75, table))[:63]
        'The mean over 75 cells, recomputed for 1 network of CIFAR-10-C,'
    """
    table = published.table
    distance = np.abs(table["error"].to_numpy(np.float64) - table["printed"].to_numpy(np.float64))
    networks = f"{len(table)} network{'s' if len(table) > 1 else ''}"
    start = (
        f"The mean over {published.cells} cells, recomputed for {networks} of "
        f"{published.benchmark}, "
    )
    largest = f"{100 * distance.max():.4f} percentage points"
    # Rounding may put a difference of a hundredth of a point just above it.
    within = distance <= CLOSE * (1 + 1e-6)
    if within.all():
        return (
            f"{start}is the published accuracy within {100 * CLOSE:g} points for every one "
            f"(largest difference {largest})."
        )
    return (
        f"{start}differs from the published accuracy by more than {100 * CLOSE:g} points for "
        f"{(~within).sum()}, by up to {largest} ({table['network'].iloc[int(distance.argmax())]})."
    )
