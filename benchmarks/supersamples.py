"""Trainings of a supersample: all masks as one program, and one by one in PyTorch.

    python benchmarks/supersamples.py [--masks=30] [--pairs=250] [--steps=300] [--output=FILE]

Both train the same networks (an MLP 64-128-128-10 and a CNN of 16 and 32 channels on 8 x 8 digits,
Adam, batches of 32) for a fixed number of steps on the training sets of all masks of one
supersample; compilation stands apart. PyTorch runs eagerly with all cores, the form in which the
published experiments were run; `benchmarks/training.py` holds its faster forms.
"""

import argparse
import os
import time

os.environ.setdefault("JAX_NUM_CPU_DEVICES", str(len(os.sched_getaffinity(0))))

import jax
import numpy as np
import timing
import torch

from genjax import data, models
from genjax.metrics.information import supersample
from genjax.training import HyperParameters, TrainingConfig, execution

FORMS = {"mlp": {"widths": (128, 128)}, "cnn": {"channels": (16, 32)}}
RATE = 1e-3


def torch_network(name: str) -> torch.nn.Module:
    """Return the same architecture in PyTorch."""
    if name == "mlp":
        return torch.nn.Sequential(
            torch.nn.Flatten(), torch.nn.Linear(64, 128), torch.nn.ReLU(),
            torch.nn.Linear(128, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10),
        )  # fmt: skip
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 16, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2),
        torch.nn.Conv2d(16, 32, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2),
        torch.nn.Flatten(), torch.nn.Linear(32 * 4, 10),
    )  # fmt: skip


def one_by_one(name: str, digits, own, steps: int) -> np.ndarray:
    """Train a network per row of `own` in PyTorch; return training errors."""
    images = torch.from_numpy(digits.images.transpose(0, 3, 1, 2).copy())
    labels = torch.from_numpy(digits.labels).long()
    errors = []
    for seed, chosen in enumerate(own):
        torch.manual_seed(seed)
        network = torch_network(name)
        optimizer = torch.optim.Adam(network.parameters(), lr=RATE)
        x, y = images[chosen], labels[chosen]
        order = torch.randperm(len(x))
        for step in range(steps):
            start = step * 32 % (len(x) - 31)
            if start == 0:
                order = torch.randperm(len(x))
            batch = order[start : start + 32]
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(network(x[batch]), y[batch]).backward()
            optimizer.step()
        with torch.no_grad():
            errors.append((network(x).argmax(1) != y).float().mean().item())
    return np.array(errors)


def compare(name: str, digits, options) -> dict:
    """Return seconds of both forms on the same training sets."""
    network = models.create(name, image_shape=(8, 8, 1), num_classes=10, **FORMS[name])
    drawn = supersample.draw(
        len(digits), num_pairs=options.pairs, num_supersamples=1, num_masks=options.masks, seed=0
    )
    rules = TrainingConfig(
        optimizer="adam", batch_size=32, max_steps=options.steps, record_every=options.steps,
        stop="steps",
    )  # fmt: skip

    def ours():
        return supersample.train(
            network, rules, digits, drawn, jax.random.key(0),
            hyper=HyperParameters(learning_rate=RATE),
        )  # fmt: skip

    start = time.perf_counter()
    ours()
    first = time.perf_counter() - start
    # The second call finds the programs of the first.
    seconds, group = timing.timed(ours, 3)
    few = drawn.trained_on()[: options.peers]
    peer, errors = timing.timed(lambda: one_by_one(name, digits, few, options.steps))
    ours_error = 1 - group.last("accuracy").mean()
    row = {
        "network": name,
        "genjax_seconds": seconds,
        "genjax_first_seconds": first,
        "torch_seconds": peer * options.masks / options.peers,
        "train_error": {"genjax": float(ours_error), "torch": float(errors.mean())},
    }
    row["ratio"] = row["torch_seconds"] / seconds
    row["ratio_with_compilation"] = row["torch_seconds"] / first
    return row


def main() -> None:
    """Compare, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in (("masks", 30), ("pairs", 250), ("steps", 600), ("peers", 4)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--output")
    options = parser.parse_args()
    execution.one_device_per_core()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    digits = data.load("digits")
    rows = [compare(name, digits, options) for name in FORMS]
    for row in rows:
        print(
            f"{row['network']}: {options.masks} trainings of {options.steps} steps in "
            f"{row['genjax_seconds']:.2f} s, PyTorch one by one {row['torch_seconds']:.2f} s: "
            f"{row['ratio']:.1f}x ({row['ratio_with_compilation']:.1f}x with compilation)"
        )
    shape = {name: getattr(options, name) for name in ("masks", "pairs", "steps", "peers")}
    timing.write(options.output, shape=shape, rows=rows)


if __name__ == "__main__":
    main()
