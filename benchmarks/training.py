"""Multi-seed training against PyTorch, in one process, on the same batches, with equal losses.

    pip install -e '.[bench]' && python benchmarks/training.py [--networks=64] [--repetitions=5]
    [--output=FILE]

Each form trains the same networks from the same initial parameters on the same batches; the
script refuses to print a time when the losses differ. Times are medians over interleaved
repetitions, compilation apart. The floor is operations over the measured matmul peak of this
machine.
"""

import argparse
import functools
import os
import statistics
import time

os.environ.setdefault("JAX_NUM_CPU_DEVICES", str(len(os.sched_getaffinity(0))))

import jax
import jax.numpy as jnp
import numpy as np
import timing

from genjax import data, models
from genjax.training import HyperParameters, TrainingConfig, execution, segment

jax.config.update("jax_cpu_enable_async_dispatch", jax.default_backend() != "cpu")

RATE, MOMENTUM, BATCH = 0.05, 0.9, 64
MODELS = {"mlp": ("mlp", {"widths": (128, 128)}), "cnn": ("cnn", {"channels": (16, 32)})}


def matmul_peak(size: int = 4096) -> float:
    """Return the best float32 matmul rate of NumPy and XLA on all cores, in FLOP/s."""
    a = np.random.default_rng(0).random((size, size), np.float32)
    b = jnp.asarray(a)
    product = jax.jit(lambda x: x @ x)
    jax.block_until_ready(product(b))
    best = 0.0
    for form in (lambda: a @ a, lambda: jax.block_until_ready(product(b))):
        for _ in range(3):
            start = time.perf_counter()
            form()
            best = max(best, 2 * size**3 / (time.perf_counter() - start))
    return best


class JaxPopulation:
    """genjax as the driver runs it: one program over all networks and devices."""

    def __init__(self, name, options, digits, networks, steps):
        network = models.create(name, image_shape=(8, 8, 1), num_classes=10, **options)
        rules = TrainingConfig(max_steps=10**6, batch_size=BATCH, stop="steps")
        init, run = segment.make_segment(network, rules, frozenset(), streamed=False)
        self.form = execution.choose()
        size = execution.padded(networks, self.form)
        self.keys = jax.vmap(lambda s: jax.random.fold_in(jax.random.key(0), s))(jnp.arange(size))
        self.hyper = HyperParameters(*(jnp.full(size, v) for v in HyperParameters()))
        self.hyper = self.hyper._replace(
            learning_rate=jnp.full(size, RATE), momentum=jnp.full(size, MOMENTUM)
        )
        self.source = jnp.asarray(digits.images), jnp.asarray(digits.labels)
        nothing = jnp.zeros((0, 8, 8, 1)), jnp.zeros(0, jnp.int32)
        self.monitor = segment.Monitor(*self.source, *nothing)
        self.steps = jnp.arange(steps)
        self.start = execution.spread(init, self.form, stacked=2)(self.keys, self.hyper)
        self.program = execution.spread(run, self.form, shared=3, stacked=3)

    def __call__(self):
        """Train all networks and return their losses."""
        out = self.program(self.source, self.monitor, self.steps, self.start, self.keys, self.hyper)
        return np.asarray(jax.block_until_ready(out)[1].loss)


