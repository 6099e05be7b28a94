"""Curvature of networks against PyTorch, curvlinops and PyHessian, with equal values.

    pip install -e '.[bench]' && python benchmarks/curvature.py [--parts=single,cnn,mlp]
    [--networks=64] [--peer-networks=8] [--images=1000] [--repetitions=7] [--output=FILE]

`single`: one CNN 8x8 (16 and 32 channels, 9,930 parameters), its images spread over one device per
core: a Hessian-vector product, 30 Lanczos steps with full reorthogonalisation, a trace from 32
probes. `cnn` and `mlp`: Lanczos and trace of a stack of networks, one device per core, against a
loop over networks with each peer, of which `--peer-networks` are run and the time is scaled up.
Peers use all cores; other work on the machine slows their threads down more than ours. Times are
medians over interleaved repetitions, compilation apart; every part runs in a process of its own.
No time is printed where values differ.
"""

import argparse
import functools
import json
import os
import statistics
import subprocess
import sys
import time
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import timing

from genjax import data, models
from genjax.metrics import curvature

PARTS = ("single", "cnn", "mlp")
NUMBERS = ("networks", "peer-networks", "images", "repetitions")
CORES = len(os.sched_getaffinity(0))
CHUNKS = {"cnn": 100, "mlp": 1000}  # the fastest of 25 to 1000
PEERS = {"PyTorch loop": "own", "curvlinops": "curvlinops", "PyHessian": "pyhessian"}
STEPS, PROBES = 30, 32


def network(kind):
    """Return the network of a part, and its layers by name."""
    if kind == "mlp":
        options = {"image_shape": (8, 8, 1), "num_classes": 10, "widths": (128, 128)}
        return models.create("mlp", **options)
    return models.create("cnn", image_shape=(8, 8, 1), num_classes=10, channels=(16, 32))


class Ours:
    """genjax: the same objective for one network and for a stack."""

    def __init__(self, kind, images, labels, linearised=True):
        self.network = network(kind)
        self.objective = curvature.objective(self.network.apply, chunk=CHUNKS[kind])
        self.chunks = curvature.pack(self.objective, (images, labels))
        self.linearised = linearised

    def start(self, count):
        """Return the parameters of that many networks at initialisation."""
        keys = jax.random.split(jax.random.key(0), count)
        return jax.jit(jax.vmap(lambda key: self.network.fold(*self.network.init(key))))(keys)

    def product(self, params, chunks):
        """Return the Hessian for many vectors."""
        return curvature.hessian(self.objective, linearised=self.linearised)(params, chunks)

    def once(self, pair, chunks, key):
        """Return one product with the Hessian, of (parameters, vector)."""
        return curvature.hessian(self.objective)(pair[0], chunks)(pair[1])

    def lanczos(self, params, chunks, key):
        """Return the largest eigenvalue."""
        product = self.product(params, chunks)
        return curvature.extreme_eigenvalues(product, params, key, steps=STEPS).top[0]

    def trace(self, params, chunks, key):
        """Return the trace and its standard error."""
        found = curvature.trace(self.product(params, chunks), params, key, probes=PROBES)
        return jnp.stack([found.value, found.standard_error])


