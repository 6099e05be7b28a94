"""Measure a population group by group, and relate measures to errors: shared by experiments."""

import concurrent.futures
import gc
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
import pandas as pd

import genjax
from experiments import trial
from experiments.trial import Trial, errors_on
from genjax import errors, report
from genjax.data import Examples
from genjax.metrics import complexity, recorded
from genjax.metrics.complexity.measuring import Refused, columns, merged
from genjax.report.storage import OutputFolder
from genjax.statistics import relations
from genjax.training import Population, execution, segment


def table(population: Population, trial: Trial, measured: pd.DataFrame) -> pd.DataFrame:
    """Return one row per network: `hp.*`, errors, recorded measures, and those of the zoo.

    Widths become `hp.width` and `hp.depth`; `metric.gap` is test error minus train error.
    """
    rows = population.table()
    widths = rows.pop("hp.widths").str.split("x")
    rows["hp.width"] = [int(w[0]) for w in widths]
    rows["hp.depth"] = [len(w) for w in widths]
    rows["metric.test_error"] = errors_on(population, trial.test)
    rows["metric.gap"] = rows["metric.test_error"] - (1 - rows["metric.train_accuracy"])
    parts = [pd.DataFrame(recorded.recorded_measures(group)) for group in population.groups]
    before = pd.concat(parts, ignore_index=True).add_prefix("measure.")
    return with_measures(pd.concat([rows, before], axis=1), measured)


def with_measures(rows: pd.DataFrame, measured: pd.DataFrame) -> pd.DataFrame:
    """Return the table of networks with measures of the zoo added.

    What the table holds of other measures stays; what is measured again is replaced.
    """
    again = {str(c).removeprefix("measure.") for c in measured if str(c).startswith("measure.")}
    old = [
        c
        for c in rows
        if c in measured or (str(c).startswith("info.") and str(c).split(".")[1] in again)
    ]
    return pd.concat([rows.drop(columns=old), measured], axis=1)


