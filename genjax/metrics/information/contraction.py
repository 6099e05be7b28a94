"""Which layers of a network lose information: Lemma 1, heuristics, and what can be proved.

Lemma 1 of Zhang, Liu and Tao calls a layer whose weights have fewer independent rows than inputs a
"contraction layer" and Corollary 1 gives it a coefficient below 1. A deterministic layer has none:
of every map that is not constant the strong data-processing coefficient is 1, and a map that is
not injective may be so on all examples there are. The audit keeps the three apart.
"""

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax import extend

from genjax.errors import InvalidInputError, suggest
from genjax.metrics.complexity.layers import kernels, weight_layers
from genjax.metrics.information.operator_ranks import Ranks, operator_ranks
from genjax.models import Network
from genjax.types import Params

LEMMA_1, HEURISTIC, PROVABLE = "Lemma 1 (paper)", "heuristic", "provable"
_BATCH = 256


class LayerAudit(NamedTuple):
    """One weight layer.

    Attributes:
        path: of its kernel in the parameter tree.
        kind: `dense`, `convolution`, `depthwise` or `grouped`.
        ranks: of the layer as a linear map; a heuristic for information, no coefficient.
        contraction: Lemma 1's verdict, rank below the number of inputs, of the layer alone (a skip
            connection around it loses nothing, whatever the verdict); None where neither rank
            nor sizes decide it.
    """

    path: str
    kind: str
    ranks: Ranks
    contraction: bool | None


class TapAudit(NamedTuple):
    """One tap, on the given examples.

    Attributes:
        name: of the tap.
        dimension: numbers of one example.
        zero_share: share of activations that are exactly 0, which ReLU has killed.
        dead_share: share of units that are 0 on all examples.
        distinct: how many different rows there are.
        injective: whether examples that differ still differ here: Lemma 1's collisions are not in
            these examples. No proof for examples that were not given.
        coefficient: proved coefficient of the map from the tap before: of the noise layer where
            `noise` names one, else 1; 0, for inputs among the examples, where the tap is the same
            for all of them. Labels that ride along make it 1 in any case.
    """

    name: str
    dimension: int
    zero_share: float
    dead_share: float
    distinct: int
    injective: bool
    coefficient: float


class Pooling(NamedTuple):
    """One pooling of the program: a maximum or a sum over pixels or tokens.

    Attributes:
        kind: `max` or `average`.
        inputs: numbers of one example before.
        outputs: and after.
    """

    kind: str
    inputs: int
    outputs: int


class Audit(NamedTuple):
    """All layers of a network.

    Attributes:
        layers: weight layers in order; the last is the output layer.
        poolings: in order; each is a contraction layer by the paper.
        taps: in order.
        distinct: how many different examples were given.
        contraction_layers: how many hidden weight layers and poolings Lemma 1 calls contraction
            layers; the L of Theorem 2 if all others are given eta = 1.
        theorem_2: whether all hidden weight layers are, which is what Theorem 2 asks for; None
            where it is not known of one.
        coefficient: product of the taps' proved coefficients.
    """

    layers: tuple[LayerAudit, ...]
    poolings: tuple[Pooling, ...]
    taps: tuple[TapAudit, ...]
    distinct: int
    contraction_layers: int
    theorem_2: bool | None
    coefficient: float

    def table(self) -> pd.DataFrame:
        """Return one row per quantity: `place`, `quantity`, `value` and `label`.

        Labels are "Lemma 1 (paper)", "heuristic" and "provable".
        """
        rows: list[tuple[str, str, Any, str]] = []
        for layer in self.layers:
            ranks = layer.ranks
            rows += [
                (layer.path, "rank / inputs", ranks.rank / ranks.inputs, HEURISTIC),
                (layer.path, "stable rank", ranks.stable_rank, HEURISTIC),
                (layer.path, "effective rank", ranks.effective_rank, HEURISTIC),
                (layer.path, "contraction layer", layer.contraction, LEMMA_1),
            ]
        for i, pooling in enumerate(self.poolings, start=1):
            place = f"{pooling.kind} pooling {i}"
            rows += [
                (place, "outputs / inputs", pooling.outputs / pooling.inputs, HEURISTIC),
                (place, "contraction layer", True, LEMMA_1),
            ]
        for tap in self.taps:
            rows += [
                (tap.name, "zero share", tap.zero_share, HEURISTIC),
                (tap.name, "dead share", tap.dead_share, HEURISTIC),
                (tap.name, "injective on the examples", tap.injective, PROVABLE),
                (tap.name, "coefficient", tap.coefficient, PROVABLE),
            ]
        rows += [
            ("network", "contraction layers", self.contraction_layers, LEMMA_1),
            ("network", "Theorem 2 applies", self.theorem_2, LEMMA_1),
            ("network", "coefficient", self.coefficient, PROVABLE),
        ]
        return pd.DataFrame(rows, columns=["place", "quantity", "value", "label"])


