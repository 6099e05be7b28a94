"""Confusion counts for many networks and levels, against scikit-learn and NumPy.

    python benchmarks/accuracy.py [--networks=64 --levels=20 --examples=10000 --classes=100]

All forms run in one process on the same predictions and must agree exactly. The floor is reading
the predictions once at the measured memory bandwidth.
"""

import argparse

import jax
import numpy as np
import timing
from sklearn.metrics import confusion_matrix

from genjax.metrics import accuracy


def main():
    """Compare, print a table and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in (("networks", 64), ("levels", 20), ("examples", 10_000), ("classes", 100)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--output")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    count = options.classes
    labels = rng.integers(0, count, options.examples).astype(np.int32)
    shape = (options.networks, options.levels, options.examples)
    noise = rng.integers(0, count, shape).astype(np.int32)
    predictions = np.where(rng.random(shape) < 0.7, labels, noise).astype(np.int32)
    on_device = jax.device_put(predictions), jax.device_put(labels)

    def looped():
        rows = predictions.reshape(-1, options.examples)
        return np.stack([confusion_matrix(labels, r, labels=range(count)) for r in rows])

    def bincount():
        rows = predictions.reshape(-1, options.examples)
        flat = [np.bincount(labels * count + r, minlength=count**2) for r in rows]
        return np.stack(flat).reshape(-1, count, count)

    def ours():
        found = accuracy.confusion(on_device[1], on_device[0], num_classes=count)
        return np.asarray(jax.block_until_ready(found)).reshape(-1, count, count)

    forms = {"genjax": (ours, options.repetitions), "numpy bincount": (bincount, 3)}
    forms["scikit-learn loop"] = (looped, 1)
    rows, results = [], {}
    for name, (function, repetitions) in forms.items():
        seconds, results[name] = timing.timed(function, repetitions, warm=True)
        rows.append({"form": name, "milliseconds": 1e3 * seconds})
        np.testing.assert_array_equal(results[name], results["genjax"])
    copy, _ = timing.timed(predictions.copy, 5, warm=True)
    ours_ms = rows[0]["milliseconds"]
    for row in rows:
        row["genjax_is_faster_by"] = row["milliseconds"] / ours_ms
        print(
            f"{row['form']:20s} {row['milliseconds']:9.1f} ms   {row['genjax_is_faster_by']:6.1f}x"
        )
    print(f"floor: one pass over the predictions {1e3 * copy / 2:.1f} ms")
    shape = {k: getattr(options, k) for k in ("networks", "levels", "examples", "classes")}
    timing.write(options.output, shape=shape, floor_milliseconds=1e3 * copy / 2, rows=rows)


if __name__ == "__main__":
    main()
