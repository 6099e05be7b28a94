"""The contract of a measure: what it is given, what it returns, and how it refuses."""

import enum
import hashlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from genjax.types import Params

if TYPE_CHECKING:
    from genjax.metrics.complexity.workspace import Workspace

NEEDS = {
    "init": "parameters at initialisation",
    "train": "labelled training examples",
    "validation": "labelled examples that were not trained on",
    "unlabeled": "examples without labels",
    "history": "the record of the training run",
    "hyper": "the hyper-parameters it was trained with",
    "trainable": "an architecture that can be initialised and trained here",
    "taps": "named intermediate activations",
    "layers": "dense or convolutional weight layers",
    "relu": "a network of linear maps, ReLU and pooling, without normalisation once it is folded",
    "chain": "a ReLU network whose weight layers form a chain, without shortcuts",
}
"""What a measure may require, in words."""


class Refusal(enum.IntEnum):
    """Why a measure has no value for a network; 0 where it has one."""

    NONE = 0
    NOT_FINITE = 1
    MARGIN = 2
    NOT_FITTED = 3
    ZERO_LAYER = 4
    NOT_REACHED = 5
    NOT_FOUND = 6
    DEGENERATE = 7


REASONS = {
    Refusal.NOT_FINITE: "its parameters or outputs are not finite",
    Refusal.MARGIN: "its margin is zero or negative",
    Refusal.NOT_FITTED: "it does not fit its training data",
    Refusal.ZERO_LAYER: "a weight layer has norm zero",
    Refusal.NOT_REACHED: "its training never reached the loss in question",
    Refusal.NOT_FOUND: "the search found no value in its range",
    Refusal.DEGENERATE: "the quantity is not defined for it",
}


class Labelled(NamedTuple):
    """Examples with labels.

    Attributes:
        images: [N, H, W, C], float32 in [0, 1].
        labels: [N], int32.
    """

    images: Any
    labels: Any


class MeasureData(NamedTuple):
    """What networks are measured on; made by `measure_data`.

    Attributes:
        train: examples that the networks were trained on (a sample of them is enough for most
            measures).
        validation: labelled examples that were not trained on, or None.
        unlabeled: images [M, H, W, C] of the distribution to predict the error on, or None.
        train_size: m in the formulas, number of examples that training used; a static int.
    """

    train: Labelled
    validation: Labelled | None = None
    unlabeled: Any = None
    train_size: int = 0


class Trained(NamedTuple):
    """One network as measures see it; every array gains a leading axis in a stack.

    Attributes:
        params: trained parameters, normalisation folded in.
        init_params: the same at initialisation, or None.
        history: `segment.Record` of arrays [T], NaN after the network stopped, or None.
        history_steps: step of each record [T], or None.
        stop_step: steps taken, or None.
        hyper: `HyperParameters` of scalars, or None.
        seed: index of the seed; what is random in a measure depends on it and on the key alone.
    """

    params: Params
    init_params: Params | None
    history: Any
    history_steps: Any
    stop_step: Any
    hyper: Any
    seed: Any


Result = tuple[Any, dict[str, Any]]
"""A scalar and its diagnostics: `refusal` (a `Refusal`), `standard_error`, `vacuous`, ..."""


class Intermediate(NamedTuple):
    """Something several measures need, computed once per network.

    Attributes:
        name: how measures ask for it, `workspace[name]`.
        compute: `workspace -> pytree of arrays`; pure, jittable, vmappable.
        needs: other intermediates that it reads.
        requires: keys of `NEEDS`.
        passes: cost in forward-backward passes over the measured training examples; a forward
            pass alone counts 1/3.
    """

    name: str
    compute: Callable[["Workspace"], Any]
    needs: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    passes: float | int = 0.0


