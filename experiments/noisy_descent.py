"""Bounds along noisy descent against the gaps of the networks that took the paths."""

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from genjax import errors, models
from genjax.data import Examples
from genjax.metrics import curvature
from genjax.metrics.information import example_bounds, iteration_contraction, trajectory_bounds
from genjax.metrics.information import noise_schedules as schedules
from genjax.metrics.information.noisy_records import NoisyTraining, RunData, layers_of
from genjax.metrics.information.noisy_training import make
from genjax.metrics.information.path_information import PathBound, interval_over_runs
from genjax.training import execution
from genjax.types import Key

RECORDED = {
    "full": ("variance", "population", "incoherence", "supersample"),
    "fixed": ("variance", "population", "sketch"),
    "epochs": ("population", "perturbation"),
}
PROBES = 8  # of the Hessian's trace, and draws of imagined noise


def run(settings: Any, examples: Examples, key: Key, advance: Callable[..., None]) -> pd.DataFrame:
    """Train by noisy descent, bound the gap along the way, one row per seed, bound, noise and step.

    Columns: experiment ("noisy_sgd"), n, depth (weight layers), seed, bound, value, low, high, gap
    (test minus train error of that network after that step), vacuous (value >= 1), holds, noise
    (sigma added to each parameter; imagined for `neu_descent` and `wang_mao`, which train without),
    step. A bound is one expectation for all seeds: value repeats over them, low and high are 95% by
    Student's t over their paths (NaN where there is none), and holds compares value with the MEAN
    gap over seeds. `wang_mao`, an approximation for cross-entropy, is no certificate.

    Args:
        settings: values for digits (a minute on two cores) | for a smoke test: sizes (200, 800) |
            (40,), training examples; population 500 | 40 others, for test errors and population
            gradients; depths (2,) | (2,); width 32 | 8; seeds 8 | 2; noises (3e-3, 1e-2, 3e-2) |
            (1e-2,); rate 0.2 | 0.2; steps 200 | 8; looks 4 | 2, steps that have rows; samplings
            ("full", "fixed", "epochs") | ("full",): Langevin dynamics, noisy fixed batches, descent
            without noise; batch_share 0.25 | 0.5 of n in a batch; probed 64 | 16 for variances.
        examples: each seed draws its own training set and population from them.
        key: of everything random.
        advance: called with (done, total, what).

    Raises:
        InvalidInputError: too few examples, an unknown sampling, or looks that do not divide steps.
    """
    left = len(examples) - settings.population
    for name, fits, allowed in (
        ("sizes", max(settings.sizes) <= left, f"numbers up to {left}, beside the population"),
        ("samplings", set(settings.samplings) <= set(RECORDED), ", ".join(RECORDED)),
        ("looks", settings.steps % settings.looks == 0, f"divisors of {settings.steps} steps"),
    ):
        if not fits:
            found = getattr(settings, name)
            raise errors.InvalidInputError(f"{name}: found {found}; allowed are {allowed}.")
    places = list(itertools.product(settings.sizes, settings.depths, settings.samplings))
    rows = []
    for done, (n, depth, sampling) in enumerate(places):
        advance(done, len(places), f"{sampling}, n = {n}, {depth} layers")
        rows += _place(settings, examples, jax.random.fold_in(key, n), n, depth, sampling)
    advance(len(places), len(places), "bounds")
    return pd.DataFrame(rows).drop_duplicates(ignore_index=True)  # wang_mao chooses its noise


