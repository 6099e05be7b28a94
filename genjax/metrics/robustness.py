"""Adversarial robustness: the worst images in a box around an image, as found by four attacks.

All attacks are pure functions of one network: jit them, vmap them over networks. They move every
pixel by at most epsilon and stay in [0, 1].
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int

from genjax.errors import InvalidInputError, suggest
from genjax.metrics.curvature import ascent
from genjax.training import TrainedGroup, execution
from genjax.types import Key, Params

Apply = Callable[[Params, Any], Any]

PGD_REACH = 2.5
"""Length of all steps of PGD together, in units of epsilon, as Madry et al. (2018) choose."""


class Attacked(NamedTuple):
    """What an attack found for every image.

    Attributes:
        images: in [0, 1], each pixel within epsilon of the original.
        losses: cross-entropy of each image, in nats.
        wrong: whether the network errs on it.
    """

    images: Float[Array | np.ndarray, "examples height width channels"]
    losses: Float[Array | np.ndarray, " examples"]
    wrong: Bool[Array | np.ndarray, " examples"]


def _losses(apply: Apply, params: Params, images: Any, labels: Any) -> tuple[Any, Any]:
    logits = apply(params, images)
    found = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return jnp.sum(found), (found, jnp.argmax(logits, axis=-1) != labels)


def _gradient(apply: Apply, params: Params, images: Any, labels: Any) -> tuple[Any, Attacked]:
    """Return the gradient of every image's own loss, and what the images are worth."""
    slope = jax.grad(_losses, argnums=2, has_aux=True)
    gradient, judged = slope(apply, params, images, labels)
    return gradient, Attacked(images, *judged)


def _judged(apply: Apply, params: Params, images: Any, labels: Any) -> Attacked:
    return Attacked(images, *_losses(apply, params, images, labels)[1])


def _box(images: Any, epsilon: Any) -> tuple[Any, Any]:
    return jnp.maximum(images - epsilon, 0.0), jnp.minimum(images + epsilon, 1.0)


def stronger(first: Attacked, second: Attacked) -> Attacked:
    """Return of every image the version that errs or, if both do or none does, loses more.

    Example:
        >>> image = jnp.zeros((1, 1, 1, 1))
        >>> right = Attacked(image, jnp.array([0.6]), jnp.array([False]))
        >>> wrong = Attacked(image + 1, jnp.array([0.5]), jnp.array([True]))
        >>> bool(stronger(right, wrong).wrong[0]), bool(stronger(wrong, right).wrong[0])
        (True, True)
    """
    same = first.wrong == second.wrong
    chosen = jnp.where(same, second.losses > first.losses, second.wrong)
    return jax.tree.map(
        lambda a, b: jnp.where(chosen.reshape(-1, *[1] * (a.ndim - 1)), b, a), first, second
    )


def fgsm(
    apply: Apply,
    params: Params,
    images: Float[Array | np.ndarray, "examples height width channels"],
    labels: Int[Array | np.ndarray, " examples"],
    epsilon: Any,
) -> Attacked:
    """Move every pixel by epsilon along the sign of the gradient of the loss.

    `x + epsilon sign(d loss / d x)`, cut off to [0, 1]: the fast gradient sign method.

    Args:
        apply: `(params, images) -> logits`.
        params: of one network.
        images: in [0, 1].
        labels: their classes.
        epsilon: largest change of a pixel, a number from 0; may be traced.

    References:
        Goodfellow, Shlens and Szegedy, Explaining and harnessing adversarial examples, ICLR 2015,
        section 4.

    Example:
        >>> apply = lambda w, x: x.reshape(len(x), -1) @ w  # class 0 likes bright pixels
        >>> weights = jnp.array([[1.0, -1.0], [1.0, -1.0]])
        >>> image = jnp.array([0.5, 0.05]).reshape(1, 1, 2, 1)
        >>> found = fgsm(apply, weights, image, jnp.array([0]), 0.25)
        >>> found.images.ravel().tolist()
        [0.25, 0.0]
    """
    gradient, _ = _gradient(apply, params, images, labels)
    return _judged(
        apply, params, jnp.clip(images + epsilon * jnp.sign(gradient), *_box(images, epsilon)),
        labels,
    )  # fmt: skip