class Measure(NamedTuple):
    """A scalar computed from a trained network and data, claimed to predict generalization.

    Attributes:
        name: of the column `measure.NAME`.
        family: file of `genjax.metrics.complexity` it comes from.
        formula: in plain text, as computed, with the equation number of its source.
        source: paper.
        compute: `workspace -> (scalar, info)`; pure, jittable, vmappable over networks. With scope
            "group" it is called once with a `GroupWorkspace` and returns [n] and info of [n].
        needs: intermediates that it reads; no others are visible to it.
        requires: keys of `NEEDS`, beyond those of the intermediates.
        passes: cost in forward-backward passes, beyond that of the intermediates.
        larger_is_worse: whether theory says that networks with a larger value generalize worse;
            None where it says nothing.
        fast: part of the subset that the main job computes.
        conditions: of a bound: what it holds for, with which confidence; empty for what is no
            bound. The info of a bound holds `vacuous`.
        scope: "network", or "group" for what compares networks of a group.
    """

    name: str
    family: str
    formula: str
    source: str
    compute: Callable[[Any], Result]
    needs: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    passes: float | int = 0.0
    larger_is_worse: bool | None = True
    fast: bool = True
    conditions: str = ""
    scope: str = "network"


def measure_data(
    train: Any, validation: Any = None, unlabeled: Any = None, *, train_size: int | None = None
) -> MeasureData:
    """Return examples for measures, in an order that depends on the examples alone.

    Examples are sorted by a hash of their pixels and label: a measure that reads the first k of
    them reads a random sample, and the same one however the data were ordered.

    Args:
        train: `genjax.data.Examples` (or anything with `images` and `labels`) trained on.
        validation: the same, not trained on, or None.
        unlabeled: the same (labels are not read) or an array of images, or None.
        train_size: m in the formulas; None takes the number of examples in `train`. Give it where
            `train` is a sample of what was trained on.

    Example:
        >>> from genjax import data
        >>> digits = data.load("digits")
        >>> found = measure_data(digits.take(range(100)), digits.take(range(100, 150)))
        >>> found.train_size, found.validation.images.shape, found.unlabeled
        (100, (50, 8, 8, 1), None)
    """
    images = None
    if unlabeled is not None:
        images = np.asarray(getattr(unlabeled, "images", unlabeled), np.float32)
        images = images[_canonical_order(images, np.zeros(len(images), np.int32))]
    first = _labelled(train)
    held_out = None if validation is None else _labelled(validation)
    return MeasureData(first, held_out, images, train_size or len(first.labels))


def _labelled(examples: Any) -> Labelled:
    images = np.asarray(examples.images, np.float32)
    labels = np.asarray(examples.labels, np.int32)
    order = _canonical_order(images, labels)
    return Labelled(images[order], labels[order])


def _canonical_order(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    digests = [
        hashlib.blake2b(image.tobytes() + label.tobytes(), digest_size=8).digest()
        for image, label in zip(np.ascontiguousarray(images), labels, strict=True)
    ]
    return np.argsort(np.array(digests), kind="stable")


def value(amount: Any, **info: Any) -> Result:
    """Return a measure's result without refusal.

    Example:
        >>> value(2.0, standard_error=0.1)
        (2.0, {'standard_error': 0.1})
    """
    return amount, info


def refuse_where(refused: Mapping[Refusal, Any], amount: Any, **info: Any) -> Result:
    """Return NaN with a code where a condition holds; the first that holds counts.

    Args:
        refused: scalar boolean arrays by reason.
        amount: the value elsewhere.
        **info: further diagnostics.

    Example:
        >>> amount, info = refuse_where({Refusal.MARGIN: True}, 3.0)
        >>> bool(amount != amount), int(info["refusal"])
        (True, 2)
    """
    code = jnp.int32(Refusal.NONE)
    for reason, holds in reversed(list(refused.items())):
        code = jnp.where(holds, jnp.int32(reason), code)
    return jnp.where(code == Refusal.NONE, amount, jnp.nan), {**info, "refusal": code}
