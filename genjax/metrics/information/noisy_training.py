"""Noisy gradient descent with a record of what bounds along its path need.

W_t = W_{t-1} - eta_t g(W_{t-1}, B_t) + sigma_t xi_t with xi_t ~ N(0, I): the convention of
`genjax.metrics.information.noise_schedules`. g is the mean gradient of the loss over a batch.
Everything recorded at step t is read at W_{t-1}, before the step, from the gradient and the noise
that the step then uses.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from genjax.errors import InvalidInputError
from genjax.metrics.curvature.objective import Objective, gradient, objective, pack
from genjax.metrics.curvature.traces import signs
from genjax.metrics.information.noise_schedules import Schedule
from genjax.metrics.information.noisy_records import (
    Layers,
    NoisyTraining,
    Record,
    RunData,
    layers_of,
)
from genjax.models import Network
from genjax.training import segment
from genjax.types import Key, Params


def make(
    network: Network,
    config: NoisyTraining,
    loss: str | Callable[[Any, Any], Any] = "cross_entropy",
) -> Callable[[Params, RunData, Key, Schedule], tuple[Params, Record]]:
    """Return `run(params, data, key, schedule) -> (params, Record)` of one network.

    Pure: to be jitted, vmapped over networks, or spread with `genjax.training.execution.spread`.
    Two runs with one key see the same batches, J and noise.

    Args:
        network: without running statistics.
        config: static rules.
        loss: `cross_entropy`, `squared`, or `(logits [N, C], labels) -> [N]`.

    Raises:
        InvalidInputError: an unknown loss; when traced, also a network that has statistics of
            batches, fewer examples than a batch or a quantity needs, or a number of steps that
            `record_every` does not divide.

    Example:
        >>> from genjax import models
        >>> from genjax.metrics.information import noise_schedules
        >>> net = models.create("mlp", image_shape=(2, 2, 1), num_classes=3, widths=(5,))
        >>> data = RunData(jnp.ones((4, 2, 2, 1)), jnp.array([0, 1, 2, 0]),
        ...                jnp.ones((3, 2, 2, 1)), jnp.array([2, 1, 0]))
        >>> run = jax.jit(make(net, NoisyTraining(quantities=("incoherence",))))
        >>> schedule = noise_schedules.constant(6, 0.1, inverse_temperature=1e4)
        >>> params, record = run(net.init(jax.random.key(0))[0], data, jax.random.key(1), schedule)
        >>> record.incoherence.shape, record.variance
        ((6, 2), ())
    """
    made = objective(network.apply, loss)

    def run(params, data, key, schedule):
        steps, size = _checked(network, config, data, schedule)
        one = _Run(network, config, made, layers_of(network, params), data, key, size)
        kind = jnp.result_type(*jax.tree.leaves(params))
        rate, noise, virtual = (jnp.asarray(field).astype(kind) for field in schedule)
        # sigma_{1:t}: the imagined noise gathered before step t.
        gathered = jnp.sqrt(jnp.cumsum(virtual**2) - virtual**2)
        xs = (jnp.arange(steps), rate, noise, gathered)
        pieces = jax.tree.map(lambda x: x.reshape(-1, config.record_every), xs)

        def piece(carry, xs):
            first = jax.tree.map(lambda x: x[0], xs)
            carry, line = one.step(carry, first, measured=True)
            if config.record_every > 1:
                rest = jax.tree.map(lambda x: x[1:], xs)
                carry, _ = jax.lax.scan(lambda c, x: one.step(c, x, measured=False), carry, rest)
            if config.errors_every:
                line |= one.errors(carry[0], xs[0][-1] + 1)
            return carry, line

        start = (params, jnp.zeros(len(data.labels), jnp.int32), jnp.bool_(False))
        (params, *_), lines = jax.lax.scan(piece, start, pieces)
        fields = {**dict.fromkeys(Record._fields, ()), **lines, "held_out": one.held_out}
        return params, Record(**fields)

    return run


def _checked(network, config, data, schedule) -> tuple[int, int]:
    """Return the number of steps and the size of a batch, or refuse."""
    steps, count = len(schedule.rate), len(data.labels)
    statistics = jax.eval_shape(network.init, jax.random.key(0))[1]
    if jax.tree.leaves(statistics):
        raise InvalidInputError(
            f"network: found {network.name}, whose normalisation couples the examples of a batch; "
            "allowed are networks without running statistics."
        )
    if not steps or steps % config.record_every:
        raise InvalidInputError(
            f"record_every: found {config.record_every} for {steps} steps; it must divide them."
        )
    size = config.batch_size or count
    if size > count:
        raise InvalidInputError(f"batch_size: found {size}; at most {count} examples are there.")
    needed = config.examples if "variance" in config.quantities else 2
    if count < needed:
        raise InvalidInputError(f"examples: found {needed}; {count} training examples are there.")
    outside = {"population", "supersample", "perturbation"} & set(config.quantities)
    if (outside or config.errors_every) and not len(data.population_labels):
        raise InvalidInputError("data: found no population examples; at least one is needed.")
    return steps, size


class _Run:
    """One run: what does not change from step to step."""

    def __init__(
        self,
        network: Network,
        config: NoisyTraining,
        made: Objective,
        layers: Layers,
        data: RunData,
        key: Key,
        size: int,
    ):
        self.network, self.config, self.made, self.layers = network, config, made, layers
        self.data, self.key, self.size, self.count = data, key, size, len(data.labels)
        self.held_out = jax.random.randint(jax.random.fold_in(key, 3), (), 0, self.count)
        every = tuple(range(len(layers.names)))
        self.trained = every if config.trained == "all" else (layers.output,)
        self.noisy = self.trained if config.noisy == "all" else (layers.output,)

    def only_trained(self, params):
        """Cut the path of gradients to what is not trained."""
        leaves, structure = jax.tree.flatten(params)
        kept = [
            leaf if layer in self.trained else jax.lax.stop_gradient(leaf)
            for leaf, layer in zip(leaves, self.layers.of_leaf, strict=True)
        ]
        return structure.unflatten(kept)

    def per_layer(self, *trees):
        """Return the sum of the products of two trees, or of squares, of each layer."""
        first, second = trees if len(trees) == 2 else trees * 2
        pairs = zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True)
        sums = [jnp.sum(a * b) for a, b in pairs]
        rows = [
            sum(s for s, layer in zip(sums, self.layers.of_leaf, strict=True) if layer == k)
            for k in range(len(self.layers.names))
        ]
        return jnp.stack([jnp.asarray(row) for row in rows])

    def masked(self, value, chosen):
        """Return `value` for the chosen layers and 0 for the others, [L]."""
        places = range(len(self.layers.names))
        return value * jnp.asarray([float(k in chosen) for k in places], value.dtype)

    def batch(self, order, started, t):
        """Return (order, images, labels, m_J / b)."""
        data, size = self.data, self.size
        if self.config.sampling == "full":
            return order, data.images, data.labels, jnp.asarray(1 / self.count)
        per_epoch = self.count // size
        if self.config.sampling == "with_replacement":
            key = jax.random.fold_in(segment.step_key(self.key, t), 0)
            chosen = jax.random.randint(key, (size,), 0, self.count)
        else:
            if self.config.sampling == "epochs":
                new = (t % per_epoch == 0) | ~started
                epoch = t // per_epoch
                order = jax.lax.cond(
                    new,
                    lambda: segment.epoch_order(self.key, epoch, self.count).astype(jnp.int32),
                    lambda: order,
                )
            else:
                order = jnp.arange(self.count, dtype=jnp.int32)
            chosen = jax.lax.dynamic_slice_in_dim(order, t % per_epoch * size, size)
        share = jnp.mean((chosen == self.held_out).astype(float))
        return order, data.images[chosen], data.labels[chosen], share

    def batch_gradient(self, params, images, labels):
        """Return (mean loss, gradient); convolutions are those of training."""
        unused = jax.random.key(0)  # there is no dropout

        def loss(params):
            params = self.only_trained(params)
            logits, _ = self.network.train_apply(params, {}, images, unused, None)
            return jnp.mean(self.made.loss(logits, labels))

        return jax.value_and_grad(loss)(params)

    def mean_gradient(self, params, images, labels):
        made = self.made._replace(apply=lambda p, x: self.made.apply(self.only_trained(p), x))
        return gradient(made, params, pack(made, (images, labels)))

    def example_gradients(self, params, images, labels):
        """Return gradients of single examples, each leaf [N, ...]."""

        def loss(params, image, label):
            logits = self.made.apply(self.only_trained(params), image[None])
            return self.made.loss(logits, label[None])[0]

        return jax.vmap(jax.grad(loss), (None, 0, 0))(params, images, labels)

    def step(self, carry, x, *, measured):
        params, order, started = carry
        t, rate, noise, gathered = x
        order, images, labels, share = self.batch(order, started, t)
        loss, slope = self.batch_gradient(params, images, labels)
        xi = optax.tree.random_like(
            jax.random.fold_in(segment.step_key(self.key, t), 1), params, jax.random.normal
        )
        rates, noises = self.masked(rate, self.trained), self.masked(noise, self.noisy)
        line = {}
        if measured:
            line = {"step": t + 1, "loss": loss, "rate": rates, "noise": noises}
            line |= self.measure(params, slope, xi, share, t, gathered)
        leaves, structure = jax.tree.flatten(params)
        triples = zip(
            leaves, jax.tree.leaves(slope), jax.tree.leaves(xi), self.layers.of_leaf, strict=True
        )
        moved = [w - rates[k] * g + noises[k] * e for w, g, e, k in triples]
        return (structure.unflatten(moved), order, jnp.bool_(True)), line

    def measure(self, params, slope, xi, share, t, gathered):
        """Return the lines of the record that were chosen."""
        chosen, data = self.config.quantities, self.data
        line = {"squared_norm": self.per_layer(slope)}
        if "variance" in chosen:
            line |= self.variance(params)
        if "incoherence" in chosen or "supersample" in chosen:
            line["share"] = share
            line |= self.pair(params, slope, xi, share)
        if "population" in chosen or "perturbation" in chosen:
            outside = (data.population_images, data.population_labels)
            mean = self.mean_gradient(params, *outside)
            if "population" in chosen:
                line["population_deviation"] = self.per_layer(_minus(slope, mean))
            if "perturbation" in chosen:
                key = jax.random.fold_in(segment.step_key(self.key, t), 2)
                zeta = optax.tree.random_like(key, params, jax.random.normal)
                near = jax.tree.map(lambda w, z: w + gathered * z, params, zeta)
                line["perturbation"] = self.per_layer(
                    _minus(mean, self.mean_gradient(near, *outside))
                )
        if "sketch" in chosen:
            line["sketch"] = _sketched(slope, self.config.sketch_size)
        return line

    def variance(self, params):
        first = slice(None, self.config.examples)
        gradients = self.example_gradients(params, self.data.images[first], self.data.labels[first])
        mean = jax.tree.map(lambda g: jnp.mean(g, axis=0), gradients)
        # In two sweeps: the difference of two large sums would lose the variance in float32.
        away = jax.tree.map(lambda g, m: g - m[None], gradients, mean)
        count = self.config.examples
        return {
            "mean_squared_norm": self.per_layer(gradients) / count,
            "variance": self.per_layer(away) / (count - 1),
        }

    def pair(self, params, slope, xi, share):
        """Return what needs the gradient of the held-out example."""
        chosen, data, place = self.config.quantities, self.data, self.held_out
        line = {}
        images = jnp.stack([data.images[place], data.images[place]])
        labels = jnp.stack([data.labels[place], data.labels[place]])
        if "supersample" in chosen:
            images = images.at[1].set(data.population_images[0])
            labels = labels.at[1].set(data.population_labels[0])
        both = self.example_gradients(params, images, labels)
        own = jax.tree.map(lambda g: g[0], both)
        if "incoherence" in chosen:
            full = self.config.sampling == "full"
            whole = slope if full else self.mean_gradient(params, data.images, data.labels)
            # gbar_{-J} - g_J = n / (n - 1) (gbar - g_J).
            factor = share * self.count / (self.count - 1)
            line["incoherence"] = factor**2 * self.per_layer(_minus(whole, own))
        if "supersample" in chosen:
            away = jax.tree.map(lambda g: g[1] - g[0], both)
            line["difference"] = self.per_layer(away)
            line["inner"] = self.per_layer(away, xi)
        return line

    def errors(self, params, step):
        data, kind = self.data, jnp.result_type(float)
        parts = (
            (data.images, data.labels),
            (data.population_images, data.population_labels),
        )

        def evaluated():
            right = [segment.evaluate(self.network, params, *part)[1] for part in parts]
            return tuple((1 - share).astype(kind) for share in right)

        def skipped():
            return (jnp.full((), jnp.nan, kind),) * 2

        found = jax.lax.cond(step % self.config.errors_every == 0, evaluated, skipped)
        return dict(zip(("train_error", "population_error"), found, strict=True))


def _minus(first, second):
    return jax.tree.map(jnp.subtract, first, second)


def _sketched(tree, size):
    """Return random signed sums of all entries, [size], with E ||sketch||^2 = ||tree||^2."""
    vector = jnp.concatenate([leaf.reshape(-1) for leaf in jax.tree.leaves(tree)])
    # One fixed key: runs are compared, so they have to be projected alike.
    keys = jax.random.split(jax.random.key(0), size)
    project = lambda key: jnp.dot(signs(key, vector), vector, precision="highest")  # noqa: E731
    return jax.lax.map(project, keys) / np.sqrt(size)
