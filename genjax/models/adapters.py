"""Networks of other libraries and plain functions, as `ForeignNetwork`.

Every adapter checks on two random images that the network is a pure function from images to logits
and refuses it with the reason otherwise. Modules are put into evaluation mode. Their batch
normalisation is folded into its own scale and offset where it has both, and their other state is a
constant of the function: `params` holds what was learned and nothing else, as nested dicts.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax import errors
from genjax.models import adapters_calls as calls
from genjax.models import adapters_checks as checks
from genjax.models import adapters_norm as norm
from genjax.models.adapters_equinox import from_equinox
from genjax.models.foreign import ForeignNetwork, Preprocessing
from genjax.types import Params

__all__ = ["from_equinox", "from_function", "from_linen", "from_nnx"]


def from_function(
    apply: Callable[[Params, Any], Any],
    params: Params,
    *,
    image_shape: Sequence[int],
    num_classes: int,
    taps: Callable[[Params, Any], dict[str, Any]] | None = None,
    preprocessing: Preprocessing = Preprocessing(),  # noqa: B008
    name: str = "function",
    family: str | None = None,
) -> ForeignNetwork:
    """Return a function with its parameters as a network to be measured.

    Args:
        apply: `(params, images [N, H, W, C]) -> logits [N, num_classes]`, in JAX, without
            randomness; images are those that `preprocessing` returns.
        params: pytree of float arrays.
        image_shape: (height, width, channels) of the images as they come, before resizing.
        num_classes: number of outputs.
        taps: `(params, images) -> activations by name`, in the order computed, with `features`
            [N, D], the vectors that the output layer reads. Without it the network has logits but
            no activations.
        preprocessing: what the network expects of its images.
        name: what to call it.
        family: networks of one family are compared as sizes of one another; None takes `name`.

    Raises:
        InvalidInputError: the function fails, its logits have another shape, are not finite, or
            do not depend on the image alone; `features` are missing or not [N, D].

    Example:
        >>> def apply(params, images):
        ...     return images.mean((1, 2)) @ params["kernel"]
        >>> params = {"kernel": jnp.eye(3)}
        >>> foreign = from_function(apply, params, image_shape=(4, 4, 3), num_classes=3)
        >>> foreign.network.apply(foreign.params, jnp.ones((2, 4, 4, 3))).shape
        (2, 3)
    """

    def refuse(params, images):
        raise errors.InvalidInputError(
            f"network '{name}': it came without taps; pass from_function(..., taps=...) to read "
            "activations."
        )

    return checks.adapted(
        apply,
        taps or refuse,
        checks.as_arrays(params),
        checks.describe(name, family, image_shape, num_classes, preprocessing),
        check_taps=taps is not None,
    )


def from_linen(
    module: nn.Module,
    variables: Mapping[str, Any],
    *,
    image_shape: Sequence[int],
    num_classes: int,
    taps: Sequence[str] | None = None,
    features: str | None = None,
    call_options: Mapping[str, Any] | None = None,
    preprocessing: Preprocessing = Preprocessing(),  # noqa: B008
    name: str | None = None,
    family: str | None = None,
) -> ForeignNetwork:
    """Return a Flax Linen module with its variables as a network to be measured.

    Args:
        module: takes images [N, H, W, C] and returns logits.
        variables: `{"params": ..., "batch_stats": ...}`, the second only where there is one.
        image_shape: (height, width, channels) of the images as they come, before resizing.
        num_classes: number of outputs.
        taps: submodules whose outputs are activations, e.g. `["Conv_0", "Block_1/Dense_0"]`; None
            takes all but the output layer.
        features: path of the output layer, e.g. "Dense_1": the vector that it READS becomes the tap
            `features`. None takes the layer whose output the module returns as logits; where
            there is none, asking for activations is refused.
        call_options: keyword arguments of the module's call. Where it takes `train`, `training`,
            `is_training` (False), `deterministic` or `use_running_average` (True), they are set.
        preprocessing: what the network expects of its images.
        name: what to call it; None takes the module's class.
        family: networks of one family are compared as sizes of one another; None takes `name`.

    Raises:
        InvalidInputError: as `from_function`; unknown submodules.

    Example:
        >>> module = nn.Sequential([lambda x: x.reshape(len(x), -1), nn.Dense(8), nn.Dense(3)])
        >>> variables = module.init(jax.random.key(0), jnp.ones((1, 4, 4, 1)))
        >>> foreign = from_linen(module, variables, image_shape=(4, 4, 1), num_classes=3)
        >>> taps = foreign.network.taps(foreign.params, jnp.ones((2, 4, 4, 1)))
        >>> {name: value.shape for name, value in taps.items()}
        {'layers_1': (2, 8), 'features': (2, 8)}
    """
    name = name or type(module).__name__
    about = checks.describe(name, family, image_shape, num_classes, preprocessing)
    checks.named_only(taps)
    if "params" not in variables:
        raise errors.InvalidInputError(
            f"variables: found {list(variables)}; a mapping with 'params' and perhaps "
            "'batch_stats' is needed, e.g. {'params': params}."
        )
    options = checks.evaluation_options(module, checks.EVALUATION, call_options)
    stored = {
        **jax.tree.map(jnp.asarray, dict(variables)),
        "params": checks.as_arrays(variables["params"]),
    }
    with checks.explained(about):
        folded = norm.fold_linen(module, stored, about.seen(), options)
    constants = {kind: tree for kind, tree in folded.items() if kind != "params"}

    def apply(params, images):
        return module.apply({**constants, "params": params}, images, **options)

    def read(params, images):
        with calls.linen_calls() as made:
            logits = apply(params, images)
        return calls.activations(
            made, logits, wanted=taps, features=features, is_activation=calls.per_image(len(images))
        )

    return checks.adapted(
        apply,
        read,
        folded["params"],
        about,
        check_taps=bool(taps or features),
        unfolded=(stored["params"], stored.get("batch_stats", {})),
    )


def from_nnx(
    model: Any,
    *,
    image_shape: Sequence[int],
    num_classes: int,
    taps: Sequence[str] | None = None,
    features: str | None = None,
    call_options: Mapping[str, Any] | None = None,
    preprocessing: Preprocessing = Preprocessing(),  # noqa: B008
    name: str | None = None,
    family: str | None = None,
) -> ForeignNetwork:
    """Return a Flax NNX model as a network to be measured; the model itself is not changed.

    Args:
        model: an `nnx.Module` that takes images [N, H, W, C] and returns logits. A copy of it is
            put into evaluation mode by its own `eval()`.
        image_shape: (height, width, channels) of the images as they come, before resizing.
        num_classes: number of outputs.
        taps: as in `from_linen`; paths are those of attributes, e.g. `["conv", "blocks/0"]`.
        features: as in `from_linen`, e.g. "head".
        call_options: as in `from_linen`.
        preprocessing: what the network expects of its images.
        name: what to call it; None takes the model's class.
        family: networks of one family are compared as sizes of one another; None takes `name`.

    Raises:
        InvalidInputError: as `from_linen`.

    Example:
        >>> from flax import nnx
        >>> model = nnx.Sequential(
        ...     lambda x: x.mean((1, 2)), nnx.Linear(3, 8, rngs=nnx.Rngs(0)), nnx.relu,
        ...     nnx.Linear(8, 5, rngs=nnx.Rngs(1)),
        ... )
        >>> foreign = from_nnx(model, image_shape=(4, 4, 3), num_classes=5)
        >>> list(foreign.network.taps(foreign.params, jnp.ones((2, 4, 4, 3))))
        ['layers/1', 'features']
    """
    from flax import nnx

    name = name or type(model).__name__
    about = checks.describe(name, family, image_shape, num_classes, preprocessing)
    checks.named_only(taps)
    if not isinstance(model, nnx.Module):
        raise errors.InvalidInputError(f"model: found {type(model)}; a flax.nnx.Module is needed.")
    options = checks.evaluation_options(model, checks.EVALUATION, call_options)
    copy = nnx.clone(model)
    copy.eval()
    _, stored, statistics, _ = nnx.split(copy, nnx.Param, nnx.BatchStat, ...)
    norm.fold_nnx(copy)
    graph, learned, constants = nnx.split(copy, nnx.Param, ...)
    params, rebuild = calls.as_dicts(learned)
    fixed, structure = jax.tree.flatten(constants)

    def call(params, images, with_taps):
        # Fresh variables at each call: what the model draws or counts does not last.
        rebuilt = nnx.merge(graph, rebuild(params), jax.tree.unflatten(structure, fixed))
        inside = [("/".join(map(str, p)), m) for p, m in nnx.iter_modules(rebuilt) if p]
        with calls.object_calls(inside if with_taps else ()) as made:
            logits = rebuilt(images, **options)
        return logits, made

    def read(params, images):
        logits, made = call(params, images, True)
        return calls.activations(
            made, logits, wanted=taps, features=features, is_activation=calls.per_image(len(images))
        )

    return checks.adapted(
        lambda params, images: call(params, images, False)[0],
        read,
        params,
        about,
        check_taps=bool(taps or features),
        unfolded=(calls.as_dicts(stored)[0], calls.as_dicts(statistics)[0]),
    )
