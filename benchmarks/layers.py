"""All scores of all layers: how long 16 layers of 10,000 examples in 512 dimensions take.

    python benchmarks/layers.py [--layers=16] [--examples=10000] [--dimensions=512] [--classes=100]
    [--output=FILE]

There is no peer that computes them all; the scores that others have are timed beside them in
`benchmarks/clustering.py` and `benchmarks/neighbours.py`. Layers are made of class means that grow
apart with depth, in noise; one layer per core. The first layers compile: their times stand apart,
within the total. With intervals (200 bootstrap draws) and what chance gives (200 permutations), as
`python -m experiments.layers --embeddings=FILE` computes them.
"""

import argparse
import concurrent.futures
import dataclasses
import os
import statistics
import time

os.environ.setdefault("JAX_NUM_CPU_DEVICES", str(len(os.sched_getaffinity(0))))

import numpy as np
import timing
from threadpoolctl import threadpool_limits

from genjax.metrics import layers

SETTINGS = {
    "values": dataclasses.replace(layers.Settings(), draws=0, permutations=0, groups=0, restarts=1),
    "with_intervals": layers.Settings(groups=0),
}


def made(count: int, examples: int, dimensions: int, classes: int):
    """Yield layers, one after another, and the labels."""
    rng = np.random.default_rng(0)
    labels = np.arange(examples) % classes
    means = rng.normal(size=(classes, dimensions))
    for layer in range(count):
        noise = rng.normal(size=(examples, dimensions))
        yield (noise + 0.4 * (layer + 1) / count * means[labels]).astype(np.float32), labels


def timed(arguments, settings) -> dict:
    """Return the wall time of all layers, one per core, and seconds per family within it."""
    families = list(dict.fromkeys(score.family for score in layers.SCORES))
    sizes = (arguments.layers, arguments.examples, arguments.dimensions, arguments.classes)

    def one(layer) -> dict[str, float]:
        points, labels = layer
        seconds = {}
        for family in families:
            started = time.perf_counter()
            rows = layers.measure(points, labels, [family], settings)
            seconds[family] = time.perf_counter() - started
            bad = [row.metric for row in rows if not np.isfinite(row.value)]
            if bad:
                raise SystemExit(f"no value of {', '.join(bad)}")
        return seconds

    cores = len(os.sched_getaffinity(0))
    started = time.perf_counter()
    with threadpool_limits(1), concurrent.futures.ThreadPoolExecutor(cores) as pool:
        found = list(pool.map(one, made(*sizes)))
    total = time.perf_counter() - started
    return {
        "total_seconds": total,
        "first_layer": found[0],
        "median_of_a_layer": {f: statistics.median(s[f] for s in found) for f in families},
    }


def main() -> None:
    """Time both settings, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    sizes = {"layers": 16, "examples": 10_000, "dimensions": 512, "classes": 100}
    for name, default in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--output")
    arguments = parser.parse_args()
    found = {name: timed(arguments, settings) for name, settings in SETTINGS.items()}
    for name, row in found.items():
        print(f"{name}: {row['total_seconds']:.1f} s for {arguments.layers} layers")
        for family, seconds in sorted(row["median_of_a_layer"].items(), key=lambda r: -r[1]):
            print(
                f"  {family:20} {seconds:7.3f} s a layer, first {row['first_layer'][family]:.2f} s"
            )
    timing.write(arguments.output, scores=len(layers.SCORES), **vars(arguments), **found)


if __name__ == "__main__":
    main()