def batches(population, steps, count):
    """Return the batch indices [network, step, BATCH] that genjax draws."""
    per_epoch = count // BATCH
    epochs = -(-steps // per_epoch)

    def one(key):
        orders = jax.vmap(lambda e: segment.epoch_order(key, e, count))(jnp.arange(epochs))
        return orders[:, : per_epoch * BATCH].reshape(-1, BATCH)[:steps]

    return np.asarray(jax.vmap(one)(population.keys))


def torch_parameters(name, tree):
    """Return the stacked initial parameters as PyTorch tensors by name, in PyTorch's layouts."""
    import torch

    tensors = {}
    layers = ["dense1", "dense2", "output"] if name == "mlp" else ["conv1", "conv2", "output"]
    for i, layer in enumerate(layers):
        kernel = np.asarray(tree[layer]["kernel"])
        order = (0, 4, 3, 1, 2) if kernel.ndim == 5 else (0, 2, 1)
        tensors[f"w{i}"] = torch.tensor(kernel.transpose(order).copy())
        tensors[f"b{i}"] = torch.tensor(np.asarray(tree[layer]["bias"]).copy())
    return tensors


def torch_logits(name, p, x):
    """Evaluate one network in PyTorch; x is [N, 64] or [N, 1, 8, 8]."""
    import torch.nn.functional as F  # noqa: N812

    if name == "mlp":
        x = F.relu(F.linear(x, p["w0"], p["b0"]))
        x = F.relu(F.linear(x, p["w1"], p["b1"]))
        return F.linear(x, p["w2"], p["b2"])
    x = F.max_pool2d(F.relu(F.conv2d(x, p["w0"], p["b0"], padding=1)), 2)
    x = F.relu(F.conv2d(x, p["w1"], p["b1"], padding=1))
    return F.linear(x.permute(0, 2, 3, 1).flatten(1), p["w2"], p["b2"])


def torch_eager(name, start, inputs, labels, order):
    """Train network by network with a plain eager loop and torch.optim.SGD."""
    import torch
    import torch.nn.functional as F  # noqa: N812

    losses = []
    for i in range(len(order)):
        p = {k: v[i].clone().requires_grad_() for k, v in start.items()}
        optimizer = torch.optim.SGD(p.values(), lr=RATE, momentum=MOMENTUM)
        for index in order[i]:
            optimizer.zero_grad()
            F.cross_entropy(torch_logits(name, p, inputs[index]), labels[index]).backward()
            optimizer.step()
        with torch.no_grad():
            losses.append(float(F.cross_entropy(torch_logits(name, p, inputs), labels)))
    return np.array(losses)


def torch_vmapped_step(name):
    """Return the compiled step of a stack of networks: torch.func vmap + grad + torch.compile."""
    import torch
    import torch.nn.functional as F  # noqa: N812
    from torch.func import grad, vmap

    def loss(p, x, y):
        return F.cross_entropy(torch_logits(name, p, x), y)

    def step(p, velocity, x, y):
        g = vmap(grad(loss))(p, x, y)
        velocity = {k: MOMENTUM * velocity[k] + g[k] for k in p}
        return {k: p[k] - RATE * velocity[k] for k in p}, velocity

    return torch.compile(step)


def torch_vmapped(step, name, start, inputs, labels, order, stack):
    """Train `stack` networks at a time."""
    import torch
    import torch.nn.functional as F  # noqa: N812

    losses = []
    for first in range(0, len(order), stack):
        p = {k: v[first : first + stack].clone() for k, v in start.items()}
        velocity = {k: torch.zeros_like(v) for k, v in p.items()}
        for t in range(order.shape[1]):
            index = order[first : first + stack, t]
            p, velocity = step(p, velocity, inputs[index], labels[index])
        for i in range(len(p["w0"])):
            one = {k: v[i] for k, v in p.items()}
            losses.append(float(F.cross_entropy(torch_logits(name, one, inputs), labels)))
    return np.array(losses)


def check_equal(form, losses, expected):
    """Refuse to time a form that computes something else.

    Single networks drift apart after some hundred steps (float32 rounding is amplified), so the
    median network must agree to 0.1 % and the mean over networks to 2 %.
    """
    differences = np.abs(losses / expected - 1)
    if np.median(differences) > 1e-3 or abs(np.mean(losses) / np.mean(expected) - 1) > 0.02:
        raise SystemExit(f"{form}: losses differ from genjax's, {losses} against {expected}")


def compare(name, digits, options):
    """Return one row per form: steps per second and ratio to genjax."""
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    steps, networks = options.steps, options.networks
    population = JaxPopulation(*MODELS[name], digits, networks, steps)
    start = time.perf_counter()
    expected = population()
    compile_seconds = {"genjax": time.perf_counter() - start}
    tensors = torch_parameters(name, population.start.learner.parameters)
    order = torch.tensor(batches(population, steps, len(digits)).astype(np.int64))
    shape = (-1, 64) if name == "mlp" else (-1, 1, 8, 8)
    inputs = torch.tensor(digits.images.reshape(shape))
    labels = torch.tensor(digits.labels.astype(np.int64))
    few = options.eager_networks  # the loop's time is linear in networks
    forms = {"genjax": (population, networks)}
    forms["torch eager loop"] = (
        lambda: torch_eager(name, tensors, inputs, labels, order[:few]),
        few,
    )
    for stack in sorted({16, networks} if name == "mlp" else {8, 16}):
        step = torch_vmapped_step(name)
        count = networks if name == "mlp" else stack
        form = functools.partial(
            torch_vmapped, step, name, tensors, inputs, labels, order[:count], stack
        )
        start = time.perf_counter()
        form()
        compile_seconds[f"torch vmap+compile, {stack}"] = time.perf_counter() - start
        forms[f"torch vmap+compile, {stack}"] = (form, count)
    seconds = {key: [] for key in forms}
    for _ in range(options.repetitions):
        for key, (form, count) in forms.items():
            start = time.perf_counter()
            losses = form()
            seconds[key].append((time.perf_counter() - start) / (count * steps))
            check_equal(key, losses, expected[: len(losses)])
    return summarise(name, seconds, compile_seconds, options.peak)


def summarise(name, seconds, compile_seconds, peak):
    """Return rows with medians over repetitions and the ratio of medians to genjax."""
    model, model_options = MODELS[name]
    network = models.create(model, image_shape=(8, 8, 1), num_classes=10, **model_options)
    work = 3 * BATCH * models.cost(network).flops
    ours = statistics.median(seconds["genjax"])
    return [
        {
            "model": name,
            "form": key,
            "steps_per_second": 1 / statistics.median(values),
            "genjax_is_faster_by": statistics.median(values) / ours,
            "share_of_matmul_peak": work / statistics.median(values) / peak,
            "first_call_seconds": compile_seconds.get(key),
        }
        for key, values in seconds.items()
    ]


def main():
    """Compare, print a table and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", type=int, default=64)
    parser.add_argument("--eager_networks", type=int, default=4)
    parser.add_argument("--steps", type=int, default=220)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--models", default="mlp,cnn")
    parser.add_argument("--output")
    options = parser.parse_args()
    digits = data.load("digits")
    options.peak = matmul_peak()
    rows = [r for name in options.models.split(",") for r in compare(name, digits, options)]
    result = {
        "matmul_peak_gflops": options.peak / 1e9,
        "networks": options.networks,
        "steps": options.steps,
        "rows": rows,
    }
    print(f"matmul peak {options.peak / 1e9:.0f} GFLOP/s; {options.networks} networks")
    for row in rows:
        print(
            f"{row['model']:4s} {row['form']:24s} {row['steps_per_second']:9.0f} steps/s"
            f"   genjax is {row['genjax_is_faster_by']:5.2f}x"
            f"   {100 * row['share_of_matmul_peak']:4.0f} % of peak"
        )
    timing.write(options.output, **result)


if __name__ == "__main__":
    main()