class Theirs:
    """PyTorch with its own loops, curvlinops and PyHessian, on the same weights."""

    def __init__(self, kind, images, labels):
        import torch

        torch.set_num_threads(CORES)
        self.torch, self.kind = torch, kind
        self.images = torch.tensor(np.asarray(images).transpose(0, 3, 1, 2).copy())
        self.labels = torch.tensor(np.asarray(labels).astype(np.int64))
        self.loss = torch.nn.CrossEntropyLoss()

    def model(self, params):
        """Return a module with the weights of one network."""
        nn = self.torch.nn
        if self.kind == "mlp":
            layers = [nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU()]
            found = nn.Sequential(*layers, nn.Linear(128, 10))
            names = ["dense1", "dense2", "output"]
        else:
            first, second = nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 32, 3, padding=1)
            layers = [first, nn.ReLU(), nn.MaxPool2d(2), second, nn.ReLU()]
            found = nn.Sequential(*layers, nn.Flatten(), nn.Linear(512, 10))
            names = ["conv1", "conv2", "output"]
        weighted = [layer for layer in found if hasattr(layer, "weight")]
        for name, layer in zip(names, weighted, strict=True):
            kernel = np.asarray(params[name]["kernel"])
            if self.kind == "cnn" and name == "output":  # from height, width, channel
                kernel = kernel.reshape(4, 4, 32, 10).transpose(2, 0, 1, 3).reshape(512, 10)
            axes = (3, 2, 0, 1) if kernel.ndim == 4 else (1, 0)
            layer.weight.data = self.torch.tensor(kernel.transpose(axes).copy())
            layer.bias.data = self.torch.tensor(np.array(params[name]["bias"]))
        return found

    def vector(self, tree):
        """Return a tree of the JAX network in the order of PyTorch's parameters."""
        return [part.detach() for part in self.model(tree).parameters()]

    def double_backward(self, model, vector):
        """Return one product with the Hessian."""
        params = list(model.parameters())
        loss = self.loss(model(self.images), self.labels)
        slopes = self.torch.autograd.grad(loss, params, create_graph=True)
        return self.torch.autograd.grad(slopes, params, grad_outputs=vector)

    def operator(self, model):
        """Return the product with flat vectors, whose gradient is kept for all of them."""
        torch = self.torch
        params = list(model.parameters())
        loss = self.loss(model(self.images), self.labels)
        slopes = torch.autograd.grad(loss, params, create_graph=True)
        flat = torch.cat([g.reshape(-1) for g in slopes])

        def product(vector):
            found = torch.autograd.grad(flat, params, grad_outputs=vector, retain_graph=True)
            return torch.cat([part.reshape(-1) for part in found])

        return product, len(flat)

    def own_lanczos(self, model):
        """Return the largest eigenvalue, by full reorthogonalisation."""
        torch = self.torch
        product, size = self.operator(model)
        basis, matrix = torch.zeros(STEPS, size), torch.zeros(STEPS, STEPS)
        current = torch.nn.functional.normalize(torch.randn(size), dim=0)
        for k in range(STEPS):
            basis[k] = current
            image = product(current)
            along = basis[: k + 1] @ image
            image = image - along @ basis[: k + 1]
            image = image - (basis[: k + 1] @ image) @ basis[: k + 1]
            matrix[k, k] = along[k]
            length = image.norm()
            if k + 1 < STEPS:
                matrix[k, k + 1] = matrix[k + 1, k] = length
            current = image / length
        return float(torch.linalg.eigvalsh(matrix)[-1])

    def own_trace(self, model):
        """Return the mean over random signs."""
        product, size = self.operator(model)
        draws = []
        for _ in range(PROBES):
            signs = 2.0 * self.torch.randint(0, 2, (size,)) - 1
            draws.append(float(signs @ product(signs)))
        return float(np.mean(draws))

    def curvlinops(self, model):
        """Return the Hessian as an operator."""
        import curvlinops

        data = [(self.images, self.labels)]
        return curvlinops.HessianLinearOperator(
            model, self.loss, list(model.parameters()), data, check_deterministic=False
        )

    def curvlinops_lanczos(self, model):
        """Return the largest eigenvalue in as many steps of ARPACK."""
        from scipy.sparse.linalg import eigsh

        operator = self.curvlinops(model).to_scipy()
        found = eigsh(operator, k=1, which="LA", ncv=STEPS, maxiter=1, return_eigenvectors=False)
        return float(found[0])

    def curvlinops_trace(self, model):
        """Return the mean over random signs."""
        import curvlinops

        found = curvlinops.hutchinson_trace(self.curvlinops(model), PROBES)
        return float(found)

    def pyhessian(self, model):
        """Return the Hessian, its gradient computed."""
        from pyhessian import hessian

        model.zero_grad()
        return hessian(model, self.loss, data=(self.images, self.labels), cuda=False)

    def pyhessian_lanczos(self, model):
        """Return the largest eigenvalue after as many power iterations as others have steps."""
        return float(self.pyhessian(model).eigenvalues(maxIter=STEPS, tol=0.0)[0][0])

    def pyhessian_trace(self, model):
        """Return the mean over random signs."""
        return float(np.mean(self.pyhessian(model).trace(maxIter=PROBES, tol=0.0)))


def timed(forms, repetitions):
    """Return seconds and last result by form, medians over interleaved repetitions."""
    seconds, results = {name: [] for name in forms}, {}
    for name, form in forms.items():
        results[name] = form()
    for _ in range(repetitions):
        for name, form in forms.items():
            start = time.perf_counter()
            results[name] = form()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(s) for name, s in seconds.items()}, results


def spread(function, params, chunks, key):
    """Return a call over all devices, and what its first run took."""

    def run():
        return jax.tree.map(np.asarray, curvature.over_devices(function, params, chunks, key))

    start = time.perf_counter()
    run()
    return run, time.perf_counter() - start


def rows_of(what, seconds, compile_seconds, scale=None):
    """Return one row per form, and print it."""
    scale = scale or {}
    full = {name: s * scale.get(name, 1) for name, s in seconds.items()}
    best = min(s for name, s in full.items() if not name.startswith("genjax"))
    rows = []
    for name, second in full.items():
        row = {"what": what, "form": name, "milliseconds": 1e3 * second}
        if name.startswith("genjax"):
            row |= {"compile_seconds": compile_seconds, "faster_than_best_peer": best / second}
        rows.append(row)
        gain = f"{best / second:5.2f}x" if name.startswith("genjax") else ""
        print(f"{what:28s} {name:22s} {1e3 * second:10.1f} ms {gain}", flush=True)
    return rows


def agree(found, expected, tolerance, what):
    if not abs(found - expected) <= tolerance * abs(expected):
        raise SystemExit(f"{what}: {found} is not {expected}; no time is printed.")