def pgd(
    apply: Apply,
    params: Params,
    images: Float[Array | np.ndarray, "examples height width channels"],
    labels: Int[Array | np.ndarray, " examples"],
    epsilon: Any,
    key: Key,
    *,
    steps: int = 20,
) -> Attacked:
    """Climb the loss by signs of gradients from a random point of the box: projected gradient.

    `x_{k+1} = P(x_k + a sign(d loss / d x_k))`, a = 2.5 epsilon / steps. The strongest of all
    points visited is kept, and the point of `fgsm` is among them: no image is attacked more
    weakly than there.

    Args:
        apply: `(params, images) -> logits`.
        params: of one network.
        images: in [0, 1].
        labels: their classes.
        epsilon: largest change of a pixel, a number from 0; may be traced.
        key: of the random start.
        steps: gradients to compute.

    References:
        Madry et al., Towards deep learning models resistant to adversarial attacks, ICLR 2018.

    Example:
        >>> apply = lambda w, x: x.reshape(len(x), -1) @ w
        >>> weights, image = jnp.array([[1.0, -1.0]]), jnp.full((1, 1, 1, 1), 0.5)
        >>> found = pgd(apply, weights, image, jnp.array([0]), 0.25, jax.random.key(0))
        >>> float(found.images[0, 0, 0, 0])
        0.25
    """
    box = _box(images, epsilon)
    length = PGD_REACH * epsilon / steps

    def step(state, _):
        point, best = state
        gradient, judged = _gradient(apply, params, point, labels)
        moved = jnp.clip(point + length * jnp.sign(gradient), *box)
        return (moved, stronger(best, judged)), None

    noise = jax.random.uniform(key, images.shape, images.dtype, -1.0, 1.0)
    start = jnp.clip(images + epsilon * noise, *box)
    first = fgsm(apply, params, images, labels, epsilon)
    (point, best), _ = jax.lax.scan(step, (start, first), length=steps)
    return stronger(best, _judged(apply, params, point, labels))


def logits_ratio(logits: Float[Array, " classes"], label: Any) -> Float[Array, ""]:
    """Difference of logits ratio: how wrong an image is, whatever the scale of the logits.

    `-(z_y - max_{i != y} z_i) / (z_(1) - z_(3))`, z_(k) the k-th largest (Croce and Hein 2020,
    Eq. 6); above 0 where the network errs. The cross-entropy of a network that is very sure has no
    gradient in float32, and attacks that climb it find nothing.

    Raises:
        InvalidInputError: fewer than three classes, which have no third logit.

    Example:
        >>> float(logits_ratio(jnp.array([3.0, 1.0, 2.0]), 0))
        -0.5
    """
    if logits.size < 3:
        raise InvalidInputError(
            f"logits: found {logits.size} classes; the logits ratio needs three or more."
        )
    ordered = jnp.sort(logits)[::-1]
    others = jnp.max(jnp.where(jnp.arange(logits.size) == label, -jnp.inf, logits))
    return (others - logits[label]) / (ordered[0] - ordered[2] + jnp.finfo(logits.dtype).tiny)


def auto_pgd(
    apply: Apply,
    params: Params,
    images: Float[Array | np.ndarray, "examples height width channels"],
    labels: Int[Array | np.ndarray, " examples"],
    epsilon: Any,
    key: Key,
    *,
    steps: int = 20,
    ratio: bool = False,
) -> Attacked:
    """Climb the loss with momentum and step sizes that every image halves for itself: Auto-PGD.

    As `genjax.metrics.curvature.ascent.auto_pgd`, on the cross-entropy of each image by itself.
    What leaves [0, 1] counts as where it left. As in `pgd` the point of `fgsm` is kept where it is
    stronger.

    Args:
        apply: `(params, images) -> logits`.
        params: of one network.
        images: in [0, 1].
        labels: their classes.
        epsilon: largest change of a pixel, a number from 0; may be traced.
        key: of the random start.
        steps: gradients to compute.
        ratio: climb `logits_ratio` instead of the cross-entropy.

    References:
        Croce and Hein, Reliable evaluation of adversarial robustness with an ensemble of diverse
        parameter-free attacks, ICML 2020, algorithm 1.

    Example:
        >>> apply = lambda w, x: x.reshape(len(x), -1) @ w
        >>> weights, image = jnp.array([[1.0, -1.0]]), jnp.full((1, 1, 1, 1), 0.5)
        >>> found = auto_pgd(apply, weights, image, jnp.array([0]), 0.25, jax.random.key(0))
        >>> float(found.images[0, 0, 0, 0])
        0.25
    """
    images, labels = jnp.asarray(images), jnp.asarray(labels)
    radius = jnp.asarray(epsilon, images.dtype)
    noise = jax.random.uniform(key, images.shape, images.dtype, -1.0, 1.0)

    def objective(point, label):
        logits = apply(params, point[None])[0]
        if ratio:
            return logits_ratio(logits, label)
        return optax.softmax_cross_entropy_with_integer_labels(logits, label)

    def climb(image, label, start):
        low, high = _box(image, radius)

        def value_and_gradient(change):
            # The gradient is that at the cut-off image: a pixel at the edge may come back.
            point = jnp.clip(image + change.reshape(image.shape), low, high)
            value, gradient = jax.value_and_grad(objective)(point, label)
            return value, gradient.ravel()

        found = ascent.auto_pgd(
            value_and_gradient, start.ravel(), radius=radius, norm=math.inf, steps=steps
        )
        return jnp.clip(image + found.point.reshape(image.shape), low, high)

    points = jax.vmap(climb)(images, labels, radius * noise)
    first = fgsm(apply, params, images, labels, epsilon)
    return stronger(first, _judged(apply, params, points, labels))


