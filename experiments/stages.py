"""The stages that experiments share: get a population and measure it, saving as they go."""

import concurrent.futures
import shutil
import threading
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import pandas as pd
import xarray as xr

import genjax
from experiments import configuration, measuring, pretrained, trial
from genjax import errors, report, training
from genjax.metrics import recorded, testbed
from genjax.metrics.complexity import Refused
from genjax.training import Population, TrainingData


class Measured(NamedTuple):
    """What the analysis starts from.

    Attributes:
        plan: the checked configuration.
        population: trained networks.
        bed: the testbed.
        cells: per-class error and kappa distance of every network in every cell.
        seconds: wall time per stage.
    """

    plan: configuration.Plan | configuration.Reading
    population: Population
    bed: testbed.Testbed
    cells: xr.Dataset
    seconds: Mapping[str, float]


class Ready(NamedTuple):
    """A configuration that is known to work.

    Attributes:
        plan: the checked configuration.
        data: what the networks are to be trained on; None where they were trained elsewhere.
        bed: the testbed.
        seconds: wall time per stage.
        population: networks that were trained elsewhere; None where they are to be trained.
    """

    plan: configuration.Plan | configuration.Reading
    data: TrainingData | None
    bed: testbed.Testbed
    seconds: Mapping[str, float]
    population: Population | None = None


def trains(config: Any) -> bool:
    """Return whether a configuration trains its networks, instead of naming their weights."""
    return "networks" not in config


def resolved(config: Any) -> Any:
    """Return the configuration with whatever it takes from the environment.

    Raises:
        InvalidInputError: something is missing there.
    """
    return config if trains(config) else pretrained.resolved(config)


def prepare(config: Any) -> Ready:
    """Load and check everything and calibrate the shift; nothing is trained or written."""
    seconds = {}
    started = time.monotonic()
    data = population = None
    if trains(config):
        plan = configuration.plan(config)
        data = TrainingData(
            testbed.seen_only(plan.examples.take(plan.splits.train), plan.classes),
            testbed.seen_only(plan.examples.take(plan.splits.validation), plan.classes),
        )
        training.check(plan.sweep, data, jax.random.key(config.seed))
    else:
        plan, population = pretrained.load(config)
    seconds["load"] = time.monotonic() - started

    started = time.monotonic()
    with report.terminal.progress("testbed", unit="shifts") as advance:
        advance(0, 1, f"calibrating {config.testbed.shift}")
        bed = configuration.build_testbed(config, plan)
        advance(1, 1, f"calibrated {config.testbed.shift}")
    seconds["testbed"] = time.monotonic() - started
    return Ready(plan, data, bed, seconds, population)


def train_and_measure(config: Any, ready: Ready, output: report.storage.OutputFolder) -> Measured:
    """Run every stage up to the cells; a second run goes on where the first one stopped."""
    plan, bed, seconds = ready.plan, ready.bed, dict(ready.seconds)
    population = ready.population
    if population is None:
        started = time.monotonic()
        population = _train(config, plan, ready.data, output)
        seconds["train"] = time.monotonic() - started
    else:
        output.write_parquet("networks.parquet", population.table())

    started = time.monotonic()
    cells = _measure(config, plan, population, bed, output)
    output.write_netcdf("practical.nc", cells)
    seconds["measure"] = time.monotonic() - started
    return Measured(plan, population, bed, cells, seconds)


