"""Train a network that can be described in few bits: quantised steps in a random subspace.

The weights are `initial + projection @ w` with a fixed random projection and few coordinates w,
each one of few levels. What must be transmitted is which level each coordinate has, and the levels
(Lotfi et al., PAC-Bayes Compression Bounds So Tight That They Can Explain Generalization, 2022).
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from genjax.errors import InvalidInputError, suggest
from genjax.metrics.complexity.contract import Labelled
from genjax.metrics.complexity.stochastic_training import minimise
from genjax.metrics.complexity.workspace import cross_entropies
from genjax.models import Network
from genjax.types import Key, Params

QUANTISERS = ("uniform", "kmeans")
_LLOYD_ROUNDS = 20


@dataclasses.dataclass(frozen=True)
class CompressionConfig:
    """How a compressed network is trained and described.

    Attributes:
        dimension: coordinates of the subspace.
        levels: of the quantiser, at least 2.
        quantiser: `uniform`, whole multiples of one step around zero (an odd number of levels), or
            `kmeans`, any levels.
        epochs: of the training before quantisation.
        quantised_epochs: of the training of levels and quantised coordinates, straight through.
        batch_size: examples per step.
        learning_rate: of Adam, at the start of a cosine, before and after quantisation.
        extra_bits: of everything that was chosen with the data, e.g. log2 of the number of settings
            that were tried.
        alpha: of `catoni_bound`.
        eps: probability that the bound fails.
    """

    dimension: int = 100
    levels: int = 3
    quantiser: str = "uniform"
    epochs: int = 50
    quantised_epochs: int = 20
    batch_size: int = 64
    learning_rate: float = 0.1
    extra_bits: float = 0.0
    alpha: float = 1e-4
    eps: float = 0.05

    def __post_init__(self):
        """Refuse what cannot be trained, by name."""
        if self.quantiser not in QUANTISERS:
            raise InvalidInputError(suggest("quantiser", self.quantiser, QUANTISERS))
        for name, low in {
            "dimension": 1, "levels": 2, "epochs": 1, "quantised_epochs": 1, "batch_size": 1
        }.items():  # fmt: skip
            if getattr(self, name) < low:
                raise InvalidInputError(
                    f"{name}: found {getattr(self, name)}; allowed are whole numbers from {low}."
                )
        if self.quantiser == "uniform" and self.levels % 2 == 0:
            raise InvalidInputError(
                f"levels: found {self.levels}; uniform levels around zero are odd in number."
            )
        if self.extra_bits < 0:
            raise InvalidInputError(f"extra_bits: found {self.extra_bits}; it must not be below 0.")


DEFAULTS = CompressionConfig()


class Message(NamedTuple):
    """What describes a network, given its start and the seed of the projection.

    Attributes:
        symbols: level of each coordinate [dimension], int32.
        levels: their values [levels], each a number that float16 holds.
    """

    symbols: Any
    levels: Any


class Projection(NamedTuple):
    """A fixed random linear map from few coordinates to all weights.

    Every weight belongs to one coordinate, so the columns are orthogonal; they have norm 1.

    Attributes:
        coordinate: of each weight [D].
        factor: of each weight [D].
    """

    coordinate: Any
    factor: Any


def projection(key: Key, num_weights: int, dimension: int) -> Projection:
    """Draw a projection; it must not depend on any example.

    Example:
        >>> found = projection(jax.random.key(0), 10, 2)
        >>> jnp.bincount(found.coordinate, length=2).tolist()
        [5, 5]
    """
    order_key, key = jax.random.split(key)
    coordinate = jax.random.permutation(order_key, jnp.arange(num_weights) % dimension)
    factor = jax.random.normal(key, (num_weights,))
    squares = jax.ops.segment_sum(factor**2, coordinate, num_segments=dimension)
    return Projection(coordinate, factor / jnp.sqrt(squares)[coordinate])


def decode(init_params: Params, fixed: Projection, message: Message) -> Params:
    """Return the weights that a message describes.

    Example:
        >>> fixed = projection(jax.random.key(0), 4, 2)
        >>> message = Message(jnp.array([1, 1]), jnp.array([-1.0, 0.0, 1.0]))
        >>> decode({"w": jnp.ones(4)}, fixed, message)["w"].tolist()
        [1.0, 1.0, 1.0, 1.0]
    """
    return _moved(init_params, fixed, message.levels[message.symbols])


def _moved(init_params, fixed, coordinates) -> Params:
    flat, restore = ravel_pytree(init_params)
    return restore(flat + fixed.factor * coordinates[fixed.coordinate])


def train(
    network: Network,
    init_params: Params,
    examples: Labelled,
    key: Key,
    config: CompressionConfig = DEFAULTS,
) -> tuple[Message, Projection]:
    """Train coordinates, quantise them, and train on through the quantiser.

    The mean cross-entropy is minimised. Pure, jittable, vmappable over networks.

    Args:
        network: the model as pure functions.
        init_params: weights that depend on no examples. Nothing here can tell whether they do.
        examples: to train on.
        key: of the projection and the batches.
        config: static rules.

    Returns:
        The message, and the projection that it is read with.

    Raises:
        InvalidInputError: fewer weights than coordinates.

    Example:
        >>> from genjax import data, models
        >>> net = models.create("mlp", image_shape=(8, 8, 1), num_classes=10, widths=(8,))
        >>> digits = data.load("digits").take(range(50))
        >>> examples = Labelled(jnp.asarray(digits.images), jnp.asarray(digits.labels))
        >>> params = net.fold(*net.init(jax.random.key(0)))
        >>> run = lambda key: train(net, params, examples, key)
        >>> jax.eval_shape(run, jax.random.key(1))[0].symbols.shape  # a run takes seconds
        (100,)
    """
    size = sum(leaf.size for leaf in jax.tree.leaves(init_params))
    if size < config.dimension:
        raise InvalidInputError(
            f"dimension: found {config.dimension}; the network has only {size} weights."
        )
    map_key, first_key, second_key = jax.random.split(key, 3)
    fixed = projection(map_key, size, config.dimension)

    def loss(coordinates, batch, _):
        images, labels = batch
        logits = network.apply(_moved(init_params, fixed, coordinates), images)
        return jnp.mean(cross_entropies(logits, labels))

    rate = config.learning_rate
    start = jnp.zeros(config.dimension)
    rules = (config.epochs, config.batch_size)
    coordinates = minimise(loss, start, rate, examples, first_key, rules)

    def quantised_loss(variables, batch, noise):
        coordinates, numbers = variables
        levels = _levels(numbers, config)
        chosen = levels[_nearest(coordinates, levels)]
        # Straight through: the coordinates get the gradient of what they are rounded to.
        through = chosen + coordinates - jax.lax.stop_gradient(coordinates)
        return loss(through, batch, noise)

    rules = (config.quantised_epochs, config.batch_size)
    variables = (coordinates, _first_numbers(coordinates, config))
    coordinates, numbers = minimise(
        quantised_loss, variables, (rate, rate), examples, second_key, rules
    )
    levels = _levels(numbers.astype(jnp.float16).astype(numbers.dtype), config)
    return Message(_nearest(coordinates, levels).astype(jnp.int32), levels), fixed


def _levels(numbers: Any, config: CompressionConfig) -> Any:
    """Return the levels that the transmitted numbers stand for."""
    if config.quantiser == "kmeans":
        return numbers
    return numbers[0] * jnp.arange(-(config.levels // 2), config.levels // 2 + 1)


def transmitted_numbers(config: CompressionConfig) -> int:
    """Return how many float16 describe the levels.

    Example:
        >>> transmitted_numbers(CompressionConfig(levels=5))
        1
    """
    return config.levels if config.quantiser == "kmeans" else 1


def _nearest(coordinates: Any, levels: Any) -> Any:
    return jnp.argmin(jnp.abs(coordinates[:, None] - levels[None, :]), axis=1)


def _first_numbers(coordinates: Any, config: CompressionConfig) -> Any:
    if config.quantiser == "uniform":
        # The step that loses least, of a range around the size of the coordinates.
        steps = jnp.linspace(0.2, 3.0, 57) * jnp.std(coordinates)

        def lost(step):
            levels = _levels(step[None], config)
            return jnp.sum((coordinates - levels[_nearest(coordinates, levels)]) ** 2)

        return steps[jnp.argmin(jax.lax.map(lost, steps))][None]
    shares = (jnp.arange(config.levels) + 0.5) / config.levels

    def round_(_, centres):
        mine = jax.nn.one_hot(_nearest(coordinates, centres), config.levels)
        sizes = jnp.sum(mine, axis=0)
        means = jnp.sum(mine * coordinates[:, None], axis=0) / jnp.maximum(sizes, 1)
        return jnp.where(sizes > 0, means, centres)

    return jax.lax.fori_loop(0, _LLOYD_ROUNDS, round_, jnp.quantile(coordinates, shares))
