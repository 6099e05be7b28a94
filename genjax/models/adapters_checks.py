"""Refuse networks from elsewhere that are not pure functions from images to logits."""

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from genjax import errors
from genjax.data import resizing
from genjax.models.adapters_calls import written
from genjax.models.foreign import ForeignNetwork, Preprocessing, measured_only
from genjax.models.network import FEATURES, Network
from genjax.types import Params

_HINTS = {
    "InvalidRngError": "Dropout is active: pass call_options={'deterministic': True}, or whatever "
    "the module calls it.",
    "ModifyScopeVariableError": "The module updates its statistics: pass "
    "call_options={'train': False}, or whatever it calls it.",
}
EVALUATION = {
    "train": False,
    "training": False,
    "is_training": False,
    "deterministic": True,
    "use_running_average": True,
}
"""Arguments by which Flax modules are commonly put into evaluation."""

_TOLERANCE = {"float64": 1e-6, "float32": 1e-3}
"""Relative to the largest logit; sums of other batch sizes are rounded differently."""


class Description(NamedTuple):
    """What the user says of a network.

    Attributes:
        name: what to call it.
        family: networks of one family are compared as sizes of one another.
        image_shape: (height, width, channels) of the images as they come, before resizing.
        num_classes: number of outputs.
        preprocessing: what the network expects of its images.
    """

    name: str
    family: str
    image_shape: tuple[int, int, int]
    num_classes: int
    preprocessing: Preprocessing

    def seen(self) -> jax.ShapeDtypeStruct:
        """Return the shape of two images as the network itself sees them, after resizing."""
        height, width = resizing.output_size(self.preprocessing.resizing, self.image_shape[:2])
        return jax.ShapeDtypeStruct((2, height, width, self.image_shape[2]), jnp.float32)


def describe(
    name: str,
    family: str | None,
    image_shape: Sequence[int],
    num_classes: int,
    preprocessing: Preprocessing,
) -> Description:
    """Return the description of a network, or refuse it.

    Raises:
        InvalidInputError: no image shape, fewer than two classes, a mean and standard deviation
            that do not fit the channels, or a resizing or crop that cannot be.
    """
    if len(image_shape) != 3 or min(image_shape) < 1 or num_classes < 2:
        raise errors.InvalidInputError(
            f"image_shape and num_classes of '{name}': found {tuple(image_shape)} and "
            f"{num_classes}; allowed are (height, width, channels) and at least 2 classes."
        )
    height, width, channels = image_shape
    for field, values in zip(("mean", "std"), preprocessing[:2], strict=True):
        if len(values) not in (1, channels):
            raise errors.InvalidInputError(
                f"preprocessing.{field} of '{name}': found {len(values)} numbers; allowed are 1 or "
                f"{channels}, one per channel of image_shape."
            )
    if min(preprocessing.std) <= 0:
        raise errors.InvalidInputError(
            f"preprocessing.std of '{name}': found {preprocessing.std}; it must be positive."
        )
    shape = (height, width, channels)
    resizing.check(preprocessing.resizing)
    resizing.output_size(preprocessing.resizing, shape[:2])  # refuses a crop that is too large
    return Description(name, family or name, shape, num_classes, preprocessing)


def as_arrays(params: Params) -> Params:
    """Return parameters as JAX arrays; refuse leaves that are not arrays of floats."""

    def one(path, leaf):
        kind = getattr(leaf, "dtype", None) if not isinstance(leaf, float) else np.float32
        if kind is None or not jnp.issubdtype(kind, jnp.floating):
            raise errors.InvalidInputError(
                f"params: leaf '{written(path)}' is {type(leaf).__name__ if kind is None else kind}"
                "; keep only arrays of floats in params and everything else in the function."
            )
        return jnp.asarray(leaf)

    return jax.tree_util.tree_map_with_path(one, params)


def named_only(taps: Any) -> None:
    """Refuse anything but None or a sequence of names."""
    if taps is not None and (isinstance(taps, str) or not all(isinstance(t, str) for t in taps)):
        raise errors.InvalidInputError(
            f"taps: found {taps!r}; allowed are None (every layer) or a list of layer names."
        )


def guarded(network: Network) -> Network:
    """Return the network; it now refuses images of another shape or of integers.

    Its taps must be a dict with `features` [N, D], which comes last.
    """

    def expect(images):
        if images.ndim != 4 or tuple(images.shape[1:]) != network.image_shape:
            raise errors.InvalidInputError(
                f"images of '{network.name}': found shape {tuple(images.shape)}; it takes "
                f"[N, {', '.join(map(str, network.image_shape))}]."
            )
        if not jnp.issubdtype(images.dtype, jnp.floating):
            raise errors.InvalidInputError(
                f"images of '{network.name}': found {images.dtype}; it takes floats in [0, 1] "
                "(bytes: divide by 255)."
            )

    def apply(params, images):
        expect(images)
        return network.apply(params, images)

    def taps(params, images):
        expect(images)
        found = network.taps(params, images)
        _check_features(network.name, found, len(images))
        return {**{k: v for k, v in found.items() if k != FEATURES}, FEATURES: found[FEATURES]}

    return network._replace(apply=apply, taps=taps)


