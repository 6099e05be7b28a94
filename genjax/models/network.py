"""The `Network` contract: a trained model is pure functions of (parameters, images)."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from genjax.types import ApplyFn, Key, Params, TapsFn

FEATURES = "features"
"""Name of the tap every model has: the vector [N, D] that the output layer reads."""


class Network(NamedTuple):
    """A model as pure functions; everything beyond `genjax.models` sees only these.

    Training works on `(parameters, statistics)`, where `statistics` holds the running averages of
    normalisation layers (an empty dict where there are none). Measuring works on the single tree
    that `fold`
    returns: normalisation is folded into the weights, so `apply` has neither state nor randomness.

    Attributes:
        name: family and options, e.g. `mlp(widths=(64, 64))`.
        family: registered name of the model.
        options: the options it was made with.
        image_shape: (height, width, channels) of one image.
        num_classes: number of outputs.
        init: `key -> (parameters, statistics)`.
        train_apply: `(parameters, statistics, images, key, dropout_rate) -> (logits, statistics)`;
            `dropout_rate` is a traced scalar, or None for no dropout.
        fold: `(parameters, statistics) -> params`.
        apply: `(params, images [N,H,W,C]) -> logits [N, num_classes]`.
        taps: `(params, images) -> dict` of activations in the order computed; `features` is the
            last (`jax.jit` sorts the keys of a dict: take the order from a call outside of it).
    """

    name: str
    family: str
    options: Mapping[str, Any]
    image_shape: tuple[int, int, int]
    num_classes: int
    init: Callable[[Key], tuple[Params, Params]]
    train_apply: Callable[..., tuple[Any, Params]]
    fold: Callable[[Params, Params], Params]
    apply: ApplyFn
    taps: TapsFn


def dropout(x, rate, key: Key):
    """Zero each entry of `x` with probability `rate` and rescale the rest by 1/(1 - rate).

    Written here because `flax.linen.Dropout` wants a static rate, and the rate is a hyper-parameter
    that is vmapped over.
    """
    keep = jax.random.bernoulli(key, 1.0 - rate, x.shape)
    return jnp.where(keep, x / (1.0 - rate), 0.0)


def from_modules(
    training: nn.Module,
    measuring: nn.Module,
    *,
    family: str,
    options: Mapping[str, Any],
    image_shape: tuple[int, int, int],
    num_classes: int,
    fold: Callable[[Params, Params], Params] = lambda parameters, statistics: parameters,
) -> Network:
    """Wrap two Linen modules, as trained and as measured, in the `Network` contract.

    Args:
        training: called as `module(images, train=True, dropout_rate=...)`; may keep `batch_stats`.
        measuring: the same function without state; reads the tree that `fold` returns.
        family: registered name.
        options: what the modules were made with, for the record.
        image_shape: (height, width, channels).
        num_classes: number of outputs.
        fold: turns (parameters, statistics) into the tree that `measuring` reads.
    """
    sample = np.zeros((1, *image_shape), np.float32)

    def init(key):
        variables = dict(training.init(key, sample))
        parameters = variables.pop("params")
        return parameters, variables.get("batch_stats", {})

    def train_apply(parameters, statistics, images, key, dropout_rate=None):
        variables = {"params": parameters}
        if statistics:
            variables["batch_stats"] = statistics
        logits, changed = training.apply(
            variables,
            images,
            train=True,
            dropout_rate=dropout_rate,
            rngs={"dropout": key},
            mutable=["batch_stats"],
        )
        return logits, changed.get("batch_stats", statistics)

    def apply(params, images):
        return measuring.apply({"params": params}, images)

    def taps(params, images):
        _, recorded = measuring.apply({"params": params}, images, mutable=["taps"])
        return {name: value[0] for name, value in recorded["taps"].items()}

    written = ", ".join(f"{k}={v}" for k, v in options.items())
    return Network(
        name=f"{family}({written})",
        family=family,
        options=dict(options),
        image_shape=image_shape,
        num_classes=num_classes,
        init=init,
        train_apply=train_apply,
        fold=fold,
        apply=apply,
        taps=taps,
    )