def audit(
    network: Network, params: Params, images: Any, *, noise: Mapping[str, float] | None = None
) -> Audit:
    """Return what Lemma 1, heuristics and proofs say about each layer of a network.

    Args:
        network: any network; measured as it is evaluated, without its dropout.
        params: its parameters, without a network axis.
        images: `[N, H, W, C]`, at least one; distinct activations are counted on them, as stored.
        noise: by tap, a proved coefficient of noise between the tap before and this one, from
            `genjax.metrics.information.coefficients`; for noise that is there when it is used.

    Raises:
        InvalidInputError: no example, images of another shape, an unknown tap, or a coefficient
            outside [0, 1].

    Example:
        >>> from genjax import models
        >>> net = models.create("mlp", image_shape=(4, 4, 1), num_classes=3, widths=(8, 8))
        >>> params = net.fold(*net.init(jax.random.key(0)))
        >>> images = jax.random.uniform(jax.random.key(1), (20, 4, 4, 1))
        >>> found = audit(net, params, images)
        >>> [layer.contraction for layer in found.layers], found.theorem_2, found.coefficient
        ([True, False, True], False, 1.0)
    """
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[1:] != tuple(network.image_shape) or not len(images):
        raise InvalidInputError(
            f"images: found shape {images.shape}; [N, {', '.join(map(str, network.image_shape))}] "
            "with N at least 1 is needed."
        )
    order = tuple(network.taps(params, images[:1]))
    noise = dict(noise or {})
    for name, value in noise.items():
        if name not in order:
            raise InvalidInputError(suggest("noise", name, order))
        if not 0 <= value <= 1:
            raise InvalidInputError(f"noise: found {value} for {name}; it must be in [0, 1].")
    found = weight_layers(network, params)
    layers = tuple(
        _layer_audit(kernel, layer)
        for kernel, layer in zip(kernels(found, params), found, strict=True)
    )
    distinct = len(_digests(images))
    taps = _tap_audits(network, params, images, order, noise, distinct)
    verdicts = [layer.contraction for layer in layers[:-1]]
    theorem_2 = False if False in verdicts else None if None in verdicts else True
    pooled = poolings(network, params)
    return Audit(
        layers=layers,
        poolings=pooled,
        taps=taps,
        distinct=distinct,
        contraction_layers=verdicts.count(True) + len(pooled),
        theorem_2=theorem_2,
        coefficient=float(np.prod([tap.coefficient for tap in taps])),
    )


def _layer_audit(kernel: Any, layer: Any) -> LayerAudit:
    ranks = operator_ranks(kernel, layer)
    contraction = bool(ranks.rank < ranks.inputs)
    if np.isnan(ranks.rank):
        decided = layer.kind != "grouped" and ranks.outputs < ranks.inputs
        contraction = True if decided else None
    return LayerAudit(layer.path, layer.kind, ranks, contraction)


def _digests(rows: np.ndarray) -> set[bytes]:
    """Return one short name per different row."""
    flat = np.ascontiguousarray(rows.reshape(len(rows), -1) + 0.0)  # -0 is 0
    return {hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in flat}


