"""What is differentiated: a weighted sum of losses over examples, packed for a scan."""

import contextlib
import contextvars
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from genjax.errors import InvalidInputError, suggest
from genjax.metrics.programs import as_matrix_products
from genjax.types import Params

CHUNK = 100
"""Examples per step of a scan: their activations stay in the cache (measured on CPU)."""

REDUCTIONS = ("mean", "sum")


class Chunks(NamedTuple):
    """Examples packed for a scan.

    Attributes:
        images: [k, c, ...].
        labels: [k, c, ...].
        weights: [k, c]; 1/N each for the reduction "mean", 1 for "sum", 0 for padding.
    """

    images: Any
    labels: Any
    weights: Any


class Objective(NamedTuple):
    """The function `sum_i weight_i loss(apply(params, x_i), y_i)` of the parameters.

    Attributes:
        apply: `(params, images [N, ...]) -> logits [N, C]`; forward differentiable.
        loss: `(logits [N, C], labels [N]) -> [N]`.
        reduction: "mean" or "sum" over examples.
        chunk: examples per step of a scan.
        given: `apply` as it came, which `check` evaluates; None takes `apply`.
    """

    apply: Callable[[Params, Any], Any]
    loss: Callable[[Any, Any], Any]
    reduction: str = "mean"
    chunk: int = CHUNK
    given: Callable[[Params, Any], Any] | None = None


def cross_entropy(logits: Any, labels: Any) -> Any:
    """Return -ln softmax(logits)[label] of every example, in nats, `[N]`.

    Example:
        >>> round(float(cross_entropy(jnp.zeros((1, 4)), jnp.array([2]))[0]), 4)
        1.3863
    """
    logs = jax.nn.log_softmax(logits, axis=-1)
    return -jnp.take_along_axis(logs, labels[:, None], axis=-1)[:, 0]


def squared(logits: Any, labels: Any) -> Any:
    """Return ||logits - y||^2 / 2 of every example, `[N]`; y is the label as a one-hot vector.

    Its mean is C/2 times what PyTorch's `MSELoss` (mean over examples and outputs) gives. It is the
    negative log-likelihood of a Gaussian of variance 1, up to a constant.

    Args:
        logits: [N, C].
        labels: integers [N], or targets [N, C].

    Example:
        >>> squared(jnp.array([[2.0, 1.0]]), jnp.array([0])).tolist()
        [1.0]
    """
    targets = labels
    if labels.ndim < logits.ndim:
        targets = jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
    return jnp.sum((logits - targets) ** 2, axis=-1) / 2


LOSSES: dict[str, Callable[[Any, Any], Any]] = {"cross_entropy": cross_entropy, "squared": squared}


def objective(
    apply: Callable[[Params, Any], Any],
    loss: str | Callable[[Any, Any], Any] = "cross_entropy",
    *,
    reduction: str = "mean",
    chunk: int = CHUNK,
) -> Objective:
    """Return the function of the parameters whose curvature is asked for.

    Args:
        apply: `(params, images) -> logits`, e.g. `network.apply`. On CPU its convolutions are
            written as matrix products, and derivatives made for reverse mode only are replaced by
            those of what is computed.
        loss: `cross_entropy` (nats), `squared` (half the squared distance from the one-hot label),
            or a function `(logits [N, C], labels) -> [N]` of each example by itself.
        reduction: `mean` or `sum` over examples.
        chunk: examples per step of a scan.

    Raises:
        InvalidInputError: an unknown loss or reduction, or a chunk without examples.

    Example:
        >>> quadratic = objective(lambda w, x: x * w, "squared", reduction="sum")
        >>> chunks = pack(quadratic, (jnp.ones((3, 1)), jnp.zeros(3, int)))
        >>> float(value(quadratic, jnp.array(3.0), chunks))
        6.0
    """
    if isinstance(loss, str) and loss not in LOSSES:
        raise InvalidInputError(suggest("loss", loss, list(LOSSES)))
    if reduction not in REDUCTIONS:
        raise InvalidInputError(suggest("reduction", reduction, REDUCTIONS))
    if chunk < 1:
        raise InvalidInputError(f"chunk: found {chunk}; at least 1 is needed.")
    chosen = LOSSES[loss] if isinstance(loss, str) else loss
    return Objective(as_matrix_products(apply), chosen, reduction, chunk, apply)


