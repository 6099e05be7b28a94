"""Evaluate a public CIFAR ResNet against PyTorch, in one process, with equal predictions.

    pip install -e '.[bench]' && GENJAX_DATA_DIR=... python benchmarks/evaluation.py [--depth=20]
    [--images=10000] [--batches=20,50,100,250] [--repetitions=5] [--output=FILE]

Every form turns the same uint8 images into class numbers: scaling, normalising, the network, the
largest logit. genjax splits the images over one device per core; PyTorch has as many threads, and
channels first or last. The script refuses to print a time when predictions differ in more than one
image of 1,000 (ties within rounding). Times are medians over interleaved repetitions of the best
batch size of each form, compilation apart.

    python benchmarks/evaluation.py --memory=2500,10000 [--output=FILE]

measures the peak resident memory of `genjax.metrics.evaluation.evaluate` instead, on a streamed
folder of that many PNG files, each number in a process of its own; files are links to the first of
them. A set that is not streamed holds its images in memory: 12 KiB each.
"""

import argparse
import functools
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

os.environ.setdefault("JAX_NUM_CPU_DEVICES", str(len(os.sched_getaffinity(0))))

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
import timing

from genjax import models
from genjax.training import execution

jax.config.update("jax_cpu_enable_async_dispatch", jax.default_backend() != "cpu")

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PER_CALL = 1000  # Images that a program takes at once.


class JaxEvaluation:
    """genjax: blocks of a batch each, spread over the devices, one block after another on each."""

    def __init__(self, weights, depth, batch):
        loaded = models.load_weights(weights, f"resnet_cifar:depth={depth}")
        self.batch, self.params = batch, loaded.params

        def predict(params, pixels):
            logits = loaded.network.apply(params, pixels.astype(jnp.float32) / 255)
            return jnp.argmax(logits, axis=-1)

        self.program = execution.spread(predict, execution.choose(), shared=1, stacked=1)

    def __call__(self, images):
        """Return the predicted classes."""
        found = []
        for first in range(0, len(images), PER_CALL):
            blocks = images[first : first + PER_CALL]
            blocks = blocks.reshape(-1, self.batch, *blocks.shape[1:])
            found.append(np.asarray(self.program(self.params, blocks)).ravel())
        return np.concatenate(found)


def torch_network(weights, depth):
    """Return the network as a function of [N, 3, 32, 32], normalisation as stored."""
    import torch
    import torch.nn.functional as F  # noqa: N812

    arrays = safetensors.numpy.load_file(weights)
    tensors = {key: torch.from_numpy(array) for key, array in arrays.items()}

    def layer(x, convolution, norm, stride=1):
        x = F.conv2d(x, tensors[f"{convolution}.weight"], None, stride, 1)
        parts = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(tensors[f"{norm}.{part}"] for part in parts))

    def apply(x):
        x = F.relu(layer(x, "conv1", "bn1"), inplace=True)
        for stage in (1, 2, 3):
            for block in range((depth - 2) // 6):
                key, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
                y = F.relu(layer(x, f"{key}.conv1", f"{key}.bn1", stride), inplace=True)
                y = layer(y, f"{key}.conv2", f"{key}.bn2")
                if stride > 1:
                    side = x.shape[1] // 2
                    x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, side, side))
                x = F.relu(y.add_(x), inplace=True)
        return F.linear(x.mean((2, 3)), tensors["linear.weight"], tensors["linear.bias"])

    return apply, tensors


class TorchEvaluation:
    """PyTorch, batch after batch, on all cores."""

    def __init__(self, weights, depth, batch, channels_last):
        import torch

        self.apply, tensors = torch_network(weights, depth)
        self.batch = batch
        self.format = torch.channels_last if channels_last else torch.contiguous_format
        for key, value in tensors.items():
            if value.ndim == 4:
                tensors[key] = value.contiguous(memory_format=self.format)
        self.mean, self.std = (torch.tensor(v).reshape(1, 3, 1, 1) for v in (MEAN, STD))

    def __call__(self, images):
        """Return the predicted classes."""
        import torch

        found = []
        with torch.inference_mode():
            for first in range(0, len(images), self.batch):
                pixels = torch.from_numpy(images[first : first + self.batch]).permute(0, 3, 1, 2)
                x = pixels.contiguous(memory_format=self.format).float().div_(255)
                x = x.sub_(self.mean).div_(self.std)
                found.append(self.apply(x).argmax(1).numpy())
        return np.concatenate(found)


def check_equal(form, predictions, expected):
    """Refuse to time a form that computes something else."""
    different = int(np.sum(predictions != expected))
    if different > len(expected) / 1000:
        raise SystemExit(f"{form}: {different} of {len(expected)} predictions differ from genjax's")


