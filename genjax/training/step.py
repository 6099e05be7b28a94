"""One optimisation step of one network: `step(state, batch, key, hyper) -> (state, info)`."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from genjax.data import augmentation
from genjax.models import Network
from genjax.training.config import HyperParameters, TrainingConfig
from genjax.training.optimizer import make_optimizer
from genjax.types import Key, Params


class Learner(NamedTuple):
    """What one step changes.

    Attributes:
        parameters: trained arrays.
        statistics: running statistics of normalisation layers.
        optimizer: state of the optimiser.
    """

    parameters: Params
    statistics: Params
    optimizer: Any


class StepInfo(NamedTuple):
    """Diagnostics of one step.

    Attributes:
        loss: mean cross-entropy of the batch, in nats, as optimised (smoothing and mixup included).
        gradient_norm: Euclidean norm of the gradient over all parameters.
    """

    loss: Any
    gradient_norm: Any


def soft_cross_entropy(logits, targets):
    """Return the mean over examples of -sum_c t_c log softmax(logits)_c, in nats.

    Example:
        >>> logits = jnp.zeros((2, 4))
        >>> round(float(soft_cross_entropy(logits, jnp.eye(4)[:2])), 4)
        1.3863
    """
    return -jnp.mean(jnp.sum(targets * jax.nn.log_softmax(logits), axis=-1))


def _mixup(images, targets, alpha, key):
    """Mix each example with another one (Zhang et al. 2018), with one weight per batch."""
    beta_key, order_key = jax.random.split(key)
    share = jax.random.beta(beta_key, jnp.maximum(alpha, 1e-3), jnp.maximum(alpha, 1e-3))
    share = jnp.where(alpha > 0, share, 1.0)
    order = jax.random.permutation(order_key, images.shape[0])
    mix = lambda x: share * x + (1 - share) * x[order]  # noqa: E731
    return mix(images), mix(targets)


def make_step(
    network: Network, config: TrainingConfig, used: frozenset[str] = frozenset()
) -> tuple[Callable[..., Learner], Callable[..., tuple[Learner, StepInfo]]]:
    """Return `(init, step)` of one network: pure, to be jitted, vmapped over networks and scanned.

    `init(key, hyper) -> Learner`; `step(learner, (images, labels), key, hyper) -> (Learner,
    StepInfo)`.

    Args:
        network: the model.
        config: static rules.
        used: names of hyper-parameters that are not zero for the whole group.

    Example:
        >>> from genjax import models
        >>> network = models.create("mlp", image_shape=(4, 4, 1), num_classes=3, widths=(8,))
        >>> init, step = make_step(network, TrainingConfig())
        >>> learner = init(jax.random.key(0), HyperParameters())
        >>> batch = (jnp.ones((5, 4, 4, 1)), jnp.zeros(5, int))
        >>> learner, info = step(learner, batch, jax.random.key(1), HyperParameters())
    """
    augment = augmentation.create(config.augmentation) if config.augmentation else None

    def init(key: Key, hyper: HyperParameters) -> Learner:
        parameters, statistics = network.init(key)
        state = make_optimizer(config, hyper, used).init(parameters)
        return Learner(parameters, statistics, state)

    def step(learner: Learner, batch, key: Key, hyper: HyperParameters):
        images, labels = batch
        drop_key, mix_key, augment_key, noise_key = jax.random.split(key, 4)
        targets = jax.nn.one_hot(labels, network.num_classes)
        if augment is not None:
            images = augment(images, augment_key)
        if "label_smoothing" in used:
            s = hyper.label_smoothing
            targets = (1 - s) * targets + s / network.num_classes
        if "mixup_alpha" in used:
            images, targets = _mixup(images, targets, hyper.mixup_alpha, mix_key)
        rate = hyper.dropout_rate if "dropout_rate" in used else None

        def objective(parameters):
            logits, statistics = network.train_apply(
                parameters, learner.statistics, images, drop_key, rate
            )
            return soft_cross_entropy(logits, targets), statistics

        (loss, statistics), gradient = jax.value_and_grad(objective, has_aux=True)(
            learner.parameters
        )
        norm = optax.tree.norm(gradient)
        if "noise_scale" in used:
            noise = optax.tree.random_like(noise_key, gradient)
            gradient = jax.tree.map(lambda g, e: g + hyper.noise_scale * e, gradient, noise)
        extra = {}
        if config.optimizer == "sam":
            extra["grad_fn"] = lambda parameters, _: jax.grad(objective, has_aux=True)(parameters)[
                0
            ]
        updates, state = make_optimizer(config, hyper, used).update(
            gradient, learner.optimizer, learner.parameters, **extra
        )
        parameters = optax.apply_updates(learner.parameters, updates)
        return Learner(parameters, statistics, state), StepInfo(loss, norm)

    return init, step
