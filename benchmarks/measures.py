"""The fast measures of a population of small networks, against PyTorch network by network.

    pip install -e '.[bench]' && python benchmarks/measures.py [--networks=256] [--repetitions=5]
    [--output=FILE]

The networks are those of `experiments/configs/measures.py`: multilayer perceptrons on the digits of
scikit-learn, all groups measured by `complexity.measure_group` with every fast measure.
`measures_torch.py` computes the same measures of the same networks, one after another, in eager
mode. PyTorch is given its data as tensors and the draws of Gaussian noise, which genjax makes
itself as part of what is timed; its number of threads is the faster of one and all.

Every measure of every network is compared, and both with the PyTorch program in float64. The script
refuses to print a time when genjax and PyTorch differ by more than 1e-3 of a value, with the
exceptions that `EXCEPTIONS` names and explains. Networks that collapsed in training (they get more
than half of their training examples wrong: their outputs hardly depend on the image, and rounding
decides about ties) are timed like the others, and their differences are reported apart.

Times are medians over interleaved repetitions, compilation apart; nothing is extrapolated. The
floor is the number of forward-backward passes that the measures declare, times that of one pass
over all networks. The table by family times each family alone (what families share is computed in
each), on one group of every architecture.
"""

import argparse
import functools
import math
import os
import statistics
import time

os.environ.setdefault("JAX_NUM_CPU_DEVICES", str(len(os.sched_getaffinity(0))))

import jax
import jax.numpy as jnp
import measures_torch as peer
import measures_torch_families as peer_families
import numpy as np
import timing
import torch
from jax.flatten_util import ravel_pytree

from genjax import data, training
from genjax.data import splits
from genjax.metrics import complexity
from genjax.metrics.complexity.flatness import DRAWS
from genjax.metrics.complexity.workspace import Workspace, cross_entropies
from genjax.training import ModelConfig, SweepConfig, TrainingConfig, execution

jax.config.update("jax_cpu_enable_async_dispatch", jax.default_backend() != "cpu")

TOLERANCE = 1e-3
WIDTHS = ((32,), (32, 32, 32), (96,), (96, 96, 96))
BATCH_SIZES, SEEDS = (16, 64), 4
AXES = {"learning_rate": (0.1, 0.03), "weight_decay": (0.0, 1e-3), "dropout_rate": (0.0, 0.2)}
SMALLEST = len(WIDTHS) * len(BATCH_SIZES) * SEEDS
EXCEPTIONS = {
    "pseudo_ntk_complexity": (1e-2, "eigenvalues in float32, near the ridge; PyTorch solves"),
}
"""Measure -> (by how much it may differ, why)."""


def populate(count: int):
    """Train `count` networks; return their groups and what they are measured on."""
    settings = count // SMALLEST
    axes = {
        name: values if 2**i < settings else values[:1]
        for i, (name, values) in enumerate(AXES.items())
    }
    if count != SMALLEST * math.prod(len(values) for values in axes.values()):
        allowed = ", ".join(str(SMALLEST * 2**k) for k in range(len(AXES) + 1))
        raise SystemExit(f"networks: found {count}; allowed are {allowed}.")
    digits = data.load("digits")
    parts = splits.stratified(digits, (0.5, 0.2, 0.3), seed=0, is_test=digits.is_test)
    train, validation, test = (digits.take(np.sort(part)) for part in parts)
    rules = [
        TrainingConfig(batch_size=size, max_steps=6000, threshold=0.01, record_every=20)
        for size in BATCH_SIZES
    ]
    models = [ModelConfig("mlp", {"widths": widths}) for widths in WIDTHS]
    sweep = SweepConfig(models, rules, {**axes, "momentum": (0.9,)}, seeds=SEEDS)
    population = training.sweep(sweep, training.TrainingData(train, validation), jax.random.key(0))
    return population.groups, complexity.measure_data(train, validation, test)


class Measured:
    """genjax: one program per group, over all networks and devices."""

    def __init__(self, groups, examples, key):
        self.groups, self.examples, self.key = groups, examples, key

    def __call__(self, names=("fast",)):
        """Return values by name of every network, NaN where refused."""
        found = [
            complexity.measure_group(group, self.examples, names, key=self.key).values
            for group in self.groups
        ]
        return {name: np.concatenate([values[name] for values in found]) for name in found[0]}