def best_batch(make, images, batches):
    """Return (form, batch size) of the fastest, by one pass over the first images each."""
    few, timed = images[:PER_CALL], []
    for batch in batches:
        form = make(batch=batch)
        form(few)
        seconds = []
        for _ in range(3):
            start = time.perf_counter()
            form(few)
            seconds.append(time.perf_counter() - start)
        timed.append((min(seconds), batch, form))
    _, batch, form = min(timed, key=lambda entry: entry[0])
    return form, batch


def compare(options):
    """Return one row per form: seconds and ratio to genjax."""
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    folder = pathlib.Path(os.environ["GENJAX_DATA_DIR"])
    weights = folder / f"pretrained/resnet{options.depth}.safetensors"
    with np.load(folder / "cifar10/test.npz") as archive:
        images, labels = (archive[key][: options.images] for key in ("images", "labels"))
    makers = {
        "genjax": functools.partial(JaxEvaluation, weights, options.depth),
        "torch": functools.partial(TorchEvaluation, weights, options.depth, channels_last=False),
        "torch channels last": functools.partial(
            TorchEvaluation, weights, options.depth, channels_last=True
        ),
    }
    batches = [int(size) for size in options.batches.split(",")]
    forms = {name: best_batch(make, images, batches) for name, make in makers.items()}
    expected = forms["genjax"][0](images)
    seconds = {name: [] for name in forms}
    for _ in range(options.repetitions):
        for name, (form, _) in forms.items():
            start = time.perf_counter()
            predictions = form(images)
            seconds[name].append(time.perf_counter() - start)
            check_equal(name, predictions, expected)
    ours = statistics.median(seconds["genjax"])
    return [
        {
            "form": name,
            "batch_size": forms[name][1],
            "seconds": statistics.median(values),
            "genjax_is_faster_by": statistics.median(values) / ours,
        }
        for name, values in seconds.items()
    ], float(np.mean(expected != labels))


def peak_memory(options, images):
    """Return the largest resident memory in MiB before and after evaluating a streamed folder."""
    import resource
    import tempfile

    from PIL import Image

    from genjax import data
    from genjax.metrics import evaluation

    folder = pathlib.Path(os.environ["GENJAX_DATA_DIR"])
    loaded = models.load_weights(
        folder / f"pretrained/resnet{options.depth}.safetensors",
        f"resnet_cifar:depth={options.depth}",
    )
    with np.load(folder / "cifar10/test.npz") as archive:
        pixels, labels = archive["images"][::10], archive["labels"][::10]
    with tempfile.TemporaryDirectory() as root:
        for label in range(10):
            (pathlib.Path(root) / str(label)).mkdir()
        for position in range(images):
            first = position % len(pixels)
            place = pathlib.Path(root) / str(labels[first])
            if position == first:
                Image.fromarray(pixels[first]).save(place / f"{first}.png")
            else:
                (place / f"{position}.png").hardlink_to(place / f"{first}.png")
        del pixels
        examples = data.load(f"folder:{root}", stream=True)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        start = time.perf_counter()
        found = evaluation.evaluate(loaded.network, loaded.params, examples)
        seconds = time.perf_counter() - start
    assert found.examples == images
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "images": images,
        "before_mib": round(before, 1),
        "peak_mib": round(peak, 1),
        "held_in_memory_mib": round(images * 32 * 32 * 3 * 4 / 2**20, 1),
        "seconds": round(seconds, 1),
    }


def compare_memory(options):
    """Measure each number of images in a process of its own."""
    rows = []
    for images in options.memory.split(","):
        command = [sys.executable, __file__, f"--depth={options.depth}", f"--peak={images}"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        rows.append(json.loads(done.stdout))
        print(done.stdout.strip(), flush=True)
    return rows


def main():
    """Compare, print a table and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--depth", type=int, default=20)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--batches", default="20,50,100,250")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--memory", help="numbers of images, separated by commas")
    parser.add_argument("--peak", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--output")
    options = parser.parse_args()
    if options.peak:
        print(json.dumps(peak_memory(options, options.peak)))
        return
    network = f"resnet_cifar(depth={options.depth})"
    if options.memory:
        timing.write(options.output, network=network, rows=compare_memory(options))
        return
    rows, error = compare(options)
    print(f"ResNet-{options.depth} on {options.images} images: error {100 * error:.2f} %")
    for row in rows:
        print(
            f"{row['form']:20s} {row['seconds']:7.2f} s   batch {row['batch_size']:4d}"
            f"   genjax is {row['genjax_is_faster_by']:5.2f}x"
        )
    timing.write(options.output, network=network, images=options.images, error=error, rows=rows)


if __name__ == "__main__":
    main()
