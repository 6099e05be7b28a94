"""Margins at every layer: distances to the decision boundary in the space of each activation."""

from typing import Any

import jax
import jax.numpy as jnp

from genjax.metrics.complexity.contract import (
    Intermediate,
    Measure,
    Refusal,
    Result,
    refuse_where,
)
from genjax.metrics.complexity.tap_gradients import perturbed, tap_margins
from genjax.metrics.complexity.workspace import CHUNK, Workspace
from genjax.models import Network
from genjax.types import Params

_SOURCE = (
    "Jiang et al., Predicting the Generalization Gap in Deep Networks with Margin Distributions, "
    "ICLR 2019"
)
SIGNATURE = ("lower_fence", "first_quartile", "median", "third_quartile", "upper_fence")
"""What a distribution of margins is summarised by."""

_PLACES = ("input", "first", "last", "mean")
_FAST = ("first_quartile", "median")


def margin_signature(margins: Any) -> Any:
    """Return lower fence, first quartile, median, third quartile and upper fence, `[5]`.

    Quartiles are linear between order statistics. The fences are the smallest margin that is at
    least `Q1 - 1.5 (Q3 - Q1)` and the largest that is at most `Q3 + 1.5 (Q3 - Q1)`: the ends of a
    box plot's whiskers.

    Args:
        margins: [N].

    Example:
        >>> margin_signature(jnp.array([-90.0, 1.0, 2.0, 3.0, 4.0])).tolist()
        [1.0, 1.0, 2.0, 3.0, 4.0]
    """
    first, median, third = jnp.percentile(margins, jnp.array([25.0, 50.0, 75.0]))
    reach = 1.5 * (third - first)
    lower = jnp.min(jnp.where(margins >= first - reach, margins, jnp.inf))
    upper = jnp.max(jnp.where(margins <= third + reach, margins, -jnp.inf))
    return jnp.stack([lower, first, median, third, upper])


def normalised_layer_margins(
    network: Network, params: Params, images: Any, labels: Any, *, chunk: int = CHUNK
) -> dict[str, Any]:
    """Return margins in the images and in every tap, in units of the activation's spread.

    `(f_y - f_j) / sqrt(1e-6 + ||grad_h f_y - grad_h f_j||_2^2) / sqrt(sum_u Var_n h_u)`: y is the
    true class, j the one with the largest other logit, h the activation, u its units, n runs over
    the examples (variance with divisor N). Invariant, up to the 1e-6, to multiplying the logits
    and to moving scale from one layer of a ReLU network to the next. Wrongly classified examples
    have negative margins and count, as in the released code; the paper leaves them out.

    Args:
        network: any `Network` that treats every image on its own.
        params: its parameters, without a network axis.
        images: [N, H, W, C].
        labels: [N].
        chunk: examples per pass. The first floor(N / p) p examples are used, p = ceil(N / chunk),
            so that all passes have equally many.

    Returns:
        Name -> [n]: `input` (the images), then the taps in the order computed. A tap that the
        logits do not depend on is left out; of taps that are one activation the last name stays.
        An activation that is the same for all examples has infinite margins or NaN.

    Example:
        >>> from genjax import models
        >>> net = models.create("mlp", image_shape=(2, 2, 1), num_classes=3, widths=(4,))
        >>> params = net.fold(*net.init(jax.random.key(0)))
        >>> images = jax.random.uniform(jax.random.key(1), (5, 2, 2, 1))
        >>> found = normalised_layer_margins(net, params, images, jnp.zeros(5, int))
        >>> {name: margins.shape for name, margins in found.items()}
        {'input': (5,), 'features': (5,)}
    """
    pieces = -(-images.shape[0] // chunk)
    size = images.shape[0] // pieces
    shape = jax.ShapeDtypeStruct((size, *images.shape[1:]), jnp.asarray(images).dtype)
    names = list(perturbed(network, params, shape).places)

    def one(piece):
        found = tap_margins(network, params, *piece)
        flat = [found.activations[name].reshape(size, -1) for name in names]
        means = [jnp.mean(h, axis=0) for h in flat]
        within = [jnp.sum((h - m[None]) ** 2) for h, m in zip(flat, means, strict=True)]
        return jnp.stack([found.margins[name] for name in names]), means, jnp.stack(within)

    def cut(array):
        return jnp.asarray(array)[: pieces * size].reshape(pieces, size, *array.shape[1:])

    if pieces == 1:
        margins, means, within = jax.tree.map(lambda a: a[None], one((images, labels)))
    else:
        margins, means, within = jax.lax.map(one, (cut(images), cut(labels)))
    between = jnp.stack([jnp.sum((m - m.mean(axis=0, keepdims=True)) ** 2) for m in means])
    total = jnp.sum(within, axis=0) / (pieces * size) + between / pieces
    scaled = margins / jnp.sqrt(total)[None, :, None]
    joined = jnp.moveaxis(scaled, 1, 0).reshape(len(names), -1)
    return dict(zip(names, joined, strict=True))


def _signatures(workspace: Workspace) -> Any:
    train = workspace.data.train
    found = normalised_layer_margins(
        workspace.network, workspace.trained.params, train.images, train.labels
    )
    return jax.vmap(margin_signature)(jnp.stack(list(found.values())))


def _at(place: str, statistic: str):
    column = SIGNATURE.index(statistic)

    def compute(workspace: Workspace) -> Result:
        values = workspace["layer_signatures"][:, column]
        taps = values[1:]
        if place != "input" and not taps.shape[0]:
            return refuse_where({Refusal.DEGENERATE: True}, values[0])
        amount = (
            {"input": values[0]}
            if place == "input"
            else {
                "first": taps[0],
                "last": taps[-1],
                "mean": jnp.mean(taps),
            }
        )
        return refuse_where({Refusal.DEGENERATE: ~jnp.isfinite(amount[place])}, amount[place])

    return compute


def _measure(place: str, statistic: str) -> Measure:
    words = statistic.replace("_", " ")
    where = {
        "input": "the images",
        "first": "the first tap",
        "last": "the last tap, the features",
        "mean": "each tap, averaged over the taps",
    }[place]
    return Measure(
        name=f"layer_margin_{statistic}_{place}",
        family="layer_margins",
        formula=f"{words} over the training examples of (f_y - f_j) / sqrt(1e-6 + ||grad_h (f_y - "
        f"f_j)||_2^2) / sqrt(total variance of h), h = {where}",
        source=_SOURCE,
        compute=_at(place, statistic),
        needs=("layer_signatures",),
        larger_is_worse=False,
        fast=statistic in _FAST,
    )


INTERMEDIATES = (
    # [places, 5], the images first, then the taps.
    Intermediate("layer_signatures", _signatures, requires=("train", "taps"), passes=1.0),
)

MEASURES = tuple(_measure(place, statistic) for place in _PLACES for statistic in SIGNATURE)
