"""Equinox models as `ForeignNetwork`; see `adapters`. Equinox itself is optional."""

import functools
import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from genjax import errors
from genjax.models import adapters_calls as calls
from genjax.models import adapters_checks as checks
from genjax.models import adapters_norm as norm
from genjax.models.foreign import ForeignNetwork, Preprocessing


def from_equinox(
    model: Any,
    state: Any = None,
    *,
    image_shape: Sequence[int],
    num_classes: int,
    layout: str = "CHW",
    single: bool = True,
    taps: Sequence[str] | None = None,
    features: str | None = None,
    call_options: Mapping[str, Any] | None = None,
    preprocessing: Preprocessing = Preprocessing(),  # noqa: B008
    name: str | None = None,
    family: str | None = None,
) -> ForeignNetwork:
    """Return an Equinox model as a network to be measured; it is put into inference mode.

    Args:
        model: an `equinox.Module` from an image to logits; where its call takes `key`, it gets
            None.
        state: of `equinox.nn.make_with_state`; the model is then called as `model(image, state)`
            and returns `(logits, state)`.
        image_shape: (height, width, channels) of the images as they come, before resizing.
        num_classes: number of outputs.
        layout: of the images that the model takes, "CHW" as Equinox's convolutions do, or "HWC".
        single: whether the model takes one image, and is vmapped; False for a batch.
        taps: as in `from_linen`; paths are those of attributes, e.g. `["conv", "mlp/layers/0"]`.
            Where `layout` is "CHW", activations [N, C, H, W] come back as [N, H, W, C].
        features: as in `from_linen`, e.g. "head".
        call_options: as in `from_linen`.
        preprocessing: what the network expects of its images.
        name: what to call it; None takes the model's class.
        family: networks of one family are compared as sizes of one another; None takes `name`.

    Raises:
        InvalidInputError: as `from_linen`; Equinox is not installed.
    """
    name = name or type(model).__name__
    about = checks.describe(name, family, image_shape, num_classes, preprocessing)
    checks.named_only(taps)
    eqx = _equinox()
    if layout not in ("CHW", "HWC"):
        raise errors.InvalidInputError(errors.suggest("layout", layout, ("CHW", "HWC")))
    if not isinstance(model, eqx.Module):
        raise errors.InvalidInputError(f"model: found {type(model)}; an equinox.Module is needed.")
    usual = {**checks.EVALUATION, "inference": True, "key": None}
    options = checks.evaluation_options(model, usual, call_options)
    model = eqx.nn.inference_mode(model)
    stored, _ = calls.as_dicts(eqx.filter(model, eqx.is_inexact_array))
    statistics = {}
    if state is not None:
        with checks.explained(about):  # a state that was used before cannot be read
            statistics = dict(enumerate(jax.tree.leaves(state)))
            model, state = norm.fold_equinox(eqx, model, _unused(state))
    learned, fixed = eqx.partition(model, eqx.is_inexact_array)
    params, rebuild = calls.as_dicts(learned)

    def call(params, image, order=None):
        """Return logits or, where the names of activations are to be put in `order`, those."""
        rebuilt = eqx.combine(rebuild(params), fixed)
        arguments = (image,) if state is None else (image, _unused(state))
        inside = [] if order is None else calls.children(rebuilt, eqx.Module)
        with calls.object_calls(inside) as made:
            logits = rebuilt(*arguments, **options)
        logits = logits if state is None else logits[0]
        if order is None:
            return logits
        kept = eqx.is_array if single else calls.per_image(len(image))
        taken = calls.activations(made, logits, wanted=taps, features=features, is_activation=kept)
        order.extend(taken)
        return taken

    def apply(params, images, order=None):
        images = images.transpose(0, 3, 1, 2) if layout == "CHW" else images
        one = functools.partial(call, order=order)
        return (jax.vmap(one, (None, 0)) if single else one)(params, images)

    def read(params, images):
        order: list[str] = []
        taken = apply(params, images, order)
        if layout == "CHW":
            taken = {k: v.transpose(0, 2, 3, 1) if v.ndim == 4 else v for k, v in taken.items()}
        return {path: taken[path] for path in order}  # `vmap` has sorted the names

    return checks.adapted(
        apply,
        read,
        params,
        about,
        check_taps=bool(taps or features),
        unfolded=(stored, statistics),
    )


def _equinox() -> Any:
    try:
        return importlib.import_module("equinox")
    except ImportError:
        raise errors.InvalidInputError(
            "from_equinox: Equinox is not installed; run: pip install equinox"
        ) from None


def _unused(state: Any) -> Any:
    """Return a copy: Equinox lets every state be used only once."""
    leaves, structure = jax.tree.flatten(state)
    return jax.tree.unflatten(structure, leaves)
