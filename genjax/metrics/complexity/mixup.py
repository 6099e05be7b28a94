"""Mixup and augmentation: does a network still know the class of a changed training example?"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax.data import augmentation
from genjax.metrics.complexity.contract import (
    Intermediate,
    Measure,
    Refusal,
    Result,
    refuse_where,
    value,
)
from genjax.metrics.complexity.perturbed_images import (
    PENALISED_CHANGES,
    PenalisedChange,
    augmented,
)
from genjax.metrics.complexity.stratified import first_of_classes
from genjax.metrics.complexity.tap_gradients import perturbed, tap_margins
from genjax.metrics.complexity.workspace import CHUNK, Workspace, in_chunks
from genjax.types import Key

_NATEKAR = (
    "Natekar and Sharma, Representation Based Complexity Measures for Predicting Generalization in "
    "Deep Learning, 2020"
)
_AITHAL = (
    "Aithal, Kashyap and Subramanyam, Robustness to Augmentations as a Generalization Metric, 2021"
)
_PER_BATCH = 10
_BATCHES = 10
_MARGIN_EXAMPLES = 500
_MARGIN_BATCH = 50
_PENALTY_EXAMPLES = 201 * 64
_TINY = 1e-7

_random_change = augmentation.create(("flip", "crop"))


def same_class_pairs(labels: Any, num_classes: int) -> tuple[Any, Any, Any]:
    """Return all pairs of equal class within batches that hold 10 examples of every class.

    The batches are made of the first examples of every class, so that what depends on a batch is
    stratified. There are N / (10 C) of them, at least one and at most 10.

    Args:
        labels: [N].
        num_classes: C.

    Returns:
        First and second positions of the pairs and whether both exist, each [C, batches, 45].

    Example:
        >>> first, second, exists = same_class_pairs(jnp.arange(60) % 3, 3)
        >>> first.shape, bool(exists.all())
        ((3, 2, 45), True)
    """
    batches = int(np.clip(len(labels) // (_PER_BATCH * num_classes), 1, _BATCHES))
    positions, exists = first_of_classes(labels, num_classes, batches * _PER_BATCH)
    shape = (num_classes, batches, _PER_BATCH)
    one, other = np.triu_indices(_PER_BATCH, 1)
    positions, exists = positions.reshape(shape), exists.reshape(shape)
    return positions[..., one], positions[..., other], exists[..., one] & exists[..., other]


def shuffled_within_classes(labels: Any, key: Key, batch: int) -> tuple[Any, Any]:
    """Return an order of the examples, and a partner of equal class for every place in it.

    Partners come from the same batch of consecutive examples, by a uniform permutation of each
    class; an example may be its own partner.

    Args:
        labels: [N], N a multiple of `batch`.
        key: of the permutations.
        batch: examples per batch.

    Example:
        >>> labels = jnp.array([0, 1, 0, 1])
        >>> order, partner = shuffled_within_classes(labels, jax.random.key(0), 4)
        >>> bool((labels[order] == labels[partner]).all())
        True
    """
    batches = jnp.arange(labels.shape[0]) // batch
    orders = [
        # Examples of one class and batch stand together, shuffled among themselves.
        jnp.lexsort((jax.random.uniform(k, labels.shape), labels, batches))
        for k in jax.random.split(key)
    ]
    return orders[0], orders[1]


def _mixup_error(workspace: Workspace) -> Any:
    # Of the misses, not one minus the hits: where they are few, that would round.
    network, params = workspace.network, workspace.trained.params
    images, labels = (jnp.asarray(a) for a in workspace.data.train)
    first, second, exists = same_class_pairs(labels, network.num_classes)

    def predicted(one, other):
        return jnp.argmax(network.apply(params, (images[one] + images[other]) / 2), axis=-1)

    found = in_chunks(predicted, first.reshape(-1), second.reshape(-1)).reshape(first.shape)
    misses = (found != jnp.arange(network.num_classes)[:, None, None]) & exists
    pairs = exists.sum(axis=-1)
    by_batch = misses.sum(axis=-1) / jnp.maximum(pairs, 1)
    batches = (pairs > 0).sum(axis=-1)
    by_class = jnp.sum(by_batch, axis=-1) / jnp.maximum(batches, 1)
    classes = (batches > 0).sum()
    return jnp.where(classes > 0, by_class.sum() / classes, jnp.nan)


def _accuracy(workspace: Workspace) -> Result:
    found = workspace["mixup_error"]
    return refuse_where({Refusal.DEGENERATE: ~jnp.isfinite(found)}, 1.0 - found)


def first_layer_margins(workspace: Workspace, images: Any, labels: Any) -> Any:
    """Return margins at the first tap over the trimmed spread of its units, `[N]`.

    `(f_y - f_j) / (||grad_h (f_y - f_j)||_2 + 1e-7) / (sqrt(v) + 1e-7)`: v is the mean over the
    units of h of their variance over the examples, without the 5% smallest and 5% largest.
    """
    network, params = workspace.network, workspace.trained.params

    def one(images, labels):
        places = list(perturbed(network, params, images).places)
        found = tap_margins(network, params, images, labels, epsilon=0.0, added=_TINY)
        # Without taps on the way to the logits, the images themselves.
        first = places[min(1, len(places) - 1)]
        flat = found.activations[first].reshape(images.shape[0], -1)
        return found.margins[first], flat

    margins, activations = in_chunks(one, images, labels)
    variances = jnp.sort(jnp.var(activations, axis=0))
    cut = int(0.05 * variances.shape[0])
    spread = jnp.sqrt(jnp.mean(variances[cut : variances.shape[0] - cut]))
    return margins / (spread + _TINY)


def _margin_examples(workspace: Workspace) -> tuple[Any, Any, int]:
    train = workspace.data.train
    count = min(_MARGIN_EXAMPLES, train.labels.shape[0])
    batch = min(_MARGIN_BATCH, count)
    count -= count % batch
    return jnp.asarray(train.images)[:count], jnp.asarray(train.labels)[:count], batch


def _negative_mean(margins: Any) -> Result:
    error = jnp.std(margins) / np.sqrt(margins.shape[0])
    return value(-jnp.mean(margins), standard_error=error)


def _mixup_margin(workspace: Workspace) -> Result:
    images, labels, batch = _margin_examples(workspace)
    order, partner = shuffled_within_classes(labels, workspace.key("mixup_margin"), batch)
    mixed = (images[order] + images[partner]) / 2
    return _negative_mean(first_layer_margins(workspace, mixed, labels[order]))


def _augment_margin(workspace: Workspace) -> Result:
    images, labels, _ = _margin_examples(workspace)
    changed = augmented(images, workspace.key("augment_margin"))
    return _negative_mean(first_layer_margins(workspace, changed, labels))


def _penalty(workspace: Workspace) -> Result:
    network, params = workspace.network, workspace.trained.params
    count = min(_PENALTY_EXAMPLES, workspace.data.train.labels.shape[0])
    before = jax.nn.softmax(workspace["logits"][:count], axis=-1)
    keys = jax.random.split(workspace.key("augmentation_penalty"), count)

    weights = jnp.array([change.weight for change in PENALISED_CHANGES])[:, None]

    def one(images, keys, before):
        # All changes through one forward pass: the network is compiled once, not seven times.
        changed = jnp.concatenate(
            [_changed(c, n, images, keys) for n, c in enumerate(PENALISED_CHANGES)]
        )
        after = jax.nn.softmax(network.apply(params, changed), axis=-1)
        after = after.reshape(len(PENALISED_CHANGES), *before.shape)
        kept = jnp.argmax(before, axis=-1)[None] == jnp.argmax(after, axis=-1)
        moved = jnp.abs(jnp.max(before, axis=-1)[None] - jnp.max(after, axis=-1))
        return jnp.sum(jnp.where(kept, moved, weights), axis=0)

    images = jnp.asarray(workspace.data.train.images)[:count]
    penalties = in_chunks(one, images, keys, before, chunk=CHUNK // len(PENALISED_CHANGES))
    return value(jnp.mean(penalties), standard_error=jnp.std(penalties) / np.sqrt(count))


def _changed(change: PenalisedChange, number: int, images: Any, keys: Any) -> Any:
    """Return images changed, each by its own draw."""

    def one(image, key):
        return change.apply(image[None], jax.random.fold_in(key, number))[0]

    return jax.vmap(one)(images, keys)


def _consistency(workspace: Workspace) -> Result:
    network, params = workspace.network, workspace.trained.params
    images = jnp.asarray(workspace.data.train.images)
    keys = jax.random.split(workspace.key("augmentation_consistency"), images.shape[0])

    def one(images, keys):
        changed = jax.vmap(lambda image, key: _random_change(image[None], key)[0])(images, keys)
        return jnp.argmax(network.apply(params, changed), axis=-1)

    kept = jnp.argmax(workspace["logits"], axis=-1) == in_chunks(one, images, keys)
    share = jnp.mean(kept.astype(jnp.result_type(float)))
    return value(share, standard_error=jnp.sqrt(share * (1 - share) / images.shape[0]))


INTERMEDIATES = (
    # Scalar; NaN where no class has two examples.
    Intermediate("mixup_error", _mixup_error, requires=("train",), passes=1.5),
)

MEASURES = (
    Measure(
        "mixup_accuracy",
        "mixup",
        "share of midpoints (x + x') / 2 of two training examples of class c that are given to c, "
        "over all pairs within batches of 10 per class, averaged over batches, then over classes",
        _NATEKAR,
        _accuracy,
        ("mixup_error",),
        larger_is_worse=False,
    ),
    Measure(
        "mixup_margin",
        "mixup",
        "minus the mean over 500 label-wise midpoints of (f_y - f_j) / ||grad_h (f_y - f_j)||_2, "
        "over the root of the trimmed mean variance of h; h = the first tap",
        _NATEKAR,
        _mixup_margin,
        requires=("train", "taps"),
        passes=1.0,
        fast=False,
    ),
    Measure(
        "augment_margin",
        "mixup",
        "mixup_margin on 500 examples that are randomly mirrored, enlarged and of less contrast",
        _NATEKAR,
        _augment_margin,
        requires=("train", "taps"),
        passes=1.0,
        fast=False,
    ),
    Measure(
        "augmentation_penalty",
        "mixup",
        "mean over at most 12864 examples of the sum over 7 changes of |max p - max p'| where the "
        "predicted class stays, else of a weight: flip 6, saturation 1, crop 2, sobel 3, "
        "brightness 1, flip and saturation 12, erase 2 (the source sums, and negates the sum)",
        _AITHAL,
        _penalty,
        ("logits",),
        passes=7 / 3,
        fast=False,
    ),
    Measure(
        "augmentation_consistency",
        "mixup",
        "share of training examples whose predicted class survives a random flip and crop",
        _AITHAL,
        _consistency,
        ("logits",),
        passes=1 / 3,
        larger_is_worse=False,
        fast=False,
    ),
)