def single(options, images, labels):
    ours, theirs = Ours("cnn", images, labels), Theirs("cnn", images, labels)
    params = jax.tree.map(lambda w: w[0], ours.start(1))
    model, key = theirs.model(params), jax.random.key(1)
    vector = jax.tree.map(lambda w: jax.random.normal(key, w.shape), params)
    rows = []

    run, seconds = spread(ours.once, (params, vector), ours.chunks, key)
    their_vector = theirs.vector(vector)
    operator = theirs.curvlinops(model)
    flat = theirs.torch.cat([v.reshape(-1) for v in their_vector])
    forms = {
        "genjax": run,
        "PyTorch double backward": lambda: theirs.double_backward(model, their_vector),
        "curvlinops": lambda: operator @ flat,
    }
    times, found = timed(forms, options.repetitions)
    expected = theirs.torch.cat([v.reshape(-1) for v in found["PyTorch double backward"]])
    as_theirs = theirs.vector(found["genjax"])
    product = theirs.torch.cat([v.reshape(-1) for v in as_theirs])
    agree(1 + float((product - expected).norm() / expected.norm()), 1, 1e-4, "product")
    rows += rows_of("Hessian-vector product", times, seconds - times["genjax"])

    for what in ("lanczos", "trace"):
        run, seconds = spread(getattr(ours, what), params, ours.chunks, key)
        forms = {"genjax": run}
        for name, short in PEERS.items():
            forms[name] = functools.partial(getattr(theirs, f"{short}_{what}"), model)
        times, found = timed(forms, options.repetitions)
        compare(what, found.pop("genjax"), found)
        label = f"{STEPS} Lanczos steps" if what == "lanczos" else f"trace, {PROBES} probes"
        rows += rows_of(label, times, seconds - times["genjax"])
    return rows


def compare(what, ours, theirs):
    """Refuse different values: eigenvalues as far as they converge, traces within their errors."""
    for name, found in theirs.items():
        if what == "lanczos":
            agree(found, float(ours), 1e-2 if name == "PyHessian" else 1e-4, f"{name} {what}")
        else:
            value, error = (float(v) for v in ours)
            agree(found, value, 6 * error / abs(value), f"{name} {what}")


def stack(kind, options, images, labels):
    ours, theirs = Ours(kind, images, labels), Theirs(kind, images, labels)
    count, fewer = options.networks, min(options.networks, options.peer_networks)
    params = jax.tree.map(np.asarray, ours.start(count))
    chosen = [jax.tree.map(lambda w, i=i: w[i], params) for i in range(fewer)]
    networks = [theirs.model(own) for own in chosen]
    key, rows = jax.random.key(1), []
    for what, function in (("lanczos", ours.lanczos), ("trace", ours.trace)):

        def run(function=function):
            found, valid = curvature.over_networks(
                ours.objective, function, params, ours.chunks, key
            )
            assert valid.all()
            return found

        start = time.perf_counter()
        run()
        first = time.perf_counter() - start
        forms = {"genjax": run}
        for name, short in PEERS.items():
            form = getattr(theirs, f"{short}_{what}")
            forms[name] = lambda f=form: [f(model) for model in networks]
        times, found = timed(forms, options.repetitions)
        for index in range(fewer):
            own = {name: values[index] for name, values in found.items() if name != "genjax"}
            compare(what, found["genjax"][index], own)
        scale = {name: count / fewer for name in forms if name != "genjax"}
        label = f"{kind} x {count}, " + ("Lanczos" if what == "lanczos" else "trace")
        rows += rows_of(label, times, first - times["genjax"], scale)
    return rows


def one_part(part, options):
    warnings.simplefilter("ignore")
    digits = data.load("digits").take(range(options.images))
    images, labels = np.asarray(digits.images), np.asarray(digits.labels)
    if part == "single":
        return single(options, images, labels)
    return stack(part, options, images, labels)


def main():
    """Run every part in a process of its own; print tables and write them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", default=",".join(PARTS))
    for name, amount in (("networks", 64), ("peer-networks", 8), ("images", 1000)):
        parser.add_argument(f"--{name}", type=int, default=amount)
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--output")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        rows = one_part(options.one, options)
        if options.output:
            with open(options.output, "w") as file:
                json.dump(rows, file)
        return
    rows = []
    for part in options.parts.split(","):
        place = f"{options.output or '/tmp/curvature'}.{part}"
        given = [f"--{n}={getattr(options, n.replace('-', '_'))}" for n in NUMBERS]
        environment = os.environ | {"JAX_NUM_CPU_DEVICES": str(CORES)}
        command = [sys.executable, __file__, f"--one={part}", f"--output={place}", *given]
        subprocess.run(command, check=True, env=environment)
        with open(place) as file:
            rows += json.load(file)
        os.remove(place)
    timing.write(options.output, images=options.images, rows=rows)


if __name__ == "__main__":
    main()
