"""Every layer of every network measured on classes it was never trained on; saves as it goes."""

import concurrent.futures
import dataclasses
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from experiments.unseen import Split
from genjax import report
from genjax.metrics.layers import (
    PIXELS,
    Settings,
    embeddings,
    joint,
    measure,
    normalise,
    readouts,
)
from genjax.report.layers import CHEAP, HALVED, JUDGED, Tables
from genjax.report.storage import OutputFolder
from genjax.training import Population, TrainedGroup

_HALF = Settings(restarts=1, draws=0, permutations=0, groups=0)
_KINDS = ("rows", "draws", "halves")


class _Network(NamedTuple):
    """One trained network with what identifies it in tables."""

    group: TrainedGroup
    position: int
    identity: dict[str, Any]


def settings_of(config: Any) -> Settings:
    """Return the numbers of the scores."""
    return Settings(
        restarts=config.scores.restarts,
        purity_neighbours=config.scores.purity_neighbours,
        draws=config.scores.draws,
        level=config.scores.level,
        permutations=0,  # chance is that of the classes; the layers page says it once
        groups=0,  # intervals are over networks
        seed=config.seed,
    )


def measured(
    config: Any, drawn: Sequence[Split], populations: Sequence[Population], output: OutputFolder,
    mark: str,
) -> Tables:  # fmt: skip
    """Measure all networks of all splits; what this very run has measured already is read.

    Args:
        config: fields as in configs/layers.py.
        drawn: the splits.
        populations: their networks.
        output: where it is saved, network by network.
        mark: identifies the run.
    """
    jobs = [
        (place, split, network)
        for place, (split, population) in enumerate(zip(drawn, populations, strict=True))
        for network in _networks(place, population)
    ]
    lock, done = threading.Lock(), 0

    def one(job: tuple[int, Split, _Network]) -> dict[str, pd.DataFrame]:
        nonlocal done
        place, split, network = job
        name = f"measured/{place:03d}_{network.identity['network']}"
        tables = _restored(output, name, mark)
        if tables is None:
            with threadpool_limits(1):  # of OpenMP it holds for the thread that asks
                tables = _measure(config, split, network, place)
            for kind, table in tables.items():
                output.write_parquet(f"{name}_{kind}", table.assign(mark=mark))
        with lock:
            done += 1
            advance(done, len(jobs), network.identity["model"])
        return tables

    # One network per core: threads of BLAS would wait for each other more than they compute.
    with (
        report.terminal.progress("layers", unit="networks") as advance,
        threadpool_limits(1),
        concurrent.futures.ThreadPoolExecutor(len(jax.devices())) as pool,
    ):
        advance(0, len(jobs), "measuring")
        found = list(pool.map(one, jobs))
    rows, draws, halves = (
        pd.concat([tables[kind] for tables in found], ignore_index=True) for kind in _KINDS
    )
    return Tables(rows, draws, halves)


def _networks(place: int, population: Population):
    table = population.table()
    accuracy = table["metric.validation_accuracy"]  # recorded, not chosen by
    position = 0
    for group in population.groups:
        for index in range(len(group.seeds)):
            row = table.iloc[position]
            identity = {
                "network": row["network"],
                "split": place,
                "model": row["model"],
                "family": row["family"],
                "seed": int(row["seed"]),
                "seen_accuracy": float(accuracy.iloc[position]),
                "status": row["metric.status"],
            }
            position += 1
            yield _Network(group, index, identity)


def _restored(output: OutputFolder, name: str, mark: str) -> dict[str, pd.DataFrame] | None:
    found = {}
    for kind in _KINDS:
        if not output.exists(f"{name}_{kind}.parquet"):
            return None
        table = output.read_parquet(f"{name}_{kind}")
        if "mark" not in table or set(table["mark"]) != {mark}:
            return None
        found[kind] = table.drop(columns="mark")
    return found


