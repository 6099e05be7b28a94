"""Anybody's table of networks: check it, and say what of it cannot be used."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Int

from genjax.errors import InvalidInputError, suggest
from genjax.statistics.columns import (
    Levels,
    filled_numbers,
    levels_of,
    number_rows,
    numbers_of,
    vary_alone,
)
from genjax.statistics.networks import MeasuredNetworks
from genjax.statistics.table_files import read_table

__all__ = ["DROPPED_COLUMNS", "GRID_STATISTICS", "Usable", "measured_networks", "read_table"]

Host = np.ndarray

FEWEST_NETWORKS = 5
LARGEST_GRID = 64  # values of a hyper-parameter
# Columns of the table of environments, which has a column per measure too.
RESERVED = (
    *("hyperparameter", "source_config", "destination_config"),
    *("weight_sum", "effective_sample_size"),
)
SEED_NAMES = ("seed", "repeat", "repeat_id", "run", "trial")
GRID_STATISTICS = {"granulated": 1, "sign_error": 1, "combination": 1, "cmi": 2}
"""How many hyper-parameters on a grid a statistic needs; the others need none."""

DROPPED_COLUMNS = ("what", "name", "networks", "reason")
Row = tuple[str, str, int, str]
CONSTANT = "has the same value for every network"


class Usable(NamedTuple):
    """What of a table can be used.

    Attributes:
        networks: the networks; names are those of the columns without their prefix.
        dropped: columns `what, name, networks, reason`: what was left out or is left out of some
            statistics, of how many networks, and why. `what` is "networks", "measure",
            "hyper-parameter", "control" or "statistic".
        controls: name -> values of each network: float64 for numbers (gaps filled by the median,
            beside a second control "NAME has no value" of zeros and ones), else strings.
    """

    networks: MeasuredNetworks
    dropped: pd.DataFrame
    controls: dict[str, Host]


def measured_networks(
    table: pd.DataFrame,
    *,
    target: str,
    measures: Sequence[str] | None = None,
    hparam_prefix: str = "hp.",
    measure_prefix: str = "measure.",
    controls: Sequence[str] | None = None,
    seed_column: str | None = None,
) -> Usable:
    """Turn a table, one row per network, into measured networks.

    A hyper-parameter's empty cells are a value of their own, because some options exist for one
    family of networks only. One with more than 64 values, or fewer than two networks per value on
    average, is continuous: it belongs to the configuration and to the controls, but has no levels.
    A measure's empty cells, NaN and infinities leave that network out for that measure; a row
    without a finite target is left out altogether. Row 1 is the first row below the names.

    Args:
        table: one row per network.
        target: column of what is to be predicted.
        measures: columns of the measures, with or without the prefix; None: all with the prefix.
        hparam_prefix: what the names of the hyper-parameters start with.
        measure_prefix: what the names of the measures start with.
        controls: columns that partial correlations control for, with or without a prefix; None:
            all hyper-parameters that vary. A control is no measure.
        seed_column: column that tells networks of one configuration apart; no hyper-parameter.

    Raises:
        InvalidInputError: a column is missing or not usable, fewer than 5 networks or no measure
            are left, or two rows have the same configuration (and seed).

    Example:
        >>> table = pd.DataFrame({"hp.depth": [2, 2, 4, 4, 8, 8], "run": [0, 1] * 3,
        ...                       "measure.norm": [1.0, 2, 3, 4, 5, 6], "measure.one": 1.0,
        ...                       "gap": [0.1, 0.2, 0.2, 0.3, 0.3, 0.5]})
        >>> usable = measured_networks(table, target="gap", seed_column="run")
        >>> usable.networks.measure_names, usable.networks.configurations.tolist()
        (('norm',), [0, 0, 1, 1, 2, 2])
        >>> usable.dropped["name"].tolist()
        ['one', 'cmi']
    """
    cells = _cells(table)
    columns = list(cells)
    hypers = _with_prefix(columns, "hparam_prefix", hparam_prefix, seed_column)
    prefixes = (hparam_prefix, measure_prefix)
    wanted = [_find("controls", name, columns, prefixes) for name in controls or ()]
    if measures is not None:
        named = [_find("measures", name, columns, (measure_prefix,)) for name in measures]
    else:
        named = _with_prefix(columns, "measure_prefix", measure_prefix, seed_column)
    also_controls = [name for name in named if name in wanted and measures is None]
    named = [name for name in named if name not in also_controls]
    _check_roles(columns, target, hypers, named, wanted, seed_column)
    labels = _labels(named, measure_prefix, columns)
    hyper_labels = _labels(hypers, hparam_prefix, columns)

    dropped: list[Row] = []
    outcome, rows = _target(cells[target], target, dropped)
    cells = {name: column.iloc[rows] for name, column in cells.items()}
    dropped += [("measure", name, len(rows), "is a control") for name in also_controls]
    values = _measures(cells, named, labels, rows, dropped, strict=measures is not None)

    found = {hyper_labels[name]: levels_of(cells[name], rows) for name in hypers}
    varying = _varying(found, "hyper-parameter", dropped)
    configurations = number_rows(_side_by_side(varying, len(rows)))
    seeds = _seeds(cells, seed_column, configurations, rows)
    grid = _on_a_grid(varying, len(rows), dropped)
    continuous = {name: levels for name, levels in varying.items() if name not in grid}
    if controls is not None:
        found = {hyper_labels.get(name, name): levels_of(cells[name], rows) for name in wanted}
        varying = _varying(found, "control", dropped)
    networks = MeasuredNetworks(
        np.stack(list(values.values()), axis=1),
        outcome,
        _side_by_side(grid, len(rows)),
        configurations,
        seeds,
        tuple(values),
        tuple(grid),
        tuple(levels.values for levels in grid.values()),
        number_rows(_side_by_side(continuous, len(rows))) if continuous else 0 * rows,
    )
    numbers = _controls(varying, dropped)
    return Usable(networks, pd.DataFrame(dropped, columns=list(DROPPED_COLUMNS)), numbers)


def _cells(table: pd.DataFrame) -> dict[str, pd.Series]:
    """Return the columns by name; each name is there once."""
    if table.empty:
        raise InvalidInputError("table: found no rows.")
    cells: dict[str, pd.Series] = {}
    for name, column in table.items():
        if str(name) in cells:
            raise InvalidInputError(f"table: found two columns called '{name}'.")
        cells[str(name)] = column
    return cells


def _find(argument: str, name: str, columns: list[str], prefixes: tuple[str, ...]) -> str:
    """Return the column of that name, or of that name after a prefix."""
    for candidate in (name, *(prefix + name for prefix in prefixes)):
        if candidate in columns:
            return candidate
    raise InvalidInputError(suggest(argument, name, columns))


def _with_prefix(
    columns: list[str], argument: str, prefix: str, seed_column: str | None
) -> list[str]:
    """Return the columns with a prefix."""
    if not prefix:
        raise InvalidInputError(f"{argument}: found ''; every column would count.")
    found = [name for name in columns if name.startswith(prefix) and name != seed_column]
    if not found and prefix != "hp.":  # a table without hyper-parameters is allowed
        advice = ", and measures names none" if argument == "measure_prefix" else ""
        raise InvalidInputError(
            f"{argument}: no column starts with '{prefix}'{advice}; found {', '.join(columns)}."
        )
    return found


def _check_roles(
    columns: list[str],
    target: str,
    hypers: list[str],
    measures: list[str],
    controls: list[str],
    seed_column: str | None,
) -> None:
    """Refuse a column that is not there, or that is to be two things at once."""
    for argument, name in (("target", target), ("seed_column", seed_column)):
        if name is not None and name not in columns:
            raise InvalidInputError(suggest(argument, name, columns))
    roles = {"hyper-parameter": hypers, "control": controls, "seed_column": [seed_column]}
    for what, names in {"measure": measures, **roles}.items():
        if target in names:
            raise InvalidInputError(f"target: '{target}' is also a {what}.")
    for name in measures:
        if measures.count(name) > 1:
            raise InvalidInputError(f"measures: '{name}' is named twice.")
        for what, names in roles.items():
            if name in names:
                raise InvalidInputError(f"measures: '{name}' is also a {what}.")


def _labels(names: list[str], prefix: str, columns: list[str]) -> dict[str, str]:
    """Name columns without their prefix, where nothing else is called so."""
    labels = {}
    for name in names:
        short = name.removeprefix(prefix)
        taken = not short or short in RESERVED or (short in columns and short != name)
        labels[name] = prefix + short if taken else short
    return labels


def _target(column: pd.Series, name: str, dropped: list[Row]) -> tuple[Host, Host]:
    """Return the finite targets and the rows that they are from."""
    values, complaint = numbers_of(column, np.arange(len(column)))
    if complaint is not None:
        raise InvalidInputError(f"target: {complaint}.")
    rows = np.flatnonzero(np.isfinite(values))
    if len(rows) < FEWEST_NETWORKS:
        raise InvalidInputError(
            f"target: '{name}' is finite for {len(rows)} of {len(values)} networks; "
            f"at least {FEWEST_NETWORKS} are needed."
        )
    if (values[rows] == values[rows[0]]).all():
        raise InvalidInputError(
            f"target: '{name}' is {values[rows[0]]:g} for every network; nothing to predict."
        )
    if len(rows) < len(values):
        dropped.append(("networks", name, len(values) - len(rows), "have no finite target"))
    return values[rows], rows


def _measures(
    cells: dict[str, pd.Series],
    names: list[str],
    labels: dict[str, str],
    rows: Host,
    dropped: list[Row],
    *,
    strict: bool,
) -> dict[str, Host]:
    """Return the measures that can be used: label -> values, NaN where a network has none."""
    kept, count, first = {}, len(rows), ""
    for name in names:
        values, complaint = numbers_of(cells[name], rows)
        if complaint is not None and strict:
            raise InvalidInputError(f"measures: {complaint}.")
        values = np.where(np.isfinite(values), values, np.nan)
        known = values[~np.isnan(values)]
        if complaint is not None:
            reason = complaint
        elif len(known) < FEWEST_NETWORKS:
            reason = f"is finite for {len(known)} networks; at least {FEWEST_NETWORKS} are needed"
        elif (known == known[0]).all():
            reason = CONSTANT
        else:
            kept[labels[name]] = values
            lost = count - len(known)
            if lost:
                reason = "is not finite for these networks, which are left out for it alone"
                dropped.append(("measure", labels[name], lost, reason))
            continue
        first = first or f"'{name}': {reason}"
        dropped.append(("measure", labels[name], count, reason))
    if not kept:
        raise InvalidInputError(f"measures: none is left ({first or 'none was named'}).")
    return kept


def _varying(found: dict[str, Levels], what: str, dropped: list[Row]) -> dict[str, Levels]:
    """Leave out columns that have one value only."""
    constant = {name: levels for name, levels in found.items() if len(levels.values) < 2}
    dropped += [(what, name, len(levels.codes), CONSTANT) for name, levels in constant.items()]
    return {name: levels for name, levels in found.items() if name not in constant}


def _side_by_side(found: dict[str, Levels], count: int) -> Int[Host, "network hyper"]:
    return np.stack([np.zeros(count, np.int64), *(f.codes for f in found.values())], axis=1)[:, 1:]


def _seeds(
    cells: dict[str, pd.Series], seed_column: str | None, configurations: Host, rows: Host
) -> Int[Host, " network"]:
    """Return the code of each network's seed; refuse what neither setting nor seed tells apart."""
    codes = np.zeros(len(rows), np.int64)
    if seed_column is not None:
        codes = levels_of(cells[seed_column], rows).codes
    _, which, times = np.unique(
        configurations * (codes.max() + 1) + codes, return_inverse=True, return_counts=True
    )
    if times.max() == 1:
        return codes
    one, other = (rows[which == which[np.argmax(times[which] > 1)]] + 1)[:2]
    if seed_column is not None:
        raise InvalidInputError(
            f"seed_column: rows {one} and {other} have the same hyper-parameters and the same "
            f"'{seed_column}'; every network must be there once."
        )
    known = [name for name in cells if name.rpartition(".")[2] in SEED_NAMES]
    advice = f", here perhaps '{known[0]}'" if known else ""
    raise InvalidInputError(
        f"seed_column: rows {one} and {other} have the same hyper-parameters; name the column "
        f"that tells repeats apart{advice}."
    )


