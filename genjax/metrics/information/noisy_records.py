"""What noisy gradient descent is told, what it reads and what it writes down."""

import dataclasses
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.tree_util import keystr

from genjax.errors import InvalidInputError, suggest
from genjax.metrics.complexity.layers import weight_layers
from genjax.models import Network
from genjax.types import Params

QUANTITIES = ("variance", "population", "incoherence", "supersample", "perturbation", "sketch")
SAMPLING = ("full", "epochs", "with_replacement", "fixed")
_PARTS = ("all", "output")


@dataclasses.dataclass(frozen=True)
class NoisyTraining:
    """What is compiled.

    Attributes:
        sampling: `full` takes all examples at every step; `epochs` draws without replacement, in a
            new order each epoch; `with_replacement` draws each batch by itself; `fixed` goes
            through the same disjoint batches again and again. Examples that do not fill a batch
            are left out of the epoch, with `fixed` out of training.
        batch_size: examples per step, unless `full`.
        trained: `all` layers, or the `output` layer only (the trunk stays as it was).
        noisy: layers that get noise, `all` that are trained or the `output` layer.
        quantities: what is recorded of `QUANTITIES`; each costs gradients, see `Record`.
        record_every: steps per record. Bounds sum over the steps they are given: they want 1, or
            statistics multiplied by this.
        errors_every: steps per evaluation of the errors, a multiple of `record_every`; 0 for never.
        examples: training examples, the first ones, whose single gradients `variance` takes.
        sketch_size: random projections that `sketch` keeps of each gradient.
    """

    sampling: str = "full"
    batch_size: int = 0
    trained: str = "all"
    noisy: str = "all"
    quantities: tuple[str, ...] = ()
    record_every: int = 1
    errors_every: int = 0
    examples: int = 64
    sketch_size: int = 64

    def __post_init__(self):
        """Refuse what cannot be trained or recorded, by name."""
        choices = {"sampling": SAMPLING, "trained": _PARTS, "noisy": _PARTS}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise InvalidInputError(suggest(name, getattr(self, name), allowed))
        for name in self.quantities:
            if name not in QUANTITIES:
                raise InvalidInputError(suggest("quantities", name, QUANTITIES))
        if (self.sampling == "full") != (self.batch_size == 0):
            raise InvalidInputError(
                f"batch_size: found {self.batch_size} with sampling '{self.sampling}'; allowed are "
                "0 with 'full' and whole numbers from 1 otherwise."
            )
        least = {"record_every": 1, "errors_every": 0, "examples": 2, "sketch_size": 1}
        for name, value in {"batch_size": 0, **least}.items():
            if getattr(self, name) < value:
                raise InvalidInputError(
                    f"{name}: found {getattr(self, name)}; allowed are whole numbers from {value}."
                )
        if self.errors_every % self.record_every:
            raise InvalidInputError(
                f"errors_every: found {self.errors_every}; allowed are multiples of record_every, "
                f"{self.record_every}."
            )
        if "supersample" in self.quantities and self.record_every != 1:
            raise InvalidInputError(
                f"record_every: found {self.record_every}; 'supersample' needs every step, as it "
                "sums the noise along the path."
            )


class RunData(NamedTuple):
    """Examples of one run; stack them to give each network its own.

    Attributes:
        images: [n, H, W, C], the training set.
        labels: [n].
        population_images: [m, H, W, C], examples that never train; the first of them is the other
            half of the pair of which `supersample` trains on one.
        population_labels: [m].
    """

    images: Any
    labels: Any
    population_images: Any
    population_labels: Any


class Record(NamedTuple):
    """Read at R recorded steps, of L layers; what was not chosen is the empty tuple.

    Squared norms are sums over the parameters of a layer, 0 for layers that are not trained. Bars
    are means, g_i is the gradient of example i, J a training example chosen at random for the
    whole run, m_J how often it is in the batch of b.

    Attributes:
        step: number of the step, from 1, [R].
        loss: mean over the batch, in nats for cross-entropy, [R].
        rate: eta_t of each layer, 0 where it is not trained, [R, L].
        noise: sigma_t of each layer, [R, L].
        squared_norm: ||g(W, B_t)||^2, [R, L].
        mean_squared_norm: mean_i ||g_i||^2 (`variance`: gradients of `examples`), [R, L].
        variance: sum_i ||g_i - gbar||^2 / (examples - 1) of the same examples, [R, L].
        population_deviation: ||g(W, B_t) - gbar_population||^2 (`population`: gradients of m
            examples), [R, L].
        incoherence: ||(m_J / b)(gbar_{-J} - g_J)||^2, with gbar_{-J} over the other n - 1 training
            examples (`incoherence`: 1 more gradient, of n unless `full`), [R, L].
        difference: ||g_other - g_J||^2, other the first population example (`supersample`: 2
            gradients), [R, L].
        inner: <g_other - g_J, xi_t> with the noise that this step adds, [R, L].
        share: m_J / b, [R] (`incoherence`, `supersample`).
        perturbation: ||gbar_population(W) - gbar_population(W + s zeta)||^2, zeta ~ N(0, I) and s^2
            the sum of virtual_k^2 over k < t (`perturbation`: gradients of 2 m examples), [R, L].
        sketch: random projections of g(W, B_t), the same in all runs, scaled so that their squared
            length is ||g||^2 on average, [R, sketch_size] (`sketch`: no gradient).
        train_error: share of training examples misclassified AFTER the step, NaN where it was not
            evaluated, [R].
        population_error: the same of the population examples, [R].
        held_out: J, a scalar.
    """

    step: Any
    loss: Any
    rate: Any
    noise: Any
    squared_norm: Any
    mean_squared_norm: Any
    variance: Any
    population_deviation: Any
    incoherence: Any
    difference: Any
    inner: Any
    share: Any
    perturbation: Any
    sketch: Any
    train_error: Any
    population_error: Any
    held_out: Any


class Layers(NamedTuple):
    """Layers of a network as its gradients are summed up.

    Attributes:
        names: paths of what holds their arrays, in the order of the parameter tree.
        sizes: parameters of each.
        output: position of the layer whose product gives the logits.
        of_leaf: layer of every leaf of the parameter tree.
    """

    names: tuple[str, ...]
    sizes: tuple[int, ...]
    output: int
    of_leaf: tuple[int, ...]


def layers_of(network: Network, params: Params) -> Layers:
    """Return the layers of a network: arrays that lie together in its parameter tree.

    Example:
        >>> from genjax import models
        >>> net = models.create("mlp", image_shape=(2, 2, 1), num_classes=3, widths=(5,))
        >>> layers_of(net, net.init(jax.random.key(0))[0])[:3]
        (("['dense1']", "['output']"), (25, 18), 1)
    """
    leaves, _ = jax.tree_util.tree_flatten_with_path(params)
    homes = [keystr(path[:-1]) for path, _ in leaves]
    names = tuple(dict.fromkeys(homes))
    of_leaf = tuple(names.index(home) for home in homes)
    sizes = [0] * len(names)
    for layer, (_, leaf) in zip(of_leaf, leaves, strict=True):
        sizes[layer] += int(np.size(leaf))
    found = weight_layers(network, params)
    last = found[-1].leaf if found else len(leaves) - 1
    return Layers(names, tuple(sizes), of_leaf[last], of_leaf)
