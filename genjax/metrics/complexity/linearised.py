"""Networks beside their linearisation at the start, trained by the same gradient descent.

Networks are in the neural tangent parametrisation, so that one learning rate fits every width, and
their distance to the linearisation has the rate 1/width if the activation is smooth. ReLU is not:
with its kinks the distance falls more slowly.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Array, Float

from genjax.errors import InvalidInputError, suggest
from genjax.types import Key, Params

Host = np.ndarray
BIAS_SCALE = 0.1
ACTIVATIONS = {"tanh": jnp.tanh, "relu": jax.nn.relu, "erf": jax.scipy.special.erf}


class Descent(NamedTuple):
    """A network and its linearisation after gradient descent.

    Attributes:
        start: outputs of both at the start on the held-out images, `[M, C]`.
        network: outputs of the network at the end, `[M, C]`.
        linear: outputs of the linearisation at the end, `[M, C]`.
        network_train: the same on the training images, `[N, C]`.
        linear_train: the same of the linearisation, `[N, C]`.
        params: of the network at the end, omega.
    """

    start: Any
    network: Any
    linear: Any
    network_train: Any
    linear_train: Any
    params: Params


def network(
    inputs: int, outputs: int, widths: Sequence[int], activation: str = "tanh"
) -> tuple[Callable[[Key], Params], Callable[[Params, Any], Any]]:
    """Return `(init, apply)` of a fully connected network in the neural tangent parametrisation.

    `h_l = phi(W_l h_(l-1) / sqrt(n_(l-1)) + 0.1 b_l)`, without phi in the last layer; W and b start
    as N(0, 1).

    Args:
        inputs: numbers of an image; images are flattened.
        outputs: C.
        widths: of the hidden layers.
        activation: one of `ACTIVATIONS`.

    Raises:
        InvalidInputError: an unknown activation.

    References:
        Jacot, Gabriel and Hongler, Neural tangent kernel, NeurIPS 2018, section 2, beta = 0.1.

    Example:
        >>> init, apply = network(4, 3, (8,))
        >>> apply(init(jax.random.key(0)), jnp.ones((5, 2, 2, 1))).shape
        (5, 3)
    """
    if activation not in ACTIVATIONS:
        raise InvalidInputError(suggest("activation", activation, list(ACTIVATIONS)))
    phi = ACTIVATIONS[activation]
    sizes = (inputs, *widths, outputs)

    def init(key):
        made = []
        for own, before, after in zip(
            jax.random.split(key, len(sizes) - 1), sizes[:-1], sizes[1:], strict=True
        ):
            first, second = jax.random.split(own)
            made.append({
                "kernel": jax.random.normal(first, (before, after)),
                "bias": jax.random.normal(second, (after,)),
            })  # fmt: skip
        return made

    def apply(params, images):
        x = images.reshape(images.shape[0], -1)
        for place, layer in enumerate(params):
            x = phi(x) if place else x
            scale = float(layer["kernel"].shape[0]) ** -0.5
            x = scale * (x @ layer["kernel"]) + BIAS_SCALE * layer["bias"][None]
        return x

    return init, apply


def descend(
    apply: Callable[..., Any],
    params: Params,
    images: Any,
    targets: Any,
    held_out: Any,
    *,
    rate: Any,
    steps: int,
) -> Descent:
    """Train a network and its linearisation on the squared loss, side by side.

    Full-batch gradient descent on `L = 1/(2N) sum_i ||f(x_i) - y_i||^2`; the linearisation is
    `f_lin(omega) = f(omega_0) + J (omega - omega_0)`, with J the Jacobian at the start.

    Args:
        apply: `(params, images) -> outputs [N, C]`; forward differentiable.
        params: where both start, omega_0.
        images: `[N, ...]`.
        targets: `[N, C]`.
        held_out: images `[M, ...]`.
        rate: step size; stable below 2 N over the largest eigenvalue of the kernel.
        steps: of gradient descent.

    Raises:
        InvalidInputError: fewer than one step.

    References:
        Lee et al., Wide neural networks of any depth evolve as linear models under gradient
        descent, NeurIPS 2019, Eqs 5 to 8.

    Example:
        >>> found = descend(lambda w, x: x * w, jnp.zeros(()), jnp.ones((2, 1)), jnp.ones((2, 1)),
        ...                 jnp.ones((1, 1)), rate=0.5, steps=2)
        >>> float(found.network[0, 0]), float(found.linear[0, 0])  # a linear network is its own
        (0.75, 0.75)
    """
    if steps < 1:
        raise InvalidInputError(f"steps: found {steps}; at least 1 is needed.")

    def outputs(p):
        return apply(p, images)

    def pushed(moved, on):
        return jax.jvp(lambda p: apply(p, on), (params,), (moved,))

    def moved_by(tree, slope):
        return jax.tree.map(lambda w, g: w - rate * g / len(images), tree, slope)

    def step(carry, _):
        own, moved = carry
        found, pull = jax.vjp(outputs, own)
        own = moved_by(own, pull(found - targets)[0])
        start, change = pushed(moved, images)
        moved = moved_by(moved, at_start(start + change - targets)[0])
        return (own, moved), None

    with jax.default_matmul_precision("highest"):
        _, at_start = jax.vjp(outputs, params)
        nothing = jax.tree.map(jnp.zeros_like, params)
        (own, moved), _ = jax.lax.scan(step, (params, nothing), None, length=steps)
        start, change = pushed(moved, held_out)
        start_train, change_train = pushed(moved, images)
        return Descent(
            start, apply(own, held_out), start + change,
            outputs(own), start_train + change_train, own,
        )  # fmt: skip


def kernel_regression(
    kernel: Float[Array | Host, "n n"],
    cross: Float[Array | Host, "m n"],
    targets: Float[Array | Host, "n c"],
    start: tuple[Any, Any],
    *,
    ridge: float | int = 0.0,
) -> Float[Host, "m c"]:
    """Return what the linearisation predicts after infinite training, every output with one kernel.

    `f(x) = f_0(x) + K(x, X) (K + r I)^-1 (Y - f_0(X))`, r = ridge tr(K) / n. Host, float64.

    Args:
        kernel: K of the training images.
        cross: K(x, X), rows are the images to predict.
        targets: Y.
        start: outputs at the start on the training images `[n, c]` and on the others `[m, c]`;
            zeros give the kernel regression alone.
        ridge: relative to the mean of the kernel's diagonal.

    Raises:
        InvalidInputError: the kernel with its ridge is not positive definite.

    References:
        Jacot, Gabriel and Hongler 2018, section 5; Lee et al. 2019, Eqs 9 to 11.

    Example:
        >>> nothing = np.zeros((2, 1)), np.zeros((1, 1))
        >>> kernel_regression(np.eye(2), np.array([[0.5, 0.0]]), np.ones((2, 1)), nothing).tolist()
        [[0.5]]
    """
    own = np.asarray(kernel, np.float64)
    own = own + ridge * np.trace(own) / len(own) * np.eye(len(own))
    train, other = (np.asarray(part, np.float64) for part in start)
    try:
        factor = scipy.linalg.cho_factor(own, lower=True)
    except (scipy.linalg.LinAlgError, ValueError):
        raise InvalidInputError(
            f"kernel: found a matrix {own.shape} that is not positive definite with a ridge of "
            f"{ridge}; a larger ridge is needed, and no infinite entries."
        ) from None
    weights = scipy.linalg.cho_solve(factor, np.asarray(targets, np.float64) - train)
    return other + np.asarray(cross, np.float64) @ weights


def log_slope(widths: Float[Host, " widths"], values: Float[Host, "widths *shape"]) -> Any:
    """Return the least-squares slope of log(values) against log(widths): -1 where 1/width is law.

    Args:
        widths: at least two, different.
        values: positive.

    Returns:
        float64, `[*shape]`.

    Example:
        >>> round(float(log_slope(np.array([1.0, 2.0, 4.0]), np.array([8.0, 4.0, 2.0]))), 6)
        -1.0
    """
    x = np.log(widths) - np.log(widths).mean()
    return np.tensordot(x, np.log(values), axes=(0, 0)) / (x @ x)