class Peer:
    """PyTorch: network after network; networks that differ in their seed alone stand together."""

    def __init__(self, groups, examples, key, *, dtype=torch.float32, some=None):
        self.data = peer.prepare(examples.train, examples.validation, examples.unlabeled, dtype)
        self.sets = []
        for group in groups:
            noise = {seed: draws(group, examples, key, seed) for seed in range(SEEDS)}
            layers = sorted(group.params, key=layer_order)
            stacks = [as_tensors(tree, layers, dtype) for tree in (group.params, group.init_params)]
            normals = {s: as_tensors(tree, layers, dtype) for s, tree in noise.items()}
            losses = torch.from_numpy(np.array(group.history.loss)).to(dtype)
            steps = torch.from_numpy(np.array(group.history_steps))
            for first in range(0, len(group.seeds), SEEDS)[:some]:
                self.sets.append(
                    [
                        (
                            [(w[i], b[i]) for w, b in stacks[0]],
                            [(w[i], b[i]) for w, b in stacks[1]],
                            normals[int(group.seeds[i])],
                            losses[:, i],
                            steps,
                        )
                        for i in range(first, first + SEEDS)
                    ]
                )

    def __call__(self, families=tuple(peer_families.FAMILIES)):
        """Return values by name of every network, NaN where refused."""
        found = []
        for siblings in self.sets:
            networks = [
                peer.Network(params, start, noise, losses, steps, self.data)
                for params, start, noise, losses, steps in siblings
            ]
            found += peer_families.measure(networks, families)
        return {name: np.array([values[name] for values in found]) for name in found[0]}


def layer_order(name: str) -> tuple[bool, str]:
    """Return a key that puts hidden layers in order, and the output last."""
    return name == "output", name


def as_tensors(tree, layers, dtype):
    """Return (weight [.., out, in], bias) by layer, as PyTorch keeps them."""
    return [
        tuple(
            torch.from_numpy(np.array(array)).to(dtype).contiguous()
            for array in (np.swapaxes(tree[name]["kernel"], -1, -2), tree[name]["bias"])
        )
        for name in layers
    ]


def draws(group, examples, key, seed: int):
    """Return the standard normal draws of the noise on the weights of networks of one seed."""
    params = group.network_params(0)
    trained = complexity.Trained(params, None, None, None, None, None, seed)
    keys = jax.random.split(
        Workspace(group.network, (), trained, examples, key, {}).key("weight_noise"), DRAWS
    )
    flat, unravel = ravel_pytree(params)
    return jax.vmap(lambda k: unravel(jax.random.normal(k, flat.shape, flat.dtype)))(keys)


def differences(found, expected):
    """Return relative differences of two sets of values; infinite where one alone is missing."""
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = np.abs(found - expected) / np.maximum(np.abs(expected), 1e-30)
    apart = np.where(found == expected, 0.0, apart)
    missing = np.isnan(found), np.isnan(expected)
    return np.where(missing[0] & missing[1], 0.0, np.where(missing[0] ^ missing[1], np.inf, apart))


def compare(found, expected, exact):
    """Return one row per measure; refuse what differs too much in networks that did not collapse.

    Args:
        found: values of genjax.
        expected: of PyTorch.
        exact: of PyTorch in float64.
    """
    if set(found) != set(expected):
        raise SystemExit(f"not measured by both: {sorted(set(found) ^ set(expected))}")
    collapsed, rows, wrong = exact["train_error"] > 0.5, [], []
    for name in found:
        apart = differences(expected[name], found[name])
        limit, reason = EXCEPTIONS.get(name, (TOLERANCE, ""))
        rows.append(
            {
                "measure": name,
                "difference": worst(apart[~collapsed]),
                "genjax_to_float64": worst(differences(found[name], exact[name])[~collapsed]),
                "torch_to_float64": worst(differences(expected[name], exact[name])[~collapsed]),
                "difference_of_collapsed": worst(apart[collapsed]),
                "tolerance": limit,
                **({"reason": reason} if reason else {}),
                "without_value": int(np.isnan(found[name]).sum()),
            }
        )
        if np.any(apart[~collapsed] > limit):
            wrong.append(f"{name}: {worst(apart[~collapsed])}, allowed {limit}")
    for row in rows:
        print(
            "{measure:44s} {difference!s:>9s} {difference_of_collapsed!s:>9s}".format(**row),
            flush=True,
        )
    if wrong:
        raise SystemExit("PyTorch differs from genjax in\n" + "\n".join(wrong))
    return rows, int(collapsed.sum())


def worst(apart):
    """Return the largest difference, in words where a value is missing on one side alone."""
    largest = float(np.max(apart, initial=0.0))
    return float(f"{largest:.1e}") if math.isfinite(largest) else "missing"