def converged(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows whose training reached its threshold; measures compare like with like.

    The index is still that of the whole table.

    Raises:
        InvalidInputError: none did.
    """
    reached = rows.loc[rows["metric.status"] == segment.STATUS_NAMES[segment.REACHED]]
    if not len(reached):
        raise errors.InvalidInputError(
            "training: no network reached training.threshold; raise it, or training.max_steps."
        )
    return pd.DataFrame(reached)


def measure(
    population: Population,
    trial: Trial,
    output: OutputFolder,
    names: tuple[str, ...],
    *,
    examples: int,
    config: Mapping[str, Any],
) -> tuple[pd.DataFrame, tuple[Refused, ...]]:
    """Measure group by group; each is saved as soon as it is done.

    Args:
        population: the networks.
        trial: their data.
        output: where groups are kept, in `measured/`.
        names: measures, families, `fast` or `all`.
        examples: training, validation and unlabelled examples that measures read at most.
        config: of the run; groups kept under another one, or of other data, are not used.

    Returns:
        Columns `measure.*` and `info.*`, and what was refused, with rows of the table.
    """
    chosen = tuple(m.name for m in complexity.select(names))
    mark = report.provenance.config_hash(
        {
            "config": config,
            "data": [s.fingerprint for s in (trial.train, trial.validation, trial.test) if s],
            "version": genjax.__version__,
        }
    )
    # What needs no labels predicts the error on the test images; their labels stay here.
    held_out = None if trial.validation is None else _some(trial.validation, examples)
    measured = complexity.measure_data(
        _some(trial.train, examples),
        held_out,
        _some(trial.test, examples),
        train_size=trial.train_size or len(trial.train),
    )
    key = jax.random.fold_in(jax.random.key(trial.seed), 3)
    groups = population.groups
    devices = jax.devices()
    # Many architectures are measured side by side, each on a device of its own so that it compiles
    # once; a few are spread over all devices.
    kinds = list(dict.fromkeys(group.network.name for group in groups))
    queues: list[tuple[execution.Execution | None, list[int]]] = [(None, list(range(len(groups))))]
    if len(kinds) >= 2 * len(devices):
        queues = [(execution.choose([device]), []) for device in devices]
        for index, group in enumerate(groups):
            queues[kinds.index(group.network.name) % len(devices)][1].append(index)
    lock, done = threading.Lock(), 0

    def one(
        index: int, form: execution.Execution | None
    ) -> tuple[pd.DataFrame, tuple[Refused, ...]]:
        nonlocal done
        kept = _kept(output, index, mark)
        if kept is None:
            found = complexity.measure_group(groups[index], measured, chosen, key=key, form=form)
            kept = columns(found), found.refused
            said = [r._asdict() for r in found.refused]
            output.write_parquet(f"measured/group_{index:03d}", kept[0])
            output.write_json(f"measured/group_{index:03d}", {"mark": mark, "refused": said})
            # Programs that are out of use keep tens of thousands of memory maps until then.
            gc.collect()
        with lock:
            done += len(groups[index].seeds)
            advance(done, total, groups[index].network.name)
        return kept

    def in_turn(queue) -> list[tuple[int, Any]]:
        form, own = queue
        return [(index, one(index, form)) for index in own]

    total = sum(len(g.seeds) for g in groups)
    with (
        report.terminal.progress("measures", unit="networks") as advance,
        concurrent.futures.ThreadPoolExecutor(len(queues)) as pool,
    ):
        advance(0, total, f"compiling {len(chosen)} measures")
        found = dict(pair for own in pool.map(in_turn, queues) for pair in own)
    results = [found[index] for index in range(len(groups))]
    starts = np.cumsum([0, *(len(g.seeds) for g in groups)])
    refused = [
        r._replace(networks=tuple(int(start) + i for i in r.networks))
        for start, (_, said) in zip(starts, results, strict=False)
        for r in said
    ]
    return pd.concat([frame for frame, _ in results], ignore_index=True), merged(refused)


def fresh(
    config: Any, plain: Mapping[str, Any], ready: Trial, output: OutputFolder
) -> tuple[Population, pd.DataFrame, list[Refused]]:
    """Train and measure; return the networks, a row for each that converged, and refusals.

    Args:
        config: fields as in configs/measures.py.
        plain: the same as written to the run card.
        ready: from `trial.prepare`.
        output: checkpoints and measured groups go there, and the table of all networks.
    """
    population = trial.train(config, ready, output)
    names, examples = tuple(plain["measures"]["names"]), config.measures.examples
    measured, refused = measure(population, ready, output, names, examples=examples, config=plain)
    rows = table(population, ready, measured)
    output.write_parquet("networks", rows)
    kept = converged(rows)
    return population, kept.reset_index(drop=True), among(refused, kept.index)


def among(refused: Sequence[Refused], kept: pd.Index) -> list[Refused]:
    """Return the refusals of the rows kept, by their new positions.

    Args:
        refused: with rows of the whole table.
        kept: old row of each row kept.

    Example:
        >>> among([Refused("margin", (0, 2), "negative")], pd.Index([1, 2]))[0].networks
        (1,)
    """
    places = {int(row): place for place, row in enumerate(kept)}
    found = [
        r._replace(networks=tuple(places[row] for row in r.networks if row in places))
        for r in refused
    ]
    return [r for r in found if r.networks]


def _some(examples: Examples, count: int) -> Examples:
    """Return a random sample, the same one however the examples are ordered elsewhere."""
    chosen = np.random.default_rng(0).permutation(len(examples))[:count]
    return examples.take(np.sort(chosen))


def _kept(output: OutputFolder, index: int, mark: str):
    name = f"measured/group_{index:03d}"
    if not (output.exists(f"{name}.json") and output.exists(f"{name}.parquet")):
        return None
    said = output.read_json(name)
    if said["mark"] != mark:
        return None
    refused = (Refused(r["measure"], tuple(r["networks"]), r["reason"]) for r in said["refused"])
    return output.read_parquet(name), tuple(refused)


def relate(table: pd.DataFrame, target: str, **settings: Any) -> relations.Relations:
    """Relate measures to the target, seed by seed, with a progress bar."""
    with report.terminal.progress("statistics", "stages") as on_progress:
        return relations.relate(
            table, target=target, seed_column="seed", on_progress=on_progress, **settings
        )


def relate_population(config: Any, table: pd.DataFrame) -> relations.Relations | str:
    """Relate the measures of networks to their mean error over all cells, or say why not."""
    try:
        return relations.relate(
            recorded.by_family_and_size(table),
            target="metric.practical_error",
            seed_column="seed",
            draws=config.statistics.draws,
            level=config.statistics.level,
            seed=config.seed,
        )
    except errors.InvalidInputError as error:
        return f"No measure is related to the error: {error}"