def _check_features(name: str, taps: Any, examples: int) -> None:
    if not isinstance(taps, dict) or FEATURES not in taps:
        found = list(taps) if isinstance(taps, dict) else type(taps).__name__
        raise errors.InvalidInputError(
            f"taps of '{name}': found {found}; a dict of activations with '{FEATURES}', the "
            "vectors [N, D] that the output layer reads, is needed."
        )
    features = taps[FEATURES]
    if getattr(features, "ndim", None) != 2 or features.shape[0] != examples:
        raise errors.InvalidInputError(
            f"features of '{name}': for {examples} images found {_described(features)}; a vector "
            "per image, [N, D], is needed: name the layer that reads it, or pass a function."
        )


@contextlib.contextmanager
def explained(about: Description | Network) -> Iterator[None]:
    """Turn an error of somebody else's code into one sentence; the error stays as its cause."""
    try:
        yield
    except errors.GenjaxError:
        raise
    except Exception as error:
        kind = type(error).__name__
        first = (str(error).strip().splitlines() or [""])[0][:300].rstrip(".")
        hint = _HINTS.get(kind, "Check image_shape, the parameters and the options of the call.")
        raise errors.InvalidInputError(
            f"network '{about.name}': evaluating it on images of shape {about.image_shape} failed "
            f"with {kind}: {first}. {hint}"
        ) from error


def evaluation_options(
    module: Any, usual: Mapping[str, Any], given: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return the keyword arguments that put a module into evaluation, where its call takes them.

    Args:
        module: an object with `__call__`.
        usual: value of each argument that libraries commonly use.
        given: the user's, which come first.
    """
    taken = inspect.signature(type(module).__call__).parameters
    return {name: value for name, value in usual.items() if name in taken} | dict(given or {})


def check_evaluation(network: Network, params: Params) -> None:
    """Refuse a network whose logits are not finite floats [N, C] that depend on the image alone.

    Two evaluations must agree (no fresh randomness), and so must an image alone and beside another
    (no statistics of the batch, no dropout mask that a stored key always draws anew).

    Raises:
        InvalidInputError: with the reason and what to do.
    """
    shape = (2, *network.image_shape)
    images = jax.random.uniform(jax.random.key(0), shape)
    with explained(network):
        found = jax.eval_shape(network.apply, params, images)
    expected = (2, network.num_classes)
    if getattr(found, "shape", None) != expected or not jnp.issubdtype(found.dtype, jnp.floating):
        raise errors.InvalidInputError(
            f"network '{network.name}': for 2 images it returns {_described(found)}; "
            f"allowed are logits, float {list(expected)}."
        )
    with explained(network):
        first, again = (np.asarray(network.apply(params, images)) for _ in range(2))
        alone = np.asarray(network.apply(params, images[1:]))
    if not np.isfinite(first).all():
        raise errors.InvalidInputError(
            f"network '{network.name}': its logits of random images in [0, 1] are not finite; "
            "check the parameters and the preprocessing."
        )
    tolerance = _TOLERANCE.get(str(found.dtype), 0.05) * max(np.abs(first).max(), 1e-6)
    if np.abs(first - again).max() > tolerance:
        raise errors.InvalidInputError(
            f"network '{network.name}': two evaluations of the same images differ; switch its "
            "randomness off (dropout: pass deterministic=True, train=False or inference mode)."
        )
    if np.abs(first[1:] - alone).max() > tolerance:
        raise errors.InvalidInputError(
            f"network '{network.name}': the logits of an image depend on the images beside it; "
            "switch batch statistics and dropout off (pass use_running_average=True, "
            "deterministic=True, train=False or inference mode)."
        )


def _described(found: Any) -> str:
    if hasattr(found, "shape"):
        return f"{found.dtype} {list(found.shape)}"
    return f"{type(found).__name__}"


def adapted(
    apply: Callable[[Params, Any], Any],
    taps: Callable[[Params, Any], dict[str, Any]],
    params: Params,
    about: Description,
    *,
    check_taps: bool,
    unfolded: tuple[Params, Params] | None = None,
) -> ForeignNetwork:
    """Return checked functions and parameters as a `ForeignNetwork`.

    Args:
        apply: `(params, preprocessed images) -> logits`.
        taps: `(params, preprocessed images) -> activations`.
        params: nested dicts of arrays.
        about: of the network.
        check_taps: refuse now what `taps` cannot compute; else when they are first asked for.
        unfolded: (parameters, statistics) before normalisation was folded.
    """
    network = measured_only(
        about.name,
        family=about.family,
        options={},
        image_shape=about.image_shape,
        num_classes=about.num_classes,
        apply=apply,
        taps=taps,
        preprocessing=about.preprocessing,
    )
    network = guarded(network)
    check_evaluation(network, params)
    if check_taps:
        images = jax.ShapeDtypeStruct((2, *about.image_shape), jnp.float32)
        with explained(about):
            jax.eval_shape(network.taps, params, images)
    return ForeignNetwork(network, params, about.preprocessing, unfolded)