def _on_a_grid(varying: dict[str, Levels], count: int, dropped: list[Row]) -> dict[str, Levels]:
    """Return the hyper-parameters that have levels; note which of them never vary alone."""
    grid = {}
    for name, levels in varying.items():
        values = len(levels.values)
        if values <= LARGEST_GRID and count >= 2 * values:
            grid[name] = levels
            continue
        reason = f"has {values} values: taken as continuous, with no part in what needs levels"
        dropped.append(("hyper-parameter", name, count, reason))
    for name, needed in GRID_STATISTICS.items():
        if len(grid) < needed:
            reason = f"needs {needed} or more hyper-parameters with a few values each"
            dropped.append(("statistic", name, count, reason))
    alone = dict(zip(varying, vary_alone(_side_by_side(varying, count)), strict=True))
    for name in grid:
        found = alone[name]
        if not found:
            reason = "never varies alone: left out of granulated tau and of sign errors"
            dropped.append(("hyper-parameter", name, count, reason))
    return grid


def _controls(varying: dict[str, Levels], dropped: list[Row]) -> dict[str, Host]:
    """Return columns to control for, without gaps."""
    controls: dict[str, Host] = {}
    for name, levels in varying.items():
        count, values = len(levels.codes), len(levels.values)
        if not levels.numeric:
            if 2 * values <= count:
                controls[name] = np.array([str(value) for value in levels.values])[levels.codes]
                continue
            reason = f"has {values} different texts: nothing would be left to explain"
            dropped.append(("control", name, count, reason))
            continue
        column, known = filled_numbers(levels)
        if (column != column[0]).any():
            controls[name] = column
        if not known.all():
            controls[f"{name} has no value"] = (~known).astype(np.float64)
    return controls
