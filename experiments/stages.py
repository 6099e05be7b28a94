"""The stages that experiments share: train a population and measure it, saving as they go."""

import concurrent.futures
import threading
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import xarray as xr

from experiments import configuration
from genjax import report, training
from genjax.metrics import testbed
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

    plan: configuration.Plan
    population: Population
    bed: testbed.Testbed
    cells: xr.Dataset
    seconds: Mapping[str, float]


def train_and_measure(config: Any, output: report.storage.OutputFolder) -> Measured:
    """Run every stage up to the cells; a second run goes on where the first one stopped."""
    seconds = {}
    started = time.monotonic()
    plan = configuration.plan(config)
    data = TrainingData(
        testbed.seen_only(plan.examples.take(plan.splits.train), plan.classes),
        testbed.seen_only(plan.examples.take(plan.splits.validation), plan.classes),
    )
    training.check(plan.sweep, data, jax.random.key(config.seed))
    seconds["load"] = time.monotonic() - started

    started = time.monotonic()
    with report.terminal.progress("testbed") as advance:
        advance(0, 1, f"calibrating {config.testbed.shift}")
        bed = configuration.build_testbed(config, plan)
        advance(1, 1, f"calibrated {config.testbed.shift}")
    seconds["testbed"] = time.monotonic() - started

    started = time.monotonic()
    with report.terminal.progress("training", unit="steps") as advance:
        population = training.sweep(
            plan.sweep,
            data,
            jax.random.key(config.seed),
            checkpoints=output.path / "checkpoints",
            checkpoint_seconds=config.checkpoint_seconds,
            on_progress=advance,
        )
    output.write_parquet("networks.parquet", population.table())
    seconds["train"] = time.monotonic() - started

    started = time.monotonic()
    cells = _measure(config, plan, population, bed, output)
    output.write_netcdf("practical.nc", cells)
    seconds["measure"] = time.monotonic() - started
    return Measured(plan, population, bed, cells, seconds)


def _measure(config, plan, population, bed, output) -> xr.Dataset:
    """Measure group by group; each is saved as soon as it is done."""
    key = jax.random.fold_in(jax.random.key(config.seed), 2)
    protocols = plan.protocols
    total, done = len(population.groups) * len(protocols), 0
    devices = jax.devices()
    lock = threading.Lock()

    def measure(index, device, group):
        name = f"cells/group_{index:03d}.nc"
        if (output.path / name).exists():
            on_protocol("restored", len(protocols))
            return output.read_netcdf(name)
        cells = testbed.measure_group(
            group, bed, protocols, key, device=device, on_protocol=on_protocol
        )
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
