"""How much every layer tells about who was trained on: the chain of bounds along the depth.

With a supersample fixed, let `G_l` be what layer l makes of all its examples together with all
weights above it. Then images and weights -> G_1 -> ... -> G_L -> logits -> predictions ->
losses -> their difference is a chain in which each link is computed from the one before, so
`I(G_l; U_i)` cannot grow with l, and every link bounds the gap by `(1/n) sum_i sqrt(2 I)`. Ratios
of neighbours are the information that a layer loses. That is what the pairs (T_l; weights above)
of Zhang, Liu and Tao (2024, Fig. 2) are meant to be, and it is sound for trunks that are trained.

Activations are continuous, so plug-in estimates are of no use (log 2 for all). What is estimated is
how well U_i can be told from statistics of G_l, on networks that the telling was not fitted to:
`I >= log 2 - cross-entropy` (nats), a bound from below, cheap statistics of all layers from l on.
A ratio of two bounds from below is an estimate, no bound: what these statistics of a layer miss, it
counts as never told, and as kept.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from genjax.data import Examples
from genjax.errors import InvalidInputError
from genjax.metrics.information.discrete import mutual_information
from genjax.metrics.information.supersample import Outcomes, Supersamples
from genjax.metrics.information.supersample_bounds import LOG_2, joint
from genjax.training import execution
from genjax.training.population import TrainedGroup
from genjax.types import Params

Host = np.ndarray
OUTPUT = "logits"
STATISTICS = 3
_SUREST = 5.0


class Chain(NamedTuple):
    """What is told about the coins at every link, nats per pair.

    Attributes:
        links: names, in the order of the chain: layers, `logits`, `predictions`, `losses`,
            `differences`.
        information: `[K1, links]`; layers and logits are estimated from below, what follows is
            counted, with the correction of Miller and Madow.
    """

    links: tuple[str, ...]
    information: Float[Host, "supersamples links"]

    def losses(self) -> Float[Host, " ratios"]:
        """Return the share that each link keeps of the one before, pooled over supersamples.

        NaN where nothing was told before.
        """
        mean = np.maximum(self.information.mean(axis=0), 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(mean[:-1] > 0, mean[1:] / mean[:-1], np.nan)


def statistics(network: Any, params: Params, images: Any, labels: Any) -> dict[str, Any]:
    """Return statistics of every example at every layer, `[m, 3]`, and of the logits.

    At a layer: the norm, the distance to the nearest example of the same class and to the nearest
    of another one, each over its mean. Of the logits: loss, largest log-probability, and margin.

    Args:
        network: the model.
        params: of one network.
        images: both examples of all pairs.
        labels: theirs.
    """
    found = {}
    same = labels[:, None] == labels[None]
    own = jnp.eye(len(labels), dtype=bool)
    for name, activation in network.taps(params, images).items():
        points = activation.reshape(len(labels), -1)
        norms = jnp.sum(points**2, axis=-1)
        squares = norms[:, None] + norms[None] - 2 * points @ points.T
        distances = jnp.sqrt(jnp.maximum(squares, 0.0))
        near = [
            jnp.min(jnp.where(allowed & ~own, distances, jnp.inf), axis=-1)
            for allowed in (same, ~same)
        ]
        each = [jnp.sqrt(norms), *near]
        found[name] = jnp.stack([_over_mean(v) for v in each], axis=-1)
    logits = network.apply(params, images)
    chances = jax.nn.log_softmax(logits)
    right = jnp.take_along_axis(logits, labels[:, None], axis=-1)[:, 0]
    hidden = jax.nn.one_hot(labels, logits.shape[-1], dtype=bool)
    others = jnp.max(jnp.where(hidden, -jnp.inf, logits), axis=-1)
    loss = -jnp.take_along_axis(chances, labels[:, None], axis=-1)[:, 0]
    found[OUTPUT] = jnp.stack([loss, jnp.max(chances, axis=-1), right - others], axis=-1)
    return found


def _over_mean(values: Any) -> Any:
    """Divide by the mean of what is finite; a class of one example has no neighbour of its own."""
    finite = jnp.isfinite(values)
    mean = jnp.sum(jnp.where(finite, values, 0.0)) / jnp.maximum(jnp.sum(finite), 1)
    return jnp.where(finite, values / jnp.where(mean > 0, mean, 1.0), 0.0)


def chain(group: TrainedGroup, examples: Examples, drawn: Supersamples, found: Outcomes) -> Chain:
    """Return what is told about the coins at every layer and every link after it.

    A logistic regression tells U_i from the differences of the statistics of both examples, pooled
    over pairs; it is fitted on half of the masks and judged on the other half, both ways.

    Args:
        group: from `supersample.train`.
        examples: what the supersamples point into.
        drawn: the supersamples.
        found: from `supersample.outcomes`.

    Raises:
        InvalidInputError: fewer than four masks.
    """
    if drawn.masks.shape[1] < 4:
        raise InvalidInputError(
            f"drawn: found {drawn.masks.shape[1]} masks; at least 4 are needed, so that half of "
            "them can judge."
        )
    features = _features(group, examples, drawn)
    order = [*_tap_names(group, examples), OUTPUT]
    # Some models name their last layer twice; a link that only repeats the one before is none.
    order = [
        name
        for before, name in zip([None, *order], order, strict=False)
        if before is None or not np.array_equal(features[before], features[name])
    ]
    values = []
    for index in range(len(drawn.masks)):
        alive = found.alive[index]
        told = []
        for place in range(len(order)):
            used = np.concatenate([features[name][index] for name in order[place:]], axis=-1)
            told.append(_told(used, drawn.masks[index], alive))
        values.append(told)
    counted = [
        mutual_information(joint(found, observed).counts, correction="miller_madow").mean(axis=1)
        for observed in ("predictions", "errors", "differences")
    ]
    # The correction may go beyond all there is to know of a coin.
    after = np.minimum(np.stack(counted, axis=1), LOG_2)
    information = np.concatenate([np.array(values), after], axis=1)
    return Chain((*order, "predictions", "losses", "differences"), information)


def _tap_names(group: TrainedGroup, examples: Examples) -> list[str]:
    """Return layers in their order, which a compiled program does not keep."""
    names: list[str] = []

    def look(params, images):
        names.extend(group.network.taps(params, images))

    jax.eval_shape(look, group.network_params(0), examples.images[:1])
    return names


def _features(
    group: TrainedGroup, examples: Examples, drawn: Supersamples
) -> Mapping[str, Float[Host, "supersamples masks n 3"]]:
    """Return second minus first example's statistics of every pair, run by run."""
    supersamples, masks, n = drawn.masks.shape
    runs = supersamples * masks
    form = execution.choose(networks=runs)
    own = np.repeat(drawn.pairs.reshape(supersamples, -1), masks, axis=0)

    def compute(images, labels, own, params):
        each = statistics(group.network, params, images[own], labels[own])
        pairs = {name: value.reshape(n, 2, STATISTICS) for name, value in each.items()}
        return {name: value[:, 1] - value[:, 0] for name, value in pairs.items()}

    program = execution.spread(compute, form, shared=2, stacked=2)
    stacked = execution.filled((own, group.params), runs, form)
    computed = execution.cut(program(examples.images, examples.labels, *stacked), runs)
    return {
        name: value.reshape(supersamples, masks, n, STATISTICS) for name, value in computed.items()
    }


def _told(
    features: Float[Host, "masks n d"], masks: Int[Host, "masks n"], alive: Bool[Host, " masks"]
) -> float:
    """Return log 2 minus the cross-entropy of telling the coins of masks not fitted to, nats."""
    # A mask and its opposite stay together, whoever diverged.
    halves = (np.arange(len(masks)) // 2 % 2 == 0)[alive]
    features, masks = features[alive], masks[alive]
    total = 0.0
    for fitted in (halves, ~halves):
        rows = features[fitted].reshape(-1, features.shape[-1])
        coins = masks[fitted].ravel()
        if len(np.unique(coins)) < 2:
            return np.nan
        scaler = StandardScaler(with_mean=False).fit(rows)
        teller = LogisticRegression(fit_intercept=False, C=1.0, max_iter=200)
        teller.fit(scaler.transform(rows), coins)
        judged = scaler.transform(features[~fitted].reshape(-1, features.shape[-1]))
        # What is told is never surer than that: one example far out must not undo all others.
        score = np.clip(teller.decision_function(judged), -_SUREST, _SUREST)
        sign = 2 * masks[~fitted].ravel() - 1
        total += float(np.logaddexp(0.0, -sign * score).sum())
    return LOG_2 - total / masks.size