def _place(settings, examples, key, n, depth, sampling):
    """Yield the rows of one architecture, training size and sampling, with one program."""
    shape = {"image_shape": examples.image_shape, "num_classes": examples.num_classes}
    network = models.create("mlp", **shape, widths=(settings.width,) * (depth - 1))
    size = 0 if sampling == "full" else max(1, round(settings.batch_share * n))
    every, probed = settings.steps // settings.looks, min(n, settings.probed)
    config = {"quantities": RECORDED[sampling], "errors_every": every, "examples": probed}
    train_one: Any = make(network, NoisyTraining(sampling, size, **config))
    form = execution.choose(networks=settings.seeds)
    split = jax.vmap(lambda seed: jax.random.split(jax.random.fold_in(key, seed), 3))(
        jnp.arange(settings.seeds)
    )
    order = np.stack([jax.random.permutation(k, len(examples)) for k in split[:, 0]])
    parts = (order[:, :n], order[:, n : n + settings.population])
    data = RunData(*(a[part] for part in parts for a in (examples.images, examples.labels)))
    start, keys = jax.vmap(network.init)(split[:, 1])[0], split[:, 2]
    sizes = layers_of(network, jax.eval_shape(network.init, key)[0]).sizes
    stacked = execution.filled((start, data, keys), settings.seeds, form)
    program = execution.spread(lambda s, *own: train_one(*own, s), form, shared=1, stacked=3)
    look = _flatness(network) if sampling == "epochs" else None
    for noise in settings.noises:
        level = {"noise": noise} if look is None else {"virtual": noise}
        schedule = schedules.constant(settings.steps, settings.rate, **level)
        params, record = execution.cut(program(schedule, *stacked), settings.seeds)
        own = (params, data, keys)
        flat = look(own, noise * settings.steps**0.5) if look else ()
        found = _bounds(sampling, record, schedule, sizes, n, size, *(float(x) for x in flat))
        gaps = record.population_error - record.train_error
        for name, one in found.items():
            place = {"n": n, "depth": depth, "bound": name, "noise": getattr(one, "noise", noise)}
            yield from _rows(one, gaps, range(every - 1, settings.steps, every), place)


def _flatness(network):
    """Return `((params, data, keys), noise) -> mean (flatness gap, trace of the Hessian)`."""
    made = curvature.objective(network.apply)

    def last(own, noise):
        params, data, key = own
        product = curvature.hessian(made)(params, curvature.pack(made, (data.images, data.labels)))
        flat = trajectory_bounds.flatness_gap(network.apply, *own, noise=noise, draws=PROBES)
        return jnp.stack([flat, curvature.trace(product, params, key, probes=PROBES).value])

    return jax.jit(lambda own, noise: jax.lax.map(lambda one: last(one, noise), own).mean(0))


def _bounds(sampling, record, schedule, sizes, n, size, *flat) -> dict[str, Any]:
    path, given, along = (record.rate, record.noise), {"num_examples": n}, trajectory_bounds
    outside, batches = record.population_deviation, {"batch_size": size or n, **given}
    if sampling == "epochs":
        bent = (outside, record.perturbation, record.rate, schedule.virtual, flat[0])
        mao = {"wang_mao": along.wang_mao(outside, record.rate, flat[1], **given)}
        return {"neu_descent": along.neu_descent(*bent, **given), **mao}
    found = {
        "neu": along.neu_langevin(outside, *path, **given),
        "negrea_variance": example_bounds.negrea_from_variance(record.variance, *path, **batches),
        "pensia": along.pensia(record.squared_norm, *path, sizes=sizes, **given),
        "pensia_quadratic": along.pensia(record.squared_norm, *path, **given),
        "li_luo_qiao": along.li_luo_qiao(record.mean_squared_norm, *path, **batches),
    }
    if sampling == "full":
        pair = (record.difference, record.inner, record.share)
        found["cmi"] = example_bounds.cmi_langevin(*pair, *path)
        return found | {"negrea": example_bounds.negrea(record.incoherence, *path)}
    numbers = (iteration_contraction.variance_over_runs(record.sketch), *schedule[:2])
    batches["num_examples"] -= n % size  # those that fill batches
    found["wang"] = iteration_contraction.wang_gaussian_channels(*numbers, **batches)
    return {f"{name}_batches": one for name, one in found.items()}


def _rows(found, gaps, steps, place):
    path = isinstance(found, PathBound)
    for t in steps if path else steps[-1:]:
        value = float(found.value[t] if path else found.value)
        low, high = interval_over_runs(found.of_runs[..., t]) if path else (np.nan, np.nan)
        told = {"value": value, "low": low, "high": high, "vacuous": value >= 1, "step": t + 1}
        told["holds"] = bool(value >= gaps[:, t].mean())
        for seed, gap in enumerate(gaps[:, t].tolist()):
            yield {"experiment": "noisy_sgd", **place, "seed": seed, "gap": gap, **told}
