"""Embeddings that somebody else made: every layer of an npz file, scored."""

import concurrent.futures
import dataclasses
import hashlib
import pathlib
import sys
import threading
import time
from typing import Any

import jax
import numpy as np
import pandas as pd
from absl import flags
from threadpoolctl import threadpool_limits

from experiments import study
from genjax import errors, report
from genjax.metrics import layers
from genjax.metrics.layers import DYBALLA2024, Settings, embeddings, readouts
from genjax.report import embeddings as embeddings_page
from genjax.report.storage import OutputFolder

FLAGS = flags.FLAGS
PRESETS = ("", "dyballa2024")


def define_flags() -> None:
    """Define how a file is read and scored."""
    flags.DEFINE_string(
        "embeddings", None, "npz file with layer/NAME [N, ...], labels [N], perhaps seen [N]."
    )
    flags.DEFINE_string("preset", "", "'dyballa2024': as the code of the paper computes.")
    flags.DEFINE_list("metrics", None, "With --embeddings: scores, families or groups.")
    flags.DEFINE_list("readouts", None, "With --embeddings: readouts of tokens and maps.")
    flags.DEFINE_list("normalisations", ["raw"], "With --embeddings: raw, l2, zscore.")
    flags.DEFINE_bool("class_token", False, "With --embeddings: the first token is one.")
    flags.DEFINE_integer("clusters", 0, "With --embeddings: of k-means; 0: one per class.", 0)
    flags.DEFINE_integer(
        "seen_clusters",
        0,
        "With --embeddings: the same for seen classes (95 in the paper's code).",
        0,
    )
    flags.DEFINE_integer("seed", None, "With --embeddings: of everything random.", 0)
    flags.DEFINE_integer("draws", 200, "With --embeddings: bootstrap samples; 0: no intervals.", 0)


class _Asked:
    """What the flags ask for, checked before the file is read."""

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

    def plain(self, fingerprint: str) -> dict[str, Any]:
        """Return it as written to the run card."""
        return {
            "name": "layers_of_a_file",
            "embeddings": str(FLAGS.embeddings),
            "fingerprint": fingerprint,
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


def measure_file() -> None:
    """Score every layer of a file; write layers.csv, a figure and a page."""
    begun, asked = study.begin(), _Asked()
    stored = embeddings.load(FLAGS.embeddings)
    _check_readouts(stored, asked)
    path = pathlib.Path(FLAGS.embeddings).expanduser()
    with path.open("rb") as file:
        fingerprint = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    config = asked.plain(fingerprint)
    card: dict[str, Any] = {
        "data_fingerprint": fingerprint,
        "seeds": [asked.settings.seed],
        "command": " ".join(sys.argv),
        "started": begun.started,
    }
    output = study.opened(config, card)
    if output is None:
        return
    table = _scored(stored, asked, output, report.provenance.config_hash(config))
    done = report.provenance.run_card(
        config, **card, wall_times={"all": time.monotonic() - begun.clock}, status="complete"
    )
    written = embeddings_page.write(output, table, done)
    written["run card"] = output.write_run_card(done)
    embeddings_page.tell(table)
    report.terminal.paths(written)


def _scored(stored, asked: _Asked, output: OutputFolder, mark: str) -> pd.DataFrame:
    """Return one row per layer, readout, normalisation, set of examples and metric."""
    lock, done = threading.Lock(), 0

    def one(job: tuple[int, str]) -> pd.DataFrame:
        nonlocal done
        place, layer = job
        name = f"measured/{place:03d}"
        table = output.read_parquet(name) if output.exists(f"{name}.parquet") else None
        if FLAGS.overwrite or table is None or set(table["mark"]) != {mark}:
            with threadpool_limits(1):  # of OpenMP it holds for the thread that asks
                rows = [
                    row
                    for readout, how, points in _points(stored.layers[layer], asked)
                    for row in _rows(points, stored, asked, layer, readout, how)
                ]
            table = pd.DataFrame(rows).assign(mark=mark)
            output.write_parquet(name, table)
        with lock:
            done += 1
            advance(done, len(stored.layers), layer)
        return table.drop(columns="mark")

    # One layer per core: threads of BLAS would wait for each other more than they compute.
    with (
        report.terminal.progress("layers", unit="layers") as advance,
        threadpool_limits(1),
        concurrent.futures.ThreadPoolExecutor(len(jax.devices())) as pool,
    ):
        advance(0, len(stored.layers), "measuring")
        return pd.concat(list(pool.map(one, enumerate(stored.layers))), ignore_index=True)


def _points(activation: np.ndarray, asked: _Asked):
    """Yield (readout, normalisation, points) of a layer."""
    tokens = FLAGS.class_token and activation.ndim == 3
    default = "class_token" if tokens else "mean" if activation.ndim > 2 else "flatten"
    allowed = readouts.applicable(activation.shape, class_token=tokens)
    # A vector has no places to choose from: it is read as it is.
    chosen = [r for r in asked.readouts or (default,) if r in allowed]
    for readout in chosen or ["flatten"]:
        for how in FLAGS.normalisations:
            with jax.enable_x64(activation.dtype == np.float64):  # files keep their digits
                key = jax.random.key(asked.settings.seed)
                points = readouts.read(activation, readout, class_token=tokens, key=key)
                read = np.asarray(readouts.normalise(points, how))
            yield readout, how, read


def _check_readouts(stored: Any, asked: _Asked) -> None:
    """Refuse readouts that tokens or maps of the file do not have."""
    for layer, activation in stored.layers.items():
        if activation.ndim == 2 or not asked.readouts:
            continue
        tokens = FLAGS.class_token and activation.ndim == 3
        allowed = readouts.applicable(activation.shape, class_token=tokens)
        missing = [readout for readout in asked.readouts if readout not in allowed]
        if missing:
            raise errors.InvalidInputError(
                f"readouts: layer '{layer}' of shape {activation.shape} has no {missing[0]}; it "
                f"has {', '.join(allowed)} (--class_token says that the first token is one)."
            )


def _rows(points, stored, asked: _Asked, layer: str, readout: str, how: str):
    """Yield one row per set of examples and metric."""
    everything = np.ones(len(points), bool)
    sets = {"all": everything}
    if stored.seen is not None:
        sets = {"unseen": ~stored.seen, "seen": stored.seen}
    for examples, kept in sets.items():
        settings = asked.settings
        if examples == "seen" and FLAGS.seen_clusters:
            settings = dataclasses.replace(settings, clusters=FLAGS.seen_clusters)
        found = layers.measure(
            points[kept], stored.labels[kept], asked.metrics, settings, keep_constant=asked.paper,
            base_mean=points[stored.seen].mean(axis=0) if examples == "unseen" else None,
        )  # fmt: skip
        yield from (_row(one, layer, readout, how, examples) for one in found)
    if stored.seen is not None and not embeddings.flags(points).constant:
        found = layers.measure_joint(points, stored.labels, stored.seen, asked.settings)
        yield from (_row(one, layer, readout, how, "joint") for one in found)


def _row(one, layer: str, readout: str, how: str, examples: str) -> dict[str, Any]:
    fields = ("metric", "value", "low", "high", "chance", "chance_high", "flag")
    identity = {"layer": layer, "readout": readout, "normalisation": how}
    return identity | {f: getattr(one, f) for f in fields} | {"examples": examples}
