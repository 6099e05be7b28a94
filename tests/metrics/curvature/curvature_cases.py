"""The shared list of small networks, and their curvature by dense float64 differentiation."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from genjax import models

MODELS = {
    "mlp": ("mlp", {"widths": (6,)}, (4, 4, 1)),
    "cnn": ("cnn", {"channels": (3, 4)}, (8, 8, 1)),
    "resnet": ("resnet", {"depth": 8, "width": 0.0625}, (8, 8, 1)),
    "vit": ("vit", {"patch": 4, "width": 4, "depth": 1, "heads": 2}, (8, 8, 1)),
}
LOSSES = ("cross_entropy", "squared")
CLASSES = 3
SIZES = (7, 4, 9)
CHUNK = 8  # three chunks of seven places for twenty examples


class Case(NamedTuple):
    network: Any
    plain: Any  # apply with convolutions as they are
    params: Any  # float64 NumPy
    batches: Any  # of unequal sizes


@functools.cache
def case(name: str) -> Case:
    family, options, shape = MODELS[name]
    network = models.create(family, image_shape=shape, num_classes=CLASSES, **options)
    plain = network
    if family in ("cnn", "resnet"):
        plain = models.create(
            family, image_shape=shape, num_classes=CLASSES, form="plain", **options
        )
    rng = np.random.default_rng(list(MODELS).index(name))
    parameters, statistics = network.init(jax.random.key(1))
    # Statistics as after training, so that folding changes the weights.
    statistics = jax.tree.map(lambda s: np.exp(rng.normal(0, 0.3, s.shape)), statistics)
    folded = network.fold(parameters, statistics)
    params = jax.tree.map(lambda w: np.asarray(w, np.float64) + rng.normal(0, 0.2, w.shape), folded)
    batches = [
        (rng.uniform(size=(n, *shape)), rng.integers(0, CLASSES, n).astype(np.int32)) for n in SIZES
    ]
    return Case(network, plain.apply, params, tuple(batches))


class Exact(NamedTuple):
    value: Any
    gradient: Any
    hessian: Any
    gauss_newton: Any
    empirical: Any


@functools.cache
def exact(name: str, loss: str) -> Exact:
    """Mean loss and its derivatives over all examples at once, rows in the order of the leaves."""
    one = case(name)
    images = np.concatenate([b[0] for b in one.batches])
    labels = np.concatenate([b[1] for b in one.batches])
    hot = np.eye(CLASSES)[labels]
    with jax.enable_x64(True):
        flat, unflatten = ravel_pytree(one.params)

        def logits(vector):
            return one.plain(unflatten(vector), images)

        def mean(vector):
            found = logits(vector)
            if loss == "squared":
                return jnp.sum((found - hot) ** 2) / 2 / len(labels)
            return jnp.mean(jax.nn.logsumexp(found, axis=1) - jnp.sum(found * hot, axis=1))

        value, gradient = jax.jit(jax.value_and_grad(mean))(flat)
        hessian = jax.jit(jax.hessian(mean))(flat)
        f = np.asarray(logits(flat))
        jacobian = np.asarray(jax.jit(jax.jacrev(logits))(flat))
    p = np.exp(f - f.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    inner = np.broadcast_to(np.eye(CLASSES), (len(labels), CLASSES, CLASSES))
    slopes = f - hot
    if loss == "cross_entropy":
        # E over labels of (e_y - p)(e_y - p)'.
        away = np.eye(CLASSES)[None] - p[:, None]
        inner = np.einsum("ny,nya,nyb->nab", p, away, away)
        slopes = p - hot
    gauss_newton = np.einsum("nai,nab,nbj->ij", jacobian, inner, jacobian) / len(labels)
    gradients = np.einsum("nai,na->ni", jacobian, slopes)
    empirical = gradients.T @ gradients / len(labels)
    return Exact(*map(np.asarray, (value, gradient, hessian, gauss_newton, empirical)))