def pack(objective: Objective, *batches: tuple[Any, Any]) -> Chunks:
    """Join batches of any sizes and cut them into chunks of one size.

    Every example counts the same, whatever the size of its batch. The last chunk is filled up by
    examples of weight 0.

    Args:
        objective: its reduction says the weights, its chunk the size.
        *batches: (images [n, ...], labels [n, ...]) each.

    Raises:
        InvalidInputError: no batches, an empty one, or one whose images and labels do not fit
            together or to those of the others.

    Example:
        >>> total = objective(lambda w, x: x * w, "squared", reduction="sum", chunk=2)
        >>> chunks = pack(total, (jnp.ones((4, 1)), jnp.zeros(4)), (jnp.ones((1, 1)), [0]))
        >>> chunks.images.shape, chunks.weights.tolist()
        ((3, 2, 1), [[1.0, 1.0], [1.0, 1.0], [1.0, 0.0]])
    """
    if not batches:
        raise InvalidInputError("batches: found none; at least one is needed.")
    pairs = [tuple(jnp.asarray(part) for part in batch) for batch in batches]
    for number, (images, labels) in enumerate(pairs):
        if not images.ndim or not labels.ndim or not len(images) or len(images) != len(labels):
            raise InvalidInputError(
                f"batches: number {number} has images of shape {images.shape} and labels of shape "
                f"{labels.shape}; it needs as many labels as images, and at least one."
            )
        if (images.shape[1:], labels.shape[1:]) != (pairs[0][0].shape[1:], pairs[0][1].shape[1:]):
            raise InvalidInputError(
                f"batches: number {number} has images {images.shape[1:]} and labels "
                f"{labels.shape[1:]}; those of the first are {pairs[0][0].shape[1:]} and "
                f"{pairs[0][1].shape[1:]}."
            )
    images, labels = (jnp.concatenate(parts) for parts in zip(*pairs, strict=True))
    count = len(images)
    pieces = -(-count // objective.chunk)
    size = -(-count // pieces)
    order = np.arange(pieces * size) % count
    weight = 1 / count if objective.reduction == "mean" else 1.0
    weights = np.where(np.arange(pieces * size) < count, weight, 0.0)
    return Chunks(
        images[order].reshape(pieces, size, *images.shape[1:]),
        labels[order].reshape(pieces, size, *labels.shape[1:]),
        jnp.asarray(weights.reshape(pieces, size), jnp.result_type(float)),
    )


def restricted(
    objective: Objective, params: Params, chosen: Sequence[str]
) -> tuple[Objective, dict[str, Any]]:
    """Return the objective as a function of some arrays of the parameters, the others held fixed.

    Its curvature is a diagonal block of that of the whole.

    Args:
        objective: of all parameters.
        params: all parameters; may be traced.
        chosen: paths of arrays or of what holds them, e.g. `conv1`, `conv1/kernel`, or
            `['conv1']['kernel']`.

    Returns:
        The objective of a dict of the chosen arrays by path, and that dict.

    Raises:
        InvalidInputError: nothing lies at a path.

    Example:
        >>> model = objective(lambda p, x: x * p["w"] + p["b"], "squared")
        >>> part, own = restricted(model, {"w": jnp.ones(()), "b": jnp.ones(())}, ["w"])
        >>> chunks = pack(part, (jnp.ones((4, 1)), jnp.zeros(4, int)))
        >>> gradient(part, own, chunks)["w"].tolist()
        1.0
    """
    paths, structure = jax.tree_util.tree_flatten_with_path(params)
    simple = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in paths]
    written = [jax.tree_util.keystr(path) for path, _ in paths]
    own = {}
    for name in chosen:
        found = [
            i
            for i, (short, long) in enumerate(zip(simple, written, strict=True))
            if name in (short, long) or short.startswith(name + "/") or long.startswith(name + "[")
        ]
        if not found:
            raise InvalidInputError(suggest("chosen", name, simple))
        own |= {simple[i]: paths[i][1] for i in found}

    def apply(part, images):
        leaves = [part.get(n, leaf) for n, (_, leaf) in zip(simple, paths, strict=True)]
        return objective.apply(jax.tree.unflatten(structure, leaves), images)

    return objective._replace(apply=apply, given=None), own


def chunk_value(objective: Objective, params: Params, chunk: Chunks) -> Any:
    """Return the weighted sum of losses of one chunk (arrays without the leading axis), a scalar.

    Raises:
        InvalidInputError: the loss does not return one number per example.
    """
    return weighted(objective, objective.apply(params, chunk.images), chunk)


def weighted(objective: Objective, logits: Any, chunk: Chunks) -> Any:
    """Return the weighted sum of losses of the logits of one chunk, a scalar.

    Raises:
        InvalidInputError: the loss does not return one number per example.
    """
    losses = objective.loss(logits, chunk.labels)
    shape = getattr(losses, "shape", ())
    if shape != chunk.weights.shape:
        raise InvalidInputError(
            f"loss: found a result of shape {shape} for {len(chunk.weights)} examples; it must be "
            "one number per example, so that their weighted sum is a scalar."
        )
    return jnp.sum(losses * chunk.weights.astype(losses.dtype))


def value(objective: Objective, params: Params, chunks: Chunks) -> Any:
    """Return the objective at the parameters, a scalar.

    Raises:
        InvalidInputError: the loss does not return one number per example.

    Example:
        >>> mean = objective(lambda w, x: x * w, "squared")
        >>> float(value(mean, jnp.array(3.0), pack(mean, (jnp.ones((5, 1)), jnp.zeros(5, int)))))
        2.0
    """
    return accumulated(lambda chunk: chunk_value(objective, params, chunk), chunks)


def gradient(objective: Objective, params: Params, chunks: Chunks) -> Params:
    """Return the gradient of the objective, a tree like `params`.

    Memory: the activations of one chunk, and three trees.

    Raises:
        InvalidInputError: the loss does not return one number per example.

    Example:
        >>> mean = objective(lambda w, x: x * w, "squared")
        >>> chunks = pack(mean, (jnp.ones((5, 1)), jnp.zeros(5, int)))
        >>> float(gradient(mean, jnp.array(3.0), chunks))
        2.0
    """

    def slope(chunk):
        return jax.grad(lambda p: chunk_value(objective, p, chunk))(params)

    return accumulated(slope, chunks)


_AXIS: contextvars.ContextVar[str | None] = contextvars.ContextVar("axis", default=None)


@contextlib.contextmanager
def sums_over(axis: str | None) -> Iterator[None]:
    """While a program is traced, add up what every device has from chunks of its own; None: not."""
    token = _AXIS.set(axis)
    try:
        yield
    finally:
        _AXIS.reset(token)


def summed(tree: Any) -> Any:
    """Return the sum over devices, where they have chunks of their own."""
    axis = _AXIS.get()
    return tree if axis is None else jax.lax.psum(tree, axis)


def own_key(key: Any) -> Any:
    """Return a key of this device's chunks, where devices have chunks of their own."""
    axis = _AXIS.get()
    return key if axis is None else jax.random.fold_in(key, jax.lax.axis_index(axis))


def accumulated(function: Callable[[Any], Any], chunks: Any) -> Any:
    """Return the sum of `function` over chunks, one after another, at highest precision.

    Args:
        function: of a tree of arrays without the leading axis, to a tree of arrays.
        chunks: the tree with the leading axis, e.g. `Chunks`.
    """
    with jax.default_matmul_precision("highest"):
        return summed(_scanned(function, chunks))


def _scanned(function: Callable[[Any], Any], chunks: Any) -> Any:
    first = jax.tree.map(lambda a: a[0], chunks)
    if jax.tree.leaves(chunks)[0].shape[0] == 1:
        return function(first)
    shapes = jax.eval_shape(function, first)
    start = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

    def step(total, chunk):
        return jax.tree.map(jnp.add, total, function(chunk)), None

    return jax.lax.scan(step, start, chunks)[0]