def _plain(apply, params, images, labels, epsilon, key, *, steps):
    del key, steps
    return fgsm(apply, params, images, labels, epsilon)


ATTACKS: dict[str, Callable[..., Attacked]] = {
    "fgsm": _plain, "pgd": pgd, "auto_pgd": auto_pgd,
    "auto_pgd_ratio": functools.partial(auto_pgd, ratio=True),
}  # fmt: skip


def adversarial_errors(
    group: TrainedGroup,
    images: Float[np.ndarray, "examples height width channels"],
    labels: Int[np.ndarray, " examples"],
    epsilons: Sequence[float | int],
    key: Key,
    *,
    attack: str = "pgd",
    steps: int = 20,
) -> Bool[np.ndarray, "networks epsilons examples"]:
    """Return on which attacked images every network of a stack errs, as one program.

    Args:
        group: R trained networks.
        images: in [0, 1]; memory is about ten times theirs for each device.
        labels: their classes.
        epsilons: largest changes of a pixel, from 0.
        key: of random starts, the same for all networks and epsilons.
        attack: one of `ATTACKS`.
        steps: gradients to compute; fgsm takes one.

    Raises:
        InvalidInputError: an unknown attack, negative epsilons, no steps, images of another shape
            or outside [0, 1].

    Example:
        >>> from genjax import data, models
        >>> from genjax.training import TrainingConfig
        >>> from genjax.training.resamples import Own, train_resamples
        >>> digits = data.load("digits")
        >>> mlp = models.create("mlp", image_shape=(8, 8, 1), num_classes=10, widths=(4,))
        >>> rules = TrainingConfig(max_steps=2, record_every=2, stop="steps")
        >>> keys = jax.random.split(jax.random.key(0), 2)
        >>> group = train_resamples(mlp, rules, digits, Own(np.arange(80).reshape(2, 40)), keys)
        >>> adversarial_errors(
        ...     group, digits.images[:30], digits.labels[:30], (0.0, 0.1), jax.random.key(0),
        ...     attack="fgsm").shape
        (2, 2, 30)
    """
    if attack not in ATTACKS:
        raise InvalidInputError(suggest("attack", attack, list(ATTACKS)))
    if not len(epsilons) or not all(0 <= e < math.inf for e in epsilons):
        raise InvalidInputError(
            f"epsilons: found {tuple(epsilons)}; allowed are numbers from 0, at least one."
        )
    if steps < 1:
        raise InvalidInputError(f"steps: found {steps}; allowed are whole numbers from 1.")
    shape = tuple(group.network.image_shape)
    if tuple(images.shape[1:]) != shape or not len(images) or len(labels) != len(images):
        raise InvalidInputError(
            f"images: found shape {images.shape} and {len(labels)} labels; at least one image of "
            f"shape {shape} is needed, and as many labels."
        )
    if not (images.min() >= 0 and images.max() <= 1):
        raise InvalidInputError(
            f"images: found values {images.min()} to {images.max()}; allowed are 0 to 1."
        )
    count = len(group.seeds)
    form = execution.choose(networks=count)
    params = execution.filled(group.params, count, form)
    program = _program(group.network.apply, form, attack, steps)
    radii = np.asarray(epsilons, np.float32)
    found = program(images, np.asarray(labels, np.int32), radii, key, params)
    return execution.cut(found, count)


@functools.lru_cache(maxsize=8)
def _program(apply: Apply, form: execution.Execution, attack: str, steps: int) -> Any:
    def of_one(images, labels, epsilons, key, params):
        def at(epsilon):
            return ATTACKS[attack](apply, params, images, labels, epsilon, key, steps=steps).wrong

        return jax.lax.map(at, epsilons)

    return execution.spread(of_one, form, shared=4)