def timed(function):
    """Return (seconds, result)."""
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def median_seconds(function, repetitions):
    """Return the median time of a call, after one that is not counted."""
    function()
    return statistics.median(timed(function)[0] for _ in range(repetitions))


def one_pass(groups, examples):
    """Return a function that does one forward-backward pass of every network."""
    calls = []
    for group in groups:
        form = execution.choose(networks=len(group.seeds))

        def gradient(images, labels, params, network=group.network):
            return jax.grad(lambda w: jnp.mean(cross_entropies(network.apply(w, images), labels)))(
                params
            )

        program = execution.spread(gradient, form, shared=2)
        arguments = jax.device_put((*examples.train, group.params))
        calls.append(functools.partial(program, *arguments))
    return lambda: [jax.block_until_ready(call()) for call in calls]


def faster_threads(torch_form):
    """Set the faster number of threads for PyTorch, tried on some networks; return the times."""
    tried = {}
    for threads in sorted({1, len(os.sched_getaffinity(0))}):
        torch.set_num_threads(threads)
        tried[threads] = median_seconds(torch_form, 1)
    torch.set_num_threads(min(tried, key=tried.__getitem__))
    return tried


def by_family(groups, examples, key, repetitions):
    """Return one row per family: milliseconds per network on both sides."""
    ours, theirs = Measured(groups, examples, key), Peer(groups, examples, key)
    count, rows = sum(len(group.seeds) for group in groups), []
    for family in peer_families.FAMILIES:
        names = tuple(m.name for m in complexity.select((family,)) if m.fast)
        calls = {
            "genjax": functools.partial(ours, names),
            "torch": functools.partial(theirs, (family,)),
        }
        row = {"family": family, "measures": len(names)}
        for form, call in calls.items():
            row[f"{form}_milliseconds"] = 1e3 * median_seconds(call, repetitions) / count
        rows.append(row)
        print(
            "{family:16s} {measures:3d} measures   genjax {genjax_milliseconds:7.2f} ms   PyTorch "
            "{torch_milliseconds:7.2f} ms per network".format(**row),
            flush=True,
        )
    return rows


def main():
    """Compare, print tables and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", type=int, default=256)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--families", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--output")
    options = parser.parse_args()
    groups, examples = populate(options.networks)
    key = jax.random.key(1)
    ours, theirs = Measured(groups, examples, key), Peer(groups, examples, key)
    first, found = timed(ours)
    tried = faster_threads(Peer(groups, examples, key, some=1))
    exact = Peer(groups, examples, key, dtype=torch.float64)()
    differing, collapsed = compare(found, theirs(), exact)
    seconds = {"genjax": [], "torch": []}
    for _ in range(options.repetitions):
        for name, form in (("genjax", ours), ("torch", theirs)):
            seconds[name].append(timed(form)[0])
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    passes = complexity.passes(complexity.select(("fast",)))
    floor = passes * median_seconds(one_pass(groups, examples), options.repetitions)
    names = {"genjax": "genjax", "torch": f"PyTorch eager, {torch.get_num_threads()} threads"}
    rows = [
        {
            "form": names[name],
            "seconds": value,
            "milliseconds_per_network": 1e3 * value / options.networks,
            "genjax_is_faster_by": value / medians["genjax"],
            "all_seconds": seconds[name],
        }
        for name, value in medians.items()
    ]
    print(f"{len(found)} measures of {options.networks} networks, {collapsed} of them collapsed")
    for row in rows:
        print(
            "{form:26s} {seconds:8.2f} s   {milliseconds_per_network:7.2f} ms per network   genjax "
            "is {genjax_is_faster_by:5.2f}x".format(**row)
        )
    print(
        f"floor {floor:.2f} s ({passes:.1f} passes); compilation {first - medians['genjax']:.1f} s"
    )
    result = {
        "networks": options.networks,
        "collapsed": collapsed,
        "measures": len(found),
        "train_examples": len(examples.train.labels),
        "rows": rows,
        "compile_seconds": first - medians["genjax"],
        "passes": passes,
        "floor_seconds": floor,
        "torch_seconds_by_threads": tried,
        "differences": differing,
    }
    timing.write(options.output, **result)
    if options.families:
        chosen = groups[:: len(BATCH_SIZES)]
        result["families"] = by_family(chosen, examples, key, max(options.repetitions // 2, 1))
        timing.write(options.output, **result)


if __name__ == "__main__":
    main()