def _measure(config: Any, split: Split, network: _Network, place: int) -> dict[str, pd.DataFrame]:
    """Return rows, bootstrap draws and scores on halves of the unseen classes of one network."""
    group, index = network.group, network.position
    params = group.network_params(index)
    tables: dict[str, list[pd.DataFrame]] = {kind: [] for kind in _KINDS}
    settings, plain = settings_of(config), dataclasses.replace(settings_of(config), draws=0)
    labels = split.unseen.labels

    def add(kind, layer, depth, rows, **more):
        tables[kind].append(_frame(rows, layer=layer, place=depth, **more))

    def layers_of(params, images, chosen=None):
        found = embeddings.extract(group.network, params, images, chosen, seed=config.seed)
        names = list(dict.fromkeys(layer for layer, _ in found))
        reach = max(len(names) - 1, 1)
        return [
            (layer, readout, names.index(layer) / reach, points)
            for (layer, readout), points in found.items()
        ]

    trained = {"source": "trained", "normalisation": "raw"}
    seen = layers_of(params, split.seen.images)
    centres = {(layer, readout): points.mean(axis=0) for layer, readout, _, points in seen}
    for layer, readout, depth, points in layers_of(params, split.unseen.images):
        centre = centres[layer, readout]
        found = measure(points, labels, config.scores.names, settings, base_mean=centre)
        add("rows", layer, depth, found, readout=readout, on="unseen", **trained)
        add("rows", layer, depth, measure(points, labels, ("label_free",), plain),
            readout=readout, on="unseen_without_labels", **trained)  # fmt: skip
        tables["draws"].append(_drawn(found, layer, depth))
        tables["halves"].append(_halved(config, split, points, layer, depth))
    for layer, readout, depth, points in seen:
        found = measure(points, split.seen.labels, config.scores.selectors, plain)
        add("rows", layer, depth, found, readout=readout, on="seen", **trained)
    first = jax.tree.map(lambda leaf: leaf[index], group.init_params)
    for layer, readout, depth, points in layers_of(first, split.unseen.images):
        found = measure(points, labels, JUDGED, plain)
        add("rows", layer, depth, found, readout=readout, on="unseen", source="initial",
            normalisation="raw")  # fmt: skip
    pixels = split.unseen.images.reshape(len(labels), -1)
    add("rows", PIXELS, np.nan, measure(pixels, labels, config.scores.names, settings),
        readout="flatten", on="unseen", source=PIXELS, normalisation="raw")  # fmt: skip
    if place < config.scores.readouts:
        for layer, readout, depth, points in layers_of(
            params, split.unseen.images, readouts.READOUTS
        ):
            for how in readouts.NORMALISATIONS:
                found = measure(np.asarray(normalise(points, how)), labels, CHEAP, plain)
                add("rows", layer, depth, found, readout=readout, on="readouts",
                    source="trained", normalisation=how)  # fmt: skip
        _add_joint(add, config, split, layers_of, params, plain)
    return {
        kind: pd.concat(parts, ignore_index=True).assign(**network.identity)
        for kind, parts in tables.items()
    }


def _add_joint(add, config, split: Split, layers_of, params, settings: Settings) -> None:
    """Add scores of seen and unseen classes together."""
    images = np.concatenate([split.seen.images, split.unseen.images])
    count = split.seen.num_classes
    labels = np.concatenate([split.seen.labels, split.unseen.labels + count])
    for layer, readout, depth, points in layers_of(params, images):
        if not embeddings.flags(points).constant:
            found = joint.measure_joint(points, labels, labels < count, settings)
            add("rows", layer, depth, found, readout=readout, on="joint", source="trained",
                normalisation="raw")  # fmt: skip


def _frame(found: Sequence[Any], **more: Any) -> pd.DataFrame:
    fields = ("metric", "value", "low", "high", "chance", "flag")
    return pd.DataFrame([{f: getattr(row, f) for f in fields} for row in found]).assign(**more)


def _drawn(found: Sequence[Any], layer: str, place: float) -> pd.DataFrame:
    """Return the estimate (draw 0) and the bootstrap draws of the scores that are judged by."""
    parts = [
        pd.DataFrame({"metric": row.metric, "value": np.concatenate([[row.value], row.draws])})
        for row in found
        if row.metric in JUDGED
    ]
    parts = [part.assign(draw=np.arange(len(part))) for part in parts]
    return pd.concat(parts, ignore_index=True).assign(layer=layer, place=place)


def _halved(config: Any, split: Split, points: np.ndarray, layer: str, place: float):
    """Return scores on random halves of the unseen classes."""
    rng = np.random.default_rng(config.seed)  # the same halves for every layer
    labels, classes = split.unseen.labels, split.unseen.num_classes
    parts = []
    for halving in range(config.scores.halvings):
        order = rng.permutation(classes)
        for side, own in enumerate((order[: classes // 2], order[classes // 2 :])):
            kept = np.isin(labels, own)
            found = measure(points[kept], labels[kept], HALVED, _HALF)
            parts.append(_frame(found, halving=halving, side=side))
    return pd.concat(parts, ignore_index=True).assign(layer=layer, place=place)