def measure_networks(
    config: Any, measured: Measured, output: report.storage.OutputFolder
) -> tuple[pd.DataFrame, tuple[Refused, ...]]:
    """Return one row per network with errors and measures, and which measures were refused.

    The table of networks is written anew, with measures and errors.
    """
    plan, found, refused = measured.plan, None, ()
    groups = measured.population.groups
    elsewhere = any(group.training is None for group in groups)
    outputs = tuple(range(groups[0].network.num_classes))
    # A network trained elsewhere knows its own labels only: all of them, in their order.
    if config.measures.names and not (elsewhere and plan.classes.seen != outputs):
        train, validation, test = (
            testbed.seen_only(plan.examples.take(part), plan.classes) for part in plan.splits
        )
        source = trial.Trial(train, validation, test, None, config.seed)
        if elsewhere:  # it was trained on more than the heads are, their validation set included
            size = config.networks.train_size
            source = trial.Trial(train, None, test, None, config.seed, size)
        found, refused = measuring.measure(
            measured.population,
            source,
            output,
            tuple(config.measures.names),
            examples=config.measures.examples,
            config=configuration.as_plain(config),
        )
    table = recorded.measured_table(measured.population, measured.cells)
    if found is not None:
        table = measuring.with_measures(table, found)
    output.write_parquet("networks.parquet", table)
    return table, refused


def forget(output: report.storage.OutputFolder) -> None:
    """Remove checkpoints, cells and measures of whatever run is in the folder.

    Raises:
        OutputError: they cannot be removed.
    """
    try:
        for pattern in ("group_*", "split_*"):
            for folder in (output.path / "checkpoints").glob(pattern):
                shutil.rmtree(folder)
        for file in [
            *(output.path / "cells").glob("group_*.nc"),
            *(output.path / "measured").glob("*.*"),
        ]:
            file.unlink()
    except OSError as error:
        raise errors.OutputError(
            f"output folder '{output.path}': what another run left cannot be removed ({error})."
        ) from error


def _restored(output, name: str, mark: str) -> xr.Dataset | None:
    """Return the cells of a group that this very run measured before it was stopped."""
    if not output.exists(name):
        return None
    cells = output.read_netcdf(name)
    return cells if cells.attrs.get("config_hash") == mark else None


def _train(config, plan, data, output) -> Population:
    """Train, and write one row per network even where none is left."""
    try:
        with report.terminal.progress("training", unit="steps") as advance:
            population = training.sweep(
                plan.sweep,
                data,
                jax.random.key(config.seed),
                checkpoints=output.path / "checkpoints",
                checkpoint_seconds=config.checkpoint_seconds,
                on_progress=advance,
            )
    except errors.DivergenceError as error:
        if error.population is None:
            raise
        path = output.write_parquet("networks.parquet", error.population.table())
        raise errors.DivergenceError(
            f"{error} Every network's last record is in {path}."
        ) from error
    output.write_parquet("networks.parquet", population.table())
    return population


def _measure(config, plan, population, bed, output) -> xr.Dataset:
    """Measure group by group; each is saved as soon as it is done."""
    # Training sees seen classes only, so its checkpoints cannot tell that other images changed.
    mark = report.provenance.config_hash(
        {
            "config": configuration.as_plain(config),
            "data": plan.examples.fingerprint,
            "version": genjax.__version__,
        }
    )
    key = jax.random.fold_in(jax.random.key(config.seed), 2)
    protocols = plan.protocols
    total, done = len(population.groups) * len(protocols), 0
    devices = jax.devices()
    lock = threading.Lock()

    def measure(index, device, group):
        name = f"cells/group_{index:03d}.nc"
        restored = _restored(output, name, mark)
        if restored is not None:
            on_protocol("restored", len(protocols))
            return restored
        cells = testbed.measure_group(
            group, bed, protocols, key, device=device, on_protocol=on_protocol
        )
        cells.attrs["config_hash"] = mark
        output.write_netcdf(name, cells)
        return cells

    def on_protocol(protocol, count=1):
        nonlocal done
        with lock:
            done += count
            advance(done, total, protocol)

    # Devices work side by side, each on every k-th group.
    with (
        report.terminal.progress("measuring", unit="heads") as advance,
        concurrent.futures.ThreadPoolExecutor(len(devices)) as pool,
    ):
        jobs = [
            pool.submit(measure, i, devices[i % len(devices)], group)
            for i, group in enumerate(population.groups)
        ]
        return testbed.combine([job.result() for job in jobs])