def _tap_audits(
    network: Network,
    params: Params,
    images: np.ndarray,
    order: tuple[str, ...],
    noise: dict[str, float],
    distinct: int,
) -> tuple[TapAudit, ...]:
    evaluate = jax.jit(network.taps)
    seen: dict[str, set[bytes]] = {name: set() for name in order}
    zeros = dict.fromkeys(order, 0)
    alive: dict[str, Any] = {}
    for start in range(0, len(images), _BATCH):
        values = evaluate(params, jnp.asarray(images[start : start + _BATCH]))
        for name in order:
            rows = np.asarray(values[name])
            rows = rows.reshape(len(rows), -1)
            seen[name] |= _digests(rows)
            zeros[name] += int(np.sum(rows == 0))
            alive[name] = alive.get(name, False) | np.any(rows != 0, axis=0)
    return tuple(
        TapAudit(
            name=name,
            dimension=alive[name].size,
            zero_share=zeros[name] / (len(images) * alive[name].size),
            dead_share=float(np.mean(~alive[name])),
            distinct=len(seen[name]),
            injective=len(seen[name]) == distinct,
            coefficient=_coefficient(len(seen[name]), distinct, noise.get(name)),
        )
        for name in order
    )


def _coefficient(distinct_here: int, distinct: int, noise: float | None) -> float:
    if distinct > 1 and distinct_here == 1:
        return 0.0
    return 1.0 if noise is None else float(noise)


def poolings(network: Network, params: Params) -> tuple[Pooling, ...]:
    """Return the poolings of a network, read off its program.

    A maximum or sum over some axes of what depends on the images, other than the examples' and
    other than the last alone, which normalisation and softmax sum over.

    Args:
        network: any network.
        params: its parameters, or shapes of them.

    Example:
        >>> from genjax import models
        >>> net = models.create("cnn", image_shape=(8, 8, 1), num_classes=3, channels=(4, 4))
        >>> poolings(net, jax.eval_shape(lambda k: net.fold(*net.init(k)), jax.random.key(0)))
        (Pooling(kind='max', inputs=256, outputs=64),)
    """
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), params)
    image = jax.ShapeDtypeStruct((1, *network.image_shape), jnp.float32)
    closed = jax.make_jaxpr(network.apply)(shapes, image)
    found: list[Pooling] = []
    _walk(closed.jaxpr, {closed.jaxpr.invars[-1]}, found)
    return tuple(found)


def _walk(jaxpr: Any, of_images: set[Any], found: list[Pooling]) -> None:
    """Note the poolings of a program whose variables `of_images` depend on the images."""
    for equation in jaxpr.eqns:
        depends = [
            not isinstance(v, extend.core.Literal) and v in of_images for v in equation.invars
        ]
        if not any(depends):
            continue
        inner = equation.params.get("jaxpr", equation.params.get("call_jaxpr"))
        inner = getattr(inner, "jaxpr", inner)
        if inner is not None and len(inner.invars) == len(equation.invars):
            below = {v for v, yes in zip(inner.invars, depends, strict=True) if yes}
            _walk(inner, below, found)
        else:
            _note_pooling(equation, found)
        of_images.update(equation.outvars)


def _note_pooling(equation: Any, found: list[Pooling]) -> None:
    name, shape = equation.primitive.name, equation.invars[0].aval.shape
    kind = {"max": "max", "sum": "average"}.get(name.rsplit("_", 1)[-1])
    if kind is None or not name.startswith("reduce_"):
        return
    axes = equation.params.get("axes")
    if axes is None:
        window = equation.params["window_dimensions"]
        axes = tuple(i for i, size in enumerate(window) if size > 1)
    inputs = int(np.prod(shape))
    outputs = int(np.prod(equation.outvars[0].aval.shape))
    if 0 in axes or axes == (len(shape) - 1,) or outputs >= inputs:
        return
    found.append(Pooling(kind, inputs, outputs))
