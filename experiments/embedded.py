"""Networks that somebody else made: every layer of an npz file of embeddings, or of a network."""

import concurrent.futures
import dataclasses
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import pandas as pd
from absl import flags
from threadpoolctl import threadpool_limits

from experiments import study, subjects
from experiments.subjects import Layer, Subject
from genjax import errors, report
from genjax.metrics import layers
from genjax.metrics.layers import DYBALLA2024, Settings, embeddings, readouts
from genjax.report import embeddings as embeddings_page
from genjax.report.storage import OutputFolder

FLAGS = flags.FLAGS
PRESETS = ("", "dyballa2024")
HERE = "With --embeddings or --weights: "


def define_flags() -> None:
    """Define which layers are read, how, and how they are scored."""
    subjects.define_flags()
    flags.DEFINE_string("preset", "", "'dyballa2024': as the code of the paper computes.")
    flags.DEFINE_list("metrics", None, HERE + "scores, families or groups.")
    flags.DEFINE_list("readouts", None, HERE + "readouts of tokens and maps.")
    flags.DEFINE_list("normalisations", ["raw"], HERE + "raw, l2, zscore.")
    flags.DEFINE_integer("clusters", 0, HERE + "of k-means; 0: one per class.", 0)
    flags.DEFINE_integer(
        "seen_clusters", 0, HERE + "the same for seen classes (95 in the paper's code).", 0
    )
    flags.DEFINE_integer("seed", None, HERE + "of everything random.", 0)
    flags.DEFINE_integer("draws", 200, HERE + "bootstrap samples; 0: no intervals.", 0)


class Asked:
    """What the flags ask for, checked before anything is read."""

    def __init__(self):
        if FLAGS.preset not in PRESETS:
            raise errors.InvalidInputError(errors.suggest("preset", FLAGS.preset, PRESETS[1:]))
        self.paper = FLAGS.preset == "dyballa2024"
        self.metrics = tuple(FLAGS.metrics or (FLAGS.preset or "unseen",))
        layers.select(self.metrics)
        self.readouts = FLAGS.readouts and tuple(FLAGS.readouts)
        for name, found, allowed in (
            ("readouts", self.readouts or (), readouts.READOUTS),
            ("normalisations", FLAGS.normalisations, readouts.NORMALISATIONS),
        ):
            for value in found:
                if value not in allowed:
                    raise errors.InvalidInputError(errors.suggest(name, value, allowed))
        base = DYBALLA2024 if self.paper else Settings()
        seed = base.seed if FLAGS.seed is None else FLAGS.seed
        self.settings = dataclasses.replace(
            base, clusters=FLAGS.clusters, draws=FLAGS.draws, seed=seed
        )

    def plain(self) -> dict[str, Any]:
        """Return it as written to the run card."""
        return {
            "metrics": list(self.metrics),
            "readouts": list(self.readouts or ()),
            "normalisations": list(FLAGS.normalisations),
            "preset": FLAGS.preset,
            "class_token": FLAGS.class_token,
            "seen_clusters": FLAGS.seen_clusters,
            "settings": {
                name: list(value) if isinstance(value, tuple) else value
                for name, value in dataclasses.asdict(self.settings).items()
            },
        }


def measure() -> None:
    """Score every layer of what the flags name; write layers.csv, a figure and a page."""
    begun, asked = study.begin(), Asked()
    subject = subjects.load(asked.readouts, asked.settings.seed)
    config = subject.config | asked.plain()
    card: dict[str, Any] = {
        "data_fingerprint": config["fingerprint"],
        "seeds": [asked.settings.seed],
        "command": " ".join(sys.argv),
        "started": begun.started,
    }
    output = study.opened(config, card)
    if output is None:
        return
    table = _scored(subject, asked, output, report.provenance.config_hash(config))
    done = report.provenance.run_card(
        config, **card, wall_times={"all": time.monotonic() - begun.clock}, status="complete"
    )
    written = embeddings_page.write(output, table, done, f"Layers of {subject.name}")
    written["run card"] = output.write_run_card(done)
    embeddings_page.tell(table)
    report.terminal.paths(written)


def _scored(subject: Subject, asked: Asked, output: OutputFolder, mark: str) -> pd.DataFrame:
    """Return one row per layer, readout, normalisation, set of examples and metric."""
    lock, done = threading.Lock(), 0

    def one(job: tuple[int, Layer]) -> pd.DataFrame:
        nonlocal done
        place, layer = job
        name = f"measured/{place:03d}"
        table = output.read_parquet(name) if output.exists(f"{name}.parquet") else None
        if FLAGS.overwrite or table is None or set(table["mark"]) != {mark}:
            with threadpool_limits(1):  # of OpenMP it holds for the thread that asks
                rows = [row for way in _ways(layer) for row in _rows(*way, subject, asked, layer)]
            table = pd.DataFrame(rows).assign(mark=mark)
            output.write_parquet(name, table)
        with lock:
            done += 1
            advance(done, len(subject.layers), layer.name)
        return table.drop(columns="mark")

    # One layer per core: threads of BLAS would wait for each other more than they compute.
    with (
        report.terminal.progress("layers", unit="layers") as advance,
        threadpool_limits(1),
        concurrent.futures.ThreadPoolExecutor(len(jax.devices())) as pool,
    ):
        advance(0, len(subject.layers), "measuring")
        return pd.concat(list(pool.map(one, enumerate(subject.layers))), ignore_index=True)


def _ways(layer: Layer) -> Iterator[tuple[np.ndarray, str, str]]:
    """Yield (points, readout, normalisation)."""
    for readout, points in layer.read():
        for how in FLAGS.normalisations:
            with jax.enable_x64(points.dtype == np.float64):  # files keep their digits
                yield np.asarray(readouts.normalise(points, how)), readout, how


def _rows(
    points: np.ndarray, readout: str, how: str, subject: Subject, asked: Asked, layer: Layer
) -> Iterator[dict[str, Any]]:
    """Yield one row per set of examples and metric."""
    labels, seen = subject.labels, subject.seen
    sets = {"all": np.ones(len(points), bool)}
    if seen is not None:
        sets = {"unseen": ~seen, "seen": seen}
    for examples, kept in sets.items():
        settings = asked.settings
        if examples == "seen" and FLAGS.seen_clusters:
            settings = dataclasses.replace(settings, clusters=FLAGS.seen_clusters)
        found = layers.measure(
            points[kept], labels[kept], asked.metrics, settings, keep_constant=asked.paper,
            base_mean=points[seen].mean(axis=0) if examples == "unseen" else None,
        )  # fmt: skip
        yield from (_row(one, layer, readout, how, examples) for one in found)
    if seen is not None and not embeddings.flags(points).constant:
        found = layers.measure_joint(points, labels, seen, asked.settings)
        yield from (_row(one, layer, readout, how, "joint") for one in found)


def _row(one, layer: Layer, readout: str, how: str, examples: str) -> dict[str, Any]:
    fields = ("metric", "value", "low", "high", "chance", "chance_high", "flag")
    identity = {"layer": layer.name, "readout": readout, "normalisation": how}
    found = {f: getattr(one, f) for f in fields}
    return identity | found | {"examples": examples, "source": layer.source}
